//! One thread per process that hears of deaths by pidfd and ends the sleep of whoever waits.
//!
//! Started by the first call that waits longer than 8 ms. It makes recovery quicker and is needed for
//! nothing: peers in other pid namespaces, and processes without a watcher, are found dead at the end of
//! a slice. What it hears from a pidfd is a reason to ask, never the proof.

use crate::segment::attachment::Attachment;
use crate::sync::real::announce_death;
use crate::sync::{AtomicU32, Ordering};
use crate::sys::backing::FileId;
use crate::sys::fork::PerProcess;
use crate::sys::{liveness, quiet};
use std::collections::HashMap;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Once;

/// How long a newcomer may stay unwatched: while peers come and go, and when nothing has changed for long.
/// Until then slices do the work.
const RESCAN_MS: (u32, u32) = (50, 800);

static STARTED: PerProcess<Once> = PerProcess::new();
/// 1: this process wants none.
static UNWANTED: AtomicU32 = AtomicU32::new(0);

/// From here on this process starts no watcher: no thread of its own that hears of the deaths of others.
///
/// Otherwise the first call that waits longer than 8 ms starts one, and whoever waits for something that the dead held goes on
/// about 2 ms after a death; without one after about 40 ms, at the end of a slice of its sleep. For programs that must have one thread,
/// because they fork, change their namespaces or count their threads. Call it first in `main`, before [`init`](crate::init): then
/// children do without as well. A watcher that runs already goes on.
///
/// ```
/// mutirao::without_watcher();
/// mutirao::init();
/// ```
pub fn without_watcher() {
    // A hint: a thread that starts waiting meanwhile may still start it.
    UNWANTED.store(1, Ordering::Relaxed);
}

/// Starts the watcher of this process if it does not run yet.
pub(crate) fn start() {
    if UNWANTED.load(Ordering::Relaxed) != 0 {
        return;
    }
    let Ok((_, once)) = STARTED.get_or_init(Once::new) else { return };
    once.call_once(|| {
        // Without a thread, slices alone do the work.
        let _ = quiet::start("mutirao-watcher", watch);
    });
}

/// A peer: its segment, its row, its id.
type Peer = (FileId, u32, u32);

/// Ends with the process: each round waits for a death, or for the next look at who is there.
fn watch() {
    // `None`: heard of already, or not to be found under its pid.
    let mut pidfds: HashMap<Peer, Option<OwnedFd>> = HashMap::new();
    let mut rescan_ms = RESCAN_MS.0;
    loop {
        let before = pidfds.len();
        if follow(&mut pidfds) || pidfds.len() != before {
            rescan_ms = RESCAN_MS.0;
        }
        let watched: Vec<_> = pidfds.iter().filter_map(|(peer, fd)| Some((*peer, fd.as_ref()?))).collect();
        let fds: Vec<_> = watched.iter().map(|(_, fd)| fd.as_fd()).collect();
        let ready = liveness::poll_readable(&fds, rescan_ms);
        let gone: Vec<_> = watched.iter().zip(ready).filter_map(|((peer, _), ready)| ready.then_some(*peer)).collect();
        rescan_ms = (rescan_ms * 2).min(RESCAN_MS.1);
        if gone.is_empty() {
            continue;
        }
        for attachment in Attachment::all() {
            for (_, row, _) in gone.iter().filter(|(file, _, _)| *file == attachment.file_id()) {
                attachment.reap(*row);
            }
        }
        for peer in gone {
            // Kept, so that a peer whose lock lives on in a forked child is not asked for again at once.
            pidfds.insert(peer, None);
        }
        announce_death();
    }
}

/// Opens a pidfd for each new peer and forgets those who left. True: somebody is new.
fn follow(pidfds: &mut HashMap<Peer, Option<OwnedFd>>) -> bool {
    let peers: Vec<_> = Attachment::all().iter().flat_map(|a| peers_of(a)).collect();
    pidfds.retain(|key, _| peers.iter().any(|(peer, _, _)| peer == key));
    let mut new = false;
    for (peer, pid, start_time) in peers {
        pidfds.entry(peer).or_insert_with(|| {
            new = true;
            let fd = liveness::pidfd(pid)?;
            // Opened first, compared then: the pid may have been given to somebody else.
            (liveness::start_time(pid) == Some(start_time)).then_some(fd)
        });
    }
    new
}

/// The peers in our own pid namespace, each with pid and start time.
fn peers_of(attachment: &Attachment) -> Vec<(Peer, u32, u64)> {
    let own = liveness::identity().namespace;
    let fixed = attachment.fixed();
    let rows = (0..).zip(fixed.ids.iter().zip(fixed.rows.iter()));
    rows.filter_map(|(row, (id, who))| {
        let id = id.load(Ordering::Relaxed);
        let here = id != 0 && row != attachment.row() && own != 0 && who.namespace.load(Ordering::Relaxed) == own;
        let pid = who.pid.load(Ordering::Relaxed);
        here.then(|| ((attachment.file_id(), row, id), pid, who.start_time.load(Ordering::Relaxed)))
    })
    .collect()
}
