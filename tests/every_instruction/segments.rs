//! Segments: made, found, joined, left, unlinked.

use crate::operations;
use mutirao::testing::{Killed, begin, end};
use mutirao::{Lifetime, Segment, SegmentOptions, Value};

/// A name of this test process's own, which its children are given.
fn name(of: &str) -> String {
    format!("mutirao-every-{of}-{}", std::process::id())
}

fn persistent() -> SegmentOptions {
    Segment::options().objects(4).lifetime(Lifetime::Persistent)
}

/// Whatever was left of this name, a new one can be made, used and taken away, and then nothing is there.
fn name_is_whole(name: &str) {
    let shop = Segment::open_or_create(name, 64 << 10).unwrap();
    let value = Value::open_or_create(&shop, "value", 7_u64).unwrap();
    assert_eq!(value.load(), 7);
    drop((value, shop));
    match Segment::unlink(name) {
        Ok(()) => {}
        Err(error) => assert!(error.is_not_found(), "{error}"),
    }
    assert!(Segment::open(name).is_err_and(|e| e.is_not_found()));
}

operations! {
    segment_create: || name("create"),
        |name| { begin(); let shop = Segment::create(&name, 64 << 10).unwrap(); end(); drop(shop) },
        |name, _| name_is_whole(name);
    segment_create_and_leave: || name("leave"),
        |name| { begin(); drop(Segment::create(&name, 64 << 10).unwrap()); end() },
        |name, _| name_is_whole(name);
    segment_open: || name("open"),
        |name| {
            drop(persistent().create(&name, 64 << 10).unwrap());
            begin();
            let shop = Segment::open(&name).unwrap();
            end();
            drop(shop);
        },
        |name, _| {
            drop(Segment::open(name).unwrap());
            name_is_whole(name);
        };
    segment_unlink: || name("unlink"),
        |name| {
            drop(persistent().create(&name, 64 << 10).unwrap());
            begin();
            Segment::unlink(&name).unwrap();
            end();
        },
        |name, killed| {
            assert!(Segment::open(name).is_err() || killed != Killed::After);
            name_is_whole(name);
        };
    segment_join_and_leave: || Segment::anonymous(64 << 10).unwrap(),
        |shop| {
            let copy = std::os::fd::AsFd::as_fd(&shop).try_clone_to_owned().unwrap();
            drop(shop);
            begin();
            drop(Segment::from_fd(copy).unwrap());
            end();
        },
        |shop, _| {
            // Rows of the dead are used again: by and by more of them die here than there are rows.
            let living = shop.inspect().participants.iter().filter(|who| !who.is_dead).count();
            assert_eq!(living, 1, "{}", shop.inspect());
        };
    segment_reap: || Segment::anonymous(64 << 10).unwrap(),
        |shop| {
            // A second process takes part and dies; joining again reaps it.
            let copy = std::os::fd::AsFd::as_fd(&shop).try_clone_to_owned().unwrap();
            drop(shop);
            let orphan = mutirao::Process::spawn(|shop: Segment| { let _kept = shop; std::process::abort() }, Segment::from_fd(copy.try_clone().unwrap()).unwrap());
            let _: mutirao::Result<()> = orphan.unwrap().join();
            begin();
            drop(Segment::from_fd(copy).unwrap());
            end();
        },
        |shop, _| assert!(Value::new_in(shop, 1_u64).is_ok());
}
