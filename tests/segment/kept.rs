//! A segment of format 1 as it was kept: every later build that says it reads format 1 must find in it what was put there.
//!
//! `format-1.txt` has its bytes that are not zero, sixteen in a line behind their offset. While format 1 is not released, it
//! is made anew by `MUTIRAO_KEEP=1 cargo test --test segment kept`; afterwards never.

use crate::stage::Dir;
use mutirao::{Array, Lifetime, List, Lock, Mutex, Plain, Queue, RwLock, Segment, Semaphore, Value};
use std::fmt::Write;
use std::path::Path;

const KEPT: &str = include_str!("format-1.txt");
const BOOT_ID: std::ops::Range<usize> = 40..56;

/// Puts something of everything into a segment.
fn fill(shop: &Segment) -> mutirao::Result<()> {
    Value::create(shop, "count", 7u32)?;
    Value::create(shop, "total", 8u64)?.store(9)?;
    Value::create(shop, "place", [1u64, 2, 3])?.store([4, 5, 6])?;
    *Mutex::create(shop, "stock", [10u32; 4])?.lock()? = [11; 4];
    *RwLock::create(shop, "price", [12u64; 2])?.write()? = [13; 2];
    Array::<u16>::create(shop, "shelf", 100)?.set(99, 14)?;
    Array::<[u32; 3]>::create(shop, "rows", 3)?.set(2, [15, 16, 17])?;
    let permits = Semaphore::create(shop, "permits", 3)?;
    permits.acquire()?.forget();
    Lock::create(shop, "door")?;
    let orders = Queue::<String>::create(shop, "orders", 3)?;
    for order in ["bread", "milk", "tea"] {
        orders.send(order.to_owned())?;
    }
    assert_eq!(orders.recv()?, "bread");
    orders.send("jam".into())?;
    let plain = Queue::<Plain<u64>>::create(shop, "plain", 2)?;
    plain.send(Plain(18))?;
    plain.close();
    let words = List::<String>::create(shop, "words")?;
    words.extend(["tea", "marmalade", "bread"].map(str::to_owned))?;
    words.sort()?;
    Value::create(shop, "gone", 19u64)?;
    shop.remove("gone")
}

fn look(shop: &Segment) -> mutirao::Result<()> {
    assert_eq!(Value::<u32>::open(shop, "count")?.load(), 7);
    assert_eq!(Value::<u64>::open(shop, "total")?.load(), 9);
    assert_eq!(Value::<[u64; 3]>::open(shop, "place")?.load(), [4, 5, 6]);
    assert_eq!(*Mutex::<[u32; 4]>::open(shop, "stock")?.lock()?, [11; 4]);
    assert_eq!(*RwLock::<[u64; 2]>::open(shop, "price")?.read()?, [13; 2]);
    assert_eq!(Array::<u16>::open(shop, "shelf")?.get(99)?, 14);
    assert_eq!(Array::<[u32; 3]>::open(shop, "rows")?.get(2)?, [15, 16, 17]);
    assert_eq!(Semaphore::open(shop, "permits")?.available(), 2);
    assert!(Lock::open(shop, "door")?.try_lock().is_ok());
    let orders = Queue::<String>::open(shop, "orders")?;
    assert_eq!((orders.capacity(), orders.len()), (3, 3));
    for order in ["milk", "tea", "jam"] {
        assert_eq!(orders.recv()?, order);
    }
    let plain = Queue::<Plain<u64>>::open(shop, "plain")?;
    assert_eq!(plain.recv()?, Plain(18));
    assert!(plain.recv().unwrap_err().is_closed());
    assert!(Value::<u64>::open(shop, "gone").unwrap_err().is_not_found());
    let words = List::<String>::open(shop, "words")?;
    assert_eq!(words.to_vec()?, ["bread", "marmalade", "tea"]);
    // And it can be gone on with.
    words.push("lemons and sugar".into())?;
    orders.send("more".into())?;
    Value::create(shop, "gone", 20u64)?;
    assert_eq!(shop.objects().iter().filter(|object| object.name.is_some()).count(), 13);
    Ok(())
}

fn make(dir: &Dir) -> Vec<u8> {
    let options = dir.options().participants(2).objects(16).first(128 << 10).lifetime(Lifetime::Persistent);
    let shop = options.create("made", 1 << 20).unwrap();
    fill(&shop).unwrap();
    drop(shop);
    let bytes = std::fs::read(dir.path().join("made")).unwrap();
    dir.options().unlink("made").unwrap();
    bytes
}

fn to_text(bytes: &[u8]) -> String {
    let mut text = format!("{:x}\n", bytes.len());
    for (row, line) in bytes.chunks(16).enumerate().filter(|(_, line)| line.iter().any(|byte| *byte != 0)) {
        let hex = line.iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"));
        writeln!(text, "{:x} {hex}", row * 16).unwrap();
    }
    text
}

fn from_text(text: &str) -> Vec<u8> {
    let number = |hex: &str| usize::from_str_radix(hex, 16).unwrap();
    let mut lines = text.lines();
    let mut bytes = vec![0; number(lines.next().unwrap())];
    for (offset, hex) in lines.map(|line| line.split_once(' ').unwrap()) {
        for at in 0..hex.len() / 2 {
            bytes[number(offset) + at] = number(&hex[2 * at..2 * at + 2]) as u8;
        }
    }
    bytes
}

/// Writes the bytes to a file, as if they were of this boot, and opens it.
fn open(dir: &Dir, name: &str, mut bytes: Vec<u8>) -> mutirao::Result<Segment> {
    use std::os::unix::fs::PermissionsExt;
    let now = dir.options().create("now", 0)?;
    bytes[BOOT_ID].copy_from_slice(&std::fs::read(dir.path().join("now")).unwrap()[BOOT_ID]);
    drop(now);
    let path = dir.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
    dir.options().open(name)
}

#[test]
fn what_was_kept_of_format_1_is_found() {
    let dir = Dir::new("kept");
    if std::env::var_os("MUTIRAO_KEEP").is_some() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/segment/format-1.txt");
        std::fs::write(path, to_text(&make(&dir))).unwrap();
        return;
    }
    look(&open(&dir, "kept", from_text(KEPT)).unwrap()).unwrap();
}

#[test]
fn what_is_made_now_is_found_the_same_way() {
    let dir = Dir::new("made");
    let bytes = make(&dir);
    assert_eq!(from_text(&to_text(&bytes)), bytes);
    look(&open(&dir, "copy", bytes).unwrap()).unwrap();
}
