//! An id is given out once, and one that is in no row is dead and has been settled.

use std::sync::Arc;

use mutirao::model::{Kernel, thread};
use mutirao::participant::{Liveness, ParticipantId};
use mutirao::raw::registry::{RegistryHeader, find, occupy, vacate};
use mutirao::sync::{AtomicU32, Ordering::Relaxed};

use crate::support::{Fate, every_step, explore, outcomes};

struct Registry {
    header: RegistryHeader,
    rows: [AtomicU32; 2],
    /// What a participant did, and what its reaper settled.
    done: AtomicU32,
    settled: AtomicU32,
}

impl Registry {
    fn new(last_id: u32) -> Arc<Self> {
        let rows = [0, 0].map(AtomicU32::new);
        let header = RegistryHeader::resumed(last_id);
        Arc::new(Self { header, rows, done: AtomicU32::new(0), settled: AtomicU32::new(0) })
    }
}

fn id(n: u32) -> ParticipantId {
    ParticipantId::new(n).expect("an id")
}

#[test]
fn registry_gives_an_id_once() {
    outcomes(None, &[(1, 2), (2, 1)], || {
        let registry = Registry::new(0);
        let takers = [(); 2].map(|()| {
            let r = registry.clone();
            thread::spawn(move || r.header.take_id(|_| true).expect("plenty are left").get())
        });
        let [one, two] = takers.map(|taker| taker.join().unwrap());
        (one, two)
    });
}

/// Whoever gets an id of a new half sees what was recovered before the half was entered.
#[test]
fn registry_enters_a_half_after_recovery() {
    let last = ParticipantId::MASK;
    let found = explore(None, move || {
        let registry = Registry::new(last);
        let takers = [(); 2].map(|()| {
            let r = registry.clone();
            thread::spawn(move || {
                let id = r.header.take_id(|_| {
                    r.settled.store(1, Relaxed);
                    true
                });
                assert_eq!(r.settled.load(Relaxed), 1, "an old trace may be left");
                id.expect("plenty are left").get()
            })
        });
        let [one, two] = takers.map(|taker| taker.join().unwrap());
        assert_eq!(one + two, 3);
    });
    assert!(found.marks.contains("registry: entered a half"));
}

/// A participant acts and dies, a reaper vacates its row. Who does not find the id sees what it did.
#[test]
fn registry_of_the_vacated_shows_what_they_did() {
    every_step(None, &[None, Some(0), Some(1)], |fate: Fate| {
        let (registry, kernel) = (Registry::new(0), Kernel::new());
        assert!(occupy(&registry.rows, 0, id(1)));
        let (r, k) = (registry.clone(), kernel.clone());
        let bearer = thread::spawn(move || {
            k.enter(1);
            let end = fate.run(|| {
                r.done.store(1, Relaxed);
                assert!(vacate(&r.rows, 0, id(1)));
            });
            if end.is_none() {
                k.bury(1, &[]);
                // Some other participant's reaper.
                if k.enter(2).is_dead(id(1)) && vacate(&r.rows, 0, id(1)) {
                    r.settled.store(1, Relaxed);
                    r.header.note_death();
                }
            }
        });
        let r = registry.clone();
        let asking = thread::spawn(move || {
            if r.header.deaths() == 1 {
                assert_eq!(r.settled.load(Relaxed), 1, "a death was counted before it was settled");
            }
            find(&r.rows, id(1)).is_none().then(|| r.done.load(Relaxed))
        });
        bearer.join().unwrap();
        let seen = asking.join().unwrap();
        assert!(seen.is_none_or(|done| done == registry.done.load(Relaxed)), "gone, and what it did is not seen");
        seen
    });
}

/// Of two newcomers one gets the row, and its id is found there as soon as it is met elsewhere.
#[test]
fn registry_row_has_one_occupant() {
    outcomes(Some(3), &[(true, false), (false, true)], || {
        let registry = Registry::new(0);
        let newcomers = [1, 2].map(|n| {
            let r = registry.clone();
            thread::spawn(move || occupy(&r.rows, 0, id(n)))
        });
        let [one, two] = newcomers.map(|newcomer| newcomer.join().unwrap());
        assert_eq!(find(&registry.rows, id(if one { 1 } else { 2 })), Some(0));
        (one, two)
    });
}
