//! Whom to trust with a segment's memory, and everything that is checked before a byte of it is mapped.
//!
//! A memfd is sealed, so that nobody can take the memory away under a mapping. A file with a name can not be
//! sealed: whoever may write it may cut it short, which ends every process that touches what is gone. So such a
//! file is used only if those who may write it are trusted.

use crate::error::{Kind, Result};
use crate::segment::header::{Header, RawHeader};
use crate::segment::layout::{HEADER_LEN, LEN_MAX};
use crate::sys::backing::{self, Facts};
use crate::sys::{liveness, names};
use std::os::fd::BorrowedFd;
use std::path::Path;
use zerocopy::{FromZeros, IntoBytes};

/// Whose segments are opened: whoever can write to one can spoil what is in it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
#[non_exhaustive]
pub enum Trust {
    /// Only what belongs to the user of this process and nobody else may write.
    #[default]
    Owner,
    /// Also what a group of this process may write.
    Group,
    /// Whatever can be opened.
    Any,
}

/// The header behind a descriptor that came from elsewhere.
pub(crate) fn verify_handed(fd: BorrowedFd<'_>, facts: &Facts) -> Result<Header> {
    let refuse = |why: &'static str| Err(Kind::NotASegment { why: why.into() }.into());
    if !facts.is_regular {
        return refuse("it is no regular file");
    }
    if facts.is_write_sealed {
        return refuse("it is sealed against writing");
    }
    let raw = read(fd)?;
    if facts.is_sealed {
        if facts.mode & 0o077 != 0 {
            return refuse("others than its owner may open it");
        }
        return raw.verify(facts.len);
    }
    if !raw.has_name() {
        return refuse(
            "it is not sealed against shrinking and further sealing, so a neighbour could take the memory away",
        );
    }
    // What can be sent to us can be sent by somebody who has no right to open it.
    if !backing::is_user(facts.owner) || facts.mode & 0o022 != 0 {
        return refuse("it has a name, and others than we may write it; open it by that name");
    }
    raw.verify(facts.len)
}

fn read(fd: BorrowedFd<'_>) -> Result<RawHeader> {
    let mut raw = RawHeader::new_zeroed();
    debug_assert_eq!(raw.as_bytes().len(), HEADER_LEN);
    backing::read_at(fd, raw.as_mut_bytes(), 0)?;
    Ok(raw)
}

/// Refuses a file that somebody could write whom we do not trust.
fn check_writers(path: &Path, facts: &Facts, trust: Trust) -> Result<()> {
    let needed = match facts.mode {
        mode if mode & 0o002 != 0 => Trust::Any,
        mode if mode & 0o020 != 0 && backing::is_in_group(facts.group) => Trust::Group,
        mode if mode & 0o020 != 0 => Trust::Any,
        _ if backing::is_user(facts.owner) => Trust::Owner,
        _ if backing::is_in_group(facts.group) && facts.mode & 0o060 != 0 => Trust::Group,
        _ => Trust::Any,
    };
    if needed <= trust {
        return Ok(());
    }
    let why = format!(
        "its owner is user {}, its group {}, its mode {:#o}, and only {trust:?} is trusted; see `options().trust(..)`",
        facts.owner, facts.group, facts.mode
    );
    Err(Kind::Denied { what: format!("segment {}", path.display()).into(), why: why.into() }.into())
}

/// The header of a file that was opened by its name, before anything of it is mapped or changed.
pub(crate) fn verify_named(fd: BorrowedFd<'_>, facts: &Facts, path: &Path, trust: Trust) -> Result<Header> {
    let header = look(fd, facts, path, trust)?.verify(facts.len)?;
    let boot_id = liveness::boot_id();
    if header.boot_id != boot_id && boot_id != [0; 16] {
        return Err(names::not_a_segment(path, "it is from before the machine was started anew; unlink it"));
    }
    Ok(header)
}

/// The first bytes of what the name leads to, if it is one of ours.
pub(crate) fn look(fd: BorrowedFd<'_>, facts: &Facts, path: &Path, trust: Trust) -> Result<RawHeader> {
    if !facts.is_regular {
        return Err(names::not_a_segment(path, "it is no regular file"));
    }
    check_writers(path, facts, trust)?;
    if facts.len < HEADER_LEN as u64 || facts.len > LEN_MAX {
        return Err(names::not_a_segment(path, "it is shorter than a header, or longer than any segment"));
    }
    let raw = read(fd)?;
    if raw.is_ours() { Ok(raw) } else { Err(names::not_a_segment(path, "it does not start with `mutirao`")) }
}
