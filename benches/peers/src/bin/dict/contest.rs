//! Everyone in turn, phase by phase, and the table of medians.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::Outcome;
use crate::keys::{ENTRIES, Key, Payload, Streams};
use crate::machine::{median, pin};
use crate::maps::Map;

/// Keys between two looks at the clock.
const BURST: usize = 256;

/// Time on the wall, or with `CPU_TIME=1` that of this thread: for a machine with other work on it, where it shows what
/// an operation costs. It does not show how long somebody sleeps behind another's lock.
pub enum Clock {
    Wall(Instant),
    Thread(u64),
}

/// Time of this thread, without what others took from it.
pub fn thread_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

impl Clock {
    pub fn start() -> Self {
        if std::env::var_os("CPU_TIME").is_some() { Self::Thread(thread_ns()) } else { Self::Wall(Instant::now()) }
    }

    pub fn elapsed(&self) -> Duration {
        match self {
            Self::Wall(begun) => begun.elapsed(),
            Self::Thread(begun) => Duration::from_nanos(thread_ns() - begun),
        }
    }
}

/// What is run.
#[derive(Clone, Copy, serde::Serialize, serde::Deserialize)]
pub struct Mix {
    /// Each so-manieth operation stores; 0: none does.
    pub every: u64,
    pub is_zipf: bool,
}

pub const MIXES: [(&str, Mix); 6] = [
    ("get, uniform", Mix { every: 0, is_zipf: false }),
    ("95/5, uniform", Mix { every: 20, is_zipf: false }),
    ("50/50, uniform", Mix { every: 2, is_zipf: false }),
    ("get, zipf", Mix { every: 0, is_zipf: true }),
    ("95/5, zipf", Mix { every: 20, is_zipf: true }),
    ("50/50, zipf", Mix { every: 2, is_zipf: true }),
];

/// One map: how it is made and filled by so many workers (a new one each time; millions of insertions a second), and how they
/// run a mix on the last one (millions of operations a second).
pub struct Contestant<K> {
    pub name: &'static str,
    pub fill: Box<dyn FnMut(usize) -> Outcome<f64>>,
    pub run: Box<dyn FnMut(usize, Mix, u64) -> Outcome<f64>>,
    pub _key: std::marker::PhantomData<K>,
}

/// What one worker of a phase does: millions of operations a second.
pub fn phase<K: Key>(map: &impl Map<K>, streams: &Streams<K>, mix: Mix, ms: u64) -> f64 {
    let keys = if mix.is_zipf { &streams.zipf } else { &streams.uniform };
    let begun = Clock::start();
    // Somewhere else each time.
    let mut at = (thread_ns() / 64) as usize % (keys.len() / 2);
    let (mut operations, mut sum) = (0, 0_u64);
    while begun.elapsed() < Duration::from_millis(ms) {
        if at + BURST > keys.len() {
            at = 0;
        }
        sum = sum.wrapping_add(map.run(&keys[at..at + BURST], operations, mix.every));
        at += BURST;
        operations += BURST as u64;
    }
    std::hint::black_box(sum);
    operations as f64 / begun.elapsed().as_secs_f64() / 1e6
}

/// What one worker of a fill does, its share of all entries: millions of insertions a second.
pub fn share<K: Key>(map: &impl Map<K>, worker: usize, workers: usize) -> f64 {
    let (mut at, end) = (ENTRIES * worker / workers, ENTRIES * (worker + 1) / workers);
    let entries = end - at;
    let (mut took, mut items) = (Duration::ZERO, Vec::with_capacity(10_000));
    while at < end {
        let next = end.min(at + 10_000);
        items.clear();
        items.extend((at as u64..next as u64).map(|i| (K::nth(i), K::Value::nth(i))));
        let begun = Clock::start();
        map.insert_all(&items);
        took += begun.elapsed();
        at = next;
    }
    entries as f64 / took.as_secs_f64() / 1e6
}

/// Spins until all have come.
pub fn meet(here: &AtomicU64, all: u64) {
    here.fetch_add(1, Ordering::SeqCst);
    while here.load(Ordering::SeqCst) < all {
        std::hint::spin_loop();
    }
}

/// A map between threads of this process.
pub fn threads<K: Key, M: Map<K> + Sync + Send + 'static>(name: &'static str, entries: usize) -> Contestant<K> {
    use std::cell::RefCell;
    use std::rc::Rc;
    let map = Rc::new(RefCell::new(None::<M>));
    let streams = std::cell::OnceCell::<Vec<Streams<K>>>::new();
    let (filled, run) = (map.clone(), map);
    fn each(workers: usize, work: impl Fn(usize) -> f64 + Sync) -> f64 {
        let here = AtomicU64::new(0);
        std::thread::scope(|scope| {
            let (work, here) = (&work, &here);
            let threads: Vec<_> = (0..workers)
                .map(|worker| {
                    scope.spawn(move || {
                        pin(worker);
                        meet(here, workers as u64);
                        work(worker)
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().expect("no panic")).sum()
        })
    }
    Contestant {
        name,
        fill: Box::new(move |workers| {
            drop(filled.borrow_mut().take()); // before the next one takes memory
            let map = M::made_for(entries);
            let rate = each(workers, |worker| share(&map, worker, workers));
            *filled.borrow_mut() = Some(map);
            Ok(rate)
        }),
        run: Box::new(move |workers, mix, ms| {
            let streams = streams.get_or_init(|| (0..2).map(Streams::of).collect());
            let map = run.borrow();
            let map = map.as_ref().ok_or("not filled")?;
            Ok(each(workers, |worker| phase(map, &streams[worker], mix, ms)))
        }),
        _key: std::marker::PhantomData,
    }
}

/// Rates of one contestant: of insertion and of each mix.
type Rates = [Vec<f64>; 1 + MIXES.len()];

pub fn run<K: Key>(mut contestants: Vec<Contestant<K>>, rounds: usize, ms: u64) -> Outcome<()> {
    let mut rates: Vec<[Rates; 2]> = contestants.iter().map(|_| Default::default()).collect();
    for round in 0..3 {
        for workers in [2, 1] {
            for (one, rates) in contestants.iter_mut().zip(&mut rates) {
                eprintln!("fill {} of 3, {workers}: {}", round + 1, one.name);
                rates[workers - 1][0].push((one.fill)(workers)?);
            }
        }
    }
    for round in 1..=rounds {
        eprintln!("round {round} of {rounds}");
        for workers in [1, 2] {
            for (at, (_, mix)) in MIXES.iter().enumerate() {
                for (one, rates) in contestants.iter_mut().zip(&mut rates) {
                    rates[workers - 1][1 + at].push((one.run)(workers, *mix, ms)?);
                }
            }
        }
    }
    for workers in [1, 2] {
        let name = if workers == 1 { "one" } else { "two" };
        print!("\n| {}, {name} (M/s, median of {rounds}) | insert |", K::WHAT);
        MIXES.iter().for_each(|(name, _)| print!(" {name} |"));
        println!("\n|---|{}", "--:|".repeat(1 + MIXES.len()));
        let medians: Vec<Vec<f64>> =
            rates.iter_mut().map(|rates| rates[workers - 1].iter_mut().map(|rates| median(rates)).collect()).collect();
        for (one, medians) in contestants.iter().zip(&medians) {
            print!("| {} |", one.name);
            medians.iter().for_each(|rate| print!(" {rate:.1} |"));
            println!();
        }
        let ours = contestants.iter().zip(&medians).filter(|(one, _)| one.name.contains("mutirao"));
        let peers: Vec<_> = contestants.iter().zip(&medians).filter(|(one, _)| !one.name.contains("mutirao")).collect();
        for (one, ours) in ours {
            for (peer, theirs) in &peers {
                print!("| {} / {} |", one.name, peer.name);
                ours.iter().zip(*theirs).for_each(|(ours, theirs)| print!(" {:.2} |", ours / theirs));
                println!();
            }
            let best = |at: usize| peers.iter().map(|(_, rates)| rates[at]).fold(0.0, f64::max);
            print!("| {} / the best |", one.name);
            ours.iter().enumerate().for_each(|(at, rate)| print!(" {:.2} |", rate / best(at)));
            println!();
        }
    }
    Ok(())
}
