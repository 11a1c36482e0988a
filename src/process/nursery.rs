//! A zygote's side: it waits for its parent to ask, and forks.
//!
//! It has one thread and starts none, so that a fork of it is whole. It watches its parent by itself, and ends when the
//! parent ends or lets go of the socket. What it forks has the parent for its own parent (see [`clone`](crate::sys::clone)),
//! gets the socket, the streams, the directory and the environment that came with the request, and then goes the way of
//! every child.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use crate::deadline::Deadline;
use crate::process::encoded::{decode, encode};
use crate::process::entry::{Answer, Call};
use crate::process::panics;
use crate::process::parcel::{self, Incoming, Note, Parcel};
use crate::sys::clone::{Side, Title, fork_for_parent, has_one_thread, set_environment, set_streams};
use crate::sys::{limits, process as sys};

/// Prepares, answers with what came of it, and forks as often as it is asked to. `Some` in each new process: its socket.
pub(crate) fn serve(socket: OwnedFd, mut parcel: Parcel, prepare: Option<Call>) -> io::Result<Option<OwnedFd>> {
    limits::set_name("mutirao-zygote");
    let parent = parcel.take()?;
    panics::watch();
    let nothing = || encode("nothing", &());
    let answer = match prepare {
        Some(call) => call.make(nothing().map_err(io::Error::other)?),
        None => Answer::Returned(nothing().map_err(io::Error::other)?),
    };
    let (note, value) = match answer {
        Answer::Returned(_) if !has_one_thread() => {
            let why = "it has several threads: what prepares it, or stands before `init`, has started some";
            (Note::Refused, encode("a reason", &why))
        }
        Answer::Returned(value) => (Note::Returned, Ok(value)),
        Answer::Panicked(panic) => (Note::Panicked, encode("a panic", &panic)),
        Answer::Refused(why) => (Note::Refused, encode("a reason", &why)),
    };
    let is_ready = matches!(note, Note::Returned);
    parcel::send(socket.as_fd(), note, &value.map_err(io::Error::other)?, &[], parcel::refuse)?;
    if !is_ready {
        return Ok(None);
    }
    let title = Title::find();
    let mut incoming = Incoming::default();
    loop {
        let [ended, asked] = sys::wait_readable([parent.as_fd(), socket.as_fd()], Deadline::NEVER)?;
        if ended || !asked {
            return Ok(None);
        }
        let Some(mut request) = incoming.receive(socket.as_fd(), true)? else { return Ok(None) };
        let child = request.take()?;
        let streams = [request.take()?, request.take()?, request.take()?];
        let directory = request.take()?;
        match fork_for_parent() {
            Ok(Side::New) => {
                settle(title, request, &streams, &directory)?;
                return Ok(Some(child));
            }
            Ok(Side::Old(pid, pidfd)) => {
                let value = nothing().map_err(io::Error::other)?;
                parcel::send(socket.as_fd(), Note::Forked { pid }, &value, &[pidfd.as_fd()], parcel::refuse)?;
            }
            Err(error) => {
                let note = Note::NotForked { error: error.raw_os_error().unwrap_or(0) };
                parcel::send(socket.as_fd(), note, &nothing().map_err(io::Error::other)?, &[], parcel::refuse)?;
            }
        }
    }
}

/// In the new process: what a program that is run again has from the beginning.
fn settle(title: Option<Title>, request: Parcel, streams: &[OwnedFd; 3], directory: &OwnedFd) -> io::Result<()> {
    set_streams(streams)?;
    sys::work_in(directory)?;
    let value = request.into_value().map_err(io::Error::other)?;
    let (name, lines): (Option<String>, Vec<CString>) = decode("an environment", value).map_err(io::Error::other)?;
    set_environment(&lines);
    if let (Some(title), Some(name)) = (title, name) {
        title.write(&name);
    }
    Ok(())
}
