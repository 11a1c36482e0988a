//! Files that have a name: opened, published whole, looked up, taken away.
//!
//! A new file has no name until it is whole: it is made by `O_TMPFILE` and published by `linkat`, which refuses a
//! name that is taken, whatever has it (open(2)). Where a file system or a missing `/proc` does not allow that, it
//! is made under a temporary name and renamed without replacing; the lock that its maker holds on a byte of it tells
//! such a file in the making from one that a dead process left.
#![allow(unsafe_code)] // dup3 onto a descriptor that others borrow

use crate::error::{Error, Kind, Result};
use crate::sys::backing::{self, FileId};
use crate::sys::liveness;
use rustix::fs::{self, AtFlags, CWD, Mode, OFlags, RenameFlags};
use rustix::io::Errno;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

/// What a temporary name starts with. No name that a user chooses starts with a dot.
const TEMPORARY: &str = ".mutirao-";
/// The most temporary files that one look for left ones takes away.
const SWEPT_MAX: usize = 64;

/// What a file is opened for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Access {
    Read,
    Write,
}

/// How a file gets its name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Publication {
    /// By `linkat`, from no name at all.
    Link,
    /// By `renameat2`, from a temporary name.
    Rename,
}

/// A file in the making, which nobody finds under the name that it will have. Its descriptor is kept by the caller.
pub(crate) struct Unpublished {
    /// None: it has no name at all.
    temporary: Option<Temporary>,
    /// Held meanwhile in a file that has a temporary name.
    name_byte: u64,
}

/// A name that goes away with this.
struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = fs::unlink(&self.0);
    }
}

impl Unpublished {
    /// A new empty file in `directory` with these permissions, whatever the umask says, and two descriptions of it.
    pub(crate) fn new(directory: &Path, mode: u32, name_byte: u64) -> Result<(Self, OwnedFd, OwnedFd)> {
        match Self::make(directory, mode, name_byte, Publication::Link) {
            Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::NOENT | Errno::INVAL) => {
                Self::make(directory, mode, name_byte, Publication::Rename)
            }
            made => made,
        }
        .map_err(|e| refusal(directory, "making a segment", e))
    }

    /// As `new`, in one of the two ways.
    pub(crate) fn make(
        directory: &Path,
        mode: u32,
        name_byte: u64,
        how: Publication,
    ) -> Result<(Self, OwnedFd, OwnedFd), Errno> {
        let flags = OFlags::RDWR | OFlags::CLOEXEC;
        let narrow = Mode::RUSR | Mode::WUSR;
        let (temporary, fd, own) = match how {
            Publication::Link => {
                let fd = fs::open(directory, flags | OFlags::TMPFILE, narrow)?;
                // It will be linked from there too.
                let own = fs::open(link_of(fd.as_fd()), flags, Mode::empty())?;
                (None, fd, own)
            }
            Publication::Rename => {
                sweep(directory, name_byte);
                let random = u128::from_be_bytes(liveness::random_16());
                let path = directory.join(format!("{TEMPORARY}{random:032x}"));
                let fd = fs::open(&path, flags | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW, narrow)?;
                let temporary = Temporary(path);
                // From here on it is not taken for a dead one's, unless somebody was quicker.
                if !matches!(liveness::try_lock(fd.as_fd(), name_byte), Ok(true)) {
                    return Err(Errno::AGAIN);
                }
                let own = fs::open(&temporary.0, flags | OFlags::NOFOLLOW, Mode::empty())?;
                (Some(temporary), fd, own)
            }
        };
        fs::fchmod(&fd, Mode::from_raw_mode(mode))?;
        Ok((Self { temporary, name_byte }, fd, own))
    }

    /// Gives the file its name. False: the name is taken.
    pub(crate) fn publish(&mut self, fd: BorrowedFd<'_>, path: &Path) -> Result<bool> {
        let done = match &self.temporary {
            None => fs::linkat(CWD, link_of(fd), CWD, path, AtFlags::SYMLINK_FOLLOW),
            Some(temporary) => fs::renameat_with(CWD, &temporary.0, CWD, path, RenameFlags::NOREPLACE),
        };
        match done {
            Ok(()) => {
                match self.temporary.take() {
                    Some(_) => liveness::unlock(fd, self.name_byte).unwrap_or_default(),
                    None => show_name(fd, path),
                }
                Ok(true)
            }
            Err(Errno::EXIST) => Ok(false),
            Err(e) => Err(refusal(path, "naming a segment", e)),
        }
    }
}

/// Where `/proc` shows the file behind a descriptor.
fn link_of(fd: BorrowedFd<'_>) -> String {
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}

/// Puts a description that was opened by the name behind a descriptor that was opened without: whoever is given
/// that one can find the name, and take it away as the last one.
fn show_name(fd: BorrowedFd<'_>, path: &Path) {
    let Ok(named) = open(path, Access::Write) else { return };
    if backing::file_id(named.as_fd()).ok() == backing::file_id(fd).ok() {
        // SAFETY: both descriptors are open, borrowed for the call. The number stays open without a gap and leads to
        //         the same file as before, so whoever borrows it notices nothing.
        let _ = unsafe { libc::dup3(named.as_raw_fd(), fd.as_raw_fd(), libc::O_CLOEXEC) };
    }
}

/// Takes away temporary files whose makers are dead. What stays does no harm.
fn sweep(directory: &Path, name_byte: u64) {
    let Ok(entries) = std::fs::read_dir(directory) else { return };
    let left = entries.flatten().filter(|entry| entry.file_name().to_string_lossy().starts_with(TEMPORARY));
    for entry in left.take(SWEPT_MAX) {
        if let Ok(fd) = open(&entry.path(), Access::Write)
            && matches!(liveness::try_lock(fd.as_fd(), name_byte), Ok(true))
        {
            let _ = fs::unlink(entry.path());
        }
    }
}

/// A description of this process's own for the file of this name. Follows no link and waits for nobody.
pub(crate) fn open(path: &Path, access: Access) -> Result<OwnedFd> {
    let mode = if access == Access::Write { OFlags::RDWR } else { OFlags::RDONLY };
    let flags = OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    fs::open(path, mode | flags, Mode::empty()).map_err(|e| refusal(path, "opening a segment", e))
}

/// Which file the name leads to now. None: to none that can be seen.
pub(crate) fn file_of(path: &Path) -> Option<FileId> {
    fs::lstat(path).ok().map(|stat| backing::id_of(&stat))
}

/// Takes the name away. The file lives on for whoever has it open.
pub(crate) fn unlink(path: &Path) -> Result<()> {
    fs::unlink(path).map_err(|e| refusal(path, "unlinking a segment", e))
}

/// The name under which the file behind `fd` can be found, if it has one and we can see it.
pub(crate) fn name_of(fd: BorrowedFd<'_>) -> Option<PathBuf> {
    let path = std::fs::read_link(link_of(fd)).ok()?;
    let id = backing::file_id(fd).ok()?;
    (file_of(&path) == Some(id)).then_some(path)
}

/// What a refused system call means to whoever asked for the name.
fn refusal(path: &Path, doing: &'static str, errno: Errno) -> Error {
    let what = format!("segment {}", path.display());
    match errno {
        Errno::NOENT => Kind::NotFound { what: what.into(), advice: "create it first, or use `open_or_create`".into() },
        Errno::LOOP => return not_a_segment(path, "it is a symbolic link"),
        Errno::ISDIR => return not_a_segment(path, "it is a directory"),
        Errno::NXIO | Errno::NODEV => return not_a_segment(path, "it is no regular file"),
        Errno::NOTDIR => return not_a_segment(path, "its directory is no directory"),
        Errno::ACCESS | Errno::PERM | Errno::ROFS => {
            let why = format!("{}; ask its owner for another mode", std::io::Error::from(errno));
            Kind::Denied { what: what.into(), why: why.into() }
        }
        _ => return Error::io(format!("{doing} at {}", path.display()), errno),
    }
    .into()
}

/// The error for a name that leads to something else.
pub(crate) fn not_a_segment(path: &Path, why: &str) -> Error {
    Kind::NotASegment { why: format!("{}: {why}", path.display()).into() }.into()
}

#[cfg(test)]
mod tests {
    use super::{Access, Publication, Unpublished, file_of, open, sweep};
    use crate::sys::{backing, liveness};
    use std::os::fd::AsFd;
    use std::path::PathBuf;

    const BYTE: u64 = (1 << 61) + 7;

    fn directory(test: &str) -> PathBuf {
        let path = PathBuf::from("/dev/shm").join(format!("mutirao-unit-{}-{test}", std::process::id()));
        std::fs::create_dir(&path).unwrap();
        path
    }

    fn names(path: &PathBuf) -> usize {
        std::fs::read_dir(path).unwrap().count()
    }

    #[test]
    fn a_file_is_published_whole_and_once_in_both_ways() {
        for how in [Publication::Link, Publication::Rename] {
            let dir = directory(&format!("{how:?}"));
            let path = dir.join("name");
            let (mut one, fd_one, own) = Unpublished::make(&dir, 0o600, BYTE, how).unwrap();
            let (mut two, fd_two, _) = Unpublished::make(&dir, 0o600, BYTE, how).unwrap();
            assert!(!path.exists());
            assert!(one.publish(fd_one.as_fd(), &path).unwrap());
            assert!(!two.publish(fd_two.as_fd(), &path).unwrap(), "the name is taken");
            let id = backing::facts(own.as_fd()).unwrap().id;
            assert_eq!(file_of(&path), Some(id));
            assert!(!liveness::is_held(own.as_fd(), BYTE).unwrap(), "nobody has to wait for a name that is there");
            assert_eq!(super::name_of(fd_one.as_fd()), Some(path.clone()));
            drop(two);
            assert_eq!(names(&dir), 1);
            std::fs::remove_dir_all(dir).unwrap();
        }
    }

    #[test]
    fn temporary_files_of_the_dead_are_swept_and_those_of_the_living_are_not() {
        let dir = directory("sweep");
        let (living, _fd, _own) = Unpublished::make(&dir, 0o600, BYTE, Publication::Rename).unwrap();
        std::fs::write(dir.join(".mutirao-0123"), "left by a dead one").unwrap();
        std::fs::write(dir.join("other"), "not ours").unwrap();
        sweep(&dir, BYTE);
        assert_eq!(names(&dir), 2);
        drop(living);
        assert_eq!(names(&dir), 1);
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn opening_waits_for_nobody() {
        let dir = directory("fifo");
        let (path, mode) = (dir.join("fifo"), rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR);
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        for access in [Access::Read, Access::Write] {
            assert!(!backing::facts(open(&path, access).unwrap().as_fd()).unwrap().is_regular);
        }
        std::fs::remove_dir_all(dir).unwrap();
    }
}
