//! Processes that run a function of this program: starting them, waiting for them, ending them.
//!
//! A child is this executable run again ([`spawn`]). It finds a socket by a variable of its environment
//! ([`child`]), takes from it what to run ([`entry`] turns a position into a function, and is the only
//! place that does) and sends back what came of it. What travels over the socket is in [`parcel`].
//! No shared bytes are touched here: handles travel through `segment::handoff`.

pub(crate) mod child;
pub(crate) mod entry;
pub(crate) mod outcome;
pub(crate) mod parcel;
pub(crate) mod spawn;
#[cfg(feature = "testing")]
pub(crate) mod stepping;
pub mod testing;

pub use self::child::init;
pub use self::outcome::Outcome;
pub use self::spawn::{Options, Process};
