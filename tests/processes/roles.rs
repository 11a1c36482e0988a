//! What the processes of many tests do: hang and be told so, stay, be killed.

use mutirao::{Process, Segment};
use std::path::PathBuf;

use crate::stage::{Watchdog, report_to};

/// A watchdog that prints what the segments say of themselves.
pub fn watchdog(test: &'static str, segments: &[&Segment]) -> Watchdog {
    let segments: Vec<Segment> = segments.iter().map(|segment| (*segment).clone()).collect();
    Watchdog::with_report(test, move || segments.iter().map(|segment| format!("{}\n", segment.inspect())).collect())
}

/// Says a line at the meeting, and stays until it is killed.
pub fn stay(path: PathBuf, line: &str) -> ! {
    let _stream = report_to(path, line);
    loop {
        std::thread::park();
    }
}

/// Kills a child and waits until it is gone.
pub fn kill(child: Process) {
    child.kill().unwrap();
    assert!(child.join().unwrap_err().is_child_failure());
}

/// The children of this process that have ended and that nobody has taken away, or that still run.
pub fn children_of_this_process() -> usize {
    let children = |task: std::fs::DirEntry| std::fs::read_to_string(task.path().join("children")).unwrap_or_default();
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    tasks.map(|task| children(task.unwrap()).split_whitespace().count()).sum()
}
