//! Names that can be none, and what else may stand where a segment is looked for: each a typed error.

use crate::stage::{Dir, Watchdog};
use mutirao::{Error, Process, Segment, SegmentOptions, Trust};
use rustix::fs::{CWD, FileType, Mode};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Every way of asking for a name; all are refused, and none waits.
fn refusals(options: &SegmentOptions, name: &str) -> [Error; 4] {
    [
        options.create(name, 1 << 20).unwrap_err(),
        options.open(name).unwrap_err(),
        options.open_or_create(name, 1 << 20).unwrap_err(),
        options.unlink(name).unwrap_err(),
    ]
}

fn all(options: &SegmentOptions, name: &str, is: impl Fn(&Error) -> bool) {
    for error in refusals(options, name) {
        assert!(is(&error), "{error}");
        assert!(error.to_string().len() > 30, "a message that helps nobody: {error}");
    }
}

#[test]
fn a_name_that_can_be_none_is_refused() {
    let dir = Dir::new("names");
    let long = "x".repeat(300);
    for name in ["", "/shop", "a/b", "../shop", ".", "..", ".hidden", "a\0b", "two\nlines", &long] {
        all(&dir.options(), name, Error::is_invalid);
    }
    assert_eq!(dir.names(), [""; 0]);
    for name in ["a", "São João 🏗", "sem.x", "a.b", "-", &"y".repeat(255)] {
        dir.options().create(name, 0).unwrap();
    }
}

#[test]
fn what_else_has_the_name_is_told_apart_and_stays() {
    let _watchdog = Watchdog::new("what_else_has_the_name_is_told_apart_and_stays");
    let dir = Dir::new("else");
    let at = |name: &str| dir.path().join(name);
    std::fs::create_dir(at("directory")).unwrap();
    rustix::fs::mknodat(CWD, at("fifo"), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
    let segment = dir.options().create("segment", 0).unwrap();
    std::os::unix::fs::symlink(at("segment"), at("link")).unwrap();
    std::os::unix::fs::symlink(at("nowhere"), at("dangling")).unwrap();
    for (name, bytes) in [("empty", 0), ("text", 100), ("garbage", 10_000)] {
        std::fs::write(at(name), vec![b'x'; bytes]).unwrap();
        std::fs::set_permissions(at(name), std::fs::Permissions::from_mode(0o600)).unwrap();
    }
    let there = dir.names();
    for name in ["directory", "fifo", "socket", "link", "dangling", "empty", "text", "garbage"] {
        all(&dir.options(), name, Error::is_not_a_segment);
    }
    assert_eq!(dir.names(), there);
    drop(segment);
}

#[test]
fn what_others_may_write_is_not_trusted() {
    let dir = Dir::new("trust");
    let open_to_all = dir.options().mode(0o666);
    let segment = open_to_all.create("shop", 0).unwrap();
    let look = |path: PathBuf| {
        let options = Segment::options().directory(path);
        let by = |trust| options.clone().trust(trust).open("shop").map(drop).map_err(|e| e.is_denied());
        [
            by(Trust::Owner),
            by(Trust::Group),
            by(Trust::Any),
            options.clone().mode(0o666).open("shop").map(drop).map_err(|_| false),
        ]
    };
    let seen = Process::spawn(look, dir.path()).unwrap().join().unwrap();
    assert_eq!(seen, [Err(true), Err(true), Ok(()), Ok(())]);
    // Nor is it replaced by somebody who does not trust it.
    let create = |path: PathBuf| Segment::options().directory(path).create("shop", 0).unwrap_err().is_denied();
    assert!(Process::spawn(create, dir.path()).unwrap().join().unwrap());
    drop(segment);

    let _grouped = dir.options().mode(0o660).create("grouped", 0).unwrap();
    let by = |(path, trust): (PathBuf, bool)| {
        let trust = if trust { Trust::Group } else { Trust::Owner };
        Segment::options().directory(path).trust(trust).open("grouped").is_ok()
    };
    assert!(!Process::spawn(by, (dir.path(), false)).unwrap().join().unwrap());
    assert!(Process::spawn(by, (dir.path(), true)).unwrap().join().unwrap());
}

#[test]
fn the_mode_is_what_was_asked_whatever_the_umask() {
    let dir = Dir::new("umask");
    let make = |path: PathBuf| {
        let options = Segment::options().directory(&path);
        for umask in [0o000, 0o077, 0o777] {
            rustix::process::umask(Mode::from_raw_mode(umask));
            for mode in [0o600, 0o644, 0o666] {
                let options = options.clone().mode(mode);
                let _shop = options.create("shop", 0).unwrap();
                assert_eq!(std::fs::metadata(path.join("shop")).unwrap().permissions().mode() & 0o7777, mode);
            }
        }
    };
    Process::spawn(make, dir.path()).unwrap().join().unwrap();
    for mode in [0o400, 0o000, 0o4600, 0o1777] {
        assert!(dir.options().mode(mode).create("shop", 0).unwrap_err().is_invalid());
    }
}

/// Runs `look` in a child that is nobody.
fn as_nobody<R: serde::Serialize + serde::de::DeserializeOwned + 'static>(
    look: fn(PathBuf) -> R,
    path: PathBuf,
) -> Option<R> {
    if !rustix::process::geteuid().is_root() {
        eprintln!("not tried: only root can become somebody else");
        return None;
    }
    Some(Process::spawn(look, path).unwrap().join().unwrap())
}

pub fn become_nobody() {
    let nobody = 65534;
    // SAFETY: numbers only; the process is a child of the test's own, with one thread.
    let groups = unsafe { libc::setgroups(0, core::ptr::null()) };
    // SAFETY: as above.
    let group = unsafe { libc::setgid(nobody) };
    // SAFETY: as above.
    let user = unsafe { libc::setuid(nobody) };
    assert_eq!((groups, group, user), (0, 0, 0));
}

#[test]
fn who_has_no_permission_is_told_so() {
    let dir = Dir::new("nobody");
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let _ours = dir.options().create("shop", 0).unwrap();
    let look = |path: PathBuf| {
        become_nobody();
        let options = Segment::options().directory(path);
        let errors = refusals(&options, "shop");
        let new = options.create("new", 0).unwrap_err();
        errors.iter().chain([&new]).map(|e| (e.is_denied(), e.to_string())).collect::<Vec<_>>()
    };
    for (denied, message) in as_nobody(look, dir.path()).into_iter().flatten() {
        assert!(denied, "{message}");
    }
    assert_eq!(dir.names(), ["shop"]);
}

#[test]
fn a_foreign_owners_segment_is_not_trusted() {
    let dir = Dir::new("foreign");
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o1777)).unwrap();
    let make = |path: PathBuf| {
        become_nobody();
        let shop = Segment::options().directory(&path).lifetime(mutirao::Lifetime::Persistent).create("shop", 0);
        shop.map(drop).map_err(|e| e.to_string())
    };
    let Some(made) = as_nobody(make, dir.path()) else { return };
    made.unwrap();
    for error in [
        dir.options().open("shop").unwrap_err(),
        dir.options().create("shop", 0).unwrap_err(),
        dir.options().open_or_create("shop", 0).unwrap_err(),
    ] {
        assert!(error.is_denied() && error.to_string().contains("65534"), "{error}");
    }
    assert!(dir.options().trust(Trust::Any).open("shop").is_ok());
}

#[test]
fn what_is_not_there_is_not_found() {
    let dir = Dir::new("nothing");
    assert!(dir.options().open("shop").unwrap_err().is_not_found());
    assert!(dir.options().unlink("shop").unwrap_err().is_not_found());
    let nowhere = Segment::options().directory(dir.path().join("nowhere"));
    all(&nowhere, "shop", Error::is_not_found);
    std::fs::write(dir.path().join("file"), "").unwrap();
    let nonsense = Segment::options().directory(dir.path().join("file"));
    all(&nonsense, "shop", |error| error.is_not_a_segment() || error.is_not_found());
}

#[test]
fn sizes_and_numbers_beyond_the_machine_are_refused() {
    let dir = Dir::new("sizes");
    assert!(dir.options().create("shop", u64::MAX).unwrap_err().is_invalid());
    assert!(dir.options().create("shop", 1 << 46).unwrap_err().is_invalid());
    let error = dir.options().first(1 << 44).create("shop", 1 << 45).unwrap_err();
    assert!(error.is_out_of_memory(), "{error}");
    assert!(dir.options().first(2).create("shop", 1).unwrap_err().is_invalid());
    assert!(dir.options().objects(65_537).create("shop", 1).unwrap_err().is_invalid());
    for participants in [0, 257, u32::MAX] {
        assert!(dir.options().participants(participants).create("shop", 1).unwrap_err().is_invalid());
    }
    assert_eq!(dir.names(), [""; 0]);
    assert_eq!(dir.options().create("shop", 0).unwrap().len_max() % 4096, 0, "nothing is a size");
}

#[test]
fn truncated_and_scribbled_segments_are_errors() {
    let dir = Dir::new("scribbled");
    let path = dir.path().join("shop");
    let image = {
        let _shop = dir.options().lifetime(mutirao::Lifetime::Persistent).create("shop", 4096).unwrap();
        std::fs::read(&path).unwrap()
    };
    let open = |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        dir.options().open("shop")
    };
    for len in [0, 1, 511, 512, 4096, image.len() - 4096, image.len() - 1, image.len() + 1, image.len() + 4096] {
        let mut bytes = image.clone();
        bytes.resize(len, 0);
        let error = open(&bytes).unwrap_err();
        assert!(error.is_not_a_segment() || error.is_corrupt(), "{len}: {error}");
    }
    for at in 0..216 {
        let mut bytes = image.clone();
        bytes[at] ^= 0xff;
        if let Err(error) = open(&bytes) {
            assert!(error.is_not_a_segment() || error.is_corrupt() || error.is_wrong_version(), "{at}: {error}");
        }
    }
    assert!(open(&image).is_ok());
}

#[test]
fn more_participants_than_rows_are_refused() {
    let dir = Dir::new("rows");
    let _shop = dir.options().participants(1).create("shop", 0).unwrap();
    let come = |path: PathBuf| {
        let error = Segment::options().directory(path).open("shop").unwrap_err();
        (error.is_exhausted(), error.to_string())
    };
    let (exhausted, message) = Process::spawn(come, dir.path()).unwrap().join().unwrap();
    assert!(exhausted && message.contains("all 1 rows"), "{message}");
    assert_eq!(dir.names(), ["shop"]);
}

/// A small tmpfs of a test's own. None: only root can mount.
struct Small(PathBuf);

impl Small {
    fn new(dir: &Dir, size: &str) -> Option<Self> {
        let path = dir.path().join("small");
        std::fs::create_dir(&path).unwrap();
        let mounted = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size}"), "none"])
            .arg(&path)
            .status();
        if mounted.is_ok_and(|status| status.success()) {
            return Some(Self(path));
        }
        eprintln!("not tried: a file system can not be mounted here");
        None
    }

    fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_full_file_system_is_an_error_with_two_numbers() {
    let dir = Dir::new("full");
    let Some(small) = Small::new(&dir, "1m") else { return };
    let options = Segment::options().directory(small.path());
    let error = options.clone().first(8 << 20).create("shop", 8 << 20).unwrap_err();
    let numbers: Vec<u64> =
        error.to_string().split(|c: char| !c.is_ascii_digit()).filter_map(|n| n.parse().ok()).collect();
    assert!(error.is_out_of_memory(), "{error}");
    assert!(numbers.iter().any(|n| *n > 8 << 20) && numbers.iter().any(|n| (1..=1 << 20).contains(n)), "{error}");
    assert_eq!(std::fs::read_dir(small.path()).unwrap().count(), 0);

    // What fits is made; the file system is full then, and says so to the next one.
    let _shop = options.clone().first(512 << 10).create("shop", 8 << 20).unwrap();
    assert!(options.create("second", 8 << 20).unwrap_err().is_out_of_memory());
    assert_eq!(std::fs::read_dir(small.path()).unwrap().count(), 1);
}

#[test]
fn growth_that_fails_leaves_a_file_system_to_others() {
    let dir = Dir::new("large");
    let Some(small) = Small::new(&dir, "40m") else { return };
    let options = Segment::options().directory(small.path());
    let shop = options.create("shop", 100 << 20).unwrap();
    let before = shop.committed_len().unwrap();
    let error = mutirao::Array::<u64>::create(&shop, "large", 8 << 20).unwrap_err();
    assert!(error.is_out_of_memory(), "{error}");
    // A hint that can not be had is none.
    let plain = mutirao::Dict::<u32, mutirao::Plain<[u64; 64]>>::options().capacity(150_000).create_in(&shop).unwrap();
    assert!(plain.insert_new(&1, &mutirao::Plain([1; 64])).unwrap());
    assert!(shop.committed_len().unwrap() < before + (8 << 20), "{}", shop.committed_len().unwrap());
    options.clone().first(20 << 20).create("second", 100 << 20).unwrap();
    // What fits is had, in pages of whatever size.
    assert!(mutirao::Array::<u64>::create(&shop, "fits", 3 << 20).unwrap().get((3 << 20) - 1).is_ok());
}

#[test]
fn a_limit_of_file_sizes_is_an_error_and_no_signal() {
    let dir = Dir::new("limit");
    let make = |path: PathBuf| {
        use rustix::process::{Resource, Rlimit, setrlimit};
        let limit = Rlimit { current: Some(1 << 20), maximum: None };
        setrlimit(Resource::Fsize, limit).unwrap();
        let options = Segment::options().directory(path);
        let errors = [
            options.create("shop", 2 << 20).unwrap_err(),
            options.anonymous(2 << 20).unwrap_err(),
            mutirao::Array::<u64>::new(1 << 20).unwrap_err(),
        ];
        let shop = options.first(64 << 10).create("shop", 4 << 20).unwrap();
        let grown = mutirao::Array::<u64>::create(&shop, "large", 1 << 18).unwrap_err();
        errors.iter().chain([&grown]).map(|e| (e.is_out_of_memory(), e.to_string())).collect::<Vec<_>>()
    };
    for (out_of_memory, message) in Process::spawn(make, dir.path()).unwrap().join().unwrap() {
        assert!(out_of_memory, "{message}");
    }
    assert_eq!(dir.names(), [""; 0]);
}

#[test]
fn pages_that_are_mapped_at_once_and_larger_ones_are_had_where_there_are_any() {
    let dir = Dir::new("pages");
    for (prefault, huge) in [(true, false), (false, true), (true, true)] {
        let options = dir.options().prefault(prefault).huge_pages(huge);
        let shop = options.create("shop", 8 << 20).unwrap();
        let array = mutirao::Array::<u64>::create(&shop, "array", 1 << 18).unwrap();
        array.set((1 << 18) - 1, 7).unwrap();
        let look = |path: PathBuf| {
            let shop = Segment::options().directory(path).prefault(true).open("shop").unwrap();
            mutirao::Array::<u64>::open(&shop, "array").unwrap().get((1 << 18) - 1).unwrap()
        };
        assert_eq!(Process::spawn(look, dir.path()).unwrap().join().unwrap(), 7);
        let alone = options.anonymous(1 << 20).unwrap();
        assert_eq!(alone.inspect().participants.len(), 1);
    }
}

#[test]
fn a_segment_of_an_earlier_boot_is_not_used() {
    let dir = Dir::new("boot");
    let path = dir.path().join("shop");
    let uuid = dir.options().lifetime(mutirao::Lifetime::Persistent).create("shop", 0).unwrap().uuid();
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    file.write_all_at(&[1; 16], 40).unwrap();
    let error = dir.options().open("shop").unwrap_err();
    assert!(error.is_not_a_segment() && error.to_string().contains("unlink"), "{error}");
    assert!(dir.options().open_or_create("shop", 0).is_err(), "what persists is nobody's to replace");
    file.write_all_at(&1u32.to_ne_bytes(), 204).unwrap();
    assert_ne!(dir.options().open_or_create("shop", 0).unwrap().uuid(), uuid);
}
