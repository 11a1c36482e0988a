//! Memory that `shared_memory` made, as raw bytes for us; and segments of ours under its eyes.

use mutirao::{Lifetime, Segment, SharedBytes};
use rustix::fs::{MemfdFlags, fallocate, ftruncate, memfd_create};
use shared_memory::{Shmem, ShmemConf};
use std::sync::atomic::Ordering;

/// Memory that `shared_memory` made, and ours of the same.
fn both(size: usize) -> (Shmem, SharedBytes) {
    let theirs = ShmemConf::new().size(size).create().unwrap();
    let ours = SharedBytes::open(theirs.get_os_id()).unwrap();
    (theirs, ours)
}

fn their_bytes(theirs: &Shmem) -> Vec<u8> {
    // SAFETY: within the mapping, which nobody changes meanwhile.
    unsafe { theirs.as_slice() }.to_vec()
}

#[test]
fn what_theirs_wrote_is_read_and_the_reverse() {
    let (mut theirs, ours) = both(1000);
    assert_eq!(ours.len(), 1000);
    // SAFETY: nobody else looks at it meanwhile.
    unsafe { theirs.as_slice_mut() }.copy_from_slice(&(0..1000).map(|i| i as u8).collect::<Vec<_>>());
    let mut bytes = vec![0; 1000];
    ours.read_at(0, &mut bytes).unwrap();
    assert_eq!(bytes, their_bytes(&theirs));
    ours.write_at(993, b"to them").unwrap();
    assert!(their_bytes(&theirs).ends_with(b"\xe0to them"));
    assert_eq!(ours.load::<u32>(12).unwrap(), u32::from_ne_bytes([12, 13, 14, 15]));
    ours.store(16, &[1.5_f64, 2.5]).unwrap();
    assert_eq!(ours.load::<[f64; 2]>(16).unwrap(), [1.5, 2.5]);
}

#[test]
fn every_place_and_length_comes_back_and_leaves_its_neighbours_alone() {
    let (theirs, ours) = both(64);
    for offset in 0..32_usize {
        for len in 0..32_usize {
            ours.write_at(0, &[7; 64]).unwrap();
            let bytes: Vec<u8> = (0..len).map(|i| 100 + i as u8).collect();
            ours.write_at(offset as u64, &bytes).unwrap();
            let mut expected = [7; 64];
            expected[offset..offset + len].copy_from_slice(&bytes);
            assert_eq!(their_bytes(&theirs), expected);
            let mut back = vec![0; len];
            ours.read_at(offset as u64, &mut back).unwrap();
            assert_eq!(back, bytes);
        }
    }
}

#[test]
fn words_are_atomic_for_both() {
    let (theirs, ours) = both(64);
    let word = theirs.as_ptr().cast::<std::sync::atomic::AtomicU64>().wrapping_add(1);
    // SAFETY: within the mapping, aligned, and used as an atomic only.
    let word = unsafe { &*word };
    word.store(u64::MAX, Ordering::Release);
    assert_eq!(ours.word(8).unwrap().fetch_add(2, Ordering::AcqRel), u64::MAX);
    assert_eq!(word.load(Ordering::Acquire), 1);
    let add = |n: u32| Some(n + 5);
    assert_eq!(ours.fetch_update_u32(12, Ordering::AcqRel, Ordering::Acquire, add).unwrap(), Ok(0));
    assert_eq!(
        ours.fetch_update_u32(8, Ordering::AcqRel, Ordering::Acquire, |n| (n > 1).then_some(n)).unwrap(),
        Err(1)
    );
    assert_eq!(word.load(Ordering::Acquire), 1 | 5 << 32);
}

#[test]
fn threads_add_to_half_words_side_by_side() {
    let (_theirs, ours) = both(8);
    std::thread::scope(|scope| {
        for offset in [0, 4, 0, 4] {
            let ours = ours.clone();
            scope.spawn(move || {
                for _ in 0..1000 {
                    let add = |n: u32| Some(n + 1);
                    ours.fetch_update_u32(offset, Ordering::AcqRel, Ordering::Acquire, add).unwrap().unwrap();
                }
            });
        }
    });
    assert_eq!((ours.load::<u32>(0).unwrap(), ours.load::<u32>(4).unwrap()), (2000, 2000));
}

#[test]
fn what_lies_outside_is_refused() {
    let (_theirs, ours) = both(1001);
    let refused = [
        ours.read_at(1001, &mut [0]),
        ours.read_at(1000, &mut [0, 0]),
        ours.write_at(u64::MAX, &[1]),
        ours.write_at(u64::MAX - 7, &[1; 16]),
        ours.word(1000).map(drop), // its last 7 bytes are behind the end
        ours.word(4).map(drop),
        ours.word(u64::MAX - 7).map(drop),
        ours.fetch_update_u32(1000, Ordering::Relaxed, Ordering::Relaxed, |_| None).map(drop),
        ours.fetch_update_u32(2, Ordering::Relaxed, Ordering::Relaxed, |_| None).map(drop),
        ours.load::<[u64; 200]>(0).map(drop),
        ours.store(994, &0_u64),
    ];
    for refused in refused {
        assert!(refused.unwrap_err().is_invalid());
    }
    ours.write_at(1001, &[]).unwrap();
    ours.read_at(0, &mut []).unwrap();
    ours.write_at(1000, &[9]).unwrap();
    assert!(ours.load::<bool>(1000).unwrap_err().is_corrupt());
}

#[test]
fn names_that_can_not_be_one_are_refused() {
    for name in ["", "/", ".", "..", "/..", "a/b", "//a", "a\0b", &"x".repeat(256)] {
        assert!(SharedBytes::open(name).unwrap_err().is_invalid(), "{name:?}");
    }
    assert!(SharedBytes::open("mutirao-nobody-made-this").unwrap_err().is_not_found());
}

#[test]
fn what_is_in_the_way_of_a_name_is_refused() {
    let name = format!("mutirao-{}-way", std::process::id());
    let path = std::path::Path::new("/dev/shm").join(&name);
    std::fs::create_dir(&path).unwrap();
    let folder = SharedBytes::open(&name);
    std::fs::remove_dir(&path).unwrap();
    std::os::unix::fs::symlink("/dev/zero", &path).unwrap();
    let link = SharedBytes::open(&name);
    std::fs::remove_file(&path).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, &path, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR).unwrap();
    let pipe = SharedBytes::open(&name);
    std::fs::remove_file(&path).unwrap();
    for refused in [folder, link, pipe] {
        assert!(refused.unwrap_err().is_invalid());
    }
}

#[test]
fn memory_without_a_size_is_not_mapped() {
    let fd = memfd_create("empty", MemfdFlags::CLOEXEC).unwrap();
    assert!(SharedBytes::from_fd(fd).unwrap_err().is_would_block());
}

#[test]
fn memory_that_is_not_there_is_an_error_and_no_signal() {
    // As shared_memory makes it: a length, and no memory behind it; this one is larger than any machine.
    let fd = memfd_create("huge", MemfdFlags::CLOEXEC).unwrap();
    ftruncate(&fd, 1 << 45).unwrap();
    assert!(SharedBytes::from_fd(fd).unwrap_err().is_out_of_memory());
}

#[test]
fn what_is_no_memory_is_refused() {
    let (socket, _other) = std::os::unix::net::UnixStream::pair().unwrap();
    assert!(SharedBytes::from_fd(socket.into()).unwrap_err().is_invalid());
    let folder = std::fs::File::open("/dev/shm").unwrap();
    assert!(SharedBytes::from_fd(folder.into()).unwrap_err().is_invalid());
}

#[test]
fn a_segment_of_ours_is_not_bytes_for_anybody() {
    let value = mutirao::Value::new(1_u64).unwrap();
    let fd = std::os::fd::AsFd::as_fd(value.segment()).try_clone_to_owned().unwrap();
    assert!(SharedBytes::from_fd(fd).unwrap_err().is_invalid());
}

#[test]
fn a_descriptor_is_enough() {
    let fd = memfd_create("bytes", MemfdFlags::CLOEXEC).unwrap();
    fallocate(&fd, rustix::fs::FallocateFlags::empty(), 0, 4096).unwrap();
    let (one, other) = (SharedBytes::from_fd(fd.try_clone().unwrap()).unwrap(), SharedBytes::from_fd(fd).unwrap());
    one.store(100, &3_u16).unwrap();
    assert_eq!(other.load::<u16>(100).unwrap(), 3);
}

// --- names ---------------------------------------------------------------------------------------------

fn name(test: &str) -> String {
    format!("mutirao-{}-{test}", std::process::id())
}

#[test]
fn a_segment_of_ours_is_seen_by_theirs_and_survives_them() {
    let name = name("ours");
    let ours = Segment::create(&name, 1 << 20).unwrap();
    let theirs = ShmemConf::new().os_id(format!("/{name}")).open().unwrap();
    assert_eq!(theirs.len() as u64, ours.len());
    assert!(their_bytes(&theirs).starts_with(b"mutirao\0"));
    assert!(!theirs.is_owner());
    drop(theirs);
    assert_eq!(Segment::open(&name).unwrap().uuid(), ours.uuid());
    // Only the last of ours takes the name away; then they do not find it either.
    drop(ours);
    assert!(ShmemConf::new().os_id(format!("/{name}")).open().is_err());
}

#[test]
fn neither_takes_the_others_name() {
    let (ours, theirs) = (name("taken-by-us"), name("taken-by-them"));
    let segment = Segment::create(&ours, 1 << 20).unwrap();
    assert!(matches!(
        ShmemConf::new().size(4096).os_id(format!("/{ours}")).create(),
        Err(shared_memory::ShmemError::MappingIdExists)
    ));
    drop(segment);

    let memory = ShmemConf::new().size(4096).os_id(format!("/{theirs}")).create().unwrap();
    for refused in [
        Segment::open(&theirs),
        Segment::create(&theirs, 1 << 20),
        Segment::open_or_create(&theirs, 1 << 20),
        Segment::unlink(&theirs).map(|()| unreachable!("it was taken away")),
    ] {
        assert!(refused.unwrap_err().is_not_a_segment());
    }
    SharedBytes::open(&theirs).unwrap().write_at(0, b"still theirs").unwrap();
    assert!(their_bytes(&memory).starts_with(b"still theirs"));
}

fn make_theirs_and_die(name: String) {
    let memory = ShmemConf::new().size(4096).os_id(format!("/{name}")).create().unwrap();
    rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL).unwrap();
    drop(memory);
}

fn make_ours_and_die(name: String) {
    let segment = Segment::create(&name, 1 << 20).unwrap();
    rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL).unwrap();
    drop(segment);
}

#[test]
fn a_name_of_their_dead_is_in_the_way_for_ever_and_one_of_ours_is_not() {
    let (ours, theirs) = (name("our-dead"), name("their-dead"));
    assert!(mutirao::Process::spawn(make_theirs_and_die, theirs.clone()).unwrap().join().is_err());
    assert!(matches!(
        ShmemConf::new().size(4096).os_id(format!("/{theirs}")).create(),
        Err(shared_memory::ShmemError::MappingIdExists)
    ));
    drop(SharedBytes::open(&theirs).unwrap());
    std::fs::remove_file(format!("/dev/shm/{theirs}")).unwrap();

    assert!(mutirao::Process::spawn(make_ours_and_die, ours.clone()).unwrap().join().is_err());
    drop(Segment::create(&ours, 1 << 20).unwrap());
    assert!(Segment::open(&ours).unwrap_err().is_not_found());
}

#[test]
fn a_segment_of_ours_is_never_met_half_made() {
    let name = name("half");
    let seen = std::thread::scope(|scope| {
        let opener = scope.spawn(|| {
            let mut seen = 0;
            while seen < 100 {
                match Segment::open(&name) {
                    Ok(segment) => seen += u32::from(segment.len() > 0),
                    Err(error) => assert!(error.is_not_found(), "{error}"),
                }
            }
            seen
        });
        while !opener.is_finished() {
            drop(Segment::options().first(4096).lifetime(Lifetime::LastLeaves).open_or_create(&name, 1 << 20).unwrap());
        }
        opener.join().unwrap()
    });
    assert_eq!(seen, 100);
}
