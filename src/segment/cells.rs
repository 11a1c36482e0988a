//! The body of a queue: where its ring, its rosters and its cells stand.
//!
//! ```text
//!   0    RingHeader      512 bytes: head, tail, two signals, a line pair each
//!   512  senders         Roster, then one word for each row
//!        receivers       the same
//!        cells           at the next multiple of 128, `capacity` times:
//!                          state word | length (encoded items only) | item, filled up to whole words
//! ```

use crate::raw::ring::{RingHeader, Slots};
use crate::raw::roster::Roster;
use crate::segment::layout::{self, BODY_ALIGN};
use crate::segment::plain::words_for;
use crate::sync::AtomicU64;

/// The geometry of a queue's body: `shape = [capacity, cell_bytes, rows, coded]`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct QueuePlan {
    pub capacity: u32,
    pub cell_bytes: u32,
    pub rows: u32,
    /// Items have a length of their own.
    pub is_coded: bool,
}

impl QueuePlan {
    /// The plan that a header's shape stands for, if it is one.
    pub(crate) fn from_shape([capacity, cell_bytes, rows, coded]: [u64; 4]) -> Option<Self> {
        let plan = Self {
            capacity: u32::try_from(capacity).ok().filter(|n| (1..=1 << 31).contains(n))?,
            cell_bytes: u32::try_from(cell_bytes).ok()?,
            rows: u32::try_from(rows).ok().filter(|n| (1..=layout::ROWS_MAX).contains(n))?,
            is_coded: coded == 1,
        };
        (coded <= 1).then_some(plan)
    }

    pub(crate) fn shape(&self) -> [u64; 4] {
        [self.capacity, self.cell_bytes, self.rows, u32::from(self.is_coded)].map(u64::from)
    }

    /// Words from one cell to the next.
    pub(crate) fn stride_words(&self) -> usize {
        1 + usize::from(self.is_coded) + words_for(self.cell_bytes as usize)
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
        self.cells() + 8 * self.cell_words()
    }
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
