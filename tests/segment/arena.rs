//! Blocks between processes, some of whom are killed in the middle: nothing is lost, nothing belongs to two, and in the
//! end all memory is one piece again.
//!
//! A few seconds in `cargo test`; `MUTIRAO_CRASH_SECONDS=600 cargo test --release --test segment arena` for long.

use crate::stage::Watchdog;
use mutirao::bench::{Blocks, Stored};
use mutirao::{Process, Segment};
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use std::time::{Duration, Instant};

const SLOTS: u64 = 512;
const SIZE: u64 = 16 << 20;

/// A slot is four words: state, then the reference to its block, then a sum of what is in the block.
const EMPTY: u64 = 0;
const FULL: u64 = 1;
const FILLING: u64 = 2;
const TAKING: u64 = 3;

struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % n
    }

    /// Mostly small, sometimes a run of its own.
    fn bytes(&mut self) -> u64 {
        match self.below(40) {
            0 => self.below(120_000),
            1..=6 => self.below(9000),
            _ => self.below(700),
        }
    }
}

/// One turn at a slot: fills an empty one, empties a full one.
fn turn(blocks: &Blocks, table: Stored, dice: &mut Dice) {
    let index = dice.below(SLOTS);
    let slots = blocks.words(table).unwrap();
    let [state, unit, generation, sum] = [0, 1, 2, 3].map(|i| &slots[(4 * index + i) as usize]);
    if dice.below(4) == 0 {
        let tried = blocks.touch(dice.bytes());
        assert!(tried.is_ok() || tried.is_err_and(|e| e.is_out_of_memory()));
    } else if state.compare_exchange(EMPTY, FILLING, AcqRel, Relaxed).is_ok() {
        let (bytes, seed) = (dice.bytes(), dice.below(1 << 30));
        let fill = |words: &[_]| write(words, seed);
        let place = blocks.place(table, 4 * index + 1).unwrap();
        let put = blocks.put(bytes, place, fill, |(at, which)| {
            unit.store(at, Relaxed);
            generation.store(which, Relaxed);
            sum.store(seed, Relaxed);
            state.store(FULL, Release);
        });
        if let Err(error) = put {
            assert!(error.is_out_of_memory(), "{error}");
            state.store(EMPTY, Release);
        }
    } else if state.compare_exchange(FULL, TAKING, AcqRel, Relaxed).is_ok() {
        let block = (unit.load(Relaxed), generation.load(Relaxed));
        check(blocks.words(block).expect("what stands in a slot is there"), sum.load(Relaxed));
        assert!(blocks.free(block), "freed by another");
        state.store(EMPTY, Release);
    }
}

fn write(words: &[std::sync::atomic::AtomicU64], seed: u64) {
    for (i, word) in (0..).zip(words) {
        word.store(seed.wrapping_mul(i | 1), Relaxed);
    }
}

fn check(words: &[std::sync::atomic::AtomicU64], seed: u64) {
    for (i, word) in (0..).zip(words) {
        assert_eq!(word.load(Relaxed), seed.wrapping_mul(i | 1), "somebody else wrote here");
    }
}

/// A process of two threads, until it is killed, or told to stop by the word behind the slots.
fn role_takes_turns((segment, table, seed): (Segment, Stored, u64)) {
    let blocks = Blocks::of(&segment).unwrap();
    std::thread::scope(|scope| {
        for thread in 1..3 {
            let blocks = &blocks;
            scope.spawn(move || {
                let mut dice = Dice((seed * 8 + thread).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
                while blocks.words(table).unwrap()[4 * SLOTS as usize].load(Acquire) == 0 {
                    (0..50).for_each(|_| turn(blocks, table, &mut dice));
                }
            });
        }
    });
}

/// Frees what stands in slots, also half filled and half emptied ones, and the table.
fn clear(blocks: &Blocks, table: Stored) {
    for slot in blocks.words(table).unwrap()[..4 * SLOTS as usize].chunks(4) {
        let freed = blocks.free((slot[1].load(Relaxed), slot[2].load(Relaxed)));
        assert!(freed || slot[0].load(Acquire) != FULL, "lost");
    }
    assert!(blocks.free(table));
}

fn one_piece(blocks: &Blocks) {
    let [used, free, committed, _] = blocks.figures();
    assert_eq!((used, blocks.reap()), (0, 0), "{free} of {committed} are free");
    blocks.touch(SIZE - 128).expect("all of it in one piece");
}

#[test]
fn any_number_of_kills_loses_no_block() {
    let seconds = std::env::var("MUTIRAO_CRASH_SECONDS").ok().and_then(|s| s.parse().ok()).unwrap_or(3);
    let seed = u64::from(std::process::id());
    println!("seed {seed}");
    let segment = Segment::anonymous(SIZE).unwrap();
    let watched = segment.clone();
    let _watchdog =
        (seconds < 30).then(|| Watchdog::with_report("any_number_of_kills", move || watched.inspect().to_string()));
    let blocks = Blocks::of(&segment).unwrap();
    let table = blocks
        .put(8 * (4 * SLOTS + 1), u64::MAX, |words| words.iter().for_each(|w| w.store(0, Relaxed)), |_| ())
        .unwrap();
    let mut hired = 0;
    let mut hire = || {
        hired += 1;
        Process::spawn(role_takes_turns, (segment.clone(), table, seed * 1000 + hired)).unwrap()
    };
    let mut workers: Vec<_> = (0..3).map(|_| hire()).collect();
    let (begun, mut dice, mut kills) = (Instant::now(), Dice(seed | 1), 0);
    while begun.elapsed() < Duration::from_secs(seconds) {
        std::thread::sleep(Duration::from_micros(dice.below(12_000)));
        let victim = std::mem::replace(&mut workers[dice.below(3) as usize], hire());
        let _ = victim.kill();
        let end = victim.join().unwrap_err().to_string();
        assert!(end.contains("signal 9"), "{end}");
        kills += 1;
    }
    blocks.words(table).unwrap()[4 * SLOTS as usize].store(1, Release);
    workers.into_iter().for_each(|worker| worker.join().unwrap());
    println!("{kills} kills, {:?}", blocks.figures());
    while blocks.reap() > 0 {}
    clear(&blocks, table);
    one_piece(&blocks);
}

/// The same among threads of one process, by number of turns, and what it reserves stays within what it uses.
#[test]
fn a_long_run_reserves_no_more_than_it_uses() {
    let segment = Segment::anonymous(1 << 30).unwrap();
    let blocks = Blocks::of(&segment).unwrap();
    let table = blocks
        .put(8 * (4 * SLOTS + 1), u64::MAX, |words| words.iter().for_each(|w| w.store(0, Relaxed)), |_| ())
        .unwrap();
    let mut reserved = Vec::new();
    for round in 0..8 {
        std::thread::scope(|scope| {
            for thread in 1..4 {
                let blocks = &blocks;
                scope.spawn(move || {
                    let mut dice = Dice(((round * 8 + thread) as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
                    (0..6_000).for_each(|_| turn(blocks, table, &mut dice));
                });
            }
        });
        reserved.push(blocks.figures()[2]);
    }
    println!("reserved after each round: {reserved:?}, in the end {:?}", blocks.figures());
    // In how many rounds the largest blocks meet is chance: in one of four they do.
    assert!(reserved[7] <= 2 * reserved[3], "{reserved:?}");
    clear(&blocks, table);
    assert_eq!(blocks.figures()[0], 0);
}
