use crate::received;
use mutirao::{PERMITS_MAX, Semaphore};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

#[test]
fn no_more_than_its_permits_are_held() {
    let (semaphore, inside) = (Semaphore::new(3).unwrap(), AtomicU32::new(0));
    thread::scope(|scope| {
        for _ in 0..6 {
            let semaphore = Semaphore::attach(&received(semaphore.segment())).unwrap();
            let inside = &inside;
            scope.spawn(move || {
                for _ in 0..3_000 {
                    let _permit = semaphore.acquire().unwrap();
                    assert!(inside.fetch_add(1, Ordering::SeqCst) < 3);
                    inside.fetch_sub(1, Ordering::SeqCst);
                }
            });
        }
    });
    assert_eq!(semaphore.available(), 3);
}

#[test]
fn try_and_timeout_refuse_when_all_are_held() {
    let semaphore = Semaphore::new(1).unwrap();
    let permit = semaphore.try_acquire().unwrap();
    assert!(semaphore.try_acquire().unwrap_err().is_would_block());
    assert!(semaphore.try_acquire_owned().unwrap_err().is_would_block());
    assert!(semaphore.acquire_timeout(Duration::from_millis(5)).unwrap_err().is_timeout());
    drop(permit);
    assert!(semaphore.try_acquire().is_ok());
}

#[test]
fn a_permit_may_be_given_back_by_another_thread() {
    let semaphore = Semaphore::new(1).unwrap();
    let permit = semaphore.acquire_owned().unwrap();
    thread::spawn(move || drop(permit)).join().unwrap();
    let permit = semaphore.acquire().unwrap();
    thread::scope(|scope| {
        scope.spawn(move || drop(permit));
    });
    assert_eq!(semaphore.available(), 1);
}

#[test]
fn several_at_once_or_none() {
    let semaphore = Semaphore::new(4).unwrap();
    let one = semaphore.acquire().unwrap();
    assert!(semaphore.try_acquire_many(4).unwrap_err().is_would_block());
    assert_eq!(semaphore.available(), 3, "what was gathered is given back");
    assert!(semaphore.acquire_many_timeout(4, Duration::from_millis(5)).unwrap_err().is_timeout());
    assert_eq!(semaphore.available(), 3);
    drop(one);
    let all = semaphore.acquire_many(4).unwrap();
    assert_eq!((all.count(), semaphore.available()), (4, 0));
    drop(all);
    assert_eq!(semaphore.available(), 4);
}

#[test]
fn gatherers_do_not_wait_for_each_other() {
    let semaphore = Semaphore::new(4).unwrap();
    thread::scope(|scope| {
        for n in [2, 3, 4] {
            let semaphore = &semaphore;
            scope.spawn(move || (0..500).for_each(|_| drop(semaphore.acquire_many(n).unwrap())));
        }
    });
    assert_eq!(semaphore.available(), 4);
}

#[test]
fn permits_can_be_added_and_forgotten() {
    let semaphore = Semaphore::with_max(0, 3).unwrap();
    assert!(semaphore.try_acquire().unwrap_err().is_would_block());
    thread::scope(|scope| {
        let waits = scope.spawn(|| drop(semaphore.acquire().unwrap()));
        semaphore.add_permits(2).unwrap();
        waits.join().unwrap();
    });
    let error = semaphore.add_permits(2).unwrap_err();
    assert!(error.is_invalid() && error.to_string().contains("only 1 more"), "{error}");
    semaphore.acquire().unwrap().forget();
    assert_eq!(semaphore.available(), 1);
}

#[test]
fn impossible_numbers_are_refused() {
    assert!(Semaphore::new(0).unwrap_err().is_invalid());
    assert!(Semaphore::new(PERMITS_MAX + 1).unwrap_err().is_invalid());
    assert!(Semaphore::with_max(3, 2).unwrap_err().is_invalid());
    assert!(Semaphore::with_max(0, 0).unwrap_err().is_invalid());
    let semaphore = Semaphore::new(PERMITS_MAX).unwrap();
    assert_eq!(semaphore.available(), PERMITS_MAX);
    assert!(semaphore.acquire_many(0).unwrap_err().is_invalid());
    assert!(semaphore.try_acquire_many(PERMITS_MAX + 1).unwrap_err().is_invalid());
    assert!(mutirao::Lock::attach(semaphore.segment()).unwrap_err().is_wrong_type());
}

#[test]
fn debug_counts() {
    let semaphore = Semaphore::with_max(2, 5).unwrap();
    let _permit = semaphore.acquire().unwrap();
    assert_eq!(format!("{semaphore:?}"), "Semaphore { available: 1, held: 1, max: 5 }");
}
