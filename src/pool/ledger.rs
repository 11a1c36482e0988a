//! What is out: which chunks, for whom, tried how often. Private to the parent.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use crate::pool::job::Job;
use crate::pool::wire::ChunkHead;
use crate::sys::clock;

/// A chunk that has no result yet.
pub(crate) struct Chunk {
    pub(crate) job: Arc<dyn Job>,
    /// The place of its first call in the job.
    pub(crate) first: u64,
    pub(crate) calls: u32,
    /// How many workers died of it, or of its first call if it has one.
    pub(crate) deaths: u32,
    /// How often it failed. Of a chunk with one call only.
    pub(crate) failures: u32,
    /// How often a worker died with it in hand that had not begun.
    pub(crate) untouched: u32,
    /// The name of its function.
    pub(crate) routine: [u64; 4],
    /// The encoded arguments, where a call of it may be tried again after a failure.
    pub(crate) kept: Option<Arc<[u8]>>,
    /// Bytes of the encoded chunk.
    pub(crate) bytes: usize,
}

/// A chunk that waits to be sent.
pub(crate) struct Unsent {
    pub(crate) number: u64,
    pub(crate) bytes: Vec<u8>,
}

/// What is out.
#[derive(Default)]
pub(crate) struct Ledger {
    next: u64,
    chunks: HashMap<u64, Chunk>,
    /// Since when there are some.
    since_ns: u64,
    /// How long there were some before.
    out_ns: u64,
    /// Chunks for which the queue had no room, in order.
    pub(crate) unsent: VecDeque<Unsent>,
    /// Chunks to be sent at some moment: nanoseconds of the monotonic clock.
    pub(crate) later: Vec<(u64, Unsent)>,
}

impl Ledger {
    /// A chunk goes out: it gets a number, which is written into its head.
    pub(crate) fn enter(&mut self, mut chunk: Chunk, routine: [u64; 4], bytes: &mut [u8]) -> u64 {
        let number = self.next;
        self.next += 1;
        chunk.routine = routine;
        ChunkHead { number, calls: chunk.calls, routine }.write(bytes);
        if self.chunks.is_empty() {
            self.since_ns = clock::now_ns();
        }
        self.chunks.insert(number, chunk);
        number
    }

    /// Takes a chunk out; `None`: it has its result already.
    pub(crate) fn take(&mut self, number: u64) -> Option<Chunk> {
        let chunk = self.chunks.remove(&number)?;
        if self.chunks.is_empty() {
            self.out_ns += clock::now_ns().saturating_sub(self.since_ns);
        }
        Some(chunk)
    }

    /// How long there were chunks out.
    pub(crate) fn out_ns(&self, now_ns: u64) -> u64 {
        self.out_ns + if self.chunks.is_empty() { 0 } else { now_ns.saturating_sub(self.since_ns) }
    }

    pub(crate) fn reset_out(&mut self, now_ns: u64) {
        (self.out_ns, self.since_ns) = (0, now_ns);
    }

    /// The chunks of a job, by their numbers.
    pub(crate) fn of_job(&self, job: u64) -> Vec<u64> {
        self.chunks.iter().filter(|(_, chunk)| chunk.job.number() == job).map(|(number, _)| *number).collect()
    }

    pub(crate) fn get(&self, number: u64) -> Option<&Chunk> {
        self.chunks.get(&number)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.chunks.len()
    }

    /// Takes all chunks out for which this holds, wherever they are.
    pub(crate) fn take_if(&mut self, mut is_meant: impl FnMut(&Chunk) -> bool) -> Vec<Chunk> {
        let numbers: Vec<_> = self.chunks.iter().filter(|(_, chunk)| is_meant(chunk)).map(|(n, _)| *n).collect();
        let taken = numbers.iter().filter_map(|number| self.take(*number)).collect();
        let chunks = &self.chunks;
        self.unsent.retain(|unsent| chunks.contains_key(&unsent.number));
        self.later.retain(|(_, unsent)| chunks.contains_key(&unsent.number));
        taken
    }

    /// Moves what is due into the row of what is to be sent; says when the next is due.
    pub(crate) fn become_due(&mut self, now_ns: u64) -> Option<u64> {
        let mut at = 0;
        while let Some((due_ns, _)) = self.later.get(at) {
            if *due_ns <= now_ns {
                let (_, unsent) = self.later.swap_remove(at);
                self.unsent.push_back(unsent);
            } else {
                at += 1;
            }
        }
        self.later.iter().map(|(due_ns, _)| *due_ns).min()
    }
}

impl Chunk {
    pub(crate) fn new(job: Arc<dyn Job>, first: u64, calls: u32, bytes: usize) -> Self {
        Self { job, first, calls, deaths: 0, failures: 0, untouched: 0, routine: [0; 4], kept: None, bytes }
    }

    /// Tells the job that none of its calls has a result.
    pub(crate) fn fail_all(&self, error: impl Fn(u64) -> crate::pool::failure::TaskError) {
        (0..u64::from(self.calls)).for_each(|call| self.job.fail(self.first + call, error(self.first + call)));
    }
}
