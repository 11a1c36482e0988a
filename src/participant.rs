//! Who takes part: the identity that stands in every owner word and claim.
//!
//! A participant id is not a pid, not a thread id and not a row number: all three are used again
//! before every trace of their last bearer is gone. An id is not given out again while a trace of it
//! can exist, so "this id is in no row" means "its bearer is dead".

use core::fmt;
use core::num::NonZeroU32;

/// The identity of a participant: 23 bits, never zero. Zero in an owner word means "nobody".
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ParticipantId(NonZeroU32);

impl ParticipantId {
    /// Bits of an id in every state word.
    pub const BITS: u32 = 23;
    /// The mask of an id, and the largest one.
    pub const MASK: u32 = (1 << Self::BITS) - 1;

    /// The id in the low 23 bits of `bits`; `None` for zero or for more than 23 bits.
    #[inline]
    pub const fn new(bits: u32) -> Option<Self> {
        match NonZeroU32::new(bits) {
            Some(id) if bits <= Self::MASK => Some(Self(id)),
            _ => None,
        }
    }

    /// The id as it stands in a state word.
    #[inline]
    pub const fn get(self) -> u32 {
        self.0.get()
    }
}

impl fmt::Debug for ParticipantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.get())
    }
}

impl fmt::Display for ParticipantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// What an algorithm may ask about lives. The answer comes from the kernel, never from elapsed time.
pub trait Liveness {
    /// The participant that asks.
    fn me(&self) -> ParticipantId;

    /// Whether `id` is proven dead: no store of its process can follow. Doubt means alive. One's own
    /// id is never dead.
    fn is_dead(&self, id: ParticipantId) -> bool;

    /// Whether every participant that may sleep calls `membarrier`, so that a publisher needs no fence.
    #[inline]
    fn sleepers_fence(&self) -> bool {
        false
    }

    /// Called once by a call that has waited long: the watcher of the process may be started.
    fn waits_long(&self) {}

    /// Settles what all the dead left, whoever has noticed them. True: there was something. For whoever finds nothing left.
    fn reap_dead(&self) -> bool {
        false
    }

    /// Whether what the asker uses was removed: nobody waits for it any longer than a slice.
    fn is_over(&self) -> bool {
        false
    }
}

#[cfg(all(test, not(mutirao_model)))]
mod tests {
    use super::ParticipantId;

    #[test]
    fn an_id_is_never_zero_and_fits_its_bits() {
        assert_eq!(ParticipantId::new(0), None);
        assert_eq!(ParticipantId::new(1 << 23), None);
        assert_eq!(ParticipantId::new((1 << 23) - 1).map(ParticipantId::get), Some(ParticipantId::MASK));
    }
}
