//! A fence in every process that asked for it, paid by the one that goes to sleep.

use crate::sys::fork::PerProcess;
use rustix::thread::{MembarrierCommand, membarrier};

/// Asks to take part in the fences of others. A process whose publishers skip their fence must have got `true`. Asked
/// once in each process.
pub fn register() -> bool {
    static REGISTERED: PerProcess<bool> = PerProcess::new();
    let ask = || membarrier(MembarrierCommand::RegisterGlobalExpedited).is_ok();
    REGISTERED.get_or_init(ask).map_or_else(|_| ask(), |(_, registered)| *registered)
}

/// A full fence here and on every processor that runs a registered process. False: the system has no such call.
pub fn heavy() -> bool {
    membarrier(MembarrierCommand::GlobalExpedited).is_ok()
}

#[cfg(test)]
mod tests {
    #[test]
    fn whoever_may_register_may_fence() {
        assert_eq!(super::register(), super::heavy());
    }
}
