//! A segment without memory left: what was there stays, and what the dead had in their hands is found.

use mutirao::{Array, Bytes, List, Process, Queue, Segment};
use std::path::PathBuf;

use crate::roles::{kill, stay, watchdog};
use crate::stage::Meeting;

/// Takes most of the memory into its hands, as room for an item that it never sends.
fn take((frames, path): (Queue<Bytes>, PathBuf)) {
    let _room = frames.reserve(700 << 10).unwrap();
    stay(path, "taken")
}

/// In a segment of 1 MiB, of which somebody has most in hand and is killed: `f` needs half of it.
fn after_a_death<T>(test: &'static str, f: impl FnOnce(&Segment) -> mutirao::Result<T>) -> T {
    let shop = Segment::anonymous(1 << 20).unwrap();
    let _watchdog = watchdog(test, &[&shop]);
    let (frames, meeting) = (Queue::<Bytes>::create(&shop, "frames", 2).unwrap(), Meeting::new(test));
    let child = Process::spawn(take, (frames.clone(), meeting.path())).unwrap();
    let _stream = meeting.next();
    assert!(frames.reserve(500 << 10).unwrap_err().is_out_of_memory());
    kill(child);
    f(&shop).unwrap()
}

#[test]
fn a_queue_finds_what_the_dead_had_in_hand() {
    after_a_death("a_queue_finds_what_the_dead_had_in_hand", |shop| {
        let frames = Queue::<Bytes>::open(shop, "frames")?;
        frames.send(Bytes(vec![1; 500 << 10]))?;
        frames.recv()
    });
}

#[test]
fn a_list_finds_what_the_dead_had_in_hand() {
    after_a_death("a_list_finds_what_the_dead_had_in_hand", |shop| {
        let list = List::<Bytes>::create(shop, "list")?;
        list.extend([Bytes(vec![1; 300 << 10]), Bytes(vec![2; 200 << 10])])?;
        assert_eq!(list.get(1)?.unwrap().0.len(), 200 << 10);
        list.clear()
    });
}

/// In pages that are cut into small blocks, too.
#[test]
fn small_items_find_what_the_dead_had_in_hand() {
    after_a_death("small_items_find_what_the_dead_had_in_hand", |shop| {
        let list = List::<String>::create(shop, "list")?;
        (0..600).try_for_each(|_| list.push("x".repeat(900)))?;
        assert!((0..600).all(|n| list.get(n).unwrap().unwrap().len() == 900));
        list.clear()
    });
}

#[test]
fn a_new_object_finds_what_the_dead_had_in_hand() {
    after_a_death("a_new_object_finds_what_the_dead_had_in_hand", |shop| Array::<u64>::create(shop, "array", 64 << 10));
}
