//! The child's side: from the environment to the function, and back over the socket.
//!
//! The variable is there only for the moment between exec and [`init`]: what the child runs does not
//! inherit it, nor the socket.
//!
//! A thread, the lifeline, ties the child's life to its parent's. It watches the parent by a pidfd that the
//! parent opened on itself and sent, so there is no moment in which the parent can die unseen: dead already,
//! it is seen at the first look. The parent as a process counts, not the thread that spawned (which is what
//! `PR_SET_PDEATHSIG` would watch).

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, OnceLock};

use crate::deadline::Deadline;
use crate::error::{Kind, Result};
use crate::process::entry::{Answer, Encoded};
use crate::process::parcel::{self, Incoming, Note, Parcel};
use crate::sys::process as sys;

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
    let code = match socket.and_then(|socket| run(&Arc::new(socket))) {
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

fn run(socket: &Arc<OwnedFd>) -> io::Result<i32> {
    let Some(mut parcel) = Incoming::default().receive(socket.as_fd(), true)? else {
        return Ok(REFUSED); // the parent died before it could say what to do
    };
    let args = parcel.take()?;
    let parent = parcel.take()?;
    let detached = matches!(parcel.note, Note::Start { detached: true, .. });
    if !detached {
        let socket = socket.clone();
        std::thread::Builder::new().name("mutirao-lifeline".into()).spawn(move || watch(&parent, &socket))?;
    }
    let text = |text: String| Encoded { bytes: text.into_bytes(), segments: Vec::new(), holds: Vec::new() };
    let (code, note, value) = match answer(parcel, args) {
        Answer::Returned(result) => (0, Note::Returned, result),
        Answer::Panicked(message) => (PANICKED, Note::Panicked, text(message)),
        Answer::Refused(why) => (REFUSED, Note::Refused, text(why)),
    };
    match parcel::send_value(socket.as_fd(), note, &value, None, true) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error),
        _ => Ok(code), // nobody waits for a result when the pipe is broken
    }
}

fn answer(mut parcel: Parcel, args: OwnedFd) -> Answer {
    let Note::Start { call, .. } = core::mem::replace(&mut parcel.note, Note::Released) else {
        return Answer::Refused("its parent said something else than what to run".into());
    };
    match parcel.into_value(args) {
        Ok(args) => call.make(args),
        Err(error) => Answer::Refused(error.to_string()),
    }
}

/// The lifeline. A socket that hangs up without a word means that the parent became another program.
fn watch(parent: &OwnedFd, socket: &OwnedFd) {
    let mut words = Incoming::default();
    loop {
        match sys::wait_readable([parent.as_fd(), socket.as_fd()], Deadline::NEVER) {
            Ok([false, true]) => {}
            _ => sys::kill_self(),
        }
        match words.receive(socket.as_fd(), false) {
            Ok(Some(parcel)) => match parcel.note {
                Note::Detached => return,
                Note::Released => break,
                _ => {}
            },
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Ok(None) | Err(_) => sys::kill_self(),
        }
    }
    let _ = sys::wait_readable([parent.as_fd()], Deadline::NEVER);
    sys::kill_self()
}
