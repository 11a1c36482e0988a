//! Segments that strangers meet in by name.
//!
//! A segment gets its name when it is whole and its maker lives in it, so nobody meets a half-made one, and the
//! next one to leave does not take it for abandoned.

use crate::error::{Error, Kind, Result};
use crate::segment::attachment::{Attachment, Found};
use crate::segment::header::{FIRST_STEP, Header, Lifetime, Spec};
use crate::segment::layout::{self, NAME_BYTE};
use crate::segment::naming::{self, PATIENCE_ROUNDS};
use crate::segment::open::Segment;
use crate::segment::trust::{self, Trust};
use crate::sys::mapping::MemoryWish;
use crate::sys::names::{self, Access, Unpublished};
use crate::sys::{backing, liveness};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use zerocopy::IntoBytes;

/// Where a name leads unless said otherwise: where POSIX shared memory has its names.
const DIRECTORY: &str = "/dev/shm";

/// How a segment is made and found. From [`Segment::options`].
///
/// # Examples
///
/// ```
/// use mutirao::{Lifetime, Segment};
///
/// let options = Segment::options().directory("/tmp").objects(16).first(64 << 10).lifetime(Lifetime::Persistent);
/// # let options = options.mode(0o600);
/// # let name = &format!("options-{}", std::process::id());
/// let shop = options.create(name, 16 << 20)?;
/// assert!(options.create(name, 16 << 20).unwrap_err().is_exists());
/// assert_eq!(options.open(name)?.uuid(), shop.uuid());
/// options.unlink(name)?;
/// # Ok::<(), mutirao::Error>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "options make nothing"]
pub struct SegmentOptions {
    directory: PathBuf,
    mode: u32,
    trust: Option<Trust>,
    rows: u32,
    objects: u32,
    first: Option<u64>,
    lifetime: Lifetime,
    memory: MemoryWish,
}

impl Default for SegmentOptions {
    fn default() -> Self {
        Self {
            directory: DIRECTORY.into(),
            mode: 0o600,
            trust: None,
            rows: layout::ROWS_DEFAULT,
            objects: layout::OBJECTS_DEFAULT,
            first: None,
            lifetime: Lifetime::default(),
            memory: MemoryWish::default(),
        }
    }
}

impl SegmentOptions {
    /// Where the name stands: `/dev/shm` unless said otherwise. A directory that others may write needs the sticky
    /// bit, as `/tmp` has it, or they can take the name away.
    pub fn directory(mut self, directory: impl AsRef<Path>) -> Self {
        self.directory = directory.as_ref().into();
        self
    }

    /// Permissions of a new segment, whatever the umask says: 0600 unless said otherwise. Whoever may write it can
    /// spoil everything in it, so a segment for more than one user is opened only by programs that say the same, or
    /// whom they [trust](Self::trust).
    pub fn mode(mut self, mode: u32) -> Self {
        self.mode = mode;
        self
    }

    /// Whose segments to open: those of the user of this process, unless [`mode`](Self::mode) says that others may
    /// write.
    pub fn trust(mut self, trust: Trust) -> Self {
        self.trust = Some(trust);
        self
    }

    /// The most participants of a new segment at a time: 64 unless said otherwise, at most 256.
    #[doc(alias = "rows")]
    pub fn participants(mut self, participants: u32) -> Self {
        self.rows = participants;
        self
    }

    /// The most objects of a new segment: 256 unless said otherwise, at most 65 536.
    pub fn objects(mut self, objects: u32) -> Self {
        self.objects = objects;
        self
    }

    /// Bytes of a new segment that are reserved at once: 1 MiB unless said otherwise. The rest is reserved as it is
    /// needed.
    pub fn first(mut self, bytes: u64) -> Self {
        self.first = Some(bytes);
        self
    }

    /// How long the name of a new segment stays: until the last participant leaves, unless said otherwise.
    pub fn lifetime(mut self, lifetime: Lifetime) -> Self {
        self.lifetime = lifetime;
        self
    }

    /// Maps every page that is reserved at once, so that its first touch costs nothing. Opening takes longer.
    #[doc(alias = "populate")]
    pub fn prefault(mut self, prefault: bool) -> Self {
        self.memory.prefault = prefault;
        self
    }

    /// Large pages of 2 MiB: unless said otherwise, wherever one is reserved as a whole, that is for large objects at once and for an
    /// arena that grows beyond 64 MiB (`MADV_COLLAPSE`, Linux 6.1). `true`: also wherever else the kernel has some
    /// (`/sys/kernel/mm/transparent_hugepage/shmem_enabled`). `false`: nowhere, for who must not wait for a kernel that makes room
    /// for one. A hint: without them everything works the same, lookups in large tables take a fifth to a half longer.
    pub fn huge_pages(mut self, huge_pages: bool) -> Self {
        self.memory.huge_pages = Some(huge_pages);
        self
    }

    /// A new segment without a name. `directory`, `mode`, `trust` and `lifetime` mean nothing to it.
    ///
    /// # Errors
    ///
    /// As [`Segment::anonymous`]; [`is_invalid`](Error::is_invalid) for options that fit no segment.
    pub fn anonymous(&self, bytes: u64) -> Result<Segment> {
        Segment::made_with(&self.spec(bytes, None), self.memory)
    }

    /// As [`Segment::create`], with these options.
    ///
    /// # Errors
    ///
    /// As [`Segment::create`].
    pub fn create(&self, name: &str, bytes: u64) -> Result<Segment> {
        let path = self.path_of(name)?;
        let header = Header::new(&self.spec(bytes, Some(self.lifetime)), liveness::random_16(), liveness::boot_id())?;
        if self.mode & !0o777 != 0 || self.mode & 0o600 != 0o600 {
            let why =
                format!("{:#o} is no mode that lets its owner read and write and no more than permissions", self.mode);
            return Err(Error::invalid("a new segment", why));
        }
        naming::make_way(&path, self.trusted())?;
        let (mut file, shared, own) = Unpublished::new(&self.directory, self.mode, NAME_BYTE)?;
        let has_large = self.memory.has_large();
        backing::fill(shared.as_fd(), &header.backed(header.len), header.to_raw().as_bytes(), has_large)?;
        let facts = backing::facts_of_named(shared.as_fd())?;
        let found = Found { shared, own: Some(own), facts, header, path: Some(path.clone()), memory: self.memory };
        let segment = Segment::attach(found)?;
        // Bounded: each round somebody else had the name and is gone.
        for _ in 0..PATIENCE_ROUNDS {
            if file.publish(segment.as_fd(), &path)? {
                return Ok(segment);
            }
            naming::make_way(&path, self.trusted())?;
        }
        Err(contended())
    }

    /// As [`Segment::open`], with these options.
    ///
    /// # Errors
    ///
    /// As [`Segment::open`].
    pub fn open(&self, name: &str) -> Result<Segment> {
        self.open_at(&self.path_of(name)?)
    }

    pub(crate) fn open_at(&self, path: &Path) -> Result<Segment> {
        // Bounded: each round the file was replaced while we looked at it.
        for _ in 0..PATIENCE_ROUNDS {
            let own = names::open(path, Access::Write)?;
            let facts = backing::facts_of_named(own.as_fd())?;
            let segment = match Attachment::known(facts.id) {
                Some(known) => Segment::of(known),
                None => {
                    let header = trust::verify_named(own.as_fd(), &facts, path, self.trusted())?;
                    let shared = names::open(path, Access::Write)?;
                    if backing::file_id(shared.as_fd())? != facts.id {
                        continue;
                    }
                    let path = Some(path.to_path_buf());
                    Segment::attach(Found { shared, own: Some(own), facts, header, path, memory: self.memory })?
                }
            };
            if segment.attachment().is_still_named(path)? {
                segment.attachment().reap_if_alone();
                return Ok(segment);
            }
        }
        Err(contended())
    }

    /// As [`Segment::open_or_create`], with these options.
    ///
    /// # Errors
    ///
    /// As [`Segment::open_or_create`].
    pub fn open_or_create(&self, name: &str, bytes: u64) -> Result<Segment> {
        let path = self.path_of(name)?;
        for _ in 0..PATIENCE_ROUNDS {
            match self.open_at(&path) {
                Err(error) if error.is_not_found() => {}
                // What nobody can use and nobody lives in is in the way of nobody.
                Err(error) if error.is_corrupt() || error.is_wrong_version() || error.is_not_a_segment() => {
                    naming::make_way(&path, self.trusted()).map_err(|_| error)?;
                }
                opened => return opened,
            }
            match self.create(name, bytes) {
                Err(error) if error.is_exists() => {}
                created => return created,
            }
        }
        Err(contended())
    }

    /// As [`Segment::unlink`], in the directory of these options.
    ///
    /// # Errors
    ///
    /// As [`Segment::unlink`].
    pub fn unlink(&self, name: &str) -> Result<()> {
        naming::unlink(&self.path_of(name)?)
    }

    /// Where the name stands.
    pub(crate) fn path_of(&self, name: &str) -> Result<PathBuf> {
        naming::place(&self.directory, name)
    }

    /// Whom these options trust.
    pub(crate) fn trusted(&self) -> Trust {
        self.trust.unwrap_or(match self.mode {
            mode if mode & 0o002 != 0 => Trust::Any,
            mode if mode & 0o020 != 0 => Trust::Group,
            _ => Trust::Owner,
        })
    }

    fn spec(&self, bytes: u64, lifetime: Option<Lifetime>) -> Spec {
        let first = self.first.unwrap_or(bytes.min(FIRST_STEP));
        let spec = Spec::arena(bytes).with_arena(bytes, first).with_objects(self.objects);
        Spec { rows: self.rows, lifetime, ..spec }
    }
}

#[cold]
fn contended() -> Error {
    Kind::Contended { what: "the name of the segment", rounds: PATIENCE_ROUNDS }.into()
}

impl Segment {
    /// How a segment is made and found: permissions, trust, sizes, directory, lifetime.
    pub fn options() -> SegmentOptions {
        SegmentOptions::default()
    }

    /// A new segment of this name, for objects that take up to `bytes` bytes together: the file
    /// `/dev/shm/NAME`, of mode 0600. Memory is reserved as it is needed, in small steps. Nobody meets it before it
    /// is whole. One that only the dead took part in is replaced, unless its lifetime is
    /// [`Persistent`](Lifetime::Persistent).
    ///
    /// The name goes when the last participant leaves: when the last handle of the last process is dropped.
    ///
    /// # Errors
    ///
    /// [`is_exists`](Error::is_exists) when there is one; [`is_invalid`](Error::is_invalid) for a name with a slash, a
    /// dot first, control characters or more than 255 bytes, and for a size beyond the machine;
    /// [`is_out_of_memory`](Error::is_out_of_memory) with the bytes needed and available;
    /// [`is_not_a_segment`](Error::is_not_a_segment) or [`is_denied`](Error::is_denied) when something else has the name,
    /// or the directory may not be written; [`is_unsupported`](Error::is_unsupported) where the file system has no
    /// locks of open file descriptions.
    ///
    /// # Examples
    ///
    /// ```
    /// use mutirao::Segment;
    ///
    /// # let name = &format!("create-{}", std::process::id());
    /// let shop = Segment::create(name, 1 << 20)?;
    /// // In another program:
    /// let same = Segment::open(name)?;
    /// assert_eq!(shop.uuid(), same.uuid());
    /// # Ok::<(), mutirao::Error>(())
    /// ```
    #[doc(alias = "SharedMemory")]
    #[doc(alias = "shm_open")]
    pub fn create(name: &str, bytes: u64) -> Result<Self> {
        Self::options().create(name, bytes)
    }

    /// The segment of this name. One whose participants are all dead is opened with everything that is in it.
    ///
    /// # Errors
    ///
    /// [`is_not_found`](Error::is_not_found); [`is_denied`](Error::is_denied) when it may not be opened, or when
    /// others than this user may write it; [`is_not_a_segment`](Error::is_not_a_segment),
    /// [`is_wrong_version`](Error::is_wrong_version), [`is_corrupt`](Error::is_corrupt) for something else of that name;
    /// [`is_exhausted`](Error::is_exhausted) when all rows are taken.
    pub fn open(name: &str) -> Result<Self> {
        Self::options().open(name)
    }

    /// The segment of this name if there is one, whatever its size; else a new one. Of several who call it at once
    /// one creates and the others open.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open) and [`create`](Self::create). A damaged segment, or one of another version, in which
    /// nobody lives any more is replaced.
    pub fn open_or_create(name: &str, bytes: u64) -> Result<Self> {
        Self::options().open_or_create(name, bytes)
    }

    /// Takes the name away. Whoever has the segment open goes on using it; the name is free for a new one at once.
    ///
    /// # Errors
    ///
    /// [`is_not_found`](Error::is_not_found), [`is_denied`](Error::is_denied); [`is_not_a_segment`](Error::is_not_a_segment)
    /// for something else of that name, which stays.
    #[doc(alias = "shm_unlink")]
    pub fn unlink(name: &str) -> Result<()> {
        Self::options().unlink(name)
    }
}
