//! The real half: core atomics, the shared futex, and the patience of a blocking call.
//!
//! A call that has to wait spins a little, then sleeps in slices. A slice that ends is the only reason to
//! ask about lives: it bounds what a dead process, which wakes nobody, can cost. A call that waits longer
//! asks for the watcher, which bumps a word of this process when somebody died; the sleeper then
//! sleeps on both words.

// The one door through which atomics enter the crate.
#![allow(clippy::disallowed_types)]

use core::fmt;
use core::sync::atomic::compiler_fence;

use crossbeam_utils::Backoff;

use crate::deadline::Deadline;
use crate::participant::Liveness;
use crate::sync::rested::Rested;
use crate::sys::{clock, futex, membarrier};

pub use core::hint::spin_loop as spin_hint;
pub use core::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering, fence};

/// A shared word that processes sleep on.
#[repr(transparent)]
pub struct Futex {
    /// The word. The kernel compares it when somebody goes to sleep.
    pub word: AtomicU32,
}

impl Futex {
    /// A word of this value.
    pub const fn new(value: u32) -> Self {
        Self { word: AtomicU32::new(value) }
    }

    /// Wakes one sleeper, if there is one.
    #[cold]
    pub fn wake_one(&self) {
        futex::wake(&self.word, 1);
    }

    /// Wakes every sleeper.
    #[cold]
    pub fn wake_all(&self) {
        futex::wake(&self.word, i32::MAX as u32);
    }
}

/// Bumped at each death that this process hears of. Private to the process: what the watcher knows, every
/// sleeper of its own process is told.
static DEATHS: Futex = Futex::new(0);

/// Ends the slice of every call of this process that has waited long.
pub fn announce_death() {
    // The sleeper asks the kernel about lives; nothing else is read through this word.
    DEATHS.word.fetch_add(1, Ordering::Relaxed);
    DEATHS.wake_all();
}

const NAP_NS: u64 = 500_000;
const FIRST_SLICE_NS: u64 = 1_000_000;
const LAST_SLICE_NS: u64 = 64_000_000;
/// A call that has waited longer than this asks for the watcher.
const LONG_NS: u64 = 8_000_000;

/// How long one blocking call has waited, and how much longer it will.
pub struct Patience {
    deadline: Deadline,
    backoff: Backoff,
    slice_ns: u64,
    /// When the call first slept; zero before.
    started_ns: u64,
    /// The deaths known when the call began to wait long; `None` before.
    deaths_seen: Option<u32>,
    asks: bool,
}

impl Patience {
    /// The patience of a call that gives up at `deadline`.
    #[inline]
    pub fn new(deadline: Deadline) -> Self {
        Self {
            deadline,
            backoff: Backoff::new(),
            slice_ns: FIRST_SLICE_NS,
            started_ns: 0,
            deaths_seen: None,
            asks: false,
        }
    }

    /// One round of spinning before sleeping. False: enough spun.
    #[inline]
    pub fn spin(&mut self) -> bool {
        let more = !self.backoff.is_completed();
        if more {
            self.backoff.snooze();
        }
        more
    }

    /// A short sleep that nobody ends, before a call that was woken in vain asks to be woken again: without it,
    /// whoever waits for the end of much work would be woken by every piece of it.
    #[cold]
    pub fn nap(&mut self) {
        clock::nap(self.deadline.remaining(clock::now_ns(), NAP_NS));
    }

    /// Whether a slice has ended in this call: from then on, ask about lives.
    #[inline]
    pub fn asks(&self) -> bool {
        self.asks
    }

    /// Sleeps at most one slice while the word is `expected`. The deadline is looked at first, so that the
    /// caller has looked once more at the state after the last sleep.
    #[cold]
    pub fn rest(&mut self, life: &impl Liveness, futex: &Futex, expected: u32) -> Rested {
        let now_ns = clock::now_ns();
        if self.deadline.has_passed(now_ns) || life.is_over() {
            return Rested::DeadlinePassed;
        }
        if self.started_ns == 0 {
            self.started_ns = now_ns;
        }
        if self.deaths_seen.is_none() && now_ns.saturating_sub(self.started_ns) > LONG_NS {
            // Read before the watcher is asked for, so that no announcement falls between.
            self.deaths_seen = Some(DEATHS.word.load(Ordering::Relaxed));
            life.waits_long();
        }
        let slice_ns = self.deadline.remaining(now_ns, self.slice_ns);
        let ended = match self.deaths_seen {
            None => futex::wait(&futex.word, expected, slice_ns),
            Some(deaths) => self.wait_long(futex, expected, deaths, now_ns.saturating_add(slice_ns), slice_ns),
        };
        if !ended {
            self.backoff.reset();
            return Rested::Looked;
        }
        self.slice_ns = (self.slice_ns * 2).min(LAST_SLICE_NS);
        self.asks = true;
        Rested::SliceEnded
    }

    /// Sleeps on the word and on the announcements. True: a slice ended, or a death was announced.
    fn wait_long(&mut self, futex: &Futex, expected: u32, deaths: u32, until_ns: u64, slice_ns: u64) -> bool {
        let both = futex::wait_two((&futex.word, expected), (&DEATHS.word, deaths), until_ns);
        // A kernel or a sandbox without the call: slices alone are slower, not wrong.
        let ended = both.unwrap_or_else(|| futex::wait(&futex.word, expected, slice_ns));
        let now = DEATHS.word.load(Ordering::Relaxed);
        self.deaths_seen = Some(now);
        ended || now != deaths
    }
}

impl fmt::Debug for Patience {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Patience").field("deadline", &self.deadline).field("asks", &self.asks).finish_non_exhaustive()
    }
}

/// The publisher's side of a store-load pair: nothing but a compiler fence where every sleeper calls
/// [`heavy_fence`] with the kernel's help.
#[inline]
pub fn light_fence(life: &impl Liveness, order: Ordering) {
    if life.sleepers_fence() {
        compiler_fence(order);
    } else {
        fence(order);
    }
}

/// The sleeper's side: makes every registered process execute a fence, or fences itself where the kernel
/// does not help (then no participant may say that sleepers fence).
#[cold]
pub fn heavy_fence(order: Ordering) {
    if !membarrier::heavy() {
        fence(order);
    }
}

/// A fence right behind a read-modify-write: on x86-64 every one of those is a full fence already, so that the
/// compiler is all that is left to hold.
#[inline(always)]
pub fn exchange_fence(order: Ordering) {
    if cfg!(target_arch = "x86_64") {
        compiler_fence(order);
    } else {
        fence(order);
    }
}

/// A plain store to a word that others exchange.
#[inline(always)]
pub fn publish_store(word: &AtomicU64, value: u64, order: Ordering) {
    word.store(value, order);
}

/// Notes in models that this point was reached. Nothing in real builds.
#[inline(always)]
pub fn mark(_what: &str) {}
