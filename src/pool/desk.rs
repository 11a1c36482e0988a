//! A desk for each worker, in shared memory: what it is at. It survives its worker, and says then which call the worker died
//! of. Behind the desks stands which chunks nobody wants any more.
//!
//! Written by the worker alone while it lives, by the parent between two workers. What is read of a living worker
//! is a glimpse; what is read of a dead one is final.

use crate::error::Result;
use crate::handle::array::Array;
use crate::segment::open::Segment;
use crate::sync::{AtomicU64, Ordering};

/// Words of a desk: a pair of cache lines, so that neighbours are in nobody's way.
const WORDS: usize = 16;
/// Chunks that are noted as not wanted, by the low bits of their number: a later one takes an earlier one's place, which
/// is then made for nothing.
const UNWANTED: usize = 1024;

/// How far a worker is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Stage {
    /// The initializer has not returned yet.
    Starting,
    /// It waits for a chunk.
    Waiting,
    /// It makes the calls of a chunk.
    Working,
    /// Its reply was sent; it is about to acknowledge the chunk.
    Replied,
}

/// Words of a desk by what they say.
enum Word {
    Stage = 0,
    /// The chunk's number, more by one.
    Chunk = 1,
    /// The call under way, from 1.
    Running = 2,
    /// Calls made since the worker started.
    Calls = 3,
    /// Bytes that the worker has logged.
    LogHead = 4,
}

/// What stood on a desk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Glimpse {
    pub(crate) stage: Stage,
    pub(crate) chunk: Option<u64>,
    /// The call under way, from 1; 0: none yet.
    pub(crate) running: u64,
    pub(crate) calls: u64,
}

/// All desks.
#[derive(Clone)]
pub(crate) struct Desks {
    pub(crate) words: Array<u64>,
}

impl Desks {
    pub(crate) fn new_in(segment: &Segment, posts: usize) -> Result<Self> {
        Ok(Self { words: Array::new_in(segment, UNWANTED + posts * WORDS)? })
    }

    fn unwanted(&self, chunk: u64) -> Option<&AtomicU64> {
        let range = self.words.range(0..UNWANTED).ok()?;
        self.words.elements(&range).doubles.get(chunk as usize % UNWANTED)
    }

    /// Nobody wants this chunk any more.
    pub(crate) fn forget(&self, chunk: u64) {
        if let Some(word) = self.unwanted(chunk) {
            word.store(chunk.wrapping_add(1), Ordering::Relaxed);
        }
    }

    /// Whether nobody wants this chunk any more.
    pub(crate) fn is_unwanted(&self, chunk: u64) -> bool {
        self.unwanted(chunk).is_some_and(|word| word.load(Ordering::Relaxed) == chunk.wrapping_add(1))
    }

    pub(crate) fn desk(&self, post: usize) -> Desk<'_> {
        let range = UNWANTED + post * WORDS..UNWANTED + (post + 1) * WORDS;
        let words = self.words.range(range).map(|range| self.words.elements(&range).doubles);
        Desk { words: words.unwrap_or_default() }
    }
}

/// One desk.
#[derive(Clone, Copy)]
pub(crate) struct Desk<'a> {
    words: &'a [AtomicU64],
}

/// Where a word is that is not there: of a worker that was told a post beyond all.
static NOWHERE: AtomicU64 = AtomicU64::new(0);

impl<'a> Desk<'a> {
    fn word(&self, word: Word) -> &'a AtomicU64 {
        self.words.get(word as usize).unwrap_or(&NOWHERE)
    }

    // Relaxed, all of it: the parent decides by a dead worker's desk only, and a death is ordered behind all that the dead
    // has stored. On this machine's and the compiler's side: a call that is not inlined stands between any two of these.
    fn set(&self, word: Word, value: u64) {
        self.word(word).store(value, Ordering::Relaxed);
    }

    /// Where the running call is noted.
    pub(crate) fn running(&self) -> &'a AtomicU64 {
        self.word(Word::Running)
    }

    /// For the next worker.
    pub(crate) fn clear(&self) {
        self.words.iter().for_each(|word| word.store(0, Ordering::Relaxed));
    }

    pub(crate) fn log_head(&self) -> u64 {
        self.word(Word::LogHead).load(Ordering::Relaxed)
    }

    pub(crate) fn set_log_head(&self, head: u64) {
        self.set(Word::LogHead, head);
    }

    pub(crate) fn ready(&self) {
        self.set(Word::Stage, Stage::Waiting as u64);
    }

    pub(crate) fn begin(&self, chunk: u64) {
        self.set(Word::Running, 0);
        self.set(Word::Chunk, chunk.wrapping_add(1));
        self.set(Word::Stage, Stage::Working as u64);
    }

    pub(crate) fn replied(&self, calls: u64) {
        self.set(Word::Calls, calls);
        self.set(Word::Stage, Stage::Replied as u64);
    }

    pub(crate) fn end(&self) {
        self.set(Word::Stage, Stage::Waiting as u64);
        self.set(Word::Chunk, 0);
    }

    pub(crate) fn look(&self) -> Glimpse {
        let get = |word| self.word(word).load(Ordering::Relaxed);
        let stage = match get(Word::Stage) {
            1 => Stage::Waiting,
            2 => Stage::Working,
            3 => Stage::Replied,
            _ => Stage::Starting,
        };
        Glimpse { stage, chunk: get(Word::Chunk).checked_sub(1), running: get(Word::Running), calls: get(Word::Calls) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_desk_says_what_its_worker_is_at() {
        let segment = Segment::anonymous(1 << 20).unwrap();
        let desks = Desks::new_in(&segment, 2).unwrap();
        let (desk, other) = (desks.desk(1), desks.desk(0));
        assert_eq!(desk.look().stage, Stage::Starting);
        desk.ready();
        desk.begin(0);
        desk.running().store(5, Ordering::Relaxed);
        let working = Glimpse { stage: Stage::Working, chunk: Some(0), running: 5, calls: 0 };
        assert_eq!(desk.look(), working);
        desk.replied(9);
        assert_eq!((desk.look().stage, desk.look().chunk), (Stage::Replied, Some(0)));
        desk.end();
        assert_eq!((desk.look().stage, desk.look().chunk, desk.look().calls), (Stage::Waiting, None, 9));
        assert_eq!(other.look().stage, Stage::Starting);
        desk.clear();
        assert_eq!(desk.look().stage, Stage::Starting);
        assert!(!desks.is_unwanted(0) && !desks.is_unwanted(1024));
        desks.forget(1024);
        assert!(!desks.is_unwanted(0) && desks.is_unwanted(1024));
        assert_eq!(desks.desk(2).look().chunk, NOWHERE.load(Ordering::Relaxed).checked_sub(1));
    }
}
