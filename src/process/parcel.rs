//! What travels over the socket between a parent and its child.
//!
//! A parcel is a short note, a body of any length and any number of descriptors. A long body lies in sealed memory that
//! travels as a descriptor, the first of them, so that neither side waits for the other to read it.
//!
//! ```text
//!   message 1     note, number of descriptors, body     descriptors 0 .. 64
//!   message 2     one byte                              descriptors 64 .. 128
//!   ...
//! ```

use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::error::Result;
use crate::process::encoded::{Body, Encoded, INLINE_BYTES_MAX};
use crate::process::entry::Call;
use crate::process::settings::Settings;
use crate::segment::open::Segment;
use crate::sys::socket::{DESCRIPTORS_MAX, receive_message, send_message};

/// The longest note in bytes.
const NOTE_BYTES_MAX: usize = 16 << 10;

/// What a parcel is about.
#[derive(Serialize, Deserialize, Debug)]
pub(crate) enum Note {
    /// To a child: run this, with the body as its arguments; and who both are, in the parent's namespace. Descriptors: the
    /// parent's pidfd, the leash if it is tied, segments.
    Start { call: Call, settings: Settings, parent: u32, tied: bool, pid: u32, namespace: u64 },
    /// To a child: one more value. Descriptors: segments.
    Value,
    /// To a new zygote: do this, if anything, and fork from then on. Descriptor: the parent's pidfd.
    Zygote { prepare: Option<Call> },
    /// To a zygote: fork. The body is the environment. Descriptors: the new child's socket, its three standard streams,
    /// the directory it works in.
    Fork,
    /// From a zygote: there it is. Descriptor: its pidfd.
    Forked { pid: u32 },
    /// From a zygote: the system refused, with this error.
    NotForked { error: i32 },
    /// From a child: the function returned this. Descriptors: segments.
    Returned,
    /// From a child: the function panicked, as the body tells.
    Panicked,
    /// From a child: the function could not be run or its result not be sent. The body is why.
    Refused,
}

#[derive(Serialize, Deserialize)]
struct Head {
    note: Note,
    descriptors: u32,
    /// Whether the body is the first descriptor; else it is the rest of the message.
    beside: bool,
}

/// A note, a body and descriptors.
pub(crate) struct Parcel {
    pub(crate) note: Note,
    body: Body,
    descriptors: VecDeque<OwnedFd>,
}

fn damaged() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "a message that no version of ours sends")
}

/// Sends a value with a note, descriptors `beside` it, and those of its segments. `full` is called when the socket has no
/// room, with whether a part of the parcel is sent already, and waits for room or refuses.
pub(crate) fn send(
    socket: BorrowedFd<'_>,
    note: Note,
    value: &Encoded,
    beside: &[BorrowedFd<'_>],
    full: impl Fn(bool) -> io::Result<()>,
) -> io::Result<()> {
    let (body, rest) = match &value.body {
        Body::Inline(bytes) => (None, &bytes[..]),
        Body::Beside(fd) => (Some(fd.as_fd()), &[][..]),
    };
    let segments = value.segments.iter().map(Segment::as_fd);
    let fds: Vec<_> = body.into_iter().chain(beside.iter().copied()).chain(segments).collect();
    let descriptors = u32::try_from(fds.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let head = Head { note, descriptors, beside: body.is_some() };
    let mut head = postcard::to_stdvec(&head).map_err(io::Error::other)?;
    if head.len() > NOTE_BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "a name or a list of CPUs is too long"));
    }
    head.extend_from_slice(rest);
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
    begun: Option<(Head, Vec<u8>)>,
    descriptors: VecDeque<OwnedFd>,
}

impl Incoming {
    /// Receives what there is, until a parcel is whole. `None`: the other end was closed. `wait` false:
    /// nothing more for now is `WouldBlock`, and the next call goes on from here.
    pub(crate) fn receive(&mut self, socket: BorrowedFd<'_>, wait: bool) -> io::Result<Option<Parcel>> {
        loop {
            let is_whole = |(head, _): &mut (Head, _)| head.descriptors as usize <= self.descriptors.len();
            if let Some((head, rest)) = self.begun.take_if(is_whole) {
                let mut descriptors = core::mem::take(&mut self.descriptors);
                let body = match head.beside {
                    true => Body::Beside(descriptors.pop_front().ok_or_else(damaged)?),
                    false => Body::Inline(rest),
                };
                return Ok(Some(Parcel { note: head.note, body, descriptors }));
            }
            let mut bytes = vec![0; NOTE_BYTES_MAX + INLINE_BYTES_MAX];
            let mut arrived = Vec::new();
            let len = receive_message(socket, &mut bytes, &mut arrived, wait)?;
            let is_empty = arrived.is_empty();
            self.descriptors.extend(arrived);
            match (len, &self.begun) {
                (0, _) => return Ok(None),
                (len, None) => {
                    let (head, rest) = postcard::take_from_bytes(&bytes[..len]).map_err(|_| damaged())?;
                    self.begun = Some((head, rest.to_vec()));
                }
                (_, Some(_)) if is_empty => return Err(damaged()),
                (_, Some(_)) => {}
            }
        }
    }
}

impl Parcel {
    /// The first descriptor that is left.
    pub(crate) fn take(&mut self) -> io::Result<OwnedFd> {
        self.descriptors.pop_front().ok_or_else(damaged)
    }

    /// The value; attaches to the segments whose descriptors are left.
    pub(crate) fn into_value(self) -> Result<Encoded> {
        let segments = self.descriptors.into_iter().map(Segment::from_fd).collect::<Result<_>>()?;
        Ok(Encoded { body: self.body, segments, holds: Vec::new() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::socket::socket_pair;
    use std::io::{Read, Write};

    fn nothing() -> Encoded {
        Encoded { body: Body::Inline(vec![5; 100]), segments: Vec::new(), holds: Vec::new() }
    }

    #[test]
    fn a_parcel_with_many_descriptors_arrives_in_order() {
        let (a, b) = socket_pair().unwrap();
        let pipes: Vec<_> = (0..150).map(|_| io::pipe().unwrap()).collect();
        let fds: Vec<_> = pipes.iter().map(|(reader, _)| reader.as_fd()).collect();
        send(a.as_fd(), Note::Returned, &nothing(), &fds, refuse).unwrap();
        send(a.as_fd(), Note::Value, &nothing(), &[], refuse).unwrap();
        let mut incoming = Incoming::default();
        let mut parcel = incoming.receive(b.as_fd(), false).unwrap().unwrap();
        for (number, (_, mut writer)) in (0..150_u8).zip(pipes) {
            let mut reader = io::PipeReader::from(parcel.take().unwrap());
            writer.write_all(&[number]).unwrap();
            let mut heard = [0];
            reader.read_exact(&mut heard).unwrap();
            assert_eq!(heard, [number]);
        }
        assert!(parcel.take().is_err());
        let Body::Inline(bytes) = parcel.into_value().unwrap().body else { panic!("a short body lies beside") };
        assert_eq!(bytes, [5; 100]);
        assert!(matches!(incoming.receive(b.as_fd(), false).unwrap().unwrap().note, Note::Value));
        assert_eq!(incoming.receive(b.as_fd(), false).err().unwrap().kind(), io::ErrorKind::WouldBlock);
        drop(a);
        assert!(incoming.receive(b.as_fd(), true).unwrap().is_none());
    }
}
