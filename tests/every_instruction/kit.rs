//! The kit itself: it finds a structure that is not whole at some step, and misses no step that others can see.

use mutirao::testing::{Killed, Points, begin, end, kill_everywhere};
use mutirao::{Array, Value};
use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

/// Two accounts, and their sum in the survivor's eyes after each kill.
fn sums_seen<S>(accounts: &S, pay: fn(S), sum_and_reset: fn(&S) -> u64) -> BTreeSet<u64>
where
    S: Clone + serde::Serialize + serde::de::DeserializeOwned,
{
    let mut seen = BTreeSet::new();
    let kills = kill_everywhere(Points::Shared, accounts, pay, |accounts, _| _ = seen.insert(sum_and_reset(accounts)));
    assert!(kills.unwrap().kills >= 3, "it was hardly killed");
    seen
}

#[test]
fn a_structure_that_is_torn_at_one_step_is_caught() {
    // What is paid is nowhere for a moment.
    let accounts = Array::<u64>::new(2).unwrap();
    accounts.set(0, 100).unwrap();
    let pay = |accounts: Array<u64>| {
        begin();
        accounts.set(0, 99).unwrap();
        accounts.set(1, 1).unwrap();
        end();
    };
    let sum = |accounts: &Array<u64>| {
        let sum = accounts.get(0).unwrap() + accounts.get(1).unwrap();
        accounts.set(0, 100).unwrap();
        accounts.set(1, 0).unwrap();
        sum
    };
    assert_eq!(sums_seen(&accounts, pay, sum), BTreeSet::from([99, 100]));
}

#[test]
fn a_structure_that_is_never_torn_passes() {
    let accounts = Value::<[u64; 2]>::new([100, 0]).unwrap();
    let pay = |accounts: Value<[u64; 2]>| {
        begin();
        accounts.store([99, 1]).unwrap();
        end();
    };
    let sum = |accounts: &Value<[u64; 2]>| {
        let [one, other] = accounts.load();
        accounts.store([100, 0]).unwrap();
        one + other
    };
    assert_eq!(sums_seen(&accounts, pay, sum), BTreeSet::from([100]));
}

#[test]
fn a_structure_that_is_torn_on_another_way_than_the_first_one_is_caught() {
    // The first victims, and each seventh one, call the system before they pay, and more often than the others.
    let stage = (Array::<u64>::new(2).unwrap(), Value::new(0_u64).unwrap());
    stage.0.set(0, 100).unwrap();
    let pay = |(accounts, victims): (Array<u64>, Value<u64>)| {
        let victim = victims.fetch_add(1);
        begin();
        if victim < 5 || victim % 7 == 0 {
            for _ in 0..5 {
                std::thread::yield_now();
            }
        }
        accounts.set(0, 99).unwrap();
        accounts.set(1, 1).unwrap();
        end();
    };
    let sum = |(accounts, _): &(Array<u64>, Value<u64>)| {
        let sum = accounts.get(0).unwrap() + accounts.get(1).unwrap();
        accounts.set(0, 100).unwrap();
        accounts.set(1, 0).unwrap();
        sum
    };
    assert_eq!(sums_seen(&stage, pay, sum), BTreeSet::from([99, 100]));
}

const LEN: usize = 512;

/// Memory of one's own, mapped by one's own hand.
fn map(file: &File) -> *mut u8 {
    // SAFETY: a new mapping of an open file, at an address of the kernel's choice.
    let at = unsafe {
        libc::mmap(std::ptr::null_mut(), LEN, libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED, file.as_raw_fd(), 0)
    };
    assert_ne!(at, libc::MAP_FAILED);
    at.cast()
}

#[expect(clippy::multiple_unsafe_ops_per_block, reason = "one claim for all of them: within the mapping")]
/// Changes shared bytes by instructions of many kinds, and through the kernel.
fn change(path: PathBuf) {
    let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
    let all: [u8; 300] = std::array::from_fn(|i| i as u8 | 1);
    let len = std::hint::black_box(all.len());
    let at = map(&file);
    begin();
    // SAFETY: all of it within the mapping, which nobody else writes while this process lives; aligned where it must be.
    unsafe {
        at.write_volatile(1);
        at.add(2).cast::<u16>().write_volatile(2);
        at.add(4).cast::<u32>().write_volatile(3);
        at.add(8).cast::<u64>().write_volatile(at.add(4).cast::<u32>().read_volatile().into());
        at.add(16).cast::<[u64; 4]>().write_volatile([5; 4]);
        for i in 6..10 {
            at.add(8 * i).cast::<u64>().write_volatile(i as u64);
        }
        std::ptr::copy_nonoverlapping(all.as_ptr(), at.add(100), len);
        std::arch::asm!("lock xadd [{}], {}", in(reg) at.add(8), inout(reg) 7_u64 => _);
        std::arch::asm!("rep stosb", inout("rdi") at.add(402) => _, inout("rcx") 20_u64 => _, in("al") 9_u8);
        file.write_all_at(&[10; 40], 430).unwrap();
        let other = map(&file);
        other.add(480).write_volatile(11);
        libc::munmap(other.cast(), LEN);
        at.add(484).write_volatile(12);
    }
    end();
}

#[test]
fn every_state_that_others_can_see_is_met_at_shared_steps() {
    let path = std::env::temp_dir().join(format!("mutirao-kit-{}", std::process::id()));
    std::fs::write(&path, [0; LEN]).unwrap();
    let states = |points| {
        let mut states = BTreeSet::new();
        let kills = kill_everywhere(points, &path, change, |path, killed| {
            let now = std::fs::read(path).unwrap();
            assert!(killed != Killed::During(0) || now == [0; LEN]);
            states.insert(now);
            std::fs::write(path, [0; LEN]).unwrap();
        });
        (kills.unwrap(), states)
    };
    let (at_shared, seen) = states(Points::Shared);
    // A build without optimisation has too many instructions to die at all of them.
    let (at_all, seen_at_all) = states(if cfg!(debug_assertions) { Points::About(100) } else { Points::Every });
    std::fs::remove_file(&path).unwrap();
    eprintln!("{at_shared} {} states\n{at_all} {} states", seen.len(), seen_at_all.len());
    assert!(seen_at_all.len() > 10, "{} states", seen_at_all.len());
    assert!(seen_at_all.is_subset(&seen), "{} of {} states", seen.len(), seen_at_all.len());
}
