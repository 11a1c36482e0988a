//! What every handle is: a view of an object of one kind. How it is made and found is written once, here.

use crate::error::Result;
use crate::segment::body::{Blueprint, Body};
use crate::segment::layout::{ObjectKind, ROWS_DEFAULT};
use crate::segment::name::Name;
use crate::segment::object::{self, Draft};
use crate::segment::open::Segment;
use crate::segment::tag::TypeTag;

/// Rounds in which an object may be removed between "it exists" and the look at it.
const ROUNDS: u32 = 100;

/// A handle's type.
pub(crate) trait Object: Sized {
    /// What it is in a segment.
    const KIND: ObjectKind;

    /// What is said of the type of its items.
    fn tag() -> TypeTag;

    /// The handle of an object of this kind and type, whose shape is checked here.
    fn over(body: Body) -> Result<Self>;
}

/// Where a new object is to be.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Place<'a> {
    /// In a segment of its own.
    Alone,
    /// Among others, without a name.
    In(&'a Segment),
    /// Among others, found by its name.
    Named(&'a Segment, Name<'a>),
}

impl Place<'_> {
    /// The rows of the segment that it will be in.
    pub(crate) fn rows(&self) -> u32 {
        match self {
            Self::Alone => ROWS_DEFAULT,
            Self::In(segment) | Self::Named(segment, _) => segment.attachment().header().plan.rows,
        }
    }
}

/// A new object. Nobody else knows it before `fill` is done with it.
pub(crate) fn make<H: Object>(
    place: Place<'_>,
    blueprint: &Blueprint,
    fill: impl FnOnce(&H) -> Result<()>,
) -> Result<H> {
    let (segment, name) = match place {
        Place::Alone => {
            let handle = H::over(Body::make_alone(H::KIND, H::tag(), blueprint)?)?;
            fill(&handle)?;
            return Ok(handle);
        }
        Place::In(segment) => (segment, None),
        Place::Named(segment, name) => (segment, Some(name)),
    };
    let tag = name.map_or_else(H::tag, tag_of::<H>);
    let draft = Draft::new(segment, name, H::KIND, &tag, blueprint)?;
    fill(&H::over(draft.body()?)?)?;
    H::over(draft.publish()?)
}

/// The object of a segment that holds one alone.
pub(crate) fn attach<H: Object>(segment: &Segment) -> Result<H> {
    H::over(Body::alone(segment, H::KIND, &H::tag())?)
}

/// The object of this name.
pub(crate) fn open<H: Object>(segment: &Segment, name: Name<'_>) -> Result<H> {
    H::over(object::open(segment, name, H::KIND, &tag_of::<H>(name))?)
}

/// The object of this name, made if there is none.
pub(crate) fn open_or_create<H: Object>(
    segment: &Segment,
    name: Name<'_>,
    mut create: impl FnMut() -> Result<H>,
) -> Result<H> {
    for _ in 1..ROUNDS {
        match open(segment, name) {
            Err(error) if error.is_not_found() => {}
            other => return other,
        }
        match create() {
            Err(error) if error.is_exists() => {}
            other => return other,
        }
    }
    create()
}

fn tag_of<H: Object>(name: Name<'_>) -> TypeTag {
    name.tag().map_or_else(H::tag, |tag| H::tag().given(tag))
}

/// The ways to make an object among others, for a type with `fn made(place, arguments)`.
macro_rules! among_others {
    ($handle:ty $(, $param:ident: $bound:path $([$more:path])?)*; $($arg:ident: $type:ty),*) => {
        impl<$($param: $bound $(+ $more)?),*> $handle {
            /// A new one without a name, in a segment that holds others too. It costs no descriptor and no mapping of its own.
            /// Whoever is to use it is given a handle; it is gone with the last handle of all processes, so keep one until the
            /// receiver has its own. A handle that is an item of a `Queue` or a `List`, or in a `Dict`, holds nothing: an object that is to be there
            /// for as long as an item names it has a name of its own, or somebody who keeps a handle.
            ///
            /// # Errors
            ///
            /// As for `new`; `is_exhausted` when the segment has no entry left for another object; `is_invalid` for a
            /// segment that holds one object alone.
            pub fn new_in(segment: &crate::segment::open::Segment, $($arg: $type),*) -> crate::error::Result<Self> {
                Self::made(crate::handle::object::Place::In(segment), $($arg),*)
            }

            /// A new one of this name, in a segment that holds others too. It stays until
            /// [`Segment::remove`](crate::Segment::remove), whoever dies.
            ///
            /// # Errors
            ///
            /// `is_exists` when the name is taken: of two who create it at once exactly one succeeds. Else as for `new_in`;
            /// `is_invalid` for what is no [`Name`](crate::Name).
            pub fn create<'a>(
                segment: &'a crate::segment::open::Segment,
                name: impl Into<crate::segment::name::Name<'a>>,
                $($arg: $type),*
            ) -> crate::error::Result<Self> {
                Self::made(crate::handle::object::Place::Named(segment, name.into()), $($arg),*)
            }

            /// The one of this name, as whoever made it made it; if there is none, a new one.
            ///
            /// # Errors
            ///
            /// As for `open` and `create`.
            pub fn open_or_create<'a>(
                segment: &'a crate::segment::open::Segment,
                name: impl Into<crate::segment::name::Name<'a>>,
                $($arg: $type),*
            ) -> crate::error::Result<Self> {
                let name = name.into();
                crate::handle::object::open_or_create(segment, name, || {
                    Self::made(crate::handle::object::Place::Named(segment, name), $($arg),*)
                })
            }
        }
    };
}
pub(crate) use among_others;
