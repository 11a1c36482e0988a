//! Who of this process's threads may use which hand: a *seat* is a hand of the participant's row and the runs from
//! which whoever sits there allocates. Private memory.
//!
//! A seat is taken for as long as a block is in hand, by one exchange on a word that usually belongs to the same thread.
//! So runs are never used by two threads at once, a thread that ends leaves nothing behind, and a thread that
//! needs memory can look through the seats that nobody uses at the moment.

use crate::segment::spans::CLASSES;
use crate::sync::{AtomicU32, AtomicU64, Ordering::Relaxed};
use core::cell::Cell;
use std::sync::OnceLock;

/// Seats of a process in one segment: as many as a row has hands. One bit of a word each.
pub(crate) const SEATS: usize = crate::segment::layout::HANDS_PER_ROW as usize;

/// A seat. Aligned so that two do not share a cache line.
#[repr(align(128))]
struct Seat {
    taken: AtomicU32,
    /// The run of each class that is allocated from, see [`Current`]. Only whoever sits here touches them.
    runs: [AtomicU64; CLASSES],
}

/// The seats of this process.
pub(crate) struct Seats(OnceLock<Box<[Seat]>>);

/// A seat that is taken.
pub(crate) struct Seated<'a> {
    seat: &'a Seat,
    index: usize,
}

/// Where a seat stands in a run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Current {
    /// First page of the run, below 2^36 - 1.
    pub page: u64,
    /// The block to look at next, below 2^12.
    pub next: u32,
    /// Blocks found since the run was begun from its start, below 2^12.
    pub found: u32,
    /// Whether the run has as many pages as its class usually has.
    pub is_usual: bool,
}

impl Current {
    const PAGE_BITS: u32 = 36;
    const FIELD: u64 = (1 << 12) - 1;

    #[inline]
    fn pack(self) -> u64 {
        (self.page + 1)
            | u64::from(self.next) << Self::PAGE_BITS
            | u64::from(self.found) << (Self::PAGE_BITS + 12)
            | u64::from(self.is_usual) << (Self::PAGE_BITS + 24)
    }

    #[inline]
    fn unpack(bits: u64) -> Option<Self> {
        Some(Self {
            page: (bits & ((1 << Self::PAGE_BITS) - 1)).checked_sub(1)?,
            next: (bits >> Self::PAGE_BITS & Self::FIELD) as u32,
            found: (bits >> (Self::PAGE_BITS + 12) & Self::FIELD) as u32,
            is_usual: bits >> (Self::PAGE_BITS + 24) & 1 == 1,
        })
    }
}

/// The usual seats of living threads, one bit each.
static USUAL: AtomicU32 = AtomicU32::new(0);

/// The seat that a thread tries first, in any segment. Given to another thread when this one ends, so that few runs
/// are kept where threads come and go.
struct Usual(Cell<u32>);

const UNKNOWN: u32 = u32::MAX;
/// Threads beyond the number of seats share them.
const SHARED: u32 = 1 << 31;

thread_local! {
    static MINE: Usual = const { Usual(Cell::new(UNKNOWN)) };
}

impl Usual {
    #[inline]
    fn index(&self) -> usize {
        let known = self.0.get();
        (if known == UNKNOWN { self.choose() } else { known & !SHARED }) as usize
    }

    #[cold]
    fn choose(&self) -> u32 {
        let mut taken = USUAL.load(Relaxed);
        // Bounded: another thread got one each time, and when there is none left it ends.
        while taken != u32::MAX {
            let lowest = taken.trailing_ones();
            match USUAL.compare_exchange(taken, taken | 1 << lowest, Relaxed, Relaxed) {
                Ok(_) => {
                    self.0.set(lowest);
                    return lowest;
                }
                Err(now) => taken = now,
            }
        }
        let shared = (core::ptr::from_ref(self).addr() >> 6) as u32 % SEATS as u32;
        self.0.set(shared | SHARED);
        shared
    }
}

impl Drop for Usual {
    fn drop(&mut self) {
        if self.0.get() < SHARED {
            USUAL.fetch_and(!(1 << self.0.get()), Relaxed);
        }
    }
}

#[inline]
fn usual() -> usize {
    MINE.try_with(Usual::index).unwrap_or(0)
}

impl Seats {
    /// Seats that are made when somebody sits down: a process that only looks, or uses what is there, needs none.
    pub(crate) fn new() -> Self {
        Self(OnceLock::new())
    }

    fn make() -> Box<[Seat]> {
        let seat = || Seat { taken: AtomicU32::new(0), runs: [const { AtomicU64::new(0) }; CLASSES] };
        (0..SEATS).map(|_| seat()).collect()
    }

    /// Whether nobody ever sat down.
    pub(crate) fn is_unused(&self) -> bool {
        self.0.get().is_none()
    }

    /// A free seat, this thread's usual one if possible.
    #[inline]
    pub(crate) fn sit(&self) -> Option<Seated<'_>> {
        let first = usual();
        self.try_sit(first).or_else(|| self.sit_elsewhere(first))
    }

    #[cold]
    fn sit_elsewhere(&self, first: usize) -> Option<Seated<'_>> {
        (1..SEATS).find_map(|i| self.try_sit((first + i) % SEATS))
    }

    /// This seat, if it is free.
    #[inline]
    pub(crate) fn try_sit(&self, index: usize) -> Option<Seated<'_>> {
        let seat = self.0.get_or_init(Self::make).get(index)?;
        // Sees the runs as whoever sat here left them.
        (seat.taken.swap(1, crate::order!(seat_take, Acquire)) == 0).then(|| Seated { seat, index })
    }
}

impl Seated<'_> {
    /// Its number, which is also that of its hand.
    #[inline]
    pub(crate) fn index(&self) -> usize {
        self.index
    }

    /// The run of this class.
    #[inline]
    pub(crate) fn run(&self, class: u32) -> Option<Current> {
        Current::unpack(self.seat.runs.get(class as usize)?.load(Relaxed))
    }

    #[inline]
    pub(crate) fn set_run(&self, class: u32, current: Current) {
        if let Some(run) = self.seat.runs.get(class as usize) {
            run.store(current.pack(), Relaxed);
        }
    }

    /// The run of this class, which is no longer this seat's.
    pub(crate) fn take_run(&self, class: u32) -> Option<Current> {
        let run = self.seat.runs.get(class as usize)?;
        let current = Current::unpack(run.load(Relaxed));
        run.store(0, Relaxed);
        current
    }
}

impl Seated<'_> {
    /// Gives the seat up; nothing may be done with it afterwards.
    #[inline]
    pub(crate) fn leave(&self) {
        self.seat.taken.store(0, crate::order!(seat_leave, Release));
    }
}

impl Drop for Seated<'_> {
    #[inline]
    fn drop(&mut self) {
        self.leave();
    }
}

const _: () = assert!(SEATS == u32::BITS as usize);

#[cfg(test)]
mod tests {
    use super::{Current, SEATS, Seats};

    #[test]
    fn a_seat_has_one_sitter_and_remembers_its_runs() {
        let seats = Seats::new();
        let all: Vec<_> = (0..SEATS).map(|_| seats.sit().unwrap()).collect();
        assert!(seats.sit().is_none());
        let current = Current { page: (1 << 36) - 2, next: 225, found: 4095, is_usual: true };
        all[3].set_run(5, current);
        let index = all[3].index();
        drop(all);
        let seated = seats.try_sit(index).unwrap();
        assert_eq!((seated.run(5), seated.run(4), seated.run(99)), (Some(current), None, None));
        assert_eq!((seated.take_run(5), seated.run(5)), (Some(current), None));
    }
}
