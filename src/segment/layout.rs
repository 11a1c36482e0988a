//! Where things stand in a segment. `docs/format.md` says the same in prose, and `tests/format` holds
//! the page against these constants and against the bytes of a real segment.
//!
//! ```text
//!      0  header      512 bytes, written once by the creator, never changed
//!    512  registry     64 bytes  next id, death epoch
//!    576  fence word    4 bytes  1: some participant can not membarrier, so all use fences
//!   1024  ids        4 * rows    participant id of each row, 0 = free
//!   2048  rows      64 * rows    who: for people, and announcements
//!   body of the object, at the next multiple of 128
//! ```

use crate::raw::registry::RegistryHeader;
use crate::sync::{AtomicU32, AtomicU64};

/// "mutirao" and a zero: what a segment starts with.
pub(crate) const MAGIC: [u8; 8] = *b"mutirao\0";
/// The version of everything on this page.
pub(crate) const FORMAT: u32 = 1;
/// Reads back differently on a machine of the other byte order.
pub(crate) const BYTE_ORDER: u32 = 0x0102_0304;

/// Bytes of the header.
pub(crate) const HEADER_LEN: usize = 512;
/// Offset of the [`RegistryHeader`].
pub(crate) const REGISTRY: u64 = 512;
/// Offset of the word that asks all participants for fences.
pub(crate) const FENCE_WORD: u64 = 576;
/// Offset of the ids.
pub(crate) const IDS: u64 = 1024;
/// Offset of the rows.
pub(crate) const ROWS: u64 = 2048;
/// Bytes of a row.
pub(crate) const ROW_LEN: u64 = 64;
/// Rows of a segment unless said otherwise.
pub(crate) const ROWS_DEFAULT: u32 = 64;
/// The most rows: the kernel's list of locks is walked at every question about a life.
pub(crate) const ROWS_MAX: u32 = 256;
/// Alignment of a body, and what keeps two words from sharing a pair of cache lines.
pub(crate) const BODY_ALIGN: u64 = 128;
/// A segment larger than this is refused: 2^46 bytes.
pub(crate) const LEN_MAX: u64 = 1 << 46;

/// Byte of the segment file that participant row `row` holds locked while its process lives. Far beyond
/// the data, where a file lock costs no memory.
pub(crate) const fn life_byte(row: u32) -> u64 {
    (1 << 61) + row as u64
}

/// Byte that whoever reaps or occupies row `row` holds meanwhile.
pub(crate) const fn reap_byte(row: u32) -> u64 {
    (1 << 61) + (1 << 32) + row as u64
}

/// Offset of the body in a segment of `rows` rows.
pub(crate) const fn body_start(rows: u32) -> u64 {
    (ROWS + ROW_LEN * rows as u64).next_multiple_of(BODY_ALIGN)
}

/// A participant's row: who it is, for people; decisions rest on the id and the lock alone.
#[repr(C, align(64))]
pub(crate) struct Row {
    pub pid: AtomicU32,
    pub _reserved_1: AtomicU32,
    /// Start of the process, clock ticks since boot.
    pub start_time: AtomicU64,
    /// Inode of its pid namespace.
    pub namespace: AtomicU64,
    /// What the participant is in the middle of, where a claim needs two places. All zero: nothing.
    pub announced: [AtomicU64; 4],
    pub _reserved_2: AtomicU64,
}

/// What kind of object a segment holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub(crate) enum ObjectKind {
    Empty = 0,
    Value = 1,
    Array = 2,
    Lock = 3,
    Mutex = 4,
    Semaphore = 5,
    Queue = 6,
}

impl ObjectKind {
    /// The kind with this number in a header.
    pub(crate) const fn from_number(number: u32) -> Option<Self> {
        Some(match number {
            0 => Self::Empty,
            1 => Self::Value,
            2 => Self::Array,
            3 => Self::Lock,
            4 => Self::Mutex,
            5 => Self::Semaphore,
            6 => Self::Queue,
            _ => return None,
        })
    }
}

/// Changes when a shared struct does: sizes of everything that two builds must agree on.
pub(crate) const FINGERPRINT: u64 = {
    use core::mem::size_of;
    let sizes = [
        size_of::<RegistryHeader>(),
        size_of::<Row>(),
        size_of::<crate::raw::lock::RawLock>(),
        size_of::<crate::raw::signal::Signal>(),
        size_of::<crate::raw::version::Version>(),
        size_of::<crate::raw::permits::PermitsHeader>(),
        size_of::<crate::raw::ring::RingHeader>(),
        size_of::<crate::raw::roster::Roster>(),
    ];
    let (mut hash, mut i) = (0xcbf2_9ce4_8422_2325_u64, 0);
    while i < sizes.len() {
        hash = (hash ^ sizes[i] as u64).wrapping_mul(0x0000_0100_0000_01b3);
        i += 1;
    }
    hash
};

const _: () = {
    use core::mem::{align_of, offset_of, size_of};
    assert!(size_of::<Row>() as u64 == ROW_LEN && align_of::<Row>() == 64);
    assert!(offset_of!(Row, start_time) == 8 && offset_of!(Row, namespace) == 16 && offset_of!(Row, announced) == 24);
    assert!(REGISTRY + size_of::<RegistryHeader>() as u64 <= FENCE_WORD);
    assert!(IDS + 4 * ROWS_MAX as u64 <= ROWS);
    assert!(body_start(64) == 6144);
};
