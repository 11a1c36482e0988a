//! Who outlives whom, and what is left afterwards.

use mutirao::Process;
use std::io::Write;
use std::path::PathBuf;

use crate::stage::{Meeting, Watchdog, report_to, wait_for_hang_up};

fn report_and_stay(path: PathBuf) {
    let _stream = report_to(path, &std::process::id().to_string());
    loop {
        std::thread::park();
    }
}

fn have_a_child_and_stay((path, how): (PathBuf, How)) {
    let child = Process::options().detached(how == How::Detached).spawn(report_and_stay, path.clone()).unwrap();
    match how {
        How::Held | How::Detached => core::mem::forget(child),
        How::Dropped => drop(child),
        How::DetachedLater => child.detach(),
    }
    report_and_stay(path);
}

#[derive(serde::Serialize, serde::Deserialize, Clone, Copy, PartialEq, Debug)]
enum How {
    Held,
    Dropped,
    Detached,
    DetachedLater,
}

/// Kills a process that has a child, and returns what the child holds open.
fn orphan(name: &str, how: How) -> (u32, std::os::unix::net::UnixStream) {
    let meeting = Meeting::new(name);
    let parent = Process::spawn(have_a_child_and_stay, (meeting.path(), how)).unwrap();
    let (mut streams, pids): (Vec<_>, Vec<_>) = (0..2).map(|_| meeting.next()).unzip();
    let grandchild = pids.iter().position(|pid| *pid != parent.id().to_string()).unwrap();
    parent.kill().unwrap();
    assert!(parent.join().unwrap_err().is_child_failure());
    (pids[grandchild].parse().unwrap(), streams.swap_remove(grandchild))
}

#[test]
fn a_child_dies_with_its_parent() {
    let _watchdog = Watchdog::new("a_child_dies_with_its_parent");
    for how in [How::Held, How::Dropped] {
        wait_for_hang_up(orphan(&format!("dies-{how:?}"), how).1);
    }
}

#[test]
fn a_detached_child_outlives_its_parent() {
    let _watchdog = Watchdog::new("a_detached_child_outlives_its_parent");
    for how in [How::Detached, How::DetachedLater] {
        let (pid, mut stream) = orphan(&format!("outlives-{how:?}"), how);
        // Whoever can still be written to is alive; the write of a line to a dead one fails.
        stream.write_all(b"still there?\n").unwrap();
        assert!(std::path::Path::new(&format!("/proc/{pid}")).exists());
        assert!(std::process::Command::new("kill").args(["-9", &pid.to_string()]).status().unwrap().success());
        wait_for_hang_up(stream);
    }
}

#[test]
fn a_child_outlives_the_thread_that_spawned_it() {
    let _watchdog = Watchdog::new("a_child_outlives_the_thread_that_spawned_it");
    let meeting = Meeting::new("thread");
    let path = meeting.path();
    let spawn = move || {
        let work = |path| {
            wait_for_hang_up(report_to(path, "here"));
            7
        };
        Process::spawn(work, path).unwrap()
    };
    let child = std::thread::spawn(spawn).join().unwrap();
    let (stream, _) = meeting.next();
    drop(stream);
    assert_eq!(child.join().unwrap(), 7);
}

#[test]
fn a_dropped_child_runs_on() {
    let _watchdog = Watchdog::new("a_dropped_child_runs_on");
    let meeting = Meeting::new("dropped");
    let work = |path: PathBuf| {
        wait_for_hang_up(report_to(path.clone(), "first"));
        report_to(path, "second");
    };
    drop(Process::spawn(work, meeting.path()).unwrap());
    let (stream, first) = meeting.next();
    drop(stream);
    let (stream, second) = meeting.next();
    assert_eq!((first.as_str(), second.as_str()), ("first", "second"));
    wait_for_hang_up(stream);
}

/// In a process of its own, since other tests of this binary spawn as well.
#[test]
fn nothing_is_left_of_fifty_children() {
    let _watchdog = Watchdog::new("nothing_is_left_of_fifty_children");
    let (before, after, zombies) = Process::spawn(have_fifty_children, ()).unwrap().join().unwrap();
    assert_eq!((after, zombies), (before, 0));
}

fn have_fifty_children((): ()) -> (usize, usize, usize) {
    let descriptors = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    Process::spawn(|n: u32| n, 0).unwrap().join().unwrap();
    let before = descriptors();
    for n in 0..50 {
        let child = Process::spawn(|n: u32| n, n).unwrap();
        match n % 3 {
            0 => assert_eq!(child.join().unwrap(), n),
            1 => {
                child.kill().unwrap();
                let _ = child.join(); // it may have been faster
            }
            _ => drop(child),
        }
    }
    // A dropped child is taken away when another is spawned after its end.
    loop {
        Process::spawn(|n: u32| n, 0).unwrap().join().unwrap();
        if zombies() == 0 && descriptors() <= before {
            return (before, descriptors(), zombies());
        }
    }
}

/// The children of this process that have ended and that nobody has taken away, or that still run.
fn zombies() -> usize {
    let children = |task: std::fs::DirEntry| std::fs::read_to_string(task.path().join("children")).unwrap_or_default();
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    tasks.map(|task| children(task.unwrap()).split_whitespace().count()).sum()
}
