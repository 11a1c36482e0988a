//! How pages are cut into blocks: size classes, and where blocks stand in a run. Arithmetic only.
//!
//! ```text
//! a run of pages        0  generation from which its blocks count
//!                       8  reserved
//!                      64  the word of each block
//!     multiple of 128      the blocks, one behind the other
//! ```
//!
//! Classes are the multiples of 32 up to 512 bytes, then eight for each doubling up to 8 KiB. A larger block is a run of
//! its own: one word, and the block at 128. The first block of a run stands at a multiple of 128, so blocks whose size is a
//! multiple of 64 or of 128 are aligned to that, and all others to 32.
//!
//! What a block costs beyond what was asked for: up to 31 bytes for its class up to 512, and up to an eighth (a sixteenth on
//! average) above; 8 for its word; and its share of what its run has left over: at most 13 bytes up to 512, and at most an
//! eighth above (`docs/format.md` has all sums).

use crate::raw::blocks::BlockRef;
use crate::raw::pages::{Run, WHOLE};
use crate::segment::layout::PAGE;

/// Number of size classes.
pub(crate) const CLASSES: usize = 48;
/// The largest block that shares a run.
pub(crate) const SMALL_MAX: u64 = 8192;
/// Bytes of a unit, in which references count; and the alignment of every block.
pub(crate) const UNIT: u64 = 32;
/// Units of a page.
pub(crate) const PAGE_UNITS: u64 = PAGE / UNIT;
/// Offset of the words in a run.
pub(crate) const WORDS: u64 = 64;

/// Classes that are multiples of 32.
const STEPPED: u32 = 16;

/// The smallest class for `bytes`, at most [`SMALL_MAX`].
#[inline]
pub(crate) const fn class_of(bytes: u64) -> u32 {
    if bytes <= 512 {
        return bytes.saturating_sub(1) as u32 / 32;
    }
    let last = bytes - 1;
    let doubling = last.ilog2();
    STEPPED + (doubling - 9) * 8 + (last >> (doubling - 3)) as u32 % 8
}

/// Bytes of a block of `class`.
pub(crate) const fn class_size(class: u32) -> u64 {
    if class < STEPPED {
        return (class as u64 + 1) * 32;
    }
    (9 + (class - STEPPED) as u64 % 8) << (6 + (class - STEPPED) / 8)
}

/// Bytes of a block of the smallest class for `bytes`, at most [`SMALL_MAX`].
#[inline(always)]
pub(crate) const fn size_for(bytes: u64) -> u64 {
    match bytes {
        0 => UNIT,
        1..=512 => bytes.next_multiple_of(UNIT),
        _ => class_size(class_of(bytes)),
    }
}

/// The smallest class for `bytes` whose blocks are aligned to 128.
pub(crate) const fn class_of_aligned(bytes: u64) -> u32 {
    class_of(if bytes == 0 { 128 } else { bytes.next_multiple_of(128) })
}

/// The most pages of a run that is cut.
const PAGES_MAX: u32 = 16;

/// Pages of a run that is cut into blocks of `class`, where there is room.
pub(crate) const fn pages_of(class: u32) -> u32 {
    if class_size(class) <= 1024 { 4 } else { PAGES_MAX }
}

/// The least pages that hold a block of `class`.
pub(crate) const fn least_pages_of(class: u32) -> u32 {
    (128 + class_size(class)).div_ceil(PAGE) as u32
}

/// Pages of a block that is a run of its own. None: beyond all segments.
pub(crate) fn whole_pages(bytes: u64) -> Option<u32> {
    u32::try_from(bytes.checked_add(128)?.div_ceil(PAGE)).ok()
}

/// Pages that so many blocks of so many bytes need, one behind the other.
pub(crate) fn pages_for(blocks: u64, bytes: u64) -> u64 {
    let cut = if bytes <= SMALL_MAX { Cut::usual(class_of(bytes)) } else { None };
    let (count, pages) =
        cut.map_or((1, whole_pages(bytes).unwrap_or(u32::MAX).into()), |cut| (cut.count.into(), cut.pages.into()));
    blocks.div_ceil(count).saturating_mul(pages)
}

/// How a run is cut.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(align(32))]
pub(crate) struct Cut {
    /// Bytes of a block.
    pub size: u64,
    /// Offset of the first one in the run.
    pub first: u64,
    /// Number of blocks.
    pub count: u32,
    /// Number of pages.
    pub pages: u32,
    /// 2^20 divided by the units of a block, rounded up.
    share: u32,
    /// Units of a block.
    units: u32,
}

impl Cut {
    const fn new(size: u64, pages: u32) -> Self {
        let room = pages as u64 * PAGE;
        let mut count = (room - WORDS) / (size + 8);
        loop {
            let first = (WORDS + 8 * count).next_multiple_of(128);
            if first + count * size <= room {
                let units = (size / UNIT) as u32;
                return Self { size, first, count: count as u32, pages, share: (1_u32 << 20).div_ceil(units), units };
            }
            count -= 1;
        }
    }

    /// How this run is cut. None: it is no run of ours.
    #[inline]
    pub(crate) fn of(run: Run) -> Option<Self> {
        let Run { pages, class, .. } = run;
        if class == WHOLE {
            let size = u64::from(pages) * PAGE - 128;
            return Some(Self { size, first: 128, count: 1, pages, share: 0, units: 0 });
        }
        [Self::usual(class)?, LEAST.get(class as usize)?].into_iter().find(|cut| cut.pages == pages).copied()
    }

    /// How a run of this class and the usual number of pages is cut.
    #[inline(always)]
    pub(crate) fn usual(class: u32) -> Option<&'static Self> {
        CUTS.get(class as usize)
    }

    /// How a run of this class is cut that has as many pages as usual, or the least.
    #[inline(always)]
    pub(crate) fn kept(class: u32, is_usual: bool) -> Option<&'static Self> {
        if is_usual { Self::usual(class) } else { LEAST.get(class as usize) }
    }

    /// The block that begins so many units behind the start of the run.
    #[inline(always)]
    pub(crate) fn index_at(&self, unit: u64) -> Option<u32> {
        // A multiplication instead of a division. What is no start of a block is not met by its product either: counts are
        // below 2^12, and blocks of runs with more than one have at most 2^8 units.
        let at = unit.wrapping_sub(self.first / UNIT);
        let index = at.wrapping_mul(self.share.into()) >> 20;
        (index < self.count.into() && index * u64::from(self.units) == at).then_some(index as u32)
    }

    /// Offset of block `index` in the run.
    #[inline(always)]
    pub(crate) const fn offset(&self, index: u32) -> u64 {
        self.first + index as u64 * self.size
    }

    /// The reference to block `index` of the run that begins at `page`.
    #[inline(always)]
    pub(crate) const fn reference(&self, page: u64, index: u32, generation: u64) -> BlockRef {
        BlockRef { unit: (page * PAGE + self.offset(index)) / UNIT, generation }
    }
}

/// Runs of the usual number of pages.
static CUTS: [Cut; CLASSES] = {
    let mut cuts = [Cut { size: 0, first: 0, count: 0, pages: 0, share: 0, units: 0 }; CLASSES];
    let mut class = 0;
    while class < CLASSES as u32 {
        cuts[class as usize] = Cut::new(class_size(class), pages_of(class));
        class += 1;
    }
    cuts
};

/// Runs of the least number of pages.
static LEAST: [Cut; CLASSES] = {
    let mut cuts = CUTS;
    let mut class = 0;
    while class < CLASSES as u32 {
        cuts[class as usize] = Cut::new(class_size(class), least_pages_of(class));
        class += 1;
    }
    cuts
};

const _: () = {
    assert!(class_size(CLASSES as u32 - 1) == SMALL_MAX && class_of(SMALL_MAX) == CLASSES as u32 - 1);
    assert!(CLASSES <= crate::raw::pages::CLASSES_MAX);
};

#[cfg(test)]
mod tests {
    use super::{
        CLASSES, Cut, SMALL_MAX, UNIT, class_of, class_of_aligned, class_size, least_pages_of, pages_of, size_for,
    };
    use crate::raw::pages::{Run, WHOLE};
    use crate::segment::layout::PAGE;

    #[test]
    fn a_class_is_the_smallest_that_fits() {
        for bytes in 0..=SMALL_MAX {
            let class = class_of(bytes);
            assert!(class_size(class) >= bytes && (class == 0 || class_size(class - 1) < bytes), "{bytes}");
            assert_eq!(size_for(bytes), class_size(class));
            let aligned = class_of_aligned(bytes);
            assert!(class_size(aligned) >= bytes && class_size(aligned).is_multiple_of(128));
            assert!((class..aligned).all(|class| !class_size(class).is_multiple_of(128)), "{bytes}");
            assert!(
                bytes == 0 || !bytes.is_multiple_of(64) || class_size(class).is_multiple_of(64),
                "aligned as asked for"
            );
        }
    }

    #[test]
    fn blocks_lie_in_their_run_and_are_found_again() {
        for class in 0..CLASSES as u32 {
            for pages in [pages_of(class), least_pages_of(class)] {
                let cut = Cut::of(Run { pages, class, owner: None, is_spare: false }).unwrap();
                assert!(cut.count > 0 && 64 + 8 * u64::from(cut.count) <= cut.first);
                assert!(cut.offset(cut.count) <= u64::from(pages) * PAGE && cut.count < 1 << 12);
                let found: Vec<_> = (0..u64::from(pages) * PAGE / UNIT).filter_map(|at| cut.index_at(at)).collect();
                assert_eq!(found, (0..cut.count).collect::<Vec<_>>());
                assert_eq!(Cut::kept(class, pages == pages_of(class)), Some(&cut));
            }
        }
        let whole = Cut::of(Run { pages: u32::MAX, class: WHOLE, owner: None, is_spare: false }).unwrap();
        assert_eq!(
            (whole.index_at(4), whole.index_at(5), whole.index_at(0), whole.size % 64),
            (Some(0), None, None, 0)
        );
        for (pages, class) in [(9, 48), (1, 47), (0, 5), (3, 5)] {
            assert_eq!(Cut::of(Run { pages, class, owner: None, is_spare: false }), None);
        }
    }
}
