//! A parameter sweep whose workers share what they have computed.
//!
//! Many parameter sets are evaluated over the same records. A set is two window lengths and a threshold: how often does the fast
//! moving average cross the slow one by more than the threshold? Moving averages cost nearly all of the time, and
//! many sets want the same ones. So a worker asks the dictionary: whoever is first computes, everybody else gets it, in
//! whatever process.
//!
//! ```text
//! cargo run --release --example shared_cache -- [--processes N] [--records N] [--windows N]
//! ```
//!
//! Exits with 1 when a result with the cache differs from the one without, or when an average was computed twice.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use mutirao::{Array, Dict, Plain, Process, Value};
use serde::{Deserialize, Serialize};

const USAGE: &str = "usage: shared_cache [--processes N] [--records N] [--windows N]

N processes (one for each CPU) evaluate all pairs of N window lengths (24) and four thresholds over N records (200000).";

/// Points at which averages are compared.
const POINTS: usize = 512;
const THRESHOLDS: [f64; 4] = [0.0, 0.25, 0.5, 1.0];

/// A moving average, looked at in so many points.
type Average = Plain<[f64; POINTS]>;

/// Everything that the workers share.
#[derive(Clone, Serialize, Deserialize)]
struct Shared {
    records: Array<f64>,
    /// `None`: everybody computes everything.
    cache: Option<Dict<u32, Average>>,
    /// The next parameter set that nobody has taken.
    next: Value<u64>,
    results: Array<u64>,
    asked: Value<u64>,
    computed: Value<u64>,
}

#[derive(Clone, Copy)]
struct Parameters {
    fast: u32,
    slow: u32,
    threshold: f64,
}

#[derive(Clone, Copy)]
struct Wanted {
    processes: usize,
    records: usize,
    windows: usize,
}

fn main() -> ExitCode {
    mutirao::init();
    let cpus = std::thread::available_parallelism().map_or(2, usize::from);
    let mut wanted = Wanted { processes: cpus, records: 200_000, windows: 24 };
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let number = match arg.as_str() {
            "--processes" => &mut wanted.processes,
            "--records" => &mut wanted.records,
            "--windows" => &mut wanted.windows,
            _ => {
                println!("{USAGE}");
                return ExitCode::from(if arg == "--help" { 0 } else { 2 });
            }
        };
        match args.next().and_then(|n| n.parse().ok()).filter(|n| *n > 1) {
            Some(n) => *number = n,
            None => {
                eprintln!("shared_cache: {arg} needs a number above one\n\n{USAGE}");
                return ExitCode::from(2);
            }
        }
    }
    match compare(wanted) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(why) => {
            eprintln!("shared_cache: {why}");
            ExitCode::FAILURE
        }
    }
}

/// The sweep without and with the cache.
fn compare(wanted: Wanted) -> mutirao::Result<bool> {
    let sets = parameter_sets(wanted.windows).len();
    let records = Array::from_slice(&walk(wanted.records))?;
    let Wanted { processes, windows, .. } = wanted;
    println!("{sets} parameter sets of {windows} windows over {} records, {processes} processes", wanted.records);

    let (plain, without, _) = sweep(&records, None, wanted)?;
    println!("without cache: {:8.1} ms", without.as_secs_f64() * 1e3);
    let cache = Dict::<u32, Average>::new()?;
    let (shared, with, (asked, computed)) = sweep(&records, Some(cache.clone()), wanted)?;
    let (faster, hits) = (without.as_secs_f64() / with.as_secs_f64(), 100.0 * (asked - computed) as f64 / asked as f64);
    println!("with cache:    {:8.1} ms, {faster:.1} times as fast", with.as_secs_f64() * 1e3);
    println!("{asked} averages were asked for, {computed} computed: {hits:.1} % hits, {} in the cache", cache.len());

    let same = plain == shared;
    let once = computed == windows as u64 && cache.len() == windows;
    println!("{}", if same { "every result is the same" } else { "WRONG: results differ" });
    println!(
        "{}",
        if once { "every average was computed once" } else { "WRONG: some averages were not computed once" }
    );
    Ok(same && once)
}

/// Results, how long it took, and how many averages were asked for and computed.
fn sweep(
    records: &Array<f64>,
    cache: Option<Dict<u32, Average>>,
    wanted: Wanted,
) -> mutirao::Result<(Vec<u64>, Duration, (u64, u64))> {
    let sets = parameter_sets(wanted.windows).len();
    let shared = Shared {
        records: records.clone(),
        cache,
        next: Value::new(0)?,
        results: Array::new(sets)?,
        asked: Value::new(0)?,
        computed: Value::new(0)?,
    };
    let begun = Instant::now();
    let workers = (0..wanted.processes)
        .map(|_| Process::spawn(work, (shared.clone(), wanted.windows)))
        .collect::<mutirao::Result<Vec<_>>>()?;
    for worker in workers {
        worker.join()?;
    }
    let took = begun.elapsed();
    let results = (0..sets).map(|set| shared.results.get(set)).collect::<mutirao::Result<_>>()?;
    Ok((results, took, (shared.asked.load(), shared.computed.load())))
}

fn work((shared, windows): (Shared, usize)) {
    let sets = parameter_sets(windows);
    while let Some((set, parameters)) =
        usize::try_from(shared.next.fetch_add(1)).ok().and_then(|set| Some((set, sets.get(set)?)))
    {
        let crossings = evaluate(&shared, *parameters).and_then(|result| shared.results.set(set, result));
        if let Err(why) = crossings {
            eprintln!("worker {}: {why}", std::process::id());
            std::process::exit(1);
        }
    }
}

/// How often the fast average gets above the slow one by more than the threshold.
fn evaluate(shared: &Shared, parameters: Parameters) -> mutirao::Result<u64> {
    let (fast, slow) = (average(shared, parameters.fast)?, average(shared, parameters.slow)?);
    let above: Vec<_> = fast.0.iter().zip(&slow.0).map(|(fast, slow)| fast - slow > parameters.threshold).collect();
    Ok(above.windows(2).filter(|pair| !pair[0] && pair[1]).count() as u64)
}

/// The moving average over so many records, out of the cache if there is one.
fn average(shared: &Shared, window: u32) -> mutirao::Result<Average> {
    shared.asked.fetch_add(1);
    let compute = || {
        shared.computed.fetch_add(1);
        moving_average(&shared.records, window as usize)
    };
    match &shared.cache {
        Some(cache) => cache.get_or_try_insert_with(&window, compute),
        None => compute(),
    }
}

fn moving_average(records: &Array<f64>, window: usize) -> mutirao::Result<Average> {
    let (view, mut points) = (records.view(..)?, [0.0; POINTS]);
    let (len, mut sum) = (view.len(), 0.0);
    let every = (len / POINTS).max(1);
    for (at, record) in view.iter().enumerate() {
        sum += record;
        if at >= window {
            sum -= view.load(at - window).unwrap_or(0.0);
        }
        if at % every == every - 1
            && let Some(point) = points.get_mut(at / every)
        {
            *point = sum / window.min(at + 1) as f64;
        }
    }
    Ok(Plain(points))
}

fn parameter_sets(windows: usize) -> Vec<Parameters> {
    let lengths: Vec<u32> = (0..windows as u32).map(|n| 8 + 7 * n * (n + 1) / 2).collect();
    let mut sets = Vec::new();
    for (n, &slow) in lengths.iter().enumerate() {
        for &fast in &lengths[..n] {
            sets.extend(THRESHOLDS.map(|threshold| Parameters { fast, slow, threshold }));
        }
    }
    sets
}

/// A random walk, the same in each run.
fn walk(len: usize) -> Vec<f64> {
    let (mut state, mut at) = (0x9e37_79b9_7f4a_7c15_u64, 100.0);
    let step = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        at += (state >> 40) as f64 / f64::from(1 << 24) - 0.5;
        at
    };
    core::iter::repeat_with(step).take(len).collect()
}
