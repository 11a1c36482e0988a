//! What a dictionary promises to threads of one process.

use crate::received;
use mutirao::{Bytes, Dict, Error, Hash, Plain, Queue, Segment, Value};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::fmt::Debug;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::thread;

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
struct Order {
    what: String,
    pieces: Option<u32>,
    tags: Vec<String>,
}

fn order(n: u32) -> Order {
    Order {
        what: format!("order {n}"),
        pieces: (!n.is_multiple_of(3)).then_some(n),
        tags: vec!["new".into(); n as usize % 4],
    }
}

/// Bytes of many values at once, each with its key and in order, against those of one after the other.
fn bytes_are_the_same<K: mutirao::DictItem, V: mutirao::DictItem>(dict: &Dict<K, V>, keys: &[K]) {
    let mut expected = keys.iter();
    let compare = |key: &K, found: Option<&[u8]>| {
        assert!(core::ptr::eq(key, expected.next().expect("no more than were asked for")));
        assert_eq!(found.map(<[u8]>::to_vec), dict.get_with(key, <[u8]>::to_vec).unwrap());
    };
    dict.get_many_with(keys, compare).unwrap();
    assert!(expected.next().is_none());
}

/// All verbs, against a map of this process.
fn behaves<K, V>(dict: &Dict<K, V>, keys: &[K], value: impl Fn(u32) -> V)
where
    K: mutirao::DictItem + Ord + Clone + Debug,
    V: mutirao::DictItem + PartialEq + Clone + Debug,
{
    let mut map = BTreeMap::new();
    assert!(dict.is_empty() && dict.iter().next().is_none());
    for (key, n) in keys.iter().zip(0..) {
        assert_eq!(dict.get(key).unwrap(), None);
        assert_eq!(dict.insert(key, &value(n)).unwrap(), None);
        assert_eq!(map.insert(key.clone(), value(n)), None);
        assert_eq!(dict.len(), map.len());
    }
    for (key, n) in keys.iter().zip(0..) {
        assert_eq!(dict.get(key).unwrap(), Some(value(n)));
        assert!(dict.contains_key(key).unwrap());
        assert!(!dict.insert_new(key, &value(n + 1)).unwrap());
        assert_eq!(dict.insert(key, &value(n + 1)).unwrap(), map.insert(key.clone(), value(n + 1)));
        assert!(!dict.set(key, &value(n + 2)).unwrap());
        assert_eq!(
            dict.update(key, |old| old.filter(|old| *old == value(n + 2)).map(|_| value(n + 3)).unwrap()).unwrap(),
            value(n + 3)
        );
        assert!(!dict.compare_exchange(key, None, Some(&value(n))).unwrap());
        assert!(dict.compare_exchange(key, Some(&value(n + 3)), Some(&value(n))).unwrap());
        map.insert(key.clone(), value(n));
    }
    let entries: BTreeMap<K, V> = dict.iter().map(Result::unwrap).collect();
    assert_eq!(entries, map);
    let mut found: Vec<K> = dict.keys().map(Result::unwrap).collect();
    found.sort();
    assert_eq!(found, map.keys().cloned().collect::<Vec<_>>());
    assert_eq!(dict.values().map(Result::unwrap).count(), map.len());
    let many = dict.get_many(keys).unwrap();
    assert!(many.iter().zip(keys).all(|(value, key)| value.as_ref() == map.get(key)));
    bytes_are_the_same(dict, keys);
    for (key, n) in keys.iter().zip(0_u32..) {
        match n % 4 {
            0 => assert_eq!(dict.remove(key).unwrap(), map.remove(key)),
            1 => assert_eq!(dict.delete(key).unwrap(), map.remove(key).is_some()),
            2 => {
                assert_eq!(dict.change(key, |_| None).unwrap(), None);
                map.remove(key);
            }
            _ => assert!(!dict.compare_exchange(key, None, None).unwrap()),
        }
        assert_eq!(dict.get(key).unwrap().as_ref(), map.get(key));
        assert_eq!(dict.len(), map.len());
    }
    bytes_are_the_same(dict, keys);
    dict.retain(|key, _| *key != keys[3]).unwrap();
    map.remove(&keys[3]);
    assert_eq!(dict.iter().map(Result::unwrap).collect::<BTreeMap<_, _>>(), map);
    dict.extend(map.clone()).unwrap();
    assert_eq!(dict.insert_many(keys.iter().zip(&vec![value(9); keys.len()])).unwrap(), keys.len() - map.len());
    dict.clear().unwrap();
    assert!(dict.is_empty() && dict.iter().next().is_none() && dict.remove(&keys[0]).unwrap().is_none());
}

#[test]
fn numbers_in_the_table_behave_as_in_a_map() {
    behaves(&Dict::<u64, u64>::new().unwrap(), &(0..500).map(|n| n << 20).collect::<Vec<_>>(), u64::from);
    behaves(&Dict::<i8, char>::new().unwrap(), &(-128..127).collect::<Vec<_>>(), |n| char::from_u32(n).unwrap());
    behaves(&Dict::<char, f64>::new().unwrap(), &('a'..='z').collect::<Vec<_>>(), |n| f64::from(n) / 2.0);
    behaves(&Dict::<Plain<[u8; 5]>, bool>::new().unwrap(), &(0..90).map(|n| Plain([n; 5])).collect::<Vec<_>>(), |n| {
        n % 3 == 0
    });
}

#[test]
fn records_behave_as_in_a_map() {
    let names: Vec<String> = (0..500).map(|n| format!("name {}", "x".repeat(n % 70) + &n.to_string())).collect();
    behaves(&Dict::<String, Order>::new().unwrap(), &names, order);
    behaves(&Dict::<String, u32>::new().unwrap(), &names, |n| n);
    behaves(&Dict::<u32, String>::new().unwrap(), &(0..300).collect::<Vec<_>>(), |n| "y".repeat(n as usize));
    let keys: Vec<_> = (0..200).map(|n| Plain([n; 16])).collect();
    behaves(&Dict::<Plain<[u8; 16]>, Plain<[u64; 32]>>::new().unwrap(), &keys, |n| Plain([u64::from(n); 32]));
    let keys: Vec<_> = (0..200_u32).map(|n| Bytes(n.to_string().into())).collect();
    behaves(&Dict::<Bytes, Bytes>::new().unwrap(), &keys, |n| Bytes(vec![1; n as usize]));
    behaves(
        &Dict::<Option<(u8, String)>, ()>::new().unwrap(),
        &(0..9).map(|n| Some((n, "z".into()))).collect::<Vec<_>>(),
        |_| (),
    );
}

#[test]
fn it_grows_from_sixteen_entries_to_many() {
    let dict = Dict::<u64, u64>::new().unwrap();
    dict.insert_many((0..200_000).map(|n| (n, !n))).unwrap();
    assert_eq!(dict.len(), 200_000);
    assert!((0..200_000).all(|n| dict.get(&n).unwrap() == Some(!n)));
    assert_eq!(dict.to_hash_map().unwrap(), (0..200_000).map(|n| (n, !n)).collect::<HashMap<_, _>>());
    let dict = Dict::<String, String>::options().hash(Hash::Keyed).create().unwrap();
    dict.insert_many((0..30_000).map(|n| (n.to_string(), format!("{n}!")))).unwrap();
    assert!((0..30_000).all(|n| dict.get(&n.to_string()).unwrap() == Some(format!("{n}!"))));
    assert_eq!(dict.iter().map(Result::unwrap).filter(|(key, value)| key.len() + 1 == value.len()).count(), 30_000);
}

#[test]
fn what_stands_for_a_key_finds_it() {
    let ages = Dict::<String, u8>::new().unwrap();
    ages.insert("ada", &36).unwrap();
    assert_eq!((ages.get("ada").unwrap(), ages.get(&"ada".to_owned()).unwrap()), (Some(36), Some(36)));
    assert_eq!(ages.get_many(["ada", "alan"]).unwrap(), [Some(36), None]);
    let sums = Dict::<Vec<u16>, u64>::new().unwrap();
    sums.insert(&[1, 2, 3], &6).unwrap();
    assert_eq!(sums.get([1, 2, 3].as_slice()).unwrap(), Some(6));
    assert_eq!(sums.get(&vec![1, 2, 3]).unwrap(), Some(6));
    let sizes = Dict::<PathBuf, u64>::new().unwrap();
    sizes.insert(Path::new("some/file"), &7).unwrap();
    assert_eq!(sizes.get(&PathBuf::from("some/file")).unwrap(), Some(7));
    let raw = Dict::<Bytes, Bytes>::new().unwrap();
    raw.insert(b"head", &Bytes(vec![1])).unwrap();
    assert_eq!(raw.get(b"head".as_slice()).unwrap(), Some(Bytes(vec![1])));
}

#[test]
fn bytes_are_read_without_decoding() {
    let dict = Dict::<u32, u16>::new().unwrap();
    dict.insert(&1, &0x0201).unwrap();
    assert_eq!(dict.get_with(&1, <[u8]>::to_vec).unwrap(), Some(vec![1, 2]));
    assert_eq!(dict.get_with(&2, <[u8]>::len).unwrap(), None);
    let dict = Dict::<String, Plain<[u8; 100]>>::new().unwrap();
    dict.insert("x", &Plain([3; 100])).unwrap();
    assert_eq!(dict.get_with("x", |bytes| (bytes.len(), bytes[99])).unwrap(), Some((100, 3)));
}

#[test]
fn numbers_are_counted_without_loss() {
    let (words, records) = (Dict::<u8, u64>::new().unwrap(), Dict::<String, i32>::new().unwrap());
    thread::scope(|scope| {
        for _ in 0..4 {
            let words = Dict::<u8, u64>::attach(&received(words.segment())).unwrap();
            let records = records.clone();
            scope.spawn(move || {
                for n in 0..2_000_u32 {
                    words.fetch_add(&((n % 5) as u8), 3).unwrap();
                    records.fetch_sub(["a", "b", "c"][n as usize % 3], 1).unwrap();
                }
            });
        }
    });
    assert_eq!(words.values().map(Result::unwrap).sum::<u64>(), 4 * 2_000 * 3);
    assert_eq!(records.values().map(Result::unwrap).sum::<i32>(), -4 * 2_000);
    assert_eq!(words.fetch_add(&0, 0).unwrap(), 4 * 400 * 3);
}

#[test]
fn nobody_sees_a_mixture_or_a_gap() {
    let dict = Dict::<String, Vec<u64>>::new().unwrap();
    let value = |n: u64| vec![n; 1 + n as usize % 50];
    dict.insert("it", &value(0)).unwrap();
    thread::scope(|scope| {
        let writer = scope.spawn(|| (0..20_000).for_each(|n| assert!(!dict.set("it", &value(n)).unwrap())));
        let grower = scope.spawn(|| (0..20_000).for_each(|n| assert!(dict.set(&n.to_string(), &value(n)).unwrap())));
        while !writer.is_finished() || !grower.is_finished() {
            let seen = dict.get("it").unwrap().expect("is always there");
            assert_eq!(seen, value(seen[0]));
        }
    });
    assert_eq!(dict.len(), 20_001);
}

#[test]
fn what_stays_is_met_once_while_others_come_and_go() {
    let dict = Dict::<u64, u64>::new().unwrap();
    dict.insert_many((0..1000).map(|n| (n, n))).unwrap();
    thread::scope(|scope| {
        let churn = scope.spawn(|| {
            for n in 1000..60_000 {
                dict.set(&n, &n).unwrap();
                dict.set(&(n % 1000), &(n % 1000)).unwrap();
                if n % 3 == 0 {
                    dict.delete(&n).unwrap();
                }
            }
        });
        while !churn.is_finished() {
            let mut met = [0_u8; 1000];
            for entry in &dict {
                let (key, value) = entry.unwrap();
                assert_eq!(key, value);
                if let Some(met) = met.get_mut(key as usize) {
                    *met += 1;
                }
            }
            assert_eq!(met, [1; 1000]);
        }
    });
}

#[test]
fn a_cache_forgets_what_was_not_read() {
    let cache = Dict::<u64, u64>::options().limit(1000).create().unwrap();
    for n in 0..20_000 {
        cache.set(&n, &n).unwrap();
        // Read all the time, so it stays.
        cache.get(&0).unwrap();
    }
    assert!(cache.len() <= 1200, "{} entries", cache.len());
    assert!(cache.len() >= 500, "{} entries", cache.len());
    assert_eq!(cache.get(&0).unwrap(), Some(0));
    let records = Dict::<String, String>::options().limit(300).create().unwrap();
    (0..5_000).for_each(|n| assert!(records.set(&n.to_string(), &"x".repeat(n % 100)).unwrap()));
    assert!((100..=400).contains(&records.len()), "{} entries", records.len());
    assert!(records.iter().map(Result::unwrap).all(|(key, value)| key.parse::<usize>().unwrap() % 100 == value.len()));
}

#[test]
fn what_there_is_room_for_from_the_start_takes_no_more_memory() {
    type Record = Plain<[u64; 32]>;
    let segment = Segment::anonymous(256 << 20).unwrap();
    let records = Dict::<Plain<[u64; 2]>, Record>::options().capacity(100_000).create_in(&segment).unwrap();
    let made = segment.committed_len().unwrap();
    assert!((100_000 * 280..100_000 * 330).contains(&made), "{made} bytes");
    for i in 0..100_000 {
        records.set(&Plain([i, i]), &Plain([i; 32])).unwrap();
    }
    assert_eq!(segment.committed_len().unwrap(), made);
    // Who says nothing of entries gets little, however large they are; and who forgets the fifth has room for four.
    type Large = Plain<[u64; 8192]>;
    let usual = Segment::anonymous(256 << 20).unwrap();
    let before = usual.committed_len().unwrap();
    let _few = Dict::<u32, Large>::options().create_in(&usual).unwrap();
    assert_eq!(usual.committed_len().unwrap(), before);
    let _four = Dict::<u32, Large>::options().limit(4).capacity(1000).create_in(&usual).unwrap();
    assert_eq!(usual.committed_len().unwrap(), before);
    // More than there can be is a wish: the table is there, and grows as far as it can.
    let small = Segment::anonymous(16 << 20).unwrap();
    let many = Dict::<u32, Record>::options().capacity(200_000).create_in(&small).unwrap();
    assert!(many.insert_new(&1, &Plain([1; 32])).unwrap());
    assert!(small.committed_len().unwrap() <= small.len_max());
}

#[test]
fn memory_of_what_was_removed_is_used_again() {
    let dict = Dict::<String, Vec<u8>>::options().memory_bytes(4 << 20).create().unwrap();
    for round in 0..30_u8 {
        for n in 0..2_000 {
            dict.set(&n.to_string(), &vec![round; 300 + n % 200]).unwrap();
        }
        match round % 3 {
            0 => dict.clear().unwrap(),
            1 => (0..2_000).for_each(|n| assert!(dict.delete(&n.to_string()).unwrap())),
            _ => {}
        }
    }
}

#[test]
fn many_in_one_segment_and_by_name() {
    let name = format!("dict-{}", std::process::id());
    let shop = Segment::create(&name, 8 << 20).unwrap();
    let stock = Dict::<String, u32>::create(&shop, "stock").unwrap();
    let prices = Dict::<String, f64>::options().capacity(100).create_named(&shop, "prices").unwrap();
    let nameless = Dict::<u8, u8>::new_in(&shop).unwrap();
    stock.insert("bread", &3).unwrap();
    prices.insert("bread", &2.5).unwrap();
    nameless.insert(&1, &2).unwrap();
    let again = Dict::<String, u32>::open(&shop, "stock").unwrap();
    assert_eq!(again.get("bread").unwrap(), Some(3));
    assert_eq!(Dict::<String, f64>::open_or_create(&shop, "prices").unwrap().get("bread").unwrap(), Some(2.5));
    assert!(Dict::<String, u32>::create(&shop, "stock").unwrap_err().is_exists());
    shop.remove("stock").unwrap();
    assert!(again.get("bread").unwrap_err().is_removed());
    assert!(stock.insert("bread", &4).unwrap_err().is_removed());
    drop((stock, again));
    for _ in 0..50 {
        let dict = Dict::<String, Vec<u8>>::create(&shop, "stock").unwrap();
        dict.insert_many((0..200).map(|n| (n.to_string(), vec![0; 1000]))).unwrap();
        shop.remove("stock").unwrap();
    }
    assert_eq!(prices.get("bread").unwrap(), Some(2.5));
}

#[test]
fn handles_live_in_values() {
    let segment = Segment::anonymous(8 << 20).unwrap();
    let counters = Dict::<String, Value<u64>>::new_in(&segment).unwrap();
    let inner = Value::new_in(&segment, 7).unwrap();
    counters.insert("a", &inner).unwrap();
    counters.get("a").unwrap().unwrap().fetch_add(1);
    assert_eq!(inner.load(), 8);
    let nested = Dict::<String, Dict<u32, u32>>::create(&segment, "nested").unwrap();
    let one = Dict::<u32, u32>::create(&segment, "one").unwrap();
    nested.insert("one", &one).unwrap();
    nested.get("one").unwrap().unwrap().insert(&1, &2).unwrap();
    assert_eq!(one.get(&1).unwrap(), Some(2));
    let alone = Dict::<String, Queue<u8>>::new().unwrap();
    assert!(alone.insert("elsewhere", &Queue::new(4).unwrap()).unwrap_err().is_not_reachable());
}

#[test]
fn it_says_what_it_is() {
    let dict = Dict::<String, u32>::new().unwrap();
    dict.insert("a", &1).unwrap();
    let text = format!("{dict:?}");
    assert!(text.contains("String") && text.contains("u32") && text.contains("len: 1"), "{text}");
    let objects = dict.segment().objects();
    assert_eq!((objects.len(), objects[0].kind.as_str()), (1, "Dict"));
    assert!(objects[0].item.contains("String, u32"), "{objects:?}");
    assert!(objects[0].state.contains('1'), "{objects:?}");
}

#[test]
fn a_closure_may_use_the_dictionary_and_may_panic() {
    let dict = Dict::<String, u32>::new().unwrap();
    dict.insert("a", &1).unwrap();
    let doubled = dict.update("a", |old| old.unwrap() + dict.get("a").unwrap().unwrap()).unwrap();
    assert_eq!(doubled, 2);
    let panicked = std::panic::catch_unwind(AssertUnwindSafe(|| dict.update("a", |_| panic!("in the middle"))));
    assert!(panicked.is_err());
    assert_eq!(dict.get("a").unwrap(), Some(2));
    let seen = dict.update("a", |old| {
        dict.insert("a", &10).unwrap();
        old.unwrap().max(10) + 1
    });
    assert_eq!(seen.unwrap(), 11, "the closure ran again");
    let failed: Result<u32, Error> = dict.get_or_try_insert_with("b", || dict.get("c").map(|c| c.unwrap_or(5)));
    assert_eq!(failed.unwrap(), 5);
}
