#![no_main]

#[path = "../bodies/dict.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| body::dict(bytes));
