//! Somebody died holding something, and whoever recovers it dies too; and those who are woken from a sleep.

use crate::operations;
use mutirao::testing::{Killed, begin, end};
use mutirao::{Array, Lock, LockError, Mutex, Plain, Process, Queue, RwLock, Segment, Semaphore, Value};
use serde::{Serialize, de::DeserializeOwned};
use std::time::Duration;

/// More than anybody has to wait, less than for ever.
const PATIENCE: Duration = Duration::from_secs(10);

/// A process does `f` and dies before it gives anything back.
fn leave_a_death<S: Serialize + DeserializeOwned>(stage: S, f: fn(S)) {
    assert!(Process::spawn(f, stage).unwrap().join().is_err());
}

fn die() {
    std::process::abort();
}

/// Does `f` on another thread while this one goes on; it is told when that one is about to sleep.
fn soon(f: impl FnOnce() + Send + 'static) {
    std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(3));
        f();
    });
}

fn enter(lock: &Lock) {
    match lock.lock_timeout(PATIENCE) {
        Ok(_guard) => {}
        Err(LockError::OwnerDied(mut guard)) => guard.mark_consistent(),
        Err(LockError::Failed(error)) => panic!("{error}"),
    }
}

fn is_free(lock: &Lock, _: Killed) {
    enter(lock);
    drop(lock.try_lock().unwrap());
}

fn jobs() -> Queue<Plain<u64>> {
    Queue::options().capacity(2).leases(2).create().unwrap()
}

fn jobs_are_whole(jobs: &Queue<Plain<u64>>) {
    while let Ok(job) = jobs.lease_timeout(Duration::from_millis(100)) {
        assert_eq!(job.ack().unwrap().0, 7);
    }
    jobs.wait_idle_timeout(PATIENCE).unwrap();
    (0..2).for_each(|_| jobs.send_timeout(Plain(7), PATIENCE).unwrap());
    (0..2).for_each(|_| assert_eq!(jobs.recv_timeout(PATIENCE).unwrap().0, 7));
}

operations! {
    recover_lock: || Lock::new().unwrap(),
        |lock| {
            leave_a_death(lock.clone(), |lock| { let _held = lock.lock(); die() });
            begin();
            enter(&lock);
            end();
        },
        is_free;
    recover_mutex: || Mutex::new([0_u64; 4]).unwrap(),
        |mutex| {
            leave_a_death(mutex.clone(), |mutex| { let mut held = mutex.lock().unwrap(); held[0] = 1; die() });
            begin();
            mutex.lock().unwrap().iter_mut().for_each(|word| *word += 1);
            end();
        },
        |mutex, _| {
            let now = *mutex.lock_timeout(PATIENCE).unwrap();
            assert!(now.iter().all(|word| *word == now[0]), "{now:?}");
        };
    recover_permits: || Semaphore::new(2).unwrap(),
        |semaphore| {
            leave_a_death(semaphore.clone(), |semaphore| { let _held = semaphore.acquire_many(2); die() });
            begin();
            drop(semaphore.acquire_many(2).unwrap());
            end();
        },
        |semaphore, _| drop(semaphore.acquire_many_timeout(2, PATIENCE).unwrap());
    recover_reader: || RwLock::new(0_u64).unwrap(),
        |lock| {
            leave_a_death(lock.clone(), |lock| { let _held = lock.read(); die() });
            begin();
            *lock.write().unwrap() += 1;
            end();
        },
        |lock, _| { drop(lock.read_timeout(PATIENCE).unwrap()); *lock.write_timeout(PATIENCE).unwrap() += 1; };
    recover_range: || Array::<u32>::new(8).unwrap(),
        |array| {
            leave_a_death(array.clone(), |array| { let _held = array.write(2..6); die() });
            begin();
            if let Err(LockError::OwnerDied(mut guard)) = array.write(4..8) {
                guard.mark_consistent().unwrap();
            }
            end();
        },
        |array, _| {
            // What was not declared whole is still said to be damaged; then it is whole for good.
            let taken = array.write_timeout(.., PATIENCE);
            if let Err(LockError::OwnerDied(mut guard)) = taken {
                guard.mark_consistent().unwrap();
            }
            drop(array.try_write(..).unwrap());
        };
    recover_lease: jobs,
        |jobs| {
            jobs.send(Plain(7)).unwrap();
            leave_a_death(jobs.clone(), |jobs| { let _held = jobs.lease(); die() });
            begin();
            jobs.lease().unwrap().ack().unwrap();
            end();
        },
        |jobs, _| jobs_are_whole(jobs);
    recover_sender: || Queue::<Plain<u64>>::new(2).unwrap(),
        |queue| {
            leave_a_death(queue.clone(), |queue| { let _half = queue.sender(); die() });
            begin();
            assert!(queue.recv().is_err_and(|e| e.is_disconnected()));
            end();
        },
        |queue, _| assert!(queue.recv_timeout(PATIENCE).is_err_and(|e| e.is_disconnected()));
    recover_objects: || Segment::options().objects(2).anonymous(256 << 10).unwrap(),
        |shop| {
            leave_a_death(shop.clone(), |shop| {
                let _held = Array::<u64>::create(&shop, "large", 9000).unwrap();
                die();
            });
            begin();
            shop.remove("large").unwrap();
            drop(Array::<u64>::new_in(&shop, 15_000).unwrap());
            end();
        },
        |shop, _| {
            match shop.remove("large") {
                Ok(()) => {}
                Err(error) => assert!(error.is_not_found(), "{error}"),
            }
            // Most of the memory, in one piece: it is there only if nothing is lost.
            drop(Array::<u64>::new_in(shop, 20_000).unwrap());
        };
    woken_lock: || Lock::new().unwrap(),
        |lock| {
            let (other, (tell, told)) = (lock.clone(), std::sync::mpsc::channel());
            std::thread::spawn(move || {
                let guard = other.lock().unwrap();
                tell.send(()).unwrap();
                std::thread::sleep(Duration::from_millis(3));
                drop(guard);
            });
            told.recv().unwrap();
            begin();
            drop(lock.lock());
            end();
        },
        is_free;
    woken_recv: || Queue::<Plain<u64>>::new(2).unwrap(),
        |queue| {
            let other = queue.clone();
            soon(move || other.send(Plain(7)).unwrap());
            begin();
            queue.recv().unwrap();
            end();
        },
        |queue, _| {
            while queue.recv_timeout(Duration::from_millis(20)).is_ok() {}
            (0..2).for_each(|_| queue.send_timeout(Plain(7), PATIENCE).unwrap());
            (0..2).for_each(|_| assert_eq!(queue.recv_timeout(PATIENCE).unwrap().0, 7));
        };
    woken_send: || { let queue = Queue::<Plain<u64>>::new(1).unwrap(); queue.send(Plain(7)).unwrap(); queue },
        |queue| {
            let other = queue.clone();
            soon(move || drop(other.recv()));
            begin();
            queue.send(Plain(7)).unwrap();
            end();
        },
        |queue, _| {
            while queue.recv_timeout(Duration::from_millis(20)).is_ok() {}
            queue.send_timeout(Plain(7), PATIENCE).unwrap();
            assert!(queue.is_full());
        };
    woken_semaphore: || Semaphore::new(1).unwrap(),
        |semaphore| {
            let permit = semaphore.clone().acquire_owned().unwrap();
            soon(move || drop(permit));
            begin();
            drop(semaphore.acquire().unwrap());
            end();
        },
        |semaphore, _| drop(semaphore.acquire_timeout(PATIENCE).unwrap());
    semaphore_timed_out: || Semaphore::new(1).unwrap(),
        |semaphore| {
            let permit = semaphore.acquire().unwrap();
            begin();
            assert!(semaphore.acquire_timeout(Duration::from_millis(2)).is_err_and(|e| e.is_timeout()));
            end();
            drop(permit);
        },
        |semaphore, _| drop(semaphore.acquire_timeout(PATIENCE).unwrap());
    queue_close: || (Queue::<Plain<u64>>::new(2).unwrap(), Value::new(0_u64).unwrap()),
        |(queue, _)| { begin(); queue.close(); end() },
        |(queue, closed), killed| {
            // Closed once is closed for good; what was sent before is there.
            assert!(queue.is_closed() || killed != Killed::After && closed.load() == 0);
            closed.store(u64::from(queue.is_closed())).unwrap();
            match queue.send_timeout(Plain(7), PATIENCE) {
                Ok(()) => assert_eq!(queue.recv_timeout(PATIENCE).unwrap().0, 7),
                Err(error) => assert!(error.is_closed() && queue.recv_timeout(PATIENCE).is_err_and(|e| e.is_closed())),
            }
        };
    array_fill: || Array::<u32>::new(64).unwrap(),
        |array| { let next = array.get(0).unwrap() + 1; begin(); array.fill(next).unwrap(); end() },
        |array, killed| {
            // Each element old or new, a prefix of them new.
            let now: Vec<u32> = array.view(..).unwrap().iter().collect();
            assert!(now.windows(2).all(|w| w[0] >= w[1]) && now[0] - now[63] <= 1, "{now:?}");
            assert!(killed != Killed::After || now[0] == now[63]);
            array.fill(now[0]).unwrap();
        };
}
