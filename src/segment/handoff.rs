//! How handles travel: beside the bytes, as descriptors.
//!
//! A handle serialises as the number of its segment in a list that is collected meanwhile; the segments'
//! descriptors go by `SCM_RIGHTS` (unix(7)). In an item of a container, the container's own segment is written down as
//! that, because whoever takes the item out is attached to it. Elsewhere a segment is written down by its name, and
//! without one it has no meaning to anybody else: serialising it is an error.
//!
//! What is handed over must be there when it arrives. So whoever collects keeps a hold on each object, too.
//!
//! The descriptor that travels is the shared one and carries no lock: a descriptor in a socket's queue
//! would keep a dead sender alive.

use crate::error::{Error, Kind, Result};
use crate::segment::body::Hold;
use crate::segment::named::SegmentOptions;
use crate::segment::open::Segment;
use crate::sys::backing::FileId;
use crate::sys::socket;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::cell::{Cell, RefCell};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;

thread_local! {
    /// The segments of the hand-over that this thread is in the middle of.
    static UNDER_WAY: RefCell<Option<Passengers>> = const { RefCell::new(None) };
    /// Segments that both sides know by their place in this list, for items of the container in that segment.
    static BESIDE: RefCell<Option<(FileId, Arc<[Segment]>)>> = const { RefCell::new(None) };
    /// The segment of the container whose item this thread writes or reads.
    static HOME: Cell<Option<FileId>> = const { Cell::new(None) };
}

/// What handles need on their way.
#[derive(Default)]
pub(crate) struct Passengers {
    pub segments: Vec<Segment>,
    /// Kept until the receiver has its own.
    pub holds: Vec<Arc<Hold>>,
}

/// Runs `f`, in which handles may be serialised; what they need comes out beside its result.
pub(crate) fn export<R>(f: impl FnOnce() -> R) -> (R, Passengers) {
    with_list(Passengers::default(), f)
}

/// Runs `f`, in which handles may be deserialised that were exported with these segments.
pub(crate) fn import<R>(segments: Vec<Segment>, f: impl FnOnce() -> R) -> R {
    with_list(Passengers { segments, holds: Vec::new() }, f).0
}

fn with_list<R>(list: Passengers, f: impl FnOnce() -> R) -> (R, Passengers) {
    /// Puts the outer list back, also when `f` unwinds.
    struct Outer(Option<Passengers>);
    impl Drop for Outer {
        fn drop(&mut self) {
            UNDER_WAY.set(self.0.take());
        }
    }
    /// Puts the outer home back, also when `f` unwinds.
    struct Away(Option<FileId>);
    impl Drop for Away {
        fn drop(&mut self) {
            HOME.set(self.0);
        }
    }
    let outer = Outer(UNDER_WAY.replace(Some(list)));
    // What is handed over while an item is written is no part of the item.
    let away = Away(HOME.replace(None));
    let result = f();
    drop(away);
    let list = UNDER_WAY.take().unwrap_or_default();
    drop(outer);
    (result, list)
}

/// Runs `f`, in which an item of a container in this segment is written or read.
#[inline]
pub(crate) fn at_home<R>(segment: &Segment, f: impl FnOnce() -> R) -> R {
    /// Puts the outer home back, also when `f` unwinds.
    struct Outer(Option<FileId>);
    impl Drop for Outer {
        fn drop(&mut self) {
            HOME.set(self.0);
        }
    }
    let _outer = Outer(HOME.replace(Some(segment.attachment().file_id())));
    f()
}

/// The segment of a container, and those that whoever takes items out of it has as well, in the same order: handles to all of
/// them may be in items.
#[derive(Clone)]
pub(crate) struct Home {
    segment: Segment,
    beside: Arc<[Segment]>,
}

impl Home {
    pub(crate) fn new(segment: Segment, beside: &[Segment]) -> Self {
        Self { segment, beside: beside.into() }
    }

    /// Runs `f`, in which an item is written or read.
    pub(crate) fn within<R>(&self, f: impl FnOnce() -> R) -> R {
        /// Puts the outer list back, also when `f` unwinds.
        struct Outer(Option<(FileId, Arc<[Segment]>)>);
        impl Drop for Outer {
            fn drop(&mut self) {
                BESIDE.set(self.0.take());
            }
        }
        if self.beside.is_empty() {
            return at_home(&self.segment, f);
        }
        let file = self.segment.attachment().file_id();
        let _outer = Outer(BESIDE.replace(Some((file, self.beside.clone()))));
        at_home(&self.segment, f)
    }
}

/// Keeps the object of a handle that is being handed over.
pub(crate) fn keep(hold: &Arc<Hold>) {
    UNDER_WAY.with_borrow_mut(|list| {
        if let Some(list) = list {
            list.holds.push(Arc::clone(hold));
        }
    });
}

/// How a segment is written down.
#[derive(Serialize, Deserialize)]
enum Mention {
    /// By its place among the descriptors that travel beside the bytes.
    Listed(u32),
    /// The one of the container that it is in.
    Home,
    /// By its place in the list that both sides have.
    Beside(u32),
    /// By its name, and by the number that no other segment of that name has.
    Named { path: PathBuf, uuid: [u8; 16] },
}

fn not_reachable() -> Error {
    Kind::NotReachable { what: "an item" }.into()
}

impl Serialize for Segment {
    /// Inside of a hand-over, as in an argument of `Process::spawn`; elsewhere only if the segment has a name.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let file = self.attachment().file_id();
        // An item that is sent in the middle of a hand-over goes its own way.
        let home = HOME.get();
        let listed = || {
            UNDER_WAY.with_borrow_mut(|list| {
                let segments = &mut list.as_mut()?.segments;
                let known = segments.iter().position(|s| s.attachment().file_id() == file);
                let number = known.unwrap_or_else(|| {
                    segments.push(self.clone());
                    segments.len() - 1
                });
                u32::try_from(number).ok().map(Mention::Listed)
            })
        };
        let beside = match home {
            Some(home) if home == file => Some(Mention::Home),
            Some(home) => BESIDE.with_borrow(|list| {
                let (_, list) = list.as_ref().filter(|(of, _)| *of == home)?;
                let number = list.iter().position(|segment| segment.attachment().file_id() == file)?;
                u32::try_from(number).ok().map(Mention::Beside)
            }),
            None => listed(),
        };
        let named = || {
            let path = self.attachment().path()?.to_path_buf();
            Some(Mention::Named { path, uuid: self.uuid() })
        };
        match beside.or_else(named) {
            Some(mention) => mention.serialize(serializer),
            None => Err(serde::ser::Error::custom(not_reachable())),
        }
    }
}

impl<'de> Deserialize<'de> for Segment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error as _;
        match Mention::deserialize(deserializer)? {
            Mention::Listed(number) => {
                let listed =
                    |list: &Option<Passengers>| list.as_ref()?.segments.get(usize::try_from(number).ok()?).cloned();
                UNDER_WAY.with_borrow(listed).ok_or_else(|| D::Error::custom(not_reachable()))
            }
            Mention::Beside(number) => {
                let home = HOME.get();
                let known = |list: &Option<(FileId, Arc<[Segment]>)>| {
                    let (_, list) = list.as_ref().filter(|(of, _)| Some(*of) == home)?;
                    list.get(usize::try_from(number).ok()?).cloned()
                };
                BESIDE.with_borrow(known).ok_or_else(|| D::Error::custom(not_reachable()))
            }
            Mention::Home => {
                HOME.get().and_then(Self::of_this_process).ok_or_else(|| D::Error::custom(not_reachable()))
            }
            Mention::Named { path, uuid } => {
                let segment = SegmentOptions::default().open_at(&path).map_err(D::Error::custom)?;
                if segment.uuid() == uuid { Ok(segment) } else { Err(D::Error::custom(not_reachable())) }
            }
        }
    }
}

impl Segment {
    /// Hands the segment to whoever reads the other end of `socket`, a program that needs no name and no
    /// common ancestor. The receiver gets read and write access.
    ///
    /// # Errors
    ///
    /// When the socket refuses; nothing was sent then.
    pub fn send_to(&self, socket: &UnixStream) -> Result<()> {
        socket::send_descriptors(socket.as_fd(), b"mutirao", &[self.as_fd()])
            .map_err(|e| Error::io("sending a segment over a socket", e))
    }

    /// Takes a segment that was sent by [`send_to`](Segment::send_to). Waits for it as the socket's read timeout says.
    ///
    /// # Errors
    ///
    /// [`is_not_a_segment`](Error::is_not_a_segment) when something else was sent, and the errors of
    /// [`from_fd`](Segment::from_fd).
    pub fn receive_from(socket: &UnixStream) -> Result<Self> {
        let (bytes, fds) = socket::receive_descriptors(socket.as_fd(), 7)
            .map_err(|e| Error::io("receiving a segment over a socket", e))?;
        match <[_; 1]>::try_from(fds) {
            Ok([fd]) if bytes == b"mutirao" => Self::from_fd(fd),
            Ok(_) => Err(Kind::NotASegment { why: "the sender did not send it with `send_to`".into() }.into()),
            Err(fds) => {
                Err(Kind::NotASegment { why: format!("{} descriptors came, not one", fds.len()).into() }.into())
            }
        }
    }
}
