//! What each primitive costs when nobody else wants it: no system call, a few atomic instructions.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use mutirao::{Array, Lock, Mutex, Plain, Queue, RwLock, Semaphore, Value};

fn words(c: &mut Criterion) {
    let lock = Lock::new().expect("a segment");
    c.bench_function("lock: lock and unlock", |b| b.iter(|| drop(black_box(lock.lock()))));
    let mutex = Mutex::new(0u64).expect("a segment");
    c.bench_function("mutex: lock, add, unlock", |b| b.iter(|| *mutex.lock().expect("free") += 1));
    let rw_lock = RwLock::new(0u64).expect("a segment");
    c.bench_function("rw_lock: read lock, load, unlock", |b| b.iter(|| *rw_lock.read().expect("free")));
    c.bench_function("rw_lock: write lock, add, unlock", |b| b.iter(|| *rw_lock.write().expect("free") += 1));
    let ranges = Array::<u64>::new(1024).expect("a segment");
    c.bench_function("array: read a range and give it back", |b| b.iter(|| drop(black_box(ranges.read(3..9)))));
    c.bench_function("array: write a range and give it back", |b| b.iter(|| drop(black_box(ranges.write(3..9)))));
    let semaphore = Semaphore::new(1).expect("a segment");
    c.bench_function("semaphore: acquire and release", |b| b.iter(|| drop(black_box(semaphore.acquire()))));
}

fn values(c: &mut Criterion) {
    let number = Value::new(0u64).expect("a segment");
    c.bench_function("value u64: fetch_add", |b| b.iter(|| number.fetch_add(1)));
    let large = Value::new([0u64; 8]).expect("a segment");
    c.bench_function("value of 64 bytes: load", |b| b.iter(|| large.load()));
    c.bench_function("value of 64 bytes: store", |b| b.iter(|| large.store(black_box([1; 8]))));
    let array = Array::<u64>::new(1024).expect("a segment");
    c.bench_function("array u64: get", |b| b.iter(|| array.get(black_box(7))));
    c.bench_function("array u64: fetch_add", |b| b.iter(|| array.fetch_add(black_box(7), 1)));
}

fn queues(c: &mut Criterion) {
    let plain = Queue::<Plain<[u64; 8]>>::new(1024).expect("a segment");
    c.bench_function("queue of 64 plain bytes: send and recv", |b| {
        b.iter(|| {
            plain.send(Plain(black_box([1; 8]))).expect("room");
            plain.recv().expect("an item")
        })
    });
    let text = Queue::<String>::new(1024).expect("a segment");
    c.bench_function("queue of strings: send and recv", |b| {
        b.iter(|| {
            text.send(black_box("a short line").to_owned()).expect("room");
            text.recv().expect("an item")
        })
    });
}

criterion_group!(benches, words, values, queues);
criterion_main!(benches);
