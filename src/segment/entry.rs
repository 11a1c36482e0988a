//! One entry of the catalog: reading and writing what it says of its object.
//!
//! All of it is written before the object is published and stays as it is until the last holder has let go; whoever
//! holds reads it whole. Who looks for a name without holding may read a mixture, and looks again as a holder.

use crate::error::{Error, Result};
use crate::participant::Liveness;
use crate::raw::blocks::BlockRef;
use crate::raw::catalog::{Slot, Slots};
use crate::segment::arena::Arena;
use crate::segment::layout::{Entry, HOLDER_WORDS, OBJECT_NAME_MAX, ObjectKind};
use crate::segment::list;
use crate::segment::plain;
use crate::segment::spill;
use crate::segment::table_reap;
use crate::segment::tag::{NAME_LEN, TypeTag};
use crate::sync::{AtomicU64, Ordering::Relaxed};

impl Slots<HOLDER_WORDS> for [Entry] {
    fn len(&self) -> usize {
        <[Entry]>::len(self)
    }

    fn slot(&self, i: usize) -> &Slot<HOLDER_WORDS> {
        &self[i].slot
    }
}

/// What an entry says of its object.
#[derive(Clone, Debug)]
pub(crate) struct Described {
    pub kind: ObjectKind,
    pub tag: TypeTag,
    pub shape: [u64; 4],
    pub body_len: u64,
    pub block: BlockRef,
}

impl Entry {
    /// Says what the object is, before it is published. Relaxed: the publication orders it.
    pub(crate) fn describe(&self, kind: ObjectKind, tag: &TypeTag, shape: [u64; 4], body_len: u64, name: &str) {
        self.kind.store(kind as u32, Relaxed);
        self.type_size.store(tag.size, Relaxed);
        self.type_align.store(tag.align, Relaxed);
        self.type_encoding.store(tag.encoding, Relaxed);
        put(&self.type_name, &tag.name);
        self.body_len.store(body_len, Relaxed);
        self.shape.iter().zip(shape).for_each(|(word, number)| word.store(number, Relaxed));
        self.name_len.store(name.len() as u32, Relaxed);
        self.name_hash.store(hash(name), Relaxed);
        put(&self.name, name.as_bytes());
    }

    /// What the object is.
    pub(crate) fn described(&self) -> Result<Described> {
        let kind = self.kind.load(Relaxed);
        let kind = ObjectKind::from_number(kind)
            .filter(|kind| *kind != ObjectKind::Empty)
            .ok_or_else(|| Error::corrupt("the catalog", format!("{kind} is no kind of object")))?;
        let tag = TypeTag {
            name: take::<NAME_LEN>(&self.type_name),
            size: self.type_size.load(Relaxed),
            align: self.type_align.load(Relaxed),
            encoding: self.type_encoding.load(Relaxed),
        };
        let shape = self.shape.each_ref().map(|word| word.load(Relaxed));
        Ok(Described { kind, tag, shape, body_len: self.body_len.load(Relaxed), block: self.block() })
    }

    /// The name; `None` if it has none, or if what stands there is none.
    pub(crate) fn name(&self) -> Option<String> {
        let len = self.name_len.load(Relaxed) as usize;
        let bytes = take::<OBJECT_NAME_MAX>(&self.name);
        let name = core::str::from_utf8(bytes.get(..len)?).ok()?;
        (len > 0).then(|| name.to_owned())
    }

    /// Whether this is the name.
    pub(crate) fn is_called(&self, name: &str) -> bool {
        self.name_len.load(Relaxed) as usize == name.len()
            && self.name_hash.load(Relaxed) == hash(name)
            && take::<OBJECT_NAME_MAX>(&self.name).starts_with(name.as_bytes())
    }

    /// The block that is the body, as the entry says.
    pub(crate) fn block(&self) -> BlockRef {
        // Recovery may ask who has not seen the publication.
        let unit = self.unit.load(crate::order!(catalog_block_look, Acquire));
        BlockRef { unit, generation: self.generation.load(Relaxed) }
    }

    /// Says which block is the body. Who dies before the unit stands there has said nothing.
    pub(crate) fn set_block(&self, block: BlockRef) {
        self.generation.store(block.generation, Relaxed);
        self.unit.store(block.unit, crate::order!(catalog_block, Release));
    }

    /// Gives the body back, if that has not been done: for whoever has claimed the entry to free it.
    pub(crate) fn free_body(&self, arena: Option<&Arena>, life: &impl Liveness) {
        let block = self.block();
        if let Some(arena) = arena
            && block.unit != 0
        {
            // What the items are in goes first: without the body nobody finds it.
            if let Ok(found) = self.described()
                && let Ok(body) = arena.region(block).and_then(|body| body.part(0, found.body_len))
            {
                let _ = match found.kind {
                    ObjectKind::Queue => spill::free_all(&body, found.shape, arena, life),
                    ObjectKind::Dict => table_reap::free_all(&body, found.shape, arena, life),
                    ObjectKind::List => list::free_all(&body, found.shape, arena, life),
                    _ => Ok(()),
                };
            }
            // False if somebody did it who died then: a block is freed once in each generation.
            arena.free(life, block);
        }
        self.unit.store(0, crate::order!(catalog_block, Release));
    }
}

fn put(words: &[AtomicU64], bytes: &[u8]) {
    words.iter().for_each(|word| word.store(0, Relaxed));
    if let Some(words) = words.get(..plain::words_for(bytes.len())) {
        plain::copy_in(words, bytes);
    }
}

fn take<const LEN: usize>(words: &[AtomicU64]) -> [u8; LEN] {
    let mut bytes = [0; LEN];
    plain::copy_out(words, &mut bytes);
    bytes
}

/// FNV-1a, folded to 32 bits.
fn hash(name: &str) -> u32 {
    let hash =
        name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0000_0100_0000_01b3));
    (hash ^ hash >> 32) as u32
}
