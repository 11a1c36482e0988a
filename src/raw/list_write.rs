//! A writer's turn at a list: each change step by step, so that it counts from one store on and nothing is lost with
//! whoever dies between two of them. The states are told in `raw/list.rs`.
#![forbid(unsafe_code)]

use core::fmt;

use crate::order;
use crate::participant::Liveness;
use crate::raw::list::{Blocks, Damaged, ListPlace, RawList};
use crate::raw::list_word::ListWord;
use crate::raw::lock::{Acquired, Refused};
use crate::sync::{AtomicU64, Ordering::Relaxed, Patience, mark};

/// A block in hand: announced, and freed if it is dropped or its holder dies, unless it was put somewhere by then.
pub trait Fresh {
    /// What refers to it.
    fn word(&self) -> ListWord;
    /// Announces where it is about to be put.
    fn place(&self, place: ListPlace);
    /// It was put there, settled, and is no longer in hand.
    fn settled(self);
}

/// A block in hand that becomes a chunk.
pub trait FreshChunk: Fresh {
    /// Its slots.
    fn slots(&self) -> &[AtomicU64];
}

/// Where new chunks come from.
pub trait Supply {
    /// A chunk in hand.
    type Chunk: FreshChunk;
    /// Why there is none, or why nothing was changed.
    type Error: From<Damaged>;
    /// A block for so many slots.
    fn chunk(&self, len: usize) -> Result<Self::Chunk, Self::Error>;
}

/// What is put into a slot.
pub enum NewItem<F> {
    /// A word that is the item.
    Word(ListWord),
    /// A block with the item in it.
    Block(F),
}

impl<F: Fresh> NewItem<F> {
    pub(in crate::raw) fn word(&self) -> ListWord {
        match self {
            Self::Word(word) => *word,
            Self::Block(block) => block.word(),
        }
    }

    pub(in crate::raw) fn place(&self, index: u64) {
        if let Self::Block(block) = self {
            block.place(ListPlace::Slot(index));
        }
    }

    pub(in crate::raw) fn settled(self) {
        if let Self::Block(block) = self {
            block.settled();
        }
    }
}

/// The turn of one writer.
pub struct Writing<'a, B> {
    pub(in crate::raw) list: RawList<'a, B>,
    pub(in crate::raw) current: u64,
    pub(in crate::raw) len: u64,
}

impl<'a, B: Blocks> RawList<'a, B> {
    /// Takes the writers' turn. What a dead writer left is settled first.
    pub fn write(&self, life: &impl Liveness, patience: &mut Patience) -> Result<Writing<'a, B>, Refused> {
        match self.header.lock_field().acquire(life, patience)? {
            Acquired::Clean => {}
            Acquired::AfterDeath => {
                mark("list: repaired");
                if self.repair() == Err(Damaged) {
                    self.header.lock_field().release(true);
                    return Err(Refused::Corrupt);
                }
            }
        }
        Ok(self.writing())
    }

    /// Takes the writers' turn if nobody has it.
    #[inline]
    pub fn write_at_once(&self, life: &impl Liveness) -> Option<Writing<'a, B>> {
        self.header.lock_field().take_free(life.me()).then(|| self.writing())
    }

    #[inline]
    fn writing(&self) -> Writing<'a, B> {
        // The lock orders these after the writer before.
        let current = self.header.current.load(Relaxed);
        let len = self.header.directory(current).len.load(Relaxed);
        Writing { list: *self, current, len }
    }

    /// Frees every block of a list that nobody uses any more. May be repeated, and died in.
    pub fn dissolve(&self) -> Result<(), Damaged> {
        self.repair()?;
        let mut writing = self.writing();
        writing.truncate(0)?;
        writing.shrink(0);
        Ok(())
    }

    /// Settles what the dead holder of the lock was in the middle of. May be repeated, and died in.
    fn repair(&self) -> Result<(), Damaged> {
        let header = self.header;
        let writing = self.writing();
        // Readers must notice what is freed here, as they would have noticed the dead one.
        writing.count();
        for chunk in 0..self.chunks.count() {
            if let Some(chunk) = writing.chunk(chunk) {
                self.blocks.settle(chunk);
            }
        }
        if let Some(index) = header.putting.load(Relaxed).checked_sub(1).filter(|_| self.refers) {
            let there = if index < writing.len { writing.at(index)? } else { ListWord::NOTHING };
            let leaving = ListWord(header.leaving.load(Relaxed));
            if leaving.is_block() && leaving != there {
                mark("list: the replaced one freed");
                self.blocks.free(leaving);
            }
            if there.is_block() {
                self.blocks.settle(there);
            }
        }
        writing.put();
        writing.free_unused()?;
        writing.free_replaced();
        Ok(())
    }
}

impl<B: Blocks> Writing<'_, B> {
    /// How many items there are.
    #[inline]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// What the slot of this index says.
    #[inline]
    pub fn at(&self, index: u64) -> Result<ListWord, Damaged> {
        Ok(ListWord(self.list.slot(self.current, index)?.load(Relaxed)))
    }

    /// Appends an item.
    #[inline]
    pub fn push<S: Supply>(&mut self, supply: &S, item: NewItem<impl Fresh>) -> Result<(), S::Error> {
        let index = self.len;
        self.make_room(supply, index)?;
        if let NewItem::Block(_) = item {
            self.announce(index, ListWord::NOTHING);
            item.place(index);
        }
        self.lay(index, item.word())?;
        self.set_len(index + 1);
        self.count();
        if let NewItem::Block(block) = item {
            block.settled();
            self.put();
        }
        Ok(())
    }

    /// Appends all items at once; none if one of them is an error, or there is no room.
    pub fn extend<S: Supply, F: Fresh>(
        &mut self,
        supply: &S,
        items: impl Iterator<Item = Result<NewItem<F>, S::Error>>,
    ) -> Result<u64, S::Error> {
        let from = self.len;
        match self.lay_all(supply, items) {
            Ok(end) => {
                self.set_len(end);
                self.count();
                self.set_used(0);
                Ok(end - from)
            }
            Err(error) => {
                self.free_unused()?;
                Err(error)
            }
        }
    }

    /// Puts the items behind the end, where nobody looks for them yet. Their end.
    fn lay_all<S: Supply, F: Fresh>(
        &mut self,
        supply: &S,
        items: impl Iterator<Item = Result<NewItem<F>, S::Error>>,
    ) -> Result<u64, S::Error> {
        let mut end = self.len;
        for item in items {
            let item = item?;
            self.make_room(supply, end)?;
            item.place(end);
            self.lay(end, item.word())?;
            end += 1;
            // From here on it is not the hand that keeps the block, but the slot behind the end.
            self.set_used(end);
            item.settled();
        }
        Ok(end)
    }

    /// Replaces an item.
    #[inline]
    pub fn replace(&self, index: u64, item: NewItem<impl Fresh>) -> Result<(), Damaged> {
        let slot = self.list.slot(self.current, index)?;
        let word = item.word();
        if !self.list.refers {
            slot.store(word.0, order!(list_replace, Release));
            self.count();
            return Ok(());
        }
        let leaving = ListWord(slot.load(Relaxed));
        self.announce(index, leaving);
        item.place(index);
        slot.store(word.0, order!(list_replace, Release));
        self.count();
        item.settled();
        if leaving.is_block() {
            self.list.blocks.recycle(leaving);
        }
        self.put();
        Ok(())
    }

    /// Takes everything off from this length on.
    pub fn truncate(&mut self, len: u64) -> Result<(), Damaged> {
        if len >= self.len {
            return Ok(());
        }
        if self.list.refers {
            self.set_used(self.len);
        }
        self.set_len(len);
        self.count();
        self.free_unused()
    }

    /// Ends the turn.
    #[inline]
    pub fn end(&self) {
        self.list.header.lock_field().release(false);
    }

    /// A chunk for the slot of this index.
    #[inline]
    fn make_room<S: Supply>(&self, supply: &S, index: u64) -> Result<(), S::Error> {
        let spot = self.list.chunks.spot(index).ok_or(Damaged)?;
        if self.chunk(spot.chunk).is_some() { Ok(()) } else { self.add_chunk(supply, spot.chunk) }
    }

    #[cold]
    fn add_chunk<S: Supply>(&self, supply: &S, number: usize) -> Result<(), S::Error> {
        let entry = self.list.header.chunk_word(self.current, number).ok_or(Damaged)?;
        let chunk = supply.chunk(self.list.chunks.len_of(number))?;
        chunk.place(ListPlace::Chunk { directory: self.current, chunk: number });
        entry.store(chunk.word().0, order!(list_chunk, Release));
        chunk.settled();
        Ok(())
    }

    /// The chunk of this number, if there is one.
    #[inline]
    pub fn chunk(&self, number: usize) -> Option<ListWord> {
        let entry = self.list.header.chunk_word(self.current, number)?;
        Some(ListWord(entry.load(Relaxed))).filter(|word| word.is_block())
    }

    /// Announces that the slot of this index gets a block, in place of what is there now. Once in a turn.
    #[inline]
    pub(in crate::raw) fn announce(&self, index: u64, leaving: ListWord) {
        // The turn before ended with a release of the lock, so these come after what it did.
        self.list.header.leaving.store(leaving.0, Relaxed);
        self.list.header.putting.store(index.wrapping_add(1), order!(list_announce, Release));
    }

    /// What was announced is done: the new block is settled, the old one freed.
    #[inline]
    pub(in crate::raw) fn put(&self) {
        self.list.header.putting.store(0, order!(list_put, Release));
    }

    /// Puts an item into a slot behind the end, where nobody looks for it yet.
    #[inline]
    fn lay(&self, index: u64, word: ListWord) -> Result<(), Damaged> {
        // A reader who is sent there by an old length sees by this store that the length is another.
        self.list.slot(self.current, index)?.store(word.0, order!(list_lay, Release));
        Ok(())
    }

    /// Says that slots up to this index may have blocks of their own.
    #[inline]
    pub(in crate::raw) fn set_used(&self, used: u64) {
        self.list.header.used.store(used, order!(list_used, Release));
    }

    #[inline]
    fn set_len(&mut self, len: u64) {
        self.list.header.directory(self.current).len.store(len, order!(list_len, Release));
        self.len = len;
    }

    /// Counts the change that was just made, before anything is freed.
    #[inline]
    pub(in crate::raw) fn count(&self) {
        let changes = &self.list.header.changes;
        changes.store(changes.load(Relaxed).wrapping_add(1), order!(list_count, Release));
    }

    /// Frees the blocks of slots behind the end.
    pub(in crate::raw) fn free_unused(&self) -> Result<(), Damaged> {
        let used = self.list.header.used.load(Relaxed);
        // Bounded: the first slot without a chunk ends it.
        for index in self.len..if self.list.refers { used } else { 0 } {
            let word = self.at(index)?;
            if word.is_block() {
                self.list.blocks.free(word);
            }
        }
        if used != 0 {
            self.set_used(0);
        }
        Ok(())
    }
}

impl<B> fmt::Debug for Writing<'_, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writing").field("len", &self.len).field("current", &self.current).finish_non_exhaustive()
    }
}
