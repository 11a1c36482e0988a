//! A thread that ties a child's life to its parent's.
//!
//! It watches the parent by a pidfd that the parent opened on itself and sent, so there is no moment in which the parent
//! can die unseen: dead already, it is seen at the first look. The parent as a process counts, not the thread that spawned
//! (which is what `PR_SET_PDEATHSIG` would watch).
//!
//! The leash is a socket of which the parent holds the other end for as long as the child lives. One byte from there means: live
//! on without me. It is looked for before the child is ended, so a parent may detach its child and end at once. A leash
//! that is let go of without a word means that the parent has become another program.
//!
//! The thread has a table of descriptors of its own. So it does not matter what the child closes, and it keeps nothing
//! open that the child means to close.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::mpsc::channel;

use crate::deadline::Deadline;
use crate::sys::clone::has_one_thread;
use crate::sys::socket::{receive_message, send_message};
use crate::sys::{limits, process as sys, quiet};

const DETACHED: u8 = 1;

/// Lets the child at the other end live on without this process.
pub(crate) fn let_go(leash: &OwnedFd) {
    // A child that does not hear it has ended.
    let _ = send_message(leash.as_fd(), &[DETACHED], &[], false);
}

/// Ties this process to the one behind the pidfd. When this returns, it does not matter what the process does to its
/// descriptors.
pub(crate) fn tie(parent: Arc<OwnedFd>, leash: OwnedFd) -> io::Result<()> {
    let is_alone = has_one_thread();
    let (go, gone) = channel();
    let (ready, tied) = channel();
    let watch = move || {
        let is_own = gone.recv() == Ok(true) || limits::own_descriptors().is_ok();
        // Where that is forbidden, a child that closes all its descriptors ends itself.
        if is_own {
            limits::keep_only([parent.as_fd(), leash.as_fd()]);
        }
        let _ = ready.send(());
        watch(&parent, &leash);
    };
    quiet::start("mutirao-leash", watch)?;
    // The quick way: this thread takes a new table, and leaves the old one to that thread, which need not be waited for.
    let is_left = is_alone && limits::own_descriptors().is_ok();
    let _ = go.send(is_left);
    if !is_left {
        let _ = tied.recv();
    }
    Ok(())
}

fn watch(parent: &OwnedFd, leash: &OwnedFd) {
    loop {
        let ready = sys::wait_readable([parent.as_fd(), leash.as_fd()], Deadline::NEVER);
        let Ok([ended, said]) = ready else { sys::kill_self() };
        // What the parent wrote before it ended is there, so the leash is asked last.
        let mut word = [0; 1];
        match receive_message(leash.as_fd(), &mut word, &mut Vec::new(), false) {
            Ok(1) if word == [DETACHED] => return,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && !ended => {}
            _ if ended || said => sys::kill_self(),
            _ => {}
        }
    }
}
