//! The catalog of a segment, as one process sees it: which objects there are, and which of them this process holds.
//!
//! Who may do what with an entry is decided in `raw/catalog.rs`. A participant has one bit in an entry, however many
//! handles it has; how many it has is counted here, in private memory.

use crate::deadline::Deadline;
use crate::error::{Error, Kind, Result};
use crate::participant::Liveness;
use crate::raw::catalog::{self, Claim, Phase, Slots, State, Unpublished};
use crate::raw::lock::Refused;
use crate::segment::access::{Placed, Region};
use crate::segment::arena::Arena;
use crate::segment::layout::{ArenaHeader, Entry, HOLDER_WORDS, Plan};
use crate::sync::{AtomicU32, Ordering::Relaxed, Patience};
use crate::sys::clock;
use core::fmt;
use core::mem::offset_of;
use core::panic::AssertUnwindSafe;
use core::time::Duration;
use parking_lot::Mutex;
use std::collections::HashMap;

/// In an announcement: the place is two words of the segment itself, a unit and a generation.
const OF_THE_SEGMENT: u64 = 0xff_ffff;

/// How long a creator waits for others who give names: each of them looks through the entries once. Longer takes only one
/// that was stopped in the middle, or a word that somebody forged.
const NAMING: Duration = Duration::from_secs(10);

/// What a process holds: the generation of the object, and the handles on it.
type Held = HashMap<usize, (u64, u32)>;

/// The entries, and what this process holds of them.
pub(crate) struct Catalog {
    entries: Placed<[Entry]>,
    /// Where the lock of the names is. A segment without an arena has no catalog.
    header: Option<Placed<ArenaHeader>>,
    /// Never half changed, so a panic elsewhere does it no harm.
    held: AssertUnwindSafe<Mutex<Held>>,
    /// Where the next search for an empty entry begins.
    hint: AtomicU32,
}

/// An entry that belongs to a creator.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Drafted {
    pub number: usize,
    pub claim: Claim,
}

impl Catalog {
    /// The catalog of a segment; without entries where it has none.
    pub(crate) fn resolve(region: &Region, plan: &Plan) -> Result<Self> {
        let objects = if plan.has_arena() { plan.objects } else { 0 };
        let header = if objects > 0 { Some(region.placed(plan.arena_header)?) } else { None };
        let entries = region.placed_slice(plan.catalog, u64::from(objects))?;
        Ok(Self { entries, header, held: AssertUnwindSafe(Mutex::default()), hint: AtomicU32::new(0) })
    }

    pub(crate) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// What an announcement says of a block that becomes the body of the object of this number.
    pub(crate) fn body_place(plan: &Plan, number: usize) -> u64 {
        let unit = plan.catalog + (number * size_of::<Entry>() + offset_of!(Entry, unit)) as u64;
        (OF_THE_SEGMENT << 40) | (unit / 8)
    }

    /// The object of whose body an announcement speaks, if it speaks of one.
    pub(crate) fn of_body_place(plan: &Plan, place: u64) -> Option<usize> {
        let at = 8 * (place & ((1 << 40) - 1));
        let number = usize::try_from(at.checked_sub(plan.catalog)?).ok()? / size_of::<Entry>();
        (place == Self::body_place(plan, number)).then_some(number)
    }

    /// The entry of this number.
    pub(crate) fn entry(&self, number: usize) -> Result<&Entry> {
        self.entries.get(number).ok_or_else(|| {
            Error::corrupt("the catalog", format!("there is no object {number} among {}", self.entries.len()))
        })
    }

    fn raw(&self) -> Result<catalog::Catalog<'_, HOLDER_WORDS, [Entry]>> {
        let header = self.header.as_ref().ok_or_else(|| {
            Error::invalid("an object among others", "the segment holds one alone; make one with `Segment::anonymous`")
        })?;
        Ok(catalog::Catalog { names: &header.names, slots: &self.entries[..] })
    }

    /// Takes an empty entry, whose object this process holds from the start.
    pub(crate) fn draft(&self, life: &impl Liveness, row: usize, arena: Option<&Arena>) -> Result<Drafted> {
        let raw = self.raw()?;
        for _ in 0..2 {
            let mut held = self.held.lock();
            if let Some((number, claim)) = raw.claim(life, row, self.hint.load(Relaxed) as usize) {
                self.hint.store(number as u32 + 1, Relaxed);
                held.insert(number, (claim.state().generation(), 1));
                return Ok(Drafted { number, claim });
            }
            drop(held);
            if self.tend(life, arena) == 0 {
                break;
            }
        }
        Err(Kind::CatalogFull { objects: self.entries.len() as u32 }.into())
    }

    /// Gives an entry back whose object was not published.
    pub(crate) fn give_up(&self, draft: Drafted, life: &impl Liveness, row: usize, arena: Option<&Arena>) {
        let Some(entry) = self.entries.get(draft.number) else { return };
        {
            let mut held = self.held.lock();
            held.remove(&draft.number);
            entry.slot.let_go(row);
        }
        entry.free_body(arena, life);
        entry.slot.vacate(draft.claim);
    }

    /// Publishes an object, under its name if it has one.
    pub(crate) fn publish(&self, draft: Drafted, name: Option<&str>, life: &impl Liveness) -> Result<State> {
        let changed = || Error::corrupt("the catalog", "an entry changed under its creator");
        let raw = self.raw()?;
        let Some(name) = name else {
            return raw.slots.slot(draft.number).publish_nameless(draft.claim).ok_or_else(changed);
        };
        let mut patience = Patience::new(Deadline::after(clock::now_ns(), NAMING));
        let is_same = |other: usize| self.entries[other].is_called(name);
        raw.publish_named(draft.number, draft.claim, life, &mut patience, is_same).map_err(|why| match why {
            Unpublished::Exists => exists(name),
            Unpublished::Locked(Refused::TimedOut) => Kind::Timeout { what: "giving a name to an object" }.into(),
            Unpublished::Locked(_) => Error::corrupt("the catalog", "the lock of its names makes no sense"),
            Unpublished::Corrupt => changed(),
        })
    }

    /// The object of this name, if there is one now.
    pub(crate) fn find(&self, name: &str) -> Option<(usize, State)> {
        self.entries.iter().enumerate().find_map(|(number, entry)| {
            let state = entry.slot.look();
            (state.phase() == Some(Phase::Named) && entry.is_called(name)).then_some((number, state))
        })
    }

    /// The names of all objects that have one.
    pub(crate) fn names(&self) -> impl Iterator<Item = String> + '_ {
        let named = |entry: &&Entry| entry.slot.look().phase() == Some(Phase::Named);
        self.entries.iter().filter(named).filter_map(Entry::name)
    }

    /// Makes this process a holder of the object, once more. False: it is gone.
    pub(crate) fn hold(&self, number: usize, state: State, row: usize) -> bool {
        let Some(entry) = self.entries.get(number) else { return false };
        let mut held = self.held.lock();
        if let Some((generation, count)) = held.get_mut(&number) {
            // Another generation: the entry has another object of ours by now.
            let same = *generation == state.generation() && entry.slot.is(state);
            *count += u32::from(same);
            return same;
        }
        if state.is_alive() && entry.slot.hold(row, state) {
            held.insert(number, (state.generation(), 1));
            return true;
        }
        entry.slot.let_go(row);
        false
    }

    /// Takes one of this process's holds off. What waits for the last one is left to [`free_if_due`](Self::free_if_due).
    pub(crate) fn let_go(&self, number: usize, row: usize) {
        let Some(entry) = self.entries.get(number) else { return };
        let mut held = self.held.lock();
        match held.get_mut(&number) {
            Some((_, count)) if *count > 1 => *count -= 1,
            Some(_) => {
                held.remove(&number);
                entry.slot.let_go(row);
            }
            None => {}
        }
    }

    /// Frees the object's memory if it waits for nobody any more.
    pub(crate) fn free_if_due(&self, number: usize, life: &impl Liveness, arena: Option<&Arena>) {
        if let Some(entry) = self.entries.get(number)
            && let Some(claim) = entry.slot.take_over(life)
        {
            entry.free_body(arena, life);
            entry.slot.vacate(claim);
        }
    }

    /// Frees whatever waits for it. How many objects.
    pub(crate) fn tend(&self, life: &impl Liveness, arena: Option<&Arena>) -> u32 {
        let Ok(raw) = self.raw() else { return 0 };
        raw.tend(life, |number| self.entries[number].free_body(arena, life))
    }

    /// Takes the holds of a dead participant off. Under the row's reap byte.
    pub(crate) fn settle(&self, row: usize) {
        self.held_by(row).for_each(|(_, entry)| entry.slot.let_go(row));
    }

    /// What the participant in `row` holds.
    pub(crate) fn held_by(&self, row: usize) -> impl Iterator<Item = (usize, &Entry)> + '_ {
        self.entries.iter().enumerate().filter(move |(_, entry)| entry.slot.is_held_by(row))
    }

    /// Frees the lock of the names if its holder died.
    pub(crate) fn recover(&self, life: &impl Liveness) -> u32 {
        self.header.as_ref().map_or(0, |header| header.names.recover(life))
    }
}

impl fmt::Debug for Catalog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Catalog({} entries)", self.entries.len())
    }
}

/// The error for a name that is taken.
pub(crate) fn exists(name: &str) -> Error {
    Kind::Exists { what: format!("the object {name:?} in the segment").into() }.into()
}
