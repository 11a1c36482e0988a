//! What is left of workers that were started and killed: nothing.

use mutirao::{Pool, Process, Zygote};
use rustix::process::{Resource, Rlimit, setrlimit};
use std::ffi::CStr;

use crate::stage::{Watchdog, kill_self};

/// What a process has, and what there is in its name.
#[derive(PartialEq, Debug)]
struct Belongings {
    /// What each descriptor is: a file's name, and what the file without a name is called.
    descriptors: Vec<String>,
    /// Those that nobody took away.
    children: Vec<String>,
    /// Segments that are mapped.
    mapped: Vec<String>,
    /// Names in shared memory, and temporary files.
    files: Vec<String>,
    threads: usize,
}

fn names(dir: &str) -> Vec<String> {
    std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

/// From here on nobody else names anything where this thread and its children do. False: only the superuser can have that.
fn have_own_shared_memory() -> bool {
    // SAFETY: the calling thread alone gets a view of the file systems of its own.
    if unsafe { libc::unshare(libc::CLONE_NEWNS) } != 0 {
        return false;
    }
    let mount = |what: &CStr, at: &CStr, flags| {
        // SAFETY: the names end with a zero, and there is no data.
        unsafe { libc::mount(what.as_ptr(), at.as_ptr(), what.as_ptr(), flags, std::ptr::null()) == 0 }
    };
    mount(c"none", c"/", libc::MS_REC | libc::MS_PRIVATE) && mount(c"tmpfs", c"/dev/shm", 0)
}

fn belongings() -> Belongings {
    let what = |number: &String| std::fs::read_link(format!("/proc/self/fd/{number}")).ok();
    let mut descriptors: Vec<_> =
        names("/proc/self/fd").iter().filter_map(what).map(|path| path.display().to_string()).collect();
    // Pipes and sockets have numbers of their own each.
    descriptors.iter_mut().for_each(|name| name.truncate(name.find(":[").unwrap_or(name.len())));
    descriptors.retain(|name| !name.starts_with("/proc/"));
    descriptors.sort();
    let threads = std::fs::read_dir("/proc/self/task").unwrap();
    let children = threads.filter_map(|thread| std::fs::read_to_string(thread.ok()?.path().join("children")).ok());
    let children = children.flat_map(|line| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>()).collect();
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let mut mapped: Vec<_> = maps.lines().filter_map(|line| Some(line[line.find("/memfd:")?..].to_owned())).collect();
    mapped.sort();
    let mut files = names("/dev/shm");
    files.extend(names(std::env::temp_dir().to_str().unwrap()));
    let threads = std::fs::read_dir("/proc/self/task").unwrap().count();
    Belongings { descriptors, children, mapped, files, threads }
}

/// One worker for each task, and every third is killed in the middle of it.
fn churn(workers: u32) -> u64 {
    let pool = Pool::builder().workers(2).max_tasks_per_worker(1).retries_after_death(0).chunk_size(1).build().unwrap();
    let work = |n: u32| if n.is_multiple_of(3) { kill_self() } else { n };
    let results = pool.map_results(work, 0..workers);
    assert!((0..).zip(&results).all(|(n, result)| result.is_err() == u32::is_multiple_of(n, 3)));
    pool.stats().started
}

/// Alone in a process, where no other test opens anything.
fn churn_alone(workers: u32) -> u64 {
    let is_alone = have_own_shared_memory();
    churn(6); // what is made once is made here
    let before = belongings();
    let started = churn(workers);
    let after = belongings();
    assert!(after.children.is_empty(), "{after:?}");
    if is_alone {
        assert!(after.files.is_empty(), "{after:?}");
        assert_eq!(before, after);
    } else {
        println!("what others have in /dev/shm is not told from ours");
        assert_eq!(
            (before.descriptors, before.mapped, before.threads),
            (after.descriptors, after.mapped, after.threads)
        );
    }
    started
}

/// The long form is 10 000: `MUTIRAO_WORKERS=10000 cargo test --release --test pool leftovers`.
#[test]
fn nothing_is_left_of_workers_that_were_killed() {
    let workers = std::env::var("MUTIRAO_WORKERS").map_or(100, |workers| workers.parse().unwrap());
    let _watchdog = (workers <= 1000).then(|| Watchdog::new("nothing_is_left_of_workers_that_were_killed"));
    let temporary = std::env::temp_dir().join(format!("mutirao-leftovers-{}", std::process::id()));
    std::fs::create_dir(&temporary).unwrap();
    let alone = Process::options().env("TMPDIR", temporary.to_str().unwrap());
    let started = alone.spawn(churn_alone, workers).unwrap().join().unwrap();
    std::fs::remove_dir(&temporary).expect("nothing in it");
    println!("{started} workers");
    assert!(started >= u64::from(workers));
}

/// The first worker is there before the pool's memory is.
#[test]
fn nothing_is_left_of_a_pool_without_room() {
    let _watchdog = Watchdog::new("nothing_is_left_of_a_pool_without_room");
    let work = |by_zygote: bool| {
        let zygote = by_zygote.then(|| Zygote::start().unwrap());
        let made = || match &zygote {
            Some(zygote) => Pool::builder().workers(2).zygote(zygote).build(),
            None => Pool::builder().workers(2).build(),
        };
        let limit = |bytes| setrlimit(Resource::Fsize, Rlimit { current: Some(bytes), maximum: None }).unwrap();
        let fails = || {
            limit(64 << 10);
            let error = made().unwrap_err();
            assert!(error.is_out_of_memory(), "{error}");
            limit(1 << 40);
            // Whoever looks after children that nobody has a handle of may need a moment.
            while belongings().children.len() > usize::from(by_zygote) {
                std::thread::yield_now();
            }
        };
        fails(); // what is made once is made here
        let before = belongings();
        (0..20).for_each(|_| fails());
        let after = belongings();
        assert_eq!((&before.descriptors, &before.mapped), (&after.descriptors, &after.mapped));
        assert_eq!(made().unwrap().map(|n: u32| n + 1, 0..9).unwrap(), (1..10).collect::<Vec<_>>());
    };
    for by_zygote in [false, true] {
        Process::spawn(work, by_zygote).unwrap().join().unwrap();
    }
}
