//! The part of a segment that grows: an arena's pages, the table that has a word for each, and what says who
//! has which block in hand. What the words mean is the arena's business.
//!
//! The largest size is mapped from the start, so no offset ever moves; the file behind it is as long as there are
//! pages. How many that are is known from `fstat` alone and kept in private memory, because touching a byte
//! beyond the end of the file is SIGBUS, and a number in the segment may be anybody's.
//!
//! Growing is two reservations: the table's words first, then the pages, which makes the file longer. Who dies in
//! between has reserved memory that the next one reserves again. Two who grow at once do each other no harm. It is
//! done in steps, so that nobody's call pays for more than a step of what others may need; and who asked for
//! the step has its pages mapped at once, which costs half of what as many first touches do.

use crate::error::{Error, Kind, Result};
use crate::raw::blocks::Hand;
use crate::segment::access::{Placed, Region, Shared, Window};
use crate::segment::layout::{ArenaHeader, HANDS_PER_ROW, PAGE, Plan};
use crate::sync::AtomicU64;
use crate::sys::backing;
use crate::sys::mapping::LARGE;
use core::fmt;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

/// Pages by which a file grows at least: as many as an operation may pay for without being noticed, since reserving
/// and mapping them takes 20 to 70 microseconds for each 128 KiB.
const STEP: u64 = 64;
/// Bytes of pages from which on it grows by large ones, where they are quick: a thirtieth more, at most.
const LARGE_FROM: u64 = 64 << 20;

/// The growing part of a segment, as one process sees it.
pub(crate) struct Growth {
    plan: Plan,
    region: Region,
    hands: Placed<[Hand]>,
    header: Placed<ArenaHeader>,
    /// A word for each page. As many are known as pages are.
    table: Window,
    /// The pages, as far as this process knows them to be backed. Invariant: the file had them when it was measured, and
    /// files of segments do not shrink. It only grows.
    pages: Window,
    fd: Arc<OwnedFd>,
}

impl Growth {
    /// The growing part of a segment whose file had `pages` pages when it was measured. None: it has no arena.
    pub(crate) fn resolve(region: &Region, plan: &Plan, pages: u64, fd: &Arc<OwnedFd>) -> Result<Option<Self>> {
        if !plan.has_arena() {
            return Ok(None);
        }
        let growth = Self {
            plan: *plan,
            region: region.clone(),
            hands: region.placed_slice(plan.hands, u64::from(plan.rows * HANDS_PER_ROW))?,
            header: region.placed(plan.arena_header)?,
            table: Window::new(&region.part(plan.table, plan.pages_max * 8)?)?,
            pages: Window::new(&region.part(plan.pages, plan.pages_max * PAGE)?)?,
            fd: Arc::clone(fd),
        };
        growth.extend(pages);
        Ok(Some(growth))
    }

    /// What the participants have in hand, [`HANDS_PER_ROW`] for each row.
    #[inline]
    pub(crate) fn hands(&self) -> &[Hand] {
        &self.hands
    }

    /// The hands of a row; none if there is no such row.
    pub(crate) fn hands_of(&self, row: u32) -> Placed<[Hand]> {
        let (start, count) = (row as usize * HANDS_PER_ROW as usize, HANDS_PER_ROW as usize);
        self.hands.part(start..start + count)
    }

    /// What the arena and the catalog know of themselves.
    #[inline]
    pub(crate) fn header(&self) -> &ArenaHeader {
        &self.header
    }

    /// Offset of the first page in the segment.
    #[inline]
    pub(crate) fn start(&self) -> u64 {
        self.plan.pages
    }

    /// Pages at the largest size.
    #[inline]
    pub(crate) fn pages_max(&self) -> u64 {
        self.plan.pages_max
    }

    /// Pages that this process knows to be backed; others may have made more.
    #[inline(always)]
    pub(crate) fn committed(&self) -> u64 {
        self.pages.known() / PAGE
    }

    /// Measures the file. The pages that are backed now.
    #[cold]
    pub(crate) fn refresh(&self) -> Result<u64> {
        let len = backing::len(self.fd.as_fd())?;
        let pages = self.plan.pages_of(len).ok_or_else(|| {
            Error::corrupt("the segment", format!("its file has {len} bytes now, which no segment of its plan has"))
        })?;
        self.extend(pages);
        Ok(self.committed())
    }

    /// So many pages are backed.
    fn extend(&self, pages: u64) {
        let pages = pages.min(self.plan.pages_max);
        self.table.extend(8 * pages);
        self.pages.extend(PAGE * pages);
    }

    /// Makes the arena at least `pages` pages large, and larger in steps. The pages that are backed now.
    ///
    /// Out of memory names what was needed beyond what is backed, and what could have been had.
    #[cold]
    pub(crate) fn grow(&self, pages: u64) -> Result<u64> {
        let now = self.refresh()?;
        if pages <= now {
            return Ok(now);
        }
        if pages > self.plan.pages_max {
            return Err(Kind::OutOfMemory {
                what: "the segment".into(),
                needed: (pages - now).saturating_mul(PAGE),
                available: (self.plan.pages_max - now) * PAGE,
                advice: "it was made no larger; remove objects, or make it larger",
            }
            .into());
        }
        let step = self.step(now, pages);
        // Where a whole step is not to be had, what is needed may be.
        self.reserve(now, step).or_else(|_| self.reserve(now, pages))?;
        let backed = self.refresh()?;
        // More is one block that is larger than that, which may be touched little by little.
        if step - now <= STEP && backed >= step {
            self.region.populate(self.plan.len_with(now)..self.plan.len_with(step));
        }
        Ok(backed)
    }

    /// How many pages there are to be, of which `pages` are needed: a step more than there are, or large pages as wholes.
    fn step(&self, now: u64, pages: u64) -> u64 {
        let (plan, small) = (&self.plan, pages.next_multiple_of(STEP));
        if now * PAGE < LARGE_FROM || !self.region.mapping().has_quick_pages() {
            return small.min(plan.pages_max);
        }
        let to_border = |pages| (plan.len_with(pages).next_multiple_of(LARGE) - plan.pages) / PAGE;
        let border = to_border(now);
        let step = if pages <= border { small.min(border) } else { to_border(pages) };
        step.min(plan.pages_max)
    }

    fn reserve(&self, from: u64, to: u64) -> Result<()> {
        let plan = &self.plan;
        let table = plan.backed_with(from)..plan.backed_with(to);
        let ranges = [table, plan.len_with(from)..plan.len_with(to)];
        backing::reserve(self.fd.as_fd(), &ranges, Some(self.region.mapping()))
    }

    /// The words of the pages that this process knows to be backed.
    #[inline(always)]
    pub(crate) fn table(&self) -> &[AtomicU64] {
        self.table.words()
    }

    /// `count` structs of atomics at `offset` from the first page. Measures the file if they are beyond what is
    /// known to be backed; an error if they are beyond what is.
    #[inline(always)]
    pub(crate) fn places<T: Shared>(&self, offset: u64, count: u64) -> Result<&[T]> {
        match self.pages.places(offset, count) {
            Some(places) => Ok(places),
            None => self.places_beyond(offset, count),
        }
    }

    #[cold]
    #[inline(never)]
    fn places_beyond<T: Shared>(&self, offset: u64, count: u64) -> Result<&[T]> {
        let len = count.saturating_mul(size_of::<T>() as u64);
        self.region.places(self.checked(offset, len)?, count)
    }

    /// The struct of atomics at `offset` from the first page, as [`places`](Self::places).
    #[inline(always)]
    pub(crate) fn place<T: Shared>(&self, offset: u64) -> Result<&T> {
        match self.near(offset) {
            Some(place) => Ok(place),
            None => self.place_beyond(offset),
        }
    }

    #[cold]
    #[inline(never)]
    fn place_beyond<T: Shared>(&self, offset: u64) -> Result<&T> {
        self.region.place(self.checked(offset, size_of::<T>() as u64)?)
    }

    /// The struct of atomics at `offset` from the first page, if it is known to be backed.
    #[inline(always)]
    pub(crate) fn near<T: Shared>(&self, offset: u64) -> Option<&T> {
        self.pages.places(offset, 1)?.first()
    }

    /// `count` structs of atomics at `offset` from the first page, if they are known to be backed.
    #[inline(always)]
    pub(crate) fn all_near<T: Shared>(&self, offset: u64, count: u64) -> Option<&[T]> {
        self.pages.places(offset, count)
    }

    /// The part of `len` bytes at `offset` from the first page, as [`places`](Self::places).
    pub(crate) fn part(&self, offset: u64, len: u64) -> Result<Region> {
        self.region.part(self.checked(offset, len)?, len)
    }

    /// All pages at the largest size, backed or not.
    pub(crate) fn window(&self) -> Result<Window> {
        let window = Window::new(&self.region.part(self.plan.pages, self.plan.pages_max * PAGE)?)?;
        window.extend(self.committed() * PAGE);
        Ok(window)
    }

    /// The offset in the segment, if all of it is backed.
    fn checked(&self, offset: u64, len: u64) -> Result<u64> {
        let end = offset.saturating_add(len);
        if end <= self.committed() * PAGE || end <= self.refresh()? * PAGE {
            return Ok(self.plan.pages + offset);
        }
        Err(Error::corrupt("the segment", format!("{len} bytes at {offset} of its pages are not there")))
    }
}

impl fmt::Debug for Growth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} pages", self.committed(), self.plan.pages_max)
    }
}

#[cfg(test)]
mod tests {
    use super::{Growth, LARGE, LARGE_FROM, PAGE, STEP};
    use crate::segment::header::Spec;
    use crate::segment::open::Segment;
    use crate::sync::{AtomicU64, Ordering};
    use crate::sys::backing;
    use std::os::fd::AsFd;

    fn growth(segment: &Segment) -> &Growth {
        segment.attachment().arena().unwrap().growth()
    }

    #[test]
    fn it_grows_in_steps_and_to_its_end() {
        let segment = Segment::made_as(&Spec::arena(700 * PAGE).with_arena(700 * PAGE, 3 * PAGE)).unwrap();
        let growth = growth(&segment);
        assert_eq!((growth.committed(), growth.pages_max()), (3, 700));
        assert_eq!(growth.table().len(), 3);
        assert!(growth.places::<AtomicU64>(3 * PAGE, 1).unwrap_err().is_corrupt());
        assert_eq!(growth.grow(4).unwrap(), 64);
        assert_eq!(growth.grow(4).unwrap(), 64);
        assert_eq!(growth.grow(700).unwrap(), 700);
        let error = growth.grow(701).unwrap_err();
        assert!(error.is_out_of_memory() && error.to_string().contains("4096 bytes"), "{error}");
        assert_eq!(segment.len(), segment.len_max());
        // The first and the last of everything can be touched.
        for word in [&growth.table()[0], &growth.table()[699], growth.place(700 * PAGE - 8).unwrap()] {
            word.store(1, Ordering::Relaxed);
        }
        assert!(growth.places::<AtomicU64>(700 * PAGE - 8, 2).unwrap_err().is_corrupt());
        assert!(growth.places::<AtomicU64>(u64::MAX - 8, u64::MAX).unwrap_err().is_corrupt());
    }

    #[test]
    fn a_large_one_grows_to_where_large_pages_end_and_a_small_one_does_not() {
        let segment = Segment::made_as(&Spec::arena(256 << 20)).unwrap();
        let (growth, plan) = (growth(&segment), &segment.attachment().header().plan);
        let from = LARGE_FROM / PAGE;
        let mut grown = growth.grow(from - 1).unwrap();
        assert_eq!(grown, from);
        let is_at_border = |pages| plan.len_with(pages).is_multiple_of(LARGE);
        // By small steps up to where one begins.
        for _ in 0..LARGE / PAGE / STEP {
            let next = growth.grow(grown + 1).unwrap();
            assert!(next <= grown + STEP || is_at_border(grown) && next == grown + LARGE / PAGE, "{grown}, {next}");
            grown = next;
            if is_at_border(grown) && growth.region.mapping().has_quick_pages() {
                let next = growth.grow(grown + 1).unwrap();
                assert_eq!(next, grown + LARGE / PAGE);
                grown = next;
            }
        }
        // All of it is memory, and zero.
        assert!(segment.committed_len().unwrap() >= grown * PAGE);
        let words = growth.places::<AtomicU64>(0, grown * PAGE / 8).unwrap();
        assert!(words.iter().step_by(PAGE as usize / 8).all(|word| word.load(Ordering::Relaxed) == 0));
        // To its end, and not beyond.
        assert_eq!(growth.grow(growth.pages_max()).unwrap(), growth.pages_max());
        assert_eq!(segment.len(), segment.len_max());
    }

    #[test]
    fn what_another_process_added_is_seen_when_it_is_needed() {
        let segment = Segment::made_as(&Spec::arena(1 << 30)).unwrap();
        let (growth, plan) = (growth(&segment), &segment.attachment().header().plan);
        assert_eq!(growth.committed(), 256);
        let ranges = [plan.backed_with(256)..plan.backed_with(600), plan.len_with(256)..plan.len_with(600)];
        backing::reserve(segment.as_fd(), &ranges, None).unwrap();
        assert_eq!(growth.table().len(), 256);
        assert!(growth.part(599 * PAGE, PAGE).is_ok());
        assert_eq!((growth.table().len(), segment.len()), (600, plan.len_with(600)));
        assert_eq!(growth.grow(500).unwrap(), 600);
    }

    #[test]
    fn a_file_cut_short_or_torn_is_damaged() {
        let segment = Segment::made_as(&Spec::arena(1 << 20)).unwrap();
        rustix::fs::ftruncate(segment.as_fd(), segment.len_max() + 1).unwrap();
        assert!(growth(&segment).refresh().unwrap_err().is_corrupt());
    }
}
