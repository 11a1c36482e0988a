use crate::received;
use mutirao::{Bytes, Queue, Segment};
use std::thread;

fn text(len: usize) -> String {
    (0..len).map(|i| char::from(b'a' + (i % 26) as u8)).collect()
}

#[test]
fn items_larger_than_a_cell_come_back() {
    let queue = Queue::<String>::new(4).unwrap();
    let other = Queue::<String>::attach(&received(queue.segment())).unwrap();
    for len in [0, 100, 118, 119, 120, 121, 200, 5_000, 8_192, 70_000, 3 << 20] {
        queue.send(text(len)).unwrap();
        assert_eq!(other.recv().unwrap(), text(len));
        queue.send(text(len)).unwrap();
        let lease = other.lease().unwrap();
        assert_eq!(*lease, text(len));
        lease.nack();
        let lease = other.lease().unwrap();
        assert_eq!((lease.len(), lease.attempt()), (len, 2));
        lease.ack().unwrap();
    }
    queue.wait_idle().unwrap();
}

#[test]
fn what_was_received_leaves_its_memory_to_others() {
    let queue = Queue::<Bytes>::options().capacity(4).spill_bytes(4 << 20).create().unwrap();
    for round in 0..100_u8 {
        queue.send(Bytes(vec![round; 1 << 20])).unwrap();
        match round % 3 {
            0 => assert_eq!(queue.recv().unwrap().0, vec![round; 1 << 20]),
            1 => assert_eq!(queue.lease().unwrap().ack().unwrap().0[77], round),
            _ => {
                queue.lease().unwrap().nack();
                assert_eq!(queue.recv().unwrap().0[77], round);
            }
        }
        drop(queue.reserve(1 << 20).unwrap());
    }
    let error = queue.send(Bytes(vec![0; 5 << 20])).unwrap_err();
    assert!(error.is_too_large(), "{error}");
    assert_eq!(error.into_inner().0.len(), 5 << 20);
    let mut sent = 0;
    let error = loop {
        match queue.try_send(Bytes(vec![1; 1 << 20])) {
            Ok(()) => sent += 1,
            Err(error) => break error,
        }
    };
    assert!(error.error().is_out_of_memory() || error.is_full(), "{error}");
    assert!(sent >= 2, "{sent}");
    for _ in 0..sent {
        assert_eq!(queue.recv().unwrap().0.len(), 1 << 20);
    }
}

#[test]
fn an_item_is_written_and_read_where_it_lies() {
    let queue = Queue::<Bytes>::new(2).unwrap();
    let mut slot = queue.reserve(100_000).unwrap();
    let content: Vec<u8> = (0..100_000_u32).map(|i| (i * 7) as u8).collect();
    for (at, part) in content.chunks(4_321).enumerate() {
        slot.write_at(at * 4_321, part).unwrap();
    }
    assert!(slot.write_at(99_999, &[1, 2]).unwrap_err().is_invalid());
    assert!(slot.write_at(usize::MAX, &[1, 2]).unwrap_err().is_invalid());
    assert_eq!((slot.len(), slot.as_atomics().len()), (100_000, 12_500));
    slot.commit().unwrap();
    let lease = queue.lease_in_place().unwrap();
    assert_eq!((lease.len(), lease.attempt(), lease.to_vec()), (100_000, 1, content.clone()));
    let mut part = [0; 9];
    lease.read_at(12_345, &mut part).unwrap();
    assert_eq!(part, content[12_345..12_354]);
    assert!(lease.read_at(99_995, &mut part).unwrap_err().is_invalid());
    drop(lease);
    let lease = queue.try_lease_in_place().unwrap();
    assert_eq!(lease.attempt(), 2);
    // SAFETY: nobody else has the queue.
    assert_eq!(unsafe { lease.view().as_slice() }, content);
    lease.ack().unwrap();
    assert!(queue.try_lease_in_place().unwrap_err().is_would_block());
    queue.send(Bytes(b"small".to_vec())).unwrap();
    let lease = queue.lease_in_place().unwrap();
    assert_eq!(lease.to_vec(), b"small");
    lease.ack().unwrap();
    queue.reserve(3).unwrap().commit().unwrap();
    queue.reserve(0).unwrap().commit().unwrap();
    assert!(queue.reserve(9).unwrap().try_commit().unwrap_err().is_would_block(), "full");
    assert_eq!((queue.recv().unwrap().0.len(), queue.recv().unwrap().0.len()), (3, 0));
    queue.close();
    assert!(queue.reserve(9).unwrap().commit().unwrap_err().is_closed());
}

#[test]
fn large_items_of_many_threads_arrive_whole() {
    let queue = Queue::<Bytes>::new(8).unwrap();
    let sum: usize = thread::scope(|scope| {
        let senders: Vec<_> = (0..2_u8)
            .map(|sender| {
                let queue = &queue;
                scope.spawn(move || {
                    for n in 0..300_usize {
                        let fill = (n as u8) ^ (sender << 7);
                        queue.send(Bytes(vec![fill; 1 + n * 97])).unwrap();
                    }
                })
            })
            .collect();
        let receivers: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    let mut sum = 0;
                    while let Ok(Bytes(item)) = queue.recv() {
                        assert!(item.iter().all(|byte| *byte == item[0]), "torn");
                        sum += item.len();
                    }
                    sum
                })
            })
            .collect();
        senders.into_iter().for_each(|sender| sender.join().unwrap());
        queue.close();
        receivers.into_iter().map(|receiver| receiver.join().unwrap()).sum()
    });
    assert_eq!(sum, 2 * (0..300).map(|n| 1 + n * 97).sum::<usize>());
}

#[test]
fn a_removed_queue_gives_the_memory_of_its_items_back() {
    let segment = Segment::anonymous(4 << 20).unwrap();
    for _ in 0..20 {
        let queue = Queue::<Bytes>::options().capacity(4).create_in(&segment).unwrap();
        queue.send(Bytes(vec![1; 1 << 20])).unwrap();
        queue.send(Bytes(vec![2; 1 << 20])).unwrap();
        let lease = queue.lease().unwrap();
        std::mem::forget(lease);
    }
}
