//! What a lease costs beyond a plain `recv`, and what a death costs in a segment of many objects.

use std::hint::black_box;
use std::time::{Duration, Instant};

use mutirao::bench::Blocks;
use mutirao::{Lock, Plain, Process, Queue, Segment, Semaphore, Value};

use crate::machine::{pin, wait_for};

type Item = [u64; 8];

const CAPACITY: usize = 1024;
const ROUNDS: u32 = 500;

/// Nanoseconds that taking one item out of a full queue takes, from one thread.
fn drained(mut take: impl FnMut(&Queue<Plain<Item>>)) -> Result<f64, Box<dyn std::error::Error>> {
    let queue = Queue::<Plain<Item>>::new(CAPACITY)?;
    let mut took = Duration::ZERO;
    for round in 0..=ROUNDS {
        for i in 0..CAPACITY as u64 {
            queue.try_send(Plain(black_box([i; 8])))?;
        }
        let begun = Instant::now();
        for _ in 0..CAPACITY {
            take(&queue);
        }
        if round > 0 {
            took += begun.elapsed();
        }
    }
    Ok(took.as_nanos() as f64 / f64::from(ROUNDS) / CAPACITY as f64)
}

pub fn recv() -> Result<f64, Box<dyn std::error::Error>> {
    drained(|queue| {
        black_box(queue.recv().expect("an item"));
    })
}

pub fn lease_and_ack() -> Result<f64, Box<dyn std::error::Error>> {
    drained(|queue| {
        let item = queue.lease().expect("an item");
        black_box(*item);
        item.ack().expect("ours");
    })
}

/// Milliseconds that it takes to settle a participant that died with a handle on each of so many objects.
pub fn reap(objects: u32) -> Result<f64, Box<dyn std::error::Error>> {
    // In a process of its own, which has not waited long yet and so has no watcher that would be faster.
    let measure = |objects| reap_here(objects).map_err(|error| error.to_string());
    Ok(Process::spawn(measure, objects)?.join()??)
}

fn reap_here(objects: u32) -> mutirao::Result<f64> {
    let segment = Segment::options().objects(objects).anonymous(64 << 20)?;
    for i in 0..objects {
        let name = &format!("object {i}");
        match i % 4 {
            0 => drop(Value::<u64>::create(&segment, name, 0)?),
            1 => drop(Lock::create(&segment, name)?),
            2 => drop(Queue::<Plain<Item>>::create(&segment, name, 64)?),
            _ => drop(Semaphore::create(&segment, name, 8)?),
        }
    }
    let ready = Value::new(0_u64)?;
    let hold = |(segment, objects, ready): (Segment, u32, Value<u64>)| {
        pin(1);
        let (mut values, mut locks, mut queues, mut semaphores) = (vec![], vec![], vec![], vec![]);
        for i in 0..objects {
            let name = &format!("object {i}");
            match i % 4 {
                0 => values.push(Value::<u64>::open(&segment, name).expect("it is there")),
                1 => locks.push(Lock::open(&segment, name).expect("it is there")),
                2 => queues.push(Queue::<Plain<Item>>::open(&segment, name).expect("it is there")),
                _ => semaphores.push(Semaphore::open(&segment, name).expect("it is there")),
            }
        }
        let _held = locks.first().map(Lock::lock);
        ready.fetch_add(1);
        loop {
            std::thread::park();
        }
    };
    let child: Process = Process::spawn(hold, (segment.clone(), objects, ready.clone()))?;
    wait_for(|| ready.load() == 1);
    child.kill()?;
    let _ = child.join();
    let blocks = Blocks::of(&segment)?;
    let begun = Instant::now();
    let reaped = blocks.reap();
    let took = begun.elapsed().as_nanos() as f64 / 1e6;
    assert_eq!(reaped, 1, "somebody else was faster");
    Ok(took)
}
