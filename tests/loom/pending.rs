//! What is pending is computed by one at a time, seen by all who waited, and taken over from the dead.

use std::sync::Arc;
use std::time::Duration;

use mutirao::deadline::Deadline;
use mutirao::model::{Kernel, Life, Payload, thread};
use mutirao::raw::lock::Refused;
use mutirao::raw::pending::{Claim, Stripe, Unclaimed};
use mutirao::sync::{AtomicU32, Ordering::Relaxed, Patience};

use crate::support::{Fate, LIVES, MORE, every_step, every_step_reordered, outcomes};

/// Hashes differ in the bits that count.
const ONE: u64 = 1 << 23;
const OTHER: u64 = 2 << 23;

/// A stripe, and of each of two keys what was computed and how often, which only who computes touches.
struct Cache<const WORDS: usize> {
    stripe: Stripe<WORDS>,
    values: [AtomicU32; 2],
    computed: [Payload; 2],
}

/// How a computation ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Value,
    Panic,
}

impl<const WORDS: usize> Cache<WORDS> {
    fn new() -> Arc<Self> {
        let (values, computed) = ([0, 0].map(AtomicU32::new), [0, 0].map(Payload::new));
        Arc::new(Self { stripe: Stripe::new(), values, computed })
    }

    fn hash(key: usize) -> u64 {
        [ONE, OTHER][key]
    }

    /// The value of a key, computed if it is not there. `None`: the computation that was ours panicked.
    fn get_or_compute(&self, life: &Life, key: usize, deadline: Deadline, end: End) -> Result<Option<u32>, Unclaimed> {
        let mut patience = Patience::new(deadline);
        loop {
            // Relaxed: all that this sees is what the claims pass on.
            let there = self.values[key].load(Relaxed);
            if there != 0 {
                return Ok(Some(there));
            }
            let ticket = match self.stripe.claim(life, Self::hash(key), true, &mut patience)? {
                Claim::Look => continue,
                Claim::Mine(ticket) => ticket,
            };
            let mut value = self.values[key].load(Relaxed);
            if value == 0 {
                self.computed[key].set(self.computed[key].get() + 1);
                if end == End::Value {
                    value = 7;
                    self.values[key].store(value, Relaxed);
                }
            }
            if !self.stripe.give_back(life, ticket) {
                return Err(Unclaimed::Locked(Refused::Corrupt)); // somebody took it from the living
            }
            return Ok((value != 0).then_some(value));
        }
    }

    fn bury(&self, kernel: &Kernel, id: u32) {
        kernel.bury(id, &self.stripe.futexes());
    }
}

/// Each actor wants the value of its key; the first has this fate. How often each was computed, and how many traces the
/// dead left in the end.
fn turns<const WORDS: usize>(keys: &'static [usize], fate: Fate) -> (Vec<u64>, u32) {
    let (cache, kernel) = (Cache::<WORDS>::new(), Kernel::new());
    let actors: Vec<_> = keys
        .iter()
        .zip(1..)
        .map(|(&key, id)| {
            let (cache, kernel) = (cache.clone(), kernel.clone());
            thread::spawn(move || {
                let life = kernel.enter(id);
                let fate = if id == 1 { fate } else { LIVES };
                match fate.run(|| cache.get_or_compute(&life, key, Deadline::NEVER, End::Value)) {
                    Some(got) => assert_eq!(got, Ok(Some(7))),
                    None => cache.bury(&kernel, id),
                }
            })
        })
        .collect();
    actors.into_iter().for_each(|actor| actor.join().unwrap());
    let life = kernel.enter(7);
    let removed = cache.stripe.recover(&life);
    assert_eq!(cache.stripe.computing().count(), 0, "a claim leaked");
    (cache.computed.iter().map(Payload::get).collect(), removed)
}

#[test]
fn pending_is_computed_once_by_the_living() {
    outcomes(Some(3), &[(vec![1, 0], 0)], || turns::<2>(&[0, 0], LIVES));
    outcomes(Some(2), &[(vec![1, 0], 0)], || turns::<2>(if MORE { &[0; 6] } else { &[0; 3] }, LIVES));
}

#[test]
fn pending_keys_do_not_wait_for_each_other() {
    outcomes(Some(2), &[(vec![1, 1], 0)], || turns::<2>(&[0, 1], LIVES));
    outcomes(Some(2), &[(vec![1, 1], 0)], || turns::<2>(&[0, 1, 0], LIVES));
}

#[test]
fn pending_waits_for_room() {
    outcomes(Some(3), &[(vec![1, 1], 0)], || turns::<1>(&[0, 1], LIVES));
}

/// Twice only if the first computed and died before it published; traces, of the lock and of the word, only of who died
/// with all others done.
#[test]
fn pending_computer_dies_at_each_step() {
    let seen = [(vec![1, 0], 0), (vec![1, 0], 1), (vec![1, 0], 2), (vec![2, 0], 0)];
    let marks = every_step(Some(3), &seen, |fate| turns::<2>(&[0, 0], fate));
    assert!(MORE || marks.contains("pending: taken over from the dead"));
    every_step_reordered(Some(2), 8, &seen, |fate| turns::<2>(&[0, 0], fate));
}

#[test]
fn pending_computer_dies_among_three() {
    every_step(Some(1), &[()], |fate| {
        turns::<2>(if MORE { &[0; 6] } else { &[0; 3] }, fate);
    });
}

/// Where there is one word, who wants another key takes it from the dead.
#[test]
fn pending_room_comes_back_from_the_dead() {
    every_step(Some(2), &[1], |fate| turns::<1>(&[0, 1], fate).0[1]);
}

/// One dies computing, another recovers, and a third sees what the dead stored.
#[test]
fn pending_recovery_passes_on_what_the_dead_stored() {
    every_step(Some(1), &[1, 2], |fate| {
        let (cache, kernel) = (Cache::<2>::new(), Kernel::new());
        let (c, k) = (cache.clone(), kernel.clone());
        let dying = thread::spawn(move || {
            let life = k.enter(1);
            if fate.run(|| c.get_or_compute(&life, 0, Deadline::NEVER, End::Value)).is_none() {
                c.bury(&k, 1);
            }
        });
        let (c, k) = (cache.clone(), kernel.clone());
        let reaper = thread::spawn(move || {
            c.stripe.recover(&k.enter(2));
        });
        let (c, k) = (cache.clone(), kernel.clone());
        let other = thread::spawn(move || {
            let got = c.get_or_compute(&k.enter(3), 0, Deadline::NEVER, End::Value);
            assert_eq!(got, Ok(Some(7)));
        });
        dying.join().unwrap();
        reaper.join().unwrap();
        other.join().unwrap();
        cache.computed[0].get()
    });
}

/// Whoever recovers, also in the middle of a claim or a takeover, takes nothing from the living.
#[test]
fn pending_recovery_leaves_the_living_alone() {
    every_step(Some(1), &[()], |fate| {
        let (cache, kernel) = (Cache::<2>::new(), Kernel::new());
        let actors = [1, 2].map(|id| {
            let (c, k) = (cache.clone(), kernel.clone());
            thread::spawn(move || {
                let life = k.enter(id);
                let fate = if id == 1 { fate } else { LIVES };
                match fate.run(|| c.get_or_compute(&life, 0, Deadline::NEVER, End::Value)) {
                    Some(got) => assert_eq!(got, Ok(Some(7))),
                    None => c.bury(&k, 1),
                }
            })
        });
        let (c, k) = (cache.clone(), kernel.clone());
        let reaper = thread::spawn(move || {
            c.stripe.recover(&k.enter(3));
        });
        actors.into_iter().for_each(|actor| actor.join().unwrap());
        reaper.join().unwrap();
        assert!(cache.computed[0].get() <= 2);
    });
}

/// A claim that ends without a value is the next one's.
#[test]
fn pending_panic_leaves_it_to_the_next() {
    outcomes(Some(3), &[(None, Some(7)), (Some(7), Some(7))], || {
        let (cache, kernel) = (Cache::<2>::new(), Kernel::new());
        let actors = [(1, End::Panic), (2, End::Value)].map(|(id, end)| {
            let (c, k) = (cache.clone(), kernel.clone());
            thread::spawn(move || c.get_or_compute(&k.enter(id), 0, Deadline::NEVER, end).expect("waits"))
        });
        let [one, two] = actors.map(|actor| actor.join().unwrap());
        (one, two)
    });
}

/// Who waits no longer than its deadline leaves the claim to who has it.
#[test]
fn pending_waiter_gives_up() {
    let seen = [Ok(Some(7)), Err(Unclaimed::TimedOut)];
    outcomes(Some(3), &seen, || {
        let (cache, kernel) = (Cache::<2>::new(), Kernel::new());
        let (c, k) = (cache.clone(), kernel.clone());
        let computer = thread::spawn(move || {
            let life = k.enter(1);
            let claim = c.stripe.claim(&life, ONE, true, &mut Patience::new(Deadline::NEVER)).expect("waits");
            k.advance(10, &c.stripe.futexes());
            if let Claim::Mine(ticket) = claim {
                c.values[0].store(7, Relaxed);
                c.stripe.give_back(&life, ticket);
            }
        });
        let (c, k) = (cache, kernel);
        let waiter = thread::spawn(move || {
            let deadline = Deadline::after(0, Duration::from_nanos(10));
            c.get_or_compute(&k.enter(2), 0, deadline, End::Value)
        });
        computer.join().unwrap();
        waiter.join().unwrap()
    });
}

/// Who may not wait for room is told that there is none.
#[test]
fn pending_without_room_is_said() {
    outcomes(None, &[Err(Unclaimed::Full)], || {
        let (stripe, kernel) = (Stripe::<1>::new(), Kernel::new());
        let life = kernel.enter(1);
        let first = stripe.claim(&life, ONE, false, &mut Patience::new(Deadline::NEVER));
        assert!(matches!(first, Ok(Claim::Mine(_))));
        stripe.claim(&life, OTHER, false, &mut Patience::new(Deadline::NEVER)).map(|_| ())
    });
}
