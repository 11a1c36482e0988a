//! What travels over the socket between a parent and its child.
//!
//! A parcel is a short note, a body of any length and any number of descriptors. The body lies in an
//! anonymous file that travels as a descriptor, so that neither side ever waits for the other to read.
//!
//! ```text
//!   message 1     note, number of descriptors     descriptors 0 .. 64
//!   message 2     one byte                        descriptors 64 .. 128
//!   ...
//! ```

use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::error::{Error, Result};
use crate::process::entry::{Call, Encoded};
use crate::process::options::Settings;
use crate::segment::open::Segment;
use crate::sys::process::{file_of, read_all};
use crate::sys::socket::{DESCRIPTORS_MAX, receive_message, send_message};

/// The longest note in bytes.
const NOTE_BYTES_MAX: usize = 16 << 10;

/// What a parcel is about.
#[derive(Serialize, Deserialize, Debug)]
pub(crate) enum Note {
    /// To a child: run this. Descriptors: arguments, the parent's pidfd, the leash if it is tied, segments.
    Start { call: Call, settings: Settings, parent: u32, tied: bool },
    /// To a child: one more value. Descriptors: the value, segments.
    Value,
    /// From a child: the function returned. Descriptors: its result, segments.
    Returned,
    /// From a child: the function panicked. Descriptor: the message.
    Panicked,
    /// From a child: the function could not be run or its result not be sent. Descriptor: why.
    Refused,
}

#[derive(Serialize, Deserialize)]
struct Head {
    note: Note,
    descriptors: u32,
}

/// A note and its descriptors.
pub(crate) struct Parcel {
    pub(crate) note: Note,
    pub(crate) descriptors: VecDeque<OwnedFd>,
}

fn damaged() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "a message that no version of ours sends")
}

/// Sends a parcel. `full` is called when the socket has no room, with whether a part of the parcel is sent already, and
/// waits for room or refuses.
pub(crate) fn send(
    socket: BorrowedFd<'_>,
    note: Note,
    fds: &[BorrowedFd<'_>],
    full: impl Fn(bool) -> io::Result<()>,
) -> io::Result<()> {
    let descriptors = u32::try_from(fds.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let head = postcard::to_stdvec(&Head { note, descriptors }).map_err(io::Error::other)?;
    if head.len() > NOTE_BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "a name or a list of CPUs is too long"));
    }
    let (first, rest) = fds.split_at(fds.len().min(DESCRIPTORS_MAX));
    let messages = core::iter::once((&head[..], first)).chain(rest.chunks(DESCRIPTORS_MAX).map(|fds| (&[0][..], fds)));
    for (number, (bytes, fds)) in messages.enumerate() {
        loop {
            match send_message(socket, bytes, fds, false) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => full(number > 0)?,
                other => break other.map(drop)?,
            }
        }
    }
    Ok(())
}

/// For [`send`]: refuses.
pub(crate) fn refuse(_: bool) -> io::Result<()> {
    Err(io::ErrorKind::WouldBlock.into())
}

/// A parcel on its way in.
#[derive(Default)]
pub(crate) struct Incoming {
    head: Option<Head>,
    descriptors: Vec<OwnedFd>,
}

impl Incoming {
    /// Receives what there is, until a parcel is whole. `None`: the other end was closed. `wait` false:
    /// nothing more for now is `WouldBlock`, and the next call goes on from here.
    pub(crate) fn receive(&mut self, socket: BorrowedFd<'_>, wait: bool) -> io::Result<Option<Parcel>> {
        loop {
            if let Some(head) = self.head.take_if(|head| head.descriptors as usize <= self.descriptors.len()) {
                return Ok(Some(Parcel {
                    note: head.note,
                    descriptors: core::mem::take(&mut self.descriptors).into(),
                }));
            }
            let mut bytes = [0; NOTE_BYTES_MAX];
            let before = self.descriptors.len();
            let len = receive_message(socket, &mut bytes, &mut self.descriptors, wait)?;
            match (len, &self.head) {
                (0, _) => return Ok(None),
                (len, None) => self.head = Some(postcard::from_bytes(&bytes[..len]).map_err(|_| damaged())?),
                (_, Some(_)) if self.descriptors.len() == before => return Err(damaged()),
                (_, Some(_)) => {}
            }
        }
    }
}

/// Sends a value: its bytes as a file, `beside` it, and the descriptors of its segments.
pub(crate) fn send_value(
    socket: BorrowedFd<'_>,
    note: Note,
    value: &Encoded,
    beside: &[BorrowedFd<'_>],
    full: impl Fn(bool) -> io::Result<()>,
) -> io::Result<()> {
    let file = file_of(&value.bytes)?;
    let segments = value.segments.iter().map(Segment::as_fd);
    let fds: Vec<_> = core::iter::once(file.as_fd()).chain(beside.iter().copied()).chain(segments).collect();
    send(socket, note, &fds, full)
}

impl Parcel {
    /// The first descriptor that is left.
    pub(crate) fn take(&mut self) -> io::Result<OwnedFd> {
        self.descriptors.pop_front().ok_or_else(damaged)
    }

    /// The value whose bytes are in `file`; attaches to the segments whose descriptors are left.
    pub(crate) fn into_value(self, file: OwnedFd) -> Result<Encoded> {
        let bytes = read_all(file).map_err(|error| Error::io("reading what another process sent", error))?;
        let segments = self.descriptors.into_iter().map(Segment::from_fd).collect::<Result<_>>()?;
        Ok(Encoded { bytes, segments, holds: Vec::new() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::socket::socket_pair;

    #[test]
    fn a_parcel_with_many_descriptors_arrives_in_order() {
        let (a, b) = socket_pair().unwrap();
        let files: Vec<_> = (0..150u8).map(|i| file_of(&[i]).unwrap()).collect();
        let fds: Vec<_> = files.iter().map(OwnedFd::as_fd).collect();
        send(a.as_fd(), Note::Returned, &fds, refuse).unwrap();
        send(a.as_fd(), Note::Value, &[], refuse).unwrap();
        let mut incoming = Incoming::default();
        let parcel = incoming.receive(b.as_fd(), false).unwrap().unwrap();
        let contents: Vec<_> = parcel.descriptors.into_iter().flat_map(|fd| read_all(fd).unwrap()).collect();
        assert_eq!(contents, (0..150u8).collect::<Vec<_>>());
        assert!(matches!(incoming.receive(b.as_fd(), false).unwrap().unwrap().note, Note::Value));
        assert_eq!(incoming.receive(b.as_fd(), false).err().unwrap().kind(), io::ErrorKind::WouldBlock);
        drop(a);
        assert!(incoming.receive(b.as_fd(), true).unwrap().is_none());
    }
}
