//! How entries of a dictionary come and go: a word beside a word in one straight line, plain data beside plain data too, and
//! all the rest encoded first.

use crate::error::Result;
use crate::handle::dict_bits::{Bits, Done, If, done};
use crate::handle::dict_codec::{DictItem, Lookup, from_word, is_any_word, is_inline, to_bytes, to_word, with_spare};
use crate::handle::dict_store::{Store, Tables, mixed};
use crate::raw::table_line::PairLine;
use crate::segment::plain::{not_a_value, value_in};
use crate::segment::table::{Table, When};
use crate::sync::AtomicU64;

impl<K: DictItem, V: DictItem> Store<K, V> {
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
        if K::FIXED.is_some() && V::FIXED.is_some() {
            return match when {
                If::Always if self.replace_plain(key, value, |_| ()).is_some() => Ok(Done::Replaced(())),
                If::Always => self.set_plain(key, value),
                when => self.put_plain(key, value, when),
            };
        }
        self.with_key(key, |key| self.with_value(key, value, |value| self.put_encoded(key, value, when)))
    }

    /// As [`put`](Self::put), straight if it takes the place of as many bytes.
    #[inline(always)]
    fn put_encoded(&self, key: Bits<'_>, value: Bits<'_>, when: If<'_>) -> Result<Done<()>> {
        if let (If::Always, Bits::Bytes(key), Bits::Bytes(value), Tables::Records(table)) =
            (when, key, value, &self.table)
            && table.replace(key, value, |_| ()).is_some()
        {
            return Ok(Done::Replaced(()));
        }
        self.put(key, value, when)
    }

    /// Plain data where there was some of this size: straight too, both are their own bytes. Inlined: a call stores nine words
    /// more, and the processor has room for few (decision 0026). What `read` makes of the old value; `None`: nothing was done.
    #[inline(always)]
    fn replace_plain<Q: Lookup<K> + ?Sized, R>(
        &self,
        key: &Q,
        value: &V,
        read: impl FnOnce(&[AtomicU64]) -> R,
    ) -> Option<R> {
        let mut no = Vec::new();
        let (Ok(key), Some(value), Tables::Records(table)) =
            (self.key_bytes(key, &mut no), value.fixed_bytes(), &self.table)
        else {
            return None;
        };
        let has_room = self.value_max(key).is_ok_and(|most| value.len() <= most);
        if has_room { table.replace(key, value, read) } else { None }
    }

    /// Plain data, whatever there was.
    #[inline(never)]
    fn set_plain<Q: Lookup<K> + ?Sized>(&self, key: &Q, value: &V) -> Result<Done<()>> {
        self.put_plain(key, value, If::Always)
    }

    #[inline(always)]
    fn put_plain<Q: Lookup<K> + ?Sized>(&self, key: &Q, value: &V, when: If<'_>) -> Result<Done<()>> {
        let (mut no, mut none) = (Vec::new(), Vec::new());
        let key = self.key_bytes(key, &mut no)?;
        let value = to_bytes(value, self.value_max(key)?, &mut none, "a value")?;
        self.put(Bits::Bytes(key), Bits::Bytes(value), when)
    }

    /// Stores a value beside a key whatever there was, and returns that.
    #[inline(always)]
    pub(crate) fn replace<Q: Lookup<K> + ?Sized>(&self, key: &Q, value: &V) -> Result<Option<V>> {
        if let Some(table) = self.words() {
            let done = self.kept(done(table.put_word(key.word(), to_word(value), When::Always)?))?;
            return done.replaced().map(from_word).transpose();
        }
        if K::FIXED.is_some()
            && V::FIXED.is_some()
            && let Some(old) = self.replace_plain(key, value, value_in::<V::Data>)
        {
            return old.map(V::of_data).ok_or_else(not_a_value::<V::Data>);
        }
        // In a place of its own: as in `get_anyhow`.
        let mut old = None;
        self.replace_anyhow(key, value, &mut old)?;
        Ok(old)
    }

    #[inline(never)]
    fn replace_anyhow<Q: Lookup<K> + ?Sized>(&self, key: &Q, value: &V, old: &mut Option<V>) -> Result<()> {
        *old = self.with_key(key, |key| self.with_value(key, value, |value| self.replace_bytes(key, value)))?;
        Ok(())
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
}
