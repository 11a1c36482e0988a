//! The same program on processes, on threads, and on neither.

use mutirao::{Executor, Inline, TaskError, Threads};
use std::time::Duration;

use crate::stage::{Watchdog, two_workers};

fn behaves(executor: &impl Executor) {
    let square = |n: u64| n * n;
    assert_eq!(executor.submit(square, 12).unwrap().wait().unwrap(), 144);
    assert_eq!(executor.map(square, 0..10_000).unwrap(), (0..10_000).map(square).collect::<Vec<_>>());
    assert_eq!(executor.map(square, []).unwrap(), []);
    assert_eq!(executor.map_reduce(square, |a, b| a + b, 0..1000).unwrap(), Some((0..1000).map(square).sum()));
    let odd = |n: u64| if n.is_multiple_of(2) { panic!("{n} is even") } else { n };
    for (n, result) in (0..).zip(executor.map_results(odd, 0..100)) {
        match result {
            Ok(same) => assert_eq!(same, n),
            Err(error) => assert!(
                matches!(&error, TaskError::Panicked { task, message, .. }
                if task.index == n && *message == format!("{n} is even")),
                "{error}"
            ),
        }
    }
    assert_eq!(executor.map(odd, 1..10).unwrap_err().task().index, 1);
    let tasks: Vec<_> = (0..20).map(|n| executor.submit(square, n).unwrap()).collect();
    let mut done: Vec<_> =
        mutirao::as_completed(tasks).map(|(which, result)| (which as u64, result.unwrap())).collect();
    done.sort_unstable();
    assert_eq!(done, (0..20).map(|n| (n, n * n)).collect::<Vec<_>>());
    assert!(executor.workers() >= 1);
}

#[test]
fn backends_behave_the_same() {
    let _watchdog = Watchdog::new("backends_behave_the_same");
    behaves(&Inline);
    behaves(&Threads::with(2));
    behaves(&Threads::default());
    behaves(&two_workers().build().unwrap());
}

static THREADS: std::sync::LazyLock<Threads> = std::sync::LazyLock::new(|| Threads::with(1));

fn tree(depth: u32) -> u64 {
    match depth {
        0 => 1,
        depth => THREADS.map(tree, [depth - 1; 3]).unwrap().iter().sum(),
    }
}

#[test]
fn tasks_on_threads_may_wait_for_others() {
    let _watchdog = Watchdog::new("tasks_on_threads_may_wait_for_others");
    assert_eq!(THREADS.submit(tree, 5).unwrap().wait().unwrap(), 243);
}

#[test]
fn threads_end_with_their_last_handle() {
    let _watchdog = Watchdog::new("threads_end_with_their_last_handle");
    let threads = Threads::with(1);
    let sleep = |ms| std::thread::sleep(Duration::from_millis(ms));
    let tasks: Vec<_> = (0..5).map(|_| threads.submit(sleep, 100).unwrap()).collect();
    let cancelled = threads.submit(sleep, 60_000).unwrap();
    assert!(cancelled.cancel());
    drop(threads);
    let ended: Vec<_> = tasks.into_iter().map(mutirao::Task::wait).collect();
    assert!(ended.iter().all(|result| result.as_ref().err().is_none_or(TaskError::is_cancelled)));
    assert!(ended.last().unwrap().is_err());
}
