//! A list is whole for whoever reads it, whatever becomes of its writers, and no block of it is lost or used twice.

#[cfg(not(mutirao_shuttle))]
use std::collections::BTreeSet;
use std::sync::Arc;

use mutirao::deadline::Deadline;
use mutirao::model::{Kernel, Life, thread};
use mutirao::participant::{Liveness, ParticipantId};
use mutirao::raw::blocks::{self, BlockRef, BlockState, Hand};
use mutirao::raw::list::{Blocks, Damaged, ListHeader, ListPlace, RawList};
use mutirao::raw::list_word::{Chunks, ListWord, Said};
use mutirao::raw::list_write::{Fresh, FreshChunk, NewItem, Supply, Writing};
use mutirao::sync::{AtomicU64, Ordering::*, Patience};

use crate::support::{Fate, MORE, every_step, every_step_reordered, explore, outcomes};

/// A block: an item, whose words are the same, or a chunk of two slots.
struct Block {
    word: AtomicU64,
    data: [AtomicU64; 2],
}

/// A list whose chunks have one slot and two, and the blocks that it may have. Each writer allocates from its own.
struct Stage {
    header: ListHeader,
    blocks: Vec<Block>,
    hands: [Hand; 2],
}

const EACH: usize = 5;

#[derive(Clone, Copy)]
struct Memory<'a>(&'a Stage);

impl<'a> Memory<'a> {
    /// The block that the word refers to, and in which generation it is that.
    fn find(&self, word: ListWord) -> Option<(&'a AtomicU64, u64)> {
        let Said::Block { unit } = word.said() else { return None };
        let found = &self.0.blocks.get((unit as usize).checked_sub(1)?)?.word;
        let generation = blocks::look(found).generation();
        (ListWord::of_block(BlockRef { unit, generation }) == Some(word)).then_some((found, generation))
    }
}

impl Blocks for Memory<'_> {
    fn slots(&self, chunk: ListWord, len: usize) -> Option<&[AtomicU64]> {
        let Said::Block { unit } = chunk.said() else { return None };
        self.0.blocks.get((unit as usize).checked_sub(1)?)?.data.get(..len)
    }

    fn free(&self, block: ListWord) -> bool {
        self.find(block).is_some_and(|(word, generation)| blocks::free(word, generation))
    }

    fn settle(&self, block: ListWord) {
        if let Some((word, generation)) = self.find(block) {
            blocks::settle(word, generation);
        }
    }
}

/// What a writer takes blocks from, and which hands it has.
struct Mine<'a> {
    stage: &'a Stage,
    life: &'a Life,
    hands: &'a [Hand; 2],
    first: usize,
}

struct InHand<'a> {
    stage: &'a Stage,
    life: &'a Life,
    hand: &'a Hand,
    block: BlockRef,
    is_put: bool,
}

impl<'a> Mine<'a> {
    fn take(&self, hand: usize) -> Result<InHand<'a>, Damaged> {
        let (stage, life, hand) = (self.stage, self.life, &self.hands[hand]);
        for at in self.first..self.first + EACH {
            let now = blocks::look(&stage.blocks[at].word);
            if now.is_free() {
                let block = BlockRef { unit: at as u64 + 1, generation: now.generation() + 1 };
                hand.announce(block, 0);
                blocks::hold(&stage.blocks[at].word, life.me(), block.generation);
                return Ok(InHand { stage, life, hand, block, is_put: false });
            }
        }
        Err(Damaged)
    }

    fn item(&self, value: u64) -> Result<NewItem<InHand<'a>>, Damaged> {
        let block = self.take(0)?;
        block.data().iter().for_each(|word| word.store(value, Relaxed));
        Ok(NewItem::Block(block))
    }
}

impl<'a> Supply for Mine<'a> {
    type Chunk = InHand<'a>;
    type Error = Damaged;

    fn chunk(&self, _: usize) -> Result<InHand<'a>, Damaged> {
        self.take(1)
    }
}

impl InHand<'_> {
    fn data(&self) -> &[AtomicU64; 2] {
        &self.stage.blocks[self.block.unit as usize - 1].data
    }

    fn word_field(&self) -> &AtomicU64 {
        &self.stage.blocks[self.block.unit as usize - 1].word
    }
}

impl Fresh for InHand<'_> {
    fn word(&self) -> ListWord {
        ListWord::of_block(self.block).expect("few units")
    }

    fn place(&self, place: ListPlace) {
        self.hand.set_place(place.bits());
        blocks::enliven(self.word_field(), self.life.me(), self.block.generation);
    }

    fn settled(mut self) {
        blocks::settle(self.word_field(), self.block.generation);
        self.hand.clear();
        self.is_put = true;
    }
}

impl FreshChunk for InHand<'_> {
    fn slots(&self) -> &[AtomicU64] {
        self.data()
    }
}

impl Drop for InHand<'_> {
    fn drop(&mut self) {
        if !self.is_put {
            blocks::release(self.word_field(), self.block.generation);
            self.hand.clear();
        }
    }
}

type Write<'a> = Writing<'a, Memory<'a>>;

impl Stage {
    /// A list of these items, put there by somebody who left. `writers` is how many will write.
    fn new(kernel: &Arc<Kernel>, writers: usize, items: &[u64]) -> Arc<Self> {
        let block = || Block { word: AtomicU64::new(0), data: [0, 0].map(AtomicU64::new) };
        let all = (0..EACH * (writers + 1)).map(|_| block()).collect();
        let stage = Arc::new(Self { header: ListHeader::new(), blocks: all, hands: [Hand::new(), Hand::new()] });
        let (life, hands) = (kernel.enter(6), [Hand::new(), Hand::new()]);
        let founder = Mine { stage: &stage, life: &life, hands: &hands, first: 0 };
        let mut writing = stage.write(&life);
        for &value in items {
            writing.push(&founder, founder.item(value).unwrap()).unwrap();
        }
        writing.end();
        stage
    }

    fn list(&self) -> RawList<'_, Memory<'_>> {
        let chunks = Chunks::new(0, 2).expect("few chunks");
        RawList { header: &self.header, blocks: Memory(self), chunks, refers: true }
    }

    fn write(&self, life: &Life) -> Write<'_> {
        self.list().write(life, &mut Patience::new(Deadline::NEVER)).expect("sleeps until it is its turn")
    }

    /// The two words of an item.
    fn copy(&self, word: ListWord) -> [u64; 2] {
        let Said::Block { unit } = word.said() else { return [0, 1] };
        self.blocks.get(unit as usize - 1).map_or([0, 1], |b| b.data.each_ref().map(|word| word.load(Relaxed)))
    }

    /// The item of this index. 0: there is none; 100: it was not to be had in one try.
    fn read(&self, index: u64) -> u64 {
        match self.list().see(index) {
            Ok(None) => 0,
            Ok(Some(seen)) => {
                let [one, two] = self.copy(seen.word);
                if !self.list().stands(&seen) {
                    return 100;
                }
                assert_eq!(one, two, "torn");
                one
            }
            Err(error) => panic!("{error:?}"),
        }
    }

    /// All items in one moment, as digits; 0 if it was not to be had in one try.
    fn read_all(&self) -> u64 {
        let list = self.list();
        let moment = list.moment();
        let all: Vec<_> = (0..moment.len.min(3))
            .map(|index| list.at(&moment, index).map_or([0, 1], |word| self.copy(word)))
            .collect();
        if !list.lasted(&moment) {
            return 0;
        }
        all.into_iter().fold(9, |digits, [one, two]| {
            assert_eq!(one, two, "torn");
            10 * digits + one
        })
    }

    fn reap(&self, dead: u32) {
        self.reap_hands(&self.hands, dead);
    }

    fn reap_hands(&self, hands: &[Hand; 2], dead: u32) {
        let dead = ParticipantId::new(dead).unwrap();
        for hand in hands {
            let find = |block: BlockRef| Some(&self.blocks.get((block.unit as usize).checked_sub(1)?)?.word);
            hand.reap(dead, find, |place, block| {
                let word = ListWord::of_block(block).expect("few units");
                self.list().place_refers(ListPlace::from_bits(place), word)
            });
        }
    }

    /// Whoever is left finds every block free, or at exactly one place, and settled. The items, as digits.
    fn check(&self, life: &Life) -> u64 {
        let writing = self.write(life);
        let items: Vec<_> = (0..writing.len()).map(|index| writing.at(index).unwrap()).collect();
        let places: Vec<_> = items.iter().copied().chain((0..2).filter_map(|number| writing.chunk(number))).collect();
        for (at, block) in self.blocks.iter().enumerate() {
            let now = blocks::look(&block.word);
            let of = BlockRef { unit: at as u64 + 1, generation: now.generation() };
            let places = places.iter().filter(|word| word.refers_to(of)).count();
            match (now.state(), places) {
                (BlockState::Free, 0) | (BlockState::Live(None), 1) => {}
                (state, places) => panic!("block {at} is {state:?} and stands at {places} places"),
            }
        }
        writing.end();
        items.into_iter().fold(9, |digits, word| {
            let [one, two] = self.copy(word);
            assert_eq!(one, two, "torn");
            10 * digits + one
        })
    }
}

/// A change that a writer makes.
type Change = fn(&mut Write<'_>, &Mine<'_>) -> Result<(), Damaged>;

fn push(writing: &mut Write<'_>, mine: &Mine<'_>) -> Result<(), Damaged> {
    writing.push(mine, mine.item(4)?)
}

fn replace(writing: &mut Write<'_>, mine: &Mine<'_>) -> Result<(), Damaged> {
    writing.replace(0, mine.item(5)?)
}

fn pop(writing: &mut Write<'_>, _: &Mine<'_>) -> Result<(), Damaged> {
    writing.truncate(writing.len().saturating_sub(1))
}

fn insert(writing: &mut Write<'_>, mine: &Mine<'_>) -> Result<(), Damaged> {
    writing.insert(mine, 0, mine.item(6)?)
}

fn remove(writing: &mut Write<'_>, mine: &Mine<'_>) -> Result<(), Damaged> {
    writing.remove(mine, 0)
}

fn extend(writing: &mut Write<'_>, mine: &Mine<'_>) -> Result<(), Damaged> {
    writing.extend(mine, [7, 8].into_iter().map(|value| mine.item(value))).map(drop)
}

fn reverse(writing: &mut Write<'_>, mine: &Mine<'_>) -> Result<(), Damaged> {
    let last = writing.len() - 1;
    writing.rearrange(mine, 0, last + 1, |at| last - at)
}

fn clear(writing: &mut Write<'_>, _: &Mine<'_>) -> Result<(), Damaged> {
    writing.truncate(0)?;
    writing.shrink(0);
    Ok(())
}

/// Makes the change as participant 1, who may die and is reaped then.
fn dying(stage: &Arc<Stage>, kernel: &Arc<Kernel>, fate: Fate, change: Change) -> thread::JoinHandle<()> {
    let (stage, kernel) = (stage.clone(), kernel.clone());
    thread::spawn(move || {
        let life = kernel.enter(1);
        let mine = Mine { stage: &stage, life: &life, hands: &stage.hands, first: EACH };
        let done = fate.run(|| {
            let mut writing = stage.write(&life);
            change(&mut writing, &mine).unwrap();
            writing.end();
        });
        if done.is_none() {
            kernel.bury(1, &[stage.header.lock_field().futex()]);
            kernel.enter(2);
            stage.reap(1);
        }
    })
}

/// One who makes the change and dies at each of its steps, and whoever looks after it.
fn each_step(items: &'static [u64], change: Change, possible: &[u64]) {
    every_step_reordered(Some(2), 4, possible, move |fate| {
        let kernel = Kernel::new();
        let stage = Stage::new(&kernel, 1, items);
        dying(&stage, &kernel, fate, change).join().unwrap();
        stage.check(&kernel.enter(7))
    });
}

/// As above, with another writer who pushes a 3 at any time, and may meet the death before the reaper does.
fn beside_another(items: &'static [u64], change: Change, possible: &[u64]) {
    let marks = every_step(Some(2), possible, move |fate| {
        let kernel = Kernel::new();
        let stage = Stage::new(&kernel, 2, items);
        let mortal = dying(&stage, &kernel, fate, change);
        let (s, k) = (stage.clone(), kernel.clone());
        let other = thread::spawn(move || {
            let (life, hands) = (k.enter(3), [Hand::new(), Hand::new()]);
            let mine = Mine { stage: &s, life: &life, hands: &hands, first: 2 * EACH };
            let item = mine.item(3).unwrap();
            let mut writing = s.write(&life);
            writing.push(&mine, item).unwrap();
            writing.end();
        });
        mortal.join().unwrap();
        other.join().unwrap();
        stage.check(&kernel.enter(7))
    });
    assert!(MORE || marks.contains("list: repaired"));
}

#[test]
fn list_pusher_dies_at_each_step() {
    each_step(&[], push, &[9, 94]);
    each_step(&[1], push, &[91, 914]);
}

#[test]
fn list_replacer_dies_at_each_step() {
    each_step(&[1], replace, &[91, 95]);
}

#[test]
fn list_popper_dies_at_each_step() {
    each_step(&[1, 2], pop, &[912, 91]);
}

#[test]
fn list_inserter_dies_at_each_step() {
    each_step(&[1, 2], insert, &[912, 9612]);
}

#[test]
fn list_remover_dies_at_each_step() {
    each_step(&[1, 2], remove, &[912, 92]);
}

#[test]
fn list_extender_dies_at_each_step() {
    each_step(&[1], extend, &[91, 9178]);
}

#[test]
fn list_rearranger_dies_at_each_step() {
    each_step(&[1, 2], reverse, &[912, 921]);
}

#[test]
fn list_clearer_dies_at_each_step() {
    each_step(&[1, 2], clear, &[912, 9]);
}

#[test]
fn list_pusher_dies_beside_another() {
    beside_another(&[], push, &[93, 934, 943]);
}

#[test]
fn list_replacer_dies_beside_another() {
    beside_another(&[1], replace, &[913, 953]);
}

#[test]
fn list_popper_dies_beside_another() {
    beside_another(&[1], pop, &[913, 93, 91]);
}

#[test]
fn list_remover_dies_beside_another() {
    beside_another(&[1, 2], remove, &[9123, 923]);
}

/// The change of one who dies at each of its steps, `first`, is repaired by another who makes the second change and dies too, at
/// each step and with its stores in other orders. What came of it.
#[cfg(not(mutirao_shuttle))] // one after the other: there is nothing to draw at random
fn two_deaths(items: &'static [u64], [one, two]: [Change; 2], first: u32) -> (BTreeSet<u64>, bool) {
    let (mut found, mut died) = (BTreeSet::new(), false);
    for second in 0.. {
        let mut both = false;
        // In order, or `putting` before what stands in front of it.
        for late in [0, 1 << 3] {
            let seen = explore(Some(1), move || {
                let kernel = Kernel::new();
                let stage = Stage::new(&kernel, 3, items);
                let fates = [Fate { step: Some(first), late: None }, Fate { step: Some(second), late: Some(late) }];
                let dies = |id: u32, change: Change, fate: Fate, hands: [Hand; 2]| {
                    let (s, k) = (stage.clone(), kernel.clone());
                    let actor = thread::spawn(move || {
                        let life = k.enter(id);
                        let own = if id == 1 { &s.hands } else { &hands };
                        let mine = Mine { stage: &s, life: &life, hands: own, first: EACH * id as usize };
                        let done = fate.run(|| {
                            let mut writing = s.write(&life);
                            change(&mut writing, &mine).unwrap();
                            writing.end();
                        });
                        if done.is_none() {
                            k.bury(id, &[]);
                            s.reap_hands(own, id);
                        }
                        done.is_none()
                    });
                    actor.join().unwrap()
                };
                let dead = [1, 2].map(|id: u32| {
                    let at = id as usize - 1;
                    dies(id, [one, two][at], fates[at], [Hand::new(), Hand::new()])
                });
                (stage.check(&kernel.enter(7)), dead)
            });
            found.extend(seen.outcomes.iter().map(|(digits, _)| *digits));
            died |= seen.outcomes.iter().any(|(_, [first, _])| *first);
            both |= seen.outcomes.iter().any(|(_, [_, second])| *second);
        }
        if !both {
            return (found, died);
        }
    }
    unreachable!()
}

/// Whoever repairs after a death dies too, each of them anywhere.
#[test]
#[cfg(not(mutirao_shuttle))] // as `two_deaths`
fn list_repairer_dies_at_each_step() {
    fn replace_last(writing: &mut Write<'_>, mine: &Mine<'_>) -> Result<(), Damaged> {
        writing.replace(writing.len() - 1, mine.item(3)?)
    }
    const CASES: [(&[u64], Change, &[u64]); 4] = [
        (&[1, 2], replace, &[912, 952, 913, 953]),
        (&[1], extend, &[91, 93, 9178, 9173]),
        (&[1, 2], remove, &[912, 913, 92, 93]),
        (&[1, 2], insert, &[912, 913, 9612, 9613]),
    ];
    for (items, change, possible) in CASES {
        let mut all = BTreeSet::new();
        for first in 0.. {
            let (found, died) = two_deaths(items, [change, replace_last], first);
            all.extend(found);
            if !died {
                break;
            }
        }
        assert_eq!(all, possible.iter().copied().collect());
    }
}

/// A writer who has prepared a shorter list dies before it counts: a reader who is late does not take its length.
#[test]
fn list_length_of_the_dead_is_not_believed() {
    let alive = [(2, 912), (1, 921), (2, 921), (100, 921)];
    let mut possible: Vec<_> = [0, 1, 2, 100].iter().map(|read| (*read, 91)).collect();
    possible.extend(alive);
    every_step(Some(1), &possible, |fate| {
        let kernel = Kernel::new();
        let stage = Stage::new(&kernel, 1, &[1, 2]);
        let twice: Change = |writing, mine| {
            reverse(writing, mine)?;
            remove(writing, mine)
        };
        let writer = dying(&stage, &kernel, fate, twice);
        let s = stage.clone();
        let reader = thread::spawn(move || s.read(1));
        writer.join().unwrap();
        let read = reader.join().unwrap();
        (read, stage.check(&kernel.enter(7)))
    });
}

/// A reader copies an item while it is replaced twice, the second time by one whose block it had.
#[test]
fn list_items_are_read_whole() {
    outcomes(Some(3), &[1, 3, 5, 100], || {
        let kernel = Kernel::new();
        let stage = Stage::new(&kernel, 1, &[1]);
        let (s, k) = (stage.clone(), kernel);
        let writer = thread::spawn(move || {
            let (life, hands) = (k.enter(1), [Hand::new(), Hand::new()]);
            // From where the first item was.
            let mine = Mine { stage: &s, life: &life, hands: &hands, first: 0 };
            for value in [3, 5] {
                let writing = s.write(&life);
                writing.replace(0, mine.item(value).unwrap()).unwrap();
                writing.end();
            }
        });
        let s = stage.clone();
        let reader = thread::spawn(move || s.read(0));
        writer.join().unwrap();
        reader.join().unwrap()
    });
}

/// A reader of the last item while it is popped and its block and its slot are used again.
#[test]
fn list_end_is_read_whole() {
    outcomes(Some(3), &[0, 1, 3, 100], || {
        let kernel = Kernel::new();
        let stage = Stage::new(&kernel, 1, &[1]);
        let (s, k) = (stage.clone(), kernel);
        let writer = thread::spawn(move || {
            let (life, hands) = (k.enter(1), [Hand::new(), Hand::new()]);
            let mine = Mine { stage: &s, life: &life, hands: &hands, first: 0 };
            let mut writing = s.write(&life);
            pop(&mut writing, &mine).unwrap();
            writing.end();
            let mut writing = s.write(&life);
            writing.push(&mine, mine.item(3).unwrap()).unwrap();
            writing.end();
        });
        let s = stage.clone();
        let reader = thread::spawn(move || s.read(0));
        writer.join().unwrap();
        reader.join().unwrap()
    });
}

/// A reader while the chunks are replaced and their memory becomes something else.
#[test]
fn list_is_read_while_items_move() {
    outcomes(Some(2), &[1, 6, 100], || {
        let kernel = Kernel::new();
        let stage = Stage::new(&kernel, 1, &[1]);
        let (s, k) = (stage.clone(), kernel);
        let writer = thread::spawn(move || {
            let (life, hands) = (k.enter(1), [Hand::new(), Hand::new()]);
            let mine = Mine { stage: &s, life: &life, hands: &hands, first: 0 };
            let mut writing = s.write(&life);
            insert(&mut writing, &mine).unwrap();
            writing.end();
            // What was the chunk is an item now.
            let NewItem::Block(item) = mine.item(5).unwrap() else { unreachable!() };
            drop(item);
        });
        let s = stage.clone();
        let reader = thread::spawn(move || s.read(0));
        writer.join().unwrap();
        reader.join().unwrap()
    });
}

/// All items are of one moment: one that there was.
#[test]
fn list_is_read_as_of_one_moment() {
    outcomes(Some(2), &[0, 912, 952, 95, 954], || {
        let kernel = Kernel::new();
        let stage = Stage::new(&kernel, 1, &[1, 2]);
        let (s, k) = (stage.clone(), kernel);
        let writer = thread::spawn(move || {
            let (life, hands) = (k.enter(1), [Hand::new(), Hand::new()]);
            let mine = Mine { stage: &s, life: &life, hands: &hands, first: 0 };
            for change in [replace as Change, pop, push] {
                let mut writing = s.write(&life);
                change(&mut writing, &mine).unwrap();
                writing.end();
            }
        });
        let s = stage.clone();
        let reader = thread::spawn(move || s.read_all());
        writer.join().unwrap();
        reader.join().unwrap()
    });
}
