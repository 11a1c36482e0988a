//! Shared memory that somebody else made: bytes and words, no format of ours.
//!
//! Everything goes through words of 64 bits, also what is smaller: a half word or a byte is changed by
//! compare-and-swap of the word around it. So accesses of different width never overlap within a process, and what
//! stands beside a changed byte is left as it is.

use crate::error::{Error, Kind, Result};
use crate::segment::access::{Placed, Region};
use crate::segment::layout::MAGIC;
use crate::segment::plain::{PlainData, Scratch, copy_in, copy_out, not_a_value};
use crate::sync::{AtomicU64, Ordering};
use crate::sys::foreign;
use crate::sys::mapping::Mapping;
use core::fmt;
use std::os::fd::{AsFd, OwnedFd};

/// How often a word is tried that others keep changing.
const ROUNDS: u32 = 100_000;

/// Shared memory made by another library, as bytes and atomic words.
///
/// It knows nothing of what the bytes mean: who takes part, who is alive and what a half-written record is worth is
/// for the programs to agree on. Nothing here recovers from a death. For memory that both sides can make with this
/// crate, take a [`Segment`](crate::Segment).
///
/// Copies go in and out by relaxed atomic words, so neighbours may write at any time; what is read while it is
/// written may be a mix. Programs that hand data over agree on a word that says so: see the example.
///
/// A neighbour who cuts the file short while it is mapped ends this process by SIGBUS, as every user of a named
/// mapping. The segments of this crate are protected by seals where they have no name.
///
/// # Memory ordering
///
/// [`read_at`](Self::read_at), [`write_at`](Self::write_at), [`load`](Self::load) and [`store`](Self::store) order
/// nothing. [`word`](Self::word) is an atomic like any other: a copy that was made before a `Release` store to it is
/// seen by whoever loads that with `Acquire` and copies afterwards.
///
/// # Examples
///
/// ```
/// use mutirao::SharedBytes;
/// use shared_memory::ShmemConf;
/// use std::sync::atomic::Ordering;
///
/// let theirs = ShmemConf::new().size(4096).create().unwrap();
///
/// let ours = SharedBytes::open(theirs.get_os_id())?;
/// ours.write_at(64, b"bread")?;
/// ours.word(0)?.store(5, Ordering::Release);      // so many bytes are ready
///
/// let again = SharedBytes::open(theirs.get_os_id())?;
/// let mut bytes = vec![0; again.word(0)?.load(Ordering::Acquire) as usize];
/// again.read_at(64, &mut bytes)?;
/// assert_eq!(bytes, b"bread");
/// # Ok::<(), mutirao::Error>(())
/// ```
#[derive(Clone)]
#[doc(alias = "map_foreign")]
#[doc(alias = "shared_memory")]
pub struct SharedBytes {
    /// Invariant: they cover `len` bytes, the last of them filled up from the rest of the page.
    words: Placed<[AtomicU64]>,
    len: u64,
}

impl SharedBytes {
    /// Maps the shared memory of that name (`shm_open`, `/dev/shm`), with or without a slash in front.
    ///
    /// # Errors
    ///
    /// [`is_invalid`](Error::is_invalid) for a name that can not be one, something other than a file, or a segment of
    /// this crate; [`is_would_block`](Error::is_would_block) when its maker has given it no size yet: try again;
    /// [`is_out_of_memory`](Error::is_out_of_memory) when its memory can not be reserved;
    /// [`is_not_found`](Error::is_not_found) when there is none of that name; [`is_denied`](Error::is_denied) when it may
    /// not be written.
    pub fn open(name: &str) -> Result<Self> {
        Self::from_fd(foreign::open(name)?)
    }

    /// Maps the memory behind a descriptor: a memfd, a file, shared memory that was received over a socket.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub fn from_fd(fd: OwnedFd) -> Result<Self> {
        let len = foreign::reserved_len(&fd)?;
        // What is behind the end, up to a whole word, is the rest of the last page.
        let region = Region::of(Mapping::new(fd.as_fd(), len.next_multiple_of(8))?);
        let bytes = Self { words: region.placed_slice(0, region.len() / 8)?, len };
        let magic = bytes.words.first().map(|word| word.load(Ordering::Relaxed).to_ne_bytes());
        if magic == Some(MAGIC) {
            return Err(Error::invalid(
                "mapping it as raw bytes",
                "it is a segment of this crate; open it as a Segment",
            ));
        }
        Ok(bytes)
    }

    /// Bytes of the memory.
    #[allow(clippy::len_without_is_empty)] // an empty file is not mapped
    pub fn len(&self) -> u64 {
        self.len
    }

    /// The 64-bit word at `offset`.
    ///
    /// # Errors
    ///
    /// [`is_invalid`](Error::is_invalid) when it is not wholly inside or the offset is not a multiple of 8.
    #[inline]
    pub fn word(&self, offset: u64) -> Result<&AtomicU64> {
        if !offset.is_multiple_of(8) {
            return Err(unaligned(offset, 8));
        }
        self.check(offset, 8)?;
        self.at(offset)
    }

    /// Changes the 32-bit word at `offset` as [`AtomicU32::fetch_update`](core::sync::atomic::AtomicU32::fetch_update)
    /// does: `Ok` with the old number if `f` gave a new one, `Err` with the number for which it gave none.
    ///
    /// # Errors
    ///
    /// [`is_invalid`](Error::is_invalid) when it is not wholly inside or the offset is not a multiple of 4;
    /// [`is_contended`](Error::is_contended) when others were faster very many times in a row.
    ///
    /// # Panics
    ///
    /// When `fetch` is no ordering of a load.
    pub fn fetch_update_u32(
        &self,
        offset: u64,
        set: Ordering,
        fetch: Ordering,
        mut f: impl FnMut(u32) -> Option<u32>,
    ) -> Result<core::result::Result<u32, u32>> {
        if !offset.is_multiple_of(4) {
            return Err(unaligned(offset, 4));
        }
        self.check(offset, 4)?;
        let shift = (offset % 8) * 8; // little endian
        let word = self.at(offset)?;
        let mut now = word.load(fetch);
        for _ in 0..ROUNDS {
            let half = (now >> shift) as u32;
            let Some(new) = f(half) else { return Ok(Err(half)) };
            let whole = now & !(u64::from(u32::MAX) << shift) | u64::from(new) << shift;
            match word.compare_exchange(now, whole, set, fetch) {
                Ok(_) => return Ok(Ok(half)),
                Err(other) => now = other,
            }
        }
        Err(contended())
    }

    /// Copies the bytes at `offset` into `bytes`.
    ///
    /// # Errors
    ///
    /// [`is_invalid`](Error::is_invalid) when they are not all inside; nothing was copied then.
    pub fn read_at(&self, offset: u64, bytes: &mut [u8]) -> Result<()> {
        self.check(offset, bytes.len() as u64)?;
        let (head, middle) = bytes.split_at_mut(head_len(offset, bytes.len()));
        self.read_within(offset, head)?;
        let offset = offset + head.len() as u64;
        let (middle, tail) = middle.split_at_mut(middle.len() & !7);
        copy_out(self.words_at(offset, middle.len()), middle);
        self.read_within(offset + middle.len() as u64, tail)
    }

    /// Copies `bytes` to `offset`. What lies around them is left as it is, also when others write there meanwhile.
    ///
    /// # Errors
    ///
    /// [`is_invalid`](Error::is_invalid) when they do not fit: nothing was copied then.
    /// [`is_contended`](Error::is_contended) when others changed the bytes around very many times in a row.
    pub fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        self.check(offset, bytes.len() as u64)?;
        let (head, middle) = bytes.split_at(head_len(offset, bytes.len()));
        self.write_within(offset, head)?;
        let offset = offset + head.len() as u64;
        let (middle, tail) = middle.split_at(middle.len() & !7);
        copy_in(self.words_at(offset, middle.len()), middle);
        self.write_within(offset + middle.len() as u64, tail)
    }

    /// The value whose bytes stand at `offset`: copied out, then checked. One of 1, 2, 4 or 8 bytes at a
    /// multiple of its size is read at once.
    ///
    /// # Errors
    ///
    /// [`is_invalid`](Error::is_invalid) when it is not wholly inside; [`is_corrupt`](Error::is_corrupt) when the
    /// bytes are no value of the type.
    pub fn load<T: PlainData>(&self, offset: u64) -> Result<T> {
        let mut scratch = Scratch::<T>::empty();
        let mut full = scratch.zeros();
        self.read_at(offset, full.bytes())?;
        full.value().ok_or_else(not_a_value::<T>)
    }

    /// Puts the bytes of a value at `offset`. One of 1, 2, 4 or 8 bytes at a multiple of its size is
    /// written at once.
    ///
    /// # Errors
    ///
    /// As [`write_at`](Self::write_at).
    pub fn store<T: PlainData>(&self, offset: u64, value: &T) -> Result<()> {
        self.write_at(offset, value.as_bytes())
    }

    #[inline]
    fn check(&self, offset: u64, len: u64) -> Result<()> {
        match offset.checked_add(len) {
            Some(end) if end <= self.len => Ok(()),
            _ => Err(Error::invalid(
                format!("access to {len} bytes at {offset}"),
                format!("the memory has {} bytes", self.len),
            )),
        }
    }

    /// The word that `offset` lies in.
    #[inline]
    fn at(&self, offset: u64) -> Result<&AtomicU64> {
        // Never refused: callers have checked the offset.
        self.words.get((offset / 8) as usize).ok_or_else(|| unaligned(offset, 8))
    }

    /// The words of `len` bytes at `offset`, both multiples of 8 and checked.
    fn words_at(&self, offset: u64, len: usize) -> &[AtomicU64] {
        let first = (offset / 8) as usize;
        self.words.get(first..first + len / 8).unwrap_or_default()
    }

    /// Reads bytes that lie in one word.
    fn read_within(&self, offset: u64, bytes: &mut [u8]) -> Result<()> {
        if !bytes.is_empty() {
            let word = self.at(offset)?.load(Ordering::Relaxed).to_ne_bytes();
            bytes.iter_mut().zip(word.iter().skip((offset % 8) as usize)).for_each(|(to, from)| *to = *from);
        }
        Ok(())
    }

    /// Writes bytes that lie in one word.
    fn write_within(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        let word = self.at(offset)?;
        let mut now = word.load(Ordering::Relaxed);
        for _ in 0..ROUNDS {
            let mut new = now.to_ne_bytes();
            new.iter_mut().skip((offset % 8) as usize).zip(bytes).for_each(|(to, from)| *to = *from);
            match word.compare_exchange_weak(now, u64::from_ne_bytes(new), Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return Ok(()),
                Err(other) => now = other,
            }
        }
        Err(contended())
    }
}

/// How many of `len` bytes at `offset` lie before the next whole word.
fn head_len(offset: u64, len: usize) -> usize {
    len.min(((8 - offset % 8) % 8) as usize)
}

#[cold]
fn unaligned(offset: u64, to: u64) -> Error {
    Error::invalid(format!("a word at {offset}"), format!("the offset is not a multiple of {to}"))
}

#[cold]
fn contended() -> Error {
    Kind::Contended { what: "a word of foreign memory", rounds: ROUNDS }.into()
}

impl fmt::Debug for SharedBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SharedBytes({} bytes)", self.len)
    }
}
