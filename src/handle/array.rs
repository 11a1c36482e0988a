//! Plain values of one type, side by side, their number fixed.

use crate::error::{Error, Result};
use crate::handle::integer::{Integer, bits64_of, from_bits, try_from_bits};
use crate::handle::object::{self, Object, Place, among_others};
use crate::handle::portable::portable;
use crate::handle::view::{ArrayView, Elements};
use crate::handle::whole::{Spot, whole_bytes};
use crate::order;
use crate::raw::range_entry::RangeEntry;
use crate::raw::ranges::{RangesHeader, RawRanges};
use crate::segment::access::Placed;
use crate::segment::body::{Blueprint, Body};
use crate::segment::header::bad_shape;
use crate::segment::layout::ObjectKind;
use crate::segment::locked::{ArrayPlan, RANGES_DEFAULT};
use crate::segment::plain::{self, PlainData};
use crate::segment::tag::{Encoding, TypeTag};
use crate::sync::{AtomicU8, AtomicU16, AtomicU32, AtomicU64};
use core::fmt;
use core::marker::PhantomData;
use core::ops::{Bound, Range, RangeBounds};
use zerocopy::{FromBytes, FromZeros};

/// A fixed number of plain values, side by side in shared memory.
///
/// Elements of 1, 2, 4 or 8 bytes are atomics of just that width: anybody may read and write any element
/// at any time, and nobody waits. Elements of another size have two buffers and a version each, as a
/// [`Value`](crate::Value) has: still never torn, at twice the memory and 16 bytes more.
///
/// Element by element nothing is torn; across elements nothing is promised. Where several must change
/// together, hold their range: [`write`](Array::write), [`read`](Array::read).
///
/// # Errors
///
/// `is_invalid` for an index or a range outside of the array; `is_corrupt` for bytes that are no value of the
/// type; `is_forked` for writing an element that is not 1, 2, 4 or 8 bytes in a forked child.
///
/// # When a process dies
///
/// Each element has its last value. A bulk copy that was under way may have come half its length; where it was made
/// in a range that was held, whoever holds that range next is told.
///
/// # Memory ordering
///
/// `get` and `set` of an element are acquire and release, `fetch_add` is both. Bulk copies and views are
/// relaxed: order them by a lock, a queue, or one `set` and `get` behind and before them.
///
/// # Examples
///
/// ```
/// let counts = mutirao::Array::<u32>::new(256)?;
/// for byte in *b"mutirao" {
///     counts.fetch_add(byte.into(), 1)?;
/// }
/// assert_eq!(counts.get(b'a'.into())?, 1);
/// assert_eq!(counts.view(..)?.iter().sum::<u32>(), 7);
/// assert!(counts.get(256).is_err());
/// # Ok::<(), mutirao::Error>(())
/// ```
#[doc(alias = "multiprocessing.Array")]
#[doc(alias = "RawArray")]
#[doc(alias = "ShareableList")]
#[doc(alias = "shared_memory")]
pub struct Array<T: PlainData> {
    // The size of `T` says which of them holds the elements; the others are empty.
    bytes: Placed<[AtomicU8]>,
    halves: Placed<[AtomicU16]>,
    words: Placed<[AtomicU32]>,
    doubles: Placed<[AtomicU64]>,
    len: usize,
    ranges: Placed<RangesHeader>,
    entries: Placed<[RangeEntry]>,
    body: Body,
    _type: PhantomData<fn() -> T>,
}

/// Whether an element of this type is one atomic.
pub(crate) const fn is_single<T>() -> bool {
    matches!(size_of::<T>(), 1 | 2 | 4 | 8)
}

/// Bytes from one element to the next.
const fn stride<T>() -> u64 {
    if is_single::<T>() { size_of::<T>() as u64 } else { whole_bytes(size_of::<T>()) }
}

impl<T: PlainData> Array<T> {
    /// A new array of `len` zeros, in a segment of its own.
    ///
    /// # Errors
    ///
    /// `is_invalid` for a length of zero or beyond the machine; `is_out_of_memory` with the bytes needed and available.
    pub fn new(len: usize) -> Result<Self>
    where
        T: FromZeros,
    {
        Self::made(Place::Alone, len)
    }

    /// A new array of the values in `values`.
    ///
    /// # Errors
    ///
    /// As [`new`](Array::new).
    pub fn from_slice(values: &[T]) -> Result<Self> {
        Self::filled_by(Place::Alone, values.len(), |made| made.copy_from(0, values))
    }

    /// A new array of `len` times `value`.
    ///
    /// # Errors
    ///
    /// As [`new`](Array::new).
    pub fn filled(len: usize, value: T) -> Result<Self> {
        Self::filled_by(Place::Alone, len, |made| made.fill(value))
    }

    /// All-zero bytes; only for those who fill it at once, where zero is no value of the type.
    fn filled_by(place: Place<'_>, len: usize, fill: impl FnOnce(&Self) -> Result<()>) -> Result<Self> {
        if len == 0 || size_of::<T>() == 0 {
            return Err(Error::invalid(
                "an Array of nothing",
                "its length and the size of its elements must be at least 1",
            ));
        }
        let Some(plan) = ArrayPlan::new(len as u64, size_of::<T>() as u64, RANGES_DEFAULT.into()) else {
            return Err(Error::invalid(format!("an Array of {len} elements"), "it is larger than the address space"));
        };
        let blueprint = Blueprint { body_len: plan.body_len(), shape: plan.shape(), ..Blueprint::default() };
        object::make(place, &blueprint, fill)
    }

    fn made(place: Place<'_>, len: usize) -> Result<Self>
    where
        T: FromZeros,
    {
        Self::filled_by(place, len, |_| Ok(()))
    }

    /// How many elements it has.
    #[allow(clippy::len_without_is_empty)] // never empty
    pub fn len(&self) -> usize {
        self.len
    }

    /// The element at `index`.
    ///
    /// # Errors
    ///
    /// See [`Array`].
    #[inline]
    pub fn get(&self, index: usize) -> Result<T> {
        let outside = || self.outside(index);
        let bits = match size_of::<T>() {
            1 => u64::from(self.bytes.get(index).ok_or_else(outside)?.load(order!(array_get, Acquire))),
            2 => u64::from(self.halves.get(index).ok_or_else(outside)?.load(order!(array_get, Acquire))),
            4 => u64::from(self.words.get(index).ok_or_else(outside)?.load(order!(array_get, Acquire))),
            8 => self.doubles.get(index).ok_or_else(outside)?.load(order!(array_get, Acquire)),
            _ => return self.spot(index)?.read_patiently(&self.body),
        };
        try_from_bits(bits)
    }

    /// Replaces the element at `index`.
    ///
    /// # Errors
    ///
    /// See [`Array`].
    #[inline]
    pub fn set(&self, index: usize, value: T) -> Result<()> {
        let outside = || self.outside(index);
        let bits = bits64_of(&value);
        match size_of::<T>() {
            1 => self.bytes.get(index).ok_or_else(outside)?.store(bits as u8, order!(array_set, Release)),
            2 => self.halves.get(index).ok_or_else(outside)?.store(bits as u16, order!(array_set, Release)),
            4 => self.words.get(index).ok_or_else(outside)?.store(bits as u32, order!(array_set, Release)),
            8 => self.doubles.get(index).ok_or_else(outside)?.store(bits, order!(array_set, Release)),
            _ => self.spot(index)?.write(&self.body, &value)?,
        }
        Ok(())
    }

    /// The elements of a range, to be read and written without a check of each index's place: the fast way
    /// through many of them.
    ///
    /// # Errors
    ///
    /// `is_invalid` for a range outside of the array, and for elements that are not 1, 2, 4 or 8 bytes.
    pub fn view(&self, range: impl RangeBounds<usize>) -> Result<ArrayView<'_, T>>
    where
        T: FromBytes,
    {
        if !is_single::<T>() {
            return Err(Error::invalid(
                "a view",
                format!("elements of {} bytes are no single atomics; use `get`, `set` and `copy_to`", size_of::<T>()),
            ));
        }
        Ok(ArrayView::of(self.elements(&self.bounds(range)?)))
    }

    /// The locks of its ranges.
    pub(crate) fn ranges(&self) -> RawRanges<'_> {
        RawRanges { header: &self.ranges, entries: &self.entries }
    }

    pub(crate) fn body(&self) -> &Body {
        &self.body
    }

    /// The range that is meant, if it is within the array.
    pub(crate) fn bounds(&self, range: impl RangeBounds<usize>) -> Result<Range<usize>> {
        let start = match range.start_bound() {
            Bound::Included(start) => *start,
            Bound::Excluded(before) => before.saturating_add(1),
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Included(last) => last.saturating_add(1),
            Bound::Excluded(end) => *end,
            Bound::Unbounded => self.len,
        };
        self.range(start..end)
    }

    /// The range, if it is within the array.
    pub(crate) fn range(&self, range: Range<usize>) -> Result<Range<usize>> {
        if range.start > range.end || range.end > self.len {
            return Err(Error::invalid(
                format!("elements {} to {}", range.start, range.end),
                format!("the Array has {}", self.len),
            ));
        }
        Ok(range)
    }

    /// The elements of a range that was checked.
    pub(crate) fn elements(&self, range: &Range<usize>) -> Elements<'_> {
        Elements {
            bytes: self.bytes.get(range.clone()).unwrap_or_default(),
            halves: self.halves.get(range.clone()).unwrap_or_default(),
            words: self.words.get(range.clone()).unwrap_or_default(),
            doubles: self.doubles.get(range.clone()).unwrap_or_default(),
        }
    }

    /// The element at `index`, where it has two buffers and a version.
    fn spot(&self, index: usize) -> Result<Spot<'_>> {
        if index >= self.len {
            return Err(self.outside(index));
        }
        let words = plain::words_for(size_of::<T>()) as u64;
        let start = index as u64 * stride::<T>();
        let first = start + whole_bytes(0);
        let buffers = [self.body.places(first, words)?, self.body.places(first + 8 * words, words)?];
        Ok(Spot { version: self.body.place(start)?, buffers })
    }

    #[cold]
    fn outside(&self, index: usize) -> Error {
        Error::invalid(format!("element {index}"), format!("the Array has {}", self.len))
    }
}

impl<T: Integer> Array<T> {
    /// Adds `n` to the element at `index`; returns what it was before. Wraps around.
    ///
    /// # Errors
    ///
    /// `is_invalid` for an index outside of the array.
    #[inline]
    pub fn fetch_add(&self, index: usize, n: T) -> Result<T> {
        let outside = || self.outside(index);
        let n = bits64_of(&n);
        let old = match size_of::<T>() {
            1 => u64::from(self.bytes.get(index).ok_or_else(outside)?.fetch_add(n as u8, order!(array_add, AcqRel))),
            2 => u64::from(self.halves.get(index).ok_or_else(outside)?.fetch_add(n as u16, order!(array_add, AcqRel))),
            4 => u64::from(self.words.get(index).ok_or_else(outside)?.fetch_add(n as u32, order!(array_add, AcqRel))),
            _ => self.doubles.get(index).ok_or_else(outside)?.fetch_add(n, order!(array_add, AcqRel)),
        };
        Ok(from_bits(old))
    }

    /// Subtracts `n` from the element at `index`; returns what it was before. Wraps around.
    ///
    /// # Errors
    ///
    /// `is_invalid` for an index outside of the array.
    #[inline]
    pub fn fetch_sub(&self, index: usize, n: T) -> Result<T> {
        self.fetch_add(index, from_bits::<T>(0).wrapping_minus(n))
    }
}

impl<T: PlainData> Object for Array<T> {
    const KIND: ObjectKind = ObjectKind::Array;

    fn tag() -> TypeTag {
        TypeTag::of::<T>(Encoding::Plain)
    }

    fn over(body: Body) -> Result<Self> {
        let shape = body.shape();
        let fits = |plan: &ArrayPlan| plan.size == size_of::<T>() as u64 && plan.body_len() <= body.len();
        let plan = ArrayPlan::from_shape(shape).filter(fits).ok_or_else(|| bad_shape(ObjectKind::Array, shape))?;
        let count = plan.len;
        let of = |width: usize| if size_of::<T>() == width { count } else { 0 };
        let doubles = if is_single::<T>() { of(8) } else { count * (stride::<T>() / 8) };
        Ok(Self {
            bytes: body.placed_slice(0, of(1))?,
            halves: body.placed_slice(0, of(2))?,
            words: body.placed_slice(0, of(4))?,
            doubles: body.placed_slice(0, doubles)?,
            len: usize::try_from(count).map_err(|_| bad_shape(ObjectKind::Array, shape))?,
            ranges: body.placed(plan.table)?,
            entries: body.placed_slice(plan.entries(), plan.ranges.into())?,
            body,
            _type: PhantomData,
        })
    }
}

portable!(Array<T>, T: PlainData);
among_others!(Array<T>, T: PlainData [FromZeros]; len: usize);

impl<T: PlainData> Clone for Array<T> {
    fn clone(&self) -> Self {
        Self {
            bytes: self.bytes.clone(),
            halves: self.halves.clone(),
            words: self.words.clone(),
            doubles: self.doubles.clone(),
            len: self.len,
            ranges: self.ranges.clone(),
            entries: self.entries.clone(),
            body: self.body.clone(),
            _type: PhantomData,
        }
    }
}

impl<T: PlainData> fmt::Debug for Array<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Array").field("type", &core::any::type_name::<T>()).field("len", &self.len).finish()
    }
}
