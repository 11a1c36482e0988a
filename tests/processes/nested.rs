//! Handles in items: an object that is named by an item of another, whoever made it and whoever is left.

use mutirao::{Dict, List, Process, Queue, Segment, Value};
use std::path::PathBuf;

use crate::roles::{kill, stay, watchdog};
use crate::stage::Meeting;

fn shop() -> Segment {
    Segment::anonymous(4 << 20).unwrap()
}

/// One list without a name and one with, both put into the list and the queue of the arguments.
fn make((lists, queue): (List<List<u64>>, Queue<List<u64>>)) -> (List<u64>, List<u64>) {
    let shop = lists.segment();
    let (nameless, named) = (List::new_in(shop).unwrap(), List::create(shop, "named").unwrap());
    for (list, n) in [(&nameless, 1_u64), (&named, 2)] {
        list.extend([n, n * 1_000_000_000_000]).unwrap();
        lists.push(list.clone()).unwrap();
        queue.send(list.clone()).unwrap();
    }
    (nameless, named)
}

#[test]
fn a_list_in_an_item_is_there_as_long_as_somebody_holds_it() {
    let shop = shop();
    let _watchdog = watchdog("a_list_in_an_item_is_there_as_long_as_somebody_holds_it", &[&shop]);
    let (lists, queue) = (List::new_in(&shop).unwrap(), Queue::new_in(&shop, 4).unwrap());
    let [made, go] = [0, 1].map(|_| Queue::<()>::new(1).unwrap());
    type Given = (List<List<u64>>, Queue<List<u64>>, Queue<()>, Queue<()>);
    let work = |(lists, queue, made, go): Given| {
        let _both = make((lists, queue));
        made.send(()).unwrap();
        go.recv().unwrap();
    };
    let given = (lists.clone(), queue.clone(), made.clone(), go.clone());
    let maker = Process::spawn(work, given).unwrap();
    made.recv().unwrap();
    // Its maker lives: what is taken out is a handle of ours then, and holds it.
    let ours = lists.get(0).unwrap().unwrap();
    assert_eq!(queue.recv().unwrap().get(0).unwrap(), Some(1));
    go.send(()).unwrap();
    maker.join().unwrap();
    assert_eq!(ours.to_vec().unwrap(), [1, 1_000_000_000_000]);
    assert_eq!(lists.get(0).unwrap().unwrap().len(), 2);
    drop(ours);
    // Nobody holds it: the item says so, and stays. The one with a name needs nobody.
    assert!(lists.get(0).unwrap_err().is_removed());
    assert_eq!(lists.get(1).unwrap().unwrap().get(0).unwrap(), Some(2));
    let found: Vec<_> = lists.iter().map(|list| list.map(|list| list.len())).collect();
    assert!(found[0].as_ref().is_err_and(mutirao::Error::is_removed) && *found[1].as_ref().unwrap() == 2);
    assert!(lists.to_vec().unwrap_err().is_removed());
    assert_eq!(lists.len(), 2);
    // What names nothing is taken out by its index.
    assert!(lists.remove(0).unwrap_err().is_removed());
    assert_eq!(lists.to_vec().unwrap().len(), 1);
    assert_eq!(queue.recv().unwrap().get(1).unwrap(), Some(2_000_000_000_000));
    shop.remove("named").unwrap();
    assert!(lists.pop().unwrap_err().is_removed());
    assert!(lists.pop().unwrap().is_none());
}

#[test]
fn a_list_in_an_item_goes_with_its_killed_maker() {
    let shop = shop();
    let _watchdog = watchdog("a_list_in_an_item_goes_with_its_killed_maker", &[&shop]);
    let (lists, queue) = (List::new_in(&shop).unwrap(), Queue::new_in(&shop, 4).unwrap());
    let meeting = Meeting::new("nested");
    let work = |(lists, queue, path): (List<List<u64>>, Queue<List<u64>>, PathBuf)| {
        let _both = make((lists, queue));
        stay(path, "made")
    };
    let maker = Process::spawn(work, (lists.clone(), queue.clone(), meeting.path())).unwrap();
    let _stream = meeting.next();
    kill(maker);
    // Until somebody notices the death it is there, and whoever takes it out then keeps it.
    if let Ok(Some(list)) = lists.get(0) {
        assert_eq!(list.len(), 2);
    }
    assert_eq!(lists.get(1).unwrap().unwrap().len(), 2);
    // Asks about those who hold what is removed.
    shop.remove("named").unwrap();
    assert!((0..2).all(|index| lists.get(index).is_err_and(|error| error.is_removed())));
    assert!((0..2).all(|_| queue.recv().is_err_and(|error| error.is_removed())));
}

#[test]
fn an_item_whose_handle_leads_to_nothing_ends_no_queue() {
    let shop = shop();
    let _watchdog = watchdog("an_item_whose_handle_leads_to_nothing_ends_no_queue", &[&shop]);
    let queue = Queue::<Value<u64>>::new_in(&shop, 4).unwrap();
    let work = |queue: Queue<Value<u64>>| {
        queue.send(Value::new_in(queue.segment(), 1).unwrap()).unwrap();
        queue.send(Value::create(queue.segment(), "two", 2).unwrap()).unwrap();
    };
    Process::spawn(work, queue.clone()).unwrap().join().unwrap();
    queue.close();
    let all: Vec<_> = queue.iter().map(|value| value.map(|value| value.load())).collect();
    assert!(all[0].as_ref().is_err_and(mutirao::Error::is_removed), "{all:?}");
    assert!(all.len() == 2 && *all[1].as_ref().unwrap() == 2, "{all:?}");
}

/// The entry of an object that is gone becomes another's: an old item does not lead to that.
#[test]
fn an_old_handle_in_an_item_never_leads_to_another_object() {
    let shop = Segment::options().objects(3).anonymous(1 << 20).unwrap();
    let _watchdog = watchdog("an_old_handle_in_an_item_never_leads_to_another_object", &[&shop]);
    let lists = List::<List<u64>>::new_in(&shop).unwrap();
    let work = |lists: List<List<u64>>| {
        for n in 0..5 {
            let list = List::new_in(lists.segment()).unwrap();
            list.push(n).unwrap();
            lists.push(list).unwrap();
        }
    };
    Process::spawn(work, lists.clone()).unwrap().join().unwrap();
    let others = [List::<u64>::new_in(&shop).unwrap(), List::new_in(&shop).unwrap()];
    others.iter().for_each(|other| other.push(100).unwrap());
    assert_eq!(lists.iter().filter(|list| list.as_ref().is_err_and(mutirao::Error::is_removed)).count(), 5);
}

/// Deeper than one, and a list in itself.
#[test]
fn handles_nest_as_deep_as_one_likes() {
    let shop = shop();
    let _watchdog = watchdog("handles_nest_as_deep_as_one_likes", &[&shop]);
    let outer = List::<(String, Queue<List<u64>>)>::new_in(&shop).unwrap();
    let work = |outer: List<(String, Queue<List<u64>>)>| {
        let queue = Queue::create(outer.segment(), "queue", 2).unwrap();
        let list = List::create(outer.segment(), "list").unwrap();
        list.extend(0..10).unwrap();
        queue.send(list).unwrap();
        outer.push(("first".into(), queue)).unwrap();
    };
    Process::spawn(work, outer.clone()).unwrap().join().unwrap();
    let (name, queue) = outer.get(0).unwrap().unwrap();
    assert_eq!((name.as_str(), queue.recv().unwrap().len()), ("first", 10));
    // A handle whose segment nobody could open is refused, and nothing was put in.
    let elsewhere = Queue::new(2).unwrap();
    let refused = outer.push(("second".into(), elsewhere)).unwrap_err();
    assert!(refused.error().is_not_reachable() && outer.len() == 1);
}

/// A dictionary of lists: by a name they stay, whoever made them.
#[test]
fn a_dict_of_lists_leads_to_those_that_are_there() {
    let shop = shop();
    let _watchdog = watchdog("a_dict_of_lists_leads_to_those_that_are_there", &[&shop]);
    let lists = Dict::<String, List<u64>>::new_in(&shop).unwrap();
    let work = |lists: Dict<String, List<u64>>| {
        for (key, name) in [("kept", Some("kept")), ("lost", None)] {
            let list = match name {
                Some(name) => List::create(lists.segment(), name).unwrap(),
                None => List::new_in(lists.segment()).unwrap(),
            };
            list.extend([1, 2, 3]).unwrap();
            lists.insert(key, &list).unwrap();
            assert_eq!(lists.get(key).unwrap().unwrap().len(), 3);
        }
    };
    Process::spawn(work, lists.clone()).unwrap().join().unwrap();
    assert_eq!(lists.get("kept").unwrap().unwrap().to_vec().unwrap(), [1, 2, 3]);
    assert!(lists.get("lost").unwrap_err().is_removed());
    // The entry stays until somebody takes it away or puts another list there.
    assert_eq!((lists.len(), lists.contains_key("lost").unwrap()), (2, true));
    let found: Vec<_> = lists.iter().collect();
    assert_eq!((found.len(), found.iter().filter(|entry| entry.is_ok()).count()), (2, 1));
    assert!(found.iter().flat_map(|entry| entry.as_ref().err()).all(mutirao::Error::is_removed));
    let another = List::new_in(&shop).unwrap();
    another.push(4).unwrap();
    assert!(!lists.set("lost", &another).unwrap(), "the key was there");
    assert_eq!(lists.get("lost").unwrap().unwrap().get(0).unwrap(), Some(4));
    drop(another);
    assert!(lists.delete("lost").unwrap() && lists.len() == 1);
}

/// Two processes append to lists that they find in a dictionary, and make those that are missing.
#[test]
fn lists_in_a_dict_are_made_once_and_filled_by_all() {
    let shop = shop();
    let _watchdog = watchdog("lists_in_a_dict_are_made_once_and_filled_by_all", &[&shop]);
    let lists = Dict::<u64, List<(u64, u64)>>::new_in(&shop).unwrap();
    let work = |(lists, who): (Dict<u64, List<(u64, u64)>>, u64)| {
        for n in 0..200 {
            let make = || List::create(lists.segment(), format!("list {}", n % 5).as_str()).unwrap();
            lists.get_or_insert_with(&(n % 5), make).unwrap().push((who, n)).unwrap();
        }
    };
    let children: Vec<_> = (0..2).map(|who| Process::spawn(work, (lists.clone(), who)).unwrap()).collect();
    children.into_iter().for_each(|child| child.join().unwrap());
    assert_eq!(lists.len(), 5);
    for entry in &lists {
        let (key, list) = entry.unwrap();
        let mut all = list.to_vec().unwrap();
        all.sort_unstable();
        let expected = (0..2).flat_map(|who| (0..200).filter(|n| n % 5 == key).map(move |n| (who, n)));
        assert!(all.into_iter().eq(expected));
    }
}
