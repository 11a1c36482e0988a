//! A child is stopped just before an operation, stepped k instructions, and killed; for every k.
//!
//! The child marks where the operation begins and ends with an undefined instruction, which stops it for its tracer
//! (ptrace(2)). Between the marks the tracer steps one instruction at a time. A system call is one step, so it is done
//! or not done. After each kill the test itself is the survivor: it uses the object, and checks what must hold.

use mutirao::Process;
use serde::{Serialize, de::DeserializeOwned};
use std::io;
use std::time::{Duration, Instant};

/// Asks for every instruction, of operations that are not longer than [`ALL_UP_TO`].
const EVERY: &str = "MUTIRAO_EVERY_INSTRUCTION";
const ALL_UP_TO: u64 = 1500;
/// Otherwise so many points are spread over the operation: when longer ones are to be killed everywhere, and when not.
const SPREAD: (u64, u64) = (250, if cfg!(debug_assertions) { 12 } else { 60 });

/// Where in its operation the child was.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Killed {
    /// Before the operation was over, after so many of its instructions.
    At(u64),
    /// When the operation had ended.
    After,
}

/// The mark before the operation: the child stops here and is traced from here on.
pub fn begin() {
    // SAFETY: TRACEME takes no further arguments.
    let traced = unsafe { libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0) };
    assert_eq!(traced, 0, "{}", io::Error::last_os_error());
    mark();
}

/// The mark after the operation.
pub fn end() {
    mark();
}

#[inline(always)]
fn mark() {
    // SAFETY: raises SIGILL, at which the tracer stops us and goes on behind it. It is never delivered.
    unsafe { std::arch::asm!("ud2") };
}

/// The length of `ud2`.
const MARK_LEN: u64 = 2;

/// Kills `victim` at every instruction between its marks, each time in a child of its own, and lets `survivor` check
/// what must hold. All share one stage, so what a death leaves behind would also meet the next one.
pub fn every_instruction<S>(name: &str, make: fn() -> S, victim: fn(S), survivor: fn(&S, Killed))
where
    S: Clone + Serialize + DeserializeOwned,
{
    let stage = make();
    let whole = kill_after(&stage, victim, u64::MAX);
    let Err(instructions) = whole else { unreachable!("it ends") };
    survivor(&stage, Killed::After);
    let (mut kills, mut longest) = (1, Duration::ZERO);
    let step = match std::env::var_os(EVERY) {
        Some(_) if instructions <= ALL_UP_TO => 1,
        Some(_) => (instructions / SPREAD.0).max(1),
        None => (instructions / SPREAD.1).max(1),
    };
    let mut k = 0;
    // Bounded: an operation takes about as many instructions each time, and `k` grows.
    while k < instructions * 4 {
        let killed = kill_after(&stage, victim, k);
        let begun = Instant::now();
        survivor(&stage, if killed.is_ok() { Killed::At(k) } else { Killed::After });
        longest = longest.max(begun.elapsed());
        kills += 1;
        if killed.is_err() {
            break;
        }
        k += step;
    }
    let share = if step == 1 { "all".to_string() } else { format!("one in {step}") };
    eprintln!("| {name} | {instructions} | {kills} ({share}) | {:.1} ms |", longest.as_secs_f64() * 1e3);
}

/// Steps a child `k` instructions into its operation and kills it. `Err`: it ended before, after so many.
fn kill_after<S>(stage: &S, victim: fn(S), k: u64) -> Result<(), u64>
where
    S: Clone + Serialize + DeserializeOwned,
{
    let child = Process::spawn(victim, stage.clone()).expect("a child");
    let pid = child.id() as libc::pid_t;
    assert_eq!(wait_for_stop(pid), libc::SIGILL, "the child did not come to its mark");
    skip_mark(pid);
    let mut ended = Ok(());
    for done in 0..k {
        step(pid);
        match wait_for_stop(pid) {
            libc::SIGTRAP => {}
            libc::SIGILL => {
                ended = Err(done);
                break;
            }
            other => panic!("the child was stopped by signal {other}"),
        }
    }
    child.kill().expect("a kill");
    wait_for_end(pid);
    assert!(child.join().is_err_and(|e| e.is_child_failure()));
    ended
}

/// Waits until the traced child stops. The signal that stopped it.
fn wait_for_stop(pid: libc::pid_t) -> libc::c_int {
    let mut status = 0;
    // SAFETY: `status` is ours.
    let got = unsafe { libc::waitpid(pid, &raw mut status, libc::__WALL) };
    assert_eq!(got, pid, "{}", io::Error::last_os_error());
    assert!(libc::WIFSTOPPED(status), "the child ended with status {status:#x} before its time");
    libc::WSTOPSIG(status)
}

/// Waits until the killed child is dead, and leaves it to be joined.
fn wait_for_end(pid: libc::pid_t) {
    // SAFETY: all zero is a valid siginfo.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    let flags = libc::WEXITED | libc::WNOWAIT | libc::__WALL;
    // SAFETY: `info` is ours.
    let got = unsafe { libc::waitid(libc::P_PID, pid as libc::id_t, &raw mut info, flags) };
    assert_eq!(got, 0, "{}", io::Error::last_os_error());
}

fn step(pid: libc::pid_t) {
    // SAFETY: the child is stopped and ours; no signal is delivered.
    let done = unsafe { libc::ptrace(libc::PTRACE_SINGLESTEP, pid, 0, 0) };
    assert_eq!(done, 0, "{}", io::Error::last_os_error());
}

/// Puts the child behind the mark at which it stopped.
fn skip_mark(pid: libc::pid_t) {
    // SAFETY: all zero is a valid register file.
    let mut registers: libc::user_regs_struct = unsafe { std::mem::zeroed() };
    // SAFETY: the child is stopped and ours; `registers` is ours.
    let got = unsafe { libc::ptrace(libc::PTRACE_GETREGS, pid, 0, &raw mut registers) };
    assert_eq!(got, 0, "{}", io::Error::last_os_error());
    registers.rip += MARK_LEN;
    // SAFETY: as above.
    let set = unsafe { libc::ptrace(libc::PTRACE_SETREGS, pid, 0, &raw const registers) };
    assert_eq!(set, 0, "{}", io::Error::last_os_error());
}
