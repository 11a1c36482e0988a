//! An owned mapping of a segment's file; unmapped on drop.

use crate::error::{Error, Kind, Result};
use memmap2::{MmapOptions, MmapRaw};
use std::os::fd::{AsRawFd, BorrowedFd};

/// Shared, readable and writable memory of a file. Only its address and length come out: no slice over
/// bytes that others write.
pub(crate) struct Mapping {
    raw: MmapRaw,
}

impl Mapping {
    /// Maps the first `len` bytes of the file behind `fd`.
    pub(crate) fn new(fd: BorrowedFd<'_>, len: u64) -> Result<Self> {
        let bytes = usize::try_from(len)
            .map_err(|_| Error::invalid("a mapping", format!("{len} bytes are beyond the machine")))?;
        match MmapOptions::new().len(bytes).map_raw(fd.as_raw_fd()) {
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

    pub(crate) fn len(&self) -> u64 {
        self.raw.len() as u64
    }

    pub(crate) fn base(&self) -> *mut u8 {
        self.raw.as_mut_ptr()
    }
}
