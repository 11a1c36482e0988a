//! How entries are found: without a lock, by looking at the header before and after.
#![forbid(unsafe_code)]

use crate::order;
use crate::participant::Liveness;
use crate::raw::table::{Asked, CHAIN_MAX, Store, Table, Trouble};
use crate::raw::table_change::Spot;
use crate::raw::table_lock::Unlocks;
use crate::raw::table_word::{Line, Word};
use crate::sync::spin_hint;

/// How often a reader begins again.
const TRIES: u32 = 100_000;
/// After so many it takes the lock, if it may.
const TRIES_FREE: u32 = 200;

/// What was found in a line of a chain, the line, and its header.
type Met<'l, R, L> = (R, &'l L, Word<L>);

/// What `read` makes of a line and its header, unless it changed meanwhile.
#[inline(always)]
pub fn look_at<L: Line, R>(line: &L, read: impl FnOnce(Word<L>) -> Option<R>) -> Option<R> {
    let word = Word::look(line);
    let found = read(word)?;
    word.is_still(line).then_some(found)
}

impl<'a, S: Store> Table<'a, S> {
    /// Reads the entry of a key. False: there is none. `life`: who locks the bucket if others write into it all the time.
    #[inline(always)]
    pub fn find<'l, V: Liveness + 'l>(
        &self,
        asked: &mut impl Asked<S::Line>,
        life: impl FnOnce() -> Option<&'l V>,
    ) -> Result<bool, Trouble> {
        let hash = asked.hash();
        let first = |line: &S::Line, word: Word<S::Line>| {
            let candidates = asked.candidates(line, word.occupied());
            (candidates != 0 && asked.meets(line, candidates.trailing_zeros())).then_some(())
        };
        if self.hit(hash, first).is_some() { Ok(true) } else { self.find_anywhere(asked, life) }
    }

    /// The usual hit, straight: in the bucket that was guessed. `read` makes something of its own line and what is occupied
    /// in it: that belongs there, so no level is looked at. `None`: it was not there, or changed meanwhile.
    #[inline(always)]
    pub fn hit<R>(&self, hash: u64, read: impl FnOnce(&'a S::Line, Word<S::Line>) -> Option<R>) -> Option<R> {
        let line = self.store.bucket_near(self.guess(hash))?;
        look_at(line, |word| read(line, word))
    }

    /// As [`find`](Self::find), with chains, splits and writers, for what was no [`hit`](Self::hit).
    #[cold]
    #[inline(never)]
    pub fn find_anywhere<'l, V: Liveness + 'l>(
        &self,
        asked: &mut impl Asked<S::Line>,
        life: impl FnOnce() -> Option<&'l V>,
    ) -> Result<bool, Trouble> {
        let hash = asked.hash();
        let mut bucket = self.guess(hash);
        let mut wrong = "a bucket that is not there";
        let mut life = Some(life);
        // Each round that comes to nothing means that a writer did something, or that the words make no sense.
        for round in 0..TRIES {
            if round == TRIES_FREE
                && let Some(life) = life.take().and_then(|life| life())
            {
                // Large values that change all the time: nobody writes while we read.
                return self.find_locked(life, asked);
            }
            let Some(line) = self.store.bucket(bucket) else { return Err(Trouble::Corrupt(wrong)) };
            let word = Word::look(line);
            if !self.belongs(hash, bucket, word) {
                wrong = "a bucket's level";
                bucket = self.redirect(hash, bucket, word);
                continue;
            }
            match self.find_in(asked, line, word) {
                Some(found) => return Ok(found),
                None => spin_hint(),
            }
        }
        Err(Trouble::Contended)
    }

    /// Looks through a bucket's chain, if the bucket is that of the hash. What is found is there in any case. `None`: the
    /// bucket changed meanwhile.
    #[inline(always)]
    pub fn find_in(&self, asked: &mut impl Asked<S::Line>, line: &S::Line, word: Word<S::Line>) -> Option<bool> {
        let meets = |at: &S::Line, now: Word<S::Line>| {
            let mut candidates = asked.candidates(at, now.occupied());
            while candidates != 0 {
                let slot = candidates.trailing_zeros();
                candidates &= candidates - 1;
                if asked.meets(at, slot) {
                    return Some(());
                }
            }
            None
        };
        match self.first_in(line, word, meets)? {
            // The line may have been taken out of the chain, and be another's by now: so both.
            Some(((), at, now)) => (now.is_still(at) && word.is_still(line)).then_some(true),
            // Every change of the chain leaves a new version in the bucket's own line.
            None => word.is_still(line).then_some(false),
        }
    }

    /// What `look` finds in the first line of a bucket's chain in which it finds anything, with the line, which has to be as
    /// it was afterwards, as the bucket's own one has to. `None`: the chain makes no sense, or changed meanwhile.
    #[inline(always)]
    pub fn first_in<'l, R>(
        &self,
        line: &'l S::Line,
        word: Word<S::Line>,
        mut look: impl FnMut(&'l S::Line, Word<S::Line>) -> Option<R>,
    ) -> Option<Option<Met<'l, R, S::Line>>>
    where
        'a: 'l,
    {
        let (mut at, mut now) = (line, word);
        for _ in 0..CHAIN_MAX {
            if let Some(found) = look(at, now) {
                return Some(Some((found, at, now)));
            }
            let link = at.link().load(order!(table_chain, Acquire));
            if link == 0 {
                break;
            }
            at = self.store.chained(link)?;
            now = Word::look(at);
        }
        Some(None)
    }

    /// Reads the entry of a key, while nobody else writes into its bucket.
    fn find_locked(&self, life: &impl Liveness, asked: &mut impl Asked<S::Line>) -> Result<bool, Trouble> {
        let locked = Unlocks(self.lock(life, asked.hash())?);
        self.locate(&locked.0, asked).map(|spot| matches!(spot, Spot::Found(_)))
    }

    /// Reads all entries of a bucket as they were at one moment, and its level then. `read` may see words that are being
    /// overwritten; `begin` is called whenever it all begins again. `life` as for [`find`](Self::find).
    pub fn snapshot<V: Liveness>(
        &self,
        life: Option<&V>,
        bucket: u64,
        mut begin: impl FnMut(),
        mut read: impl FnMut(&S::Line, u32),
    ) -> Result<u32, Trouble> {
        let line = self.store.bucket(bucket).ok_or(Trouble::Corrupt("a bucket that is not there"))?;
        for round in 0..TRIES {
            begin();
            if round == TRIES_FREE
                && let Some(life) = life
            {
                let read = |word| {
                    let whole = self.each_entry(bucket, line, word, &mut read);
                    whole.map(|()| self.bits + word.level()).ok_or(Trouble::Corrupt("a chain"))
                };
                return self.with_locked(life, bucket, read);
            }
            let word = Word::look(line);
            if self.each_entry(bucket, line, word, &mut read).is_some() && word.is_still(line) {
                return Ok(self.bits + word.level());
            }
            spin_hint();
        }
        Err(Trouble::Contended)
    }

    fn each_entry(
        &self,
        bucket: u64,
        line: &S::Line,
        word: Word<S::Line>,
        read: &mut impl FnMut(&S::Line, u32),
    ) -> Option<()> {
        let (mut at, mut now) = (line, word);
        for nth in 0..CHAIN_MAX {
            for slot in (0..S::Line::SLOTS).filter(|&slot| now.has(slot)) {
                // A split that is under way, or whose splitter died, leaves entries in chains that are the child's, or that
                // stand in the bucket's own line by now.
                let is_here = nth == 0 || {
                    let belongs = self.store.hash_at(at, slot).is_some_and(|hash| self.belongs(hash, bucket, word));
                    belongs && !(0..S::Line::SLOTS).any(|own| word.has(own) && line.is_same(own, at, slot))
                };
                if is_here {
                    read(at, slot);
                }
            }
            if !now.is_still(at) {
                return None;
            }
            let link = at.link().load(order!(table_chain, Acquire));
            if link == 0 {
                return Some(());
            }
            at = self.store.chained(link)?;
            now = Word::look(at);
        }
        None
    }
}
