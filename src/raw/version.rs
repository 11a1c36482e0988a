//! A value of several words that readers copy without a lock, and that a writer who dies neither tears
//! nor blocks: two buffers and a version whose lowest bit names the whole one.
//!
//! | version | buffer `version & 1` | the other buffer |
//! |---|---|---|
//! | any | whole: the last committed value | free for the writer who holds the lock |
//!
//! A writer fills the other buffer and commits by storing the next version. A writer who dies before that leaves the old
//! value whole, so there is nothing to repair. A reader copies the whole buffer and looks at the
//! version again: a writer may have committed and another begun to overwrite what was copied.
//!
//! The buffers are the caller's, and hold atomics: they are read and written by relaxed words.
#![forbid(unsafe_code)]

use core::fmt;

use crate::order;
use crate::participant::Liveness;
use crate::raw::lock::RawLock;
use crate::sync::{AtomicU32, AtomicU64, Ordering::Relaxed, fence};

/// The version of a value and the lock of its writers. All-zero: buffer 0 is whole.
#[repr(C)]
pub struct Version {
    lock: RawLock,
    _reserved_1: AtomicU32,
    version: AtomicU64,
}

/// Permission to copy a buffer out; worth something if it is [`still_whole`](Version::still_whole) afterwards.
#[derive(Clone, Copy, Debug)]
pub struct ReadTicket {
    /// Which buffer: 0 or 1.
    pub buffer: usize,
    version: u64,
}

/// Permission of the lock's holder to write the other buffer.
#[derive(Debug)]
pub struct WriteTicket {
    /// The buffer of the committed value.
    pub whole: usize,
    /// The buffer to write.
    pub buffer: usize,
    next: u64,
}

const fn buffer_of(version: u64) -> usize {
    (version & 1) as usize
}

impl Version {
    /// Buffer 0 is whole.
    pub fn new() -> Self {
        Self { lock: RawLock::new(), _reserved_1: AtomicU32::new(0), version: AtomicU64::new(0) }
    }

    /// The lock of the writers.
    #[inline]
    pub fn lock_field(&self) -> &RawLock {
        &self.lock
    }

    /// Which buffer to copy.
    #[inline]
    pub fn begin_read(&self) -> ReadTicket {
        let version = self.version.load(order!(version_look, Acquire));
        ReadTicket { buffer: buffer_of(version), version }
    }

    /// Whether the copy made under this ticket is whole. If not, begin again.
    #[inline]
    pub fn still_whole(&self, ticket: &ReadTicket) -> bool {
        // If the copy has a word of a later writer, that writer's fence makes the version visible that it began from.
        fence(order!(version_recheck, Acquire));
        self.version.load(Relaxed) == ticket.version
    }

    /// Which buffer to write. The caller holds the lock.
    #[inline]
    pub fn begin_write(&self) -> WriteTicket {
        // The lock orders this after the commit of the writer before.
        let version = self.version.load(Relaxed);
        // Whoever sees a word that is written from here on sees this version too.
        fence(order!(version_overwrite, Release));
        WriteTicket { whole: buffer_of(version), buffer: 1 - buffer_of(version), next: version.wrapping_add(1) }
    }

    /// Makes what was written the value. The caller still holds the lock.
    #[inline]
    pub fn commit(&self, ticket: WriteTicket) {
        self.version.store(ticket.next, order!(version_commit, Release));
    }

    /// Frees the lock of a dead writer. Returns the traces removed.
    pub fn recover(&self, life: &impl Liveness) -> u32 {
        self.lock.recover(life)
    }
}

impl Default for Version {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let version = self.version.load(Relaxed);
        write!(f, "Version({version}, buffer {} is whole, {:?})", buffer_of(version), self.lock)
    }
}
