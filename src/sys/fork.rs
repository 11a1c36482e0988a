//! What must not survive a `fork`: a page that the kernel wipes in the child, state that is made anew
//! there, and descriptions that are the parent's proof of life.
//!
//! `MADV_WIPEONFORK` (madvise(2)) turns the page to zeros in a child that was forked without exec. One
//! relaxed load then tells a handle that it was inherited; no `pthread_atfork` handler, which raw clones
//! would pass by, and no `getpid` on the fast path.
//!
//! A child that keeps its parent's description keeps its parent's lock: the parent would not be found dead while
//! the child lives. So a `pthread_atfork` handler lets go of it in the child. A raw clone without exec passes that
//! by, and then its parent is taken for alive until both are gone: doubt means alive.
#![allow(unsafe_code)] // a private page of our own, memory that is leaked on purpose, what a handler may do

use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicPtr, AtomicU64, Ordering};
use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::{Mutex, Once};

/// A word that is 1 in the process that made it and 0 in every process forked from it.
#[derive(Clone, Copy)]
pub(crate) struct ForkWord(NonNull<AtomicU64>);

// SAFETY: the word is an atomic in memory that is never unmapped.
unsafe impl Send for ForkWord {}
// SAFETY: as above; all accesses are atomic.
unsafe impl Sync for ForkWord {}

/// A page of words, each of which is one value's. How many were taken stands elsewhere and is not wiped: a forked child takes
/// others than its parent, whose words stay zero in it.
struct Words {
    first: NonNull<AtomicU64>,
    taken: AtomicU64,
}

impl Words {
    const COUNT: usize = 512;

    fn new() -> io::Result<Self> {
        let page = Self::COUNT * size_of::<AtomicU64>();
        // SAFETY: the kernel chooses the address, so nothing of ours is replaced.
        let at =
            unsafe { mmap_anonymous(ptr::null_mut(), page, ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE) }?;
        // SAFETY: the page was mapped on the line before and nobody else knows it.
        unsafe { madvise(at, page, Advice::LinuxWipeOnFork) }?;
        let first = NonNull::new(at.cast()).ok_or(io::ErrorKind::AddrNotAvailable)?;
        Ok(Self { first, taken: AtomicU64::new(0) })
    }

    /// A word that nobody had yet, if one is left.
    fn take(&self) -> Option<ForkWord> {
        let at = usize::try_from(self.taken.fetch_add(1, Ordering::Relaxed)).ok().filter(|at| *at < Self::COUNT)?;
        // SAFETY: there are so many words behind the first, in one mapping that is never undone.
        let word = ForkWord(unsafe { self.first.add(at) });
        word.word().store(1, Ordering::Relaxed);
        Some(word)
    }
}

impl ForkWord {
    /// Two system calls and a page for the first in each process; nearly nothing for the next 511.
    fn new() -> io::Result<Self> {
        static PAGE: AtomicPtr<Words> = AtomicPtr::new(ptr::null_mut());
        let page = PAGE.load(Ordering::Acquire);
        // SAFETY: what was stored is from Box::into_raw and never freed; a forked child has a copy.
        if let Some(word) = unsafe { page.as_ref() }.and_then(Words::take) {
            return Ok(word);
        }
        let new = Words::new()?;
        let word = new.take().ok_or(io::ErrorKind::AddrNotAvailable)?;
        let new = Box::into_raw(Box::new(new));
        // Whoever is second keeps its page for this one word. No lock: one that is held at a fork is held for ever.
        if PAGE.compare_exchange(page, new, Ordering::Release, Ordering::Relaxed).is_err() {
            // SAFETY: it came from Box::into_raw above and was never shared.
            drop(unsafe { Box::from_raw(new) });
        }
        Ok(word)
    }

    #[inline]
    fn word(&self) -> &AtomicU64 {
        // SAFETY: 1. the page is mapped for the life of the process and aligned; 2. only atomics touch it.
        unsafe { self.0.as_ref() }
    }

    /// A word for this process, one for all who ask here.
    pub(crate) fn of_this_process() -> io::Result<Self> {
        static WORD: PerProcess<()> = PerProcess::new();
        WORD.get_or_init(|| ()).map(|(word, ())| word)
    }

    /// Whether this is the process that made the word.
    #[inline]
    pub(crate) fn is_ours(&self) -> bool {
        self.word().load(Ordering::Relaxed) != 0
    }
}

/// A number that is 0 in every process forked from the one that made it. Its word serves another when it is dropped.
pub(crate) struct OwnNumber(ForkWord);

/// Words that were given back in this process. A forked child begins with none.
static FREE: PerProcess<Mutex<Vec<ForkWord>>> = PerProcess::new();

impl OwnNumber {
    pub(crate) fn new(number: u64) -> io::Result<Self> {
        // Not waited for: another page costs little, a thread that stands still in the middle of this much.
        let free = FREE.get().and_then(|free| free.try_lock().ok()?.pop());
        let word = free.map_or_else(ForkWord::new, Ok)?;
        word.word().store(number, Ordering::Relaxed);
        Ok(Self(word))
    }

    #[inline(always)]
    pub(crate) fn get(&self) -> u64 {
        self.0.word().load(Ordering::Relaxed)
    }
}

impl Drop for OwnNumber {
    fn drop(&mut self) {
        if let Ok((_, free)) = FREE.get_or_init(Mutex::default)
            && let Ok(mut free) = free.try_lock()
        {
            free.push(self.0);
        }
    }
}

/// One value for each process: a forked child makes its own, and never touches its parent's, whose locks
/// may be held by threads that do not exist in the child.
pub(crate) struct PerProcess<T: 'static> {
    state: AtomicPtr<(ForkWord, T)>,
}

impl<T: Send + Sync> PerProcess<T> {
    pub(crate) const fn new() -> Self {
        Self { state: AtomicPtr::new(ptr::null_mut()) }
    }

    /// The value of this process and its fork word; made by `make` at the first call.
    pub(crate) fn get_or_init(&self, make: impl Fn() -> T) -> io::Result<(ForkWord, &'static T)> {
        let old = self.state.load(Ordering::Acquire);
        if let Some(found) = Self::ours(old) {
            return Ok(found);
        }
        let new = Box::into_raw(Box::new((ForkWord::new()?, make())));
        let winner = match self.state.compare_exchange(old, new, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => new, // what a parent left is leaked: its locks may be held
            Err(winner) => {
                // SAFETY: `new` came from Box::into_raw above and was never shared.
                drop(unsafe { Box::from_raw(new) });
                winner
            }
        };
        Self::ours(winner).ok_or_else(|| io::Error::other("a fork happened during the first use"))
    }

    /// The value of this process, if it was made.
    pub(crate) fn get(&self) -> Option<&'static T> {
        Self::ours(self.state.load(Ordering::Acquire)).map(|(_, value)| value)
    }

    fn ours(at: *mut (ForkWord, T)) -> Option<(ForkWord, &'static T)> {
        // SAFETY: a pointer that was stored is from Box::into_raw and never freed.
        let (word, value) = unsafe { at.as_ref() }?;
        word.is_ours().then_some((*word, value))
    }
}

/// Descriptors of which a forked child must not keep the description: `own << 32 | stand-in`, each plus one.
/// 0: none. A process with more of them has some that a forked child keeps.
static KEPT_APART: [AtomicU64; 1024] = [const { AtomicU64::new(0) }; 1024];

/// While it lives, a child that is forked gets the description of the stand-in under the number of the other.
pub(crate) struct KeptApart {
    at: Option<(&'static AtomicU64, u64)>,
}

impl KeptApart {
    /// Both must stay open for as long as the result lives.
    pub(crate) fn new(own: BorrowedFd<'_>, stand_in: BorrowedFd<'_>) -> Self {
        static HANDLER: Once = Once::new();
        HANDLER.call_once(|| {
            // SAFETY: the handler does only what is allowed between fork and exec: see there.
            unsafe { libc::pthread_atfork(None, None, Some(let_go_in_the_child)) };
        });
        let number = |fd: BorrowedFd<'_>| u64::from(fd.as_raw_fd().unsigned_abs()) + 1;
        let pair = number(own) << 32 | number(stand_in);
        // Release: the handler may run on a thread that forks from here on; what it reads is this word alone.
        let free = |slot: &&AtomicU64| slot.compare_exchange(0, pair, Ordering::Release, Ordering::Relaxed).is_ok();
        Self { at: KEPT_APART.iter().find(free).map(|slot| (slot, pair)) }
    }
}

impl Drop for KeptApart {
    fn drop(&mut self) {
        if let Some((slot, pair)) = self.at {
            // Fails in a forked child, whose handler has taken it out.
            let _ = slot.compare_exchange(pair, 0, Ordering::Release, Ordering::Relaxed);
        }
    }
}

/// Runs in a forked child, before `fork` returns there. Loads, stores and `dup3` only: all of that is safe there,
/// whatever locks other threads of the parent held. The numbers stay open, so whoever owns them may close them.
pub(crate) extern "C" fn let_go_in_the_child() {
    for slot in &KEPT_APART {
        let pair = slot.swap(0, Ordering::Relaxed);
        if let (Ok(own @ 1..), Ok(stand_in @ 1..)) = (i32::try_from(pair >> 32), i32::try_from(pair & 0xffff_ffff)) {
            // SAFETY: both are open: they were at the fork.
            unsafe { libc::dup3(stand_in - 1, own - 1, libc::O_CLOEXEC) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::OwnNumber;
    use std::collections::BTreeSet;

    #[test]
    fn numbers_that_are_dropped_leave_their_words_to_others() {
        let words = (0..5000).map(|n| {
            let number = OwnNumber::new(n).unwrap();
            assert_eq!(number.get(), n);
            number.0.0.addr()
        });
        // Other tests may have made the one or other.
        assert!(words.collect::<BTreeSet<_>>().len() < 100);
        let both = [OwnNumber::new(1).unwrap(), OwnNumber::new(2).unwrap()];
        assert_eq!(both.map(|number| number.get()), [1, 2]);
    }
}
