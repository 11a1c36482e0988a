//! Values that are computed once, whoever asks.

use mutirao::{Dict, Error, Plain};
use std::panic::{self, AssertUnwindSafe};
use std::sync::Barrier;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

#[test]
fn a_value_is_computed_once_by_whoever_is_first() {
    let (dict, barrier) = (Dict::<String, Vec<u64>>::new().unwrap(), Barrier::new(4));
    let computed = [const { AtomicU32::new(0) }; 50];
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                barrier.wait();
                for (n, computed) in computed.iter().enumerate() {
                    let value = dict.get_or_insert_with(&format!("key {n}"), || {
                        computed.fetch_add(1, Ordering::Relaxed);
                        vec![n as u64; 100]
                    });
                    assert_eq!(value.unwrap(), vec![n as u64; 100]);
                }
            });
        }
    });
    assert!(computed.iter().all(|n| n.load(Ordering::Relaxed) == 1));
    assert_eq!(dict.len(), 50);
}

#[test]
fn who_waits_gives_up_at_its_deadline() {
    let dict = Dict::<u64, u64>::new().unwrap();
    let (begun, over) = (Barrier::new(2), Barrier::new(2));
    thread::scope(|scope| {
        scope.spawn(|| {
            let value = dict.get_or_insert_with(&1, || {
                begun.wait();
                over.wait();
                7
            });
            assert_eq!(value.unwrap(), 7);
        });
        begun.wait();
        assert_eq!(dict.get(&1).unwrap(), None, "what is being computed is not there");
        let waited = dict.get_or_insert_with_timeout(&1, Duration::from_millis(20), || unreachable!());
        assert!(waited.unwrap_err().is_timeout());
        assert_eq!(dict.get_or_insert_with(&2, || 8).unwrap(), 8, "another key waits for nobody");
        over.wait();
        assert_eq!(dict.get_or_insert_with_timeout(&1, Duration::from_secs(600), || unreachable!()).unwrap(), 7);
    });
}

#[test]
fn what_is_inserted_wins_over_what_is_computed() {
    let dict = Dict::<String, u32>::new().unwrap();
    let value = dict.get_or_insert_with("a", || {
        assert!(dict.insert_new("a", &5).unwrap());
        6
    });
    assert_eq!((value.unwrap(), dict.get("a").unwrap()), (5, Some(5)));
    assert_eq!(dict.get_or_insert("a", 9).unwrap(), 5);
    assert_eq!(dict.get_or_insert("b", 9).unwrap(), 9);
}

#[test]
fn a_panic_leaves_it_to_the_next() {
    let dict = Dict::<Plain<[u8; 20]>, u32>::new().unwrap();
    let key = Plain([1; 20]);
    let panicked = panic::catch_unwind(AssertUnwindSafe(|| dict.get_or_insert_with(&key, || panic!("in the middle"))));
    assert!(panicked.is_err() && dict.is_empty());
    let failed: Result<u32, Error> = dict.get_or_try_insert_with(&key, || Err(dict_error()));
    assert!(failed.unwrap_err().is_invalid());
    assert_eq!(dict.get_or_insert_with(&key, || 3).unwrap(), 3);
}

/// Any error of ours.
fn dict_error() -> Error {
    mutirao::Queue::<u8>::new(0).unwrap_err()
}

#[test]
fn closures_may_ask_for_other_values() {
    fn fibonacci(dict: &Dict<u64, u64>, n: u64) -> u64 {
        let sum = || fibonacci(dict, n - 1) + fibonacci(dict, n - 2);
        dict.get_or_insert_with(&n, || if n < 2 { n } else { sum() }).unwrap()
    }
    let dict = Dict::<u64, u64>::new().unwrap();
    assert_eq!(fibonacci(&dict, 90), 2_880_067_194_370_816_120);
    assert_eq!(dict.len(), 91);
}

#[test]
fn who_would_wait_for_itself_is_told_so() {
    let dict = Dict::<String, u32>::new().unwrap();
    let value = dict.get_or_insert_with("a", || {
        let inner = dict.get_or_insert_with("a", || 1);
        assert!(inner.unwrap_err().is_invalid());
        2
    });
    assert_eq!(value.unwrap(), 2);
    let other = Dict::<String, u32>::new().unwrap();
    let value = dict.get_or_insert_with("b", || other.get_or_insert_with("b", || 3).unwrap() + 1);
    assert_eq!(value.unwrap(), 4, "the same key of another dictionary is another one");
}

/// Deeper than there are places: an error, and all that was claimed is free again.
#[test]
fn too_much_at_once_is_an_error() {
    fn deep(dict: &Dict<u64, u64>, n: u64) -> Result<u64, Error> {
        dict.get_or_try_insert_with(&n, || Ok(if n == 0 { 0 } else { deep(dict, n - 1)? + 1 }))
    }
    let dict = Dict::<u64, u64>::new().unwrap();
    let deeply = || {
        assert!(deep(&dict, 1000).unwrap_err().is_exhausted());
        assert_eq!(deep(&dict, 50).unwrap(), 50);
    };
    thread::scope(|scope| thread::Builder::new().stack_size(64 << 20).spawn_scoped(scope, deeply).map(|_| ()).unwrap());
    assert_eq!(dict.len(), 51);
}
