//! The bytes of a queue: a ring of cells, and who is registered at its two ends.
//!
//! Where what stands is in `segment/cells.rs`.
//! Cells stand side by side without padding to cache lines: neighbours share a line, but a cell of 64 bytes
//! costs 72 and not 128, and less memory to move is what measured faster.

use crate::deadline::Deadline;
use crate::error::{Error, Kind, Result};
use crate::handle::codec::Coded;
use crate::handle::seat::thread_number;
use crate::participant::Liveness;
use crate::raw::leases::{Got, Held, Leases, Room, Rules, Seat};
use crate::raw::ring::{Refusal, Ring, RingHeader};
use crate::raw::ring_word::{Geometry, Ticket};
use crate::raw::roster::Roster;
use crate::raw::signal::Signal;
use crate::segment::access::Placed;
use crate::segment::body::Body;
use crate::segment::cells::{CellWords, EntryPlan, EntryWords, QueuePlan};
use crate::segment::handoff;
use crate::segment::header::bad_shape;
use crate::segment::layout::ObjectKind;
use crate::segment::plain::{self, words_for};
use crate::sync::{AtomicU64, Ordering, Patience};

/// The most bytes of a cell.
pub(crate) const CELL_MAX: usize = 1 << 30;
/// The most items of a queue.
pub(crate) const CAPACITY_MAX: usize = 1 << 31;
const WHAT: &str = "the queue";

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
    plan: QueuePlan,
    entry_plan: EntryPlan,
    rules: Rules,
    stride: usize,
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
            None => handoff::at_home(self.body.segment(), || item.with_bytes(self.cell_bytes(), f)),
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

    /// The most bytes of an item.
    #[inline]
    pub(crate) fn cell_bytes(&self) -> usize {
        self.plan.cell_bytes as usize
    }

    #[inline(always)]
    fn cells(&self) -> CellWords<'_> {
        CellWords::new(&self.words, self.stride)
    }

    #[inline(always)]
    pub(crate) fn ring(&self) -> Ring<'_, CellWords<'_>> {
        Ring::new(&self.header, self.cells(), self.geometry)
    }

    #[inline(always)]
    fn entry_words(&self) -> EntryWords<'_> {
        EntryWords::new(&self.entries, &self.entry_plan)
    }

    #[inline(always)]
    pub(crate) fn leases(&self) -> Leases<'_, CellWords<'_>, EntryWords<'_>> {
        Leases::new(self.ring(), self.entry_words(), self.rules)
    }

    /// Puts an item's bytes in; `None`: without waiting. The caller made sure that they fit a cell.
    #[inline(always)]
    pub(crate) fn push<T: Coded>(&self, bytes: &[u8], wait: Option<Deadline>) -> Result<()> {
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

    /// Takes an item's bytes out; `None`: without waiting.
    #[inline(always)]
    pub(crate) fn pop<T: Coded>(&self, wait: Option<Deadline>) -> Result<T::Raw> {
        let life = self.body.life()?;
        match self.ring().pop_ready(life) {
            Some(ticket) => self.take_out::<T>(life, ticket),
            None => self.pop_other::<T>(wait),
        }
    }

    #[cold]
    #[inline(never)]
    fn pop_other<T: Coded>(&self, wait: Option<Deadline>) -> Result<T::Raw> {
        let life = self.body.life()?;
        match self.pop_slow(wait)? {
            Got::Cell(ticket) => self.take_out::<T>(life, ticket),
            Got::Entry(held) => {
                let raw = self.read_entry::<T>(held);
                self.leases().ack(life, held);
                raw
            }
        }
    }

    /// The rest of a pop that was not done at once; as `push_slow`.
    #[cold]
    #[inline(never)]
    fn pop_slow(&self, wait: Option<Deadline>) -> Result<Got> {
        let (life, leases) = (self.body.life()?, self.leases());
        let (ring, gone) = (leases.ring(), || self.senders.all_gone(life));
        let popped = match wait {
            Some(deadline) => ring.pop_unless(life, &mut Patience::new(deadline), &leases, gone),
            None => ring.pop_now_unless(life, &leases, gone),
        };
        popped.map_err(|why| life.why(refused(why, "sender")))
    }

    /// Takes an item's bytes out if one is ready at the head; asks nobody about anything.
    #[inline]
    pub(crate) fn pop_ready<T: Coded>(&self) -> Option<Result<T::Raw>> {
        let life = self.body.life().ok()?;
        let ticket = self.ring().pop_ready(life)?;
        Some(self.take_out::<T>(life, ticket))
    }

    #[inline(always)]
    fn take_out<T: Coded>(&self, life: &impl Liveness, ticket: Ticket) -> Result<T::Raw> {
        // The cell is freed whatever it says, so that nobody waits behind it.
        let raw = self.read::<T>(self.cells().payload(ticket.index));
        self.ring().free(life, ticket);
        self.tend_at(life, ticket);
        raw
    }

    /// Moves an item from the ring into a lease, or finds one that came back.
    #[inline(always)]
    pub(crate) fn lease<T: Coded>(&self, wait: Option<Deadline>) -> Result<(T::Raw, Held)> {
        let (life, leases) = (self.body.life()?, self.leases());
        let seat = Seat { row: life.row() as u32, thread: thread_number() };
        match leases.kept_room(life, seat).and_then(|room| Some((room, leases.ring().pop_ready(life)?))) {
            Some((room, ticket)) => self.move_in::<T>(life, ticket, room),
            None => self.lease_other::<T>(seat, wait),
        }
    }

    #[cold]
    #[inline(never)]
    fn lease_other<T: Coded>(&self, seat: Seat, wait: Option<Deadline>) -> Result<(T::Raw, Held)> {
        let (life, leases) = (self.body.life()?, self.leases());
        match self.pop_slow(wait)? {
            Got::Entry(held) => self.or_end::<T>(life, held, self.read_entry::<T>(held)),
            Got::Cell(ticket) => {
                if let Some(room) = leases.room(life, seat) {
                    return self.move_in::<T>(life, ticket, room);
                }
                // Out of its order from here on, and delivered as soon as there is a place.
                leases.ring().give_back(life, ticket);
                let [_, _, letters] = leases.counts();
                Err(Kind::LeasesFull { leases: self.rules.entries(), letters }.into())
            }
        }
    }

    #[inline(always)]
    fn move_in<T: Coded>(&self, life: &impl Liveness, ticket: Ticket, room: Room) -> Result<(T::Raw, Held)> {
        let from = self.cells().payload(ticket.index).unwrap_or_default();
        let to = self.entry_words().payload(room.index).unwrap_or_default();
        let words = match (T::FIXED, from.first()) {
            (Some(len), _) => words_for(len),
            (None, Some(len)) => usize::try_from(len.load(Ordering::Relaxed)).map_or(from.len(), words_for) + 1,
            (None, None) => 0,
        };
        for (from, to) in from.iter().zip(to).take(words) {
            to.store(from.load(Ordering::Relaxed), Ordering::Relaxed);
        }
        let raw = self.read::<T>(Some(to));
        let held = self.leases().move_in(life, ticket, room);
        self.tend_at(life, ticket);
        self.or_end::<T>(life, held, raw)
    }

    /// Bytes that are no item are nobody's work: the lease ends.
    #[inline(always)]
    fn or_end<T: Coded>(&self, life: &impl Liveness, held: Held, raw: Result<T::Raw>) -> Result<(T::Raw, Held)> {
        match raw {
            Ok(raw) => Ok((raw, held)),
            Err(error) => {
                self.leases().ack(life, held);
                Err(error)
            }
        }
    }

    /// The bytes of an item that is leased.
    pub(crate) fn read_entry<T: Coded>(&self, held: Held) -> Result<T::Raw> {
        self.read::<T>(self.entry_words().payload(held.index))
    }

    #[inline(always)]
    fn read<T: Coded>(&self, payload: Option<&[AtomicU64]>) -> Result<T::Raw> {
        let mut payload = payload.unwrap_or_default();
        let mut len = T::FIXED.unwrap_or(0);
        if T::FIXED.is_none()
            && let Some((word, rest)) = payload.split_first()
        {
            len = usize::try_from(word.load(Ordering::Relaxed)).unwrap_or(usize::MAX);
            payload = rest;
        }
        let words = payload.get(..words_for(len)).filter(|_| len <= self.cell_bytes());
        words.map(|words| T::copy_out(words, len)).ok_or_else(|| too_long(len, self.cell_bytes()))
    }

    /// Looks after leases once in a while: a ring that is never empty has nobody who finds nothing and asks.
    #[inline(always)]
    fn tend_at(&self, life: &impl Liveness, ticket: Ticket) {
        if ticket.index == 0 {
            self.tend(life, ticket.lap());
        }
    }

    #[cold]
    #[inline(never)]
    fn tend(&self, life: &impl Liveness, lap: u64) {
        /// Items between two looks, about.
        const ITEMS: u64 = 256;
        let laps = ITEMS.div_ceil(u64::from(self.plan.capacity));
        if lap.is_multiple_of(laps) {
            self.leases().tend(life, (lap / laps) as u32);
        }
    }

    pub(crate) fn items(&self) -> &Signal {
        &self.header.items.0
    }

    pub(crate) fn space(&self) -> &Signal {
        &self.header.space.0
    }
}

impl Side {
    fn all_gone(&self, life: &impl Liveness) -> bool {
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
fn too_long(len: usize, cell: usize) -> Error {
    Error::corrupt(WHAT, format!("an item says it has {len} bytes, a cell has {cell}"))
}

#[cold]
fn refused(why: Refusal, peers: &'static str) -> Error {
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
