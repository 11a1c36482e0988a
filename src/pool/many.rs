//! A job of many calls: where the results of its chunks come in, in whatever order.

use core::marker::PhantomData;
use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;

use crate::pool::failure::TaskError;
use crate::pool::job::{Delivery, Job, Terms};
use crate::process::batch::decode_one;
use crate::segment::handoff::Home;
use crate::sync::{AtomicU32, Ordering::Relaxed};

/// Results of a chunk, or of a piece of one.
pub(crate) struct Part<R> {
    pub(crate) calls: u64,
    pub(crate) results: Vec<R>,
    /// By the number of the call in the part, in order.
    pub(crate) errors: Vec<(u64, TaskError)>,
}

pub(crate) struct Inbox<R> {
    /// By the place of the first call.
    pub(crate) parts: BTreeMap<u64, Part<R>>,
    /// Calls that are out.
    pub(crate) out: u64,
    /// Calls in the parts that nobody has taken yet.
    pub(crate) waiting: u64,
    /// Measured: what a call takes; 0: nothing is known yet.
    pub(crate) call_ns: u64,
}

/// A job of many calls.
pub(crate) struct Many<A, R> {
    number: u64,
    pub(crate) terms: Terms,
    is_fold: bool,
    pub(crate) home: Home,
    pub(crate) inbox: Mutex<Inbox<R>>,
    cancelled: AtomicU32,
    _arguments: PhantomData<fn(A)>,
}

/// What is known of a job to be begun.
pub(crate) struct Plan {
    pub(crate) routine: [u64; 4],
    pub(crate) number: u64,
    pub(crate) terms: Terms,
    pub(crate) is_fold: bool,
}

impl<A: DeserializeOwned, R: DeserializeOwned + Send> Many<A, R> {
    pub(crate) fn new(plan: Plan, home: Home) -> Self {
        Self {
            number: plan.number,
            terms: plan.terms,
            is_fold: plan.is_fold,
            home,
            inbox: Mutex::new(Inbox { parts: BTreeMap::new(), out: 0, waiting: 0, call_ns: 0 }),
            cancelled: AtomicU32::new(0),
            _arguments: PhantomData,
        }
    }

    /// Nobody wants results any more.
    pub(crate) fn cancel(&self) {
        self.cancelled.store(1, Relaxed);
    }

    fn put(&self, first: u64, part: Part<R>) {
        let mut inbox = self.inbox.lock();
        inbox.out = inbox.out.saturating_sub(part.calls);
        inbox.waiting += part.calls;
        inbox.parts.insert(first, part);
    }

    /// The results of a whole chunk are one.
    fn deliver_fold(&self, part: Delivery<'_>) {
        let (first, calls) = (part.first, u64::from(part.calls));
        let folded = match part.failures.into_iter().next() {
            Some((_, None)) => return,
            Some((call, Some(failure))) => {
                Err((u64::from(call), TaskError::of(self.id(first + u64::from(call)), failure, part.attempt)))
            }
            None => self
                .home
                .within(|| decode_one::<Option<R>>(part.results))
                .map(|(folded, _)| folded)
                .map_err(|why| (0, self.undecodable(first, &why))),
        };
        let part = match folded {
            Ok(folded) => Part { calls, results: folded.into_iter().collect(), errors: Vec::new() },
            Err(error) => Part { calls, results: Vec::new(), errors: vec![error] },
        };
        self.put(first, part);
    }

    fn undecodable(&self, index: u64, why: &str) -> TaskError {
        TaskError::NotPortable { task: self.id(index), why: format!("its result could not be decoded: {why}") }
    }
}

impl<A: DeserializeOwned, R: DeserializeOwned + Send> Job for Many<A, R> {
    fn number(&self) -> u64 {
        self.number
    }

    fn terms(&self) -> &Terms {
        &self.terms
    }

    fn is_fold(&self) -> bool {
        self.is_fold
    }

    fn is_cancelled(&self) -> bool {
        self.cancelled.load(Relaxed) != 0
    }

    fn deliver(&self, part: Delivery<'_>) {
        if self.is_cancelled() {
            return;
        }
        let sample = (part.times.busy_ns + part.times.coding_ns) / u64::from(part.calls.max(1));
        {
            let mut inbox = self.inbox.lock();
            inbox.call_ns = match inbox.call_ns {
                0 => sample.max(1),
                before => (before * 3 + sample).div_ceil(4).max(1),
            };
        }
        if self.is_fold {
            return self.deliver_fold(part);
        }
        let (first, calls) = (part.first, u64::from(part.calls));
        let mut failures = part.failures.into_iter().map(|(call, failure)| (u64::from(call), failure)).peekable();
        let mut bytes = part.results;
        let mut run = (0, Vec::with_capacity(part.calls as usize), Vec::new());
        let mut call = 0;
        self.home.within(|| {
            while call < calls {
                let failure = failures.next_if(|(failed, _)| *failed == call);
                match failure {
                    // Most calls, as long as no one has failed.
                    None => match decode_one::<R>(bytes) {
                        Ok((result, rest)) => {
                            bytes = rest;
                            run.1.push(result);
                        }
                        Err(why) => {
                            run.2.push((call - run.0, self.undecodable(first + call, &why)));
                            bytes = &[];
                        }
                    },
                    Some((_, Some(failure))) => {
                        let error = TaskError::of(self.id(first + call), failure, part.attempt);
                        run.2.push((call - run.0, error));
                    }
                    // It is tried again, and comes in a part of its own.
                    Some((_, None)) => {
                        let (start, results, errors) = core::mem::replace(&mut run, (call + 1, Vec::new(), Vec::new()));
                        if call > start {
                            self.put(first + start, Part { calls: call - start, results, errors });
                        }
                    }
                }
                call += 1;
            }
        });
        let (start, results, errors) = run;
        if calls > start {
            self.put(first + start, Part { calls: calls - start, results, errors });
        }
    }

    fn fail(&self, index: u64, error: TaskError) {
        if self.is_cancelled() {
            return;
        }
        self.put(index, Part { calls: 1, results: Vec::new(), errors: vec![(0, error)] });
    }

    fn arguments_len(&self, arguments: &[u8], calls: u32) -> Option<usize> {
        let mut rest = arguments;
        self.home.within(|| {
            (0..calls).try_for_each(|_| {
                rest = decode_one::<A>(rest).ok()?.1;
                Some(())
            })
        })?;
        Some(arguments.len() - rest.len())
    }
}

impl<R> Part<R> {
    /// The results one by one.
    pub(crate) fn into_each(self) -> impl Iterator<Item = Result<R, TaskError>> {
        let (mut errors, mut results) = (self.errors.into_iter().peekable(), self.results.into_iter());
        (0..self.calls).filter_map(move |call| match errors.next_if(|(failed, _)| *failed == call) {
            Some((_, error)) => Some(Err(error)),
            None => results.next().map(Ok),
        })
    }
}
