//! Bytes for each entry, each map in a process of its own.

use std::process::Command;

use crate::Outcome;
use crate::contest::share;
use crate::keys::{ENTRIES, Key};
use crate::maps::{Dash, Locked, Map, Papaya};
use crate::ours::{Ours, Single};

/// Memory of this process that is there, shared memory included.
fn resident() -> Outcome<f64> {
    statm(1)
}

/// What of that is shared: not what the program's own heap keeps of the values that it made.
fn shared() -> Outcome<f64> {
    statm(2)
}

fn statm(nth: usize) -> Outcome<f64> {
    let text = std::fs::read_to_string("/proc/self/statm")?;
    let pages: f64 = text.split_whitespace().nth(nth).ok_or("too few numbers")?.parse()?;
    Ok(pages * 4096.0)
}

fn of<K: Key, M: Map<K>>() -> Outcome<f64> {
    let before = resident()?;
    let map = M::made_for(ENTRIES);
    share(&map, 0, 1);
    Ok((resident()? - before) / ENTRIES as f64)
}

const MAPS: [&str; 4] = ["mutirao", "DashMap", "papaya", "RwLock<HashMap>"];

fn named<K: Ours>(name: &str) -> Outcome<f64> {
    match name {
        "mutirao" => of::<K, Single<K>>(),
        "DashMap" => of::<K, Dash<K>>(),
        "papaya" => of::<K, Papaya<K>>(),
        "RwLock<HashMap>" => of::<K, Locked<K>>(),
        _ => Err("no such map".into()),
    }
}

pub fn all(words: &[String]) -> Outcome<()> {
    if let [kind, name] = words {
        println!("{:.1}", if kind == "words" { named::<u64>(name) } else { named::<[u8; 16]>(name) }?);
        return Ok(());
    }
    println!("| bytes for each of {ENTRIES} entries, made for that many | words | records |\n|---|--:|--:|");
    for name in MAPS {
        let measure = |kind: &str| -> Outcome<String> {
            let output = Command::new(std::env::current_exe()?).args(["memory", kind, name]).output()?;
            Ok(String::from_utf8(output.stdout)?.trim().to_owned())
        };
        println!("| {name} | {} | {} |", measure("words")?, measure("records")?);
    }
    Ok(())
}

/// Bytes for an entry after it was all removed and inserted again, so many times.
fn again_of<K: Ours>(rounds: usize) -> Outcome<[f64; 3]> {
    let before = shared()?;
    let map = Single::<K>::made_for(16);
    let bytes = || -> Outcome<f64> { Ok((shared()? - before) / ENTRIES as f64) };
    share(&map, 0, 1);
    let (first, mut most) = (bytes()?, 0_f64);
    for _ in 0..rounds {
        for i in 0..ENTRIES as u64 {
            if !map.0.delete(&K::nth(i).stored())? {
                return Err("an entry is gone".into());
            }
        }
        if map.0.len() != 0 {
            return Err("an entry is left".into());
        }
        share(&map, 0, 1);
        most = most.max(bytes()?);
    }
    Ok([first, bytes()?, most])
}

pub fn again(rounds: usize) -> Outcome<()> {
    println!("| bytes for each of {ENTRIES} entries | filled | removed and inserted {rounds} times | most |");
    println!("|---|--:|--:|--:|");
    for (what, [first, last, most]) in
        [(u64::WHAT, again_of::<u64>(rounds)?), (<[u8; 16]>::WHAT, again_of::<[u8; 16]>(rounds)?)]
    {
        println!("| {what} | {first:.1} | {last:.1} | {most:.1} |");
    }
    Ok(())
}
