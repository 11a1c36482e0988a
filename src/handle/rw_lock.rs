//! Many readers or one writer, with the value inside.

use crate::deadline::Deadline;
use crate::error::Result;
use crate::handle::lock::refusal;
use crate::handle::object::{self, Object, Place, among_others};
use crate::handle::portable::portable;
use crate::handle::whole::{MutexGuard, Whole};
use crate::participant::Liveness;
use crate::raw::lock::{Acquired, Refused};
use crate::raw::rw_lock::{RawRwLock, ReaderCell, ReadersHeader};
use crate::segment::access::Placed;
use crate::segment::attachment::Attachment;
use crate::segment::body::{Blueprint, Body};
use crate::segment::header::bad_shape;
use crate::segment::layout::ObjectKind;
use crate::segment::locked::RwLockPlan;
use crate::segment::plain::PlainData;
use crate::segment::tag::{Encoding, TypeTag};
use crate::sync::Patience;
use crate::sys::clock;
use core::fmt;
use core::marker::PhantomData;
use core::ops::Deref;
use core::time::Duration;

/// A value that many may read at a time, or one may write.
///
/// Whoever reads keeps every writer out until its guard drops: what it read is still so while it acts on it. Where that
/// does not matter, a [`Value`](crate::Value) is better: its readers never wait and make nobody wait.
///
/// A guard holds a private copy. A writer's is committed by one store when the guard drops, and discarded when a panic
/// drops it. Each process counts its readers in a cache line of its own, so readers of different processes do not slow
/// each other down.
///
/// Writers have precedence: once one waits, new readers wait behind it. So a thread that reads, and then reads again
/// while its first guard lives, may wait for itself; and one that reads and then writes surely does.
///
/// # Errors
///
/// Taking it: `is_would_block`, `is_timeout`, `is_forked`, or `is_corrupt` when a word of the lock makes no sense or
/// the bytes are no value of the type.
///
/// # When a process dies
///
/// A dead reader is struck off by the next writer. A dead writer's lock goes to the next one who asks: `Ok`, with
/// `previous_died()` on the guards of readers and of the first writer that follow. The value is the last one
/// committed; what the dead one did to its copy is gone with it. Nobody is robbed for being slow.
///
/// # Memory ordering
///
/// Everything done before a writer's guard was dropped is visible to later readers and writers, in any process; everything
/// done before a reader's guard was dropped, to later writers.
///
/// # Examples
///
/// ```
/// use mutirao::RwLock;
/// let limits = RwLock::new([10_u32, 100])?;
/// {
///     let one = limits.read()?;
///     let another = limits.try_read()?;       // beside the first
///     assert_eq!(one[0] + another[1], 110);
///     assert!(limits.try_write().is_err());
/// }
/// limits.write()?[1] = 200;                   // committed here, by one store
/// assert_eq!(*limits.read()?, [10, 200]);
/// # Ok::<(), mutirao::Error>(())
/// ```
pub struct RwLock<T: PlainData> {
    whole: Whole,
    readers: Placed<ReadersHeader>,
    cells: Placed<[ReaderCell]>,
    body: Body,
    _type: PhantomData<fn() -> T>,
}

/// Holds a [`RwLock`] as a reader, with a private copy of what is in it. Stays with its thread.
#[must_use = "the lock is given back when the guard is dropped"]
pub struct RwLockReadGuard<'a, T: PlainData> {
    copy: T,
    lock: RawRwLock<'a>,
    life: &'a Attachment,
    previous_died: bool,
    _stays: PhantomData<*const ()>,
}

/// Holds a [`RwLock`] as the writer, with a private copy of what is in it.
pub type RwLockWriteGuard<'a, T> = MutexGuard<'a, T>;

impl<T: PlainData> RwLock<T> {
    /// A new lock around `value`, in a segment of its own.
    ///
    /// # Errors
    ///
    /// `is_out_of_memory` or an error of the system when no segment can be made.
    pub fn new(value: T) -> Result<Self> {
        Self::made(Place::Alone, value)
    }

    fn made(place: Place<'_>, value: T) -> Result<Self> {
        let plan = RwLockPlan { size: size_of::<T>() as u64, rows: place.rows() };
        let blueprint = Blueprint { body_len: plan.body_len(), shape: plan.shape(), ..Blueprint::default() };
        object::make(place, &blueprint, |made: &Self| {
            made.whole.spot().fill(&value);
            Ok(())
        })
    }

    /// Takes the lock as a reader, waiting as long as writers are there.
    ///
    /// # Errors
    ///
    /// See [`RwLock`].
    #[inline]
    pub fn read(&self) -> Result<RwLockReadGuard<'_, T>> {
        self.read_until(Deadline::NEVER)
    }

    /// Takes the lock as a reader if that needs no waiting.
    ///
    /// # Errors
    ///
    /// `is_would_block` when a living writer is there; else see [`RwLock`].
    pub fn try_read(&self) -> Result<RwLockReadGuard<'_, T>> {
        let life = self.body.life()?;
        self.reader(self.raw().try_read(life, life.row()))
    }

    /// Takes the lock as a reader, waiting no longer than `timeout`.
    ///
    /// # Errors
    ///
    /// `is_timeout` when writers were there all the time; else see [`RwLock`].
    pub fn read_timeout(&self, timeout: Duration) -> Result<RwLockReadGuard<'_, T>> {
        self.read_until(Deadline::after(clock::now_ns(), timeout))
    }

    /// Takes the lock as the writer, waiting until nobody else has it.
    ///
    /// # Errors
    ///
    /// See [`RwLock`].
    #[inline]
    pub fn write(&self) -> Result<RwLockWriteGuard<'_, T>> {
        self.write_until(Deadline::NEVER)
    }

    /// Takes the lock as the writer if that needs no waiting.
    ///
    /// # Errors
    ///
    /// `is_would_block` when a living one reads or writes; else see [`RwLock`].
    pub fn try_write(&self) -> Result<RwLockWriteGuard<'_, T>> {
        self.writer(self.raw().try_write(self.body.life()?))
    }

    /// Takes the lock as the writer, waiting no longer than `timeout`.
    ///
    /// # Errors
    ///
    /// `is_timeout` when living ones had it all the time; else see [`RwLock`].
    pub fn write_timeout(&self, timeout: Duration) -> Result<RwLockWriteGuard<'_, T>> {
        self.write_until(Deadline::after(clock::now_ns(), timeout))
    }

    #[inline]
    fn raw(&self) -> RawRwLock<'_> {
        RawRwLock { writer: self.whole.spot().version.lock_field(), readers: &self.readers, cells: &self.cells }
    }

    #[inline]
    fn read_until(&self, deadline: Deadline) -> Result<RwLockReadGuard<'_, T>> {
        let life = self.body.life()?;
        match self.raw().try_read_free(life, life.row()) {
            Some(acquired) => self.reader(Ok(acquired)),
            None => self.reader(self.read_slowly(life, deadline)),
        }
    }

    /// Patience is made here, because what it stores would hold up the quick way.
    #[cold]
    #[inline(never)]
    fn read_slowly(&self, life: &Body, deadline: Deadline) -> Result<Acquired, Refused> {
        self.raw().read(life, life.row(), &mut Patience::new(deadline))
    }

    #[inline]
    fn reader(&self, taken: Result<Acquired, Refused>) -> Result<RwLockReadGuard<'_, T>> {
        let (lock, life) = (self.raw(), self.body.attachment());
        match taken {
            Ok(acquired) => match self.whole.spot().read_alone() {
                Ok(copy) => {
                    let previous_died = matches!(acquired, Acquired::AfterDeath);
                    Ok(RwLockReadGuard { copy, lock, life, previous_died, _stays: PhantomData })
                }
                Err(error) => {
                    lock.release_read(life, self.body.row());
                    Err(error)
                }
            },
            Err(refused) => Err(self.body.why(refusal(refused, "the lock"))),
        }
    }

    #[inline]
    fn write_until(&self, deadline: Deadline) -> Result<RwLockWriteGuard<'_, T>> {
        let (lock, life) = (self.raw(), self.body.life()?);
        let held = lock.writer.take_free(life.me());
        let quick = held && lock.nobody_reads();
        self.writer(if quick { Ok(Acquired::Clean) } else { self.write_slowly(life, held, deadline) })
    }

    #[cold]
    #[inline(never)]
    fn write_slowly(&self, life: &Body, held: bool, deadline: Deadline) -> Result<Acquired, Refused> {
        self.raw().write(life, held, &mut Patience::new(deadline))
    }

    #[inline]
    fn writer(&self, taken: Result<Acquired, Refused>) -> Result<RwLockWriteGuard<'_, T>> {
        match taken {
            Ok(acquired) => self.whole.spot().guard(&self.body, acquired),
            Err(refused) => Err(self.body.why(refusal(refused, "the lock"))),
        }
    }
}

impl<T: PlainData> Object for RwLock<T> {
    const KIND: ObjectKind = ObjectKind::RwLock;

    fn tag() -> TypeTag {
        TypeTag::of::<T>(Encoding::Plain)
    }

    fn over(body: Body) -> Result<Self> {
        let fits = |plan: &RwLockPlan| plan.size == size_of::<T>() as u64 && plan.body_len() <= body.len();
        let plan = RwLockPlan::from_shape(body.shape()).filter(fits);
        let plan = plan.ok_or_else(|| bad_shape(ObjectKind::RwLock, body.shape()))?;
        Ok(Self {
            whole: Whole::apart(&body, 0, plan.buffers(), size_of::<T>())?,
            readers: body.placed(RwLockPlan::READERS)?,
            cells: body.placed_slice(RwLockPlan::CELLS, u64::from(plan.rows))?,
            body,
            _type: PhantomData,
        })
    }
}

portable!(RwLock<T>, T: PlainData);
among_others!(RwLock<T>, T: PlainData; value: T);

impl<T: PlainData> RwLockReadGuard<'_, T> {
    /// Whether a writer died with the lock and no other has had it since. The value is whole: the last commit.
    pub fn previous_died(&self) -> bool {
        self.previous_died
    }
}

impl<T: PlainData> Deref for RwLockReadGuard<'_, T> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        &self.copy
    }
}

impl<T: PlainData> Drop for RwLockReadGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        // In a forked child the guard is the parent's: it touches nothing.
        if self.life.is_ours() {
            self.lock.release_read(self.life, self.life.row() as usize);
        }
    }
}

impl<T: PlainData> Clone for RwLock<T> {
    fn clone(&self) -> Self {
        Self {
            whole: self.whole.clone(),
            readers: self.readers.clone(),
            cells: self.cells.clone(),
            body: self.body.clone(),
            _type: PhantomData,
        }
    }
}

impl<T: PlainData> fmt::Debug for RwLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lock = self.raw();
        f.debug_struct("RwLock")
            .field("type", &core::any::type_name::<T>())
            .field("writer", &lock.writer.holder())
            .field("readers", &lock.reading().collect::<Vec<_>>())
            .field("previous_died", &lock.writer.is_damaged())
            .finish()
    }
}

impl<T: PlainData + fmt::Debug> fmt::Debug for RwLockReadGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.copy.fmt(f)
    }
}
