//! The loops of the examples, from the examples' own file, on the raw lock and the raw ring, one worker dying at every
//! step. What runs there between processes is what is explored here.

use std::cell::Cell;
use std::sync::{Arc, Mutex};

use mutirao::deadline::Deadline;
use mutirao::model::{Kernel, Life, Payload, publications, thread};
use mutirao::raw::lock::RawLock;
use mutirao::raw::ring::Refusal;
use mutirao::sync::{AtomicU64, Ordering::Relaxed, Patience};

use crate::ring_harness::{Memory, patient};
use crate::support::{Fate, at_least, every_step};

#[path = "../../examples/loops.rs"]
mod examples;
use examples::{Channel, Mutual, Number, Tally, consume, increment_atomic, increment_locked, produce};

/// The ring, as one process holds it.
struct Queue {
    memory: Arc<Memory>,
    life: Life,
    /// What was published, also by whoever died right after.
    sent: Arc<Mutex<Vec<u64>>>,
    about: Cell<Option<(u32, u64)>>,
}

impl Queue {
    fn write_down(&self) {
        if let Some((before, item)) = self.about.take()
            && publications() > before
        {
            self.sent.lock().unwrap().push(item);
        }
    }
}

impl Channel for Queue {
    type Item = u64;
    type Error = Refusal;

    fn send(&self, item: u64) -> Result<(), Refusal> {
        let ticket = self.memory.ring().push(&self.life, &mut patient())?;
        self.memory.set(ticket, item);
        self.about.set(Some((publications(), item)));
        self.memory.ring().publish(&self.life, ticket);
        self.write_down();
        Ok(())
    }

    fn recv(&self) -> Result<Option<u64>, Refusal> {
        match self.memory.ring().pop(&self.life, &mut patient()) {
            Ok(ticket) => {
                let item = self.memory.get(ticket);
                self.memory.ring().free(&self.life, ticket);
                Ok(Some(item))
            }
            Err(Refusal::Closed) => Ok(None),
            Err(e) => Err(e),
        }
    }
}

struct List(Mutex<Vec<u64>>);

impl Tally<u64> for List {
    fn count(&self, item: u64) {
        self.0.lock().unwrap().push(item);
    }
}

/// A producer dies at every step of its loop: what it published arrives, once and in order, and nothing else.
#[test]
fn a_producer_of_the_example_dies() {
    let all = [vec![], vec![1], vec![1, 2]];
    every_step(Some(at_least(1)), &all, |fate: Fate| {
        let (kernel, memory, sent) = (Kernel::new(), Memory::new(1, 0), Arc::new(Mutex::new(vec![])));
        let queue = |id| {
            let (kernel, memory, sent) = (kernel.clone(), memory.clone(), sent.clone());
            move || Queue { life: kernel.enter(id), memory, sent, about: Cell::new(None) }
        };
        let (mortal, other) = (queue(1), queue(2));
        let (grave, ground) = (kernel.clone(), memory.clone());
        let producer = thread::spawn(move || {
            let queue = mortal();
            if fate.run(|| produce([1, 2], &queue)).is_none() {
                queue.write_down();
                ground.bury(&grave, 1);
            }
            // Whoever watches over the workers closes when all have ended.
            grave.enter(3);
            ground.ring().close();
        });
        let consumer = thread::spawn(move || {
            let list = List(Mutex::new(vec![]));
            let n = consume(&other(), &list).expect("nobody lies about this ring");
            assert_eq!(n, list.0.lock().unwrap().len() as u64);
            list.0.into_inner().unwrap()
        });
        producer.join().unwrap();
        let got = consumer.join().unwrap();
        assert_eq!(got, *sent.lock().unwrap());
        got
    });
}

/// A consumer dies at every step of its loop: another takes everything that it did not finish.
#[test]
fn a_consumer_of_the_example_dies() {
    // The last of the first consumer's items may die with it: freed, not yet counted.
    every_step(Some(at_least(1)), &[0, 1], |fate: Fate| {
        let (kernel, memory, sent) = (Kernel::new(), Memory::new(2, 0), Arc::new(Mutex::new(vec![])));
        let queue = |id| {
            let (kernel, memory, sent) = (kernel.clone(), memory.clone(), sent.clone());
            move || Queue { life: kernel.enter(id), memory, sent, about: Cell::new(None) }
        };
        produce([1, 2], &queue(7)()).unwrap();
        memory.ring().close();
        let list = Arc::new(List(Mutex::new(vec![])));
        let (mortal, other) = (queue(1), queue(2));
        let (grave, ground, first, second) = (kernel.clone(), memory.clone(), list.clone(), list.clone());
        let dying = thread::spawn(move || {
            let queue = mortal();
            if fate.run(|| consume(&queue, &*first)).is_none() {
                ground.bury(&grave, 1);
            }
        });
        let living = thread::spawn(move || consume(&other(), &*second).unwrap());
        dying.join().unwrap();
        living.join().unwrap();
        // Whatever the last consumer left to a claim that was still alive when it looked.
        consume(&queue(7)(), &*list).unwrap();
        let mut got = list.0.lock().unwrap().clone();
        got.sort_unstable();
        let lost = 2 - got.len();
        got.dedup();
        assert_eq!(got.len() + lost, 2, "twice");
        lost
    });
}

/// The lock, as one process holds it, and the number that it guards.
struct Guarded {
    lock: Arc<RawLock>,
    life: Life,
    number: Arc<Payload>,
}

struct Held<'a>(&'a Guarded);

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.lock.release(false);
    }
}

impl Mutual for Guarded {
    type Held<'a> = Held<'a>;
    type Error = mutirao::raw::lock::Refused;

    fn lock(&self) -> Result<Held<'_>, Self::Error> {
        self.lock.acquire(&self.life, &mut Patience::new(Deadline::NEVER))?;
        Ok(Held(self))
    }
}

impl Number for Guarded {
    fn load(&self) -> u64 {
        self.number.get()
    }
    fn store(&self, value: u64) {
        self.number.set(value);
    }
    fn fetch_add(&self, _: u64) {
        unreachable!("the loop under the lock needs no atomic step");
    }
}

/// Whoever holds the lock dies at every step: the other counts on, and what the dead had stored is kept.
#[test]
fn a_counter_of_the_example_dies() {
    every_step(Some(at_least(2)), &[1, 2, 3], |fate: Fate| {
        let kernel = Kernel::new();
        let (lock, number) = (Arc::new(RawLock::new()), Arc::new(Payload::new(0)));
        let guarded = |id| {
            let (kernel, lock, number) = (kernel.clone(), lock.clone(), number.clone());
            move || Guarded { life: kernel.enter(id), lock, number }
        };
        let (mortal, other) = (guarded(1), guarded(2));
        let (grave, ground) = (kernel.clone(), lock.clone());
        let dying = thread::spawn(move || {
            let mine = mortal();
            if fate.run(|| increment_locked(&mine, &mine, 2).map_err(drop)).is_none() {
                grave.bury(1, &[ground.futex()]);
            }
        });
        let living = thread::spawn(move || {
            let mine = other();
            increment_locked(&mine, &mine, 1).map_err(drop).unwrap();
        });
        dying.join().unwrap();
        living.join().unwrap();
        number.get()
    });
}

struct Word(AtomicU64);

impl Number for Word {
    fn load(&self) -> u64 {
        self.0.load(Relaxed)
    }
    fn store(&self, value: u64) {
        self.0.store(value, Relaxed);
    }
    fn fetch_add(&self, n: u64) {
        self.0.fetch_add(n, Relaxed);
    }
}

/// Single steps: a death loses what was not yet added, and nothing else.
#[test]
fn an_atomic_counter_of_the_example_dies() {
    every_step(Some(at_least(2)), &[2, 3, 4], |fate: Fate| {
        let word = Arc::new(Word(AtomicU64::new(0)));
        let (first, second) = (word.clone(), word.clone());
        let dying = thread::spawn(move || fate.run(|| increment_atomic(&*first, 2)).is_some());
        let living = thread::spawn(move || increment_atomic(&*second, 2));
        dying.join().unwrap();
        living.join().unwrap();
        word.load()
    });
}
