//! Whether memory ran out, when a child was killed.
//!
//! The kernel does not say it to a parent. It counts: in `memory.events` of the control group (`memory.oom_control` in old
//! hierarchies), and for the whole machine in `/proc/vmstat`; and it counts before it sends the signal. So a `SIGKILL` that
//! nobody here has sent, with a count that has grown since the last look, is taken for one of those. Each step of the count
//! explains one death.

use parking_lot::Mutex;
use std::path::{Path, PathBuf};

use crate::sys::fork::PerProcess;

struct Count {
    file: Option<PathBuf>,
    /// How many are known and explained.
    known: Mutex<u64>,
}

static COUNT: PerProcess<Count> = PerProcess::new();

/// Looks at the count for the first time; called before a child is told what to do.
pub(crate) fn watch() {
    let _ = COUNT.get_or_init(|| {
        let file = files().into_iter().find(|file| read(file).is_some());
        let known = file.as_deref().and_then(read).unwrap_or(0);
        Count { file, known: Mutex::new(known) }
    });
}

/// Whether the kernel has ended a process for memory that explains no other death yet. It explains this one then.
pub(crate) fn explains_a_death() -> bool {
    let Some(Count { file: Some(file), known }) = COUNT.get() else { return false };
    let now = read(file).unwrap_or(0);
    let mut known = known.lock();
    let is_new = now > *known;
    *known += u64::from(is_new);
    is_new
}

/// Where the count may stand, the narrowest first.
fn files() -> Vec<PathBuf> {
    let groups = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let of_group = |line: &str| {
        let mut parts = line.splitn(3, ':');
        let (controllers, path) = (parts.nth(1)?, parts.next()?.trim_start_matches('/'));
        let (mount, name) = match controllers {
            "" => ("/sys/fs/cgroup", "memory.events"),
            "memory" => ("/sys/fs/cgroup/memory", "memory.oom_control"),
            _ => return None,
        };
        // In a container the path may be the host's, and the group the root of what is mounted.
        Some([Path::new(mount).join(path).join(name), Path::new(mount).join(name)])
    };
    let groups = groups.lines().filter_map(of_group).flatten();
    groups.chain([PathBuf::from("/proc/vmstat")]).collect()
}

fn read(file: &Path) -> Option<u64> {
    count_in(&std::fs::read_to_string(file).ok()?)
}

/// All three files have a line `oom_kill N`.
fn count_in(text: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::count_in;

    #[test]
    fn the_count_is_found_in_all_three_files() {
        assert_eq!(count_in("low 0\nhigh 0\nmax 7\noom 2\noom_kill 3\noom_group_kill 1\n"), Some(3));
        assert_eq!(count_in("oom_kill_disable 0\nunder_oom 0\noom_kill 4\n"), Some(4));
        assert_eq!(count_in("pgfault 1\noom_kill 5\n"), Some(5));
        assert_eq!(count_in("low 0\n"), None);
    }
}
