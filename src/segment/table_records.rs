//! A table whose keys and values are bytes: each entry is a record in a block of the arena, written before the bucket is
//! locked and never changed while the bucket refers to it. To replace a value is to refer to another record.
//!
//! A record is written into the block that the thread's desk keeps, and what it takes the place of is kept next
//! (`raw/table_desk.rs`). So the arena is asked for a block when an entry is new or of another size, and for nothing else.

use crate::error::{Error, Result};
use crate::participant::Liveness;
use crate::raw::table::{Guess, Trouble};
use crate::raw::table_change::{Slot, Spot};
use crate::raw::table_line::RecordLine;
use crate::raw::table_lock::{lock_looked, look_guessed};
use crate::segment::access;
use crate::segment::plain;
use crate::segment::table::{Inner, Put, Table, When};
use crate::segment::table_desks::{Own, is_small};
use crate::segment::table_lookup::{NEAR, Wanted, candidates, first_slot};
use crate::segment::table_record::Record;
use crate::segment::table_shelf::{error_of, tag_of};
use crate::sync::{AtomicU64, Ordering::Relaxed};

/// Where the bytes of an old value go, if they are wanted.
pub(crate) type Old<'a> = Option<&'a mut Vec<u8>>;

/// What is known of the value that stands there.
struct Seen {
    /// Whether it is the one that was expected.
    equals: bool,
}

/// Looks at a value: whether it is the expected one; copies it if that is wanted.
fn look<'b>(expected: Option<&'b [u8]>, old: &'b mut Old<'_>) -> impl FnMut(&[AtomicU64], usize) -> Seen + 'b {
    move |words, len| {
        if let Some(old) = old {
            old.clear();
            old.resize(len.min(8 * words.len()), 0);
            plain::copy_out(words, old);
        }
        let equals = expected.is_none_or(|bytes| {
            bytes.len() == len && {
                let (whole, rest) = bytes.as_chunks::<8>();
                let mut pairs = words.iter().zip(whole);
                let last = words.get(whole.len()).map_or([0; 8], |word| word.load(Relaxed).to_ne_bytes());
                pairs.all(|(word, bytes)| word.load(Relaxed) == u64::from_ne_bytes(*bytes))
                    && rest.iter().zip(last).all(|(a, b)| *a == b)
            }
        });
        Seen { equals }
    }
}

impl<'a> When<&'a [u8]> {
    fn expected(self) -> Option<&'a [u8]> {
        if let Self::Equals(bytes) = self { Some(bytes) } else { None }
    }

    /// `equals`: whether the value that stands there is the expected one; `None`: none stands there.
    #[inline(always)]
    fn allows(self, equals: Option<bool>) -> bool {
        match self {
            Self::Always => true,
            Self::Absent => equals.is_none(),
            Self::Equals(_) => equals == Some(true),
        }
    }
}

impl Table<RecordLine> {
    /// Gives a key a value if it has one of this size and nothing is unusual. What `read` makes of the old one; `None`: nothing was done.
    #[inline(always)]
    pub(crate) fn replace<R>(&self, key: &[u8], value: &[u8], read: impl FnOnce(&[AtomicU64]) -> R) -> Option<R> {
        self.replace_straight((key, self.inner().shelf.hash.usual_bytes(key)), value, false, read)
    }

    /// Gives a key a value, under a condition. The bytes of the value that stood there, or stands there and was not as it
    /// was to be, go to `old` if they are wanted.
    ///
    /// # Errors
    ///
    /// Out of memory: what stood there stays.
    #[inline(never)]
    pub(crate) fn put(&self, key: &[u8], value: &[u8], when: When<&[u8]>, mut old: Old<'_>) -> Result<Put<()>> {
        let inner = self.inner();
        let (hash, standing) = (inner.shelf.hash.bytes(key), inner.standing());
        if when != When::Always {
            // Nothing is written for what is refused anyway.
            let found = self.get_hashed((key, hash), look(when.expected(), &mut old))?;
            let equals = found.map(|found| found.equals);
            if !when.allows(equals) {
                return Ok(Put::Refused(equals.map(|_| ())));
            }
        }
        inner.body.life()?;
        let expects = |stands| {
            when == When::Always && old.is_none() || inner.is_as_expected((stands, key), when, old.as_deref_mut())
        };
        let done = match inner.shelf.machine(&standing).near(hash) {
            Some(near) => self.put_near(near, (key, hash), value, when.allows(None), expects)?,
            None => None,
        };
        match done {
            Some(done) => Ok(done),
            None => self.put_anyhow(key, hash, value, when, old),
        }
    }

    /// As [`put`](Self::put) without a condition, of a key that was [prepared](Self::prepare).
    #[inline(always)]
    pub(crate) fn set_prepared(&self, key: (&[u8], u64), value: &[u8]) -> Result<Put<()>> {
        match self.replace_straight(key, value, true, |_| ()) {
            Some(()) => Ok(Put::Replaced(())),
            None => self.put(key.0, value, When::Always, None),
        }
    }

    /// Replaces what is in one of the first buckets of a dictionary without a bound, hashed in the usual way, by the block that
    /// the desk keeps: so few stores that the processor is at the next operation while this one's lines come. `None`: nothing
    /// was done, because it is not that usual.
    #[inline(always)]
    fn replace_straight<R>(
        &self,
        (key, hash): (&[u8], u64),
        value: &[u8],
        is_prepared: bool,
        read: impl FnOnce(&[AtomicU64]) -> R,
    ) -> Option<R> {
        let inner = self.inner();
        let words = Record::words(key.len(), value.len());
        let (guess, line) = inner.shelf.straight(hash).filter(|_| !inner.body.is_over() && is_small(words))?;
        if !is_prepared {
            access::prefetch(core::slice::from_ref(line), 0);
        }
        let own = inner.desks.own(&inner.shelf.desks)?;
        let unit = own.kept_for(words)?;
        // Not near: another process made the pages that it lies in.
        let block = inner.shelf.words_near(unit, words)?;
        let word = look_guessed(guess, line, inner.shelf.bits)?;
        let slot = first_slot(line, hash, word)?;
        if !is_prepared {
            // Its key is compared, and the next record is written there. What stands there behind the lock may be another.
            inner.shelf.prefetch_unit(line.follow(slot), (8 * words).min(NEAR));
        }
        // Behind what is asked for: the processor has room for few stores.
        Record::write(block, key, value);
        let locked = lock_looked(&inner.body, inner.shelf.number_of(line), line, word)?;
        let standing = inner.standing();
        let machine = inner.shelf.machine(&standing);
        // The header is as it was, so there is an entry in this slot. Which, is known from its key.
        let stands = line.follow(slot);
        let Some((old, _)) = inner.shelf.value_near(stands, key, Some(value.len())).filter(|_| stands != 0) else {
            machine.unlock(locked);
            return None;
        };
        machine.exchange(own.desk, locked, &Slot { line, link: 0, slot }, (stands, unit), RecordLine::refer);
        // Nobody writes there but this thread, by its next exchange.
        Some(read(old))
    }

    /// The usual way of what may also be an insertion, or have a condition. `may_insert`: whether there may be none; `expects`:
    /// whether what stands there may go. `None`: nothing was done, because it is not that usual.
    #[inline]
    fn put_near(
        &self,
        (guess, line): (Guess, &RecordLine),
        (key, hash): (&[u8], u64),
        value: &[u8],
        may_insert: bool,
        expects: impl FnOnce(u32) -> bool,
    ) -> Result<Option<Put<()>>> {
        let inner = self.inner();
        let standing = inner.standing();
        let machine = inner.shelf.machine(&standing);
        let words = Record::words(key.len(), value.len());
        let Some(own) = inner.desks.own(&inner.shelf.desks).filter(|_| is_small(words)) else { return Ok(None) };
        // The line comes while the record is written.
        access::prefetch(core::slice::from_ref(line), 0);
        let unit = inner.keep_block(&own, key.len(), value.len())?;
        let Some(block) = inner.shelf.words_near(unit, words) else { return Ok(None) };
        Record::write(block, key, value);
        let Some(word) = look_guessed(guess, line, inner.shelf.bits) else { return Ok(None) };
        let slot = first_slot(line, hash, word);
        if let Some(slot) = slot {
            inner.shelf.prefetch_unit(line.follow(slot), (8 * words).min(NEAR));
        }
        let Some(locked) = lock_looked(&inner.body, guess.bucket, line, word) else { return Ok(None) };
        if let Some(slot) = slot {
            let stands = line.follow(slot);
            if let Some(its) = inner.shelf.lengths_near(stands, key)
                && expects(stands)
            {
                let at = Slot { line, link: 0, slot };
                let is_as_long = its == Record::lengths(key.len(), value.len());
                inner.exchange(&own, locked, &at, (stands, unit), is_as_long.then_some(words));
                return Ok(Some(Put::Replaced(())));
            }
        } else if may_insert
            && candidates(line, hash, locked.word().occupied()) == 0
            && let Some(next) = locked.next()
        {
            machine.insert_next(own.desk, locked, next, |line, slot| line.fill(slot, tag_of(hash), unit));
            own.know_nothing();
            inner.after_insert(own.desk);
            return Ok(Some(Put::Inserted));
        }
        machine.unlock(locked);
        Ok(None)
    }

    /// As [`put`](Self::put), with chains, splits and other writers.
    #[cold]
    #[inline(never)]
    fn put_anyhow(&self, key: &[u8], hash: u64, value: &[u8], when: When<&[u8]>, mut old: Old<'_>) -> Result<Put<()>> {
        let inner = self.inner();
        let life = inner.body.life()?;
        let standing = inner.standing();
        let machine = inner.shelf.machine(&standing);
        let sitting = inner.desks.sit(&machine, life)?;
        let unit = inner.keep_block(&sitting, key.len(), value.len())?;
        let words = Record::words(key.len(), value.len());
        let block = inner.shelf.words_at(&inner.body, unit, words).ok_or_else(no_block)?;
        Record::write(block, key, value);
        let lengths = Record::lengths(key.len(), value.len());
        let done = self.put_written(&sitting, (key, hash), (unit, lengths), when, &mut old);
        if !is_small(words) && !matches!(done, Ok(Put::Inserted | Put::Replaced(()))) {
            // Others may want so much.
            inner.let_kept_go(&sitting);
        }
        done
    }

    /// The same, when the record is written.
    fn put_written(
        &self,
        own: &Own<'_>,
        (key, hash): (&[u8], u64),
        (unit, lengths): (u32, u64),
        when: When<&[u8]>,
        old: &mut Old<'_>,
    ) -> Result<Put<()>> {
        let inner = self.inner();
        let words = Record::words_of(lengths);
        let life = inner.body.life()?;
        let standing = inner.standing();
        let machine = inner.shelf.machine(&standing);
        // Bounded: a second round has the line that the first one lacked.
        for _ in 0..3 {
            let locked = machine.lock(life, hash).map_err(error_of)?;
            let read = look(when.expected(), old);
            let mut wanted =
                Wanted { key, hash, shelf: &inner.shelf, under: &inner.body, read, found: None, marks: false };
            let spot = machine.locate(&locked, &mut wanted);
            let equals = wanted.found.map(|found| found.equals);
            let stays = match &spot {
                Ok(Spot::Found(_)) => !when.allows(Some(equals.unwrap_or(false))),
                Ok(_) => !when.allows(None),
                Err(_) => true,
            };
            let spot = match spot {
                Ok(spot) if !stays => spot,
                Ok(spot) => {
                    machine.unlock(locked);
                    return Ok(Put::Refused(matches!(spot, Spot::Found(_)).then_some(())));
                }
                Err(trouble) => {
                    machine.unlock(locked);
                    return Err(error_of(trouble));
                }
            };
            let fill = |line: &RecordLine, slot| line.fill(slot, tag_of(hash), unit);
            match spot {
                Spot::Found(at) => {
                    let stands = at.line.follow(at.slot);
                    let is_as_long = is_small(words) && inner.shelf.lengths_near(stands, key) == Some(lengths);
                    inner.exchange(own, locked, &at, (stands, unit), is_as_long.then_some(words));
                    return Ok(Put::Replaced(()));
                }
                Spot::Free(at) => machine.insert(own.desk, locked, &at, fill),
                Spot::Full(last) => match machine.extend(own.desk, locked, last, fill) {
                    Ok(()) => {}
                    Err(Trouble::NeedsLines(_)) => {
                        inner.get_spares(own.desk)?;
                        continue;
                    }
                    Err(trouble) => return Err(error_of(trouble)),
                },
            }
            own.know_nothing();
            inner.after_insert(own.desk);
            return Ok(Put::Inserted);
        }
        Err(error_of(Trouble::Contended))
    }

    /// Takes a key's entry out. `Replaced`: it was there, and is not any more.
    pub(crate) fn remove(&self, key: &[u8], when: When<&[u8]>, mut old: Old<'_>) -> Result<Put<()>> {
        let inner = self.inner();
        let life = inner.body.life()?;
        let standing = inner.standing();
        let machine = inner.shelf.machine(&standing);
        let sitting = inner.desks.sit(&machine, life)?;
        let hash = inner.shelf.hash.bytes(key);
        let read = look(when.expected(), &mut old);
        let mut wanted = Wanted { key, hash, shelf: &inner.shelf, under: &inner.body, read, found: None, marks: false };
        let mut locked = machine.lock(life, hash).map_err(error_of)?;
        let done = match machine.locate(&locked, &mut wanted) {
            Ok(Spot::Found(at)) if when.allows(Some(wanted.found.is_some_and(|found| found.equals))) => {
                machine.remove(sitting.desk, &mut locked, &at);
                if at.link != 0 {
                    machine.unlink(sitting.desk, &mut locked, at.link);
                }
                Ok(Put::Replaced(()))
            }
            Ok(Spot::Found(_)) => Ok(Put::Refused(Some(()))),
            Ok(_) => Ok(Put::Refused(None)),
            Err(trouble) => Err(error_of(trouble)),
        };
        machine.unlock(locked);
        machine.let_leave(sitting.desk);
        inner.after_remove(sitting.desk);
        done
    }
}

impl Inner<RecordLine> {
    /// Whether the record at a unit has this key, and a value that may be replaced; copies that if it is wanted.
    #[inline(never)]
    fn is_as_expected(&self, (unit, key): (u32, &[u8]), when: When<&[u8]>, mut old: Old<'_>) -> bool {
        let found = self.shelf.value_near(unit, key, None).filter(|_| when != When::Absent);
        found.is_some_and(|(words, len)| look(when.expected(), &mut old)(words, len).equals)
    }
}

#[cold]
fn no_block() -> Error {
    Error::corrupt("the dictionary", "a block that was ours is not there")
}
