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
use crate::segment::open::Segment;
use crate::sys::process::{DESCRIPTORS_MAX, file_of, read_all, receive_message, send_message};

/// The longest note in bytes.
const NOTE_BYTES_MAX: usize = 4096;

/// What a parcel is about.
#[derive(Serialize, Deserialize, Debug)]
pub(crate) enum Note {
    /// To a child: run this. Descriptors: arguments, the parent's pidfd, segments.
    Start { call: Call, detached: bool },
    /// To a child: nobody waits for you any more; your life is still tied to mine.
    Released,
    /// To a child: live on without me.
    Detached,
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

/// Sends a parcel. `wait` false: a socket that nobody reads and that is full is `WouldBlock`.
pub(crate) fn send(socket: BorrowedFd<'_>, note: Note, fds: &[BorrowedFd<'_>], wait: bool) -> io::Result<()> {
    let descriptors = u32::try_from(fds.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let head = postcard::to_stdvec(&Head { note, descriptors }).map_err(io::Error::other)?;
    let (first, rest) = fds.split_at(fds.len().min(DESCRIPTORS_MAX));
    send_message(socket, &head, first, wait)?;
    for fds in rest.chunks(DESCRIPTORS_MAX) {
        send_message(socket, &[0], fds, wait)?;
    }
    Ok(())
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
    beside: Option<BorrowedFd<'_>>,
    wait: bool,
) -> io::Result<()> {
    let file = file_of(&value.bytes)?;
    let segments = value.segments.iter().map(Segment::as_fd);
    let fds: Vec<_> = core::iter::once(file.as_fd()).chain(beside).chain(segments).collect();
    send(socket, note, &fds, wait)
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
    use crate::sys::process::socket_pair;

    #[test]
    fn a_parcel_with_many_descriptors_arrives_in_order() {
        let (a, b) = socket_pair().unwrap();
        let files: Vec<_> = (0..150u8).map(|i| file_of(&[i]).unwrap()).collect();
        let fds: Vec<_> = files.iter().map(OwnedFd::as_fd).collect();
        send(a.as_fd(), Note::Returned, &fds, false).unwrap();
        send(a.as_fd(), Note::Released, &[], false).unwrap();
        let mut incoming = Incoming::default();
        let parcel = incoming.receive(b.as_fd(), false).unwrap().unwrap();
        let contents: Vec<_> = parcel.descriptors.into_iter().flat_map(|fd| read_all(fd).unwrap()).collect();
        assert_eq!(contents, (0..150u8).collect::<Vec<_>>());
        assert!(matches!(incoming.receive(b.as_fd(), false).unwrap().unwrap().note, Note::Released));
        assert_eq!(incoming.receive(b.as_fd(), false).err().unwrap().kind(), io::ErrorKind::WouldBlock);
        drop(a);
        assert!(incoming.receive(b.as_fd(), true).unwrap().is_none());
    }
}
