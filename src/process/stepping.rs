//! Killing a child at every instruction of an operation: a kit for those who keep structures of their own in
//! shared memory, and for us.

use crate::error::{Error, Kind, Result};
use crate::process::spawn::Process;
use crate::sys::clock;
use crate::sys::trace::{self, Stop};
use core::fmt;
use core::time::Duration;
use serde::{Serialize, de::DeserializeOwned};

/// At how many of an operation's instructions a child is killed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Points {
    /// Before each of them, and after the last.
    Every,
    /// About so many, evenly spread, and after the last.
    About(u32),
    /// Before the first, the second, the fourth, the eighth, ..., up to so many: quick, also where an operation is long.
    Growing(u32),
}

/// Where in its operation a child was killed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Killed {
    /// After so many of its instructions, when it was not over.
    During(u64),
    /// When it was over, before the child could do anything else.
    After,
}

/// What was done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Kills {
    /// Machine instructions of the operation.
    pub instructions: u64,
    /// Children that were killed.
    pub kills: u64,
    /// Instructions from one kill to the next; 0: ever more.
    pub stride: u64,
    /// The longest time that the survivor took.
    pub longest: Duration,
}

/// `| instructions | kills | longest |`, for a table.
impl fmt::Display for Kills {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { instructions, kills, stride, longest } = self;
        let share = match stride {
            0 => "ever fewer".into(),
            1 => "all".into(),
            _ => format!("one in {stride}"),
        };
        write!(f, "| {instructions} | {kills} ({share}) | {:.1} ms |", longest.as_secs_f64() * 1e3)
    }
}

/// Says that the operation begins here: the first of a victim's two marks.
///
/// # Panics
///
/// In a process that is not a victim of [`kill_everywhere`].
pub fn begin() {
    trace::offer().expect("only a victim of `kill_everywhere` begins an operation");
    trace::mark();
}

/// Says that the operation is over: the second of a victim's two marks.
pub fn end() {
    trace::mark();
}

/// Kills a child at every instruction of an operation, and lets a survivor check each time what must hold.
///
/// `victim` runs in a child of its own for each kill. It prepares what it needs, calls [`begin`], does the operation, and
/// calls [`end`]. Then `survivor` runs here, with the same stage. The stage goes to the children as the arguments of
/// [`Process::spawn`] do, so its handles are shared, and what a death leaves behind meets all later ones.
///
/// The child is stepped by ptrace(2), as users run it: with optimisation, outside of any model. A system call is one
/// instruction: it is done, or not begun. Only the thread that marks is stepped; the kill ends all of them.
///
/// # Errors
///
/// [`is_unsupported`](Error::is_unsupported) on other machines than x86-64; [`is_invalid`](Error::is_invalid) when the
/// victim ends without its marks; errors of the system where tracing is not allowed, and those of [`Process::spawn`].
///
/// # Examples
///
/// ```
/// use mutirao::Value;
/// use mutirao::testing::{Killed, Points, begin, end, kill_everywhere};
///
/// # mutirao::init();
/// let value = Value::<[u64; 3]>::new([0; 3])?;
/// let victim = |value: Value<[u64; 3]>| {
///     begin();
///     value.store([1; 3]).unwrap();
///     end();
/// };
/// # if cfg!(target_arch = "x86_64") {
/// let kills = kill_everywhere(Points::About(10), &value, victim, |value, killed| {
///     // The old value or the new one, never a mix; and the new one if the call had returned.
///     let now = value.load();
///     assert!(now == [1; 3] || now == [0; 3] && killed != Killed::After);
///     value.store([0; 3]).unwrap();
/// })?;
/// assert!(kills.kills >= 10);
/// # }
/// # Ok::<(), mutirao::Error>(())
/// ```
pub fn kill_everywhere<S>(
    points: Points,
    stage: &S,
    victim: fn(S),
    mut survivor: impl FnMut(&S, Killed),
) -> Result<Kills>
where
    S: Clone + Serialize + DeserializeOwned,
{
    if !cfg!(target_arch = "x86_64") {
        return Err(Kind::Unsupported { what: "stepping a child" }.into());
    }
    let mut done = Kills { instructions: 0, kills: 0, stride: 0, longest: Duration::ZERO };
    let mut kill = |k| -> Result<Option<u64>> {
        let ended = kill_after(stage, victim, k)?.err();
        let begun = clock::now_ns();
        survivor(stage, if ended.is_some() { Killed::After } else { Killed::During(k) });
        done.longest = done.longest.max(Duration::from_nanos(clock::now_ns().saturating_sub(begun)));
        done.kills += 1;
        Ok(ended)
    };
    let (mut k, mut most, mut stride) = (0, 0, 0);
    if let Points::Growing(limit) = points {
        most = u64::from(limit);
    } else {
        let whole = kill(u64::MAX)?.ok_or_else(|| Error::invalid("stepping a child", "its operation never ended"))?;
        stride = if let Points::About(n) = points { (whole / u64::from(n.max(1))).max(1) } else { 1 };
        // An operation takes about as many instructions each time.
        most = whole.saturating_mul(4).max(most);
        done.instructions = whole;
    }
    // Bounded: `k` grows.
    while k <= most {
        if let Some(whole) = kill(k)? {
            done.instructions = whole;
            break;
        }
        done.instructions = done.instructions.max(k);
        k += if stride == 0 { 2 * k + 1 } else { stride };
    }
    done.stride = stride;
    Ok(done)
}

/// Steps a new child `k` instructions into its operation and kills it. The inner `Err`: it was over after so many.
fn kill_after<S>(stage: &S, victim: fn(S), k: u64) -> Result<Result<(), u64>>
where
    S: Clone + Serialize + DeserializeOwned,
{
    let io = |error| Error::io("stepping a child", error);
    let child = Process::spawn(victim, stage.clone())?;
    let pid = child.id();
    let refuse = |how: Stop| Error::invalid("stepping a child", format!("it came to {how:?} before its mark"));
    match trace::wait(pid).map_err(io)? {
        Stop::Marked => trace::pass_mark(pid).map_err(io)?,
        other => return Err(refuse(other)),
    }
    let mut over = Ok(());
    for done in 0..k {
        trace::step(pid).map_err(io)?;
        match trace::wait(pid).map_err(io)? {
            Stop::Stepped => {}
            Stop::Marked => {
                over = Err(done);
                break;
            }
            other => return Err(refuse(other)),
        }
    }
    child.kill()?;
    match child.join() {
        Err(error) if error.is_child_failure() => Ok(over),
        Err(error) => Err(error),
        Ok(()) => Err(Error::invalid("stepping a child", "it lived")),
    }
}
