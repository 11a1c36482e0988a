//! Bad input to a dictionary: clear results, nothing torn, nothing leaked.

use mutirao::{Dict, Lock, Plain, Queue, Segment};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser};
use std::collections::{HashMap, HashSet};
use std::thread;

/// Does not encode if it is 13, does not decode if it is 14.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Moody(u8);

impl Serialize for Moody {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0 == 13 { Err(ser::Error::custom("thirteen")) } else { self.0.serialize(serializer) }
    }
}

impl<'de> Deserialize<'de> for Moody {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = u8::deserialize(deserializer)?;
        if number == 14 { Err(de::Error::custom("fourteen")) } else { Ok(Self(number)) }
    }
}

#[test]
fn what_does_not_encode_changes_nothing() {
    let dict = Dict::<Moody, Moody>::new().unwrap();
    assert!(dict.insert(&Moody(13), &Moody(1)).unwrap_err().is_codec());
    assert!(dict.insert(&Moody(1), &Moody(13)).unwrap_err().is_codec());
    assert!(dict.get(&Moody(13)).unwrap_err().is_codec());
    assert!(dict.get_or_insert_with(&Moody(1), || Moody(13)).unwrap_err().is_codec());
    assert!(dict.is_empty());
    dict.insert(&Moody(1), &Moody(2)).unwrap();
    assert!(dict.update(&Moody(1), |_| Moody(13)).unwrap_err().is_codec());
    assert_eq!(dict.get(&Moody(1)).unwrap(), Some(Moody(2)));
}

#[test]
fn what_does_not_decode_is_an_error_and_stays() {
    let dict = Dict::<String, Moody>::new().unwrap();
    dict.set("a", &Moody(14)).unwrap();
    dict.set("b", &Moody(1)).unwrap();
    for _ in 0..2 {
        assert!(dict.get("a").unwrap_err().is_codec());
        assert!(dict.remove("a").unwrap_err().is_codec());
        assert!(dict.update("a", |_| Moody(1)).unwrap_err().is_codec());
        assert!(dict.get_or_insert_with("a", || Moody(1)).unwrap_err().is_codec());
        assert_eq!((dict.len(), dict.contains_key("a").unwrap()), (2, true));
        assert_eq!(dict.get_with("a", <[u8]>::to_vec).unwrap(), Some(vec![14]));
        let (good, bad): (Vec<_>, Vec<_>) = dict.iter().partition(Result::is_ok);
        assert_eq!((good.len(), bad.len()), (1, 1));
        assert_eq!(dict.keys().filter(Result::is_ok).count(), 2);
    }
    assert!(dict.delete("a").unwrap());
    dict.set("a", &Moody(14)).unwrap();
    assert!(!dict.set("a", &Moody(3)).unwrap());
    assert_eq!(dict.get("a").unwrap(), Some(Moody(3)));
}

/// What comes back is not what was stored: the bytes decide.
#[test]
fn keys_are_equal_if_their_bytes_are() {
    #[derive(Serialize, Deserialize, PartialEq, Eq, Debug)]
    struct Partly {
        kept: u8,
        #[serde(skip)]
        lost: u8,
    }
    let dict = Dict::<Partly, u8>::new().unwrap();
    dict.insert(&Partly { kept: 1, lost: 2 }, &7).unwrap();
    assert_eq!(dict.insert(&Partly { kept: 1, lost: 3 }, &8).unwrap(), Some(7));
    assert_eq!(dict.keys().map(Result::unwrap).collect::<Vec<_>>(), [Partly { kept: 1, lost: 0 }]);
    let floats = Dict::<f64, u8>::new().unwrap();
    floats.insert(&0.0, &1).unwrap();
    floats.insert(&-0.0, &2).unwrap();
    floats.insert(&f64::NAN, &3).unwrap();
    assert_eq!((floats.len(), floats.get(&f64::NAN).unwrap()), (3, Some(3)));
    // A set has as many keys as orders: each stands for itself, and none is torn.
    let sets = Dict::<HashSet<u32>, u8>::new().unwrap();
    for _ in 0..20 {
        sets.set(&(0..10).collect::<HashSet<u32>>(), &1).unwrap();
    }
    assert!((1..=20).contains(&sets.len()));
    assert!(sets.keys().all(|key| key.unwrap() == (0..10).collect()));
}

#[test]
fn what_can_never_fit_is_refused() {
    let dict = Dict::<String, Vec<u8>>::options().memory_bytes(1 << 20).create().unwrap();
    dict.insert("a", &vec![1; 100]).unwrap();
    let error = dict.insert("a", &vec![2; 2 << 20]).unwrap_err();
    assert!(error.is_too_large() && error.to_string().contains("a value of"), "{error}");
    let error = dict.insert(&"k".repeat(2 << 20), &vec![]).unwrap_err();
    assert!(error.is_too_large() && error.to_string().contains("a key of"), "{error}");
    assert!(dict.get(&"k".repeat(2 << 20)).unwrap_err().is_too_large());
    assert!(dict.update("a", |_| vec![3; 2 << 20]).unwrap_err().is_too_large());
    assert!(dict.get_or_insert_with("b", || vec![3; 2 << 20]).unwrap_err().is_too_large());
    assert_eq!((dict.get("a").unwrap(), dict.len()), (Some(vec![1; 100]), 1));
}

#[test]
fn a_full_segment_leaves_what_was_there() {
    let dict = Dict::<u32, Plain<[u64; 64]>>::options().memory_bytes(512 << 10).create().unwrap();
    let mut full = 0;
    let error = loop {
        match dict.insert_new(&full, &Plain([full.into(); 64])) {
            Ok(new) => assert!(new),
            Err(error) => break error,
        }
        full += 1;
    };
    assert!(error.is_out_of_memory(), "{error}");
    assert!(full > 300, "only {full} entries of 520 bytes");
    assert!(dict.get_or_insert_with(&full, || Plain([0; 64])).unwrap_err().is_out_of_memory());
    for n in 0..full {
        // In place of the old one, or not at all.
        match dict.insert(&n, &Plain([u64::MAX; 64])) {
            Ok(old) => assert_eq!(old, Some(Plain([n.into(); 64]))),
            Err(error) => {
                assert!(error.is_out_of_memory());
                assert_eq!(dict.get(&n).unwrap(), Some(Plain([n.into(); 64])));
            }
        }
    }
    assert_eq!(dict.len(), full as usize);
    dict.clear().unwrap();
    assert!((0..full).all(|n| dict.insert_new(&n, &Plain([1; 64])).unwrap()), "as many fit again");
}

#[test]
fn a_full_table_of_words_is_an_error() {
    let segment = Segment::anonymous(1 << 20).unwrap();
    let dict = Dict::<u64, u64>::new_in(&segment).unwrap();
    let error = (0..).find_map(|n| dict.insert_new(&n, &n).err()).unwrap();
    assert!(error.is_out_of_memory(), "{error}");
    let full = dict.len() as u64;
    assert!(full > 5_000 && (0..full).all(|n| dict.get(&n).unwrap() == Some(n)));
    assert_eq!(dict.insert(&0, &1).unwrap(), Some(0), "needs no memory");
}

#[test]
fn another_type_under_the_name_is_refused() {
    let segment = Segment::create(&format!("dict-types-{}", std::process::id()), 4 << 20).unwrap();
    Dict::<String, u32>::create(&segment, "stock").unwrap();
    for error in [
        Dict::<String, u64>::open(&segment, "stock").unwrap_err(),
        Dict::<Vec<u8>, u32>::open(&segment, "stock").unwrap_err(),
        Dict::<u32, u32>::open(&segment, "stock").unwrap_err(),
        Lock::open(&segment, "stock").unwrap_err(),
        Queue::<(String, u32)>::open(&segment, "stock").unwrap_err(),
    ] {
        assert!(error.is_wrong_type() && error.to_string().contains("Dict<String, u32>"), "{error}");
    }
    Lock::create(&segment, "lock").unwrap();
    assert!(Dict::<String, u32>::open(&segment, "lock").unwrap_err().is_wrong_type());
    let alone = Dict::<u8, u8>::new().unwrap();
    assert!(Dict::<u8, i8>::attach(alone.segment()).unwrap_err().is_wrong_type());
}

/// Keys that differ in a few high bits only: a table without secrets would put them all into one bucket.
#[test]
fn regular_keys_are_spread() {
    let dict = Dict::<u64, u64>::new().unwrap();
    dict.insert_many((0..20_000).map(|n| (n << 44, n))).unwrap();
    assert!((0..20_000).all(|n| dict.get(&(n << 44)).unwrap() == Some(n)));
    assert!(!dict.has_crowded_keys());
    let dict = Dict::<Plain<[u64; 2]>, u64>::new().unwrap();
    dict.insert_many((0..20_000).map(|n| (Plain([n, n]), n))).unwrap();
    assert!((0..20_000).all(|n| dict.get(&Plain([n, n])).unwrap() == Some(n)));
}

#[test]
fn options_beyond_the_machine_are_refused() {
    assert!(Dict::<u64, u64>::options().capacity(usize::MAX).create().unwrap_err().is_invalid());
    assert!(Dict::<u64, u64>::options().limit(usize::MAX).create().unwrap_err().is_invalid());
    let error = Dict::<u64, u64>::options().capacity(1 << 30).memory_bytes(1 << 20).create().unwrap_err();
    assert!(error.is_out_of_memory() || error.is_invalid(), "{error}");
}

#[test]
fn who_iterates_while_others_clear_sees_whole_entries() {
    let dict = Dict::<String, Vec<u32>>::new().unwrap();
    thread::scope(|scope| {
        let churn = scope.spawn(|| {
            for round in 0..60 {
                dict.insert_many((0..300_u32).map(|n| (n.to_string(), vec![n; round % 40 + 1]))).unwrap();
                dict.clear().unwrap();
            }
        });
        while !churn.is_finished() {
            for entry in &dict {
                let (key, value) = entry.unwrap();
                let n: u32 = key.parse().unwrap();
                assert!(value.iter().all(|part| *part == n));
            }
            dict.retain(|key, value| key.parse() == Ok(value[0])).unwrap();
        }
    });
    assert!(dict.is_empty());
    assert_eq!(dict.to_hash_map().unwrap(), HashMap::new());
}
