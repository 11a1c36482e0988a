//! A dictionary before it has verbs: encoded keys and values over the table of the segment, whichever kind it is.
//!
//! Which kind is known when the program is compiled, so each operation is one of two straight lines.

use crate::error::{Error, Result};
use crate::handle::codec::too_large;
use crate::handle::dict_bits::{Bits, Done, Found, If, done};
use crate::handle::dict_codec::{
    DictItem, Lookup, Types, from_word, is_any_word, is_inline, to_bytes, to_word, with_spare,
};
use crate::raw::hash::HashKind;
use crate::raw::table_line::{PairLine, RecordLine};
use crate::segment::access::Placed;
use crate::segment::body::{Blueprint, Body};
use crate::segment::handoff;
use crate::segment::header::bad_shape;
use crate::segment::layout::ObjectKind;
use crate::segment::pending::{self, Pending, STRIPES};
use crate::segment::table::{Table, When};
use crate::segment::table_plan::{Bucket, TableOptions, TablePlan};
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
    pub(crate) fn fill(body: &Body) -> Result<()> {
        Table::<PairLine>::fill(body)
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

    /// Runs `f` with the bits of a value that is to stand beside this key.
    #[inline(always)]
    pub(crate) fn with_value<R>(&self, key: Bits<'_>, value: &V, f: impl FnOnce(Bits<'_>) -> Result<R>) -> Result<R> {
        let Bits::Bytes(key) = key else { return f(Bits::Word(to_word(value))) };
        if key.len() > self.key_max {
            return Err(too_large(key.len(), self.key_max).of_entry("a key"));
        }
        let most = self.key_max.saturating_sub(key.len().next_multiple_of(8));
        if V::FIXED.is_some() {
            return f(Bits::Bytes(to_bytes(value, most, &mut Vec::new(), "a value")?)); // its own bytes
        }
        with_spare(|spare| {
            let bytes = handoff::at_home(self.body.segment(), || to_bytes(value, most, spare, "a value"))?;
            f(Bits::Bytes(bytes))
        })
    }

    /// After an insertion beyond the limit, forgets something.
    #[inline(always)]
    pub(crate) fn kept<T>(&self, done: Done<T>) -> Result<Done<T>> {
        if matches!(done, Done::Inserted) {
            match &self.table {
                Tables::Words(table) => table.keep_limit()?,
                Tables::Records(table) => table.keep_limit()?,
            }
        }
        Ok(done)
    }

    /// Stores a value and says only what was done.
    #[inline(always)]
    pub(crate) fn put(&self, key: Bits<'_>, value: Bits<'_>, when: If<'_>) -> Result<Done<()>> {
        match (key, value, &self.table) {
            (Bits::Word(key), Bits::Word(value), Tables::Words(table)) => {
                self.kept(done(table.put_word(key, value, when.word())?).map(|_| ()))
            }
            (Bits::Bytes(key), Bits::Bytes(value), Tables::Records(table)) => {
                self.kept(done(table.put(key, value, when.bytes(), None)?))
            }
            _ => Err(mixed()),
        }
    }

    /// The table, where keys and values are words: then nothing is encoded.
    #[inline(always)]
    fn words(&self) -> Option<&Table<PairLine>> {
        match &self.table {
            Tables::Words(table) if is_inline::<K, V>() => Some(table),
            _ => None,
        }
    }

    /// Stores a value beside a key, and says only what was done.
    #[inline(always)]
    pub(crate) fn set<Q: Lookup<K> + ?Sized>(&self, key: &Q, value: &V, when: If<'_>) -> Result<Done<()>> {
        if let Some(table) = self.words() {
            return self.kept(done(table.put_word(key.word(), to_word(value), when.word())?).map(drop));
        }
        self.with_key(key, |key| self.with_value(key, value, |value| self.put(key, value, when)))
    }

    /// Stores a value beside a key whatever there was, and returns that.
    #[inline(always)]
    pub(crate) fn replace<Q: Lookup<K> + ?Sized>(&self, key: &Q, value: &V) -> Result<Option<V>> {
        if let Some(table) = self.words() {
            let done = self.kept(done(table.put_word(key.word(), to_word(value), When::Always)?))?;
            return done.replaced().map(from_word).transpose();
        }
        self.with_key(key, |key| self.with_value(key, value, |value| self.replace_bytes(key, value)))
    }

    fn replace_bytes(&self, key: Bits<'_>, value: Bits<'_>) -> Result<Option<V>> {
        let (Bits::Bytes(key), Bits::Bytes(value), Tables::Records(table)) = (key, value, &self.table) else {
            return Err(mixed());
        };
        with_spare(|old| {
            let done = self.kept(done(table.put(key, value, When::Always, Some(old))?))?;
            done.replaced().map(|()| self.decode_bytes(old)).transpose()
        })
    }

    /// Removes a key whatever its value, and returns that. One that does not decode stays.
    pub(crate) fn take(&self, key: Bits<'_>) -> Result<Option<V>> {
        if let (Bits::Word(word), Tables::Words(table)) = (key, &self.table)
            && is_any_word::<V>()
        {
            self.body.life()?;
            return done(table.remove_word(word, When::Always)?).replaced().map(from_word).transpose();
        }
        // Ends: a round is lost only to another's change.
        while let Some(found) = self.find(key)? {
            let value = self.decode(&found)?;
            if self.remove(key, If::Was(&found))? {
                return Ok(Some(value));
            }
        }
        Ok(None)
    }

    /// Removes a key. True: there was a value for which the condition held.
    pub(crate) fn remove(&self, key: Bits<'_>, when: If<'_>) -> Result<bool> {
        self.body.life()?;
        match (key, &self.table) {
            (Bits::Word(key), Tables::Words(table)) => {
                Ok(done(table.remove_word(key, when.word())?).replaced().is_some())
            }
            (Bits::Bytes(key), Tables::Records(table)) => {
                Ok(done(table.remove(key, when.bytes(), None)?).replaced().is_some())
            }
            _ => Err(mixed()),
        }
    }

    fn decode_bytes(&self, bytes: &[u8]) -> Result<V> {
        match V::FIXED {
            Some(_) => V::decode_from(bytes, "a value"),
            None => handoff::at_home(self.body.segment(), || V::decode_from(bytes, "a value")),
        }
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
