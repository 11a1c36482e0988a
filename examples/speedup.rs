//! How much faster eight tasks are by all processors than one after the other, and what bounds it:
//! `cargo run --release --example speedup`.

use mutirao::{Executor, Inline, Pool};
use std::time::Instant;

/// The sum of the square roots below `n`.
fn sum_of_roots(n: u64) -> f64 {
    (0..n).map(|n| (n as f64).sqrt()).sum()
}

fn main() -> mutirao::Result<()> {
    mutirao::init();
    let tasks = [2_000_000; 8];

    let started = Instant::now();
    let one_by_one = Inline.map(sum_of_roots, tasks)?;
    let sequential = started.elapsed();

    let pool = Pool::new()?;
    pool.with_chunk_size(1).map(|()| (), vec![(); 4 * pool.workers()])?; // all workers are there
    pool.reset_stats();
    let started = Instant::now();
    let parallel = pool.map(sum_of_roots, tasks)?;
    let together = started.elapsed();

    assert_eq!(one_by_one, parallel, "the same to the last bit");
    assert!((parallel[0] - 1_885_617_375.85).abs() < 1.0, "{}", parallel[0]);
    println!(
        "one after the other {sequential:.2?}, by the pool {together:.2?}\n\n{}\n\n{}",
        pool.report(),
        pool.stats()
    );
    Ok(())
}
