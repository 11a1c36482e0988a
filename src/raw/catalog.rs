//! Which places of a catalog are taken, by objects with a name or without, and who still has a handle on each.
//!
//! A slot is a state word and a set of holders, one bit for each participant row.
//!
//! ```text
//!  63..26        25..23   22..0
//! ┌────────────┬────────┬──────┐
//! │ generation │ phase  │  id  │     all zero: empty, generation 0
//! └────────────┴────────┴──────┘
//! ```
//!
//! | from | to | by whom |
//! |---|---|---|
//! | EMPTY(g) | CLAIMED(g, me) | a creator |
//! | CLAIMED(g, me) | NAMED(g) or NAMELESS(g) | the creator, when the object is whole: it exists from here on |
//! | CLAIMED(g, me) | EMPTY(g + 1) | the creator, who gives up |
//! | NAMED(g) | REMOVED(g) | anyone: the name is free from here on |
//! | NAMELESS(g) | REMOVED(g) | whoever finds that nobody holds it |
//! | REMOVED(g) | FREEING(g, me) | whoever finds that nobody holds it |
//! | CLAIMED(g, dead), FREEING(g, dead) | FREEING(g, me) | anyone who has proof of the death |
//! | FREEING(g, me) | EMPTY(g + 1) | who has freed the object's memory |
//!
//! The whole word of a living object is the object's identity: it never stands there again.
//!
//! Who opens sets its row's bit and then looks whether the object still lives; who removes or lets go changes the
//! state or the bit and then looks whether it was the last. Of two such looks at least one sees the other's change. A bit
//! that a failing opener sets for a moment only keeps the memory a moment longer: whoever takes a
//! bit off looks for what is to be freed.
//!
//! A participant sets and takes off its bit under a lock of its own process; the bits of the dead are taken off
//! by whoever reaps their row.
//!
//! Two creators of one name: a name is published under `names`, a lock, after a look at all other names. Whoever holds
//! it changes one word, so a holder that dies leaves nothing to repair. Readers take no lock.
#![forbid(unsafe_code)]

use core::fmt;

use crate::order;
use crate::participant::{Liveness, ParticipantId};
use crate::raw::lock::{RawLock, Refused};
use crate::sync::{AtomicU64, Ordering::Relaxed, Patience, fence, mark};

/// One place of a catalog, for `64 * WORDS` rows. All-zero: empty.
#[repr(C)]
pub struct Slot<const WORDS: usize> {
    state: AtomicU64,
    holders: [AtomicU64; WORDS],
}

/// What a state word says.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct State(u64);

/// Where an object is in its life.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Phase {
    /// No object.
    Empty,
    /// Somebody makes an object.
    Claimed,
    /// An object that is found by its name.
    Named,
    /// An object that only its holders know.
    Nameless,
    /// An object that nobody finds any more; its memory waits for the last holder.
    Removed,
    /// Nobody holds it; somebody gives its memory back.
    Freeing,
}

/// Permission to write a slot's entry and what belongs to it, until it is published or vacated.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Claim(State);

/// Why an object was not published.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Unpublished {
    /// Another one has the name.
    Exists,
    /// The lock of the names could not be taken.
    Locked(Refused),
    /// The slot no longer says what its creator wrote.
    Corrupt,
}

impl State {
    const PHASE_SHIFT: u32 = ParticipantId::BITS;
    const GENERATION_SHIFT: u32 = Self::PHASE_SHIFT + 3;

    const fn of(generation: u64, phase: Phase, id: u32) -> Self {
        Self(generation << Self::GENERATION_SHIFT | (phase as u64) << Self::PHASE_SHIFT | id as u64)
    }

    /// The word that a handle remembers.
    pub const fn from_word(word: u64) -> Self {
        Self(word)
    }

    /// The word as it stands in the slot.
    pub const fn word(self) -> u64 {
        self.0
    }

    /// How many objects had this slot before.
    pub const fn generation(self) -> u64 {
        self.0 >> Self::GENERATION_SHIFT
    }

    fn id(self) -> Option<ParticipantId> {
        ParticipantId::new(self.0 as u32 & ParticipantId::MASK)
    }

    /// The phase; `None` if the word makes no sense.
    pub fn phase(self) -> Option<Phase> {
        let (phase, is_claim) = match self.0 >> Self::PHASE_SHIFT & 7 {
            0 => (Phase::Empty, false),
            1 => (Phase::Claimed, true),
            2 => (Phase::Named, false),
            3 => (Phase::Nameless, false),
            4 => (Phase::Removed, false),
            5 => (Phase::Freeing, true),
            _ => return None,
        };
        (self.id().is_some() == is_claim).then_some(phase)
    }

    /// Whether it stands for an object that may be opened.
    pub fn is_alive(self) -> bool {
        matches!(self.phase(), Some(Phase::Named | Phase::Nameless))
    }

    /// Who makes the object or frees it.
    pub fn claimant(self) -> Option<ParticipantId> {
        self.id().filter(|_| matches!(self.phase(), Some(Phase::Claimed | Phase::Freeing)))
    }

    const fn to(self, phase: Phase) -> Self {
        Self::of(self.generation(), phase, 0)
    }

    const fn claimed_by(self, phase: Phase, id: ParticipantId) -> Self {
        Self::of(self.generation(), phase, id.get())
    }

    /// Empty for the next object.
    const fn next(self) -> Self {
        Self::of(self.generation().wrapping_add(1), Phase::Empty, 0)
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.phase(), self.claimant()) {
            (None, _) => write!(f, "Corrupt({:#x})", self.0),
            (Some(phase), None) => write!(f, "{phase:?}({})", self.generation()),
            (Some(phase), Some(id)) => write!(f, "{phase:?}({}, {id})", self.generation()),
        }
    }
}

impl Claim {
    /// The state that stands in the slot while the claim lasts.
    pub const fn state(self) -> State {
        self.0
    }
}

impl<const WORDS: usize> Slot<WORDS> {
    /// An empty slot.
    pub fn new() -> Self {
        Self { state: AtomicU64::new(0), holders: core::array::from_fn(|_| AtomicU64::new(0)) }
    }

    /// The state. Who sees an object sees it whole, and whom a claim names is registered.
    #[inline]
    pub fn look(&self) -> State {
        State(self.state.load(order!(catalog_look, Acquire)))
    }

    /// Whether this object still stands here: what a handle asks at each operation.
    #[inline]
    pub fn is(&self, state: State) -> bool {
        // Relaxed: the answer may be over the moment it is given.
        self.state.load(Relaxed) == state.0
    }

    /// The word that handles compare.
    pub fn word(&self) -> &AtomicU64 {
        &self.state
    }

    /// Takes an empty slot for an object that the participant in `row` will hold.
    pub fn claim(&self, life: &impl Liveness, row: usize) -> Option<Claim> {
        let state = self.look();
        if state.phase() != Some(Phase::Empty) {
            return None;
        }
        let mine = state.claimed_by(Phase::Claimed, life.me());
        // Who meets the id must find its bearer registered; and the entry is free of its last reader and writer.
        if !self.turn(state, mine, order!(catalog_claim, AcqRel)) {
            return None;
        }
        // Before the object can be met, so that nobody finds it unheld.
        self.set(row);
        Some(Claim(mine))
    }

    /// Publishes an object without a name. `None`: the slot is not ours.
    pub fn publish_nameless(&self, claim: Claim) -> Option<State> {
        self.publish(claim, Phase::Nameless)
    }

    fn publish(&self, claim: Claim, phase: Phase) -> Option<State> {
        let state = claim.0.to(phase);
        self.turn(claim.0, state, order!(catalog_publish, Release)).then_some(state)
    }

    /// Empties a slot that was claimed by [`claim`](Slot::claim), whose bit was taken off, or by
    /// [`take_over`](Slot::take_over).
    pub fn vacate(&self, claim: Claim) -> bool {
        self.turn(claim.0, claim.0.next(), order!(catalog_vacate, Release))
    }

    /// Takes the name away from an object. False: it is another one's slot by now, or it was removed already.
    pub fn remove(&self, state: State) -> bool {
        // Relaxed: what the creator published is passed on by every later change of the word, and whoever reads
        // this one fences before it looks for holders.
        state.phase() == Some(Phase::Named) && self.turn(state, state.to(Phase::Removed), Relaxed)
    }

    /// Becomes a holder of the object. False: it is gone; the caller lets go again.
    pub fn hold(&self, row: usize, state: State) -> bool {
        self.set(row);
        // The bit, then the look: against the state and the look at the bits in `take_over`.
        fence(order!(catalog_hold_fence, SeqCst));
        self.is(state)
    }

    /// Takes the bit of a row off. Then somebody has to [`take_over`](Slot::take_over), if it was the last.
    pub fn let_go(&self, row: usize) {
        if let Some((word, bit)) = self.bit(row) {
            // What was done through the handles comes before the memory is given back.
            word.fetch_and(!bit, order!(catalog_let_go, Release));
        }
    }

    /// Whether the participant in this row has a handle, or is about to.
    pub fn is_held_by(&self, row: usize) -> bool {
        self.bit(row).is_some_and(|(word, bit)| word.load(Relaxed) & bit != 0)
    }

    /// The rows that hold it. A snapshot.
    pub fn holders(&self) -> impl Iterator<Item = usize> + '_ {
        (0..64 * WORDS).filter(|&row| self.is_held_by(row))
    }

    /// Claims a slot whose object is to be freed: nobody can hold it any more, or whoever made or freed it died. The
    /// caller frees what belongs to the object, which may be done already or never have been there, and vacates.
    pub fn take_over(&self, life: &impl Liveness) -> Option<Claim> {
        // Between a bit taken off or a removal and the looks: the last of several to come finds all of it.
        fence(order!(catalog_leave_fence, SeqCst));
        let mut state = self.look();
        if state.phase() == Some(Phase::Nameless) && self.is_unheld() {
            let removed = state.to(Phase::Removed);
            if !self.turn(state, removed, Relaxed) {
                return None; // another is at it
            }
            state = removed;
        }
        let is_ripe = match state.claimant() {
            Some(id) => life.is_dead(id),
            None if state.phase() == Some(Phase::Removed) => {
                // The removal, then the bits: against the bit and the look in `hold`.
                fence(order!(catalog_free_fence, SeqCst));
                self.is_unheld()
            }
            None => false,
        };
        let mine = state.claimed_by(Phase::Freeing, life.me());
        // Relaxed: the look acquired, and the fence before it releases our registration to whoever meets our id.
        if !is_ripe || !self.turn(state, mine, Relaxed) {
            return None;
        }
        if state.claimant().is_some() {
            mark("catalog: taken over from the dead");
        }
        Some(Claim(mine))
    }

    fn is_unheld(&self) -> bool {
        self.holders.iter().all(|word| word.load(order!(catalog_unheld, Acquire)) == 0)
    }

    fn set(&self, row: usize) {
        if let Some((word, bit)) = self.bit(row) {
            // Relaxed: ordered by the fence or by the publication that follows.
            word.fetch_or(bit, Relaxed);
        }
    }

    fn bit(&self, row: usize) -> Option<(&AtomicU64, u64)> {
        self.holders.get(row / 64).map(|word| (word, 1 << (row % 64)))
    }

    fn turn(&self, from: State, to: State, order: crate::sync::Ordering) -> bool {
        self.state.compare_exchange(from.0, to.0, order, Relaxed).is_ok()
    }
}

impl<const WORDS: usize> Default for Slot<WORDS> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const WORDS: usize> fmt::Debug for Slot<WORDS> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&State(self.state.load(Relaxed)), f)?;
        f.debug_list().entries(self.holders()).finish()
    }
}

/// The slots of a catalog, wherever they are.
pub trait Slots<const WORDS: usize> {
    /// How many there are.
    fn len(&self) -> usize;

    /// The slot `i`, which is less than `len`.
    fn slot(&self, i: usize) -> &Slot<WORDS>;

    /// Whether there is none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// All slots and the lock of their names.
#[derive(Debug)]
pub struct Catalog<'a, const WORDS: usize, S: ?Sized> {
    /// Held by whoever publishes a name.
    pub names: &'a RawLock,
    /// The slots.
    pub slots: &'a S,
}

impl<const WORDS: usize, S: Slots<WORDS> + ?Sized> Catalog<'_, WORDS, S> {
    /// Takes an empty slot, looking from `hint` on, for an object that the participant in `row` will hold. `None`: all
    /// are taken.
    pub fn claim(&self, life: &impl Liveness, row: usize, hint: usize) -> Option<(usize, Claim)> {
        let len = self.slots.len();
        let all = (0..len).map(|i| (hint % len.max(1) + i) % len.max(1));
        all.filter_map(|i| self.slots.slot(i).claim(life, row).map(|claim| (i, claim))).next()
    }

    /// Publishes an object whose entry has a name. `is_same` compares that with the name in another slot's entry.
    pub fn publish_named(
        &self,
        i: usize,
        claim: Claim,
        life: &impl Liveness,
        patience: &mut Patience,
        is_same: impl Fn(usize) -> bool,
    ) -> Result<State, Unpublished> {
        // After a death too: whoever held it changed one word or none.
        self.names.acquire(life, patience).map_err(Unpublished::Locked)?;
        let others = (0..self.slots.len()).filter(|&other| other != i);
        let exists =
            { others }.any(|other| self.slots.slot(other).look().phase() == Some(Phase::Named) && is_same(other));
        let published = match exists {
            true => Err(Unpublished::Exists),
            false => self.slots.slot(i).publish(claim, Phase::Named).ok_or(Unpublished::Corrupt),
        };
        self.names.release(false);
        published
    }

    /// Frees every slot that waits for it, by `free`, which may find nothing left to free. Returns how many.
    pub fn tend(&self, life: &impl Liveness, mut free: impl FnMut(usize)) -> u32 {
        let mut freed = 0;
        for i in 0..self.slots.len() {
            let slot = self.slots.slot(i);
            if let Some(claim) = slot.take_over(life) {
                free(i);
                freed += u32::from(slot.vacate(claim));
            }
        }
        freed
    }
}
