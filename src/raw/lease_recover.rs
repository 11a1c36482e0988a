//! What becomes of leases whose holders do not end them: delivered again, counted, recovered; and whether all
//! work on a queue is done.
#![forbid(unsafe_code)]

use crate::participant::{Liveness, ParticipantId};
use crate::raw::lease_word::{LeasePhase, LeaseWord};
use crate::raw::leases::{Entries, Got, Held, Leases};
use crate::raw::ring::{Refusal, Slots, is_gone};
use crate::raw::ring_aside::Aside;
use crate::raw::ring_word::Ticket;
use crate::sync::{Ordering::Relaxed, Patience, mark, rested::Rested};

impl<S: Slots, E: Entries> Leases<'_, S, E> {
    /// The dead holder's lease in entry `index`, whose word was read as `word`, becomes `to`; its cell is freed before.
    fn inherit(&self, life: &impl Liveness, index: u32, word: LeaseWord, to: LeaseWord) -> bool {
        let Some(ticket) = self.entries.ticket(index) else { return false };
        // Relaxed: stored before the word that was read. If the entry is another's now, the exchange below fails, and
        // the cell of another's ticket does not name the dead.
        let ticket = self.ring.unpack(ticket.load(Relaxed));
        self.ring.free_moved(life, ticket, word.id());
        self.take(index, word, to)
    }

    /// Takes a dead letter, or an item whose last holder died: for reading; it ends by [`ack`](Leases::ack) or
    /// [`nack`](Leases::nack).
    pub fn take_letter(&self, life: &impl Liveness) -> Option<Held> {
        let mut alive = 0;
        self.find(|index, word| {
            let mine = LeaseWord::leased(life.me(), word.attempt());
            let taken = match word.phase() {
                LeasePhase::Letter => self.take(index, word, mine),
                LeasePhase::Leased if self.is_last(word) && word.id() != alive => {
                    if is_gone(life, word.id()) {
                        self.inherit(life, index, word, mine)
                    } else {
                        alive = word.id();
                        false
                    }
                }
                _ => false,
            };
            taken.then(|| Held { index, attempt: word.attempt(), back: LeaseWord::FREE })
        })
    }

    /// Whether the attempt that this lease is may not be followed by another.
    fn is_last(&self, word: LeaseWord) -> bool {
        self.after(word.attempt()) == LeaseWord::letter(word.attempt())
    }

    fn find<R>(&self, mut f: impl FnMut(u32, LeaseWord) -> Option<R>) -> Option<R> {
        if !self.ever() {
            return None;
        }
        (0..self.rules.entries()).find_map(|index| f(index, self.look(index)?))
    }

    /// As [`Ring::rescue`](crate::raw::ring::Ring::rescue): an item that was moved into an entry is not delivered from its
    /// cell.
    pub fn rescue(&self, life: &impl Liveness) -> Result<Ticket, Refusal> {
        self.ring.rescue_beside(life, self)
    }

    /// How many items are leased, wait to be delivered again, and are dead letters.
    pub fn counts(&self) -> [u32; 3] {
        let mut counts = [0; 3];
        self.find::<()>(|_, word| {
            match word.phase() {
                LeasePhase::Leased => counts[0] += 1,
                LeasePhase::Waiting => counts[1] += 1,
                LeasePhase::Letter => counts[2] += 1,
                _ => {}
            }
            None
        });
        counts
    }

    /// Looks at a few entries from the `turn`-th on, so that a ring that is never empty does not keep what the dead
    /// left for ever.
    #[cold]
    pub fn tend(&self, life: &impl Liveness, turn: u32) {
        const AT_ONCE: u32 = 32;
        if !self.ever() || self.rules.entries() == 0 {
            return;
        }
        let (mut alive, mut found) = (0, 0);
        for step in 0..AT_ONCE.min(self.rules.entries()) {
            let index = turn.wrapping_mul(AT_ONCE).wrapping_add(step) % self.rules.entries();
            found += self.recover_entry(life, index, &mut alive);
            found += u32::from(self.look(index).is_some_and(|word| word.phase() == LeasePhase::Waiting));
        }
        if found != 0 {
            self.announce(life);
        }
    }

    fn recover_entry(&self, life: &impl Liveness, index: u32, alive: &mut u32) -> u32 {
        let Some(word) = self.look(index) else { return 0 };
        let is_named = matches!(word.phase(), LeasePhase::Leased | LeasePhase::Kept);
        if !is_named || word.id() == *alive || ParticipantId::new(word.id()).is_none() {
            return 0;
        }
        if !is_gone(life, word.id()) {
            *alive = word.id();
            return 0;
        }
        let settled = match word.phase() {
            LeasePhase::Leased => self.inherit(life, index, word, self.after(word.attempt())),
            _ => self.take(index, word, LeaseWord::FREE),
        };
        u32::from(settled)
    }

    /// Removes the names of the dead from every word of the entries and of the ring. What they held waits to
    /// be delivered again. The number of words changed.
    #[cold]
    pub fn recover(&self, life: &impl Liveness) -> u32 {
        let (mut found, mut alive) = (0, 0);
        if self.ever() {
            // Entries first: a claim in a cell that loses its name is still known by its ticket.
            found = (0..self.rules.entries()).map(|index| self.recover_entry(life, index, &mut alive)).sum();
        }
        if found != 0 {
            self.announce(life);
        }
        found + self.ring.recover(life)
    }

    /// Whether nothing is queued, nothing is leased and nothing waits to be delivered again: true of one
    /// moment of the call. Dead letters do not count.
    pub fn is_idle(&self) -> bool {
        let tail = self.ring.tail_word();
        // The ring first: what leaves it is in an entry before.
        let still = |_, word: LeaseWord| matches!(word.phase(), LeasePhase::Leased | LeasePhase::Waiting).then_some(());
        self.ring.is_idle() && self.find(still).is_none() && self.ring.tail_word() == tail
    }

    /// Frees the entries of items that wait to be delivered again and, as the caller can tell, were done with: their
    /// holders died between the work's last act and the end of the lease.
    pub fn discard(&self, life: &impl Liveness, is_done: impl Fn(u32) -> bool) {
        self.find::<()>(|index, word| {
            if word.phase() == LeasePhase::Waiting
                && is_done(index)
                && self.take(index, word, LeaseWord::leased(life.me(), word.attempt()))
            {
                self.ack(life, Held { index, attempt: word.attempt(), back: LeaseWord::FREE });
            }
            None
        });
    }

    /// Sleeps until nothing is queued and nothing is leased; `settle` is called now and then. False: the deadline passed.
    pub fn wait_idle(&self, life: &impl Liveness, patience: &mut Patience, settle: impl Fn()) -> bool {
        let space = self.ring.space();
        let mut woken = false;
        // Ends at the deadline, or when all is done.
        loop {
            while patience.spin() {
                if self.is_idle() {
                    return true;
                }
            }
            if woken {
                patience.nap();
            }
            let seen = space.prepare_all();
            if self.is_idle() {
                return true;
            }
            match space.rest(seen, life, patience) {
                Rested::DeadlinePassed => return self.is_idle(),
                Rested::Looked => woken = true,
                // What the dead had in hand is for others; a claim that came to nothing is in nobody's way.
                Rested::SliceEnded => {
                    self.recover(life);
                    settle();
                }
            }
        }
    }
}

impl<S: Slots, E: Entries> Aside for Leases<'_, S, E> {
    type Got = Got;

    fn has(&self, ticket: Ticket) -> bool {
        let packed = self.ring.packed(ticket);
        let holds = |index, word: LeaseWord| {
            // Relaxed: stored before the word that was read.
            (word.holds_an_item() && self.entries.ticket(index)?.load(Relaxed) == packed).then_some(())
        };
        self.find(holds).is_some()
    }

    fn take(&self, life: &impl Liveness, ask: bool) -> Option<Got> {
        let mut alive = 0;
        self.find(|index, word| {
            let next = word.attempt().saturating_add(1);
            let mine = LeaseWord::leased(life.me(), next);
            let taken = match word.phase() {
                LeasePhase::Waiting => self.take(index, word, mine),
                LeasePhase::Leased if ask && word.id() != alive => {
                    if !is_gone(life, word.id()) {
                        alive = word.id();
                        false
                    } else if self.is_last(word) {
                        let _ = self.inherit(life, index, word, LeaseWord::letter(word.attempt()));
                        false
                    } else {
                        self.inherit(life, index, word, mine)
                    }
                }
                _ => false,
            };
            taken.then(|| {
                mark(if word.phase() == LeasePhase::Waiting { "delivered again" } else { "inherited" });
                Got::Entry(Held { index, attempt: next, back: LeaseWord::FREE })
            })
        })
    }

    fn may_return(&self, life: &impl Liveness) -> bool {
        let returns = |_, word: LeaseWord| match word.phase() {
            LeasePhase::Leased => (word.id() != life.me().get()).then_some(()),
            LeasePhase::Waiting => Some(()),
            _ => None,
        };
        // The ring first: what leaves it is in an entry before. Who has claimed an item there may lease it yet.
        !self.ring.is_idle() || self.find(returns).is_some()
    }
}
