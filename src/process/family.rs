//! Who this process is, and who started it.

use core::time::Duration;
use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::{Arc, OnceLock};

use crate::deadline::Deadline;
use crate::error::{Error, Kind, Result};
use crate::process::death::Death;
use crate::process::encoded::decode;
use crate::process::parcel::{Incoming, Note};
use crate::sys::fork::ForkWord;
use crate::sys::{clock, process as sys};

/// What a spawned process knows of its origin.
struct Origin {
    /// Whose origin it is: not that of a process forked from it.
    process: ForkWord,
    name: Option<String>,
    pid: u32,
    pidfd: Arc<OwnedFd>,
    socket: Arc<OwnedFd>,
    incoming: Mutex<Incoming>,
}

static ORIGIN: OnceLock<Origin> = OnceLock::new();

/// Notes where this process comes from.
pub(crate) fn settle(name: Option<String>, pid: u32, pidfd: Arc<OwnedFd>, socket: Arc<OwnedFd>) -> io::Result<()> {
    let process = ForkWord::of_this_process()?;
    let _ = ORIGIN.set(Origin { process, name, pid, pidfd, socket, incoming: Mutex::default() });
    Ok(())
}

fn origin() -> Option<&'static Origin> {
    ORIGIN.get().filter(|origin| origin.process.is_ours())
}

/// The process that asks, as [`Process::current`](crate::Process::current) returns it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Current {
    pid: u32,
    name: String,
}

impl Current {
    /// The process id.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// The name that it was spawned with, or the program's.
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// The process that spawned this one, as [`Process::parent`](crate::Process::parent) returns it.
///
/// # Examples
///
/// A child that runs already gets handles from its parent:
///
/// ```
/// use mutirao::{Process, Value};
///
/// fn work(_: ()) -> u64 {
///     let parent = Process::parent().expect("a process spawned me");
///     let total = parent.recv::<Value<u64>>().expect("a value");
///     total.fetch_add(2)
/// }
///
/// # fn main() -> mutirao::Result<()> {
/// # mutirao::init();
/// let child = Process::spawn(work, ())?;
/// let total = Value::new(40_u64)?;
/// child.send(&total)?;
/// child.join()?;
/// assert_eq!(total.load(), 42);
/// # Ok(()) }
/// ```
#[derive(Clone, Copy)]
pub struct Parent(&'static Origin);

impl Current {
    pub(crate) fn look() -> Self {
        let given = origin().and_then(|origin| origin.name.clone());
        let of_program = || {
            let program = std::env::args_os().next().unwrap_or_default();
            Path::new(&program).file_name().unwrap_or_default().to_string_lossy().into_owned()
        };
        Self { pid: std::process::id(), name: given.unwrap_or_else(of_program) }
    }
}

impl Parent {
    pub(crate) fn look() -> Option<Self> {
        origin().map(Self)
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.0.pid
    }

    /// Whether it has not ended yet. Only a detached child can find its parent dead.
    pub fn is_alive(&self) -> bool {
        !self.death().has_come()
    }

    /// Its death, to be waited for among other things.
    pub fn death(&self) -> Death {
        Death::of(&self.0.pidfd)
    }

    /// Waits for the next value that the parent [sends](crate::Process::send). Each value goes to one of those who wait.
    ///
    /// # Errors
    ///
    /// [`is_disconnected`](Error::is_disconnected) when the parent dropped its handle or ended and all it sent was
    /// received; [`is_codec`](Error::is_codec) when it sent something else than a `T`.
    pub fn recv<T: DeserializeOwned>(&self) -> Result<T> {
        self.recv_until(Deadline::NEVER)
    }

    /// As [`recv`](Self::recv), but gives up after `timeout`.
    ///
    /// # Errors
    ///
    /// [`is_timeout`](Error::is_timeout), and those of [`recv`](Self::recv).
    pub fn recv_timeout<T: DeserializeOwned>(&self, timeout: Duration) -> Result<T> {
        self.recv_until(Deadline::after(clock::now_ns(), timeout))
    }

    /// As [`recv`](Self::recv), but never waits.
    ///
    /// # Errors
    ///
    /// [`is_would_block`](Error::is_would_block) when there is none now, and those of [`recv`](Self::recv).
    pub fn try_recv<T: DeserializeOwned>(&self) -> Result<T> {
        match self.recv_until(Deadline::NOW) {
            Err(error) if error.is_timeout() => Err(Kind::WouldBlock { what: "a value from the parent" }.into()),
            other => other,
        }
    }

    fn recv_until<T: DeserializeOwned>(&self, deadline: Deadline) -> Result<T> {
        let what = "a value from the parent";
        let failed = |error| Error::io(what, error);
        loop {
            let received = self.0.incoming.lock().receive(self.0.socket.as_fd(), false);
            match received {
                Ok(Some(parcel)) if matches!(parcel.note, Note::Value) => {
                    return decode(what, parcel.into_value()?);
                }
                Ok(Some(_)) => return Err(Error::invalid(what, "it said something else")),
                Ok(None) => return Err(Kind::Disconnected { what: "process", peers: "parent" }.into()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(failed(error)),
            }
            if sys::wait_readable([self.0.socket.as_fd()], deadline).map_err(failed)? == [false] {
                return Err(Kind::Timeout { what }.into());
            }
        }
    }
}

impl core::fmt::Debug for Parent {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Parent").field("pid", &self.pid()).finish_non_exhaustive()
    }
}
