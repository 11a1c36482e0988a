//! Whether a history of calls to one key could have happened one at a time: each call at some moment between its begin
//! and its end, and a call whose caller was killed at some moment after its begin, or never.
//!
//! The search of Wing and Gong, *Testing and Verifying Concurrent Objects* (1993), with the memory of Lowe, *Testing for
//! linearizability* (2017): a set of calls that are done and a value are looked at once. Each caller does one call after the
//! other, so such a set is how far each has come, and which calls of the dead took effect.

use std::collections::{BTreeSet, HashSet};

/// What is asked of a key, with numbers as values.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Asked {
    Get,
    /// Stores this; the answer is what was there.
    Insert(u64),
    /// Stores this; the answer is whether there was nothing.
    Set(u64),
    /// Takes away; the answer is what was there.
    Remove,
    /// Stores this if there is nothing; the answer is whether there was nothing.
    InsertNew(u64),
    /// Stores the second if the first is there; the answer is whether it was.
    Exchange(u64, u64),
    /// Adds; the answer is the sum. Nothing counts as 0.
    Add(u64),
}

/// What was answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Answer {
    Value(Option<u64>),
    Done(bool),
}
use Answer::{Done, Value};

/// A call to one key. Moments are those of one clock.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Call {
    pub begin: u64,
    /// When it returned and what; `None`: its caller was killed first.
    pub end: Option<(u64, Answer)>,
    pub asked: Asked,
}

impl Call {
    /// What follows on `value`, and what is answered.
    fn apply(&self, value: Option<u64>) -> (Option<u64>, Answer) {
        match self.asked {
            Asked::Get => (value, Value(value)),
            Asked::Insert(new) => (Some(new), Value(value)),
            Asked::Set(new) => (Some(new), Done(value.is_none())),
            Asked::Remove => (None, Value(value)),
            Asked::InsertNew(new) => (value.or(Some(new)), Done(value.is_none())),
            Asked::Exchange(old, new) if value == Some(old) => (Some(new), Done(true)),
            Asked::Exchange(..) => (value, Done(false)),
            Asked::Add(n) => {
                let sum = value.unwrap_or(0).wrapping_add(n);
                (Some(sum), Value(Some(sum)))
            }
        }
    }
}

/// So many are looked at before the search gives up.
const PLACES_MAX: usize = 1_000_000;

/// How far a search has come.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Place {
    /// Of each caller, how many of its calls are behind.
    behind: Vec<usize>,
    /// Calls of the dead, by caller and number, that took effect.
    taken: BTreeSet<(usize, usize)>,
    value: Option<u64>,
}

/// Whether calls that took effect one by one, beginning with nothing, give these answers. `callers`: of each, its calls, one
/// after the other. `Err`: the longest way that the search found, and which of the calls come next there.
pub fn is_linear(callers: &[Vec<Call>]) -> Result<(), String> {
    let is_of_the_dead = |calls: &Vec<Call>| (0..calls.len()).filter(|n| calls[*n].end.is_none()).collect::<Vec<_>>();
    let of_the_dead: Vec<_> = callers.iter().map(is_of_the_dead).collect();
    let mut seen = HashSet::new();
    let start = Place { behind: vec![0; callers.len()], taken: BTreeSet::new(), value: None };
    let mut open = vec![start];
    let mut farthest: Option<Place> = None;
    // Bounded: no place is looked at twice, and not too many of them.
    while let Some(mut place) = open.pop() {
        // A call of the dead is behind its caller at once, and may take effect from then on.
        for (calls, behind) in callers.iter().zip(&mut place.behind) {
            while calls.get(*behind).is_some_and(|call| call.end.is_none()) {
                *behind += 1;
            }
        }
        if callers.iter().zip(&place.behind).all(|(calls, behind)| *behind == calls.len()) {
            return Ok(());
        }
        if !seen.insert(place.clone()) {
            continue;
        }
        if seen.len() > PLACES_MAX {
            return Err(format!("undecided after {PLACES_MAX} places; {}", told(callers, farthest)));
        }
        let far = |place: &Place| place.behind.iter().sum::<usize>();
        if farthest.as_ref().is_none_or(|best| far(best) < far(&place)) {
            farthest = Some(place.clone());
        }
        let ahead = callers.iter().zip(&place.behind).filter_map(|(calls, behind)| calls.get(*behind));
        // Whoever began after another's end comes after it.
        let first_end = ahead.filter_map(|call| call.end).map(|(end, _)| end).min().unwrap_or(u64::MAX);
        for (caller, calls) in callers.iter().enumerate() {
            for &number in of_the_dead[caller].iter().take_while(|number| **number < place.behind[caller]) {
                let call = &calls[number];
                if call.begin <= first_end && !place.taken.contains(&(caller, number)) {
                    let mut next = place.clone();
                    next.value = call.apply(place.value).0;
                    // What changes nothing may as well not have happened.
                    if next.value != place.value {
                        next.taken.insert((caller, number));
                        open.push(next);
                    }
                }
            }
        }
        // Pushed last, so tried first: those that returned.
        for (caller, calls) in callers.iter().enumerate() {
            let Some(call) = calls.get(place.behind[caller]) else { continue };
            let (value, answer) = call.apply(place.value);
            if call.begin <= first_end && call.end.is_some_and(|(_, given)| given == answer) {
                let mut next = place.clone();
                next.behind[caller] += 1;
                next.value = value;
                open.push(next);
            }
        }
    }
    Err(told(callers, farthest))
}

fn told(callers: &[Vec<Call>], farthest: Option<Place>) -> String {
    let Some(place) = farthest else { return "no call fits the beginning".into() };
    let next: Vec<_> = callers.iter().zip(&place.behind).map(|(calls, at)| calls.get(*at)).collect();
    format!("after {:?} calls the value is {:?}, and none of these fits: {next:#?}", place.behind, place.value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn done(begin: u64, end: u64, asked: Asked, answer: Answer) -> Call {
        Call { begin, end: Some((end, answer)), asked }
    }

    fn killed(begin: u64, asked: Asked) -> Call {
        Call { begin, end: None, asked }
    }

    #[test]
    fn right_histories_pass() {
        // One after the other.
        let alone = vec![
            done(0, 1, Asked::Insert(7), Value(None)),
            done(2, 3, Asked::Exchange(7, 8), Done(true)),
            done(4, 5, Asked::Add(2), Value(Some(10))),
            done(6, 7, Asked::InsertNew(1), Done(false)),
            done(8, 9, Asked::Remove, Value(Some(10))),
            done(10, 11, Asked::Get, Value(None)),
            done(12, 13, Asked::Set(3), Done(true)),
            done(14, 15, Asked::Set(4), Done(false)),
            done(16, 17, Asked::Get, Value(Some(4))),
        ];
        assert_eq!(is_linear(&[alone]), Ok(()));
        // At once: the read may come before the write or after it.
        for answer in [None, Some(7)] {
            let write = vec![done(0, 10, Asked::Insert(7), Value(None))];
            assert_eq!(is_linear(&[write, vec![done(5, 6, Asked::Get, Value(answer))]]), Ok(()));
        }
        // A dead one's write: seen late, or never.
        for answer in [None, Some(7)] {
            let reads = vec![done(5, 6, Asked::Get, Value(None)), done(50, 60, Asked::Get, Value(answer))];
            assert_eq!(is_linear(&[vec![killed(0, Asked::Insert(7))], reads]), Ok(()));
        }
    }

    #[test]
    fn a_stale_read_is_found() {
        let write = vec![done(0, 1, Asked::Insert(7), Value(None)), done(2, 3, Asked::Insert(8), Value(Some(7)))];
        let read = vec![done(4, 5, Asked::Get, Value(Some(7)))];
        assert!(is_linear(&[write, read]).is_err());
    }

    #[test]
    fn a_lost_update_is_found() {
        let add = |begin| vec![done(begin, 10, Asked::Add(1), Value(Some(1)))];
        assert!(is_linear(&[add(0), add(1)]).is_err());
    }

    #[test]
    fn two_who_both_insert_first_are_found() {
        let insert = |value| vec![done(0, 10, Asked::InsertNew(value), Done(true))];
        assert!(is_linear(&[insert(1), insert(2)]).is_err());
    }

    #[test]
    fn two_who_both_set_what_was_not_there_are_found() {
        let set = |value| vec![done(0, 10, Asked::Set(value), Done(true))];
        assert!(is_linear(&[set(1), set(2)]).is_err());
    }

    #[test]
    fn a_value_that_goes_and_comes_back_is_found() {
        let write = vec![done(0, 1, Asked::Insert(7), Value(None)), done(2, 9, Asked::Insert(8), Value(Some(7)))];
        let reads = [8, 7].map(|value| {
            done(3 + 2 * u64::from(value == 7), 4 + 2 * u64::from(value == 7), Asked::Get, Value(Some(value)))
        });
        assert!(is_linear(&[write, reads.to_vec()]).is_err());
    }

    #[test]
    fn a_removed_value_that_two_got_is_found() {
        let remove = |begin| vec![done(begin, 20, Asked::Remove, Value(Some(7)))];
        let insert = vec![done(0, 1, Asked::Insert(7), Value(None))];
        assert!(is_linear(&[insert, remove(2), remove(3)]).is_err());
    }

    #[test]
    fn the_dead_do_nothing_before_they_begin_and_nothing_twice() {
        let dead = vec![killed(10, Asked::Insert(7))];
        let early = vec![done(0, 5, Asked::Get, Value(Some(7)))];
        assert!(is_linear(&[dead.clone(), early]).is_err());
        let twice = vec![
            done(20, 21, Asked::Get, Value(Some(7))),
            done(22, 23, Asked::Remove, Value(Some(7))),
            done(24, 25, Asked::Get, Value(Some(7))),
        ];
        assert!(is_linear(&[dead, twice]).is_err());
    }

    #[test]
    fn long_histories_of_many_take_no_time() {
        // Overlapping pairs, one of whom dies now and then: the worst is linear in their length.
        let mut value = None;
        let mut callers = vec![vec![]; 4];
        for n in 0..4000_u64 {
            let call = match n % 7 {
                0 => killed(n * 10, Asked::Insert(n)),
                _ => done(n * 10, n * 10 + 15, Asked::Insert(n), Value(value)),
            };
            if call.end.is_some() {
                value = Some(n);
            }
            callers[(n % 4) as usize].push(call);
        }
        assert_eq!(is_linear(&callers), Ok(()));
    }
}
