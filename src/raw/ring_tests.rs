//! The ring in real builds: threads, and words that a broken peer wrote.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::time::Duration;

use crate::deadline::Deadline;
use crate::participant::{Liveness, ParticipantId};
use crate::raw::ring::{Refusal, Ring, RingHeader};
use crate::raw::ring_aside::Nothing;
use crate::raw::ring_word::{CellWord, EndWord, Geometry, Phase};
use crate::sync::{AtomicU64, Ordering::Relaxed, Patience};
use crate::sys::clock;

/// A participant; those from 100 on are dead.
struct Life(u32);

impl Liveness for Life {
    fn me(&self) -> ParticipantId {
        ParticipantId::new(self.0).unwrap()
    }
    fn is_dead(&self, id: ParticipantId) -> bool {
        id != self.me() && id.get() >= 100
    }
}

struct Memory {
    header: RingHeader,
    cells: Vec<AtomicU64>,
    payload: Vec<AtomicU64>,
}

impl Memory {
    fn new(capacity: u32) -> Self {
        let zeros = || (0..capacity).map(|_| AtomicU64::new(0)).collect();
        Self { header: RingHeader::new(), cells: zeros(), payload: zeros() }
    }
    fn ring(&self) -> Ring<'_, &[AtomicU64]> {
        Ring::new(&self.header, &self.cells, Geometry::new(self.cells.len() as u32).unwrap())
    }
    fn push(&self, life: &Life, value: u64) {
        let ticket = self.ring().push(life, &mut Patience::new(Deadline::NEVER)).unwrap();
        self.payload[ticket.index as usize].store(value, Relaxed);
        self.ring().publish(life, ticket);
    }
    fn pop(&self, life: &Life) -> Result<u64, Refusal> {
        let ticket = self.ring().pop(life, &mut Patience::new(Deadline::NEVER))?;
        let value = self.payload[ticket.index as usize].load(Relaxed);
        self.ring().free(life, ticket);
        Ok(value)
    }
}

#[test]
fn every_item_arrives_once_and_in_the_order_of_its_producer() {
    const EACH: u64 = 20_000;
    for capacity in [1, 2, 3, 5, 64, 100] {
        let memory = Memory::new(capacity);
        let got = Mutex::new(BTreeSet::new());
        std::thread::scope(|s| {
            let producers: Vec<_> = (1..=2u32)
                .map(|p| {
                    let memory = &memory;
                    s.spawn(move || (0..EACH).for_each(|i| memory.push(&Life(p), u64::from(p) << 32 | i)))
                })
                .collect();
            for c in 3..=4 {
                let (memory, got) = (&memory, &got);
                s.spawn(move || {
                    let (mut mine, mut last) = (Vec::new(), [None; 3]);
                    while let Ok(value) = memory.pop(&Life(c)) {
                        let producer = (value >> 32) as usize;
                        assert!(last[producer] < Some(value), "out of order");
                        last[producer] = Some(value);
                        mine.push(value);
                    }
                    let mut got = got.lock().unwrap();
                    mine.into_iter().for_each(|v| assert!(got.insert(v), "twice"));
                });
            }
            producers.into_iter().for_each(|p| p.join().unwrap());
            memory.ring().close();
        });
        assert_eq!(got.lock().unwrap().len() as u64, 2 * EACH);
        assert!(memory.ring().is_idle() && memory.ring().is_empty());
    }
}

#[test]
fn a_capacity_is_exactly_what_was_asked_for() {
    for capacity in [1, 2, 3, 4, 5, 7, 1000] {
        let memory = Memory::new(capacity);
        for _ in 0..3 {
            for i in 0..capacity {
                assert_eq!(memory.ring().len(), i);
                memory.push(&Life(1), i.into());
            }
            assert_eq!(memory.ring().try_push(&Life(1)), Err(Refusal::Full));
            for i in 0..capacity {
                assert_eq!(memory.pop(&Life(1)), Ok(i.into()));
            }
            assert_eq!(memory.ring().pop_now(&Life(1)), Err(Refusal::Empty));
        }
    }
}

#[test]
fn a_call_that_waits_ends_at_its_deadline() {
    let memory = Memory::new(2);
    let soon = || Patience::new(Deadline::after(clock::now_ns(), Duration::from_millis(5)));
    assert_eq!(memory.ring().pop(&Life(1), &mut soon()), Err(Refusal::TimedOut));
    assert_eq!(memory.ring().pop_unless(&Life(1), &mut soon(), &Nothing, || true), Err(Refusal::Disconnected));
    memory.push(&Life(1), 1);
    memory.push(&Life(1), 2);
    assert_eq!(memory.ring().push(&Life(1), &mut soon()), Err(Refusal::TimedOut));
    assert_eq!(memory.ring().push_unless(&Life(1), &mut soon(), || true), Err(Refusal::Disconnected));
}

#[test]
fn a_call_finds_what_the_dead_hold_before_it_gives_up() {
    let memory = Memory::new(3);
    let (me, dead) = (Life(1), Life(100));
    memory.push(&me, 7);
    memory.push(&me, 8);
    memory.ring().try_pop(&dead, false).unwrap();
    memory.ring().try_push(&dead).unwrap();
    let now = || Patience::new(Deadline::NOW);
    assert_eq!(memory.ring().pop(&me, &mut now()).map(|t| t.index), Ok(1));
    assert_eq!(memory.ring().pop(&me, &mut now()).map(|t| t.index), Ok(0));
    assert_eq!(memory.ring().pop(&me, &mut now()), Err(Refusal::TimedOut));
}

#[test]
fn what_was_given_back_comes_first_and_what_was_given_up_not_at_all() {
    let memory = Memory::new(3);
    let (me, ring) = (Life(1), memory.ring());
    let void = ring.try_push(&me).unwrap();
    memory.push(&me, 7);
    memory.push(&me, 8);
    ring.give_up(&me, void);
    let seven = ring.try_pop(&me, false).unwrap();
    assert_eq!(seven.index, 1);
    ring.give_back(&me, seven);
    assert!(!ring.is_idle());
    assert_eq!(memory.pop(&me), Ok(7));
    assert_eq!(memory.pop(&me), Ok(8));
    assert!(ring.is_idle());
}

#[test]
fn recovery_leaves_no_name_of_the_dead() {
    for capacity in 1..=5 {
        // Which of them have published or freed by the time they die.
        for settled in 0..1 << 4 {
            let memory = Memory::new(capacity);
            let (me, ring) = (Life(1), memory.ring());
            let mut pushed = 0;
            for i in 0..2 {
                if let Ok(t) = ring.try_push(&Life(100 + i))
                    && settled >> i & 1 == 1
                {
                    ring.publish(&me, t);
                    pushed += 1;
                }
            }
            for i in 0..2 {
                if let Ok(t) = ring.try_pop(&Life(102 + i), false)
                    && settled >> (2 + i) & 1 == 1
                {
                    ring.free(&me, t);
                    pushed -= 1;
                }
            }
            ring.recover(&me);
            assert_eq!(ring.recover(&me), 0);
            let words = memory.cells.iter().chain([&memory.header.head.end, &memory.header.tail.0]);
            words.for_each(|w| assert!((w.load(Relaxed) & 0x7f_ffff) < 100, "{ring:?}"));
            for _ in 0..pushed {
                ring.free(&me, ring.pop_now(&me).unwrap());
            }
            assert_eq!(ring.pop_now(&me), Err(Refusal::Empty));
            assert!(ring.is_idle());
            (0..capacity).for_each(|_| ring.publish(&me, ring.try_push(&me).unwrap()));
            assert_eq!(ring.try_push(&me), Err(Refusal::Full));
        }
    }
}

#[test]
fn any_words_are_at_worst_reported_as_corrupt() {
    let seed = 0x9e37_79b9_7f4a_7c15_u64;
    println!("seed {seed:#x}");
    let mut state = seed;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    for round in 0..200_000 {
        let memory = Memory::new(1 + (random() % 6) as u32);
        let (me, ring) = (Life(1), memory.ring());
        // Anything at all, or something that nearly makes sense.
        let mut word = |of: fn(u64, u64) -> u64| {
            let (r, s) = (random(), random());
            if round % 2 == 0 { r } else { of(r % 4, s % 8) }
        };
        let end = |r, s| EndWord::new(r, [0, 1, 2, 100, 101, 0, 1, 100][s as usize]).0;
        let cell = |r, s| {
            let phase = [Phase::Empty, Phase::Writing, Phase::Full, Phase::Reading][s as usize % 4];
            CellWord::new(r, phase, [0, 100][s as usize / 4]).0
        };
        memory.header.head.end.store(word(end), Relaxed);
        memory.header.tail.0.store(word(end), Relaxed);
        memory.header.head.astray.store(word(end) as u32, Relaxed);
        memory.cells.iter().for_each(|c| c.store(word(cell), Relaxed));
        let mut now = Patience::new(Deadline::NOW);
        let in_bounds =
            |got: Result<crate::raw::ring_word::Ticket, Refusal>| got.inspect(|t| assert!(t.index < ring.capacity()));
        let pushed = in_bounds(ring.push(&me, &mut now));
        let popped = in_bounds(ring.pop(&me, &mut now));
        let _ = in_bounds(ring.try_pop(&me, true));
        pushed.into_iter().for_each(|t| ring.publish(&me, t));
        popped.into_iter().for_each(|t| ring.give_back(&me, t));
        ring.recover(&me);
        let _ = (ring.len() <= ring.capacity(), ring.is_idle(), in_bounds(ring.pop_now(&me)));
    }
}
