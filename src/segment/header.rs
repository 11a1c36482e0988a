//! The first 512 bytes: written once by the creator, read into private memory before anything is mapped,
//! checked, and never read again.

use crate::error::{Error, Kind, Result};
use crate::segment::layout::{self, ObjectKind, Plan};
use crate::segment::tag::{NAME_LEN, TypeTag};
use core::ops::Range;
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
    objects: u32,
    lifetime: u32,
    arena_len_max: u64,
    _reserved_1: [u8; 296],
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
    assert!(offset_of!(RawHeader, type_name) == 136 && offset_of!(RawHeader, objects) == 200);
    assert!(offset_of!(RawHeader, lifetime) == 204 && offset_of!(RawHeader, arena_len_max) == 208);
    assert!(offset_of!(RawHeader, _reserved_1) == 216);
};

/// How long a segment's name stays.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub enum Lifetime {
    /// Until the last participant has left. Where the last ones were killed, the name stays until it is opened
    /// again, with everything in it, or created anew.
    #[default]
    LastLeaves,
    /// Until somebody unlinks it.
    Persistent,
}

/// What a new segment is to be.
#[derive(Clone, Debug)]
pub(crate) struct Spec {
    pub kind: ObjectKind,
    pub tag: TypeTag,
    pub body_len: u64,
    pub shape: [u64; 4],
    pub rows: u32,
    pub objects: u32,
    /// Bytes of the arena at its largest; 0: none. Rounded up to pages.
    pub arena_len_max: u64,
    /// Bytes of the arena that are reserved at once. Rounded up to pages.
    pub arena_len_first: u64,
    /// Of the name, if it is to have one.
    pub lifetime: Option<Lifetime>,
}

impl Spec {
    /// One object with a body of `body_len` zero bytes, and nothing else.
    pub(crate) fn object(kind: ObjectKind, tag: TypeTag, body_len: u64, shape: [u64; 4]) -> Self {
        Self {
            kind,
            tag,
            body_len,
            shape,
            rows: layout::ROWS_DEFAULT,
            objects: 0,
            arena_len_max: 0,
            arena_len_first: 0,
            lifetime: None,
        }
    }

    /// A catalog, and an arena of up to `bytes` bytes.
    pub(crate) fn arena(bytes: u64) -> Self {
        Self::object(ObjectKind::Empty, TypeTag::NONE, 0, [0; 4])
            .with_arena(bytes, bytes.min(FIRST_STEP))
            .with_objects(layout::OBJECTS_DEFAULT)
    }

    /// The same with an arena of up to `largest` bytes, `first` of them reserved at once.
    pub(crate) fn with_arena(self, largest: u64, first: u64) -> Self {
        Self { arena_len_max: largest, arena_len_first: first, ..self }
    }

    pub(crate) fn with_objects(self, objects: u32) -> Self {
        Self { objects, ..self }
    }
}

/// Bytes of an arena that are reserved at its creation unless said otherwise, and at each growth.
pub(crate) const FIRST_STEP: u64 = 1 << 20;

/// A header that was checked: geometry that may be used, in private memory.
#[derive(Clone, Debug)]
pub(crate) struct Header {
    pub uuid: [u8; 16],
    pub boot_id: [u8; 16],
    /// Length of the file at creation; not longer than the file was when it was checked.
    pub len: u64,
    pub kind: ObjectKind,
    /// Where everything stands. Invariant: `plan.pages <= len <= plan.len_max()`.
    pub plan: Plan,
    /// What the kind needs to know of itself; checked by the handle.
    pub shape: [u64; 4],
    pub tag: TypeTag,
    /// Of the name, if it was made to have one.
    pub lifetime: Option<Lifetime>,
}

impl Header {
    /// A header for a new segment.
    pub(crate) fn new(spec: &Spec, uuid: [u8; 16], boot_id: [u8; 16]) -> Result<Self> {
        let Spec { kind, body_len, shape, rows, objects, arena_len_max, arena_len_first, lifetime, .. } = *spec;
        let refuse = |why: String| Error::invalid("a new segment", why);
        if rows == 0 || rows > layout::ROWS_MAX {
            return Err(refuse(format!("{rows} rows are not between 1 and {}", layout::ROWS_MAX)));
        }
        if objects > layout::OBJECTS_MAX {
            return Err(refuse(format!("{objects} objects are more than {}", layout::OBJECTS_MAX)));
        }
        if arena_len_first > arena_len_max {
            return Err(refuse(format!(
                "its first size, {arena_len_first} bytes, is beyond its largest, {arena_len_max}"
            )));
        }
        let pages = |bytes: u64| bytes.div_ceil(layout::PAGE);
        let Some(plan) = Plan::new(rows, body_len, objects, pages(arena_len_max)) else {
            let bytes = body_len.saturating_add(arena_len_max);
            return Err(refuse(format!("{bytes} bytes are beyond the largest size, {} bytes", layout::LEN_MAX)));
        };
        let len = plan.len_with(pages(arena_len_first));
        Ok(Self { uuid, boot_id, len, kind, plan, shape, tag: spec.tag.clone(), lifetime })
    }

    /// What is reserved in a file of `len` bytes: everything up to the table's words in use, then the pages.
    pub(crate) fn backed(&self, len: u64) -> [Range<u64>; 2] {
        let start = self.plan.pages;
        match self.plan.backed_with(self.plan.pages_of(len).unwrap_or(0)) {
            backed if backed == start => [0..len, len..len],
            backed => [0..backed, start..len],
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
            rows: self.plan.rows,
            kind: self.kind as u32,
            body_start: self.plan.body_start,
            body_len: self.plan.body_len,
            shape: self.shape,
            type_size: self.tag.size,
            type_align: self.tag.align,
            type_encoding: self.tag.encoding,
            type_name: self.tag.name,
            objects: self.plan.objects,
            lifetime: match self.lifetime {
                None => 0,
                Some(Lifetime::LastLeaves) => 1,
                Some(Lifetime::Persistent) => 2,
            },
            arena_len_max: self.plan.pages_max * layout::PAGE,
            _reserved_1: [0; 296],
        }
    }
}

impl RawHeader {
    /// Whether it is one of ours at all, of whatever version.
    pub(crate) fn is_ours(&self) -> bool {
        self.magic == layout::MAGIC
    }

    /// Whether it says that it was made to have a name.
    pub(crate) fn has_name(&self) -> bool {
        self.lifetime != 0
    }

    /// Whether it says that its name is to stay when nobody is left.
    pub(crate) fn is_persistent(&self) -> bool {
        self.lifetime == 2
    }

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
        if self.rows == 0 || self.rows > layout::ROWS_MAX {
            return damaged(format!("{} rows are not between 1 and {}", self.rows, layout::ROWS_MAX));
        }
        let Some(kind) = ObjectKind::from_number(self.kind) else {
            return damaged(format!("{} is no kind of object", self.kind));
        };
        let lifetime = match self.lifetime {
            0 => None,
            1 => Some(Lifetime::LastLeaves),
            2 => Some(Lifetime::Persistent),
            other => return damaged(format!("{other} is no lifetime")),
        };
        let pages_max = self.arena_len_max / layout::PAGE;
        let plan = Plan::new(self.rows, self.body_len, self.objects, pages_max);
        let Some(plan) =
            plan.filter(|plan| self.body_start == plan.body_start && self.arena_len_max.is_multiple_of(layout::PAGE))
        else {
            return damaged(format!(
                "a body of {} bytes at {}, {} objects and an arena of {} bytes fit no segment",
                self.body_len, self.body_start, self.objects, self.arena_len_max
            ));
        };
        // The file may have grown since, and was measured by us; what it says itself is only compared.
        if plan.pages_of(self.len).is_none() || plan.pages_of(file_len).is_none() || self.len > file_len {
            return damaged(format!(
                "it says {} bytes, the file has {file_len}, and its parts need {} to {}",
                self.len,
                plan.pages,
                plan.len_max()
            ));
        }
        let tag = TypeTag {
            name: self.type_name,
            size: self.type_size,
            align: self.type_align,
            encoding: self.type_encoding,
        };
        let Self { uuid, boot_id, len, shape, .. } = *self;
        Ok(Header { uuid, boot_id, len, kind, plan, shape, tag, lifetime })
    }
}

/// An error for a shape that does not fit its object.
pub(crate) fn bad_shape(kind: ObjectKind, shape: [u64; 4]) -> Error {
    Kind::Corrupt { what: "the segment's header".into(), how: format!("{shape:?} is no shape of a {kind:?}").into() }
        .into()
}
