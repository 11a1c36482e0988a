//! For tests: a test binary has no `main` of its own, so [`entry!`](entry) makes it able to be a child.

use crate::process::child;

#[doc(inline)]
pub use crate::__testing_entry as entry;
#[cfg(feature = "testing")]
pub use crate::process::stepping::{Killed, Kills, Points, begin, end, kill_at, kill_everywhere};

/// Makes a test binary able to be a child of [`Process::spawn`](crate::Process::spawn): what
/// [`init`](crate::init) does in `main`, done before the test harness starts. Once in each test binary, at
/// the top of its root file.
///
/// ```
/// mutirao::testing::entry!();
/// # fn main() {}
/// ```
///
/// It works with `cargo test` and `cargo nextest`: a spawned child runs its function and exits before the
/// harness looks at its arguments. What the child prints is not captured.
#[macro_export]
#[doc(hidden)]
macro_rules! __testing_entry {
    () => {
        const _: () = {
            // The C runtime calls each function in this section before `main`; std is usable there.
            #[used]
            #[unsafe(link_section = ".init_array")]
            static ENTRY: extern "C" fn() = $crate::testing::__enter;
        };
    };
}

#[doc(hidden)]
pub extern "C" fn __enter() {
    child::enter(child::Moment::BeforeMain);
}
