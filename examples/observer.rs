//! A program that only looks: it opens a segment by name, read-only, and can neither hold anybody up nor spoil anything.
//! Its handles have no method that writes, and its memory is mapped for reading.
//!
//! ```text
//! cargo run --release --example observer
//! ```
//!
//! The bakery that it looks at runs beside it, as a process of its own.

use mutirao::{Array, Process, Queue, Segment, Semaphore, Value};
use std::time::Duration;

const LOAVES: u64 = 500;

/// Bakes, and writes down what it does; stays until it is told to stop.
fn bake((name, stop): (String, Queue<()>)) {
    let bakery = Segment::create(&name, 1 << 20).unwrap();
    let ovens = Semaphore::create(&bakery, "ovens", 4).unwrap();
    let shelf = Queue::<u64>::create(&bakery, "shelf", LOAVES as usize).unwrap();
    let by_hour = Array::<u64>::create(&bakery, "by hour", 24).unwrap();
    let loaves = Value::<u64>::create(&bakery, "loaves", 0).unwrap();
    for loaf in 0..LOAVES {
        let _oven = ovens.acquire().unwrap();
        by_hour.fetch_add(loaf as usize % 24, 1).unwrap();
        shelf.send(loaf).unwrap();
        loaves.fetch_add(1);
        std::thread::sleep(Duration::from_micros(200));
    }
    stop.recv().unwrap();
}

fn main() -> mutirao::Result<()> {
    mutirao::init();
    let name = format!("mutirao-bakery-{}", std::process::id());
    let stop = Queue::new(1)?;
    let bakery = Process::spawn(bake, (name.clone(), stop.clone()))?;

    // From here on this is a stranger who knows the name.
    let observer = patiently(&bakery, || Segment::open_read_only(&name))?;
    let loaves = patiently(&bakery, || observer.value::<u64>("loaves"))?;
    let (shelf, ovens) = (observer.queue::<u64>("shelf")?, observer.semaphore("ovens")?);
    let mut seen = 0;
    while seen < LOAVES {
        seen = loaves.load()?;
        println!("{seen} loaves, {} on the shelf, {} ovens free", shelf.len()?, ovens.available()?);
        std::thread::sleep(Duration::from_millis(20));
    }
    for object in observer.objects() {
        println!("{}: a {}, {}", object.name.unwrap_or_default(), object.kind, object.state);
    }
    assert_eq!(observer.inspect().participants.len(), 1, "who looks takes no part");

    let mut hours = [0; 24];
    observer.array::<u64>("by hour")?.copy_to(0, &mut hours)?;
    assert_eq!(hours.iter().sum::<u64>(), LOAVES);
    stop.send(())?;
    bakery.join()?;
    assert!(Segment::open_read_only(&name).is_err_and(|error| error.is_not_found()), "the name went with the bakery");
    assert_eq!(loaves.load()?, LOAVES, "what was mapped can be read still");
    Ok(())
}

/// What the bakery may not have made yet.
fn patiently<T>(bakery: &Process, look: impl Fn() -> mutirao::Result<T>) -> mutirao::Result<T> {
    loop {
        match look() {
            Err(error) if error.is_not_found() && bakery.is_alive() => std::thread::sleep(Duration::from_millis(1)),
            seen => return seen,
        }
    }
}
