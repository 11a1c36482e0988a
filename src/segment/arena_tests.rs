//! The arena against a plain model of it, and at its limits, in one process.

use crate::raw::blocks::BlockRef;
use crate::segment::arena::Arena;
use crate::segment::header::Spec;
use crate::segment::layout::PAGE;
use crate::segment::open::Segment;
use crate::segment::spans::UNIT;
use crate::sync::Ordering::Relaxed;

fn segment(bytes: u64) -> Segment {
    Segment::made_as(&Spec::arena(bytes)).unwrap()
}

fn arena(segment: &Segment) -> &Arena {
    segment.attachment().arena().unwrap()
}

/// Allocates and leaves the block in a structure that is this test.
fn keep(segment: &Segment, bytes: u64) -> crate::error::Result<BlockRef> {
    let block = arena(segment).allocate(segment.attachment(), bytes)?;
    assert!(
        block.len() >= bytes
            && block.words().as_ptr().addr().is_multiple_of(if bytes > 0 && bytes.is_multiple_of(64) {
                64
            } else {
                32
            })
    );
    block.set_place(0);
    Ok(block.published())
}

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}

#[test]
fn memory_for_a_large_block_is_made_in_parts() {
    let segment = segment(16 << 20);
    let arena = arena(&segment);
    let committed = || arena.growth().refresh().unwrap();
    let mut steps = vec![committed()];
    while steps.len() < 20 {
        arena.make_ahead(2 << 20, 256 << 10);
        let now = committed();
        match now - steps.last().unwrap() {
            0 => break,
            pages => assert!(pages <= 64 + 64, "a part, in whole steps: {pages} pages"),
        }
        steps.push(now);
    }
    assert!((5..15).contains(&steps.len()), "{steps:?}");
    // Now nothing needs to be made for it.
    let block = arena.allocate(segment.attachment(), 2 << 20).unwrap();
    assert_eq!(committed(), *steps.last().unwrap());
    drop(block);
    // At the end of the segment it is no error, and nothing happens.
    arena.make_ahead(1 << 30, 1 << 30);
    assert_eq!(committed(), arena.growth().pages_max());
    arena.make_ahead(1 << 30, 1 << 30);
}

#[test]
fn what_room_was_made_for_needs_no_more_memory() {
    for (blocks, bytes) in [(20_000, 280), (3000, 1000), (700, 8192), (40, 100_000)] {
        let segment = segment(64 << 20);
        let arena = arena(&segment);
        let before = arena.growth().refresh().unwrap();
        arena.make_room(blocks, bytes);
        let made = arena.growth().refresh().unwrap();
        // What it is for, a block's word, what is left of a run, and a step.
        let most = before + 64 + blocks * (bytes + bytes / 8 + 64) / PAGE;
        assert!((blocks * bytes / PAGE..most).contains(&made), "{blocks} of {bytes}: {before}, {made}");
        for _ in 0..blocks {
            keep(&segment, bytes).unwrap();
        }
        assert_eq!(arena.growth().refresh().unwrap(), made, "{blocks} of {bytes}");
    }
    // Little comes by itself.
    let segment = segment(64 << 20);
    let before = arena(&segment).growth().refresh().unwrap();
    arena(&segment).make_room(16, 280);
    assert_eq!(arena(&segment).growth().refresh().unwrap(), before);
}

#[test]
fn a_dropped_block_is_the_next_one() {
    let segment = segment(1 << 20);
    let (arena, life) = (arena(&segment), segment.attachment());
    for bytes in [0, 1, 64, 65, 8192, 8193, 100_000] {
        let first = arena.allocate(life, bytes).unwrap().reference();
        let second = arena.allocate(life, bytes).unwrap();
        assert_eq!(second.reference().unit, first.unit);
        assert!(second.reference().generation > first.generation && second.len() >= bytes);
        assert!(arena.words(first).is_none() && arena.words(second.reference()).is_some());
        assert!(!arena.free(life, second.reference()), "in hand, not in a structure");
    }
}

#[test]
fn a_recycled_block_is_the_next_one_of_its_size() {
    let segment = segment(1 << 20);
    let (arena, life) = (arena(&segment), segment.attachment());
    let [old, other, small] = [300, 300, 64].map(|bytes| keep(&segment, bytes).unwrap());
    assert!(arena.recycle(life, old) && !arena.recycle(life, old) && !arena.free(life, old));
    assert!(arena.words(old).is_none() && !arena.settle(old), "it is another's by now");
    let dropped = arena.allocate(life, 290).unwrap().reference();
    let again = keep(&segment, 300).unwrap();
    assert_eq!((dropped, dropped.unit, again.generation), (again, old.unit, old.generation + 1));
    // The last one is kept.
    assert!(arena.recycle(life, other) && arena.recycle(life, small));
    assert_ne!(keep(&segment, 300).unwrap().unit, small.unit);
    assert_eq!(keep(&segment, 50).unwrap().unit, small.unit);
    assert!(arena.recycle(life, again));
    arena.leave(life);
    assert_eq!(arena.usage().used, 320 + 64, "what is kept is free when its owner leaves");
}

#[test]
fn what_is_kept_is_had_before_memory_ends() {
    let segment = segment(4 * PAGE);
    let (arena, life) = (arena(&segment), segment.attachment());
    let old = keep(&segment, 300).unwrap();
    assert!(arena.recycle(life, old));
    let all = keep(&segment, 4 * PAGE - 128).unwrap();
    assert!(arena.free(life, all));
}

#[test]
fn a_body_is_aligned() {
    let segment = segment(1 << 20);
    for bytes in [1, 64, 129, 300, 5000, 9000] {
        let block = arena(&segment).allocate_body(segment.attachment(), bytes).unwrap();
        assert!(block.words().as_ptr().addr().is_multiple_of(128));
        block.set_place(0);
        let region = arena(&segment).region(block.published()).unwrap();
        assert!(region.len() >= bytes);
    }
}

#[test]
fn a_block_is_freed_once_and_never_by_an_old_reference() {
    let segment = segment(1 << 20);
    let (arena, life) = (arena(&segment), segment.attachment());
    for bytes in [64, 10_000] {
        let old = keep(&segment, bytes).unwrap();
        assert!(arena.settle(old) && arena.free(life, old) && !arena.free(life, old) && !arena.settle(old));
        let new = keep(&segment, bytes).unwrap();
        assert!(
            !arena.free(life, old) && arena.words(old).is_none() && arena.region(old).is_err_and(|e| e.is_corrupt())
        );
        assert!(arena.free(life, new));
    }
}

#[test]
fn no_two_blocks_overlap_and_all_memory_comes_back() {
    let seed = 0x5eed_0bad_cafe_u64;
    println!("seed {seed:#x}");
    let mut random = Random(seed);
    let segment = segment(8 << 20);
    let (arena, life) = (arena(&segment), segment.attachment());
    let mut live: Vec<(BlockRef, u64, u64)> = Vec::new();
    let mut refused = 0;
    for turn in 0..40_000_u64 {
        let grows = turn / 5000 % 2 == 0;
        if random.below(10) < if grows { 7 } else { 3 } || live.is_empty() {
            let bytes = match random.below(20) {
                0 => random.below(600_000),
                1..=4 => random.below(9000),
                _ => random.below(600),
            };
            let block = match keep(&segment, bytes) {
                Ok(block) => block,
                Err(error) => {
                    assert!(error.is_out_of_memory(), "{error}");
                    refused += 1;
                    continue;
                }
            };
            let words = arena.words(block).unwrap();
            for word in [words.first().unwrap(), words.last().unwrap()] {
                word.store(turn, Relaxed);
            }
            assert_eq!(
                live.iter().find(|(other, len, _)| {
                    other.unit * UNIT < block.unit * UNIT + 8 * words.len() as u64
                        && block.unit * UNIT < other.unit * UNIT + len
                }),
                None
            );
            live.push((block, 8 * words.len() as u64, turn));
        } else {
            let (block, _, mark) = live.swap_remove(random.below(live.len() as u64) as usize);
            let words = arena.words(block).unwrap();
            assert_eq!((words[0].load(Relaxed), words[words.len() - 1].load(Relaxed)), (mark, mark));
            assert!(arena.free(life, block));
        }
    }
    println!("{refused} refused, {} live", live.len());
    let used: u64 = live.iter().map(|(_, len, _)| len).sum();
    assert_eq!(arena.usage().used, used);
    for (block, ..) in live {
        assert!(arena.free(life, block));
    }
    // One block of nearly everything: nothing is lost and nothing torn for good.
    let all = keep(&segment, (8 << 20) - 128).unwrap();
    assert!(arena.free(life, all));
    assert_eq!(arena.usage().used, 0);
}

#[test]
fn a_full_arena_says_what_was_needed_and_what_there_is() {
    let segment = segment(10 * PAGE);
    let error = keep(&segment, 10 * PAGE).unwrap_err();
    assert!(error.is_out_of_memory(), "{error}");
    assert!(error.to_string().contains("needs 40960 bytes, 40832 are available"), "{error}");
    let all = keep(&segment, 10 * PAGE - 128).unwrap();
    let error = keep(&segment, 64).unwrap_err();
    assert!(error.to_string().contains("needs 64 bytes, 0 are available"), "{error}");
    assert!(arena(&segment).free(segment.attachment(), all));
    // Small ones to the brim, where no run of the usual length is left.
    let mut blocks = Vec::new();
    while let Ok(block) = keep(&segment, 4000) {
        blocks.push(block);
    }
    assert_eq!(blocks.len(), 5); // each needs two pages once a run of sixteen does not fit
    for bytes in [u64::MAX, u64::MAX - 127, 1 << 60, 1 << 44] {
        assert!(keep(&segment, bytes).unwrap_err().is_out_of_memory());
    }
}

#[test]
fn as_many_blocks_as_hands_are_held_at_once() {
    let segment = segment(1 << 20);
    let (arena, life) = (arena(&segment), segment.attachment());
    let held: Vec<_> = (0..32).map(|_| arena.allocate(life, 100).unwrap()).collect();
    let error = arena.allocate(life, 100).unwrap_err();
    assert!(error.is_exhausted() && error.to_string().contains("32 hands"), "{error}");
    drop(held);
    assert!(arena.allocate(life, 100).is_ok());
    assert_eq!(arena.usage().used, 0);
}

#[test]
fn what_was_forgotten_is_free_when_the_participant_leaves() {
    let segment = segment(1 << 20);
    let fd = rustix::io::dup(&segment).unwrap();
    core::mem::forget(arena(&segment).allocate(segment.attachment(), 100).unwrap());
    core::mem::forget(arena(&segment).allocate(segment.attachment(), 10_000).unwrap());
    drop(segment);
    let segment = Segment::from_fd(fd).unwrap();
    assert_eq!(arena(&segment).usage().used, 0);
    assert!(keep(&segment, (1 << 20) - 128).is_ok());
}

#[test]
fn threads_share_an_arena() {
    let segment = segment(4 << 20);
    std::thread::scope(|scope| {
        for seed in 1..5 {
            let segment = &segment;
            scope.spawn(move || {
                let mut random = Random(seed * 0x9e37_79b9);
                let (arena, life) = (arena(segment), segment.attachment());
                let mut live = Vec::new();
                for turn in 0..20_000_u64 {
                    if live.len() < 100 && random.below(2) == 0 {
                        let bytes = if random.below(50) == 0 { 20_000 } else { random.below(2000) };
                        let block = keep(segment, bytes).unwrap();
                        arena.words(block).unwrap()[0].store(seed << 32 | turn, Relaxed);
                        live.push((block, seed << 32 | turn));
                    } else if !live.is_empty() {
                        let (block, mark) = live.swap_remove(random.below(live.len() as u64) as usize);
                        assert_eq!(arena.words(block).unwrap()[0].load(Relaxed), mark);
                        assert!(arena.free(life, block));
                    }
                }
                live.into_iter().for_each(|(block, _)| assert!(arena.free(life, block)));
            });
        }
    });
    assert_eq!(arena(&segment).usage().used, 0);
    assert!(keep(&segment, (4 << 20) - 128).is_ok());
}
