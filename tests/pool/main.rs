//! The pool: every call has one result, whoever dies.

mutirao::testing::entry!();

mod bad_input;
mod deaths;
mod executors;
mod leftovers;
mod limits;
mod options;
mod results;
mod stage;
