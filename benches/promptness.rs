//! How soon after a kill those who wait go on, and what waiting costs. `cargo bench --bench promptness`.
//!
//! From the call of `kill` to the moment at which the one who was blocked is through: the kernel's teardown of the victim
//! is in it.

use mutirao::{Lock, Plain, Process, Queue, Value};
use rustix::time::{ClockId, clock_gettime};
use std::time::{Duration, Instant};

const ROUNDS: usize = 60;
/// Private memory of the victim, which the kernel tears down before anybody can tell that it is dead.
const MEMORY: [usize; 2] = [0, 16 << 20];

fn main() {
    mutirao::init();
    for memory in MEMORY {
        let what = format!("victim with {} MiB of its own", memory >> 20);
        report(&format!("lock of the dead to a sleeper, {what}"), (0..ROUNDS).map(|_| lock(memory)).collect());
        report(&format!("lease of the dead to a sleeper, {what}"), (0..ROUNDS).map(|_| lease(memory)).collect());
    }
    println!("a sleeper's share of a core: {:.4} %", 100.0 * cost_of_sleep());
}

fn report(what: &str, mut times: Vec<Duration>) {
    times.sort();
    let ms = |i: usize| times[i].as_secs_f64() * 1e3;
    println!(
        "{what}: median {:.2} ms, 9 of 10 {:.2} ms, worst {:.2} ms",
        ms(ROUNDS / 2),
        ms(ROUNDS * 9 / 10),
        ms(ROUNDS - 1)
    );
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
        // Long enough to be asleep, and for the watcher to know the victim.
        std::thread::sleep(Duration::from_millis(120));
        let killed = Instant::now();
        child.kill().expect("a kill");
        let through = through.join().expect("the sleeper");
        assert!(child.join().is_err());
        through.saturating_duration_since(killed)
    })
}

fn lock(memory: usize) -> Duration {
    let (lock, held) = (Lock::new().expect("a lock"), Value::new(0_u32).expect("a value"));
    let hold = |(lock, held, memory): (Lock, Value<u32>, usize)| {
        let _memory = keep(memory);
        let _guard = lock.lock().expect("free");
        held.fetch_add(1);
        stay();
    };
    let child = Process::spawn(hold, (lock.clone(), held.clone(), memory)).expect("a child");
    wait_for(|| held.load() == 1);
    killed_to_through(child, || assert!(lock.lock().is_err_and(|e| e.is_owner_died())))
}

fn lease(memory: usize) -> Duration {
    let queue: Queue<Plain<u64>> = Queue::options().capacity(4).leases(4).create().expect("a queue");
    let held = Value::new(0_u32).expect("a value");
    queue.send(Plain(7)).expect("room");
    let hold = |(queue, held, memory): (Queue<Plain<u64>>, Value<u32>, usize)| {
        let _memory = keep(memory);
        let _lease = queue.lease().expect("an item");
        held.fetch_add(1);
        stay();
    };
    let child = Process::spawn(hold, (queue.clone(), held.clone(), memory)).expect("a child");
    wait_for(|| held.load() == 1);
    killed_to_through(child, || assert_eq!(queue.lease().expect("the item").attempt(), 2))
}

/// The share of a core that a thread needs which is blocked on a lock that somebody holds for seconds.
fn cost_of_sleep() -> f64 {
    const LONG: Duration = Duration::from_secs(5);
    let lock = Lock::new().expect("a lock");
    let held = Value::new(0_u32).expect("a value");
    let hold = |(lock, held): (Lock, Value<u32>)| {
        let _guard = lock.lock().expect("free");
        held.fetch_add(1);
        stay();
    };
    let child = Process::spawn(hold, (lock.clone(), held.clone())).expect("a child");
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
