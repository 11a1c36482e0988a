//! Whole numbers, and the bits of plain data in a word.

use crate::error::{Error, Result};
use crate::segment::plain::PlainData;
use zerocopy::FromBytes;

/// The whole numbers of fixed width: `u8` to `u64` and `i8` to `i64`. (`usize` differs between programs.)
pub trait Integer: PlainData + FromBytes + Ord + sealed::Arithmetic {}

pub(crate) mod sealed {
    /// What the operations on whole numbers need, wrapping around.
    pub trait Arithmetic: Sized {
        /// Whether the number fills its word, so that the machine's own read-modify-write does the right thing.
        const DIRECT: bool;
        fn wrapping_plus(self, n: Self) -> Self;
        fn wrapping_minus(self, n: Self) -> Self;
        fn bits_and(self, mask: Self) -> Self;
        fn bits_or(self, mask: Self) -> Self;
        fn bits_xor(self, mask: Self) -> Self;
    }
}

macro_rules! integers {
    ($($name:ident)*) => { $(
        impl Integer for $name {}
        impl sealed::Arithmetic for $name {
            const DIRECT: bool = size_of::<$name>() >= 4;
            #[inline]
            fn wrapping_plus(self, n: Self) -> Self {
                self.wrapping_add(n)
            }
            #[inline]
            fn wrapping_minus(self, n: Self) -> Self {
                self.wrapping_sub(n)
            }
            #[inline]
            fn bits_and(self, mask: Self) -> Self {
                self & mask
            }
            #[inline]
            fn bits_or(self, mask: Self) -> Self {
                self | mask
            }
            #[inline]
            fn bits_xor(self, mask: Self) -> Self {
                self ^ mask
            }
        }
    )* };
}
integers!(u8 u16 u32 u64 i8 i16 i32 i64);

/// The bytes of a value of at most 8 bytes in one word, in the order they have in memory on a machine of our
/// byte order; the rest is zero.
#[inline]
pub(crate) fn bits64_of<T: PlainData>(value: &T) -> u64 {
    let mut bytes = [0; 8];
    bytes.iter_mut().zip(value.as_bytes()).for_each(|(to, from)| *to = *from);
    u64::from_le_bytes(bytes)
}

/// The same for at most 4 bytes.
#[inline]
pub(crate) fn bits32_of<T: PlainData>(value: &T) -> u32 {
    let mut bytes = [0; 4];
    bytes.iter_mut().zip(value.as_bytes()).for_each(|(to, from)| *to = *from);
    u32::from_le_bytes(bytes)
}

/// The value in a word, if its bytes are one.
#[inline]
pub(crate) fn try_from_bits<T: PlainData>(bits: u64) -> Result<T> {
    T::try_read_from_prefix(&bits.to_le_bytes()).map(|(value, _)| value).map_err(|_| no_value::<T>())
}

/// The value in a word, where any bytes are one. `T` has at most 8 bytes.
#[inline]
pub(crate) fn from_bits<T: FromBytes>(bits: u64) -> T {
    T::read_from_prefix(&bits.to_le_bytes()).map_or_else(|_| T::new_zeroed(), |(value, _)| value)
}

#[cold]
fn no_value<T>() -> Error {
    Error::corrupt(core::any::type_name::<T>(), "its bytes are no value of the type")
}

// Direct arithmetic needs the word to be the number.
#[cfg(target_endian = "big")]
compile_error!("mutirao needs a little-endian target");

#[cfg(test)]
mod tests {
    use super::{bits32_of, bits64_of, from_bits, try_from_bits};

    #[test]
    fn numbers_are_their_words_and_come_back() {
        assert_eq!(bits64_of(&0x0102_u16), 0x0102);
        assert_eq!(bits32_of(&-1_i32), u32::MAX);
        assert_eq!(bits64_of(&-1_i8), 0xff);
        assert_eq!(from_bits::<i8>(0xff), -1);
        assert_eq!(from_bits::<[u8; 3]>(0x03_0201), [1, 2, 3]);
        assert!(try_from_bits::<bool>(2).is_err_and(|e| e.is_corrupt()));
        assert!(try_from_bits::<char>(u64::from('ã')).is_ok_and(|c| c == 'ã'));
    }
}
