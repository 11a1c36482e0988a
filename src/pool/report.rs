//! What the measured times say of the speed-up: how good it is, and what bounds it.

use core::fmt;
use core::time::Duration;

use crate::pool::stats::PoolStats;

/// What a pool's figures say of its speed-up. From [`Pool::report`](crate::Pool::report); an estimate, from the time that the tasks
/// took in the workers.
///
/// The sequential share is the experimentally determined one of Karp and Flatt (Communications of the ACM 33, 1990):
/// `(1/S - 1/p) / (1 - 1/p)` for a speed-up `S` by `p` workers. Whatever keeps workers from their tasks is in it: what the
/// parent does alone, sending, imbalance. The bound by it is Amdahl's (AFIPS 1967).
///
/// # Examples
///
/// ```
/// fn main() -> mutirao::Result<()> {
///     mutirao::init();
///     let pool = mutirao::Pool::builder().workers(2).build()?;
///     let work = |n: u64| (0..n).map(|n| (n as f64).sqrt()).sum::<f64>();
///     pool.map(work, vec![200_000; 20])?;
///     let report = pool.report();
///     assert!(report.tasks == 20 && report.speed_up > 0.0);
///     println!("{report}");
///     Ok(())
/// }
/// ```
#[derive(Clone, PartialEq, Debug)]
#[non_exhaustive]
pub struct Report {
    /// Workers.
    pub workers: usize,
    /// Tasks done.
    pub tasks: u64,
    /// Time in which tasks were out.
    pub elapsed: Duration,
    /// Time of the tasks themselves, all together: what one worker would need at least.
    pub work: Duration,
    /// `work` by `elapsed`.
    pub speed_up: f64,
    /// `speed_up` by workers.
    pub efficiency: f64,
    /// The share that was not parallel, measured (Karp and Flatt); `None` with one worker.
    pub sequential_share: Option<f64>,
    /// The speed-up that no number of workers exceeds with that share (Amdahl).
    pub amdahl_bound: Option<f64>,
    /// The longest task.
    pub longest_task: Duration,
    /// The speed-up that no number of workers exceeds because of the longest task.
    pub imbalance_bound: f64,
    /// What each task cost beside its own time: workers' time by tasks.
    pub overhead_per_task: Duration,
}

impl Report {
    pub(crate) fn of(stats: &PoolStats) -> Self {
        let workers = stats.workers.len();
        let work: Duration = stats.workers.iter().map(|worker| worker.busy).sum();
        Self::from_times(workers, stats.tasks, stats.elapsed, work, stats.longest_task)
    }

    fn from_times(workers: usize, tasks: u64, elapsed: Duration, work: Duration, longest_task: Duration) -> Self {
        let seconds = |time: Duration| time.as_secs_f64().max(1e-9);
        let (p, speed_up) = (workers as f64, seconds(work) / seconds(elapsed));
        let share = (1.0 / speed_up - 1.0 / p) / (1.0 - 1.0 / p);
        let sequential_share = (workers > 1).then(|| share.clamp(0.0, 1.0));
        let beside = (p * seconds(elapsed) - seconds(work)).max(0.0);
        Self {
            workers,
            tasks,
            elapsed,
            work,
            speed_up,
            efficiency: speed_up / p,
            sequential_share,
            amdahl_bound: sequential_share.map(|share| 1.0 / share.max(1e-9)),
            longest_task,
            imbalance_bound: seconds(work) / seconds(longest_task),
            overhead_per_task: Duration::from_secs_f64(beside / (tasks.max(1) as f64)),
        }
    }

    /// The speed-up by so many workers, by Amdahl's law with the measured share.
    pub fn expected(&self, workers: usize) -> f64 {
        let (share, p) = (self.sequential_share.unwrap_or(0.0), workers.max(1) as f64);
        (1.0 / (share + (1.0 - share) / p)).min(self.imbalance_bound)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { workers, tasks, elapsed, work, speed_up, longest_task, imbalance_bound, .. } = self;
        writeln!(f, "{tasks} tasks by {workers} workers: {work:.3?} of work in {elapsed:.3?}")?;
        writeln!(f, "  speed-up            {speed_up:.2} ({:.0} % of {workers})", 100.0 * self.efficiency)?;
        if let (Some(share), Some(bound)) = (self.sequential_share, self.amdahl_bound) {
            write!(f, "  sequential share    {:.2} % (Karp and Flatt)", 100.0 * share)?;
            match bound < 1000.0 {
                true => writeln!(f, "; never more than {bound:.1} times (Amdahl)")?,
                false => writeln!(f)?,
            }
        }
        writeln!(
            f,
            "  longest task        {longest_task:.3?}; never more than {imbalance_bound:.1} times because of it"
        )?;
        let twice = 2 * workers;
        writeln!(f, "  with {twice:>3} workers    {:.2} is to be expected", self.expected(twice))?;
        write!(f, "  overhead per task   {:.2?} of a worker's time", self.overhead_per_task)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(workers: usize, elapsed_ms: u64, work_ms: u64, longest_ms: u64) -> Report {
        let ms = Duration::from_millis;
        Report::from_times(workers, 10, ms(elapsed_ms), ms(work_ms), ms(longest_ms))
    }

    #[test]
    fn the_sequential_share_is_that_of_karp_and_flatt() {
        // Four workers, twice as fast: (1/2 - 1/4) / (1 - 1/4) = 1/3, so never more than three times.
        let half = report(4, 500, 1000, 100);
        assert!((half.sequential_share.unwrap() - 1.0 / 3.0).abs() < 1e-9);
        assert!((half.amdahl_bound.unwrap() - 3.0).abs() < 1e-9);
        assert!((half.expected(4) - 2.0).abs() < 1e-9, "Amdahl's law gives back what was measured");
        assert_eq!(half.overhead_per_task, Duration::from_millis(100));
        let whole = report(4, 250, 1000, 100);
        assert_eq!((whole.speed_up, whole.sequential_share), (4.0, Some(0.0)));
        assert_eq!(report(1, 100, 100, 10).sequential_share, None);
    }

    #[test]
    fn the_longest_task_bounds_the_speed_up() {
        let report = report(3, 300, 600, 300);
        assert!((report.imbalance_bound - 2.0).abs() < 1e-9);
        assert!(report.expected(100) <= 2.0 + 1e-9);
        assert!(report.to_string().contains("never more than 2.0 times because of it"), "{report}");
    }
}
