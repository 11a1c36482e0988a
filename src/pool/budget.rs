//! How many processors a pool may use: those of this process, and a share of them where this process is itself a worker.
//!
//! A worker gets, in its environment, its share of what its pool's process may use. A pool that a worker makes has no more
//! workers than that, and at least one. So the workers at the bottom of the tree are about as many as there are
//! processors, whoever makes pools in it.

use crate::error::{Error, Result};
use crate::sys::process as sys;

/// Names a worker's share.
pub(crate) const SHARE: &str = "MUTIRAO_PROCESSORS";
/// Names how many pools are above a worker.
pub(crate) const DEPTH: &str = "MUTIRAO_POOL_DEPTH";
/// The most pools above one another: what makes more of them does not end.
const DEPTH_MAX: u64 = 8;

fn number_in(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// How many processors this process may use: its affinity, the quota of its cgroup, of version 2 or 1, and its share. Takes 40
/// microseconds, because of the files of the cgroup.
pub(crate) fn processors() -> usize {
    let here = std::thread::available_parallelism().map_or(1, usize::from);
    number_in(SHARE).map_or(here, |share| usize::try_from(share).map_or(here, |share| share.min(here))).max(1)
}

/// How many workers a pool gets that was asked for so many, where there are so many processors.
pub(crate) fn granted(wanted: Option<usize>, processors: usize) -> usize {
    match wanted {
        Some(wanted) if number_in(SHARE).is_some() => wanted.min(processors),
        Some(wanted) => wanted,
        None => processors,
    }
}

/// What a worker finds in its environment from the beginning: how many pools are above it.
pub(crate) fn depth_of_worker() -> Result<(&'static str, String)> {
    let depth = number_in(DEPTH).unwrap_or(0) + 1;
    if depth > DEPTH_MAX {
        return Err(Error::invalid(
            format!("a Pool in a worker, {DEPTH_MAX} pools deep"),
            "a task that makes a pool for itself would never end",
        ));
    }
    Ok((DEPTH, depth.to_string()))
}

/// The share of each worker of a pool of so many.
pub(crate) fn share_of_worker(workers: usize, processors: usize) -> u32 {
    u32::try_from(processors / workers.max(1)).unwrap_or(u32::MAX).max(1)
}

/// In a worker: what it, and whatever it starts, may use.
pub(crate) fn settle(share: u32) {
    sys::set_variable(SHARE, &share.to_string());
}
