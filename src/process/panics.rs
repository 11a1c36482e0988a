//! What a child tells of its panic: the words, the place, the call stack.
//!
//! Place and stack are known to the panic hook only, and whoever catches the panic has only its words. So the hook keeps
//! what it saw last, and it counts if the words are the same.

use core::any::Any;
use parking_lot::Mutex;
use std::backtrace::{Backtrace, BacktraceStatus};
use std::panic;
use std::sync::Once;

use crate::process::exit::Panic;

static SEEN: Mutex<Option<Panic>> = Mutex::new(None);

/// Sees all panics of this process from here on, before the hook that was there.
pub(crate) fn watch() {
    static ONCE: Once = Once::new();
    ONCE.call_once(set_hook);
}

fn set_hook() {
    let before = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        let backtrace = Backtrace::capture();
        let is_wanted = backtrace.status() == BacktraceStatus::Captured;
        let seen = Panic {
            message: message_of(info.payload()),
            location: info.location().map(|place| place.to_string()),
            backtrace: is_wanted.then(|| backtrace.to_string()),
        };
        // Never waits: a panic may come at any place.
        if let Some(mut last) = SEEN.try_lock() {
            *last = Some(seen);
        }
        before(info);
    }));
}

/// What is known of a panic that was caught.
pub(crate) fn describe(payload: &(dyn Any + Send)) -> Panic {
    let message = message_of(payload);
    let seen = SEEN.try_lock().and_then(|last| last.clone()).filter(|seen| seen.message == message);
    seen.unwrap_or(Panic { message, location: None, backtrace: None })
}

fn message_of(payload: &(dyn Any + Send)) -> String {
    if let Some(message) = payload.downcast_ref::<&'static str>() {
        (*message).into()
    } else if let Some(message) = payload.downcast_ref::<String>() {
        message.clone()
    } else {
        "with a value that is not text".into()
    }
}
