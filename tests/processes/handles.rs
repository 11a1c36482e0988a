//! Handles in the arguments: processes that meet on each primitive, and die there.

use mutirao::{Dict, Error, Lock, LockError, Mutex, Plain, Process, Queue, Segment, Semaphore, Value};
use std::collections::BTreeMap;
use std::io::Read;
use std::path::PathBuf;

use crate::roles::{kill, stay, watchdog};
use crate::stage::{Meeting, report_to};

#[test]
fn four_processes_count_together() {
    let count = Value::new(0_u64).unwrap();
    let _watchdog = watchdog("four_processes_count_together", &[count.segment()]);
    let work = |count: Value<u64>| {
        for _ in 0..10_000 {
            count.fetch_add(1);
        }
    };
    let children: Vec<_> = (0..4).map(|_| Process::spawn(work, count.clone()).unwrap()).collect();
    children.into_iter().for_each(|child| child.join().unwrap());
    assert_eq!(count.load(), 40_000);
}

#[test]
fn a_hundred_handles_travel_together() {
    let values: Vec<_> = (0..100).map(|n| Value::new(n).unwrap()).collect();
    let _watchdog = watchdog("a_hundred_handles_travel_together", &[]);
    let work = |values: Vec<Value<u32>>| values.iter().map(|value| value.fetch_add(1)).sum::<u32>();
    assert_eq!(Process::spawn(work, values.clone()).unwrap().join().unwrap(), 4950);
    assert_eq!(values.iter().map(Value::load).sum::<u32>(), 5050);
}

#[test]
fn the_same_segment_travels_once() {
    let value = Value::new(1_u32).unwrap();
    let _watchdog = watchdog("the_same_segment_travels_once", &[value.segment()]);
    let work =
        |(a, b): (Value<u32>, Value<u32>)| (a.fetch_add(1), b.fetch_add(1), a.segment().uuid() == b.segment().uuid());
    assert_eq!(Process::spawn(work, (value.clone(), value.clone())).unwrap().join().unwrap(), (1, 2, true));
}

#[test]
fn a_result_may_hold_a_handle() {
    let _watchdog = watchdog("a_result_may_hold_a_handle", &[]);
    let work = |n: u32| {
        let queue = Queue::new(8).unwrap();
        (0..n).for_each(|i| queue.send(i).unwrap());
        queue
    };
    let queue = Process::spawn(work, 3).unwrap().join().unwrap();
    assert_eq!((0..3).map(|_| queue.recv().unwrap()).collect::<Vec<_>>(), [0, 1, 2]);
}

#[test]
fn rows_of_the_dead_are_used_again() {
    let count = Value::new(0_u32).unwrap();
    let _watchdog = watchdog("rows_of_the_dead_are_used_again", &[count.segment()]);
    // More than a segment has rows. Exiting leaves the row as a kill does.
    for n in 0..80 {
        let work = |count: Value<u32>| count.fetch_add(1);
        assert_eq!(Process::spawn(work, count.clone()).unwrap().join().unwrap(), n);
    }
}

#[test]
fn a_killed_owner_of_a_lock_is_reported() {
    let lock = Lock::new().unwrap();
    let _watchdog = watchdog("a_killed_owner_of_a_lock_is_reported", &[lock.segment()]);
    let meeting = Meeting::new("lock");
    let work = |(lock, path): (Lock, PathBuf)| {
        let _guard = lock.lock().unwrap();
        stay(path, "here")
    };
    let child = Process::spawn(work, (lock.clone(), meeting.path())).unwrap();
    let _stream = meeting.next();
    assert!(lock.try_lock().unwrap_err().is_would_block());
    kill(child);
    for _ in 0..2 {
        // It stays so until somebody says that it is right again.
        assert!(matches!(lock.lock(), Err(LockError::OwnerDied(_))));
    }
    lock.lock().unwrap_err().into_guard().unwrap().mark_consistent();
    drop(lock.lock().unwrap());
}

#[test]
fn a_sleeper_gets_the_lock_of_the_dead() {
    let lock = Lock::new().unwrap();
    let _watchdog = watchdog("a_sleeper_gets_the_lock_of_the_dead", &[lock.segment()]);
    let (first, second) = (Meeting::new("lock-first"), Meeting::new("lock-second"));
    let hold = |(lock, path): (Lock, PathBuf)| {
        let _guard = lock.lock().unwrap();
        stay(path, "here")
    };
    let child = Process::spawn(hold, (lock.clone(), first.path())).unwrap();
    let _stream = first.next();
    let wait = |(lock, path): (Lock, PathBuf)| {
        let _stream = report_to(path, "about to wait");
        matches!(lock.lock(), Err(LockError::OwnerDied(_)))
    };
    let sleeper = Process::spawn(wait, (lock.clone(), second.path())).unwrap();
    let _stream = second.next();
    kill(child);
    assert!(sleeper.join().unwrap());
}

#[test]
fn a_mutex_keeps_its_last_commit() {
    let mutex = Mutex::new([1_u64; 8]).unwrap();
    let _watchdog = watchdog("a_mutex_keeps_its_last_commit", &[mutex.segment()]);
    let meeting = Meeting::new("mutex");
    let work = |(mutex, path): (Mutex<[u64; 8]>, PathBuf)| {
        *mutex.lock().unwrap() = [2; 8];
        let mut guard = mutex.lock().unwrap();
        *guard = [3; 8];
        stay(path, "here")
    };
    let child = Process::spawn(work, (mutex.clone(), meeting.path())).unwrap();
    let _stream = meeting.next();
    kill(child);
    let guard = mutex.lock().unwrap();
    assert!(guard.previous_died());
    assert_eq!(*guard, [2; 8]);
}

#[test]
fn a_permit_of_the_dead_comes_back() {
    let semaphore = Semaphore::new(2).unwrap();
    let _watchdog = watchdog("a_permit_of_the_dead_comes_back", &[semaphore.segment()]);
    let meeting = Meeting::new("permit");
    let work = |(semaphore, path): (Semaphore, PathBuf)| {
        let _permits = semaphore.acquire_many(2).unwrap();
        stay(path, "here")
    };
    let child = Process::spawn(work, (semaphore.clone(), meeting.path())).unwrap();
    let _stream = meeting.next();
    assert!(semaphore.try_acquire().unwrap_err().is_would_block());
    kill(child);
    let permits = semaphore.acquire_many(2).unwrap();
    assert_eq!(permits.count(), 2);
}

/// An item: who sent it, and the how many-th of his it is.
type Item = (u32, u64);

/// Sends without end. `confirmed` counts the sends that returned.
fn produce((queue, confirmed, me): (Queue<Item>, Value<u64>, u32)) {
    for n in 0.. {
        queue.send((me, n)).unwrap();
        confirmed.store(n + 1).unwrap();
    }
}

#[test]
fn no_confirmed_send_of_a_killed_producer_is_lost() {
    let queue = Queue::<Item>::new(8).unwrap();
    let _watchdog = watchdog("no_confirmed_send_of_a_killed_producer_is_lost", &[queue.segment()]);
    let mut next = BTreeMap::<u32, u64>::new();
    let mut check = |(who, n): Item| {
        let next = next.entry(who).or_default();
        assert_eq!(n, *next, "an item of producer {who} is lost, twice there or out of its order");
        *next += 1;
    };
    let mut confirmed = Vec::new();
    for round in 0..10 {
        let children: Vec<_> = (0..2)
            .map(|i| {
                let (me, count) = (round * 2 + i, Value::new(0).unwrap());
                confirmed.push(count.clone());
                Process::spawn(produce, (queue.clone(), count, me)).unwrap()
            })
            .collect();
        // Both are in the midst of it, at a place that differs from round to round.
        for _ in 0..500 + 7 * round {
            check(queue.recv().unwrap());
        }
        children.into_iter().for_each(kill);
    }
    // What the dead had claimed and not sent stops nobody: neither these, nor their receiver.
    let survivor =
        Process::spawn(|queue: Queue<Item>| (0..100).for_each(|n| queue.send((1000, n)).unwrap()), queue.clone());
    let survivor = survivor.unwrap();
    while next_of_survivor(&mut check, &queue) {}
    survivor.join().unwrap();
    assert!(queue.try_recv().unwrap_err().is_would_block());
    for (who, confirmed) in (0..).zip(&confirmed) {
        let (received, confirmed) = (next.get(&who).copied().unwrap_or(0), confirmed.load());
        // The last send may have taken effect just before its sender could say so.
        assert!(
            received == confirmed || received == confirmed + 1,
            "{who}: {received} received, {confirmed} confirmed"
        );
    }
}

fn next_of_survivor(check: &mut impl FnMut(Item), queue: &Queue<Item>) -> bool {
    let item = queue.recv().unwrap();
    check(item);
    item != (1000, 99)
}

#[test]
fn a_consumer_killed_in_the_midst_loses_at_most_its_one_item() {
    const ITEMS: u64 = 20_000;
    const KILLS: u64 = 8;
    let (queue, done) = (Queue::<u64>::new(16).unwrap(), Queue::<u64>::new(16).unwrap());
    let _watchdog =
        watchdog("a_consumer_killed_in_the_midst_loses_at_most_its_one_item", &[queue.segment(), done.segment()]);
    let consume = |(queue, done): (Queue<u64>, Queue<u64>)| {
        queue.iter().for_each(|item| done.send(item.unwrap()).unwrap());
    };
    let spawn = || Process::spawn(consume, (queue.clone(), done.clone())).unwrap();
    let produce = |queue: Queue<u64>| {
        (0..ITEMS).for_each(|n| queue.send(n).unwrap());
        queue.close();
    };
    let mut consumers: Vec<_> = (0..3).map(|_| spawn()).collect();
    let producer = Process::spawn(produce, queue.clone()).unwrap();
    let mut seen = vec![0_u32; ITEMS as usize];
    let mut take = |n: u64| seen[n as usize] += 1;
    for round in 0..KILLS {
        (0..ITEMS / KILLS / 2 + round).for_each(|_| take(done.recv().unwrap()));
        kill(consumers.swap_remove(0));
        consumers.push(spawn());
    }
    let closer = std::thread::spawn({
        let done = done.clone();
        move || {
            producer.join().unwrap();
            consumers.into_iter().for_each(|child| child.join().unwrap());
            done.close();
        }
    });
    done.iter().for_each(|n| take(n.unwrap()));
    closer.join().unwrap();
    assert!(seen.iter().all(|n| *n <= 1), "an item was received twice");
    let lost = seen.iter().filter(|n| **n == 0).count() as u64;
    assert!(lost <= KILLS, "{lost} items lost in {KILLS} kills");
}

#[test]
fn a_receiver_does_not_wait_for_dead_senders() {
    let queue = Queue::<u32>::new(4).unwrap();
    let _watchdog = watchdog("a_receiver_does_not_wait_for_dead_senders", &[queue.segment()]);
    let meeting = Meeting::new("senders");
    let work = |(queue, path): (Queue<u32>, PathBuf)| {
        let sender = queue.sender().unwrap();
        sender.send(1).unwrap();
        stay(path, "here")
    };
    let child = Process::spawn(work, (queue.clone(), meeting.path())).unwrap();
    let _stream = meeting.next();
    kill(child);
    assert_eq!(queue.recv().unwrap(), 1);
    assert!(queue.recv().unwrap_err().is_disconnected());
}

#[test]
fn strangers_meet_over_a_socket() {
    let queue = Queue::<String>::new(4).unwrap();
    let _watchdog = watchdog("strangers_meet_over_a_socket", &[queue.segment()]);
    let meeting = Meeting::new("strangers");
    // No handle in the arguments: this could be any program.
    let work = |path: PathBuf| {
        let stream = report_to(path, "send me something");
        let segment = Segment::receive_from(&stream).unwrap();
        let wrong = Value::<u64>::attach(&segment).err().unwrap().is_wrong_type();
        Queue::attach(&segment).unwrap().send("pão".to_string()).unwrap();
        wrong
    };
    let stranger = Process::spawn(work, meeting.path()).unwrap();
    let (stream, _) = meeting.next();
    queue.segment().send_to(&stream).unwrap();
    assert_eq!(queue.recv().unwrap(), "pão");
    assert!(stranger.join().unwrap());
}

#[test]
fn a_socket_without_a_segment_is_no_segment() {
    let _watchdog = watchdog("a_socket_without_a_segment_is_no_segment", &[]);
    let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    std::io::Write::write_all(&mut &ours, b"mutirao").unwrap();
    assert!(Segment::receive_from(&theirs).unwrap_err().is_not_a_segment());
    drop(ours);
    assert!(Segment::receive_from(&theirs).unwrap_err().is_not_a_segment());
}

#[test]
fn a_handle_inherited_by_fork_is_refused() {
    let _watchdog = watchdog("a_handle_inherited_by_fork_is_refused", &[]);
    // In a process of its own, where no other thread holds a lock of std's at the fork.
    assert_eq!(Process::spawn(fork_and_use, ()).unwrap().join().unwrap(), ["Forked"; 9].map(String::from));
}

fn fork_and_use((): ()) -> Vec<String> {
    let (lock, queue, semaphore) = (Lock::new().unwrap(), Queue::<u32>::new(4).unwrap(), Semaphore::new(1).unwrap());
    queue.send(7).unwrap();
    let permit = semaphore.acquire().unwrap();
    let words = Dict::<u64, u64>::new().unwrap();
    let records = Dict::<Plain<[u8; 16]>, Plain<[u8; 40]>>::new().unwrap();
    let (key, value) = (Plain([1; 16]), Plain([2; 40]));
    words.set(&1, &2).unwrap();
    records.set(&key, &value).unwrap();
    let said = in_a_fork(|| {
        let forked = |error: Option<Error>| error.map(|error| error.is_forked());
        let answers = [
            lock.lock().err().and_then(|error| Some(error.failed()?.is_forked())),
            queue.try_recv().err().map(|error| error.is_forked()),
            semaphore.try_acquire().err().map(|error| error.is_forked()),
            // Reads and writes of what is there go straight: they have no check but that of the bucket's number.
            forked(words.get(&1).err()),
            forked(words.set(&1, &3).err()),
            forked(words.set(&4, &5).err()),
            forked(records.get(&key).err()),
            forked(records.get_with(&key, <[u8]>::len).err()),
            forked(records.contains_key(&key).err()),
        ];
        // Another handle's number takes the place of one that was dropped: it is not taken for the other's.
        let (words, other) = (words.reattach().unwrap(), Dict::<u64, u64>::new().unwrap());
        assert_eq!((words.get(&1).unwrap(), other.get(&1).unwrap()), (Some(2), None));
        let again = queue.reattach().unwrap();
        assert_eq!(again.recv().unwrap(), 7);
        again.send(8).unwrap();
        answers.map(|forked| if forked == Some(true) { "Forked" } else { "not refused" }).join(" ")
    });
    // The forked one has dropped its copies of the handles and of the permit; ours are what they were.
    drop(lock.lock().unwrap());
    assert_eq!((words.get(&1).unwrap(), words.len(), records.get(&key).unwrap()), (Some(2), 1, Some(value)));
    assert!(semaphore.try_acquire().unwrap_err().is_would_block());
    assert_eq!(queue.try_recv().unwrap(), 8);
    drop(permit);
    said.split(' ').map(String::from).collect()
}

/// Runs `f` in a forked process, and returns what it says.
pub fn in_a_fork(f: impl FnOnce() -> String) -> String {
    let (mut ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    // SAFETY: 1. the other thread of this process holds no lock: it sleeps in `poll`.
    #[allow(unsafe_code)]
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        let said = std::panic::catch_unwind(std::panic::AssertUnwindSafe(f)).unwrap_or("panicked".into());
        let _ = std::io::Write::write_all(&mut &theirs, said.as_bytes());
        std::process::exit(0);
    }
    drop(theirs);
    let mut said = String::new();
    ours.read_to_string(&mut said).unwrap();
    // SAFETY: 1. a null pointer for the status is allowed.
    #[allow(unsafe_code)]
    unsafe {
        libc::waitpid(pid, core::ptr::null_mut(), 0)
    };
    said
}
