//! Prices that many read and one changes, and a table whose writer dies in the middle of it:
//! `cargo run --example rw_lock`.

use mutirao::{Array, LockError, Process, RwLock};

/// Whoever sells looks at both prices as long as the sale lasts.
fn sell(prices: RwLock<[u64; 2]>) -> u64 {
    let mut earned = 0;
    for _ in 0..1000 {
        let now = prices.read().unwrap();
        assert_eq!(now[1], 2 * now[0], "the second is always twice the first");
        earned += now[0];
    }
    earned
}

fn raise((prices, dies): (RwLock<[u64; 2]>, bool)) {
    for n in 0..100 {
        let mut both = prices.write().unwrap();
        both[0] += 1;
        if dies && n == 50 {
            std::process::abort(); // the copy goes with us
        }
        both[1] += 2;
    }
}

fn fill((table, dies): (Array<u32>, bool)) {
    let mut rows = match table.write(20..40) {
        Ok(rows) => rows,
        Err(LockError::OwnerDied(rows)) => rows,
        Err(LockError::Failed(error)) => panic!("{error}"),
    };
    for i in 0..rows.len() {
        if dies && i == 10 {
            std::process::abort(); // and leaves the half of it
        }
        rows.set(i, 7).unwrap();
    }
    rows.mark_consistent().unwrap();
}

fn main() -> mutirao::Result<()> {
    mutirao::init();
    let prices = RwLock::new([1_u64, 2])?;
    let sellers: Vec<_> = (0..2).map(|_| Process::spawn(sell, prices.clone())).collect::<Result<_, _>>()?;
    let raisers: Vec<_> = [true, false]
        .into_iter()
        .map(|dies| Process::spawn(raise, (prices.clone(), dies)))
        .collect::<Result<_, _>>()?;
    let died = raisers.into_iter().map(Process::join).filter(Result::is_err).count();
    for seller in sellers {
        assert!(seller.join()? >= 1000);
    }
    println!("prices {:?}; {died} process died", *prices.read()?);
    assert_eq!((*prices.read()?, died), ([151, 302], 1));

    let table = Array::<u32>::new(100)?;
    assert!(Process::spawn(fill, (table.clone(), true))?.join().is_err());
    assert!(table.read(..20).is_ok());
    assert!(matches!(table.read(..), Err(LockError::OwnerDied(_))), "half filled, and everybody is told");
    Process::spawn(fill, (table.clone(), false))?.join()?;
    let sum: u32 = table.read(..)?.view()?.iter().sum();
    println!("the table was repaired and sums to {sum}");
    assert_eq!(sum, 140);
    Ok(())
}
