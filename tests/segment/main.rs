//! Segments through the public API: made, handed over, inspected, refused.

mod foreign;
mod golden;
mod refused;
