//! Processes: waiting, signals, what a parent leaves open for its child.
//!
//! Unsafe is here because a descriptor that is known only by its number has no safe form, nor have changes of the
//! process's environment and signal dispositions. Everything else goes through rustix's safe calls. A process is always
//! named by its pidfd, never by its number, which may be somebody else's by now.
#![allow(unsafe_code)]

pub(crate) use libc::{SIGABRT, SIGKILL, SIGTERM};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FileType, Mode, OFlags, fstat, open};
use rustix::io::{Errno, FdFlags, fcntl_dupfd_cloexec, fcntl_setfd, retry_on_intr};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, pidfd_open, pidfd_send_signal, waitid};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::path::Path;
use std::sync::Arc;

use crate::deadline::Deadline;
use crate::sys::backing::{FileId, id_of};
use crate::sys::clock;

/// A child of this process, until it was waited for.
pub(crate) struct Child {
    pid: u32,
    pidfd: Arc<OwnedFd>,
}

/// How a process ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Ending {
    /// It exited with this code.
    Exited(i32),
    /// This signal ended it.
    Killed(i32),
    /// It ended, but somebody else took its status (`wait(-1)`, or SIGCHLD is ignored).
    Untold,
}

impl Child {
    pub(crate) fn new(pid: u32, pidfd: OwnedFd) -> Self {
        Self { pid, pidfd: Arc::new(pidfd) }
    }

    /// A child that was just started, by its number. Without a descriptor for it, it is ended and taken away.
    pub(crate) fn of_number(pid: u32) -> io::Result<Self> {
        match pidfd_of(pid) {
            Ok(pidfd) => Ok(Self::new(pid, pidfd)),
            Err(error) => {
                let number = i32::try_from(pid).ok().and_then(Pid::from_raw);
                // Whoever took its status already has given its number free.
                if let Some(number) = number.filter(|_| error.raw_os_error() != Some(libc::ESRCH)) {
                    let _ = rustix::process::kill_process(number, Signal::KILL);
                    let _ = retry_on_intr(|| waitid(WaitId::Pid(number), WaitIdOptions::EXITED));
                }
                Err(error)
            }
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// Readable once the process has ended.
    pub(crate) fn pidfd(&self) -> &Arc<OwnedFd> {
        &self.pidfd
    }

    /// The ending, if it has come; the kernel forgets the process then.
    pub(crate) fn reap(&self) -> io::Result<Option<Ending>> {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
        match retry_on_intr(|| waitid(WaitId::PidFd(self.pidfd.as_fd()), options)) {
            Ok(None) => Ok(None),
            Ok(Some(status)) => Ok(Some(match (status.exit_status(), status.terminating_signal()) {
                (Some(code), _) => Ending::Exited(code),
                (None, Some(signal)) => Ending::Killed(signal),
                (None, None) => Ending::Untold,
            })),
            // Not ours to wait for any more. If it lives, its end is still seen on the pidfd.
            Err(Errno::CHILD) => Ok(has_ended(self.pidfd.as_fd())?.then_some(Ending::Untold)),
            Err(error) => Err(error.into()),
        }
    }

    /// Sends a signal; nothing happens when the process has ended already.
    pub(crate) fn signal(&self, signal: i32) -> io::Result<()> {
        let signal = Signal::from_named_raw(signal).ok_or(Errno::INVAL)?;
        match pidfd_send_signal(&self.pidfd, signal) {
            Ok(()) | Err(Errno::SRCH) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

fn pidfd_of(pid: u32) -> io::Result<OwnedFd> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or(Errno::SRCH)?;
    Ok(pidfd_open(pid, PidfdFlags::empty())?)
}

/// A pidfd of this process, to hand to others.
pub(crate) fn own_pidfd() -> io::Result<OwnedFd> {
    pidfd_of(std::process::id())
}

/// Whether the process behind a pidfd has ended.
pub(crate) fn has_ended(pidfd: BorrowedFd<'_>) -> io::Result<bool> {
    Ok(wait_readable([pidfd], Deadline::NOW)?[0])
}

/// Ends this process at once, without a word.
pub(crate) fn kill_self() -> ! {
    if let Some(pid) = i32::try_from(std::process::id()).ok().and_then(Pid::from_raw) {
        let _ = rustix::process::kill_process(pid, Signal::KILL);
    }
    std::process::abort()
}

/// Waits until a descriptor is readable or hung up, or the deadline passes; says which are.
pub(crate) fn wait_readable<const N: usize>(fds: [BorrowedFd<'_>; N], deadline: Deadline) -> io::Result<[bool; N]> {
    wait(fds.each_ref().map(|fd| PollFd::from_borrowed_fd(*fd, PollFlags::IN)), deadline)
}

/// Waits until a message can be sent over `socket`, or nobody reads it any more, or `process` has ended, or the deadline
/// passes. Says whether one of them came.
pub(crate) fn wait_writable(socket: BorrowedFd<'_>, process: BorrowedFd<'_>, deadline: Deadline) -> io::Result<bool> {
    let room = PollFd::from_borrowed_fd(socket, PollFlags::OUT);
    let end = PollFd::from_borrowed_fd(process, PollFlags::IN);
    Ok(wait([room, end], deadline)?.contains(&true))
}

fn wait<const N: usize>(mut polled: [PollFd<'_>; N], deadline: Deadline) -> io::Result<[bool; N]> {
    loop {
        let now = clock::now_ns();
        // An hour at most, so that no timeout overflows anything; the loop takes care of the rest.
        let slice = deadline.remaining(now, 3_600_000_000_000);
        let slice = Timespec { tv_sec: (slice / 1_000_000_000) as i64, tv_nsec: (slice % 1_000_000_000) as i64 };
        match poll(&mut polled, Some(&slice)) {
            Ok(0) if !deadline.has_passed(clock::now_ns()) => {}
            Err(Errno::INTR) => {}
            Ok(_) => return Ok(polled.map(|fd| !fd.revents().is_empty())),
            Err(error) => return Err(error.into()),
        }
    }
}

/// The same description under a number above 2, so that no standard stream of a child takes its place.
pub(crate) fn above_streams(fd: OwnedFd) -> io::Result<OwnedFd> {
    if fd.as_raw_fd() > 2 { Ok(fd) } else { Ok(fcntl_dupfd_cloexec(fd, 3)?) }
}

/// Another number, above 2, for the same description.
pub(crate) fn duplicate(fd: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    Ok(fcntl_dupfd_cloexec(fd, 3)?)
}

/// A directory, to be worked in.
pub(crate) fn directory(path: &Path) -> io::Result<OwnedFd> {
    Ok(open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?)
}

/// Makes it the one that this process works in.
pub(crate) fn work_in(directory: &OwnedFd) -> io::Result<()> {
    Ok(rustix::process::fchdir(directory)?)
}

/// A pipe, closed by exec: the end that is read, the end that is written.
pub(crate) fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(pipe_with(PipeFlags::CLOEXEC)?)
}

/// Takes the socket whose number stands in the environment under `variable`, removes the variable and
/// closes the door for programs that this one will run. `None`: there is no such variable.
pub(crate) fn take_inherited_socket(variable: &str) -> Option<io::Result<OwnedFd>> {
    let number = std::env::var_os(variable)?;
    remove_variable(variable);
    Some(number.to_str().and_then(|number| number.parse().ok()).ok_or(Errno::BADF.into()).and_then(adopt_socket))
}

/// Sets a variable of this process, a child at its beginning.
pub(crate) fn set_variable(variable: &str, value: &str) {
    // SAFETY: 1. as in `remove_variable`: this runs within `init`, before anything that the child was started for; the
    //            thread that watches its parent reads no variables.
    unsafe { std::env::set_var(variable, value) }
}

fn remove_variable(variable: &str) {
    // SAFETY: 1. nobody may read the environment meanwhile except through std, which has a lock for it: this
    //            runs first in `main` or before it, when there is one thread, as `init` asks for.
    unsafe { std::env::remove_var(variable) }
}

fn adopt_socket(number: RawFd) -> io::Result<OwnedFd> {
    if number <= 2 {
        return Err(Errno::BADF.into());
    }
    // SAFETY: 1. the number is not -1; 2. it is only looked at here, and a number that is not open is EBADF.
    let socket = unsafe { BorrowedFd::borrow_raw(number) };
    if FileType::from_raw_mode(fstat(socket)?.st_mode) != FileType::Socket {
        return Err(Errno::NOTSOCK.into());
    }
    fcntl_setfd(socket, FdFlags::CLOEXEC)?;
    // SAFETY: 1. it is open: fstat answered; 2. it is ours alone: our parent left it open for us, and the
    //            variable that names it is gone, so no second call comes here.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Which file the number of a descriptor leads to: another, when somebody closed it and opened something else.
pub(crate) fn file_id(fd: BorrowedFd<'_>) -> io::Result<FileId> {
    Ok(id_of(&fstat(fd)?))
}

/// What std does before `main`, for children that never reach it: a write to a closed pipe is an error and
/// not the end.
pub(crate) fn ignore_broken_pipes() {
    // SAFETY: 1. SIG_IGN is a valid disposition for SIGPIPE.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
}

/// The name of a signal, for people.
pub(crate) fn signal_name(signal: i32) -> Option<&'static str> {
    Some(match signal {
        libc::SIGHUP => "SIGHUP",
        libc::SIGINT => "SIGINT",
        libc::SIGQUIT => "SIGQUIT",
        libc::SIGILL => "SIGILL",
        libc::SIGTRAP => "SIGTRAP",
        libc::SIGABRT => "SIGABRT",
        libc::SIGBUS => "SIGBUS",
        libc::SIGFPE => "SIGFPE",
        libc::SIGKILL => "SIGKILL",
        libc::SIGUSR1 => "SIGUSR1",
        libc::SIGSEGV => "SIGSEGV",
        libc::SIGUSR2 => "SIGUSR2",
        libc::SIGPIPE => "SIGPIPE",
        libc::SIGALRM => "SIGALRM",
        libc::SIGTERM => "SIGTERM",
        libc::SIGXCPU => "SIGXCPU",
        libc::SIGXFSZ => "SIGXFSZ",
        libc::SIGSYS => "SIGSYS",
        _ => return None,
    })
}
