//! Each row of `docs/ordering.md` weakened in turn: a model must notice.
//!
//! `cargo weaken [word]` runs the rows whose edges contain the word. The models are built first, unless
//! `MUTIRAO_LOOM_BINARY` names the test binary.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

/// A model that runs longer than this has not noticed.
const MOST: Duration = Duration::from_secs(120);

/// A row of the table: edges weakened together, and the model that must fail.
struct Row {
    edges: Vec<String>,
    model: String,
}

impl Row {
    /// The row in a line of the page, if it is one: its first column holds names in backquotes.
    fn parse(line: &str) -> Option<Self> {
        let columns: Vec<_> = line.strip_prefix("| `")?.split(" | ").collect();
        let edges = columns[0].split('+').map(|name| name.trim().trim_matches('`').to_owned()).collect();
        let model = columns.last()?.trim_end_matches('|').trim().to_owned();
        Some(Self { edges, model })
    }

    fn name(&self) -> String {
        self.edges.join("+")
    }
}

fn main() -> ExitCode {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(root.join("docs/ordering.md")).expect("docs/ordering.md");
    let rows: Vec<_> = page.lines().filter_map(Row::parse).collect();
    let mut wrong = mismatches(root, &rows);
    let word = env::args().skip(1).find(|arg| !arg.starts_with('-')).unwrap_or_default();
    let binary = env::var_os("MUTIRAO_LOOM_BINARY").map_or_else(|| build(root), PathBuf::from);
    for row in rows.iter().filter(|row| row.name().contains(&word)) {
        if row.model.starts_with("none") {
            println!("{:40} not shown: {}", row.name(), row.model);
            continue;
        }
        let start = Instant::now();
        let noticed = runs_into_failure(&binary, row);
        let verdict = if noticed { "noticed by" } else { "NOT NOTICED by" };
        println!("{:40} {verdict} {} ({:.1} s)", row.name(), row.model, start.elapsed().as_secs_f64());
        wrong += usize::from(!noticed);
    }
    println!("{} rows, {wrong} wrong", rows.len());
    if wrong == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Edges that have no row, and names in rows that no code has. Prints them.
fn mismatches(root: &Path, rows: &[Row]) -> usize {
    let mut code = BTreeSet::new();
    collect(&root.join("src"), &mut code);
    let page: BTreeSet<_> = rows.iter().flat_map(|row| row.edges.iter().cloned()).collect();
    code.difference(&page).for_each(|edge| println!("{edge:40} HAS NO ROW"));
    page.difference(&code).for_each(|edge| println!("{edge:40} IS NOT IN THE CODE"));
    code.symmetric_difference(&page).count()
}

/// The names in `order!(name, ...)` of the files under `folder`.
fn collect(folder: &Path, names: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).expect("a folder of the source") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            collect(&path, names);
        } else if path.extension().is_some_and(|e| e == "rs") {
            let text = fs::read_to_string(&path).expect("a source file");
            let code = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
            let uses = code.split("order!(").skip(1).filter_map(|rest| rest.split_once(','));
            names.extend(uses.map(|(name, _)| name.trim().to_owned()));
        }
    }
}

/// Builds the models as `cargo loom` does. The path of their binary.
fn build(root: &Path) -> PathBuf {
    let output = Command::new(env!("CARGO"))
        .current_dir(root)
        .args(["loom", "--no-run", "--message-format=json"])
        .stderr(Stdio::inherit())
        .output()
        .expect("cargo runs");
    let messages = String::from_utf8(output.stdout).expect("cargo speaks UTF-8");
    let path = messages.rsplit_once("\"executable\":\"").and_then(|(_, rest)| rest.split_once('"'));
    PathBuf::from(path.expect("the models compile").0)
}

/// Whether the row's model fails when its edges are relaxed.
fn runs_into_failure(binary: &Path, row: &Row) -> bool {
    let mut run = Command::new(binary)
        .args([&row.model, "--test-threads=1"])
        .env("MUTIRAO_WEAKEN", row.name())
        .env("RUST_BACKTRACE", "0")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the models run");
    let start = Instant::now();
    loop {
        if let Some(status) = run.try_wait().expect("a child") {
            return !status.success();
        }
        if start.elapsed() > MOST {
            let _ = run.kill();
            let _ = run.wait();
            return false;
        }
        thread::sleep(Duration::from_millis(5));
    }
}
