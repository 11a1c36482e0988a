//! Reading a dictionary before it has verbs. What is usual comes first and calls nothing, what is not is a call of its own.

use crate::error::Result;
use crate::handle::dict_bits::{Bits, Found, copy};
use crate::handle::dict_codec::{DictItem, Lookup, from_word, is_inline, with_spare, word_bytes};
use crate::handle::dict_short::from_short;
use crate::handle::dict_store::{Store, Tables, bad_length, mixed};
use crate::segment::handoff;
use crate::segment::plain::{self, Scratch, value_in};

/// The most bytes of an encoded value that is decoded without a buffer of the heap.
const SHORT: usize = 64;

impl<K: DictItem, V: DictItem> Store<K, V> {
    /// The value of a key. Straight where it is found where it should be, without a call: how soon the processor begins the
    /// next lookup is a matter of how few instructions this one has.
    #[inline(always)]
    pub(crate) fn get(&self, key: Bits<'_>) -> Result<Option<V>> {
        match (key, &self.table) {
            (Bits::Word(key), Tables::Words(table)) => {
                if let Some(word) = table.straight(key) {
                    return from_word(word).map(Some);
                }
            }
            (Bits::Bytes(key), Tables::Records(table)) if V::FIXED.is_some() => {
                if let Some(data) = table.straight(key, V::FIXED, |words, _| value_in(words)) {
                    return Ok(V::of_data(data));
                }
            }
            (Bits::Bytes(key), Tables::Records(table)) => {
                let mut room = [0; SHORT];
                let short = |words: &[_], len: usize| {
                    plain::copy_out(words, room.get_mut(..len)?);
                    Some(len)
                };
                if let Some(len) = table.straight(key, None, short) {
                    return self.decode_bytes(room.get(..len).unwrap_or_default()).map(Some);
                }
            }
            _ => {}
        }
        self.get_anyhow(key)
    }

    /// As [`get`](Self::get), as a call: for who asks several times, or goes deep.
    #[inline(never)]
    pub(crate) fn look(&self, key: Bits<'_>) -> Result<Option<V>> {
        self.get(key)
    }

    /// Makes a value of its bytes.
    #[inline(always)]
    pub(crate) fn decode_bytes(&self, bytes: &[u8]) -> Result<V> {
        match V::FIXED {
            Some(_) => V::decode_from(bytes, "a value"),
            None => match from_short(bytes) {
                Some(value) => Ok(value),
                None => handoff::at_home(self.body.segment(), || V::decode_from(bytes, "a value")),
            },
        }
    }

    /// As [`get`](Self::get), of a key before it is bits. Written out, not a closure: so that it is a part of whoever calls.
    #[inline(always)]
    pub(crate) fn get_by<Q: Lookup<K> + ?Sized>(&self, key: &Q) -> Result<Option<V>> {
        if is_inline::<K, V>() {
            self.get(Bits::Word(key.word()))
        } else if K::FIXED.is_some() {
            self.get(Bits::Bytes(self.key_bytes(key, &mut Vec::new())?))
        } else {
            self.with_key(key, |key| self.get(key))
        }
    }

    /// As [`get_with`](Self::get_with), of a key before it is bits, as [`get_by`](Self::get_by).
    #[inline(always)]
    pub(crate) fn get_with_by<Q: Lookup<K> + ?Sized, R>(
        &self,
        key: &Q,
        f: impl FnOnce(&[u8]) -> R,
    ) -> Result<Option<R>> {
        if is_inline::<K, V>() {
            self.get_with(Bits::Word(key.word()), f)
        } else if K::FIXED.is_some() {
            self.get_with(Bits::Bytes(self.key_bytes(key, &mut Vec::new())?), f)
        } else {
            self.with_key(key, |key| self.get_with(key, f))
        }
    }

    /// As [`get`](Self::get), of what was not straight there.
    #[inline(always)]
    pub(crate) fn get_anyhow(&self, key: Bits<'_>) -> Result<Option<V>> {
        // By what fits registers: nothing has to stand in memory for a call that is not made.
        match key {
            Bits::Word(key) => self.get_word_anyhow(key),
            Bits::Bytes(key) => {
                // In a place of its own: else what is found straight would be written there too, and moved from there.
                let mut found = None;
                self.get_bytes_anyhow(key, &mut found)?;
                Ok(found)
            }
        }
    }

    #[inline(never)]
    fn get_word_anyhow(&self, key: u64) -> Result<Option<V>> {
        self.body.life()?;
        let Tables::Words(table) = &self.table else { return Err(mixed()) };
        table.get_word(key)?.map(from_word).transpose()
    }

    #[inline(never)]
    fn get_bytes_anyhow(&self, key: &[u8], into: &mut Option<V>) -> Result<()> {
        self.body.life()?;
        let Tables::Records(table) = &self.table else { return Err(mixed()) };
        let read = |words: &[_], len: usize| (V::copy_out(words, len.min(8 * words.len())), len);
        let found = table.get(key, read)?;
        *into = found.map(|(raw, len)| self.decode_raw(raw, len)).transpose()?;
        Ok(())
    }

    /// Makes a value of what was copied out, which had so many bytes.
    #[inline(always)]
    pub(crate) fn decode_raw(&self, raw: V::Raw, len: usize) -> Result<V> {
        match V::FIXED {
            Some(size) if size != len => Err(bad_length(len)),
            Some(_) => V::decode(raw),
            None => handoff::at_home(self.body.segment(), || V::decode(raw)),
        }
    }

    /// Whether there is a value.
    #[inline(always)]
    pub(crate) fn contains(&self, key: Bits<'_>) -> Result<bool> {
        match (key, &self.table) {
            (Bits::Word(key), Tables::Words(table)) if table.straight(key).is_some() => return Ok(true),
            (Bits::Bytes(key), Tables::Records(table)) if table.straight(key, None, |_, _| Some(())).is_some() => {
                return Ok(true);
            }
            _ => {}
        }
        match key {
            Bits::Word(key) => self.contains_word(key),
            Bits::Bytes(key) => self.contains_bytes(key),
        }
    }

    #[inline(never)]
    fn contains_word(&self, key: u64) -> Result<bool> {
        self.body.life()?;
        let Tables::Words(table) = &self.table else { return Err(mixed()) };
        Ok(table.get_word(key)?.is_some())
    }

    #[inline(never)]
    fn contains_bytes(&self, key: &[u8]) -> Result<bool> {
        self.body.life()?;
        let Tables::Records(table) = &self.table else { return Err(mixed()) };
        Ok(table.get(key, |_, _| ())?.is_some())
    }

    /// Runs `f` with the bytes of a value.
    #[inline(always)]
    pub(crate) fn get_with<R>(&self, key: Bits<'_>, f: impl FnOnce(&[u8]) -> R) -> Result<Option<R>> {
        match key {
            Bits::Word(key) => self.get_word_with(key, f),
            Bits::Bytes(key) => {
                if let Tables::Records(table) = &self.table
                    && V::FIXED.is_some()
                {
                    let mut room = Scratch::<V::Data>::empty();
                    if let Some(mut full) = table.straight(key, V::FIXED, |words, _| room.fill(words)) {
                        return Ok(Some(f(full.bytes())));
                    }
                }
                self.get_bytes_with(key, f)
            }
        }
    }

    fn get_word_with<R>(&self, key: u64, f: impl FnOnce(&[u8]) -> R) -> Result<Option<R>> {
        self.body.life()?;
        let Tables::Words(table) = &self.table else { return Err(mixed()) };
        Ok(table.get_word(key)?.map(|word| f(&word.to_le_bytes()[..word_bytes::<V>()])))
    }

    #[inline(never)]
    pub(crate) fn get_bytes_with<R>(&self, key: &[u8], f: impl FnOnce(&[u8]) -> R) -> Result<Option<R>> {
        self.body.life()?;
        let Tables::Records(table) = &self.table else { return Err(mixed()) };
        with_spare(|bytes| {
            let read = table.get(key, |words, len| copy(words, len, bytes))?;
            Ok(read.map(|()| f(bytes)))
        })
    }

    /// The value of a key, as it is stored.
    pub(crate) fn find(&self, key: Bits<'_>) -> Result<Option<Found>> {
        self.body.life()?;
        match (key, &self.table) {
            (Bits::Word(key), Tables::Words(table)) => Ok(table.get_word(key)?.map(Found::Word)),
            (Bits::Bytes(key), Tables::Records(table)) => {
                let mut bytes = Vec::new();
                let read = table.get(key, |words, len| copy(words, len, &mut bytes))?;
                Ok(read.map(|()| Found::Bytes(bytes)))
            }
            _ => Err(mixed()),
        }
    }

    /// Makes a value of what was found.
    pub(crate) fn decode(&self, found: &Found) -> Result<V> {
        match found {
            Found::Word(word) => from_word(*word),
            Found::Bytes(bytes) => self.decode_bytes(bytes),
        }
    }
}
