//! Limits that are reached in the middle: each task has a result or an error with its number, and the pool goes on when
//! there is room again.

use crate::copied::copy_program;
use mutirao::{Pool, Process, TaskError, Value};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use crate::future::block_on;
use crate::stage::{Watchdog, kill_self};

/// Leaves the hard limit, so that there can be room again.
fn limit(resource: Resource, current: Option<u64>) {
    let maximum = getrlimit(resource).maximum;
    setrlimit(resource, Rlimit { current, maximum }).unwrap();
}

fn sleepy(n: u64) -> u64 {
    std::thread::sleep(Duration::from_millis(2));
    n * 3
}

fn goes_on(pool: &Pool) {
    assert_eq!(pool.map(sleepy, 0..50).unwrap(), (0..50).map(|n| n * 3).collect::<Vec<_>>());
}

/// The memory of the pool that is made in it ends at 64 MiB.
fn in_little_memory(work: fn(())) {
    let little = Process::options().limit(mutirao::Resource::FileSize, 64 << 20);
    little.spawn(work, ()).unwrap().join().unwrap();
}

fn is_out_of_memory(error: &TaskError) -> bool {
    matches!(error, TaskError::NotPortable { why, .. } if why.contains("memory"))
}

#[test]
fn arguments_without_room_are_told_by_their_number() {
    let _watchdog = Watchdog::new("arguments_without_room_are_told_by_their_number");
    in_little_memory(|()| {
        let pool = Pool::builder().workers(2).build().unwrap();
        let len = |text: String| text.len();
        goes_on(&pool);
        let error = pool.submit(len, "x".repeat(80 << 20)).unwrap().wait().unwrap_err();
        assert!(is_out_of_memory(&error) && error.task().index == 0, "{error}");
        goes_on(&pool);
        // Among others: more in all than there is room for, and two that fit nowhere.
        let lens = (0..200_usize).map(|n| if n % 100 == 77 { 80 << 20 } else { n << 12 });
        for (n, result) in pool.map_results(len, lens.map(|len| "x".repeat(len))).into_iter().enumerate() {
            match result {
                Ok(len) => assert_eq!(len, n << 12),
                Err(error) => {
                    assert!(is_out_of_memory(&error), "{error}");
                    assert_eq!((error.task().index, n % 100), (n as u64, 77));
                }
            }
        }
        goes_on(&pool);
    });
}

#[test]
fn results_without_room_are_told_by_their_number() {
    let _watchdog = Watchdog::new("results_without_room_are_told_by_their_number");
    in_little_memory(|()| {
        let pool = Pool::builder().workers(2).build().unwrap();
        let grow = |len: usize| "x".repeat(len);
        let error = pool.submit(grow, 80 << 20).unwrap().wait().unwrap_err();
        assert!(is_out_of_memory(&error) && error.task().index == 0, "{error}");
        goes_on(&pool);
        // Among others, also in one chunk with them and with calls that fail: they alone are lost, and told so.
        fn len_of(n: usize) -> usize {
            if matches!(n, 12 | 77 | 79) { 80 << 20 } else { n << 12 }
        }
        let grow = |n: usize| match n {
            13 | 78 => panic!("no {n}"),
            n => "x".repeat(len_of(n)),
        };
        for chunk in [1, 10, 50] {
            let results = pool.with_chunk_size(chunk).map_results(grow, 0..100);
            for (n, result) in results.into_iter().enumerate() {
                match result {
                    Ok(text) => assert!(text.len() == n << 12 && !matches!(n, 12 | 13 | 77..80), "{n}"),
                    Err(TaskError::Panicked { task, .. }) => assert!(task.index == n as u64 && matches!(n, 13 | 78)),
                    Err(error) => {
                        assert!(is_out_of_memory(&error), "{error}");
                        assert!(error.task().index == n as u64 && matches!(n, 12 | 77 | 79), "{error}");
                    }
                }
            }
        }
        goes_on(&pool);
    });
}

static MADE: OnceLock<Value<u64>> = OnceLock::new();

/// What was given up because there were no workers is not done when there are some again.
fn without_workers(pool: &Pool, resource: Resource, few: u64, made: &Value<u64>, says: &str) {
    let before = getrlimit(resource).current;
    limit(resource, Some(few));
    // Those that are there do it.
    goes_on(pool);
    let (mut died, mut nobody) = (0, 0);
    let poison = |_: u64| -> () { kill_self() };
    let tasks: Vec<_> = (0..20).map(|n| pool.submit(poison, n).unwrap()).collect();
    for task in tasks {
        let id = task.id();
        match task.wait().unwrap_err() {
            TaskError::WorkerDied(post_mortem) => {
                assert_eq!((post_mortem.task, post_mortem.signal), (id, Some(9)));
                died += 1;
            }
            TaskError::NoWorkers { task, why } => {
                assert!(task == id && why.contains(says), "{why}");
                nobody += 1;
            }
            other => panic!("{other}"),
        }
    }
    assert!(nobody > 0, "{died} died");
    let was = made.load();
    let count = |n: u64| MADE.get().map(|made| made.fetch_add(n)).is_some();
    for (n, result) in (0..).zip(pool.map_results(count, (0..100).map(|_| 1))) {
        let error = result.unwrap_err();
        assert!(
            matches!(&error, TaskError::NoWorkers { task, why } if task.index == n && why.contains(says)),
            "{error}"
        );
    }
    limit(resource, before);
    goes_on(pool);
    assert_eq!(made.load(), was);
    let stats = pool.stats();
    assert!(stats.deaths > 0 && stats.started >= stats.deaths, "{stats}");
}

fn counting(workers: usize) -> (Pool, Value<u64>) {
    let made = Value::new(0_u64).unwrap();
    let pool = Pool::builder().workers(workers).initializer(|made| MADE.set(made).unwrap(), made.clone());
    (pool.build().unwrap(), made)
}

#[test]
fn no_descriptors_in_the_middle() {
    let _watchdog = Watchdog::new("no_descriptors_in_the_middle");
    let work = |workers: usize| {
        let (pool, made) = counting(workers);
        for _ in 0..2 {
            without_workers(&pool, Resource::Nofile, 3, &made, "ulimit -n");
        }
    };
    for workers in [1, 4] {
        Process::spawn(work, workers).unwrap().join().unwrap();
    }
}

#[test]
fn no_processes_in_the_middle() {
    let _watchdog = Watchdog::new("no_processes_in_the_middle");
    // A number that nobody else has: the limit counts what a user has on the whole machine.
    let user = 50_000 + std::process::id() % 5_000;
    let work = |(user, workers): (u32, usize)| {
        // SAFETY: numbers only; all threads of this process get the number.
        if unsafe { libc::setresuid(user, user, user) } != 0 {
            return false;
        }
        let (pool, made) = counting(workers);
        // Nor is there a thread that moves the pool while nobody waits: whoever polls does.
        let before = getrlimit(Resource::Nproc).current;
        limit(Resource::Nproc, Some(1));
        assert_eq!(block_on(pool.submit(sleepy, 5).unwrap()).unwrap(), 15);
        assert_eq!(block_on(async { pool.submit(sleepy, 6).unwrap().await }).unwrap(), 18);
        limit(Resource::Nproc, before);
        for _ in 0..2 {
            without_workers(&pool, Resource::Nproc, 1, &made, "ulimit -u");
        }
        true
    };
    for workers in [1, 4] {
        let user = user + 5_000 * (workers == 4) as u32;
        if !Process::spawn(work, (user, workers)).unwrap().join().unwrap() {
            return eprintln!("only the superuser can try this");
        }
    }
}

/// Where a copy of this program finds that it is one.
const COPY: &str = "MUTIRAO_TEST_POOL_COPY";

/// A role: it is run by a copy of this program.
#[test]
fn role_of_a_copy_that_may_not_be_executed() {
    if std::env::var_os(COPY).is_none() {
        return;
    }
    let program = std::env::current_exe().unwrap();
    let allow = |mode| std::fs::set_permissions(&program, std::fs::Permissions::from_mode(mode)).unwrap();
    let pool = Pool::builder().workers(2).name("copied").build().unwrap();
    goes_on(&pool);
    for mode in [0o600, 0o644] {
        allow(mode);
        assert!(Pool::builder().workers(2).build().unwrap_err().is_denied());
        goes_on(&pool);
        // Both workers die of these, and nobody can take their places.
        let poison = |_: u64| -> () { kill_self() };
        for (n, result) in (0..).zip(pool.with_chunk_size(1).map_results(poison, 0..20)) {
            let error = result.unwrap_err();
            assert_eq!(error.task().index, n);
            match error {
                TaskError::WorkerDied(post_mortem) => assert_eq!(post_mortem.signal, Some(9)),
                TaskError::NoWorkers { why, .. } => assert!(why.contains("copied"), "{why}"),
                other => panic!("{other}"),
            }
        }
        let error = pool.map(sleepy, 0..10).unwrap_err();
        assert!(matches!(error, TaskError::NoWorkers { .. }), "{error}");
        allow(0o700);
        goes_on(&pool);
    }
    println!("done");
}

#[test]
fn no_permission_to_execute_in_the_middle() {
    let _watchdog = Watchdog::new("no_permission_to_execute_in_the_middle");
    let copy = std::env::temp_dir().join(format!("mutirao-pool-copy-{}", std::process::id()));
    copy_program(&copy);
    let role = ["--exact", "limits::role_of_a_copy_that_may_not_be_executed", "--nocapture"];
    let output = Command::new(&copy).args(role).env(COPY, "1").output();
    std::fs::remove_file(&copy).unwrap();
    let output = output.unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("done"), "{said}{}", String::from_utf8_lossy(&output.stderr));
}

/// Others go on meanwhile.
fn there_and_back(len: usize) {
    let pool = Pool::builder().workers(2).build().unwrap();
    let task = pool.submit(|text: String| text, "x".repeat(len)).unwrap();
    goes_on(&pool);
    match task.wait() {
        Ok(text) => assert_eq!(text.len(), len),
        Err(error) => {
            assert!(is_out_of_memory(&error), "{error}");
        }
    }
    goes_on(&pool);
}

/// The long form is a gigabyte, and needs eight of memory: `MUTIRAO_MEGABYTES=1024`.
#[test]
fn a_hundred_megabytes_travel() {
    let _watchdog = Watchdog::new("a_hundred_megabytes_travel");
    there_and_back(std::env::var("MUTIRAO_MEGABYTES").map_or(100, |number| number.parse().unwrap()) << 20);
}
