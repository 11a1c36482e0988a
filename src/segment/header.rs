//! The first 512 bytes: written once by the creator, read into private memory before anything is mapped,
//! checked, and never read again.

use crate::error::{Error, Kind, Result};
use crate::segment::layout::{self, ObjectKind};
use crate::segment::tag::{NAME_LEN, TypeTag};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The bytes of a header, as found. `docs/format.md` has the table.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct RawHeader {
    magic: [u8; 8],
    format: u32,
    byte_order: u32,
    fingerprint: u64,
    uuid: [u8; 16],
    boot_id: [u8; 16],
    len: u64,
    rows: u32,
    kind: u32,
    body_start: u64,
    body_len: u64,
    shape: [u64; 4],
    type_size: u64,
    type_align: u32,
    type_encoding: u32,
    type_name: [u8; NAME_LEN],
    _reserved_1: [u8; 312],
}

const _: () = {
    use core::mem::offset_of;
    assert!(size_of::<RawHeader>() == layout::HEADER_LEN);
    assert!(offset_of!(RawHeader, fingerprint) == 16 && offset_of!(RawHeader, uuid) == 24);
    assert!(offset_of!(RawHeader, boot_id) == 40 && offset_of!(RawHeader, len) == 56);
    assert!(offset_of!(RawHeader, rows) == 64 && offset_of!(RawHeader, kind) == 68);
    assert!(offset_of!(RawHeader, body_start) == 72 && offset_of!(RawHeader, body_len) == 80);
    assert!(offset_of!(RawHeader, shape) == 88 && offset_of!(RawHeader, type_size) == 120);
    assert!(offset_of!(RawHeader, type_align) == 128 && offset_of!(RawHeader, type_encoding) == 132);
    assert!(offset_of!(RawHeader, type_name) == 136 && offset_of!(RawHeader, _reserved_1) == 200);
};

/// A header that was checked: geometry that may be used, in private memory.
#[derive(Clone, Debug)]
pub(crate) struct Header {
    pub uuid: [u8; 16],
    pub boot_id: [u8; 16],
    /// Length of the file at creation; not longer than the file was when it was checked.
    pub len: u64,
    pub rows: u32,
    pub kind: ObjectKind,
    /// Where the object's body stands. Invariant: within `len`, behind the rows, a multiple of 128.
    pub body_start: u64,
    pub body_len: u64,
    /// What the kind needs to know of itself; checked by the handle.
    pub shape: [u64; 4],
    pub tag: TypeTag,
}

impl Header {
    /// A header for a new segment whose body has `body_len` bytes.
    pub(crate) fn plan(
        kind: ObjectKind,
        tag: TypeTag,
        body_len: u64,
        shape: [u64; 4],
        rows: u32,
        uuid: [u8; 16],
        boot_id: [u8; 16],
    ) -> Result<Self> {
        let body_start = layout::body_start(rows);
        let len = body_start.checked_add(body_len).and_then(|n| n.checked_next_multiple_of(4096));
        match len {
            Some(len) if len <= layout::LEN_MAX => {
                Ok(Self { uuid, boot_id, len, rows, kind, body_start, body_len, shape, tag })
            }
            _ => Err(Error::invalid(
                "the segment",
                format!("{body_len} bytes are beyond the largest size, {} bytes", layout::LEN_MAX),
            )),
        }
    }

    /// The bytes that stand for it.
    pub(crate) fn to_raw(&self) -> RawHeader {
        RawHeader {
            magic: layout::MAGIC,
            format: layout::FORMAT,
            byte_order: layout::BYTE_ORDER,
            fingerprint: layout::FINGERPRINT,
            uuid: self.uuid,
            boot_id: self.boot_id,
            len: self.len,
            rows: self.rows,
            kind: self.kind as u32,
            body_start: self.body_start,
            body_len: self.body_len,
            shape: self.shape,
            type_size: self.tag.size,
            type_align: self.tag.align,
            type_encoding: self.tag.encoding,
            type_name: self.tag.name,
            _reserved_1: [0; 312],
        }
    }
}

impl RawHeader {
    /// Checks every field against the build and against `file_len`, the length that the file really has.
    pub(crate) fn verify(&self, file_len: u64) -> Result<Header> {
        let refuse = |why: String| Error::from(Kind::NotASegment { why: why.into() });
        if self.magic != layout::MAGIC {
            return Err(refuse("it does not start with `mutirao`".into()));
        }
        if self.byte_order != layout::BYTE_ORDER {
            return Err(refuse(format!(
                "its byte order mark is {:#010x}, a machine of another kind made it",
                self.byte_order
            )));
        }
        if self.format != layout::FORMAT {
            return Err(Kind::Version { what: "the segment", found: self.format, reads: layout::FORMAT }.into());
        }
        if self.fingerprint != layout::FINGERPRINT {
            return Err(refuse(format!(
                "its layout is {:#018x}, this build's is {:#018x}; build both sides alike",
                self.fingerprint,
                layout::FINGERPRINT
            )));
        }
        let damaged = |how: String| Err(Error::corrupt("the segment's header", how));
        if self.len != file_len || !self.len.is_multiple_of(4096) || self.len > layout::LEN_MAX {
            return damaged(format!("it says {} bytes, the file has {file_len}", self.len));
        }
        if self.rows == 0 || self.rows > layout::ROWS_MAX {
            return damaged(format!("{} rows are not between 1 and {}", self.rows, layout::ROWS_MAX));
        }
        let Some(kind) = ObjectKind::from_number(self.kind) else {
            return damaged(format!("{} is no kind of object", self.kind));
        };
        if self.body_start != layout::body_start(self.rows)
            || self.body_start.checked_add(self.body_len).is_none_or(|end| end > self.len)
        {
            return damaged(format!(
                "a body of {} bytes at {} does not fit {}",
                self.body_len, self.body_start, self.len
            ));
        }
        let tag = TypeTag {
            name: self.type_name,
            size: self.type_size,
            align: self.type_align,
            encoding: self.type_encoding,
        };
        let Self { uuid, boot_id, len, rows, body_start, body_len, shape, .. } = *self;
        Ok(Header { uuid, boot_id, len, rows, kind, body_start, body_len, shape, tag })
    }
}

/// An error for a shape that does not fit its object.
pub(crate) fn bad_shape(kind: ObjectKind, shape: [u64; 4]) -> Error {
    Kind::Corrupt { what: "the segment's header".into(), how: format!("{shape:?} is no shape of a {kind:?}").into() }
        .into()
}
