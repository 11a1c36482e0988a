//! Results one by one, as somebody takes them.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::pool::failure::TaskError;
use crate::pool::stream::Stream;

type Each<R> = Box<dyn Iterator<Item = Result<R, TaskError>>>;

/// The results of [`map_iter`](crate::Pool::map_iter): in the order of the items, as they are needed. Dropping it cancels what
/// has not begun.
#[must_use = "an iterator does nothing before it is asked"]
pub struct Results<A, R, I>
where
    A: Serialize + DeserializeOwned,
    R: DeserializeOwned + Send + 'static,
{
    stream: Stream<A, R, I>,
    wanted: u64,
    part: Option<Each<R>>,
}

impl<A, R, I> Results<A, R, I>
where
    A: Serialize + DeserializeOwned,
    R: DeserializeOwned + Send + 'static,
{
    pub(crate) fn new(stream: Stream<A, R, I>) -> Self {
        Self { stream, wanted: 0, part: None }
    }
}

impl<A, R, I> Iterator for Results<A, R, I>
where
    A: Serialize + DeserializeOwned + 'static,
    R: DeserializeOwned + Send + 'static,
    I: Iterator<Item = A>,
{
    type Item = Result<R, TaskError>;

    fn next(&mut self) -> Option<Self::Item> {
        // Bounded by the parts: each has a result.
        loop {
            if let Some(next) = self.part.as_mut().and_then(Iterator::next) {
                return Some(next);
            }
            let (first, part) = self.stream.part(Some(self.wanted))?;
            self.wanted = first + part.calls;
            self.part = Some(Box::new(part.into_each()));
        }
    }
}

/// The results of [`map_unordered`](crate::Pool::map_unordered): as they come, each with the number of its item. Dropping it
/// cancels what has not begun.
#[must_use = "an iterator does nothing before it is asked"]
pub struct Unordered<A, R, I>
where
    A: Serialize + DeserializeOwned,
    R: DeserializeOwned + Send + 'static,
{
    stream: Stream<A, R, I>,
    part: Option<(u64, Each<R>)>,
}

impl<A, R, I> Unordered<A, R, I>
where
    A: Serialize + DeserializeOwned,
    R: DeserializeOwned + Send + 'static,
{
    pub(crate) fn new(stream: Stream<A, R, I>) -> Self {
        Self { stream, part: None }
    }
}

impl<A, R, I> Iterator for Unordered<A, R, I>
where
    A: Serialize + DeserializeOwned + 'static,
    R: DeserializeOwned + Send + 'static,
    I: Iterator<Item = A>,
{
    type Item = (u64, Result<R, TaskError>);

    fn next(&mut self) -> Option<Self::Item> {
        // Bounded by the parts: each has a result.
        loop {
            if let Some((index, part)) = &mut self.part
                && let Some(next) = part.next()
            {
                *index += 1;
                return Some((*index - 1, next));
            }
            let (first, part) = self.stream.part(None)?;
            self.part = Some((first, Box::new(part.into_each())));
        }
    }
}
