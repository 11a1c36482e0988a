//! Deaths of children: as a descriptor, as a future, and as the reason to take a child away that nobody watches.
//!
//! One thread per process, started when a future is polled for the first time or when a running child is dropped, sleeps
//! in epoll(7) on the pidfds that somebody waits for. It wakes wakers, and reaps children whose handles were dropped, so
//! that none stays a zombie. A program that does neither has no such thread.

use core::fmt;
use core::pin::Pin;
use core::task::{Context, Poll, Waker};
use core::time::Duration;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::Arc;

use crate::deadline::Deadline;
use crate::error::{Error, Kind, Result};
use crate::sync::{AtomicU64, Ordering};
use crate::sys::epoll::Epoll;
use crate::sys::fork::{ForkWord, PerProcess};
use crate::sys::process::{Child, has_ended, wait_readable};
use crate::sys::{clock, quiet};

/// The death of a process, before and after it comes: a descriptor that becomes readable, and a future.
///
/// As a descriptor ([`AsFd`]) it goes into `poll`, `epoll`, or the reactor of any runtime. As a future it needs none: a
/// thread of this crate, started by the first such future, calls the waker. It stays valid when its
/// [`Process`](crate::Process) was joined or dropped, and costs no descriptor of its own.
///
/// # Examples
///
/// ```
/// use mutirao::Process;
///
/// # fn main() -> mutirao::Result<()> {
/// # mutirao::init();
/// let child = Process::spawn(|n: u32| n + 1, 1)?;
/// let death = child.death();
/// death.wait()?;
/// assert!(death.has_come() && !child.is_alive());
/// assert_eq!(child.join()?, 2);
/// # Ok(()) }
/// ```
#[doc(alias = "sentinel")]
pub struct Death {
    pidfd: Arc<OwnedFd>,
    /// Names this future among those that wait for the same death.
    number: u64,
}

impl Death {
    pub(crate) fn of(pidfd: &Arc<OwnedFd>) -> Self {
        static NUMBERS: AtomicU64 = AtomicU64::new(0);
        Self { pidfd: Arc::clone(pidfd), number: NUMBERS.fetch_add(1, Ordering::Relaxed) }
    }

    /// Whether the process has ended.
    pub fn has_come(&self) -> bool {
        has_ended(self.pidfd.as_fd()).unwrap_or(false)
    }

    /// Waits for it.
    ///
    /// # Errors
    ///
    /// When the system refuses.
    pub fn wait(&self) -> Result<()> {
        self.wait_until(Deadline::NEVER)
    }

    /// As [`wait`](Self::wait), but gives up after `timeout`.
    ///
    /// # Errors
    ///
    /// [`is_timeout`](Error::is_timeout), and when the system refuses.
    pub fn wait_timeout(&self, timeout: Duration) -> Result<()> {
        self.wait_until(Deadline::after(clock::now_ns(), timeout))
    }

    fn wait_until(&self, deadline: Deadline) -> Result<()> {
        let what = "waiting for the death of a process";
        match wait_readable([self.pidfd.as_fd()], deadline) {
            Ok([true]) => Ok(()),
            Ok([false]) => Err(Kind::Timeout { what }.into()),
            Err(error) => Err(Error::io(what, error)),
        }
    }
}

impl Clone for Death {
    fn clone(&self) -> Self {
        Self::of(&self.pidfd)
    }
}

impl AsFd for Death {
    /// Readable once the process has ended. There is nothing to read.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }
}

impl Future for Death {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.has_come() {
            return Poll::Ready(());
        }
        let mut waker = context.waker().clone();
        let mut seat = |watched: &mut Watched| match watched.wakers.iter_mut().find(|(other, _)| *other == self.number)
        {
            // What is taken out is dropped when the lock is free: it may own a task, and that other deaths.
            Some((_, old)) => core::mem::swap(old, &mut waker),
            None => watched.wakers.push((self.number, waker.clone())),
        };
        if watch(&self.pidfd, &mut seat).is_err() {
            // Without a thread the task asks again and again: slow, and right.
            context.waker().wake_by_ref();
        }
        Poll::Pending
    }
}

impl Drop for Death {
    fn drop(&mut self) {
        let Some(watch) = WATCH.get() else { return };
        let mut all = watch.watched.lock();
        let Some(watched) = all.get_mut(&self.pidfd.as_raw_fd()) else { return };
        let at = watched.wakers.iter().position(|(number, _)| *number == self.number);
        let waker = at.map(|at| watched.wakers.swap_remove(at));
        drop(all);
        drop(waker);
    }
}

impl fmt::Debug for Death {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Death").field("has_come", &self.has_come()).finish_non_exhaustive()
    }
}

/// A child that nobody has a handle of.
pub(crate) struct Left {
    pub(crate) child: Child,
    /// Held until it has ended: a leash that is let go of ends it.
    pub(crate) _leash: Option<OwnedFd>,
}

/// What happens when a pidfd becomes readable.
struct Watched {
    pidfd: Arc<OwnedFd>,
    wakers: Vec<(u64, Waker)>,
    left: Option<Left>,
    /// Whether the thread hears of it.
    is_heard: bool,
}

impl Watched {
    /// Whether the child it was kept for, if any, is gone.
    fn is_reaped(&self) -> bool {
        self.left.as_ref().is_none_or(|left| !matches!(left.child.reap(), Ok(None)))
    }
}

struct Watch {
    /// `None`: none could be made.
    epoll: Option<Epoll>,
    has_thread: Mutex<bool>,
    /// By the number of the pidfd, which cannot mean another process while it stands here.
    watched: Mutex<HashMap<RawFd, Watched>>,
}

static WATCH: PerProcess<Watch> = PerProcess::new();

fn the_watch() -> io::Result<(ForkWord, &'static Watch)> {
    let none = || Watch { epoll: Epoll::new().ok(), has_thread: Mutex::new(false), watched: Mutex::default() };
    WATCH.get_or_init(none)
}

/// Has what `change` notes done when the process behind the pidfd has ended. An error: no thread hears of it.
fn watch(pidfd: &Arc<OwnedFd>, change: impl FnOnce(&mut Watched)) -> io::Result<()> {
    let (_, watch) = the_watch()?;
    let new = || Watched { pidfd: Arc::clone(pidfd), wakers: Vec::new(), left: None, is_heard: false };
    let mut all = watch.watched.lock();
    let watched = all.entry(pidfd.as_raw_fd()).or_insert_with(new);
    change(watched);
    let epoll = watch.epoll.as_ref().ok_or(io::ErrorKind::Unsupported)?;
    if !watched.is_heard {
        epoll.add(pidfd)?;
        watched.is_heard = true;
    }
    drop(all);
    let mut has_thread = watch.has_thread.lock();
    if !*has_thread {
        let listen = move || listen(epoll, watch);
        quiet::start("mutirao-deaths", listen)?;
        *has_thread = true;
    }
    Ok(())
}

/// The thread. It ends with the process, or when its descriptor was closed by somebody else.
fn listen(epoll: &Epoll, watch: &Watch) {
    while let Ok(numbers) = epoll.wait() {
        for number in numbers {
            settle(epoll, watch, number);
        }
    }
    *watch.has_thread.lock() = false;
}

/// Does what waits for the death behind this number, if it has come.
fn settle(epoll: &Epoll, watch: &Watch, number: RawFd) {
    let mut all = watch.watched.lock();
    // The number may have been given to another since the event.
    let come = |watched: &Watched| has_ended(watched.pidfd.as_fd()).unwrap_or(true) && watched.is_reaped();
    if !all.get(&number).is_some_and(come) {
        return;
    }
    if let Some(done) = all.remove(&number) {
        epoll.remove(&done.pidfd);
        drop(all);
        for (_, waker) in done.wakers {
            waker.wake();
        }
    }
}

/// Takes over a child that nobody has a handle of any more, until it has ended.
pub(crate) fn leave(left: Left) {
    if !matches!(left.child.reap(), Ok(None)) {
        return;
    }
    let pidfd = Arc::clone(left.child.pidfd());
    // Without a thread, `sweep` takes it away.
    let _ = watch(&pidfd, |watched| watched.left = Some(left));
}

/// Takes away what has ended and no thread hears of. Returns who this process is.
pub(crate) fn sweep() -> io::Result<ForkWord> {
    let (process, watch) = the_watch()?;
    let is_unheard = !*watch.has_thread.lock();
    watch.watched.lock().retain(|_, watched| {
        let is_over = (is_unheard || !watched.is_heard) && watched.left.is_some() && watched.is_reaped();
        if let Some(epoll) = watch.epoll.as_ref().filter(|_| is_over && watched.is_heard) {
            epoll.remove(&watched.pidfd);
        }
        !is_over
    });
    Ok(process)
}
