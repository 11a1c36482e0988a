//! Holds the tree to the style guide: floors, door plates, rooms, edges, words.
//!
//! Every rule is a function from a [`Tree`] to findings. The last part plants one bad file per rule and
//! expects it to be found: a rule that can not fail guards nothing.
//!
//! The reader below is not a Rust parser. It blanks comments and literals, so that the rules look at code
//! only, and reads paths word by word; that is enough for rules that a reviewer could check with a finger.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

// ---------------------------------------------------------------------------------------------------
// The rules
// ---------------------------------------------------------------------------------------------------

/// The most lines that a file in `src/` may have without its unit tests.
const LINES_MAX: usize = 400;

/// Which floors a floor may import from, apart from its own.
fn may_import(from: u8) -> &'static [u8] {
    match from {
        8 => &[],
        7 => &[6, 5, 4, 2, 1, 0],
        6 => &[5, 4, 2, 1, 0],
        5 => &[4, 3, 2, 1, 0],
        4 => &[3, 2, 1, 0],
        3 => &[2, 0],
        2 => &[1, 0],
        1 => &[0],
        _ => &[],
    }
}

/// The floor of a file below `src/`, or of a module of that name. `lib.rs` stands outside of the house.
fn floor(module: &str) -> Option<u8> {
    Some(match module {
        "error" | "deadline" | "participant" => 0,
        "sys" => 1,
        "sync" => 2,
        "raw" => 3,
        "segment" => 4,
        "handle" => 5,
        "process" => 6,
        "pool" => 7,
        "cli" | "main" => 8,
        _ => return None,
    })
}

/// Files that may say `unsafe`: the system calls, and the other rooms.
fn is_unsafe_room(path: &str) -> bool {
    let in_segment = path.strip_prefix("src/segment/");
    path.starts_with("src/sys/")
        || path == "src/process/entry.rs"
        || in_segment.is_some_and(|name| ["access.rs", "equal.rs", "moves.rs", "plain.rs"].contains(&name))
}

/// Imports go down the stairs, or along one floor without a circle, and never through a door plate.
fn floors(tree: &Tree) -> Vec<String> {
    let mut found = Vec::new();
    let mut same_floor: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    let macros = tree.macros();
    for file in tree.src() {
        let Some(module) = file.module() else { continue };
        let Some(from) = floor(module) else {
            found.push(format!("{}: `{module}` stands on no floor; give it one in tests/tidy.rs", file.path));
            continue;
        };
        for path in paths_from_crate(&file.body) {
            let Some(first) = path.first() else { continue };
            if macros.contains_key(first.as_str()) {
                continue; // `crate::order!` lives at the root by the rules of the language
            }
            let said = format!("crate::{}", path.join("::"));
            let Some(to) = floor(first) else {
                found.push(format!("{}: `{said}` goes through lib.rs; write where it lives", file.path));
                continue;
            };
            if to != from && !may_import(from).contains(&to) {
                found.push(format!("{}: floor {from} imports `{said}` of floor {to}", file.path));
            }
            if from == 5 && to == 1 && path.get(1).is_none_or(|second| second != "clock") {
                found.push(format!("{}: handles may ask sys for the clock only, not `{said}`", file.path));
            }
            if from == 2 && to == 1 && file.path.starts_with("src/sync/model") {
                found.push(format!("{}: the model half imports `{said}`, which models never compile", file.path));
            }
            match tree.file_of(&path) {
                Some(target) if target == file.path => {}
                Some(target) if target.ends_with("/mod.rs") => {
                    // `crate::sync` is the facade itself: one name, two halves behind it.
                    if !file.path.ends_with("/mod.rs") && (first != "sync" || module == "sync") {
                        found
                            .push(format!("{}: `{said}` goes through a mod.rs; write the file it lives in", file.path));
                    }
                }
                Some(target) if to == from => {
                    same_floor.entry(&file.path).or_default().insert(target);
                }
                Some(_) => {}
                None => found.push(format!("{}: `{said}` leads to no file", file.path)),
            }
        }
        if !file.path.ends_with("/mod.rs") && words(&file.body).any(|(_, word)| word == "super") {
            found.push(format!("{}: `super` goes through a mod.rs; write `crate::` and the whole path", file.path));
        }
    }
    if let Some(circle) = circle(&same_floor) {
        found.push(format!("a circle of imports: {}", circle.join(" -> ")));
    }
    found
}

/// A mod.rs says what the room is for, names its files and what is public, and holds nothing. So does lib.rs.
fn door_plates(tree: &Tree) -> Vec<String> {
    let mut found = Vec::new();
    for file in tree.src().filter(|file| file.path.ends_with("/mod.rs") || file.path == "src/lib.rs") {
        if !file.text.trim_start().starts_with("//!") {
            found.push(format!("{}: opens with no prose about what the room is for", file.path));
        }
        for item in items(&file.code) {
            let bare = item.trim_start_matches("pub").trim_start();
            let bare = match bare.strip_prefix('(') {
                Some(rest) => rest.split_once(')').map_or("", |(_, rest)| rest).trim_start(),
                None => bare,
            };
            let is_door = ["mod ", "use "].iter().any(|door| bare.starts_with(door));
            let is_root_only = ["compile_error!", "struct Readme"].iter().any(|item| bare.starts_with(item));
            let is_root = file.path == "src/lib.rs";
            if !(is_door || is_root_only && is_root) {
                found.push(format!(
                    "{}: holds `{}`; a door plate has mod, use and prose",
                    file.path,
                    first_words(&item)
                ));
            }
        }
    }
    found
}

/// A file of unit tests is named `..tests.rs`, and is not compiled into the product.
fn test_files(tree: &Tree) -> Vec<String> {
    let mut found = Vec::new();
    for file in tree.src().filter(|file| file.path.ends_with("tests.rs")) {
        let (folder, name) = file.path.rsplit_once('/').unwrap_or_default();
        let declared = format!("mod {};", name.trim_end_matches(".rs"));
        let in_product = |other: &&File| other.path.starts_with(folder) && other.body.contains(&declared);
        found.extend(tree.src().find(in_product).map(|by| format!("{}: `{declared}` without cfg(test)", by.path)));
    }
    found
}

/// One idea per file.
fn file_lengths(tree: &Tree) -> Vec<String> {
    tree.src()
        .map(|file| (file, file.text.lines().count() - file.test_lines))
        .filter(|(_, lines)| *lines > LINES_MAX)
        .map(|(file, lines)| format!("{}: {lines} lines without its tests; look for the second idea", file.path))
        .collect()
}

/// `unsafe` stands in its rooms only, and each room says why.
fn unsafe_rooms(tree: &Tree) -> Vec<String> {
    let mut found = Vec::new();
    for file in tree.src() {
        // `#[unsafe(...)]` is left to the compiler's lint: macros write it into the caller's crate.
        let is_block = |at: usize| !file.code[..at].ends_with("#[");
        let line =
            words(&file.code).find(|(at, word)| *word == "unsafe" && is_block(*at)).map(|(at, _)| file.line_of(at));
        let Some(line) = line else { continue };
        if !is_unsafe_room(&file.path) {
            found.push(format!("{}:{line}: `unsafe` outside of the unsafe rooms", file.path));
            continue;
        }
        let lines: Vec<_> = file.text.lines().collect();
        let opened = lines.iter().position(|line| line.starts_with("#![allow(unsafe_code)]"));
        let is_argued = opened.is_some_and(|at| {
            let prose: Vec<_> = lines.iter().take(at).filter(|line| line.starts_with("//! ")).collect();
            let beside = lines.get(at).is_some_and(|line| line.contains("//"));
            let above = prose.iter().any(|line| line.to_lowercase().contains("unsafe"));
            !prose.is_empty() && (beside || above)
        });
        if !is_argued {
            found
                .push(format!("{}: an unsafe room opens with prose, a reason and `#![allow(unsafe_code)]`", file.path));
        }
    }
    for room in ["src/raw/", "src/handle/", "src/cli/"] {
        let forbids = |file: &File| file.code.contains("#![forbid(unsafe_code)]");
        let whole_room = tree.file(&format!("{room}mod.rs")).is_none_or(forbids);
        let files = tree.src().filter(|file| file.path.starts_with(room) && !file.body.is_empty());
        for file in files.filter(|file| !file.path.ends_with("/mod.rs") && !whole_room && !forbids(file)) {
            found.push(format!("{}: does not say `#![forbid(unsafe_code)]`, nor does its mod.rs", file.path));
        }
    }
    if tree.file("src/lib.rs").is_some_and(|file| !file.code.contains("#![deny(unsafe_code)]")) {
        found.push("src/lib.rs: does not say `#![deny(unsafe_code)]`".into());
    }
    found
}

/// Atomics come from `crate::sync`, so that the model checker sees them.
fn atomics(tree: &Tree) -> Vec<String> {
    let mut found = Vec::new();
    for file in tree.src().filter(|file| !file.path.starts_with("src/sync/") && !file.path.starts_with("src/sys/")) {
        for (at, _) in words(&file.code).filter(|(_, word)| *word == "atomic") {
            found.push(format!("{}:{}: atomics come from `crate::sync`", file.path, file.line_of(at)));
        }
    }
    found
}

/// A total order is a fence's business. The model half may name it to build that fence.
fn total_orders(tree: &Tree) -> Vec<String> {
    let mut found = Vec::new();
    for file in tree.src().filter(|file| !file.path.starts_with("src/sync/model")) {
        for (at, _) in words(&file.code).filter(|(_, word)| *word == "SeqCst") {
            if !calls_around(&file.code, at).iter().any(|call| call.ends_with("fence")) {
                found.push(format!("{}:{}: SeqCst outside of a fence", file.path, file.line_of(at)));
            }
        }
    }
    found
}

/// Every edge in the code has its row in docs/ordering.md, and every row its edge.
fn edges(tree: &Tree) -> Vec<String> {
    let mut in_code: BTreeMap<String, String> = BTreeMap::new();
    for file in tree.src() {
        for (at, _) in file.body.match_indices("order!(") {
            let edge: String =
                file.body[at + "order!(".len()..].trim_start().chars().take_while(|c| is_word(*c)).collect();
            if !edge.is_empty() {
                in_code.entry(edge).or_insert_with(|| format!("{}:{}", file.path, file.line_of(at)));
            }
        }
    }
    let in_docs = tree.file("docs/ordering.md").map(|file| rows(&file.text)).unwrap_or_default();
    let mut found = Vec::new();
    for (edge, place) in &in_code {
        match in_docs.iter().filter(|row| *row == edge).count() {
            1 => {}
            0 => found.push(format!("{place}: edge `{edge}` has no row in docs/ordering.md")),
            n => found.push(format!("docs/ordering.md: {n} rows for edge `{edge}`")),
        }
    }
    for row in in_docs.iter().filter(|row| !in_code.contains_key(*row)) {
        found.push(format!("docs/ordering.md: no `order!({row}, ...)` in src"));
    }
    found
}

/// A helper with no home is a missing idea.
fn file_names(tree: &Tree) -> Vec<String> {
    const HOMELESS: [&str; 8] = ["util", "utils", "common", "misc", "helper", "helpers", "stuff", "shared_code"];
    tree.files
        .iter()
        .filter(|file| file.path.split('/').any(|part| HOMELESS.contains(&part.trim_end_matches(".rs"))))
        .map(|file| format!("{}: name the idea, not that it helps", file.path))
        .collect()
}

/// Nothing is left for later, and no test is asleep.
fn left_over(tree: &Tree) -> Vec<String> {
    let later = concat!("FIX", "ME");
    let mut found = Vec::new();
    for file in &tree.files {
        if let Some(at) = file.text.find(later) {
            found.push(format!("{}:{}: {later}", file.path, file.line_of(at)));
        }
        for left in ["todo!", "unimplemented!", "#[ignore", "dbg!"] {
            if let Some(at) = file.code.find(left) {
                found.push(format!("{}:{}: {left}", file.path, file.line_of(at)));
            }
        }
    }
    found
}

/// The tree knows no machine that it was written on.
fn machine_paths(tree: &Tree) -> Vec<String> {
    let places = [
        concat!("/ho", "me/"),
        concat!("/ro", "ot/"),
        concat!("/Us", "ers/"),
        concat!("/wo", "rk/"),
        concat!("/tm", "p/"),
    ];
    let mut found = Vec::new();
    for file in &tree.files {
        for place in places {
            if let Some(at) = file.text.find(place) {
                // `frame/work/` and `a/home/b` below some other folder are no absolute paths.
                let is_absolute = !file.text[..at].ends_with(|c: char| is_word(c) || c == '.');
                if is_absolute {
                    found.push(format!("{}:{}: a path of somebody's machine, `{place}`", file.path, file.line_of(at)));
                }
            }
        }
    }
    found
}

/// What `docs/crash.md` says a claim is shown by, is there: a test, a model, or an operation that is killed.
fn shown(tree: &Tree) -> Vec<String> {
    let Some(page) = tree.file("docs/crash.md") else { return Vec::new() };
    let tests: Vec<_> = tree.files.iter().filter(|file| file.path.starts_with("tests/")).collect();
    let is_there = |name: &str| {
        let (test, operation) = (format!("fn {name}("), format!(" {name}: "));
        tests.iter().any(|file| file.text.contains(&test) || file.text.contains(&operation))
    };
    let paragraphs = page.text.split("\n\n").filter(|paragraph| paragraph.starts_with("Shown by "));
    let names = paragraphs.flat_map(|paragraph| paragraph.split('`').skip(1).step_by(2));
    names.filter(|name| !is_there(name)).map(|name| format!("docs/crash.md: `{name}` is no test")).collect()
}

/// A mutant that no longer fits its file kills nothing: every hunk's old lines stand in the file, next to each other.
fn mutants(tree: &Tree) -> Vec<String> {
    let mut found = Vec::new();
    for patch in tree.files.iter().filter(|file| file.path.ends_with(".patch")) {
        for file in patch.text.split("\ndiff --git ").skip(1) {
            let (_, name) = file.split_once("\n--- a/").unwrap_or_default();
            let name = name.lines().next().unwrap_or_default();
            let text = tree.file(name).map_or("", |file| file.text.as_str());
            for hunk in file.split("\n@@ ").skip(1) {
                let lines = hunk.lines().skip(1).filter(|line| !line.starts_with(['+', '\\']));
                // An empty line may have lost the blank before it.
                let old: String = lines.map(|line| line.get(1..).unwrap_or_default().to_owned() + "\n").collect();
                if !text.contains(old.trim_end()) {
                    found.push(format!("{}: does not fit {name} any more", patch.path));
                }
            }
        }
    }
    found
}

type Rule = fn(&Tree) -> Vec<String>;

const RULES: [(&str, Rule); 13] = [
    ("floors", floors),
    ("door plates", door_plates),
    ("file lengths", file_lengths),
    ("test files", test_files),
    ("unsafe rooms", unsafe_rooms),
    ("atomics", atomics),
    ("total orders", total_orders),
    ("edges", edges),
    ("file names", file_names),
    ("left over", left_over),
    ("machine paths", machine_paths),
    ("shown", shown),
    ("mutants", mutants),
];

#[test]
fn the_tree_is_tidy() {
    let tree = Tree::read(Path::new(env!("CARGO_MANIFEST_DIR")));
    assert!(tree.file("src/lib.rs").is_some() && tree.files.len() > 10, "the tree was not found");
    let found: Vec<_> = RULES
        .iter()
        .flat_map(|(name, rule)| rule(&tree).into_iter().map(move |finding| format!("[{name}] {finding}")))
        .collect();
    assert!(found.is_empty(), "{} findings:\n{}", found.len(), found.join("\n"));
}

// ---------------------------------------------------------------------------------------------------
// Reading
// ---------------------------------------------------------------------------------------------------

struct File {
    /// From the top of the repository, with `/`.
    path: String,
    text: String,
    /// `text` with comments and literals blanked, byte for byte; empty for files that are not Rust.
    code: String,
    /// `code` without unit tests, blanked as well.
    body: String,
    test_lines: usize,
}

impl File {
    fn new(path: &str, text: String) -> Self {
        let code = if path.ends_with(".rs") { code_of(&text) } else { String::new() };
        let (body, test_lines) = if path.starts_with("src/") && path.ends_with("tests.rs") {
            (String::new(), text.lines().count())
        } else {
            without_tests(&code)
        };
        Self { path: path.into(), text, code, body, test_lines }
    }

    fn line_of(&self, at: usize) -> usize {
        1 + self.text.as_bytes()[..at].iter().filter(|byte| **byte == b'\n').count()
    }

    /// The first part of the path below `src/`; `None` for lib.rs.
    fn module(&self) -> Option<&str> {
        let first = self.path.strip_prefix("src/")?.split('/').next()?.trim_end_matches(".rs");
        (first != "lib").then_some(first)
    }
}

struct Tree {
    files: Vec<File>,
}

impl Tree {
    /// Every text file that belongs to the repository.
    fn read(root: &Path) -> Self {
        const NOT_OURS: [&str; 6] = [".git", "target", "fuzz/target", "fuzz/corpus", "fuzz/artifacts", "fuzz/coverage"];
        let mut files = Vec::new();
        let mut folders = vec![root.to_path_buf()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder).expect("a folder of the repository") {
                let entry = entry.expect("an entry of the repository");
                let path = entry.path();
                let name = path.strip_prefix(root).expect("below the root").to_string_lossy().replace('\\', "/");
                if NOT_OURS.contains(&name.as_str()) || name.ends_with("/target") {
                    continue;
                }
                if entry.file_type().expect("a type").is_dir() {
                    folders.push(path);
                } else if let Ok(text) = fs::read_to_string(&path) {
                    files.push(File::new(&name, text));
                }
            }
        }
        files.sort_by(|a, b| a.path.cmp(&b.path));
        Self { files }
    }

    fn src(&self) -> impl Iterator<Item = &File> {
        self.files.iter().filter(|file| file.path.starts_with("src/") && file.path.ends_with(".rs"))
    }

    fn file(&self, path: &str) -> Option<&File> {
        self.files.iter().find(|file| file.path == path)
    }

    /// Macros of the crate and the files that define them.
    fn macros(&self) -> BTreeMap<&str, &str> {
        let mut macros = BTreeMap::new();
        for file in self.src().filter(|file| file.code.contains("#[macro_export]")) {
            for (at, _) in file.code.match_indices("macro_rules!") {
                let name = words(&file.code[at + "macro_rules!".len()..]).next().map_or("", |(_, word)| word);
                macros.insert(name, file.path.as_str());
            }
        }
        macros
    }

    /// The file that a path from `crate::` leads into.
    fn file_of(&self, path: &[String]) -> Option<String> {
        (1..=path.len()).rev().find_map(|len| {
            let stem = format!("src/{}", path[..len].join("/"));
            [format!("{stem}.rs"), format!("{stem}/mod.rs")].into_iter().find(|path| self.file(path).is_some())
        })
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn words(code: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut rest = 0;
    std::iter::from_fn(move || {
        let start = rest + code[rest..].find(is_word)?;
        let len = code[start..].find(|c| !is_word(c)).unwrap_or(code.len() - start);
        rest = start + len;
        Some((start, &code[start..rest]))
    })
}

/// `text` with comments, strings and characters blanked. Lines and byte positions stay.
fn code_of(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut code = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let rest = &bytes[at..];
        let word_before = at > 0 && is_word(char::from(bytes[at - 1]));
        let len = if rest.starts_with(b"//") {
            rest.iter().position(|b| *b == b'\n').unwrap_or(rest.len())
        } else if rest.starts_with(b"/*") {
            block_comment(rest)
        } else if rest[0] == b'"' {
            string(rest)
        } else if rest[0] == b'r' && (!word_before || bytes[at - 1] == b'b') && raw_string(rest).is_some() {
            raw_string(rest).unwrap_or(1)
        } else if rest[0] == b'\'' {
            character(rest)
        } else {
            at += 1;
            continue;
        };
        for byte in &mut code[at..at + len] {
            if *byte != b'\n' {
                *byte = b' ';
            }
        }
        at += len.max(1);
    }
    String::from_utf8(code).expect("whole comments and literals were blanked")
}

fn block_comment(rest: &[u8]) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while at < rest.len() {
        if rest[at..].starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if rest[at..].starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                break;
            }
        } else {
            at += 1;
        }
    }
    at.min(rest.len())
}

fn string(rest: &[u8]) -> usize {
    let mut at = 1;
    while at < rest.len() && rest[at] != b'"' {
        at += if rest[at] == b'\\' { 2 } else { 1 };
    }
    (at + 1).min(rest.len())
}

fn raw_string(rest: &[u8]) -> Option<usize> {
    let hashes = rest[1..].iter().take_while(|b| **b == b'#').count();
    if rest.get(1 + hashes) != Some(&b'"') {
        return None;
    }
    let end: Vec<u8> = std::iter::once(b'"').chain(std::iter::repeat_n(b'#', hashes)).collect();
    let body = &rest[2 + hashes..];
    let len = body.windows(end.len()).position(|window| window == end).map_or(body.len(), |at| at + end.len());
    Some(2 + hashes + len)
}

/// A character literal, or 1 for a lifetime.
fn character(rest: &[u8]) -> usize {
    if rest.get(1) == Some(&b'\\') {
        return rest.iter().skip(3).position(|b| *b == b'\'').map_or(1, |at| at + 4);
    }
    // One character of up to four bytes between two quotes.
    (2..=5)
        .find(|at| rest.get(*at) == Some(&b'\''))
        .filter(|at| std::str::from_utf8(&rest[1..*at]).is_ok_and(|c| c.chars().count() == 1))
        .map_or(1, |at| at + 1)
}

/// The code with each `mod` under a `#[cfg(test)]` blanked, and how many lines that were.
fn without_tests(code: &str) -> (String, usize) {
    let mut body = code.to_owned();
    let mut lines = 0;
    let mut from = 0;
    while let Some(at) = body[from..].find("#[cfg(").map(|at| from + at) {
        from = at + 1;
        let Some(end) = body[at..].find(']').map(|end| at + end + 1) else { break };
        let is_test = words(&body[at..end]).any(|(_, word)| word == "test");
        if !is_test || !body[end..].trim_start().starts_with("mod ") {
            continue;
        }
        let Some(open) = body[end..].find(['{', ';']).map(|open| end + open) else { break };
        let close = if body.as_bytes()[open] == b'{' { closing(&body, open) } else { open + 1 };
        let blank: String = body[at..close].chars().map(|c| if c == '\n' { '\n' } else { ' ' }).collect();
        lines += 1 + blank.matches('\n').count();
        body.replace_range(at..close, &blank);
    }
    (body, lines)
}

/// The position behind the brace that closes the one at `open`.
fn closing(code: &str, open: usize) -> usize {
    let mut depth = 0_usize;
    for (at, c) in code[open..].char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return open + at + 1;
        }
    }
    code.len()
}

/// Every path that starts with `crate::`, `use` trees opened: `crate::{a, b::c}` is two.
fn paths_from_crate(code: &str) -> Vec<Vec<String>> {
    let mut paths = Vec::new();
    for (at, word) in words(code) {
        let rest = &code[at + word.len()..];
        let is_macro_body = code[..at].ends_with('$'); // expands somewhere else
        let is_visibility = code[..at].trim_end().ends_with("(in");
        if word == "crate" && rest.starts_with("::") && !is_macro_body && !is_visibility {
            path_tree(&mut rest[2..].chars().peekable(), &mut Vec::new(), &mut paths);
        }
    }
    paths
}

fn path_tree(
    rest: &mut std::iter::Peekable<std::str::Chars<'_>>,
    before: &mut Vec<String>,
    paths: &mut Vec<Vec<String>>,
) {
    let depth = before.len();
    while rest.next_if(|c| c.is_whitespace()).is_some() {}
    if rest.next_if_eq(&'{').is_some() {
        loop {
            path_tree(rest, before, paths);
            // To the next branch; `as name` is skipped with the rest.
            match rest.find(|c| [',', '}'].contains(c)) {
                Some(',') => {
                    while rest.next_if(|c| c.is_whitespace()).is_some() {}
                    if rest.next_if_eq(&'}').is_some() {
                        return;
                    }
                }
                _ => return,
            }
        }
    }
    let mut word = String::new();
    while let Some(c) = rest.next_if(|c| is_word(*c)) {
        word.push(c);
    }
    if word.is_empty() || word == "self" {
        paths.push(before.clone()); // a star, or the module itself
    } else {
        before.push(word);
        if rest.next_if_eq(&':').is_some() && rest.next_if_eq(&':').is_some() {
            path_tree(rest, before, paths);
        } else {
            paths.push(before.clone());
        }
    }
    before.truncate(depth);
}

/// The items of a door plate: split at `;`, at the ends of blocks, without attributes.
fn items(code: &str) -> Vec<String> {
    let mut items = Vec::new();
    let mut rest = code.trim_start();
    while !rest.is_empty() {
        if rest.starts_with('#') {
            let open = rest.find('[').unwrap_or(0);
            let mut depth = 0_usize;
            let end = rest[open..].find(|c| {
                depth += usize::from(c == '[');
                depth -= usize::from(c == ']');
                depth == 0
            });
            rest = rest[end.map_or(rest.len(), |end| open + end + 1)..].trim_start();
            continue;
        }
        let end = rest.find([';', '{']).unwrap_or(rest.len() - 1);
        let item = &rest[..=end];
        let is_use = words(item).any(|(_, word)| word == "use");
        let is_inline_mod = item.ends_with('{') && words(item).any(|(_, word)| word == "mod");
        let len = match (item.ends_with('{'), is_use, is_inline_mod) {
            (true, true, _) => rest.find(';').map_or(rest.len(), |at| at + 1),
            (true, _, true) => {
                let close = closing(rest, end);
                items.extend(self::items(&rest[end + 1..close - 1]));
                close
            }
            (true, ..) => closing(rest, end),
            (false, ..) => end + 1,
        };
        items.push(rest[..len].to_owned());
        rest = rest[len..].trim_start();
    }
    items
}

fn first_words(item: &str) -> String {
    item.split_whitespace().take(4).collect::<Vec<_>>().join(" ")
}

/// The names of the calls whose parentheses are open at `at`, innermost first.
fn calls_around(code: &str, at: usize) -> Vec<&str> {
    let mut calls = Vec::new();
    let mut closed = 0_usize;
    for (open, c) in code[..at].char_indices().rev() {
        match c {
            ')' => closed += 1,
            '(' if closed > 0 => closed -= 1,
            '(' => {
                let before = code[..open].trim_end_matches('!');
                calls.push(&before[before.rfind(|c| !is_word(c)).map_or(0, |start| start + 1)..]);
            }
            ';' | '{' | '}' if closed == 0 => break,
            _ => {}
        }
    }
    calls
}

/// The edges of the tables of docs/ordering.md: the names in backticks in the first cell of each row.
fn rows(text: &str) -> Vec<String> {
    text.lines()
        .filter_map(|line| line.trim().strip_prefix('|')?.split('|').next())
        .flat_map(|cell| cell.split('`').skip(1).step_by(2))
        .map(str::to_owned)
        .collect()
}

/// Some circle in a graph.
fn circle(graph: &BTreeMap<&str, BTreeSet<String>>) -> Option<Vec<String>> {
    fn visit(
        at: &str,
        graph: &BTreeMap<&str, BTreeSet<String>>,
        way: &mut Vec<String>,
        done: &mut BTreeSet<String>,
    ) -> Option<Vec<String>> {
        if let Some(start) = way.iter().position(|step| step == at) {
            return Some(way[start..].iter().cloned().chain([at.to_owned()]).collect());
        }
        if !done.insert(at.to_owned()) {
            return None;
        }
        way.push(at.to_owned());
        let found = graph.get(at).into_iter().flatten().find_map(|next| visit(next, graph, way, done));
        way.pop();
        found
    }
    let mut done = BTreeSet::new();
    graph.keys().find_map(|start| visit(start, graph, &mut Vec::new(), &mut done))
}

// ---------------------------------------------------------------------------------------------------
// Planted faults
// ---------------------------------------------------------------------------------------------------

/// A small house in which every rule is content, with `planted` files put in or exchanged.
fn house(planted: &[(&str, &str)]) -> Tree {
    let mut files = BTreeMap::from([
        (
            "src/lib.rs",
            "//! Tour.\n#![deny(unsafe_code)]\n#[cfg(x)]\ncompile_error!(\"no\");\nmod raw;\npub use crate::handle::lock::{Lock, LockGuard};\n",
        ),
        ("src/error.rs", "//! Words.\npub struct Error;\n"),
        ("src/sys/mod.rs", "//! Calls.\npub(crate) mod futex;\n"),
        (
            "src/sys/futex.rs",
            "//! Sleep.\n#![allow(unsafe_code)] // a system call\nuse core::sync::atomic::AtomicU32;\nunsafe fn f() {}\n",
        ),
        ("src/sync/mod.rs", "//! Facade.\nmod order;\npub use real::{fence, Futex};\n"),
        (
            "src/sync/order.rs",
            "//! Names.\n#[macro_export]\nmacro_rules! order { ($edge:ident, $o:ident) => { $crate::sync::Ordering::$o }; }\n",
        ),
        ("src/sync/real.rs", "//! Real.\nuse crate::sys::futex;\n"),
        ("src/raw/mod.rs", "//! Machines.\n#![forbid(unsafe_code)]\npub mod lock;\npub mod signal;\n"),
        (
            "src/raw/lock.rs",
            "//! Lock.\nuse crate::sync::{AtomicU32, Ordering, fence};\nuse crate::order;\nfn f() { w.load(order!(lock_take, Acquire)); fence(order!(lock_fence, SeqCst)); }\n#[cfg(test)]\nmod tests { use super::*; }\n",
        ),
        ("src/raw/signal.rs", "//! Signal.\nuse crate::raw::lock::RawLock;\n"),
        ("src/segment/mod.rs", "//! Bytes.\nmod access;\n"),
        ("src/segment/access.rs", "//! Pointers.\n#![allow(unsafe_code)] // offsets\nunsafe fn f() {}\n"),
        ("src/handle/mod.rs", "//! Chooser.\n#![forbid(unsafe_code)]\nmod lock;\n"),
        (
            "src/handle/lock.rs",
            "//! unsafe and atomic and SeqCst in prose.\nuse crate::error::Error;\nuse crate::raw::lock::RawLock;\nuse crate::sys::clock;\nconst S: &str = \"unsafe atomic todo!\";\nfn f<'a>(c: char) -> bool { c == '\"' || c == '\\'' }\n",
        ),
        ("src/sys/clock.rs", "//! Now.\n"),
        ("docs/ordering.md", "| edge | a |\n|---|---|\n| `lock_take` | x |\n| `lock_fence` | y |\n"),
    ]);
    files.extend(planted.iter().copied());
    Tree { files: files.into_iter().map(|(path, text)| File::new(path, text.to_owned())).collect() }
}

#[track_caller]
fn is_found(rule: Rule, planted: &[(&str, &str)], words: &str) {
    let found = rule(&house(planted));
    assert!(found.iter().any(|finding| finding.contains(words)), "expected `{words}` in {found:?}");
}

#[test]
fn a_clean_house_has_no_findings() {
    for (name, rule) in RULES {
        assert_eq!(rule(&house(&[])), Vec::<String>::new(), "{name}");
    }
}

#[test]
fn an_import_upwards_is_found() {
    is_found(floors, &[("src/raw/bad.rs", "use crate::segment::access::Region;")], "floor 3 imports");
    is_found(floors, &[("src/raw/bad.rs", "use crate::{error::Error, sys::{clock, futex}};")], "floor 3 imports");
    is_found(floors, &[("src/error.rs", "fn f() { crate::sys::clock::now_ns(); }")], "floor 0 imports");
    is_found(floors, &[("src/handle/bad.rs", "use crate::sys::futex::wait;")], "clock only");
    is_found(floors, &[("src/sync/model.rs", "use crate::sys::futex;")], "model half");
    is_found(floors, &[("src/process/bad.rs", "use crate::raw::lock::RawLock;")], "floor 6 imports");
    is_found(floors, &[("src/wild.rs", "fn f() {}")], "no floor");
}

#[test]
fn a_circle_on_one_floor_is_found() {
    let lock = "use crate::raw::signal::Signal;";
    is_found(floors, &[("src/raw/lock.rs", lock)], "circle");
    let three =
        [("src/raw/lock.rs", "use crate::raw::x::X;"), ("src/raw/x.rs", "use crate::raw::{signal::{self, Signal}};")];
    is_found(floors, &three, "src/raw/lock.rs -> src/raw/x.rs -> src/raw/signal.rs -> src/raw/lock.rs");
}

#[test]
fn an_import_through_a_door_plate_is_found() {
    is_found(floors, &[("src/handle/bad.rs", "use crate::raw::RawLock;")], "through a mod.rs");
    is_found(floors, &[("src/sync/bad.rs", "use crate::sync::Futex;")], "through a mod.rs");
    is_found(floors, &[("src/raw/bad.rs", "use super::lock::RawLock;")], "through a mod.rs");
    is_found(floors, &[("src/raw/bad.rs", "use crate::Error;")], "through lib.rs");
}

#[test]
fn an_item_on_a_door_plate_is_found() {
    is_found(door_plates, &[("src/raw/mod.rs", "//! x\nmod a;\npub struct S { x: u8 }")], "pub struct S");
    is_found(door_plates, &[("src/raw/mod.rs", "//! x\n#[cfg(a)]\nfn f() { use x; }\nuse a::{b, c};")], "fn f()");
    is_found(door_plates, &[("src/raw/mod.rs", "//! x\npub mod a { pub use x::{y}; const A: u8 = 1; }")], "const A");
    is_found(door_plates, &[("src/lib.rs", "//! x\nimpl A for B {}")], "impl A");
    is_found(door_plates, &[("src/raw/mod.rs", "mod a;")], "no prose");
}

#[test]
fn a_long_file_is_found_and_its_tests_are_not_counted() {
    let long = "fn f() {}\n".repeat(LINES_MAX + 1);
    is_found(file_lengths, &[("src/raw/bad.rs", &long)], "401 lines");
    let tests = format!("fn f() {{}}\n#[cfg(all(test, not(x)))]\nmod tests {{\n{}}}\n", "fn t() {}\n".repeat(900));
    assert_eq!(file_lengths(&house(&[("src/raw/good.rs", &tests)])), Vec::<String>::new());
}

#[test]
fn a_test_file_in_the_product_is_found() {
    let tests = ("src/raw/ring_tests.rs", "use crate::process::spawn::Process;");
    is_found(test_files, &[tests, ("src/raw/mod.rs", "//! x\nmod ring_tests;")], "without cfg(test)");
    let good = house(&[tests, ("src/raw/mod.rs", "//! x\n#[cfg(all(test, not(a)))]\nmod ring_tests;")]);
    assert_eq!((test_files(&good), floors(&good)), (vec![], vec![]));
}

#[test]
fn unsafe_outside_of_its_rooms_is_found() {
    is_found(unsafe_rooms, &[("src/raw/bad.rs", "fn f() { unsafe { g() } }")], "src/raw/bad.rs:1");
    is_found(unsafe_rooms, &[("src/segment/access.rs", "//! x\nunsafe fn f() {}")], "opens with");
    is_found(
        unsafe_rooms,
        &[("src/segment/access.rs", "//! x\n#![allow(unsafe_code)]\nunsafe fn f() {}")],
        "opens with",
    );
    is_found(unsafe_rooms, &[("src/raw/mod.rs", "//! x\nmod lock;")], "does not say");
    is_found(unsafe_rooms, &[("src/lib.rs", "//! x\nmod raw;")], "does not say");
}

#[test]
fn an_atomic_past_the_facade_is_found() {
    is_found(atomics, &[("src/raw/bad.rs", "use std::sync::atomic::AtomicBool;")], "come from");
    is_found(atomics, &[("src/segment/bad.rs", "use core::{mem, sync::atomic};")], "come from");
}

#[test]
fn a_total_order_outside_of_a_fence_is_found() {
    is_found(total_orders, &[("src/raw/bad.rs", "fn f() { fence(Release); w.load(SeqCst); }")], "SeqCst");
    is_found(total_orders, &[("src/raw/bad.rs", "fn f() { w.load(order!(x, SeqCst)); }")], "SeqCst");
    let fences = "fn f() { light_fence(life, order!(a, SeqCst)); core::sync::fence(Ordering::SeqCst); }";
    assert_eq!(total_orders(&house(&[("src/raw/good.rs", fences)])), Vec::<String>::new());
}

#[test]
fn an_edge_without_its_row_and_a_row_without_its_edge_are_found() {
    is_found(
        edges,
        &[("src/raw/bad.rs", "fn f() { w.load(order!(\n  forgotten, Acquire)) }")],
        "`forgotten` has no row",
    );
    let docs = "| `lock_take` |\n| `lock_fence` + `also_gone` |\n| `lock_take` |\n| `gone` |\n";
    is_found(edges, &[("docs/ordering.md", docs)], "order!(gone");
    is_found(edges, &[("docs/ordering.md", docs)], "order!(also_gone");
    is_found(edges, &[("docs/ordering.md", docs)], "2 rows");
}

#[test]
fn a_claim_without_its_test_is_found() {
    let page = ("docs/crash.md", "# Deaths\n\nShown by `a_death`; killed:\n`an_end`.\n");
    is_found(shown, &[page], "`a_death` is no test");
    is_found(shown, &[page, ("tests/deaths.rs", "fn a_death() {}\n")], "`an_end` is no test");
    let there = [page, ("tests/deaths.rs", "fn a_death() {}\noperations! {\n    an_end: f;\n}\n")];
    assert!(shown(&house(&there)).is_empty());
}

#[test]
fn a_mutant_that_fits_no_more_is_found() {
    let mutant = |old: &str| {
        format!(
            "A defect.\n\ndiff --git a/src/error.rs b/src/error.rs\n--- a/src/error.rs\n+++ b/src/error.rs\n@@ -1,2 +1,2 @@\n //! Words.\n-{old}\n+pub struct Bad;\n"
        )
    };
    is_found(
        mutants,
        &[("tests/mutants/01-bad.patch", &mutant("pub struct Gone;"))],
        "01-bad.patch: does not fit src/error.rs",
    );
    assert!(mutants(&house(&[("tests/mutants/01-good.patch", &mutant("pub struct Error;"))])).is_empty());
}

#[test]
fn names_and_left_overs_are_found() {
    is_found(file_names, &[("src/raw/util.rs", "")], "name the idea");
    is_found(file_names, &[("tests/common/mod.rs", "")], "name the idea");
    is_found(left_over, &[("src/raw/bad.rs", "fn f() { todo!() }")], "todo!");
    is_found(left_over, &[("tests/bad.rs", "#[ignore = \"slow\"] fn f() {}")], "#[ignore");
    is_found(left_over, &[("docs/bad.md", concat!("FIX", "ME: later"))], concat!("FIX", "ME"));
    is_found(machine_paths, &[("README.md", concat!("see /ho", "me/me/x"))], "somebody's machine");
    is_found(machine_paths, &[("a.sh", concat!("cd /wo", "rk/x"))], "a.sh:1");
}
