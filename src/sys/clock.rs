//! The monotonic clock, the same for all processes of a boot.

use rustix::time::{ClockId, clock_gettime};

/// Nanoseconds of the monotonic clock, now.
pub fn now_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    // The monotonic clock starts at zero with the boot and is never negative.
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// Nanoseconds that this thread was on a processor.
pub(crate) fn thread_ns() -> u64 {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// Sleeps for `ns`, about.
pub fn nap(ns: u64) {
    std::thread::sleep(core::time::Duration::from_nanos(ns));
}
