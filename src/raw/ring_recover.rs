//! What became of claims whose claimants do not settle them: given back, rescued, recovered; and whether
//! all work on a ring is done.
#![forbid(unsafe_code)]

use core::fmt;

use crate::order;
use crate::participant::{Liveness, ParticipantId};
use crate::raw::ring::{Damage, Refusal, Ring, Slots, is_gone};
use crate::raw::ring_aside::{Aside, Nothing};
use crate::raw::ring_word::{CellWord, EndWord, Phase, Ticket};
use crate::sync::{AtomicU32, AtomicU64, Ordering::Relaxed, mark, publish_store};

impl<'a, S: Slots> Ring<'a, S> {
    /// The cell at the head holds no item: clears the way if that is allowed. The result is the head to go on with.
    #[cold]
    pub(in crate::raw) fn clear_head(
        &self,
        life: &impl Liveness,
        ask: bool,
        end: EndWord,
        word: CellWord,
        ticket: Ticket,
    ) -> Result<EndWord, Refusal> {
        let head = &self.header.head.end;
        let by = match (self.geometry.laps_ahead(word, ticket.lap), word.phase()) {
            (0, Phase::Writing) => word.id(),
            (0, Phase::Empty) => {
                let tail = EndWord(self.header.tail.0.load(order!(ring_tail_peek, Acquire)));
                if tail.ticket() == end.ticket() {
                    return Err(if tail.is_closed() { Refusal::Closed } else { Refusal::Empty });
                }
                let newest = tail.ticket() == self.geometry.next(end.ticket());
                if !newest || tail.id() == 0 {
                    // Stamped before the tail moved on: visible now.
                    return Ok(end);
                }
                tail.id() // the newest claim: only the tail names it
            }
            (1, _) => {
                // Freed, then `end` is old; or void, and somebody has to step over it.
                self.stamp(end, Phase::Full, Phase::Reading);
                let over = EndWord::new(self.geometry.next(end.ticket()), 0);
                let (step, look) = (order!(ring_step_over, Release), order!(ring_head_look, Acquire));
                return Ok(match head.compare_exchange(end.0, over.0, step, look) {
                    Ok(_) => {
                        mark("stepped over");
                        over
                    }
                    Err(now) => EndWord(now),
                });
            }
            (-1, Phase::Full | Phase::Reading) => {
                // Somebody reads the lap before, so no producer has passed.
                let tail = EndWord(self.header.tail.0.load(order!(ring_tail_peek, Acquire)));
                let at_the_end = tail.is_closed() && tail.ticket() == end.ticket();
                return Err(if at_the_end { Refusal::Closed } else { Refusal::Empty });
            }
            // The head passes a cell only after it saw the lap before published.
            (..=-1, _) => return Err(Refusal::Corrupt(Damage::Lap)),
            // Taken: `end` is old.
            _ => return Ok(EndWord(head.load(order!(ring_head_look, Acquire)))),
        };
        if by != 0 && !(ask && is_gone(life, by)) {
            return Err(Refusal::Empty);
        }
        // Nothing of the dead is on its way, so what the cell says now is final. Release: the next producer
        // writes after what the dead wrote.
        let free = CellWord::empty(self.geometry.lap_after(ticket.lap));
        if self.cell(ticket.index)?.compare_exchange(word.0, free.0, order!(ring_void, Release), Relaxed).is_ok() {
            mark(if word.phase() == Phase::Empty { "voided the newest" } else { "voided a stamped" });
            self.header.space.0.notify(life);
        }
        Ok(end)
    }

    /// A push that comes to nothing: consumers step over the cell.
    pub fn give_up(&self, life: &impl Liveness, ticket: Ticket) {
        if let Ok(cell) = self.cell(ticket.index) {
            // There is no item, but the next producer must write after us.
            let void = CellWord::new(ticket.lap, Phase::Writing, 0);
            publish_store(cell, void.0, order!(ring_give_up, Release));
            self.header.items.0.notify(life);
        }
    }

    /// An item that its consumer does not want after all. It waits for a rescuer, out of order; never
    /// `FULL` again, because nobody would look there.
    pub fn give_back(&self, life: &impl Liveness, ticket: Ticket) {
        if let Ok(cell) = self.cell(ticket.index) {
            let back = CellWord::new(ticket.lap, Phase::Reading, 0);
            publish_store(cell, back.0, order!(ring_give_back, Release));
            self.announce_astray(life);
        }
    }

    /// Tells consumers that items wait for a rescuer.
    pub(in crate::raw) fn announce_astray(&self, life: &impl Liveness) {
        self.header.head.astray.store(1, order!(ring_astray, Release));
        self.header.items.0.notify(life);
    }

    /// Takes over an item whose consumer died or gave it back. Looks at every cell: for calls that found nothing.
    pub fn rescue(&self, life: &impl Liveness) -> Result<Ticket, Refusal> {
        self.rescue_beside(life, &Nothing)
    }

    /// As [`rescue`](Ring::rescue). An item that its consumer had already put aside is not delivered from its cell.
    #[cold]
    pub(in crate::raw) fn rescue_beside(&self, life: &impl Liveness, aside: &impl Aside) -> Result<Ticket, Refusal> {
        // The newest claim, which only the head names.
        let end = EndWord(self.header.head.end.load(order!(ring_head_rescue, Acquire)));
        let newest = self.geometry.unpack(self.geometry.before(end.ticket()));
        let full = CellWord::full(newest.lap);
        // Relaxed: the head was read after the item was claimed, so after it was published.
        let is_open = self.cell(newest.index)?.load(Relaxed) == full.0;
        if is_open && is_gone(life, end.id()) {
            // The dead one's stores are all to be seen: if it put the item aside, it stands there.
            if aside.has(newest) {
                self.free_moved(life, newest, end.id());
            } else if self.adopt(life, newest, full) {
                mark("rescued the newest");
                return Ok(newest);
            }
        }
        let mut alive = 0;
        for index in 0..self.geometry.capacity() {
            let word = CellWord(self.cell(index)?.load(order!(ring_stamp_look, Acquire)));
            if word.phase() != Phase::Reading || (word.id() != 0 && word.id() == alive) {
                continue;
            }
            if !is_gone(life, word.id()) {
                alive = word.id();
                continue;
            }
            let ticket = Ticket { index, lap: word.lap() & self.geometry.laps() };
            if aside.has(ticket) {
                self.free_moved(life, ticket, word.id());
            } else if self.adopt(life, ticket, word) {
                mark("rescued a stamped");
                return Ok(ticket);
            }
        }
        Err(Refusal::Empty)
    }

    /// Frees the cell of a claim whose item stands aside and whose claimant `by` is gone. Does nothing to any other
    /// cell, and may be done again.
    #[cold]
    pub(in crate::raw) fn free_moved(&self, life: &impl Liveness, ticket: Ticket, by: u32) {
        let Ok(cell) = self.cell(ticket.index) else { return };
        let free = CellWord::empty(self.geometry.lap_after(ticket.lap)).0;
        // The newest claim stands in the cell once it is stamped there, as any other; until then the head names it.
        let end = EndWord(self.header.head.end.load(order!(ring_head_rescue, Acquire)));
        let newest = self.geometry.before(end.ticket()) == self.geometry.pack(ticket) && end.id() == by;
        let open = newest.then_some(CellWord::full(ticket.lap));
        let named = [CellWord::new(ticket.lap, Phase::Reading, by), CellWord::new(ticket.lap, Phase::Reading, 0)];
        for from in open.into_iter().chain(named) {
            // Release: the next producer writes after what the dead one read.
            if cell.compare_exchange(from.0, free, order!(ring_moved, Release), Relaxed).is_ok() {
                mark("freed the cell of a lease");
                self.header.space.0.notify(life);
                return;
            }
        }
    }

    /// Release: whoever asks whether we live has seen us arrive. What the cell holds was acquired by the look.
    fn adopt(&self, life: &impl Liveness, ticket: Ticket, from: CellWord) -> bool {
        let mine = CellWord::new(ticket.lap, Phase::Reading, life.me().get());
        self.cell(ticket.index)
            .is_ok_and(|cell| cell.compare_exchange(from.0, mine.0, order!(ring_adopt, Release), Relaxed).is_ok())
    }

    /// Removes the names of the dead from every word and settles their claims, beside living participants.
    /// Items that dead consumers held wait for a rescuer; cells of dead producers at the head are freed,
    /// others are given up. The result is the number of words changed.
    ///
    /// Afterwards no word names whoever was dead at the call, and none can come to: what a slow peer may
    /// still stamp is a claim that is already settled, and its exchange fails.
    #[cold]
    pub fn recover(&self, life: &impl Liveness) -> u32 {
        let mut found = self.settle_newest(life, &self.header.tail.0, Phase::Empty, Phase::Writing);
        let mut astray = self.settle_newest(life, &self.header.head.end, Phase::Full, Phase::Reading);
        for index in 0..self.geometry.capacity() {
            let Ok(cell) = self.cell(index) else { break };
            let word = CellWord(cell.load(order!(ring_stamp_look, Acquire)));
            let is_claim = matches!(word.phase(), Phase::Writing | Phase::Reading);
            if is_claim && is_dead(life, word.id()) && settle(cell, word, word.unnamed()) {
                mark("unnamed a stamped");
                *(if word.phase() == Phase::Reading { &mut astray } else { &mut found }) += 1;
            }
        }
        if astray != 0 {
            self.announce_astray(life);
        }
        found + astray + self.clear_given_up(life)
    }

    /// Settles the newest claim of one end if its claimant is dead: first in the cell, then in the end.
    fn settle_newest(&self, life: &impl Liveness, at: &AtomicU64, from: Phase, to: Phase) -> u32 {
        let end = EndWord(at.load(order!(ring_end_recover, Acquire)));
        if !is_dead(life, end.id()) {
            return 0;
        }
        let newest = self.geometry.unpack(self.geometry.before(end.ticket()));
        let (open, settled) = (CellWord::new(newest.lap, from, 0), CellWord::new(newest.lap, to, 0));
        // A claim that was stamped meanwhile is found among the cells, which are looked at later.
        let was_open = self.cell(newest.index).is_ok_and(|cell| settle(cell, open, settled));
        if was_open {
            mark("settled the newest");
        }
        // A failure means that somebody claimed the next ticket, and named this claim before.
        let renamed = at.compare_exchange(end.0, end.unnamed().0, order!(ring_end_unname, Release), Relaxed).is_ok();
        u32::from(was_open) + u32::from(renamed)
    }

    /// Frees what was given up and has come to the head.
    fn clear_given_up(&self, life: &impl Liveness) -> u32 {
        let mut cleared = 0;
        // Bounded: each round frees or steps over one cell, or is lost to somebody who did.
        for _ in 0..self.geometry.capacity().saturating_mul(2) {
            let end = EndWord(self.header.head.end.load(order!(ring_head_look, Acquire)));
            let ticket = self.geometry.unpack(end.ticket());
            let Ok(cell) = self.cell(ticket.index) else { break };
            let word = CellWord(cell.load(order!(ring_full_look, Acquire)));
            let is_void = word == CellWord::new(ticket.lap, Phase::Writing, 0);
            let is_over = self.geometry.laps_ahead(word, ticket.lap) == 1;
            if !is_void && !is_over {
                break;
            }
            match self.clear_head(life, false, end, word, ticket) {
                Ok(_) => cleared += u32::from(is_void),
                Err(_) => break,
            }
        }
        cleared
    }

    /// Whether an item was ever leased: a word for the machine of leases.
    pub(in crate::raw) fn leased(&self) -> &'a AtomicU32 {
        &self.header.head.leased
    }

    /// The tail as it is now.
    pub(in crate::raw) fn tail_word(&self) -> u64 {
        // Relaxed: compared only.
        EndWord(self.header.tail.0.load(Relaxed)).ticket()
    }

    /// A ticket as one number, of 40 bits.
    #[inline]
    pub fn packed(&self, ticket: Ticket) -> u64 {
        self.geometry.pack(ticket)
    }

    pub(in crate::raw) fn unpack(&self, packed: u64) -> Ticket {
        self.geometry.unpack(packed)
    }

    /// Whether every item that was pushed has been taken and freed, and no claim is open: true of one
    /// moment of the call.
    pub fn is_idle(&self) -> bool {
        let end = self.header.tail.0.load(order!(ring_tail_look, Acquire));
        let newest = self.geometry.unpack(self.geometry.before(EndWord(end).ticket()));
        for index in 0..self.geometry.capacity() {
            let Ok(cell) = self.cell(index) else { return false };
            let word = CellWord(cell.load(order!(ring_idle_look, Acquire)));
            let is_claimed = index == newest.index && self.geometry.laps_ahead(word, newest.lap) <= 0;
            if word.phase() != Phase::Empty || is_claimed {
                return false;
            }
        }
        // No claim since: what was free is still free. Relaxed: the looks above come before.
        EndWord(self.header.tail.0.load(Relaxed)).ticket() == EndWord(end).ticket()
    }
}

impl<S: Slots> fmt::Debug for Ring<'_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ring")
            .field("capacity", &self.capacity())
            .field("head", &EndWord(self.header.head.end.load(Relaxed)))
            .field("tail", &EndWord(self.header.tail.0.load(Relaxed)))
            .finish_non_exhaustive()
    }
}

/// Whether `id` names somebody, and that one is dead.
fn is_dead(life: &impl Liveness, id: u32) -> bool {
    ParticipantId::new(id).is_some_and(|id| id != life.me() && life.is_dead(id))
}

/// Release: whoever takes nobody's claim over goes on after what the dead did.
fn settle(cell: &AtomicU64, from: CellWord, to: CellWord) -> bool {
    cell.compare_exchange(from.0, to.0, order!(ring_settle, Release), Relaxed).is_ok()
}
