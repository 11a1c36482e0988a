//! Values on their way: bytes, and the segments of the handles in them.
//!
//! Few bytes travel in the message itself. Many are written into sealed memory, whose descriptor travels, and are read
//! where they are: they are copied once, when they are encoded, whatever their number.

use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use crate::error::{Error, Kind, Result};
use crate::handle::portable::take_reason;
use crate::segment::body::Hold;
use crate::segment::handoff::{self, Passengers};
use crate::segment::open::Segment;
use crate::sys::sealed::{Draft, Sealed};

/// As many bytes travel in a message.
pub(crate) const INLINE_BYTES_MAX: usize = 16 << 10;

/// A value, encoded.
pub(crate) struct Encoded {
    pub(crate) body: Body,
    pub(crate) segments: Vec<Segment>,
    /// Holds on objects among others, so that they are there when it arrives.
    pub(crate) holds: Vec<Arc<Hold>>,
}

/// The bytes of a value.
pub(crate) enum Body {
    Inline(Vec<u8>),
    /// Sealed memory, if the sender kept the rules.
    Beside(OwnedFd),
}

/// Bytes in the making.
#[derive(Default)]
struct Writing {
    /// What was not written to the draft yet.
    last: Vec<u8>,
    draft: Option<Draft>,
    /// Why it can not go on: the encoder keeps no reasons of others.
    failure: Option<Error>,
}

impl Writing {
    fn spill(&mut self, more: &[u8]) -> Result<()> {
        let draft = match &mut self.draft {
            Some(draft) => draft,
            none => none.insert(Draft::new()?),
        };
        draft.append(&self.last)?;
        self.last.clear();
        draft.append(more)
    }

    fn finish(mut self) -> Result<Body> {
        if self.draft.is_some() {
            self.spill(&[])?;
        }
        match self.draft {
            Some(draft) => Ok(Body::Beside(draft.seal()?)),
            None => Ok(Body::Inline(self.last)),
        }
    }
}

impl Write for Writing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.last.len() + bytes.len() <= INLINE_BYTES_MAX {
            self.last.extend_from_slice(bytes);
        } else if let Err(error) = self.spill(bytes) {
            self.failure = Some(error);
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Encodes a value. The segments of its handles are kept until it was sent.
pub(crate) fn encode<T: Serialize>(what: &'static str, value: &T) -> Result<Encoded> {
    let mut writing = Writing::default();
    let (written, Passengers { segments, holds }) =
        handoff::export(|| postcard::to_io(value, &mut writing).map(|_| ()));
    if let Some(failure) = writing.failure {
        return Err(failure);
    }
    written.map_err(|error| Kind::Codec { what, why: error.to_string() })?;
    Ok(Encoded { body: writing.finish()?, segments, holds })
}

/// Decodes a value.
pub(crate) fn decode<T: DeserializeOwned>(what: &'static str, encoded: Encoded) -> Result<T> {
    let read = |bytes: &[u8]| {
        let value = handoff::import(encoded.segments, || postcard::from_bytes(bytes));
        value.map_err(|error| Kind::Codec { what, why: take_reason().unwrap_or_else(|| error.to_string()) }.into())
    };
    match &encoded.body {
        Body::Inline(bytes) => read(bytes),
        Body::Beside(fd) => read(&Sealed::open(fd).map_err(|error| Error::io(what, error))?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_bytes_and_many_come_back() {
        for len in [0, 1, INLINE_BYTES_MAX - 3, INLINE_BYTES_MAX - 2, INLINE_BYTES_MAX, 1 << 20] {
            let value = (vec![7_u8; len / 2], "x".repeat(len - len / 2));
            let encoded = encode("", &value).unwrap();
            assert_eq!(matches!(encoded.body, Body::Beside(_)), len + 4 > INLINE_BYTES_MAX, "{len}");
            assert!(decode::<(Vec<u8>, String)>("", encoded).unwrap() == value);
        }
    }
}
