//! A value of several words that is never seen torn: two buffers and a version that names the whole one.
//!
//! Readers copy without a lock and look at the version again. A writer holds the lock, writes into the
//! buffer that nobody is sent to, and commits by one store. One that dies before that store has changed
//! nothing; one that dies after it has changed all. So there is nothing to repair after a death.
//!
//! ```text
//!   0  Version   lock, version: its lowest bit names the whole buffer
//!  16  buffer 0  the value, filled up to whole words
//!   .  buffer 1
//! ```

use crate::deadline::Deadline;
use crate::error::{Kind, Result};
use crate::handle::lock::refusal;
use crate::participant::Liveness;
use crate::raw::lock::Acquired;
use crate::raw::version::{Version, WriteTicket};
use crate::segment::access::Placed;
use crate::segment::attachment::Attachment;
use crate::segment::body::{Blueprint, Body};
use crate::segment::plain::{self, PlainData};
use crate::sync::{AtomicU64, Patience, spin_hint};
use core::fmt;
use core::marker::PhantomData;
use core::ops::{Deref, DerefMut};

/// Reads lost to writers in a row before the reader stands in line with them.
const READS: u32 = 1000;

/// Where a versioned value stands.
#[derive(Clone)]
pub(crate) struct Whole {
    version: Placed<Version>,
    buffers: [Placed<[AtomicU64]>; 2],
}

/// Bytes of a versioned value of `size` bytes.
pub(crate) const fn whole_bytes(size: usize) -> u64 {
    (size_of::<Version>() + 16 * plain::words_for(size)) as u64
}

/// An object that is one versioned value of `size` bytes.
pub(crate) const fn whole_blueprint(size: usize) -> Blueprint {
    Blueprint { body_len: whole_bytes(size), shape: [size as u64, 0, 0, 0], arena: [0; 2] }
}

impl Whole {
    /// The versioned value of `size` bytes at `offset`.
    pub(crate) fn at(body: &Body, offset: u64, size: usize) -> Result<Self> {
        Self::apart(body, offset, offset.saturating_add(size_of::<Version>() as u64), size)
    }

    /// The versioned value of `size` bytes whose buffers stand at `first`.
    pub(crate) fn apart(body: &Body, offset: u64, first: u64, size: usize) -> Result<Self> {
        let words = plain::words_for(size) as u64;
        let second = first.saturating_add(8 * words);
        Ok(Self {
            version: body.placed(offset)?,
            buffers: [body.placed_slice(first, words)?, body.placed_slice(second, words)?],
        })
    }

    pub(crate) fn spot(&self) -> Spot<'_> {
        Spot { version: &self.version, buffers: [&self.buffers[0], &self.buffers[1]] }
    }
}

/// A versioned value, borrowed.
#[derive(Clone, Copy)]
pub(crate) struct Spot<'a> {
    pub version: &'a Version,
    pub buffers: [&'a [AtomicU64]; 2],
}

impl<'a> Spot<'a> {
    #[inline]
    fn buffer(&self, number: usize) -> &'a [AtomicU64] {
        self.buffers[number & 1]
    }

    /// The first value, while nobody else knows of it. Both buffers are whole, so the version needs no move.
    pub(crate) fn fill<T: PlainData>(&self, value: &T) {
        self.buffers.iter().for_each(|buffer| plain::write_plain(buffer, value));
    }

    /// The value as of one commit, without a lock.
    #[inline]
    pub(crate) fn read<T: PlainData>(&self) -> Result<T> {
        for _ in 0..READS {
            let ticket = self.version.begin_read();
            let value = plain::read_plain::<T>(self.buffer(ticket.buffer));
            if self.version.still_whole(&ticket) {
                return value;
            }
            spin_hint();
        }
        Err(Kind::Contended { what: "the value", rounds: READS }.into())
    }

    /// The value, read by who keeps all writers out.
    #[inline]
    pub(crate) fn read_alone<T: PlainData>(&self) -> Result<T> {
        plain::read_plain(self.buffer(self.version.begin_read().buffer))
    }

    /// The value as of one commit. Behind many writers in a row it takes the lock and reads in its turn.
    pub(crate) fn read_patiently<T: PlainData>(&self, body: &'a Body) -> Result<T> {
        match self.read::<T>() {
            Err(error) if error.is_contended() => Ok(*self.lock::<T>(body, Deadline::NEVER, "the value")?),
            other => other,
        }
    }

    /// The bytes that were whole when they were looked at last. For callers with no way to return an error,
    /// when the lock word is damaged or the process was forked in the middle of other writers.
    #[cold]
    pub(crate) fn read_as_is<T: PlainData>(&self) -> Option<T> {
        self.read_alone().ok()
    }

    /// Takes the lock and a private copy of the value.
    #[inline]
    pub(crate) fn lock<T: PlainData>(
        self,
        body: &'a Body,
        deadline: Deadline,
        what: &'static str,
    ) -> Result<MutexGuard<'a, T>> {
        self.guard(body, self.take_turn(body, deadline, what)?)
    }

    #[inline]
    fn take_turn(&self, body: &Body, deadline: Deadline, what: &'static str) -> Result<Acquired> {
        let life = body.life()?;
        if self.version.lock_field().take_free(life.me()) {
            Ok(Acquired::Clean)
        } else {
            self.wait_turn(body, deadline, what)
        }
    }

    /// Patience is made here, because what it stores would hold up the quick way.
    #[cold]
    #[inline(never)]
    fn wait_turn(&self, body: &Body, deadline: Deadline, what: &'static str) -> Result<Acquired> {
        let got = self.version.lock_field().acquire(body.life()?, &mut Patience::new(deadline));
        got.map_err(|refused| body.why(refusal(refused, what)))
    }

    /// Takes the lock if it is free.
    #[inline]
    pub(crate) fn try_lock<T: PlainData>(self, body: &'a Body, what: &'static str) -> Result<MutexGuard<'a, T>> {
        let life = body.life()?;
        match self.version.lock_field().try_acquire(life) {
            Ok(acquired) => self.guard(body, acquired),
            Err(refused) => Err(refusal(refused, what)),
        }
    }

    /// Makes a guard of the lock in hand.
    #[inline]
    pub(crate) fn guard<T: PlainData>(self, body: &'a Body, acquired: Acquired) -> Result<MutexGuard<'a, T>> {
        let ticket = self.version.begin_write();
        match plain::read_plain(self.buffer(ticket.whole)) {
            Ok(value) => Ok(MutexGuard {
                copy: value,
                changed: false,
                previous_died: matches!(acquired, Acquired::AfterDeath),
                unwinding: std::thread::panicking(),
                ticket: Some(ticket),
                spot: self,
                life: body.attachment(),
                _stays: PhantomData,
            }),
            Err(error) => {
                self.version.lock_field().release(false);
                Err(error)
            }
        }
    }

    /// Replaces the value: under the lock, without looking at the old one.
    #[inline]
    pub(crate) fn write<T: PlainData>(&self, body: &Body, value: &T) -> Result<()> {
        self.take_turn(body, Deadline::NEVER, "the value")?;
        let ticket = self.version.begin_write();
        plain::write_plain(self.buffer(ticket.buffer), value);
        self.version.commit(ticket);
        self.version.lock_field().release(false);
        Ok(())
    }
}

/// Holds a [`Mutex`](crate::Mutex), a [`Value`](crate::Value) or, as its writer, a [`RwLock`](crate::RwLock), with a private copy of what is in it.
///
/// What is done to the copy counts from one store on, made when the guard is dropped; a guard that is
/// dropped by a panic, or that dies with its process, has changed nothing. Stays with its thread.
#[must_use = "the lock is given back when the guard is dropped"]
pub struct MutexGuard<'a, T: PlainData> {
    copy: T,
    changed: bool,
    previous_died: bool,
    /// Whether a panic was already on its way when the lock was taken: that one discards nothing.
    unwinding: bool,
    ticket: Option<WriteTicket>,
    spot: Spot<'a>,
    life: &'a Attachment,
    _stays: PhantomData<*const ()>,
}

impl<T: PlainData> MutexGuard<'_, T> {
    /// Whether the holder before died while it held the lock. The value is whole: its last commit.
    pub fn previous_died(&self) -> bool {
        self.previous_died
    }

    /// Gives the lock back and leaves the value as it was.
    pub fn discard(mut self) {
        self.changed = false;
    }
}

impl<T: PlainData> Deref for MutexGuard<'_, T> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        &self.copy
    }
}

impl<T: PlainData> DerefMut for MutexGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        self.changed = true;
        &mut self.copy
    }
}

impl<T: PlainData> Drop for MutexGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        // In a forked child the guard is the parent's: it touches nothing.
        if !self.life.is_ours() {
            return;
        }
        if let Some(ticket) = self.ticket.take()
            && self.changed
            && (self.unwinding || !std::thread::panicking())
        {
            plain::write_plain(self.spot.buffer(ticket.buffer), &self.copy);
            self.spot.version.commit(ticket);
        }
        self.spot.version.lock_field().release(false);
    }
}

impl<T: PlainData + fmt::Debug> fmt::Debug for MutexGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.copy.fmt(f)
    }
}
