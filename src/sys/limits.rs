//! What a process may use: which CPUs, how much of each resource; and how it is called.
//!
//! Unsafe is here because limits are asked for by a number that the libraries know under several types.
#![allow(unsafe_code)]

use rustix::io::Errno;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

pub(crate) const AS: u32 = libc::RLIMIT_AS as _;
pub(crate) const CORE: u32 = libc::RLIMIT_CORE as _;
pub(crate) const CPU: u32 = libc::RLIMIT_CPU as _;
pub(crate) const DATA: u32 = libc::RLIMIT_DATA as _;
pub(crate) const FSIZE: u32 = libc::RLIMIT_FSIZE as _;
pub(crate) const NOFILE: u32 = libc::RLIMIT_NOFILE as _;
pub(crate) const NPROC: u32 = libc::RLIMIT_NPROC as _;
pub(crate) const STACK: u32 = libc::RLIMIT_STACK as _;

/// The CPUs that the calling thread may run on.
pub(crate) fn affinity() -> io::Result<Vec<u32>> {
    let set = sched_getaffinity(None)?;
    Ok((0..CpuSet::MAX_CPU).filter(|cpu| set.is_set(*cpu)).filter_map(|cpu| u32::try_from(cpu).ok()).collect())
}

/// Lets the calling thread, and those that it will start, run on these CPUs only.
pub(crate) fn set_affinity(cpus: &[u32]) -> io::Result<()> {
    let mut set = CpuSet::new();
    for cpu in cpus {
        let cpu = usize::try_from(*cpu).ok().filter(|cpu| *cpu < CpuSet::MAX_CPU).ok_or(Errno::INVAL)?;
        set.set(cpu);
    }
    Ok(sched_setaffinity(None, &set)?)
}

/// Sets a limit of this process (`RLIMIT_...` by its number); `None` is no limit.
pub(crate) fn set_limit(resource: u32, soft: Option<u64>, hard: Option<u64>) -> io::Result<()> {
    let value = |limit: Option<u64>| limit.unwrap_or(libc::RLIM_INFINITY);
    let limit = libc::rlimit { rlim_cur: value(soft), rlim_max: value(hard) };
    // SAFETY: the call reads a structure that lives until it returns; an unknown number is refused.
    match unsafe { libc::setrlimit(resource as _, &limit) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Names the calling thread; the name of the first one is the process's in `ps` and `top`. They show 15 bytes.
pub(crate) fn set_name(name: &str) {
    let short: Vec<u8> = name.bytes().filter(|byte| *byte != 0).take(15).collect();
    if let Ok(short) = CString::new(short) {
        let _ = rustix::thread::set_name(&short);
    }
}

/// Gives the calling thread a table of descriptors of its own, a copy: whatever the other threads close or open from here
/// on, it does not see.
pub(crate) fn own_descriptors() -> io::Result<()> {
    // SAFETY: descriptors that were open stay open, in both tables; what either side opens, the other does not know of.
    Ok(unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::FILES) }?)
}

/// Closes all descriptors but these, in a table that is the calling thread's own.
pub(crate) fn keep_only(kept: [BorrowedFd<'_>; 2]) {
    let mut numbers = kept.map(|fd| fd.as_raw_fd().unsigned_abs());
    numbers.sort_unstable();
    let [low, high] = numbers;
    let gaps = [(0, low.checked_sub(1)), (low + 1, high.checked_sub(1)), (high + 1, Some(u32::MAX))];
    for (first, last) in gaps {
        if let Some(last) = last.filter(|last| first <= *last) {
            // SAFETY: this table is the thread's own, and it uses none of these numbers.
            unsafe { libc::close_range(first, last, 0) };
        }
    }
}
