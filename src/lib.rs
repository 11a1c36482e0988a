//! Shared memory for Rust processes.
#![deny(unsafe_code)]
#![warn(missing_docs)]
#[cfg(not(any(target_os = "linux")))]
compile_error!("mutirao runs on Linux 5.16 or newer; other systems are not supported");
#[cfg(not(target_pointer_width = "64"))]
compile_error!("mutirao needs a 64-bit target");

mod deadline;
#[cfg(not(mutirao_model))]
mod error;
mod participant;
