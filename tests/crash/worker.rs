//! One of the processes that use everything at once, until it is killed or told to stop.

use crate::history::{Call, History};
use mutirao::{Array, Bytes, Dict, List, Lock, LockError, Mutex, Plain, Queue, RwLock, Segment, Semaphore, Value};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::time::Duration;

/// More than anybody ever has to wait, less than for ever.
pub const PATIENCE: Duration = Duration::from_secs(20);
/// How long one waits for an item, or for room.
const BRIEFLY: Duration = Duration::from_millis(3);
pub const PERMITS: u32 = 3;
pub const CAPACITY: usize = 16;
const COUNTS: usize = 4;
/// More items than this are not pushed: the list would grow as long as the test lasts.
const LIST_MAX: usize = 200;
/// The most bytes of the memory that all objects share.
pub const MEMORY: u64 = 8 << 20;

/// An item: its number in every word, so that a torn one shows.
pub type Item = Plain<[u64; 6]>;

/// Everything that is shared, in one segment.
#[derive(Clone, Serialize, Deserialize)]
pub struct Stage {
    pub shop: Segment,
    pub stop: Value<u32>,
    pub counter: Value<u64>,
    pub wide: Mutex<[u64; 8]>,
    pub many: RwLock<[u64; 8]>,
    pub lock: Lock,
    /// Two numbers that are equal whenever the lock is not held, unless its holder died.
    pub guarded: Array<u64>,
    /// Pairs of numbers that are equal whenever their range is not held, unless its holder died.
    pub pairs: Array<u64>,
    pub semaphore: Semaphore,
    pub queue: Queue<Item>,
    pub jobs: Queue<Item>,
    pub large: Queue<Bytes>,
    /// Items that are pushed and popped.
    pub list: List<Item>,
    /// So many items, each counting how often it was changed.
    pub counts: List<Item>,
    pub dict: Dict<u64, u64>,
    /// Records that count how often they were changed, and some that come and go.
    pub records: Dict<String, Item>,
    /// How often a holder was found dead, and what it guarded half changed.
    pub repaired: Value<u64>,
}

impl Stage {
    pub fn new() -> mutirao::Result<Self> {
        let shop = Segment::anonymous(MEMORY)?;
        let counts = List::new_in(&shop)?;
        counts.extend([Plain([0; 6]); COUNTS])?;
        Ok(Self {
            stop: Value::new_in(&shop, 0)?,
            counter: Value::new_in(&shop, 0)?,
            wide: Mutex::new_in(&shop, [0; 8])?,
            many: RwLock::new_in(&shop, [0; 8])?,
            lock: Lock::new_in(&shop)?,
            guarded: Array::new_in(&shop, 2)?,
            pairs: Array::new_in(&shop, 8)?,
            semaphore: Semaphore::new_in(&shop, PERMITS)?,
            queue: Queue::new_in(&shop, CAPACITY)?,
            jobs: Queue::options().capacity(CAPACITY).leases(CAPACITY).create_in(&shop)?,
            large: Queue::new_in(&shop, CAPACITY)?,
            list: List::new_in(&shop)?,
            counts,
            dict: Dict::options().create_in(&shop)?,
            records: Dict::options().create_in(&shop)?,
            repaired: Value::new_in(&shop, 0)?,
            shop,
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
        if call.sends() {
            let first = number << 32 | sent;
            let mut next = first;
            history.of(call, first, times, || {
                next += 1;
                send(&stage, call, next - 1)
            });
            sent += u64::from(times);
        } else {
            history.of(call, 0, times, || once(&stage, call, number));
        }
    }
}

fn send(stage: &Stage, call: Call, number: u64) -> Option<u64> {
    let item = Plain([number; 6]);
    if call == Call::PushToList {
        return (stage.list.len() < LIST_MAX).then(|| stage.list.push(item).expect("room")).map(|()| number);
    }
    let sent = match call {
        Call::Send => stage.queue.send_timeout(item, BRIEFLY).map_err(|e| e.error().is_timeout()),
        Call::SendJob => stage.jobs.send_timeout(item, BRIEFLY).map_err(|e| e.error().is_timeout()),
        _ => stage.large.send_timeout(large(number), BRIEFLY).map_err(|e| e.error().is_timeout()),
    };
    match sent {
        Ok(()) => Some(number),
        Err(timed_out) => {
            assert!(timed_out, "{call:?} was refused");
            None
        }
    }
}

/// An item of up to 20 000 bytes, its number in every word.
fn large(number: u64) -> Bytes {
    let words = 1 + (number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as usize % 2500;
    Bytes(std::iter::repeat_n(number.to_le_bytes(), words).flatten().collect())
}

/// The number of a large item that came whole.
pub fn number_of_large(item: &Bytes) -> u64 {
    let number = u64::from_le_bytes(item.0[..8].try_into().expect("8 bytes"));
    assert!(*item == large(number), "a torn item of {} bytes", item.0.len());
    number
}

/// The number of an item that came whole.
pub fn number_of(Plain(words): Item) -> u64 {
    assert!(words.iter().all(|word| *word == words[0]), "a torn item: {words:?}");
    words[0]
}

fn once(stage: &Stage, call: Call, me: u64) -> Option<u64> {
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
        Call::AddUnderRwLock => {
            {
                let guard = stage.many.read_timeout(PATIENCE).expect("to read");
                assert!(guard.iter().all(|word| *word == guard[0]), "torn under the lock: {:?}", *guard);
            }
            let mut guard = stage.many.write_timeout(PATIENCE).expect("to write");
            guard.iter_mut().for_each(|word| *word += 1);
            Some(guard[0])
        }
        Call::AddInRange => Some(add_in_range(stage, 2 * (me % 4) as usize)),
        Call::Name => {
            let name = format!("of {me}");
            let made = Array::<u64>::create(&stage.shop, &name, 600).expect("a name of my own");
            made.fill(me).expect("mine");
            let found = Array::<u64>::open(&stage.shop, &name).expect("made above");
            assert!(found.view(..).expect("mine").iter().all(|word| word == me), "another's memory");
            stage.shop.remove(&name).expect("made above");
            Some(0)
        }
        Call::Recv => received(stage.queue.recv_timeout(BRIEFLY)).map(number_of),
        Call::RecvLarge => received(stage.large.recv_timeout(BRIEFLY)).map(|item| number_of_large(&item)),
        Call::DoJob => {
            let job = received(stage.jobs.lease_timeout(BRIEFLY))?;
            let number = number_of(*job);
            job.ack().expect("mine");
            Some(number)
        }
        Call::PopFromList => stage.list.pop().expect("a list").map(number_of),
        Call::ChangeList => {
            let changed = stage.counts.update((me % COUNTS as u64) as usize, |item| Plain([number_of(*item) + 1; 6]));
            Some(number_of(changed.expect("it is that long")))
        }
        Call::AddInDict => Some(stage.dict.fetch_add(&(me % 8), 1).expect("room")),
        Call::ChangeRecord => {
            let more = |item: Option<Item>| Plain([item.map_or(0, number_of) + 1; 6]);
            Some(number_of(stage.records.update(&format!("record {}", me % 4), more).expect("room")))
        }
        Call::ComeAndGo => {
            let key = format!("of {me}");
            assert_eq!(stage.records.insert(&key, &Plain([me; 6])).expect("room"), None);
            assert_eq!(stage.records.get(&key).expect("a dictionary").map(number_of), Some(me));
            assert_eq!(stage.records.remove(&key).expect("a dictionary").map(number_of), Some(me));
            Some(0)
        }
        Call::Send | Call::SendJob | Call::SendLarge | Call::PushToList => None,
    }
}

fn received<T>(got: mutirao::Result<T>) -> Option<T> {
    got.inspect_err(|error| assert!(error.is_timeout(), "{error}")).ok()
}

fn add_in_range(stage: &Stage, at: usize) -> u64 {
    let mut guard = match stage.pairs.write_timeout(at..at + 2, PATIENCE) {
        Ok(guard) => guard,
        Err(LockError::OwnerDied(mut guard)) => {
            let (one, other) = (guard.get(0).expect("held"), guard.get(1).expect("held"));
            if one != other {
                stage.repaired.fetch_add(1);
            }
            // The second one was written last.
            guard.set(0, other).expect("held");
            guard.mark_consistent().expect("held");
            guard
        }
        Err(LockError::Failed(error)) => panic!("the range: {error}"),
    };
    let (one, other) = (guard.get(0).expect("held"), guard.get(1).expect("held"));
    assert_eq!(one, other, "somebody else is in, or was and died unnoticed");
    guard.set(0, one + 1).expect("held");
    guard.set(1, one + 1).expect("held");
    one
}
