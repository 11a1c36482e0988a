//! What a parent knows of a child that runs, says to it and does to it.

use core::time::Duration;
use serde::Serialize;
use std::io::{self, PipeReader, PipeWriter};
use std::os::fd::AsFd;

use crate::deadline::Deadline;
use crate::error::{Error, Kind, Result};
use crate::process::again::not_started;
use crate::process::death::Death;
use crate::process::encoded::encode;
use crate::process::family::{Current, Parent};
use crate::process::lifeline;
use crate::process::parcel::{self, Note};
use crate::process::spawn::Process;
use crate::sync::Ordering;
use crate::sys::process::{self as sys, SIGKILL, SIGTERM};
use crate::sys::{clock, socket};

impl Process<()> {
    /// This process.
    #[doc(alias = "current_process")]
    pub fn current() -> Current {
        Current::look()
    }

    /// The process that spawned this one; `None` where [`Process::spawn`] did not.
    #[doc(alias = "parent_process")]
    pub fn parent() -> Option<Parent> {
        Parent::look()
    }
}

impl<R> Process<R> {
    /// The process id.
    #[doc(alias = "ident")]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// The process id, by the name that std has for it.
    #[doc(hidden)]
    pub fn id(&self) -> u32 {
        self.pid()
    }

    /// The name that it was given.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// Whether the child has not ended yet.
    pub fn is_alive(&self) -> bool {
        !sys::has_ended(self.pidfd.as_fd()).unwrap_or(false)
    }

    /// Its death, to be waited for among other things: a descriptor and a future.
    #[doc(alias = "sentinel")]
    pub fn death(&self) -> Death {
        Death::of(&self.pidfd)
    }

    /// Ends the child by `SIGKILL`. It is fine if it has ended already.
    ///
    /// # Errors
    ///
    /// When the system refuses, as for a child that has become another user's.
    pub fn kill(&self) -> Result<()> {
        self.signal(SIGKILL)
    }

    /// Sends the child a signal by its number. It is fine if it has ended already.
    ///
    /// # Errors
    ///
    /// [`is_invalid`](Error::is_invalid) for a number that is no signal, and as [`kill`](Self::kill).
    pub fn signal(&self, signal: i32) -> Result<()> {
        self.signals.fetch_add(1, Ordering::Relaxed);
        let sent = self.child.as_ref().map_or(Ok(()), |child| child.signal(signal));
        sent.map_err(|error| match error.kind() {
            io::ErrorKind::InvalidInput => Error::invalid(format!("signal {signal}"), "there is none of that number"),
            _ => Error::io("sending a signal to a process", error),
        })
    }

    /// Asks the child to end by `SIGTERM`, and ends it by `SIGKILL` when it has not after `grace`. It has ended when this
    /// returns; [`exit`](Self::exit) or [`join`](Self::join) tell how.
    ///
    /// # Errors
    ///
    /// As [`kill`](Self::kill).
    pub fn terminate(&mut self, grace: Duration) -> Result<()> {
        let what = "terminating a process";
        self.signal(SIGTERM)?;
        match self.end(Deadline::after(clock::now_ns(), grace), what) {
            Err(error) if error.is_timeout() => {}
            other => return other,
        }
        self.kill()?;
        self.end(Deadline::NEVER, what)
    }

    /// Sends the child, which runs already, a value: any serde type, with handles in it. The child takes it by
    /// [`Parent::recv`](crate::Parent::recv). Waits while the child leaves several of them untaken.
    ///
    /// # Errors
    ///
    /// [`is_codec`](Error::is_codec) for a value that can not be encoded; [`is_disconnected`](Error::is_disconnected)
    /// when the child has ended. That it is sent does not mean that it will be taken.
    pub fn send<T: Serialize>(&self, value: &T) -> Result<()> {
        self.send_until(value, Deadline::NEVER)
    }

    /// As [`send`](Self::send), but gives up after `timeout`; nothing was sent then.
    ///
    /// # Errors
    ///
    /// [`is_timeout`](Error::is_timeout), and those of [`send`](Self::send).
    pub fn send_timeout<T: Serialize>(&self, value: &T, timeout: Duration) -> Result<()> {
        self.send_until(value, Deadline::after(clock::now_ns(), timeout))
    }

    /// Says that nothing more will be sent: the child's `recv` is disconnected when it has taken the rest.
    pub fn hang_up(&self) {
        let _ = socket::end_of_sending(self.socket.as_fd());
    }

    fn send_until<T: Serialize>(&self, value: &T, deadline: Deadline) -> Result<()> {
        let what = "sending a value to a child";
        let value = encode("a value for a child", value)?;
        self.holds.lock().extend_from_slice(&value.holds);
        let (socket, pidfd) = (self.socket.as_fd(), self.pidfd.as_fd());
        let _one_at_a_time = self.sending.lock();
        let room = |is_begun| {
            // The rest of what was begun waits for as long as the child lives.
            let deadline = if is_begun { Deadline::NEVER } else { deadline };
            match sys::wait_writable(socket, pidfd, deadline)? {
                true if sys::has_ended(pidfd)? => Err(io::ErrorKind::BrokenPipe.into()),
                true => Ok(()),
                false => Err(io::ErrorKind::TimedOut.into()),
            }
        };
        parcel::send(socket, Note::Value, &value, &[], room).map_err(|error| match error.kind() {
            io::ErrorKind::TimedOut => Kind::Timeout { what }.into(),
            io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => {
                Kind::Disconnected { what: "socket", peers: "child" }.into()
            }
            _ => not_started(self.name.as_deref().unwrap_or("child"), error),
        })
    }

    /// The other end of the child's standard input, if it is [piped](crate::Stdio::piped). Once.
    pub fn take_stdin(&mut self) -> Option<PipeWriter> {
        self.streams[0].take().map(PipeWriter::from)
    }

    /// The other end of the child's standard output, if it is [piped](crate::Stdio::piped). Once.
    pub fn take_stdout(&mut self) -> Option<PipeReader> {
        self.streams[1].take().map(PipeReader::from)
    }

    /// The other end of the child's standard error, if it is [piped](crate::Stdio::piped). Once.
    pub fn take_stderr(&mut self) -> Option<PipeReader> {
        self.streams[2].take().map(PipeReader::from)
    }

    /// Lets the child live on without this process. Its result is lost.
    pub fn detach(mut self) {
        if let Some(leash) = self.leash.as_ref().filter(|_| self.parent.is_ours()) {
            lifeline::let_go(leash);
        }
        self.part();
    }
}
