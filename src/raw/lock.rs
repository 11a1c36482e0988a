//! Mutual exclusion in one word that names its holder, so that a dead holder can be told from a slow one.
//!
//! ```text
//!  31      30      29..23   22..0
//! ┌───────┬───────┬────────┬──────┐
//! │WAITERS│DAMAGED│  zero  │  id  │     id 0: free
//! └───────┴───────┴────────┴──────┘
//! ```
//!
//! | from | to | by whom |
//! |---|---|---|
//! | free | held by me, DAMAGED kept | anyone, by compare-and-swap |
//! | held | held, WAITERS | whoever is about to sleep |
//! | held by the dead | held by me, DAMAGED | anyone who has proof of the death |
//! | held by the dead | free, DAMAGED | recovery, which wakes all sleepers |
//! | held by me | free, DAMAGED if the holder says so | the holder, by one swap |
//!
//! WAITERS says that somebody may sleep. A release takes it off and wakes one sleeper, who puts it back when it
//! takes the lock, because others may still sleep. If a holder dies between its swap and its wake, the
//! sleepers' slices end.
//!
//! DAMAGED says that a holder died, and stays until a holder releases without it: what the lock guards is
//! repaired by whoever gets [`Acquired::AfterDeath`], who may die in turn.
//!
//! # Memory ordering
//!
//! Who acquires sees all stores of those who held before, also of the dead.
#![forbid(unsafe_code)]

use core::fmt;

use crate::order;
use crate::participant::{Liveness, ParticipantId};
use crate::sync::rested::Rested;
use crate::sync::{Futex, Ordering::Relaxed, Patience, mark};

/// A lock word. All-zero is free.
#[repr(C)]
pub struct RawLock {
    futex: Futex,
}

/// How the lock was acquired.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Acquired {
    /// The last holder released it.
    Clean,
    /// A holder died and nobody has declared the guarded state whole since.
    AfterDeath,
}

/// Why it was not acquired.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Refused {
    /// A living participant stands in the way.
    Busy,
    /// The deadline passed.
    TimedOut,
    /// The word makes no sense.
    Corrupt,
    /// Others were faster very many times in a row.
    Contended,
}

/// Rounds that may be lost to others before a call gives up.
const ROUNDS_LOST_MAX: u32 = 1000;

/// The word, read.
#[derive(Clone, Copy, PartialEq, Eq)]
struct State(u32);

impl State {
    const FREE: u32 = 0;
    const DAMAGED: u32 = 1 << 30;
    const WAITERS: u32 = 1 << 31;

    fn holder(self) -> Option<ParticipantId> {
        ParticipantId::new(self.0 & ParticipantId::MASK)
    }

    const fn has_waiters(self) -> bool {
        self.0 & Self::WAITERS != 0
    }

    const fn is_damaged(self) -> bool {
        self.0 & Self::DAMAGED != 0
    }

    const fn is_corrupt(self) -> bool {
        self.0 & !(ParticipantId::MASK | Self::DAMAGED | Self::WAITERS) != 0
    }

    /// The same flags and these, held by `id`.
    const fn held_by(self, id: ParticipantId, more: u32) -> Self {
        Self(self.0 & (Self::DAMAGED | Self::WAITERS) | id.get() | more)
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_corrupt() {
            return write!(f, "Corrupt({:#x})", self.0);
        }
        match self.holder() {
            None => write!(f, "Free")?,
            Some(id) => write!(f, "Held({id})")?,
        }
        f.write_str(if self.is_damaged() { " DAMAGED" } else { "" })?;
        f.write_str(if self.has_waiters() { " WAITERS" } else { "" })
    }
}

/// What came of one look.
enum Taking {
    /// Acquired, or corrupt.
    Ended(Result<Acquired, Refused>),
    /// A participant holds it that is not known to be dead.
    Held,
    /// Another was faster.
    Lost,
}

impl RawLock {
    /// A free lock.
    #[cfg(not(mutirao_model))]
    pub const fn new() -> Self {
        Self { futex: Futex::new(State::FREE) }
    }

    /// A free lock.
    #[cfg(mutirao_model)]
    pub fn new() -> Self {
        Self { futex: Futex::new(State::FREE) }
    }

    /// Takes the lock if it is free or its holder is dead. Asks about the holder's life at once.
    #[inline]
    pub fn try_acquire(&self, life: &impl Liveness) -> Result<Acquired, Refused> {
        if self.take_free(life.me()) { Ok(Acquired::Clean) } else { self.try_acquire_slow(life) }
    }

    /// Takes the lock, sleeping while a living participant holds it.
    #[inline]
    pub fn acquire(&self, life: &impl Liveness, patience: &mut Patience) -> Result<Acquired, Refused> {
        if self.take_free(life.me()) { Ok(Acquired::Clean) } else { self.acquire_slow(life, patience) }
    }

    /// Gives the lock back. `damaged`: what it guards is not whole, and the next holder is told so.
    #[inline]
    pub fn release(&self, damaged: bool) {
        let free = if damaged { State::DAMAGED } else { State::FREE };
        // One swap, not a compare-and-swap: the flag of a sleeper who comes now is taken off with the id.
        if State(self.futex.word.swap(free, order!(lock_release, Release))).has_waiters() {
            self.futex.wake_one();
        }
    }

    /// Who holds it. A snapshot, for people and tests.
    pub fn holder(&self) -> Option<ParticipantId> {
        self.snapshot().holder()
    }

    /// Whether a holder died and nobody has declared the state whole since.
    pub fn is_damaged(&self) -> bool {
        self.snapshot().is_damaged()
    }

    /// Whether somebody may sleep on it.
    pub fn has_waiters(&self) -> bool {
        self.snapshot().has_waiters()
    }

    /// Frees the lock of a dead holder, marks it damaged and wakes the sleepers. Returns the traces removed.
    pub fn recover(&self, life: &impl Liveness) -> u32 {
        for _ in 0..ROUNDS_LOST_MAX {
            let state = State(self.futex.word.load(order!(lock_look, Acquire)));
            let Some(holder) = state.holder() else { return 0 };
            if state.is_corrupt() || !life.is_dead(holder) {
                return 0;
            }
            // Passes on what the proof of death let us see of the dead holder's stores.
            if self.swap_state(state, State(State::DAMAGED), order!(lock_recover, AcqRel)) {
                mark("lock: recovered");
                if state.has_waiters() {
                    self.futex.wake_all();
                }
                return 1;
            }
        }
        0
    }

    /// The uncontended way, and nothing else: false says nothing of who holds it.
    #[inline]
    pub fn take_free(&self, me: ParticipantId) -> bool {
        // Release too: who meets the id must find its bearer registered, or would take it for dead.
        self.futex.word.compare_exchange(State::FREE, me.get(), order!(lock_take, AcqRel), Relaxed).is_ok()
    }

    /// Whether nobody holds it; if so, how the last holder left it. Whoever is told so sees what that one stored.
    #[inline]
    pub fn seen_free(&self) -> Option<Acquired> {
        match self.futex.word.load(order!(lock_seen_free, Acquire)) & !State::WAITERS {
            State::FREE => Some(Acquired::Clean),
            State::DAMAGED => Some(Acquired::AfterDeath),
            _ => None,
        }
    }

    #[cold]
    fn try_acquire_slow(&self, life: &impl Liveness) -> Result<Acquired, Refused> {
        for _ in 0..ROUNDS_LOST_MAX {
            let state = State(self.futex.word.load(order!(lock_look, Acquire)));
            match self.try_take(state, life, true, 0) {
                Taking::Ended(end) => return end,
                Taking::Held => return Err(Refused::Busy),
                Taking::Lost => {}
            }
        }
        Err(Refused::Contended)
    }

    #[cold]
    fn acquire_slow(&self, life: &impl Liveness, patience: &mut Patience) -> Result<Acquired, Refused> {
        let mut lost = 0;
        // Set once this call has slept: the release that woke it took the flag off for all the others too.
        let mut keep = 0;
        while lost < ROUNDS_LOST_MAX {
            let state = State(self.futex.word.load(order!(lock_look, Acquire)));
            match self.try_take(state, life, patience.asks(), keep) {
                Taking::Ended(end) => return end,
                Taking::Held if patience.spin() => continue,
                Taking::Held => {}
                Taking::Lost => {
                    lost += 1;
                    continue;
                }
            }
            let waited = State(state.0 | State::WAITERS);
            if !state.has_waiters() && !self.swap_state(state, waited, Relaxed) {
                lost += 1;
                continue;
            }
            if patience.rest(life, &self.futex, waited.0) == Rested::DeadlinePassed {
                // Even the shortest deadline asks about the holder's life once.
                let last = self.try_acquire_slow(life);
                return last.map_err(|r| if r == Refused::Busy { Refused::TimedOut } else { r });
            }
            keep = State::WAITERS;
            lost = 0;
        }
        Err(Refused::Contended)
    }

    /// Takes a lock that is free or, if `ask`, held by the dead.
    fn try_take(&self, state: State, life: &impl Liveness, ask: bool, keep: u32) -> Taking {
        if state.is_corrupt() {
            return Taking::Ended(Err(Refused::Corrupt));
        }
        let mine = match state.holder() {
            None => state.held_by(life.me(), keep),
            Some(holder) if ask && life.is_dead(holder) => {
                mark("lock: taken from the dead");
                state.held_by(life.me(), State::DAMAGED | keep)
            }
            Some(_) => return Taking::Held,
        };
        if !self.swap_state(state, mine, order!(lock_take, AcqRel)) {
            return Taking::Lost;
        }
        Taking::Ended(Ok(if mine.is_damaged() { Acquired::AfterDeath } else { Acquired::Clean }))
    }

    #[inline]
    fn swap_state(&self, from: State, to: State, order: crate::sync::Ordering) -> bool {
        self.futex.word.compare_exchange(from.0, to.0, order, Relaxed).is_ok()
    }

    fn snapshot(&self) -> State {
        State(self.futex.word.load(Relaxed))
    }

    /// The word that sleepers wait on, for the kernel of a model.
    #[cfg(mutirao_model)]
    pub fn futex(&self) -> &Futex {
        &self.futex
    }
}

impl Default for RawLock {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for RawLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.snapshot(), f)
    }
}

#[cfg(all(test, not(mutirao_model)))]
pub(in crate::raw) mod tests {
    use crate::deadline::Deadline;
    use crate::participant::{Liveness, ParticipantId};
    use crate::raw::lock::{Acquired, RawLock, Refused};
    use crate::sync::{Ordering::Relaxed, Patience};

    /// Ids from 100 on are dead.
    pub(in crate::raw) struct Me(pub u32);

    impl Liveness for Me {
        fn me(&self) -> ParticipantId {
            ParticipantId::new(self.0).unwrap()
        }
        fn is_dead(&self, id: ParticipantId) -> bool {
            id.get() >= 100 && id != self.me()
        }
    }

    #[test]
    fn a_dead_holder_is_reported_until_the_state_is_declared_whole() {
        let lock = RawLock::new();
        assert_eq!(lock.try_acquire(&Me(100)), Ok(Acquired::Clean));
        assert_eq!(lock.try_acquire(&Me(1)), Ok(Acquired::AfterDeath));
        assert_eq!(lock.try_acquire(&Me(2)), Err(Refused::Busy));
        assert_eq!(format!("{lock:?}"), "Held(#1) DAMAGED");
        lock.release(true);
        assert_eq!(lock.try_acquire(&Me(2)), Ok(Acquired::AfterDeath));
        lock.release(false);
        assert_eq!(lock.acquire(&Me(2), &mut Patience::new(Deadline::NEVER)), Ok(Acquired::Clean));
    }

    #[test]
    fn even_a_deadline_of_now_finds_the_dead() {
        let lock = RawLock::new();
        lock.try_acquire(&Me(1)).unwrap();
        assert_eq!(lock.acquire(&Me(2), &mut Patience::new(Deadline::NOW)), Err(Refused::TimedOut));
        lock.release(false);
        lock.try_acquire(&Me(100)).unwrap();
        assert_eq!(lock.acquire(&Me(2), &mut Patience::new(Deadline::NOW)), Ok(Acquired::AfterDeath));
    }

    #[test]
    fn recovery_frees_only_the_dead() {
        let lock = RawLock::new();
        lock.try_acquire(&Me(100)).unwrap();
        assert_eq!((lock.recover(&Me(1)), lock.recover(&Me(1))), (1, 0));
        assert_eq!(lock.try_acquire(&Me(1)), Ok(Acquired::AfterDeath));
        assert_eq!(lock.recover(&Me(2)), 0);
    }

    #[test]
    fn any_word_ends_in_an_answer() {
        for bit in 0..32 {
            for other in 0..32 {
                let lock = RawLock::new();
                lock.futex.word.store(1 << bit | 1 << other, Relaxed);
                let _ = lock.acquire(&Me(5), &mut Patience::new(Deadline::NOW));
                lock.recover(&Me(5));
                lock.release(false);
            }
        }
        let lock = RawLock::new();
        lock.futex.word.store(1 << 23, Relaxed);
        assert_eq!(lock.try_acquire(&Me(5)), Err(Refused::Corrupt));
    }
}
