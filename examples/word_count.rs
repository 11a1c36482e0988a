//! How often each word occurs in some files: several processes count into one dictionary, and `sort | uniq -c` counts
//! beside them.
//!
//! ```text
//! cargo run --release --example word_count -- [--processes N] [FILE ...]
//! ```
//!
//! Without files it counts the sources and docs of its own repository. Exits with 1 when the two disagree.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use mutirao::{Dict, Process, Value};

const USAGE: &str = "usage: word_count [--processes N] [FILE ...]

N processes (one for each CPU) count the words of the files into one dictionary.";

type Fallible<T> = Result<T, Box<dyn std::error::Error>>;

fn main() -> ExitCode {
    mutirao::init();
    let outcome = match parse(std::env::args().skip(1)) {
        Ok(Some((processes, files))) => run(processes, files),
        Ok(None) => {
            println!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        Err(why) => {
            eprintln!("word_count: {why}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(why) => {
            eprintln!("word_count: {why}");
            ExitCode::FAILURE
        }
    }
}

fn run(processes: usize, files: Vec<PathBuf>) -> Fallible<bool> {
    let (counts, next) = (Dict::<String, u64>::new()?, Value::new(0_u64)?);
    let begun = Instant::now();
    let workers = (0..processes)
        .map(|_| Process::spawn(count, (counts.clone(), next.clone(), files.clone())))
        .collect::<mutirao::Result<Vec<_>>>()?;
    for worker in workers {
        worker.join()?;
    }
    let took = begun.elapsed();

    let found: BTreeMap<String, u64> = counts.iter().collect::<mutirao::Result<_>>()?;
    let total: u64 = found.values().sum();
    let rate = total as f64 / took.as_secs_f64() / 1e6;
    println!("{total} words, {} of them distinct, in {} files", found.len(), files.len());
    println!(
        "counted by {processes} processes in {:.0} ms, {rate:.1} million words a second",
        took.as_secs_f64() * 1e3
    );
    let mut ranking: Vec<_> = found.iter().collect();
    ranking.sort_by_key(|(word, count)| (std::cmp::Reverse(**count), word.as_str()));
    for (word, count) in ranking.iter().take(10) {
        println!("{count:9} {word}");
    }

    let begun = Instant::now();
    let expected = sort_and_uniq(&files)?;
    println!("sort | uniq -c took {:.0} ms", begun.elapsed().as_secs_f64() * 1e3);
    if found == expected {
        println!("and agrees about every word");
        return Ok(true);
    }
    let all = found.keys().chain(expected.keys());
    let wrong = all.filter(|word| found.get(*word) != expected.get(*word));
    for word in wrong.collect::<std::collections::BTreeSet<_>>() {
        println!("WRONG: {word:?}: {:?}, expected {:?}", found.get(word), expected.get(word));
    }
    Ok(false)
}

/// A worker takes the next file that nobody has taken, until there is none, and adds each word to the count of all.
fn count((counts, next, files): (Dict<String, u64>, Value<u64>, Vec<PathBuf>)) {
    let result = || -> Fallible<()> {
        while let Some(file) = usize::try_from(next.fetch_add(1)).ok().and_then(|index| files.get(index)) {
            for word in words(&read(file)?) {
                counts.fetch_add(word, 1)?;
            }
        }
        Ok(())
    };
    if let Err(why) = result() {
        eprintln!("worker {}: {why}", std::process::id());
        std::process::exit(1);
    }
}

fn read(file: &Path) -> Fallible<String> {
    let bytes = std::fs::read(file).map_err(|why| format!("{}: {why}", file.display()))?;
    Ok(String::from_utf8_lossy(&bytes).to_lowercase())
}

/// Letters and digits in a row.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty())
}

/// What `sort | uniq -c` says of the words, a line each.
fn sort_and_uniq(files: &[PathBuf]) -> Fallible<BTreeMap<String, u64>> {
    let mut child = Command::new("sh")
        .args(["-c", "LC_ALL=C sort | LC_ALL=C uniq -c"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut lines = child.stdin.take().ok_or("no pipe to sort")?;
    for file in files {
        // Nothing comes out before all is in, so nobody waits for anybody.
        let text: String = words(&read(file)?).flat_map(|word| [word, "\n"]).collect();
        lines.write_all(text.as_bytes())?;
    }
    drop(lines);
    let output = child.wait_with_output()?;
    if !output.status.success() {
        return Err("sort | uniq -c failed".into());
    }
    let counted = String::from_utf8(output.stdout)?;
    let pairs = counted.lines().filter_map(|line| line.trim_start().split_once(' '));
    pairs.map(|(count, word)| Ok((word.to_owned(), count.parse()?))).collect()
}

/// `None` when only the usage is wanted.
fn parse(mut args: impl Iterator<Item = String>) -> Fallible<Option<(usize, Vec<PathBuf>)>> {
    let (mut processes, mut files) = (std::thread::available_parallelism()?.get(), Vec::new());
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "-h" | "--help" => return Ok(None),
            "--processes" => {
                let number = args.next().and_then(|n| n.parse().ok()).filter(|n| *n > 0);
                processes = number.ok_or("--processes needs a number above zero")?;
            }
            flag if flag.starts_with("--") => return Err(format!("unknown argument {flag}").into()),
            file => files.push(file.into()),
        }
    }
    if files.is_empty() {
        files = own_files();
    }
    if files.is_empty() {
        return Err("no files given, and those of the repository are gone; name some".into());
    }
    Ok(Some((processes, files)))
}

/// The sources and docs of the repository that this program was built from.
fn own_files() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut folders: Vec<_> = ["src", "docs", "examples", "tests"].map(|folder| root.join(folder)).into();
    let mut files = vec![root.join("README.md")];
    while let Some(folder) = folders.pop() {
        for path in std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()) {
            match path.extension().and_then(|extension| extension.to_str()) {
                _ if path.is_dir() => folders.push(path),
                Some("rs" | "md") => files.push(path),
                _ => {}
            }
        }
    }
    files.retain(|file| file.is_file());
    files.sort();
    files
}
