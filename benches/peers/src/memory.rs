//! Bulk data: the sum of an array, and what a small segment takes.

use std::cell::OnceCell;
use std::fs::File;
use std::hint::black_box;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::time::Instant;

use mutirao::{Array, Value};

/// Independent sums of a slice: enough to keep the load ports busy.
const LANES: usize = 32;

/// The same numbers in a segment and in a `Vec`, made when they are first asked for.
pub struct Arrays {
    len: usize,
    made: OnceCell<(Array<f64>, Vec<f64>)>,
}

impl Arrays {
    pub fn new(len: usize) -> Self {
        Self { len, made: OnceCell::new() }
    }

    fn made(&self) -> &(Array<f64>, Vec<f64>) {
        self.made.get_or_init(|| (Array::filled(self.len, 1.0).expect("memory"), vec![1.0; self.len]))
    }

    /// Gigabytes a second.
    pub fn ours(&self) -> Result<f64, Box<dyn std::error::Error>> {
        let view = self.made().0.view(..)?;
        let begun = Instant::now();
        let sum = sum(view.iter());
        Ok(self.rate(begun, sum))
    }

    pub fn theirs(&self) -> f64 {
        let slice = &self.made().1;
        let begun = Instant::now();
        let sum = sum_slice(black_box(slice));
        self.rate(begun, sum)
    }

    fn rate(&self, begun: Instant, sum: f64) -> f64 {
        let rate = (self.len * 8) as f64 / begun.elapsed().as_nanos() as f64;
        assert_eq!(sum, self.len as f64);
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
