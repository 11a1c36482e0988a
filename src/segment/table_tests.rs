//! The table against a plain model of it, in one process.

use crate::participant::Liveness;
use crate::raw::hash::HashKind;
use crate::raw::table_line::{PairLine, RecordLine};
use crate::segment::body::{Blueprint, Body};
use crate::segment::layout::ObjectKind;
use crate::segment::open::Segment;
use crate::segment::plain;
use crate::segment::table::{BATCH, Put, Table, When};
use crate::segment::table_plan::{Bucket, TableOptions, TablePlan};
use crate::segment::table_shelf::Kept;
use crate::segment::tag::TypeTag;
use std::collections::{BTreeMap, HashMap};

fn table<L: Kept>(bucket: Bucket, hash: HashKind, capacity: u64) -> Table<L> {
    made(&TableOptions { bucket, hash, capacity, limit: 0, rows: 64 })
}

fn made<L: Kept>(options: &TableOptions) -> Table<L> {
    let (plan, bucket) = (TablePlan::new(options), options.bucket);
    let blueprint = Blueprint { body_len: plan.body_len(), shape: plan.shape(), arena: [1 << 30, 1 << 20] };
    let body = Body::make_alone(ObjectKind::Dict, TypeTag::NONE, &blueprint).unwrap();
    Table::<L>::attach(body.clone(), bucket).unwrap().fill().unwrap();
    Table::attach(body, bucket).unwrap()
}

pub(crate) fn words(capacity: u64) -> Table<PairLine> {
    table(Bucket::Words, HashKind::Fold2, capacity)
}

pub(crate) fn records(capacity: u64) -> Table<RecordLine> {
    table(Bucket::Records, HashKind::Fold2, capacity)
}

struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}

fn all_words(table: &Table<PairLine>) -> BTreeMap<u64, u64> {
    let (mut all, buckets) = (BTreeMap::new(), table.buckets());
    for family in 0..buckets {
        let each = |key, value| assert_eq!(all.insert(key, value), None, "{key} twice");
        table.scan_words(family, buckets, each).unwrap();
    }
    all
}

fn all_records(table: &Table<RecordLine>) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let (mut all, buckets) = (BTreeMap::new(), table.buckets());
    for family in 0..buckets {
        let each =
            |key: &[u8], value: &[u8]| assert_eq!(all.insert(key.to_vec(), value.to_vec()), None, "{key:?} twice");
        table.scan(family, buckets, each).unwrap();
    }
    all
}

fn read(table: &Table<RecordLine>, key: &[u8]) -> Option<Vec<u8>> {
    let copy = |words: &[_], len| {
        let mut bytes = vec![0; len];
        plain::copy_out(words, &mut bytes);
        bytes
    };
    table.get(key, copy).unwrap()
}

#[test]
fn words_are_what_a_map_says() {
    // From any number of buckets.
    for (hash, capacity) in [(HashKind::Fold2, 0), (HashKind::SipHash13, 70), (HashKind::Fold2, 1200)] {
        let (table, mut model, mut random) = (table(Bucket::Words, hash, capacity), HashMap::new(), Random(7));
        for step in 0..60_000_u64 {
            let (key, value) = (random.below(4000) << (random.below(4) * 8), random.below(1 << 40));
            let now = model.get(&key).copied();
            let when = [When::Always, When::Absent, When::Equals(now.unwrap_or(3))][random.below(3) as usize];
            let done = match when {
                When::Always => true,
                When::Absent => now.is_none(),
                When::Equals(expected) => now == Some(expected),
            };
            let removes = random.below(3) == 0;
            let put = if removes { table.remove_word(key, when) } else { table.put_word(key, value, when) }.unwrap();
            let expected = match (now, done, removes) {
                (now, false, _) => Put::Refused(now),
                (None, true, true) => Put::Refused(None),
                (None, true, false) => Put::Inserted,
                (Some(old), true, _) => Put::Replaced(old),
            };
            assert_eq!(put, expected, "step {step}");
            if done && removes {
                model.remove(&key);
            } else if done {
                model.insert(key, value);
            }
            assert_eq!(table.get_word(key).unwrap(), model.get(&key).copied());
        }
        assert_eq!(table.len(), model.len() as u64);
        assert_eq!(all_words(&table), model.into_iter().collect());
        assert!(table.buckets() > 1000, "{}", table.buckets());
    }
}

#[test]
fn records_are_what_a_map_says() {
    let (table, mut model, mut random) = (records(700), HashMap::<Vec<u8>, Vec<u8>>::new(), Random(9));
    for step in 0..60_000_u64 {
        let key = format!("{:0width$}", random.below(5000), width = random.below(2) as usize * 20).into_bytes();
        let value = vec![step as u8; random.below(if step % 500 == 0 { 20_000 } else { 300 }) as usize];
        let now = model.get(&key).cloned();
        let expected = now.clone().unwrap_or_default();
        let which = random.below(3) as usize;
        let when = [When::Always, When::Absent, When::Equals(&expected[..])][which];
        let done = [true, now.is_none(), now.is_some()][which];
        let mut old = Vec::new();
        let removes = random.below(3) == 0;
        let put = match removes {
            true => table.remove(&key, when, Some(&mut old)),
            false => table.put(&key, &value, when, Some(&mut old)),
        };
        match put.unwrap() {
            Put::Inserted => assert!(done && now.is_none() && !removes),
            Put::Replaced(()) => assert!(done && now.as_ref() == Some(&old)),
            Put::Refused(there) => {
                assert!(!done || removes && now.is_none(), "{step}");
                assert_eq!(there.map(|()| old), now);
            }
        }
        if done && removes {
            model.remove(&key);
        } else if done {
            model.insert(key.clone(), value);
        }
        assert_eq!(read(&table, &key), model.get(&key).cloned());
    }
    assert_eq!(table.len(), model.len() as u64);
    assert_eq!(all_records(&table), model.into_iter().collect());
    assert!(table.buckets() > 400);
}

#[test]
fn memory_of_what_was_removed_is_used_again() {
    let table = records(0);
    let used = || table.body().attachment().arena().unwrap().usage().used;
    let fill = |value: &[u8]| {
        for i in 0..5000_u64 {
            assert_eq!(table.put(&i.to_le_bytes(), value, When::Always, None).unwrap(), Put::Inserted);
        }
    };
    let clear = || {
        for i in 0..5000_u64 {
            assert_eq!(table.remove(&i.to_le_bytes(), When::Always, None).unwrap(), Put::Replaced(()));
        }
        assert_eq!(table.len(), 0);
    };
    fill(&[1; 100]);
    clear();
    let before = used();
    for round in 0..20 {
        fill(&[round; 100]);
        clear();
    }
    assert!(used() <= before + 64 * 16, "{before}, then {}", used());
}

#[test]
fn all_that_a_removed_table_had_is_free() {
    let segment = Segment::anonymous(64 << 20).unwrap();
    let used = || segment.attachment().arena().unwrap().usage().used;
    let before = used();
    for bucket in [Bucket::Words, Bucket::Records] {
        let plan = TablePlan::new(&TableOptions { bucket, hash: HashKind::Fold2, capacity: 0, limit: 0, rows: 64 });
        let blueprint = Blueprint { body_len: plan.body_len(), shape: plan.shape(), arena: [0; 2] };
        let draft =
            crate::segment::object::Draft::new(&segment, None, ObjectKind::Dict, &TypeTag::NONE, &blueprint).unwrap();
        match bucket {
            Bucket::Words => {
                Table::<PairLine>::attach(draft.body().unwrap(), bucket).unwrap().fill().unwrap();
                let table = Table::<PairLine>::attach(draft.publish().unwrap(), bucket).unwrap();
                (0..20_000).for_each(|i| assert_eq!(table.put_word(i, i, When::Always).unwrap(), Put::Inserted));
            }
            Bucket::Records => {
                Table::<RecordLine>::attach(draft.body().unwrap(), bucket).unwrap().fill().unwrap();
                let table = Table::<RecordLine>::attach(draft.publish().unwrap(), bucket).unwrap();
                let put = |i: u64| table.put(&i.to_le_bytes(), &[5; 50], When::Always, None).unwrap();
                (0..20_000).for_each(|i| assert_eq!(put(i), Put::Inserted));
            }
        }
        assert_eq!(used(), before, "{bucket:?}");
    }
}

#[test]
fn threads_see_old_or_new_while_it_grows() {
    let words = words(0);
    let records = records(0);
    std::thread::scope(|scope| {
        for thread in 0..4_u64 {
            let (words, records) = (words.clone(), records.clone());
            scope.spawn(move || {
                for i in 0..8000 {
                    let key = i * 4 + thread;
                    assert_eq!(words.put_word(key, key, When::Always).unwrap(), Put::Inserted);
                    let value = key.to_le_bytes().repeat(1 + key as usize % 9);
                    assert_eq!(records.put(&key.to_le_bytes(), &value, When::Always, None).unwrap(), Put::Inserted);
                    // What everybody changes all the time is there all the time, and whole.
                    let hot = (i as u32 % 7).to_le_bytes();
                    let filled = [thread as u8 + 1].repeat(64 + i as usize % 3 * 64);
                    records.put(&hot, &filled, When::Always, None).unwrap();
                    let found = read(&records, &hot).unwrap();
                    assert!(found.iter().all(|byte| *byte == found[0]), "torn");
                    let back = key - i % 5 * 4 * i.min(1);
                    assert_eq!(words.get_word(back).unwrap(), Some(back));
                    if i % 3 == 0 && i > 100 {
                        assert_eq!(words.remove_word(key, When::Always).unwrap(), Put::Replaced(key));
                        words.put_word(key, key, When::Absent).unwrap();
                    }
                }
            });
        }
    });
    assert_eq!((words.len(), all_words(&words).len()), (32_000, 32_000));
    for key in 0..32_000_u64 {
        assert_eq!(words.get_word(key).unwrap(), Some(key));
        assert!(read(&records, &key.to_le_bytes()).is_some());
    }
}

#[test]
fn what_others_removed_and_did_not_tell_makes_no_buckets() {
    let table = words(0);
    (0..20).for_each(|key| _ = table.put_word(key, key, When::Always).unwrap());
    let buckets = table.buckets();
    std::thread::scope(|scope| {
        let (over, wait) = std::sync::mpsc::channel::<()>();
        let wait = std::sync::Arc::new(std::sync::Mutex::new(wait));
        // Each removes too few to tell, and stays.
        for _ in 0..14 {
            let (other, wait, (done, is_done)) = (table.clone(), wait.clone(), std::sync::mpsc::channel());
            scope.spawn(move || {
                (0..20).for_each(|key| _ = other.remove_word(key, When::Always).unwrap());
                done.send(()).unwrap();
                let _ = wait.lock().unwrap().recv();
            });
            is_done.recv().unwrap();
            (0..20).for_each(|key| _ = table.put_word(key, key, When::Always).unwrap());
        }
        drop(over);
    });
    assert_eq!((table.len(), table.buckets()), (20, buckets));
}

#[test]
fn many_at_once_are_what_each_is_alone() {
    let (words, records) = (words(0), records(0));
    let entries: Vec<_> = (0..1000).map(|i| (i * 3, i)).collect();
    for of in [&entries[..], &entries[..50]] {
        for chunk in of.chunks(BATCH) {
            let keys: Vec<_> = chunk.iter().map(|entry| entry.0).collect();
            for ((key, hash), &(_, value)) in keys.iter().zip(words.prepare(&keys)).zip(chunk) {
                let expected = if of.len() == 1000 { Put::Inserted } else { Put::Replaced(value) };
                assert_eq!(words.put_prepared(*key, hash, value).unwrap(), expected);
            }
        }
    }
    let keys: Vec<u64> = (0..3000).collect();
    for chunk in keys.chunks(BATCH) {
        for (&key, hash) in chunk.iter().zip(words.prepare(chunk)) {
            assert_eq!(words.get_hashed(key, hash).unwrap(), key.is_multiple_of(3).then_some(key / 3));
        }
    }

    let names: Vec<_> = (0..500).map(|i| format!("{i:0>width$}", width = i % 40)).collect();
    let bytes: Vec<_> = names.iter().map(|name| name.as_bytes()).collect();
    for chunk in bytes.chunks(BATCH) {
        for (key, hash) in chunk.iter().zip(records.prepare(chunk, 64)).step_by(2) {
            assert_eq!(records.set_prepared((key, hash), &vec![1; key.len()]).unwrap(), Put::Inserted);
        }
    }
    // A value of another size than all should have is found all the same.
    for (size, chunk) in bytes.chunks(BATCH).enumerate() {
        for (at, (&key, hash)) in chunk.iter().zip(records.prepare(chunk, 64)).enumerate() {
            for size in [None, Some(key.len()), Some(size)] {
                let is_there = at.is_multiple_of(2);
                assert_eq!(records.get_hashed((key, hash), |_, len| len).unwrap(), is_there.then_some(key.len()));
                // Only what has the size that all should have; what is in a chain is found by another way.
                let hit = records.hit((key, hash), size, |_, len| Some(len));
                assert!(hit.is_none_or(|len| is_there && len == key.len() && size.is_none_or(|size| size == len)));
            }
        }
    }
}

#[test]
fn a_table_with_a_bound_forgets_what_nobody_reads() {
    let options = |bucket| TableOptions { bucket, hash: HashKind::Fold2, capacity: 0, limit: 1000, rows: 64 };
    let (words, records) = (made::<PairLine>(&options(Bucket::Words)), made::<RecordLine>(&options(Bucket::Records)));
    for key in 0..20_000_u64 {
        words.put_word(key, key, When::Always).unwrap();
        records.put(&key.to_le_bytes(), &[3; 40], When::Always, None).unwrap();
        words.keep_limit().unwrap();
        records.keep_limit().unwrap();
        // These are asked for all the time.
        let hot = key % 100;
        if key >= 100 && key % 2 == 0 {
            words.get_word(hot).unwrap();
            records.get(&hot.to_le_bytes(), |_, _| ()).unwrap();
        }
        assert!(words.len() <= 1000 && records.len() <= 1000);
    }
    let stays = |keys: core::ops::Range<u64>| keys.filter(|key| words.get_word(*key).unwrap().is_some()).count();
    assert!(words.len() > 900 && stays(0..100) > stays(10_000..10_100), "{} {}", stays(0..100), stays(10_000..10_100));
    assert_eq!((all_words(&words).len(), all_records(&records).len()), (words.len() as usize, records.len() as usize));
}

/// Large values that change all the time are read all the same.
#[test]
fn who_reads_what_changes_all_the_time_gets_it() {
    let table = records(0);
    let done = crate::sync::AtomicU32::new(0);
    table.put(b"key", &[1; 200_000], When::Always, None).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..2 {
            let (table, done) = (table.clone(), &done);
            scope.spawn(move || {
                let other = [b'a' + thread];
                for round in 0..u32::MAX {
                    if done.load(crate::sync::Ordering::Relaxed) == 1 {
                        break;
                    }
                    let value = vec![round as u8; 200_000];
                    table.put(b"key", &value, When::Always, None).unwrap();
                    table.put(&other, &[2; 8], When::Always, None).unwrap();
                }
            });
        }
        for _ in 0..20 {
            let value = read(&table, b"key").unwrap();
            assert!(value.len() == 200_000 && value.iter().all(|byte| *byte == value[0]), "torn");
            assert!(all_records(&table).len() <= 3);
        }
        done.store(1, crate::sync::Ordering::Relaxed);
    });
}

/// The words of a table, by `docs/format.md`.
#[test]
fn a_table_stands_as_the_page_says() {
    let at =
        |body: &Body, at: u64| body.place::<crate::sync::AtomicU64>(at).unwrap().load(crate::sync::Ordering::Relaxed);
    let table = words(0);
    assert_eq!((table.body().shape(), table.buckets()), ([0, 32 | 128 << 32, 0, 0], 32));
    table.put_word(7, 70, When::Always).unwrap();
    let (body, id) = (table.body(), u64::from(table.body().attachment().me().get()));
    let lines = 7680 + 128 * 128;
    let bucket = lines + 64 * (table.hash_word(7) & 31);
    assert_eq!([0, 8, 16, 24].map(|word| at(body, bucket + word)), [1 << 32 | 1 << 23, 0, 7, 70]);
    let desk = (0..128).map(|i| 7680 + 128 * i).find(|desk| at(body, *desk) != 0).unwrap();
    assert_eq!([0, 8, 24, 32].map(|word| at(body, desk + word)), [id, 1, 0, ((bucket - lines) / 64) << 32]);
    assert!(at(body, 384) != 0 && at(body, 392) != 0, "secrets");

    // 2^5 buckets, and 8 more that are as if they were split off the first 8.
    let table = words(75);
    assert_eq!((table.body().shape(), table.buckets()), ([0, 40 | 128 << 32, 0, 0], 40));
    let header = |bucket: u64| at(table.body(), lines + 64 * bucket);
    (0..40).for_each(|bucket| assert_eq!(header(bucket), u64::from(!(8..32).contains(&bucket)) << 26, "{bucket}"));

    let table = records(0);
    table.put(b"a longer key", b"value", When::Always, None).unwrap();
    let (body, hash) = (table.body(), table.hash(b"a longer key"));
    let bucket = lines + 64 * (hash & 31);
    assert_eq!((at(body, bucket), at(body, bucket + 8)), (1 << 39 | 1 << 23, hash >> 56));
    let unit = at(body, bucket + 24) & 0xffff_ffff;
    let record = body.attachment().arena().unwrap().growth().places::<crate::sync::AtomicU64>(32 * unit, 4).unwrap();
    let words = [0, 1, 2, 3].map(|i: usize| record[i].load(crate::sync::Ordering::Relaxed).to_le_bytes());
    assert_eq!(words.concat(), [&[12, 0, 0, 0, 5, 0, 0, 0], &b"a longer key"[..], &[0; 4], b"value", &[0; 3]].concat());
}

#[test]
fn a_table_has_as_many_buckets_as_its_entries_need_and_no_more() {
    for capacity in (100..4000_u64).step_by(389) {
        let table = words(capacity);
        let buckets = table.buckets();
        (0..capacity).for_each(|key| _ = table.put_word(key, key, When::Absent).unwrap());
        assert_eq!((table.buckets(), table.len()), (buckets, capacity));
        assert!(buckets < capacity * 11 / 20 + 2, "{buckets} for {capacity}");
        assert_eq!(all_words(&table), (0..capacity).map(|key| (key, key)).collect());
    }
}
