//! How a bucket is locked, by whoever changes it, and given back.
#![forbid(unsafe_code)]

use crate::order;
use crate::participant::{Liveness, ParticipantId};
use crate::raw::table::{Guess, Store, Table, Trouble};
use crate::raw::table_word::{Line, Word};
use crate::sync::{Ordering::Relaxed, fence};

/// A bucket that is locked by us. It stays locked until [`Table::unlock`].
pub struct Locked<'a, L> {
    /// Which.
    pub bucket: u64,
    /// Its own line.
    pub line: &'a L,
    /// What the header will be when it is given back.
    pub(crate) word: Word<L>,
    pub(crate) me: ParticipantId,
}

/// Gives a lock back, also when a reader panics.
pub(crate) struct Unlocks<'a, L: Line>(pub Locked<'a, L>);

impl<L: Line> Drop for Unlocks<'_, L> {
    fn drop(&mut self) {
        self.0.word.publish(self.0.line);
    }
}

/// The usual way of a change, straight: locks the bucket that was guessed and whose line was looked up, if nobody has it locked
/// and its level says that the guess is right. `bits`: of a hash, that decide on a bucket which was never split.
#[inline(always)]
pub fn lock_guessed<'a, L: Line>(life: &impl Liveness, guess: Guess, line: &'a L, bits: u32) -> Option<Locked<'a, L>> {
    lock_looked(life, guess.bucket, line, look_guessed(guess, line, bits)?)
}

/// The first half: the header, if nobody has the bucket locked and its level says that the guess is right.
#[inline(always)]
pub fn look_guessed<L: Line>(guess: Guess, line: &L, bits: u32) -> Option<Word<L>> {
    let word = Word::mine(line);
    word.is_free_at(guess.bits.wrapping_sub(bits)).then_some(word)
}

/// The second half: locks a bucket whose header is as it was looked at, so that the same slots are occupied. What stands in them
/// may have changed, after as many changes as there are versions.
#[inline(always)]
pub fn lock_looked<'a, L: Line>(
    life: &impl Liveness,
    bucket: u64,
    line: &'a L,
    word: Word<L>,
) -> Option<Locked<'a, L>> {
    let me = life.me();
    take(me, line, word).then_some(Locked { bucket, line, word, me })
}

/// Free -> ours, as it was looked at.
#[inline(always)]
pub(crate) fn take<L: Line>(me: ParticipantId, line: &L, word: Word<L>) -> bool {
    let ours = word.taken_by(me).bits();
    let taken = line.header().compare_exchange(word.bits(), ours, order!(table_lock, AcqRel), Relaxed).is_ok();
    if taken {
        // Whoever sees something that is written from here on sees this version too. And what is announced from here
        // on does not come before what was taken off last.
        fence(order!(table_overwrite, Release));
    }
    taken
}

impl<'a, S: Store> Table<'a, S> {
    /// Locks the bucket of a hash.
    #[inline(always)]
    pub fn lock(&self, life: &impl Liveness, hash: u64) -> Result<Locked<'a, S::Line>, Trouble> {
        match self.lock_home(life, hash) {
            Some(locked) => Ok(locked),
            None => self.lock_anyhow(life, hash),
        }
    }

    /// Locks the bucket that is guessed for a hash, if that is [straight](lock_guessed).
    #[inline(always)]
    pub fn lock_home(&self, life: &impl Liveness, hash: u64) -> Option<Locked<'a, S::Line>> {
        let (guess, line) = self.near(hash)?;
        lock_guessed(life, guess, line, self.bits)
    }

    /// The bucket that is guessed for a hash, and its line.
    #[inline(always)]
    pub fn near(&self, hash: u64) -> Option<(Guess, &'a S::Line)> {
        let guess = self.seen.guess(hash);
        Some((guess, self.store.bucket_near(guess.bucket)?))
    }

    /// Reads a bucket, while nobody else writes into it.
    pub(crate) fn with_locked<R>(
        &self,
        life: &impl Liveness,
        bucket: u64,
        read: impl FnOnce(Word<S::Line>) -> Result<R, Trouble>,
    ) -> Result<R, Trouble> {
        let locked = Unlocks(self.lock_bucket(life, bucket)?);
        read(locked.0.word)
    }

    /// Gives the lock back.
    #[inline(always)]
    pub fn unlock(&self, locked: Locked<'a, S::Line>) {
        locked.word.publish(locked.line);
    }
}
