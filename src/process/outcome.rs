//! How a child ended, as a value.

use core::fmt;

use crate::sys::process::{Ending, signal_name};

/// How a [`Process`](crate::Process) ended.
#[doc(alias = "exitcode")]
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Outcome {
    /// Its function returned.
    Returned,
    /// Its function panicked, with this message.
    Panicked(String),
    /// It exited with this code before its function returned.
    Exited(i32),
    /// This signal ended it: 9 is `SIGKILL`, which is also what the kernel sends when memory runs out.
    Killed(i32),
    /// It could not run its function, or could not send the result, for this reason.
    Refused(String),
    /// It ended, but its status went to another waiter of this program (`wait(-1)`, or an ignored `SIGCHLD`).
    Untold,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Returned => write!(f, "returned"),
            Self::Panicked(message) => write!(f, "panicked: {message}"),
            Self::Exited(code) => write!(f, "exited with code {code}"),
            Self::Killed(signal) => match signal_name(*signal) {
                Some(name) => write!(f, "was killed by signal {signal} ({name})"),
                None => write!(f, "was killed by signal {signal}"),
            },
            Self::Refused(why) => write!(f, "could not do its work: {why}"),
            Self::Untold => write!(f, "ended, and another waiter of this program took its status"),
        }
    }
}

impl From<Ending> for Outcome {
    fn from(ending: Ending) -> Self {
        match ending {
            Ending::Exited(code) => Self::Exited(code),
            Ending::Killed(signal) => Self::Killed(signal),
            Ending::Untold => Self::Untold,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Outcome;

    #[test]
    fn outcomes_read_as_sentences() {
        assert_eq!(Outcome::Killed(9).to_string(), "was killed by signal 9 (SIGKILL)");
        assert_eq!(Outcome::Killed(63).to_string(), "was killed by signal 63");
        assert_eq!(Outcome::Panicked("no".into()).to_string(), "panicked: no");
        assert_eq!(Outcome::Exited(3).to_string(), "exited with code 3");
    }
}
