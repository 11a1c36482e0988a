//! The only system calls of the crate, behind safe signatures.
//!
//! Nothing here knows of segments, rows or objects; nothing above this floor makes a system call.

pub(crate) mod backing;
pub(crate) mod clock;
pub(crate) mod clone;
pub(crate) mod epoll;
pub(crate) mod executable;
pub(crate) mod foreign;
pub(crate) mod fork;
pub(crate) mod futex;
pub(crate) mod limits;
pub(crate) mod liveness;
pub(crate) mod mapping;
pub(crate) mod membarrier;
pub(crate) mod names;
pub(crate) mod process;
pub(crate) mod quiet;
pub(crate) mod sealed;
pub(crate) mod socket;
pub(crate) mod spawn;
#[cfg(feature = "testing")]
pub(crate) mod trace;
