//! What brings the items of a list into another order, or looks for one.

use crate::error::Result;
use crate::handle::codec::Item;
use crate::handle::list::List;
use core::cmp::Ordering;

impl<T: Item> List<T> {
    /// Keeps the items of which `keep` says yes, as one change. `keep` runs in the writers' turn, on copies: others who change the list wait,
    /// who reads it does not.
    ///
    /// # Errors
    ///
    /// `is_codec` if an item does not decode, `is_out_of_memory`: nothing was changed. Else see [`List`].
    ///
    /// # Panics
    ///
    /// If `keep` does; nothing was changed then. The same goes for `sort_by` and `sort_by_key`.
    pub fn retain(&self, mut keep: impl FnMut(&T) -> bool) -> Result<()> {
        self.rearrange(|items| {
            let (kept, gone): (Vec<_>, Vec<_>) = items.into_iter().partition(|(item, _)| keep(item));
            let len = kept.len();
            (kept.into_iter().chain(gone).map(|(_, from)| from).collect(), len)
        })
    }

    /// Sorts the list as one change; equal items keep their order. As [`sort_by`](List::sort_by).
    ///
    /// # Errors
    ///
    /// As [`sort_by`](List::sort_by).
    pub fn sort(&self) -> Result<()>
    where
        T: Ord,
    {
        self.sort_by(Ord::cmp)
    }

    /// Sorts by a key. As [`sort_by`](List::sort_by).
    ///
    /// # Errors
    ///
    /// As [`sort_by`](List::sort_by).
    pub fn sort_by_key<K: Ord>(&self, mut key: impl FnMut(&T) -> K) -> Result<()> {
        self.sort_by(|a, b| key(a).cmp(&key(b)))
    }

    /// Sorts as `compare` says, as one change; equal items keep their order. `compare` runs in the writers' turn, on copies of the
    /// items: others who change the list wait, who reads it does not, and until it is done the list is as it was.
    ///
    /// # Errors
    ///
    /// `is_codec` if an item does not decode, `is_out_of_memory`: nothing was changed. Else see [`List`]. A change of the same list by
    /// `compare` is `is_invalid`.
    pub fn sort_by(&self, mut compare: impl FnMut(&T, &T) -> Ordering) -> Result<()> {
        self.rearrange(|mut items| {
            items.sort_by(|(a, _), (b, _)| compare(a, b));
            let len = items.len();
            (items.into_iter().map(|(_, from)| from).collect(), len)
        })
    }

    /// Turns the order of the list around, as one change.
    ///
    /// # Errors
    ///
    /// See [`List`].
    pub fn reverse(&self) -> Result<()> {
        self.list.change(|change| {
            let len = change.len();
            change.rearrange(0, len, |at| len - 1 - at)
        })
    }

    /// Where the first item is of which `is` says yes, as [`iter`](List::iter) meets them.
    ///
    /// # Errors
    ///
    /// Of [`get`](List::get).
    #[doc(alias = "index")]
    pub fn position(&self, mut is: impl FnMut(&T) -> bool) -> Result<Option<usize>> {
        for (index, item) in self.iter().enumerate() {
            if is(&item?) {
                return Ok(Some(index));
            }
        }
        Ok(None)
    }

    /// Whether an item is equal to this one, as [`iter`](List::iter) meets them.
    ///
    /// # Errors
    ///
    /// Of [`get`](List::get).
    #[doc(alias = "__contains__")]
    pub fn contains(&self, item: &T) -> Result<bool>
    where
        T: PartialEq,
    {
        self.position(|other| other == item).map(|found| found.is_some())
    }

    /// Gives the items the order that `order` says, by where they are now, and keeps the first so many.
    fn rearrange(&self, order: impl FnOnce(Vec<(T, u64)>) -> (Vec<u64>, usize)) -> Result<()> {
        self.list.change(|change| {
            let raw = change.read_all(T::copy_out)?;
            let (order, len) = {
                let _in_turn = self.list.within_turn();
                let items = raw.into_iter().zip(0..).map(|(raw, from)| Ok((self.decode(raw)?, from)));
                order(items.collect::<Result<_>>()?)
            };
            let moved = (0..).zip(&order).find(|(at, from)| at != *from);
            let Some(first) = moved.map_or_else(|| (len < order.len()).then_some(len as u64), |(at, _)| Some(at))
            else {
                return Ok(()); // it was so already
            };
            change.rearrange(first, len as u64, |at| order.get(at as usize).copied().unwrap_or(at))
        })
    }
}
