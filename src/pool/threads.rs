//! Threads of this process as an executor.
//!
//! One row of work for all, in chunks that threads take as they are free. Whoever waits works meanwhile; so a task may hand in
//! others and wait for them, however deep.

use core::fmt;
use core::time::Duration;
use parking_lot::{Condvar, Mutex};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::VecDeque;
use std::sync::Arc;

use crate::deadline::Deadline;
use crate::error::{Kind, Result};
use crate::pool::budget;
use crate::pool::executor::Executor;
use crate::pool::failure::{TaskError, TaskId};
use crate::pool::inline::call;
use crate::pool::task::{Help, Slot, Task};
use crate::sync::{AtomicU64, Ordering::Relaxed};
use crate::sys::clock;

/// The most calls of a chunk of `map`.
const CHUNK: usize = 4096;
/// Chunks of `map` for each thread: so many steps in which the quick take work from the slow.
const SHARES: usize = 32;

type Work = Box<dyn FnOnce() + Send>;

struct State {
    work: VecDeque<Work>,
    jobs: u64,
    over: bool,
    sleepers: usize,
}

/// What threads and tasks share.
struct Crowd {
    state: Mutex<State>,
    changed: Condvar,
}

impl Crowd {
    fn push(&self, works: impl IntoIterator<Item = Work>) {
        let mut state = self.state.lock();
        state.work.extend(works);
        if state.sleepers != 0 {
            self.changed.notify_all();
        }
    }

    /// Something has been done.
    fn notify(&self) {
        let state = self.state.lock();
        if state.sleepers != 0 {
            self.changed.notify_all();
        }
    }

    fn begin_job(&self) -> u64 {
        let mut state = self.state.lock();
        state.jobs += 1;
        state.jobs
    }

    /// Works until `done`, and sleeps where there is no work. False: the deadline passed.
    fn work_until(&self, done: &mut dyn FnMut() -> bool, deadline: Deadline) -> bool {
        // Ends when done, or at the deadline.
        loop {
            if done() {
                return true;
            }
            let now_ns = clock::now_ns();
            if deadline.has_passed(now_ns) {
                return false;
            }
            let mut state = self.state.lock();
            if let Some(work) = state.work.pop_front() {
                drop(state);
                work();
                self.notify();
                continue;
            }
            state.sleepers += 1;
            // Asked again under the lock: what was done before is seen, what is done now wakes us.
            if !done() {
                let left = Duration::from_nanos(deadline.remaining(now_ns, 1_000_000_000));
                self.changed.wait_for(&mut state, left);
            }
            state.sleepers -= 1;
        }
    }
}

impl Help for Crowd {
    fn wait_until(&self, done: &mut dyn FnMut() -> bool, deadline: Deadline) -> bool {
        self.work_until(done, deadline)
    }

    fn cancel(&self, _: u64, _: bool) {
        self.notify();
    }
}

/// Threads that run functions of this program. As a [`Pool`](crate::Pool), without its safety: a crash ends the program.
///
/// Clones are the same threads; they end with the last clone, and tasks that have not begun are
/// [`TaskError::Cancelled`]. A task may hand in others and wait for them.
///
/// # Examples
///
/// ```
/// use mutirao::{Executor, Threads};
/// let threads = Threads::with(2);
/// assert_eq!(threads.map(|n: u64| n * n, 0..5)?, [0, 1, 4, 9, 16]);
/// # Ok::<(), mutirao::Error>(())
/// ```
#[doc(alias = "ThreadPool")]
#[doc(alias = "ThreadPoolExecutor")]
#[derive(Clone)]
pub struct Threads {
    owner: Arc<Owner>,
}

struct Owner {
    crowd: Arc<Crowd>,
    threads: usize,
}

impl Drop for Owner {
    fn drop(&mut self) {
        let mut state = self.crowd.state.lock();
        state.over = true;
        let left = core::mem::take(&mut state.work);
        self.crowd.changed.notify_all();
        drop(state);
        // Each says that it is cancelled.
        drop(left);
        self.crowd.notify();
    }
}

/// A result that is owed: cancelled if nobody brings it.
struct Owed<R>(Arc<Slot<R>>, TaskId);

impl<R> Drop for Owed<R> {
    fn drop(&mut self) {
        self.0.put(Err(TaskError::Cancelled { task: self.1 }));
    }
}

impl Default for Threads {
    fn default() -> Self {
        Self::new()
    }
}

impl Threads {
    /// As many threads as this process may use processors.
    pub fn new() -> Self {
        Self::with(budget::processors())
    }

    /// So many threads, one at least. Where the system gives fewer, whoever waits works.
    pub fn with(threads: usize) -> Self {
        let state = State { work: VecDeque::new(), jobs: 0, over: false, sleepers: 0 };
        let crowd = Arc::new(Crowd { state: Mutex::new(state), changed: Condvar::new() });
        let started = (0..threads.max(1)).map_while(|number| {
            let crowd = crowd.clone();
            let over = move || {
                let crowd = crowd;
                crowd.work_until(&mut || crowd.state.try_lock().is_some_and(|state| state.over), Deadline::NEVER);
            };
            std::thread::Builder::new().name(format!("mutirao-{number}")).spawn(over).ok()
        });
        let threads = started.count().max(1);
        Self { owner: Arc::new(Owner { crowd, threads }) }
    }
}

/// A `map` on its way.
struct Mapping<A, R> {
    /// Each chunk until somebody takes it.
    chunks: Vec<Mutex<Vec<A>>>,
    results: Vec<Mutex<Vec<core::result::Result<R, TaskError>>>>,
    done: AtomicU64,
}

impl Executor for Threads {
    fn workers(&self) -> usize {
        self.owner.threads
    }

    fn submit<A, R>(&self, f: fn(A) -> R, args: A) -> Result<Task<R>>
    where
        A: Serialize + DeserializeOwned + Send + 'static,
        R: Serialize + DeserializeOwned + Send + 'static,
    {
        let crowd = &self.owner.crowd;
        if crowd.state.lock().over {
            return Err(Kind::Closed { what: "the threads" }.into());
        }
        let id = TaskId { job: crowd.begin_job(), index: 0 };
        let slot = Arc::new(Slot::new(id));
        let owed = Owed(slot.clone(), id);
        let work = move || {
            if !owed.0.is_done() {
                owed.0.put(call(f, args, id));
            }
        };
        crowd.push([Box::new(work) as Work]);
        Ok(Task { slot, help: crowd.clone() })
    }

    fn map_results<A, R, I>(&self, f: fn(A) -> R, items: I) -> Vec<core::result::Result<R, TaskError>>
    where
        A: Serialize + DeserializeOwned + Send + 'static,
        R: Serialize + DeserializeOwned + Send + 'static,
        I: IntoIterator<Item = A>,
    {
        let crowd = &self.owner.crowd;
        let job = crowd.begin_job();
        let mut items: Vec<A> = items.into_iter().collect();
        let (count, threads) = (items.len(), self.owner.threads);
        let each = (count / (threads * SHARES)).clamp(1, CHUNK);
        let chunks = count.div_ceil(each);
        let mut rows: Vec<_> = (0..chunks).rev().map(|at| Mutex::new(items.split_off(at * each))).collect();
        rows.reverse();
        let results = (0..chunks).map(|_| Mutex::new(Vec::new())).collect();
        let mapping = Arc::new(Mapping { chunks: rows, results, done: AtomicU64::new(0) });
        let work = |at: usize| {
            let mapping = mapping.clone();
            Box::new(move || {
                let (Some(chunk), Some(result)) = (mapping.chunks.get(at), mapping.results.get(at)) else { return };
                let chunk = core::mem::take(&mut *chunk.lock());
                let first = (at * each) as u64;
                let called = (first..).zip(chunk).map(|(index, item)| call(f, item, TaskId { job, index })).collect();
                *result.lock() = called;
                // Relaxed: the lock around a result orders it.
                mapping.done.fetch_add(1, Relaxed);
            }) as Work
        };
        crowd.push((0..chunks).map(work));
        crowd.work_until(&mut || mapping.done.load(Relaxed) == chunks as u64, Deadline::NEVER);
        mapping.results.iter().flat_map(|result| core::mem::take(&mut *result.lock())).collect()
    }
}

impl fmt::Debug for Threads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Threads").field("threads", &self.owner.threads).finish_non_exhaustive()
    }
}
