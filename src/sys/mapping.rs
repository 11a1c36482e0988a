//! An owned mapping of a segment's file; unmapped on drop.
//!
//! A large one begins at a multiple of [`LARGE`], as its file does, unless another thread takes that place: so where the file has
//! large pages, the mapping has them too, and the processor knows where 2 MiB are by what it else needs to know for 4 KiB. Files of
//! shared memory get them by `MADV_COLLAPSE` (madvise(2), Linux 6.1), whatever the machine's settings are for those who do not
//! ask. What is asked for is the whole of a large page of which the file has the first 4 KiB only: then nothing is copied, and it
//! takes a tenth of the time of as many small pages (decision 0028).
#![allow(unsafe_code)] // address space of our own, and advice on it

use crate::error::{Error, Kind, Result};
use crate::sys::clock;
use core::ffi::c_void;
use core::ops::Range;
use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicBool, Ordering::Relaxed};
use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::{Errno, retry_on_intr};
use rustix::mm::{self, Advice, MapFlags, ProtFlags};
use std::os::fd::BorrowedFd;

/// Bytes of a large page.
pub(crate) const LARGE: u64 = 2 << 20;
/// Bytes of a page of segments.
const PAGE: u64 = 4096;
/// Nanoseconds of the processor that a large page may take: a kernel that has to put memory in order first is not asked again.
const WORTH: u64 = 20_000_000;
/// The same for who grows in the middle of an operation. Usual are 100 000; several millions where the machine is a
/// virtual one, whose memory is not all there yet.
const QUICK: u64 = 500_000;

/// Places that are tried for a large mapping.
const PLACES: u32 = 8;

/// Whether large pages were quick whenever this process asked for one.
static ARE_QUICK: AtomicBool = AtomicBool::new(true);

/// Shared, readable and writable memory of a file. Only its address and length come out: no slice over
/// bytes that others write.
pub(crate) struct Mapping {
    base: NonNull<u8>,
    len: usize,
    /// Whether large pages are asked for.
    has_large: AtomicBool,
}

// SAFETY: an address and a length of memory that is this value's; what is done there is for who takes the address.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

/// What a process wants of the memory beyond having it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct MemoryWish {
    /// Every page that is reserved is mapped at once, so that no first touch is a fault.
    pub prefault: bool,
    /// Large pages: `None`: where whole ones are reserved; `true`: wherever the kernel has some.
    pub huge_pages: Option<bool>,
}

impl MemoryWish {
    /// Whether whole large pages that are reserved are to be such.
    pub(crate) fn has_large(self) -> bool {
        self.huge_pages != Some(false)
    }

    /// Asks the kernel for it, for these parts of a mapping.
    pub(crate) fn apply(self, mapping: &Mapping, parts: &[Range<u64>]) -> Result<()> {
        match self.huge_pages {
            None => {}
            // A hint: it changes nothing but speed, so a kernel that has none may ignore it.
            Some(true) => drop(mapping.advise(&(0..mapping.len()), Advice::LinuxHugepage)),
            Some(false) => mapping.has_large.store(false, Relaxed),
        }
        let usable = |range: &&Range<u64>| !range.is_empty() && range.end <= mapping.len();
        for range in parts.iter().filter(usable).filter(|_| self.prefault) {
            mapping
                .advise(range, Advice::LinuxPopulateWrite)
                .map_err(|e| Error::io("mapping every page of a segment", e))?;
        }
        Ok(())
    }
}

impl Mapping {
    /// Maps the first `len` bytes of the file behind `fd`.
    pub(crate) fn new(fd: BorrowedFd<'_>, len: u64) -> Result<Self> {
        Self::made(fd, len, ProtFlags::READ | ProtFlags::WRITE)
    }

    /// Maps them for reading: a store to them would end the process.
    pub(crate) fn read_only(fd: BorrowedFd<'_>, len: u64) -> Result<Self> {
        Self::made(fd, len, ProtFlags::READ)
    }

    fn made(fd: BorrowedFd<'_>, len: u64, allowed: ProtFlags) -> Result<Self> {
        let bytes = usize::try_from(len)
            .map_err(|_| Error::invalid("a mapping", format!("{len} bytes are beyond the machine")))?;
        match map(fd, bytes, allowed) {
            Ok(base) => {
                let can_be = len >= LARGE && base.addr().get().is_multiple_of(LARGE as usize);
                Ok(Self { base, len: bytes, has_large: AtomicBool::new(can_be && page_size() as u64 == PAGE) })
            }
            Err(Errno::NOMEM) => Err(Kind::OutOfMemory {
                what: "the mapping of a segment".into(),
                needed: len,
                available: 0,
                advice: "address space or mappings are used up; close segments first",
            }
            .into()),
            Err(e) => Err(Error::io("mapping a segment", e)),
        }
    }

    /// Maps these pages, which the file has, before they are touched. A hint.
    pub(crate) fn populate(&self, range: Range<u64>) {
        if range.start < range.end && range.end <= self.len() {
            let _ = self.advise(&range, Advice::LinuxPopulateWrite);
        }
    }

    /// Whether large pages are to be had, as quickly as a few small ones.
    pub(crate) fn has_quick_pages(&self) -> bool {
        self.has_large.load(Relaxed) && ARE_QUICK.load(Relaxed)
    }

    /// Makes what is whole large pages of this range such, which the file behind `fd` does not have yet, and all that is before
    /// them. At no time is the file longer than it has memory for. A hint, which is not given again where large pages are not
    /// to be had.
    pub(crate) fn make_large(&self, fd: BorrowedFd<'_>, range: &Range<u64>) {
        let (mut at, end) = (range.start.next_multiple_of(LARGE), range.end.min(self.len()) / LARGE * LARGE);
        let reserve = |range: Range<u64>| {
            let len = range.end - range.start;
            if len == 0 { Ok(()) } else { retry_on_intr(|| fallocate(fd, FallocateFlags::empty(), range.start, len)) }
        };
        if at >= end || !self.has_large.load(Relaxed) || reserve(range.start..at).is_err() {
            return;
        }
        while at < end && self.has_large.load(Relaxed) {
            let begun = clock::thread_ns();
            let made = reserve(at..at + PAGE).and_then(|()| self.collapse(at));
            let took = clock::thread_ns() - begun;
            if took > QUICK {
                ARE_QUICK.store(false, Relaxed);
            }
            if took > WORTH || made.is_err() {
                self.has_large.store(false, Relaxed);
            }
            // What the file does not reach may be taken away again; and who says that it was done may have done nothing.
            if made.is_err() || reserve(at..at + LARGE).is_err() {
                return;
            }
            at += LARGE;
        }
    }

    /// Moves so many bytes from `at` on into one large page, those of them that there are not yet zero.
    fn collapse(&self, at: u64) -> Result<(), Errno> {
        let at = self.base.as_ptr().wrapping_add(at as usize);
        // SAFETY: 1. addresses within the mapping, as whoever calls compared, which keep the bytes that they have.
        match unsafe { libc::madvise(at.cast(), LARGE as usize, libc::MADV_COLLAPSE) } {
            0 => Ok(()),
            _ => Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::INVAL)),
        }
    }

    fn advise(&self, range: &Range<u64>, advice: Advice) -> Result<(), Errno> {
        // From the beginning of a page of this machine, as the kernel wants it.
        let start = range.start as usize / page_size() * page_size();
        let at = self.base.as_ptr().wrapping_add(start);
        // SAFETY: 1. bytes within the mapping, as whoever calls compared. 2. None of this advice changes what is in them.
        unsafe { mm::madvise(at.cast(), range.end as usize - start, advice) }
    }

    pub(crate) fn len(&self) -> u64 {
        self.len as u64
    }

    pub(crate) fn base(&self) -> *mut u8 {
        self.base.as_ptr()
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: 1. what was mapped there, nobody's any more: whoever has an address keeps the mapping.
        let _ = unsafe { mm::munmap(self.base.as_ptr().cast(), self.len.max(1)) };
    }
}

/// Bytes of a page of this machine.
fn page_size() -> usize {
    // SAFETY: it reads a number.
    usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(PAGE as usize)
}

/// Maps a file's first bytes: many of them at a multiple of [`LARGE`], unless others are quicker to take each place.
fn map(fd: BorrowedFd<'_>, len: usize, allowed: ProtFlags) -> Result<NonNull<u8>, Errno> {
    let map_at = |place: *mut c_void| {
        // SAFETY: where there is something already, the kernel chooses another address, so nothing of ours is replaced.
        unsafe { mm::mmap(place, len.max(1), allowed, MapFlags::SHARED, fd, 0) }
    };
    for _ in 0..PLACES {
        let Some(place) = place_for(len) else { break };
        let at = map_at(place)?;
        if at == place {
            return NonNull::new(at.cast()).ok_or(Errno::NOMEM);
        }
        // SAFETY: what was mapped on the lines before, and nobody else knows.
        unsafe { mm::munmap(at, len) }?;
    }
    NonNull::new(map_at(ptr::null_mut())?.cast()).ok_or(Errno::NOMEM)
}

/// A multiple of [`LARGE`] behind which so many bytes of address space were free a moment ago. `None`: it is not worth it, or there
/// is no room.
fn place_for(len: usize) -> Option<*mut c_void> {
    let room = len.checked_add(LARGE as usize).filter(|_| len >= LARGE as usize)?;
    // SAFETY: the kernel chooses the address, so nothing of ours is replaced.
    let start = unsafe { mm::mmap_anonymous(ptr::null_mut(), room, ProtFlags::empty(), MapFlags::PRIVATE) }.ok()?;
    // SAFETY: what was mapped on the line before, and nobody else knows.
    unsafe { mm::munmap(start, room) }.ok()?;
    Some(start.wrapping_byte_add(start.addr().next_multiple_of(LARGE as usize) - start.addr()))
}

#[cfg(test)]
mod tests {
    use super::{LARGE, Mapping, MemoryWish, PAGE};
    use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
    use std::os::fd::{AsFd, OwnedFd};
    use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

    fn file() -> OwnedFd {
        memfd_create("mapping", MemfdFlags::CLOEXEC).unwrap()
    }

    /// A file whose mappings are told from those of other tests.
    fn file_of_rooms() -> OwnedFd {
        memfd_create("rooms", MemfdFlags::CLOEXEC).unwrap()
    }

    /// Bytes of the file, and of its memory.
    fn lens(file: &OwnedFd) -> (u64, u64) {
        let stat = rustix::fs::fstat(file).unwrap();
        (stat.st_size as u64, stat.st_blocks as u64 * 512)
    }

    fn bytes(mapping: &Mapping, at: u64) -> u8 {
        assert!(at < mapping.len());
        // SAFETY: within the mapping, whose file is that long; nobody writes.
        unsafe { mapping.base().wrapping_add(at as usize).read_volatile() }
    }

    /// The mappings of this process that touch these addresses.
    fn mapped(from: usize, to: usize) -> usize {
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        let touches = |line: &&str| {
            let (start, end) = line.split_once(' ').and_then(|(range, _)| range.split_once('-')).unwrap();
            let number = |text: &str| usize::from_str_radix(text, 16).unwrap();
            line.contains("memfd:rooms") && number(start) < to && from < number(end)
        };
        maps.lines().filter(touches).count()
    }

    #[test]
    fn large_mappings_begin_where_large_pages_do_and_take_no_more_than_their_own_room() {
        for len in [1, PAGE, LARGE - 1, LARGE, LARGE + 1, 3 * LARGE + PAGE, 64 * LARGE] {
            let file = file_of_rooms();
            ftruncate(&file, len).unwrap();
            let mapping = Mapping::new(file.as_fd(), len).unwrap();
            assert_eq!((mapping.len(), bytes(&mapping, 0), bytes(&mapping, len - 1)), (len, 0, 0));
            let at = mapping.base().addr();
            assert!(len < LARGE || at.is_multiple_of(LARGE as usize), "{at:x}");
            assert_eq!(mapped(at, at + len as usize), 1);
            assert_eq!(Mapping::read_only(file.as_fd(), len).unwrap().len(), len);
            drop(mapping);
            assert_eq!(mapped(at, at + len as usize), 0);
        }
        assert!(Mapping::new(file().as_fd(), u64::MAX / 2).is_err_and(|e| e.is_out_of_memory()));
    }

    #[test]
    fn a_file_is_never_longer_than_it_has_memory_for() {
        let (file, done) = (file(), AtomicBool::new(false));
        let (start, end) = (5 * PAGE, 40 * LARGE + 7 * PAGE);
        ftruncate(&file, start).unwrap();
        let mapping = Mapping::new(file.as_fd(), end).unwrap();
        std::thread::scope(|scope| {
            let looks = scope.spawn(|| {
                let mut looks = 0;
                while !done.load(Relaxed) {
                    // The length first: the memory only grows.
                    let len = lens(&file).0;
                    assert!(len - start <= lens(&file).1);
                    looks += 1;
                }
                looks
            });
            mapping.make_large(file.as_fd(), &(start..end));
            done.store(true, Relaxed);
            assert!(looks.join().unwrap() > 0);
        });
        if mapping.has_large.load(Relaxed) {
            assert_eq!(lens(&file), (40 * LARGE, 40 * LARGE - start));
            ftruncate(&file, end).unwrap();
            assert!((0..end / PAGE).all(|page| bytes(&mapping, page * PAGE) == 0));
        } else {
            // A kernel before 6.1, or one that has no large pages now.
            assert!(lens(&file).0 >= LARGE);
        }
    }

    #[test]
    fn who_wants_no_large_pages_gets_none() {
        let file = file();
        let mapping = Mapping::new(file.as_fd(), 4 * LARGE).unwrap();
        MemoryWish { huge_pages: Some(false), prefault: false }.apply(&mapping, &[]).unwrap();
        assert!(!mapping.has_quick_pages());
        mapping.make_large(file.as_fd(), &(0..4 * LARGE));
        assert_eq!(lens(&file), (0, 0));
        // Nor does who maps less than one.
        let small = Mapping::new(file.as_fd(), LARGE - 1).unwrap();
        small.make_large(file.as_fd(), &(0..4 * LARGE));
        assert_eq!(lens(&file), (0, 0));
    }
}
