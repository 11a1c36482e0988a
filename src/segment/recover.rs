//! Sweeping a whole segment: every trace that dead participants left in its object is removed.
//!
//! Objects do not need it: whoever meets a claim of the dead recovers it there and then. The sweep is for
//! the day on which one half of the participant ids is used up: ids of the other half may be given out
//! again only when no trace of them is left.

use crate::error::{Kind, Result};
use crate::participant::{Liveness, ParticipantId};
use crate::raw::blocks::BlockRef;
use crate::raw::leases::Leases;
use crate::raw::list::ListHeader;
use crate::raw::lock::RawLock;
use crate::raw::permits::{Permits, PermitsHeader};
use crate::raw::registry;
use crate::raw::ring::{Ring, RingHeader};
use crate::raw::ring_word::Geometry;
use crate::raw::roster::Roster;
use crate::raw::version::Version;
use crate::segment::access::{Placed, Region};
use crate::segment::arena::Arena;
use crate::segment::catalog::Catalog;
use crate::segment::cells::{CellWords, EntryPlan, EntryWords, QueuePlan};
use crate::segment::header::{Header, bad_shape};
use crate::segment::layout::{self, ObjectKind};
use crate::segment::list;
use crate::segment::locked::{ArrayPlan, RwLockPlan};
use crate::segment::pending;
use crate::segment::spill;
use crate::segment::table_reap;
use crate::sync::{AtomicU32, AtomicU64, Ordering};
use crate::sys::liveness;
use std::os::fd::{AsFd, OwnedFd};

/// Whether `id`, which is not the asker's own, is proven dead.
pub(crate) fn is_dead(own: &OwnedFd, ids: &[AtomicU32], id: ParticipantId) -> bool {
    let Some(row) = registry::find(ids, id) else {
        // Ids are not given out again while a trace of them can exist. Who sweeps before it has one stands in a row of its own.
        return id != stand_in() || !is_anybody_joining(own, ids);
    };
    let Ok(byte) = u32::try_from(row).map(layout::life_byte) else { return false };
    match liveness::is_held(own.as_fd(), byte) {
        Ok(false) => true,
        // Held, but perhaps by a newcomer who has just reaped the row.
        Ok(true) => registry::find(ids, id) != Some(row),
        Err(_) => false, // cannot tell: never taken for dead
    }
}

/// The id of whoever has none yet and sweeps. Locks that it takes are its own as long as a newcomer is alive.
const fn stand_in() -> ParticipantId {
    match ParticipantId::new(ParticipantId::MASK) {
        Some(id) => id,
        None => panic!("the mask is an id"),
    }
}

/// Whether somebody holds a row without an id.
fn is_anybody_joining(own: &OwnedFd, ids: &[AtomicU32]) -> bool {
    let vacant = (0..).zip(ids).filter(|(_, id)| id.load(Ordering::Relaxed) == 0);
    vacant.into_iter().any(|(row, _)| liveness::is_held(own.as_fd(), layout::life_byte(row)).unwrap_or(true))
}

/// Who sweeps before having an id: all it does is ask about lives.
struct Newcomer<'a> {
    own: &'a OwnedFd,
    ids: &'a [AtomicU32],
    stand_in: ParticipantId,
}

impl Liveness for Newcomer<'_> {
    fn me(&self) -> ParticipantId {
        self.stand_in
    }
    fn is_dead(&self, id: ParticipantId) -> bool {
        is_dead(self.own, self.ids, id)
    }
}

/// A participant id for a newcomer. When a half of the ids is used up, the object is swept first, and the
/// other half is entered only if no living participant has an id of it.
pub(crate) fn take_id(
    own: &OwnedFd,
    registry: &registry::RegistryHeader,
    ids: &Placed<[AtomicU32]>,
    ground: &Ground<'_>,
    row: u32,
) -> Result<ParticipantId> {
    let taken = registry.take_id(|half| {
        let newcomer = Newcomer { own, ids, stand_in: stand_in() };
        if ground.sweep(&newcomer, row).is_err() {
            return false;
        }
        // A row that is held without an id belongs to a newcomer who may have taken an id of this half already.
        !(0..).zip(ids.iter()).any(|(row, cell)| match ParticipantId::new(cell.load(Ordering::Relaxed)) {
            Some(id) => half.has(id) && !newcomer.is_dead(id),
            None => liveness::is_held(own.as_fd(), layout::life_byte(row)).unwrap_or(true),
        })
    });
    taken.map_err(|_| Kind::IdsExhausted.into())
}

/// Where a block is about to stand, as a hand says it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Place {
    /// The object's number, or [`Place::WORDS`].
    pub object: u32,
    /// Where in the object: 40 bits that it understands.
    pub key: u64,
}

impl Place {
    /// Stands for no object: the key counts words from the segment's start, and the reference stands there.
    pub(crate) const WORDS: u32 = (1 << 24) - 1;
    const KEY_BITS: u32 = 40;

    pub(crate) const fn bits(self) -> u64 {
        (self.object as u64) << Self::KEY_BITS | self.key & ((1 << Self::KEY_BITS) - 1)
    }

    pub(crate) const fn from_bits(bits: u64) -> Self {
        Self { object: (bits >> Self::KEY_BITS) as u32, key: bits & ((1 << Self::KEY_BITS) - 1) }
    }
}

/// Where traces of the dead can stand in a segment.
pub(crate) struct Ground<'a> {
    pub header: &'a Header,
    pub region: &'a Region,
    pub arena: Option<&'a Arena>,
    pub catalog: &'a Catalog,
}

impl Ground<'_> {
    /// Removes every trace of the dead, for the participant in `row`. The number of traces.
    pub(crate) fn sweep(&self, life: &impl Liveness, row: u32) -> Result<u32> {
        let alone = self.region.part(self.header.plan.body_start, self.header.plan.body_len)?;
        let mut traces = self.sweep_body(&alone, self.header.kind, self.header.shape, life, true)?;
        for number in 0..self.catalog.entries().len() {
            traces = traces.saturating_add(self.sweep_object(number, life, row, true)?);
        }
        traces = traces.saturating_add(self.catalog.recover(life));
        Ok(traces.saturating_add(self.arena.map_or(0, |arena| arena.sweep(life))))
    }

    /// Removes every trace of the dead from the object of this number. It is held meanwhile: its memory must not become
    /// another's. One that was removed is left as it is, since nobody looks at it any more. `all`: also what its next user
    /// would find, and what it takes long to look for.
    pub(crate) fn sweep_object(&self, number: usize, life: &impl Liveness, row: u32, all: bool) -> Result<u32> {
        let entry = self.catalog.entry(number)?;
        let state = entry.slot.look();
        if !state.is_alive() || !self.catalog.hold(number, state, row as usize) {
            return Ok(0);
        }
        let swept = entry.described().and_then(|found| {
            let body = self.arena.map(|arena| arena.region(found.block)).transpose()?;
            body.map_or(Ok(0), |body| {
                self.sweep_body(&body.part(0, found.body_len)?, found.kind, found.shape, life, all)
            })
        });
        self.catalog.let_go(number, row as usize);
        swept
    }

    fn sweep_body(
        &self,
        body: &Region,
        kind: ObjectKind,
        shape: [u64; 4],
        life: &impl Liveness,
        all: bool,
    ) -> Result<u32> {
        match (kind, self.arena) {
            (ObjectKind::Dict, Some(arena)) => {
                let traces = table_reap::sweep(body, shape, arena, life, all)?;
                Ok(traces.saturating_add(pending::sweep(body, shape, life)?))
            }
            (ObjectKind::Dict, None) => Err(bad_shape(kind, shape)),
            _ => sweep(body, kind, shape, life),
        }
    }

    /// After a death: the single object, what is known to have been held by the dead, and whatever waits to be freed. What
    /// makes no sense is left to whoever uses it.
    pub(crate) fn reap(&self, held: &[usize], life: &impl Liveness, row: u32) {
        if let Ok(alone) = self.region.part(self.header.plan.body_start, self.header.plan.body_len) {
            let _ = self.sweep_body(&alone, self.header.kind, self.header.shape, life, false);
        }
        for &number in held {
            let _ = self.sweep_object(number, life, row, false);
        }
        self.catalog.recover(life);
        if let Some(arena) = self.arena {
            arena.sweep(life);
        }
        self.catalog.tend(life, self.arena);
    }

    /// Settles what the dead participant in `row` had in hand and what it held. Under the row's reap byte.
    pub(crate) fn settle(&self, row: u32, dead: ParticipantId) {
        if let Some(arena) = self.arena {
            arena.reap_hands(row, dead, |place, block| self.refers(place, block));
        }
        self.catalog.settle(row as usize);
    }

    /// Whether the place of a structure refers to this block. In doubt yes: a block that is lost for good does
    /// less harm than one that two have.
    fn refers(&self, place: u64, block: BlockRef) -> bool {
        match Catalog::of_body_place(&self.header.plan, place).map(|number| self.catalog.entry(number)) {
            Some(Ok(entry)) => return entry.block() == block,
            Some(Err(_)) => return false,
            None => {}
        }
        match Place::from_bits(place) {
            Place { object: Place::WORDS, key } => self.words_refer(key, block).unwrap_or(true),
            Place { object, key } => self.object_refers(object as usize, key, block).unwrap_or(true),
        }
    }

    /// Whether the two words at `key` words from the segment's start are this reference.
    fn words_refer(&self, key: u64, block: BlockRef) -> Option<bool> {
        let words = self.arena?.within(8 * key, 2)?;
        // Acquire: whoever took the block out of there changed its word before.
        let [unit, generation] = [0, 1].map(|i| words[i].load(crate::order!(place_look, Acquire)));
        Some(unit == block.unit && generation == block.generation)
    }

    /// Whether the place of an object refers to it; `None`: cannot tell.
    fn object_refers(&self, number: usize, key: u64, block: BlockRef) -> Option<bool> {
        let (arena, alone) = (self.arena?, self.header.kind);
        let (body, kind, shape) = if alone != ObjectKind::Empty {
            let body = self.region.part(self.header.plan.body_start, self.header.plan.body_len).ok()?;
            (body, alone, self.header.shape)
        } else {
            let found = self.catalog.entry(number).ok()?.described().ok()?;
            (arena.region(found.block).ok()?.part(0, found.body_len).ok()?, found.kind, found.shape)
        };
        match kind {
            ObjectKind::Queue => spill::refers(&body, shape, key, block),
            ObjectKind::List => list::refers(&body, shape, arena, key, block),
            ObjectKind::Dict => table_reap::refers(&body, shape, arena, key, block),
            _ => None,
        }
    }
}

/// Removes every trace of the dead from an object. The number of traces.
fn sweep(body: &Region, kind: ObjectKind, shape: [u64; 4], life: &impl Liveness) -> Result<u32> {
    let [first, ..] = shape;
    match kind {
        // Tables need the arena: see `sweep_body`.
        ObjectKind::Empty | ObjectKind::Dict => Ok(0),
        ObjectKind::Lock => Ok(body.place::<RawLock>(0)?.recover(life)),
        ObjectKind::Mutex => Ok(body.place::<Version>(0)?.recover(life)),
        ObjectKind::Value if first <= 8 => Ok(0),
        ObjectKind::Value => Ok(body.place::<Version>(0)?.recover(life)),
        ObjectKind::Array => sweep_array(body, shape, life),
        ObjectKind::RwLock => {
            let plan = RwLockPlan::from_shape(shape).ok_or_else(|| bad_shape(kind, shape))?;
            Ok(plan.lock(body)?.recover(life))
        }
        ObjectKind::Semaphore => {
            let cells = body.places::<AtomicU32>(semaphore_cells(), first)?;
            Ok(Permits { header: body.place::<PermitsHeader>(0)?, cells }.recover(life))
        }
        ObjectKind::Queue => sweep_queue(body, shape, life),
        ObjectKind::List => Ok(body.place::<ListHeader>(0)?.recover(life)),
    }
}

/// Offset of a semaphore's cells.
pub(crate) fn semaphore_cells() -> u64 {
    (size_of::<PermitsHeader>() as u64).next_multiple_of(layout::BODY_ALIGN)
}

fn sweep_array(body: &Region, shape: [u64; 4], life: &impl Liveness) -> Result<u32> {
    let plan = ArrayPlan::from_shape(shape).ok_or_else(|| bad_shape(ObjectKind::Array, shape))?;
    let mut traces = plan.ranges(body)?.recover(life);
    // Bounded: the first element beyond the body ends it.
    for element in 0..if plan.is_single() { 0 } else { plan.len } {
        let version = body.place::<Version>(element.saturating_mul(plan.stride()))?;
        traces = traces.saturating_add(version.recover(life));
    }
    Ok(traces)
}

fn sweep_queue(body: &Region, shape: [u64; 4], life: &impl Liveness) -> Result<u32> {
    let bad = || bad_shape(ObjectKind::Queue, shape);
    let plan = QueuePlan::from_shape(shape).ok_or_else(bad)?;
    let geometry = Geometry::new(plan.capacity).ok_or_else(bad)?;
    let words = body.places::<AtomicU64>(plan.cells(), plan.cell_words())?;
    let ring = Ring::new(body.place::<RingHeader>(0)?, CellWords::new(words, plan.stride_words()), geometry);
    let (words, at) = (body.places::<AtomicU64>(plan.entries(), plan.entries_words())?, EntryPlan::new(&plan));
    let mut traces = Leases::new(ring, EntryWords::new(words, &at), plan.rules()).recover(life);
    for which in 0..2 {
        let cells = body.places::<AtomicU64>(plan.roster_cells(which), u64::from(plan.rows))?;
        traces = traces.saturating_add(body.place::<Roster>(plan.roster(which))?.recover(cells, life));
    }
    Ok(traces)
}
