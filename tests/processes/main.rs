//! Real processes: what they hand over, how they end, and how they meet on each primitive.

mutirao::testing::entry!();

mod badly;
mod copied;
mod dict;
mod family;
mod full;
mod future;
mod handles;
mod leases;
mod life;
mod list;
mod names;
mod nested;
mod options;
mod proof;
mod readers;
mod results;
mod roles;
mod stage;
mod zygote;
