//! What of a table's line is equal to what is looked for, found with vectors.
//!
//! What waits for memory waits in the processor's queue for integers, which is short, or in that for vectors, which else has
//! nothing to do. So each comparison that is not in the former lets another lookup begin before this one's line has come:
//! measured in decision 0023. The models compare the words themselves (`raw/table_line.rs`), and so does any other
//! processor than x86-64.
#![allow(unsafe_code)] // instructions that compare more than a word at a time

use crate::raw::table_line::{PairLine, RecordLine};
use crate::sync::AtomicU64;
#[cfg(not(target_arch = "x86_64"))]
use crate::sync::Ordering::Relaxed;

/// The slots of a line whose key is this one, occupied or not, and the value of the only one: else any number.
#[inline(always)]
pub(crate) fn equal_pairs(line: &PairLine, key: u64) -> (u32, u64) {
    #[cfg(target_arch = "x86_64")]
    {
        let (equal, value);
        // SAFETY: 1. Three pairs are read, of atomics, by loads of 16 bytes, whose halves are each whole; a line is aligned
        //         to 64. 2. Nothing is written but registers. 3. SSE2 is part of x86-64.
        unsafe {
            core::arch::asm!(
                "movq {k}, {key}",
                "punpcklqdq {k}, {k}",
                "movdqa {a}, [{pairs}]",
                "movdqa {b}, [{pairs} + 16]",
                "movdqa {c}, [{pairs} + 32]",
                // The keys of a and b, and their values.
                "movdqa {e}, {a}",
                "punpcklqdq {e}, {b}",
                "punpckhqdq {a}, {b}",
                // Ones where both halves are equal.
                "pcmpeqd {e}, {k}",
                "pshufd {b}, {e}, 0xb1",
                "pand {e}, {b}",
                "pcmpeqd {k}, {c}",
                "pshufd {b}, {k}, 0xb1",
                "pand {k}, {b}",
                "movq {k}, {k}",
                // The values where they are.
                "punpckhqdq {c}, {c}",
                "pand {a}, {e}",
                "pand {c}, {k}",
                "packssdw {e}, {k}",
                "movmskps {equal:e}, {e}",
                "pshufd {b}, {a}, 0x4e",
                "por {a}, {b}",
                "por {a}, {c}",
                "movq {value}, {a}",
                pairs = in(reg) line.pairs().as_ptr(), key = in(reg) key,
                equal = out(reg) equal, value = lateout(reg) value,
                k = out(xmm_reg) _, a = out(xmm_reg) _, b = out(xmm_reg) _, c = out(xmm_reg) _, e = out(xmm_reg) _,
                options(readonly, nostack, preserves_flags),
            );
        }
        (equal, value)
    }
    #[cfg(not(target_arch = "x86_64"))]
    line.equal(key)
}

/// The slots of a line whose key is this one, occupied or not: as [`equal_pairs`].
#[inline(always)]
pub(crate) fn equal_keys(line: &PairLine, key: u64) -> u32 {
    #[cfg(target_arch = "x86_64")]
    {
        let equal;
        // SAFETY: as in `equal_pairs`, by loads of 8 bytes.
        unsafe {
            core::arch::asm!(
                "movq {k}, {key}",
                "punpcklqdq {k}, {k}",
                "movq {a}, [{pairs}]",
                "movhps {a}, [{pairs} + 16]",
                "movq {b}, [{pairs} + 32]",
                "pcmpeqd {a}, {k}",
                "pcmpeqd {b}, {k}",
                "pshufd {k}, {a}, 0xb1",
                "pand {a}, {k}",
                "pshufd {k}, {b}, 0xb1",
                "pand {b}, {k}",
                "movq {b}, {b}",
                "packssdw {a}, {b}",
                "movmskps {equal:e}, {a}",
                pairs = in(reg) line.pairs().as_ptr(), key = in(reg) key, equal = lateout(reg) equal,
                k = out(xmm_reg) _, a = out(xmm_reg) _, b = out(xmm_reg) _,
                options(readonly, nostack, preserves_flags),
            );
        }
        equal
    }
    #[cfg(not(target_arch = "x86_64"))]
    line.equal(key).0
}

/// The slots of a line with this tag, occupied or not: as [`equal_pairs`].
#[inline(always)]
pub(crate) fn equal_tags(line: &RecordLine, tag: u8) -> u32 {
    #[cfg(target_arch = "x86_64")]
    {
        let equal: u32;
        // SAFETY: as in `equal_pairs`, by a load of 8 bytes and one of 4.
        unsafe {
            core::arch::asm!(
                "movd {t}, {tag:e}",
                "punpcklbw {t}, {t}",
                "pshuflw {t}, {t}, 0",
                "punpcklqdq {t}, {t}",
                "movq {a}, [{line} + {low}]",
                "movd {b}, [{line} + {high}]",
                "punpcklqdq {a}, {b}",
                "pcmpeqb {a}, {t}",
                "pmovmskb {equal:e}, {a}",
                line = in(reg) core::ptr::from_ref(line), tag = in(reg) u32::from(tag), equal = lateout(reg) equal,
                low = const RecordLine::TAGS[0], high = const RecordLine::TAGS[1],
                t = out(xmm_reg) _, a = out(xmm_reg) _, b = out(xmm_reg) _,
                options(readonly, nostack, preserves_flags),
            );
        }
        equal
    }
    #[cfg(not(target_arch = "x86_64"))]
    line.find(tag, u32::MAX)
}

/// Whether two words are these bytes.
#[inline(always)]
pub(crate) fn are_equal(words: &[AtomicU64; 2], bytes: &[[u8; 8]; 2]) -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        let equal: u32;
        // SAFETY: as in `equal_pairs`, by a load of 16 bytes, which are there, as are the private ones.
        unsafe {
            core::arch::asm!(
                "movups {a}, [{bytes}]",
                "movups {b}, [{words}]",
                "pcmpeqb {a}, {b}",
                "pmovmskb {equal:e}, {a}",
                words = in(reg) words.as_ptr(), bytes = in(reg) bytes.as_ptr(), equal = lateout(reg) equal,
                a = out(xmm_reg) _, b = out(xmm_reg) _,
                options(readonly, nostack, preserves_flags),
            );
        }
        equal == 0xffff
    }
    #[cfg(not(target_arch = "x86_64"))]
    words.iter().zip(bytes).all(|(word, bytes)| word.load(Relaxed) == u64::from_ne_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::{are_equal, equal_keys, equal_pairs, equal_tags};
    use crate::raw::table_line::{PairLine, RecordLine};
    use crate::raw::table_word::Line;
    use crate::segment::access::Shared;
    use crate::sync::AtomicU64;

    /// A line whose words are all zero, as a new one's.
    fn zeros<L: Shared>() -> Box<L> {
        // SAFETY: 1. and 2. of the trait: any bits are a value.
        unsafe { Box::new_zeroed().assume_init() }
    }

    #[test]
    fn vectors_find_what_words_find() {
        let line = zeros::<PairLine>();
        // Such as are equal in one half only, or in no half, or in all.
        let words =
            [0, 1, 1 << 32, u64::MAX, u64::MAX >> 32, u64::MAX << 32, 0x0123_4567_89ab_cdef, 0x89ab_cdef_0123_4567];
        for n in 0..words.len().pow(3) {
            for slot in 0..3 {
                let key = words[n / words.len().pow(slot) % words.len()];
                // Values that are keys of others too.
                line.fill(slot, key, words[(n + slot as usize + 1) % words.len()]);
            }
            for key in words {
                let ((expected, value), (equal, found)) = (line.equal(key), equal_pairs(&line, key));
                assert_eq!(
                    (equal, equal_keys(&line, key)),
                    (expected, expected),
                    "{line_of:x?}",
                    line_of = line.pairs()
                );
                if equal.is_power_of_two() {
                    assert_eq!((found, value), (line.value(equal.trailing_zeros()), found));
                }
            }
        }
    }

    #[test]
    fn vectors_compare_each_byte() {
        let bytes = [*b"of sixte", *b"en bytes"];
        let words = bytes.map(|bytes| AtomicU64::new(u64::from_ne_bytes(bytes)));
        assert!(are_equal(&words, &bytes));
        for at in 0..16 {
            let mut other = bytes;
            other[at / 8][at % 8] ^= 0x80;
            assert!(!are_equal(&words, &other), "{at}");
        }
    }

    #[test]
    fn vectors_find_tags_beside_marks() {
        let line = zeros::<RecordLine>();
        for slot in 0..10 {
            line.fill(slot, [7, 200][slot as usize % 2], slot);
            line.mark(slot);
        }
        for tag in 0..=255 {
            let occupied = 0x3ff;
            assert_eq!(equal_tags(&line, tag) & occupied, line.find(tag, occupied));
        }
        assert_eq!((equal_tags(&line, 7) & 0x3ff, equal_tags(&line, 200) & 0x3ff), (0x155, 0x2aa));
    }
}
