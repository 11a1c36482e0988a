//! Which of fifty numbers are prime, by all processors: `cargo run --release --example primes [FROM] [COUNT]`.

use mutirao::Pool;

fn is_prime(n: u64) -> bool {
    n >= 2 && (2..).take_while(|d| d * d <= n).all(|d| !n.is_multiple_of(d))
}

fn main() -> mutirao::Result<()> {
    mutirao::init();
    let mut numbers = std::env::args().skip(1).map(|arg| arg.parse().expect("a number"));
    let (from, count) = (numbers.next().unwrap_or(10_000_000), numbers.next().unwrap_or(50));
    let pool = Pool::new()?;
    let range = from..from + count;
    let are_prime = pool.map(is_prime, range.clone())?;
    let primes: Vec<u64> = range.zip(are_prime).filter_map(|(n, is_prime)| is_prime.then_some(n)).collect();
    println!("of the {count} numbers from {from} on, {} prime: {primes:?}", primes.len());
    if (from, count) == (10_000_000, 50) {
        assert_eq!(primes, [10_000_019]);
    }
    Ok(())
}
