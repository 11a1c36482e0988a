//! What benchmarks, tests with processes and fuzz bodies reach of the arena. No part of the public API.

use crate::deadline::Deadline;
use crate::error::{Error, Result};
use crate::participant::ParticipantId;
use crate::raw::blocks::BlockRef;
use crate::segment::arena::Arena;
use crate::segment::open::Segment;
use crate::segment::recover::Place;
use crate::segment::spans::UNIT;
use crate::sync::AtomicU64;
use crate::sys::clock;
use std::time::Duration;

/// The blocks of a segment.
#[derive(Clone, Debug)]
pub struct Blocks {
    segment: Segment,
    patience: Option<Duration>,
}

/// A reference to a block, as a structure stores it: unit and generation.
pub type Stored = (u64, u64);

/// Bytes in blocks, bytes that are free, bytes reserved so far, and at most.
pub type Figures = [u64; 4];

fn block((unit, generation): Stored) -> BlockRef {
    BlockRef { unit, generation }
}

impl Blocks {
    /// The blocks of a segment that has an arena.
    pub fn of(segment: &Segment) -> Result<Self> {
        let blocks = Self { segment: segment.clone(), patience: None };
        blocks.arena().map(|_| ())?;
        Ok(blocks)
    }

    /// The same, of which no call waits much longer than this for a turn at the pages.
    pub fn with_patience(self, patience: Duration) -> Self {
        Self { patience: Some(patience), ..self }
    }

    #[inline]
    fn deadline(&self) -> Deadline {
        self.patience.map_or(Deadline::NEVER, |patience| Deadline::after(clock::now_ns(), patience))
    }

    #[inline]
    fn arena(&self) -> Result<&Arena> {
        self.segment.attachment().arena().ok_or_else(|| Error::invalid("a block", "the segment has no arena"))
    }

    /// Allocates a block and frees it again, as whoever drops it does.
    #[inline]
    pub fn touch(&self, bytes: u64) -> Result<u64> {
        let attachment = self.segment.attachment().ours()?;
        let block = self.arena()?.allocate_until(attachment, bytes, self.deadline())?;
        Ok(block.len())
    }

    /// Allocates a block, lets `fill` write into it, announces `place`, lets `store` put it there.
    pub fn put(
        &self,
        bytes: u64,
        place: u64,
        fill: impl FnOnce(&[AtomicU64]),
        store: impl FnOnce(Stored),
    ) -> Result<Stored> {
        let attachment = self.segment.attachment().ours()?;
        let block = self.arena()?.allocate_until(attachment, bytes, self.deadline())?;
        fill(block.words());
        block.set_place(place);
        store((block.reference().unit, block.reference().generation));
        let BlockRef { unit, generation } = block.published();
        Ok((unit, generation))
    }

    /// The words of a block.
    pub fn words(&self, stored: Stored) -> Option<&[AtomicU64]> {
        self.arena().ok()?.words(block(stored))
    }

    /// Frees a block that was put somewhere. False: it is none.
    pub fn free(&self, stored: Stored) -> bool {
        let ours = self.segment.attachment().ours();
        ours.is_ok_and(|life| self.arena().is_ok_and(|arena| arena.free(life, block(stored))))
    }

    /// The same, for whoever will soon put another one of its size.
    pub fn recycle(&self, stored: Stored) -> bool {
        let ours = self.segment.attachment().ours();
        ours.is_ok_and(|life| self.arena().is_ok_and(|arena| arena.recycle(life, block(stored))))
    }

    /// The place of the two words at `index` of a block, for [`put`](Self::put).
    pub fn place(&self, stored: Stored, index: u64) -> Result<u64> {
        let key = (self.arena()?.growth().start() + stored.0.saturating_mul(UNIT)) / 8 + index;
        Ok(Place { object: Place::WORDS, key }.bits())
    }

    /// Offsets of the hands, the arena's header, its table and its pages in the segment.
    pub fn parts(&self) -> [u64; 4] {
        let plan = &self.segment.attachment().header().plan;
        [plan.hands, plan.arena_header, plan.table, plan.pages]
    }

    /// Settles a row's hands as if its participant, of this id, had died.
    pub fn reap_hands(&self, row: u32, id: u32) -> u32 {
        let (arena, id) = (self.arena(), ParticipantId::new(id));
        arena.ok().zip(id).map_or(0, |(arena, id)| arena.reap_hands(row, id, |place, _| place.is_multiple_of(2)))
    }

    /// Removes the traces of the dead from the runs.
    pub fn sweep(&self) -> u32 {
        self.arena().map_or(0, |arena| arena.sweep(self.segment.attachment()))
    }

    /// Reaps every dead participant, as a watcher does when it hears of one.
    pub fn reap(&self) -> usize {
        let attachment = self.segment.attachment();
        (0..attachment.header().plan.rows).filter(|row| attachment.reap(*row)).count()
    }

    /// How much there is of what.
    pub fn figures(&self) -> Figures {
        let usage = self.arena().map(Arena::usage).unwrap_or_default();
        [usage.used, usage.free, usage.committed, usage.largest]
    }
}
