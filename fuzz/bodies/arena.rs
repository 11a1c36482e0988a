//! Operations on the blocks of a segment. Until somebody scribbles into it, they are held against a plain list of what is
//! allocated; afterwards every call answers or refuses, whatever the bytes are.

use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use arbitrary::{Arbitrary, Unstructured};
use mutirao::Segment;
use mutirao::bench::{Blocks, Stored};

const PAGES: u64 = 96;
const LIVE_MAX: usize = 64;

#[derive(Arbitrary, Debug)]
enum Op {
    Put { bytes: u16, pages: u8 },
    Touch { bytes: u32 },
    Free { which: u8 },
    FreeForged { unit: u32, generation: u64 },
    Look { unit: u32, generation: u64 },
    Reap { row: u8, id: u32 },
    Sweep,
    Patch { part: u8, at: u16, bytes: Bytes },
}

#[derive(Arbitrary, Debug)]
enum Bytes {
    Word(u64),
    Half(u32),
    Zeroes(u8),
    Ones(u8),
    /// A word copied from elsewhere in the same part.
    From(u16),
}

/// A block that is allocated, and what was written into it.
struct Live {
    block: Stored,
    bytes: u64,
    mark: u64,
}

pub fn arena(bytes: &[u8]) {
    let ops = Vec::<Op>::arbitrary_take_rest(Unstructured::new(bytes)).unwrap_or_default();
    let segment = Segment::anonymous(PAGES * 4096).expect("memory");
    let blocks = Blocks::of(&segment).expect("an arena").with_patience(Duration::from_micros(1500));
    let file = File::from(segment.as_fd().try_clone_to_owned().expect("a descriptor"));
    let (mut live, mut forged) = (Vec::new(), false);
    for (mark, op) in (0..).zip(ops.into_iter().take(200)) {
        match op {
            Op::Put { bytes, pages } => {
                let bytes = u64::from(bytes) + if pages > 200 { u64::from(pages - 200) * 4096 } else { 0 };
                let stored = blocks.put(bytes, 0, |words| words.iter().for_each(|w| w.store(mark, Relaxed)), |_| ());
                match stored {
                    Ok(block) if live.len() < LIVE_MAX => live.push(Live { block, bytes, mark }),
                    Ok(block) => assert!(blocks.free(block) || forged),
                    Err(error) => assert!(forged || error.is_out_of_memory(), "{error}"),
                }
            }
            Op::Touch { bytes } => drop(blocks.touch(u64::from(bytes))),
            Op::Free { .. } if live.is_empty() => {}
            Op::Free { which } => {
                let one = live.swap_remove(usize::from(which) % live.len());
                if !forged {
                    check(&blocks, &one);
                }
                assert!(blocks.free(one.block) || forged);
            }
            Op::FreeForged { unit, generation } => {
                let was_free = blocks.free((unit.into(), generation));
                live.retain(|one| !was_free || one.block != (unit.into(), generation));
            }
            Op::Look { unit, generation } => drop(blocks.words((unit.into(), generation))),
            // Nothing is in any hand.
            Op::Reap { row, id } => assert!(blocks.reap_hands(row.into(), id) == 0 || forged),
            Op::Sweep => assert!(blocks.sweep() == 0 || forged),
            Op::Patch { part, at, bytes } => {
                forged = true;
                patch(&file, &blocks, part, at.into(), bytes);
            }
        }
    }
    if forged {
        let freed = live.iter().filter(|one| blocks.free(one.block)).count();
        assert!(freed <= live.len());
        let _ = (blocks.figures(), segment.inspect().to_string());
        return;
    }
    live.iter().for_each(|one| check(&blocks, one));
    live.iter().for_each(|one| assert!(blocks.free(one.block)));
    assert_eq!(blocks.figures()[0], 0);
    blocks.touch(PAGES * 4096 - 128).expect("all of it in one piece");
}

fn check(blocks: &Blocks, one: &Live) {
    let words = blocks.words(one.block).expect("it is allocated");
    assert!(8 * words.len() as u64 >= one.bytes);
    assert!(words.iter().all(|word| word.load(Relaxed) == one.mark), "somebody else wrote into it");
}

/// Overwrites a word or a few in the hands, the header, the table, or the pages.
fn patch(file: &File, blocks: &Blocks, part: u8, at: u64, bytes: Bytes) {
    let [hands, header, table, pages] = blocks.parts();
    let (start, len) = match part % 4 {
        0 => (hands, header - hands),
        1 => (header, 512),
        2 => (table, 8 * PAGES),
        _ => (pages, PAGES * 4096),
    };
    // Words that mean something stand at the start of the pages.
    let place = |at: u64| start + if part > 127 { at % len } else { at % 512 / 8 * 8 };
    let bytes = match bytes {
        Bytes::Word(word) => word.to_ne_bytes().to_vec(),
        Bytes::Half(half) => half.to_ne_bytes().to_vec(),
        Bytes::Zeroes(n) => vec![0; n.into()],
        Bytes::Ones(n) => vec![0xff; n.into()],
        Bytes::From(from) => {
            let mut word = [0; 8];
            file.read_exact_at(&mut word, place(from.into())).expect("within the file");
            word.to_vec()
        }
    };
    let end = pages + PAGES * 4096;
    let at = place(at);
    let fits = (end - at).min(bytes.len() as u64) as usize;
    file.write_all_at(&bytes[..fits], at).expect("within the file");
}
