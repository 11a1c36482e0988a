//! What a zygote forks is like any other child.

use mutirao::{Exit, Process, Resource, Stdio, Value, Zygote};
use std::io::Read;
use std::path::PathBuf;
use std::sync::OnceLock;

use crate::stage::{Meeting, Watchdog, report_to, wait_for_hang_up};

static PREPARED: OnceLock<u32> = OnceLock::new();

fn prepare() {
    PREPARED.set(std::process::id()).unwrap();
}

#[test]
fn a_forked_child_has_what_was_prepared() {
    let _watchdog = Watchdog::new("a_forked_child_has_what_was_prepared");
    let zygote = Zygote::prepared(prepare).unwrap();
    let options = Process::options().zygote(&zygote);
    for n in 0..3 {
        let child = options.spawn(|n: u32| (n, PREPARED.get().copied()), n).unwrap();
        assert_eq!(child.join().unwrap(), (n, zygote.pid()));
    }
}

/// What a child sees of itself.
fn look((): ()) -> Vec<String> {
    let mut facts: Vec<_> = std::env::vars().map(|(name, value)| format!("{name}={value}")).collect();
    facts.sort();
    facts.push(std::env::current_dir().unwrap().display().to_string());
    facts.extend(std::env::args().skip(1));
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    facts.push(stat.rsplit_once(')').unwrap().1.split_whitespace().nth(1).unwrap().to_string());
    facts.push(stat.split_once('(').unwrap().1.rsplit_once(')').unwrap().0.to_string());
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let wanted = ["Threads:", "SigBlk:", "SigIgn:", "SigCgt:", "Cpus_allowed:", "Umask:"];
    facts.extend(status.lines().filter(|line| wanted.iter().any(|name| line.starts_with(name))).map(str::to_string));
    let mut open: Vec<_> = std::fs::read_dir("/proc/self/fd")
        .unwrap()
        .map(|fd| {
            let link = std::fs::read_link(fd.unwrap().path()).unwrap_or_default().display().to_string();
            link.split(':').next().unwrap().to_string()
        })
        .collect();
    open.sort();
    facts.extend(open.into_iter().filter(|link| !link.starts_with("/proc/")));
    let parent = Process::parent().unwrap();
    facts.push(format!("{} {}", parent.pid(), parent.is_alive()));
    facts
}

#[test]
fn a_forked_child_is_like_one_that_was_run() {
    let _watchdog = Watchdog::new("a_forked_child_is_like_one_that_was_run");
    // In a process whose environment and directory change after the zygote was started.
    let compare = |(): ()| {
        let zygote = Zygote::start().unwrap();
        // SAFETY: no other thread of this process reads the environment.
        unsafe { std::env::set_var("MUTIRAO_TEST_LATER", "1") };
        // SAFETY: as above.
        unsafe { std::env::remove_var("PATH") };
        std::env::set_current_dir("/usr").unwrap();
        for options in [
            Process::options(),
            Process::options().name("another").env("A", "1").env_remove("MUTIRAO_TEST_LATER").current_dir("lib"),
            Process::options().env_clear().affinity([1]).stdin(Stdio::null()),
        ] {
            let run = options.spawn(look, ()).unwrap().join().unwrap();
            let forked = options.zygote(&zygote).spawn(look, ()).unwrap().join().unwrap();
            assert_eq!(run, forked);
        }
    };
    Process::spawn(compare, ()).unwrap().join().unwrap();
}

#[test]
fn a_forked_child_ends_in_all_the_usual_ways() {
    let _watchdog = Watchdog::new("a_forked_child_ends_in_all_the_usual_ways");
    let zygote = Zygote::start().unwrap();
    let options = Process::options().zygote(&zygote).name("forked");
    let exit = |how: u32| -> u32 {
        match how {
            0 => 7,
            1 => panic!("seven"),
            2 => std::process::exit(7),
            3 => std::process::abort(),
            _ => loop {
                std::thread::park();
            },
        }
    };
    assert_eq!(options.spawn(exit, 0).unwrap().exit().unwrap(), Exit::Returned(7));
    let panicked = options.spawn(exit, 1).unwrap().exit().unwrap();
    assert!(matches!(&panicked, Exit::Panicked { message, location: Some(_), .. } if message == "seven"), "{panicked}");
    assert_eq!(options.spawn(exit, 2).unwrap().exit().unwrap(), Exit::Exited(7));
    assert_eq!(options.spawn(exit, 3).unwrap().exit().unwrap(), Exit::Killed { signal: 6, out_of_memory: false });
    let mut child = options.spawn(exit, 4).unwrap();
    assert!(child.is_alive() && child.try_exit().unwrap_err().is_would_block());
    child.kill().unwrap();
    assert_eq!(child.exit().unwrap(), Exit::Killed { signal: 9, out_of_memory: false });
    let limited = options.clone().limit(Resource::OpenFiles, 9).spawn(exit, 0).unwrap();
    assert_eq!(limited.exit().unwrap(), Exit::Returned(7));
    let error = options.clone().current_dir("/no/such/place").spawn(exit, 0).unwrap_err();
    assert!(error.to_string().contains("`forked`"), "{error}");
}

#[test]
fn a_forked_child_shares_handles_pipes_and_words() {
    let _watchdog = Watchdog::new("a_forked_child_shares_handles_pipes_and_words");
    let zygote = Zygote::start().unwrap();
    let value = Value::new(1_u64).unwrap();
    let work = |value: Value<u64>| {
        let more: Value<u64> = Process::parent().unwrap().recv().unwrap();
        std::thread::spawn(move || value.fetch_add(more.load())).join().unwrap();
        println!("added");
        "x".repeat(1 << 20)
    };
    let options = Process::options().zygote(&zygote).stdout(Stdio::piped());
    let mut child = options.spawn(work, value.clone()).unwrap();
    child.send(&Value::new(41_u64).unwrap()).unwrap();
    let mut said = String::new();
    child.take_stdout().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!((said.as_str(), child.join().unwrap().len(), value.load()), ("added\n", 1 << 20, 42));
}

#[test]
fn a_zygote_that_dies_is_started_again_and_its_children_live() {
    let _watchdog = Watchdog::new("a_zygote_that_dies_is_started_again_and_its_children_live");
    let zygote = Zygote::prepared(prepare).unwrap();
    let options = Process::options().zygote(&zygote);
    let meeting = Meeting::new("zygote-dies");
    let stay = |path: PathBuf| {
        wait_for_hang_up(report_to(path, "here"));
        PREPARED.get().copied()
    };
    let child = options.spawn(stay, meeting.path()).unwrap();
    let (stream, _) = meeting.next();
    let first = zygote.pid().unwrap();
    assert!(std::process::Command::new("kill").args(["-9", &first.to_string()]).status().unwrap().success());
    while zygote.pid() == Some(first) {
        // It may not be dead yet when it is asked.
        assert!(options.spawn(|()| PREPARED.get().is_some(), ()).unwrap().join().unwrap());
    }
    drop(stream);
    assert_eq!(child.join().unwrap(), Some(first));
}

#[test]
fn a_zygote_with_threads_is_refused_and_a_panic_told() {
    let _watchdog = Watchdog::new("a_zygote_with_threads_is_refused_and_a_panic_told");
    let threads = || drop(std::thread::spawn(std::thread::park));
    let error = Zygote::prepared(threads).unwrap_err();
    assert!(error.is_child_failure() && error.to_string().contains("threads"), "{error}");
    let error = Zygote::prepared(|| panic!("not today")).unwrap_err();
    assert!(error.is_child_failure() && error.to_string().contains("not today"), "{error}");
}

fn have_a_zygote(path: PathBuf) {
    let zygote = Zygote::start().unwrap();
    let stay = |path: PathBuf| {
        let _stream = report_to(path, "here");
        loop {
            std::thread::park();
        }
    };
    let child: Process = Process::options().zygote(&zygote).spawn(stay, path.clone()).unwrap();
    core::mem::forget(child);
    let _stream = report_to(path, &zygote.pid().unwrap().to_string());
    loop {
        std::thread::park();
    }
}

#[test]
fn a_zygote_and_its_children_die_with_their_parent() {
    let _watchdog = Watchdog::new("a_zygote_and_its_children_die_with_their_parent");
    let meeting = Meeting::new("zygote-parent");
    let parent = Process::spawn(have_a_zygote, meeting.path()).unwrap();
    let (streams, lines): (Vec<_>, Vec<_>) = (0..2).map(|_| meeting.next()).unzip();
    let zygote: u32 = lines.iter().find_map(|line| line.parse().ok()).unwrap();
    parent.kill().unwrap();
    streams.into_iter().for_each(wait_for_hang_up);
    // Nobody may take it away where the first process does not do that; what has ended has no memory.
    let memory = format!("/proc/{zygote}/statm");
    while std::fs::read_to_string(&memory).is_ok_and(|pages| !pages.starts_with("0 ")) {
        std::thread::yield_now();
    }
}
