//! Death at random, under load: processes use everything at once while one kills and replaces the others; then what
//! they wrote down before and after each call is held against what is there.
//!
//! A few seconds in `cargo test`; `MUTIRAO_CRASH_SECONDS=600 cargo crash` for long. The seed is printed, and
//! `MUTIRAO_CRASH_SEED` sets it: the same dice fall, though the machine's own order differs.

mutirao::testing::entry!();

mod history;
mod keyed;
mod linear;
mod worker;

use history::Call;
use mutirao::Process;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use worker::{Dice, PATIENCE, PERMITS, Stage, number_of, number_of_large, work};

const WORKERS: usize = 5;

pub fn from_environment(name: &str, otherwise: u64) -> u64 {
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
    let paths = std::mem::take(&mut crew.paths);
    drop(crew);
    check(stage, &paths, kills);
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

/// Of each item: was its sending confirmed, and how often was it received.
#[derive(Default)]
struct Traffic {
    sent: BTreeMap<u64, bool>,
    received: BTreeMap<u64, u32>,
}

impl Traffic {
    fn receive(&mut self, item: u64) {
        *self.received.entry(item).or_default() += 1;
    }

    /// Nothing twice, nothing invented, and of what was confirmed nothing gone but what killed receivers may have had.
    fn check(&self, what: &str, taken: u64) {
        let twice: Vec<_> = self.received.iter().filter(|(_, times)| **times > 1).collect();
        assert!(twice.is_empty(), "{what}: received more than once: {twice:?}");
        let invented: Vec<_> = self.received.keys().filter(|item| !self.sent.contains_key(item)).collect();
        assert!(invented.is_empty(), "{what}: received, and nobody sent it: {invented:?}");
        let is_gone = |item, confirmed: &bool| *confirmed && !self.received.contains_key(item);
        let missing = self.sent.iter().filter(|(item, confirmed)| is_gone(item, confirmed)).count() as u64;
        assert!(missing <= taken, "{what}: {missing} confirmed items are gone, receivers died with at most {taken}");
    }
}

fn check(stage: Stage, paths: &[PathBuf], kills: u64) {
    let mut tally: BTreeMap<Call, Tally> = BTreeMap::new();
    let mut traffic: [Traffic; 4] = Default::default();
    let which = |call| match call {
        Call::Send | Call::Recv => 0,
        Call::SendJob | Call::DoJob => 1,
        Call::SendLarge | Call::RecvLarge => 2,
        _ => 3,
    };
    // A worker that was killed before it opened its file has none.
    for entry in paths.iter().filter(|path| path.exists()).flat_map(history::read) {
        let count = tally.entry(entry.call).or_default();
        count.did += entry.done.len() as u64;
        if !entry.is_over {
            count.unknown += u64::from(entry.times) - entry.done.len() as u64;
        }
        let items = &mut traffic[which(entry.call)];
        match entry.call {
            call if call.sends() => {
                // Items that were not confirmed may be there or not, unless the call was over: then they were refused.
                let most = if entry.is_over { entry.done.len() as u64 } else { u64::from(entry.times) };
                let each = (0..most).map(|n| entry.first + n);
                items.sent.extend(each.map(|item| (item, entry.done.contains(&item))));
            }
            Call::Recv | Call::DoJob | Call::RecvLarge | Call::PopFromList => {
                entry.done.iter().for_each(|item| items.receive(*item))
            }
            _ => {}
        }
    }
    println!("{kills} kills; {tally:?}; {} repaired", stage.repaired.load());
    let of = |call| tally.get(&call).copied().unwrap_or_default();

    assert!(of(Call::Add).allows(stage.counter.load()), "{} additions", stage.counter.load());
    let wide = *stage.wide.lock_timeout(PATIENCE).unwrap();
    assert!(wide.iter().all(|word| *word == wide[0]) && of(Call::AddUnderMutex).allows(wide[0]), "{wide:?}");
    let many = *stage.many.write_timeout(PATIENCE).unwrap();
    assert!(many.iter().all(|word| *word == many[0]) && of(Call::AddUnderRwLock).allows(many[0]), "{many:?}");
    let guarded = stage.guarded.get(1).unwrap();
    assert!(of(Call::AddUnderLock).allows(guarded), "{guarded} additions under the lock");
    let in_ranges: u64 = [1, 3, 5, 7].map(|at| stage.pairs.get(at).unwrap()).iter().sum();
    assert!(of(Call::AddInRange).allows(in_ranges), "{in_ranges} additions in ranges");
    // Every permit is there again, also those of the dead.
    drop(stage.semaphore.acquire_many_timeout(PERMITS, PATIENCE).unwrap());

    // What is left in the queues, and then they are as good as new.
    let soon = Duration::from_millis(300);
    while let Ok(item) = stage.queue.recv_timeout(soon) {
        traffic[0].receive(number_of(item));
    }
    while let Ok(job) = stage.jobs.lease_timeout(soon) {
        traffic[1].receive(number_of(job.ack().unwrap()));
    }
    while let Ok(item) = stage.large.recv_timeout(soon) {
        traffic[2].receive(number_of_large(&item));
    }
    let in_list = stage.list.to_vec().unwrap();
    assert_eq!(in_list.len(), stage.list.len());
    in_list.into_iter().for_each(|item| traffic[3].receive(number_of(item)));
    let changes: u64 = stage.counts.to_vec().unwrap().into_iter().map(number_of).sum();
    assert!(of(Call::ChangeList).allows(changes), "{changes} changes in the list");
    let dict = stage.dict.to_hash_map().unwrap();
    assert_eq!(dict.len(), stage.dict.len());
    assert!(of(Call::AddInDict).allows(dict.values().sum()), "{dict:?}");
    let records = stage.records.to_hash_map().unwrap();
    assert_eq!(records.len(), stage.records.len());
    let (counted, left): (Vec<_>, Vec<_>) = records.into_iter().partition(|(key, _)| key.starts_with("record"));
    let changes = counted.into_iter().map(|(_, item)| number_of(item)).sum();
    assert!(of(Call::ChangeRecord).allows(changes), "{changes} changes of records");
    assert!(left.len() as u64 <= of(Call::ComeAndGo).unknown, "{left:?}");
    let takers = [Call::Recv, Call::DoJob, Call::RecvLarge, Call::PopFromList];
    for (at, (what, recv)) in ["items", "jobs", "large items", "items of the list"].into_iter().zip(takers).enumerate()
    {
        traffic[at].check(what, of(recv).unknown);
    }
    stage.jobs.wait_idle_timeout(PATIENCE).unwrap();
    stage.large.wait_idle_timeout(PATIENCE).unwrap();
    for queue in [&stage.queue, &stage.jobs] {
        for n in 0..worker::CAPACITY as u64 {
            queue.send_timeout(mutirao::Plain([n; 6]), PATIENCE).unwrap();
        }
        assert!(queue.is_full());
        for n in 0..worker::CAPACITY as u64 {
            assert_eq!(number_of(queue.recv_timeout(PATIENCE).unwrap()), n);
        }
    }
    memory_is_whole(stage);
}

/// With the objects gone, and what the dead had made, all memory is there again in one piece.
fn memory_is_whole(stage: Stage) {
    let shop = stage.shop.clone();
    drop(stage);
    for object in shop.objects() {
        if let Some(name) = &object.name {
            shop.remove(name).unwrap();
        }
    }
    let most = (worker::MEMORY - worker::MEMORY / 32) as usize;
    let all = mutirao::Array::<u8>::new_in(&shop, most);
    assert!(all.is_ok(), "{}\n{}", all.unwrap_err(), shop.inspect());
}
