//! Ranges exclude where they overlap, and no damage is forgotten.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use mutirao::deadline::Deadline;
use mutirao::model::{Kernel, Life, Payload, thread};
use mutirao::raw::lock::Refused;
use mutirao::raw::range_entry::{Access, Access::Read, Access::Write, RangeEntry};
use mutirao::raw::ranges::{NotHeld, RangesHeader, RawRanges};
use mutirao::sync::{AtomicU32, Ordering::Relaxed, Patience};

use crate::support::{Fate, LIVES, MORE, every_step, every_step_reordered, outcomes};

/// A table, and two places that its ranges stand for: in each a payload, and two words that a writer moves together.
struct Guarded {
    header: RangesHeader,
    entries: Vec<RangeEntry>,
    payloads: [Payload; 2],
    words: [AtomicU32; 2],
}

impl Guarded {
    fn new(entries: usize) -> (Arc<Self>, Arc<Kernel>) {
        let guarded = Self {
            header: RangesHeader::new(),
            entries: (0..entries).map(|_| RangeEntry::new()).collect(),
            payloads: [0, 0].map(Payload::new),
            words: [0, 0].map(AtomicU32::new),
        };
        (Arc::new(guarded), Kernel::new())
    }

    fn ranges(&self) -> RawRanges<'_> {
        RawRanges { header: &self.header, entries: &self.entries }
    }

    /// One turn with a range of the two places. Whether it was told of damage; a writer repairs it.
    fn turn(&self, life: &Life, access: Access, range: &Range<u64>) -> bool {
        let claimed = self.ranges().claim(life, access, range, &mut forever());
        let mut claim = claimed.expect("sleeps until it has the range");
        let damaged = claim.damaged;
        for place in range.clone().map(|place| place as usize) {
            let payload = &self.payloads[place];
            match access {
                Read => assert_eq!(payload.get(), payload.get()),
                Write => payload.set(payload.get() + 1),
            }
        }
        if range.contains(&0) {
            let [one, two] = self.words.each_ref().map(|word| word.load(Relaxed));
            assert!(one == two || damaged, "torn, and nobody said so");
            if access == Write {
                self.words[0].store(one + 1, Relaxed);
                self.words[1].store(one + 1, Relaxed);
            }
        }
        if damaged && access == Write {
            self.ranges().mark_consistent(life, &mut claim, &mut forever()).expect("room to cut");
        }
        self.ranges().release(life, claim);
        damaged
    }

    fn has_damage(&self, life: &Life, range: Range<u64>) -> bool {
        let claim = self.ranges().try_claim(life, Read, &range).expect("nobody is left");
        let damaged = claim.damaged;
        self.ranges().release(life, claim);
        damaged
    }

    fn bury(&self, kernel: &Kernel, id: u32) {
        kernel.bury(id, &[self.header.table().futex(), self.header.freed().futex()]);
    }
}

fn forever() -> Patience {
    Patience::new(Deadline::NEVER)
}

/// The actors take a turn each; the first has this fate, and `None` is its death. What they were told, and what is left
/// damaged of the two places.
fn turns(actors: &'static [(Access, Range<u64>)], fate: Fate) -> (Vec<Option<bool>>, [bool; 2]) {
    turns_with(Guarded::new(3), actors, fate)
}

fn turns_with(
    (guarded, kernel): (Arc<Guarded>, Arc<Kernel>),
    actors: &'static [(Access, Range<u64>)],
    fate: Fate,
) -> (Vec<Option<bool>>, [bool; 2]) {
    let actors: Vec<_> = actors
        .iter()
        .zip(1..)
        .map(|((access, range), id)| {
            let (guarded, kernel) = (guarded.clone(), kernel.clone());
            thread::spawn(move || {
                let life = kernel.enter(id);
                let fate = if id == 1 { fate } else { LIVES };
                let end = fate.run(|| guarded.turn(&life, *access, range));
                if end.is_none() {
                    guarded.bury(&kernel, id);
                }
                end
            })
        })
        .collect();
    let ends: Vec<_> = actors.into_iter().map(|actor| actor.join().unwrap()).collect();
    let last = kernel.enter(7);
    (ends, [guarded.has_damage(&last, 0..1), guarded.has_damage(&last, 1..2)])
}

const NONE: [bool; 2] = [false; 2];

#[test]
fn ranges_exclude_where_they_overlap() {
    let whole = (vec![Some(false); 2], NONE);
    outcomes(Some(3), &[whole.clone()], || turns(&[(Write, 0..1), (Write, 0..2)], LIVES));
    outcomes(Some(3), &[whole.clone()], || turns(&[(Read, 0..2), (Write, 1..2)], LIVES));
    outcomes(Some(3), &[whole], || turns(&[(Write, 0..1), (Write, 1..2)], LIVES));
    outcomes(Some(1), &[(vec![Some(false); 3], NONE)], || turns(&[(Read, 0..1), (Write, 0..2), (Read, 1..2)], LIVES));
}

#[test]
fn ranges_writer_dies_at_each_step() {
    let (told, whole) = (Some(true), Some(false));
    let seen = [
        (vec![whole, whole], NONE),
        // Repaired by the other, or died before it began or after it was done.
        (vec![None, whole], NONE),
        (vec![None, told], NONE),
        // The other came first.
        (vec![None, whole], [true, false]),
    ];
    let marks = every_step(Some(2), &seen, |fate| turns(&[(Write, 0..1), (Write, 0..2)], fate));
    assert!(MORE || marks.contains("ranges: a dead writer"));
    every_step_reordered(Some(1), 8, &seen, |fate| turns(&[(Write, 0..1), (Write, 0..2)], fate));
}

#[test]
fn ranges_reader_dies_at_each_step() {
    let seen = [(vec![Some(false), Some(false)], NONE), (vec![None, Some(false)], NONE)];
    let marks = every_step(Some(2), &seen, |fate| turns(&[(Read, 0..2), (Write, 0..1)], fate));
    assert!(MORE || marks.contains("ranges: a dead reader"));
}

/// One who waits dies: nothing of it stays.
#[test]
fn ranges_waiter_dies_beside_another() {
    let mut seen = vec![(vec![Some(false); 3], NONE)];
    for (second, third, left) in
        [(false, false, false), (false, false, true), (true, false, false), (false, true, false)]
    {
        seen.push((vec![None, Some(second), Some(third)], [left, false]));
    }
    // Reached with more preemptions than these.
    seen.retain(|(_, left)| MORE || *left == NONE);
    every_step(Some(1), &seen, |fate| turns(&[(Write, 0..1), (Write, 0..1), (Write, 0..1)], fate));
}

/// A writer died before; whoever meets its claim, and repairs what it left, may die too.
#[test]
fn ranges_recoverer_dies_at_each_step() {
    let (told, whole) = (Some(true), Some(false));
    let seen = [
        (vec![told, whole], NONE),
        (vec![whole, told], NONE),
        // It died before it had repaired all, or after that.
        (vec![None, told], NONE),
        (vec![None, whole], NONE),
        // The other came first.
        (vec![None, told], [true, false]),
    ];
    let marks = every_step(Some(2), &seen, |fate| {
        let (guarded, kernel) = Guarded::new(3);
        guarded.ranges().try_claim(&kernel.enter(6), Write, &(0..1)).expect("room");
        guarded.bury(&kernel, 6);
        turns_with((guarded, kernel), &[(Write, 0..1), (Write, 0..2)], fate)
    });
    assert!(MORE || marks.contains("ranges: a dead writer"));
}

/// What a dead writer stored is passed on by who recovers it, and a living one is not taken for dead.
#[test]
fn ranges_recovery_passes_on_what_the_dead_stored() {
    every_step(Some(1), &[false, true], |fate| {
        let (guarded, kernel) = Guarded::new(2);
        let (g, k) = (guarded.clone(), kernel.clone());
        let dying = thread::spawn(move || {
            let life = k.enter(1);
            if fate.run(|| g.turn(&life, Write, &(0..1))).is_none() {
                g.bury(&k, 1);
            }
        });
        let (g, k) = (guarded.clone(), kernel.clone());
        let reaper = thread::spawn(move || g.ranges().recover(&k.enter(2)));
        let (g, k) = (guarded, kernel);
        let other = thread::spawn(move || g.turn(&k.enter(3), Write, &(0..1)));
        dying.join().unwrap();
        reaper.join().unwrap();
        other.join().unwrap()
    });
}

#[test]
fn ranges_recovery_leaves_the_living() {
    outcomes(Some(3), &[0], || {
        let (guarded, kernel) = Guarded::new(2);
        let (g, k) = (guarded.clone(), kernel.clone());
        let holder = thread::spawn(move || g.turn(&k.enter(1), Write, &(0..1)));
        let (g, k) = (guarded, kernel);
        let reaper = thread::spawn(move || g.ranges().recover(&k.enter(2)));
        assert!(!holder.join().unwrap());
        reaper.join().unwrap()
    });
}

/// A table of two entries with a damaged range in each.
fn two_damaged(first: Range<u64>, second: Range<u64>) -> (Arc<Guarded>, Arc<Kernel>) {
    let (guarded, kernel) = Guarded::new(2);
    for (id, range) in [(5, first), (6, second)] {
        let life = kernel.enter(id);
        guarded.ranges().try_claim(&life, Write, &range).expect("room");
        guarded.bury(&kernel, id);
    }
    guarded.ranges().recover(&kernel.enter(7));
    (guarded, kernel)
}

/// Whoever makes room by joining two damaged ranges, and dies, has forgotten neither.
#[test]
fn ranges_joiner_dies_at_each_step() {
    for reordered in [false, true] {
        let model = |fate: Fate| {
            thread::spawn(move || {
                let (guarded, kernel) = two_damaged(10..20, 0..5);
                let life = kernel.enter(1);
                if fate.run(|| _ = guarded.has_damage(&life, 7..8)).is_none() {
                    guarded.bury(&kernel, 1);
                }
                let last = kernel.enter(2);
                (guarded.has_damage(&last, 4..5), guarded.has_damage(&last, 10..11))
            })
            .join()
            .unwrap()
        };
        let marks = match reordered {
            false => every_step(None, &[(true, true)], model),
            true => every_step_reordered(None, 8, &[(true, true)], model),
        };
        assert!(MORE || marks.contains("ranges: joined"));
    }
}

/// Whoever repairs the middle of a damaged range and dies leaves the rest damaged, and the middle too unless it was done.
#[test]
fn ranges_repairer_dies_at_each_step() {
    let repair = |guarded: &Guarded, life: &Life| {
        let mut claim = guarded.ranges().try_claim(life, Write, &(10..20)).expect("nobody holds it");
        assert!(claim.damaged);
        guarded.ranges().mark_consistent(life, &mut claim, &mut forever()).expect("room to cut");
        guarded.ranges().release(life, claim);
    };
    let model = move |fate: Fate| {
        thread::spawn(move || {
            let (guarded, kernel) = Guarded::new(4);
            let first = kernel.enter(5);
            guarded.ranges().try_claim(&first, Write, &(0..30)).expect("room");
            guarded.bury(&kernel, 5);
            let life = kernel.enter(1);
            let died = fate.run(|| repair(&guarded, &life)).is_none();
            if died {
                guarded.bury(&kernel, 1);
            }
            let last = kernel.enter(2);
            assert!(guarded.has_damage(&last, 9..10) && guarded.has_damage(&last, 20..21));
            (died, guarded.has_damage(&last, 10..20))
        })
        .join()
        .unwrap()
    };
    let seen = [(false, false), (true, true), (true, false)];
    let marks = every_step(None, &seen, model);
    assert!(MORE || marks.contains("ranges: cut in two"));
    every_step_reordered(None, 8, &seen, model);
}

/// A deadline ends the wait for a living holder, and leaves the range as it was.
#[test]
fn ranges_deadline_passes() {
    outcomes(Some(3), &[Ok(()), Err(NotHeld::Refused(Refused::TimedOut))], || {
        let (guarded, kernel) = Guarded::new(2);
        let (g, k) = (guarded.clone(), kernel.clone());
        let holder = thread::spawn(move || {
            let life = k.enter(1);
            let claim = g.ranges().claim(&life, Write, &(0..2), &mut forever()).unwrap();
            k.advance(10, &[g.header.table().futex(), g.header.freed().futex()]);
            g.ranges().release(&life, claim);
        });
        let (g, k) = (guarded.clone(), kernel.clone());
        let other = thread::spawn(move || {
            let life = k.enter(2);
            let deadline = Deadline::after(0, Duration::from_nanos(10));
            let claim = g.ranges().claim(&life, Read, &(1..2), &mut Patience::new(deadline))?;
            g.ranges().release(&life, claim);
            Ok(())
        });
        holder.join().unwrap();
        let got = other.join().unwrap();
        assert!(guarded.ranges().try_claim(&kernel.enter(7), Write, &(0..2)).is_ok());
        got
    });
}
