//! Ten squares, in every way that a pool has: `cargo run --example squares`.

use mutirao::{Pool, wait_all};

fn square(n: u64) -> u64 {
    n * n
}

fn main() -> mutirao::Result<()> {
    mutirao::init();
    let expected = [0, 1, 4, 9, 16, 25, 36, 49, 64, 81];
    let pool = Pool::builder().workers(3).build()?;

    // All of them, in order.
    assert_eq!(pool.map(square, 0..10)?, expected);

    // As they are needed, from items without end.
    let first: Vec<u64> = pool.map_iter(square, 0..)?.take(10).collect::<Result<_, _>>()?;
    assert_eq!(first, expected);

    // As they come, each with the number of its item.
    for (n, result) in pool.map_unordered(square, 0..10)? {
        assert_eq!(result?, expected[n as usize]);
    }

    // One by one.
    let tasks = (0..10).map(|n| pool.submit(square, n)).collect::<Result<Vec<_>, _>>()?;
    let results: Vec<u64> = wait_all(tasks).into_iter().collect::<Result<_, _>>()?;
    assert_eq!(results, expected);

    // Folded in the workers.
    assert_eq!(pool.map_reduce(square, |a, b| a + b, 0..10)?, Some(285));
    println!("{expected:?}, in five ways");
    Ok(())
}
