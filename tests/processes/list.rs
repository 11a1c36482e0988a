//! A list between processes: all items arrive, whoever is killed.

use mutirao::{Lifetime, List, Process, Queue, Segment, Value};
use std::time::Duration;

use crate::roles::watchdog;

/// An item of one letter, now in its slot and now in a block.
fn item(n: u64) -> String {
    char::from(b'a' + (n % 26) as u8).to_string().repeat(1 + n as usize * 7 % 300)
}

fn is_whole(item: &str) -> bool {
    item.bytes().all(|letter| letter == item.as_bytes()[0])
}

#[test]
fn what_four_processes_push_is_there() {
    let list = List::<(u64, String)>::new().unwrap();
    let _watchdog = watchdog("what_four_processes_push_is_there", &[list.segment()]);
    let work = |(list, who): (List<(u64, String)>, u64)| {
        for n in 0..300 {
            match n % 3 {
                0 => list.insert(0, (who * 1000 + n, item(n))).unwrap(),
                1 => list.push((who * 1000 + n, item(n))).unwrap(),
                _ => drop(list.extend([(who * 1000 + n, item(n))]).unwrap()),
            }
        }
    };
    let children: Vec<_> = (0..4).map(|who| Process::spawn(work, (list.clone(), who)).unwrap()).collect();
    children.into_iter().for_each(|child| child.join().unwrap());
    list.sort().unwrap();
    let all = list.to_vec().unwrap();
    let expected = (0..4).flat_map(|who| (0..300).map(move |n| (who * 1000 + n, item(n))));
    assert!(all.into_iter().eq(expected));
}

/// Changes a list for as long as it lives.
fn change((list, seed): (List<String>, u64)) {
    let mut state = seed;
    loop {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let (what, n) = (state >> 60, state >> 40 & 0xffff);
        let at = n as usize % list.len().max(1);
        // Others take away what was there a moment ago.
        let _ = match what {
            0..=3 => list.push(item(n)).is_ok(),
            4..=6 => list.pop().is_ok(),
            7 | 8 => list.set(at, item(n)).is_ok(),
            9 => list.insert(at, item(n)).is_ok(),
            10 => list.remove(at).is_ok(),
            11 => list.extend((n..n + 3).map(item)).is_ok(),
            12 => list.sort().is_ok(),
            13 => list.update(at, |old| old.to_uppercase().to_lowercase()).is_ok(),
            14 if list.len() > 200 => list.truncate(100).is_ok(),
            _ => list.reverse().is_ok(),
        };
    }
}

#[test]
fn killed_writers_leave_a_whole_list_and_no_lost_memory() {
    let list = List::<String>::options().memory_bytes(1 << 20).create().unwrap();
    let _watchdog = watchdog("killed_writers_leave_a_whole_list_and_no_lost_memory", &[list.segment()]);
    for round in 0..25 {
        let children: Vec<_> =
            (0..2).map(|who| Process::spawn(change, (list.clone(), 77 * round + who)).unwrap()).collect();
        std::thread::sleep(Duration::from_micros(2000 + 700 * (round % 7)));
        for child in children {
            child.kill().unwrap();
            let now = list.to_vec().unwrap();
            assert!(now.iter().all(|item| is_whole(item)), "round {round}");
            assert!(child.join().is_err());
        }
        assert!(list.iter().map(Result::unwrap).all(|item| is_whole(&item)));
        list.push(item(round)).unwrap();
        assert_eq!(list.pop().unwrap(), Some(item(round)));
    }
    list.clear().unwrap();
    // In blocks of one page each, most of the memory: it is there only if nothing is lost.
    let large = "x".repeat(3900);
    (0..150).for_each(|_| list.push(large.clone()).unwrap());
}

#[test]
fn an_observer_reads_a_list_that_others_change() {
    let name = format!("mutirao-list-{}", std::process::id());
    let shop = Segment::options().lifetime(Lifetime::LastLeaves).create(&name, 4 << 20).unwrap();
    let _watchdog = watchdog("an_observer_reads_a_list_that_others_change", &[&shop]);
    let list = List::<String>::create(&shop, "words").unwrap();
    let (go, over) = (Queue::<()>::new_in(&shop, 1).unwrap(), Value::new_in(&shop, 0_u32).unwrap());
    let work = |(list, go, over): (List<String>, Queue<()>, Value<u32>)| {
        list.extend((0..50).map(item)).unwrap();
        go.send(()).unwrap();
        while over.load() == 0 {
            list.reverse().unwrap();
            list.update(7, |old| old.clone()).unwrap();
            list.pop().unwrap();
            list.push(item(3)).unwrap();
        }
    };
    let child = Process::spawn(work, (list.clone(), go.clone(), over.clone())).unwrap();
    go.recv().unwrap();
    let observer = Segment::open_read_only(&name).unwrap();
    let seen = observer.list::<String>("words").unwrap();
    for index in 0..2000 {
        if let Some(item) = seen.get(index % 49).unwrap() {
            assert!(is_whole(&item));
        }
        match seen.to_vec() {
            Ok(all) => assert!(matches!(all.len(), 49 | 50) && all.iter().all(|item| is_whole(item))),
            Err(error) => assert!(error.is_contended(), "{error}"),
        }
        assert!(matches!(seen.len().unwrap(), 49 | 50) && !seen.is_empty().unwrap());
    }
    over.store(1).unwrap();
    child.join().unwrap();
    assert_eq!(seen.to_vec().unwrap(), list.to_vec().unwrap());
    assert!(observer.list::<u64>("words").unwrap_err().is_wrong_type());
    shop.remove("words").unwrap();
    assert!(seen.get(0).unwrap_err().is_removed());
}
