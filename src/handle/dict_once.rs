//! Values that are computed once, whoever asks, in whatever process.
//!
//! Who wants a value that is not there claims the key in a table of what is pending, computes without any lock, stores what it
//! got and gives the claim back. All others who want it sleep meanwhile. Nothing of this is seen by `get` and `insert`.

use crate::deadline::Deadline;
use crate::error::{Error, Kind, Result};
use crate::handle::dict::Dict;
use crate::handle::dict_bits::Bits;
use crate::handle::dict_codec::{DictItem, Lookup};
use crate::handle::dict_store::WHAT;
use crate::handle::lock::refusal;
use crate::raw::lock::Refused;
use crate::raw::pending::{Claim, Ticket, Unclaimed};
use crate::segment::body::Body;
use crate::segment::pending::{Pending, STRIPES};
use crate::sync::Patience;
use crate::sys::clock;
use core::cell::RefCell;
use core::time::Duration;

thread_local! {
    /// What this thread is computing: which stripe, which tag.
    static COMPUTING: RefCell<Vec<(usize, u64)>> = const { RefCell::new(Vec::new()) };
}

/// What this thread is computing. A thread that ends has no list any more, and keeps none.
fn computing<R>(f: impl Fn(&mut Vec<(usize, u64)>) -> R) -> R {
    COMPUTING.try_with(|mine| f(&mut mine.borrow_mut())).unwrap_or_else(|_| f(&mut Vec::new()))
}

impl<K: DictItem, V: DictItem> Dict<K, V> {
    /// The value of a key, computed if it has none: once, however many threads and processes ask at the same time.
    ///
    /// One of them computes, with no lock held; the others wait for it. A value that somebody [inserts](Dict::insert) meanwhile is
    /// there at once, and then it is what everybody gets. The closure may use this dictionary too, for other keys.
    /// Two threads whose closures each ask for what the other one computes would wait for each other for ever: give one
    /// of them a [timeout](Dict::get_or_insert_with_timeout).
    ///
    /// # Errors
    ///
    /// `is_invalid` when this very thread is computing the value of this key already; `is_exhausted` when it is computing
    /// something and there is no place for one more; else see [`Dict`]. What does not encode is not stored, and the next one computes.
    ///
    /// # Panics
    ///
    /// As the closure does. Nothing is stored then, and the next who waits computes.
    ///
    /// # When a process dies
    ///
    /// In the middle of computing: one of those who wait has proof of the death a moment later, and computes.
    ///
    /// # Examples
    ///
    /// ```
    /// use mutirao::Dict;
    /// use std::sync::atomic::{AtomicU32, Ordering};
    ///
    /// let cache = Dict::<u64, u64>::new()?;
    /// let computed = AtomicU32::new(0);
    /// std::thread::scope(|scope| {
    ///     for _ in 0..4 {
    ///         scope.spawn(|| {
    ///             let square = cache.get_or_insert_with(&12, || {
    ///                 computed.fetch_add(1, Ordering::Relaxed);
    ///                 12 * 12
    ///             });
    ///             assert_eq!(square.unwrap(), 144);
    ///         });
    ///     }
    /// });
    /// assert_eq!(computed.into_inner(), 1);
    /// # Ok::<(), mutirao::Error>(())
    /// ```
    #[doc(alias = "functools.cache")]
    #[doc(alias = "lru_cache")]
    #[doc(alias = "entry")]
    pub fn get_or_insert_with<Q: Lookup<K> + ?Sized>(&self, key: &Q, compute: impl FnOnce() -> V) -> Result<V> {
        self.get_or_try_insert_with(key, || Ok(compute()))
    }

    /// As [`get_or_insert_with`](Dict::get_or_insert_with), waiting for what another computes no longer than `timeout`. How long
    /// the closure takes is its own business.
    ///
    /// # Errors
    ///
    /// `is_timeout`; else as [`get_or_insert_with`](Dict::get_or_insert_with).
    pub fn get_or_insert_with_timeout<Q: Lookup<K> + ?Sized>(
        &self,
        key: &Q,
        timeout: Duration,
        compute: impl FnOnce() -> V,
    ) -> Result<V> {
        let deadline = Deadline::after(clock::now_ns(), timeout);
        self.store.with_key(key, |key| self.once(key, deadline, || Ok(compute())))
    }

    /// As [`get_or_insert_with`](Dict::get_or_insert_with), with a closure that may fail: then nothing is stored, and the next
    /// who waits computes.
    ///
    /// # Errors
    ///
    /// What the closure says; else as [`get_or_insert_with`](Dict::get_or_insert_with).
    ///
    /// # Examples
    ///
    /// ```
    /// use mutirao::Dict;
    /// let lines = Dict::<String, usize>::new()?;
    /// let read = || std::fs::read_to_string("no such file").map(|text| text.lines().count());
    /// let failed: Result<usize, Box<dyn std::error::Error>> = lines.get_or_try_insert_with("it", || Ok(read()?));
    /// assert!(failed.is_err() && lines.is_empty());
    /// # Ok::<(), mutirao::Error>(())
    /// ```
    pub fn get_or_try_insert_with<Q, E>(&self, key: &Q, compute: impl FnOnce() -> Result<V, E>) -> Result<V, E>
    where
        Q: Lookup<K> + ?Sized,
        E: From<Error>,
    {
        self.store.with_key(key, |key| Ok(self.once(key, Deadline::NEVER, compute)))?
    }

    fn once<E: From<Error>>(
        &self,
        key: Bits<'_>,
        deadline: Deadline,
        compute: impl FnOnce() -> Result<V, E>,
    ) -> Result<V, E> {
        if let Some(value) = self.store.look(key)? {
            return Ok(value);
        }
        let computing = match self.wait_or_claim(key, deadline)? {
            Turn::There(value) => return Ok(value),
            Turn::Mine(computing) => computing,
        };
        // Somebody may have been faster: between the look and the claim, or before it died.
        if let Some(value) = self.store.look(key)? {
            return Ok(value);
        }
        let value = compute()?;
        let stored = self.get_or_put(key, value);
        drop(computing);
        Ok(stored?)
    }

    #[cold]
    fn wait_or_claim(&self, key: Bits<'_>, deadline: Deadline) -> Result<Turn<'_, V>> {
        let hash = self.store.hash(key)?;
        let stripe = &self.store.stripes[(hash % STRIPES) as usize];
        // Of the hash, what the stripe tells apart: two keys may wait for each other, but nobody for itself.
        let what = (core::ptr::from_ref(stripe).addr(), Pending::tag(hash));
        let (is_nested, is_same) = computing(|mine| (!mine.is_empty(), mine.contains(&what)));
        if is_same {
            let why = "it waits for itself; ask for another key, or use `get`";
            return Err(Error::invalid("a value that needs itself to be computed", why));
        }
        let mut patience = Patience::new(deadline);
        loop {
            let life = self.store.body.life()?;
            // Whoever computes something and waits for room may wait for itself.
            let claim = stripe.claim(life, hash, !is_nested, &mut patience);
            if let Claim::Mine(ticket) = claim.map_err(|why| life.why(unclaimed(why)))? {
                computing(|mine| mine.push(what));
                return Ok(Turn::Mine(Computing { stripe, ticket, life, what }));
            }
            if let Some(value) = self.store.look(key)? {
                return Ok(Turn::There(value));
            }
        }
    }
}

/// What came of waiting.
enum Turn<'a, V> {
    There(V),
    Mine(Computing<'a>),
}

/// A claim on a key, given back when this is dropped, also by a panic.
struct Computing<'a> {
    stripe: &'a Pending,
    ticket: Ticket,
    life: &'a Body,
    what: (usize, u64),
}

impl Drop for Computing<'_> {
    fn drop(&mut self) {
        computing(|mine| {
            if let Some(at) = mine.iter().rposition(|what| *what == self.what) {
                mine.swap_remove(at);
            }
        });
        // In a forked child the claim is the parent's.
        if self.life.attachment().is_ours() {
            self.stripe.give_back(self.life, self.ticket);
        }
    }
}

#[cold]
fn unclaimed(why: Unclaimed) -> Error {
    match why {
        Unclaimed::TimedOut => Kind::Timeout { what: "waiting for a value that another computes" }.into(),
        Unclaimed::Full => Kind::TableFull { what: "what the dictionary computes at once" }.into(),
        Unclaimed::Locked(Refused::TimedOut) => unclaimed(Unclaimed::TimedOut),
        Unclaimed::Locked(refused) => refusal(refused, WHAT),
    }
}
