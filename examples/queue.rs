//! One process produces, four consume: `cargo run --example queue`.

use mutirao::{Process, Queue, Value};

fn produce((orders, n): (Queue<String>, u32)) {
    for i in 0..n {
        orders.send(format!("item-{i}")).unwrap();
    }
}

fn consume((orders, done): (Queue<String>, Value<u64>)) {
    while let Ok(_item) = orders.recv() {
        done.fetch_add(1); // Err(Closed) when closed and drained
    }
}

fn main() -> mutirao::Result<()> {
    mutirao::init(); // a spawned child starts here and never returns
    let orders = Queue::new(1024)?;
    let done = Value::new(0)?;
    let consumers: Vec<_> =
        (0..4).map(|_| Process::spawn(consume, (orders.clone(), done.clone()))).collect::<Result<_, _>>()?;
    Process::spawn(produce, (orders.clone(), 10_000))?.join()?;
    orders.close();
    for consumer in consumers {
        consumer.join()?;
    }
    println!("{} of 10000 items consumed", done.load());
    assert_eq!(done.load(), 10_000);
    Ok(())
}
