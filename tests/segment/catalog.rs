//! Objects among others: found by name, whole or not at all, gone when they are removed and nobody holds them.

use mutirao::{Array, Lock, Mutex, Name, Plain, Queue, Segment, Semaphore, Value};
use std::time::Duration;

fn shop() -> Segment {
    Segment::anonymous(16 << 20).unwrap()
}

#[test]
fn every_kind_is_found_by_its_name() {
    let shop = shop();
    Value::create(&shop, "count", 5_u64).unwrap();
    Value::create(&shop, "place", [1.0_f64, 2.0, 3.0]).unwrap();
    Array::<u32>::create(&shop, "row", 100).unwrap();
    Lock::create(&shop, "lock").unwrap();
    Mutex::create(&shop, "both", [7_u64, 8]).unwrap();
    Semaphore::create(&shop, "places", 3).unwrap();
    let orders = Queue::<String>::create(&shop, "orders", 4).unwrap();
    orders.send("bread".into()).unwrap();
    drop(orders); // it stays, also while nobody has a handle

    assert_eq!(Value::<u64>::open(&shop, "count").unwrap().load(), 5);
    assert_eq!(Value::<[f64; 3]>::open(&shop, "place").unwrap().load(), [1.0, 2.0, 3.0]);
    assert_eq!(Array::<u32>::open(&shop, "row").unwrap().len(), 100);
    assert!(Lock::open(&shop, "lock").unwrap().try_lock().is_ok());
    assert_eq!(*Mutex::<[u64; 2]>::open(&shop, "both").unwrap().lock().unwrap(), [7, 8]);
    assert_eq!(Semaphore::open(&shop, "places").unwrap().available(), 3);
    assert_eq!(Queue::<String>::open(&shop, "orders").unwrap().try_recv().unwrap(), "bread");

    let names: Vec<_> = shop.objects().into_iter().filter_map(|object| object.name).collect();
    assert_eq!(names, ["count", "place", "row", "lock", "both", "places", "orders"]);
    let report = shop.inspect().to_string();
    assert!(report.contains("\"orders\", Queue<String>") && report.contains("\"lock\", Lock"), "{report}");
}

#[test]
fn a_name_is_given_once() {
    let shop = shop();
    let first = Value::create(&shop, "best", 1_u32).unwrap();
    let error = Value::create(&shop, "best", 2_u32).unwrap_err();
    assert!(error.is_exists() && error.to_string().contains("\"best\""), "{error}");
    assert!(Lock::create(&shop, "best").unwrap_err().is_exists());
    assert_eq!(first.load(), 1);
    assert_eq!(Value::open_or_create(&shop, "best", 3_u32).unwrap().load(), 1);
    assert_eq!(Value::open_or_create(&shop, "worst", 3_u32).unwrap().load(), 3);
}

#[test]
fn of_many_creators_of_a_name_one_succeeds() {
    let shop = shop();
    for round in 0..20 {
        let name = format!("object {round}");
        let made = std::thread::scope(|scope| {
            let creators = [0_u64, 1, 2, 3].map(|id| {
                let (shop, name) = (&shop, &name);
                scope.spawn(move || match Value::create(shop, name, id) {
                    Ok(_) => 1,
                    Err(error) => {
                        assert!(error.is_exists(), "{error}");
                        0
                    }
                })
            });
            creators.into_iter().map(|creator| creator.join().unwrap()).sum::<u32>()
        });
        assert_eq!(made, 1);
    }
    assert_eq!(shop.objects().len(), 20);
}

#[test]
fn what_is_not_there_is_named_with_what_is_near() {
    let shop = shop();
    Value::create(&shop, "orders", 1_u32).unwrap();
    let error = Value::<u32>::open(&shop, "oders").unwrap_err();
    assert!(error.is_not_found() && error.to_string().contains("\"orders\""), "{error}");
    assert!(shop.remove("bread").unwrap_err().is_not_found());
}

#[test]
fn another_type_is_refused_with_both_named() {
    let shop = shop();
    Queue::<String>::create(&shop, "orders", 4).unwrap();
    for error in [
        Queue::<Vec<u8>>::open(&shop, "orders").unwrap_err(),
        Queue::<Plain<u64>>::open(&shop, "orders").unwrap_err(),
        Value::<u64>::open(&shop, "orders").unwrap_err(),
        Queue::<u8>::open_or_create(&shop, "orders", 4).unwrap_err(),
        Queue::<String>::attach(&shop).unwrap_err(),
    ] {
        assert!(error.is_wrong_type(), "{error}");
    }
    let error = Value::<u64>::open(&shop, "orders").unwrap_err().to_string();
    assert!(error.contains("Queue<String>") && error.contains("Value<u64>"), "{error}");
    assert_eq!(shop.objects().len(), 1);
    assert!(shop.objects()[0].held_by.is_empty(), "who was refused holds nothing");
}

#[test]
fn a_type_tag_stands_for_the_types_name() {
    let shop = shop();
    let tagged = Name::new("orders").type_tag("order/2");
    let ours = Queue::<(u32, String)>::create(&shop, tagged, 4).unwrap();
    ours.send((1, "bread".into())).unwrap();
    // A type of another name that is encoded alike.
    assert_eq!(Queue::<(u32, Box<str>)>::open(&shop, tagged).unwrap().recv().unwrap(), (1, "bread".into()));
    assert!(Queue::<(u32, String)>::open(&shop, "orders").unwrap_err().is_wrong_type());
    let other = Name::new("orders").type_tag("order/3");
    let error = Queue::<(u32, String)>::open(&shop, other).unwrap_err().to_string();
    assert!(error.contains("order/2") && error.contains("order/3"), "{error}");
    // Plain data must still look alike.
    let point = Name::new("point").type_tag("point");
    Value::create(&shop, point, [1_u32, 2]).unwrap();
    assert_eq!(Value::<u64>::open(&shop, point).unwrap_err().to_string().matches("point").count(), 2);
}

#[test]
fn names_that_are_none_are_refused() {
    let shop = shop();
    for bad in ["", "a\0b", &"x".repeat(65), &"x".repeat(300)] {
        assert!(Value::create(&shop, bad, 1_u32).unwrap_err().is_invalid());
        assert!(Value::<u32>::open(&shop, bad).unwrap_err().is_invalid());
    }
    for good in ["a/b", "..", "ção", &"x".repeat(64)] {
        Value::create(&shop, good, 1_u32).unwrap();
        Value::<u32>::open(&shop, good).unwrap();
    }
    assert_eq!(shop.objects().len(), 4);
}

#[test]
fn a_removed_object_answers_so_and_its_name_is_free() {
    let shop = shop();
    let orders = Queue::<u32>::create(&shop, "orders", 4).unwrap();
    let lock = Lock::create(&shop, "lock").unwrap();
    let value = Value::create(&shop, "value", [0_u64; 4]).unwrap();
    let places = Semaphore::create(&shop, "places", 1).unwrap();
    let permit = places.acquire().unwrap();
    let guard = lock.lock().unwrap();
    for name in ["orders", "lock", "value", "places"] {
        shop.remove(name).unwrap();
    }
    assert!(orders.send(1).unwrap_err().is_removed());
    assert!(orders.recv().unwrap_err().is_removed());
    assert!(orders.try_recv().unwrap_err().is_removed());
    drop(guard);
    assert!(lock.lock().is_err_and(|error| error.to_string().contains("removed")));
    assert!(value.store([1; 4]).unwrap_err().is_removed());
    assert!(places.acquire().unwrap_err().is_removed());
    drop(permit);
    assert!(Queue::<u32>::open(&shop, "orders").unwrap_err().is_not_found());
    let again = Queue::<u32>::create(&shop, "orders", 8).unwrap();
    again.send(2).unwrap();
    assert!(orders.recv().unwrap_err().is_removed(), "not what has the name now");
    assert_eq!(again.recv().unwrap(), 2);
}

#[test]
fn removal_ends_every_call_that_waits() {
    let shop = shop();
    let orders = Queue::<u32>::create(&shop, "orders", 1).unwrap();
    let full = Queue::<u32>::create(&shop, "full", 1).unwrap();
    full.send(1).unwrap();
    let lock = Lock::create(&shop, "lock").unwrap();
    let places = Semaphore::create(&shop, "places", 1).unwrap();
    let (_guard, _permit) = (lock.lock().unwrap(), places.acquire().unwrap());
    std::thread::scope(|scope| {
        let waiters = [
            scope.spawn(|| orders.recv().unwrap_err().is_removed()),
            scope.spawn(|| orders.recv_timeout(Duration::from_secs(600)).unwrap_err().is_removed()),
            scope.spawn(|| full.send(2).unwrap_err().is_removed()),
            scope.spawn(|| lock.lock().err().unwrap().to_string().contains("removed")),
            scope.spawn(|| places.acquire().unwrap_err().is_removed()),
        ];
        for name in ["orders", "full", "lock", "places"] {
            shop.remove(name).unwrap();
        }
        for waiter in waiters {
            assert!(waiter.join().unwrap());
        }
    });
}

#[test]
fn a_removed_object_stays_until_its_last_handle_is_gone() {
    let shop = shop();
    let one = Array::<u64>::create(&shop, "row", 1000).unwrap();
    let two = Array::<u64>::open(&shop, "row").unwrap();
    one.set(3, 4).unwrap();
    shop.remove("row").unwrap();
    drop(one);
    assert_eq!(shop.objects().len(), 1, "still held");
    assert!(shop.objects()[0].state.contains("removed"), "{:?}", shop.objects());
    assert_eq!(two.get(3).unwrap(), 4);
    drop(two);
    assert!(shop.objects().is_empty());
}

#[test]
fn a_nameless_object_goes_with_its_last_handle() {
    let shop = shop();
    let queue = Queue::<u32>::new_in(&shop, 8).unwrap();
    let same = queue.clone();
    queue.send(5).unwrap();
    drop(queue);
    assert_eq!(same.recv().unwrap(), 5);
    assert_eq!((shop.objects().len(), shop.objects()[0].name.clone()), (1, None));
    drop(same);
    assert!(shop.objects().is_empty());
}

#[test]
fn memory_comes_back_zeroed_and_is_not_used_up() {
    let shop = Segment::anonymous(1 << 20).unwrap();
    for round in 0..40 {
        let row = Array::<u64>::create(&shop, "row", 50_000).unwrap();
        assert!(row.view(..).unwrap().iter().all(|word| word == 0), "round {round}");
        row.fill(u64::MAX).unwrap();
        shop.remove("row").unwrap();
    }
    let error = Array::<u64>::create(&shop, "too large", 1 << 20).unwrap_err();
    assert!(error.is_out_of_memory(), "{error}");
    assert!(Array::<u64>::open(&shop, "too large").unwrap_err().is_not_found(), "nothing is left of it");
    assert!(shop.objects().is_empty());
}

#[test]
fn a_full_catalog_says_so_and_goes_on_when_there_is_room() {
    let shop = shop();
    let mut made = Vec::new();
    let error = loop {
        match Lock::new_in(&shop) {
            Ok(lock) => made.push(lock),
            Err(error) => break error,
        }
    };
    assert!(error.is_exhausted() && error.to_string().contains(&made.len().to_string()), "{error}");
    made.pop();
    Lock::create(&shop, "last").unwrap();
    assert!(Lock::create(&shop, "none").unwrap_err().is_exhausted());
    shop.remove("last").unwrap();
    Lock::create(&shop, "next").unwrap();
}

#[test]
fn a_segment_of_one_object_has_no_others() {
    let queue = Queue::<u32>::new(4).unwrap();
    assert!(Lock::create(queue.segment(), "lock").unwrap_err().is_invalid());
    assert!(Lock::new_in(queue.segment()).unwrap_err().is_invalid());
    assert!(Lock::open(queue.segment(), "lock").unwrap_err().is_not_found());
    assert_eq!(queue.segment().objects().len(), 1);
}

#[test]
fn a_creator_that_panics_leaves_nothing() {
    let shop = shop();
    let bad = Queue::<Plain<[u64; 4]>>::options().cell_bytes(1).create_named(&shop, "orders");
    assert!(bad.unwrap_err().is_invalid());
    let orders = Queue::<String>::options().capacity(3).cell_bytes(500).create_named(&shop, "orders").unwrap();
    assert_eq!((orders.capacity(), orders.cell_bytes() >= 500), (3, true));
    let nameless = Queue::<String>::options().capacity(5).create_in(&shop).unwrap();
    assert_eq!(nameless.capacity(), 5);
    assert_eq!(shop.objects().len(), 2);
}
