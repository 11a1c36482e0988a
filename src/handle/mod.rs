//! What users hold, and which of it to choose.
//!
//! | you have | take | and not |
//! |---|---|---|
//! | a counter, a flag, a progress figure | [`Value`](crate::Value) of a number: one atomic instruction | a `Mutex<u64>` |
//! | a small struct that many read and few write | [`Value`](crate::Value) of the struct: readers never wait | an array of its fields: they would be seen mixed |
//! | a struct that is changed from what it was | [`Mutex`](crate::Mutex): a private copy, committed by one store | a `Lock` beside an `Array`, unless the struct is large and the changes small |
//! | settings that many read and that must not change while they act on them | [`RwLock`](crate::RwLock): readers keep writers out | a `Value`, whose readers never wait but may hold an old value |
//! | many numbers: samples, counts, a matrix | [`Array`](crate::Array): element by element, a view of a range, or a range held by `read` and `write` | one large `Value`, which copies all of itself for each change |
//! | something outside: a file, a device | [`Lock`](crate::Lock): it says when a holder died and what it guards may be half changed | a `Mutex<()>`, which would not say it twice |
//! | "at most n at a time" | [`Semaphore`](crate::Semaphore): the permits of the dead come back | a counter of your own: a death makes it wrong for ever |
//! | values found by a key: results to share, counts, a cache | [`Dict`](crate::Dict): any process reads and writes at once | a `Mutex` of a map, which does not fit into shared memory |
//! | results that are dear to compute and that many want | [`Dict::get_or_insert_with`](crate::Dict::get_or_insert_with): once across all processes | a cache in each process |
//! | work or results to hand over | [`Queue`](crate::Queue) of any serde type | a `Value` that somebody polls |
//! | results that pile up, a list that anybody changes | [`List`](crate::List): grows, is read without a lock, sorted as one change | a `Queue` that is never drained, an `Array` as large as it may ever get |
//! | fixed-size records, as fast as it goes | `Queue` of [`Plain`](crate::Plain) | postcard between |
//! | large blocks | an `Array` for the bytes and a queue of indexes into it | items of megabytes, which are copied twice |
//!
//! Where to put it: `new` gives an object a segment of its own, which costs a descriptor and a mapping and goes with its
//! last user. `new_in(&segment)` puts many into one; `create`, `open` and `open_or_create` do that under a name, for
//! programs that know nothing else of each other.
//!
//! Threads of one program that will never be more than one program are better served by std and
//! crossbeam: the same speed, without a descriptor and a mapping per object.
//!
//! Every handle is cheap to clone, `Send` and `Sync`, and keeps its memory alive. It goes to a child as an argument
//! of `Process::spawn`, to a stranger by its segment or by its
//! name there, and in an item of a queue if both live in one segment. `try_x` never waits, `x_timeout` bounds
//! the whole call, a bare `x` waits as long as it takes, and none of them ever waits for a dead process.
//!
//! This room knows types. It has no algorithm, which is below in `raw`, no pointer, which is below in
//! `segment`, and no `unsafe`.
#![forbid(unsafe_code)]

pub(crate) mod array;
pub(crate) mod bytes;
pub(crate) mod channel;
pub(crate) mod codec;
pub(crate) mod copies;
pub(crate) mod dict;
pub(crate) mod dict_bits;
pub(crate) mod dict_change;
pub(crate) mod dict_codec;
pub(crate) mod dict_iter;
pub(crate) mod dict_many;
pub(crate) mod dict_observed;
pub(crate) mod dict_once;
pub(crate) mod dict_options;
pub(crate) mod dict_put;
pub(crate) mod dict_read;
pub(crate) mod dict_short;
pub(crate) mod dict_store;
pub(crate) mod ends;
pub(crate) mod integer;
pub(crate) mod lease;
pub(crate) mod list;
pub(crate) mod list_options;
pub(crate) mod list_order;
pub(crate) mod lock;
pub(crate) mod mutex;
pub(crate) mod object;
pub(crate) mod observed;
pub(crate) mod portable;
pub(crate) mod queue;
pub(crate) mod queue_options;
pub(crate) mod range;
pub(crate) mod rw_lock;
pub(crate) mod seat;
pub(crate) mod semaphore;
pub(crate) mod send_error;
pub(crate) mod taking;
pub(crate) mod value;
pub(crate) mod view;
pub(crate) mod whole;

pub use self::array::Array;
pub use self::bytes::{Bytes, LeasedBytes, Slot};
pub use self::codec::{Item, Plain};
pub use self::dict::Dict;
pub use self::dict_codec::{DictItem, Lookup};
pub use self::dict_iter::DictEntries;
pub use self::dict_options::{DictOptions, Hash};
pub use self::ends::{Receiver, Sender};
pub use self::integer::Integer;
pub use self::lease::{DeadLetter, DeadLetters, Leased, OwnedLease};
pub use self::list::{List, ListIter};
pub use self::list_options::ListOptions;
pub use self::lock::{Lock, LockError, LockGuard};
pub use self::mutex::Mutex;
pub use self::observed::ReadOnly;
pub use self::queue::{Items, Queue};
pub use self::queue_options::QueueOptions;
pub use self::range::{ArrayReadGuard, ArrayWriteGuard};
pub use self::rw_lock::{RwLock, RwLockReadGuard, RwLockWriteGuard};
pub use self::semaphore::{OwnedPermit, PERMITS_MAX, Permit, Semaphore};
pub use self::send_error::SendError;
pub use self::value::{Value, ValueGuard};
pub use self::view::ArrayView;
pub use self::whole::MutexGuard;
