//! Named segments and the deaths of those who make, open and leave them: whatever the moment, the next one finds a
//! segment that works, and in the end no name is left.
//!
//! `MUTIRAO_CYCLES` makes it longer: `MUTIRAO_CYCLES=10000 cargo test --test leftovers`. `MUTIRAO_SEED` repeats a run.

mutirao::testing::entry!();

#[path = "processes/stage.rs"]
#[allow(dead_code)]
mod stage;

use mutirao::{Lifetime, Process, Segment, Value};
use stage::{Meeting, report_to};
use std::path::PathBuf;
use std::time::{Duration, Instant};

const BYTES: u64 = 1 << 20;

fn from_environment(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Marsaglia's xorshift: enough to choose moments.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}

fn options(persistent: bool) -> mutirao::SegmentOptions {
    let lifetime = if persistent { Lifetime::Persistent } else { Lifetime::LastLeaves };
    Segment::options().objects(4).first(4096).lifetime(lifetime)
}

/// Makes, uses and leaves the segment again and again, and is killed somewhere in the midst of it.
fn come_and_go((name, persistent, path): (String, bool, PathBuf)) {
    let _stream = report_to(path, "here");
    loop {
        use_it(&name, persistent);
    }
}

fn use_it(name: &str, persistent: bool) {
    let segment = options(persistent).open_or_create(name, BYTES).unwrap();
    let count = Value::<u64>::open_or_create(&segment, "count", 0).unwrap();
    count.fetch_add(1);
}

/// The names that stand in `/dev/shm` and are ours.
fn names(prefix: &str) -> Vec<String> {
    let all = std::fs::read_dir("/dev/shm").unwrap().map(|entry| entry.unwrap().file_name());
    all.filter_map(|name| name.into_string().ok()).filter(|name| name.contains(prefix)).collect()
}

#[test]
fn create_kill_and_open_leave_nothing_behind() {
    let cycles = from_environment("MUTIRAO_CYCLES").unwrap_or(200);
    let seed = from_environment("MUTIRAO_SEED").unwrap_or_else(|| u64::from(std::process::id()) << 20 | 1);
    eprintln!("MUTIRAO_SEED={seed}");
    let mut random = Random(seed);
    let prefix = format!("mutirao-cycles-{}", std::process::id());
    let meeting = Meeting::new("cycles");
    for cycle in 0..cycles {
        // Some names are met again after many deaths, some kinds of life mixed among them.
        let persistent = random.below(4) == 0;
        let name = format!("{prefix}-{}{}", if persistent { "kept" } else { "plain" }, random.below(3));
        let others = 1 + random.below(2);
        let children: Vec<_> = (0..others)
            .map(|_| Process::spawn(come_and_go, (name.clone(), persistent, meeting.path())).unwrap())
            .collect();
        let _streams: Vec<_> = children.iter().map(|_| meeting.next()).collect();
        let moment = Instant::now() + Duration::from_nanos(random.below(600_000));
        while Instant::now() < moment {
            std::hint::spin_loop();
        }
        for child in &children {
            child.kill().unwrap();
        }
        // At once, while the dead ones may still be on their way out; and once more when they are gone.
        use_it(&name, persistent);
        for child in children {
            assert!(child.join().unwrap_err().is_child_failure(), "cycle {cycle}");
        }
        use_it(&name, persistent);
        if persistent {
            assert!(names(&prefix).contains(&name), "cycle {cycle}: a persistent name went away");
        } else {
            assert!(!names(&prefix).contains(&name), "cycle {cycle}: the last one left the name");
        }
    }
    for name in names(&prefix) {
        Segment::unlink(&name).unwrap();
    }
    assert_eq!(names(&prefix), [""; 0]);
}
