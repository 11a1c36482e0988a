//! Who looks at a segment and takes no part in it.
//!
//! The file is opened for reading and mapped for reading, so the kernel keeps the promise that nothing is changed:
//! no row is taken, no lock, no hold on an object. So an object may be removed while it is looked at, and its memory may
//! become another's: each look is held against the object's entry afterwards.

use crate::error::{Error, Result};
use crate::raw::catalog::State;
use crate::segment::access::{Placed, Region};
use crate::segment::arena::Arena;
use crate::segment::body::removed;
use crate::segment::catalog::Catalog;
use crate::segment::fixed::Fixed;
use crate::segment::growth::Growth;
use crate::segment::header::Header;
use crate::segment::inspect::{self, Inspection, ObjectReport};
use crate::segment::layout::{Entry, ObjectKind, life_byte};
use crate::segment::name::{Name, not_found};
use crate::segment::named::SegmentOptions;
use crate::segment::open::Segment;
use crate::segment::recover::Ground;
use crate::segment::tag::TypeTag;
use crate::segment::trust;
use crate::sync::{AtomicU64, Ordering, fence};
use crate::sys::fork::ForkWord;
use crate::sys::mapping::Mapping;
use crate::sys::names::{self, Access};
use crate::sys::{backing, liveness};
use core::fmt;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

/// Rounds in which an object may be removed while it is looked for.
const ROUNDS: u32 = 1000;

/// A segment that is only looked at: by a monitor, by a user who may read and not write.
///
/// It is no participant: it takes no row, holds nothing, keeps nothing alive and is seen by nobody. It has no method that
/// changes anything; the memory is mapped for reading alone. Clones are cheap.
///
/// # When a process dies
///
/// An observer recovers nothing, and waits for nobody: what it reads is what was committed last.
///
/// # Examples
///
/// ```
/// use mutirao::{Queue, Segment, Value};
///
/// # let name = &format!("observer-{}", std::process::id());
/// let shop = Segment::create(name, 1 << 20)?;
/// let done = Value::create(&shop, "done", 0u64)?;
/// let orders = Queue::<String>::create(&shop, "orders", 16)?;
/// done.store(3)?;
/// orders.send("bread".into())?;
///
/// // In another program:
/// let observer = Segment::open_read_only(name)?;
/// assert_eq!(observer.value::<u64>("done")?.load()?, 3);
/// assert_eq!(observer.queue::<String>("orders")?.len()?, 1);
/// println!("{}", observer.inspect());
/// # Ok::<(), mutirao::Error>(())
/// ```
///
/// Writing does not compile:
///
/// ```compile_fail
/// # let observer = mutirao::Segment::open_read_only("shop").unwrap();
/// observer.value::<u64>("done").unwrap().store(4);
/// ```
#[derive(Clone)]
pub struct Observer {
    seen: Arc<Seen>,
}

struct Seen {
    header: Header,
    fixed: Fixed,
    region: Region,
    arena: Option<Arena>,
    catalog: Catalog,
    fd: Arc<OwnedFd>,
}

impl Observer {
    fn open_at(path: &Path, options: &SegmentOptions) -> Result<Self> {
        let fd = names::open(path, Access::Read)?;
        let facts = backing::facts_of_named(fd.as_fd())?;
        let header = trust::verify_named(fd.as_fd(), &facts, path, options.trusted())?;
        let plan = &header.plan;
        let region = Region::of(Mapping::read_only(fd.as_fd(), plan.len_max())?);
        let fixed = Fixed::resolve(&region, plan.rows)?;
        let fd = Arc::new(fd);
        let fork = ForkWord::of_this_process().map_err(|e| Error::io("preparing for forks", e))?;
        let growth = Growth::resolve(&region, plan, plan.pages_of(facts.len).unwrap_or(0), &fd)?;
        let arena = growth.map(|growth| Arena::new(growth, fork));
        let catalog = Catalog::resolve(&region, plan)?;
        Ok(Self { seen: Arc::new(Seen { header, fixed, region, arena, catalog, fd }) })
    }

    /// The number that no other segment has.
    pub fn uuid(&self) -> [u8; 16] {
        self.seen.header.uuid
    }

    /// As [`Segment::inspect`].
    pub fn inspect(&self) -> Inspection {
        let fd = self.seen.fd.as_fd();
        let is_dead = |row| matches!(liveness::is_held(fd, life_byte(row)), Ok(false));
        inspect::of(&self.seen.ground(), &self.seen.fixed, None, is_dead)
    }

    /// As [`Segment::objects`].
    pub fn objects(&self) -> Vec<ObjectReport> {
        inspect::objects(&self.seen.ground())
    }

    /// The segment's blocks, if it has an arena.
    pub(crate) fn arena(&self) -> Option<&Arena> {
        self.seen.arena.as_ref()
    }

    /// The object of this name.
    pub(crate) fn sight(&self, name: Name<'_>, kind: ObjectKind, tag: &TypeTag) -> Result<Sight> {
        name.check()?;
        let Seen { header, region, catalog, arena, .. } = &*self.seen;
        let given = name.tag().map(|given| tag.clone().given(given));
        // Bounded: each round an object of that name was removed while we looked at it.
        for _ in 0..ROUNDS {
            let Some((number, state)) = catalog.find(name.get()) else {
                return Err(not_found(name.get(), catalog.names()));
            };
            let found = catalog.entry(number)?.described();
            let offset = header.plan.catalog + (number * size_of::<Entry>()) as u64;
            let word = region.placed::<AtomicU64>(offset)?;
            let body = found.and_then(|found| {
                given.as_ref().unwrap_or(tag).expect(kind, found.kind, &found.tag)?;
                let arena =
                    arena.as_ref().ok_or_else(|| Error::corrupt("the segment", "a catalog without an arena"))?;
                Ok((arena.region(found.block)?.part(0, found.body_len)?, found.shape))
            });
            let sight = |(body, shape)| Sight { body, shape, word: word.clone(), state, observer: self.clone() };
            // What was read of an entry that has changed meanwhile says nothing.
            if is_still(&word, state) {
                return body.map(sight);
            }
        }
        Err(not_found(name.get(), catalog.names()))
    }
}

impl Seen {
    fn ground(&self) -> Ground<'_> {
        Ground { header: &self.header, region: &self.region, arena: self.arena.as_ref(), catalog: &self.catalog }
    }
}

/// Whether the object is still the one that was found. What was read before this was its.
fn is_still(word: &AtomicU64, state: State) -> bool {
    // Whoever writes the memory as another's fences after the entry has changed.
    fence(crate::order!(object_look, Acquire));
    word.load(Ordering::Relaxed) == state.word()
}

/// An object that is only looked at.
#[derive(Clone)]
pub(crate) struct Sight {
    pub body: Region,
    pub shape: [u64; 4],
    word: Placed<AtomicU64>,
    state: State,
    pub observer: Observer,
}

impl Sight {
    /// What was read, if the object was there all the time.
    pub(crate) fn checked<R>(&self, read: Result<R>) -> Result<R> {
        if is_still(&self.word, self.state) { read } else { Err(removed()) }
    }
}

impl SegmentOptions {
    /// As [`Segment::open_read_only`], with these options.
    ///
    /// # Errors
    ///
    /// As [`Segment::open_read_only`].
    pub fn open_read_only(&self, name: &str) -> Result<Observer> {
        Observer::open_at(&self.path_of(name)?, self)
    }
}

impl Segment {
    /// The segment of this name, to be looked at only. It takes no row, and needs no right to write.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open), but never [`is_exhausted`](Error::is_exhausted).
    pub fn open_read_only(name: &str) -> Result<Observer> {
        Self::options().open_read_only(name)
    }
}

impl fmt::Debug for Observer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Observer").field("uuid", &format_args!("{:032x}", u128::from_be_bytes(self.uuid()))).finish()
    }
}
