//! Short text and numbers on their way into a dictionary and back: encoded as the codec does it, without the codec, without a
//! buffer of the heap, and word by word.
//!
//! What is encoded is hashed and copied right away. A load of bytes that were stored in two pieces waits until both have
//! arrived in the cache, which is when everything before has happened: then no lookup overlaps with the one before.
#![forbid(unsafe_code)]

use crate::handle::dict_codec::{DictItem, is_number, number_from_bytes, number_to_bytes, text_of};
use crate::raw::hash::word_of;
use core::any::Any;
use zerocopy::IntoBytes;

/// Words of the longest that is encoded so.
const WORDS: usize = 6;

/// A key or a value that is short text or a number, encoded.
pub(crate) struct Short {
    words: [u64; WORDS],
    len: usize,
}

impl Short {
    /// `None`: it is too long.
    #[inline]
    pub(crate) fn of(text: &[u8]) -> Option<Self> {
        if text.len() >= 8 * WORDS {
            return None;
        }
        // Below 128, a length is one byte. Behind it each word is one of the text's own, seven bytes farther on.
        let (first, last) = (word_of(text, 0), text.last_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes)));
        let mut words = [0; WORDS];
        let (start, behind) = words.split_first_mut()?;
        *start = (first << 8 | text.len() as u64).to_le();
        for (i, word) in behind.iter_mut().enumerate() {
            let here = match text.get(8 * i + 7..) {
                None | Some([]) => break,
                Some(rest) => match rest.first_chunk() {
                    Some(bytes) => u64::from_le_bytes(*bytes),
                    // The last 8 bytes, without those that belong to the word before.
                    None => last >> (64 - 8 * rest.len()),
                },
            };
            *word = here.to_le();
        }
        Some(Self { words, len: text.len() + 1 })
    }

    /// A value that is text, or a number. `None`: it is neither, or too long.
    #[inline]
    pub(crate) fn of_value<V: DictItem>(value: &V) -> Option<Self> {
        if !is_number::<V>() {
            return text_of(value).and_then(Self::of);
        }
        let mut words = [0; WORDS];
        let len = number_to_bytes(value, words.as_mut_bytes())?;
        Some(Self { words, len })
    }

    #[inline(always)]
    pub(crate) fn bytes(&self) -> &[u8] {
        self.words.as_bytes().get(..self.len).unwrap_or_default()
    }
}

/// The value of these bytes, if it is a number or short text: neither says anything of handles. `None`: the codec knows.
#[inline]
pub(crate) fn from_short<T: DictItem>(bytes: &[u8]) -> Option<T> {
    if is_number::<T>() {
        return number_from_bytes(bytes);
    }
    let mut made: Option<T> = None;
    let place: &mut dyn Any = &mut made;
    let place = place.downcast_mut::<Option<String>>()?;
    let (_, text) = bytes.split_first().filter(|(len, text)| **len < 128 && usize::from(**len) == text.len())?;
    *place = Some(core::str::from_utf8(text).ok()?.to_owned());
    made
}

#[cfg(test)]
mod tests {
    use super::{Short, WORDS, from_short};
    use crate::handle::dict_codec::{DictItem, sealed::AsKey, text_of};
    use core::fmt::Debug;

    /// What the codec makes of it.
    fn encoded<T: DictItem>(item: &T) -> Vec<u8> {
        let mut bytes = Vec::new();
        item.encode_into(usize::MAX, &mut bytes, "it").unwrap();
        bytes
    }

    #[test]
    fn text_of_every_length_is_encoded_as_the_codec_does() {
        for len in 0..60 {
            let text: String = (0..len).map(|i| char::from(b'!' + i as u8)).collect();
            let vec: Vec<u8> = (0..len).map(|i| 255 - i as u8).collect();
            assert_eq!((AsKey::<String>::text(text.as_str()), text_of(&vec)), (text_of(&text), Some(vec.as_slice())));
            for (own, expected) in [(text.as_bytes(), encoded(&text)), (&vec, encoded(&vec))] {
                let short = Short::of(own);
                assert_eq!(short.is_some(), len < 8 * WORDS);
                assert!(short.is_none_or(|short| short.bytes() == expected), "{len}");
            }
            assert_eq!(from_short::<String>(&encoded(&text)), Some(text.clone()));
            assert!(Short::of_value(&text).is_none_or(|short| short.bytes() == encoded(&text)));
        }
        assert!(text_of(&7_u64).is_none() && text_of(&vec![7_u16]).is_none() && from_short::<Vec<u8>>(&[0]).is_none());
    }

    #[test]
    fn numbers_are_encoded_as_the_codec_does() {
        fn comes_back<T: DictItem + PartialEq + Debug>(all: &[T]) {
            for number in all {
                let short = Short::of_value(number).unwrap();
                assert_eq!(short.bytes(), encoded(number), "{number:?}");
                assert_eq!(from_short::<T>(short.bytes()).as_ref(), Some(number));
                let mut more = short.bytes().to_vec();
                more.push(0);
                assert!(from_short::<T>(&more).is_none() && from_short::<T>(&more[..more.len() - 2]).is_none());
            }
        }
        comes_back(&[0, 127, 128, 300, 1 << 40, u64::MAX]);
        comes_back(&[0, -1, 63, -64, 64, i64::MIN, i64::MAX]);
        comes_back(&[0, u16::MAX]);
        comes_back(&[-1_i8, i8::MIN]);
        comes_back(&[0.5_f64, -0.0, f64::MAX]);
        comes_back(&[1.5_f32]);
        comes_back(&['a', 'ã', char::MAX]);
        comes_back(&[false, true]);
        assert!(Short::of_value(&Some(7)).is_none() && from_short::<Option<u8>>(&[0]).is_none());
    }

    #[test]
    fn what_is_no_value_is_left_to_the_codec() {
        assert!(from_short::<bool>(&[2]).is_none() && from_short::<u8>(&[]).is_none());
        for bytes in [&[][..], &[1], &[2, b'a'], &[1, b'a', b'b'], &[2, 0xc3, 0x28], &[0x81, 0, b'a']] {
            assert!(from_short::<String>(bytes).is_none(), "{bytes:?}");
        }
    }
}
