//! Where a thread that writes into a table says what it is about to do, and keeps what belongs to it alone: how many
//! entries it added, lines for chains to come, and the block that the next record is written into.
//!
//! What is announced counts only while the bucket that it names is locked by the desk's owner: it is announced after the
//! lock was taken and taken off before the lock is given back. So whoever settles a dead owner's desk finds the bucket
//! exactly as the dead one left it, and "did it happen?" is a look at the place that decides:
//!
//! | announced | happened if | settled as |
//! |---|---|---|
//! | `Insert` | the slot is occupied | count := count after; the desk keeps nothing |
//! | `Remove` | the slot is not occupied | count := count after; the block leaves |
//! | `Exchange` | the slot does not refer to the old block | version + 1; the desk keeps the old block |
//! | `Extend` | the chain has the new line | count := count after; spare := rest; the desk keeps nothing. Else the line stays spare, before the rest |
//! | `Unlink` | the chain has the line no more | it is the first spare one |
//! | `Split` | the parent's level is higher | spare := rest, then as `Tidy`. Else the child's lines stay spare, before the rest |
//! | `Tidy` | | what belongs to another bucket, or stands there twice, is struck off the chain |
//! | `Drop` (no lock) | the first spare line is another | the line leaves |
//! | `Clear` (no lock) | the piece is not referred to any more | the piece leaves |
//!
//! A block that *leaves* is referred to by nothing any more, and is freed after the lock was given back: its owner notes
//! the generation beside it, then frees it, then takes the note off. Without the generation it was not freed yet.
//!
//! A block that a desk *keeps* is referred to by nothing else either. Every record enters the table from there, and what it is
//! exchanged for takes its place, so for as long as entries are replaced by others of their size nobody asks the arena. A desk that
//! is settled or given up keeps nothing: first what it keeps leaves, then it is kept no more.
#![forbid(unsafe_code)]

use core::fmt;

use crate::order;
use crate::participant::ParticipantId;
use crate::sync::{AtomicU32, AtomicU64, Ordering::Relaxed, fence};

/// What a desk announces. The numbers stand in the segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u64)]
pub enum Step {
    /// An entry in a free slot.
    Insert = 1,
    /// An entry less.
    Remove = 2,
    /// Another block for an entry.
    Exchange = 3,
    /// An entry in a new line of the chain.
    Extend = 4,
    /// An empty line less in the chain.
    Unlink = 5,
    /// Half of a bucket's entries for its child.
    Split = 6,
    /// What came after the split.
    Tidy = 7,
    /// A spare line less.
    Drop = 8,
    /// A piece of the buckets less, when the whole table is freed.
    Clear = 9,
}

impl Step {
    fn from_number(number: u64) -> Option<Self> {
        const ALL: [Step; 9] = [
            Step::Insert,
            Step::Remove,
            Step::Exchange,
            Step::Extend,
            Step::Unlink,
            Step::Split,
            Step::Tidy,
            Step::Drop,
            Step::Clear,
        ];
        ALL.into_iter().find(|step| *step as u64 == number)
    }

    /// Whether the count is another if it happens; of a split, whether lines are counted.
    const fn counts(self) -> bool {
        matches!(self, Self::Insert | Self::Remove | Self::Extend | Self::Split)
    }

    /// Whether spare lines are fewer if it happens, because they are there.
    const fn spends(self) -> bool {
        matches!(self, Self::Extend | Self::Split)
    }

    /// Whether something was there before.
    const fn takes(self) -> bool {
        matches!(self, Self::Remove | Self::Exchange | Self::Unlink | Self::Drop | Self::Clear)
    }
}

/// One thread's place to write down what it does. All-zero: nobody's, nothing announced, nothing counted.
#[repr(C, align(128))]
pub struct Desk {
    /// Who has it; 0: nobody.
    owner: AtomicU32,
    _reserved_1: AtomicU32,
    /// Entries inserted less entries removed, wrapping. Outlives its owner.
    count: AtomicU64,
    /// The count when it was last added to the table's hint.
    hinted: AtomicU64,
    /// A [`Step`] in the lowest byte, 0: nothing; the slot above it, of a split the level, with a bit for a line behind the
    /// bucket's own; in the upper half the block that is kept, 0: none. One word, so that one store does for both.
    on: AtomicU64,
    /// The bucket above what was there before.
    at: AtomicU64,
    /// The line, as a link refers to it, if it is not the bucket's own.
    link: AtomicU64,
    /// Of a split, how many lines the child has behind its own.
    count_after: AtomicU64,
    new: AtomicU64,
    /// The first spare line behind what is announced.
    rest: AtomicU64,
    /// The first spare line; 0: none. Each links the next.
    spare: AtomicU64,
    /// A block that leaves.
    leaving: AtomicU64,
    /// Its generation, once it is known.
    generation: AtomicU64,
    _reserved_2: [AtomicU64; 4],
}

/// A block that nothing refers to any more, and that is ours to free.
#[derive(Clone, Copy)]
pub struct Leaving<'a> {
    /// Where it is.
    pub unit: u32,
    desk: &'a Desk,
}

impl Leaving<'_> {
    /// Notes the generation, before the block is freed.
    #[inline(always)]
    pub fn note(&self, generation: u64) {
        self.desk.generation.store(generation, Relaxed);
        self.desk.leaving.store(u64::from(self.unit) | LEAVES | KNOWN, order!(desk_note, Release));
    }

    /// The block has left.
    #[inline(always)]
    pub fn has_left(self) {
        self.desk.leaving.store(0, order!(desk_note, Release));
    }
}

/// In `on`: the step.
const STEP: u64 = 0xff;
/// In `on`: the slot.
const SLOT: u64 = 0x7fff_ff00;
/// In `on`: the line is another than the bucket's own.
const BEHIND: u64 = 1 << 31;
/// In `on`: the block that is kept.
const KEPT: u64 = !0 << 32;
/// In `leaving`: there is one.
const LEAVES: u64 = 1 << 62;
/// In `leaving`: its generation is known.
const KNOWN: u64 = 1 << 63;

/// What is announced.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Claim {
    /// What is done.
    pub step: Step,
    /// Where.
    pub bucket: u64,
    /// The line within the bucket's chain; 0: its own.
    pub link: u32,
    /// The slot of the line. Of a split the level.
    pub slot: u32,
    /// The desk's count if it happens.
    pub count_after: u64,
    /// The line that is there afterwards.
    pub new: u32,
    /// What was there before.
    pub old: u32,
    /// The first spare line, if it happens.
    pub rest: u32,
}

impl Claim {
    /// Of this step in this bucket, and nothing else.
    pub const fn new(step: Step, bucket: u64) -> Self {
        Self { step, bucket, link: 0, slot: 0, count_after: 0, new: 0, old: 0, rest: 0 }
    }
}

impl Desk {
    /// Nobody's.
    #[cfg(mutirao_model)]
    pub fn new() -> Self {
        let word = || AtomicU64::new(0);
        Self {
            owner: AtomicU32::new(0),
            _reserved_1: AtomicU32::new(0),
            count: word(),
            hinted: word(),
            on: word(),
            at: word(),
            link: word(),
            count_after: word(),
            new: word(),
            rest: word(),
            spare: word(),
            leaving: word(),
            generation: word(),
            _reserved_2: [word(), word(), word(), word()],
        }
    }

    /// Who has it. Acquire: the registration of the owner; of nobody's, what its last owner wrote.
    pub fn owner(&self) -> Option<ParticipantId> {
        ParticipantId::new(self.owner.load(order!(desk_look, Acquire)))
    }

    /// Takes the desk if it is nobody's.
    pub fn take(&self, me: ParticipantId) -> bool {
        self.owner.load(Relaxed) == 0
            && self.owner.compare_exchange(0, me.get(), order!(desk_take, AcqRel), Relaxed).is_ok()
    }

    /// Gives the desk to whoever comes: what it announced is settled.
    pub fn leave(&self) {
        self.owner.store(0, order!(desk_leave, Release));
    }

    /// Says what is about to be done, under the bucket's lock.
    #[inline(always)]
    pub(crate) fn announce(&self, claim: Claim) {
        // Taking the lock has let a fence pass since the last claim was taken off.
        self.at.store(claim.bucket << 32 | u64::from(claim.old), Relaxed);
        // What the step has no use for keeps its last words.
        if claim.step.counts() {
            self.count_after.store(claim.count_after, Relaxed);
        }
        if claim.step.spends() {
            self.new.store(claim.new.into(), Relaxed);
            self.rest.store(claim.rest.into(), Relaxed);
        }
        let behind = if claim.link == 0 {
            0
        } else {
            self.link.store(claim.link.into(), Relaxed);
            BEHIND
        };
        let claim = behind | u64::from(claim.slot) << 8 | claim.step as u64;
        self.on.store(self.on.load(Relaxed) & KEPT | claim, order!(desk_note, Release));
    }

    /// As [`announce`](Self::announce), where no lock was taken.
    pub(crate) fn announce_alone(&self, claim: Claim) {
        fence(order!(desk_rewrite, Release));
        self.announce(claim);
    }

    /// The same claim goes on as another step.
    pub(crate) fn go_on_as(&self, step: Step) {
        let on = self.on.load(Relaxed) & !STEP | step as u64;
        self.on.store(on, order!(desk_note, Release));
    }

    /// What is announced, if anything. Acquire: a step that was taken off is done.
    pub(crate) fn claim(&self) -> Option<Claim> {
        let on = self.on.load(order!(desk_see, Acquire));
        let (step, at) = (Step::from_number(on & STEP)?, self.at.load(Relaxed));
        let half = |is_said: bool, word: &AtomicU64| if is_said { word.load(Relaxed) as u32 } else { 0 };
        Some(Claim {
            step,
            bucket: at >> 32,
            link: if on & BEHIND == 0 { 0 } else { self.link.load(Relaxed) as u32 },
            slot: (on & SLOT) as u32 >> 8,
            count_after: if step.counts() { self.count_after.load(Relaxed) } else { 0 },
            new: half(step.spends(), &self.new),
            old: if step.takes() { at as u32 } else { 0 },
            rest: half(step.spends(), &self.rest),
        })
    }

    /// Whether anything is announced. A snapshot.
    pub fn is_busy(&self) -> bool {
        self.on.load(Relaxed) & STEP != 0 || self.leaving.load(Relaxed) != 0
    }

    /// Nothing is announced any more, before the lock is given back.
    #[inline(always)]
    pub(crate) fn done(&self) {
        self.done_keeping(self.kept());
    }

    /// The same, and this block is kept from now on.
    #[inline(always)]
    pub(crate) fn done_keeping(&self, unit: u32) {
        self.on.store(u64::from(unit) << 32, order!(desk_note, Release));
    }

    /// Entries added less entries removed.
    #[inline(always)]
    pub fn count(&self) -> u64 {
        self.count.load(order!(desk_see, Acquire))
    }

    /// The desk's own count.
    #[inline(always)]
    pub(crate) fn own_count(&self) -> u64 {
        self.count.load(Relaxed)
    }

    #[inline(always)]
    pub(crate) fn set_count(&self, count: u64) {
        self.count.store(count, order!(desk_note, Release));
    }

    /// How the count changed since this was last asked and it had changed by `least` or more.
    #[inline(always)]
    pub fn unhinted(&self, least: u64) -> Option<u64> {
        let (count, hinted) = (self.count.load(Relaxed), self.hinted.load(Relaxed));
        let change = count.wrapping_sub(hinted);
        if change.wrapping_add(least) <= 2 * least {
            return None;
        }
        self.hinted.store(count, Relaxed);
        Some(change)
    }

    /// What the others were told of the count.
    pub(crate) fn hinted(&self) -> u64 {
        self.hinted.load(Relaxed)
    }

    /// How the count changed since the others were told.
    #[inline]
    pub fn untold(&self) -> u64 {
        self.count.load(Relaxed).wrapping_sub(self.hinted.load(Relaxed))
    }

    /// The first spare line.
    #[inline]
    pub(crate) fn spare(&self) -> u32 {
        self.spare.load(Relaxed) as u32
    }

    pub(crate) fn set_spare(&self, link: u32) {
        self.spare.store(link.into(), order!(desk_note, Release));
    }

    /// Whether the desk names this block as its first spare line. Acquire, for recovery.
    pub fn has_spare(&self, link: u32) -> bool {
        link != 0 && self.spare.load(order!(desk_see, Acquire)) == u64::from(link)
    }

    /// The block that is kept; 0: none.
    #[inline(always)]
    pub fn kept(&self) -> u32 {
        (self.on.load(Relaxed) >> 32) as u32
    }

    /// Keeps a block that nothing refers to, instead of what was kept, which something else refers to. 0: none.
    #[inline(always)]
    pub fn keep(&self, unit: u32) {
        let on = self.on.load(Relaxed) & !KEPT | u64::from(unit) << 32;
        self.on.store(on, order!(desk_note, Release));
    }

    /// Whether the desk keeps this block. Acquire, for who reaps a hand.
    pub fn keeps(&self, unit: u32) -> bool {
        unit != 0 && self.on.load(order!(desk_see, Acquire)) >> 32 == u64::from(unit)
    }

    /// Says that a block is referred to by nothing any more, if there is one.
    #[inline(always)]
    pub(crate) fn set_leaving(&self, unit: u32) {
        if unit != 0 {
            self.leaving.store(u64::from(unit) | LEAVES, order!(desk_note, Release));
        }
    }

    /// The block that leaves, and its generation, if it was noted: else it was not freed yet.
    #[inline(always)]
    pub fn leaving(&self) -> Option<(Leaving<'_>, Option<u64>)> {
        let word = self.leaving.load(Relaxed);
        let noted = if word & KNOWN == 0 { None } else { Some(self.generation.load(Relaxed)) };
        (word & LEAVES != 0).then_some((Leaving { unit: word as u32, desk: self }, noted))
    }

    /// Whether this desk is about to free the block, or would be if what it announced happened. Asked after a look at the
    /// table that did not find the block, so a desk that does not name it any more has freed it.
    pub fn names(&self, unit: u32) -> bool {
        let is_claimed = unit != 0 && self.claim().is_some_and(|claim| claim.old == unit);
        is_claimed || {
            let word = self.leaving.load(order!(desk_see, Acquire));
            word & LEAVES != 0 && word as u32 == unit
        }
    }
}

impl fmt::Debug for Desk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Desk({:?}, {} entries, {:?})", self.owner(), self.count.load(Relaxed) as i64, self.claim())
    }
}
