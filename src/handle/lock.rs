//! Mutual exclusion for something outside of the segment: a file, a device, a region of an `Array`.

use crate::deadline::Deadline;
use crate::error::{Error, Kind, Result};
use crate::handle::object::{self, Object, Place, among_others};
use crate::handle::portable::portable;
use crate::participant::Liveness;
use crate::raw::lock::{Acquired, RawLock, Refused};
use crate::segment::access::Placed;
use crate::segment::attachment::Attachment;
use crate::segment::body::{Blueprint, Body};
use crate::segment::layout::ObjectKind;
use crate::segment::tag::TypeTag;
use crate::sync::Patience;
use crate::sys::clock;
use core::fmt;
use core::marker::PhantomData;
use core::time::Duration;

/// Mutual exclusion between threads and processes, for something that lies outside of it.
///
/// One word in shared memory names the holder. Taking a free lock is one compare-and-swap and giving it
/// back one swap; no system call happens unless somebody waits. It is not reentrant: a thread that
/// takes a lock it already holds waits for itself. To guard a value, take a [`Mutex`](crate::Mutex),
/// which keeps the value whole when its holder dies.
///
/// # Errors
///
/// Every way of taking it returns [`LockError`]: either `OwnerDied` with a guard (the lock *is* held), or
/// `Failed`: `is_would_block`, `is_timeout`, `is_forked`, or `is_corrupt` when the word makes no sense.
///
/// # When a process dies
///
/// The next one who asks takes the lock over and gets `Err(OwnerDied(guard))`: what the lock guards may be
/// half changed. That stays so, for every later holder, until one repaired it and called
/// [`mark_consistent`](LockGuard::mark_consistent). A waiter notices a death within milliseconds if it
/// shares the pid namespace, else within a tenth of a second; nobody is robbed for being slow.
///
/// # Memory ordering
///
/// Everything done before a guard was dropped is visible to the next holder, in any process.
///
/// # Examples
///
/// ```
/// let lock = mutirao::Lock::new()?;
/// {
///     let _guard = lock.lock()?;
///     assert!(lock.try_lock().is_err());      // held
/// }                                           // given back here
/// assert!(lock.try_lock().is_ok());
/// # Ok::<(), mutirao::Error>(())
/// ```
///
/// Repairing after a death:
///
/// ```
/// # use mutirao::{Lock, LockError};
/// fn enter(lock: &Lock) -> mutirao::Result<()> {
///     let guard = match lock.lock() {
///         Ok(guard) => guard,
///         Err(LockError::OwnerDied(mut guard)) => {
///             // ... repair what the dead one left ...
///             guard.mark_consistent();
///             guard
///         }
///         Err(LockError::Failed(error)) => return Err(error),
///     };
///     drop(guard);
///     Ok(())
/// }
/// # enter(&Lock::new()?)?;
/// # Ok::<(), mutirao::Error>(())
/// ```
#[derive(Clone)]
#[doc(alias = "multiprocessing.Lock")]
pub struct Lock {
    word: Placed<RawLock>,
    body: Body,
}

/// Why a lock was not simply taken.
#[derive(thiserror::Error)]
pub enum LockError<G> {
    /// The lock is held now, by this guard, but an earlier holder died: what it guards may be half changed.
    #[error(
        "the lock is held, but an earlier holder of it died; repair what it guards, then call `mark_consistent` on the guard"
    )]
    OwnerDied(G),
    /// The lock was not taken.
    #[error(transparent)]
    Failed(#[from] Error),
}

/// Holds a [`Lock`] until it is dropped. Stays with its thread.
#[must_use = "the lock is given back when the guard is dropped"]
pub struct LockGuard<'a> {
    word: &'a RawLock,
    /// Kept beside the word, so that giving back follows no chain of pointers.
    life: &'a Attachment,
    damaged: bool,
    _stays: PhantomData<*const ()>,
}

impl Lock {
    /// A new lock, free, in a segment of its own.
    ///
    /// # Errors
    ///
    /// `is_out_of_memory` or an error of the system when no segment can be made.
    pub fn new() -> Result<Self> {
        Self::made(Place::Alone)
    }

    fn made(place: Place<'_>) -> Result<Self> {
        object::make(place, &Blueprint { body_len: size_of::<RawLock>() as u64, ..Blueprint::default() }, |_| Ok(()))
    }

    /// Takes the lock, waiting as long as it takes.
    ///
    /// # Errors
    ///
    /// `OwnerDied` with the guard when an earlier holder died; see [`Lock`].
    #[doc(alias = "acquire")]
    #[inline]
    pub fn lock(&self) -> Result<LockGuard<'_>, LockError<LockGuard<'_>>> {
        self.lock_until(Deadline::NEVER)
    }

    /// Takes the lock if that needs no waiting.
    ///
    /// # Errors
    ///
    /// `Failed` with `is_would_block` when a living one holds it; else as [`lock`](Lock::lock).
    #[inline]
    pub fn try_lock(&self) -> Result<LockGuard<'_>, LockError<LockGuard<'_>>> {
        let life = self.body.life()?;
        self.guard(life, self.word.try_acquire(life))
    }

    /// Takes the lock, waiting no longer than `timeout`.
    ///
    /// # Errors
    ///
    /// `Failed` with `is_timeout` when it was held all the time; else as [`lock`](Lock::lock).
    pub fn lock_timeout(&self, timeout: Duration) -> Result<LockGuard<'_>, LockError<LockGuard<'_>>> {
        self.lock_until(Deadline::after(clock::now_ns(), timeout))
    }

    #[inline]
    fn lock_until(&self, deadline: Deadline) -> Result<LockGuard<'_>, LockError<LockGuard<'_>>> {
        let life = self.body.life()?;
        let quick = self.word.take_free(life.me());
        self.guard(life, if quick { Ok(Acquired::Clean) } else { self.take_slowly(life, deadline) })
    }

    /// Patience is made here, because what it stores would hold up the quick way; the answer is small enough
    /// for a register, for the same reason.
    #[cold]
    #[inline(never)]
    fn take_slowly(&self, life: &Body, deadline: Deadline) -> Result<Acquired, Refused> {
        self.word.acquire(life, &mut Patience::new(deadline))
    }

    #[inline]
    fn guard<'a>(
        &'a self,
        life: &'a Body,
        taken: Result<Acquired, Refused>,
    ) -> Result<LockGuard<'a>, LockError<LockGuard<'a>>> {
        let held = |damaged| LockGuard { word: &self.word, life: life.attachment(), damaged, _stays: PhantomData };
        match taken {
            Ok(Acquired::Clean) => Ok(held(false)),
            Ok(Acquired::AfterDeath) => Err(LockError::OwnerDied(held(true))),
            Err(refused) => Err(LockError::Failed(life.why(refusal(refused, "the lock")))),
        }
    }
}

impl Object for Lock {
    const KIND: ObjectKind = ObjectKind::Lock;

    fn tag() -> TypeTag {
        TypeTag::NONE
    }

    fn over(body: Body) -> Result<Self> {
        Ok(Self { word: body.placed(0)?, body })
    }
}

portable!(Lock);
among_others!(Lock; );

impl LockGuard<'_> {
    /// Says that what the lock guards is whole again, so that the next holder gets a plain `Ok`.
    pub fn mark_consistent(&mut self) {
        self.damaged = false;
    }

    /// Whether an earlier holder died and nobody has called `mark_consistent` since.
    pub fn owner_died(&self) -> bool {
        self.damaged
    }
}

impl Drop for LockGuard<'_> {
    #[inline]
    fn drop(&mut self) {
        // In a forked child the guard is the parent's: it touches nothing.
        if self.life.is_ours() {
            self.word.release(self.damaged);
        }
    }
}

impl<G> LockError<G> {
    /// The guard, if the lock is held.
    pub fn into_guard(self) -> Option<G> {
        match self {
            Self::OwnerDied(guard) => Some(guard),
            Self::Failed(_) => None,
        }
    }

    /// The error, if the lock is not held.
    pub fn failed(&self) -> Option<&Error> {
        match self {
            Self::OwnerDied(_) => None,
            Self::Failed(error) => Some(error),
        }
    }

    /// Whether the lock is held after a death.
    pub fn is_owner_died(&self) -> bool {
        matches!(self, Self::OwnerDied(_))
    }

    /// Whether a `try_` form found the lock held.
    pub fn is_would_block(&self) -> bool {
        self.failed().is_some_and(Error::is_would_block)
    }

    /// Whether the deadline passed.
    pub fn is_timeout(&self) -> bool {
        self.failed().is_some_and(Error::is_timeout)
    }
}

/// Gives up a guard that was had after a death: the lock stays marked for the next holder.
impl<G> From<LockError<G>> for Error {
    fn from(error: LockError<G>) -> Self {
        match error {
            LockError::OwnerDied(_) => Error::corrupt(
                "what the lock guards",
                "a holder died while it held the lock, and nobody called `mark_consistent` since",
            ),
            LockError::Failed(error) => error,
        }
    }
}

impl fmt::Debug for Lock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lock")
            .field("holder", &self.word.holder())
            .field("owner_died", &self.word.is_damaged())
            .field("has_waiters", &self.word.has_waiters())
            .finish()
    }
}

impl fmt::Debug for LockGuard<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LockGuard").field("owner_died", &self.damaged).finish_non_exhaustive()
    }
}

impl<G> fmt::Debug for LockError<G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OwnerDied(_) => f.write_str("OwnerDied(..)"),
            Self::Failed(error) => f.debug_tuple("Failed").field(error).finish(),
        }
    }
}

/// The error of an algorithm that did not get what it asked of `what`.
#[cold]
pub(crate) fn refusal(refused: Refused, what: &'static str) -> Error {
    match refused {
        Refused::Busy => Kind::WouldBlock { what }.into(),
        Refused::TimedOut => Kind::Timeout { what }.into(),
        Refused::Contended => Kind::Contended { what, rounds: 1000 }.into(),
        Refused::Corrupt => Error::corrupt(what, "a state word holds what no participant writes"),
    }
}
