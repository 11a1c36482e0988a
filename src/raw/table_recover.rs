//! What dead writers leave in a table, and how it is made whole: by whoever finds a bucket locked by them, wants their
//! desks, or reaps them.
//!
//! All of it happens under the table's own lock of menders, desk by desk, from what the dead one announced. Each step may
//! be repeated, so a mender who dies leaves it to the next. Only when nothing is announced any more that the dead one
//! began, its buckets are taken over: by compare-and-swap, one by one, by whoever needs them. So until then nothing
//! changes in a bucket between a death in it and the answer to "did it happen?".
#![forbid(unsafe_code)]

use core::ops::Range;

use crate::deadline::Deadline;
use crate::order;
use crate::participant::{Liveness, ParticipantId};
use crate::raw::lock::Refused;
use crate::raw::table::{CHAIN_MAX, Store, Table, Trouble};
use crate::raw::table_change::Slot;
use crate::raw::table_desk::{Claim, Desk, Step};
use crate::raw::table_lock::{Locked, take};
use crate::raw::table_word::{Line, Word};
use crate::sync::{AtomicU32, Ordering::Relaxed, Patience, mark};

/// How often a writer follows a bucket that was split, or meets one that another has taken.
const HOPS: u32 = 100_000;

/// How long a writer waits for another thread of its own process: about ten seconds.
const NAPS: u32 = 20_000;

impl<'a, S: Store> Table<'a, S> {
    /// As [`lock`](Self::lock), when it is held, or the guess was wrong.
    #[cold]
    #[inline(never)]
    pub(crate) fn lock_anyhow(&self, life: &impl Liveness, hash: u64) -> Result<Locked<'a, S::Line>, Trouble> {
        // Remembered: the next guess is better.
        let mut bucket = self.refresh().bucket(hash);
        for _ in 0..HOPS {
            let line = self.store.bucket(bucket).ok_or(Trouble::Corrupt("a bucket that is not there"))?;
            let word = self.wait_for(life, line)?;
            if !self.belongs(hash, bucket, word) {
                bucket = self.redirect(hash, bucket, word);
            } else if take(life.me(), line, word) {
                return Ok(Locked { bucket, line, word, me: life.me() });
            }
        }
        Err(Trouble::Contended)
    }

    /// Locks a bucket, whatever belongs to it.
    pub fn lock_bucket(&self, life: &impl Liveness, bucket: u64) -> Result<Locked<'a, S::Line>, Trouble> {
        let line = self.store.bucket(bucket).ok_or(Trouble::Corrupt("a bucket that is not there"))?;
        for _ in 0..HOPS {
            let word = self.wait_for(life, line)?;
            if take(life.me(), line, word) {
                return Ok(Locked { bucket, line, word, me: life.me() });
            }
        }
        Err(Trouble::Contended)
    }

    /// Waits until nobody living has the line locked, and settles what a dead one left. The free word, as it was seen.
    fn wait_for(&self, life: &impl Liveness, line: &S::Line) -> Result<Word<S::Line>, Trouble> {
        let mut patience = Patience::new(Deadline::NEVER);
        let mut naps = 0_u32;
        // Unbounded: somebody living holds it, and a bucket is held for as long as it takes to change an entry.
        loop {
            let word = Word::look(line);
            let Some(owner) = word.owner() else { return Ok(word) };
            if patience.spin() {
                continue;
            }
            if life.is_over() {
                return Err(Trouble::Over);
            }
            if !life.is_dead(owner) {
                // Another thread of ours is done long before; but for the words of somebody who forges, nobody is.
                naps += u32::from(owner == life.me());
                if naps > NAPS {
                    return Err(Trouble::Corrupt("a bucket's owner"));
                }
                patience.nap();
                continue;
            }
            self.settle_dead(life, owner)?;
            // As the dead one's claims left it by now; then it is free for whoever is first.
            let word = Word::look(line);
            if word.owner() == Some(owner) {
                let free = word.of(None).bits();
                let freed = line.header().compare_exchange(word.bits(), free, order!(table_take_over, AcqRel), Relaxed);
                if freed.is_ok() {
                    mark("table: a bucket taken from the dead");
                }
            }
        }
    }

    /// Settles everything that a dead participant announced, and gives its desks to whoever comes.
    pub fn settle_dead(&self, life: &impl Liveness, dead: ParticipantId) -> Result<u32, Trouble> {
        self.settle(life, |owner| owner == dead)
    }

    /// Settles what all dead participants announced. How many desks they had.
    pub fn settle_all(&self, life: &impl Liveness) -> Result<u32, Trouble> {
        let used = self.desks.iter().take(self.head.desks_used());
        let mut owners: Vec<_> = used.filter_map(Desk::owner).collect();
        owners.sort_unstable();
        owners.dedup();
        owners.retain(|&owner| life.is_dead(owner));
        if owners.is_empty() { Ok(0) } else { self.settle(life, |owner| owners.contains(&owner)) }
    }

    fn settle(&self, life: &impl Liveness, is_dead: impl Fn(ParticipantId) -> bool) -> Result<u32, Trouble> {
        let mut patience = Patience::new(Deadline::NEVER);
        // A mender who died in the middle left desks that say what is still to do.
        self.head.mend.acquire(life, &mut patience).map_err(|refused| match refused {
            Refused::Corrupt => Trouble::Corrupt("the menders' lock"),
            Refused::TimedOut | Refused::Busy => Trouble::Over,
            Refused::Contended => Trouble::Contended,
        })?;
        let mut settled = 0;
        for desk in self.desks.iter().take(self.head.desks_used()) {
            if desk.owner().is_some_and(&is_dead) {
                self.settle_desk(desk);
                desk.leave();
                settled += 1;
            }
        }
        self.true_up();
        self.head.mend.release(false);
        Ok(settled)
    }

    /// Settles one desk, whose owner is dead or done for good. By one at a time.
    pub(crate) fn settle_desk(&self, desk: &Desk) {
        // Who died in getting a line has it in hand and as the first spare one. Whoever gets the desk may use it at once,
        // and the hand may be reaped later. All others were out of hand before the next one was got.
        if desk.spare() != 0 {
            self.store.disown(desk.spare());
        }
        if let Some(claim) = desk.claim() {
            self.settle_claim(desk, claim);
            desk.done();
        }
        self.let_kept_go(desk);
    }

    fn settle_claim(&self, desk: &Desk, claim: Claim) {
        let Claim { step, slot, count_after, new, old, rest, .. } = claim;
        if step == Step::Drop || step == Step::Clear {
            let stands = match step {
                Step::Drop => desk.spare(),
                _ => self.store.piece(claim.link).map_or(old, look_link),
            };
            if stands != old {
                desk.set_leaving(old);
            }
            return;
        }
        // What is not there, or is locked by nobody, was forged.
        let Some(own) = self.store.bucket(claim.bucket) else { return };
        if !Word::look(own).is_locked() {
            return;
        }
        let at = if claim.link == 0 { Some(own) } else { self.store.chained(claim.link) };
        match step {
            Step::Insert if at.is_some_and(|at| Word::look(at).has(slot)) => {
                mark("table: a dead insertion counts");
                desk.set_count(count_after);
                desk.keep(0);
            }
            Step::Remove if at.is_some_and(|at| !Word::look(at).has(slot)) => {
                mark("table: a dead removal counts");
                desk.set_leaving(old);
                desk.set_count(count_after);
            }
            Step::Exchange if at.is_some_and(|at| at.reference(slot) != Some(old)) => {
                mark("table: a dead exchange counts");
                if let Some(at) = at.filter(|_| claim.link != 0) {
                    Word::look(at).changed().publish(at);
                }
                // A reader may have the old block in its eyes.
                Word::look(own).changed().publish(own);
                desk.keep(old);
            }
            Step::Extend => match self.has_link(own, new) {
                true => {
                    Word::look(own).changed().publish(own);
                    desk.set_spare(rest);
                    desk.set_count(count_after);
                    desk.keep(0);
                }
                false => self.relink(new, rest, 1),
            },
            Step::Unlink if !self.has_link(own, old) => {
                Word::look(own).changed().publish(own);
                if let Some(line) = self.store.chained(old) {
                    self.keep_spare(desk, old, line);
                }
            }
            Step::Split => match Word::look(own).level() > slot {
                true => {
                    mark("table: a dead split counts");
                    desk.set_spare(rest);
                    self.tidy(claim.bucket, own);
                }
                false if new != 0 => self.relink(new, rest, count_after),
                false => {}
            },
            Step::Tidy => self.tidy(claim.bucket, own),
            _ => {}
        }
    }

    /// Whether the chain has this line.
    fn has_link(&self, own: &S::Line, link: u32) -> bool {
        let mut at = own;
        for _ in 0..CHAIN_MAX {
            let next = look_link(at.link());
            if next == link || next == 0 {
                return next == link && link != 0;
            }
            match self.store.chained(next) {
                Some(line) => at = line,
                None => return false,
            }
        }
        false
    }

    /// Makes `rest` follow the last of so many lines from `first` on, which were to become somebody's chain.
    fn relink(&self, first: u32, rest: u32, count: u64) {
        let mut at = first;
        for _ in 0..count.min(CHAIN_MAX as u64) {
            let Some(line) = self.store.chained(at) else { return };
            match look_link(line.link()) {
                next if next == rest => return,
                0 => return line.link().store(rest, order!(table_link, Release)),
                next => at = next,
            }
        }
    }

    /// Strikes off the chain of a locked bucket what belongs to another, or stands in the bucket's own line too.
    pub(crate) fn tidy(&self, bucket: u64, own: &S::Line) {
        let word = Word::look(own);
        let mut link = look_link(own.link());
        let mut is_changed = false;
        for _ in 0..CHAIN_MAX {
            let Some(line) = self.store.chained(link).filter(|_| link != 0) else { break };
            let now = Word::look(line);
            let stays = |slot: u32| {
                let belongs = self.store.hash_at(line, slot).is_none_or(|hash| self.belongs(hash, bucket, word));
                belongs && !(0..S::Line::SLOTS).any(|at| word.has(at) && own.is_same(at, line, slot))
            };
            let slots =
                (0..S::Line::SLOTS).filter(|&slot| now.has(slot) && stays(slot)).fold(0, |all, slot| all | 1 << slot);
            if slots != now.occupied() {
                now.with_occupied(slots).changed().publish(line);
                is_changed = true;
            }
            link = look_link(line.link());
        }
        if is_changed {
            Word::look(own).changed().publish(own);
        }
    }

    /// Frees all that the table refers to, of which nobody has a handle any more. May be repeated and died in. What is in
    /// its first lines is gone then.
    pub fn free_all(&self, life: &impl Liveness) -> Result<(), Trouble> {
        for desk in self.desks.iter().take(self.head.desks_used()) {
            self.settle_desk(desk);
            desk.leave();
        }
        self.head.split.recover(life);
        if let Some(mut splitter) = self.try_splitter(life) {
            splitter.count_dead();
        }
        let Some(desk) = self.take_desk(life, 0..self.desks.len())?.and_then(|index| self.desks.get(index)) else {
            return Err(Trouble::Corrupt("its desks"));
        };
        for bucket in 0..self.extent().buckets() {
            if self.store.bucket(bucket).is_some_and(|line| Word::look(line).owner().is_some()) {
                // Nobody works on it: whoever has it locked died, or forged it.
                let line = self.store.bucket(bucket).ok_or(Trouble::Corrupt("a bucket"))?;
                Word::look(line).of(None).publish(line);
            }
            self.free_bucket(life, desk, bucket)?;
        }
        self.head.grown.store(0, order!(table_grown, Release));
        for other in self.desks.iter().take(self.head.desks_used()) {
            self.drop_spares(other, 0);
        }
        for index in 0.. {
            let Some(piece) = self.store.piece(index) else { break };
            let old = look_link(piece);
            if old != 0 {
                desk.announce_alone(Claim { link: index, old, ..Claim::new(Step::Clear, 0) });
                piece.store(0, order!(table_piece, Release));
                desk.set_leaving(old);
                desk.done();
                self.let_leave(desk);
            }
        }
        desk.leave();
        Ok(())
    }

    fn free_bucket(&self, life: &impl Liveness, desk: &Desk, bucket: u64) -> Result<(), Trouble> {
        let mut locked = self.lock_bucket(life, bucket)?;
        // Bounded: each round takes a line away, or ends.
        for _ in 0..CHAIN_MAX {
            let link = locked.line.link().load(Relaxed);
            let line = if link == 0 { Some(locked.line) } else { self.store.chained(link) };
            let Some(line) = line else { break };
            let word = if link == 0 { locked.word } else { Word::mine(line) };
            for slot in (0..S::Line::SLOTS).filter(|&slot| word.has(slot)) {
                self.remove(desk, &mut locked, &Slot { line, link, slot });
                self.let_leave(desk);
            }
            if link == 0 {
                break;
            }
            self.unlink(desk, &mut locked, link);
        }
        self.unlock(locked);
        Ok(())
    }

    /// Frees every bucket that a dead participant has locked. Walks all of them; for when ids are to be used again.
    pub fn recover(&self, life: &impl Liveness) -> Result<u32, Trouble> {
        let mut traces = self.settle_all(life)?;
        traces = traces.saturating_add(self.head.split.recover(life)).saturating_add(self.head.mend.recover(life));
        let buckets = self.extent().buckets();
        // The child of a split that was not counted yet is one more.
        for line in (0..=buckets).map_while(|bucket| self.store.bucket(bucket)) {
            let word = Word::look(line);
            if word.owner().is_some_and(|owner| life.is_dead(owner)) {
                let free = word.of(None).bits();
                let freed = line.header().compare_exchange(word.bits(), free, order!(table_take_over, AcqRel), Relaxed);
                traces = traces.saturating_add(u32::from(freed.is_ok()));
            }
        }
        Ok(traces)
    }

    /// A desk for a thread of this participant, one of these: a free one, or one of the dead. `None`: all are taken.
    pub fn take_desk(&self, life: &impl Liveness, among: Range<usize>) -> Result<Option<usize>, Trouble> {
        for round in 0..2 {
            for index in among.clone() {
                if self.desks.get(index).is_some_and(|desk| desk.take(life.me())) {
                    self.head.note_desk(index);
                    self.true_up();
                    return Ok(Some(index));
                }
            }
            if round == 0 && self.settle_all(life)? == 0 {
                break;
            }
        }
        Ok(None)
    }

    /// What all desks count, those of the dead as they stand.
    pub(crate) fn count(&self) -> u64 {
        let used = self.desks.iter().take(self.head.desks_used());
        let sum = used.fold(0_u64, |sum, desk| sum.wrapping_add(desk.count()));
        // While others write, one desk may show a removal before another shows the insertion.
        if sum > u64::MAX / 2 { 0 } else { sum }
    }

    /// Sets the hint right: who died between two stores told the others, or noted that it had, and not both. The hint then.
    pub(crate) fn true_up(&self) -> u64 {
        let used = self.desks.iter().take(self.head.desks_used());
        let told = used.fold(0_u64, |sum, desk| sum.wrapping_add(desk.hinted()));
        // No exchange: who tells meanwhile is missed until the next time.
        self.head.hint.store(told, Relaxed);
        told
    }

    /// How many entries there are. Exact when nobody is writing, whoever died.
    pub fn len(&self, life: Option<&impl Liveness>) -> u64 {
        let used = || self.desks.iter().take(self.head.desks_used());
        if let Some(life) = life
            && used().any(|desk| desk.is_busy() && desk.owner().is_some_and(|owner| life.is_dead(owner)))
        {
            // What can not be settled counts as it stands.
            let _ = self.settle_all(life);
        }
        self.count()
    }
}

/// A link, as whoever died left it.
fn look_link(link: &AtomicU32) -> u32 {
    link.load(order!(table_chain, Acquire))
}
