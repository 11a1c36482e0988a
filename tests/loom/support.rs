//! Exploring a model and stating what it must reach.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::time::Instant;

use mutirao::model::{mark, mortal, mortal_reordered, take_deaths, take_marks};
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

/// Two actors, 1 and 2, die before each pair of their steps. What was met, and how many steps the second one had at most.
pub fn every_pair_of_steps<T, F>(bound: Option<usize>, expected: &[T], model: F) -> (BTreeSet<String>, u32)
where
    T: Ord + Debug + Clone + Send + 'static,
    F: Fn(Fate, Fate) -> T + Clone + Send + Sync + 'static,
{
    let dies = |step| Fate { step: Some(step), late: None };
    let (mut all, mut marks, mut most) = (BTreeSet::new(), BTreeSet::new(), 0);
    each(|first| {
        let mut died = false;
        each(|second| {
            let model = model.clone();
            let found = explore(bound, move || model(dies(first), dies(second)));
            died |= found.marks.contains("death of 1");
            most = most.max(second);
            let goes_on = found.marks.contains("death of 2");
            all.extend(found.outcomes);
            marks.extend(found.marks);
            goes_on
        });
        died
    });
    compare(expected, &all);
    (marks, most)
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

/// How the mortal actors of a model with roles die.
#[derive(Clone, Copy)]
pub enum Deaths {
    None,
    /// This one, before each of its steps.
    Of(usize),
    /// This one, before each of its steps, with none or some of its unordered stores in memory.
    Reordered(usize),
    /// Both, before each pair of steps.
    Pair(usize, usize),
}

/// Who of the actors has which fate.
pub type Fates = [(usize, Fate)];

/// Marks the death of an actor, for [`Sum::prove`].
pub fn mark_death(id: u32) {
    mark(&format!("death of {id}"));
}

/// Every model's bound at least, if the environment asks for more.
pub fn at_least(bound: usize) -> usize {
    let asked = std::env::var("MUTIRAO_LOOM_BOUND").ok().and_then(|b| b.parse().ok());
    bound.max(asked.unwrap_or(0))
}

/// What all executions of a model with roles came to.
#[derive(Default)]
pub struct Sum {
    executions: usize,
    marks: BTreeSet<String>,
    outcomes: BTreeSet<String>,
}

impl Sum {
    /// Explores `execute` under all fates that `deaths` means, holds the points reached and the outcomes against what is
    /// stated (points at least, outcomes exactly, unless none is stated), and prints its size. `masks`: which of a dying
    /// one's unordered stores are in memory, where that matters.
    pub fn prove<F>(
        what: &str,
        bound: usize,
        deaths: Deaths,
        masks: &[u32],
        points: &[&str],
        outcomes: &[&str],
        execute: F,
    ) where
        F: Fn(&Fates) -> String + Clone + Send + Sync + 'static,
    {
        let start = Instant::now();
        let mut sum = Self::default();
        let dying = |step, late| Fate { step: Some(step), late };
        let mut run = |fates: &Fates| sum.add(bound, fates, execute.clone());
        match deaths {
            Deaths::None => drop(run(&[])),
            Deaths::Of(a) => each(|k| run(&[(a, dying(k, None))]).contains(&a)),
            Deaths::Reordered(a) => each(|k| {
                let died = masks.iter().map(|mask| run(&[(a, dying(k, Some(*mask)))]).contains(&a));
                died.fold(false, |any, died| any || died)
            }),
            Deaths::Pair(a, b) => each(|i| {
                let mut any = false;
                each(|j| {
                    let died = run(&[(a, dying(i, None)), (b, dying(j, None))]);
                    any |= died.contains(&a);
                    died.contains(&b)
                });
                any
            }),
        }
        let name = std::thread::current().name().unwrap_or("model").to_owned();
        let (spent, bound) = (start.elapsed().as_secs_f64(), at_least(bound));
        println!("{name}: {what} bound {bound}: {} executions, {spent:.1} s", sum.executions);
        println!("    points {:?}\n    outcomes {:?}", sum.marks, sum.outcomes);
        for point in points {
            assert!(sum.marks.contains(*point) || MORE, "never reached: {point}");
        }
        if !outcomes.is_empty() && !MORE {
            assert_eq!(sum.outcomes, outcomes.iter().map(|o| o.to_string()).collect(), "outcomes");
        }
    }

    /// Who died in some execution.
    fn add<F>(&mut self, bound: usize, fates: &Fates, execute: F) -> BTreeSet<usize>
    where
        F: Fn(&Fates) -> String + Send + Sync + 'static,
    {
        let given = fates.to_vec();
        let found = explore(Some(at_least(bound)), move || execute(&given));
        self.executions += found.executions;
        self.outcomes.extend(found.outcomes);
        let (deaths, points): (BTreeSet<_>, BTreeSet<_>) =
            found.marks.into_iter().partition(|m| m.starts_with("death"));
        self.marks.extend(points);
        let died = |actor: &usize| deaths.contains(&format!("death of {}", actor + 1));
        fates.iter().map(|fate| fate.0).filter(died).collect()
    }
}

/// Step after step, until the actor is never alive to reach it.
fn each(mut died_at: impl FnMut(u32) -> bool) {
    let mut step = 0;
    while died_at(step) {
        step += 1;
    }
}
