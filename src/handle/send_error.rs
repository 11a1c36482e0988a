//! What a queue gives back when it takes no item.

use crate::error::Error;
use core::fmt;

/// An item that was not sent, and why.
pub struct SendError<T> {
    item: T,
    error: Error,
}

impl<T> SendError<T> {
    pub(crate) fn new(item: T, error: Error) -> Self {
        Self { item, error }
    }

    /// The item.
    pub fn into_inner(self) -> T {
        self.item
    }

    /// The item and the reason.
    pub fn into_parts(self) -> (T, Error) {
        (self.item, self.error)
    }

    /// The reason.
    pub fn error(&self) -> &Error {
        &self.error
    }

    /// There was no room, and waiting was not asked for.
    pub fn is_full(&self) -> bool {
        self.error.is_would_block()
    }

    /// The queue was closed.
    pub fn is_closed(&self) -> bool {
        self.error.is_closed()
    }

    /// There was no room until the deadline.
    pub fn is_timeout(&self) -> bool {
        self.error.is_timeout()
    }

    /// There is no room, and every registered receiver is gone.
    pub fn is_disconnected(&self) -> bool {
        self.error.is_disconnected()
    }

    /// The queue was removed from its segment.
    pub fn is_removed(&self) -> bool {
        self.error.is_removed()
    }

    /// The item does not fit a cell.
    pub fn is_too_large(&self) -> bool {
        self.error.is_too_large()
    }
}

impl<T> From<SendError<T>> for Error {
    fn from(error: SendError<T>) -> Self {
        error.error
    }
}

impl<T> fmt::Debug for SendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SendError").field("error", &self.error).finish_non_exhaustive()
    }
}

impl<T> fmt::Display for SendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.error, f)
    }
}

impl<T> std::error::Error for SendError<T> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.error)
    }
}
