//! mutirao beside its peers: every figure of ours and the peer's in one run, one after the other in each
//! round, medians of all rounds, each process and thread pinned to a core of its own.
//!
//! ```text
//! cargo run --release --manifest-path benches/peers/Cargo.toml
//! ```
//!
//! `MUTIRAO_ROUNDS` (9) and `MUTIRAO_ELEMENTS` (100000000, of the array) make it shorter. Nothing here fails
//! because of a time: the table says what is within its limit and what is not. On a machine with one core, or
//! with other work on it, the rows with two sides say little.

mod machine;
mod memory;
mod queues;
mod words;

use machine::{median, pin};

/// What two numbers are compared by.
enum Limit {
    /// Ours takes at most so many times the peer's.
    AtMost(f64),
    /// Ours does at least so many times the peer's.
    AtLeast(f64),
    /// At most this, whatever the peer does.
    Absolute(f64),
}

/// One line of the table.
struct Figure {
    name: &'static str,
    unit: &'static str,
    peer: &'static str,
    limit: Limit,
    ours: Vec<f64>,
    theirs: Vec<f64>,
}

impl Figure {
    fn new(name: &'static str, unit: &'static str, peer: &'static str, limit: Limit) -> Self {
        Self { name, unit, peer, limit, ours: Vec::new(), theirs: Vec::new() }
    }

    fn print(&mut self) {
        let ours = median(&mut self.ours);
        let theirs = (!self.theirs.is_empty()).then(|| median(&mut self.theirs));
        let ratio = theirs.map(|theirs| ours / theirs);
        let (limit, kept) = match (&self.limit, ratio) {
            (Limit::AtMost(most), Some(ratio)) => (format!("<= {most}"), ratio <= *most),
            (Limit::AtLeast(least), Some(ratio)) => (format!(">= {least}"), ratio >= *least),
            (Limit::Absolute(most), _) => (format!("<= {most} {}", self.unit), ours <= *most),
            _ => ("-".to_owned(), true),
        };
        let number = |number: Option<f64>| number.map_or("-".to_owned(), |number| format!("{number:.2}"));
        println!(
            "{:<44} {:>9} {:>9} {:>6} {:>12} {:<4} {:<6} {}",
            self.name,
            number(Some(ours)),
            number(theirs),
            number(ratio),
            limit,
            if kept { "ok" } else { "NOT" },
            self.unit,
            self.peer,
        );
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    mutirao::init();
    let rounds = machine::from_environment("MUTIRAO_ROUNDS", 9).max(1);
    let elements = machine::from_environment("MUTIRAO_ELEMENTS", 100_000_000).max(1);
    pin(0);

    let mut lock = Figure::new("lock and unlock, uncontended", "ns", "parking_lot::Mutex", Limit::AtMost(1.1));
    let mut permit = Figure::new("acquire and release, uncontended", "ns", "sem_t, process-shared", Limit::AtMost(1.2));
    let mut alone = Figure::new("send + recv of 64 bytes, one thread", "ns", "ArrayQueue", Limit::AtMost(1.3));
    let mut stream = Figure::new("64 bytes, 1 -> 1 process", "M/s", "ArrayQueue, 2 threads", Limit::AtLeast(1.0));
    let mut mean = Figure::new("round trip of 64 bytes, mean", "ns", "ArrayQueue, spinning", Limit::Absolute(1000.0));
    let mut middle = Figure::new("round trip of 64 bytes, p50", "ns", "ArrayQueue, spinning", Limit::Absolute(1000.0));
    let mut add = Figure::new("fetch_add, 2 processes", "M/s", "AtomicU64 in a mapping", Limit::AtLeast(0.95));
    let mut sum = Figure::new("sum of an Array<f64> through a view", "GB/s", "Vec<f64>", Limit::AtLeast(0.95));
    let mut committed = Figure::new("memory of one empty Value", "KiB", "", Limit::Absolute(24.0));

    let mut arrays = memory::Arrays::new(elements)?;
    for round in 1..=rounds {
        eprintln!("round {round} of {rounds}");
        lock.ours.push(words::lock()?);
        lock.theirs.push(words::parking_lot());
        permit.ours.push(words::semaphore()?);
        permit.theirs.push(words::sem_t()?);
        alone.ours.push(queues::one_thread()?);
        alone.theirs.push(queues::one_thread_array_queue());
        stream.ours.push(queues::stream()?);
        stream.theirs.push(queues::stream_array_queue());
        let ours = queues::round_trip()?;
        mean.ours.push(ours.mean);
        middle.ours.push(ours.p50);
        let theirs = queues::round_trip_array_queue();
        mean.theirs.push(theirs.mean);
        middle.theirs.push(theirs.p50);
        add.ours.push(words::value()?);
        add.theirs.push(words::bare_atomic()?);
        sum.ours.push(arrays.ours()?);
        sum.theirs.push(arrays.vec());
        committed.ours.push(memory::committed()?);
    }

    println!(
        "{:<44} {:>9} {:>9} {:>6} {:>12} {:<4} {:<6} peer",
        format!("figure (median of {rounds})"),
        "ours",
        "peer",
        "ratio",
        "limit",
        "",
        "unit"
    );
    for figure in
        [&mut lock, &mut permit, &mut alone, &mut stream, &mut mean, &mut middle, &mut add, &mut sum, &mut committed]
    {
        figure.print();
    }
    Ok(())
}
