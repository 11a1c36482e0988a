//! How a process ended, as a value.

use core::fmt;
use serde::{Deserialize, Serialize};

use crate::sys::process::signal_name;

/// The exit code of a child whose function returned, and that has closed the socket its answer goes by.
pub(crate) const CLOSED: i32 = 103;

/// How a [`Process`](crate::Process) ended, and what its function returned if it did.
///
/// # Examples
///
/// ```
/// use mutirao::{Exit, Process};
///
/// # fn main() -> mutirao::Result<()> {
/// # mutirao::init();
/// let child = Process::spawn(|n: u32| if n > 3 { panic!("{n} is too many") } else { n }, 7)?;
/// match child.exit()? {
///     Exit::Returned(n) => println!("{n}"),
///     Exit::Panicked { message, location, .. } => println!("{message}, in {location:?}"),
///     Exit::Killed { signal, out_of_memory } => println!("signal {signal}, memory ran out: {out_of_memory}"),
///     other => println!("it {other}"),
/// }
/// # Ok(()) }
/// ```
#[doc(alias = "exitcode")]
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Exit<R = ()> {
    /// Its function returned this.
    Returned(R),
    /// Its function panicked.
    Panicked {
        /// What the panic said.
        message: String,
        /// `file:line:column`, where it is known: not for a panic that was caught and raised again with other words.
        location: Option<String>,
        /// The call stack, if `RUST_BACKTRACE` asks for it in the child.
        backtrace: Option<String>,
    },
    /// It exited with this code before its function returned.
    Exited(i32),
    /// A signal ended it.
    Killed {
        /// Its number: 9 is `SIGKILL`, 11 `SIGSEGV`.
        signal: i32,
        /// The kernel ended a process because memory ran out, in this control group or, where that is not told, on this
        /// machine, and nobody here asked for the signal. A process that runs into a limit of its own ([`Resource`](crate::Resource))
        /// aborts instead, with `SIGABRT`.
        out_of_memory: bool,
    },
    /// It could not run its function, or could not send the result, for this reason.
    Refused(String),
    /// It ended, but its status went to another waiter of this program (`wait(-1)`, or an ignored `SIGCHLD`).
    Untold,
}

/// A panic, as it travels.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
pub(crate) struct Panic {
    pub(crate) message: String,
    pub(crate) location: Option<String>,
    pub(crate) backtrace: Option<String>,
}

impl<R> Exit<R> {
    /// Whether its function returned.
    pub fn is_returned(&self) -> bool {
        matches!(self, Self::Returned(_))
    }

    /// The same end of a process with another result; `None` if it has one.
    pub(crate) fn of_another<S>(&self) -> Option<Exit<S>> {
        Some(match self {
            Self::Returned(_) => return None,
            Self::Panicked { message, location, backtrace } => {
                Exit::Panicked { message: message.clone(), location: location.clone(), backtrace: backtrace.clone() }
            }
            Self::Exited(code) => Exit::Exited(*code),
            Self::Killed { signal, out_of_memory } => Exit::Killed { signal: *signal, out_of_memory: *out_of_memory },
            Self::Refused(why) => Exit::Refused(why.clone()),
            Self::Untold => Exit::Untold,
        })
    }
}

impl<R> fmt::Display for Exit<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Returned(_) => write!(f, "returned"),
            Self::Panicked { message, location: Some(place), .. } => write!(f, "panicked at {place}: {message}"),
            Self::Panicked { message, .. } => write!(f, "panicked: {message}"),
            Self::Exited(CLOSED) => {
                write!(f, "exited with code {CLOSED}, as one does that has closed the socket its result goes by")
            }
            Self::Exited(code) => write!(f, "exited with code {code}"),
            Self::Killed { signal, out_of_memory } => {
                write!(f, "was killed by signal {signal}")?;
                if let Some(name) = signal_name(*signal) {
                    write!(f, " ({name})")?;
                }
                if *out_of_memory { write!(f, " because memory ran out") } else { Ok(()) }
            }
            Self::Refused(why) => write!(f, "could not do its work: {why}"),
            Self::Untold => write!(f, "ended, and another waiter of this program took its status"),
        }
    }
}

impl From<Panic> for Exit {
    fn from(panic: Panic) -> Self {
        let Panic { message, location, backtrace } = panic;
        Self::Panicked { message, location, backtrace }
    }
}

#[cfg(test)]
mod tests {
    use super::Exit;

    #[test]
    fn exits_read_as_sentences() {
        let says = |exit: Exit, sentence: &str| assert_eq!(exit.to_string(), sentence);
        says(Exit::Killed { signal: 9, out_of_memory: false }, "was killed by signal 9 (SIGKILL)");
        says(Exit::Killed { signal: 63, out_of_memory: false }, "was killed by signal 63");
        says(
            Exit::Killed { signal: 9, out_of_memory: true },
            "was killed by signal 9 (SIGKILL) because memory ran out",
        );
        let panicked = |location| Exit::Panicked { message: "no".into(), location, backtrace: None };
        says(panicked(None), "panicked: no");
        says(panicked(Some("a.rs:1:2".into())), "panicked at a.rs:1:2: no");
        says(Exit::Exited(3), "exited with code 3");
    }
}
