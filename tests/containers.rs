//! Programs in containers of their own, as far as `unshare` makes one: another pid namespace, other mounts.
//! Where this machine does not allow that, the tests say so and pass.

#[path = "processes/stage.rs"]
#[allow(dead_code)]
mod stage;

use mutirao::{Lock, LockError, Queue, Segment};
use stage::Watchdog;
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

/// Tells a role which test's socket it goes to.
const SOCKET: &str = "MUTIRAO_TEST_SOCKET";

/// A container is this test binary again, running one test, which is a role when the variable says so.
struct Container(Child);

impl Container {
    /// Runs `role` among its own processes and mounts, where `setup` was run by a shell before.
    fn start(role: &str, socket: &Socket, setup: &str) -> Self {
        let exe = std::env::current_exe().unwrap();
        let script = format!("{setup}\nexec '{}' --exact {role} --nocapture", exe.display());
        let mut unshare = unshare();
        unshare.args(["sh", "-e", "-c", &script]).env(SOCKET, &socket.path).stdout(Stdio::null());
        Self(unshare.spawn().unwrap())
    }

    /// The container is gone, and every process in it.
    fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }

    /// It ended by itself, and well.
    fn finish(mut self) {
        assert!(self.0.wait().unwrap().success());
    }
}

fn unshare() -> Command {
    let mut unshare = Command::new("unshare");
    unshare.args(["--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--"]);
    unshare
}

/// Whether containers can be made here.
fn containers_work() -> bool {
    let works = unshare().arg("true").stderr(Stdio::null()).status().is_ok_and(|status| status.success());
    if !works {
        eprintln!("skipped: `unshare --mount --pid` is not allowed here");
    }
    works
}

/// A socket in a folder that containers see too.
struct Socket {
    path: PathBuf,
    listener: UnixListener,
}

impl Socket {
    fn new(test: &str) -> Self {
        let path = std::env::temp_dir().join(format!("mutirao-{}-container-{test}", std::process::id()));
        let listener = UnixListener::bind(&path).unwrap();
        Self { path, listener }
    }

    fn next(&self) -> UnixStream {
        self.listener.accept().unwrap().0
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// The way to the test, for a role; None: this is an ordinary run of the tests.
fn to_the_test() -> Option<UnixStream> {
    std::env::var_os(SOCKET).map(|path| UnixStream::connect(path).unwrap())
}

fn say(mut stream: &UnixStream, line: &str) {
    writeln!(stream, "{line}").unwrap();
}

/// The next line; not a byte behind it, for more may come there.
fn heard(mut stream: &UnixStream) -> String {
    let (mut line, mut byte) = (Vec::new(), [0]);
    while stream.read(&mut byte).unwrap() == 1 && byte != *b"\n" {
        line.extend(byte);
    }
    String::from_utf8(line).unwrap()
}

/// Stays until it is killed.
fn stay(mut stream: UnixStream) {
    let _ = stream.read_to_end(&mut Vec::new());
}

// --- a descriptor over a socket --------------------------------------------------------------------

#[test]
fn role_takes_a_lock_that_came_over_a_socket() {
    let Some(stream) = to_the_test() else { return };
    let lock = Lock::attach(&Segment::receive_from(&stream).unwrap()).unwrap();
    let queue = Queue::<String>::attach(&Segment::receive_from(&stream).unwrap()).unwrap();
    let _held = lock.lock().unwrap();
    queue.send(format!("process {} of its container holds it", std::process::id())).unwrap();
    say(&stream, "held");
    stay(stream);
}

#[test]
fn a_container_gets_a_descriptor_and_its_death_is_noticed_outside() {
    if !containers_work() {
        return;
    }
    let (lock, queue) = (Lock::new().unwrap(), Queue::<String>::new(4).unwrap());
    let segment = lock.segment().clone();
    let _watchdog = Watchdog::with_report("a container with a descriptor", move || segment.inspect().to_string());
    let socket = Socket::new("descriptor");
    let container = Container::start("role_takes_a_lock_that_came_over_a_socket", &socket, "true");
    let stream = socket.next();
    lock.segment().send_to(&stream).unwrap();
    queue.segment().send_to(&stream).unwrap();
    assert_eq!(heard(&stream), "held");
    assert_eq!(queue.recv().unwrap(), "process 1 of its container holds it");
    assert!(lock.try_lock().unwrap_err().is_would_block(), "alive, though no process of ours has such a pid");
    container.kill();
    assert!(matches!(lock.lock(), Err(LockError::OwnerDied(_))));
}

// --- a common /dev/shm -----------------------------------------------------------------------------

/// A folder of shared memory that containers have as their `/dev/shm`.
struct Common(PathBuf);

impl Common {
    fn new(test: &str) -> Self {
        let path = PathBuf::from(format!("/dev/shm/mutirao-{}-{test}", std::process::id()));
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn mounted(&self) -> String {
        format!("mount --bind '{}' /dev/shm", self.0.display())
    }

    fn names(&self) -> Vec<std::ffi::OsString> {
        std::fs::read_dir(&self.0).unwrap().map(|entry| entry.unwrap().file_name()).collect()
    }
}

impl Drop for Common {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn role_makes_a_shop_and_holds_its_lock() {
    let Some(stream) = to_the_test() else { return };
    let shop = Segment::create("shop", 1 << 20).unwrap();
    let lock = Lock::create(&shop, "till").unwrap();
    let _held = lock.lock().unwrap();
    say(&stream, "held");
    stay(stream);
}

#[test]
fn role_waits_for_the_lock_of_the_shop() {
    let Some(stream) = to_the_test() else { return };
    let lock = Lock::open(&Segment::open("shop").unwrap(), "till").unwrap();
    assert!(lock.try_lock().unwrap_err().is_would_block());
    say(&stream, "waiting");
    let owner_died = matches!(lock.lock(), Err(LockError::OwnerDied(_)));
    say(&stream, if owner_died { "the owner died" } else { "it was given back" });
}

#[test]
fn containers_with_a_common_folder_meet_by_name_and_notice_each_others_death() {
    if !containers_work() {
        return;
    }
    let _watchdog = Watchdog::new("containers with a common folder");
    let common = Common::new("common");
    let (first, second) = (Socket::new("first"), Socket::new("second"));
    let maker = Container::start("role_makes_a_shop_and_holds_its_lock", &first, &common.mounted());
    let of_maker = first.next();
    assert_eq!(heard(&of_maker), "held");

    let waiter = Container::start("role_waits_for_the_lock_of_the_shop", &second, &common.mounted());
    let of_waiter = second.next();
    assert_eq!(heard(&of_waiter), "waiting");
    // From outside, where the folder has another name.
    let outside = Segment::options().directory(&common.0).open("shop").unwrap();
    assert!(Lock::open(&outside, "till").unwrap().try_lock().unwrap_err().is_would_block());

    maker.kill();
    assert_eq!(heard(&of_waiter), "the owner died");
    waiter.finish();
    assert!(matches!(Lock::open(&outside, "till").unwrap().lock(), Err(LockError::OwnerDied(_))));
    assert_eq!(common.names(), ["shop"]);
    drop(outside);
    assert_eq!(common.names(), [""; 0], "the last one takes the name away");
}
