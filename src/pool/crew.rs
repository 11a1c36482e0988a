//! The workers: posts, who stands at each, how they are started and how they are replaced.

use crate::error::Result;
use crate::pool::desk::{Desks, Glimpse, Stage};
use crate::process::spawn::Process;
use crate::sys::clock;

/// What a worker hands back when it leaves by itself.
pub(crate) type Worker = Process<core::result::Result<(), String>>;

/// A place for a worker.
#[derive(Default)]
pub(crate) struct Post {
    pub(crate) worker: Option<Worker>,
    /// The worker that was here died, and what it had in hand is not settled yet.
    pub(crate) fallen: Option<Fallen>,
    /// Nobody is started before this moment.
    vacant_until_ns: u64,
    /// Workers in a row that ended without having made a call.
    useless: u32,
    /// Why this worker was killed by us.
    pub(crate) sentence: Option<Sentence>,
    /// The call that was seen under way, and when it was seen first.
    pub(crate) seen: Option<(Glimpse, u64)>,
    /// Bytes of its log that were said again.
    pub(crate) said: u64,
}

/// Why a worker was killed by its parent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Sentence {
    /// Its call took too long.
    TimedOut { chunk: u64, running: u64 },
    /// Its call was cancelled.
    Cancelled { chunk: u64 },
}

/// A worker that died.
pub(crate) struct Fallen {
    pub(crate) pid: u32,
    pub(crate) how: String,
    pub(crate) signal: Option<i32>,
    pub(crate) out_of_memory: bool,
    pub(crate) last_log_lines: Vec<String>,
    pub(crate) desk: Glimpse,
    pub(crate) sentence: Option<Sentence>,
    pub(crate) since_ns: u64,
}

/// All posts.
pub(crate) struct Crew {
    pub(crate) posts: Vec<Post>,
    /// Starts in a row that came to nothing.
    pub(crate) failed_starts: u32,
    /// Why the last of them did.
    pub(crate) why: String,
    /// Since when it is known that there are none to be had.
    without: Option<Without>,
    /// Workers that were started, and that died.
    pub(crate) started: u64,
    pub(crate) deaths: u64,
}

/// No worker could be started.
struct Without {
    /// Jobs that had begun by then.
    jobs: u64,
    /// Until when their further calls are not tried.
    until_ns: u64,
}

/// How long further calls of a job are given up at once when there were no workers for it.
const WITHOUT_NS: u64 = 1_000_000_000;
/// Starts that may come to nothing in a row before it is said that there are no workers.
const FAILED_STARTS_MAX: u32 = 5;
const PAUSE_FIRST_NS: u64 = 5_000_000;
const PAUSE_LAST_NS: u64 = 1_000_000_000;

fn pause_ns(nth: u32) -> u64 {
    match nth {
        0 => 0,
        nth => (PAUSE_FIRST_NS << (nth - 1).min(10)).min(PAUSE_LAST_NS),
    }
}

impl Crew {
    pub(crate) fn new(posts: usize) -> Self {
        let posts = (0..posts).map(|_| Post::default()).collect();
        Self { posts, failed_starts: 0, why: String::new(), without: None, started: 0, deaths: 0 }
    }

    /// How many workers there are.
    pub(crate) fn len(&self) -> usize {
        self.posts.iter().filter(|post| post.worker.is_some()).count()
    }

    /// Whether starting was tried often enough.
    pub(crate) fn is_hopeless(&self) -> bool {
        self.failed_starts >= FAILED_STARTS_MAX && self.len() == 0
    }

    /// There are no workers for the jobs that have begun. The next job has them tried anew, at once.
    pub(crate) fn despair(&mut self, jobs: u64, now_ns: u64) -> String {
        self.failed_starts = 0;
        self.posts.iter_mut().for_each(|post| (post.useless, post.vacant_until_ns) = (0, 0));
        self.without = Some(Without { jobs, until_ns: now_ns.saturating_add(WITHOUT_NS) });
        self.why.clone()
    }

    /// A worker has done something.
    pub(crate) fn hope(&mut self) {
        self.without = None;
    }

    /// Why a call of this job is not tried, if there were no workers for the job a moment ago.
    pub(crate) fn why_not(&self, job: u64) -> Option<String> {
        let without = self.without.as_ref().filter(|without| job <= without.jobs)?;
        (clock::now_ns() < without.until_ns).then(|| self.why.clone())
    }

    /// Starts workers until there are `wanted`. Says when the next one may be started, if some are missing.
    pub(crate) fn fill(
        &mut self,
        wanted: usize,
        desks: &Desks,
        mut start: impl FnMut(usize) -> Result<Worker>,
    ) -> Option<u64> {
        let (mut missing, mut next) = (wanted.saturating_sub(self.len()), None::<u64>);
        for (at, post) in self.posts.iter_mut().enumerate() {
            if missing == 0 {
                break;
            }
            if post.worker.is_some() || post.fallen.is_some() {
                continue;
            }
            let now_ns = clock::now_ns();
            if post.vacant_until_ns > now_ns {
                next = Some(next.map_or(post.vacant_until_ns, |next| next.min(post.vacant_until_ns)));
                continue;
            }
            desks.desk(at).clear();
            (post.sentence, post.seen, post.said) = (None, None, 0);
            match start(at) {
                Ok(worker) => {
                    post.worker = Some(worker);
                    self.started += 1;
                    missing -= 1;
                }
                Err(error) => {
                    self.failed_starts = self.failed_starts.saturating_add(1);
                    self.why = error.to_string();
                    post.useless = post.useless.saturating_add(1);
                    post.vacant_until_ns = now_ns.saturating_add(pause_ns(post.useless));
                    next = Some(next.map_or(post.vacant_until_ns, |next| next.min(post.vacant_until_ns)));
                }
            }
        }
        next
    }

    /// Takes note of a worker that has ended; `None`: it left by itself, its work done.
    pub(crate) fn bury(&mut self, at: usize, glimpse: Glimpse, fallen: Option<Fallen>) {
        let Some(post) = self.posts.get_mut(at) else { return };
        post.worker = None;
        if glimpse.stage == Stage::Starting {
            self.failed_starts = self.failed_starts.saturating_add(1);
            self.why = fallen.as_ref().map_or_else(|| "it left at once".to_owned(), |fallen| fallen.how.clone());
        } else {
            self.failed_starts = 0;
        }
        post.useless = if glimpse.calls == 0 && post.sentence.is_none() { post.useless.saturating_add(1) } else { 0 };
        // The first death of its kind is replaced at once.
        post.vacant_until_ns = clock::now_ns().saturating_add(pause_ns(post.useless.saturating_sub(1)));
        self.deaths += u64::from(fallen.is_some());
        post.fallen = fallen;
    }
}
