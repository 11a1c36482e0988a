use crate::received;
use mutirao::{Plain, Queue};
use serde::{Deserialize, Serialize};
use std::thread;
use std::time::Duration;

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
struct Order {
    name: String,
    amounts: Vec<u32>,
    gift: Option<Box<Order>>,
}

#[test]
fn any_serde_type_comes_back() {
    let queue = Queue::new(4).unwrap();
    let gift = Order { name: "card".into(), amounts: vec![], gift: None };
    let order = Order { name: "bread".into(), amounts: vec![1, 2, 300_000], gift: Some(Box::new(gift)) };
    queue.send(order.clone()).unwrap();
    let other = Queue::<Order>::attach(&received(queue.segment())).unwrap();
    assert_eq!(other.recv().unwrap(), order);
    let units = Queue::<()>::new(2).unwrap();
    units.send(()).unwrap();
    units.recv().unwrap();
}

#[test]
fn plain_data_of_every_size_comes_back() {
    macro_rules! round_trip {
        ($($value:expr),*) => { $({
            let queue = Queue::new(3).unwrap();
            for _ in 0..7 {
                queue.send(Plain($value)).unwrap();
                assert_eq!(queue.recv().unwrap(), Plain($value));
            }
        })* };
    }
    round_trip!((), 1_u8, [1_u8, 2, 3], 'ã', true, 7_u64, [9_u8; 65], [1.5_f64; 8]);
}

#[test]
fn capacity_is_exactly_what_was_asked() {
    for capacity in [1, 2, 3, 5, 7, 64, 100] {
        let queue = Queue::<u32>::new(capacity).unwrap();
        assert_eq!((queue.capacity(), queue.len(), queue.is_empty()), (capacity, 0, true));
        for round in 0..3 {
            for n in 0..capacity as u32 {
                queue.try_send(n).unwrap();
            }
            assert!(queue.is_full());
            let error = queue.try_send(99).unwrap_err();
            assert!(error.is_full(), "round {round}: {error}");
            assert_eq!(error.into_inner(), 99);
            assert_eq!(queue.recv_many(capacity * 2).unwrap(), (0..capacity as u32).collect::<Vec<_>>());
        }
        assert!(queue.try_recv().unwrap_err().is_would_block());
    }
}

#[test]
fn every_item_of_every_thread_arrives_once() {
    for capacity in [1, 3, 128] {
        let queue = Queue::<Plain<[u64; 8]>>::new(capacity).unwrap();
        let sums: u64 = thread::scope(|scope| {
            let senders: Vec<_> = (0..2)
                .map(|sender| {
                    let queue = Queue::attach(&received(queue.segment())).unwrap();
                    scope.spawn(move || queue.send_all((0..5_000_u64).map(|n| Plain([n * 2 + sender; 8]))).unwrap())
                })
                .collect();
            let receivers: Vec<_> = (0..2)
                .map(|_| {
                    scope.spawn(|| {
                        queue.iter().map(Result::unwrap).fold(0, |sum, Plain(item)| {
                            assert!(item.iter().all(|n| *n == item[0]), "torn: {item:?}");
                            sum + item[0]
                        })
                    })
                })
                .collect();
            for sender in senders {
                assert_eq!(sender.join().unwrap(), 5_000);
            }
            queue.close();
            receivers.into_iter().map(|r| r.join().unwrap()).sum()
        });
        assert_eq!(sums, (0..10_000).sum());
    }
}

#[test]
fn timeouts_end_at_their_deadline() {
    let queue = Queue::<u8>::new(1).unwrap();
    assert!(queue.recv_timeout(Duration::from_millis(5)).unwrap_err().is_timeout());
    queue.send(1).unwrap();
    let error = queue.send_timeout(2, Duration::from_millis(5)).unwrap_err();
    assert!(error.is_timeout());
    assert_eq!(error.into_parts().0, 2);
    assert_eq!(queue.recv_timeout(Duration::ZERO).unwrap(), 1);
}

#[test]
fn a_closed_queue_is_drained_and_refuses() {
    let queue = Queue::<String>::new(4).unwrap();
    queue.send("last".into()).unwrap();
    queue.close();
    queue.close();
    assert!(queue.is_closed());
    let error = queue.send("late".into()).unwrap_err();
    assert!(error.is_closed());
    assert_eq!(error.into_inner(), "late");
    assert!(queue.try_send("late".into()).unwrap_err().is_closed());
    assert!(queue.send_timeout("late".into(), Duration::from_secs(1)).unwrap_err().is_closed());
    assert_eq!(queue.recv().unwrap(), "last");
    assert!(queue.recv().unwrap_err().is_closed());
    assert!(queue.try_recv().unwrap_err().is_closed());
    assert!(queue.recv_timeout(Duration::from_secs(1)).unwrap_err().is_closed());
    assert!(queue.iter().next().is_none());
}

#[test]
fn closing_wakes_every_sleeper() {
    let (empty, full) = (Queue::<u8>::new(1).unwrap(), Queue::<u8>::new(1).unwrap());
    full.send(0).unwrap();
    thread::scope(|scope| {
        let receivers: Vec<_> = (0..3).map(|_| scope.spawn(|| empty.recv().unwrap_err().is_closed())).collect();
        let senders: Vec<_> = (0..3).map(|_| scope.spawn(|| full.send(1).unwrap_err().is_closed())).collect();
        empty.close();
        full.close();
        for sleeper in receivers.into_iter().chain(senders) {
            assert!(sleeper.join().unwrap());
        }
    });
}

#[test]
fn an_item_too_large_for_a_cell_touches_nothing() {
    let queue = Queue::<String>::options().capacity(2).cell_bytes(16).spill_bytes(0).create().unwrap();
    assert_eq!(queue.cell_bytes(), 16);
    queue.send("x".repeat(15)).unwrap(); // one byte says how long it is
    let error = queue.send("x".repeat(16)).unwrap_err();
    assert!(error.is_too_large());
    assert!(error.to_string().contains("17") && error.to_string().contains("cell_bytes"), "{error}");
    assert_eq!(error.into_inner().len(), 16);
    assert_eq!((queue.len(), queue.recv().unwrap().len()), (1, 15));
    queue.try_send("a".into()).unwrap();
    queue.try_send("b".into()).unwrap();
    assert!(queue.is_full());
}

/// What it writes is not what it reads.
struct Liar;
impl Serialize for Liar {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u8(7)
    }
}
impl<'de> Deserialize<'de> for Liar {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|_| Liar)
    }
}

#[test]
fn an_item_that_does_not_decode_is_an_error_and_is_consumed() {
    let queue = Queue::<Liar>::new(1).unwrap();
    for _ in 0..3 {
        queue.send(Liar).unwrap();
        let error = queue.recv().map(|_| ()).unwrap_err();
        assert!(error.is_codec(), "{error}");
        assert!(queue.is_empty());
    }
    queue.send(Liar).unwrap();
    queue.close();
    assert_eq!(queue.iter().filter(|item| item.as_ref().is_err_and(|e| e.is_codec())).count(), 1);
}

/// Refuses to be written, in one of three ways.
struct Stubborn(u8, Option<Queue<u8>>);
impl Serialize for Stubborn {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match (self.0, &self.1) {
            (0, _) => Err(serde::ser::Error::custom("no")),
            (1, _) => panic!("on purpose"),
            (_, Some(other)) => {
                other.send(42).unwrap();
                serializer.serialize_u8(self.0)
            }
            (_, None) => serializer.serialize_u8(self.0),
        }
    }
}
impl<'de> Deserialize<'de> for Stubborn {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        u8::deserialize(deserializer).map(|n| Stubborn(n, None))
    }
}

#[test]
fn user_code_never_runs_under_a_claim() {
    let queue = Queue::<Stubborn>::new(1).unwrap();
    assert!(queue.send(Stubborn(0, None)).unwrap_err().error().is_codec());
    assert!(std::panic::catch_unwind(|| queue.send(Stubborn(1, None)).unwrap()).is_err());
    assert!(queue.is_empty());
    let other = Queue::<u8>::new(1).unwrap();
    queue.send(Stubborn(2, Some(other.clone()))).unwrap();
    assert_eq!((other.recv().unwrap(), queue.recv().unwrap().0), (42, 2));
}

#[test]
fn impossible_shapes_are_refused() {
    assert!(Queue::<u8>::new(0).unwrap_err().is_invalid());
    assert!(Queue::<u8>::new(usize::MAX).unwrap_err().is_invalid());
    assert!(Queue::<u8>::options().cell_bytes(0).create().unwrap_err().is_invalid());
    assert!(Queue::<u8>::options().cell_bytes(usize::MAX).create().unwrap_err().is_invalid());
    assert!(Queue::<Plain<u64>>::options().cell_bytes(7).create().unwrap_err().is_invalid());
    let huge = Queue::<u8>::options().capacity(1 << 31).cell_bytes(1 << 30).create().unwrap_err();
    assert!(huge.is_invalid() || huge.is_out_of_memory(), "{huge:?}");
    assert!(Queue::<u8>::new(1).unwrap().recv_many(0).unwrap_err().is_invalid());
}

#[test]
fn another_type_or_encoding_is_refused() {
    let queue = Queue::<u64>::new(1).unwrap();
    assert!(Queue::<String>::attach(queue.segment()).unwrap_err().is_wrong_type());
    assert!(Queue::<Plain<u64>>::attach(queue.segment()).unwrap_err().is_wrong_type());
    assert!(mutirao::Value::<u64>::attach(queue.segment()).unwrap_err().is_wrong_type());
}

#[test]
fn debug_shows_state_and_not_items() {
    let queue = Queue::<String>::new(2).unwrap();
    queue.send("secret".into()).unwrap();
    let text = format!("{queue:?}");
    assert!(text.contains("len: 1") && text.contains("capacity: 2") && !text.contains("secret"), "{text}");
}
