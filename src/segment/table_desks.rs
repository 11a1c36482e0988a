//! Which desk of a table a thread of this process writes at. Private memory.
//!
//! Threads that have a seat of their own (`segment/seats.rs`) have a desk of their own too, as long as there are desks that
//! nobody has; so they sit down without an exchange. All others take turns at those that are left, of which each process has
//! one for sure: that of its row.

use crate::error::{Error, Kind, Result};
use crate::participant::Liveness;
use crate::raw::table::{Store, Table as Machine};
use crate::raw::table_desk::Desk;
use crate::segment::seats::{self, OWN, SEATS};
use crate::segment::spans;
use crate::segment::table_shelf::error_of;
use crate::sync::{AtomicU32, AtomicU64, Ordering::Relaxed};
use core::ops::Deref;

/// What a process has of a table's desks.
pub(crate) struct Desks {
    places: [Place; SEATS],
    row: usize,
    rows: usize,
}

#[derive(Default)]
struct Place {
    /// One more than the number of the desk; 0: none yet.
    desk: AtomicU32,
    /// Whether somebody sits there who has to share.
    busy: AtomicU32,
    /// The words of a record that the block which the desk keeps is of the size for. 0: nothing is known.
    kept_words: AtomicU64,
}

/// A desk that nobody else writes at, for as long as this is used.
#[derive(Clone, Copy)]
pub(crate) struct Own<'a> {
    pub desk: &'a Desk,
    place: &'a Place,
}

impl Own<'_> {
    /// The block that the desk keeps, if it is known to be one for a record of exactly so many words.
    #[inline(always)]
    pub(crate) fn kept_for(&self, words: u64) -> Option<u32> {
        let unit = self.desk.kept();
        (self.place.kept_words.load(Relaxed) == words && unit != 0).then_some(unit)
    }

    /// The same, if it is one of the size that such a record's would have.
    pub(crate) fn kept_like(&self, words: u64) -> Option<u32> {
        let (unit, known) = (self.desk.kept(), self.place.kept_words.load(Relaxed));
        let is_like = is_small(words) && spans::size_for(8 * known) == spans::size_for(8 * words);
        (known != 0 && unit != 0 && is_like).then_some(unit)
    }

    /// The block that the desk keeps by now is of the size for a [small](is_small) record of so many words.
    #[inline(always)]
    pub(crate) fn know(&self, words: u64) {
        self.place.kept_words.store(words, Relaxed);
    }

    /// The desk keeps nothing, or nobody knows what.
    #[inline(always)]
    pub(crate) fn know_nothing(&self) {
        self.place.kept_words.store(0, Relaxed);
    }
}

/// Whether the block of a record of so many words is cut from a run. Only such blocks are kept from one record to the next.
#[inline(always)]
pub(crate) const fn is_small(words: u64) -> bool {
    8 * words <= spans::SMALL_MAX
}

/// A desk that is ours until this is dropped.
pub(crate) struct Sitting<'a> {
    own: Own<'a>,
    is_shared: bool,
}

impl<'a> Deref for Sitting<'a> {
    type Target = Own<'a>;

    #[inline(always)]
    fn deref(&self) -> &Own<'a> {
        &self.own
    }
}

impl Drop for Sitting<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        if self.is_shared {
            self.own.place.busy.store(0, crate::order!(seat_leave, Release));
        }
    }
}

/// How often a thread looks for a desk to share before it says that there is none.
const LOOKS: u32 = 100_000;

impl Desks {
    /// None yet, of the process in this row of so many.
    pub(crate) fn new(row: usize, rows: usize) -> Self {
        Self { places: [(); SEATS].map(|()| Place::default()), row, rows }
    }

    /// The desk of this thread, of all desks, if it has one for itself.
    #[inline(always)]
    pub(crate) fn own<'a>(&'a self, all: &'a [Desk]) -> Option<Own<'a>> {
        let usual = seats::usual();
        let place = self.places.get(usual as usize).filter(|_| usual < OWN)?;
        // None yet: beyond all of them.
        let desk = all.get(place.desk.load(Relaxed).wrapping_sub(1) as usize)?;
        Some(Own { desk, place })
    }

    /// A desk for this thread.
    #[inline(always)]
    pub(crate) fn sit<'a, S: Store>(&'a self, machine: &Machine<'a, S>, life: &impl Liveness) -> Result<Sitting<'a>> {
        match self.own(machine.desks) {
            Some(own) => Ok(Sitting { own, is_shared: false }),
            None => self.sit_elsewhere(machine, life, seats::usual()),
        }
    }

    #[cold]
    #[inline(never)]
    fn sit_elsewhere<'a, S: Store>(
        &'a self,
        machine: &Machine<'a, S>,
        life: &impl Liveness,
        usual: u32,
    ) -> Result<Sitting<'a>> {
        let anybodys = self.rows.min(machine.desks.len())..machine.desks.len();
        let take = |place: &Place, among| -> Result<Option<&'a Desk>> {
            let known = place.desk.load(Relaxed).checked_sub(1);
            let number = match known {
                Some(number) => Some(number as usize),
                None => machine.take_desk(life, among).map_err(error_of)?,
            };
            let desk = number.and_then(|number| machine.desks.get(number));
            if let (Some(number), Some(_)) = (number, desk) {
                place.desk.store(number as u32 + 1, Relaxed);
            }
            Ok(desk)
        };
        if usual < OWN
            && let Some(place) = self.places.get(usual as usize)
            && let Some(desk) = take(place, anybodys.clone())?
        {
            return Ok(Sitting { own: Own { desk, place }, is_shared: false });
        }
        for look in 0..LOOKS {
            let shared = SEATS as u32 - OWN;
            let nth = usual.wrapping_add(look) % shared;
            let place = self.places.get((OWN + nth) as usize).ok_or_else(none_left)?;
            if place.busy.swap(1, crate::order!(seat_take, Acquire)) == 0 {
                let among = if nth == 0 { self.row..self.row + 1 } else { anybodys.clone() };
                match take(place, among) {
                    Ok(Some(desk)) => return Ok(Sitting { own: Own { desk, place }, is_shared: true }),
                    other => {
                        place.busy.store(0, crate::order!(seat_leave, Release));
                        other?;
                    }
                }
            }
            if look > 2 * shared {
                std::thread::yield_now();
            }
        }
        Err(none_left())
    }

    /// Gives all desks to whoever comes, when they keep nothing any more. Nobody writes any more.
    pub(crate) fn leave<S: Store>(&self, machine: &Machine<'_, S>) {
        for place in &self.places {
            if let Some(number) = place.desk.load(Relaxed).checked_sub(1)
                && let Some(desk) = machine.desks.get(number as usize)
                && !desk.is_busy()
            {
                machine.let_kept_go(desk);
                place.kept_words.store(0, Relaxed);
                place.desk.store(0, Relaxed);
                desk.leave();
            }
        }
    }
}

#[cold]
fn none_left() -> Error {
    Kind::TableFull { what: "the desks of the dictionary" }.into()
}
