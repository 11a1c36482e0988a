//! An entry of the table of ranges: a state word, a start and an end.
//!
//! ```text
//!  63..40   39..32   31..23   22..0
//! ┌────────┬────────┬────────┬──────┐
//! │  zero  │ phase  │  zero  │  id  │     all zero: free
//! └────────┴────────┴────────┴──────┘
//! ```
//!
//! | from | to | by whom |
//! |---|---|---|
//! | free | READING(me), WRITING(me) | who holds the table's lock, when start and end are written |
//! | READING(me), WRITING(me) | free | its holder, without the table's lock |
//! | READING(dead) | free | anyone who has proof of the death |
//! | WRITING(dead) | DAMAGED | anyone who has proof of the death |
//! | free | DAMAGED | who holds the table's lock: the second half of a range that is cut in two |
//! | DAMAGED | free | who holds the table's lock, and a range over it which it declared whole |
#![forbid(unsafe_code)]

use core::fmt;
use core::ops::Range;

use crate::order;
use crate::participant::{Liveness, ParticipantId};
use crate::sync::{AtomicU64, Ordering, Ordering::Relaxed, mark};

/// A range that is held or damaged. All-zero: free.
#[repr(C)]
pub struct RangeEntry {
    pub state: AtomicU64,
    pub start: AtomicU64,
    pub end: AtomicU64,
    _reserved_1: AtomicU64,
}

/// What a claim permits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// To read, beside other readers.
    Read,
    /// To write, alone.
    Write,
}

/// A state word, read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct State(pub u64);

impl State {
    /// Nobody holds it.
    pub const FREE: Self = Self(0);
    const READING: u64 = 1 << 32;
    const WRITING: u64 = 2 << 32;
    /// A writer of it died.
    pub const DAMAGED: Self = Self(3 << 32);

    /// Held by `id`.
    pub const fn held(access: Access, id: ParticipantId) -> Self {
        let phase = match access {
            Access::Read => Self::READING,
            Access::Write => Self::WRITING,
        };
        Self(phase | id.get() as u64)
    }

    /// Who holds the range, and for what.
    pub fn holder(self) -> Option<(Access, ParticipantId)> {
        let id = ParticipantId::new(self.0 as u32)?;
        match self.0 >> 32 << 32 {
            Self::READING => Some((Access::Read, id)),
            Self::WRITING => Some((Access::Write, id)),
            _ => None,
        }
    }

    /// Whether no participant writes this.
    pub fn is_corrupt(self) -> bool {
        self != Self::FREE && self != Self::DAMAGED && self.holder().is_none()
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (*self, self.holder()) {
            (Self::FREE, _) => f.write_str("Free"),
            (Self::DAMAGED, _) => f.write_str("Damaged"),
            (_, Some((Access::Read, id))) => write!(f, "Reading({id})"),
            (_, Some((Access::Write, id))) => write!(f, "Writing({id})"),
            _ => write!(f, "Corrupt({:#x})", self.0),
        }
    }
}

impl RangeEntry {
    /// Free.
    pub fn new() -> Self {
        let [state, start, end, _reserved_1] = [0, 0, 0, 0].map(AtomicU64::new);
        Self { state, start, end, _reserved_1 }
    }

    /// The state now.
    pub fn look(&self) -> State {
        State(self.state.load(order!(range_look, Acquire)))
    }

    /// Start and end. Relaxed: the state, or the table's lock, orders them.
    pub fn range(&self) -> Range<u64> {
        self.start.load(Relaxed)..self.end.load(Relaxed)
    }

    /// Changes the state if it is still this one.
    pub fn exchange(&self, from: State, to: State, order: Ordering) -> bool {
        self.state.compare_exchange(from.0, to.0, order, Relaxed).is_ok()
    }

    /// Makes a free entry one of this range. Under the table's lock.
    pub fn fill(&self, range: &Range<u64>, state: State) {
        self.start.store(range.start, Relaxed);
        self.end.store(range.end, Relaxed);
        // Release: who finds the entry finds the range, also when we die here, and the registration of its holder.
        self.state.store(state.0, order!(range_claim, Release));
    }

    /// Frees an entry of the dead, or makes it a damaged one. Passes on what the proof of death let us see.
    pub fn bury(&self, state: State, life: &impl Liveness) -> bool {
        let next = match state.holder() {
            Some((Access::Read, id)) if life.is_dead(id) => State::FREE,
            Some((Access::Write, id)) if life.is_dead(id) => State::DAMAGED,
            _ => return false,
        };
        mark(if next == State::FREE { "ranges: a dead reader" } else { "ranges: a dead writer" });
        self.exchange(state, next, order!(range_bury, AcqRel))
    }
}

/// Whether two ranges share anything.
pub fn overlap(a: &Range<u64>, b: &Range<u64>) -> bool {
    a.start.max(b.start) < a.end.min(b.end)
}

impl Default for RangeEntry {
    fn default() -> Self {
        Self::new()
    }
}
