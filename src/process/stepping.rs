//! Killing a child at every step of an operation: a kit for those who keep structures of their own in
//! shared memory, and for us.

use crate::error::{Kind, Result};
use crate::process::victim::{Ahead, Victim};
use crate::sys::clock;
use crate::sys::trace;
use core::fmt;
use core::time::Duration;
use serde::{Serialize, de::DeserializeOwned};
use std::collections::HashSet;

/// At how many of an operation's instructions a child is killed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Points {
    /// Before each step of shared memory, and after the last: each instruction that touches a shared mapping, of whatever
    /// file and whoever's, and each system call. Nobody else can see what happens between two of them, so this shows what
    /// [`Every`](Self::Every) shows, and is much quicker. Few need anything else. A loop over memory does the same instruction
    /// again and again: between two system calls, its first 32 times and then the 64th, the 128th, ... are tried.
    ///
    /// What one victim left to be done makes the next one go another way: points are tried until a victim goes all the way and
    /// comes by none that is new, whichever the instructions were that came just before.
    Shared,
    /// Before each instruction, and after the last.
    Every,
    /// About so many, evenly spread, and after the last.
    About(u32),
    /// Before the first, the second, the fourth, the eighth, ..., up to so many: quick, also where an operation is long.
    Growing(u32),
}

/// Where in its operation a child was killed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Killed {
    /// After so many of its instructions, or of its steps of [shared memory](Points::Shared), when it was not over.
    During(u64),
    /// When it was over, before the child could do anything else.
    After,
}

/// What was done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Kills {
    /// Where they were killed.
    pub points: Points,
    /// Machine instructions of the operation.
    pub instructions: u64,
    /// Children that were killed.
    pub kills: u64,
    /// The longest time that the survivor took.
    pub longest: Duration,
}

/// `| instructions | kills | longest |`, for a table.
impl fmt::Display for Kills {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { points, instructions, kills, longest } = self;
        let share = 100.0 * *kills as f64 / (*instructions).max(1) as f64;
        let share = match points {
            Points::Shared => format!("at all that others can see: {share:.1} %"),
            Points::Every => "all".into(),
            Points::About(_) => format!("spread: {share:.1} %"),
            Points::Growing(_) => "ever fewer".into(),
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

/// Kills a child at every step of an operation, and lets a survivor check each time what must hold.
///
/// `victim` runs in a child of its own for each kill. It prepares what it needs, calls [`begin`], does the operation, and
/// calls [`end`]. Then `survivor` runs here, with the same stage. The stage goes to the children as the arguments of
/// [`Process::spawn`](crate::Process::spawn) do, so its handles are shared, and what a death leaves behind meets all later
/// ones.
///
/// The child is stepped by ptrace(2), as users run it: with optimisation, outside of any model. A system call is one
/// step: it is done, or not begun. Only the thread that marks is stepped; the kill ends all of them.
///
/// Shared memory is whatever the child has mapped with `MAP_SHARED`: objects of this crate, and your own structures in
/// memory of any origin. With [`Points::Shared`] the k-th kill is before the k-th step that others can see.
///
/// # Errors
///
/// [`is_unsupported`](Error::is_unsupported) on other machines than x86-64; [`is_invalid`](Error::is_invalid) when the
/// victim ends without its marks; errors of the system where tracing is not allowed, and those of
/// [`Process::spawn`](crate::Process::spawn).
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
/// let kills = kill_everywhere(Points::Shared, &value, victim, |value, killed| {
///     // The old value or the new one, never a mix; and the new one if the call had returned.
///     let now = value.load();
///     assert!(now == [1; 3] || now == [0; 3] && killed != Killed::After);
///     value.store([0; 3]).unwrap();
/// })?;
/// assert!(kills.kills >= 6);
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
    let mut done = Kills { points, instructions: 0, kills: 0, longest: Duration::ZERO };
    let begin = || Victim::new(stage, victim);
    let mut end = |victim: Victim, killed: Killed| -> Result<()> {
        victim.kill()?;
        let begun = clock::now_ns();
        survivor(stage, killed);
        done.longest = done.longest.max(Duration::from_nanos(clock::now_ns().saturating_sub(begun)));
        done.kills += 1;
        Ok(())
    };
    done.instructions = match points {
        Points::Shared => at_shared_steps(begin, &mut end)?,
        Points::Every => {
            let whole = at_instructions(u64::MAX, (0, u64::MAX), |_| u64::MAX, begin, &mut end)?;
            // An operation takes about as many instructions each time.
            at_instructions(0, (whole, whole.saturating_mul(4)), |k| k + 1, begin, &mut end)?
        }
        Points::About(n) => {
            let whole = at_instructions(u64::MAX, (0, u64::MAX), |_| u64::MAX, begin, &mut end)?;
            let stride = (whole / u64::from(n.max(1))).max(1);
            at_instructions(0, (whole, whole.saturating_mul(4)), |k| k + stride, begin, &mut end)?
        }
        Points::Growing(most) => at_instructions(0, (0, most.into()), |k| 2 * k + 1, begin, &mut end)?,
    };
    Ok(done)
}

/// Kills one child before the step of shared memory of this number, counted from 0 and from its [`begin`]: so that somebody
/// died in the midst of something, for a victim of [`kill_everywhere`] to recover from and to be killed at that.
///
/// # Errors
///
/// As [`kill_everywhere`].
///
/// # Examples
///
/// ```
/// use mutirao::Lock;
/// use mutirao::testing::{Killed, begin, end, kill_at};
///
/// # mutirao::init();
/// # if cfg!(target_arch = "x86_64") {
/// let lock = Lock::new()?;
/// let hold = |lock: Lock| {
///     begin();
///     let guard = lock.lock().unwrap();
///     end();
///     drop(guard);
/// };
/// assert_eq!(kill_at(0, &lock, hold)?, Killed::During(0));
/// assert!(lock.try_lock().is_ok());
/// assert_eq!(kill_at(1000, &lock, hold)?, Killed::After);
/// assert!(lock.lock().is_err_and(|e| e.is_owner_died()));
/// # }
/// # Ok::<(), mutirao::Error>(())
/// ```
pub fn kill_at<S>(step: u64, stage: &S, victim: fn(S)) -> Result<Killed>
where
    S: Clone + Serialize + DeserializeOwned,
{
    if !cfg!(target_arch = "x86_64") {
        return Err(Kind::Unsupported { what: "stepping a child" }.into());
    }
    let mut victim = Victim::new(stage, victim)?;
    let mut steps = 0;
    // Bounded as the operation is.
    let killed = loop {
        let is_step = victim.ahead()? != Ahead::Own;
        if is_step && steps == step {
            break Killed::During(step);
        }
        steps += u64::from(is_step);
        if !victim.step()? {
            break Killed::After;
        }
    };
    victim.kill()?;
    Ok(killed)
}

/// Kills after `k` instructions, then after `next(k)`, until an operation is over before that, from `least` on, or `most` are
/// passed. How many instructions it has, as far as that was seen.
fn at_instructions(
    mut k: u64,
    (least, most): (u64, u64),
    next: impl Fn(u64) -> u64,
    begin: impl Fn() -> Result<Victim>,
    mut end: impl FnMut(Victim, Killed) -> Result<()>,
) -> Result<u64> {
    let mut seen = 0;
    // Bounded: `k` grows.
    while k <= most {
        let mut victim = begin()?;
        let mut done = 0;
        while done < k && victim.step()? {
            done += 1;
        }
        seen = seen.max(done);
        if done == k {
            end(victim, Killed::During(k))?;
        } else {
            end(victim, Killed::After)?;
            // What others left to do, or did not, makes one victim's way shorter than the next one's.
            if k >= least {
                break;
            }
        }
        k = next(k);
    }
    Ok(seen)
}

/// So many times an instruction is killed between two system calls, if it comes that often; then at ever fewer of its times.
const ALL_TIMES: u64 = 32;

/// A step of shared memory, told by what it has in common with that of other victims: the system calls before it, how often
/// its instruction came since the last one, and the names of the last steps, this one included.
#[derive(PartialEq, Eq, Hash)]
struct Point {
    calls: usize,
    times: u64,
    last: [u64; 4],
}

/// Kills before each step of shared memory. How many instructions the operation has.
///
/// No victim need take the way of the one before it: what that one left is still to be done, or another did it. So a point is
/// tried when some victim comes by for whom it is new, and it ends when one went all the way and came by none.
fn at_shared_steps(
    begin: impl Fn() -> Result<Victim>,
    mut end: impl FnMut(Victim, Killed) -> Result<()>,
) -> Result<u64> {
    let mut tried = HashSet::new();
    // Behind so many system calls, when it was last come to: steps of shared memory, instructions.
    let mut passed = vec![(0, 0)];
    // Over so many system calls a victim runs: before them is nothing new, or nothing was a moment ago.
    let mut from = 0;
    // Bounded: after each round that finds nothing new, one begins with fewer system calls.
    loop {
        let mut victim = begin()?;
        let mut calls = 0;
        while calls < from && victim.run_over_system_call()? {
            calls += 1;
        }
        if calls < from {
            end(victim, Killed::After)?;
            from = calls;
            continue;
        }
        let (mut last, (mut steps, mut instructions)) = ([0; 4], passed[calls]);
        let new = loop {
            let ahead = victim.ahead()?;
            let (name, times) = match ahead {
                Ahead::Own => (0, 0),
                Ahead::Touch { name, times } => (name, times),
                Ahead::System { name } => (name, 0),
            };
            if ahead != Ahead::Own {
                last = [last[1], last[2], last[3], name];
                let is_point = times <= ALL_TIMES || times.is_power_of_two();
                if is_point && tried.insert(Point { calls, times, last }) {
                    break true;
                }
                steps += 1;
            }
            if !victim.step()? {
                break false;
            }
            instructions += 1;
            if let Ahead::System { .. } = ahead {
                (calls, last) = (calls + 1, [0; 4]);
                passed.truncate(calls);
                passed.push((steps, instructions));
            }
        };
        if new {
            end(victim, Killed::During(steps))?;
            from = calls;
        } else {
            end(victim, Killed::After)?;
            if from == 0 {
                return Ok(instructions);
            }
            from = 0;
        }
    }
}
