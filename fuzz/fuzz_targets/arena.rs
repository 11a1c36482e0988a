#![no_main]

#[path = "../bodies/arena.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| body::arena(bytes));
