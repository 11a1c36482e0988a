//! Bytes: what a segment looks like, who is attached to it, and the only pointers into it.
//!
//! Algorithms are below (`raw`), types are above (`handle`). Nothing here knows what an item is; nothing
//! outside of here turns an offset into an address. Every bound is held against the length that *this
//! process* measured, never against a number found in the segment.

pub(crate) mod access;
pub(crate) mod adopt;
pub(crate) mod allocate;
pub(crate) mod arena;
pub(crate) mod attachment;
#[doc(hidden)]
pub mod bench;
pub(crate) mod body;
pub(crate) mod catalog;
pub(crate) mod cells;
pub(crate) mod entry;
pub(crate) mod equal;
pub(crate) mod fixed;
pub(crate) mod foreign;
pub(crate) mod free_pages;
pub(crate) mod growth;
pub(crate) mod handoff;
pub(crate) mod header;
pub(crate) mod inspect;
pub(crate) mod keep;
pub(crate) mod layout;
pub(crate) mod list;
pub(crate) mod list_turn;
pub(crate) mod locked;
mod moves;
pub(crate) mod name;
pub(crate) mod named;
pub(crate) mod naming;
pub(crate) mod object;
pub(crate) mod observer;
pub(crate) mod open;
pub(crate) mod pending;
pub(crate) mod plain;
pub(crate) mod recover;
pub(crate) mod rover;
pub(crate) mod seats;
pub(crate) mod spans;
pub(crate) mod spill;
pub(crate) mod supply;
pub(crate) mod table;
pub(crate) mod table_desks;
pub(crate) mod table_kept;
pub(crate) mod table_lookup;
pub(crate) mod table_plan;
pub(crate) mod table_reap;
pub(crate) mod table_record;
pub(crate) mod table_records;
pub(crate) mod table_shelf;
pub(crate) mod table_view;
pub(crate) mod table_words;
pub(crate) mod tag;
pub(crate) mod trust;
pub(crate) mod watcher;

pub use self::foreign::SharedBytes;
pub use self::header::Lifetime;
pub use self::inspect::{Inspection, ObjectReport, ParticipantReport};
pub use self::name::Name;
pub use self::named::SegmentOptions;
pub use self::observer::Observer;
pub use self::open::Segment;
pub use self::plain::{BytesView, PlainData};
pub use self::trust::Trust;
pub use self::watcher::without_watcher;

#[cfg(test)]
mod arena_tests;
#[cfg(test)]
mod table_again_tests;
#[cfg(test)]
mod table_kept_tests;
#[cfg(test)]
mod table_tests;
