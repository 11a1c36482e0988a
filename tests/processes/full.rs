//! A segment without memory left: what was there stays, and what the dead had in their hands is found.

use mutirao::{Array, Bytes, Dict, List, Process, Queue, Segment};
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

#[test]
fn a_dict_finds_what_the_dead_had_in_hand() {
    after_a_death("a_dict_finds_what_the_dead_had_in_hand", |shop| {
        let dict = Dict::<u32, Bytes>::create(shop, "dict")?;
        dict.insert(&1, &Bytes(vec![1; 500 << 10]))?;
        assert_eq!(dict.get(&1)?.unwrap().0.len(), 500 << 10);
        (2..200).try_for_each(|n| dict.set(&n, &Bytes(vec![2; 900])).map(drop))?;
        dict.clear()
    });
}

/// A list and a dictionary fill a segment together: what is refused changed nothing, and what is taken out makes room for the other.
#[test]
fn what_does_not_fit_changes_nothing() {
    let shop = Segment::anonymous(1 << 20).unwrap();
    let _watchdog = watchdog("what_does_not_fit_changes_nothing", &[&shop]);
    let (list, dict) = (List::<String>::new_in(&shop).unwrap(), Dict::<String, String>::new_in(&shop).unwrap());
    let text = |n: usize, len: usize| format!("{n:04} {}", "x".repeat(len));
    for round in 0..4 {
        let (mut pushed, mut inserted) = (0, 0);
        loop {
            match list.push(text(pushed, 700)) {
                Ok(()) => pushed += 1,
                Err(error) => {
                    assert!(error.error().is_out_of_memory(), "{error}");
                    break;
                }
            }
            match dict.insert(&text(inserted, 20), &text(inserted, 300)) {
                Ok(old) => {
                    assert!(old.is_none());
                    inserted += 1;
                }
                Err(error) => {
                    assert!(error.is_out_of_memory(), "{error}");
                    break;
                }
            }
        }
        assert!(pushed > 300 && inserted > 300, "{pushed} and {inserted} in round {round}");
        // Larger values than there is room for: the old ones stay.
        let large = "y".repeat(60 << 10);
        assert!(dict.insert(&text(7, 20), &large).unwrap_err().is_out_of_memory());
        assert!(dict.update(&text(7, 20), |_| large.clone()).unwrap_err().is_out_of_memory());
        assert!(list.set(7, large.clone()).unwrap_err().error().is_out_of_memory());
        assert!(list.update(7, |_| large.clone()).unwrap_err().is_out_of_memory());
        assert!(list.extend([text(0, 10), large.clone()]).unwrap_err().is_out_of_memory());
        assert_eq!((list.len(), dict.len()), (pushed, inserted));
        assert!((0..pushed).all(|n| list.get(n).unwrap() == Some(text(n, 700))));
        assert!((0..inserted).all(|n| dict.get(&text(n, 20)).unwrap() == Some(text(n, 300))));
        // What one gives up the other can have.
        if round % 2 == 0 {
            list.truncate(20).unwrap();
            dict.insert(&text(7, 20), &large).unwrap();
            assert_eq!(dict.remove(&text(7, 20)).unwrap(), Some(large));
        } else {
            dict.clear().unwrap();
            (0..100).for_each(|n| list.push(text(n, 700)).unwrap());
        }
        list.clear().unwrap();
        dict.clear().unwrap();
        assert!(list.is_empty() && dict.is_empty());
    }
}
