//! Where a key belongs in a table: hashes that depend on secrets of the table, so that nobody who does not know them can choose
//! keys that meet.
//!
//! A key is its bytes; they are read as words of 8 bytes, little-endian, the last one filled up with zeros. So a key is
//! hashed alike where the caller has it, where it stands in a record, and where it is an integer.
//!
//! **Fold2**, the usual one. `fold(a, b)` multiplies two words to 128 bits and takes the upper half xor the lower. Three secrets
//! `s0`, `s1`, `s2`, the latter two odd:
//!
//! ```text
//! state = s1                                                 pairs of words: (a, b)
//! more than three pairs: three lanes of their own state s1, with s0, s1, s2 in turn, six words at a time while more
//!                        than three pairs are left; then state = lane 0 ^ lane 1 ^ lane 2
//! all but the last pair: state = fold(a ^ s0, b ^ state)
//! the last pair:         hash  = fold(fold(a ^ s0, b ^ state) ^ bytes of the key, s2)
//! ```
//!
//! One multiplication less would be as good on random keys and sends most of a row of regular ones to the same buckets for
//! some secrets; the second one repairs that. The idea of folding is that of wyhash, rapidhash and foldhash; the
//! steps are written here because a table outlives the version of a crate, and because the secrets must be the table's own: with
//! known ones, a key whose first word is `s0` makes every product zero. It is no cryptographic hash: who
//! can watch hashes or measure finely may find keys that meet. For keys of such strangers there is **SipHash-1-3**, keyed by
//! the first two secrets, at about half the rate of a whole lookup.
#![forbid(unsafe_code)]

use core::fmt;
use core::hash::Hasher;

use siphasher::sip::SipHasher13;

/// Which hash a table uses: fixed at its creation, as a number in the segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(u32)]
pub enum HashKind {
    /// Two folded multiplications with secret factors.
    #[default]
    Fold2 = 0,
    /// SipHash-1-3 with a secret key.
    SipHash13 = 1,
}

impl HashKind {
    /// The kind of this number.
    pub const fn from_number(number: u32) -> Option<Self> {
        match number {
            0 => Some(Self::Fold2),
            1 => Some(Self::SipHash13),
            _ => None,
        }
    }
}

/// Words of secrets that a hash needs. Any words serve.
pub const SECRETS: usize = 3;

/// A hash with its secrets.
#[derive(Clone, Copy)]
pub struct KeyedHash {
    kind: HashKind,
    /// Invariant: those at 1 and 2 are odd if the kind is Fold2, so that no product loses what a factor told apart.
    secrets: [u64; SECRETS],
}

/// The two halves of the product, one over the other.
#[inline(always)]
const fn fold(a: u64, b: u64) -> u64 {
    let product = a as u128 * b as u128;
    product as u64 ^ (product >> 64) as u64
}

impl KeyedHash {
    /// The hash of a table with these secrets.
    pub const fn new(kind: HashKind, secrets: [u64; SECRETS]) -> Self {
        let [s0, s1, s2] = secrets;
        let secrets = match kind {
            HashKind::Fold2 => [s0, s1 | 1, s2 | 1],
            HashKind::SipHash13 => secrets,
        };
        Self { kind, secrets }
    }

    /// The hash of a key of 8 bytes.
    #[inline(always)]
    pub fn word(&self, key: u64) -> u64 {
        match self.kind {
            HashKind::Fold2 => self.usual_word(key),
            HashKind::SipHash13 => self.sip(8, |_| key),
        }
    }

    /// The hash of a key of 8 bytes, if the kind is the usual one: else any number.
    #[inline(always)]
    pub fn usual_word(&self, key: u64) -> u64 {
        self.last(self.secrets[1], key, 0, 8)
    }

    /// The hash of a key.
    #[inline(always)]
    pub fn bytes(&self, key: &[u8]) -> u64 {
        match self.kind {
            HashKind::Fold2 => self.usual_bytes(key),
            HashKind::SipHash13 => self.other_bytes(key),
        }
    }

    /// The same, if the kind is the usual one: else any number.
    #[inline(always)]
    pub fn usual_bytes(&self, key: &[u8]) -> u64 {
        match key.len() {
            16 => self.last(self.secrets[1], whole_word(key, 0), whole_word(key, 8), 16),
            8 => self.usual_word(whole_word(key, 0)),
            _ => self.other_bytes(key),
        }
    }

    #[inline(never)]
    fn other_bytes(&self, key: &[u8]) -> u64 {
        match self.kind {
            HashKind::Fold2 if key.len() <= 48 => self.short(key),
            _ => self.long_bytes(key),
        }
    }

    #[inline(never)]
    fn long_bytes(&self, key: &[u8]) -> u64 {
        match self.kind {
            HashKind::Fold2 => self.fold2(key.len(), |at| word_of(key, at)),
            HashKind::SipHash13 => SipHasher13::new_with_keys(self.secrets[0], self.secrets[1]).hash(key),
        }
    }

    /// The hash of a key of `len` bytes whose words `word` gives, the last one filled up with zeros. Words behind it are
    /// not asked for.
    #[inline(always)]
    pub fn words(&self, len: usize, word: impl Fn(usize) -> u64) -> u64 {
        match self.kind {
            HashKind::Fold2 => self.fold2(len, word),
            HashKind::SipHash13 => self.sip(len, word),
        }
    }

    #[inline(always)]
    fn fold2(&self, len: usize, word: impl Fn(usize) -> u64) -> u64 {
        let [s0, s1, s2] = self.secrets;
        let words = len.div_ceil(8);
        let mut state = s1;
        let mut at = 0;
        if words > 6 {
            let mut lanes = [s1; 3];
            while words - at > 6 {
                for (i, (lane, secret)) in lanes.iter_mut().zip([s0, s1, s2]).enumerate() {
                    *lane = fold(word(at + 2 * i) ^ secret, word(at + 2 * i + 1) ^ *lane);
                }
                at += 6;
            }
            state = lanes[0] ^ lanes[1] ^ lanes[2];
        }
        while words - at > 2 {
            state = fold(word(at) ^ s0, word(at + 1) ^ state);
            at += 2;
        }
        let first = if at < words { word(at) } else { 0 };
        let second = if at + 1 < words { word(at + 1) } else { 0 };
        self.last(state, first, second, len as u64)
    }

    /// As [`fold2`](Self::fold2), of at most six words.
    #[inline(always)]
    fn short(&self, key: &[u8]) -> u64 {
        let [s0, s1, _] = self.secrets;
        let (mut state, mut rest) = (s1, key);
        while rest.len() > 16
            && let Some((pair, behind)) = rest.split_first_chunk::<16>()
        {
            state = fold(whole_word(pair, 0) ^ s0, whole_word(pair, 8) ^ state);
            rest = behind;
        }
        // By no read over two words, which may have been written one by one just before.
        let (first, second) = match rest.split_first_chunk::<8>() {
            Some((first, second)) => (u64::from_le_bytes(*first), word_of(second, 0)),
            None => (word_of(rest, 0), 0),
        };
        self.last(state, first, second, key.len() as u64)
    }

    #[inline(always)]
    const fn last(&self, state: u64, first: u64, second: u64, len: u64) -> u64 {
        let [s0, _, s2] = self.secrets;
        fold(fold(first ^ s0, second ^ state) ^ len, s2)
    }

    #[cold]
    #[inline(never)]
    fn sip(&self, len: usize, word: impl Fn(usize) -> u64) -> u64 {
        let mut sip = SipHasher13::new_with_keys(self.secrets[0], self.secrets[1]);
        for at in 0..len.div_ceil(8) {
            sip.write(&word(at).to_le_bytes()[..(len - 8 * at).min(8)]);
        }
        sip.finish()
    }
}

impl fmt::Debug for KeyedHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} with secrets", self.kind)
    }
}

/// The 8 bytes at `at`. Zero where they are not all there.
#[inline(always)]
fn whole_word(key: &[u8], at: usize) -> u64 {
    key.get(at..).and_then(|rest| rest.first_chunk::<8>()).map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

/// Word `at` of a key, filled up with zeros.
#[inline(always)]
pub fn word_of(key: &[u8], at: usize) -> u64 {
    let rest = key.get(8 * at..).unwrap_or_default();
    if let Some(bytes) = rest.first_chunk::<8>() {
        return u64::from_le_bytes(*bytes);
    }
    if key.len() >= 8 && !rest.is_empty() {
        // The last 8 bytes, without those that belong to the word before.
        return whole_word(key, key.len() - 8) >> (64 - 8 * rest.len());
    }
    // Where two reads overlap they read the same.
    if let (Some(low), Some(high)) = (rest.first_chunk::<4>(), rest.last_chunk::<4>()) {
        let (low, high) = (u32::from_le_bytes(*low), u32::from_le_bytes(*high));
        return u64::from(low) | u64::from(high) << (8 * (rest.len() - 4));
    }
    let byte = |at: usize| rest.get(at).map_or(0, |byte| u64::from(*byte) << (8 * at));
    byte(0) | byte(1) | byte(2)
}

#[cfg(all(test, not(mutirao_model)))]
mod tests {
    use super::{HashKind, KeyedHash, word_of};

    fn splitmix(state: &mut u64) -> u64 {
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = *state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn some(kind: HashKind, seed: u64) -> KeyedHash {
        let mut state = seed;
        KeyedHash::new(kind, [(); 3].map(|()| splitmix(&mut state)))
    }

    #[test]
    fn words_of_a_key_are_its_bytes_and_zeros() {
        let key: Vec<u8> = (1..100).collect();
        for len in 0..key.len() {
            for at in 0..15 {
                let mut bytes = [0; 8];
                for (i, byte) in bytes.iter_mut().enumerate() {
                    *byte = key[..len].get(8 * at + i).copied().unwrap_or(0);
                }
                assert_eq!(word_of(&key[..len], at), u64::from_le_bytes(bytes), "{len} {at}");
            }
        }
    }

    #[test]
    fn a_key_has_one_hash_wherever_it_stands() {
        let key: Vec<u8> = (0..200).map(|i| i as u8 ^ 0x5a).collect();
        for kind in [HashKind::Fold2, HashKind::SipHash13] {
            let hash = some(kind, 7);
            let mut seen = std::collections::HashSet::new();
            for len in 0..key.len() {
                let key = &key[..len];
                let by_words = hash.words(len, |at| {
                    assert!(at < len.div_ceil(8), "no word behind the key is asked for");
                    word_of(key, at)
                });
                assert_eq!(hash.bytes(key), by_words, "{kind:?} {len}");
                assert!(seen.insert(by_words), "{kind:?} {len}");
            }
            assert_eq!(hash.word(word_of(&key, 0)), hash.bytes(&key[..8]));
        }
    }

    #[test]
    fn zeros_at_the_end_of_a_key_count() {
        for kind in [HashKind::Fold2, HashKind::SipHash13] {
            let hash = some(kind, 9);
            let hashes: std::collections::HashSet<_> = (0..500).map(|len| hash.bytes(&vec![0; len])).collect();
            assert_eq!(hashes.len(), 500, "{kind:?}");
        }
    }

    #[test]
    fn siphash_is_the_published_one() {
        let key = |from: u8| u64::from_le_bytes(std::array::from_fn(|i| from + i as u8));
        let hash = KeyedHash::new(HashKind::SipHash13, [key(0), key(8), 0]);
        assert_eq!(hash.bytes(&[]).to_le_bytes(), [0xdc, 0xc4, 0x0f, 0x05, 0x58, 0x01, 0xac, 0xab]);
    }

    /// The rows `| hash | key | value |` of the page of the format: keys of so many bytes 0, 1, 2, ..., secrets 1, 2, 3 times
    /// 0x0123456789abcdef, wrapping.
    #[test]
    fn hashes_are_those_of_the_page() {
        let page = include_str!("../../docs/format.md");
        let (_, rows) = page.split_once("| hash | bytes | value |").unwrap();
        let secrets = [1, 2, 3].map(|i: u64| i.wrapping_mul(0x0123_4567_89ab_cdef));
        let mut checked = 0;
        for row in rows.lines().skip(2).take_while(|line| line.starts_with('|')) {
            let [_, kind, len, value, _] = row.split('|').map(str::trim).collect::<Vec<_>>()[..] else {
                panic!("{row}")
            };
            let kind = if kind == "Fold2" { HashKind::Fold2 } else { HashKind::SipHash13 };
            let key: Vec<u8> = (0..len.parse::<u64>().unwrap()).map(|i| i as u8).collect();
            let hash = KeyedHash::new(kind, secrets).bytes(&key);
            assert_eq!(format!("`{hash:#018x}`"), value, "{row}");
            checked += 1;
        }
        assert_eq!(checked, 20);
    }

    type Keys = (&'static str, fn(u64) -> [u64; 2], usize);

    /// Keys that regular programs have, of one word or two.
    const REGULAR: [Keys; 12] = [
        ("i", |i| [i, 0], 8),
        ("i << 8", |i| [i << 8, 0], 8),
        ("i << 20", |i| [i << 20, 0], 8),
        ("i << 44", |i| [i << 44, 0], 8),
        ("bytes reversed", |i| [i.swap_bytes(), 0], 8),
        ("bits reversed", |i| [i.reverse_bits(), 0], 8),
        ("floats", |i| [(i as f64).to_bits(), 0], 8),
        ("fractions", |i| [(i as f64 / 1024.0).to_bits(), 0], 8),
        ("multiples of a million", |i| [i * 1_000_000, 0], 8),
        ("halves alike", |i| [i, i], 16),
        ("second half", |i| [0x2020_2020_2020_2020, i << 32], 16),
        ("digits", |i| [0x3030_3030_3030_3030, digits(i)], 16),
    ];

    fn digits(mut i: u64) -> u64 {
        let mut digits = [b'0'; 8];
        for digit in digits.iter_mut().rev() {
            *digit = b'0' + (i % 10) as u8;
            i /= 10;
        }
        u64::from_le_bytes(digits)
    }

    /// Two keys to each of 2^12 buckets: 9.9 % are beyond the third of theirs by chance.
    #[test]
    fn regular_keys_spread_whatever_the_secrets_are() {
        const BUCKETS: usize = 1 << 12;
        for (name, key, len) in REGULAR {
            for seed in 0..60 {
                let hash = some(HashKind::Fold2, seed);
                let (mut low, mut tags) = (vec![0_u32; BUCKETS], [0_u32; 256]);
                for i in 0..2 * BUCKETS as u64 {
                    let words = key(i);
                    let hash = hash.words(len, |at| words[at]);
                    low[hash as usize % BUCKETS] += 1;
                    tags[(hash >> 56) as usize] += 1;
                }
                let beyond: u32 = low.iter().map(|count| count.saturating_sub(3)).sum();
                let share = f64::from(beyond) / (2 * BUCKETS) as f64;
                assert!(share < 0.13, "{name}, secrets {seed}: {share}");
                assert!(low.iter().all(|count| *count <= 16), "{name}, secrets {seed}");
                // 32 of each on average.
                assert!(tags.iter().all(|count| (4..=80).contains(count)), "{name}, secrets {seed}: {tags:?}");
            }
        }
    }

    #[test]
    fn a_bit_of_the_key_changes_half_of_the_hash() {
        for seed in 0..20 {
            let hash = some(HashKind::Fold2, seed);
            let mut state = seed;
            for bit in 0..128 {
                let mut changed = 0;
                for _ in 0..64 {
                    let [a, b] = [(); 2].map(|()| splitmix(&mut state));
                    let (c, d) = if bit < 64 { (a ^ 1 << bit, b) } else { (a, b ^ 1 << (bit - 64)) };
                    let [before, after] = [[a, b], [c, d]].map(|words| hash.words(16, |at| words[at]));
                    changed += (before ^ after).count_ones();
                }
                assert!((28..=36).contains(&(changed / 64)), "secrets {seed}, bit {bit}: {changed}");
            }
        }
    }
}
