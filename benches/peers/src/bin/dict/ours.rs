//! The dictionary, its workers processes.

use std::cell::RefCell;
use std::marker::PhantomData;
use std::rc::Rc;

use mutirao::{Dict, Plain, Process, Queue, Segment, Value};
use serde::{Deserialize, Serialize};

use crate::Outcome;
use crate::contest::{Contestant, Mix, phase, share};
use crate::keys::{Key, Payload, Streams};
use crate::machine::{pin, wait_for};
use crate::maps::{Map, one_by_one, probe};

/// What a segment of a dictionary may grow to.
const ROOM: u64 = 6 << 30;
/// Keys of a batch.
const BATCH: usize = 16;

/// A key as the dictionary has it.
pub trait Ours: Key {
    type Stored: mutirao::DictItem;
    type StoredValue: mutirao::DictItem + Clone;
    fn stored(&self) -> Self::Stored;
    fn store(value: Self::Value) -> Self::StoredValue;
    fn load(value: Self::StoredValue) -> Self::Value;
    /// Reads a value as one does that need not be moved.
    fn read(dict: &Of<Self>, key: &Self) -> u64;
    /// Reads many values so.
    fn read_many(dict: &Of<Self>, keys: &[Self::Stored]) -> u64;
    /// Whether that is neither [`Dict::get`] nor [`Dict::get_many`].
    const READS_IN_PLACE: bool;
}

impl Ours for u64 {
    type Stored = u64;
    type StoredValue = u64;
    #[inline(always)]
    fn stored(&self) -> u64 {
        *self
    }
    #[inline(always)]
    fn store(value: u64) -> u64 {
        value
    }
    #[inline(always)]
    fn load(value: u64) -> u64 {
        value
    }
    const READS_IN_PLACE: bool = false;
    #[inline(always)]
    fn read(dict: &Of<Self>, key: &u64) -> u64 {
        probe(&dict.get(key).expect("whole").expect("there"))
    }
    #[inline(always)]
    fn read_many(dict: &Of<Self>, keys: &[u64]) -> u64 {
        dict.get_many(keys).expect("whole").iter().map(|value| probe(&value.expect("there"))).fold(0, u64::wrapping_add)
    }
}

impl Ours for [u8; 16] {
    type Stored = Plain<[u8; 16]>;
    type StoredValue = Plain<[u8; 256]>;
    #[inline(always)]
    fn stored(&self) -> Self::Stored {
        Plain(*self)
    }
    #[inline(always)]
    fn store(value: [u8; 256]) -> Self::StoredValue {
        Plain(value)
    }
    #[inline(always)]
    fn load(value: Self::StoredValue) -> [u8; 256] {
        value.0
    }
    const READS_IN_PLACE: bool = true;
    #[inline(always)]
    fn read(dict: &Of<Self>, key: &Self) -> u64 {
        let read = |bytes: &[u8]| bytes.as_array::<256>().map_or(0, probe);
        dict.get_with(&key.stored(), read).expect("whole").expect("there")
    }
    #[inline(always)]
    fn read_many(dict: &Of<Self>, keys: &[Self::Stored]) -> u64 {
        let mut sum = 0_u64;
        let read = |_: &Self::Stored, bytes: Option<&[u8]>| {
            sum = sum.wrapping_add(bytes.and_then(|bytes| bytes.as_array::<256>()).map_or(0, probe));
        };
        dict.get_many_with(keys, read).expect("whole");
        sum
    }
}

type Of<K> = Dict<<K as Ours>::Stored, <K as Ours>::StoredValue>;

/// One key at a time: values are read where they were copied to.
pub struct Single<K: Ours>(pub Of<K>, #[allow(dead_code)] pub Segment);

/// The same, with values that are returned.
pub struct Values<K: Ours>(pub Of<K>);

fn make<K: Ours>(entries: usize) -> (Of<K>, Segment) {
    let segment = Segment::anonymous(ROOM).expect("room");
    let dict = Dict::options().capacity(entries).create_in(&segment).expect("room");
    (dict, segment)
}

impl<K: Ours> Map<K> for Single<K> {
    fn made_for(entries: usize) -> Self {
        let (dict, segment) = make::<K>(entries);
        Self(dict, segment)
    }
    fn insert_all(&self, items: &[(K, K::Value)]) {
        for (key, value) in items {
            self.0.set(&key.stored(), &K::store(*value)).expect("room");
        }
    }
    #[inline(never)]
    fn run(&self, keys: &[K], first: u64, every: u64) -> u64 {
        one_by_one(
            (keys, first, every),
            |key| K::read(&self.0, key),
            |key, value| {
                self.0.set(&key.stored(), &K::store(value)).expect("room");
            },
        )
    }
}

impl<K: Ours> Map<K> for Values<K> {
    fn made_for(entries: usize) -> Self {
        Self(make::<K>(entries).0)
    }
    fn insert_all(&self, items: &[(K, K::Value)]) {
        for (key, value) in items {
            self.0.insert(&key.stored(), &K::store(*value)).expect("room");
        }
    }
    #[inline(never)]
    fn run(&self, keys: &[K], first: u64, every: u64) -> u64 {
        one_by_one(
            (keys, first, every),
            |key| probe(&K::load(self.0.get(&key.stored()).expect("whole").expect("there"))),
            |key, value| {
                self.0.insert(&key.stored(), &K::store(value)).expect("room");
            },
        )
    }
}

/// Sixteen at a time.
pub struct Batches<K: Ours>(pub Of<K>);

impl<K: Ours> Map<K> for Batches<K> {
    fn made_for(entries: usize) -> Self {
        Self(make::<K>(entries).0)
    }
    fn insert_all(&self, items: &[(K, K::Value)]) {
        let stored = |item: &(K, K::Value)| (item.0.stored(), K::store(item.1));
        self.0.insert_many(items.iter().map(stored)).expect("room");
    }
    #[inline(never)]
    fn run(&self, keys: &[K], mut first: u64, every: u64) -> u64 {
        let mut sum = 0_u64;
        for keys in keys.chunks(BATCH) {
            let puts = |n: u64| every != 0 && n.is_multiple_of(every);
            let stored = || keys.iter().zip(first..).map(|(key, n)| (key.stored(), n));
            if every != 0 {
                let put = stored().filter(|(_, n)| puts(*n)).map(|(key, n)| (key, K::store(K::Value::nth(n))));
                self.0.insert_many(put).expect("room");
            }
            let get: Vec<_> = stored().filter(|(_, n)| !puts(*n)).map(|(key, _)| key).collect();
            sum = sum.wrapping_add(K::read_many(&self.0, &get));
            first += BATCH as u64;
        }
        sum
    }
}

/// What a worker is to do next.
#[derive(Clone, Copy, Serialize, Deserialize)]
enum Command {
    Fill { workers: usize, way: Way },
    Run { workers: usize, mix: Mix, ms: u64, way: Way },
}

/// A way of using it.
#[derive(Clone, Copy, Serialize, Deserialize)]
enum Way {
    Single,
    Values,
    Batches,
}

#[derive(Clone, Serialize, Deserialize)]
struct Desk {
    commands: Queue<Command>,
    results: Queue<f64>,
    /// How many are ready for what comes next.
    here: Value<u64>,
}

/// Workers of one dictionary.
struct Crew {
    desks: Vec<Desk>,
    processes: Vec<Process<()>>,
}

fn work<K: Ours>((worker, desk, dict): (usize, Desk, Of<K>), segment: Segment) {
    pin(worker);
    let (values, batches) = (Values::<K>(dict.clone()), Batches::<K>(dict.clone()));
    let single = Single::<K>(dict, segment);
    let mut streams = None;
    let meet = |workers: usize| {
        desk.here.fetch_add(1);
        wait_for(|| desk.here.load() >= workers as u64);
    };
    while let Ok(command) = desk.commands.recv() {
        let rate = match command {
            Command::Fill { workers, way } => {
                meet(workers);
                match way {
                    Way::Single => share(&single, worker, workers),
                    Way::Values => share(&values, worker, workers),
                    Way::Batches => share(&batches, worker, workers),
                }
            }
            Command::Run { workers, mix, ms, way } => {
                let streams = streams.get_or_insert_with(|| Streams::<K>::of(worker as u64));
                meet(workers);
                match way {
                    Way::Single => phase(&single, streams, mix, ms),
                    Way::Values => phase(&values, streams, mix, ms),
                    Way::Batches => phase(&batches, streams, mix, ms),
                }
            }
        };
        if desk.results.send(rate).is_err() {
            return;
        }
    }
}

fn work_words((work_, segment): ((usize, Desk, Of<u64>), Segment)) {
    work::<u64>(work_, segment);
}

fn work_records((work_, segment): ((usize, Desk, Of<[u8; 16]>), Segment)) {
    work::<[u8; 16]>(work_, segment);
}

/// A key whose workers can be started.
pub trait Hired: Ours {
    fn hire(worker: (usize, Desk_, Of<Self>), segment: Segment) -> mutirao::Result<Process<()>>;
}

pub struct Desk_(Desk);

impl Hired for u64 {
    fn hire((worker, desk, dict): (usize, Desk_, Of<Self>), segment: Segment) -> mutirao::Result<Process<()>> {
        Process::spawn(work_words, ((worker, desk.0, dict), segment))
    }
}

impl Hired for [u8; 16] {
    fn hire((worker, desk, dict): (usize, Desk_, Of<Self>), segment: Segment) -> mutirao::Result<Process<()>> {
        Process::spawn(work_records, ((worker, desk.0, dict), segment))
    }
}

impl Crew {
    fn hire<K: Hired>(entries: usize) -> Outcome<Self> {
        let (dict, segment) = make::<K>(entries);
        let (here, mut desks, mut processes) = (Value::new(0)?, Vec::new(), Vec::new());
        for worker in 0..2 {
            let desk = Desk { commands: Queue::new(4)?, results: Queue::new(4)?, here: here.clone() };
            processes.push(K::hire((worker, Desk_(desk.clone()), dict.clone()), segment.clone())?);
            desks.push(desk);
        }
        Ok(Self { desks, processes })
    }

    /// Millions a second of all who do it.
    fn order(&self, workers: usize, command: Command) -> Outcome<f64> {
        self.desks[0].here.store(0)?;
        for desk in &self.desks[..workers] {
            desk.commands.send(command)?;
        }
        self.desks[..workers].iter().map(|desk| Ok(desk.results.recv()?)).sum()
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        self.desks.iter().for_each(|desk| desk.commands.close());
        for process in self.processes.drain(..) {
            let _ = process.join();
        }
    }
}

/// All ways of using it, each on a dictionary of its own.
pub fn processes<K: Hired>(entries: usize) -> Vec<Contestant<K>> {
    let contestant = |name, way: Way| {
        let filled: Rc<RefCell<Option<Crew>>> = Rc::default();
        let run = filled.clone();
        Contestant {
            name,
            fill: Box::new(move |workers| {
                drop(filled.borrow_mut().take());
                let crew = Crew::hire::<K>(entries)?;
                let rate = crew.order(workers, Command::Fill { workers, way })?;
                *filled.borrow_mut() = Some(crew);
                Ok(rate)
            }),
            run: Box::new(move |workers, mix, ms| {
                let crew = run.borrow();
                crew.as_ref().ok_or("not filled")?.order(workers, Command::Run { workers, mix, ms, way })
            }),
            _key: PhantomData,
        }
    };
    let mut all = vec![contestant("mutirao", Way::Single), contestant("mutirao, batches of 16", Way::Batches)];
    if K::READS_IN_PLACE {
        all.insert(1, contestant("mutirao, values returned", Way::Values));
    }
    all
}
