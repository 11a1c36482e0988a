//! Looking at a segment without taking part in it.

use crate::stage::{Dir, Watchdog};
use mutirao::{Array, Mutex, Plain, Process, Queue, RwLock, Segment, Semaphore, Value};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

#[test]
fn everything_that_changes_nothing_can_be_read() {
    let dir = Dir::new("read");
    let shop = dir.options().create("shop", 1 << 20).unwrap();
    let count = Value::create(&shop, "count", 7u32).unwrap();
    let price = Value::create(&shop, "price", 2.5f64).unwrap();
    let place = Value::create(&shop, "place", [1u64, 2, 3]).unwrap();
    let stock = Mutex::create(&shop, "stock", [4u64; 5]).unwrap();
    let limits = RwLock::create(&shop, "limits", [5u64; 3]).unwrap();
    let bytes = Array::<u8>::create(&shop, "bytes", 100).unwrap();
    let triples = Array::<[u32; 3]>::create(&shop, "triples", 4).unwrap();
    let orders = Queue::<String>::create(&shop, "orders", 8).unwrap();
    let plain = Queue::<Plain<u64>>::create(&shop, "plain", 8).unwrap();
    let permits = Semaphore::create(&shop, "permits", 3).unwrap();

    let observer = dir.options().open_read_only("shop").unwrap();
    assert_eq!(observer.uuid(), shop.uuid());
    bytes.copy_from(10, &[1, 2, 3]).unwrap();
    triples.set(3, [7, 8, 9]).unwrap();
    orders.send("bread".into()).unwrap();
    orders.close();
    let _permit = permits.acquire().unwrap();

    assert_eq!(observer.value::<u32>("count").unwrap().load().unwrap(), 7);
    assert_eq!(observer.value::<f64>("price").unwrap().load().unwrap(), 2.5);
    assert_eq!(observer.value::<[u64; 3]>("place").unwrap().load().unwrap(), [1, 2, 3]);
    assert_eq!(observer.mutex::<[u64; 5]>("stock").unwrap().load().unwrap(), [4; 5]);
    *limits.write().unwrap() = [6; 3];
    assert_eq!(observer.rw_lock::<[u64; 3]>("limits").unwrap().load().unwrap(), [6; 3]);
    let seen = observer.array::<u8>("bytes").unwrap();
    let mut some = [9; 4];
    seen.copy_to(9, &mut some).unwrap();
    assert_eq!((seen.len().unwrap(), some, seen.get(12).unwrap()), (100, [0, 1, 2, 3], 3));
    assert!(seen.get(100).unwrap_err().is_invalid() && seen.copy_to(98, &mut some).unwrap_err().is_invalid());
    assert_eq!(observer.array::<[u32; 3]>("triples").unwrap().get(3).unwrap(), [7, 8, 9]);
    let queue = observer.queue::<String>("orders").unwrap();
    assert_eq!((queue.len().unwrap(), queue.capacity().unwrap(), queue.is_closed().unwrap()), (1, 8, true));
    assert!(observer.queue::<Plain<u64>>("plain").unwrap().is_empty().unwrap());
    assert_eq!(observer.semaphore("permits").unwrap().available().unwrap(), 2);
    assert_eq!(observer.objects().len(), 10);

    // It goes on seeing what others do.
    let seen = (observer.value::<u32>("count").unwrap(), observer.value::<[u64; 3]>("place").unwrap());
    count.store(8).unwrap();
    place.store([3, 2, 1]).unwrap();
    assert_eq!((seen.0.load().unwrap(), seen.1.load().unwrap()), (8, [3, 2, 1]));
    drop((price, stock, plain));
}

#[test]
fn an_observer_is_no_participant_and_keeps_no_name() {
    let dir = Dir::new("none");
    let shop = dir.options().participants(1).create("shop", 1 << 20).unwrap();
    let observers: Vec<_> = (0..5).map(|_| dir.options().open_read_only("shop").unwrap()).collect();
    let report = observers[0].inspect();
    assert_eq!(report.participants.len(), 1);
    assert!(!report.participants[0].is_me && !report.participants[0].is_dead, "{report}");
    drop(shop);
    assert_eq!(dir.names(), [""; 0]);
    assert_eq!(observers[4].inspect().participants.len(), 0, "what it has mapped, it can look at still");
    assert!(dir.options().open_read_only("shop").unwrap_err().is_not_found());
}

#[test]
fn names_and_types_are_checked() {
    let dir = Dir::new("types");
    let shop = dir.options().create("shop", 1 << 20).unwrap();
    let _count = Value::create(&shop, "count", 7u32).unwrap();
    let observer = dir.options().open_read_only("shop").unwrap();
    let error = observer.value::<u32>("cuont").unwrap_err();
    assert!(error.is_not_found() && error.to_string().contains("count"), "{error}");
    assert!(observer.value::<i32>("count").unwrap_err().is_wrong_type());
    assert!(observer.semaphore("count").unwrap_err().is_wrong_type());
    assert!(observer.value::<u32>("").unwrap_err().is_invalid());
}

#[test]
fn a_removed_object_is_said_to_be_gone_and_its_successor_is_not_taken_for_it() {
    let dir = Dir::new("removed");
    let shop = dir.options().create("shop", 1 << 20).unwrap();
    let old = Value::create(&shop, "count", [1u64; 8]).unwrap();
    let observer = dir.options().open_read_only("shop").unwrap();
    let seen = observer.value::<[u64; 8]>("count").unwrap();
    shop.remove("count").unwrap();
    assert!(seen.load().unwrap_err().is_removed());
    drop(old);
    let _new = Value::create(&shop, "count", [2u64; 8]).unwrap();
    assert!(seen.load().unwrap_err().is_removed());
    assert_eq!(observer.value::<[u64; 8]>("count").unwrap().load().unwrap(), [2; 8]);
}

/// Makes and removes objects that are all of one number.
fn make_and_remove((path, rounds): (PathBuf, u64)) {
    let shop = Segment::options().directory(path).open("shop").unwrap();
    for round in 1..=rounds {
        let value = Value::create(&shop, "value", [round; 20]).unwrap();
        value.store([round + 1; 20]).unwrap();
        shop.remove("value").unwrap();
    }
}

#[test]
fn what_is_read_while_objects_come_and_go_is_always_whole() {
    let _watchdog = Watchdog::new("what_is_read_while_objects_come_and_go_is_always_whole");
    let dir = Dir::new("whole");
    let _shop = dir.options().create("shop", 1 << 20).unwrap();
    let observer = dir.options().open_read_only("shop").unwrap();
    let child = Process::spawn(make_and_remove, (dir.path(), 3000)).unwrap();
    let mut seen = 0;
    while child.is_alive() {
        match observer.value::<[u64; 20]>("value").and_then(|value| value.load()) {
            Ok(value) => {
                seen += 1;
                assert!(value[0] > 0 && value.iter().all(|word| *word == value[0]), "{value:?}");
            }
            Err(error) => assert!(error.is_not_found() || error.is_removed() || error.is_contended(), "{error}"),
        }
    }
    child.join().unwrap();
    println!("{seen} looks found it");
}

#[test]
fn whoever_may_read_may_look_and_not_write() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("not tried: only root can become somebody else");
        return;
    }
    let dir = Dir::new("look");
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let shop = dir.options().mode(0o644).create("shop", 1 << 20).unwrap();
    let _count = Value::create(&shop, "count", 7u32).unwrap();
    let look = |path: PathBuf| {
        crate::in_the_way::become_nobody();
        let options = Segment::options().directory(path);
        let seen = options.open_read_only("shop").unwrap().value::<u32>("count").unwrap().load().unwrap();
        (seen, options.open("shop").unwrap_err().is_denied())
    };
    assert_eq!(Process::spawn(look, dir.path()).unwrap().join().unwrap(), (7, true));
}

#[test]
fn what_is_in_the_way_of_a_look_is_told_apart() {
    let dir = Dir::new("blind");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        dir.path().join("fifo"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
        0,
    )
    .unwrap();
    std::fs::write(dir.path().join("text"), vec![b'x'; 9000]).unwrap();
    std::os::unix::fs::symlink(dir.path().join("text"), dir.path().join("link")).unwrap();
    std::fs::create_dir(dir.path().join("directory")).unwrap();
    for name in ["fifo", "text", "link", "directory"] {
        let error = dir.options().open_read_only(name).unwrap_err();
        assert!(error.is_not_a_segment(), "{name}: {error}");
    }
    assert!(dir.options().open_read_only("nothing").unwrap_err().is_not_found());
    assert!(dir.options().open_read_only("a/b").unwrap_err().is_invalid());
}
