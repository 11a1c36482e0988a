use crate::received;
use mutirao::{Error, Lock, LockError, Value};
use std::thread;
use std::time::{Duration, Instant};

#[test]
fn one_holder_at_a_time() {
    let (lock, plain) = (Lock::new().unwrap(), Value::new(0_u64).unwrap());
    thread::scope(|scope| {
        for _ in 0..4 {
            let (lock, plain) = (Lock::attach(&received(lock.segment())).unwrap(), plain.clone());
            scope.spawn(move || {
                for _ in 0..5_000 {
                    let _guard = lock.lock().unwrap();
                    // Load and store apart: only the lock keeps them together.
                    plain.store(plain.load() + 1).unwrap();
                }
            });
        }
    });
    assert_eq!(plain.load(), 20_000);
}

#[test]
fn try_and_timeout_refuse_a_held_lock() {
    let lock = Lock::new().unwrap();
    let guard = lock.lock().unwrap();
    assert!(!guard.owner_died());
    assert!(lock.try_lock().unwrap_err().is_would_block());
    let began = Instant::now();
    let error = lock.lock_timeout(Duration::from_millis(30)).unwrap_err();
    assert!(error.is_timeout() && !error.is_owner_died());
    assert!(began.elapsed() >= Duration::from_millis(30));
    assert!(lock.lock_timeout(Duration::ZERO).unwrap_err().is_timeout());
    drop(guard);
    drop(lock.lock_timeout(Duration::ZERO).unwrap());
    assert!(lock.try_lock().is_ok());
}

#[test]
fn a_sleeper_wakes_when_the_lock_is_given_back() {
    let lock = Lock::new().unwrap();
    let guard = lock.lock().unwrap();
    thread::scope(|scope| {
        let waits = scope.spawn(|| drop(lock.lock().unwrap()));
        while !format!("{lock:?}").contains("has_waiters: true") {
            thread::yield_now();
        }
        drop(guard);
        waits.join().unwrap();
    });
}

#[test]
fn an_error_becomes_the_crates_error() {
    fn enter(lock: &Lock) -> mutirao::Result<()> {
        let _first = lock.lock()?;
        let _second = lock.try_lock()?;
        Ok(())
    }
    assert!(enter(&Lock::new().unwrap()).unwrap_err().is_would_block());
    let lock = Lock::new().unwrap();
    let _held = lock.lock().unwrap();
    let error = lock.try_lock().unwrap_err();
    assert!(error.failed().is_some_and(Error::is_would_block));
    assert!(matches!(error, LockError::Failed(_)));
    assert!(error.into_guard().is_none());
}

#[test]
fn debug_names_the_holder() {
    let lock = Lock::new().unwrap();
    assert!(format!("{lock:?}").contains("holder: None"));
    let _guard = lock.lock().unwrap();
    assert!(format!("{lock:?}").contains("holder: Some(#"));
}
