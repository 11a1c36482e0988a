//! What comes back, in which order, with which errors.

use mutirao::{Pool, TaskError};
use std::sync::OnceLock;
use std::sync::mpsc::channel;
use std::time::Duration;

use crate::stage::{Watchdog, two_workers};

fn square(n: u64) -> u64 {
    n * n
}

#[test]
fn a_submitted_call_returns_its_result() {
    let _watchdog = Watchdog::new("a_submitted_call_returns_its_result");
    let pool = two_workers().build().unwrap();
    let tasks: Vec<_> = (0..100).map(|n| pool.submit(square, n).unwrap()).collect();
    for (n, task) in (0..).zip(tasks) {
        assert_eq!(task.wait().unwrap(), n * n);
    }
    let text = pool.submit(|(word, times): (String, usize)| word.repeat(times), ("olá".into(), 3)).unwrap();
    assert_eq!(text.wait().unwrap(), "oláoláolá");
}

#[test]
fn map_keeps_the_order_of_the_items() {
    let _watchdog = Watchdog::new("map_keeps_the_order_of_the_items");
    let pool = two_workers().build().unwrap();
    let squares: Vec<u64> = (0..100_000).map(square).collect();
    assert_eq!(pool.map(square, 0..100_000).unwrap(), squares);
    for chunk in [1, 7, 100_000] {
        assert_eq!(pool.with_chunk_size(chunk).map(square, 0..3000).unwrap(), squares[..3000]);
    }
    assert_eq!(pool.map(square, []).unwrap(), []);
    assert_eq!(pool.map(|()| (), vec![(); 1000]).unwrap().len(), 1000);
}

#[test]
fn results_are_taken_from_items_without_end() {
    let _watchdog = Watchdog::new("results_are_taken_from_items_without_end");
    let pool = two_workers().in_flight(50).build().unwrap();
    let squares: Vec<_> = pool.map_iter(square, 0..).unwrap().take(1000).map(Result::unwrap).collect();
    assert_eq!(squares, (0..1000).map(square).collect::<Vec<_>>());
    let mut unordered: Vec<_> = pool.map_unordered(square, 0..).unwrap().take(1000).collect();
    unordered.sort_by_key(|(n, _)| *n);
    for (n, result) in unordered {
        assert_eq!(result.unwrap(), n * n);
    }
}

#[test]
fn no_more_than_so_many_are_out() {
    let _watchdog = Watchdog::new("no_more_than_so_many_are_out");
    let pool = two_workers().in_flight(10).build().unwrap();
    let asked = std::cell::Cell::new(0_u64);
    let items = (0..).inspect(|_| asked.set(asked.get() + 1));
    let mut results = pool.map_iter(square, items).unwrap();
    for taken in 1..200 {
        results.next().unwrap().unwrap();
        assert!(asked.get() <= taken + 10 + 5, "{} were asked for when {taken} were taken", asked.get());
    }
}

#[test]
fn folds_are_made_in_the_workers() {
    let _watchdog = Watchdog::new("folds_are_made_in_the_workers");
    let pool = two_workers().build().unwrap();
    let add = |a: u64, b: u64| a + b;
    assert_eq!(pool.map_reduce(square, add, 0..10_000).unwrap(), Some((0..10_000).map(square).sum()));
    assert_eq!(pool.map_reduce(square, add, []).unwrap(), None);
    // Where a chunk ends changes a sum of floats; where it is said, it is the same each time.
    let root = |n: u64| (n as f64).sqrt();
    let pool = pool.with_chunk_size(100);
    let sums: Vec<_> = (0..5).map(|_| pool.map_reduce(root, |a, b| a + b, 0..50_000).unwrap().unwrap()).collect();
    assert!(sums.iter().all(|sum| sum.to_bits() == sums[0].to_bits()), "{sums:?}");
}

#[test]
fn a_panic_is_told_with_its_place() {
    let _watchdog = Watchdog::new("a_panic_is_told_with_its_place");
    let pool = two_workers().build().unwrap();
    let error = pool.submit(|n: u32| if n == 3 { panic!("not {n}") } else { n }, 3).unwrap().wait().unwrap_err();
    let TaskError::Panicked { message, location, attempts, .. } = error else { panic!("{error}") };
    assert_eq!((message.as_str(), attempts), ("not 3", 1));
    assert!(location.unwrap().contains("results.rs"));
    // Of many, the others have their results.
    let each = pool.map_results(|n: u32| if n % 10 == 3 { panic!("not {n}") } else { n }, 0..1000);
    for (n, result) in (0..).zip(each) {
        match result {
            Ok(same) => assert_eq!(same, n),
            Err(error) => assert!(n % 10 == 3 && error.to_string().contains(&format!("not {n}")), "{n}: {error}"),
        }
    }
    let first = pool.map(|n: u32| if n > 500 { panic!("not {n}") } else { n }, 0..1000).unwrap_err();
    assert_eq!(first.task().index, 501);
}

#[test]
fn a_failure_is_tried_again_where_that_was_asked_for() {
    let _watchdog = Watchdog::new("a_failure_is_tried_again_where_that_was_asked_for");
    let pool = two_workers().retries(3, Duration::from_millis(1)).build().unwrap();
    let count = mutirao::Segment::create(&format!("retries-{}", std::process::id()), 1 << 20).unwrap();
    let tries = mutirao::Value::<u32>::create(&count, "tries", 0).unwrap();
    let third = |tries: mutirao::Value<u32>| match tries.fetch_add(1) {
        2 => Ok("third time".to_owned()),
        n => Err(format!("try {n}")),
    };
    assert_eq!(pool.try_submit(third, tries.clone()).unwrap().wait().unwrap(), "third time");
    let never = pool.try_map(|n: u32| if n == 7 { Err("never") } else { Ok(n) }, 0..100).unwrap_err();
    let TaskError::Failed { task, message, attempts } = never else { panic!("{never}") };
    assert_eq!((task.index, message.as_str(), attempts), (7, "never", 4));
    let once = pool.at_most_once().try_submit(|()| Err::<(), _>("once"), ()).unwrap().wait().unwrap_err();
    assert!(matches!(once, TaskError::Failed { attempts: 1, .. }), "{once}");
}

static FACTOR: OnceLock<mutirao::Value<u64>> = OnceLock::new();

#[test]
fn each_worker_is_initialised_once() {
    let _watchdog = Watchdog::new("each_worker_is_initialised_once");
    let factor = mutirao::Value::new(7_u64).unwrap();
    let pool = two_workers().initializer(|factor| FACTOR.set(factor).unwrap(), factor.clone()).build().unwrap();
    let times = |n: u64| n * FACTOR.get().unwrap().load();
    assert_eq!(pool.map(times, 0..1000).unwrap(), (0..1000).map(|n| n * 7).collect::<Vec<_>>());
    factor.store(8).unwrap();
    assert_eq!(pool.submit(times, 2).unwrap().wait().unwrap(), 16);
}

#[test]
fn a_result_may_be_waited_for_in_every_way() {
    let _watchdog = Watchdog::new("a_result_may_be_waited_for_in_every_way");
    let pool = two_workers().build().unwrap();
    let mut slow = pool.submit(|ms| std::thread::sleep(Duration::from_millis(ms)), 200).unwrap();
    assert!(slow.wait_timeout(Duration::from_millis(1)).is_none());
    assert!(!slow.is_done());
    let (send, told) = channel();
    slow.on_done(move |result| send.send(result.is_ok()).unwrap());
    assert!(told.recv().unwrap(), "told without anybody who waits");
    assert_eq!(slow.wait_timeout(Duration::from_secs(60)), Some(Ok(())));
    assert!(slow.is_done() && slow.wait_timeout(Duration::ZERO).is_none(), "it is handed out once");
    let task = pool.submit(square, 5).unwrap();
    let (send, woken) = channel();
    struct Wake(std::sync::Mutex<std::sync::mpsc::Sender<()>>);
    impl std::task::Wake for Wake {
        fn wake(self: std::sync::Arc<Self>) {
            self.0.lock().unwrap().send(()).unwrap();
        }
    }
    let waker = std::task::Waker::from(std::sync::Arc::new(Wake(std::sync::Mutex::new(send))));
    let mut task = std::pin::pin!(task);
    loop {
        match task.as_mut().poll(&mut std::task::Context::from_waker(&waker)) {
            std::task::Poll::Ready(result) => break assert_eq!(result.unwrap(), 25),
            std::task::Poll::Pending => woken.recv().unwrap(),
        }
    }
}

use std::future::Future;

#[test]
fn threads_may_use_a_pool_together() {
    let _watchdog = Watchdog::new("threads_may_use_a_pool_together");
    let pool = two_workers().build().unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let pool = &pool;
            scope.spawn(move || {
                let from = thread * 1000;
                assert_eq!(
                    pool.map(square, from..from + 500).unwrap(),
                    (from..from + 500).map(square).collect::<Vec<_>>()
                );
                for n in 0..50 {
                    assert_eq!(pool.submit(square, n).unwrap().wait().unwrap(), n * n);
                }
            });
        }
    });
}

#[test]
fn a_pool_ends_as_it_was_told_to() {
    let _watchdog = Watchdog::new("a_pool_ends_as_it_was_told_to");
    let sleep = |ms| std::thread::sleep(Duration::from_millis(ms));
    let pool = two_workers().build().unwrap();
    let tasks: Vec<_> = (0..10).map(|_| pool.submit(sleep, 10).unwrap()).collect();
    pool.join().unwrap();
    assert!(tasks.into_iter().all(|task| task.wait().is_ok()), "all was done");
    assert!(pool.submit(sleep, 1).unwrap_err().is_closed());

    let pool = two_workers().build().unwrap();
    let tasks: Vec<_> = (0..10).map(|_| pool.submit(sleep, 60_000).unwrap()).collect();
    pool.terminate(Duration::from_millis(10));
    assert!(tasks.into_iter().all(|task| task.wait().unwrap_err().is_cancelled()));

    let pool = two_workers().build().unwrap();
    let task = pool.submit(sleep, 60_000).unwrap();
    drop(pool);
    assert!(task.wait().unwrap_err().is_cancelled());
}

#[test]
fn cancelled_tasks_are_not_waited_for() {
    let _watchdog = Watchdog::new("cancelled_tasks_are_not_waited_for");
    let pool = Pool::builder().workers(1).build().unwrap();
    let sleep = |ms| std::thread::sleep(Duration::from_millis(ms));
    let forever = pool.submit(sleep, 60_000).unwrap();
    let waits = pool.submit(sleep, 60_000).unwrap();
    assert!(waits.cancel() && !waits.cancel());
    assert!(waits.wait().unwrap_err().is_cancelled());
    std::thread::sleep(Duration::from_millis(50)); // it may have begun by now, or not: both end
    assert!(forever.cancel_running());
    assert!(forever.wait().unwrap_err().is_cancelled());
}
