//! Following a child one machine instruction at a time (ptrace(2)): for the test kit only.
//!
//! The child marks a place with an instruction that no processor knows: it stops there for its tracer, which goes on behind it.
#![allow(unsafe_code)] // ptrace, and a mark that must be one instruction

use std::io;

/// Why a traced child stopped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Stop {
    /// It has done one instruction.
    Stepped,
    /// It is at a mark.
    Marked,
    /// It was sent this signal.
    Signalled(i32),
    /// It is gone.
    Ended,
}

/// The length of the mark's instruction.
#[cfg(target_arch = "x86_64")]
const MARK_LEN: u64 = 2;

/// Lets the thread that spawned this process trace it from here on.
pub(crate) fn offer() -> io::Result<()> {
    // SAFETY: no pointers are given.
    answer(unsafe { libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0) })
}

/// Stops a traced process for its tracer. One that is not traced dies of SIGILL.
#[inline(always)]
pub(crate) fn mark() {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: touches neither memory nor registers. The tracer goes on behind it.
    unsafe {
        core::arch::asm!("ud2", options(nomem, nostack, preserves_flags));
    }
}

/// Waits until the child that offered itself stops.
pub(crate) fn wait(pid: u32) -> io::Result<Stop> {
    let mut status = 0;
    // Bounded by the number of signals that arrive.
    loop {
        // SAFETY: `status` is ours.
        match unsafe { libc::waitpid(number(pid)?, &raw mut status, libc::__WALL) } {
            -1 if io::Error::last_os_error().kind() == io::ErrorKind::Interrupted => {}
            -1 => return Err(io::Error::last_os_error()),
            _ => break,
        }
    }
    Ok(match libc::WSTOPSIG(status) {
        _ if !libc::WIFSTOPPED(status) => Stop::Ended,
        libc::SIGTRAP => Stop::Stepped,
        libc::SIGILL => Stop::Marked,
        signal => Stop::Signalled(signal),
    })
}

/// Lets the stopped child do one instruction. A system call is one.
pub(crate) fn step(pid: u32) -> io::Result<()> {
    // SAFETY: no pointers are given, and no signal is delivered.
    answer(unsafe { libc::ptrace(libc::PTRACE_SINGLESTEP, number(pid)?, 0, 0) })
}

/// Puts the child behind the mark at which it stopped.
#[cfg(target_arch = "x86_64")]
pub(crate) fn pass_mark(pid: u32) -> io::Result<()> {
    // SAFETY: all zero is a valid register file.
    let mut registers: libc::user_regs_struct = unsafe { core::mem::zeroed() };
    // SAFETY: `registers` is ours, and as large as the kernel's.
    answer(unsafe { libc::ptrace(libc::PTRACE_GETREGS, number(pid)?, 0, &raw mut registers) })?;
    registers.rip += MARK_LEN;
    // SAFETY: as above.
    answer(unsafe { libc::ptrace(libc::PTRACE_SETREGS, number(pid)?, 0, &raw const registers) })
}

/// Steps and marks of this machine are not written yet.
#[cfg(not(target_arch = "x86_64"))]
pub(crate) fn pass_mark(_: u32) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

fn number(pid: u32) -> io::Result<libc::pid_t> {
    libc::pid_t::try_from(pid).map_err(|_| io::ErrorKind::InvalidInput.into())
}

fn answer(done: libc::c_long) -> io::Result<()> {
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
