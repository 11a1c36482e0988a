//! One interface, several backends.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::Result;
use crate::pool::failure::TaskError;
use crate::pool::front::Pool;
use crate::pool::task::Task;

/// Whoever runs functions: processes ([`Pool`]), threads ([`Threads`](crate::Threads)), or the caller itself
/// ([`Inline`](crate::Inline)). A program that is written for an `Executor` changes its backend in one line.
///
/// What all of them promise: each call has one result or one error; results of `map` are in the order of the items; a panic is
/// [`TaskError::Panicked`] and stops nobody else. What only processes can promise: that a crash, a leak or a kill is one task's
/// end and not the program's.
///
/// # Examples
///
/// ```
/// use mutirao::{Executor, Inline, Pool, Threads};
///
/// fn squares(executor: &impl Executor) -> Result<Vec<u64>, mutirao::TaskError> {
///     executor.map(|n: u64| n * n, 0..5)
/// }
///
/// fn main() -> mutirao::Result<()> {
///     mutirao::init();
///     assert_eq!(squares(&Pool::new()?)?, [0, 1, 4, 9, 16]);
///     assert_eq!(squares(&Threads::new())?, [0, 1, 4, 9, 16]);
///     assert_eq!(squares(&Inline)?, [0, 1, 4, 9, 16]);
///     Ok(())
/// }
/// ```
#[doc(alias = "concurrent.futures.Executor")]
pub trait Executor {
    /// How many calls it runs at a time.
    fn workers(&self) -> usize;

    /// Hands in one call.
    ///
    /// # Errors
    ///
    /// As [`Pool::submit`].
    fn submit<A, R>(&self, f: fn(A) -> R, args: A) -> Result<Task<R>>
    where
        A: Serialize + DeserializeOwned + Send + 'static,
        R: Serialize + DeserializeOwned + Send + 'static;

    /// The result or the error of each call, in the items' order.
    fn map_results<A, R, I>(&self, f: fn(A) -> R, items: I) -> Vec<core::result::Result<R, TaskError>>
    where
        A: Serialize + DeserializeOwned + Send + 'static,
        R: Serialize + DeserializeOwned + Send + 'static,
        I: IntoIterator<Item = A>;

    /// The results of all calls, in the items' order.
    ///
    /// # Errors
    ///
    /// The first, in the items' order.
    fn map<A, R, I>(&self, f: fn(A) -> R, items: I) -> core::result::Result<Vec<R>, TaskError>
    where
        A: Serialize + DeserializeOwned + Send + 'static,
        R: Serialize + DeserializeOwned + Send + 'static,
        I: IntoIterator<Item = A>,
    {
        self.map_results(f, items).into_iter().collect()
    }

    /// The results of all calls, folded in the items' order; `None` of no items.
    ///
    /// # Errors
    ///
    /// As [`map`](Executor::map).
    fn map_reduce<A, R, I>(
        &self,
        f: fn(A) -> R,
        fold: fn(R, R) -> R,
        items: I,
    ) -> core::result::Result<Option<R>, TaskError>
    where
        A: Serialize + DeserializeOwned + Send + 'static,
        R: Serialize + DeserializeOwned + Send + 'static,
        I: IntoIterator<Item = A>,
    {
        Ok(self.map(f, items)?.into_iter().reduce(fold))
    }
}

impl Executor for Pool {
    fn workers(&self) -> usize {
        Pool::workers(self)
    }

    fn submit<A, R>(&self, f: fn(A) -> R, args: A) -> Result<Task<R>>
    where
        A: Serialize + DeserializeOwned + Send + 'static,
        R: Serialize + DeserializeOwned + Send + 'static,
    {
        Pool::submit(self, f, args)
    }

    fn map_results<A, R, I>(&self, f: fn(A) -> R, items: I) -> Vec<core::result::Result<R, TaskError>>
    where
        A: Serialize + DeserializeOwned + Send + 'static,
        R: Serialize + DeserializeOwned + Send + 'static,
        I: IntoIterator<Item = A>,
    {
        Pool::map_results(self, f, items)
    }

    fn map<A, R, I>(&self, f: fn(A) -> R, items: I) -> core::result::Result<Vec<R>, TaskError>
    where
        A: Serialize + DeserializeOwned + Send + 'static,
        R: Serialize + DeserializeOwned + Send + 'static,
        I: IntoIterator<Item = A>,
    {
        Pool::map(self, f, items)
    }

    fn map_reduce<A, R, I>(
        &self,
        f: fn(A) -> R,
        fold: fn(R, R) -> R,
        items: I,
    ) -> core::result::Result<Option<R>, TaskError>
    where
        A: Serialize + DeserializeOwned + Send + 'static,
        R: Serialize + DeserializeOwned + Send + 'static,
        I: IntoIterator<Item = A>,
    {
        Pool::map_reduce(self, f, fold, items)
    }
}
