//! At most two of five processes work at a time, and a permit comes back from one that dies:
//! `cargo run --example semaphore`.

use mutirao::{Process, Semaphore, Value};

fn work((permits, inside, most, dies): (Semaphore, Value<u32>, Value<u32>, bool)) {
    for n in 0..200 {
        let _permit = permits.acquire().unwrap();
        if dies && n == 100 {
            std::process::abort();
        }
        let now = inside.fetch_add(1) + 1;
        most.fetch_max(now);
        inside.fetch_sub(1);
    }
}

fn main() -> mutirao::Result<()> {
    mutirao::init();
    let permits = Semaphore::new(2)?;
    let (inside, most) = (Value::new(0_u32)?, Value::new(0_u32)?);
    let workers: Vec<_> = (0..5)
        .map(|n| Process::spawn(work, (permits.clone(), inside.clone(), most.clone(), n == 2)))
        .collect::<Result<_, _>>()?;
    let died = workers.into_iter().map(Process::join).filter(Result::is_err).count();
    println!("at most {} at a time; {died} process died", most.load());
    assert!((1..=2).contains(&most.load()));
    assert_eq!(died, 1);
    // Both permits can be had, the dead one's too.
    assert_eq!(permits.acquire_many(2)?.count(), 2);
    Ok(())
}
