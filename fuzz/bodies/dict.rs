//! Operations of a dictionary against a `HashMap`: the same answers, entry by entry; then any bytes in its segment, and
//! every call ends, with an answer or an error.

use std::collections::HashMap;
use std::time::Duration;

use arbitrary::{Arbitrary, Unstructured};
use mutirao::{Dict, Plain, Segment};

#[derive(Arbitrary, Debug)]
enum Operation {
    Get { key: u8 },
    Insert { key: u8, value: u16 },
    InsertNew { key: u8, value: u16 },
    Remove { key: u8 },
    Update { key: u8, add: u8 },
    CompareExchange { key: u8, old: u16, new: u16 },
    GetOrInsertWith { key: u8, value: u16 },
    Clear,
    Retain { least: u8 },
    Many { first: u8, count: u8 },
    GetMany { first: u8 },
    CloneAndDrop,
}

#[derive(Arbitrary, Debug)]
struct Plan {
    capacity: u8,
    operations: Vec<Operation>,
    /// Where bytes are overwritten afterwards, and with what.
    damage: Vec<(u16, u64)>,
}

/// One input.
pub fn dict(bytes: &[u8]) {
    let Ok(plan) = Plan::arbitrary_take_rest(Unstructured::new(bytes)) else { return };
    let capacity = usize::from(plan.capacity);
    run::<u64, u64>(&plan, capacity, u64::from, u64::from);
    run::<String, Vec<u8>>(
        &plan,
        capacity,
        |key| format!("{key}").repeat(1 + usize::from(key) % 4),
        |value| vec![value as u8; usize::from(value) % 3000],
    );
    // Records of one size are read in a way of their own.
    run::<Plain<[u8; 16]>, Plain<[u16; 100]>>(&plan, capacity, |key| Plain([key; 16]), |value| Plain([value; 100]));
}

trait Both: mutirao::DictItem + Clone + PartialEq + core::fmt::Debug {}
impl<T: mutirao::DictItem + Clone + PartialEq + core::fmt::Debug> Both for T {}

fn run<K: Both + Eq + core::hash::Hash, V: Both>(
    plan: &Plan,
    capacity: usize,
    key_of: impl Fn(u8) -> K,
    value_of: impl Fn(u16) -> V,
) {
    let segment = Segment::anonymous(2 << 20).expect("a small segment");
    let ours = Dict::<K, V>::options().capacity(capacity).create_in(&segment).expect("a small dictionary");
    let mut model: HashMap<K, V> = HashMap::new();
    for operation in &plan.operations {
        apply(&ours, &mut model, operation, &key_of, &value_of);
        assert_eq!((ours.len(), ours.is_empty()), (model.len(), model.is_empty()));
    }
    assert_eq!(ours.to_hash_map().expect("whole"), model);
    for key in 0..=255 {
        assert_eq!(ours.get(&key_of(key)).expect("whole").as_ref(), model.get(&key_of(key)));
    }
    if !plan.damage.is_empty() {
        damage(&segment, &plan.damage);
        survive(&ours, &key_of, &value_of);
    }
}

fn apply<K: Both + Eq + core::hash::Hash, V: Both>(
    ours: &Dict<K, V>,
    model: &mut HashMap<K, V>,
    operation: &Operation,
    key_of: &impl Fn(u8) -> K,
    value_of: &impl Fn(u16) -> V,
) {
    match *operation {
        Operation::Get { key } => {
            let key = key_of(key);
            assert_eq!(ours.get(&key).expect("whole").as_ref(), model.get(&key));
            assert_eq!(ours.contains_key(&key).expect("whole"), model.contains_key(&key));
            assert_eq!(ours.get_with(&key, |_| ()).expect("whole").is_some(), model.contains_key(&key));
        }
        Operation::Insert { key, value: number } => {
            let (key, value) = (key_of(key), value_of(number));
            let old = model.insert(key.clone(), value.clone());
            assert_eq!(ours.insert(&key, &value).expect("room"), old);
            // Another one, and this one again: what only says whether the key is new goes ways of its own.
            for value in [value_of(!number), value] {
                assert!(!ours.set(&key, &value).expect("room"));
            }
        }
        Operation::InsertNew { key, value } => {
            let (key, value) = (key_of(key), value_of(value));
            assert_eq!(ours.insert_new(&key, &value).expect("room"), !model.contains_key(&key));
            model.entry(key).or_insert(value);
        }
        Operation::Remove { key } => {
            assert_eq!(ours.remove(&key_of(key)).expect("whole"), model.remove(&key_of(key)));
        }
        Operation::Update { key, add } => {
            let new = value_of(u16::from(add) * 7);
            let mut old = None;
            let got = ours.update(&key_of(key), |was| {
                old = was;
                new.clone()
            });
            assert_eq!(got.expect("room"), new);
            assert_eq!(old, model.insert(key_of(key), new));
        }
        Operation::CompareExchange { key, old, new } => {
            let (key, old, new) = (key_of(key), value_of(old), value_of(new));
            let is_there = model.get(&key) == Some(&old);
            assert_eq!(ours.compare_exchange(&key, Some(&old), Some(&new)).expect("room"), is_there);
            if is_there {
                model.insert(key, new);
            }
        }
        Operation::GetOrInsertWith { key, value } => {
            let value = value_of(value);
            let got = ours.get_or_insert_with(&key_of(key), || value.clone()).expect("room");
            assert_eq!(&got, model.entry(key_of(key)).or_insert(value));
        }
        Operation::Clear => {
            ours.clear().expect("whole");
            model.clear();
        }
        Operation::Retain { least } => {
            let kept: Vec<K> = (least..=255).map(key_of).collect();
            ours.retain(|key, _| kept.contains(key)).expect("whole");
            model.retain(|key, _| kept.contains(key));
        }
        Operation::Many { first, count } => {
            let keys = (0..u16::from(count)).map(|n| first.wrapping_add(n as u8));
            let entries: Vec<_> = keys.map(|key| (key_of(key), value_of(u16::from(key)))).collect();
            ours.insert_many(entries.iter().map(|(key, value)| (key, value))).expect("room");
            model.extend(entries);
        }
        Operation::GetMany { first } => {
            let keys: Vec<_> = (0..16).map(|n| key_of(first.wrapping_add(n))).collect();
            let got = ours.get_many(keys.iter()).expect("whole");
            let expected: Vec<_> = keys.iter().map(|key| model.get(key).cloned()).collect();
            assert_eq!(got, expected);
            let mut bytes = Vec::new();
            ours.get_many_with(&keys, |key, found| bytes.push((key, found.map(<[u8]>::to_vec)))).expect("whole");
            assert_eq!(bytes.len(), keys.len());
            for (key, found) in bytes {
                assert_eq!(found, ours.get_with(key, <[u8]>::to_vec).expect("whole"));
            }
        }
        Operation::CloneAndDrop => drop(ours.clone()),
    }
}

/// Our own id in a word that says who has something locked: whoever wants that waits for this living process, for ever where
/// there is no deadline. Any other id is a dead one's.
const OURS: u32 = 1;

fn half(word: u32) -> u32 {
    const ID: u32 = (1 << 23) - 1;
    if word & ID == OURS { word + 1 } else { word }
}

/// Overwrites words anywhere in the segment, as a neighbour might.
fn damage(segment: &Segment, places: &[(u16, u64)]) {
    use std::os::fd::AsFd;
    for (place, word) in places {
        // Beyond the header, whose damage is `segment`'s affair; the first pages of the arena are where the table is.
        let at = 4096 + u64::from(*place) * 8;
        let word = (u64::from(half((word >> 32) as u32)) << 32) | u64::from(half(*word as u32));
        let _ = rustix::io::pwrite(segment.as_fd(), &word.to_le_bytes(), at);
    }
}

/// No answer is wrong now, but each call must come to an end.
fn survive<K: Both + Eq + core::hash::Hash, V: Both>(
    ours: &Dict<K, V>,
    key_of: &impl Fn(u8) -> K,
    value_of: &impl Fn(u16) -> V,
) {
    for key in (0..=255).step_by(5) {
        let (key, value) = (key_of(key), value_of(u16::from(key)));
        let _ = ours.get(&key);
        let _ = (ours.contains_key(&key), ours.get_with(&key, <[u8]>::len));
        let _ = ours.insert(&key, &value);
        let _ = (ours.set(&key, &value), ours.set(&key, &value_of(1)));
        let _ = ours.remove(&key);
        let _ = ours.get_or_insert_with_timeout(&key, Duration::ZERO, || value.clone());
    }
    let many: Vec<_> = (0..16).map(|n| (key_of(n * 16), value_of(u16::from(n)))).collect();
    let _ = ours.get_many(many.iter().map(|(key, _)| key));
    let _ = ours.get_many_with(many.iter().map(|(key, _)| key), |_, _| ());
    let _ = ours.insert_many(many.iter().map(|(key, value)| (key, value)));
    let _ = ours.len();
    let _ = ours.iter().take(10_000).count();
    let _ = ours.clear();
    let _ = ours.segment().inspect().to_string();
}
