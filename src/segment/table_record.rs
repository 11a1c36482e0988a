//! A record of a table: the bytes of a key and of its value, in words that anybody may overwrite.
//!
//! ```text
//! record   0  length of the key u32 | length of the value u32
//!          8  key, filled up with zeros to whole words
//!             value, the same
//! ```

use crate::raw::hash::KeyedHash;
use crate::segment::equal::are_equal;
use crate::segment::plain::{self, words_for};
use crate::sync::{AtomicU64, Ordering::Relaxed, fence};

/// A record, as long as it is one.
#[derive(Clone, Copy)]
pub(crate) struct Record<'a> {
    key_len: u32,
    value_len: u32,
    /// Behind the lengths.
    words: &'a [AtomicU64],
}

impl<'a> Record<'a> {
    /// Words of a record of these lengths.
    #[inline(always)]
    pub(crate) fn words(key_len: usize, value_len: usize) -> u64 {
        (1 + words_for(key_len) + words_for(value_len)) as u64
    }

    /// Words of a record with this first word.
    #[inline(always)]
    pub(crate) fn words_of(lengths: u64) -> u64 {
        Self::words(lengths as u32 as usize, (lengths >> 32) as usize)
    }

    /// Its first word.
    #[inline(always)]
    pub(crate) fn lengths(key_len: usize, value_len: usize) -> u64 {
        key_len as u64 | (value_len as u64) << 32
    }

    /// Writes one into its block, which is ours.
    #[inline(always)]
    pub(crate) fn write(words: &[AtomicU64], key: &[u8], value: &[u8]) {
        // Who reads one of these words in a record that stood here before sees the bucket's new version too.
        fence(crate::order!(table_record, Release));
        if let Some((lengths, words)) = words.split_first() {
            lengths.store(Self::lengths(key.len(), value.len()), Relaxed);
            let (key_words, value_words) = words.split_at_checked(words_for(key.len())).unwrap_or_default();
            plain::copy_in_record(key_words, key);
            plain::copy_in_record(value_words, value);
        }
    }

    /// The record of these lengths, with the words behind them.
    #[inline(always)]
    pub(crate) fn of(lengths: u64, words: &'a [AtomicU64]) -> Self {
        Self { key_len: lengths as u32, value_len: (lengths >> 32) as u32, words }
    }

    /// Whether the key is this one.
    #[inline(always)]
    pub(crate) fn has_key(&self, key: &[u8]) -> bool {
        if self.key_len as usize != key.len() {
            return false;
        }
        // By the private length alone: a branch where the record's own would be waited for.
        self.words.get(..words_for(key.len())).is_some_and(|words| is_key(words, key))
    }

    /// The key's words, the last one filled up with zeros, and its bytes.
    #[inline(always)]
    pub(crate) fn key(&self) -> (&'a [AtomicU64], usize) {
        (self.words.get(..words_for(self.key_len as usize)).unwrap_or_default(), self.key_len as usize)
    }

    /// The value's words, and its bytes.
    #[inline(always)]
    pub(crate) fn value(&self) -> (&'a [AtomicU64], usize) {
        self.value_behind(self.key_len as usize).unwrap_or_default()
    }

    /// As [`value`](Self::value), of a record whose key is known to have so many bytes. Where the value stands does not wait
    /// for the record's first line then, so all its lines come at once; hence a branch, not a choice between two places.
    #[inline(always)]
    pub(crate) fn value_behind(&self, key_len: usize) -> Option<(&'a [AtomicU64], usize)> {
        Some((self.words.get(words_for(key_len)..)?, self.value_len as usize))
    }

    pub(crate) fn hash(&self, hash: &KeyedHash) -> u64 {
        let word =
            |at: usize| self.words.get(at).map_or(0, |word| u64::from_le_bytes(word.load(Relaxed).to_ne_bytes()));
        hash.words(self.key_len as usize, word)
    }
}

/// Whether these words begin with this key, its last one filled up with zeros.
#[inline(always)]
pub(in crate::segment) fn is_key(words: &[AtomicU64], key: &[u8]) -> bool {
    let (pairs, rest) = key.as_chunks::<16>();
    let Some((own, behind)) = words.split_at_checked(2 * pairs.len()) else { return false };
    let is_pair = |(words, bytes): (&[AtomicU64; 2], &[u8; 16])| {
        bytes.as_chunks::<8>().0.as_array::<2>().is_some_and(|bytes| are_equal(words, bytes))
    };
    let (own, _) = own.as_chunks::<2>();
    if let ([words], [bytes], []) = (own, pairs, rest) {
        // The usual one, without a loop.
        return is_pair((words, bytes));
    }
    own.iter().zip(pairs).all(is_pair) && is_end(behind, key, rest)
}

/// Whether these words begin with what is behind the pairs of a key.
#[inline(always)]
fn is_end(words: &[AtomicU64], key: &[u8], rest: &[u8]) -> bool {
    let (whole, last) = rest.as_chunks::<8>();
    let Some((own, behind)) = words.split_at_checked(whole.len()) else { return false };
    let is_word = |(word, bytes): (&AtomicU64, &[u8; 8])| word.load(Relaxed) == u64::from_ne_bytes(*bytes);
    own.iter().zip(whole).all(is_word)
        && (last.is_empty() || behind.first().is_some_and(|word| word.load(Relaxed) == plain::filled_up(key, last)))
}

#[cfg(test)]
mod tests {
    use super::is_key;
    use crate::segment::plain::{copy_in_record, words_for};
    use crate::sync::AtomicU64;

    #[test]
    fn keys_of_every_length_are_compared_to_their_last_byte() {
        let key: Vec<u8> = (0..70).map(|i| i as u8 ^ 0x5a).collect();
        for len in 0..key.len() {
            let words: Vec<_> = (0..words_for(len)).map(|_| AtomicU64::new(0)).collect();
            copy_in_record(&words, &key[..len]);
            assert!(is_key(&words, &key[..len]), "{len}");
            for at in 0..len {
                let mut other = key[..len].to_vec();
                other[at] ^= 1;
                assert!(!is_key(&words, &other), "{len} {at}");
            }
            assert!(len == 0 || !is_key(&words[1..], &key[..len]), "too few words");
        }
    }
}
