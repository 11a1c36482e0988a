//! The bytes of a queue: a ring of cells, and who is registered at its two ends.
//!
//! ```text
//!    0  RingHeader   512 bytes
//!  512  senders      Roster, then one word per participant row
//!    .  receivers    Roster, then one word per participant row
//!    .  cells        at the next multiple of 128: state u64 · length u64 (encoded items only) · payload, whole words
//! ```
//!
//! Cells stand side by side without padding to cache lines: neighbours share a line, but a cell of 64 bytes
//! costs 72 and not 128, and less memory to move is what measured faster.

use crate::deadline::Deadline;
use crate::error::{Error, Kind, Result};
use crate::handle::codec::Coded;
use crate::raw::ring::{Refusal, Ring, Slots};
use crate::raw::ring_word::{Geometry, Ticket};
use crate::raw::ring::RingHeader;
use crate::raw::roster::Roster;
use crate::raw::signal::Signal;
use crate::segment::access::Placed;
use crate::segment::layout::{BODY_ALIGN, ObjectKind};
use crate::segment::open::{Body, bad_shape};
use crate::segment::plain::{self, words_for};
use crate::sync::{AtomicU64, Ordering, Patience};

/// The most bytes of a cell.
pub(crate) const CELL_MAX: u64 = 1 << 30;
const WHAT: &str = "the queue";

/// How a queue lies in its body.
#[derive(Clone, Copy)]
pub(crate) struct Plan {
    pub capacity: u32,
    pub cell_bytes: u64,
    pub rows: u32,
    /// Whether each cell says how long its item is.
    pub coded: bool,
}

impl Plan {
    /// The plan that a header's shape says, if it is one.
    fn from_shape(shape: [u64; 4]) -> Option<Self> {
        let [capacity, cell_bytes, rows, coded] = shape;
        let plan = Self { capacity: capacity.try_into().ok()?, cell_bytes, rows: rows.try_into().ok()?, coded: coded == 1 };
        (cell_bytes <= CELL_MAX && coded <= 1).then_some(plan)
    }

    pub(crate) fn shape(&self) -> [u64; 4] {
        [self.capacity.into(), self.cell_bytes, self.rows.into(), self.coded.into()]
    }

    /// Words from one cell to the next.
    const fn stride(&self) -> u64 {
        1 + self.coded as u64 + words_for(self.cell_bytes as usize) as u64
    }

    const fn senders(&self) -> u64 {
        size_of::<RingHeader>() as u64
    }

    const fn receivers(&self) -> u64 {
        self.senders() + size_of::<Roster>() as u64 + 8 * self.rows as u64
    }

    const fn cells(&self) -> u64 {
        (self.receivers() + size_of::<Roster>() as u64 + 8 * self.rows as u64).next_multiple_of(BODY_ALIGN)
    }

    /// Bytes of the whole. Fits: below 2^32 cells of about 2^30 bytes.
    pub(crate) const fn bytes(&self) -> u64 {
        self.cells() + 8 * self.stride() * self.capacity as u64
    }
}

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
    geometry: Geometry,
    plan: Plan,
    body: Body,
}

/// The cells, as the ring asks for them.
#[derive(Clone, Copy)]
pub(crate) struct Cells<'a> {
    words: &'a [AtomicU64],
    stride: usize,
}

impl Slots for Cells<'_> {
    #[inline]
    fn state(&self, index: u32) -> Option<&AtomicU64> {
        self.words.get(index as usize * self.stride)
    }
}

impl<'a> Cells<'a> {
    /// What follows the state word of cell `index`. Empty outside of the ring, which no ticket is.
    #[inline]
    fn payload(&self, index: u32) -> &'a [AtomicU64] {
        let start = index as usize * self.stride;
        self.words.get(start + 1..start + self.stride).unwrap_or_default()
    }
}

impl Channel {
    /// The queue in this body, held against the body's length.
    pub(crate) fn attach(body: Body, fixed: Option<usize>) -> Result<Self> {
        let bad = || bad_shape(ObjectKind::Queue, body.shape());
        let plan = Plan::from_shape(body.shape()).ok_or_else(bad)?;
        let geometry = Geometry::new(plan.capacity).ok_or_else(bad)?;
        let item_fits = fixed.is_none_or(|size| size as u64 <= plan.cell_bytes);
        if !item_fits || plan.coded == fixed.is_some() || plan.rows as usize != body.attachment().fixed().rows.len() {
            return Err(bad());
        }
        let side = |start: u64| -> Result<Side> {
            let rows = body.placed_slice(start + size_of::<Roster>() as u64, plan.rows.into())?;
            Ok(Side { roster: body.placed(start)?, rows })
        };
        Ok(Self {
            header: body.placed(0)?,
            words: body.placed_slice(plan.cells(), plan.stride() * u64::from(plan.capacity))?,
            senders: side(plan.senders())?,
            receivers: side(plan.receivers())?,
            geometry,
            plan,
            body,
        })
    }

    pub(crate) fn body(&self) -> &Body {
        &self.body
    }

    /// The most bytes of an item.
    #[inline]
    pub(crate) fn cell_bytes(&self) -> usize {
        self.plan.cell_bytes as usize
    }

    #[inline]
    fn cells(&self) -> Cells<'_> {
        Cells { words: &self.words, stride: self.plan.stride() as usize }
    }

    #[inline]
    pub(crate) fn ring(&self) -> Ring<'_, Cells<'_>> {
        Ring::new(&self.header, self.cells(), self.geometry)
    }

    /// Puts an item's bytes in; `None`: without waiting. The caller made sure that they fit a cell.
    #[inline]
    pub(crate) fn push(&self, bytes: &[u8], wait: Option<Deadline>) -> Result<()> {
        let (life, ring) = (self.body.life()?, self.ring());
        let gone = || self.receivers.all_gone(life);
        let ticket = match wait {
            None => ring.try_push(life).map_err(|why| if why == Refusal::Full && gone() { Refusal::Disconnected } else { why }),
            Some(deadline) => ring.push_unless(life, &mut Patience::new(deadline), gone),
        };
        let ticket = ticket.map_err(|why| refused(why, "receiver"))?;
        let mut payload = self.cells().payload(ticket.index);
        if self.plan.coded
            && let Some((len, rest)) = payload.split_first()
        {
            // Relaxed, as the payload: the publication orders both.
            len.store(bytes.len() as u64, Ordering::Relaxed);
            payload = rest;
        }
        plain::copy_in(payload, bytes);
        ring.publish(life, ticket);
        Ok(())
    }

    /// Takes an item's bytes out; `None`: without waiting.
    #[inline]
    pub(crate) fn pop<T: Coded>(&self, wait: Option<Deadline>) -> Result<T::Raw> {
        let (life, ring) = (self.body.life()?, self.ring());
        let gone = || self.senders.all_gone(life);
        let ticket = match wait {
            None => match ring.pop_now(life) {
                // What the gone sent is visible once they are gone.
                Err(Refusal::Empty) if gone() => ring.pop_now(life).map_err(|why| if why == Refusal::Empty { Refusal::Disconnected } else { why }),
                other => other,
            },
            Some(deadline) => ring.pop_unless(life, &mut Patience::new(deadline), gone),
        };
        self.take_out::<T>(ticket.map_err(|why| refused(why, "sender"))?)
    }

    /// Takes an item's bytes out if one is ready at the head; asks nobody about anything.
    #[inline]
    pub(crate) fn pop_ready<T: Coded>(&self) -> Option<Result<T::Raw>> {
        let life = self.body.life().ok()?;
        let ticket = self.ring().try_pop(life, false).ok()?;
        Some(self.take_out::<T>(ticket))
    }

    #[inline]
    fn take_out<T: Coded>(&self, ticket: Ticket) -> Result<T::Raw> {
        let mut payload = self.cells().payload(ticket.index);
        let mut len = T::FIXED.unwrap_or(0) as u64;
        if self.plan.coded
            && let Some((word, rest)) = payload.split_first()
        {
            len = word.load(Ordering::Relaxed);
            payload = rest;
        }
        // The cell is freed whatever it says, so that nobody waits behind it.
        let raw = (len <= self.plan.cell_bytes).then(|| T::copy_out(payload, len as usize));
        self.ring().free(self.body.life()?, ticket);
        raw.ok_or_else(|| Error::corrupt(WHAT, format!("an item says it has {len} bytes, a cell has {}", self.plan.cell_bytes)))
    }

    pub(crate) fn items(&self) -> &Signal {
        self.header.items()
    }

    pub(crate) fn space(&self) -> &Signal {
        self.header.space()
    }
}

impl Side {
    fn all_gone(&self, life: &impl crate::participant::Liveness) -> bool {
        self.roster.all_gone(&self.rows, life)
    }

    /// Registers one more handle of this process.
    pub(crate) fn join(&self, body: &Body) -> Result<()> {
        let life = body.life()?;
        if self.roster.join(&self.rows, life, life.row() as usize) {
            return Ok(());
        }
        Err(Error::corrupt(WHAT, "the list of who is registered changes all the time"))
    }

    /// Takes one handle of this process off; the last one to go wakes those who wait for what comes no more. In
    /// a forked child the handle is the parent's, and stays.
    pub(crate) fn leave(&self, body: &Body, waiting: &Signal) {
        let Ok(life) = body.life() else { return };
        self.roster.leave(&self.rows, life, life.row() as usize);
        if self.all_gone(life) {
            waiting.notify_all();
        }
    }
}

#[cold]
fn refused(why: Refusal, peers: &'static str) -> Error {
    match why {
        Refusal::Full => Kind::WouldBlock { what: "sending to the full queue" }.into(),
        Refusal::Empty => Kind::WouldBlock { what: "receiving from the empty queue" }.into(),
        Refusal::Closed => Kind::Closed { what: WHAT }.into(),
        Refusal::Disconnected => Kind::Disconnected { what: "queue", peers }.into(),
        Refusal::TimedOut => Kind::Timeout { what: WHAT }.into(),
        Refusal::Contended => Kind::Contended { what: WHAT, rounds: crate::raw::ring::MOVED }.into(),
        Refusal::Corrupt(damage) => Error::corrupt(WHAT, damage.describe()),
    }
}
