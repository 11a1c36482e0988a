//! The calls of the ring that sleep, and the complete look of those that do not.
//!
//! Every sleep is: say that one wants to be woken, look once more, sleep a slice. Once a slice has ended,
//! every later look of the call asks about lives: the cell of a dead producer may come to the head only
//! later. Whoever slept and then succeeded passes the wake on: of two sleepers, one may have been woken for
//! a cell that was not ready and have gone back to sleep, the other sits beside one that is.
#![forbid(unsafe_code)]

use crate::order;
use crate::participant::Liveness;
use crate::raw::ring::{Refusal, Ring, Slots};
use crate::raw::ring_aside::{Aside, Nothing};
use crate::raw::ring_word::{CellWord, EndWord, Ticket};
use crate::sync::{Ordering::Relaxed, Patience, Rested, mark};

impl<S: Slots> Ring<'_, S> {
    /// A ticket to push; sleeps while the ring is full.
    #[inline]
    pub fn push(&self, life: &impl Liveness, patience: &mut Patience) -> Result<Ticket, Refusal> {
        self.push_unless(life, patience, || false)
    }

    /// As [`push`](Ring::push), and [`Refusal::Disconnected`] if the ring is full and every consumer is `gone`.
    #[inline]
    pub fn push_unless(
        &self,
        life: &impl Liveness,
        patience: &mut Patience,
        gone: impl Fn() -> bool,
    ) -> Result<Ticket, Refusal> {
        match self.try_push(life) {
            Err(Refusal::Full) => self.push_slow(life, patience, gone),
            done => done,
        }
    }

    #[cold]
    fn push_slow(
        &self,
        life: &impl Liveness,
        patience: &mut Patience,
        gone: impl Fn() -> bool,
    ) -> Result<Ticket, Refusal> {
        let space = &self.header.space.0;
        let mut slept = false;
        // Ends at the deadline, by closing, or when there is room.
        let got = loop {
            while patience.spin() {
                match self.try_push(life) {
                    Err(Refusal::Full) => {}
                    done => return done,
                }
            }
            let seen = space.prepare();
            match self.try_push(life) {
                Err(Refusal::Full) => {}
                done => break done,
            }
            if gone() {
                break instead_of(Refusal::Full, Refusal::Disconnected, self.try_push(life));
            }
            match space.rest(seen, life, patience) {
                Rested::DeadlinePassed => break instead_of(Refusal::Full, Refusal::TimedOut, self.try_push(life)),
                Rested::Looked | Rested::SliceEnded => slept = true,
            }
        };
        if slept {
            let _ = space.prepare();
            let ticket =
                self.geometry.unpack(EndWord(self.header.tail.0.load(order!(ring_tail_look, Acquire))).ticket());
            // Relaxed: a look that decides nothing but a wake.
            if self.cell(ticket.index).is_ok_and(|c| c.load(Relaxed) == CellWord::empty(ticket.lap).0) {
                mark("passed on space");
                space.pass_on();
            }
        }
        got
    }

    /// A ticket to pop; sleeps while nothing is ready. [`Refusal::Closed`]: and nothing of the dead is left.
    #[inline]
    pub fn pop(&self, life: &impl Liveness, patience: &mut Patience) -> Result<Ticket, Refusal> {
        self.pop_unless(life, patience, &Nothing, || false)
    }

    /// As [`pop`](Ring::pop), also from `aside`, and [`Refusal::Disconnected`] if nothing is there and every
    /// producer is `gone`. While an item may still come back, a ring is neither drained nor disconnected.
    #[inline]
    pub fn pop_unless<A: Aside>(
        &self,
        life: &impl Liveness,
        patience: &mut Patience,
        aside: &A,
        gone: impl Fn() -> bool,
    ) -> Result<A::Got, Refusal> {
        match self.look(life, false, aside) {
            Err(Refusal::Empty | Refusal::Held) => self.pop_slow(life, patience, aside, gone),
            done => done,
        }
    }

    #[cold]
    fn pop_slow<A: Aside>(
        &self,
        life: &impl Liveness,
        patience: &mut Patience,
        aside: &A,
        gone: impl Fn() -> bool,
    ) -> Result<A::Got, Refusal> {
        let (items, space) = (&self.header.items.0, &self.header.space.0);
        let mut slept = false;
        // Ends at the deadline, by closing, or when there is something.
        let got = loop {
            while patience.spin() {
                match self.look(life, patience.asks(), aside) {
                    Err(Refusal::Empty | Refusal::Held) => {}
                    done => return done,
                }
            }
            let seen = items.prepare();
            let rested = match self.look_beyond(life, patience.asks(), aside, &gone) {
                Err(Refusal::Empty) => items.rest(seen, life, patience),
                Err(Refusal::Held) => {
                    // Nothing is sent any more; what others do with their leases is told to all.
                    let seen = space.prepare_all();
                    match self.look_beyond(life, patience.asks(), aside, &gone) {
                        Err(Refusal::Empty | Refusal::Held) => space.rest(seen, life, patience),
                        done => break done,
                    }
                }
                done => break done,
            };
            match rested {
                Rested::DeadlinePassed => {
                    let last = self.look_beyond(life, true, aside, &gone);
                    break instead_of(
                        Refusal::Held,
                        Refusal::TimedOut,
                        instead_of(Refusal::Empty, Refusal::TimedOut, last),
                    );
                }
                Rested::Looked | Rested::SliceEnded => slept = true,
            }
        };
        if slept {
            let _ = items.prepare();
            let ticket =
                self.geometry.unpack(EndWord(self.header.head.end.load(order!(ring_head_look, Acquire))).ticket());
            if self.cell(ticket.index).is_ok_and(|c| c.load(Relaxed) == CellWord::full(ticket.lap).0) {
                mark("passed on items");
                items.pass_on();
            }
        }
        got
    }

    /// A ticket to pop, without sleeping, from everywhere where an item can be: asks about lives and looks
    /// at every cell when nothing is ready.
    pub fn pop_now(&self, life: &impl Liveness) -> Result<Ticket, Refusal> {
        self.look(life, true, &Nothing)
    }

    /// As [`pop_now`](Ring::pop_now), also from `aside`; disconnected as in [`pop_unless`](Ring::pop_unless).
    pub fn pop_now_unless<A: Aside>(
        &self,
        life: &impl Liveness,
        aside: &A,
        gone: impl Fn() -> bool,
    ) -> Result<A::Got, Refusal> {
        self.look_beyond(life, true, aside, &gone)
    }

    /// No producer gets a ticket from here on. Wakes everybody.
    pub fn close(&self) {
        self.header.tail.0.fetch_or(EndWord::closed_bit(), order!(ring_close, Release));
        self.header.items.0.notify_all();
        self.header.space.0.notify_all();
    }

    /// Whether [`close`](Ring::close) was called.
    pub fn is_closed(&self) -> bool {
        EndWord(self.header.tail.0.load(order!(ring_tail_look, Acquire))).is_closed()
    }

    /// A ticket to pop, if one is ready: a look that asks nobody about anything, for callers that wait otherwise.
    #[inline]
    pub fn pop_ready(&self, life: &impl Liveness) -> Option<Ticket> {
        // Relaxed: a hint, and first, because a busy ring is never empty.
        if self.header.head.astray.load(Relaxed) == 0 { self.pop_straight(life) } else { None }
    }

    /// As [`look`](Ring::look); if nothing is there, also whether something can come.
    fn look_beyond<A: Aside>(
        &self,
        life: &impl Liveness,
        ask: bool,
        aside: &A,
        gone: &impl Fn() -> bool,
    ) -> Result<A::Got, Refusal> {
        match self.look(life, ask, aside) {
            // What the gone published is visible now.
            Err(Refusal::Empty) if gone() => match self.look(life, true, aside) {
                Err(Refusal::Empty) if aside.may_return(life) => Err(Refusal::Held),
                last => instead_of(Refusal::Empty, Refusal::Disconnected, last),
            },
            done => done,
        }
    }

    /// One look at what went astray, if there is word of it, and at the head. Closed only when nothing is left.
    #[inline]
    fn look<A: Aside>(&self, life: &impl Liveness, ask: bool, aside: &A) -> Result<A::Got, Refusal> {
        // Relaxed: a hint, and first, because a busy ring is never empty.
        if self.header.head.astray.load(Relaxed) != 0
            && let Some(got) = self.take_astray(life, aside)
        {
            return Ok(got);
        }
        match self.try_pop(life, ask) {
            Err(Refusal::Closed) => match self.take_left(life, aside) {
                Err(Refusal::Empty) if aside.may_return(life) => Err(Refusal::Held),
                left => instead_of(Refusal::Empty, Refusal::Closed, left),
            },
            Err(Refusal::Empty) if ask => self.take_left(life, aside),
            done => done.map(A::Got::from),
        }
    }

    /// What the dead left, in cells and aside of them.
    fn take_left<A: Aside>(&self, life: &impl Liveness, aside: &A) -> Result<A::Got, Refusal> {
        match self.rescue_beside(life, aside) {
            Err(Refusal::Empty) => aside.take(life, true).ok_or(Refusal::Empty),
            done => done.map(A::Got::from),
        }
    }

    #[cold]
    fn take_astray<A: Aside>(&self, life: &impl Liveness, aside: &A) -> Option<A::Got> {
        let astray = &self.header.head.astray;
        astray.swap(0, order!(ring_astray_off, Acquire));
        let got = aside.take(life, false).or_else(|| self.rescue_beside(life, aside).ok().map(A::Got::from))?;
        // There may be more.
        astray.store(1, Relaxed);
        Some(got)
    }
}

fn instead_of<T>(from: Refusal, to: Refusal, got: Result<T, Refusal>) -> Result<T, Refusal> {
    match got {
        Err(why) if why == from => Err(to),
        got => got,
    }
}
