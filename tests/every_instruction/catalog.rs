//! Objects among others: made, opened, removed, let go.

use crate::operations;
use mutirao::testing::{Killed, begin, end};
use mutirao::{Array, Bytes, Dict, Mutex, Plain, Segment, Value};

/// Room for three objects, and little memory: what is lost at each kill is missed soon.
fn shop() -> Segment {
    Segment::options().objects(3).anonymous(256 << 10).unwrap()
}

type Large = Array<u64>;
const LARGE: usize = 6000;
/// Values of 64 KiB: room for 64 is more than 4 MiB, with at least one large page as a whole.
type Roomy = Dict<u32, Plain<[u64; 8192]>>;

/// Everything that can be made here can be made, and is whole and empty: no entry, no byte, no name is lost.
fn is_empty_again(shop: &Segment) {
    let two = ["one", "two"].map(|name| Large::create(shop, name, LARGE).unwrap());
    assert!(two.iter().all(|array| array.view(..).unwrap().iter().all(|word| word == 0)), "another's bytes");
    let three = Value::create(shop, "three", 3_u32).unwrap();
    two.iter().for_each(|array| array.fill(u64::MAX).unwrap());
    ["one", "two", "three"].iter().for_each(|name| shop.remove(name).unwrap());
    drop((two, three));
    assert!(shop.objects().is_empty(), "{:?}", shop.objects());
}

/// Takes away what a victim may have made.
fn clear(shop: &Segment, name: &str) -> bool {
    match shop.remove(name) {
        Ok(()) => true,
        Err(error) if error.is_not_found() => false,
        Err(error) => panic!("{error}"),
    }
}

operations! {
    object_create: shop,
        |shop| { begin(); let made = Mutex::create(&shop, "best", [7_u64; 3]).unwrap(); end(); drop(made) },
        |shop, killed| {
            match Mutex::<[u64; 3]>::open(shop, "best") {
                Ok(best) => assert_eq!(*best.lock().unwrap(), [7; 3], "found, and not whole"),
                Err(error) => assert!(error.is_not_found() && killed != Killed::After, "{error}"),
            }
            clear(shop, "best");
            is_empty_again(shop);
        };
    object_create_of_whole_pages: shop,
        |shop| { begin(); let made = Large::create(&shop, "best", 1100).unwrap(); end(); drop(made) },
        |shop, killed| {
            assert!(clear(shop, "best") || killed != Killed::After);
            is_empty_again(shop);
        };
    dict_create_with_large_pages: || {
            let shop = Segment::options().objects(3).anonymous(16 << 30).unwrap();
            let kept = Dict::<u64, Bytes>::new_in(&shop).unwrap();
            (shop, kept)
        },
        |(shop, _)| { begin(); let made = Roomy::options().capacity(64).create_named(&shop, "best").unwrap(); end(); drop(made) },
        |(shop, kept), killed| {
            assert!(clear(shop, "best") || killed != Killed::After);
            // Takes what there was room for by then, or was not yet: so the next one has to grow as well.
            let (n, bytes) = (kept.len() as u64, Bytes(vec![kept.len() as u8; 4 << 20]));
            assert!(kept.insert_new(&n, &bytes).unwrap() && kept.get(&n).unwrap().is_some_and(|found| found == bytes));
            assert!(shop.committed_len().unwrap() > n << 22 && shop.len() <= shop.len_max());
        };
    object_without_a_name: shop,
        |shop| { begin(); drop(Value::new_in(&shop, 7_u64).unwrap()); end() },
        |shop, _| is_empty_again(shop);
    object_open_and_drop: || { let shop = shop(); Value::create(&shop, "best", [7_u64; 3]).unwrap(); shop },
        |shop| { begin(); drop(Value::<[u64; 3]>::open(&shop, "best").unwrap()); end() },
        |shop, _| {
            assert_eq!(Value::<[u64; 3]>::open(shop, "best").unwrap().load(), [7; 3]);
            assert!(clear(shop, "best"));
            is_empty_again(shop);
            Value::create(shop, "best", [7_u64; 3]).unwrap();
        };
    object_remove: || { let shop = shop(); Value::create(&shop, "best", 7_u64).unwrap(); shop },
        |shop| { begin(); shop.remove("best").unwrap(); end() },
        |shop, killed| {
            assert!(!clear(shop, "best") || killed != Killed::After);
            is_empty_again(shop);
            Value::create(shop, "best", 7_u64).unwrap();
        };
    object_remove_held: || { let shop = shop(); Value::create(&shop, "best", 7_u64).unwrap(); shop },
        |shop| {
            let held = Value::<u64>::open(&shop, "best").unwrap();
            begin();
            shop.remove("best").unwrap();
            drop(held);
            end();
        },
        |shop, killed| {
            assert!(!clear(shop, "best") || killed != Killed::After);
            is_empty_again(shop);
            Value::create(shop, "best", 7_u64).unwrap();
        };
}
