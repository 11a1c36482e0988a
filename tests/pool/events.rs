//! What a subscriber of `tracing` is told.

use mutirao::Pool;
use std::fmt::Debug;
use std::sync::{Arc, Mutex, OnceLock};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

use crate::stage::{Mark, Watchdog, is_first, kill_self, two_workers};

/// Writes each event as a line, and looks at the pool in the middle of it.
#[derive(Clone, Default)]
struct Lines {
    lines: Arc<Mutex<Vec<String>>>,
    pool: Arc<OnceLock<Pool>>,
}

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0 += &format!("{field}={value:?} ");
    }
}

impl Subscriber for Lines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "mutirao::pool"
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let deaths = self.pool.get().map_or(0, |pool| pool.stats().deaths);
        let mut line = Line(format!("{} ({deaths} deaths) ", event.metadata().level()));
        event.record(&mut line);
        self.lines.lock().unwrap().push(line.0);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

#[test]
fn a_subscriber_is_told_of_deaths_and_retries() {
    let _watchdog = Watchdog::new("a_subscriber_is_told_of_deaths_and_retries");
    let (mark, seen) = (Mark::new("told"), Lines::default());
    tracing::subscriber::with_default(seen.clone(), || {
        let pool = two_workers().build().unwrap();
        assert!(seen.pool.set(pool.clone()).is_ok());
        let once = |path: String| if is_first(&path) { kill_self() } else { 7 };
        assert_eq!(pool.map(once, [mark.path()]).unwrap(), [7]);
    });
    let lines = seen.lines.lock().unwrap();
    let has = |parts: &[&str]| lines.iter().any(|line| parts.iter().all(|part| line.contains(part)));
    assert!(has(&["DEBUG", "worker started", "post=0", "pid="]), "{lines:?}");
    assert!(has(&["WARN (1 deaths)", "worker died", "signal 9"]), "{lines:?}");
    assert!(has(&["INFO", "task tried again", "job=1", "index=0", "deaths=1", "failures=0"]), "{lines:?}");
}
