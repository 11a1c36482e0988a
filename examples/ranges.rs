//! Three ranges of different length, each on a processor of its own, and why that is not three times as fast:
//! `cargo run --release --example ranges`.

use mutirao::Pool;
use std::hint::black_box;

/// The sum of the numbers below `n`, one by one.
fn sum_below(n: u64) -> u64 {
    (0..n).fold(0, |sum, i| black_box(sum + i))
}

fn main() -> mutirao::Result<()> {
    mutirao::init();
    let cpus = std::thread::available_parallelism().map_or(1, |cpus| cpus.get() as u32);
    let pool = Pool::builder().workers(3).affinity((0..3).map(|worker| worker % cpus)).chunk_size(1).build()?;
    let sums = pool.map(sum_below, [100_000_000, 200_000_000, 300_000_000])?;
    let total: u64 = sums.iter().sum();
    println!("{sums:?}\ntogether {:.8e}", total as f64);
    assert_eq!(total, 69_999_999_700_000_000);

    // The third range is half of all work, so three workers are never more than twice as fast as one.
    let report = pool.report();
    println!("\n{report}");
    println!("\nThe longest of the three ranges is half of the work: it ends last, and two workers wait for it.");
    println!("Thirty ranges of 20 million numbers each would be shared out evenly.");
    Ok(())
}
