//! The body of a queue: where its ring, its rosters and its cells stand.
//!
//! ```text
//!   0    RingHeader      512 bytes: head, tail, two signals, a line pair each
//!   512  senders         Roster, then one word for each row
//!        receivers       the same
//!        cells           at the next multiple of 128, `capacity` times:
//!                          state word | length (encoded items only) | item, filled up to whole words
//!        entries         at the next multiple of 128, `leases` times:
//!                          state word | ticket | as in a cell
//!        entries of rows at the next multiple of 128, for each row, filled up to a multiple of 128: so many as
//!                          `entries_of_row` says
//! ```

use crate::raw::leases::{Entries, Rules};
use crate::raw::ring::{RingHeader, Slots};
use crate::raw::roster::Roster;
use crate::segment::layout::{self, BODY_ALIGN};
use crate::segment::plain::words_for;
use crate::sync::AtomicU64;

/// The most entries for leases.
pub(crate) const LEASES_MAX: u32 = 1 << 16;
/// Cells up to this size have entries of rows: beyond it, what an exchange costs is nothing beside the copy.
const SMALL_CELL: u32 = 512;
/// Entries of a row, where there are any: a power of two.
const ENTRIES_OF_ROW: u32 = 2;

/// The geometry of a queue's body: `shape = [capacity, cell_bytes, rows | leases << 32, coded | attempts << 32]`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct QueuePlan {
    pub capacity: u32,
    pub cell_bytes: u32,
    pub rows: u32,
    /// Items have a length of their own.
    pub is_coded: bool,
    /// How many items may be leased at once; 0: none ever.
    pub leases: u32,
    /// How often an item is tried; 0: no limit.
    pub attempts_max: u32,
}

impl QueuePlan {
    /// The plan that a header's shape stands for, if it is one.
    pub(crate) fn from_shape([capacity, cell_bytes, rows_leases, coded_attempts]: [u64; 4]) -> Option<Self> {
        let (rows, leases) = halves(rows_leases);
        let (coded, attempts_max) = halves(coded_attempts);
        let plan = Self {
            capacity: u32::try_from(capacity).ok().filter(|n| (1..=1 << 31).contains(n))?,
            cell_bytes: u32::try_from(cell_bytes).ok()?,
            rows,
            is_coded: coded == 1,
            leases,
            attempts_max,
        };
        let fits = (1..=layout::ROWS_MAX).contains(&rows) && coded <= 1 && leases <= LEASES_MAX;
        fits.then_some(plan)
    }

    pub(crate) fn shape(&self) -> [u64; 4] {
        let both = |low: u32, high: u32| u64::from(low) | u64::from(high) << 32;
        [
            self.capacity.into(),
            self.cell_bytes.into(),
            both(self.rows, self.leases),
            both(self.is_coded.into(), self.attempts_max),
        ]
    }

    /// How many leases a queue has unless it is said: 64, fewer where their entries would need more memory than
    /// 64 KiB and half of the cells.
    pub(crate) fn usual_leases(&self) -> u32 {
        let entry = 8 * self.entry_words() as u64;
        let most = (4 * self.cell_words()).max(64 << 10) / entry;
        u32::try_from(most).unwrap_or(u32::MAX).clamp(1, 64)
    }

    /// Words from one entry to the next.
    pub(crate) fn entry_words(&self) -> usize {
        1 + self.stride_words()
    }

    fn entries_of_row(&self) -> u32 {
        if self.leases != 0 && self.cell_bytes <= SMALL_CELL { ENTRIES_OF_ROW } else { 0 }
    }

    fn row_words(&self) -> usize {
        (self.entries_of_row() as usize * self.entry_words()).next_multiple_of(BODY_ALIGN as usize / 8)
    }

    fn common_words(&self) -> usize {
        (self.leases as usize * self.entry_words()).next_multiple_of(BODY_ALIGN as usize / 8)
    }

    /// Offset of the first entry.
    pub(crate) fn entries(&self) -> u64 {
        (self.cells() + 8 * self.cell_words()).next_multiple_of(BODY_ALIGN)
    }

    /// Words of all entries: at most 2^16 and 2^9 of 2^27 each.
    pub(crate) fn entries_words(&self) -> u64 {
        self.common_words() as u64 + self.row_words() as u64 * u64::from(self.rows)
    }

    /// How leases are counted.
    pub(crate) fn rules(&self) -> Rules {
        let (common, each) = (self.leases, self.entries_of_row());
        Rules { common, each, rows: self.rows, attempts_max: self.attempts_max }
    }

    /// Words from one cell to the next.
    pub(crate) fn stride_words(&self) -> usize {
        // A reference to a block has two words.
        let least = if self.is_coded { 3 } else { 0 };
        1 + (usize::from(self.is_coded) + words_for(self.cell_bytes as usize)).max(least)
    }

    /// Offset of the roster of senders (0) or receivers (1).
    pub(crate) fn roster(&self, which: u64) -> u64 {
        size_of::<RingHeader>() as u64 + which * (size_of::<Roster>() as u64 + 8 * u64::from(self.rows))
    }

    /// Offset of the rows' words of a roster.
    pub(crate) fn roster_cells(&self, which: u64) -> u64 {
        self.roster(which) + size_of::<Roster>() as u64
    }

    /// Offset of the first cell.
    pub(crate) fn cells(&self) -> u64 {
        self.roster(2).next_multiple_of(BODY_ALIGN)
    }

    /// Words of all cells. At most 2^31 times 2^30, so nothing overflows.
    pub(crate) fn cell_words(&self) -> u64 {
        u64::from(self.capacity) * self.stride_words() as u64
    }

    /// Bytes of the whole body.
    pub(crate) fn body_len(&self) -> u64 {
        self.entries() + 8 * self.entries_words()
    }
}

fn halves(both: u64) -> (u32, u32) {
    (both as u32, (both >> 32) as u32)
}

/// The words of all cells, as the ring wants them.
#[derive(Clone, Copy)]
pub(crate) struct CellWords<'a> {
    words: &'a [AtomicU64],
    stride: usize,
}

impl<'a> CellWords<'a> {
    #[inline]
    pub(crate) fn new(words: &'a [AtomicU64], stride: usize) -> Self {
        Self { words, stride }
    }

    /// The words of cell `index` behind its state word: length and item, or the item alone.
    #[inline]
    pub(crate) fn payload(&self, index: u32) -> Option<&'a [AtomicU64]> {
        let start = index as usize * self.stride;
        self.words.get(start + 1..start + self.stride)
    }
}

impl Slots for CellWords<'_> {
    #[inline]
    fn state(&self, index: u32) -> Option<&AtomicU64> {
        self.words.get(index as usize * self.stride)
    }
}

/// The words of all entries, as the leases want them.
#[derive(Clone, Copy)]
pub(crate) struct EntryWords<'a> {
    words: &'a [AtomicU64],
    plan: &'a EntryPlan,
}

/// Where entries stand, worked out once.
#[derive(Clone, Debug)]
pub(crate) struct EntryPlan {
    entry: usize,
    common: u32,
    /// Entries of a row are a power of two, if there are any.
    row_shift: u32,
    rows_at: usize,
    row_words: usize,
}

impl EntryPlan {
    pub(crate) fn new(plan: &QueuePlan) -> Self {
        Self {
            entry: plan.entry_words(),
            common: plan.leases,
            row_shift: plan.entries_of_row().max(1).trailing_zeros(),
            rows_at: plan.common_words(),
            row_words: plan.row_words(),
        }
    }

    #[inline]
    fn at(&self, index: u32) -> usize {
        match index.checked_sub(self.common) {
            None => index as usize * self.entry,
            Some(own) => {
                let (row, nth) = (own >> self.row_shift, own & ((1 << self.row_shift) - 1));
                self.rows_at + row as usize * self.row_words + nth as usize * self.entry
            }
        }
    }
}

impl<'a> EntryWords<'a> {
    #[inline]
    pub(crate) fn new(words: &'a [AtomicU64], plan: &'a EntryPlan) -> Self {
        Self { words, plan }
    }

    /// The words of entry `index` behind its state and its ticket: as those of a cell.
    #[inline]
    pub(crate) fn payload(&self, index: u32) -> Option<&'a [AtomicU64]> {
        let start = self.plan.at(index);
        self.words.get(start + 2..start + self.plan.entry)
    }
}

impl Entries for EntryWords<'_> {
    #[inline]
    fn state(&self, index: u32) -> Option<&AtomicU64> {
        self.words.get(self.plan.at(index))
    }

    #[inline]
    fn ticket(&self, index: u32) -> Option<&AtomicU64> {
        self.words.get(self.plan.at(index) + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::{EntryPlan, EntryWords, QueuePlan};
    use crate::raw::leases::Entries;
    use crate::sync::AtomicU64;

    #[test]
    fn every_entry_has_words_of_its_own() {
        for (cell_bytes, leases) in [(8, 3), (120, 64), (512, 1), (513, 5), (64, 0)] {
            let plan = QueuePlan { capacity: 4, cell_bytes, rows: 3, is_coded: false, leases, attempts_max: 7 };
            assert_eq!(QueuePlan::from_shape(plan.shape()), Some(plan));
            let words: Vec<_> = (0..plan.entries_words()).map(|_| AtomicU64::new(0)).collect();
            let (at, total) = (EntryPlan::new(&plan), plan.rules().entries());
            let entries = EntryWords::new(&words, &at);
            for index in 0..total {
                let own = [entries.state(index).unwrap(), entries.ticket(index).unwrap()];
                for word in own.into_iter().chain(entries.payload(index).unwrap()) {
                    assert_eq!(word.swap(1, crate::sync::Ordering::Relaxed), 0, "entry {index} of {total}");
                }
            }
        }
    }
}
