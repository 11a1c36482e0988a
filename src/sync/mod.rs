//! The vocabulary that the model checker replaces: atomics, a word to sleep on, orderings with names.
//!
//! Algorithms in `raw/` use this room and nothing else to touch shared memory, to sleep and to wake. In
//! real builds it is core atomics and the shared futex; under `--cfg mutirao_model` every access is a step
//! that loom (or, with `--cfg mutirao_shuttle`, shuttle) orders, and before which a thread can die.

pub mod order;
pub mod rested;

#[cfg(mutirao_model)]
pub mod model;
#[cfg(not(mutirao_model))]
pub mod real;

#[cfg(mutirao_model)]
pub use model::{
    AtomicU32, AtomicU64, Futex, Ordering, Patience, exchange_fence, fence, heavy_fence, light_fence, mark,
    publish_store, spin_hint,
};
#[cfg(not(mutirao_model))]
pub use real::{
    AtomicU8, AtomicU16, AtomicU32, AtomicU64, Futex, Ordering, Patience, exchange_fence, fence, heavy_fence,
    light_fence, mark, publish_store, spin_hint,
};
pub use rested::Rested;
