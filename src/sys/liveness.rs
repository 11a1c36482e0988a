//! Proof of life and proof of death: write locks of open file descriptions on single bytes.
//!
//! A participant holds a lock on a byte far beyond the data. The kernel drops it in `exit_files`, after
//! the address space of the process is gone, so no store can follow a lock that reads as free
//! (fcntl(2), "Open file description locks"; kernel/exit.c). rustix has no OFD locks, hence libc here.
#![allow(unsafe_code)] // fcntl with a pointer to a flock of our own

use crate::sys::fork::PerProcess;
use core::time::Duration;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{Pid, PidfdFlags};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::sync::OnceLock;

fn fcntl(fd: BorrowedFd<'_>, command: libc::c_int, kind: libc::c_int, byte: u64) -> io::Result<libc::flock> {
    fcntl_range(fd, command, kind, byte, 1)
}

fn fcntl_range(
    fd: BorrowedFd<'_>,
    command: libc::c_int,
    kind: libc::c_int,
    byte: u64,
    count: u32,
) -> io::Result<libc::flock> {
    // Built anew for each call: a left-over l_pid of an earlier answer would be refused.
    let mut lock = libc::flock {
        l_type: kind as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: i64::try_from(byte).unwrap_or(i64::MAX),
        l_len: i64::from(count),
        l_pid: 0,
    };
    loop {
        // SAFETY: 1. `fd` is open for the length of the call: it is borrowed.
        //         2. `lock` is a whole flock of our own, which the kernel reads and writes.
        let answer = unsafe { libc::fcntl(fd.as_raw_fd(), command, &raw mut lock) };
        if answer != -1 {
            return Ok(lock);
        }
        let error = io::Error::last_os_error();
        // Bounded by the number of signals that arrive.
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

/// Takes the write lock on `byte` if nobody else holds it.
pub(crate) fn try_lock(fd: BorrowedFd<'_>, byte: u64) -> io::Result<bool> {
    match fcntl(fd, libc::F_OFD_SETLK, libc::F_WRLCK, byte) {
        Ok(_) => Ok(true),
        Err(e) if matches!(e.raw_os_error(), Some(libc::EAGAIN | libc::EACCES)) => Ok(false),
        Err(e) => Err(e),
    }
}

/// As `try_lock`, trying again while others hold it: `rounds` times, a millisecond apart.
pub(crate) fn lock_patiently(fd: BorrowedFd<'_>, byte: u64, rounds: u32) -> io::Result<bool> {
    for _ in 0..rounds {
        if try_lock(fd, byte)? {
            return Ok(true);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    try_lock(fd, byte)
}

/// Waits until nobody else holds `byte`, as patiently.
pub(crate) fn await_free(fd: BorrowedFd<'_>, byte: u64, rounds: u32) -> io::Result<bool> {
    for _ in 0..rounds {
        if !is_held(fd, byte)? {
            return Ok(true);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    is_held(fd, byte).map(|held| !held)
}

/// Gives the lock on `byte` back.
pub(crate) fn unlock(fd: BorrowedFd<'_>, byte: u64) -> io::Result<()> {
    fcntl(fd, libc::F_OFD_SETLK, libc::F_UNLCK, byte).map(drop)
}

/// Whether somebody else's description holds the write lock on `byte`. Asked with a read lock, so that a
/// neighbour's read lock does not count.
pub(crate) fn is_held(fd: BorrowedFd<'_>, byte: u64) -> io::Result<bool> {
    is_any_held(fd, byte, 1)
}

/// Whether somebody else's description holds the write lock on one of `count` bytes.
pub(crate) fn is_any_held(fd: BorrowedFd<'_>, byte: u64, count: u32) -> io::Result<bool> {
    first_held(fd, byte, count).map(|held| held.is_some())
}

/// Which of `count` bytes, counted from the first, somebody else's description holds the write lock on: one of
/// them, if there are several.
pub(crate) fn first_held(fd: BorrowedFd<'_>, byte: u64, count: u32) -> io::Result<Option<u32>> {
    let lock = fcntl_range(fd, libc::F_OFD_GETLK, libc::F_RDLCK, byte, count)?;
    // The kernel's lock list is a lock: what the dead stored before it fell is visible from here on.
    core::sync::atomic::fence(core::sync::atomic::Ordering::Acquire);
    if lock.l_type == libc::F_UNLCK as libc::c_short {
        return Ok(None);
    }
    // The lock may be on a longer range than what was asked for.
    let start = u64::try_from(lock.l_start).unwrap_or(0).saturating_sub(byte);
    Ok(Some(u32::try_from(start).unwrap_or(count)))
}

/// What stands in a row for people: never a base for decisions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Identity {
    pub pid: u32,
    /// In clock ticks since boot (proc_pid_stat(5), field 22); 0 if unknown.
    pub start_time: u64,
    /// Inode of the pid namespace; 0 if unknown.
    pub namespace: u64,
}

/// The number that our parent knows us by, and its namespace.
static TOLD: OnceLock<(u32, u64)> = OnceLock::new();

/// Notes by which number the parent knows this process, and in which namespace, if that is known. If we have the same
/// number, we are in that one, and need not look for it in `/proc`, where a new process has nothing at hand.
pub(crate) fn told_by_parent(pid: u32, namespace: u64) {
    if namespace != 0 {
        let _ = TOLD.set((pid, namespace));
    }
}

/// The identity of this process. Asked once in each.
pub(crate) fn identity() -> Identity {
    static IDENTITY: PerProcess<Identity> = PerProcess::new();
    let ask = || {
        use std::os::unix::fs::MetadataExt;
        let pid = std::process::id();
        let ask = || std::fs::metadata("/proc/self/ns/pid").map_or(0, |m| m.ino());
        let told = TOLD.get().filter(|(known_as, _)| *known_as == pid);
        let namespace = told.map_or_else(ask, |(_, namespace)| *namespace);
        Identity { pid, start_time: start_time(pid).unwrap_or(0), namespace }
    };
    IDENTITY.get_or_init(ask).map_or_else(|_| ask(), |(_, identity)| *identity)
}

/// When the process with this pid in our namespace started.
pub(crate) fn start_time(pid: u32) -> Option<u64> {
    // Longer than the line can be: name, and 51 numbers. The kernel writes it for one call.
    let (mut line, mut file) = ([0; 2048], std::fs::File::open(format!("/proc/{pid}/stat")).ok()?);
    let len = std::io::Read::read(&mut file, &mut line).ok()?;
    // The command's name, in brackets, may hold anything.
    let name_end = line.get(..len)?.iter().rposition(|byte| *byte == b')')?;
    let rest = str::from_utf8(line.get(name_end + 1..len)?).ok()?;
    rest.split_ascii_whitespace().nth(19)?.parse().ok()
}

/// A descriptor that becomes readable when the process is gone for good.
pub(crate) fn pidfd(pid: u32) -> Option<OwnedFd> {
    let pid = Pid::from_raw(i32::try_from(pid).ok()?)?;
    rustix::process::pidfd_open(pid, PidfdFlags::empty()).ok()
}

/// Waits until one of `fds` is readable or `timeout_ms` passed; says which are.
pub(crate) fn poll_readable(fds: &[BorrowedFd<'_>], timeout_ms: u32) -> Vec<bool> {
    let mut polled: Vec<_> = fds.iter().map(|fd| PollFd::from_borrowed_fd(*fd, PollFlags::IN)).collect();
    let timeout = Timespec { tv_sec: i64::from(timeout_ms / 1000), tv_nsec: i64::from(timeout_ms % 1000) * 1_000_000 };
    match rustix::event::poll(&mut polled, Some(&timeout)) {
        Ok(_) => polled.iter().map(|p| !p.revents().is_empty()).collect(),
        Err(_) => vec![false; fds.len()],
    }
}

/// The id of this boot of the machine. Asked once in each process.
pub(crate) fn boot_id() -> [u8; 16] {
    static BOOT_ID: PerProcess<[u8; 16]> = PerProcess::new();
    BOOT_ID.get_or_init(read_boot_id).map_or_else(|_| read_boot_id(), |(_, id)| *id)
}

fn read_boot_id() -> [u8; 16] {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let mut nibbles = text.chars().filter_map(|c| c.to_digit(16));
    core::array::from_fn(|_| {
        let (high, low) = (nibbles.next().unwrap_or(0), nibbles.next().unwrap_or(0));
        u8::try_from(high << 4 | low).unwrap_or(0)
    })
}

/// Sixteen random bytes.
pub(crate) fn random_16() -> [u8; 16] {
    let mut bytes = [0u8; 16];
    let filled = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
    debug_assert_eq!(filled, Ok(16));
    bytes
}
