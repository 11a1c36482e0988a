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
use crate::segment::layout::{PAGE, SEATS_PER_ROW};
use crate::segment::seats::{Apart, Current, SEATS, Seated, Spare};
use crate::segment::spans::{self, Cut, PAGE_UNITS, SMALL_MAX, UNIT, WORDS};
use crate::sync::AtomicU64;
use core::fmt;
use std::time::Duration;

/// Rounds of a call that finds a run with free blocks and then none in it.
const ROUNDS: u32 = 100;
/// How often a call looks for a seat before it says that there is none.
const SEAT_LOOKS: u32 = 200;

/// A free block that the seat may take, or the one that it keeps.
struct Candidate<'a> {
    word: &'a AtomicU64,
    words: &'a [AtomicU64],
    reference: BlockRef,
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
    /// `None`: it stands in its structure.
    hand: Option<&'a Hand>,
    word: &'a AtomicU64,
    words: &'a [AtomicU64],
    reference: BlockRef,
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
    #[inline(always)]
    pub(crate) fn set_place(&self, place: u64) {
        if let Some(hand) = self.hand {
            hand.set_place(place);
        }
        blocks::enliven(self.word, self.life.me(), self.reference.generation);
    }

    /// The block stands in its structure and is no longer ours.
    #[inline(always)]
    pub(crate) fn published(mut self) -> BlockRef {
        if let Some(hand) = self.hand.take()
            && self.arena.fork.is_ours()
        {
            hand.clear();
        }
        self.reference
    }
}

impl<L: Liveness> Drop for InHand<'_, L> {
    #[inline(always)]
    fn drop(&mut self) {
        // In a forked child the block is the parent's.
        if let Some(hand) = self.hand
            && self.arena.fork.is_ours()
        {
            self.arena.put_down(self.life, self.seated.apart(), hand, self.word, self.reference);
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
    #[inline(always)]
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
        if let Some(spare) = seated.spare()
            && spare.size == spans::size_for(bytes)
            && let Some(hand) = self.spare_hand(&seated)
            && let Some(Candidate { word, words, reference }) = self.kept_block(spare)
        {
            // It is announced, and held.
            seated.set_spare(None);
            return Ok(InHand { arena: self, life, seated, hand: Some(hand), word, words, reference });
        }
        let hand = self.hand(&seated)?;
        if bytes > SMALL_MAX {
            let page = self.take_whole(life, &seated.apart(), hand, bytes, deadline)?;
            let (word, words, generation) = self.whole(page)?;
            let reference = BlockRef { unit: page * PAGE_UNITS + 128 / UNIT, generation };
            return Ok(InHand { arena: self, life, seated, hand: Some(hand), word, words, reference });
        }
        let class = spans::class_of(bytes);
        for _ in 0..ROUNDS {
            if let Some(Candidate { word, words, reference }) = self.next_block(&seated, class) {
                hand.announce(reference, 0);
                blocks::hold(word, life.me(), reference.generation);
                return Ok(InHand { arena: self, life, seated, hand: Some(hand), word, words, reference });
            }
            // Ends with an error, or where a block is free, unless somebody scribbles.
            self.find_free(life, &seated.apart(), class, deadline)?;
        }
        Err(scribbled())
    }

    /// Frees a block that was in hand, or keeps it there.
    #[cold]
    #[inline(never)]
    fn put_down<L: Liveness>(&self, life: &L, seated: Apart<'_>, hand: &Hand, word: &AtomicU64, block: BlockRef) {
        let BlockRef { unit, generation } = block;
        let found = self.find(unit);
        if let Some(found) = found
            && self.spare_hand(&seated).is_some_and(|spare| core::ptr::eq(spare, hand))
        {
            blocks::hold(word, life.me(), generation);
            return seated.set_spare(Some(Spare { unit, generation, word: found.at, size: found.size }));
        }
        blocks::release(word, generation);
        hand.clear();
        let Some(found) = found else { return };
        if found.class() == WHOLE {
            self.give_back_whole(life, found.page);
        } else if let Some(current) = seated.run(found.class())
            && current.page == found.page
        {
            // The next one gets the same block, whose memory is near.
            seated.set_run(found.class(), Current { next: found.index(), ..current });
        }
    }

    /// The block of the seat's run of this class that is next, if it is free.
    #[inline(always)]
    fn next_block(&self, seated: &Seated<'_>, class: u32) -> Option<Candidate<'_>> {
        // The run is ours for as long as the seat says so, whatever anybody writes into the table.
        let current = seated.run(class)?;
        let Current { page, next, found, is_usual } = current;
        let cut = Cut::kept(class, is_usual).filter(|cut| next < cut.count)?;
        let word: &AtomicU64 = self.growth.near(page * PAGE + WORDS + 8 * u64::from(next))?;
        let now = blocks::look(word);
        if !now.is_free() {
            return None;
        }
        let reference = cut.reference(page, next, (now.generation() + 1) & GENERATION_MASK);
        let words = self.growth.all_near(reference.unit * UNIT, cut.size / 8)?;
        seated.set_run(class, Current { next: next + 1, found: (found + 1).min(cut.count), ..current });
        Some(Candidate { word, words, reference })
    }

    /// Makes a free block the seat's next one of this class.
    #[cold]
    #[inline(never)]
    fn find_free<L: Liveness>(&self, life: &L, seated: &Seated<'_>, class: u32, deadline: Deadline) -> Result<()> {
        match self.next_free(seated, class) {
            Some(next) => seated.set_run(class, next),
            None => self.refill(life, seated, class, deadline)?,
        }
        Ok(())
    }

    /// The seat's run of this class, at the next block that is free.
    fn next_free(&self, seated: &Seated<'_>, class: u32) -> Option<Current> {
        let current = seated.run(class)?;
        let cut = Cut::kept(class, current.is_usual)?;
        let states: &[AtomicU64] = self.growth.places(current.page * PAGE + WORDS, cut.count.into()).ok()?;
        let free_from = |from: u32| {
            let next = states.iter().skip(from as usize).position(|word| blocks::look(word).is_free())?;
            Some(from + next as u32)
        };
        if let Some(next) = free_from(current.next) {
            return Some(Current { next, ..current });
        }
        // Once round: a run in which little became free meanwhile is left to others.
        if current.found.saturating_mul(8) < cut.count {
            return None;
        }
        free_from(0).map(|next| Current { next, found: 0, ..current })
    }

    /// The block that the seat keeps.
    #[inline(always)]
    fn kept_block(&self, Spare { unit, generation, word, size }: Spare) -> Option<Candidate<'_>> {
        let words = self.growth.all_near(unit * UNIT, size / 8)?;
        Some(Candidate { word: self.growth.near(word)?, words, reference: BlockRef { unit, generation } })
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

    #[inline(always)]
    fn hand(&self, seated: &Seated<'_>) -> Result<&Hand> {
        self.own.get(seated.index()).ok_or_else(|| Error::corrupt("the arena", "it has no hands for this row"))
    }

    /// The second hand of a seat of the first kind.
    #[inline(always)]
    pub(in crate::segment) fn spare_hand(&self, seated: &Seated<'_>) -> Option<&Hand> {
        self.own.get(SEATS + seated.index())
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
