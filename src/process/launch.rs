//! How a child comes to be, and what is in its socket when it does.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use crate::error::Result;
use crate::process::again::{not_started, run_again, string};
use crate::process::encoded::Encoded;
use crate::process::entry::Call;
use crate::process::options::Options;
use crate::process::parcel::{self, Note};
use crate::sys::limits;
use crate::sys::process::{self as sys, Child};
use crate::sys::socket::socket_pair;

/// A child that was started, and the parent's ends of what it shares with it.
pub(crate) struct Launched {
    pub(crate) child: Child,
    pub(crate) socket: OwnedFd,
    pub(crate) leash: Option<OwnedFd>,
    pub(crate) streams: [Option<OwnedFd>; 3],
}

/// Starts a child that makes the call.
pub(crate) fn launch(options: &Options, call: Call, args: &Encoded) -> Result<Launched> {
    let failed = |error| not_started(options.title(), error);
    let (socket, theirs) = socket_pair().map_err(failed)?;
    let leash = prepare(options, call, args, &socket).map_err(failed)?;
    let mut streams = [const { (None, None) }; 3];
    for (number, stream) in options.streams.iter().enumerate() {
        streams[number] = stream.open(number).map_err(failed)?;
    }
    let [input, output, errors] = streams;
    let theirs = sys::above_streams(theirs).map_err(failed)?;
    let child = start(options, &[input.0, output.0, errors.0], &theirs)?;
    Ok(Launched { child, socket, leash, streams: [input.1, output.1, errors.1] })
}

/// Puts what the child has to do into its socket, before it exists: so it finds all of it, or nothing. Returns the leash.
fn prepare(options: &Options, call: Call, args: &Encoded, socket: &OwnedFd) -> io::Result<Option<OwnedFd>> {
    let leash = if options.detached { None } else { Some(socket_pair()?) };
    let own_pidfd = sys::own_pidfd()?;
    let theirs = leash.as_ref().map(|(_, theirs)| theirs.as_fd());
    let beside: Vec<_> = core::iter::once(own_pidfd.as_fd()).chain(theirs).collect();
    let mut settings = options.settings();
    if options.zygote.is_some() && settings.affinity.is_none() {
        settings.affinity = limits::affinity().ok(); // else it were the zygote's
    }
    let note = Note::Start { call, settings, parent: std::process::id(), tied: leash.is_some() };
    parcel::send(socket.as_fd(), note, args, &beside, parcel::refuse)?;
    Ok(leash.map(|(ours, _)| ours))
}

fn start(options: &Options, streams: &[Option<OwnedFd>; 3], theirs: &OwnedFd) -> Result<Child> {
    let failed = |error| not_started(options.title(), error);
    let (environment, path) = (options.environment()?, options.directory.as_deref());
    if let Some(zygote) = &options.zygote {
        let directory = sys::directory(path.unwrap_or(".".as_ref())).map_err(failed)?;
        return zygote.fork(options.title(), options.name.as_deref(), &environment, &directory, streams, theirs);
    }
    let directory = path.map(|path| string("the directory of a child", path.as_os_str().as_bytes().into()));
    let directory = directory.transpose()?;
    run_again(&options.arguments()?, environment, directory.as_deref(), streams, theirs).map_err(failed)
}
