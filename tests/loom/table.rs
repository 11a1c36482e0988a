//! Whoever dies in a table, at whichever step: what was confirmed stays, what was not is there whole or not at all, it is
//! counted once, and everybody goes on.

use std::sync::Arc;

use mutirao::raw::blocks;
use mutirao::raw::table_line::{PairLine, RecordLine};
use mutirao::raw::table_word::Line;
use mutirao::sync::Ordering::Relaxed;

use crate::support::{Fate, LIVES, MORE, every_pair_of_steps, every_step, every_step_reordered};
use crate::table_harness::{Stage, prepare};

type Words = Stage<PairLine>;

/// Entries in the end.
type End = Vec<(u64, u64)>;

/// Another participant looks for a key while the first one may die.
fn beside(
    spares: u32,
    first: &'static [(u64, u64)],
    key: u64,
    fate: Fate,
    f: impl FnOnce(&crate::table_harness::Ours<'_, PairLine>) + Send + 'static,
) -> (Option<u64>, End) {
    let stage: Arc<Words> = Stage::new(spares);
    prepare(&stage, first);
    let writer = stage.act(1, fate, f);
    let reader = stage.act(2, LIVES, move |ours| ours.get(key).expect("whole"));
    writer.join().unwrap();
    let read = reader.join().unwrap().expect("lives");
    (read, stage.end())
}

#[test]
fn table_inserter_dies_at_each_step() {
    let (without, with) = (vec![(2, 20)], vec![(2, 20), (4, 40)]);
    let seen = [(None, without), (None, with.clone()), (Some(40), with)];
    let marks =
        every_step_reordered(Some(1), 4, &seen, |fate| beside(0, &[(2, 20)], 4, fate, |ours| assert!(ours.put(4, 40))));
    assert!(MORE || marks.contains("table: a dead insertion counts"));
    assert!(MORE || marks.contains("table: a bucket taken from the dead"));
}

#[test]
fn table_remover_dies_at_each_step() {
    let (without, with) = (vec![(2, 20)], vec![(2, 20), (4, 40)]);
    let seen = [(Some(40), with), (Some(40), without.clone()), (None, without)];
    let marks = every_step_reordered(Some(1), 4, &seen, |fate| {
        beside(0, &[(2, 20), (4, 40)], 4, fate, |ours| assert!(ours.remove(4)))
    });
    assert!(MORE || marks.contains("table: a dead removal counts"));
}

#[test]
fn table_replacer_dies_at_each_step() {
    let (old, new) = (vec![(4, 40)], vec![(4, 41)]);
    let seen = [(Some(40), old), (Some(40), new.clone()), (Some(41), new)];
    every_step(Some(1), &seen, |fate| beside(0, &[(4, 40)], 4, fate, |ours| assert!(ours.put(4, 41))));
}

/// The bucket is full: the entry goes into a new line of its chain.
#[test]
fn table_extender_dies_at_each_step() {
    let full = [(2, 20), (4, 40), (6, 60)];
    let (without, with) = (full.to_vec(), [&full[..], &[(8, 80)]].concat());
    let seen = [(None, without), (None, with.clone()), (Some(80), with)];
    every_step_reordered(Some(1), 4, &seen, |fate| {
        beside(2, &[(2, 20), (4, 40), (6, 60)], 8, fate, |ours| assert!(ours.put(8, 80)))
    });
}

/// The last entry of a chain's line goes, and the line with it.
#[test]
fn table_unlinker_dies_at_each_step() {
    let full = [(2, 20), (4, 40), (6, 60)];
    let (without, with) = (full.to_vec(), [&full[..], &[(8, 80)]].concat());
    every_step_reordered(Some(1), 4, &[without, with], |fate| {
        let stage: Arc<Words> = Stage::new(2);
        prepare(&stage, &[(2, 20), (4, 40), (6, 60), (8, 80)]);
        stage.act(1, fate, |ours| assert!(ours.remove(8))).join().unwrap();
        let end = stage.end();
        // The line is somebody's: in the chain, or the first spare one.
        let is_spare = |link| stage.desks.iter().any(|desk| desk.has_spare(link));
        let is_linked = stage.buckets[0].link().load(Relaxed) == 1;
        assert_ne!(is_linked, is_spare(1), "{end:?}");
        assert!(is_linked || end.len() == 3);
        end
    });
}

/// All that is there stays there, in the parent or in the child, whoever splits and dies.
#[test]
fn table_splitter_dies_at_each_step() {
    splitter_dies(1, &[(2, 20), (3, 30)]);
}

/// The same from three buckets: the second one is split, the others' levels are those of what was split before.
#[test]
fn table_splitter_from_any_number_of_buckets_dies_at_each_step() {
    splitter_dies(3, &[(0, 50), (2, 20), (3, 30), (5, 70)]);
}

fn splitter_dies(first: usize, entries: &'static [(u64, u64)]) {
    let (all, before) = (entries.to_vec(), first as u64);
    let ends = [before, before + 1].map(|buckets| (Some(30), all.clone(), buckets));
    let marks = every_step_reordered(Some(1), 4, &ends, move |fate| {
        let stage: Arc<Words> = Stage::of_buckets(first, 0);
        prepare(&stage, entries);
        let splitter = stage.act(1, fate, |ours| {
            let table = ours.table();
            let mut splitter = table.try_splitter(ours.life).expect("nobody else splits");
            splitter.split(ours.life, ours.desk()).expect("there is room");
        });
        let reader = stage.act(2, LIVES, |ours| ours.get(3).expect("whole"));
        splitter.join().unwrap();
        let read = reader.join().unwrap().expect("lives");
        let life = stage.kernel.enter(3);
        // Whoever splits next completes it, or begins.
        let buckets = stage.of(&life).table().extent().buckets();
        (read, finish(&stage), buckets)
    });
    assert!(MORE || marks.contains("table: a dead split counts"));
}

/// Splits whatever is not split, as participant 3, then looks at the end.
fn finish(stage: &Arc<Words>) -> End {
    split_with(stage, 2);
    stage.end()
}

/// Splits whatever is not split, as participant 3, with the spare lines of the desk of this number.
fn split_with(stage: &Arc<Words>, desk: usize) {
    let life = stage.kernel.enter(3);
    let ours = stage.of(&life);
    let table = ours.table();
    if table.extent().buckets() < stage.buckets.len() as u64 {
        let mut splitter = table.try_splitter(&life).expect("whoever had it is dead");
        // Whatever the dead one had announced is settled first, and its desk is anybody's.
        table.settle_all(&life).expect("nobody else settles");
        splitter.split(&life, &stage.desks[desk]).expect("there is room");
    }
}

/// The table is removed after a splitter died: whatever it referred to is freed, in the child too.
#[test]
fn table_freed_after_a_dead_splitter() {
    every_step(Some(0), &[()], |fate| {
        let stage: Arc<Stage<RecordLine>> = Stage::new(0);
        let life = stage.kernel.enter(2);
        stage.of(&life).put(0, 2, 20);
        stage.of(&life).put(1, 3, 30);
        let splitter = stage.act(1, fate, |ours| {
            let table = ours.table();
            let mut splitter = table.try_splitter(ours.life).expect("nobody else splits");
            splitter.split(ours.life, ours.desk()).expect("there is room");
        });
        splitter.join().unwrap();
        let life = stage.kernel.enter(3);
        stage.of(&life).table().free_all(&life).expect("nobody has it");
        for block in &stage.blocks {
            assert!(blocks::look(&block.word).is_free(), "lost");
        }
    });
}

/// A chain goes with the split.
#[test]
fn table_splitter_of_a_chain_dies_at_each_step() {
    let all = vec![(2, 20), (3, 30), (4, 40), (5, 50), (7, 70)];
    let marks = every_step_reordered(Some(1), 4, &[all], |fate| {
        let stage: Arc<Words> = Stage::new(2);
        prepare(&stage, &[(2, 20), (3, 30), (5, 50), (7, 70), (4, 40)]);
        let splitter = stage.act(1, fate, |ours| {
            let table = ours.table();
            let mut splitter = table.try_splitter(ours.life).expect("nobody else splits");
            splitter.split(ours.life, ours.desk()).expect("there is room");
        });
        splitter.join().unwrap();
        finish(&stage)
    });
    assert!(MORE || marks.contains("table: a dead split counts"));
}

/// The child needs a line for its chain.
#[test]
fn table_splitter_with_a_chain_for_the_child_dies_at_each_step() {
    let all = vec![(1, 10), (3, 30), (5, 50), (7, 70)];
    every_step_reordered(Some(1), 4, &[all], |fate| {
        let stage: Arc<Words> = Stage::new(2);
        prepare(&stage, &[(1, 10), (3, 30), (5, 50), (7, 70)]);
        let splitter = stage.act(1, fate, |ours| {
            let table = ours.table();
            let mut splitter = table.try_splitter(ours.life).expect("nobody else splits");
            splitter.split(ours.life, ours.desk()).expect("there is room");
        });
        splitter.join().unwrap();
        split_with(&stage, 0);
        stage.end()
    });
}

/// A value is replaced by another record; the old one's block is kept afterwards, or the new one's if it did not come to it.
#[test]
fn table_exchanger_dies_at_each_step() {
    let (old, new) = (vec![(4, 40)], vec![(4, 41)]);
    let seen = [(Some(40), old), (Some(40), new.clone()), (Some(41), new)];
    let marks = every_step_reordered(Some(1), 4, &seen, |fate| {
        let stage: Arc<Stage<RecordLine>> = Stage::new(0);
        {
            let life = stage.kernel.enter(1);
            stage.of(&life).put(0, 4, 40);
        }
        let writer = stage.act(1, fate, |ours| ours.put(1, 4, 41));
        let reader = stage.act(2, LIVES, |ours| ours.get(4).expect("whole"));
        writer.join().unwrap();
        let read = reader.join().unwrap().expect("lives");
        let end = stage.end();
        stage.check_blocks();
        (read, end)
    });
    assert!(MORE || marks.contains("table: a dead exchange counts"));
}

/// Somebody settles what a dead one left, and dies too; the next one completes it. Before each pair of their steps.
#[test]
fn table_mender_dies_at_each_step() {
    let (marks, most) = every_pair_of_steps(Some(1), &[vec![(2, 20)], vec![]], |first, second| {
        let stage: Arc<Words> = Stage::new(0);
        prepare(&stage, &[(2, 20)]);
        stage.act(1, first, |ours| ours.remove(2)).join().unwrap();
        let mender = stage.act(2, second, |ours| {
            let locked = ours.table().lock(ours.life, 2).expect("the dead one's");
            ours.table().unlock(locked);
        });
        mender.join().unwrap();
        stage.end()
    });
    // The lock alone is a step or two; what is more was done for the dead one.
    assert!(MORE || most > 12, "{most} steps of a mender");
    assert!(MORE || marks.contains("death of 2") && marks.contains("table: a dead removal counts"));
}

/// Another desk of the same kind: who comes later goes on counting where the dead stopped.
#[test]
fn table_desk_of_the_dead_is_taken_over() {
    let seen = [vec![(2, 20)], vec![(2, 20), (4, 40)]];
    every_step(None, &seen, |fate| {
        let stage: Arc<Words> = Stage::new(0);
        prepare(&stage, &[(2, 20)]);
        stage.act(1, fate, |ours| assert!(ours.put(4, 40))).join().unwrap();
        let heir = stage.act(2, LIVES, |ours| {
            let index = ours.table().take_desk(ours.life, 0..1).expect("nobody else settles");
            if index.is_some() {
                // Ours by now.
                let stage = ours.stage;
                let count = stage.desks[0].count();
                assert!(count == 1 || count == 2);
            }
        });
        heir.join().unwrap();
        stage.end()
    });
}
