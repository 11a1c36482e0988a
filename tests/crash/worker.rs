//! One of the processes that use everything at once, until it is killed or told to stop.

use crate::history::{Call, History};
use mutirao::{Array, Lock, LockError, Mutex, Plain, Queue, Semaphore, Value};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::time::Duration;

/// More than anybody ever has to wait, less than for ever.
pub const PATIENCE: Duration = Duration::from_secs(20);
pub const PERMITS: u32 = 3;
pub const CAPACITY: usize = 16;

/// An item: its number in every word, so that a torn one shows.
pub type Item = Plain<[u64; 6]>;

/// Everything that is shared.
#[derive(Clone, Serialize, Deserialize)]
pub struct Stage {
    pub stop: Value<u32>,
    pub counter: Value<u64>,
    pub wide: Mutex<[u64; 8]>,
    pub lock: Lock,
    /// Two numbers that are equal whenever the lock is not held, unless its holder died.
    pub guarded: Array<u64>,
    pub semaphore: Semaphore,
    pub queue: Queue<Item>,
    /// How often a holder of the lock was found dead, and the guarded numbers different.
    pub repaired: Value<u64>,
}

impl Stage {
    pub fn new() -> mutirao::Result<Self> {
        Ok(Self {
            stop: Value::new(0)?,
            counter: Value::new(0)?,
            wide: Mutex::new([0; 8])?,
            lock: Lock::new()?,
            guarded: Array::new(2)?,
            semaphore: Semaphore::new(PERMITS)?,
            queue: Queue::new(CAPACITY)?,
            repaired: Value::new(0)?,
        })
    }
}

/// A small generator of numbers, the same from the same seed (xorshift64*).
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % n
    }
}

/// The worker `number`, which writes what it does to `path`.
pub fn work((stage, number, seed, path): (Stage, u64, u64, PathBuf)) {
    let mut history = History::create(&path);
    let mut dice = Dice::new(seed ^ number);
    let mut sent = 0;
    while stage.stop.load() == 0 {
        let call = Call::ALL[dice.below(Call::ALL.len() as u64) as usize];
        let times = 1 + dice.below(call.times_max()) as u32;
        match call {
            Call::Send => {
                let first = number << 32 | sent;
                let mut next = first;
                history.of(call, first, times, || {
                    next += 1;
                    send(&stage, next - 1)
                });
                sent += u64::from(times);
            }
            _ => history.of(call, 0, times, || once(&stage, call)),
        }
    }
}

fn send(stage: &Stage, number: u64) -> Option<u64> {
    match stage.queue.send_timeout(Plain([number; 6]), Duration::from_millis(3)) {
        Ok(()) => Some(number),
        Err(error) => {
            assert!(error.error().is_timeout(), "{error}");
            None
        }
    }
}

/// The number of an item that came whole.
pub fn number_of(Plain(words): Item) -> u64 {
    assert!(words.iter().all(|word| *word == words[0]), "a torn item: {words:?}");
    words[0]
}

fn once(stage: &Stage, call: Call) -> Option<u64> {
    match call {
        Call::Add => Some(stage.counter.fetch_add(1)),
        Call::AddUnderMutex => {
            let mut guard = stage.wide.lock_timeout(PATIENCE).expect("the mutex");
            assert!(guard.iter().all(|word| *word == guard[0]), "a torn mutex: {:?}", *guard);
            guard.iter_mut().for_each(|word| *word += 1);
            Some(guard[0])
        }
        Call::AddUnderLock => {
            let get = |i| stage.guarded.get(i).expect("an element");
            let set = |i, to| stage.guarded.set(i, to).expect("an element");
            let _guard = match stage.lock.lock_timeout(PATIENCE) {
                Ok(guard) => guard,
                Err(LockError::OwnerDied(mut guard)) => {
                    // The second one was written last.
                    if get(0) != get(1) {
                        stage.repaired.fetch_add(1);
                    }
                    set(0, get(1));
                    guard.mark_consistent();
                    guard
                }
                Err(LockError::Failed(error)) => panic!("the lock: {error}"),
            };
            assert_eq!(get(0), get(1), "somebody else is in, or was and died unnoticed");
            set(0, get(0) + 1);
            set(1, get(0));
            Some(get(1))
        }
        Call::Permit => {
            let _permit = stage.semaphore.acquire_timeout(PATIENCE).expect("a permit");
            Some(0)
        }
        Call::Recv => match stage.queue.recv_timeout(Duration::from_millis(3)) {
            Ok(item) => Some(number_of(item)),
            Err(error) => {
                assert!(error.is_timeout(), "{error}");
                None
            }
        },
        Call::Send => None,
    }
}
