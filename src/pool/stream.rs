//! Many calls of one function: items go out in chunks, a bounded number ahead; results come back in parts.
//!
//! The length of a chunk follows the measured time of a call, so that a chunk is about two milliseconds of work:
//! long enough that its way costs nothing, short enough that no worker is left with much when the others are done. At the end of a
//! known number of items chunks get shorter.

use serde::Serialize;
use serde::de::DeserializeOwned;
use std::sync::Arc;

use crate::deadline::Deadline;
use crate::pool::drive::Core;
use crate::pool::failure::TaskError;
use crate::pool::founding::chunks_out;
use crate::pool::job::Job;
use crate::pool::many::{Many, Part, Plan};
use crate::pool::progress::Teller;
use crate::pool::wire::CHUNK_HEAD;
use crate::process::batch::encode_one;
use crate::sync::Ordering::Relaxed;
use crate::sys::clock;

/// What a chunk should take.
const CHUNK_NS: u64 = 2_000_000;
/// How much work should wait in the queue.
const AHEAD_NS: u64 = 10_000_000;
/// The most bytes of a chunk of more than one call.
const CHUNK_BYTES: usize = 256 << 10;
/// The most bytes that are out at a time, if that is more than one chunk.
const AHEAD_BYTES: u64 = 64 << 20;

/// A job on its way: what feeds it and what takes from it.
pub(crate) struct Stream<A, R, I>
where
    A: Serialize + DeserializeOwned,
    R: DeserializeOwned + Send + 'static,
{
    /// Keeps the pool's workers.
    _keeper: Arc<dyn Send + Sync>,
    core: Arc<Core>,
    job: Arc<Many<A, R>>,
    routine: [u64; 4],
    items: I,
    exhausted: bool,
    next: u64,
    /// The longest chunk so far.
    longest: u64,
    /// Bytes of an item, about.
    item_bytes: u64,
    workers: u64,
    /// The most chunks that are out at a time.
    chunks_max: u64,
    /// Whether all results are kept anyway.
    is_collected: bool,
    teller: Teller,
}

impl<A, R, I> Stream<A, R, I>
where
    A: Serialize + DeserializeOwned + 'static,
    R: DeserializeOwned + Send + 'static,
    I: Iterator<Item = A>,
{
    /// `keeper` keeps the pool's workers.
    pub(crate) fn new(core: &Arc<Core>, keeper: Arc<dyn Send + Sync>, plan: Plan, items: I) -> Self {
        let core = core.clone();
        let teller = Teller::new(plan.terms.audience.clone(), plan.number);
        let (routine, home) = (plan.routine, core.home.clone());
        Self {
            workers: core.posts as u64,
            chunks_max: chunks_out(core.posts) as u64,
            _keeper: keeper,
            core,
            job: Arc::new(Many::new(plan, home)),
            routine,
            items,
            exhausted: false,
            next: 0,
            longest: 0,
            item_bytes: 1,
            is_collected: false,
            teller,
        }
    }

    /// Calls of the next chunk, and the most that may be out.
    fn lengths(&self, call_ns: u64) -> (u64, u64) {
        let terms = &self.job.terms;
        let mut calls = match (terms.chunk_size, call_ns) {
            (Some(calls), _) => calls as u64,
            (None, 0) => 1,
            (None, call_ns) => (CHUNK_NS / call_ns).min(self.longest * 8),
        };
        if terms.chunk_size.is_none() {
            if let (least, Some(most)) = self.items.size_hint()
                && least == most
            {
                calls = calls.min((most as u64).div_ceil(2 * self.workers));
            }
            // One call a chunk tells exactly which was made.
            if !self.job.terms.repeatable {
                calls = 1;
            }
        }
        if let Some(most) = terms.in_flight {
            calls = calls.min((most as u64).div_ceil(2 * self.workers));
        }
        let calls = calls.clamp(1, u32::MAX.into());
        let chunks = match call_ns {
            0 => 2 * self.workers,
            call_ns => (AHEAD_NS / call_ns.saturating_mul(calls).max(1)).clamp(2 * self.workers, self.chunks_max),
        };
        let most = terms.in_flight.map_or(calls.saturating_mul(chunks), |most| most as u64);
        (calls, most.min(AHEAD_BYTES / self.item_bytes).max(1))
    }

    fn tell(&mut self) {
        let out = self.job.inbox.lock().out;
        let total = match (self.exhausted, self.items.size_hint()) {
            (true, _) => Some(self.next),
            (false, (least, Some(most))) if least == most => Some(self.next + most as u64),
            _ => None,
        };
        self.teller.tell(self.next - out.min(self.next), total, self.exhausted && out == 0);
    }

    /// The most that may be out or wait to be taken, where `most` may be out.
    fn most_untaken(&self, most: u64) -> u64 {
        /// Behind a slow call others must be able to go on.
        const AHEAD_OF_A_SLOW_ONE: u64 = 1000;
        match (self.is_collected, self.job.terms.in_flight) {
            (true, _) => u64::MAX,
            (false, Some(most)) => most as u64,
            (false, None) => AHEAD_OF_A_SLOW_ONE.max(4 * most),
        }
    }

    /// Sends as much as should be out.
    fn feed(&mut self) {
        while !self.exhausted {
            let (call_ns, out, waiting) = {
                let inbox = self.job.inbox.lock();
                (inbox.call_ns, inbox.out, inbox.waiting)
            };
            let (calls, most) = self.lengths(call_ns);
            if out + waiting != 0 && (out + calls > most || out + waiting + calls > self.most_untaken(most)) {
                return;
            }
            if !self.send_chunk(calls) {
                return;
            }
        }
    }

    /// False: nobody will do it, and it is known already.
    fn send_chunk(&mut self, calls: u64) -> bool {
        let (first, mut count, mut unfit, encoding) = (self.next, 0, None, clock::now_ns());
        let mut bytes = Vec::with_capacity(CHUNK_HEAD + (calls * self.item_bytes).min(CHUNK_BYTES as u64) as usize);
        bytes.resize(CHUNK_HEAD, 0);
        let (items, exhausted) = (&mut self.items, &mut self.exhausted);
        self.job.home.within(|| {
            while count < calls && bytes.len() < CHUNK_BYTES {
                let Some(item) = items.next() else {
                    *exhausted = true;
                    break;
                };
                let before = bytes.len();
                // What an item's serde code does when it panics is the caller's affair: it is on the caller's thread.
                match encode_one(&item, &mut bytes) {
                    Ok(()) => count += 1,
                    Err(why) => {
                        bytes.truncate(before);
                        unfit = Some(why);
                        break;
                    }
                }
            }
        });
        self.core.coding_ns.fetch_add(clock::now_ns().saturating_sub(encoding), Relaxed);
        self.next += count;
        self.longest = self.longest.max(count);
        let mut has_gone = true;
        if let Some(item_bytes) = (bytes.len() as u64).checked_div(count) {
            self.item_bytes = item_bytes.max(1);
            self.job.inbox.lock().out += count;
            has_gone = self.core.send(self.job.clone(), first, count as u32, self.routine, bytes);
        }
        if let Some(why) = unfit {
            let (task, why) = (self.job.id(self.next), format!("its arguments could not be encoded: {why}"));
            self.job.inbox.lock().out += 1;
            self.job.fail(self.next, TaskError::NotPortable { task, why });
            self.next += 1;
        }
        has_gone
    }

    /// Waits for the next part: the one that begins at `wanted`, or any. `None`: there is no more.
    pub(crate) fn part(&mut self, wanted: Option<u64>) -> Option<(u64, Part<R>)> {
        // Ends with a part, or when nothing is left to come.
        loop {
            self.feed();
            self.tell();
            let job = &self.job;
            let take = || {
                let mut inbox = job.inbox.lock();
                let taken = match wanted {
                    Some(first) => inbox.parts.remove(&first).map(|part| (first, part)),
                    None => inbox.parts.pop_first(),
                };
                inbox.waiting -= taken.as_ref().map_or(0, |(_, part)| part.calls.min(inbox.waiting));
                taken
            };
            if let Some(part) = take() {
                return Some(part);
            }
            if self.exhausted && job.inbox.lock().out == 0 {
                return take();
            }
            let (exhausted, workers) = (self.exhausted, self.workers);
            let (_, most) = self.lengths(job.inbox.lock().call_ns);
            let most_untaken = self.most_untaken(most);
            let has_news = || {
                let inbox = job.inbox.lock();
                let come = match wanted {
                    Some(first) => inbox.parts.contains_key(&first),
                    None => !inbox.parts.is_empty(),
                };
                let has_room = inbox.out + workers <= most / 2 && inbox.out + inbox.waiting < most_untaken / 2;
                come || inbox.out == 0 || !exhausted && has_room
            };
            self.core.wait_until(has_news, Deadline::NEVER);
        }
    }

    /// Everything, in order, up to the first error.
    pub(crate) fn collect(mut self) -> Result<Vec<R>, TaskError> {
        self.is_collected = true;
        let mut results = Vec::with_capacity(self.items.size_hint().0.min(1 << 20));
        let mut wanted = 0;
        while let Some((first, part)) = self.part(Some(wanted)) {
            if let Some((_, error)) = part.errors.into_iter().next() {
                return Err(error);
            }
            wanted = first + part.calls;
            if results.is_empty() && results.capacity() < part.results.len() {
                results = part.results;
            } else {
                results.extend(part.results);
            }
        }
        Ok(results)
    }

    /// What the folds of the chunks came to, in order, up to the first error.
    pub(crate) fn folded(mut self) -> Result<Vec<R>, TaskError> {
        self.is_collected = true;
        let (mut results, mut wanted) = (Vec::new(), 0);
        while let Some((first, part)) = self.part(Some(wanted)) {
            if let Some((_, error)) = part.errors.into_iter().next() {
                return Err(error);
            }
            wanted = first + part.calls;
            results.extend(part.results);
        }
        Ok(results)
    }
}

impl<A, R, I> Drop for Stream<A, R, I>
where
    A: Serialize + DeserializeOwned,
    R: DeserializeOwned + Send + 'static,
{
    fn drop(&mut self) {
        self.job.cancel();
        self.core.forget(self.job.number(), false);
    }
}
