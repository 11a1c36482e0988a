//! Any word of a list may be anything: every call answers, and nothing is read or written that is not the segment's.

use mutirao::{Item, List, Plain};
use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;

const BODY: u64 = 6144;
const PAGES: u64 = 73_728 + (2 << 20);
/// A lock whose holder died: whoever takes it next repairs first.
const DAMAGED: u64 = 1 << 30;

/// Every kind of call.
fn use_list<T: Item>(list: &List<T>, item: impl Fn() -> T) {
    let _ = (list.len(), format!("{list:?} {}", list.segment().inspect()));
    let _ = (list.to_vec().is_ok(), list.get(0).is_ok(), list.iter().take(100).filter(Result::is_ok).count());
    let _ = (list.push(item()).is_ok(), list.set(1, item()).is_ok(), list.insert(1, item()).is_ok());
    let _ = (list.update(2, |_| item()).is_ok(), list.remove(0).is_ok(), list.pop().is_ok(), list.reverse());
    let _ = (list.extend([item(), item()]).is_ok(), list.shrink_to_fit(), list.retain(|_| false), list.truncate(5));
    let _ = (list.push(item()).is_ok(), list.clear(), list.push(item()).is_ok());
}

fn read(file: &File, at: u64) -> u64 {
    let mut word = [0; 8];
    file.read_exact_at(&mut word, at).unwrap();
    u64::from_ne_bytes(word)
}

fn file<T: Item>(list: &List<T>) -> File {
    File::from(list.segment().as_fd().try_clone_to_owned().unwrap())
}

/// Where the words of a list stand: of its body, its first chunk and its first block.
fn words<T: Item>(list: &List<T>) -> Vec<u64> {
    let file = file(list);
    let block = |word: u64| PAGES + 32 * u64::from(word as u32 >> 1);
    let directory = BODY + if read(&file, BODY + 8) & 1 == 1 { 384 } else { 128 };
    let chunk = block(read(&file, directory + 8));
    let item = read(&file, chunk);
    let item = if item > 1 << 35 && item & 1 == 0 { block(item) } else { chunk };
    let parts = [BODY + 8..BODY + 640, chunk..chunk + 128, item..item + 32];
    parts.into_iter().flat_map(|part| part.step_by(8)).collect()
}

fn try_words<T: Item>(make: impl Fn() -> List<T>, item: impl Fn() -> T) {
    let words = words(&make());
    let values = [1, 3, 2 << 35 | 2, 1 << 40, 1 << 63, u64::MAX];
    for (at, value) in words.iter().flat_map(|at| values.map(|value| (*at, value))) {
        for lock in [0, DAMAGED] {
            let list = make();
            let file = file(&list);
            let old = read(&file, at);
            for word in [value, old.wrapping_add(value)] {
                file.write_all_at(&word.to_ne_bytes(), at).unwrap();
                file.write_all_at(&lock.to_ne_bytes(), BODY).unwrap();
                use_list(&list, &item);
            }
        }
    }
}

fn made<T: Item>(items: impl IntoIterator<Item = T>) -> List<T> {
    let list = List::options().memory_bytes(1 << 30).create().unwrap();
    list.extend(items).unwrap();
    list.reverse().unwrap();
    list
}

#[test]
fn any_word_of_a_list_of_words_ends_in_an_answer() {
    try_words(|| made(["one", "in a block", "two"].map(str::to_owned)), || "in another block".to_owned());
}

#[test]
fn any_word_of_a_list_of_numbers_ends_in_an_answer() {
    try_words(|| made((0..17).map(Plain::<u64>)), || Plain(5));
}

#[test]
fn any_word_of_a_list_of_blocks_ends_in_an_answer() {
    try_words(|| made((0..3).map(|n| Plain([n; 3]))), || Plain([5_u64; 3]));
}
