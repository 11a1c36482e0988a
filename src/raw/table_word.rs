//! The words of a table's lines: the header, what a line is, and which bucket a hash belongs to.
//!
//! ```text
//!  63           29+s 28+s      23+s 22+s      23 22    0
//! ┌─────────────────┬──────────────┬────────────┬───────┐   s slots of the line: 3 or 10
//! │ version         │ level        │ occupied   │ owner │   level: splits since the table was made
//! └─────────────────┴──────────────┴────────────┴───────┘   owner: who has the bucket locked; 0 nobody
//! ```
//!
//! | from | to | by whom |
//! |---|---|---|
//! | owner 0 | owner me | a writer, by compare-and-swap |
//! | owner dead | owner me | a writer with proof of that death, after all that the dead one announced was settled |
//! | owner me | owner 0 | the same, by a plain store |
//! | a bit of occupied, version | the other, version + 1 | the owner: an entry is there from now on, or is not any more |
//! | level, occupied, version | level + 1, less occupied, version + 1 | the owner: the other entries are the child's from now on |
//! | version | version + 1 | the owner, after it changed a reference or a chain, before what left them is used again |
//!
//! In the lines of a chain behind the bucket's own one, owner and level are 0 and mean nothing.
#![forbid(unsafe_code)]

use core::fmt;
use core::marker::PhantomData;

use crate::order;
use crate::participant::ParticipantId;
use crate::sync::{AtomicU32, AtomicU64, Ordering::Relaxed, fence};

/// A line of a table: a bucket, or what a bucket has no room for.
pub trait Line {
    /// Entries that it has room for.
    const SLOTS: u32;

    /// Its [`Word`].
    fn header(&self) -> &AtomicU64;

    /// The next line of the chain, a block of the arena; 0: none.
    fn link(&self) -> &AtomicU32;

    /// Copies an entry into a slot that is not occupied, under the lock of both lines.
    fn copy_slot(&self, slot: u32, to: &Self, at: u32);

    /// Whether two slots hold the same entry, of which one is a copy.
    fn is_same(&self, slot: u32, other: &Self, at: u32) -> bool;

    /// What stands in the slot, if it is a reference to a block.
    fn reference(&self, slot: u32) -> Option<u32>;

    /// Marks a slot as read.
    fn mark(&self, slot: u32);

    /// Takes all marks of what was read off. A bit for each slot that had one.
    fn take_marks(&self) -> u32;
}

/// The header of a line, read.
pub struct Word<L>(u64, PhantomData<fn(L)>);

impl<L> Clone for Word<L> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<L> Copy for Word<L> {}

impl<L> PartialEq for Word<L> {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

const OWNER: u64 = ParticipantId::MASK as u64;
const OCCUPIED: u32 = ParticipantId::BITS;
const LEVEL_BITS: u32 = 6;

impl<L: Line> Word<L> {
    const LEVEL: u32 = OCCUPIED + L::SLOTS;
    const VERSION: u32 = Self::LEVEL + LEVEL_BITS;
    /// A bit for each slot.
    pub const FULL: u32 = (1 << L::SLOTS) - 1;

    /// A word as it was read.
    #[inline(always)]
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits, PhantomData)
    }

    /// The word as it is stored.
    #[inline(always)]
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// Looks at the header of a line. Acquire: who sees an entry sees what is in it.
    #[inline(always)]
    pub fn look(line: &L) -> Self {
        Self::from_bits(line.header().load(order!(table_look, Acquire)))
    }

    /// As it stands there, for whoever has the line locked.
    #[inline(always)]
    pub fn mine(line: &L) -> Self {
        Self::from_bits(line.header().load(Relaxed))
    }

    /// Whether the line is as it was, whoever has it locked. What was read of it in between is whole then.
    #[inline(always)]
    pub fn is_still(self, line: &L) -> bool {
        // If anything that was read is newer, its writer's fence makes a newer version visible too.
        fence(order!(table_recheck, Acquire));
        (line.header().load(Relaxed) ^ self.0) & !OWNER == 0
    }

    /// Stores the word in a line that is ours: everything before it comes first.
    #[inline(always)]
    pub fn publish(self, line: &L) {
        line.header().store(self.0, order!(table_publish, Release));
    }

    /// Whose lock it is.
    #[inline(always)]
    pub const fn owner(self) -> Option<ParticipantId> {
        ParticipantId::new((self.0 & OWNER) as u32)
    }

    #[inline(always)]
    pub(crate) const fn is_locked(self) -> bool {
        self.0 & OWNER != 0
    }

    /// The same, of this owner.
    #[inline(always)]
    pub const fn of(self, owner: Option<ParticipantId>) -> Self {
        let id = match owner {
            Some(id) => id.get(),
            None => 0,
        };
        Self::from_bits(self.0 & !OWNER | id as u64)
    }

    /// The same of this owner, of a word that was nobody's.
    #[inline(always)]
    pub(crate) const fn taken_by(self, owner: ParticipantId) -> Self {
        Self::from_bits(self.0 | owner.get() as u64)
    }

    /// A bit for each slot with an entry.
    #[inline(always)]
    pub const fn occupied(self) -> u32 {
        (self.0 >> OCCUPIED) as u32 & Self::FULL
    }

    /// The first slot without an entry.
    #[inline(always)]
    pub const fn free_slot(self) -> Option<u32> {
        let free = !self.occupied() & Self::FULL;
        if free == 0 { None } else { Some(free.trailing_zeros()) }
    }

    /// The same after an entry was put into the first slot that had none, and which. `None`: all have.
    #[inline(always)]
    pub(crate) const fn with_next(self) -> Option<(u32, Self)> {
        // What is added to the field turns its lowest zero into a one, and ones below it into zeros.
        let next = !self.0 & self.0.wrapping_add(1 << OCCUPIED) & ((Self::FULL as u64) << OCCUPIED);
        if next == 0 {
            return None;
        }
        Some((next.trailing_zeros() - OCCUPIED, Self::from_bits(self.0 | next).changed()))
    }

    /// Whether there is an entry in the slot.
    #[inline(always)]
    pub const fn has(self, slot: u32) -> bool {
        slot < L::SLOTS && self.0 >> (OCCUPIED + slot) & 1 == 1
    }

    /// The same with exactly these slots occupied.
    #[inline(always)]
    pub const fn with_occupied(self, slots: u32) -> Self {
        let field = (Self::FULL as u64) << OCCUPIED;
        Self::from_bits(self.0 & !field | ((slots & Self::FULL) as u64) << OCCUPIED)
    }

    /// The same with this slot occupied, or not.
    #[inline(always)]
    pub const fn with(self, slot: u32, yes: bool) -> Self {
        let bit = (1 << slot & Self::FULL as u64) << OCCUPIED;
        Self::from_bits(if yes { self.0 | bit } else { self.0 & !bit })
    }

    /// How often the bucket was split.
    #[inline(always)]
    pub const fn level(self) -> u32 {
        (self.0 >> Self::LEVEL) as u32 & ((1 << LEVEL_BITS) - 1)
    }

    /// Whether nobody has the bucket locked, and it is at this level.
    #[inline(always)]
    pub(crate) const fn is_free_at(self, level: u32) -> bool {
        let mask = (1 << LEVEL_BITS) - 1;
        (self.0 ^ (level as u64 & mask) << Self::LEVEL) & (OWNER | mask << Self::LEVEL) == 0
    }

    /// The same at this level.
    pub const fn at_level(self, level: u32) -> Self {
        let mask = (1_u64 << LEVEL_BITS) - 1;
        Self::from_bits(self.0 & !(mask << Self::LEVEL) | (level as u64 & mask) << Self::LEVEL)
    }

    /// The same after a change.
    #[inline(always)]
    pub const fn changed(self) -> Self {
        // What overflows is lost at the upper end.
        Self::from_bits(self.0.wrapping_add(1 << Self::VERSION))
    }
}

impl<L: Line> fmt::Debug for Word<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (occupied, level) = (self.occupied(), self.level());
        match self.owner() {
            Some(id) => write!(f, "Locked({id})")?,
            None => f.write_str("Free")?,
        }
        write!(f, " occupied {occupied:#b} level {level} v{}", self.0 >> Self::VERSION)
    }
}

/// The lowest bits of a hash.
#[inline(always)]
pub(crate) const fn low(hash: u64, bits: u32) -> u64 {
    hash & !(u64::MAX << (bits & 63))
}

/// How many buckets there are, as somebody saw it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Extent(u64);

/// The most buckets that a process sees: more than can be.
const BUCKETS_MAX: u64 = 1 << 31;

impl Extent {
    /// So many buckets, at least 1.
    #[inline(always)]
    pub const fn new(buckets: u64) -> Self {
        let buckets = if buckets == 0 { 1 } else { buckets };
        Self(if buckets > BUCKETS_MAX { BUCKETS_MAX } else { buckets })
    }

    /// How many.
    #[inline(always)]
    pub const fn buckets(self) -> u64 {
        self.0
    }

    /// The largest power of two in it, its logarithm.
    #[inline(always)]
    pub const fn level(self) -> u32 {
        self.0.ilog2()
    }

    /// The bucket of a hash.
    #[inline(always)]
    pub const fn bucket(self, hash: u64) -> u64 {
        let half = 1 << self.level();
        let bucket = hash & (2 * half - 1);
        if bucket < self.buckets() { bucket } else { bucket - half }
    }

    /// How many bits of a hash decided on this bucket, when there were so many.
    pub const fn bits_of(self, bucket: u64) -> u32 {
        let half = 1 << self.level();
        if bucket >= half || bucket + half < self.buckets() { self.level() + 1 } else { self.level() }
    }
}

#[cfg(all(test, not(mutirao_model)))]
mod tests {
    use super::{Extent, Word};
    use crate::participant::ParticipantId;
    use crate::raw::table_line::{PairLine, RecordLine};

    #[test]
    fn fields_of_a_word_do_not_meet() {
        fn check<L: super::Line>() {
            let all = Word::<L>::from_bits(u64::MAX);
            assert_eq!((all.occupied(), all.level()), (Word::<L>::FULL, 63));
            assert_eq!(all.changed().bits() >> Word::<L>::VERSION, 0);
            assert_eq!(all.changed().bits(), u64::MAX >> (64 - Word::<L>::VERSION));
            let one = Word::<L>::from_bits(0).with_occupied(5).at_level(7).changed().of(ParticipantId::new(9));
            assert_eq!((one.occupied(), one.level(), one.owner()), (5, 7, ParticipantId::new(9)));
            assert_eq!((one.free_slot(), one.has(2), one.has(1), all.free_slot()), (Some(1), true, false, None));
            assert_eq!(format!("{one:?}"), "Locked(#9) occupied 0b101 level 7 v1");
            let free = one.of(None);
            assert_eq!([6, 7, 8, 71].map(|level| free.is_free_at(level)), [false, true, false, true]);
            assert!(!one.is_free_at(7) && free.taken_by(one.owner().unwrap()) == one);
            // Filled from the lowest slot on, a version each.
            let (mut word, mut slots) = (free, Vec::new());
            while let Some((slot, next)) = word.with_next() {
                assert!(next == word.with(slot, true).changed() && !word.has(slot));
                slots.push(slot);
                word = next;
            }
            assert!(
                word.occupied() == Word::<L>::FULL
                    && slots.iter().copied().eq((0..L::SLOTS).filter(|slot| !free.has(*slot)))
            );
        }
        check::<PairLine>();
        check::<RecordLine>();
    }

    #[test]
    fn every_hash_has_a_bucket_that_is_there() {
        for buckets in 1..70_u64 {
            let extent = Extent::new(buckets);
            assert_eq!(extent.buckets(), buckets);
            for hash in 0..500_u64 {
                let bucket = extent.bucket(hash);
                assert!(bucket < buckets);
                assert_eq!(bucket, hash & ((1 << extent.bits_of(bucket)) - 1), "{hash} of {buckets}");
            }
        }
        // Numbers that nobody counted lead somewhere all the same.
        let _ = (Extent::new(u64::MAX).bucket(u64::MAX), Extent::new(0).bucket(5));
    }
}
