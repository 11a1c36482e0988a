//! The contestants behind one trait.

use std::collections::HashMap;
use std::hint::black_box;
use std::sync::RwLock;

use ahash::RandomState;

use crate::keys::{Key, Payload};

pub trait Map<K: Key>: Sized {
    fn made_for(entries: usize) -> Self;
    fn insert_all(&self, items: &[(K, K::Value)]);
    /// Some operations, `first` and those behind it; each `every`-th stores, 0: none. The rest reads.
    fn run(&self, keys: &[K], first: u64, every: u64) -> u64;
}

/// Something of a value that the reader has to himself.
#[inline(always)]
pub fn probe(value: &impl Payload) -> u64 {
    black_box(value).probe()
}

/// Operations one by one. `read` makes a copy of a key's value, and [probes](probe) it.
#[inline(always)]
pub fn one_by_one<K: Key>(
    (keys, first, every): (&[K], u64, u64),
    mut read: impl FnMut(&K) -> u64,
    mut put: impl FnMut(&K, K::Value),
) -> u64 {
    let mut sum = 0_u64;
    for (key, n) in keys.iter().zip(first..) {
        if every != 0 && n.is_multiple_of(every) {
            put(key, K::Value::nth(n));
        } else {
            sum = sum.wrapping_add(read(key));
        }
    }
    sum
}

pub type Dash<K> = dashmap::DashMap<K, <K as Key>::Value, RandomState>;

impl<K: Key> Map<K> for Dash<K> {
    fn made_for(entries: usize) -> Self {
        Self::with_capacity_and_hasher(entries, RandomState::new())
    }
    fn insert_all(&self, items: &[(K, K::Value)]) {
        for (key, value) in items {
            self.insert(*key, *value);
        }
    }
    #[inline(never)]
    fn run(&self, keys: &[K], first: u64, every: u64) -> u64 {
        one_by_one(
            (keys, first, every),
            |key| {
                let value = *self.get(key).expect("there");
                probe(&value)
            },
            |key, value| {
                self.insert(*key, value);
            },
        )
    }
}

pub type Papaya<K> = papaya::HashMap<K, <K as Key>::Value, RandomState>;

impl<K: Key> Map<K> for Papaya<K> {
    fn made_for(entries: usize) -> Self {
        Self::with_capacity_and_hasher(entries, RandomState::new())
    }
    fn insert_all(&self, items: &[(K, K::Value)]) {
        for items in items.chunks(64) {
            let pinned = self.pin();
            for (key, value) in items {
                pinned.insert(*key, *value);
            }
        }
    }
    #[inline(never)]
    fn run(&self, keys: &[K], first: u64, every: u64) -> u64 {
        let pinned = self.pin();
        one_by_one(
            (keys, first, every),
            |key| {
                let value = *pinned.get(key).expect("there");
                probe(&value)
            },
            |key, value| {
                pinned.insert(*key, value);
            },
        )
    }
}

pub type Locked<K> = RwLock<HashMap<K, <K as Key>::Value, RandomState>>;

impl<K: Key> Map<K> for Locked<K> {
    fn made_for(entries: usize) -> Self {
        Self::new(HashMap::with_capacity_and_hasher(entries, RandomState::new()))
    }
    fn insert_all(&self, items: &[(K, K::Value)]) {
        for (key, value) in items {
            self.write().expect("whole").insert(*key, *value);
        }
    }
    #[inline(never)]
    fn run(&self, keys: &[K], first: u64, every: u64) -> u64 {
        one_by_one(
            (keys, first, every),
            |key| {
                let value = *self.read().expect("whole").get(key).expect("there");
                probe(&value)
            },
            |key, value| {
                self.write().expect("whole").insert(*key, value);
            },
        )
    }
}
