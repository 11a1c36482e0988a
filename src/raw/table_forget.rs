//! Which entries of a table with a bound are forgotten: those that nobody has read for a round (second chance, the clock
//! algorithm). Readers mark what they find; a hand goes round the buckets, takes the marks off, and what had none is forgotten.
#![forbid(unsafe_code)]

use crate::participant::Liveness;
use crate::raw::table::{CHAIN_MAX, Store, Table, Trouble};
use crate::raw::table_change::Slot;
use crate::raw::table_desk::Desk;
use crate::raw::table_word::{Line, Word};
use crate::sync::Ordering::Relaxed;

/// Buckets that one call looks at before it takes what it finds.
const ROUNDS: u32 = 64;

impl<S: Store> Table<'_, S> {
    /// Takes one entry out that was not read for long. False: none was found.
    pub fn forget_one(&self, life: &impl Liveness, desk: &Desk) -> Result<bool, Trouble> {
        for round in 0..2 * ROUNDS {
            let bucket = self.head.next_hand() % self.extent().buckets();
            if self.forget_in(life, desk, bucket, round >= ROUNDS)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn forget_in(&self, life: &impl Liveness, desk: &Desk, bucket: u64, any: bool) -> Result<bool, Trouble> {
        let Some(own) = self.store.bucket(bucket) else { return Err(Trouble::Corrupt("a bucket that is not there")) };
        // Most buckets are not worth their lock: all marked, or empty.
        let (marks, word) = (own.take_marks(), Word::look(own));
        let has_victim = word.occupied() & !marks != 0 || any && word.occupied() != 0;
        if !has_victim && own.link().load(Relaxed) == 0 {
            return Ok(false);
        }
        let mut locked = self.lock_bucket(life, bucket)?;
        let (mut line, mut link, mut marks) = (locked.line, 0, marks);
        let mut found = false;
        for _ in 0..CHAIN_MAX {
            let word = Word::mine(line);
            let victims = if any { word.occupied() } else { word.occupied() & !marks };
            if victims != 0 {
                self.remove(desk, &mut locked, &Slot { line, link, slot: victims.trailing_zeros() });
                self.unlink(desk, &mut locked, link);
                found = true;
                break;
            }
            link = line.link().load(Relaxed);
            match self.store.chained(link).filter(|_| link != 0) {
                Some(next) => line = next,
                None => break,
            }
            marks = line.take_marks();
        }
        self.unlock(locked);
        self.let_leave(desk);
        Ok(found)
    }
}
