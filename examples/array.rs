//! Two processes fill and sum an array together: `cargo run --example array`.

use mutirao::{Array, Process};

fn square((numbers, first, last): (Array<f64>, usize, usize)) {
    for i in first..last {
        numbers.set(i, (i * i) as f64).unwrap();
    }
}

fn histogram((numbers, counts): (Array<f64>, Array<u32>)) {
    for number in &numbers.view(..).unwrap() {
        counts.fetch_add(number as usize % 10, 1).unwrap();
    }
}

fn main() -> mutirao::Result<()> {
    mutirao::init();
    let numbers = Array::<f64>::new(1000)?;
    let low = Process::spawn(square, (numbers.clone(), 0, 500))?;
    let high = Process::spawn(square, (numbers.clone(), 500, 1000))?;
    low.join()?;
    high.join()?;

    let sum: f64 = numbers.view(..)?.iter().sum();
    println!("the squares below a thousand sum to {sum}");
    assert_eq!(sum, 332_833_500.0);

    let counts = Array::<u32>::new(10)?;
    Process::spawn(histogram, (numbers, counts.clone()))?.join()?;
    let mut digits = [0; 10];
    counts.copy_to(0, &mut digits)?;
    println!("their last digits: {digits:?}");
    assert_eq!(digits, [100, 200, 0, 0, 200, 100, 200, 0, 0, 200]);
    Ok(())
}
