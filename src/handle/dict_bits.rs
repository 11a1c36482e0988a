//! Keys and values of a dictionary on their way to its table and back: a word, or bytes.

use crate::error::Result;
use crate::handle::dict_codec::{DictItem, from_word};
use crate::segment::plain;
use crate::segment::table::{Put, When};
use crate::sync::AtomicU64;

/// A key or a value, encoded.
#[derive(Clone, Copy)]
pub(crate) enum Bits<'a> {
    Word(u64),
    Bytes(&'a [u8]),
}

/// A value that was found, encoded.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Found {
    Word(u64),
    Bytes(Vec<u8>),
}

/// When a change is made.
#[derive(Clone, Copy)]
pub(crate) enum If<'a> {
    Always,
    Absent,
    Was(&'a Found),
}

/// What a change did.
pub(crate) enum Done<T> {
    Inserted,
    /// There was a value, which was replaced or removed.
    Replaced(T),
    /// The condition did not hold.
    Refused,
}

impl Found {
    pub(crate) fn of(bytes: &[u8]) -> Self {
        Self::Bytes(bytes.to_vec())
    }

    /// Makes it what it stands for; `what` that is, for an error.
    pub(crate) fn decode<T: DictItem>(&self, what: &'static str) -> Result<T> {
        match self {
            Self::Word(word) => from_word(*word),
            Self::Bytes(bytes) => T::decode_from(bytes, what),
        }
    }

    pub(crate) fn bits(&self) -> Bits<'_> {
        match self {
            Self::Word(word) => Bits::Word(*word),
            Self::Bytes(bytes) => Bits::Bytes(bytes),
        }
    }
}

impl Bits<'_> {
    pub(crate) fn to_found(self) -> Found {
        match self {
            Self::Word(word) => Found::Word(word),
            Self::Bytes(bytes) => Found::of(bytes),
        }
    }
}

impl<'a> If<'a> {
    #[inline(always)]
    pub(crate) fn word(self) -> When<u64> {
        match self {
            Self::Was(Found::Word(word)) => When::Equals(*word),
            Self::Always | Self::Was(Found::Bytes(_)) => When::Always,
            Self::Absent => When::Absent,
        }
    }

    #[inline(always)]
    pub(crate) fn bytes(self) -> When<&'a [u8]> {
        match self {
            Self::Was(Found::Bytes(bytes)) => When::Equals(bytes),
            Self::Always | Self::Was(Found::Word(_)) => When::Always,
            Self::Absent => When::Absent,
        }
    }
}

impl<T> Done<T> {
    pub(crate) fn map<U>(self, f: impl FnOnce(T) -> U) -> Done<U> {
        match self {
            Self::Inserted => Done::Inserted,
            Self::Replaced(old) => Done::Replaced(f(old)),
            Self::Refused => Done::Refused,
        }
    }

    pub(crate) fn replaced(self) -> Option<T> {
        match self {
            Self::Replaced(old) => Some(old),
            Self::Inserted | Self::Refused => None,
        }
    }
}

#[inline(always)]
pub(crate) fn done<T>(put: Put<T>) -> Done<T> {
    match put {
        Put::Inserted => Done::Inserted,
        Put::Replaced(old) => Done::Replaced(old),
        Put::Refused(_) => Done::Refused,
    }
}

pub(crate) fn copy(words: &[AtomicU64], len: usize, bytes: &mut Vec<u8>) {
    bytes.clear();
    bytes.resize(len.min(8 * words.len()), 0);
    plain::copy_out(words, bytes);
}
