//! What may live in shared bytes as it is, and the copies in and out.
//!
//! A peer may write at any time, so no reference to a value in the segment is ever made: bytes are
//! copied word by word with relaxed atomics into private memory, then checked, then used.

#![allow(unsafe_code)] // the bytes of a private copy, before they are known to be a value

use crate::error::{Error, Result};
use crate::segment::moves::{LONG, eight_out, long_in, long_out, pair_out, pairs_in, wide_in, wide_out};
use crate::sync::{AtomicU64, Ordering};
use core::mem::{MaybeUninit, size_of};
use zerocopy::{Immutable, IntoBytes, TryFromBytes};

/// Plain data: a type whose bytes may be copied into and out of a segment as they are.
///
/// The trait is implemented for every `Copy + 'static` type that derives zerocopy's `TryFromBytes`,
/// `IntoBytes` and `Immutable`. `bool`, `char` and enums are fine: bytes are copied out, then checked.
///
/// ```
/// use mutirao::PlainData;
/// #[derive(Clone, Copy, zerocopy::TryFromBytes, zerocopy::IntoBytes, zerocopy::Immutable)]
/// #[repr(C)]
/// struct Point { x: f64, y: f64 }
/// fn is_plain<T: PlainData>() {}
/// is_plain::<Point>();
/// is_plain::<[u8; 64]>();
/// is_plain::<bool>();
/// ```
///
/// A reference is an address of one process:
/// ```compile_fail
/// fn is_plain<T: mutirao::PlainData>() {}
/// is_plain::<&'static u32>();
/// ```
/// So is a pointer:
/// ```compile_fail
/// fn is_plain<T: mutirao::PlainData>() {}
/// is_plain::<*const u32>();
/// ```
/// Padding would carry uninitialised memory to others:
/// ```compile_fail
/// #[derive(Clone, Copy, zerocopy::TryFromBytes, zerocopy::IntoBytes, zerocopy::Immutable)]
/// #[repr(C)]
/// struct Padded { small: u8, large: u64 }
/// ```
/// Interior mutability would write behind a shared reference:
/// ```compile_fail
/// fn is_plain<T: mutirao::PlainData>() {}
/// is_plain::<std::cell::Cell<u32>>();
/// ```
/// What owns memory is not in its bytes:
/// ```compile_fail
/// fn is_plain<T: mutirao::PlainData>() {}
/// is_plain::<String>();
/// ```
pub trait PlainData: TryFromBytes + IntoBytes + Immutable + Copy + 'static {}
impl<T: TryFromBytes + IntoBytes + Immutable + Copy + 'static> PlainData for T {}

/// The most bytes of a value that the processor's registers hold, which are 16 of 16 bytes.
const IN_REGISTERS: usize = 256;

/// Words that `bytes` bytes need.
pub(crate) const fn words_for(bytes: usize) -> usize {
    bytes.div_ceil(8)
}

/// Copies `bytes` into `words`, the last word filled up with zeros. Copies as much as fits.
#[inline]
pub(crate) fn copy_in(words: &[AtomicU64], bytes: &[u8]) {
    let (whole, rest) = bytes.as_chunks::<8>();
    if whole.len() >= LONG {
        long_in(words, whole);
    } else if !wide_in(words, whole) {
        words_in(words, whole);
    }
    fill_up(words.get(whole.len()), bytes, rest);
}

/// As [`copy_in`], of what goes into a record.
#[inline(always)]
pub(crate) fn copy_in_record(words: &[AtomicU64], bytes: &[u8]) {
    let (whole, rest) = bytes.as_chunks::<8>();
    if whole.len() >= LONG {
        long_in(words, whole);
    } else if !pairs_in(words, whole) {
        words_in(words, whole);
    }
    fill_up(words.get(whole.len()), bytes, rest);
}

#[inline(always)]
fn words_in(words: &[AtomicU64], chunks: &[[u8; 8]]) {
    for (word, chunk) in words.iter().zip(chunks) {
        word.store(u64::from_ne_bytes(*chunk), Ordering::Relaxed);
    }
}

/// Writes the last word of `bytes`, of which `rest` stands in it, if any.
#[inline(always)]
fn fill_up(word: Option<&AtomicU64>, bytes: &[u8], rest: &[u8]) {
    if !rest.is_empty()
        && let Some(word) = word
    {
        word.store(filled_up(bytes, rest), Ordering::Relaxed);
    }
}

/// The last word of `bytes`, of which `rest` stands in it.
#[inline(always)]
pub(in crate::segment) fn filled_up(bytes: &[u8], rest: &[u8]) -> u64 {
    if let Some(last) = bytes.last_chunk::<8>() {
        // Without those that stand in the word before.
        let low = u64::from_le_bytes(*last) >> (64 - 8 * rest.len() as u32 % 64);
        return u64::from_ne_bytes(low.to_le_bytes());
    }
    let mut last = [0; 8];
    last.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
    u64::from_ne_bytes(last)
}

/// Copies `words` into `bytes`. Copies as much as there is.
#[inline]
pub(crate) fn copy_out(words: &[AtomicU64], bytes: &mut [u8]) {
    let (at, len) = (bytes.as_mut_ptr().cast::<MaybeUninit<u8>>(), bytes.len());
    // SAFETY: 1. the same bytes, ours alone for as long. 2. `fill` writes nothing but bytes there.
    fill(words, unsafe { core::slice::from_raw_parts_mut(at, len) });
}

/// As [`copy_out`], to where nothing needs to be yet. What is written are bytes.
#[inline(always)]
fn fill(words: &[AtomicU64], bytes: &mut [MaybeUninit<u8>]) {
    let (whole, rest) = bytes.as_chunks_mut::<8>();
    if whole.len() >= LONG {
        long_out(words, whole);
    } else if !wide_out(words, whole) {
        for (word, chunk) in words.iter().zip(whole.iter_mut()) {
            *chunk = word.load(Ordering::Relaxed).to_ne_bytes().map(MaybeUninit::new);
        }
    }
    if let Some(word) = words.get(whole.len()) {
        let last = word.load(Ordering::Relaxed).to_ne_bytes();
        rest.iter_mut().zip(last).for_each(|(to, from)| *to = MaybeUninit::new(from));
    }
}

/// As [`fill`], through registers that the compiler knows of.
#[inline(always)]
fn fill_by_registers(words: &[AtomicU64], bytes: &mut [MaybeUninit<u8>]) {
    let (whole, rest) = bytes.as_chunks_mut::<64>();
    let (eights, words) = words.split_at_checked(8 * whole.len()).unwrap_or_default();
    whole.iter_mut().zip(eights.as_chunks::<8>().0).for_each(|(to, eight)| *to = eight_out(eight));
    let (whole, rest) = rest.as_chunks_mut::<16>();
    let (pairs, words) = words.split_at_checked(2 * whole.len()).unwrap_or_default();
    whole.iter_mut().zip(pairs.as_chunks::<2>().0).for_each(|(to, pair)| *to = pair_out(pair));
    let bytes = words.iter().flat_map(|word| word.load(Ordering::Relaxed).to_ne_bytes());
    rest.iter_mut().zip(bytes).for_each(|(to, from)| *to = MaybeUninit::new(from));
}

/// Writes `bytes` from byte `offset` of `words` on, which are ours alone. Copies as much as fits.
pub(crate) fn write_at(words: &[AtomicU64], offset: usize, bytes: &[u8]) {
    let (words, lead) = (words.get(offset / 8..).unwrap_or_default(), offset % 8);
    let Some((first, rest)) = words.split_first() else { return };
    let (head, tail) = bytes.split_at(if lead == 0 { 0 } else { bytes.len().min(8 - lead) });
    patch(first, lead, head);
    let words = if lead == 0 { words } else { rest };
    let (whole, last) = tail.split_at(tail.len() & !7);
    copy_in(words, whole);
    if let Some(word) = words.get(whole.len() / 8) {
        patch(word, 0, last);
    }
}

/// Copies what stands from byte `offset` of `words` on into `bytes`. Copies as much as there is.
pub(crate) fn read_at(words: &[AtomicU64], offset: usize, bytes: &mut [u8]) {
    let (words, lead) = (words.get(offset / 8..).unwrap_or_default(), offset % 8);
    let Some((first, rest)) = words.split_first() else { return };
    let (head, tail) = bytes.split_at_mut(if lead == 0 { 0 } else { bytes.len().min(8 - lead) });
    let word = first.load(Ordering::Relaxed).to_ne_bytes();
    head.iter_mut().zip(word.iter().skip(lead)).for_each(|(to, from)| *to = *from);
    copy_out(if lead == 0 { words } else { rest }, tail);
}

/// Replaces bytes within one word.
fn patch(word: &AtomicU64, at: usize, bytes: &[u8]) {
    if bytes.is_empty() {
        return;
    }
    let mut whole = word.load(Ordering::Relaxed).to_ne_bytes();
    whole.iter_mut().skip(at).zip(bytes).for_each(|(to, from)| *to = *from);
    word.store(u64::from_ne_bytes(whole), Ordering::Relaxed);
}

/// Bytes where they lie in shared memory.
#[derive(Clone, Copy)]
pub struct BytesView<'a> {
    words: &'a [AtomicU64],
    len: usize,
}

impl<'a> BytesView<'a> {
    /// The first `len` bytes of `words`, or as many as there are.
    pub(crate) fn new(words: &'a [AtomicU64], len: usize) -> Self {
        Self { words, len: len.min(words.len() * 8) }
    }

    /// How many bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// As words of 8 bytes, the last one filled up. Others may write to them at any time.
    pub fn as_atomics(&self) -> &'a [AtomicU64] {
        self.words
    }

    /// As a slice: nothing reads faster, and nothing protects it.
    ///
    /// # Safety
    ///
    /// 1. No process writes to these bytes while the slice lives. Participants that use this crate do not: an item
    ///    that is leased is its holder's. That every other one is as well-behaved is for the caller to know.
    pub unsafe fn as_slice(&self) -> &'a [u8] {
        debug_assert!(self.len <= self.words.len() * 8);
        // SAFETY: 1. as long as the words are, which live that long; bytes have no alignment and no bad values.
        //         2. Nobody writes: the caller's promise.
        unsafe { core::slice::from_raw_parts(self.words.as_ptr().cast(), self.len) }
    }
}

impl core::fmt::Debug for BytesView<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("BytesView").field("len", &self.len).finish_non_exhaustive()
    }
}

/// Writes a value's bytes into `words`.
#[inline]
pub(crate) fn write_plain<T: PlainData>(words: &[AtomicU64], value: &T) {
    copy_in(words, value.as_bytes());
}

/// The value in `words`: copied out, then checked.
#[inline]
pub(crate) fn read_plain<T: PlainData>(words: &[AtomicU64]) -> Result<T> {
    Scratch::empty().fill(words).and_then(Full::value).ok_or_else(not_a_value::<T>)
}

/// Room for the bytes of a value, before they are known to be one. In as few lines of the processor as may be: what is
/// written to two lines at once is not forwarded to who reads it next.
#[repr(C, align(64))]
pub struct Scratch<T>(MaybeUninit<T>);

/// Private bytes of a value, all of them, which may be one.
///
/// Invariant: every byte is initialised (and was only ever written as bytes).
pub struct Full<'a, T>(&'a mut MaybeUninit<T>);

impl<T: PlainData> Scratch<T> {
    /// Nothing yet.
    #[inline(always)]
    pub(crate) fn empty() -> Self {
        Self(MaybeUninit::uninit())
    }

    /// Zeros.
    #[inline(always)]
    pub(crate) fn zeros(&mut self) -> Full<'_, T> {
        self.0 = MaybeUninit::zeroed();
        Full(&mut self.0)
    }

    /// Copies `words` here. `None`: they are not enough.
    #[inline(always)]
    pub(crate) fn fill(&mut self, words: &[AtomicU64]) -> Option<Full<'_, T>> {
        let at = self.0.as_mut_ptr().cast::<MaybeUninit<u8>>();
        // SAFETY: 1. the bytes are ours, for as long as `self` is borrowed. 2. `fill` writes nothing but bytes there.
        fill(words, unsafe { core::slice::from_raw_parts_mut(at, size_of::<T>()) });
        if words.len() < words_for(size_of::<T>()) { None } else { Some(Full(&mut self.0)) }
    }
}

impl<T: PlainData> Full<'_, T> {
    /// The bytes.
    #[inline(always)]
    pub(crate) fn bytes(&mut self) -> &mut [u8] {
        let at = self.0.as_mut_ptr().cast::<u8>();
        // SAFETY: 1. the bytes are ours, for as long as `self` is borrowed. 2. all are initialised: the
        //         invariant. 3. what is written are bytes, so it stays true.
        unsafe { core::slice::from_raw_parts_mut(at, size_of::<T>()) }
    }

    /// The value, if the bytes are one, moved once.
    #[inline(always)]
    pub(crate) fn value(mut self) -> Option<T> {
        let is_one = T::try_read_from_bytes(self.bytes()).is_ok();
        // SAFETY: 1. all bytes are there, and are a value. 2. It is taken once: `self` ends here.
        if is_one { Some(unsafe { self.0.assume_init_read() }) } else { None }
    }
}

/// The value in `words`, if they are enough and it is one. One that fits the processor's registers is never in memory
/// before it is where it is to be, however often it is moved on the way.
#[inline(always)]
pub(crate) fn value_in<T: PlainData>(words: &[AtomicU64]) -> Option<T> {
    if size_of::<T>() > IN_REGISTERS {
        return Scratch::empty().fill(words).and_then(Full::value);
    }
    let words = words.get(..words_for(size_of::<T>()))?;
    let mut value = MaybeUninit::<T>::uninit();
    // SAFETY: 1. the bytes are ours. 2. Nothing is written there but bytes.
    fill_by_registers(words, unsafe { core::slice::from_raw_parts_mut(value.as_mut_ptr().cast(), size_of::<T>()) });
    Full(&mut value).value()
}

#[cold]
pub(crate) fn not_a_value<T>() -> Error {
    Error::corrupt(core::any::type_name::<T>(), "its bytes are no value of the type")
}

#[cfg(test)]
mod tests {
    use super::{copy_in, copy_in_record, copy_out, read_plain, value_in, words_for, write_plain};
    use crate::sync::{AtomicU64, Ordering::Relaxed};

    #[test]
    fn every_length_comes_back() {
        for len in (0..600).chain(1000..1050) {
            let words: Vec<_> = (0..words_for(len)).map(|_| AtomicU64::new(u64::MAX)).collect();
            let bytes: Vec<u8> = (0..len).map(|i| (i % 251) as u8 + 1).collect();
            for copy in [copy_in, copy_in_record] {
                words.iter().for_each(|word| word.store(u64::MAX, Relaxed));
                copy(&words, &bytes);
                let mut back = vec![0; 8 * words.len()];
                copy_out(&words, &mut back);
                assert_eq!(back[..len], bytes);
                assert!(back[len..].iter().all(|byte| *byte == 0), "filled up");
            }
        }
    }

    #[test]
    fn values_of_every_size_come_out_of_as_many_words() {
        fn comes_back<const N: usize>() {
            let bytes: [u8; N] = core::array::from_fn(|i| (i % 251) as u8 + 1);
            let words: Vec<_> = (0..words_for(N) + 1).map(|_| AtomicU64::new(u64::MAX)).collect();
            copy_in(&words, &bytes);
            assert_eq!(value_in::<[u8; N]>(&words), Some(bytes));
            assert_eq!(value_in::<[u8; N]>(&words[..words_for(N)]), Some(bytes));
            assert!(N == 0 || value_in::<[u8; N]>(&words[..words_for(N) - 1]).is_none());
        }
        macro_rules! come_back { ($($size:literal)*) => { $(comes_back::<$size>();)* }; }
        come_back!(0 1 2 7 8 9 15 16 17 23 24 25 31 32 33 40 47 48 49 63 64 65 100 127 128 200 241 248 255 256 257 300 1000);
        let words = [0, 1, 0, 1].map(|n: u64| AtomicU64::new(n * 0x0101_0101_0101_0101));
        let bools = value_in::<[bool; 32]>(&words).unwrap();
        assert!(bools.iter().enumerate().all(|(i, is)| *is == (i / 8 % 2 == 1)));
        words[3].store(2 << 56, Relaxed);
        assert!(value_in::<[bool; 32]>(&words).is_none() && value_in::<[bool; 31]>(&words).is_some());
    }

    #[test]
    fn every_part_is_written_and_read_alone() {
        for offset in 0..20 {
            for len in 0..30 {
                let words: Vec<_> = (0..7).map(|_| AtomicU64::new(u64::MAX)).collect();
                let bytes: Vec<u8> = (0..len).map(|i| i as u8 + 1).collect();
                super::write_at(&words, offset, &bytes);
                let mut expected = vec![0xff; 56];
                expected[offset..offset + len].copy_from_slice(&bytes);
                let mut all = vec![0; 56];
                copy_out(&words, &mut all);
                assert_eq!(all, expected, "{len} bytes at {offset}");
                let mut back = vec![0; len];
                super::read_at(&words, offset, &mut back);
                assert_eq!(back, bytes);
            }
        }
    }

    #[test]
    fn bytes_that_are_no_value_are_an_error() {
        let words = [AtomicU64::new(2)];
        assert!(read_plain::<bool>(&words).is_err_and(|e| e.is_corrupt()));
        write_plain(&words, &true);
        assert!(read_plain::<bool>(&words).is_ok_and(|v| v));
    }
}
