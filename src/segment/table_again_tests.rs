//! A table that is emptied and filled again and again needs no more memory than at first.

use crate::segment::table::{Put, Table, When};
use crate::segment::table_shelf::Kept;
use crate::segment::table_tests::{records, words};

/// Entries: more runs of pages than one call looks at, so that what is free has to be found all the same.
const ENTRIES: u64 = 100_000;
/// How often it is filled: a second of optimised code.
const ROUNDS: u32 = if cfg!(debug_assertions) { 4 } else { 20 };

fn nth(i: u64) -> u64 {
    i.wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// Fills and empties it again and again. The first time has to make all the pages and buckets that are ever needed.
fn again_and_again<L: Kept>(table: &Table<L>, put: impl Fn(u64), remove: impl Fn(u64)) {
    let round = |_| {
        (0..ENTRIES).for_each(&put);
        assert_eq!(table.len(), ENTRIES);
        let pages = table.body().attachment().arena().unwrap().growth().refresh().unwrap();
        let buckets = table.buckets();
        (0..ENTRIES).for_each(&remove);
        assert_eq!(table.len(), 0);
        (pages, buckets)
    };
    let sizes: Vec<_> = (0..ROUNDS).map(round).collect();
    assert!(sizes.iter().all(|(pages, buckets)| *pages <= sizes[0].0 && *buckets == sizes[0].1), "{sizes:?}");
}

#[test]
fn a_table_of_words_that_is_emptied_and_filled_again_does_not_grow() {
    let table = words(0);
    let put = |i| assert_eq!(table.put_word(nth(i), i, When::Always).unwrap(), Put::Inserted);
    let remove = |i| assert_eq!(table.remove_word(nth(i), When::Always).unwrap(), Put::Replaced(i));
    again_and_again(&table, put, remove);
}

#[test]
fn a_table_of_records_that_is_emptied_and_filled_again_does_not_grow() {
    let table = records(0);
    let key = |i| nth(i).to_le_bytes();
    let put = |i| assert_eq!(table.put(&key(i), &[1; 950], When::Always, None).unwrap(), Put::Inserted);
    let remove = |i| assert_eq!(table.remove(&key(i), When::Always, None).unwrap(), Put::Replaced(()));
    again_and_again(&table, put, remove);
}
