//! The child's side: from the environment to the function, and back over the socket.
//!
//! The variable is there only for the moment between exec and [`init`]: what the child runs does not
//! inherit it, nor the socket.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::{Arc, OnceLock};

use crate::deadline::Deadline;
use crate::error::{Kind, Result};
use crate::process::encoded::encode;
use crate::process::entry::Answer;
use crate::process::exit::{CLOSED, Panic};
use crate::process::parcel::{self, Incoming, Note, Parcel};
use crate::process::{family, lifeline, nursery, panics};
use crate::sys::fork::ForkWord;
use crate::sys::{limits, liveness, membarrier, process as sys};

/// Names the inherited socket in a child's environment.
pub(crate) const VARIABLE: &str = "MUTIRAO_CHILD";

/// The exit code after a panic, as Rust programs have it.
const PANICKED: i32 = 101;
/// The exit code of a child that could not do what it was started for.
const REFUSED: i32 = 102;

static INITIALISED: OnceLock<()> = OnceLock::new();

/// Makes this program able to spawn processes: the first line of `main`.
///
/// A child is the same program run again. In a child this function runs what the child was spawned for and
/// exits; it never returns. In any other process it returns at once. Whatever stands before it in `main`
/// happens in every child as well. It must come before the program starts threads, since it removes a
/// variable from the environment.
///
/// # Examples
///
/// ```
/// fn main() -> mutirao::Result<()> {
///     mutirao::init();
///     let sum = mutirao::Process::spawn(|(a, b): (u32, u32)| a + b, (2, 3))?.join()?;
///     assert_eq!(sum, 5);
///     Ok(())
/// }
/// ```
#[doc(alias = "freeze_support")]
pub fn init() {
    enter(Moment::InMain);
}

/// When a process enters.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moment {
    InMain,
    BeforeMain,
}

pub(crate) fn enter(moment: Moment) {
    let _ = INITIALISED.set(());
    let Some(socket) = sys::take_inherited_socket(VARIABLE) else { return };
    if moment == Moment::BeforeMain {
        sys::ignore_broken_pipes();
    }
    let code = match socket.and_then(begin) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("mutirao: a spawned process could not start: {error}");
            REFUSED
        }
    };
    std::process::exit(code)
}

/// Refuses to spawn where a child would not know that it is one, and would do all that its parent did.
pub(crate) fn check_initialised() -> Result<()> {
    INITIALISED.get().copied().ok_or_else(|| Kind::NotInitialised.into())
}

/// Does what the socket says. The parent may have died before it could say anything.
fn begin(socket: OwnedFd) -> io::Result<i32> {
    let Some(mut parcel) = Incoming::default().receive(socket.as_fd(), true)? else { return Ok(REFUSED) };
    if let Note::Zygote { prepare } = &mut parcel.note {
        let prepare = prepare.take();
        let Some(socket) = nursery::serve(socket, parcel, prepare)? else { return Ok(0) };
        // A worker of the zygote's: from here on like any other child.
        let Some(parcel) = Incoming::default().receive(socket.as_fd(), true)? else { return Ok(REFUSED) };
        return run(&Arc::new(socket), parcel);
    }
    run(&Arc::new(socket), parcel)
}

fn run(socket: &Arc<OwnedFd>, mut parcel: Parcel) -> io::Result<i32> {
    let pidfd = Arc::new(parcel.take()?);
    let Note::Start { call, settings, parent, tied, pid, namespace } =
        core::mem::replace(&mut parcel.note, Note::Value)
    else {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "its parent said something else than what to run"));
    };
    liveness::told_by_parent(pid, namespace);
    // Before there is a second thread: with one, the kernel waits for all processors to pass a quiet point, 5 to 15
    // milliseconds in which the first handle among the arguments could not be attached to.
    membarrier::register();
    let lasting = Arc::clone(&pidfd);
    let tied = if tied { parcel.take().and_then(|leash| lifeline::tie(Arc::clone(&pidfd), leash)) } else { Ok(()) };
    let process = ForkWord::of_this_process()?;
    let door = sys::file_id(socket.as_fd())?;
    let tied = tied.map_err(|error| format!("no thread could tie its life to its parent's: {error}"));
    let answer = tied.and_then(|()| settings.apply()).and_then(|()| {
        name_after(settings.name.as_deref());
        let args = parcel.into_value().map_err(|error| error.to_string())?;
        family::settle(settings.name, parent, pidfd, Arc::clone(socket)).map_err(|error| error.to_string())?;
        panics::watch();
        Ok(call.make(args))
    });
    if !process.is_ours() {
        return Ok(0); // a fork of the child, and no business of the parent's
    }
    let (code, note, value) = match answer {
        Ok(Answer::Returned(result)) => (0, Note::Returned, Ok(result)),
        Ok(Answer::Panicked(panic)) => (PANICKED, Note::Panicked, encode::<Panic>("a panic", &panic)),
        Ok(Answer::Refused(why)) | Err(why) => (REFUSED, Note::Refused, encode("a reason", &why)),
    };
    if sys::file_id(socket.as_fd()).ok() != Some(door) {
        return Ok(CLOSED);
    }
    let room = |_| sys::wait_writable(socket.as_fd(), lasting.as_fd(), Deadline::NEVER).map(drop);
    match parcel::send(socket.as_fd(), note, &value.map_err(io::Error::other)?, &[], room) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error),
        _ => Ok(code), // nobody waits for a result when the pipe is broken
    }
}

/// Names the process after what it was called, or after its program: the kernel calls it `exe`, by which it was found.
fn name_after(name: Option<&str>) {
    let program = std::env::args_os().next().unwrap_or_default();
    let of_program = || Path::new(&program).file_name().unwrap_or_default().to_string_lossy().into_owned();
    limits::set_name(&name.map_or_else(of_program, str::to_owned));
}
