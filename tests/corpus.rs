//! Replays every saved fuzz input on stable. A crash that fuzzing found becomes a file there, and stays found.

#[path = "../fuzz/bodies/arena.rs"]
mod arena;
#[path = "../fuzz/bodies/dict.rs"]
mod dict;
#[path = "../fuzz/bodies/queue.rs"]
mod queue;
#[path = "../fuzz/bodies/segment.rs"]
mod segment;

use std::path::Path;

mutirao::testing::entry!();

#[test]
fn saved_segments_are_refused_or_safe() {
    replay("segment", segment::segment);
}

#[test]
fn saved_operations_do_what_a_plain_deque_does() {
    replay("queue", queue::queue);
}

#[test]
fn saved_operations_do_what_a_plain_map_does() {
    replay("dict", dict::dict);
}

#[test]
fn saved_operations_lose_no_block() {
    replay("arena", arena::arena);
}

fn replay(target: &str, body: impl Fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let entries = match std::fs::read_dir(&folder) {
        Ok(entries) => entries,
        // The package as published has no corpus.
        Err(why) if why.kind() == std::io::ErrorKind::NotFound => return,
        Err(why) => panic!("{}: {why}", folder.display()),
    };
    let mut files: Vec<_> = entries.map(|entry| entry.expect("a directory entry").path()).collect();
    files.sort();
    for file in files {
        let bytes = std::fs::read(&file).expect("a readable corpus file");
        // The last line that a failing test prints names the culprit.
        println!("{}", file.display());
        body(&bytes);
    }
}
