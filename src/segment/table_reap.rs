//! A table without a handle: what becomes of it when participants die, when the object is removed, and what is said of
//! it.

use crate::error::Result;
use crate::participant::{Liveness, ParticipantId};
use crate::raw::blocks::BlockRef;
use crate::raw::table::{Store, TableHead};
use crate::raw::table_desk::Desk;
use crate::raw::table_line::{PairLine, RecordLine};
use crate::segment::access::Region;
use crate::segment::arena::Arena;
use crate::segment::header::bad_shape;
use crate::segment::layout::ObjectKind;
use crate::segment::table_plan::{Bucket, DESKS_AT, TablePlan};
use crate::segment::table_shelf::{Kept, Shelf, Standing, Under, error_of};

/// What of a table a hand's place speaks of: 40 bits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Key {
    /// What the desk of this number keeps.
    Kept(u32),
    /// A spare line on the desk of this number.
    Line(u32),
    /// The piece of this number.
    Piece(u32),
}

impl Key {
    const SHIFT: u32 = 32;

    #[inline(always)]
    pub(crate) const fn bits(self) -> u64 {
        match self {
            Self::Kept(desk) => 3 << Self::SHIFT | desk as u64,
            Self::Line(desk) => 1 << Self::SHIFT | desk as u64,
            Self::Piece(piece) => 2 << Self::SHIFT | piece as u64,
        }
    }

    const fn from_bits(bits: u64) -> Option<Self> {
        match bits >> Self::SHIFT {
            3 => Some(Self::Kept(bits as u32)),
            1 => Some(Self::Line(bits as u32)),
            2 => Some(Self::Piece(bits as u32)),
            _ => None,
        }
    }
}

/// Asks nobody about lives: for looks.
pub(in crate::segment) struct NoLife;

impl Liveness for NoLife {
    fn me(&self) -> ParticipantId {
        const SOME: ParticipantId = match ParticipantId::new(ParticipantId::MASK) {
            Some(id) => id,
            None => panic!("the mask is an id"),
        };
        SOME
    }
    fn is_dead(&self, _: ParticipantId) -> bool {
        false
    }
}

/// Who recovers or only looks at a table without a handle on it.
pub(crate) struct Bare<'a, V> {
    pub life: &'a V,
    pub arena: Option<&'a Arena>,
}

impl<V: Liveness> Under for Bare<'_, V> {
    const MARKS: bool = false;

    fn arena(&self) -> Option<&Arena> {
        self.arena
    }

    fn reader(&self) -> Option<&Self> {
        None
    }
}

impl<V: Liveness> Liveness for Bare<'_, V> {
    fn me(&self) -> ParticipantId {
        self.life.me()
    }
    fn is_dead(&self, id: ParticipantId) -> bool {
        self.life.is_dead(id)
    }
    fn is_over(&self) -> bool {
        self.life.is_over()
    }
}

/// Whether the table refers to this block, whose owner is dead; `None`: cannot tell.
pub(crate) fn refers(body: &Region, shape: [u64; 4], arena: &Arena, key: u64, block: BlockRef) -> Option<bool> {
    let plan = TablePlan::from_shape(shape)?;
    match plan.bucket {
        Bucket::Words => refers_in::<PairLine>(body, plan, arena, key, block),
        Bucket::Records => refers_in::<RecordLine>(body, plan, arena, key, block),
    }
}

fn refers_in<L: Kept>(body: &Region, plan: TablePlan, arena: &Arena, key: u64, block: BlockRef) -> Option<bool> {
    let shelf = Shelf::<L>::resolve(plan, body, arena).ok()?;
    let under = Bare { life: &NoLife, arena: Some(arena) };
    let standing = Standing { shelf: &shelf, under: &under };
    let unit = u32::try_from(block.unit).ok()?;
    let refers = match Key::from_bits(key)? {
        Key::Kept(desk) => shelf.desks.get(desk as usize)?.keeps(unit),
        Key::Line(desk) => shelf.desks.get(desk as usize)?.has_spare(unit),
        Key::Piece(piece) => standing.piece(piece)?.load(crate::order!(table_piece_look, Acquire)) == unit,
    };
    // Asked after the look: who took it out of the table named it before, and frees it before it names it no more.
    Some(refers || shelf.desks.iter().any(|desk| desk.names(unit)))
}

/// What is done with the shelf of a table of either kind.
trait Done<R> {
    fn with<L: Kept, V: Liveness>(self, standing: &Standing<'_, L, Bare<'_, V>>, life: &V) -> Result<R>;
}

fn on_shelf<R, V: Liveness>(body: &Region, shape: [u64; 4], arena: &Arena, life: &V, done: impl Done<R>) -> Result<R> {
    let plan = TablePlan::from_shape(shape).ok_or_else(|| bad_shape(ObjectKind::Dict, shape))?;
    let under = &Bare { life, arena: Some(arena) };
    match plan.bucket {
        Bucket::Words => {
            let shelf = &Shelf::<PairLine>::resolve(plan, body, arena)?;
            done.with(&Standing { shelf, under }, life)
        }
        Bucket::Records => {
            let shelf = &Shelf::<RecordLine>::resolve(plan, body, arena)?;
            done.with(&Standing { shelf, under }, life)
        }
    }
}

/// Settles what the dead announced. `all`: and frees every bucket that they have locked, which walks all of them.
/// The number of traces.
pub(crate) fn sweep(body: &Region, shape: [u64; 4], arena: &Arena, life: &impl Liveness, all: bool) -> Result<u32> {
    struct Sweep(bool);
    impl Done<u32> for Sweep {
        fn with<L: Kept, V: Liveness>(self, standing: &Standing<'_, L, Bare<'_, V>>, life: &V) -> Result<u32> {
            let machine = standing.shelf.machine(standing);
            if self.0 { machine.recover(life) } else { machine.settle_all(life) }.map_err(error_of)
        }
    }
    on_shelf(body, shape, arena, life, Sweep(all))
}

/// Frees the blocks of a table that nobody has any more. Each is freed once, however often this is done.
pub(crate) fn free_all(body: &Region, shape: [u64; 4], arena: &Arena, life: &impl Liveness) -> Result<()> {
    struct Free;
    impl Done<()> for Free {
        fn with<L: Kept, V: Liveness>(self, standing: &Standing<'_, L, Bare<'_, V>>, life: &V) -> Result<()> {
            standing.shelf.machine(standing).free_all(life).map_err(error_of)
        }
    }
    on_shelf(body, shape, arena, life, Free)
}

/// What there is to say of a table.
pub(crate) fn report(body: &Region, plan: TablePlan) -> Result<String> {
    let head = body.place::<TableHead>(0)?;
    let desks: &[Desk] = body.places(DESKS_AT, plan.desks.into())?;
    let owners: Vec<_> = desks.iter().filter_map(Desk::owner).collect();
    let entries = desks.iter().fold(0_u64, |sum, desk| sum.wrapping_add(desk.count()));
    let busy = desks.iter().filter(|desk| desk.is_busy()).count();
    Ok(format!("{} entries, {head:?}, desks of {owners:?}, {busy} at work", entries as i64))
}
