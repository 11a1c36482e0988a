//! Permits that are cells: each holds its holder's id, so there is nothing to count and nothing to lose.
//!
//! ```text
//!   31    30..23   22..0
//! ┌──────┬────────┬──────┐
//! │ GONE │  zero  │  id  │     all zero: free
//! └──────┴────────┴──────┘
//! ```
//!
//! | from | to | by whom |
//! |---|---|---|
//! | free | id | whoever acquires |
//! | id | free | its holder; recovery, when the holder is dead |
//! | id | GONE | its holder, who forgets it for good |
//! | id of the dead | my id | whoever acquires and has proof of the death |
//!
//! Who wants several at once is the *gatherer*, one at a time under a lock, and keeps what it has while it waits for the rest:
//! two who gather half each would wait for each other. A gatherer that dies leaves cells with its id, which
//! come back like any other.
//!
//! # Memory ordering
//!
//! Who acquires a permit sees all stores of those who held it before.
#![forbid(unsafe_code)]

use core::fmt;

use crate::order;
use crate::participant::{Liveness, ParticipantId};
use crate::raw::lock::{RawLock, Refused};
use crate::raw::signal::Signal;
use crate::sync::rested::Rested;
use crate::sync::{AtomicU32, Ordering::Relaxed, Patience, mark};

/// What all permits of a semaphore share. All-zero: no permit exists.
#[repr(C)]
pub struct PermitsHeader {
    count: AtomicU32,
    gatherer: RawLock,
    freed: Signal,
}

/// The cells, wherever they are.
pub trait Cells32 {
    /// How many there are.
    fn len(&self) -> usize;

    /// The cell `i`, which is less than `len`.
    fn cell(&self, i: usize) -> &AtomicU32;

    /// Whether there is none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Cells32 for [AtomicU32] {
    #[inline]
    fn len(&self) -> usize {
        <[AtomicU32]>::len(self)
    }
    #[inline]
    fn cell(&self, i: usize) -> &AtomicU32 {
        &self[i]
    }
}

impl Cells32 for Vec<AtomicU32> {
    fn len(&self) -> usize {
        self.as_slice().len()
    }
    fn cell(&self, i: usize) -> &AtomicU32 {
        &self[i]
    }
}

/// Permits could not be added: there are not that many cells.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TooMany {
    /// How many more would fit.
    pub fit: u32,
}

/// A cell, read.
#[derive(Clone, Copy, PartialEq, Eq)]
struct State(u32);

impl State {
    const FREE: u32 = 0;
    const GONE: u32 = 1 << 31;

    fn holder(self) -> Option<ParticipantId> {
        ParticipantId::new(self.0)
    }

    fn is_corrupt(self) -> bool {
        self.0 != Self::FREE && self.0 != Self::GONE && self.holder().is_none()
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0, self.holder()) {
            (Self::FREE, _) => f.write_str("Free"),
            (Self::GONE, _) => f.write_str("Gone"),
            (_, Some(id)) => write!(f, "Held({id})"),
            (bits, None) => write!(f, "Corrupt({bits:#x})"),
        }
    }
}

impl PermitsHeader {
    /// The header of `count` permits.
    pub fn new(count: u32) -> Self {
        Self { count: AtomicU32::new(count), gatherer: RawLock::new(), freed: Signal::new() }
    }

    /// What acquirers sleep on.
    pub fn freed(&self) -> &Signal {
        &self.freed
    }

    /// The lock of whoever collects several.
    pub fn gatherer(&self) -> &RawLock {
        &self.gatherer
    }
}

/// The permits of a semaphore.
pub struct Permits<'a, C: ?Sized> {
    /// What they share.
    pub header: &'a PermitsHeader,
    /// One cell each; those beyond the count are not in use yet.
    pub cells: &'a C,
}

impl<C: Cells32 + ?Sized> Permits<'_, C> {
    /// Takes a permit that is free or, if `ask`, held by the dead, beginning the search at `hint`.
    #[inline]
    pub fn try_acquire(&self, life: &impl Liveness, hint: usize, ask: bool) -> Result<usize, Refused> {
        if self.take_at(life, hint) { Ok(hint) } else { self.search(life, hint, ask) }
    }

    /// Takes the permit at `hint` if it is free: the usual case in a straight line.
    #[inline]
    pub fn take_at(&self, life: &impl Liveness, hint: usize) -> bool {
        let (free, mine) = (State(State::FREE), State(life.me().get()));
        hint < self.usable() && self.turn(hint, free, mine, order!(permit_take, AcqRel))
    }

    #[cold]
    fn search(&self, life: &impl Liveness, hint: usize, ask: bool) -> Result<usize, Refused> {
        let usable = self.usable();
        let mut corrupt = false;
        // One round over the cells: a permit that is freed behind our back wakes us, if we sleep.
        for n in 0..usable {
            let i = (hint % usable + n) % usable;
            let state = self.state(i);
            corrupt |= state.is_corrupt();
            let takable = match state.holder() {
                Some(holder) => ask && life.is_dead(holder),
                None => state.0 == State::FREE,
            };
            if takable && self.turn(i, state, State(life.me().get()), order!(permit_take, AcqRel)) {
                if state.holder().is_some() {
                    mark("permits: taken from the dead");
                }
                return Ok(i);
            }
        }
        Err(if corrupt { Refused::Corrupt } else { Refused::Busy })
    }

    /// Takes a permit, sleeping while living participants hold them all.
    #[inline]
    pub fn acquire(&self, life: &impl Liveness, hint: usize, patience: &mut Patience) -> Result<usize, Refused> {
        match self.try_acquire(life, hint, false) {
            Err(Refused::Busy) => self.acquire_slow(life, hint, patience),
            other => other,
        }
    }

    #[cold]
    fn acquire_slow(&self, life: &impl Liveness, hint: usize, patience: &mut Patience) -> Result<usize, Refused> {
        let mut slept = false;
        let got = loop {
            while patience.spin() {
                match self.try_acquire(life, hint, patience.asks()) {
                    Err(Refused::Busy) => {}
                    other => return other,
                }
            }
            let seen = self.header.freed.prepare();
            match self.try_acquire(life, hint, patience.asks()) {
                Err(Refused::Busy) => {}
                other => break other,
            }
            if self.header.freed.rest(seen, life, patience) == Rested::DeadlinePassed {
                // Even the shortest deadline asks about lives once.
                let last = self.try_acquire(life, hint, true);
                break last.map_err(|r| if r == Refused::Busy { Refused::TimedOut } else { r });
            }
            slept = true;
        };
        if slept {
            self.pass_on();
        }
        got
    }

    /// The wake-up that we had may have been another's too: if a permit is left, wake one more.
    #[cold]
    fn pass_on(&self) {
        self.header.freed.prepare();
        if self.available() > 0 {
            mark("permits: passed on");
            self.header.freed.pass_on();
        }
    }

    /// Takes `n` permits or none. `Busy` also while another gathers.
    pub fn try_acquire_many(&self, life: &impl Liveness, n: usize, taken: &mut Vec<usize>) -> Result<(), Refused> {
        self.header.gatherer.try_acquire(life)?;
        self.gather(n, taken, life, |hint| self.try_acquire(life, hint, true))
    }

    /// Takes `n` permits, keeping what it has while it sleeps for the rest; gives all back at its deadline.
    pub fn acquire_many(
        &self,
        life: &impl Liveness,
        n: usize,
        patience: &mut Patience,
        taken: &mut Vec<usize>,
    ) -> Result<(), Refused> {
        self.header.gatherer.acquire(life, patience)?;
        self.gather(n, taken, life, |hint| self.acquire(life, hint, patience))
    }

    /// Collects under the gatherer's lock, which it then releases: what a dead gatherer had stands in the cells.
    fn gather(
        &self,
        n: usize,
        taken: &mut Vec<usize>,
        life: &impl Liveness,
        mut take: impl FnMut(usize) -> Result<usize, Refused>,
    ) -> Result<(), Refused> {
        let start = taken.len();
        let mut end = Ok(());
        while end.is_ok() && taken.len() - start < n {
            match take(taken.last().map_or(0, |last| last + 1)) {
                Ok(i) => taken.push(i),
                Err(refused) => end = Err(refused),
            }
        }
        if end.is_err() {
            taken.drain(start..).for_each(|i| self.release(life, i));
        }
        self.header.gatherer.release(false);
        end
    }

    /// Gives a permit back and wakes one who waits.
    #[inline]
    pub fn release(&self, life: &impl Liveness, i: usize) {
        if i < self.cells.len() {
            // A cell that is not ours was written over by a broken peer: leave it.
            self.turn(i, State(life.me().get()), State(State::FREE), order!(permit_release, Release));
            self.header.freed.notify(life);
        }
    }

    /// Gives up a permit for good.
    pub fn forget(&self, life: &impl Liveness, i: usize) {
        if i < self.cells.len() {
            self.turn(i, State(life.me().get()), State(State::GONE), Relaxed);
        }
    }

    /// Adds `n` permits, at most to `max` in all, and wakes everyone who waits.
    pub fn add(&self, n: u32, max: u32) -> Result<(), TooMany> {
        let max = max.min(u32::try_from(self.cells.len()).unwrap_or(u32::MAX));
        let mut count = self.header.count.load(Relaxed);
        loop {
            let fit = max.saturating_sub(count);
            if n > fit {
                return Err(TooMany { fit });
            }
            // Relaxed: new cells are free from the start, and the signal orders the count.
            match self.header.count.compare_exchange(count, count + n, Relaxed, Relaxed) {
                Ok(_) => break,
                // Ends: each loss means that another's permits were added, up to `max`.
                Err(now) => count = now,
            }
        }
        self.header.freed.notify_all();
        Ok(())
    }

    /// How many are free. A snapshot.
    pub fn available(&self) -> usize {
        (0..self.usable()).filter(|&i| self.snapshot(i).0 == State::FREE).count()
    }

    /// How many are held, by the living or the dead. A snapshot.
    pub fn held(&self) -> usize {
        (0..self.usable()).filter(|&i| self.snapshot(i).holder().is_some()).count()
    }

    /// Frees what the dead held. Returns the traces removed.
    pub fn recover(&self, life: &impl Liveness) -> u32 {
        let mut removed = self.header.gatherer.recover(life);
        for i in 0..self.usable() {
            let state = self.state(i);
            let dead = state.holder().is_some_and(|holder| life.is_dead(holder));
            // Passes on what the proof of death let us see of the dead holder's stores.
            if dead && self.turn(i, state, State(State::FREE), order!(permit_recover, AcqRel)) {
                removed += 1;
                self.header.freed.notify(life);
            }
        }
        removed
    }

    #[inline]
    fn usable(&self) -> usize {
        (self.header.count.load(Relaxed) as usize).min(self.cells.len())
    }

    /// A cell whose holder's life may be asked about: whoever meets an id must find its bearer registered.
    fn state(&self, i: usize) -> State {
        State(self.cells.cell(i).load(order!(permit_look, Acquire)))
    }

    fn snapshot(&self, i: usize) -> State {
        State(self.cells.cell(i).load(Relaxed))
    }

    #[inline]
    fn turn(&self, i: usize, from: State, to: State, order: crate::sync::Ordering) -> bool {
        self.cells.cell(i).compare_exchange(from.0, to.0, order, Relaxed).is_ok()
    }
}

impl<C: Cells32 + ?Sized> fmt::Debug for Permits<'_, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries((0..self.usable()).map(|i| self.snapshot(i))).finish()
    }
}
