//! What of an object can be read by who takes no part in its segment.
//!
//! Loads and fences only: the memory is mapped for reading. A read that would have to stand in line with writers gives up
//! instead.

use crate::error::{Error, Result};
use crate::handle::array::Array;
use crate::handle::codec::Item;
use crate::handle::integer::try_from_bits;
use crate::handle::mutex::Mutex;
use crate::handle::object::Object;
use crate::handle::queue::Queue;
use crate::handle::rw_lock::RwLock;
use crate::handle::semaphore::Semaphore;
use crate::handle::value::Value;
use crate::handle::whole::{Spot, whole_bytes};
use crate::raw::permits::{Permits, PermitsHeader};
use crate::raw::ring::{Ring, RingHeader};
use crate::raw::ring_word::Geometry;
use crate::segment::cells::{CellWords, QueuePlan};
use crate::segment::header::bad_shape;
use crate::segment::layout::ObjectKind;
use crate::segment::locked::RwLockPlan;
use crate::segment::name::Name;
use crate::segment::observer::{Observer, Sight};
use crate::segment::plain::{PlainData, words_for};
use crate::segment::recover::semaphore_cells;
use crate::sync::{AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering::Relaxed};
use core::fmt;
use core::marker::PhantomData;

/// An object that is only looked at: it has the methods of `H` that change nothing. From [`Observer`].
///
/// # Errors
///
/// Of every method: `is_removed` when the object was removed, also in the middle of the look; `is_corrupt` for bytes that
/// make no sense; `is_contended` for a value that was written all the time.
pub struct ReadOnly<H> {
    pub(crate) sight: Sight,
    _type: PhantomData<fn() -> H>,
}

impl Observer {
    pub(crate) fn look_at<H: Object>(&self, name: Name<'_>) -> Result<ReadOnly<H>> {
        let sight = self.sight(name, H::KIND, &H::tag())?;
        Ok(ReadOnly { sight, _type: PhantomData })
    }

    /// The [`Value`] of this name.
    ///
    /// # Errors
    ///
    /// `is_not_found`, with the nearest name there is; `is_wrong_type`, with both types. So for all that follow.
    pub fn value<'a, T: PlainData>(&self, name: impl Into<Name<'a>>) -> Result<ReadOnly<Value<T>>> {
        self.look_at(name.into())
    }

    /// The [`Mutex`] of this name, whose last commit can be read.
    ///
    /// # Errors
    ///
    /// As [`value`](Self::value).
    pub fn mutex<'a, T: PlainData>(&self, name: impl Into<Name<'a>>) -> Result<ReadOnly<Mutex<T>>> {
        self.look_at(name.into())
    }

    /// The [`RwLock`] of this name, whose last commit can be read.
    ///
    /// # Errors
    ///
    /// As [`value`](Self::value).
    pub fn rw_lock<'a, T: PlainData>(&self, name: impl Into<Name<'a>>) -> Result<ReadOnly<RwLock<T>>> {
        self.look_at(name.into())
    }

    /// The [`Array`] of this name.
    ///
    /// # Errors
    ///
    /// As [`value`](Self::value).
    pub fn array<'a, T: PlainData>(&self, name: impl Into<Name<'a>>) -> Result<ReadOnly<Array<T>>> {
        self.look_at(name.into())
    }

    /// The [`Queue`] of this name: how full it is, not what is in it.
    ///
    /// # Errors
    ///
    /// As [`value`](Self::value).
    pub fn queue<'a, T: Item>(&self, name: impl Into<Name<'a>>) -> Result<ReadOnly<Queue<T>>> {
        self.look_at(name.into())
    }

    /// The [`Semaphore`] of this name.
    ///
    /// # Errors
    ///
    /// As [`value`](Self::value).
    pub fn semaphore<'a>(&self, name: impl Into<Name<'a>>) -> Result<ReadOnly<Semaphore>> {
        self.look_at(name.into())
    }
}

impl<H> ReadOnly<H> {
    /// The segment that it was found in.
    pub fn observer(&self) -> &Observer {
        &self.sight.observer
    }

    /// The value of several words at `offset`, as of one commit.
    fn whole<T: PlainData>(&self, offset: u64) -> Result<T> {
        self.whole_apart(offset, offset.saturating_add(whole_bytes(0)))
    }

    /// As [`whole`](Self::whole), with the buffers from `first` on.
    fn whole_apart<T: PlainData>(&self, offset: u64, first: u64) -> Result<T> {
        let (body, words) = (&self.sight.body, words_for(size_of::<T>()) as u64);
        let second = first.saturating_add(8 * words);
        let buffers = [body.places::<AtomicU64>(first, words)?, body.places::<AtomicU64>(second, words)?];
        Spot { version: body.place(offset)?, buffers }.read()
    }
}

impl<T: PlainData> ReadOnly<Value<T>> {
    /// The value now.
    ///
    /// # Errors
    ///
    /// See [`ReadOnly`].
    pub fn load(&self) -> Result<T> {
        let body = &self.sight.body;
        let read = match size_of::<T>() {
            0..=4 => body.place::<AtomicU32>(0).and_then(|word| try_from_bits(u64::from(word.load(Relaxed)))),
            5..=8 => body.place::<AtomicU64>(0).and_then(|word| try_from_bits(word.load(Relaxed))),
            _ => self.whole(0),
        };
        // What the writer did before is seen by whoever saw the value: the fence in here.
        self.sight.checked(read)
    }
}

impl<T: PlainData> ReadOnly<Mutex<T>> {
    /// What the last holder that let go, or that committed and died, left.
    ///
    /// # Errors
    ///
    /// See [`ReadOnly`].
    pub fn load(&self) -> Result<T> {
        self.sight.checked(self.whole(0))
    }
}

impl<T: PlainData> ReadOnly<RwLock<T>> {
    /// What the last writer that let go, or that committed and died, left. Keeps no writer out: the next moment it may be
    /// another.
    ///
    /// # Errors
    ///
    /// See [`ReadOnly`].
    pub fn load(&self) -> Result<T> {
        let plan = RwLockPlan::from_shape(self.sight.shape).filter(|plan| plan.size == size_of::<T>() as u64);
        let plan = plan.ok_or_else(|| bad_shape(ObjectKind::RwLock, self.sight.shape));
        self.sight.checked(plan.and_then(|plan| self.whole_apart(0, plan.buffers())))
    }
}

impl<T: PlainData> ReadOnly<Array<T>> {
    /// How many elements it has.
    ///
    /// # Errors
    ///
    /// See [`ReadOnly`].
    pub fn len(&self) -> Result<usize> {
        let shape @ [count, size, ..] = self.sight.shape;
        let bytes = count.checked_mul(self.stride()).filter(|bytes| *bytes <= self.sight.body.len());
        if bytes.is_none() || size != size_of::<T>() as u64 {
            return Err(bad_shape(ObjectKind::Array, shape));
        }
        self.sight.checked(usize::try_from(count).map_err(|_| bad_shape(ObjectKind::Array, shape)))
    }

    /// Never: an array has at least one element.
    ///
    /// # Errors
    ///
    /// See [`ReadOnly`].
    pub fn is_empty(&self) -> Result<bool> {
        self.len().map(|len| len == 0)
    }

    /// The element at `index`.
    ///
    /// # Errors
    ///
    /// `is_invalid` for an index outside of the array; else see [`ReadOnly`].
    pub fn get(&self, index: usize) -> Result<T> {
        let mut one = [None];
        self.each(index, &mut one)?;
        one[0].ok_or_else(|| Error::corrupt("the array", "an element is no value"))
    }

    /// Copies as many elements out as `into` is long, from `start` on.
    ///
    /// # Errors
    ///
    /// `is_invalid`, before anything is copied, when that is more than there are; else see [`ReadOnly`].
    pub fn copy_to(&self, start: usize, into: &mut [T]) -> Result<()> {
        self.each(start, into)
    }

    fn each<S: From<T>>(&self, start: usize, into: &mut [S]) -> Result<()> {
        let len = self.len()?;
        let end = start.checked_add(into.len()).filter(|end| *end <= len);
        let Some(end) = end else {
            let what = format!("{} elements from {start} on", into.len());
            return Err(Error::invalid(what, format!("the Array has {len}")));
        };
        let read = (start..end).zip(into).try_for_each(|(index, to)| {
            *to = self.element(index as u64 * self.stride())?.into();
            Ok(())
        });
        self.sight.checked(read)
    }

    fn element(&self, at: u64) -> Result<T> {
        let body = &self.sight.body;
        try_from_bits(match size_of::<T>() {
            1 => u64::from(body.place::<AtomicU8>(at)?.load(Relaxed)),
            2 => u64::from(body.place::<AtomicU16>(at)?.load(Relaxed)),
            4 => u64::from(body.place::<AtomicU32>(at)?.load(Relaxed)),
            8 => body.place::<AtomicU64>(at)?.load(Relaxed),
            _ => return self.whole(at),
        })
    }

    /// Bytes from one element to the next.
    fn stride(&self) -> u64 {
        if matches!(size_of::<T>(), 1 | 2 | 4 | 8) { size_of::<T>() as u64 } else { whole_bytes(size_of::<T>()) }
    }
}

impl<T: Item> ReadOnly<Queue<T>> {
    fn ring<R>(&self, ask: impl FnOnce(&Ring<'_, CellWords<'_>>) -> R) -> Result<R> {
        let body = &self.sight.body;
        let bad = || bad_shape(ObjectKind::Queue, self.sight.shape);
        let look = || {
            let plan = QueuePlan::from_shape(self.sight.shape).ok_or_else(bad)?;
            let words = body.places::<AtomicU64>(plan.cells(), plan.cell_words())?;
            let cells = CellWords::new(words, plan.stride_words());
            let geometry = Geometry::new(plan.capacity).ok_or_else(bad)?;
            Ok(ask(&Ring::new(body.place::<RingHeader>(0)?, cells, geometry)))
        };
        self.sight.checked(look())
    }

    /// How many items are in it now.
    ///
    /// # Errors
    ///
    /// See [`ReadOnly`].
    pub fn len(&self) -> Result<usize> {
        self.ring(|ring| ring.len() as usize)
    }

    /// Whether there is none now.
    ///
    /// # Errors
    ///
    /// See [`ReadOnly`].
    pub fn is_empty(&self) -> Result<bool> {
        self.len().map(|len| len == 0)
    }

    /// How many items fit.
    ///
    /// # Errors
    ///
    /// See [`ReadOnly`].
    pub fn capacity(&self) -> Result<usize> {
        self.ring(|ring| ring.capacity() as usize)
    }

    /// Whether it was closed.
    ///
    /// # Errors
    ///
    /// See [`ReadOnly`].
    pub fn is_closed(&self) -> Result<bool> {
        self.ring(|ring| ring.is_closed())
    }
}

impl ReadOnly<Semaphore> {
    /// How many permits are free now.
    ///
    /// # Errors
    ///
    /// See [`ReadOnly`].
    pub fn available(&self) -> Result<usize> {
        let body = &self.sight.body;
        let look = || {
            let cells = body.places::<AtomicU32>(semaphore_cells(), self.sight.shape[0])?;
            Ok(Permits { header: body.place::<PermitsHeader>(0)?, cells }.available())
        };
        self.sight.checked(look())
    }
}

impl<H> Clone for ReadOnly<H> {
    fn clone(&self) -> Self {
        Self { sight: self.sight.clone(), _type: PhantomData }
    }
}

impl<H> fmt::Debug for ReadOnly<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadOnly").field("shape", &self.sight.shape).finish_non_exhaustive()
    }
}
