//! Who is registered on one side of something, so that the other side can tell "nobody now" from "nobody left".
//!
//! One cell per participant row, and a word that changes with every join:
//!
//! ```text
//!  63..55   54..32   31..0
//! ┌────────┬────────┬───────┐
//! │  zero  │   id   │ count │     count: how many handles of this participant; all zero: none
//! └────────┴────────┴───────┘
//! ```
//!
//! | from | to | by whom |
//! |---|---|---|
//! | anything but mine | (me, 1) | the participant of the row: what it replaces was left by a dead one |
//! | (me, n) | (me, n + 1) | a thread of the participant, joining |
//! | (me, n) | (me, n - 1), or zero | a thread of the participant, leaving |
//! | (dead, n) | zero | recovery |
//!
//! The cells are not read at one moment. If the last but one hands over to a newcomer behind the reader's back, the
//! reader could find neither; so it reads `ever` again, which the newcomer changed before the other left.
#![forbid(unsafe_code)]

use core::fmt;

use crate::order;
use crate::participant::{Liveness, ParticipantId};
use crate::sync::{AtomicU32, AtomicU64, Ordering::Relaxed, mark};

/// Whether anybody ever joined. All-zero: nobody. The cells are the caller's, one per participant row.
#[repr(C)]
pub struct Roster {
    /// 0: nobody ever joined; otherwise it differs after every join.
    ever: AtomicU32,
    _reserved_1: AtomicU32,
}

/// Rounds that may be lost to others before a call gives up.
const ROUNDS_LOST_MAX: u32 = 1000;

/// A cell, read.
#[derive(Clone, Copy, PartialEq, Eq)]
struct State(u64);

impl State {
    const NONE: Self = Self(0);

    const fn of(id: ParticipantId, count: u32) -> Self {
        Self((id.get() as u64) << 32 | count as u64)
    }

    /// Whose handles, and how many; `None` if there are none, or if the cell makes no sense.
    fn handles(self) -> Option<(ParticipantId, u32)> {
        let count = self.0 as u32;
        ParticipantId::new((self.0 >> 32) as u32).filter(|_| count > 0).map(|id| (id, count))
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.handles() {
            Some((id, count)) => write!(f, "{count} of {id}"),
            None if *self == Self::NONE => f.write_str("None"),
            None => write!(f, "Corrupt({:#x})", self.0),
        }
    }
}

impl Roster {
    /// A roster that nobody ever joined.
    pub fn new() -> Self {
        Self { ever: AtomicU32::new(0), _reserved_1: AtomicU32::new(0) }
    }

    /// Adds a handle of the participant in `row`. False: there is no such row, or it is changed all the time.
    pub fn join(&self, cells: &[AtomicU64], life: &impl Liveness, row: usize) -> bool {
        let me = life.me();
        let joined = change(cells, row, |state| match state.handles() {
            Some((id, count)) if id == me => State::of(me, count.saturating_add(1)),
            _ => State::of(me, 1),
        });
        // The cell first: whoever sees that somebody joined must not find the cells empty before it leaves.
        joined && self.note_join()
    }

    fn note_join(&self) -> bool {
        for _ in 0..ROUNDS_LOST_MAX {
            let ever = self.ever.load(Relaxed);
            let next = ever.wrapping_add(1).max(1);
            if self.ever.compare_exchange(ever, next, order!(roster_ever, AcqRel), Relaxed).is_ok() {
                return true;
            }
        }
        false
    }

    /// Takes a handle of the participant in `row` off. What it did before is seen by whoever finds all gone.
    pub fn leave(&self, cells: &[AtomicU64], life: &impl Liveness, row: usize) {
        let me = life.me();
        change(cells, row, |state| match state.handles() {
            Some((id, count)) if id == me && count > 1 => State::of(me, count - 1),
            Some((id, _)) if id == me => State::NONE,
            // Not ours: written over by a broken peer.
            _ => state,
        });
    }

    /// Whether somebody joined once and every one who joined has left or died.
    pub fn all_gone(&self, cells: &[AtomicU64], life: &impl Liveness) -> bool {
        for _ in 0..ROUNDS_LOST_MAX {
            let ever = self.ever.load(order!(roster_ever_look, Acquire));
            if ever == 0 || cells.iter().any(|cell| is_alive(cell, life)) {
                return false;
            }
            // Relaxed: the loads of the cells are acquires, so this one comes after them, and whoever saw a row left
            // sees what came before the leaving.
            if self.ever.load(Relaxed) == ever {
                return true;
            }
            mark("roster: joined meanwhile");
        }
        // So many have joined meanwhile that somebody is there.
        false
    }

    /// Takes off the handles of the dead. Returns the traces removed.
    pub fn recover(&self, cells: &[AtomicU64], life: &impl Liveness) -> u32 {
        let mut removed = 0;
        for cell in cells {
            let state = State(cell.load(order!(roster_look, Acquire)));
            let dead = state.handles().is_some_and(|(id, _)| life.is_dead(id));
            // Passes on what the proof of death let us see of what the dead had done.
            let order = order!(roster_recover, AcqRel);
            if dead && cell.compare_exchange(state.0, State::NONE.0, order, Relaxed).is_ok() {
                removed += 1;
            }
        }
        removed
    }
}

fn is_alive(cell: &AtomicU64, life: &impl Liveness) -> bool {
    let state = State(cell.load(order!(roster_look, Acquire)));
    state.handles().is_some_and(|(id, _)| !life.is_dead(id))
}

fn change(cells: &[AtomicU64], row: usize, to: impl Fn(State) -> State) -> bool {
    let Some(cell) = cells.get(row) else { return false };
    // Only threads of one participant change a row, and recovery once: losing this often means a broken peer.
    for _ in 0..ROUNDS_LOST_MAX {
        let state = State(cell.load(Relaxed));
        if cell.compare_exchange(state.0, to(state).0, order!(roster_change, AcqRel), Relaxed).is_ok() {
            return true;
        }
    }
    false
}

impl Default for Roster {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Roster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Roster(ever {})", self.ever.load(Relaxed))
    }
}
