//! The segment as users hold it, and the body of its object as handles hold it.

use crate::error::{Error, Result};
use crate::segment::attachment::{Attachment, Found};
use crate::segment::header::{Header, Spec};
use crate::segment::inspect::{self, Inspection};
use crate::segment::{trust, watcher};
use crate::sys::backing::FileId;
use crate::sys::mapping::MemoryWish;
use crate::sys::{backing, liveness, names};
use core::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use zerocopy::IntoBytes;

/// A memory-mapped file that processes share, and this process's part in it.
///
/// A segment made by [`anonymous`](Segment::anonymous) or by an object's `new` has no name: the kernel
/// frees it with its last user. It is handed to a child as a spawn argument, and to a program that shares
/// no ancestor over a Unix socket by [`send_to`](Segment::send_to) and [`receive_from`](Segment::receive_from).
/// A process has one mapping of a segment, however often it opens it; clones are cheap.
///
/// # When a process dies
///
/// Its row is freed, and what it held is recovered, by whoever meets the traces; nobody has to ask for it.
///
/// # Examples
///
/// ```
/// use mutirao::{Queue, Segment};
/// use std::os::unix::net::UnixStream;
///
/// let (ours, theirs) = UnixStream::pair().unwrap();
/// let orders = Queue::<String>::new(16)?;
/// orders.segment().send_to(&ours)?;
///
/// // In another program:
/// let received = Segment::receive_from(&theirs)?;
/// let same = Queue::<String>::attach(&received)?;
/// orders.send("bread".into())?;
/// assert_eq!(same.recv()?, "bread");
/// # Ok::<(), mutirao::Error>(())
/// ```
#[derive(Clone)]
pub struct Segment {
    attachment: Arc<Attachment>,
}

impl Segment {
    /// A new segment without a name, for objects that take up to `bytes` bytes together. Memory is reserved as it
    /// is needed, in steps of 256 KiB, and of 2 MiB beyond 64 MiB.
    ///
    /// # Errors
    ///
    /// [`is_out_of_memory`](Error::is_out_of_memory) with the bytes needed and available;
    /// [`is_invalid`](Error::is_invalid) for a size beyond the machine; [`is_unsupported`](Error::is_unsupported)
    /// without `/proc` or without locks of open file descriptions.
    pub fn anonymous(bytes: u64) -> Result<Self> {
        Self::made_as(&Spec::arena(bytes))
    }

    /// A new segment without a name.
    pub(crate) fn made_as(spec: &Spec) -> Result<Self> {
        Self::made_with(spec, MemoryWish::default())
    }

    pub(crate) fn made_with(spec: &Spec, memory: MemoryWish) -> Result<Self> {
        let header = Header::new(spec, liveness::random_16(), liveness::boot_id())?;
        let shared =
            backing::create_sealed(&header.backed(header.len), header.to_raw().as_bytes(), memory.has_large())?;
        let facts = backing::facts(shared.as_fd())?;
        Self::attach(Found { shared, own: None, facts, header, path: None, memory })
    }

    /// The segment behind a descriptor that came from elsewhere. Seals, mode and size are verified before
    /// anything is mapped, and no byte of it is trusted afterwards.
    ///
    /// # Errors
    ///
    /// [`is_not_a_segment`](Error::is_not_a_segment) for a descriptor of something else, one that is not sealed, or
    /// one that others may open; [`is_wrong_version`](Error::is_wrong_version); [`is_corrupt`](Error::is_corrupt) for a
    /// truncated or damaged one; [`is_exhausted`](Error::is_exhausted) when all rows are taken.
    pub fn from_fd(fd: OwnedFd) -> Result<Self> {
        let facts = backing::facts(fd.as_fd())?;
        if let Some(known) = Attachment::known(facts.id) {
            return Ok(Self::of(known));
        }
        let header = trust::verify_handed(fd.as_fd(), &facts)?;
        let path = header.lifetime.and_then(|_| names::name_of(fd.as_fd()));
        Self::attach(Found { shared: fd, own: None, facts, header, path, memory: MemoryWish::default() })
    }

    pub(crate) fn attach(found: Found) -> Result<Self> {
        Ok(Self { attachment: Attachment::of(found, watcher::start)? })
    }

    pub(crate) fn of(attachment: Arc<Attachment>) -> Self {
        Self { attachment }
    }

    /// The same segment for a child that inherited this handle by `fork`: a mapping, a row and an id of its
    /// own. In the process that made the handle it is a clone.
    ///
    /// # Errors
    ///
    /// As [`from_fd`](Segment::from_fd).
    pub fn reattach(&self) -> Result<Self> {
        if self.attachment.is_ours() {
            return Ok(self.clone());
        }
        let fd = self.as_fd().try_clone_to_owned().map_err(|e| Error::io("copying a descriptor", e))?;
        Self::from_fd(fd)
    }

    /// Bytes of the segment, as this process last saw it; others may have made it longer.
    #[allow(clippy::len_without_is_empty)] // a segment always has its header
    pub fn len(&self) -> u64 {
        self.attachment.len()
    }

    /// Bytes that the segment can have at most.
    pub fn len_max(&self) -> u64 {
        self.attachment.header().plan.len_max()
    }

    /// Bytes of memory that the segment occupies now.
    ///
    /// # Errors
    ///
    /// When the kernel refuses to look at the descriptor.
    pub fn committed_len(&self) -> Result<u64> {
        Ok(backing::facts(self.as_fd())?.committed)
    }

    /// The number that no other segment has.
    pub fn uuid(&self) -> [u8; 16] {
        self.attachment.header().uuid
    }

    /// Who takes part, what the object says of itself, how many ids are left. Reads only; what it says may
    /// be over a moment later. Works in a forked child too.
    pub fn inspect(&self) -> Inspection {
        let attachment = &self.attachment;
        let me = attachment.is_ours().then(|| attachment.row());
        inspect::of(&attachment.ground(), attachment.fixed(), me, |row| attachment.row_is_dead(row))
    }

    /// The segment with this file, if this process is attached to it.
    pub(crate) fn of_this_process(file: FileId) -> Option<Self> {
        Attachment::known(file).map(|attachment| Self { attachment })
    }

    pub(crate) fn attachment(&self) -> &Attachment {
        &self.attachment
    }
}

impl AsFd for Segment {
    /// The descriptor that may be given to others. It carries no lock.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.attachment.shared_fd()
    }
}

impl fmt::Debug for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let header = self.attachment.header();
        f.debug_struct("Segment").field("object", &header.kind).field("len", &self.len()).finish_non_exhaustive()
    }
}
