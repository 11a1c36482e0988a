//! What a machine instruction reaches beside registers, told from its first bytes: enough of x86-64 to know which
//! memory it touches, and nothing more. Neither its length nor what it computes is asked.
//!
//! Intel, *Software Developer's Manual*, volume 2: chapter 2 (prefixes, ModRM, SIB, VEX, EVEX), appendix A (opcodes).

/// The most bytes that an instruction has.
pub(crate) const LONGEST: usize = 15;

/// What an instruction reaches.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Reach {
    /// Registers; its thread's stack and locals; what lies beside the program itself: nothing that others share.
    Own,
    /// It is a system call.
    System,
    /// The memory at an address.
    Memory(Address),
    /// A string instruction: the memory at RSI, at RDI, or both.
    Strings { from: bool, to: bool },
}

/// `base + index * scale + offset`, with numbers of registers as instructions have them: RAX, RCX, RDX, RBX, RSP, ...
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Address {
    base: Option<u8>,
    index: Option<u8>,
    scale: u8,
    offset: i32,
}

const RSI: usize = 6;
const RDI: usize = 7;

impl Reach {
    /// Whether any of it lies where `shared` says so. `registers`: the sixteen general ones, in the order of their numbers.
    pub(crate) fn touches(self, registers: &[u64; 16], shared: impl Fn(u64) -> bool) -> bool {
        let register = |number: u8| registers[usize::from(number & 15)];
        match self {
            Self::Own | Self::System => false,
            Self::Strings { from, to } => from && shared(registers[RSI]) || to && shared(registers[RDI]),
            Self::Memory(Address { base, index, scale, offset }) => {
                let base = base.map_or(0, register);
                let index = index.map_or(0, register).wrapping_mul(u64::from(scale));
                shared(base.wrapping_add(index).wrapping_add_signed(offset.into()))
            }
        }
    }

    /// Of the instruction that begins with these bytes. What no processor knows reaches nothing.
    pub(crate) fn of(bytes: &[u8; LONGEST]) -> Self {
        read(&mut Bytes { bytes, at: 0 }).unwrap_or(Self::Own)
    }
}

struct Bytes<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Bytes<'_> {
    fn next(&mut self) -> Option<u8> {
        let byte = self.bytes.get(self.at).copied();
        self.at += 1;
        byte
    }

    fn word(&mut self) -> Option<i32> {
        let word = self.bytes.get(self.at..self.at + 4)?;
        self.at += 4;
        Some(i32::from_le_bytes(word.try_into().ok()?))
    }
}

/// The tables of opcodes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Table {
    /// Those of one byte.
    One,
    /// 0F.
    Two,
    /// 0F 38, 0F 3A, and those that only VEX and EVEX lead to.
    Further,
}

/// What the prefixes say that matters for an address.
#[derive(Clone, Copy, Default)]
struct Prefix {
    /// 8 if the base register is one of the upper eight.
    base: u8,
    /// The same of the index.
    index: u8,
    /// By what a short offset counts, if not bytes.
    unit: Option<i32>,
}

fn read(bytes: &mut Bytes<'_>) -> Option<Reach> {
    let mut prefix = Prefix::default();
    let mut opcode = bytes.next()?;
    let mut is_local = false;
    // Bounded by the bytes. FS and GS: what is there belongs to a thread.
    while matches!(opcode, 0x26 | 0x2e | 0x36 | 0x3e | 0x64..=0x67 | 0xf0 | 0xf2 | 0xf3) {
        is_local |= matches!(opcode, 0x64 | 0x65);
        opcode = bytes.next()?;
    }
    if opcode & 0xf0 == 0x40 {
        prefix = Prefix { base: (opcode & 1) << 3, index: (opcode & 2) << 2, unit: None };
        opcode = bytes.next()?;
    }
    let table = match opcode {
        0xc5 => {
            bytes.next()?;
            opcode = bytes.next()?;
            Table::Two
        }
        0xc4 | 0x62 => {
            let is_evex = opcode == 0x62;
            let first = bytes.next()?;
            let second = [bytes.next()?, if is_evex { bytes.next()? } else { 0 }];
            opcode = bytes.next()?;
            // These bits are the other way round.
            prefix = Prefix { base: (!first & 0x20) >> 2, index: (!first & 0x40) >> 3, unit: None };
            if is_evex {
                // As for whole vectors. Of parts of one, a short offset is overestimated, by less than a page.
                prefix.unit = Some(16 << ((second[1] >> 5) & 3));
            }
            if first & 7 == 1 { Table::Two } else { Table::Further }
        }
        0x0f => {
            opcode = bytes.next()?;
            match opcode {
                0x38 | 0x3a => {
                    opcode = bytes.next()?;
                    Table::Further
                }
                _ => Table::Two,
            }
        }
        _ => Table::One,
    };
    let reach = match (table, opcode) {
        (Table::Two, 0x05 | 0x34) => Reach::System,
        (Table::One, 0xcd) => Reach::System,
        (Table::One, 0xa4..=0xa7) => Reach::Strings { from: true, to: true },
        (Table::One, 0xac | 0xad) => Reach::Strings { from: true, to: false },
        (Table::One, 0xaa | 0xab | 0xae | 0xaf) => Reach::Strings { from: false, to: true },
        _ if is_local || !has_operand(table, opcode) => Reach::Own,
        _ => operand(bytes, prefix)?,
    };
    Some(reach)
}

/// Whether a ModRM byte follows that may name memory which the instruction touches.
fn has_operand(table: Table, opcode: u8) -> bool {
    match table {
        Table::One => match opcode {
            0x00..=0x3f => opcode & 7 < 4,
            0x63 | 0x69 | 0x6b | 0x80..=0x8c | 0x8e | 0x8f | 0xc0 | 0xc1 | 0xc6 | 0xc7 => true,
            0xd0..=0xd3 | 0xd8..=0xdf | 0xf6 | 0xf7 | 0xfe | 0xff => true,
            _ => false, // 8D: LEA computes an address and touches nothing
        },
        // 0D, 18 to 1F: hints and NOPs.
        Table::Two => !matches!(
            opcode,
            0x04..=0x0e | 0x18..=0x1f | 0x30..=0x37 | 0x77 | 0x80..=0x8f | 0xa0..=0xa2 | 0xa8..=0xaa | 0xc8..=0xcf
        ),
        Table::Further => true,
    }
}

fn operand(bytes: &mut Bytes<'_>, prefix: Prefix) -> Option<Reach> {
    let modrm = bytes.next()?;
    let (kind, low) = (modrm >> 6, modrm & 7);
    // 0 and 5: beside the instruction itself, where only the program's own data is.
    if kind == 3 || (kind, low) == (0, 5) {
        return Some(Reach::Own);
    }
    let mut address = Address { base: Some(low | prefix.base), index: None, scale: 1, offset: 0 };
    let mut has_word = kind == 2;
    if low == 4 {
        let sib = bytes.next()?;
        address.scale = 1 << (sib >> 6);
        // 4 means none; with the upper bit it is R12. Those that gather by vectors are taken by their base alone.
        address.index = Some((sib >> 3 & 7) | prefix.index).filter(|index| *index != 4);
        address.base = Some((sib & 7) | prefix.base);
        if (kind, sib & 7) == (0, 5) {
            address.base = None;
            has_word = true;
        }
    }
    if has_word {
        address.offset = bytes.word()?;
    } else if kind == 1 {
        address.offset = i32::from(bytes.next()? as i8) * prefix.unit.unwrap_or(1);
    }
    Some(Reach::Memory(address))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reach(bytes: &[u8]) -> Reach {
        let mut whole = [0x90; LONGEST];
        whole[..bytes.len()].copy_from_slice(bytes);
        Reach::of(&whole)
    }

    /// Registers that tell themselves apart: number n holds n << 32.
    fn address(bytes: &[u8]) -> Option<u64> {
        let registers = core::array::from_fn(|n| (n as u64) << 32);
        let seen = core::cell::Cell::new(None);
        reach(bytes).touches(&registers, |at| {
            seen.set(Some(at));
            true
        });
        seen.get()
    }

    #[test]
    fn addresses_are_those_of_the_manual() {
        let cases: [(&[u8], u64); 14] = [
            (&[0x8b, 0x03], 3 << 32),                                           // mov eax, [rbx]
            (&[0x41, 0x8b, 0x03], 11 << 32),                                    // mov eax, [r11]
            (&[0x48, 0x89, 0x47, 0x10], (7 << 32) + 16),                        // mov [rdi + 16], rax
            (&[0x48, 0x89, 0x47, 0xf0], (7 << 32) - 16),                        // mov [rdi - 16], rax
            (&[0xf0, 0x0f, 0xb1, 0x0e], 6 << 32),                               // lock cmpxchg [rsi], ecx
            (&[0x48, 0x8b, 0x84, 0xca, 0, 1, 0, 0], (2 + 8) * (1 << 32) + 256), // mov rax, [rdx + rcx * 8 + 256]
            (&[0x4a, 0x8b, 0x04, 0xe2], (2 + 12 * 8) << 32),                    // mov rax, [rdx + r12 * 8]
            (&[0x48, 0x8b, 0x04, 0x24], 4 << 32),                               // mov rax, [rsp]
            (&[0x8b, 0x04, 0x25, 0, 0x10, 0, 0], 0x1000),                       // mov eax, [0x1000]
            (&[0x0f, 0xb6, 0x00], 0),                                           // movzx eax, byte [rax]
            (&[0xc5, 0xfe, 0x6f, 0x40, 0x20], 32),                              // vmovdqu ymm0, [rax + 32]
            (&[0xc4, 0xc1, 0x7e, 0x6f, 0x00], 8 << 32),                         // vmovdqu ymm0, [r8]
            (&[0x62, 0xf1, 0xfe, 0x48, 0x6f, 0x41, 0x01], (1 << 32) + 64),      // vmovdqu64 zmm0, [rcx + 64]
            (&[0x66, 0x0f, 0x38, 0xf0, 0x02], 2 << 32),                         // movbe ax, [rdx]
        ];
        for (bytes, expected) in cases {
            assert_eq!(address(bytes), Some(expected), "{bytes:02x?}");
        }
    }

    #[test]
    fn what_is_the_threads_own_is_not_looked_at() {
        let own: [&[u8]; 12] = [
            &[0x48, 0x8d, 0x47, 0x10],             // lea rax, [rdi + 16]
            &[0x89, 0xc8],                         // mov eax, ecx
            &[0x50],                               // push rax
            &[0xc3],                               // ret
            &[0xe8, 1, 2, 3, 4],                   // call
            &[0x0f, 0x1f, 0x44, 0x00, 0x00],       // nop [rax + rax]
            &[0xf3, 0x0f, 0x1e, 0xfa],             // endbr64
            &[0x0f, 0x84, 1, 2, 3, 4],             // je
            &[0x8b, 0x05, 1, 2, 3, 4],             // mov eax, [rip + ...]
            &[0x64, 0x48, 0x8b, 0x04, 0x25, 0, 0], // mov rax, fs:[0]
            &[0xc5, 0xf8, 0x77],                   // vzeroupper
            &[0x0f, 0xae, 0xf0],                   // mfence
        ];
        for bytes in own {
            assert_eq!(reach(bytes), Reach::Own, "{bytes:02x?}");
        }
        assert_eq!(reach(&[0x0f, 0x05]), Reach::System);
        assert_eq!(reach(&[0xf3, 0xa4]), Reach::Strings { from: true, to: true });
        assert_eq!(reach(&[0xf3, 0x48, 0xab]), Reach::Strings { from: false, to: true });
    }

    #[test]
    fn no_bytes_are_too_strange_to_be_read() {
        let mut seed = 1_u64;
        for _ in 0..100_000 {
            let bytes = core::array::from_fn(|_| {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (seed >> 56) as u8
            });
            Reach::of(&bytes).touches(&[u64::MAX; 16], |_| true);
        }
    }
}
