//! Jobs that outlive whoever works at them: `kill -9` any of these processes, as often as you like, this one too.
//!
//! ```text
//! cargo run --release --example job_queue                                # 200 jobs, 3 workers
//! cargo run --release --example job_queue -- --jobs 500 --workers 4      # kill them by hand: they say who they are
//! cargo run --release --example job_queue -- --kills 20                  # or let it kill its own workers
//! ```
//!
//! The queue lives in a named segment that stays until the work is done. A worker leases a job, writes down what came
//! out, and acknowledges it. Where it dies before that, the job goes to somebody else, and says how often it was tried. If
//! the program itself is killed, start it again: it goes on where it stopped. Two at a time share the work.

use mutirao::{Array, Error, Lifetime, Lock, LockError, Process, Queue, Segment, Value};
use std::time::Duration;

/// How far a job counts primes.
const UP_TO: u32 = 100_000;

/// What the programs share, found by name.
struct Shop {
    jobs: Queue<u32>,
    /// What came out of each job, and one more, so that 0 means nothing yet.
    results: Array<u64>,
    /// How often each job was acknowledged: once, or not at all when its worker died right behind it.
    acknowledged: Array<u64>,
}

impl Shop {
    /// Opens the shop; the first one puts the jobs there.
    fn open(segment: &Segment, count: usize) -> mutirao::Result<Self> {
        let shop = Self {
            jobs: Queue::open_or_create(segment, "jobs", count)?,
            results: Array::open_or_create(segment, "results", count)?,
            acknowledged: Array::open_or_create(segment, "acknowledged", count)?,
        };
        let is_filled = Value::<u32>::open_or_create(segment, "is filled", 0)?;
        let filling = Lock::open_or_create(segment, "filling")?;
        let _held = match filling.lock() {
            Ok(held) => held,
            // Somebody died in the midst of it. What is there is thrown away below, like any half of a filling.
            Err(LockError::OwnerDied(mut held)) => {
                held.mark_consistent();
                held
            }
            Err(LockError::Failed(error)) => return Err(error),
        };
        if is_filled.load() == 0 {
            while shop.jobs.try_recv().is_ok() {}
            (0..shop.results.len()).try_for_each(|job| shop.jobs.send(job as u32)).map_err(Error::from)?;
            is_filled.store(1)?;
        }
        Ok(shop)
    }
}

/// The number of primes below `limit`, the slow way.
fn primes_below(limit: u32) -> u64 {
    (2..limit).filter(|n| (2..).take_while(|d| d * d <= *n).all(|d| n % d != 0)).count() as u64
}

/// What a job is about: each has another answer.
fn limit_of(job: u32) -> u32 {
    UP_TO + 10 * job
}

/// A worker process: until the queue is closed and nothing is left in it.
fn work((jobs, results, acknowledged): (Queue<u32>, Array<u64>, Array<u64>)) {
    println!("worker {} begins", std::process::id());
    while let Ok(job) = jobs.lease() {
        let number = *job as usize;
        assert_eq!(acknowledged.get(number).unwrap(), 0, "job {number} came again after it was acknowledged");
        if job.attempt() > 1 {
            println!("worker {}: job {number}, attempt {}", std::process::id(), job.attempt());
        }
        results.set(number, 1 + primes_below(limit_of(*job))).unwrap();
        job.ack().unwrap();
        acknowledged.fetch_add(number, 1).unwrap();
    }
}

fn main() -> mutirao::Result<()> {
    mutirao::init();
    let (count, workers, mut kills) = (number("--jobs", 200), number("--workers", 3), number("--kills", 0));

    let name = "mutirao-job-queue";
    let segment = Segment::options().lifetime(Lifetime::Persistent).open_or_create(name, 16 << 20)?;
    let shop = Shop::open(&segment, count.max(1))?;
    let start = || Process::spawn(work, (shop.jobs.clone(), shop.results.clone(), shop.acknowledged.clone()));
    let mut team = (0..workers.max(1)).map(|_| start()).collect::<mutirao::Result<Vec<_>>>()?;

    // Until every job is done. Who died is replaced; what it had in hand comes back by itself.
    let mut deaths = 0;
    while let Err(error) = shop.jobs.wait_idle_timeout(Duration::from_millis(20)) {
        if !error.is_timeout() {
            return Err(error);
        }
        if kills > 0 {
            team[kills % workers.max(1)].kill()?;
            kills -= 1;
        }
        for worker in &mut team {
            if !worker.is_alive() {
                println!("worker {} {}", worker.pid(), worker.try_exit()?);
                deaths += 1;
                *worker = start()?;
            }
        }
    }
    shop.jobs.close();
    for worker in team {
        let _ = worker.join(); // killed at the very end, perhaps
    }

    let count = shop.results.len();
    for job in 0..count {
        assert_eq!(shop.results.get(job)?, 1 + primes_below(limit_of(job as u32)), "job {job} is lost");
        assert!(shop.acknowledged.get(job)? <= 1, "job {job} was acknowledged twice");
    }
    println!("{count} jobs done, each acknowledged once; {deaths} workers died meanwhile");
    match Segment::unlink(name) {
        Err(error) if !error.is_not_found() => Err(error), // another of this program was faster
        _ => Ok(()),
    }
}

/// The number behind a word of the command line.
fn number(word: &str, otherwise: usize) -> usize {
    let mut words = std::env::args().skip_while(|argument| argument != word).skip(1);
    words.next().and_then(|number| number.parse().ok()).unwrap_or(otherwise)
}
