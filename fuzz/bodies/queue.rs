//! Queue operations against a `VecDeque`: the same answers, item by item.

use std::collections::VecDeque;

use arbitrary::{Arbitrary, Unstructured};
use mutirao::Queue;

const CELL_BYTES: usize = 32;

#[derive(Arbitrary, Debug)]
enum Operation {
    Send { len: u8, fill: u8 },
    Recv,
    SendAll { lens: [u8; 3], fill: u8 },
    RecvMany { most: u8 },
    Len,
    Close,
    CloneAndDrop,
    Lease { given_back: u8 },
}

#[derive(Arbitrary, Debug)]
struct Plan {
    capacity: u8,
    operations: Vec<Operation>,
}

/// One input.
pub fn queue(bytes: &[u8]) {
    let Ok(plan) = Plan::arbitrary_take_rest(Unstructured::new(bytes)) else { return };
    let capacity = usize::from(plan.capacity % 8) + 1;
    let ours = Queue::<Vec<u8>>::options().capacity(capacity).cell_bytes(CELL_BYTES).create().expect("a small queue");
    let mut both = Both { ours, model: VecDeque::new(), capacity, closed: false };
    for operation in &plan.operations {
        both.apply(operation);
        both.compare();
    }
}

struct Both {
    ours: Queue<Vec<u8>>,
    model: VecDeque<Vec<u8>>,
    capacity: usize,
    closed: bool,
}

impl Both {
    fn apply(&mut self, operation: &Operation) {
        match *operation {
            Operation::Send { len, fill } => self.send(item(len, fill)),
            Operation::Recv => self.recv(),
            Operation::SendAll { lens, fill } => self.send_all(lens.map(|len| item(len % 32, fill)).into()),
            Operation::RecvMany { most } => self.recv_many(usize::from(most % 10)),
            Operation::Len => assert_eq!(self.ours.capacity(), self.capacity),
            Operation::Close => {
                self.ours.close();
                self.closed = true;
            }
            Operation::CloneAndDrop => drop(self.ours.clone()),
            Operation::Lease { given_back } => self.lease(u32::from(given_back % 4)),
        }
    }

    fn compare(&self) {
        assert_eq!(self.ours.len(), self.model.len());
        assert_eq!(self.ours.is_empty(), self.model.is_empty());
        assert_eq!(self.ours.is_closed(), self.closed);
    }

    fn send(&mut self, item: Vec<u8>) {
        let sent = self.ours.try_send(item.clone());
        if self.closed {
            let back = sent.expect_err("closed");
            assert!(back.is_closed());
            assert_eq!(back.into_inner(), item);
        } else if self.model.len() == self.capacity {
            let back = sent.expect_err("full");
            assert!(back.is_full());
            assert_eq!(back.into_inner(), item);
        } else {
            sent.expect("room");
            self.model.push_back(item);
        }
    }

    fn recv(&mut self) {
        match (self.ours.try_recv(), self.model.pop_front()) {
            (Ok(ours), Some(model)) => assert_eq!(ours, model),
            (Err(why), None) => assert!(if self.closed { why.is_closed() } else { why.is_would_block() }),
            (ours, model) => panic!("{ours:?} instead of {model:?}"),
        }
    }

    /// What is given back is the next that comes.
    fn lease(&mut self, given_back: u32) {
        for attempt in 1..=given_back + 1 {
            match (self.ours.try_lease(), self.model.front()) {
                (Ok(lease), Some(model)) => {
                    assert_eq!((&*lease, lease.attempt()), (model, attempt));
                    assert_eq!(self.ours.leased(), 1);
                    if attempt > given_back {
                        lease.ack().expect("not forked");
                        self.model.pop_front();
                    }
                }
                (Err(why), None) => {
                    assert!(if self.closed { why.is_closed() } else { why.is_would_block() });
                    return;
                }
                (ours, model) => panic!("{ours:?} instead of {model:?}"),
            }
        }
        assert_eq!(self.ours.leased(), 0);
    }

    /// Only where it does not have to wait.
    fn send_all(&mut self, items: Vec<Vec<u8>>) {
        if self.closed || self.model.len() + items.len() > self.capacity {
            return;
        }
        self.ours.send_all(items.iter().cloned()).expect("room for all");
        self.model.extend(items);
    }

    fn recv_many(&mut self, most: usize) {
        if self.model.is_empty() || most == 0 {
            return;
        }
        let got = self.ours.recv_many(most).expect("items");
        let expected: Vec<_> = self.model.drain(..most.min(self.model.len())).collect();
        assert_eq!(got, expected);
    }
}

/// Some fit a cell, some do not, a few are large.
fn item(len: u8, fill: u8) -> Vec<u8> {
    let len = usize::from(len);
    vec![fill; if len >= 250 { 1000 * (len - 249) } else { len % 40 }]
}
