use crate::received;
use mutirao::{OwnedLease, Plain, Queue};
use std::collections::BTreeMap;
use std::thread;
use std::time::Duration;

#[test]
fn what_is_acknowledged_is_gone() {
    let queue = Queue::<String>::new(2).unwrap();
    queue.send("a".into()).unwrap();
    let lease = queue.lease().unwrap();
    assert_eq!((lease.as_str(), lease.attempt(), queue.len(), queue.leased()), ("a", 1, 0, 1));
    assert!(queue.try_recv().unwrap_err().is_would_block());
    assert_eq!(lease.ack().unwrap(), "a");
    assert_eq!(queue.leased(), 0);
    assert!(queue.try_lease().unwrap_err().is_would_block());
    queue.wait_idle().unwrap();
}

#[test]
fn what_is_given_back_or_dropped_comes_again() {
    let queue = Queue::<u32>::new(4).unwrap();
    queue.send_all([1, 2]).unwrap();
    queue.lease().unwrap().nack();
    drop(queue.lease().unwrap());
    let mut seen = BTreeMap::new();
    for _ in 0..2 {
        let lease = queue.try_lease().unwrap();
        seen.insert(*lease, lease.attempt());
        lease.ack().unwrap();
    }
    assert_eq!(seen.keys().copied().collect::<Vec<_>>(), [1, 2]);
    assert!(seen.values().any(|attempt| *attempt > 1), "{seen:?}");
    queue.send(3).unwrap();
    queue.lease().unwrap().nack();
    assert_eq!(queue.recv().unwrap(), 3, "received without a lease");
    queue.wait_idle_timeout(Duration::from_secs(5)).unwrap();
}

#[test]
fn a_long_lease_holds_nobody_up() {
    let queue = Queue::<Plain<u64>>::new(1).unwrap();
    queue.send(Plain(0)).unwrap();
    let long = queue.lease().unwrap();
    for n in 1..100 {
        queue.try_send(Plain(n)).unwrap();
        assert_eq!(queue.try_lease().unwrap().ack().unwrap(), Plain(n));
    }
    assert_eq!(long.ack().unwrap(), Plain(0));
}

#[test]
fn as_many_as_asked_for_can_be_leased() {
    for leases in [1_u32, 3, 64] {
        let queue = Queue::<u32>::options().capacity(300).leases(leases as usize).create().unwrap();
        queue.send_all(0..300).unwrap();
        let mut held = vec![];
        let error = loop {
            match queue.lease() {
                Ok(lease) => held.push(lease),
                Err(error) => break error,
            }
        };
        assert!(error.is_exhausted(), "{error}");
        assert!(held.len() >= leases as usize && held.len() < 300);
        assert!(error.to_string().contains("leases(n)"), "{error}");
        let mut done: Vec<_> = held.into_iter().map(|lease| lease.ack().unwrap()).collect();
        while let Ok(lease) = queue.try_lease() {
            done.push(lease.ack().unwrap());
        }
        done.sort_unstable();
        assert_eq!(done, (0..300).collect::<Vec<_>>(), "what did not fit is still there");
    }
    let none = Queue::<u32>::options().leases(0).create().unwrap();
    none.send(1).unwrap();
    assert!(none.lease().unwrap_err().is_exhausted());
    assert_eq!(none.recv().unwrap(), 1);
    assert!(Queue::<u32>::options().leases(usize::MAX).create().unwrap_err().is_invalid());
}

#[test]
fn what_was_tried_too_often_is_a_dead_letter() {
    let queue = Queue::<String>::options().capacity(4).max_attempts(2).create().unwrap();
    queue.send("bad".into()).unwrap();
    queue.send("good".into()).unwrap();
    assert!(queue.take_dead_letter().unwrap().is_none());
    for _ in 0..3 {
        let lease = queue.lease().unwrap();
        if lease.as_str() == "good" {
            lease.ack().unwrap();
        } // else dropped
    }
    queue.wait_idle().unwrap();
    let letters: Vec<_> = queue.dead_letters().map(Result::unwrap).collect();
    assert_eq!(letters.len(), 1);
    assert_eq!((letters[0].item.as_str(), letters[0].attempts), ("bad", 2));
    assert!(queue.take_dead_letter().unwrap().is_none());
}

#[test]
fn a_lease_goes_to_another_thread_and_may_own_its_queue() {
    fn sends<T: Send>(_: &T) {}
    let queue = Queue::<u32>::new(2).unwrap();
    queue.send_all([1, 2]).unwrap();
    let borrowed = queue.lease().unwrap();
    sends(&borrowed);
    thread::scope(|scope| scope.spawn(|| borrowed.ack().unwrap()).join().unwrap());
    let owned: OwnedLease<u32> = queue.lease().unwrap().into_owned();
    let other = queue.clone();
    drop(queue);
    thread::spawn(move || owned.ack().unwrap()).join().unwrap();
    other.wait_idle().unwrap();
}

#[test]
fn every_item_is_acknowledged_once_by_many() {
    for capacity in [1, 7, 64] {
        let queue = Queue::<Plain<[u64; 8]>>::new(capacity).unwrap();
        let sum: u64 = thread::scope(|scope| {
            let workers: Vec<_> = (0..3)
                .map(|worker| {
                    let queue = Queue::<Plain<[u64; 8]>>::attach(&received(queue.segment())).unwrap();
                    scope.spawn(move || {
                        let mut sum = 0;
                        for turn in 0.. {
                            let lease = match queue.lease() {
                                Ok(lease) => lease,
                                Err(error) => {
                                    assert!(error.is_closed(), "{error}");
                                    break;
                                }
                            };
                            assert!(lease.0.iter().all(|n| *n == lease.0[0]), "torn");
                            if (turn + worker) % 5 != 0 {
                                sum += lease.ack().unwrap().0[0];
                            }
                        }
                        sum
                    })
                })
                .collect();
            queue.send_all((0..3000).map(|n| Plain([n; 8]))).unwrap();
            queue.wait_idle().unwrap();
            queue.close();
            workers.into_iter().map(|worker| worker.join().unwrap()).sum()
        });
        assert_eq!(sum, (0..3000).sum());
    }
}

#[test]
fn waiting_until_idle_waits_for_leases() {
    let queue = Queue::<u32>::new(4).unwrap();
    queue.wait_idle().unwrap();
    queue.send(1).unwrap();
    assert!(queue.wait_idle_timeout(Duration::from_millis(3)).unwrap_err().is_timeout());
    let lease = queue.lease().unwrap();
    assert!(queue.wait_idle_timeout(Duration::from_millis(3)).unwrap_err().is_timeout());
    thread::scope(|scope| {
        let waiting = scope.spawn(|| queue.wait_idle());
        lease.ack().unwrap();
        waiting.join().unwrap().unwrap();
    });
    queue.send(2).unwrap();
    thread::scope(|scope| {
        let waiting = scope.spawn(|| queue.wait_idle());
        assert_eq!(queue.recv().unwrap(), 2);
        waiting.join().unwrap().unwrap();
    });
}

#[test]
fn a_closed_queue_ends_for_a_process_that_holds_its_leases_itself() {
    let queue = Queue::<u32>::new(4).unwrap();
    queue.send(1).unwrap();
    let lease = queue.lease().unwrap();
    queue.close();
    assert!(queue.lease().unwrap_err().is_closed(), "it would wait for itself");
    lease.nack();
    assert_eq!(queue.lease().unwrap().ack().unwrap(), 1);
    assert!(queue.lease().unwrap_err().is_closed());
}

#[test]
fn timeouts_of_leases_end_at_their_deadline() {
    let queue = Queue::<u8>::new(1).unwrap();
    assert!(queue.lease_timeout(Duration::from_millis(3)).unwrap_err().is_timeout());
    queue.send(1).unwrap();
    assert_eq!(queue.lease_timeout(Duration::ZERO).unwrap().ack().unwrap(), 1);
}
