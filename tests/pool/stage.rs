//! What the tests share: a watchdog, pools, files that remember across deaths.

use mutirao::{Pool, PoolBuilder};
use std::path::PathBuf;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::Duration;

/// Ends the whole test binary when it lives longer than a minute. A test holds it while it runs.
pub struct Watchdog {
    _alive: Sender<()>,
}

impl Watchdog {
    pub fn new(test: &'static str) -> Self {
        let (alive, watched) = channel::<()>();
        std::thread::spawn(move || {
            if watched.recv_timeout(Duration::from_secs(60)) == Err(RecvTimeoutError::Timeout) {
                eprintln!("{test} hangs");
                std::process::abort();
            }
        });
        Self { _alive: alive }
    }
}

pub fn two_workers() -> PoolBuilder {
    Pool::builder().workers(2)
}

pub fn kill_self() -> ! {
    let pid = rustix::process::getpid();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    unreachable!()
}

/// A file that does not exist yet; gone at the end.
pub struct Mark(PathBuf);

impl Mark {
    pub fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("mutirao-{}-{name}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        Self(path)
    }

    pub fn path(&self) -> String {
        self.0.to_str().unwrap().to_owned()
    }
}

impl Drop for Mark {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Whether nobody has been here before.
pub fn is_first(path: &str) -> bool {
    std::fs::OpenOptions::new().write(true).create_new(true).open(path).is_ok()
}
