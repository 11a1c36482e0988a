//! Where things stand in a segment. `docs/format.md` says the same in prose, and `tests/segment` holds
//! the page against these constants and against the bytes of a real segment.
//!
//! ```text
//!      0  header      512 bytes, written once by the creator, never changed
//!    512  registry     64 bytes  next id, death epoch
//!    576  fence word    4 bytes  1: some participant can not membarrier, so all use fences
//!   1024  ids        4 * rows    participant id of each row, 0 = free
//!   2048  rows      64 * rows    who: for people, and announcements
//!   body of the object, at the next multiple of 128
//!
//!   then, each there or not (see [`Plan`]):
//!   catalog     256 * objects    what has a name, and where it is
//!   hands        48 * 32 * rows  what each participant's threads have in hand
//!   arena header 640
//!   page table    8 for each page of the largest size; sparse: backed as far as there are pages
//!   pages      4096 each, growing at the end of the file
//! ```

use crate::raw::blocks::Hand;
use crate::raw::catalog::Slot;
use crate::raw::lock::RawLock;
use crate::raw::pages::PagesHeader;
use crate::raw::pending::Stripe;
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
/// Bytes of a page, the unit in which an arena grows.
pub(crate) const PAGE: u64 = 4096;
/// Entries of a catalog unless said otherwise.
pub(crate) const OBJECTS_DEFAULT: u32 = 256;
/// The most entries of a catalog.
pub(crate) const OBJECTS_MAX: u32 = 1 << 16;
/// Seats of each participant, see `segment/seats.rs`.
pub(crate) const SEATS_PER_ROW: u32 = 32;
/// Hands of each participant: one of each seat, and one for what each of the first seats keeps to use it again.
pub(crate) const HANDS_PER_ROW: u32 = 48;

/// Words of a stripe of what a dictionary computes: with its head, two pairs of cache lines.
pub(crate) const STRIPE_WORDS: usize = 30;

/// Byte of the segment file that participant row `row` holds locked while its process lives. Far beyond
/// the data, where a file lock costs no memory.
pub(crate) const fn life_byte(row: u32) -> u64 {
    (1 << 61) + row as u64
}

/// Byte that whoever reaps or occupies row `row` holds meanwhile.
pub(crate) const fn reap_byte(row: u32) -> u64 {
    (1 << 61) + (1 << 32) + row as u64
}

/// Byte that whoever takes away the segment's name holds meanwhile, and that openers wait for.
pub(crate) const NAME_BYTE: u64 = (1 << 61) + (2 << 32);

/// Offset of the body in a segment of `rows` rows.
pub(crate) const fn body_start(rows: u32) -> u64 {
    (ROWS + ROW_LEN * rows as u64).next_multiple_of(BODY_ALIGN)
}

/// Where everything behind the rows stands. Computed from four numbers, never read from a segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Plan {
    pub rows: u32,
    pub body_start: u64,
    pub body_len: u64,
    /// Offset of the catalog; it has `objects` entries.
    pub catalog: u64,
    pub objects: u32,
    /// Offset of the hands; there are [`HANDS_PER_ROW`] for each row if there is an arena.
    pub hands: u64,
    pub arena_header: u64,
    /// Offset of the page table. Invariant: a multiple of [`PAGE`].
    pub table: u64,
    /// Offset of the first page, and length of the file without any. Invariant: a multiple of [`PAGE`].
    pub pages: u64,
    /// Pages of the largest size. 0: the segment has no arena.
    pub pages_max: u64,
}

impl Plan {
    /// The plan of a segment with `rows` rows, a body, a catalog and an arena of up to `pages_max` pages.
    /// None: it would be larger than [`LEN_MAX`].
    pub(crate) fn new(rows: u32, body_len: u64, objects: u32, pages_max: u64) -> Option<Self> {
        if rows > ROWS_MAX || objects > OBJECTS_MAX || body_len > LEN_MAX || pages_max > LEN_MAX / PAGE {
            return None;
        }
        // Nothing below overflows: each part is at most 2^47 bytes.
        let has_arena = pages_max > 0;
        let body_start = body_start(rows);
        let catalog = (body_start + body_len).next_multiple_of(BODY_ALIGN);
        let hands = catalog + u64::from(objects) * size_of::<Entry>() as u64;
        let hands_len = if has_arena { u64::from(rows * HANDS_PER_ROW) * size_of::<Hand>() as u64 } else { 0 };
        let arena_header = hands + hands_len;
        let header_len = if has_arena { size_of::<ArenaHeader>() as u64 } else { 0 };
        let table = (arena_header + header_len).next_multiple_of(PAGE);
        let pages = table + (8 * pages_max).next_multiple_of(PAGE);
        let plan = Self { rows, body_start, body_len, catalog, objects, hands, arena_header, table, pages, pages_max };
        (plan.len_max() <= LEN_MAX).then_some(plan)
    }

    /// Bytes that the segment has at its largest.
    pub(crate) const fn len_max(&self) -> u64 {
        self.pages + self.pages_max * PAGE
    }

    pub(crate) const fn has_arena(&self) -> bool {
        self.pages_max > 0
    }

    /// Length of the file that has `pages` pages.
    pub(crate) const fn len_with(&self, pages: u64) -> u64 {
        self.pages + pages * PAGE
    }

    /// Pages of a file of `len` bytes, if a segment of this plan can have that length.
    pub(crate) const fn pages_of(&self, len: u64) -> Option<u64> {
        if len < self.pages || len > self.len_max() || !len.is_multiple_of(PAGE) {
            return None;
        }
        Some((len - self.pages) / PAGE)
    }

    /// Bytes from the start up to the end of the page table's words of `pages` pages, in whole pages: what is
    /// backed beside the pages themselves.
    pub(crate) const fn backed_with(&self, pages: u64) -> u64 {
        self.table + (8 * pages).next_multiple_of(PAGE)
    }
}

/// Words for the holders of an object: a bit for each row.
pub(crate) const HOLDER_WORDS: usize = ROWS_MAX as usize / 64;
/// The most bytes of an object's name.
pub(crate) const OBJECT_NAME_MAX: usize = 64;

/// An entry of the catalog: one object, what it says of itself, where it is, and who has a handle on it.
#[repr(C, align(64))]
pub(crate) struct Entry {
    pub slot: Slot<HOLDER_WORDS>,
    /// The block of the arena that is the object's body; unit 0: none.
    pub unit: AtomicU64,
    pub generation: AtomicU64,
    /// Bytes of the name; 0: it has none.
    pub name_len: AtomicU32,
    /// Spares a look at most names that are another's.
    pub name_hash: AtomicU32,
    pub body_len: AtomicU64,
    pub shape: [AtomicU64; 4],
    pub kind: AtomicU32,
    pub type_align: AtomicU32,
    pub type_size: AtomicU64,
    pub type_encoding: AtomicU32,
    pub _reserved_1: AtomicU32,
    pub name: [AtomicU64; OBJECT_NAME_MAX / 8],
    pub type_name: [AtomicU64; 8],
}

/// What the arena and the catalog know of themselves.
#[repr(C, align(128))]
pub(crate) struct ArenaHeader {
    pub pages: PagesHeader,
    /// Held by whoever gives an object its name.
    pub names: RawLock,
    pub _reserved_1: AtomicU32,
    pub _reserved_2: [AtomicU64; 15],
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
    RwLock = 7,
    Dict = 8,
    List = 9,
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
            7 => Self::RwLock,
            8 => Self::Dict,
            9 => Self::List,
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
        size_of::<RawLock>(),
        size_of::<crate::raw::signal::Signal>(),
        size_of::<crate::raw::version::Version>(),
        size_of::<crate::raw::permits::PermitsHeader>(),
        size_of::<crate::raw::ring::RingHeader>(),
        size_of::<crate::raw::roster::Roster>(),
        size_of::<crate::raw::rw_lock::ReadersHeader>(),
        size_of::<crate::raw::rw_lock::ReaderCell>(),
        size_of::<crate::raw::ranges::RangesHeader>(),
        size_of::<crate::raw::range_entry::RangeEntry>(),
        size_of::<crate::raw::table::TableHead>(),
        size_of::<crate::raw::table_desk::Desk>(),
        size_of::<crate::raw::table_line::PairLine>(),
        size_of::<crate::raw::table_line::RecordLine>(),
        size_of::<Stripe<STRIPE_WORDS>>(),
        size_of::<Entry>(),
        size_of::<Hand>(),
        size_of::<ArenaHeader>(),
        size_of::<crate::raw::list::ListHeader>(),
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
    assert!(size_of::<Entry>() == 256 && align_of::<Entry>() == 64);
    assert!(offset_of!(Entry, unit) == 40 && offset_of!(Entry, name_len) == 56 && offset_of!(Entry, shape) == 72);
    assert!(offset_of!(Entry, kind) == 104 && offset_of!(Entry, name) == 128 && offset_of!(Entry, type_name) == 192);
    assert!(size_of::<crate::raw::table::TableHead>() == 384 && size_of::<crate::raw::table_desk::Desk>() == 128);
    assert!(
        size_of::<crate::raw::table_line::PairLine>() == 64 && size_of::<crate::raw::table_line::RecordLine>() == 64
    );
    assert!(size_of::<crate::raw::list::ListHeader>() == 640 && align_of::<crate::raw::list::ListHeader>() == 128);
    assert!(size_of::<Hand>() == 32 && align_of::<Hand>() == 32);
    assert!(size_of::<PagesHeader>() == 512);
    assert!(size_of::<ArenaHeader>() == 640 && offset_of!(ArenaHeader, names) == 512);
};

#[cfg(test)]
mod tests {
    use super::{LEN_MAX, PAGE, Plan};

    #[test]
    fn an_object_alone_needs_no_more_than_before() {
        let plan = Plan::new(64, 64, 0, 0).unwrap();
        assert_eq!((plan.body_start, plan.pages, plan.len_max()), (6144, 8192, 8192));
        assert!(!plan.has_arena());
        assert_eq!((plan.pages_of(8192), plan.pages_of(12288), plan.pages_of(4096)), (Some(0), None, None));
    }

    #[test]
    fn parts_stand_behind_each_other() {
        let plan = Plan::new(64, 0, 256, 1 << 18).unwrap();
        assert_eq!((plan.catalog, plan.hands, plan.arena_header), (6144, 71_680, 169_984));
        assert_eq!((plan.table, plan.pages), (172_032, 172_032 + (2 << 20)));
        assert_eq!(plan.len_max(), plan.pages + (1 << 30));
        assert_eq!(plan.pages_of(plan.len_with(7)), Some(7));
        assert_eq!(plan.pages_of(plan.len_with(7) + 1), None);
        assert_eq!((plan.backed_with(0), plan.backed_with(513)), (plan.table, plan.table + 2 * PAGE));
    }

    #[test]
    fn no_numbers_overflow() {
        assert_eq!(Plan::new(64, u64::MAX, 0, 0), None);
        assert_eq!(Plan::new(64, 0, u32::MAX, 0), None);
        assert_eq!(Plan::new(u32::MAX, 0, 0, 0), None);
        assert_eq!(Plan::new(64, 0, 0, u64::MAX), None);
        assert_eq!(Plan::new(64, LEN_MAX, 65_536, LEN_MAX / PAGE), None);
    }
}
