//! Who outlives whom, and what is left afterwards.

use mutirao::{Process, Value, Zygote};
use std::io::Write;
use std::path::PathBuf;

use crate::roles::children_of_this_process as zombies;
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

/// In a process of its own, since other tests of this binary spawn as well. `MUTIRAO_CHILDREN=10000` makes it longer.
#[test]
fn nothing_is_left_of_many_children() {
    let children = std::env::var("MUTIRAO_CHILDREN").map_or(100, |number| number.parse().unwrap());
    let _watchdog = Watchdog::lasting("nothing_is_left_of_many_children", 60 + children / 10);
    let place = std::env::temp_dir().join(format!("mutirao-{}-left", std::process::id()));
    std::fs::create_dir(&place).unwrap();
    let options = Process::options().env("TMPDIR", &place);
    let (before, after) = options.spawn(have_children, children).unwrap().join().unwrap();
    assert_eq!(before, after);
    std::fs::remove_dir(place).unwrap();
}

/// What is left of children: descriptors, maps of shared memory, temporary files, children themselves.
#[derive(serde::Serialize, serde::Deserialize, PartialEq, Debug)]
struct Left {
    descriptors: usize,
    maps: usize,
    files: usize,
    children: usize,
}

impl Left {
    fn count() -> Self {
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        Self {
            descriptors: std::fs::read_dir("/proc/self/fd").unwrap().count(),
            maps: maps.lines().filter(|line| line.contains("memfd:") || line.contains("/dev/shm/")).count(),
            files: std::fs::read_dir(std::env::temp_dir()).unwrap().count(),
            children: zombies(),
        }
    }
}

fn have_children(number: u64) -> (Left, Left) {
    let zygote = Zygote::start().unwrap();
    let forked = Process::options().zygote(&zygote);
    let work = |(n, value, _): (u64, Value<u64>, String)| {
        if n.is_multiple_of(7) {
            value.fetch_add(1);
        }
        n
    };
    let value = Value::new(0_u64).unwrap();
    let spawn = |n: u64| {
        // Some bring memory of their own, which is theirs to give back.
        let more = "x".repeat(if n.is_multiple_of(5) { 100_000 } else { 0 });
        let options = if n.is_multiple_of(2) { Process::options() } else { forked.clone() };
        options.spawn(work, (n, value.clone(), more)).unwrap()
    };
    // One that is dropped while it runs, so that there is the thread that takes such children away.
    drop(Process::spawn(|(): ()| std::thread::sleep(std::time::Duration::from_millis(20)), ()).unwrap());
    let settled = || {
        while zombies() > 1 {
            std::thread::yield_now();
        }
        Left::count()
    };
    let before = settled();
    for n in 0..number {
        let child = spawn(n);
        match n % 3 {
            0 => assert_eq!(child.join().unwrap(), n),
            1 => {
                // Anywhere on its way.
                let pause = std::time::Instant::now();
                while pause.elapsed() < std::time::Duration::from_micros(n * 37 % 1500) {
                    std::hint::spin_loop();
                }
                child.kill().unwrap();
                let _ = child.join(); // it may have been faster
            }
            _ => drop(child),
        }
    }
    (before, settled())
}
