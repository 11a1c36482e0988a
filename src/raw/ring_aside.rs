//! What a ring asks about items that left their cells before they were done with: leased, and perhaps coming back.
#![forbid(unsafe_code)]

use crate::participant::Liveness;
use crate::raw::ring_word::Ticket;

/// Where items of a ring may stand aside of it.
pub trait Aside {
    /// What a consumer gets: a ticket of the ring, or something from aside.
    type Got: From<Ticket>;

    /// Whether the item of a ticket whose consumer is gone stands aside: then its cell only has to be freed.
    fn has(&self, ticket: Ticket) -> bool;

    /// An item that came back, without sleeping; with `ask`, also out of the hands of the dead.
    fn take(&self, life: &impl Liveness, ask: bool) -> Option<Self::Got>;

    /// Whether an item may still come back that this participant does not hold itself.
    fn may_return(&self, life: &impl Liveness) -> bool;
}

/// A ring beside which nothing stands.
#[derive(Clone, Copy, Debug)]
pub struct Nothing;

impl Aside for Nothing {
    type Got = Ticket;

    fn has(&self, _: Ticket) -> bool {
        false
    }

    fn take(&self, _: &impl Liveness, _: bool) -> Option<Ticket> {
        None
    }

    fn may_return(&self, _: &impl Liveness) -> bool {
        false
    }
}
