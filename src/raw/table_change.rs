//! How entries come and go: under the lock of their bucket, announced, and by one store each.
#![forbid(unsafe_code)]

use crate::order;
use crate::participant::{Liveness, ParticipantId};
use crate::raw::table::{Asked, CHAIN_MAX, LONG_CHAIN, Store, Table, Trouble};
use crate::raw::table_desk::{Claim, Desk, Leaving, Step};
use crate::raw::table_word::{Line, Word};
use crate::sync::{Ordering::Relaxed, fence};

/// A bucket that is locked by us. It stays locked until [`Table::unlock`].
pub struct Locked<'a, L> {
    /// Which.
    pub bucket: u64,
    /// Its own line.
    pub line: &'a L,
    /// What the header will be when it is given back.
    pub(crate) word: Word<L>,
    pub(crate) me: ParticipantId,
}

/// A slot of a locked bucket.
pub struct Slot<'a, L> {
    /// In which line.
    pub line: &'a L,
    /// What links that line; 0: it is the bucket's own.
    pub link: u32,
    /// Which.
    pub slot: u32,
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

/// Gives a lock back, also when a reader panics.
struct Unlocks<'a, L: Line>(Locked<'a, L>);

impl<L: Line> Drop for Unlocks<'_, L> {
    fn drop(&mut self) {
        self.0.word.publish(self.0.line);
    }
}

impl<'a, S: Store> Table<'a, S> {
    /// Locks the bucket of a hash.
    #[inline(always)]
    pub fn lock(&self, life: &impl Liveness, hash: u64) -> Result<Locked<'a, S::Line>, Trouble> {
        if let Some(locked) = self.lock_near(life, hash) {
            if self.is_home(&locked, hash) {
                return Ok(locked);
            }
            self.unlock(locked);
        }
        self.lock_anyhow(life, hash)
    }

    /// The usual way of a change, straight: locks the bucket that is guessed, if nobody has it locked. What is occupied in
    /// its own line belongs there; what is not found there may belong elsewhere, see [`free_near`](Self::free_near).
    #[inline(always)]
    pub fn lock_near(&self, life: &impl Liveness, hash: u64) -> Option<Locked<'a, S::Line>> {
        let (bucket, line) = self.near(hash)?;
        self.lock_line(life, bucket, line)
    }

    /// The bucket that is guessed for a hash, and its line.
    #[inline(always)]
    pub fn near(&self, hash: u64) -> Option<(u64, &'a S::Line)> {
        let bucket = self.guess(hash);
        Some((bucket, self.store.bucket_near(bucket)?))
    }

    /// As [`lock_near`](Self::lock_near), of a bucket that was looked up.
    #[inline(always)]
    pub fn lock_line(&self, life: &impl Liveness, bucket: u64, line: &'a S::Line) -> Option<Locked<'a, S::Line>> {
        let (word, me) = (Word::mine(line), life.me());
        if word.is_locked() || !self.take(me, line, word) {
            return None;
        }
        Some(Locked { bucket, line, word, me })
    }

    /// A free slot for what is not in the own line of this bucket, if it can be nowhere else. `None`:
    /// [`locate`](Self::locate) knows.
    #[inline(always)]
    pub fn free_near(&self, locked: &Locked<'a, S::Line>, hash: u64) -> Option<Slot<'a, S::Line>> {
        let line = locked.line;
        let is_alone = self.is_home(locked, hash) && line.link().load(Relaxed) == 0;
        let slot = locked.word.free_slot().filter(|_| is_alone)?;
        Some(Slot { line, link: 0, slot })
    }

    /// Whether this bucket has the entries of a hash.
    #[inline(always)]
    pub fn is_home(&self, locked: &Locked<'a, S::Line>, hash: u64) -> bool {
        self.belongs(hash, locked.bucket, locked.word)
    }

    /// Free -> ours, as it was looked at.
    #[inline(always)]
    pub(crate) fn take(&self, me: ParticipantId, line: &S::Line, word: Word<S::Line>) -> bool {
        let ours = word.of(Some(me)).bits();
        let taken = line.header().compare_exchange(word.bits(), ours, order!(table_lock, AcqRel), Relaxed).is_ok();
        if taken {
            // Whoever sees something that is written from here on sees this version too. And what is announced from here
            // on does not come before what was taken off last.
            fence(order!(table_overwrite, Release));
        }
        taken
    }

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

    /// Reads the entry of a key, while nobody else writes into its bucket.
    pub(crate) fn find_locked(&self, life: &impl Liveness, asked: &mut impl Asked<S::Line>) -> Result<bool, Trouble> {
        let locked = Unlocks(self.lock(life, asked.hash())?);
        self.locate(&locked.0, asked).map(|spot| matches!(spot, Spot::Found(_)))
    }

    /// Reads a bucket, while nobody else writes into it.
    pub(crate) fn with_locked<R>(
        &self,
        life: &impl Liveness,
        bucket: u64,
        read: impl FnOnce(Word<S::Line>) -> Result<R, Trouble>,
    ) -> Result<R, Trouble> {
        let locked = Unlocks(self.lock_bucket(life, bucket)?);
        read(locked.0.word)
    }

    /// Gives the lock back.
    #[inline(always)]
    pub fn unlock(&self, locked: Locked<'a, S::Line>) {
        locked.word.publish(locked.line);
    }

    /// Puts an entry into a free slot, which `fill` writes, and gives the lock back.
    #[inline(always)]
    pub fn insert(
        &self,
        desk: &Desk,
        mut locked: Locked<'a, S::Line>,
        at: &Slot<'_, S::Line>,
        fill: impl FnOnce(&S::Line, u32),
    ) {
        let count_after = desk.own_count().wrapping_add(1);
        let claim = Claim::new(Step::Insert, locked.bucket);
        desk.announce(Claim { link: at.link, slot: at.slot, count_after, ..claim });
        fill(at.line, at.slot);
        locked.occupy(at, true);
        desk.set_count(count_after);
        desk.done();
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
        desk.done();
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

    /// Gives an entry another block, by `refer`, and gives the lock back. The old block, which leaves: see
    /// [`Table::let_leave`].
    #[inline(always)]
    pub fn exchange<'d>(
        &self,
        desk: &'d Desk,
        mut locked: Locked<'a, S::Line>,
        at: &Slot<'_, S::Line>,
        new: u32,
        refer: impl FnOnce(&S::Line, u32, u32),
    ) -> Option<Leaving<'d>> {
        let old = at.line.reference(at.slot).unwrap_or(0);
        let claim = Claim::new(Step::Exchange, locked.bucket);
        desk.announce(Claim { link: at.link, slot: at.slot, new, old, ..claim });
        refer(at.line, at.slot, new);
        if at.link != 0 {
            Word::mine(at.line).changed().publish(at.line);
        }
        // Before the old block can be written again.
        locked.change();
        let leaving = desk.set_leaving(old);
        desk.done();
        self.unlock(locked);
        leaving
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

impl<L: Line> Locked<'_, L> {
    /// Makes a slot occupied, or not. This is the commit.
    #[inline(always)]
    fn occupy(&mut self, at: &Slot<'_, L>, yes: bool) {
        let changed = |word: Word<L>| word.with(at.slot, yes).changed();
        if at.link == 0 {
            self.word = changed(self.word);
            self.word.of(Some(self.me)).publish(at.line);
        } else {
            changed(Word::mine(at.line)).publish(at.line);
            // Readers who find nothing look at the bucket's own line alone.
            self.change();
        }
    }

    /// A new version in the bucket's own line.
    #[inline(always)]
    pub(crate) fn change(&mut self) {
        self.word = self.word.changed();
        self.word.of(Some(self.me)).publish(self.line);
    }

    /// What the header will be.
    pub fn word(&self) -> Word<L> {
        self.word
    }
}
