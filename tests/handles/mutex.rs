use crate::received;
use mutirao::Mutex;
use std::thread;
use std::time::Duration;

#[test]
fn changes_of_all_threads_are_kept() {
    let mutex = Mutex::new([0_u64; 6]).unwrap();
    thread::scope(|scope| {
        for _ in 0..4 {
            let mutex = Mutex::<[u64; 6]>::attach(&received(mutex.segment())).unwrap();
            scope.spawn(move || {
                for _ in 0..5_000 {
                    mutex.lock().unwrap().iter_mut().for_each(|n| *n += 1);
                }
            });
        }
    });
    assert_eq!(*mutex.lock().unwrap(), [20_000; 6]);
}

#[test]
fn a_panic_discards_and_gives_the_lock_back() {
    let mutex = Mutex::new(5_u32).unwrap();
    let panicked = std::panic::catch_unwind(|| {
        let mut guard = mutex.lock().unwrap();
        *guard = 6;
        panic!("on purpose");
    });
    assert!(panicked.is_err());
    let guard = mutex.try_lock().unwrap();
    assert_eq!((*guard, guard.previous_died()), (5, false));
}

#[test]
fn a_guard_taken_while_a_panic_unwinds_commits() {
    struct Closes<'a>(&'a Mutex<u32>);
    impl Drop for Closes<'_> {
        fn drop(&mut self) {
            *self.0.lock().unwrap() += 1;
        }
    }
    let mutex = Mutex::new(0_u32).unwrap();
    let panicked = std::panic::catch_unwind(|| {
        let _closes = Closes(&mutex);
        panic!("on purpose");
    });
    assert!(panicked.is_err());
    assert_eq!(*mutex.lock().unwrap(), 1);
}

#[test]
fn discard_leaves_the_value() {
    let mutex = Mutex::new(1_u8).unwrap();
    let mut guard = mutex.lock().unwrap();
    *guard = 2;
    guard.discard();
    assert_eq!(*mutex.lock().unwrap(), 1);
}

#[test]
fn try_and_timeout_refuse_a_held_mutex() {
    let mutex = Mutex::new(()).unwrap();
    let guard = mutex.lock().unwrap();
    assert!(mutex.try_lock().unwrap_err().is_would_block());
    assert!(mutex.lock_timeout(Duration::from_millis(5)).unwrap_err().is_timeout());
    drop(guard);
    assert!(mutex.try_lock().is_ok());
}

#[test]
fn another_type_is_refused() {
    let mutex = Mutex::new(1_u64).unwrap();
    assert!(Mutex::<i64>::attach(mutex.segment()).unwrap_err().is_wrong_type());
    assert!(mutirao::Value::<u64>::attach(mutex.segment()).unwrap_err().is_wrong_type());
}

#[test]
fn debug_shows_state_and_not_bytes() {
    let mutex = Mutex::new(123_456_789_u64).unwrap();
    let text = format!("{mutex:?}");
    assert!(text.contains("holder: None") && !text.contains("123456789"), "{text}");
}
