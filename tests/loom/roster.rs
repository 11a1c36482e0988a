//! "All gone" is said only when it is true, and then what the gone did is seen.

use std::sync::Arc;

use mutirao::model::{Kernel, thread};
use mutirao::raw::roster::Roster;
use mutirao::sync::{AtomicU32, AtomicU64, Ordering, Ordering::Relaxed};

use crate::support::{LIVES, MORE, every_step, explore, outcomes};

struct Side {
    roster: Roster,
    cells: [AtomicU64; 3],
    /// What the registered do before they leave.
    sent: AtomicU32,
    handed: AtomicU32,
}

impl Side {
    fn new() -> Arc<Self> {
        let cells = [0, 0, 0].map(AtomicU64::new);
        Arc::new(Self { roster: Roster::new(), cells, sent: AtomicU32::new(0), handed: AtomicU32::new(0) })
    }
}

/// One joins, sends and leaves or dies; the other side asks once: `None`, not gone; otherwise what it sees as sent.
#[test]
fn roster_of_the_gone_shows_what_they_did() {
    let model = |fate: crate::support::Fate| {
        let (side, kernel) = (Side::new(), Kernel::new());
        let (s, k) = (side.clone(), kernel.clone());
        let sender = thread::spawn(move || {
            let life = k.enter(1);
            let end = fate.run(|| {
                assert!(s.roster.join(&s.cells, &life, 0));
                s.sent.store(1, Relaxed);
                s.roster.leave(&s.cells, &life, 0);
            });
            if end.is_none() {
                k.bury(1, &[]);
            }
        });
        let s = side.clone();
        let asking = thread::spawn(move || {
            let life = kernel.enter(2);
            s.roster.all_gone(&s.cells, &life).then(|| s.sent.load(Relaxed))
        });
        sender.join().unwrap();
        let seen = asking.join().unwrap();
        assert!(seen.is_none_or(|sent| sent == side.sent.load(Relaxed)), "gone, and what it did is not seen");
        seen
    };
    outcomes(None, &[None, Some(1)], move || model(LIVES));
    every_step(None, &[None, Some(0), Some(1)], model);
}

/// A sender hands over to another and leaves: there is always somebody, and never "all gone".
#[test]
fn roster_sees_a_hand_over() {
    let found = explore(Some(3), || {
        let (side, kernel) = (Side::new(), Kernel::new());
        side.roster.join(&side.cells, &kernel.enter(1), 1);
        let (s, k) = (side.clone(), kernel.clone());
        let old = thread::spawn(move || {
            let life = k.enter(1);
            if s.handed.load(Ordering::Acquire) == 1 {
                s.roster.leave(&s.cells, &life, 1);
            }
        });
        let (s, k) = (side.clone(), kernel.clone());
        let new = thread::spawn(move || {
            assert!(s.roster.join(&s.cells, &k.enter(2), 0));
            s.handed.store(1, Ordering::Release);
        });
        let (s, k) = (side.clone(), kernel.clone());
        let asking = thread::spawn(move || s.roster.all_gone(&s.cells, &k.enter(3)));
        old.join().unwrap();
        new.join().unwrap();
        assert!(!asking.join().unwrap(), "somebody was there all the time");
    });
    assert!(MORE || found.marks.contains("roster: joined meanwhile"));
}

/// A newcomer is not taken for dead by whoever meets its id, and recovery takes off only the dead.
#[test]
fn roster_recovery_takes_off_only_the_dead() {
    every_step(Some(2), &[(0, None), (0, Some(0)), (0, Some(1)), (1, None), (1, Some(0)), (1, Some(1))], |fate| {
        let (side, kernel) = (Side::new(), Kernel::new());
        let (s, k) = (side.clone(), kernel.clone());
        let sender = thread::spawn(move || {
            let life = k.enter(1);
            let end = fate.run(|| {
                assert!(s.roster.join(&s.cells, &life, 0));
                s.sent.store(1, Relaxed);
                s.handed.store(1, Relaxed);
            });
            if end.is_none() {
                k.bury(1, &[]);
            }
            end.is_some()
        });
        let (s, k) = (side.clone(), kernel.clone());
        let reaper = thread::spawn(move || s.roster.recover(&s.cells, &k.enter(2)));
        let (s, k) = (side.clone(), kernel.clone());
        let asking = thread::spawn(move || {
            let life = k.enter(3);
            s.roster.all_gone(&s.cells, &life).then(|| s.sent.load(Relaxed))
        });
        let lives = sender.join().unwrap();
        let removed = reaper.join().unwrap();
        let seen = asking.join().unwrap();
        assert!(!lives || removed == 0, "took off the living");
        assert!(!lives || seen.is_none(), "the living is not gone");
        assert!(seen.is_none_or(|sent| sent == side.sent.load(Relaxed)), "gone, and what it did is not seen");
        (removed, seen)
    });
}
