//! Running this executable again.
//!
//! By `posix_spawn`, which borrows the parent's memory until the exec instead of copying its page tables: it costs the
//! same for a parent of a gigabyte as for a small one, and no code of ours runs between fork and exec.
//!
//! Unsafe is here because the interface is C's.
#![allow(unsafe_code)]

use core::ffi::{CStr, c_char, c_int, c_short};
use core::mem::MaybeUninit;
use core::ptr;
use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use crate::sys::process::Child;

/// What a program is run with.
pub(crate) struct Program<'a> {
    /// Its arguments, the first of them its name.
    pub(crate) args: &'a [CString],
    /// Its environment, as `NAME=value`.
    pub(crate) environment: &'a [CString],
    pub(crate) directory: Option<&'a CStr>,
    /// Its standard streams where they are not ours. Their numbers are above 2.
    pub(crate) streams: &'a [Option<OwnedFd>; 3],
    /// Found by the child under the number that it has here; nobody else inherits it. The number is above 2.
    pub(crate) socket: BorrowedFd<'a>,
}

impl Program<'_> {
    /// Runs this executable again. By its path in `/proc` it is found also after it was renamed, replaced or deleted.
    pub(crate) fn run_again(&self) -> io::Result<Child> {
        let (mut actions, attributes) = (Actions::new()?, Attributes::new()?);
        for (number, stream) in (0..).zip(self.streams) {
            if let Some(stream) = stream {
                actions.duplicate(stream.as_raw_fd(), number)?;
            }
        }
        // Onto itself: the flag that closes it on exec is taken off, in the child alone.
        actions.duplicate(self.socket.as_raw_fd(), self.socket.as_raw_fd())?;
        if let Some(directory) = self.directory {
            actions.enter(directory)?;
        }
        let pointers = |strings: &[CString]| -> Vec<*mut c_char> {
            strings.iter().map(|string| string.as_ptr().cast_mut()).chain([ptr::null_mut()]).collect()
        };
        let (args, environment) = (pointers(self.args), pointers(self.environment));
        let mut pid = 0;
        let path = c"/proc/self/exe";
        // SAFETY: 1. all strings end in NUL and both lists in a null pointer, and they live until the call returns;
        //         2. actions and attributes were initialised; 3. the call writes to none of what it reads.
        let result = unsafe {
            libc::posix_spawn(
                &mut pid,
                path.as_ptr(),
                actions.0.as_ptr(),
                attributes.0.as_ptr(),
                args.as_ptr(),
                environment.as_ptr(),
            )
        };
        check(result)?;
        let pid = pid.unsigned_abs();
        // Until we wait for it, the number is its own.
        Child::of_number(pid)
    }
}

/// These functions return the error.
fn check(error: c_int) -> io::Result<()> {
    if error == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(error)) }
}

/// What is done to descriptors before the exec.
struct Actions(Box<MaybeUninit<libc::posix_spawn_file_actions_t>>);

impl Actions {
    fn new() -> io::Result<Self> {
        let mut actions = Box::new(MaybeUninit::uninit());
        // SAFETY: the memory is there to be initialised.
        check(unsafe { libc::posix_spawn_file_actions_init(actions.as_mut_ptr()) })?;
        Ok(Self(actions))
    }

    fn duplicate(&mut self, from: c_int, to: c_int) -> io::Result<()> {
        // SAFETY: initialised by `new`.
        check(unsafe { libc::posix_spawn_file_actions_adddup2(self.0.as_mut_ptr(), from, to) })
    }

    fn enter(&mut self, directory: &CStr) -> io::Result<()> {
        // SAFETY: 1. initialised by `new`; 2. the path is copied.
        check(unsafe { libc::posix_spawn_file_actions_addchdir_np(self.0.as_mut_ptr(), directory.as_ptr()) })
    }
}

impl Drop for Actions {
    fn drop(&mut self) {
        // SAFETY: initialised by `new`, and not used again.
        unsafe { libc::posix_spawn_file_actions_destroy(self.0.as_mut_ptr()) };
    }
}

/// What else the child begins with: no signal blocked, whatever the spawning thread blocks, and SIGPIPE as usual, which
/// Rust programs ignore.
struct Attributes(Box<MaybeUninit<libc::posix_spawnattr_t>>);

impl Attributes {
    fn new() -> io::Result<Self> {
        let mut attributes = Box::new(MaybeUninit::uninit());
        // SAFETY: the memory is there to be initialised.
        check(unsafe { libc::posix_spawnattr_init(attributes.as_mut_ptr()) })?;
        let mut attributes = Self(attributes);
        let at = attributes.0.as_mut_ptr();
        let mut set = MaybeUninit::<libc::sigset_t>::uninit();
        // SAFETY: the memory is there to be initialised.
        unsafe { libc::sigemptyset(set.as_mut_ptr()) };
        // SAFETY: both were initialised above.
        check(unsafe { libc::posix_spawnattr_setsigmask(at, set.as_ptr()) })?;
        // SAFETY: initialised above; SIGPIPE is a signal.
        unsafe { libc::sigaddset(set.as_mut_ptr(), libc::SIGPIPE) };
        // SAFETY: both were initialised above.
        check(unsafe { libc::posix_spawnattr_setsigdefault(at, set.as_ptr()) })?;
        let flags = (libc::POSIX_SPAWN_SETSIGMASK | libc::POSIX_SPAWN_SETSIGDEF) as c_short;
        // SAFETY: initialised above.
        check(unsafe { libc::posix_spawnattr_setflags(at, flags) })?;
        Ok(attributes)
    }
}

impl Drop for Attributes {
    fn drop(&mut self) {
        // SAFETY: initialised by `new`, and not used again.
        unsafe { libc::posix_spawnattr_destroy(self.0.as_mut_ptr()) };
    }
}
