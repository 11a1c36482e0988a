//! What the orderings of a table are for: one model for each promise, without deaths.

use std::sync::Arc;

use mutirao::raw::table_line::{PairLine, RecordLine};

use crate::support::{LIVES, outcomes};
use crate::table_harness::{Stage, prepare};

type Words = Stage<PairLine>;

/// Who finds an entry sees what was done before it was put there.
#[test]
fn table_entry_shows_what_came_before_it() {
    outcomes(Some(1), &[None, Some(40)], || {
        let stage: Arc<Words> = Stage::new(0);
        let writer = stage.act(1, LIVES, |ours| {
            ours.stage.payload.set(7);
            assert!(ours.put(4, 40));
        });
        let reader = stage.act(2, LIVES, |ours| {
            let found = ours.get(4).expect("whole");
            if found.is_some() {
                assert_eq!(ours.stage.payload.get(), 7);
            }
            found
        });
        writer.join().unwrap();
        reader.join().unwrap().expect("lives")
    });
}

/// An entry goes, and another one comes into its slot: nobody finds the one with the other's value.
#[test]
fn table_slot_is_read_whole() {
    outcomes(Some(1), &[None, Some(40)], || {
        let stage: Arc<Words> = Stage::new(0);
        prepare(&stage, &[(4, 40)]);
        let writer = stage.act(1, LIVES, |ours| {
            assert!(ours.remove(4));
            assert!(ours.put(6, 60));
        });
        let reader = stage.act(2, LIVES, |ours| ours.get(4).expect("whole"));
        writer.join().unwrap();
        reader.join().unwrap().expect("lives")
    });
}

/// Two records take turns at two blocks: nobody reads a mixture.
#[test]
fn table_record_is_read_whole() {
    outcomes(Some(1), &[Some(40), Some(41), Some(42)], || {
        let stage: Arc<Stage<RecordLine>> = Stage::new(0);
        {
            let life = stage.kernel.enter(1);
            stage.of(&life).put(0, 4, 40);
        }
        let writer = stage.act(1, LIVES, |ours| {
            ours.put(1, 4, 41);
            // Into the block that the first one was in.
            ours.put(0, 4, 42);
        });
        let reader = stage.act(2, LIVES, |ours| ours.get(4).expect("whole"));
        writer.join().unwrap();
        reader.join().unwrap().expect("lives")
    });
}

/// A record goes, and another key's comes into its slot and its block: whoever replaces the first one replaces no other.
#[test]
fn table_record_is_replaced_by_its_key() {
    outcomes(Some(1), &[vec![(6, 60)], vec![(4, 41), (6, 60)]], || {
        let stage: Arc<Stage<RecordLine>> = Stage::new(0);
        {
            let life = stage.kernel.enter(1);
            stage.of(&life).put(0, 4, 40);
        }
        let replacer = stage.act(1, LIVES, |ours| ours.put(1, 4, 41));
        let other = stage.act(2, LIVES, |ours| {
            assert!(ours.remove(4));
            ours.put(0, 6, 60);
        });
        replacer.join().unwrap().expect("lives");
        other.join().unwrap().expect("lives");
        stage.end()
    });
}

/// Two give the same new key a record: one of them inserts it, and the other one replaces that.
#[test]
fn table_record_is_inserted_once() {
    record_of_two(None);
}

/// Two replace the same record: the first one's leaves with the second one, and not what was there before.
#[test]
fn table_record_is_replaced_by_two() {
    record_of_two(Some(39));
}

fn record_of_two(first: Option<u64>) {
    outcomes(Some(1), &[vec![(4, 40)], vec![(4, 41)]], move || {
        let stage: Arc<Stage<RecordLine>> = Stage::new(0);
        if let Some(value) = first {
            let life = stage.kernel.enter(1);
            stage.of(&life).put(0, 4, value);
        }
        let writers = [(1, 1, 40), (2, 2, 41)]
            .map(|(id, from, value)| stage.act(id, LIVES, move |ours| ours.put(from, 4, value)));
        for writer in writers {
            writer.join().unwrap().expect("lives");
        }
        stage.check_blocks();
        stage.end()
    });
}

/// One replaces the record that another takes out: it is replaced before, or inserted afterwards.
#[test]
fn table_record_is_replaced_beside_a_removal() {
    outcomes(Some(1), &[vec![], vec![(4, 40)]], || {
        let stage: Arc<Stage<RecordLine>> = Stage::new(0);
        let life = stage.kernel.enter(1);
        stage.of(&life).put(0, 4, 39);
        let writer = stage.act(1, LIVES, |ours| ours.put(1, 4, 40));
        let remover = stage.act(2, LIVES, |ours| ours.remove(4));
        for ended in [writer.join().unwrap().map(drop), remover.join().unwrap().map(drop)] {
            ended.expect("lives");
        }
        stage.check_blocks();
        stage.end()
    });
}

/// Two write into one bucket, and neither loses the other's.
#[test]
fn table_bucket_passes_between_the_living() {
    let both = vec![(4, 40), (6, 60)];
    outcomes(Some(1), &[both], || {
        let stage: Arc<Words> = Stage::new(0);
        let writers = [(1, 4, 40), (2, 6, 60)]
            .map(|(id, key, value)| stage.act(id, LIVES, move |ours| assert!(ours.put(key, value))));
        for writer in writers {
            writer.join().unwrap().expect("lives");
        }
        stage.end()
    });
}

/// Somebody inserts while another splits: the entry is where readers look for it.
#[test]
fn table_grows_while_others_write() {
    grows_while_others_write(1, 5);
}

/// The same from three buckets, and what is inserted belongs to the fourth.
#[test]
fn table_of_any_number_of_buckets_grows_while_others_write() {
    grows_while_others_write(3, 7);
}

fn grows_while_others_write(first: usize, new: u64) {
    outcomes(Some(1), &[vec![(2, 20), (3, 30), (new, 50)]], move || {
        let stage: Arc<Words> = Stage::of_buckets(first, 0);
        prepare(&stage, &[(2, 20), (3, 30)]);
        let splitter = stage.act(1, LIVES, |ours| {
            let table = ours.table();
            table.try_splitter(ours.life).expect("nobody else splits").split(ours.life, ours.desk()).expect("room");
        });
        let writer = stage.act(2, LIVES, move |ours| {
            assert!(ours.put(new, 50));
            assert_eq!(ours.get(new), Ok(Some(50)));
            assert_eq!(ours.get(3), Ok(Some(30)));
        });
        splitter.join().unwrap().expect("lives");
        writer.join().unwrap().expect("lives");
        stage.end()
    });
}

/// A line leaves one chain and is another's: nobody finds in it what is not there.
#[test]
fn table_chain_is_read_whole() {
    outcomes(Some(1), &[None, Some(80)], || {
        let stage: Arc<Words> = Stage::new(1);
        prepare(&stage, &[(2, 20), (4, 40), (6, 60), (8, 80)]);
        let writer = stage.act(1, LIVES, |ours| {
            assert!(ours.remove(8));
            assert!(ours.put(10, 100));
        });
        let reader = stage.act(2, LIVES, |ours| ours.get(8).expect("whole"));
        writer.join().unwrap();
        reader.join().unwrap().expect("lives")
    });
}
