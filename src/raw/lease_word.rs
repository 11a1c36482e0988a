//! The words of a lease: who holds an item that left the ring, and the how manieth holder that is.
//!
//! ```text
//! entry  63            32 31   26 25   23 22       0
//!        +---------------+-------+-------+----------+
//!        | note          | zero  | phase | id       |     note: attempt; of KEPT: which thread of its participant
//!        +---------------+-------+-------+----------+
//! ```
//!
//! | entry | means | who may move it, to what |
//! |---|---|---|
//! | `FREE` | holds nothing | whoever leases, of its row if it belongs to a row: `KEPT(me, thread)` |
//! | `KEPT(p, thread)` | holds nothing; only that thread of `p` fills it, so without an exchange | `p`: `LEASED(p, 1)`, `FREE`; if `p` is dead: as `FREE` |
//! | `LEASED(p, a)` | holds an item that `p` works on, the `a`-th who does | `p`: `FREE`, `KEPT(p, thread)`, `WAITING(a)`, `LETTER(a)`; if `p` is dead: a consumer `LEASED(c, a + 1)`, recovery `WAITING(a)`, both also `LETTER(a)` |
//! | `WAITING(a)` | holds an item that is to be delivered again | a consumer: `LEASED(c, a + 1)` |
//! | `LETTER(a)` | holds an item that was tried `a` times, as often as is allowed | whoever reads dead letters: `LEASED(r, a)` |
#![forbid(unsafe_code)]

use core::fmt;

use crate::participant::ParticipantId;

const ID_BITS: u32 = ParticipantId::BITS;
const ID: u64 = ParticipantId::MASK as u64;
const NOTE_SHIFT: u32 = 32;

/// What an entry is in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum LeasePhase {
    /// Holds nothing.
    Free = 0,
    /// Holds nothing, and is one thread's to fill.
    Kept = 1,
    /// Holds an item in somebody's hands.
    Leased = 2,
    /// Holds an item that is to be delivered again.
    Waiting = 3,
    /// Holds an item that is not delivered any more.
    Letter = 4,
    /// A broken peer wrote it.
    Senseless = 7,
}

/// The state word of an entry.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(transparent)]
pub struct LeaseWord(pub u64);

impl LeaseWord {
    /// Holds nothing. All bits are zero.
    pub const FREE: Self = Self(0);

    const fn new(phase: LeasePhase, id: u32, note: u32) -> Self {
        Self((note as u64) << NOTE_SHIFT | (phase as u64) << ID_BITS | id as u64)
    }

    /// One thread's of `id` to fill; thread 0: whichever took it by an exchange.
    #[inline]
    pub const fn kept(id: ParticipantId, thread: u32) -> Self {
        Self::new(LeasePhase::Kept, id.get(), thread)
    }

    /// In the hands of `id`, for the `attempt`-th time.
    #[inline]
    pub const fn leased(id: ParticipantId, attempt: u32) -> Self {
        Self::new(LeasePhase::Leased, id.get(), attempt)
    }

    /// To be delivered again.
    pub const fn waiting(attempt: u32) -> Self {
        Self::new(LeasePhase::Waiting, 0, attempt)
    }

    /// Not to be delivered any more.
    pub const fn letter(attempt: u32) -> Self {
        Self::new(LeasePhase::Letter, 0, attempt)
    }

    /// The phase.
    #[inline]
    pub const fn phase(self) -> LeasePhase {
        match self.0 >> ID_BITS & 0x1ff {
            0 => LeasePhase::Free,
            1 => LeasePhase::Kept,
            2 => LeasePhase::Leased,
            3 => LeasePhase::Waiting,
            4 => LeasePhase::Letter,
            _ => LeasePhase::Senseless,
        }
    }

    /// Whoever is named; 0: nobody.
    #[inline]
    pub const fn id(self) -> u32 {
        (self.0 & ID) as u32
    }

    /// Which attempt, where an item is held.
    #[inline]
    pub const fn attempt(self) -> u32 {
        (self.0 >> NOTE_SHIFT) as u32
    }

    /// Whether an item stands in the entry.
    pub const fn holds_an_item(self) -> bool {
        matches!(self.phase(), LeasePhase::Leased | LeasePhase::Waiting | LeasePhase::Letter)
    }
}

impl fmt::Debug for LeaseWord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (id, note) = (self.id(), self.attempt());
        match self.phase() {
            LeasePhase::Free => f.write_str("FREE"),
            LeasePhase::Kept => write!(f, "KEPT(#{id}, thread {note})"),
            LeasePhase::Leased => write!(f, "LEASED(#{id}, attempt {note})"),
            LeasePhase::Waiting => write!(f, "WAITING(attempt {note})"),
            LeasePhase::Letter => write!(f, "LETTER(attempt {note})"),
            LeasePhase::Senseless => write!(f, "SENSELESS({:#x})", self.0),
        }
    }
}

#[cfg(all(test, not(mutirao_model)))]
mod tests {
    use super::{LeasePhase, LeaseWord};
    use crate::participant::ParticipantId;

    #[test]
    fn words_keep_what_they_are_made_of() {
        let id = ParticipantId::new(ParticipantId::MASK).unwrap();
        for attempt in [1, 2, u32::MAX] {
            let word = LeaseWord::leased(id, attempt);
            assert_eq!((word.phase(), word.id(), word.attempt()), (LeasePhase::Leased, id.get(), attempt));
            assert!(word.holds_an_item() && LeaseWord::waiting(attempt).holds_an_item());
            assert!(!LeaseWord::kept(id, attempt).holds_an_item());
        }
        assert_eq!(LeaseWord(0), LeaseWord::FREE);
        assert_eq!(LeaseWord(5 << 23).phase(), LeasePhase::Senseless);
        assert_eq!(LeaseWord(1 << 31).phase(), LeasePhase::Senseless);
        assert_eq!(format!("{:?}", LeaseWord::leased(id, 3)), format!("LEASED({id}, attempt 3)"));
    }
}
