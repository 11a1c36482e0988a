//! What a process remembers of its searches, for runs that others left and for free pages: where each of them goes on, and
//! that once round without news is enough.

use crate::segment::spans::CLASSES;
use crate::sync::{AtomicU64, Ordering::Relaxed};

/// The searches of this process.
pub(in crate::segment) struct Rover {
    /// For runs of each class.
    runs: [Round; CLASSES],
    /// For rows of free pages, by how many digits their lengths have: most lengths have one for themselves.
    rows: [Round; u32::BITS as usize],
}

/// A search that goes round all pages, a part of the way at a time.
pub(in crate::segment) struct Round {
    at: AtomicU64,
    /// What there was to be known when it began: something else is news.
    news: AtomicU64,
    /// So many pages were passed since.
    in_vain: AtomicU64,
}

impl Rover {
    pub(in crate::segment) fn new() -> Self {
        Self { runs: [(); CLASSES].map(|()| Round::new()), rows: [(); u32::BITS as usize].map(|()| Round::new()) }
    }

    /// The search for runs of a class.
    pub(in crate::segment) fn runs(&self, class: u32) -> &Round {
        &self.runs[class as usize % CLASSES]
    }

    /// The search for so many free pages in a row.
    pub(in crate::segment) fn rows(&self, pages: u32) -> &Round {
        &self.rows[pages.max(1).ilog2() as usize]
    }
}

impl Round {
    fn new() -> Self {
        let [at, news, in_vain] = [0; 3].map(AtomicU64::new);
        Self { at, news, in_vain }
    }

    /// Where it goes on.
    pub(in crate::segment) fn at(&self) -> u64 {
        self.at.load(Relaxed)
    }

    /// Pages that were passed in vain since there was news.
    pub(in crate::segment) fn in_vain(&self, news: u64) -> u64 {
        if self.news.swap(news, Relaxed) != news {
            self.in_vain.store(0, Relaxed);
        }
        self.in_vain.load(Relaxed)
    }

    /// It passed so many pages more, goes on at another one, and `found` something or not.
    pub(in crate::segment) fn went(&self, passed: u64, at: u64, found: bool) {
        self.at.store(at, Relaxed);
        self.in_vain.store(if found { 0 } else { self.in_vain.load(Relaxed).saturating_add(passed) }, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::Rover;

    #[test]
    fn what_was_passed_in_vain_counts_until_there_is_news() {
        let rover = Rover::new();
        let round = rover.runs(3);
        assert_eq!((round.in_vain(0), round.at()), (0, 0));
        round.went(10, 10, false);
        round.went(5, 2, false);
        assert_eq!((round.in_vain(0), round.at(), rover.runs(4).in_vain(0)), (15, 2, 0));
        assert_eq!((round.in_vain(8), round.in_vain(8)), (0, 0), "another hint is news");
        round.went(7, 9, false);
        round.went(7, 16, true);
        assert_eq!((round.in_vain(8), round.at()), (0, 16), "something was found");
    }

    #[test]
    fn every_length_and_class_has_a_search() {
        let rover = Rover::new();
        for number in [0, 1, 4, 47, 63, u32::MAX] {
            rover.rows(number).went(1, 1, false);
            rover.runs(number).went(1, 1, false);
        }
        assert!(!core::ptr::eq(rover.rows(4), rover.rows(33)));
    }
}
