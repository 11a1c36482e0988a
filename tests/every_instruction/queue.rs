//! Queue: who sends, receives or closes dies.

use crate::operations;
use mutirao::testing::{Killed, begin, end};
use mutirao::{Plain, Queue, Value};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(10);
type Item = Plain<[u64; 4]>;
/// The queue, and the number of the next item.
type Stage = (Queue<Item>, Value<u64>);

fn item(number: u64) -> Item {
    Plain([number; 4])
}

fn stage() -> Stage {
    (Queue::new(3).unwrap(), Value::new(1).unwrap())
}

fn take(queue: &Queue<Item>) -> u64 {
    let Plain(words) = queue.recv_timeout(PATIENCE).unwrap();
    assert!(words.iter().all(|word| *word == words[0]), "torn: {words:?}");
    words[0]
}

/// Through the whole ring and back: nothing stays lost, nothing stands in the way.
fn is_whole(queue: &Queue<Item>) {
    assert!(queue.try_recv().is_err_and(|e| e.is_would_block()));
    for round in 0..2 {
        (0..3).for_each(|n| queue.send_timeout(item(1000 + n + round), PATIENCE).unwrap());
        assert!(queue.is_full() && queue.try_send(item(0)).is_err_and(|e| e.is_full()));
        (0..3).for_each(|n| assert_eq!(take(queue), 1000 + n + round));
    }
    assert!(queue.is_empty());
}

fn send_survived((queue, number): &Stage, killed: Killed) {
    let number = number.fetch_add(1);
    queue.send_timeout(item(500), PATIENCE).unwrap();
    // Whole and first, or never sent; an item whose `send` returned is there.
    let first = take(queue);
    if first == number {
        assert_eq!(take(queue), 500);
    } else {
        assert_eq!(first, 500);
        assert_ne!(killed, Killed::After, "a confirmed item is lost");
    }
    is_whole(queue);
}

fn recv_survived((queue, number): &Stage, killed: Killed) {
    let number = number.fetch_add(1);
    // Delivered again, or it was taken out whole: then nothing is there.
    match queue.recv_timeout(Duration::from_millis(200)) {
        Ok(Plain(words)) => assert!(words == [number; 4] && killed != Killed::After, "{words:?}"),
        Err(error) => assert!(error.is_timeout(), "{error}"),
    }
    is_whole(queue);
}

operations! {
    queue_send: stage,
        |(queue, number)| { let item = item(number.load()); begin(); queue.send(item).unwrap(); end() },
        send_survived;
    queue_recv: stage,
        |(queue, number)| { queue.send(item(number.load())).unwrap(); begin(); queue.recv().unwrap(); end() },
        recv_survived;
    queue_send_all: stage,
        |(queue, _)| { begin(); queue.send_all((0..3).map(item)).unwrap(); end() },
        |(queue, _), killed| {
            // A prefix of them, in order.
            let mut got = 0;
            while let Ok(Plain(words)) = queue.try_recv() {
                assert_eq!(words, [got; 4]);
                got += 1;
            }
            assert!(got == 3 || killed != Killed::After);
            is_whole(queue);
        };
    queue_recv_of_nothing: stage,
        |(queue, _)| { begin(); assert!(queue.try_recv().is_err()); end() },
        |(queue, _), _| is_whole(queue);
    queue_send_encoded: || (Queue::<(u64, String)>::new(2).unwrap(), Value::new(0_u64).unwrap()),
        |(queue, _)| { let item = (7, "seven".to_string()); begin(); queue.send(item).unwrap(); end() },
        |(queue, _), killed| {
            match queue.recv_timeout(Duration::from_millis(200)) {
                Ok(item) => assert_eq!(item, (7, "seven".to_string())),
                Err(error) => assert!(error.is_timeout() && killed != Killed::After, "{error}"),
            }
        };
    queue_recv_timed_out: stage,
        |(queue, _)| { begin(); assert!(queue.recv_timeout(Duration::from_millis(2)).is_err_and(|e| e.is_timeout())); end() },
        |(queue, _), _| is_whole(queue);
    queue_sender_leaves: stage,
        |(queue, _)| { let sender = queue.sender().unwrap(); begin(); drop(sender); end() },
        |(queue, _), _| assert!(queue.recv_timeout(PATIENCE).is_err_and(|e| e.is_disconnected()));
}
