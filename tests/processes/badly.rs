//! Children that misbehave, and systems that refuse: what the parent is told.

use crate::copied::copy_program;
use mutirao::{Exit, Process, Resource, Stdio, Value, Zygote};
use serde::{Deserialize, Serialize};
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::roles::children_of_this_process;
use crate::stage::{Meeting, Watchdog, report_to, wait_for_hang_up};

#[test]
fn a_panic_with_anything_is_a_panic() {
    let _watchdog = Watchdog::new("a_panic_with_anything_is_a_panic");
    let child: Process = Process::spawn(|n: u32| std::panic::panic_any(n), 7).unwrap();
    let Exit::Panicked { message, location, .. } = child.exit().unwrap() else { panic!("no panic") };
    assert_eq!((message.as_str(), location.is_some()), ("with a value that is not text", true));
}

#[test]
fn a_result_that_can_not_be_encoded_is_reported() {
    let _watchdog = Watchdog::new("a_result_that_can_not_be_encoded_is_reported");
    #[derive(Deserialize)]
    struct Shy;
    impl Serialize for Shy {
        fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            Err(serde::ser::Error::custom("not for you"))
        }
    }
    let exit = Process::spawn(|()| Shy, ()).unwrap().exit().unwrap();
    assert!(matches!(&exit, Exit::Refused(why) if why.contains("the result could not be encoded")), "{exit}");
}

/// As the kernel tells them: T for a stopped one, S for one that sleeps.
fn states_of_threads(pid: u32) -> Vec<char> {
    let Ok(tasks) = std::fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    let stat = |task: std::io::Result<std::fs::DirEntry>| std::fs::read_to_string(task.ok()?.path().join("stat")).ok();
    tasks.filter_map(stat).filter_map(|stat| stat.rsplit_once(") ")?.1.chars().next()).collect()
}

/// Everything but the standard streams.
fn close_all() {
    // SAFETY: whatever is closed here, nobody in this process uses it again but to find it closed.
    unsafe { libc::close_range(3, u32::MAX, 0) };
}

#[test]
fn a_child_that_closes_its_descriptors_is_found_out() {
    let _watchdog = Watchdog::new("a_child_that_closes_its_descriptors_is_found_out");
    let exit = Process::spawn(|()| close_all(), ()).unwrap().exit().unwrap();
    assert!(exit.to_string().contains("closed the socket"), "{exit}");

    // Also if the numbers lead somewhere else now: nobody there hears what was not meant for them.
    let reuse = |()| {
        close_all();
        let pairs: Vec<_> = (0..20).map(|_| std::os::unix::net::UnixStream::pair().unwrap()).collect();
        for (a, b) in &pairs {
            a.set_nonblocking(true).unwrap();
            b.set_nonblocking(true).unwrap();
        }
        std::mem::forget(pairs);
    };
    let exit = Process::spawn(reuse, ()).unwrap().exit().unwrap();
    assert!(exit.to_string().contains("closed the socket"), "{exit}");

    // Nor does the thread that ties it to its parent take them for its own, when it looks again.
    let stay = |path: PathBuf| {
        close_all();
        wait_for_hang_up(report_to(path, "closed"));
    };
    let meeting = Meeting::new("closed-and-stopped");
    let child = Process::spawn(stay, meeting.path()).unwrap();
    let (stream, _) = meeting.next();
    child.signal(libc::SIGSTOP).unwrap();
    while states_of_threads(child.pid()).iter().any(|state| *state != 'T') {
        std::thread::yield_now();
    }
    child.signal(libc::SIGCONT).unwrap();
    // Both threads look again, and sleep again or are gone.
    while states_of_threads(child.pid()).iter().any(|state| "TRD".contains(*state)) {
        std::thread::yield_now();
    }
    drop(stream);
    let exit = child.exit().unwrap();
    assert!(exit.to_string().contains("closed the socket"), "{exit}");
}

#[test]
fn a_child_that_closes_its_descriptors_dies_with_its_parent() {
    let _watchdog = Watchdog::new("a_child_that_closes_its_descriptors_dies_with_its_parent");
    let meeting = Meeting::new("closes");
    let parent = |path: PathBuf| {
        let work = |path: PathBuf| {
            close_all();
            let _stream = report_to(path, "closed");
            loop {
                std::thread::park();
            }
        };
        let _child: Process = Process::spawn(work, path.clone()).unwrap();
        let _stream = report_to(path, "parent");
        loop {
            std::thread::park();
        }
    };
    let parent: Process = Process::spawn(parent, meeting.path()).unwrap();
    let streams: Vec<_> = (0..2).map(|_| meeting.next().0).collect();
    parent.kill().unwrap();
    streams.into_iter().for_each(wait_for_hang_up);
}

#[test]
fn a_child_that_blocks_signals_is_killed() {
    let _watchdog = Watchdog::new("a_child_that_blocks_signals_is_killed");
    let work = |path: PathBuf| -> u8 {
        let mut all = std::mem::MaybeUninit::uninit();
        // SAFETY: the set is there to be filled.
        unsafe { libc::sigfillset(all.as_mut_ptr()) };
        // SAFETY: it was filled.
        unsafe { libc::sigprocmask(libc::SIG_BLOCK, all.as_ptr(), std::ptr::null_mut()) };
        let _stream = report_to(path, "blocked");
        loop {
            std::thread::park();
        }
    };
    let meeting = Meeting::new("blocks");
    let mut child = Process::spawn(work, meeting.path()).unwrap();
    let _stream = meeting.next();
    child.terminate(Duration::from_millis(10)).unwrap();
    assert_eq!(child.exit().unwrap(), Exit::Killed { signal: 9, out_of_memory: false });
}

/// What the child forks returns from the function as well, and must not speak for it.
#[test]
fn a_child_that_forks_answers_once() {
    let _watchdog = Watchdog::new("a_child_that_forks_answers_once");
    let work = |()| {
        // SAFETY: the new process does what is done here, which takes no lock that another thread could hold.
        match unsafe { libc::fork() } {
            0 => "fork".to_string(),
            fork => {
                // It is first.
                // SAFETY: it is our child, and nobody asks for its status.
                unsafe { libc::waitpid(fork, std::ptr::null_mut(), 0) };
                "child".to_string()
            }
        }
    };
    assert_eq!(Process::spawn(work, ()).unwrap().join().unwrap(), "child");

    let meeting = Meeting::new("forks");
    // One that stays holds the socket open, and nobody waits for it.
    let stays = |path: PathBuf| {
        // SAFETY: as above.
        if unsafe { libc::fork() } == 0 {
            wait_for_hang_up(report_to(path, "fork"));
            std::process::exit(0);
        }
        7
    };
    let child = Process::spawn(stays, meeting.path()).unwrap();
    let (stream, _) = meeting.next();
    assert_eq!(child.join().unwrap(), 7);
    drop(stream);
}

#[test]
fn a_child_that_leaves_threads_behind_returns() {
    let _watchdog = Watchdog::new("a_child_that_leaves_threads_behind_returns");
    let work = |n: u32| {
        for _ in 0..4 {
            std::thread::spawn(|| {
                loop {
                    std::thread::park();
                }
            });
        }
        n
    };
    assert_eq!(Process::spawn(work, 7).unwrap().join().unwrap(), 7);
}

#[test]
fn a_program_that_ignores_its_children_gets_results() {
    let _watchdog = Watchdog::new("a_program_that_ignores_its_children_gets_results");
    let ignore = |(): ()| {
        // SAFETY: ignoring a signal touches no memory.
        unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
        (0..50).map(|n: u32| Process::spawn(|n: u32| n, n).unwrap().join().unwrap()).sum::<u32>()
    };
    assert_eq!(Process::spawn(ignore, ()).unwrap().join().unwrap(), 49 * 50 / 2);
}

#[test]
fn no_descriptors_left_is_an_error_that_says_so() {
    let _watchdog = Watchdog::new("no_descriptors_left_is_an_error_that_says_so");
    let spawn_all = |(): ()| {
        let stay = |(): ()| {
            std::thread::park();
        };
        let mut children = Vec::new();
        let error = loop {
            match Process::options().name("one more").spawn(stay, ()) {
                Ok(child) => children.push(child),
                Err(error) => break error,
            }
            assert!(children.len() < 40);
        };
        let said = (error.is_exhausted(), error.to_string());
        // One that there was no descriptor for is gone again.
        while children_of_this_process() > children.len() {
            std::thread::yield_now();
        }
        // There are enough again when some are gone.
        for child in children.drain(..2) {
            child.kill().unwrap();
            assert!(child.join().unwrap_err().is_child_failure());
        }
        assert_eq!(Process::spawn(|n: u32| n, 7).unwrap().join().unwrap(), 7);
        said
    };
    let limited = Process::options().limit(Resource::OpenFiles, 40).spawn(spawn_all, ()).unwrap();
    let (is_exhausted, said) = limited.join().unwrap();
    assert!(is_exhausted && said.contains("ulimit -n") && said.contains("`one more`"), "{said}");

    // Nor has this child the descriptors that it needs for what it was given.
    let many: Vec<_> = (0..8).map(|n| Value::new(n).unwrap()).collect();
    let few = Process::options().limit(Resource::OpenFiles, 12);
    let exit = few.spawn(|values: Vec<Value<i32>>| values.len(), many).unwrap().exit().unwrap();
    assert!(matches!(exit, Exit::Refused(_)), "{exit}");
}

#[test]
fn no_processes_left_is_an_error_that_says_so() {
    let _watchdog = Watchdog::new("no_processes_left_is_an_error_that_says_so");
    // A number that nobody else has: the limit counts what a user has on the whole machine.
    let user = 60_000 + std::process::id() % 5_000;
    let spawn_all = |(user, forked): (u32, bool)| {
        // SAFETY: there is one thread besides, which opens nothing.
        if unsafe { libc::setresuid(user, user, user) } != 0 {
            return None;
        }
        let options = Process::options().name("one more").stdout(Stdio::piped());
        // This process and each child have two threads, a zygote has one.
        let limit = 6 + u64::from(forked);
        let limit = libc::rlimit { rlim_cur: limit, rlim_max: limit };
        // SAFETY: the limit is read and nothing else.
        assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NPROC, &limit) }, 0);
        let zygote = forked.then(|| Zygote::start().unwrap());
        let options = zygote.iter().fold(options, |options, zygote| options.zygote(zygote));
        let work = |(): ()| {
            println!("up");
            std::thread::park();
        };
        let mut children: Vec<Process> = Vec::new();
        loop {
            match options.spawn(work, ()) {
                Ok(mut child) => {
                    child.take_stdout().unwrap().read_exact(&mut [0; 2]).unwrap();
                    children.push(child);
                    assert!(children.len() < 10);
                }
                Err(error) => return Some((error.is_exhausted(), error.to_string(), children.len())),
            }
        }
    };
    for forked in [false, true] {
        let told = Process::spawn(spawn_all, (user + u32::from(forked), forked)).unwrap().join().unwrap();
        let Some((is_exhausted, said, children)) = told else { return eprintln!("only the superuser can try this") };
        assert!(is_exhausted && said.contains("ulimit -u") && said.contains("`one more`"), "{said}");
        assert_eq!(children, 2);
    }
}

/// Where a copy of this program finds what it has to do.
const COPY: &str = "MUTIRAO_TEST_COPY";

/// A role: it is run by a copy of this program, with the path of the copy.
#[test]
fn role_of_a_copy() {
    let Some(how) = std::env::var_os(COPY) else { return };
    let program = std::env::current_exe().unwrap();
    let spawn = || Process::options().name("copied").spawn(|n: u32| n + 1, 41).and_then(Process::join);
    match how.to_str().unwrap() {
        "relative" => std::env::set_current_dir("/").unwrap(),
        "deleted" => std::fs::remove_file(&program).unwrap(),
        "replaced" => {
            std::fs::remove_file(&program).unwrap();
            std::fs::copy("/bin/true", &program).unwrap();
        }
        _ => {
            std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o600)).unwrap();
            let error = spawn().unwrap_err();
            assert!(error.is_denied() && error.to_string().contains("`copied`"), "{error}");
            std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o700)).unwrap();
        }
    }
    assert_eq!(spawn().unwrap(), 42);
    let zygote = Zygote::start().unwrap();
    assert_eq!(Process::options().zygote(&zygote).spawn(|n: u32| n + 1, 41).unwrap().join().unwrap(), 42);
    println!("done {}", how.display());
}

#[test]
fn a_program_that_was_moved_away_runs_again() {
    let _watchdog = Watchdog::new("a_program_that_was_moved_away_runs_again");
    let place = std::env::temp_dir().join(format!("mutirao-copies-{}", std::process::id()));
    std::fs::create_dir(&place).unwrap();
    for how in ["relative", "deleted", "replaced", "forbidden"] {
        copy_program(&place.join("copy"));
        let mut copy = Command::new("./copy");
        copy.current_dir(&place).args(["--exact", "badly::role_of_a_copy", "--nocapture"]).env(COPY, how);
        let output = copy.output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(said.contains(&format!("done {how}")), "{how}: {said}{}", String::from_utf8_lossy(&output.stderr));
        let _ = std::fs::remove_file(place.join("copy"));
    }
    std::fs::remove_dir_all(place).unwrap();
}

/// A group with little memory, if this machine lets us have one.
fn small_group(name: &str) -> Option<PathBuf> {
    let groups = std::fs::read_to_string("/proc/self/cgroup").unwrap();
    let of = |line: &str| {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, path) = (parts.next()?, parts.next()?.trim_start_matches('/'));
        let (mount, limit) = match controllers {
            "" => ("/sys/fs/cgroup", "memory.max"),
            "memory" => ("/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
            _ => return None,
        };
        let group = PathBuf::from(mount).join(path).join(name);
        std::fs::create_dir(&group).ok()?;
        if std::fs::write(group.join(limit), "67108864").is_err() {
            let _ = std::fs::remove_dir(&group);
            return None;
        }
        Some(group)
    };
    groups.lines().find_map(of)
}

#[test]
fn a_child_that_the_kernel_ends_for_memory_is_told_from_a_killed_one() {
    let _watchdog = Watchdog::new("a_child_that_the_kernel_ends_for_memory_is_told_from_a_killed_one");
    let Some(group) = small_group(&format!("mutirao-{}", std::process::id())) else {
        return eprintln!("no control group of memory can be made here");
    };
    let work = |group: PathBuf| {
        std::fs::write(group.join("cgroup.procs"), std::process::id().to_string()).unwrap();
        let eat = |(): ()| std::hint::black_box(vec![1_u8; 1 << 30]).len();
        let stay = |(): ()| loop {
            std::thread::park();
        };
        let starved = Process::spawn(eat, ()).unwrap().exit().unwrap();
        let killed: Process = Process::spawn(stay, ()).unwrap();
        // By somebody else.
        assert!(Command::new("kill").args(["-9", &killed.pid().to_string()]).status().unwrap().success());
        (starved == Exit::Killed { signal: 9, out_of_memory: true }, killed.exit().unwrap().to_string())
    };
    let (is_told, killed) = Process::spawn(work, group.clone()).unwrap().join().unwrap();
    std::fs::remove_dir(group).unwrap();
    assert!(is_told);
    assert_eq!(killed, "was killed by signal 9 (SIGKILL)");
}

/// Names all processes of one family by the environment they were started with.
const FAMILY: &str = "MUTIRAO_TEST_FAMILY";

/// Those that live, of the family of that name.
fn family(name: &str) -> Vec<u32> {
    let line = format!("{FAMILY}={name}");
    let is_one = |pid: &u32| {
        let variables = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        variables.split(|byte| *byte == 0).any(|variable| variable == line.as_bytes())
    };
    let pids =
        std::fs::read_dir("/proc").unwrap().filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok());
    pids.filter(is_one).collect()
}

fn have_children_for_ever(path: PathBuf) {
    let _stream = report_to(path, "here");
    let zygote = Zygote::start().unwrap();
    let forked = Process::options().zygote(&zygote);
    let stay = |(): ()| loop {
        std::thread::park();
    };
    let mut children: Vec<Process> = Vec::new();
    for n in 0_u32.. {
        let options = if n.is_multiple_of(2) { Process::options() } else { forked.clone() };
        let child = options.spawn(stay, ()).unwrap();
        if n.is_multiple_of(3) {
            drop(child)
        } else {
            children.push(child)
        }
        if children.len() > 4 {
            children.remove(0).kill().unwrap();
        }
    }
}

/// `MUTIRAO_ROUNDS` makes it longer.
#[test]
fn a_parent_killed_at_any_moment_leaves_no_child() {
    let _watchdog = Watchdog::new("a_parent_killed_at_any_moment_leaves_no_child");
    let rounds = std::env::var("MUTIRAO_ROUNDS").map_or(6, |number| number.parse().unwrap());
    let mut longest = Duration::ZERO;
    for round in 0..rounds {
        let name = format!("{}-{round}", std::process::id());
        let meeting = Meeting::new(&format!("family-{round}"));
        let options = Process::options().env(FAMILY, &name).stderr(Stdio::null());
        let parent = options.spawn(have_children_for_ever, meeting.path()).unwrap();
        let _stream = meeting.next();
        // Later in each round, so that it is met while it forks, runs, drops and kills.
        std::thread::sleep(Duration::from_micros(997 * (round % 40)));
        parent.kill().unwrap();
        assert!(parent.join().unwrap_err().is_child_failure());
        let killed = Instant::now();
        while !family(&name).is_empty() {
            assert!(killed.elapsed() < Duration::from_secs(30), "still there: {:?}", family(&name));
        }
        longest = longest.max(killed.elapsed());
    }
    eprintln!("the last child was gone {longest:?} after its parent at the latest");
}
