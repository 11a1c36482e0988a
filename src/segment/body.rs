//! An object as its handles keep it: where it stands, what its creator said of it, and whether it is still there.

use crate::error::{Error, Kind, Result};
use crate::participant::{Liveness, ParticipantId};
use crate::raw::catalog::State;
use crate::segment::access::{Placed, Region, Shared};
use crate::segment::attachment::Attachment;
use crate::segment::header::Spec;
use crate::segment::layout::{Entry, MAGIC, ObjectKind};
use crate::segment::open::Segment;
use crate::segment::tag::TypeTag;
use crate::sync::{AtomicU64, Ordering};
use crate::sys::fork::ForkWord;
use std::sync::Arc;

/// What a new object is to be, beside its kind and the type of its items.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Blueprint {
    /// Bytes of the body, which are zero at first.
    pub body_len: u64,
    /// What the kind needs to know of itself.
    pub shape: [u64; 4],
    /// Bytes of the arena that the object has for itself where it is alone, at its largest and at first. Among others it
    /// shares theirs.
    pub arena: [u64; 2],
}

/// The object's part of a segment.
#[derive(Clone)]
pub(crate) struct Body {
    region: Region,
    shape: [u64; 4],
    /// A word that is `alive` as long as the object is there: the first of its entry, or, of an object alone, of the
    /// header, which nobody changes. So there is nothing to tell apart at each operation.
    word: Placed<AtomicU64>,
    alive: u64,
    /// Whether we are the process that attached, and its id there: copies, for a look at each operation.
    fork: ForkWord,
    me: ParticipantId,
    segment: Segment,
    /// Of an object among others.
    hold: Option<Arc<Hold>>,
}

/// One hold on an object among others: as long as there is one, its memory stays.
pub(crate) struct Hold {
    segment: Segment,
    number: usize,
}

impl Hold {
    /// For a hold that was taken in the catalog.
    pub(crate) fn new(segment: &Segment, number: usize) -> Self {
        Self { segment: segment.clone(), number }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        // In a forked child the hold is the parent's.
        if let Ok(attachment) = self.segment.attachment().ours() {
            attachment.catalog().let_go(self.number, attachment.row() as usize);
            attachment.catalog().free_if_due(self.number, attachment, attachment.arena());
        }
    }
}

impl Body {
    /// A new object, alone in a segment without a name.
    pub(crate) fn make_alone(kind: ObjectKind, tag: TypeTag, blueprint: &Blueprint) -> Result<Self> {
        let Blueprint { body_len, shape, arena: [largest, first] } = *blueprint;
        let spec = Spec::object(kind, tag.clone(), body_len, shape).with_arena(largest, first);
        Self::alone(&Segment::made_as(&spec)?, kind, &tag)
    }

    /// The object of a segment that holds this one alone.
    pub(crate) fn alone(segment: &Segment, kind: ObjectKind, tag: &TypeTag) -> Result<Self> {
        let attachment = segment.attachment();
        tag.expect(kind, attachment.header().kind, &attachment.header().tag)?;
        Ok(Self {
            region: attachment.body()?,
            shape: attachment.header().shape,
            word: attachment.region().placed(0)?,
            alive: u64::from_ne_bytes(MAGIC),
            fork: attachment.fork(),
            me: attachment.me(),
            segment: segment.clone(),
            hold: None,
        })
    }

    /// An object among others that is held, and that is there as long as its entry says so.
    pub(crate) fn held(hold: &Arc<Hold>, state: State) -> Result<Self> {
        let Hold { segment, number } = &**hold;
        let attachment = segment.attachment();
        let found = attachment.catalog().entry(*number)?.described()?;
        let arena = attachment.arena().ok_or_else(|| Error::corrupt("the segment", "a catalog without an arena"))?;
        let offset = attachment.header().plan.catalog + (*number * size_of::<Entry>()) as u64;
        Ok(Self {
            region: arena.region(found.block)?.part(0, found.body_len)?,
            shape: found.shape,
            word: attachment.region().placed(offset)?,
            alive: state.word(),
            fork: attachment.fork(),
            me: attachment.me(),
            segment: segment.clone(),
            hold: Some(Arc::clone(hold)),
        })
    }

    pub(crate) fn hold(&self) -> Option<&Arc<Hold>> {
        self.hold.as_ref()
    }

    /// Which object of its segment this is: its number in the catalog and its identity. `None`: it is alone.
    pub(crate) fn among_others(&self) -> Option<(u32, u64)> {
        self.hold.as_ref().map(|hold| (hold.number as u32, self.alive))
    }

    /// What the creator wrote down of the object. Not trusted: the handle checks it.
    pub(crate) fn shape(&self) -> [u64; 4] {
        self.shape
    }

    pub(crate) fn len(&self) -> u64 {
        self.region.len()
    }

    /// The object's bytes.
    pub(crate) fn region(&self) -> &Region {
        &self.region
    }

    pub(crate) fn segment(&self) -> &Segment {
        &self.segment
    }

    /// Who we are, unless this handle was inherited by `fork` or the object was removed.
    #[inline]
    pub(crate) fn life(&self) -> Result<&Self> {
        if self.is_alive() { Ok(self) } else { Err(self.why_dead()) }
    }

    /// Whether this handle was neither inherited by `fork` nor its object removed.
    #[inline(always)]
    pub(crate) fn is_alive(&self) -> bool {
        self.fork.is_ours() && !self.is_over()
    }

    #[cold]
    #[inline(never)]
    fn why_dead(&self) -> Error {
        self.attachment().ours().map_or_else(|error| error, |_| removed())
    }

    /// Who the process that attached is, also when we were forked from it: for reads that need no id.
    #[inline]
    pub(crate) fn attachment(&self) -> &Attachment {
        self.segment.attachment()
    }

    /// The row of the process that attached.
    pub(crate) fn row(&self) -> usize {
        self.attachment().row() as usize
    }

    /// The error of a call that ended, or the reason behind it: the object was removed meanwhile.
    #[cold]
    pub(crate) fn why(&self, error: Error) -> Error {
        if self.is_over() { removed() } else { error }
    }

    /// The struct of atomics at `offset`.
    #[inline]
    pub(crate) fn place<T: Shared>(&self, offset: u64) -> Result<&T> {
        self.region.place(offset)
    }

    /// The struct of atomics at `offset`, resolved once and for all.
    pub(crate) fn placed<T: Shared>(&self, offset: u64) -> Result<Placed<T>> {
        self.region.placed(offset)
    }

    /// `count` structs of atomics at `offset`, resolved once and for all.
    pub(crate) fn placed_slice<T: Shared>(&self, offset: u64, count: u64) -> Result<Placed<[T]>> {
        self.region.placed_slice(offset, count)
    }

    /// `count` structs of atomics at `offset`.
    #[inline]
    pub(crate) fn places<T: Shared>(&self, offset: u64, count: u64) -> Result<&[T]> {
        self.region.places(offset, count)
    }
}

impl Liveness for Body {
    #[inline]
    fn me(&self) -> ParticipantId {
        self.me
    }

    #[cold]
    fn is_dead(&self, id: ParticipantId) -> bool {
        self.attachment().is_dead(id)
    }

    #[inline]
    fn sleepers_fence(&self) -> bool {
        self.attachment().sleepers_fence()
    }

    #[cold]
    fn waits_long(&self) {
        self.attachment().waits_long();
    }

    #[cold]
    fn reap_dead(&self) -> bool {
        self.attachment().reap_dead()
    }

    #[inline]
    fn is_over(&self) -> bool {
        // Relaxed: the answer may be over the moment it is given.
        self.word.load(Ordering::Relaxed) != self.alive
    }
}

/// The error of a handle whose object was removed.
#[cold]
pub(crate) fn removed() -> Error {
    Kind::Removed { what: "the object" }.into()
}
