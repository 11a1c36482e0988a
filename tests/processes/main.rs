//! Real processes: what they hand over, how they end, and how they meet on each primitive.

mutirao::testing::entry!();

mod handles;
mod life;
mod results;
mod stage;
