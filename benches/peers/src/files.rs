//! A named segment of 1 MiB beside the system calls that it can not do without.

use std::os::fd::OwnedFd;
use std::time::Instant;

use rustix::fs::{FallocateFlags, Mode, fallocate, ftruncate};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
use rustix::shm;

use mutirao::{Process, Segment, Value};

use crate::machine::wait_for;

const LEN: usize = 1 << 20;
const TIMES: u32 = 500;

fn name(of: &str) -> String {
    format!("mutirao-peers-{}-{of}", std::process::id())
}

/// Microseconds that each takes.
fn us_each(
    mut operation: impl FnMut() -> Result<(), Box<dyn std::error::Error>>,
) -> Result<f64, Box<dyn std::error::Error>> {
    operation()?;
    let begun = Instant::now();
    for _ in 0..TIMES {
        operation()?;
    }
    Ok(begun.elapsed().as_nanos() as f64 / f64::from(TIMES) / 1e3)
}

fn make(name: &str, reserve: bool) -> rustix::io::Result<OwnedFd> {
    let flags = shm::OFlags::RDWR | shm::OFlags::CREATE | shm::OFlags::EXCL;
    let fd = shm::open(name, flags, Mode::RUSR | Mode::WUSR)?;
    if reserve {
        fallocate(&fd, FallocateFlags::empty(), 0, LEN as u64)?;
    } else {
        ftruncate(&fd, LEN as u64)?;
    }
    Ok(fd)
}

fn map_and_unmap(fd: &OwnedFd) -> rustix::io::Result<()> {
    // SAFETY: a place of the kernel's choice, which nothing refers to.
    unsafe {
        let at = mmap(std::ptr::null_mut(), LEN, ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED, fd, 0)?;
        munmap(at, LEN)
    }
}

/// Create, map, unmap, unlink; with or without its memory.
pub fn create_bare(reserve: bool) -> Result<f64, Box<dyn std::error::Error>> {
    let name = name("bare");
    us_each(|| {
        map_and_unmap(&make(&name, reserve)?)?;
        Ok(shm::unlink(&name)?)
    })
}

/// Open, map, unmap, close.
pub fn attach_bare() -> Result<f64, Box<dyn std::error::Error>> {
    let name = name("bare-attach");
    let _kept = make(&name, true)?;
    let took = us_each(|| Ok(map_and_unmap(&shm::open(&name, shm::OFlags::RDWR, Mode::empty())?)?));
    shm::unlink(&name)?;
    took
}

/// A segment of 1 MiB by name: made and left by its only participant, which takes the name away.
pub fn create() -> Result<f64, Box<dyn std::error::Error>> {
    let name = name("ours");
    us_each(|| {
        Segment::create(&name, LEN as u64)?;
        Ok(())
    })
}

/// Opened and left, while another process stays in it.
pub fn attach() -> Result<f64, Box<dyn std::error::Error>> {
    let (name, steps) = (name("ours-attach"), Value::new(0_u64)?);
    let stay = |(name, steps): (String, Value<u64>)| {
        let _segment = Segment::create(&name, LEN as u64).expect("a segment");
        steps.fetch_add(1);
        while steps.load() == 1 {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
    };
    let other = Process::spawn(stay, (name.clone(), steps.clone()))?;
    wait_for(|| steps.load() == 1);
    let took = us_each(|| {
        Segment::open(&name)?;
        Ok(())
    });
    steps.fetch_add(1);
    other.join()?;
    took
}
