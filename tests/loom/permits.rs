//! A permit has one holder at a time, and comes back when that one dies.

use std::sync::Arc;
use std::time::Duration;

use mutirao::deadline::Deadline;
use mutirao::model::{Kernel, Life, Payload, thread};
use mutirao::raw::lock::Refused;
use mutirao::raw::permits::{Permits, PermitsHeader};
use mutirao::sync::{AtomicU32, Patience};

use crate::support::{Fate, LIVES, MORE, every_step, every_step_reordered, outcomes};

/// A semaphore, and for each permit a payload that only its holder touches.
struct Pool {
    header: PermitsHeader,
    cells: Vec<AtomicU32>,
    payloads: Vec<Payload>,
}

impl Pool {
    /// `count` permits, and room for one more.
    fn new(count: u32) -> Arc<Self> {
        let cells = (0..=count).map(|_| AtomicU32::new(0)).collect();
        let payloads = (0..=count).map(|_| Payload::new(0)).collect();
        Arc::new(Self { header: PermitsHeader::new(count), cells, payloads })
    }

    fn permits(&self) -> Permits<'_, Vec<AtomicU32>> {
        Permits { header: &self.header, cells: &self.cells }
    }

    fn turn(&self, life: &Life) {
        let i = self.permits().acquire(life, 0, &mut Patience::new(Deadline::NEVER)).expect("sleeps until it has one");
        self.touch(i);
        self.permits().release(life, i);
    }

    fn turn_with(&self, n: usize, life: &Life, deadline: Deadline) -> Result<(), Refused> {
        let mut taken = vec![];
        self.permits().acquire_many(life, n, &mut Patience::new(deadline), &mut taken)?;
        assert_eq!(taken.len(), n);
        taken.iter().for_each(|&i| self.touch(i));
        taken.into_iter().for_each(|i| self.permits().release(life, i));
        Ok(())
    }

    fn touch(&self, i: usize) {
        self.payloads[i].set(self.payloads[i].get() + 1);
    }

    fn bury(&self, kernel: &Kernel, id: u32) {
        kernel.bury(id, &[self.header.freed().futex(), self.header.gatherer().futex()]);
    }
}

/// Every actor takes its number of permits; the first has this fate. How many traces the dead left in the end.
fn turns(permits: u32, wants: &'static [usize], fate: Fate) -> u32 {
    turns_with(Pool::new(permits), Kernel::new(), permits, wants, fate)
}

/// As `turns`, where somebody died before with all permits in its hands.
fn turns_after_a_death(permits: u32, wants: &'static [usize], fate: Fate) -> u32 {
    let (pool, kernel) = (Pool::new(permits), Kernel::new());
    let life = kernel.enter(6);
    (0..permits).for_each(|_| _ = pool.permits().try_acquire(&life, 0, false).expect("all are free"));
    kernel.bury(6, &[]);
    turns_with(pool, kernel, permits, wants, fate)
}

fn turns_with(pool: Arc<Pool>, kernel: Arc<Kernel>, permits: u32, wants: &'static [usize], fate: Fate) -> u32 {
    let actors: Vec<_> = wants
        .iter()
        .zip(1..)
        .map(|(&n, id)| {
            let (pool, kernel) = (pool.clone(), kernel.clone());
            thread::spawn(move || {
                let life = kernel.enter(id);
                let fate = if id == 1 { fate } else { LIVES };
                let end = fate.run(|| match n {
                    1 => pool.turn(&life),
                    _ => pool.turn_with(n, &life, Deadline::NEVER).expect("sleeps until it has them"),
                });
                if end.is_none() {
                    pool.bury(&kernel, id);
                }
            })
        })
        .collect();
    actors.into_iter().for_each(|actor| actor.join().unwrap());
    let life = kernel.enter(7);
    let removed = pool.permits().recover(&life);
    assert_eq!((pool.permits().available(), pool.permits().held()), (permits as usize, 0), "a permit leaked");
    pool.turn_with(permits as usize, &life, Deadline::NOW).expect("all are free");
    removed
}

#[test]
fn permits_pass_between_the_living() {
    outcomes(None, &[0], || turns(1, &[1, 1], LIVES));
    outcomes(Some(2), &[0], || turns(1, &[1, 1, 1], LIVES));
    outcomes(Some(2), &[0], || turns(2, if MORE { &[1, 2, 1, 2, 1, 2] } else { &[1, 1, 1] }, LIVES));
}

#[test]
fn permits_holder_dies_at_each_step() {
    let marks = every_step(Some(3), &[0, 1], |fate| turns(1, &[1, 1], fate));
    assert!(MORE || marks.contains("permits: taken from the dead"));
    every_step_reordered(Some(2), 4, &[0, 1], |fate| turns(1, &[1, 1], fate));
}

#[test]
fn permits_holder_dies_among_three() {
    let wants: &[usize] = if MORE { &[1; 6] } else { &[1; 3] };
    // Whether a living one had to take the dead one's permit depends on the bound.
    every_step(Some(1), &[()], |fate| {
        turns(1, wants, fate);
    });
}

#[test]
fn permits_gatherer_dies_at_each_step() {
    every_step(Some(2), &[0, 1, 2, 3], |fate| turns(2, &[2, 1], fate));
}

#[test]
fn permits_gatherer_dies_among_three() {
    every_step(Some(1), &[()], |fate| {
        turns(2, &[2, 1, 1], fate);
    });
}

/// Whoever takes a permit from the dead dies too, alone or as a gatherer, beside one and two others.
#[test]
fn permits_recoverer_dies_at_each_step() {
    for (permits, wants, bound) in [(1, &[1, 1][..], 1), (2, &[2, 1], 1), (1, &[1, 1, 1], 1)] {
        let marks = every_step(Some(bound), &[()], move |fate| {
            turns_after_a_death(permits, wants, fate);
        });
        assert!(MORE || marks.contains("permits: taken from the dead"));
    }
}

#[test]
fn permits_gatherers_do_not_wait_for_each_other() {
    outcomes(Some(2), &[0], || turns(2, &[2, 2], LIVES));
    every_step(Some(1), &[0, 1, 2, 3], |fate| turns(2, &[2, 2], fate));
}

/// A gatherer whose deadline passes gives back what it had.
#[test]
fn permits_gatherer_gives_up() {
    outcomes(Some(3), &[Ok(()), Err(Refused::TimedOut)], || {
        let (pool, kernel) = (Pool::new(2), Kernel::new());
        let (p, k) = (pool.clone(), kernel.clone());
        let holder = thread::spawn(move || {
            let life = k.enter(1);
            let i = p.permits().acquire(&life, 0, &mut Patience::new(Deadline::NEVER)).expect("gets one in the end");
            k.advance(10, &[p.header.freed().futex()]);
            p.permits().release(&life, i);
        });
        let (p, k) = (pool.clone(), kernel.clone());
        let gatherer = thread::spawn(move || p.turn_with(2, &k.enter(2), Deadline::after(0, Duration::from_nanos(10))));
        holder.join().unwrap();
        let got = gatherer.join().unwrap();
        assert_eq!(pool.permits().available(), 2, "kept what it had");
        got
    });
}

/// Permits that are added wake whoever sleeps; one that was forgotten never comes back.
#[test]
fn permits_are_added_and_forgotten() {
    outcomes(None, &[(1, 0)], || {
        let (pool, kernel) = (Pool::new(1), Kernel::new());
        let first = pool.permits().try_acquire(&kernel.enter(6), 0, false).expect("is free");
        pool.permits().forget(&kernel.enter(6), first);
        let (p, k) = (pool.clone(), kernel.clone());
        let sleeper = thread::spawn(move || p.turn(&k.enter(1)));
        let (p, k) = (pool.clone(), kernel.clone());
        let adder = thread::spawn(move || {
            k.enter(2);
            p.permits().add(1, 9).expect("there is room");
        });
        sleeper.join().unwrap();
        adder.join().unwrap();
        (pool.permits().available(), pool.permits().held())
    });
}

/// One dies as a holder, another recovers, and a third, who asks nobody, gets what the dead left.
#[test]
fn permits_recovery_passes_on_what_the_dead_stored() {
    every_step(Some(2), &[true, false], |fate| {
        let (pool, kernel) = (Pool::new(1), Kernel::new());
        let (p, k) = (pool.clone(), kernel.clone());
        let dying = thread::spawn(move || {
            let life = k.enter(1);
            if fate.run(|| p.turn(&life)).is_none() {
                p.bury(&k, 1);
            }
        });
        let (p, k) = (pool.clone(), kernel.clone());
        let reaper = thread::spawn(move || p.permits().recover(&k.enter(2)));
        let (p, k) = (pool, kernel);
        let other = thread::spawn(move || {
            let life = k.enter(3);
            let got = p.permits().try_acquire(&life, 0, false);
            if let Ok(i) = got {
                p.touch(i);
                p.permits().release(&life, i);
            }
            got.is_ok()
        });
        dying.join().unwrap();
        reaper.join().unwrap();
        other.join().unwrap()
    });
}
