//! What happens in a bucket after a death in it: others change the very entry that the dead one was at, and everything is
//! still counted once, freed once, and shown under a new version.

use std::sync::Arc;

use mutirao::model::thread;
use mutirao::participant::{Liveness, ParticipantId};
use mutirao::raw::blocks::{self, BlockRef, BlockState, BlockWord, Hand};
use mutirao::raw::table_change::Slot;
use mutirao::raw::table_line::{PairLine, RecordLine};
use mutirao::raw::table_word::{Line, Word};
use mutirao::sync::Ordering::Relaxed;

use crate::support::{Fate, LIVES, MORE, every_pair_of_steps, every_step, every_step_reordered};
use crate::table_harness::{Block, FIRST_BLOCK, Ours, Stage, prepare};

type Records = Stage<RecordLine>;

/// The only key.
const KEY: u64 = 4;

/// What is done to its entry.
#[derive(Clone, Copy, Debug)]
enum Change {
    /// It gets this value, in the block of this number or the first free one behind it.
    Put(usize, u64),
    Remove,
}
use Change::{Put, Remove};

/// What the survivor found when it had the bucket, and what is there in the end.
type Seen = (Option<u64>, Option<u64>);

/// Changes the entry, whatever is there. What was there.
fn change(ours: &Ours<'_, RecordLine>, before: (Option<u64>, Word<RecordLine>), to: Change) -> Option<u64> {
    let (table, stage, desk) = (ours.table(), ours.stage, ours.desk());
    let new = match to {
        Put(from, value) => ours.write(from, KEY, value),
        Remove => 0,
    };
    let mut locked = table.lock(ours.life, KEY).expect("a living owner unlocks");
    let (line, word) = (locked.line, locked.word());
    let slot = (0..RecordLine::SLOTS).find(|&slot| word.has(slot));
    let found = slot.map(|slot| stage.blocks[line.follow(slot) as usize - FIRST_BLOCK].words[1].load(Relaxed));
    // Who was reading it when it changed must read again.
    assert!(found == before.0 || !before.1.is_still(line), "a change under the old version");
    let at = Slot { line, link: 0, slot: slot.or(word.free_slot()).expect("there are ten slots") };
    match (to, found) {
        (Put(..), Some(_)) => {
            table.exchange(desk, locked, &at, (at.line.follow(at.slot), new), RecordLine::refer);
        }
        (Put(..), None) => table.insert(desk, locked, &at, |line, slot| line.fill(slot, 0, new)),
        (Remove, Some(_)) => {
            table.remove(desk, &mut locked, &at);
            table.unlock(locked);
        }
        (Remove, None) => table.unlock(locked),
    }
    table.let_leave(desk);
    found
}

/// Somebody dies in a change of the entry; another changes it after that, and counts while it has the bucket again.
fn in_turn(first: Option<u64>, dying: Change, then: Change, fate: Fate) -> Seen {
    let stage: Arc<Records> = Stage::new(0);
    if let Some(value) = first {
        let life = stage.kernel.enter(1);
        stage.of(&life).put(0, KEY, value);
    }
    let before = (first, Word::look(&stage.buckets[0]));
    stage.act(1, fate, move |ours| change(ours, before, dying)).join().unwrap();
    let survivor = stage.act(2, LIVES, move |ours| {
        let found = change(ours, before, then);
        // Whoever counts settles what is left of the dead: nothing that asks how the bucket stands now.
        let table = ours.table();
        let locked = table.lock(ours.life, KEY).expect("nobody else has it");
        let entries = u64::from(locked.word().occupied().count_ones());
        assert_eq!(table.len(Some(ours.life)), entries, "counted under the lock");
        table.unlock(locked);
        found
    });
    let found = survivor.join().unwrap().expect("lives");
    // There each entry is found once, and counted once.
    let end = stage.end();
    let value = end.first().map(|&(_, value)| value);
    assert!(end.len() <= 1 && value == if let Put(_, value) = then { Some(value) } else { None }, "{end:?}");
    stage.check_blocks();
    (found, value)
}

/// The dead one's change happened or did not, and both are met; then the survivor's happens.
fn change_after_death(first: Option<u64>, dying: Change, then: Change, mark: &str) {
    let of = |change| if let Put(_, value) = change { Some(value) } else { None };
    let may = [(first, of(then)), (of(dying), of(then))];
    let marks = every_step_reordered(None, 4, &may, move |fate| in_turn(first, dying, then, fate));
    assert!(MORE || marks.contains(mark) && marks.contains("table: a bucket taken from the dead"), "{marks:?}");
}

#[test]
fn table_dead_insertion_is_removed() {
    change_after_death(None, Put(1, 41), Remove, "table: a dead insertion counts");
}

#[test]
fn table_dead_insertion_is_replaced() {
    change_after_death(None, Put(1, 41), Put(2, 42), "table: a dead insertion counts");
}

#[test]
fn table_dead_removal_is_repeated() {
    change_after_death(Some(40), Remove, Remove, "table: a dead removal counts");
}

#[test]
fn table_dead_removal_makes_room() {
    change_after_death(Some(40), Remove, Put(2, 42), "table: a dead removal counts");
}

#[test]
fn table_dead_exchange_is_removed() {
    change_after_death(Some(40), Put(1, 41), Remove, "table: a dead exchange counts");
}

#[test]
fn table_dead_exchange_is_replaced() {
    change_after_death(Some(40), Put(1, 41), Put(2, 42), "table: a dead exchange counts");
}

/// One dies who inserts, one removes the same entry, and one looks for it, all at once: whoever waits makes way for the
/// others, nobody is interrupted. Either of the writers begins.
fn among_three(remover_first: bool, fate: Fate) -> (Option<u64>, bool, Vec<(u64, u64)>) {
    let stage: Arc<Stage<PairLine>> = Stage::new(0);
    let insert = || stage.act(1, fate, |ours| assert!(ours.put(KEY, 40)));
    let remove = || stage.act(2, LIVES, |ours| ours.remove(KEY));
    let (inserter, remover) = match remover_first {
        true => {
            let remover = remove();
            (insert(), remover)
        }
        false => (insert(), remove()),
    };
    let reader = stage.act(3, LIVES, |ours| ours.get(KEY).expect("whole"));
    inserter.join().unwrap();
    let removed = remover.join().unwrap().expect("lives");
    (reader.join().unwrap().expect("lives"), removed, stage.end())
}

/// What may come of it: it was never there, or the remover found it, or came too early for it. Without preemption who
/// begins decides which; random schedules meet all.
fn seen_among_three(remover_first: bool) -> Vec<(Option<u64>, bool, Vec<(u64, u64)>)> {
    let there = || vec![(KEY, 40)];
    let mut seen = vec![(None, false, vec![])];
    if MORE || !remover_first {
        seen.extend([(None, true, vec![]), (Some(40), true, vec![])]);
    }
    if MORE || remover_first {
        seen.extend([(None, false, there()), (Some(40), false, there())]);
    }
    seen
}

#[test]
fn table_inserter_dies_among_three() {
    let marks = every_step(Some(0), &seen_among_three(false), |fate| among_three(false, fate));
    assert!(MORE || marks.contains("table: a dead insertion counts"));
    assert!(MORE || marks.contains("table: a bucket taken from the dead"));
}

#[test]
fn table_inserter_dies_behind_a_remover() {
    let marks = every_step(Some(0), &seen_among_three(true), |fate| among_three(true, fate));
    assert!(MORE || marks.contains("table: a dead insertion counts"));
}

/// Somebody dies in getting a spare line. Another gets the desk, and the line into a chain, while the dead one's hand is reaped.
#[test]
fn table_line_in_a_dead_hand_is_used() {
    let full = vec![(2, 20), (4, 40), (6, 60)];
    let more = [&full[..], &[(8, 80)]].concat();
    every_step_reordered(Some(1), 4, &[full, more], |fate| {
        let stage: Arc<Stage<PairLine>> = Stage::new(0);
        prepare(&stage, &[(2, 20), (4, 40), (6, 60)]);
        let (hand, word) = (Arc::new(Hand::new()), &stage.line_words[0]);
        word.store(BlockWord::free(0).bits(), Relaxed);
        let ours = hand.clone();
        let getter = stage.act(1, fate, move |of| {
            let (word, me) = (&of.stage.line_words[0], of.life.me());
            ours.announce(BlockRef { unit: 1, generation: 1 }, 0);
            blocks::hold(word, me, 1);
            ours.set_place(1);
            blocks::enliven(word, me, 1);
            of.table().add_spare(of.desk(), 1).expect("a line");
            ours.clear();
            assert!(of.put(8, 80));
        });
        let died = getter.join().unwrap().is_none();
        let heir = stage.act(2, LIVES, move |of| {
            let (table, desk) = (of.table(), &of.stage.desks[0]);
            if died && table.take_desk(of.life, 0..1).expect("nobody else settles").is_some() {
                let locked = table.lock(of.life, 8).expect("whoever had it is dead");
                let (line, link) = (locked.line, locked.line.link().load(Relaxed));
                match link {
                    0 => _ = table.extend(desk, locked, line, |line, slot| line.fill(slot, 8, 80)),
                    _ => table.unlock(locked),
                }
            }
        });
        let reaper = stage.act(3, LIVES, move |of| {
            if died {
                let (dead, desks) = (ParticipantId::new(1).unwrap(), &of.stage.desks);
                let refers =
                    |_, _| desks.iter().any(|desk| desk.has_spare(1)) || desks.iter().any(|desk| desk.names(1));
                hand.reap(dead, |_| Some(&of.stage.line_words[0]), refers);
            }
        });
        heir.join().unwrap();
        reaper.join().unwrap();
        let is_linked = stage.buckets[0].link().load(Relaxed) == 1;
        assert_eq!(blocks::look(word).is_free(), !is_linked, "in a chain and free, or neither");
        stage.end()
    });
}

/// Somebody dies in getting a block for a record. Whoever wants its desk settles it, and writes the same block, if it is free
/// then, while the dead one's hand is reaped.
#[test]
fn table_kept_block_in_a_dead_hand_is_used() {
    every_step_reordered(Some(1), 4, &[vec![(6, 60)], vec![(4, 40), (6, 60)]], |fate| {
        let stage: Arc<Records> = Stage::new(0);
        let unit = FIRST_BLOCK as u32;
        let hand = Arc::new(Hand::new());
        let ours = hand.clone();
        let getter = stage.act(1, fate, move |of| {
            let (word, me) = (&of.stage.blocks[0].word, of.life.me());
            ours.announce(BlockRef { unit: unit.into(), generation: 1 }, 0);
            blocks::hold(word, me, 1);
            ours.set_place(1);
            blocks::enliven(word, me, 1);
            of.desk().keep(unit);
            ours.clear();
            of.put(0, 4, 40);
        });
        let died = getter.join().unwrap().is_none();
        let heir = stage.act(2, LIVES, move |of| {
            of.table().settle_all(of.life).expect("nobody else settles");
            of.put(0, 6, 60);
        });
        let reaper = stage.act(3, LIVES, move |of| {
            if died {
                let (dead, desks) = (ParticipantId::new(1).unwrap(), &of.stage.desks);
                let refers = |_, _| desks[0].keeps(unit) || desks.iter().any(|desk| desk.names(unit));
                hand.reap(dead, |_| Some(&of.stage.blocks[0].word), refers);
            }
        });
        heir.join().unwrap();
        reaper.join().unwrap();
        stage.check_blocks();
        stage.end()
    });
}

/// Somebody dies in replacing a record, and so does whoever settles that, before each pair of their steps. While the next one
/// settles the rest, another takes what is free, and has it still: what was kept is freed once.
#[test]
fn table_mender_of_a_kept_block_dies_at_each_step() {
    let may = [40, 41].map(|value| vec![(KEY, value)]);
    let (marks, most) = every_pair_of_steps(Some(1), &may, |first, second| {
        let stage: Arc<Records> = Stage::new(0);
        let life = stage.kernel.enter(1);
        stage.of(&life).put(0, KEY, 40);
        stage.act(1, first, |of| of.put(1, KEY, 41)).join().unwrap();
        stage.act(2, second, |of| assert!(of.table().settle_all(of.life).is_ok())).join().unwrap();
        let next = stage.act(3, LIVES, |of| assert!(of.table().settle_all(of.life).is_ok()));
        let (other, all) = (ParticipantId::new(4).unwrap(), stage.clone());
        let taker = thread::spawn(move || {
            let take = |block: &Block| {
                let now = blocks::look(&block.word);
                let is_ours = now.is_free();
                if is_ours {
                    blocks::hold(&block.word, other, now.generation() + 1);
                    blocks::enliven(&block.word, other, now.generation() + 1);
                }
                is_ours
            };
            all.blocks[..2].iter().map(take).collect::<Vec<_>>()
        });
        next.join().unwrap();
        for (block, is_taken) in stage.blocks.iter().zip(taker.join().unwrap()) {
            let now = blocks::look(&block.word);
            assert_eq!(now.state() == BlockState::Live(Some(other)), is_taken, "freed twice");
            if is_taken {
                blocks::release(&block.word, now.generation());
            }
        }
        stage.check_blocks();
        stage.end()
    });
    assert!(MORE || marks.contains("death of 2"));
    assert!(MORE || most > 12, "{most} steps of a mender");
}
