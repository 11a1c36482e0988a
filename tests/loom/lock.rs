//! The lock excludes, passes on what was stored, and outlives its holders.

use std::sync::Arc;

use mutirao::deadline::Deadline;
use mutirao::model::{Kernel, Life, Payload, thread};
use mutirao::raw::lock::{Acquired, RawLock, Refused};
use mutirao::sync::{AtomicU32, Ordering::Relaxed, Patience};

use crate::support::{Fate, LIVES, MORE, every_step, every_step_reordered, outcomes};

/// A lock and what it guards: a payload that loom watches, and two words that a holder moves together.
struct Guarded {
    lock: RawLock,
    payload: Payload,
    words: [AtomicU32; 2],
}

impl Guarded {
    fn new() -> Arc<Self> {
        let words = [0, 0].map(AtomicU32::new);
        Arc::new(Self { lock: RawLock::new(), payload: Payload::new(0), words })
    }

    fn acquire(&self, life: &Life) -> Acquired {
        self.lock.acquire(life, &mut Patience::new(Deadline::NEVER)).expect("sleeps until it has the lock")
    }

    /// One turn as a holder: counts, and repairs first what a dead holder left.
    fn turn(&self, life: &Life) -> Acquired {
        let acquired = self.acquire(life);
        let [one, two] = self.words.each_ref().map(|word| word.load(Relaxed));
        if acquired == Acquired::Clean {
            assert_eq!(one, two, "torn, and nobody said so");
        }
        self.payload.set(self.payload.get() + 1);
        self.words[0].store(one + 1, Relaxed);
        self.words[1].store(one + 1, Relaxed);
        self.lock.release(false);
        acquired
    }
}

/// `living` actors and one with this fate take turns. What the living got, and whether a death was seen.
fn turns(living: u32, fate: Fate) -> (Vec<Acquired>, bool) {
    turns_with(Guarded::new(), Kernel::new(), living, fate)
}

fn turns_with(guarded: Arc<Guarded>, kernel: Arc<Kernel>, living: u32, fate: Fate) -> (Vec<Acquired>, bool) {
    let actors: Vec<_> = (1..=living + 1)
        .map(|id| {
            let (guarded, kernel) = (guarded.clone(), kernel.clone());
            thread::spawn(move || {
                let life = kernel.enter(id);
                let fate = if id == 1 { fate } else { LIVES };
                let end = fate.run(|| guarded.turn(&life));
                if end.is_none() {
                    kernel.bury(id, &[guarded.lock.futex()]);
                }
                end
            })
        })
        .collect();
    let ends: Vec<_> = actors.into_iter().map(|actor| actor.join().unwrap()).collect();
    let mut got: Vec<_> = ends.iter().skip(1).map(|end| end.expect("lives")).collect();
    got.sort();
    // Whoever comes last finds the lock usable and the state whole.
    let last = guarded.turn(&kernel.enter(7));
    let turns = guarded.payload.get();
    let confirmed = ends.iter().flatten().count() as u64 + 1;
    assert!(turns >= confirmed && turns <= u64::from(living) + 2, "{turns} turns, {confirmed} confirmed");
    (got, last == Acquired::AfterDeath)
}

const C: Acquired = Acquired::Clean;
const D: Acquired = Acquired::AfterDeath;

/// The living beside the one who may die.
const CROWD: usize = if MORE { 5 } else { 2 };

#[test]
fn lock_passes_between_the_living() {
    outcomes(None, &[(vec![C], false)], || turns(1, LIVES));
    outcomes(Some(3), &[(vec![C; CROWD], false)], || turns(CROWD as u32, LIVES));
}

#[test]
fn lock_holder_dies_at_each_step() {
    let seen = [(vec![C], false), (vec![C], true), (vec![D], false)];
    let marks = every_step(None, &seen, |fate| turns(1, fate));
    assert!(MORE || marks.contains("lock: taken from the dead"));
}

#[test]
fn lock_holder_dies_with_its_stores_reordered() {
    let seen = [(vec![C], false), (vec![C], true), (vec![D], false)];
    every_step_reordered(Some(2), 8, &seen, |fate| turns(1, fate));
}

#[test]
fn lock_holder_dies_among_three() {
    let mut told = vec![C; CROWD];
    told[CROWD - 1] = D;
    let seen = [(vec![C; CROWD], false), (vec![C; CROWD], true), (told, false)];
    every_step(Some(2), &seen, |fate| turns(CROWD as u32, fate));
}

/// Who died before the others came: none of them.
const FORMER: u32 = 8;

/// Somebody died before, half done; whoever takes the lock over may die too, beside one and two others.
#[test]
fn lock_recoverer_dies_at_each_step() {
    let after_a_death = |living, fate| {
        let (guarded, kernel) = (Guarded::new(), Kernel::new());
        guarded.acquire(&kernel.enter(FORMER));
        guarded.words[0].store(1, Relaxed);
        kernel.bury(FORMER, &[]);
        turns_with(guarded, kernel, living, fate)
    };
    // Told of the first death, or too late to be; told of the second in the end.
    let seen = [(vec![C], false), (vec![D], false), (vec![D], true)];
    every_step(Some(2), &seen, move |fate| after_a_death(1, fate));
    every_step(Some(1), &[()], move |fate| {
        let (got, _) = after_a_death(CROWD as u32, fate);
        assert!(got.iter().filter(|got| **got == D).count() <= 2, "told of more deaths than there were");
    });
}

/// One holds and dies; another recovers; a third acquires and must see the stores of the dead.
#[test]
fn lock_recovery_passes_on_what_the_dead_stored() {
    every_step(Some(2), &[(0, C), (0, D), (1, C), (1, D)], |fate| {
        let (guarded, kernel) = (Guarded::new(), Kernel::new());
        let (g, k) = (guarded.clone(), kernel.clone());
        let holder = thread::spawn(move || {
            let life = k.enter(1);
            let end = fate.run(|| g.turn(&life));
            if end.is_none() {
                k.bury(1, &[g.lock.futex()]);
            }
        });
        let (g, k) = (guarded.clone(), kernel.clone());
        let reaper = thread::spawn(move || g.lock.recover(&k.enter(2)));
        let (g, k) = (guarded, kernel);
        let other = thread::spawn(move || g.turn(&k.enter(3)));
        holder.join().unwrap();
        (reaper.join().unwrap(), other.join().unwrap())
    });
}

/// A taker that never asks about lives itself, so that only the recovery passes on the stores of the dead.
#[test]
fn lock_recovery_is_enough() {
    every_step(Some(2), &[Ok(C), Ok(D), Err(Refused::TimedOut)], |fate| {
        let (guarded, kernel) = (Guarded::new(), Kernel::new());
        let (g, k) = (guarded.clone(), kernel.clone());
        let dying = thread::spawn(move || {
            let life = k.enter(1);
            let end = fate.run(|| g.turn(&life));
            if end.is_none() {
                k.bury(1, &[g.lock.futex()]);
            }
            g.lock.recover(&k.enter(2));
        });
        let (g, k) = (guarded, kernel);
        let other = thread::spawn(move || {
            let life = k.enter(3);
            let got = g.lock.acquire(&life, &mut Patience::new(Deadline::NOW));
            if got.is_ok() {
                g.payload.set(g.payload.get() + 1);
                g.lock.release(false);
            }
            got
        });
        dying.join().unwrap();
        other.join().unwrap()
    });
}

/// A deadline ends the wait for a living holder, and leaves the lock as it was.
#[test]
fn lock_deadline_passes() {
    outcomes(None, &[Ok(C), Err(Refused::TimedOut)], || {
        let (guarded, kernel) = (Guarded::new(), Kernel::new());
        let (g, k) = (guarded.clone(), kernel.clone());
        let holder = thread::spawn(move || {
            let life = k.enter(1);
            g.acquire(&life);
            k.advance(10, &[g.lock.futex()]);
            g.lock.release(false);
        });
        let (g, k) = (guarded.clone(), kernel.clone());
        let other = thread::spawn(move || {
            let deadline = Deadline::after(0, std::time::Duration::from_nanos(10));
            let got = g.lock.acquire(&k.enter(2), &mut Patience::new(deadline));
            if got.is_ok() {
                g.lock.release(false);
            }
            got
        });
        holder.join().unwrap();
        let got = other.join().unwrap();
        assert_eq!(guarded.lock.try_acquire(&kernel.enter(7)), Ok(C));
        got
    });
}
