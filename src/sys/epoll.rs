//! A set of descriptors to wait for at once.

use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::io::retry_on_intr;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};

/// Named by the numbers they were added under.
pub(crate) struct Epoll(OwnedFd);

impl Epoll {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self(epoll::create(CreateFlags::CLOEXEC)?))
    }

    /// From here on `fd` is waited for, until it is removed; it must stay open until then.
    pub(crate) fn add(&self, fd: &impl AsFd) -> io::Result<()> {
        let number = u64::from(fd.as_fd().as_raw_fd().unsigned_abs());
        Ok(epoll::add(&self.0, fd, EventData::new_u64(number), EventFlags::IN)?)
    }

    pub(crate) fn remove(&self, fd: &impl AsFd) {
        let _ = epoll::delete(&self.0, fd);
    }

    /// Waits until some are readable and says which.
    pub(crate) fn wait(&self) -> io::Result<Vec<RawFd>> {
        let mut events = Vec::with_capacity(64);
        retry_on_intr(|| epoll::wait(&self.0, rustix::buffer::spare_capacity(&mut events), None))?;
        Ok(events.iter().filter_map(|event| event.data.u64().try_into().ok()).collect())
    }
}
