//! Readers and writers of a `RwLock` and of an array's ranges, killed while they hold them.

use mutirao::{Array, LockError, Process, RwLock};
use std::path::PathBuf;

use crate::roles::{kill, stay, watchdog};
use crate::stage::{Meeting, report_to};

#[test]
fn a_killed_reader_keeps_no_writer_out() {
    let lock = RwLock::new([1_u64; 4]).unwrap();
    let _watchdog = watchdog("a_killed_reader_keeps_no_writer_out", &[lock.segment()]);
    let (first, second) = (Meeting::new("rw-reader"), Meeting::new("rw-writer"));
    let read = |(lock, path): (RwLock<[u64; 4]>, PathBuf)| {
        let _guards = (lock.read().unwrap(), lock.read().unwrap());
        stay(path, "here")
    };
    let reader = Process::spawn(read, (lock.clone(), first.path())).unwrap();
    let _stream = first.next();
    assert!(lock.try_write().unwrap_err().is_would_block());
    assert!(lock.try_read().is_ok());
    // One who waits already, and one who comes afterwards.
    let write = |(lock, path): (RwLock<[u64; 4]>, PathBuf)| {
        let _stream = report_to(path, "about to wait");
        let mut guard = lock.write().unwrap();
        guard[0] += 1;
        guard.previous_died()
    };
    let writer = Process::spawn(write, (lock.clone(), second.path())).unwrap();
    let _stream = second.next();
    kill(reader);
    assert!(!writer.join().unwrap(), "no writer died");
    assert_eq!(*lock.try_write().unwrap(), [2, 1, 1, 1]);
}

#[test]
fn a_killed_writer_leaves_the_last_commit() {
    let lock = RwLock::new([1_u64; 8]).unwrap();
    let _watchdog = watchdog("a_killed_writer_leaves_the_last_commit", &[lock.segment()]);
    let meeting = Meeting::new("rw-last");
    let write = |(lock, path): (RwLock<[u64; 8]>, PathBuf)| {
        *lock.write().unwrap() = [2; 8];
        let mut guard = lock.write().unwrap();
        *guard = [3; 8];
        stay(path, "here")
    };
    let writer = Process::spawn(write, (lock.clone(), meeting.path())).unwrap();
    let _stream = meeting.next();
    assert!(lock.try_read().unwrap_err().is_would_block());
    kill(writer);
    for _ in 0..2 {
        let guard = lock.read().unwrap();
        assert_eq!((*guard, guard.previous_died()), ([2; 8], true));
    }
    let guard = lock.write().unwrap();
    assert_eq!((*guard, guard.previous_died()), ([2; 8], true));
    drop(guard);
    assert!(!lock.read().unwrap().previous_died() && !lock.write().unwrap().previous_died());
}

#[test]
fn a_sleeping_reader_survives_the_writer() {
    let lock = RwLock::new(1_u32).unwrap();
    let _watchdog = watchdog("a_sleeping_reader_survives_the_writer", &[lock.segment()]);
    let (first, second) = (Meeting::new("rw-hold"), Meeting::new("rw-sleep"));
    let write = |(lock, path): (RwLock<u32>, PathBuf)| {
        let _guard = lock.write().unwrap();
        stay(path, "here")
    };
    let writer = Process::spawn(write, (lock.clone(), first.path())).unwrap();
    let _stream = first.next();
    let read = |(lock, path): (RwLock<u32>, PathBuf)| {
        let _stream = report_to(path, "about to wait");
        *lock.read().unwrap()
    };
    let reader = Process::spawn(read, (lock, second.path())).unwrap();
    let _stream = second.next();
    kill(writer);
    assert_eq!(reader.join().unwrap(), 1);
}

#[test]
fn the_range_of_a_killed_writer_is_damaged_until_it_is_repaired() {
    let array = Array::<u64>::new(100).unwrap();
    let _watchdog = watchdog("the_range_of_a_killed_writer_is_damaged_until_it_is_repaired", &[array.segment()]);
    let meeting = Meeting::new("range-writer");
    let work = |(array, path): (Array<u64>, PathBuf)| {
        let mut guard = array.write(10..30).unwrap();
        guard.set(0, 9).unwrap();
        stay(path, "here")
    };
    let child = Process::spawn(work, (array.clone(), meeting.path())).unwrap();
    let _stream = meeting.next();
    assert!(array.try_read(29..31).unwrap_err().is_would_block());
    assert!(array.try_write(30..).is_ok() && array.try_write(..10).is_ok());
    kill(child);
    for _ in 0..2 {
        // It stays so until somebody says that it is right again; elsewhere nothing happened.
        assert!(matches!(array.read(..), Err(LockError::OwnerDied(_))));
        assert!(matches!(array.write(29..40), Err(LockError::OwnerDied(_))));
        assert!(array.read(30..).is_ok());
    }
    let mut guard = array.write(10..20).unwrap_err().into_guard().unwrap();
    assert_eq!((guard.get(0).unwrap(), guard.owner_died()), (9, true));
    guard.fill(0).unwrap();
    guard.mark_consistent().unwrap();
    assert!(!guard.owner_died());
    drop(guard);
    assert!(array.read(..20).is_ok());
    assert!(array.read(15..21).unwrap_err().is_owner_died(), "the other half was not repaired");
    array.write(..).unwrap_err().into_guard().unwrap().mark_consistent().unwrap();
    drop(array.write(..).unwrap());
}

#[test]
fn the_range_of_a_killed_reader_is_free() {
    let array = Array::<u8>::new(10).unwrap();
    let _watchdog = watchdog("the_range_of_a_killed_reader_is_free", &[array.segment()]);
    let (first, second) = (Meeting::new("range-reader"), Meeting::new("range-waiter"));
    let read = |(array, path): (Array<u8>, PathBuf)| {
        let _guard = array.read(..).unwrap();
        stay(path, "here")
    };
    let reader = Process::spawn(read, (array.clone(), first.path())).unwrap();
    let _stream = first.next();
    let write = |(array, path): (Array<u8>, PathBuf)| {
        let _stream = report_to(path, "about to wait");
        array.write(2..4).unwrap().fill(7).unwrap();
    };
    let writer = Process::spawn(write, (array.clone(), second.path())).unwrap();
    let _stream = second.next();
    kill(reader);
    writer.join().unwrap();
    assert_eq!(array.write(..).unwrap().view().unwrap().iter().sum::<u8>(), 14);
}

/// Processes that are killed at any moment while they read, write and repair; a survivor does all three.
#[test]
fn readers_and_writers_are_killed_at_any_moment() {
    type Both = (RwLock<[u64; 4]>, Array<u64>);
    let (lock, array) = (RwLock::new([0_u64; 4]).unwrap(), Array::<u64>::new(8).unwrap());
    let _watchdog = watchdog("readers_and_writers_are_killed_at_any_moment", &[lock.segment()]);
    fn turn((lock, array): &Both, n: u64) {
        lock.write().unwrap().iter_mut().for_each(|word| *word += 1);
        let seen = lock.read().unwrap();
        assert!(seen.iter().all(|word| *word == seen[0]), "torn: {seen:?}");
        drop(seen);
        let start = 2 * (n % 3) as usize;
        let mut guard = match array.write(start..start + 4) {
            Ok(guard) => {
                let mut seen = [0; 4];
                guard.copy_to(0, &mut seen).unwrap();
                assert!(seen[0] == seen[1] && seen[2] == seen[3], "half changed, and nobody said so: {seen:?}");
                guard
            }
            Err(LockError::OwnerDied(mut guard)) => {
                guard.fill(0).unwrap();
                guard.mark_consistent().unwrap();
                guard
            }
            Err(LockError::Failed(error)) => panic!("{error}"),
        };
        (0..4).for_each(|i| guard.set(i, n).unwrap());
    }
    let work = |both: Both| {
        for n in 0.. {
            turn(&both, n);
        }
    };
    let both = (lock.clone(), array.clone());
    for round in 0..12 {
        let children: Vec<_> = (0..2).map(|_| Process::spawn(work, both.clone()).unwrap()).collect();
        let from = lock.read().unwrap()[0];
        // Into the midst of it, at a place that differs from round to round.
        while lock.read().unwrap()[0] < from + 200 + 7 * round {}
        children.into_iter().for_each(kill);
        turn(&both, round);
    }
}
