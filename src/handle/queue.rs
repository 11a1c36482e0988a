//! A bounded queue, many to many.

use crate::deadline::Deadline;
use crate::error::{Error, Result};
use crate::handle::channel::Channel;
use crate::handle::codec::{Coded, Item};
use crate::handle::object::{Object, Place, among_others};
use crate::handle::portable::portable;
use crate::handle::send_error::SendError;
use crate::participant::Liveness;
use crate::segment::body::Body;
use crate::segment::layout::ObjectKind;
use crate::segment::tag::TypeTag;
use crate::sys::clock;
use core::fmt;
use core::marker::PhantomData;
use core::time::Duration;

/// A bounded queue between any number of senders and receivers, in any number of processes.
///
/// Items are every serde type, encoded by postcard, or [`Plain<T>`](crate::Plain) for plain data without a codec.
/// An item occupies one cell; a larger one is refused before anything shared is touched, and
/// [`options`](Queue::options) makes a queue with larger cells. Alone, sending or receiving is one
/// read-modify-write, two stores and the copy of the item.
///
/// Receivers end when the queue was [closed](Queue::close) and is drained, or when every registered
/// [`sender`](Queue::sender) is gone and it is drained. Nobody needs to register.
///
/// # Errors
///
/// Sending returns the item with its [`SendError`]. Both ways: `is_closed`, `is_disconnected`, `is_would_block`,
/// `is_timeout`, `is_forked`, and `is_corrupt` for damaged bytes. Sending: `is_too_large`, `is_codec`, `is_not_reachable` for an item
/// with a handle in it. Receiving: `is_codec` for bytes that do not decode, `is_removed` for an item with a handle whose object is
/// gone; the item is consumed.
///
/// # When a process dies
///
/// An item whose `send` returned is delivered to one receiver. One whose sender died while it sent is
/// delivered or not, whole. An item that a receiver had not yet taken out completely when it died is delivered to
/// another, out of order; one that is [leased](Queue::lease), until it is acknowledged. Nobody waits for the dead, and no cell stays lost.
///
/// # Memory ordering
///
/// Everything done before a `send` is visible to whoever received the item.
///
/// # Examples
///
/// ```
/// use mutirao::Queue;
/// let orders = Queue::<String>::new(16)?;
/// let same = orders.clone();
/// let baker = std::thread::spawn(move || same.iter().map(|order| order.unwrap().len()).sum::<usize>());
/// orders.send("bread".into())?;
/// orders.send("cake".into())?;
/// orders.close();
/// assert_eq!(baker.join().unwrap(), 9);
/// assert!(orders.send("too late".into()).is_err_and(|e| e.is_closed() && e.into_inner() == "too late"));
/// # Ok::<(), mutirao::Error>(())
/// ```
#[doc(alias = "multiprocessing.Queue")]
#[doc(alias = "SimpleQueue")]
#[doc(alias = "JoinableQueue")]
pub struct Queue<T: Item> {
    pub(crate) channel: Channel,
    pub(crate) body: Body,
    _type: PhantomData<fn(T) -> T>,
}

impl<T: Item> Queue<T> {
    /// A new queue that holds exactly `capacity` items, in a segment of its own.
    ///
    /// # Errors
    ///
    /// `is_invalid` for a capacity of zero or beyond the machine; `is_out_of_memory` with the bytes needed and available.
    pub fn new(capacity: usize) -> Result<Self> {
        Self::made(Place::Alone, capacity)
    }

    fn made(place: Place<'_>, capacity: usize) -> Result<Self> {
        Self::options().capacity(capacity).made(place)
    }

    /// Sends an item, waiting for room as long as it takes.
    ///
    /// # Errors
    ///
    /// See [`Queue`].
    #[doc(alias = "put")]
    #[inline(always)]
    pub fn send(&self, item: T) -> Result<(), SendError<T>> {
        self.push(item, Some(Deadline::NEVER))
    }

    /// Sends an item if there is room.
    ///
    /// # Errors
    ///
    /// `is_full`; else see [`Queue`].
    #[doc(alias = "put_nowait")]
    #[inline(always)]
    pub fn try_send(&self, item: T) -> Result<(), SendError<T>> {
        self.push(item, None)
    }

    /// Sends an item, waiting for room no longer than `timeout`.
    ///
    /// # Errors
    ///
    /// `is_timeout`; else see [`Queue`].
    pub fn send_timeout(&self, item: T, timeout: Duration) -> Result<(), SendError<T>> {
        self.push(item, Some(Deadline::after(clock::now_ns(), timeout)))
    }

    /// Sends every item of `items`, waiting for room as long as it takes; returns how many.
    ///
    /// # Errors
    ///
    /// The error of the first item that could not be sent, with that item. Those before it were sent; those
    /// after it are still in the iterator, if it was given by `by_ref()`.
    pub fn send_all(&self, items: impl IntoIterator<Item = T>) -> Result<usize, SendError<T>> {
        let mut sent = 0;
        for item in items {
            self.send(item)?;
            sent += 1;
        }
        Ok(sent)
    }

    /// Receives an item, waiting for one as long as it takes.
    ///
    /// # Errors
    ///
    /// `is_closed` when the queue was closed and is drained; `is_disconnected` when it is drained and every
    /// registered sender is gone; else see [`Queue`]. While another process holds a [lease](Queue::lease), which may come
    /// back, the queue is not drained.
    #[doc(alias = "get")]
    #[inline(always)]
    pub fn recv(&self) -> Result<T> {
        self.channel.decode(self.channel.pop::<T>(Some(Deadline::NEVER))?)
    }

    /// Receives an item if there is one.
    ///
    /// # Errors
    ///
    /// `is_would_block` when there is none now; else as [`recv`](Queue::recv).
    #[doc(alias = "get_nowait")]
    #[inline(always)]
    pub fn try_recv(&self) -> Result<T> {
        self.channel.decode(self.channel.pop::<T>(None)?)
    }

    /// Receives an item, waiting for one no longer than `timeout`.
    ///
    /// # Errors
    ///
    /// `is_timeout`; else as [`recv`](Queue::recv).
    pub fn recv_timeout(&self, timeout: Duration) -> Result<T> {
        self.channel.decode(self.channel.pop::<T>(Some(Deadline::after(clock::now_ns(), timeout)))?)
    }

    /// Receives one item as [`recv`](Queue::recv) does, and then those that are ready, up to `max` in all.
    ///
    /// # Errors
    ///
    /// As [`recv`](Queue::recv); an item that does not decode ends the batch, and is reported only if it is the
    /// first one. `is_invalid` for a `max` of zero.
    pub fn recv_many(&self, max: usize) -> Result<Vec<T>> {
        if max == 0 {
            return Err(Error::invalid("receiving a batch of 0 items", "it must be at least 1"));
        }
        let mut items = vec![self.recv()?];
        while items.len() < max
            && let Some(Ok(raw)) = self.channel.pop_ready::<T>()
            && let Ok(item) = self.channel.decode::<T>(raw)
        {
            items.push(item);
        }
        Ok(items)
    }

    /// The items as they come, until the queue is closed or disconnected, and drained. An item that does not decode, or whose handle leads to
    /// nothing any more, is an `Err` among them; any other error is the last thing that comes.
    pub fn iter(&self) -> Items<'_, T> {
        Items { queue: self, over: false }
    }

    /// Says that nothing will be sent any more: senders are refused from now on, receivers get what is in it and then
    /// `is_closed`. Every sleeper wakes. Closing twice does nothing. In a forked child it does nothing.
    pub fn close(&self) {
        if self.body.life().is_ok() {
            self.channel.ring().close();
        }
    }

    /// Whether it was closed.
    pub fn is_closed(&self) -> bool {
        self.channel.ring().is_closed()
    }

    /// How many items are in it now.
    #[doc(alias = "qsize")]
    pub fn len(&self) -> usize {
        self.channel.ring().len() as usize
    }

    /// Whether there is none now.
    #[doc(alias = "empty")]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether there is no room now.
    #[doc(alias = "full")]
    pub fn is_full(&self) -> bool {
        self.len() >= self.capacity()
    }

    /// How many items fit: as many as were asked for.
    #[doc(alias = "maxsize")]
    pub fn capacity(&self) -> usize {
        self.channel.ring().capacity() as usize
    }

    /// The most bytes of an encoded item.
    pub fn cell_bytes(&self) -> usize {
        self.channel.cell_bytes()
    }

    #[inline(always)]
    fn push(&self, item: T, wait: Option<Deadline>) -> Result<(), SendError<T>> {
        // Flattened: the item could not be encoded, or its bytes could not be sent.
        let sent = match item.fixed_bytes() {
            // Fits: the queue's cells were made, or compared, for it. No closure here, which would be a call.
            Some(bytes) => Ok(self.channel.push::<T>(bytes, wait)),
            None => self.channel.encode(&item, |bytes| self.channel.push::<T>(bytes, wait)),
        };
        match sent {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) | Err(error) => Err(SendError::new(item, error)),
        }
    }
}

impl<T: Item> Object for Queue<T> {
    const KIND: ObjectKind = ObjectKind::Queue;

    fn tag() -> TypeTag {
        T::NAME.tag()
    }

    fn over(body: Body) -> Result<Self> {
        Ok(Self { channel: Channel::attach(body.clone(), <T as Coded>::FIXED)?, body, _type: PhantomData })
    }
}

portable!(Queue<T>, T: Item);
among_others!(Queue<T>, T: Item; capacity: usize);

impl<T: Item> Clone for Queue<T> {
    fn clone(&self) -> Self {
        Self { channel: self.channel.clone(), body: self.body.clone(), _type: PhantomData }
    }
}

impl<T: Item> fmt::Debug for Queue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue")
            .field("item", &core::any::type_name::<T>())
            .field("len", &self.len())
            .field("capacity", &self.capacity())
            .field("closed", &self.is_closed())
            .finish()
    }
}

/// The items of a [`Queue`] as they come.
#[derive(Debug)]
pub struct Items<'a, T: Item> {
    queue: &'a Queue<T>,
    over: bool,
}

impl<T: Item> Iterator for Items<'_, T> {
    type Item = Result<T>;

    fn next(&mut self) -> Option<Result<T>> {
        if self.over {
            return None;
        }
        let next = self.queue.recv();
        if let Err(error) = &next {
            // A handle in the item may lead to nothing any more; that says nothing of the queue.
            self.over = !(error.is_codec() || error.is_removed() && !self.queue.body.is_over());
            if error.is_closed() || error.is_disconnected() {
                return None;
            }
        }
        Some(next)
    }
}

impl<'a, T: Item> IntoIterator for &'a Queue<T> {
    type Item = Result<T>;
    type IntoIter = Items<'a, T>;
    fn into_iter(self) -> Items<'a, T> {
        self.iter()
    }
}
