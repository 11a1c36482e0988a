//! Changes of a dictionary's entry that depend on what it was: looked at, thought about outside of any lock, and stored if it
//! is still what was looked at.

use crate::error::Result;
use crate::handle::dict::{Dict, contended};
use crate::handle::dict_bits::{Bits, Done, Found, If};
use crate::handle::dict_codec::{DictItem, Lookup};
use crate::handle::integer::Integer;

/// Rounds that may be lost to others before a call gives up.
const ROUNDS: u32 = 1_000_000;

impl<K: DictItem, V: DictItem> Dict<K, V> {
    /// Replaces the value of a key by what `change` makes of it, and returns the new one. No other change of the key comes between;
    /// to make sure of that, `change` may be called several times, never under a lock. `None`: there is no value.
    ///
    /// # Errors
    ///
    /// `is_contended` when others were faster a million times in a row; else see [`Dict`]. When `change` panics, nothing has
    /// changed.
    ///
    /// # Examples
    ///
    /// ```
    /// use mutirao::Dict;
    /// let words = Dict::<String, u64>::new()?;
    /// for word in "the cat and the dog".split(' ') {
    ///     words.update(word, |count| count.unwrap_or(0) + 1)?;
    /// }
    /// assert_eq!(words.get("the")?, Some(2));
    /// # Ok::<(), mutirao::Error>(())
    /// ```
    pub fn update<Q: Lookup<K> + ?Sized>(&self, key: &Q, mut change: impl FnMut(Option<V>) -> V) -> Result<V> {
        self.change_as(key, &mut change, |new| Some(new))
    }

    /// As [`update`](Dict::update), where `None` removes the key, or leaves it without a value.
    ///
    /// # Errors
    ///
    /// As [`update`](Dict::update).
    ///
    /// # Examples
    ///
    /// ```
    /// use mutirao::Dict;
    /// let stock = Dict::<String, u32>::new()?;
    /// stock.insert("apples", &1)?;
    /// let sell_one = |left: Option<u32>| left.and_then(|n| n.checked_sub(1)).filter(|n| *n > 0);
    /// assert_eq!(stock.change("apples", sell_one)?, None);
    /// assert!(!stock.contains_key("apples")?);
    /// # Ok::<(), mutirao::Error>(())
    /// ```
    #[doc(alias = "compute")]
    #[doc(alias = "alter")]
    pub fn change<Q: Lookup<K> + ?Sized>(
        &self,
        key: &Q,
        mut change: impl FnMut(Option<V>) -> Option<V>,
    ) -> Result<Option<V>> {
        self.change_as(key, &mut change, Option::as_ref)
    }

    /// The loop: `change` until nobody came between; `as_new` says what of its answer is to be stored.
    fn change_as<Q: Lookup<K> + ?Sized, N>(
        &self,
        key: &Q,
        change: &mut impl FnMut(Option<V>) -> N,
        as_new: impl for<'n> Fn(&'n N) -> Option<&'n V>,
    ) -> Result<N> {
        self.store.with_key(key, |key| {
            for _ in 0..ROUNDS {
                let found = self.store.find(key)?;
                let old = found.as_ref().map(|found| self.store.decode(found)).transpose()?;
                let new = change(old);
                if self.exchange(key, found.as_ref(), as_new(&new))? {
                    return Ok(new);
                }
            }
            Err(contended(ROUNDS))
        })
    }

    /// Stores `new` if the key's value is `current`, that is, has the same bytes; `None` stands for no value. True: done.
    ///
    /// # Errors
    ///
    /// See [`Dict`].
    ///
    /// # Examples
    ///
    /// ```
    /// use mutirao::Dict;
    /// let leaders = Dict::<String, u32>::new()?;
    /// assert!(leaders.compare_exchange("blue", None, Some(&7))?);
    /// assert!(!leaders.compare_exchange("blue", None, Some(&8))?);
    /// assert!(leaders.compare_exchange("blue", Some(&7), None)?);
    /// # Ok::<(), mutirao::Error>(())
    /// ```
    pub fn compare_exchange<Q: Lookup<K> + ?Sized>(
        &self,
        key: &Q,
        current: Option<&V>,
        new: Option<&V>,
    ) -> Result<bool> {
        self.store.with_key(key, |key| {
            let encode = |value| self.store.with_value(key, value, |bits| Ok(bits.to_found()));
            let current = current.map(encode).transpose()?;
            self.exchange(key, current.as_ref(), new)
        })
    }

    /// One attempt: `new` in the place of what was found.
    fn exchange(&self, key: Bits<'_>, found: Option<&Found>, new: Option<&V>) -> Result<bool> {
        match (found, new) {
            (None, None) => Ok(!self.store.contains(key)?),
            (Some(found), None) => self.store.remove(key, If::Was(found)),
            (found, Some(new)) => {
                let when = found.map_or(If::Absent, If::Was);
                let done = self.store.with_value(key, new, |new| self.store.put(key, new, when))?;
                Ok(!matches!(done, Done::Refused))
            }
        }
    }

    /// The value of a key, stored if it has none.
    ///
    /// # Errors
    ///
    /// See [`Dict`].
    #[doc(alias = "setdefault")]
    pub fn get_or_insert<Q: Lookup<K> + ?Sized>(&self, key: &Q, value: V) -> Result<V> {
        self.store.with_key(key, |key| self.get_or_put(key, value))
    }

    /// The value that stands there, or this one, now stored.
    pub(crate) fn get_or_put(&self, key: Bits<'_>, value: V) -> Result<V> {
        for _ in 0..ROUNDS {
            if let Some(value) = self.store.look(key)? {
                return Ok(value);
            }
            if self.exchange(key, None, Some(&value))? {
                return Ok(value);
            }
        }
        Err(contended(ROUNDS))
    }
}

/// Whole numbers: a key without a value counts from 0, sums wrap around.
impl<K: DictItem, V: DictItem + Integer> Dict<K, V> {
    /// Adds `n` to the value of a key; returns the value before, 0 if there was none.
    ///
    /// # Errors
    ///
    /// As [`update`](Dict::update).
    #[doc(alias = "Counter")]
    pub fn fetch_add<Q: Lookup<K> + ?Sized>(&self, key: &Q, n: V) -> Result<V> {
        Ok(self.update(key, |old| old.unwrap_or_else(V::new_zeroed).wrapping_plus(n))?.wrapping_minus(n))
    }

    /// Subtracts `n` from the value of a key; returns the value before, 0 if there was none.
    ///
    /// # Errors
    ///
    /// As [`update`](Dict::update).
    pub fn fetch_sub<Q: Lookup<K> + ?Sized>(&self, key: &Q, n: V) -> Result<V> {
        Ok(self.update(key, |old| old.unwrap_or_else(V::new_zeroed).wrapping_minus(n))?.wrapping_plus(n))
    }
}
