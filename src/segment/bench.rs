//! What benchmarks, tests with processes and fuzz bodies reach of the arena. No part of the public API.

use crate::error::{Error, Result};
use crate::raw::blocks::BlockRef;
use crate::segment::arena::Arena;
use crate::segment::open::Segment;
use crate::segment::recover::Place;
use crate::segment::spans::UNIT;
use crate::sync::AtomicU64;

/// The blocks of a segment.
#[derive(Clone, Debug)]
pub struct Blocks {
    segment: Segment,
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
        let blocks = Self { segment: segment.clone() };
        blocks.arena().map(|_| ())?;
        Ok(blocks)
    }

    #[inline]
    fn arena(&self) -> Result<&Arena> {
        self.segment.attachment().arena().ok_or_else(|| Error::invalid("a block", "the segment has no arena"))
    }

    /// Allocates a block and frees it again, as whoever drops it does.
    #[inline]
    pub fn touch(&self, bytes: u64) -> Result<u64> {
        let attachment = self.segment.attachment().ours()?;
        let block = self.arena()?.allocate(attachment, bytes)?;
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
        let block = self.arena()?.allocate(attachment, bytes)?;
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

    /// The place of the two words at `index` of a block, for [`put`](Self::put).
    pub fn place(&self, stored: Stored, index: u64) -> Result<u64> {
        let key = (self.arena()?.growth().start() + stored.0.saturating_mul(UNIT)) / 8 + index;
        Ok(Place { object: Place::WORDS, key }.bits())
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
