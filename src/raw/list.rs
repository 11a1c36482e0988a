//! A growable list: readers take no lock, writers take turns, and every change counts from one store on.
//!
//! An item stands in a slot of one word, or in a block that the slot refers to. Slots are in chunks that double, which
//! are blocks too, and the chunks are named by a *directory*. There are two directories, and the lowest bit of
//! `current` says which one counts.
//!
//! | change | counts from |
//! |---|---|
//! | append one or many | the store of the length, behind slots that were free |
//! | replace one | the store of its slot |
//! | take off the end | the store of the length |
//! | insert, remove, sort: whatever moves items | the store of `current`: the other directory has new chunks where it differs |
//!
//! A writer announces under the lock what would be nobody's if it died. Whoever gets the lock after a death settles that,
//! and finds the list as it was before, or as it is after the change:
//!
//! | word | says | if its writer died |
//! |---|---|---|
//! | `putting`, `leaving` | slot `putting - 1` gets a new block, in place of what `leaving` was | `leaving` is freed unless it stands there still |
//! | `used` | slots from the length up to here may have blocks of their own | those are freed |
//! | the other directory | chunks that the current one has not | those are freed |
//!
//! All three are nothing while nobody has the lock. A block or a chunk that is put somewhere is announced in a hand as well
//! (`raw/blocks.rs`), until it is *settled*: who moves it later need not ask who brought it.
//!
//! **Readers** look at `current`, the length and the slot, copy what it refers to, and look at the three again: if they are the same, the
//! block was not another's meanwhile, because whoever frees a block has changed one of them before. Who reads all of a list
//! looks at `changes` instead, which counts every change after it counted and before anything is freed.
//!
//! # Memory ordering
//!
//! Who reads an item sees what was done before it was put there.
#![forbid(unsafe_code)]

use core::fmt;

use crate::order;
use crate::participant::Liveness;
use crate::raw::list_word::{CHUNKS_MAX, Chunks, ListWord};
use crate::raw::lock::RawLock;
use crate::sync::{AtomicU32, AtomicU64, Ordering::Relaxed, fence};

/// Reads lost to writers in a row before a reader gives up.
pub const READS: u32 = 1000;

/// What all participants share of a list. All-zero: no items.
#[repr(C, align(128))]
pub struct ListHeader {
    lock: RawLock,
    _reserved_1: AtomicU32,
    /// How often the directory was changed for the other one.
    pub(in crate::raw) current: AtomicU64,
    pub(in crate::raw) changes: AtomicU64,
    pub(in crate::raw) used: AtomicU64,
    pub(in crate::raw) putting: AtomicU64,
    pub(in crate::raw) leaving: AtomicU64,
    _reserved_2: [AtomicU64; 10],
    directories: [Directory; 2],
}

/// One of two: how many items there are, and in which chunks.
#[repr(C, align(128))]
pub(in crate::raw) struct Directory {
    pub(in crate::raw) len: AtomicU64,
    pub(in crate::raw) chunks: [AtomicU64; CHUNKS_MAX],
}

/// The blocks that a list is made of, as its process reaches them.
pub trait Blocks: Copy {
    /// The slots of a chunk of `len`, if there may be such a block. Nothing is known of it but that its memory is there.
    fn slots(&self, chunk: ListWord, len: usize) -> Option<&[AtomicU64]>;
    /// Frees the block of an item or of a chunk. False: it was free already.
    fn free(&self, block: ListWord) -> bool;
    /// As [`free`](Self::free), for one whose size is likely to be asked for next.
    fn recycle(&self, block: ListWord) -> bool {
        self.free(block)
    }
    /// Takes the name of whoever announced it off the block.
    fn settle(&self, block: ListWord);
}

/// The words make no sense.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Damaged;

/// Why a slot could not be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unread {
    /// The words make no sense.
    Damaged,
    /// Writers were faster very many times in a row.
    Contended,
}

/// A list, as one process sees it.
#[derive(Clone, Copy)]
pub struct RawList<'a, B> {
    /// What all share.
    pub header: &'a ListHeader,
    /// Where its blocks are.
    pub blocks: B,
    /// How slots are cut into chunks.
    pub chunks: Chunks,
    /// Whether slots refer to blocks; else every bit of them is the item's.
    pub refers: bool,
}

/// A slot that was looked at: what it said is the item if it [`stands`](RawList::stands) after the copy.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    /// What the slot said.
    pub word: ListWord,
    index: u64,
    current: u64,
}

/// A look at a whole list.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// How many items.
    pub len: u64,
    current: u64,
    changes: u64,
}

impl ListHeader {
    /// No items.
    pub fn new() -> Self {
        let directory = || Directory { len: AtomicU64::new(0), chunks: [(); CHUNKS_MAX].map(|()| AtomicU64::new(0)) };
        let [current, changes, used, putting, leaving] = [0; 5].map(AtomicU64::new);
        Self {
            lock: RawLock::new(),
            _reserved_1: AtomicU32::new(0),
            current,
            changes,
            used,
            putting,
            leaving,
            _reserved_2: [(); 10].map(|()| AtomicU64::new(0)),
            directories: [directory(), directory()],
        }
    }

    /// The lock of the writers.
    #[inline]
    pub fn lock_field(&self) -> &RawLock {
        &self.lock
    }

    /// Frees the lock of a dead writer; what it left is settled by the next one. Returns the traces removed.
    pub fn recover(&self, life: &impl Liveness) -> u32 {
        self.lock.recover(life)
    }

    #[inline]
    pub(in crate::raw) fn directory(&self, current: u64) -> &Directory {
        &self.directories[(current & 1) as usize]
    }

    #[inline]
    fn look(&self) -> u64 {
        self.current.load(order!(list_look, Acquire))
    }

    #[inline]
    fn is_current(&self, current: u64) -> bool {
        // If what we read was written by whoever used the memory next, we see what was changed before it was given up.
        fence(order!(list_recheck, Acquire));
        self.current.load(Relaxed) == current
    }

    /// How many items there are. A snapshot.
    #[inline]
    pub fn len(&self) -> u64 {
        let mut len = 0;
        for _ in 0..READS {
            let current = self.look();
            len = self.directory(current).len.load(Relaxed);
            if self.is_current(current) {
                break;
            }
        }
        len
    }

    /// Whether there are none. A snapshot.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Where the chunk of this number is named.
    pub(in crate::raw) fn chunk_word(&self, directory: u64, chunk: usize) -> Option<&AtomicU64> {
        self.directory(directory).chunks.get(chunk)
    }
}

impl Default for ListHeader {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for ListHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let changes = self.changes.load(Relaxed);
        write!(f, "{} items, {changes} changes, writers {:?}", self.len(), self.lock)
    }
}

/// Where a block of a list stands, in the 40 bits of an announcement.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ListPlace {
    /// In the slot of an item.
    Slot(u64),
    /// In a directory, as a chunk.
    Chunk { directory: u64, chunk: usize },
}

impl ListPlace {
    const CHUNK: u64 = 1 << 39;

    /// As 40 bits.
    pub const fn bits(self) -> u64 {
        match self {
            Self::Slot(index) => index & (Self::CHUNK - 1),
            Self::Chunk { directory, chunk } => Self::CHUNK | (directory & 1) << 8 | chunk as u64 & 0xff,
        }
    }

    /// What these bits say.
    pub const fn from_bits(bits: u64) -> Self {
        if bits & Self::CHUNK == 0 {
            return Self::Slot(bits & (Self::CHUNK - 1));
        }
        Self::Chunk { directory: bits >> 8 & 1, chunk: (bits & 0xff) as usize }
    }
}

impl<B: Blocks> RawList<'_, B> {
    /// The slot of this index, in the chunks of this directory.
    #[inline]
    pub(in crate::raw) fn slot(&self, current: u64, index: u64) -> Result<&AtomicU64, Damaged> {
        let spot = self.chunks.spot(index).ok_or(Damaged)?;
        let chunk = self.header.chunk_word(current, spot.chunk).ok_or(Damaged)?;
        // Relaxed: whoever looked at the length sees the chunk.
        let chunk = ListWord(chunk.load(Relaxed));
        let slots = self.blocks.slots(chunk, self.chunks.len_of(spot.chunk)).ok_or(Damaged)?;
        slots.get(spot.slot).ok_or(Damaged)
    }

    /// What the slot of this index says; `None` beyond the end.
    #[inline]
    pub fn see(&self, index: u64) -> Result<Option<Seen>, Unread> {
        for _ in 0..READS {
            let current = self.header.look();
            let len = self.header.directory(current).len.load(order!(list_len_look, Acquire));
            let word = if index < len {
                // Relaxed: the fence that follows acquires.
                self.slot(current, index).map(|slot| Some(slot.load(Relaxed)))
            } else {
                Ok(None)
            };
            if self.header.is_current(current) {
                let word = word.map_err(|Damaged| Unread::Damaged)?;
                return Ok(word.map(|word| Seen { word: ListWord(word), index, current }));
            }
        }
        Err(Unread::Contended)
    }

    /// Whether what was seen is still there, so that what was copied of it since is whole.
    #[inline]
    pub fn stands(&self, seen: &Seen) -> bool {
        fence(order!(list_recheck, Acquire));
        // The length first: a slot that was given up and used again says so before the length reaches it again.
        let len = self.header.directory(seen.current).len.load(order!(list_len_look, Acquire));
        let slot = self.slot(seen.current, seen.index).map(|slot| slot.load(Relaxed));
        len > seen.index && slot == Ok(seen.word.0) && self.header.current.load(Relaxed) == seen.current
    }

    /// Begins a look at all items.
    pub fn moment(&self) -> Moment {
        let changes = self.header.changes.load(order!(list_changes_look, Acquire));
        let current = self.header.look();
        let len = self.header.directory(current).len.load(order!(list_len_look, Acquire));
        Moment { len, current, changes }
    }

    /// What the slot of this index says in the moment; worth something if it [`lasted`](Self::lasted).
    #[inline]
    pub fn at(&self, moment: &Moment, index: u64) -> Result<ListWord, Damaged> {
        Ok(ListWord(self.slot(moment.current, index)?.load(order!(list_slot_look, Acquire))))
    }

    /// Whether nothing was changed since the moment began.
    pub fn lasted(&self, moment: &Moment) -> bool {
        fence(order!(list_recheck, Acquire));
        self.header.changes.load(Relaxed) == moment.changes && self.header.current.load(Relaxed) == moment.current
    }

    /// Whether the place refers to this word, so that its block is not nobody's.
    pub fn place_refers(&self, place: ListPlace, word: ListWord) -> bool {
        match place {
            ListPlace::Chunk { directory, chunk } => {
                // Acquire: whoever takes a chunk out of a directory has freed it before.
                let entry = self.header.chunk_word(directory, chunk);
                entry.is_some_and(|entry| entry.load(order!(list_place_look, Acquire)) == word.0)
            }
            ListPlace::Slot(index) => {
                let current = self.header.current.load(order!(list_place_look, Acquire));
                let used = self.header.used.load(order!(list_place_look, Acquire));
                let len = self.header.directory(current).len.load(order!(list_place_look, Acquire));
                index < len.max(used) && self.slot(current, index).is_ok_and(|slot| slot.load(Relaxed) == word.0)
            }
        }
    }
}
