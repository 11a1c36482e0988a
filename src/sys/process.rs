//! Processes: running this executable again, waiting, signals, descriptors over sockets.
//!
//! Unsafe is here because three things have no safe form: code between fork and exec, a descriptor that is
//! known only by its number, and changes of the process's environment and signal dispositions. Everything
//! else goes through rustix's safe calls. A process is always named by its pidfd, never by its number, which may be
//! somebody else's by now.
#![allow(unsafe_code)]

use core::mem::MaybeUninit;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FileType, MemfdFlags, fstat, memfd_create};
use rustix::io::{Errno, FdFlags, fcntl_setfd, retry_on_intr};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};
use rustix::process::{Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, pidfd_open, pidfd_send_signal, waitid};
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::FileExt;
use std::os::unix::process::CommandExt;
use std::process::Command;

use crate::deadline::Deadline;
use crate::sys::clock;

/// Descriptors in one message. The kernel takes 253; older ones on the way and their limits take fewer.
pub(crate) const DESCRIPTORS_MAX: usize = 64;

/// A child of this process, until it was waited for.
pub(crate) struct Child {
    pid: u32,
    pidfd: OwnedFd,
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
    /// Runs this executable again, with the same arguments. The child finds `socket` under its number,
    /// which stands in the environment under `variable`; nobody else inherits it.
    pub(crate) fn run_again(variable: &str, socket: OwnedFd, env: &[(OsString, OsString)]) -> io::Result<Self> {
        // By this path the executable is found also after it was renamed, replaced or deleted.
        let mut command = Command::new("/proc/self/exe");
        let mut args = std::env::args_os();
        if let Some(name) = args.next() {
            command.arg0(name);
        }
        command.args(args).envs(env.iter().map(|(k, v)| (k, v))).env(variable, socket.as_raw_fd().to_string());
        let inherit = move || Ok(fcntl_setfd(&socket, FdFlags::empty())?);
        // SAFETY: 1. between fork and exec only async-signal-safe functions may run: the closure makes one
        //            fcntl call; it takes no lock and allocates nothing, not even for its error.
        unsafe { command.pre_exec(inherit) };
        let pid = command.spawn()?.id();
        // Until we wait for it, the number is its own.
        let pidfd = pidfd_of(pid)?;
        Ok(Self { pid, pidfd })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// Readable once the process has ended.
    pub(crate) fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// The ending, if it has come; the kernel forgets the process then.
    pub(crate) fn reap(&self) -> io::Result<Option<Ending>> {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
        match retry_on_intr(|| waitid(WaitId::PidFd(self.pidfd()), options)) {
            Ok(None) => Ok(None),
            Ok(Some(status)) => Ok(Some(match (status.exit_status(), status.terminating_signal()) {
                (Some(code), _) => Ending::Exited(code),
                (None, Some(signal)) => Ending::Killed(signal),
                (None, None) => Ending::Untold,
            })),
            // Not ours to wait for any more. If it lives, its end is still seen on the pidfd.
            Err(Errno::CHILD) => Ok(has_ended(self.pidfd())?.then_some(Ending::Untold)),
            Err(error) => Err(error.into()),
        }
    }

    /// Ends the process by SIGKILL; nothing happens when it has ended already.
    pub(crate) fn kill(&self) -> io::Result<()> {
        match pidfd_send_signal(&self.pidfd, Signal::KILL) {
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
    let mut polled = fds.each_ref().map(|fd| PollFd::from_borrowed_fd(*fd, PollFlags::IN));
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

/// Two ends that keep the borders of messages. Both are closed by exec.
pub(crate) fn socket_pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?)
}

/// Sends one message (at least one byte) with at most [`DESCRIPTORS_MAX`] descriptors. `wait` false: a full
/// socket is `WouldBlock`.
pub(crate) fn send_message(
    socket: BorrowedFd<'_>,
    bytes: &[u8],
    fds: &[BorrowedFd<'_>],
    wait: bool,
) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let flags = if wait { SendFlags::NOSIGNAL } else { SendFlags::NOSIGNAL | SendFlags::DONTWAIT };
    Ok(retry_on_intr(|| sendmsg(socket, &[IoSlice::new(bytes)], &mut control, flags))?)
}

/// Receives one message into `bytes`, its descriptors at the end of `fds`. Zero: the other end is closed.
pub(crate) fn receive_message(
    socket: BorrowedFd<'_>,
    bytes: &mut [u8],
    fds: &mut Vec<OwnedFd>,
    wait: bool,
) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let flags = if wait { RecvFlags::CMSG_CLOEXEC } else { RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT };
    let message = loop {
        match recvmsg(socket, &mut [IoSliceMut::new(bytes)], &mut control, flags) {
            // Said once, when the other end was closed with messages unread; what it sent before is still here.
            Err(Errno::INTR | Errno::CONNRESET) => {}
            other => break other?,
        }
    };
    for received in control.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = received {
            fds.extend(received);
        }
    }
    if message.flags.contains(ReturnFlags::CTRUNC) {
        return Err(Errno::MFILE.into()); // the kernel drops what finds no place in our table
    }
    if message.flags.contains(ReturnFlags::TRUNC) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a message is longer than any we send"));
    }
    Ok(message.bytes)
}

/// Sends bytes (at least one) and at most [`DESCRIPTORS_MAX`] descriptors over a connected socket of any kind.
pub(crate) fn send_descriptors(socket: BorrowedFd<'_>, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut sent = send_message(socket, bytes, fds, true)?;
    while let Some(unsent) = bytes.get(sent..).filter(|unsent| !unsent.is_empty()) {
        sent += send_message(socket, unsent, &[], true)?;
    }
    Ok(())
}

/// Receives `len` bytes, or fewer when the other end is closed, and the descriptors that came with them.
pub(crate) fn receive_descriptors(socket: BorrowedFd<'_>, len: usize) -> io::Result<(Vec<u8>, Vec<OwnedFd>)> {
    let (mut bytes, mut fds, mut received) = (vec![0; len], Vec::new(), 0);
    while received < len {
        match receive_message(socket, &mut bytes[received..], &mut fds, true)? {
            0 => break,
            more => received += more,
        }
    }
    bytes.truncate(received);
    Ok((bytes, fds))
}

/// An anonymous file that holds `bytes`.
pub(crate) fn file_of(bytes: &[u8]) -> io::Result<OwnedFd> {
    let mut file = File::from(memfd_create(c"mutirao-parcel", MemfdFlags::CLOEXEC)?);
    file.write_all(bytes)?;
    Ok(file.into())
}

/// All bytes of a file made by [`file_of`].
pub(crate) fn read_all(file: OwnedFd) -> io::Result<Vec<u8>> {
    let file = File::from(file);
    let len = usize::try_from(file.metadata()?.len()).map_err(|_| io::ErrorKind::OutOfMemory)?;
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(len).map_err(|_| io::ErrorKind::OutOfMemory)?;
    bytes.resize(len, 0);
    file.read_exact_at(&mut bytes, 0)?;
    Ok(bytes)
}

/// Takes the socket whose number stands in the environment under `variable`, removes the variable and
/// closes the door for programs that this one will run. `None`: there is no such variable.
pub(crate) fn take_inherited_socket(variable: &str) -> Option<io::Result<OwnedFd>> {
    let number = std::env::var_os(variable)?;
    remove_variable(variable);
    Some(number.to_str().and_then(|number| number.parse().ok()).ok_or(Errno::BADF.into()).and_then(adopt_socket))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_and_borders_of_messages_survive_a_socket() {
        let (a, b) = socket_pair().unwrap();
        let file = file_of(b"hello").unwrap();
        send_message(a.as_fd(), b"one", &[file.as_fd(); DESCRIPTORS_MAX], true).unwrap();
        send_message(a.as_fd(), b"two", &[], true).unwrap();
        let (mut bytes, mut fds) = ([0; 16], Vec::new());
        assert_eq!(receive_message(b.as_fd(), &mut bytes, &mut fds, true).unwrap(), 3);
        assert_eq!(fds.len(), DESCRIPTORS_MAX);
        assert_eq!(read_all(fds.pop().unwrap()).unwrap(), b"hello");
        assert_eq!(receive_message(b.as_fd(), &mut bytes, &mut fds, true).unwrap(), 3);
        drop(a);
        assert_eq!(receive_message(b.as_fd(), &mut bytes, &mut fds, true).unwrap(), 0);
    }
}
