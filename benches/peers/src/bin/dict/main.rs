//! A dictionary between processes beside maps between threads of one process.
//!
//! ```text
//! cargo run --release --manifest-path benches/peers/Cargo.toml --bin dict -- words|records [ROUNDS] [MS]
//!                                                                            memory|again|growth
//! ```
//!
//! `words` are u64 to u64, `records` strings of 16 bytes to values of 256. A million entries, made for that many and filled by
//! insertion; then every contestant in turn runs every mix for MS milliseconds, ROUNDS times; medians. Two means two threads
//! for the peers and two processes for ours, each on a core of its own. Ratios are ours to a peer's. Everyone who reads copies
//! the value and looks at the copy; ours reads and stores records by `get_with` and `set`, in batches by `get_many_with`
//! and `insert_many`, or returns values by `get` and `insert`.
//!
//! Words select contestants: `ONLY=DashMap,mutirao`.

mod contest;
mod growth;
mod keys;
#[path = "../../machine.rs"]
#[allow(dead_code)]
mod machine;
mod maps;
mod memory;
mod ours;

use contest::{Contestant, threads};
use maps::{Dash, Locked, Papaya};
use ours::Hired;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// Everyone, made for `entries`.
fn contestants<K: Hired>(entries: usize) -> Vec<Contestant<K>> {
    let mut all: Vec<_> = ours::processes::<K>(entries);
    all.extend([
        threads::<K, Dash<K>>("DashMap, ahash", entries),
        threads::<K, Papaya<K>>("papaya, ahash", entries),
        threads::<K, Locked<K>>("RwLock<HashMap>, ahash", entries),
    ]);
    let only = std::env::var("ONLY").unwrap_or_default();
    let is_wanted = |name: &str| only.is_empty() || only.split(',').any(|word| name.contains(word));
    all.into_iter().filter(|one| is_wanted(one.name)).collect()
}

fn main() -> Outcome<()> {
    mutirao::init();
    let words: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize, usual| words.get(at).and_then(|word| word.parse().ok()).unwrap_or(usual);
    let (rounds, ms) = (number(1, 7), number(2, 40) as u64);
    machine::pin(0);
    match words.first().map(String::as_str) {
        Some("words") => contest::run(contestants::<u64>(keys::ENTRIES), rounds, ms),
        Some("records") => contest::run(contestants::<[u8; 16]>(keys::ENTRIES), rounds, ms),
        Some("memory") => memory::all(words.get(1..).unwrap_or_default()),
        Some("again") => memory::again(number(1, 100)),
        Some("growth") => growth::all(number(1, 10_000_000)),
        _ => Err("words, records, memory, again or growth".into()),
    }
}
