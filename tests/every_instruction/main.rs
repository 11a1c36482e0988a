//! Death at every instruction, for real: see [`tracer`]. A new primitive is covered by lines in a table.
//!
//! `MUTIRAO_EVERY_INSTRUCTION=1 cargo test --release --test every_instruction -- --nocapture --test-threads 1` kills at
//! all of them and prints the table. Without the variable, points spread over each operation are tried.
#![cfg(target_arch = "x86_64")] // single steps and marks are those of this machine

mutirao::testing::entry!();

mod queue;
mod tracer;
mod words;

/// One test for each line: name, what is shared, who dies, who looks after it.
#[macro_export]
macro_rules! operations {
    ($($name:ident: $make:expr, $victim:expr, $survivor:expr;)*) => { $(
        #[test]
        fn $name() {
            $crate::tracer::every_instruction(stringify!($name), $make, $victim, $survivor);
        }
    )* };
}
