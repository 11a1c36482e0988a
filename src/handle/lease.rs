//! Items in somebody's hands: leased from a queue, acknowledged, given back, or dead letters.

use crate::deadline::Deadline;
use crate::error::{Error, Kind, Result};
use crate::handle::codec::Item;
use crate::handle::queue::Queue;
use crate::handle::taking::Taken;
use crate::sync::Patience;
use crate::sys::clock;
use core::fmt;
use core::ops::Deref;
use core::time::Duration;

/// An item that was taken from a [`Queue`] and is not yet done with.
///
/// It is done with when [`ack`](Leased::ack) returned. Until then the queue keeps it: a lease that is
/// [given back](Leased::nack), dropped, or whose process dies is delivered again, out of order, to whoever receives or
/// leases next. So each job of a queue of jobs is done, if work is repeated where it was not acknowledged.
///
/// A lease borrows its queue and may go to another thread; [`into_owned`](Leased::into_owned) makes one that may go
/// anywhere in the process.
///
/// # When a process dies
///
/// Its leases are delivered again, each with an [`attempt`](Leased::attempt) more, until
/// [`max_attempts`](crate::QueueOptions::max_attempts); then they are [dead letters](Queue::take_dead_letter). What was
/// acknowledged is never delivered again. If the process is stopped, its leases stay its own.
///
/// In a forked child the lease is the parent's, and dropping it does nothing.
///
/// # Examples
///
/// ```
/// let jobs = mutirao::Queue::<String>::new(16)?;
/// jobs.send("sweep".into())?;
///
/// let job = jobs.lease()?;
/// assert_eq!((&**job, job.attempt()), ("sweep", 1));
/// job.nack();                                      // not now
///
/// let job = jobs.lease()?;
/// assert_eq!(job.attempt(), 2);
/// job.ack()?;
/// jobs.wait_idle()?;                               // nothing queued, nothing leased
/// # Ok::<(), mutirao::Error>(())
/// ```
#[must_use = "a lease that is dropped is given back"]
pub struct Leased<'q, T: Item> {
    item: T,
    lease: Lease<'q, T>,
}

/// The lease beside its item.
pub(crate) struct Lease<'q, T: Item> {
    taken: Taken,
    /// Whether the lease has not ended yet.
    open: bool,
    queue: &'q Queue<T>,
}

impl<'q, T: Item> Lease<'q, T> {
    #[inline(always)]
    pub(crate) fn new(taken: Taken, queue: &'q Queue<T>) -> Self {
        Self { taken, open: true, queue }
    }

    #[inline]
    pub(crate) fn attempt(&self) -> u32 {
        self.taken.held.attempt
    }

    /// Inlined, as is dropping: a call with our address would keep the item beside us in memory.
    #[inline(always)]
    pub(crate) fn ack(&mut self) -> Result<()> {
        let channel = &self.queue.channel;
        channel.end(channel.body().life()?, self.taken);
        self.open = false;
        Ok(())
    }
}

impl<T: Item> Drop for Lease<'_, T> {
    #[inline(always)]
    fn drop(&mut self) {
        if self.open {
            self.queue.channel.give_back(self.taken.held);
        }
    }
}

impl<T: Item> Leased<'_, T> {
    /// The item is done with, and is never delivered again. The item itself comes back.
    ///
    /// # Errors
    ///
    /// `is_forked`: the lease is the parent's.
    #[inline(always)]
    #[doc(alias = "task_done")]
    pub fn ack(mut self) -> Result<T> {
        self.lease.ack()?;
        Ok(self.item)
    }

    /// The item is delivered again, to anybody, or becomes a dead letter: what dropping does, by name.
    pub fn nack(self) {
        drop(self);
    }

    /// The how manieth delivery this is, from 1.
    #[inline]
    pub fn attempt(&self) -> u32 {
        self.lease.attempt()
    }

    /// The same lease, which keeps its queue itself: it costs a clone of the handle.
    pub fn into_owned(mut self) -> OwnedLease<T> {
        self.lease.open = false;
        OwnedLease { item: self.item, taken: self.lease.taken, open: true, queue: self.lease.queue.clone() }
    }
}

impl<T: Item> Deref for Leased<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.item
    }
}

impl<T: Item + fmt::Debug> fmt::Debug for Leased<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Leased").field("item", &self.item).field("attempt", &self.attempt()).finish()
    }
}

/// A [`Leased`] that keeps its queue itself, so that it may be stored and go anywhere in the process.
#[must_use = "a lease that is dropped is given back"]
pub struct OwnedLease<T: Item> {
    item: T,
    taken: Taken,
    /// Whether the lease has not ended yet.
    open: bool,
    queue: Queue<T>,
}

impl<T: Item> OwnedLease<T> {
    /// The item is done with, and is never delivered again.
    ///
    /// # Errors
    ///
    /// `is_forked`: the lease is the parent's.
    #[doc(alias = "task_done")]
    pub fn ack(mut self) -> Result<()> {
        let channel = &self.queue.channel;
        channel.end(channel.body().life()?, self.taken);
        self.open = false;
        Ok(())
    }

    /// The item is delivered again, to anybody, or becomes a dead letter: what dropping does, by name.
    pub fn nack(self) {
        drop(self);
    }

    /// The how manieth delivery this is, from 1.
    pub fn attempt(&self) -> u32 {
        self.taken.held.attempt
    }
}

impl<T: Item> Deref for OwnedLease<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.item
    }
}

impl<T: Item> Drop for OwnedLease<T> {
    fn drop(&mut self) {
        if self.open {
            self.queue.channel.give_back(self.taken.held);
        }
    }
}

impl<T: Item + fmt::Debug> fmt::Debug for OwnedLease<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnedLease").field("item", &self.item).field("attempt", &self.attempt()).finish()
    }
}

/// An item that was tried as often as the queue allows, and never acknowledged.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeadLetter<T> {
    /// The item.
    pub item: T,
    /// How often it was tried.
    pub attempts: u32,
}

impl<T: Item> Queue<T> {
    /// Takes an item that stays in the queue's keeping until it is [acknowledged](Leased::ack), waiting for one as long
    /// as it takes. Its cell is free again at once.
    ///
    /// # Errors
    ///
    /// As [`recv`](Queue::recv), and `is_exhausted` when as many items are leased as the queue has
    /// [places](crate::QueueOptions::leases) for.
    #[inline(always)]
    pub fn lease(&self) -> Result<Leased<'_, T>> {
        self.lease_until(Some(Deadline::NEVER))
    }

    /// Leases an item if there is one.
    ///
    /// # Errors
    ///
    /// `is_would_block` when there is none now; else as [`lease`](Queue::lease).
    #[inline(always)]
    pub fn try_lease(&self) -> Result<Leased<'_, T>> {
        self.lease_until(None)
    }

    /// Leases an item, waiting for one no longer than `timeout`.
    ///
    /// # Errors
    ///
    /// `is_timeout`; else as [`lease`](Queue::lease).
    pub fn lease_timeout(&self, timeout: Duration) -> Result<Leased<'_, T>> {
        self.lease_until(Some(Deadline::after(clock::now_ns(), timeout)))
    }

    #[inline(always)]
    fn lease_until(&self, wait: Option<Deadline>) -> Result<Leased<'_, T>> {
        let (raw, taken) = self.channel.lease::<T>(wait)?;
        let mut lease = Lease::new(taken, self);
        match self.channel.decode(raw) {
            Ok(item) => Ok(Leased { item, lease }),
            // As `recv` does with what does not decode: it is consumed.
            Err(error) => lease.ack().and(Err(error)),
        }
    }

    /// How many items are leased now, or wait to be delivered again.
    pub fn leased(&self) -> usize {
        let [leased, waiting, _] = self.channel.leases().counts();
        leased as usize + waiting as usize
    }

    /// Takes one item out that was tried as often as [allowed](crate::QueueOptions::max_attempts). `None`: there is none.
    ///
    /// # Errors
    ///
    /// `is_forked`; `is_codec` or `is_corrupt` for bytes that are no item: it is gone.
    pub fn take_dead_letter(&self) -> Result<Option<DeadLetter<T>>> {
        let (life, leases) = (self.channel.body().life()?, self.channel.leases());
        // Bounded by the letters that there are: each round ends one.
        let held = loop {
            match leases.take_letter(life) {
                None => return Ok(None),
                Some(held) if self.channel.was_leased_to_its_end::<T>(held) => leases.ack(life, held),
                Some(held) => break held,
            }
        };
        let (raw, block) = self.channel.read_entry::<T>(held);
        self.channel.end(life, Taken { held, block });
        Ok(Some(DeadLetter { item: self.channel.decode(raw?)?, attempts: held.attempt }))
    }

    /// The dead letters that are there, each taken out as it comes.
    pub fn dead_letters(&self) -> DeadLetters<'_, T> {
        DeadLetters { queue: self }
    }

    /// Waits until nothing is queued and nothing is leased: until all that was sent is done with. Dead letters do not
    /// count, nor does what is sent while this returns.
    ///
    /// # Errors
    ///
    /// `is_forked`.
    #[doc(alias = "join")]
    pub fn wait_idle(&self) -> Result<()> {
        self.wait_idle_until(Deadline::NEVER)
    }

    /// As [`wait_idle`](Queue::wait_idle), no longer than `timeout`.
    ///
    /// # Errors
    ///
    /// `is_timeout`, `is_forked`.
    pub fn wait_idle_timeout(&self, timeout: Duration) -> Result<()> {
        self.wait_idle_until(Deadline::after(clock::now_ns(), timeout))
    }

    fn wait_idle_until(&self, deadline: Deadline) -> Result<()> {
        let life = self.channel.body().life()?;
        let settle = || self.channel.skip_done::<T>(life);
        if self.channel.leases().wait_idle(life, &mut Patience::new(deadline), settle) {
            return Ok(());
        }
        Err(life.why(Kind::Timeout { what: "waiting until the queue is idle" }.into()))
    }
}

/// The dead letters of a [`Queue`], each taken out as it comes.
pub struct DeadLetters<'q, T: Item> {
    queue: &'q Queue<T>,
}

impl<T: Item> Iterator for DeadLetters<'_, T> {
    type Item = Result<DeadLetter<T>, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        self.queue.take_dead_letter().transpose()
    }
}

impl<T: Item> fmt::Debug for DeadLetters<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeadLetters").field("queue", self.queue).finish()
    }
}
