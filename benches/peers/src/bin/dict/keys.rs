//! Keys, values, and the order in which they are asked for.

use std::hash::Hash;

/// Entries of each map.
pub const ENTRIES: usize = 1_000_000;
/// Keys of a stream.
const STREAM: usize = 1 << 19;

/// The finalizer of splitmix64.
pub fn mixed(i: u64) -> u64 {
    let mut z = i.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

pub trait Key: Copy + Eq + Hash + Send + Sync + 'static {
    type Value: Payload;
    const WHAT: &'static str;
    fn nth(i: u64) -> Self;
}

pub trait Payload: Copy + Send + Sync + 'static {
    fn nth(i: u64) -> Self;
    /// Something of it.
    fn probe(&self) -> u64;
}

impl Key for u64 {
    type Value = u64;
    const WHAT: &'static str = "words";

    fn nth(i: u64) -> Self {
        mixed(i)
    }
}

impl Payload for u64 {
    fn nth(i: u64) -> Self {
        i
    }
    fn probe(&self) -> u64 {
        *self
    }
}

impl Key for [u8; 16] {
    type Value = [u8; 256];
    const WHAT: &'static str = "records";

    fn nth(i: u64) -> Self {
        let mut key = [0; 16];
        key.copy_from_slice(format!("{:016x}", mixed(i)).as_bytes());
        key
    }
}

impl Payload for [u8; 256] {
    #[inline(always)]
    fn nth(i: u64) -> Self {
        let mut value = [i as u8; 256];
        value[..8].copy_from_slice(&i.to_ne_bytes());
        value
    }
    #[inline(always)]
    fn probe(&self) -> u64 {
        self.first_chunk().map_or(0, |bytes| u64::from_ne_bytes(*bytes))
    }
}

/// Keys in the order in which one worker asks for them.
pub struct Streams<K> {
    pub uniform: Vec<K>,
    pub zipf: Vec<K>,
}

impl<K: Key> Streams<K> {
    pub fn of(worker: u64) -> Self {
        let mut at = worker << 32;
        let mut next = || {
            at += 1;
            mixed(at)
        };
        let uniform = (0..STREAM).map(|_| K::nth(next() % ENTRIES as u64)).collect();
        let zipf = Zipf::new(ENTRIES, 0.99);
        let zipf = (0..STREAM).map(|_| K::nth(zipf.rank((next() >> 11) as f64 / (1_u64 << 53) as f64))).collect();
        Self { uniform, zipf }
    }
}

/// The generator of YCSB (Gray and others, "Quickly Generating Billion-Record Synthetic Databases", 1994).
struct Zipf {
    entries: f64,
    theta: f64,
    zeta: f64,
    alpha: f64,
    eta: f64,
}

impl Zipf {
    fn new(entries: usize, theta: f64) -> Self {
        let zeta = |n: usize| (1..=n).map(|i| (i as f64).powf(-theta)).sum::<f64>();
        let (all, two, n) = (zeta(entries), zeta(2), entries as f64);
        let eta = (1.0 - (2.0 / n).powf(1.0 - theta)) / (1.0 - two / all);
        Self { entries: n, theta, zeta: all, alpha: 1.0 / (1.0 - theta), eta }
    }

    fn rank(&self, uniform: f64) -> u64 {
        let scaled = uniform * self.zeta;
        if scaled < 1.0 {
            return 0;
        }
        if scaled < 1.0 + 0.5_f64.powf(self.theta) {
            return 1;
        }
        let rank = self.entries * (self.eta * uniform - self.eta + 1.0).powf(self.alpha);
        (rank as u64).min(self.entries as u64 - 1)
    }
}
