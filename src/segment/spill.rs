//! Items that are larger than their cells: the cell, or the entry of a lease, refers to a block of the arena.
//!
//! ```text
//! words behind the state (and the ticket, in an entry), of encoded items and of bytes:
//!   length | item, in whole words                          the item is in the cell
//!   SPILLED + length | unit | generation | ...             it is in the block
//! ```
//!
//! Whoever has the claim of the cell, or the lease, has the block. It is freed before the claim ends; whoever takes
//! the claim of the dead over and finds no such block any more knows that the item was done with.

use crate::error::Result;
use crate::participant::Liveness;
use crate::raw::blocks::BlockRef;
use crate::raw::leases::Entries;
use crate::raw::ring::Slots;
use crate::raw::ring_word::{CellWord, Geometry, Phase};
use crate::segment::access::Region;
use crate::segment::arena::Arena;
use crate::segment::cells::{CellWords, EntryPlan, EntryWords, QueuePlan};
use crate::sync::{AtomicU64, Ordering};

/// In the word of a length: what follows is a reference.
const SPILLED: u64 = 1 << 63;
/// The words of an item, as they were read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Spilled {
    pub len: u64,
    pub block: BlockRef,
}

/// Refers to the block in the words of a cell that is ours.
pub(crate) fn refer(payload: &[AtomicU64], spilled: Spilled) {
    let words = [SPILLED | spilled.len, spilled.block.unit, spilled.block.generation];
    // Relaxed, as an item in its cell: the publication orders them.
    payload.iter().zip(words).for_each(|(word, value)| word.store(value, Ordering::Relaxed));
}

/// What the words refer to, if they do. `first` is the first of them, as it was read.
#[inline]
pub(crate) fn reference(payload: &[AtomicU64], first: u64) -> Option<Spilled> {
    if first & SPILLED == 0 { None } else { read(payload, first) }
}

#[cold]
fn read(payload: &[AtomicU64], first: u64) -> Option<Spilled> {
    let [_, unit, generation, ..] = payload else { return None };
    let block = BlockRef { unit: unit.load(Ordering::Relaxed), generation: generation.load(Ordering::Relaxed) };
    Some(Spilled { len: first & !SPILLED, block })
}

fn spilled(payload: &[AtomicU64]) -> Option<Spilled> {
    reference(payload, payload.first()?.load(Ordering::Relaxed))
}

/// Whether the cell of the ticket still holds this block, whose sender is dead. A cell that was never published does
/// not: it will be stepped over.
pub(crate) fn refers(body: &Region, shape: [u64; 4], ticket: u64, block: BlockRef) -> Option<bool> {
    let plan = QueuePlan::from_shape(shape)?;
    let ticket = Geometry::new(plan.capacity)?.unpack(ticket);
    let words = body.places::<AtomicU64>(plan.cells(), plan.cell_words()).ok()?;
    let cells = CellWords::new(words, plan.stride_words());
    // Acquire: a living consumer who freed the cell had freed the block before, or moved it.
    let word = CellWord(cells.state(ticket.index)?.load(crate::order!(place_look, Acquire)));
    let holds = matches!(word.phase(), Phase::Full | Phase::Reading) && word.lap() == ticket.lap();
    Some(holds && spilled(cells.payload(ticket.index)?).is_some_and(|found| found.block == block))
}

/// Frees the blocks of a queue that nobody has any more. Each is freed at most once, however often this is done.
pub(crate) fn free_all(body: &Region, shape: [u64; 4], arena: &Arena, life: &impl Liveness) -> Result<()> {
    let Some(plan) = QueuePlan::from_shape(shape).filter(|plan| plan.is_coded) else { return Ok(()) };
    let cells = CellWords::new(body.places(plan.cells(), plan.cell_words())?, plan.stride_words());
    let at = EntryPlan::new(&plan);
    let entries = EntryWords::new(body.places(plan.entries(), plan.entries_words())?, &at);
    let in_cells = (0..plan.capacity).filter_map(|index| spilled(cells.payload(index)?));
    let in_entries = (0..plan.rules().entries()).filter_map(|index| {
        entries.state(index)?;
        spilled(entries.payload(index)?)
    });
    for Spilled { block, .. } in in_cells.chain(in_entries) {
        // Words that were used before refer to blocks of another generation by now.
        arena.free(life, block);
    }
    Ok(())
}
