//! A table whose keys and values are bytes: each entry is a record in a block of the arena, written before the bucket is
//! locked and never changed while the bucket refers to it. To replace a value is to refer to another record.

#![allow(dead_code)] // the handles of dictionaries use it as they come

use crate::error::{Error, Kind, Result};
use crate::participant::Liveness;
use crate::raw::table::{Asked, Trouble};
use crate::raw::table_change::Spot;
use crate::raw::table_line::RecordLine;
use crate::raw::table_word::Word;
use crate::segment::access;
use crate::segment::allocate::InHand;
use crate::segment::plain;
use crate::segment::table::{Inner, Put, Table, When, family, unit_of};
use crate::segment::table_reap::Key;
use crate::segment::table_shelf::{Record, Shelf, Standing, Under, error_of, tag_of};
use crate::sync::{AtomicU64, Ordering::Relaxed, fence};

/// Keys whose buckets and records are asked for at once.
pub(crate) const BATCH: usize = 16;

/// Where the bytes of an old value go, if they are wanted.
pub(crate) type Old<'a> = Option<&'a mut Vec<u8>>;

/// A key that is looked for, and what `read` made of its value.
struct Wanted<'a, U, F, R> {
    key: &'a [u8],
    hash: u64,
    shelf: &'a Shelf<RecordLine>,
    under: &'a U,
    read: F,
    found: Option<R>,
    /// Whether what is found is marked as read.
    marks: bool,
}

/// The slots with the tag of this hash, among those that are occupied.
#[inline(always)]
fn candidates(line: &RecordLine, hash: u64, occupied: u32) -> u32 {
    let (tag, (low, high)) = (tag_of(hash), line.tags());
    match access::equal_bytes(low, high, tag) {
        Some(equal) => equal & occupied,
        None => line.find(tag, occupied),
    }
}

impl<U: Under, F: FnMut(&[AtomicU64], usize) -> R, R> Asked<RecordLine> for Wanted<'_, U, F, R> {
    #[inline(always)]
    fn hash(&self) -> u64 {
        self.hash
    }

    #[inline(always)]
    fn candidates(&self, line: &RecordLine, occupied: u32) -> u32 {
        candidates(line, self.hash, occupied)
    }

    #[inline(always)]
    fn meets(&mut self, line: &RecordLine, slot: u32) -> bool {
        let Some(record) = self.shelf.record(self.under, line.follow(slot)) else { return false };
        if !record.has_key(self.key) {
            return false;
        }
        if self.marks {
            line.mark(slot);
        }
        let Some((words, len)) = record.value_behind(self.key.len()) else { return false };
        self.found = Some((self.read)(words, len));
        true
    }
}

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
            Self::Present => equals.is_some(),
            Self::Equals(_) => equals == Some(true),
        }
    }
}

impl Table<RecordLine> {
    #[inline(always)]
    pub(crate) fn hash(&self, key: &[u8]) -> u64 {
        self.inner().shelf.hash.bytes(key)
    }

    /// What `read` makes of a key's value: its words, and how many bytes of them. It may see words that are being
    /// overwritten, and may run again; only the result that is returned counts. Writes nothing, and waits for nobody.
    #[inline(always)]
    pub(crate) fn get<R>(&self, key: &[u8], read: impl FnMut(&[AtomicU64], usize) -> R) -> Result<Option<R>> {
        self.get_hashed(key, self.inner().shelf.hash.bytes(key), read)
    }

    #[inline(always)]
    fn get_hashed<R>(&self, key: &[u8], hash: u64, read: impl FnMut(&[AtomicU64], usize) -> R) -> Result<Option<R>> {
        let standing = self.inner().standing();
        standing.get_hashed(key, hash, standing.shelf.plan.limit != 0, read)
    }

    /// As [`get`](Self::get), for many keys: `each` gets the number of the key and what was read. Buckets and records come
    /// while others are looked at.
    pub(crate) fn get_many<R>(
        &self,
        keys: &[impl AsRef<[u8]>],
        mut read: impl FnMut(&[AtomicU64], usize) -> R,
        mut each: impl FnMut(usize, Option<R>),
    ) -> Result<()> {
        let Inner { shelf, body, .. } = self.inner();
        // What a record had last: the next one will be as long.
        let mut bytes = 128;
        for (chunk, first) in keys.chunks(BATCH).zip((0..).step_by(BATCH)) {
            let mut hashes = [0; BATCH];
            for (hash, key) in hashes.iter_mut().zip(chunk) {
                *hash = shelf.hash.bytes(key.as_ref());
                shelf.prefetch(body, *hash);
            }
            for &hash in hashes.iter().take(chunk.len()) {
                shelf.prefetch_record(body, hash, bytes, |line| {
                    let found = candidates(line, hash, u32::MAX);
                    (found != 0).then(|| line.follow(found.trailing_zeros()))
                });
            }
            for ((key, hash), at) in chunk.iter().zip(hashes).zip(first..) {
                let key = key.as_ref();
                let read = |words: &[AtomicU64], len: usize| {
                    bytes = (16 + key.len() + len).min(2048) as u64;
                    read(words, len)
                };
                each(at, self.get_hashed(key, hash, read)?);
            }
        }
        Ok(())
    }

    /// Asks the processor for the buckets of keys that will be put next.
    #[inline]
    pub(crate) fn prepare<'k>(&self, keys: impl Iterator<Item = &'k [u8]>) {
        let Inner { shelf, body, .. } = self.inner();
        keys.take(BATCH).for_each(|key| shelf.prefetch(body, shelf.hash.bytes(key)));
    }

    /// Gives a key a value. The bytes of the value that stood there, or stands there and was not as it was to be, go to `old`
    /// if they are wanted.
    ///
    /// # Errors
    ///
    /// Out of memory: what stood there stays.
    pub(crate) fn put(&self, key: &[u8], value: &[u8], when: When<&[u8]>, mut old: Old<'_>) -> Result<Put<()>> {
        let inner = self.inner();
        let life = inner.body.life()?;
        let standing = inner.standing();
        let machine = inner.shelf.machine(&standing);
        let hash = inner.shelf.hash.bytes(key);
        if when != When::Always {
            // Nothing is written for what is refused anyway.
            let found = self.get_hashed(key, hash, look(when.expected(), &mut old))?;
            let equals = found.map(|found| found.equals);
            if !when.allows(equals) {
                return Ok(Put::Refused(equals.map(|_| ())));
            }
        }
        // The line comes while the record is written.
        inner.shelf.prefetch(&inner.body, hash);
        let sitting = inner.desks.sit(&machine, life)?;
        let (block, unit) = inner.write_record(life, key, value)?;
        // By now it is there, and says which record will probably leave: its key is compared, its block is freed.
        inner.shelf.prefetch_record(&inner.body, hash, 64, |line| {
            let found = candidates(line, hash, Word::mine(line).occupied());
            let old = (found != 0).then(|| line.follow(found.trailing_zeros()));
            if let (Some(old), Ok(arena)) = (old, inner.arena()) {
                arena.prefetch_word(old.into());
            }
            old
        });
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
                    machine.exchange(sitting.desk, locked, &at, unit, RecordLine::refer);
                    block.published();
                    machine.let_go(sitting.desk, true);
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

    /// The entries of one family of buckets, of `buckets` that there were, each bucket as it was at one moment.
    pub(crate) fn scan(&self, family: u64, buckets: u64, each: impl FnMut(&[u8], &[u8])) -> Result<()> {
        self.inner().standing().scan(family, buckets, each)
    }
}

impl<U: Under> Standing<'_, RecordLine, U> {
    /// As [`Table::get`]. `marks`: it is marked as read.
    #[inline(always)]
    pub(in crate::segment) fn get_hashed<R>(
        &self,
        key: &[u8],
        hash: u64,
        marks: bool,
        read: impl FnMut(&[AtomicU64], usize) -> R,
    ) -> Result<Option<R>> {
        let Self { shelf, under } = *self;
        let mut wanted = Wanted { key, hash, shelf, under, read, found: None, marks };
        if shelf.machine(self).hit(&mut wanted) {
            return Ok(wanted.found);
        }
        // Apart, so that of the usual hit nothing has to stand in memory.
        let Wanted { read, .. } = wanted;
        self.get_anywhere(key, hash, marks, read)
    }

    #[cold]
    #[inline(never)]
    fn get_anywhere<R>(
        &self,
        key: &[u8],
        hash: u64,
        marks: bool,
        read: impl FnMut(&[AtomicU64], usize) -> R,
    ) -> Result<Option<R>> {
        let mut wanted = Wanted { key, hash, shelf: self.shelf, under: self.under, read, found: None, marks };
        match self.shelf.machine(self).find_anywhere(&mut wanted, || self.under.reader()) {
            Ok(true) => Ok(wanted.found),
            Ok(false) => Ok(None),
            Err(trouble) => Err(error_of(trouble)),
        }
    }

    /// As [`Table::scan`].
    pub(in crate::segment) fn scan(&self, bucket: u64, buckets: u64, mut each: impl FnMut(&[u8], &[u8])) -> Result<()> {
        let machine = self.shelf.machine(self);
        // Keys and values one behind the other, and their lengths.
        let found = core::cell::RefCell::new((Vec::<u8>::new(), Vec::<(usize, usize)>::new()));
        family(bucket, buckets, |bucket| {
            let begin = || {
                let mut found = found.borrow_mut();
                found.0.clear();
                found.1.clear();
            };
            let read = |line: &RecordLine, slot: u32| {
                let Some(record) = self.shelf.record(self.under, line.follow(slot)) else { return };
                let mut found = found.borrow_mut();
                let (bytes, lens) = &mut *found;
                let mut copy = |(words, len): (&[AtomicU64], usize)| {
                    let at = bytes.len();
                    bytes.resize(at + len, 0);
                    plain::copy_out(words, bytes.get_mut(at..).unwrap_or_default());
                    len
                };
                let both = (copy(record.key()), copy(record.value()));
                lens.push(both);
            };
            let bits = machine.snapshot(self.under.reader(), bucket, begin, read).map_err(error_of)?;
            let found = found.borrow();
            let mut rest = found.0.as_slice();
            for &(key_len, value_len) in &found.1 {
                let Some((key, behind)) = rest.split_at_checked(key_len) else { break };
                let Some((value, behind)) = behind.split_at_checked(value_len) else { break };
                each(key, value);
                rest = behind;
            }
            Ok(bits)
        })
    }
}

impl Inner<RecordLine> {
    /// A block with the record in it.
    #[inline]
    fn write_record<'a, V: Liveness>(&'a self, life: &'a V, key: &[u8], value: &[u8]) -> Result<(InHand<'a, V>, u32)> {
        let bytes = Record::block_len(key.len(), value.len()).ok_or_else(|| too_large(key.len(), value.len()))?;
        let block = self.arena()?.allocate(life, bytes)?;
        let unit = unit_of(block.reference().unit)?;
        // Who reads one of these words in a record that stood here before sees the bucket's new version too.
        fence(crate::order!(table_record, Release));
        if let Some((lengths, words)) = block.words().split_first() {
            lengths.store(key.len() as u64 | (value.len() as u64) << 32, Relaxed);
            let (key_words, value_words) = words.split_at_checked(plain::words_for(key.len())).unwrap_or_default();
            plain::copy_in(key_words, key);
            plain::copy_in(value_words, value);
        }
        Ok((block, unit))
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
