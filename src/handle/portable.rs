//! What every handle has: its segment, a way into it and a way back after `fork`, and serde through the hand-over.
//!
//! A handle is not bytes: what is written is the place of its segment among the descriptors that travel
//! beside the bytes, and which object of the segment it is. Where no descriptors travel, writing one is refused as
//! `NotReachable`.

use crate::error::{Error, Result};
use crate::handle::object::{self, Object};
use crate::segment::body::Body;
use crate::segment::handoff;
use crate::segment::object::at;
use crate::segment::open::Segment;
use core::cell::Cell;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

thread_local! {
    /// Whether a handle on this thread could not be written or read: codecs drop reasons.
    static REFUSED: Cell<bool> = const { Cell::new(false) };
    /// Why a handle that was found could not be attached to.
    static REASON: Cell<Option<Error>> = const { Cell::new(None) };
}

/// Writes a handle as the place of its segment, and the number and the identity of its object there.
pub(crate) fn serialize<S: Serializer>(body: &Body, serializer: S) -> Result<S::Ok, S::Error> {
    if let Some(hold) = body.hold() {
        handoff::keep(hold);
    }
    (body.segment(), body.among_others()).serialize(serializer).inspect_err(|_| REFUSED.set(true))
}

/// Reads a handle: finds its segment by its place, and attaches.
pub(crate) fn deserialize<'de, D: Deserializer<'de>, H: Object>(deserializer: D) -> Result<H, D::Error> {
    let (segment, which): (Segment, _) = Deserialize::deserialize(deserializer).inspect_err(|_| REFUSED.set(true))?;
    find(&segment, which).map_err(|error| {
        let said = de::Error::custom(&error);
        REASON.set(Some(error));
        said
    })
}

/// A handle of this process, in the segment of a handle that another process has.
pub(crate) fn find<H: Object>(segment: &Segment, which: Option<(u32, u64)>) -> Result<H> {
    match which {
        None => object::attach(segment),
        Some((number, identity)) => H::over(at(segment, number, identity, H::KIND, &H::tag())?),
    }
}

/// Whether a handle inside an item was refused on this thread since this was last asked.
pub(crate) fn take_refusal() -> bool {
    REFUSED.take()
}

/// What was wrong with a handle inside of what was read last on this thread, since the codec does not keep it.
pub(crate) fn take_error() -> Option<Error> {
    REASON.take()
}

/// As [`take_error`], in words.
pub(crate) fn take_reason() -> Option<String> {
    take_error().map(|error| error.to_string())
}

/// The part that is the same for every handle: `segment`, `attach`, `reattach`, `Serialize`, `Deserialize`.
/// The type is an `Object` and has a `body`.
macro_rules! portable {
    ($handle:ty $(, $param:ident: $bound:path)*) => {
        impl<$($param: $bound),*> $handle {
            /// The segment that holds it: what another program attaches to.
            pub fn segment(&self) -> &crate::segment::open::Segment {
                self.body.segment()
            }

            /// The object in a segment that was received and that holds it alone.
            ///
            /// # Errors
            ///
            /// `is_wrong_type` when the segment holds something else, or one of other items; `is_corrupt` when what it says of
            /// itself makes no sense.
            pub fn attach(segment: &crate::segment::open::Segment) -> crate::error::Result<Self> {
                crate::handle::object::attach(segment)
            }

            /// The object of this name, in a segment that holds others too. Give [`Name`](crate::Name) the same type tag as its
            /// creator, if it has one.
            ///
            /// # Errors
            ///
            /// `is_not_found`, with the nearest name that there is; `is_wrong_type` when it is of another kind or type, with both
            /// named; `is_corrupt`.
            pub fn open<'a>(
                segment: &crate::segment::open::Segment,
                name: impl Into<crate::segment::name::Name<'a>>,
            ) -> crate::error::Result<Self> {
                crate::handle::object::open(segment, name.into())
            }

            /// A handle of the calling process to the same object, where this one was inherited by `fork`.
            ///
            /// # Errors
            ///
            /// `is_exhausted` when the segment has no row left for another participant.
            pub fn reattach(&self) -> crate::error::Result<Self> {
                crate::handle::portable::find(&self.body.segment().reattach()?, self.body.among_others())
            }
        }

        impl<$($param: $bound),*> serde::Serialize for $handle {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                crate::handle::portable::serialize(&self.body, serializer)
            }
        }

        impl<'de $(, $param: $bound)*> serde::Deserialize<'de> for $handle {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                crate::handle::portable::deserialize(deserializer)
            }
        }
    };
}
pub(crate) use portable;
