//! Threads of ours in processes of others: small, and no signal is handled on them.
//!
//! Unsafe is here because the mask of signals has no safe form.
#![allow(unsafe_code)]

use core::mem::MaybeUninit;
use std::io;
use std::thread::Builder;

const STACK_BYTES: usize = 128 << 10;

/// Starts a thread that no signal of the process ever reaches: it begins with all of them blocked.
pub(crate) fn start(name: &str, run: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let (mut all, mut before) = (MaybeUninit::<libc::sigset_t>::uninit(), MaybeUninit::<libc::sigset_t>::uninit());
    // SAFETY: the memory is there to be initialised.
    unsafe { libc::sigfillset(all.as_mut_ptr()) };
    // SAFETY: the new mask was initialised, and the old one goes where there is memory for it.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), before.as_mut_ptr()) };
    let started = Builder::new().name(name.into()).stack_size(STACK_BYTES).spawn(run);
    // SAFETY: the call above, which can not fail with these arguments, has written the mask.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, before.as_ptr(), core::ptr::null_mut()) };
    started.map(drop)
}
