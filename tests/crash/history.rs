//! What a worker did, written down before and after each call, in a file that outlives it.
//!
//! A record that `write` returned from is in the kernel's page cache and survives the kill of its writer. A call whose
//! return is missing may have taken effect or not.

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

/// What was called.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u8)]
pub enum Call {
    Add,
    AddUnderMutex,
    AddUnderLock,
    AddUnderRwLock,
    AddInRange,
    Permit,
    Name,
    Send,
    Recv,
    SendJob,
    DoJob,
    SendLarge,
    RecvLarge,
    PushToList,
    PopFromList,
    ChangeList,
    AddInDict,
    ChangeRecord,
    ComeAndGo,
}

impl Call {
    pub const ALL: [Self; 19] = [
        Self::Add,
        Self::AddUnderMutex,
        Self::AddUnderLock,
        Self::AddUnderRwLock,
        Self::AddInRange,
        Self::Permit,
        Self::Name,
        Self::Send,
        Self::Recv,
        Self::SendJob,
        Self::DoJob,
        Self::SendLarge,
        Self::RecvLarge,
        Self::PushToList,
        Self::PopFromList,
        Self::ChangeList,
        Self::AddInDict,
        Self::ChangeRecord,
        Self::ComeAndGo,
    ];

    /// How often at most it is done between two records.
    pub const fn times_max(self) -> u64 {
        match self {
            Self::Add | Self::AddUnderMutex | Self::AddUnderLock => 200,
            Self::AddUnderRwLock | Self::AddInRange | Self::Permit | Self::AddInDict => 200,
            _ => 8,
        }
    }

    /// Whether each time has a number of its own, counted from the first.
    pub const fn sends(self) -> bool {
        matches!(self, Self::Send | Self::SendJob | Self::SendLarge | Self::PushToList)
    }
}

/// A call, as it was read back.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    pub call: Call,
    /// The number of the first item, where there are items.
    pub first: u64,
    /// How often it was to be done.
    pub times: u32,
    /// The items that it is known to have been done with. Whether that is all, `is_over` says.
    pub done: Vec<u64>,
    /// It returned. Otherwise its caller was killed before it could write that down.
    pub is_over: bool,
}

const RECORD: usize = 16;
const CALLED: u8 = 1;
const DID: u8 = 2;
const OVER: u8 = 3;

/// A worker's pen.
pub struct History {
    file: File,
}

impl History {
    pub fn create(path: &Path) -> Self {
        Self { file: File::create(path).expect("a side file") }
    }

    /// Does `f` up to `times` times between two writes, until it says `None`. A write for each time would be where
    /// nearly every kill hits.
    pub fn of(&mut self, call: Call, first: u64, times: u32, mut f: impl FnMut() -> Option<u64>) {
        self.write(&record(CALLED, call, times, first));
        let done = (0..times).map_while(|_| f()).flat_map(|number| record(DID, call, 0, number));
        let mut records: Vec<u8> = done.collect();
        records.extend(record(OVER, call, 0, 0));
        self.write(&records);
    }

    fn write(&mut self, records: &[u8]) {
        self.file.write_all(records).expect("the side file");
    }
}

fn record(what: u8, call: Call, times: u32, number: u64) -> [u8; RECORD] {
    let mut record = [0; RECORD];
    record[0] = what;
    record[1] = call as u8;
    record[4..8].copy_from_slice(&times.to_le_bytes());
    record[8..].copy_from_slice(&number.to_le_bytes());
    record
}

/// All that the worker of this file called.
pub fn read(path: &PathBuf) -> Vec<Entry> {
    let mut bytes = Vec::new();
    File::open(path).and_then(|mut file| file.read_to_end(&mut bytes)).expect("a side file");
    let mut entries: Vec<Entry> = Vec::new();
    for record in bytes.chunks_exact(RECORD) {
        let call = Call::ALL[usize::from(record[1])];
        let times = u32::from_le_bytes(record[4..8].try_into().expect("4 bytes"));
        let number = u64::from_le_bytes(record[8..].try_into().expect("8 bytes"));
        if record[0] == CALLED {
            entries.push(Entry { call, first: number, times, done: Vec::new(), is_over: false });
            continue;
        }
        let last = entries.last_mut().expect("a call before its return");
        assert_eq!(last.call, call);
        match record[0] {
            DID => last.done.push(number),
            _ => last.is_over = true,
        }
    }
    entries
}
