//! No wake-up is lost: either the sleeper's last look sees what was published, or it is woken.

use std::sync::Arc;

use mutirao::deadline::Deadline;
use mutirao::model::{Kernel, Life, thread};
use mutirao::raw::signal::Signal;
use mutirao::sync::{AtomicU32, Ordering::Relaxed, Patience};

use crate::support::{Fate, LIVES, MORE, every_step, outcomes};

/// Items without content: what a queue looks like to its signal.
struct Counted {
    signal: Signal,
    items: AtomicU32,
}

impl Counted {
    fn new() -> Arc<Self> {
        Arc::new(Self { signal: Signal::new(), items: AtomicU32::new(0) })
    }

    fn put(&self, life: &Life) {
        self.items.fetch_add(1, Relaxed);
        self.signal.notify(life);
    }

    fn try_take(&self) -> bool {
        let mut items = self.items.load(Relaxed);
        while items > 0 {
            match self.items.compare_exchange(items, items - 1, Relaxed, Relaxed) {
                Ok(_) => return true,
                // Losing says nothing about whether items are left.
                Err(now) => items = now,
            }
        }
        false
    }

    fn take(&self, life: &Life) {
        let mut patience = Patience::new(Deadline::NEVER);
        let mut slept = false;
        while !self.try_take() {
            let seen = self.signal.prepare();
            if self.try_take() {
                break;
            }
            self.signal.rest(seen, life, &mut patience);
            slept = true;
        }
        if slept {
            self.signal.prepare();
            if self.items.load(Relaxed) > 0 {
                self.signal.pass_on();
            }
        }
    }
}

/// The first has this fate; takers take one each, putters put `puts` each. Ends, or loom reports a deadlock.
fn exchange(takers: u32, putters: u32, puts: u32, fate: Fate) -> u32 {
    let (counted, kernel) = (Counted::new(), Kernel::new());
    let actors: Vec<_> = (1..=takers + putters)
        .map(|id| {
            let (counted, kernel) = (counted.clone(), kernel.clone());
            thread::spawn(move || {
                let life = kernel.enter(id);
                let fate = if id == 1 { fate } else { LIVES };
                let end = fate.run(|| {
                    if id <= takers {
                        counted.take(&life);
                    } else {
                        (0..puts).for_each(|_| counted.put(&life));
                    }
                });
                if end.is_none() {
                    kernel.bury(id, &[counted.signal.futex()]);
                }
            })
        })
        .collect();
    actors.into_iter().for_each(|actor| actor.join().unwrap());
    counted.items.load(Relaxed)
}

#[test]
fn signal_wakes_a_sleeper() {
    outcomes(None, &[0], || exchange(1, 1, 1, LIVES));
}

#[test]
fn signal_is_passed_on() {
    outcomes(Some(2), &[0], || exchange(2, 1, 2, LIVES));
    let (takers, putters) = if MORE { (3, 3) } else { (2, 2) };
    outcomes(Some(1), &[0], move || exchange(takers, putters, 1, LIVES));
}

#[test]
fn signal_sleeper_dies_at_each_step() {
    every_step(Some(1), &[0, 1], |fate| exchange(2, 1, 2, fate));
}

/// The first putter dies, perhaps between publishing and waking; the sleeper must not miss what it published.
#[test]
fn signal_putter_dies_at_each_step() {
    every_step(Some(3), &[0, 1], |fate| {
        let (counted, kernel) = (Counted::new(), Kernel::new());
        let (c, k) = (counted.clone(), kernel.clone());
        let dying = thread::spawn(move || {
            let life = k.enter(1);
            if fate.run(|| c.put(&life)).is_none() {
                k.bury(1, &[c.signal.futex()]);
                // So that there is something to take in any case.
                c.put(&k.enter(3));
            }
        });
        let (c, k) = (counted.clone(), kernel);
        let taker = thread::spawn(move || c.take(&k.enter(2)));
        dying.join().unwrap();
        taker.join().unwrap();
        counted.items.load(Relaxed)
    });
}

/// The same before two sleepers, of whom each finds what there is for it in the end.
#[test]
fn signal_putter_dies_before_two_sleepers() {
    every_step(Some(1), &[0, 1, 2], |fate| {
        let (counted, kernel) = (Counted::new(), Kernel::new());
        let (c, k) = (counted.clone(), kernel.clone());
        let dying = thread::spawn(move || {
            let life = k.enter(1);
            if fate.run(|| (0..2).for_each(|_| c.put(&life))).is_none() {
                k.bury(1, &[c.signal.futex()]);
                (0..2).for_each(|_| c.put(&k.enter(4)));
            }
        });
        let takers = [2, 3].map(|id| {
            let (c, k) = (counted.clone(), kernel.clone());
            thread::spawn(move || c.take(&k.enter(id)))
        });
        dying.join().unwrap();
        takers.into_iter().for_each(|taker| taker.join().unwrap());
        counted.items.load(Relaxed)
    });
}

/// Whoever sees the number moved sees what was stored before the wake-up, even by relaxed stores.
#[test]
fn signal_number_shows_what_was_published() {
    for all in [false, true] {
        outcomes(None, &[1], move || {
            let (counted, kernel) = (Counted::new(), Kernel::new());
            let (c, k) = (counted.clone(), kernel.clone());
            let waker = thread::spawn(move || {
                let life = k.enter(1);
                c.items.store(1, Relaxed);
                if all {
                    c.signal.notify_all();
                } else {
                    // Nobody has said that it waits yet, perhaps.
                    c.signal.prepare();
                    c.signal.notify(&life);
                }
            });
            let (c, k) = (counted, kernel);
            let sleeper = thread::spawn(move || {
                let life = k.enter(2);
                let mut patience = Patience::new(Deadline::NEVER);
                let first = c.signal.prepare();
                if c.items.load(Relaxed) == 1 {
                    return 1;
                }
                let mut now = first;
                while now == first {
                    c.signal.rest(first, &life, &mut patience);
                    now = c.signal.prepare();
                }
                c.items.load(Relaxed)
            });
            waker.join().unwrap();
            sleeper.join().unwrap()
        });
    }
}
