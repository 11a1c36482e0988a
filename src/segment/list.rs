//! The body of a list: where its items are, in slots or in blocks of the arena, and how they are copied out and put in.
//!
//! ```text
//! body    0 ListHeader: lock, words of the writers, two directories
//! chunk   a block of the arena: slots of 8 bytes
//! item    plain data of up to 8 bytes                    in its slot
//!         plain data that is larger                      a block of its own
//!         encoded, of up to 7 bytes                      in its slot, with its length
//!         encoded, longer                                a block: length u64 | item, in whole words
//! ```

use crate::error::{Error, Kind, Result};
use crate::participant::Liveness;
use crate::raw::blocks::BlockRef;
use crate::raw::list::{Blocks, Damaged, ListHeader, ListPlace, Moment, READS, RawList, Unread};
use crate::raw::list_word::{CHUNKS_MAX, Chunks, ListWord, Said};
use crate::segment::access::Region;
use crate::segment::arena::Arena;
use crate::segment::plain::words_for;
use crate::sync::{AtomicU64, Ordering::Relaxed, spin_hint};

pub(crate) const WHAT: &str = "the list";
/// Slots of the first chunk, as a power of two.
const FIRST_BITS: u32 = 4;
/// An item longer than this is not copied before it is known to stand there still.
const LONG: usize = 4096;
/// Looks at a whole list that are lost to writers before a reader stands in line with them.
const MOMENTS: u32 = 8;
/// Items of a whole list that are copied between two looks whether it is still the same.
const STRIDE: u64 = 256;

/// How items stand in a list.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Form {
    /// Plain data of up to 8 bytes.
    Word = 0,
    /// Plain data in a block of its own.
    Plain = 1,
    /// Any number of bytes.
    Coded = 2,
}

/// The geometry of a list: `shape = [size, form, 0, 0]`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct ListPlan {
    /// Bytes of an item, if all have so many.
    pub size: u32,
    pub form: Form,
}

impl ListPlan {
    /// For items of this size, or of any. `None`: beyond the machine.
    pub(crate) fn new(fixed: Option<usize>) -> Option<Self> {
        let form = match fixed {
            Some(0..=8) => Form::Word,
            Some(_) => Form::Plain,
            None => Form::Coded,
        };
        Some(Self { size: u32::try_from(fixed.unwrap_or(0)).ok()?, form })
    }

    pub(crate) fn from_shape([size, form, ..]: [u64; 4]) -> Option<Self> {
        let plan = Self::new(if form == 2 { None } else { Some(usize::try_from(size).ok()?) })?;
        (plan.form as u64 == form && (form != 2 || size == 0)).then_some(plan)
    }

    pub(crate) fn shape(&self) -> [u64; 4] {
        [u64::from(self.size), self.form as u64, 0, 0]
    }

    pub(crate) const fn body_len() -> u64 {
        size_of::<ListHeader>() as u64
    }

    pub(crate) fn raw<B: Blocks>(self, header: &ListHeader, blocks: B) -> Result<RawList<'_, B>> {
        let chunks = Chunks::new(FIRST_BITS, CHUNKS_MAX as u32).ok_or_else(damaged)?;
        Ok(RawList { header, blocks, chunks, refers: self.form != Form::Word })
    }
}

#[cold]
pub(crate) fn damaged() -> Error {
    Error::corrupt(WHAT, "a length, a slot or a chunk makes no sense")
}

impl From<Damaged> for Error {
    fn from(_: Damaged) -> Self {
        damaged()
    }
}

/// The blocks of a list, for whoever only looks.
#[derive(Clone, Copy)]
pub(crate) struct Looking<'a>(&'a Arena);

impl Blocks for Looking<'_> {
    #[inline]
    fn slots(&self, chunk: ListWord, len: usize) -> Option<&[AtomicU64]> {
        let Said::Block { unit } = chunk.said() else { return None };
        self.0.words_at(unit, len as u64)
    }

    fn free(&self, _: ListWord) -> bool {
        false
    }

    fn settle(&self, _: ListWord) {}
}

/// The blocks of a list, for a participant.
pub(crate) struct Memory<'a, L> {
    pub arena: &'a Arena,
    pub life: &'a L,
}

impl<L> Clone for Memory<'_, L> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<L> Copy for Memory<'_, L> {}

impl<L> Memory<'_, L> {
    /// The block that the word refers to, if it still does.
    fn block(&self, word: ListWord) -> Option<BlockRef> {
        let Said::Block { unit } = word.said() else { return None };
        self.arena.now_at(unit).filter(|block| word.refers_to(*block))
    }
}

impl<L: Liveness> Blocks for Memory<'_, L> {
    #[inline]
    fn slots(&self, chunk: ListWord, len: usize) -> Option<&[AtomicU64]> {
        let Said::Block { unit } = chunk.said() else { return None };
        self.arena.words_at(unit, len as u64)
    }

    fn free(&self, word: ListWord) -> bool {
        self.block(word).is_some_and(|block| self.arena.free(self.life, block))
    }

    fn recycle(&self, word: ListWord) -> bool {
        self.block(word).is_some_and(|block| self.arena.recycle(self.life, block))
    }

    fn settle(&self, word: ListWord) {
        if let Some(block) = self.block(word) {
            self.arena.settle(block);
        }
    }
}

/// A list that is looked at.
#[derive(Clone, Copy)]
pub(crate) struct ListView<'a> {
    raw: RawList<'a, Looking<'a>>,
    arena: &'a Arena,
    plan: ListPlan,
}

impl<'a> ListView<'a> {
    pub(crate) fn new(header: &'a ListHeader, arena: &'a Arena, plan: ListPlan) -> Result<Self> {
        Ok(Self { raw: plan.raw(header, Looking(arena))?, arena, plan })
    }

    pub(crate) fn len(&self) -> u64 {
        self.raw.header.len()
    }

    /// What `f` makes of the item of this index; `None` beyond the end. `f` may see words that are no item and may run again:
    /// only the last result counts.
    #[inline]
    pub(crate) fn read<R>(&self, index: u64, f: impl Fn(&[AtomicU64], usize) -> R) -> Result<Option<(R, ListWord)>> {
        for _ in 0..READS {
            let seen = match self.raw.see(index) {
                Ok(Some(seen)) => seen,
                Ok(None) => return Ok(None),
                Err(Unread::Damaged) => return Err(damaged()),
                Err(Unread::Contended) => break,
            };
            let copied = self.copy(seen.word, || self.raw.stands(&seen), &f);
            if self.raw.stands(&seen) {
                return copied.map(|copied| Some((copied, seen.word))).ok_or_else(damaged);
            }
            spin_hint();
        }
        Err(Kind::Contended { what: "an item of the list", rounds: READS }.into())
    }

    /// What `f` makes of each item, as of one moment; see [`read`](Self::read).
    pub(crate) fn read_all<R>(&self, f: impl Fn(&[AtomicU64], usize) -> R) -> Result<Vec<R>> {
        for _ in 0..MOMENTS {
            let moment = self.raw.moment();
            let copied = self.read_moment(&moment, &f);
            if self.raw.lasted(&moment) {
                return copied;
            }
            spin_hint();
        }
        Err(Kind::Contended { what: "the whole list", rounds: MOMENTS }.into())
    }

    /// Ends early when the moment is over.
    fn read_moment<R>(&self, moment: &Moment, f: impl Fn(&[AtomicU64], usize) -> R) -> Result<Vec<R>> {
        let mut all = Vec::with_capacity(moment.len.min(1 << 16) as usize);
        // Bounded: the first index without a chunk ends it.
        for index in 0..moment.len {
            let word = self.raw.at(moment, index)?;
            let is_over = index % STRIDE == 0 && !self.raw.lasted(moment);
            all.push(self.copy(word, || !is_over && self.raw.lasted(moment), &f).ok_or_else(damaged)?);
        }
        Ok(all)
    }

    /// Runs `f` on the words and the length of the item that the slot says. `None`: it is none, or `stands` says that it has
    /// changed before a long copy.
    #[inline]
    pub(crate) fn copy<R>(
        &self,
        word: ListWord,
        stands: impl Fn() -> bool,
        f: impl Fn(&[AtomicU64], usize) -> R,
    ) -> Option<R> {
        let size = self.plan.size as usize;
        if self.plan.form == Form::Word {
            return Some(f(&[AtomicU64::new(word.0)], size));
        }
        match (word.said(), self.plan.form) {
            (Said::Block { unit }, Form::Plain) => {
                let words = self.arena.words_at(unit, words_for(size) as u64)?;
                Some(f(words, size))
            }
            (Said::Block { unit }, _) => {
                let len = usize::try_from(self.arena.words_at(unit, 1)?.first()?.load(Relaxed)).ok()?;
                let all = 1_u64.checked_add(len.div_ceil(8) as u64)?;
                let words = self.arena.words_at(unit, all)?.get(1..)?;
                if len > LONG && !(stands() && self.arena.now_at(unit).is_some_and(|block| word.refers_to(block))) {
                    return None;
                }
                Some(f(words, len))
            }
            (Said::Inline { bytes, len }, Form::Coded) => {
                let mut whole = [0; 8];
                whole.iter_mut().zip(bytes).for_each(|(to, from)| *to = from);
                Some(f(&[AtomicU64::new(u64::from_ne_bytes(whole))], len))
            }
            _ => None,
        }
    }
}

/// Whether the place of a list refers to this block; `None`: cannot tell.
pub(crate) fn refers(body: &Region, shape: [u64; 4], arena: &Arena, key: u64, block: BlockRef) -> Option<bool> {
    let plan = ListPlan::from_shape(shape)?;
    let raw = plan.raw(body.place(0).ok()?, Looking(arena)).ok()?;
    Some(raw.place_refers(ListPlace::from_bits(key), ListWord::of_block(block)?))
}

/// Frees all blocks of a list that nobody has any more. Each is freed at most once, however often this is done.
pub(crate) fn free_all(body: &Region, shape: [u64; 4], arena: &Arena, life: &impl Liveness) -> Result<()> {
    let Some(plan) = ListPlan::from_shape(shape) else { return Ok(()) };
    plan.raw(body.place(0)?, Memory { arena, life })?.dissolve().map_err(Error::from)
}

#[cfg(test)]
mod tests {
    use super::{Form, ListPlan};

    #[test]
    fn a_shape_says_what_it_was_made_of() {
        for (fixed, form) in [(Some(0), Form::Word), (Some(8), Form::Word), (Some(9), Form::Plain), (None, Form::Coded)]
        {
            let plan = ListPlan::new(fixed).unwrap();
            assert_eq!((plan.form, ListPlan::from_shape(plan.shape())), (form, Some(plan)));
        }
        for shape in [[9, 0, 0, 0], [8, 1, 0, 0], [1, 2, 0, 0], [0, 3, 0, 0], [u64::MAX, 1, 0, 0]] {
            assert_eq!(ListPlan::from_shape(shape), None, "{shape:?}");
        }
        assert_eq!(ListPlan::body_len(), 640);
    }
}
