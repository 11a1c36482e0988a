use crate::received;
use mutirao::RwLock;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

#[test]
fn readers_share_and_a_writer_is_alone() {
    let lock = RwLock::new([1_u64; 5]).unwrap();
    let other = RwLock::<[u64; 5]>::attach(&received(lock.segment())).unwrap();
    let (first, second) = (lock.read().unwrap(), other.read().unwrap());
    assert_eq!((first[4], second[0]), (1, 1));
    assert!(lock.try_write().unwrap_err().is_would_block());
    assert!(other.write_timeout(Duration::from_millis(5)).unwrap_err().is_timeout());
    drop(first);
    assert!(lock.try_write().unwrap_err().is_would_block());
    drop(second);
    let mut writer = lock.try_write().unwrap();
    *writer = [2; 5];
    assert!(other.try_read().unwrap_err().is_would_block());
    assert!(other.read_timeout(Duration::from_millis(5)).unwrap_err().is_timeout());
    assert!(other.try_write().unwrap_err().is_would_block());
    drop(writer);
    assert_eq!(*other.try_read().unwrap(), [2; 5]);
    assert!(!other.read().unwrap().previous_died() && !lock.write().unwrap().previous_died());
}

#[test]
fn what_a_reader_holds_does_not_change() {
    let lock = RwLock::new([0_u64; 6]).unwrap();
    let done = std::sync::atomic::AtomicU64::new(0);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                for _ in 0..3_000 {
                    lock.write().unwrap().iter_mut().for_each(|n| *n += 1);
                    done.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                }
            });
            scope.spawn(|| {
                for _ in 0..3_000 {
                    let first = lock.read().unwrap();
                    assert!(first.iter().all(|n| *n == first[0]), "torn: {first:?}");
                    // Nothing is committed while somebody reads, so this is the newest.
                    assert!(done.load(std::sync::atomic::Ordering::Relaxed) <= first[0]);
                }
            });
        }
    });
    assert_eq!(*lock.read().unwrap(), [6_000; 6]);
}

#[test]
fn a_writer_waits_for_readers_and_new_readers_wait_for_it() {
    let lock = RwLock::new(0_u32).unwrap();
    let reader = lock.read().unwrap();
    let (say, heard) = mpsc::channel();
    thread::scope(|scope| {
        let (writes, lock) = (say.clone(), &lock);
        scope.spawn(move || {
            *lock.write().unwrap() = 1;
            writes.send("written").unwrap();
        });
        // The writer has precedence as soon as it stands there.
        while lock.try_read().is_ok() {
            thread::yield_now();
        }
        scope.spawn(move || {
            assert_eq!(*lock.read().unwrap(), 1);
            say.send("read").unwrap();
        });
        assert!(heard.try_recv().is_err());
        assert_eq!(*reader, 0);
        drop(reader);
        let mut said: Vec<_> = heard.iter().collect();
        said.sort();
        assert_eq!(said, ["read", "written"]);
    });
}

#[test]
fn a_panic_discards_and_gives_the_lock_back() {
    let lock = RwLock::new(5_u32).unwrap();
    let panicked = std::panic::catch_unwind(|| {
        let mut guard = lock.write().unwrap();
        *guard = 6;
        panic!("on purpose");
    });
    assert!(panicked.is_err());
    let panicked = std::panic::catch_unwind(|| {
        let _guard = lock.read().unwrap();
        panic!("on purpose");
    });
    assert!(panicked.is_err());
    assert_eq!(*lock.try_write().unwrap(), 5);
    lock.write().unwrap().discard();
}

#[test]
fn another_type_is_refused() {
    let lock = RwLock::new(1_u64).unwrap();
    let error = RwLock::<i64>::attach(lock.segment()).unwrap_err();
    assert!(error.is_wrong_type() && error.to_string().contains("RwLock<u64>"), "{error}");
    assert!(mutirao::Mutex::<u64>::attach(lock.segment()).unwrap_err().is_wrong_type());
}

#[test]
fn debug_and_inspection_show_who_is_there() {
    let lock = RwLock::new(123_456_789_u64).unwrap();
    let reader = lock.read().unwrap();
    let _second = lock.read().unwrap();
    let text = format!("{lock:?}");
    assert!(text.contains("writer: None") && text.contains(", 2)") && !text.contains("123456789"), "{text}");
    let said = lock.segment().inspect().to_string();
    assert!(said.contains("readers [2 of "), "{said}");
    assert_eq!(format!("{reader:?}"), "123456789");
}

#[test]
fn many_stand_in_one_segment_by_name_or_without() {
    let segment = mutirao::Segment::anonymous(1 << 20).unwrap();
    let lock = RwLock::create(&segment, "limits", [1_u32; 4]).unwrap();
    let same = RwLock::<[u32; 4]>::open(&segment, "limits").unwrap();
    let other = RwLock::new_in(&segment, [2_u32; 4]).unwrap();
    let reader = lock.read().unwrap();
    assert!(same.try_write().unwrap_err().is_would_block() && other.try_write().is_ok());
    segment.remove("limits").unwrap();
    assert!(same.read().unwrap_err().is_removed());
    drop(reader);
    assert_eq!(*other.read().unwrap(), [2; 4]);
    let array = mutirao::Array::<u16>::create(&segment, "cells", 10).unwrap();
    let held = array.write(..5).unwrap();
    let again = mutirao::Array::<u16>::open(&segment, "cells").unwrap();
    assert!(again.try_read(4..).unwrap_err().is_would_block() && again.try_read(5..).is_ok());
    drop(held);
}
