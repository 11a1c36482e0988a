//! Mutual exclusion with the value inside.

use crate::deadline::Deadline;
use crate::error::Result;
use crate::handle::object::{self, Object, Place, among_others};
use crate::handle::portable::portable;
use crate::handle::whole::{MutexGuard, Whole, whole_blueprint};
use crate::segment::body::Body;
use crate::segment::layout::ObjectKind;
use crate::segment::plain::PlainData;
use crate::segment::tag::{Encoding, TypeTag};
use crate::sys::clock;
use core::fmt;
use core::marker::PhantomData;
use core::time::Duration;

/// A value and the lock that guards it.
///
/// The guard holds a private copy. It is committed by one store when the guard drops, and discarded when a
/// panic drops it. So whatever happens to a holder, the next one finds the value whole. The copy is
/// made twice per hold: for large values with small changes, a [`Lock`](crate::Lock) beside an
/// [`Array`](crate::Array) copies less.
///
/// # Errors
///
/// Taking it: `is_would_block`, `is_timeout`, `is_forked`, or `is_corrupt` when the lock word makes no sense or
/// the bytes are no value of the type.
///
/// # When a process dies
///
/// The next one who asks takes the lock over: `Ok`, with [`previous_died`](MutexGuard::previous_died). The value
/// is the last one committed; what the dead one did to its copy is gone with it.
///
/// # Memory ordering
///
/// Everything done before a guard was dropped is visible to the next holder, in any process.
///
/// # Examples
///
/// ```
/// use mutirao::Mutex;
/// let account = Mutex::new([100_i64, 0])?;
/// {
///     let mut both = account.lock()?;
///     both[0] -= 30;
///     both[1] += 30;
/// }                                           // committed here, by one store
/// assert_eq!(*account.lock()?, [70, 30]);
/// # Ok::<(), mutirao::Error>(())
/// ```
#[doc(alias = "multiprocessing.Value(lock=True)")]
pub struct Mutex<T: PlainData> {
    whole: Whole,
    body: Body,
    _type: PhantomData<fn() -> T>,
}

impl<T: PlainData> Mutex<T> {
    /// A new mutex around `value`, in a segment of its own.
    ///
    /// # Errors
    ///
    /// `is_out_of_memory` or an error of the system when no segment can be made.
    pub fn new(value: T) -> Result<Self> {
        Self::made(Place::Alone, value)
    }

    fn made(place: Place<'_>, value: T) -> Result<Self> {
        object::make(place, &whole_blueprint(size_of::<T>()), |made: &Self| {
            made.whole.spot().fill(&value);
            Ok(())
        })
    }

    /// Takes the lock, waiting as long as it takes.
    ///
    /// # Errors
    ///
    /// See [`Mutex`].
    #[doc(alias = "get_lock")]
    #[doc(alias = "acquire")]
    #[inline]
    pub fn lock(&self) -> Result<MutexGuard<'_, T>> {
        self.whole.spot().lock(&self.body, Deadline::NEVER, "the mutex")
    }

    /// Takes the lock if that needs no waiting.
    ///
    /// # Errors
    ///
    /// `is_would_block` when a living one holds it; else see [`Mutex`].
    #[inline]
    pub fn try_lock(&self) -> Result<MutexGuard<'_, T>> {
        self.whole.spot().try_lock(&self.body, "the mutex")
    }

    /// Takes the lock, waiting no longer than `timeout`.
    ///
    /// # Errors
    ///
    /// `is_timeout` when it was held all the time; else see [`Mutex`].
    pub fn lock_timeout(&self, timeout: Duration) -> Result<MutexGuard<'_, T>> {
        let deadline = Deadline::after(clock::now_ns(), timeout);
        self.whole.spot().lock(&self.body, deadline, "the mutex")
    }
}

impl<T: PlainData> Object for Mutex<T> {
    const KIND: ObjectKind = ObjectKind::Mutex;

    fn tag() -> TypeTag {
        TypeTag::of::<T>(Encoding::Plain)
    }

    fn over(body: Body) -> Result<Self> {
        Ok(Self { whole: Whole::at(&body, 0, size_of::<T>())?, body, _type: PhantomData })
    }
}

portable!(Mutex<T>, T: PlainData);
among_others!(Mutex<T>, T: PlainData; value: T);

impl<T: PlainData> Clone for Mutex<T> {
    fn clone(&self) -> Self {
        Self { whole: self.whole.clone(), body: self.body.clone(), _type: PhantomData }
    }
}

impl<T: PlainData> fmt::Debug for Mutex<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lock = self.whole.spot().version.lock_field();
        f.debug_struct("Mutex")
            .field("type", &core::any::type_name::<T>())
            .field("holder", &lock.holder())
            .field("previous_died", &lock.is_damaged())
            .field("has_waiters", &lock.has_waiters())
            .finish()
    }
}
