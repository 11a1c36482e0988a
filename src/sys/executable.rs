//! The executable of this process: where its code is, and which executable it is.
//!
//! Unsafe is here because the loader's tables are read through a C callback with raw pointers.
#![allow(unsafe_code)]

use core::ffi::{c_int, c_void};
use core::ops::Range;
use std::io;
use std::os::unix::fs::MetadataExt;

/// What the loader knows of the executable.
#[derive(Debug)]
pub(crate) struct Image {
    /// Where it was loaded.
    pub(crate) base: usize,
    /// Where its code is.
    pub(crate) code: Vec<Range<usize>>,
    /// Two executables with the same identity have every function at the same position.
    pub(crate) identity: Vec<u8>,
}

/// The executable of this process. It is identified by the build id that the linker wrote, and where that
/// is missing by the file itself (device, inode, size, time of change).
pub(crate) fn image() -> io::Result<Image> {
    let mut image = Image { base: 0, code: Vec::new(), identity: Vec::new() };
    let data: *mut Image = &mut image;
    // SAFETY: 1. the callback has the type that is asked for and does not unwind; 2. `data` points to an
    //            `Image` that outlives the call and that nobody else touches meanwhile.
    unsafe { libc::dl_iterate_phdr(Some(look_at_first), data.cast()) };
    if image.code.is_empty() {
        return Err(io::Error::new(
            io::ErrorKind::Unsupported,
            "the loader does not tell where the executable's code is",
        ));
    }
    if image.identity.is_empty() {
        let file = std::fs::metadata("/proc/self/exe")?;
        let facts = [file.dev(), file.ino(), file.size(), file.mtime() as u64, file.mtime_nsec() as u64];
        image.identity = facts.iter().flat_map(|fact| fact.to_le_bytes()).collect();
    }
    Ok(image)
}

/// The first object that the loader names is the executable; one look is enough.
extern "C" fn look_at_first(info: *mut libc::dl_phdr_info, _size: usize, data: *mut c_void) -> c_int {
    // SAFETY: 1. the loader passes a valid record for the time of the call.
    let info = unsafe { &*info };
    // SAFETY: 1. `data` is what `image` passed: an `Image` that only this call touches.
    let image = unsafe { &mut *data.cast::<Image>() };
    // SAFETY: 1. the loader says that `dlpi_phnum` headers begin at `dlpi_phdr`; they stay mapped.
    let headers = unsafe { core::slice::from_raw_parts(info.dlpi_phdr, usize::from(info.dlpi_phnum)) };
    image.base = info.dlpi_addr as usize;
    for header in headers {
        let start = image.base.wrapping_add(header.p_vaddr as usize);
        let len = header.p_memsz as usize;
        if header.p_type == libc::PT_LOAD && header.p_flags & libc::PF_X != 0 {
            image.code.push(start..start.saturating_add(len));
        } else if header.p_type == libc::PT_NOTE && image.identity.is_empty() {
            // SAFETY: 1. a note segment lies within a loaded, readable segment of the executable, which is
            //            never unmapped; 2. nobody writes to it.
            let notes = unsafe { core::slice::from_raw_parts(start as *const u8, len) };
            image.identity = build_id(notes).unwrap_or_default().to_vec();
        }
    }
    1
}

/// The description of the first GNU build-id note: each note is three words (length of the name, length of
/// the description, type), the name, the description, both padded to four bytes.
fn build_id(mut notes: &[u8]) -> Option<&[u8]> {
    const NT_GNU_BUILD_ID: usize = 3;
    while let Some((header, rest)) = notes.split_at_checked(12) {
        let word = |at: usize| header.get(at..at + 4)?.try_into().ok().map(u32::from_ne_bytes).map(|w| w as usize);
        let (name_len, description_len, kind) = (word(0)?, word(4)?, word(8)?);
        let (name, rest) = rest.split_at_checked(name_len.next_multiple_of(4))?;
        let description = rest.get(..description_len)?;
        if kind == NT_GNU_BUILD_ID && name == b"GNU\0" && !description.is_empty() {
            return Some(description);
        }
        notes = rest.get(description_len.next_multiple_of(4)..)?;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_executable_has_code_and_an_identity() {
        let image = image().unwrap();
        let here = the_executable_has_code_and_an_identity as *const () as usize;
        assert!(image.code.iter().any(|code| code.contains(&here)));
        assert!(!image.identity.is_empty());
    }

    #[test]
    fn damaged_notes_have_no_build_id() {
        let note = |name_len: u32, len: u32, rest: &[u8]| {
            [&name_len.to_ne_bytes()[..], &len.to_ne_bytes(), &3u32.to_ne_bytes(), rest].concat()
        };
        assert_eq!(build_id(&note(4, 2, b"GNU\0\x01\x02\0\0")), Some(&[1, 2][..]));
        assert_eq!(build_id(&note(4, 200, b"GNU\0\x01\x02\0\0")), None);
        assert_eq!(build_id(&note(u32::MAX, 2, b"GNU\0\x01\x02\0\0")), None);
        assert_eq!(build_id(&[1, 2, 3]), None);
    }
}
