//! List: who changes it dies, also in the middle of looking after another death.

use crate::operations;
use mutirao::testing::{Killed, begin, end};
use mutirao::{List, Plain, Process};

/// Larger than a block that shares its pages: what is lost of these is soon missed.
fn large(letter: char) -> String {
    letter.to_string().repeat(9000)
}

fn items() -> Vec<String> {
    vec!["m".into(), large('z'), "in a block".into(), large('a')]
}

/// A list with little memory, so that what a death lost would be missed within a few.
fn stage() -> List<String> {
    let list = List::options().memory_bytes(256 << 10).create().unwrap();
    list.extend(items()).unwrap();
    list
}

/// The list is as it was or as it is after the change, and can be changed in every way.
fn is_one_of(list: &List<String>, killed: Killed, after: &[String]) {
    let now = list.to_vec().unwrap();
    assert!(now == after || now == items() && killed != Killed::After, "{:?}", lengths(&now));
    assert_eq!(list.iter().map(Result::unwrap).collect::<Vec<_>>(), now);
    assert_eq!(list.len(), now.len());
    list.push(large('p')).unwrap();
    assert_eq!(list.pop().unwrap(), Some(large('p')));
    list.reverse().unwrap();
    list.clear().unwrap();
    assert_eq!(list.extend(items()).unwrap(), 4);
}

fn lengths(items: &[String]) -> Vec<(usize, Option<char>)> {
    items.iter().map(|item| (item.len(), item.chars().next())).collect()
}

fn changed(change: impl FnOnce(&mut Vec<String>)) -> Vec<String> {
    let mut items = items();
    change(&mut items);
    items
}

fn numbers() -> List<Plain<u64>> {
    let list = List::options().memory_bytes(256 << 10).create().unwrap();
    list.extend((0..16).map(Plain)).unwrap();
    list
}

operations! {
    list_push: stage,
        |list| { let item = large('n'); begin(); list.push(item).unwrap(); end() },
        |list, killed| is_one_of(list, killed, &changed(|items| items.push(large('n'))));
    list_push_small: stage,
        |list| { begin(); list.push("n".into()).unwrap(); end() },
        |list, killed| is_one_of(list, killed, &changed(|items| items.push("n".into())));
    list_push_into_a_new_chunk: numbers,
        |list| { begin(); list.push(Plain(16)).unwrap(); end() },
        |list, killed| {
            let now = list.to_vec().unwrap();
            assert!(now.len() == 17 || now.len() == 16 && killed != Killed::After);
            assert!(now.iter().map(|n| n.0).eq(0..now.len() as u64));
            list.truncate(16).unwrap();
            list.shrink_to_fit().unwrap();
        };
    list_pop: stage,
        |list| { begin(); list.pop().unwrap(); end() },
        |list, killed| is_one_of(list, killed, &changed(|items| drop(items.pop())));
    list_set: stage,
        |list| { let item = large('n'); begin(); list.set(1, item).unwrap(); end() },
        |list, killed| is_one_of(list, killed, &changed(|items| items[1] = large('n')));
    list_set_plain: numbers,
        |list| { let next = list.get(3).unwrap().unwrap().0 + 1; begin(); list.set(3, Plain(next)).unwrap(); end() },
        |list, _| {
            assert_eq!(list.len(), 16);
            list.set(3, Plain(3)).unwrap();
        };
    list_update: stage,
        |list| { begin(); list.update(1, |old| old.replace('z', "y")).unwrap(); end() },
        |list, killed| is_one_of(list, killed, &changed(|items| items[1] = large('y')));
    list_insert: stage,
        |list| { let item = large('n'); begin(); list.insert(1, item).unwrap(); end() },
        |list, killed| is_one_of(list, killed, &changed(|items| items.insert(1, large('n'))));
    list_remove: stage,
        |list| { begin(); list.remove(1).unwrap(); end() },
        |list, killed| is_one_of(list, killed, &changed(|items| drop(items.remove(1))));
    list_extend: stage,
        |list| { let more = [large('n'), "o".into()]; begin(); list.extend(more).unwrap(); end() },
        |list, killed| is_one_of(list, killed, &changed(|items| items.extend([large('n'), "o".into()])));
    list_truncate: stage,
        |list| { begin(); list.truncate(1).unwrap(); end() },
        |list, killed| is_one_of(list, killed, &changed(|items| items.truncate(1)));
    list_clear: stage,
        |list| { begin(); list.clear().unwrap(); end() },
        |list, killed| is_one_of(list, killed, &[]);
    list_retain: stage,
        |list| { begin(); list.retain(|item| item.len() < 100).unwrap(); end() },
        |list, killed| is_one_of(list, killed, &changed(|items| items.retain(|item| item.len() < 100)));
    list_sort: stage,
        |list| { begin(); list.sort().unwrap(); end() },
        |list, killed| is_one_of(list, killed, &changed(|items| items.sort()));
    list_reverse: stage,
        |list| { begin(); list.reverse().unwrap(); end() },
        |list, killed| is_one_of(list, killed, &changed(|items| items.reverse()));
    list_get: stage,
        |list| { begin(); list.get(1).unwrap(); end() },
        |list, killed| is_one_of(list, killed, &items());
    list_to_vec: stage,
        |list| { begin(); list.to_vec().unwrap(); end() },
        |list, killed| is_one_of(list, killed, &items());
    recover_list: stage,
        |list| {
            let dies = |list: List<String>| list.sort_by(|_, _| std::process::abort()).unwrap();
            assert!(Process::spawn(dies, list.clone()).unwrap().join().is_err());
            begin();
            list.set(0, large('n')).unwrap();
            end();
        },
        |list, killed| is_one_of(list, killed, &changed(|items| items[0] = large('n')));
    recover_list_and_sort: stage,
        |list| {
            let dies = |list: List<String>| list.retain(|_| std::process::abort()).unwrap();
            assert!(Process::spawn(dies, list.clone()).unwrap().join().is_err());
            begin();
            list.sort().unwrap();
            end();
        },
        |list, killed| is_one_of(list, killed, &changed(|items| items.sort()));
}
