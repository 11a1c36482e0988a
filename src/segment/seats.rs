//! Who of this process's threads may use which hand: a *seat* is a hand of the participant's row and the runs from
//! which whoever sits there allocates. Private memory.
//!
//! A seat is taken for as long as a block is in hand. The first sixteen threads have a seat each and sit down by a plain
//! store, because an exchange waits for everything that was stored before; the other seats are taken by an exchange.
//! So runs are never used by two threads at once, a thread that ends leaves its seat with what is there to the next, and
//! a thread that needs memory can look through the seats that nobody uses at the moment.

use crate::participant::Liveness;
use crate::segment::layout::HANDS_PER_ROW;
use crate::segment::spans::CLASSES;
use crate::sync::{AtomicU32, AtomicU64, Ordering::Relaxed, heavy_fence, light_fence};
use core::cell::Cell;
use core::mem::ManuallyDrop;
use std::sync::OnceLock;

/// Seats of a process in one segment. The hands of a row are one for each of them, then one for each of the first kind.
pub(crate) const SEATS: usize = crate::segment::layout::SEATS_PER_ROW as usize;

/// A seat. Aligned so that two do not share a cache line.
#[repr(align(128))]
struct Seat {
    taken: AtomicU32,
    /// Set by who looks whether the seat is free although it is another thread's own, and for as long as it stays.
    lent: AtomicU32,
    /// The run of each class that is allocated from, see [`Current`]. Only whoever sits here touches them.
    runs: [AtomicU64; CLASSES],
    /// A block that is kept in hand to be used again, see [`Spare`].
    spare: [AtomicU64; 4],
}

/// A block that left its structure, in the second hand of the seat: another one of the class needs no search.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Spare {
    /// Where it starts. Never 0.
    pub unit: u64,
    pub generation: u64,
    /// Offset of its word from the first page.
    pub word: u64,
    /// Bytes of it.
    pub size: u64,
}

/// The seats of this process.
pub(crate) struct Seats(OnceLock<Box<[Seat; SEATS]>>);

/// A seat that is taken.
pub(crate) struct Seated<'a> {
    seat: &'a Seat,
    /// Its number, and [`LENT`] if it is one of the first kind and another thread sits here. Two words in all, so
    /// that it is handed back in registers.
    index: u32,
}

/// The same seat for a call out of the way, so that the other one may lie in registers. It is not given up with this.
pub(crate) type Apart<'a> = ManuallyDrop<Seated<'a>>;

const LENT: u32 = 1 << 31;

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

/// Seats of the first kind: each belongs to one living thread at a time, who needs no exchange to sit down, and is lent
/// when it is free. The others are anybody's.
pub(crate) const OWN: u32 = 16;

/// The seats of the first kind that belong to somebody, one bit each: for all segments.
static OWNED: AtomicU32 = AtomicU32::new(!((1 << OWN) - 1));

/// The lowest seat of the first kind that belonged to nobody.
fn own_one() -> Option<u32> {
    let mut owned = OWNED.load(Relaxed);
    // Bounded: another thread got one each time, and when there is none left it ends.
    while owned != u32::MAX {
        let lowest = owned.trailing_ones();
        // What is in a seat is ordered by its own words; a desk (`segment/table_desks.rs`) by this.
        match OWNED.compare_exchange(owned, owned | 1 << lowest, crate::order!(seat_inherit, AcqRel), Relaxed) {
            Ok(_) => return Some(lowest),
            Err(now) => owned = now,
        }
    }
    None
}

const UNKNOWN: u32 = u32::MAX;

thread_local! {
    /// The seat that this thread tries first, in any segment. Without a destructor, so that a look at it is one instruction.
    static MINE: Cell<u32> = const { Cell::new(UNKNOWN) };
    static KEPT: Kept = const { Kept(Cell::new(None)) };
}

/// A seat of the first kind that belongs to this thread. Given to another one when this one ends, so that few runs are kept
/// where threads come and go.
struct Kept(Cell<Option<u32>>);

impl Drop for Kept {
    fn drop(&mut self) {
        if let Some(seat) = self.0.get() {
            MINE.set(OWN);
            OWNED.fetch_and(!(1 << seat), crate::order!(seat_inherit, AcqRel));
        }
    }
}

/// The seat that this thread tries first. One below [`OWN`] is no other living thread's; what its last bearer wrote is seen.
#[inline(always)]
pub(crate) fn usual() -> u32 {
    let known = MINE.get();
    if known == UNKNOWN { choose() } else { known }
}

#[cold]
#[inline(never)]
fn choose() -> u32 {
    let some = || OWN + (MINE.with(|mine| core::ptr::from_ref(mine).addr()) >> 12) as u32 % (SEATS as u32 - OWN);
    // A thread that is ending has no more seat of its own.
    let own = KEPT.try_with(|kept| {
        kept.0.set(own_one());
        kept.0.get()
    });
    MINE.set(own.ok().flatten().unwrap_or_else(some));
    MINE.get()
}

impl Seats {
    /// Seats that are made when somebody sits down: a process that only looks, or uses what is there, needs none.
    pub(crate) fn new() -> Self {
        Self(OnceLock::new())
    }

    #[cold]
    fn make() -> Box<[Seat; SEATS]> {
        let seat = |()| Seat {
            taken: AtomicU32::new(0),
            lent: AtomicU32::new(0),
            runs: [const { AtomicU64::new(0) }; CLASSES],
            spare: [const { AtomicU64::new(0) }; 4],
        };
        Box::new([(); SEATS].map(seat))
    }

    #[inline(always)]
    fn seats(&self) -> &[Seat; SEATS] {
        self.0.get_or_init(Self::make)
    }

    /// Whether nobody ever sat down.
    pub(crate) fn is_unused(&self) -> bool {
        self.0.get().is_none()
    }

    /// A free seat, this thread's usual one if possible.
    #[inline(always)]
    pub(crate) fn sit(&self, life: &impl Liveness) -> Option<Seated<'_>> {
        let first = usual();
        if first < OWN
            && let Some(seat) = self.seats().get(first as usize)
            && seat.taken.load(crate::order!(seat_take, Acquire)) == 0
        {
            seat.taken.store(1, Relaxed);
            light_fence(life, crate::order!(seat_own_fence, SeqCst));
            if seat.lent.load(crate::order!(seat_take, Acquire)) == 0 {
                return Some(Seated { seat, index: first });
            }
            seat.taken.store(0, Relaxed);
        }
        self.sit_elsewhere(first)
    }

    #[cold]
    #[inline(never)]
    fn sit_elsewhere(&self, first: u32) -> Option<Seated<'_>> {
        let anybodys = SEATS as u32 - OWN;
        (0..anybodys)
            .find_map(|i| self.try_sit(OWN + (first + i) % anybodys))
            .or_else(|| (0..OWN).find_map(|index| self.try_sit(index)))
    }

    /// This seat, if it is free.
    #[cold]
    pub(crate) fn try_sit(&self, index: u32) -> Option<Seated<'_>> {
        let seat = self.seats().get(index as usize)?;
        if index >= OWN {
            // Sees the runs as whoever sat here left them.
            let is_free = seat.taken.swap(1, crate::order!(seat_take, Acquire)) == 0;
            return is_free.then_some(()).map(|()| Seated { seat, index });
        }
        if seat.lent.swap(1, crate::order!(seat_take, Acquire)) != 0 {
            return None;
        }
        // Either we see that its own thread sits here, or that one sees that it is lent.
        heavy_fence(crate::order!(seat_lend_fence, SeqCst));
        if seat.taken.load(crate::order!(seat_take, Acquire)) != 0 {
            seat.lent.store(0, crate::order!(seat_leave, Release));
            return None;
        }
        Some(Seated { seat, index: index | LENT })
    }
}

impl<'a> Seated<'a> {
    /// For a call out of the way.
    #[inline(always)]
    pub(crate) fn apart(&self) -> Apart<'a> {
        ManuallyDrop::new(Self { seat: self.seat, index: self.index })
    }
}

impl Seated<'_> {
    /// Its number, which is also that of its hand.
    #[inline]
    pub(crate) fn index(&self) -> usize {
        (self.index & !LENT) as usize
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

    /// The block that is kept.
    #[inline(always)]
    pub(crate) fn spare(&self) -> Option<Spare> {
        let [unit, generation, word, size] = &self.seat.spare;
        let unit = unit.load(Relaxed);
        let spare =
            || Spare { unit, generation: generation.load(Relaxed), word: word.load(Relaxed), size: size.load(Relaxed) };
        (unit != 0).then(spare)
    }

    #[inline(always)]
    pub(crate) fn set_spare(&self, spare: Option<Spare>) {
        let [unit, generation, word, size] = &self.seat.spare;
        if let Some(spare) = spare {
            generation.store(spare.generation, Relaxed);
            word.store(spare.word, Relaxed);
            size.store(spare.size, Relaxed);
        }
        unit.store(spare.map_or(0, |spare| spare.unit), Relaxed);
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
        let word = if self.index & LENT != 0 { &self.seat.lent } else { &self.seat.taken };
        word.store(0, crate::order!(seat_leave, Release));
    }
}

impl Drop for Seated<'_> {
    #[inline]
    fn drop(&mut self) {
        self.leave();
    }
}

const _: () = assert!(SEATS == u32::BITS as usize && OWN < SEATS as u32);
// Who sits on any other seat finds no second hand behind these.
const _: () = assert!(HANDS_PER_ROW as usize == SEATS + OWN as usize);

#[cfg(test)]
mod tests {
    use super::{Current, SEATS, Seats};
    use crate::participant::{Liveness, ParticipantId};

    struct Me;

    impl Liveness for Me {
        fn me(&self) -> ParticipantId {
            ParticipantId::new(1).unwrap()
        }
        fn is_dead(&self, _: ParticipantId) -> bool {
            false
        }
    }

    #[test]
    fn a_seat_has_one_sitter_and_remembers_its_runs() {
        let seats = Seats::new();
        let all: Vec<_> = (0..SEATS).map(|_| seats.sit(&Me).unwrap()).collect();
        assert!(seats.sit(&Me).is_none());
        let mut indices: Vec<_> = all.iter().map(|seated| seated.index()).collect();
        indices.sort_unstable();
        indices.dedup();
        assert_eq!(indices.len(), all.len());
        let current = Current { page: (1 << 36) - 2, next: 225, found: 4095, is_usual: true };
        all[3].set_run(5, current);
        let index = all[3].index() as u32;
        drop(all);
        let seated = seats.try_sit(index).unwrap();
        assert_eq!((seated.run(5), seated.run(4), seated.run(99)), (Some(current), None, None));
        assert_eq!((seated.take_run(5), seated.run(5)), (Some(current), None));
    }
}
