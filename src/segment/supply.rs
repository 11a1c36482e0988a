//! Where an arena's runs come from, and where they go: the slow half of the allocator.
//!
//! A seat whose run is used up looks, in this order, for one that somebody left and in which blocks became free again; for free
//! pages (`free_pages.rs`); for both further away; for runs that are wholly free and give their pages back; for more pages at
//! the end of the file. Runs of dead participants are like those that somebody left.
//!
//! An arena may have more runs than one call has time for. So at first it looks at a few, from where the look before ended;
//! before the file grows at many, unless it went all the way round in vain and there was no news since (`rover.rs`); and only
//! who would have to say that there is no memory looks at all.

use crate::deadline::Deadline;
use crate::error::{Error, Kind, Result};
use crate::participant::Liveness;
use crate::raw::blocks::{BlockWord, GENERATION_MASK};
use crate::raw::page_search::{Hops, Walk};
use crate::raw::pages::{Run, WHOLE};
use crate::segment::adopt::{Asked, Search};
use crate::segment::arena::Arena;
use crate::segment::free_pages::Where;
use crate::segment::layout::PAGE;
use crate::segment::seats::{Current, SEATS, Seated};
use crate::segment::spans::{self, CLASSES, Cut, WORDS};
use crate::sync::{AtomicU64, Ordering::Relaxed};
use crate::sys::clock;
use std::time::Duration;

/// Parts of the way round all pages on which free ones are looked for before the file grows.
const PARTS: u32 = 16;
/// Who needs many pages goes further: a part for so many pages.
const PAGES_A_PART: u32 = 8;
/// Runs that are looked at for whether nothing is in them, each time the file grows: words one behind the other, and of few
/// runs more than that.
const RUNS: u32 = 2048;
/// Runs that are given back then.
const GIVEN_BACK: u32 = 128;
/// How long a call that frees waits for its turn at the pages. It has no deadline of its own.
const SOON: Duration = Duration::from_millis(20);

impl Arena {
    /// Gives the seat a run of this class in which a block is free. If there is none, what the dead had is given back first.
    #[cold]
    pub(in crate::segment) fn refill<L: Liveness>(
        &self,
        life: &L,
        seated: &Seated<'_>,
        class: u32,
        deadline: Deadline,
    ) -> Result<()> {
        match self.find_run(life, seated, class, deadline) {
            Err(error) if error.is_out_of_memory() && life.reap_dead() => self.find_run(life, seated, class, deadline),
            other => other,
        }
    }

    fn find_run<L: Liveness>(&self, life: &L, seated: &Seated<'_>, class: u32, deadline: Deadline) -> Result<()> {
        if let Some(old) = seated.take_run(class) {
            self.leave_run(life, class, old.page, deadline)?;
        }
        let usual = spans::pages_of(class);
        if self.adopt_any(life, seated, class, Search::Few)
            || self.take_span(life, seated, class, usual, Search::Few, deadline)?
            || self.adopt_any(life, seated, class, Search::Grow)
        {
            return Ok(());
        }
        let mut taken = self.take_span(life, seated, class, usual, Search::Grow, deadline);
        for round in 0..3 {
            match taken {
                Err(error) if error.is_out_of_memory() => {}
                other => return other.map(|_| ()),
            }
            if self.adopt_any(life, seated, class, Search::All) {
                return Ok(());
            }
            taken = match round {
                0 => self.take_span(life, seated, class, usual, Search::All, deadline),
                1 => self.take_span(life, seated, class, spans::least_pages_of(class), Search::All, deadline),
                _ => {
                    // The last resort: what this process keeps at seats that nobody uses at the moment.
                    self.empty_seats(life, Some(seated), deadline)?;
                    self.take_span(life, seated, class, spans::least_pages_of(class), Search::All, deadline)
                }
            };
        }
        if self.adopt_any(life, seated, class, Search::All) { Ok(()) } else { taken.map(|_| ()) }
    }

    /// A new run for the seat. False: a few looks found none.
    fn take_span<L: Liveness>(
        &self,
        life: &L,
        seated: &Seated<'_>,
        class: u32,
        pages: u32,
        search: Search,
        deadline: Deadline,
    ) -> Result<bool> {
        let run = Run { pages, class, owner: Some(life.me()), is_spare: false };
        let cut = Cut::of(run).ok_or_else(|| Error::corrupt("the arena", "a run without blocks"))?;
        let lay_out = |page: u64, base: u64| {
            let words = self.growth.places::<AtomicU64>(page * PAGE + WORDS, u64::from(cut.count))?;
            let free = BlockWord::free(base & GENERATION_MASK).bits();
            words.iter().for_each(|word| word.store(free, Relaxed));
            Ok(())
        };
        let page = match search {
            Search::Few => self.take_free(life, run, Where::Near, deadline, lay_out)?,
            Search::Grow | Search::All => {
                Some(self.take_run(life, seated, run, cut.size, (search, deadline), lay_out)?)
            }
        };
        let Some(page) = page else { return Ok(false) };
        seated.set_run(class, Current { page, next: 0, found: 0, is_usual: pages == spans::pages_of(class) });
        Ok(true)
    }

    /// Takes a run, from wherever pages are to be had. `lay_out` writes what is in it before anybody can find it; it
    /// gets the first page and the generation from which blocks count. `bytes` is what was asked for.
    pub(in crate::segment) fn take_run<L: Liveness>(
        &self,
        life: &L,
        seated: &Seated<'_>,
        run: Run,
        bytes: u64,
        (search, deadline): (Search, Deadline),
        mut lay_out: impl FnMut(u64, u64) -> Result<()>,
    ) -> Result<u64> {
        if let Some(page) = self.take_free(life, run, Where::Near, deadline, &mut lay_out)? {
            return Ok(page);
        }
        let known = self.growth.committed();
        if self.growth.refresh()? > known {
            self.finder.store(known, Relaxed);
        }
        // What it takes to add pages is worth as long a look at those that there are.
        self.give_back_unused(life, RUNS, deadline)?;
        for _ in 0..PARTS.max(run.pages / PAGES_A_PART) {
            if self.is_in_vain(run.pages) {
                break;
            }
            if let Some(page) = self.take_free(life, run, Where::Round, deadline, &mut lay_out)? {
                return Ok(page);
            }
        }
        // Others may take what we add. Whoever does so got memory; bounded all the same.
        for round in 0..16 {
            let mut look = Where::Near;
            if let Err(error) = self.grow(run.pages, bytes) {
                if round > 0 || search != Search::All || !error.is_out_of_memory() {
                    return Err(error);
                }
                self.empty_seats(life, Some(seated), deadline)?;
                self.give_back_unused(life, u32::MAX, deadline)?;
                look = Where::All;
            }
            if let Some(page) = self.take_free(life, run, look, deadline, &mut lay_out)? {
                return Ok(page);
            }
        }
        Err(self.out_of_memory(bytes))
    }

    /// Leaves a run of ours to others, or gives its pages back if nothing is in it.
    fn leave_run<L: Liveness>(&self, life: &L, class: u32, page: u64, deadline: Deadline) -> Result<()> {
        let pages = self.pages();
        let Some(run) = pages.run(page).filter(|run| run.class == class && run.owner == Some(life.me())) else {
            return Ok(()); // it was not ours any more
        };
        let Some(cut) = Cut::of(run) else { return Ok(()) };
        if self.is_unused(page, cut) {
            let locked = self.lock(life, deadline).inspect_err(|_| {
                pages.abandon(page, run, true);
            })?;
            self.give_back(page, run, cut);
            drop(locked);
            return Ok(());
        }
        pages.abandon(page, run, false);
        // Who freed a block meanwhile took us for the owner and noted nothing.
        if self.free_blocks(page, cut) > 0
            && let Some(left) = pages.run(page)
            && left.class == class
            && pages.note_spare(page, left)
        {
            pages.header.set_hint(class, page);
        }
        Ok(())
    }

    /// Gives the pages of a run back that is ours and unused. Under the lock.
    fn give_back(&self, page: u64, run: Run, cut: Cut) {
        let base = self.growth.place::<AtomicU64>(page * PAGE).map_or(0, |base| base.load(Relaxed));
        let words = self.growth.places::<AtomicU64>(page * PAGE + WORDS, u64::from(cut.count)).unwrap_or_default();
        let allocated = |word: &AtomicU64| {
            BlockWord::from_bits(word.load(Relaxed)).generation().wrapping_sub(base) & GENERATION_MASK
        };
        let most = words.iter().map(allocated).max().unwrap_or(0);
        let pages = self.pages();
        pages.header.note_generations(base.wrapping_add(most).wrapping_add(1));
        pages.give_back(page, run);
    }

    /// Gives back a run that is one block, which is free.
    #[cold]
    pub(in crate::segment) fn give_back_whole<L: Liveness>(&self, life: &L, page: u64) {
        // If the lock is not to be had soon, whoever needs pages finds that the run is free.
        let soon = Deadline::after(clock::now_ns(), SOON);
        let Ok(_locked) = self.lock(life, soon) else { return };
        self.give_back_if_free(page);
    }

    /// Under the lock.
    fn give_back_if_free(&self, page: u64) {
        if let Some(run) = self.pages().run(page)
            && run.class == WHOLE
            && let Some(cut) = Cut::of(run)
            && self.is_unused(page, cut)
        {
            self.give_back(page, run, cut);
        }
    }

    /// Gives back the pages of runs that nobody living owns and nothing is in, among so many of them.
    fn give_back_unused<L: Liveness>(&self, life: &L, most: u32, deadline: Deadline) -> Result<()> {
        let mut asked = Asked::new(life);
        let (all, hops) = (most == u32::MAX, Hops(most.saturating_mul(4)));
        let mut walk = Walk::new(if all { 0 } else { self.sweeper.load(Relaxed) });
        let mut left = if all { u32::MAX } else { GIVEN_BACK };
        for _ in 0..most {
            let Some((page, run)) = walk.next(&self.pages(), hops) else { break };
            // Where nobody noted anything, a look at the blocks is for whoever looks at all.
            let is_worth_it = all || run.is_spare || run.owner.is_some() || run.class == WHOLE;
            let Some(cut) = Cut::of(run).filter(|_| is_worth_it) else { continue };
            if !self.is_unused(page, cut) || !asked.is_left(run.owner) {
                continue;
            }
            let locked = self.lock(life, deadline)?;
            if run.class == WHOLE {
                self.give_back_if_free(page);
            } else if self.pages().adopt(page, run, life.me()) {
                let mine = Run { owner: Some(life.me()), is_spare: false, ..run };
                if self.is_unused(page, cut) {
                    self.give_back(page, mine, cut);
                } else {
                    self.pages().abandon(page, mine, true);
                }
            }
            drop(locked);
            left -= 1;
            if left == 0 {
                break;
            }
        }
        self.sweeper.store(walk.at, Relaxed);
        if all {
            let _locked = self.lock(life, deadline)?;
            self.pages().forget_low();
        }
        Ok(())
    }

    /// Leaves the runs of our seat, and of all that nobody sits on.
    fn empty_seats<L: Liveness>(&self, life: &L, ours: Option<&Seated<'_>>, deadline: Deadline) -> Result<()> {
        let leave = |seated: &Seated<'_>| -> Result<()> {
            if let (Some(spare), Some(hand)) = (seated.spare(), self.spare_hand(seated)) {
                self.let_go(life, seated.apart(), hand, spare);
            }
            for class in 0..CLASSES as u32 {
                if let Some(current) = seated.take_run(class) {
                    self.leave_run(life, class, current.page, deadline)?;
                }
            }
            Ok(())
        };
        ours.map_or(Ok(()), leave)?;
        (0..SEATS as u32).filter_map(|index| self.seats.try_sit(index)).try_for_each(|seated| leave(&seated))
    }

    /// Leaves everything to others, at the end of the participant.
    pub(crate) fn leave<L: Liveness>(&self, life: &L) {
        // Who never sat down never had anything in hand.
        if self.seats.is_unused() {
            return;
        }
        self.free_forgotten(life.me());
        let _ = self.empty_seats(life, None, Deadline::NOW);
    }

    /// What to say when there is no block of `bytes` bytes.
    #[cold]
    pub(in crate::segment) fn out_of_memory(&self, bytes: u64) -> Error {
        let free = self.pages().free();
        let room = self.growth.pages_max().saturating_sub(self.growth.committed());
        let available = free.row.max(free.end + room).saturating_mul(PAGE).saturating_sub(128);
        Kind::OutOfMemory {
            what: "a block in the segment".into(),
            needed: bytes,
            available,
            advice: "free something in it, or make it larger",
        }
        .into()
    }
}
