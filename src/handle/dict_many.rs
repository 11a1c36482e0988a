//! Many keys of a dictionary at once: what they need of memory comes while others are looked at.

use crate::error::Result;
use crate::handle::dict::Dict;
use crate::handle::dict_bits::{Bits, Done, If};
use crate::handle::dict_codec::{DictItem, Lookup, from_word, to_word, with_spare};
use crate::handle::dict_store::{Store, Tables};
use crate::segment::table::Put;
use core::borrow::Borrow;
use core::ops::Range;

/// Keys whose memory is asked for at once.
const BATCH: usize = 16;

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

    /// Stores all entries of `entries`, as [`set`](Dict::set) does; returns how many keys were new.
    ///
    /// # Errors
    ///
    /// As [`extend`](Dict::extend).
    pub fn insert_many<A: Borrow<K>, B: Borrow<V>>(&self, entries: impl IntoIterator<Item = (A, B)>) -> Result<usize> {
        let (mut entries, mut new) = (entries.into_iter(), 0);
        loop {
            let chunk: Vec<_> = entries.by_ref().take(BATCH).collect();
            if chunk.is_empty() {
                return Ok(new);
            }
            new += self.store.put_chunk(chunk.iter().map(|(key, value)| (key.borrow(), value.borrow())))?;
        }
    }

    /// The values of many keys, in their order.
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
        let (mut keys, mut values) = (keys.into_iter(), Vec::new());
        loop {
            let before = values.len();
            self.store.get_chunk(keys.by_ref().take(BATCH), &mut values)?;
            if values.len() == before {
                return Ok(values);
            }
        }
    }
}

/// Keys, encoded one behind the other.
struct Encoded<'a> {
    bytes: &'a [u8],
    each: Vec<Range<usize>>,
}

impl<'a> Encoded<'a> {
    fn keys(&self) -> Vec<&'a [u8]> {
        self.each.iter().map(|range| self.bytes.get(range.clone()).unwrap_or_default()).collect()
    }
}

impl<K: DictItem, V: DictItem> Store<K, V> {
    /// Runs `f` with the bytes of some keys.
    fn with_keys<'q, Q: Lookup<K> + ?Sized + 'q, R>(
        &self,
        keys: impl Iterator<Item = &'q Q>,
        f: impl FnOnce(Encoded<'_>) -> Result<R>,
    ) -> Result<R> {
        with_spare(|bytes| {
            let mut each = Vec::with_capacity(BATCH);
            bytes.clear();
            for key in keys {
                let from = bytes.len();
                self.with_key(key, |key| {
                    if let Bits::Bytes(key) = key {
                        bytes.extend_from_slice(key);
                    }
                    Ok(())
                })?;
                each.push(from..bytes.len());
            }
            f(Encoded { bytes, each })
        })
    }

    /// The values of a few keys, appended.
    fn get_chunk<'q, Q: Lookup<K> + ?Sized + 'q>(
        &self,
        keys: impl Iterator<Item = &'q Q>,
        into: &mut Vec<Option<V>>,
    ) -> Result<()> {
        self.body.life()?;
        match &self.table {
            Tables::Words(table) => {
                let words: Vec<_> = keys.map(|key| key.word()).collect();
                let mut found = Vec::with_capacity(words.len());
                table.get_words(&words, |_, value| found.push(value))?;
                found.into_iter().try_for_each(|word| {
                    into.push(word.map(from_word).transpose()?);
                    Ok(())
                })
            }
            Tables::Records(table) => self.with_keys(keys, |keys| {
                let keys = keys.keys();
                let mut found = Vec::with_capacity(keys.len());
                table.get_many(
                    &keys,
                    |words, len| (V::copy_out(words, len.min(8 * words.len())), len),
                    |_, read| found.push(read),
                )?;
                found.into_iter().try_for_each(|read| {
                    into.push(read.map(|(raw, len)| self.decode_raw(raw, len)).transpose()?);
                    Ok(())
                })
            }),
        }
    }

    /// Stores a few entries. How many keys were new.
    fn put_chunk<'q>(&self, entries: impl Iterator<Item = (&'q K, &'q V)> + Clone) -> Result<usize> {
        self.body.life()?;
        let mut new = 0;
        match &self.table {
            Tables::Words(table) => {
                let words: Vec<_> = entries.map(|(key, value)| (to_word(key), to_word(value))).collect();
                table.put_words(&words, |_, put| new += usize::from(put == Put::Inserted))?;
                self.kept(Done::<()>::Inserted)?;
            }
            Tables::Records(table) => self.with_keys(entries.clone().map(|(key, _)| key), |keys| {
                let keys = keys.keys();
                table.prepare(keys.iter().copied());
                for (key, (_, value)) in keys.iter().zip(entries) {
                    let key = Bits::Bytes(key);
                    let done = self.with_value(key, value, |value| self.put(key, value, If::Always))?;
                    new += usize::from(matches!(done, Done::Inserted));
                }
                Ok(())
            })?,
        }
        Ok(new)
    }
}
