//! What a chunk belongs to, and how its calls are to be treated.

use core::time::Duration;

use crate::pool::failure::{TaskError, TaskId};
use crate::pool::progress::Audience;
use crate::process::batch::{Failure, Times};

/// How the calls of a job are to be treated.
#[derive(Clone, Debug)]
pub(crate) struct Terms {
    /// Calls in a chunk; `None`: as many as make a good length of work, measured.
    pub(crate) chunk_size: Option<usize>,
    /// The most calls that are out at a time; `None`: as many as keep the workers busy.
    pub(crate) in_flight: Option<usize>,
    /// How often a call that failed is tried again.
    pub(crate) retries: u32,
    /// How often a call is tried again whose worker died of it.
    pub(crate) death_retries: u32,
    /// The pause before the first retry; doubled for each further one.
    pub(crate) back_off: Duration,
    /// How long a call may take.
    pub(crate) timeout: Option<Duration>,
    /// Whether a call may be made twice.
    pub(crate) repeatable: bool,
    /// Who is told how far it is.
    pub(crate) audience: Option<Audience>,
}

impl Default for Terms {
    fn default() -> Self {
        Self {
            chunk_size: None,
            in_flight: None,
            retries: 0,
            death_retries: 2,
            back_off: Duration::from_millis(10),
            timeout: None,
            repeatable: true,
            audience: None,
        }
    }
}

impl Terms {
    /// How often a call is tried again whose worker died of it.
    pub(crate) fn after_deaths(&self) -> u32 {
        if self.repeatable { self.death_retries } else { 0 }
    }

    /// How often a call is tried again that failed.
    pub(crate) fn after_failures(&self) -> u32 {
        if self.repeatable { self.retries } else { 0 }
    }

    /// The pause before the `nth` retry, from 1.
    pub(crate) fn pause_ns(&self, nth: u32) -> u64 {
        const LONGEST_NS: u64 = 60_000_000_000;
        let first = u64::try_from(self.back_off.as_nanos()).unwrap_or(u64::MAX);
        first.saturating_mul(1 << nth.saturating_sub(1).min(20)).min(LONGEST_NS)
    }
}

/// Whoever a chunk's results are for. Called by the thread that drives the pool, which holds no lock then.
pub(crate) trait Job: Send + Sync {
    /// The how manieth job of its pool.
    fn number(&self) -> u64;

    fn terms(&self) -> &Terms;

    /// Whether a chunk has one result, and is one task: it is never divided.
    fn is_fold(&self) -> bool {
        false
    }

    /// Whether nobody wants results any more.
    fn is_cancelled(&self) -> bool;

    /// The calls of a chunk were made.
    fn deliver(&self, part: Delivery<'_>);

    /// A call will not be made, or not again.
    fn fail(&self, index: u64, error: TaskError);

    /// How many bytes the first `calls` of these encoded arguments have.
    fn arguments_len(&self, arguments: &[u8], calls: u32) -> Option<usize>;

    fn id(&self, index: u64) -> TaskId {
        TaskId { job: self.number(), index }
    }
}

/// What came of a chunk.
pub(crate) struct Delivery<'a> {
    /// The place of its first call in the job.
    pub(crate) first: u64,
    pub(crate) calls: u32,
    pub(crate) results: &'a [u8],
    /// The calls without a result, by their number in the chunk, in order. `None`: that one is tried again.
    pub(crate) failures: Vec<(u32, Option<Failure>)>,
    /// The how manieth attempt this was.
    pub(crate) attempt: u32,
    pub(crate) times: Times,
}
