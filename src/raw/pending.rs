//! What is being computed: one computes, all others who want the same wait for it, and the next takes over from the dead.
//!
//! A stripe is a lock, the words of what is pending, and a signal. Where there are several, the hash says which.
//!
//! ```text
//!   63..23                 22..0
//! ┌──────────────────────┬──────┐
//! │ tag: bits of the hash│  id  │     all zero: free
//! └──────────────────────┴──────┘
//! ```
//!
//! | from | to | by whom |
//! |---|---|---|
//! | free | tag, my id | who found the tag nowhere in the stripe, under its lock |
//! | tag, my id | free | who computed, or gave up |
//! | tag, id of the dead | the same tag, my id | who waited for it and has proof of the death |
//! | tag, id of the dead | another tag, my id | who found no free word, under the lock, with proof of the death |
//! | tag, id of the dead | free | recovery |
//!
//! A tag stands in one word at most: it is only written into a free word under the lock, after a look at all others. So
//! there is one at a time who computes for it. What was computed is published elsewhere, before the word becomes free; who waited
//! looks for it there, and so does who claims, because somebody may have been faster. Two keys of one tag wait for each
//! other, which costs time and nothing else.
//!
//! Ids are a process's: of two threads of one process one waits for the other like any other pair. That a thread does not
//! wait for itself is the caller's business.
//!
//! # Memory ordering
//!
//! Who is told to [look](Claim::Look), and who claims, sees what was published by those who computed before.
#![forbid(unsafe_code)]

use core::fmt;

use crate::order;
use crate::participant::{Liveness, ParticipantId};
use crate::raw::lock::{RawLock, Refused};
use crate::raw::signal::Signal;
use crate::sync::rested::Rested;
use crate::sync::{AtomicU32, AtomicU64, Ordering::Relaxed, Patience, mark};

/// What is pending of some of the keys, `WORDS` at once. All-zero: nothing is.
#[repr(C)]
pub struct Stripe<const WORDS: usize> {
    lock: RawLock,
    /// No word from here on is in use. Written under the lock; whatever stands here is cut to `WORDS`.
    used: AtomicU32,
    over: Signal,
    words: [AtomicU64; WORDS],
}

/// Permission to compute, until it is given back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use = "whoever wants the same waits until it is given back"]
pub struct Ticket {
    index: usize,
    word: State,
}

/// What came of a claim.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Claim {
    /// Nobody else computes it from here on. Look once more whether it is there: somebody may have been faster.
    Mine(Ticket),
    /// Whoever computed it is done: look whether it is there.
    Look,
}

/// Why there is no claim.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Unclaimed {
    /// The deadline passed while a living one computed.
    TimedOut,
    /// Living ones compute as much as there are words for.
    Full,
    /// The lock could not be taken.
    Locked(Refused),
}

/// A word, read.
#[derive(Clone, Copy, PartialEq, Eq)]
struct State(u64);

impl State {
    const FREE: Self = Self(0);

    /// The word of whoever computes what has this hash.
    const fn of(hash: u64, id: ParticipantId) -> Self {
        Self(hash & !(ParticipantId::MASK as u64) | id.get() as u64)
    }

    fn id(self) -> Option<ParticipantId> {
        ParticipantId::new(self.0 as u32 & ParticipantId::MASK)
    }

    /// Whether it stands for this hash. A tag without an id is nobody's.
    fn is_for(self, hash: u64) -> bool {
        self.id().is_some() && self.0 >> ParticipantId::BITS == hash >> ParticipantId::BITS
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.id() {
            None if *self == Self::FREE => f.write_str("Free"),
            None => write!(f, "Corrupt({:#x})", self.0),
            Some(id) => write!(f, "Pending({:#x}, {id})", self.0 >> ParticipantId::BITS),
        }
    }
}

/// What a look at a stripe found.
enum Found {
    Mine(Ticket),
    /// Somebody computes it, who is not known to be dead.
    Pending(usize, State),
    Full,
}

impl<const WORDS: usize> Stripe<WORDS> {
    /// A stripe in which nothing is pending.
    pub fn new() -> Self {
        Self {
            lock: RawLock::new(),
            used: AtomicU32::new(0),
            over: Signal::new(),
            words: core::array::from_fn(|_| AtomicU64::new(0)),
        }
    }

    /// What is told apart of a hash.
    pub const fn tag(hash: u64) -> u64 {
        hash >> ParticipantId::BITS
    }

    /// Claims what has this hash, of which the bits from 23 on count, or sleeps until whoever computes it is done or
    /// dead. `waits_for_room`: sleeps also while there is no word for one more.
    pub fn claim(
        &self,
        life: &impl Liveness,
        hash: u64,
        waits_for_room: bool,
        patience: &mut Patience,
    ) -> Result<Claim, Unclaimed> {
        let mut last = false;
        // Ends with what others do, or with the patience.
        loop {
            let met = match self.search(life, hash, patience)? {
                Found::Mine(ticket) => return Ok(Claim::Mine(ticket)),
                Found::Pending(index, word) => Some((index, word)),
                Found::Full if waits_for_room => None,
                Found::Full => return Err(Unclaimed::Full),
            };
            if let Some((index, word)) = met
                && (last || patience.asks())
                && let Some(ticket) = self.take_over(life, index, word, State::of(hash, life.me()))
            {
                return Ok(Claim::Mine(ticket));
            }
            if last {
                return Err(Unclaimed::TimedOut);
            }
            let is_over = || met.is_some_and(|(index, word)| self.look(index) != word);
            while patience.spin() {
                if is_over() {
                    return Ok(Claim::Look);
                }
            }
            let seen = self.over.prepare_all();
            if is_over() {
                return Ok(Claim::Look);
            }
            // Room may have come before the signal was read.
            let has_room = || (0..WORDS).any(|index| self.look(index).id().is_none());
            if met.is_none() && has_room() {
                continue;
            }
            // Even the shortest deadline asks about a life once.
            last = self.over.rest(seen, life, patience) == Rested::DeadlinePassed;
            if is_over() {
                return Ok(Claim::Look);
            }
        }
    }

    /// Looks for the hash, and claims a word for it if it stands nowhere.
    fn search(&self, life: &impl Liveness, hash: u64, patience: &mut Patience) -> Result<Found, Unclaimed> {
        // A holder that died has changed one word at most: there is nothing to repair.
        self.lock.acquire(life, patience).map_err(|refused| match refused {
            Refused::TimedOut => Unclaimed::TimedOut,
            other => Unclaimed::Locked(other),
        })?;
        let found = self.search_locked(life, hash);
        self.lock.release(false);
        Ok(found)
    }

    fn search_locked(&self, life: &impl Liveness, hash: u64) -> Found {
        let used = (self.used.load(Relaxed) as usize).min(WORDS);
        let (mut free, mut end) = (None, 0);
        for index in 0..used {
            let word = self.look(index);
            if word.is_for(hash) {
                return Found::Pending(index, word);
            }
            match word.id() {
                Some(_) => end = index + 1,
                None => free = free.or(Some((index, word))),
            }
        }
        let mine = State::of(hash, life.me());
        let place = free.or_else(|| (used < WORDS).then(|| (used, self.look(used))));
        let Some((index, was)) = place else {
            // Nobody waits for what the dead computed, or it is who waits that takes over: whoever is faster.
            let dead = (0..WORDS).map(|index| (index, self.look(index)));
            let taken = dead.filter_map(|(index, word)| self.take_over(life, index, word, mine)).next();
            return taken.map_or(Found::Full, Found::Mine);
        };
        // Before the word: whoever looks for it under the lock must look so far.
        self.used.store(end.max(index + 1) as u32, Relaxed);
        // Release: who meets the id must find its bearer registered.
        match self.words[index].compare_exchange(was.0, mine.0, order!(pending_claim, Release), Relaxed) {
            Ok(_) => Found::Mine(Ticket { index, word: mine }),
            // Free words change under the lock only: somebody writes who should not.
            Err(_) => Found::Full,
        }
    }

    /// Takes the word of one who is dead.
    fn take_over(&self, life: &impl Liveness, index: usize, word: State, mine: State) -> Option<Ticket> {
        if !word.id().is_some_and(|id| life.is_dead(id)) {
            return None;
        }
        // Passes on what the proof of death let us see of the dead one's stores.
        let order = order!(pending_take_over, AcqRel);
        self.words[index].compare_exchange(word.0, mine.0, order, Relaxed).ok()?;
        mark("pending: taken over from the dead");
        Some(Ticket { index, word: mine })
    }

    /// Gives a claim back, computed or not, and wakes those who wait for it. Publish first. False: the word was not ours any
    /// more, because a broken peer wrote over it; it is left alone.
    pub fn give_back(&self, life: &impl Liveness, ticket: Ticket) -> bool {
        let Some(word) = self.words.get(ticket.index) else { return false };
        let order = order!(pending_over, Release);
        let ours = word.compare_exchange(ticket.word.0, State::FREE.0, order, Relaxed).is_ok();
        if ours {
            self.over.notify(life);
        }
        ours
    }

    /// Frees what the dead were computing. Returns the traces removed.
    pub fn recover(&self, life: &impl Liveness) -> u32 {
        let mut removed = self.lock.recover(life);
        for index in 0..WORDS {
            let state = self.look(index);
            let dead = state.id().is_some_and(|id| life.is_dead(id));
            let order = order!(pending_recover, AcqRel);
            if dead && self.words[index].compare_exchange(state.0, State::FREE.0, order, Relaxed).is_ok() {
                mark("pending: recovered");
                removed += 1;
                self.over.notify(life);
            }
        }
        removed
    }

    /// Who computes now. A snapshot, for people.
    pub fn computing(&self) -> impl Iterator<Item = ParticipantId> + '_ {
        self.words.iter().filter_map(|word| State(word.load(Relaxed)).id())
    }

    fn look(&self, index: usize) -> State {
        State(self.words[index].load(order!(pending_look, Acquire)))
    }

    /// The words that sleepers wait on, for the kernel of a model.
    #[cfg(mutirao_model)]
    pub fn futexes(&self) -> [&crate::sync::Futex; 2] {
        [self.over.futex(), self.lock.futex()]
    }
}

impl<const WORDS: usize> Default for Stripe<WORDS> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const WORDS: usize> fmt::Debug for Stripe<WORDS> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = self.words.iter().map(|word| State(word.load(Relaxed))).filter(|state| *state != State::FREE);
        f.debug_list().entries(words).finish()
    }
}
