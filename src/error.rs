//! What can go wrong, in one opaque type whose message says what happened, to what, and what to do.

use std::borrow::Cow;
use std::io;

/// `Result` with this crate's [`Error`].
pub type Result<T, E = Error> = core::result::Result<T, E>;

/// What went wrong, to what, and what to do about it.
///
/// The kind is asked by predicates ([`is_timeout`](Error::is_timeout), [`is_closed`](Error::is_closed),
/// [`is_corrupt`](Error::is_corrupt), ...), so that kinds can be added without breaking a caller.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct Error(Box<Kind>);

/// The kinds. Messages are written where the facts are known.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum Kind {
    #[error("{what} timed out; the other side may be slow, stopped or gone")]
    Timeout { what: &'static str },
    #[error("{what} would have to wait; use the blocking form or try again")]
    WouldBlock { what: &'static str },
    #[error("{what} is closed; nothing can be sent to it any more")]
    Closed { what: &'static str },
    #[error("{what} was removed from its segment; nothing can be done with it any more")]
    Removed { what: &'static str },
    #[error("every registered {peers} of the {what} is gone; nothing more can happen on it")]
    Disconnected { what: &'static str, peers: &'static str },
    #[error("{what} was lost {rounds} times in a row to others; try again")]
    Contended { what: &'static str, rounds: u32 },
    #[error("{what} is damaged: {how}; recreate it")]
    Corrupt { what: Cow<'static, str>, how: Cow<'static, str> },
    #[error("{what} is not possible: {why}")]
    Invalid { what: Cow<'static, str>, why: Cow<'static, str> },
    #[error("{what} needs {needed} bytes, {available} are available; {advice}")]
    OutOfMemory { what: Cow<'static, str>, needed: u64, available: u64, advice: &'static str },
    #[error(
        "an item of {len} bytes does not fit a cell of {cell} bytes; create the queue with larger cells (`Queue::options().cell_bytes(n)`)"
    )]
    TooLarge { len: u64, cell: u64 },
    #[error("{what} of {len} bytes is too large for the dictionary, which can take {most}; make it with more memory")]
    EntryTooLarge { what: &'static str, len: u64, most: u64 },
    #[error("the segment holds a {found}, not a {wanted}; open it as what it was made as")]
    WrongType { found: String, wanted: String },
    #[error("{what}: format {found}, this build reads {reads}; recreate the segment or upgrade")]
    Version { what: &'static str, found: u32, reads: u32 },
    #[error("this is none of our segments: {why}")]
    NotASegment { why: Cow<'static, str> },
    #[error("{what} exists already; open it, or remove it first")]
    Exists { what: Cow<'static, str> },
    #[error("there is no {what}; {advice}")]
    NotFound { what: Cow<'static, str>, advice: Cow<'static, str> },
    #[error("{what} may not be used: {why}")]
    Denied { what: Cow<'static, str>, why: Cow<'static, str> },
    #[error("all {rows} rows of the segment are taken by living participants; make it with more rows or let one leave")]
    RowsFull { rows: u32 },
    #[error(
        "all {objects} entries of the segment's catalog are taken; remove an object, or make the segment with more (`Segment::options().objects(n)`)"
    )]
    CatalogFull { objects: u32 },
    #[error("all {hands} hands of this process hold a block of the segment; finish or drop one before taking another")]
    HandsFull { hands: u32 },
    #[error(
        "all {leases} places for leases of the queue are taken, {letters} of them by dead letters; acknowledge some, take the dead letters out, or make the queue with more (`Queue::options().leases(n)`)"
    )]
    LeasesFull { leases: u32, letters: u32 },
    #[error("all places of {what} are taken; give some back, or declare damaged ones whole, and try again")]
    TableFull { what: &'static str },
    #[error("the segment has given out all its participant ids and traces of old ones remain; recreate it")]
    IdsExhausted,
    #[error(
        "no descriptor of our own for the segment could be opened: /proc is not mounted ({source}); mount it, or take the segment from a sender that opens one for this process"
    )]
    NoProc { source: io::Error },
    #[error("this file system or sandbox does not support {what}; proof of life needs it")]
    Unsupported { what: &'static str },
    #[error(
        "this handle belongs to the process that forked us; call `reattach()` on it, or start children with `Process::spawn`"
    )]
    Forked,
    #[error(
        "`mutirao::init()` was not called; add it as the first line of `main` (in tests: `mutirao::testing::entry!();` at the top of the file)"
    )]
    NotInitialised,
    #[error(
        "a handle inside {what} must live in that container's own segment or in a named one; a spawned process can take it as an argument instead"
    )]
    NotReachable { what: &'static str },
    #[error("{what} could not be encoded or decoded: {why}; its Serialize and Deserialize must agree")]
    Codec { what: &'static str, why: String },
    #[error("the child process {who} {how}")]
    Child { who: String, how: String },
    #[error("{what} ran into the limit of {limit}: {source}; raise it, or have fewer at a time")]
    Limit { what: String, limit: &'static str, source: io::Error },
    #[error("{how}")]
    Task { how: String, cancelled: bool },
    #[error("{what}: {source}")]
    Io { what: Cow<'static, str>, source: io::Error },
}

macro_rules! predicates {
    ($($(#[$doc:meta])* $name:ident: $pattern:pat,)*) => {
        impl Error {
            $($(#[$doc])* pub fn $name(&self) -> bool { matches!(*self.0, $pattern) })*
        }
    };
}

predicates! {
    /// The deadline of the call passed.
    is_timeout: Kind::Timeout { .. },
    /// A `try_` form found that it would have to wait.
    is_would_block: Kind::WouldBlock { .. },
    /// The queue was closed (and, for a receiver, drained).
    is_closed: Kind::Closed { .. },
    /// The object was removed from its segment while the handle was there.
    is_removed: Kind::Removed { .. },
    /// Every registered participant of the other side is gone.
    is_disconnected: Kind::Disconnected { .. },
    /// Others were faster very many times in a row.
    is_contended: Kind::Contended { .. },
    /// The bytes in the segment make no sense.
    is_corrupt: Kind::Corrupt { .. },
    /// An argument can not be right: a capacity of zero, a size beyond the machine.
    is_invalid: Kind::Invalid { .. },
    /// Memory could not be reserved; the message has the bytes needed and available.
    is_out_of_memory: Kind::OutOfMemory { .. },
    /// An item is larger than a cell, a key or a value larger than what the dictionary can take.
    is_too_large: Kind::TooLarge { .. } | Kind::EntryTooLarge { .. },
    /// Another type is under the handle.
    is_wrong_type: Kind::WrongType { .. },
    /// The segment was made by another version of the format.
    is_wrong_version: Kind::Version { .. },
    /// The descriptor or the bytes are no segment.
    is_not_a_segment: Kind::NotASegment { .. },
    /// What was to be created exists.
    is_exists: Kind::Exists { .. },
    /// There is nothing of that name.
    is_not_found: Kind::NotFound { .. },
    /// The permissions of a file do not allow it, or whoever may write it is not trusted.
    is_denied: Kind::Denied { .. },
    /// No row, no id, no hand, no entry of a catalog is left for another, or no place in a table; or a limit of the
    /// system was reached: of processes, of descriptors.
    is_exhausted: Kind::Limit { .. } | Kind::RowsFull { .. } | Kind::IdsExhausted | Kind::HandsFull { .. } | Kind::CatalogFull { .. } | Kind::LeasesFull { .. } | Kind::TableFull { .. },
    /// Something of the system is missing: `/proc`, or locks on open file descriptions.
    is_unsupported: Kind::NoProc { .. } | Kind::Unsupported { .. },
    /// The handle was inherited by `fork`.
    is_forked: Kind::Forked,
    /// `init` was not called in this process.
    is_not_initialised: Kind::NotInitialised,
    /// A handle can not be reached from where it would go.
    is_not_reachable: Kind::NotReachable { .. },
    /// A value could not be encoded or decoded.
    is_codec: Kind::Codec { .. },
    /// A child process ended badly: a panic, an exit code, a signal.
    is_child_failure: Kind::Child { .. },
    /// A task of a pool has no result; [`TaskError`](crate::TaskError) has more to ask.
    is_task_failure: Kind::Task { .. },
    /// A task of a pool was cancelled, or the pool ended before it was done.
    is_cancelled: Kind::Task { cancelled: true, .. },
}

impl Error {
    pub(crate) fn corrupt(what: impl Into<Cow<'static, str>>, how: impl Into<Cow<'static, str>>) -> Self {
        Kind::Corrupt { what: what.into(), how: how.into() }.into()
    }

    /// An item that is too large, as a part of a dictionary's entry.
    pub(crate) fn of_entry(self, what: &'static str) -> Self {
        match *self.0 {
            Kind::TooLarge { len, cell } => Kind::EntryTooLarge { what, len, most: cell }.into(),
            _ => self,
        }
    }

    pub(crate) fn invalid(what: impl Into<Cow<'static, str>>, why: impl Into<Cow<'static, str>>) -> Self {
        Kind::Invalid { what: what.into(), why: why.into() }.into()
    }

    pub(crate) fn io(what: impl Into<Cow<'static, str>>, source: impl Into<io::Error>) -> Self {
        Kind::Io { what: what.into(), source: source.into() }.into()
    }
}

impl From<Kind> for Error {
    #[cold]
    fn from(kind: Kind) -> Self {
        Self(Box::new(kind))
    }
}
