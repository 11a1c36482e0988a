//! All entries of a dictionary.
//!
//! The table is walked by families: a bucket that was there at the beginning, and all that it was split into since. An
//! entry never leaves its family, so one that stays is met once, however much the table grows meanwhile.

use crate::error::Result;
use crate::handle::dict::Dict;
use crate::handle::dict_bits::{Found, If};
use crate::handle::dict_codec::DictItem;
use core::fmt;
use std::collections::HashMap;
use std::hash::Hash;

impl<K: DictItem, V: DictItem> Dict<K, V> {
    /// The entries, in no order, while others go on changing them: one that is there from beginning to end is met exactly
    /// once, with one of the values that it had meanwhile; one that comes or goes is met or not. An entry that does not
    /// decode is an `Err` among them; any other error is the last thing that comes.
    ///
    /// # Examples
    ///
    /// ```
    /// use mutirao::Dict;
    /// let ages = Dict::<String, u32>::new()?;
    /// ages.extend([("ada".to_owned(), 36), ("alan".to_owned(), 41)])?;
    /// let mut names = Vec::new();
    /// for entry in &ages {
    ///     let (name, age) = entry?;
    ///     assert!(age > 30);
    ///     names.push(name);
    /// }
    /// names.sort();
    /// assert_eq!(names, ["ada", "alan"]);
    /// # Ok::<(), mutirao::Error>(())
    /// ```
    #[doc(alias = "items")]
    pub fn iter(&self) -> DictEntries<'_, K, V> {
        DictEntries { dict: self, walk: Walk::new(self.store.families()), family: Vec::new() }
    }

    /// The keys, as [`iter`](Dict::iter) gives them. Values are not decoded.
    pub fn keys(&self) -> impl Iterator<Item = Result<K>> + '_ {
        self.raw().map(|entry| self.store.decode_key(&entry?.0))
    }

    /// The values, as [`iter`](Dict::iter) gives them. Keys are not decoded.
    pub fn values(&self) -> impl Iterator<Item = Result<V>> + '_ {
        self.raw().map(|entry| self.store.decode(&entry?.1))
    }

    /// All entries in a map of this process.
    ///
    /// # Errors
    ///
    /// The first one of [`iter`](Dict::iter).
    #[doc(alias = "copy")]
    pub fn to_hash_map(&self) -> Result<HashMap<K, V>>
    where
        K: Eq + Hash,
    {
        self.iter().collect()
    }

    /// Removes the entries for which `keep` says false; one that is changed meanwhile is asked about again. `keep` runs
    /// outside of any lock.
    ///
    /// # Errors
    ///
    /// The first one of [`iter`](Dict::iter); what was removed before it stays removed.
    pub fn retain(&self, mut keep: impl FnMut(&K, &V) -> bool) -> Result<()> {
        for entry in self.raw() {
            let (key, mut value) = entry?;
            let decoded = self.store.decode_key(&key)?;
            // Ends: each round that is lost is another's change.
            while !keep(&decoded, &self.store.decode(&value)?) && !self.store.remove(key.bits(), If::Was(&value))? {
                let Some(now) = self.store.find(key.bits())? else { break };
                value = now;
            }
        }
        Ok(())
    }

    /// Removes all entries that are there when it begins; what others insert meanwhile may stay. Its memory is used again.
    ///
    /// # Errors
    ///
    /// `is_forked`, `is_removed`, `is_corrupt`.
    pub fn clear(&self) -> Result<()> {
        for entry in self.raw() {
            self.store.remove(entry?.0.bits(), If::Always)?;
        }
        Ok(())
    }

    /// The entries, encoded.
    fn raw(&self) -> impl Iterator<Item = Result<(Found, Found)>> + '_ {
        let mut walk = Walk::new(self.store.families());
        let mut family = Vec::new();
        core::iter::from_fn(move || walk.next(self, &mut family))
    }
}

/// Where a walk over all buckets has got to.
struct Walk {
    /// The next family.
    next: u64,
    /// How many buckets there were at first.
    first: u64,
}

impl Walk {
    const fn new(first: u64) -> Self {
        Self { next: 0, first }
    }

    /// The next entry, out of `family`, which is filled again when it is empty.
    fn next<K: DictItem, V: DictItem>(
        &mut self,
        dict: &Dict<K, V>,
        family: &mut Vec<(Found, Found)>,
    ) -> Option<Result<(Found, Found)>> {
        while family.is_empty() && self.next < self.first {
            let read = dict.store.scan(self.next, self.first, family);
            self.next += 1;
            if let Err(error) = read {
                self.next = self.first;
                family.clear();
                return Some(Err(error));
            }
        }
        family.pop().map(Ok)
    }
}

/// The entries of a [`Dict`].
pub struct DictEntries<'a, K: DictItem, V: DictItem> {
    dict: &'a Dict<K, V>,
    walk: Walk,
    family: Vec<(Found, Found)>,
}

impl<K: DictItem, V: DictItem> Iterator for DictEntries<'_, K, V> {
    type Item = Result<(K, V)>;

    fn next(&mut self) -> Option<Self::Item> {
        let store = &self.dict.store;
        let entry = self.walk.next(self.dict, &mut self.family)?;
        Some(entry.and_then(|(key, value)| Ok((store.decode_key(&key)?, store.decode(&value)?))))
    }
}

impl<K: DictItem, V: DictItem> fmt::Debug for DictEntries<'_, K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DictEntries").field("dict", self.dict).field("bucket", &self.walk.next).finish()
    }
}

impl<'a, K: DictItem, V: DictItem> IntoIterator for &'a Dict<K, V> {
    type Item = Result<(K, V)>;
    type IntoIter = DictEntries<'a, K, V>;
    fn into_iter(self) -> DictEntries<'a, K, V> {
        self.iter()
    }
}
