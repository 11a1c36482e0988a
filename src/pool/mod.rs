//! A pool of worker processes: many calls, results in order, and nobody's death loses one of them.
//!
//! ```text
//!   caller ── chunks ──► queue of tasks ──lease──► workers        a chunk: a function's name, encoded arguments
//!     ▲                                               │
//!     └── results ◄── queue of replies ◄──────────────┘           a reply: encoded results, those that failed, times
//! ```
//!
//! A worker leases a chunk ([`worker`]), says on its desk ([`desk`]) which call of it is under way, sends what came of it,
//! and acknowledges. What a dead worker had leased becomes a dead letter of the queue, which the parent takes ([`healing`]): the desk
//! names the call that was under way; that one is tried again alone, the others of the chunk in chunks of their own.
//! Which chunks are out, and for whom, is the parent's private knowledge ([`ledger`]); what comes for a chunk that is no
//! longer out is dropped. So each call has one result.
//!
//! There is no thread that must run: whoever waits for something receives replies for all ([`drive`]). One is
//! started where somebody wants to be told without waiting.
//!
//! No shared bytes are touched here: queues and arrays do that.

pub(crate) mod budget;
pub(crate) mod builder;
pub(crate) mod crew;
pub(crate) mod desk;
pub(crate) mod drive;
pub(crate) mod ending;
pub(crate) mod events;
pub(crate) mod executor;
pub(crate) mod failure;
pub(crate) mod founding;
pub(crate) mod front;
pub(crate) mod group;
pub(crate) mod healing;
pub(crate) mod inline;
pub(crate) mod job;
pub(crate) mod ledger;
pub(crate) mod log;
pub(crate) mod many;
pub(crate) mod measuring;
pub(crate) mod progress;
pub(crate) mod report;
pub(crate) mod results;
pub(crate) mod stats;
pub(crate) mod stream;
pub(crate) mod task;
pub(crate) mod threads;
pub(crate) mod wire;
pub(crate) mod worker;

pub use self::builder::PoolBuilder;
pub use self::executor::Executor;
pub use self::failure::{PostMortem, TaskError, TaskId};
pub use self::front::Pool;
pub use self::group::{AsCompleted, as_completed, wait_all, wait_any};
pub use self::inline::Inline;
pub use self::log::{WorkerLog, log_line, worker_log};
pub use self::progress::Progress;
pub use self::report::Report;
pub use self::results::{Results, Unordered};
pub use self::stats::{PoolStats, WorkerStats};
pub use self::task::Task;
pub use self::threads::Threads;
