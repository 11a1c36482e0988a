//! A desk for each worker, in shared memory: what it is at. It survives its worker, and says then which call the worker died
//! of.
//!
//! Written by the worker alone while it lives, by the parent between two workers. What is read of a living worker
//! is a glimpse; what is read of a dead one is final.

use crate::error::Result;
use crate::handle::array::Array;
use crate::segment::open::Segment;
use crate::sync::{AtomicU64, Ordering};

/// Words of a desk: a pair of cache lines, so that neighbours are in nobody's way.
const WORDS: usize = 16;

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
        Ok(Self { words: Array::new_in(segment, posts * WORDS)? })
    }

    pub(crate) fn desk(&self, post: usize) -> Desk<'_> {
        let range = post * WORDS..(post + 1) * WORDS;
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
        assert_eq!(desks.desk(2).look().chunk, NOWHERE.load(Ordering::Relaxed).checked_sub(1));
    }
}
