//! What holds for the name of a segment: what it may be, and who takes it away.
//!
//! A name is taken away by the last participant that leaves, by whoever asks for it, and by a creator who finds
//! that all participants are dead. Each holds the NAME byte of the file that the name leads to, and looks again
//! after locking. Each opener first takes its life byte, then waits until nobody holds the NAME byte, and then looks
//! whether the name still leads to its file. So either the opener's life is seen before the name goes, or the
//! opener sees that it went.
//!
//! Who leaves gives up its life first and looks for others then: of two who leave at once the later one sees nobody.

use crate::error::{Error, Kind, Result};
use crate::segment::access::Placed;
use crate::segment::layout::{IDS, NAME_BYTE, ROWS_MAX, life_byte};
use crate::segment::trust::{Trust, look};
use crate::sync::{AtomicU32, Ordering};
use crate::sys::backing::{self, FileId};
use crate::sys::fork::ForkWord;
use crate::sys::liveness;
use crate::sys::names::{self, Access};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// How often a byte that somebody holds is tried again, a millisecond apart.
pub(crate) const PATIENCE_ROUNDS: u32 = 2000;
/// As above, for whoever leaves: what it can not take away, the next opener will.
const LEAVING_ROUNDS: u32 = 100;
/// The longest name, in bytes: what a directory can hold.
const NAME_LEN_MAX: usize = 255;

/// Where `name` stands in `directory`.
pub(crate) fn place(directory: &Path, name: &str) -> Result<PathBuf> {
    let refuse = |why: &'static str| Err(Error::invalid(format!("the name {name:?} for a segment"), why));
    match name {
        "" => refuse("it is empty"),
        _ if name.len() > NAME_LEN_MAX => refuse("it has more than 255 bytes"),
        _ if name.starts_with('.') => refuse("it starts with a dot"),
        _ if name.contains('/') => refuse("it contains a slash; `options().directory(path)` chooses a place"),
        _ if name.contains(char::is_control) => refuse("it contains a control character"),
        _ => Ok(directory.join(name)),
    }
}

/// Whether a living process takes part in the segment behind `fd`, a description without a life byte.
///
/// A held life byte is not enough: a process that left a moment ago may have been forked by another of its threads,
/// and until the child has begun its own program it holds what its parent held. Who leaves takes its id away first;
/// who comes, and has none yet, will look at the name again.
fn is_anybody_alive(fd: BorrowedFd<'_>) -> bool {
    if let Ok(false) = liveness::is_any_held(fd, life_byte(0), ROWS_MAX) {
        return false;
    }
    let mut ids = [0; ROWS_MAX as usize * 4];
    if backing::read_at(fd, &mut ids, IDS).is_err() {
        return true;
    }
    let mut taken = (0..).zip(ids.chunks(4)).filter(|(_, id)| id.iter().any(|byte| *byte != 0));
    taken.any(|(row, _)| liveness::is_held(fd, life_byte(row)).unwrap_or(true))
}

/// What to ask before a name is taken away.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Unless {
    Never,
    AnybodyLives,
}

/// Takes the name away if it leads to `file`. False: it does not, or not any more.
fn take_away(path: &Path, fd: BorrowedFd<'_>, file: FileId, unless: Unless, rounds: u32) -> Result<bool> {
    let locked = liveness::lock_patiently(fd, NAME_BYTE, rounds).map_err(|e| Error::io("taking a name away", e))?;
    if !locked {
        return Err(Kind::Contended { what: "the name of the segment", rounds }.into());
    }
    if unless == Unless::AnybodyLives && is_anybody_alive(fd) || names::file_of(path) != Some(file) {
        return Ok(false);
    }
    names::unlink(path).map(|()| true)
}

/// Unlinks what `path` leads to, if it is one of ours.
pub(crate) fn unlink(path: &Path) -> Result<()> {
    // Bounded: each round somebody else has replaced the file.
    for _ in 0..PATIENCE_ROUNDS {
        let fd = names::open(path, Access::Write)?;
        let facts = backing::facts_of_named(fd.as_fd())?;
        look(fd.as_fd(), &facts, path, Trust::Any)?;
        if take_away(path, fd.as_fd(), facts.id, Unless::Never, PATIENCE_ROUNDS)? {
            return Ok(());
        }
    }
    Err(Kind::Contended { what: "the name of the segment", rounds: PATIENCE_ROUNDS }.into())
}

/// Makes the name free for a new segment: takes away what only the dead took part in. An error if somebody lives
/// there, if it is to persist, or if it is none of ours.
pub(crate) fn make_way(path: &Path, trust: Trust) -> Result<()> {
    let fd = match names::open(path, Access::Write) {
        Err(error) if error.is_not_found() => return Ok(()),
        opened => opened?,
    };
    let facts = backing::facts_of_named(fd.as_fd())?;
    let raw = look(fd.as_fd(), &facts, path, trust)?;
    let is_left = !raw.is_persistent() && !is_anybody_alive(fd.as_fd());
    if is_left && take_away(path, fd.as_fd(), facts.id, Unless::AnybodyLives, PATIENCE_ROUNDS)? {
        return Ok(());
    }
    if names::file_of(path) == Some(facts.id) {
        return Err(Kind::Exists { what: format!("segment {}", path.display()).into() }.into());
    }
    Ok(()) // gone meanwhile
}

/// Whether the name leads to the file that this participant, who lives in it, was found by.
pub(crate) fn still_leads_to(path: &Path, own: BorrowedFd<'_>, file: FileId) -> Result<bool> {
    let free = liveness::await_free(own, NAME_BYTE, PATIENCE_ROUNDS)
        .map_err(|e| Error::io("asking for the name of a segment", e))?;
    if !free {
        return Err(Kind::Contended { what: "the name of the segment", rounds: PATIENCE_ROUNDS }.into());
    }
    Ok(names::file_of(path) == Some(file))
}

/// Takes the name away when this is dropped, if nobody lives in the segment then. Dropped after the description
/// that carries the life byte.
pub(crate) struct Leaving {
    pub path: PathBuf,
    /// The name stays whoever leaves.
    pub stays: bool,
    pub file: FileId,
    /// A description of the file that carries no lock.
    pub shared: Arc<OwnedFd>,
    pub ids: Placed<[AtomicU32]>,
    pub fork: ForkWord,
}

impl Leaving {
    fn does_somebody_stay(&self) -> bool {
        let shared = self.shared.as_fd();
        match liveness::first_held(shared, life_byte(0), ROWS_MAX) {
            Ok(None) => false,
            // See `is_anybody_alive`.
            Ok(Some(row)) if self.ids.get(row as usize).is_some_and(|id| id.load(Ordering::Relaxed) != 0) => true,
            _ => is_anybody_alive(shared),
        }
    }
}

impl Drop for Leaving {
    fn drop(&mut self) {
        // In a forked child nobody leaves. Else the usual case asks once: somebody stays.
        if self.stays || !self.fork.is_ours() || self.does_somebody_stay() {
            return;
        }
        // What fails here is left to the next opener.
        if let Ok(fd) = names::open(&self.path, Access::Write)
            && backing::file_id(fd.as_fd()).is_ok_and(|file| file == self.file)
        {
            let _ = take_away(&self.path, fd.as_fd(), self.file, Unless::AnybodyLives, LEAVING_ROUNDS);
        }
    }
}
