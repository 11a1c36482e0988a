//! The kernel of a model: who lives, who sleeps on what, and what the clock says.

use std::cell::RefCell;
use std::sync::Arc;

use crate::deadline::Deadline;
use crate::participant::{Liveness, ParticipantId};
use crate::sync::model::actor::{AtomicU32, Ordering, base, flush, step};
use crate::sync::rested::Rested;

base::thread_local! {
    /// Under which kernel the thread runs.
    static KERNEL: RefCell<Option<Arc<Kernel>>> = RefCell::new(None);
}

/// A word that can be waited on. The queue of its sleepers is the kernel's.
pub struct Futex {
    /// The word.
    pub word: AtomicU32,
    sleepers: base::Condvar,
}

impl Futex {
    /// A word of this value, with no sleepers.
    pub fn new(value: u32) -> Self {
        Self { word: AtomicU32::new(value), sleepers: base::Condvar::new() }
    }

    /// Wakes one sleeper, if there is one.
    pub fn wake_one(&self) {
        self.wake(|sleepers| sleepers.notify_one());
    }

    /// Wakes every sleeper.
    pub fn wake_all(&self) {
        self.wake(|sleepers| sleepers.notify_all());
    }

    fn wake(&self, wake: impl FnOnce(&base::Condvar)) {
        if step() {
            flush();
            let kernel = Kernel::of_this_thread();
            let _bucket = kernel.book();
            wake(&self.sleepers);
        }
    }
}

/// The participants of a model have the ids 1 to 8.
const PARTICIPANTS: usize = 8;

/// What the kernel knows: who lives, how many died, and what the clock says.
pub struct Kernel {
    alive: [base::AtomicU32; PARTICIPANTS],
    /// Also the lock of every futex's queue.
    book: base::Mutex<Book>,
}

/// A wait is cut into slices; in the model one ends if and only if somebody died since the call last looked.
struct Book {
    deaths: usize,
    now_ns: u64,
}

impl Kernel {
    /// A kernel under which nobody lives yet: an id that is met before its registration is visible looks dead.
    #[expect(clippy::new_without_default, reason = "a model makes one, by name")]
    pub fn new() -> Arc<Self> {
        let book = base::Mutex::new(Book { deaths: 0, now_ns: 1 });
        Arc::new(Self { alive: std::array::from_fn(|_| base::AtomicU32::new(0)), book })
    }

    /// Registers the id and makes the current thread its bearer. Not a step.
    pub fn enter(self: &Arc<Self>, id: u32) -> Life {
        self.alive[id as usize - 1].store(1, Ordering::Relaxed);
        KERNEL.with(|k| k.replace(Some(self.clone())));
        Life { kernel: self.clone(), me: ParticipantId::new(id).expect("ids start at 1") }
    }

    /// The end of a process: first nothing of it runs any more, then its proof of life falls, then slices end.
    pub fn bury(&self, id: u32, futexes: &[&Futex]) {
        self.alive[id as usize - 1].store(0, Ordering::Release);
        let mut book = self.book();
        book.deaths += 1;
        futexes.iter().for_each(|f| f.sleepers.notify_all());
    }

    /// Lets time pass: deadlines up to `ns` after the start are over.
    pub fn advance(&self, ns: u64, futexes: &[&Futex]) {
        self.book().now_ns += ns;
        futexes.iter().for_each(|f| f.sleepers.notify_all());
    }

    fn book(&self) -> base::MutexGuard<'_, Book> {
        self.book.lock().expect("the model goes on after a panic")
    }

    fn of_this_thread() -> Arc<Self> {
        KERNEL.with(|k| k.borrow().clone()).expect("the thread has not entered the kernel")
    }
}

/// A participant of a model.
#[derive(Clone)]
pub struct Life {
    kernel: Arc<Kernel>,
    me: ParticipantId,
}

impl Liveness for Life {
    fn me(&self) -> ParticipantId {
        self.me
    }

    /// A made-up id is dead.
    fn is_dead(&self, id: ParticipantId) -> bool {
        if id == self.me || !step() {
            return false;
        }
        flush();
        self.kernel.alive.get(id.get() as usize - 1).is_none_or(|alive| alive.load(Ordering::Acquire) == 0)
    }
}

/// How long one blocking call has waited: see the real one. Time passes by [`Kernel::advance`].
pub struct Patience {
    deadline: Deadline,
    deaths_seen: usize,
    asks: bool,
}

impl Patience {
    /// The patience of a call that gives up at `deadline`.
    pub fn new(deadline: Deadline) -> Self {
        Self { deadline, deaths_seen: 0, asks: false }
    }

    /// Models do not spin.
    pub fn spin(&mut self) -> bool {
        false
    }

    /// No time passes, but others go on.
    pub fn nap(&mut self) {
        base::thread::yield_now();
    }

    /// Whether a slice has ended in this call.
    pub fn asks(&self) -> bool {
        self.asks
    }

    /// Sleeps while the word is `expected`; compares and goes to sleep at once, as the kernel does.
    pub fn rest(&mut self, _life: &impl Liveness, futex: &Futex, expected: u32) -> Rested {
        if !step() {
            return Rested::DeadlinePassed;
        }
        flush();
        let kernel = Kernel::of_this_thread();
        let mut book = kernel.book();
        if self.deadline.has_passed(book.now_ns) {
            return Rested::DeadlinePassed;
        }
        if book.deaths == self.deaths_seen {
            if futex.word.look(Ordering::Relaxed) != expected {
                return Rested::Looked;
            }
            book = futex.sleepers.wait(book).expect("the model goes on after a panic");
        }
        let deaths = book.deaths;
        drop(book);
        // Killed after it has swallowed a wake-up.
        step();
        if deaths == self.deaths_seen {
            return Rested::Looked;
        }
        self.deaths_seen = deaths;
        self.asks = true;
        Rested::SliceEnded
    }
}
