//! An owned mapping of a segment's file; unmapped on drop.

use crate::error::{Error, Kind, Result};
use core::ops::Range;
use memmap2::{Advice, MmapOptions, MmapRaw};
use std::os::fd::{AsRawFd, BorrowedFd};

/// Shared, readable and writable memory of a file. Only its address and length come out: no slice over
/// bytes that others write.
pub(crate) struct Mapping {
    raw: MmapRaw,
}

/// What a process wants of the memory beyond having it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct MemoryWish {
    /// Every page that is reserved is mapped at once, so that no first touch is a fault.
    pub prefault: bool,
    /// Larger pages, where the kernel has some.
    pub huge_pages: bool,
}

impl MemoryWish {
    /// Asks the kernel for it, for these parts of a mapping.
    pub(crate) fn apply(self, mapping: &Mapping, parts: &[Range<u64>]) -> Result<()> {
        let usable = |range: &&Range<u64>| !range.is_empty() && range.end <= mapping.len();
        if self.huge_pages {
            // A hint: it changes nothing but speed, so a kernel that has none may ignore it.
            let _ = mapping.raw.advise(Advice::HugePage);
        }
        for range in parts.iter().filter(usable).filter(|_| self.prefault) {
            let (start, len) = (range.start as usize, (range.end - range.start) as usize);
            mapping
                .raw
                .advise_range(Advice::PopulateWrite, start, len)
                .map_err(|e| Error::io("mapping every page of a segment", e))?;
        }
        Ok(())
    }
}

impl Mapping {
    /// Maps the first `len` bytes of the file behind `fd`.
    pub(crate) fn new(fd: BorrowedFd<'_>, len: u64) -> Result<Self> {
        Self::made(len, |options| options.map_raw(fd.as_raw_fd()))
    }

    /// Maps them for reading: a store to them would end the process.
    pub(crate) fn read_only(fd: BorrowedFd<'_>, len: u64) -> Result<Self> {
        Self::made(len, |options| options.map_raw_read_only(fd.as_raw_fd()))
    }

    fn made(len: u64, map: impl FnOnce(&MmapOptions) -> std::io::Result<MmapRaw>) -> Result<Self> {
        let bytes = usize::try_from(len)
            .map_err(|_| Error::invalid("a mapping", format!("{len} bytes are beyond the machine")))?;
        match map(MmapOptions::new().len(bytes)) {
            Ok(raw) => Ok(Self { raw }),
            Err(e) if e.kind() == std::io::ErrorKind::OutOfMemory => Err(Kind::OutOfMemory {
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
            let (start, len) = (range.start as usize, (range.end - range.start) as usize);
            let _ = self.raw.advise_range(Advice::PopulateWrite, start, len);
        }
    }

    pub(crate) fn len(&self) -> u64 {
        self.raw.len() as u64
    }

    pub(crate) fn base(&self) -> *mut u8 {
        self.raw.as_mut_ptr()
    }
}
