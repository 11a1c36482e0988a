//! Bytes for each entry, each map in a process of its own.

use std::process::Command;

use crate::Outcome;
use crate::contest::share;
use crate::keys::{ENTRIES, Key};
use crate::maps::{Dash, Locked, Map, Papaya};
use crate::ours::{Ours, Single};

/// Memory of this process that is there, shared memory included.
fn resident() -> Outcome<f64> {
    let text = std::fs::read_to_string("/proc/self/statm")?;
    let pages: f64 = text.split_whitespace().nth(1).ok_or("no second number")?.parse()?;
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
