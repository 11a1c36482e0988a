//! Looking keys up in a table of records, one or a few at a time, and walking through it.

use crate::error::Result;
use crate::participant::Liveness;
use crate::raw::table::Asked;
use crate::raw::table_line::RecordLine;
use crate::raw::table_word::{Line, Word};
use crate::segment::equal::equal_tags;
use crate::segment::plain;
use crate::segment::table::{BATCH, Inner, Table, family};
use crate::segment::table_shelf::{Shelf, Standing, Under, error_of, tag_of};
use crate::sync::AtomicU64;

/// The most bytes of a record that are asked for ahead of their use: more come by themselves.
pub(crate) const NEAR: u64 = 1024;

/// A key that is looked for, and what `read` made of its value.
pub(in crate::segment) struct Wanted<'a, U, F, R> {
    pub key: &'a [u8],
    pub hash: u64,
    pub shelf: &'a Shelf<RecordLine>,
    pub under: &'a U,
    pub read: F,
    pub found: Option<R>,
    /// Whether what is found is marked as read.
    pub marks: bool,
}

/// The slots with the tag of this hash, among those that are occupied.
#[inline(always)]
pub(in crate::segment) fn candidates(line: &RecordLine, hash: u64, occupied: u32) -> u32 {
    equal_tags(line, tag_of(hash)) & occupied
}

/// The first of them.
#[inline(always)]
pub(in crate::segment) fn first_slot(line: &RecordLine, hash: u64, word: Word<RecordLine>) -> Option<u32> {
    let found = candidates(line, hash, word.occupied());
    (found != 0).then(|| found.trailing_zeros())
}

/// The record that the key of this hash probably has.
#[inline(always)]
pub(in crate::segment) fn first_candidate(line: &RecordLine, hash: u64) -> Option<u32> {
    first_slot(line, hash, Word::mine(line)).map(|slot| line.follow(slot))
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

impl Table<RecordLine> {
    #[inline(always)]
    pub(crate) fn hash(&self, key: &[u8]) -> u64 {
        self.inner().shelf.hash.bytes(key)
    }

    /// What `read` makes of a key's value: its words, and how many bytes of them. It may see words that are being
    /// overwritten, and may run again; only the result that is returned counts. Writes nothing, and waits for nobody.
    #[inline(always)]
    pub(crate) fn get<R>(&self, key: &[u8], read: impl FnMut(&[AtomicU64], usize) -> R) -> Result<Option<R>> {
        self.get_hashed((key, self.hash(key)), read)
    }

    /// As [`get`](Self::get), of a key that was hashed before.
    #[inline(always)]
    pub(crate) fn get_hashed<R>(
        &self,
        key: (&[u8], u64),
        mut read: impl FnMut(&[AtomicU64], usize) -> R,
    ) -> Result<Option<R>> {
        match self.hit(key, None, |words, len| Some(read(words, len))) {
            None => self.inner().standing().find(key, read),
            found => Ok(found),
        }
    }

    /// What `read` makes of the value, once, if it is where it usually is, in the line of its bucket, and with a `size`, if it
    /// has so many bytes. `None`: [`find`](Self::find) knows.
    #[inline(always)]
    pub(crate) fn hit<R>(
        &self,
        (key, hash): (&[u8], u64),
        size: Option<usize>,
        read: impl FnOnce(&[AtomicU64], usize) -> Option<R>,
    ) -> Option<R> {
        let standing = self.inner().standing();
        standing
            .shelf
            .machine(&standing)
            .hit(hash, |line, word| self.inner().read_in((line, word), (key, hash), size, standing.marks(), read))
    }

    /// As [`hit`](Self::hit), where nothing is unusual, and nobody was forked or removed anything. `None`: [`get`](Self::get)
    /// knows.
    #[inline(always)]
    pub(crate) fn straight<R>(
        &self,
        key: &[u8],
        size: Option<usize>,
        read: impl FnOnce(&[AtomicU64], usize) -> Option<R>,
    ) -> Option<R> {
        let Inner { shelf, body, .. } = self.inner();
        let hash = shelf.hash.usual_bytes(key);
        let (_, line) = shelf.straight(hash)?;
        if body.is_over() {
            return None;
        }
        // As `look_at`, without a closure: what that refers to would have to stand in memory, where it is not inlined.
        let word = Word::look(line);
        let found = self.inner().read_in((line, word), (key, hash), size, false, read)?;
        word.is_still(line).then_some(found)
    }

    /// Asks the processor for what a few keys need: their buckets, and then `bytes` bytes of the records that they probably
    /// have. Their hashes, for what is done with them next.
    #[inline(always)]
    pub(crate) fn prepare(&self, keys: &[&[u8]], bytes: u64) -> [u64; BATCH] {
        let shelf = &self.inner().shelf;
        let mut hashes = [0; BATCH];
        for (hash, key) in hashes.iter_mut().zip(keys) {
            *hash = shelf.hash.bytes(key);
            shelf.prefetch(*hash);
        }
        for (&hash, _) in hashes.iter().zip(keys) {
            if let Some(unit) = shelf.probable(hash, |line| first_candidate(line, hash)) {
                shelf.prefetch_unit(unit, bytes);
            }
        }
        hashes
    }

    /// The entries of one family of buckets, of `buckets` that there were, each bucket as it was at one moment.
    pub(crate) fn scan(&self, family: u64, buckets: u64, each: impl FnMut(&[u8], &[u8])) -> Result<()> {
        self.inner().standing().scan(family, buckets, each)
    }
}

/// A value where it stands: its words, and how many bytes of them.
type Words<'a> = (&'a [AtomicU64], usize);

impl Inner<RecordLine> {
    /// What `read` makes of a key's value, if it is in this bucket's chain, as long as its own line is as it was.
    #[inline(always)]
    fn read_in<R>(
        &self,
        (line, word): (&RecordLine, Word<RecordLine>),
        (key, hash): (&[u8], u64),
        size: Option<usize>,
        marks: bool,
        read: impl FnOnce(&[AtomicU64], usize) -> Option<R>,
    ) -> Option<R> {
        if let Some(slot) = first_slot(line, hash, word)
            && let Some((words, len)) = self.shelf.value_near(line.follow(slot), key, size)
        {
            if marks {
                line.mark(slot);
            }
            return read(words, len);
        }
        // Made here, so that nothing of it has to stand in memory before.
        let standing = self.standing();
        let ((words, len), at, now) = standing.value_behind(line, word, key, hash, size, marks)?;
        let made = read(words, len)?;
        now.is_still(at).then_some(made)
    }
}

impl<U: Under> Standing<'_, RecordLine, U> {
    /// The value of a key that is not the first candidate, and the line that it is in.
    #[cold]
    #[inline(never)]
    fn value_behind<'l>(
        &'l self,
        line: &'l RecordLine,
        word: Word<RecordLine>,
        key: &[u8],
        hash: u64,
        size: Option<usize>,
        marks: bool,
    ) -> Option<(Words<'l>, &'l RecordLine, Word<RecordLine>)> {
        let machine = self.shelf.machine(self);
        let look = |at: &'l RecordLine, now: Word<RecordLine>| {
            let mut candidates = candidates(at, hash, now.occupied());
            while candidates != 0 {
                let slot = candidates.trailing_zeros();
                candidates &= candidates - 1;
                if let Some(value) = self.shelf.value_near(at.follow(slot), key, size) {
                    if marks {
                        at.mark(slot);
                    }
                    return Some(value);
                }
            }
            None
        };
        machine.first_in(line, word, look)?
    }

    /// As [`Table::find`].
    #[cold]
    #[inline(never)]
    pub(in crate::segment) fn find<R>(
        &self,
        (key, hash): (&[u8], u64),
        read: impl FnMut(&[AtomicU64], usize) -> R,
    ) -> Result<Option<R>> {
        let marks = self.marks();
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
