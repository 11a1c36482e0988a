//! Counts the words of real text with several processes: producers read files and send their lines through
//! a queue, consumers count the words of each line into a shared counter and a shared array of lengths.
//!
//! ```text
//! cargo run --release --example producer_consumer -- [--producers N] [--consumers N] [--capacity N] [FILE]...
//! ```
//!
//! Without files it counts this repository's own sources and docs. The total is what `LC_ALL=C.UTF-8 wc -w`
//! says of the same files. The program counts once more in one process, compares, and exits with 1 when the
//! two differ: also when they differ because somebody killed a worker, and then it says so.

mod loops;

use std::fmt::Display;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use mutirao::{Array, Process, Queue, Value};
use serde::{Deserialize, Serialize};

/// Bytes of a cell of the queue, and the most text that goes into one item.
const CELL_BYTES: usize = 1024;
const TEXT_BYTES: usize = CELL_BYTES - 16;

/// Words of this many characters or more share the last place of the array of lengths.
const LONGEST: usize = 24;

const USAGE: &str = "\
usage: producer_consumer [--producers N] [--consumers N] [--capacity N] [FILE]...

Counts the words of every FILE (without one: of this repository's sources and docs) with N producer and
N consumer processes (2 and 2) around a queue of N lines (1024).";

/// What travels: a line, or a piece of one that is too long for a cell.
#[derive(Serialize, Deserialize)]
struct Line {
    text: String,
    /// The piece before this one ended in the middle of a word; that word is counted already.
    goes_on: bool,
}

/// Everything the processes share.
#[derive(Clone, Serialize, Deserialize)]
struct Shared {
    lines: Queue<Line>,
    /// Items counted, and the words in them.
    items: Value<u64>,
    words: Value<u64>,
    /// Words by their number of characters.
    lengths: Array<u64>,
    /// Words by the consumer that counted them.
    shares: Array<u64>,
    /// The next file to read, and for each file whether all of it was sent.
    next_file: Value<u64>,
    files_sent: Array<u64>,
}

fn main() -> ExitCode {
    mutirao::init();
    let result = Options::parse(std::env::args().skip(1)).map_err(|why| format!("{why}\n\n{USAGE}"));
    let outcome = match result {
        Ok(None) => {
            println!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        Ok(Some(options)) => run(&options),
        Err(why) => {
            eprintln!("producer_consumer: {why}");
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(why) => {
            eprintln!("producer_consumer: {why}");
            ExitCode::FAILURE
        }
    }
}

// ---------------------------------------------------------------- the workers

/// A producer takes the next file that nobody has taken, until there is none.
fn produce((shared, files): (Shared, Vec<PathBuf>)) {
    while let Some(index) = claim(&shared.next_file, files.len()) {
        let text = or_exit(read(&files[index]));
        let lines = text.lines().flat_map(pieces);
        or_exit(loops::produce(lines, &Lines(&shared.lines)));
        or_exit(shared.files_sent.set(index, 1));
    }
}

/// A consumer counts lines until the queue is closed and drained.
fn consume((shared, me): (Shared, usize)) {
    or_exit(loops::consume(&Lines(&shared.lines), &Words { shared: &shared, me }));
}

fn claim(next: &Value<u64>, len: usize) -> Option<usize> {
    let index = usize::try_from(next.fetch_add(1)).ok()?;
    (index < len).then_some(index)
}

/// A worker that can not go on says why and leaves; its parent sees the exit code.
fn or_exit<T, E: Display>(result: Result<T, E>) -> T {
    result.unwrap_or_else(|why| {
        eprintln!("worker {}: {why}", std::process::id());
        std::process::exit(1)
    })
}

struct Lines<'a>(&'a Queue<Line>);

impl loops::Channel for Lines<'_> {
    type Item = Line;
    type Error = mutirao::Error;

    fn send(&self, line: Line) -> mutirao::Result<()> {
        Ok(self.0.send(line)?)
    }

    fn recv(&self) -> mutirao::Result<Option<Line>> {
        match self.0.recv() {
            Ok(line) => Ok(Some(line)),
            Err(why) if why.is_closed() => Ok(None),
            Err(why) => Err(why),
        }
    }
}

struct Words<'a> {
    shared: &'a Shared,
    me: usize,
}

impl loops::Tally<Line> for Words<'_> {
    fn count(&self, line: Line) {
        let counted = Counted::of(&line.text, line.goes_on);
        or_exit(self.shared.shares.fetch_add(self.me, counted.words));
        self.shared.words.fetch_add(counted.words);
        self.shared.items.fetch_add(1);
        for (length, &n) in counted.lengths.iter().enumerate().filter(|&(_, &n)| n > 0) {
            or_exit(self.shared.lengths.fetch_add(length, n));
        }
    }
}

// ---------------------------------------------------------------- what a word is

/// The words of a text, and how long they are.
#[derive(Default, PartialEq, Eq)]
struct Counted {
    words: u64,
    lengths: [u64; LONGEST + 1],
}

impl Counted {
    fn of(text: &str, goes_on: bool) -> Self {
        let mut counted = Self::default();
        counted.add(text, goes_on);
        counted
    }

    fn add(&mut self, text: &str, goes_on: bool) {
        let mut parts = text.split(separates);
        if goes_on {
            parts.next();
        }
        for word in parts.filter(|part| !part.is_empty()) {
            self.words += 1;
            self.lengths[word.chars().count().min(LONGEST)] += 1;
        }
    }
}

/// White space as `wc` has it in the locale C.UTF-8: U+0085 and the line and paragraph separators join, the
/// word joiner U+2060 separates.
fn separates(c: char) -> bool {
    match c {
        '\u{85}' | '\u{2028}' | '\u{2029}' => false,
        '\u{2060}' => true,
        c => c.is_whitespace(),
    }
}

/// Cuts a line that is too long for a cell, behind white space where there is some.
fn pieces(line: &str) -> impl Iterator<Item = Line> {
    let mut rest = Some(line);
    let mut goes_on = false;
    std::iter::from_fn(move || {
        let text = rest.take()?;
        if text.len() <= TEXT_BYTES {
            return Some(Line { text: text.to_owned(), goes_on });
        }
        let fits = &text[..text.floor_char_boundary(TEXT_BYTES)];
        let cut =
            fits.char_indices().rev().find(|&(_, c)| separates(c)).map_or(fits.len(), |(at, c)| at + c.len_utf8());
        let (piece, later) = text.split_at(cut);
        let line = Line { text: piece.to_owned(), goes_on };
        goes_on = !piece.ends_with(separates);
        rest = Some(later);
        Some(line)
    })
}

fn read(path: &Path) -> Result<String, String> {
    let bytes = std::fs::read(path).map_err(|why| format!("{}: {why}", path.display()))?;
    Ok(String::from_utf8(bytes).unwrap_or_else(|why| String::from_utf8_lossy(why.as_bytes()).into_owned()))
}

// ---------------------------------------------------------------- the parent

/// How a worker ended.
struct Ended {
    role: &'static str,
    index: usize,
    result: Result<(), String>,
}

fn run(options: &Options) -> Result<bool, String> {
    let begun = Instant::now();
    let mut alone = Counted::default();
    for file in &options.files {
        alone.add(&read(file)?, false);
    }
    let alone_took = begun.elapsed();

    let shared = Shared::new(options).map_err(|why| why.to_string())?;
    let begun = Instant::now();
    let deaths = work(options, &shared, alone.words).map_err(|why| why.to_string())?;
    let took = begun.elapsed();

    report(options, &shared, took);
    println!("one process: {} words in {:.1} ms", alone.words, alone_took.as_secs_f64() * 1e3);
    let right = check(options, &shared, &alone).map_err(|why| why.to_string())?;
    for Ended { role, index, result } in &deaths {
        println!("{role} {index} died: {}", result.as_ref().err().map_or("", String::as_str));
    }
    if !right && !deaths.is_empty() {
        println!("what the dead held when they died is missing: a consumer's last line, the rest of a producer's file");
    }
    Ok(right)
}

impl Shared {
    fn new(options: &Options) -> mutirao::Result<Self> {
        Ok(Self {
            lines: Queue::options().capacity(options.capacity).cell_bytes(CELL_BYTES).create()?,
            items: Value::new(0)?,
            words: Value::new(0)?,
            lengths: Array::new(LONGEST + 1)?,
            shares: Array::new(options.consumers)?,
            next_file: Value::new(0)?,
            files_sent: Array::new(options.files.len())?,
        })
    }
}

/// Starts everybody, closes the queue when nobody will send or nobody will receive any more, and says who
/// died.
fn work(options: &Options, shared: &Shared, expected: u64) -> mutirao::Result<Vec<Ended>> {
    let (ended, ends) = mpsc::channel();
    let watch = |role: &'static str, index: usize, process: Process| {
        let ended = ended.clone();
        println!("{role} {index} is process {}", process.id());
        std::thread::spawn(move || {
            let result = process.join().map_err(|why| why.to_string());
            // The parent may have given up already; then nobody wants to know.
            let _ = ended.send(Ended { role, index, result });
        });
    };
    for index in 0..options.consumers {
        watch("consumer", index, Process::spawn(consume, (shared.clone(), index))?);
    }
    for index in 0..options.producers {
        watch("producer", index, Process::spawn(produce, (shared.clone(), options.files.clone()))?);
    }

    let bar = progress(expected);
    let mut left = [options.producers, options.consumers];
    let mut deaths = Vec::new();
    while left != [0, 0] {
        if let Ok(end) = ends.recv_timeout(Duration::from_millis(50)) {
            left[usize::from(end.role == "consumer")] -= 1;
            if left.contains(&0) {
                shared.lines.close();
            }
            if end.result.is_err() {
                deaths.push(end);
            }
        }
        bar.set_position(shared.words.load());
    }
    bar.finish_and_clear();
    Ok(deaths)
}

fn progress(words: u64) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::with_draw_target(Some(words), ProgressDrawTarget::stderr());
    match ProgressStyle::with_template("{bar:40} {human_pos} of {human_len} words, {per_sec}") {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

fn report(options: &Options, shared: &Shared, took: Duration) {
    let words = shared.words.load();
    let items = shared.items.load();
    for index in 0..options.consumers {
        let share = shared.shares.get(index).unwrap_or(0);
        let percent = share as f64 * 100.0 / words.max(1) as f64;
        println!("consumer {index} counted {share} words ({percent:.1} %)");
    }
    let rate = items as f64 / took.as_secs_f64();
    println!(
        "{items} items in {:.1} ms, starting the processes included: {rate:.0} items a second",
        took.as_secs_f64() * 1e3
    );
    println!("total: {words} words in {} files", options.files.len());
}

/// Compares the shared result with the count in one process, and says where they differ.
fn check(options: &Options, shared: &Shared, alone: &Counted) -> mutirao::Result<bool> {
    let words = shared.words.load();
    let mut right = true;
    let mut shares = 0;
    for index in 0..options.consumers {
        shares += shared.shares.get(index)?;
    }
    for (what, found) in [("words", words), ("the sum of all shares", shares)] {
        if found != alone.words {
            println!("WRONG: {what}: {found} instead of {}", alone.words);
            right = false;
        }
    }
    let mut lengths = [0; LONGEST + 1];
    shared.lengths.copy_to(0, &mut lengths)?;
    if lengths != alone.lengths {
        println!("WRONG: words by length: {lengths:?} instead of {:?}", alone.lengths);
        right = false;
    }
    for (index, file) in options.files.iter().enumerate() {
        if shared.files_sent.get(index)? == 0 {
            println!("WRONG: not all of {} was sent", file.display());
            right = false;
        }
    }
    Ok(right)
}

// ---------------------------------------------------------------- the command line

struct Options {
    producers: usize,
    consumers: usize,
    capacity: usize,
    files: Vec<PathBuf>,
}

impl Options {
    /// `None` when only the usage is wanted.
    fn parse(mut args: impl Iterator<Item = String>) -> Result<Option<Self>, String> {
        let mut options = Self { producers: 2, consumers: 2, capacity: 1024, files: Vec::new() };
        while let Some(arg) = args.next() {
            let (flag, joined) = match arg.split_once('=') {
                Some((flag, value)) if flag.starts_with("--") => (flag, Some(value.to_owned())),
                _ => (arg.as_str(), None),
            };
            let number = match flag {
                "--producers" => &mut options.producers,
                "--consumers" => &mut options.consumers,
                "--capacity" => &mut options.capacity,
                "-h" | "--help" => return Ok(None),
                "--" => {
                    options.files.extend(args.by_ref().map(PathBuf::from));
                    break;
                }
                _ if flag.starts_with('-') => return Err(format!("unknown flag {flag}")),
                _ => {
                    options.files.push(PathBuf::from(arg));
                    continue;
                }
            };
            let value = joined.or_else(|| args.next()).ok_or_else(|| format!("{flag} needs a number"))?;
            *number = match value.parse() {
                Ok(n) if n > 0 => n,
                _ => return Err(format!("{flag} needs a number above zero, not {value:?}")),
            };
        }
        if options.files.is_empty() {
            options.files = own_files()?;
        }
        Ok(Some(options))
    }
}

/// The sources and docs of the repository that this program was built from.
fn own_files() -> Result<Vec<PathBuf>, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    for folder in ["src", "docs", "examples", "tests"] {
        texts_below(&root.join(folder), &mut files);
    }
    files.extend(
        std::fs::read_dir(root)
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| is_text(path, &["md"])),
    );
    files.sort();
    if files.is_empty() {
        return Err(format!("no files given, and {} holds no sources any more; name some files", root.display()));
    }
    println!("counting *.rs and *.md in src, docs, examples and tests, and *.md, of {}", root.display());
    Ok(files)
}

fn texts_below(folder: &Path, files: &mut Vec<PathBuf>) {
    for path in std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()) {
        if path.is_dir() {
            texts_below(&path, files);
        } else if is_text(&path, &["rs", "md"]) {
            files.push(path);
        }
    }
}

fn is_text(path: &Path, extensions: &[&str]) -> bool {
    path.is_file() && path.extension().and_then(|e| e.to_str()).is_some_and(|e| extensions.contains(&e))
}
