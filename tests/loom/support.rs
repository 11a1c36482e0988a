//! Exploring a model and stating what it must reach.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::time::Instant;

use mutirao::model::{mortal, mortal_reordered, take_deaths, take_marks};
use std::sync::{Arc, Mutex};

/// How and when the mortal actor of a model dies.
#[derive(Clone, Copy, Debug)]
pub struct Fate {
    /// Before which of its steps; `None`: it lives.
    pub step: Option<u32>,
    /// Which of its unordered relaxed stores are in memory then; `None`: all, in program order.
    pub late: Option<u32>,
}

/// Nobody dies.
pub const LIVES: Fate = Fate { step: None, late: None };

impl Fate {
    /// Runs `f` under this fate. `None`: it died.
    pub fn run<R>(self, f: impl FnOnce() -> R) -> Option<R> {
        match (self.step, self.late) {
            (None, _) => Some(f()),
            (Some(k), None) => mortal(k, f),
            (Some(k), Some(mask)) => mortal_reordered(k, mask, f),
        }
    }
}

/// Whether schedules are drawn at random, so that not every outcome needs to be met.
pub const MORE: bool = cfg!(mutirao_shuttle);

/// What an exploration found.
pub struct Explored<T> {
    pub outcomes: BTreeSet<T>,
    pub executions: usize,
    pub deaths: usize,
    pub marks: BTreeSet<String>,
}

/// All executions of `model` with at most `bound` preemptions, or that many random ones under shuttle.
pub fn explore<T, F>(bound: Option<usize>, model: F) -> Explored<T>
where
    T: Ord + Send + 'static,
    F: Fn() -> T + Send + Sync + 'static,
{
    take_deaths();
    take_marks();
    let seen = Arc::new(Mutex::new((BTreeSet::new(), 0)));
    let into = seen.clone();
    check(bound, move || {
        let outcome = model();
        let mut into = into.lock().unwrap();
        into.0.insert(outcome);
        into.1 += 1;
    });
    let (outcomes, executions) = std::mem::take(&mut *seen.lock().unwrap());
    Explored { outcomes, executions, deaths: take_deaths(), marks: take_marks() }
}

#[cfg(not(mutirao_shuttle))]
fn check(bound: Option<usize>, model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = bound;
    builder.max_branches = 100_000;
    builder.check(model);
}

#[cfg(mutirao_shuttle)]
fn check(_bound: Option<usize>, model: impl Fn() + Send + Sync + 'static) {
    let schedules = std::env::var("MUTIRAO_SCHEDULES").ok().and_then(|n| n.parse().ok()).unwrap_or(1000);
    shuttle::check_random(model, schedules);
}

/// Explores the model and fails unless its outcomes are exactly these.
pub fn outcomes<T, F>(bound: Option<usize>, expected: &[T], model: F)
where
    T: Ord + Debug + Clone + Send + 'static,
    F: Fn() -> T + Send + Sync + 'static,
{
    let start = Instant::now();
    let found = explore(bound, model);
    compare(expected, &found.outcomes);
    report(start, 0, found.executions);
}

/// Explores the model with its mortal actor dying before each of its steps in turn, until it never lives to
/// reach the step; all outcomes together must be exactly the expected ones. Returns the marks reached.
pub fn every_step<T, F>(bound: Option<usize>, expected: &[T], model: F) -> BTreeSet<String>
where
    T: Ord + Debug + Clone + Send + 'static,
    F: Fn(Fate) -> T + Clone + Send + Sync + 'static,
{
    each_step(bound, &[None], expected, model)
}

/// As [`every_step`], with each of the first `masks` subsets of the stores that a compiler might have moved.
pub fn every_step_reordered<T, F>(bound: Option<usize>, masks: u32, expected: &[T], model: F) -> BTreeSet<String>
where
    T: Ord + Debug + Clone + Send + 'static,
    F: Fn(Fate) -> T + Clone + Send + Sync + 'static,
{
    let masks: Vec<_> = (0..masks).map(Some).collect();
    each_step(bound, &masks, expected, model)
}

fn each_step<T, F>(bound: Option<usize>, masks: &[Option<u32>], expected: &[T], model: F) -> BTreeSet<String>
where
    T: Ord + Debug + Clone + Send + 'static,
    F: Fn(Fate) -> T + Clone + Send + Sync + 'static,
{
    let start = Instant::now();
    let (mut all, mut marks, mut executions) = (BTreeSet::new(), BTreeSet::new(), 0);
    for step in 0.. {
        let mut deaths = 0;
        for &late in masks {
            let model = model.clone();
            let found = explore(bound, move || model(Fate { step: Some(step), late }));
            all.extend(found.outcomes);
            marks.extend(found.marks);
            executions += found.executions;
            deaths += found.deaths;
        }
        if deaths == 0 {
            compare(expected, &all);
            report(start, step, executions);
            break;
        }
    }
    marks
}

fn compare<T: Ord + Debug + Clone>(expected: &[T], found: &BTreeSet<T>) {
    let expected: BTreeSet<T> = expected.iter().cloned().collect();
    let wrong: Vec<_> = found.difference(&expected).collect();
    assert!(wrong.is_empty(), "must not happen: {wrong:?}");
    // Random schedules need not meet every outcome.
    let blind: Vec<_> = expected.difference(found).collect();
    assert!(MORE || blind.is_empty(), "never explored: {blind:?}");
}

fn report(start: Instant, steps: u32, executions: usize) {
    let name = std::thread::current().name().unwrap_or("model").to_owned();
    println!("{name}: {steps} steps, {executions} executions, {:.2} s", start.elapsed().as_secs_f64());
}
