//! Strangers who know a segment and a name: they meet on one object, whoever of them is killed.

use mutirao::{Lock, Mutex, Process, Queue, Segment, Value};
use std::path::PathBuf;

use crate::handles::in_a_fork;
use crate::roles::{kill, stay, watchdog};
use crate::stage::{Dir, Meeting, report_to};

/// Opens everything by name, as a program would that nobody gave a handle.
fn meet((dir, rounds): (PathBuf, u64)) -> u64 {
    let shop = Segment::options().directory(&dir).open_or_create("shop", 4 << 20).unwrap();
    let orders = Queue::<u64>::open_or_create(&shop, "orders", 8).unwrap();
    let total = Mutex::<[u64; 2]>::open_or_create(&shop, "total", [0; 2]).unwrap();
    for n in 0..rounds {
        orders.send(n).unwrap();
        let n = orders.recv().unwrap();
        let mut both = total.lock().unwrap();
        *both = [both[0] + 1, both[1] + n];
    }
    Value::<u64>::open_or_create(&shop, "done", 0).unwrap().fetch_add(1) + 1
}

#[test]
fn strangers_meet_by_name() {
    let dir = Dir::new("strangers");
    let shop = dir.options().create("shop", 4 << 20).unwrap();
    let _watchdog = watchdog("strangers_meet_by_name", &[&shop]);
    let children: Vec<_> = (0..3).map(|_| Process::spawn(meet, (dir.path(), 200)).unwrap()).collect();
    let mut done: Vec<_> = children.into_iter().map(|child| child.join().unwrap()).collect();
    done.sort_unstable();
    assert_eq!(done, [1, 2, 3]);
    let total = *Mutex::<[u64; 2]>::open(&shop, "total").unwrap().lock().unwrap();
    assert_eq!(total, [600, 3 * 199 * 100]);
    assert_eq!(shop.objects().len(), 3);
}

#[test]
fn of_many_processes_that_create_a_name_one_succeeds() {
    let shop = Segment::anonymous(4 << 20).unwrap();
    let _watchdog = watchdog("of_many_processes_that_create_a_name_one_succeeds", &[&shop]);
    let create = |shop: Segment| -> Vec<bool> {
        (0..100).map(|n| Value::create(&shop, &format!("object {n}"), n).is_ok()).collect()
    };
    let children: Vec<_> = (0..3).map(|_| Process::spawn(create, shop.clone()).unwrap()).collect();
    let made: Vec<_> = children.into_iter().map(|child| child.join().unwrap()).collect();
    for n in 0..100 {
        assert_eq!(made.iter().filter(|made| made[n]).count(), 1, "object {n}");
        assert_eq!(Value::<i32>::open(&shop, &format!("object {n}")).unwrap().load(), n as i32);
    }
}

#[test]
fn what_a_killed_process_held_is_freed_by_others() {
    let shop = Segment::options().objects(4).anonymous(1 << 20).unwrap();
    let _watchdog = watchdog("what_a_killed_process_held_is_freed_by_others", &[&shop]);
    let meeting = Meeting::new("held");
    let hold = |(shop, path): (Segment, PathBuf)| {
        let _named = Lock::create(&shop, "named").unwrap();
        let _nameless = (Lock::new_in(&shop).unwrap(), Lock::new_in(&shop).unwrap(), Lock::new_in(&shop).unwrap());
        stay(path, "here");
    };
    for _ in 0..3 {
        let child = Process::spawn(hold, (shop.clone(), meeting.path())).unwrap();
        let _stream = meeting.next();
        assert!(Lock::new_in(&shop).unwrap_err().is_exhausted());
        kill(child);
        // The name stays; what only the dead one knew makes room.
        let three: Vec<_> = (0..3).map(|_| Lock::new_in(&shop).unwrap()).collect();
        assert!(Lock::new_in(&shop).unwrap_err().is_exhausted());
        assert!(Lock::open(&shop, "named").unwrap().try_lock().is_ok());
        shop.remove("named").unwrap();
        drop(three);
        assert!(shop.objects().is_empty(), "{:?}", shop.objects());
    }
}

#[test]
fn a_removed_object_is_freed_although_its_last_holder_was_killed() {
    let shop = Segment::anonymous(1 << 20).unwrap();
    let _watchdog = watchdog("a_removed_object_is_freed_although_its_last_holder_was_killed", &[&shop]);
    let meeting = Meeting::new("removed");
    let hold = |(shop, path): (Segment, PathBuf)| {
        let lock = Lock::open(&shop, "lock").unwrap();
        let _guard = lock.lock().unwrap();
        stay(path, "here");
    };
    drop(Lock::create(&shop, "lock").unwrap());
    let child = Process::spawn(hold, (shop.clone(), meeting.path())).unwrap();
    let _stream = meeting.next();
    kill(child);
    shop.remove("lock").unwrap();
    assert!(shop.objects().is_empty(), "{:?}", shop.objects());
}

#[test]
fn removal_ends_the_calls_of_other_processes() {
    let shop = Segment::anonymous(1 << 20).unwrap();
    let _watchdog = watchdog("removal_ends_the_calls_of_other_processes", &[&shop]);
    let orders = Queue::<u64>::create(&shop, "orders", 4).unwrap();
    let meeting = Meeting::new("waits");
    let wait = |(shop, path): (Segment, PathBuf)| {
        let orders = Queue::<u64>::open(&shop, "orders").unwrap();
        let _stream = report_to(path, "here");
        orders.recv().unwrap_err().is_removed()
    };
    let child = Process::spawn(wait, (shop.clone(), meeting.path())).unwrap();
    let _stream = meeting.next();
    shop.remove("orders").unwrap();
    assert!(orders.try_send(1).unwrap_err().is_removed());
    assert!(child.join().unwrap());
}

#[test]
fn handles_of_objects_among_others_travel() {
    let shop = Segment::anonymous(1 << 20).unwrap();
    let _watchdog = watchdog("handles_of_objects_among_others_travel", &[&shop]);
    let work = |(orders, count): (Queue<u64>, Value<u64>)| {
        while let Ok(n) = orders.recv() {
            count.fetch_add(n);
        }
        (orders.segment().uuid() == count.segment().uuid(), count)
    };
    let (orders, count) = (Queue::new_in(&shop, 4).unwrap(), Value::create(&shop, "count", 0).unwrap());
    let child = Process::spawn(work, (orders.clone(), count.clone())).unwrap();
    orders.send_all(1..=10).unwrap();
    orders.close();
    let (same, theirs) = child.join().unwrap();
    assert!(same);
    assert_eq!((count.load(), theirs.load()), (55, 55));
    assert_eq!(shop.objects().len(), 2);
}

/// The parent lets go at once: the child finds what it was given all the same.
#[test]
fn an_argument_lives_until_the_child_has_it() {
    let shop = Segment::anonymous(1 << 20).unwrap();
    let _watchdog = watchdog("an_argument_lives_until_the_child_has_it", &[&shop]);
    let child = Process::spawn(|value: Value<u64>| value.load(), Value::new_in(&shop, 5).unwrap()).unwrap();
    assert_eq!(child.join().unwrap(), 5);
}

/// Handles inside of items: of the queue's own segment, and not of another one without a name.
#[test]
fn a_handle_in_an_item_lives_in_the_queues_own_segment() {
    let shop = Segment::anonymous(1 << 20).unwrap();
    let _watchdog = watchdog("a_handle_in_an_item_lives_in_the_queues_own_segment", &[&shop]);
    let questions = Queue::<(u64, Queue<u64>)>::create(&shop, "questions", 4).unwrap();
    let answer = |shop: Segment| {
        let questions = Queue::<(u64, Queue<u64>)>::open(&shop, "questions").unwrap();
        for _ in 0..3 {
            let (number, answers) = questions.recv().unwrap();
            answers.send(number * number).unwrap();
        }
    };
    let child = Process::spawn(answer, shop.clone()).unwrap();
    let answers = Queue::new_in(&shop, 1).unwrap();
    for number in [2, 3, 4] {
        questions.send((number, answers.clone())).unwrap();
        assert_eq!(answers.recv().unwrap(), number * number);
    }
    child.join().unwrap();
    let elsewhere = Queue::new(1).unwrap();
    assert!(questions.send((5, elsewhere)).unwrap_err().error().is_not_reachable());
}

/// A forked child: its parent's handles are not its own, and dropping them lets nothing go.
#[test]
fn a_forked_child_holds_only_what_it_reattaches() {
    let shop = Segment::anonymous(1 << 20).unwrap();
    let _watchdog = watchdog("a_forked_child_holds_only_what_it_reattaches", &[&shop]);
    let work = |shop: Segment| -> (String, usize, bool) {
        let value = Value::new_in(&shop, [1_u64; 3]).unwrap();
        let said = in_a_fork(|| {
            let refused = value.store([2; 3]).is_err_and(|error| error.is_forked());
            let unopened = Lock::create(&shop, "lock").is_err_and(|error| error.is_forked());
            let ours = value.reattach().unwrap();
            ours.store([3; 3]).unwrap();
            drop(value.clone());
            format!("{refused} {unopened} {}", ours.segment().objects()[0].held_by.len())
        });
        (said, shop.objects().len(), value.load() == [3; 3])
    };
    let (said, objects, is_new) = Process::spawn(work, shop.clone()).unwrap().join().unwrap();
    assert_eq!((said.as_str(), objects, is_new), ("true true 2", 1, true));
}

/// A handle that came too late says what became of its object.
#[test]
fn a_handle_of_a_removed_object_arrives_as_a_reason() {
    let shop = Segment::anonymous(1 << 20).unwrap();
    let _watchdog = watchdog("a_handle_of_a_removed_object_arrives_as_a_reason", &[&shop]);
    let value = Value::create(&shop, "value", 1_u64).unwrap();
    let questions = Queue::<Value<u64>>::new_in(&shop, 4).unwrap();
    questions.send(value.clone()).unwrap();
    shop.remove("value").unwrap();
    let error = questions.recv().unwrap_err();
    assert!(error.is_removed() && !error.is_codec(), "{error}");
    let error = Process::spawn(|value: Value<u64>| value.load(), value).unwrap().join().unwrap_err();
    assert!(error.to_string().contains("removed"), "{error}");
}
