//! The block that a desk keeps, which the next record is written into (`raw/table_desk.rs`): where it comes from, and what is
//! known of the one that a record leaves behind.

use crate::error::{Error, Kind, Result};
use crate::raw::table_change::Slot;
use crate::raw::table_line::RecordLine;
use crate::raw::table_lock::Locked;
use crate::segment::table::{Inner, unit_of};
use crate::segment::table_desks::{Own, is_small};
use crate::segment::table_reap::Key;
use crate::segment::table_record::Record;

impl Inner<RecordLine> {
    /// Makes the desk keep a block for a record of these lengths. Its unit. Of a large one nothing is known: it is kept until it
    /// is in the table, or [let go](Self::let_kept_go).
    #[inline(never)]
    pub(in crate::segment) fn keep_block(&self, own: &Own<'_>, key_len: usize, value_len: usize) -> Result<u32> {
        if u32::try_from(key_len).is_err() || u32::try_from(value_len).is_err() {
            return Err(too_large(key_len, value_len));
        }
        let words = Record::words(key_len, value_len);
        if let Some(unit) = own.kept_like(words) {
            own.know(words);
            return Ok(unit);
        }
        self.let_kept_go(own);
        let block = self.arena()?.allocate(&self.body, 8 * words)?;
        let unit = unit_of(block.reference().unit)?;
        block.set_place(self.place(Key::Kept(self.number_of(own.desk))));
        own.desk.keep(unit);
        block.published();
        if is_small(words) {
            own.know(words);
        }
        Ok(unit)
    }

    /// Exchanges a record for the one in the block that the desk keeps, and notes what it keeps from then on. `words`: of both
    /// records, if they are equally long and small.
    #[inline(always)]
    pub(in crate::segment) fn exchange(
        &self,
        own: &Own<'_>,
        locked: Locked<'_, RecordLine>,
        at: &Slot<'_, RecordLine>,
        (stands, unit): (u32, u32),
        words: Option<u64>,
    ) {
        self.shelf.machine(&self.standing()).exchange(own.desk, locked, at, (stands, unit), RecordLine::refer);
        match words {
            Some(words) => own.know(words),
            None => self.know_other(own, stands),
        }
    }

    /// Notes what the desk keeps after an exchange for a record of another size. A large block is not kept.
    #[cold]
    #[inline(never)]
    fn know_other(&self, own: &Own<'_>, unit: u32) {
        match self.arena().ok().and_then(|arena| arena.small_at(unit.into())) {
            Some(bytes) => own.know(bytes / 8),
            None => self.let_kept_go(own),
        }
    }

    /// The desk keeps nothing any more.
    #[inline]
    pub(in crate::segment) fn let_kept_go(&self, own: &Own<'_>) {
        own.know_nothing();
        if own.desk.kept() != 0 {
            self.shelf.machine(&self.standing()).let_kept_go(own.desk);
        }
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
