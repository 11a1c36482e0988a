//! Death at random, under load: processes use everything at once while one kills and replaces the others; then what
//! they wrote down before and after each call is held against what is there.
//!
//! A few seconds in `cargo test`; `MUTIRAO_CRASH_SECONDS=600 cargo crash` for long. The seed is printed, and
//! `MUTIRAO_CRASH_SEED` sets it: the same dice fall, though the machine's own order differs.

mutirao::testing::entry!();

mod history;
mod worker;

use history::Call;
use mutirao::Process;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use worker::{Dice, PATIENCE, PERMITS, Stage, number_of, work};

const WORKERS: usize = 5;

fn from_environment(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

#[test]
fn whatever_returned_is_true_after_any_number_of_kills() {
    let seconds = from_environment("MUTIRAO_CRASH_SECONDS", 3);
    let seed = from_environment("MUTIRAO_CRASH_SEED", u64::from(std::process::id()));
    println!("seed {seed}, {seconds} s");
    let folder = std::env::temp_dir().join(format!("mutirao-crash-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let stage = Stage::new().unwrap();
    let mut crew = Crew { stage: stage.clone(), seed, folder: folder.clone(), paths: Vec::new() };
    let mut workers: Vec<Process> = (0..WORKERS).map(|_| crew.hire()).collect();
    let mut dice = Dice::new(seed);
    let (begun, mut kills) = (Instant::now(), 0_u64);
    while begun.elapsed() < Duration::from_secs(seconds) {
        std::thread::sleep(Duration::from_micros(500 + dice.below(6000)));
        let unlucky = dice.below(WORKERS as u64) as usize;
        let dead = std::mem::replace(&mut workers[unlucky], crew.hire());
        if dead.is_alive() {
            dead.kill().unwrap();
            kills += 1;
        }
        // A worker ends by itself only if it saw something that must not be.
        let error = dead.join().expect_err("nobody told it to stop").to_string();
        assert!(error.contains("signal 9"), "{error}");
    }
    stage.stop.store(1).unwrap();
    workers.into_iter().for_each(|worker| worker.join().unwrap());
    check(&stage, &crew.paths, kills);
    std::fs::remove_dir_all(folder).unwrap();
}

/// Hires workers, each with a side file of its own.
struct Crew {
    stage: Stage,
    seed: u64,
    folder: PathBuf,
    paths: Vec<PathBuf>,
}

impl Crew {
    fn hire(&mut self) -> Process {
        let number = self.paths.len() as u64 + 1;
        let path = self.folder.join(number.to_string());
        self.paths.push(path.clone());
        Process::spawn(work, (self.stage.clone(), number, self.seed, path)).expect("a worker")
    }
}

/// How often a call did what it was called for, and how often nobody knows.
#[derive(Default, Debug, Clone, Copy)]
struct Tally {
    did: u64,
    unknown: u64,
}

impl Tally {
    /// Everything confirmed happened, and at most what is unknown beside it.
    fn allows(self, seen: u64) -> bool {
        (self.did..=self.did + self.unknown).contains(&seen)
    }
}

fn check(stage: &Stage, paths: &[PathBuf], kills: u64) {
    let mut tally: BTreeMap<Call, Tally> = BTreeMap::new();
    // Of each item: was its `send` confirmed, and how often was it received.
    let (mut sent, mut received) = (BTreeMap::new(), BTreeMap::<u64, u32>::new());
    // A worker that was killed before it opened its file has none.
    for entry in paths.iter().filter(|path| path.exists()).flat_map(history::read) {
        let count = tally.entry(entry.call).or_default();
        count.did += entry.done.len() as u64;
        if !entry.is_over {
            count.unknown += u64::from(entry.times) - entry.done.len() as u64;
        }
        match entry.call {
            Call::Send => {
                // Items that were not confirmed may be there or not, unless the call was over: then they were refused.
                let most = if entry.is_over { entry.done.len() as u64 } else { u64::from(entry.times) };
                sent.extend((0..most).map(|n| entry.first + n).map(|item| (item, entry.done.contains(&item))));
            }
            Call::Recv => entry.done.iter().for_each(|item| *received.entry(*item).or_default() += 1),
            _ => {}
        }
    }
    println!("{kills} kills; {tally:?}; {} repaired", stage.repaired.load());
    let of = |call| tally.get(&call).copied().unwrap_or_default();

    assert!(of(Call::Add).allows(stage.counter.load()), "{} additions", stage.counter.load());
    let wide = *stage.wide.lock_timeout(PATIENCE).unwrap();
    assert!(wide.iter().all(|word| *word == wide[0]) && of(Call::AddUnderMutex).allows(wide[0]), "{wide:?}");
    let guarded = stage.guarded.get(1).unwrap();
    assert!(of(Call::AddUnderLock).allows(guarded), "{guarded} additions under the lock");

    // Every permit is there again, also those of the dead.
    drop(stage.semaphore.acquire_many_timeout(PERMITS, PATIENCE).unwrap());

    // What is left in the queue, and then the queue is as good as new.
    while let Ok(item) = stage.queue.recv_timeout(Duration::from_millis(300)) {
        *received.entry(number_of(item)).or_default() += 1;
    }
    for n in 0..worker::CAPACITY as u64 {
        stage.queue.send_timeout(mutirao::Plain([n; 6]), PATIENCE).unwrap();
    }
    assert!(stage.queue.is_full());
    for n in 0..worker::CAPACITY as u64 {
        assert_eq!(number_of(stage.queue.recv_timeout(PATIENCE).unwrap()), n);
    }

    let twice: Vec<_> = received.iter().filter(|(_, times)| **times > 1).collect();
    assert!(twice.is_empty(), "received more than once: {twice:?}");
    let invented: Vec<_> = received.keys().filter(|item| !sent.contains_key(item)).collect();
    assert!(invented.is_empty(), "received, and nobody sent it: {invented:?}");
    // Receivers that were killed may have taken items with them, whole, before they could write that down.
    let missing = sent.iter().filter(|(item, confirmed)| **confirmed && !received.contains_key(item)).count() as u64;
    let taken = of(Call::Recv).unknown;
    assert!(missing <= taken, "{missing} confirmed items are gone, receivers died with at most {taken}");
}
