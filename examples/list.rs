//! Three processes look for primes and put what they find into one list: `cargo run --example list`.

use mutirao::{List, Process};

fn search((found, first, last): (List<u64>, u64, u64)) {
    let is_prime = |n: &u64| *n > 1 && (2..).take_while(|d| d * d <= *n).all(|d| !n.is_multiple_of(d));
    // A hundred numbers at a time: what is found there appears in the list at one moment.
    for start in (first..last).step_by(100) {
        found.extend((start..last.min(start + 100)).filter(is_prime)).unwrap();
    }
}

fn main() -> mutirao::Result<()> {
    mutirao::init();
    let found = List::<u64>::new()?;
    let parts = [(0, 4000), (4000, 7500), (7500, 10_000)];
    let searchers = parts.map(|(first, last)| Process::spawn(search, (found.clone(), first, last)));
    for searcher in searchers {
        searcher?.join()?;
    }
    found.sort()?;
    println!("{} primes below ten thousand, the last one is {:?}", found.len(), found.get(found.len() - 1)?);
    assert_eq!((found.len(), found.get(1228)?), (1229, Some(9973)));

    found.retain(|n| n % 10 == 7)?;
    let first: Vec<u64> = found.iter().take(5).collect::<mutirao::Result<_>>()?;
    println!("{} of them end in 7: {first:?} ...", found.len());
    assert_eq!((found.len(), first), (308, vec![7, 17, 37, 47, 67]));
    Ok(())
}
