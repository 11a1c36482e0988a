//! What is left of workers that were started and killed: nothing.

use mutirao::{Pool, Process};

use crate::stage::{Watchdog, kill_self};

/// Descriptors, children that nobody took away, names in shared memory.
fn belongings() -> (usize, Vec<String>, usize) {
    let descriptors = std::fs::read_dir("/proc/self/fd").unwrap().count();
    let threads = std::fs::read_dir("/proc/self/task").unwrap();
    let children = threads.filter_map(|thread| std::fs::read_to_string(thread.ok()?.path().join("children")).ok());
    let children = children.flat_map(|line| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>()).collect();
    (descriptors, children, std::fs::read_dir("/dev/shm").unwrap().count())
}

/// One worker for each task, and every third is killed in the middle of it.
fn churn(workers: u32) -> u64 {
    let pool = Pool::builder().workers(2).max_tasks_per_worker(1).retries_after_death(0).chunk_size(1).build().unwrap();
    let work = |n: u32| if n.is_multiple_of(3) { kill_self() } else { n };
    let results = pool.map_results(work, 0..workers);
    assert!((0..).zip(&results).all(|(n, result)| result.is_err() == u32::is_multiple_of(n, 3)));
    pool.stats().started
}

/// Alone in a process, where no other test opens anything.
fn churn_alone(workers: u32) -> u64 {
    churn(6); // what is made once is made here
    let before = belongings();
    let started = churn(workers);
    let after = belongings();
    assert_eq!((&before.0, &before.1), (&after.0, &after.1), "descriptors and children");
    assert!(after.1.is_empty(), "{:?}", after.1);
    started
}

/// The long form is 10 000: `MUTIRAO_WORKERS=10000 cargo test --release --test pool leftovers`.
#[test]
fn nothing_is_left_of_workers_that_were_killed() {
    let workers = std::env::var("MUTIRAO_WORKERS").map_or(100, |workers| workers.parse().unwrap());
    let _watchdog = (workers <= 1000).then(|| Watchdog::new("nothing_is_left_of_workers_that_were_killed"));
    let started = Process::spawn(churn_alone, workers).unwrap().join().unwrap();
    println!("{started} workers");
    assert!(started >= u64::from(workers));
}
