//! N processes add one to the same number M times, under a lock and as single atomic steps. Both are exact;
//! the speeds differ.
//!
//! ```text
//! cargo run --release --example counter -- [--processes N] [--increments M]
//! ```
//!
//! Exits with 1 when a count is wrong: also when it is wrong because somebody killed a worker.

mod loops;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use mutirao::{Array, Lock, LockGuard, Process, Value};
use serde::{Deserialize, Serialize};

const USAGE: &str = "usage: counter [--processes N] [--increments M]

N processes (2) add one to a shared number M times each (1000000), under a lock and as single atomics.";

/// Everything the processes share.
#[derive(Clone, Serialize, Deserialize)]
struct Shared {
    lock: Lock,
    number: Value<u64>,
    /// Nanoseconds that each worker took.
    took: Array<u64>,
    /// Workers that are there.
    ready: Value<u64>,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
enum How {
    Locked,
    Atomic,
}

fn main() -> ExitCode {
    mutirao::init();
    let (processes, increments) = match parse(std::env::args().skip(1)) {
        Ok(Some(numbers)) => numbers,
        Ok(None) => {
            println!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        Err(why) => {
            eprintln!("counter: {why}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    let mut right = true;
    for how in [How::Locked, How::Atomic] {
        match count(how, processes, increments) {
            Ok(exact) => right &= exact,
            Err(why) => {
                eprintln!("counter: {why}");
                return ExitCode::FAILURE;
            }
        }
    }
    if right { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn count(how: How, processes: usize, increments: u64) -> mutirao::Result<bool> {
    let shared =
        Shared { lock: Lock::new()?, number: Value::new(0)?, took: Array::new(processes)?, ready: Value::new(0)? };
    let workers = (0..processes)
        .map(|me| Process::spawn(work, (shared.clone(), me, how, increments)))
        .collect::<mutirao::Result<Vec<_>>>()?;
    for (me, worker) in workers.into_iter().enumerate() {
        if let Err(why) = worker.join() {
            println!("worker {me} died: {why}");
        }
    }
    let name = match how {
        How::Locked => "under a lock",
        How::Atomic => "single atomics",
    };
    let (found, expected) = (shared.number.load(), processes as u64 * increments);
    // All began together: the slowest worker's time is the time of all increments.
    let slowest = (0..processes).filter_map(|me| shared.took.get(me).ok()).max().unwrap_or(0).max(1);
    let speed = expected as f64 * 1e3 / slowest as f64;
    println!("{name}: {found} of {expected} increments by {processes} processes, {speed:.1} million a second");
    if found != expected {
        println!("WRONG: {} are missing", expected.wrapping_sub(found));
    }
    Ok(found == expected)
}

fn work((shared, me, how, increments): (Shared, usize, How, u64)) {
    shared.ready.fetch_add(1);
    let arrived = Instant::now();
    // Together, so that they meet; a worker that never arrives holds nobody up for long.
    while shared.ready.load() < shared.took.len() as u64 && arrived.elapsed() < Duration::from_secs(2) {
        std::thread::yield_now();
    }
    let begun = Instant::now();
    let done = match how {
        How::Locked => loops::increment_locked(&Exclusive(&shared.lock), &Plain(&shared.number), increments),
        How::Atomic => {
            loops::increment_atomic(&Plain(&shared.number), increments);
            Ok(())
        }
    };
    let took = u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX);
    done.and_then(|()| shared.took.set(me, took.max(1))).unwrap_or_else(|why| give_up(&why));
}

/// A worker that can not go on says why and leaves; its parent sees the exit code.
fn give_up(why: &mutirao::Error) {
    eprintln!("worker {}: {why}", std::process::id());
    std::process::exit(1)
}

struct Plain<'a>(&'a Value<u64>);

impl loops::Number for Plain<'_> {
    fn load(&self) -> u64 {
        self.0.load()
    }

    fn store(&self, value: u64) {
        self.0.store(value).unwrap_or_else(|why| give_up(&why));
    }

    fn fetch_add(&self, n: u64) {
        self.0.fetch_add(n);
    }
}

struct Exclusive<'a>(&'a Lock);

impl loops::Mutual for Exclusive<'_> {
    type Held<'a>
        = LockGuard<'a>
    where
        Self: 'a;
    type Error = mutirao::Error;

    /// The number is whole at every moment, since one store changes it: what a dead holder leaves is fine.
    fn lock(&self) -> mutirao::Result<LockGuard<'_>> {
        match self.0.lock() {
            Ok(held) => Ok(held),
            Err(why) if why.is_owner_died() => match why.into_guard() {
                Some(mut held) => {
                    held.mark_consistent();
                    Ok(held)
                }
                None => unreachable!("an owner's death comes with the lock"),
            },
            Err(why) => Err(why.into()),
        }
    }
}

/// `None` when only the usage is wanted.
fn parse(mut args: impl Iterator<Item = String>) -> Result<Option<(usize, u64)>, String> {
    let (mut processes, mut increments) = (2, 1_000_000);
    while let Some(arg) = args.next() {
        let (flag, joined) = match arg.split_once('=') {
            Some((flag, value)) => (flag, Some(value.to_owned())),
            None => (arg.as_str(), None),
        };
        let number = match flag {
            "--processes" => &mut processes,
            "--increments" => &mut increments,
            "-h" | "--help" => return Ok(None),
            _ => return Err(format!("unknown argument {flag}")),
        };
        let value = joined.or_else(|| args.next()).ok_or_else(|| format!("{flag} needs a number"))?;
        *number = match value.parse::<u64>() {
            Ok(n) if n > 0 => n,
            _ => return Err(format!("{flag} needs a number above zero, not {value:?}")),
        };
    }
    let processes = usize::try_from(processes).map_err(|_| "--processes is beyond this machine".to_owned())?;
    Ok(Some((processes, increments)))
}
