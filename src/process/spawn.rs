//! The parent's side: starting a child and knowing what became of it.

use core::fmt;
use core::marker::PhantomData;
use core::time::Duration;
use parking_lot::Mutex;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use crate::deadline::Deadline;
use crate::error::{Error, Kind, Result};
use crate::process::child::{VARIABLE, check_initialised};
use crate::process::entry::{Call, Encoded, decode, encode};
use crate::process::outcome::Outcome;
use crate::process::parcel::{self, Incoming, Note, Parcel};
use crate::segment::body::Hold;
use crate::sys::clock;
use crate::sys::fork::{ForkWord, PerProcess};
use crate::sys::process::{self as sys, Child, Ending};

/// A child process that runs one function and hands back its result.
///
/// The function and its arguments are sent to a fresh process that runs this same executable; nothing is
/// inherited but the environment, the arguments of the program, the working directory and the standard
/// streams. [`init`](crate::init) must stand first in `main`.
///
/// A child does not outlive its parent: when the parent process ends, however it ends, so does the child,
/// unless it was [detached](Options::detached). The thread that spawned it may end earlier.
///
/// Dropping a `Process` neither ends the child nor waits for it: it runs on, its result is lost, and its
/// remains are taken away when the next process is spawned or dropped.
///
/// # When a process dies
///
/// [`join`](Self::join) returns an error for which [`is_child_failure`](Error::is_child_failure) holds; its
/// message tells the pid and what happened: a panic with its message, an exit code, a signal.
/// [`outcome`](Self::outcome) has the same as a value.
///
/// # Examples
///
/// ```
/// use mutirao::Process;
///
/// fn shout(word: String) -> String {
///     word.to_uppercase()
/// }
///
/// fn main() -> mutirao::Result<()> {
///     mutirao::init();
///     let child = Process::spawn(shout, "olá".to_string())?;
///     assert_eq!(child.join()?, "OLÁ");
///     Ok(())
/// }
/// ```
pub struct Process<R = ()> {
    /// `None` once it was handed to the unwatched ones, which only `drop` and `detach` do.
    child: Option<Child>,
    socket: OwnedFd,
    incoming: Incoming,
    /// Whether the child may still send.
    listening: bool,
    /// What the child sent at its end.
    answer: Option<Parcel>,
    /// How it ended, once that is known.
    outcome: Option<Outcome>,
    /// Who spawned it: a process forked from that one leaves the child alone.
    parent: ForkWord,
    /// What the child was given stays until it is joined: it may not have its own handles yet.
    _holds: Vec<Arc<Hold>>,
    result: PhantomData<fn() -> R>,
}

/// What a child is spawned with; made by [`Process::options`].
#[derive(Clone, Default, Debug)]
#[must_use]
pub struct Options {
    env: Vec<(OsString, OsString)>,
    detached: bool,
}

impl Process<()> {
    /// Options for a child: variables of its environment, whether it may outlive its parent.
    ///
    /// ```no_run
    /// # fn work(n: u32) {}
    /// # fn main() -> mutirao::Result<()> {
    /// use mutirao::Process;
    /// let child = Process::options().env("RUST_LOG", "debug").detached(true).spawn(work, 7)?;
    /// # child.join() }
    /// ```
    pub fn options() -> Options {
        Options::default()
    }
}

impl Options {
    /// Sets a variable in the child's environment.
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.env.push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Whether the child lives on when its parent ends (default: no).
    #[doc(alias = "daemon")]
    pub fn detached(mut self, detached: bool) -> Self {
        self.detached = detached;
        self
    }

    /// Spawns the child; see [`Process::spawn`].
    ///
    /// # Errors
    ///
    /// As [`Process::spawn`].
    pub fn spawn<A, R>(&self, f: fn(A) -> R, args: A) -> Result<Process<R>>
    where
        A: Serialize + DeserializeOwned,
        R: Serialize + DeserializeOwned,
    {
        check_initialised()?;
        let call = Call::new(f)?;
        let args = encode("the arguments", &args)?;
        self.start(call, args).map_err(|error| Error::io("spawning a process", error))
    }

    fn start<R>(&self, call: Call, args: Encoded) -> io::Result<Process<R>> {
        let parent = leave_unwatched([])?;
        let (socket, theirs) = sys::socket_pair()?;
        let own_pidfd = sys::own_pidfd()?;
        // All of it waits in the socket before the child exists; so it finds it whole, or nothing.
        let note = Note::Start { call, detached: self.detached };
        parcel::send_value(socket.as_fd(), note, &args, Some(own_pidfd.as_fd()), false)?;
        let child = Child::run_again(VARIABLE, theirs, &self.env)?;
        Ok(Process {
            child: Some(child),
            socket,
            incoming: Incoming::default(),
            listening: true,
            answer: None,
            outcome: None,
            parent,
            _holds: args.holds,
            result: PhantomData,
        })
    }
}

impl<R: Serialize + DeserializeOwned> Process<R> {
    /// Runs `f(args)` in a new process.
    ///
    /// `f` is a function, or a closure that captures nothing; arguments and result are any types that serde
    /// can write and read.
    ///
    /// # Errors
    ///
    /// [`is_not_initialised`](Error::is_not_initialised) without [`init`](crate::init);
    /// [`is_codec`](Error::is_codec) for arguments that can not be encoded; an error of the system when no
    /// process can be started.
    pub fn spawn<A: Serialize + DeserializeOwned>(f: fn(A) -> R, args: A) -> Result<Self> {
        Options::default().spawn(f, args)
    }

    /// Waits for the child's end and returns what its function returned.
    ///
    /// # Errors
    ///
    /// [`is_child_failure`](Error::is_child_failure) when the function did not return: a panic, an exit
    /// code, a signal.
    pub fn join(mut self) -> Result<R> {
        self.end(Deadline::NEVER, "join of a process")?;
        self.take()
    }

    /// As [`join`](Self::join), but gives up after `timeout`; the child runs on then, and can be joined later.
    ///
    /// # Errors
    ///
    /// [`is_timeout`](Error::is_timeout), and those of [`join`](Self::join). The result is handed out once.
    pub fn join_timeout(&mut self, timeout: Duration) -> Result<R> {
        self.end(Deadline::after(clock::now_ns(), timeout), "join of a process")?;
        self.take()
    }

    /// As [`join`](Self::join), but never waits.
    ///
    /// # Errors
    ///
    /// [`is_would_block`](Error::is_would_block) while the child runs, and those of [`join`](Self::join). The
    /// result is handed out once.
    pub fn try_join(&mut self) -> Result<R> {
        match self.outcome()? {
            Some(_) => self.take(),
            None => Err(Kind::WouldBlock { what: "join of a process" }.into()),
        }
    }

    fn take(&mut self) -> Result<R> {
        match &self.outcome {
            Some(Outcome::Returned) => {
                let handed_out = || Error::invalid("join of a process", "its result was handed out before");
                decode("the result", open(self.answer.take().ok_or_else(handed_out)?)?)
            }
            Some(outcome) => Err(Kind::Child { pid: self.id(), how: outcome.to_string() }.into()),
            None => Err(Error::invalid("join of a process", "it has not ended")),
        }
    }
}

/// What a look at a child finds.
enum Look {
    Ended(Ending),
    Changed,
    TimedOut,
}

impl<R> Process<R> {
    /// The process id.
    #[doc(alias = "pid")]
    pub fn id(&self) -> u32 {
        self.child.as_ref().map_or(0, Child::pid)
    }

    /// Whether the child has not ended yet.
    pub fn is_alive(&self) -> bool {
        self.child.as_ref().is_some_and(|child| !sys::has_ended(child.pidfd()).unwrap_or(false))
    }

    /// Ends the child by `SIGKILL`. It is fine if it has ended already.
    ///
    /// # Errors
    ///
    /// When the system refuses, as for a child that has become another user's.
    #[doc(alias = "terminate")]
    pub fn kill(&self) -> Result<()> {
        let killed = self.child.as_ref().map_or(Ok(()), Child::kill);
        killed.map_err(|error| Error::io("killing a process", error))
    }

    /// How the child ended; `None` while it runs.
    ///
    /// # Errors
    ///
    /// When the system does not answer.
    #[doc(alias = "exitcode")]
    pub fn outcome(&mut self) -> Result<Option<Outcome>> {
        match self.end(Deadline::NOW, "a look at a process") {
            Ok(()) => Ok(self.outcome.clone()),
            Err(error) if error.is_timeout() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Lets the child live on without this process. Its result is lost.
    pub fn detach(mut self) {
        self.part(Note::Detached);
    }

    /// Waits until the outcome is known.
    fn end(&mut self, deadline: Deadline, what: &'static str) -> Result<()> {
        while self.outcome.is_none() {
            let ending = match self.look(deadline) {
                Ok(Look::Ended(ending)) => ending,
                Ok(Look::Changed) => continue,
                Ok(Look::TimedOut) => return Err(Kind::Timeout { what }.into()),
                Err(error) => return Err(Error::io(what, error)),
            };
            self.outcome = Some(conclude(&mut self.answer, ending)?);
        }
        Ok(())
    }

    /// Takes what the child has sent and asks whether it has ended; waits for either when there is neither.
    fn look(&mut self, deadline: Deadline) -> io::Result<Look> {
        let Some(child) = &self.child else { return Err(io::ErrorKind::NotFound.into()) };
        // The end is asked for first: whatever the child has sent by then is found after it.
        let ending = child.reap()?;
        if self.listening {
            match self.incoming.receive(self.socket.as_fd(), false) {
                Ok(answer) => (self.answer, self.listening) = (answer, false),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        if let Some(ending) = ending {
            return Ok(Look::Ended(ending));
        }
        let ready = match self.listening {
            true => sys::wait_readable([child.pidfd(), self.socket.as_fd()], deadline)?,
            false => [sys::wait_readable([child.pidfd()], deadline)?[0], false],
        };
        Ok(if ready == [false, false] { Look::TimedOut } else { Look::Changed })
    }

    /// Parts from a child that runs: tells it so, and leaves it to be taken away when it has ended.
    fn part(&mut self, note: Note) {
        let running = self.parent.is_ours() && self.outcome.is_none();
        let Some(child) = self.child.take_if(|_| running) else { return };
        // A child that does not hear it has ended.
        let _ = parcel::send(self.socket.as_fd(), note, &[], false);
        let _ = leave_unwatched([child]);
    }
}

/// The outcome, from what the child has sent and how it ended. A result stays where it is.
fn conclude(answer: &mut Option<Parcel>, ending: Ending) -> Result<Outcome> {
    let told = match answer {
        None => return Ok(ending.into()),
        Some(Parcel { note: Note::Returned, .. }) => return Ok(Outcome::Returned),
        Some(Parcel { note: Note::Panicked, .. }) => Outcome::Panicked,
        Some(_) => Outcome::Refused,
    };
    let text = answer.take().map(open).transpose()?.map_or_else(Vec::new, |text| text.bytes);
    Ok(told(String::from_utf8_lossy(&text).into_owned()))
}

fn open(mut parcel: Parcel) -> Result<Encoded> {
    let body = parcel.take().map_err(|error| Error::io("reading what a child sent", error))?;
    parcel.into_value(body)
}

/// Children whose handles were dropped. The kernel keeps a row for each until somebody asks how it ended.
static UNWATCHED: PerProcess<Mutex<Vec<Child>>> = PerProcess::new();

/// Adds the children that nobody watches any more and takes away those that have ended.
fn leave_unwatched(children: impl IntoIterator<Item = Child>) -> io::Result<ForkWord> {
    let (process, unwatched) = UNWATCHED.get_or_init(Mutex::default)?;
    let mut unwatched = unwatched.lock();
    unwatched.extend(children);
    unwatched.retain(|child| matches!(child.reap(), Ok(None)));
    Ok(process)
}

impl<R> Drop for Process<R> {
    fn drop(&mut self) {
        self.part(Note::Released);
    }
}

impl<R> fmt::Debug for Process<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Process").field("id", &self.id()).field("outcome", &self.outcome).finish_non_exhaustive()
    }
}
