//! A dictionary before it has verbs: encoded keys and values over the table of the segment, whichever kind it is.
//!
//! Which kind is known when the program is compiled, so each operation is one of two straight lines.

use crate::error::{Error, Result};
use crate::handle::codec::too_large;
use crate::handle::dict_bits::{Bits, Found};
use crate::handle::dict_codec::{DictItem, Lookup, Types, is_inline, to_bytes, to_word, with_spare};
use crate::handle::dict_short::Short;
use crate::raw::hash::HashKind;
use crate::raw::table_line::{PairLine, RecordLine};
use crate::segment::access::Placed;
use crate::segment::body::{Blueprint, Body};
use crate::segment::handoff;
use crate::segment::header::bad_shape;
use crate::segment::layout::ObjectKind;
use crate::segment::pending::{self, Pending, STRIPES};
use crate::segment::table::Table;
use crate::segment::table_plan::{Bucket, TableOptions, TablePlan};
use crate::segment::table_record::Record;
use core::marker::PhantomData;

pub(crate) const WHAT: &str = "the dictionary";

/// A table of either kind.
#[derive(Clone)]
pub(crate) enum Tables {
    Words(Table<PairLine>),
    Records(Table<RecordLine>),
}

/// The table, and what is being computed.
pub(crate) struct Store<K, V> {
    pub table: Tables,
    pub stripes: Placed<[Pending]>,
    pub body: Body,
    /// The most bytes of a key with nothing beside it.
    key_max: usize,
    _types: Types<K, V>,
}

/// Bytes of a record's lengths.
const LENGTHS: usize = 8;

/// What a new dictionary needs.
pub(crate) fn blueprint<K: DictItem, V: DictItem>(
    hash: HashKind,
    [capacity, limit]: [u64; 2],
    memory: [u64; 2],
    rows: u32,
) -> Blueprint {
    let plan = TablePlan::new(&TableOptions { bucket: bucket::<K, V>(), hash, capacity, limit, rows });
    Blueprint { body_len: pending::body_len_with(plan.body_len()), shape: plan.shape(), arena: memory }
}

/// Which kind of table it is.
#[inline(always)]
fn bucket<K: DictItem, V: DictItem>() -> Bucket {
    if is_inline::<K, V>() { Bucket::Words } else { Bucket::Records }
}

impl<K: DictItem, V: DictItem> Store<K, V> {
    pub(crate) fn attach(body: Body) -> Result<Self> {
        let bad = || bad_shape(ObjectKind::Dict, body.shape());
        let plan = TablePlan::from_shape(body.shape()).ok_or_else(bad)?;
        let arena = body.attachment().arena().ok_or_else(bad)?;
        let bucket = bucket::<K, V>();
        let table = match bucket {
            Bucket::Words => Tables::Words(Table::attach(body.clone(), bucket)?),
            Bucket::Records => Tables::Records(Table::attach(body.clone(), bucket)?),
        };
        Ok(Self {
            table,
            stripes: body.placed_slice(pending::stripes_at(plan.body_len()), STRIPES)?,
            key_max: usize::try_from(arena.usage_max())
                .unwrap_or(usize::MAX)
                .min(u32::MAX as usize)
                .saturating_sub(LENGTHS),
            body,
            _types: PhantomData,
        })
    }

    /// Fills what is not zero in a new one.
    pub(crate) fn fill(&self) -> Result<()> {
        match &self.table {
            Tables::Words(table) => table.fill(),
            Tables::Records(table) => table.fill(),
        }
    }

    /// Has memory made for so many entries, where it is known how large they are. A hint.
    pub(crate) fn make_room(&self, entries: u64) {
        match (&self.table, K::FIXED, V::FIXED) {
            (Tables::Words(table), ..) => table.make_room(entries, 0),
            (Tables::Records(table), Some(key), Some(value)) => table.make_room(entries, 8 * Record::words(key, value)),
            (Tables::Records(_), ..) => {}
        }
    }

    pub(crate) fn len(&self) -> u64 {
        match &self.table {
            Tables::Words(table) => table.len(),
            Tables::Records(table) => table.len(),
        }
    }

    pub(crate) fn has_alarm(&self) -> bool {
        match &self.table {
            Tables::Words(table) => table.has_alarm(),
            Tables::Records(table) => table.has_alarm(),
        }
    }

    /// Families of buckets that a walk which begins now goes through.
    pub(crate) fn families(&self) -> u64 {
        match &self.table {
            Tables::Words(table) => table.buckets(),
            Tables::Records(table) => table.buckets(),
        }
    }

    /// Runs `f` with the key's bits. A handle in a key may live in our own segment.
    #[inline(always)]
    pub(crate) fn with_key<Q: Lookup<K> + ?Sized, R>(
        &self,
        key: &Q,
        f: impl FnOnce(Bits<'_>) -> Result<R>,
    ) -> Result<R> {
        if is_inline::<K, V>() {
            return f(Bits::Word(key.word()));
        }
        if K::FIXED.is_some() {
            return f(Bits::Bytes(self.key_bytes(key, &mut Vec::new())?));
        }
        match key.text().and_then(Short::of).filter(|short| short.bytes().len() <= self.key_max) {
            Some(short) => f(Bits::Bytes(short.bytes())),
            None => self.with_long_key(key, f),
        }
    }

    #[inline(never)]
    fn with_long_key<Q: Lookup<K> + ?Sized, R>(&self, key: &Q, f: impl FnOnce(Bits<'_>) -> Result<R>) -> Result<R> {
        with_spare(|spare| f(Bits::Bytes(self.key_bytes(key, spare)?)))
    }

    /// The bytes of a key that is no word: its own, or in `spare`.
    #[inline(always)]
    pub(crate) fn key_bytes<'a, Q: Lookup<K> + ?Sized>(&self, key: &'a Q, spare: &'a mut Vec<u8>) -> Result<&'a [u8]> {
        match K::FIXED {
            // Its own bytes. One that is too large is nowhere, and is refused where it would be stored.
            Some(_) => key.bytes(usize::MAX, spare),
            None => handoff::at_home(self.body.segment(), || key.bytes(self.key_max, spare)),
        }
    }

    /// The most bytes of a value beside this key, if there can be one.
    #[inline(always)]
    pub(crate) fn value_max(&self, key: &[u8]) -> Result<usize> {
        match self.key_max.checked_sub(key.len()) {
            None => Err(too_large(key.len(), self.key_max).of_entry("a key")),
            Some(_) => Ok(self.key_max.saturating_sub(key.len().next_multiple_of(8))),
        }
    }

    /// Runs `f` with the bits of a value that is to stand beside this key.
    #[inline(always)]
    pub(crate) fn with_value<R>(&self, key: Bits<'_>, value: &V, f: impl FnOnce(Bits<'_>) -> Result<R>) -> Result<R> {
        let Bits::Bytes(key) = key else { return f(Bits::Word(to_word(value))) };
        let most = self.value_max(key)?;
        if V::FIXED.is_some() {
            return f(Bits::Bytes(to_bytes(value, most, &mut Vec::new(), "a value")?)); // its own bytes
        }
        if let Some(short) = Short::of_value(value)
            && short.bytes().len() <= most
        {
            return f(Bits::Bytes(short.bytes()));
        }
        with_spare(|spare| {
            let bytes = handoff::at_home(self.body.segment(), || to_bytes(value, most, spare, "a value"))?;
            f(Bits::Bytes(bytes))
        })
    }

    /// Makes a key of its bits.
    pub(crate) fn decode_key(&self, key: &Found) -> Result<K> {
        match K::FIXED {
            Some(_) => key.decode("a key"),
            None => handoff::at_home(self.body.segment(), || key.decode("a key")),
        }
    }

    /// The hash of a key, with the table's secrets.
    pub(crate) fn hash(&self, key: Bits<'_>) -> Result<u64> {
        match (key, &self.table) {
            (Bits::Word(key), Tables::Words(table)) => Ok(table.hash_word(key)),
            (Bits::Bytes(key), Tables::Records(table)) => Ok(table.hash(key)),
            _ => Err(mixed()),
        }
    }

    /// All entries of one family of buckets, appended.
    pub(crate) fn scan(&self, family: u64, families: u64, into: &mut Vec<(Found, Found)>) -> Result<()> {
        self.body.life()?;
        match &self.table {
            Tables::Words(table) => {
                table.scan_words(family, families, |key, value| into.push((Found::Word(key), Found::Word(value))))
            }
            Tables::Records(table) => table.scan(family, families, |key, value| {
                into.push((Found::of(key), Found::of(value)));
            }),
        }
    }
}

impl<K, V> Clone for Store<K, V> {
    fn clone(&self) -> Self {
        Self {
            table: self.table.clone(),
            stripes: self.stripes.clone(),
            body: self.body.clone(),
            key_max: self.key_max,
            _types: PhantomData,
        }
    }
}

#[cold]
pub(crate) fn bad_length(len: usize) -> Error {
    Error::corrupt(WHAT, format!("a value of fixed size has {len} bytes"))
}

#[cold]
pub(crate) fn mixed() -> Error {
    Error::corrupt(WHAT, "a key of one kind beside a value of the other")
}
