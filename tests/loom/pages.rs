//! Pages are in one run at a time, a run has one owner, and a holder of the lock who dies loses none.

use std::sync::Arc;

use mutirao::deadline::Deadline;
use mutirao::model::{Kernel, Life, Payload, mark, thread};
use mutirao::participant::{Liveness, ParticipantId};
use mutirao::raw::blocks;
use mutirao::raw::lock::Acquired;
use mutirao::raw::pages::{Pages, PagesHeader, Run};
use mutirao::sync::{AtomicU64, Ordering::Relaxed, Patience};

use crate::support::{Fate, MORE, every_step, every_step_reordered, explore, outcomes};

const PAGES: usize = 3;

struct Stage {
    header: PagesHeader,
    table: [AtomicU64; PAGES],
    /// What is in each page.
    payloads: [Payload; PAGES],
    /// A word that stands in the first page.
    word: AtomicU64,
}

fn run(pages: u32, owner: u32) -> Run {
    Run { pages, class: 1, owner: ParticipantId::new(owner), is_spare: false }
}

impl Stage {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            header: PagesHeader::new(),
            table: [0; PAGES].map(AtomicU64::new),
            payloads: [0; PAGES].map(Payload::new),
            word: AtomicU64::new(0),
        })
    }

    fn pages(&self) -> Pages<'_> {
        Pages { header: &self.header, table: &self.table }
    }

    /// Runs `f` under the lock, after repairing what a dead holder left.
    fn locked<R>(&self, life: &Life, f: impl FnOnce(&Pages<'_>) -> R) -> R {
        let lock = self.header.lock_field();
        if lock.acquire(life, &mut Patience::new(Deadline::NEVER)) == Ok(Acquired::AfterDeath) {
            self.pages().repair();
        }
        let result = f(&self.pages());
        lock.release(false);
        result
    }

    /// Takes a run, uses its pages, gives it back.
    fn turn(&self, life: &Life, pages: u32) -> bool {
        let mine = run(pages, life.me().get());
        let taken = self.locked(life, |all| all.find(pages).inspect(|at| all.take(*at, mine)));
        let Some(at) = taken else { return false };
        for payload in &self.payloads[at as usize..at as usize + pages as usize] {
            payload.set(payload.get() + 1);
        }
        self.locked(life, |all| all.give_back(at, mine));
        true
    }

    /// Gives back what the dead had, as whoever needs pages does, and then finds all of them free.
    fn check(&self, life: &Life) {
        self.locked(life, |all| {
            let mut from = 0;
            while let Some((at, found)) = all.next_run(from) {
                assert!(found.owner.is_none_or(|owner| life.is_dead(owner)), "{found:?} is left");
                for body in at + 1..at + u64::from(found.pages) {
                    assert_eq!(all.run_around(body), Some((at, found)), "page {body} of a run is not in it");
                }
                assert!(all.adopt(at, found, life.me()));
                all.give_back(at, Run { owner: Some(life.me()), is_spare: false, ..found });
                from = at + u64::from(found.pages);
            }
            all.forget_low();
            assert_eq!(all.find(PAGES as u32), Some(0), "pages are lost");
        });
    }
}

/// One who may die, and one who lives, each taking a run.
fn turns(fate: Fate, sizes: [u32; 2]) -> bool {
    let (stage, kernel) = (Stage::new(), Kernel::new());
    let (s, k) = (stage.clone(), kernel.clone());
    let mortal = thread::spawn(move || {
        let life = k.enter(1);
        if fate.run(|| s.turn(&life, sizes[0])).is_none() {
            k.bury(1, &[s.header.lock_field().futex()]);
        }
    });
    let (s, k) = (stage.clone(), kernel.clone());
    let other = thread::spawn(move || s.turn(&k.enter(2), sizes[1]));
    mortal.join().unwrap();
    let got = other.join().unwrap();
    stage.check(&kernel.enter(7));
    got
}

#[test]
fn pages_holder_dies_at_each_step() {
    let marks = every_step(Some(2), &[true], |fate| turns(fate, [2, 1]));
    assert!(MORE || marks.contains("pages: repaired"));
    every_step(Some(2), &[false, true], |fate| turns(fate, [2, 2]));
}

/// Nobody else is there until the holder is dead.
#[test]
fn pages_holder_dies_with_its_stores_reordered() {
    every_step_reordered(Some(1), 8, &[()], |fate| {
        let (stage, kernel) = (Stage::new(), Kernel::new());
        let (s, k) = (stage.clone(), kernel.clone());
        let mortal = thread::spawn(move || {
            let life = k.enter(1);
            if fate.run(|| s.turn(&life, 3)).is_none() {
                k.bury(1, &[s.header.lock_field().futex()]);
            }
        });
        mortal.join().unwrap();
        stage.check(&kernel.enter(7));
    });
}

/// A holder dies before each of its steps; the next one, who repairs what it left, dies before each of its own.
#[test]
fn pages_repairer_dies_at_each_step() {
    let (mut first, mut pairs, mut repaired) = (0, 0, false);
    let at = |step| Fate { step: Some(step), late: None };
    loop {
        let mut second = 0;
        let lived = loop {
            let found = explore(Some(1), move || {
                let (stage, kernel) = (Stage::new(), Kernel::new());
                for (id, fate) in [(1, at(first)), (2, at(second))] {
                    let (s, k) = (stage.clone(), kernel.clone());
                    let mortal = thread::spawn(move || {
                        let life = k.enter(id);
                        if fate.run(|| s.turn(&life, 2)).is_some() {
                            mark(&format!("{id} lives"));
                        } else {
                            k.bury(id, &[s.header.lock_field().futex()]);
                        }
                    });
                    mortal.join().unwrap();
                }
                stage.check(&kernel.enter(7));
            });
            (second, pairs) = (second + 1, pairs + 1);
            repaired |= found.marks.contains("pages: repaired");
            if found.marks.contains("2 lives") {
                break found.marks.contains("1 lives");
            }
        };
        first += 1;
        if lived {
            break;
        }
    }
    println!("{first} deaths, {pairs} pairs");
    assert!(repaired && first > 10, "{first} deaths");
}

/// Whoever gives a run back dies, its stores in any order: if the pages are free, no generation that was in them
/// comes again.
#[test]
fn pages_given_back_keep_their_generations() {
    every_step_reordered(Some(1), 8, &[false, true], |fate| {
        let (stage, kernel) = (Stage::new(), Kernel::new());
        let mine = run(2, 1);
        stage.locked(&kernel.enter(6), |all| all.take(0, mine));
        let (s, k) = (stage.clone(), kernel.clone());
        let mortal = thread::spawn(move || {
            let life = k.enter(1);
            let give_back = |all: &Pages<'_>| {
                all.header.note_generations(9);
                all.give_back(0, mine);
            };
            if fate.run(|| s.locked(&life, give_back)).is_none() {
                k.bury(1, &[s.header.lock_field().futex()]);
            }
        });
        mortal.join().unwrap();
        stage.locked(&kernel.enter(2), |all| {
            let is_free = all.find(2) == Some(0);
            assert!(!is_free || all.header.generations() >= 9, "a generation comes again");
            is_free
        })
    });
}

#[test]
fn pages_of_a_run_are_found_laid_out() {
    outcomes(None, &[None, Some(5)], || {
        let (stage, kernel) = (Stage::new(), Kernel::new());
        let (s, k) = (stage.clone(), kernel.clone());
        let owner = thread::spawn(move || {
            let life = k.enter(1);
            s.locked(&life, |all| {
                let at = all.find(2).expect("all are free");
                s.word.store(5, Relaxed);
                all.take(at, run(2, 1));
            });
        });
        let (s, k) = (stage.clone(), kernel.clone());
        let finder = thread::spawn(move || {
            let life = k.enter(2);
            let (_, found) = s.pages().run_around(1)?;
            assert!(!life.is_dead(found.owner.unwrap()), "a living owner looks dead");
            Some(s.word.load(Relaxed))
        });
        owner.join().unwrap();
        finder.join().unwrap()
    });
}

/// As the owner of the run at 0, which has one block: takes the block if it is free. Whoever has it uses the page.
fn allocate(stage: &Stage, life: &Life) -> bool {
    let now = blocks::look(&stage.word);
    now.is_free() && {
        blocks::hold(&stage.word, life.me(), now.generation() + 1);
        stage.payloads[0].set(u64::from(life.me().get()));
        true
    }
}

/// Adopts the run at 0 if nobody living owns it, and allocates from it.
fn adopt(stage: &Stage, life: &Life) -> bool {
    let pages = stage.pages();
    let found = pages.run(0).expect("it stays a run");
    let is_left = found.owner.is_none_or(|owner| owner != life.me() && life.is_dead(owner));
    is_left && pages.adopt(0, found, life.me()) && allocate(stage, life)
}

/// An owner allocates and leaves, or dies anywhere; two others want the run. The block goes to one.
#[test]
fn pages_of_who_left_are_adopted() {
    let seen = [(true, [false, false]), (false, [false, false]), (false, [false, true]), (false, [true, false])];
    every_step(Some(2), &seen, |fate| {
        let (stage, kernel) = (Stage::new(), Kernel::new());
        stage.pages().take(0, run(1, 1));
        kernel.enter(1);
        let (s, k) = (stage.clone(), kernel.clone());
        let owner = thread::spawn(move || {
            let life = k.enter(1);
            let end = fate.run(|| {
                let got = allocate(&s, &life);
                assert!(s.pages().abandon(0, run(1, 1), false));
                got
            });
            if end.is_none() {
                k.bury(1, &[]);
            }
            end.unwrap_or(false)
        });
        let others = [2, 3].map(|id| {
            let (s, k) = (stage.clone(), kernel.clone());
            thread::spawn(move || adopt(&s, &k.enter(id)))
        });
        let first = owner.join().unwrap();
        (first, others.map(|other| other.join().unwrap()))
    });
}

/// The owner leaves an unused run; one adopts it and may die anywhere; the other comes then or in between.
#[test]
fn pages_adopter_dies_at_each_step() {
    let seen = [(None, false), (None, true), (Some(false), true), (Some(true), false)];
    every_step(Some(2), &seen, |fate| {
        let (stage, kernel) = (Stage::new(), Kernel::new());
        stage.pages().take(0, Run { owner: None, ..run(1, 1) });
        let (s, k) = (stage.clone(), kernel.clone());
        let mortal = thread::spawn(move || {
            let life = k.enter(1);
            let end = fate.run(|| adopt(&s, &life));
            if end.is_none() {
                k.bury(1, &[]);
            }
            end
        });
        let (s, k) = (stage.clone(), kernel.clone());
        let other = thread::spawn(move || adopt(&s, &k.enter(2)));
        let ends = (mortal.join().unwrap(), other.join().unwrap());
        let life = kernel.enter(7);
        let left = stage.pages().run(0).unwrap();
        assert!(left.owner.is_some(), "somebody tried");
        assert!(!left.is_spare);
        // Whatever the dead had, the run can be adopted again.
        if left.owner.is_some_and(|owner| life.is_dead(owner)) {
            assert!(stage.pages().adopt(0, left, life.me()));
        }
        ends
    });
}
