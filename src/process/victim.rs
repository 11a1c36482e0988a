//! A child that is followed through its operation one instruction at a time, and killed.

use crate::error::{Error, Result};
use crate::process::instruction::{LONGEST, Reach};
use crate::process::spawn::Process;
use crate::sys::trace::{self, Memory, Stop, Together};
use core::ops::Range;
use serde::{Serialize, de::DeserializeOwned};
use std::collections::HashMap;
use std::collections::hash_map::{DefaultHasher, Entry};
use std::hash::{Hash, Hasher};
use std::io;

/// A child that stands still within its operation.
pub(crate) struct Victim {
    child: Process<()>,
    memory: Memory,
    /// Where it has memory that others see; `None` when that may have changed.
    shared: Option<Vec<Range<u64>>>,
    /// The instructions that it came by since its last system call.
    known: HashMap<u64, Known>,
    /// Until it is killed: who looks after what it leaves runs where it likes.
    _together: Option<Together>,
}

#[derive(Clone, Copy)]
struct Known {
    reach: Reach,
    /// How often it was come by.
    times: u64,
    name: u64,
}

/// What a victim is about to do. The name of an instruction is the same in all victims of an operation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Ahead {
    /// Something that nobody else can see.
    Own,
    /// An instruction that touches shared memory, for so many times since the last system call.
    Touch { name: u64, times: u64 },
    /// A system call.
    System { name: u64 },
}

/// System calls of x86-64 after which memory may be elsewhere: mmap, mprotect, munmap, mremap, shmat, shmdt.
const MAPPING: [u64; 6] = [9, 10, 11, 25, 30, 67];

fn failed(error: io::Error) -> Error {
    Error::io("stepping a child", error)
}

impl Victim {
    /// A new child, at the beginning of its operation.
    pub(crate) fn new<S>(stage: &S, victim: fn(S)) -> Result<Self>
    where
        S: Clone + Serialize + DeserializeOwned,
    {
        let child = Process::spawn(victim, stage.clone())?;
        let pid = child.id();
        match trace::wait(pid).map_err(failed)? {
            Stop::Marked => trace::pass_mark(pid).map_err(failed)?,
            other => return Err(unexpected(other)),
        }
        let memory = Memory::of(pid).map_err(failed)?;
        let _together = Together::keep(pid);
        Ok(Self { child, memory, shared: None, known: HashMap::new(), _together })
    }

    /// Lets it do one instruction. False: its operation is over.
    pub(crate) fn step(&mut self) -> Result<bool> {
        trace::step(self.child.id()).map_err(failed)?;
        match self.stop()? {
            Stop::Stepped => Ok(true),
            Stop::Marked => Ok(false),
            other => Err(unexpected(other)),
        }
    }

    /// Lets it run until its next system call is over. False: its operation is.
    pub(crate) fn run_over_system_call(&mut self) -> Result<bool> {
        self.shared = None;
        // Where the call begins, and where it is over.
        for _ in 0..2 {
            trace::run_to_system_call(self.child.id()).map_err(failed)?;
            match self.stop()? {
                Stop::System => {}
                Stop::Marked => return Ok(false),
                other => return Err(unexpected(other)),
            }
        }
        Ok(true)
    }

    /// What its next instruction does.
    pub(crate) fn ahead(&mut self) -> Result<Ahead> {
        let registers = trace::registers(self.child.id()).map_err(failed)?;
        let at = registers.next;
        let known = match self.known.entry(at) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => {
                let mut bytes = [0; LONGEST];
                self.memory.read(at, &mut bytes).map_err(failed)?;
                new.insert(Known { reach: Reach::of(&bytes), times: 0, name: name_of(at, &bytes) })
            }
        };
        known.times += 1;
        let Known { reach, times, name } = *known;
        if reach == Reach::System {
            self.known.clear();
            if MAPPING.contains(&registers.general[0]) {
                self.shared = None;
            }
            return Ok(Ahead::System { name: name.wrapping_add(registers.general[0]) });
        }
        let shared = match &self.shared {
            Some(shared) => shared,
            None => self.shared.insert(trace::shared_memory(self.child.id()).map_err(failed)?),
        };
        let is_shared = |address| shared.iter().any(|range| range.contains(&address));
        Ok(if reach.touches(&registers.general, is_shared) { Ahead::Touch { name, times } } else { Ahead::Own })
    }

    /// Kills it where it stands.
    pub(crate) fn kill(self) -> Result<()> {
        self.child.kill()?;
        match self.child.join() {
            Err(error) if error.is_child_failure() => Ok(()),
            Err(error) => Err(error),
            Ok(()) => Err(Error::invalid("stepping a child", "it lived")),
        }
    }

    fn stop(&self) -> Result<Stop> {
        trace::wait(self.child.id()).map_err(failed)
    }
}

/// Tells an instruction from others, in whatever victim: programs and libraries lie at another page in each of them.
fn name_of(at: u64, bytes: &[u8; LONGEST]) -> u64 {
    let mut hasher = DefaultHasher::new();
    (at % 4096, bytes).hash(&mut hasher);
    hasher.finish()
}

fn unexpected(how: Stop) -> Error {
    Error::invalid("stepping a child", format!("it came to {how:?} before its mark"))
}
