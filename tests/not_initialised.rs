//! A program that forgot `init`. It is a binary of its own, since the other test binaries say `entry!()`.

#[test]
fn spawning_without_init_says_what_to_add() {
    let error = mutirao::Process::spawn(|n: u32| n, 1).unwrap_err();
    assert!(error.is_not_initialised());
    assert!(error.to_string().contains("mutirao::init()"));
}
