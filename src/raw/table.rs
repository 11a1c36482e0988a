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

use crate::order;
use crate::participant::Liveness;
use crate::raw::lock::RawLock;
use crate::raw::table_desk::{Desk, Leaving};
use crate::raw::table_word::{Extent, Line, Word, low};
use crate::sync::{AtomicU32, AtomicU64, Ordering::Relaxed, spin_hint};

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
    fn leave(&self, leaving: &Leaving<'_>);

    /// Where it stands which block a piece of the buckets is. `None`: there is no such piece.
    fn piece(&self, index: u32) -> Option<&AtomicU32>;

    /// Says that a spare line goes into a chain now, before it does: no hand's place counts for it any more.
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
/// How often a reader begins again.
const TRIES: u32 = 100_000;
/// After so many it takes the lock, if it may.
const TRIES_FREE: u32 = 200;
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
    /// Private: an [`Extent`] that was right once.
    pub seen: &'a AtomicU64,
    /// The logarithm of the number of first buckets.
    pub first: u32,
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

impl<'a, S: Store> Table<'a, S> {
    /// How many buckets there are.
    #[inline]
    pub fn extent(&self) -> Extent {
        let grown = self.head.grown.load(order!(table_grown_look, Acquire));
        Extent::new((1 << (self.first & 31)) + (grown & 0xffff_ffff_ffff))
    }

    /// The same, remembered for the next guess.
    #[inline]
    pub(crate) fn refresh(&self) -> Extent {
        let extent = self.extent();
        self.seen.store(extent.bits(), Relaxed);
        extent
    }

    #[inline(always)]
    pub(crate) fn guess(&self, hash: u64) -> u64 {
        Extent::from_bits(self.seen.load(Relaxed)).bucket(hash)
    }

    /// Whether a bucket at this level has the entries of this hash.
    #[inline(always)]
    pub(crate) fn belongs(&self, hash: u64, bucket: u64, word: Word<S::Line>) -> bool {
        low(hash, self.first + word.level()) == bucket
    }

    /// Where to look instead: the bucket is not, or not any more, that of the hash.
    #[cold]
    pub(crate) fn redirect(&self, hash: u64, bucket: u64, word: Word<S::Line>) -> u64 {
        let fresh = self.refresh().bucket(hash);
        if fresh != bucket {
            return fresh;
        }
        // Split, and not yet counted: its child. Not simply by all bits of the level: there may be no such bucket yet.
        let level = self.first + word.level();
        let differ = low(hash, level) ^ bucket;
        if level < 64 && bucket >> level != 0 || differ == 0 {
            low(hash, level)
        } else {
            low(hash, differ.trailing_zeros() + 1)
        }
    }

    /// Reads the entry of a key. False: there is none. `life`: who locks the bucket if others write into it all the time.
    #[inline(always)]
    pub fn find<'l, V: Liveness + 'l>(
        &self,
        asked: &mut impl Asked<S::Line>,
        life: impl FnOnce() -> Option<&'l V>,
    ) -> Result<bool, Trouble> {
        if self.hit(asked) { Ok(true) } else { self.find_anywhere(asked, life) }
    }

    /// The usual hit, straight: in the bucket that was guessed, in its own line. What is occupied there belongs there, so
    /// no level is looked at. False: [`find`](Self::find) knows.
    #[inline(always)]
    pub fn hit(&self, asked: &mut impl Asked<S::Line>) -> bool {
        self.store.bucket_near(self.guess(asked.hash())).is_some_and(|line| {
            let word = Word::look(line);
            let candidates = asked.candidates(line, word.occupied());
            candidates != 0 && asked.meets(line, candidates.trailing_zeros()) && word.is_still(line)
        })
    }

    /// As [`find`](Self::find), with chains, splits and writers, for what was no [`hit`](Self::hit).
    #[cold]
    #[inline(never)]
    pub fn find_anywhere<'l, V: Liveness + 'l>(
        &self,
        asked: &mut impl Asked<S::Line>,
        life: impl FnOnce() -> Option<&'l V>,
    ) -> Result<bool, Trouble> {
        let hash = asked.hash();
        let mut bucket = self.guess(hash);
        let mut wrong = "a bucket that is not there";
        let mut life = Some(life);
        // Each round that comes to nothing means that a writer did something, or that the words make no sense.
        for round in 0..TRIES {
            if round == TRIES_FREE
                && let Some(life) = life.take().and_then(|life| life())
            {
                // Large values that change all the time: nobody writes while we read.
                return self.find_locked(life, asked);
            }
            let Some(line) = self.store.bucket(bucket) else { return Err(Trouble::Corrupt(wrong)) };
            let word = Word::look(line);
            if !self.belongs(hash, bucket, word) {
                wrong = "a bucket's level";
                bucket = self.redirect(hash, bucket, word);
                continue;
            }
            match self.find_in(asked, line, word) {
                Some(found) => return Ok(found),
                None => spin_hint(),
            }
        }
        Err(Trouble::Contended)
    }

    /// Looks through a bucket's chain. `None`: it changed meanwhile.
    fn find_in(&self, asked: &mut impl Asked<S::Line>, line: &S::Line, word: Word<S::Line>) -> Option<bool> {
        let (mut at, mut now) = (line, word);
        for _ in 0..CHAIN_MAX {
            let mut candidates = asked.candidates(at, now.occupied());
            while candidates != 0 {
                let slot = candidates.trailing_zeros();
                candidates &= candidates - 1;
                if asked.meets(at, slot) {
                    // The line may have been taken out of the chain, and be another's by now: so both.
                    return (now.is_still(at) && word.is_still(line)).then_some(true);
                }
            }
            let link = at.link().load(order!(table_chain, Acquire));
            if link == 0 {
                break;
            }
            at = self.store.chained(link)?;
            now = Word::look(at);
        }
        // Every change of the chain leaves a new version in the bucket's own line.
        word.is_still(line).then_some(false)
    }

    /// Reads all entries of a bucket as they were at one moment, and its level then. `read` may see words that are being
    /// overwritten; `begin` is called whenever it all begins again. `life` as for [`find`](Self::find).
    pub fn snapshot<V: Liveness>(
        &self,
        life: Option<&V>,
        bucket: u64,
        mut begin: impl FnMut(),
        mut read: impl FnMut(&S::Line, u32),
    ) -> Result<u32, Trouble> {
        let line = self.store.bucket(bucket).ok_or(Trouble::Corrupt("a bucket that is not there"))?;
        for round in 0..TRIES {
            begin();
            if round == TRIES_FREE
                && let Some(life) = life
            {
                let read = |word| {
                    let whole = self.each_entry(bucket, line, word, &mut read);
                    whole.map(|()| self.first + word.level()).ok_or(Trouble::Corrupt("a chain"))
                };
                return self.with_locked(life, bucket, read);
            }
            let word = Word::look(line);
            if self.each_entry(bucket, line, word, &mut read).is_some() && word.is_still(line) {
                return Ok(self.first + word.level());
            }
            spin_hint();
        }
        Err(Trouble::Contended)
    }

    fn each_entry(
        &self,
        bucket: u64,
        line: &S::Line,
        word: Word<S::Line>,
        read: &mut impl FnMut(&S::Line, u32),
    ) -> Option<()> {
        let (mut at, mut now) = (line, word);
        for nth in 0..CHAIN_MAX {
            for slot in (0..S::Line::SLOTS).filter(|&slot| now.has(slot)) {
                // A split that is under way, or whose splitter died, leaves entries in chains that are the child's, or that
                // stand in the bucket's own line by now.
                let is_here = nth == 0 || {
                    let belongs = self.store.hash_at(at, slot).is_some_and(|hash| self.belongs(hash, bucket, word));
                    belongs && !(0..S::Line::SLOTS).any(|own| word.has(own) && line.is_same(own, at, slot))
                };
                if is_here {
                    read(at, slot);
                }
            }
            if !now.is_still(at) {
                return None;
            }
            let link = at.link().load(order!(table_chain, Acquire));
            if link == 0 {
                return Some(());
            }
            at = self.store.chained(link)?;
            now = Word::look(at);
        }
        None
    }
}

impl fmt::Debug for TableHead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let grown = self.grown.load(Relaxed);
        write!(f, "TableHead({grown} buckets more, about {} entries)", self.hint())
    }
}
