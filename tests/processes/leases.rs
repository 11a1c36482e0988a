//! Workers that lease, and are killed at it: every job is done, none is acknowledged twice.

use mutirao::{Array, Bytes, Plain, Process, Queue, Value};
use std::path::PathBuf;

use crate::roles::{kill, watchdog};
use crate::stage::{Meeting, report_to};

/// Leases a job, says so, and stays until it is killed.
fn hold((jobs, path): (Queue<String>, PathBuf)) {
    let job = jobs.lease().unwrap();
    let _stream = report_to(path, &job);
    loop {
        std::thread::park();
    }
}

#[test]
fn the_lease_of_a_killed_worker_is_delivered_again() {
    let jobs = Queue::<String>::new(4).unwrap();
    let _watchdog = watchdog("the_lease_of_a_killed_worker_is_delivered_again", &[jobs.segment()]);
    let meeting = Meeting::new("lease");
    jobs.send("sweep".into()).unwrap();
    for attempt in 1..4 {
        let child = Process::spawn(hold, (jobs.clone(), meeting.path())).unwrap();
        let (_stream, job) = meeting.next();
        assert_eq!(job, "sweep");
        assert!(jobs.try_recv().unwrap_err().is_would_block(), "attempt {attempt}: its holder lives");
        jobs.send("another".into()).unwrap();
        assert_eq!(jobs.recv().unwrap(), "another", "a lease holds nobody up");
        kill(child);
    }
    let job = jobs.lease().unwrap();
    assert_eq!((job.as_str(), job.attempt()), ("sweep", 4));
    job.ack().unwrap();
    jobs.wait_idle().unwrap();
}

#[test]
fn what_kills_its_workers_becomes_a_dead_letter() {
    let jobs = Queue::<String>::options().capacity(4).max_attempts(2).create().unwrap();
    let _watchdog = watchdog("what_kills_its_workers_becomes_a_dead_letter", &[jobs.segment()]);
    let meeting = Meeting::new("letter");
    jobs.send("poison".into()).unwrap();
    for _ in 0..2 {
        let child = Process::spawn(hold, (jobs.clone(), meeting.path())).unwrap();
        let _stream = meeting.next();
        kill(child);
    }
    assert!(jobs.try_lease().unwrap_err().is_would_block());
    let letter = jobs.take_dead_letter().unwrap().expect("tried twice");
    assert_eq!((letter.item.as_str(), letter.attempts), ("poison", 2));
    jobs.wait_idle().unwrap();
}

#[test]
fn a_worker_waits_for_the_leases_of_others_before_it_leaves() {
    let jobs = Queue::<String>::new(4).unwrap();
    let _watchdog = watchdog("a_worker_waits_for_the_leases_of_others_before_it_leaves", &[jobs.segment()]);
    let meeting = Meeting::new("leave");
    jobs.send("sweep".into()).unwrap();
    let child = Process::spawn(hold, (jobs.clone(), meeting.path())).unwrap();
    let _stream = meeting.next();
    jobs.close();
    assert!(jobs.try_lease().unwrap_err().is_would_block(), "closed, but the job may come back");
    let last = std::thread::spawn({
        let jobs = jobs.clone();
        move || jobs.lease().unwrap().ack().unwrap()
    });
    kill(child);
    assert_eq!(last.join().unwrap(), "sweep");
    assert!(jobs.lease().unwrap_err().is_closed());
}

const JOBS: usize = 4000;

/// Marks each job it does, then acknowledges it. `begun` is private to the worker: the job it works on, plus one.
fn work((jobs, done, begun): (Queue<Plain<u64>>, Array<u64>, Value<u64>)) {
    while let Ok(job) = jobs.lease() {
        let n = job.0;
        begun.store(n + 1).unwrap();
        done.fetch_add(n as usize, 1).unwrap();
        job.ack().unwrap();
        begun.store(0).unwrap();
    }
}

#[test]
fn every_job_is_done_and_none_twice_that_was_acknowledged() {
    const KILLS: usize = 12;
    let jobs = Queue::<Plain<u64>>::new(16).unwrap();
    let done = Array::<u64>::new(JOBS).unwrap();
    let _watchdog = watchdog("every_job_is_done_and_none_twice_that_was_acknowledged", &[jobs.segment()]);
    let mut notes = vec![];
    let mut spawn = || {
        let begun = Value::new(0_u64).unwrap();
        notes.push(begun.clone());
        Process::spawn(work, (jobs.clone(), done.clone(), begun)).unwrap()
    };
    let mut workers: Vec<_> = (0..3).map(|_| spawn()).collect();
    for n in 0..JOBS {
        jobs.send(Plain(n as u64)).unwrap();
        if n % (JOBS / KILLS) == JOBS / KILLS - 1 {
            kill(workers.remove(0));
            workers.push(spawn());
        }
    }
    jobs.wait_idle().unwrap();
    jobs.close();
    workers.into_iter().for_each(|worker| worker.join().unwrap());
    // Done more than once: only what a killed worker was in the midst of.
    let interrupted: Vec<_> = notes.iter().map(Value::load).filter(|n| *n != 0).map(|n| n as usize - 1).collect();
    for n in 0..JOBS {
        let times = done.get(n).unwrap() as usize;
        let most = 1 + interrupted.iter().filter(|i| **i == n).count();
        assert!((1..=most).contains(&times), "job {n} was done {times} times, {most} at most");
    }
    assert_eq!(jobs.leased(), 0);
}

/// Sends large items without end; each is one byte, many times.
fn send_large(items: Queue<Bytes>) {
    for n in 0.. {
        items.send(Bytes(vec![n as u8; 3_000 + 977 * (n % 64)])).unwrap();
    }
}

/// Leases large items and looks at them, without end.
fn look_at_large(items: Queue<Bytes>) {
    while let Ok(item) = items.lease() {
        assert!(item.0.iter().all(|byte| *byte == item.0[0]), "torn");
        item.ack().unwrap();
    }
}

#[test]
fn large_items_of_the_dead_leave_their_memory_to_others() {
    // Memory for the items that are there at once, and not for many more.
    let items = Queue::<Bytes>::options().capacity(8).spill_bytes(8 << 20).create().unwrap();
    let _watchdog = watchdog("large_items_of_the_dead_leave_their_memory_to_others", &[items.segment()]);
    for round in 0..20 {
        let sender = Process::spawn(send_large, items.clone()).unwrap();
        let worker = Process::spawn(look_at_large, items.clone()).unwrap();
        for _ in 0..100 + 13 * round {
            let Bytes(item) = items.recv().unwrap();
            assert!(item.iter().all(|byte| *byte == item[0]), "torn");
        }
        kill(sender);
        kill(worker);
    }
    while let Ok(Bytes(item)) = items.try_recv() {
        assert!(item.iter().all(|byte| *byte == item[0]), "torn");
    }
    items.wait_idle().unwrap();
}
