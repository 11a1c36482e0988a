//! What a segment says of itself, for people: who takes part, what the object's state is.
//!
//! Reads only, with relaxed loads; what comes out may be over a moment later. Whatever the bytes are, it
//! says something and does not fail: it is what the watchdog of a hung test prints.

use crate::error::Result;
use crate::participant::ParticipantId;
use crate::raw::catalog::Phase;
use crate::raw::leases::Leases;
use crate::raw::list::ListHeader;
use crate::raw::lock::RawLock;
use crate::raw::permits::{Permits, PermitsHeader};
use crate::raw::ring::{Ring, RingHeader};
use crate::raw::ring_word::Geometry;
use crate::raw::version::Version;
use crate::segment::access::Region;
use crate::segment::arena::Arena;
use crate::segment::cells::{CellWords, EntryPlan, EntryWords, QueuePlan};
use crate::segment::fixed::Fixed;
use crate::segment::header::bad_shape;
use crate::segment::layout::{Entry, FORMAT, ObjectKind};
use crate::segment::locked::{ArrayPlan, RwLockPlan};
use crate::segment::pending;
use crate::segment::recover::{Ground, semaphore_cells};
use crate::segment::table_plan::TablePlan;
use crate::segment::table_reap;
use crate::segment::tag::TypeTag;
use crate::sync::{AtomicU32, AtomicU64, Ordering};
use core::fmt;

/// A participant, as its row says.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ParticipantReport {
    /// Its row in the segment's registry.
    pub row: u32,
    /// Its id, as it stands in owner words and claims.
    pub id: u32,
    /// Its pid, in its own pid namespace. For people: a pid proves nothing.
    pub pid: u32,
    /// Whether this process is the participant.
    pub is_me: bool,
    /// Whether the kernel says that it is gone; its row waits to be reaped then.
    pub is_dead: bool,
}

/// An object of the segment.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ObjectReport {
    /// Its name, if it has one.
    pub name: Option<String>,
    /// `Queue`, `Lock`, ...
    pub kind: String,
    /// The type of its items, as it was made.
    pub item: String,
    /// Rows of the participants that have a handle on it; empty for an object that is alone in its segment.
    pub held_by: Vec<u32>,
    /// Holders, sleepers, claims, fill: in words.
    pub state: String,
}

/// What [`Segment::inspect`](crate::Segment::inspect) found. Its `Display` is a report for people.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Inspection {
    /// The number that no other segment has.
    pub uuid: [u8; 16],
    /// Version of the layout.
    pub format: u32,
    /// Bytes of the segment.
    pub len: u64,
    /// Rows for participants.
    pub rows: u32,
    /// Who takes part.
    pub participants: Vec<ParticipantReport>,
    /// Participant ids that can be given out before the object has to be swept.
    pub ids_left: u32,
    /// Deaths that were settled so far, wrapping.
    pub deaths: u32,
    /// The objects: one that is alone, or those of the catalog.
    pub objects: Vec<ObjectReport>,
}

/// Inspects a segment, for the participant in row `me` if there is one.
pub(crate) fn of(ground: &Ground<'_>, fixed: &Fixed, me: Option<u32>, is_dead: impl Fn(u32) -> bool) -> Inspection {
    let header = ground.header;
    let participants = (0..).zip(fixed.ids.iter().zip(fixed.rows.iter())).filter_map(|(row, (id, who))| {
        let id = ParticipantId::new(id.load(Ordering::Relaxed))?;
        let is_me = me == Some(row);
        let is_dead = !is_me && is_dead(row);
        Some(ParticipantReport { row, id: id.get(), pid: who.pid.load(Ordering::Relaxed), is_me, is_dead })
    });
    Inspection {
        uuid: header.uuid,
        format: FORMAT,
        len: header.plan.len_with(ground.arena.map_or(0, |arena| arena.growth().committed())),
        rows: header.plan.rows,
        participants: participants.collect(),
        ids_left: fixed.registry.ids_left(),
        deaths: fixed.registry.deaths(),
        objects: objects(ground),
    }
}

/// What the segment has in it.
pub(crate) fn objects(ground: &Ground<'_>) -> Vec<ObjectReport> {
    let header = ground.header;
    if header.kind != ObjectKind::Empty {
        let body = ground.region.part(header.plan.body_start, header.plan.body_len);
        let state = body.and_then(|body| state(&body, header.kind, header.shape));
        return vec![report(None, header.kind, &header.tag, Vec::new(), state)];
    }
    ground.catalog.entries().iter().filter_map(|entry| object(entry, ground.arena)).collect()
}

/// `None`: nothing is there.
fn object(entry: &Entry, arena: Option<&Arena>) -> Option<ObjectReport> {
    let phase = entry.slot.look().phase();
    if phase == Some(Phase::Empty) {
        return None;
    }
    let held_by = entry.slot.holders().filter_map(|row| u32::try_from(row).ok()).collect();
    let name = entry.name().filter(|_| phase == Some(Phase::Named));
    let is_there = matches!(phase, Some(Phase::Named | Phase::Nameless | Phase::Removed));
    let found = match entry.described() {
        Ok(found) if is_there => found,
        _ => {
            // Somebody makes or frees it, or it is damaged.
            let words = Ok(format!("{:?}", entry.slot));
            return Some(report(None, ObjectKind::Empty, &TypeTag::NONE, held_by, words));
        }
    };
    let region = arena.map(|arena| arena.region(found.block).and_then(|region| region.part(0, found.body_len)));
    let words = match region {
        Some(Ok(body)) => state(&body, found.kind, found.shape),
        Some(Err(error)) => Err(error),
        None => Ok(String::new()),
    };
    let words = if phase == Some(Phase::Removed) { words.map(|words| format!("removed; {words}")) } else { words };
    Some(report(name, found.kind, &found.tag, held_by, words))
}

fn report(
    name: Option<String>,
    kind: ObjectKind,
    tag: &TypeTag,
    held_by: Vec<u32>,
    state: Result<String>,
) -> ObjectReport {
    let state = state.unwrap_or_else(|error| format!("damaged: {error}"));
    ObjectReport { name, kind: format!("{kind:?}"), item: tag.to_string(), held_by, state }
}

fn state(body: &Region, kind: ObjectKind, shape: [u64; 4]) -> Result<String> {
    let [first, second, ..] = shape;
    let bad = || bad_shape(kind, shape);
    Ok(match kind {
        ObjectKind::Empty => "no object".into(),
        ObjectKind::Value if first <= 8 => format!("one atomic word of {first} bytes"),
        ObjectKind::Value | ObjectKind::Mutex => format!("{:?}", body.place::<Version>(0)?),
        ObjectKind::Array => {
            let plan = ArrayPlan::from_shape(shape).ok_or_else(bad)?;
            format!("{first} elements of {second} bytes, ranges {:?}", plan.ranges(body)?)
        }
        ObjectKind::RwLock => {
            let plan = RwLockPlan::from_shape(shape).ok_or_else(bad)?;
            format!("{:?}", plan.lock(body)?)
        }
        ObjectKind::Lock => format!("{:?}", body.place::<RawLock>(0)?),
        ObjectKind::Dict => {
            let plan = TablePlan::from_shape(shape).ok_or_else(bad)?;
            format!("{}, computing: {:?}", table_reap::report(body, plan)?, pending::computing(body, shape)?)
        }
        ObjectKind::List => format!("{:?}", body.place::<ListHeader>(0)?),
        ObjectKind::Semaphore => {
            let cells = body.places::<AtomicU32>(semaphore_cells(), first)?;
            let permits = Permits { header: body.place::<PermitsHeader>(0)?, cells };
            let holders: Vec<_> = cells.iter().filter_map(|c| ParticipantId::new(c.load(Ordering::Relaxed))).collect();
            format!("{} free, {} held by {holders:?}", permits.available(), permits.held())
        }
        ObjectKind::Queue => {
            let plan = QueuePlan::from_shape(shape).ok_or_else(bad)?;
            let words = body.places::<AtomicU64>(plan.cells(), plan.cell_words())?;
            let cells = CellWords::new(words, plan.stride_words());
            let ring = Ring::new(body.place::<RingHeader>(0)?, cells, Geometry::new(plan.capacity).ok_or_else(bad)?);
            let (words, at) = (body.places::<AtomicU64>(plan.entries(), plan.entries_words())?, EntryPlan::new(&plan));
            let [leased, waiting, letters] = Leases::new(ring, EntryWords::new(words, &at), plan.rules()).counts();
            format!(
                "{ring:?}, cells of {} bytes, {leased} leased, {waiting} to deliver again, {letters} dead letters",
                plan.cell_bytes
            )
        }
    })
}

impl fmt::Display for Inspection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "segment {:032x}: format {}, {} bytes", u128::from_be_bytes(self.uuid), self.format, self.len)?;
        writeln!(
            f,
            "  {} of {} rows taken, {} ids left, {} deaths settled",
            self.participants.len(),
            self.rows,
            self.ids_left,
            self.deaths
        )?;
        for object in &self.objects {
            let name = object.name.as_ref().map_or(String::new(), |name| format!("{name:?}, "));
            writeln!(f, "  {name}{}{}: {}", object.kind, object.item, object.state)?;
        }
        for who in &self.participants {
            let note = match (who.is_me, who.is_dead) {
                (true, _) => " (this process)",
                (_, true) => " (dead)",
                _ => "",
            };
            writeln!(f, "    row {}: participant #{}, pid {}{note}", who.row, who.id, who.pid)?;
        }
        Ok(())
    }
}
