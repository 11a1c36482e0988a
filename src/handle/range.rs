//! Ranges of an `Array`, held for reading or for writing.

use crate::deadline::Deadline;
use crate::error::{Error, Kind, Result};
use crate::handle::array::Array;
use crate::handle::lock::{LockError, refusal};
use crate::handle::view::ArrayView;
use crate::raw::range_entry::Access;
use crate::raw::ranges::{Claim, NotHeld};
use crate::segment::body::Body;
use crate::segment::plain::PlainData;
use crate::sync::Patience;
use crate::sys::clock;
use core::fmt;
use core::marker::PhantomData;
use core::ops::{Range, RangeBounds};
use core::time::Duration;
use zerocopy::FromBytes;

/// Holds a range of an [`Array`] for reading, beside other readers: see [`Array::read`]. Stays with its thread.
#[must_use = "the range is given back when the guard is dropped"]
pub struct ArrayReadGuard<'a, T: PlainData> {
    held: Held<'a, T>,
}

/// Holds a range of an [`Array`] for writing, alone: see [`Array::write`]. Stays with its thread.
#[must_use = "the range is given back when the guard is dropped"]
pub struct ArrayWriteGuard<'a, T: PlainData> {
    held: Held<'a, T>,
}

/// What both guards are.
struct Held<'a, T: PlainData> {
    array: &'a Array<T>,
    range: Range<usize>,
    /// Given back by `drop`.
    claim: Option<Claim>,
    _stays: PhantomData<*const ()>,
}

/// A guard, or why there is none, or a guard of what a dead one left.
type Taken<G> = Result<G, LockError<G>>;

/// Parts of an array, held: several elements change together, or stay as they are for a while.
///
/// A range that is held keeps out those who ask for an overlapping one; whoever goes by `get`, `set` or a
/// [`view`](Array::view) asks nobody. Nobody stands in line: a writer may be overtaken for as long as readers come.
/// A thread that asks for a range that overlaps one it holds waits for itself, unless both are for reading.
///
/// # Errors
///
/// [`LockError::Failed`] with `is_invalid` for a range outside of the array; `is_would_block`, `is_timeout`, `is_forked`;
/// `is_exhausted` when more ranges are held than the array has room for (64 at a time); `is_corrupt`. And
/// [`LockError::OwnerDied`] with the guard, as below.
///
/// # When a process dies
///
/// What it held for reading is free. What it held for writing may be half changed: whoever gets a range of which a part
/// is so gets `Err(OwnerDied(guard))`, again and again, until a writer has repaired it and said
/// [`mark_consistent`](ArrayWriteGuard::mark_consistent).
///
/// # Memory ordering
///
/// Who gets a range sees everything that those did who held it, or a part of it, before.
impl<T: PlainData> Array<T> {
    /// Holds a range for reading, waiting as long as others write to a part of it.
    ///
    /// # Errors
    ///
    /// `OwnerDied` with the guard when a writer of a part of it died; see above.
    ///
    /// # Examples
    ///
    /// ```
    /// let samples = mutirao::Array::from_slice(&[1.0, 2.0, 3.0, 4.0])?;
    /// let half = samples.read(..2)?;
    /// assert_eq!(half.view()?.iter().sum::<f64>(), 3.0);
    /// assert!(samples.try_read(..).is_ok());          // beside the first
    /// assert!(samples.try_write(1..3).is_err());
    /// assert!(samples.try_write(2..4).is_ok());       // another part
    /// # Ok::<(), mutirao::Error>(())
    /// ```
    #[doc(alias = "get_lock")]
    pub fn read(&self, range: impl RangeBounds<usize>) -> Taken<ArrayReadGuard<'_, T>> {
        self.hold(Access::Read, range, Some(Deadline::NEVER), |held| ArrayReadGuard { held })
    }

    /// As [`read`](Array::read), if that needs no waiting.
    ///
    /// # Errors
    ///
    /// `Failed` with `is_would_block` when a living one writes to a part of it; else as [`read`](Array::read).
    pub fn try_read(&self, range: impl RangeBounds<usize>) -> Taken<ArrayReadGuard<'_, T>> {
        self.hold(Access::Read, range, None, |held| ArrayReadGuard { held })
    }

    /// As [`read`](Array::read), waiting no longer than `timeout`.
    ///
    /// # Errors
    ///
    /// `Failed` with `is_timeout`; else as [`read`](Array::read).
    pub fn read_timeout(&self, range: impl RangeBounds<usize>, timeout: Duration) -> Taken<ArrayReadGuard<'_, T>> {
        let deadline = Deadline::after(clock::now_ns(), timeout);
        self.hold(Access::Read, range, Some(deadline), |held| ArrayReadGuard { held })
    }

    /// Holds a range for writing, waiting as long as others hold a part of it.
    ///
    /// # Errors
    ///
    /// `OwnerDied` with the guard when a writer of a part of it died; see above.
    ///
    /// # Examples
    ///
    /// ```
    /// let cells = mutirao::Array::<u32>::new(100)?;
    /// {
    ///     let mut row = cells.write(10..20)?;
    ///     row.fill(7)?;
    ///     row.set(0, 1)?;                              // the element 10 of the array
    /// }                                                // given back here
    /// assert_eq!(cells.read(9..12)?.view()?.iter().collect::<Vec<_>>(), [0, 1, 7]);
    /// # Ok::<(), mutirao::Error>(())
    /// ```
    ///
    /// Repairing after a death:
    ///
    /// ```
    /// # use mutirao::{Array, LockError};
    /// fn clear(cells: &Array<u32>) -> mutirao::Result<()> {
    ///     let mut range = match cells.write(10..20) {
    ///         Ok(guard) => guard,
    ///         Err(LockError::OwnerDied(guard)) => guard,
    ///         Err(LockError::Failed(error)) => return Err(error),
    ///     };
    ///     range.fill(0)?;
    ///     range.mark_consistent()
    /// }
    /// # clear(&Array::new(20)?)?;
    /// # Ok::<(), mutirao::Error>(())
    /// ```
    #[doc(alias = "get_lock")]
    pub fn write(&self, range: impl RangeBounds<usize>) -> Taken<ArrayWriteGuard<'_, T>> {
        self.hold(Access::Write, range, Some(Deadline::NEVER), |held| ArrayWriteGuard { held })
    }

    /// As [`write`](Array::write), if that needs no waiting.
    ///
    /// # Errors
    ///
    /// `Failed` with `is_would_block` when a living one holds a part of it; else as [`write`](Array::write).
    pub fn try_write(&self, range: impl RangeBounds<usize>) -> Taken<ArrayWriteGuard<'_, T>> {
        self.hold(Access::Write, range, None, |held| ArrayWriteGuard { held })
    }

    /// As [`write`](Array::write), waiting no longer than `timeout`.
    ///
    /// # Errors
    ///
    /// `Failed` with `is_timeout`; else as [`write`](Array::write).
    pub fn write_timeout(&self, range: impl RangeBounds<usize>, timeout: Duration) -> Taken<ArrayWriteGuard<'_, T>> {
        let deadline = Deadline::after(clock::now_ns(), timeout);
        self.hold(Access::Write, range, Some(deadline), |held| ArrayWriteGuard { held })
    }

    /// Claims a range; `wait`: until when, if at all.
    fn hold<'a, G>(
        &'a self,
        access: Access,
        range: impl RangeBounds<usize>,
        wait: Option<Deadline>,
        guard: impl FnOnce(Held<'a, T>) -> G,
    ) -> Taken<G> {
        let range = self.bounds(range)?;
        let life = self.body().life()?;
        let wanted = range.start as u64..range.end as u64;
        let taken = match wait {
            None => self.ranges().try_claim(life, access, &wanted),
            Some(deadline) => self.ranges().claim(life, access, &wanted, &mut Patience::new(deadline)),
        };
        let claim = taken.map_err(|why| not_held(life, why))?;
        let damaged = claim.damaged;
        let guard = guard(Held { array: self, range, claim: Some(claim), _stays: PhantomData });
        if damaged { Err(LockError::OwnerDied(guard)) } else { Ok(guard) }
    }
}

#[cold]
fn not_held(life: &Body, why: NotHeld) -> Error {
    life.why(match why {
        NotHeld::Refused(refused) => refusal(refused, "the range"),
        NotHeld::Full => Kind::TableFull { what: "the array's table of ranges" }.into(),
    })
}

impl<T: PlainData> Held<'_, T> {
    /// The place in the array of an index of the range, behind which `len` elements are wanted.
    fn place(&self, index: usize, len: usize) -> Result<usize> {
        let fits = index.checked_add(len).is_some_and(|end| end <= self.range.len());
        if fits { Ok(self.range.start + index) } else { Err(self.outside(index, len)) }
    }

    #[cold]
    fn outside(&self, index: usize, len: usize) -> Error {
        let what = if len == 1 { format!("element {index}") } else { format!("{len} elements from {index} on") };
        Error::invalid(what, format!("the range has {}", self.range.len()))
    }

    fn owner_died(&self) -> bool {
        self.claim.as_ref().is_some_and(|claim| claim.damaged)
    }
}

impl<T: PlainData> Drop for Held<'_, T> {
    fn drop(&mut self) {
        let life = self.array.body().attachment();
        // In a forked child the guard is the parent's: it touches nothing.
        if let Some(claim) = self.claim.take().filter(|_| life.is_ours()) {
            self.array.ranges().release(life, claim);
        }
    }
}

macro_rules! reads {
    ($guard:ident) => {
        impl<T: PlainData> $guard<'_, T> {
            /// Which elements of the array are held.
            pub fn range(&self) -> Range<usize> {
                self.held.range.clone()
            }

            /// How many elements are held.
            pub fn len(&self) -> usize {
                self.held.range.len()
            }

            /// Whether none is held.
            pub fn is_empty(&self) -> bool {
                self.held.range.is_empty()
            }

            /// The element at `index` of the range.
            ///
            /// # Errors
            ///
            /// `is_invalid` for an index outside of it; else as [`Array::get`].
            pub fn get(&self, index: usize) -> Result<T> {
                self.held.array.get(self.held.place(index, 1)?)
            }

            /// Copies as many elements out as `into` is long, from `start` of the range on.
            ///
            /// # Errors
            ///
            /// `is_invalid`, before anything is copied, when that is more than there are; else as [`Array::copy_to`].
            pub fn copy_to(&self, start: usize, into: &mut [T]) -> Result<()> {
                self.held.array.copy_to(self.held.place(start, into.len())?, into)
            }

            /// The elements held, as a [view](Array::view): the fast way through many of them.
            ///
            /// # Errors
            ///
            /// `is_invalid` for elements that are not 1, 2, 4 or 8 bytes.
            pub fn view(&self) -> Result<ArrayView<'_, T>>
            where
                T: FromBytes,
            {
                self.held.array.view(self.range())
            }

            /// Whether a writer of a part of the range died, and nobody has called `mark_consistent` since.
            pub fn owner_died(&self) -> bool {
                self.held.owner_died()
            }
        }

        impl<T: PlainData> fmt::Debug for $guard<'_, T> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($guard))
                    .field("range", &self.held.range)
                    .field("owner_died", &self.owner_died())
                    .finish()
            }
        }
    };
}
reads!(ArrayReadGuard);
reads!(ArrayWriteGuard);

impl<T: PlainData> ArrayWriteGuard<'_, T> {
    /// Replaces the element at `index` of the range.
    ///
    /// # Errors
    ///
    /// `is_invalid` for an index outside of it; else as [`Array::set`].
    pub fn set(&mut self, index: usize, value: T) -> Result<()> {
        self.held.array.set(self.held.place(index, 1)?, value)
    }

    /// Sets every element of the range to `value`.
    ///
    /// # Errors
    ///
    /// As [`Array::set`].
    pub fn fill(&mut self, value: T) -> Result<()> {
        self.range().try_for_each(|index| self.held.array.set(index, value))
    }

    /// Copies all of `from` in, from `start` of the range on.
    ///
    /// # Errors
    ///
    /// `is_invalid`, before anything is copied, when that is more than there are; else as [`Array::copy_from`].
    pub fn copy_from(&mut self, start: usize, from: &[T]) -> Result<()> {
        self.held.array.copy_from(self.held.place(start, from.len())?, from)
    }

    /// Says that the range is whole again: whoever gets it, or a part of it, later is not told of earlier deaths.
    ///
    /// # Errors
    ///
    /// `is_exhausted` when this is the middle of a larger damaged range, which would leave two, and the array has no
    /// room for another one: hold the whole of it; `is_forked`, `is_corrupt`.
    pub fn mark_consistent(&mut self) -> Result<()> {
        let life = self.held.array.body().life()?;
        let Some(claim) = self.held.claim.as_mut() else { return Ok(()) };
        let marked = self.held.array.ranges().mark_consistent(life, claim, &mut Patience::new(Deadline::NEVER));
        marked.map_err(|why| not_held(life, why))
    }
}
