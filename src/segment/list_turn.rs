//! A list as its participants use it: items put into blocks, and the turn in which a writer changes it.
//!
//! What an item is made of is copied in the turn, so that a process has few blocks in hand, however many threads wait for theirs.

use crate::deadline::Deadline;
use crate::error::{Error, Kind, Result};
use crate::raw::list::{ListHeader, ListPlace, READS, RawList};
use crate::raw::list_word::ListWord;
use crate::raw::list_write::{Fresh, FreshChunk, NewItem, Supply, Writing};
use crate::raw::lock::Refused;
use crate::segment::access::Placed;
use crate::segment::allocate::InHand;
use crate::segment::arena::Arena;
use crate::segment::body::Body;
use crate::segment::header::bad_shape;
use crate::segment::layout::ObjectKind;
use crate::segment::list::{Form, ListPlan, ListView, Memory, WHAT, damaged};
use crate::segment::plain;
use crate::segment::recover::Place;
use crate::segment::spans::UNIT;
use crate::sync::{AtomicU64, Ordering::Relaxed, Patience};
use core::cell::RefCell;

/// A block in hand that is to be an item or a chunk.
pub(crate) struct ListBlock<'a> {
    block: InHand<'a, Body>,
    arena: &'a Arena,
    word: ListWord,
    object: u32,
}

impl Fresh for ListBlock<'_> {
    fn word(&self) -> ListWord {
        self.word
    }

    fn place(&self, place: ListPlace) {
        self.block.set_place(Place { object: self.object, key: place.bits() }.bits());
    }

    fn settled(self) {
        self.arena.settle(self.block.reference());
        self.block.published();
    }
}

impl FreshChunk for ListBlock<'_> {
    fn slots(&self) -> &[AtomicU64] {
        self.block.words()
    }
}

/// A list before it knows the type of its items.
#[derive(Clone)]
pub(crate) struct ListBody {
    header: Placed<ListHeader>,
    plan: ListPlan,
    /// Which object of its segment it is; 0 if it is alone.
    number: u32,
    body: Body,
}

thread_local! {
    /// The lists whose turn this thread has while code of the user's runs.
    static SORTING: RefCell<Vec<usize>> = const { RefCell::new(Vec::new()) };
}

/// Ends the turn, also when code of the user's unwinds.
struct Turn<'a> {
    list: &'a ListBody,
    damaged: bool,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        // In a forked child it is the parent's turn.
        if self.list.body.attachment().is_ours() {
            self.list.header.lock_field().release(self.damaged);
        }
    }
}

/// Says for as long as it lives that this thread runs code of the user's in a turn.
pub(crate) struct InTurn(());

impl Drop for InTurn {
    fn drop(&mut self) {
        SORTING.with_borrow_mut(Vec::pop);
    }
}

/// A turn at a list, and what it needs.
pub(crate) struct Change<'a> {
    writing: Writing<'a, Memory<'a, Body>>,
    list: &'a ListBody,
    view: ListView<'a>,
}

impl ListBody {
    /// The list in this body, held against what its items are to be.
    pub(crate) fn attach(body: Body, fixed: Option<usize>) -> Result<Self> {
        let plan = ListPlan::from_shape(body.shape()).filter(|plan| Some(*plan) == ListPlan::new(fixed));
        let plan = plan.ok_or_else(|| bad_shape(ObjectKind::List, body.shape()))?;
        let number = body.among_others().map_or(0, |(number, _)| number);
        let list = Self { header: body.placed(0)?, plan, number, body };
        if list.arena()?.usage_max() / UNIT > ListWord::UNITS_MAX {
            return Err(Error::invalid("a List in so large a segment", "it may have 512 GiB for objects at most"));
        }
        Ok(list)
    }

    fn arena(&self) -> Result<&Arena> {
        self.body.attachment().arena().ok_or_else(|| Error::corrupt(WHAT, "its segment has no arena"))
    }

    /// How many items there are now.
    pub(crate) fn len(&self) -> u64 {
        self.header.len()
    }

    #[inline]
    pub(crate) fn view(&self) -> Result<ListView<'_>> {
        ListView::new(&self.header, self.arena()?, self.plan)
    }

    /// What `f` makes of the item of this index, and its slot; behind very many writers in a row it waits its turn.
    #[inline]
    pub(crate) fn read<R>(&self, index: u64, f: impl Fn(&[AtomicU64], usize) -> R) -> Result<Option<(R, ListWord)>> {
        self.body.life()?;
        match self.view()?.read(index, &f) {
            Err(error) if error.is_contended() => self.change(|change| change.read(index, &f)),
            other => other,
        }
    }

    /// What `f` makes of each item, as of one moment.
    pub(crate) fn read_all<R>(&self, f: impl Fn(&[AtomicU64], usize) -> R) -> Result<Vec<R>> {
        self.body.life()?;
        match self.view()?.read_all(&f) {
            Err(error) if error.is_contended() => self.change(|change| change.read_all(&f)),
            other => other,
        }
    }

    /// An item with these bytes, in hand.
    pub(crate) fn item(&self, bytes: &[u8]) -> Result<NewItem<ListBlock<'_>>> {
        if self.plan.form == Form::Word {
            let mut whole = [0; 8];
            whole.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
            return Ok(NewItem::Word(ListWord(u64::from_ne_bytes(whole))));
        }
        let (lead, inline) = match self.plan.form {
            Form::Coded => (1, ListWord::of_bytes(bytes)),
            _ => (0, None),
        };
        if let Some(word) = inline {
            return Ok(NewItem::Word(word));
        }
        let block = self.block(8 * lead as u64 + bytes.len() as u64)?;
        let (length, words) = block.block.words().split_at_checked(lead).ok_or_else(damaged)?;
        // Relaxed: the store of the slot orders them.
        length.iter().for_each(|word| word.store(bytes.len() as u64, Relaxed));
        plain::copy_in(words, bytes);
        Ok(NewItem::Block(block))
    }

    fn block(&self, bytes: u64) -> Result<ListBlock<'_>> {
        let arena = self.arena()?;
        let block = arena.allocate(self.body.life()?, bytes)?;
        let word = ListWord::of_block(block.reference()).ok_or_else(damaged)?;
        Ok(ListBlock { block, arena, word, object: self.number })
    }

    /// Runs `f` in this writer's turn.
    pub(crate) fn change<R>(&self, f: impl FnOnce(&mut Change<'_>) -> Result<R>) -> Result<R> {
        let (life, view) = (self.body.life()?, self.view()?);
        let raw = self.plan.raw(&self.header, Memory { arena: self.arena()?, life })?;
        let writing = match raw.write_at_once(life) {
            Some(writing) => writing,
            None => self.wait_turn(&raw)?,
        };
        let mut turn = Turn { list: self, damaged: false };
        let result = f(&mut Change { writing, list: self, view });
        // Whoever comes next looks after it first.
        turn.damaged = result.as_ref().is_err_and(Error::is_corrupt);
        result
    }

    #[cold]
    #[inline(never)]
    fn wait_turn<'a>(&self, raw: &RawList<'a, Memory<'a, Body>>) -> Result<Writing<'a, Memory<'a, Body>>> {
        if SORTING.with_borrow(|lists| lists.contains(&self.identity())) {
            return Err(Error::invalid(
                "a change of a List within its own `sort`",
                "the sort has the turn; do it before or afterwards",
            ));
        }
        raw.write(self.body.life()?, &mut Patience::new(Deadline::NEVER)).map_err(|refused| {
            self.body.why(match refused {
                Refused::Corrupt => damaged(),
                Refused::Contended => Kind::Contended { what: WHAT, rounds: READS }.into(),
                Refused::Busy | Refused::TimedOut => Kind::Timeout { what: WHAT }.into(),
            })
        })
    }

    /// Tells this list from all others of the process.
    fn identity(&self) -> usize {
        core::ptr::from_ref::<ListHeader>(&self.header).addr()
    }

    /// Says that code of the user's runs in our turn, until what it returns is dropped.
    pub(crate) fn within_turn(&self) -> InTurn {
        SORTING.with_borrow_mut(|lists| lists.push(self.identity()));
        InTurn(())
    }
}

impl<'a> Supply for &'a ListBody {
    type Chunk = ListBlock<'a>;
    type Error = Error;

    fn chunk(&self, len: usize) -> Result<ListBlock<'a>> {
        self.block(8 * len as u64)
    }
}

impl Change<'_> {
    pub(crate) fn len(&self) -> u64 {
        self.writing.len()
    }

    /// What the slot of this index says.
    pub(crate) fn at(&self, index: u64) -> Result<ListWord> {
        Ok(self.writing.at(index)?)
    }

    /// What `f` makes of the item of this index, and its slot.
    pub(crate) fn read<R>(&self, index: u64, f: impl Fn(&[AtomicU64], usize) -> R) -> Result<Option<(R, ListWord)>> {
        if index >= self.len() {
            return Ok(None);
        }
        let word = self.at(index)?;
        Ok(Some((self.view.copy(word, || true, f).ok_or_else(damaged)?, word)))
    }

    pub(crate) fn read_all<R>(&self, f: impl Fn(&[AtomicU64], usize) -> R) -> Result<Vec<R>> {
        let mut all = Vec::with_capacity(self.len().min(1 << 16) as usize);
        for index in 0..self.len() {
            all.push(self.view.copy(self.at(index)?, || true, &f).ok_or_else(damaged)?);
        }
        Ok(all)
    }

    pub(crate) fn push(&mut self, item: NewItem<ListBlock<'_>>) -> Result<()> {
        self.writing.push(&self.list, item)
    }

    pub(crate) fn extend<'b>(&mut self, items: impl Iterator<Item = Result<NewItem<ListBlock<'b>>>>) -> Result<u64> {
        self.writing.extend(&self.list, items)
    }

    pub(crate) fn replace(&mut self, index: u64, item: NewItem<ListBlock<'_>>) -> Result<()> {
        Ok(self.writing.replace(index, item)?)
    }

    pub(crate) fn insert(&mut self, index: u64, item: NewItem<ListBlock<'_>>) -> Result<()> {
        self.writing.insert(&self.list, index, item)
    }

    pub(crate) fn remove(&mut self, index: u64) -> Result<()> {
        self.writing.remove(&self.list, index)
    }

    /// Takes everything off from this length on, and gives memory back that is not needed any more.
    pub(crate) fn truncate(&mut self, len: u64) -> Result<()> {
        self.writing.truncate(len)?;
        self.writing.shrink(len);
        Ok(())
    }

    /// Takes the last item off.
    pub(crate) fn pop(&mut self) -> Result<()> {
        Ok(self.writing.truncate(self.len().saturating_sub(1))?)
    }

    /// Gives all items from `from` on a new order, and keeps the first `len`.
    pub(crate) fn rearrange(&mut self, from: u64, len: u64, source: impl Fn(u64) -> u64) -> Result<()> {
        self.writing.rearrange(&self.list, from, len, source)
    }

    /// Gives memory back that is not needed now.
    pub(crate) fn shrink(&mut self) {
        self.writing.shrink(0);
    }
}
