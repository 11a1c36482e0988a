//! Cores, clocks and medians.

use std::time::Instant;

use rustix::thread::{CpuSet, sched_setaffinity};

/// Pins this thread to the n-th core; on a smaller machine to the one there is.
pub fn pin(core: usize) {
    let mut set = CpuSet::new();
    set.set(core % std::thread::available_parallelism().map_or(1, usize::from).max(core + 1));
    // A core that we may not use: then unpinned is the best there is.
    let _ = sched_setaffinity(None, &set);
}

/// Lets this thread run on every core again.
pub fn unpin() {
    let mut set = CpuSet::new();
    (0..CpuSet::MAX_CPU).for_each(|core| set.set(core));
    let _ = sched_setaffinity(None, &set);
}

/// A number from the environment.
pub fn from_environment(name: &str, otherwise: usize) -> usize {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(otherwise)
}

/// The middle one.
pub fn median(numbers: &mut [f64]) -> f64 {
    numbers.sort_by(f64::total_cmp);
    let middle = numbers.len() / 2;
    if numbers.len() % 2 == 1 { numbers[middle] } else { (numbers[middle - 1] + numbers[middle]) / 2.0 }
}

/// Nanoseconds that each of `times` takes, after a tenth of them to warm up.
pub fn ns_each(times: u64, mut operation: impl FnMut(u64)) -> f64 {
    for i in 0..times / 10 {
        operation(i);
    }
    let begun = Instant::now();
    for i in 0..times {
        operation(i);
    }
    begun.elapsed().as_nanos() as f64 / times as f64
}

/// Spins until it is so.
pub fn wait_for(mut so: impl FnMut() -> bool) {
    while !so() {
        std::hint::spin_loop();
    }
}
