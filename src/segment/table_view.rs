//! A table that is only looked at, by who takes no part in its segment: nothing is written, marks neither.

use crate::error::Result;
use crate::raw::table_line::{PairLine, RecordLine};
use crate::segment::access::Region;
use crate::segment::arena::Arena;
use crate::segment::header::bad_shape;
use crate::segment::layout::ObjectKind;
use crate::segment::table_plan::{Bucket, TablePlan};
use crate::segment::table_reap::{Bare, NoLife};
use crate::segment::table_shelf::{Kept, Shelf, Standing};
use crate::sync::AtomicU64;

/// A table as it is looked at.
pub(crate) struct TableView<'a, L> {
    shelf: Shelf<L>,
    under: Bare<'a, NoLife>,
}

impl<'a, L: Kept> TableView<'a, L> {
    /// The table at the start of this body.
    pub(crate) fn new(body: &Region, shape: [u64; 4], arena: &'a Arena, bucket: Bucket) -> Result<Self> {
        let plan = TablePlan::from_shape(shape).filter(|plan| plan.bucket == bucket);
        let plan = plan.ok_or_else(|| bad_shape(ObjectKind::Dict, shape))?;
        Ok(Self { shelf: Shelf::resolve(plan, body, arena)?, under: Bare { life: &NoLife, arena: Some(arena) } })
    }

    fn standing(&self) -> Standing<'_, L, Bare<'a, NoLife>> {
        Standing { shelf: &self.shelf, under: &self.under }
    }

    /// How many entries there are. What a dead one was in the middle of may count or not.
    pub(crate) fn len(&self) -> u64 {
        self.shelf.machine(&self.standing()).len(None::<&NoLife>)
    }

    /// How many buckets there are.
    pub(crate) fn buckets(&self) -> u64 {
        self.shelf.machine(&self.standing()).extent().buckets()
    }
}

impl TableView<'_, PairLine> {
    pub(crate) fn get_word(&self, key: u64) -> Result<Option<u64>> {
        self.standing().find(key, self.shelf.hash.word(key))
    }

    pub(crate) fn scan_words(&self, family: u64, buckets: u64, each: impl FnMut(u64, u64)) -> Result<()> {
        self.standing().scan_words(family, buckets, each)
    }
}

impl TableView<'_, RecordLine> {
    pub(crate) fn get<R>(&self, key: &[u8], read: impl FnMut(&[AtomicU64], usize) -> R) -> Result<Option<R>> {
        self.standing().find((key, self.shelf.hash.bytes(key)), read)
    }

    pub(crate) fn scan(&self, family: u64, buckets: u64, each: impl FnMut(&[u8], &[u8])) -> Result<()> {
        self.standing().scan(family, buckets, each)
    }
}
