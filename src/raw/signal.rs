//! A number to sleep on, and whether anybody wants to be woken: condition, event, "not empty", "not full".
//!
//! | word | value | moved by |
//! |---|---|---|
//! | `seq` | grows with every wake-up, wraps | whoever wakes |
//! | `wanted` | bit 0: somebody may sleep; bit 1: all are to be woken; 0: nobody has said so | a bit by a sleeper, 0 by a waker; anything else counts as bit 0 |
//!
//! The sleeper: [`prepare`](Signal::prepare) (read the number, say "wanted", fence), look once more, then
//! [`rest`](Signal::rest) until the number differs. The publisher: publish, then [`notify`](Signal::notify), which fences and looks
//! at the flag. Either the sleeper's look sees what was published or the publisher sees the flag.
//!
//! `wanted` is a flag and not a count: a sleeper that dies leaves nothing behind but one needless wake-up. The price is
//! that one wake-up takes the flag off for all sleepers, so whoever slept and succeeded must pass it
//! on: prepare again, and if there is more, [`pass_on`](Signal::pass_on). If a waker dies after it took the flag off, or the woken one dies,
//! the slices of the others end.
#![forbid(unsafe_code)]

use core::fmt;

use crate::order;
use crate::participant::Liveness;
use crate::sync::rested::Rested;
use crate::sync::{AtomicU32, Futex, Ordering::Relaxed, Patience, heavy_fence, light_fence};

/// A signal. All-zero is one that nobody waits for.
#[repr(C)]
pub struct Signal {
    seq: Futex,
    wanted: AtomicU32,
}

/// The number that a sleeper saw before its last look.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Seen(u32);

impl Signal {
    const NOBODY: u32 = 0;
    const WANTED: u32 = 1;
    const ALL: u32 = 2;

    /// A signal that nobody waits for.
    #[cfg(not(mutirao_model))]
    pub const fn new() -> Self {
        Self { seq: Futex::new(0), wanted: AtomicU32::new(Self::NOBODY) }
    }

    /// A signal that nobody waits for.
    #[cfg(mutirao_model)]
    pub fn new() -> Self {
        Self { seq: Futex::new(0), wanted: AtomicU32::new(Self::NOBODY) }
    }

    /// Wakes one sleeper, if somebody may sleep. Call it after publishing.
    #[inline]
    pub fn notify(&self, life: &impl Liveness) {
        // What was published before is ordered before the look at the flag; the other end is in `prepare`.
        light_fence(life, order!(signal_publish_fence, SeqCst));
        if self.has_sleepers() {
            self.pass_on();
        }
    }

    /// As [`notify`](Signal::notify), for news that only concerns sleepers who [want all](Signal::prepare_all) to be woken.
    #[inline]
    pub fn notify_if_all(&self, life: &impl Liveness) {
        light_fence(life, order!(signal_publish_fence, SeqCst));
        if self.wanted.load(Relaxed) & Self::ALL != 0 {
            self.pass_on();
        }
    }

    /// Wakes every sleeper, without asking whether there is one.
    #[cold]
    pub fn notify_all(&self) {
        self.wanted.swap(Self::NOBODY, Relaxed);
        self.bump();
        self.seq.wake_all();
    }

    /// The number to sleep on. After this, look once more: what is published from here on wakes.
    #[cold]
    pub fn prepare(&self) -> Seen {
        self.prepare_as(Self::WANTED)
    }

    /// As [`prepare`](Signal::prepare), for one who waits for something else than the others do: the next wake-up is
    /// for all, so that it swallows nobody's.
    #[cold]
    pub fn prepare_all(&self) -> Seen {
        self.prepare_as(Self::ALL)
    }

    fn prepare_as(&self, how: u32) -> Seen {
        let seen = Seen(self.seq.word.load(order!(signal_look, Acquire)));
        self.wanted.fetch_or(how, Relaxed);
        heavy_fence(order!(signal_sleep_fence, SeqCst));
        seen
    }

    /// Sleeps at most one slice while the number is the one that was seen.
    pub fn rest(&self, seen: Seen, life: &impl Liveness, patience: &mut Patience) -> Rested {
        patience.rest(life, &self.seq, seen.0)
    }

    /// Wakes one more, if somebody said that it wants to be woken.
    #[cold]
    pub fn pass_on(&self) {
        // Off first: a sleeper who comes now, having seen the new number, turns it on again.
        let wanted = self.wanted.swap(Self::NOBODY, Relaxed);
        if wanted & Self::ALL != 0 {
            self.bump();
            self.seq.wake_all();
        } else if wanted != Self::NOBODY {
            self.bump();
            self.seq.wake_one();
        }
    }

    /// Whether somebody may sleep.
    #[inline]
    pub fn has_sleepers(&self) -> bool {
        self.wanted.load(Relaxed) != Self::NOBODY
    }

    /// Whoever sees the new number sees what was published, and that the flag was taken off before.
    fn bump(&self) {
        self.seq.word.fetch_add(1, order!(signal_bump, Release));
    }

    /// The word that sleepers wait on, for the kernel of a model.
    #[cfg(mutirao_model)]
    pub fn futex(&self) -> &Futex {
        &self.seq
    }
}

impl Default for Signal {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sleepers = if self.has_sleepers() { "wanted" } else { "nobody" };
        write!(f, "Signal({}, {sleepers})", self.seq.word.load(Relaxed))
    }
}
