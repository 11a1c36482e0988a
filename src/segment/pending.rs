//! Where the stripes of what is being computed stand in the body of a dictionary: behind its table.

use crate::error::Result;
use crate::participant::{Liveness, ParticipantId};
use crate::raw::pending::Stripe;
use crate::segment::access::Region;
use crate::segment::header::bad_shape;
use crate::segment::layout::{BODY_ALIGN, ObjectKind, STRIPE_WORDS};
use crate::segment::table_plan::TablePlan;

/// Stripes of a dictionary: a power of two.
pub(crate) const STRIPES: u64 = 8;

/// What is being computed of an eighth of a dictionary's keys.
pub(crate) type Pending = Stripe<STRIPE_WORDS>;

/// Offset of the first stripe behind a table of so many bytes.
pub(crate) const fn stripes_at(table_len: u64) -> u64 {
    table_len.next_multiple_of(BODY_ALIGN)
}

/// Bytes of the body of a dictionary with such a table.
pub(crate) const fn body_len_with(table_len: u64) -> u64 {
    stripes_at(table_len) + STRIPES * size_of::<Pending>() as u64
}

fn stripes(body: &Region, shape: [u64; 4]) -> Result<&[Pending]> {
    let plan = TablePlan::from_shape(shape).ok_or_else(|| bad_shape(ObjectKind::Dict, shape))?;
    body.places(stripes_at(plan.body_len()), STRIPES)
}

/// Frees what the dead were computing. The number of traces.
pub(crate) fn sweep(body: &Region, shape: [u64; 4], life: &impl Liveness) -> Result<u32> {
    Ok(stripes(body, shape)?.iter().map(|stripe| stripe.recover(life)).sum())
}

/// Who computes.
pub(crate) fn computing(body: &Region, shape: [u64; 4]) -> Result<Vec<ParticipantId>> {
    Ok(stripes(body, shape)?.iter().flat_map(Pending::computing).collect())
}
