//! A dictionary that any number of processes read without a lock.

use crate::error::{Error, Result};
use crate::handle::dict_bits::{Done, If};
use crate::handle::dict_codec::{DictItem, Lookup, tag};
use crate::handle::dict_store::Store;
use crate::handle::object::{Object, Place, among_others};
use crate::handle::portable::portable;
use crate::segment::body::Body;
use crate::segment::layout::ObjectKind;
use crate::segment::tag::TypeTag;
use core::fmt;

/// A dictionary between any number of threads and processes: every one reads and writes at once, and nobody serves it.
///
/// Keys and values are every serde type, encoded by postcard, or [`Plain<T>`](crate::Plain) for plain data without a
/// codec. Where both are numbers, `bool`, `char` or plain data of at most 8 bytes, they stand in the table itself; else each entry
/// is a record of its own, and a change writes a new one and then refers to it. Two keys are one if they encode to the same
/// bytes: so `0.0` and `-0.0` are two, and a type whose order is not the same twice, like a `HashSet`, is no key.
///
/// Readers take no lock and write nothing, so they hold nobody up and nobody holds them up. A writer locks one bucket, a
/// handful of entries, for the time of a few stores; no code of yours (closures, `Serialize`, `Deserialize`) ever runs under
/// that lock. The table grows by itself, a bucket at a time, while everybody goes on; memory of what was removed is used again.
/// A thread that replaces records keeps the memory of the last one, up to 8 KiB, for the next.
///
/// What stands in a segment of its own, as with [`new`](Dict::new), may take up to 1 GiB; [`options`](Dict::options) say
/// otherwise, and bound the number of entries where it serves as a cache.
///
/// # Errors
///
/// `is_codec` for what does not encode or decode, `is_corrupt` for plain data that is no value of its type: the entry stays.
/// `is_too_large` for a key or a value that can never fit (a lookup of plain data that large just finds none), `is_out_of_memory`
/// for one that does not fit now: what was there stays.
/// `is_not_reachable` for a handle in a key or a value that lives elsewhere; `is_forked`, `is_removed` (also for a
/// handle in a value whose object is gone: see [`new_in`](Dict::new_in)), and `is_corrupt` for damaged bytes.
///
/// # When a process dies
///
/// A change takes effect at one store: whoever died before it has changed nothing, whoever died after it has changed all, and
/// [`len`](Dict::len) counts it exactly once. A bucket that a dead one had locked is unlocked by the next writer who
/// wants it; readers do not notice. No memory stays lost. What a dead one was computing for
/// [`get_or_insert_with`](Dict::get_or_insert_with), the next computes.
///
/// # Memory ordering
///
/// Who sees a value sees everything that was done before it was stored.
///
/// # Examples
///
/// ```
/// use mutirao::Dict;
///
/// let ages = Dict::<String, u32>::new()?;
/// ages.insert("ada", &36)?;
/// ages.insert("alan", &41)?;
/// assert_eq!(ages.get("ada")?, Some(36));
/// assert_eq!(ages.insert("ada", &37)?, Some(36));
/// assert_eq!(ages.update("alan", |age| age.unwrap_or(0) + 1)?, 42);
/// assert_eq!(ages.remove("ada")?, Some(37));
/// assert_eq!((ages.len(), ages.contains_key("ada")?), (1, false));
/// # Ok::<(), mutirao::Error>(())
/// ```
#[doc(alias = "multiprocessing.Manager")]
#[doc(alias = "Manager")]
#[doc(alias = "DictProxy")]
#[doc(alias = "HashMap")]
#[doc(alias = "dict")]
pub struct Dict<K: DictItem, V: DictItem> {
    pub(crate) store: Store<K, V>,
    body: Body,
}

impl<K: DictItem, V: DictItem> Dict<K, V> {
    /// A new dictionary, in a segment of its own.
    ///
    /// # Errors
    ///
    /// `is_out_of_memory` or an error of the system when no segment can be made.
    pub fn new() -> Result<Self> {
        Self::made(Place::Alone)
    }

    fn made(place: Place<'_>) -> Result<Self> {
        Self::options().made(place)
    }

    /// The value of a key.
    ///
    /// # Errors
    ///
    /// See [`Dict`].
    #[doc(alias = "__getitem__")]
    #[inline(always)]
    pub fn get<Q: Lookup<K> + ?Sized>(&self, key: &Q) -> Result<Option<V>> {
        self.store.get_by(key)
    }

    /// Runs `f` with the bytes of a value, undecoded: of plain data and of numbers their own, else what postcard made of it.
    /// It is a private copy: nothing is locked, and nothing changes under the closure's hands.
    /// Plain data of more than 256 bytes is read the fastest this way: what is returned by value is moved, maybe more than once.
    ///
    /// # Errors
    ///
    /// See [`Dict`].
    ///
    /// # Examples
    ///
    /// ```
    /// use mutirao::{Dict, Plain};
    /// let tiles = Dict::<(i32, i32), Plain<[u8; 256]>>::new()?;
    /// tiles.insert(&(0, 1), &Plain([7; 256]))?;
    /// let sum = tiles.get_with(&(0, 1), |bytes| bytes.iter().map(|b| u32::from(*b)).sum::<u32>())?;
    /// assert_eq!(sum, Some(7 * 256));
    /// # Ok::<(), mutirao::Error>(())
    /// ```
    #[inline(always)]
    pub fn get_with<Q: Lookup<K> + ?Sized, R>(&self, key: &Q, f: impl FnOnce(&[u8]) -> R) -> Result<Option<R>> {
        self.store.get_with_by(key, f)
    }

    /// Whether the key has a value, which is not decoded.
    ///
    /// # Errors
    ///
    /// See [`Dict`].
    #[doc(alias = "__contains__")]
    #[doc(alias = "has_key")]
    #[inline(always)]
    pub fn contains_key<Q: Lookup<K> + ?Sized>(&self, key: &Q) -> Result<bool> {
        self.store.with_key(key, |key| self.store.contains(key))
    }

    /// Stores a value, and returns the one that it replaced.
    ///
    /// # Errors
    ///
    /// See [`Dict`]. When the old value does not decode, the new one stands and the error says so.
    #[inline(always)]
    pub fn insert<Q: Lookup<K> + ?Sized>(&self, key: &Q, value: &V) -> Result<Option<V>> {
        self.store.replace(key, value)
    }

    /// Stores a value, whatever there was. True: the key is new.
    ///
    /// # Errors
    ///
    /// See [`Dict`].
    #[doc(alias = "__setitem__")]
    #[inline]
    pub fn set<Q: Lookup<K> + ?Sized>(&self, key: &Q, value: &V) -> Result<bool> {
        Ok(matches!(self.store.set(key, value, If::Always)?, Done::Inserted))
    }

    /// Stores a value if the key has none. True: it had none.
    ///
    /// # Errors
    ///
    /// See [`Dict`].
    pub fn insert_new<Q: Lookup<K> + ?Sized>(&self, key: &Q, value: &V) -> Result<bool> {
        Ok(matches!(self.store.set(key, value, If::Absent)?, Done::Inserted))
    }

    /// Removes a key, and returns its value.
    ///
    /// # Errors
    ///
    /// See [`Dict`]. A value that does not decode stays; [`delete`](Dict::delete) removes it.
    #[doc(alias = "pop")]
    #[doc(alias = "popitem")]
    pub fn remove<Q: Lookup<K> + ?Sized>(&self, key: &Q) -> Result<Option<V>> {
        self.store.with_key(key, |key| self.store.take(key))
    }

    /// Removes a key without a look at its value. True: it had one.
    ///
    /// # Errors
    ///
    /// See [`Dict`].
    #[doc(alias = "__delitem__")]
    pub fn delete<Q: Lookup<K> + ?Sized>(&self, key: &Q) -> Result<bool> {
        self.store.with_key(key, |key| self.store.remove(key, If::Always))
    }

    /// How many entries there are, exactly: those whose insertion returned, and whose removal did not.
    #[doc(alias = "__len__")]
    pub fn len(&self) -> usize {
        usize::try_from(self.store.len()).unwrap_or(usize::MAX)
    }

    /// Whether somebody met more keys in one place than chance brings there: then they were chosen to meet, by who knows the
    /// table's secrets or can measure how long an operation takes. Everything still works, slower. Make it with
    /// [`Hash::Keyed`](crate::Hash::Keyed) where keys come from strangers.
    pub fn has_crowded_keys(&self) -> bool {
        self.store.has_alarm()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<K: DictItem, V: DictItem> Object for Dict<K, V> {
    const KIND: ObjectKind = ObjectKind::Dict;

    fn tag() -> TypeTag {
        tag::<K, V>()
    }

    fn over(body: Body) -> Result<Self> {
        Ok(Self { store: Store::attach(body.clone())?, body })
    }
}

portable!(Dict<K, V>, K: DictItem, V: DictItem);
among_others!(Dict<K, V>, K: DictItem, V: DictItem;);

impl<K: DictItem, V: DictItem> Clone for Dict<K, V> {
    fn clone(&self) -> Self {
        Self { store: self.store.clone(), body: self.body.clone() }
    }
}

impl<K: DictItem, V: DictItem> fmt::Debug for Dict<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dict")
            .field("key", &core::any::type_name::<K>())
            .field("value", &core::any::type_name::<V>())
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}

/// The error of a loop that lost all its rounds.
#[cold]
pub(crate) fn contended(rounds: u32) -> Error {
    crate::error::Kind::Contended { what: "a key of the dictionary", rounds }.into()
}
