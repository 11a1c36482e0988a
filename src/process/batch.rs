//! Many calls of one function in a row, as a worker makes them: arguments decoded, results encoded, panics caught,
//! the time of each part taken.
//!
//! Calls go in blocks: so many arguments are decoded, then all the calls are made, then all results encoded. A
//! block is as long as makes about 20 microseconds of work: calls that take longer are timed one by one, and short ones do not
//! pay for a look at the clock each.

use core::ops::Range;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::handle::portable::{take_reason, take_refusal};
use crate::segment::handoff::Home;
use crate::sync::{AtomicU64, Ordering};
use crate::sys::clock;

/// What a block should take.
const BLOCK_NS: u64 = 20_000;
/// The most calls of a block.
const BLOCK_CALLS: u32 = 1024;
/// The most bytes of encoded arguments in a block of more than one call.
const BLOCK_BYTES: usize = 64 << 10;
/// Bytes of a result that is remembered by itself.
const LARGE: usize = 4 << 10;

/// Why a call has no result.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
pub(crate) enum Failure {
    Panicked {
        message: String,
        location: Option<String>,
    },
    /// The function said so.
    Failed(String),
    /// The arguments could not be decoded.
    Arguments(String),
    /// The result could not be encoded.
    Result(String),
    /// The function could not be found.
    Function(String),
}

/// Where the time went.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(crate) struct Times {
    pub(crate) busy_ns: u64,
    pub(crate) coding_ns: u64,
    /// The longest call.
    pub(crate) longest_ns: u64,
}

/// Where a large result stands in the output.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Large {
    pub(crate) call: u32,
    pub(crate) at: Range<usize>,
}

/// What is kept from one batch to the next.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    block: u32,
}

impl Default for Pace {
    fn default() -> Self {
        Self { block: 1 }
    }
}

/// Calls to be made, and what came of them.
pub(crate) struct Batch<'a> {
    /// The encoded arguments, one after the other.
    pub(crate) input: &'a [u8],
    pub(crate) count: u32,
    /// The encoded results of the calls that returned, one after the other.
    pub(crate) output: &'a mut Vec<u8>,
    /// The calls that have none, by their number in the batch; in order.
    pub(crate) failures: Vec<(u32, Failure)>,
    /// The large results, in order: where there is no room for all, some of them are given up.
    pub(crate) large: Vec<Large>,
    /// Says which call is under way: its number in the batch, from 1. Relaxed: it is read for a decision only after the
    /// death of this process, which orders more than that.
    pub(crate) running: &'a AtomicU64,
    pub(crate) pace: &'a mut Pace,
    pub(crate) times: Times,
    /// Where handles in arguments and results may live; `None`: where the caller has said. Not of the calls themselves, which
    /// send what they like wherever they like.
    pub(crate) home: Option<&'a Home>,
}

thread_local! {
    /// What the panic hook has seen on this thread.
    static LAST_PANIC: RefCell<Option<(String, Option<String>)>> = const { RefCell::new(None) };
}

/// Notes a panic for whoever catches it; for a panic hook.
pub(crate) fn note_panic(message: String, location: Option<String>) {
    let _ = LAST_PANIC.try_with(|last| last.replace(Some((message, location))));
}

fn panicked() -> Failure {
    let (message, location) = LAST_PANIC.take().unwrap_or_else(|| ("with a value that is not text".to_owned(), None));
    Failure::Panicked { message, location }
}

impl Batch<'_> {
    /// No call can be made.
    pub(crate) fn fail_all(&mut self, failure: &Failure) {
        self.output.clear();
        self.failures = (0..self.count).map(|call| (call, failure.clone())).collect();
    }

    /// There is no result, because of one call.
    fn fail_whole(&mut self, call: u32, failure: Failure) {
        self.output.clear();
        self.failures = vec![(call, failure)];
    }

    /// Makes the calls.
    pub(crate) fn call_each<A, R>(&mut self, f: impl Fn(A) -> Result<R, String>)
    where
        A: DeserializeOwned,
        R: Serialize,
    {
        let (mut args, mut results) = (Vec::<A>::new(), Vec::<R>::new());
        let mut done = 0;
        while done < self.count {
            let started = clock::now_ns();
            let end = match self.decode_block(done, &mut args) {
                Ok(()) => self.count,
                // Where the next argument begins is not known either.
                Err(why) => {
                    let first = done + args.len() as u32;
                    self.failures.extend((first..self.count).map(|call| (call, Failure::Arguments(why.clone()))));
                    first
                }
            };
            let (first, decoded) = (done, clock::now_ns());
            let failed_before = self.failures.len() - (self.count - end) as usize;
            let mut rest = args.drain(..);
            loop {
                let calls = AssertUnwindSafe(|| {
                    for arg in rest.by_ref() {
                        self.running.store(u64::from(done) + 1, Ordering::Relaxed);
                        match f(arg) {
                            Ok(result) => results.push(result),
                            Err(why) => return Some(why),
                        }
                        done += 1;
                    }
                    None
                });
                let failure = match catch_unwind(calls) {
                    Ok(None) => break,
                    Ok(Some(why)) => Failure::Failed(why),
                    Err(panic) => {
                        let failure = panicked();
                        // What a payload's drop does is the task's affair, too.
                        let _ = catch_unwind(AssertUnwindSafe(|| drop(panic)));
                        failure
                    }
                };
                let at = self.failures.len() - (self.count - end) as usize;
                self.failures.insert(at, (done, failure));
                done += 1;
            }
            drop(rest);
            let called = clock::now_ns();
            self.encode_block(first, failed_before, &mut results);
            self.note_times([started, decoded, called, clock::now_ns()], done - first);
            if end < self.count {
                return;
            }
        }
    }

    /// Makes the calls and folds their results into one.
    pub(crate) fn fold_all<A, R>(&mut self, f: impl Fn(A) -> R, fold: impl Fn(R, R) -> R)
    where
        A: DeserializeOwned,
        R: Serialize,
    {
        let mut args = Vec::<A>::new();
        let (mut done, mut whole) = (0, None::<R>);
        while done < self.count {
            let started = clock::now_ns();
            if let Err(why) = self.decode_block(done, &mut args) {
                return self.fail_whole(done + args.len() as u32, Failure::Arguments(why));
            }
            let (first, decoded) = (done, clock::now_ns());
            let calls = AssertUnwindSafe(|| {
                for arg in args.drain(..) {
                    self.running.store(u64::from(done) + 1, Ordering::Relaxed);
                    let result = f(arg);
                    whole = Some(match whole.take() {
                        Some(before) => fold(before, result),
                        None => result,
                    });
                    done += 1;
                }
            });
            if let Err(panic) = catch_unwind(calls) {
                let failure = panicked();
                let _ = catch_unwind(AssertUnwindSafe(|| drop(panic)));
                return self.fail_whole(done, failure);
            }
            let called = clock::now_ns();
            self.note_times([started, decoded, called, called], done - first);
        }
        let encoding = clock::now_ns();
        let encoded = catch_unwind(AssertUnwindSafe(|| within(self.home, || encode_one(&whole, self.output))));
        if let Err(why) = encoded.unwrap_or_else(|_| Err(text_of(&panicked()))) {
            self.fail_whole(0, Failure::Result(why));
        }
        self.times.coding_ns += clock::now_ns().saturating_sub(encoding);
    }

    /// Decodes the arguments of the next block.
    fn decode_block<A: DeserializeOwned>(&mut self, done: u32, args: &mut Vec<A>) -> Result<(), String> {
        let (block, before) = (self.pace.block.min(self.count - done), self.input.len());
        args.reserve(block as usize);
        let mut input = self.input;
        let decoded = within(self.home, || {
            // Bounded by the bytes that there are, or by the block for arguments of none.
            while (args.len() as u32) < block && (args.is_empty() || before - input.len() < BLOCK_BYTES) {
                let (arg, rest) = decode_one::<A>(input)?;
                input = rest;
                args.push(arg);
            }
            Ok(())
        });
        self.input = input;
        decoded
    }

    fn encode_block<R: Serialize>(&mut self, first: u32, failed_before: usize, results: &mut Vec<R>) {
        let home = self.home;
        within(home, || {
            for (nth, result) in results.drain(..).enumerate() {
                let before = self.output.len();
                let encoded = catch_unwind(AssertUnwindSafe(|| encode_one(&result, self.output)));
                if let Err(why) = encoded.unwrap_or_else(|_| Err(text_of(&panicked()))) {
                    self.output.truncate(before);
                    self.fail_result(first, failed_before, nth, why);
                } else if self.output.len() - before >= LARGE {
                    self.note_large(first, failed_before, nth, before);
                }
            }
        });
    }

    /// The `nth` result of a block that began with call `first` can not be sent.
    #[cold]
    fn fail_result(&mut self, first: u32, failed_before: usize, nth: usize, why: String) {
        let Some(call) = self.call_of(first, failed_before, nth) else { return };
        let at = self.failures.partition_point(|(failed, _)| *failed < call);
        self.failures.insert(at, (call, Failure::Result(why)));
    }

    #[cold]
    fn note_large(&mut self, first: u32, failed_before: usize, nth: usize, start: usize) {
        let at = start..self.output.len();
        self.large.extend(self.call_of(first, failed_before, nth).map(|call| Large { call, at }));
    }

    /// The call that the `nth` result is of, in a block that began with call `first`.
    fn call_of(&self, first: u32, failed_before: usize, nth: usize) -> Option<u32> {
        let is_result = |call: &u32| {
            let failed = self.failures.iter().skip(failed_before);
            !failed.clone().any(|(failed, why)| failed == call && !matches!(why, Failure::Result(_)))
        };
        (first..self.count).filter(is_result).nth(nth)
    }

    fn note_times(&mut self, [started, decoded, called, ended]: [u64; 4], calls: u32) {
        let busy = called.saturating_sub(decoded);
        let whole = ended.saturating_sub(started);
        self.times.busy_ns += busy;
        self.times.coding_ns += whole.saturating_sub(busy);
        self.times.longest_ns = self.times.longest_ns.max(busy / u64::from(calls.max(1)));
        let per_call = (whole / u64::from(calls.max(1))).max(1);
        let fitting = u32::try_from(BLOCK_NS / per_call).unwrap_or(BLOCK_CALLS);
        // Grows slowly, since the next calls may be longer; shrinks at once.
        self.pace.block = fitting.clamp(1, self.pace.block.saturating_mul(4).min(BLOCK_CALLS));
    }
}

fn within<R>(home: Option<&Home>, f: impl FnOnce() -> R) -> R {
    match home {
        Some(home) => home.within(f),
        None => f(),
    }
}

fn text_of(failure: &Failure) -> String {
    match failure {
        Failure::Panicked { message, .. } => format!("its code panicked: {message}"),
        other => format!("{other:?}"),
    }
}

/// Encodes a value behind others.
#[inline]
pub(crate) fn encode_one<T: Serialize>(value: &T, bytes: &mut Vec<u8>) -> Result<(), String> {
    let encoded = postcard::serialize_with_flavor(value, Behind(bytes));
    encoded.map_err(|why| if take_refusal() { NOT_REACHABLE.to_owned() } else { why.to_string() })
}

/// What is said of a handle that can not travel in a task.
const NOT_REACHABLE: &str = "a handle in it must live in a named segment, or in one that the pool was made with: `Pool::builder().share(handle.segment())`";

/// Decodes the first of many values; returns it and what stands behind it.
#[inline]
pub(crate) fn decode_one<T: DeserializeOwned>(bytes: &[u8]) -> Result<(T, &[u8]), String> {
    postcard::take_from_bytes(bytes).map_err(|why| take_reason().unwrap_or_else(|| why.to_string()))
}

/// Appends to a vector.
struct Behind<'a>(&'a mut Vec<u8>);

impl postcard::ser_flavors::Flavor for Behind<'_> {
    type Output = ();

    #[inline]
    fn try_extend(&mut self, data: &[u8]) -> postcard::Result<()> {
        self.0.extend_from_slice(data);
        Ok(())
    }

    #[inline]
    fn try_push(&mut self, data: u8) -> postcard::Result<()> {
        self.0.push(data);
        Ok(())
    }

    #[inline]
    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch_of<R>(values: &[u32], work: impl FnOnce(&mut Batch<'_>) -> R) -> (Vec<u8>, Vec<(u32, Failure)>, u64) {
        let (mut input, mut output) = (Vec::new(), Vec::new());
        values.iter().for_each(|value| encode_one(value, &mut input).unwrap());
        let (running, mut pace) = (AtomicU64::new(0), Pace { block: 4 });
        let mut batch = Batch {
            input: &input,
            count: values.len() as u32,
            output: &mut output,
            failures: Vec::new(),
            large: Vec::new(),
            running: &running,
            pace: &mut pace,
            times: Times::default(),
            home: None,
        };
        work(&mut batch);
        let failures = core::mem::take(&mut batch.failures);
        (output, failures, running.load(Ordering::Relaxed))
    }

    fn decoded(mut bytes: &[u8]) -> Vec<u32> {
        let mut values = Vec::new();
        while !bytes.is_empty() {
            let (value, rest) = decode_one(bytes).unwrap();
            values.push(value);
            bytes = rest;
        }
        values
    }

    #[test]
    fn calls_that_fail_leave_the_results_of_others_in_order() {
        let values: Vec<u32> = (0..50).collect();
        let odd = |n: u32| if n % 2 == 1 { Ok(n * 10) } else { Err(format!("{n} is even")) };
        let (output, failures, running) = batch_of(&values, |batch| batch.call_each(odd));
        assert_eq!(decoded(&output), (0..50).filter(|n| n % 2 == 1).map(|n| n * 10).collect::<Vec<_>>());
        let expected: Vec<_> = (0..50).step_by(2).map(|n| (n, Failure::Failed(format!("{n} is even")))).collect();
        assert_eq!((failures, running), (expected, 50));
    }

    #[test]
    fn results_that_can_not_be_encoded_fail_alone() {
        struct Picky(u32);
        impl Serialize for Picky {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                match self.0 % 5 {
                    0 => Err(serde::ser::Error::custom("not this one")),
                    _ => self.0.serialize(serializer),
                }
            }
        }
        let values: Vec<u32> = (0..20).collect();
        let work = |n: u32| if n % 3 == 1 { Err("third".to_owned()) } else { Ok(Picky(n)) };
        let (output, failures, _) = batch_of(&values, |batch| batch.call_each(work));
        assert_eq!(decoded(&output), (0..20).filter(|n| n % 3 != 1 && n % 5 != 0).collect::<Vec<_>>());
        let failed: Vec<_> = failures.iter().map(|(call, _)| *call).collect();
        assert_eq!(failed, (0..20).filter(|n| n % 3 == 1 || n % 5 == 0).collect::<Vec<_>>());
    }

    #[test]
    fn arguments_that_end_early_fail_the_rest() {
        let (mut output, running, mut pace) = (Vec::new(), AtomicU64::new(0), Pace { block: 8 });
        let mut batch = Batch {
            input: &[1, 2, 0x80],
            count: 4,
            output: &mut output,
            failures: Vec::new(),
            large: Vec::new(),
            running: &running,
            pace: &mut pace,
            times: Times::default(),
            home: None,
        };
        batch.call_each(|n: u32| Ok(n + 1));
        let failed: Vec<_> = batch.failures.iter().map(|(call, _)| *call).collect();
        assert_eq!(failed, [2, 3]);
        assert_eq!(decoded(&output), [2, 3]);
    }

    #[test]
    fn a_fold_has_one_result() {
        let (output, failures, _) = batch_of(&[1, 2, 3, 4, 5, 6], |batch| batch.fold_all(|n: u32| n * 2, |a, b| a + b));
        let (whole, rest) = decode_one::<Option<u32>>(&output).unwrap();
        assert_eq!((whole, rest.len(), failures.len()), (Some(42), 0, 0));
    }
}
