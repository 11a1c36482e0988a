//! The words of the ring: what stands in a cell, what stands at an end, and how tickets are counted.
//!
//! A ticket is a pair of a lap and an index, packed into 40 bits. Its successor is found by counting, not
//! by division, so that a ring has exactly the capacity that was asked for.
//!
//! ```text
//! cell   63            25 24   23 22       0      end   63 | 62              23 | 22       0
//!        +---------------+-------+----------+           +--+-------------------+----------+
//!        | lap           | phase | id       |           |C | lap     :   index | id       |
//!        +---------------+-------+----------+           +--+-------------------+----------+
//! ```
//!
//! | cell | means | who may move it, to what |
//! |---|---|---|
//! | `EMPTY(l)` | free for the producer of lap `l`; or claimed by it (then the tail has passed) | the producer: `FULL(l)`, `WRITING(l, 0)`; whoever claims the next ticket: `WRITING(l, p)`; a consumer, if the claimant is dead: `EMPTY(l+1)` |
//! | `WRITING(l, p)` | claimed by producer `p`; `p` = 0: given up | `p`: `FULL(l)`, `WRITING(l, 0)`; if `p` is dead or 0, the consumer whose turn it is: `EMPTY(l+1)`; recovery: `WRITING(l, 0)` |
//! | `FULL(l)` | holds an item; or claimed by a consumer (then the head has passed) | the consumer: `EMPTY(l+1)`, `READING(l, 0)`; whoever claims the next ticket: `READING(l, c)`; if the consumer is dead, a rescuer: `READING(l, r)` |
//! | `READING(l, c)` | claimed by consumer `c`; `c` = 0: given back | `c`: `EMPTY(l+1)`, `READING(l, 0)`; if `c` is dead or 0, a rescuer: `READING(l, r)`; recovery: `READING(l, 0)` |
//!
//! | end | means |
//! |---|---|
//! | ticket | the next one to be claimed |
//! | id | who claimed the ticket before it; 0: nobody, or that claim is settled |
//! | C | closed; in the tail only |
#![forbid(unsafe_code)]

use core::fmt;

use crate::participant::ParticipantId;

const ID_BITS: u32 = ParticipantId::BITS;
const ID: u64 = ParticipantId::MASK as u64;
const LAP_SHIFT: u32 = ID_BITS + 2;
const CLOSED: u64 = 1 << 63;
/// Bits of a ticket: lap and index.
const TICKET_BITS: u32 = 40;
const TICKETS: u64 = (1 << TICKET_BITS) - 1;

const _: () = assert!(TICKET_BITS + ID_BITS == 63, "an end is one bit, a ticket and an id");
const _: () = assert!(TICKET_BITS - 1 + LAP_SHIFT == 64, "a cell is a lap, a phase and an id");

/// What a cell is in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Phase {
    /// Free, or claimed by a producer and not yet stamped.
    Empty = 0,
    /// Claimed by the producer it names.
    Writing = 1,
    /// Holds an item; also: claimed by a consumer and not yet stamped.
    Full = 2,
    /// Claimed by the consumer it names.
    Reading = 3,
}

/// The state word of a cell.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(transparent)]
pub struct CellWord(pub u64);

impl CellWord {
    /// The word of `phase` in `lap`, naming `id` (0: nobody).
    #[inline]
    pub const fn new(lap: u64, phase: Phase, id: u32) -> Self {
        Self(lap << LAP_SHIFT | (phase as u64) << ID_BITS | id as u64)
    }

    /// Free for the producer of `lap`.
    #[inline]
    pub const fn empty(lap: u64) -> Self {
        Self::new(lap, Phase::Empty, 0)
    }

    /// Holds the item of `lap`.
    #[inline]
    pub const fn full(lap: u64) -> Self {
        Self::new(lap, Phase::Full, 0)
    }

    /// The lap, which may be more than the geometry counts if a broken peer wrote it.
    #[inline]
    pub const fn lap(self) -> u64 {
        self.0 >> LAP_SHIFT
    }

    /// The phase.
    #[inline]
    pub const fn phase(self) -> Phase {
        match self.0 >> ID_BITS & 3 {
            0 => Phase::Empty,
            1 => Phase::Writing,
            2 => Phase::Full,
            _ => Phase::Reading,
        }
    }

    /// Whoever is named; 0: nobody.
    #[inline]
    pub const fn id(self) -> u32 {
        (self.0 & ID) as u32
    }

    /// The same claim without its claimant: given up, or given back.
    #[inline]
    pub const fn unnamed(self) -> Self {
        Self(self.0 & !ID)
    }
}

impl fmt::Debug for CellWord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, claim) = match self.phase() {
            Phase::Empty => ("EMPTY", false),
            Phase::Writing => ("WRITING", true),
            Phase::Full => ("FULL", false),
            Phase::Reading => ("READING", true),
        };
        write!(f, "{name}(lap {}", self.lap())?;
        if claim || self.id() != 0 {
            write!(f, ", ")?;
            write_id(f, self.id())?;
        }
        write!(f, ")")
    }
}

/// The word of an end: the next ticket, and who claimed the one before.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(transparent)]
pub struct EndWord(pub u64);

impl EndWord {
    /// The end whose next ticket is `ticket`, the one before claimed by `id`.
    #[inline]
    pub const fn new(ticket: u64, id: u32) -> Self {
        Self(ticket << ID_BITS | id as u64)
    }

    /// The next ticket, packed.
    #[inline]
    pub const fn ticket(self) -> u64 {
        (self.0 & !CLOSED) >> ID_BITS
    }

    /// Who claimed the ticket before; 0: nobody.
    #[inline]
    pub const fn id(self) -> u32 {
        (self.0 & ID) as u32
    }

    /// Whether no ticket is given out any more.
    #[inline]
    pub const fn is_closed(self) -> bool {
        self.0 & CLOSED != 0
    }

    /// The bit of a closed end.
    pub const fn closed_bit() -> u64 {
        CLOSED
    }

    /// The same end, naming nobody.
    pub const fn unnamed(self) -> Self {
        Self(self.0 & !ID)
    }
}

impl fmt::Debug for EndWord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "next {:#x}, the one before by ", self.ticket())?;
        write_id(f, self.id())?;
        if self.is_closed() {
            write!(f, ", closed")?;
        }
        Ok(())
    }
}

fn write_id(f: &mut fmt::Formatter<'_>, id: u32) -> fmt::Result {
    match ParticipantId::new(id) {
        Some(id) => write!(f, "{id}"),
        None => write!(f, "nobody"),
    }
}

/// Permission to touch slot `index` until it is published, freed, given up or given back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ticket {
    /// The slot.
    pub index: u32,
    pub(in crate::raw) lap: u64,
}

impl Ticket {
    /// How many times the slot was used before, modulo the laps that are counted.
    pub const fn lap(self) -> u64 {
        self.lap
    }
}

/// How tickets are counted in a ring of one capacity.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Geometry {
    capacity: u32,
    index_bits: u32,
}

impl Geometry {
    /// A ring of exactly `capacity` cells; `None` for zero.
    pub const fn new(capacity: u32) -> Option<Self> {
        if capacity == 0 {
            return None;
        }
        // At least one bit, so that a lap fits a cell.
        let index_bits = if capacity <= 2 { 1 } else { u32::BITS - (capacity - 1).leading_zeros() };
        Some(Self { capacity, index_bits })
    }

    /// The number of cells.
    #[inline]
    pub const fn capacity(self) -> u32 {
        self.capacity
    }

    const fn index_mask(self) -> u64 {
        (1 << self.index_bits) - 1
    }

    /// Packed tickets between the last index of a lap and the first of the next.
    const fn gap(self) -> u64 {
        (1 << self.index_bits) - self.capacity as u64
    }

    /// A mask of the laps; also the last one.
    pub const fn laps(self) -> u64 {
        TICKETS >> self.index_bits
    }

    /// Lap and index of a packed ticket. The index may be outside if a broken peer wrote it: resolve it
    /// through [`Slots`](crate::raw::ring::Slots).
    #[inline]
    pub const fn unpack(self, ticket: u64) -> Ticket {
        Ticket { index: (ticket & self.index_mask()) as u32, lap: ticket >> self.index_bits }
    }

    /// The ticket as it stands in an end.
    #[inline]
    pub const fn pack(self, ticket: Ticket) -> u64 {
        ticket.lap << self.index_bits | ticket.index as u64
    }

    /// The packed ticket after this one.
    #[inline]
    pub const fn next(self, ticket: u64) -> u64 {
        let skip = if (ticket & self.index_mask()) + 1 == self.capacity as u64 { self.gap() } else { 0 };
        (ticket + 1 + skip) & TICKETS
    }

    /// The packed ticket before this one.
    #[inline]
    pub const fn before(self, ticket: u64) -> u64 {
        let skip = if ticket & self.index_mask() == 0 { self.gap() } else { 0 };
        ticket.wrapping_sub(1 + skip) & TICKETS
    }

    /// The lap after `lap`.
    #[inline]
    pub const fn lap_after(self, lap: u64) -> u64 {
        (lap + 1) & self.laps()
    }

    /// How many laps the cell is ahead of `lap`: positive or negative, modulo the laps that are counted.
    #[inline]
    pub const fn laps_ahead(self, cell: CellWord, lap: u64) -> i64 {
        let unused = u64::BITS - (TICKET_BITS - self.index_bits);
        (cell.lap().wrapping_sub(lap) << unused) as i64 >> unused
    }

    /// Tickets from `head` to `tail`, at most the capacity, and 0 if they make no sense.
    pub const fn distance(self, head: u64, tail: u64) -> u32 {
        let (h, t) = (self.unpack(head), self.unpack(tail));
        let capacity = self.capacity as i64;
        let between = match t.lap.wrapping_sub(h.lap) & self.laps() {
            0 => t.index as i64 - h.index as i64,
            1 => capacity + t.index as i64 - h.index as i64,
            _ => 0,
        };
        if between < 0 {
            0
        } else if between > capacity {
            self.capacity
        } else {
            between as u32
        }
    }
}

#[cfg(all(test, not(mutirao_model)))]
mod tests {
    use super::*;

    #[test]
    fn tickets_count_every_index_of_every_lap() {
        for capacity in [1, 2, 3, 4, 5, 7, 8, 1000, 1 << 20] {
            let g = Geometry::new(capacity).unwrap();
            let mut ticket = g.pack(Ticket { index: 0, lap: g.laps() - 1 });
            for lap in [g.laps() - 1, g.laps(), 0, 1] {
                for index in 0..capacity {
                    assert_eq!(g.unpack(ticket), Ticket { index, lap });
                    let next = g.next(ticket);
                    assert_eq!(g.before(next), ticket);
                    assert_eq!(g.distance(ticket, next), 1);
                    ticket = next;
                }
            }
        }
    }

    #[test]
    fn a_capacity_is_kept_exactly_and_its_laps_fit() {
        assert!(Geometry::new(0).is_none());
        for capacity in [1, 2, 3, 1023, 1024, 1025, u32::MAX] {
            let g = Geometry::new(capacity).unwrap();
            assert_eq!(g.capacity(), capacity);
            assert!(g.index_mask() >= u64::from(capacity) - 1);
            assert!(g.laps() < 1 << (u64::BITS - LAP_SHIFT) && g.laps() >= 0xff);
        }
    }

    #[test]
    fn laps_are_compared_around_the_wrap() {
        let g = Geometry::new(3).unwrap();
        assert_eq!(g.laps_ahead(CellWord::empty(0), g.laps()), 1);
        assert_eq!(g.laps_ahead(CellWord::empty(g.laps()), 0), -1);
        assert_eq!(g.laps_ahead(CellWord::full(7), 7), 0);
        assert_eq!(g.laps_ahead(CellWord::full(9), 7), 2);
    }

    #[test]
    fn words_print_names() {
        assert_eq!(format!("{:?}", CellWord::new(3, Phase::Writing, 7)), "WRITING(lap 3, #7)");
        assert_eq!(format!("{:?}", CellWord::new(3, Phase::Reading, 0)), "READING(lap 3, nobody)");
        assert_eq!(format!("{:?}", CellWord::full(4)), "FULL(lap 4)");
        let end = EndWord(EndWord::new(5, 9).0 | EndWord::closed_bit());
        assert_eq!(format!("{end:?}"), "next 0x5, the one before by #9, closed");
    }
}
