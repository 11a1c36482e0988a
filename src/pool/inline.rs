//! The caller itself as an executor: the debugger's friend.

use serde::Serialize;
use serde::de::DeserializeOwned;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use crate::deadline::Deadline;
use crate::error::Result;
use crate::pool::executor::Executor;
use crate::pool::failure::{TaskError, TaskId};
use crate::pool::task::{Help, Slot, Task};
use crate::process::panics;

/// Runs each call at once, where it is handed in: no process, no thread, and a debugger that stops in it.
///
/// # Examples
///
/// ```
/// use mutirao::{Executor, Inline};
/// assert_eq!(Inline.submit(|n: u32| n + 1, 1)?.wait()?, 2);
/// assert!(Inline.map(|n: u32| 10 / n, 0..3).is_err());
/// # Ok::<(), mutirao::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Inline;

/// Makes one call; a panic is an error.
pub(crate) fn call<A, R>(f: fn(A) -> R, args: A, task: TaskId) -> core::result::Result<R, TaskError> {
    catch_unwind(AssertUnwindSafe(|| f(args))).map_err(|payload| {
        let panic = panics::describe(payload.as_ref());
        // What a payload's drop does is the task's affair, too.
        let _ = catch_unwind(AssertUnwindSafe(|| drop(payload)));
        TaskError::Panicked { task, message: panic.message, location: panic.location, attempts: 1 }
    })
}

/// Everything is done already.
struct Done;

impl Help for Done {
    fn wait_until(&self, done: &mut dyn FnMut() -> bool, _: Deadline) -> bool {
        done()
    }

    fn cancel(&self, _: u64, _: bool) {}
}

impl Executor for Inline {
    fn workers(&self) -> usize {
        1
    }

    fn submit<A, R>(&self, f: fn(A) -> R, args: A) -> Result<Task<R>>
    where
        A: Serialize + DeserializeOwned + Send + 'static,
        R: Serialize + DeserializeOwned + Send + 'static,
    {
        let id = TaskId { job: 0, index: 0 };
        let slot = Arc::new(Slot::new(id));
        slot.put(call(f, args, id));
        Ok(Task { slot, help: Arc::new(Done) })
    }

    fn map_results<A, R, I>(&self, f: fn(A) -> R, items: I) -> Vec<core::result::Result<R, TaskError>>
    where
        A: Serialize + DeserializeOwned + Send + 'static,
        R: Serialize + DeserializeOwned + Send + 'static,
        I: IntoIterator<Item = A>,
    {
        (0..).zip(items).map(|(index, item)| call(f, item, TaskId { job: 0, index })).collect()
    }

    fn map<A, R, I>(&self, f: fn(A) -> R, items: I) -> core::result::Result<Vec<R>, TaskError>
    where
        A: Serialize + DeserializeOwned + Send + 'static,
        R: Serialize + DeserializeOwned + Send + 'static,
        I: IntoIterator<Item = A>,
    {
        // Ends at the first error.
        (0..).zip(items).map(|(index, item)| call(f, item, TaskId { job: 0, index })).collect()
    }
}
