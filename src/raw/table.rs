//! A hash table of lines: buckets, each with the lock of its writers in its header, and chains behind those that are full.
//!
//! Readers write nothing and wait for nobody: they read the header, the entry, and the header again. Writers lock one
//! bucket. Each change takes effect at one store: of a header (an entry comes or goes), of a reference (a record
//! is replaced), of a value (a word is replaced), or of a link (a chain gets a line). The table grows by one bucket at a
//! time (`raw/table_split.rs`); what dead writers left is settled from what they announced on their desks
//! (`raw/table_desk.rs`, `raw/table_recover.rs`). How entries come and go is in `raw/table_change.rs`.
//!
//! Which bucket a hash belongs to: with n buckets, the lowest bits of it, one bit more where that bucket is there already.
//! A process guesses from the n that it saw last; a bucket's level says whether the guess was right, and a wrong one is
//! mended by looking at n again, or at the child that the bucket was split for.
//!
//! # Memory ordering
//!
//! Who finds an entry sees everything that was done before it was put there.
#![forbid(unsafe_code)]

use core::fmt;
use core::hint::select_unpredictable;

use crate::order;
use crate::raw::lock::RawLock;
use crate::raw::table_desk::{Desk, Leaving};
use crate::raw::table_word::{Extent, Line, Word, low};
use crate::sync::{AtomicU32, AtomicU64, Ordering::Relaxed};

/// What all writers of a table share. All-zero: the first buckets, and nothing in them.
#[repr(C, align(128))]
pub struct TableHead {
    /// Buckets beyond the first ones.
    pub(crate) grown: AtomicU64,
    /// Desks that were ever taken: all behind them are as they were made.
    desks_used: AtomicU32,
    /// Not 0: somebody met a chain that chance does not make.
    alarm: AtomicU32,
    _reserved_1: [AtomicU64; 14],
    /// About how many entries there are: what desks said every now and then.
    pub(crate) hint: AtomicU64,
    /// Where the search for entries to forget goes on.
    hand: AtomicU64,
    _reserved_2: [AtomicU64; 14],
    /// Held by whoever splits buckets.
    pub(crate) split: RawLock,
    _reserved_3: AtomicU32,
    /// Held by whoever settles what the dead announced.
    pub(crate) mend: RawLock,
    _reserved_4: AtomicU32,
    _reserved_5: [AtomicU64; 14],
}

/// What a table's machine needs to know and to have done by those who know where its lines are.
pub trait Store {
    /// A bucket's line.
    type Line: Line;

    /// The own line of a bucket. `None`: there is no such bucket.
    fn bucket(&self, index: u64) -> Option<&Self::Line>;

    /// The same, if it is at hand: for who asks again otherwise.
    fn bucket_near(&self, index: u64) -> Option<&Self::Line>;

    /// The line that a link leads to. `None`: to none.
    fn chained(&self, link: u32) -> Option<&Self::Line>;

    /// The hash of the key in a slot, which is ours to read. `None`: what stands there makes no sense.
    fn hash_at(&self, line: &Self::Line, slot: u32) -> Option<u64>;

    /// Frees a block that left the table: in the generation that was noted, else in the one that it has, which is noted
    /// before.
    fn leave(&self, leaving: &Leaving<'_>, noted: Option<u64>);

    /// Where it stands which block a piece of the buckets is. `None`: there is no such piece.
    fn piece(&self, index: u32) -> Option<&AtomicU32>;

    /// Says that no hand's place counts for a spare line any more, before anybody uses it whose hand it was not in.
    fn disown(&self, link: u32);
}

/// A key that is looked for.
pub trait Asked<L> {
    /// Its hash.
    fn hash(&self) -> u64;

    /// The slots that may have it, among those that are occupied: a bit for each.
    fn candidates(&self, line: &L, occupied: u32) -> u32;

    /// Whether it is in the slot; then what is wanted of the entry is read too. It may be overwritten meanwhile: then the
    /// answer does not count, and this is called again.
    fn meets(&mut self, line: &L, slot: u32) -> bool;
}

/// Why something was not done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Trouble {
    /// The words make no sense.
    Corrupt(&'static str),
    /// Others were faster very many times.
    Contended,
    /// The table was removed.
    Over,
    /// So many spare lines are needed.
    NeedsLines(u32),
    /// The next bucket has no memory yet.
    NoRoom,
}

/// The most lines of a chain.
pub(crate) const CHAIN_MAX: usize = 1 << 16;
/// More lines than this in a chain, while buckets are not the lack, say that keys were chosen to collide.
pub(crate) const LONG_CHAIN: u32 = 8;

/// A table, with where its lines are.
pub struct Table<'a, S: Store> {
    /// What all share.
    pub head: &'a TableHead,
    /// Of everybody.
    pub desks: &'a [Desk],
    /// Where the lines are.
    pub store: &'a S,
    /// Private to the process.
    pub seen: &'a Seen,
    /// The number of first buckets.
    pub first: u64,
    /// How many bits of a hash decide on one that was never split: the logarithm of that number, rounded down.
    pub bits: u32,
}

impl TableHead {
    /// A table's first words.
    #[cfg(mutirao_model)]
    pub fn new() -> Self {
        let words = || [0; 14].map(AtomicU64::new);
        let half = || AtomicU32::new(0);
        Self {
            grown: AtomicU64::new(0),
            desks_used: half(),
            alarm: half(),
            _reserved_1: words(),
            hint: AtomicU64::new(0),
            hand: AtomicU64::new(0),
            _reserved_2: words(),
            split: RawLock::new(),
            _reserved_3: half(),
            mend: RawLock::new(),
            _reserved_4: half(),
            _reserved_5: words(),
        }
    }

    /// What sleepers wait on, for the kernel of a model.
    #[cfg(mutirao_model)]
    pub fn futexes(&self) -> [&crate::sync::Futex; 2] {
        [self.split.futex(), self.mend.futex()]
    }

    /// About how many entries there are.
    #[inline]
    pub fn hint(&self) -> u64 {
        let hint = self.hint.load(Relaxed);
        // Desks tell late of what they added, and of what they removed: it may be a little below none.
        if hint > u64::MAX / 2 { 0 } else { hint }
    }

    /// Adds what a desk counted.
    pub fn add_to_hint(&self, change: u64) -> u64 {
        self.hint.fetch_add(change, Relaxed).wrapping_add(change)
    }

    /// The next bucket to look at for what may be forgotten.
    pub fn next_hand(&self) -> u64 {
        self.hand.fetch_add(1, Relaxed)
    }

    /// Notes that a chain is longer than chance makes it. True: nobody had.
    pub fn raise_alarm(&self) -> bool {
        self.alarm.load(Relaxed) == 0 && self.alarm.swap(1, Relaxed) == 0
    }

    /// Whether somebody met such a chain.
    pub fn has_alarm(&self) -> bool {
        self.alarm.load(Relaxed) != 0
    }

    /// How many desks anybody ever took.
    pub fn desks_used(&self) -> usize {
        self.desks_used.load(order!(desk_used_look, Acquire)) as usize
    }

    /// Says that this desk was taken, before it is used.
    pub fn note_desk(&self, index: usize) {
        let wanted = index as u32 + 1;
        let mut now = self.desks_used.load(Relaxed);
        // Bounded: it only grows, and there are not many desks.
        while now < wanted {
            match self.desks_used.compare_exchange(now, wanted, order!(desk_used, AcqRel), Relaxed) {
                Ok(_) => return,
                Err(other) => now = other,
            }
        }
    }
}

/// An [`Extent`] that was right once, for a guess that is made at each operation: the largest power of two in the number of
/// buckets in the upper half, the last bucket in the lower one.
pub struct Seen(AtomicU64);

/// Where a hash belongs, as far as known.
#[derive(Clone, Copy)]
pub struct Guess {
    /// The bucket.
    pub bucket: u64,
    /// How many bits of the hash decided on it.
    pub bits: u32,
}

impl Seen {
    /// This one.
    pub fn new(extent: Extent) -> Self {
        Self(AtomicU64::new(Self::pack(extent)))
    }

    fn pack(extent: Extent) -> u64 {
        1 << extent.level() << 32 | (extent.buckets() - 1)
    }

    fn note(&self, extent: Extent) {
        self.0.store(Self::pack(extent), Relaxed);
    }

    /// Where a hash belongs, as far as known.
    #[inline(always)]
    pub fn guess(&self, hash: u64) -> Guess {
        let seen = self.0.load(Relaxed);
        let (last, half) = (seen & 0xffff_ffff, seen >> 32);
        let bucket = hash & (2 * half).wrapping_sub(1);
        // Behind the last one: then the half of it. No branch, whose outcome would be as random as the hash. And one bit
        // more decides where that many buckets are there.
        let is_split = bucket | half <= last;
        Guess {
            bucket: select_unpredictable(bucket > last, bucket.wrapping_sub(half), bucket),
            bits: half.trailing_zeros() + u32::from(is_split),
        }
    }

    /// The bucket of a hash, as far as known.
    #[inline(always)]
    pub fn bucket(&self, hash: u64) -> u64 {
        self.guess(hash).bucket
    }
}

impl<'a, S: Store> Table<'a, S> {
    /// How many buckets there are.
    #[inline]
    pub fn extent(&self) -> Extent {
        let grown = self.head.grown.load(order!(table_grown_look, Acquire));
        Extent::new(self.first + (grown & 0xffff_ffff_ffff))
    }

    /// The same, remembered for the next guess.
    #[inline]
    pub(crate) fn refresh(&self) -> Extent {
        let extent = self.extent();
        self.seen.note(extent);
        extent
    }

    #[inline(always)]
    pub(crate) fn guess(&self, hash: u64) -> u64 {
        self.seen.bucket(hash)
    }

    /// Whether a bucket at this level has the entries of this hash.
    #[inline(always)]
    pub(crate) fn belongs(&self, hash: u64, bucket: u64, word: Word<S::Line>) -> bool {
        low(hash, self.bits + word.level()) == bucket
    }

    /// Where to look instead: the bucket is not, or not any more, that of the hash.
    #[cold]
    pub(crate) fn redirect(&self, hash: u64, bucket: u64, word: Word<S::Line>) -> u64 {
        let fresh = self.refresh().bucket(hash);
        if fresh != bucket {
            return fresh;
        }
        // Split, and not yet counted: its child. Not simply by all bits of the level: there may be no such bucket yet.
        let level = self.bits + word.level();
        let differ = low(hash, level) ^ bucket;
        if level < 64 && bucket >> level != 0 || differ == 0 {
            low(hash, level)
        } else {
            low(hash, differ.trailing_zeros() + 1)
        }
    }
}

impl fmt::Debug for TableHead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let grown = self.grown.load(Relaxed);
        write!(f, "TableHead({grown} buckets more, about {} entries)", self.hint())
    }
}

#[cfg(all(test, not(mutirao_model)))]
mod tests {
    use super::Seen;
    use crate::raw::table_word::Extent;

    #[test]
    fn what_is_guessed_is_right_as_long_as_there_are_so_many_buckets() {
        for buckets in (1..70).chain([(1 << 31) - 1, 1 << 31]) {
            let (extent, seen) = (Extent::new(buckets), Seen::new(Extent::new(1)));
            seen.note(extent);
            for hash in (0..500).chain([u64::MAX, u64::MAX / 3, 1 << 31, (1 << 31) - 1, 1 << 30]) {
                let guess = seen.guess(hash);
                assert_eq!(guess.bucket, extent.bucket(hash), "{hash} of {buckets}");
                assert_eq!(guess.bits, extent.bits_of(guess.bucket), "{hash} of {buckets}");
            }
        }
    }
}
