//! The queue beside crossbeam's `ArrayQueue`: alone, as a stream, and there and back.

use std::hint::black_box;
use std::time::Instant;

use crossbeam_queue::ArrayQueue;
use mutirao::{Plain, Process, Queue, Value};

use crate::machine::{median, ns_each, pin, wait_for};

/// 64 bytes; the first word is the number of the item.
type Item = [u64; 8];

const CAPACITY: usize = 1024;
const TIMES: u64 = 1_000_000;
const STREAM: u64 = 3_000_000;
const TRIPS: u64 = 100_000;

/// Nanoseconds for a `send` and a `recv`.
pub fn one_thread() -> mutirao::Result<f64> {
    let queue = Queue::<Plain<Item>>::new(CAPACITY)?;
    Ok(ns_each(TIMES, |i| {
        queue.send(Plain(black_box([i; 8]))).expect("room");
        black_box(queue.recv().expect("an item"));
    }))
}

pub fn one_thread_array_queue() -> f64 {
    let queue = ArrayQueue::<Item>::new(CAPACITY);
    ns_each(TIMES, |i| {
        queue.push(black_box([i; 8])).expect("room");
        black_box(queue.pop().expect("an item"));
    })
}

/// Millions of items a second from one process to another, item by item; every byte is read, the order checked.
pub fn stream() -> mutirao::Result<f64> {
    let queue = Queue::<Plain<Item>>::new(CAPACITY)?;
    let ready = Value::new(0u64)?;
    let other = Process::spawn(receive_all, (queue.clone(), ready.clone()))?;
    wait_for(|| ready.load() == 1);
    let begun = Instant::now();
    for i in 0..STREAM {
        queue.send(Plain([i; 8]))?;
    }
    wait_for(|| ready.load() == 2);
    let rate = STREAM as f64 / begun.elapsed().as_secs_f64() / 1e6;
    other.join()?;
    Ok(rate)
}

fn receive_all((queue, ready): (Queue<Plain<Item>>, Value<u64>)) {
    pin(1);
    ready.fetch_add(1);
    for i in 0..STREAM {
        let Plain(item) = queue.recv().expect("an item");
        assert_eq!(item, [i; 8], "lost, torn or out of order");
    }
    ready.fetch_add(1);
}

pub fn stream_array_queue() -> f64 {
    let queue = ArrayQueue::<Item>::new(CAPACITY);
    std::thread::scope(|scope| {
        let other = scope.spawn(|| {
            pin(1);
            for i in 0..STREAM {
                assert_eq!(pop(&queue), [i; 8], "lost, torn or out of order");
            }
        });
        let begun = Instant::now();
        for i in 0..STREAM {
            push(&queue, [i; 8]);
        }
        other.join().expect("the other thread");
        STREAM as f64 / begun.elapsed().as_secs_f64() / 1e6
    })
}

/// Nanoseconds there and back.
pub struct Trip {
    pub mean: f64,
    pub p50: f64,
}

/// By plain `send` and `recv`; the other side answers at once.
pub fn round_trip() -> mutirao::Result<Trip> {
    let (there, back) = (Queue::<Plain<Item>>::new(CAPACITY)?, Queue::<Plain<Item>>::new(CAPACITY)?);
    let other = Process::spawn(answer, (there.clone(), back.clone()))?;
    let trip = trips(|item| {
        there.send(Plain(item)).expect("the other side lives");
        back.recv().expect("an answer").0
    });
    there.close();
    other.join()?;
    Ok(trip)
}

fn answer((there, back): (Queue<Plain<Item>>, Queue<Plain<Item>>)) {
    pin(1);
    while let Ok(item) = there.recv() {
        back.send(item).expect("the other side lives");
    }
}

pub fn round_trip_array_queue() -> Trip {
    let (there, back) = (ArrayQueue::<Item>::new(CAPACITY), ArrayQueue::<Item>::new(CAPACITY));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            pin(1);
            loop {
                let item = pop(&there);
                if item[0] == u64::MAX {
                    return;
                }
                push(&back, item);
            }
        });
        let trip = trips(|item| {
            push(&there, item);
            pop(&back)
        });
        push(&there, [u64::MAX; 8]);
        trip
    })
}

fn trips(go: impl Fn(Item) -> Item) -> Trip {
    for i in 0..TRIPS / 10 {
        go([i; 8]);
    }
    let mut each = Vec::with_capacity(TRIPS as usize);
    let begun = Instant::now();
    for i in 0..TRIPS {
        let left = Instant::now();
        let item = go([i; 8]);
        each.push(left.elapsed().as_nanos() as f64);
        assert_eq!(item, [i; 8], "another answer");
    }
    Trip { mean: begun.elapsed().as_nanos() as f64 / TRIPS as f64, p50: median(&mut each) }
}

fn push(queue: &ArrayQueue<Item>, mut item: Item) {
    while let Err(back) = queue.push(item) {
        item = back;
        std::hint::spin_loop();
    }
}

fn pop(queue: &ArrayQueue<Item>) -> Item {
    loop {
        if let Some(item) = queue.pop() {
            return item;
        }
        std::hint::spin_loop();
    }
}
