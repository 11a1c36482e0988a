//! An object as its handles keep it: where it stands, what its creator said of it, and whether it is still there.

use crate::error::{Error, Kind, Result};
use crate::participant::{Liveness, ParticipantId};
use crate::segment::access::{Placed, Region, Shared};
use crate::segment::attachment::Attachment;
use crate::segment::header::Spec;
use crate::segment::layout::{MAGIC, ObjectKind};
use crate::segment::open::Segment;
use crate::segment::tag::TypeTag;
use crate::sync::{AtomicU64, Ordering};

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
    /// A word that is `alive` as long as the object is there. Of an object alone it is the first of the header, which
    /// nobody changes, so that there is nothing to tell apart at each operation.
    word: Placed<AtomicU64>,
    alive: u64,
    segment: Segment,
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
            segment: segment.clone(),
        })
    }

    /// What the creator wrote down of the object. Not trusted: the handle checks it.
    pub(crate) fn shape(&self) -> [u64; 4] {
        self.shape
    }

    pub(crate) fn len(&self) -> u64 {
        self.region.len()
    }

    pub(crate) fn segment(&self) -> &Segment {
        &self.segment
    }

    /// Who we are, unless this handle was inherited by `fork` or the object was removed.
    #[inline]
    pub(crate) fn life(&self) -> Result<&Self> {
        self.attachment().ours()?;
        if self.is_over() { Err(removed()) } else { Ok(self) }
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
        self.attachment().me()
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

    #[inline]
    fn is_over(&self) -> bool {
        // Relaxed: the answer may be over the moment it is given.
        self.word.load(Ordering::Relaxed) != self.alive
    }
}

#[cold]
fn removed() -> Error {
    Kind::Removed { what: "the object" }.into()
}
