//! A table whose keys and values are words: they stand in the buckets, and a value is replaced by one store.

use crate::error::Result;
use crate::participant::Liveness;
use crate::raw::table::{Asked, Store, Trouble};
use crate::raw::table_change::{Slot, Spot};
use crate::raw::table_find::look_at;
use crate::raw::table_line::PairLine;
use crate::raw::table_lock::{Locked, lock_guessed};
use crate::raw::table_word::{Line, Word};
use crate::segment::equal::{equal_keys, equal_pairs};
use crate::segment::table::{BATCH, Inner, Put, Table, When, family};
use crate::segment::table_desks::Own;
use crate::segment::table_shelf::{Standing, Under, error_of};
use crate::sync::Ordering::Relaxed;

/// A key that is looked for, and the value that was found.
struct Wanted {
    key: u64,
    hash: u64,
    value: u64,
    /// Whether what is found is marked as read.
    marks: bool,
}

impl Asked<PairLine> for Wanted {
    #[inline(always)]
    fn hash(&self) -> u64 {
        self.hash
    }

    #[inline(always)]
    fn candidates(&self, line: &PairLine, occupied: u32) -> u32 {
        line.find(self.key, occupied)
    }

    #[inline(always)]
    fn meets(&mut self, line: &PairLine, slot: u32) -> bool {
        self.value = line.value(slot);
        if self.marks {
            line.mark(slot);
        }
        true
    }
}

impl When<u64> {
    #[inline(always)]
    fn allows(self, now: Option<u64>) -> bool {
        match self {
            Self::Always => true,
            Self::Absent => now.is_none(),
            Self::Equals(value) => now == Some(value),
        }
    }
}

/// The slot and the value of a key that is in one slot of this line, which is occupied. `None`: it is not there, or was in
/// another one before.
#[inline(always)]
fn only(line: &PairLine, word: Word<PairLine>, key: u64) -> Option<(u32, u64)> {
    let (equal, value) = equal_pairs(line, key);
    (equal != 0 && equal & !word.occupied() == 0).then(|| (equal.trailing_zeros(), value))
}

/// Replaces the first value that was found in a locked line.
#[inline(always)]
fn replace(line: &PairLine, found: u32, value: u64, when: When<u64>) -> Put<u64> {
    let slot = found.trailing_zeros();
    let old = line.value(slot);
    if !when.allows(Some(old)) {
        return Put::Refused(Some(old));
    }
    line.set_value(slot, value);
    Put::Replaced(old)
}

impl Table<PairLine> {
    #[inline(always)]
    pub(crate) fn hash_word(&self, key: u64) -> u64 {
        self.inner().shelf.hash.word(key)
    }

    /// The value of a key. Writes nothing (but marks, if the table has a bound), and waits for nobody.
    #[inline(always)]
    pub(crate) fn get_word(&self, key: u64) -> Result<Option<u64>> {
        self.get_hashed(key, self.hash_word(key))
    }

    /// As [`get_word`](Self::get_word), of a key that was hashed before.
    #[inline(always)]
    pub(crate) fn get_hashed(&self, key: u64, hash: u64) -> Result<Option<u64>> {
        match self.hit(key, hash) {
            None => self.inner().standing().find(key, hash),
            found => Ok(found),
        }
    }

    /// As [`get_word`](Self::get_word), straight: where nothing is unusual, and nobody was forked or removed anything. `None`:
    /// [`get_word`](Self::get_word) knows.
    #[inline(always)]
    pub(crate) fn straight(&self, key: u64) -> Option<u64> {
        let Inner { shelf, body, .. } = self.inner();
        let (_, line) = shelf.straight(shelf.hash.usual_word(key))?;
        if body.is_over() {
            return None;
        }
        look_at(line, |word| match only(line, word, key) {
            Some((_, value)) => Some(value),
            None => self.hit_behind(key, line, word),
        })
    }

    /// As [`get_hashed`](Self::get_hashed), if it is where it usually is, in the line of its bucket. `None`:
    /// [`find`](Self::find) knows.
    #[inline(always)]
    pub(crate) fn hit(&self, key: u64, hash: u64) -> Option<u64> {
        let standing = self.inner().standing();
        standing.shelf.machine(&standing).hit(hash, |line, word| {
            if let Some((slot, value)) = only(line, word, key) {
                standing.mark(line, slot);
                return Some(value);
            }
            self.hit_behind(key, line, word)
        })
    }

    /// The same of what is not only there, but in the chain of that bucket, as it is as long as the line is as it was.
    #[cold]
    #[inline(never)]
    fn hit_behind(&self, key: u64, line: &PairLine, word: Word<PairLine>) -> Option<u64> {
        let standing = self.inner().standing();
        let mut wanted = Wanted { key, hash: 0, value: 0, marks: standing.marks() };
        let found = standing.shelf.machine(&standing).find_in(&mut wanted, line, word);
        (found == Some(true)).then_some(wanted.value)
    }

    /// Asks the processor for the buckets of a few keys. Their hashes, for what is done with them next.
    #[inline(always)]
    pub(crate) fn prepare(&self, keys: &[u64]) -> [u64; BATCH] {
        let shelf = &self.inner().shelf;
        let mut hashes = [0; BATCH];
        for (hash, key) in hashes.iter_mut().zip(keys) {
            *hash = shelf.hash.word(*key);
            shelf.prefetch(*hash);
        }
        hashes
    }

    /// As [`put_word`](Self::put_word), always, of a key that was [prepared](Self::prepare).
    #[inline(always)]
    pub(crate) fn put_prepared(&self, key: u64, hash: u64, value: u64) -> Result<Put<u64>> {
        self.put_hashed((key, hash), value, When::Always)
    }

    /// Gives a key a value.
    #[inline(always)]
    pub(crate) fn put_word(&self, key: u64, value: u64, when: When<u64>) -> Result<Put<u64>> {
        self.put_hashed((key, self.inner().shelf.hash.usual_word(key)), value, when)
    }

    /// The usual way, straight: nothing of it has to stand in memory.
    #[inline(always)]
    fn put_hashed(&self, (key, hash): (u64, u64), value: u64, when: When<u64>) -> Result<Put<u64>> {
        match self.lock_straight(hash) {
            Some(locked) => self.put_locked(locked, (key, hash), value, when),
            None => self.put_unusual(key, value, when),
        }
    }

    #[inline(always)]
    fn lock_straight(&self, hash: u64) -> Option<Locked<'_, PairLine>> {
        let inner = self.inner();
        let (guess, line) = inner.shelf.straight(hash)?;
        if inner.body.is_over() { None } else { lock_guessed(&inner.body, guess, line, inner.shelf.bits) }
    }

    /// As [`put_word`](Self::put_word), of a bucket that is none of the first ones, with another hash, or with a bound.
    #[inline(never)]
    fn put_unusual(&self, key: u64, value: u64, when: When<u64>) -> Result<Put<u64>> {
        let inner = self.inner();
        let hash = self.hash_word(key);
        let standing = inner.standing();
        if inner.body.is_alive()
            && let Some(locked) = inner.shelf.machine(&standing).lock_home(&inner.body, hash)
        {
            return self.put_locked(locked, (key, hash), value, when);
        }
        self.put_anyhow((key, hash), value, when)
    }

    /// As [`put_word`](Self::put_word), in the bucket that the key belongs to.
    #[inline(always)]
    fn put_locked(
        &self,
        locked: Locked<'_, PairLine>,
        (key, hash): (u64, u64),
        value: u64,
        when: When<u64>,
    ) -> Result<Put<u64>> {
        let inner = self.inner();
        let standing = inner.standing();
        let machine = inner.shelf.machine(&standing);
        let found = equal_keys(locked.line, key) & locked.word().occupied();
        if found != 0 {
            let done = replace(locked.line, found, value, when);
            machine.unlock(locked);
            return Ok(done);
        }
        if let Some(next) = locked.next()
            && when.allows(None)
            && let Some(Own { desk, .. }) = inner.desks.own(&inner.shelf.desks)
        {
            machine.insert_next(desk, locked, next, |line, slot| line.fill(slot, key, value));
            inner.after_insert(desk);
            return Ok(Put::Inserted);
        }
        self.put_behind(locked, (key, hash), value, when)
    }

    /// As [`put_word`](Self::put_word), of what is not in the own line of this bucket.
    #[inline(never)]
    fn put_behind(
        &self,
        locked: Locked<'_, PairLine>,
        (key, hash): (u64, u64),
        value: u64,
        when: When<u64>,
    ) -> Result<Put<u64>> {
        let inner = self.inner();
        let standing = inner.standing();
        let machine = inner.shelf.machine(&standing);
        let link = locked.line.link().load(Relaxed);
        let chained = standing.chained(link);
        if let Some(line) = chained {
            let found = line.find(key, Word::mine(line).occupied());
            if found != 0 {
                let done = replace(line, found, value, when);
                machine.unlock(locked);
                return Ok(done);
            }
        }
        // Not there, if nothing is farther behind.
        let last = chained.unwrap_or(locked.line);
        if last.link().load(Relaxed) == 0
            && when.allows(None)
            && let Some(Own { desk, .. }) = inner.desks.own(&inner.shelf.desks)
        {
            let fill = |line: &PairLine, slot| line.fill(slot, key, value);
            let own = locked.word().free_slot().map(|slot| Slot { line: locked.line, link: 0, slot });
            let free = own.or_else(|| Word::mine(last).free_slot().map(|slot| Slot { line: last, link, slot }));
            let is_done = match free {
                Some(at) => {
                    machine.insert(desk, locked, &at, fill);
                    true
                }
                None => machine.extend(desk, locked, last, fill).is_ok(),
            };
            if is_done {
                inner.after_insert(desk);
                return Ok(Put::Inserted);
            }
        } else {
            machine.unlock(locked);
        }
        self.put_anyhow((key, hash), value, when)
    }

    /// As [`put_word`](Self::put_word), with chains, splits and other writers.
    #[cold]
    #[inline(never)]
    fn put_anyhow(&self, (key, hash): (u64, u64), value: u64, when: When<u64>) -> Result<Put<u64>> {
        let inner = self.inner();
        let life = inner.body.life()?;
        let standing = inner.standing();
        let machine = inner.shelf.machine(&standing);
        let sitting = inner.desks.sit(&machine, life)?;
        let mut wanted = Wanted { key, hash, value: 0, marks: false };
        // Bounded: a second round has the line that the first one lacked.
        for _ in 0..3 {
            let locked = machine.lock(life, wanted.hash).map_err(error_of)?;
            match machine.locate(&locked, &mut wanted) {
                Ok(Spot::Full(last)) if when.allows(None) => {
                    let fill = |line: &PairLine, slot| line.fill(slot, key, value);
                    match machine.extend(sitting.desk, locked, last, fill) {
                        Ok(()) => {
                            inner.after_insert(sitting.desk);
                            return Ok(Put::Inserted);
                        }
                        Err(Trouble::NeedsLines(_)) => inner.get_spares(sitting.desk)?,
                        Err(trouble) => return Err(error_of(trouble)),
                    }
                }
                Ok(Spot::Free(at)) if when.allows(None) => {
                    machine.insert(sitting.desk, locked, &at, |line, slot| line.fill(slot, key, value));
                    inner.after_insert(sitting.desk);
                    return Ok(Put::Inserted);
                }
                Ok(Spot::Found(at)) if when.allows(Some(wanted.value)) => {
                    at.line.set_value(at.slot, value);
                    machine.unlock(locked);
                    return Ok(Put::Replaced(wanted.value));
                }
                Ok(Spot::Found(_)) => {
                    machine.unlock(locked);
                    return Ok(Put::Refused(Some(wanted.value)));
                }
                Ok(_) => {
                    machine.unlock(locked);
                    return Ok(Put::Refused(None));
                }
                Err(trouble) => {
                    machine.unlock(locked);
                    return Err(error_of(trouble));
                }
            }
        }
        Err(error_of(Trouble::Contended))
    }

    /// Takes a key's entry out. `Replaced`: it was there, and is not any more.
    #[inline]
    pub(crate) fn remove_word(&self, key: u64, when: When<u64>) -> Result<Put<u64>> {
        let inner = self.inner();
        let life = inner.body.life()?;
        let standing = inner.standing();
        let machine = inner.shelf.machine(&standing);
        let sitting = inner.desks.sit(&machine, life)?;
        let mut wanted = Wanted { key, hash: inner.shelf.hash.word(key), value: 0, marks: false };
        let mut locked = machine.lock(life, wanted.hash).map_err(error_of)?;
        let done = match machine.locate(&locked, &mut wanted) {
            Ok(Spot::Found(at)) if when.allows(Some(wanted.value)) => {
                machine.remove(sitting.desk, &mut locked, &at);
                if at.link != 0 {
                    machine.unlink(sitting.desk, &mut locked, at.link);
                }
                Ok(Put::Replaced(wanted.value))
            }
            Ok(Spot::Found(_)) => Ok(Put::Refused(Some(wanted.value))),
            Ok(_) => Ok(Put::Refused(None)),
            Err(trouble) => Err(error_of(trouble)),
        };
        machine.unlock(locked);
        inner.after_remove(sitting.desk);
        done
    }

    /// The entries of one family of buckets, of `buckets` that there were, each bucket as it was at one moment.
    pub(crate) fn scan_words(&self, family: u64, buckets: u64, each: impl FnMut(u64, u64)) -> Result<()> {
        self.inner().standing().scan_words(family, buckets, each)
    }
}

impl<U: Under> Standing<'_, PairLine, U> {
    /// As [`Table::find`].
    #[cold]
    #[inline(never)]
    pub(in crate::segment) fn find(&self, key: u64, hash: u64) -> Result<Option<u64>> {
        let mut wanted = Wanted { key, hash, value: 0, marks: self.marks() };
        match self.shelf.machine(self).find_anywhere(&mut wanted, || self.under.reader()) {
            Ok(true) => Ok(Some(wanted.value)),
            Ok(false) => Ok(None),
            Err(trouble) => Err(error_of(trouble)),
        }
    }

    /// As [`Table::scan_words`].
    pub(in crate::segment) fn scan_words(
        &self,
        bucket: u64,
        buckets: u64,
        mut each: impl FnMut(u64, u64),
    ) -> Result<()> {
        let found = core::cell::RefCell::new(Vec::new());
        family(bucket, buckets, |bucket| {
            let begin = || found.borrow_mut().clear();
            let read = |line: &PairLine, slot: u32| found.borrow_mut().push((line.key(slot), line.value(slot)));
            let bits = self.shelf.machine(self).snapshot(self.under.reader(), bucket, begin, read).map_err(error_of)?;
            found.borrow_mut().drain(..).for_each(|(key, value)| each(key, value));
            Ok(bits)
        })
    }
}
