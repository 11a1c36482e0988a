//! What should not be handed to a pool: a typed error for each, and the pool goes on.

use mutirao::{Pool, TaskError};

use crate::stage::{Watchdog, two_workers};

fn goes_on(pool: &Pool) {
    assert_eq!(pool.map(|n: u32| n + 1, 0..100).unwrap(), (1..101).collect::<Vec<_>>());
}

#[test]
fn a_panic_may_carry_anything() {
    let _watchdog = Watchdog::new("a_panic_may_carry_anything");
    let pool = two_workers().build().unwrap();
    let error = pool.submit(|()| -> () { std::panic::panic_any(7_u32) }, ()).unwrap().wait().unwrap_err();
    assert!(matches!(error, TaskError::Panicked { .. }), "{error}");
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("again");
        }
    }
    let error = pool.submit(|()| -> () { std::panic::panic_any(Bomb) }, ()).unwrap().wait().unwrap_err();
    assert!(matches!(error, TaskError::Panicked { .. }), "{error}");
    goes_on(&pool);
}

/// Can be sent, or not; can be received, or not.
#[derive(Clone, Copy)]
enum Picky {
    Fine,
    NotSent,
    NotReceived,
}

impl serde::Serialize for Picky {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Fine => 0_u8.serialize(serializer),
            Self::NotSent => Err(serde::ser::Error::custom("not to be sent")),
            Self::NotReceived => 1_u8.serialize(serializer),
        }
    }
}

impl<'de> serde::Deserialize<'de> for Picky {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match u8::deserialize(deserializer)? {
            0 => Ok(Self::Fine),
            _ => Err(serde::de::Error::custom("not to be received")),
        }
    }
}

#[test]
fn what_can_not_travel_is_told() {
    let _watchdog = Watchdog::new("what_can_not_travel_is_told");
    let pool = two_workers().build().unwrap();
    let result = |n: u32| match n {
        1 => Picky::NotSent,
        2 => Picky::NotReceived,
        _ => Picky::Fine,
    };
    for n in [1, 2] {
        let error = pool.submit(result, n).map(|task| task.wait()).unwrap().map(|_| ()).unwrap_err();
        assert!(matches!(error, TaskError::NotPortable { .. }), "{error}");
    }
    assert!(pool.submit(|_: Picky| (), Picky::NotSent).unwrap_err().is_codec());
    let error = pool.submit(|_: Picky| (), Picky::NotReceived).unwrap().wait().unwrap_err();
    assert!(matches!(error, TaskError::NotPortable { .. }), "{error}");
    // Among others, it fails alone.
    let items = (0..100).map(|n| if n == 40 { Picky::NotSent } else { Picky::Fine });
    let failed: Vec<_> = pool.map_results(|_: Picky| (), items).into_iter().map(|result| result.is_err()).collect();
    assert_eq!(failed, (0..100).map(|n| n == 40).collect::<Vec<_>>());
    goes_on(&pool);
}

#[test]
fn zero_workers_and_too_many_are_refused() {
    let _watchdog = Watchdog::new("zero_workers_and_too_many_are_refused");
    assert!(Pool::builder().workers(0).build().unwrap_err().is_invalid());
    assert!(Pool::builder().workers(10_000).build().unwrap_err().is_invalid());
}

#[test]
fn a_worker_may_exit() {
    let _watchdog = Watchdog::new("a_worker_may_exit");
    let pool = two_workers().retries_after_death(1).build().unwrap();
    let error = pool.submit(|code: i32| -> () { std::process::exit(code) }, 3).unwrap().wait();
    let Err(TaskError::WorkerDied(post_mortem)) = error else { panic!("it returned") };
    assert_eq!((post_mortem.attempts, post_mortem.signal), (2, None));
    assert!(post_mortem.how.contains("exited with code 3"), "{post_mortem}");
    goes_on(&pool);
}

#[test]
fn a_worker_may_abort() {
    let _watchdog = Watchdog::new("a_worker_may_abort");
    let pool = two_workers().build().unwrap();
    let error = pool.submit(|()| -> () { std::process::abort() }, ()).unwrap().wait();
    let Err(TaskError::WorkerDied(post_mortem)) = error else { panic!("it returned") };
    assert_eq!((post_mortem.attempts, post_mortem.signal), (3, Some(6)));
    goes_on(&pool);
}

#[test]
fn an_initializer_that_fails_is_no_hang() {
    let _watchdog = Watchdog::new("an_initializer_that_fails_is_no_hang");
    let pool = two_workers().initializer(|()| -> () { panic!("no licence") }, ()).build().unwrap();
    for _ in 0..2 {
        let error = pool.submit(|n: u32| n, 1).unwrap().wait().unwrap_err();
        assert!(matches!(&error, TaskError::NoWorkers { why, .. } if why.contains("no licence")), "{error}");
    }
    let pool = two_workers().initializer(|()| -> () { std::process::exit(9) }, ()).build().unwrap();
    let error = pool.map(|n: u32| n, 0..1000).unwrap_err();
    assert!(matches!(&error, TaskError::NoWorkers { why, .. } if why.contains("code 9")), "{error}");
}
