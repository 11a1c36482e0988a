//! The words of a list: what stands in a slot, and in which chunk a slot is.
//!
//! ```text
//!  63        35 34      1  0
//! ┌────────────┬─────────┬───┐   a block of the arena: the unit where it starts, and the lower bits of how often it had
//! │ generation │ unit    │ 0 │   been allocated. All zero: nothing
//! └────────────┴─────────┴───┘
//!  63         8 7   4 3   1  0
//! ┌────────────┬─────┬─────┬───┐   the item itself: up to 7 bytes
//! │ bytes      │  0  │ len │ 1 │
//! └────────────┴─────┴─────┴───┘
//! ```
//!
//! Chunk k has `first << k` slots, so chunks never move and there are few: a list of n items has at most twice as many slots.

#![forbid(unsafe_code)]

use core::fmt;

use crate::raw::blocks::BlockRef;

/// Chunks of a list.
pub const CHUNKS_MAX: usize = 31;
/// The most bytes of an item that stands in its slot.
pub const INLINE_MAX: usize = 7;

const UNIT_BITS: u32 = 34;
const UNIT_MASK: u64 = (1 << UNIT_BITS) - 1;
const GENERATION_SHIFT: u32 = UNIT_BITS + 1;

/// A word that refers to a block, or is an item.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct ListWord(pub u64);

/// What a [`ListWord`] says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Said {
    /// Nothing.
    Nothing,
    /// The item: the first `len` of these bytes.
    Inline { bytes: [u8; INLINE_MAX], len: usize },
    /// The item, or the chunk, is in the block at this unit.
    Block { unit: u64 },
    /// What nobody writes.
    Corrupt,
}

impl ListWord {
    /// Nothing.
    pub const NOTHING: Self = Self(0);
    /// Units from here on can not be referred to.
    pub const UNITS_MAX: u64 = 1 << UNIT_BITS;

    /// The word that refers to a block. `None`: its unit is too large.
    pub const fn of_block(block: BlockRef) -> Option<Self> {
        if block.unit >= Self::UNITS_MAX {
            return None;
        }
        Some(Self(block.generation << GENERATION_SHIFT | block.unit << 1))
    }

    /// The word that is an item. `None`: it has too many bytes.
    pub fn of_bytes(item: &[u8]) -> Option<Self> {
        let mut bytes = [0; 8];
        bytes.get_mut(1..=item.len()).filter(|_| item.len() <= INLINE_MAX)?.copy_from_slice(item);
        Some(Self(u64::from_le_bytes(bytes) | (item.len() as u64) << 1 | 1))
    }

    /// What it says.
    #[inline]
    pub fn said(self) -> Said {
        if self.0 & 1 == 0 {
            return if self.0 == 0 { Said::Nothing } else { Said::Block { unit: self.0 >> 1 & UNIT_MASK } };
        }
        if self.0 & 0xf0 != 0 {
            return Said::Corrupt;
        }
        let [_, bytes @ ..] = self.0.to_le_bytes();
        Said::Inline { bytes, len: (self.0 >> 1 & 7) as usize }
    }

    /// Whether it refers to a block.
    #[inline]
    pub const fn is_block(self) -> bool {
        self.0 & 1 == 0 && self.0 != 0
    }

    /// Whether it refers to this block.
    #[inline]
    pub fn refers_to(self, block: BlockRef) -> bool {
        self.is_block() && Self::of_block(block) == Some(self)
    }
}

impl fmt::Debug for ListWord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.said() {
            Said::Block { unit } => write!(f, "Block({unit:#x}, g{})", self.0 >> GENERATION_SHIFT),
            said => fmt::Debug::fmt(&said, f),
        }
    }
}

/// Where a slot is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Spot {
    /// Which chunk.
    pub chunk: usize,
    /// Which slot of it.
    pub slot: usize,
}

/// How many slots the first chunk has, and how many chunks there are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Chunks {
    /// Invariant: `first_bits + count <= 40`, and `count <= CHUNKS_MAX`.
    first_bits: u32,
    count: u32,
}

impl Chunks {
    /// First chunk of `1 << first_bits` slots, `count` chunks.
    pub const fn new(first_bits: u32, count: u32) -> Option<Self> {
        if count as usize > CHUNKS_MAX || first_bits + count > 40 {
            return None;
        }
        Some(Self { first_bits, count })
    }

    /// How many chunks there are at most.
    #[inline]
    pub const fn count(self) -> usize {
        self.count as usize
    }

    /// Slots of this chunk.
    #[inline]
    pub const fn len_of(self, chunk: usize) -> usize {
        1 << (self.first_bits + chunk as u32 % 64)
    }

    /// The first slot of this chunk, counted from the list's start.
    pub const fn start_of(self, chunk: usize) -> u64 {
        (1 << (self.first_bits + chunk as u32 % 64)) - (1 << self.first_bits)
    }

    /// The most items.
    pub const fn len_max(self) -> u64 {
        self.start_of(self.count as usize)
    }

    /// Where the slot of this index is. `None`: beyond all chunks.
    #[inline]
    pub const fn spot(self, index: u64) -> Option<Spot> {
        if index >= self.len_max() {
            return None;
        }
        let at = index + (1 << self.first_bits);
        let log = at.ilog2();
        Some(Spot { chunk: (log - self.first_bits) as usize, slot: (at - (1 << log)) as usize })
    }
}

#[cfg(all(test, not(mutirao_model)))]
mod tests {
    use super::{CHUNKS_MAX, Chunks, ListWord, Said, Spot};
    use crate::raw::blocks::BlockRef;

    #[test]
    fn a_word_says_what_it_was_made_of() {
        for len in 0..=7 {
            let item = &[1, 2, 3, 255, 5, 6, 0][..len];
            let Said::Inline { bytes, len: said } = ListWord::of_bytes(item).unwrap().said() else { panic!() };
            assert_eq!((&bytes[..len], said), (item, len));
        }
        assert_eq!(ListWord::of_bytes(&[0; 8]), None);
        let block = BlockRef { unit: (1 << 34) - 1, generation: (1 << 29) + 5 };
        let word = ListWord::of_block(block).unwrap();
        assert_eq!(word.said(), Said::Block { unit: block.unit });
        assert!(word.refers_to(block) && !word.refers_to(BlockRef { generation: 6, ..block }));
        assert_eq!(ListWord::of_block(BlockRef { unit: 1 << 34, generation: 1 }), None);
        assert_eq!((ListWord(0).said(), ListWord(0x11).said()), (Said::Nothing, Said::Corrupt));
        assert!(!ListWord(0).is_block() && !ListWord(1).is_block());
    }

    #[test]
    fn every_index_has_a_slot_of_its_own() {
        let chunks = Chunks::new(2, 3).unwrap();
        let mut expected = Vec::new();
        for chunk in 0..3 {
            assert_eq!(chunks.start_of(chunk), expected.len() as u64);
            expected.extend((0..4 << chunk).map(|slot| Some(Spot { chunk, slot })));
        }
        assert_eq!((chunks.len_max(), chunks.len_of(2)), (28, 16));
        assert_eq!((0..28).map(|index| chunks.spot(index)).collect::<Vec<_>>(), expected);
        assert_eq!((chunks.spot(28), chunks.spot(u64::MAX)), (None, None));
        assert!(Chunks::new(4, CHUNKS_MAX as u32).is_some_and(|most| most.len_max() > 1 << 34));
        assert_eq!((Chunks::new(4, 32), Chunks::new(20, 21)), (None, None));
    }
}
