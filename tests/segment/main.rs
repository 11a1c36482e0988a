//! Segments through the public API: made, named, handed over, inspected, refused.

mutirao::testing::entry!();

mod arena;
mod catalog;
mod foreign;
mod golden;
mod in_the_way;
mod kept;
mod list;
mod named;
mod observer;
mod refused;
#[path = "../processes/stage.rs"]
mod stage;
