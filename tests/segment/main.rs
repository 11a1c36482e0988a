//! Segments through the public API: made, handed over, inspected, refused.

mod golden;
mod refused;
