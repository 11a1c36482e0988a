//! Four processes count together: `cargo run --example value`.

use mutirao::{Process, Value};

fn count((hits, position): (Value<u64>, Value<[f64; 3]>)) {
    for _ in 0..10_000 {
        hits.fetch_add(1);
    }
    position.update(|[x, y, z]| [x + 1.0, y + 1.0, z + 1.0]).unwrap();
}

fn main() -> mutirao::Result<()> {
    mutirao::init();
    let hits = Value::new(0_u64)?;
    let position = Value::new([0.0; 3])?;
    let children: Vec<_> =
        (0..4).map(|_| Process::spawn(count, (hits.clone(), position.clone()))).collect::<Result<_, _>>()?;
    for child in children {
        child.join()?;
    }
    println!("{} hits, at {:?}", hits.load(), position.load());
    assert_eq!(hits.load(), 40_000);
    assert_eq!(position.load(), [4.0; 3]);
    Ok(())
}
