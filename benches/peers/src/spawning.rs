//! A process from the call that starts it to its result, beside others who run a function in a process.

use std::cell::OnceCell;
use std::process::Command;
use std::time::Instant;

use mutirao::{Process, Zygote};

use crate::machine::{median, pin, unpin};

const TIMES: usize = 40;
/// A program that finds it ends at once.
pub const NOTHING: &str = "MUTIRAO_PEERS_NOTHING";

type Measured = Result<f64, Box<dyn std::error::Error>>;

/// The median of milliseconds, not pinned: a process and its parent take turns, and may do so on two cores.
fn ms(mut start: impl FnMut() -> Result<(), Box<dyn std::error::Error>>) -> Measured {
    unpin();
    let mut times = Vec::with_capacity(TIMES);
    for _ in 0..TIMES {
        let begun = Instant::now();
        start()?;
        times.push(begun.elapsed().as_secs_f64() * 1e3);
    }
    pin(0);
    Ok(median(&mut times))
}

fn next(n: u64) -> u64 {
    n + 1
}

pub fn run_again() -> Measured {
    ms(|| (Process::spawn(next, 1)?.join()? == 2).then_some(()).ok_or("wrong".into()))
}

thread_local! {
    static ZYGOTE: OnceCell<Zygote> = const { OnceCell::new() };
}

pub fn by_zygote() -> Measured {
    let zygote = ZYGOTE.with(|cell| match cell.get() {
        Some(zygote) => Ok(zygote.clone()),
        None => Zygote::start().map(|zygote| cell.get_or_init(|| zygote).clone()),
    })?;
    let options = Process::options().zygote(&zygote);
    ms(|| (options.spawn(next, 1)?.join()? == 2).then_some(()).ok_or("wrong".into()))
}

pub fn procspawn() -> Measured {
    ms(|| (::procspawn::spawn(1, next).join()? == 2).then_some(()).ok_or("wrong".into()))
}

/// Fork and exec of this program, which ends at once.
pub fn fork_and_exec() -> Measured {
    let this = std::env::current_exe()?;
    ms(|| Command::new(&this).env(NOTHING, "1").status()?.success().then_some(()).ok_or("wrong".into()))
}
