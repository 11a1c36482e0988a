//! Copies between shared words and private bytes by the widest moves that the processor has.
//!
//! The compiler does not see into them, so it can not read twice what a neighbour may write meanwhile.

#![allow(unsafe_code)] // instructions that move more than a word at a time

#[cfg(target_arch = "x86_64")]
use crate::sync::AtomicU8;
use crate::sync::{AtomicU64, Ordering::Relaxed};
use core::mem::MaybeUninit;

/// Copies of so many words are left to an instruction of the processor, which moves a line at a time: 45 GB/s where
/// single words make 25.
pub(in crate::segment) const LONG: usize = 128;
/// Out of a segment and into a table's record, from so many words on, moves of 32 bytes or 64: each store less lets the
/// processor begin the next lookup of a table earlier.
const WIDE: usize = 16;
/// Into a segment only from so many on: what is sent was often written a word at a time just before, and a wide load
/// waits until that has arrived.
const WIDE_IN: usize = 64;

/// Into a table's record already from so many on, moves of 16 bytes.
const PAIRS_IN: usize = 2;

/// Copies all that both have. The compiler does not see into it, so it can not read twice what a neighbour may
/// write meanwhile.
#[cfg(target_arch = "x86_64")]
#[inline(never)]
pub(in crate::segment) fn long_in(words: &[AtomicU64], chunks: &[[u8; 8]]) {
    let count = words.len().min(chunks.len());
    // SAFETY: 1. both are that long and do not overlap: one is private. 2. The words are atomics, which may be
    //         written through a shared reference, here by aligned stores of the processor.
    unsafe { move_words(words.as_ptr().cast_mut().cast(), chunks.as_ptr().cast(), count) };
}

/// As [`long_in`], the other way.
#[cfg(target_arch = "x86_64")]
#[inline(never)]
pub(in crate::segment) fn long_out(words: &[AtomicU64], chunks: &mut [[MaybeUninit<u8>; 8]]) {
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
pub(in crate::segment) fn wide_in(words: &[AtomicU64], chunks: &[[u8; 8]]) -> bool {
    let count = words.len().min(chunks.len());
    #[cfg(target_arch = "x86_64")]
    // SAFETY: 1. and 2. as in `long_in`.
    if count >= WIDE_IN && unsafe { try_move(words.as_ptr().cast_mut().cast(), chunks.as_ptr().cast(), count) } {
        return true;
    }
    let _ = count;
    false
}

/// As [`wide_in`], of what goes into a record.
#[inline(always)]
pub(in crate::segment) fn pairs_in(words: &[AtomicU64], chunks: &[[u8; 8]]) -> bool {
    let count = words.len().min(chunks.len());
    #[cfg(target_arch = "x86_64")]
    if count >= PAIRS_IN {
        let (to, from) = (words.as_ptr().cast_mut().cast(), chunks.as_ptr().cast());
        // SAFETY: 1. and 2. as in `long_in`.
        if count < WIDE || !unsafe { try_move(to, from, count) } {
            // SAFETY: 1. and 2. the same. 3. compared above.
            unsafe { move_pairs(to, from, count) };
        }
        return true;
    }
    let _ = count;
    false
}

/// As [`wide_in`], the other way.
#[inline(always)]
pub(in crate::segment) fn wide_out(words: &[AtomicU64], chunks: &mut [[MaybeUninit<u8>; 8]]) -> bool {
    let count = words.len().min(chunks.len());
    #[cfg(target_arch = "x86_64")]
    // SAFETY: 1. and 2. as in `long_out`.
    if count >= WIDE && unsafe { try_move(chunks.as_mut_ptr().cast(), words.as_ptr().cast(), count) } {
        return true;
    }
    let _ = count;
    false
}

/// Eight words, from registers that the compiler knows of: so it writes them where they are to be, and nowhere before. What
/// nobody uses is not even loaded.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
pub(in crate::segment) fn eight_out(words: &[AtomicU64; 8]) -> [MaybeUninit<u8>; 64] {
    use core::arch::x86_64::__m128i;
    let (a, b, c, d): (__m128i, __m128i, __m128i, __m128i);
    // SAFETY: 1. 64 bytes are read, of atomics, by loads whose halves are each whole. 2. Nothing is written but registers.
    //         3. SSE2 is part of x86-64.
    unsafe {
        core::arch::asm!(
            "movups {a}, [{words}]",
            "movups {b}, [{words} + 16]",
            "movups {c}, [{words} + 32]",
            "movups {d}, [{words} + 48]",
            words = in(reg) words.as_ptr(),
            a = out(xmm_reg) a, b = out(xmm_reg) b, c = out(xmm_reg) c, d = lateout(xmm_reg) d,
            options(pure, readonly, nostack, preserves_flags),
        );
    }
    // SAFETY: 1. as many bytes, and any bytes are some.
    unsafe { core::mem::transmute([a, b, c, d]) }
}

/// As [`eight_out`], of two words.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
pub(in crate::segment) fn pair_out(words: &[AtomicU64; 2]) -> [MaybeUninit<u8>; 16] {
    let pair: core::arch::x86_64::__m128i;
    // SAFETY: 1.-3. as in `eight_out`, of 16 bytes.
    unsafe {
        core::arch::asm!(
            "movups {pair}, [{words}]",
            words = in(reg) words.as_ptr(), pair = lateout(xmm_reg) pair,
            options(pure, readonly, nostack, preserves_flags),
        );
    }
    // SAFETY: 1. as many bytes, and any bytes are some.
    unsafe { core::mem::transmute(pair) }
}

/// Where there are no such registers, word by word.
#[cfg(not(target_arch = "x86_64"))]
#[inline(always)]
fn words_out<const WORDS: usize, const BYTES: usize>(words: &[AtomicU64; WORDS]) -> [MaybeUninit<u8>; BYTES] {
    let mut bytes = [MaybeUninit::uninit(); BYTES];
    let (chunks, _) = bytes.as_chunks_mut::<8>();
    let each =
        |(chunk, word): (&mut [_; 8], &AtomicU64)| *chunk = word.load(Relaxed).to_ne_bytes().map(MaybeUninit::new);
    chunks.iter_mut().zip(words).for_each(each);
    bytes
}

/// As [`words_out`].
#[cfg(not(target_arch = "x86_64"))]
#[inline(always)]
pub(in crate::segment) fn eight_out(words: &[AtomicU64; 8]) -> [MaybeUninit<u8>; 64] {
    words_out(words)
}

/// As [`words_out`].
#[cfg(not(target_arch = "x86_64"))]
#[inline(always)]
pub(in crate::segment) fn pair_out(words: &[AtomicU64; 2]) -> [MaybeUninit<u8>; 16] {
    words_out(words)
}

/// # Safety
///
/// 1. and 2. as of [`move_words`].
/// 3. There are at least 2 words.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
unsafe fn move_pairs(to: *mut u8, from: *const u8, count: usize) {
    let (mut at, end) = (0, 8 * count);
    while at + 64 <= end {
        // SAFETY: 1. and 2. of this function; all 64 bytes are before the end; SSE2 is part of x86-64.
        unsafe {
            core::arch::asm!(
                "movups xmm0, [{from}]",
                "movups xmm1, [{from} + 16]",
                "movups xmm2, [{from} + 32]",
                "movups xmm3, [{from} + 48]",
                "movups [{to}], xmm0",
                "movups [{to} + 16], xmm1",
                "movups [{to} + 32], xmm2",
                "movups [{to} + 48], xmm3",
                from = in(reg) from.wrapping_add(at), to = in(reg) to.wrapping_add(at),
                out("xmm0") _, out("xmm1") _, out("xmm2") _, out("xmm3") _,
                options(nostack, preserves_flags),
            );
        }
        at += 64;
    }
    while at < end {
        // The last move may overlap the one before: then it moves the same bytes again.
        let here = at.min(end - 16);
        // SAFETY: 1. and 2. of this function; 3. there are 16 bytes before the end.
        unsafe {
            core::arch::asm!(
                "movups xmm0, [{from}]",
                "movups [{to}], xmm0",
                from = in(reg) from.wrapping_add(here), to = in(reg) to.wrapping_add(here),
                out("xmm0") _,
                options(nostack, preserves_flags),
            );
        }
        at += 16;
    }
}

/// The longest moves that this processor has: 0 as long as nobody asked, then 1 where there are none. One word to look at,
/// where each question to the standard library is one.
#[cfg(target_arch = "x86_64")]
static LONGEST: AtomicU8 = AtomicU8::new(0);
#[cfg(target_arch = "x86_64")]
const AVX: u8 = 2;
#[cfg(target_arch = "x86_64")]
const AVX_512: u8 = 3;

#[cfg(target_arch = "x86_64")]
/// What [`LONGEST`] is to say from now on.
#[cold]
#[inline(never)]
fn ask_for_longest() -> u8 {
    let longest = if std::is_x86_feature_detected!("avx512f") {
        AVX_512
    } else if std::is_x86_feature_detected!("avx") {
        AVX
    } else {
        1
    };
    // Everybody finds the same.
    LONGEST.store(longest, Relaxed);
    longest
}

/// As wide as the moves of the C library where these are: a narrower store keeps its wider load of the same bytes waiting
/// until everything before has happened, and then no lookup overlaps with the next one. False: nothing was moved, for there
/// are less than four words, or no such registers.
///
/// # Safety
///
/// 1. and 2. as of [`move_words`].
#[cfg(target_arch = "x86_64")]
#[inline(always)]
unsafe fn try_move(to: *mut u8, from: *const u8, count: usize) -> bool {
    let longest = LONGEST.load(Relaxed);
    if count >= 16 && longest == AVX_512 {
        // SAFETY: 1. and 2. of this function; the processor has AVX-512; there are 128 bytes and more.
        unsafe { move_512(to, from, 8 * count) };
        return true;
    }
    if count < 4 || longest < AVX && ask_for_longest() < AVX {
        return false;
    }
    // SAFETY: 1. and 2. of this function; the processor has AVX; there are 32 bytes and more.
    unsafe { move_256(to, from, 8 * count) };
    true
}

/// # Safety
///
/// 1. and 2. as of [`move_words`], of bytes; there are at least 128.
/// 3. The processor has AVX-512.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
unsafe fn move_512(to: *mut u8, from: *const u8, end: usize) {
    let mut at = 0;
    while at + 256 <= end {
        // SAFETY: 1.-3. of this function; all 256 bytes are before the end. The registers are those whose use leaves nothing
        //         to be cleaned up.
        unsafe {
            core::arch::asm!(
                "vmovups zmm16, [{from}]",
                "vmovups zmm17, [{from} + 64]",
                "vmovups zmm18, [{from} + 128]",
                "vmovups zmm19, [{from} + 192]",
                "vmovups [{to}], zmm16",
                "vmovups [{to} + 64], zmm17",
                "vmovups [{to} + 128], zmm18",
                "vmovups [{to} + 192], zmm19",
                from = in(reg) from.wrapping_add(at), to = in(reg) to.wrapping_add(at),
                out("zmm16") _, out("zmm17") _, out("zmm18") _, out("zmm19") _,
                options(nostack, preserves_flags),
            );
        }
        at += 256;
    }
    while at < end {
        // The last move may overlap the one before: then it moves the same bytes again.
        let here = at.min(end - 64);
        // SAFETY: 1.-3. of this function; there are 64 bytes before the end.
        unsafe {
            core::arch::asm!(
                "vmovups zmm16, [{from}]",
                "vmovups [{to}], zmm16",
                from = in(reg) from.wrapping_add(here), to = in(reg) to.wrapping_add(here),
                out("zmm16") _,
                options(nostack, preserves_flags),
            );
        }
        at += 64;
    }
}

/// # Safety
///
/// 1. and 2. as of [`move_words`], of bytes; there are at least 32.
/// 3. The processor has AVX.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
unsafe fn move_256(to: *mut u8, from: *const u8, end: usize) {
    let mut at = 0;
    while at < end {
        // The last move may overlap the one before: then it moves the same bytes again.
        let here = at.min(end - 32);
        // SAFETY: 1.-3. of this function; there are 32 bytes before the end.
        unsafe {
            core::arch::asm!(
                "vmovups ymm0, [{from}]",
                "vmovups [{to}], ymm0",
                from = in(reg) from.wrapping_add(here), to = in(reg) to.wrapping_add(here),
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
pub(in crate::segment) fn long_in(words: &[AtomicU64], chunks: &[[u8; 8]]) {
    let pairs = words.iter().zip(chunks);
    pairs.for_each(|(word, chunk)| word.store(u64::from_ne_bytes(*chunk), Relaxed));
}

/// As [`long_in`], the other way.
#[cfg(not(target_arch = "x86_64"))]
pub(in crate::segment) fn long_out(words: &[AtomicU64], chunks: &mut [[MaybeUninit<u8>; 8]]) {
    let pairs = words.iter().zip(chunks);
    pairs.for_each(|(word, chunk)| *chunk = word.load(Relaxed).to_ne_bytes().map(MaybeUninit::new));
}
