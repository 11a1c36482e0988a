//! The blocks that desks of a table of records keep.

use crate::raw::table_line::RecordLine;
use crate::segment::spans::SMALL_MAX;
use crate::segment::table::{Put, Table, When};
use crate::segment::table_plan::Bucket;
use crate::segment::table_record::Record;
use crate::segment::table_tests::records;

#[test]
fn a_kept_block_has_room_for_its_record_and_little_more() {
    let table = records(16);
    let inner = table.inner();
    let (standing, life) = (inner.standing(), inner.body.life().unwrap());
    let sitting = inner.desks.sit(&inner.shelf.machine(&standing), life).unwrap();
    let arena = inner.arena().unwrap();
    let before = arena.usage().used;
    // Each after each, small and large; of the last two, sizes for cut blocks would be the same.
    let lens = [1, 100, 116, 500, 4000, 8100, SMALL_MAX as usize - 16, SMALL_MAX as usize, 20_000, 65_528, 73_712];
    for (first, second) in lens.iter().flat_map(|first| lens.map(|second| (*first, second))) {
        for len in [first, second] {
            let unit = inner.keep_block(&sitting, 8, len).unwrap();
            let needed = 8 * Record::words(8, len) as usize;
            let block = arena.now_at(unit.into()).unwrap();
            let there = 8 * arena.words(block).unwrap().len();
            assert!(
                (needed..=needed + needed / 8 + 4096).contains(&there),
                "{there} bytes for {needed}, after {first}"
            );
        }
    }
    inner.let_kept_go(&sitting);
    assert_eq!(arena.usage().used, before);
}

/// As `Dict::set` does it.
fn set(table: &Table<RecordLine>, key: &[u8], value: &[u8]) -> Put<()> {
    table
        .replace(key, value, |_| Put::Replaced(()))
        .unwrap_or_else(|| table.put(key, value, When::Always, None).unwrap())
}

#[test]
fn what_is_in_pages_that_others_made_is_replaced_and_kept() {
    let one = records(16);
    let two = Table::attach(one.body().clone(), Bucket::Records).unwrap();
    let key = |n: u32| n.to_le_bytes();
    for round in 0..2 {
        assert_eq!(set(&two, &key(0), &[round; 4000]), if round == 0 { Put::Inserted } else { Put::Replaced(()) });
    }
    for n in 1..400 {
        assert_eq!(set(&one, &key(n), &[1; 4000]), Put::Inserted);
    }
    // Somewhere among them a record begins in a page that the second view knows, and ends in one that it does not.
    for n in 0..400 {
        assert_eq!(set(&two, &key(n), &[2; 4000]), Put::Replaced(()), "{n}");
    }
    for n in 0..400 {
        assert_eq!(one.get(&key(n), |words, len| (words.len(), len)).unwrap(), Some((500, 4000)));
    }
}

#[test]
fn nothing_is_kept_of_what_is_large() {
    let table = records(16);
    let arena = table.inner().arena().unwrap();
    set(&table, b"small", &[1; 100]);
    let before = arena.usage().used;
    for len in [20_000, 30_000, 20_000] {
        set(&table, b"large", &vec![len as u8; len]);
        set(&table, b"large", &vec![len as u8; len]);
    }
    table.remove(b"large", crate::segment::table::When::Always, None).unwrap();
    assert_eq!(arena.usage().used, before);
}
