//! What the tests share: a watchdog, and a meeting point for processes that holds no shared memory.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::Duration;

/// Ends the whole test binary when it lives longer than a minute. A test holds it while it runs.
pub struct Watchdog {
    _alive: Sender<()>,
}

impl Watchdog {
    pub fn new(test: &'static str) -> Self {
        Self::with_report(test, String::new)
    }

    /// As `new`, for a test that may take so many seconds.
    #[allow(dead_code)] // not every test binary has one
    pub fn lasting(test: &'static str, seconds: u64) -> Self {
        Self::made(test, seconds, String::new)
    }

    /// As `new`; prints `report()` when the test hangs.
    pub fn with_report(test: &'static str, report: impl Fn() -> String + Send + 'static) -> Self {
        Self::made(test, 60, report)
    }

    fn made(test: &'static str, seconds: u64, report: impl Fn() -> String + Send + 'static) -> Self {
        let (alive, watched) = channel::<()>();
        std::thread::spawn(move || {
            if watched.recv_timeout(Duration::from_secs(seconds)) == Err(RecvTimeoutError::Timeout) {
                eprintln!("{test} hangs\n{}", report());
                std::process::abort();
            }
        });
        Self { _alive: alive }
    }
}

/// A place in the file system where children report to the test: each says a line, and hangs up by dying.
pub struct Meeting {
    path: PathBuf,
    listener: UnixListener,
}

impl Meeting {
    pub fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("mutirao-{}-{name}", std::process::id()));
        let listener = UnixListener::bind(&path).unwrap();
        Self { path, listener }
    }

    pub fn path(&self) -> PathBuf {
        self.path.clone()
    }

    /// The next one to come, and what it said.
    pub fn next(&self) -> (UnixStream, String) {
        let (stream, _) = self.listener.accept().unwrap();
        let mut line = String::new();
        BufReader::new(stream.try_clone().unwrap()).read_line(&mut line).unwrap();
        (stream, line.trim_end().to_string())
    }
}

impl Drop for Meeting {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Goes to a meeting and says a line; stays there while the stream lives.
pub fn report_to(path: PathBuf, line: &str) -> UnixStream {
    let mut stream = UnixStream::connect(path).unwrap();
    writeln!(stream, "{line}").unwrap();
    stream
}

/// Waits until the other side of a meeting is gone: its process has ended.
pub fn wait_for_hang_up(mut stream: UnixStream) {
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest);
}

/// A directory of a test's own for names of segments; it goes away with what is left in it.
#[allow(dead_code)] // not every test binary meets by name
pub struct Dir(PathBuf);

#[allow(dead_code)]
impl Dir {
    pub fn new(test: &str) -> Self {
        let path = PathBuf::from("/dev/shm").join(format!("mutirao-{}-{test}", std::process::id()));
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    pub fn path(&self) -> PathBuf {
        self.0.clone()
    }

    pub fn options(&self) -> mutirao::SegmentOptions {
        mutirao::Segment::options().directory(&self.0)
    }

    /// What is in it, sorted.
    pub fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(&self.0).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
