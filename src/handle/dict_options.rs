//! How a dictionary is to be made.

use crate::error::{Error, Result};
use crate::handle::dict::Dict;
use crate::handle::dict_codec::{DictItem, Types};
use crate::handle::dict_store;
use crate::handle::object::{self, Object, Place};
use crate::raw::hash::HashKind;
use crate::segment::name::Name;
use crate::segment::open::Segment;
use core::marker::PhantomData;

/// Entries that there is room for, unless said otherwise.
const CAPACITY: usize = 16;
/// Memory that a dictionary in a segment of its own may take, unless said otherwise.
const MEMORY: u64 = 1 << 30;
/// What is taken of it at first.
const MEMORY_FIRST: u64 = 64 << 10;
/// The most entries that may be asked for.
const ENTRIES_MAX: usize = 1 << 36;

/// How keys are spread over the table.
///
/// Either way the table has secrets of its own, drawn when it is made, so nobody who does not know them can choose keys that
/// meet.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub enum Hash {
    /// Two folded multiplications: the usual one.
    #[default]
    Fast,
    /// SipHash-1-3, for keys chosen by strangers who can measure how long an operation takes. About half the rate.
    Keyed,
}

/// How a [`Dict`] is to be made.
#[derive(Clone, Debug)]
#[must_use]
pub struct DictOptions<K, V> {
    capacity: Option<usize>,
    limit: usize,
    hash: Hash,
    memory_bytes: u64,
    _types: Types<K, V>,
}

impl<K: DictItem, V: DictItem> Dict<K, V> {
    /// How a dictionary is to be made: its size at first, the most entries, the hash, the memory.
    ///
    /// ```
    /// use mutirao::Dict;
    /// let cache = Dict::<u64, f64>::options().capacity(10_000).limit(100_000).create()?;
    /// # cache.insert(&1, &0.5)?;
    /// # Ok::<(), mutirao::Error>(())
    /// ```
    pub fn options() -> DictOptions<K, V> {
        DictOptions::usual()
    }
}

impl<K: DictItem, V: DictItem> DictOptions<K, V> {
    pub(crate) fn usual() -> Self {
        Self { capacity: None, limit: 0, hash: Hash::Fast, memory_bytes: MEMORY, _types: PhantomData }
    }

    /// For how many entries there is to be room from the start: 16 unless said. It grows by itself; this
    /// saves the work of it, and where their size is known, as it is of numbers and plain data, has memory for all of them
    /// taken at once, as far as the segment has not as much free already.
    pub fn capacity(mut self, entries: usize) -> Self {
        self.capacity = Some(entries);
        self
    }

    /// About how many entries there may be, where the dictionary is a cache: beyond it, each new key has one
    /// forgotten that was not read lately. 0, as unless said: nothing is ever forgotten.
    ///
    /// With a limit a reader stores a mark where none is. An entry that was read since somebody looked for what to forget is
    /// passed over once.
    #[doc(alias = "maxsize")]
    #[doc(alias = "lru_cache")]
    pub fn limit(mut self, entries: usize) -> Self {
        self.limit = entries;
        self
    }

    /// How keys are spread over the table.
    pub fn hash(mut self, hash: Hash) -> Self {
        self.hash = hash;
        self
    }

    /// How many bytes of memory table and records may take in all: 1 GiB unless said, of which 64 KiB are taken at first, or what
    /// a [capacity](Self::capacity) wants. A dictionary in a segment with others shares the segment's memory, and this says
    /// nothing.
    pub fn memory_bytes(mut self, bytes: u64) -> Self {
        self.memory_bytes = bytes;
        self
    }

    /// Makes the dictionary, in a segment of its own.
    ///
    /// # Errors
    ///
    /// As [`Dict::new`]; `is_invalid` for a capacity or a limit beyond the machine.
    pub fn create(self) -> Result<Dict<K, V>> {
        self.made(Place::Alone)
    }

    /// Makes the dictionary without a name, in a segment that holds others too.
    ///
    /// # Errors
    ///
    /// As [`create`](DictOptions::create) and [`Dict::new_in`].
    pub fn create_in(self, segment: &Segment) -> Result<Dict<K, V>> {
        self.made(Place::In(segment))
    }

    /// Makes the dictionary with a name, in a segment that holds others too.
    ///
    /// # Errors
    ///
    /// As [`create`](DictOptions::create) and [`Dict::create`].
    pub fn create_named<'a>(self, segment: &'a Segment, name: impl Into<Name<'a>>) -> Result<Dict<K, V>> {
        self.made(Place::Named(segment, name.into()))
    }

    pub(crate) fn made(self, place: Place<'_>) -> Result<Dict<K, V>> {
        let capacity = self.capacity.unwrap_or(CAPACITY);
        for (what, entries) in [("room for", capacity), ("at most", self.limit)] {
            if entries > ENTRIES_MAX {
                let most = format!("there can be {ENTRIES_MAX}");
                return Err(Error::invalid(format!("a Dict with {what} {entries} entries"), most));
            }
        }
        let hash = match self.hash {
            Hash::Fast => HashKind::Fold2,
            Hash::Keyed => HashKind::SipHash13,
        };
        // Too little for the table itself would be no dictionary at all.
        let memory = [self.memory_bytes.max(MEMORY_FIRST), MEMORY_FIRST];
        let entries = [capacity, self.limit].map(|entries| entries as u64);
        let blueprint = dict_store::blueprint::<K, V>(hash, entries, memory, place.rows());
        let made = object::make(place, &blueprint, |made: &Dict<K, V>| made.store.fill())?;
        if let Some(wanted) = self.capacity {
            let most = if self.limit == 0 { usize::MAX } else { self.limit };
            made.store.make_room(wanted.min(most) as u64);
        }
        // Its secrets are written now: a handle reads them once.
        Dict::over(made.store.body.clone())
    }
}
