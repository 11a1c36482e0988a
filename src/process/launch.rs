//! How a child comes to be, and what is in its socket when it does.

use rustix::io::Errno;
use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use crate::error::{Error, Kind, Result};
use crate::process::child::VARIABLE;
use crate::process::encoded::Encoded;
use crate::process::entry::Call;
use crate::process::options::{Options, string};
use crate::process::parcel::{self, Note};
use crate::sys::process::{self as sys, Child};
use crate::sys::socket::socket_pair;
use crate::sys::spawn::Program;

/// A child that was started, and the parent's ends of what it shares with it.
pub(crate) struct Launched {
    pub(crate) child: Child,
    pub(crate) socket: OwnedFd,
    pub(crate) leash: Option<OwnedFd>,
    pub(crate) streams: [Option<OwnedFd>; 3],
}

/// Starts a child that makes the call.
pub(crate) fn launch(options: &Options, call: Call, args: &Encoded) -> Result<Launched> {
    let (environment, arguments) = (options.environment()?, options.arguments()?);
    let directory =
        options.directory.as_ref().map(|path| string("the directory of a child", path.as_os_str().as_bytes().into()));
    let directory = directory.transpose()?;
    let start = || -> io::Result<Launched> {
        let (socket, theirs) = socket_pair()?;
        let theirs = sys::above_streams(theirs)?;
        let leash = if options.detached { None } else { Some(socket_pair()?) };
        let own_pidfd = sys::own_pidfd()?;
        let theirs_of_leash = leash.as_ref().map(|(_, theirs)| theirs.as_fd());
        let beside: Vec<_> = core::iter::once(own_pidfd.as_fd()).chain(theirs_of_leash).collect();
        // All of it waits in the socket before the child exists; so it finds it whole, or nothing.
        let note =
            Note::Start { call, settings: options.settings(), parent: std::process::id(), tied: leash.is_some() };
        parcel::send(socket.as_fd(), note, args, &beside, parcel::refuse)?;
        let mut streams = [const { (None, None) }; 3];
        for (number, stream) in options.streams.iter().enumerate() {
            streams[number] = stream.open(number)?;
        }
        let [input, output, errors] = streams;
        let variable = CString::new(format!("{VARIABLE}={}", theirs.as_raw_fd()))?;
        let environment: Vec<_> = environment.into_iter().chain([variable]).collect();
        let program = Program {
            args: &arguments,
            environment: &environment,
            directory: directory.as_deref(),
            streams: &[input.0, output.0, errors.0],
            socket: theirs.as_fd(),
        };
        let child = program.run_again()?;
        Ok(Launched { child, socket, leash: leash.map(|(ours, _)| ours), streams: [input.1, output.1, errors.1] })
    };
    start().map_err(|error| not_started(options.title(), error))
}

/// Why there is no such process, and what to do about it.
pub(crate) fn not_started(title: &str, error: io::Error) -> Error {
    let what = format!("starting the process `{title}`");
    match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::AGAIN) => Kind::Limit {
            what,
            limit: "processes and threads (`ulimit -u`, or `pids.max` of its control group)",
            source: error,
        }
        .into(),
        Some(Errno::MFILE) => {
            Kind::Limit { what, limit: "open descriptors of a process (`ulimit -n`)", source: error }.into()
        }
        Some(Errno::NFILE) => {
            Kind::Limit { what, limit: "open files of the machine (`fs.file-max`)", source: error }.into()
        }
        Some(Errno::TOOMANYREFS) => {
            Kind::Limit { what, limit: "descriptors on their way (`ulimit -n`)", source: error }.into()
        }
        Some(Errno::ACCESS | Errno::PERM) => Kind::Denied {
            what: what.into(),
            why: format!("{error}; this executable, and the directory that was asked for, must allow it").into(),
        }
        .into(),
        _ => Error::io(what, error),
    }
}
