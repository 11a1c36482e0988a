//! What a child's standard streams are.

use std::fs::File;
use std::io::{self, PipeReader, PipeWriter};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use crate::sys::process as sys;

/// A standard stream of a child: the parent's, nothing, a pipe, or a file.
///
/// # Examples
///
/// ```
/// use mutirao::{Process, Stdio};
/// use std::io::Read;
///
/// # fn main() -> mutirao::Result<()> {
/// # mutirao::init();
/// let mut child = Process::options().stdout(Stdio::piped()).spawn(|name: String| println!("olá {name}"), "mundo".into())?;
/// let mut said = String::new();
/// child.take_stdout().expect("it is a pipe").read_to_string(&mut said).expect("text");
/// assert_eq!(said, "olá mundo\n");
/// child.join()
/// # }
/// ```
#[derive(Clone, Default, Debug)]
pub struct Stdio(Kind);

#[derive(Clone, Default, Debug)]
enum Kind {
    #[default]
    Inherit,
    Null,
    Piped,
    Fd(Arc<OwnedFd>),
}

impl Stdio {
    /// The parent's own stream. The default.
    pub fn inherit() -> Self {
        Self(Kind::Inherit)
    }

    /// `/dev/null`.
    pub fn null() -> Self {
        Self(Kind::Null)
    }

    /// A pipe whose other end the parent takes from the [`Process`](crate::Process).
    pub fn piped() -> Self {
        Self(Kind::Piped)
    }

    /// The child's end, `None` for the parent's stream, and the parent's end of a pipe.
    pub(crate) fn open(&self, number: usize) -> io::Result<(Option<OwnedFd>, Option<OwnedFd>)> {
        let (theirs, ours) = match &self.0 {
            Kind::Inherit => return Ok((None, None)),
            Kind::Null => (File::options().read(true).write(true).open("/dev/null")?.into(), None),
            Kind::Fd(fd) => (sys::duplicate(fd.as_fd())?, None),
            Kind::Piped => {
                let (reader, writer) = sys::pipe()?;
                if number == 0 { (reader, Some(writer)) } else { (writer, Some(reader)) }
            }
        };
        Ok((Some(sys::above_streams(theirs)?), ours))
    }
}

impl From<OwnedFd> for Stdio {
    fn from(fd: OwnedFd) -> Self {
        Self(Kind::Fd(Arc::new(fd)))
    }
}

impl From<File> for Stdio {
    fn from(file: File) -> Self {
        OwnedFd::from(file).into()
    }
}

impl From<PipeReader> for Stdio {
    fn from(pipe: PipeReader) -> Self {
        OwnedFd::from(pipe).into()
    }
}

impl From<PipeWriter> for Stdio {
    fn from(pipe: PipeWriter) -> Self {
        OwnedFd::from(pipe).into()
    }
}
