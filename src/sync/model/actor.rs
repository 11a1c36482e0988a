//! Actors that die before a given step, and the atomics whose every access is a step.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, OnceLock};

use crate::participant::Liveness;

pub use base::{Ordering, thread};

/// What the checkers call their primitives.
pub(in crate::sync::model) mod base {
    #[cfg(not(mutirao_shuttle))]
    pub use loom::{
        cell::Cell as PayloadCell,
        sync::atomic::{AtomicU32, AtomicU64, Ordering, fence},
        sync::{Condvar, Mutex, MutexGuard},
        thread, thread_local,
    };
    #[cfg(mutirao_shuttle)]
    pub use shuttle::{
        sync::atomic::{AtomicU32, AtomicU64, Ordering, fence},
        sync::{Condvar, Mutex, MutexGuard},
        thread, thread_local,
    };

    /// shuttle has no cell that notices races: a plain one that threads may share.
    #[cfg(mutirao_shuttle)]
    #[derive(Debug)]
    pub struct PayloadCell<T>(std::sync::Mutex<T>);

    #[cfg(mutirao_shuttle)]
    impl<T: Copy> PayloadCell<T> {
        pub fn new(value: T) -> Self {
            Self(std::sync::Mutex::new(value))
        }
        pub fn set(&self, value: T) {
            *self.0.lock().unwrap() = value;
        }
        pub fn get(&self) -> T {
            *self.0.lock().unwrap()
        }
    }
}

/// The order of a named edge: relaxed if the environment says `MUTIRAO_WEAKEN=name` (or `name+other`).
pub fn edge(name: &str, order: Ordering) -> Ordering {
    static WEAKENED: OnceLock<Vec<String>> = OnceLock::new();
    let weakened = WEAKENED.get_or_init(|| {
        let names = std::env::var("MUTIRAO_WEAKEN").unwrap_or_default();
        names.split('+').map(|n| n.trim().to_owned()).filter(|n| !n.is_empty()).collect()
    });
    if weakened.iter().any(|w| w == name) { Ordering::Relaxed } else { order }
}

thread_local! {
    // The checkers run all threads of a model on the thread of the test, so these belong to one test.
    static MARKS: RefCell<BTreeSet<String>> = const { RefCell::new(BTreeSet::new()) };
    static DEATHS: Cell<usize> = const { Cell::new(0) };
    static PLAIN_STORES: Cell<bool> = const { Cell::new(false) };
}

/// Notes that this point was reached. Not a step.
pub fn mark(what: &str) {
    MARKS.with_borrow_mut(|marks| {
        if !marks.contains(what) {
            marks.insert(what.to_owned());
        }
    });
}

/// The points reached since the last call, in this test.
pub fn take_marks() -> BTreeSet<String> {
    MARKS.take()
}

/// The deaths since the last call, in this test.
pub fn take_deaths() -> usize {
    DEATHS.take()
}

/// The payload of the unwind that leaves a dying thread.
struct Died;

base::thread_local! {
    static THREAD: Thread = Thread::default();
}

/// What a thread of the model carries with it.
#[derive(Default)]
struct Thread {
    /// Steps until death; `None`: it does not die.
    left: Cell<Option<u32>>,
    dead: Cell<bool>,
    published: Cell<u32>,
    /// Whether relaxed stores wait in `late`.
    reordered: Cell<bool>,
    late: RefCell<Vec<Late>>,
}

/// A relaxed store that no release has followed yet.
struct Late {
    word: Arc<dyn Stored>,
    value: u64,
}

trait Stored {
    fn put(&self, value: u64);
}

impl Late {
    fn is_of(&self, at: *const ()) -> bool {
        Arc::as_ptr(&self.word).cast::<()>() == at
    }
}

fn apply(late: &[Late]) {
    late.iter().for_each(|l| l.word.put(l.value));
}

/// One step of the current thread. True: the access may take place.
pub(in crate::sync::model) fn step() -> bool {
    let dies = THREAD.with(|t| match t.left.get() {
        _ if t.dead.get() => None,
        Some(0) => {
            t.dead.set(true);
            Some(true)
        }
        left => {
            t.left.set(left.map(|n| n - 1));
            Some(false)
        }
    });
    match dies {
        None => false,
        Some(false) => true,
        Some(true) => resume_unwind(Box::new(Died)),
    }
}

fn releases(order: Ordering) -> bool {
    matches!(order, Ordering::Release | Ordering::AcqRel | Ordering::SeqCst)
}

/// Everything stored before a release or a system call is in memory.
pub(in crate::sync::model) fn flush() {
    apply(&THREAD.with(|t| t.late.take()));
}

/// Runs `f`, which dies before its `k`-th step. `None`: it died. `Some`: it was too short to reach that step.
pub fn mortal<R>(k: u32, f: impl FnOnce() -> R) -> Option<R> {
    run_mortal(k, None, f)
}

/// As [`mortal`]; relaxed stores that no release followed are in memory as `mask` says, one bit each.
pub fn mortal_reordered<R>(k: u32, mask: u32, f: impl FnOnce() -> R) -> Option<R> {
    run_mortal(k, Some(mask), f)
}

fn run_mortal<R>(k: u32, mask: Option<u32>, f: impl FnOnce() -> R) -> Option<R> {
    THREAD.with(|t| {
        t.left.set(Some(k));
        t.reordered.set(mask.is_some());
    });
    let end: Result<R, Box<dyn Any + Send>> = catch_unwind(AssertUnwindSafe(f));
    let died = matches!(&end, Err(e) if e.is::<Died>());
    let late = THREAD.with(|t| {
        t.reordered.set(false);
        t.left.set(None);
        // From here on the harness speaks, as the kernel does after a death.
        t.dead.set(false);
        t.late.take()
    });
    match end {
        Ok(r) => {
            apply(&late);
            Some(r)
        }
        Err(_) if died => {
            DEATHS.set(DEATHS.get() + 1);
            let mask = mask.unwrap_or(0);
            late.iter().enumerate().filter(|(i, _)| mask >> (i % 32) & 1 == 1).for_each(|(_, l)| l.word.put(l.value));
            None
        }
        Err(e) => resume_unwind(e),
    }
}

macro_rules! atomic {
    ($name:ident, $word:ident, $base:ident, $int:ty) => {
        struct $word {
            real: base::$base,
            /// Stored to before each load, never read.
            shadow: base::AtomicU32,
        }

        impl Stored for $word {
            fn put(&self, value: u64) {
                self.real.store(value as $int, Ordering::Relaxed);
            }
        }

        /// The checked counterpart of core's.
        pub struct $name(Arc<$word>);

        impl $name {
            /// A word of this value.
            pub fn new(value: $int) -> Self {
                Self(Arc::new($word { real: base::$base::new(value), shadow: base::AtomicU32::new(0) }))
            }

            fn at(&self) -> *const () {
                Arc::as_ptr(&self.0).cast()
            }

            /// A load as loom has to see it.
            pub(in crate::sync::model) fn look(&self, order: Ordering) -> $int {
                if cfg!(not(mutirao_shuttle)) {
                    self.0.shadow.store(0, Ordering::Relaxed);
                }
                self.0.real.load(order)
            }

            /// This thread's own store to the word that still waits.
            fn own(&self) -> Option<u64> {
                THREAD.with(|t| t.late.borrow().iter().find(|l| l.is_of(self.at())).map(|l| l.value))
            }

            /// Before a read-modify-write: all earlier stores if it releases, else those to this word.
            fn settle(&self, order: Ordering) {
                if releases(order) {
                    return flush();
                }
                let own = THREAD.with(|t| {
                    let mut late = t.late.borrow_mut();
                    let i = late.iter().position(|l| l.is_of(self.at()));
                    i.map(|i| late.remove(i))
                });
                apply(own.as_slice());
            }

            /// As core's.
            pub fn load(&self, order: Ordering) -> $int {
                if !step() {
                    return 0;
                }
                self.own().map_or_else(|| self.look(order), |value| value as $int)
            }

            /// As core's.
            pub fn store(&self, value: $int, order: Ordering) {
                if !step() {
                    return;
                }
                if releases(order) {
                    flush();
                } else if THREAD.with(|t| t.reordered.get()) {
                    let word: Arc<dyn Stored> = self.0.clone();
                    return THREAD.with(|t| {
                        let mut late = t.late.borrow_mut();
                        late.retain(|l| !l.is_of(self.at()));
                        late.push(Late { word, value: value.into() });
                    });
                }
                self.0.real.store(value, order);
            }

            atomic!(@rmw swap $int);
            atomic!(@rmw fetch_add $int);
            atomic!(@rmw fetch_sub $int);
            atomic!(@rmw fetch_or $int);
            atomic!(@rmw fetch_and $int);

            /// As core's.
            pub fn compare_exchange(&self, old: $int, new: $int, ok: Ordering, err: Ordering) -> Result<$int, $int> {
                if !step() {
                    return Ok(old);
                }
                self.settle(ok);
                self.0.real.compare_exchange(old, new, ok, err)
            }
        }
    };
    (@rmw $rmw:ident $int:ty) => {
        /// As core's.
        pub fn $rmw(&self, value: $int, order: Ordering) -> $int {
            if !step() {
                return 0;
            }
            self.settle(order);
            self.0.real.$rmw(value, order)
        }
    };
}

atomic!(AtomicU32, Word32, AtomicU32, u32);
atomic!(AtomicU64, Word64, AtomicU64, u64);

/// As core's; relaxed if the edge was weakened.
pub fn fence(order: Ordering) {
    if step() {
        if releases(order) {
            flush();
        }
        if order != Ordering::Relaxed {
            base::fence(order);
        }
    }
}

/// The publisher's side of a store-load pair: in the model always a fence.
pub fn light_fence(_life: &impl Liveness, order: Ordering) {
    fence(order);
}

/// The sleeper's side of a store-load pair: in the model always a fence.
pub fn heavy_fence(order: Ordering) {
    fence(order);
}

/// A fence right behind a read-modify-write: in the model always a fence.
pub fn exchange_fence(order: Ordering) {
    fence(order);
}

/// A plain store to a word that others exchange: a swap, because loom 0.7.2 raises a false alarm.
///
/// An exchange must stand right behind what it read, so the store comes after both; loom leaves exchange and store
/// unordered, and a later load may see the exchange's value as the last. What a swap has more than a store
/// is the release sequence of the word's earlier values, which nobody may rely on.
pub fn publish_store(word: &AtomicU64, value: u64, order: Ordering) {
    if PLAIN_STORES.get() {
        word.store(value, order);
    } else {
        word.swap(value, order);
    }
    // Death comes before a step, so this one took place.
    THREAD.with(|t| t.published.set(t.published.get() + u32::from(!t.dead.get())));
}

/// How many times this thread got through [`publish_store`]: exact, also when it died right after.
pub fn publications() -> u32 {
    THREAD.with(|t| t.published.get())
}

/// Whether [`publish_store`] stores in this test: right where no word is both stored to and exchanged.
pub fn use_plain_stores(yes: bool) {
    PLAIN_STORES.set(yes);
}

/// Models do not spin.
pub fn spin_hint() {}

/// What a ticket permits to touch: loom notices two accesses that nothing orders. Not a step.
pub struct Payload(base::PayloadCell<u64>);

impl Payload {
    /// A payload of this value.
    pub fn new(value: u64) -> Self {
        Self(base::PayloadCell::new(value))
    }

    /// Writes it, as the only one.
    pub fn set(&self, value: u64) {
        if THREAD.with(|t| !t.dead.get()) {
            self.0.set(value);
        }
    }

    /// Reads it while nobody writes.
    pub fn get(&self) -> u64 {
        if THREAD.with(|t| t.dead.get()) { 0 } else { self.0.get() }
    }
}
