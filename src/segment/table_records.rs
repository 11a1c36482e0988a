//! A table whose keys and values are bytes: each entry is a record in a block of the arena, written before the bucket is
//! locked and never changed while the bucket refers to it. To replace a value is to refer to another record.

use crate::error::{Error, Kind, Result};
use crate::participant::Liveness;
use crate::raw::table::Trouble;
use crate::raw::table_change::{Slot, Spot};
use crate::raw::table_desk::Leaving;
use crate::raw::table_line::RecordLine;
use crate::raw::table_lock::lock_guessed;
use crate::raw::table_word::Word;
use crate::segment::access;
use crate::segment::allocate::InHand;
use crate::segment::body::Body;
use crate::segment::plain;
use crate::segment::table::{Inner, Put, Table, When, unit_of};
use crate::segment::table_lookup::{NEAR, Wanted, candidates, first_slot};
use crate::segment::table_reap::Key;
use crate::segment::table_shelf::{Record, error_of, tag_of};
use crate::sync::{AtomicU64, Ordering::Relaxed, fence};
use core::mem::ManuallyDrop;

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
    /// Gives a key a value, whatever it had.
    ///
    /// # Errors
    ///
    /// Out of memory: what stood there stays.
    #[inline(always)]
    pub(crate) fn set(&self, key: &[u8], value: &[u8]) -> Result<Put<()>> {
        self.put_hashed(key, self.inner().shelf.hash.bytes(key), value, When::Always, None, false)
    }

    /// As [`set`](Self::set), under a condition. The bytes of the value that stood there, or stands there and was not as it
    /// was to be, go to `old` if they are wanted.
    pub(crate) fn put(&self, key: &[u8], value: &[u8], when: When<&[u8]>, mut old: Old<'_>) -> Result<Put<()>> {
        let hash = self.inner().shelf.hash.bytes(key);
        if when != When::Always {
            // Nothing is written for what is refused anyway.
            let found = self.get_hashed((key, hash), look(when.expected(), &mut old))?;
            let equals = found.map(|found| found.equals);
            if !when.allows(equals) {
                return Ok(Put::Refused(equals.map(|_| ())));
            }
        }
        self.put_hashed(key, hash, value, when, old, false)
    }

    /// As [`set`](Self::set), of a key that was [prepared](Self::prepare_to_put).
    #[inline(always)]
    pub(crate) fn set_prepared(&self, key: (&[u8], u64), value: &[u8]) -> Result<Put<()>> {
        self.put_hashed(key.0, key.1, value, When::Always, None, true)
    }

    /// The usual way, straight. What it hands on to the unusual one is made on the way there, so that nothing of it has to stand
    /// in memory: the processor has room for some 60 stores that wait for an older one's line, and the next operation asks for
    /// its own lines only behind them.
    #[inline(always)]
    fn put_hashed(
        &self,
        key: &[u8],
        hash: u64,
        value: &[u8],
        when: When<&[u8]>,
        mut old: Old<'_>,
        is_prepared: bool,
    ) -> Result<Put<()>> {
        let inner = self.inner();
        let life = inner.body.life()?;
        let standing = inner.standing();
        let machine = inner.shelf.machine(&standing);
        let near = machine.near(hash);
        if let Some((_, line)) = near.filter(|_| !is_prepared) {
            // The line comes while the record is written.
            access::prefetch(core::slice::from_ref(line), 0);
        }
        // Given back by hand: whatever might unwind would want it in memory.
        let mut block = ManuallyDrop::new(inner.record_block(life, key, value)?);
        let unit = match unit_of(block.reference().unit) {
            Ok(unit) => unit,
            Err(error) => {
                drop(InHand::apart(block));
                return Err(error);
            }
        };
        write_record(block.words(), key, value);
        if let Some((guess, line)) = near
            && let Some(desk) = inner.desks.own(&inner.shelf.desks)
        {
            // Looked for before the lock, so it is a guess: it counts only if it is held against the bucket behind it.
            let stands = first_slot(line, hash, Word::mine(line)).map(|slot| (slot, line.follow(slot)));
            if let Some((_, stands)) = stands.filter(|_| !is_prepared) {
                // It will probably leave: its key is compared, its block is freed, and the next record is written there.
                inner.shelf.prefetch_unit(stands, (8 + (key.len() + value.len()) as u64).min(NEAR));
            }
            if let Some(locked) = lock_guessed(life, guess, line, inner.shelf.bits) {
                if let Some((slot, stands)) = stands
                    && locked.refers(slot, stands)
                {
                    let is_expected = match (when, old.as_deref_mut()) {
                        (When::Always, None) => inner.shelf.has_key_near(stands, key),
                        (when, old) => inner.is_as_expected((stands, key), when, old),
                    };
                    if is_expected {
                        let at = Slot { line, link: 0, slot };
                        block.set_place(inner.place(Key::Record));
                        let leaving = machine.exchange(desk, locked, &at, (stands, unit), RecordLine::refer);
                        publish_instead(&mut block, leaving);
                        InHand::give_up(block);
                        return Ok(Put::Replaced(()));
                    }
                } else if stands.is_none()
                    && when.allows(None)
                    && candidates(line, hash, locked.word().occupied()) == 0
                    && let Some(next) = locked.next()
                {
                    block.set_place(inner.place(Key::Record));
                    machine.insert_next(desk, locked, next, |line, slot| line.fill(slot, tag_of(hash), unit));
                    block.publish();
                    InHand::give_up(block);
                    inner.after_insert(desk);
                    return Ok(Put::Inserted);
                }
                machine.unlock(locked);
            }
        }
        self.put_anyhow((key, hash), (InHand::apart(block), unit), when, old)
    }

    /// As [`put`](Self::put), with chains, splits and other writers.
    #[cold]
    #[inline(never)]
    fn put_anyhow(
        &self,
        (key, hash): (&[u8], u64),
        (mut block, unit): (InHand<'_, Body>, u32),
        when: When<&[u8]>,
        mut old: Old<'_>,
    ) -> Result<Put<()>> {
        let inner = self.inner();
        let life = inner.body.life()?;
        let standing = inner.standing();
        let machine = inner.shelf.machine(&standing);
        let sitting = inner.desks.sit(&machine, life)?;
        // Bounded: a second round has the line that the first one lacked.
        for _ in 0..3 {
            let locked = machine.lock(life, hash).map_err(error_of)?;
            let read = look(when.expected(), &mut old);
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
            block.set_place(inner.place(Key::Record));
            let fill = |line: &RecordLine, slot| line.fill(slot, tag_of(hash), unit);
            match spot {
                Spot::Found(at) => {
                    let leaves = at.line.follow(at.slot);
                    let leaving = machine.exchange(sitting.desk, locked, &at, (leaves, unit), RecordLine::refer);
                    publish_instead(&mut block, leaving);
                    return Ok(Put::Replaced(()));
                }
                Spot::Free(at) => machine.insert(sitting.desk, locked, &at, fill),
                Spot::Full(last) => match machine.extend(sitting.desk, locked, last, fill) {
                    Ok(()) => {}
                    Err(Trouble::NeedsLines(_)) => {
                        inner.get_lines(sitting.desk, 2)?;
                        continue;
                    }
                    Err(trouble) => return Err(error_of(trouble)),
                },
            }
            block.published();
            inner.after_insert(sitting.desk);
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
    /// A block for the record.
    #[inline(always)]
    fn record_block<'a, V: Liveness>(&'a self, life: &'a V, key: &[u8], value: &[u8]) -> Result<InHand<'a, V>> {
        let bytes = Record::block_len(key.len(), value.len()).ok_or_else(|| too_large(key.len(), value.len()))?;
        self.arena()?.allocate(life, bytes)
    }

    /// Whether the record at a unit has this key, and a value that may be replaced; copies that if it is wanted.
    #[inline(never)]
    fn is_as_expected(&self, (unit, key): (u32, &[u8]), when: When<&[u8]>, mut old: Old<'_>) -> bool {
        let found = self.shelf.value_near(unit, key, None).filter(|_| when != When::Absent);
        found.is_some_and(|(words, len)| look(when.expected(), &mut old)(words, len).equals)
    }
}

/// The block is published, and the one that it was exchanged for is kept in hand: soon another one of its size is wanted.
#[inline(always)]
fn publish_instead(block: &mut InHand<'_, Body>, leaving: Option<Leaving<'_>>) {
    block.publish();
    if let Some(leaving) = leaving {
        block.keep_instead(leaving.unit, move |generation| leaving.note(generation));
        leaving.has_left();
    }
}

/// Writes the record into its block.
#[inline(always)]
fn write_record(words: &[AtomicU64], key: &[u8], value: &[u8]) {
    // Who reads one of these words in a record that stood here before sees the bucket's new version too.
    fence(crate::order!(table_record, Release));
    if let Some((lengths, words)) = words.split_first() {
        lengths.store(key.len() as u64 | (value.len() as u64) << 32, Relaxed);
        let (key_words, value_words) = words.split_at_checked(plain::words_for(key.len())).unwrap_or_default();
        plain::copy_in_record(key_words, key);
        plain::copy_in_record(value_words, value);
    }
}

#[cold]
fn too_large(key: usize, value: usize) -> Error {
    Kind::OutOfMemory {
        what: "an entry of the dictionary".into(),
        needed: key as u64 + value as u64,
        available: u64::from(u32::MAX),
        advice: "keys and values have at most 4 GiB each",
    }
    .into()
}
