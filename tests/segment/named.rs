//! Segments met by name: made, opened, left, taken away, replaced.

use crate::stage::Dir;
use mutirao::{Lifetime, Process, Segment, SegmentOptions};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

fn options(dir: &Path) -> SegmentOptions {
    Segment::options().directory(dir)
}

#[test]
fn what_is_created_is_found_by_its_name_alone() {
    let dir = Dir::new("found");
    let made = dir.options().create("shop", 1 << 20).unwrap();
    let see = |path: PathBuf| options(&path).open("shop").unwrap().uuid();
    assert_eq!(Process::spawn(see, dir.path()).unwrap().join().unwrap(), made.uuid());
    assert_eq!(dir.names(), ["shop"]);
    let stat = std::fs::metadata(dir.path().join("shop")).unwrap();
    assert_eq!((stat.mode() & 0o7777, stat.len()), (0o600, made.len()));
}

#[test]
fn without_a_directory_it_is_posix_shared_memory() {
    let name = format!("mutirao-test-{}", std::process::id());
    let made = Segment::create(&name, 1 << 20).unwrap();
    assert_eq!(std::fs::metadata(format!("/dev/shm/{name}")).unwrap().len(), made.len());
    assert!(Segment::create(&name, 1 << 20).unwrap_err().is_exists());
    assert_eq!(Segment::open(&name).unwrap().uuid(), made.uuid());
    assert_eq!(Segment::open_or_create(&name, 1).unwrap().uuid(), made.uuid());
    Segment::unlink(&name).unwrap();
    assert!(Segment::open(&name).unwrap_err().is_not_found());
}

#[test]
fn the_name_goes_with_the_last_participant() {
    let dir = Dir::new("last");
    let made = dir.options().create("shop", 0).unwrap();
    let stay = |(path, meeting): (PathBuf, PathBuf)| {
        let _shop = options(&path).open("shop").unwrap();
        crate::stage::wait_for_hang_up(crate::stage::report_to(meeting, "in"));
    };
    let meeting = crate::stage::Meeting::new("last");
    let child = Process::spawn(stay, (dir.path(), meeting.path())).unwrap();
    let (stream, _) = meeting.next();
    drop(made);
    assert_eq!(dir.names(), ["shop"], "somebody is still there");
    drop(stream);
    child.join().unwrap();
    assert_eq!(dir.names(), [""; 0]);
}

#[test]
fn a_clone_keeps_the_name_and_a_persistent_one_stays() {
    let dir = Dir::new("clone");
    let made = dir.options().create("shop", 0).unwrap();
    let clone = made.clone();
    drop(made);
    assert_eq!(dir.names(), ["shop"]);
    drop(clone);
    assert_eq!(dir.names(), [""; 0]);

    let lasting = dir.options().lifetime(Lifetime::Persistent);
    let uuid = lasting.create("shop", 0).unwrap().uuid();
    assert_eq!(dir.names(), ["shop"]);
    assert_eq!(dir.options().open("shop").unwrap().uuid(), uuid);
    assert!(dir.options().create("shop", 0).unwrap_err().is_exists());
    assert_eq!(dir.options().open_or_create("shop", 0).unwrap().uuid(), uuid);
    dir.options().unlink("shop").unwrap();
    assert_eq!(dir.names(), [""; 0]);
}

#[test]
fn an_unlinked_segment_goes_on_and_its_name_is_free() {
    let dir = Dir::new("unlinked");
    let old = dir.options().create("shop", 1 << 20).unwrap();
    dir.options().unlink("shop").unwrap();
    assert!(dir.options().unlink("shop").unwrap_err().is_not_found());
    let new = dir.options().create("shop", 1 << 20).unwrap();
    assert_ne!(old.uuid(), new.uuid());
    assert_eq!(old.inspect().participants.len(), 1);
    drop(old);
    assert_eq!(dir.names(), ["shop"], "who leaves the old one does not take the new one's name");
    assert_eq!(dir.options().open("shop").unwrap().uuid(), new.uuid());
}

/// Creates a segment and dies in it.
fn create_and_die((path, lifetime): (PathBuf, bool)) {
    let lifetime = if lifetime { Lifetime::Persistent } else { Lifetime::LastLeaves };
    let shop = options(&path).lifetime(lifetime).create("shop", 1 << 20).unwrap();
    std::fs::write(path.join("uuid"), shop.uuid()).unwrap();
    std::process::abort();
}

fn left_by_the_dead(dir: &Dir, persistent: bool) -> [u8; 16] {
    assert!(Process::spawn(create_and_die, (dir.path(), persistent)).unwrap().join().is_err());
    let uuid = std::fs::read(dir.path().join("uuid")).unwrap();
    std::fs::remove_file(dir.path().join("uuid")).unwrap();
    assert_eq!(dir.names(), ["shop"]);
    uuid.try_into().unwrap()
}

#[test]
fn what_the_dead_left_is_adopted() {
    for persistent in [false, true] {
        let dir = Dir::new("adopted");
        let uuid = left_by_the_dead(&dir, persistent);
        let open = if persistent { dir.options().open("shop") } else { dir.options().open_or_create("shop", 0) };
        let shop = open.unwrap();
        assert_eq!(shop.uuid(), uuid);
        let report = shop.inspect();
        assert_eq!((report.participants.len(), report.deaths), (1, 1), "the dead one's row is settled:\n{report}");
        drop(shop);
        assert_eq!(dir.names().len(), usize::from(persistent));
    }
}

#[test]
fn what_the_dead_left_is_replaced_by_who_creates_anew() {
    let dir = Dir::new("replaced");
    let uuid = left_by_the_dead(&dir, false);
    let shop = dir.options().create("shop", 0).unwrap();
    assert_ne!(shop.uuid(), uuid);
    drop(shop);
    assert_eq!(dir.names(), [""; 0]);

    left_by_the_dead(&dir, true);
    assert!(dir.options().create("shop", 0).unwrap_err().is_exists(), "a persistent one is nobody's to replace");
}

#[test]
fn a_damaged_segment_is_replaced_only_when_nobody_lives_in_it() {
    use std::os::unix::fs::FileExt;
    let dir = Dir::new("damaged");
    let uuid = left_by_the_dead(&dir, false);
    let file = std::fs::File::options().write(true).open(dir.path().join("shop")).unwrap();
    file.write_all_at(&9u32.to_ne_bytes(), 8).unwrap(); // another version
    assert!(dir.options().open("shop").unwrap_err().is_wrong_version());
    let new = dir.options().open_or_create("shop", 0).unwrap();
    assert_ne!(new.uuid(), uuid);

    let file = std::fs::File::options().write(true).open(dir.path().join("shop")).unwrap();
    file.write_all_at(&[0xff; 8], 80).unwrap(); // sizes
    let spoiled = |path: PathBuf| options(&path).open_or_create("shop", 0).unwrap_err().is_corrupt();
    assert!(Process::spawn(spoiled, dir.path()).unwrap().join().unwrap());
    assert_eq!(dir.names(), ["shop"]);
}

#[test]
fn several_who_open_or_create_at_once_meet() {
    let dir = Dir::new("meet");
    let meeting = crate::stage::Meeting::new("meet");
    let come = |(path, meeting): (PathBuf, PathBuf)| {
        let shop = options(&path).open_or_create("shop", 1 << 20).unwrap();
        let uuid = u128::from_be_bytes(shop.uuid());
        crate::stage::wait_for_hang_up(crate::stage::report_to(meeting, &uuid.to_string()));
    };
    for _ in 0..5 {
        let children: Vec<_> = (0..6).map(|_| Process::spawn(come, (dir.path(), meeting.path())).unwrap()).collect();
        let (streams, uuids): (Vec<_>, Vec<_>) = (0..6).map(|_| meeting.next()).unzip();
        assert!(uuids.iter().all(|uuid| *uuid == uuids[0]), "{uuids:?}");
        drop(streams);
        children.into_iter().for_each(|child| child.join().unwrap());
        assert_eq!(dir.names(), [""; 0]);
    }
}

/// Opens and leaves, over and over: now as the last one, now not.
fn come_and_go((path, rounds, seed): (PathBuf, u32, u32)) {
    let mut random = seed | 1;
    for _ in 0..rounds {
        random = random.wrapping_mul(747_796_405).wrapping_add(2_891_336_453);
        let shop = match random >> 30 {
            0 => options(&path).open("shop"),
            1 => options(&path).create("shop", 64 << 10),
            2 => options(&path).unlink("shop").and_then(|()| options(&path).open("shop")),
            _ => options(&path).open_or_create("shop", 64 << 10),
        };
        match shop {
            Ok(shop) => assert!(shop.inspect().participants.iter().any(|who| who.is_me)),
            Err(error) => assert!(error.is_not_found() || error.is_exists(), "seed {seed}: {error}"),
        }
    }
}

#[test]
fn openers_creators_and_leavers_race_and_leave_nothing() {
    let _watchdog = crate::stage::Watchdog::new("openers_creators_and_leavers_race_and_leave_nothing");
    let dir = Dir::new("race");
    let children: Vec<_> = (0..4).map(|seed| Process::spawn(come_and_go, (dir.path(), 500, seed)).unwrap()).collect();
    children.into_iter().for_each(|child| child.join().unwrap());
    assert_eq!(dir.names(), [""; 0]);
}

#[test]
fn creators_killed_anywhere_leave_nothing_half_made() {
    let _watchdog = crate::stage::Watchdog::new("creators_killed_anywhere_leave_nothing_half_made");
    let dir = Dir::new("killed");
    for round in 0..40 {
        let child = Process::spawn(come_and_go, (dir.path(), u32::MAX, round)).unwrap();
        let other = Process::spawn(come_and_go, (dir.path(), u32::MAX, round + 100)).unwrap();
        // As long as it takes the two to be anywhere, and no matter how long that is.
        std::thread::sleep(std::time::Duration::from_micros(u64::from(round) * 300));
        child.kill().unwrap();
        other.kill().unwrap();
        let _ = (child.join(), other.join());
        assert!(dir.names().iter().all(|name| name == "shop"), "{:?}", dir.names());
        let shop = dir.options().open_or_create("shop", 0).unwrap();
        let report = shop.inspect();
        assert_eq!(report.participants.len(), 1, "{report}");
        drop(shop);
        assert_eq!(dir.names(), [""; 0]);
    }
}

#[test]
fn who_was_handed_the_segment_may_be_the_last_to_leave() {
    let dir = Dir::new("handed");
    let shop = dir.options().create("shop", 1 << 20).unwrap();
    let meeting = crate::stage::Meeting::new("handed");
    let stay = |(shop, meeting): (Segment, PathBuf)| {
        crate::stage::wait_for_hang_up(crate::stage::report_to(
            meeting,
            &shop.inspect().participants.len().to_string(),
        ));
        drop(shop);
    };
    let child = Process::spawn(stay, (shop.clone(), meeting.path())).unwrap();
    let (stream, participants) = meeting.next();
    assert_eq!(participants, "2");
    drop(shop);
    assert_eq!(dir.names(), ["shop"]);
    drop(stream);
    child.join().unwrap();
    assert_eq!(dir.names(), [""; 0], "the last one was handed the segment, and took its name away");
}
