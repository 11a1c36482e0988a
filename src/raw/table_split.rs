//! How a table grows: one bucket is split in two at a time, and everybody goes on reading and writing.
//!
//! The child is filled where nobody looks yet, with copies of what is to be its own; then one store of the parent's
//! header gives those entries up and raises its level: that is the commit, and from then on readers who find a bucket
//! at a higher level than they guessed go on to the child. What is left in the parent's chain of entries that left, and the
//! count of buckets, follow; whoever meets a splitter's death in between completes it.
#![forbid(unsafe_code)]

use crate::order;
use crate::participant::Liveness;
use crate::raw::lock::Acquired;
use crate::raw::table::{CHAIN_MAX, Store, Table, Trouble};
use crate::raw::table_desk::{Claim, Desk, Step};
use crate::raw::table_lock::Locked;
use crate::raw::table_word::{Line, Word};
use crate::sync::Ordering::Relaxed;

/// The right to split buckets of a table, one participant's at a time.
pub struct Splitter<'a, 'b, S: Store> {
    table: &'b Table<'a, S>,
    /// What goes to the child: where it stands. Kept from split to split.
    gone: Vec<(&'a S::Line, u32)>,
}

impl<S: Store> Drop for Splitter<'_, '_, S> {
    fn drop(&mut self) {
        self.table.head.split.release(false);
    }
}

impl<'a, S: Store> Table<'a, S> {
    /// The right to split, unless somebody living has it.
    pub fn try_splitter<'b>(&'b self, life: &impl Liveness) -> Option<Splitter<'a, 'b, S>> {
        match self.head.split.try_acquire(life) {
            // Whatever a dead splitter left is on its desk, or shows as a parent whose level is ahead of the count.
            Ok(Acquired::Clean | Acquired::AfterDeath) => Some(Splitter { table: self, gone: Vec::new() }),
            Err(_) => None,
        }
    }
}

impl<'a, S: Store> Splitter<'a, '_, S> {
    /// The bucket that comes next.
    pub fn next(&self) -> u64 {
        self.table.extent().buckets()
    }

    /// Counts the child of a splitter that died before it did.
    pub(crate) fn count_dead(&mut self) {
        let (table, extent) = (self.table, self.table.extent());
        let parent = extent.buckets() - (1 << extent.level());
        let is_ahead = |line| Word::look(line).level() + table.bits > extent.level();
        if table.store.bucket(parent).is_some_and(is_ahead) {
            self.count();
        }
    }

    /// Splits one bucket. `NeedsLines`: so many spare lines must be on the desk; `NoRoom`: the next bucket has no memory.
    pub fn split(&mut self, life: &impl Liveness, desk: &Desk) -> Result<(), Trouble> {
        let table = self.table;
        let extent = table.extent();
        let (child, bits) = (extent.buckets(), extent.level());
        let parent = child - (1 << bits);
        let level = bits.checked_sub(table.bits).ok_or(Trouble::Corrupt("the number of buckets"))?;
        let line = table.store.bucket(child).ok_or(Trouble::NoRoom)?;
        let mut locked = table.lock_bucket(life, parent)?;
        if locked.word.level() > level {
            // A splitter died before it counted it.
            table.unlock(locked);
            self.count();
            return Ok(());
        }
        let stays = match self.sort(&locked, bits) {
            Ok(sorted) => sorted,
            Err(trouble) => {
                table.unlock(locked);
                return Err(trouble);
            }
        };
        let slots = S::Line::SLOTS as usize;
        let lines = self.gone.len().saturating_sub(1) / slots;
        let spares = match self.spares(desk, lines) {
            Ok(spares) => spares,
            Err(trouble) => {
                table.unlock(locked);
                return Err(trouble);
            }
        };
        let claim = Claim {
            slot: level,
            count_after: lines as u64,
            new: spares.first,
            rest: spares.rest,
            ..Claim::new(Step::Split, parent)
        };
        desk.announce_alone(claim);
        let is_clean = locked.line.link().load(Relaxed) == 0;
        self.fill(line, spares.first, level + 1);
        // The commit.
        locked.word = locked.word.with_occupied(stays).at_level(level + 1);
        locked.change();
        if lines > 0 || !is_clean {
            desk.set_spare(spares.rest);
            desk.go_on_as(Step::Tidy);
            table.tidy(parent, locked.line);
            // The tidier may have published versions that we do not know of.
            locked.word = Word::mine(locked.line).of(None);
            self.pull(&mut locked);
        }
        desk.done();
        if !is_clean {
            self.unlink_empty(desk, &mut locked);
        }
        table.unlock(locked);
        self.count();
        Ok(())
    }

    /// One bucket more.
    fn count(&self) {
        let grown = self.table.head.grown.load(Relaxed);
        self.table.head.grown.store(grown + 1, order!(table_grown, Release));
    }

    /// Finds the entries that go to the child. The slots of the parent's own line that stay.
    fn sort(&mut self, locked: &Locked<'a, S::Line>, bits: u32) -> Result<u32, Trouble> {
        let store = self.table.store;
        let mut stays = locked.word.occupied();
        self.gone.clear();
        let mut line = locked.line;
        for nth in 0..CHAIN_MAX {
            let word = Word::mine(line);
            for slot in (0..S::Line::SLOTS).filter(|&slot| word.has(slot)) {
                // What makes no sense stays where it is.
                if store.hash_at(line, slot).is_some_and(|hash| hash >> (bits & 63) & 1 == 1) {
                    self.gone.push((line, slot));
                    if nth == 0 {
                        stays &= !(1 << slot);
                    }
                }
            }
            match line.link().load(Relaxed) {
                0 => return Ok(stays),
                link => line = store.chained(link).ok_or(Trouble::Corrupt("a link"))?,
            }
        }
        Err(Trouble::Corrupt("a chain without an end"))
    }

    /// The first of so many spare lines, and what follows the last one.
    fn spares(&self, desk: &Desk, lines: usize) -> Result<Spares, Trouble> {
        let first = if lines == 0 { 0 } else { desk.spare() };
        let mut rest = desk.spare();
        for have in 0..lines {
            let missing = Trouble::NeedsLines((lines - have) as u32);
            let line = self.table.store.chained(rest).filter(|_| rest != 0).ok_or(missing)?;
            rest = line.link().load(Relaxed);
        }
        Ok(Spares { first, rest })
    }

    /// Writes the child: its own line, and behind it spare lines as they are linked.
    fn fill(&self, own: &S::Line, first: u32, level: u32) {
        let mut chunks = self.gone.chunks(S::Line::SLOTS as usize).peekable();
        let (mut line, mut next) = (own, first);
        loop {
            let chunk = chunks.next().unwrap_or_default();
            for (&(from, slot), at) in chunk.iter().zip(0..) {
                from.copy_slot(slot, line, at);
            }
            let is_last = chunks.peek().is_none();
            let is_own = core::ptr::eq(line, own);
            // Spare lines are linked already, but for the end.
            if is_last || is_own {
                line.link().store(if is_last { 0 } else { first }, order!(table_link, Release));
            }
            let word = Word::<S::Line>::from_bits(0).with_occupied((1 << chunk.len()) - 1);
            if is_own { word.at_level(level) } else { word }.publish(line);
            let Some(chained) = self.table.store.chained(next).filter(|_| !is_last) else { return };
            (line, next) = (chained, chained.link().load(Relaxed));
        }
    }

    /// Moves entries from the chain into the own line, as far as it has room.
    fn pull(&self, locked: &mut Locked<'a, S::Line>) {
        let mut link = locked.line.link().load(Relaxed);
        for _ in 0..CHAIN_MAX {
            let Some(line) = self.table.store.chained(link).filter(|_| link != 0) else { return };
            for slot in 0..S::Line::SLOTS {
                let Some(free) = locked.word.free_slot() else { return };
                let word = Word::mine(line);
                if word.has(slot) {
                    line.copy_slot(slot, locked.line, free);
                    locked.word = locked.word.with_occupied(locked.word.occupied() | 1 << free);
                    locked.change();
                    // In between it stands there twice; the claim says so.
                    word.with_occupied(word.occupied() & !(1 << slot)).changed().publish(line);
                }
            }
            link = line.link().load(Relaxed);
        }
    }

    /// Takes lines without entries out of the chain.
    fn unlink_empty(&self, desk: &Desk, locked: &mut Locked<'a, S::Line>) {
        let mut link = locked.line.link().load(Relaxed);
        for _ in 0..CHAIN_MAX {
            let Some(line) = self.table.store.chained(link).filter(|_| link != 0) else { return };
            let next = line.link().load(Relaxed);
            self.table.unlink(desk, locked, link);
            link = next;
        }
    }
}

/// Lines for a child's chain.
struct Spares {
    first: u32,
    rest: u32,
}
