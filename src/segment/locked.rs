//! The bodies of a `RwLock` and of an `Array`: where the words of their locks stand beside what they guard.
//!
//! ```text
//! RwLock   0   Version         the writers' lock and the version of the value
//!         16   ReadersHeader   which rows ever read; what a writer sleeps on
//!         64   cells           one line for each row
//!              buffers         two, of the value in whole words
//!
//! Array    0   elements
//!              RangesHeader    at the next multiple of 128
//!              entries         at the next multiple of 64, one for each range that is held or damaged
//! ```

use crate::error::Result;
use crate::raw::range_entry::RangeEntry;
use crate::raw::ranges::{RangesHeader, RawRanges};
use crate::raw::rw_lock::{RawRwLock, ReaderCell, ReadersHeader};
use crate::raw::version::Version;
use crate::segment::access::Region;
use crate::segment::layout::{BODY_ALIGN, LEN_MAX, ROWS_MAX};

/// Ranges of an array that can be held or damaged at a time, unless said otherwise.
pub(crate) const RANGES_DEFAULT: u32 = 64;
/// The most: every claim looks at those that are in use.
const RANGES_MAX: u64 = 4096;

/// The geometry of a `RwLock`'s body: `shape = [size, rows, 0, 0]`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct RwLockPlan {
    /// Bytes of the value.
    pub size: u64,
    pub rows: u32,
}

impl RwLockPlan {
    pub(crate) const READERS: u64 = size_of::<Version>() as u64;
    pub(crate) const CELLS: u64 = 64;

    /// The plan that a header's shape stands for, if it is one.
    pub(crate) fn from_shape([size, rows, ..]: [u64; 4]) -> Option<Self> {
        let rows = u32::try_from(rows).ok().filter(|n| (1..=ROWS_MAX).contains(n))?;
        (size <= LEN_MAX).then_some(Self { size, rows })
    }

    pub(crate) fn shape(&self) -> [u64; 4] {
        [self.size, u64::from(self.rows), 0, 0]
    }

    /// Offset of the first buffer.
    pub(crate) fn buffers(&self) -> u64 {
        Self::CELLS + u64::from(self.rows) * size_of::<ReaderCell>() as u64
    }

    /// Bytes of the whole body.
    pub(crate) fn body_len(&self) -> u64 {
        self.buffers() + 2 * self.size.next_multiple_of(8)
    }

    /// The lock in its body.
    pub(crate) fn lock<'a>(&self, body: &'a Region) -> Result<RawRwLock<'a>> {
        Ok(RawRwLock {
            writer: body.place::<Version>(0)?.lock_field(),
            readers: body.place(Self::READERS)?,
            cells: body.places(Self::CELLS, u64::from(self.rows))?,
        })
    }
}

/// The geometry of an array's body: `shape = [len, size, ranges, 0]`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct ArrayPlan {
    pub len: u64,
    /// Bytes of an element.
    pub size: u64,
    /// Ranges that can be held or damaged at a time.
    pub ranges: u32,
    /// Offset of the header of the ranges.
    pub table: u64,
}

impl ArrayPlan {
    /// The plan of `len` elements of `size` bytes. None: there is no such array.
    pub(crate) fn new(len: u64, size: u64, ranges: u64) -> Option<Self> {
        if len == 0 || size == 0 || size > LEN_MAX || !(1..=RANGES_MAX).contains(&ranges) {
            return None;
        }
        let bytes = len.checked_mul(Self::stride_of(size)).filter(|bytes| *bytes <= LEN_MAX)?;
        Some(Self { len, size, ranges: ranges as u32, table: bytes.next_multiple_of(BODY_ALIGN) })
    }

    /// The plan that a header's shape stands for, if it is one.
    pub(crate) fn from_shape([len, size, ranges, _]: [u64; 4]) -> Option<Self> {
        Self::new(len, size, ranges)
    }

    pub(crate) fn shape(&self) -> [u64; 4] {
        [self.len, self.size, u64::from(self.ranges), 0]
    }

    /// Whether an element is one atomic.
    pub(crate) fn is_single(&self) -> bool {
        matches!(self.size, 1 | 2 | 4 | 8)
    }

    /// Bytes from one element to the next.
    pub(crate) fn stride(&self) -> u64 {
        Self::stride_of(self.size)
    }

    fn stride_of(size: u64) -> u64 {
        match size {
            1 | 2 | 4 | 8 => size,
            _ => size_of::<Version>() as u64 + 2 * size.next_multiple_of(8),
        }
    }

    /// Offset of the entries of the ranges.
    pub(crate) fn entries(&self) -> u64 {
        (self.table + size_of::<RangesHeader>() as u64).next_multiple_of(64)
    }

    /// Bytes of the whole body.
    pub(crate) fn body_len(&self) -> u64 {
        self.entries() + u64::from(self.ranges) * size_of::<RangeEntry>() as u64
    }

    /// The locks of its ranges.
    pub(crate) fn ranges<'a>(&self, body: &'a Region) -> Result<RawRanges<'a>> {
        Ok(RawRanges { header: body.place(self.table)?, entries: body.places(self.entries(), u64::from(self.ranges))? })
    }
}

const _: () = {
    use core::mem::{align_of, offset_of};
    assert!(RwLockPlan::READERS + size_of::<ReadersHeader>() as u64 <= RwLockPlan::CELLS);
    assert!(size_of::<ReadersHeader>() == 40 && size_of::<RangesHeader>() == 16);
    assert!(size_of::<ReaderCell>() == 64 && align_of::<ReaderCell>() == 64);
    assert!(size_of::<RangeEntry>() == 32 && offset_of!(RangeEntry, state) == 0);
    assert!(offset_of!(RangeEntry, start) == 8 && offset_of!(RangeEntry, end) == 16);
};

#[cfg(test)]
mod tests {
    use super::{ArrayPlan, RwLockPlan};

    #[test]
    fn a_shape_is_a_plan_or_refused() {
        let plan = ArrayPlan::new(10, 8, 64).unwrap();
        assert_eq!((plan.table, plan.entries(), plan.body_len()), (128, 192, 192 + 2048));
        assert_eq!(ArrayPlan::from_shape(plan.shape()), Some(plan));
        assert_eq!(ArrayPlan::new(3, 24, 64).unwrap().stride(), 64);
        for (len, size, ranges) in
            [(0, 8, 64), (8, 0, 64), (8, 8, 0), (u64::MAX, 8, 64), (8, u64::MAX, 64), (8, 8, 1 << 20)]
        {
            assert_eq!(ArrayPlan::new(len, size, ranges), None);
        }
        let plan = RwLockPlan { size: 12, rows: 64 };
        assert_eq!((plan.buffers(), plan.body_len()), (4160, 4192));
        assert_eq!(RwLockPlan::from_shape(plan.shape()), Some(plan));
        assert_eq!(RwLockPlan::from_shape([8, 0, 0, 0]), None);
        assert_eq!(RwLockPlan::from_shape([u64::MAX, 64, 0, 0]), None);
    }
}
