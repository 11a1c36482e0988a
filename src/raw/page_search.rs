//! Looking through the pages of an arena: for free ones and for runs, all of them or as far as a call may take.
//!
//! A table of pages may have millions of words. Whoever needs pages in the middle of another operation looks at a few
//! and goes on at another time where it stopped; only who would have to say that there is no memory looks at all.
#![forbid(unsafe_code)]

use crate::raw::pages::{PageState, PageWord, Pages, Run};
use crate::sync::Ordering::Relaxed;

/// Pages that are in no run.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct FreePages {
    /// All of them.
    pub all: u64,
    /// The longest row.
    pub row: u64,
    /// The row at the end.
    pub end: u64,
}

/// How many words a look may take. Runs and free pages are one each.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Hops(pub u32);

impl Hops {
    /// All that there are.
    pub const ALL: Self = Self(u32::MAX);
}

/// What was looked for is not there as far as the look went; another one may go on from this page.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stopped(pub u64);

/// A walk over runs that begins in the middle and goes on at the start, once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Walk {
    /// Where it goes on.
    pub at: u64,
    begins_again: bool,
}

impl Walk {
    /// From this page on.
    pub fn new(at: u64) -> Self {
        Self { at, begins_again: at > 0 }
    }

    /// The next run, if it is within so many pages, without a lock. `None`: this is as far as the walk goes.
    pub fn next(&mut self, pages: &Pages<'_>, hops: Hops) -> Option<(u64, Run)> {
        let mut found = pages.next_run_near(self.at, hops);
        if found == Err(Stopped(0)) && self.begins_again {
            *self = Self::new(0);
            found = pages.next_run_near(0, hops);
        }
        self.at = match found {
            Ok((page, run)) => page + u64::from(run.pages),
            Err(Stopped(at)) => at,
        };
        found.ok()
    }
}

impl Pages<'_> {
    /// The first run at `from` or behind it, without a lock: what is found may be gone.
    pub fn next_run(&self, from: u64) -> Option<(u64, Run)> {
        // Bounded by the pages that we know of.
        (from..self.len()).find_map(|page| self.run(page).map(|run| (page, run)))
    }

    /// As [`next_run`](Self::next_run), if it is within so many pages.
    pub fn next_run_near(&self, from: u64, hops: Hops) -> Result<(u64, Run), Stopped> {
        let end = from.saturating_add(hops.0.into());
        let found = (from..end.min(self.len())).find_map(|page| self.run(page).map(|run| (page, run)));
        found.ok_or(Stopped(if end < self.len() { end } else { 0 }))
    }

    /// The first place where `pages` pages in a row are free. Under the lock.
    pub fn find(&self, pages: u32) -> Option<u64> {
        self.find_from(self.skip_taken(Hops::ALL), pages, Hops::ALL).ok()
    }

    /// A place where `pages` pages in a row are free: one near the start, or near `from`, where the look before stopped.
    /// Under the lock.
    pub fn find_near(&self, pages: u32, from: u64, hops: Hops) -> Result<u64, Stopped> {
        let hops = Hops(hops.0.saturating_add(pages));
        self.find_from(self.skip_taken(hops), pages, hops).or_else(|_| self.find_from(from, pages, hops))
    }

    /// The first page that may be free, noted.
    fn skip_taken(&self, hops: Hops) -> u64 {
        // A `low` beyond what we know of is another's who knows of more.
        let mut page = self.header.low.load(Relaxed);
        for _ in 0..hops.0 {
            match self.state(page) {
                Some(PageState::Free) | None => break,
                Some(PageState::Head(run)) => page += u64::from(run.pages),
                Some(_) => page += 1,
            }
        }
        self.set_low(page);
        page
    }

    /// The first place at `page` or behind it where `pages` pages in a row are free, as far as the look goes. Under the lock.
    pub fn find_from(&self, mut page: u64, pages: u32, hops: Hops) -> Result<u64, Stopped> {
        let (pages, mut row) = (u64::from(pages.max(1)), 0);
        for _ in 0..hops.0 {
            match self.state(page) {
                Some(PageState::Free) => (page, row) = (page + 1, row + 1),
                Some(PageState::Head(run)) => (page, row) = (page + u64::from(run.pages), 0),
                Some(_) => (page, row) = (page + 1, 0),
                None => return Err(Stopped(0)),
            }
            if row == pages {
                return Ok(page - row);
            }
        }
        Err(Stopped(page - row))
    }

    /// How many pages are free, how many in one row at most, and how many at the end. A snapshot of all.
    pub fn free(&self) -> FreePages {
        let (mut free, mut page, mut row) = (FreePages::default(), 0, 0);
        while let Some(state) = self.state(page) {
            match state {
                PageState::Free => {
                    (page, row, free.all) = (page + 1, row + 1, free.all + 1);
                    free.row = free.row.max(row);
                }
                PageState::Head(run) => (page, row) = (page + u64::from(run.pages), 0),
                _ => (page, row) = (page + 1, 0),
            }
        }
        free.end = row; // of the last row, which is empty unless it ends where the pages do
        free
    }

    /// How many pages at the end are free, but for those beyond `most`. A snapshot.
    pub fn free_at_end(&self, most: u64) -> u64 {
        let free = |page: &u64| self.state(*page) == Some(PageState::Free);
        (0..self.len()).rev().take(usize::try_from(most).unwrap_or(usize::MAX)).take_while(free).count() as u64
    }

    fn state(&self, page: u64) -> Option<PageState> {
        Some(PageWord(self.word(page)?.load(Relaxed)).state())
    }
}

#[cfg(all(test, not(mutirao_model)))]
mod tests {
    use super::{FreePages, Hops, Stopped, Walk};
    use crate::raw::pages::{Pages, PagesHeader, Run};
    use crate::sync::AtomicU64;

    fn run(pages: u32) -> Run {
        Run { pages, class: 5, owner: None, is_spare: false }
    }

    #[test]
    fn free_pages_are_counted() {
        let (header, table): (_, [AtomicU64; 8]) = (PagesHeader::new(), Default::default());
        let pages = Pages { header: &header, table: &table };
        assert_eq!((pages.free(), pages.free_at_end(5)), (FreePages { all: 8, row: 8, end: 8 }, 5));
        pages.take(3, run(2));
        assert_eq!((pages.free(), pages.free_at_end(5)), (FreePages { all: 6, row: 3, end: 3 }, 3));
        pages.take(6, run(2));
        assert_eq!((pages.free(), pages.free_at_end(5)), (FreePages { all: 4, row: 3, end: 0 }, 0));
    }

    #[test]
    fn a_look_stops_and_another_goes_on() {
        let (header, table) = (PagesHeader::new(), [(); 100].map(|()| AtomicU64::new(0)));
        let pages = Pages { header: &header, table: &table };
        // Holes of one page, and then the rest.
        for at in (1..80).step_by(2) {
            pages.take(at, run(1));
        }
        assert_eq!(pages.find_near(1, 50, Hops(10)), Ok(0));
        assert_eq!(pages.find_near(2, 50, Hops(10)), Err(Stopped(62)));
        assert_eq!(pages.find_near(2, 62, Hops(10)), Err(Stopped(74)));
        assert_eq!(pages.find_near(2, 74, Hops(10)), Ok(80));
        assert_eq!((pages.find(2), pages.find_near(30, 90, Hops(10))), (Some(80), Err(Stopped(0))));
        assert_eq!(pages.next_run_near(0, Hops(1)), Err(Stopped(1)));
        assert_eq!(pages.next_run_near(1, Hops(1)), Ok((1, run(1))));
        assert_eq!(pages.next_run_near(90, Hops(10)), Err(Stopped(0)));
        let mut walk = Walk::new(79);
        assert_eq!(walk.next(&pages, Hops(30)), Some((79, run(1))));
        assert_eq!((walk.next(&pages, Hops(30)), walk.at), (Some((1, run(1))), 2), "at the start again");
        let mut walk = Walk { at: 80, begins_again: false };
        assert_eq!((walk.next(&pages, Hops(30)), walk.at), (None, 0));
    }
}
