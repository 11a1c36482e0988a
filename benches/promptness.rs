//! How soon after a kill those who wait go on, and what waiting costs. `cargo bench --bench promptness`.
//!
//! From the call of `kill` to the moment at which the one who was blocked is through: the kernel's teardown of the victim
//! is in it. Three ways to learn of a death: by the watcher; at the end of a slice, without it; and the same where the victim
//! is in another pid namespace, so that no watcher can follow it.

use mutirao::{Lock, Plain, Process, Queue, Value};
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

const ROUNDS: usize = 60;
/// Private memory of the victim, which the kernel tears down before anybody can tell that it is dead.
const MEMORY: [usize; 2] = [0, 16 << 20];

/// How whoever waits learns of the death.
#[derive(Clone, Copy, PartialEq, Serialize, Deserialize, Debug)]
enum Way {
    Watched,
    Unwatched,
    OtherNamespace,
}

fn main() {
    mutirao::init();
    if std::env::args().any(|argument| argument == "--list") {
        return;
    }
    // Each in a process of its own: a watcher that runs goes on.
    for way in [Way::Watched, Way::Unwatched, Way::OtherNamespace] {
        Process::spawn(measure, way).expect("a child").join().expect("measured");
    }
}

fn measure(way: Way) {
    if way == Way::Unwatched {
        mutirao::without_watcher();
    }
    if way == Way::OtherNamespace && !in_a_namespace(|| ()) {
        return println!("{way:?}: no pid namespaces here");
    }
    for memory in MEMORY {
        let what = format!("{way:?}, victim with {} MiB of its own", memory >> 20);
        report(&format!("lock of the dead to a sleeper, {what}"), (0..ROUNDS).map(|_| lock(way, memory)).collect());
        report(&format!("lease of the dead to a sleeper, {what}"), (0..ROUNDS).map(|_| lease(way, memory)).collect());
    }
    println!("a sleeper's share of a core, {way:?}: {:.4} %", 100.0 * cost_of_sleep(way));
}

fn report(what: &str, mut times: Vec<Duration>) {
    times.sort();
    let ms = |i: usize| times[i].as_secs_f64() * 1e3;
    println!(
        "{what}: best {:.2} ms, median {:.2} ms, 9 of 10 {:.2} ms, worst {:.2} ms",
        ms(0),
        ms(ROUNDS / 2),
        ms(ROUNDS * 9 / 10),
        ms(ROUNDS - 1)
    );
}

/// Does `f` where new processes are in a pid namespace of their own. False: that is not allowed.
fn in_a_namespace(f: impl FnOnce()) -> bool {
    let ours = File::open("/proc/self/ns/pid").expect("our own");
    // SAFETY: concerns where this thread's next children are.
    if unsafe { libc::unshare(libc::CLONE_NEWPID) } != 0 {
        return false;
    }
    f();
    // SAFETY: as above; the descriptor is open.
    assert_eq!(unsafe { libc::setns(ours.as_raw_fd(), libc::CLONE_NEWPID) }, 0);
    true
}

/// A victim that does `f`.
fn victim<S>(way: Way, f: fn(S), stage: S) -> Process
where
    S: Serialize + serde::de::DeserializeOwned,
{
    if way != Way::OtherNamespace {
        return Process::spawn(f, stage).expect("a child");
    }
    let mut child = None;
    assert!(in_a_namespace(|| child = Some(Process::spawn(f, stage).expect("a child"))));
    child.expect("spawned")
}

fn keep(memory: usize) -> Vec<u8> {
    vec![1; memory]
}

fn stay() {
    loop {
        std::thread::park();
    }
}

fn wait_for(so: impl Fn() -> bool) {
    while !so() {
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Kills the child while `wait` is blocked on what it holds; the time until that is through.
fn killed_to_through(child: Process, wait: impl FnOnce() + Send) -> Duration {
    std::thread::scope(|scope| {
        let through = scope.spawn(|| {
            wait();
            Instant::now()
        });
        // Long enough to be asleep in the longest slices, and for the watcher to know the victim; never twice at the same
        // moment of a slice.
        static ROUND: std::sync::Mutex<u64> = std::sync::Mutex::new(0);
        let round = {
            let mut round = ROUND.lock().expect("nobody panics");
            *round += 1;
            *round
        };
        std::thread::sleep(Duration::from_micros(150_000 + round * 7919 % 64_000));
        let killed = Instant::now();
        child.kill().expect("a kill");
        let through = through.join().expect("the sleeper");
        assert!(child.join().is_err());
        through.saturating_duration_since(killed)
    })
}

fn lock(way: Way, memory: usize) -> Duration {
    let (lock, held) = (Lock::new().expect("a lock"), Value::new(0_u32).expect("a value"));
    let hold = |(lock, held, memory): (Lock, Value<u32>, usize)| {
        let _memory = keep(memory);
        let _guard = lock.lock().expect("free");
        held.fetch_add(1);
        stay();
    };
    let child = victim(way, hold, (lock.clone(), held.clone(), memory));
    wait_for(|| held.load() == 1);
    killed_to_through(child, || assert!(lock.lock().is_err_and(|e| e.is_owner_died())))
}

fn lease(way: Way, memory: usize) -> Duration {
    let queue: Queue<Plain<u64>> = Queue::options().capacity(4).leases(4).create().expect("a queue");
    let held = Value::new(0_u32).expect("a value");
    queue.send(Plain(7)).expect("room");
    let hold = |(queue, held, memory): (Queue<Plain<u64>>, Value<u32>, usize)| {
        let _memory = keep(memory);
        let _lease = queue.lease().expect("an item");
        held.fetch_add(1);
        stay();
    };
    let child = victim(way, hold, (queue.clone(), held.clone(), memory));
    wait_for(|| held.load() == 1);
    killed_to_through(child, || assert_eq!(queue.lease().expect("the item").attempt(), 2))
}

/// The share of a core that a thread needs which is blocked on a lock that somebody holds for seconds.
fn cost_of_sleep(way: Way) -> f64 {
    const LONG: Duration = Duration::from_secs(5);
    let lock = Lock::new().expect("a lock");
    let held = Value::new(0_u32).expect("a value");
    let hold = |(lock, held): (Lock, Value<u32>)| {
        let _guard = lock.lock().expect("free");
        held.fetch_add(1);
        stay();
    };
    let child = victim(way, hold, (lock.clone(), held.clone()));
    wait_for(|| held.load() == 1);
    let cpu = || {
        let now = clock_gettime(ClockId::ProcessCPUTime);
        Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
    };
    let before = cpu();
    assert!(lock.lock_timeout(LONG).is_err_and(|e| e.is_timeout()));
    let spent = cpu() - before;
    child.kill().expect("a kill");
    assert!(child.join().is_err());
    spent.as_secs_f64() / LONG.as_secs_f64()
}
