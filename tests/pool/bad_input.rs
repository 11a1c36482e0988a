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

#[test]
fn arguments_and_results_may_be_large() {
    let _watchdog = Watchdog::new("arguments_and_results_may_be_large");
    let pool = two_workers().build().unwrap();
    let sum = |bytes: Vec<u8>| bytes.iter().map(|byte| u64::from(*byte)).sum::<u64>();
    assert_eq!(pool.submit(sum, vec![1; 50 << 20]).unwrap().wait().unwrap(), 50 << 20);
    let grow = |len: usize| "x".repeat(len);
    assert_eq!(pool.submit(grow, 50 << 20).unwrap().wait().unwrap().len(), 50 << 20);
    let lens = pool.map(grow, (0..40).map(|n| n << 15)).unwrap();
    assert!(lens.iter().enumerate().all(|(n, text)| text.len() == n << 15));
    goes_on(&pool);
}

/// Closes every descriptor but the standard ones.
fn close_all() {
    // SAFETY: whoever owned them is told that this process does such things.
    unsafe { libc::syscall(libc::SYS_close_range, 3, u32::MAX, 0) };
}

#[test]
fn a_worker_may_close_its_descriptors() {
    let _watchdog = Watchdog::new("a_worker_may_close_its_descriptors");
    let pool = two_workers().retries_after_death(1).build().unwrap();
    let close = |n: u32| {
        close_all();
        n
    };
    // With its descriptors its proof of life is gone: it is done with, or tried again, or reported.
    match pool.submit(close, 7).unwrap().wait() {
        Ok(n) => assert_eq!(n, 7),
        Err(error) => assert!(matches!(error, TaskError::WorkerDied(_)), "{error}"),
    }
    for _ in 0..20 {
        goes_on(&pool);
    }
}

#[test]
fn a_worker_may_block_its_signals() {
    let _watchdog = Watchdog::new("a_worker_may_block_its_signals");
    let block = |n: u32| {
        let mut all = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
        // SAFETY: the call fills the set.
        unsafe { libc::sigfillset(all.as_mut_ptr()) };
        // SAFETY: the set is filled, and signals that can not be blocked are left out by the kernel.
        unsafe { libc::sigprocmask(libc::SIG_BLOCK, all.as_ptr(), std::ptr::null_mut()) };
        n
    };
    let pool = two_workers().task_timeout(std::time::Duration::from_millis(200)).build().unwrap();
    assert_eq!(pool.map(block, 0..10).unwrap(), (0..10).collect::<Vec<_>>());
    let error = pool.submit(|()| std::thread::sleep(std::time::Duration::from_secs(60)), ()).unwrap().wait();
    assert!(matches!(error, Err(TaskError::TimedOut { .. })));
    goes_on(&pool);
}

/// What a fork does: nothing, for so long.
fn stay_and_end(us: u32) -> ! {
    // SAFETY: safe in a fork.
    unsafe { libc::usleep(us) };
    // SAFETY: ends this process and touches nothing.
    unsafe { libc::_exit(0) }
}

#[test]
fn a_worker_may_fork_and_leak_threads() {
    let _watchdog = Watchdog::new("a_worker_may_fork_and_leak_threads");
    let pool = two_workers().max_tasks_per_worker(50).build().unwrap();
    let fork = |n: u32| {
        // SAFETY: the child makes calls that are safe in a fork, and ends.
        match unsafe { libc::fork() } {
            0 => stay_and_end(50_000),
            _ => n,
        }
    };
    assert_eq!(pool.map(fork, 0..20).unwrap(), (0..20).collect::<Vec<_>>());
    let leak = |n: u32| {
        std::thread::spawn(|| std::thread::sleep(std::time::Duration::from_secs(60)));
        n
    };
    assert_eq!(pool.map(leak, 0..100).unwrap(), (0..100).collect::<Vec<_>>());
    // One that dies while its fork lives on.
    let die = |path: String| -> u32 {
        if !crate::stage::is_first(&path) {
            return 9;
        }
        // SAFETY: as above.
        if unsafe { libc::fork() } == 0 {
            stay_and_end(3_000_000)
        }
        crate::stage::kill_self()
    };
    let mark = crate::stage::Mark::new("forked");
    assert_eq!(pool.submit(die, mark.path()).unwrap().wait().unwrap(), 9);
    goes_on(&pool);
}

#[test]
fn more_workers_than_processors_and_than_items() {
    let _watchdog = Watchdog::new("more_workers_than_processors_and_than_items");
    let pool = Pool::builder().workers(20).chunk_size(1).build().unwrap();
    assert_eq!(pool.map(|n: u32| n, 0..3).unwrap(), [0, 1, 2]);
    let mut pids = pool
        .map(
            |_: u32| {
                std::thread::sleep(std::time::Duration::from_millis(5));
                std::process::id()
            },
            0..200,
        )
        .unwrap();
    pids.sort_unstable();
    pids.dedup();
    assert!(pids.len() > 3 && pids.len() <= 20, "{} workers", pids.len());
}
