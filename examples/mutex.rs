//! Transfers between accounts, never half done, also when a process dies in the middle of one:
//! `cargo run --example mutex`.

use mutirao::{Mutex, Process};

fn transfer((accounts, dies): (Mutex<[i64; 2]>, bool)) {
    for n in 0..1000 {
        let mut both = accounts.lock().unwrap();
        both[0] -= 1;
        if dies && n == 500 {
            std::process::abort(); // the copy goes with us
        }
        both[1] += 1;
    }
}

fn main() -> mutirao::Result<()> {
    mutirao::init();
    let accounts = Mutex::new([10_000_i64, 0])?;
    let children: Vec<_> = [false, true, false]
        .into_iter()
        .map(|dies| Process::spawn(transfer, (accounts.clone(), dies)))
        .collect::<Result<_, _>>()?;
    let died = children.into_iter().map(Process::join).filter(Result::is_err).count();
    let both = accounts.lock()?;
    println!("{} and {}; {died} process died", both[0], both[1]);
    assert_eq!(*both, [7_500, 2_500]);
    assert_eq!(died, 1);
    Ok(())
}
