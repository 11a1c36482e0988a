//! Runs whose owner left or died: finding one in which blocks are free, and taking names of the dead off.
//!
//! What is found is a hint until the run is ours by one compare-and-swap; then nobody else takes a block of it.

use crate::participant::{Liveness, ParticipantId};
use crate::raw::blocks;
use crate::raw::page_search::{Hops, Walk};
use crate::raw::pages::Run;
use crate::segment::arena::Arena;
use crate::segment::layout::PAGE;
use crate::segment::seats::{Current, Seated};
use crate::segment::spans::{self, Cut, WORDS};
use crate::sync::AtomicU64;

/// Runs that are met before free pages are taken.
const FEW: u32 = 256;
/// Runs that are met before the file grows: what that takes is worth it.
const MANY: u32 = 1 << 14;
/// Of these, runs whose blocks are looked at.
const LOOKS: u32 = 256;

/// Answers about lives that were asked for lately: a walk over runs meets the same few owners again and again.
pub(in crate::segment) struct Asked<'a, L> {
    life: &'a L,
    known: [Option<(ParticipantId, bool)>; 4],
    next: usize,
}

impl<'a, L: Liveness> Asked<'a, L> {
    pub(in crate::segment) fn new(life: &'a L) -> Self {
        Self { life, known: [None; 4], next: 0 }
    }

    /// Whether nobody living owns a run of this owner.
    pub(in crate::segment) fn is_left(&mut self, owner: Option<ParticipantId>) -> bool {
        let Some(owner) = owner else { return true };
        if owner == self.life.me() {
            return false;
        }
        if let Some((_, dead)) = self.known.iter().flatten().find(|(id, _)| *id == owner) {
            return *dead;
        }
        let dead = self.life.is_dead(owner);
        self.known[self.next % 4] = Some((owner, dead));
        self.next += 1;
        dead
    }
}

/// How thoroughly runs are looked for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::segment) enum Search {
    /// A few, and only where somebody says that it is worth it.
    Few,
    /// Many, where somebody says so, and then more pages at the end of the file.
    Grow,
    /// All of them.
    All,
}

impl Arena {
    /// Looks for a run of this class that nobody living owns and that has free blocks, and makes it the seat's.
    pub(in crate::segment) fn adopt_any<L: Liveness>(
        &self,
        life: &L,
        seated: &Seated<'_>,
        class: u32,
        search: Search,
    ) -> bool {
        let pages = self.pages();
        let mut asked = Asked::new(life);
        let (hint, round) = (pages.header.hint(class), self.rover.runs(class));
        let in_vain = round.in_vain(hint.map_or(0, |page| page + 1));
        if let Some(page) = hint
            && let Some(run) = pages.run(page)
            && run.class == class
            && run.is_spare
            && asked.is_left(run.owner)
            && self.adopt(life, seated, page, run, search)
        {
            return true;
        }
        let is_done = in_vain > self.growth.committed();
        let (most, mut looks, hops) = match search {
            Search::All => (u32::MAX, u32::MAX, Hops::ALL),
            // Once round without news is enough; not all news is told, so now and then a few are looked at.
            Search::Few if !is_done || in_vain.is_multiple_of(8) => (FEW, LOOKS, Hops(4 * FEW)),
            Search::Grow if !is_done => (MANY, LOOKS, Hops(4 * FEW)),
            Search::Few => {
                round.went(1, round.at(), false);
                return false;
            }
            Search::Grow => return false,
        };
        let mut walk = Walk::new(if search == Search::All { 0 } else { round.at() });
        // Each search is one, so that going on from an end of the walk counts too.
        let (mut passed, mut found) = (1, false);
        for _ in 0..most {
            let from = walk.at;
            let next = walk.next(&pages, hops);
            passed += walk.at.saturating_sub(from);
            let Some((page, run)) = next else { break };
            let is_worth_it = run.class == class && (search == Search::All || run.is_spare || run.owner.is_some());
            if is_worth_it && asked.is_left(run.owner) {
                found = self.adopt(life, seated, page, run, search);
                looks -= 1;
                if found || looks == 0 {
                    break;
                }
            }
        }
        round.went(passed, walk.at, found);
        found
    }

    /// Makes the run ours, and the seat's if it has free blocks enough.
    fn adopt<L: Liveness>(&self, life: &L, seated: &Seated<'_>, page: u64, run: Run, search: Search) -> bool {
        let (Some(cut), pages) = (Cut::of(run), self.pages()) else { return false };
        let free = self.free_blocks(page, cut);
        // A look before anything is changed.
        if free == 0 && !run.is_spare && run.owner.is_none() || !pages.adopt(page, run, life.me()) {
            return false;
        }
        let mine = Run { owner: Some(life.me()), is_spare: false, ..run };
        let free = self.free_blocks(page, cut);
        if free > 0 && (search == Search::All || free * 8 >= cut.count) {
            let is_usual = run.pages == spans::pages_of(run.class);
            seated.set_run(run.class, Current { page, next: 0, found: cut.count, is_usual });
            return true;
        }
        // Too few to be worth a seat: not spare until more are freed.
        pages.abandon(page, mine, false);
        false
    }

    /// How many blocks of a run are free. Exact for its owner, apart from those that are being freed.
    pub(in crate::segment) fn free_blocks(&self, page: u64, cut: Cut) -> u32 {
        let words = self.growth.places::<AtomicU64>(page * PAGE + WORDS, u64::from(cut.count)).unwrap_or_default();
        words.iter().filter(|word| blocks::look(word).is_free()).count() as u32
    }

    pub(in crate::segment) fn is_unused(&self, page: u64, cut: Cut) -> bool {
        let words = self.growth.places::<AtomicU64>(page * PAGE + WORDS, u64::from(cut.count)).unwrap_or_default();
        !words.is_empty() && words.iter().all(|word| blocks::look(word).is_free())
    }

    /// Takes the names of the dead off all runs. The number of traces.
    pub(crate) fn sweep<L: Liveness>(&self, life: &L) -> u32 {
        let mut asked = Asked::new(life);
        let (mut from, mut traces) = (0, 0);
        while let Some((page, run)) = self.pages().next_run(from) {
            from = page + u64::from(run.pages);
            if run.owner.is_some() && asked.is_left(run.owner) {
                traces += u32::from(self.pages().abandon(page, run, true));
            }
        }
        let lock = self.pages().header.lock_field();
        traces.saturating_add(lock.recover(life))
    }
}
