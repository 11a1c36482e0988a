//! Why a sleep ended.

/// Why [`rest`](super::Patience::rest) returned. None of them means that anything was published: look again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rested {
    /// Woken, or the word differed from what was expected.
    Looked,
    /// A slice ended, or a death was announced: from now on, ask about lives.
    SliceEnded,
    /// The deadline of the whole call has passed, or what it waits for was removed. Nothing was slept.
    DeadlinePassed,
}
