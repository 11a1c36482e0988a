use mutirao::Queue;
use std::thread;
use std::time::Duration;

#[test]
fn the_last_sender_ends_a_drained_recv() {
    let queue = Queue::<u8>::new(4).unwrap();
    assert!(queue.try_recv().unwrap_err().is_would_block(), "nobody was ever registered");
    let (first, second) = (queue.sender().unwrap(), queue.sender().unwrap().try_clone().unwrap());
    first.send(1).unwrap();
    drop(first);
    assert_eq!(queue.recv().unwrap(), 1);
    assert!(queue.try_recv().unwrap_err().is_would_block(), "one sender is left");
    second.send(2).unwrap();
    drop(second);
    assert_eq!(queue.recv().unwrap(), 2, "what was sent is delivered first");
    assert!(queue.recv().unwrap_err().is_disconnected());
    assert!(queue.try_recv().unwrap_err().is_disconnected());
    assert!(queue.recv_timeout(Duration::from_secs(5)).unwrap_err().is_disconnected());
    assert!(queue.iter().next().is_none());
    let again = queue.sender().unwrap();
    assert!(queue.try_recv().unwrap_err().is_would_block(), "somebody is there again");
    drop(again);
}

#[test]
fn a_sleeping_receiver_is_told() {
    let queue = Queue::<u8>::new(4).unwrap();
    let sender = queue.sender().unwrap();
    thread::scope(|scope| {
        let sleeper = scope.spawn(|| queue.recv().unwrap_err().is_disconnected());
        scope.spawn(move || drop(sender));
        assert!(sleeper.join().unwrap());
    });
}

#[test]
fn the_last_receiver_ends_a_send_without_room() {
    let queue = Queue::<u8>::new(1).unwrap();
    let receiver = queue.receiver().unwrap();
    queue.send(1).unwrap();
    assert!(queue.try_send(2).unwrap_err().is_full());
    thread::scope(|scope| {
        let sleeper = scope.spawn(|| queue.send(2).unwrap_err());
        scope.spawn(move || drop(receiver));
        let error = sleeper.join().unwrap();
        assert!(error.is_disconnected());
        assert_eq!(error.into_inner(), 2);
    });
    assert!(queue.try_send(2).unwrap_err().is_disconnected());
}

#[test]
fn halves_do_all_that_a_queue_does() {
    let queue = Queue::<u8>::new(4).unwrap();
    let (sender, receiver) = (queue.sender().unwrap(), queue.receiver().unwrap());
    assert_eq!(sender.send_all([1, 2, 3]).unwrap(), 3);
    assert_eq!(receiver.recv_many(8).unwrap(), [1, 2, 3]);
    sender.queue().close();
    assert!(receiver.iter().next().is_none());
}
