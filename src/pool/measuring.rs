//! A pool's figures, put together when somebody asks.

use core::time::Duration;

use crate::pool::desk::Stage;
use crate::pool::drive::Core;
use crate::pool::report::Report;
use crate::pool::stats::{PoolStats, WorkerStats};
use crate::sync::Ordering::Relaxed;
use crate::sys::clock;

impl Core {
    pub(crate) fn stats(&self) -> PoolStats {
        let state = self.lock();
        let now_ns = clock::now_ns();
        let workers: Vec<_> = state
            .figures
            .posts
            .iter()
            .enumerate()
            .map(|(at, post)| {
                let lived = post.lived_ns + if post.since_ns == 0 { 0 } else { now_ns.saturating_sub(post.since_ns) };
                let waits = post.since_ns != 0 && self.desks.desk(at).look().stage == Stage::Waiting;
                let now_idle = if waits { now_ns.saturating_sub(post.reply_ns) } else { 0 };
                let (busy, coding, idle) = (post.times.busy_ns, post.times.coding_ns, post.waited_ns + now_idle);
                let pid = state.crew.posts.get(at).and_then(|post| Some(post.worker.as_ref()?.pid()));
                WorkerStats {
                    pid,
                    tasks: post.calls,
                    busy: Duration::from_nanos(busy),
                    serialising: Duration::from_nanos(coding),
                    idle: Duration::from_nanos(idle),
                    waiting: Duration::from_nanos(lived.saturating_sub(busy + coding + idle)),
                }
            })
            .collect();
        let longest_ns = state.figures.posts.iter().map(|post| post.times.longest_ns).max().unwrap_or(0);
        PoolStats {
            tasks: workers.iter().map(|worker| worker.tasks).sum(),
            workers,
            chunks: state.figures.chunks,
            retries: state.figures.retries,
            deaths: state.crew.deaths,
            started: state.crew.started,
            elapsed: Duration::from_nanos(state.ledger.out_ns(now_ns)),
            serialising: Duration::from_nanos(self.coding_ns.load(Relaxed)),
            longest_task: Duration::from_nanos(longest_ns),
        }
    }

    pub(crate) fn reset_stats(&self) {
        let mut state = self.lock();
        state.figures.reset();
        state.ledger.reset_out(clock::now_ns());
        (state.crew.deaths, state.crew.started) = (0, 0);
        self.coding_ns.store(0, Relaxed);
    }

    pub(crate) fn report(&self) -> Report {
        Report::of(&self.stats())
    }
}
