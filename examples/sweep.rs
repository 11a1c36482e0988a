//! Two hundred thousand parameter sets over ten thousand records, while workers are killed:
//! `cargo run --release --example sweep [KILLS]`.
//!
//! The records lie in a shared `Array`. A set is a window, a lag and a threshold: at how many records is a moving average higher than
//! it was `lag` records before, by more than the threshold? What sets with the same window and lag have in common, a histogram, is
//! computed by the first worker that needs it and lies in a shared `Dict` for all. Meanwhile a worker is killed every 50 ms: its
//! task is done again by another, and every result is right.

use indicatif::{ProgressBar, ProgressStyle};
use mutirao::{Array, Dict, Plain, Pool};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

const RECORDS: usize = 10_000;
const WINDOWS: usize = 100;
const LAGS: usize = 20;
const THRESHOLDS: usize = 100;

/// How many records are higher by so many hundredths; all above the last in the last.
type Histogram = Plain<[u32; THRESHOLDS]>;

struct Shared {
    records: Array<f64>,
    histograms: Dict<u64, Histogram>,
}

static SHARED: OnceLock<Shared> = OnceLock::new();

fn prepare((records, histograms): (Array<f64>, Dict<u64, Histogram>)) {
    let _ = SHARED.set(Shared { records, histograms });
}

fn histogram(records: &[f64], window: usize, lag: usize) -> Histogram {
    let averages: Vec<f64> = records.windows(window).map(|part| part.iter().sum::<f64>() / window as f64).collect();
    let mut counts = [0; THRESHOLDS];
    for (before, after) in averages.iter().zip(&averages[lag..]) {
        let rise = ((after - before) * 100.0).max(0.0) as usize;
        counts[rise.min(THRESHOLDS - 1)] += 1;
    }
    Plain(counts)
}

/// Window, lag and threshold of a parameter set.
fn parameters(set: usize) -> (usize, usize, usize) {
    (1 + set / (LAGS * THRESHOLDS), 1 + set / THRESHOLDS % LAGS, set % THRESHOLDS)
}

fn above(histogram: &Histogram, threshold: usize) -> u32 {
    histogram.0[threshold..].iter().sum()
}

fn evaluate(set: usize) -> u32 {
    let shared = SHARED.get().expect("the initializer ran");
    let (window, lag, threshold) = parameters(set);
    let compute = || {
        let mut records = vec![0.0; RECORDS];
        shared.records.view(..).expect("all of it").copy_to(&mut records);
        histogram(&records, window, lag)
    };
    let key = (window * LAGS + lag) as u64;
    above(&shared.histograms.get_or_insert_with(&key, compute).expect("memory"), threshold)
}

fn kill(pid: u32) -> bool {
    let pid = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw);
    pid.is_some_and(|pid| rustix::process::kill_process(pid, rustix::process::Signal::KILL).is_ok())
}

fn main() -> mutirao::Result<()> {
    mutirao::init();
    let kills: usize = std::env::args().nth(1).map_or(10, |kills| kills.parse().expect("a number of kills"));
    let sets = WINDOWS * LAGS * THRESHOLDS;

    // A walk with steps of at most one, the same each time.
    let (mut state, mut height) = (1_u64, 0.0);
    let walk = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        height += (state >> 40) as f64 / (1 << 23) as f64 - 1.0;
        height
    });
    let walk: Vec<f64> = walk.take(RECORDS).collect();
    let (records, histograms) = (Array::from_slice(&walk)?, Dict::new()?);

    let bar = ProgressBar::new(sets as u64);
    bar.set_style(ProgressStyle::with_template("{bar:40} {pos}/{len}, {per_sec}, {eta} left").expect("a style"));
    let shown = bar.clone();
    let pool = Pool::builder()
        .workers(std::thread::available_parallelism().map_or(2, usize::from).max(2))
        .retries_after_death(100)
        .initializer(prepare, (records, histograms.clone()))
        .progress(move |progress| shown.set_position(progress.done))
        .build()?;

    let started = Instant::now();
    let killer = std::thread::spawn({
        let pool = pool.clone();
        move || {
            let mut killed = 0;
            // Ends with so many kills, or with the pool.
            while killed < kills && pool.stats().tasks < sets as u64 {
                std::thread::sleep(Duration::from_millis(50));
                let pids: Vec<_> = pool.stats().workers.iter().filter_map(|worker| worker.pid).collect();
                killed += usize::from(pids.get(killed % pids.len().max(1)).is_some_and(|pid| kill(*pid)));
            }
            killed
        }
    });
    let results = pool.map(evaluate, 0..sets)?;
    let took = started.elapsed();
    bar.finish_and_clear();
    let (killed, stats) = (killer.join().expect("no panic"), pool.stats());

    for window in [1, 7, WINDOWS] {
        for lag in [1, LAGS] {
            let expected = histogram(&walk, window, lag);
            let first = ((window - 1) * LAGS + lag - 1) * THRESHOLDS;
            for (threshold, result) in results[first..first + THRESHOLDS].iter().enumerate() {
                assert_eq!(parameters(first + threshold), (window, lag, threshold));
                assert_eq!(*result, above(&expected, threshold));
            }
        }
    }
    assert_eq!((results.len(), histograms.len()), (sets, WINDOWS * LAGS));
    println!("{sets} parameter sets in {took:.2?}; {} histograms computed once", histograms.len());
    println!("{killed} workers were killed, {} died; {} tasks tried again", stats.deaths, stats.retries);
    println!("\n{}", pool.report());
    Ok(())
}
