//! Free pages of an arena: taking them as a run, and more of them at the end of the file.
//!
//! Pages change hands under the lock of the arena. A holder who died left at worst a run half written, which the
//! next one frees (`Pages::repair`), over all pages that the file has by then.

use crate::deadline::Deadline;
use crate::error::{Error, Kind, Result};
use crate::participant::Liveness;
use crate::raw::lock::{Acquired, RawLock, Refused};
use crate::raw::page_search::{Hops, Stopped};
use crate::raw::pages::{Pages, Run};
use crate::segment::arena::Arena;
use crate::segment::layout::PAGE;
use crate::segment::spans;
use crate::sync::{AtomicU64, Ordering::Relaxed, Patience, fence};

/// How far one look for free pages goes.
const HOPS: Hops = Hops(64);
/// How far a part of the way round goes: a part each time the lock is held.
const PART: Hops = Hops(1024);

/// The least pages that are made for many blocks at once: less comes by itself.
const WORTH_MAKING: u64 = 256;

/// Where free pages are looked for.
#[derive(Clone, Copy)]
pub(in crate::segment) enum Where {
    /// Near the start, and where the look before ended.
    Near,
    /// A part of the way round.
    Round,
    /// Everywhere.
    All,
}

/// The lock of the arena, held.
pub(in crate::segment) struct Locked<'a>(&'a RawLock);

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        self.0.release(false);
    }
}

impl Arena {
    /// Takes a run from the free pages that there are, as far as the look goes.
    pub(in crate::segment) fn take_free<L: Liveness>(
        &self,
        life: &L,
        run: Run,
        look: Where,
        deadline: Deadline,
        mut lay_out: impl FnMut(u64, u64) -> Result<()>,
    ) -> Result<Option<u64>> {
        let _locked = self.lock(life, deadline)?;
        let pages = self.pages();
        let near = |hops| {
            let found = pages.find_near(run.pages, self.finder.load(Relaxed), hops);
            found.map_err(|Stopped(at)| self.finder.store(at, Relaxed)).ok()
        };
        let found = match look {
            Where::Near => near(HOPS),
            Where::All => near(Hops::ALL),
            Where::Round => self.find_on_the_way(&pages, run.pages),
        };
        let Some(page) = found else { return Ok(None) };
        let base = pages.header.generations();
        // Who still reads these pages as what they were sees, with a word that is written now, that they were given up.
        fence(crate::order!(page_lay_out, Release));
        self.growth.place::<AtomicU64>(page * PAGE)?.store(base, Relaxed);
        lay_out(page, base)?;
        pages.take(page, run);
        self.finder.store(page + u64::from(run.pages), Relaxed);
        Ok(Some(page))
    }

    /// So many free pages in a row, on a part of the way round. Under the lock.
    fn find_on_the_way(&self, pages: &Pages<'_>, wanted: u32) -> Option<u64> {
        let round = self.rover.rows(wanted);
        let from = round.at();
        match pages.find_from(from, wanted, Hops(PART.0.saturating_add(wanted))) {
            Ok(page) => {
                round.went(0, page + u64::from(wanted), true);
                Some(page)
            }
            Err(Stopped(at)) => {
                let end = if at > from { at } else { self.growth.committed() };
                round.went(end.saturating_sub(from).max(1), at, false);
                None
            }
        }
    }

    /// Whether so many free pages in a row were looked for all the way round, and none became free since.
    pub(in crate::segment) fn is_in_vain(&self, wanted: u32) -> bool {
        // A row of another length is news too: this one passed what that one wants.
        let news = self.pages().header.returns() << 32 | u64::from(wanted);
        // The row that it began in is seen whole.
        self.rover.rows(wanted).in_vain(news) > self.growth.committed() + u64::from(wanted)
    }

    /// More pages at the end: as many as are needed, and up to the end of a step.
    pub(in crate::segment) fn grow(&self, pages: u32, bytes: u64) -> Result<u64> {
        let now = self.growth.refresh()?;
        let missing = u64::from(pages).saturating_sub(self.pages().free_at_end(pages.into())).max(1);
        if now + missing > self.growth.pages_max() {
            return Err(self.out_of_memory(bytes));
        }
        let grown = self.growth.grow(now + missing)?;
        self.finder.store(now + missing - u64::from(pages), Relaxed);
        Ok(grown)
    }

    /// Makes `part` of the memory that a block of so many bytes will want at the end of the pages, unless that much is free
    /// there: who needs large blocks again and again pays for them little by little. A hint.
    #[cold]
    pub(crate) fn make_ahead(&self, bytes: u64, part: u64) {
        let Some(pages) = spans::whole_pages(bytes).map(u64::from) else { return };
        let missing = pages.saturating_sub(self.pages().free_at_end(pages));
        if missing > 0 {
            let now = self.growth.committed();
            let _ = self.growth.grow((now + missing.min(part.div_ceil(PAGE))).min(self.growth.pages_max()));
        }
    }

    /// Makes the memory that so many blocks of so many bytes will want, as [`make_ahead`](Self::make_ahead), if it is worth it.
    #[cold]
    pub(crate) fn make_room(&self, blocks: u64, bytes: u64) {
        let pages = spans::pages_for(blocks, bytes);
        if pages >= WORTH_MAKING {
            let bytes = pages.saturating_mul(PAGE) - PAGE;
            self.make_ahead(bytes, bytes);
        }
    }

    /// The lock, and what it guards whole.
    pub(in crate::segment) fn lock<L: Liveness>(&self, life: &L, deadline: Deadline) -> Result<Locked<'_>> {
        let lock = self.pages().header.lock_field();
        let what = "the turn at the pages of the segment";
        match lock.acquire(life, &mut Patience::new(deadline)) {
            Ok(Acquired::Clean) => Ok(Locked(lock)),
            Ok(Acquired::AfterDeath) => {
                // The dead one may have known of more pages than we did.
                if let Err(error) = self.growth.refresh() {
                    lock.release(true);
                    return Err(error);
                }
                self.pages().repair();
                Ok(Locked(lock))
            }
            Err(Refused::TimedOut | Refused::Busy) => Err(Kind::Timeout { what }.into()),
            Err(Refused::Contended) => Err(Kind::Contended { what, rounds: 1000 }.into()),
            Err(Refused::Corrupt) => Err(Error::corrupt("the arena", "its lock holds what no participant writes")),
        }
    }
}
