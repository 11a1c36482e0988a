//! Blocks that left their structure and are kept in hand, because soon another one of their size is wanted there: what is
//! taken next is where what left last was, and nobody looks for a free one.

use crate::participant::Liveness;
use crate::raw::blocks::{self, BlockRef, Hand};
use crate::raw::pages::WHOLE;
use crate::segment::arena::{Arena, Found};
use crate::segment::seats::{Apart, Seated, Spare};

impl Arena {
    /// As [`free`](Self::free), for a structure that will soon want another one of its size: it is kept in hand.
    #[inline]
    pub(crate) fn recycle<L: Liveness>(&self, life: &L, block: BlockRef) -> bool {
        let Some(found) = self.find(block.unit) else { return false };
        let Some(seated) = self.seats.sit(life) else { return self.free_found(life, block.generation, &found) };
        let is_live = blocks::look(found.word).is_live_in(block.generation);
        if is_live {
            self.keep(life, &seated, &found, block.generation);
        }
        is_live
    }

    /// Keeps the block, which is LIVE in this generation and ours to free, in the second hand of the seat.
    #[inline(always)]
    fn keep<L: Liveness>(&self, life: &L, seated: &Seated<'_>, found: &Found<'_>, generation: u64) {
        let Found { unit, at, size, word, .. } = *found;
        let Some(hand) = self.spare_hand(seated).filter(|_| found.class() != WHOLE) else {
            blocks::release(word, generation);
            return self.after_free(life, found);
        };
        if let Some(other) = seated.spare() {
            self.let_go(life, seated.apart(), hand, other);
        }
        let again = blocks::retake(word, hand, life.me(), BlockRef { unit, generation });
        seated.set_spare(Some(Spare { unit, word: at, size, generation: again.generation }));
    }

    /// Frees a block that was kept.
    #[cold]
    #[inline(never)]
    pub(in crate::segment) fn let_go<L: Liveness>(&self, life: &L, seated: Apart<'_>, hand: &Hand, spare: Spare) {
        seated.set_spare(None);
        if let Ok(word) = self.growth.place(spare.word) {
            blocks::release(word, spare.generation);
        }
        hand.clear();
        if let Some(found) = self.find(spare.unit) {
            self.after_free(life, &found);
        }
    }
}
