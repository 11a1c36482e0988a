//! The pool beside rayon's threads and procspawn's processes.

use std::time::{Duration, Instant};

use mutirao::{Pool, Zygote};
use rayon::prelude::*;

use crate::Measured;
use crate::machine::{median, pin, unpin};

/// Runs with a parent that is not pinned.
fn unpinned<R>(f: impl FnOnce() -> R) -> R {
    unpin();
    let result = f();
    pin(0);
    result
}

fn two_workers() -> mutirao::Result<Pool> {
    let pool = Pool::builder().workers(2).affinity([0, 1]).build()?;
    // Both are there, and warm.
    pool.with_chunk_size(1).map(busy, [1000; 8])?;
    Ok(pool)
}

fn two_threads() -> Result<rayon::ThreadPool, rayon::ThreadPoolBuildError> {
    rayon::ThreadPoolBuilder::new().num_threads(2).start_handler(pin).build()
}

fn nothing(_: u32) {}

fn busy(us: u64) {
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_micros(us) {
        std::hint::spin_loop();
    }
}

fn each(count: u32, begun: Instant) -> f64 {
    begun.elapsed().as_nanos() as f64 / f64::from(count)
}

/// Empty tasks, each sent alone.
pub fn one_at_a_time() -> Measured {
    const TASKS: u32 = 500_000;
    unpinned(|| {
        let pool = two_workers()?.with_chunk_size(1);
        let begun = Instant::now();
        pool.map(nothing, 0..TASKS)?;
        Ok(each(TASKS, begun))
    })
}

pub fn one_at_a_time_rayon() -> Measured {
    const TASKS: u32 = 500_000;
    unpinned(|| {
        let pool = two_threads()?;
        let begun = Instant::now();
        pool.install(|| (0..TASKS).into_par_iter().with_max_len(1).map(nothing).collect::<Vec<_>>());
        Ok(each(TASKS, begun))
    })
}

pub fn one_at_a_time_procspawn() -> Measured {
    const TASKS: u32 = 2000;
    unpinned(|| {
        let pool = procspawn::Pool::new(2)?;
        procspawn::spawn!(in pool, () || ()).join()?;
        let begun = Instant::now();
        let handles: Vec<_> = (0..TASKS).map(|n| procspawn::spawn!(in pool, (n) || { let _ = n; })).collect();
        for handle in handles {
            handle.join()?;
        }
        let result = each(TASKS, begun);
        pool.kill();
        Ok(result)
    })
}

/// Empty tasks in chunks of whatever length.
pub fn in_chunks() -> Measured {
    const TASKS: u32 = 20_000_000;
    unpinned(|| {
        let pool = two_workers()?;
        let begun = Instant::now();
        pool.map(nothing, 0..TASKS)?;
        Ok(each(TASKS, begun))
    })
}

pub fn in_chunks_rayon() -> Measured {
    const TASKS: u32 = 20_000_000;
    unpinned(|| {
        let pool = two_threads()?;
        let begun = Instant::now();
        pool.install(|| (0..TASKS).into_par_iter().map(nothing).collect::<Vec<_>>());
        Ok(each(TASKS, begun))
    })
}

/// Tasks of 100 microseconds, milliseconds for all.
pub fn of_100_us() -> Measured {
    unpinned(|| {
        let pool = two_workers()?;
        let begun = Instant::now();
        pool.map(busy, vec![100; 4000])?;
        Ok(begun.elapsed().as_secs_f64() * 1e3)
    })
}

pub fn of_100_us_rayon() -> Measured {
    unpinned(|| {
        let pool = two_threads()?;
        let begun = Instant::now();
        pool.install(|| vec![100; 4000].into_par_iter().map(busy).collect::<Vec<_>>());
        Ok(begun.elapsed().as_secs_f64() * 1e3)
    })
}

/// The median of milliseconds that `start` takes; what it has started ends after that.
fn ms<T>(mut start: impl FnMut() -> Result<T, Box<dyn std::error::Error>>) -> Measured {
    const TIMES: usize = 20;
    unpinned(|| {
        let mut times = Vec::with_capacity(TIMES);
        for _ in 0..TIMES {
            let begun = Instant::now();
            let started = start()?;
            times.push(begun.elapsed().as_secs_f64() * 1e3);
            drop(started);
        }
        Ok(median(&mut times))
    })
}

/// From nothing to the first result.
pub fn first_result() -> Measured {
    ms(|| {
        let pool = Pool::builder().workers(2).build()?;
        pool.submit(nothing, 1)?.wait()?;
        Ok(pool)
    })
}

/// The same with workers that a zygote forks, which is there already.
pub fn first_result_by_zygote() -> Measured {
    let zygote = Zygote::start()?;
    ms(|| {
        let pool = Pool::builder().workers(2).zygote(&zygote).build()?;
        pool.submit(nothing, 1)?.wait()?;
        Ok(pool)
    })
}

pub fn first_result_procspawn() -> Measured {
    ms(|| {
        let pool = procspawn::Pool::new(2)?;
        procspawn::spawn!(in pool, () || ()).join()?;
        Ok(Killed(pool))
    })
}

/// A pool that does not wait for its workers at its end.
struct Killed(procspawn::Pool);

impl Drop for Killed {
    fn drop(&mut self) {
        self.0.kill();
    }
}
