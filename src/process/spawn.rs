//! The parent's side: starting a child and knowing what became of it.

use core::fmt;
use core::marker::PhantomData;
use core::time::Duration;
use parking_lot::Mutex;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use crate::deadline::Deadline;
use crate::error::{Error, Kind, Result};
use crate::process::again::not_started;
use crate::process::child::check_initialised;
use crate::process::death::{Left, leave, sweep};
use crate::process::encoded::{Encoded, decode, encode};
use crate::process::entry::Call;
use crate::process::exit::{Exit, Panic};
use crate::process::launch::launch;
use crate::process::options::Options;
use crate::process::out_of_memory;
use crate::process::parcel::{Incoming, Note, Parcel};
use crate::segment::body::Hold;
use crate::sync::{AtomicU32, Ordering};
use crate::sys::clock;
use crate::sys::fork::ForkWord;
use crate::sys::process::{self as sys, Child, Ending, SIGKILL};

/// A child process that runs one function and hands back its result.
///
/// The function and its arguments are sent to a fresh process that runs this same executable; nothing is
/// inherited but the environment, the arguments of the program, the working directory and the standard
/// streams. [`init`](crate::init) must stand first in `main`.
///
/// A child does not outlive its parent: when the parent process ends, however it ends, so does the child,
/// unless it was [detached](Options::detached). The thread that spawned it may end earlier.
///
/// Dropping a `Process` neither ends the child nor waits for it: it runs on, its result is lost, and when it has ended
/// nothing is left of it.
///
/// # When a process dies
///
/// [`join`](Self::join) returns an error for which [`is_child_failure`](Error::is_child_failure) holds; its
/// message tells the pid and what happened: a panic with its message, an exit code, a signal.
/// [`exit`](Self::exit) has the same as a value, and [`death`](Self::death) is to be waited for among other things.
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
#[doc(alias = "multiprocessing")]
pub struct Process<R = ()> {
    /// `None` once somebody else looks after it, which only `drop` and `detach` bring about.
    pub(crate) child: Option<Child>,
    pub(crate) pid: u32,
    pub(crate) pidfd: Arc<OwnedFd>,
    pub(crate) name: Option<String>,
    pub(crate) socket: OwnedFd,
    /// Whoever sends over the socket; a parcel can be several messages.
    pub(crate) sending: Mutex<()>,
    /// The child ends when this is let go of while it runs. Detached from the beginning, it has none.
    pub(crate) leash: Option<OwnedFd>,
    pub(crate) streams: [Option<OwnedFd>; 3],
    incoming: Incoming,
    /// Whether the child may still send.
    listening: bool,
    /// What the child sent at its end.
    answer: Option<Parcel>,
    /// How it ended, once that is known.
    exit: Option<Exit>,
    /// Signals that this handle has sent.
    pub(crate) signals: AtomicU32,
    /// Who spawned it: a process forked from that one leaves the child alone.
    pub(crate) parent: ForkWord,
    /// What the child was given stays until it is joined: it may not have its own handles yet.
    pub(crate) holds: Mutex<Vec<Arc<Hold>>>,
    result: PhantomData<fn() -> R>,
}

impl Process<()> {
    /// Options for a child: its name, environment, directory, streams, CPUs, limits, and whether it may outlive its
    /// parent.
    ///
    /// ```no_run
    /// # fn work(n: u32) {}
    /// # fn main() -> mutirao::Result<()> {
    /// use mutirao::{Process, Resource};
    /// let options = Process::options().name("sums").env("RUST_LOG", "debug").affinity([1]).limit(Resource::CpuTime, 60);
    /// let child = options.spawn(work, 7)?;
    /// # child.join() }
    /// ```
    pub fn options() -> Options {
        Options::default()
    }
}

impl Options {
    /// Spawns the child; see [`Process::spawn`].
    ///
    /// # Errors
    ///
    /// As [`Process::spawn`], and [`is_invalid`](Error::is_invalid) for a name, variable or path that holds a NUL. What
    /// the child can not set, an affinity or a limit, is the reason of an [`Exit::Refused`](crate::Exit::Refused).
    pub fn spawn<A, R>(&self, f: fn(A) -> R, args: A) -> Result<Process<R>>
    where
        A: Serialize + DeserializeOwned,
        R: Serialize + DeserializeOwned,
    {
        Process::start(self, f, args)
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

    fn start<A: Serialize + DeserializeOwned>(options: &Options, f: fn(A) -> R, args: A) -> Result<Self> {
        // What can not be encoded starts nothing.
        let args = encode("the arguments", &args)?;
        Self::launch(options, f, || Ok(args))
    }

    /// Runs `f`, with arguments that are made while the process comes to life. Is there no way to make them, it is
    /// ended.
    pub(crate) fn start_and_make<A: Serialize + DeserializeOwned>(
        options: &Options,
        f: fn(A) -> R,
        args: impl FnOnce() -> Result<A>,
    ) -> Result<Self> {
        Self::launch(options, f, || encode("the arguments", &args()?))
    }

    fn launch<A: Serialize + DeserializeOwned>(
        options: &Options,
        f: fn(A) -> R,
        args: impl FnOnce() -> Result<Encoded>,
    ) -> Result<Self> {
        check_initialised()?;
        let call = Call::new(f)?;
        let parent = sweep().map_err(|error| not_started(options.title(), error))?;
        // Nothing is known to end for memory before it was told what to do.
        let args = || {
            out_of_memory::watch();
            args()
        };
        let launched = launch(options, call, args)?;
        Ok(Self {
            pid: launched.child.pid(),
            pidfd: Arc::clone(launched.child.pidfd()),
            child: Some(launched.child),
            name: options.name.clone(),
            socket: launched.socket,
            sending: Mutex::new(()),
            leash: launched.leash,
            streams: launched.streams,
            incoming: Incoming::default(),
            listening: true,
            answer: None,
            exit: None,
            signals: AtomicU32::new(0),
            parent,
            holds: Mutex::new(launched.holds),
            result: PhantomData,
        })
    }

    /// Waits for the child's end and returns what its function returned.
    ///
    /// # Errors
    ///
    /// [`is_child_failure`](Error::is_child_failure) when the function did not return: a panic, an exit
    /// code, a signal. [`is_codec`](Error::is_codec) when its result can not be decoded.
    pub fn join(mut self) -> Result<R> {
        self.streams[0] = None; // so that a child that reads to the end comes to it
        self.end(Deadline::NEVER, "join of a process")?;
        self.result()
    }

    /// As [`join`](Self::join), but gives up after `timeout`; the child runs on then, and can be joined later.
    ///
    /// # Errors
    ///
    /// [`is_timeout`](Error::is_timeout), and those of [`join`](Self::join). The result is handed out once.
    pub fn join_timeout(&mut self, timeout: Duration) -> Result<R> {
        self.end(Deadline::after(clock::now_ns(), timeout), "join of a process")?;
        self.result()
    }

    /// As [`join`](Self::join), but never waits.
    ///
    /// # Errors
    ///
    /// [`is_would_block`](Error::is_would_block) while the child runs, and those of [`join`](Self::join). The
    /// result is handed out once.
    pub fn try_join(&mut self) -> Result<R> {
        self.end_now()?;
        self.result()
    }

    /// Waits for the child's end and returns how it ended: also a panic, an exit code or a signal is a value here.
    ///
    /// # Errors
    ///
    /// [`is_codec`](Error::is_codec) when the result of its function can not be decoded.
    #[doc(alias = "exitcode")]
    pub fn exit(mut self) -> Result<Exit<R>> {
        self.streams[0] = None;
        self.exit_timeout(Duration::MAX)
    }

    /// As [`exit`](Self::exit), but gives up after `timeout`; the child runs on then.
    ///
    /// # Errors
    ///
    /// [`is_timeout`](Error::is_timeout), and those of [`exit`](Self::exit). A result is handed out once, other ends as
    /// often as they are asked for.
    pub fn exit_timeout(&mut self, timeout: Duration) -> Result<Exit<R>> {
        self.end(Deadline::after(clock::now_ns(), timeout), "the end of a process")?;
        self.whole_exit()
    }

    /// As [`exit`](Self::exit), but never waits.
    ///
    /// # Errors
    ///
    /// [`is_would_block`](Error::is_would_block) while the child runs, and those of
    /// [`exit_timeout`](Self::exit_timeout).
    pub fn try_exit(&mut self) -> Result<Exit<R>> {
        self.end_now()?;
        self.whole_exit()
    }

    /// What the function returned, or the error that tells how else the child ended.
    fn result(&mut self) -> Result<R> {
        match self.whole_exit()? {
            Exit::Returned(result) => Ok(result),
            other => Err(Kind::Child { who: self.who(), how: other.to_string() }.into()),
        }
    }

    fn whole_exit(&mut self) -> Result<Exit<R>> {
        match &self.exit {
            None => Err(Error::invalid("join of a process", "it has not ended")),
            Some(Exit::Returned(())) => {
                let handed_out = || Error::invalid("join of a process", "its result was handed out before");
                Ok(Exit::Returned(decode("the result", self.answer.take().ok_or_else(handed_out)?.into_value()?)?))
            }
            Some(other) => other.of_another().ok_or_else(|| Error::invalid("join of a process", "it has no result")),
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
    /// As messages call it.
    fn who(&self) -> String {
        match &self.name {
            Some(name) => format!("{} (`{name}`)", self.pid()),
            None => self.pid().to_string(),
        }
    }

    fn end_now(&mut self) -> Result<()> {
        let what = "join of a process";
        match self.end(Deadline::NOW, what) {
            Err(error) if error.is_timeout() => Err(Kind::WouldBlock { what }.into()),
            other => other,
        }
    }

    /// Waits until it is known how the child ended.
    pub(crate) fn end(&mut self, deadline: Deadline, what: &'static str) -> Result<()> {
        while self.exit.is_none() {
            let ending = match self.look(deadline) {
                Ok(Look::Ended(ending)) => ending,
                Ok(Look::Changed) => continue,
                Ok(Look::TimedOut) => return Err(Kind::Timeout { what }.into()),
                Err(error) => return Err(Error::io(what, error)),
            };
            self.exit = Some(conclude(&mut self.answer, ending, self.signals.load(Ordering::Relaxed))?);
            self.holds.lock().clear();
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
            true => sys::wait_readable([self.pidfd.as_fd(), self.socket.as_fd()], deadline)?,
            false => [sys::wait_readable([self.pidfd.as_fd()], deadline)?[0], false],
        };
        Ok(if ready == [false, false] { Look::TimedOut } else { Look::Changed })
    }

    /// Parts from a child that runs.
    pub(crate) fn part(&mut self) {
        let running = self.parent.is_ours() && self.exit.is_none();
        if let Some(child) = self.child.take_if(|_| running) {
            leave(Left { child, _leash: self.leash.take() });
        }
    }
}

/// How the child ended, from what it has sent and what the kernel says. A result stays where it is.
fn conclude(answer: &mut Option<Parcel>, ending: Ending, signals: u32) -> Result<Exit> {
    let told = match answer {
        Some(Parcel { note: Note::Returned, .. }) => return Ok(Exit::Returned(())),
        Some(parcel) => matches!(parcel.note, Note::Panicked),
        None => {
            return Ok(match ending {
                Ending::Exited(code) => Exit::Exited(code),
                Ending::Killed(signal) => {
                    let is_unasked = signal == SIGKILL && signals == 0;
                    Exit::Killed { signal, out_of_memory: is_unasked && out_of_memory::explains_a_death() }
                }
                Ending::Untold => Exit::Untold,
            });
        }
    };
    let text = answer.take().map(Parcel::into_value).transpose()?;
    let text = text.ok_or_else(|| Error::invalid("join of a process", "it sent no reason"))?;
    Ok(if told { decode::<Panic>("a panic", text)?.into() } else { Exit::Refused(decode("a reason", text)?) })
}

impl<R> Drop for Process<R> {
    fn drop(&mut self) {
        self.part();
    }
}

impl<R> fmt::Debug for Process<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, exit, .. } = self;
        f.debug_struct("Process")
            .field("pid", &self.pid())
            .field("name", name)
            .field("exit", exit)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::death::Death;
    use crate::process::zygote::Zygote;

    #[test]
    fn handles_of_processes_go_to_any_thread() {
        fn check<T: Send + Sync>() {}
        check::<Process<std::rc::Rc<()>>>();
        check::<Death>();
        check::<Zygote>();
    }
}
