//! The file behind a segment: made, reserved, sealed, opened again, measured.
//!
//! An anonymous segment is a memfd. Memory is reserved by `fallocate` before anybody touches it, so
//! that too little of it is an error with two numbers and not a SIGBUS, and the file is sealed against
//! shrinking, so that no neighbour can take the memory away (memfd_create(2), fcntl(2) "File sealing").

use crate::error::{Error, Kind, Result};
use crate::sys::fork::PerProcess;
use crate::sys::mapping::{LARGE, Mapping};
use core::ops::Range;
use rustix::fs::{self, FallocateFlags, MemfdFlags, Mode, OFlags, SealFlags};
use rustix::io::{Errno, retry_on_intr};
use rustix::process::Resource;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// Which file a descriptor leads to.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct FileId {
    device: u64,
    inode: u64,
}

impl FileId {
    /// The file system that it is in.
    pub(crate) const fn device(self) -> u64 {
        self.device
    }
}

/// What `fstat` and the seals say of a descriptor, before anything is mapped.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Facts {
    pub id: FileId,
    pub len: u64,
    pub is_regular: bool,
    pub mode: u32,
    pub owner: u32,
    pub group: u32,
    /// Sealed against shrinking and against further sealing.
    pub is_sealed: bool,
    /// No new writable mapping may be made.
    pub is_write_sealed: bool,
    /// Memory that the file occupies.
    pub committed: u64,
}

/// The limit of the memory cgroup that a container sees as its own.
const GROUP_MAX: &str = "/sys/fs/cgroup/memory.max";

const SEALS: SealFlags = SealFlags::SHRINK.union(SealFlags::SEAL);

/// A new memfd, mode 0600, filled as [`fill`] does and sealed.
pub(crate) fn create_sealed(ranges: &[Range<u64>], head: &[u8], has_large: bool) -> Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let fd = fs::memfd_create("mutirao", flags | MemfdFlags::NOEXEC_SEAL)
        .or_else(|_| fs::memfd_create("mutirao", flags)) // kernels before 6.3
        .map_err(|e| Error::io("making a memfd", e))?;
    fs::fchmod(&fd, Mode::RUSR | Mode::WUSR).map_err(|e| Error::io("setting the mode of a memfd", e))?;
    fill(fd.as_fd(), ranges, head, has_large)?;
    fs::fcntl_add_seals(&fd, SEALS).map_err(|e| Error::io("sealing the segment", e))?;
    Ok(fd)
}

/// Reserves these ranges of an empty file, zero but for its first bytes, `head`. It ends where the last of them ends. With
/// large pages, where it `has_large` ones and whole ones are reserved.
pub(crate) fn fill(fd: BorrowedFd<'_>, ranges: &[Range<u64>], head: &[u8], has_large: bool) -> Result<()> {
    let end = ranges.iter().map(|range| range.end).max().unwrap_or(0);
    // A hint: what can not be mapped here is reserved all the same.
    let mapping = if has_large && end >= LARGE { Mapping::new(fd, end).ok() } else { None };
    reserve(fd, ranges, mapping.as_ref())?;
    match retry_on_intr(|| rustix::io::pwrite(fd, head, 0)) {
        Ok(n) if n == head.len() => Ok(()),
        // Its memory is reserved, so nothing can be short.
        Ok(_) => Err(Error::io("writing the segment's header", std::io::ErrorKind::WriteZero)),
        Err(e) => Err(Error::io("writing the segment's header", e)),
    }
}

/// Whether files of this owner are our own, or the superuser's, who may do anything to us anyway.
pub(crate) fn is_user(owner: u32) -> bool {
    owner == 0 || owner == rustix::process::geteuid().as_raw()
}

/// Whether this process is in the group.
pub(crate) fn is_in_group(group: u32) -> bool {
    group == rustix::process::getegid().as_raw()
        || rustix::process::getgroups().is_ok_and(|groups| groups.iter().any(|g| g.as_raw() == group))
}

/// Reserves memory for these ranges of the file, which may be reserved already, and makes it longer where they
/// end behind its end. In large pages, if a mapping of the file is given that has some, whose ranges nobody uses yet.
pub(crate) fn reserve(fd: BorrowedFd<'_>, ranges: &[Range<u64>], mapping: Option<&Mapping>) -> Result<()> {
    let needed = ranges.iter().map(|range| range.end.saturating_sub(range.start)).fold(0, u64::saturating_add);
    let available = if is_surely_there(needed) { u64::MAX } else { available_memory() };
    let no_memory = |available| Kind::OutOfMemory {
        what: "the segment".into(),
        needed,
        available,
        advice: "ask for less, or free memory first",
    };
    // Without this look, reserving more than the machine has would end in the OOM killer.
    if needed > available {
        return Err(no_memory(available).into());
    }
    // Beyond this limit the kernel sends a signal that ends the process.
    let limit = rustix::process::getrlimit(Resource::Fsize).current.unwrap_or(u64::MAX);
    if ranges.iter().any(|range| !range.is_empty() && range.end > limit) {
        return Err(no_memory(limit).into());
    }
    // Large pages are taken one by one, and are not given back if the last ones are not to be had.
    let free = free_in_file_system(fd);
    for range in ranges.iter().filter(|range| !range.is_empty()) {
        if let Some(mapping) = mapping.filter(|_| needed <= free) {
            mapping.make_large(fd, range);
        }
        match fs::fallocate(fd, FallocateFlags::empty(), range.start, range.end - range.start) {
            Ok(()) => {}
            Err(Errno::NOSPC | Errno::NOMEM | Errno::FBIG | Errno::INVAL) => {
                return Err(no_memory(available_memory().min(free)).into());
            }
            Err(e) => return Err(Error::io("reserving the segment's memory", e)),
        }
    }
    Ok(())
}

/// Bytes of the file behind `fd`.
pub(crate) fn len(fd: BorrowedFd<'_>) -> Result<u64> {
    let stat = fs::fstat(fd).map_err(|e| Error::io("looking at a descriptor", e))?;
    Ok(u64::try_from(stat.st_size).unwrap_or(0))
}

/// What is known of the file behind `fd`.
pub(crate) fn facts(fd: BorrowedFd<'_>) -> Result<Facts> {
    let seals = fs::fcntl_get_seals(fd).unwrap_or(SealFlags::empty());
    Ok(Facts {
        is_sealed: seals.contains(SEALS),
        is_write_sealed: seals.intersects(SealFlags::WRITE | SealFlags::FUTURE_WRITE),
        ..facts_of_named(fd)?
    })
}

/// The same of a file that was opened by its name, which can have no seals.
pub(crate) fn facts_of_named(fd: BorrowedFd<'_>) -> Result<Facts> {
    let stat = fs::fstat(fd).map_err(|e| Error::io("looking at a descriptor", e))?;
    Ok(Facts {
        id: id_of(&stat),
        len: u64::try_from(stat.st_size).unwrap_or(0),
        is_regular: fs::FileType::from_raw_mode(stat.st_mode).is_file(),
        mode: stat.st_mode & 0o7777,
        owner: stat.st_uid,
        group: stat.st_gid,
        is_sealed: false,
        is_write_sealed: false,
        committed: u64::try_from(stat.st_blocks).unwrap_or(0).saturating_mul(512),
    })
}

/// Which file a descriptor leads to.
pub(crate) fn file_id(fd: BorrowedFd<'_>) -> Result<FileId> {
    fs::fstat(fd).map(|stat| id_of(&stat)).map_err(|e| Error::io("looking at a descriptor", e))
}

/// Which file this is about.
pub(crate) fn id_of(stat: &fs::Stat) -> FileId {
    FileId { device: stat.st_dev, inode: stat.st_ino }
}

/// `bytes.len()` bytes of the file at `offset`, read without mapping it.
pub(crate) fn read_at(fd: BorrowedFd<'_>, bytes: &mut [u8], offset: u64) -> Result<()> {
    let mut done = 0;
    // Bounded: each round reads at least one byte or leaves.
    while let Some(rest) = bytes.get_mut(done..).filter(|r| !r.is_empty()) {
        match rustix::io::pread(fd, rest, offset + done as u64) {
            Ok(0) => return Err(Kind::NotASegment { why: "it is shorter than a header".into() }.into()),
            Ok(n) => done += n,
            Err(Errno::INTR) => {}
            Err(e) => return Err(Error::io("reading a segment's header", e)),
        }
    }
    Ok(())
}

/// A description of this process's own for the file behind `fd`.
///
/// Locks belong to open file descriptions, and a description that came from somebody else is shared with
/// them: each would prove the other alive, or dead.
pub(crate) fn open_own(fd: BorrowedFd<'_>) -> Result<OwnedFd> {
    let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
    match fs::open(path, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()) {
        Ok(own) => {
            if file_id(own.as_fd())? != file_id(fd)? {
                return Err(Kind::NoProc { source: Errno::BADF.into() }.into());
            }
            Ok(own)
        }
        Err(e @ (Errno::NOENT | Errno::NOTDIR)) => Err(Kind::NoProc { source: e.into() }.into()),
        Err(e) => Err(Error::io("opening a description of our own for a segment", e)),
    }
}

/// What the file system that `fd` is in has left, in bytes; where it has no limit of its own, no limit.
fn free_in_file_system(fd: BorrowedFd<'_>) -> u64 {
    match fs::fstatvfs(fd) {
        Ok(stat) if stat.f_blocks > 0 => stat.f_bavail.saturating_mul(stat.f_frsize),
        _ => u64::MAX,
    }
}

/// Whether so much memory is free outright, by one cheap question. Where a memory cgroup has a limit, it never is.
fn is_surely_there(needed: u64) -> bool {
    /// What the machine keeps for itself, and others may take meanwhile.
    const SPARE: u64 = 64 << 20;
    static UNLIMITED: PerProcess<bool> = PerProcess::new();
    let unlimited = || match std::fs::read_to_string(GROUP_MAX) {
        Ok(text) => text.trim() == "max",
        Err(error) => error.kind() == std::io::ErrorKind::NotFound,
    };
    let info = rustix::system::sysinfo();
    let free = (info.freeram as u64).saturating_mul(u64::from(info.mem_unit));
    needed.saturating_add(SPARE) <= free && UNLIMITED.get_or_init(unlimited).is_ok_and(|(_, unlimited)| *unlimited)
}

/// Memory that can be reserved, in bytes: what the kernel calls available (proc_meminfo(5)), within what
/// the memory cgroup leaves.
fn available_memory() -> u64 {
    let field = |text: &str| -> Option<u64> {
        let line = text.lines().find(|l| l.starts_with("MemAvailable:"))?;
        line.split_ascii_whitespace().nth(1)?.parse::<u64>().ok()?.checked_mul(1024)
    };
    let machine = std::fs::read_to_string("/proc/meminfo").ok().as_deref().and_then(field);
    let number = |path: &str| std::fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
    let group = number(GROUP_MAX).map(|max| max.saturating_sub(number("/sys/fs/cgroup/memory.current").unwrap_or(0)));
    match (machine, group) {
        (Some(m), Some(g)) => m.min(g),
        (Some(m), None) => m,
        // Nothing is known: the address space is the limit, and fallocate has the last word.
        (None, g) => g.unwrap_or(1 << 46),
    }
}
