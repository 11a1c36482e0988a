//! Lock, semaphore and counter: what is a word or two.

use std::fs::File;
use std::hint::black_box;
use std::io;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use memmap2::{MmapOptions, MmapRaw};
use mutirao::{Lock, Process, Semaphore, Value};

use crate::machine::{ns_each, pin, wait_for};

const TIMES: u64 = 2_000_000;
const ADDITIONS: u64 = 4_000_000;

pub fn lock() -> mutirao::Result<f64> {
    let lock = Lock::new()?;
    let mut count = 0u64;
    Ok(ns_each(TIMES, |_| {
        let held = lock.lock().expect("nobody else"); // as one writes it: the answer is opened at once
        *black_box(&mut count) += 1;
        drop(held);
    }))
}

pub fn parking_lot() -> f64 {
    let lock = parking_lot::Mutex::new(());
    let mut count = 0u64;
    ns_each(TIMES, |_| {
        let held = black_box(&lock).lock();
        *black_box(&mut count) += 1;
        drop(held);
    })
}

pub fn semaphore() -> mutirao::Result<f64> {
    let semaphore = Semaphore::new(1)?;
    let mut count = 0u64;
    Ok(ns_each(TIMES, |_| {
        let permit = semaphore.acquire().expect("nobody else");
        *black_box(&mut count) += 1;
        drop(permit);
    }))
}

pub fn sem_t() -> io::Result<f64> {
    let file = shared_page()?;
    let shared = MmapOptions::new().len(4096).map_raw(&file)?;
    let semaphore = shared.as_mut_ptr().cast::<libc::sem_t>();
    // SAFETY: the mapping is shared, large enough, aligned to a page and outlives every use below.
    if unsafe { libc::sem_init(semaphore, 1, 1) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let mut count = 0u64;
    Ok(ns_each(TIMES, |_| {
        // SAFETY: initialised above.
        unsafe { libc::sem_wait(semaphore) };
        *black_box(&mut count) += 1;
        // SAFETY: initialised above.
        unsafe { libc::sem_post(semaphore) };
    }))
}

/// Millions of additions a second by two processes together.
pub fn value() -> mutirao::Result<f64> {
    let (number, ready) = (Value::new(0u64)?, Value::new(0u64)?);
    let other = Process::spawn(add_to_value, (number.clone(), ready.clone()))?;
    let rate = race(
        || {
            ready.fetch_add(1);
        },
        || ready.load(),
        || {
            number.fetch_add(1);
        },
    );
    other.join()?;
    assert_eq!(number.load(), 2 * ADDITIONS);
    Ok(rate)
}

fn add_to_value((number, ready): (Value<u64>, Value<u64>)) {
    pin(1);
    race(
        || {
            ready.fetch_add(1);
        },
        || ready.load(),
        || {
            number.fetch_add(1);
        },
    );
}

/// The same with nothing between: an atomic in a mapping of the same file.
pub fn bare_atomic() -> Result<f64, Box<dyn std::error::Error>> {
    let file = shared_page()?;
    let path = format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd());
    let words = Words::map(&path)?;
    let other = Process::spawn(add_to_atomic, path)?;
    let rate = words.race();
    other.join()?;
    assert_eq!(words.at(0).load(Ordering::Relaxed), 2 * ADDITIONS);
    Ok(rate)
}

fn add_to_atomic(path: String) {
    pin(1);
    Words::map(&path).expect("the parent's file").race();
}

fn shared_page() -> io::Result<File> {
    let file = File::from(rustix::fs::memfd_create("bare", rustix::fs::MemfdFlags::CLOEXEC)?);
    file.set_len(4096)?;
    Ok(file)
}

struct Words(MmapRaw);

impl Words {
    fn map(path: &str) -> io::Result<Self> {
        let file = File::options().read(true).write(true).open(path)?;
        Ok(Self(MmapOptions::new().len(4096).map_raw(&file)?))
    }

    fn at(&self, line: usize) -> &AtomicU64 {
        assert!(line < 32);
        // SAFETY: within the page by the check, aligned, and every process uses it as an atomic only.
        unsafe { &*self.0.as_ptr().add(line * 128).cast::<AtomicU64>() }
    }

    fn race(&self) -> f64 {
        race(
            || {
                self.at(1).fetch_add(1, Ordering::AcqRel);
            },
            || self.at(1).load(Ordering::Acquire),
            || {
                black_box(self.at(0).fetch_add(1, Ordering::Relaxed));
            },
        )
    }
}

/// Both sides start together; each adds; the rate is that of both until the later one is through.
fn race(arrive: impl Fn(), arrived: impl Fn() -> u64, add: impl Fn()) -> f64 {
    arrive();
    wait_for(|| arrived() >= 2);
    let begun = Instant::now();
    for _ in 0..ADDITIONS {
        add();
    }
    arrive();
    wait_for(|| arrived() >= 4);
    2.0 * ADDITIONS as f64 / begun.elapsed().as_secs_f64() / 1e6
}
