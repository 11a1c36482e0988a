//! mutirao beside its peers: every figure of ours and the peers' in one run, one after the other in each
//! round, medians of all rounds, each process and thread pinned to a core of its own.
//!
//! ```text
//! cargo run --release --manifest-path benches/peers/Cargo.toml -- [WORD ...]
//! ```
//!
//! Words select the figures whose name has one of them. `MUTIRAO_ROUNDS` (9) and `MUTIRAO_ELEMENTS` (100000000, of the
//! array) make it shorter; the feature `iceoryx2` adds that peer. Nothing here fails because of a time: the table says what
//! is within its limit and what is not. On a machine with one core, or with other work on it, the rows with two sides say
//! little.

mod blocks;
mod files;
mod large;
mod leases;
mod machine;
mod memory;
mod pool;
mod queues;
mod spawning;
mod words;

use std::cell::Cell;
use std::rc::Rc;

use machine::{median, pin};

type Measured = Result<f64, Box<dyn std::error::Error>>;

/// What two numbers are compared by.
#[derive(Clone, Copy)]
enum Limit {
    /// Ours takes at most so many times the peer's.
    AtMost(f64),
    /// Ours does at least so many times the peer's.
    AtLeast(f64),
    /// At most this, whatever the peer does.
    Absolute(f64),
    /// For comparison.
    Nothing,
}

/// One side: how it is measured, and what came out.
struct Side {
    name: &'static str,
    limit: Limit,
    measure: Box<dyn FnMut() -> Measured>,
    results: Vec<f64>,
}

impl Side {
    fn new(name: &'static str, limit: Limit, measure: impl FnMut() -> Measured + 'static) -> Self {
        Self { name, limit, measure: Box::new(measure), results: Vec::new() }
    }
}

/// A line of the table for each peer.
struct Figure {
    name: String,
    unit: &'static str,
    sides: Vec<Side>,
}

impl Figure {
    fn new(name: impl Into<String>, unit: &'static str, ours: impl FnMut() -> Measured + 'static) -> Self {
        Self { name: name.into(), unit, sides: vec![Side::new("", Limit::Nothing, ours)] }
    }

    fn within(mut self, limit: f64) -> Self {
        self.sides[0].limit = Limit::Absolute(limit);
        self
    }

    fn beside(mut self, peer: &'static str, limit: Limit, theirs: impl FnMut() -> Measured + 'static) -> Self {
        self.sides.push(Side::new(peer, limit, theirs));
        self
    }

    fn measure(&mut self) -> Result<(), Box<dyn std::error::Error>> {
        for side in &mut self.sides {
            side.results.push((side.measure)()?);
        }
        Ok(())
    }

    fn print(&mut self) {
        let ours = median(&mut self.sides[0].results);
        let bound = self.sides[0].limit;
        if self.sides.len() == 1 {
            self.line(ours, None, "", bound);
        }
        for at in 1..self.sides.len() {
            let theirs = median(&mut self.sides[at].results);
            let limit = if matches!(bound, Limit::Nothing) { self.sides[at].limit } else { bound };
            self.line(ours, Some(theirs), self.sides[at].name, limit);
        }
    }

    fn line(&self, ours: f64, theirs: Option<f64>, peer: &str, limit: Limit) {
        let ratio = theirs.map(|theirs| ours / theirs);
        let (limit, kept) = match (limit, ratio) {
            (Limit::AtMost(most), Some(ratio)) => (format!("<= {most}"), ratio <= most),
            (Limit::AtLeast(least), Some(ratio)) => (format!(">= {least}"), ratio >= least),
            (Limit::Absolute(most), _) => (format!("<= {most} {}", self.unit), ours <= most),
            _ => ("-".to_owned(), true),
        };
        let number = |number: Option<f64>| number.map_or("-".to_owned(), |number| format!("{number:.2}"));
        println!(
            "{:<48} {:>9} {:>9} {:>6} {:>12} {:<4} {:<6} {peer}",
            self.name,
            number(Some(ours)),
            number(theirs),
            number(ratio),
            limit,
            if kept { "ok" } else { "NOT" },
            self.unit,
        );
    }
}

/// The lock, the semaphore, the queue with small items, a counter, an array, an empty value.
fn small() -> Vec<Figure> {
    use Limit::{AtLeast, AtMost, Nothing};
    // Both numbers of a round trip come from one measurement.
    let (ours, theirs) = (Rc::new(Cell::new(0.0)), Rc::new(Cell::new(0.0)));
    let (ours_p50, theirs_p50) = (ours.clone(), theirs.clone());
    let elements = machine::from_environment("MUTIRAO_ELEMENTS", 100_000_000).max(1);
    let arrays = Rc::new(memory::Arrays::new(elements));
    let vec = arrays.clone();
    vec![
        Figure::new("lock and unlock, uncontended", "ns", || Ok(words::lock()?)).beside(
            "parking_lot::Mutex",
            AtMost(1.1),
            || Ok(words::parking_lot()),
        ),
        Figure::new("acquire and release, uncontended", "ns", || Ok(words::semaphore()?)).beside(
            "sem_t, process-shared",
            AtMost(1.2),
            || Ok(words::sem_t()?),
        ),
        Figure::new("send + recv of 64 bytes, one thread", "ns", || Ok(queues::one_thread()?)).beside(
            "ArrayQueue",
            AtMost(1.3),
            || Ok(queues::one_thread_array_queue()),
        ),
        Figure::new("64 bytes, 1 -> 1 process", "M/s", || Ok(queues::stream()?)).beside(
            "ArrayQueue, 2 threads",
            AtLeast(1.0),
            || Ok(queues::stream_array_queue()),
        ),
        Figure::new("round trip of 64 bytes, mean", "ns", move || {
            let trip = queues::round_trip()?;
            ours.set(trip.p50);
            Ok(trip.mean)
        })
        .within(1000.0)
        .beside("ArrayQueue, spinning", Nothing, move || {
            let trip = queues::round_trip_array_queue();
            theirs.set(trip.p50);
            Ok(trip.mean)
        }),
        Figure::new("round trip of 64 bytes, p50", "ns", move || Ok(ours_p50.get())).within(1000.0).beside(
            "ArrayQueue, spinning",
            Nothing,
            move || Ok(theirs_p50.get()),
        ),
        Figure::new("fetch_add, 2 processes", "M/s", || Ok(words::value()?)).beside(
            "AtomicU64 in a mapping",
            AtLeast(0.95),
            words::bare_atomic,
        ),
        Figure::new("sum of an Array<f64> through a view", "GB/s", move || arrays.ours()).beside(
            "Vec<f64>",
            AtLeast(0.95),
            move || Ok(vec.theirs()),
        ),
        Figure::new("memory of one empty Value", "KiB", memory::committed).within(24.0),
    ]
}

/// Segments with names.
fn named() -> Vec<Figure> {
    use Limit::{AtMost, Nothing};
    vec![
        Figure::new("create, map and unlink a segment of 1 MiB", "us", files::create)
            .beside("shm_open, fallocate, mmap, shm_unlink", AtMost(2.0), || files::create_bare(true))
            .beside("the same with ftruncate: no memory reserved", Nothing, || files::create_bare(false)),
        Figure::new("attach to it and leave it", "us", files::attach).beside(
            "shm_open, mmap, munmap, close",
            AtMost(2.0),
            files::attach_bare,
        ),
    ]
}

/// Items of 64 KiB and 1 MiB, written and read in place.
fn large() -> Vec<Figure> {
    let figure = |name, size| {
        let figure = Figure::new(name, "GB/s", move || large::ours(size));
        let figure = figure.beside("bare ring in shared memory", Limit::AtLeast(0.9), move || large::bare_ring(size));
        #[cfg(feature = "iceoryx2")]
        let figure = figure.beside("iceoryx2", Limit::AtLeast(1.0), move || large::iceoryx::stream(size));
        figure
    };
    vec![figure("items of 64 KiB, 1 -> 1 process", 1 << 16), figure("items of 1 MiB, 1 -> 1 process", 1 << 20)]
}

/// Leases, and deaths among many objects.
fn deaths() -> Vec<Figure> {
    vec![
        Figure::new("take 64 bytes out: lease + ack", "ns", leases::lease_and_ack).beside(
            "recv of the same queue",
            Limit::AtMost(1.5),
            leases::recv,
        ),
        Figure::new("reap among 1000 objects", "ms", || leases::reap(1000)).within(5.0),
    ]
}

/// The arena's blocks.
fn allocated() -> Vec<Figure> {
    use Limit::AtMost;
    use blocks::What::{Malloc, Put, Touch};
    let rows = [
        ("allocate + free", Touch, false),
        ("allocate, publish + free", Put, false),
        ("allocate + free, two processes", Touch, true),
        ("allocate, publish + free, two processes", Put, true),
    ];
    let measure = |two| if two { blocks::in_two } else { blocks::alone };
    let sizes = [64, 256];
    let fill = [
        Figure::new("fill: 500 000 blocks of 288 bytes, each", "ns", blocks::filled).beside(
            "malloc",
            AtMost(1.5),
            blocks::filled_malloc,
        ),
        Figure::new("replace one of 500 000 blocks of 288 bytes", "ns", blocks::replaced).beside(
            "malloc + free",
            AtMost(1.5),
            blocks::replaced_malloc,
        ),
        Figure::new("fill: the longest of them", "us", blocks::longest_of_fill).within(1000.0),
    ];
    let figures = rows.into_iter().flat_map(|(name, what, two)| sizes.map(|bytes| (name, what, two, bytes)));
    figures
        .map(|(name, what, two, bytes)| {
            Figure::new(format!("{name}: {bytes} bytes"), "ns", move || measure(two)(what, bytes)).beside(
                "malloc + free",
                AtMost(3.0),
                move || measure(two)(Malloc, bytes),
            )
        })
        .chain(fill)
        .collect()
}

/// Processes.
fn processes() -> Vec<Figure> {
    use Limit::AtMost;
    let figure = |name, ours: fn() -> Measured, limit| {
        Figure::new(name, "ms", ours)
            .beside("fork and exec of this program", AtMost(limit), spawning::fork_and_exec)
            .beside("procspawn", AtMost(1.0), spawning::procspawn)
    };
    vec![
        figure("a process to its result, run again", spawning::run_again, 1.3),
        figure("a process to its result, by a zygote", spawning::by_zygote, 1.0),
    ]
}

/// Many calls, by two workers.
fn pools() -> Vec<Figure> {
    use Limit::{AtMost, Nothing};
    vec![
        Figure::new("pool: empty task, one at a time", "ns", pool::one_at_a_time)
            .within(2000.0)
            .beside("rayon, 2 threads", Nothing, pool::one_at_a_time_rayon)
            .beside("procspawn, 2 processes", Nothing, pool::one_at_a_time_procspawn),
        Figure::new("pool: empty task, in chunks", "ns", pool::in_chunks).within(20.0).beside(
            "rayon, 2 threads",
            Nothing,
            pool::in_chunks_rayon,
        ),
        Figure::new("pool: 4000 tasks of 100 us", "ms", pool::of_100_us).beside(
            "rayon, 2 threads",
            AtMost(1.2),
            pool::of_100_us_rayon,
        ),
        Figure::new("pool: start to first result", "ms", pool::first_result)
            .beside("fork and exec of this program", AtMost(1.3), spawning::fork_and_exec)
            .beside("procspawn", AtMost(1.0), pool::first_result_procspawn),
        Figure::new("pool: start to first result, zygote", "ms", pool::first_result_by_zygote).beside(
            "fork and exec of this program",
            AtMost(1.0),
            spawning::fork_and_exec,
        ),
    ]
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    if std::env::var_os(spawning::NOTHING).is_some() {
        return Ok(());
    }
    mutirao::init();
    procspawn::init();
    let rounds = machine::from_environment("MUTIRAO_ROUNDS", 9).max(1);
    pin(0);

    let wanted: Vec<String> = std::env::args().skip(1).collect();
    let mut figures = small();
    figures.extend(named());
    figures.extend(allocated());
    figures.extend(deaths());
    figures.extend(pools());
    figures.extend(large());
    figures.extend(processes());
    figures.retain(|figure| wanted.is_empty() || wanted.iter().any(|word| figure.name.contains(word)));
    for round in 1..=rounds {
        eprintln!("round {round} of {rounds}");
        for figure in &mut figures {
            figure.measure()?;
        }
    }

    println!(
        "{:<48} {:>9} {:>9} {:>6} {:>12} {:<4} {:<6} peer",
        format!("figure (median of {rounds})"),
        "ours",
        "peer",
        "ratio",
        "limit",
        "",
        "unit"
    );
    figures.iter_mut().for_each(Figure::print);
    Ok(())
}
