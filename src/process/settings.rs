//! What a child does to itself before anything else.

use serde::{Deserialize, Serialize};

use crate::sys::limits;

/// What a process can have a limit of: `ulimit` in a shell, setrlimit(2).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Resource {
    /// Bytes of address space. Segments count with the size they reserve, 1 GiB for many objects.
    AddressSpace,
    /// Bytes of private memory that is written to: the one to bound what a child allocates.
    Data,
    /// Bytes of a core dump.
    Core,
    /// Seconds of CPU time; at the limit comes `SIGXCPU`.
    CpuTime,
    /// Bytes of a file that it writes.
    FileSize,
    /// Open descriptors.
    OpenFiles,
    /// Processes and threads of its user.
    Processes,
    /// Bytes of the stack of its first thread.
    Stack,
}

impl Resource {
    pub(crate) fn number(self) -> u32 {
        match self {
            Self::AddressSpace => limits::AS,
            Self::Data => limits::DATA,
            Self::Core => limits::CORE,
            Self::CpuTime => limits::CPU,
            Self::FileSize => limits::FSIZE,
            Self::OpenFiles => limits::NOFILE,
            Self::Processes => limits::NPROC,
            Self::Stack => limits::STACK,
        }
    }

    fn of_number(number: u32) -> Option<Self> {
        use Resource::*;
        [AddressSpace, Data, Core, CpuTime, FileSize, OpenFiles, Processes, Stack]
            .into_iter()
            .find(|resource| resource.number() == number)
    }
}

/// What a child does to itself before anything else.
#[derive(Serialize, Deserialize, Clone, Default, Debug)]
pub(crate) struct Settings {
    pub(crate) name: Option<String>,
    pub(crate) affinity: Option<Vec<u32>>,
    pub(crate) limits: Vec<(u32, Option<u64>)>,
}

impl Settings {
    /// The error says what could not be had.
    pub(crate) fn apply(&self) -> Result<(), String> {
        if let Some(cpus) = &self.affinity {
            limits::set_affinity(cpus).map_err(|error| format!("it may not run on the CPUs {cpus:?}: {error}"))?;
        }
        for (number, value) in &self.limits {
            limits::set_limit(*number, *value, *value).map_err(|error| {
                let resource = Resource::of_number(*number);
                format!("the limit of {resource:?} can not be {value:?}: {error}")
            })?;
        }
        Ok(())
    }
}
