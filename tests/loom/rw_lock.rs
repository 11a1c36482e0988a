//! Readers share, a writer is alone, and neither outlives its process.

use std::sync::Arc;
use std::time::Duration;

use mutirao::deadline::Deadline;
use mutirao::model::{Kernel, Life, Payload, thread};
use mutirao::participant::Liveness;
use mutirao::raw::lock::{Acquired, RawLock, Refused};
use mutirao::raw::rw_lock::{RawRwLock, ReaderCell, ReadersHeader};
use mutirao::sync::{AtomicU32, Ordering::Relaxed, Patience};

use crate::support::{Fate, LIVES, MORE, every_step, every_step_reordered, outcomes};

const C: Acquired = Acquired::Clean;
const D: Acquired = Acquired::AfterDeath;
const ROWS: usize = 4;

/// A lock and what it guards: a payload that loom watches, and two words that a writer moves together.
struct Guarded {
    writer: RawLock,
    readers: ReadersHeader,
    cells: Vec<ReaderCell>,
    payload: Payload,
    words: [AtomicU32; 2],
}

impl Guarded {
    fn new() -> (Arc<Self>, Arc<Kernel>) {
        let guarded = Self {
            writer: RawLock::new(),
            readers: ReadersHeader::new(),
            cells: (0..ROWS).map(|_| ReaderCell::new()).collect(),
            payload: Payload::new(0),
            words: [0, 0].map(AtomicU32::new),
        };
        (Arc::new(guarded), Kernel::new())
    }

    fn lock(&self) -> RawRwLock<'_> {
        RawRwLock { writer: &self.writer, readers: &self.readers, cells: &self.cells }
    }

    fn row(life: &Life) -> usize {
        life.me().get() as usize % ROWS
    }

    /// What a reader sees, which does not change while it reads.
    fn look(&self, life: &Life) -> u64 {
        let seen = self.payload.get();
        let [one, two] = self.words.each_ref().map(|word| word.load(Relaxed));
        assert_eq!(seen, self.payload.get());
        self.lock().release_read(life, Self::row(life));
        if one == two { seen } else { TORN }
    }

    /// One turn as a reader, as handles do it: the usual way first.
    fn read(&self, life: &Life) -> (Acquired, u64) {
        let acquired = match self.lock().try_read_free(life, Self::row(life)) {
            Some(acquired) => acquired,
            None => self.lock().read(life, Self::row(life), &mut forever()).expect("sleeps until it may read"),
        };
        let seen = self.look(life);
        assert!(seen != TORN || acquired == D, "torn, and nobody said so");
        (acquired, seen)
    }

    /// One turn as a writer, as handles do it.
    fn write(&self, life: &Life) -> Acquired {
        let held = self.writer.take_free(life.me());
        let acquired = match held && self.lock().nobody_reads() {
            true => C,
            false => self.lock().write(life, held, &mut forever()).expect("sleeps until it may write"),
        };
        self.change(acquired);
        acquired
    }

    /// What a writer does with the lock in hand: counts, and repairs first what a dead one left.
    fn change(&self, acquired: Acquired) {
        let [one, two] = self.words.each_ref().map(|word| word.load(Relaxed));
        assert!(one == two || acquired == D, "torn, and nobody said so");
        self.payload.set(self.payload.get() + 1);
        self.words[0].store(one + 1, Relaxed);
        self.words[1].store(one + 1, Relaxed);
        self.lock().release_write(false);
    }

    /// A turn of participant 1, who may die in it.
    fn die(&self, kernel: &Arc<Kernel>, turn: Turn, fate: Fate) {
        let life = kernel.enter(1);
        let end = fate.run(|| match turn {
            Read => drop(self.read(&life)),
            Write => drop(self.write(&life)),
        });
        if end.is_none() {
            self.bury(kernel, 1);
        }
    }

    fn bury(&self, kernel: &Kernel, id: u32) {
        kernel.bury(id, &[self.writer.futex(), self.readers.gone().futex()]);
    }
}

/// What a reader says who saw a change half done.
const TORN: u64 = 99;

fn forever() -> Patience {
    Patience::new(Deadline::NEVER)
}

/// What an actor does in its turn.
#[derive(Clone, Copy)]
enum Turn {
    Read,
    Write,
}
use Turn::{Read, Write};

/// What the actors got, in their order; the first has this fate, and `None` is its death. Whoever comes last finds the lock
/// usable and is told of a death that nobody was told of as a writer.
fn turns(actors: &'static [Turn], fate: Fate) -> (Vec<Option<Acquired>>, Acquired) {
    let (guarded, kernel) = Guarded::new();
    let actors: Vec<_> = actors
        .iter()
        .zip(1..)
        .map(|(&turn, id)| {
            let (guarded, kernel) = (guarded.clone(), kernel.clone());
            thread::spawn(move || {
                let life = kernel.enter(id);
                let fate = if id == 1 { fate } else { LIVES };
                let end = fate.run(|| match turn {
                    Read => guarded.read(&life).0,
                    Write => guarded.write(&life),
                });
                if end.is_none() {
                    guarded.bury(&kernel, id);
                }
                end
            })
        })
        .collect();
    let ends: Vec<_> = actors.into_iter().map(|actor| actor.join().unwrap()).collect();
    let last = guarded.write(&kernel.enter(7));
    (ends, last)
}

#[test]
fn rw_lock_excludes_a_writer_from_readers() {
    outcomes(Some(3), &[(vec![Some(C); 2], C)], || turns(&[Read, Write], LIVES));
    outcomes(Some(1), &[(vec![Some(C); 3], C)], || turns(&[Read, Write, Read], LIVES));
    outcomes(Some(1), &[(vec![Some(C); 3], C)], || turns(&[Write, Write, Read], LIVES));
}

#[test]
fn rw_lock_reader_dies_at_each_step() {
    // A reader that dies with the writers' lock, which it takes for a moment, is reported as a writer would be.
    let seen = [(vec![Some(C), Some(C)], C), (vec![None, Some(C)], C), (vec![None, Some(C)], D)];
    let marks = every_step(Some(2), &seen, |fate| turns(&[Read, Write], fate));
    assert!(MORE || marks.contains("rw_lock: struck off") && marks.contains("rw_lock: read in line"));
}

#[test]
fn rw_lock_reader_dies_beside_another() {
    let (c, d) = (Some(C), Some(D));
    let mut seen = vec![(vec![c, c, c], C)];
    for (reader, writer, last) in [(c, c, C), (c, c, D), (d, c, D)] {
        seen.push((vec![None, writer, reader], last));
    }
    every_step(Some(1), &seen, |fate| turns(&[Read, Write, Read], fate));
}

#[test]
fn rw_lock_writer_dies_at_each_step() {
    let seen =
        [(vec![Some(C), Some(C)], C), (vec![None, Some(C)], C), (vec![None, Some(C)], D), (vec![None, Some(D)], D)];
    let marks = every_step(Some(2), &seen, |fate| turns(&[Write, Read], fate));
    assert!(MORE || marks.contains("lock: taken from the dead"));
    every_step_reordered(Some(2), 8, &seen, |fate| turns(&[Write, Read], fate));
}

/// The writer dies also while it waits for the reader; another writer stands in line.
#[test]
fn rw_lock_waiting_writer_dies() {
    let (c, d) = (Some(C), Some(D));
    let mut seen = vec![(vec![c, c, c], C)];
    for (writer, reader, last) in [(c, c, C), (c, c, D), (d, c, C), (d, d, C), (c, d, D)] {
        seen.push((vec![None, writer, reader], last));
    }
    every_step(Some(1), &seen, |fate| turns(&[Write, Write, Read], fate));
}

/// Two threads of one participant count in one cell; the writer waits for both.
#[test]
fn rw_lock_counts_the_threads_of_a_participant() {
    outcomes(Some(1), &[()], || {
        let (guarded, kernel) = Guarded::new();
        let actors: Vec<_> = [(1, Read), (1, Read), (2, Write)]
            .into_iter()
            .map(|(id, turn)| {
                let (guarded, kernel) = (guarded.clone(), kernel.clone());
                thread::spawn(move || {
                    let life = kernel.enter(id);
                    match turn {
                        Read => drop(guarded.read(&life)),
                        Write => drop(guarded.write(&life)),
                    }
                })
            })
            .collect();
        actors.into_iter().for_each(|actor| actor.join().unwrap());
        assert_eq!(guarded.lock().reading().count(), 0);
    });
}

/// `try_write` asks about lives at once: one who lives and reads is not taken for dead.
#[test]
fn rw_lock_leaves_the_living_their_readers() {
    outcomes(Some(3), &[Ok(C), Err(Refused::Busy)], || {
        let (guarded, kernel) = Guarded::new();
        let (g, k) = (guarded.clone(), kernel.clone());
        let reader = thread::spawn(move || g.read(&k.enter(1)));
        let (g, k) = (guarded, kernel);
        let writer = thread::spawn(move || {
            let got = g.lock().try_write(&k.enter(2));
            if let Ok(acquired) = got {
                g.change(acquired);
            }
            got
        });
        reader.join().unwrap();
        writer.join().unwrap()
    });
}

/// Recovery looks at cells without the writers' lock: one who lives and reads is not taken for dead.
#[test]
fn rw_lock_recovery_leaves_the_living() {
    outcomes(Some(3), &[0], || {
        let (guarded, kernel) = Guarded::new();
        let (g, k) = (guarded.clone(), kernel.clone());
        let reader = thread::spawn(move || _ = g.read(&k.enter(1)));
        let (g, k) = (guarded, kernel);
        let reaper = thread::spawn(move || g.lock().recover(&k.enter(2)));
        reader.join().unwrap();
        reaper.join().unwrap()
    });
}

/// One reads or writes and dies; another recovers; a third must see that it is over.
fn recovered(first: Turn, dies: Fate) -> Acquired {
    let (guarded, kernel) = Guarded::new();
    let (g, k) = (guarded.clone(), kernel.clone());
    let dying = thread::spawn(move || g.die(&k, first, dies));
    let (g, k) = (guarded.clone(), kernel.clone());
    let other = thread::spawn(move || _ = g.lock().recover(&k.enter(2)));
    let (g, k) = (guarded.clone(), kernel);
    let writer = thread::spawn(move || g.write(&k.enter(3)));
    dying.join().unwrap();
    other.join().unwrap();
    writer.join().unwrap()
}

#[test]
fn rw_lock_recovery_passes_on_that_the_dead_have_read() {
    every_step(Some(1), &[C], |fate| recovered(Read, fate));
}

#[test]
fn rw_lock_recovery_passes_on_what_the_dead_wrote() {
    every_step(Some(1), &[C, D], |fate| recovered(Write, fate));
}

/// One dies, and so does another who recovers it; a third goes on.
#[test]
fn rw_lock_recoverer_dies_at_each_step() {
    let run = |first: Turn, fate: Fate| {
        let (guarded, kernel) = Guarded::new();
        let (g, k) = (guarded.clone(), kernel.clone());
        let dying = thread::spawn(move || {
            let life = k.enter(1);
            // Its guard is never dropped.
            match first {
                Read => drop(g.lock().read(&life, 1, &mut forever())),
                Write => drop(g.lock().write(&life, false, &mut forever())),
            }
            g.bury(&k, 1);
            let life = k.enter(2);
            if fate.run(|| g.lock().recover(&life)).is_none() {
                g.bury(&k, 2);
            }
        });
        let (g, k) = (guarded.clone(), kernel.clone());
        let writer = thread::spawn(move || g.write(&k.enter(3)));
        dying.join().unwrap();
        let got = writer.join().unwrap();
        let last = kernel.enter(7);
        guarded.lock().recover(&last);
        guarded.lock().try_write(&last).expect("nobody is left");
        got
    };
    every_step(Some(2), &[C], move |fate| run(Read, fate));
    every_step(Some(2), &[C, D], move |fate| run(Write, fate));
}

/// A newcomer in the row of a dead reader: what that one left does not count, the newcomer does.
#[test]
fn rw_lock_row_is_used_again() {
    every_step(Some(2), &[C], |fate| {
        let (guarded, kernel) = Guarded::new();
        let (g, k) = (guarded.clone(), kernel.clone());
        let reader = thread::spawn(move || {
            let life = k.enter(1);
            match fate.run(|| g.lock().try_read_free(&life, 1)) {
                None => {
                    g.bury(&k, 1);
                    let newcomer = k.enter(5);
                    assert_eq!(Guarded::row(&newcomer), 1, "the same row");
                    g.read(&newcomer);
                }
                Some(None) => {}
                Some(Some(_)) => drop(g.look(&life)),
            }
        });
        let (g, k) = (guarded, kernel);
        let writer = thread::spawn(move || g.write(&k.enter(2)));
        reader.join().unwrap();
        writer.join().unwrap()
    });
}

/// A deadline ends the wait for a living reader or writer, and leaves the lock as it was.
#[test]
fn rw_lock_deadline_passes() {
    let writes = |g: &Guarded, life: &Life, patience: &mut Patience| {
        let got = g.lock().write(life, false, patience);
        got.inspect(|_| g.lock().release_write(false))
    };
    let reads = |g: &Guarded, life: &Life, patience: &mut Patience| {
        let got = g.lock().read(life, 2, patience);
        got.inspect(|_| g.lock().release_read(life, 2))
    };
    let run = |second: fn(&Guarded, &Life, &mut Patience) -> Result<Acquired, Refused>, first: Turn| {
        let (guarded, kernel) = Guarded::new();
        let (g, k) = (guarded.clone(), kernel.clone());
        let holder = thread::spawn(move || {
            let life = k.enter(1);
            let advance = || k.advance(10, &[g.writer.futex(), g.readers.gone().futex()]);
            match first {
                Read => {
                    g.lock().read(&life, 1, &mut forever()).unwrap();
                    advance();
                    g.lock().release_read(&life, 1);
                }
                Write => {
                    g.lock().write(&life, false, &mut forever()).unwrap();
                    advance();
                    g.lock().release_write(false);
                }
            }
        });
        let (g, k) = (guarded.clone(), kernel.clone());
        let other = thread::spawn(move || {
            second(&g, &k.enter(2), &mut Patience::new(Deadline::after(0, Duration::from_nanos(10))))
        });
        holder.join().unwrap();
        let got = other.join().unwrap();
        assert_eq!(guarded.lock().try_write(&kernel.enter(7)), Ok(C));
        got
    };
    outcomes(Some(3), &[Ok(C), Err(Refused::TimedOut)], move || run(writes, Read));
    outcomes(Some(3), &[Ok(C), Err(Refused::TimedOut)], move || run(reads, Write));
}
