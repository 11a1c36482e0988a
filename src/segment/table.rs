//! The table of a dictionary in its segment, before it knows types: what both kinds of entries have in common.
//!
//! `Table<PairLine>` (`table_words.rs`) holds words by words, `Table<RecordLine>` (`table_records.rs`) bytes by bytes. Who
//! may do what when is decided in `raw/table*.rs`; where things lie is told in `table_plan.rs` and `table_shelf.rs`.
//!
//! | | words | records |
//! |---|---|---|
//! | look up | `get_word(key)` | `get(key, read)`, `get_many(keys, read)` |
//! | put | `put_word(key, value, when)` | `put(key, value, when, old)` |
//! | take out | `remove_word(key, when)` | `remove(key, when, old)` |
//! | one bucket as it is at one moment | `scan_words(family, each)` | `scan(family, each)` |
//! | hash | `hash_word(key)` | `hash(key)` |
//!
//! Iteration goes by *families*: the buckets that there are at its start, each with those that were split off it since. An
//! entry that is there all the time is met exactly once; one that comes or goes meanwhile is met or not.

use crate::error::{Error, Result};
use crate::raw::table::Trouble;
use crate::raw::table_desk::Desk;
use crate::raw::table_word::Extent;
use crate::segment::access;
use crate::segment::arena::Arena;
use crate::segment::body::Body;
use crate::segment::header::bad_shape;
use crate::segment::layout::ObjectKind;
use crate::segment::plain;
use crate::segment::recover::Place;
use crate::segment::spans::UNIT;
use crate::segment::table_desks::Desks;
use crate::segment::table_plan::{Bucket, LINE, SECRETS, SECRETS_AT, TablePlan, piece_buckets, piece_of};
use crate::segment::table_reap::Key;
use crate::segment::table_shelf::{Kept, Shelf, Standing, Under, error_of};
use crate::sync::{AtomicU64, Ordering::Relaxed};
use crate::sys::liveness;
use std::sync::Arc;

/// A handle's view of a table. Clones share what this process knows of it.
pub(crate) struct Table<L: Kept>(Arc<Inner<L>>);

pub(in crate::segment) struct Inner<L: Kept> {
    pub shelf: Shelf<L>,
    pub body: Body,
    pub desks: Desks,
    /// Which object of its segment it is; 0 if it is alone.
    pub number: u32,
}

impl Under for Body {
    const MARKS: bool = true;

    #[inline]
    fn arena(&self) -> Option<&Arena> {
        self.attachment().arena()
    }

    #[cold]
    fn reader(&self) -> Option<&Self> {
        self.life().ok()
    }
}

/// Memory for this many bytes of buckets is made when it is needed, for more ahead of it.
const AT_ONCE: u64 = 256 << 10;

/// Keys whose buckets and records are asked for at once.
pub(crate) const BATCH: usize = 16;

/// Under which condition an entry is put or taken out. `V`: a value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum When<V> {
    Always,
    /// Only if there is none of the key.
    Absent,
    /// Only if there is one of the key, and its value is this.
    Equals(V),
}

/// What came of putting an entry or taking one out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Put<T> {
    /// There was none, and now there is one.
    Inserted,
    /// There was this one, which is gone: replaced, or removed.
    Replaced(T),
    /// It is not as it was to be, so nothing was done: what stands there.
    Refused(Option<T>),
}

/// Insertions of a thread after which it tells the others, and looks whether there are too few buckets.
const HINT_EACH: u64 = 32;
/// The most buckets that are split at once: half as many again as so many insertions need, because getting memory counts too,
/// and what others could not do is made up for.
const SPLITS_MAX: u32 = 24;
/// The most entries that one call forgets.
const EVICTED_MAX: u64 = 64;
/// Spare lines that a thread keeps.
pub(in crate::segment) const SPARES: usize = 8;

impl<L: Kept> Clone for Table<L> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<L: Kept> Drop for Inner<L> {
    fn drop(&mut self) {
        // In a forked child the desks are the parent's.
        if self.body.attachment().is_ours() {
            self.desks.leave(&self.shelf.machine(&self.standing()));
        }
    }
}

impl<L: Kept> Table<L> {
    /// Fills a new table's body: the secrets of its hash, and the levels of its buckets. Before anybody else knows the
    /// object; Relaxed, for it is published later. What was attached before does not know of it.
    pub(crate) fn fill(&self) -> Result<()> {
        for words in self.0.body.places::<AtomicU64>(SECRETS_AT, SECRETS)?.chunks(2) {
            plain::copy_in(words, &liveness::random_16());
        }
        self.0.shelf.split_ahead();
        Ok(())
    }

    /// Has memory made for what `entries` entries need beside the first buckets. `record`: bytes of each, where they are records.
    /// A hint: what is not to be had now may be had later.
    pub(crate) fn make_room(&self, entries: u64, record: u64) {
        let Some(arena) = self.0.arena().ok().filter(|arena| record <= arena.usage_max()) else { return };
        match self.0.shelf.plan.bucket {
            // One in 14 stands in a line of its own behind a full bucket.
            Bucket::Words => arena.make_room(entries / 14, LINE),
            Bucket::Records => arena.make_room(entries, record),
        }
    }

    /// The table at the start of this body, whose object's shape is the table's.
    pub(crate) fn attach(body: Body, bucket: Bucket) -> Result<Self> {
        let bad = || bad_shape(ObjectKind::Dict, body.shape());
        let plan = TablePlan::from_shape(body.shape()).filter(|plan| plan.bucket == bucket).ok_or_else(bad)?;
        if plan.body_len() > body.len() {
            return Err(bad());
        }
        let arena = body.attachment().arena().ok_or_else(bad)?;
        let shelf = Shelf::resolve(plan, body.region(), arena)?;
        let rows = body.attachment().fixed().rows.len();
        let desks = Desks::new(body.row(), rows.min(plan.desks as usize / 2));
        let number = body.among_others().map_or(0, |(number, _)| number);
        Ok(Self(Arc::new(Inner { shelf, body, desks, number })))
    }

    #[inline(always)]
    pub(in crate::segment) fn inner(&self) -> &Inner<L> {
        &self.0
    }

    #[cfg(test)]
    pub(in crate::segment) fn body(&self) -> &Body {
        &self.0.body
    }

    /// How many entries there are. Exact when nobody is writing, whoever died.
    pub(crate) fn len(&self) -> u64 {
        let Inner { shelf, body, .. } = &*self.0;
        shelf.machine(&Standing { shelf, under: body }).len(body.life().ok())
    }

    /// Takes entries out that nobody has read for long, until there are no more than the bound, as far as this thread
    /// knows: others tell of their last 31 late.
    #[inline(always)]
    pub(crate) fn keep_limit(&self) -> Result<()> {
        if self.0.shelf.plan.limit == 0 { Ok(()) } else { self.evict_some() }
    }

    #[cold]
    #[inline(never)]
    fn evict_some(&self) -> Result<()> {
        let Inner { shelf, body, desks, .. } = &*self.0;
        let life = body.life()?;
        let standing = self.0.standing();
        let machine = shelf.machine(&standing);
        let sitting = desks.sit(&machine, life)?;
        let mut evicted = 0;
        // Each round forgets one more than comes in meanwhile, or ends.
        while evicted < EVICTED_MAX
            && self.is_over(sitting.desk)
            && machine.forget_one(life, sitting.desk).map_err(error_of)?
        {
            evicted += 1;
            self.0.after_remove(sitting.desk);
        }
        Ok(())
    }

    /// Whether there are more entries than there may be. Asks all desks if what is known of them does not suffice: each
    /// keeps a little to itself, also that of somebody dead.
    fn is_over(&self, desk: &Desk) -> bool {
        let (head, limit) = (&self.0.shelf.head, self.0.shelf.plan.limit);
        let untold = HINT_EACH.saturating_mul(head.desks_used() as u64);
        let most = head.hint().wrapping_add(desk.untold()).wrapping_add(untold);
        let standing = self.0.standing();
        limit != 0 && most > limit && self.0.shelf.machine(&standing).count() > limit
    }

    /// Whether somebody met a chain that is longer than chance makes one: keys were chosen to meet.
    pub(crate) fn has_alarm(&self) -> bool {
        self.0.shelf.head.has_alarm()
    }

    /// How many buckets there are: families of an iteration that begins now.
    pub(crate) fn buckets(&self) -> u64 {
        let Inner { shelf, body, .. } = &*self.0;
        shelf.machine(&Standing { shelf, under: body }).extent().buckets()
    }
}

impl<L: Kept> Inner<L> {
    #[inline(always)]
    pub(in crate::segment) fn standing(&self) -> Standing<'_, L, Body> {
        Standing { shelf: &self.shelf, under: &self.body }
    }

    pub(in crate::segment) fn arena(&self) -> Result<&Arena> {
        self.body.attachment().arena().ok_or_else(|| Error::corrupt("the dictionary", "its segment has no arena"))
    }

    /// What a hand says of a block that goes into this table.
    #[inline(always)]
    pub(in crate::segment) fn place(&self, key: Key) -> u64 {
        Place { object: self.number, key: key.bits() }.bits()
    }

    /// After an insertion: tells the others of it now and then, and splits buckets if there are too few.
    #[inline(always)]
    pub(in crate::segment) fn after_insert(&self, desk: &Desk) {
        if let Some(change) = desk.unhinted(HINT_EACH) {
            self.tell(desk, change);
        }
    }

    /// After a removal: tells the others of it now and then, and keeps few spare lines.
    #[inline(always)]
    pub(in crate::segment) fn after_remove(&self, desk: &Desk) {
        if let Some(change) = desk.unhinted(HINT_EACH) {
            self.shelf.head.add_to_hint(change);
            let standing = self.standing();
            self.shelf.machine(&standing).drop_spares(desk, SPARES);
        }
    }

    #[cold]
    #[inline(never)]
    fn tell(&self, desk: &Desk, change: u64) {
        let standing = self.standing();
        let machine = self.shelf.machine(&standing);
        let mut entries = match self.shelf.plan.limit {
            0 => self.shelf.head.add_to_hint(change),
            // Exactly: what the dead did not tell would be missing for ever.
            _ => machine.true_up(),
        };
        let load = self.shelf.plan.bucket.load(machine.extent().buckets());
        // Of a small table, what the others keep to themselves may be more than there is: all of them are asked.
        let untold = HINT_EACH.saturating_mul(self.shelf.head.desks_used() as u64);
        if entries > load && entries < 4 * untold {
            entries = machine.count();
        }
        if entries < u64::MAX / 2 && entries > load {
            // What can not be had now is tried again later; until then chains grow.
            let _ = self.grow(desk, entries);
        }
    }

    fn grow(&self, desk: &Desk, entries: u64) -> Result<()> {
        let standing = self.standing();
        let machine = self.shelf.machine(&standing);
        let Some(mut splitter) = machine.try_splitter(&self.body) else { return Ok(()) };
        for _ in 0..SPLITS_MAX {
            let next = splitter.next();
            if entries <= self.shelf.plan.bucket.load(next) {
                break;
            }
            match splitter.split(&self.body, desk) {
                Ok(()) => self.make_ahead(next),
                Err(Trouble::NoRoom) => self.make_piece(next)?,
                Err(Trouble::NeedsLines(lines)) => self.get_lines(desk, lines)?,
                Err(trouble) => return Err(error_of(trouble)),
            }
        }
        // What is split next time may come meanwhile, all of it at once.
        let next = splitter.next();
        (next..next + HINT_EACH / self.shelf.plan.bucket.load(1)).for_each(|child| self.shelf.prefetch_to_split(child));
        Ok(())
    }

    /// Now and then, on the way through a large piece, a part of the memory for the next one: all at once it would take long.
    fn make_ahead(&self, bucket: u64) {
        let ((piece, at), parts) = (piece_of(bucket), 16);
        let bytes = piece_buckets(piece + 1) * LINE;
        if bytes > AT_ONCE
            && at.is_multiple_of(piece_buckets(piece) / parts)
            && let Ok(arena) = self.arena()
        {
            // Twice what would do: others may take some of it.
            arena.make_ahead(bytes, 2 * bytes / parts);
        }
    }

    /// Gets memory for the piece that this bucket is in. Under the splitters' lock.
    #[cold]
    fn make_piece(&self, bucket: u64) -> Result<()> {
        let standing = self.standing();
        let (piece, _) = piece_of(bucket);
        let word = crate::raw::table::Store::piece(&standing, piece)
            .ok_or_else(|| Error::corrupt("the dictionary", "it has no more pieces"))?;
        if word.load(Relaxed) != 0 {
            return Err(Error::corrupt("the dictionary", "a piece that is not there"));
        }
        let block = self.arena()?.allocate(&self.body, piece_buckets(piece) * LINE)?;
        let unit = unit_of(block.reference().unit)?;
        block.set_place(self.place(Key::Piece(piece)));
        word.store(unit, crate::order!(table_piece, Release));
        block.published();
        Ok(())
    }

    /// Which desk it is.
    pub(in crate::segment) fn number_of(&self, desk: &Desk) -> u32 {
        access::index_of(&self.shelf.desks, desk) as u32
    }

    /// Gets a spare line for this thread, and some for later, if there are any.
    #[cold]
    #[inline(never)]
    pub(in crate::segment) fn get_spares(&self, desk: &Desk) -> Result<()> {
        self.get_lines(desk, 1)?;
        // Nobody needs them yet.
        let _ = self.get_lines(desk, SPARES as u32 - 1);
        Ok(())
    }

    /// Gets spare lines for this thread.
    #[cold]
    pub(in crate::segment) fn get_lines(&self, desk: &Desk, lines: u32) -> Result<()> {
        let standing = self.standing();
        let machine = self.shelf.machine(&standing);
        let place = self.place(Key::Line(self.number_of(desk)));
        for _ in 0..lines {
            let block = self.arena()?.allocate(&self.body, LINE)?;
            let unit = unit_of(block.reference().unit)?;
            block.set_place(place);
            machine.add_spare(desk, unit).map_err(error_of)?;
            block.published();
        }
        Ok(())
    }
}

/// Reads a bucket, and those that were split off it since there were `buckets` buckets. `snapshot` reads one bucket and
/// says how many bits of a hash decide on it by now.
pub(in crate::segment) fn family(
    bucket: u64,
    buckets: u64,
    mut snapshot: impl FnMut(u64) -> Result<u32>,
) -> Result<()> {
    let mut left = vec![(bucket, Extent::new(buckets).bits_of(bucket))];
    // Bounded: each bit of a hash is decided on once on the way to a bucket.
    while let Some((bucket, bits)) = left.pop() {
        let now = snapshot(bucket)?.min(48);
        left.extend((bits..now).map(|bit| (bucket | 1 << bit, bit + 1)));
    }
    Ok(())
}

/// A block's unit, as a table refers to it.
#[inline(always)]
pub(in crate::segment) fn unit_of(unit: u64) -> Result<u32> {
    u32::try_from(unit).map_err(|_| {
        let reach = (u64::from(u32::MAX) * UNIT) >> 30;
        Error::invalid("an entry of a dictionary there", format!("it reaches the first {reach} GiB of its segment"))
    })
}
