//! Blocks of memory that pass from hand to hand: who has one, until it stands in a structure, and what a
//! participant who dies meanwhile leaves behind.
//!
//! A block has one word:
//!
//! ```text
//!  63        25 24   23 22    0
//! ┌────────────┬───────┬───────┐   state 0 FREE, 1 HELD, 2 LIVE (in a structure)
//! │ generation │ state │  id   │   generation: how often the block was allocated, wrapping
//! └────────────┴───────┴───────┘   id: who holds it, or who put it into its structure
//! ```
//!
//! | from | to | by whom |
//! |---|---|---|
//! | FREE(g) | HELD(me, g + 1) | the one who allocates from the block's span, by a plain store |
//! | HELD(me, g) | LIVE(me, g) | the holder, before it stores a reference in a structure |
//! | HELD(me, g) | FREE(g) | the holder, who changed its mind |
//! | LIVE(_, g) | FREE(g) | whoever the structure gave the exclusive right to it, after reading |
//! | LIVE(_, g) | LIVE(nobody, g) | the same, who moves it to another place of the structure |
//! | LIVE(_, g) | HELD(me, g + 1) | the same, who announced that before, and will use it again |
//! | HELD(dead, g), LIVE(dead, g) | FREE(g) | the reaper of a hand, see below, by compare-and-swap |
//!
//! No step of the living is a read-modify-write, because each has one possible author. That is what the spans are
//! for: nobody but a span's owner allocates from it (`raw/pages.rs`).
//!
//! **Hands.** Before it takes a block, a participant writes into a *hand* of its row which one, and in which
//! generation; before it puts it into a structure, also which *place*. So the reaper of a dead participant looks at its hands,
//! not at the arena. A hand and a block belong together if generation and id agree: then the block is HELD by
//! the dead, or LIVE and either referred to by the place, or by nothing. In the last case nobody else
//! can ever find it, and it is freed.
//!
//! Whoever moves a block from the announced place to another takes the id off the word first, so a reaper that finds
//! the place empty finds another word too.
//!
//! # Memory ordering
//!
//! Who allocates a block sees everything done by those who had it before.
#![forbid(unsafe_code)]

use core::fmt;

use crate::order;
use crate::participant::ParticipantId;
use crate::sync::{AtomicU64, Ordering::Relaxed, fence, mark};

/// Which block, and which of its lives. Two words in whatever refers to it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub struct BlockRef {
    /// Where it starts, in units of 32 bytes from the first page.
    pub unit: u64,
    /// How often it had been allocated, this time included.
    pub generation: u64,
}

/// The word of a block, read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct BlockWord(u64);

/// What a block's word says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BlockState {
    /// Nobody's.
    Free,
    /// In somebody's hands.
    Held(ParticipantId),
    /// In a structure, put there by this participant or moved there since.
    Live(Option<ParticipantId>),
    /// No such state.
    Corrupt,
}

const STATE_SHIFT: u32 = ParticipantId::BITS;
const GENERATION_SHIFT: u32 = STATE_SHIFT + 2;
/// The mask of a generation: 39 bits.
pub const GENERATION_MASK: u64 = u64::MAX >> GENERATION_SHIFT;

const FREE: u64 = 0;
const HELD: u64 = 1;
const LIVE: u64 = 2;

impl BlockWord {
    /// A free block that was allocated `generation` times.
    pub const fn free(generation: u64) -> Self {
        Self::pack(generation, FREE, 0)
    }

    /// A block in the hands of `id`.
    pub const fn held(id: ParticipantId, generation: u64) -> Self {
        Self::pack(generation, HELD, id.get())
    }

    /// A block that `id`, or somebody, put into a structure.
    pub const fn live(id: Option<ParticipantId>, generation: u64) -> Self {
        let id = match id {
            Some(id) => id.get(),
            None => 0,
        };
        Self::pack(generation, LIVE, id)
    }

    const fn pack(generation: u64, state: u64, id: u32) -> Self {
        Self((generation & GENERATION_MASK) << GENERATION_SHIFT | state << STATE_SHIFT | id as u64)
    }

    /// A word as it was read.
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// The word as it is stored.
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// How often the block was allocated, wrapping.
    #[inline]
    pub const fn generation(self) -> u64 {
        self.0 >> GENERATION_SHIFT
    }

    /// Whether the block is nobody's.
    #[inline]
    pub const fn is_free(self) -> bool {
        self.0 & ((1 << GENERATION_SHIFT) - 1) == 0
    }

    /// What the word says.
    pub fn state(self) -> BlockState {
        let id = ParticipantId::new(self.0 as u32 & ParticipantId::MASK);
        match (self.0 >> STATE_SHIFT & 3, id) {
            (FREE, None) => BlockState::Free,
            (HELD, Some(id)) => BlockState::Held(id),
            (LIVE, id) => BlockState::Live(id),
            _ => BlockState::Corrupt,
        }
    }

    /// Whether the block stands in a structure.
    #[inline]
    pub const fn is_live(self) -> bool {
        self.0 >> STATE_SHIFT & 3 == LIVE
    }

    /// Whether the block stands in a structure in this generation.
    #[inline]
    pub const fn is_live_in(self, generation: u64) -> bool {
        self.is_live() && self.generation() == generation & GENERATION_MASK
    }
}

impl fmt::Debug for BlockWord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let generation = self.generation();
        match self.state() {
            BlockState::Free => write!(f, "Free(g{generation})"),
            BlockState::Held(id) => write!(f, "Held({id}, g{generation})"),
            BlockState::Live(Some(id)) => write!(f, "Live({id}, g{generation})"),
            BlockState::Live(None) => write!(f, "Live(g{generation})"),
            BlockState::Corrupt => write!(f, "Corrupt({:#x})", self.0),
        }
    }
}

/// The word as it is now. Acquire: who finds it free sees what was done with it before.
#[inline]
pub fn look(word: &AtomicU64) -> BlockWord {
    BlockWord(word.load(order!(block_look, Acquire)))
}

/// The block is ours: announced before, FREE when the owner of its span looked at it last.
#[inline]
pub fn hold(word: &AtomicU64, me: ParticipantId, generation: u64) {
    // Release: the announcement must not come after it.
    word.store(BlockWord::held(me, generation).bits(), order!(block_hold, Release));
}

/// The block that we hold is about to stand in a structure. The place was announced before.
#[inline]
pub fn enliven(word: &AtomicU64, me: ParticipantId, generation: u64) {
    // Relaxed: storing a reference in the structure is a release, and nobody looks before that.
    word.store(BlockWord::live(Some(me), generation).bits(), Relaxed);
}

/// The block that we hold is free again.
#[inline]
pub fn release(word: &AtomicU64, generation: u64) {
    word.store(BlockWord::free(generation).bits(), order!(block_free, Release));
}

/// Frees a block that a structure gave us the exclusive right to. False: it is not LIVE in that generation, so it was
/// freed before and nothing is done.
#[inline]
pub fn free(word: &AtomicU64, generation: u64) -> bool {
    let ours = look(word).is_live_in(generation);
    if ours {
        release(word, generation);
    }
    ours
}

/// Takes the name of whoever announced it off a block that we have the exclusive right to, before it is moved to
/// another place. False: it is not LIVE in that generation.
#[inline]
pub fn settle(word: &AtomicU64, generation: u64) -> bool {
    let ours = look(word).is_live_in(generation);
    if ours {
        // Relaxed: storing the reference at the other place is a release.
        word.store(BlockWord::live(None, generation).bits(), Relaxed);
    }
    ours
}

/// Takes a block that a structure gave us the exclusive right to, and that is LIVE in this generation, into a hand that is
/// ours and off, to use it again. The block as it is now: who finds the right to it with us, dead, finds another generation.
#[inline(always)]
pub fn retake(word: &AtomicU64, hand: &Hand, me: ParticipantId, block: BlockRef) -> BlockRef {
    let again = BlockRef { generation: (block.generation + 1) & GENERATION_MASK, ..block };
    hand.announce(again, 0);
    hold(word, me, again.generation);
    again
}

/// What one thread of a participant has in hand. All-zero is nothing.
#[repr(C, align(32))]
pub struct Hand {
    /// 0 nothing, 1 a block.
    on: AtomicU64,
    unit: AtomicU64,
    generation: AtomicU64,
    place: AtomicU64,
}

/// What a hand of the dead said.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reaped {
    /// Nothing that was left to do.
    Nothing,
    /// The block stands in its structure.
    Stays(BlockRef),
    /// The block was nobody's and is free now.
    Freed(BlockRef),
}

impl Hand {
    /// Nothing in hand.
    pub fn new() -> Self {
        let [on, unit, generation, place] = [0; 4].map(AtomicU64::new);
        Self { on, unit, generation, place }
    }

    /// Announces a block. The hand is ours, and off.
    #[inline]
    pub fn announce(&self, block: BlockRef, place: u64) {
        // What follows must not come before the store that took the hand off.
        fence(order!(hand_rewrite, Release));
        self.unit.store(block.unit, Relaxed);
        self.generation.store(block.generation, Relaxed);
        self.place.store(place, Relaxed);
        self.on.store(1, order!(hand_on, Release));
    }

    /// Announces where the block is about to stand.
    #[inline]
    pub fn set_place(&self, place: u64) {
        // Relaxed: as in `enliven`.
        self.place.store(place, Relaxed);
    }

    /// Nothing in hand any more: the block is free, or stands in its structure.
    #[inline]
    pub fn clear(&self) {
        // Release: what became of the block must not come after it.
        self.on.store(0, order!(hand_off, Release));
    }

    /// The block that is announced, if there is one. A snapshot.
    pub fn announced(&self) -> Option<BlockRef> {
        let block = BlockRef { unit: self.unit.load(Relaxed), generation: self.generation.load(Relaxed) };
        (self.on.load(Relaxed) != 0).then_some(block)
    }

    /// Settles what the dead participant had announced here, and takes the hand off. `find` gives the word of a
    /// block, `refers` says whether the place refers to it. May be repeated, and died in.
    pub fn reap<'a>(
        &self,
        dead: ParticipantId,
        find: impl FnOnce(BlockRef) -> Option<&'a AtomicU64>,
        refers: impl FnOnce(u64, BlockRef) -> bool,
    ) -> Reaped {
        if self.on.load(Relaxed) == 0 {
            return Reaped::Nothing;
        }
        let block = BlockRef { unit: self.unit.load(Relaxed), generation: self.generation.load(Relaxed) };
        let place = self.place.load(Relaxed);
        let reaped = find(block).map_or(Reaped::Nothing, |word| {
            let now = look(word);
            let is_its = match now.state() {
                _ if now.generation() != block.generation & GENERATION_MASK => false,
                BlockState::Held(id) => id == dead,
                BlockState::Live(id) => id == Some(dead),
                BlockState::Free | BlockState::Corrupt => false,
            };
            if !is_its {
                return Reaped::Nothing;
            }
            if now.is_live() && refers(place, block) {
                mark("block: stays where it was put");
                return Reaped::Stays(block);
            }
            let free = BlockWord::free(block.generation).bits();
            // Passes on what the proof of death let us see of the dead one's work. Whoever had the right to the block
            // and used it changed the word before the place, so then this fails.
            match word.compare_exchange(now.bits(), free, order!(block_reap, AcqRel), Relaxed) {
                Ok(_) => {
                    mark("block: taken out of a dead hand");
                    Reaped::Freed(block)
                }
                Err(_) => Reaped::Nothing,
            }
        });
        self.clear();
        reaped
    }
}

impl Default for Hand {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Hand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.announced() {
            Some(block) => write!(f, "{block:?} for {:#x}", self.place.load(Relaxed)),
            None => f.write_str("nothing"),
        }
    }
}

#[cfg(all(test, not(mutirao_model)))]
mod tests {
    use super::{BlockRef, BlockState, BlockWord, GENERATION_MASK, Hand, Reaped, free, hold, release, settle};
    use crate::participant::ParticipantId;
    use crate::sync::{AtomicU64, Ordering::Relaxed};

    fn id(id: u32) -> ParticipantId {
        ParticipantId::new(id).unwrap()
    }

    #[test]
    fn a_word_says_who_and_when() {
        let held = BlockWord::held(id(7), 3);
        assert_eq!((held.state(), held.generation(), held.is_free()), (BlockState::Held(id(7)), 3, false));
        assert_eq!(format!("{held:?} {:?}", BlockWord::live(None, 4)), "Held(#7, g3) Live(g4)");
        assert!(BlockWord::from_bits(0).is_free() && BlockWord::free(GENERATION_MASK + 1).generation() == 0);
        for bits in [1, HELD_NOBODY, 3 << 23, u64::MAX] {
            assert_eq!(BlockWord::from_bits(bits).state(), BlockState::Corrupt);
        }
    }
    const HELD_NOBODY: u64 = 1 << 23;

    #[test]
    fn a_block_is_freed_once() {
        let word = AtomicU64::new(BlockWord::live(Some(id(1)), 5).bits());
        assert!(!free(&word, 4) && settle(&word, 5) && free(&word, 5) && !free(&word, 5) && !settle(&word, 5));
        assert_eq!(BlockWord::from_bits(word.load(Relaxed)), BlockWord::free(5));
    }

    #[test]
    fn a_hand_frees_only_what_it_announced() {
        let (hand, word) = (Hand::new(), AtomicU64::new(0));
        let block = BlockRef { unit: 9, generation: 1 };
        let reap = |dead, refers| hand.reap(id(dead), |b| (b == block).then_some(&word), |place, _| place == refers);
        assert_eq!(reap(1, 0), Reaped::Nothing);
        hand.announce(block, 3);
        assert_eq!(format!("{hand:?}"), "BlockRef { unit: 9, generation: 1 } for 0x3");
        assert_eq!((reap(1, 0), hand.announced()), (Reaped::Nothing, None));
        hand.announce(block, 3);
        hold(&word, id(1), 1);
        assert_eq!(reap(1, 3), Reaped::Freed(block)); // held: no structure has it, whatever is said
        hand.announce(block, 3);
        word.store(BlockWord::live(Some(id(2)), 1).bits(), Relaxed);
        assert_eq!(reap(1, 0), Reaped::Nothing); // another's of the same generation
        hand.announce(block, 3);
        assert_eq!(reap(2, 3), Reaped::Stays(block));
        hand.announce(block, 4);
        assert_eq!(reap(2, 3), Reaped::Freed(block)); // nobody can find it
        hand.announce(BlockRef { unit: u64::MAX, generation: u64::MAX }, u64::MAX);
        assert_eq!(reap(1, 3), Reaped::Nothing);
        release(&word, 1);
    }
}
