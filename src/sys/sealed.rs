//! Bytes that nobody can change any more, in memory that travels as a descriptor.
//!
//! A memfd that is sealed against writing, growing and shrinking holds the same bytes for ever, so a receiver that has
//! checked the seals may read them where they are, as a slice. Nothing is copied on the way.
//!
//! Unsafe is here because a slice of mapped memory promises that it does not change.
#![allow(unsafe_code)]

use core::ops::{Deref, Range};
use memmap2::{Mmap, MmapOptions};
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, fcntl_get_seals, ftruncate, memfd_create};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::FileExt;

use crate::error::{Error, Result};
use crate::sys::backing;

const SEALS: SealFlags = SealFlags::WRITE.union(SealFlags::GROW).union(SealFlags::SHRINK).union(SealFlags::SEAL);

/// Memory is reserved in steps, of at most this size, before it is written: so there is an error where it is not to be had.
const STEP_BYTES_MAX: u64 = 256 << 20;

/// Bytes that are still being written.
pub(crate) struct Draft {
    file: File,
    len: u64,
    reserved: u64,
}

impl Draft {
    pub(crate) fn new() -> Result<Self> {
        let fd = memfd_create(c"mutirao-parcel", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING);
        let file = fd.map_err(|error| Error::io("making a memfd", error))?.into();
        Ok(Self { file, len: 0, reserved: 0 })
    }

    pub(crate) fn append(&mut self, bytes: &[u8]) -> Result<()> {
        let end = self.len + bytes.len() as u64;
        if end > self.reserved {
            let step = self.reserved.clamp(1 << 20, STEP_BYTES_MAX).max(end - self.reserved);
            let wanted: Range<u64> = self.reserved..self.reserved + step;
            backing::reserve(self.file.as_fd(), &[wanted], None)?;
            self.reserved += step;
        }
        self.file.write_all_at(bytes, self.len).map_err(|error| Error::io("writing what is to be sent", error))?;
        self.len = end;
        Ok(())
    }

    /// From here on they stay what they are.
    pub(crate) fn seal(self) -> Result<OwnedFd> {
        let sealed = ftruncate(&self.file, self.len).and_then(|()| fcntl_add_seals(&self.file, SEALS));
        sealed.map_err(|error| Error::io("sealing what is to be sent", error))?;
        Ok(self.file.into())
    }
}

/// Bytes that stay what they are, mapped.
pub(crate) struct Sealed(Mmap);

impl Sealed {
    /// Refuses what is not sealed.
    pub(crate) fn open(fd: &OwnedFd) -> io::Result<Self> {
        if !fcntl_get_seals(fd)?.contains(SEALS) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "its bytes could still change"));
        }
        // SAFETY: the seals say that nobody can write to the file, cut it off or let it grow, and that they stay; so
        //         the slice does not change and no page of it goes away. A private mapping, as kernels before 6.7
        //         refuse a shared one.
        Ok(Self(unsafe { MmapOptions::new().map_copy_read_only(fd.as_raw_fd()) }?))
    }
}

impl Deref for Sealed {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_is_read_and_nothing_else() {
        let mut draft = Draft::new().unwrap();
        draft.append(b"one ").unwrap();
        draft.append(&vec![7; 3 << 20]).unwrap();
        let unsealed = draft.file.try_clone().unwrap().into();
        assert_eq!(Sealed::open(&unsealed).err().unwrap().kind(), io::ErrorKind::InvalidData);
        let sealed = draft.seal().unwrap();
        assert!(File::from(unsealed).write_all_at(b"two", 0).is_err());
        let bytes = Sealed::open(&sealed).unwrap();
        assert_eq!((&bytes[..5], bytes.len()), (&b"one \x07"[..], 4 + (3 << 20)));
    }

    #[test]
    fn more_than_there_is_is_an_error() {
        let draft = Draft::new().unwrap();
        let error = backing::reserve(draft.file.as_fd(), core::slice::from_ref(&(0..1 << 50)), None).unwrap_err();
        assert!(error.is_out_of_memory(), "{error}");
    }
}
