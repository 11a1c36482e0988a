//! Pages that blocks are cut from: runs of them are taken and given back under one lock, and a run that is cut into
//! small blocks has one owner at a time, who alone allocates from it.
//!
//! A page has one word in a table:
//!
//! ```text
//!  63       32 31     9 8     3   2   1  0
//! ┌───────────┬────────┬───────┬─────┬─────┐
//! │ pages     │ owner  │ class │SPARE│ HEAD│   the first page of a run
//! ├───────────┴────────┴───────┴─────┼─────┤
//! │ pages back to the first          │ BODY│   one of the others
//! └──────────────────────────────────┴─────┘   all zero: FREE
//! ```
//!
//! | from | to | by whom |
//! |---|---|---|
//! | FREE ... | BODY ..., then HEAD(owner) | the lock's holder; the head is written last, and decides |
//! | HEAD(me), BODY ... | FREE ... | the lock's holder who also owns the run (or knows that it was freed); the head first |
//! | BODY without a head | FREE | repair: the next holder after one that died |
//! | HEAD(me) | HEAD(nobody) | the owner, who found the run full |
//! | HEAD(nobody) | HEAD(nobody, SPARE) | who frees a block in it: it is worth a look |
//! | HEAD(nobody), HEAD(dead) | HEAD(me) | anyone who wants to allocate from it, by compare-and-swap |
//!
//! SPARE is a hint: it may be missing where two were at it at once, and be there where nothing is free any more.
//!
//! `generations` is a number above all generations of blocks in free pages, so that a block never gets a
//! generation again that an old reference to the same place may name.
//!
//! # Memory ordering
//!
//! Who takes a run, or adopts one, sees what its owners before did.
#![forbid(unsafe_code)]

use core::fmt;

use crate::order;
use crate::participant::ParticipantId;
use crate::raw::lock::RawLock;
use crate::sync::{AtomicU32, AtomicU64, Ordering::Relaxed, fence, mark};

/// Size classes that a header has room for hints of.
pub const CLASSES_MAX: usize = 48;
/// The class of a run that is one block.
pub const WHOLE: u32 = 63;

/// What all runs share. All-zero: every page is free.
#[repr(C, align(128))]
pub struct PagesHeader {
    lock: RawLock,
    _reserved_1: AtomicU32,
    /// All pages below are taken. Under the lock.
    pub(crate) low: AtomicU64,
    /// Above all generations in free pages. Under the lock.
    generations: AtomicU64,
    /// How often pages became free, wrapping. Under the lock.
    returns: AtomicU64,
    _reserved_2: [AtomicU64; 12],
    /// For each class, one page more than the head of a run that somebody freed a block in. Hints.
    hints: [AtomicU64; CLASSES_MAX],
}

/// The word of a page, read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PageWord(pub(crate) u64);

/// What a page's word says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PageState {
    /// In no run.
    Free,
    /// The first page of a run.
    Head(Run),
    /// In the run whose first page stands so many pages before.
    Body(u64),
    /// No such state.
    Corrupt,
}

/// A run of pages.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Run {
    /// How many pages.
    pub pages: u32,
    /// What it is cut into, below 64.
    pub class: u32,
    /// Who allocates from it.
    pub owner: Option<ParticipantId>,
    /// Whether somebody freed a block in it since its last owner left.
    pub is_spare: bool,
}

const HEAD: u64 = 1;
const BODY: u64 = 2;
const SPARE: u64 = 1 << 2;
const CLASS_SHIFT: u32 = 3;
const OWNER_SHIFT: u32 = 9;
const PAGES_SHIFT: u32 = 32;

impl PageWord {
    /// The first page of a run.
    pub const fn head(run: Run) -> Self {
        let owner = match run.owner {
            Some(id) => id.get() as u64,
            None => 0,
        };
        let spare = if run.is_spare { SPARE } else { 0 };
        let class = (run.class & WHOLE) as u64;
        Self((run.pages as u64) << PAGES_SHIFT | owner << OWNER_SHIFT | class << CLASS_SHIFT | spare | HEAD)
    }

    const fn body(back: u64) -> Self {
        Self(back << 2 | BODY)
    }

    /// What the word says.
    #[inline]
    pub fn state(self) -> PageState {
        match self.0 & 3 {
            0 if self.0 == 0 => PageState::Free,
            HEAD if self.pages() != 0 => PageState::Head(self.run()),
            BODY if self.0 >> 2 != 0 => PageState::Body(self.0 >> 2),
            _ => PageState::Corrupt,
        }
    }

    /// The run whose first page this is.
    #[inline(always)]
    pub(crate) const fn run(self) -> Run {
        Run {
            pages: self.pages(),
            class: self.class(),
            owner: ParticipantId::new((self.0 >> OWNER_SHIFT) as u32 & ParticipantId::MASK),
            is_spare: self.0 & SPARE != 0,
        }
    }

    /// Pages of the run whose first page this is.
    #[inline(always)]
    pub(crate) const fn pages(self) -> u32 {
        (self.0 >> PAGES_SHIFT) as u32
    }

    /// The class of the run whose first page this is.
    #[inline(always)]
    pub(crate) const fn class(self) -> u32 {
        (self.0 >> CLASS_SHIFT) as u32 & WHOLE
    }

    /// Whether nobody owns the run whose first page this is, nor noted that a block in it is free.
    #[inline(always)]
    pub(crate) const fn is_forgotten(self) -> bool {
        self.0 & ((ParticipantId::MASK as u64) << OWNER_SHIFT | SPARE) == 0
    }

    /// How many pages before this one its run's first page is, if it is in one.
    #[inline(always)]
    const fn back(self) -> u64 {
        // Not by a branch: of pages at random nobody foresees which are first ones.
        self.0 >> 2 & (self.0 >> 1 & 1).wrapping_neg()
    }
}

impl fmt::Debug for PageWord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.state(), f)
    }
}

impl PagesHeader {
    /// Every page is free.
    pub fn new() -> Self {
        Self {
            lock: RawLock::new(),
            _reserved_1: AtomicU32::new(0),
            low: AtomicU64::new(0),
            generations: AtomicU64::new(0),
            returns: AtomicU64::new(0),
            _reserved_2: [(); 12].map(|()| AtomicU64::new(0)),
            hints: [(); CLASSES_MAX].map(|()| AtomicU64::new(0)),
        }
    }

    /// The lock under which runs are taken and given back. Who gets it after a death repairs first.
    #[inline]
    pub fn lock_field(&self) -> &RawLock {
        &self.lock
    }

    /// The head of a run of this class that may have free blocks.
    pub fn hint(&self, class: u32) -> Option<u64> {
        self.hints.get(class as usize)?.load(Relaxed).checked_sub(1)
    }

    /// Notes that a run of this class may have free blocks.
    pub fn set_hint(&self, class: u32, page: u64) {
        if let Some(hint) = self.hints.get(class as usize) {
            hint.store(page.saturating_add(1), Relaxed);
        }
    }

    /// How often pages became free, wrapping: another number than before is news for who looked for some in vain.
    pub fn returns(&self) -> u64 {
        self.returns.load(Relaxed)
    }

    fn note_return(&self) {
        self.returns.store(self.returns().wrapping_add(1), Relaxed);
    }

    /// The generation from which blocks in newly taken pages count. Under the lock.
    pub fn generations(&self) -> u64 {
        self.generations.load(Relaxed)
    }

    /// Notes that blocks had generations below `end`, before their pages are given back. Under the lock.
    pub fn note_generations(&self, end: u64) {
        if end > self.generations.load(Relaxed) {
            self.generations.store(end, Relaxed);
        }
    }
}

impl Default for PagesHeader {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for PagesHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "lock {:?}, all taken below page {}", self.lock, self.low.load(Relaxed))
    }
}

/// The pages that this process knows of. Taking and giving back is for the lock's holder, who repaired first if it
/// got the lock after a death.
#[derive(Clone, Copy)]
pub struct Pages<'a> {
    /// What all runs share.
    pub header: &'a PagesHeader,
    /// A word for each page.
    pub table: &'a [AtomicU64],
}

impl Pages<'_> {
    #[inline(always)]
    pub(crate) fn word(&self, page: u64) -> Option<&AtomicU64> {
        self.table.get(usize::try_from(page).ok()?)
    }

    pub(crate) fn len(&self) -> u64 {
        self.table.len() as u64
    }

    /// The run that begins at `page`, if all of it is among the pages that we know of.
    #[inline]
    pub fn run(&self, page: u64) -> Option<Run> {
        match self.look(page)?.state() {
            PageState::Head(run) if page + u64::from(run.pages) <= self.len() => Some(run),
            _ => None,
        }
    }

    /// The word of a page as it is now. Acquire: who meets a run sees how it was laid out, and that its owner is
    /// registered.
    #[inline(always)]
    pub(crate) fn look(&self, page: u64) -> Option<PageWord> {
        Some(PageWord(self.word(page)?.load(order!(page_look, Acquire))))
    }

    /// The run that `page` is in, and its first page.
    #[inline]
    pub fn run_around(&self, page: u64) -> Option<(u64, Run)> {
        self.head_around(page).map(|(head, word)| (head, word.run()))
    }

    /// The first page of the run that `page` is in, and its word, if all of the run is among the pages that we know of.
    #[inline]
    pub(crate) fn head_around(&self, page: u64) -> Option<(u64, PageWord)> {
        let is_in = |(head, word): &(u64, PageWord)| {
            page - head < word.pages().into() && head + u64::from(word.pages()) <= self.len()
        };
        self.head_before(page).filter(is_in)
    }

    /// The page that `page` says is the first one of its run, if we know of it, and its word, which is a head's.
    #[inline(always)]
    pub(crate) fn head_before(&self, page: u64) -> Option<(u64, PageWord)> {
        let head = page.wrapping_sub(self.look(page)?.back());
        let word = self.look(head)?;
        (word.0 & 3 == HEAD).then_some((head, word))
    }

    /// Takes the free pages at `page`, which `find` found, as a run. Under the lock. Its memory is laid out before.
    pub fn take(&self, page: u64, run: Run) {
        for back in 1..u64::from(run.pages) {
            if let Some(word) = self.word(page + back) {
                word.store(PageWord::body(back).0, Relaxed);
            }
        }
        if let Some(head) = self.word(page) {
            // Decides: a body without a head is repaired away.
            head.store(PageWord::head(run).0, order!(page_take, Release));
        }
        if self.header.low.load(Relaxed) == page {
            self.set_low(page + u64::from(run.pages));
        }
    }

    /// Gives the run at `page` back. Under the lock, by its owner or by who knows that it is free.
    pub fn give_back(&self, page: u64, run: Run) {
        let Some(head) = self.word(page) else { return };
        // What was noted of the run's generations must not come after the head.
        fence(order!(page_retire, Release));
        head.store(0, Relaxed);
        // The body only afterwards: free pages inside of a run would be taken twice.
        fence(order!(page_give_back, Release));
        for at in page + 1..page + u64::from(run.pages) {
            if let Some(word) = self.word(at) {
                word.store(0, Relaxed);
            }
        }
        if page < self.header.low.load(Relaxed) {
            self.set_low(page);
        }
        self.header.note_return();
    }

    /// Frees what a dead holder of the lock left half taken or half given back. Under the lock, over all pages that
    /// the file has. The pages that were freed.
    pub fn repair(&self) -> u64 {
        mark("pages: repaired");
        self.set_low(0);
        self.header.note_return();
        let (mut page, mut freed) = (0, 0);
        while let Some(word) = self.word(page) {
            match PageWord(word.load(Relaxed)).state() {
                PageState::Head(run) if page + u64::from(run.pages) <= self.len() => page += u64::from(run.pages),
                PageState::Free => page += 1,
                _ => {
                    word.store(0, Relaxed);
                    (page, freed) = (page + 1, freed + 1);
                }
            }
        }
        freed
    }

    /// Makes the run at `page`, whose owner is nobody or dead, ours.
    pub fn adopt(&self, page: u64, run: Run, me: ParticipantId) -> bool {
        let mine = Run { owner: Some(me), is_spare: false, ..run };
        // Sees what the owner before did, and passes our registration on.
        self.change(page, run, mine, order!(page_adopt, AcqRel))
    }

    /// Leaves a run that is ours to whoever adopts it. False: it is not ours any more.
    pub fn abandon(&self, page: u64, run: Run, is_spare: bool) -> bool {
        // Passes on what we did with its blocks.
        self.change(page, run, Run { owner: None, is_spare, ..run }, order!(page_abandon, Release))
    }

    /// Notes that the run at `page` has a free block, if it has no owner who would find it. True: it was noted now.
    pub fn note_spare(&self, page: u64, run: Run) -> bool {
        // Release: who adopts it because of the hint finds the block free.
        run.owner.is_none()
            && !run.is_spare
            && self.change(page, run, Run { is_spare: true, ..run }, order!(page_spare, Release))
    }

    fn change(&self, page: u64, from: Run, to: Run, order: crate::sync::Ordering) -> bool {
        let (from, to) = (PageWord::head(from).0, PageWord::head(to).0);
        self.word(page).is_some_and(|word| word.compare_exchange(from, to, order, Relaxed).is_ok())
    }

    /// Looks for free pages from the start again: for whoever finds nothing although there should be something.
    pub fn forget_low(&self) {
        self.set_low(0);
    }

    pub(crate) fn set_low(&self, page: u64) {
        self.header.low.store(page, Relaxed);
    }
}

#[cfg(all(test, not(mutirao_model)))]
mod tests {
    use super::{PageState, PageWord, Pages, PagesHeader, Run, WHOLE};
    use crate::participant::ParticipantId;
    use crate::raw::page_search::Hops;
    use crate::sync::{AtomicU64, Ordering::Relaxed};

    fn run(pages: u32) -> Run {
        Run { pages, class: 5, owner: ParticipantId::new(9), is_spare: false }
    }

    #[test]
    fn a_word_says_what_it_was_made_of() {
        for run in [run(1), Run { pages: u32::MAX, class: WHOLE, owner: None, is_spare: true }] {
            assert_eq!(PageWord::head(run).state(), PageState::Head(run));
        }
        assert_eq!(PageWord::body(7).state(), PageState::Body(7));
        for bits in [1, 2, 3, 4, u64::from(u32::MAX) & !2, u64::MAX] {
            assert_eq!(PageWord(bits).state(), PageState::Corrupt, "{bits:#x}");
        }
    }

    #[test]
    fn runs_are_taken_from_the_low_end_and_given_back() {
        let header = PagesHeader::new();
        let table: [AtomicU64; 8] = Default::default();
        let pages = Pages { header: &header, table: &table };
        for (at, count) in [(0, 2), (2, 3), (5, 3)] {
            assert_eq!(pages.find(count), Some(at));
            pages.take(at, run(count));
        }
        assert_eq!((pages.find(1), pages.run_around(4)), (None, Some((2, run(3)))));
        pages.give_back(2, run(3));
        assert_eq!((pages.find(4), pages.find(3), pages.run_around(3)), (None, Some(2), None));
        assert_eq!((pages.next_run(1), header.returns()), (Some((5, run(3))), 1));
        pages.give_back(0, run(2));
        pages.give_back(5, run(3));
        assert_eq!(pages.find(8), Some(0));
    }

    #[test]
    fn repair_frees_what_has_no_head() {
        let header = PagesHeader::new();
        let table: [AtomicU64; 8] = Default::default();
        let pages = Pages { header: &header, table: &table };
        pages.take(1, run(2));
        pages.take(4, run(3));
        table[4].store(0, Relaxed);
        assert_eq!((pages.repair(), pages.repair(), pages.find(5)), (2, 0, Some(3)));
        assert_eq!(pages.run_around(2), Some((1, run(2))));
    }

    #[test]
    fn an_owner_leaves_and_another_comes() {
        let (header, table) = (PagesHeader::new(), [AtomicU64::new(0)]);
        let pages = Pages { header: &header, table: &table };
        pages.take(0, run(1));
        assert!(!pages.note_spare(0, run(1)) && pages.abandon(0, run(1), false) && !pages.abandon(0, run(1), false));
        let left = pages.run(0).unwrap();
        assert!(pages.note_spare(0, left) && !pages.adopt(0, left, ParticipantId::new(3).unwrap()));
        let spare = pages.run(0).unwrap();
        assert!(spare.is_spare && pages.adopt(0, spare, ParticipantId::new(3).unwrap()));
        assert_eq!(pages.run(0).unwrap().owner, ParticipantId::new(3));
    }

    #[test]
    fn any_words_end_in_an_answer() {
        let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
        let mut random = || {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            seed
        };
        for _ in 0..2000 {
            let header = PagesHeader::new();
            let table = [(); 6].map(|()| AtomicU64::new(random() >> (random() % 64) & !(random() & random())));
            header.low.store(random() >> (random() % 64), Relaxed);
            let pages = Pages { header: &header, table: &table };
            for page in 0..7 {
                pages.run_around(page);
                pages.next_run(page);
            }
            pages.find(random() as u32);
            pages.find_near(random() as u32 % 9, random() >> (random() % 64), Hops(random() as u32 % 9)).ok();
            pages.repair();
            if let Some(at) = pages.find(2) {
                pages.take(at, run(2));
                pages.give_back(at, run(2));
            }
        }
    }
}
