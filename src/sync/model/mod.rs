//! The model half: atomics and futexes that loom (or shuttle) orders, threads that die before a given step, and
//! the kernel that knows who died.
//!
//! Every access is one *step*. A thread run by [`mortal`] dies before its k-th step: none of its later
//! accesses has any effect, and an unwind carries control out of the algorithm, so that nothing but
//! shared memory remembers the thread.
//!
//! A compiler may move relaxed stores, so a process can be killed with a later store done and an earlier one not.
//! [`mortal_reordered`] models that: relaxed stores wait in a list of the thread until its next release or
//! system call; at death any subset of the list is in memory.
//!
//! loom 0.7.2 skips executions when a thread loads a word before it stores to it (tokio-rs/loom#392, #166). So each
//! atomic has a shadow, which every load *stores to* first: then two loads depend on each other and loom tries both
//! orders. Nothing reads the shadow. (A read-modify-write of it would read what others wrote there, and a
//! later acquire fence would take over their release fences: order that the real word does not give.)
//! loom treats SeqCst accesses as AcqRel, so total orders are made by fences.
//!
//! shuttle runs one thread at a time: sequentially consistent, more threads, random schedules. A weakened
//! order is not seen there.

pub mod actor;
pub mod kernel;

pub use actor::{
    AtomicU32, AtomicU64, Ordering, Payload, edge, exchange_fence, fence, heavy_fence, light_fence, mark, mortal,
    mortal_reordered, publications, publish_store, spin_hint, take_deaths, take_marks, thread, use_plain_stores,
};
pub use kernel::{Futex, Kernel, Life, Patience};
