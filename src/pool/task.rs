//! One task that was handed in: its result, later.

use core::fmt;
use core::future::Future;
use core::marker::PhantomData;
use core::pin::Pin;
use core::task::{Context, Poll, Waker};
use core::time::Duration;
use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use std::sync::Arc;

use crate::deadline::Deadline;
use crate::pool::failure::{TaskError, TaskId};
use crate::pool::job::{Delivery, Job, Terms};
use crate::process::batch::decode_one;
use crate::segment::handoff::Home;
use crate::sys::clock;

/// How long a poll moves a pool that nobody else does.
const LOOK: Duration = Duration::from_millis(1);

/// Whoever makes a task go on while somebody waits for it.
pub(crate) trait Help: Send + Sync {
    /// Waits until `done`. False: the deadline passed.
    fn wait_until(&self, done: &mut dyn FnMut() -> bool, deadline: Deadline) -> bool;

    /// Whether it goes on without anybody who waits.
    fn is_assisted(&self) -> bool {
        true
    }

    /// Nobody wants the result of this job any more; `running`: end it also in the middle.
    fn cancel(&self, job: u64, running: bool);
}

type Callback<R> = Box<dyn FnOnce(&Result<R, TaskError>) + Send>;

struct Content<R> {
    result: Option<Result<R, TaskError>>,
    /// No other result will be put in; this one may still be on its way.
    done: bool,
    /// The result was handed out.
    taken: bool,
    callbacks: Vec<Callback<R>>,
    waker: Option<Waker>,
    bells: Vec<Box<dyn FnOnce() + Send>>,
}

/// Where a result is put.
pub(crate) struct Slot<R> {
    id: TaskId,
    content: Mutex<Content<R>>,
}

impl<R> Slot<R> {
    pub(crate) fn new(id: TaskId) -> Self {
        let content =
            Content { result: None, done: false, taken: false, callbacks: Vec::new(), waker: None, bells: Vec::new() };
        Self { id, content: Mutex::new(content) }
    }

    /// Puts the result in, if there is none yet, and tells everybody.
    pub(crate) fn put(&self, result: Result<R, TaskError>) -> bool {
        let mut content = self.content.lock();
        if content.done {
            return false;
        }
        content.done = true;
        let callbacks = core::mem::take(&mut content.callbacks);
        if !callbacks.is_empty() {
            // They see it before anybody can take it.
            drop(content);
            callbacks.into_iter().for_each(|callback| callback(&result));
            content = self.content.lock();
        }
        content.result = Some(result);
        // Those that were added meanwhile.
        let late = core::mem::take(&mut content.callbacks);
        if let Some(result) = &content.result {
            late.into_iter().for_each(|callback| callback(result));
        }
        let (waker, bells) = (content.waker.take(), core::mem::take(&mut content.bells));
        drop(content);
        if let Some(waker) = waker {
            waker.wake();
        }
        bells.into_iter().for_each(|ring| ring());
        true
    }

    pub(crate) fn is_done(&self) -> bool {
        let content = self.content.lock();
        content.result.is_some() || content.taken
    }

    fn take(&self) -> Option<Result<R, TaskError>> {
        let mut content = self.content.lock();
        content.taken |= content.result.is_some();
        content.result.take()
    }
}

/// A task that was handed to a [`Pool`](crate::Pool) or another executor: its result, later.
///
/// Dropping it does not stop the task. It is a `Future` too, for any runtime.
///
/// # When a process dies
///
/// A task whose worker dies is tried again, as often as the pool allows, and is [`TaskError::WorkerDied`] then.
///
/// # Examples
///
/// ```
/// fn main() -> mutirao::Result<()> {
///     mutirao::init();
///     let pool = mutirao::Pool::new()?;
///     let task = pool.submit(|n: u64| n * n, 12)?;
///     assert_eq!(task.wait()?, 144);
///     Ok(())
/// }
/// ```
#[doc(alias = "AsyncResult")]
#[doc(alias = "concurrent.futures.Future")]
#[must_use = "a task's result and its error are seen by whoever waits for it"]
pub struct Task<R> {
    pub(crate) slot: Arc<Slot<R>>,
    pub(crate) help: Arc<dyn Help>,
}

impl<R> Task<R> {
    /// Which task of its pool.
    pub fn id(&self) -> TaskId {
        self.slot.id
    }

    /// Waits for the result, as long as it takes.
    ///
    /// # Errors
    ///
    /// Why there is none.
    #[doc(alias = "get")]
    #[doc(alias = "result")]
    pub fn wait(self) -> Result<R, TaskError> {
        self.help.wait_until(&mut || self.slot.is_done(), Deadline::NEVER);
        let gone = || Err(TaskError::Cancelled { task: self.slot.id });
        self.slot.take().unwrap_or_else(gone)
    }

    /// Waits for the result no longer than `timeout`; `None` when it is not there by then, or was handed out before.
    pub fn wait_timeout(&mut self, timeout: Duration) -> Option<Result<R, TaskError>> {
        let deadline = Deadline::after(clock::now_ns(), timeout);
        self.help.wait_until(&mut || self.slot.is_done(), deadline);
        self.slot.take()
    }

    /// Whether there is a result or an error.
    #[doc(alias = "ready")]
    #[doc(alias = "done")]
    pub fn is_done(&self) -> bool {
        // A look is enough to receive what has come.
        self.help.wait_until(&mut || self.slot.is_done(), Deadline::NOW);
        self.slot.is_done()
    }

    /// Nobody wants the result any more: the task is [`TaskError::Cancelled`]. If it has not begun, it is not run; if it
    /// has, it runs to its end for nothing. False: it was done before.
    pub fn cancel(&self) -> bool {
        self.give_up(false)
    }

    /// As [`cancel`](Self::cancel), and ends the task also in the middle, by killing its worker; another takes the worker's
    /// place. (Where tasks are threads, as [`cancel`](Self::cancel).)
    pub fn cancel_running(&self) -> bool {
        self.give_up(true)
    }

    fn give_up(&self, running: bool) -> bool {
        let given_up = self.slot.put(Err(TaskError::Cancelled { task: self.slot.id }));
        if given_up {
            self.help.cancel(self.slot.id.job, running);
        }
        given_up
    }

    /// Calls `f` with the result when it is there: on a thread of the pool or one that waits for it, or at once if it is there
    /// already. It should be short: nothing else goes on meanwhile.
    #[doc(alias = "add_done_callback")]
    #[doc(alias = "callback")]
    pub fn on_done(&self, f: impl FnOnce(&Result<R, TaskError>) + Send + 'static) {
        let mut content = self.slot.content.lock();
        match &content.result {
            Some(result) => f(result),
            None => content.callbacks.push(Box::new(f)),
        }
    }

    /// As `is_done`, without a look at what has come.
    pub(crate) fn has_result(&self) -> bool {
        self.slot.is_done()
    }

    /// Rings when there is a result.
    pub(crate) fn ring(&self, bell: impl FnOnce() + Send + 'static) {
        let mut content = self.slot.content.lock();
        if content.result.is_some() || content.taken {
            drop(content);
            bell();
        } else {
            content.bells.push(Box::new(bell));
        }
    }
}

impl<R> Future for Task<R> {
    type Output = Result<R, TaskError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut content = self.slot.content.lock();
        if let Some(result) = content.result.take() {
            content.taken = true;
            return Poll::Ready(result);
        }
        content.waker = Some(context.waker().clone());
        drop(content);
        if !self.help.is_assisted() {
            // There is no thread to be had: whoever polls does a little, and comes again.
            let a_little = Deadline::after(clock::now_ns(), LOOK);
            self.help.wait_until(&mut || self.slot.is_done(), a_little);
            context.waker().wake_by_ref();
        }
        Poll::Pending
    }
}

impl<R> fmt::Debug for Task<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Task").field("id", &self.id()).field("done", &self.slot.is_done()).finish()
    }
}

/// A job of one call.
pub(crate) struct Single<A, R> {
    pub(crate) slot: Arc<Slot<R>>,
    pub(crate) terms: Terms,
    pub(crate) home: Home,
    pub(crate) _arguments: PhantomData<fn(A)>,
}

impl<A: DeserializeOwned, R: DeserializeOwned + Send> Job for Single<A, R> {
    fn number(&self) -> u64 {
        self.slot.id.job
    }

    fn terms(&self) -> &Terms {
        &self.terms
    }

    fn is_cancelled(&self) -> bool {
        self.slot.content.lock().done
    }

    fn deliver(&self, part: Delivery<'_>) {
        let result = match part.failures.into_iter().next() {
            Some((_, None)) => return,
            Some((_, Some(failure))) => Err(TaskError::of(self.slot.id, failure, part.attempt)),
            None => self.home.within(|| decode_one::<R>(part.results)).map(|(result, _)| result).map_err(|why| {
                TaskError::NotPortable { task: self.slot.id, why: format!("its result could not be decoded: {why}") }
            }),
        };
        self.slot.put(result);
    }

    fn fail(&self, _: u64, error: TaskError) {
        self.slot.put(Err(error));
    }

    fn arguments_len(&self, arguments: &[u8], calls: u32) -> Option<usize> {
        Some(if calls == 0 { 0 } else { arguments.len() })
    }
}
