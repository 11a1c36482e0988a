//! A number of permits, each with its holder's name on it.

use crate::deadline::Deadline;
use crate::error::{Error, Result};
use crate::handle::lock::refusal;
use crate::handle::object::{self, Object, Place, among_others};
use crate::handle::portable::portable;
use crate::raw::lock::Refused;
use crate::raw::permits::{Permits, PermitsHeader};
use crate::segment::access::Placed;
use crate::segment::body::{Blueprint, Body};
use crate::segment::header::bad_shape;
use crate::segment::layout::ObjectKind;
use crate::segment::recover::semaphore_cells;
use crate::segment::tag::TypeTag;
use crate::sync::{AtomicU32, Ordering, Patience};
use crate::sys::clock;
use core::fmt;
use core::time::Duration;

/// The most permits of a semaphore: an acquirer looks through them.
pub const PERMITS_MAX: u32 = 4096;

/// A number of permits that threads and processes share.
///
/// Each permit holds its holder's name, so there is no count that a death could make wrong. A [`Permit`]
/// comes back when it is dropped, by whichever thread; it may be sent to another one. For mutual
/// exclusion take a [`Lock`](crate::Lock), which is cheaper and reports a death.
///
/// # Errors
///
/// `is_would_block`, `is_timeout`, `is_forked`; `is_invalid` for more permits than can ever be had;
/// `is_corrupt` when no permit is free and some cell makes no sense.
///
/// # When a process dies
///
/// Its permits come back: the next one who finds no free permit asks about the holders and takes over the
/// permit of a dead one. Of several permits that a dead process was about to gather, none stays lost either.
///
/// # Memory ordering
///
/// Who acquires a permit sees everything that its holders before did until they gave it back.
///
/// # Examples
///
/// ```
/// let workers = mutirao::Semaphore::new(2)?;
/// let first = workers.acquire()?;
/// let second = workers.acquire()?;
/// assert!(workers.try_acquire().is_err_and(|e| e.is_would_block()));
/// drop(first);
/// assert_eq!(workers.available(), 1);
/// # drop(second);
/// # Ok::<(), mutirao::Error>(())
/// ```
#[doc(alias = "multiprocessing.Semaphore")]
#[doc(alias = "BoundedSemaphore")]
pub struct Semaphore {
    header: Placed<PermitsHeader>,
    cells: Placed<[AtomicU32]>,
    body: Body,
    /// Where the next search begins: behind the permit taken last, or at one given back since.
    hint: AtomicU32,
}

/// Which permits somebody holds.
enum Held {
    One(usize),
    Many(Vec<usize>),
}

/// Permits of a [`Semaphore`], given back when this is dropped. May be sent to another thread.
#[must_use = "the permit is given back when this is dropped"]
pub struct Permit<'a> {
    semaphore: &'a Semaphore,
    held: Held,
}

/// Permits of a [`Semaphore`] that borrow nothing: they keep the semaphore alive themselves.
#[must_use = "the permit is given back when this is dropped"]
pub struct OwnedPermit {
    semaphore: Semaphore,
    held: Held,
}

impl Semaphore {
    /// A new semaphore of so many permits, in a segment of its own. There can not be more later.
    ///
    /// # Errors
    ///
    /// `is_invalid` for none or more than [`PERMITS_MAX`]; `is_out_of_memory` or an error of the system when no segment can
    /// be made.
    pub fn new(permits: u32) -> Result<Self> {
        Self::made(Place::Alone, permits)
    }

    fn made(place: Place<'_>, permits: u32) -> Result<Self> {
        Self::made_with_max(place, permits, permits)
    }

    /// A new semaphore of so many permits, to which more may be added, up to `max` in all.
    ///
    /// # Errors
    ///
    /// `is_invalid` when `max` is zero, less than `permits`, or more than [`PERMITS_MAX`]; else as [`new`](Semaphore::new).
    pub fn with_max(permits: u32, max: u32) -> Result<Self> {
        Self::made_with_max(Place::Alone, permits, max)
    }

    fn made_with_max(place: Place<'_>, permits: u32, max: u32) -> Result<Self> {
        if max == 0 || permits > max || max > PERMITS_MAX {
            return Err(Error::invalid(
                format!("a Semaphore of {permits} permits, at most {max}"),
                format!("there must be at least 1 and at most {PERMITS_MAX} in all, and no more at first than in all"),
            ));
        }
        let body_len = semaphore_cells() + 4 * u64::from(max);
        let blueprint = Blueprint { body_len, shape: [max.into(), 0, 0, 0], ..Blueprint::default() };
        object::make(place, &blueprint, |made: &Self| made.add_permits(permits))
    }

    /// Takes a permit, waiting as long as it takes.
    ///
    /// # Errors
    ///
    /// See [`Semaphore`].
    #[inline]
    pub fn acquire(&self) -> Result<Permit<'_>> {
        let (life, hint) = (self.body.life()?, self.hint());
        // What the slow way answers is small enough for registers, so that the quick way needs no memory.
        let cell = if self.permits().take_at(life, hint) { hint } else { self.take_slowly(life)? };
        self.hint.store(cell as u32 + 1, Ordering::Relaxed);
        Ok(Permit { semaphore: self, held: Held::One(cell) })
    }

    /// Takes a permit if one is free.
    ///
    /// # Errors
    ///
    /// `is_would_block` when living ones hold them all; else see [`Semaphore`].
    #[inline]
    pub fn try_acquire(&self) -> Result<Permit<'_>> {
        self.permit(self.try_take(1))
    }

    /// Takes a permit, waiting no longer than `timeout`.
    ///
    /// # Errors
    ///
    /// `is_timeout` when living ones held them all the time; else see [`Semaphore`].
    pub fn acquire_timeout(&self, timeout: Duration) -> Result<Permit<'_>> {
        self.permit(self.take(1, Deadline::after(clock::now_ns(), timeout)))
    }

    /// Takes `n` permits at once, waiting as long as it takes. One at a time gathers, and keeps what it has, so
    /// that a large request is not starved by small ones.
    ///
    /// # Errors
    ///
    /// `is_invalid` for none, or for more than there can ever be; else see [`Semaphore`].
    pub fn acquire_many(&self, n: u32) -> Result<Permit<'_>> {
        self.permit(self.take(n, Deadline::NEVER))
    }

    /// Takes `n` permits at once if they are free and nobody gathers.
    ///
    /// # Errors
    ///
    /// `is_would_block`; else as [`acquire_many`](Semaphore::acquire_many).
    pub fn try_acquire_many(&self, n: u32) -> Result<Permit<'_>> {
        self.permit(self.try_take(n))
    }

    /// Takes `n` permits at once, waiting no longer than `timeout`; then all that was gathered is given back.
    ///
    /// # Errors
    ///
    /// `is_timeout`; else as [`acquire_many`](Semaphore::acquire_many).
    pub fn acquire_many_timeout(&self, n: u32, timeout: Duration) -> Result<Permit<'_>> {
        self.permit(self.take(n, Deadline::after(clock::now_ns(), timeout)))
    }

    /// Takes a permit that borrows nothing, waiting as long as it takes.
    ///
    /// # Errors
    ///
    /// See [`Semaphore`].
    pub fn acquire_owned(&self) -> Result<OwnedPermit> {
        self.owned(self.take(1, Deadline::NEVER))
    }

    /// Takes a permit that borrows nothing, if one is free.
    ///
    /// # Errors
    ///
    /// As [`try_acquire`](Semaphore::try_acquire).
    pub fn try_acquire_owned(&self) -> Result<OwnedPermit> {
        self.owned(self.try_take(1))
    }

    /// Adds permits and wakes who waits.
    ///
    /// # Errors
    ///
    /// `is_invalid` when there would be more than the most that was said at the beginning; none is added then.
    #[doc(alias = "release")]
    pub fn add_permits(&self, n: u32) -> Result<()> {
        self.permits().add(n, u32::MAX).map_err(|too_many| {
            let why = format!("only {} more fit; make it with a larger `with_max`", too_many.fit);
            Error::invalid(format!("adding {n} permits"), why)
        })
    }

    /// How many permits are free now.
    #[doc(alias = "get_value")]
    pub fn available(&self) -> u32 {
        u32::try_from(self.permits().available()).unwrap_or(u32::MAX)
    }

    #[inline]
    fn permits(&self) -> Permits<'_, [AtomicU32]> {
        Permits { header: &self.header, cells: &self.cells }
    }

    #[inline]
    fn hint(&self) -> usize {
        // Relaxed: only where to look first.
        self.hint.load(Ordering::Relaxed) as usize
    }

    #[cold]
    #[inline(never)]
    fn take_slowly(&self, life: &Body) -> Result<usize> {
        let taken = self.permits().acquire(life, self.hint(), &mut Patience::new(Deadline::NEVER));
        taken.map_err(|refused| life.why(refusal(refused, "the semaphore")))
    }

    #[inline]
    fn take(&self, n: u32, deadline: Deadline) -> Result<Held> {
        let (life, permits, mut patience) = (self.body.life()?, self.permits(), Patience::new(deadline));
        let got = match n {
            1 => permits.acquire(life, self.hint(), &mut patience).map(Held::One),
            _ => self.gather(n, |taken| permits.acquire_many(life, n as usize, &mut patience, taken))?,
        };
        self.settle(got)
    }

    #[inline]
    fn try_take(&self, n: u32) -> Result<Held> {
        let (life, permits) = (self.body.life()?, self.permits());
        let got = match n {
            // Busy only after a question about every holder's life.
            1 => permits
                .try_acquire(life, self.hint(), false)
                .or_else(|_| permits.try_acquire(life, 0, true))
                .map(Held::One),
            _ => self.gather(n, |taken| permits.try_acquire_many(life, n as usize, taken))?,
        };
        self.settle(got)
    }

    fn gather(
        &self,
        n: u32,
        take: impl FnOnce(&mut Vec<usize>) -> Result<(), Refused>,
    ) -> Result<Result<Held, Refused>> {
        if n == 0 || n as usize > self.cells.len() {
            return Err(Error::invalid(
                format!("acquiring {n} permits"),
                format!("the Semaphore can have {}", self.cells.len()),
            ));
        }
        let mut taken = Vec::with_capacity(n as usize);
        Ok(take(&mut taken).map(|()| Held::Many(taken)))
    }

    #[inline]
    fn settle(&self, got: Result<Held, Refused>) -> Result<Held> {
        let held = got.map_err(|refused| self.body.why(refusal(refused, "the semaphore")))?;
        if let Some(last) = held.cells().last() {
            self.hint.store(*last as u32 + 1, Ordering::Relaxed);
        }
        Ok(held)
    }

    #[inline]
    fn permit(&self, held: Result<Held>) -> Result<Permit<'_>> {
        Ok(Permit { semaphore: self, held: held? })
    }

    #[inline]
    fn owned(&self, held: Result<Held>) -> Result<OwnedPermit> {
        Ok(OwnedPermit { held: held?, semaphore: self.clone() })
    }

    /// Gives back what `held` names.
    #[inline]
    fn release(&self, held: &Held) {
        // In a forked child the permits are the parent's: they are left alone.
        let Ok(life) = self.body.life() else { return };
        for &cell in held.cells() {
            self.permits().release(life, cell);
            self.hint.store(cell as u32, Ordering::Relaxed);
        }
    }

    /// Takes what `held` names out of use and empties it.
    fn forget(&self, held: &mut Held) {
        let held = core::mem::replace(held, Held::Many(Vec::new()));
        let Ok(life) = self.body.life() else { return };
        held.cells().iter().for_each(|&cell| self.permits().forget(life, cell));
    }
}

impl Object for Semaphore {
    const KIND: ObjectKind = ObjectKind::Semaphore;

    fn tag() -> TypeTag {
        TypeTag::NONE
    }

    fn over(body: Body) -> Result<Self> {
        let shape @ [max, ..] = body.shape();
        if max == 0 || max > u64::from(PERMITS_MAX) {
            return Err(bad_shape(ObjectKind::Semaphore, shape));
        }
        Ok(Self {
            header: body.placed(0)?,
            cells: body.placed_slice(semaphore_cells(), max)?,
            body,
            hint: AtomicU32::new(0),
        })
    }
}

portable!(Semaphore);
among_others!(Semaphore; permits: u32);

impl Held {
    #[inline]
    fn cells(&self) -> &[usize] {
        match self {
            Self::One(cell) => core::slice::from_ref(cell),
            Self::Many(cells) => cells,
        }
    }
}

macro_rules! permit {
    ($($permit:ty),*) => { $(
        impl $permit {
            /// How many permits it stands for.
            pub fn count(&self) -> u32 {
                self.held.cells().len() as u32
            }

            /// Never gives the permits back: the semaphore has fewer from now on.
            pub fn forget(mut self) {
                self.semaphore.forget(&mut self.held);
            }
        }

        impl Drop for $permit {
            #[inline]
            fn drop(&mut self) {
                self.semaphore.release(&self.held);
            }
        }

        impl fmt::Debug for $permit {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($permit)).field("count", &self.count()).finish_non_exhaustive()
            }
        }
    )* };
}
permit!(Permit<'_>, OwnedPermit);

impl Clone for Semaphore {
    fn clone(&self) -> Self {
        let hint = AtomicU32::new(self.hint.load(Ordering::Relaxed));
        Self { header: self.header.clone(), cells: self.cells.clone(), body: self.body.clone(), hint }
    }
}

impl fmt::Debug for Semaphore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Semaphore")
            .field("available", &self.available())
            .field("held", &self.permits().held())
            .field("max", &self.cells.len())
            .finish()
    }
}
