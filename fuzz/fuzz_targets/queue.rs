#![no_main]

#[path = "../bodies/queue.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| body::queue(bytes));
