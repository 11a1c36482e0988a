//! A lock around something outside of shared memory, here a file: `cargo run --example lock`.
//!
//! One of the writers dies in the middle of a record, with the lock in its hand. The next one is told, and
//! repairs the file.

use mutirao::{Lock, LockError, Process};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

fn write((lock, path, dies): (Lock, PathBuf, bool)) {
    for n in 0..100 {
        let mut guard = match lock.lock() {
            Ok(guard) => guard,
            Err(LockError::OwnerDied(guard)) => guard,
            Err(LockError::Failed(error)) => panic!("{error}"),
        };
        if guard.owner_died() {
            drop_half_a_record(&path);
            guard.mark_consistent();
        }
        let mut file = fs::OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(b"begin ").unwrap();
        if dies && n == 50 {
            std::process::abort();
        }
        file.write_all(b"end\n").unwrap();
    }
}

fn drop_half_a_record(path: &Path) {
    let text = fs::read_to_string(path).unwrap();
    let whole = text.rfind('\n').map_or(0, |at| at + 1);
    fs::write(path, &text[..whole]).unwrap();
}

fn main() -> mutirao::Result<()> {
    mutirao::init();
    let lock = Lock::new()?;
    let path = std::env::temp_dir().join(format!("mutirao-lock-{}", std::process::id()));
    fs::write(&path, "").unwrap();

    let writers: Vec<_> = [false, true, false]
        .into_iter()
        .map(|dies| Process::spawn(write, (lock.clone(), path.clone(), dies)))
        .collect::<Result<_, _>>()?;
    let died = writers.into_iter().map(Process::join).filter(Result::is_err).count();
    // If the dead one was the last to hold it, the repair is ours.
    if let Err(LockError::OwnerDied(mut guard)) = lock.lock() {
        drop_half_a_record(&path);
        guard.mark_consistent();
    }

    let text = fs::read_to_string(&path).unwrap();
    fs::remove_file(&path).unwrap();
    let whole = text.lines().filter(|line| *line == "begin end").count();
    println!("{whole} whole records, {} others, {died} writer died", text.lines().count() - whole);
    assert_eq!((whole, text.lines().count(), died), (250, 250, 1));
    Ok(())
}
