//! The end of a pool, of a job, of a task: what is cancelled, who is killed.

use core::time::Duration;

use crate::deadline::Deadline;
use crate::handle::bytes::Bytes;
use crate::pool::crew::Sentence;
use crate::pool::drive::{Core, State};
use crate::pool::failure::TaskError;
use crate::pool::task::Help;
use crate::pool::wire::ChunkHead;
use crate::sys::clock;

/// How long a killed worker's end is waited for.
const BURIAL: Duration = Duration::from_secs(2);

impl Core {
    /// Cancels what no worker has begun.
    pub(crate) fn cancel_unbegun(&self) {
        let mut numbers = Vec::new();
        while let Ok(chunk) = self.tasks.channel.pop::<Bytes>(None) {
            numbers.extend(ChunkHead::read(&chunk).map(|(head, _)| head.number));
        }
        let mut state = self.lock();
        let ledger = &mut state.ledger;
        numbers.extend(ledger.unsent.iter().map(|unsent| unsent.number));
        numbers.extend(ledger.later.iter().map(|(_, unsent)| unsent.number));
        ledger.unsent.clear();
        ledger.later.clear();
        let chunks: Vec<_> = numbers.into_iter().filter_map(|number| ledger.take(number)).collect();
        drop(state);
        for chunk in chunks {
            chunk.fail_all(|index| TaskError::Cancelled { task: chunk.job.id(index) });
        }
        self.notify();
    }

    /// Nobody wants the results of a job any more; `running`: end it also in the middle.
    pub(crate) fn forget(&self, job: u64, running: bool) {
        let mut state = self.lock();
        let State { ledger, crew, .. } = &mut *state;
        let numbers = ledger.of_job(job);
        for (at, post) in crew.posts.iter_mut().enumerate().filter(|_| running) {
            let chunk = self.desks.desk(at).look().chunk;
            if let (Some(worker), Some(chunk)) = (&post.worker, chunk.filter(|chunk| numbers.contains(chunk))) {
                post.sentence = Some(Sentence::Cancelled { chunk });
                let _ = worker.kill();
            }
        }
        for number in &numbers {
            ledger.take(*number);
            self.desks.forget(*number);
        }
        ledger.unsent.retain(|unsent| !numbers.contains(&unsent.number));
        ledger.later.retain(|(_, unsent)| !numbers.contains(&unsent.number));
    }

    /// Ends the workers: those that are idle leave, the others are killed after `grace`.
    pub(crate) fn end(&self, grace: Duration) {
        if !self.is_ours() {
            return; // in a forked child they are the parent's
        }
        let mut state = self.lock();
        (state.closed, state.over) = (true, true);
        self.call_assistant(&state);
        let chunks = state.ledger.take_if(|_| true);
        let workers: Vec<_> = state.crew.posts.iter_mut().filter_map(|post| post.worker.take()).collect();
        drop(state);
        self.tasks.close();
        for chunk in chunks {
            chunk.fail_all(|index| TaskError::Cancelled { task: chunk.job.id(index) });
        }
        self.notify();
        let deadline = Deadline::after(clock::now_ns(), grace);
        for mut worker in workers {
            let left = Duration::from_nanos(deadline.remaining(clock::now_ns(), u64::MAX));
            let left_by_itself = !grace.is_zero() && !worker.join_timeout(left).is_err_and(|error| error.is_timeout());
            if !left_by_itself {
                let _ = worker.kill();
                let _ = worker.join_timeout(BURIAL);
            }
        }
    }
}

impl Help for Core {
    fn wait_until(&self, done: &mut dyn FnMut() -> bool, deadline: Deadline) -> bool {
        Core::wait_until(self, done, deadline)
    }

    fn is_assisted(&self) -> bool {
        let state = self.lock();
        state.assisted || state.over
    }

    fn cancel(&self, job: u64, running: bool) {
        self.forget(job, running);
        self.notify();
    }
}
