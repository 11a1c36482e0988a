//! Each way in which the locks of `raw_sync` hang when a process is killed that holds one or waits for one,
//! and that ours go on at the same place.
//!
//! Of theirs it is shown that a call sleeps in the kernel and does not return within some seconds after the
//! death, when nothing is left that could wake it. Of ours that the call returns, however long it takes; only
//! the watchdog bounds that. `raw_sync` lives in memory of `shared_memory`, as its own examples have it.

mutirao::testing::entry!();

#[path = "processes/stage.rs"]
#[allow(dead_code)]
mod stage;

use mutirao::{Lock, LockError, Mutex, Process, Queue, RwLock};
use raw_sync::Timeout;
use raw_sync::events::{Event, EventImpl, EventInit, EventState};
use raw_sync::locks::{LockImpl, LockInit};
use serde::Serialize;
use serde::de::DeserializeOwned;
use shared_memory::{Shmem, ShmemConf};
use stage::{Meeting, Watchdog, report_to};
use std::path::PathBuf;
use std::time::Duration;

/// How long a call of theirs is watched before it counts as hanging.
const WATCHED: Duration = Duration::from_secs(2);

// --- theirs ----------------------------------------------------------------------------------------

/// Memory with one object of raw_sync; its name goes with this value.
struct Memory(Shmem);

impl Memory {
    fn create(test: &str) -> Self {
        let name = format!("/mutirao-hang-{}-{test}", std::process::id());
        Self(ShmemConf::new().size(4096).os_id(name).create().unwrap())
    }

    fn open(name: &str) -> Self {
        Self(ShmemConf::new().os_id(name).open().unwrap())
    }

    fn name(&self) -> String {
        self.0.get_os_id().to_string()
    }

    fn data(&self) -> *mut u8 {
        self.0.as_ptr().wrapping_add(2048)
    }

    fn new_lock<L: LockInit>(&self) {
        // SAFETY: 4096 bytes, of which the lock takes less than 2048 and nobody knows any; they outlive it.
        drop(unsafe { L::new(self.0.as_ptr(), self.data()) }.unwrap());
    }

    fn lock<L: LockInit>(&self) -> Box<dyn LockImpl> {
        // SAFETY: such a lock was made there before the name of the memory was told; the memory outlives it.
        unsafe { L::from_existing(self.0.as_ptr(), self.data()) }.unwrap().0
    }

    /// An event that lets one waiter through for each signal.
    fn new_event(&self) {
        // SAFETY: as in `new_lock`.
        drop(unsafe { Event::new(self.0.as_ptr(), true) }.unwrap());
    }

    fn event(&self) -> Box<dyn EventImpl> {
        // SAFETY: as in `lock`.
        unsafe { Event::from_existing(self.0.as_ptr()) }.unwrap().0
    }
}

type Place = (String, PathBuf);

fn hold<L: LockInit>((name, path): Place) {
    let memory = Memory::open(&name);
    let lock = memory.lock::<L>();
    let _held = lock.lock().unwrap();
    stay(path)
}

fn hold_for_reading<L: LockInit>((name, path): Place) {
    let memory = Memory::open(&name);
    let lock = memory.lock::<L>();
    let _held = lock.rlock().unwrap();
    stay(path)
}

fn lock<L: LockInit>((name, path): Place) {
    let memory = Memory::open(&name);
    let _stream = report_to(path, "about to lock");
    drop(memory.lock::<L>().lock());
}

fn lock_for_reading<L: LockInit>((name, path): Place) {
    let memory = Memory::open(&name);
    let _stream = report_to(path, "about to read");
    drop(memory.lock::<L>().rlock());
}

fn wait_for_event((name, path): Place) {
    let memory = Memory::open(&name);
    let _stream = report_to(path, "about to wait");
    memory.event().wait(Timeout::Infinite).unwrap();
}

fn signal((name, path): Place) {
    let memory = Memory::open(&name);
    let _stream = report_to(path, "about to signal");
    memory.event().set(EventState::Signaled).unwrap();
}

// --- the stage -------------------------------------------------------------------------------------

fn stay(path: PathBuf) {
    let _stream = report_to(path, "here");
    loop {
        std::thread::park();
    }
}

/// A child that has come as far as its report.
fn come<R, A>(f: fn(A) -> R, what: impl FnOnce(PathBuf) -> A, meeting: &Meeting) -> Process<R>
where
    A: Serialize + DeserializeOwned,
    R: Serialize + DeserializeOwned,
{
    let child = Process::spawn(f, what(meeting.path())).unwrap();
    meeting.next();
    child
}

fn kill<R: Serialize + DeserializeOwned>(child: Process<R>) {
    child.kill().unwrap();
    assert!(child.join().is_err_and(|error| error.is_child_failure()));
}

/// Whether all threads of a process sleep.
fn is_asleep(pid: u32) -> bool {
    let state = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    state.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with('S'))
}

/// Returns when a child that is about to sleep has gone to sleep: it was seen so several times in a row.
fn wait_until_asleep<R>(child: &Process<R>) {
    let mut seen = 0;
    while seen < 10 {
        seen = if is_asleep(child.id()) { seen + 1 } else { 0 };
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The child's call does not return, though nothing holds it up that is alive.
fn hangs<R: Serialize + DeserializeOwned>(child: &mut Process<R>) {
    assert!(child.join_timeout(WATCHED).is_err_and(|error| error.is_timeout()), "raw_sync did not hang");
    assert!(is_asleep(child.id()), "it was not asleep, only slow");
}

// --- the holder dies -------------------------------------------------------------------------------

#[test]
fn the_holder_of_a_mutex_dies_and_theirs_is_locked_for_ever() {
    let _watchdog = Watchdog::new("the_holder_of_a_mutex_dies_and_theirs_is_locked_for_ever");
    let meeting = Meeting::new("hang-mutex");
    let memory = Memory::create("mutex");
    memory.new_lock::<raw_sync::locks::Mutex>();
    kill(come(hold::<raw_sync::locks::Mutex>, |path| (memory.name(), path), &meeting));
    let mut next = come(lock::<raw_sync::locks::Mutex>, |path| (memory.name(), path), &meeting);
    hangs(&mut next);
    kill(next);

    let ours = Lock::new().unwrap();
    let hold_ours = |(lock, path): (Lock, PathBuf)| {
        let _held = lock.lock();
        stay(path)
    };
    kill(come(hold_ours, |path| (ours.clone(), path), &meeting));
    assert!(matches!(ours.lock(), Err(LockError::OwnerDied(_))));
}

#[test]
fn the_holder_of_a_mutex_dies_and_the_one_asleep_behind_it_sleeps_on() {
    let _watchdog = Watchdog::new("the_holder_of_a_mutex_dies_and_the_one_asleep_behind_it_sleeps_on");
    let meeting = Meeting::new("hang-asleep");
    let memory = Memory::create("asleep");
    memory.new_lock::<raw_sync::locks::Mutex>();
    let holder = come(hold::<raw_sync::locks::Mutex>, |path| (memory.name(), path), &meeting);
    let mut next = come(lock::<raw_sync::locks::Mutex>, |path| (memory.name(), path), &meeting);
    wait_until_asleep(&next);
    kill(holder);
    hangs(&mut next);
    kill(next);

    let ours = Mutex::new(7_u64).unwrap();
    let hold_ours = |(mutex, path): (Mutex<u64>, PathBuf)| {
        let mut held = mutex.lock().unwrap();
        *held = 8;
        stay(path)
    };
    let take_ours = |(mutex, path): (Mutex<u64>, PathBuf)| {
        let _stream = report_to(path, "about to lock");
        let held = mutex.lock().unwrap();
        (*held, held.previous_died())
    };
    let holder = come(hold_ours, |path| (ours.clone(), path), &meeting);
    let next = come(take_ours, |path| (ours.clone(), path), &meeting);
    wait_until_asleep(&next);
    kill(holder);
    assert_eq!(next.join().unwrap(), (7, true), "the last commit, and word of the death");
}

#[test]
fn the_holder_of_a_mutex_dies_and_no_timed_try_of_theirs_ever_gets_it() {
    let _watchdog = Watchdog::new("the_holder_of_a_mutex_dies_and_no_timed_try_of_theirs_ever_gets_it");
    let meeting = Meeting::new("hang-timed");
    let memory = Memory::create("timed");
    memory.new_lock::<raw_sync::locks::Mutex>();
    kill(come(hold::<raw_sync::locks::Mutex>, |path| (memory.name(), path), &meeting));
    let lock = memory.lock::<raw_sync::locks::Mutex>();
    for tried in 0..20 {
        // Some say that the time is up, some that the argument is invalid: their deadline is added without carry.
        let timeout = Duration::from_millis(50 * (tried % 4));
        assert!(lock.try_lock(Timeout::Val(timeout)).is_err());
    }

    let ours = Lock::new().unwrap();
    let hold_ours = |(lock, path): (Lock, PathBuf)| {
        let _held = lock.lock();
        stay(path)
    };
    kill(come(hold_ours, |path| (ours.clone(), path), &meeting));
    // The first may come before the kernel has told the death; whichever comes after gets it.
    let mut got = std::iter::repeat_with(|| ours.lock_timeout(Duration::from_millis(50)));
    assert!(got.any(|got| matches!(got, Err(LockError::OwnerDied(_)))));
}

#[test]
fn a_writer_dies_and_theirs_lets_no_reader_in() {
    let _watchdog = Watchdog::new("a_writer_dies_and_theirs_lets_no_reader_in");
    let meeting = Meeting::new("hang-writer");
    let memory = Memory::create("writer");
    memory.new_lock::<raw_sync::locks::RwLock>();
    kill(come(hold::<raw_sync::locks::RwLock>, |path| (memory.name(), path), &meeting));
    let mut reader = come(lock_for_reading::<raw_sync::locks::RwLock>, |path| (memory.name(), path), &meeting);
    let mut writer = come(lock::<raw_sync::locks::RwLock>, |path| (memory.name(), path), &meeting);
    hangs(&mut reader);
    hangs(&mut writer);
    kill(reader);
    kill(writer);

    let ours = RwLock::new(7_u64).unwrap();
    let write_ours = |(lock, path): (RwLock<u64>, PathBuf)| {
        let mut held = lock.write().unwrap();
        *held = 8;
        stay(path)
    };
    kill(come(write_ours, |path| (ours.clone(), path), &meeting));
    assert_eq!(*ours.read().unwrap(), 7, "the last commit");
    kill(come(write_ours, |path| (ours.clone(), path), &meeting));
    let held = ours.write().unwrap();
    assert_eq!((*held, held.previous_died()), (7, true));
}

#[test]
fn a_reader_dies_and_theirs_lets_no_writer_in() {
    let _watchdog = Watchdog::new("a_reader_dies_and_theirs_lets_no_writer_in");
    let meeting = Meeting::new("hang-reader");
    let memory = Memory::create("reader");
    memory.new_lock::<raw_sync::locks::RwLock>();
    kill(come(hold_for_reading::<raw_sync::locks::RwLock>, |path| (memory.name(), path), &meeting));
    let mut writer = come(lock::<raw_sync::locks::RwLock>, |path| (memory.name(), path), &meeting);
    hangs(&mut writer);
    kill(writer);

    let ours = RwLock::new(7_u64).unwrap();
    let read_ours = |(lock, path): (RwLock<u64>, PathBuf)| {
        let _held = lock.read().unwrap();
        stay(path)
    };
    let (one, other) = (ours.clone(), ours.clone());
    let (first, second) =
        (come(read_ours, |path| (one, path), &meeting), come(read_ours, |path| (other, path), &meeting));
    kill(first);
    kill(second);
    *ours.write().unwrap() = 9;
    assert_eq!(*ours.read().unwrap(), 9);
}

#[test]
fn a_signaller_dies_in_the_midst_and_everybody_at_their_event_hangs() {
    let _watchdog = Watchdog::new("a_signaller_dies_in_the_midst_and_everybody_at_their_event_hangs");
    let meeting = Meeting::new("hang-signaller");
    let memory = Memory::create("signaller");
    memory.new_event();
    // Their event begins with a mutex, which `set` and `wait` take first; this is where the signaller dies.
    kill(come(hold::<raw_sync::locks::Mutex>, |path| (memory.name(), path), &meeting));
    let mut waiter = come(wait_for_event, |path| (memory.name(), path), &meeting);
    let mut signaller = come(signal, |path| (memory.name(), path), &meeting);
    hangs(&mut signaller);
    hangs(&mut waiter);
    kill(signaller);
    kill(waiter);

    // Ours for one signal to one waiter. The dead one was somewhere in the midst of sending, at another place each time.
    let ours = Queue::<()>::new(1).unwrap();
    let signal_for_ever = |(queue, path): (Queue<()>, PathBuf)| {
        let _stream = report_to(path, "here");
        loop {
            let _ = queue.try_send(());
            let _ = queue.try_recv();
        }
    };
    for _ in 0..10 {
        kill(come::<(), _>(signal_for_ever, |path| (ours.clone(), path), &meeting));
        // Its claim may stand in the only cell: whoever receives clears it away, and the next signal arrives.
        let mut signalled =
            std::iter::repeat_with(|| (ours.try_send(()), ours.recv_timeout(Duration::from_millis(20))).1);
        assert!(signalled.any(|got| got.is_ok()));
    }
}

// --- the waiter dies -------------------------------------------------------------------------------

/// glibc's version as major and minor number.
fn glibc() -> (u32, u32) {
    // SAFETY: has no conditions.
    let version = unsafe { libc::gnu_get_libc_version() };
    // SAFETY: a string that ends with a zero byte and lives as long as the process.
    let version = unsafe { std::ffi::CStr::from_ptr(version) };
    let mut numbers = version.to_str().unwrap_or_default().split('.').map(|number| number.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

#[test]
fn a_waiter_dies_and_their_event_hangs_the_one_who_signals() {
    let _watchdog = Watchdog::new("a_waiter_dies_and_their_event_hangs_the_one_who_signals");
    let meeting = Meeting::new("hang-waiter");
    let memory = Memory::create("waiter");
    memory.new_event();
    let place = |path| (memory.name(), path);
    let victim = come(wait_for_event, place, &meeting);
    wait_until_asleep(&victim);
    kill(victim);
    // This signal wakes the dead one, inside of glibc; the event remembers it all the same.
    come(signal, place, &meeting).join().unwrap();
    come(wait_for_event, place, &meeting).join().unwrap();
    // From glibc 2.41 on, condition variables do not count who still looks at an old signal.
    if glibc() < (2, 41) {
        let mut waiter = come(wait_for_event, place, &meeting);
        wait_until_asleep(&waiter);
        let mut signaller = come(signal, place, &meeting);
        hangs(&mut signaller); // it waits for the dead one to leave, and holds the mutex meanwhile
        let mut another = come(signal, place, &meeting);
        hangs(&mut another);
        hangs(&mut waiter);
        for child in [waiter, signaller, another] {
            kill(child);
        }
    }

    let ours = Queue::<()>::new(1).unwrap();
    let wait_for_ours = |(queue, path): (Queue<()>, PathBuf)| {
        let _stream = report_to(path, "about to wait");
        queue.recv().unwrap();
    };
    for _ in 0..3 {
        let victim = come(wait_for_ours, |path| (ours.clone(), path), &meeting);
        wait_until_asleep(&victim);
        kill(victim);
        let waiter = come(wait_for_ours, |path| (ours.clone(), path), &meeting);
        wait_until_asleep(&waiter);
        ours.send(()).unwrap();
        waiter.join().unwrap();
    }
}
