//! A participant: this process's mapping of a segment, its row, its id and its proof of life.
//!
//! There is one attachment for each process and segment, whatever number of handles there is; a
//! process-wide table finds it. Leaving is closing the description that carries the lock, never an
//! unlock: a forked child's unlock would free its living parent's byte.
//!
//! The races: a newcomer takes the row's *reap* byte first, reaps what the dead left there, takes the
//! *life* byte, writes the row, publishes its id, and gives the reap byte back. So a row has one reaper,
//! a stopped reaper keeps no dead participant alive, and nobody sees an id whose life byte is free.

use crate::error::{Error, Kind, Result};
use crate::participant::{Liveness, ParticipantId};
use crate::raw::registry;
use crate::segment::access::Region;
use crate::segment::arena::Arena;
use crate::segment::catalog::Catalog;
use crate::segment::fixed::Fixed;
use crate::segment::growth::Growth;
use crate::segment::header::{Header, Lifetime};
use crate::segment::layout::{self, life_byte, reap_byte};
use crate::segment::naming::{self, Leaving};
use crate::segment::recover::{self, Ground};
use crate::sync::{AtomicU64, Ordering};
use crate::sys::backing::{self, Facts, FileId};
use crate::sys::fork::{ForkWord, KeptApart, PerProcess};
use crate::sys::liveness::{self, Identity};
use crate::sys::mapping::{Mapping, MemoryWish};
use crate::sys::membarrier;
use core::fmt;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};

/// The segments that this process is attached to.
type Table = Mutex<HashMap<FileId, Weak<Attachment>>>;

static TABLE: PerProcess<Table> = PerProcess::new();

/// One process's part in one segment.
pub(crate) struct Attachment {
    fixed: Fixed,
    region: Region,
    arena: Option<Arena>,
    catalog: Catalog,
    fork: ForkWord,
    id: ParticipantId,
    row: u32,
    header: Header,
    file_id: FileId,
    /// Before the descriptors: it ends while they are open.
    _apart: KeptApart,
    /// Opened by this process alone; carries the life byte.
    own: OwnedFd,
    /// The description that is shared with others; never carries a lock.
    shared: Arc<OwnedFd>,
    /// Called when one of our calls has waited long.
    on_long_wait: fn(),
    /// Where the segment has a name. Dropped last: `own` is closed by then.
    _leaving: Option<Leaving>,
}

/// A segment's file, as this process came by it: verified, not attached to.
pub(crate) struct Found {
    /// The description that may be given to others. Carries no lock.
    pub shared: OwnedFd,
    /// One that this process opened for itself; made where there is none.
    pub own: Option<OwnedFd>,
    pub facts: Facts,
    pub header: Header,
    /// Its name, if it has one that we know.
    pub path: Option<PathBuf>,
    pub memory: MemoryWish,
}

impl Attachment {
    /// The attachment that this process has to this file, if it has one.
    pub(crate) fn known(file: FileId) -> Option<Arc<Self>> {
        let (_, table) = TABLE.get_or_init(Table::default).ok()?;
        table.lock().get(&file).and_then(Weak::upgrade)
    }

    /// The attachment of this process to the segment that was found: an old one, or a new row.
    pub(crate) fn of(found: Found, on_long_wait: fn()) -> Result<Arc<Self>> {
        let (fork, table) = TABLE.get_or_init(Table::default).map_err(|e| Error::io("preparing for forks", e))?;
        let file = found.facts.id;
        let mut table = table.lock();
        if let Some(known) = table.get(&file).and_then(Weak::upgrade) {
            return Ok(known);
        }
        let new = Arc::new(Self::attach(found, fork, on_long_wait)?);
        table.retain(|_, weak| weak.strong_count() > 0);
        table.insert(file, Arc::downgrade(&new));
        Ok(new)
    }

    /// All attachments of this process, for its watcher.
    pub(crate) fn all() -> Vec<Arc<Self>> {
        match TABLE.get_or_init(Table::default) {
            Ok((_, table)) => table.lock().values().filter_map(Weak::upgrade).collect(),
            Err(_) => Vec::new(),
        }
    }

    fn attach(found: Found, fork: ForkWord, on_long_wait: fn()) -> Result<Self> {
        let Found { shared, own, facts, header, path, memory } = found;
        let own = match own {
            Some(own) => own,
            None => backing::open_own(shared.as_fd())?,
        };
        let plan = &header.plan;
        // Of the other description: a mapping keeps its own one open, in a forked child too.
        let mapping = Mapping::new(shared.as_fd(), plan.len_max())?;
        memory.apply(&mapping, &header.backed(facts.len))?;
        let region = Region::of(mapping);
        let fixed = Fixed::resolve(&region, plan.rows)?;
        let shared = Arc::new(shared);
        let pages = plan.pages_of(facts.len).unwrap_or(0);
        let arena = Growth::resolve(&region, plan, pages, &shared)?.map(|growth| Arena::new(growth, fork));
        let catalog = Catalog::resolve(&region, plan)?;
        if !membarrier::register() {
            // Release: whoever reads it 1 fences; until then a sleeper of ours may lose a slice.
            fixed.fence_word.store(1, crate::order!(fence_word, Release));
        }
        // Before it carries a lock: a thread may fork at any time.
        let apart = KeptApart::new(own.as_fd(), shared.as_fd());
        let ground = Ground { header: &header, region: &region, arena: arena.as_ref(), catalog: &catalog };
        let (row, Newcomer { id, has_settled }) = join(&own, &fixed, &ground)?;
        check_proof(shared.as_fd(), row, facts.id)?;
        let arena = arena.map(|arena| arena.of_row(row));
        let file = facts.id;
        let stays = header.lifetime != Some(Lifetime::LastLeaves);
        let ids = fixed.ids.clone();
        let leaving = path.map(|path| Leaving { path, stays, file, shared: Arc::clone(&shared), ids, fork });
        let this = Self {
            fixed,
            region,
            arena,
            catalog,
            fork,
            id,
            row,
            header,
            file_id: file,
            _apart: apart,
            own,
            shared,
            on_long_wait,
            _leaving: leaving,
        };
        if has_settled {
            this.catalog.tend(&this, this.arena.as_ref());
        }
        Ok(this)
    }

    /// This attachment, unless it was inherited by `fork`.
    #[inline]
    pub(crate) fn ours(&self) -> Result<&Self> {
        if self.fork.is_ours() { Ok(self) } else { Err(forked()) }
    }

    pub(crate) fn is_ours(&self) -> bool {
        self.fork.is_ours()
    }
    /// What tells a forked child.
    pub(crate) fn fork(&self) -> ForkWord {
        self.fork
    }
    pub(crate) fn header(&self) -> &Header {
        &self.header
    }
    pub(crate) fn fixed(&self) -> &Fixed {
        &self.fixed
    }
    pub(crate) fn row(&self) -> u32 {
        self.row
    }
    pub(crate) fn file_id(&self) -> FileId {
        self.file_id
    }
    /// The descriptor that may be given to others.
    pub(crate) fn shared_fd(&self) -> BorrowedFd<'_> {
        self.shared.as_fd()
    }
    /// What this process knows the segment's name to be.
    pub(crate) fn path(&self) -> Option<&Path> {
        self._leaving.as_ref().map(|leaving| leaving.path.as_path())
    }
    /// The segment's blocks, if it has an arena.
    #[inline]
    pub(crate) fn arena(&self) -> Option<&Arena> {
        self.arena.as_ref()
    }
    /// Bytes of the file, as far as this process knows.
    pub(crate) fn len(&self) -> u64 {
        self.header.plan.len_with(self.arena.as_ref().map_or(0, |arena| arena.growth().committed()))
    }
    /// The objects of the segment, where it has others than one alone.
    #[inline]
    pub(crate) fn catalog(&self) -> &Catalog {
        &self.catalog
    }
    /// The whole segment at its largest.
    pub(crate) fn region(&self) -> &Region {
        &self.region
    }
    /// The part of the segment that the object's body fills.
    pub(crate) fn body(&self) -> Result<Region> {
        self.region.part(self.header.plan.body_start, self.header.plan.body_len)
    }

    pub(crate) fn ground(&self) -> Ground<'_> {
        Ground { header: &self.header, region: &self.region, arena: self.arena.as_ref(), catalog: &self.catalog }
    }

    /// Whether the participant in `row` is proven dead although its id still stands there.
    pub(crate) fn row_is_dead(&self, row: u32) -> bool {
        row != self.row && matches!(liveness::is_held(self.own.as_fd(), life_byte(row)), Ok(false))
    }

    /// Whether the name leads to this segment, which a living participant now takes part in.
    pub(crate) fn is_still_named(&self, path: &Path) -> Result<bool> {
        naming::still_leads_to(path, self.own.as_fd(), self.file_id)
    }

    /// Settles what all the dead left, if everybody else is dead: no survivor does it.
    pub(crate) fn reap_if_alone(&self) {
        let others =
            (0..).zip(self.fixed.ids.iter()).filter(|(row, id)| *row != self.row && id.load(Ordering::Relaxed) != 0);
        let mut others = others.map(|(row, _)| row).peekable();
        let is_alone = || matches!(liveness::is_any_held(self.own.as_fd(), life_byte(0), layout::ROWS_MAX), Ok(false));
        if others.peek().is_some() && is_alone() {
            for row in others {
                self.reap(row);
            }
        }
    }

    /// Settles what the dead participant in `row` had announced and frees the row. True: it was ours to
    /// do and is done. Safe to repeat and to die in: the row is freed last.
    pub(crate) fn reap(&self, row: u32) -> bool {
        if row == self.row || !matches!(liveness::try_lock(self.own.as_fd(), reap_byte(row)), Ok(true)) {
            return false; // another reaper is at it, or a newcomer
        }
        let dead =
            self.row_is_dead(row) && self.fixed.ids.get(row as usize).is_some_and(|id| id.load(Ordering::Relaxed) != 0);
        if dead {
            let ground = self.ground();
            let held: Vec<_> = self.catalog.held_by(row as usize).map(|(number, _)| number).collect();
            settle(&self.fixed, &ground, row);
            // Nobody has to wait for this: whoever meets a trace recovers it. But what the dead had in hand
            // may stand where nobody looks for long.
            ground.reap(&held, self, self.row);
        }
        let _ = liveness::unlock(self.own.as_fd(), reap_byte(row));
        dead
    }
}

impl Liveness for Attachment {
    #[inline]
    fn me(&self) -> ParticipantId {
        self.id
    }

    #[cold]
    fn is_dead(&self, id: ParticipantId) -> bool {
        id != self.id && recover::is_dead(&self.own, &self.fixed.ids, id)
    }

    #[inline]
    fn sleepers_fence(&self) -> bool {
        self.fixed.fence_word.load(Ordering::Relaxed) == 0
    }

    #[cold]
    fn waits_long(&self) {
        (self.on_long_wait)();
    }

    #[cold]
    fn reap_dead(&self) -> bool {
        let taken = (0..).zip(self.fixed.ids.iter()).filter(|(_, id)| id.load(Ordering::Relaxed) != 0);
        let dead = taken.map(|(row, _)| row).filter(|row| self.is_ours() && self.row_is_dead(*row));
        dead.filter(|row| self.reap(*row)).count() > 0
    }
}

impl Drop for Attachment {
    fn drop(&mut self) {
        // In a forked child this is the parent's row; and there closing frees no lock.
        if self.fork.is_ours() {
            if let Some(arena) = &self.arena {
                arena.leave(self);
            }
            registry::vacate(&self.fixed.ids, self.row as usize, self.id);
        }
    }
}

impl fmt::Debug for Attachment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Attachment").field("id", &self.id).field("row", &self.row).finish_non_exhaustive()
    }
}

#[cold]
fn forked() -> Error {
    Kind::Forked.into()
}

/// Whether the kernel tells others of the lock on our life byte: asked once in each file system, through the other
/// description, because a sandbox may give out the same one twice.
fn check_proof(shared: BorrowedFd<'_>, row: u32, file: FileId) -> Result<()> {
    static PROVEN: PerProcess<AtomicU64> = PerProcess::new();
    let known = PROVEN.get_or_init(|| AtomicU64::new(u64::MAX)).ok().map(|(_, known)| known);
    if known.is_some_and(|known| known.load(Ordering::Relaxed) == file.device()) {
        return Ok(());
    }
    if !liveness::is_held(shared, life_byte(row)).map_err(|e| Error::io("asking for our life", e))? {
        return Err(Kind::Unsupported { what: "locks of open file descriptions" }.into());
    }
    if let Some(known) = known {
        known.store(file.device(), Ordering::Relaxed);
    }
    Ok(())
}

/// Who has just taken a row.
struct Newcomer {
    id: ParticipantId,
    /// Whether a dead one had the row before, who may have held objects that are to be freed now.
    has_settled: bool,
}

/// Takes a row and an id.
fn join(own: &OwnedFd, fixed: &Fixed, ground: &Ground<'_>) -> Result<(u32, Newcomer)> {
    let io = |e| Error::io("taking a row of the segment", e);
    let identity = liveness::identity();
    let rows = ground.header.plan.rows;
    let start = identity.pid % rows;
    for row in (0..rows).map(|i| (start + i) % rows) {
        // An id without a living holder is worth the reap byte; so is a free row. The rest is skipped
        // without touching its bytes.
        let is_taken = fixed.ids.get(row as usize).is_some_and(|id| id.load(Ordering::Relaxed) != 0);
        if is_taken && liveness::is_held(own.as_fd(), life_byte(row)).map_err(io)?
            || !liveness::try_lock(own.as_fd(), reap_byte(row)).map_err(io)?
        {
            continue;
        }
        let taken = occupy(own, fixed, ground, row, &identity);
        liveness::unlock(own.as_fd(), reap_byte(row)).map_err(io)?;
        if let Some(newcomer) = taken? {
            return Ok((row, newcomer));
        }
    }
    Err(Kind::RowsFull { rows }.into())
}

/// Takes `row`, whose reap byte is held. None: somebody lives there after all.
fn occupy(
    own: &OwnedFd,
    fixed: &Fixed,
    ground: &Ground<'_>,
    row: u32,
    identity: &Identity,
) -> Result<Option<Newcomer>> {
    let io = |e| Error::io("taking a row of the segment", e);
    if !liveness::try_lock(own.as_fd(), life_byte(row)).map_err(io)? {
        return Ok(None);
    }
    let has_settled = settle(fixed, ground, row);
    let id = recover::take_id(own, &fixed.registry, &fixed.ids, ground, row)?;
    if let Some(who) = fixed.rows.get(row as usize) {
        who.pid.store(identity.pid, Ordering::Relaxed);
        who.start_time.store(identity.start_time, Ordering::Relaxed);
        who.namespace.store(identity.namespace, Ordering::Relaxed);
    }
    // The row was settled above and its bytes are ours, so it is vacant unless somebody scribbles.
    if registry::occupy(&fixed.ids, row as usize, id) { Ok(Some(Newcomer { id, has_settled })) } else { Ok(None) }
}

/// Undoes or finishes what the dead participant in `row` had announced, then frees the row. Under the
/// row's reap byte. True: there was something to do.
fn settle(fixed: &Fixed, ground: &Ground<'_>, row: u32) -> bool {
    let Some(cell) = fixed.ids.get(row as usize).filter(|cell| cell.load(Ordering::Relaxed) != 0) else { return false };
    if let Some(dead) = ParticipantId::new(cell.load(Ordering::Relaxed)) {
        ground.settle(row, dead);
    }
    if let Some(who) = fixed.rows.get(row as usize) {
        // Objects of this format need no second place for a claim, so nothing is ever announced.
        who.announced.iter().for_each(|word| word.store(0, Ordering::Relaxed));
    }
    fixed.registry.note_death();
    // Last, and whatever stood there: a scribbled id is nobody's. Who no longer finds the id sees the rest.
    cell.store(0, crate::order!(registry_bury, Release));
    true
}
