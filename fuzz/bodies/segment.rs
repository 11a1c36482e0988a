//! Any bytes as a segment: refused, or safe through every operation of whatever handle attaches.
//!
//! Random bytes rarely get past the header, so most inputs start from a valid segment of some kind and
//! overwrite parts of it: a copy that is attached afterwards, as a stranger would send it, or the segment
//! under a living handle, as a hostile neighbour would do it.

use std::cell::RefCell;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::time::Duration;

use arbitrary::{Arbitrary, Unstructured};
use mutirao::{Array, List, Lock, LockError, Mutex, Plain, Queue, RwLock, Segment, Semaphore, Value};
use rustix::fs::{MemfdFlags, SealFlags};

/// Long enough to sleep once, short enough to fuzz.
const MOMENT: Duration = Duration::from_micros(1500);

/// As much of a segment is read and overwritten.
const PAGES_MAX: u64 = 64;

/// A valid segment, overwritten here and there: before it is attached, or under living handles.
#[derive(Arbitrary, Debug)]
struct Forged {
    kind: Kind,
    attached: bool,
    patches: Vec<Patch>,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Kind {
    Empty,
    Number,
    Large,
    Array,
    Lock,
    Mutex,
    Semaphore,
    Queue,
    PlainQueue,
    RwLock,
}

#[derive(Arbitrary, Debug)]
struct Patch {
    /// Taken modulo the length of the segment.
    at: u32,
    bytes: Bytes,
}

/// What is written: words that mean something to the machines, or anything.
#[derive(Arbitrary, Debug)]
enum Bytes {
    Word(u64),
    Half(u32),
    Zeroes(u8),
    Ones(u8),
    /// A word copied from elsewhere in the segment.
    From(u32),
    Any(Vec<u8>),
}

/// One input. The first byte says what the others are: zero for the bytes of a file behind its length in
/// pages, one for the same in a file that is not sealed, three for a forged segment of many objects, four for one of lists, all
/// else for one of a single object.
pub fn segment(bytes: &[u8]) {
    match bytes {
        [how @ (0 | 1), pages, bytes @ ..] => {
            let len = if *pages == 0 { bytes.len() as u64 } else { u64::from(*pages) * 4096 };
            try_attach(file(bytes, len, *how == 0));
        }
        [how, bytes @ ..] => {
            if let Ok(forged) = Forged::arbitrary_take_rest(Unstructured::new(bytes)) {
                let segment = match how {
                    3 => catalogued(),
                    4 => listed(),
                    _ => whole(forged.kind),
                };
                try_forged(&forged, segment);
            }
        }
        [] => {}
    }
}

fn try_forged(forged: &Forged, segment: Segment) {
    if forged.attached {
        let handles = Handles::all(&segment);
        let file = File::from(segment.as_fd().try_clone_to_owned().expect("a descriptor"));
        for patch in &forged.patches {
            let image = image_of(&segment);
            let (at, bytes) = patch.on(&image);
            file.write_all_at(&bytes, at as u64).expect("a segment can be written");
            handles.iter().for_each(Handles::use_all);
            use_catalog(&segment);
        }
        let _ = format!("{:?}", segment.inspect());
        return;
    }
    let mut image = image_of(&segment);
    drop(segment);
    for patch in &forged.patches {
        let (at, bytes) = patch.on(&image);
        image[at..at + bytes.len()].copy_from_slice(&bytes);
    }
    let len = image.len() as u64;
    try_attach(file(&image, len, true));
}

impl Patch {
    /// Where and what to write, within the image.
    fn on(&self, image: &[u8]) -> (usize, Vec<u8>) {
        let mut bytes = match &self.bytes {
            Bytes::Word(word) => word.to_ne_bytes().to_vec(),
            Bytes::Half(half) => half.to_ne_bytes().to_vec(),
            Bytes::Zeroes(n) => vec![0; usize::from(*n)],
            Bytes::Ones(n) => vec![0xff; usize::from(*n)],
            Bytes::From(at) => {
                let at = (*at as usize % image.len()) & !7;
                image.get(at..at + 8).unwrap_or_default().to_vec()
            }
            Bytes::Any(bytes) => bytes.clone(),
        };
        let at = self.at as usize % image.len();
        bytes.truncate(image.len() - at);
        (at, bytes)
    }
}

/// A fresh segment of a kind, with something in it.
fn whole(kind: Kind) -> Segment {
    match kind {
        Kind::Empty => Segment::anonymous(64 << 10).expect("a segment"),
        Kind::Number => Value::new(7u64).expect("a value").segment().clone(),
        Kind::Large => Value::new([7u64; 4]).expect("a value").segment().clone(),
        Kind::Array => Array::<u64>::new(40).expect("an array").segment().clone(),
        Kind::Lock => Lock::new().expect("a lock").segment().clone(),
        Kind::Mutex => Mutex::new([7u64; 4]).expect("a mutex").segment().clone(),
        Kind::Semaphore => Semaphore::new(3).expect("a semaphore").segment().clone(),
        Kind::Queue => {
            let queue = Queue::<String>::options().capacity(4).cell_bytes(32).create().expect("a queue");
            queue.try_send("one".to_owned()).expect("an empty queue");
            queue.segment().clone()
        }
        Kind::PlainQueue => {
            let queue = Queue::<Plain<u64>>::new(4).expect("a queue");
            queue.try_send(Plain(1)).expect("an empty queue");
            queue.segment().clone()
        }
        Kind::RwLock => RwLock::new([7u64; 4]).expect("a lock").segment().clone(),
    }
}

thread_local! {
    /// Handles on objects of the last segment that was made.
    static HELD: RefCell<Option<(Lock, Value<u64>)>> = const { RefCell::new(None) };
}

/// Many objects in one segment: with a name, without, and one that was removed and is still held.
fn catalogued() -> Segment {
    let segment = Segment::options().participants(4).objects(14).anonymous(128 << 10).expect("a segment");
    Handles::create(&segment).expect("room for all");
    let held = (Lock::create(&segment, "removed").expect("room"), Value::new_in(&segment, 1u64).expect("room"));
    segment.remove("removed").expect("it is there");
    HELD.replace(Some(held));
    segment
}

/// Lists whose items are in their slots and in blocks.
fn listed() -> Segment {
    let segment = Segment::options().participants(4).objects(6).anonymous(128 << 10).expect("a segment");
    let words = List::<String>::create(&segment, "words").expect("room");
    words.extend(["one", "a longer one", "two"].map(str::to_owned)).expect("room");
    words.reverse().expect("room");
    let numbers = List::<Plain<u64>>::create(&segment, "numbers").expect("room");
    numbers.extend((0..20).map(Plain)).expect("room");
    segment
}

fn image_of(segment: &Segment) -> Vec<u8> {
    let file = File::from(segment.as_fd().try_clone_to_owned().expect("a descriptor"));
    let len = file.metadata().expect("metadata").len().min(PAGES_MAX * 4096);
    let mut bytes = vec![0; len as usize];
    file.read_exact_at(&mut bytes, 0).expect("a segment can be read");
    bytes
}

fn file(bytes: &[u8], len: u64, sealed: bool) -> OwnedFd {
    let fd = rustix::fs::memfd_create("fuzz", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).expect("a memfd");
    rustix::fs::fchmod(&fd, rustix::fs::Mode::from_raw_mode(0o600)).expect("a mode");
    let file = File::from(fd);
    file.write_all_at(bytes, 0).expect("room in memory");
    file.set_len(len).expect("room in memory");
    if sealed {
        rustix::fs::fcntl_add_seals(&file, SealFlags::SHRINK | SealFlags::SEAL).expect("seals");
    }
    file.into()
}

fn try_attach(fd: OwnedFd) {
    let Ok(segment) = Segment::from_fd(fd) else { return };
    let _ = format!("{segment:?} {:?}", segment.inspect());
    Handles::all(&segment).iter().for_each(Handles::use_all);
    use_catalog(&segment);
}

/// Makes, finds, lists and removes.
fn use_catalog(segment: &Segment) {
    let _ = segment.objects();
    let made = (Value::create(segment, "new", 1u64), Queue::<u64>::new_in(segment, 2), Lock::open(segment, "new"));
    let _ = Array::<u64>::open_or_create(segment, "array", 30).map(|array| array.get(3));
    if let (Ok(value), Ok(queue), _) = &made {
        let _ = (value.load(), queue.try_send(2), queue.try_recv());
    }
    for name in ["new", "number", "queue"] {
        let _ = segment.remove(name);
    }
    drop(made);
    let _ = format!("{}", segment.inspect());
}

/// Whatever attached, by right or through forged bytes.
struct Handles {
    number: Option<Value<u64>>,
    large: Option<Value<[u64; 4]>>,
    array: Option<Array<u64>>,
    lock: Option<Lock>,
    mutex: Option<Mutex<[u64; 4]>>,
    semaphore: Option<Semaphore>,
    queue: Option<Queue<String>>,
    plain: Option<Queue<Plain<u64>>>,
    rw_lock: Option<RwLock<[u64; 4]>>,
    words: Option<List<String>>,
    numbers: Option<List<Plain<u64>>>,
}

impl Handles {
    /// What is alone in the segment, and what is there by name.
    fn all(segment: &Segment) -> [Self; 2] {
        [Self::attach(segment), Self::open(segment)]
    }

    fn create(segment: &Segment) -> mutirao::Result<Self> {
        let queue = Queue::<String>::options().capacity(4).cell_bytes(32).create_named(segment, "queue")?;
        queue.try_send("one".to_owned())?;
        Ok(Self {
            number: Some(Value::create(segment, "number", 7)?),
            large: Some(Value::create(segment, "large", [7; 4])?),
            array: Some(Array::create(segment, "array", 40)?),
            lock: Some(Lock::create(segment, "lock")?),
            mutex: Some(Mutex::create(segment, "mutex", [7; 4])?),
            rw_lock: Some(RwLock::create(segment, "rw_lock", [7; 4])?),
            semaphore: Some(Semaphore::create(segment, "semaphore", 3)?),
            queue: Some(queue),
            plain: Some(Queue::create(segment, "plain", 4)?),
            words: None,
            numbers: None,
        })
    }

    fn open(segment: &Segment) -> Self {
        Self {
            number: Value::open(segment, "number").ok(),
            large: Value::open(segment, "large").ok(),
            array: Array::open(segment, "array").ok(),
            lock: Lock::open(segment, "lock").ok(),
            mutex: Mutex::open(segment, "mutex").ok(),
            rw_lock: RwLock::open(segment, "rw_lock").ok(),
            semaphore: Semaphore::open(segment, "semaphore").ok(),
            queue: Queue::open(segment, "queue").ok(),
            plain: Queue::open(segment, "plain").ok(),
            words: List::open(segment, "words").ok(),
            numbers: List::open(segment, "numbers").ok(),
        }
    }

    fn attach(segment: &Segment) -> Self {
        Self {
            number: Value::attach(segment).ok(),
            large: Value::attach(segment).ok(),
            array: Array::attach(segment).ok(),
            lock: Lock::attach(segment).ok(),
            mutex: Mutex::attach(segment).ok(),
            semaphore: Semaphore::attach(segment).ok(),
            queue: Queue::attach(segment).ok(),
            plain: Queue::attach(segment).ok(),
            rw_lock: RwLock::attach(segment).ok(),
            words: List::attach(segment).ok(),
            numbers: List::attach(segment).ok(),
        }
    }

    /// Every operation; what it answers does not matter, that it answers does.
    fn use_all(&self) {
        if let Some(number) = &self.number {
            number.fetch_add(1);
            let _ = (number.load(), number.store(3), format!("{number:?}"));
        }
        if let Some(large) = &self.large {
            // With a deadline: bytes may say that a living one, even ourselves, has the turn.
            if let Ok(mut guard) = large.lock_timeout(MOMENT) {
                *guard = [1; 4];
            }
            let _ = (large.try_load(), large.try_lock().is_ok(), format!("{large:?}"));
        }
        if let Some(array) = &self.array {
            use_array(array);
        }
        if let Some(lock) = &self.lock {
            drop(lock.try_lock());
            drop(lock.lock_timeout(MOMENT));
            let _ = format!("{lock:?}");
        }
        if let Some(mutex) = &self.mutex {
            if let Ok(mut guard) = mutex.lock_timeout(MOMENT) {
                guard[0] ^= 1;
            }
            drop(mutex.try_lock());
            let _ = format!("{mutex:?}");
        }
        if let Some(semaphore) = &self.semaphore {
            use_semaphore(semaphore);
        }
        if let Some(queue) = &self.queue {
            use_queue(queue, || "text".to_owned());
        }
        if let Some(queue) = &self.plain {
            use_queue(queue, || Plain(5));
        }
        if let Some(words) = &self.words {
            use_list(words, || "a text in a block".to_owned());
        }
        if let Some(numbers) = &self.numbers {
            use_list(numbers, || Plain(5));
        }
        if let Some(lock) = &self.rw_lock {
            let (one, another) = (lock.read_timeout(MOMENT), lock.try_read());
            let _ = (lock.try_write().is_ok(), format!("{lock:?}"));
            drop((one, another));
            if let Ok(mut guard) = lock.write_timeout(MOMENT) {
                guard[0] ^= 1;
            }
        }
    }
}

fn use_list<T: mutirao::Item>(list: &List<T>, item: impl Fn() -> T) {
    let _ = (list.len(), format!("{list:?}"), list.to_vec().is_ok());
    let _ = list.iter().take(100).filter(Result::is_ok).count();
    // Writers have no deadline: bytes may say that a living one, even ourselves, has the turn.
    let state = format!("{}", list.segment().inspect());
    if state.contains("Held(#") {
        return;
    }
    let _ = (list.push(item()).is_ok(), list.set(1, item()).is_ok(), list.insert(1, item()).is_ok());
    let _ = (list.get(0).is_ok(), list.update(2, |_| item()).is_ok(), list.remove(0).is_ok(), list.pop().is_ok());
    let _ = (list.reverse(), list.extend([item(), item()]).is_ok(), list.shrink_to_fit());
    let mut keep = false;
    let flip = |_: &T| {
        keep = !keep;
        keep
    };
    let _ = (list.retain(flip), list.truncate(5), list.push(item()).is_ok());
}

fn use_array(array: &Array<u64>) {
    let mut out = [0; 8];
    for index in [0, 1, array.len() / 2, array.len().wrapping_sub(1), array.len()] {
        let _ = (array.get(index), array.set(index, 1), array.fetch_add(index, 1));
        let _ = (array.copy_to(index, &mut out), array.copy_from(index, &out));
    }
    if let Ok(view) = array.view(..) {
        let _ = view.iter().take(1000).fold(0u64, u64::wrapping_add);
    }
    let held = [array.try_write(..3), array.write_timeout(2..9, MOMENT), array.try_write(..)];
    for held in held {
        if let Ok(mut guard) | Err(LockError::OwnerDied(mut guard)) = held {
            let _ = (guard.set(0, 1), guard.mark_consistent());
        }
    }
    let held = (array.try_read(..), array.read_timeout(5.., MOMENT));
    let _ = format!("{array:?} {held:?}");
}

fn use_semaphore(semaphore: &Semaphore) {
    let first = semaphore.try_acquire();
    let second = semaphore.acquire_timeout(MOMENT);
    let _ = (semaphore.add_permits(1), semaphore.available());
    drop((first, second));
    let _ = format!("{semaphore:?}");
}

fn use_queue<T: mutirao::Item>(queue: &Queue<T>, item: impl Fn() -> T) {
    let _ = (queue.len(), queue.capacity(), format!("{queue:?}"));
    let _ = queue.try_send(item());
    let _ = queue.send_timeout(item(), MOMENT);
    let _ = queue.try_recv();
    let _ = queue.recv_timeout(MOMENT);
    queue.close();
    let _ = (queue.try_send(item()).is_ok(), queue.try_recv().is_ok(), queue.is_closed());
}
