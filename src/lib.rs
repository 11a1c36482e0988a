//! Shared memory for Rust processes.
#![deny(unsafe_code)]
#![warn(missing_docs)]
#[cfg(not(any(target_os = "linux")))]
compile_error!("mutirao runs on Linux 5.16 or newer; other systems are not supported");
#[cfg(not(target_pointer_width = "64"))]
compile_error!("mutirao needs a 64-bit target");

#[cfg(not(mutirao_model))]
mod deadline;
#[cfg(not(mutirao_model))]
mod error;
#[cfg(not(mutirao_model))]
mod handle;
#[cfg(not(mutirao_model))]
mod participant;
#[cfg(not(mutirao_model))]
mod process;
#[cfg(not(mutirao_model))]
mod raw;
#[cfg(not(mutirao_model))]
mod segment;
#[cfg(not(mutirao_model))]
mod sync;
#[cfg(not(mutirao_model))]
mod sys;

#[cfg(not(mutirao_model))]
pub use crate::error::{Error, Result};
#[cfg(not(mutirao_model))]
pub use crate::handle::{
    Array, ArrayView, Integer, Item, Items, Lock, LockError, LockGuard, Mutex, MutexGuard, OwnedPermit, PERMITS_MAX,
    Permit, Plain, Queue, QueueOptions, Receiver, Semaphore, SendError, Sender, Value, ValueGuard,
};
#[cfg(not(mutirao_model))]
pub use crate::process::{Options, Outcome, Process, init, testing};
#[cfg(not(mutirao_model))]
pub use crate::segment::{Inspection, ObjectReport, ParticipantReport, PlainData, Segment};

// Under the model checker only these floors exist, and the models of `tests/loom` reach into them.
#[cfg(mutirao_model)]
#[doc(hidden)]
pub mod deadline;
#[cfg(mutirao_model)]
#[doc(hidden)]
pub mod participant;
#[cfg(mutirao_model)]
#[doc(hidden)]
pub mod raw;
#[cfg(mutirao_model)]
#[doc(hidden)]
pub mod sync;
#[cfg(mutirao_model)]
#[doc(hidden)]
pub use sync::model;
