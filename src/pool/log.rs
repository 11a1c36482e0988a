//! What workers say: lines in a ring of shared memory for each, which survives its worker. The parent says them again, with the
//! worker's process id in front, and knows the last ones when the worker has died.
//!
//! One process writes, one thread of it at a time; the parent reads and never waits. Where the writer is a whole ring
//! ahead, the oldest lines are lost, and the parent says how many bytes of them.

use core::fmt;
use std::io;
use std::sync::{Mutex, OnceLock};

use crate::handle::array::Array;
use crate::pool::desk::Desks;
use crate::sync::{AtomicU8, Ordering};

/// Bytes of a ring.
pub(crate) const RING: usize = 16 << 10;
/// Lines that are kept of a worker that died.
const LAST_LINES: usize = 10;
/// The most bytes of a line.
const LINE: usize = 2048;

/// The rings of all posts.
#[derive(Clone)]
pub(crate) struct Logs {
    pub(crate) bytes: Array<u8>,
}

impl Logs {
    fn ring(&self, post: usize) -> &[AtomicU8] {
        let range = self.bytes.range(post * RING..(post + 1) * RING);
        range.map(|range| self.bytes.elements(&range).bytes).unwrap_or_default()
    }

    /// Appends to the ring of `post`, where `head` bytes were written before.
    fn write(&self, post: usize, head: u64, line: &[u8]) {
        let ring = self.ring(post);
        // Relaxed: whoever reads sees the head behind it, or reads again.
        for (at, byte) in (head as usize..).zip(line) {
            if let Some(place) = ring.get(at % RING) {
                place.store(*byte, Ordering::Relaxed);
            }
        }
    }

    /// The bytes from `from` up to `head`, as far as they are there, and how many are not.
    pub(crate) fn read(&self, post: usize, from: u64, head: u64) -> (u64, Vec<u8>) {
        let first = from.max(head.saturating_sub(RING as u64));
        let ring = self.ring(post);
        let byte = |at: u64| ring.get(at as usize % RING).map_or(0, |byte| byte.load(Ordering::Relaxed));
        (first.saturating_sub(from), (first..head).map(byte).collect())
    }

    /// The last lines of a worker that is dead.
    pub(crate) fn last_lines(&self, post: usize, head: u64) -> Vec<String> {
        let (lost, bytes) = self.read(post, 0, head);
        let text = String::from_utf8_lossy(&bytes);
        let mut lines: Vec<_> = text.lines().skip(usize::from(lost != 0)).map(str::to_owned).collect();
        lines.drain(..lines.len().saturating_sub(LAST_LINES));
        lines
    }
}

/// Where this process writes, if it is a worker.
struct Own {
    logs: Logs,
    desks: Desks,
    post: usize,
    /// One line at a time.
    turn: Mutex<()>,
}

static OWN: OnceLock<Own> = OnceLock::new();

/// This process is a worker from here on.
pub(crate) fn begin(logs: Logs, desks: Desks, post: usize) {
    let _ = OWN.set(Own { logs, desks, post, turn: Mutex::new(()) });
}

/// Says a line: in a worker of a [`Pool`](crate::Pool) to the parent, which says it again with the worker's process id in front,
/// and elsewhere to standard error. The last lines of a worker that dies stand in the
/// [`PostMortem`](crate::PostMortem) of its task.
///
/// # When a process dies
///
/// What was said before its death is said by the parent.
///
/// # Examples
///
/// ```
/// fn main() -> mutirao::Result<()> {
///     mutirao::init();
///     let pool = mutirao::Pool::builder().workers(1).retries_after_death(0).build()?;
///     let work = |n: u64| { mutirao::log_line(format!("at {n}")); if n == 3 { std::process::abort() } n };
///     let error = pool.map(work, 0..9).unwrap_err();
///     let mutirao::TaskError::WorkerDied(post_mortem) = error else { panic!("{error}") };
///     assert_eq!(post_mortem.last_log_lines.last().unwrap(), "at 3");
///     Ok(())
/// }
/// ```
#[doc(alias = "log_to_stderr")]
#[doc(alias = "get_logger")]
pub fn log_line(line: impl AsRef<str>) {
    let line = line.as_ref();
    let Some(own) = OWN.get() else {
        // Not `eprintln`, which panics where nobody listens.
        let _ = io::Write::write_all(&mut io::stderr().lock(), format!("{line}\n").as_bytes());
        return;
    };
    let mut bytes: Vec<u8> = line.bytes().take(LINE).map(|byte| if byte == b'\n' { b' ' } else { byte }).collect();
    bytes.push(b'\n');
    // Whoever panics here may be the one who writes.
    let Ok(_turn) = own.turn.try_lock().or_else(|_| {
        std::thread::yield_now();
        own.turn.try_lock()
    }) else {
        return;
    };
    let desk = own.desks.desk(own.post);
    let head = desk.log_head();
    own.logs.write(own.post, head, &bytes);
    desk.set_log_head(head + bytes.len() as u64);
}

/// What a [`tracing`](https://docs.rs/tracing) subscriber or a logger writes to, so that its lines go the way of
/// [`log_line`]: `tracing_subscriber::fmt().with_writer(mutirao::worker_log)` in an initializer.
///
/// # Examples
///
/// ```
/// use std::io::Write;
/// let mut log = mutirao::worker_log();
/// writeln!(log, "a line")?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn worker_log() -> WorkerLog {
    WorkerLog { line: Vec::new() }
}

/// Collects bytes to lines, each of which goes the way of [`log_line`]. From [`worker_log`].
#[derive(Default)]
pub struct WorkerLog {
    line: Vec<u8>,
}

impl io::Write for WorkerLog {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.line.extend_from_slice(bytes);
        while let Some(end) = self.line.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.line.drain(..=end).collect();
            log_line(String::from_utf8_lossy(&line).trim_end());
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if !self.line.is_empty() {
            log_line(String::from_utf8_lossy(&core::mem::take(&mut self.line)));
        }
        Ok(())
    }
}

impl Drop for WorkerLog {
    fn drop(&mut self) {
        let _ = io::Write::flush(self);
    }
}

impl fmt::Debug for WorkerLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkerLog").finish_non_exhaustive()
    }
}

/// Says what a worker has said, with its process id in front. `rest`: what it had not ended.
pub(crate) fn say(pid: u32, lost: u64, bytes: &[u8]) {
    let mut text = String::new();
    if lost != 0 {
        text.push_str(&format!("[{pid}] ({lost} bytes were lost)\n"));
    }
    // Where something was lost, the first line lacks its beginning.
    for line in String::from_utf8_lossy(bytes).lines().skip(usize::from(lost != 0)) {
        text.push_str(&format!("[{pid}] {line}\n"));
    }
    let _ = io::Write::write_all(&mut io::stderr().lock(), text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::segment::open::Segment;

    #[test]
    fn a_ring_keeps_the_last_lines() {
        let segment = Segment::anonymous(1 << 20).unwrap();
        let logs = Logs { bytes: Array::new_in(&segment, 2 * RING).unwrap() };
        let mut head = 0;
        for n in 0..5000 {
            let line = format!("line {n}\n");
            logs.write(1, head, line.as_bytes());
            head += line.len() as u64;
        }
        let lines = logs.last_lines(1, head);
        assert_eq!((lines.len(), lines[9].as_str(), lines[0].as_str()), (10, "line 4999", "line 4990"));
        let (lost, bytes) = logs.read(1, 0, head);
        assert_eq!((lost, bytes.len()), (head - RING as u64, RING));
        assert_eq!(logs.last_lines(0, 0), Vec::<String>::new());
        assert_eq!(logs.read(7, 0, 5).1, [0; 5], "a post that is not there");
    }
}
