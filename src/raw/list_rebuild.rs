//! Changes that move items of a list: the other directory is filled with what the list is to be, and then counts.
//!
//! Chunks before the first item that moves are the same in both; the others are new, and the old ones are freed afterwards.
#![forbid(unsafe_code)]

use crate::order;
use crate::raw::list::{Blocks, Damaged, ListPlace};
use crate::raw::list_word::ListWord;
use crate::raw::list_write::{Fresh, FreshChunk, NewItem, Supply, Writing};
use crate::sync::{Ordering::Relaxed, fence};

/// Where an item of a rearranged list comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Source {
    /// The slot of this index.
    Old(u64),
    /// The new one.
    New,
}

impl<B: Blocks> Writing<'_, B> {
    /// Puts an item before the one of this index.
    pub fn insert<S: Supply>(&mut self, supply: &S, index: u64, item: NewItem<impl Fresh>) -> Result<(), S::Error> {
        if index >= self.len {
            return self.push(supply, item);
        }
        let source = |at: u64| match at.cmp(&index) {
            core::cmp::Ordering::Less => Source::Old(at),
            core::cmp::Ordering::Equal => Source::New,
            core::cmp::Ordering::Greater => Source::Old(at - 1),
        };
        let len = self.len.checked_add(1).ok_or(Damaged)?;
        self.rebuild(supply, index, len, len, item.word(), source)?;
        self.announce(index, ListWord::NOTHING);
        item.place(index);
        self.commit(len);
        item.settled();
        self.put();
        self.free_replaced();
        Ok(())
    }

    /// Takes the item of this index out.
    pub fn remove<S: Supply>(&mut self, supply: &S, index: u64) -> Result<(), S::Error> {
        let last = match self.len.checked_sub(1) {
            Some(last) if index < last => last,
            _ => return self.truncate(index).map_err(S::Error::from),
        };
        self.rearrange(supply, index, last, |at| {
            if at < index {
                at
            } else if at < last {
                at + 1
            } else {
                index
            }
        })
    }

    /// Gives all items from `from` on a new order at once, and keeps the first `len` of them; `source` says of each place which item
    /// comes there, each of them once.
    pub fn rearrange<S: Supply>(
        &mut self,
        supply: &S,
        from: u64,
        len: u64,
        source: impl Fn(u64) -> u64,
    ) -> Result<(), S::Error> {
        let end = self.len;
        self.rebuild(supply, from, end, end, ListWord::NOTHING, |at| Source::Old(source(at)))?;
        if self.list.refers {
            // What is not kept stands behind the end then.
            self.set_used(end);
        }
        self.commit(len);
        self.free_unused()?;
        self.free_replaced();
        Ok(())
    }

    /// Gives chunks back that nothing is in, but for as many slots as `spare`.
    pub fn shrink(&mut self, spare: u64) {
        let needed = |chunk: &usize| self.list.chunks.start_of(*chunk) < self.len.saturating_add(spare);
        let (keep, all) = ((0..self.list.chunks.count()).take_while(needed).count(), self.list.chunks.count());
        if (keep..all).all(|chunk| self.chunk(chunk).is_none()) {
            return;
        }
        self.begin_rebuild();
        for (number, chunk) in (0..keep).filter_map(|number| Some((number, self.chunk(number)?))) {
            self.set_new_chunk(number, chunk);
        }
        self.commit(self.len);
        self.free_replaced();
    }

    /// Fills the other directory for `len` items: chunks that end before `from` are the same, others are new. Slots from
    /// `end` on are left as they are.
    fn rebuild<S: Supply>(
        &self,
        supply: &S,
        from: u64,
        len: u64,
        end: u64,
        new: ListWord,
        source: impl Fn(u64) -> Source,
    ) -> Result<(), S::Error> {
        self.begin_rebuild();
        for number in 0..self.list.chunks.count() {
            let (start, slots) = (self.list.chunks.start_of(number), self.list.chunks.len_of(number));
            let behind = start + slots as u64;
            if behind <= from || start >= len {
                // Before what changes, or spare.
                if let Some(chunk) = self.chunk(number) {
                    self.set_new_chunk(number, chunk);
                }
                continue;
            }
            if let Err(error) = self.fill(supply, number, start..behind.min(end), new, &source) {
                self.free_replaced();
                return Err(error);
            }
        }
        if self.list.chunks.len_max() < len { Err(Damaged.into()) } else { Ok(()) }
    }

    /// A new chunk of the other directory, with what belongs there.
    fn fill<S: Supply>(
        &self,
        supply: &S,
        number: usize,
        indices: core::ops::Range<u64>,
        new: ListWord,
        source: &impl Fn(u64) -> Source,
    ) -> Result<(), S::Error> {
        let chunk = supply.chunk(self.list.chunks.len_of(number))?;
        for (slot, index) in chunk.slots().iter().zip(indices) {
            let word = match source(index) {
                Source::Old(old) => self.at(old)?,
                Source::New => new,
            };
            slot.store(word.0, Relaxed);
        }
        chunk.place(ListPlace::Chunk { directory: self.current.wrapping_add(1), chunk: number });
        self.set_new_chunk(number, chunk.word());
        chunk.settled();
        Ok(())
    }

    /// Begins to fill the other directory, in which nothing is.
    fn begin_rebuild(&self) {
        // A reader who is late by two changes of the directory sees that it is.
        fence(order!(list_rebuild, Release));
    }

    /// A chunk of the other directory: one of this one's, or a new one whose place is announced.
    fn set_new_chunk(&self, number: usize, word: ListWord) {
        if let Some(entry) = self.list.header.chunk_word(self.current.wrapping_add(1), number) {
            entry.store(word.0, order!(list_new_chunk, Release));
        }
    }

    /// The other directory counts from here on, with so many items.
    fn commit(&mut self, len: u64) {
        let next = self.current.wrapping_add(1);
        self.list.header.directory(next).len.store(len, Relaxed);
        self.list.header.current.store(next, order!(list_commit, Release));
        (self.current, self.len) = (next, len);
        self.count();
    }

    /// Frees the chunks that only the other directory has.
    pub(in crate::raw) fn free_replaced(&self) {
        for number in 0..self.list.chunks.count() {
            let Some(entry) = self.list.header.chunk_word(self.current.wrapping_add(1), number) else { return };
            let other = ListWord(entry.load(Relaxed));
            if other == ListWord::NOTHING {
                continue;
            }
            if other.is_block() && self.chunk(number) != Some(other) {
                self.list.blocks.free(other);
            }
            entry.store(0, order!(list_new_chunk, Release));
        }
    }
}
