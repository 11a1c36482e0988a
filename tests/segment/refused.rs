//! Descriptors that are no segment, or not one of ours any more.

use mutirao::{Error, Segment};
use rustix::fs::{MemfdFlags, Mode, SealFlags};
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;

/// A memfd with these bytes, sealed as ours are unless told otherwise.
pub fn memfd(bytes: &[u8], len: u64, mode: u32, seals: SealFlags) -> OwnedFd {
    let fd = rustix::fs::memfd_create("test", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).unwrap();
    rustix::fs::fchmod(&fd, Mode::from_raw_mode(mode)).unwrap();
    let mut file = File::from(fd);
    file.write_all(bytes).unwrap();
    file.set_len(len).unwrap();
    rustix::fs::fcntl_add_seals(&file, seals).unwrap();
    file.into()
}

const SEALS: SealFlags = SealFlags::SHRINK.union(SealFlags::SEAL);

fn image() -> Vec<u8> {
    let segment = Segment::anonymous(1).unwrap();
    let mut bytes = vec![0; usize::try_from(segment.len()).unwrap()];
    File::from(segment.as_fd().try_clone_to_owned().unwrap()).read_exact_at(&mut bytes, 0).unwrap();
    bytes
}

fn refusal(fd: OwnedFd) -> Error {
    let error = Segment::from_fd(fd).unwrap_err();
    assert!(error.to_string().len() > 20, "a message that helps nobody: {error}");
    error
}

#[test]
fn a_descriptor_of_something_else_is_refused() {
    let (a, _b) = std::os::unix::net::UnixStream::pair().unwrap();
    assert!(refusal(a.into()).is_not_a_segment());
    assert!(refusal(File::open("/dev/null").unwrap().into()).is_not_a_segment());
    assert!(refusal(File::open("/proc/self/exe").unwrap().into()).is_not_a_segment());
    assert!(refusal(File::open("/").unwrap().into()).is_not_a_segment());
}

#[test]
fn an_unsealed_or_open_file_is_refused() {
    let bytes = image();
    let len = bytes.len() as u64;
    assert!(refusal(memfd(&bytes, len, 0o600, SealFlags::empty())).is_not_a_segment());
    assert!(refusal(memfd(&bytes, len, 0o600, SealFlags::SHRINK)).is_not_a_segment());
    assert!(refusal(memfd(&bytes, len, 0o666, SEALS)).is_not_a_segment());
    assert!(refusal(memfd(&bytes, len, 0o600, SEALS | SealFlags::WRITE)).is_not_a_segment());
    assert!(Segment::from_fd(memfd(&bytes, len, 0o600, SEALS)).is_ok(), "the image itself is fine");
}

#[test]
fn a_truncated_or_empty_file_is_refused() {
    let bytes = image();
    assert!(refusal(memfd(&[], 0, 0o600, SEALS)).is_not_a_segment());
    assert!(refusal(memfd(&bytes[..100], 100, 0o600, SEALS)).is_not_a_segment());
    assert!(refusal(memfd(&bytes[..4096], 4096, 0o600, SEALS)).is_corrupt());
    assert!(refusal(memfd(&bytes, bytes.len() as u64 + 4096, 0o600, SEALS)).is_corrupt());
}

#[test]
fn every_changed_byte_of_the_used_header_is_refused_or_harmless() {
    let bytes = image();
    let len = bytes.len() as u64;
    let mut refused = 0;
    for at in 0..216 {
        let mut changed = bytes.clone();
        changed[at] ^= 0xff;
        match Segment::from_fd(memfd(&changed, len, 0o600, SEALS)) {
            Ok(segment) => drop(segment.inspect().to_string()),
            Err(error) => {
                refused += 1;
                assert!(error.is_not_a_segment() || error.is_corrupt() || error.is_wrong_version(), "{at}: {error}");
            }
        }
    }
    assert!(refused >= 24 + 24, "magic, version, byte order, fingerprint, sizes: {refused}");
}

#[test]
fn another_version_is_refused_with_both_numbers() {
    let mut bytes = image();
    bytes[8] = 9;
    let error = refusal(memfd(&bytes, bytes.len() as u64, 0o600, SEALS));
    assert!(error.is_wrong_version());
    assert!(error.to_string().contains("format 9") && error.to_string().contains("reads 1"), "{error}");
}

#[test]
fn a_size_beyond_the_machine_is_an_error_with_two_numbers() {
    let error = mutirao::Array::<u64>::new(1 << 42).unwrap_err();
    assert!(error.is_out_of_memory(), "{error}");
    let numbers = error.to_string().split(|c: char| !c.is_ascii_digit()).filter(|n| n.len() > 5).count();
    assert_eq!(numbers, 2, "{error}");
    assert!(Segment::anonymous(u64::MAX).unwrap_err().is_invalid());
    assert!(Segment::anonymous(1 << 46).unwrap_err().is_invalid());
}
