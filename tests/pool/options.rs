//! What a pool can be told when it is made, and what it tells.

use mutirao::{Array, Pool, TaskError, Value};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::stage::{Watchdog, two_workers};

fn spin(us: u64) -> u64 {
    let started = std::time::Instant::now();
    while started.elapsed() < Duration::from_micros(us) {
        std::hint::spin_loop();
    }
    us
}

#[test]
fn handles_to_shared_segments_travel_in_arguments_and_results() {
    let _watchdog = Watchdog::new("handles_to_shared_segments_travel_in_arguments_and_results");
    let (counts, total) = (Array::<u64>::new(10).unwrap(), Value::new(0_u64).unwrap());
    let pool = two_workers().share(counts.segment()).share(total.segment()).build().unwrap();
    let count = |(counts, total, n): (Array<u64>, Value<u64>, usize)| {
        counts.fetch_add(n % 10, 1).unwrap();
        total.fetch_add(1);
        total
    };
    let items: Vec<_> = (0..100).map(|n| (counts.clone(), total.clone(), n)).collect();
    let totals = pool.map(count, items).unwrap();
    assert!(totals.iter().all(|total| total.load() == 100));
    assert_eq!(counts.view(..).unwrap().iter().collect::<Vec<_>>(), [10; 10]);
    // One that is not shared can not travel, and it is said how it could.
    let alone = Value::new(0_u64).unwrap();
    let error = pool.submit(|value: Value<u64>| value.load(), alone).unwrap_err();
    assert!(error.to_string().contains("share(handle.segment())"), "{error}");
}

#[test]
fn a_pool_may_be_made_in_a_worker() {
    let _watchdog = Watchdog::new("a_pool_may_be_made_in_a_worker");
    let pool = two_workers().build().unwrap();
    let inner = |n: u64| {
        let own = Value::new(0_u64).unwrap();
        let pool = Pool::builder().workers(100).share(own.segment()).build().unwrap();
        let add = |(own, n): (Value<u64>, u64)| own.fetch_add(n);
        pool.map(add, (0..n).map(|n| (own.clone(), n))).unwrap();
        (own.load(), pool.workers())
    };
    let processors = std::thread::available_parallelism().unwrap().get();
    for (n, (sum, workers)) in (0..6).zip(pool.with_chunk_size(1).map(inner, 0..6).unwrap()) {
        assert_eq!(sum, (0..n).sum());
        assert!(workers <= (processors / 2).max(1), "{workers} workers in a worker");
    }
}

fn nest(depth: u64) -> String {
    match Pool::builder().workers(1).build() {
        Ok(pool) => pool.submit(nest, depth + 1).unwrap().wait().unwrap_or_else(|error| error.to_string()),
        Err(error) if error.is_invalid() => format!("refused at depth {depth}"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn pools_in_pools_without_end_are_refused() {
    let _watchdog = Watchdog::new("pools_in_pools_without_end_are_refused");
    assert_eq!(nest(0), "refused at depth 8");
}

#[test]
fn workers_stand_where_they_were_told_to() {
    let _watchdog = Watchdog::new("workers_stand_where_they_were_told_to");
    if std::thread::available_parallelism().unwrap().get() < 2 {
        return;
    }
    let cpus = |us: u64| {
        spin(us);
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap().trim().to_owned()
    };
    let pool = two_workers().affinity([0, 1]).chunk_size(1).build().unwrap();
    let mut seen = pool.map(cpus, [20_000; 20]).unwrap();
    seen.sort();
    seen.dedup();
    assert_eq!(seen, ["0", "1"]);
}

#[test]
fn libraries_are_told_how_many_threads_to_start() {
    let _watchdog = Watchdog::new("libraries_are_told_how_many_threads_to_start");
    let pool = two_workers().threads_per_worker(3).env("MUTIRAO_TEST", "x").name("grinder").build().unwrap();
    let look = |name: String| std::env::var(name).unwrap_or_default();
    let names = ["OMP_NUM_THREADS", "RAYON_NUM_THREADS", "MUTIRAO_TEST"].map(str::to_owned);
    assert_eq!(pool.map(look, names).unwrap(), ["3", "3", "x"]);
    let comm = |()| std::fs::read_to_string("/proc/self/comm").unwrap();
    assert!(pool.submit(comm, ()).unwrap().wait().unwrap().starts_with("grinder-"));
}

#[test]
fn a_worker_beyond_its_memory_is_reported_as_that() {
    let _watchdog = Watchdog::new("a_worker_beyond_its_memory_is_reported_as_that");
    let pool = two_workers().memory_limit(200 << 20).retries_after_death(0).build().unwrap();
    let take = |bytes: usize| vec![1_u8; bytes].iter().map(|byte| u64::from(*byte)).sum::<u64>();
    assert_eq!(pool.submit(take, 1 << 20).unwrap().wait().unwrap(), 1 << 20);
    let error = pool.submit(take, 1 << 30).unwrap().wait().unwrap_err();
    let TaskError::WorkerDied(post_mortem) = error else { panic!("{error}") };
    assert!(post_mortem.out_of_memory, "{post_mortem}");
    assert_eq!(pool.submit(take, 1 << 20).unwrap().wait().unwrap(), 1 << 20);
}

#[test]
fn progress_is_told_to_the_end() {
    let _watchdog = Watchdog::new("progress_is_told_to_the_end");
    let told = Arc::new(Mutex::new(Vec::new()));
    let pool = two_workers().progress({
        let told = told.clone();
        move |progress| told.lock().unwrap().push((progress.done, progress.total))
    });
    pool.build().unwrap().map(spin, [1000; 500]).unwrap();
    let told = told.lock().unwrap();
    assert_eq!(told.last(), Some(&(500, Some(500))));
    assert!(told.windows(2).all(|pair| pair[0].0 <= pair[1].0), "{told:?}");
}

#[test]
fn figures_add_up() {
    let _watchdog = Watchdog::new("figures_add_up");
    let pool = two_workers().build().unwrap();
    pool.map(spin, [1000; 100]).unwrap();
    let stats = pool.stats();
    assert_eq!((stats.tasks, stats.deaths, stats.retries), (100, 0, 0));
    let busy: Duration = stats.workers.iter().map(|worker| worker.busy).sum();
    assert!(busy >= Duration::from_millis(100), "{stats}");
    assert!(stats.longest_task >= Duration::from_millis(1), "{stats}");
    let report = pool.report();
    assert!(report.speed_up > 0.0 && report.speed_up <= 2.001, "{report}");
    assert!(report.imbalance_bound <= 100.001, "{report}");
    pool.reset_stats();
    assert_eq!(pool.stats().tasks, 0);
    let poison = |n: u32| if n == 5 { std::process::abort() } else { n };
    assert_eq!(pool.map_results(poison, 0..10).iter().filter(|result| result.is_err()).count(), 1);
    assert_eq!((pool.stats().deaths, pool.stats().retries), (3, 2));
}

#[test]
fn the_last_lines_of_a_worker_survive_it() {
    let _watchdog = Watchdog::new("the_last_lines_of_a_worker_survive_it");
    let pool = two_workers().retries_after_death(0).build().unwrap();
    let work = |n: u64| -> u64 {
        for line in 0..n {
            mutirao::log_line(format!("line {line}"));
        }
        std::process::abort()
    };
    let TaskError::WorkerDied(post_mortem) = pool.submit(work, 2000).unwrap().wait().unwrap_err() else {
        panic!("it did not die")
    };
    let expected: Vec<_> = (1990..2000).map(|line| format!("line {line}")).collect();
    assert_eq!(post_mortem.last_log_lines, expected);
}

#[test]
fn tasks_are_taken_as_they_are_done() {
    let _watchdog = Watchdog::new("tasks_are_taken_as_they_are_done");
    let pool = two_workers().build().unwrap();
    let tasks: Vec<_> = (0..50).map(|n| pool.submit(spin, 50 - n).unwrap()).collect();
    let mut which: Vec<_> = mutirao::as_completed(tasks).map(|(which, result)| (which, result.unwrap())).collect();
    which.sort_unstable();
    assert_eq!(which, (0..50).map(|n| (n, 50 - n as u64)).collect::<Vec<_>>());
    let other = two_workers().build().unwrap();
    let sleep = |ms| std::thread::sleep(Duration::from_millis(ms));
    let tasks = [pool.submit(sleep, 60_000).unwrap(), other.submit(sleep, 1).unwrap()];
    assert_eq!(mutirao::wait_any(&tasks), Some(1));
    assert_eq!(mutirao::wait_any::<()>(&[]), None);
}
