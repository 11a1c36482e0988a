//! What a pool has measured: of each worker, of the parent, of all.

use core::fmt;
use core::time::Duration;

use crate::process::batch::Times;
use crate::sys::clock;

/// What is counted of a post, whoever stood there.
#[derive(Clone, Default)]
pub(crate) struct PostFigures {
    pub(crate) calls: u64,
    pub(crate) times: Times,
    pub(crate) waited_ns: u64,
    /// Lives of those who are gone.
    pub(crate) lived_ns: u64,
    /// Since when this one lives; 0: nobody does.
    pub(crate) since_ns: u64,
    /// When the last reply came.
    pub(crate) reply_ns: u64,
}

/// What is counted of a pool.
#[derive(Clone, Default)]
pub(crate) struct Figures {
    pub(crate) posts: Vec<PostFigures>,
    pub(crate) chunks: u64,
    pub(crate) retries: u64,
}

impl Figures {
    pub(crate) fn note_start(&mut self, post: usize) {
        if let Some(post) = self.posts.get_mut(post) {
            post.since_ns = clock::now_ns();
            post.reply_ns = post.since_ns;
        }
    }

    pub(crate) fn note_end(&mut self, post: usize) {
        if let Some(post) = self.posts.get_mut(post) {
            post.lived_ns += clock::now_ns().saturating_sub(post.since_ns);
            post.since_ns = 0;
        }
    }

    pub(crate) fn note_reply(&mut self, post: u32, calls: u32, times: Times, waited_ns: u64) {
        self.chunks += 1;
        if let Some(post) = self.posts.get_mut(post as usize) {
            post.calls += u64::from(calls);
            post.times.busy_ns = post.times.busy_ns.saturating_add(times.busy_ns);
            post.times.coding_ns = post.times.coding_ns.saturating_add(times.coding_ns);
            post.times.longest_ns = post.times.longest_ns.max(times.longest_ns);
            post.waited_ns = post.waited_ns.saturating_add(waited_ns);
            post.reply_ns = clock::now_ns();
        }
    }

    /// Counts from here on.
    pub(crate) fn reset(&mut self) {
        let now_ns = clock::now_ns();
        for post in &mut self.posts {
            let since_ns = if post.since_ns == 0 { 0 } else { now_ns };
            *post = PostFigures { since_ns, reply_ns: now_ns, ..PostFigures::default() };
        }
        (self.chunks, self.retries) = (0, 0);
    }
}

/// What a pool has measured of one worker's place, whoever stood there. From [`Pool::stats`](crate::Pool::stats).
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct WorkerStats {
    /// The process id of the worker that stands there now.
    pub pid: Option<u32>,
    /// Tasks done.
    pub tasks: u64,
    /// Time in the tasks' own code.
    pub busy: Duration,
    /// Time to decode arguments and encode results.
    pub serialising: Duration,
    /// Time without anything to do.
    pub idle: Duration,
    /// The rest of its life: starting, sending, waiting for room or for a processor.
    pub waiting: Duration,
}

/// What a pool has measured. From [`Pool::stats`](crate::Pool::stats).
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct PoolStats {
    /// Of each worker's place.
    pub workers: Vec<WorkerStats>,
    /// Tasks done.
    pub tasks: u64,
    /// Replies that they came in.
    pub chunks: u64,
    /// Tasks that were tried again, after a failure or the death of a worker.
    pub retries: u64,
    /// Workers that died.
    pub deaths: u64,
    /// Workers that were started.
    pub started: u64,
    /// Time in which tasks were out.
    pub elapsed: Duration,
    /// Time of this process to encode arguments and decode results of `map` and the like.
    pub serialising: Duration,
    /// The longest task; of tasks below 20 microseconds the longest mean of several.
    pub longest_task: Duration,
}

impl fmt::Display for PoolStats {
    /// A table, a line for each worker.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} tasks in {:.3?}, {} chunks; {} tried again, {} workers died",
            self.tasks, self.elapsed, self.chunks, self.retries, self.deaths
        )?;
        writeln!(
            f,
            "{:>8} {:>9} {:>10} {:>12} {:>10} {:>10}",
            "worker", "tasks", "busy", "serialising", "idle", "waiting"
        )?;
        for worker in &self.workers {
            let pid = worker.pid.map_or("-".to_owned(), |pid| pid.to_string());
            let [busy, serialising, idle, waiting] =
                [worker.busy, worker.serialising, worker.idle, worker.waiting].map(|time| format!("{time:.2?}"));
            writeln!(f, "{pid:>8} {:>9} {busy:>10} {serialising:>12} {idle:>10} {waiting:>10}", worker.tasks)?;
        }
        Ok(())
    }
}
