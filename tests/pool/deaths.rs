//! Workers that die: their work is done by others, and of what kills its workers it is said what happened.

use mutirao::{Pool, TaskError, Value};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use crate::stage::{Mark, Watchdog, is_first, kill_self, two_workers};

#[test]
fn a_task_whose_worker_dies_is_tried_again() {
    let _watchdog = Watchdog::new("a_task_whose_worker_dies_is_tried_again");
    let mark = Mark::new("again");
    let pool = two_workers().build().unwrap();
    let once = |path: String| if is_first(&path) { kill_self() } else { "second time".to_owned() };
    assert_eq!(pool.submit(once, mark.path()).unwrap().wait().unwrap(), "second time");
}

#[test]
fn a_task_that_kills_its_workers_is_reported_and_stops_nobody() {
    let _watchdog = Watchdog::new("a_task_that_kills_its_workers_is_reported_and_stops_nobody");
    let pool = two_workers().build().unwrap();
    let poison = |n: u64| if n == 333 { kill_self() } else { n };
    for chunk in [1, 10, 1000] {
        for (n, result) in (0..).zip(pool.with_chunk_size(chunk).map_results(poison, 0..1000)) {
            match result {
                Ok(same) => assert_eq!(same, n),
                Err(TaskError::WorkerDied(post_mortem)) => {
                    assert_eq!((n, post_mortem.task.index), (333, 333));
                    assert_eq!((post_mortem.attempts, post_mortem.signal), (3, Some(9)));
                }
                Err(other) => panic!("{n}: {other}"),
            }
        }
    }
    assert_eq!(pool.submit(poison, 1).unwrap().wait().unwrap(), 1, "the pool goes on");
}

static LEDGER: OnceLock<mutirao::Array<u32>> = OnceLock::new();

#[test]
fn what_must_not_be_repeated_is_not() {
    let _watchdog = Watchdog::new("what_must_not_be_repeated_is_not");
    let counts = mutirao::Array::<u32>::new(1000).unwrap();
    let pool = two_workers().initializer(|counts| LEDGER.set(counts).unwrap(), counts.clone()).build().unwrap();
    let count = |n: u64| {
        LEDGER.get().unwrap().fetch_add(n as usize, 1).unwrap();
        if n % 100 == 7 { kill_self() } else { n }
    };
    for chunk in [1, 16] {
        counts.view(..).unwrap().iter().enumerate().for_each(|(n, _)| counts.set(n, 0).unwrap());
        let results = pool.at_most_once().with_chunk_size(chunk).map_results(count, 0..1000);
        for (n, result) in results.into_iter().enumerate() {
            assert_eq!(counts.get(n).unwrap(), 1, "call {n} of chunks of {chunk}");
            match result {
                Ok(same) => assert_eq!(same as usize, n),
                Err(TaskError::WorkerDied(post_mortem)) => assert_eq!(post_mortem.attempts, 1),
                Err(other) => panic!("{n}: {other}"),
            }
        }
    }
}

static PIDS: OnceLock<mutirao::Array<u32>> = OnceLock::new();

/// A thousand tasks while a random worker is killed all the time: all results are right, none is lost, none comes twice.
#[test]
fn no_task_is_lost_while_workers_are_killed() {
    let _watchdog = Watchdog::new("no_task_is_lost_while_workers_are_killed");
    let seed: u64 = std::env::var("MUTIRAO_SEED").map_or(1, |seed| seed.parse().unwrap());
    println!("MUTIRAO_SEED={seed}");
    let pids = mutirao::Array::<u32>::new(1000).unwrap();
    let pool = Pool::builder()
        .workers(3)
        .retries_after_death(1000)
        .initializer(|pids| PIDS.set(pids).unwrap(), pids.clone())
        .build()
        .unwrap();
    let over = Value::new(0_u32).unwrap();
    let killer = std::thread::spawn({
        let (over, pids) = (over.clone(), pids.clone());
        move || {
            let (mut random, mut kills) = (seed, 0_u64);
            while over.load() == 0 {
                std::thread::sleep(Duration::from_millis(10));
                random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                let pid = pids.get((random >> 33) as usize % 1000).unwrap();
                let is_ours = std::fs::read_to_string(format!("/proc/{pid}/status"))
                    .is_ok_and(|status| status.contains(&format!("PPid:\t{}\n", std::process::id())));
                if pid != 0 && is_ours {
                    let pid = rustix::process::Pid::from_raw(pid as i32).unwrap();
                    kills += u64::from(rustix::process::kill_process(pid, rustix::process::Signal::KILL).is_ok());
                }
            }
            kills
        }
    });
    let work = |n: u64| {
        PIDS.get().unwrap().set(n as usize, std::process::id()).unwrap();
        let started = Instant::now();
        while started.elapsed() < Duration::from_micros(500) {
            std::hint::spin_loop();
        }
        n * 3
    };
    for _ in 0..3 {
        assert_eq!(pool.map(work, 0..1000).unwrap(), (0..1000).map(|n| n * 3).collect::<Vec<_>>());
        let mut unordered: Vec<_> = pool.map_unordered(work, 0..1000).unwrap().map(|(n, r)| (n, r.unwrap())).collect();
        unordered.sort_unstable();
        assert_eq!(unordered, (0..1000).map(|n| (n, n * 3)).collect::<Vec<_>>());
    }
    // Where none is tried again, a task that was under way is told, once, with its attempt.
    let (before, mut told) = (pool.stats(), 0);
    for (n, result) in (0..).zip(pool.at_most_once().map_results(work, 0..1000)) {
        match result {
            Ok(result) => assert_eq!(result, n * 3),
            Err(TaskError::WorkerDied(post_mortem)) => {
                assert_eq!((post_mortem.task.index, post_mortem.attempts, post_mortem.signal), (n, 1, Some(9)));
                told += 1;
            }
            Err(other) => panic!("{n}: {other}"),
        }
    }
    let after = pool.stats();
    assert!(told <= after.deaths - before.deaths, "{told} of {after}");
    assert_eq!(after.retries, before.retries, "none is tried again");
    over.store(1).unwrap();
    let (kills, stats) = (killer.join().unwrap(), pool.stats());
    // Attempts are recorded: no more than one task is charged with a death, and nobody died but the killed.
    assert!(5 < stats.deaths && stats.deaths <= kills, "{kills} kills: {stats}");
    assert!(0 < stats.retries && stats.retries <= stats.deaths, "{stats}");
    assert!(stats.started > stats.deaths, "{stats}");
}

#[test]
fn a_task_that_takes_too_long_loses_its_worker_alone() {
    let _watchdog = Watchdog::new("a_task_that_takes_too_long_loses_its_worker_alone");
    let pool = two_workers().task_timeout(Duration::from_millis(50)).build().unwrap();
    let work = |n: u64| {
        if n == 5 {
            std::thread::sleep(Duration::from_secs(60));
        }
        n
    };
    for (n, result) in (0..).zip(pool.with_chunk_size(10).map_results(work, 0..100)) {
        match result {
            Ok(same) => assert_eq!(same, n),
            Err(error) => {
                assert!(matches!(error, TaskError::TimedOut { task, .. } if task.index == 5 && n == 5), "{error}")
            }
        }
    }
}

#[test]
fn workers_are_replaced_after_so_many_tasks() {
    let _watchdog = Watchdog::new("workers_are_replaced_after_so_many_tasks");
    let pool = two_workers().max_tasks_per_worker(10).chunk_size(5).build().unwrap();
    let mut pids = pool.map(|_: u32| std::process::id(), 0..100).unwrap();
    for chunk in pids.chunks(5) {
        assert!(chunk.iter().all(|pid| *pid == chunk[0]));
    }
    pids.sort_unstable();
    for pid in pids.chunk_by(|a, b| a == b) {
        assert!(pid.len() <= 10, "{} tasks in one worker", pid.len());
    }
}

fn own_pool_and_stay(path: String) {
    let pool = two_workers().build().unwrap();
    let pids = pool.with_chunk_size(1).map(
        |_: u32| {
            std::thread::sleep(Duration::from_millis(20));
            std::process::id()
        },
        0..10,
    );
    let pids: Vec<_> = pids.unwrap().iter().map(ToString::to_string).collect();
    std::fs::write(&path, pids.join(" ") + "\n").unwrap();
    pool.map(|_: u32| std::thread::sleep(Duration::from_secs(60)), 0..10).unwrap();
}

#[test]
fn workers_end_with_the_process_that_made_their_pool() {
    let _watchdog = Watchdog::new("workers_end_with_the_process_that_made_their_pool");
    let mark = Mark::new("orphans");
    let parent = mutirao::Process::spawn(own_pool_and_stay, mark.path()).unwrap();
    let pids = loop {
        match std::fs::read_to_string(mark.path()) {
            Ok(pids) if pids.ends_with('\n') => break pids,
            _ => std::thread::sleep(Duration::from_millis(5)),
        }
    };
    parent.kill().unwrap();
    assert!(parent.join().is_err());
    for pid in pids.split_whitespace() {
        while std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z ")) {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}
