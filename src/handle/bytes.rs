//! Items that are bytes: written and read where they lie, without a copy between.

use crate::deadline::Deadline;
use crate::error::{Error, Result};
use crate::handle::codec::{Coded, Name};
use crate::handle::lease::Lease;
use crate::handle::queue::Queue;
use crate::handle::taking::Taken;
use crate::segment::allocate::InHand;
use crate::segment::body::Body;
use crate::segment::plain::{self, BytesView, words_for};
use crate::segment::tag::{Encoding, TypeTag};
use crate::sync::AtomicU64;
use crate::sys::clock;
use core::fmt;
use core::time::Duration;

/// Bytes as an item, with no codec: what a [`Queue`] of them can do beyond others is to have items written
/// ([`reserve`](Queue::reserve)) and read ([`lease_in_place`](Queue::lease_in_place)) where they lie in shared memory.
///
/// # Examples
///
/// ```
/// use mutirao::{Bytes, Queue};
/// let frames = Queue::<Bytes>::new(8)?;
/// let mut frame = frames.reserve(1 << 20)?;
/// frame.write_at(0, b"header")?;
/// frame.write_at(1 << 19, b"middle")?;
/// frame.commit()?;
///
/// let frame = frames.lease_in_place()?;
/// let mut head = [0; 6];
/// frame.read_at(0, &mut head)?;
/// assert_eq!((&head, frame.len()), (b"header", 1 << 20));
/// frame.ack()?;
/// # Ok::<(), mutirao::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Bytes(pub Vec<u8>);

impl Coded for Bytes {
    type Raw = Vec<u8>;
    const FIXED: Option<usize> = None;
    const NAME: Name<Self> = Name::new(|| TypeTag::of::<Self>(Encoding::Bytes));

    fn with_bytes<R>(&self, limit: usize, f: impl FnOnce(&[u8]) -> R) -> Result<R> {
        if self.0.len() > limit { Err(crate::handle::codec::too_large(self.0.len(), limit)) } else { Ok(f(&self.0)) }
    }

    fn encode_into(&self, limit: usize, bytes: &mut Vec<u8>, _: &'static str) -> Result<()> {
        self.with_bytes(limit, |own| {
            bytes.clear();
            bytes.extend_from_slice(own);
        })
    }

    fn decode_from(bytes: &[u8], _: &'static str) -> Result<Self> {
        Ok(Self(bytes.to_vec()))
    }

    type Data = ();
    fn of_data((): ()) -> Option<Self> {
        None
    }

    fn copy_out(words: &[AtomicU64], len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        plain::copy_out(words, &mut bytes);
        bytes
    }

    fn decode(bytes: Vec<u8>) -> Result<Self> {
        Ok(Self(bytes))
    }
}

/// Room for an item of a queue of [`Bytes`], to be written and then sent. Dropped without that, it is given back.
///
/// What stands in it at first is whatever was there before, by any participant of the segment.
///
/// # When a process dies
///
/// The room is given back, unless it was sent.
#[must_use = "nothing is sent before `commit`"]
pub struct Slot<'q> {
    queue: &'q Queue<Bytes>,
    block: InHand<'q, Body>,
    len: usize,
}

impl Slot<'_> {
    /// Bytes of the item.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it is an item of no bytes.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Writes `bytes` from byte `offset` on.
    ///
    /// # Errors
    ///
    /// `is_invalid` beyond the end: nothing is written.
    pub fn write_at(&mut self, offset: usize, bytes: &[u8]) -> Result<()> {
        within(offset, bytes.len(), self.len)?;
        plain::write_at(self.block.words(), offset, bytes);
        Ok(())
    }

    /// The item as words of 8 bytes, the last one filled up. Nobody else looks at them before it is sent.
    pub fn as_atomics(&self) -> &[AtomicU64] {
        self.block.words().get(..words_for(self.len)).unwrap_or_default()
    }

    /// Sends it, waiting for a cell as long as it takes.
    ///
    /// # Errors
    ///
    /// As [`Queue::send`]. What was written is given back with the room.
    pub fn commit(self) -> Result<()> {
        self.queue.channel.commit(self.block, self.len, Some(Deadline::NEVER))
    }

    /// Sends it if there is a cell.
    ///
    /// # Errors
    ///
    /// As [`Queue::try_send`]. What was written is given back with the room.
    pub fn try_commit(self) -> Result<()> {
        self.queue.channel.commit(self.block, self.len, None)
    }

    /// Sends it, waiting for a cell no longer than `timeout`.
    ///
    /// # Errors
    ///
    /// As [`Queue::send_timeout`]. What was written is given back with the room.
    pub fn commit_timeout(self, timeout: Duration) -> Result<()> {
        self.queue.channel.commit(self.block, self.len, Some(Deadline::after(clock::now_ns(), timeout)))
    }
}

impl fmt::Debug for Slot<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slot").field("len", &self.len).finish_non_exhaustive()
    }
}

/// A leased item of a queue of [`Bytes`], read where it lies. Otherwise as [`Leased`](crate::Leased).
#[must_use = "a lease that is dropped is given back"]
pub struct LeasedBytes<'q> {
    words: &'q [AtomicU64],
    len: usize,
    lease: Lease<'q, Bytes>,
}

impl LeasedBytes<'_> {
    /// Bytes of the item.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it is an item of no bytes.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Copies what stands from byte `offset` on into `bytes`, all of which is filled.
    ///
    /// # Errors
    ///
    /// `is_invalid` beyond the end: nothing is copied.
    pub fn read_at(&self, offset: usize, bytes: &mut [u8]) -> Result<()> {
        within(offset, bytes.len(), self.len)?;
        plain::read_at(self.words, offset, bytes);
        Ok(())
    }

    /// A copy of it.
    pub fn to_vec(&self) -> Vec<u8> {
        Bytes::copy_out(self.words, self.len)
    }

    /// The item as words of 8 bytes, the last one filled up. A broken neighbour may write to them at any time.
    pub fn as_atomics(&self) -> &[AtomicU64] {
        self.words
    }

    /// The item where it lies, for whoever wants it as a slice.
    pub fn view(&self) -> BytesView<'_> {
        BytesView::new(self.words, self.len)
    }

    /// The item is done with, and is never delivered again.
    ///
    /// # Errors
    ///
    /// `is_forked`: the lease is the parent's.
    pub fn ack(mut self) -> Result<()> {
        self.lease.ack()
    }

    /// The item is delivered again, to anybody, or becomes a dead letter: what dropping does, by name.
    pub fn nack(self) {
        drop(self);
    }

    /// The how manieth delivery this is, from 1.
    pub fn attempt(&self) -> u32 {
        self.lease.attempt()
    }
}

impl fmt::Debug for LeasedBytes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LeasedBytes").field("len", &self.len).field("attempt", &self.attempt()).finish()
    }
}

impl Queue<Bytes> {
    /// Room for an item of `len` bytes, to be written in place.
    ///
    /// # Errors
    ///
    /// `is_out_of_memory` with the bytes needed and available; `is_too_large` for more than the queue can ever have;
    /// `is_exhausted` when this process has too many of them.
    pub fn reserve(&self, len: usize) -> Result<Slot<'_>> {
        Ok(Slot { queue: self, block: self.channel.reserve(len)?, len })
    }

    /// Leases an item without copying it, waiting for one as long as it takes.
    ///
    /// # Errors
    ///
    /// As [`lease`](Queue::lease).
    pub fn lease_in_place(&self) -> Result<LeasedBytes<'_>> {
        self.in_place_until(Some(Deadline::NEVER))
    }

    /// Leases an item without copying it, if there is one.
    ///
    /// # Errors
    ///
    /// As [`try_lease`](Queue::try_lease).
    pub fn try_lease_in_place(&self) -> Result<LeasedBytes<'_>> {
        self.in_place_until(None)
    }

    /// Leases an item without copying it, waiting for one no longer than `timeout`.
    ///
    /// # Errors
    ///
    /// As [`lease_timeout`](Queue::lease_timeout).
    pub fn lease_in_place_timeout(&self, timeout: Duration) -> Result<LeasedBytes<'_>> {
        self.in_place_until(Some(Deadline::after(clock::now_ns(), timeout)))
    }

    fn in_place_until(&self, wait: Option<Deadline>) -> Result<LeasedBytes<'_>> {
        let held = self.channel.hold::<Bytes>(wait)?;
        match self.channel.in_place(held) {
            Ok((words, len, block)) => Ok(LeasedBytes { words, len, lease: Lease::new(Taken { held, block }, self) }),
            // Bytes that are no item are nobody's work: the lease ends.
            Err(error) => Lease::new(Taken { held, block: None }, self).ack().and(Err(error)),
        }
    }
}

fn within(offset: usize, count: usize, len: usize) -> Result<()> {
    if offset.checked_add(count).is_some_and(|end| end <= len) {
        return Ok(());
    }
    Err(Error::invalid(format!("bytes {offset} to {offset} + {count} of an item"), format!("it has {len}")))
}
