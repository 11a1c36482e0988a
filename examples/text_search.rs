//! Searches files for a word, by all processors: `cargo run --release --example text_search [WORD] [FOLDER ...]`.

use mutirao::{Executor, Inline, Pool};
use std::path::{Path, PathBuf};

/// The lines of a file that hold the word, with their numbers.
fn search((word, file): (String, PathBuf)) -> Vec<(usize, String)> {
    let Ok(text) = std::fs::read_to_string(file) else { return Vec::new() };
    let lines = (1..).zip(text.lines());
    lines.filter(|(_, line)| line.contains(&word)).map(|(number, line)| (number, line.trim().to_owned())).collect()
}

fn files_in(folder: &Path, files: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
        match path.is_dir() {
            true => files_in(&path, files),
            false => files.push(path),
        }
    }
}

fn main() -> mutirao::Result<()> {
    mutirao::init();
    let mut args = std::env::args().skip(1);
    let word = args.next().unwrap_or_else(|| "SIGKILL".to_owned());
    let mut folders: Vec<PathBuf> = args.map(PathBuf::from).collect();
    if folders.is_empty() {
        folders = ["src", "docs", "examples"].map(|folder| Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)).into();
    }
    let mut files = Vec::new();
    folders.iter().for_each(|folder| files_in(folder, &mut files));
    files.sort();

    let pool = Pool::new()?;
    let items: Vec<_> = files.iter().map(|file| (word.clone(), file.clone())).collect();
    let found = pool.map(search, items.clone())?;
    for (file, lines) in files.iter().zip(&found) {
        for (number, line) in lines {
            println!("{}:{number}: {line}", file.display());
        }
    }
    let lines: usize = found.iter().map(Vec::len).sum();
    println!("{lines} lines of {} files hold `{word}`", files.len());
    assert_eq!(found, Inline.map(search, items)?, "as one process finds them");
    Ok(())
}
