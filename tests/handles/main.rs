//! The handles through the public API: one file per primitive, threads and bad input.

mod array;
mod dict;
mod dict_bad;
mod dict_once;
mod lease;
mod list;
mod lock;
mod mutex;
mod queue;
mod queue_ends;
mod rw_lock;
mod semaphore;
mod spill;
mod value;

use mutirao::Segment;

/// What another program would hold: the segment by way of a descriptor of its own.
fn received(segment: &Segment) -> Segment {
    use std::os::fd::AsFd;
    Segment::from_fd(segment.as_fd().try_clone_to_owned().unwrap()).unwrap()
}

/// Every handle is for all threads.
#[test]
fn handles_are_send_and_sync_and_clone() {
    fn is<T: Send + Sync + Clone>() {}
    is::<mutirao::Value<u64>>();
    is::<mutirao::Array<f64>>();
    is::<mutirao::Lock>();
    is::<mutirao::Mutex<[u64; 4]>>();
    is::<mutirao::RwLock<[u64; 4]>>();
    is::<mutirao::Semaphore>();
    is::<mutirao::Queue<String>>();
    is::<mutirao::List<String>>();
    is::<mutirao::Dict<String, u64>>();
}
