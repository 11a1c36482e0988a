//! Dictionaries between processes that are killed at them.

use mutirao::{Dict, Plain, Process, Segment, Value};
use std::path::PathBuf;
use std::thread;

use crate::roles::{kill, stay, watchdog};
use crate::stage::{Meeting, report_to};

fn count((words, text): (Dict<String, u64>, Vec<String>)) {
    for word in text {
        words.fetch_add(&word, 1).unwrap();
    }
}

#[test]
fn processes_count_together() {
    let words = Dict::<String, u64>::new().unwrap();
    let _watchdog = watchdog("processes_count_together", &[words.segment()]);
    let text: Vec<String> = (0..3000_u32).map(|n| format!("word {}", n * n % 97)).collect();
    let children = [(); 3].map(|()| Process::spawn(count, (words.clone(), text.clone())).unwrap());
    children.into_iter().for_each(|child| child.join().unwrap());
    let mut expected = std::collections::HashMap::new();
    text.into_iter().for_each(|word| *expected.entry(word).or_insert(0) += 3);
    assert_eq!(words.to_hash_map().unwrap(), expected);
    assert_eq!(words.len(), expected.len());
}

/// Computes, says so, and never comes to an end.
fn compute_for_ever((cache, path): (Dict<String, u32>, PathBuf)) {
    let _ = cache.get_or_insert_with("it", || stay(path, "computing"));
}

#[test]
fn what_the_dead_computed_the_next_computes() {
    let cache = Dict::<String, u32>::new().unwrap();
    let _watchdog = watchdog("what_the_dead_computed_the_next_computes", &[cache.segment()]);
    let meeting = Meeting::new("computing");
    let child = Process::spawn(compute_for_ever, (cache.clone(), meeting.path())).unwrap();
    let _stream = meeting.next();
    let waits = [(); 3].map(|()| {
        let cache = cache.clone();
        thread::spawn(move || {
            let mut computed = 0;
            let value = cache.get_or_insert_with("it", || {
                computed += 1;
                7
            });
            (value.unwrap(), computed)
        })
    });
    let soon = std::time::Duration::from_millis(20);
    assert!(cache.get_or_insert_with_timeout("it", soon, || 8).unwrap_err().is_timeout());
    assert!(cache.is_empty());
    assert_eq!(cache.get_or_insert_with("another", || 1).unwrap(), 1, "nobody else waits");
    assert!(cache.segment().inspect().to_string().contains("computing"), "{}", cache.segment().inspect());
    kill(child);
    let got = waits.map(|wait| wait.join().unwrap());
    assert!(got.iter().all(|(value, _)| *value == 7));
    assert_eq!(got.iter().map(|(_, computed)| computed).sum::<u32>(), 1);
}

#[test]
fn what_is_inserted_frees_those_who_wait_for_the_dead() {
    let cache = Dict::<String, u32>::new().unwrap();
    let _watchdog = watchdog("what_is_inserted_frees_those_who_wait_for_the_dead", &[cache.segment()]);
    let meeting = Meeting::new("inserted");
    let child = Process::spawn(compute_for_ever, (cache.clone(), meeting.path())).unwrap();
    let _stream = meeting.next();
    cache.insert("it", &3).unwrap();
    assert_eq!(cache.get_or_insert_with("it", || 4).unwrap(), 3);
    kill(child);
    cache.delete("it").unwrap();
    assert_eq!(cache.get_or_insert_with("it", || 4).unwrap(), 4);
}

/// Changes everything all the time, each value telling which round and which key it is of.
fn churn((dict, rounds, path): (Dict<u32, Plain<[u64; 16]>>, Value<u64>, PathBuf)) {
    let _stream = report_to(path, "at it");
    loop {
        let round = rounds.fetch_add(1);
        for key in 0..200 {
            match (round + u64::from(key)) % 5 {
                0 => drop(dict.delete(&key).unwrap()),
                1 => drop(dict.update(&key, |old| Plain([old.map_or(u64::from(key), |old| old.0[0]); 16])).unwrap()),
                _ => drop(dict.set(&key, &Plain([round << 32 | u64::from(key); 16])).unwrap()),
            }
        }
    }
}

#[test]
fn killed_writers_leave_whole_entries_and_no_lock() {
    let dict = Dict::<u32, Plain<[u64; 16]>>::options().memory_bytes(2 << 20).create().unwrap();
    let rounds = Value::new(0_u64).unwrap();
    let _watchdog = watchdog("killed_writers_leave_whole_entries_and_no_lock", &[dict.segment()]);
    for _ in 0..20 {
        let meeting = Meeting::new("churn");
        let children = [(); 2].map(|()| {
            let child = Process::spawn(churn, (dict.clone(), rounds.clone(), meeting.path())).unwrap();
            (child, meeting.next())
        });
        let begun = rounds.load();
        while rounds.load() < begun + 20 {
            for entry in &dict {
                let (key, value) = entry.unwrap();
                assert!(value.0.iter().all(|part| *part == value.0[0] && *part as u32 == key), "{key}: {value:?}");
            }
        }
        children.into_iter().for_each(|(child, _stream)| kill(child));
        for key in 0..200 {
            let old = dict.insert(&key, &Plain([u64::from(key); 16])).unwrap();
            assert!(old.is_none_or(|old| old.0.iter().all(|part| *part == old.0[0])));
        }
        assert_eq!(dict.len(), 200);
        assert_eq!(dict.keys().filter(|key| key.is_ok()).count(), 200);
    }
    dict.clear().unwrap();
    // What the dead had in hand is there again: two megabytes would not last for twenty rounds of leaks.
    assert!((0..5_000).all(|key| dict.set(&key, &Plain([0; 16])).unwrap()));
}

fn look(name: String) {
    let observer = Segment::open_read_only(&name).unwrap();
    let stock = observer.dict::<String, u32>("stock").unwrap();
    assert_eq!((stock.get("bread").unwrap(), stock.len().unwrap()), (Some(3), 1));
    assert_eq!(stock.get("cake").unwrap(), None);
}

#[test]
fn a_stranger_looks_without_taking_part() {
    let name = format!("dict-look-{}", std::process::id());
    let shop = Segment::create(&name, 4 << 20).unwrap();
    let stock = Dict::<String, u32>::create(&shop, "stock").unwrap();
    stock.insert("bread", &3).unwrap();
    Process::spawn(look, name).unwrap().join().unwrap();
}
