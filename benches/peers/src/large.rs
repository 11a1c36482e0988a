//! Items of 64 KiB and 1 MiB from one process to another: copied in by one, every byte read by the other where it
//! lies, the order checked.

use std::fs::File;
use std::hint::black_box;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use memmap2::{MmapOptions, MmapRaw};
use mutirao::{Bytes, Process, Queue, Value};
use zerocopy::IntoBytes;

use crate::machine::{pin, wait_for};

/// What is measured at a time.
const BYTES: usize = 1 << 30;

/// Places of a bounded channel for items of this size.
pub const fn depth(size: usize) -> usize {
    if size <= 1 << 16 { 64 } else { 8 }
}

const fn times(size: usize) -> u64 {
    (BYTES / size) as u64
}

/// Sends items until all are through, and tells gigabytes a second. The first word of an item is its number.
pub fn send_all(size: usize, steps: &Value<u64>, mut send: impl FnMut(&[u64])) -> f64 {
    let mut item: Vec<u64> = (0..size as u64 / 8).collect();
    for n in 0..depth(size) as u64 {
        item[0] = n;
        send(&item);
    }
    wait_for(|| steps.load() >= 2); // every place has been touched
    let begun = Instant::now();
    for n in 0..times(size) {
        item[0] = n;
        send(&item);
    }
    wait_for(|| steps.load() >= 3);
    (times(size) as usize * size) as f64 / begun.elapsed().as_nanos() as f64
}

/// The other side: `recv` gives the first word and the sum of all.
pub fn receive_all(size: usize, steps: &Value<u64>, mut recv: impl FnMut() -> (u64, u64)) {
    let others = sum((1..size as u64 / 8).collect::<Vec<_>>().into_iter());
    for times in [depth(size) as u64, times(size)] {
        for n in 0..times {
            let (first, sum) = recv();
            assert_eq!((first, sum), (n, others.wrapping_add(n)), "lost, torn or out of order");
        }
        steps.fetch_add(1);
    }
}

/// Enough sums at once to keep the load ports busy.
pub fn sum(words: impl Iterator<Item = u64>) -> u64 {
    let sums = words.fold([0_u64; 4], |[s0, s1, s2, s3], word| [s1, s2, s3, s0.wrapping_add(word)]);
    sums.into_iter().fold(0, u64::wrapping_add)
}

fn sum_slice(words: &[u64]) -> u64 {
    let mut lanes = [0_u64; 8];
    let mut chunks = words.chunks_exact(8);
    for chunk in &mut chunks {
        for (lane, word) in lanes.iter_mut().zip(chunk) {
            *lane = lane.wrapping_add(*word);
        }
    }
    chunks.remainder().iter().chain(&lanes).fold(0, |sum, word| sum.wrapping_add(*word))
}

/// What the bytes need and nothing else: two indices and places to copy to, for one sender and one receiver.
struct Ring {
    memory: MmapRaw,
    size: usize,
    at: u64,
    other: u64,
}

impl Ring {
    fn map(path: &str, size: usize) -> std::io::Result<Self> {
        let file = File::options().read(true).write(true).open(path)?;
        let len = 4096 + depth(size) * size;
        file.set_len(len as u64)?;
        Ok(Self { memory: MmapOptions::new().len(len).map_raw(&file)?, size, at: 0, other: 0 })
    }

    fn index(&self, which: usize) -> &AtomicU64 {
        assert!(which < 2);
        // SAFETY: in the first page, aligned, and used as an atomic only.
        unsafe { &*self.memory.as_ptr().add(which * 256).cast::<AtomicU64>() }
    }

    fn place(&self) -> *mut u64 {
        let place = self.at as usize % depth(self.size);
        self.memory.as_mut_ptr().wrapping_add(4096 + place * self.size).cast()
    }

    fn send(&mut self, item: &[u64]) {
        assert_eq!(item.len() * 8, self.size);
        while self.at - self.other == depth(self.size) as u64 {
            self.other = self.index(1).load(Ordering::Acquire);
            std::hint::spin_loop();
        }
        // SAFETY: a place of that size, which the receiver has left.
        unsafe { std::ptr::copy_nonoverlapping(item.as_ptr(), self.place(), item.len()) };
        self.at += 1;
        self.index(0).store(self.at, Ordering::Release);
    }

    fn recv(&mut self) -> (u64, u64) {
        while self.at == self.other {
            self.other = self.index(0).load(Ordering::Acquire);
            std::hint::spin_loop();
        }
        // SAFETY: a place of that size, which the sender has left until the index below says otherwise.
        let item = unsafe { std::slice::from_raw_parts(self.place(), self.size / 8) };
        let got = (item[0], sum_slice(item));
        self.at += 1;
        self.index(1).store(self.at, Ordering::Release);
        got
    }
}

pub fn bare_ring(size: usize) -> Result<f64, Box<dyn std::error::Error>> {
    let file = File::from(rustix::fs::memfd_create("ring", rustix::fs::MemfdFlags::CLOEXEC)?);
    let path = format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd());
    let (mut ring, steps) = (Ring::map(&path, size)?, Value::new(0)?);
    let receive = |(path, size, steps): (String, u64, Value<u64>)| {
        pin(1);
        let mut ring = Ring::map(&path, size as usize).expect("the parent's file");
        steps.fetch_add(1);
        receive_all(size as usize, &steps, || black_box(ring.recv()));
    };
    let other = Process::spawn(receive, (path, size as u64, steps.clone()))?;
    wait_for(|| steps.load() >= 1 || !other.is_alive());
    let rate = send_all(size, &steps, |item| ring.send(item));
    other.join()?;
    Ok(rate)
}

/// Ours: reserved, written in place, read where it lies by the words of its lease.
pub fn ours(size: usize) -> Result<f64, Box<dyn std::error::Error>> {
    let queue = Queue::<Bytes>::options().capacity(depth(size)).leases(4).create()?;
    let steps = Value::new(0)?;
    let receive = |(queue, size, steps): (Queue<Bytes>, u64, Value<u64>)| {
        pin(1);
        steps.fetch_add(1);
        receive_all(size as usize, &steps, || {
            let item = queue.lease_in_place().expect("an item");
            // SAFETY: the sender is done with it, and both are ours; as with the two peers.
            let (_, words, _) = unsafe { item.view().as_slice().align_to::<u64>() };
            let got = (words[0], sum_slice(words));
            item.ack().expect("ours");
            got
        });
    };
    let other = Process::spawn(receive, (queue.clone(), size as u64, steps.clone()))?;
    wait_for(|| steps.load() >= 1 || !other.is_alive());
    let rate = send_all(size, &steps, |item| {
        let mut slot = queue.reserve(size).expect("room");
        slot.write_at(0, item.as_bytes()).expect("it fits");
        slot.commit().expect("the other side lives");
    });
    other.join()?;
    Ok(rate)
}

#[cfg(feature = "iceoryx2")]
pub mod iceoryx {
    use super::*;
    use iceoryx2::port::update_connections::UpdateConnections;
    use iceoryx2::prelude::*;
    use iceoryx2::service::port_factory::publish_subscribe::PortFactory;

    type Ipc = ipc::Service;
    type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

    fn service(name: &str, size: usize) -> Result<(Node<Ipc>, PortFactory<Ipc, [u8], ()>)> {
        set_log_level(LogLevel::Error);
        let node = NodeBuilder::new().create::<Ipc>()?;
        let service = node
            .service_builder(&name.try_into()?)
            .publish_subscribe::<[u8]>()
            .payload_alignment(Alignment::new(64).expect("a power of two"))
            .max_publishers(1)
            .max_subscribers(1)
            .history_size(0)
            .subscriber_max_buffer_size(depth(size))
            .subscriber_max_borrowed_samples(1)
            .enable_safe_overflow(false)
            .open_or_create()?;
        Ok((node, service))
    }

    fn receive((name, size, steps, connected): (String, u64, Value<u64>, Value<u64>)) {
        pin(1);
        let size = size as usize;
        let (_node, service) = service(&name, size).expect("the parent's service");
        let subscriber = service.subscriber_builder().create().expect("one subscriber");
        connected.fetch_add(1);
        wait_for(|| connected.load() == 2); // the other side has connected
        subscriber.update_connections().expect("a publisher");
        steps.fetch_add(1);
        receive_all(size, &steps, || {
            loop {
                let Some(sample) = subscriber.receive().expect("no failure") else { continue };
                // SAFETY: plain numbers; the payload is aligned to 64.
                let (_, words, _) = unsafe { sample.payload().align_to::<u64>() };
                return (words[0], sum_slice(words));
            }
        });
    }

    pub fn stream(size: usize) -> Result<f64> {
        let name = format!("mutirao-peers/{}/{size}", std::process::id());
        let (_node, service) = service(&name, size)?;
        let publisher = service
            .publisher_builder()
            .initial_max_slice_len(size)
            .max_loaned_samples(1)
            .backpressure_strategy(BackpressureStrategy::RetryUntilDelivered)
            .create()?;
        let (steps, connected) = (Value::new(0)?, Value::new(0)?);
        let other = Process::spawn(receive, (name, size as u64, steps.clone(), connected.clone()))?;
        wait_for(|| connected.load() == 1 || !other.is_alive());
        publisher.update_connections()?;
        connected.fetch_add(1);
        wait_for(|| steps.load() >= 1 || !other.is_alive());
        let rate = send_all(size, &steps, |item| {
            let mut sample = publisher.loan_slice_uninit(size).expect("room");
            let to = sample.payload_mut().as_mut_ptr().cast::<u8>();
            // SAFETY: as many bytes as were asked for, all of which are written here.
            let sample = unsafe {
                std::ptr::copy_nonoverlapping(item.as_ptr().cast::<u8>(), to, size);
                sample.assume_init()
            };
            sample.send().expect("a subscriber");
        });
        other.join()?;
        Ok(rate)
    }
}
