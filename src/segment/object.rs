//! Objects among others in a segment: made whole before anybody can find them, found by name or by number, removed.
//!
//! Making one: an entry is claimed, a block of the arena becomes the body, its first bytes are written, and one store
//! publishes it. Whoever dies before that store has made nothing; what it took is given back by whoever meets its claim.

use crate::error::{Error, Kind, Result};
use crate::participant::Liveness;
use crate::raw::catalog::State;
use crate::segment::body::{Blueprint, Body, Hold, removed};
use crate::segment::catalog::{Catalog, Drafted, exists};
use crate::segment::inspect::{self, ObjectReport};
use crate::segment::layout::ObjectKind;
use crate::segment::name::{Name, not_found};
use crate::segment::open::Segment;
use crate::segment::tag::TypeTag;
use crate::sync::{Ordering, fence};
use std::sync::Arc;

/// Rounds in which an opener may meet objects that are removed under its hands.
const ROUNDS: u32 = 1000;
/// An object that its creator is still filling. Dropped, it was never there.
pub(crate) struct Draft<'a> {
    segment: &'a Segment,
    name: Option<&'a str>,
    drafted: Drafted,
    body: Option<Body>,
    is_published: bool,
}

impl<'a> Draft<'a> {
    /// A new object whose body is all zeros.
    pub(crate) fn new(
        segment: &'a Segment,
        name: Option<Name<'a>>,
        kind: ObjectKind,
        tag: &TypeTag,
        blueprint: &Blueprint,
    ) -> Result<Self> {
        name.as_ref().map_or(Ok(()), Name::check)?;
        let name = name.map(|name| name.get());
        let attachment = segment.attachment().ours()?;
        let catalog = attachment.catalog();
        if let Some(taken) = name.filter(|name| catalog.find(name).is_some()) {
            return Err(exists(taken)); // before anything is reserved; decided when it is published
        }
        let draft = || catalog.draft(attachment, attachment.row() as usize, attachment.arena());
        let drafted = match draft() {
            // The dead may have had some, and nobody else may have noticed them.
            Err(error) if error.is_exhausted() && attachment.reap_dead() => draft(),
            other => other,
        }?;
        let mut draft = Self { segment, name, drafted, body: None, is_published: false };
        draft.body = Some(draft.lay_out(kind, tag, blueprint)?);
        Ok(draft)
    }

    /// Takes a block for the body, and writes the entry.
    fn lay_out(&self, kind: ObjectKind, tag: &TypeTag, blueprint: &Blueprint) -> Result<Body> {
        let attachment = self.segment.attachment();
        let Drafted { number, claim } = self.drafted;
        let hold = Hold::new(self.segment, number);
        let entry = attachment.catalog().entry(number)?;
        let arena = attachment.arena().ok_or_else(|| Error::corrupt("the segment", "a catalog without an arena"))?;
        let block = arena.allocate_body(attachment, blueprint.body_len.max(1))?;
        // Whoever sees a word of the new object sees that the last one whose memory this was is gone.
        fence(crate::order!(object_fill, Release));
        block.words().iter().for_each(|word| word.store(0, Ordering::Relaxed));
        block.set_place(Catalog::body_place(&attachment.header().plan, number));
        entry.set_block(block.reference());
        block.published();
        entry.describe(kind, tag, blueprint.shape, blueprint.body_len, self.name.unwrap_or_default());
        Body::held(&Arc::new(hold), claim.state())
    }

    /// The body, for as long as the creator fills it.
    pub(crate) fn body(&self) -> Result<Body> {
        self.body.clone().ok_or_else(|| Error::corrupt("a new object", "it has no body"))
    }

    /// Lets others find the object. Until here it is nothing, from here on it is whole.
    pub(crate) fn publish(mut self) -> Result<Body> {
        let attachment = self.segment.attachment().ours()?;
        let hold = self.body.as_ref().and_then(Body::hold).cloned();
        let state = attachment.catalog().publish(self.drafted, self.name, attachment)?;
        self.is_published = true;
        let hold = hold.ok_or_else(|| Error::corrupt("a new object", "it has no body"))?;
        Body::held(&hold, state)
    }
}

impl Drop for Draft<'_> {
    fn drop(&mut self) {
        self.body = None;
        let attachment = self.segment.attachment();
        if !self.is_published && attachment.is_ours() {
            let (row, arena) = (attachment.row() as usize, attachment.arena());
            attachment.catalog().give_up(self.drafted, attachment, row, arena);
        }
    }
}

/// The object of this name, if it is of this kind and type.
pub(crate) fn open(segment: &Segment, name: Name<'_>, kind: ObjectKind, tag: &TypeTag) -> Result<Body> {
    name.check()?;
    let attachment = segment.attachment().ours()?;
    let catalog = attachment.catalog();
    for _ in 0..ROUNDS {
        let Some((number, state)) = catalog.find(name.get()) else {
            return Err(not_found(name.get(), catalog.names()));
        };
        let Some(body) = hold(segment, number, state)? else { continue };
        // Looked at again: before it was held, another one's name may have been mixed in.
        let entry = catalog.entry(number)?;
        if entry.is_called(name.get()) {
            let found = entry.described()?;
            tag.expect(kind, found.kind, &found.tag)?;
            return Ok(body);
        }
    }
    Err(Kind::Contended { what: "the name of an object", rounds: ROUNDS }.into())
}

/// The object of this number, if it is still the one that `state` names, of this kind, and of this type or one that was
/// given a tag.
pub(crate) fn at(segment: &Segment, number: u32, state: u64, kind: ObjectKind, tag: &TypeTag) -> Result<Body> {
    let attachment = segment.attachment().ours()?;
    let body = hold(segment, number as usize, State::from_word(state))?.ok_or_else(removed)?;
    let found = attachment.catalog().entry(number as usize)?.described()?;
    // A handle says no tag of its own, and was of this type where it came from.
    let tag = if found.tag.is_given() { &found.tag } else { tag };
    tag.expect(kind, found.kind, &found.tag)?;
    Ok(body)
}

fn hold(segment: &Segment, number: usize, state: State) -> Result<Option<Body>> {
    let attachment = segment.attachment();
    let catalog = attachment.catalog();
    if !catalog.hold(number, state, attachment.row() as usize) {
        catalog.free_if_due(number, attachment, attachment.arena());
        return Ok(None);
    }
    Body::held(&Arc::new(Hold::new(segment, number)), state).map(Some)
}

impl Segment {
    /// Takes the object of this name out of the segment. The name is free at once. Handles that are there answer
    /// [`is_removed`](Error::is_removed) from now on, and calls that wait end with it; single words (an integer
    /// [`Value`](crate::Value), an element of an [`Array`](crate::Array)) can be read and written until the handle is
    /// dropped, which nobody else sees. The memory is free again when the last handle is gone.
    ///
    /// # Errors
    ///
    /// [`is_not_found`](Error::is_not_found) when there is none of this name; `is_forked`.
    pub fn remove(&self, name: &str) -> Result<()> {
        let attachment = self.attachment().ours()?;
        let catalog = attachment.catalog();
        while let Some((number, state)) = catalog.find(name) {
            let entry = catalog.entry(number)?;
            // Lost to others who remove as well: each round one of them has.
            if !entry.slot.remove(state) {
                continue;
            }
            let holders = entry.slot.holders().filter_map(|row| u32::try_from(row).ok());
            holders.filter(|&row| attachment.row_is_dead(row)).for_each(|row| {
                attachment.reap(row);
            });
            catalog.free_if_due(number, attachment, attachment.arena());
            return Ok(());
        }
        Err(not_found(name, catalog.names()))
    }

    /// What is in the segment: of each object its name, its kind, the type of its items and its state in words. Reads
    /// only.
    pub fn objects(&self) -> Vec<ObjectReport> {
        inspect::objects(&self.attachment().ground())
    }
}
