//! A pool in the making: its memory, and how its workers are started.

use parking_lot::{Condvar, Mutex};
use std::sync::Arc;

use crate::error::Result;
use crate::handle::array::Array;
use crate::handle::bytes::Bytes;
use crate::handle::queue::Queue;
use crate::pool::budget;
use crate::pool::crew::{Crew, Worker};
use crate::pool::desk::Desks;
use crate::pool::drive::{Core, State};
use crate::pool::events::{Event, Events};
use crate::pool::ledger::Ledger;
use crate::pool::log::{Logs, RING};
use crate::pool::stats::{Figures, PostFigures};
use crate::pool::worker::{Initializer, Setup, work};
use crate::process::options::Options;
use crate::process::routine::Secret;
use crate::segment::body::Hold;
use crate::segment::handoff::Home;
use crate::segment::named::SegmentOptions;
use crate::segment::open::Segment;
use crate::sync::{AtomicU32, AtomicU64};

/// Chunks that fit the queue, and as many replies: enough that no worker waits while the parent does something else for 50
/// microseconds, and few enough to stay in the processors' caches, and to be made before the first worker asks for them.
const CHUNKS: usize = 256;
/// For each worker, where there are many of them.
const CHUNKS_EACH: usize = 4;
/// Bytes of a chunk or a reply that lie in the queue itself.
const CELL: usize = 184;
/// Memory reserved, and not taken, for chunks and replies that do not.
const MEMORY: u64 = 16 << 30;
/// Memory taken from the beginning, beside queues and logs.
const BESIDE: usize = 64 << 10;

/// The most workers: what else takes part in the pool's memory needs a row too.
pub(crate) const WORKERS_MAX: usize = 240;

/// What a pool is made of.
pub(crate) struct Founding {
    /// Unless said, as many as processors.
    pub(crate) workers: Option<usize>,
    pub(crate) secret: Secret,
    pub(crate) initializer: Option<(Initializer, Vec<Arc<Hold>>)>,
    pub(crate) calls_max: u64,
    pub(crate) options: Options,
    pub(crate) is_limited: bool,
    pub(crate) name: Option<String>,
    pub(crate) cpus: Vec<u32>,
    pub(crate) shared: Vec<Segment>,
}

/// The most chunks that should be out at a time, so that they fit the queue.
pub(crate) fn chunks_out(workers: usize) -> usize {
    (CHUNKS_EACH * workers).max(CHUNKS)
}

/// What a pool and its workers share.
#[derive(Clone)]
struct Ground {
    tasks: Queue<Bytes>,
    replies: Queue<Bytes>,
    desks: Desks,
    logs: Logs,
    workers: usize,
    /// Processors for each worker.
    share: u32,
}

impl Ground {
    fn new(workers: Option<usize>) -> Result<(Self, Segment)> {
        let processors = budget::processors();
        let workers = budget::granted(workers, processors).min(WORKERS_MAX);
        let share = budget::share_of_worker(workers, processors);
        // Twice: a worker that was killed has its row until somebody needs it.
        let rows = u32::try_from(2 * workers + 4).unwrap_or(u32::MAX).clamp(16, 256);
        let chunks = chunks_out(workers);
        // A cell of either queue takes 256 bytes; each page that is taken costs about as much as two system calls.
        let first = 2 * 256 * chunks + workers * RING + BESIDE;
        let segment = SegmentOptions::default().participants(rows).objects(8).first(first as u64).anonymous(MEMORY)?;
        let queue = || Queue::<Bytes>::options().capacity(chunks).cell_bytes(CELL);
        let tasks = queue().leases(workers + 8).max_attempts(1).create_in(&segment)?;
        let replies = queue().leases(0).create_in(&segment)?;
        let desks = Desks::new_in(&segment, workers)?;
        let logs = Logs { bytes: Array::new_in(&segment, workers * RING)? };
        Ok((Self { tasks, replies, desks, logs, workers, share }, segment))
    }
}

impl Founding {
    fn setup(&self, ground: Ground, post: usize) -> Setup {
        Setup {
            tasks: ground.tasks,
            replies: ground.replies,
            desks: ground.desks.words,
            logs: ground.logs.bytes,
            shared: self.shared.clone(),
            post: post as u32,
            share: ground.share,
            secret: self.secret,
            calls_max: self.calls_max,
            initializer: self.initializer.as_ref().map(|(initializer, _)| initializer.clone()),
        }
    }

    /// What the worker of a post is started with.
    fn options(&self, post: usize) -> Options {
        let mut options = self.options.clone();
        if let Some(cpu) = self.cpus.get(post % self.cpus.len().max(1)) {
            options = options.affinity([*cpu]);
        }
        if let Some(name) = &self.name {
            options = options.name(format!("{name}-{post}"));
        }
        options
    }
}

/// Makes a pool's parent, and starts its first worker: whoever makes a pool is told at once if that is not possible. While the
/// worker comes to life, the memory is made that it will find.
pub(crate) fn found(founding: Founding) -> Result<Core> {
    let (workers, secret, is_limited) = (founding.workers, founding.secret, founding.is_limited);
    let mut made = None;
    let worker = Worker::start_and_make(&founding.options(0), work, || {
        let (ground, _) = made.insert(Ground::new(workers)?);
        Ok(founding.setup(ground.clone(), 0))
    })?;
    let (ground, segment) = made.map_or_else(|| Ground::new(workers), Ok)?;
    let home = Home::new(segment, &founding.shared);
    let Ground { tasks, replies, desks, logs, workers, .. } = ground.clone();
    let start = move |post| founding.options(post).spawn(work, founding.setup(ground.clone(), post));
    let core = Core {
        posts: workers,
        tasks,
        replies,
        desks,
        logs,
        home,
        secret,
        is_limited,
        start: Box::new(start),
        state: Mutex::new(State {
            leading: false,
            assisted: false,
            closed: false,
            over: false,
            jobs: 0,
            ledger: Ledger::default(),
            crew: Crew::new(workers),
            figures: Figures { posts: vec![PostFigures::default(); workers], ..Figures::default() },
            events: Events::default(),
            letters: Vec::new(),
            round_due_ns: 0,
        }),
        changed: Condvar::new(),
        assistance: Condvar::new(),
        sleepers: AtomicU32::new(0),
        coding_ns: AtomicU64::new(0),
    };
    let mut state = core.lock();
    state.crew.started += 1;
    state.figures.note_start(0);
    state.events.note(|| Event::Started { post: 0, pid: worker.pid() });
    if let Some(post) = state.crew.posts.first_mut() {
        post.worker = Some(worker);
    }
    drop(state);
    Ok(core)
}
