//! Shared memory that another library made: opened by its POSIX name or taken as a descriptor, looked at, reserved.

use crate::error::{Error, Kind, Result};
use crate::sys::backing;
use rustix::fs::{self, Mode, OFlags};
use rustix::io::Errno;
use std::os::fd::{AsFd, OwnedFd};

/// Where the system keeps POSIX shared memory (shm_open(3)).
const SHM: &str = "/dev/shm/";
/// The longest name of a file.
const NAME_MAX: usize = 255;

/// Opens the shared memory of that name, with or without the slash that POSIX asks for.
pub(crate) fn open(name: &str) -> Result<OwnedFd> {
    let bare = name.strip_prefix('/').unwrap_or(name);
    let wrong = if bare.is_empty() || bare == "." || bare == ".." {
        Some("it names no file")
    } else if bare.contains(['/', '\0']) {
        Some("it has a slash inside, or a zero byte")
    } else if bare.len() > NAME_MAX {
        Some("it is longer than 255 bytes")
    } else {
        None
    };
    if let Some(why) = wrong {
        return Err(Error::invalid(format!("shared memory of the name {name:?}"), why));
    }
    // Without NONBLOCK a FIFO or a device in the way could hold the call up.
    let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    fs::open(format!("{SHM}{bare}"), flags, Mode::empty()).map_err(|e| refusal(bare, e))
}

fn refusal(name: &str, errno: Errno) -> Error {
    let what = format!("shared memory {name:?}").into();
    match errno {
        Errno::NOENT => {
            Kind::NotFound { what, advice: "its maker may have removed it, or not made it yet".into() }.into()
        }
        Errno::ACCESS | Errno::PERM => {
            Kind::Denied { what, why: "its mode lets others read it or nobody".into() }.into()
        }
        Errno::LOOP => Error::invalid(what, "a symbolic link is in the way"),
        Errno::ISDIR | Errno::NXIO => Error::invalid(what, "something other than a file is in the way"),
        errno => Error::io(format!("opening {what}"), errno),
    }
}

/// The length of the memory behind `fd`, all of it reserved, so that touching it can not fail for want of memory.
pub(crate) fn reserved_len(fd: &OwnedFd) -> Result<u64> {
    let facts = backing::facts(fd.as_fd())?;
    if !facts.is_regular {
        return Err(Error::invalid("mapping foreign memory", "the descriptor is not a regular file's"));
    }
    if facts.len == 0 {
        return Err(Kind::WouldBlock { what: "mapping memory whose maker has given it no size yet" }.into());
    }
    if facts.committed < facts.len {
        backing::reserve(fd.as_fd(), core::slice::from_ref(&(0..facts.len)), None)?;
    }
    Ok(facts.len)
}
