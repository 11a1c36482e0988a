//! A growable list.

use crate::error::{Error, Kind, Result};
use crate::handle::codec::{Coded, Item};
use crate::handle::object::{Object, Place, among_others};
use crate::handle::portable::portable;
use crate::handle::send_error::SendError;
use crate::participant::Liveness;
use crate::segment::body::Body;
use crate::segment::handoff;
use crate::segment::layout::ObjectKind;
use crate::segment::list_turn::{Change, ListBody};
use crate::segment::tag::TypeTag;
use core::fmt;
use core::marker::PhantomData;

/// Changes lost to others in a row before [`List::update`] gives up.
const UPDATES: u32 = 1000;

/// A growable list of any number of processes.
///
/// Items are every serde type, encoded by postcard, or [`Plain<T>`](crate::Plain) for plain data without a codec. Plain data of up to 8 bytes
/// and encoded items of up to 7 stand in the list itself, 8 bytes each; longer ones have a block of memory each. The list
/// grows until its segment is full.
///
/// [`get`](List::get), [`len`](List::len), [`iter`](List::iter) and [`to_vec`](List::to_vec) take no lock and write nothing that others see.
/// Writers take turns. Every change takes effect at one moment: others see the list before it, or after it.
///
/// What [`push`](List::push), [`pop`](List::pop), [`set`](List::set) and [`truncate`](List::truncate) cost does not depend on how long the list is.
/// What moves items ([`insert`](List::insert), [`remove`](List::remove), [`sort`](List::sort)) copies the
/// slots that follow, 8 bytes for each item, and needs memory for them twice for that time. A list that is used as a queue is a
/// [`Queue`](crate::Queue).
///
/// # Errors
///
/// What puts an item in returns it with its [`SendError`]: `is_out_of_memory` with the bytes needed and available, and the
/// list is as it was; `is_codec`; `is_not_reachable` for an item with a handle in it that
/// nobody could open. What gets an item: `is_codec` for bytes that do not decode, `is_removed` for an item with a
/// handle whose object is gone: the list holds the handles in it no longer than their makers do, see [`new_in`](List::new_in). Everything: `is_forked`, `is_removed`,
/// and `is_corrupt` for damaged bytes.
///
/// # When a process dies
///
/// What its calls returned from is in the list; what it was in the middle of is, or is not, as a whole. Readers never wait for it, writers do
/// not, and no memory stays lost.
///
/// # Memory ordering
///
/// Everything done before an item was put into the list is visible to whoever gets it.
///
/// # Examples
///
/// ```
/// use mutirao::List;
/// let found = List::<(u32, String)>::new()?;
/// let workers: Vec<_> = (0..3)
///     .map(|n| {
///         let found = found.clone();
///         std::thread::spawn(move || found.push((n, format!("by worker {n}"))).unwrap())
///     })
///     .collect();
/// workers.into_iter().for_each(|worker| worker.join().unwrap());
///
/// found.sort()?;
/// assert_eq!(found.len(), 3);
/// assert_eq!(found.get(1)?, Some((1, "by worker 1".into())));
/// assert_eq!(found.pop()?.map(|(n, _)| n), Some(2));
/// # Ok::<(), mutirao::Error>(())
/// ```
#[doc(alias = "Manager().list")]
#[doc(alias = "ListProxy")]
#[doc(alias = "ShareableList")]
pub struct List<T: Item> {
    pub(crate) list: ListBody,
    pub(crate) body: Body,
    _type: PhantomData<fn(T) -> T>,
}

impl<T: Item> List<T> {
    /// A new list without items, in a segment of its own that grows up to 1 GiB.
    ///
    /// # Errors
    ///
    /// `is_out_of_memory` with the bytes needed and available.
    pub fn new() -> Result<Self> {
        Self::made(Place::Alone)
    }

    fn made(place: Place<'_>) -> Result<Self> {
        Self::options().made(place)
    }

    /// Appends an item.
    ///
    /// # Errors
    ///
    /// See [`List`].
    #[doc(alias = "append")]
    pub fn push(&self, item: T) -> Result<(), SendError<T>> {
        self.put(item, |change, bytes, list| change.push(list.item(bytes)?))
    }

    /// Takes the last item off; `None` if there is none.
    ///
    /// # Errors
    ///
    /// `is_codec` for an item that does not decode: it is taken off all the same. Else see [`List`].
    pub fn pop(&self) -> Result<Option<T>> {
        self.take(|change| {
            let Some(last) = change.len().checked_sub(1) else { return Ok(None) };
            let raw = change.read(last, T::copy_out)?;
            change.pop()?;
            Ok(raw)
        })
    }

    /// The item of this index; `None` beyond the end.
    ///
    /// # Errors
    ///
    /// `is_codec` for an item that does not decode; else see [`List`].
    pub fn get(&self, index: usize) -> Result<Option<T>> {
        let read = self.list.read(index as u64, T::copy_out)?;
        read.map(|(raw, _)| self.decode(raw)).transpose()
    }

    /// Replaces the item of this index.
    ///
    /// # Errors
    ///
    /// `is_invalid` for an index beyond the end; else see [`List`].
    pub fn set(&self, index: usize, item: T) -> Result<(), SendError<T>> {
        self.put(item, |change, bytes, list| {
            within(index, change.len())?;
            change.replace(index as u64, list.item(bytes)?)
        })
    }

    /// Replaces the item of this index by what `f` makes of it, as one change, and returns what it was. `f` runs without any lock and may run
    /// again, when others were faster; it may use the list.
    ///
    /// # Errors
    ///
    /// `is_invalid` for an index beyond the end; `is_contended` when others were faster very many times in a row; else see [`List`].
    ///
    /// # Examples
    ///
    /// ```
    /// let words = mutirao::List::<String>::new()?;
    /// words.push("bread".into())?;
    /// assert_eq!(words.update(0, |old| format!("{old} and cake"))?, "bread");
    /// assert_eq!(words.get(0)?.as_deref(), Some("bread and cake"));
    /// # Ok::<(), mutirao::Error>(())
    /// ```
    pub fn update(&self, index: usize, mut f: impl FnMut(&T) -> T) -> Result<T> {
        for _ in 0..UPDATES {
            let Some((raw, seen)) = self.list.read(index as u64, T::copy_out)? else {
                return Err(beyond(index, self.list.len()));
            };
            let old = self.decode(raw)?;
            let new = f(&old);
            let done = self.encode(&new, |bytes| {
                self.list.change(|change| {
                    within(index, change.len())?;
                    // The same slot is the same item: no block is in the same slot twice.
                    if change.at(index as u64)? != seen {
                        return Ok(false);
                    }
                    change.replace(index as u64, self.list.item(bytes)?).map(|()| true)
                })
            })??;
            if done {
                return Ok(old);
            }
        }
        Err(Kind::Contended { what: "an item of the list", rounds: UPDATES }.into())
    }

    /// How many items there are now.
    #[doc(alias = "__len__")]
    pub fn len(&self) -> usize {
        self.list.len() as usize
    }

    /// Whether there is none now.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The items one after the other, each as it is when it is reached: what is put before that place or taken
    /// away meanwhile moves the rest. It ends where the list ends then. [`to_vec`](List::to_vec) is as of one moment.
    ///
    /// An item that does not decode, or whose handle leads to nothing any more, is an `Err` among them; any other error is the last
    /// thing that comes.
    pub fn iter(&self) -> ListIter<'_, T> {
        ListIter { list: self, index: Some(0) }
    }

    /// All items as of one moment, without a lock; only behind many writers in a row it takes its turn with them.
    ///
    /// # Errors
    ///
    /// `is_codec` if one of them does not decode; else see [`List`].
    #[doc(alias = "copy")]
    pub fn to_vec(&self) -> Result<Vec<T>> {
        self.list.read_all(T::copy_out)?.into_iter().map(|raw| self.decode(raw)).collect()
    }

    /// Appends all items as one change, and returns how many: others see none of them or all, behind each other.
    ///
    /// # Errors
    ///
    /// See [`List`]; then none was appended.
    pub fn extend(&self, items: impl IntoIterator<Item = T>) -> Result<usize> {
        // Code of the user's runs here, before the turn.
        let (mut all, mut ends) = (Vec::new(), Vec::new());
        for item in items {
            self.encode(&item, |bytes| all.extend_from_slice(bytes))?;
            ends.push(all.len());
        }
        let starts = core::iter::once(0).chain(ends.iter().copied());
        let items = starts.zip(&ends).map(|(start, end)| self.list.item(all.get(start..*end).unwrap_or_default()));
        Ok(self.list.change(|change| change.extend(items))? as usize)
    }

    /// Puts an item before the one of this index, or at the end if the index is the length.
    ///
    /// # Errors
    ///
    /// `is_invalid` for an index beyond that; else see [`List`].
    pub fn insert(&self, index: usize, item: T) -> Result<(), SendError<T>> {
        self.put(item, |change, bytes, list| {
            within(index, change.len().saturating_add(1))?;
            change.insert(index as u64, list.item(bytes)?)
        })
    }

    /// Takes the item of this index out; `None` beyond the end.
    ///
    /// # Errors
    ///
    /// As [`pop`](List::pop); `is_out_of_memory`, since it copies the slots that follow: then nothing was changed.
    #[doc(alias = "pop(index)")]
    #[doc(alias = "del")]
    pub fn remove(&self, index: usize) -> Result<Option<T>> {
        self.take(|change| {
            let Some(raw) = change.read(index as u64, T::copy_out)? else { return Ok(None) };
            change.remove(index as u64)?;
            Ok(Some(raw))
        })
    }

    /// Takes everything off from this length on, and gives memory back that is not needed any more.
    ///
    /// # Errors
    ///
    /// See [`List`].
    pub fn truncate(&self, len: usize) -> Result<()> {
        self.list.change(|change| change.truncate(len as u64))
    }

    /// Takes everything out, and gives the memory back.
    ///
    /// # Errors
    ///
    /// See [`List`].
    pub fn clear(&self) -> Result<()> {
        self.truncate(0)
    }

    /// Gives memory back that the list does not need now.
    ///
    /// # Errors
    ///
    /// See [`List`].
    pub fn shrink_to_fit(&self) -> Result<()> {
        self.list.change(|change| {
            change.shrink();
            Ok(())
        })
    }

    /// Encodes the item, and puts it where `f` says, in our turn.
    #[inline]
    fn put(
        &self,
        item: T,
        f: impl FnOnce(&mut Change<'_>, &[u8], &ListBody) -> Result<()>,
    ) -> Result<(), SendError<T>> {
        match self.encode(&item, |bytes| self.list.change(|change| f(change, bytes, &self.list))) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) | Err(error) => Err(SendError::new(item, error)),
        }
    }

    /// Takes out what `f` takes, and decodes it after our turn.
    fn take<W>(&self, f: impl FnOnce(&mut Change<'_>) -> Result<Option<(T::Raw, W)>>) -> Result<Option<T>> {
        self.list.change(f)?.map(|(raw, _)| self.decode(raw)).transpose()
    }

    /// Runs `f` with the item's bytes. A handle in the item may live in our own segment.
    #[inline]
    fn encode<R>(&self, item: &T, f: impl FnOnce(&[u8]) -> R) -> Result<R> {
        match T::FIXED {
            Some(size) => item.with_bytes(size, f),
            // What no memory is there for is found out when it is asked for.
            None => handoff::at_home(self.body.segment(), || item.with_bytes(usize::MAX, f)),
        }
    }

    #[inline]
    pub(crate) fn decode(&self, raw: T::Raw) -> Result<T> {
        match T::FIXED {
            Some(_) => T::decode(raw),
            None => handoff::at_home(self.body.segment(), || T::decode(raw)),
        }
    }
}

fn within(index: usize, len: u64) -> Result<()> {
    if (index as u64) < len { Ok(()) } else { Err(beyond(index, len)) }
}

#[cold]
fn beyond(index: usize, len: u64) -> Error {
    Error::invalid(format!("the place {index} of a List"), format!("there are {len}"))
}

impl<T: Item> Object for List<T> {
    const KIND: ObjectKind = ObjectKind::List;

    fn tag() -> TypeTag {
        T::NAME.tag()
    }

    fn over(body: Body) -> Result<Self> {
        Ok(Self { list: ListBody::attach(body.clone(), <T as Coded>::FIXED)?, body, _type: PhantomData })
    }
}

portable!(List<T>, T: Item);
among_others!(List<T>, T: Item;);

impl<T: Item> Clone for List<T> {
    fn clone(&self) -> Self {
        Self { list: self.list.clone(), body: self.body.clone(), _type: PhantomData }
    }
}

impl<T: Item> fmt::Debug for List<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("List").field("item", &core::any::type_name::<T>()).field("len", &self.len()).finish()
    }
}

/// The items of a [`List`], see [`List::iter`].
#[derive(Debug)]
pub struct ListIter<'a, T: Item> {
    list: &'a List<T>,
    /// `None`: it is over.
    index: Option<usize>,
}

impl<T: Item> Iterator for ListIter<'_, T> {
    type Item = Result<T>;

    fn next(&mut self) -> Option<Result<T>> {
        let index = self.index?;
        let next = self.list.get(index).transpose();
        // A handle in the item may lead to nothing any more; that says nothing of the list.
        let is_items = |error: &Error| error.is_codec() || error.is_removed() && !self.list.body.is_over();
        let goes_on = next.as_ref().is_some_and(|item| item.as_ref().err().is_none_or(is_items));
        self.index = goes_on.then_some(index + 1);
        next
    }
}

impl<'a, T: Item> IntoIterator for &'a List<T> {
    type Item = Result<T>;
    type IntoIter = ListIter<'a, T>;
    fn into_iter(self) -> ListIter<'a, T> {
        self.iter()
    }
}
