//! Bulk data: the sum of an array, and what a small segment takes.

use std::fs::File;
use std::hint::black_box;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::time::Instant;

use mutirao::{Array, Value};

/// Independent sums of a slice: enough to keep the load ports busy.
const LANES: usize = 32;

/// The same numbers in a segment and in a `Vec`, made once.
pub struct Arrays {
    ours: Array<f64>,
    theirs: Vec<f64>,
}

impl Arrays {
    pub fn new(len: usize) -> mutirao::Result<Self> {
        Ok(Self { ours: Array::filled(len, 1.0)?, theirs: vec![1.0; len] })
    }

    /// Gigabytes a second.
    pub fn ours(&mut self) -> mutirao::Result<f64> {
        let view = self.ours.view(..)?;
        let begun = Instant::now();
        let sum = sum(view.iter());
        Ok(self.rate(begun, sum))
    }

    pub fn vec(&mut self) -> f64 {
        let begun = Instant::now();
        let sum = sum_slice(black_box(&self.theirs));
        self.rate(begun, sum)
    }

    fn rate(&self, begun: Instant, sum: f64) -> f64 {
        let rate = (self.theirs.len() * 8) as f64 / begun.elapsed().as_nanos() as f64;
        assert_eq!(sum, self.theirs.len() as f64);
        rate
    }
}

/// Every element goes to the sum that has waited longest: in registers, after the compiler has unrolled it.
fn sum(numbers: impl Iterator<Item = f64>) -> f64 {
    let sums = numbers.fold([0.0; 4], |[s0, s1, s2, s3], number| [s1, s2, s3, s0 + number]);
    sums.iter().sum()
}

fn sum_slice(numbers: &[f64]) -> f64 {
    let mut lanes = [0.0; LANES];
    let mut chunks = numbers.chunks_exact(LANES);
    for chunk in &mut chunks {
        for (lane, number) in lanes.iter_mut().zip(chunk) {
            *lane += number;
        }
    }
    lanes.iter().sum::<f64>() + chunks.remainder().iter().sum::<f64>()
}

/// KiB that the kernel has given to a segment with one empty `Value`.
pub fn committed() -> Result<f64, Box<dyn std::error::Error>> {
    let value = Value::new(0u64)?;
    let file = File::from(value.segment().as_fd().try_clone_to_owned()?);
    Ok((file.metadata()?.blocks() * 512) as f64 / 1024.0)
}
