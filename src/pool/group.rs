//! Many tasks, waited for together.

use core::fmt;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;

use crate::deadline::Deadline;
use crate::pool::failure::TaskError;
use crate::pool::task::{Help, Task};
use crate::sys::clock;

/// How long a look at one of several executors takes, where tasks of several are waited for.
const LOOK_NS: u64 = 1_000_000;

/// Waits for all tasks; their results in the tasks' order.
///
/// # Examples
///
/// ```
/// fn main() -> mutirao::Result<()> {
///     mutirao::init();
///     let pool = mutirao::Pool::new()?;
///     let tasks = [pool.submit(|n: u32| n + 1, 1)?, pool.submit(|n: u32| n * 10, 2)?];
///     let results = mutirao::wait_all(tasks);
///     assert_eq!(results, [Ok(2), Ok(20)]);
///     Ok(())
/// }
/// ```
pub fn wait_all<R>(tasks: impl IntoIterator<Item = Task<R>>) -> Vec<Result<R, TaskError>> {
    tasks.into_iter().map(Task::wait).collect()
}

/// Waits until one of the tasks is done, and says which: the first of those that are. `None` of no tasks.
///
/// # Examples
///
/// ```
/// fn main() -> mutirao::Result<()> {
///     mutirao::init();
///     let pool = mutirao::Pool::builder().workers(2).build()?;
///     let sleep = |ms| std::thread::sleep(std::time::Duration::from_millis(ms));
///     let tasks = [pool.submit(sleep, 60_000)?, pool.submit(sleep, 1)?];
///     assert_eq!(mutirao::wait_any(&tasks), Some(1));
///     Ok(())
/// }
/// ```
#[doc(alias = "FIRST_COMPLETED")]
pub fn wait_any<R>(tasks: &[Task<R>]) -> Option<usize> {
    let done = || tasks.iter().position(Task::has_result);
    let mut helps: Vec<_> = tasks.iter().map(|task| task.help.clone()).collect();
    wait_with(&mut helps, &mut || tasks.is_empty() || done().is_some());
    done()
}

/// The tasks' results as they come, each with the number of its task.
///
/// # Examples
///
/// ```
/// fn main() -> mutirao::Result<()> {
///     mutirao::init();
///     let pool = mutirao::Pool::builder().workers(2).build()?;
///     let sleep = |ms| { std::thread::sleep(std::time::Duration::from_millis(ms)); ms };
///     let tasks = vec![pool.submit(sleep, 300)?, pool.submit(sleep, 1)?];
///     let order: Vec<_> = mutirao::as_completed(tasks).map(|(which, _)| which).collect();
///     assert_eq!(order, [1, 0]);
///     Ok(())
/// }
/// ```
pub fn as_completed<R>(tasks: impl IntoIterator<Item = Task<R>>) -> AsCompleted<R> {
    let tasks: Vec<_> = tasks.into_iter().map(Some).collect();
    let done = Arc::new(Mutex::new(VecDeque::new()));
    for (which, task) in tasks.iter().enumerate() {
        let done = done.clone();
        if let Some(task) = task {
            task.ring(move || done.lock().push_back(which));
        }
    }
    AsCompleted { tasks, done }
}

/// Results as they come: from [`as_completed`].
#[must_use = "an iterator does nothing before it is asked"]
pub struct AsCompleted<R> {
    tasks: Vec<Option<Task<R>>>,
    done: Arc<Mutex<VecDeque<usize>>>,
}

impl<R> Iterator for AsCompleted<R> {
    type Item = (usize, Result<R, TaskError>);

    fn next(&mut self) -> Option<Self::Item> {
        let mut helps: Vec<_> = self.tasks.iter().flatten().map(|task| task.help.clone()).collect();
        if helps.is_empty() {
            return None;
        }
        wait_with(&mut helps, &mut || !self.done.lock().is_empty());
        let which = self.done.lock().pop_front()?;
        let task = self.tasks.get_mut(which)?.take()?;
        Some((which, task.wait()))
    }
}

impl<R> fmt::Debug for AsCompleted<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsCompleted").field("left", &self.tasks.iter().flatten().count()).finish()
    }
}

/// Waits until `done`, with whoever has to do with it.
fn wait_with(helps: &mut Vec<Arc<dyn Help>>, done: &mut dyn FnMut() -> bool) {
    helps.dedup_by(|a, b| Arc::ptr_eq(a, b));
    match &helps[..] {
        [] => {}
        [one] => {
            one.wait_until(done, Deadline::NEVER);
        }
        several => {
            for help in several.iter().cycle() {
                let look = core::time::Duration::from_nanos(LOOK_NS);
                if help.wait_until(done, Deadline::after(clock::now_ns(), look)) {
                    return;
                }
            }
        }
    }
}
