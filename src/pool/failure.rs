//! Why a task has no result.

use core::fmt;
use core::time::Duration;

use crate::error::{Error, Kind};
use crate::process::batch::Failure;

/// Which task: the how manieth of which call of the pool.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct TaskId {
    /// The how manieth `submit`, `map`, ... of the pool, from 1.
    pub job: u64,
    /// Its place among the items of that call, from 0; 0 for `submit`.
    pub index: u64,
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "task {} of job {}", self.index, self.job)
    }
}

/// What is known of a task whose worker died of it.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct PostMortem {
    /// The task that was under way.
    pub task: TaskId,
    /// How often it was tried; each time its worker died.
    pub attempts: u32,
    /// The process id of the last worker.
    pub pid: u32,
    /// The signal that ended the last worker, if one did.
    pub signal: Option<i32>,
    /// How the last worker ended, as a sentence.
    pub how: String,
    /// Whether memory ran out, as far as can be told.
    pub out_of_memory: bool,
    /// What the last worker [logged](crate::log_line) at its end.
    pub last_log_lines: Vec<String>,
}

impl fmt::Display for PostMortem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let times = if self.attempts == 1 { "once" } else { "each time" };
        write!(f, "{} was tried {} times, and its worker died {times}: ", self.task, self.attempts)?;
        write!(f, "process {} {}", self.pid, self.how)?;
        if self.out_of_memory && !self.how.contains("memory") {
            write!(f, ", since memory ran out")?;
        }
        match self.last_log_lines.last() {
            Some(line) => write!(f, "; its last line: {line}"),
            None => Ok(()),
        }
    }
}

/// Why a task has no result.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum TaskError {
    /// Its function panicked.
    Panicked {
        /// Which task.
        task: TaskId,
        /// What the panic said.
        message: String,
        /// File, line and column.
        location: Option<String>,
        /// How often it was tried.
        attempts: u32,
    },
    /// Its function returned an error, in [`try_map`](crate::Pool::try_map) and [`try_submit`](crate::Pool::try_submit).
    Failed {
        /// Which task.
        task: TaskId,
        /// What the error said.
        message: String,
        /// How often it was tried.
        attempts: u32,
    },
    /// Its worker died of it, as often as it was tried.
    WorkerDied(PostMortem),
    /// It took longer than the pool allows, and its worker was killed.
    TimedOut {
        /// Which task.
        task: TaskId,
        /// What was allowed.
        allowed: Duration,
    },
    /// It was cancelled, or the pool ended before it was done.
    Cancelled {
        /// Which task.
        task: TaskId,
    },
    /// Its arguments or its result could not be encoded or decoded, or did not fit into memory.
    NotPortable {
        /// Which task.
        task: TaskId,
        /// What, and why.
        why: String,
    },
    /// No worker could be started.
    NoWorkers {
        /// Which task.
        task: TaskId,
        /// Why not.
        why: String,
    },
}

impl TaskError {
    /// Which task.
    pub fn task(&self) -> TaskId {
        match self {
            Self::WorkerDied(post_mortem) => post_mortem.task,
            Self::Panicked { task, .. }
            | Self::Failed { task, .. }
            | Self::TimedOut { task, .. }
            | Self::Cancelled { task }
            | Self::NotPortable { task, .. }
            | Self::NoWorkers { task, .. } => *task,
        }
    }

    /// Whether it was cancelled, or the pool ended before it was done.
    pub fn is_cancelled(&self) -> bool {
        matches!(self, Self::Cancelled { .. })
    }

    pub(crate) fn of(task: TaskId, failure: Failure, attempts: u32) -> Self {
        let not_portable = |what: &str, why: String| Self::NotPortable { task, why: format!("{what}: {why}") };
        match failure {
            Failure::Panicked { message, location } => Self::Panicked { task, message, location, attempts },
            Failure::Failed(message) => Self::Failed { task, message, attempts },
            Failure::Arguments(why) => not_portable("its arguments could not be decoded", why),
            Failure::Result(why) => not_portable("its result could not be sent", why),
            Failure::Function(why) => not_portable("its function could not be found", why),
        }
    }
}

impl fmt::Display for TaskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Panicked { task, message, location: Some(location), .. } => {
                write!(f, "{task} panicked at {location}: {message}")
            }
            Self::Panicked { task, message, .. } => write!(f, "{task} panicked: {message}"),
            Self::Failed { task, message, .. } => write!(f, "{task} failed: {message}"),
            Self::WorkerDied(post_mortem) => post_mortem.fmt(f),
            Self::TimedOut { task, allowed } => write!(f, "{task} took longer than {allowed:?}; its worker was killed"),
            Self::Cancelled { task } => write!(f, "{task} was cancelled"),
            Self::NotPortable { task, why } => write!(f, "{task}: {why}"),
            Self::NoWorkers { task, why } => write!(f, "{task} has nobody to run it: {why}"),
        }
    }
}

impl core::error::Error for TaskError {}

impl From<TaskError> for Error {
    fn from(error: TaskError) -> Self {
        Kind::Task { how: error.to_string(), cancelled: error.is_cancelled() }.into()
    }
}
