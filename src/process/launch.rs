//! How a child comes to be, and what is in its socket when it does.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use crate::deadline::Deadline;
use crate::error::Result;
use crate::process::again::{not_started, run_again, string};
use crate::process::death::{Left, leave};
use crate::process::encoded::Encoded;
use crate::process::entry::Call;
use crate::process::options::Options;
use crate::process::parcel::{self, Note};
use crate::segment::body::Hold;
use crate::sys::limits;
use crate::sys::liveness::{self, Identity};
use crate::sys::process::{self as sys, Child, SIGKILL};
use crate::sys::socket::socket_pair;

/// A child that was started, and the parent's ends of what it shares with it.
pub(crate) struct Launched {
    pub(crate) child: Child,
    pub(crate) socket: OwnedFd,
    pub(crate) leash: Option<OwnedFd>,
    pub(crate) streams: [Option<OwnedFd>; 3],
    /// Of its arguments.
    pub(crate) holds: Vec<Arc<Hold>>,
}

/// Starts a child that makes the call. Its arguments are made while it comes to life, on another processor if there is one.
pub(crate) fn launch(options: &Options, call: Call, args: impl FnOnce() -> Result<Encoded>) -> Result<Launched> {
    let failed = |error| not_started(options.title(), error);
    let (socket, theirs) = socket_pair().map_err(failed)?;
    let mut streams = [const { (None, None) }; 3];
    for (number, stream) in options.streams.iter().enumerate() {
        streams[number] = stream.open(number).map_err(failed)?;
    }
    let [input, output, errors] = streams;
    let theirs = sys::above_streams(theirs).map_err(failed)?;
    let (mut make, mut made) = (Some(args), None);
    let mut meanwhile = || {
        if let Some(make) = make.take() {
            made = Some(make());
        }
    };
    let child = start(options, &[input.0, output.0, errors.0], &theirs, &mut meanwhile)?;
    drop(theirs);
    meanwhile();
    let args = made.unwrap_or_else(|| Err(failed(io::ErrorKind::InvalidInput.into())));
    // It waits for its work, so it is there to have a pidfd opened, and to take more than a socket holds.
    let told = args.and_then(|args| {
        let leash = instruct(options, call, &args, &socket, &child).map_err(failed)?;
        Ok((leash, args.holds))
    });
    match told {
        Ok((leash, holds)) => Ok(Launched { child, socket, leash, streams: [input.1, output.1, errors.1], holds }),
        Err(error) => {
            let _ = child.signal(SIGKILL);
            leave(Left { child, _leash: None });
            Err(error)
        }
    }
}

/// Says to the child what it has to do. A child that finds nobody to say it ends. Returns the leash.
fn instruct(
    options: &Options,
    call: Call,
    args: &Encoded,
    socket: &OwnedFd,
    child: &Child,
) -> io::Result<Option<OwnedFd>> {
    let leash = if options.detached { None } else { Some(socket_pair()?) };
    let own_pidfd = sys::own_pidfd()?;
    let theirs = leash.as_ref().map(|(_, theirs)| theirs.as_fd());
    let beside: Vec<_> = core::iter::once(own_pidfd.as_fd()).chain(theirs).collect();
    let mut settings = options.settings();
    if options.zygote.is_some() && settings.affinity.is_none() {
        settings.affinity = limits::affinity().ok(); // else it were the zygote's
    }
    let Identity { pid: parent, namespace, .. } = liveness::identity();
    let note = Note::Start { call, settings, parent, tied: leash.is_some(), pid: child.pid(), namespace };
    let room = |_| match sys::wait_writable(socket.as_fd(), child.pidfd().as_fd(), Deadline::NEVER)? {
        _ if sys::has_ended(child.pidfd().as_fd())? => Err(io::ErrorKind::BrokenPipe.into()),
        _ => Ok(()),
    };
    match parcel::send(socket.as_fd(), note, args, &beside, room) {
        // How it ended already, whoever joins it is told.
        Err(error) if matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset) => {}
        sent => sent?,
    }
    Ok(leash.map(|(ours, _)| ours))
}

/// `meanwhile` is called while a zygote forks.
fn start(
    options: &Options,
    streams: &[Option<OwnedFd>; 3],
    theirs: &OwnedFd,
    meanwhile: &mut dyn FnMut(),
) -> Result<Child> {
    let failed = |error| not_started(options.title(), error);
    let (environment, path) = (options.environment()?, options.directory.as_deref());
    if let Some(zygote) = &options.zygote {
        let directory = sys::directory(path.unwrap_or(".".as_ref())).map_err(failed)?;
        return zygote.fork(options.name.as_deref(), &environment, &directory, streams, theirs, meanwhile);
    }
    let directory = path.map(|path| string("the directory of a child", path.as_os_str().as_bytes().into()));
    let directory = directory.transpose()?;
    run_again(&options.arguments()?, environment, directory.as_deref(), streams, theirs).map_err(failed)
}
