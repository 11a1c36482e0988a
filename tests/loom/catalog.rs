//! A name leads to one object, an object's memory is given back once and not before its last holder is gone, and no death
//! keeps either.

use std::sync::Arc;

use mutirao::deadline::Deadline;
use mutirao::model::{Kernel, Life, Payload, thread};
use mutirao::raw::catalog::{Catalog, Claim, Phase, Slot, Slots, State, Unpublished};
use mutirao::raw::lock::RawLock;
use mutirao::sync::{AtomicU32, Ordering::Relaxed, Patience};

use crate::support::{Fate, LIVES, MORE, every_step, every_step_reordered, outcomes};

/// Two places, each with a name and the memory of an object, that loom watches.
struct Shop {
    names: RawLock,
    slots: [Slot<1>; 2],
    labels: [AtomicU32; 2],
    memory: [Payload; 2],
    freed: [Payload; 2],
}

impl Slots<1> for Shop {
    fn len(&self) -> usize {
        self.slots.len()
    }
    fn slot(&self, i: usize) -> &Slot<1> {
        &self.slots[i]
    }
}

/// The row of a participant.
const fn row(id: u32) -> usize {
    id as usize - 1
}

impl Shop {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            names: RawLock::new(),
            slots: [Slot::new(), Slot::new()],
            labels: [0, 0].map(AtomicU32::new),
            memory: [0, 0].map(Payload::new),
            freed: [0, 0].map(Payload::new),
        })
    }

    fn catalog(&self) -> Catalog<'_, 1, Self> {
        Catalog { names: &self.names, slots: self }
    }

    /// Makes the object `label`, or one without a name for zero.
    fn create(&self, life: &Life, id: u32, label: u32) -> Result<(usize, State), Unpublished> {
        let (i, claim) = self.catalog().claim(life, row(id), 0).expect("two places for two creators");
        self.memory[i].set(u64::from(id));
        self.labels[i].store(label, Relaxed);
        let published = match label {
            0 => self.slots[i].publish_nameless(claim).ok_or(Unpublished::Corrupt),
            _ => {
                let same = |other: usize| self.labels[other].load(Relaxed) == label;
                let mut patience = Patience::new(Deadline::NEVER);
                self.catalog().publish_named(i, claim, life, &mut patience, same)
            }
        };
        if published.is_err() {
            self.slots[i].let_go(row(id));
            self.free(i, claim);
        }
        published.map(|state| (i, state))
    }

    /// Gives the memory back: nobody may touch it meanwhile.
    fn free(&self, i: usize, claim: Claim) {
        self.give_back(i);
        assert!(self.slots[i].vacate(claim), "the slot was ours");
    }

    /// May find that it was done already, by one who died then.
    fn give_back(&self, i: usize) {
        if self.memory[i].get() != 0 {
            self.memory[i].set(0);
            self.freed[i].set(self.freed[i].get() + 1);
        }
    }

    /// Opens what stands in the first place, uses it, and lets go.
    fn visit(&self, life: &Life, id: u32, i: usize) -> bool {
        let state = self.slots[i].look();
        if !state.is_alive() {
            return false;
        }
        let held = self.slots[i].hold(row(id), state);
        if held {
            assert_ne!(self.memory[i].get(), 0, "gone under a holder's hands");
        }
        self.leave(life, id, i);
        held
    }

    fn leave(&self, life: &Life, id: u32, i: usize) {
        self.slots[i].let_go(row(id));
        if let Some(claim) = self.slots[i].take_over(life) {
            self.free(i, claim);
        }
    }

    fn remove(&self, life: &Life, i: usize, state: State) -> bool {
        let removed = self.slots[i].remove(state);
        if let Some(claim) = self.slots[i].take_over(life) {
            self.free(i, claim);
        }
        removed
    }

    /// What the reaper of a row does.
    fn reap(&self, life: &Life, id: u32) {
        self.slots.iter().for_each(|slot| slot.let_go(row(id)));
        self.tend(life);
    }

    fn tend(&self, life: &Life) -> u32 {
        self.catalog().tend(life, |i| self.give_back(i))
    }

    /// Buries and reaps a participant, if it died.
    fn settle<R>(&self, kernel: &Arc<Kernel>, id: u32, end: &Option<R>) {
        if end.is_none() {
            kernel.bury(id, &[self.names.futex()]);
            self.reap(&kernel.enter(6), id);
        }
    }

    /// Everybody left: what is there, once all that waits for it was freed.
    fn phases(&self, kernel: &Arc<Kernel>) -> [Phase; 2] {
        let life = kernel.enter(7);
        self.tend(&life);
        assert_eq!(self.tend(&life), 0, "one round is enough");
        let phases = self.slots.each_ref().map(|slot| slot.look().phase().expect("makes sense"));
        for (phase, memory) in phases.iter().zip(&self.memory) {
            assert_eq!(memory.get() == 0, *phase == Phase::Empty, "memory that nobody has, or that is missing");
        }
        phases
    }
}

/// Two make an object of one name. Who succeeded, and how many objects there are.
fn creators(fate: Fate, living: u32) -> (Vec<bool>, usize) {
    let (shop, kernel) = (Shop::new(), Kernel::new());
    let actors: Vec<_> = (1..=living + 1)
        .map(|id| {
            let (shop, kernel) = (shop.clone(), kernel.clone());
            thread::spawn(move || {
                let life = kernel.enter(id);
                let fate = if id == 1 { fate } else { LIVES };
                let end = fate.run(|| shop.create(&life, id, 9).is_ok());
                shop.settle(&kernel, id, &end);
                end
            })
        })
        .collect();
    let ends: Vec<_> = actors.into_iter().map(|actor| actor.join().unwrap()).collect();
    let named = shop.phases(&kernel).iter().filter(|phase| **phase == Phase::Named).count();
    assert!(named <= 1, "two objects of one name");
    assert!(ends.iter().flatten().filter(|won| **won).count() <= named);
    (ends.into_iter().skip(1).flatten().collect(), named)
}

#[test]
fn catalog_gives_a_name_once() {
    outcomes(Some(3), &[(vec![true], 1), (vec![false], 1)], || creators(LIVES, 1));
}

#[test]
fn catalog_creator_dies_at_each_step() {
    let marks = every_step(Some(2), &[(vec![true], 1), (vec![false], 1)], |fate| creators(fate, 1));
    assert!(MORE || marks.contains("catalog: taken over from the dead"));
}

#[test]
fn catalog_creator_dies_with_its_stores_reordered() {
    every_step_reordered(Some(1), 4, &[(vec![true], 1), (vec![false], 1)], |fate| creators(fate, 1));
}

/// Who of three has this fate.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Dies {
    Holder,
    Remover,
    Opener,
}

/// An object with a name and a holder; another removes it, a third opens it. Whether the opener got it.
fn removal(dies: Dies, fate: Fate) -> bool {
    let (shop, kernel) = (Shop::new(), Kernel::new());
    let (i, state) = shop.create(&kernel.enter(1), 1, 9).expect("nobody else");
    let fate_of = |who| if who == dies { fate } else { LIVES };
    let act = |id: u32, fate: Fate, f: fn(&Shop, &Life, usize, State) -> bool| {
        let (shop, kernel) = (shop.clone(), kernel.clone());
        thread::spawn(move || {
            let life = kernel.enter(id);
            let end = fate.run(|| f(&shop, &life, i, state));
            shop.settle(&kernel, id, &end);
            end
        })
    };
    let holder = act(1, fate_of(Dies::Holder), |shop, life, i, _| {
        assert_eq!(shop.memory[i].get(), 1, "gone under a holder's hands");
        shop.leave(life, 1, i);
        true
    });
    let remover = act(2, fate_of(Dies::Remover), |shop, life, i, state| shop.remove(life, i, state));
    let opener = act(3, fate_of(Dies::Opener), |shop, life, i, _| shop.visit(life, 3, i));
    holder.join().unwrap();
    let removed = remover.join().unwrap();
    let opened = opener.join().unwrap();
    assert_ne!(removed, Some(false), "it was there to be removed");
    let expected = if removed.is_some() { Phase::Empty } else { shop.slots[i].look().phase().unwrap() };
    // A remover that died has removed it or not, whole.
    assert!(matches!(expected, Phase::Empty | Phase::Named), "{expected:?}");
    assert_eq!(shop.phases(&kernel)[i], expected);
    assert_eq!(shop.freed[i].get(), u64::from(expected == Phase::Empty), "freed once");
    opened.unwrap_or(false)
}

#[test]
fn catalog_object_outlives_its_removal_until_its_last_holder_is_gone() {
    outcomes(Some(2), &[false, true], || removal(Dies::Holder, LIVES));
}

#[test]
fn catalog_holder_dies_at_each_step() {
    every_step(Some(2), &[false, true], |fate| removal(Dies::Holder, fate));
}

#[test]
fn catalog_remover_dies_at_each_step() {
    every_step(Some(2), &[false, true], |fate| removal(Dies::Remover, fate));
}

#[test]
fn catalog_opener_dies_at_each_step() {
    every_step(Some(2), &[false, true], |fate| removal(Dies::Opener, fate));
}

/// An object without a name, held by two; both let go. It is freed once, whoever dies.
#[test]
fn catalog_nameless_object_goes_with_its_last_holder() {
    every_step(Some(3), &[()], |fate| {
        let (shop, kernel) = (Shop::new(), Kernel::new());
        let (i, state) = shop.create(&kernel.enter(1), 1, 0).expect("nobody else");
        assert!(shop.slots[i].hold(row(2), state));
        let holders = [1, 2].map(|id| {
            let (shop, kernel) = (shop.clone(), kernel.clone());
            thread::spawn(move || {
                let life = kernel.enter(id);
                let end = if id == 1 { fate } else { LIVES }.run(|| {
                    assert_eq!(shop.memory[i].get(), 1, "gone under a holder's hands");
                    shop.leave(&life, id, i);
                });
                shop.settle(&kernel, id, &end);
            })
        });
        holders.into_iter().for_each(|holder| holder.join().unwrap());
        assert_eq!(shop.phases(&kernel), [Phase::Empty; 2]);
        assert_eq!(shop.freed[i].get(), 1, "freed once");
    });
}

/// What is opened is whole.
#[test]
fn catalog_object_is_opened_whole() {
    outcomes(Some(3), &[false, true], || {
        let (shop, kernel) = (Shop::new(), Kernel::new());
        let (s, k) = (shop.clone(), kernel.clone());
        let maker = thread::spawn(move || s.create(&k.enter(1), 1, 9).map(|(i, _)| assert_eq!(i, 0)));
        let (s, k) = (shop.clone(), kernel.clone());
        let opener = thread::spawn(move || s.visit(&k.enter(2), 2, 0));
        maker.join().unwrap().expect("nobody else");
        opener.join().unwrap()
    });
}

/// An object with a name: its two holders leave while it is removed. Nobody is left to tend: the last to leave or remove
/// frees it.
#[test]
fn catalog_last_to_leave_frees() {
    outcomes(Some(3), &[()], || {
        let (shop, kernel) = (Shop::new(), Kernel::new());
        let (i, state) = shop.create(&kernel.enter(1), 1, 9).expect("nobody else");
        assert!(shop.slots[i].hold(row(2), state));
        let leavers = [1, 2].map(|id| {
            let (shop, kernel) = (shop.clone(), kernel.clone());
            thread::spawn(move || shop.leave(&kernel.enter(id), id, i))
        });
        let (s, k) = (shop.clone(), kernel.clone());
        let remover = thread::spawn(move || assert!(s.remove(&k.enter(3), i, state)));
        leavers.into_iter().for_each(|leaver| leaver.join().unwrap());
        remover.join().unwrap();
        assert_eq!(shop.freed[i].get(), 1, "left to nobody");
    });
}

/// Whoever tends meets a claim as soon as it stands there, and leaves it to its living creator.
#[test]
fn catalog_recovery_leaves_the_claims_of_the_living() {
    outcomes(Some(3), &[()], || {
        let (shop, kernel) = (Shop::new(), Kernel::new());
        let (s, k) = (shop.clone(), kernel.clone());
        let maker = thread::spawn(move || s.create(&k.enter(1), 1, 9).is_ok());
        let (s, k) = (shop.clone(), kernel.clone());
        let tender = thread::spawn(move || s.tend(&k.enter(2)));
        assert!(maker.join().unwrap(), "nobody else");
        assert_eq!(tender.join().unwrap(), 0, "taken from the living");
    });
}

/// Two find an object that nobody holds; one frees it, and the other one leaves it to that one.
#[test]
fn catalog_freeing_is_left_to_the_living() {
    outcomes(None, &[(0, 1), (1, 0)], || {
        let (shop, kernel) = (Shop::new(), Kernel::new());
        let (i, _) = shop.create(&kernel.enter(1), 1, 0).expect("nobody else");
        shop.slots[i].let_go(row(1));
        let tenders = [2, 3].map(|id| {
            let (shop, kernel) = (shop.clone(), kernel.clone());
            thread::spawn(move || shop.tend(&kernel.enter(id)))
        });
        let [one, two] = tenders.map(|tender| tender.join().unwrap());
        assert_eq!(shop.freed[i].get(), 1, "freed once");
        (one, two)
    });
}

/// Whoever takes over from the dead dies in turn; a third goes on.
#[test]
fn catalog_recoverer_dies_at_each_step() {
    every_step(Some(2), &[()], |fate| {
        let (shop, kernel) = (Shop::new(), Kernel::new());
        // A creator that died with its claim: it has written, and published nothing.
        let (i, _) = shop.catalog().claim(&kernel.enter(1), row(1), 0).expect("nobody else");
        shop.memory[i].set(1);
        kernel.bury(1, &[]);
        let tenders = [2, 3].map(|id| {
            let (shop, kernel) = (shop.clone(), kernel.clone());
            thread::spawn(move || {
                let life = kernel.enter(id);
                let end = if id == 2 { fate } else { LIVES }.run(|| shop.reap(&life, 1));
                shop.settle(&kernel, id, &end);
            })
        });
        tenders.into_iter().for_each(|tender| tender.join().unwrap());
        assert_eq!(shop.phases(&kernel), [Phase::Empty; 2]);
    });
}

/// The slot is used again at once: the next creator writes after the last reader, and a late opener of the first object
/// does not get the second.
#[test]
fn catalog_slot_is_used_again_after_its_last_holder() {
    outcomes(Some(2), &[(false, 0), (false, 1), (true, 0), (true, 1)], || {
        let (shop, kernel) = (Shop::new(), Kernel::new());
        let (i, state) = shop.create(&kernel.enter(1), 1, 9).expect("nobody else");
        let (s, k) = (shop.clone(), kernel.clone());
        let opener = thread::spawn(move || {
            let life = k.enter(2);
            let held = s.slots[i].hold(row(2), state);
            if held {
                assert_eq!(s.memory[i].get(), 1, "another's memory");
            }
            s.leave(&life, 2, i);
            held
        });
        let (s, k) = (shop.clone(), kernel.clone());
        let maker = thread::spawn(move || {
            let life = k.enter(3);
            assert!(s.remove(&life, i, state));
            s.leave(&life, 1, i);
            s.create(&life, 3, 9).expect("the name is free").0
        });
        (opener.join().unwrap(), maker.join().unwrap())
    });
}
