//! Forking a process that has one thread, in favour of its parent: the new process is its sister, not its child.
//!
//! By `clone3` with `CLONE_PARENT`, so that the parent waits for the new process as for any child of its own. The C
//! library's `fork` cannot do that; what it does besides is little in a process with one thread, and is done here: the
//! thread's number in the library's record of it, its list of robust mutexes, and our own handler. Handlers of others
//! (`pthread_atfork`) are not called.
//!
//! Unsafe is here because a process goes on twice, and because its arguments and variables are changed in place.
#![allow(unsafe_code)]

use core::ffi::{CStr, c_int, c_long, c_void};
use core::mem::size_of;
use core::ptr;
use std::ffi::{CString, OsStr};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use crate::sys::fork;

/// Who goes on.
pub(crate) enum Side {
    /// The new process.
    New,
    /// The one that forked it: its number and its pidfd.
    Old(u32, OwnedFd),
}

/// Whether this is the only thread of the process.
pub(crate) fn has_one_thread() -> bool {
    // SAFETY: the kernel has nothing to unshare here: it answers with an error where there are several threads.
    unsafe { libc::unshare(libc::CLONE_THREAD) == 0 }
}

/// Forks. The process must have one thread; the new one has its memory, its descriptors, and its parent.
pub(crate) fn fork_for_parent() -> io::Result<Side> {
    if !has_one_thread() {
        return Err(io::Error::other("a process with several threads is not forked"));
    }
    let mut pidfd: c_int = -1;
    // Where the C library keeps the number of this thread, if the kernel tells.
    let mut number = ptr::null_mut::<c_int>();
    // SAFETY: the call writes a pointer to a place that lives until it returns.
    let known = unsafe { libc::prctl(libc::PR_GET_TID_ADDRESS, &raw mut number) } == 0 && !number.is_null();
    let (mut list, mut list_len) = (ptr::null_mut::<c_void>(), 0_usize);
    // SAFETY: the call writes to two places that live until it returns.
    unsafe { libc::syscall(libc::SYS_get_robust_list, 0 as c_long, &raw mut list, &raw mut list_len) };
    let at_number = if known { libc::CLONE_CHILD_SETTID | libc::CLONE_CHILD_CLEARTID } else { 0 };
    // SAFETY: all zeros is a valid value of plain integers.
    let mut args = unsafe { core::mem::zeroed::<libc::clone_args>() };
    args.flags = (libc::CLONE_PARENT | libc::CLONE_PIDFD | at_number).unsigned_abs().into();
    args.pidfd = (&raw mut pidfd).expose_provenance() as u64;
    args.child_tid = if known { number.expose_provenance() as u64 } else { 0 };
    // SAFETY: 1. memory is not shared with the new process, so both may go on with this stack; 2. there is one thread, so
    //            no lock of the C library is held by one that the new process does not have; 3. what the kernel writes
    //            to, `pidfd` here and the thread's number there, is ours.
    match unsafe { libc::syscall(libc::SYS_clone3, &raw mut args, size_of::<libc::clone_args>()) } {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            if !list.is_null() {
                // SAFETY: the list is that of the thread which this one is a copy of, at the same address.
                unsafe { libc::syscall(libc::SYS_set_robust_list, list, list_len) };
            }
            fork::let_go_in_the_child();
            Ok(Side::New)
        }
        pid => {
            // SAFETY: the kernel has opened it for us, and nobody else knows the number.
            let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
            Ok(Side::Old(u32::try_from(pid).unwrap_or(0), pidfd))
        }
    }
}

/// Makes these the standard streams of this process, which has one thread.
pub(crate) fn set_streams(streams: &[OwnedFd; 3]) -> io::Result<()> {
    for (number, stream) in (0..).zip(streams) {
        // SAFETY: both are open, and whatever had the number loses its meaning as at any redirection.
        if unsafe { libc::dup2(stream.as_raw_fd(), number) } == -1 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Makes these the environment of this process, which has one thread; each is `NAME=value`.
pub(crate) fn set_environment(lines: &[CString]) {
    let line = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
        [name.into_vec(), b"=".to_vec(), value.into_vec()].concat()
    };
    if std::env::vars_os().map(line).eq(lines.iter().map(|line| line.as_bytes().to_vec())) {
        return;
    }
    for (name, _) in std::env::vars_os() {
        // SAFETY: there is no other thread that could read the environment.
        unsafe { std::env::remove_var(name) };
    }
    for line in lines.iter().map(|line| line.as_bytes()) {
        // A name is not empty, but may begin with `=`.
        let Some(at) = line.iter().skip(1).position(|byte| *byte == b'=').map(|at| at + 1) else { continue };
        let (name, value) = (OsStr::from_bytes(&line[..at]), OsStr::from_bytes(&line[at + 1..]));
        // SAFETY: as above.
        unsafe { std::env::set_var(name, value) };
    }
}

/// The first argument of this process, where `ps` reads it.
#[derive(Clone, Copy)]
pub(crate) struct Title {
    at: usize,
    len: usize,
}

impl Title {
    /// Where it is, if the kernel tells.
    pub(crate) fn find() -> Option<Self> {
        let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
        // Behind the name, which may hold anything, the third field begins.
        let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(48 - 3);
        let at: usize = fields.next()?.parse().ok().filter(|at| *at != 0)?;
        // SAFETY: the kernel says that the process's arguments begin here, each ended by a NUL; they are never unmapped,
        //         and nobody else changes them.
        let len = unsafe { CStr::from_ptr(ptr::with_exposed_provenance(at)) }.count_bytes();
        Some(Self { at, len })
    }

    /// Writes another in its place, as much of it as fits.
    pub(crate) fn write(self, title: &str) {
        let bytes = title.bytes().filter(|byte| *byte != 0).chain(core::iter::repeat(0)).take(self.len);
        for (at, byte) in (self.at..).zip(bytes) {
            // SAFETY: 1. within the first argument as it was found; 2. there is one thread, and what reads arguments
            //            reads them as strings, up to the NUL behind the last, which stays.
            unsafe { ptr::with_exposed_provenance_mut::<u8>(at).write(byte) };
        }
    }
}
