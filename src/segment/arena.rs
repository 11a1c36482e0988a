//! The allocator of a segment: blocks of any size up to its own, for all participants at once.
//!
//! A small block (up to 8 KiB) is cut from a run of pages that one seat of one participant allocates from, so taking it
//! and freeing it are plain stores; a larger one is a run of its own. Who may do what with a block's word is in
//! `raw/blocks.rs`, with a page's in `raw/pages.rs`; where new runs come from is in `supply.rs`.
//!
//! Nothing that is read from the segment is trusted: a reference, a run or a word that makes no sense leads to
//! nothing, and no address is formed beyond the pages that this process knows to be backed.

use crate::error::{Error, Result};
use crate::participant::{Liveness, ParticipantId};
use crate::raw::blocks::{self, BlockRef, Hand, Reaped};
use crate::raw::pages::{PageWord, Pages, WHOLE};
use crate::segment::access::{Placed, Region};
use crate::segment::growth::Growth;
use crate::segment::layout::{HANDS_PER_ROW, PAGE};
use crate::segment::rover::Rover;
use crate::segment::seats::Seats;
use crate::segment::spans::{Cut, PAGE_UNITS, UNIT, WORDS};
use crate::sync::{AtomicU64, Ordering::Relaxed};
use crate::sys::fork::ForkWord;
use core::fmt;

/// The arena of a segment, as one process sees it.
pub(crate) struct Arena {
    pub(in crate::segment) growth: Growth,
    pub(in crate::segment) seats: Seats,
    /// Searches that go all the way round: for runs that others left, and for free pages.
    pub(in crate::segment) rover: Rover,
    /// Where a short look for free pages goes on.
    pub(in crate::segment) finder: AtomicU64,
    /// Where the search for runs that nothing is in goes on.
    pub(in crate::segment) sweeper: AtomicU64,
    pub(in crate::segment) fork: ForkWord,
    pub(in crate::segment) row: u32,
    /// The hands of this row; none before there is one.
    pub(in crate::segment) own: Placed<[Hand]>,
}

/// A block, found by its reference.
#[derive(Clone, Copy)]
pub(in crate::segment) struct Found<'a> {
    /// Where it starts.
    pub unit: u64,
    /// First page of its run.
    pub page: u64,
    /// The word of that page.
    pub head: PageWord,
    /// Offset of its word from the first page of all.
    pub at: u64,
    /// Bytes of it.
    pub size: u64,
    pub word: &'a AtomicU64,
}

impl Found<'_> {
    #[inline(always)]
    pub(in crate::segment) fn class(&self) -> u32 {
        self.head.class()
    }

    /// Which block of its run it is.
    pub(in crate::segment) fn index(&self) -> u32 {
        ((self.at - self.page * PAGE - WORDS) / 8) as u32
    }
}

/// What an arena says of itself, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Usage {
    /// Blocks in structures and in hands.
    pub used: u64,
    /// Pages in no run, and free blocks.
    pub free: u64,
    /// Reserved so far.
    pub committed: u64,
    /// The most that it can have.
    pub largest: u64,
}

impl Arena {
    /// The arena of a participant that has no row yet.
    pub(crate) fn new(growth: Growth, fork: ForkWord) -> Self {
        let ([finder, sweeper], rover) = ([0; 2].map(AtomicU64::new), Rover::new());
        let own = growth.hands_of(u32::MAX);
        Self { growth, seats: Seats::new(), rover, finder, sweeper, fork, row: u32::MAX, own }
    }

    /// The arena of the participant in `row`.
    pub(crate) fn of_row(self, row: u32) -> Self {
        Self { row, own: self.growth.hands_of(row), ..self }
    }

    pub(crate) fn growth(&self) -> &Growth {
        &self.growth
    }

    #[inline]
    pub(in crate::segment) fn pages(&self) -> Pages<'_> {
        Pages { header: &self.growth.header().pages, table: self.growth.table() }
    }

    /// All words of the block behind a reference, if it is LIVE or HELD in that generation.
    #[inline]
    pub(crate) fn words(&self, block: BlockRef) -> Option<&[AtomicU64]> {
        let found = self.find(block.unit)?;
        let now = blocks::look(found.word);
        if now.is_free() || now.generation() != block.generation {
            return None;
        }
        self.growth.places(block.unit * UNIT, found.size / 8).ok()
    }

    /// `count` words from this unit on, whatever is there, if they are backed: for whoever finds out otherwise whether what it
    /// read was the block that it meant.
    #[inline(always)]
    pub(crate) fn words_at(&self, unit: u64, count: u64) -> Option<&[AtomicU64]> {
        self.growth.places(unit.checked_mul(UNIT)?, count).ok()
    }

    /// The block that starts at this unit, in the generation that it has now.
    pub(crate) fn now_at(&self, unit: u64) -> Option<BlockRef> {
        let found = self.find(unit)?;
        Some(BlockRef { unit, generation: blocks::look(found.word).generation() })
    }

    /// The memory of a block, kept mapped by the result.
    pub(crate) fn region(&self, block: BlockRef) -> Result<Region> {
        let len = self.words(block).ok_or_else(|| no_block(block))?.len();
        self.growth.part(block.unit * UNIT, 8 * len as u64)
    }

    /// Frees the block that a structure gave us the exclusive right to. False: it is not LIVE in that generation: it was
    /// freed before, or never was one.
    #[inline]
    pub(crate) fn free(&self, life: &impl Liveness, block: BlockRef) -> bool {
        self.find(block.unit).is_some_and(|found| self.free_found(life, block.generation, &found))
    }

    #[inline]
    pub(in crate::segment) fn free_found(&self, life: &impl Liveness, generation: u64, found: &Found<'_>) -> bool {
        let freed = blocks::free(found.word, generation);
        if freed {
            self.after_free(life, found);
        }
        freed
    }

    /// Frees the LIVE block at this unit, which a structure gave us the exclusive right to: in the generation that was
    /// noted, else in the one that it has, which `note` hears before.
    #[inline]
    pub(crate) fn dismiss<L: Liveness>(&self, life: &L, unit: u64, noted: Option<u64>, note: impl FnOnce(u64)) -> bool {
        let Some(found) = self.find(unit) else { return false };
        let generation = noted.or_else(|| Self::generation_now(&found).inspect(|now| note(*now)));
        generation.is_some_and(|generation| self.free_found(life, generation, &found))
    }

    /// The generation of the block, if it is LIVE.
    #[inline(always)]
    pub(in crate::segment) fn generation_now(found: &Found<'_>) -> Option<u64> {
        let now = blocks::look(found.word);
        now.is_live().then(|| now.generation())
    }

    /// The generation of the LIVE block at this unit.
    #[inline]
    pub(crate) fn generation_of(&self, unit: u64) -> Option<u64> {
        Self::generation_now(&self.find(unit)?)
    }

    /// Bytes of the block at this unit, if it is LIVE and none that is a run of its own.
    pub(crate) fn small_at(&self, unit: u64) -> Option<u64> {
        let found = self.find(unit).filter(|found| found.class() != WHOLE)?;
        Self::generation_now(&found).map(|_| found.size)
    }

    /// Says that the block, which a structure gave us the exclusive right to, moves to another place of it, before it
    /// is stored there: then it no longer matters what whoever put it into the structure announced.
    #[inline]
    pub(crate) fn settle(&self, block: BlockRef) -> bool {
        self.find(block.unit).is_some_and(|found| blocks::settle(found.word, block.generation))
    }

    #[inline(always)]
    pub(in crate::segment) fn after_free(&self, life: &impl Liveness, found: &Found<'_>) {
        if found.class() == WHOLE || found.head.is_forgotten() {
            self.tell_of_free(life, found.page, found.head);
        }
    }

    #[cold]
    #[inline(never)]
    fn tell_of_free(&self, life: &impl Liveness, page: u64, head: PageWord) {
        if head.class() == WHOLE {
            self.give_back_whole(life, page);
        } else if self.pages().note_spare(page, head.run()) {
            self.pages().header.set_hint(head.class(), page);
        }
    }

    /// The block that starts at a unit, whatever its word says.
    #[inline(always)]
    pub(in crate::segment) fn find(&self, unit: u64) -> Option<Found<'_>> {
        match self.find_near(unit) {
            None => self.find_anywhere(unit),
            found => found,
        }
    }

    /// As [`find`](Self::find), of a run of the usual number of pages, where pages are known to be backed.
    #[inline(always)]
    pub(in crate::segment) fn find_near(&self, unit: u64) -> Option<Found<'_>> {
        let (page, head) = self.pages().head_before(unit / PAGE_UNITS)?;
        // What begins a block of the run is in the run.
        let cut = Cut::usual(head.class()).filter(|cut| cut.pages == head.pages())?;
        let at = page * PAGE + WORDS + 8 * u64::from(cut.index_at(unit - page * PAGE_UNITS)?);
        Some(Found { unit, page, head, at, size: cut.size, word: self.growth.near(at)? })
    }

    #[cold]
    #[inline(never)]
    fn find_anywhere(&self, unit: u64) -> Option<Found<'_>> {
        let around = unit / PAGE_UNITS;
        if around >= self.growth.committed() {
            self.growth.refresh().ok()?;
        }
        let (page, head) = match self.pages().head_around(around) {
            Some(found) => found,
            None if self.knows_more() => self.pages().head_around(around)?,
            None => return None,
        };
        let cut = Cut::of(head.run())?;
        let at = page * PAGE + WORDS + 8 * u64::from(cut.index_at(unit - page * PAGE_UNITS)?);
        Some(Found { unit, page, head, at, size: cut.size, word: self.growth.place(at).ok()? })
    }

    /// Whether the file has more pages than we knew of, which a run may reach into.
    #[cold]
    fn knows_more(&self) -> bool {
        let before = self.growth.committed();
        self.growth.refresh().is_ok_and(|now| now > before)
    }

    /// Settles what the dead participant in `row` had in hand. `refers`: whether a place of a structure refers to a
    /// block; in doubt yes. May be repeated. How many blocks were freed.
    pub(crate) fn reap_hands(&self, row: u32, dead: ParticipantId, refers: impl Fn(u64, BlockRef) -> bool) -> u32 {
        let mut freed = 0;
        for hand in self.hands_of(row) {
            let reaped = hand.reap(dead, |block| self.find(block.unit).map(|found| found.word), &refers);
            if let Reaped::Freed(block) = reaped {
                freed += 1;
                // A run of its own stays until somebody needs pages: this may be a newcomer who can hold no lock.
                if let Some(found) = self.find(block.unit) {
                    self.pages().note_spare(found.page, found.head.run());
                }
            }
        }
        freed
    }

    /// `count` words at `offset` of the segment, if they are behind the start of its pages and backed.
    pub(crate) fn within(&self, offset: u64, count: u64) -> Option<&[AtomicU64]> {
        self.growth.places(offset.checked_sub(self.growth.start())?, count).ok()
    }

    fn hands_of(&self, row: u32) -> &[Hand] {
        let start = row as usize * HANDS_PER_ROW as usize;
        self.growth.hands().get(start..start + HANDS_PER_ROW as usize).unwrap_or_default()
    }

    /// The most bytes that it can have.
    pub(crate) fn usage_max(&self) -> u64 {
        self.growth.pages_max() * PAGE
    }

    /// What it says of itself. A snapshot; walks all runs.
    pub(crate) fn usage(&self) -> Usage {
        let committed = self.growth.refresh().unwrap_or(self.growth.committed());
        let pages = self.pages();
        let mut usage = Usage {
            used: 0,
            free: pages.free().all * PAGE,
            committed: committed * PAGE,
            largest: self.growth.pages_max() * PAGE,
        };
        let mut from = 0;
        while let Some((page, run)) = pages.next_run(from) {
            from = page + u64::from(run.pages);
            let Some(cut) = Cut::of(run) else { continue };
            let words = self.growth.places::<AtomicU64>(page * PAGE + WORDS, u64::from(cut.count)).unwrap_or_default();
            let free = words.iter().filter(|word| blocks::BlockWord::from_bits(word.load(Relaxed)).is_free()).count();
            usage.free += free as u64 * cut.size;
            usage.used += (words.len() - free) as u64 * cut.size;
        }
        usage
    }

    /// Frees what is still in hand although the participant leaves: its guards were forgotten.
    pub(in crate::segment) fn free_forgotten(&self, me: ParticipantId) {
        self.reap_hands(self.row, me, |_, _| true);
    }
}

impl fmt::Debug for Arena {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}, {:?}", self.growth, self.growth.header().pages)
    }
}

#[cold]
fn no_block(block: BlockRef) -> Error {
    Error::corrupt("the segment", format!("there is no block at {:#x} of generation {}", block.unit, block.generation))
}
