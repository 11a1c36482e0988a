//! What a subscriber of `tracing` is told of a pool, with that feature: workers that start and die, tasks that are tried
//! again. Noted under the pool's lock, told without it, so that a subscriber may use the pool.

use crate::pool::failure::TaskId;

/// Something that happened to a pool.
#[cfg_attr(not(feature = "tracing"), expect(dead_code, reason = "read where it is told"))]
pub(crate) enum Event {
    Started { post: usize, pid: u32 },
    Died { post: usize, pid: u32, how: String },
    Retried { task: TaskId, calls: u32, deaths: u32, failures: u32 },
}

/// What happened and was not told yet. Nothing without the feature.
#[derive(Default)]
pub(crate) struct Events(#[cfg(feature = "tracing")] Vec<Event>);

#[cfg(feature = "tracing")]
impl Events {
    pub(crate) fn note(&mut self, event: impl FnOnce() -> Event) {
        self.0.push(event());
    }

    pub(crate) fn tell(self) {
        for event in self.0 {
            match event {
                Event::Started { post, pid } => tracing::debug!(target: "mutirao::pool", post, pid, "worker started"),
                Event::Died { post, pid, how } => {
                    tracing::warn!(target: "mutirao::pool", post, pid, how, "worker died");
                }
                Event::Retried { task: TaskId { job, index }, calls, deaths, failures } => {
                    tracing::info!(target: "mutirao::pool", job, index, calls, deaths, failures, "task tried again");
                }
            }
        }
    }
}

#[cfg(not(feature = "tracing"))]
impl Events {
    pub(crate) fn note(&mut self, _: impl FnOnce() -> Event) {}

    pub(crate) fn tell(self) {}
}
