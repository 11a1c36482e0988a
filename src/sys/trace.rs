//! Following a child one machine instruction at a time (ptrace(2)): for the test kit only.
//!
//! The child marks a place with an instruction that no processor knows: it stops there for its tracer, which goes on behind it.
#![allow(unsafe_code)] // ptrace, and a mark that must be one instruction

use core::ops::Range;
use rustix::thread::{CpuSet, Pid, sched_getaffinity, sched_getcpu, sched_setaffinity};
use std::fs::{File, read_to_string};
use std::io;
use std::os::unix::fs::FileExt;

/// Why a traced child stopped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Stop {
    /// It has done one instruction.
    Stepped,
    /// It is at a mark.
    Marked,
    /// A system call begins, or is over: it was [sent to the next one](run_to_system_call).
    System,
    /// It was sent this signal.
    Signalled(i32),
    /// It is gone.
    Ended,
}

/// How a stop at a system call is told from one after a step.
const SYSTEM: i32 = libc::SIGTRAP | 0x80;

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
        SYSTEM => Stop::System,
        libc::SIGILL => Stop::Marked,
        signal => Stop::Signalled(signal),
    })
}

/// Lets the stopped child do one instruction. A system call is one.
pub(crate) fn step(pid: u32) -> io::Result<()> {
    // SAFETY: no pointers are given, and no signal is delivered.
    answer(unsafe { libc::ptrace(libc::PTRACE_SINGLESTEP, number(pid)?, 0, 0) })
}

/// Lets the stopped child run until a system call begins, or until that one is over.
pub(crate) fn run_to_system_call(pid: u32) -> io::Result<()> {
    // SAFETY: the fourth argument is a number here.
    answer(unsafe { libc::ptrace(libc::PTRACE_SETOPTIONS, number(pid)?, 0, libc::PTRACE_O_TRACESYSGOOD) })?;
    // SAFETY: no pointers are given, and no signal is delivered.
    answer(unsafe { libc::ptrace(libc::PTRACE_SYSCALL, number(pid)?, 0, 0) })
}

/// Where a stopped child is, and what it has in hand.
pub(crate) struct Registers {
    /// The address of its next instruction.
    pub next: u64,
    /// The general ones, in the order of their numbers.
    pub general: [u64; 16],
}

/// The registers of a stopped child.
#[cfg(target_arch = "x86_64")]
pub(crate) fn registers(pid: u32) -> io::Result<Registers> {
    let r = all_registers(pid)?;
    let low = [r.rax, r.rcx, r.rdx, r.rbx, r.rsp, r.rbp, r.rsi, r.rdi];
    let high = [r.r8, r.r9, r.r10, r.r11, r.r12, r.r13, r.r14, r.r15];
    let general = core::array::from_fn(|n| if n < 8 { low[n] } else { high[n - 8] });
    Ok(Registers { next: r.rip, general })
}

/// Puts the child behind the mark at which it stopped.
#[cfg(target_arch = "x86_64")]
pub(crate) fn pass_mark(pid: u32) -> io::Result<()> {
    let mut registers = all_registers(pid)?;
    registers.rip += MARK_LEN;
    // SAFETY: `registers` is ours, and as large as the kernel's.
    answer(unsafe { libc::ptrace(libc::PTRACE_SETREGS, number(pid)?, 0, &raw const registers) })
}

#[cfg(target_arch = "x86_64")]
fn all_registers(pid: u32) -> io::Result<libc::user_regs_struct> {
    // SAFETY: all zero is a valid register file.
    let mut registers: libc::user_regs_struct = unsafe { core::mem::zeroed() };
    // SAFETY: `registers` is ours, and as large as the kernel's.
    answer(unsafe { libc::ptrace(libc::PTRACE_GETREGS, number(pid)?, 0, &raw mut registers) })?;
    Ok(registers)
}

/// Steps and marks of this machine are not written yet.
#[cfg(not(target_arch = "x86_64"))]
pub(crate) fn registers(_: u32) -> io::Result<Registers> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Steps and marks of this machine are not written yet.
#[cfg(not(target_arch = "x86_64"))]
pub(crate) fn pass_mark(_: u32) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// The memory of a child, to look at.
pub(crate) struct Memory(File);

impl Memory {
    pub(crate) fn of(pid: u32) -> io::Result<Self> {
        File::open(format!("/proc/{pid}/mem")).map(Self)
    }

    /// The bytes from `address` on, as far as there are any; the rest stays as it is.
    pub(crate) fn read(&self, address: u64, bytes: &mut [u8]) -> io::Result<()> {
        self.0.read_at(bytes, address).map(|_| ())
    }
}

/// Where in its memory a child has what it shares with others: mappings that are not private.
pub(crate) fn shared_memory(pid: u32) -> io::Result<Vec<Range<u64>>> {
    let maps = read_to_string(format!("/proc/{pid}/maps"))?;
    let shared = maps.lines().filter_map(|line| {
        let (range, rest) = line.split_once(' ')?;
        let (from, to) = range.split_once('-')?;
        let range = u64::from_str_radix(from, 16).ok()?..u64::from_str_radix(to, 16).ok()?;
        rest.as_bytes().get(3).is_some_and(|kind| *kind == b's').then_some(range)
    });
    Ok(shared.collect())
}

/// Keeps this thread and a child on one processor, where changing between them takes a third of the time.
pub(crate) struct Together {
    before: CpuSet,
}

impl Together {
    /// `None` where that is not allowed: then stepping takes longer, and nothing else.
    pub(crate) fn keep(pid: u32) -> Option<Self> {
        let child = Pid::from_raw(number(pid).ok()?)?;
        let before = sched_getaffinity(None).ok()?;
        let mut one = CpuSet::new();
        one.set(sched_getcpu());
        sched_setaffinity(Some(child), &one).ok()?;
        sched_setaffinity(None, &one).ok()?;
        Some(Self { before })
    }
}

impl Drop for Together {
    fn drop(&mut self) {
        let _ = sched_setaffinity(None, &self.before);
    }
}

fn number(pid: u32) -> io::Result<libc::pid_t> {
    libc::pid_t::try_from(pid).map_err(|_| io::ErrorKind::InvalidInput.into())
}

fn answer(done: libc::c_long) -> io::Result<()> {
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
