//! The body of a dictionary's table: what it is made to be, and where its parts stand. Arithmetic only.
//!
//! ```text
//!     0  TableHead        384 bytes
//!   384  secrets            3 words, for the hash; then 13 that are reserved
//!   512  pieces          1792 words of 4 bytes: the blocks of the arena that later buckets are in; 0: not yet
//!  7680  desks            128 bytes each
//!        first buckets     64 bytes each
//! ```
//!
//! Buckets beyond the first ones stand in pieces: up to 2^17 buckets, 1024 in each; then each doubling is 128 pieces, so
//! that making one never takes long, and their number stays small.

use crate::raw::hash::HashKind;
use crate::raw::table::TableHead;
use crate::raw::table_desk::Desk;
use crate::segment::layout::{BODY_ALIGN, ROWS_MAX};

/// What entries of a table are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub(crate) enum Bucket {
    /// Keys and values are words, in the bucket itself.
    Words = 0,
    /// Keys and values are bytes of any number, in a block of the arena.
    Records = 1,
}

/// What a table is made to be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TableOptions {
    pub bucket: Bucket,
    pub hash: HashKind,
    /// Entries that it has buckets for from the start.
    pub capacity: u64,
    /// The most entries, beyond which some are forgotten; 0: no limit.
    pub limit: u64,
    /// Rows of the segment.
    pub rows: u32,
}

/// The geometry of a table:
/// `shape = [bucket | hash << 32, first | desks << 32, limit, 0]`, where `first` is the number of first buckets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct TablePlan {
    pub bucket: Bucket,
    pub hash: HashKind,
    /// Buckets that are there from the start: any number.
    pub first: u32,
    pub desks: u32,
    pub limit: u64,
}

/// Offset of the secrets.
pub(crate) const SECRETS_AT: u64 = size_of::<TableHead>() as u64;
/// Words of secrets.
pub(crate) const SECRETS: u64 = crate::raw::hash::SECRETS as u64;
/// Offset of the pieces' words.
pub(crate) const PIECES_AT: u64 = 512;
/// Pieces, and words for them.
pub(crate) const PIECES: u64 = PIECES_EACH * (BUCKETS_BITS_MAX - SMALL_BITS + 1) as u64;
/// Offset of the desks.
pub(crate) const DESKS_AT: u64 = PIECES_AT + 4 * PIECES;
/// Bytes of a line.
pub(crate) const LINE: u64 = 64;

/// Pieces of a doubling, and of all below the first one that has so many.
const PIECES_EACH: u64 = 128;
/// Buckets of the smallest pieces.
const PIECE_BITS: u32 = 10;
/// So many buckets are in the smallest pieces, as a power of two.
const SMALL_BITS: u32 = PIECE_BITS + PIECES_EACH.trailing_zeros();
/// The most buckets, as a power of two.
pub(crate) const BUCKETS_BITS_MAX: u32 = 30;
/// The least first buckets.
const FIRST_MIN: u64 = 32;
/// Desks for each row of the segment.
const DESKS_OF_ROW: u32 = 2;

const _: () = assert!(PIECES == 1792 && DESKS_AT == 7680 && DESKS_AT.is_multiple_of(128) && SECRETS_AT == 384);

impl Bucket {
    /// Entries that `buckets` buckets are to have before there are more.
    #[inline]
    pub(crate) const fn load(self, buckets: u64) -> u64 {
        match self {
            Self::Words => 33 * buckets / 16,
            Self::Records => 31 * buckets / 8,
        }
    }

    /// Buckets for so many entries: a little more than those who would have to be split for the last of them.
    const fn buckets(self, entries: u64) -> u64 {
        let (buckets, of) = match self {
            Self::Words => (11, 21),
            Self::Records => (11, 42),
        };
        (entries / of * buckets).saturating_add((entries % of * buckets).div_ceil(of))
    }
}

impl TablePlan {
    pub(crate) fn new(options: &TableOptions) -> Self {
        let TableOptions { bucket, hash, capacity, limit, rows } = *options;
        let first = bucket.buckets(capacity).clamp(FIRST_MIN, 1 << BUCKETS_BITS_MAX);
        // What is rounded up is less than a piece.
        let first = first.next_multiple_of(1 << first.ilog2().saturating_sub(PIECES_EACH.trailing_zeros())) as u32;
        let desks = rows.clamp(1, ROWS_MAX) * DESKS_OF_ROW;
        Self { bucket, hash, first, desks, limit }
    }

    /// The plan that an object's shape stands for, if it is one.
    pub(crate) fn from_shape([kinds, first_desks, limit, zero]: [u64; 4]) -> Option<Self> {
        let bucket = match kinds as u32 {
            0 => Bucket::Words,
            1 => Bucket::Records,
            _ => return None,
        };
        let (first, desks) = (first_desks as u32, (first_desks >> 32) as u32);
        let fits =
            (1..=1 << BUCKETS_BITS_MAX).contains(&first) && (1..=ROWS_MAX * DESKS_OF_ROW).contains(&desks) && zero == 0;
        let hash = HashKind::from_number((kinds >> 32) as u32)?;
        fits.then_some(Self { bucket, hash, first, desks, limit })
    }

    pub(crate) fn shape(&self) -> [u64; 4] {
        let both = |low: u32, high: u32| u64::from(low) | u64::from(high) << 32;
        [both(self.bucket as u32, self.hash as u32), both(self.first, self.desks), self.limit, 0]
    }

    /// Whether there is nothing to think of but entries and their places: no bound that reads are noted for, no other hash.
    pub(crate) fn is_usual(&self) -> bool {
        self.limit == 0 && self.hash == HashKind::Fold2
    }

    /// Offset of the first buckets.
    pub(crate) const fn lines(&self) -> u64 {
        DESKS_AT + self.desks as u64 * size_of::<Desk>() as u64
    }

    /// How many bits of a hash decide on a bucket that was never split.
    pub(crate) const fn bits(&self) -> u32 {
        (self.first | 1).ilog2()
    }

    /// Those of the first buckets that one bit more decides on, as if they had been split: the first ones, and the last
    /// ones.
    pub(crate) const fn split_ahead(&self) -> [core::ops::Range<usize>; 2] {
        let half = 1 << self.bits();
        [0..self.first as usize - half, half..self.first as usize]
    }

    /// Bytes of the table's own body; something else may stand behind it.
    pub(crate) const fn body_len(&self) -> u64 {
        (self.lines() + LINE * self.first as u64).next_multiple_of(BODY_ALIGN)
    }
}

/// Which piece a bucket is in, and where in it.
#[inline(always)]
pub(crate) const fn piece_of(bucket: u64) -> (u32, u64) {
    let bits = (bucket | 1).ilog2();
    if bits < SMALL_BITS {
        return ((bucket >> PIECE_BITS) as u32, bucket & ((1 << PIECE_BITS) - 1));
    }
    let shift = bits - PIECES_EACH.trailing_zeros();
    let within = (bucket >> shift) as u32 & (PIECES_EACH as u32 - 1);
    ((bits - SMALL_BITS + 1) * PIECES_EACH as u32 + within, bucket & ((1 << shift) - 1))
}

/// Buckets of a piece.
pub(crate) const fn piece_buckets(piece: u32) -> u64 {
    let doubling = piece / PIECES_EACH as u32;
    1 << (PIECE_BITS + if doubling == 0 { 0 } else { doubling - 1 })
}

#[cfg(test)]
mod tests {
    use super::{Bucket, PIECES, TableOptions, TablePlan, piece_buckets, piece_of};
    use crate::raw::hash::HashKind;

    #[test]
    fn a_plan_comes_back_from_its_shape() {
        for (bucket, capacity) in [(Bucket::Words, 0), (Bucket::Records, 1_000_000), (Bucket::Words, u64::MAX)] {
            let options = TableOptions { bucket, hash: HashKind::SipHash13, capacity, limit: 7, rows: 64 };
            let plan = TablePlan::new(&options);
            assert_eq!(TablePlan::from_shape(plan.shape()), Some(plan));
            assert!(bucket.load(plan.first.into()) >= capacity.min(1 << 30));
            assert!(plan.body_len().is_multiple_of(128) && plan.lines().is_multiple_of(64));
        }
        for shape in [
            [2, 5 | 1 << 32, 0, 0],
            [0, 1 | 1 << 30 | 1 << 32, 0, 0],
            [0, 1 << 32, 0, 0],
            [0, 5, 0, 0],
            [0, 5 | 1 << 32, 0, 1],
            [u64::MAX; 4],
        ] {
            assert_eq!(TablePlan::from_shape(shape), None);
        }
    }

    #[test]
    fn there_are_buckets_for_what_is_asked_for_and_few_more() {
        for bucket in [Bucket::Words, Bucket::Records] {
            for capacity in (1..60).map(|i: u64| i.pow(5) + 3000) {
                let options = TableOptions { bucket, hash: HashKind::Fold2, capacity, limit: 0, rows: 64 };
                let plan = TablePlan::new(&options);
                let first = u64::from(plan.first);
                assert!(bucket.load(first) > capacity && bucket.load(first) < capacity + capacity / 11, "{plan:?}");
                // Later buckets begin with a piece, where pieces are no larger than that.
                assert!(first < 1 << 17 || piece_of(first).1 == 0);
                let ahead = plan.split_ahead().map(|range| range.len() as u64);
                assert_eq!(ahead, [first - (1 << plan.bits()); 2]);
            }
        }
    }

    #[test]
    fn buckets_fill_pieces_one_after_the_other() {
        let (mut piece, mut at) = piece_of(0);
        assert_eq!((piece, at), (0, 0));
        for bucket in 1..1_u64 << 20 {
            let next = piece_of(bucket);
            if at + 1 == piece_buckets(piece) {
                assert_eq!(next, (piece + 1, 0))
            } else {
                assert_eq!(next, (piece, at + 1))
            }
            (piece, at) = next;
        }
        let (last, at) = piece_of((1 << 30) - 1);
        assert!(u64::from(last) < PIECES && at + 1 == piece_buckets(last));
        assert!(u64::from(piece_of(1 << 30).0) < PIECES + 128);
    }
}
