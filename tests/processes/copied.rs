//! A copy of this program.

use std::path::Path;
use std::process::Command;

/// Copies it by another process: had this one the copy open for writing, a child that another test forks meanwhile would have
/// it too, and until that child is gone nobody could execute it (ETXTBSY of execve(2)).
pub fn copy_program(to: &Path) {
    let from = std::env::current_exe().unwrap();
    assert!(Command::new("cp").arg(from).arg(to).status().unwrap().success());
}
