//! The only pointer arithmetic of the crate: from an offset to a reference to atomics.
//!
//! A [`Region`] is the memory of one attachment. References that come out are to atomics, or to structs
//! and slices made of nothing else, because a neighbour may write any byte at any time; that is sound for
//! atomics and for nothing else. Offsets are held against the length that this process measured.
#![allow(unsafe_code)] // the room where offsets become addresses

use crate::error::{Error, Result};
use crate::raw::blocks::Hand;
use crate::raw::list::ListHeader;
use crate::raw::lock::RawLock;
use crate::raw::pending::Stripe;
use crate::raw::permits::PermitsHeader;
use crate::raw::range_entry::RangeEntry;
use crate::raw::ranges::RangesHeader;
use crate::raw::registry::RegistryHeader;
use crate::raw::ring::RingHeader;
use crate::raw::roster::Roster;
use crate::raw::rw_lock::{ReaderCell, ReadersHeader};
use crate::raw::signal::Signal;
use crate::raw::table::TableHead;
use crate::raw::table_desk::Desk;
use crate::raw::table_line::{PairLine, RecordLine};
use crate::raw::version::Version;
use crate::segment::layout::{ArenaHeader, Entry, Row, STRIPE_WORDS};
use crate::sync::{AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering};
use crate::sys::fork::OwnNumber;
use crate::sys::mapping::Mapping;
use core::fmt;
use core::mem::{align_of, size_of};
use core::ops::Deref;
use core::ptr::NonNull;
use std::sync::Arc;

/// A type that may be referred to where it stands in shared memory.
///
/// # Safety
///
/// 1. It is made of atomics only, so that any thread of any process may write it at any time.
/// 2. Every bit pattern is a valid value.
/// 3. It is `repr(C)`, `repr(transparent)` or primitive, and holds no pointer.
pub(crate) unsafe trait Shared {}

macro_rules! shared {
    ($($name:ty),*) => { $(
        // SAFETY: 1.-3. see the definition: `repr(C)` or primitive, atomics of fixed width only.
        unsafe impl Shared for $name {}
    )* };
}
shared!(AtomicU8, AtomicU16, AtomicU32, AtomicU64, Row, RegistryHeader);
shared!(Entry, Hand, ArenaHeader);
shared!(ListHeader, RawLock, Signal, Version, PermitsHeader, RingHeader, Roster);
shared!(ReadersHeader, ReaderCell, RangesHeader, RangeEntry);
shared!(TableHead, Desk, PairLine, RecordLine, Stripe<STRIPE_WORDS>);

/// The memory of an attachment, or a checked part of it. Keeps the memory mapped.
#[derive(Clone)]
pub(crate) struct Region {
    /// Invariant: `base .. base + len` is mapped readable by `mapping`, and writable but for an observer, who only loads
    /// through what it gets. What lies beyond the end of
    /// the file is only looked at through [`Growth`](crate::segment::growth::Growth), which knows where that is.
    base: *mut u8,
    len: u64,
    mapping: Arc<Mapping>,
}

// SAFETY: a region is an address and a length; what is done through it is atomic.
unsafe impl Send for Region {}
// SAFETY: as above.
unsafe impl Sync for Region {}

impl Region {
    /// The memory of a mapping.
    pub(crate) fn of(mapping: Mapping) -> Self {
        Self { base: mapping.base(), len: mapping.len(), mapping: Arc::new(mapping) }
    }

    pub(crate) const fn len(&self) -> u64 {
        self.len
    }

    /// The part of `len` bytes at `start`.
    pub(crate) fn part(&self, start: u64, len: u64) -> Result<Self> {
        match start.checked_add(len) {
            Some(end) if end <= self.len => {
                // SAFETY: `start` is within the mapped bytes, as compared above.
                let base = unsafe { self.base.add(start as usize) };
                Ok(Self { base, len, mapping: Arc::clone(&self.mapping) })
            }
            _ => Err(outside(start, len, self.len)),
        }
    }

    /// The struct of atomics at `offset`.
    #[inline]
    pub(crate) fn place<T: Shared>(&self, offset: u64) -> Result<&T> {
        let at = self.address(offset, 1, size_of::<T>(), align_of::<T>())?;
        // SAFETY: 1. `address` compared bounds and alignment. 2. `T: Shared` is valid for any bytes and
        //         may be written by others. 3. `self`, which the result borrows, keeps the mapping.
        Ok(unsafe { at.cast::<T>().as_ref() })
    }

    /// `count` structs of atomics at `offset`.
    #[inline]
    pub(crate) fn places<T: Shared>(&self, offset: u64, count: u64) -> Result<&[T]> {
        let at = self.address(offset, count, size_of::<T>(), align_of::<T>())?;
        // SAFETY: 1.-3. as in `place`, for `count` structs, whose size `address` multiplied checked.
        Ok(unsafe { core::slice::from_raw_parts(at.cast::<T>().as_ptr(), count as usize) })
    }

    /// Asks for these bytes to be mapped before they are touched, if the kernel can (madvise(2), Linux 5.14).
    pub(crate) fn populate(&self, range: core::ops::Range<u64>) {
        let before = self.base.addr().wrapping_sub(self.mapping.base().addr()) as u64;
        self.mapping.populate(before + range.start..before + range.end);
    }

    /// The mapping that this is the memory of.
    pub(crate) fn mapping(&self) -> &Mapping {
        &self.mapping
    }

    /// The struct of atomics at `offset`, resolved once and for all.
    pub(crate) fn placed<T: Shared>(&self, offset: u64) -> Result<Placed<T>> {
        Ok(Placed { at: NonNull::from(self.place::<T>(offset)?), _keeps: Arc::clone(&self.mapping) })
    }

    /// `count` structs of atomics at `offset`, resolved once and for all.
    pub(crate) fn placed_slice<T: Shared>(&self, offset: u64, count: u64) -> Result<Placed<[T]>> {
        Ok(Placed { at: NonNull::from(self.places::<T>(offset, count)?), _keeps: Arc::clone(&self.mapping) })
    }

    #[inline]
    fn address(&self, offset: u64, count: u64, size: usize, align: usize) -> Result<NonNull<u8>> {
        let end = count.checked_mul(size as u64).and_then(|n| n.checked_add(offset));
        if end.is_none_or(|end| end > self.len) {
            return Err(outside(offset, count.saturating_mul(size as u64), self.len));
        }
        // SAFETY: `offset <= self.len`, so the address is within the mapping or one past it.
        let at = unsafe { self.base.add(offset as usize) };
        match NonNull::new(at) {
            Some(at) if at.addr().get() & (align - 1) == 0 => Ok(at),
            _ => Err(Error::corrupt("the segment", format!("offset {offset} is not a multiple of {align}"))),
        }
    }
}

#[cold]
fn outside(start: u64, len: u64, of: u64) -> Error {
    Error::corrupt("the segment", format!("{len} bytes at offset {start} are outside of its {of}"))
}

/// Structs of atomics, resolved and checked once: what a handle keeps, so that an operation has nothing
/// left to fail at.
pub(crate) struct Placed<T: ?Sized> {
    /// Invariant: came from [`Region::place`] or [`Region::places`], or is a part of that, in memory that `_keeps` keeps
    /// mapped; or is nothing.
    at: NonNull<T>,
    _keeps: Arc<Mapping>,
}

// SAFETY: `T` is made of atomics, which any thread may use.
unsafe impl<T: ?Sized + Sync> Send for Placed<T> {}
// SAFETY: as above.
unsafe impl<T: ?Sized + Sync> Sync for Placed<T> {}

impl<T> Placed<[T]> {
    /// A part of them; none if they are fewer.
    pub(crate) fn part(&self, range: core::ops::Range<usize>) -> Self {
        Self { at: NonNull::from(self.get(range).unwrap_or_default()), _keeps: Arc::clone(&self._keeps) }
    }
}

impl<T: ?Sized> Deref for Placed<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: 1. the invariant: checked when it was made. 2. `self`, which the result borrows, keeps
        //         the mapping.
        unsafe { self.at.as_ref() }
    }
}

impl<T: ?Sized> Clone for Placed<T> {
    fn clone(&self) -> Self {
        Self { at: self.at, _keeps: Arc::clone(&self._keeps) }
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for Placed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

/// Structs that are reached by one comparison as long as nothing unusual has to be thought of, and not at all otherwise: a
/// process forked from ours reaches none.
pub(crate) struct Near<T> {
    all: Placed<[T]>,
    /// Invariant: how many there are, or 0.
    reach: OwnNumber,
}

impl<T> Near<T> {
    /// These structs; none of them is near if something is unusual about all.
    pub(crate) fn new(all: Placed<[T]>, is_usual: bool) -> Result<Self> {
        let reach = OwnNumber::new(if is_usual { all.len() as u64 } else { 0 });
        Ok(Self { all, reach: reach.map_err(|e| Error::io("preparing for forks", e))? })
    }

    /// All, whatever is unusual.
    #[inline(always)]
    pub(crate) fn all(&self) -> &[T] {
        &self.all
    }

    /// This one, if it is near.
    #[inline(always)]
    pub(crate) fn get(&self, index: u64) -> Option<&T> {
        if index >= self.reach.get() {
            return None;
        }
        // SAFETY: there are more than this: the invariant, which a fork keeps, as 0 is less than all.
        Some(unsafe { self.all.get_unchecked(index as usize) })
    }
}

/// The front of a part of the memory, as far as it is known to be backed by the file. What lies in it is reached by one
/// comparison: for who follows a reference at each operation.
pub(crate) struct Window {
    /// Invariant: `known` bytes from `base` on are mapped by `_keeps`, and it is a page's.
    base: NonNull<u8>,
    known: AtomicU64,
    len: u64,
    _keeps: Arc<Mapping>,
}

// SAFETY: as a region.
unsafe impl Send for Window {}
// SAFETY: as a region.
unsafe impl Sync for Window {}

impl Window {
    /// The front of this region, of which nothing is known to be backed yet.
    pub(crate) fn new(region: &Region) -> Result<Self> {
        let (base, len) = (region.address(0, region.len, 1, 1)?, region.len);
        Ok(Self { base, len, known: AtomicU64::new(0), _keeps: Arc::clone(&region.mapping) })
    }

    /// So many bytes are backed.
    pub(crate) fn extend(&self, bytes: u64) {
        self.known.fetch_max(bytes.min(self.len), Ordering::Relaxed);
    }

    /// How many bytes are known to be backed.
    #[inline(always)]
    pub(crate) fn known(&self) -> u64 {
        self.known.load(Ordering::Relaxed) // a number about the file, which nothing is published through
    }

    /// All words that are known to be backed.
    #[inline(always)]
    pub(crate) fn words(&self) -> &[AtomicU64] {
        let count = self.known() / 8;
        // SAFETY: 1. so many bytes are mapped: the invariant; the base is a page's. 2. and 3. as in `places`.
        unsafe { core::slice::from_raw_parts(self.base.cast::<AtomicU64>().as_ptr(), count as usize) }
    }

    /// `count` structs of atomics at `offset`, if they are known to be backed.
    #[inline(always)]
    pub(crate) fn places<T: Shared>(&self, offset: u64, count: u64) -> Option<&[T]> {
        // A struct is at most a page, and offsets and counts come from numbers of 40 bits: nothing overflows, and if it
        // did, `checked_mul` would tell.
        let end = count.checked_mul(size_of::<T>() as u64)?.checked_add(offset)?;
        if end > self.known.load(Ordering::Relaxed) || !offset.is_multiple_of(align_of::<T>() as u64) {
            return None;
        }
        // SAFETY: `offset` is within what is mapped, as compared above.
        let at = unsafe { self.base.add(offset as usize) }.cast::<T>().as_ptr();
        debug_assert!(at.is_aligned(), "regions begin at pages");
        // SAFETY: 1. bounds and alignment were compared above; the base is a page's. 2. `T: Shared` is valid for any
        //         bytes and may be written by others. 3. `self`, which the result borrows, keeps the mapping.
        Some(unsafe { core::slice::from_raw_parts(at, count as usize) })
    }
}

impl Window {
    /// Asks the processor to bring so many bytes from `offset` on nearer, as far as they are known to be backed.
    #[inline(always)]
    pub(crate) fn prefetch(&self, offset: u64, bytes: u64) {
        // Compared once for all lines; the last one has the last word.
        let words: &[AtomicU64] = self.places(offset & !7, bytes / 8).unwrap_or_default();
        let mut at = 0;
        while at < words.len() {
            prefetch(words, at);
            at += 8;
        }
        prefetch(words, words.len().wrapping_sub(1));
    }
}

/// Which element of a slice this is. Of what is none of them, any number.
#[inline(always)]
pub(crate) fn index_of<T>(all: &[T], element: &T) -> usize {
    core::ptr::from_ref(element).addr().wrapping_sub(all.as_ptr().addr()) / size_of::<T>()
}

/// Asks the processor to bring `slice[index]` nearer, if there is such an element. Its own prefetcher stops at
/// the end of each 4 KiB.
#[inline(always)]
pub(crate) fn prefetch<T: Shared>(slice: &[T], index: usize) {
    if let Some(element) = slice.get(index) {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: a prefetch reads nothing and faults never; SSE is part of x86-64. The address is a reference's.
        unsafe {
            use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            _mm_prefetch::<_MM_HINT_T0>(core::ptr::from_ref(element).cast());
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = element;
    }
}
