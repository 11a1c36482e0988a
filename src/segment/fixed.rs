//! The places that every participant may need, and every observer, resolved once.

use crate::error::Result;
use crate::raw::registry::RegistryHeader;
use crate::segment::access::{Placed, Region};
use crate::segment::layout::{self, Row};
use crate::sync::AtomicU32;

/// Registry, ids and rows of a segment.
pub(crate) struct Fixed {
    pub registry: Placed<RegistryHeader>,
    /// 1: somebody can not be reached by membarrier, so all use fences.
    pub fence_word: Placed<AtomicU32>,
    pub ids: Placed<[AtomicU32]>,
    pub rows: Placed<[Row]>,
}

impl Fixed {
    pub(crate) fn resolve(region: &Region, rows: u32) -> Result<Self> {
        Ok(Self {
            registry: region.placed(layout::REGISTRY)?,
            fence_word: region.placed(layout::FENCE_WORD)?,
            ids: region.placed_slice(layout::IDS, u64::from(rows))?,
            rows: region.placed_slice(layout::ROWS, u64::from(rows))?,
        })
    }
}
