//! How a pool is to be made.

use core::fmt;
use core::time::Duration;
use parking_lot::{Condvar, Mutex};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::sync::Arc;

use crate::error::{Error, Kind, Result};
use crate::handle::bytes::Bytes;
use crate::handle::queue::Queue;
use crate::pool::crew::Crew;
use crate::pool::desk::Desks;
use crate::pool::drive::{Core, State};
use crate::pool::front::Pool;
use crate::pool::job::Terms;
use crate::pool::ledger::Ledger;
use crate::pool::worker::{Initializer, Setup, work};
use crate::process::batch::encode_one;
use crate::process::routine::{Routine, Secret};
use crate::process::spawn::Process;
use crate::segment::body::Hold;
use crate::segment::handoff;
use crate::segment::named::SegmentOptions;
use crate::sync::AtomicU32;
use crate::sys::liveness;

/// The most workers: what else takes part in the pool's memory needs a row too.
const WORKERS_MAX: usize = 240;
/// Chunks and replies that fit the queues.
const CHUNKS: usize = 1024;
/// Bytes of a chunk or a reply that lie in the queue itself.
const CELL: usize = 184;
/// Memory reserved, and not taken, for chunks and replies that do not.
const MEMORY: u64 = 16 << 30;

/// Names the initializer for a worker.
type Named = Box<dyn Fn(Secret) -> Result<(Initializer, Vec<Arc<Hold>>)>>;

/// How a [`Pool`] is to be made.
///
/// # Examples
///
/// ```
/// use mutirao::Pool;
/// use std::sync::OnceLock;
///
/// static FACTOR: OnceLock<u64> = OnceLock::new();
///
/// fn main() -> mutirao::Result<()> {
///     mutirao::init();
///     let pool = Pool::builder().workers(2).initializer(|factor: u64| FACTOR.set(factor).unwrap(), 7).build()?;
///     assert_eq!(pool.map(|n: u64| n * FACTOR.get().unwrap(), [1, 2, 3])?, [7, 14, 21]);
///     Ok(())
/// }
/// ```
#[derive(Default)]
#[must_use = "a builder makes nothing before `build`"]
pub struct PoolBuilder {
    workers: Option<usize>,
    initializer: Option<Named>,
    calls_max: u64,
    terms: Terms,
}

impl Pool {
    /// A pool of as many workers as this process may use processors.
    ///
    /// # Errors
    ///
    /// As [`PoolBuilder::build`].
    pub fn new() -> Result<Self> {
        Self::builder().build()
    }

    /// How a pool is to be made.
    pub fn builder() -> PoolBuilder {
        PoolBuilder::default()
    }
}

impl PoolBuilder {
    /// How many workers: unless said as many processors as this process may use, by its affinity and by the quota of its cgroup.
    #[doc(alias = "processes")]
    #[doc(alias = "max_workers")]
    pub fn workers(mut self, workers: usize) -> Self {
        self.workers = Some(workers);
        self
    }

    /// What each worker does first: `f(args)`. Any handle may be in `args`; a `static` keeps it for the tasks. A worker whose
    /// initializer panics is replaced, a few times.
    pub fn initializer<A>(mut self, f: fn(A), args: A) -> Self
    where
        A: Serialize + DeserializeOwned + 'static,
    {
        self.initializer = Some(Box::new(move |secret| {
            let routine = Routine::each(f, secret)?.to_words();
            let mut bytes = Vec::new();
            let (encoded, passengers) = handoff::export(|| encode_one(&args, &mut bytes));
            encoded.map_err(|why| Kind::Codec { what: "the initializer's arguments", why })?;
            Ok((Initializer { routine, args: bytes, segments: passengers.segments }, passengers.holds))
        }));
        self
    }

    /// A worker is replaced by a fresh one after so many tasks, a chunk more at most.
    #[doc(alias = "maxtasksperchild")]
    pub fn max_tasks_per_worker(mut self, tasks: u64) -> Self {
        self.calls_max = tasks.max(1);
        self
    }

    /// How often a task is tried again that panicked, or returned an error to `try_map` or `try_submit`: never, unless said. The first
    /// pause before that is `back_off`, each further one twice as long.
    pub fn retries(mut self, retries: u32, back_off: Duration) -> Self {
        (self.terms.retries, self.terms.back_off) = (retries, back_off);
        self
    }

    /// How often a task is tried again whose worker died of it: twice, unless said.
    pub fn retries_after_death(mut self, retries: u32) -> Self {
        self.terms.death_retries = retries;
        self
    }

    /// How long a task may take. Then its worker is killed, and it is [`TaskError::TimedOut`](crate::TaskError::TimedOut);
    /// a few milliseconds more may pass, never less.
    pub fn task_timeout(mut self, each: Duration) -> Self {
        self.terms.timeout = Some(each);
        self
    }

    /// How many calls go to a worker at a time. Unless said, as many as take about two milliseconds, measured.
    #[doc(alias = "chunksize")]
    pub fn chunk_size(mut self, calls: usize) -> Self {
        self.terms.chunk_size = Some(calls.max(1));
        self
    }

    /// How many calls may be out at a time. Unless said, as many as keep the workers busy, and 64 MiB of arguments.
    pub fn in_flight(mut self, calls: usize) -> Self {
        self.terms.in_flight = Some(calls.max(1));
        self
    }

    /// Makes the pool, and starts one worker; others are started when there is work for them.
    ///
    /// # Errors
    ///
    /// `is_invalid` for no workers or more than 240; `is_not_initialised` without [`init`](crate::init); what the system says
    /// when no process can be started.
    pub fn build(self) -> Result<Pool> {
        let workers = self.workers.unwrap_or_else(|| processors().min(WORKERS_MAX));
        if workers == 0 || workers > WORKERS_MAX {
            return Err(Error::invalid(
                format!("a Pool of {workers} workers"),
                format!("it must have 1 to {WORKERS_MAX}"),
            ));
        }
        let secret = Secret::new(liveness::random_16());
        let named = self.initializer.map(|named| named(secret)).transpose()?;
        // Twice: a worker that was killed has its row until somebody needs it.
        let rows = u32::try_from(2 * workers + 4).unwrap_or(u32::MAX).clamp(16, 256);
        let segment = SegmentOptions::default().participants(rows).objects(8).anonymous(MEMORY)?;
        let queue = || Queue::<Bytes>::options().capacity(CHUNKS).cell_bytes(CELL);
        let tasks = queue().leases(workers + 8).max_attempts(1).create_in(&segment)?;
        let replies = queue().leases(0).create_in(&segment)?;
        let desks = Desks::new_in(&segment, workers)?;
        let (setup, calls_max) = ((tasks.clone(), replies.clone(), desks.words.clone()), self.calls_max);
        let start = move |post: usize| {
            let (tasks, replies, desks) = setup.clone();
            let initializer = named.as_ref().map(|(initializer, _)| initializer.clone());
            let setup = Setup { tasks, replies, desks, post: post as u32, secret, calls_max, initializer };
            Process::spawn(work, setup)
        };
        let core = Core {
            posts: workers,
            tasks,
            replies,
            desks,
            secret,
            start: Box::new(start),
            state: Mutex::new(State {
                leading: false,
                assisted: false,
                closed: false,
                over: false,
                jobs: 0,
                ledger: Ledger::default(),
                crew: Crew::new(workers),
                letters: Vec::new(),
                round_due_ns: 0,
            }),
            changed: Condvar::new(),
            sleepers: AtomicU32::new(0),
        };
        core.start_one()?;
        Ok(Pool::of(Arc::new(core), self.terms))
    }
}

impl Core {
    /// Starts the first worker: whoever makes a pool is told at once if that is not possible.
    fn start_one(&self) -> Result<()> {
        let worker = (self.start)(0)?;
        let mut state = self.lock();
        state.crew.started += 1;
        if let Some(post) = state.crew.posts.first_mut() {
            post.worker = Some(worker);
        }
        Ok(())
    }
}

/// How many processors this process may use: its affinity, and the quota of its cgroup, of version 2 or 1.
pub(crate) fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

impl fmt::Debug for PoolBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PoolBuilder")
            .field("workers", &self.workers)
            .field("terms", &self.terms)
            .finish_non_exhaustive()
    }
}
