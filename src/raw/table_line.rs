//! The two kinds of lines: three pairs of words, or ten references to records.
//!
//! ```text
//!        PairLine                      RecordLine
//!   0    header u64                    header u64
//!   8    link u32 | marks u32          tags of the slots 0 to 7, a byte each
//!  16    key u64 | value u64, 3 times  link u32
//!  20                                  tags of the slots 8 and 9, then marks, 16 bits each
//!  24                                  reference u32, 10 times: where a record begins
//! ```
//!
//! A tag is the uppermost byte of a key's hash: it spares a look at nearly every record that is another's.
#![forbid(unsafe_code)]

use core::hint::select_unpredictable;

use crate::order;
use crate::raw::table_word::Line;
use crate::sync::{AtomicU32, AtomicU64, Ordering::Relaxed};

/// A line of entries whose keys and values are words.
#[repr(C, align(64))]
pub struct PairLine {
    header: AtomicU64,
    link: AtomicU32,
    /// A bit for each slot that was read since somebody looked for what may be forgotten.
    marks: AtomicU32,
    /// Keys, each with its value.
    pairs: [[AtomicU64; 2]; 3],
}

/// A line of references.
#[repr(C, align(64))]
pub struct RecordLine {
    header: AtomicU64,
    tags: AtomicU64,
    link: AtomicU32,
    /// The tags of the last two slots; above them a bit for each slot as in [`PairLine`].
    more: AtomicU32,
    references: [AtomicU32; 10],
}

/// Where marks stand in a [`RecordLine`]'s word.
const MARKS: u32 = 16;

impl PairLine {
    /// Empty lines.
    #[cfg(mutirao_model)]
    pub fn new() -> Self {
        let pair = || [0; 2].map(AtomicU64::new);
        Self {
            header: AtomicU64::new(0),
            link: AtomicU32::new(0),
            marks: AtomicU32::new(0),
            pairs: [pair(), pair(), pair()],
        }
    }

    /// The slots whose key is this one, among those that are occupied.
    #[inline(always)]
    pub fn find(&self, key: u64, occupied: u32) -> u32 {
        self.equal(key).0 & occupied
    }

    /// The slots whose key is this one, occupied or not, and the value of one of them.
    #[inline(always)]
    pub fn equal(&self, key: u64) -> (u32, u64) {
        let [a, b, c] = self.pairs.each_ref().map(|[its, value]| (its.load(Relaxed) == key, value.load(Relaxed)));
        let equal = u32::from(a.0) | u32::from(b.0) << 1 | u32::from(c.0) << 2;
        // No branch, whose outcome would be as random as the key.
        (equal, select_unpredictable(a.0, a.1, select_unpredictable(b.0, b.1, c.1)))
    }

    /// The keys, each with its value.
    #[inline(always)]
    pub fn pairs(&self) -> &[[AtomicU64; 2]; 3] {
        &self.pairs
    }

    /// The key in a slot.
    #[inline(always)]
    pub fn key(&self, slot: u32) -> u64 {
        self.pairs.get(slot as usize).map_or(0, |[key, _]| key.load(Relaxed))
    }

    /// The value in a slot.
    #[inline(always)]
    pub fn value(&self, slot: u32) -> u64 {
        self.pairs.get(slot as usize).map_or(0, |[_, value]| value.load(Relaxed))
    }

    /// Replaces the value of an entry, under the lock. This is the commit.
    #[inline(always)]
    pub fn set_value(&self, slot: u32, value: u64) {
        if let Some([_, its]) = self.pairs.get(slot as usize) {
            // Relaxed: it carries nothing but itself.
            its.store(value, Relaxed);
        }
    }

    /// Fills a slot that is not occupied, under the lock.
    #[inline(always)]
    pub fn fill(&self, slot: u32, key: u64, value: u64) {
        if let Some(pair) = self.pairs.get(slot as usize) {
            pair[0].store(key, Relaxed);
            pair[1].store(value, Relaxed);
        }
    }
}

impl Line for PairLine {
    const SLOTS: u32 = 3;

    #[inline(always)]
    fn header(&self) -> &AtomicU64 {
        &self.header
    }

    #[inline(always)]
    fn link(&self) -> &AtomicU32 {
        &self.link
    }

    fn copy_slot(&self, slot: u32, to: &Self, at: u32) {
        to.fill(at, self.key(slot), self.value(slot));
    }

    fn is_same(&self, slot: u32, other: &Self, at: u32) -> bool {
        self.key(slot) == other.key(at)
    }

    fn reference(&self, _: u32) -> Option<u32> {
        None
    }

    #[inline]
    fn mark(&self, slot: u32) {
        mark(&self.marks, 1 << (slot % 3));
    }

    fn take_marks(&self) -> u32 {
        self.marks.swap(0, Relaxed)
    }
}

impl RecordLine {
    /// Empty lines.
    #[cfg(mutirao_model)]
    pub fn new() -> Self {
        let [link, more] = [0; 2].map(AtomicU32::new);
        let [header, tags] = [0; 2].map(AtomicU64::new);
        Self { header, tags, link, more, references: [0; 10].map(AtomicU32::new) }
    }

    /// Offsets of the tags, of the first eight and of the last two.
    pub const TAGS: [usize; 2] = [core::mem::offset_of!(Self, tags), core::mem::offset_of!(Self, more)];

    /// The tags of all slots, then marks.
    #[inline(always)]
    pub fn tags(&self) -> (u64, u32) {
        (self.tags.load(Relaxed), self.more.load(Relaxed))
    }

    /// The slots with this tag, among those that are occupied.
    #[inline(always)]
    pub fn find(&self, tag: u8, occupied: u32) -> u32 {
        let (low, high) = self.tags();
        equal_bytes(low, high, tag) & occupied
    }

    /// The tag of a slot.
    fn tag(&self, slot: u32) -> u8 {
        match slot.checked_sub(8) {
            None => (self.tags.load(Relaxed) >> (8 * slot)) as u8,
            Some(slot) => (self.more.load(Relaxed) >> (8 * (slot & 1))) as u8,
        }
    }

    /// The reference in a slot. Acquire: who follows it sees the record.
    #[inline(always)]
    pub fn follow(&self, slot: u32) -> u32 {
        self.references.get(slot as usize).map_or(0, |word| word.load(order!(table_follow, Acquire)))
    }

    /// Fills a slot that is not occupied, under the lock.
    #[inline(always)]
    pub fn fill(&self, slot: u32, tag: u8, reference: u32) {
        match slot.checked_sub(8) {
            None => {
                let tags = self.tags.load(Relaxed) & !(0xff << (8 * slot));
                self.tags.store(tags | u64::from(tag) << (8 * slot), Relaxed);
            }
            Some(slot) => {
                // Readers set marks in this word.
                self.more.fetch_and(!(0xff << (8 * (slot & 1))), Relaxed);
                self.more.fetch_or(u32::from(tag) << (8 * (slot & 1)), Relaxed);
            }
        }
        if let Some(word) = self.references.get(slot as usize) {
            // Relaxed: the header that makes the slot occupied is a release.
            word.store(reference, Relaxed);
        }
    }

    /// Replaces the reference of an entry, under the lock. This is the commit.
    #[inline(always)]
    pub fn refer(&self, slot: u32, reference: u32) {
        if let Some(word) = self.references.get(slot as usize) {
            word.store(reference, order!(table_refer, Release));
        }
    }
}

/// Sets a bit, if it is not set.
#[inline]
fn mark(word: &AtomicU32, bit: u32) {
    if word.load(Relaxed) & bit == 0 {
        word.fetch_or(bit, Relaxed);
    }
}

impl Line for RecordLine {
    const SLOTS: u32 = 10;

    #[inline(always)]
    fn header(&self) -> &AtomicU64 {
        &self.header
    }

    #[inline(always)]
    fn link(&self) -> &AtomicU32 {
        &self.link
    }

    fn copy_slot(&self, slot: u32, to: &Self, at: u32) {
        to.fill(at, self.tag(slot), self.follow(slot));
    }

    fn is_same(&self, slot: u32, other: &Self, at: u32) -> bool {
        self.follow(slot) == other.follow(at)
    }

    fn reference(&self, slot: u32) -> Option<u32> {
        Some(self.follow(slot))
    }

    #[inline]
    fn mark(&self, slot: u32) {
        mark(&self.more, 1 << (MARKS + slot % 10));
    }

    fn take_marks(&self) -> u32 {
        self.more.fetch_and((1 << MARKS) - 1, Relaxed) >> MARKS
    }
}

/// Which of twelve bytes are this one, a bit for each; all at once within a word.
#[inline(always)]
fn equal_bytes(low: u64, high: u32, byte: u8) -> u32 {
    const LOW: u64 = 0x7f7f_7f7f_7f7f_7f7f;
    // The highest bit of each byte that is zero, moved together by a multiplication.
    let zeros = |word: u64| {
        let zero = !(((word & LOW) + LOW) | word | LOW);
        ((zero >> 7).wrapping_mul(0x0102_0408_1020_4080) >> 56) as u32
    };
    let all = u64::from_le_bytes([byte; 8]);
    zeros(low ^ all) | (zeros(u64::from(high) ^ all) & 0xf) << 8
}

#[cfg(all(test, not(mutirao_model)))]
mod tests {
    use super::{RecordLine, equal_bytes};
    use crate::raw::table_word::Line;
    use crate::sync::{AtomicU32, AtomicU64};

    #[test]
    fn tags_are_found_in_all_slots_and_beside_marks() {
        let [link, more] = [0; 2].map(AtomicU32::new);
        let [header, tags] = [0; 2].map(AtomicU64::new);
        let line = RecordLine { header, tags, link, more, references: [0; 10].map(AtomicU32::new) };
        for slot in 0..10 {
            line.fill(slot, 0xf0 + slot as u8, 100 + slot);
            line.mark(slot);
        }
        for slot in 0..10 {
            assert_eq!(line.find(0xf0 + slot as u8, 0x3ff), 1 << slot);
            assert_eq!((line.tag(slot), line.follow(slot)), (0xf0 + slot as u8, 100 + slot));
        }
        line.copy_slot(9, &line, 8);
        assert!(line.is_same(9, &line, 8) && line.tag(8) == 0xf9);
        assert_eq!((line.take_marks(), line.take_marks(), line.tag(9)), (0x3ff, 0, 0xf9));
        assert_eq!(equal_bytes(u64::MAX, u32::MAX, 255), 0xfff);
    }
}
