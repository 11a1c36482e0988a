//! Many readers or one writer, where every participant counts its own readers, so that the counts of the dead can be
//! struck off.
//!
//! The writers' word is a [`RawLock`], the caller's. Beside it stands one cell per participant row, a cache line each, so
//! that readers of different processes do not write to the same line:
//!
//! ```text
//!  63..55   54..32   31..0
//! ┌────────┬────────┬───────┐
//! │  zero  │   id   │ count │     count: how many readers this participant has; an id without a count is idle
//! └────────┴────────┴───────┘
//! ```
//!
//! | from | to | by whom |
//! |---|---|---|
//! | anything but mine | (me, 1) | the participant of the row: what it replaces was left by a dead one |
//! | (me, n) | (me, n + 1) | a thread of the participant, entering |
//! | (me, n) | (me, n - 1) | a thread of the participant, leaving, or stepping back from a writer |
//! | (dead, n) | zero | the writer who waits for it, or recovery |
//!
//! A reader counts itself in, fences, and looks at the writers' word; a writer takes the word, fences, and looks at the
//! cells. One of the two sees the other. A reader who sees a writer steps back and stands in line at the
//! writers' lock: holding that, it counts itself in and gives the lock back at once, so that it can not be overtaken
//! for ever. A writer who sees readers keeps the lock and sleeps on `gone` until they have left. So
//! writers have precedence, and a thread that reads twice at a time may wait for itself.
//!
//! `ever` has a bit for each row that ever had a reader, and no writer looks at the other cells. The bits are never taken
//! off: a row is used again and again.
//!
//! # Memory ordering
//!
//! A reader sees all stores of the writers before; a writer has all reads of the readers before behind it.
#![forbid(unsafe_code)]

use core::fmt;

use crate::order;
use crate::participant::{Liveness, ParticipantId};
use crate::raw::lock::{Acquired, RawLock, Refused};
use crate::raw::signal::Signal;
use crate::sync::rested::Rested;
use crate::sync::{AtomicU64, Ordering::Relaxed, Patience, exchange_fence, mark};

/// What all readers share. All-zero: nobody ever read.
#[repr(C)]
pub struct ReadersHeader {
    /// One bit for each row that ever had a reader.
    ever: [AtomicU64; 4],
    /// Moved when a reader leaves and a writer waits.
    gone: Signal,
}

/// The readers of one participant row. All-zero: none.
#[repr(C, align(64))]
pub struct ReaderCell {
    state: AtomicU64,
}

/// Rounds that may be lost to others before a call gives up.
const ROUNDS_LOST_MAX: u32 = 1000;
/// Readers of one participant: a program that has more has lost its guards.
const READERS_MAX: u32 = 1 << 31;

/// A cell, read.
#[derive(Clone, Copy, PartialEq, Eq)]
struct State(u64);

impl State {
    const NONE: Self = Self(0);

    const fn of(id: ParticipantId, count: u32) -> Self {
        Self((id.get() as u64) << 32 | count as u64)
    }

    const fn is_of(self, id: ParticipantId) -> bool {
        self.0 >> 32 == id.get() as u64
    }

    const fn count(self) -> u32 {
        self.0 as u32
    }

    fn id(self) -> Option<ParticipantId> {
        ParticipantId::new((self.0 >> 32) as u32)
    }

    fn is_corrupt(self) -> bool {
        self != Self::NONE && self.id().is_none()
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.count(), self.id()) {
            (_, None) if self.is_corrupt() => write!(f, "Corrupt({:#x})", self.0),
            (0, _) | (_, None) => f.write_str("None"),
            (count, Some(id)) => write!(f, "{count} of {id}"),
        }
    }
}

impl ReadersHeader {
    /// Nobody ever read.
    pub fn new() -> Self {
        Self { ever: [0, 0, 0, 0].map(AtomicU64::new), gone: Signal::new() }
    }

    /// What a writer sleeps on.
    pub fn gone(&self) -> &Signal {
        &self.gone
    }
}

impl ReaderCell {
    /// No reader.
    pub fn new() -> Self {
        Self { state: AtomicU64::new(State::NONE.0) }
    }
}

/// The lock, with the words of its readers wherever they are.
#[derive(Clone, Copy)]
pub struct RawRwLock<'a> {
    /// Held by the writer, and for a moment by a reader who met one.
    pub writer: &'a RawLock,
    /// What the readers share.
    pub readers: &'a ReadersHeader,
    /// One for each participant row.
    pub cells: &'a [ReaderCell],
}

impl RawRwLock<'_> {
    /// Enters as a reader of the participant in `row` if no writer is there: the usual way, and nothing else.
    #[inline]
    pub fn try_read_free(&self, life: &impl Liveness, row: usize) -> Option<Acquired> {
        self.count_in(life, row).ok()?;
        exchange_fence(order!(rw_reader_fence, SeqCst));
        let seen = self.writer.seen_free();
        if seen.is_none() {
            self.release_read(life, row);
        }
        seen
    }

    /// Enters as a reader if that needs no waiting. Asks about a writer's life at once.
    pub fn try_read(&self, life: &impl Liveness, row: usize) -> Result<Acquired, Refused> {
        match self.try_read_free(life, row) {
            Some(acquired) => Ok(acquired),
            None => self.read_in_line(life, row, self.writer.try_acquire(life)?),
        }
    }

    /// Enters as a reader, sleeping while living writers are there.
    pub fn read(&self, life: &impl Liveness, row: usize, patience: &mut Patience) -> Result<Acquired, Refused> {
        loop {
            if self.writer.seen_free().is_some()
                && let Some(acquired) = self.try_read_free(life, row)
            {
                return Ok(acquired);
            }
            if !patience.spin() {
                break;
            }
        }
        self.read_in_line(life, row, self.writer.acquire(life, patience)?)
    }

    /// Counts in with the writers' lock in hand, and gives it back as it was: what a dead writer left is for the
    /// next writer.
    #[cold]
    fn read_in_line(&self, life: &impl Liveness, row: usize, acquired: Acquired) -> Result<Acquired, Refused> {
        mark("rw_lock: read in line");
        let counted = self.count_in(life, row);
        self.writer.release(acquired == Acquired::AfterDeath);
        counted.map(|()| acquired)
    }

    /// Leaves as a reader, and wakes a writer who waits for that.
    #[inline]
    pub fn release_read(&self, life: &impl Liveness, row: usize) {
        let Some(cell) = self.cells.get(row) else { return };
        let state = State(cell.state.load(Relaxed));
        // A cell that is not ours was written over by a broken peer: leave it.
        if state.is_of(life.me()) && state.count() > 0 {
            // The writer who finds nobody has our reads behind it.
            cell.state.fetch_sub(1, order!(rw_leave, Release));
        }
        self.readers.gone.notify(life);
    }

    /// Takes the lock as the writer if nobody has it and nobody reads. Asks about lives at once.
    pub fn try_write(&self, life: &impl Liveness) -> Result<Acquired, Refused> {
        let acquired = self.writer.try_acquire(life)?;
        exchange_fence(order!(rw_writer_fence, SeqCst));
        let gone = self.rows().try_for_each(|cell| match self.is_idle(cell, life, true) {
            Ok(false) => Err(Refused::Busy),
            other => other.map(drop),
        });
        self.settle(acquired, gone)
    }

    /// Takes the lock as the writer, sleeping while living participants write or read. `held`: the caller has the writers'
    /// lock already, by [`RawLock::take_free`].
    pub fn write(&self, life: &impl Liveness, held: bool, patience: &mut Patience) -> Result<Acquired, Refused> {
        let acquired = if held { Acquired::Clean } else { self.writer.acquire(life, patience)? };
        exchange_fence(order!(rw_writer_fence, SeqCst));
        let gone = self.rows().try_for_each(|cell| self.wait_until_idle(cell, life, patience));
        self.settle(acquired, gone)
    }

    /// Whether nobody reads, asked by who has just taken the writers' lock. False may mean the dead.
    #[inline]
    pub fn nobody_reads(&self) -> bool {
        exchange_fence(order!(rw_writer_fence, SeqCst));
        self.rows().all(|cell| State(cell.state.load(order!(rw_cell_look, Acquire))).count() == 0)
    }

    /// Gives the lock back as the writer.
    #[inline]
    pub fn release_write(&self, damaged: bool) {
        self.writer.release(damaged);
    }

    /// Gives the writers' lock back, as it was taken, if the readers did not leave.
    fn settle(&self, acquired: Acquired, gone: Result<(), Refused>) -> Result<Acquired, Refused> {
        if gone.is_err() {
            self.writer.release(acquired == Acquired::AfterDeath);
        }
        gone.map(|()| acquired)
    }

    #[cold]
    fn wait_until_idle(&self, cell: &ReaderCell, life: &impl Liveness, patience: &mut Patience) -> Result<(), Refused> {
        // Each round sleeps, or was woken by a reader who left.
        while !self.is_idle(cell, life, patience.asks())? {
            if patience.spin() {
                continue;
            }
            let seen = self.readers.gone.prepare();
            if self.is_idle(cell, life, patience.asks())? {
                break;
            }
            if self.readers.gone.rest(seen, life, patience) == Rested::DeadlinePassed {
                // Even the shortest deadline asks about lives once.
                return if self.is_idle(cell, life, true)? { Ok(()) } else { Err(Refused::TimedOut) };
            }
        }
        Ok(())
    }

    /// Whether a row has no reader. Strikes off, if `ask`, those of a dead one.
    fn is_idle(&self, cell: &ReaderCell, life: &impl Liveness, ask: bool) -> Result<bool, Refused> {
        for _ in 0..ROUNDS_LOST_MAX {
            let state = State(cell.state.load(order!(rw_cell_look, Acquire)));
            match state.id() {
                None if state.is_corrupt() => return Err(Refused::Corrupt),
                Some(id) if state.count() > 0 => {
                    if !ask || !life.is_dead(id) {
                        return Ok(false);
                    }
                    mark("rw_lock: struck off");
                    if self.strike(cell, state) {
                        return Ok(true);
                    }
                }
                _ => return Ok(true),
            }
        }
        Err(Refused::Contended)
    }

    /// Passes on that the reads of the dead are over, as the proof of death told us.
    fn strike(&self, cell: &ReaderCell, state: State) -> bool {
        cell.state.compare_exchange(state.0, State::NONE.0, order!(rw_strike, AcqRel), Relaxed).is_ok()
    }

    /// Frees what dead writers and readers held. Returns the traces removed.
    pub fn recover(&self, life: &impl Liveness) -> u32 {
        let mut removed = self.writer.recover(life);
        for cell in self.cells {
            let state = State(cell.state.load(order!(rw_cell_look, Acquire)));
            // Also where none are left to count: no trace of the id may stay.
            if state.id().is_some_and(|id| life.is_dead(id)) && self.strike(cell, state) {
                removed += 1;
                self.readers.gone.notify(life);
            }
        }
        removed
    }

    /// Who reads, and how often. A snapshot, for people and tests.
    pub fn reading(&self) -> impl Iterator<Item = (ParticipantId, u32)> {
        let states = self.cells.iter().map(|cell| State(cell.state.load(Relaxed)));
        states.filter(|state| state.count() > 0).filter_map(|state| Some((state.id()?, state.count())))
    }

    #[inline]
    fn count_in(&self, life: &impl Liveness, row: usize) -> Result<(), Refused> {
        let (Some(cell), Some(ever)) = (self.cells.get(row), self.readers.ever.get(row / 64)) else {
            return Err(Refused::Corrupt);
        };
        let bit = 1 << (row % 64);
        // Relaxed: the fence that follows, or the writers' lock, shows it to the writer who must look at the cell.
        if ever.load(Relaxed) & bit == 0 {
            ever.fetch_or(bit, Relaxed);
        }
        let state = State(cell.state.load(Relaxed));
        if state.is_of(life.me()) && state.count() < READERS_MAX {
            // Only threads of this participant count here. Relaxed: the id came by a release that this continues, and
            // what the writers stored is acquired from their word.
            cell.state.fetch_add(1, Relaxed);
            return Ok(());
        }
        self.first_in(cell, life.me())
    }

    /// Puts our id into the cell of our row.
    #[cold]
    fn first_in(&self, cell: &ReaderCell, me: ParticipantId) -> Result<(), Refused> {
        // Only threads of this participant put something here, and strikers once.
        for _ in 0..ROUNDS_LOST_MAX {
            let state = State(cell.state.load(Relaxed));
            let next = match state.is_of(me) {
                true if state.count() >= READERS_MAX => break,
                true => State::of(me, state.count() + 1),
                // Whatever stands there was left by a dead one: the row is ours.
                false => State::of(me, 1),
            };
            // Release: who meets the id must find its bearer registered, or would take it for dead.
            if cell.state.compare_exchange(state.0, next.0, order!(rw_join, AcqRel), Relaxed).is_ok() {
                return Ok(());
            }
        }
        Err(Refused::Contended)
    }

    /// The cells of all rows that ever had a reader.
    #[inline]
    fn rows(&self) -> impl Iterator<Item = &ReaderCell> {
        // Relaxed: the fence before it orders it against every reader who is in.
        let words = self.readers.ever.iter().zip(self.cells.chunks(64));
        words.flat_map(|(ever, cells)| Bits(ever.load(Relaxed)).filter_map(|bit| cells.get(bit)))
    }
}

/// The bits that are set, lowest first.
struct Bits(u64);

impl Iterator for Bits {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        let bit = self.0.trailing_zeros();
        self.0 &= self.0.wrapping_sub(1);
        (bit < 64).then_some(bit as usize)
    }
}

impl Default for ReadersHeader {
    fn default() -> Self {
        Self::new()
    }
}

impl Default for ReaderCell {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for RawRwLock<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cells = self.cells.iter().map(|cell| State(cell.state.load(Relaxed)));
        let reading: Vec<_> = cells.filter(|state| state.count() > 0 || state.is_corrupt()).collect();
        write!(f, "writer {:?}, readers {reading:?}", self.writer)
    }
}

#[cfg(all(test, not(mutirao_model)))]
mod tests {
    use super::{RawRwLock, ReaderCell, ReadersHeader, State};
    use crate::deadline::Deadline;
    use crate::raw::lock::{Acquired, RawLock, Refused, tests::Me};
    use crate::sync::{Ordering::Relaxed, Patience};

    /// The row is the id's last digit.
    impl Me {
        fn row(&self) -> usize {
            self.0 as usize % 10
        }
    }

    fn with(f: impl FnOnce(RawRwLock<'_>)) {
        let (writer, readers) = (RawLock::new(), ReadersHeader::new());
        let cells: Vec<_> = (0..70).map(|_| ReaderCell::new()).collect();
        f(RawRwLock { writer: &writer, readers: &readers, cells: &cells });
    }

    #[test]
    fn readers_share_and_a_writer_is_alone() {
        with(|lock| {
            assert_eq!(lock.try_read(&Me(1), 1), Ok(Acquired::Clean));
            assert_eq!(lock.try_read(&Me(1), 1), Ok(Acquired::Clean));
            assert_eq!(lock.try_read(&Me(2), 66), Ok(Acquired::Clean));
            assert_eq!(lock.reading().map(|(id, n)| (id.get(), n)).collect::<Vec<_>>(), [(1, 2), (2, 1)]);
            assert_eq!(lock.try_write(&Me(3)), Err(Refused::Busy));
            lock.release_read(&Me(1), 1);
            lock.release_read(&Me(1), 1);
            assert_eq!(lock.write(&Me(3), false, &mut Patience::new(Deadline::NOW)), Err(Refused::TimedOut));
            lock.release_read(&Me(2), 66);
            assert_eq!(lock.try_write(&Me(3)), Ok(Acquired::Clean));
            assert_eq!(lock.try_read(&Me(1), 1), Err(Refused::Busy));
            lock.release_write(false);
            assert_eq!(format!("{lock:?}"), "writer Free, readers []");
        });
    }

    #[test]
    fn readers_of_the_dead_are_struck_off_and_their_rows_used_again() {
        with(|lock| {
            lock.try_read(&Me(101), 1).unwrap();
            assert_eq!(lock.try_write(&Me(2)), Ok(Acquired::Clean));
            lock.release_write(false);
            lock.try_read(&Me(101), 1).unwrap();
            lock.try_read(&Me(1), 1).unwrap();
            assert_eq!(lock.try_write(&Me(2)), Err(Refused::Busy), "the newcomer reads");
            lock.release_read(&Me(1), 1);
            lock.try_read(&Me(102), 2).unwrap();
            lock.release_read(&Me(102), 2);
            assert_eq!((lock.recover(&Me(5)), lock.recover(&Me(5))), (1, 0), "no id of the dead stays");
        });
    }

    #[test]
    fn a_dead_writer_is_reported_to_readers_and_to_one_writer() {
        with(|lock| {
            lock.try_write(&Me(100)).unwrap();
            assert_eq!(lock.try_read(&Me(1), 1), Ok(Acquired::AfterDeath));
            assert_eq!(lock.try_read(&Me(2), 2), Ok(Acquired::AfterDeath));
            lock.release_read(&Me(1), 1);
            lock.release_read(&Me(2), 2);
            assert_eq!(lock.try_write(&Me(2)), Ok(Acquired::AfterDeath));
            lock.release_write(false);
            assert_eq!(lock.try_read(&Me(1), 1), Ok(Acquired::Clean));
        });
    }

    #[test]
    fn any_cell_ends_in_an_answer() {
        for word in (0..64).flat_map(|a| (0..64).map(move |b| 1 << a | 1 << b)).chain([u64::MAX, 5 << 32 | 0x8000_0000])
        {
            with(|lock| {
                let me = Me(5);
                lock.try_read(&me, me.row()).unwrap();
                lock.cells[me.row()].state.store(word, Relaxed);
                let _ = lock.write(&me, false, &mut Patience::new(Deadline::NOW));
                let _ = (lock.try_read(&me, me.row()), lock.try_write(&me));
                lock.release_read(&me, me.row());
                lock.recover(&me);
            });
        }
        with(|lock| {
            assert_eq!(lock.try_read(&Me(1), 99), Err(Refused::Busy).or(Err(Refused::Corrupt)));
            lock.try_read(&Me(1), 1).unwrap();
            lock.cells[1].state.store(1 << 60 | 1, Relaxed);
            assert_eq!(lock.try_write(&Me(2)), Err(Refused::Corrupt));
            assert_eq!(format!("{:?}", State(1 << 60)), "Corrupt(0x1000000000000000)");
        });
    }
}
