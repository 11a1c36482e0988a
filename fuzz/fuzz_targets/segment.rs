#![no_main]

#[path = "../bodies/segment.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| body::segment(bytes));
