//! Proof of death, and of life: what looks like one and is the other.

use mutirao::{Lock, LockError, Process, Value};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::stage::{Meeting, Watchdog, report_to};

/// More than anybody has to wait, less than for ever.
const PATIENCE: Duration = Duration::from_secs(20);
/// The kernel gives the pid after this one to the next process.
const LAST_PID: &str = "/proc/sys/kernel/ns_last_pid";

/// Says a line, and stays until it is killed.
fn stay(path: PathBuf, line: &str) {
    let _stream = report_to(path, line);
    loop {
        std::thread::park();
    }
}

fn hold_and_stay((lock, path): (Lock, PathBuf)) {
    let _guard = lock.lock().unwrap();
    stay(path, "held");
}

fn attach_and_stay((lock, path): (Lock, PathBuf)) {
    // Takes part, under whatever pid it was given.
    let _ = format!("{lock:?}");
    stay(path, "here");
}

fn is_busy(lock: &Lock) -> bool {
    lock.try_lock().is_err_and(|e| e.is_would_block())
}

/// The next one gets it, and learns that its holder died.
fn is_taken_over(lock: &Lock) {
    let mut guard = match lock.lock_timeout(PATIENCE) {
        Err(LockError::OwnerDied(guard)) => guard,
        other => panic!("not taken over: {other:?}, {lock:?}\n{}", lock.segment().inspect()),
    };
    guard.mark_consistent();
}

/// Spawns children until one has this pid. `None`: it went to somebody else each time.
fn spawn_with_pid(pid: u32, lock: &Lock, path: &Path) -> Option<Process> {
    for _ in 0..200 {
        std::fs::write(LAST_PID, (pid - 1).to_string()).ok()?;
        let child = Process::spawn(attach_and_stay, (lock.clone(), path.to_path_buf())).unwrap();
        if child.id() == pid {
            return Some(child);
        }
        child.kill().unwrap();
        let _ = child.join();
    }
    None
}

#[test]
fn a_pid_used_again_is_not_its_former_bearer() {
    let _watchdog = Watchdog::new("a_pid_used_again_is_not_its_former_bearer");
    let lock = Lock::new().unwrap();
    let (first, second) = (Meeting::new("pid-first"), Meeting::new("pid-second"));
    let holder = Process::spawn(hold_and_stay, (lock.clone(), first.path())).unwrap();
    let _held = first.next();
    let pid = holder.id();
    holder.kill().unwrap();
    assert!(holder.join().is_err());
    let Some(newcomer) = spawn_with_pid(pid, &lock, &second.path()) else {
        return println!("skipped: the next pid can not be chosen here");
    };
    // The lock was held by the dead one, though a process with its pid lives and takes part.
    is_taken_over(&lock);
    // Nor the other way: the newcomer is not dead because its pid's former bearer is.
    newcomer.kill().unwrap();
    assert!(newcomer.join().is_err());
}

#[test]
fn a_living_holder_under_the_pid_of_a_dead_one_is_not_robbed() {
    let _watchdog = Watchdog::new("a_living_holder_under_the_pid_of_a_dead_one_is_not_robbed");
    let (lock, other) = (Lock::new().unwrap(), Lock::new().unwrap());
    let (first, second) = (Meeting::new("robbed-first"), Meeting::new("robbed-second"));
    // The first one takes part in both segments, and dies.
    let gone = Process::spawn(hold_and_stay, (other.clone(), first.path())).unwrap();
    let _held = first.next();
    let pid = gone.id();
    gone.kill().unwrap();
    assert!(gone.join().is_err());
    let mut holder = None;
    for _ in 0..200 {
        if std::fs::write(LAST_PID, (pid - 1).to_string()).is_err() {
            return println!("skipped: the next pid can not be chosen here");
        }
        let child = Process::spawn(hold_and_stay, (lock.clone(), second.path())).unwrap();
        let _held = second.next();
        if child.id() == pid {
            holder = Some(child);
            break;
        }
        child.kill().unwrap();
        let _ = child.join();
        is_taken_over(&lock);
    }
    let Some(holder) = holder else { return println!("skipped: the pid went to others") };
    is_taken_over(&other);
    assert!(is_busy(&lock) && lock.lock_timeout(Duration::from_millis(300)).is_err_and(|e| e.is_timeout()));
    holder.kill().unwrap();
    assert!(holder.join().is_err());
    is_taken_over(&lock);
}

/// Starts a holder as the first process of a pid namespace of its own, and stays.
fn hold_in_another_namespace((lock, path): (Lock, PathBuf)) -> Result<(), String> {
    // SAFETY: concerns only the children of this process, which has one thread.
    if unsafe { libc::unshare(libc::CLONE_NEWPID) } != 0 {
        let why = io::Error::last_os_error().to_string();
        report_to(path, "refused");
        return Err(why);
    }
    let child = Process::spawn(hold_and_stay, (lock, path)).unwrap();
    // Killed with us: its namespace's first process.
    let _ = child.join();
    Ok(())
}

#[test]
fn a_holder_in_another_pid_namespace_is_robbed_only_when_it_is_dead() {
    let _watchdog = Watchdog::new("a_holder_in_another_pid_namespace_is_robbed_only_when_it_is_dead");
    let lock = Lock::new().unwrap();
    let meeting = Meeting::new("namespace");
    let parent = Process::spawn(hold_in_another_namespace, (lock.clone(), meeting.path())).unwrap();
    let (_held, said) = meeting.next();
    if said == "refused" {
        return println!("skipped: no pid namespaces here: {:?}", parent.join());
    }
    // Its pid in the segment is 1, which names another process here that lives for ever.
    assert!(is_busy(&lock) && lock.lock_timeout(Duration::from_millis(300)).is_err_and(|e| e.is_timeout()));
    parent.kill().unwrap();
    assert!(parent.join().is_err());
    is_taken_over(&lock);
}

/// Waits for what a dead one holds, and says how many threads this process has afterwards.
fn wait_and_count((lock, is_watched): (Lock, bool)) -> usize {
    if !is_watched {
        mutirao::without_watcher();
    }
    assert!(lock.lock_timeout(Duration::from_millis(100)).is_err_and(|e| e.is_timeout()));
    std::fs::read_dir("/proc/self/task").unwrap().count()
}

#[test]
fn without_a_watcher_there_is_no_thread_and_the_dead_are_found() {
    let _watchdog = Watchdog::new("without_a_watcher_there_is_no_thread_and_the_dead_are_found");
    let lock = Lock::new().unwrap();
    let meeting = Meeting::new("unwatched");
    let holder = Process::spawn(hold_and_stay, (lock.clone(), meeting.path())).unwrap();
    let _held = meeting.next();
    let count = |is_watched| Process::spawn(wait_and_count, (lock.clone(), is_watched)).unwrap().join().unwrap();
    assert_eq!(count(true), count(false) + 1);
    let waiter = |lock: Lock| {
        mutirao::without_watcher();
        is_taken_over(&lock);
    };
    let waiter = Process::spawn(waiter, lock.clone()).unwrap();
    holder.kill().unwrap();
    assert!(holder.join().is_err());
    waiter.join().unwrap();
}

#[test]
fn a_stopped_process_loses_nothing() {
    let _watchdog = Watchdog::new("a_stopped_process_loses_nothing");
    let (lock, count) = (Lock::new().unwrap(), Value::new(0_u64).unwrap());
    let meeting = Meeting::new("stopped");
    let hold_and_count = |(lock, count, path): (Lock, Value<u64>, PathBuf)| {
        let guard = lock.lock().unwrap();
        let _stream = report_to(path, "held");
        while count.load() == 0 {
            std::thread::yield_now();
        }
        // Still ours, however long we were stopped.
        drop(guard);
    };
    let holder = Process::spawn(hold_and_count, (lock.clone(), count.clone(), meeting.path())).unwrap();
    let _held = meeting.next();
    let signal = |signal| {
        // SAFETY: our own child, which is not joined yet.
        assert_eq!(unsafe { libc::kill(holder.id() as libc::pid_t, signal) }, 0);
    };
    signal(libc::SIGSTOP);
    assert!(lock.lock_timeout(Duration::from_secs(10)).is_err_and(|e| e.is_timeout()));
    assert!(is_busy(&lock));
    signal(libc::SIGCONT);
    count.store(1).unwrap();
    assert!(lock.lock_timeout(PATIENCE).is_ok(), "nobody died");
    holder.join().unwrap();
}

#[test]
fn a_process_lives_as_long_as_one_of_its_threads() {
    let _watchdog = Watchdog::new("a_process_lives_as_long_as_one_of_its_threads");
    let lock = Lock::new().unwrap();
    let meeting = Meeting::new("leader");
    let leave_a_sibling = |(lock, path): (Lock, PathBuf)| {
        std::thread::spawn(move || hold_and_stay((lock, path)));
        // SAFETY: ends this thread alone, the leader; nothing that it owns is used by its sibling.
        unsafe { libc::syscall(libc::SYS_exit, 0) };
    };
    let child = Process::spawn(leave_a_sibling, (lock.clone(), meeting.path())).unwrap();
    let _held = meeting.next();
    wait_until_state(child.id(), "Z");
    // It looks like a zombie to anybody who reads /proc, and holds the lock.
    assert!(is_busy(&lock) && lock.lock_timeout(Duration::from_millis(300)).is_err_and(|e| e.is_timeout()));
    child.kill().unwrap();
    assert!(child.join().is_err());
    is_taken_over(&lock);
}

#[test]
fn a_process_that_waits_for_its_parent_to_reap_it_is_dead() {
    let _watchdog = Watchdog::new("a_process_that_waits_for_its_parent_to_reap_it_is_dead");
    let lock = Lock::new().unwrap();
    let meeting = Meeting::new("zombie");
    let holder = Process::spawn(hold_and_stay, (lock.clone(), meeting.path())).unwrap();
    let _held = meeting.next();
    holder.kill().unwrap();
    wait_until_state(holder.id(), "Z");
    // Not joined: its pid is still taken.
    is_taken_over(&lock);
    assert!(holder.join().is_err());
}

/// Waits until `/proc` says so of the process's leader.
fn wait_until_state(pid: u32, state: &str) {
    loop {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        let (_, rest) = stat.rsplit_once(')').unwrap();
        if rest.trim_start().starts_with(state) {
            return;
        }
        std::thread::yield_now();
    }
}

#[test]
fn parent_and_forked_child_die_apart() {
    let _watchdog = Watchdog::new("parent_and_forked_child_die_apart");
    let lock = Lock::new().unwrap();
    let (parents, childs) = (Meeting::new("fork-parent"), Meeting::new("fork-child"));
    // Holds the lock, forks, and both stay: the child has inherited the parent's handles and its guard.
    let hold_and_fork = |(lock, parents, childs): (Lock, PathBuf, PathBuf)| {
        let guard = lock.lock().unwrap();
        // SAFETY: this process has one thread.
        match unsafe { libc::fork() } {
            0 => {
                let used = lock.try_lock().is_err_and(|e| e.failed().is_some_and(mutirao::Error::is_forked));
                drop(guard); // the parent's: it touches nothing
                stay(childs, if used { "refused" } else { "it used its parent's handle" })
            }
            child => stay(parents, &child.to_string()),
        }
    };
    let parent = Process::spawn(hold_and_fork, (lock.clone(), parents.path(), childs.path())).unwrap();
    let (_parent, child) = parents.next();
    let (_child, said) = childs.next();
    assert_eq!(said, "refused");
    assert!(is_busy(&lock), "the child gave its parent's lock back");
    // The parent dies, its child lives on with a copy of everything it had.
    parent.kill().unwrap();
    assert!(parent.join().is_err());
    is_taken_over(&lock);
    let child: libc::pid_t = child.parse().unwrap();
    // SAFETY: nobody else reaps it before init does, so the pid is its own.
    unsafe { libc::kill(child, libc::SIGKILL) };
}
