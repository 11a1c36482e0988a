//! A reader, workers and an aggregator, joined by queues: `cargo run --example pipeline [FILE ...]`.
//!
//! Each stage ends when the one before it has: the queue is closed and drained.

use mutirao::{Process, Queue, Result};
use std::collections::BTreeMap;
use std::io::BufRead;

const WORKERS: usize = 3;

/// Reads lines from files.
fn read((files, lines): (Vec<String>, Queue<String>)) {
    for file in files {
        let Ok(file) = std::fs::File::open(&file) else { continue };
        for line in std::io::BufReader::new(file).lines().map_while(std::io::Result::ok) {
            lines.send(line).unwrap();
        }
    }
}

/// Counts the words of each line by their length. A line that a dead worker had leased goes to another.
fn count((lines, counts): (Queue<String>, Queue<Vec<usize>>)) {
    while let Ok(line) = lines.lease() {
        counts.send(line.split_whitespace().map(|word| word.chars().count()).collect()).unwrap();
        line.ack().unwrap();
    }
}

/// Adds up.
fn aggregate(counts: Queue<Vec<usize>>) -> BTreeMap<usize, u64> {
    let mut all = BTreeMap::new();
    for lens in counts.iter().map_while(Result::ok) {
        for len in lens {
            *all.entry(len).or_default() += 1;
        }
    }
    all
}

fn main() -> Result<()> {
    mutirao::init();
    let mut files: Vec<String> = std::env::args().skip(1).collect();
    if files.is_empty() {
        files = ["README.md", "CHANGELOG.md"].map(|file| format!("{}/{file}", env!("CARGO_MANIFEST_DIR"))).into();
    }
    let (lines, counts) = (Queue::new(256)?, Queue::new(256)?);
    let aggregator = Process::spawn(aggregate, counts.clone())?;
    let workers: Vec<_> =
        (0..WORKERS).map(|_| Process::spawn(count, (lines.clone(), counts.clone()))).collect::<Result<_>>()?;
    Process::spawn(read, (files.clone(), lines.clone()))?.join()?;
    lines.close();
    for worker in workers {
        worker.join()?;
    }
    counts.close();
    let by_len = aggregator.join()?;

    let words: u64 = by_len.values().sum();
    let texts = files.iter().filter_map(|file| std::fs::read_to_string(file).ok());
    assert_eq!(words, texts.map(|text| text.split_whitespace().count() as u64).sum::<u64>());
    let (len, count) = by_len.iter().max_by_key(|(_, count)| **count).unwrap_or((&0, &0));
    println!("{words} words in {} files; most of them, {count}, have {len} letters", files.len());
    Ok(())
}
