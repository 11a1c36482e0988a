//! Items that left the ring and are not yet done with: each stands in an entry that names its holder.
//!
//! A consumer that leases moves the item out of its cell into an entry and frees the cell, so that a long lease
//! holds nobody up. The entry is free again when the item is acknowledged; given back or left by the dead, the
//! item is delivered again from there.
//!
//! **The hand-over.** 1 claim a ticket of the ring, 2 fill an entry: the item, then the ticket, 3 store
//! `LEASED(me, 1)`, 4 free the cell. Between 3 and 4 the item stands in two places that name the same
//! participant. If it dies there, the entry is right: whoever finds the claim in the cell looks for its ticket among
//! the entries before it takes the item, and whoever finds the entry frees the cell before it takes the
//! item. Both are exchanges of the claim of the dead, of which one succeeds.
//!
//! **Entries without an exchange.** Every row of the registry has entries of its own behind those that are for all. A
//! thread that once took one of its row keeps it: `KEPT(me, thread)` between two leases, which nobody else
//! changes. So the usual lease and its end are one store each.
//!
//! | killed | what remains | who settles it |
//! |---|---|---|
//! | before 3 | the claim in the cell; the entry says `KEPT` | the ring's rescue; whoever needs the entry |
//! | between 3 and 4 | both | either rescuer, as above |
//! | while leased | `LEASED(id, a)` | any consumer that finds nothing else, or tends: delivered again, `a + 1`; over the limit, a dead letter |
//! | after the end, before the wake | nobody was told | the slices of sleepers |
//! | redeliverer | `LEASED(its id, a + 1)` | as any lease |
//!
//! A lease counts as an attempt when its word names the holder: one who dies before it saw the item has tried.
#![forbid(unsafe_code)]

use crate::order;
use crate::participant::Liveness;
use crate::raw::lease_word::{LeasePhase, LeaseWord};
use crate::raw::ring::{MOVED, Ring, Slots, is_gone};
use crate::raw::ring_word::Ticket;
use crate::sync::{AtomicU64, Ordering::Relaxed, publish_store};

/// Where the words of the entries are. The items are the caller's.
pub trait Entries {
    /// The state word of entry `index`; `None` for every index that is not below their number.
    fn state(&self, index: u32) -> Option<&AtomicU64>;
    /// The word for the ticket of its item.
    fn ticket(&self, index: u32) -> Option<&AtomicU64>;
}

impl Entries for &[[AtomicU64; 2]] {
    fn state(&self, index: u32) -> Option<&AtomicU64> {
        self.get(index as usize).map(|entry| &entry[0])
    }
    fn ticket(&self, index: u32) -> Option<&AtomicU64> {
        self.get(index as usize).map(|entry| &entry[1])
    }
}

/// How many entries there are, and how often an item is tried.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rules {
    /// Entries for all.
    pub common: u32,
    /// Entries of each row, behind those.
    pub each: u32,
    /// Rows.
    pub rows: u32,
    /// An item that was tried so often is not delivered again; 0: no limit.
    pub attempts_max: u32,
}

impl Rules {
    /// All entries.
    #[inline]
    pub const fn entries(&self) -> u32 {
        self.common.saturating_add(self.each.saturating_mul(self.rows))
    }
}

/// Who leases: the row of the participant, and a number that no other of its living threads has (0: none).
#[derive(Clone, Copy, Debug)]
pub struct Seat {
    /// The row.
    pub row: u32,
    /// The number of the thread.
    pub thread: u32,
}

/// Permission to fill entry `index`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Room {
    /// The entry.
    pub index: u32,
    /// What it becomes again.
    back: LeaseWord,
}

/// Permission to read entry `index`, until the lease ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Held {
    /// The entry.
    pub index: u32,
    /// The how manieth attempt this is.
    pub attempt: u32,
    pub(in crate::raw) back: LeaseWord,
}

/// What a consumer of a ring with leases gets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Got {
    /// An item in a cell.
    Cell(Ticket),
    /// An item in an entry that came back. It is leased.
    Entry(Held),
}

impl From<Ticket> for Got {
    fn from(ticket: Ticket) -> Self {
        Self::Cell(ticket)
    }
}

/// A ring and what was leased from it.
#[derive(Clone, Copy)]
pub struct Leases<'a, S, E> {
    pub(in crate::raw) ring: Ring<'a, S>,
    pub(in crate::raw) entries: E,
    pub(in crate::raw) rules: Rules,
}

impl<'a, S: Slots, E: Entries> Leases<'a, S, E> {
    /// The leases over these words.
    #[inline]
    pub const fn new(ring: Ring<'a, S>, entries: E, rules: Rules) -> Self {
        Self { ring, entries, rules }
    }

    /// The ring.
    #[inline]
    pub fn ring(&self) -> &Ring<'a, S> {
        &self.ring
    }

    #[inline]
    fn own(&self, seat: Seat) -> Option<u32> {
        let of_row = self.rules.each.checked_sub(1).map(|mask| seat.thread & mask);
        Some(self.rules.common + seat.row * self.rules.each + of_row?)
    }

    #[inline]
    pub(in crate::raw) fn look(&self, index: u32) -> Option<LeaseWord> {
        Some(LeaseWord(self.entries.state(index)?.load(order!(lease_look, Acquire))))
    }

    /// Whoever takes sees what the one before did with the entry, and is seen to live.
    pub(in crate::raw) fn take(&self, index: u32, from: LeaseWord, to: LeaseWord) -> bool {
        self.entries
            .state(index)
            .is_some_and(|state| state.compare_exchange(from.0, to.0, order!(lease_take, AcqRel), Relaxed).is_ok())
    }

    #[inline]
    fn put(&self, index: u32, word: LeaseWord) {
        if let Some(state) = self.entries.state(index) {
            publish_store(state, word.0, order!(lease_put, Release));
        }
    }

    /// The entry that this thread keeps, if it holds nothing.
    #[inline]
    pub fn kept_room(&self, life: &impl Liveness, seat: Seat) -> Option<Room> {
        let (index, kept) = (self.own(seat)?, LeaseWord::kept(life.me(), seat.thread));
        (seat.thread != 0 && self.look(index)? == kept).then_some(Room { index, back: kept })
    }

    /// An entry to fill: one to keep if there is, else one of those for all. `None`: all are taken.
    #[cold]
    pub fn room(&self, life: &impl Liveness, seat: Seat) -> Option<Room> {
        let (me, leased) = (life.me(), &self.ring.leased());
        if leased.load(Relaxed) == 0 {
            // Relaxed: whoever sees a lease sees this, by way of the lease.
            leased.store(1, Relaxed);
        }
        if let Some(room) = self.kept_room(life, seat) {
            return Some(room);
        }
        if seat.thread != 0
            && let Some(index) = self.own(seat)
            && let Some(word) = self.look(index)
            && self.is_vacant(life, word, true)
        {
            let kept = LeaseWord::kept(me, seat.thread);
            if self.take(index, word, kept) {
                return Some(Room { index, back: kept });
            }
        }
        // Again where one was lost to others: they may have freed it, not taken it.
        for _ in 0..MOVED {
            let mut lost = false;
            for ask in [false, true] {
                if let Some(room) = self.common_room(life, ask, &mut lost) {
                    return Some(room);
                }
            }
            if !lost {
                break;
            }
        }
        None
    }

    fn common_room(&self, life: &impl Liveness, ask: bool, lost: &mut bool) -> Option<Room> {
        let (me, all) = (life.me(), self.rules.common);
        (0..all).find_map(|step| {
            // Participants start at different places.
            let index = (me.get().wrapping_mul(7).wrapping_add(step)) % all;
            let word = self.look(index)?;
            let is_vacant = self.is_vacant(life, word, ask);
            let is_mine = is_vacant && self.take(index, word, LeaseWord::kept(me, 0));
            *lost |= is_vacant && !is_mine;
            is_mine.then_some(Room { index, back: LeaseWord::FREE })
        })
    }

    fn is_vacant(&self, life: &impl Liveness, word: LeaseWord, ask: bool) -> bool {
        match word.phase() {
            LeasePhase::Free => word == LeaseWord::FREE,
            LeasePhase::Kept => ask && word.id() != life.me().get() && is_gone(life, word.id()),
            _ => false,
        }
    }

    /// The hand-over of the ring's item, whose bytes the caller has copied into the entry: leased from here on,
    /// and the cell is free.
    #[inline]
    pub fn move_in(&self, life: &impl Liveness, ticket: Ticket, room: Room) -> Held {
        if let Some(word) = self.entries.ticket(room.index) {
            word.store(self.ring.packed(ticket), Relaxed);
        }
        self.put(room.index, LeaseWord::leased(life.me(), 1));
        self.ring.free(life, ticket);
        Held { index: room.index, attempt: 1, back: room.back }
    }

    /// A room that is not filled after all.
    pub fn leave(&self, room: Room) {
        self.put(room.index, room.back);
    }

    /// The end of a lease: the item is done with. One store, after which nobody gets it.
    #[inline]
    pub fn ack(&self, life: &impl Liveness, held: Held) {
        self.put(held.index, held.back);
        self.ring.space().notify_if_all(life);
    }

    /// The other end of a lease: the item is delivered again, or is a dead letter.
    pub fn nack(&self, life: &impl Liveness, held: Held) {
        self.put(held.index, self.after(held.attempt));
        self.announce(life);
    }

    pub(in crate::raw) fn after(&self, attempt: u32) -> LeaseWord {
        let over = self.rules.attempts_max != 0 && attempt >= self.rules.attempts_max;
        if over { LeaseWord::letter(attempt) } else { LeaseWord::waiting(attempt) }
    }

    pub(in crate::raw) fn announce(&self, life: &impl Liveness) {
        self.ring.announce_astray(life);
        self.ring.space().notify_if_all(life);
    }

    /// Whether anything was ever leased.
    pub fn ever(&self) -> bool {
        self.ring.leased().load(Relaxed) != 0
    }
}
