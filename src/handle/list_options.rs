//! How a list is to be made, and what of one can be read by who takes no part in its segment.

use crate::error::{Error, Result};
use crate::handle::codec::{Coded, Item};
use crate::handle::list::List;
use crate::handle::object::{self, Place};
use crate::handle::observed::ReadOnly;
use crate::segment::body::Blueprint;
use crate::segment::header::bad_shape;
use crate::segment::layout::ObjectKind;
use crate::segment::list::{ListPlan, ListView};
use crate::segment::name::Name;
use crate::segment::observer::Observer;
use crate::segment::open::Segment;
use core::marker::PhantomData;

/// Memory that is reserved, and not taken, for a list alone in its segment.
const MEMORY: u64 = 1 << 30;
/// What is taken of it at first.
const MEMORY_FIRST: u64 = 64 << 10;

/// How a [`List`] is to be made.
#[derive(Clone, Debug)]
#[must_use]
pub struct ListOptions<T> {
    memory_bytes: u64,
    _type: PhantomData<fn(T) -> T>,
}

impl<T: Item> ListOptions<T> {
    pub(crate) fn usual() -> Self {
        Self { memory_bytes: MEMORY, _type: PhantomData }
    }

    /// How many bytes the list may need in all: 1 GiB unless said, of which 64 KiB are taken at first. A list in a segment with
    /// others shares the segment's memory, and this says nothing.
    pub fn memory_bytes(mut self, bytes: u64) -> Self {
        self.memory_bytes = bytes;
        self
    }

    /// Makes the list, in a segment of its own.
    ///
    /// # Errors
    ///
    /// As [`List::new`]; `is_invalid` for memory of 0 bytes or beyond the machine.
    pub fn create(self) -> Result<List<T>> {
        self.made(Place::Alone)
    }

    /// Makes the list without a name, in a segment that holds others too.
    ///
    /// # Errors
    ///
    /// As [`List::new_in`].
    pub fn create_in(self, segment: &Segment) -> Result<List<T>> {
        self.made(Place::In(segment))
    }

    /// Makes the list with a name, in a segment that holds others too.
    ///
    /// # Errors
    ///
    /// As [`List::create`].
    pub fn create_named<'a>(self, segment: &'a Segment, name: impl Into<Name<'a>>) -> Result<List<T>> {
        self.made(Place::Named(segment, name.into()))
    }

    pub(crate) fn made(self, place: Place<'_>) -> Result<List<T>> {
        if self.memory_bytes == 0 {
            return Err(Error::invalid("a List without memory", "it needs some for its items"));
        }
        let plan = ListPlan::new(<T as Coded>::FIXED)
            .ok_or_else(|| Error::invalid("a List of so large items", "an item may have 4 GiB at most"))?;
        let arena = [self.memory_bytes, self.memory_bytes.min(MEMORY_FIRST)];
        object::make(place, &Blueprint { body_len: ListPlan::body_len(), shape: plan.shape(), arena }, |_| Ok(()))
    }
}

impl<T: Item> List<T> {
    /// A list made to measure.
    ///
    /// ```
    /// let few = mutirao::List::<String>::options().memory_bytes(1 << 20).create()?;
    /// assert!(few.push("x".repeat(2 << 20)).is_err_and(|error| error.error().is_out_of_memory()));
    /// # Ok::<(), mutirao::Error>(())
    /// ```
    pub fn options() -> ListOptions<T> {
        ListOptions::usual()
    }
}

impl Observer {
    /// The [`List`] of this name.
    ///
    /// # Errors
    ///
    /// As [`value`](Self::value).
    pub fn list<'a, T: Item>(&self, name: impl Into<Name<'a>>) -> Result<ReadOnly<List<T>>> {
        self.look_at(name.into())
    }
}

impl<T: Item> ReadOnly<List<T>> {
    fn look<R>(&self, ask: impl FnOnce(&ListView<'_>) -> Result<R>) -> Result<R> {
        let look = || {
            let plan = ListPlan::from_shape(self.sight.shape)
                .filter(|plan| Some(*plan) == ListPlan::new(<T as Coded>::FIXED))
                .ok_or_else(|| bad_shape(ObjectKind::List, self.sight.shape))?;
            let arena = self.sight.observer.arena();
            let arena = arena.ok_or_else(|| Error::corrupt("the segment", "a list without an arena"))?;
            ask(&ListView::new(self.sight.body.place(0)?, arena, plan)?)
        };
        self.sight.checked(look())
    }

    /// How many items there are now.
    ///
    /// # Errors
    ///
    /// See [`ReadOnly`].
    pub fn len(&self) -> Result<usize> {
        self.look(|list| Ok(list.len() as usize))
    }

    /// Whether there is none now.
    ///
    /// # Errors
    ///
    /// See [`ReadOnly`].
    pub fn is_empty(&self) -> Result<bool> {
        self.len().map(|len| len == 0)
    }

    /// The item of this index; `None` beyond the end.
    ///
    /// # Errors
    ///
    /// `is_codec` for an item that does not decode; else see [`ReadOnly`].
    pub fn get(&self, index: usize) -> Result<Option<T>> {
        let read = self.look(|list| list.read(index as u64, T::copy_out))?;
        read.map(|(raw, _)| T::decode(raw)).transpose()
    }

    /// All items as of one moment.
    ///
    /// # Errors
    ///
    /// `is_contended` for a list that is changed all the time, `is_codec`; else see [`ReadOnly`].
    pub fn to_vec(&self) -> Result<Vec<T>> {
        self.look(|list| list.read_all(T::copy_out))?.into_iter().map(T::decode).collect()
    }
}
