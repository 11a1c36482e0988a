//! Results as they come, and tasks that fail in every way: `cargo run --example futures`.

use mutirao::{Pool, TaskError, as_completed};
use std::time::Duration;

/// Takes as long as it says; the fourth panics, and the sixth brings down its process.
fn work(n: u64) -> u64 {
    std::thread::sleep(Duration::from_millis(20 * (10 - n)));
    match n {
        3 => panic!("three is not a good number"),
        5 => std::process::abort(),
        n => n * 10,
    }
}

fn main() -> mutirao::Result<()> {
    mutirao::init();
    let pool = Pool::builder().workers(4).retries_after_death(1).build()?;
    let tasks = (0..10).map(|n| pool.submit(work, n)).collect::<Result<Vec<_>, _>>()?;
    let mut results = [None; 10];
    for (n, result) in as_completed(tasks) {
        match result {
            Ok(result) => {
                println!("task {n}: {result}");
                results[n] = Some(result);
            }
            Err(error @ TaskError::Panicked { .. }) => {
                println!("task {n}: {error}");
                assert_eq!(n, 3);
            }
            Err(TaskError::WorkerDied(post_mortem)) => {
                println!("task {n}: {post_mortem}");
                assert_eq!((n, post_mortem.attempts, post_mortem.signal), (5, 2, Some(6)));
            }
            Err(other) => return Err(other.into()),
        }
    }
    let expected = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9].map(|n| (n != 3 && n != 5).then_some(n * 10));
    assert_eq!(results, expected);

    // The pool goes on; a slow task can be given up.
    let slow = pool.submit(|ms| std::thread::sleep(Duration::from_millis(ms)), 60_000)?;
    assert!(slow.cancel_running());
    assert!(slow.wait().is_err_and(|error| error.is_cancelled()));
    println!("eight results, one panic, one death, one cancelled");
    Ok(())
}
