//! What must not survive a `fork`: a page that the kernel wipes in the child, and state that is made
//! anew there.
//!
//! `MADV_WIPEONFORK` (madvise(2)) turns the page to zeros in a child that was forked without exec. One
//! relaxed load then tells a handle that it was inherited; no `pthread_atfork` handler, which raw clones
//! would pass by, and no `getpid` on the fast path.
#![allow(unsafe_code)] // a private page of our own, and memory that is leaked on purpose

use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicPtr, AtomicU64, Ordering};
use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous};
use std::io;

/// A word that is 1 in the process that made it and 0 in every process forked from it.
#[derive(Clone, Copy)]
pub(crate) struct ForkWord(NonNull<AtomicU64>);

// SAFETY: the word is an atomic in memory that is never unmapped.
unsafe impl Send for ForkWord {}
// SAFETY: as above; all accesses are atomic.
unsafe impl Sync for ForkWord {}

impl ForkWord {
    fn new() -> io::Result<Self> {
        let page = 4096;
        // SAFETY: the kernel chooses the address, so nothing of ours is replaced.
        let at =
            unsafe { mmap_anonymous(ptr::null_mut(), page, ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE) }?;
        // SAFETY: the page was mapped on the line before and nobody else knows it.
        unsafe { madvise(at, page, Advice::LinuxWipeOnFork) }?;
        let word = Self(NonNull::new(at.cast()).ok_or(io::ErrorKind::AddrNotAvailable)?);
        word.word().store(1, Ordering::Relaxed);
        Ok(word)
    }

    #[inline]
    fn word(&self) -> &AtomicU64 {
        // SAFETY: 1. the page is mapped for the life of the process and aligned; 2. only atomics touch it.
        unsafe { self.0.as_ref() }
    }

    /// Whether this is the process that made the word.
    #[inline]
    pub(crate) fn is_ours(&self) -> bool {
        self.word().load(Ordering::Relaxed) != 0
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

    fn ours(at: *mut (ForkWord, T)) -> Option<(ForkWord, &'static T)> {
        // SAFETY: a pointer that was stored is from Box::into_raw and never freed.
        let (word, value) = unsafe { at.as_ref() }?;
        word.is_ours().then_some((*word, value))
    }
}
