//! Taking a block, and having it in hand until it stands in a structure.
//!
//! A small block is the next free one of the seat's run: a look at its word, the announcement, and one plain store. A larger one
//! is a run of its own, taken under the lock of the arena.

use crate::deadline::Deadline;
use crate::error::{Error, Kind, Result};
use crate::participant::Liveness;
use crate::raw::blocks::{self, BlockRef, GENERATION_MASK, Hand};
use crate::raw::pages::{Run, WHOLE};
use crate::segment::adopt::Search;
use crate::segment::arena::Arena;
use crate::segment::layout::{HANDS_PER_ROW, PAGE, SEATS_PER_ROW};
use crate::segment::seats::{Current, SEATS, Seated, Spare};
use crate::segment::spans::{self, Cut, SMALL_MAX, UNIT, WORDS};
use crate::sync::AtomicU64;
use core::fmt;
use std::time::Duration;

/// Rounds of a call that finds a run with free blocks and then none in it.
const ROUNDS: u32 = 100;
/// How often a call looks for a seat before it says that there is none.
const SEAT_LOOKS: u32 = 200;

/// A free block that the seat may take.
struct Candidate<'a> {
    word: &'a AtomicU64,
    words: &'a [AtomicU64],
    reference: BlockRef,
    page: u64,
    index: u32,
}

/// A block that belongs to this process: announced, so that it is freed if the process dies, and freed when this is
/// dropped, unless it stands in a structure by then.
///
/// To publish it: [`set_place`](Self::set_place), then store [`reference`](Self::reference) there, then
/// [`published`](Self::published).
#[must_use = "the block is freed when this is dropped"]
pub(crate) struct InHand<'a, L: Liveness> {
    arena: &'a Arena,
    life: &'a L,
    seated: Seated<'a>,
    hand: &'a Hand,
    word: &'a AtomicU64,
    words: &'a [AtomicU64],
    reference: BlockRef,
    page: u64,
    index: u32,
    class: u32,
}

impl<'a, L: Liveness> InHand<'a, L> {
    /// The block's memory.
    #[inline]
    pub(crate) fn words(&self) -> &'a [AtomicU64] {
        self.words
    }

    /// Bytes of the block, at least what was asked for.
    #[inline]
    pub(crate) fn len(&self) -> u64 {
        8 * self.words.len() as u64
    }

    /// What a structure stores to refer to the block.
    #[inline]
    pub(crate) fn reference(&self) -> BlockRef {
        self.reference
    }

    /// Says where the block is about to stand, before it is stored there.
    #[inline]
    pub(crate) fn set_place(&self, place: u64) {
        self.hand.set_place(place);
        blocks::enliven(self.word, self.life.me(), self.reference.generation);
    }

    /// The block stands in its structure and is no longer ours.
    #[inline]
    pub(crate) fn published(self) -> BlockRef {
        let reference = self.reference;
        if self.arena.fork.is_ours() {
            self.hand.clear();
        }
        self.leave();
        reference
    }

    /// Gives the seat up and forgets the rest.
    #[inline]
    fn leave(self) {
        let this = core::mem::ManuallyDrop::new(self);
        this.seated.leave();
    }
}

impl<L: Liveness> Drop for InHand<'_, L> {
    #[inline]
    fn drop(&mut self) {
        // In a forked child the block is the parent's.
        if !self.arena.fork.is_ours() {
            return;
        }
        if self.arena.spare_hand(&self.seated).is_ok_and(|spare| core::ptr::eq(spare, self.hand)) {
            // It stays in that hand.
            let Self { page, index, class, .. } = *self;
            blocks::hold(self.word, self.life.me(), self.reference.generation);
            let generation = self.reference.generation;
            return self.seated.set_spare(Some(Spare { page, index, class, generation }));
        }
        blocks::release(self.word, self.reference.generation);
        self.hand.clear();
        if self.class == WHOLE {
            self.arena.give_back_whole(self.life, self.page);
        } else if let Some(current) = self.seated.run(self.class)
            && current.page == self.page
        {
            // The next one gets the same block, whose memory is near.
            self.seated.set_run(self.class, Current { next: self.index, ..current });
        }
    }
}

impl<L: Liveness> fmt::Debug for InHand<'_, L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes at {:?}", self.len(), self.reference)
    }
}

impl Arena {
    /// A block of at least `bytes` bytes, aligned to 32, and to 64 if `bytes` is a multiple of that, with whatever its last owner left in it. It is in hand, and
    /// free again when that is dropped or when this process dies, until it is said to be
    /// [`published`](InHand::published).
    ///
    /// # Errors
    ///
    /// Out of memory, with the bytes needed and the largest block to be had; exhausted, when all hands of the process
    /// hold something; damaged.
    #[inline]
    pub(crate) fn allocate<'a, L: Liveness>(&'a self, life: &'a L, bytes: u64) -> Result<InHand<'a, L>> {
        self.allocate_until(life, bytes, Deadline::NEVER)
    }

    /// As [`allocate`](Self::allocate), aligned to 128, for the body of an object.
    pub(crate) fn allocate_body<'a, L: Liveness>(&'a self, life: &'a L, bytes: u64) -> Result<InHand<'a, L>> {
        let bytes = if bytes <= SMALL_MAX { spans::class_size(spans::class_of_aligned(bytes)) } else { bytes };
        self.allocate_until(life, bytes, Deadline::NEVER)
    }

    /// As [`allocate`](Self::allocate); the deadline is for the turn at the pages, behind others who allocate.
    // Always inlined, and every slow way hands back no more than two words: so what is in hand lies in registers, and
    // not in memory where it is stored and at once loaded in other widths.
    #[inline(always)]
    pub(crate) fn allocate_until<'a, L: Liveness>(
        &'a self,
        life: &'a L,
        bytes: u64,
        deadline: Deadline,
    ) -> Result<InHand<'a, L>> {
        let seated = match self.seats.sit(life) {
            Some(seated) => seated,
            None => self.wait_for_a_seat(life).ok_or_else(hands_full)?,
        };
        let hand = self.hand(&seated)?;
        if bytes > SMALL_MAX {
            let page = self.take_whole(life, &seated, hand, bytes, deadline)?;
            let (word, words, generation) = self.whole(page)?;
            let reference = BlockRef { unit: (page * PAGE + 128) / UNIT, generation };
            return Ok(InHand {
                arena: self,
                life,
                seated,
                hand,
                word,
                words,
                reference,
                page,
                index: 0,
                class: WHOLE,
            });
        }
        let class = spans::class_of(bytes);
        if let Some(spare) = seated.spare()
            && spare.class == class
            && let Some((Candidate { word, words, reference, page, index }, hand)) = self.spare_block(&seated, spare)
        {
            // It is announced, and held.
            seated.set_spare(None);
            return Ok(InHand { arena: self, life, seated, hand, word, words, reference, page, index, class });
        }
        for _ in 0..ROUNDS {
            if let Some(Candidate { word, words, reference, page, index }) = self.next_block(&seated, class) {
                hand.announce(reference, 0);
                blocks::hold(word, life.me(), reference.generation);
                return Ok(InHand { arena: self, life, seated, hand, word, words, reference, page, index, class });
            }
            // Ends with an error, or with a run that has a free block, unless somebody scribbles.
            self.refill(life, &seated, class, deadline)?;
        }
        Err(scribbled())
    }

    /// The next free block of the seat's run of this class.
    #[inline(always)]
    fn next_block(&self, seated: &Seated<'_>, class: u32) -> Option<Candidate<'_>> {
        // The run is ours for as long as the seat says so, whatever anybody writes into the table.
        let current = seated.run(class)?;
        let Current { page, next, found, is_usual } = current;
        let cut = if is_usual { *Cut::usual(class)? } else { self.unusual_cut(page)? };
        // One look at the bounds: the last block ends where the pages do, or before.
        let all = self.growth.places::<AtomicU64>(page * PAGE, cut.offset(cut.count) / 8).ok()?;
        let states = all.get(WORDS as usize / 8..WORDS as usize / 8 + cut.count as usize)?;
        let (mut index, mut found) = (next, found);
        for _ in 0..=cut.count {
            let Some(word) = states.get(index as usize) else {
                // Once round: a run in which little became free meanwhile is left to others.
                if found.saturating_mul(8) < cut.count {
                    return None;
                }
                (index, found) = (0, 0);
                continue;
            };
            let now = blocks::look(word);
            if now.is_free() {
                seated.set_run(class, Current { next: index + 1, found: (found + 1).min(cut.count), ..current });
                let start = cut.offset(index) as usize / 8;
                let words = all.get(start..start + cut.size as usize / 8)?;
                let reference = cut.reference(page, index, (now.generation() + 1) & GENERATION_MASK);
                return Some(Candidate { word, words, reference, page, index });
            }
            index += 1;
        }
        None
    }

    /// The block that the seat keeps.
    #[inline(always)]
    fn spare_block(&self, seated: &Seated<'_>, spare: Spare) -> Option<(Candidate<'_>, &Hand)> {
        let Spare { page, index, class, generation } = spare;
        let cut = Cut::usual(class)?;
        let all = self.growth.places::<AtomicU64>(page * PAGE, cut.offset(cut.count) / 8).ok()?;
        let word = all.get(WORDS as usize / 8 + index as usize)?;
        let start = cut.offset(index) as usize / 8;
        let words = all.get(start..start + cut.size as usize / 8)?;
        let reference = cut.reference(page, index, generation);
        Some((Candidate { word, words, reference, page, index }, self.spare_hand(seated).ok()?))
    }

    #[cold]
    fn unusual_cut(&self, page: u64) -> Option<Cut> {
        Cut::of(self.pages().run(page)?)
    }

    /// Takes a block that is a run of its own, and announces it. Its first page.
    #[cold]
    #[inline(never)]
    fn take_whole<L: Liveness>(
        &self,
        life: &L,
        seated: &Seated<'_>,
        hand: &Hand,
        bytes: u64,
        deadline: Deadline,
    ) -> Result<u64> {
        let too_large = || self.out_of_memory(bytes);
        let count = spans::whole_pages(bytes).ok_or_else(too_large)?;
        let run = Run { pages: count, class: WHOLE, owner: None, is_spare: false };
        let cut = Cut::of(run).ok_or_else(too_large)?;
        let take = || {
            self.take_run(life, seated, run, bytes, (Search::All, deadline), |page, base| {
                let reference = cut.reference(page, 0, base.wrapping_add(1) & GENERATION_MASK);
                hand.announce(reference, 0);
                blocks::hold(self.growth.place(page * PAGE + WORDS)?, life.me(), reference.generation);
                Ok(())
            })
            .inspect_err(|_| hand.clear())
        };
        match take() {
            Err(error) if error.is_out_of_memory() && life.reap_dead() => take(),
            other => other,
        }
    }

    /// The word of the block that is the run at `page`, its memory, its generation.
    #[inline(never)]
    fn whole(&self, page: u64) -> Result<(&AtomicU64, &[AtomicU64], u64)> {
        let cut = self.pages().run(page).and_then(Cut::of).ok_or_else(scribbled)?;
        let word = self.growth.place(page * PAGE + WORDS)?;
        Ok((word, self.growth.places(page * PAGE + cut.first, cut.size / 8)?, blocks::look(word).generation()))
    }

    #[inline]
    fn hand(&self, seated: &Seated<'_>) -> Result<&Hand> {
        let index = self.row as usize * HANDS_PER_ROW as usize + seated.index();
        self.growth.hands().get(index).ok_or_else(|| Error::corrupt("the arena", "it has no hands for this row"))
    }

    /// The second hand of a seat of the first kind.
    #[inline]
    pub(in crate::segment) fn spare_hand(&self, seated: &Seated<'_>) -> Result<&Hand> {
        let index = self.row as usize * HANDS_PER_ROW as usize + SEATS + seated.index();
        let hand = self.growth.hands().get(index).filter(|_| seated.has_spare_hand());
        hand.ok_or_else(|| Error::corrupt("the arena", "it has no hands for this row"))
    }

    #[cold]
    fn wait_for_a_seat(&self, life: &impl Liveness) -> Option<Seated<'_>> {
        for look in 0..SEAT_LOOKS {
            if look < SEAT_LOOKS / 2 {
                std::thread::yield_now()
            } else {
                std::thread::sleep(Duration::from_micros(100))
            }
            if let Some(seated) = self.seats.sit(life) {
                return Some(seated);
            }
        }
        None
    }
}

#[cold]
fn hands_full() -> Error {
    Kind::HandsFull { hands: SEATS_PER_ROW }.into()
}

#[cold]
fn scribbled() -> Error {
    Error::corrupt("the arena", "its words changed while they were ours")
}
