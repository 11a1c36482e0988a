//! The bytes of a queue: a ring of cells, and who is registered at its two ends.
//!
//! Where what stands is in `segment/cells.rs`.
//! Cells stand side by side without padding to cache lines: neighbours share a line, but a cell of 64 bytes
//! costs 72 and not 128, and less memory to move is what measured faster.

use crate::deadline::Deadline;
use crate::error::{Error, Kind, Result};
use crate::handle::codec::Coded;
use crate::participant::Liveness;
use crate::raw::leases::{Leases, Rules};
use crate::raw::ring::{Refusal, Ring, RingHeader};
use crate::raw::ring_word::{Geometry, Ticket};
use crate::raw::roster::Roster;
use crate::raw::signal::Signal;
use crate::segment::access::Placed;
use crate::segment::allocate::InHand;
use crate::segment::body::Body;
use crate::segment::cells::{CellWords, EntryPlan, EntryWords, QueuePlan};
use crate::segment::handoff;
use crate::segment::header::bad_shape;
use crate::segment::layout::ObjectKind;
use crate::segment::plain::{self, words_for};
use crate::segment::recover::Place;
use crate::segment::spill::{self, Spilled};
use crate::sync::{AtomicU64, Ordering, Patience};

/// The most bytes of a cell.
pub(crate) const CELL_MAX: usize = 1 << 30;
/// The most items of a queue.
pub(crate) const CAPACITY_MAX: usize = 1 << 31;
pub(crate) const WHAT: &str = "the queue";

/// Who is registered on one side.
#[derive(Clone)]
pub(crate) struct Side {
    roster: Placed<Roster>,
    rows: Placed<[AtomicU64]>,
}

/// A queue before it knows the type of its items.
#[derive(Clone)]
pub(crate) struct Channel {
    header: Placed<RingHeader>,
    words: Placed<[AtomicU64]>,
    pub(crate) senders: Side,
    pub(crate) receivers: Side,
    entries: Placed<[AtomicU64]>,
    geometry: Geometry,
    pub(crate) plan: QueuePlan,
    entry_plan: EntryPlan,
    pub(crate) rules: Rules,
    stride: usize,
    item_bytes: usize,
    /// Which object of its segment it is; 0 if it is alone.
    number: u32,
    body: Body,
}

impl Channel {
    /// The queue in this body, held against the body's length.
    pub(crate) fn attach(body: Body, fixed: Option<usize>) -> Result<Self> {
        let bad = || bad_shape(ObjectKind::Queue, body.shape());
        let plan = QueuePlan::from_shape(body.shape()).ok_or_else(bad)?;
        let geometry = Geometry::new(plan.capacity).ok_or_else(bad)?;
        let item_fits = fixed.is_none_or(|size| size <= plan.cell_bytes as usize);
        if !item_fits || plan.is_coded == fixed.is_some() || plan.rows as usize != body.attachment().fixed().rows.len()
        {
            return Err(bad());
        }
        let cell_bytes = plan.cell_bytes as usize;
        let arena = body.attachment().arena().filter(|_| plan.is_coded);
        let spills = arena.map_or(0, |arena| arena.usage_max());
        let side = |which| -> Result<Side> {
            let rows = body.placed_slice(plan.roster_cells(which), plan.rows.into())?;
            Ok(Side { roster: body.placed(plan.roster(which))?, rows })
        };
        Ok(Self {
            header: body.placed(0)?,
            words: body.placed_slice(plan.cells(), plan.cell_words())?,
            senders: side(0)?,
            receivers: side(1)?,
            entries: body.placed_slice(plan.entries(), plan.entries_words())?,
            geometry,
            entry_plan: EntryPlan::new(&plan),
            rules: plan.rules(),
            stride: plan.stride_words(),
            item_bytes: cell_bytes.max(usize::try_from(spills).unwrap_or(usize::MAX)),
            number: body.among_others().map_or(0, |(number, _)| number),
            plan,
            body,
        })
    }

    pub(crate) fn body(&self) -> &Body {
        &self.body
    }

    /// Runs `f` with the item's bytes. A handle in the item may live in our own segment.
    #[inline(always)]
    pub(crate) fn encode<T: Coded, R>(&self, item: &T, f: impl FnOnce(&[u8]) -> R) -> Result<R> {
        match T::FIXED {
            Some(_) => item.with_bytes(self.cell_bytes(), f),
            None => handoff::at_home(self.body.segment(), || item.with_bytes(self.item_bytes(), f)),
        }
    }

    /// Makes the item of what was copied out.
    #[inline(always)]
    pub(crate) fn decode<T: Coded>(&self, raw: T::Raw) -> Result<T> {
        match T::FIXED {
            Some(_) => T::decode(raw),
            None => handoff::at_home(self.body.segment(), || T::decode(raw)),
        }
    }

    /// The most bytes of an item, in a cell or in the arena.
    #[inline]
    pub(crate) fn item_bytes(&self) -> usize {
        self.item_bytes
    }

    /// The most bytes of an item in a cell.
    #[inline]
    pub(crate) fn cell_bytes(&self) -> usize {
        self.plan.cell_bytes as usize
    }

    #[inline(always)]
    pub(crate) fn cells(&self) -> CellWords<'_> {
        CellWords::new(&self.words, self.stride)
    }

    #[inline(always)]
    pub(crate) fn ring(&self) -> Ring<'_, CellWords<'_>> {
        Ring::new(&self.header, self.cells(), self.geometry)
    }

    #[inline(always)]
    pub(crate) fn entry_words(&self) -> EntryWords<'_> {
        EntryWords::new(&self.entries, &self.entry_plan)
    }

    #[inline(always)]
    pub(crate) fn leases(&self) -> Leases<'_, CellWords<'_>, EntryWords<'_>> {
        Leases::new(self.ring(), self.entry_words(), self.rules)
    }

    /// Puts an item's bytes in; `None`: without waiting. The caller made sure that they fit a cell if all items have one size.
    #[inline(always)]
    pub(crate) fn push<T: Coded>(&self, bytes: &[u8], wait: Option<Deadline>) -> Result<()> {
        if T::FIXED.is_none() && bytes.len() > self.cell_bytes() {
            return self.push_spilled(bytes, wait);
        }
        let (life, ring) = (self.body.life()?, self.ring());
        let ticket = match ring.push_straight(life) {
            Some(ticket) => ticket,
            None => self.push_slow(wait)?,
        };
        let mut payload = self.cells().payload(ticket.index).unwrap_or_default();
        if T::FIXED.is_none()
            && let Some((len, rest)) = payload.split_first()
        {
            // Relaxed, as the payload: the publication orders both.
            len.store(bytes.len() as u64, Ordering::Relaxed);
            payload = rest;
        }
        // Cut to length first, so that the copy is a straight one.
        if let Some(words) = payload.get(..words_for(bytes.len())) {
            plain::copy_in(words, bytes);
        }
        ring.publish(life, ticket);
        Ok(())
    }

    /// The rest of a push that was not done at once. Patience is made here, because what it stores would
    /// hold up the quick way.
    #[cold]
    #[inline(never)]
    fn push_slow(&self, wait: Option<Deadline>) -> Result<Ticket> {
        let life = self.body.life()?;
        let gone = || self.receivers.all_gone(life);
        let pushed = match wait {
            Some(deadline) => self.ring().push_unless(life, &mut Patience::new(deadline), gone),
            None => match self.ring().try_push(life) {
                Err(Refusal::Full) if gone() => Err(Refusal::Disconnected),
                other => other,
            },
        };
        pushed.map_err(|why| life.why(refused(why, "receiver")))
    }

    /// Puts an item that is larger than a cell into the arena, and a reference to it into the ring.
    #[cold]
    #[inline(never)]
    fn push_spilled(&self, bytes: &[u8], wait: Option<Deadline>) -> Result<()> {
        let block = self.reserve(bytes.len())?;
        plain::copy_in(block.words(), bytes);
        self.commit(block, bytes.len(), wait)
    }

    /// A block for an item of `len` bytes.
    pub(crate) fn reserve(&self, len: usize) -> Result<InHand<'_, Body>> {
        let (life, most) = (self.body.life()?, self.item_bytes());
        match self.body.attachment().arena().filter(|_| len <= most) {
            Some(arena) => arena.allocate(life, len as u64),
            None => Err(Kind::TooLarge { len: len as u64, cell: most as u64 }.into()),
        }
    }

    /// Sends what a block holds: the first `len` bytes of it.
    pub(crate) fn commit(&self, block: InHand<'_, Body>, len: usize, wait: Option<Deadline>) -> Result<()> {
        let (life, ring) = (self.body.life()?, self.ring());
        let ticket = match ring.push_straight(life) {
            Some(ticket) => ticket,
            None => self.push_slow(wait)?,
        };
        block.set_place(Place { object: self.number, key: ring.packed(ticket) }.bits());
        let item = Spilled { len: len as u64, block: block.reference() };
        spill::refer(self.cells().payload(ticket.index).unwrap_or_default(), item);
        ring.publish(life, ticket);
        block.published();
        Ok(())
    }

    pub(crate) fn items(&self) -> &Signal {
        &self.header.items.0
    }

    pub(crate) fn space(&self) -> &Signal {
        &self.header.space.0
    }
}

impl Side {
    pub(crate) fn all_gone(&self, life: &impl Liveness) -> bool {
        self.roster.all_gone(&self.rows, life)
    }

    /// Registers one more handle of this process.
    pub(crate) fn join(&self, body: &Body) -> Result<()> {
        let life = body.life()?;
        if self.roster.join(&self.rows, life, life.row()) {
            return Ok(());
        }
        Err(Error::corrupt(WHAT, "the list of who is registered changes all the time"))
    }

    /// Takes one handle of this process off; the last one to go wakes those who wait for what comes no more. In
    /// a forked child the handle is the parent's, and stays.
    pub(crate) fn leave(&self, body: &Body, waiting: &Signal) {
        let Ok(life) = body.life() else { return };
        self.roster.leave(&self.rows, life, life.row());
        if self.all_gone(life) {
            waiting.notify_all();
        }
    }
}

#[cold]
pub(crate) fn refused(why: Refusal, peers: &'static str) -> Error {
    match why {
        Refusal::Full => Kind::WouldBlock { what: "sending to the full queue" }.into(),
        Refusal::Empty | Refusal::Held => Kind::WouldBlock { what: "receiving from the empty queue" }.into(),
        Refusal::Closed => Kind::Closed { what: WHAT }.into(),
        Refusal::Disconnected => Kind::Disconnected { what: "queue", peers }.into(),
        Refusal::TimedOut => Kind::Timeout { what: WHAT }.into(),
        Refusal::Contended => Kind::Contended { what: WHAT, rounds: crate::raw::ring::MOVED }.into(),
        Refusal::Corrupt(damage) => Error::corrupt(WHAT, damage.describe()),
    }
}
