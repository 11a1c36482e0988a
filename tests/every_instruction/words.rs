//! Value, Array, Lock, Mutex, Semaphore: what is a word or two.

use crate::operations;
use mutirao::testing::{Killed, begin, end};
use mutirao::{Array, Lock, LockError, Mutex, Semaphore, Value};
use std::time::Duration;

/// More than a survivor ever needs, less than for ever.
const PATIENCE: Duration = Duration::from_secs(10);

type Wide = [u64; 6];

/// Every word the same: whole. The survivor sees old or new, and can store after it.
fn is_whole(value: Wide) -> bool {
    value.iter().all(|word| *word == value[0])
}

fn enter(lock: &Lock) -> bool {
    match lock.lock_timeout(PATIENCE) {
        Ok(_guard) => false,
        Err(LockError::OwnerDied(mut guard)) => {
            guard.mark_consistent();
            true
        }
        Err(LockError::Failed(error)) => panic!("{error}"),
    }
}

operations! {
    value_fetch_add: || (Value::new(0_u64).unwrap(), Value::new(0_u64).unwrap()),
        |(value, _)| { begin(); value.fetch_add(1); end() },
        |(value, confirmed), killed| {
            // An addition that was over is there; one that was not is there once or not at all.
            let (now, known) = (value.load(), confirmed.load());
            assert!(now == known + 1 || now == known && killed != Killed::After, "{now} after {known}");
            confirmed.store(now).unwrap();
        };
    value_compare_exchange: || (Value::new(0_u64).unwrap(), Value::new(0_u64).unwrap()),
        |(value, _)| { let now = value.load(); begin(); value.compare_exchange(now, now + 1).unwrap(); end() },
        |(value, confirmed), killed| {
            let (now, known) = (value.load(), confirmed.load());
            assert!(now == known + 1 || now == known && killed != Killed::After, "{now} after {known}");
            confirmed.store(now).unwrap();
        };
    value_store_wide: || Value::<Wide>::new([0; 6]).unwrap(),
        |value| { let next = value.load()[0] + 1; begin(); value.store([next; 6]).unwrap(); end() },
        |value, _| {
            let now = value.load();
            assert!(is_whole(now), "{now:?}");
            value.store([now[0] + 10; 6]).unwrap();
            assert_eq!(value.load(), [now[0] + 10; 6]);
        };
    value_load_wide: || Value::<Wide>::new([0; 6]).unwrap(),
        |value| { begin(); value.load(); end() },
        |value, _| assert!(is_whole(value.load()));
    value_update_wide: || Value::<Wide>::new([0; 6]).unwrap(),
        |value| { begin(); value.update(|now| now.map(|word| word + 1)).unwrap(); end() },
        |value, _| {
            assert!(is_whole(value.load()));
            value.update(|now| now.map(|word| word + 1)).unwrap();
        };
    value_guard_commit: || Value::<Wide>::new([0; 6]).unwrap(),
        |value| { begin(); { let mut guard = value.lock().unwrap(); guard.iter_mut().for_each(|word| *word += 1); } end() },
        |value, _| {
            assert!(is_whole(value.load()));
            *value.lock_timeout(PATIENCE).unwrap() = [7; 6];
        };
    array_set_wide: || Array::<Wide>::new(4).unwrap(),
        |array| { let next = array.get(2).unwrap()[0] + 1; begin(); array.set(2, [next; 6]).unwrap(); end() },
        |array, _| {
            assert!(is_whole(array.get(2).unwrap()) && array.get(1).unwrap() == [0; 6]);
            array.set(2, [9; 6]).unwrap();
        };
    array_fetch_add: || Array::<u32>::new(4).unwrap(),
        |array| { begin(); array.fetch_add(3, 1).unwrap(); end() },
        |array, _| assert!(array.get(2).unwrap() == 0 && array.fetch_add(3, 1).is_ok());
    lock_and_unlock: || Lock::new().unwrap(),
        |lock| { begin(); drop(lock.lock().unwrap()); end() },
        |lock, killed| assert!(!enter(lock) || killed != Killed::After);
    lock_try_lock: || Lock::new().unwrap(),
        |lock| { begin(); let guard = lock.try_lock().unwrap(); end(); drop(guard) },
        |lock, killed| assert!(enter(lock) || killed != Killed::After);
    lock_timed_out: || (Lock::new().unwrap(), Lock::new().unwrap()),
        |(lock, _)| {
            let held = lock.lock().unwrap();
            begin();
            assert!(lock.lock_timeout(Duration::from_millis(2)).is_err_and(|e| e.is_timeout()));
            end();
            drop(held);
        },
        |(lock, _), _| { enter(lock); };
    mutex_update: || Mutex::<Wide>::new([0; 6]).unwrap(),
        |mutex| { begin(); { let mut guard = mutex.lock().unwrap(); guard.iter_mut().for_each(|word| *word += 1); } end() },
        |mutex, _| {
            let mut guard = mutex.lock_timeout(PATIENCE).unwrap();
            assert!(is_whole(*guard), "{:?}", *guard);
            guard.iter_mut().for_each(|word| *word += 1);
        };
    semaphore_acquire_and_release: || Semaphore::new(2).unwrap(),
        |semaphore| { begin(); drop(semaphore.acquire().unwrap()); end() },
        |semaphore, _| drop(semaphore.acquire_many_timeout(2, PATIENCE).unwrap());
    semaphore_acquire_many: || Semaphore::new(3).unwrap(),
        |semaphore| { begin(); drop(semaphore.acquire_many(3).unwrap()); end() },
        |semaphore, _| drop(semaphore.acquire_many_timeout(3, PATIENCE).unwrap());
}
