//! Locks on ranges of something long: many readers or one writer for each part of it, and a memory of which parts a
//! dead writer left half changed.
//!
//! A table of entries ([`RangeEntry`]), one for each range that is held or damaged.
//!
//! Claims are made under the table's lock, one look at every entry; giving back is one exchange without it. Start and end
//! are written while the entry is free or, if it is damaged, so that at each moment no damage is forgotten: a
//! range grows before another is freed, and shrinks after another was made. So whoever dies with the
//! table's lock leaves nothing to repair.
//!
//! Nobody stands in line: a writer may be overtaken by readers for as long as they come and overlap.
//!
//! # Memory ordering
//!
//! Who claims a range sees all stores of those who held an overlapping one as writers, and a writer has all reads of those who
//! held one as readers behind it.
#![forbid(unsafe_code)]

use core::fmt;
use core::ops::Range;

use crate::deadline::Deadline;
use crate::order;
use crate::participant::Liveness;
use crate::raw::lock::{RawLock, Refused};
use crate::raw::range_entry::{Access, RangeEntry, State, overlap};
use crate::raw::signal::Signal;
use crate::sync::rested::Rested;
use crate::sync::{AtomicU32, Ordering::Relaxed, Patience, mark};

/// What all entries share. All-zero: nothing is held.
#[repr(C)]
pub struct RangesHeader {
    /// Held by who looks for a place in the table.
    table: RawLock,
    /// Entries from this one on were never used. Changed under the table's lock.
    used: AtomicU32,
    /// Moved when a range is given back.
    freed: Signal,
}

/// A range that is held: the permission to read or to write it.
#[derive(Debug, PartialEq, Eq)]
pub struct Claim {
    entry: usize,
    access: Access,
    /// Whether a writer of a part of it died and nobody has declared that part whole since.
    pub damaged: bool,
}

impl RangesHeader {
    /// Nothing is held.
    pub fn new() -> Self {
        Self { table: RawLock::new(), used: AtomicU32::new(0), freed: Signal::new() }
    }

    /// The lock of the table.
    pub fn table(&self) -> &RawLock {
        &self.table
    }

    /// What those sleep on whose range is held.
    pub fn freed(&self) -> &Signal {
        &self.freed
    }
}

/// Why a range was not claimed, or not declared whole.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum NotHeld {
    /// As a lock is refused.
    Refused(Refused),
    /// Every entry of the table is taken.
    Full,
}

impl From<Refused> for NotHeld {
    fn from(refused: Refused) -> Self {
        Self::Refused(refused)
    }
}

/// What one look at the table found.
enum Found {
    /// An entry to fill, and whether a part of the range is damaged.
    Place { entry: usize, damaged: bool },
    /// A participant holds a part of the range that is not known to be dead.
    Held,
    /// Every entry is taken.
    Full,
}

/// The locks on the ranges of one thing, with their words wherever they are.
#[derive(Clone, Copy)]
pub struct RawRanges<'a> {
    /// What the entries share.
    pub header: &'a RangesHeader,
    /// One for each range that is held or damaged.
    pub entries: &'a [RangeEntry],
}

impl RawRanges<'_> {
    /// Claims the range if that needs no waiting. Asks about the lives of those in the way at once.
    pub fn try_claim(&self, life: &impl Liveness, access: Access, range: &Range<u64>) -> Result<Claim, NotHeld> {
        // The table is held for a moment only; one who is stopped in that moment holds it longer.
        let busy = |not| if not == NotHeld::from(Refused::TimedOut) { Refused::Busy.into() } else { not };
        let mut patience = Patience::new(Deadline::NOW);
        self.claim_once(life, access, range, true, &mut patience).map_err(busy)?.ok_or(Refused::Busy.into())
    }

    /// Claims the range, sleeping while living participants hold parts of it.
    pub fn claim(
        &self,
        life: &impl Liveness,
        access: Access,
        range: &Range<u64>,
        patience: &mut Patience,
    ) -> Result<Claim, NotHeld> {
        let mut seen = None;
        // Each round sleeps, or was woken by somebody who gave a range back.
        loop {
            let asked = patience.asks();
            if let Some(claim) = self.claim_once(life, access, range, false, patience)? {
                return Ok(claim);
            }
            if patience.spin() {
                continue;
            }
            if patience.asks() != asked {
                // A slice ended in the line for the table: whoever died may have taken our flag along. Register again.
                seen = None;
            }
            match seen.take() {
                // Registered now, for whatever range: look once more.
                None => seen = Some(self.header.freed.prepare_all()),
                Some(seen) => {
                    if self.header.freed.rest(seen, life, patience) == Rested::DeadlinePassed {
                        // Even the shortest deadline asks about lives once.
                        let last = self.claim_once(life, access, range, true, patience)?;
                        return last.ok_or(Refused::TimedOut.into());
                    }
                }
            }
        }
    }

    /// Gives a range back and wakes those who wait for one.
    pub fn release(&self, life: &impl Liveness, claim: Claim) {
        if let Some(entry) = self.entries.get(claim.entry) {
            // An entry that is not ours was written over by a broken peer: leave it.
            entry.exchange(State::held(claim.access, life.me()), State::FREE, order!(range_release, Release));
            self.header.freed.notify(life);
        }
    }

    /// Declares what a writer holds whole: later claims of it find no damage. `Full` when a damaged range would have to be
    /// cut in two and there is no entry left.
    pub fn mark_consistent(
        &self,
        life: &impl Liveness,
        claim: &mut Claim,
        patience: &mut Patience,
    ) -> Result<(), NotHeld> {
        let whole = match self.entries.get(claim.entry) {
            Some(entry) => entry.range(),
            None => return Err(Refused::Corrupt.into()),
        };
        self.header.table.acquire(life, patience)?;
        let ended = self.entries.iter().try_for_each(|entry| match entry.look() {
            State::DAMAGED if overlap(&entry.range(), &whole) => self.cut(entry, &whole),
            _ => Ok(()),
        });
        self.header.table.release(false);
        claim.damaged &= ended.is_err();
        ended
    }

    /// Takes `whole` out of a damaged range. Under the table's lock.
    fn cut(&self, entry: &RangeEntry, whole: &Range<u64>) -> Result<(), NotHeld> {
        let damaged = entry.range();
        match (damaged.start < whole.start, whole.end < damaged.end) {
            (false, false) => entry.state.store(State::FREE.0, order!(range_cut, Release)),
            (false, true) => entry.start.store(whole.end, Relaxed),
            (true, false) => entry.end.store(whole.start, Relaxed),
            (true, true) => {
                let free = self.free_entry().ok_or(NotHeld::Full)?;
                self.entries[free].fill(&(whole.end..damaged.end), State::DAMAGED);
                mark("ranges: cut in two");
                // Release: the upper part stands in an entry of its own before it is taken out of this one.
                entry.end.store(whole.start, order!(range_cut, Release));
            }
        }
        Ok(())
    }

    /// One look under the table's lock, and the claim if nothing is in its way.
    fn claim_once(
        &self,
        life: &impl Liveness,
        access: Access,
        range: &Range<u64>,
        ask: bool,
        patience: &mut Patience,
    ) -> Result<Option<Claim>, NotHeld> {
        // A holder of the table that died has left nothing to repair.
        self.header.table.acquire(life, patience)?;
        // Also where the slice in which somebody died ended in the line for the table.
        let ask = ask || patience.asks();
        let mut found = self.look(life, access, range, ask);
        if matches!(found, Ok(Found::Full)) && self.make_room(life) {
            found = self.look(life, access, range, true);
        }
        if let Ok(Found::Place { entry, .. }) = found {
            self.entries[entry].fill(range, State::held(access, life.me()));
        }
        self.header.table.release(false);
        match found? {
            Found::Place { entry, damaged } => Ok(Some(Claim { entry, access, damaged })),
            Found::Held => Ok(None),
            Found::Full => Err(NotHeld::Full),
        }
    }

    /// Under the table's lock.
    fn look(&self, life: &impl Liveness, access: Access, range: &Range<u64>, ask: bool) -> Result<Found, Refused> {
        let mut damaged = false;
        for entry in self.in_use() {
            let mut state = entry.look();
            if state == State::FREE {
                continue;
            }
            let theirs = entry.range();
            if state.is_corrupt() || theirs.start > theirs.end {
                // Its holder may have given it back meanwhile, and nobody else fills one.
                if entry.look() == State::FREE {
                    continue;
                }
                return Err(Refused::Corrupt);
            }
            let is_in_the_way = |state: State| match state.holder() {
                Some((theirs, _)) => theirs == Access::Write || access == Access::Write,
                None => false,
            };
            if !overlap(&theirs, range) {
                continue;
            }
            if ask && is_in_the_way(state) && entry.bury(state, life) {
                state = entry.look();
            }
            if is_in_the_way(state) {
                return Ok(Found::Held);
            }
            // Also a writer's whose death somebody else has just noticed.
            damaged |= state == State::DAMAGED;
        }
        Ok(self.free_entry().map_or(Found::Full, |entry| Found::Place { entry, damaged }))
    }

    /// A free entry, counted as used. Under the table's lock.
    fn free_entry(&self) -> Option<usize> {
        let used = self.in_use().len();
        let free = self.in_use().iter().position(|entry| entry.look() == State::FREE);
        if free.is_none() && used < self.entries.len() {
            // Before the entry's own state, whose release orders it for the next holder of the table.
            self.header.used.store(used as u32 + 1, Relaxed);
            return Some(used);
        }
        free
    }

    /// The entries that were ever used.
    fn in_use(&self) -> &[RangeEntry] {
        let used = self.header.used.load(Relaxed) as usize;
        self.entries.get(..used).unwrap_or(self.entries)
    }

    /// Frees what the dead hold anywhere, or makes one of the two damaged ranges that are nearest to each other. Under the
    /// table's lock. False: the living hold all of it.
    #[cold]
    fn make_room(&self, life: &impl Liveness) -> bool {
        let buried = self.entries.iter().filter(|entry| entry.bury(entry.look(), life)).count();
        if buried > 0 && self.entries.iter().any(|entry| entry.look() == State::FREE) {
            return true;
        }
        let damaged: Vec<_> =
            self.entries.iter().filter(|e| e.look() == State::DAMAGED).map(|e| (e, e.range())).collect();
        let hull = |a: &Range<u64>, b: &Range<u64>| a.start.min(b.start)..a.end.max(b.end);
        let pairs = damaged.iter().enumerate().flat_map(|(i, a)| damaged[i + 1..].iter().map(move |b| (a, b)));
        let cost = |a: &Range<u64>, b: &Range<u64>| {
            let hull = hull(a, b);
            hull.end.wrapping_sub(hull.start)
        };
        let Some((a, b)) = pairs.min_by_key(|(a, b)| cost(&a.1, &b.1)) else { return false };
        mark("ranges: joined");
        let both = hull(&a.1, &b.1);
        a.0.start.store(both.start, Relaxed);
        a.0.end.store(both.end, Relaxed);
        // Release: the first covers both before the second is gone.
        b.0.state.store(State::FREE.0, order!(range_cut, Release));
        true
    }

    /// Frees what dead readers held and notes what dead writers left. Returns the traces removed.
    pub fn recover(&self, life: &impl Liveness) -> u32 {
        let mut removed = self.header.table.recover(life);
        for entry in self.entries {
            if entry.bury(entry.look(), life) {
                removed += 1;
                self.header.freed.notify(life);
            }
        }
        removed
    }

    /// How many ranges are read, written and damaged. A snapshot, for people and tests.
    pub fn counts(&self) -> (usize, usize, usize) {
        let states = || self.entries.iter().map(|entry| State(entry.state.load(Relaxed)));
        let held = |access| states().filter(|s| s.holder().is_some_and(|(a, _)| a == access)).count();
        (held(Access::Read), held(Access::Write), states().filter(|s| *s == State::DAMAGED).count())
    }
}

impl Default for RangesHeader {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for RawRanges<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let entries = self.entries.iter().map(|entry| (State(entry.state.load(Relaxed)), entry.range()));
        f.debug_list().entries(entries.filter(|(state, _)| *state != State::FREE)).finish()
    }
}

#[cfg(all(test, not(mutirao_model)))]
mod tests {
    use super::{Claim, NotHeld, RangesHeader, RawRanges};
    use crate::deadline::Deadline;
    use crate::raw::lock::{Refused, tests::Me};
    use crate::raw::range_entry::{Access, Access::Read, Access::Write, RangeEntry};
    use crate::sync::{Ordering::Relaxed, Patience};

    fn with(entries: usize, f: impl FnOnce(RawRanges<'_>)) {
        let header = RangesHeader::new();
        let entries: Vec<_> = (0..entries).map(|_| RangeEntry::new()).collect();
        f(RawRanges { header: &header, entries: &entries });
    }

    const BUSY: Result<Claim, NotHeld> = Err(NotHeld::Refused(Refused::Busy));

    fn soon() -> Patience {
        Patience::new(Deadline::NOW)
    }

    fn has_damage(ranges: RawRanges<'_>, range: std::ops::Range<u64>) -> bool {
        let claim = ranges.try_claim(&Me(9), Read, &range).unwrap();
        let damaged = claim.damaged;
        ranges.release(&Me(9), claim);
        damaged
    }

    /// A writer that dies with this range.
    fn die(ranges: RawRanges<'_>, range: std::ops::Range<u64>) -> Claim {
        ranges.try_claim(&Me(100), Write, &range).unwrap()
    }

    #[test]
    fn only_what_overlaps_excludes() {
        with(8, |ranges| {
            let claim = |id, access: Access, range| ranges.try_claim(&Me(id), access, &range);
            let low = claim(1, Write, 0..10).unwrap();
            let high = claim(1, Write, 10..20).unwrap();
            assert_eq!(claim(2, Read, 9..11), BUSY);
            assert_eq!(claim(2, Write, 19..30), BUSY);
            assert_eq!(ranges.claim(&Me(2), Read, &(5..6), &mut soon()), Err(NotHeld::Refused(Refused::TimedOut)));
            let empty = claim(2, Write, 5..5).unwrap();
            let reader = claim(2, Read, 20..30).unwrap();
            assert!(claim(3, Read, 25..40).is_ok() && claim(3, Write, 29..30) == BUSY);
            [low, high, empty, reader].into_iter().zip([1, 1, 2, 2]).for_each(|(c, id)| ranges.release(&Me(id), c));
            assert_eq!(ranges.counts(), (1, 0, 0));
            assert!(claim(2, Write, 0..25).is_ok());
        });
    }

    #[test]
    fn the_range_of_a_dead_writer_stays_damaged_until_it_is_declared_whole() {
        with(8, |ranges| {
            die(ranges, 10..30);
            assert!(has_damage(ranges, 29..50) && !has_damage(ranges, 0..10) && !has_damage(ranges, 30..50));
            let mut middle = ranges.try_claim(&Me(1), Write, &(15..20)).unwrap();
            assert!(middle.damaged);
            ranges.mark_consistent(&Me(1), &mut middle, &mut soon()).unwrap();
            assert!(!middle.damaged);
            ranges.release(&Me(1), middle);
            assert!(has_damage(ranges, 14..15) && !has_damage(ranges, 15..20) && has_damage(ranges, 20..21));
            for (range, rest) in [(0..12, 12..15), (25..40, 20..25), (0..50, 0..0)] {
                let mut claim = ranges.try_claim(&Me(1), Write, &range).unwrap();
                ranges.mark_consistent(&Me(1), &mut claim, &mut soon()).unwrap();
                ranges.release(&Me(1), claim);
                assert!(!has_damage(ranges, range) && has_damage(ranges, rest.clone()) != rest.is_empty());
            }
            assert_eq!(ranges.counts(), (0, 0, 0));
        });
    }

    #[test]
    fn a_full_table_says_so_and_forgets_no_damage() {
        with(3, |ranges| {
            let held: Vec<_> = (0..3).map(|n| ranges.try_claim(&Me(1), Read, &(n..n + 1)).unwrap()).collect();
            assert_eq!(ranges.try_claim(&Me(2), Read, &(9..10)), Err(NotHeld::Full));
            held.into_iter().for_each(|claim| ranges.release(&Me(1), claim));
            for start in [0, 100, 20] {
                die(ranges, start..start + 10);
            }
            // The two that are nearest to each other become one.
            assert!(has_damage(ranges, 5..6) && has_damage(ranges, 25..26) && has_damage(ranges, 105..106));
            assert!(has_damage(ranges, 15..16), "joined");
            assert!(!has_damage(ranges, 50..51));
            let mut middle = ranges.try_claim(&Me(1), Write, &(102..103)).unwrap();
            assert_eq!(ranges.mark_consistent(&Me(1), &mut middle, &mut soon()), Err(NotHeld::Full));
            assert!(middle.damaged);
        });
    }

    #[test]
    fn recovery_settles_only_the_dead() {
        with(4, |ranges| {
            let living = ranges.try_claim(&Me(1), Write, &(0..10)).unwrap();
            die(ranges, 10..20);
            ranges.try_claim(&Me(101), Read, &(20..30)).unwrap();
            assert_eq!((ranges.recover(&Me(2)), ranges.recover(&Me(2))), (2, 0));
            assert_eq!(ranges.counts(), (0, 1, 1));
            ranges.release(&Me(1), living);
            assert_eq!(format!("{ranges:?}"), "[(Damaged, 10..20)]");
        });
    }

    #[test]
    fn any_entry_ends_in_an_answer() {
        for word in (0..64).flat_map(|a| (0..64).map(move |b| 1 << a | 1 << b)).chain([u64::MAX]) {
            for place in 0..4 {
                with(2, |ranges| {
                    let me = Me(5);
                    let mut claim = ranges.try_claim(&me, Write, &(3..9)).unwrap();
                    let entry = &ranges.entries[0];
                    match place {
                        0 => entry.state.store(word, Relaxed),
                        1 => entry.start.store(word, Relaxed),
                        2 => entry.end.store(word, Relaxed),
                        _ => ranges.header.used.store(word as u32, Relaxed),
                    }
                    let _ = ranges.claim(&me, Read, &(0..u64::MAX), &mut soon());
                    let _ = ranges.mark_consistent(&me, &mut claim, &mut soon());
                    ranges.recover(&me);
                    ranges.release(&me, claim);
                    let _ = (ranges.try_claim(&me, Write, &(4..5)), format!("{ranges:?}"));
                });
            }
        }
    }
}
