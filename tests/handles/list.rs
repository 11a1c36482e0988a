use crate::received;
use mutirao::{Bytes, Item, List, Plain, Segment};
use serde::{Deserialize, Serialize};
use std::cell::Cell;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

fn text(len: usize) -> String {
    (0..len).map(|i| char::from(b'a' + (i % 26) as u8)).collect()
}

fn list_of<T: Item>(items: impl IntoIterator<Item = T>) -> List<T> {
    let list = List::new().unwrap();
    list.extend(items).unwrap();
    list
}

#[test]
fn items_of_every_length_come_back() {
    let list = List::<String>::new().unwrap();
    let other = List::<String>::attach(&received(list.segment())).unwrap();
    let lengths = [0, 1, 6, 7, 8, 9, 23, 24, 25, 500, 4096, 5000, 9000, 3 << 20];
    for len in lengths {
        list.push(text(len)).unwrap();
        assert_eq!(other.get(other.len() - 1).unwrap().unwrap(), text(len));
    }
    assert_eq!(other.to_vec().unwrap(), lengths.map(text));
    assert_eq!(other.iter().map(Result::unwrap).map(|item| item.len()).collect::<Vec<_>>(), lengths);
    for len in lengths.iter().rev() {
        assert_eq!(other.pop().unwrap().unwrap().len(), *len);
    }
    assert!(list.is_empty() && list.pop().unwrap().is_none() && list.get(0).unwrap().is_none());
}

#[test]
fn plain_items_of_every_size_come_back() {
    fn round<const N: usize>() {
        let list = list_of((0..100).map(|i| Plain([i as u8; N])));
        list.set(7, Plain([200; N])).unwrap();
        let expected: Vec<_> = (0..100).map(|i| Plain([if i == 7 { 200 } else { i as u8 }; N])).collect();
        assert_eq!(list.to_vec().unwrap(), expected);
        list.reverse().unwrap();
        assert_eq!(list.get(99).unwrap(), Some(Plain([0; N])));
        assert!(list.contains(&Plain([200; N])).unwrap());
    }
    round::<0>();
    round::<1>();
    round::<7>();
    round::<8>();
    round::<9>();
    round::<200>();
    let bytes = list_of([Bytes(vec![]), Bytes(vec![1; 7]), Bytes(vec![2; 8])]);
    assert_eq!(bytes.get(2).unwrap(), Some(Bytes(vec![2; 8])));
}

/// The same changes to a `Vec`, drawn at random.
#[test]
fn a_list_does_what_a_vec_does() {
    fn run<T: Item + Clone + Ord + std::fmt::Debug>(seed: u64, make: impl Fn(u64) -> T) {
        let list = List::<T>::new().unwrap();
        let (mut vec, mut state) = (Vec::<T>::new(), seed);
        let mut draw = |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % below.max(1)
        };
        for step in 0..3000 {
            let (at, item) = (draw(vec.len() as u64 + 2) as usize, make(draw(1000)));
            match draw(20) {
                0..=5 => {
                    list.push(item.clone()).unwrap();
                    vec.push(item);
                }
                6 | 7 => assert_eq!(list.pop().unwrap(), vec.pop()),
                8..=10 => match list.set(at, item.clone()) {
                    Ok(()) => vec[at] = item,
                    Err(error) => assert!(at >= vec.len() && error.into_inner() == item),
                },
                11 | 12 => match list.insert(at, item.clone()) {
                    Ok(()) => vec.insert(at, item),
                    Err(error) => assert!(at > vec.len() && error.error().is_invalid()),
                },
                13 | 14 => {
                    let gone = (at < vec.len()).then(|| vec.remove(at));
                    assert_eq!(list.remove(at).unwrap(), gone);
                }
                15 => {
                    let more: Vec<_> = (0..draw(40)).map(&make).collect();
                    assert_eq!(list.extend(more.clone()).unwrap(), more.len());
                    vec.extend(more);
                }
                16 => {
                    list.sort().unwrap();
                    vec.sort();
                }
                17 if draw(4) == 0 => {
                    list.truncate(at).unwrap();
                    vec.truncate(at);
                }
                18 if draw(4) == 0 => {
                    list.retain(|other| *other < item).unwrap();
                    vec.retain(|other| *other < item);
                }
                19 if at < vec.len() => {
                    assert_eq!(list.update(at, |_| item.clone()).unwrap(), vec[at]);
                    vec[at] = item;
                }
                _ => {
                    list.reverse().unwrap();
                    vec.reverse();
                }
            }
            assert_eq!(list.len(), vec.len());
            if step % 16 == 0 {
                assert_eq!(list.to_vec().unwrap(), vec);
            }
        }
        list.clear().unwrap();
        list.shrink_to_fit().unwrap();
    }
    run(1, |n| text(n as usize % 40));
    run(2, |n| n);
    run(3, |n| (n, text(n as usize)));
    run(4, |n| std::cmp::Reverse(n as u8));
}

#[test]
fn what_is_taken_out_leaves_its_memory_to_others() {
    let shop = Segment::anonymous(4 << 20).unwrap();
    let list = List::<String>::new_in(&shop).unwrap();
    let mut committed = 0;
    for round in 0..50 {
        list.extend((0..2000).map(|i| text(i % 500))).unwrap();
        list.sort_by_key(|item| std::cmp::Reverse(item.len())).unwrap();
        list.set(5, text(1000)).unwrap();
        list.insert(7, text(70)).unwrap();
        assert_eq!(list.remove(7).unwrap().unwrap().len(), 70);
        match round % 3 {
            0 => list.clear().unwrap(),
            1 => while list.pop().unwrap().is_some() {},
            _ => list.retain(|_| false).unwrap(),
        }
        assert!(list.is_empty());
        if round == 10 {
            committed = shop.committed_len().unwrap();
        }
    }
    assert_eq!(shop.committed_len().unwrap(), committed);
}

/// All of a segment's memory is there again when a list that filled it is gone, with what is in it.
#[test]
fn a_list_that_is_gone_leaves_nothing() {
    let shop = Segment::anonymous(4 << 20).unwrap();
    for round in 0..6 {
        let list = List::<String>::create(&shop, "full").unwrap();
        let error = loop {
            if let Err(error) = list.push(text(3000)) {
                break error;
            }
        };
        assert!(error.error().is_out_of_memory() && error.into_inner() == text(3000));
        let len = list.len();
        assert!(len > 1000, "{len} in round {round}");
        // Nothing that needs memory changes anything, and what needs none goes on.
        assert!(list.extend([text(10), text(9000)]).unwrap_err().is_out_of_memory());
        assert!(list.set(3, text(9000)).unwrap_err().error().is_out_of_memory());
        assert_eq!((list.len(), list.get(3).unwrap().unwrap().len()), (len, 3000));
        assert_eq!(list.pop().unwrap().unwrap().len(), 3000);
        list.set(3, text(2900)).unwrap();
        shop.remove("full").unwrap();
        assert!(list.push("late".into()).unwrap_err().is_removed() && list.get(0).unwrap_err().is_removed());
    }
}

#[test]
fn many_writers_lose_nothing() {
    let list = List::<(u32, u32)>::new().unwrap();
    let threads: Vec<_> = (0..4)
        .map(|thread| {
            let list = list.clone();
            thread::spawn(move || {
                for i in 0..500 {
                    match i % 5 {
                        0 => drop(list.extend([(thread, i), (thread + 100, i)]).unwrap()),
                        1 => list.insert(0, (thread, i)).unwrap(),
                        _ => list.push((thread, i)).unwrap(),
                    }
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    let all = list.to_vec().unwrap();
    let found: BTreeSet<_> = all.iter().copied().collect();
    assert_eq!((all.len(), found.len()), (4 * 600, 4 * 600));
    // Who extends puts items behind each other.
    for (at, (thread, i)) in all.iter().enumerate().filter(|(_, (thread, _))| *thread >= 100) {
        assert_eq!(all[at - 1], (thread - 100, *i));
    }
}

/// Readers see whole items, and the whole list as it was at some moment, while it is turned round and its items replaced.
#[test]
fn readers_see_what_there_was() {
    let list = list_of((0..100_u64).map(|i| vec![i; 1 + i as usize % 20]));
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let readers: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    let mut seen = 0;
                    while !over.load(Ordering::Relaxed) || seen < 50 {
                        let all = list.to_vec().unwrap();
                        assert!(all.iter().all(|item| item.windows(2).all(|two| two[0] == two[1])));
                        let mut sum: Vec<_> = all.iter().map(|item| item[0] % 1000).collect();
                        sum.sort_unstable();
                        assert_eq!(sum, (0..100).collect::<Vec<_>>());
                        if let Some(item) = list.get(seen % 100).unwrap() {
                            assert!(item.windows(2).all(|two| two[0] == two[1]), "{item:?}");
                        }
                        seen += 1;
                    }
                })
            })
            .collect();
        for round in 0..300 {
            match round % 3 {
                0 => list.reverse().unwrap(),
                1 => list.sort().unwrap(),
                _ => drop(list.update(round % 100, |old| vec![old[0] % 1000 + 1000 * round as u64; 5]).unwrap()),
            }
        }
        over.store(true, Ordering::Relaxed);
        readers.into_iter().for_each(|reader| reader.join().unwrap());
    });
}

#[test]
fn an_update_is_never_lost() {
    let list = list_of([0_u64, 0]);
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| (0..300).for_each(|_| assert!(list.update(1, |n| n + 1_000_000_000_000).is_ok())));
        }
    });
    assert_eq!(list.to_vec().unwrap(), [0, 900_000_000_000_000]);
    assert!(list.update(2, |n| *n).unwrap_err().is_invalid());
}

thread_local! {
    static FAILS: Cell<bool> = const { Cell::new(false) };
}

/// A type whose code can fail.
#[derive(Clone, PartialEq, Debug)]
struct Moody(u64);

impl Serialize for Moody {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        assert!(self.0 != 13, "thirteen");
        if self.0 == 14 { Err(serde::ser::Error::custom("fourteen")) } else { self.0.serialize(serializer) }
    }
}

impl<'de> Deserialize<'de> for Moody {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let n = u64::deserialize(deserializer)?;
        if FAILS.get() { Err(serde::de::Error::custom("in a mood")) } else { Ok(Self(n)) }
    }
}

#[test]
fn code_of_the_user_may_fail() {
    let list = list_of([Moody(1), Moody(2)]);
    let refused = list.push(Moody(14)).unwrap_err();
    assert!(refused.error().is_codec() && refused.into_inner() == Moody(14));
    assert!(list.extend([Moody(3), Moody(14)]).unwrap_err().is_codec());
    for f in [(|l| drop(l.push(Moody(13)))) as fn(&List<Moody>), |l| drop(l.extend([Moody(3), Moody(13)]))] {
        assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| f(&list))).is_err());
    }
    let thrown = std::panic::AssertUnwindSafe(|| list.retain(|_| panic!("of two minds")));
    assert!(std::panic::catch_unwind(thrown).is_err());
    assert_eq!(list.to_vec().unwrap(), [Moody(1), Moody(2)]);
    FAILS.set(true);
    assert!(list.get(0).unwrap_err().is_codec() && list.to_vec().unwrap_err().is_codec());
    assert!(list.sort_by_key(|item| item.0).unwrap_err().is_codec());
    let all: Vec<_> = list.iter().collect();
    assert!(all.len() == 2 && all.iter().all(|item| item.as_ref().is_err_and(mutirao::Error::is_codec)));
    assert!(list.pop().unwrap_err().is_codec());
    FAILS.set(false);
    assert_eq!(list.to_vec().unwrap(), [Moody(1)]);
}

#[test]
fn a_list_is_not_changed_within_its_own_sort() {
    let (list, other) = (list_of([3, 1, 2]), list_of([7]));
    list.sort_by(|a, b| {
        assert!(list.push(4).unwrap_err().error().is_invalid());
        assert_eq!(list.get(0).unwrap(), Some(3));
        other
            .sort_by(|a, b| {
                assert!(list.pop().unwrap_err().is_invalid());
                a.cmp(b)
            })
            .unwrap();
        other.push(8).unwrap();
        a.cmp(b)
    })
    .unwrap();
    assert_eq!(list.to_vec().unwrap(), [1, 2, 3]);
    // `update` has no turn while the code of the user runs.
    list.update(0, |old| {
        if list.len() < 5 {
            list.push(9).unwrap();
        }
        old + 1
    })
    .unwrap();
    assert_eq!(list.to_vec().unwrap(), [2, 2, 3, 9]);
}

#[test]
fn another_type_under_the_name_is_refused() {
    let shop = Segment::anonymous(1 << 20).unwrap();
    let list = List::<String>::create(&shop, "words").unwrap();
    list.push("bread".into()).unwrap();
    assert_eq!(List::<String>::open(&shop, "words").unwrap().get(0).unwrap().unwrap(), "bread");
    assert!(List::<u64>::open(&shop, "words").unwrap_err().is_wrong_type());
    assert!(List::<Plain<u64>>::open(&shop, "words").unwrap_err().is_wrong_type());
    assert!(mutirao::Queue::<String>::open(&shop, "words").unwrap_err().is_wrong_type());
    assert!(List::<String>::create(&shop, "words").unwrap_err().is_exists());
    assert_eq!(List::<String>::open_or_create(&shop, "words").unwrap().len(), 1);
    assert!(List::<u8>::options().memory_bytes(0).create().unwrap_err().is_invalid());
    assert!(List::<u8>::options().memory_bytes(u64::MAX).create().is_err());
}

#[test]
fn a_list_ends_where_it_ends() {
    let list = list_of(0..10_u32);
    let mut iter = list.iter();
    assert_eq!(iter.next().unwrap().unwrap(), 0);
    list.clear().unwrap();
    assert!(iter.next().is_none() && iter.next().is_none());
    assert_eq!(list.position(|_| true).unwrap(), None);
    assert_eq!(format!("{list:?}"), "List { item: \"u32\", len: 0 }");
}
