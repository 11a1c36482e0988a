//! Items on loan: who leases, acknowledges or gives back dies.

use crate::operations;
use mutirao::testing::{Killed, begin, end};
use mutirao::{Bytes, Plain, Queue, Value};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(10);
type Item = Plain<[u64; 4]>;
/// The queue, and the number of the next item.
type Stage = (Queue<Item>, Value<u64>);

fn stage() -> Stage {
    let queue = Queue::options().capacity(3).leases(3).max_attempts(1000).create().unwrap();
    (queue, Value::new(1).unwrap())
}

/// The number of an item that came whole.
fn number(Plain(words): &Item) -> u64 {
    assert!(words.iter().all(|word| *word == words[0]), "torn: {words:?}");
    words[0]
}

/// Every cell and every entry can be used, and nothing is left.
fn is_whole(queue: &Queue<Item>) {
    queue.wait_idle_timeout(PATIENCE).unwrap();
    assert!(queue.is_empty() && queue.leased() == 0, "{queue:?}");
    (0..3).for_each(|n| queue.send_timeout(Plain([1000 + n; 4]), PATIENCE).unwrap());
    let mut held: Vec<_> = (0..3).map(|_| queue.lease_timeout(PATIENCE).unwrap()).collect();
    assert!(queue.try_lease().is_err_and(|e| e.is_would_block()));
    held.drain(..).enumerate().for_each(|(n, lease)| assert_eq!(number(&lease.ack().unwrap()), 1000 + n as u64));
    queue.wait_idle_timeout(PATIENCE).unwrap();
}

/// The one item is there again, once: whoever had it died with it.
fn comes_back((queue, next): &Stage, _: Killed) {
    let lease = queue.lease_timeout(PATIENCE).unwrap();
    assert!((1..=2).contains(&lease.attempt()), "attempt {}", lease.attempt());
    assert_eq!(number(&lease.ack().unwrap()), next.fetch_add(1));
    is_whole(queue);
}

/// Larger than a cell, and memory for a few of them only: what is lost at each kill is missed soon.
const LARGE: usize = 20_000;

fn large_stage(attempts: u32) -> Queue<Bytes> {
    let options = Queue::options().capacity(3).leases(3).spill_bytes(256 << 10);
    let queue = options.max_attempts(attempts).create().unwrap();
    assert!(queue.try_recv().is_err());
    queue
}

fn large() -> Bytes {
    Bytes((0..LARGE).map(|i| (i % 251) as u8).collect())
}

/// All done without anybody receiving, or the item is there once and whole; and no memory is lost.
fn large_is_whole(queue: &Queue<Bytes>) -> bool {
    let is_left = queue.wait_idle_timeout(Duration::from_millis(300)).is_err();
    if is_left {
        assert_eq!(queue.recv_timeout(PATIENCE).unwrap(), large());
    }
    queue.wait_idle_timeout(PATIENCE).unwrap();
    for _ in 0..2 {
        (0..3).for_each(|_| queue.send_timeout(large(), PATIENCE).unwrap());
        (0..3).for_each(|_| assert_eq!(queue.recv_timeout(PATIENCE).unwrap(), large()));
    }
    is_left
}

operations! {
    lease: stage,
        |(queue, next)| {
            queue.send(Plain([next.load(); 4])).unwrap();
            begin();
            let lease = queue.lease().unwrap();
            end();
            drop(lease);
        },
        comes_back;
    lease_ack: stage,
        |(queue, next)| {
            queue.send(Plain([next.load(); 4])).unwrap();
            let lease = queue.lease().unwrap();
            begin();
            lease.ack().unwrap();
            end();
        },
        |(queue, next), killed| {
            // Acknowledged once and for all, or delivered again.
            let next = next.fetch_add(1);
            match queue.lease_timeout(Duration::from_millis(200)) {
                Ok(lease) => {
                    assert_eq!((number(&lease), lease.attempt()), (next, 2));
                    assert_ne!(killed, Killed::After, "acknowledged, and delivered again");
                    lease.ack().unwrap();
                }
                Err(error) => assert!(error.is_timeout(), "{error}"),
            }
            is_whole(queue);
        };
    lease_nack: stage,
        |(queue, next)| {
            queue.send(Plain([next.load(); 4])).unwrap();
            let lease = queue.lease().unwrap();
            begin();
            lease.nack();
            end();
        },
        comes_back;
    lease_of_what_came_back: stage,
        |(queue, next)| {
            queue.send(Plain([next.load(); 4])).unwrap();
            queue.lease().unwrap().nack();
            begin();
            let lease = queue.lease().unwrap();
            end();
            drop(lease);
        },
        |(queue, next), _| {
            let lease = queue.lease_timeout(PATIENCE).unwrap();
            assert!((2..=3).contains(&lease.attempt()), "attempt {}", lease.attempt());
            assert_eq!(number(&lease.ack().unwrap()), next.fetch_add(1));
            is_whole(queue);
        };
    lease_recv_of_what_came_back: stage,
        |(queue, next)| {
            queue.send(Plain([next.load(); 4])).unwrap();
            queue.lease().unwrap().nack();
            begin();
            queue.recv().unwrap();
            end();
        },
        |(queue, next), killed| {
            let next = next.fetch_add(1);
            match queue.recv_timeout(Duration::from_millis(200)) {
                Ok(item) => assert!(number(&item) == next && killed != Killed::After),
                Err(error) => assert!(error.is_timeout(), "{error}"),
            }
            is_whole(queue);
        };
    lease_dead_letter: || {
            let queue = Queue::<Item>::options().capacity(3).leases(3).max_attempts(1).create().unwrap();
            (queue, Value::new(1_u64).unwrap())
        },
        |(queue, next)| {
            queue.send(Plain([next.load(); 4])).unwrap();
            queue.lease().unwrap().nack();
            begin();
            queue.take_dead_letter().unwrap().unwrap();
            end();
        },
        |(queue, next), killed| {
            let next = next.fetch_add(1);
            match queue.take_dead_letter().unwrap() {
                Some(letter) => assert!(number(&letter.item) == next && killed != Killed::After, "{letter:?} {next} {killed:?}"),
                None => assert_ne!(killed, Killed::During(0)),
            }
            assert!(queue.try_lease().is_err_and(|e| e.is_would_block()));
            is_whole(queue);
        };
    lease_wait_idle: stage,
        |(queue, next)| {
            queue.send(Plain([next.load(); 4])).unwrap();
            let lease = queue.lease().unwrap();
            begin();
            assert!(queue.wait_idle_timeout(Duration::from_millis(2)).is_err_and(|e| e.is_timeout()));
            end();
            drop(lease);
        },
        comes_back;
    large_send: || large_stage(0),
        |queue| { let item = large(); begin(); queue.send(item).unwrap(); end() },
        |queue, killed| assert!(large_is_whole(queue) || killed != Killed::After);
    large_recv: || large_stage(0),
        |queue| { queue.send(large()).unwrap(); begin(); queue.recv().unwrap(); end() },
        |queue, killed| assert!(!large_is_whole(queue) || killed != Killed::After);
    large_reserve_and_commit: || large_stage(0),
        |queue| {
            let item = large();
            begin();
            let mut slot = queue.reserve(LARGE).unwrap();
            slot.write_at(0, &item.0).unwrap();
            slot.commit().unwrap();
            end();
        },
        |queue, killed| assert!(large_is_whole(queue) || killed != Killed::After);
    large_lease_and_ack: || large_stage(0),
        |queue| { queue.send(large()).unwrap(); begin(); queue.lease_in_place().unwrap().ack().unwrap(); end() },
        |queue, killed| assert!(!large_is_whole(queue) || killed != Killed::After);
    large_last_attempt: || large_stage(1),
        |queue| { queue.send(large()).unwrap(); begin(); queue.lease_in_place().unwrap().ack().unwrap(); end() },
        |queue, killed| {
            match queue.take_dead_letter().unwrap() {
                Some(letter) => assert!(letter.item == large() && killed != Killed::After),
                None => _ = large_is_whole(queue),
            }
            large_is_whole(queue);
        };
}
