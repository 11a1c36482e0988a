//! One plain value: a single atomic word, or two buffers and a version.

use crate::deadline::Deadline;
use crate::error::{Error, Kind, Result};
use crate::handle::integer::{Integer, bits32_of, bits64_of, from_bits, try_from_bits};
use crate::handle::object::{self, Object, Place, among_others};
use crate::handle::portable::portable;
use crate::handle::whole::{MutexGuard, Whole, whole_blueprint};
use crate::order;
use crate::segment::access::Placed;
use crate::segment::body::Body;
use crate::segment::layout::ObjectKind;
use crate::segment::plain::PlainData;
use crate::segment::tag::{Encoding, TypeTag};
use crate::sync::{AtomicU32, AtomicU64};
use crate::sys::clock;
use core::fmt;
use core::marker::PhantomData;
use core::time::Duration;
use zerocopy::FromBytes;

/// Rounds in which an `update` may lose to others before it gives up.
const ROUNDS: u32 = 1 << 20;

/// One plain value that every process may read and write at any time.
///
/// Up to 8 bytes it is one atomic word: every operation is a single instruction or a loop around one, nobody
/// ever waits. Larger ones have two buffers: readers copy without a lock and see the old value or the new
/// one, never a mix; writers take turns.
///
/// [`load`](Value::load) is for types that any bytes are a value of (numbers, arrays and structs of them).
/// Types with forbidden bytes (`bool`, `char`, enums) have [`try_load`](Value::try_load), because a
/// neighbour may have written anything.
///
/// # Errors
///
/// Operations on a word do not fail, also in a forked child: the memory is still shared. What needs a lock
/// (`store`, `update` and `lock` of a value larger than 8 bytes) returns `is_forked` there, and `is_corrupt` when
/// the lock word makes no sense.
///
/// # When a process dies
///
/// A writer that died before its commit changed nothing; one that died after it changed all. Readers and
/// other writers go on.
///
/// # Memory ordering
///
/// A load that sees a store sees everything done before that store (acquire and release). The
/// read-modify-write operations are both.
///
/// # Examples
///
/// ```
/// let done = mutirao::Value::new(0_u64)?;
/// let same = done.clone();
/// std::thread::spawn(move || same.fetch_add(2)).join().unwrap();
/// assert_eq!(done.load(), 2);
/// # Ok::<(), mutirao::Error>(())
/// ```
///
/// A value of several words:
///
/// ```
/// let position = mutirao::Value::new([0.0_f64; 3])?;
/// position.update(|[x, y, z]| [x + 1.0, y, z])?;
/// position.lock()?[2] = 5.0;                  // committed when the guard drops
/// assert_eq!(position.load(), [1.0, 0.0, 5.0]);
/// # Ok::<(), mutirao::Error>(())
/// ```
#[doc(alias = "multiprocessing.Value")]
#[doc(alias = "RawValue")]
#[doc(alias = "sharedctypes")]
pub struct Value<T: PlainData> {
    // The size of `T` says which of the three is used; the others are never touched.
    word32: Placed<AtomicU32>,
    word64: Placed<AtomicU64>,
    whole: Whole,
    body: Body,
    _type: PhantomData<fn() -> T>,
}

/// How a value of this many bytes stands in the segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Form {
    Word32,
    Word64,
    Whole,
}

const fn form<T>() -> Form {
    match size_of::<T>() {
        0..=4 => Form::Word32,
        5..=8 => Form::Word64,
        _ => Form::Whole,
    }
}

impl<T: PlainData> Value<T> {
    /// A new value in a segment of its own.
    ///
    /// # Errors
    ///
    /// `is_out_of_memory` or an error of the system when no segment can be made.
    pub fn new(value: T) -> Result<Self> {
        Self::made(Place::Alone, value)
    }

    fn made(place: Place<'_>, value: T) -> Result<Self> {
        object::make(place, &whole_blueprint(size_of::<T>()), |made: &Self| match form::<T>() {
            Form::Whole => {
                made.whole.spot().fill(&value);
                Ok(())
            }
            _ => made.store(value),
        })
    }

    /// The value now, or an error that says why there is none.
    ///
    /// # Errors
    ///
    /// `is_corrupt` when the bytes are no value of the type; `is_forked` in a forked child that met many writers in a row.
    pub fn try_load(&self) -> Result<T> {
        match form::<T>() {
            Form::Word32 => try_from_bits(u64::from(self.word32.load(order!(value_load, Acquire)))),
            Form::Word64 => try_from_bits(self.word64.load(order!(value_load, Acquire))),
            Form::Whole => self.whole.spot().read_patiently(&self.body),
        }
    }

    /// Replaces the value.
    ///
    /// # Errors
    ///
    /// Only for a value larger than 8 bytes: see [`Value`].
    #[inline]
    pub fn store(&self, value: T) -> Result<()> {
        match form::<T>() {
            Form::Word32 => self.word32.store(bits32_of(&value), order!(value_store, Release)),
            Form::Word64 => self.word64.store(bits64_of(&value), order!(value_store, Release)),
            Form::Whole => self.whole.spot().write(&self.body, &value)?,
        }
        Ok(())
    }

    /// Replaces the value by what `change` makes of it, and returns the old one. No other change comes
    /// between. Up to 8 bytes, `change` may be called several times; for larger values, once and under the lock:
    /// if it panics nothing has changed.
    ///
    /// # Errors
    ///
    /// `is_corrupt` when the bytes are no value of the type; `is_contended` when others were faster a million times
    /// in a row; and see [`Value`].
    pub fn update(&self, mut change: impl FnMut(T) -> T) -> Result<T> {
        match form::<T>() {
            Form::Word32 => {
                let mut seen = self.word32.load(order!(value_load, Acquire));
                for _ in 0..ROUNDS {
                    let old = try_from_bits(u64::from(seen))?;
                    match self.word32.compare_exchange(
                        seen,
                        bits32_of(&change(old)),
                        order!(value_change, AcqRel),
                        order!(value_load, Acquire),
                    ) {
                        Ok(_) => return Ok(old),
                        Err(now) => seen = now,
                    }
                }
            }
            Form::Word64 => {
                let mut seen = self.word64.load(order!(value_load, Acquire));
                for _ in 0..ROUNDS {
                    let old = try_from_bits(seen)?;
                    match self.word64.compare_exchange(
                        seen,
                        bits64_of(&change(old)),
                        order!(value_change, AcqRel),
                        order!(value_load, Acquire),
                    ) {
                        Ok(_) => return Ok(old),
                        Err(now) => seen = now,
                    }
                }
            }
            Form::Whole => {
                let mut guard = self.lock()?;
                let old = *guard;
                *guard = change(old);
                return Ok(old);
            }
        }
        Err(Kind::Contended { what: "the value", rounds: ROUNDS }.into())
    }

    /// Takes the writers' turn, with a private copy of the value: committed by one store when the guard
    /// drops, discarded when a panic drops it. Readers go on meanwhile and see the old value.
    ///
    /// # Errors
    ///
    /// `is_invalid` for a value of up to 8 bytes, which has no lock: use [`update`](Value::update), or a
    /// [`Mutex`](crate::Mutex). Else see [`Value`].
    #[doc(alias = "get_lock")]
    pub fn lock(&self) -> Result<ValueGuard<'_, T>> {
        self.turn(Some(Deadline::NEVER))
    }

    /// As [`lock`](Value::lock), if that needs no waiting.
    ///
    /// # Errors
    ///
    /// `is_would_block` when a living one has the turn; else as [`lock`](Value::lock).
    pub fn try_lock(&self) -> Result<ValueGuard<'_, T>> {
        self.turn(None)
    }

    /// As [`lock`](Value::lock), waiting no longer than `timeout`.
    ///
    /// # Errors
    ///
    /// `is_timeout` when living ones had the turn all the time; else as [`lock`](Value::lock).
    pub fn lock_timeout(&self, timeout: Duration) -> Result<ValueGuard<'_, T>> {
        self.turn(Some(Deadline::after(clock::now_ns(), timeout)))
    }

    fn turn(&self, wait: Option<Deadline>) -> Result<ValueGuard<'_, T>> {
        match (form::<T>(), wait) {
            (Form::Whole, Some(deadline)) => self.whole.spot().lock(&self.body, deadline, "the value"),
            (Form::Whole, None) => self.whole.spot().try_lock(&self.body, "the value"),
            _ => Err(Error::invalid(
                "locking a Value of up to 8 bytes",
                "it is one atomic word; use `update`, or a `Mutex`",
            )),
        }
    }
}

/// Holds the writers' turn of a [`Value`] and a private copy of it.
pub type ValueGuard<'a, T> = MutexGuard<'a, T>;

impl<T: PlainData + FromBytes> Value<T> {
    /// The value now.
    ///
    /// Larger than 8 bytes: one that was whole at one moment, as long as every writer is one of ours. Where a
    /// neighbour damaged the segment, it is whatever bytes are there, which [`try_load`](Value::try_load)
    /// would report.
    #[inline]
    pub fn load(&self) -> T {
        match form::<T>() {
            Form::Word32 => from_bits(u64::from(self.word32.load(order!(value_load, Acquire)))),
            Form::Word64 => from_bits(self.word64.load(order!(value_load, Acquire))),
            Form::Whole => {
                let spot = self.whole.spot();
                spot.read_patiently(&self.body).ok().or_else(|| spot.read_as_is()).unwrap_or_else(T::new_zeroed)
            }
        }
    }
}

impl<T: PlainData> Object for Value<T> {
    const KIND: ObjectKind = ObjectKind::Value;

    fn tag() -> TypeTag {
        TypeTag::of::<T>(Encoding::Plain)
    }

    fn over(body: Body) -> Result<Self> {
        Ok(Self {
            word32: body.placed(0)?,
            word64: body.placed(0)?,
            whole: Whole::at(&body, 0, size_of::<T>())?,
            body,
            _type: PhantomData,
        })
    }
}

macro_rules! read_modify_write {
    ($($(#[$doc:meta])* $name:ident, $by:ident, $op:expr;)*) => { $(
        $(#[$doc])*
        #[inline]
        pub fn $name(&self, $by: T) -> T {
            if T::DIRECT {
                match form::<T>() {
                    Form::Word64 => return from_bits(self.word64.$name(bits64_of(&$by), order!(value_change, AcqRel))),
                    _ => return from_bits(u64::from(self.word32.$name(bits32_of(&$by), order!(value_change, AcqRel)))),
                }
            }
            self.change(|old| ($op)(old, $by))
        }
    )* };
}

/// Whole numbers: every operation is one atomic instruction (a loop around one for `u8`, `i8`, `u16`, `i16`,
/// `fetch_max` and `fetch_min`), wraps around, and returns the value before.
impl<T: Integer> Value<T> {
    read_modify_write! {
        /// Adds `n`; returns the value before. Wraps around.
        fetch_add, n, T::wrapping_plus;
        /// Subtracts `n`; returns the value before. Wraps around.
        fetch_sub, n, T::wrapping_minus;
        /// Keeps the bits that are also in `mask`; returns the value before.
        fetch_and, mask, T::bits_and;
        /// Sets the bits of `mask`; returns the value before.
        fetch_or, mask, T::bits_or;
        /// Flips the bits of `mask`; returns the value before.
        fetch_xor, mask, T::bits_xor;
        /// Replaces the value; returns the one before.
        swap, new, |_: T, new: T| new;
    }

    /// Replaces the value by the larger of it and `other`; returns the value before.
    pub fn fetch_max(&self, other: T) -> T {
        self.change(|old| old.max(other))
    }

    /// Replaces the value by the smaller of it and `other`; returns the value before.
    pub fn fetch_min(&self, other: T) -> T {
        self.change(|old| old.min(other))
    }

    /// Replaces the value by `new` if it is `current`; returns the value before, which is `current` exactly when
    /// it was replaced.
    ///
    /// # Errors
    ///
    /// The value found, if it was another.
    #[inline]
    pub fn compare_exchange(&self, current: T, new: T) -> Result<T, T> {
        let (ok, err) = (order!(value_change, AcqRel), order!(value_load, Acquire));
        match form::<T>() {
            Form::Word64 => {
                let answer = self.word64.compare_exchange(bits64_of(&current), bits64_of(&new), ok, err);
                answer.map(from_bits).map_err(from_bits)
            }
            _ => {
                let answer = self.word32.compare_exchange(bits32_of(&current), bits32_of(&new), ok, err);
                answer.map(|bits| from_bits(u64::from(bits))).map_err(|bits| from_bits(u64::from(bits)))
            }
        }
    }

    /// The loop behind what is not one instruction. It ends: a round is lost only to another's success.
    #[inline]
    fn change(&self, op: impl Fn(T) -> T) -> T {
        let mut seen = self.load();
        loop {
            match self.compare_exchange(seen, op(seen)) {
                Ok(old) => return old,
                Err(now) => seen = now,
            }
        }
    }
}

portable!(Value<T>, T: PlainData);
among_others!(Value<T>, T: PlainData; value: T);

impl<T: PlainData> Clone for Value<T> {
    fn clone(&self) -> Self {
        Self {
            word32: self.word32.clone(),
            word64: self.word64.clone(),
            whole: self.whole.clone(),
            body: self.body.clone(),
            _type: PhantomData,
        }
    }
}

impl<T: PlainData> fmt::Debug for Value<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Value");
        out.field("type", &core::any::type_name::<T>()).field("form", &form::<T>());
        if form::<T>() == Form::Whole {
            out.field("writer", &self.whole.spot().version.lock_field().holder());
        }
        out.finish()
    }
}
