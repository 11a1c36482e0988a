//! How long a process takes from the call that starts it to its result in hand. `cargo bench --bench spawn`.
//!
//! All ways in turn, so that none has the quiet half of the run; medians of all rounds, also beside the plain fork and exec of a
//! program that ends at once. Then the same from a parent that has touched 1 GiB.

use mutirao::{Pool, PoolBuilder, Process, Zygote};
use std::process::Command;
use std::time::{Duration, Instant};

const ROUNDS: usize = 200;

/// What a way has started ends behind the clock.
type Way<'a> = (&'static str, Box<dyn Fn() -> Option<Pool> + 'a>);

fn main() {
    if std::env::var_os("MUTIRAO_BENCH_NOTHING").is_some() {
        return;
    }
    mutirao::init();
    if std::env::args().any(|argument| argument == "--list") {
        return;
    }
    compare("");
    let large = vec![1_u8; 1 << 30];
    compare(", from a parent of 1 GiB");
    drop(std::hint::black_box(large));
}

fn compare(from: &str) {
    let zygote = Zygote::start().expect("a zygote");
    let forked = Process::options().zygote(&zygote);
    let this = std::env::current_exe().expect("this program");
    let run = |mut command: Command| {
        assert!(command.status().expect("a program").success());
        None
    };
    let ways: [Way; 7] = [
        ("fork and exec of `true`", Box::new(|| run(Command::new("true")))),
        ("fork and exec of this program, which ends at once", {
            Box::new(|| {
                let mut command = Command::new(&this);
                command.env("MUTIRAO_BENCH_NOTHING", "1");
                run(command)
            })
        }),
        ("Process::spawn and join", Box::new(|| finish(Process::spawn(|n: u64| n + 1, 1)))),
        ("the same by a zygote", Box::new(|| finish(forked.spawn(|n: u64| n + 1, 1)))),
        ("a pool of two to its first result", Box::new(|| first_result(Pool::builder()))),
        ("the same by a zygote", Box::new(|| first_result(Pool::builder().zygote(&zygote)))),
        ("a thread, for comparison", Box::new(|| std::thread::spawn(|| None).join().expect("a thread"))),
    ];
    let mut times = ways.each_ref().map(|_| Vec::with_capacity(ROUNDS));
    for round in 0..ROUNDS + ROUNDS / 10 {
        for ((_, way), times) in ways.iter().zip(&mut times) {
            let begun = Instant::now();
            let started = way();
            let time = begun.elapsed();
            drop(started);
            if round >= ROUNDS / 10 {
                times.push(time);
            }
        }
    }
    for ((what, _), times) in ways.iter().zip(&mut times) {
        times.sort();
        let ms = |time: Duration| time.as_secs_f64() * 1e3;
        println!("{what}{from}: median {:.3} ms, 9 of 10 {:.3} ms", ms(times[ROUNDS / 2]), ms(times[ROUNDS * 9 / 10]));
    }
    let begun = Instant::now();
    drop(Zygote::start().expect("a zygote"));
    println!("a zygote{from}: {:.3} ms", begun.elapsed().as_secs_f64() * 1e3);
}

fn finish(child: mutirao::Result<Process<u64>>) -> Option<Pool> {
    assert_eq!(child.and_then(Process::join).expect("a result"), 2);
    None
}

fn first_result(builder: PoolBuilder) -> Option<Pool> {
    let pool = builder.workers(2).build().expect("a pool");
    assert_eq!(pool.submit(|n: u64| n + 1, 1).expect("a task").wait().expect("a result"), 2);
    Some(pool)
}
