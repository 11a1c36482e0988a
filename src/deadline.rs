//! One absolute end for a whole call, on the monotonic clock.

use core::time::Duration;

/// When a call gives up: never, at once, or at a moment of the monotonic clock (nanoseconds).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Deadline(u64);

impl Deadline {
    /// Waits as long as it takes.
    pub const NEVER: Self = Self(u64::MAX);
    /// Does not wait.
    pub const NOW: Self = Self(0);

    /// `timeout` after `now_ns`. A timeout beyond 584 years is `NEVER`.
    pub fn after(now_ns: u64, timeout: Duration) -> Self {
        let ns = u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX);
        Self(now_ns.saturating_add(ns))
    }

    /// Whether the moment has come.
    #[inline]
    pub const fn has_passed(self, now_ns: u64) -> bool {
        self.0 != u64::MAX && now_ns >= self.0
    }

    /// The time from `now_ns` to the deadline, at most `most_ns`.
    #[inline]
    pub const fn remaining(self, now_ns: u64, most_ns: u64) -> u64 {
        let left = self.0.saturating_sub(now_ns);
        if left < most_ns { left } else { most_ns }
    }
}

#[cfg(all(test, not(mutirao_model)))]
mod tests {
    use super::Deadline;
    use core::time::Duration;

    #[test]
    fn huge_timeouts_never_pass() {
        let d = Deadline::after(5, Duration::MAX);
        assert_eq!(d, Deadline::NEVER);
        assert!(!d.has_passed(u64::MAX - 1));
        assert_eq!(d.remaining(7, 64), 64);
    }

    #[test]
    fn a_deadline_passes_once_and_for_all() {
        let d = Deadline::after(100, Duration::from_nanos(50));
        assert!(!d.has_passed(149) && d.has_passed(150) && d.has_passed(151));
        assert_eq!(d.remaining(120, 1000), 30);
        assert_eq!(d.remaining(200, 1000), 0);
        assert!(Deadline::NOW.has_passed(0));
    }
}
