//! How a queue is to be made.

use crate::error::{Error, Result};
use crate::handle::channel::{CAPACITY_MAX, CELL_MAX};
use crate::handle::codec::{Coded, ENCODED_CELL, Item};
use crate::handle::object::{self, Place};
use crate::handle::queue::Queue;
use crate::segment::body::Blueprint;
use crate::segment::cells::{LEASES_MAX, QueuePlan};
use crate::segment::name::Name;
use crate::segment::open::Segment;
use core::marker::PhantomData;

/// How a [`Queue`] is to be made.
#[derive(Clone, Debug)]
#[must_use]
pub struct QueueOptions<T> {
    capacity: usize,
    cell_bytes: Option<usize>,
    leases: Option<usize>,
    attempts_max: u32,
    spill_bytes: u64,
    _type: PhantomData<fn(T) -> T>,
}

/// Memory reserved, and not taken, for items larger than their cells.
const SPILL: u64 = 1 << 30;
/// What is taken of it at first.
const SPILL_FIRST: u64 = 64 << 10;

impl<T: Item> QueueOptions<T> {
    pub(crate) fn usual() -> Self {
        Self { capacity: 1024, cell_bytes: None, leases: None, attempts_max: 0, spill_bytes: SPILL, _type: PhantomData }
    }

    /// How many items the queue holds: exactly so many. 1024 unless said.
    pub fn capacity(mut self, items: usize) -> Self {
        self.capacity = items;
        self
    }

    /// How many bytes of an encoded item fit a cell: 120 unless said, and for [`Plain<T>`](crate::Plain) the size of `T`.
    pub fn cell_bytes(mut self, bytes: usize) -> Self {
        self.cell_bytes = Some(bytes);
        self
    }

    /// How many bytes of memory those items may need in all that are larger than their cells: 1 GiB unless said, of which
    /// 64 KiB are taken at first. 0: such items are refused. A queue in a segment with others shares the
    /// segment's memory, and this says nothing.
    pub fn spill_bytes(mut self, bytes: u64) -> Self {
        self.spill_bytes = bytes;
        self
    }

    /// How many items may be leased at once: at least so many. 64 unless said, fewer where items are so large that
    /// their places would need more memory than half of the queue. 0: nothing is ever [leased](Queue::lease) from it.
    pub fn leases(mut self, items: usize) -> Self {
        self.leases = Some(items);
        self
    }

    /// How often an item is tried: what was leased so often and never acknowledged becomes a
    /// [dead letter](Queue::take_dead_letter). 0, as unless said: no limit.
    pub fn max_attempts(mut self, attempts: u32) -> Self {
        self.attempts_max = attempts;
        self
    }

    /// Makes the queue, in a segment of its own.
    ///
    /// # Errors
    ///
    /// As [`Queue::new`]; `is_invalid` for cells that no item fits, or above 1 GiB.
    pub fn create(self) -> Result<Queue<T>> {
        self.made(Place::Alone)
    }

    /// Makes the queue without a name, in a segment that holds others too.
    ///
    /// # Errors
    ///
    /// As [`create`](QueueOptions::create) and [`Queue::new_in`].
    pub fn create_in(self, segment: &Segment) -> Result<Queue<T>> {
        self.made(Place::In(segment))
    }

    /// Makes the queue with a name, in a segment that holds others too.
    ///
    /// # Errors
    ///
    /// As [`create`](QueueOptions::create) and [`Queue::create`].
    pub fn create_named<'a>(self, segment: &'a Segment, name: impl Into<Name<'a>>) -> Result<Queue<T>> {
        self.made(Place::Named(segment, name.into()))
    }

    pub(crate) fn made(self, place: Place<'_>) -> Result<Queue<T>> {
        let fixed = <T as Coded>::FIXED;
        let (least, cell_bytes) = (fixed.unwrap_or(1), self.cell_bytes.or(fixed).unwrap_or(ENCODED_CELL));
        if self.capacity == 0 || self.capacity > CAPACITY_MAX {
            return Err(Error::invalid(
                format!("a Queue of {} items", self.capacity),
                format!("it must hold 1 to {CAPACITY_MAX}"),
            ));
        }
        if cell_bytes < least || cell_bytes > CELL_MAX {
            return Err(Error::invalid(
                format!("a Queue with cells of {cell_bytes} bytes"),
                format!("a cell must have {least} to {CELL_MAX}"),
            ));
        }
        let leases_max = LEASES_MAX as usize;
        if self.leases.is_some_and(|items| items > leases_max) {
            return Err(Error::invalid(
                format!("a Queue with {} leases", self.leases.unwrap_or(0)),
                format!("it may have 0 to {leases_max}"),
            ));
        }
        // All fit: compared above.
        let (capacity, cell_bytes) = (self.capacity as u32, cell_bytes as u32);
        let (is_coded, attempts_max) = (fixed.is_none(), self.attempts_max);
        let mut plan = QueuePlan { capacity, cell_bytes, rows: place.rows(), is_coded, leases: 0, attempts_max };
        plan.leases = self.leases.map_or_else(|| plan.usual_leases(), |items| items as u32);
        let arena = if is_coded { [self.spill_bytes, self.spill_bytes.min(SPILL_FIRST)] } else { [0; 2] };
        let blueprint = Blueprint { body_len: plan.body_len(), shape: plan.shape(), arena };
        object::make(place, &blueprint, |_| Ok(()))
    }
}

impl<T: Item> Queue<T> {
    /// A queue made to measure.
    ///
    /// ```
    /// let pages = mutirao::Queue::<Vec<u8>>::options().capacity(8).cell_bytes(5000).create()?;
    /// pages.send(vec![7; 4096])?;
    /// assert_eq!(pages.recv()?.len(), 4096);
    /// # Ok::<(), mutirao::Error>(())
    /// ```
    pub fn options() -> QueueOptions<T> {
        QueueOptions::usual()
    }
}
