//! Many keys of a dictionary at once: what they need of memory comes while others are looked at.

use crate::error::Result;
use crate::handle::dict::Dict;
use crate::handle::dict_bits::{Bits, Done, done};
use crate::handle::dict_codec::{DictItem, Lookup, from_word, to_word, with_spare, word_bytes};
use crate::handle::dict_store::{Store, Tables, mixed};
use crate::raw::table_line::PairLine;
use crate::segment::plain::{Scratch, value_in};
use crate::segment::table::{BATCH, Put, Table};
use crate::segment::table_lookup::NEAR;
use crate::segment::table_record::Record;
use core::borrow::Borrow;

impl<K: DictItem, V: DictItem> Dict<K, V> {
    /// Stores all entries of `entries`, as [`set`](Dict::set) does.
    ///
    /// # Errors
    ///
    /// The first one; entries before it are stored. See [`Dict`].
    #[doc(alias = "__ior__")]
    pub fn extend<A: Borrow<K>, B: Borrow<V>>(&self, entries: impl IntoIterator<Item = (A, B)>) -> Result<()> {
        self.insert_many(entries).map(|_| ())
    }

    /// Stores all entries of `entries`, as [`set`](Dict::set) does; returns how many keys were new. What they need of memory
    /// comes while others are stored.
    ///
    /// # Errors
    ///
    /// As [`extend`](Dict::extend).
    pub fn insert_many<A: Borrow<K>, B: Borrow<V>>(&self, entries: impl IntoIterator<Item = (A, B)>) -> Result<usize> {
        let (mut entries, mut new, mut chunk) = (entries.into_iter(), 0, Vec::with_capacity(BATCH));
        loop {
            chunk.clear();
            chunk.extend(entries.by_ref().take(BATCH));
            if chunk.is_empty() {
                return Ok(new);
            }
            new += self.store.put_chunk(chunk.iter().map(|(key, value)| (key.borrow(), value.borrow())))?;
        }
    }

    /// The values of many keys, in their order. What they need of memory comes while others are looked at: in a dictionary
    /// that is larger than the processor's caches it takes a half to two thirds of what as many calls of [`get`](Dict::get) take.
    ///
    /// # Errors
    ///
    /// The first one. See [`Dict`].
    ///
    /// # Examples
    ///
    /// ```
    /// use mutirao::Dict;
    /// let squares = Dict::<u64, u64>::new()?;
    /// squares.insert_many((0..100).map(|n| (n, n * n)))?;
    /// assert_eq!(squares.get_many(&[3, 7, 200])?, [Some(9), Some(49), None]);
    /// # Ok::<(), mutirao::Error>(())
    /// ```
    pub fn get_many<'q, Q>(&self, keys: impl IntoIterator<Item = &'q Q>) -> Result<Vec<Option<V>>>
    where
        Q: Lookup<K> + ?Sized + 'q,
    {
        let keys = keys.into_iter();
        let mut values = Vec::with_capacity(keys.size_hint().0);
        in_chunks(keys, |chunk| self.store.get_chunk(chunk.into_iter().flatten(), &mut values))?;
        Ok(values)
    }

    /// Runs `f` with each of many keys, in their order, and the bytes of its value as [`get_with`](Dict::get_with) has them.
    /// What they need of memory comes while others are looked at, and no value is moved from where it was copied to: nothing
    /// reads much plain data faster.
    ///
    /// # Errors
    ///
    /// The first one; `f` ran with the keys before it. See [`Dict`].
    ///
    /// # Examples
    ///
    /// ```
    /// use mutirao::{Dict, Plain};
    /// let tiles = Dict::<u32, Plain<[u8; 256]>>::new()?;
    /// tiles.insert_many((0..100).map(|n| (n, Plain([n as u8; 256]))))?;
    /// let mut found = Vec::new();
    /// tiles.get_many_with(&[3, 7, 200], |key, bytes| found.push((*key, bytes.map(|bytes| bytes[255]))))?;
    /// assert_eq!(found, [(3, Some(3)), (7, Some(7)), (200, None)]);
    /// # Ok::<(), mutirao::Error>(())
    /// ```
    pub fn get_many_with<'q, Q>(
        &self,
        keys: impl IntoIterator<Item = &'q Q>,
        mut f: impl FnMut(&'q Q, Option<&[u8]>),
    ) -> Result<()>
    where
        Q: Lookup<K> + ?Sized + 'q,
    {
        in_chunks(keys.into_iter(), |chunk| {
            let mut whose = chunk.into_iter().flatten();
            self.store.read_chunk(chunk.into_iter().flatten(), |bytes| {
                if let Some(key) = whose.next() {
                    f(key, bytes);
                }
            })
        })
    }
}

/// Runs `f` with [`BATCH`] items at a time.
#[inline(always)]
fn in_chunks<T: Copy>(
    mut items: impl Iterator<Item = T>,
    mut f: impl FnMut([Option<T>; BATCH]) -> Result<()>,
) -> Result<()> {
    loop {
        let mut chunk = [None; BATCH];
        // The places first: it takes no more items than there are places.
        let taken = chunk.iter_mut().zip(items.by_ref()).map(|(place, item)| *place = Some(item)).count();
        if taken == 0 {
            return Ok(());
        }
        f(chunk)?;
    }
}

/// The bytes of a key, which are as many as such a key has: known to the compiler where they are compared and copied.
#[inline(always)]
fn known<K: DictItem>(key: &[u8]) -> Result<&[u8]> {
    K::FIXED.map_or(Some(key), |size| key.get(..size)).ok_or_else(mixed)
}

/// Runs `f` with the values of up to [`BATCH`] keys.
#[inline(always)]
fn each_word<'q, K: DictItem, Q: Lookup<K> + ?Sized + 'q>(
    table: &Table<PairLine>,
    keys: impl Iterator<Item = &'q Q>,
    mut f: impl FnMut(Option<u64>) -> Result<()>,
) -> Result<()> {
    let mut words = [0; BATCH];
    let taken = words.iter_mut().zip(keys).map(|(place, key)| *place = key.word()).count();
    let words = words.get(..taken).unwrap_or_default();
    words.iter().zip(table.prepare(words)).try_for_each(|(&word, hash)| f(table.get_hashed(word, hash)?))
}

impl<K: DictItem, V: DictItem> Store<K, V> {
    /// Runs `f` with the bytes of up to [`BATCH`] keys.
    #[inline(always)]
    fn with_keys<'q, Q: Lookup<K> + ?Sized + 'q, R>(
        &self,
        keys: impl Iterator<Item = &'q Q>,
        f: impl FnOnce(&[&[u8]]) -> Result<R>,
    ) -> Result<R> {
        if K::FIXED.is_some() {
            // Their own bytes: nothing is encoded.
            let (mut all, mut spare) = ([[].as_slice(); BATCH], [const { Vec::new() }; BATCH]);
            let mut taken = 0;
            for ((place, spare), key) in all.iter_mut().zip(&mut spare).zip(keys) {
                *place = self.key_bytes(key, spare)?;
                taken += 1;
            }
            return f(all.get(..taken).unwrap_or_default());
        }
        with_spare(|bytes| {
            let mut ends = [0; BATCH];
            bytes.clear();
            let mut taken = 0;
            for (end, key) in ends.iter_mut().zip(keys) {
                with_spare(|spare| self.key_bytes(key, spare).map(|key| bytes.extend_from_slice(key)))?;
                *end = bytes.len();
                taken += 1;
            }
            let (mut all, mut rest) = ([[].as_slice(); BATCH], bytes.as_slice());
            for ((place, end), from) in all.iter_mut().zip(ends).zip([0].into_iter().chain(ends)).take(taken) {
                (*place, rest) = rest.split_at_checked(end - from).unwrap_or_default();
            }
            f(all.get(..taken).unwrap_or_default())
        })
    }

    /// The values of up to [`BATCH`] keys, appended.
    fn get_chunk<'q, Q: Lookup<K> + ?Sized + 'q>(
        &self,
        keys: impl Iterator<Item = &'q Q>,
        into: &mut Vec<Option<V>>,
    ) -> Result<()> {
        self.body.life()?;
        match &self.table {
            Tables::Words(table) => each_word(table, keys, |word| {
                into.push(word.map(from_word).transpose()?);
                Ok(())
            }),
            Tables::Records(table) => self.with_keys(keys, |keys| {
                // Of values of several sizes, the next one is probably about as long as the one before.
                let hashes = table.prepare(keys, self.record_near(keys, V::FIXED.unwrap_or(128)));
                for (key, hash) in keys.iter().zip(hashes) {
                    let key = (known::<K>(key)?, hash);
                    if V::FIXED.is_some() {
                        into.push(match table.hit(key, V::FIXED, |words, _| value_in(words)) {
                            Some(data) => V::of_data(data),
                            None => self.get_anyhow(Bits::Bytes(key.0))?,
                        });
                    } else {
                        let read = |words: &[_], len: usize| (V::copy_out(words, len.min(8 * words.len())), len);
                        let found = table.get_hashed(key, read)?;
                        into.push(found.map(|(raw, len)| self.decode_raw(raw, len)).transpose()?);
                    }
                }
                Ok(())
            }),
        }
    }

    /// Runs `f` with the bytes of the values of up to [`BATCH`] keys.
    #[inline(always)]
    fn read_chunk<'q, Q: Lookup<K> + ?Sized + 'q>(
        &self,
        keys: impl Iterator<Item = &'q Q>,
        mut f: impl FnMut(Option<&[u8]>),
    ) -> Result<()> {
        self.body.life()?;
        match &self.table {
            Tables::Words(table) => each_word(table, keys, |word| {
                let value = word.map(u64::to_le_bytes);
                f(value.as_ref().map(|bytes| &bytes[..word_bytes::<V>()]));
                Ok(())
            }),
            Tables::Records(table) => self.with_keys(keys, |keys| {
                let hashes = table.prepare(keys, self.record_near(keys, V::FIXED.unwrap_or(128)));
                for (key, hash) in keys.iter().zip(hashes) {
                    let key = (known::<K>(key)?, hash);
                    let mut room = Scratch::<V::Data>::empty();
                    let full =
                        if V::FIXED.is_some() { table.hit(key, V::FIXED, |words, _| room.fill(words)) } else { None };
                    match full {
                        Some(mut full) => f(Some(full.bytes())),
                        None => {
                            if self.get_bytes_with(key.0, |bytes| f(Some(bytes)))?.is_none() {
                                f(None);
                            }
                        }
                    }
                }
                Ok(())
            }),
        }
    }

    /// Bytes of a record to ask for, of one of these keys and a value of so many bytes.
    #[inline(always)]
    fn record_near(&self, keys: &[&[u8]], value: usize) -> u64 {
        let key = keys.first().map_or(0, |key| key.len());
        (8 * Record::words(key, value)).min(NEAR)
    }

    /// Stores up to [`BATCH`] entries. How many keys were new.
    fn put_chunk<'q>(&self, entries: impl Iterator<Item = (&'q K, &'q V)> + Clone) -> Result<usize> {
        self.body.life()?;
        let mut new = 0;
        match &self.table {
            Tables::Words(table) => {
                let mut words = [0; BATCH];
                let keys = entries.clone().map(|(key, _)| to_word(key));
                let taken = words.iter_mut().zip(keys).map(|(place, key)| *place = key).count();
                let hashes = table.prepare(words.get(..taken).unwrap_or_default());
                for ((&word, hash), (_, value)) in words.iter().zip(hashes).zip(entries) {
                    new += usize::from(table.put_prepared(word, hash, to_word(value))? == Put::Inserted);
                }
                self.kept(Done::<()>::Inserted)?;
            }
            Tables::Records(table) => self.with_keys(entries.clone().map(|(key, _)| key), |keys| {
                let hashes = table.prepare(keys, self.record_near(keys, V::FIXED.unwrap_or(0)));
                for ((key, hash), (_, value)) in keys.iter().zip(hashes).zip(entries) {
                    let key = known::<K>(key)?;
                    let done = self.with_value(Bits::Bytes(key), value, |value| match value {
                        Bits::Bytes(value) => self.kept(done(table.set_prepared((key, hash), value)?)),
                        Bits::Word(_) => Err(mixed()),
                    })?;
                    new += usize::from(matches!(done, Done::Inserted));
                }
                Ok(())
            })?,
        }
        Ok(new)
    }
}
