//! What may live in shared bytes as it is, and the copies in and out.
//!
//! A peer may write at any time, so no reference to a value in the segment is ever made: bytes are
//! copied word by word with relaxed atomics into private memory, then checked, then used.

#![allow(unsafe_code)] // the bytes of a private copy, before they are known to be a value

use crate::error::{Error, Result};
use crate::sync::{AtomicU64, Ordering};
use core::mem::size_of;
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

/// Words that `bytes` bytes need.
pub(crate) const fn words_for(bytes: usize) -> usize {
    bytes.div_ceil(8)
}

/// Copies of so many words are left to an instruction of the processor, which moves a line at a time: 45 GB/s where
/// single words make 25.
const LONG: usize = 128;
/// Out of a segment, from so many words on, moves of 32 bytes: each instruction less lets the processor begin the next
/// lookup of a table earlier.
const WIDE_OUT: usize = 16;
/// Into a segment only from so many on: what is sent was often written a word at a time just before, and a wide load
/// waits until that has arrived.
const WIDE_IN: usize = 64;

/// Copies all that both have. The compiler does not see into it, so it can not read twice what a neighbour may
/// write meanwhile.
#[cfg(target_arch = "x86_64")]
#[inline(never)]
fn long_in(words: &[AtomicU64], chunks: &[[u8; 8]]) {
    let count = words.len().min(chunks.len());
    // SAFETY: 1. both are that long and do not overlap: one is private. 2. The words are atomics, which may be
    //         written through a shared reference, here by aligned stores of the processor.
    unsafe { move_words(words.as_ptr().cast_mut().cast(), chunks.as_ptr().cast(), count) };
}

/// As [`long_in`], the other way.
#[cfg(target_arch = "x86_64")]
#[inline(never)]
fn long_out(words: &[AtomicU64], chunks: &mut [[u8; 8]]) {
    let count = words.len().min(chunks.len());
    // SAFETY: 1. both are that long and do not overlap: one is private and ours alone.
    unsafe { move_words(chunks.as_mut_ptr().cast(), words.as_ptr().cast(), count) };
}

/// # Safety
///
/// 1. `to` may be written and `from` read, `count` words each, and they do not overlap.
/// 2. Others may do so at the same time only by atomic accesses.
#[cfg(target_arch = "x86_64")]
unsafe fn move_words(to: *mut u8, from: *const u8, count: usize) {
    // SAFETY: 1. and 2. as of this function; the direction flag is clear, as the ABI says.
    unsafe {
        core::arch::asm!(
            "rep movsq",
            inout("rcx") count => _,
            inout("rdi") to => _,
            inout("rsi") from => _,
            options(nostack, preserves_flags),
        );
    }
}

/// Copies all that both have, if they have the length for it and the processor has the registers. The compiler does
/// not see into it, as in [`long_in`].
#[inline(always)]
fn wide_in(words: &[AtomicU64], chunks: &[[u8; 8]]) -> bool {
    let count = words.len().min(chunks.len());
    #[cfg(target_arch = "x86_64")]
    if count >= WIDE_IN && std::is_x86_feature_detected!("avx") {
        // SAFETY: 1. and 2. as in `long_in`. 3. and 4. compared above.
        unsafe { move_wide(words.as_ptr().cast_mut().cast(), chunks.as_ptr().cast(), count) };
        return true;
    }
    let _ = count;
    false
}

/// As [`wide_in`], the other way.
#[inline(always)]
fn wide_out(words: &[AtomicU64], chunks: &mut [[u8; 8]]) -> bool {
    let count = words.len().min(chunks.len());
    #[cfg(target_arch = "x86_64")]
    if count >= WIDE_OUT && std::is_x86_feature_detected!("avx") {
        // SAFETY: 1. and 2. as in `long_out`. 3. and 4. compared above.
        unsafe { move_wide(chunks.as_mut_ptr().cast(), words.as_ptr().cast(), count) };
        return true;
    }
    let _ = count;
    false
}

/// # Safety
///
/// 1. and 2. as of [`move_words`].
/// 3. There are at least 4 words.
/// 4. The processor has AVX.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
unsafe fn move_wide(to: *mut u8, from: *const u8, count: usize) {
    let (mut at, end) = (0, 8 * count);
    // As wide as the moves of the C library where these are: a narrower store keeps its wider load of the same bytes waiting
    // until everything before has happened, and then no lookup overlaps with the next one.
    if std::is_x86_feature_detected!("avx512f") {
        while at + 128 <= end {
            // SAFETY: 1. and 2. of this function; all 128 bytes are before the end; the processor has AVX-512.
            unsafe {
                core::arch::asm!(
                    "vmovups zmm0, [{from} + {at}]",
                    "vmovups zmm1, [{from} + {at} + 64]",
                    "vmovups [{to} + {at}], zmm0",
                    "vmovups [{to} + {at} + 64], zmm1",
                    from = in(reg) from, to = in(reg) to, at = in(reg) at,
                    out("xmm0") _, out("xmm1") _,
                    options(nostack, preserves_flags),
                );
            }
            at += 128;
        }
    }
    while at + 128 <= end {
        // SAFETY: 1., 2. and 4. of this function; all 128 bytes are before the end.
        unsafe {
            core::arch::asm!(
                "vmovups ymm0, [{from} + {at}]",
                "vmovups ymm1, [{from} + {at} + 32]",
                "vmovups ymm2, [{from} + {at} + 64]",
                "vmovups ymm3, [{from} + {at} + 96]",
                "vmovups [{to} + {at}], ymm0",
                "vmovups [{to} + {at} + 32], ymm1",
                "vmovups [{to} + {at} + 64], ymm2",
                "vmovups [{to} + {at} + 96], ymm3",
                from = in(reg) from, to = in(reg) to, at = in(reg) at,
                out("xmm0") _, out("xmm1") _, out("xmm2") _, out("xmm3") _,
                options(nostack, preserves_flags),
            );
        }
        at += 128;
    }
    while at < end {
        // The last move may overlap the one before: then it moves the same bytes again.
        let here = at.min(end - 32);
        // SAFETY: 1., 2. and 4. of this function; 3. there are 32 bytes before the end.
        unsafe {
            core::arch::asm!(
                "vmovups ymm0, [{from} + {here}]",
                "vmovups [{to} + {here}], ymm0",
                from = in(reg) from, to = in(reg) to, here = in(reg) here,
                out("xmm0") _,
                options(nostack, preserves_flags),
            );
        }
        at += 32;
    }
    // Where the compiler itself uses these registers, it may have something in their upper halves.
    #[cfg(not(target_feature = "avx"))]
    // SAFETY: upper halves that nobody uses become zero, which spares the next narrow instruction a wait.
    unsafe {
        core::arch::asm!("vzeroupper", options(nomem, nostack, preserves_flags));
    }
}

/// Where there is no such instruction, word by word.
#[cfg(not(target_arch = "x86_64"))]
fn long_in(words: &[AtomicU64], chunks: &[[u8; 8]]) {
    let pairs = words.iter().zip(chunks);
    pairs.for_each(|(word, chunk)| word.store(u64::from_ne_bytes(*chunk), Ordering::Relaxed));
}

/// As [`long_in`], the other way.
#[cfg(not(target_arch = "x86_64"))]
fn long_out(words: &[AtomicU64], chunks: &mut [[u8; 8]]) {
    let pairs = words.iter().zip(chunks);
    pairs.for_each(|(word, chunk)| *chunk = word.load(Ordering::Relaxed).to_ne_bytes());
}

/// Copies `bytes` into `words`, the last word filled up with zeros. Copies as much as fits.
#[inline]
pub(crate) fn copy_in(words: &[AtomicU64], bytes: &[u8]) {
    let (whole, rest) = bytes.as_chunks::<8>();
    if whole.len() >= LONG {
        long_in(words, whole);
    } else if !wide_in(words, whole) {
        for (word, chunk) in words.iter().zip(whole) {
            word.store(u64::from_ne_bytes(*chunk), Ordering::Relaxed);
        }
    }
    if !rest.is_empty()
        && let Some(word) = words.get(whole.len())
    {
        let mut last = [0; 8];
        last.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
        word.store(u64::from_ne_bytes(last), Ordering::Relaxed);
    }
}

/// Copies `words` into `bytes`. Copies as much as there is.
#[inline]
pub(crate) fn copy_out(words: &[AtomicU64], bytes: &mut [u8]) {
    let (whole, rest) = bytes.as_chunks_mut::<8>();
    if whole.len() >= LONG {
        long_out(words, whole);
    } else if !wide_out(words, whole) {
        for (word, chunk) in words.iter().zip(whole.iter_mut()) {
            *chunk = word.load(Ordering::Relaxed).to_ne_bytes();
        }
    }
    if !rest.is_empty()
        && let Some(word) = words.get(whole.len())
    {
        let last = word.load(Ordering::Relaxed).to_ne_bytes();
        rest.iter_mut().zip(last).for_each(|(to, from)| *to = from);
    }
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
    let mut bytes = Scratch::<T>::zeroed();
    copy_out(words, bytes.bytes_mut());
    bytes.value()
}

/// Private bytes of a value that are not yet known to be one.
pub struct Scratch<T> {
    /// Invariant: every byte is initialised (zeroed at first, only ever written as bytes).
    bytes: core::mem::MaybeUninit<T>,
}

impl<T: PlainData> Scratch<T> {
    #[inline(always)]
    pub(crate) fn zeroed() -> Self {
        Self { bytes: core::mem::MaybeUninit::zeroed() }
    }

    #[inline(always)]
    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        let at = self.bytes.as_mut_ptr().cast::<u8>();
        // SAFETY: 1. the bytes are ours, for as long as `self` is borrowed. 2. all are initialised: the
        //         invariant. 3. what is written are bytes, so it stays true.
        unsafe { core::slice::from_raw_parts_mut(at, size_of::<T>()) }
    }

    /// Whether the bytes are a value.
    #[inline(always)]
    pub(crate) fn holds_value(&mut self) -> bool {
        T::try_read_from_bytes(self.bytes_mut()).is_ok()
    }

    /// The value, if the bytes are one, moved once.
    #[inline(always)]
    pub(crate) fn value(mut self) -> Result<T> {
        // SAFETY: the bytes are a value.
        if self.holds_value() { Ok(unsafe { self.bytes.assume_init() }) } else { Err(not_a_value::<T>()) }
    }
}

#[cold]
pub(crate) fn not_a_value<T>() -> Error {
    Error::corrupt(core::any::type_name::<T>(), "its bytes are no value of the type")
}

#[cfg(test)]
mod tests {
    use super::{copy_in, copy_out, read_plain, words_for, write_plain};
    use crate::sync::AtomicU64;

    #[test]
    fn every_length_comes_back() {
        for len in (0..600).chain(1000..1050) {
            let words: Vec<_> = (0..words_for(len)).map(|_| AtomicU64::new(u64::MAX)).collect();
            let bytes: Vec<u8> = (0..len).map(|i| (i % 251) as u8 + 1).collect();
            copy_in(&words, &bytes);
            let mut back = vec![0; len];
            copy_out(&words, &mut back);
            assert_eq!(back, bytes);
        }
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
