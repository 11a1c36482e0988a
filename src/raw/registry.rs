//! Participant ids and the rows their bearers occupy.
//!
//! `last_id` is the id given out last (0: none yet). Ids come in two halves, of which one is being given out:
//!
//! ```text
//!   1 ............ 4 194 303 | 4 194 304 ............ 8 388 607 | again from 1
//!   half 0                   | half 1                           |
//! ```
//!
//! Entering a half asks the caller, who recovers every object first and then answers whether no living
//! participant has an id of that half: then no trace of such an id is left.
//!
//! A row's cell:
//!
//! | from | to | by whom |
//! |---|---|---|
//! | 0, vacant | id | the newcomer, who holds the row's proof of life |
//! | id | 0 | its bearer, leaving; or the reaper, with proof of the death |
//!
//! Anything else in a cell is an id that nobody has: it is found by nobody and never vacated.
#![forbid(unsafe_code)]

use core::fmt;

use crate::order;
use crate::participant::ParticipantId;
use crate::sync::{AtomicU32, Ordering::Relaxed, mark};

/// The ids given out, and how many deaths were settled. All-zero: none.
#[repr(C)]
pub struct RegistryHeader {
    last_id: AtomicU32,
    death_epoch: AtomicU32,
}

/// One half of all ids.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Half(u32);

/// No id can be given out: living participants have ids of the half that comes next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct IdsExhausted;

/// Rounds that may be lost to others before a call gives up.
const ROUNDS_LOST_MAX: u32 = 1000;

impl Half {
    const BITS: u32 = ParticipantId::BITS - 1;
    const MASK: u32 = (1 << Self::BITS) - 1;

    const fn of(id: u32) -> Self {
        Self(id >> Self::BITS)
    }

    /// Whether the id belongs to this half.
    pub const fn has(self, id: ParticipantId) -> bool {
        Self::of(id.get()).0 == self.0
    }
}

impl RegistryHeader {
    /// No id given out.
    pub fn new() -> Self {
        Self::resumed(0)
    }

    /// As if `last_id` had been given out last.
    pub fn resumed(last_id: u32) -> Self {
        Self { last_id: AtomicU32::new(last_id), death_epoch: AtomicU32::new(0) }
    }

    /// An id that no trace is left of. `is_free` is asked when a half is entered.
    pub fn take_id(&self, mut is_free: impl FnMut(Half) -> bool) -> Result<ParticipantId, IdsExhausted> {
        for _ in 0..ROUNDS_LOST_MAX {
            // Relaxed: a number, which the compare-and-swap checks and orders.
            let last = self.last_id.load(Relaxed);
            let next = if last >= ParticipantId::MASK { 1 } else { last + 1 };
            if last != 0 && Half::of(last) != Half::of(next) {
                mark("registry: entered a half");
                if !is_free(Half::of(next)) {
                    return Err(IdsExhausted);
                }
            }
            // Who takes the next id sees what was recovered before this half was entered.
            if self.last_id.compare_exchange(last, next, order!(registry_id_take, AcqRel), Relaxed).is_ok() {
                return ParticipantId::new(next).ok_or(IdsExhausted);
            }
        }
        Err(IdsExhausted)
    }

    /// How many ids are left before the other half is needed.
    pub fn ids_left(&self) -> u32 {
        Half::MASK - (self.last_id.load(Relaxed) & Half::MASK)
    }

    /// Notes that the traces of a dead participant were settled.
    pub fn note_death(&self) {
        self.death_epoch.fetch_add(1, order!(registry_death, Release));
    }

    /// How many deaths were settled, wrapping. Whoever sees a number sees what was settled before it.
    pub fn deaths(&self) -> u32 {
        self.death_epoch.load(order!(registry_death_look, Acquire))
    }
}

/// Puts `id` into a vacant row. False: there is no such row, or it is occupied.
pub fn occupy(rows: &[AtomicU32], row: usize, id: ParticipantId) -> bool {
    // Relaxed: an id is met elsewhere only through a store that its bearer releases after this one.
    rows.get(row).is_some_and(|cell| cell.compare_exchange(0, id.get(), Relaxed, Relaxed).is_ok())
}

/// Takes `id` out of its row. False: it was not there.
pub fn vacate(rows: &[AtomicU32], row: usize, id: ParticipantId) -> bool {
    // Whoever no longer finds the id sees what its bearer had done.
    rows.get(row)
        .is_some_and(|cell| cell.compare_exchange(id.get(), 0, order!(registry_vacate, AcqRel), Relaxed).is_ok())
}

/// The row of `id`. `None` proves its bearer gone, if the id was read by an acquire.
pub fn find(rows: &[AtomicU32], id: ParticipantId) -> Option<usize> {
    rows.iter().position(|cell| cell.load(order!(registry_find, Acquire)) == id.get())
}

/// Who occupies a row. `None`: nobody, or the cell makes no sense.
pub fn occupant(rows: &[AtomicU32], row: usize) -> Option<ParticipantId> {
    rows.get(row).and_then(|cell| ParticipantId::new(cell.load(order!(registry_find, Acquire))))
}

impl Default for RegistryHeader {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for RegistryHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Registry(last id #{}, {} deaths)", self.last_id.load(Relaxed), self.death_epoch.load(Relaxed))
    }
}

#[cfg(all(test, not(mutirao_model)))]
mod tests {
    use super::{Half, IdsExhausted, RegistryHeader, find, occupy, vacate};
    use crate::participant::ParticipantId;
    use crate::sync::AtomicU32;

    fn id(n: u32) -> ParticipantId {
        ParticipantId::new(n).unwrap()
    }

    #[test]
    fn a_half_is_entered_only_when_it_is_free() {
        let never = |_: Half| -> bool { panic!("not asked") };
        assert_eq!(RegistryHeader::new().take_id(never), Ok(id(1)));
        let end = RegistryHeader::resumed(Half::MASK);
        assert_eq!(end.ids_left(), 0);
        assert_eq!(end.take_id(|_| false), Err(IdsExhausted));
        assert_eq!(end.take_id(|half| half == Half(1)), Ok(id(Half::MASK + 1)));
        assert_eq!(end.take_id(never), Ok(id(Half::MASK + 2)));
        for last in [ParticipantId::MASK, u32::MAX] {
            assert_eq!(RegistryHeader::resumed(last).take_id(|half| half.has(id(1))), Ok(id(1)));
        }
    }

    #[test]
    fn a_row_has_one_occupant() {
        let rows = [AtomicU32::new(0), AtomicU32::new(u32::MAX)];
        assert!(occupy(&rows, 0, id(7)) && !occupy(&rows, 0, id(8)) && !occupy(&rows, 9, id(8)));
        assert_eq!((find(&rows, id(7)), find(&rows, id(8))), (Some(0), None));
        assert!(!vacate(&rows, 0, id(8)) && vacate(&rows, 0, id(7)));
        assert_eq!(find(&rows, id(7)), None);
    }
}
