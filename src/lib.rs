//! Shared memory for Rust processes: [`Value`], [`Array`], [`Lock`], [`Mutex`], [`RwLock`], [`Semaphore`], [`Queue`] and [`Dict`]
//! that several processes use at once, as fast as what people use between threads, and still right after any process was
//! killed at any instruction.
//!
//! The tour, from the top:
//!
//! * [`init`] goes first in `main`; [`Process::spawn`] runs a function of this program in a process of its own.
//!   Handles are arguments like any other.
//! * [`Pool`] runs many calls in worker processes, loses none of them to a worker's death, and says what happened.
//! * [`Value`] and [`Array`] hold plain data ([`PlainData`]); a reader sees the old or the new value, never a mix.
//! * [`Lock`] guards something outside, [`Mutex`] and [`RwLock`] guard their data, [`Array::write`] a part of an array; a dead
//!   holder's lock goes on to the next.
//! * [`Semaphore`] counts permits; those of the dead come back.
//! * [`Queue`] carries items of any serde type, or [`Plain`] data as bytes; many senders, many receivers.
//! * [`Dict`] finds values by keys, of any serde types; readers take no lock, it grows by itself, and computes what is missing once.
//! * [`Segment`] is the memory that they live in, and hands them to programs that share no ancestor.
//! * [`SharedBytes`] is memory that another library made: bytes and atomic words.
//!
//! What the parts promise when a process dies stands with each type under *When a process dies*; how the promises are
//! kept stands in the repository's `docs/ARCHITECTURE.md`.
//!
//! Linux 5.16 or newer. x86-64 is tested; arm64 is written for and not verified.
#![deny(unsafe_code)]
#![warn(missing_docs)]
#![cfg_attr(mutirao_model, allow(dead_code, missing_docs))]

#[cfg(not(target_os = "linux"))]
compile_error!("mutirao runs on Linux 5.16 or newer; other systems are not supported");
#[cfg(not(all(target_pointer_width = "64", target_endian = "little")))]
compile_error!("mutirao needs a 64-bit little-endian target");

#[cfg(not(mutirao_model))]
mod deadline;
#[cfg(not(mutirao_model))]
mod error;
#[cfg(not(mutirao_model))]
mod handle;
#[cfg(not(mutirao_model))]
mod participant;
#[cfg(not(mutirao_model))]
mod pool;
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
    Array, ArrayReadGuard, ArrayView, ArrayWriteGuard, Bytes, DeadLetter, DeadLetters, Dict, DictEntries, DictItem,
    DictOptions, Hash, Integer, Item, Items, Leased, LeasedBytes, List, ListIter, ListOptions, Lock, LockError,
    LockGuard, Lookup, Mutex, MutexGuard, OwnedLease, OwnedPermit, PERMITS_MAX, Permit, Plain, Queue, QueueOptions,
    ReadOnly, Receiver, RwLock, RwLockReadGuard, RwLockWriteGuard, Semaphore, SendError, Sender, Slot, Value,
    ValueGuard,
};
#[cfg(not(mutirao_model))]
pub use crate::pool::{
    AsCompleted, Executor, Inline, Pool, PoolBuilder, PoolStats, PostMortem, Progress, Report, Results, Task,
    TaskError, TaskId, Threads, Unordered, WorkerLog, WorkerStats, as_completed, log_line, wait_all, wait_any,
    worker_log,
};
#[cfg(not(mutirao_model))]
pub use crate::process::{Current, Death, Exit, Options, Parent, Process, Resource, Stdio, Zygote, init, testing};
#[cfg(not(mutirao_model))]
#[doc(hidden)]
pub use crate::segment::bench;
#[cfg(not(mutirao_model))]
pub use crate::segment::{
    BytesView, Inspection, Lifetime, Name, ObjectReport, Observer, ParticipantReport, PlainData, Segment,
    SegmentOptions, SharedBytes, Trust, without_watcher,
};

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

/// The programs of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct Readme;

/// The programs of docs/processes.md.
#[cfg(doctest)]
#[doc = include_str!("../docs/processes.md")]
pub struct ReadmeOfProcesses;
