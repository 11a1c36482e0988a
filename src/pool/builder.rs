//! How a pool is to be made.

use core::fmt;
use core::time::Duration;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::sync::Arc;

use crate::error::{Error, Kind, Result};
use crate::pool::budget;
use crate::pool::founding::{Founding, WORKERS_MAX, found};
use crate::pool::front::Pool;
use crate::pool::job::Terms;
use crate::pool::progress::{Audience, Progress};
use crate::pool::worker::Initializer;
use crate::process::batch::encode_one;
use crate::process::options::Options;
use crate::process::routine::{Routine, Secret};
use crate::process::settings::Resource;
use crate::process::zygote::Zygote;
use crate::segment::body::Hold;
use crate::segment::handoff;
use crate::segment::open::Segment;

/// What libraries read to know how many threads they should start.
const THREADS: [&str; 7] = [
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "RAYON_NUM_THREADS",
];

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
    options: Options,
    is_limited: bool,
    name: Option<String>,
    cpus: Vec<u32>,
    shared: Vec<Segment>,
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
    /// How many workers: unless said as many processors as this process may use, by its affinity and by the quota of its
    /// cgroup. A pool that a worker of another makes has no more than the worker's share of those.
    #[doc(alias = "processes")]
    #[doc(alias = "max_workers")]
    pub fn workers(mut self, workers: usize) -> Self {
        self.workers = Some(workers);
        self
    }

    /// What `ps` and messages call the workers: this, and a number.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
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

    /// Handles to what lives in this segment may be in arguments and results: `share(array.segment())`. Those to segments with
    /// a name may be in any case.
    pub fn share(mut self, segment: &Segment) -> Self {
        self.shared.push(segment.clone());
        self
    }

    /// A worker is replaced by a fresh one after so many tasks, a chunk more at most.
    #[doc(alias = "maxtasksperchild")]
    pub fn max_tasks_per_worker(mut self, tasks: u64) -> Self {
        self.calls_max = tasks.max(1);
        self
    }

    /// The CPUs of the workers, one for each in turn. Unless said, they run where this process may.
    pub fn affinity(mut self, cpus: impl IntoIterator<Item = u32>) -> Self {
        self.cpus = cpus.into_iter().collect();
        self
    }

    /// Bytes of private memory that a worker may have. What needs more kills its worker, and is
    /// [`TaskError::WorkerDied`](crate::TaskError::WorkerDied), out of memory, after its retries.
    pub fn memory_limit(mut self, bytes: u64) -> Self {
        (self.options, self.is_limited) = (self.options.limit(Resource::Data, bytes), true);
        self
    }

    /// How many threads libraries start in a worker: `OMP_NUM_THREADS`, `RAYON_NUM_THREADS` and what else is usual. Unless said, as
    /// this process was told.
    pub fn threads_per_worker(mut self, threads: usize) -> Self {
        for variable in THREADS {
            self.options = self.options.env(variable, threads.to_string());
        }
        self
    }

    /// A variable of the workers' environment.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.options = self.options.env(name, value);
        self
    }

    /// The workers are forked by this zygote instead of being this executable run again: that is quicker.
    pub fn zygote(mut self, zygote: &Zygote) -> Self {
        self.options = self.options.zygote(zygote);
        self
    }

    /// How often a task is tried again that panicked, or returned an error to `try_map` or `try_submit`: never, unless said. The
    /// first pause before that is `back_off`, each further one twice as long.
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

    /// Tells how far each `map` and the like is, about ten times a second and at its end, on the thread that waits for it.
    ///
    /// ```
    /// fn main() -> mutirao::Result<()> {
    ///     mutirao::init();
    ///     let pool = mutirao::Pool::builder().progress(|p| eprint!("\r{} of {:?}", p.done, p.total)).build()?;
    ///     pool.map(|n: u64| n, 0..100)?;
    ///     Ok(())
    /// }
    /// ```
    pub fn progress(mut self, tell: impl Fn(&Progress) + Send + Sync + 'static) -> Self {
        self.terms.audience = Some(Audience(Arc::new(tell)));
        self
    }

    /// Makes the pool, and starts one worker; others are started when there is work for them.
    ///
    /// # Errors
    ///
    /// `is_invalid` for no workers or more than 240, and for a pool in a worker of a pool in a worker, eight times;
    /// `is_not_initialised` without [`init`](crate::init); what the system says when no process can be started.
    pub fn build(self) -> Result<Pool> {
        let granted = |workers| budget::granted(Some(workers), budget::processors());
        let is_beyond = |workers| workers > WORKERS_MAX && granted(workers) > WORKERS_MAX;
        if let Some(workers) = self.workers.filter(|workers| *workers == 0 || is_beyond(*workers)) {
            let why = format!("it must have 1 to {WORKERS_MAX}");
            return Err(Error::invalid(format!("a Pool of {workers} workers"), why));
        }
        let secret = Secret::random();
        let (depth, pools) = budget::depth_of_worker()?;
        let founding = Founding {
            workers: self.workers,
            secret,
            initializer: self.initializer.map(|named| named(secret)).transpose()?,
            calls_max: self.calls_max,
            options: self.options.env(depth, pools),
            is_limited: self.is_limited,
            name: self.name,
            cpus: self.cpus,
            shared: self.shared,
        };
        Ok(Pool::of(Arc::new(found(founding)?), self.terms))
    }
}

impl fmt::Debug for PoolBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PoolBuilder")
            .field("workers", &self.workers)
            .field("terms", &self.terms)
            .finish_non_exhaustive()
    }
}
