//! Readers see an old or a new value, never a mix, whatever becomes of the writers.

use std::sync::Arc;

use mutirao::deadline::Deadline;
use mutirao::model::{Kernel, Life, thread};
use mutirao::raw::version::Version;
use mutirao::sync::{AtomicU32, Ordering::Relaxed, Patience};

use crate::support::{Fate, LIVES, every_step, every_step_reordered, outcomes};

struct Pair {
    version: Version,
    buffers: [[AtomicU32; 2]; 2],
}

impl Pair {
    fn new() -> Arc<Self> {
        let buffers = [[0, 0], [0, 0]].map(|buffer| buffer.map(AtomicU32::new));
        Arc::new(Self { version: Version::new(), buffers })
    }

    /// Adds one to both words.
    fn bump(&self, life: &Life) {
        let lock = self.version.lock_field();
        lock.acquire(life, &mut Patience::new(Deadline::NEVER)).expect("sleeps until it has the lock");
        let ticket = self.version.begin_write();
        let whole = self.buffers[ticket.whole].each_ref().map(|word| word.load(Relaxed));
        assert_eq!(whole[0], whole[1], "torn under the lock");
        for word in &self.buffers[ticket.buffer] {
            word.store(whole[0] + 1, Relaxed);
        }
        self.version.commit(ticket);
        lock.release(false);
    }

    /// `None`: a writer was faster.
    fn read(&self) -> Option<u32> {
        let ticket = self.version.begin_read();
        let [one, two] = self.buffers[ticket.buffer].each_ref().map(|word| word.load(Relaxed));
        self.version.still_whole(&ticket).then(|| {
            assert_eq!(one, two, "torn");
            one
        })
    }
}

/// The first writer has this fate; each bumps as often as `bumps` says. What one read found, and the end.
fn bumps(bumps: &[u32], fate: Fate) -> (Option<u32>, u32) {
    bumps_with(Pair::new(), Kernel::new(), bumps, fate)
}

fn bumps_with(pair: Arc<Pair>, kernel: Arc<Kernel>, bumps: &[u32], fate: Fate) -> (Option<u32>, u32) {
    let writers: Vec<_> = bumps
        .iter()
        .zip(1..)
        .map(|(&bumps, id)| {
            let (pair, kernel) = (pair.clone(), kernel.clone());
            thread::spawn(move || {
                let life = kernel.enter(id);
                let fate = if id == 1 { fate } else { LIVES };
                if fate.run(|| (0..bumps).for_each(|_| pair.bump(&life))).is_none() {
                    kernel.bury(id, &[pair.version.lock_field().futex()]);
                }
            })
        })
        .collect();
    let p = pair.clone();
    let reader = thread::spawn(move || p.read());
    writers.into_iter().for_each(|writer| writer.join().unwrap());
    let read = reader.join().unwrap();
    pair.bump(&kernel.enter(7));
    (read, pair.read().expect("nobody else is left"))
}

#[test]
fn version_is_read_whole() {
    outcomes(None, &[(None, 3), (Some(0), 3), (Some(1), 3), (Some(2), 3)], || bumps(&[2], LIVES));
}

#[test]
fn version_writer_dies_at_each_step() {
    let read = [None, Some(0), Some(1), Some(2)];
    let seen: Vec<_> = read.iter().flat_map(|&r| [(r, 1), (r, 2), (r, 3)]).collect();
    let possible: Vec<_> = seen.into_iter().filter(|&(r, end)| r.unwrap_or(1) < end).collect();
    every_step(Some(3), &possible, |fate| bumps(&[2], fate));
    every_step_reordered(Some(2), 8, &possible, |fate| bumps(&[2], fate));
}

#[test]
fn version_writer_dies_beside_another() {
    let possible: Vec<_> = [None, Some(0), Some(1), Some(2)]
        .iter()
        .flat_map(|&r| [(r, 2), (r, 3)])
        .filter(|&(r, e)| r < Some(e))
        .collect();
    every_step(Some(2), &possible, |fate| bumps(&[1, 1], fate));
}

/// A writer died in the middle of a buffer; the next one, who takes over from it, dies too, beside another.
#[test]
fn version_recoverer_dies_at_each_step() {
    let possible: Vec<_> = [None, Some(0), Some(1), Some(2)]
        .iter()
        .flat_map(|&r| [(r, 2), (r, 3)])
        .filter(|&(r, e)| r < Some(e))
        .collect();
    every_step(Some(1), &possible, |fate| {
        let (pair, kernel) = (Pair::new(), Kernel::new());
        let lock = pair.version.lock_field();
        lock.acquire(&kernel.enter(6), &mut Patience::new(Deadline::NOW)).expect("nobody has it");
        let ticket = pair.version.begin_write();
        pair.buffers[ticket.buffer][0].store(99, Relaxed);
        kernel.bury(6, &[]);
        bumps_with(pair, kernel, &[1, 1], fate)
    });
}
