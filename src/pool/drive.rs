//! What moves a pool: somebody who waits receives replies for everybody.
//!
//! One thread at a time leads: it receives replies, hands them to their jobs, looks after the workers. Others who wait sleep
//! until something has changed; when the leader has what it wanted, it leaves, and one of them leads. Where nobody waits, nothing
//! moves but the workers, until the queue of replies is full; so whoever wants to be told without waiting asks
//! for an assistant, a thread that leads when nobody else does.

use parking_lot::{Condvar, Mutex, MutexGuard};
use std::sync::Arc;

use crate::deadline::Deadline;
use crate::error::{Kind, Result};
use crate::handle::bytes::Bytes;
use crate::handle::queue::Queue;
use crate::pool::crew::{Crew, Worker};
use crate::pool::desk::Desks;
use crate::pool::events::{Event, Events};
use crate::pool::failure::TaskError;
use crate::pool::job::{Delivery, Job};
use crate::pool::ledger::{Chunk, Ledger, Unsent};
use crate::pool::log::Logs;
use crate::pool::stats::Figures;
use crate::pool::wire::{CHUNK_HEAD, ReplyHead};
use crate::process::routine::Secret;
use crate::segment::handoff::Home;
use crate::sync::{AtomicU32, AtomicU64, Ordering::Relaxed};
use crate::sys::clock;

/// How long a leader sleeps before it looks after the workers again.
const SLICE_NS: u64 = 5_000_000;
/// How often it does so when there is much to receive.
const ROUND_NS: u64 = 2_000_000;
/// Replies between two looks at whether the leader has what it wants.
const REPLIES_AT_ONCE: u32 = 256;
/// How long an assistant leaves it to others to lead.
const POLITE_NS: u64 = 2_000_000;

/// Starts the worker of a post.
pub(crate) type Start = Box<dyn Fn(usize) -> Result<Worker> + Send + Sync>;

/// A pool, as its tasks know it: without saying when it ends.
pub(crate) struct Core {
    /// Workers that there are when all are needed.
    pub(crate) posts: usize,
    pub(crate) tasks: Queue<Bytes>,
    pub(crate) replies: Queue<Bytes>,
    pub(crate) desks: Desks,
    pub(crate) logs: Logs,
    /// Where handles in arguments and results may live.
    pub(crate) home: Home,
    pub(crate) secret: Secret,
    /// Whether the workers have a limit of memory.
    pub(crate) is_limited: bool,
    pub(crate) start: Start,
    pub(crate) state: Mutex<State>,
    pub(crate) changed: Condvar,
    /// What the assistant sleeps on: it is told only where there is something to lead, or nothing will ever be.
    pub(crate) assistance: Condvar,
    /// Threads that sleep until something has changed.
    pub(crate) sleepers: AtomicU32,
    /// What encoding and decoding took here.
    pub(crate) coding_ns: AtomicU64,
}

pub(crate) struct State {
    pub(crate) leading: bool,
    pub(crate) assisted: bool,
    pub(crate) closed: bool,
    pub(crate) over: bool,
    pub(crate) jobs: u64,
    pub(crate) ledger: Ledger,
    pub(crate) crew: Crew,
    pub(crate) figures: Figures,
    pub(crate) events: Events,
    /// Chunks that came back from workers who may be dead.
    pub(crate) letters: Vec<Unsent>,
    /// When to look after the workers again.
    pub(crate) round_due_ns: u64,
}

impl Core {
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// Begins a job: its number.
    pub(crate) fn begin_job(&self) -> Result<u64> {
        let mut state = self.lock();
        if state.closed {
            return Err(Kind::Closed { what: "the pool" }.into());
        }
        state.jobs += 1;
        Ok(state.jobs)
    }

    /// Sends a chunk: `bytes` has room for the head. It is sent later if there is no room. False: there is nobody to do it,
    /// and the job was told so.
    pub(crate) fn send(
        &self,
        job: Arc<dyn Job>,
        first: u64,
        calls: u32,
        routine: [u64; 4],
        mut bytes: Vec<u8>,
    ) -> bool {
        let mut chunk = Chunk::new(job, first, calls, bytes.len());
        let mut state = self.lock();
        if state.over {
            drop(state);
            chunk.fail_all(|index| TaskError::Cancelled { task: chunk.job.id(index) });
            return false;
        }
        if let Some(why) = state.crew.why_not(chunk.job.number()) {
            drop(state);
            chunk.fail_all(|index| TaskError::NoWorkers { task: chunk.job.id(index), why: why.clone() });
            return false;
        }
        let keeps = chunk.job.terms().after_failures() != 0;
        chunk.kept = keeps.then(|| bytes.get(CHUNK_HEAD..).unwrap_or_default().into());
        let number = state.ledger.enter(chunk, routine, &mut bytes);
        let lost = self.send_entered(&mut state, Unsent { number, bytes });
        if state.crew.len() < state.ledger.len() && state.crew.len() < state.crew.posts.len() {
            self.fill(&mut state);
        }
        drop(state);
        self.tell(lost);
        true
    }

    /// Sends a chunk that is in the ledger, behind those that wait.
    pub(crate) fn send_entered(&self, state: &mut State, unsent: Unsent) -> Vec<(Chunk, String)> {
        state.ledger.unsent.push_back(unsent);
        self.send_waiting(state)
    }

    /// Sends what waits to be sent, as far as there is room. Returns what can never be sent, and why.
    pub(crate) fn send_waiting(&self, state: &mut State) -> Vec<(Chunk, String)> {
        let mut lost = Vec::new();
        while let Some(unsent) = state.ledger.unsent.front() {
            let sent = self.tasks.channel.push::<Bytes>(&unsent.bytes, None);
            // What workers have will be done, and its memory be free.
            let waits = state.ledger.len() > state.ledger.unsent.len() + state.ledger.later.len();
            let why = match sent {
                Ok(()) => None,
                Err(error) if error.is_would_block() || error.is_contended() => break,
                Err(error) if error.is_out_of_memory() && waits => break,
                Err(error) => Some(error.to_string()),
            };
            let Some(unsent) = state.ledger.unsent.pop_front() else { break };
            if let Some(why) = why {
                lost.extend(state.ledger.take(unsent.number).map(|chunk| (chunk, why)));
            }
        }
        lost
    }

    /// Tells jobs what can never be sent.
    pub(crate) fn tell(&self, lost: Vec<(Chunk, String)>) {
        for (chunk, why) in &lost {
            let why = format!("it could not be sent: {why}");
            chunk.fail_all(|index| TaskError::NotPortable { task: chunk.job.id(index), why: why.clone() });
        }
        if !lost.is_empty() {
            self.notify();
        }
    }

    /// Starts workers, as many as there is work for.
    pub(crate) fn fill(&self, state: &mut State) {
        let wanted = state.ledger.len().min(state.crew.posts.len());
        if !state.over {
            let State { crew, figures, events, .. } = state;
            crew.fill(wanted, &self.desks, |post| {
                let worker = (self.start)(post)?;
                figures.note_start(post);
                events.note(|| Event::Started { post, pid: worker.pid() });
                Ok(worker)
            });
        }
    }

    /// Waits until `done`, leading if nobody else does. False: the deadline passed.
    pub(crate) fn wait_until(&self, mut done: impl FnMut() -> bool, deadline: Deadline) -> bool {
        // Ends when done, or at the deadline.
        loop {
            if done() {
                return true;
            }
            let now_ns = clock::now_ns();
            if deadline.has_passed(now_ns) {
                return false;
            }
            let mut state = self.lock();
            if !state.leading {
                state.leading = true;
                drop(state);
                let _leads = Leads(self);
                return self.lead(&mut done, deadline);
            }
            // Counted under the lock: whoever changes something sees it, or we see the change.
            self.sleepers.fetch_add(1, Relaxed);
            if !done() {
                let ns = deadline.remaining(now_ns, 1_000_000_000);
                self.changed.wait_for(&mut state, core::time::Duration::from_nanos(ns));
            }
            self.sleepers.fetch_sub(1, Relaxed);
        }
    }

    /// Wakes whoever sleeps until something has changed.
    pub(crate) fn notify(&self) {
        let _state = self.lock();
        if self.sleepers.load(Relaxed) != 0 {
            self.changed.notify_all();
        }
    }

    fn lead(&self, done: &mut dyn FnMut() -> bool, deadline: Deadline) -> bool {
        // Ends when done, or at the deadline.
        loop {
            let mut received = self.receive_ready();
            self.tend();
            if received == 0 && !done() {
                let now_ns = clock::now_ns();
                if deadline.has_passed(now_ns) {
                    return false;
                }
                let slice = core::time::Duration::from_nanos(deadline.remaining(now_ns, SLICE_NS));
                match self.replies.channel.pop::<Bytes>(Some(Deadline::after(now_ns, slice))) {
                    Ok(reply) => {
                        self.receive(&reply);
                        received = 1;
                    }
                    // Too damaged or too forked to wait for: not to be tried at once again.
                    Err(error) if !error.is_timeout() => clock::nap(SLICE_NS / 5),
                    Err(_) => {}
                }
            }
            if received != 0 && self.sleepers.load(Relaxed) != 0 {
                self.notify();
            }
            if done() {
                return true;
            }
        }
    }

    /// Receives what has come.
    pub(crate) fn receive_ready(&self) -> u32 {
        let mut received = 0;
        while received < REPLIES_AT_ONCE
            && let Some(reply) = self.replies.channel.pop_ready::<Bytes>()
        {
            received += 1;
            if let Ok(reply) = reply {
                self.receive(&reply);
            }
        }
        received
    }

    fn receive(&self, reply: &[u8]) {
        let Some((head, results, failures)) = ReplyHead::read(reply) else { return };
        let mut state = self.lock();
        // Not there: it was tried twice, and this is the second reply.
        let Some(chunk) = state.ledger.take(head.number) else { return };
        if head.calls != chunk.calls {
            drop(state);
            return chunk.fail_all(|index| TaskError::NotPortable {
                task: chunk.job.id(index),
                why: "its reply is damaged".to_owned(),
            });
        }
        state.crew.hope();
        state.figures.note_reply(head.post, head.calls, head.times, head.waited_ns);
        let attempt = chunk.failures + chunk.deaths + 1;
        let failures = match failures.is_empty() {
            true => Vec::new(),
            false => self.try_again(&mut state, &chunk, failures),
        };
        drop(state);
        let (first, calls, times) = (chunk.first, chunk.calls, head.times);
        let decoding = clock::now_ns();
        chunk.job.deliver(Delivery { first, calls, results, failures, attempt, times });
        self.coding_ns.fetch_add(clock::now_ns().saturating_sub(decoding), Relaxed);
    }

    /// Looks after what was not sent, and every now and then after the workers.
    fn tend(&self) {
        let mut state = self.lock();
        if !state.ledger.unsent.is_empty() {
            let lost = self.send_waiting(&mut state);
            drop(state);
            self.tell(lost);
            state = self.lock();
        }
        let now_ns = clock::now_ns();
        if now_ns >= state.round_due_ns {
            state.round_due_ns = now_ns + ROUND_NS;
            drop(state);
            self.round(now_ns);
        }
    }

    /// Has a thread lead from now on whenever nobody else does.
    pub(crate) fn assist(self: &Arc<Self>) {
        let mut state = self.lock();
        if core::mem::replace(&mut state.assisted, true) || state.over {
            self.call_assistant(&state);
            return;
        }
        let core = self.clone();
        let started = std::thread::Builder::new().name("mutirao-pool".into()).spawn(move || core.assist_always());
        state.assisted = started.is_ok();
    }

    /// Wakes the assistant, if it is needed.
    pub(crate) fn call_assistant(&self, state: &State) {
        if state.over || !state.leading && !state.ledger.is_empty() {
            self.assistance.notify_one();
        }
    }

    /// Ends with the pool.
    fn assist_always(&self) {
        loop {
            let mut state = self.lock();
            if state.over {
                return;
            }
            if state.leading || state.ledger.is_empty() {
                self.assistance.wait(&mut state);
                continue;
            }
            drop(state);
            // Whoever has just sent something and waits for it does better without us.
            clock::nap(POLITE_NS);
            let nothing = || {
                let state = self.lock();
                state.over || state.ledger.is_empty()
            };
            let mut state = self.lock();
            if !state.leading {
                state.leading = true;
                drop(state);
                let _leads = Leads(self);
                self.lead(&mut { nothing }, Deadline::NEVER);
            }
        }
    }

    /// Whether this is the process that made the pool.
    pub(crate) fn is_ours(&self) -> bool {
        self.tasks.channel.body().life().is_ok()
    }
}

/// Leads until it is dropped, also when a job's code unwinds.
struct Leads<'a>(&'a Core);

impl Drop for Leads<'_> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.leading = false;
        self.0.call_assistant(&state);
        if self.0.sleepers.load(Relaxed) != 0 {
            self.0.changed.notify_all();
        }
    }
}
