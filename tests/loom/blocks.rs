//! A block has one owner at a time, and none is lost with a process that had it in hand.

use std::sync::Arc;

use mutirao::model::{Kernel, Life, Payload, thread};
use mutirao::participant::{Liveness, ParticipantId};
use mutirao::raw::blocks::{self, BlockRef, BlockState, BlockWord, Hand, Reaped};
use mutirao::sync::{AtomicU64, Ordering::*};

use crate::support::{Fate, MORE, every_step, every_step_reordered, outcomes};

/// A place of a structure: who may touch what it refers to.
struct Cell {
    /// 0 empty, 1 full, 2 + id: being emptied.
    state: AtomicU64,
    block: AtomicU64,
}

const EMPTY: u64 = 0;
const FULL: u64 = 1;

/// Two blocks of one run, a hand, and a structure of two places. All generations are 1 unless said otherwise.
struct Stage {
    words: [AtomicU64; 2],
    payloads: [Payload; 2],
    hand: Hand,
    cells: [Cell; 2],
}

impl Stage {
    fn new() -> Arc<Self> {
        let cell = || Cell { state: AtomicU64::new(EMPTY), block: AtomicU64::new(9) };
        Arc::new(Self {
            words: [0, 0].map(AtomicU64::new),
            payloads: [0, 0].map(Payload::new),
            hand: Hand::new(),
            cells: [cell(), cell()],
        })
    }

    /// As the owner of the run: takes block `i` if it is free, and writes into it.
    fn allocate(&self, life: &Life, i: usize, hand: Option<&Hand>) -> Option<BlockRef> {
        let now = blocks::look(&self.words[i]);
        now.is_free().then(|| {
            let block = BlockRef { unit: i as u64, generation: now.generation() + 1 };
            if let Some(hand) = hand {
                hand.announce(block, 0);
            }
            blocks::hold(&self.words[i], life.me(), block.generation);
            self.payloads[i].set(block.generation);
            block
        })
    }

    /// The block in hand goes to place `at`.
    fn publish(&self, life: &Life, block: BlockRef, at: usize) {
        self.hand.set_place(at as u64 + 1);
        blocks::enliven(&self.words[block.unit as usize], life.me(), block.generation);
        self.put(block, at);
        self.hand.clear();
    }

    fn put(&self, block: BlockRef, at: usize) {
        self.cells[at].block.store(block.unit, Relaxed);
        self.cells[at].state.store(FULL, Release);
    }

    /// The block at place `at`, which is ours then.
    fn claim(&self, life: &Life, at: usize) -> Option<BlockRef> {
        let claimed = self.cells[at].state.compare_exchange(FULL, 2 + u64::from(life.me().get()), AcqRel, Relaxed);
        claimed.ok().map(|_| BlockRef { unit: self.cells[at].block.load(Relaxed), generation: 1 })
    }

    /// Takes the block at place `at` out of the structure, reads and frees it.
    fn consume(&self, life: &Life, at: usize) -> bool {
        self.claim(life, at).is_some_and(|block| {
            assert_eq!(self.payloads[block.unit as usize].get(), 1);
            assert!(blocks::free(&self.words[block.unit as usize], block.generation));
            self.cells[at].state.store(EMPTY, Release);
            true
        })
    }

    fn refers(&self, place: u64, block: BlockRef) -> bool {
        let Some(cell) = (place as usize).checked_sub(1).and_then(|at| self.cells.get(at)) else { return false };
        cell.state.load(Acquire) != EMPTY && cell.block.load(Relaxed) == block.unit
    }

    fn reap(&self, dead: u32) -> Reaped {
        let dead = ParticipantId::new(dead).unwrap();
        self.hand.reap(dead, |block| self.words.get(block.unit as usize), |place, block| self.refers(place, block))
    }

    /// Every block is free, or stands at exactly one place.
    fn check(&self) {
        for (i, word) in self.words.iter().enumerate() {
            let places =
                self.cells.iter().filter(|c| c.state.load(Acquire) != EMPTY && c.block.load(Relaxed) == i as u64);
            match (blocks::look(word).state(), places.count()) {
                (BlockState::Free, 0) | (BlockState::Live(_), 1) => {}
                (state, places) => panic!("block {i} is {state:?} and stands at {places} places"),
            }
        }
    }
}

/// The state of block 0 at the end.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum End {
    Free,
    Stands,
}

fn end(stage: &Stage) -> End {
    stage.check();
    if blocks::look(&stage.words[0]).is_free() { End::Free } else { End::Stands }
}

/// Runs `f` as participant 1, which may die; then whoever is there reaps it.
fn dying(
    stage: &Arc<Stage>,
    kernel: &Arc<Kernel>,
    fate: Fate,
    f: impl FnOnce(&Stage, &Life) + Send + 'static,
) -> thread::JoinHandle<()> {
    let (s, k) = (stage.clone(), kernel.clone());
    thread::spawn(move || {
        let life = k.enter(1);
        if fate.run(|| f(&s, &life)).is_none() {
            k.bury(1, &[]);
            k.enter(2);
            s.reap(1);
            assert_eq!(s.reap(1), Reaped::Nothing, "reaped twice");
        }
    })
}

#[test]
fn blocks_pass_from_hand_to_hand() {
    outcomes(None, &[(false, false), (false, true), (true, true)], || {
        let (stage, kernel) = (Stage::new(), Kernel::new());
        let (s, k) = (stage.clone(), kernel.clone());
        let owner = thread::spawn(move || {
            let life = k.enter(1);
            let block = s.allocate(&life, 0, Some(&s.hand)).expect("everything is free");
            s.publish(&life, block, 0);
            // Again, if it is free by now; the structure is not asked.
            s.allocate(&life, 0, Some(&s.hand)).is_some_and(|block| {
                blocks::release(&s.words[0], block.generation);
                s.hand.clear();
                true
            })
        });
        let (s, k) = (stage.clone(), kernel);
        let other = thread::spawn(move || s.consume(&k.enter(2), 0));
        let end = (owner.join().unwrap(), other.join().unwrap());
        stage.check();
        end
    });
}

/// The run belongs to another by now, who asks nobody about the life of whoever still holds a block of it.
#[test]
fn blocks_of_a_dead_hand_are_used_again() {
    let seen = [(End::Free, false), (End::Free, true), (End::Stands, false)];
    let marks = every_step(None, &seen, |fate| {
        let (stage, kernel) = (Stage::new(), Kernel::new());
        let held = BlockRef { unit: 0, generation: 1 };
        stage.hand.announce(held, 0);
        stage.words[0].store(BlockWord::held(ParticipantId::new(1).unwrap(), 1).bits(), Relaxed);
        let holder = dying(&stage, &kernel, fate, move |s, life| {
            s.payloads[0].set(1);
            s.publish(life, held, 0);
        });
        let (s, k) = (stage.clone(), kernel);
        let owner = thread::spawn(move || {
            let life = k.enter(3);
            s.allocate(&life, 0, None).is_some_and(|block| {
                blocks::release(&s.words[0], block.generation);
                true
            })
        });
        holder.join().unwrap();
        let used = owner.join().unwrap();
        (end(&stage), used)
    });
    assert!(MORE || marks.contains("block: taken out of a dead hand"));
    assert!(MORE || marks.contains("block: stays where it was put"));
}

/// Two blocks go through one hand, and its owner dies anywhere, with its stores in any order that a compiler may give
/// them: what stands in the structure stays, everything else is free.
#[test]
fn blocks_that_stand_in_a_structure_stay() {
    every_step_reordered(Some(1), 16, &[End::Free, End::Stands], |fate| {
        let (stage, kernel) = (Stage::new(), Kernel::new());
        let owner = dying(&stage, &kernel, fate, |s, life| {
            for i in 0..2 {
                let block = s.allocate(life, i, Some(&s.hand)).expect("everything is free");
                s.publish(life, block, i);
            }
        });
        owner.join().unwrap();
        end(&stage)
    });
}

/// A consumer takes the block while its producer dies and is reaped.
#[test]
fn blocks_are_consumed_while_their_producer_is_reaped() {
    every_step(Some(3), &[(End::Free, false), (End::Free, true), (End::Stands, false)], |fate| {
        let (stage, kernel) = (Stage::new(), Kernel::new());
        let owner = dying(&stage, &kernel, fate, |s, life| {
            let block = s.allocate(life, 0, Some(&s.hand)).expect("everything is free");
            s.publish(life, block, 0);
        });
        let (s, k) = (stage.clone(), kernel);
        let consumer = thread::spawn(move || s.consume(&k.enter(3), 0));
        owner.join().unwrap();
        let consumed = consumer.join().unwrap();
        (end(&stage), consumed)
    });
}

/// A block is moved to another place while whoever put it at the first one dies and is reaped.
#[test]
fn blocks_that_move_are_not_lost() {
    every_step(Some(3), &[(End::Free, false), (End::Stands, false), (End::Stands, true)], |fate| {
        let (stage, kernel) = (Stage::new(), Kernel::new());
        let owner = dying(&stage, &kernel, fate, |s, life| {
            let block = s.allocate(life, 0, Some(&s.hand)).expect("everything is free");
            s.publish(life, block, 0);
        });
        let (s, k) = (stage.clone(), kernel);
        let mover = thread::spawn(move || {
            let life = k.enter(3);
            let Some(block) = s.claim(&life, 0) else { return false };
            assert!(blocks::settle(&s.words[block.unit as usize], block.generation));
            s.put(block, 1);
            s.cells[0].state.store(EMPTY, Release);
            true
        });
        owner.join().unwrap();
        let moved = mover.join().unwrap();
        (end(&stage), moved)
    });
}

/// A consumer dies anywhere: its claim tells from the block whether the item was consumed.
#[test]
fn blocks_of_a_dead_consumer_are_freed_once() {
    every_step(None, &[0, 1], |fate| {
        let (stage, kernel) = (Stage::new(), Kernel::new());
        let life = kernel.enter(7);
        let block = stage.allocate(&life, 0, Some(&stage.hand)).expect("everything is free");
        stage.publish(&life, block, 0);
        let (s, k) = (stage.clone(), kernel.clone());
        let consumer = thread::spawn(move || {
            let life = k.enter(1);
            if fate.run(|| s.consume(&life, 0)).is_none() {
                k.bury(1, &[]);
            }
        });
        let (s, k) = (stage.clone(), kernel);
        let rescuer = thread::spawn(move || {
            let life = k.enter(2);
            let state = s.cells[0].state.load(Acquire);
            let Some(claimant) = state.checked_sub(2).and_then(|id| ParticipantId::new(id as u32)) else {
                return u32::from(s.consume(&life, 0));
            };
            if !life.is_dead(claimant) {
                return 0;
            }
            let block = BlockRef { unit: s.cells[0].block.load(Relaxed), generation: 1 };
            let was_there = blocks::free(&s.words[block.unit as usize], block.generation);
            s.cells[0].state.store(EMPTY, Release);
            u32::from(was_there)
        });
        consumer.join().unwrap();
        let rescued = rescuer.join().unwrap();
        // Whoever comes last finds the claim of the dead, if nobody did.
        if stage.cells[0].state.load(Acquire) == 2 + 1 {
            blocks::free(&stage.words[0], 1);
            stage.cells[0].state.store(EMPTY, Release);
        }
        stage.check();
        rescued
    });
}

/// A reaper dies anywhere, and another one begins again, while the owner of the run allocates.
#[test]
fn blocks_are_reaped_by_who_comes_after_a_dead_reaper() {
    for (published, state) in [(false, BlockWord::held as fn(_, _) -> _), (true, |id, g| BlockWord::live(Some(id), g))]
    {
        let seen: &[_] = if published { &[(End::Stands, false)] } else { &[(End::Free, false), (End::Free, true)] };
        every_step(None, seen, move |fate| {
            let (stage, kernel) = (Stage::new(), Kernel::new());
            let dead = ParticipantId::new(6).unwrap();
            stage.hand.announce(BlockRef { unit: 0, generation: 1 }, 1);
            stage.words[0].store(state(dead, 1).bits(), Relaxed);
            if published {
                stage.put(BlockRef { unit: 0, generation: 1 }, 0);
            }
            let (s, k) = (stage.clone(), kernel.clone());
            let reaper = thread::spawn(move || {
                k.enter(1);
                if fate.run(|| s.reap(6)).is_none() {
                    k.bury(1, &[]);
                    k.enter(2);
                    s.reap(6);
                }
            });
            let (s, k) = (stage.clone(), kernel);
            let owner = thread::spawn(move || {
                let life = k.enter(3);
                s.allocate(&life, 0, None).is_some_and(|block| {
                    blocks::release(&s.words[0], block.generation);
                    true
                })
            });
            reaper.join().unwrap();
            let used = owner.join().unwrap();
            (end(&stage), used)
        });
    }
}

/// What leaves a structure is kept in hand to stand at another place, and who keeps it dies anywhere, with its stores in any
/// order that a compiler may give them. Whoever settles its claim and whoever reaps its hand may come in either order.
#[test]
fn blocks_that_are_used_again_are_not_lost() {
    for reaped_first in [false, true] {
        every_step_reordered(Some(1), 16, &[End::Free, End::Stands], move |fate| {
            let (stage, kernel) = (Stage::new(), Kernel::new());
            let block = stage.allocate(&kernel.enter(7), 0, None).expect("everything is free");
            blocks::enliven(&stage.words[0], ParticipantId::new(7).unwrap(), 1);
            stage.put(block, 0);
            let (s, k) = (stage.clone(), kernel.clone());
            let user = thread::spawn(move || {
                let life = k.enter(1);
                let done = fate.run(|| {
                    let block = s.claim(&life, 0).expect("it stands there");
                    let again = blocks::retake(&s.words[0], &s.hand, life.me(), block);
                    assert!(!blocks::free(&s.words[0], block.generation), "nobody frees it any more");
                    s.cells[0].state.store(EMPTY, Release);
                    s.payloads[0].set(again.generation);
                    s.publish(&life, again, 1);
                });
                if done.is_some() {
                    return;
                }
                k.bury(1, &[]);
                k.enter(2);
                if reaped_first {
                    s.reap(1);
                }
                if s.cells[0].state.load(Acquire) == 2 + 1 {
                    blocks::free(&s.words[0], 1);
                    s.cells[0].state.store(EMPTY, Release);
                }
                s.reap(1);
                assert_eq!(s.reap(1), Reaped::Nothing, "reaped twice");
            });
            user.join().unwrap();
            end(&stage)
        });
    }
}
