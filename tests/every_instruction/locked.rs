//! RwLock, and ranges of an Array.

use crate::operations;
use mutirao::testing::{Killed, begin, end};
use mutirao::{Array, LockError, RwLock};
use std::time::Duration;

/// More than a survivor ever needs, less than for ever.
const PATIENCE: Duration = Duration::from_secs(10);

type Wide = [u64; 6];

fn is_whole(value: Wide) -> bool {
    value.iter().all(|word| *word == value[0])
}

/// A survivor writes and reads.
fn goes_on(lock: &RwLock<Wide>) {
    let before = *lock.read_timeout(PATIENCE).unwrap();
    assert!(is_whole(before), "{before:?}");
    let mut guard = lock.write_timeout(PATIENCE).unwrap();
    *guard = before.map(|word| word + 1);
    drop(guard);
    let after = lock.read_timeout(PATIENCE).unwrap();
    assert_eq!((*after, after.previous_died()), (before.map(|word| word + 1), false));
}

/// A survivor repairs the middle if it is told that it must. Whether it was told.
fn repairs(array: &Array<u32>) -> bool {
    let told = match array.write_timeout(2..6, PATIENCE) {
        Ok(guard) => {
            let view = guard.view().unwrap();
            assert!(view.iter().all(|n| Some(n) == view.load(0)), "half changed, and nobody said so");
            false
        }
        Err(LockError::OwnerDied(mut guard)) => {
            guard.fill(1).unwrap();
            guard.mark_consistent().unwrap();
            true
        }
        Err(LockError::Failed(error)) => panic!("{error}"),
    };
    assert!(array.write_timeout(.., PATIENCE).is_ok(), "nothing else is damaged");
    told
}

operations! {
    rw_lock_read_and_drop: || RwLock::<Wide>::new([0; 6]).unwrap(),
        |lock| { begin(); drop(lock.read().unwrap()); end() },
        |lock, _| goes_on(lock);
    rw_lock_read_for_ever: || RwLock::<Wide>::new([0; 6]).unwrap(),
        |lock| { begin(); std::mem::forget(lock.read().unwrap()); end() },
        |lock, _| goes_on(lock);
    rw_lock_write: || (RwLock::<Wide>::new([0; 6]).unwrap(), RwLock::new(0_u64).unwrap()),
        |(lock, _)| {
            let next = lock.read().unwrap()[0] + 1;
            begin();
            *lock.write().unwrap() = [next; 6];
            end()
        },
        |(lock, confirmed), killed| {
            let (now, known) = (*lock.read_timeout(PATIENCE).unwrap(), *confirmed.read().unwrap());
            assert!(now[0] == known + 1 || now[0] == known && killed != Killed::After, "{now:?} after {known}");
            goes_on(lock);
            *confirmed.write().unwrap() = now[0] + 1;
        };
    range_read: || Array::<u32>::new(8).unwrap(),
        |array| { begin(); drop(array.read(2..6).unwrap()); end() },
        |array, _| assert!(!repairs(array), "a reader damages nothing");
    range_write: || Array::<u32>::new(8).unwrap(),
        |array| {
            let next = array.get(2).unwrap() + 1;
            begin();
            array.write(2..6).unwrap().fill(next).unwrap();
            end()
        },
        |array, killed| {
            let told = repairs(array);
            assert!(!(told && killed == Killed::After), "it had given the range back");
        };
    rw_lock_read_timed_out: || RwLock::<Wide>::new([0; 6]).unwrap(),
        |lock| {
            let writer = lock.write().unwrap();
            begin();
            assert!(lock.read_timeout(Duration::from_millis(2)).is_err_and(|e| e.is_timeout()));
            end();
            drop(writer);
        },
        |lock, _| goes_on(lock);
    rw_lock_write_timed_out: || RwLock::<Wide>::new([0; 6]).unwrap(),
        |lock| {
            let reader = lock.read().unwrap();
            begin();
            assert!(lock.write_timeout(Duration::from_millis(2)).is_err_and(|e| e.is_timeout()));
            end();
            drop(reader);
        },
        |lock, _| goes_on(lock);
    range_read_timed_out: || Array::<u32>::new(8).unwrap(),
        |array| {
            let writer = array.write(2..6).unwrap();
            begin();
            assert!(array.read_timeout(4.., Duration::from_millis(2)).is_err_and(|e| e.is_timeout()));
            end();
            drop(writer);
        },
        |array, _| _ = repairs(array);
}
