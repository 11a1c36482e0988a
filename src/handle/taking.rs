//! The receiving side of a queue: items taken out of the ring, or into a lease, from their cells or from the arena.

use crate::deadline::Deadline;
use crate::error::{Error, Kind, Result};
use crate::handle::channel::{Channel, WHAT, refused};
use crate::handle::codec::Coded;
use crate::handle::seat::thread_number;
use crate::raw::blocks::BlockRef;
use crate::raw::leases::{Got, Held, Room, Seat};
use crate::raw::ring_word::Ticket;
use crate::segment::body::Body;
use crate::segment::plain::words_for;
use crate::segment::spill::{self, Spilled};
use crate::sync::{AtomicU64, Ordering, Patience};

/// A lease, and the block that its item is in.
#[derive(Clone, Copy)]
pub(crate) struct Taken {
    pub held: Held,
    pub block: Option<BlockRef>,
}

impl Channel {
    /// Takes an item's bytes out; `None`: without waiting.
    #[inline(always)]
    pub(crate) fn pop<T: Coded>(&self, wait: Option<Deadline>) -> Result<T::Raw> {
        let life = self.body().life()?;
        if let Some(len) = T::FIXED {
            // Whatever way it came, it is read at one place: so it stays in registers.
            let (payload, got) = match self.ring().pop_ready(life) {
                Some(ticket) => (self.cells().payload(ticket.index), Got::Cell(ticket)),
                None => match self.pop_slow(wait)? {
                    Got::Cell(ticket) => (self.cells().payload(ticket.index), Got::Cell(ticket)),
                    Got::Entry(held) => (self.entry_words().payload(held.index), Got::Entry(held)),
                },
            };
            let words = payload.and_then(|words| words.get(..words_for(len)));
            let raw = words.map(|words| T::copy_out(words, len));
            // The cell is freed whatever it says, so that nobody waits behind it.
            match got {
                Got::Cell(ticket) => {
                    self.ring().free(life, ticket);
                    self.tend_at(life, ticket);
                }
                Got::Entry(held) => self.give_up(life, held),
            }
            return raw.ok_or_else(|| too_long(len, self.cell_bytes()));
        }
        match self.ring().pop_ready(life) {
            Some(ticket) => self.take_out::<T>(life, ticket),
            None => self.pop_other::<T>(wait),
        }
    }

    #[cold]
    #[inline(never)]
    fn pop_other<T: Coded>(&self, wait: Option<Deadline>) -> Result<T::Raw> {
        let life = self.body().life()?;
        // Ends with an item, or as a pop does: each round takes one out.
        loop {
            match self.pop_slow(wait)? {
                Got::Cell(ticket) if self.was_done::<T>(self.cells().payload(ticket.index)) => {
                    self.ring().free(life, ticket);
                }
                Got::Cell(ticket) => return self.take_out::<T>(life, ticket),
                Got::Entry(held) if self.was_done::<T>(self.entry_words().payload(held.index)) => {
                    self.leases().ack(life, held);
                }
                Got::Entry(held) => return self.take_entry::<T>(life, held),
            }
        }
    }

    #[cold]
    #[inline(never)]
    fn give_up(&self, life: &Body, held: Held) {
        self.leases().ack(life, held);
    }

    #[cold]
    #[inline(never)]
    fn take_entry<T: Coded>(&self, life: &Body, held: Held) -> Result<T::Raw> {
        let (raw, block) = self.read_entry::<T>(held);
        self.end(life, Taken { held, block });
        raw
    }

    /// The rest of a pop that was not done at once; as `push_slow`.
    #[cold]
    #[inline(never)]
    fn pop_slow(&self, wait: Option<Deadline>) -> Result<Got> {
        let (life, leases) = (self.body().life()?, self.leases());
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
        let life = self.body().life().ok()?;
        let ticket = self.ring().pop_ready(life)?;
        Some(self.take_out::<T>(life, ticket))
    }

    #[inline(always)]
    fn take_out<T: Coded>(&self, life: &Body, ticket: Ticket) -> Result<T::Raw> {
        // The cell is freed whatever it says, so that nobody waits behind it.
        let (raw, block) = self.read::<T>(self.cells().payload(ticket.index));
        if let Some(block) = block {
            self.free_block(life, block);
        }
        self.ring().free(life, ticket);
        self.tend_at(life, ticket);
        raw
    }

    #[inline(always)]
    fn read_cell<T: Coded>(&self, words: &[AtomicU64], len: usize) -> Result<T::Raw> {
        match words.get(..words_for(len)) {
            Some(words) if len <= self.cell_bytes() => Ok(T::copy_out(words, len)),
            _ => Err(too_long(len, self.cell_bytes())),
        }
    }

    /// Moves an item from the ring into a lease, or finds one that came back.
    #[inline(always)]
    pub(crate) fn lease<T: Coded>(&self, wait: Option<Deadline>) -> Result<(T::Raw, Taken)> {
        let (life, leases) = (self.body().life()?, self.leases());
        let seat = Seat { row: life.row() as u32, thread: thread_number() };
        let held = match leases.kept_room(life, seat).and_then(|room| Some((room, leases.ring().pop_ready(life)?))) {
            Some((room, ticket)) => self.move_in::<T>(life, ticket, room),
            None => self.hold_other::<T>(life, seat, wait)?,
        };
        self.or_end::<T>(life, held)
    }

    /// As [`lease`](Channel::lease), without a look at the item.
    pub(crate) fn hold<T: Coded>(&self, wait: Option<Deadline>) -> Result<Held> {
        let life = self.body().life()?;
        self.hold_other::<T>(life, Seat { row: life.row() as u32, thread: thread_number() }, wait)
    }

    #[cold]
    #[inline(never)]
    fn hold_other<T: Coded>(&self, life: &Body, seat: Seat, wait: Option<Deadline>) -> Result<Held> {
        let leases = self.leases();
        // Ends with an item, or as a pop does: each round takes one out.
        loop {
            match self.pop_slow(wait)? {
                Got::Entry(held) if self.was_done::<T>(self.entry_words().payload(held.index)) => {
                    leases.ack(life, held);
                }
                Got::Entry(held) => return Ok(held),
                Got::Cell(ticket) if self.was_done::<T>(self.cells().payload(ticket.index)) => {
                    leases.ring().free(life, ticket);
                }
                Got::Cell(ticket) => {
                    if let Some(room) = leases.room(life, seat) {
                        return Ok(self.move_in::<T>(life, ticket, room));
                    }
                    // Out of its order from here on, and delivered as soon as there is a place.
                    leases.ring().give_back(life, ticket);
                    let [_, _, letters] = leases.counts();
                    return Err(Kind::LeasesFull { leases: self.rules.entries(), letters }.into());
                }
            }
        }
    }

    #[inline(always)]
    fn move_in<T: Coded>(&self, life: &Body, ticket: Ticket, room: Room) -> Held {
        let from = self.cells().payload(ticket.index).unwrap_or_default();
        let to = self.entry_words().payload(room.index).unwrap_or_default();
        let words = match (T::FIXED, from.first()) {
            (Some(len), _) => words_for(len),
            (None, Some(first)) => {
                let first = first.load(Ordering::Relaxed);
                if let Some(Spilled { block, .. }) = spill::reference(from, first)
                    && let Some(arena) = self.body().attachment().arena()
                {
                    // It leaves the place that its sender announced.
                    arena.settle(block);
                }
                usize::try_from(first).map_or(from.len(), words_for).max(2) + 1
            }
            (None, None) => 0,
        };
        // Cut to length first, so that the copy is a straight one.
        let (from, to) = (from.get(..words).unwrap_or(from), to.get(..words).unwrap_or(to));
        for (from, to) in from.iter().zip(to) {
            to.store(from.load(Ordering::Relaxed), Ordering::Relaxed);
        }
        let held = self.leases().move_in(life, ticket, room);
        self.tend_at(life, ticket);
        held
    }

    /// Bytes that are no item are nobody's work: the lease ends.
    #[inline(always)]
    fn or_end<T: Coded>(&self, life: &Body, held: Held) -> Result<(T::Raw, Taken)> {
        if let Some(len) = T::FIXED {
            let words = self.entry_words().payload(held.index).and_then(|words| words.get(..words_for(len)));
            let raw = words.map(|words| T::copy_out(words, len));
            let raw = raw.ok_or_else(|| too_long(len, self.cell_bytes()))?;
            return Ok((raw, Taken { held, block: None }));
        }
        let (raw, block) = self.read_entry::<T>(held);
        let taken = Taken { held, block };
        match raw {
            Ok(raw) => Ok((raw, taken)),
            Err(error) => {
                self.end(life, taken);
                Err(error)
            }
        }
    }

    /// Ends a lease: the item is done with.
    #[inline(always)]
    pub(crate) fn end(&self, life: &Body, taken: Taken) {
        if let Some(block) = taken.block {
            self.free_block(life, block);
        }
        self.leases().ack(life, taken.held);
    }

    /// Gives a lease back. In a forked child it is the parent's.
    #[cold]
    #[inline(never)]
    pub(crate) fn give_back(&self, held: Held) {
        if let Ok(life) = self.body().life() {
            self.leases().nack(life, held);
        }
    }

    #[cold]
    #[inline(never)]
    fn free_block(&self, life: &Body, block: BlockRef) {
        if let Some(arena) = self.body().attachment().arena() {
            arena.free(life, block);
        }
    }

    /// Whether an item of the dead was done with: its block was freed, and its claim was not.
    #[cold]
    fn was_done<T: Coded>(&self, payload: Option<&[AtomicU64]>) -> bool {
        let found = payload.and_then(|words| spill::reference(words, words.first()?.load(Ordering::Relaxed)));
        T::FIXED.is_none() && found.is_some_and(|item| self.block(item.block).is_none())
    }

    /// Whether the item of this lease was done with by a holder who died before it could end the lease.
    pub(crate) fn was_leased_to_its_end<T: Coded>(&self, held: Held) -> bool {
        self.was_done::<T>(self.entry_words().payload(held.index))
    }

    /// Ends what the dead had done but not ended, where no consumer comes by.
    #[cold]
    pub(crate) fn skip_done<T: Coded>(&self, life: &Body) {
        if T::FIXED.is_some() {
            return;
        }
        let leases = self.leases();
        leases.discard(life, |index| self.was_done::<T>(self.entry_words().payload(index)));
        // Bounded by the cells that there are: each round frees one.
        while let Ok(ticket) = leases.rescue(life) {
            if !self.was_done::<T>(self.cells().payload(ticket.index)) {
                return leases.ring().give_back(life, ticket);
            }
            leases.ring().free(life, ticket);
        }
    }

    /// The words of a block.
    fn block(&self, block: BlockRef) -> Option<&[AtomicU64]> {
        self.body().attachment().arena()?.words(block)
    }

    /// The item of a lease where it stands: its words, its bytes, and the block if it is in one.
    pub(crate) fn in_place(&self, held: Held) -> Result<(&[AtomicU64], usize, Option<BlockRef>)> {
        let payload = self.entry_words().payload(held.index).unwrap_or_default();
        let (first, rest) = payload.split_first().ok_or_else(|| too_long(0, self.cell_bytes()))?;
        let first = first.load(Ordering::Relaxed);
        let (words, len, block) = match spill::reference(payload, first) {
            None => (rest, first, None),
            Some(Spilled { len, block }) => (self.block(block).unwrap_or_default(), len, Some(block)),
        };
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        match words.get(..words_for(len)) {
            Some(words) => Ok((words, len, block)),
            None => Err(too_long(len, 8 * words.len())),
        }
    }

    /// The bytes of an item that is leased, and the block they are in if they are.
    pub(crate) fn read_entry<T: Coded>(&self, held: Held) -> (Result<T::Raw>, Option<BlockRef>) {
        self.read::<T>(self.entry_words().payload(held.index))
    }

    #[inline(always)]
    fn read<T: Coded>(&self, payload: Option<&[AtomicU64]>) -> (Result<T::Raw>, Option<BlockRef>) {
        let mut payload = payload.unwrap_or_default();
        let mut len = T::FIXED.unwrap_or(0);
        if T::FIXED.is_none()
            && let Some((word, rest)) = payload.split_first()
        {
            let first = word.load(Ordering::Relaxed);
            if let Some(item) = spill::reference(payload, first) {
                return (self.read_block::<T>(item), Some(item.block));
            }
            len = usize::try_from(first).unwrap_or(usize::MAX);
            payload = rest;
        }
        (self.read_cell::<T>(payload, len), None)
    }

    #[cold]
    #[inline(never)]
    fn read_block<T: Coded>(&self, item: Spilled) -> Result<T::Raw> {
        let len = usize::try_from(item.len).unwrap_or(usize::MAX);
        let words = self.block(item.block).unwrap_or_default();
        let found = words.get(..words_for(len)).map(|words| T::copy_out(words, len));
        found.ok_or_else(|| too_long(len, 8 * words.len()))
    }

    /// Looks after leases once in a while: a ring that is never empty has nobody who finds nothing and asks.
    #[inline(always)]
    fn tend_at(&self, life: &Body, ticket: Ticket) {
        if ticket.index == 0 {
            self.tend(life, ticket.lap());
        }
    }

    #[cold]
    #[inline(never)]
    fn tend(&self, life: &Body, lap: u64) {
        /// Items between two looks, about.
        const ITEMS: u64 = 256;
        let laps = ITEMS.div_ceil(u64::from(self.plan.capacity));
        if lap.is_multiple_of(laps) {
            self.leases().tend(life, (lap / laps) as u32);
        }
    }
}

#[cold]
fn too_long(len: usize, cell: usize) -> Error {
    Error::corrupt(WHAT, format!("an item says it has {len} bytes, a cell has {cell}"))
}
