//! How entries come and go: under the lock of their bucket, announced, and by one store each.
#![forbid(unsafe_code)]

use crate::order;
use crate::raw::table::{Asked, CHAIN_MAX, LONG_CHAIN, Store, Table, Trouble};
use crate::raw::table_desk::{Claim, Desk, Step};
use crate::raw::table_lock::Locked;
use crate::raw::table_word::{Line, Word};
use crate::sync::Ordering::Relaxed;

/// A slot of a locked bucket.
pub struct Slot<'a, L> {
    /// In which line.
    pub line: &'a L,
    /// What links that line; 0: it is the bucket's own.
    pub link: u32,
    /// Which.
    pub slot: u32,
}

/// The next slot of a locked bucket's own line.
pub struct Next<L> {
    slot: u32,
    /// What the header will be with an entry in it.
    word: Word<L>,
}

/// Where an entry is, or would be.
pub enum Spot<'a, L> {
    /// There.
    Found(Slot<'a, L>),
    /// It is not there; this slot is free.
    Free(Slot<'a, L>),
    /// It is not there, and nothing is free; this line is the last.
    Full(&'a L),
}

impl<'a, S: Store> Table<'a, S> {
    /// Where an entry is, or would be. Under the lock.
    #[inline(always)]
    pub fn locate(
        &self,
        locked: &Locked<'a, S::Line>,
        asked: &mut impl Asked<S::Line>,
    ) -> Result<Spot<'a, S::Line>, Trouble> {
        let (line, word) = (locked.line, locked.word);
        let mut candidates = asked.candidates(line, word.occupied());
        while candidates != 0 {
            let slot = candidates.trailing_zeros();
            candidates &= candidates - 1;
            if asked.meets(line, slot) {
                return Ok(Spot::Found(Slot { line, link: 0, slot }));
            }
        }
        match word.free_slot() {
            Some(slot) if line.link().load(Relaxed) == 0 => Ok(Spot::Free(Slot { line, link: 0, slot })),
            _ => self.locate_behind(locked, asked),
        }
    }

    /// As [`locate`](Self::locate), of what is not in the bucket's own line.
    #[inline]
    pub fn locate_behind(
        &self,
        locked: &Locked<'a, S::Line>,
        asked: &mut impl Asked<S::Line>,
    ) -> Result<Spot<'a, S::Line>, Trouble> {
        let mut free = locked.word.free_slot().map(|slot| Slot { line: locked.line, link: 0, slot });
        let (mut last, mut link) = (locked.line, locked.line.link().load(Relaxed));
        for lines in 0..CHAIN_MAX as u32 {
            if link == 0 {
                if lines > LONG_CHAIN && self.bits + locked.word.level() >= 4 {
                    self.head.raise_alarm();
                }
                return Ok(free.map_or(Spot::Full(last), Spot::Free));
            }
            last = self.store.chained(link).ok_or(Trouble::Corrupt("a link"))?;
            let word = Word::mine(last);
            let mut candidates = asked.candidates(last, word.occupied());
            while candidates != 0 {
                let slot = candidates.trailing_zeros();
                candidates &= candidates - 1;
                if asked.meets(last, slot) {
                    return Ok(Spot::Found(Slot { line: last, link, slot }));
                }
            }
            if free.is_none() {
                free = word.free_slot().map(|slot| Slot { line: last, link, slot });
            }
            link = last.link().load(Relaxed);
        }
        Err(Trouble::Corrupt("a chain without an end"))
    }

    /// Puts an entry into a free slot, which `fill` writes, and gives the lock back.
    #[inline(always)]
    pub fn insert(
        &self,
        desk: &Desk,
        locked: Locked<'a, S::Line>,
        at: &Slot<'_, S::Line>,
        fill: impl FnOnce(&S::Line, u32),
    ) {
        self.insert_as(desk, locked, at, fill, |locked| locked.occupy(at, true));
    }

    /// The same, straight: into the next slot of the bucket's own line.
    #[inline(always)]
    pub fn insert_next(
        &self,
        desk: &Desk,
        locked: Locked<'a, S::Line>,
        next: Next<S::Line>,
        fill: impl FnOnce(&S::Line, u32),
    ) {
        let at = Slot { line: locked.line, link: 0, slot: next.slot };
        self.insert_as(desk, locked, &at, fill, |locked| locked.publish(next.word));
    }

    #[inline(always)]
    fn insert_as(
        &self,
        desk: &Desk,
        mut locked: Locked<'a, S::Line>,
        at: &Slot<'_, S::Line>,
        fill: impl FnOnce(&S::Line, u32),
        occupy: impl FnOnce(&mut Locked<'a, S::Line>),
    ) {
        let count_after = desk.own_count().wrapping_add(1);
        let claim = Claim::new(Step::Insert, locked.bucket);
        desk.announce(Claim { link: at.link, slot: at.slot, count_after, ..claim });
        fill(at.line, at.slot);
        occupy(&mut locked);
        desk.set_count(count_after);
        // What was kept stands in the table.
        desk.done_keeping(0);
        self.unlock(locked);
    }

    /// Puts an entry into a new line behind the last one, which `fill` writes, and gives the lock back. The desk has a
    /// spare line: else the bucket stays locked.
    pub fn extend(
        &self,
        desk: &Desk,
        mut locked: Locked<'a, S::Line>,
        last: &S::Line,
        fill: impl FnOnce(&S::Line, u32),
    ) -> Result<(), Trouble> {
        let new = desk.spare();
        let Some(line) = self.store.chained(new).filter(|_| new != 0) else {
            self.unlock(locked);
            return Err(Trouble::NeedsLines(1));
        };
        let (count_after, rest) = (desk.own_count().wrapping_add(1), line.link().load(Relaxed));
        desk.announce(Claim { new, rest, count_after, ..Claim::new(Step::Extend, locked.bucket) });
        // Release: not before it was announced.
        line.link().store(0, order!(table_link, Release));
        fill(line, 0);
        Word::mine(line).of(None).with_occupied(1).changed().publish(line);
        last.link().store(new, order!(table_link, Release));
        locked.change();
        desk.set_spare(rest);
        desk.set_count(count_after);
        // What was kept stands in the table.
        desk.done_keeping(0);
        self.unlock(locked);
        Ok(())
    }

    /// Takes an entry out. What it referred to leaves: see [`Table::let_leave`]. The bucket stays locked.
    #[inline(always)]
    pub fn remove(&self, desk: &Desk, locked: &mut Locked<'a, S::Line>, at: &Slot<'_, S::Line>) {
        let count_after = desk.own_count().wrapping_sub(1);
        let old = at.line.reference(at.slot).unwrap_or(0);
        let claim = Claim::new(Step::Remove, locked.bucket);
        desk.announce(Claim { link: at.link, slot: at.slot, count_after, old, ..claim });
        locked.occupy(at, false);
        desk.set_leaving(old);
        desk.set_count(count_after);
        desk.done();
    }

    /// Gives an entry the block that the desk keeps, by `refer`, and gives the lock back. From then on the desk keeps the block
    /// that the entry had.
    #[inline(always)]
    pub fn exchange(
        &self,
        desk: &Desk,
        mut locked: Locked<'a, S::Line>,
        at: &Slot<'_, S::Line>,
        (old, new): (u32, u32),
        refer: impl FnOnce(&S::Line, u32, u32),
    ) {
        let claim = Claim::new(Step::Exchange, locked.bucket);
        desk.announce(Claim { link: at.link, slot: at.slot, old, ..claim });
        refer(at.line, at.slot, new);
        if at.link != 0 {
            Word::mine(at.line).changed().publish(at.line);
        }
        // Before the old block can be written again.
        locked.change();
        desk.done_keeping(old);
        self.unlock(locked);
    }

    /// Frees the block that the desk keeps, if there is one. Nothing is announced.
    #[cold]
    #[inline(never)]
    pub fn let_kept_go(&self, desk: &Desk) {
        let kept = desk.kept();
        // Who died between the two stores below has said that it leaves already, and may have freed it.
        if desk.leaving().is_none_or(|(leaving, _)| leaving.unit != kept) {
            self.let_leave(desk);
            desk.set_leaving(kept);
        }
        desk.keep(0);
        self.let_leave(desk);
    }

    /// Frees the block that leaves, if there is one. Needs no lock.
    #[inline(always)]
    pub fn let_leave(&self, desk: &Desk) {
        if let Some((leaving, noted)) = desk.leaving() {
            self.store.leave(&leaving, noted);
            leaving.has_left();
        }
    }

    /// Takes a line without entries out of the chain of a locked bucket; it becomes a spare one. Nothing if it has any.
    #[cold]
    pub fn unlink(&self, desk: &Desk, locked: &mut Locked<'a, S::Line>, link: u32) {
        let is_empty = |line: &&S::Line| link != 0 && Word::mine(*line).occupied() == 0;
        let Some(line) = self.store.chained(link).filter(is_empty) else {
            return;
        };
        let mut before = locked.line;
        for _ in 0..CHAIN_MAX {
            let next = before.link().load(Relaxed);
            if next == link {
                desk.announce_alone(Claim { old: link, ..Claim::new(Step::Unlink, locked.bucket) });
                before.link().store(line.link().load(Relaxed), order!(table_link, Release));
                locked.change();
                self.keep_spare(desk, link, line);
                desk.done();
                return;
            }
            match self.store.chained(next) {
                Some(line) if next != 0 => before = line,
                _ => return,
            }
        }
    }

    /// The line is the first spare one.
    pub(crate) fn keep_spare(&self, desk: &Desk, link: u32, line: &S::Line) {
        if desk.spare() != link {
            line.link().store(desk.spare(), order!(table_link, Release));
            desk.set_spare(link);
        }
    }

    /// Adds a line to the spare ones, which nobody refers to yet and a hand announces.
    pub fn add_spare(&self, desk: &Desk, link: u32) -> Result<(), Trouble> {
        let line = self.store.chained(link).ok_or(Trouble::Corrupt("a link"))?;
        Word::<S::Line>::from_bits(0).publish(line);
        self.keep_spare(desk, link, line);
        Ok(())
    }

    /// Frees spare lines beyond so many.
    #[cold]
    pub fn drop_spares(&self, desk: &Desk, most: usize) {
        let count = (0..CHAIN_MAX).scan(desk.spare(), |link, _| {
            let line = self.store.chained(*link).filter(|_| *link != 0)?;
            *link = line.link().load(Relaxed);
            Some(())
        });
        for _ in most..count.count() {
            let old = desk.spare();
            let Some(line) = self.store.chained(old).filter(|_| old != 0) else { return };
            let rest = line.link().load(Relaxed);
            desk.announce_alone(Claim { old, rest, ..Claim::new(Step::Drop, 0) });
            desk.set_spare(rest);
            desk.set_leaving(old);
            desk.done();
            self.let_leave(desk);
        }
    }
}

impl<'a, L: Line> Locked<'a, L> {
    /// A free slot for what belongs into this bucket and is not in its own line, if there are no others.
    #[inline(always)]
    pub fn next(&self) -> Option<Next<L>> {
        if self.line.link().load(Relaxed) != 0 {
            return None;
        }
        self.word.with_next().map(|(slot, word)| Next { slot, word })
    }

    /// Makes a slot occupied, or not. This is the commit.
    #[inline(always)]
    fn occupy(&mut self, at: &Slot<'_, L>, yes: bool) {
        let changed = |word: Word<L>| word.with(at.slot, yes).changed();
        if at.link == 0 {
            self.publish(changed(self.word));
        } else {
            changed(Word::mine(at.line)).publish(at.line);
            // Readers who find nothing look at the bucket's own line alone.
            self.change();
        }
    }

    /// A new version in the bucket's own line.
    #[inline(always)]
    pub(crate) fn change(&mut self) {
        self.publish(self.word.changed());
    }

    /// A new header. The bucket stays locked.
    #[inline(always)]
    fn publish(&mut self, word: Word<L>) {
        self.word = word;
        word.taken_by(self.me).publish(self.line);
    }

    /// What the header will be.
    pub fn word(&self) -> Word<L> {
        self.word
    }
}
