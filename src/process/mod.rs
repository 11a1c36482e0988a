//! Processes that run a function of this program: starting them, waiting for them, ending them.
//!
//! A child is this executable run again: [`launch`] starts it with what [`options`] say, [`spawn`] is the handle that its
//! parent has, and [`control`] what the parent says and does to it while it runs. It finds a socket by a variable of its environment
//! ([`child`]), takes from it what to run ([`entry`] turns a position into a function, and is the only
//! place that does) and sends back what came of it: a result, or a panic as [`panics`] saw it. What travels over the socket is in [`parcel`], values as [`encoded`] makes them. A thread
//! in the child, the [`lifeline`], ends it with its parent; [`death`] tells the parent of its end, and [`exit`] how it came.
//! A [`zygote`] forks children instead; its own side is the [`nursery`].
//! No shared bytes are touched here: handles travel through `segment::handoff`.

pub(crate) mod again;
pub(crate) mod batch;
pub(crate) mod child;
pub(crate) mod control;
pub(crate) mod death;
pub(crate) mod encoded;
pub(crate) mod entry;
pub(crate) mod exit;
pub(crate) mod family;
#[cfg(feature = "testing")]
pub(crate) mod instruction;
pub(crate) mod launch;
pub(crate) mod lifeline;
pub(crate) mod nursery;
pub(crate) mod options;
pub(crate) mod out_of_memory;
pub(crate) mod panics;
pub(crate) mod parcel;
pub(crate) mod routine;
pub(crate) mod settings;
pub(crate) mod spawn;
pub(crate) mod stdio;
#[cfg(feature = "testing")]
pub(crate) mod stepping;
pub mod testing;
#[cfg(feature = "testing")]
pub(crate) mod victim;
pub(crate) mod zygote;

pub use self::child::init;
pub use self::death::Death;
pub use self::exit::Exit;
pub use self::family::{Current, Parent};
pub use self::options::Options;
pub use self::settings::Resource;
pub use self::spawn::Process;
pub use self::stdio::Stdio;
pub use self::zygote::Zygote;
