//! Keys and values of a dictionary: what they are in a bucket or in a record, and what a key may be looked up by.
//!
//! Two keys are one if they have the same bytes. User code (`Serialize`, `Deserialize`) runs before anything
//! is claimed and after it is free again.

use crate::error::Result;
use crate::handle::bytes::Bytes;
use crate::handle::codec::{Item, encode, too_large};
use crate::handle::integer::{bits64_of, try_from_bits};
use crate::segment::tag::{Encoding, TypeTag};
use crate::sync::AtomicU64;
use core::any::{Any, TypeId};
use core::cell::RefCell;
use core::marker::PhantomData;
use serde::Serialize;
use std::path::{Path, PathBuf};

/// A buffer larger than this is not kept for the next key.
const SPARE_KEPT: usize = 1 << 20;
/// Buffers that are kept: an operation needs up to three.
const SPARES: usize = 4;

thread_local! {
    /// Where keys and values are encoded into. Taken out while it is used, so that user code that uses a dictionary finds
    /// others.
    static SPARE: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// What a [`Dict`](crate::Dict) may have as keys and values: every [`Item`] without borrowed parts.
pub trait DictItem: Item + 'static {}
impl<T: Item + 'static> DictItem for T {}

/// Uses both types up, and owns neither.
pub(crate) type Types<K, V> = PhantomData<fn(K, V) -> (K, V)>;

/// What stands for a key of type `K` in a lookup: `K` itself, and what encodes alike without owning it: `str` for a
/// `String` or `Box<str>`, `[T]` and `[T; N]` for a `Vec<T>` or `Box<[T]>`, `[u8]` for [`Bytes`],
/// `Path` for a `PathBuf`. Sealed: equal bytes is what it promises.
pub trait Lookup<K>: sealed::AsKey<K> {}
impl<K, Q: sealed::AsKey<K> + ?Sized> Lookup<K> for Q {}

pub(crate) mod sealed {
    use crate::error::Result;

    /// How something becomes the bytes of a key of type `K`.
    pub trait AsKey<K> {
        /// The word, where keys are words. What stands for a key that owns memory is none.
        #[inline(always)]
        fn word(&self) -> u64 {
            0
        }
        /// The bytes, at most `limit`, its own or in `spare`.
        fn bytes<'a>(&'a self, limit: usize, spare: &'a mut Vec<u8>) -> Result<&'a [u8]>;
        /// Those behind the length, where the bytes are a length and nothing but those.
        #[inline(always)]
        fn text(&self) -> Option<&[u8]> {
            None
        }
    }
}

impl<K: DictItem> sealed::AsKey<K> for K {
    #[inline(always)]
    fn word(&self) -> u64 {
        to_word(self)
    }

    #[inline(always)]
    fn bytes<'a>(&'a self, limit: usize, spare: &'a mut Vec<u8>) -> Result<&'a [u8]> {
        to_bytes(self, limit, spare, "a key")
    }

    #[inline(always)]
    fn text(&self) -> Option<&[u8]> {
        text_of(self)
    }
}

/// The bytes behind the length, of what the codec encodes as a length and those.
#[inline(always)]
pub(crate) fn text_of<T: 'static>(item: &T) -> Option<&[u8]> {
    let item: &dyn Any = item;
    if let Some(text) = item.downcast_ref::<String>() {
        return Some(text.as_bytes());
    }
    item.downcast_ref::<Vec<u8>>().map(Vec::as_slice)
}

/// What is never a word, because what it stands for owns memory.
macro_rules! borrowed {
    ($($borrowed:ty => $key:ty $(, $param:ident $(, $len:ident)?)?;)*) => { $(
        impl<$($param: Serialize $(, const $len: usize)?)?> sealed::AsKey<$key> for $borrowed {
            fn bytes<'a>(&'a self, limit: usize, spare: &'a mut Vec<u8>) -> Result<&'a [u8]> {
                borrowed_bytes(borrowed!(@view self $(, $param $(, $len)?)?), limit, spare)
            }
        }
    )* };
    (@view $self:ident, $param:ident, $len:ident) => { $self.as_slice() };
    (@view $self:ident $(, $param:ident)?) => { $self };
}
borrowed! {
    Path => PathBuf;
    [T] => Vec<T>, T;
    [T] => Box<[T]>, T;
    [T; N] => Vec<T>, T, N;
    [T; N] => Box<[T]>, T, N;
}

/// As [`borrowed`], of text.
macro_rules! text {
    ($($key:ty)*) => { $(
        impl sealed::AsKey<$key> for str {
            fn bytes<'a>(&'a self, limit: usize, spare: &'a mut Vec<u8>) -> Result<&'a [u8]> {
                borrowed_bytes(self, limit, spare)
            }

            #[inline(always)]
            fn text(&self) -> Option<&[u8]> {
                Some(self.as_bytes())
            }
        }
    )* };
}
text!(String Box<str>);

impl sealed::AsKey<Bytes> for [u8] {
    fn bytes<'a>(&'a self, limit: usize, _: &'a mut Vec<u8>) -> Result<&'a [u8]> {
        if self.len() > limit { Err(too_large(self.len(), limit).of_entry("a key")) } else { Ok(self) }
    }
}

impl<const N: usize> sealed::AsKey<Bytes> for [u8; N] {
    fn bytes<'a>(&'a self, limit: usize, spare: &'a mut Vec<u8>) -> Result<&'a [u8]> {
        sealed::AsKey::<Bytes>::bytes(self.as_slice(), limit, spare)
    }
}

fn borrowed_bytes<'a, T: Serialize + ?Sized>(key: &T, limit: usize, spare: &'a mut Vec<u8>) -> Result<&'a [u8]> {
    encode(key, limit, spare, "a key").map_err(|error| error.of_entry("a key"))?;
    Ok(spare)
}

/// Bytes of an item: its own if it is plain, else encoded into `spare`.
#[inline(always)]
pub(crate) fn to_bytes<'a, T: DictItem>(
    item: &'a T,
    limit: usize,
    spare: &'a mut Vec<u8>,
    what: &'static str,
) -> Result<&'a [u8]> {
    match item.fixed_bytes() {
        Some(bytes) if bytes.len() <= limit => Ok(bytes),
        _ => {
            item.encode_into(limit, spare, what).map_err(|error| error.of_entry(what))?;
            Ok(spare)
        }
    }
}

/// Runs `f` with a buffer that is empty or holds what is of no use any more.
#[inline]
pub(crate) fn with_spare<R>(f: impl FnOnce(&mut Vec<u8>) -> R) -> R {
    // A thread that ends has no buffer any more.
    let mut spare = SPARE.try_with(|kept| kept.borrow_mut().pop()).ok().flatten().unwrap_or_default();
    let result = f(&mut spare);
    if spare.capacity() <= SPARE_KEPT {
        let _ = SPARE.try_with(|kept| {
            let mut kept = kept.borrow_mut();
            if kept.len() < SPARES {
                kept.push(spare);
            }
        });
    }
    result
}

/// The types whose values are words, beside plain data of at most 8 bytes.
macro_rules! words {
    ($($name:ident)*) => {
        pub(crate) fn is_number<T: 'static>() -> bool {
            let this = TypeId::of::<T>();
            $(this == TypeId::of::<$name>())||*
        }

        #[inline(always)]
        fn number_to_word<T: 'static>(item: &T) -> u64 {
            let item: &dyn Any = item;
            $(if let Some(number) = item.downcast_ref::<$name>() {
                return bits64_of(number);
            })*
            0
        }

        /// Encodes a number as the codec does. How many bytes that are.
        #[inline]
        pub(crate) fn number_to_bytes<T: 'static>(item: &T, bytes: &mut [u8]) -> Option<usize> {
            let item: &dyn Any = item;
            $(if let Some(number) = item.downcast_ref::<$name>() {
                return postcard::to_slice(number, bytes).ok().map(|bytes| bytes.len());
            })*
            None
        }

        /// The number that is encoded so, and nothing else. `None`: the codec knows.
        #[inline]
        pub(crate) fn number_from_bytes<T: 'static>(bytes: &[u8]) -> Option<T> {
            let mut made: Option<T> = None;
            let place: &mut dyn Any = &mut made;
            $(if let Some(place) = place.downcast_mut::<Option<$name>>() {
                *place = Some(postcard::take_from_bytes(bytes).ok().filter(|(_, rest)| rest.is_empty())?.0);
                return made;
            })*
            made
        }

        #[inline(always)]
        fn number_from_word<T: 'static>(word: u64) -> Result<Option<T>> {
            let mut made: Option<T> = None;
            let place: &mut dyn Any = &mut made;
            $(if let Some(place) = place.downcast_mut::<Option<$name>>() {
                *place = Some(try_from_bits(word)?);
                return Ok(made);
            })*
            Ok(made)
        }
    };
}
words!(u8 u16 u32 u64 i8 i16 i32 i64 bool char f32 f64);

/// Whether every value of the type is one word: numbers, `bool`, `char`, and plain data of at most 8 bytes. Known when
/// the program is compiled.
#[inline(always)]
pub(crate) fn is_word<T: DictItem>() -> bool {
    match T::FIXED {
        Some(size) => size <= 8,
        None => is_number::<T>(),
    }
}

/// Whether every word is a value of the type.
#[inline(always)]
pub(crate) fn is_any_word<T: DictItem>() -> bool {
    T::FIXED.is_none()
        && is_number::<T>()
        && TypeId::of::<T>() != TypeId::of::<bool>()
        && TypeId::of::<T>() != TypeId::of::<char>()
}

/// The word of a value, if it [is one](is_word).
#[inline(always)]
pub(crate) fn to_word<T: DictItem>(item: &T) -> u64 {
    let Some(bytes) = item.fixed_bytes() else { return number_to_word(item) };
    let mut word = [0; 8];
    word.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
    u64::from_le_bytes(word)
}

/// The value of a word.
#[inline(always)]
pub(crate) fn from_word<T: DictItem>(word: u64) -> Result<T> {
    if T::FIXED.is_none()
        && let Some(number) = number_from_word(word)?
    {
        return Ok(number);
    }
    T::decode(T::copy_out(&[AtomicU64::new(word)], size_of::<T>().min(8)))
}

/// How many bytes of its word a value has.
#[inline(always)]
pub(crate) fn word_bytes<T: DictItem>() -> usize {
    T::FIXED.unwrap_or(size_of::<T>()).min(8)
}

/// Whether keys and values stand in the buckets themselves.
#[inline(always)]
pub(crate) fn is_inline<K: DictItem, V: DictItem>() -> bool {
    is_word::<K>() && is_word::<V>()
}

/// What a segment says of the two types.
pub(crate) fn tag<K: DictItem, V: DictItem>() -> TypeTag {
    let (key, value) = (K::NAME.tag(), V::NAME.tag());
    if is_inline::<K, V>() {
        return TypeTag::pair(&key.encoded(Encoding::Word), &value.encoded(Encoding::Word));
    }
    TypeTag::pair(&key, &value)
}

#[cfg(test)]
mod tests {
    use super::{DictItem, Lookup, from_word, is_word, tag, to_bytes, to_word, with_spare};
    use crate::handle::bytes::Bytes;
    use crate::handle::codec::Plain;
    use core::fmt::Debug;

    fn comes_back<T: DictItem + PartialEq + Debug>(value: T) -> u64 {
        assert!(is_word::<T>());
        let word = to_word(&value);
        assert_eq!(from_word::<T>(word).unwrap(), value);
        word
    }

    #[test]
    fn numbers_and_small_plain_data_are_words() {
        assert_eq!(comes_back(u64::MAX), u64::MAX);
        assert_eq!(comes_back(-1_i8), 0xff);
        assert_eq!(comes_back(true), 1);
        assert_eq!(comes_back('ã'), u64::from('ã'));
        assert_eq!(comes_back(0.5_f32), u64::from(0.5_f32.to_bits()));
        assert_eq!(comes_back(Plain([1_u8, 2, 3])), 0x03_0201);
        assert_eq!(comes_back(Plain([0_u8; 0])), 0);
        assert!(!is_word::<u128>() && !is_word::<Plain<[u8; 9]>>() && !is_word::<String>() && !is_word::<Option<u8>>());
    }

    #[test]
    fn words_that_are_no_value_are_an_error() {
        assert!(from_word::<bool>(2).is_err_and(|e| e.is_corrupt()));
        assert!(from_word::<Plain<bool>>(2).is_err_and(|e| e.is_corrupt()));
        assert!(from_word::<char>(0xd800).is_err_and(|e| e.is_corrupt()));
    }

    /// The bytes of what stands for a key, as those of the key.
    fn encodes_alike<K: DictItem, Q: Lookup<K> + ?Sized>(key: &K, by: &Q) {
        let mut own = Vec::new();
        let own = to_bytes(key, 1000, &mut own, "a key").unwrap();
        with_spare(|spare| assert_eq!(by.bytes(1000, spare).unwrap(), own));
    }

    #[test]
    fn what_stands_for_a_key_has_its_bytes() {
        for text in ["", "ada", "mutirão", &"x".repeat(300)] {
            encodes_alike(&text.to_owned(), text);
            encodes_alike::<Box<str>, _>(&text.into(), text);
            encodes_alike(&std::path::PathBuf::from(text), std::path::Path::new(text));
        }
        encodes_alike(&vec![1_u32, 2, 3], &[1_u32, 2, 3]);
        encodes_alike(&vec![1_u32, 2, 3], [1_u32, 2, 3].as_slice());
        encodes_alike(&Bytes(vec![1, 2]), &[1_u8, 2]);
        encodes_alike::<Box<[u8]>, _>(&vec![7; 200].into(), [7_u8; 200].as_slice());
    }

    #[test]
    fn a_key_too_large_is_said_to_be_a_key() {
        let error = with_spare(|spare| to_bytes(&"x".repeat(100), 50, spare, "a key").map(|_| ())).unwrap_err();
        assert!(error.is_too_large() && error.to_string().starts_with("a key of 101 bytes"), "{error}");
        let error = with_spare(|spare| to_bytes(&Plain([0_u8; 60]), 50, spare, "a value").map(|_| ())).unwrap_err();
        assert!(error.is_too_large() && error.to_string().starts_with("a value of 60 bytes"), "{error}");
    }

    #[test]
    fn the_tag_tells_words_from_records() {
        assert_eq!(tag::<u32, f64>().to_string(), "<u32, f64> (keys of 4 bytes, a word, values of 8, a word)");
        assert!(tag::<u32, String>().to_string().contains("keys of 4 bytes, postcard"));
    }
}
