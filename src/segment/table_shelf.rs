//! Where a table's lines and records are: from a bucket's number, a link or a reference to the words themselves.
//!
//! Everything that is followed is held against private bounds: the first buckets are a part of the body, all the rest
//! lies in the pages that this process knows to be backed. No page table is asked, and no word of a block: that a reference
//! leads to a record is known only once the bucket's header is seen unchanged, and until then any words will do.

use crate::error::{Error, Kind, Result};
use crate::participant::Liveness;
use crate::raw::blocks::BlockRef;
use crate::raw::hash::KeyedHash;
use crate::raw::table::{Guess, Seen, Store, Table as Machine, TableHead, Trouble};
use crate::raw::table_desk::{Desk, Leaving};
use crate::raw::table_line::{PairLine, RecordLine};
use crate::raw::table_word::{Extent, Line, Word};
use crate::segment::access::{self, Near, Placed, Region, Shared, Window};
use crate::segment::arena::Arena;
use crate::segment::plain::words_for;
use crate::segment::spans::UNIT;
use crate::segment::table_plan::{DESKS_AT, LINE, PIECES, PIECES_AT, SECRETS, SECRETS_AT, TablePlan, piece_of};
use crate::segment::table_record::{Record, is_key};
use crate::sync::{AtomicU32, AtomicU64, Ordering::Relaxed};

/// A table's parts, resolved once.
pub(crate) struct Shelf<L> {
    pub plan: TablePlan,
    pub head: Placed<TableHead>,
    pub desks: Placed<[Desk]>,
    pub hash: KeyedHash,
    pieces: Placed<[AtomicU32]>,
    lines: Near<L>,
    pub bits: u32,
    window: Window,
    seen: Seen,
}

/// A kind of line in shared memory.
pub(crate) trait Kept: Line + Shared + Sync + 'static {
    /// The hash of the key in a slot.
    fn hash_at(&self, slot: u32, shelf: &Shelf<Self>, under: &impl Under) -> Option<u64>
    where
        Self: Sized;
}

/// What lies under a table: who asks about lives, and whose blocks its records are.
pub(crate) trait Under: Liveness {
    /// Whether it may mark what it reads, where that is wanted.
    const MARKS: bool;

    fn arena(&self) -> Option<&Arena>;

    /// Who may lock a bucket to read it, where it changes all the time. `None`: whoever only looks.
    fn reader(&self) -> Option<&Self>;
}

/// A shelf with what is under it.
pub(crate) struct Standing<'a, L, U> {
    pub shelf: &'a Shelf<L>,
    pub under: &'a U,
}

impl<L: Kept> Shelf<L> {
    pub(crate) fn resolve(plan: TablePlan, body: &Region, arena: &Arena) -> Result<Self> {
        let words: &[AtomicU64] = body.places(SECRETS_AT, SECRETS)?;
        let secrets = core::array::from_fn(|i| words.get(i).map_or(0, |word| word.load(Relaxed)));
        Ok(Self {
            plan,
            head: body.placed(0)?,
            desks: body.placed_slice(DESKS_AT, plan.desks.into())?,
            hash: KeyedHash::new(plan.hash, secrets),
            pieces: body.placed_slice(PIECES_AT, PIECES)?,
            lines: Near::new(body.placed_slice(plan.lines(), plan.first.into())?, plan.is_usual())?,
            bits: plan.bits(),
            window: arena.growth().window()?,
            seen: Seen::new(Extent::new(plan.first.into())),
        })
    }

    /// Gives the first buckets of a new table the levels that they have, where their number is no power of two.
    pub(crate) fn split_ahead(&self) {
        let once = Word::<L>::from_bits(0).at_level(1).bits();
        for line in self.plan.split_ahead().into_iter().filter_map(|range| self.lines.all().get(range)).flatten() {
            line.header().store(once, Relaxed);
        }
    }

    /// The machine, over these lines.
    #[inline(always)]
    pub(crate) fn machine<'a, U: Under>(&'a self, standing: &'a Standing<'a, L, U>) -> Machine<'a, Standing<'a, L, U>> {
        let (first, bits) = (self.plan.first.into(), self.bits);
        Machine { head: &self.head, desks: &self.desks, store: standing, seen: &self.seen, first, bits }
    }

    /// Structs at an offset from the first page.
    #[inline(always)]
    fn places<T: Shared>(&self, under: &impl Under, offset: u64, count: u64) -> Option<&[T]> {
        match self.window.places(offset, count) {
            None => self.places_beyond(under, offset, count),
            found => found,
        }
    }

    /// Others may have made more pages than we knew of.
    #[cold]
    #[inline(never)]
    fn places_beyond<T: Shared>(&self, under: &impl Under, offset: u64, count: u64) -> Option<&[T]> {
        let growth = under.arena()?.growth();
        // Asks the file only if what is known of it does not suffice.
        growth.places::<T>(offset, count).ok()?;
        self.window.extend(growth.committed() * crate::segment::layout::PAGE);
        self.window.places(offset, count)
    }

    #[inline(always)]
    fn line(&self, under: &impl Under, offset: u64) -> Option<&L> {
        self.places(under, offset, 1)?.first()
    }

    #[inline(always)]
    fn bucket(&self, under: &impl Under, index: u64) -> Option<&L> {
        match self.bucket_near(index) {
            None => self.bucket_beyond(under, index),
            found => found,
        }
    }

    #[cold]
    #[inline(never)]
    fn bucket_beyond(&self, under: &impl Under, index: u64) -> Option<&L> {
        self.line(under, self.later_bucket(index)?)
    }

    /// Where a bucket's line is that is none of the first ones.
    #[inline(always)]
    fn later_bucket(&self, index: u64) -> Option<u64> {
        let (piece, at) = piece_of(index);
        let unit = self.pieces.get(piece as usize)?.load(crate::order!(table_piece_look, Acquire));
        if unit == 0 { None } else { Some(u64::from(unit) * UNIT + at * LINE) }
    }

    /// The record at a unit, if there can be one.
    #[inline(always)]
    pub(crate) fn record(&self, under: &impl Under, unit: u32) -> Option<Record<'_>> {
        let offset = u64::from(unit) * UNIT;
        let lengths = self.places::<AtomicU64>(under, offset, 1)?.first()?.load(Relaxed);
        let behind = Record::words_of(lengths) - 1;
        let words = self.places(under, offset + 8, behind)?;
        (unit != 0).then(|| Record::of(lengths, words))
    }

    /// The line of a bucket, if it is known to be there.
    #[inline(always)]
    fn bucket_near(&self, index: u64) -> Option<&L> {
        match self.lines.all().get(index as usize) {
            None => self.window.places(self.later_bucket(index)?, 1)?.first(),
            found => found,
        }
    }

    /// The line of the bucket that is guessed for a hash, if that is one of the first ones, the table has no bound, the hash is
    /// the usual one, and this process was not forked from that which attached: all of it known from one comparison.
    #[inline(always)]
    pub(crate) fn straight(&self, hash: u64) -> Option<(Guess, &L)> {
        let guess = self.seen.guess(hash);
        Some((guess, self.lines.get(guess.bucket)?))
    }

    /// Which of the first buckets this is the line of.
    #[inline(always)]
    pub(crate) fn number_of(&self, line: &L) -> u64 {
        access::index_of(self.lines.all(), line) as u64
    }

    /// The words of the value in the record at a unit, and its bytes, if all of it is known to be there, and the key is this
    /// one. With the value's size given, nothing but comparisons waits for the record, so all its lines come at once.
    #[inline(always)]
    pub(crate) fn value_near(&self, unit: u32, key: &[u8], size: Option<usize>) -> Option<(&[AtomicU64], usize)> {
        let (offset, key_words) = (u64::from(unit) * UNIT, words_for(key.len()));
        let (lengths, words) = match size {
            Some(size) => {
                let words: &[AtomicU64] = self.window.places(offset, (1 + key_words + words_for(size)) as u64)?;
                let (lengths, words) = words.split_first()?;
                (lengths.load(Relaxed), words)
            }
            None => {
                let lengths = self.window.places::<AtomicU64>(offset, 1)?.first()?.load(Relaxed);
                let words = key_words + words_for((lengths >> 32) as usize);
                (lengths, self.window.places(offset + 8, words as u64)?)
            }
        };
        let (own, value) = words.split_at_checked(key_words)?;
        let len = size.unwrap_or((lengths >> 32) as usize);
        (lengths == Record::lengths(key.len(), len) && is_key(own, key)).then_some((value, len))
    }

    /// So many words from a unit on, where a record will be, if they are known to be there.
    #[inline(always)]
    pub(crate) fn words_near(&self, unit: u32, words: u64) -> Option<&[AtomicU64]> {
        self.window.places(u64::from(unit) * UNIT, words)
    }

    /// The same, wherever they are.
    pub(crate) fn words_at(&self, under: &impl Under, unit: u32, words: u64) -> Option<&[AtomicU64]> {
        self.places(under, u64::from(unit) * UNIT, words)
    }

    /// Whether the record at a unit is known to be there, and has this key; the first word of it, which says how long it is.
    #[inline(always)]
    pub(crate) fn lengths_near(&self, unit: u32, key: &[u8]) -> Option<u64> {
        let (offset, key_words) = (u64::from(unit) * UNIT, words_for(key.len()));
        let words: &[AtomicU64] = self.window.places(offset, 1 + key_words as u64)?;
        let (lengths, own) = words.split_first()?;
        let lengths = lengths.load(Relaxed);
        (unit != 0 && u64::from(lengths as u32) == key.len() as u64 && is_key(own, key)).then_some(lengths)
    }

    /// Asks the processor for the line of a bucket.
    #[inline(always)]
    pub(crate) fn prefetch(&self, hash: u64) {
        if let Some(line) = self.bucket_near(self.seen.bucket(hash)) {
            access::prefetch(core::slice::from_ref(line), 0);
        }
    }

    /// Asks the processor for what a split will need that makes this bucket: what is behind its parent's line.
    pub(crate) fn prefetch_to_split(&self, child: u64) {
        let parent = child - (1 << Extent::new(child).level());
        let Some(line) = self.bucket_near(parent) else { return };
        let word = Word::mine(line);
        for unit in (0..L::SLOTS).filter(|&slot| word.has(slot)).filter_map(|slot| line.reference(slot)) {
            self.window.prefetch(u64::from(unit) * UNIT, 8);
        }
        let link = line.link().load(Relaxed);
        if link != 0 {
            self.window.prefetch(u64::from(link) * UNIT, 8);
        }
    }

    /// The record that the key of this hash probably has, whose bucket was asked for before.
    #[inline(always)]
    pub(crate) fn probable(&self, hash: u64, find: impl FnOnce(&L) -> Option<u32>) -> Option<u32> {
        self.bucket_near(self.seen.bucket(hash)).and_then(find)
    }

    /// Asks the processor for so many bytes from a unit on.
    #[inline(always)]
    pub(crate) fn prefetch_unit(&self, unit: u32, bytes: u64) {
        self.window.prefetch(u64::from(unit) * UNIT, bytes);
    }
}

impl<L: Kept, U: Under> Standing<'_, L, U> {
    /// Whether what is found is marked as read.
    #[inline(always)]
    pub(crate) fn marks(&self) -> bool {
        U::MARKS && self.shelf.plan.limit != 0
    }

    /// Marks it, if that is wanted.
    #[inline(always)]
    pub(crate) fn mark(&self, line: &L, slot: u32) {
        if self.marks() {
            line.mark(slot);
        }
    }
}

impl<L: Kept, U: Under> Store for Standing<'_, L, U> {
    type Line = L;

    #[inline(always)]
    fn bucket(&self, index: u64) -> Option<&L> {
        self.shelf.bucket(self.under, index)
    }

    #[inline(always)]
    fn bucket_near(&self, index: u64) -> Option<&L> {
        self.shelf.bucket_near(index)
    }

    #[inline]
    fn chained(&self, link: u32) -> Option<&L> {
        if link == 0 { None } else { self.shelf.line(self.under, u64::from(link) * UNIT) }
    }

    fn hash_at(&self, line: &L, slot: u32) -> Option<u64> {
        line.hash_at(slot, self.shelf, self.under)
    }

    #[inline(always)]
    fn leave(&self, leaving: &Leaving<'_>, noted: Option<u64>) {
        if let Some(arena) = self.under.arena() {
            let note = |generation| leaving.note(generation);
            arena.dismiss(self.under, leaving.unit.into(), noted, note);
        }
    }

    fn piece(&self, index: u32) -> Option<&AtomicU32> {
        self.shelf.pieces.get(index as usize)
    }

    fn disown(&self, link: u32) {
        if let Some(arena) = self.under.arena()
            && let Some(generation) = arena.generation_of(link.into())
        {
            arena.settle(BlockRef { unit: link.into(), generation });
        }
    }
}

impl Kept for PairLine {
    fn hash_at(&self, slot: u32, shelf: &Shelf<Self>, _: &impl Under) -> Option<u64> {
        Some(shelf.hash.word(self.key(slot)))
    }
}

impl Kept for RecordLine {
    fn hash_at(&self, slot: u32, shelf: &Shelf<Self>, under: &impl Under) -> Option<u64> {
        shelf.record(under, self.follow(slot)).map(|record| record.hash(&shelf.hash))
    }
}

/// The tag of a hash.
#[inline(always)]
pub(in crate::segment) const fn tag_of(hash: u64) -> u8 {
    (hash >> 56) as u8
}

/// What a machine's trouble is for whoever called.
#[cold]
pub(crate) fn error_of(trouble: Trouble) -> Error {
    match trouble {
        Trouble::Corrupt(how) => Error::corrupt("the dictionary", format!("{how} makes no sense")),
        Trouble::Contended => Kind::Contended { what: "a bucket of the dictionary", rounds: 100_000 }.into(),
        Trouble::Over => Kind::Removed { what: "the dictionary" }.into(),
        // Callers see to both.
        Trouble::NeedsLines(_) | Trouble::NoRoom => Error::corrupt("the dictionary", "it has no room for a line"),
    }
}
