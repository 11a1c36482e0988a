//! Sleeping on a word and waking its sleepers.
//!
//! Always shared: a private futex never wakes another process, and nothing but a test with two
//! processes would notice. So the flags stand here once.

// Below the facade there are only core atomics.
#![allow(clippy::disallowed_types)]

use core::sync::atomic::AtomicU32;

use rustix::io::Errno;
use rustix::thread::futex::{self, ClockId, Flags, Timespec, Wait, WaitFlags, WaitPtr, WaitvFlags};

/// Shared between processes: the private bit is absent.
const SHARED: Flags = Flags::empty();
/// The same for a wait on several words, which names the width too.
const SHARED_WORD: WaitFlags = WaitFlags::SIZE_U32;

/// Sleeps while `word` is `expected`, at most `timeout_ns`. True: the time is over. False: woken, interrupted,
/// or the word differed.
pub fn wait(word: &AtomicU32, expected: u32, timeout_ns: u64) -> bool {
    futex::wait(word, SHARED, expected, Some(&timespec(timeout_ns))) == Err(Errno::TIMEDOUT)
}

/// Sleeps while both words are as expected, at most until `until_ns` of the monotonic clock. True: the time is over.
/// `None`: the system has no such call.
pub fn wait_two(one: (&AtomicU32, u32), two: (&AtomicU32, u32), until_ns: u64) -> Option<bool> {
    let waits = [one, two].map(|(word, expected)| {
        let mut wait = Wait::new();
        wait.val = u64::from(expected);
        wait.uaddr = WaitPtr::new(word.as_ptr().cast());
        wait.flags = SHARED_WORD;
        wait
    });
    match futex::waitv(&waits, WaitvFlags::empty(), Some(&timespec(until_ns)), ClockId::Monotonic) {
        Err(Errno::TIMEDOUT) => Some(true),
        Ok(_) | Err(Errno::AGAIN | Errno::INTR) => Some(false),
        // Not implemented, or refused by a sandbox.
        Err(_) => None,
    }
}

/// Wakes at most `most` sleepers of the word.
pub fn wake(word: &AtomicU32, most: u32) {
    // Nobody to wake is not a failure, and nothing else can be done about any other answer.
    let _ = futex::wake(word, SHARED, most);
}

fn timespec(ns: u64) -> Timespec {
    // Both quotients are far below the limits of their types: u64::MAX ns is 584 years.
    Timespec { tv_sec: (ns / 1_000_000_000) as i64, tv_nsec: (ns % 1_000_000_000) as _ }
}

#[cfg(test)]
mod tests {
    use super::{wait, wait_two, wake};
    use crate::sys::clock;
    use core::sync::atomic::AtomicU32;

    #[test]
    fn a_word_that_differs_is_not_slept_on() {
        let word = AtomicU32::new(1);
        assert!(!wait(&word, 0, u64::MAX));
        assert_ne!(wait_two((&word, 1), (&AtomicU32::new(7), 6), u64::MAX / 2), Some(true));
        wake(&word, 1);
    }

    #[test]
    fn a_sleep_is_by_the_monotonic_clock() {
        let (word, a_while) = (AtomicU32::new(1), 30_000_000);
        // By the wall clock, decades ahead, such an end would have passed long ago.
        let begun = clock::now_ns();
        if wait_two((&word, 1), (&word, 1), begun + a_while) == Some(true) {
            assert!(clock::now_ns() >= begun + a_while);
        }
        let begun = clock::now_ns();
        assert!(wait(&word, 1, a_while) && clock::now_ns() >= begun + a_while);
    }

    #[test]
    fn a_sleep_ends_with_its_time() {
        let word = AtomicU32::new(1);
        assert!(wait(&word, 1, 1000));
        assert_ne!(wait_two((&word, 1), (&word, 1), 1), Some(false));
    }
}
