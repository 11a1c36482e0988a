use crate::received;
use mutirao::{Array, Value};
use std::thread;
use zerocopy::{Immutable, IntoBytes, TryFromBytes};

#[derive(Clone, Copy, PartialEq, Eq, Debug, TryFromBytes, IntoBytes, Immutable)]
#[repr(u8)]
enum Light {
    Red = 1,
    Green = 2,
}

#[test]
fn every_size_comes_back() {
    macro_rules! round_trip {
        ($($value:expr),*) => { $({
            let first = $value;
            let value = Value::new(first).unwrap();
            assert_eq!(value.load(), first);
            assert_eq!(value.try_load().unwrap(), first);
            let other = Value::attach(&received(value.segment())).unwrap();
            other.store(first).unwrap();
            assert_eq!(value.load(), first);
        })* };
    }
    round_trip!(1_u8, -2_i8, 3_u16, -4_i16, 5_u32, -6_i32, u64::MAX, i64::MIN, 1.5_f32, -2.5_f64);
    round_trip!([1_u8; 3], [2_u8; 5], [3_u8; 7], [4_u8; 9], [5_u64; 2], [6_u32; 5], [7_u8; 1000], u128::MAX);
}

#[test]
fn types_with_forbidden_bytes_are_checked() {
    let light = Value::new(Light::Red).unwrap();
    light.store(Light::Green).unwrap();
    assert_eq!(light.try_load().unwrap(), Light::Green);
    assert_eq!(light.update(|_| Light::Red).unwrap(), Light::Green);
    let flag = Value::new(false).unwrap();
    flag.store(true).unwrap();
    assert!(flag.try_load().unwrap());
}

#[test]
fn integers_wrap_and_return_the_value_before() {
    macro_rules! arithmetic {
        ($($int:ty)*) => { $({
            let v = Value::<$int>::new(<$int>::MAX).unwrap();
            assert_eq!(v.fetch_add(1), <$int>::MAX);
            assert_eq!(v.load(), <$int>::MIN);
            assert_eq!(v.fetch_sub(1), <$int>::MIN);
            assert_eq!(v.load(), <$int>::MAX);
            assert_eq!(v.swap(12), <$int>::MAX);
            assert_eq!(v.fetch_and(10), 12);
            assert_eq!(v.fetch_or(3), 8);
            assert_eq!(v.fetch_xor(1), 11);
            assert_eq!(v.fetch_max(5), 10);
            assert_eq!(v.fetch_min(5), 10);
            assert_eq!(v.compare_exchange(5, 6), Ok(5));
            assert_eq!(v.compare_exchange(5, 7), Err(6));
            assert_eq!(v.update(|n| n + 1).unwrap(), 6);
            assert_eq!(v.load(), 7);
            v.store(0).unwrap();
            assert_eq!(v.fetch_min(<$int>::MIN), 0);
            assert_eq!(v.load(), <$int>::MIN);
        })* };
    }
    arithmetic!(u8 u16 u32 u64 i8 i16 i32 i64);
}

#[test]
fn no_addition_of_any_thread_is_lost() {
    let (wide, narrow) = (Value::new(0_u64).unwrap(), Value::new(0_u8).unwrap());
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..10_000 {
                    wide.fetch_add(1);
                    narrow.fetch_add(1);
                }
            });
        }
    });
    assert_eq!(wide.load(), 40_000);
    assert_eq!(narrow.load(), (40_000 % 256) as u8);
}

#[test]
fn a_reader_sees_the_old_value_or_the_new_one() {
    let value = Value::new([0_u64; 12]).unwrap();
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                for _ in 0..5_000 {
                    value.update(|all| all.map(|n| n + 1)).unwrap();
                }
            });
        }
        scope.spawn(|| {
            let mut last = 0;
            while last < 10_000 {
                let seen = value.load();
                assert!(seen.iter().all(|n| *n == seen[0]), "torn: {seen:?}");
                assert!(seen[0] >= last, "went back");
                last = seen[0];
            }
        });
    });
}

#[test]
fn a_guard_commits_when_dropped_and_not_when_a_panic_drops_it() {
    let value = Value::new([1_u64; 3]).unwrap();
    let mut guard = value.lock().unwrap();
    guard[0] = 2;
    assert_eq!(value.load(), [1; 3], "readers see the old value meanwhile");
    drop(guard);
    assert_eq!(value.load(), [2, 1, 1]);
    let panicked = std::panic::catch_unwind(|| {
        value.lock().unwrap()[1] = 9;
        let mut guard = value.lock().unwrap();
        guard[2] = 9;
        panic!("on purpose");
    });
    assert!(panicked.is_err());
    assert_eq!(value.load(), [2, 9, 1], "committed before, discarded in the panic");
    assert!(std::panic::catch_unwind(|| value.update(|_| panic!("on purpose"))).is_err());
    assert_eq!(value.load(), [2, 9, 1]);
    value.lock().unwrap().discard();
}

#[test]
fn a_word_has_no_lock_and_says_so() {
    let error = Value::new(1_u64).unwrap().lock().unwrap_err();
    assert!(error.is_invalid());
    assert!(error.to_string().contains("update"), "{error}");
}

#[test]
fn another_type_is_refused_and_both_are_named() {
    let value = Value::new(1_u32).unwrap();
    let error = Value::<i32>::attach(value.segment()).unwrap_err();
    assert!(error.is_wrong_type());
    assert!(error.to_string().contains("u32") && error.to_string().contains("i32"), "{error}");
    assert!(Array::<u32>::attach(value.segment()).unwrap_err().is_wrong_type());
    assert!(mutirao::Lock::attach(value.segment()).unwrap_err().is_wrong_type());
}

#[test]
fn a_handle_is_not_bytes() {
    let value = Value::new(1_u64).unwrap();
    assert!(postcard::to_allocvec(&value).is_err());
    let queue = mutirao::Queue::<Value<u64>>::new(2).unwrap();
    let error = queue.send(value).unwrap_err();
    assert!(error.error().is_not_reachable(), "{error}");
    assert!(queue.is_empty());
}

#[test]
fn debug_shows_state_and_not_bytes() {
    let secret = Value::new([0x5ec2e7_u64; 2]).unwrap();
    let _guard = secret.lock().unwrap();
    let text = format!("{secret:?}");
    assert!(text.contains("writer: Some(#") && !text.contains("6210279"), "{text}");
}

#[test]
fn a_turn_is_tried_and_waited_for_within_a_deadline() {
    let value = Value::new([1_u64; 3]).unwrap();
    let mut turn = value.lock().unwrap();
    assert!(value.try_lock().unwrap_err().is_would_block());
    let other = value.clone();
    let waited = std::thread::spawn(move || other.lock_timeout(std::time::Duration::from_millis(5)).map(drop));
    assert!(waited.join().unwrap().unwrap_err().is_timeout());
    *turn = [2; 3];
    drop(turn);
    assert_eq!(*value.try_lock().unwrap(), [2; 3]);
    assert!(Value::new(1_u64).unwrap().try_lock().unwrap_err().is_invalid());
}
