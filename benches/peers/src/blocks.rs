//! Blocks of an arena beside the system's allocator: alone, while a second process does the same, and one after the
//! other until there are many.

use std::hint::black_box;
use std::sync::atomic::Ordering;

use mutirao::bench::Blocks;
use mutirao::{Process, Segment, Value};

use crate::machine::{ns_each, pin, wait_for};

const TIMES: u64 = 2_000_000;

/// Malloc and free of so many bytes, the first word written.
fn malloc_and_free(bytes: u64, i: u64) {
    // SAFETY: at least 8 bytes, aligned for them, given back once.
    unsafe {
        let at = libc::malloc(black_box(bytes as usize)).cast::<u64>();
        assert!(!at.is_null());
        at.write_volatile(i);
        libc::free(black_box(at).cast());
    }
}

/// The same with a block of ours, which is published meanwhile, as in a structure.
fn put_and_free(blocks: &Blocks, bytes: u64, i: u64) {
    let put = blocks.put(
        black_box(bytes),
        i,
        |words| words[0].store(i, Ordering::Relaxed),
        |stored| {
            black_box(stored);
        },
    );
    assert!(blocks.free(put.expect("memory")));
}

/// A block of ours that is in hand and no more.
fn touch(blocks: &Blocks, bytes: u64) {
    black_box(blocks.touch(black_box(bytes)).expect("memory"));
}

/// What is measured.
#[derive(Clone, Copy, serde::Serialize, serde::Deserialize)]
pub enum What {
    Malloc,
    Touch,
    Put,
}

fn each(what: What, blocks: Option<&Blocks>, bytes: u64) -> f64 {
    match (what, blocks) {
        (What::Touch, Some(blocks)) => ns_each(TIMES, |_| touch(blocks, bytes)),
        (What::Put, Some(blocks)) => ns_each(TIMES, |i| put_and_free(blocks, bytes, i)),
        _ => ns_each(TIMES, |i| malloc_and_free(bytes, i)),
    }
}

/// Nanoseconds for a block of so many bytes, there and gone.
pub fn alone(what: What, bytes: u64) -> Result<f64, Box<dyn std::error::Error>> {
    let segment = Segment::anonymous(16 << 20)?;
    Ok(each(what, Some(&Blocks::of(&segment)?), bytes))
}

/// The same while another process does it too, in the same segment.
pub fn in_two(what: What, bytes: u64) -> Result<f64, Box<dyn std::error::Error>> {
    let (segment, steps) = (Segment::anonymous(16 << 20)?, Value::new(0_u64)?);
    let work = |(what, bytes, segment, steps): (What, u64, Segment, Value<u64>)| {
        pin(1);
        let blocks = Blocks::of(&segment).expect("an arena");
        steps.fetch_add(1);
        while steps.load() == 1 {
            for i in 0..1000 {
                match what {
                    What::Malloc => malloc_and_free(bytes, i),
                    What::Touch => touch(&blocks, bytes),
                    What::Put => put_and_free(&blocks, bytes, i),
                }
            }
        }
    };
    let other = Process::spawn(work, (what, bytes, segment.clone(), steps.clone()))?;
    wait_for(|| steps.load() == 1);
    let took = each(what, Some(&Blocks::of(&segment)?), bytes);
    steps.fetch_add(1);
    other.join()?;
    Ok(took)
}

/// Blocks of a fill.
const MANY: u64 = 500_000;
/// Bytes of each.
const BYTES: u64 = 288;

/// Time of this thread, without what others took from it.
fn thread_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// Puts many blocks into memory that nobody touched before. `each` sees every one's index.
fn fill(mut each: impl FnMut(&Blocks, u64)) -> Result<(), Box<dyn std::error::Error>> {
    let segment = Segment::anonymous(MANY * 320)?;
    let blocks = Blocks::of(&segment)?;
    for i in 0..MANY {
        each(&blocks, i);
    }
    Ok(())
}

fn put(blocks: &Blocks, i: u64) {
    let write =
        |words: &[_]| words.iter().for_each(|word: &std::sync::atomic::AtomicU64| word.store(i, Ordering::Relaxed));
    black_box(
        blocks
            .put(black_box(BYTES), i, write, |stored| {
                black_box(stored);
            })
            .expect("memory"),
    );
}

/// Nanoseconds for each block that is allocated, written and kept, from cold.
pub fn filled() -> Result<f64, Box<dyn std::error::Error>> {
    let begun = std::time::Instant::now();
    let mut last = begun;
    fill(|blocks, i| {
        put(blocks, i);
        if i + 1 == MANY {
            last = std::time::Instant::now();
        }
    })?;
    Ok((last - begun).as_nanos() as f64 / MANY as f64)
}

/// Microseconds of the processor that the longest of these takes.
pub fn longest_of_fill() -> Result<f64, Box<dyn std::error::Error>> {
    let mut longest = 0;
    fill(|blocks, i| {
        let begun = thread_ns();
        put(blocks, i);
        longest = longest.max(thread_ns() - begun);
    })?;
    Ok(longest as f64 / 1e3)
}

/// As [`filled`], with malloc.
pub fn filled_malloc() -> Result<f64, Box<dyn std::error::Error>> {
    let mut all = Vec::with_capacity(MANY as usize);
    let begun = std::time::Instant::now();
    for i in 0..MANY {
        // SAFETY: so many bytes, all written, given back once.
        unsafe {
            let at = libc::malloc(black_box(BYTES as usize));
            assert!(!at.is_null());
            at.cast::<u8>().write_bytes(i as u8, BYTES as usize);
            all.push(black_box(at));
        }
    }
    let took = begun.elapsed().as_nanos() as f64 / MANY as f64;
    for at in all {
        // SAFETY: from malloc.
        unsafe { libc::free(at) };
    }
    // SAFETY: gives free memory back, so that the next round begins cold.
    unsafe { libc::malloc_trim(0) };
    Ok(took)
}

/// Nanoseconds for another block instead of one of many, chosen at random.
pub fn replaced() -> Result<f64, Box<dyn std::error::Error>> {
    let segment = Segment::anonymous(MANY * 400)?;
    let blocks = Blocks::of(&segment)?;
    let put = |i: u64| {
        let write = |words: &[std::sync::atomic::AtomicU64]| words[0].store(i, Ordering::Relaxed);
        blocks.put(black_box(BYTES), i, write, |stored| {
            black_box(stored);
        })
    };
    let mut all = (0..MANY).map(put).collect::<Result<Vec<_>, _>>()?;
    Ok(ns_each(TIMES, |i| {
        let at = &mut all[random(i) as usize];
        let old = std::mem::replace(at, put(i).expect("memory"));
        assert!(blocks.recycle(old));
    }))
}

/// One of many.
fn random(i: u64) -> u64 {
    let mixed = i.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    ((mixed ^ mixed >> 32).wrapping_mul(0xd6e8_feb8_6659_fd93) >> 32) % MANY
}

/// As [`replaced`], with malloc.
pub fn replaced_malloc() -> Result<f64, Box<dyn std::error::Error>> {
    let put = |i: u64| {
        // SAFETY: at least 8 bytes, aligned for them.
        unsafe {
            let at = libc::malloc(black_box(BYTES as usize)).cast::<u64>();
            assert!(!at.is_null());
            at.write_volatile(i);
            at
        }
    };
    let mut all: Vec<_> = (0..MANY).map(put).collect();
    let took = ns_each(TIMES, |i| {
        let at = &mut all[random(i) as usize];
        // SAFETY: from malloc, given back once.
        unsafe { libc::free(std::mem::replace(at, put(i)).cast()) };
    });
    for at in all {
        // SAFETY: from malloc, given back once.
        unsafe { libc::free(at.cast()) };
    }
    // SAFETY: gives free memory back, so that the next round begins cold.
    unsafe { libc::malloc_trim(0) };
    Ok(took)
}
