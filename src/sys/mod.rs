//! The only system calls, with safe signatures out. Nothing here knows a structure or an algorithm.

pub mod clock;
pub mod futex;
pub mod membarrier;
