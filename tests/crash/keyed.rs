//! Dictionaries under many at once, some of whom are killed: of each key, what everybody saw must have an order.

use crate::linear::{Answer, Asked, Call, is_linear};
use crate::worker::Dice;
use mutirao::{Array, Dict, Plain, Process, Value};
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::sync::atomic::{Ordering, compiler_fence, fence};
use std::time::{Duration, Instant};

const SEATS: usize = 4;
const KEYS: u64 = 5;
/// The most calls of all who come to sit on one seat.
const CALLS: usize = 8000;
/// Words of a call in the book: key and kind, two arguments, begin, answer, end.
const WORDS: usize = 6;

/// A map from small numbers to numbers.
pub trait Keyed: Clone + Serialize + DeserializeOwned {
    fn ask(&self, key: u64, asked: Asked) -> Answer;
    fn len(&self) -> usize;
}

macro_rules! ask {
    ($map:expr, $key:expr, $asked:expr, $to:expr, $from:expr) => {{
        let (map, key, to, from) = ($map, $key, $to, $from);
        match $asked {
            Asked::Get => Answer::Value(map.get(&key).unwrap().map(from)),
            Asked::Insert(new) => Answer::Value(map.insert(&key, &to(new)).unwrap().map(from)),
            Asked::Remove => Answer::Value(map.remove(&key).unwrap().map(from)),
            Asked::Set(new) => Answer::Done(map.set(&key, &to(new)).unwrap()),
            Asked::InsertNew(new) => Answer::Done(map.insert_new(&key, &to(new)).unwrap()),
            Asked::Exchange(old, new) => {
                Answer::Done(map.compare_exchange(&key, Some(&to(old)), Some(&to(new))).unwrap())
            }
            Asked::Add(n) => {
                let sum = map.update(&key, |old| to(old.map_or(0, from).wrapping_add(n))).unwrap();
                Answer::Value(Some(from(sum)))
            }
        }
    }};
}

impl Keyed for Dict<u64, u64> {
    fn ask(&self, key: u64, asked: Asked) -> Answer {
        let same = |number: u64| number;
        ask!(self, key, asked, same, same)
    }

    fn len(&self) -> usize {
        Dict::len(self)
    }
}

/// A value that tells its number, and whether it is whole.
fn long(number: u64) -> Vec<u64> {
    vec![number; 1 + (number % 61) as usize]
}

fn number(value: Vec<u64>) -> u64 {
    assert!(value == long(value[0]), "torn: {value:?}");
    value[0]
}

impl Keyed for Dict<String, Vec<u64>> {
    fn ask(&self, key: u64, asked: Asked) -> Answer {
        ask!(self, format!("key {key}"), asked, long, number)
    }

    fn len(&self) -> usize {
        Dict::len(self)
    }
}

/// What is plain data on both sides is replaced in a way of its own.
type Plains = Dict<Plain<[u64; 2]>, Plain<[u64; 40]>>;

fn plain_number(Plain(value): Plain<[u64; 40]>) -> u64 {
    assert!(value == [value[0]; 40], "torn: {value:?}");
    value[0]
}

impl Keyed for Plains {
    fn ask(&self, key: u64, asked: Asked) -> Answer {
        ask!(self, Plain([key; 2]), asked, |number| Plain([number; 40]), plain_number)
    }

    fn len(&self) -> usize {
        Dict::len(self)
    }
}

#[derive(Clone, Serialize, Deserialize)]
struct Stage<D> {
    map: D,
    stop: Value<u32>,
    /// What was called from each seat, and how far it came. In shared memory: it outlives its writer, and writing costs
    /// little beside the calls.
    books: Vec<(Array<u64>, Value<u64>)>,
}

/// Reads the clock that all processes share.
fn now() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// `None` is 0.
fn pack(value: Option<u64>) -> u64 {
    value.map_or(0, |value| value + 1)
}

fn work<D: Keyed>((stage, seat, seed): (Stage<D>, u64, u64)) {
    let (book, used) = &stage.books[seat as usize];
    let mut dice = Dice::new(seed);
    while stage.stop.load() == 0 && used.load() < CALLS as u64 {
        let at = used.load() as usize;
        let key = dice.below(KEYS);
        // A number of its own for each value, so that it is known whose it is.
        let new = (seat << 32) | (at as u64 + 1);
        let mut recent = || (dice.below(SEATS as u64) << 32) | (at as u64 + 2).saturating_sub(dice.below(6));
        let (kind, one, two, asked) = match new * 31 % 16 {
            0..4 => (0, 0, 0, Asked::Get),
            4..6 => (1, new, 0, Asked::Insert(new)),
            6..8 => (6, new, 0, Asked::Set(new)),
            8..10 => (2, 0, 0, Asked::Remove),
            10..12 => (3, new, 0, Asked::InsertNew(new)),
            12..14 => {
                let old = recent();
                (4, old, new, Asked::Exchange(old, new))
            }
            _ => (5, 1 << 48, 0, Asked::Add(1 << 48)),
        };
        let write = |word: usize, what: u64| {
            book.set(WORDS * at + word, what).unwrap();
            // Whoever reads this after a death sees the words before it.
            compiler_fence(Ordering::Release);
        };
        write(0, key << 8 | kind);
        write(1, one);
        write(2, two);
        write(3, now());
        used.store(at as u64 + 1).unwrap();
        let answer = stage.map.ask(key, asked);
        write(
            4,
            match answer {
                Answer::Value(value) => pack(value),
                Answer::Done(done) => done.into(),
            },
        );
        // It ends when what it stored is seen by the others, and not in the processor's own buffer: the clock does not wait for that.
        fence(Ordering::SeqCst);
        write(5, now());
    }
}

/// All calls from a seat, with their keys.
fn read(book: &Array<u64>, used: &Value<u64>) -> Vec<(u64, Call)> {
    let all: Vec<u64> = book.view(..WORDS * used.load() as usize).unwrap().iter().collect();
    let call = |words: &[u64]| {
        let &[what, one, two, begin, answer, end] = words else { unreachable!("{WORDS} words") };
        let asked = match what & 0xff {
            0 => Asked::Get,
            1 => Asked::Insert(one),
            2 => Asked::Remove,
            3 => Asked::InsertNew(one),
            4 => Asked::Exchange(one, two),
            5 => Asked::Add(one),
            _ => Asked::Set(one),
        };
        let answer = match asked {
            Asked::Set(_) | Asked::InsertNew(_) | Asked::Exchange(..) => Answer::Done(answer == 1),
            _ => Answer::Value(answer.checked_sub(1)),
        };
        (what >> 8, Call { begin, end: (end != 0).then_some((end, answer)), asked })
    };
    all.chunks_exact(WORDS).map(call).collect()
}

/// Again and again with a new dictionary: its first calls are over before anybody was killed many times.
fn hold_against_an_order<D: Keyed>(make: fn() -> D) {
    let seed = crate::from_environment("MUTIRAO_CRASH_SEED", u64::from(std::process::id()));
    let seconds = crate::from_environment("MUTIRAO_CRASH_SECONDS", 2).min(60);
    println!("seed {seed}, {seconds} s");
    let mut dice = Dice::new(seed);
    let begun = Instant::now();
    let (mut rounds, mut kills, mut calls) = (0_u64, 0, 0);
    while rounds == 0 || begun.elapsed() < Duration::from_secs(seconds) {
        let (killed, called) = round(make(), &mut dice, seed);
        (rounds, kills, calls) = (rounds + 1, kills + killed, calls + called);
    }
    println!("{kills} kills in {calls} calls, {rounds} dictionaries");
}

/// How many were killed, and what they called.
fn round<D: Keyed>(map: D, dice: &mut Dice, seed: u64) -> (u64, usize) {
    let books = (0..SEATS).map(|_| (Array::new(CALLS * WORDS).unwrap(), Value::new(0).unwrap())).collect();
    let stage = Stage { map, stop: Value::new(0).unwrap(), books };
    let hire = |seat: usize, seed| Process::spawn(work, (stage.clone(), seat as u64, seed)).unwrap();
    let mut workers: Vec<_> = (0..SEATS).map(|seat| hire(seat, dice.below(u64::MAX))).collect();
    let mut kills = 0;
    let is_full = || stage.books.iter().all(|(_, used)| used.load() == CALLS as u64);
    while !is_full() {
        std::thread::sleep(Duration::from_micros(dice.below(1000)));
        let unlucky = dice.below(SEATS as u64) as usize;
        let dead = workers.remove(unlucky);
        if dead.is_alive() {
            dead.kill().unwrap();
        }
        if let Err(error) = dead.join() {
            assert!(error.to_string().contains("signal 9"), "{error}");
            kills += 1;
        }
        workers.insert(unlucky, hire(unlucky, dice.below(u64::MAX)));
    }
    stage.stop.store(1).unwrap();
    workers.into_iter().for_each(|worker| worker.join().unwrap());
    let calls: Vec<_> = stage.books.iter().map(|(book, used)| read(book, used)).collect();
    let mut there = 0;
    for key in 0..KEYS {
        let of_key = |calls: &Vec<(u64, Call)>| calls.iter().filter(|call| call.0 == key).map(|call| call.1).collect();
        let mut callers: Vec<Vec<Call>> = calls.iter().map(of_key).collect();
        // What is there in the end is part of it.
        let begin = now();
        let answer = stage.map.ask(key, Asked::Get);
        there += usize::from(answer != Answer::Value(None));
        callers.push(vec![Call { begin, end: Some((now(), answer)), asked: Asked::Get }]);
        is_linear(&callers).unwrap_or_else(|why| panic!("key {key} (seed {seed}): {why}"));
    }
    assert_eq!(stage.map.len(), there);
    (kills, calls.iter().map(Vec::len).sum())
}

#[test]
fn words_of_a_dictionary_have_an_order() {
    hold_against_an_order(|| Dict::<u64, u64>::new().unwrap());
}

#[test]
fn records_of_a_dictionary_have_an_order() {
    hold_against_an_order(|| Dict::<String, Vec<u64>>::new().unwrap());
}

#[test]
fn plain_data_of_a_dictionary_has_an_order() {
    hold_against_an_order(|| Plains::new().unwrap());
}
