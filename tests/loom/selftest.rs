//! The checker sees what it must: planted defects are found, and orders that nobody asked for do not appear.
//!
//! A defect that ends in loom's deadlock report can abort the process while the model unwinds, so each planted one runs in
//! a process of its own, which must fail.
#![cfg(not(mutirao_shuttle))]

use std::process::{Command, Stdio};
use std::sync::Arc;

use mutirao::deadline::Deadline;
use mutirao::model::{Kernel, Payload, thread};
use mutirao::participant::Liveness;
use mutirao::sync::{AtomicU32, Futex, Ordering::*, Patience, fence};

use crate::support::{every_step, every_step_reordered, explore, outcomes};

/// Runs the planted test in a process of its own, and expects it to fail with these words.
fn is_found(planted: &str, words: &str) {
    let me = std::env::current_exe().expect("the test binary");
    let run = Command::new(me)
        .args(["--exact", &format!("selftest::{planted}"), "--nocapture"])
        .env("MUTIRAO_PLANTED", "1")
        .stdin(Stdio::null())
        .output()
        .expect("runs");
    let said = String::from_utf8_lossy(&run.stderr).into_owned() + &String::from_utf8_lossy(&run.stdout);
    assert!(!run.status.success(), "{planted} was not found");
    assert!(said.contains(words), "{planted} was found as something else: {said}");
}

/// Whether this process is to run the planted defects.
fn is_planted() -> bool {
    std::env::var_os("MUTIRAO_PLANTED").is_some()
}

/// loom alone lets B's own load hide A's.
#[test]
fn a_load_before_a_store_is_explored() {
    outcomes(None, &[0, 1], || {
        let word = Arc::new(AtomicU32::new(0));
        let w = word.clone();
        let b = thread::spawn(move || {
            if w.load(Relaxed) == 0 {
                w.store(1, Relaxed);
            }
        });
        let a = word.load(Relaxed);
        b.join().unwrap();
        a
    });
}

/// C has seen A's flag and told B; no order binds B, so B may still find both words old.
#[test]
fn fences_are_not_strengthened() {
    let found = explore(None, || {
        let words = Arc::new([0, 0, 0].map(AtomicU32::new));
        let (a, c) = (words.clone(), words.clone());
        let a = thread::spawn(move || {
            a[0].store(1, Relaxed);
            fence(Release);
            a[1].store(1, Relaxed);
        });
        let c = thread::spawn(move || {
            if c[1].load(Relaxed) == 1 {
                c[2].store(1, Relaxed);
            }
        });
        let told = words[2].load(Relaxed);
        let flag = words[1].load(Relaxed);
        fence(Acquire);
        let data = words[0].load(Relaxed);
        a.join().unwrap();
        c.join().unwrap();
        (told, flag, data)
    });
    assert!(found.outcomes.contains(&(1, 0, 0)), "synchronises where the words do not");
    assert!(!found.outcomes.iter().any(|&(_, flag, data)| (flag, data) == (1, 0)), "loses a synchronisation");
}

/// Store buffering: never both old with fences, and both old without.
#[test]
fn store_buffering_needs_its_fences() {
    for (fenced, expected) in [(true, &[(0, 1), (1, 0), (1, 1)][..]), (false, &[(0, 0), (0, 1), (1, 0), (1, 1)])] {
        outcomes(None, expected, move || {
            let words = Arc::new([0, 0].map(AtomicU32::new));
            let sides = [(0, 1), (1, 0)].map(|(mine, other)| {
                let w = words.clone();
                thread::spawn(move || {
                    w[mine].store(1, Relaxed);
                    if fenced {
                        fence(SeqCst);
                    }
                    w[other].load(Relaxed)
                })
            });
            let [one, two] = sides.map(|side| side.join().unwrap());
            (one, two)
        });
    }
}

#[test]
fn a_release_before_the_payload_is_found() {
    is_found("planted_release_before_the_payload", "Causality violation");
}

#[test]
fn planted_release_before_the_payload() {
    if is_planted() {
        explore(None, || {
            let shared = Arc::new((AtomicU32::new(0), Payload::new(0)));
            let s = shared.clone();
            let writer = thread::spawn(move || {
                s.0.store(1, Release);
                s.1.set(7);
            });
            if shared.0.load(Acquire) == 1 {
                assert_eq!(shared.1.get(), 7);
            }
            writer.join().unwrap();
        });
    }
}

#[test]
fn a_forgotten_wake_is_found() {
    is_found("planted_forgotten_wake", "deadlock");
}

#[test]
fn planted_forgotten_wake() {
    if is_planted() {
        explore(None, || {
            let (futex, kernel) = (Arc::new(Futex::new(0)), Kernel::new());
            let (f, k) = (futex.clone(), kernel.clone());
            let sleeper = thread::spawn(move || {
                let life = k.enter(1);
                let mut patience = Patience::new(Deadline::NEVER);
                while f.word.load(Acquire) == 0 {
                    patience.rest(&life, &f, 0);
                }
            });
            futex.word.store(1, Release);
            sleeper.join().unwrap();
        });
    }
}

/// A lock whose word says "held" and not by whom, as a claim without a name.
#[test]
fn a_claim_without_a_name_is_found() {
    is_found("planted_claim_without_a_name", "deadlock");
}

#[test]
fn planted_claim_without_a_name() {
    if is_planted() {
        every_step(None, &[()], |fate| {
            let (futex, kernel) = (Arc::new(Futex::new(0)), Kernel::new());
            let actors = [1, 2].map(|id| {
                let (f, k) = (futex.clone(), kernel.clone());
                thread::spawn(move || {
                    let life = k.enter(id);
                    let fate = if id == 1 { fate } else { crate::support::LIVES };
                    let end = fate.run(|| {
                        let mut patience = Patience::new(Deadline::NEVER);
                        while f.word.compare_exchange(0, 1, Acquire, Relaxed).is_err() {
                            patience.rest(&life, &f, 1);
                        }
                        f.word.store(0, Release);
                        f.wake_one();
                    });
                    if end.is_none() {
                        k.bury(id, &[&f]);
                    }
                })
            });
            actors.into_iter().for_each(|actor| actor.join().unwrap());
        });
    }
}

/// An id published by a relaxed store may be met before its bearer's registration, and is then taken for dead.
#[test]
fn an_unordered_id_is_found() {
    is_found("planted_unordered_id", "taken for dead");
}

#[test]
fn planted_unordered_id() {
    if is_planted() {
        explore(None, || {
            let (word, kernel) = (Arc::new(AtomicU32::new(0)), Kernel::new());
            let (w, k) = (word.clone(), kernel.clone());
            let bearer = thread::spawn(move || {
                k.enter(1);
                w.store(1, Relaxed);
            });
            let asking = thread::spawn(move || {
                let life = kernel.enter(2);
                if let Some(id) = mutirao::participant::ParticipantId::new(word.load(Acquire)) {
                    assert!(!life.is_dead(id), "taken for dead");
                }
            });
            bearer.join().unwrap();
            asking.join().unwrap();
        });
    }
}

/// An undo record whose order was left to the compiler: seen only when stores wait for a release.
#[test]
fn a_reordered_undo_record_is_found() {
    is_found("planted_reordered_undo_record", "must not happen");
}

#[test]
fn planted_reordered_undo_record() {
    if is_planted() {
        every_step_reordered(None, 8, &[true], |fate| {
            let words = Arc::new([0, 0].map(AtomicU32::new));
            let (w, k) = (words.clone(), Kernel::new());
            let writer = thread::spawn(move || {
                k.enter(1);
                let end = fate.run(|| {
                    w[0].store(1, Relaxed);
                    w[1].store(1, Relaxed);
                    fence(Release);
                });
                if end.is_none() {
                    k.bury(1, &[]);
                }
            });
            writer.join().unwrap();
            // The record counts only if it is whole.
            words[1].load(Relaxed) == 0 || words[0].load(Relaxed) == 1
        });
    }
}
