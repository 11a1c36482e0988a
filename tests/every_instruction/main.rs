//! Death at every instruction, for real: `mutirao::testing::kill_everywhere`. A new primitive is covered by lines in
//! a table.
//!
//! `MUTIRAO_EVERY_INSTRUCTION=1 cargo test --release --test every_instruction -- --nocapture --test-threads 1` kills at
//! all of them and prints the table. Without the variable, points spread over each operation are tried.
#![cfg(target_arch = "x86_64")] // single steps and marks are those of this machine

mutirao::testing::entry!();

mod catalog;
mod dict;
mod kit;
mod leases;
mod list;
mod locked;
mod queue;
mod recoverers;
mod segments;
mod words;

use mutirao::testing::{Killed, Points, kill_everywhere};
use serde::{Serialize, de::DeserializeOwned};

/// One test for each line: name, what is shared, who dies, who looks after it.
#[macro_export]
macro_rules! operations {
    ($($name:ident: $make:expr, $victim:expr, $survivor:expr;)*) => { $(
        #[test]
        fn $name() {
            $crate::try_operation(stringify!($name), $make, $victim, $survivor);
        }
    )* };
}

/// Asks for every instruction of operations that are not longer than [`EVERY_UP_TO`], and of longer ones for all that
/// others can see.
const ALL: &str = "MUTIRAO_EVERY_INSTRUCTION";
const EVERY_UP_TO: u64 = 1500;

fn try_operation<S>(name: &str, make: fn() -> S, victim: fn(S), survivor: fn(&S, Killed))
where
    S: Clone + Serialize + DeserializeOwned,
{
    let stage = make();
    let kill_at = |points| kill_everywhere(points, &stage, victim, survivor).unwrap();
    let kills = if cfg!(debug_assertions) {
        // This build is nobody's, and takes ten times the instructions: the gate runs the other one.
        kill_at(Points::Growing(1000))
    } else {
        match std::env::var_os(ALL) {
            // Long operations are killed at fewer points: stepping to them is what takes time.
            None => {
                let few = kill_at(Points::About(4));
                match 100_000 / few.instructions.max(1) {
                    0..=4 => few,
                    more => kill_at(Points::About(more.min(40) as u32)),
                }
            }
            Some(_) => {
                let shared = kill_at(Points::Shared);
                if shared.instructions > EVERY_UP_TO { shared } else { kill_at(Points::Every) }
            }
        }
    };
    eprintln!("| {name} {kills}");
}
