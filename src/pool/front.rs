//! The pool as users hold it.

use core::fmt;
use core::marker::PhantomData;
use core::time::Duration;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::sync::Arc;

use crate::deadline::Deadline;
use crate::error::Result;
use crate::pool::drive::Core;
use crate::pool::failure::{TaskError, TaskId};
use crate::pool::job::Terms;
use crate::pool::many::Plan;
use crate::pool::report::Report;
use crate::pool::results::{Results, Unordered};
use crate::pool::stats::PoolStats;
use crate::pool::stream::Stream;
use crate::pool::task::{Single, Slot, Task};
use crate::pool::wire::CHUNK_HEAD;
use crate::process::batch::encode_one;
use crate::process::routine::Routine;
use crate::sys::clock;

/// Worker processes that run functions of this program, as many as there is work for and processors.
///
/// Functions are plain ones, or closures that capture nothing; arguments and results are any types that serde can write and
/// read. What all calls need is handed over once, by the [`initializer`](crate::PoolBuilder::initializer).
/// [`init`](crate::init) must stand first in `main`.
///
/// Clones are the same pool. With the last clone the workers are killed, and tasks that are not done are
/// [`TaskError::Cancelled`]; [`join`](Pool::join) waits for them.
///
/// # When a process dies
///
/// A worker that dies is replaced. The task that it died of is tried again, twice unless said otherwise, and is then
/// [`TaskError::WorkerDied`] with what is known; tasks that were on their way with it are done again and are not charged for
/// it. So a task may be run more than once, unless the pool [is told](Pool::at_most_once). Each has one result.
/// The workers end with the process that made the pool.
///
/// # Examples
///
/// ```
/// use mutirao::Pool;
///
/// fn main() -> mutirao::Result<()> {
///     mutirao::init();
///     let pool = Pool::new()?;
///     assert_eq!(pool.map(|n: u64| n * n, 0..5)?, [0, 1, 4, 9, 16]);
///     Ok(())
/// }
/// ```
#[doc(alias = "multiprocessing.Pool")]
#[doc(alias = "ProcessPoolExecutor")]
#[derive(Clone)]
pub struct Pool {
    owner: Arc<Owner>,
    terms: Terms,
}

/// Ends the workers with the last clone.
struct Owner {
    core: Arc<Core>,
}

impl Pool {
    pub(crate) fn of(core: Arc<Core>, terms: Terms) -> Self {
        Self { owner: Arc::new(Owner { core }), terms }
    }

    pub(crate) fn core(&self) -> &Arc<Core> {
        &self.owner.core
    }

    /// How many workers it has when all are needed.
    pub fn workers(&self) -> usize {
        self.core().posts
    }

    /// The same pool, for calls that must not be made twice: a task is not tried again after its worker's death, nor
    /// after a failure.
    pub fn at_most_once(&self) -> Self {
        self.on(|terms| terms.repeatable = false)
    }

    /// The same pool, for calls that go out `calls` at a time. Unless said, as many as take about two milliseconds.
    pub fn with_chunk_size(&self, calls: usize) -> Self {
        self.on(|terms| terms.chunk_size = Some(calls.max(1)))
    }

    /// The same pool, for calls that may take no longer than `each`.
    pub fn with_timeout(&self, each: Duration) -> Self {
        self.on(|terms| terms.timeout = Some(each))
    }

    /// The same pool, for calls that are tried again so often after they failed.
    pub fn with_retries(&self, retries: u32) -> Self {
        self.on(|terms| terms.retries = retries)
    }

    fn on(&self, change: impl FnOnce(&mut Terms)) -> Self {
        let mut terms = self.terms.clone();
        change(&mut terms);
        Self { owner: self.owner.clone(), terms }
    }

    /// Hands in one call.
    ///
    /// # Errors
    ///
    /// `is_closed`; `is_codec` for arguments that can not be encoded; `is_invalid` for a function of a shared library.
    #[doc(alias = "apply_async")]
    pub fn submit<A, R>(&self, f: fn(A) -> R, args: A) -> Result<Task<R>>
    where
        A: Serialize + DeserializeOwned + 'static,
        R: Serialize + DeserializeOwned + Send + 'static,
    {
        self.submit_as(Routine::each(f, self.core().secret)?, args)
    }

    /// Hands in one call whose error is the task's: [`TaskError::Failed`], after so many [retries](Pool::with_retries).
    ///
    /// # Errors
    ///
    /// As [`submit`](Pool::submit).
    pub fn try_submit<A, R, E>(&self, f: fn(A) -> core::result::Result<R, E>, args: A) -> Result<Task<R>>
    where
        A: Serialize + DeserializeOwned + 'static,
        R: Serialize + DeserializeOwned + Send + 'static,
        E: fmt::Display + 'static,
    {
        self.submit_as(Routine::trials(f, self.core().secret)?, args)
    }

    fn submit_as<A, R>(&self, routine: Routine, args: A) -> Result<Task<R>>
    where
        A: Serialize + DeserializeOwned + 'static,
        R: DeserializeOwned + Send + 'static,
    {
        let core = self.core();
        let mut bytes = Vec::with_capacity(CHUNK_HEAD + 64);
        bytes.resize(CHUNK_HEAD, 0);
        let encoded = core.home.within(|| encode_one(&args, &mut bytes));
        encoded.map_err(|why| crate::error::Kind::Codec { what: "the arguments", why })?;
        let id = TaskId { job: core.begin_job()?, index: 0 };
        let slot = Arc::new(Slot::new(id));
        let home = core.home.clone();
        let job = Single::<A, R> { slot: slot.clone(), terms: self.terms.clone(), home, _arguments: PhantomData };
        core.send(Arc::new(job), 0, 1, routine.to_words(), bytes);
        core.assist();
        Ok(Task { slot, help: core.clone() })
    }

    /// Calls `f` with each item; the results in the items' order.
    ///
    /// # Errors
    ///
    /// The first task's, in the items' order, that has no result. The others are given up then;
    /// [`map_results`](Pool::map_results) gives up none.
    pub fn map<A, R, I>(&self, f: fn(A) -> R, items: I) -> core::result::Result<Vec<R>, TaskError>
    where
        A: Serialize + DeserializeOwned + 'static,
        R: Serialize + DeserializeOwned + Send + 'static,
        I: IntoIterator<Item = A>,
    {
        self.stream(Routine::each(f, self.core().secret), false, items)?.collect()
    }

    /// Calls `f` with each item, and takes an error as the task's: [`TaskError::Failed`], after so many
    /// [retries](Pool::with_retries). Else as [`map`](Pool::map).
    ///
    /// # Errors
    ///
    /// As [`map`](Pool::map).
    pub fn try_map<A, R, E, I>(
        &self,
        f: fn(A) -> core::result::Result<R, E>,
        items: I,
    ) -> core::result::Result<Vec<R>, TaskError>
    where
        A: Serialize + DeserializeOwned + 'static,
        R: Serialize + DeserializeOwned + Send + 'static,
        E: fmt::Display + 'static,
        I: IntoIterator<Item = A>,
    {
        self.stream(Routine::trials(f, self.core().secret), false, items)?.collect()
    }

    /// Calls `f` with each item; the result or the error of each, in the items' order.
    pub fn map_results<A, R, I>(&self, f: fn(A) -> R, items: I) -> Vec<core::result::Result<R, TaskError>>
    where
        A: Serialize + DeserializeOwned + 'static,
        R: Serialize + DeserializeOwned + Send + 'static,
        I: IntoIterator<Item = A>,
    {
        match self.map_iter(f, items) {
            Ok(results) => results.collect(),
            Err(error) => vec![Err(error)],
        }
    }

    /// Calls `f` with each item, a bounded number ahead of whoever takes the results, which come in the items' order. The items
    /// may be without end. Between two calls of `next` nobody receives results, nor replaces a worker that died: that is made
    /// up for by the next call.
    ///
    /// # Errors
    ///
    /// When the pool is closed. Else each task's own comes in its place.
    #[doc(alias = "imap")]
    pub fn map_iter<A, R, I>(
        &self,
        f: fn(A) -> R,
        items: I,
    ) -> core::result::Result<Results<A, R, I::IntoIter>, TaskError>
    where
        A: Serialize + DeserializeOwned + 'static,
        R: Serialize + DeserializeOwned + Send + 'static,
        I: IntoIterator<Item = A>,
    {
        let stream = self.stream(Routine::each(f, self.core().secret), false, items)?;
        Ok(Results::new(stream))
    }

    /// As [`map_iter`](Pool::map_iter), the results as they come, each with the number of its item.
    ///
    /// # Errors
    ///
    /// As [`map_iter`](Pool::map_iter).
    #[doc(alias = "imap_unordered")]
    pub fn map_unordered<A, R, I>(
        &self,
        f: fn(A) -> R,
        items: I,
    ) -> core::result::Result<Unordered<A, R, I::IntoIter>, TaskError>
    where
        A: Serialize + DeserializeOwned + 'static,
        R: Serialize + DeserializeOwned + Send + 'static,
        I: IntoIterator<Item = A>,
    {
        let stream = self.stream(Routine::each(f, self.core().secret), false, items)?;
        Ok(Unordered::new(stream))
    }

    /// Calls `f` with each item and folds the results: the workers fold those of a chunk, from left to right, this
    /// process then folds those two by two. `None` of no items.
    ///
    /// The fold must not mind how it is bracketed. Where it does, as with floats, the result depends on where chunks end:
    /// [`with_chunk_size`](Pool::with_chunk_size) puts that where it is each time, and the result is the same each time, whoever
    /// dies.
    ///
    /// # Errors
    ///
    /// As [`map`](Pool::map). A chunk is tried again as a whole.
    pub fn map_reduce<A, R, I>(
        &self,
        f: fn(A) -> R,
        fold: fn(R, R) -> R,
        items: I,
    ) -> core::result::Result<Option<R>, TaskError>
    where
        A: Serialize + DeserializeOwned + 'static,
        R: Serialize + DeserializeOwned + Send + 'static,
        I: IntoIterator<Item = A>,
    {
        let mut results = self.stream(Routine::fold(f, fold, self.core().secret), true, items)?.folded()?;
        // A tree that depends on the number of chunks alone.
        while results.len() > 1 {
            let mut pairs = results.into_iter();
            let mut next = Vec::new();
            while let Some(left) = pairs.next() {
                next.push(match pairs.next() {
                    Some(right) => fold(left, right),
                    None => left,
                });
            }
            results = next;
        }
        Ok(results.pop())
    }

    fn stream<A, R, I>(
        &self,
        routine: Result<Routine>,
        is_fold: bool,
        items: I,
    ) -> core::result::Result<Stream<A, R, I::IntoIter>, TaskError>
    where
        A: Serialize + DeserializeOwned + 'static,
        R: DeserializeOwned + Send + 'static,
        I: IntoIterator<Item = A>,
    {
        let none = TaskId { job: 0, index: 0 };
        let number = self.core().begin_job().map_err(|_| TaskError::Cancelled { task: none })?;
        let task = TaskId { job: number, index: 0 };
        let routine = routine.map_err(|error| TaskError::NotPortable { task, why: error.to_string() })?.to_words();
        let plan = Plan { routine, number, terms: self.terms.clone(), is_fold };
        Ok(Stream::new(self.core(), self.owner.clone(), plan, items.into_iter()))
    }

    /// What was measured since the pool was made, or since [`reset_stats`](Pool::reset_stats).
    pub fn stats(&self) -> PoolStats {
        self.core().stats()
    }

    /// What the measured times say of the speed-up.
    pub fn report(&self) -> Report {
        self.core().report()
    }

    /// Measures anew from here on.
    pub fn reset_stats(&self) {
        self.core().reset_stats();
    }

    /// Nothing may be handed in any more; what was, is done.
    pub fn close(&self) {
        self.core().lock().closed = true;
    }

    /// Closes the pool, waits until all is done, and lets the workers leave.
    ///
    /// # Errors
    ///
    /// `is_forked`.
    pub fn join(&self) -> Result<()> {
        let core = self.core();
        core.tasks.channel.body().life()?;
        self.close();
        core.wait_until(|| core.lock().ledger.is_empty(), Deadline::NEVER);
        core.end(Duration::from_secs(1));
        Ok(())
    }

    /// Closes the pool and cancels what has not begun. What has may go on for `grace`, then the workers are killed.
    pub fn terminate(&self, grace: Duration) {
        let core = self.core();
        if !core.is_ours() {
            return;
        }
        self.close();
        core.cancel_unbegun();
        core.wait_until(|| core.lock().ledger.is_empty(), Deadline::after(clock::now_ns(), grace));
        core.end(Duration::ZERO);
    }

    /// Kills the workers. Tasks that are not done are [`TaskError::Cancelled`].
    pub fn kill(&self) {
        self.core().end(Duration::ZERO);
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.core.end(Duration::ZERO);
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.core().lock();
        f.debug_struct("Pool")
            .field("workers", &self.workers())
            .field("running", &state.crew.len())
            .field("out", &state.ledger.len())
            .field("closed", &state.closed)
            .finish()
    }
}
