//! From room for 16 entries to many: how long it takes in all, and how long the longest insertion takes the processor.

use crate::Outcome;
use crate::contest::{Clock, thread_ns};
use crate::keys::{Key, Payload};
use crate::maps::{Dash, Locked, Map, Papaya};
use crate::ours::{Ours, Single};

/// Milliseconds for the map and all of them: who is made for many may pay for them at once, or with the first of each page.
fn total<K: Key, M: Map<K>>(room: usize, entries: u64) -> f64 {
    let begun = Clock::start();
    let map = M::made_for(room);
    for i in 0..entries {
        map.insert_all(&[(K::nth(i), K::Value::nth(i))]);
    }
    begun.elapsed().as_secs_f64() * 1e3
}

/// Microseconds of the processor that the longest one takes, and how many take more than 100 and 1000.
fn longest<K: Key, M: Map<K>>(room: usize, entries: u64) -> (f64, u64, u64) {
    let map = M::made_for(room);
    let (mut longest, mut long, mut very_long) = (0, 0, 0);
    let mut last = thread_ns();
    for i in 0..entries {
        map.insert_all(&[(K::nth(i), K::Value::nth(i))]);
        let now = thread_ns();
        let took = now - last;
        last = now;
        longest = longest.max(took);
        long += u64::from(took > 100_000);
        very_long += u64::from(took > 1_000_000);
    }
    (longest as f64 / 1e3, long, very_long)
}

fn row<K: Key, M: Map<K>>(name: &str, entries: u64) {
    let grown = total::<K, M>(16, entries);
    let presized = total::<K, M>(entries as usize, entries);
    let (most, long, very_long) = longest::<K, M>(16, entries);
    let (presized_most, ..) = longest::<K, M>(entries as usize, entries);
    println!(
        "| {name}, {} | {grown:.0} | {presized:.0} | {:.2} | {most:.0} | {long} | {very_long} | {presized_most:.0} |",
        K::WHAT,
        grown / presized
    );
}

fn rows<K: Ours>(entries: u64) {
    row::<K, Single<K>>("mutirao", entries);
    row::<K, Dash<K>>("DashMap", entries);
    row::<K, Papaya<K>>("papaya", entries);
    row::<K, Locked<K>>("RwLock<HashMap>", entries);
}

pub fn all(entries: usize) -> Outcome<()> {
    println!(
        "| {entries} entries from 16 | ms | presized ms | ratio | longest us | > 0.1 ms | > 1 ms | presized longest us |"
    );
    println!("|---|--:|--:|--:|--:|--:|--:|--:|");
    rows::<u64>(entries as u64);
    // Records take eight times the memory.
    rows::<[u8; 16]>(entries as u64 / 4);
    Ok(())
}
