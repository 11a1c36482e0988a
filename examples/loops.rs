//! The inner loops of `producer_consumer` and `counter`, and nothing else.
//!
//! They are generic over what they talk to, and import nothing, so that the very same file is included by
//! the examples, where it runs between processes, and by the models, where every interleaving of it is
//! explored, with a death at every step: the loop that runs is the loop that was checked.
#![allow(
    dead_code,
    reason = "each program that includes this file runs some of the loops"
)]

/// A bounded queue, as these loops see it.
pub trait Channel {
    /// What travels.
    type Item;
    /// Why it can not.
    type Error;

    /// Sends one item; sleeps while the queue is full.
    fn send(&self, item: Self::Item) -> Result<(), Self::Error>;

    /// Receives one item; sleeps while the queue is empty; `None` once it is closed and drained.
    fn recv(&self) -> Result<Option<Self::Item>, Self::Error>;
}

/// Where a consumer writes down what it found in an item.
pub trait Tally<Item> {
    /// Counts one item. Whoever dies before this returns may take the item with it.
    fn count(&self, item: Item);
}

/// Mutual exclusion.
pub trait Mutual {
    /// Held until it drops.
    type Held<'a>
    where
        Self: 'a;
    /// Why it can not be had.
    type Error;

    /// Locks; sleeps while another holds it.
    fn lock(&self) -> Result<Self::Held<'_>, Self::Error>;
}

/// A shared number.
pub trait Number {
    /// The number now.
    fn load(&self) -> u64;

    /// Replaces the number.
    fn store(&self, value: u64);

    /// Adds in one step.
    fn fetch_add(&self, n: u64);
}

/// A producer: sends every item, and says how many were sent.
///
/// An item whose `send` returned is in the queue, whatever happens to this process afterwards.
pub fn produce<C: Channel>(
    items: impl IntoIterator<Item = C::Item>,
    channel: &C,
) -> Result<u64, C::Error> {
    let mut sent = 0;
    for item in items {
        channel.send(item)?;
        sent += 1;
    }
    Ok(sent)
}

/// A consumer: receives until the queue is closed and drained, counts every item, and says how many
/// there were.
pub fn consume<C: Channel, T: Tally<C::Item>>(channel: &C, tally: &T) -> Result<u64, C::Error> {
    let mut received = 0;
    while let Some(item) = channel.recv()? {
        tally.count(item);
        received += 1;
    }
    Ok(received)
}

/// Adds one `times` times: lock, read, add, write, unlock. The lock alone keeps the count exact.
pub fn increment_locked<M: Mutual, N: Number>(
    lock: &M,
    number: &N,
    times: u64,
) -> Result<(), M::Error> {
    for _ in 0..times {
        let held = lock.lock()?;
        number.store(number.load() + 1);
        drop(held);
    }
    Ok(())
}

/// Adds one `times` times, each a single atomic step.
pub fn increment_atomic<N: Number>(number: &N, times: u64) {
    for _ in 0..times {
        number.fetch_add(1);
    }
}
