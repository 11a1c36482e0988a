//! What a process remembers of its searches for runs that others left: once round without news is enough, nearly.

use crate::segment::spans::CLASSES;
use crate::sync::{AtomicU64, Ordering::Relaxed};

/// Where this process goes on looking for runs that others left, and whether it is worth it.
pub(in crate::segment) struct Rover {
    at: AtomicU64,
    of_classes: [InVain; CLASSES],
}

/// How far runs of a class were looked for in vain.
struct InVain {
    /// What the hint was meanwhile: another one is news.
    hint: AtomicU64,
    /// So many pages: those of all runs that were passed.
    pages: AtomicU64,
}

impl Rover {
    pub(in crate::segment) fn new() -> Self {
        let of_classes = [(); CLASSES].map(|()| InVain { hint: AtomicU64::new(0), pages: AtomicU64::new(0) });
        Self { at: AtomicU64::new(0), of_classes }
    }

    /// Where to go on.
    pub(in crate::segment) fn at(&self) -> u64 {
        self.at.load(Relaxed)
    }

    /// It goes on here.
    pub(in crate::segment) fn go_on(&self, at: u64) {
        self.at.store(at, Relaxed);
    }

    /// Pages that were passed in vain since there was news of this class: another hint.
    pub(in crate::segment) fn in_vain(&self, class: u32, hint: u64) -> u64 {
        let Some(vain) = self.of_classes.get(class as usize) else { return 0 };
        if vain.hint.swap(hint, Relaxed) != hint {
            vain.pages.store(0, Relaxed);
        }
        vain.pages.load(Relaxed)
    }

    /// It passed so many pages more, and `found` something or not.
    pub(in crate::segment) fn passed(&self, class: u32, pages: u64, found: bool) {
        if let Some(vain) = self.of_classes.get(class as usize) {
            vain.pages.store(if found { 0 } else { vain.pages.load(Relaxed).saturating_add(pages) }, Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Rover;

    #[test]
    fn what_was_passed_in_vain_counts_until_there_is_news() {
        let rover = Rover::new();
        assert_eq!(rover.in_vain(3, 0), 0);
        rover.passed(3, 10, false);
        rover.passed(3, 5, false);
        assert_eq!((rover.in_vain(3, 0), rover.in_vain(4, 0), rover.in_vain(99, 0)), (15, 0, 0));
        assert_eq!((rover.in_vain(3, 8), rover.in_vain(3, 8)), (0, 0), "another hint is news");
        rover.passed(3, 7, false);
        rover.passed(3, 7, true);
        assert_eq!(rover.in_vain(3, 8), 0, "something was found");
    }
}
