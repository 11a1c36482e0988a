//! How far a job is.

use core::fmt;
use core::time::Duration;
use std::sync::Arc;

use crate::sys::clock;

/// How often somebody is told.
const EVERY_NS: u64 = 100_000_000;

/// How far a job is: what [`progress`](crate::PoolBuilder::progress) is told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Progress {
    /// The how manieth job of its pool.
    pub job: u64,
    /// Tasks that have a result or an error.
    pub done: u64,
    /// Tasks in all, where that is known.
    pub total: Option<u64>,
    /// Time since the job began.
    pub elapsed: Duration,
}

impl Progress {
    /// The time until all is done, at the pace so far.
    pub fn left(&self) -> Option<Duration> {
        let left = self.total?.checked_sub(self.done)?;
        (self.done != 0).then(|| self.elapsed.mul_f64(left as f64 / self.done as f64))
    }
}

/// Whoever wants to know.
#[derive(Clone)]
pub(crate) struct Audience(pub(crate) Arc<dyn Fn(&Progress) + Send + Sync>);

impl fmt::Debug for Audience {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Audience")
    }
}

/// Tells of one job, now and then and at its end.
pub(crate) struct Teller {
    audience: Option<Audience>,
    job: u64,
    since_ns: u64,
    told_ns: u64,
    told: Option<u64>,
}

impl Teller {
    pub(crate) fn new(audience: Option<Audience>, job: u64) -> Self {
        let now_ns = clock::now_ns();
        Self { audience, job, since_ns: now_ns, told_ns: now_ns, told: None }
    }

    pub(crate) fn tell(&mut self, done: u64, total: Option<u64>, is_over: bool) {
        let Some(audience) = &self.audience else { return };
        let now_ns = clock::now_ns();
        let is_due = now_ns.saturating_sub(self.told_ns) >= EVERY_NS || is_over;
        if !is_due || self.told == Some(done) {
            return;
        }
        (self.told_ns, self.told) = (now_ns, Some(done));
        let elapsed = Duration::from_nanos(now_ns.saturating_sub(self.since_ns));
        audience.0(&Progress { job: self.job, done, total, elapsed });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_follows_the_pace() {
        let progress = Progress { job: 1, done: 25, total: Some(100), elapsed: Duration::from_secs(10) };
        assert_eq!(progress.left(), Some(Duration::from_secs(30)));
        assert_eq!(Progress { done: 0, ..progress }.left(), None);
        assert_eq!(Progress { total: None, ..progress }.left(), None);
    }
}
