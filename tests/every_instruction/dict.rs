//! Dictionaries of both kinds: words that stand in the table, and records.

use crate::operations;
use mutirao::testing::{Killed, begin, end, kill_at};
use mutirao::{Dict, Plain, Segment, Value};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(10);

type Words = Dict<u64, u64>;
type Records = Dict<String, String>;
/// Records of plain data, which are written without codec.
type Plains = Dict<Plain<[u64; 2]>, Plain<[u64; 9]>>;

/// Entries that are there from the beginning and that nobody changes.
const OTHERS: u64 = 20;

/// Little memory, so that what is lost at each kill is missed soon.
fn words() -> Words {
    let words = Words::options().memory_bytes(512 << 10).create().unwrap();
    (100..100 + OTHERS).for_each(|n| assert_eq!(words.insert(&n, &(n * n)).unwrap(), None));
    words
}

fn name(n: u64) -> String {
    format!("the key of number {n}")
}

/// A value of up to 400 bytes that tells its number and whether it is whole. Text, which takes few instructions to encode.
fn value(n: u64) -> String {
    format!("{n:07} ").repeat(1 + (n as usize * 37) % 50)
}

fn number(value: &str) -> u64 {
    let n = value[..7].parse().unwrap();
    assert!(*value == self::value(n), "torn: {value:?}");
    n
}

fn records() -> Records {
    let records = Records::options().memory_bytes(512 << 10).create().unwrap();
    (100..100 + OTHERS).for_each(|n| assert_eq!(records.insert(&name(n), &value(n)).unwrap(), None));
    records
}

/// Everything else is as it was, `len` counts exactly what is there, and all of it can be changed.
fn words_are_whole(words: &Words) {
    let all = words.to_hash_map().unwrap();
    assert_eq!(words.len(), all.len(), "{all:?}");
    for n in 100..100 + OTHERS {
        assert_eq!((words.get(&n).unwrap(), all.get(&n)), (Some(n * n), Some(&(n * n))));
    }
    for n in 200..210 {
        assert_eq!(words.insert(&n, &1).unwrap(), None);
        assert_eq!(words.fetch_add(&n, 1).unwrap(), 1);
        assert_eq!(words.remove(&n).unwrap(), Some(2));
    }
    assert_eq!(words.len(), all.len());
}

fn records_are_whole(records: &Records) {
    let all = records.to_hash_map().unwrap();
    assert_eq!(records.len(), all.len(), "{:?}", all.keys());
    for n in 100..100 + OTHERS {
        assert_eq!(records.get(&name(n)).unwrap().as_deref().map(number), Some(n));
    }
    // More than once around the memory, if the kills go on like this.
    for n in 200..204 {
        assert_eq!(records.insert(&name(n), &value(n)).unwrap(), None);
        assert_eq!(records.insert(&name(n), &value(n + 7)).unwrap().as_deref().map(number), Some(n));
        assert_eq!(records.remove(&name(n)).unwrap().as_deref().map(number), Some(n + 7));
    }
    assert_eq!(records.len(), all.len());
}

/// The key that victims change, and what it had before.
const KEY: u64 = 7;

fn words_with_key() -> Words {
    let words = words();
    words.insert(&KEY, &1).unwrap();
    words
}

fn records_with_key() -> Records {
    let records = records();
    records.insert(&name(KEY), &value(1)).unwrap();
    records
}

fn get(records: &Records) -> Option<u64> {
    records.get(&name(KEY)).unwrap().as_deref().map(number)
}

/// A victim that has written before, as most have: it has its desk, and knows the dictionary.
fn sat(words: Words) -> Words {
    words.insert(&99, &0).unwrap();
    words.remove(&99).unwrap();
    words
}

fn sat_at_records(records: Records) -> Records {
    records.insert(&name(99), &value(0)).unwrap();
    records.remove(&name(99)).unwrap();
    records
}

/// The new value, or the old one if the call had not returned. Then the old one is put back.
fn words_had(words: &Words, killed: Killed, old: Option<u64>, new: Option<u64>) {
    let now = words.get(&KEY).unwrap();
    assert!(now == new || now == old && killed != Killed::After, "{now:?} after {killed:?}");
    words_are_whole(words);
    match old {
        Some(old) => assert_eq!(words.insert(&KEY, &old).unwrap(), now),
        None => assert_eq!(words.remove(&KEY).unwrap(), now),
    }
    words_are_whole(words);
}

fn records_had(records: &Records, killed: Killed, old: Option<u64>, new: Option<u64>) {
    let now = get(records);
    assert!(now == new || now == old && killed != Killed::After, "{now:?} after {killed:?}");
    records_are_whole(records);
    let was = match old {
        Some(old) => records.insert(&name(KEY), &value(old)).unwrap(),
        None => records.remove(&name(KEY)).unwrap(),
    };
    assert_eq!(was.as_deref().map(number), now);
    records_are_whole(records);
}

const fn plain_key(n: u64) -> Plain<[u64; 2]> {
    Plain([n, !n])
}

fn plains() -> Plains {
    let plains = Plains::options().memory_bytes(512 << 10).create().unwrap();
    (100..100 + OTHERS).for_each(|n| assert!(plains.set(&plain_key(n), &Plain([n; 9])).unwrap(), "new"));
    plains
}

fn plains_with_key() -> Plains {
    let plains = plains();
    plains.set(&plain_key(KEY), &Plain([1; 9])).unwrap();
    plains
}

fn sat_at_plains(plains: Plains) -> Plains {
    plains.set(&plain_key(99), &Plain([0; 9])).unwrap();
    plains.remove(&plain_key(99)).unwrap();
    plains
}

fn plains_had(plains: &Plains, killed: Killed, old: Option<u64>, new: Option<u64>) {
    let whole = |Plain(words): Plain<[u64; 9]>| {
        assert_eq!(words, [words[0]; 9], "torn");
        words[0]
    };
    let now = plains.get(&plain_key(KEY)).unwrap().map(whole);
    assert!(now == new || now == old && killed != Killed::After, "{now:?} after {killed:?}");
    for n in 200..204 {
        assert!(plains.set(&plain_key(n), &Plain([n; 9])).unwrap(), "new");
        assert_eq!(plains.insert(&plain_key(n), &Plain([n + 1; 9])).unwrap().map(whole), Some(n));
        assert_eq!(plains.remove(&plain_key(n)).unwrap().map(whole), Some(n + 1));
    }
    match old {
        Some(old) => assert_eq!(plains.set(&plain_key(KEY), &Plain([old; 9])).unwrap(), now.is_none()),
        None => assert_eq!(plains.remove(&plain_key(KEY)).unwrap().map(whole), now),
    }
    let all: Vec<_> =
        plains.iter().map(|entry| entry.unwrap()).map(|(Plain(key), value)| (key, whole(value))).collect();
    assert_eq!(plains.len(), all.len(), "{all:?}");
    assert_eq!(all.len() as u64, OTHERS + u64::from(old.is_some()), "{all:?}");
    assert!(all.iter().all(|([n, m], value)| *m == !n && (*n == KEY || value == n)), "{all:?}");
}

/// Enough to make a table that has all that its buckets are for split several times.
const MANY: u64 = 40;

/// What the others are, and so many more.
fn filled_up(entries: u64) -> impl Iterator<Item = u64> {
    (100..100 + OTHERS).chain(5000..5000 + entries - OTHERS)
}

/// A table that was made for `capacity` entries and has all that its buckets are for, and how often it grew: what makes it
/// grow stays, so that it does so each time: memory for thousands of kills.
fn full_words(capacity: usize, entries: u64) -> (Words, Value<u64>) {
    let words = Words::options().capacity(capacity).memory_bytes(32 << 20).create().unwrap();
    filled_up(entries).for_each(|n| assert_eq!(words.insert(&n, &(n * n)).unwrap(), None));
    (words, Value::new(0).unwrap())
}

/// The keys that are inserted this time.
fn of_this_time(grown: &Value<u64>) -> std::ops::Range<u64> {
    let first = 10_000 + grown.load() * MANY;
    first..first + MANY
}

fn grow((words, grown): (Words, Value<u64>)) {
    let (words, keys) = (sat(words), of_this_time(&grown));
    begin();
    keys.for_each(|n| _ = words.insert(&n, &n).unwrap());
    end();
}

/// Those that were inserted before a death are there, in their order; then all are, and are as the others.
fn words_grew((words, grown): &(Words, Value<u64>), killed: Killed) {
    let keys = of_this_time(grown);
    let there: Vec<_> = keys.clone().filter(|n| words.get(n).unwrap() == Some(*n)).collect();
    assert!(there.iter().zip(keys.clone()).all(|(n, m)| *n == m), "with holes: {there:?}");
    assert!(there.len() as u64 == MANY || killed != Killed::After);
    words_are_whole(words);
    keys.for_each(|n| _ = words.insert(&n, &n).unwrap());
    words_are_whole(words);
    grown.fetch_add(1);
}

operations! {
    dict_words_get: words_with_key,
        |words| { begin(); words.get(&KEY).unwrap(); end() },
        |words, killed| words_had(words, killed, Some(1), Some(1));
    dict_words_insert_first: words,
        |words| { begin(); words.insert(&KEY, &2).unwrap(); end() },
        |words, killed| words_had(words, killed, None, Some(2));
    dict_words_insert: words,
        |words| { let words = sat(words); begin(); words.insert(&KEY, &2).unwrap(); end() },
        |words, killed| words_had(words, killed, None, Some(2));
    dict_words_replace: words_with_key,
        |words| { begin(); words.insert(&KEY, &2).unwrap(); end() },
        |words, killed| words_had(words, killed, Some(1), Some(2));
    dict_words_insert_many: words,
        |words| { let words = sat(words); begin(); words.insert_many([(KEY, 2)]).unwrap(); end() },
        |words, killed| words_had(words, killed, None, Some(2));
    dict_words_remove: words_with_key,
        |words| { let words = sat(words); begin(); words.remove(&KEY).unwrap(); end() },
        |words, killed| words_had(words, killed, Some(1), None);
    dict_words_fetch_add: words_with_key,
        |words| { begin(); words.fetch_add(&KEY, 1).unwrap(); end() },
        |words, killed| words_had(words, killed, Some(1), Some(2));
    dict_words_update: words_with_key,
        |words| { begin(); words.update(&KEY, |old| old.unwrap_or(0) + 1).unwrap(); end() },
        |words, killed| words_had(words, killed, Some(1), Some(2));
    dict_words_compare_exchange: words_with_key,
        |words| { begin(); assert!(words.compare_exchange(&KEY, Some(&1), Some(&2)).unwrap()); end() },
        |words, killed| words_had(words, killed, Some(1), Some(2));
    dict_words_get_or_insert_with: words,
        |words| { begin(); words.get_or_insert_with(&KEY, || 2).unwrap(); end() },
        |words, killed| {
            let now = words.get_or_insert_with_timeout(&KEY, PATIENCE, || 3).unwrap();
            assert!(now == 2 || now == 3 && killed != Killed::After, "{now}");
            assert_eq!(words.remove(&KEY).unwrap(), Some(now));
            words_are_whole(words);
        };
    // Room for one name, and little memory.
    dict_words_create: || Segment::options().objects(1).anonymous(128 << 10).unwrap(),
        // 53 buckets, some of which are made as if they had been split.
        |segment| { begin(); let made = Words::options().capacity(100).create_named(&segment, "new").unwrap(); end(); drop(made) },
        |segment, killed| {
            let words = match Words::open(segment, "new") {
                Ok(words) => words,
                Err(error) => {
                    assert!(error.is_not_found() && killed != Killed::After, "{error}");
                    Words::options().capacity(100).create_named(segment, "new").unwrap()
                }
            };
            (100..100 + OTHERS).for_each(|n| assert_eq!(words.insert(&n, &(n * n)).unwrap(), None));
            (1000..1100).for_each(|n| assert_eq!(words.insert(&n, &n).unwrap(), None));
            words_are_whole(&words);
            drop(words);
            segment.remove("new").unwrap();
        };
    dict_words_grow: || full_words(0, 66),
        grow,
        words_grew;
    dict_words_grow_from_any_number: || full_words(100, 109),
        grow,
        words_grew;
    dict_words_clear: words,
        |words| { let words = sat(words); begin(); words.clear().unwrap(); end() },
        |words, killed| {
            let all = words.to_hash_map().unwrap();
            assert!(all.len() == words.len() && (all.is_empty() || killed != Killed::After), "{all:?}");
            (100..100 + OTHERS).for_each(|n| _ = words.insert(&n, &(n * n)).unwrap());
            words_are_whole(words);
        };
    dict_records_get: records_with_key,
        |records| { let key = name(KEY); begin(); records.get(&key).unwrap(); end() },
        |records, killed| records_had(records, killed, Some(1), Some(1));
    dict_records_insert_first: records,
        |records| { let (key, new) = (name(KEY), value(2)); begin(); records.insert(&key, &new).unwrap(); end() },
        |records, killed| records_had(records, killed, None, Some(2));
    dict_records_insert: records,
        |records| { let records = sat_at_records(records); let (key, new) = (name(KEY), value(2)); begin(); records.insert(&key, &new).unwrap(); end() },
        |records, killed| records_had(records, killed, None, Some(2));
    dict_records_replace: records_with_key,
        |records| { let records = sat_at_records(records); let (key, new) = (name(KEY), value(2)); begin(); records.insert(&key, &new).unwrap(); end() },
        |records, killed| records_had(records, killed, Some(1), Some(2));
    dict_records_replace_again: records_with_key,
        |records| { let records = sat_at_records(records); let (key, new) = (name(KEY), value(2)); records.insert(&key, &value(1)).unwrap(); begin(); records.insert(&key, &new).unwrap(); end() },
        |records, killed| records_had(records, killed, Some(1), Some(2));
    dict_records_leave: records_with_key,
        |records| { let records = sat_at_records(records); records.insert(&name(KEY), &value(1)).unwrap(); begin(); drop(records); end() },
        |records, killed| records_had(records, killed, Some(1), Some(1));
    dict_records_insert_many: records_with_key,
        |records| { let records = sat_at_records(records); let all = [(name(KEY), value(2))]; begin(); records.insert_many(all).unwrap(); end() },
        |records, killed| records_had(records, killed, Some(1), Some(2));
    dict_records_remove: records_with_key,
        |records| { let records = sat_at_records(records); let key = name(KEY); begin(); records.remove(&key).unwrap(); end() },
        |records, killed| records_had(records, killed, Some(1), None);
    dict_records_update: records_with_key,
        |records| { let records = sat_at_records(records); let key = name(KEY); begin(); records.update(&key, |_| value(2)).unwrap(); end() },
        |records, killed| records_had(records, killed, Some(1), Some(2));
    dict_records_get_or_insert_with: records,
        |records| { let key = name(KEY); begin(); records.get_or_insert_with(&key, || value(2)).unwrap(); end() },
        |records, killed| {
            let now = number(&records.get_or_insert_with_timeout(&name(KEY), PATIENCE, || value(3)).unwrap());
            assert!(now == 2 || now == 3 && killed != Killed::After, "{now}");
            assert_eq!(records.remove(&name(KEY)).unwrap().as_deref().map(number), Some(now));
            records_are_whole(records);
        };
    dict_plain_insert: plains,
        |plains| { let plains = sat_at_plains(plains); begin(); plains.set(&plain_key(KEY), &Plain([2; 9])).unwrap(); end() },
        |plains, killed| plains_had(plains, killed, None, Some(2));
    dict_plain_replace: plains_with_key,
        |plains| { let plains = sat_at_plains(plains); begin(); plains.set(&plain_key(KEY), &Plain([2; 9])).unwrap(); end() },
        |plains, killed| plains_had(plains, killed, Some(1), Some(2));
    dict_plain_insert_again: plains_with_key,
        |plains| { let plains = sat_at_plains(plains); begin(); let old = plains.insert(&plain_key(KEY), &Plain([2; 9])).unwrap(); end(); assert_eq!(old.map(|Plain(old)| old), Some([1; 9])) },
        |plains, killed| plains_had(plains, killed, Some(1), Some(2));
    dict_plain_remove: plains_with_key,
        |plains| { let plains = sat_at_plains(plains); begin(); plains.remove(&plain_key(KEY)).unwrap(); end() },
        |plains, killed| plains_had(plains, killed, Some(1), None);
    dict_records_grow: || {
            let records = Records::options().memory_bytes(128 << 20).create().unwrap();
            filled_up(248).for_each(|n| assert_eq!(records.insert(&name(n), &value(n)).unwrap(), None));
            (records, Value::new(0).unwrap())
        },
        |(records, grown)| {
            let records = sat_at_records(records);
            let entries: Vec<_> = of_this_time(&grown).map(|n| (name(n), value(n))).collect();
            begin();
            entries.iter().for_each(|(key, value)| _ = records.insert(key, value).unwrap());
            end();
        },
        |(records, grown), killed| {
            let keys = of_this_time(grown);
            let is_there = |n: &u64| records.get(&name(*n)).unwrap().is_some_and(|value| number(&value) == *n);
            let there: Vec<_> = keys.clone().filter(is_there).collect();
            assert!(there.iter().zip(keys.clone()).all(|(n, m)| *n == m), "with holes: {there:?}");
            assert!(there.len() as u64 == MANY || killed != Killed::After);
            records_are_whole(records);
            keys.for_each(|n| _ = records.insert(&name(n), &value(n)).unwrap());
            records_are_whole(records);
            grown.fetch_add(1);
        };
    dict_records_clear: records,
        |records| { let records = sat_at_records(records); begin(); records.clear().unwrap(); end() },
        |records, killed| {
            let all = records.to_hash_map().unwrap();
            assert!(all.len() == records.len() && (all.is_empty() || killed != Killed::After), "{:?}", all.keys());
            (100..100 + OTHERS).for_each(|n| _ = records.insert(&name(n), &value(n)).unwrap());
            records_are_whole(records);
        };
    dict_records_evict: || {
            let records = Records::options().limit(30).memory_bytes(512 << 10).create().unwrap();
            (0..30).for_each(|n| _ = records.insert(&name(n), &value(n)).unwrap());
            records
        },
        |records| {
            let records = sat_at_records(records);
            let entries: Vec<_> = (100..112).map(|n| (name(n), value(n))).collect();
            begin();
            entries.iter().for_each(|(key, value)| _ = records.insert(key, value).unwrap());
            end();
        },
        |records, _| {
            let all = records.to_hash_map().unwrap();
            assert_eq!(all.len(), records.len());
            all.iter().for_each(|(key, value)| assert_eq!(*key, name(number(value))));
            (500..560).for_each(|n| _ = records.insert(&name(n), &value(n)).unwrap());
            assert!(records.len() <= 40, "{} entries, 30 wanted", records.len());
        };
    dict_words_recover: || (words(), Value::new(0).unwrap()),
        |(words, deaths)| {
            let insert = |words| { let words = sat(words); begin(); words.insert(&KEY, &1).unwrap(); end() };
            kill_at(deaths.fetch_add(1) % 25, &words, insert).unwrap();
            begin();
            words.insert(&KEY, &2).unwrap();
            end();
        },
        |(words, _), killed| {
            let now = words.get(&KEY).unwrap();
            assert!(now == Some(2) || matches!(now, None | Some(1)) && killed != Killed::After, "{now:?}");
            words_are_whole(words);
            assert_eq!(words.remove(&KEY).unwrap(), now);
            words_are_whole(words);
        };
    dict_words_recover_growth: || (full_words(0, 66), Value::new(0).unwrap()),
        |(full, deaths)| {
            kill_at(deaths.fetch_add(37) % 700, &full, grow).unwrap();
            grow(full);
        },
        |(full, _), killed| words_grew(full, killed);
    dict_records_recover: || (records(), Value::new(0).unwrap()),
        |(records, deaths)| {
            let replace = |records| {
                let records = sat_at_records(records);
                let (key, new) = (name(KEY), value(1));
                begin();
                records.insert(&key, &new).unwrap();
                end();
            };
            kill_at(deaths.fetch_add(1) % 60, &records, replace).unwrap();
            let (key, new) = (name(KEY), value(2));
            begin();
            records.insert(&key, &new).unwrap();
            end();
        },
        |(records, _), killed| {
            let now = get(records);
            assert!(now == Some(2) || matches!(now, None | Some(1)) && killed != Killed::After, "{now:?}");
            records_are_whole(records);
            // Removed each other time, so that deaths in insertions and in replacements are met.
            if killed != Killed::During(0) {
                assert_eq!(records.remove(&name(KEY)).unwrap().as_deref().map(number), now);
            }
            records_are_whole(records);
        };
}
