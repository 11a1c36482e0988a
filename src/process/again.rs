//! This executable, run again.

use rustix::io::Errno;
use std::ffi::{CStr, CString, OsString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::error::{Error, Kind, Result};
use crate::process::child::VARIABLE;
use crate::sys::process::Child;
use crate::sys::spawn::Program;

/// Where a process finds its own program.
const PROGRAM: &str = "/proc/self/exe";

/// Runs this executable again. It finds the socket, whose number is above 2.
pub(crate) fn run_again(
    args: &[CString],
    mut environment: Vec<CString>,
    directory: Option<&CStr>,
    streams: &[Option<OwnedFd>; 3],
    socket: &OwnedFd,
) -> io::Result<Child> {
    environment.push(CString::new(format!("{VARIABLE}={}", socket.as_raw_fd()))?);
    Program { args, environment: &environment, directory, streams, socket: socket.as_fd() }.run_again()
}

/// What messages call a child of this name.
pub(crate) fn title_of(name: Option<&str>) -> &str {
    name.unwrap_or("child")
}

/// A variable as it stands in an environment.
pub(crate) fn variable((name, value): (OsString, OsString)) -> Result<CString> {
    string("a variable of a child", [name.as_bytes(), b"=", value.as_bytes()].concat())
}

/// An argument as a program gets it.
pub(crate) fn argument(arg: OsString) -> Result<CString> {
    string("the name of a child", arg.into_encoded_bytes())
}

/// As C has strings.
pub(crate) fn string(what: &'static str, bytes: Vec<u8>) -> Result<CString> {
    CString::new(bytes).map_err(|_| Error::invalid(what, "it holds a NUL"))
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
        Some(Errno::NOENT) if !Path::new(PROGRAM).exists() => Kind::NotFound {
            what: PROGRAM.into(),
            advice: "mount /proc: a child is this program, found by that path".into(),
        }
        .into(),
        _ => Error::io(what, error),
    }
}
