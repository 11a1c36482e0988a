//! The pool: every call has one result, whoever dies.

mutirao::testing::entry!();

mod bad_input;
#[path = "../processes/copied.rs"]
mod copied;
mod deaths;
#[cfg(feature = "tracing")]
mod events;
mod executors;
#[path = "../processes/future.rs"]
mod future;
mod leftovers;
mod limits;
mod options;
mod results;
mod stage;
