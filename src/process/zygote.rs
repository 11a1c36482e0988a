//! A process that forks others, as its parent has it.

use core::fmt;
use parking_lot::Mutex;
use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use crate::deadline::Deadline;
use crate::error::{Kind, Result};
use crate::process::again::{argument, not_started, run_again, title_of, variable};
use crate::process::child::check_initialised;
use crate::process::death::{Left, leave, sweep};
use crate::process::encoded::{decode, encode};
use crate::process::entry::Call;
use crate::process::exit::{Exit, Panic};
use crate::process::parcel::{self, Incoming, Note, Parcel};
use crate::sys::fork::ForkWord;
use crate::sys::process::{self as sys, Child, duplicate};
use crate::sys::socket::socket_pair;

/// A process that forks children for this one: quicker than running the program again for each, and with what was prepared.
///
/// It is this program run once more, when it is started, and it stays in [`init`](crate::init), with one thread. What is
/// spawned through it ([`Options::zygote`](crate::Options::zygote)) is a fork of it: a child of this process like any
/// other, with a name, streams, an environment and a directory as if it had been run again, and with a proof of life, a
/// lifeline and a socket of its own. What [`prepared`](Self::prepared) has done is there already, in memory that is copied only
/// where it is written to.
///
/// Resource limits, user and groups, umask and namespaces are what they were when the zygote was started. In `ps`, a name
/// stands in the place of the program's as far as it is as long.
///
/// A zygote ends when its last handle is dropped, or with this process. Its children do not end with it.
///
/// # When a process dies
///
/// A zygote that was killed is started again when it is needed.
///
/// # Examples
///
/// ```
/// use mutirao::{Process, Zygote};
/// use std::sync::OnceLock;
///
/// static WORDS: OnceLock<Vec<String>> = OnceLock::new();
///
/// fn load() {
///     WORDS.get_or_init(|| vec!["um".into(), "dois".into()]);
/// }
///
/// # fn main() -> mutirao::Result<()> {
/// # mutirao::init();
/// let zygote = Zygote::prepared(load)?;
/// let options = Process::options().zygote(&zygote);
/// let child = options.spawn(|n: usize| WORDS.get().expect("it was prepared")[n].clone(), 1)?;
/// assert_eq!(child.join()?, "dois");
/// # Ok(()) }
/// ```
#[doc(alias = "forkserver")]
#[doc(alias = "set_start_method")]
#[doc(alias = "set_forkserver_preload")]
#[derive(Clone)]
pub struct Zygote(Arc<Nursery>);

struct Nursery {
    prepare: Option<fn()>,
    running: Mutex<Option<Running>>,
}

struct Running {
    /// Whose zygote it is.
    process: ForkWord,
    /// `None` once somebody else looks after it.
    child: Option<Child>,
    socket: OwnedFd,
    incoming: Incoming,
}

impl Zygote {
    /// Starts a zygote.
    ///
    /// # Errors
    ///
    /// As [`Process::spawn`](crate::Process::spawn); [`is_child_failure`](crate::Error::is_child_failure) when it has several
    /// threads, as when something that stands before `init` has started some.
    pub fn start() -> Result<Self> {
        Self::new(None)
    }

    /// Starts a zygote that runs `prepare` before it forks anything, and waits until that is done.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start), and [`is_child_failure`](crate::Error::is_child_failure) when `prepare` panics or leaves threads
    /// behind.
    pub fn prepared(prepare: fn()) -> Result<Self> {
        Self::new(Some(prepare))
    }

    fn new(prepare: Option<fn()>) -> Result<Self> {
        let running = Running::start(prepare)?;
        Ok(Self(Arc::new(Nursery { prepare, running: Mutex::new(Some(running)) })))
    }

    /// Its process id; `None` when it was found dead and is not started again yet.
    pub fn pid(&self) -> Option<u32> {
        self.0.running.lock().as_ref().and_then(|running| running.child.as_ref()).map(Child::pid)
    }

    /// Has a child forked that does what it finds in `socket`. Calls `meanwhile` when the zygote is at it.
    pub(crate) fn fork(
        &self,
        name: Option<&str>,
        environment: &[CString],
        directory: &OwnedFd,
        streams: &[Option<OwnedFd>; 3],
        socket: &OwnedFd,
        meanwhile: &mut dyn FnMut(),
    ) -> Result<Child> {
        let title = title_of(name);
        let request = encode("an environment", &(name, environment))?;
        let streams = open_streams(streams).map_err(|error| not_started(title, error))?;
        let [input, output, errors] = streams.each_ref().map(OwnedFd::as_fd);
        let beside = [socket.as_fd(), input, output, errors, directory.as_fd()];
        let mut slot = self.0.running.lock();
        let mut is_new = false;
        loop {
            let running = match slot.take().filter(|running| running.process.is_ours()) {
                Some(running) => slot.insert(running),
                None => {
                    is_new = true;
                    slot.insert(Running::start(self.0.prepare)?)
                }
            };
            // A number is kept free for the descriptor that comes back: a child without one could not be waited for.
            let spare = duplicate(running.socket.as_fd()).map_err(|error| not_started(title, error))?;
            let sent = parcel::send(running.socket.as_fd(), Note::Fork, &request, &beside, parcel::refuse);
            if sent.is_ok() {
                meanwhile();
            }
            match sent.and_then(|()| running.answer(spare)) {
                Ok(Some(mut parcel)) => {
                    let child = match parcel.note {
                        Note::Forked { pid } => parcel.take().map(|pidfd| Child::new(pid, pidfd)),
                        Note::NotForked { error } => Err(io::Error::from_raw_os_error(error)),
                        _ => Err(io::ErrorKind::InvalidData.into()),
                    };
                    return child.map_err(|error| not_started(title, error));
                }
                Err(error) if error.kind() != io::ErrorKind::BrokenPipe => return Err(not_started(title, error)),
                // It is dead. Once, another is started.
                _ if is_new => return Err(not_started(title, io::ErrorKind::BrokenPipe.into())),
                _ => *slot = None,
            }
        }
    }
}

/// All three, ours where none was asked for.
fn open_streams(streams: &[Option<OwnedFd>; 3]) -> io::Result<[OwnedFd; 3]> {
    let [a, b, c] = streams;
    let (input, output, errors) = (io::stdin(), io::stdout(), io::stderr());
    let of = |stream: &Option<OwnedFd>, ours| duplicate(stream.as_ref().map_or(ours, OwnedFd::as_fd));
    Ok([of(a, input.as_fd())?, of(b, output.as_fd())?, of(c, errors.as_fd())?])
}

impl Running {
    fn start(prepare: Option<fn()>) -> Result<Self> {
        check_initialised()?;
        let failed = |error| not_started("zygote", error);
        let prepare = prepare.map(Call::plain).transpose()?;
        let process = sweep().map_err(failed)?;
        let (socket, theirs) = socket_pair().map_err(failed)?;
        let theirs = sys::above_streams(theirs).map_err(failed)?;
        let own_pidfd = sys::own_pidfd().map_err(failed)?;
        let (note, nothing) = (Note::Zygote { prepare }, encode("nothing", &())?);
        parcel::send(socket.as_fd(), note, &nothing, &[own_pidfd.as_fd()], parcel::refuse).map_err(failed)?;
        let args = std::env::args_os().map(argument).collect::<Result<Vec<_>>>()?;
        let environment = std::env::vars_os().map(variable).collect::<Result<Vec<_>>>()?;
        let child = run_again(&args, environment, None, &[None, None, None], &theirs).map_err(failed)?;
        drop(theirs);
        let mut running = Self { process, child: Some(child), socket, incoming: Incoming::default() };
        let pid = running.child.as_ref().map_or(0, Child::pid);
        let refused = |how: String| Err(Kind::Child { who: format!("{pid} (`zygote`)"), how }.into());
        let spare = duplicate(running.socket.as_fd()).map_err(failed)?;
        match running.answer(spare).map_err(failed)? {
            Some(Parcel { note: Note::Returned, .. }) => Ok(running),
            Some(parcel) if matches!(parcel.note, Note::Panicked) => {
                let panic: Exit = decode::<Panic>("a panic", parcel.into_value()?)?.into();
                refused(panic.to_string())
            }
            Some(parcel) => refused(format!("refused: {}", decode::<String>("a reason", parcel.into_value()?)?)),
            None => refused("ended before it was prepared".into()),
        }
    }

    /// What it says next; `None` when it is dead.
    fn answer(&mut self, spare: OwnedFd) -> io::Result<Option<Parcel>> {
        let Some(child) = &self.child else { return Ok(None) };
        sys::wait_readable([self.socket.as_fd(), child.pidfd().as_fd()], Deadline::NEVER)?;
        drop(spare);
        loop {
            // Asked first, so that what it said before its end is found after it.
            let ended = sys::has_ended(child.pidfd().as_fd())?;
            match self.incoming.receive(self.socket.as_fd(), false) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && !ended => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                other => return other,
            }
            sys::wait_readable([self.socket.as_fd(), child.pidfd().as_fd()], Deadline::NEVER)?;
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It ends by itself when the socket is closed.
        if let Some(child) = self.child.take_if(|_| self.process.is_ours()) {
            leave(Left { child, _leash: None });
        }
    }
}

impl fmt::Debug for Zygote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Zygote").field("pid", &self.pid()).finish_non_exhaustive()
    }
}
