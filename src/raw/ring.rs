//! A bounded queue, many to many, whose every claim survives its claimant.
//!
//! The ring hands out tickets and never sees an item: a ticket permits to write (push) or read (pop) one
//! slot until it is published, freed, given up or given back. `head` and `tail` hold the next ticket and
//! the id of whoever claimed the one before, so one read-modify-write claims *and* names.
//!
//! **Naming.** Nobody takes ticket t+1 from an end before it saw the cell of t past `EMPTY` (tail) or past
//! `FULL` (head), or stamped the claimant of t into that cell itself. So every open claim is named: by its cell,
//! or, if it is the newest, by the end.
//!
//! | killed | what remains | who settles it |
//! |---|---|---|
//! | producer between claim and publish | newest: `EMPTY` behind the tail, which names it; older: `WRITING(id)` | the consumer whose turn it is, once it asks about lives: the cell goes to the next lap and is stepped over |
//! | producer after publish, before the wake | an item nobody was told of | the slices of sleepers |
//! | consumer between claim and free | newest: `FULL` behind the head, which names it; older: `READING(id)` | any consumer's [`rescue`](Ring::rescue): the item is delivered again |
//! | consumer after free, before the wake | a free cell nobody was told of | the slices of sleepers |
//! | consumer between void and step-over | a cell one lap ahead of `head` | the next pop steps over it |
//! | rescuer | `READING(its id)` | the next rescuer |
//!
//! Whatever is left can also be settled by [`recover`](Ring::recover), after which no word names the dead.
//!
//! The words may hold anything. Retries are counted: after [`MOVED`] rounds lost to others a call
//! reports [`Refusal::Contended`], after [`STALE`] rounds in which nothing moved [`Refusal::Corrupt`].
#![forbid(unsafe_code)]

use crate::order;
use crate::participant::{Liveness, ParticipantId};
use crate::raw::ring_word::{CellWord, EndWord, Geometry, Phase, Ticket};
use crate::raw::signal::Signal;
use crate::sync::{AtomicU32, AtomicU64, Ordering::Relaxed, mark, publish_store};

/// Rounds that one call may lose to others.
pub const MOVED: u32 = 1000;
/// Rounds of one call in which nothing may have moved.
pub const STALE: u32 = 4;

/// Where the state words of the cells are.
pub trait Slots {
    /// The state word of cell `index`; `None` for every index that is not below the capacity.
    fn state(&self, index: u32) -> Option<&AtomicU64>;
}

impl Slots for &[AtomicU64] {
    #[inline]
    fn state(&self, index: u32) -> Option<&AtomicU64> {
        self.get(index as usize)
    }
}

/// Why there is no ticket.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Refusal {
    /// The item of the lap before is still in the cell.
    Full,
    /// Nothing is ready.
    Empty,
    /// Closed; for a consumer also: and nothing is left.
    Closed,
    /// As closed or disconnected, but a lease of somebody else may come back.
    Held,
    /// Every peer is gone, and there is nothing (no room) after them.
    Disconnected,
    /// The deadline has passed.
    TimedOut,
    /// Others were faster [`MOVED`] times.
    Contended,
    /// The words make no sense.
    Corrupt(Damage),
}

/// What makes no sense.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Damage {
    /// An end points outside the ring.
    Index,
    /// A cell is in a lap in which it cannot be.
    Lap,
    /// The words contradict each other and do not change.
    Stuck,
}

impl Damage {
    /// In words, for an error message.
    pub const fn describe(self) -> &'static str {
        match self {
            Self::Index => "an end points outside the ring",
            Self::Lap => "a cell is in a lap in which it cannot be",
            Self::Stuck => "an end and its cell contradict each other",
        }
    }
}

/// The consumers' end.
#[repr(C, align(128))]
pub struct HeadLine {
    pub(crate) end: AtomicU64,
    /// A hint: an item was given back and waits for a rescuer.
    pub(crate) astray: AtomicU32,
    /// Whether an item was ever leased; never taken back.
    pub(crate) leased: AtomicU32,
}

/// Anything on a line of its own: what one side writes must not slow the other.
#[repr(C, align(128))]
pub struct Line<T>(pub(crate) T);

/// The shared words of a ring beside its cells. All-zero is an empty ring.
#[repr(C)]
pub struct RingHeader {
    pub(crate) head: HeadLine,
    pub(crate) tail: Line<AtomicU64>,
    pub(crate) items: Line<Signal>,
    pub(crate) space: Line<Signal>,
}

#[cfg(not(mutirao_model))]
const _: () = assert!(size_of::<RingHeader>() == 512 && align_of::<RingHeader>() == 128);

impl RingHeader {
    /// An empty ring, as the all-zero bytes are.
    pub fn new() -> Self {
        Self::starting_at(0)
    }

    /// An empty ring whose next ticket is `ticket` (packed), for tests of the wrap. Its cells must be `EMPTY`
    /// in the laps of their next tickets.
    pub fn starting_at(ticket: u64) -> Self {
        let end = EndWord::new(ticket, 0).0;
        Self {
            head: HeadLine { end: AtomicU64::new(end), astray: AtomicU32::new(0), leased: AtomicU32::new(0) },
            tail: Line(AtomicU64::new(end)),
            items: Line(Signal::new()),
            space: Line(Signal::new()),
        }
    }

    /// The signals of items and of space, for a test harness that buries.
    #[cfg(mutirao_model)]
    pub fn signals(&self) -> [&Signal; 2] {
        [&self.items.0, &self.space.0]
    }
}

impl Default for RingHeader {
    fn default() -> Self {
        Self::new()
    }
}

/// A ring: its header, its cells and how its tickets are counted.
#[derive(Clone, Copy)]
pub struct Ring<'a, S> {
    pub(in crate::raw) header: &'a RingHeader,
    pub(in crate::raw) slots: S,
    pub(in crate::raw) geometry: Geometry,
}

/// How often one call may look again.
struct Budget {
    moved: u32,
    stale: u32,
    last: Option<(EndWord, CellWord)>,
}

impl Budget {
    #[inline]
    const fn new() -> Self {
        Self { moved: MOVED, stale: STALE, last: None }
    }

    /// After a round that saw these words and got nowhere.
    #[cold]
    fn spend(&mut self, end: EndWord, cell: CellWord) -> Result<(), Refusal> {
        if self.last.replace((end, cell)) == Some((end, cell)) {
            self.stale -= 1;
        }
        self.moved -= 1;
        match (self.stale, self.moved) {
            (0, _) => Err(Refusal::Corrupt(Damage::Stuck)),
            (_, 0) => Err(Refusal::Contended),
            _ => Ok(()),
        }
    }
}

/// Whether the claim of `id` will never be settled by its claimant. Nobody settles nothing.
#[inline]
pub(in crate::raw) fn is_gone(life: &impl Liveness, id: u32) -> bool {
    ParticipantId::new(id).is_none_or(|id| id != life.me() && life.is_dead(id))
}

impl<'a, S: Slots> Ring<'a, S> {
    /// The ring over these words.
    #[inline]
    pub const fn new(header: &'a RingHeader, slots: S, geometry: Geometry) -> Self {
        Self { header, slots, geometry }
    }

    #[inline]
    pub(in crate::raw) fn cell(&self, index: u32) -> Result<&AtomicU64, Refusal> {
        self.slots.state(index).ok_or(Refusal::Corrupt(Damage::Index))
    }

    /// Names the claimant of the ticket before `end` in its cell, unless that says more already.
    #[inline(always)]
    pub(in crate::raw) fn stamp(&self, end: EndWord, from: Phase, to: Phase) {
        let before = self.geometry.unpack(self.geometry.before(end.ticket()));
        let plain = CellWord::new(before.lap, from, 0);
        let Ok(cell) = self.cell(before.index) else { return };
        // Relaxed: whoever read the end sees at least `plain` here, and the exchange decides.
        if cell.load(Relaxed) == plain.0 {
            Self::stamp_slow(cell, plain, CellWord::new(before.lap, to, end.id()));
        }
    }

    #[cold]
    fn stamp_slow(cell: &AtomicU64, plain: CellWord, named: CellWord) {
        mark("stamped");
        // A failure means that the claim was settled or stamped meanwhile. Release: whoever asks whether the
        // named one lives has seen it arrive, as we have; of the cell itself nothing is read here.
        let _ = cell.compare_exchange(plain.0, named.0, order!(ring_stamp, Release), Relaxed);
    }

    /// A ticket to push, without sleeping. Full does not ask about lives: a dead producer's cell is
    /// voided by a consumer.
    #[inline(always)]
    pub fn try_push(&self, life: &impl Liveness) -> Result<Ticket, Refusal> {
        match self.push_straight(life) {
            Some(ticket) => Ok(ticket),
            None => self.try_push_slow(life),
        }
    }

    /// The usual push in a straight line: the cell at the tail is free, and nobody is faster.
    #[inline(always)]
    pub fn push_straight(&self, life: &impl Liveness) -> Option<Ticket> {
        let tail = &self.header.tail.0;
        let end = EndWord(tail.load(order!(ring_tail_look, Acquire)));
        let ticket = self.geometry.unpack(end.ticket());
        let word = self.slots.state(ticket.index)?.load(order!(ring_empty_look, Acquire));
        if end.is_closed() || word != CellWord::empty(ticket.lap).0 {
            return None;
        }
        self.stamp(end, Phase::Empty, Phase::Writing);
        let next = EndWord::new(self.geometry.next(end.ticket()), life.me().get());
        let claimed = tail.compare_exchange(end.0, next.0, order!(ring_tail_claim, Release), Relaxed);
        claimed.is_ok().then_some(ticket)
    }

    #[cold]
    #[inline(never)]
    fn try_push_slow(&self, life: &impl Liveness) -> Result<Ticket, Refusal> {
        let tail = &self.header.tail.0;
        let mut end = EndWord(tail.load(order!(ring_tail_look, Acquire)));
        let mut budget = Budget::new();
        loop {
            if end.is_closed() {
                return Err(Refusal::Closed);
            }
            let ticket = self.geometry.unpack(end.ticket());
            let word = CellWord(self.cell(ticket.index)?.load(order!(ring_empty_look, Acquire)));
            let now = if word == CellWord::empty(ticket.lap) {
                self.stamp(end, Phase::Empty, Phase::Writing);
                let next = EndWord::new(self.geometry.next(end.ticket()), life.me().get());
                let (claim, look) = (order!(ring_tail_claim, Release), order!(ring_tail_look, Acquire));
                match tail.compare_exchange(end.0, next.0, claim, look) {
                    Ok(_) => return Ok(ticket),
                    Err(now) => EndWord(now),
                }
            } else {
                self.newer_tail(word, ticket)?
            };
            budget.spend(end, word)?;
            end = now;
        }
    }

    /// The cell at the tail is not free: full, or the tail that was read is old.
    #[cold]
    fn newer_tail(&self, word: CellWord, ticket: Ticket) -> Result<EndWord, Refusal> {
        match self.geometry.laps_ahead(word, ticket.lap) {
            -1 => Err(Refusal::Full),
            // The tail passes a cell only after it saw the lap before published.
            ..-1 => Err(Refusal::Corrupt(Damage::Lap)),
            // Whoever changed the cell had seen a newer tail, so we do now.
            0.. => Ok(EndWord(self.header.tail.0.load(order!(ring_tail_look, Acquire)))),
        }
    }

    /// The commit of a push: the item is there. Wakes a consumer.
    #[inline(always)]
    pub fn publish(&self, life: &impl Liveness, ticket: Ticket) {
        if let Ok(cell) = self.cell(ticket.index) {
            publish_store(cell, CellWord::full(ticket.lap).0, order!(ring_publish, Release));
            self.header.items.0.notify(life);
        }
    }

    /// A ticket to pop, without sleeping. With `ask`, the claim of a dead producer that stands in the way
    /// is voided. Does not look for items that died with their consumers: see [`pop_now`](Ring::pop_now).
    #[inline]
    pub fn try_pop(&self, life: &impl Liveness, ask: bool) -> Result<Ticket, Refusal> {
        match self.pop_straight(life) {
            Some(ticket) => Ok(ticket),
            None => self.try_pop_slow(life, ask),
        }
    }

    /// The usual pop in a straight line: an item is at the head, and nobody is faster.
    #[inline(always)]
    pub(in crate::raw) fn pop_straight(&self, life: &impl Liveness) -> Option<Ticket> {
        let head = &self.header.head.end;
        let end = EndWord(head.load(order!(ring_head_look, Acquire)));
        let ticket = self.geometry.unpack(end.ticket());
        let word = self.slots.state(ticket.index)?.load(order!(ring_full_look, Acquire));
        if word != CellWord::full(ticket.lap).0 {
            return None;
        }
        self.stamp(end, Phase::Full, Phase::Reading);
        let next = EndWord::new(self.geometry.next(end.ticket()), life.me().get());
        let claimed = head.compare_exchange(end.0, next.0, order!(ring_head_claim, Release), Relaxed);
        claimed.is_ok().then_some(ticket)
    }

    #[cold]
    #[inline(never)]
    fn try_pop_slow(&self, life: &impl Liveness, ask: bool) -> Result<Ticket, Refusal> {
        let head = &self.header.head.end;
        let mut end = EndWord(head.load(order!(ring_head_look, Acquire)));
        let mut budget = Budget::new();
        loop {
            let ticket = self.geometry.unpack(end.ticket());
            let word = CellWord(self.cell(ticket.index)?.load(order!(ring_full_look, Acquire)));
            let now = if word == CellWord::full(ticket.lap) {
                self.stamp(end, Phase::Full, Phase::Reading);
                let next = EndWord::new(self.geometry.next(end.ticket()), life.me().get());
                let (claim, look) = (order!(ring_head_claim, Release), order!(ring_head_look, Acquire));
                match head.compare_exchange(end.0, next.0, claim, look) {
                    Ok(_) => return Ok(ticket),
                    Err(now) => EndWord(now),
                }
            } else {
                self.clear_head(life, ask, end, word, ticket)?
            };
            budget.spend(end, word)?;
            end = now;
        }
    }

    /// The commit of a pop: the item is taken, the cell is free. Wakes a producer. The time before it is a lease.
    #[inline(always)]
    pub fn free(&self, life: &impl Liveness, ticket: Ticket) {
        if let Ok(cell) = self.cell(ticket.index) {
            let next = CellWord::empty(self.geometry.lap_after(ticket.lap));
            publish_store(cell, next.0, order!(ring_free, Release));
            self.header.space.0.notify(life);
        }
    }

    /// Tickets pushed and not yet popped: a hint, old when it arrives, never more than the capacity. Claims
    /// that are not published count, leases do not.
    pub fn len(&self) -> u32 {
        let head = EndWord(self.header.head.end.load(Relaxed)).ticket();
        self.geometry.distance(head, EndWord(self.header.tail.0.load(Relaxed)).ticket())
    }

    /// Whether [`len`](Ring::len) is zero.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The number of cells, exactly as asked for.
    #[inline]
    pub fn capacity(&self) -> u32 {
        self.geometry.capacity()
    }

    /// The signal of items: what to wake when the last producer leaves.
    pub fn items(&self) -> &Signal {
        &self.header.items.0
    }

    /// The signal of space: what to wake when the last consumer leaves.
    pub fn space(&self) -> &Signal {
        &self.header.space.0
    }
}
