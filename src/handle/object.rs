//! What every handle is: a view of an object of one kind. How it is made and found is written once, here.

use crate::error::Result;
use crate::segment::body::{Blueprint, Body};
use crate::segment::layout::ObjectKind;
use crate::segment::open::Segment;
use crate::segment::tag::TypeTag;

/// A handle's type.
pub(crate) trait Object: Sized {
    /// What it is in a segment.
    const KIND: ObjectKind;

    /// What is said of the type of its items.
    fn tag() -> TypeTag;

    /// The handle of an object of this kind and type, whose shape is checked here.
    fn over(body: Body) -> Result<Self>;
}

/// A new object alone in a segment of its own. Nobody else knows it before `fill` is done with it.
pub(crate) fn make<H: Object>(blueprint: &Blueprint, fill: impl FnOnce(&H) -> Result<()>) -> Result<H> {
    let handle = H::over(Body::make_alone(H::KIND, H::tag(), blueprint)?)?;
    fill(&handle)?;
    Ok(handle)
}

/// The object of a segment that holds one alone.
pub(crate) fn attach<H: Object>(segment: &Segment) -> Result<H> {
    H::over(Body::alone(segment, H::KIND, &H::tag())?)
}
