//! Leases: an item is done with exactly once, whoever dies while it is handed over, held, given back or inherited.

use crate::lease_harness::Role::*;
use crate::lease_harness::{leases, proves};
use crate::support::Deaths::{None, Of, Pair, Reordered};

/// What a death at a hand-over leads to.
const TAKEN_OVER: &[&str] = &["inherited", "freed the cell of a lease", "rescued the newest"];

#[test]
fn leases_pass_between_the_living() {
    proves(&leases(1, &[P(2), L(2)], 2), None, &[], &["100>2 101>2"]);
    proves(&leases(1, &[P(2), L(2)], 2).kept(0), None, &["kept"], &["100>2 101>2"]);
    proves(&leases(2, &[TL(1), TL(1)], 2).with(2), None, &[], &["0>1 1>2", "0>2 1>1"]);
    proves(&leases(2, &[L(1), C(1), TP], 1).with(2), None, &[], &[]);
}

#[test]
fn leases_given_back_are_delivered_again() {
    let all = ["0>2 1>2", "0>2@2 1>2", "0>2 1>2@2"];
    proves(&leases(2, &[Nack, L(2)], 2).with(2), None, &["delivered again"], &all);
    proves(&leases(1, &[Nack, C(1)], 2).with(1), None, &["delivered again"], &["0>2"]);
    proves(&leases(2, &[TNack, TNack], 1).with(2), None, &["delivered again"], &[]);
}

#[test]
fn leases_end_as_letters_at_the_limit() {
    proves(&leases(1, &[Nack, TL(1)], 2).with(1).at_most(1), None, &[], &["0>2", "0>letter"]);
    proves(&leases(1, &[TL(1), TL(1)], 1).with(1).at_most(1), Of(0), &[], &["0>1", "0>2", "0>letter", "0>m"]);
}

#[test]
fn leases_of_the_dead_are_delivered_again() {
    proves(&leases(2, &[L(1), C(1)], 1).with(2), Of(0), TAKEN_OVER, &[]);
    proves(&leases(2, &[L(1), L(1)], 1).with(2), Of(0), TAKEN_OVER, &[]);
    proves(&leases(2, &[L(1), L(1)], 1).with(2).kept(0), Reordered(0), TAKEN_OVER, &[]);
}

#[test]
fn leases_of_the_dead_hold_no_producer_up() {
    proves(&leases(1, &[TL(1), TP, T(1)], 1).with(1).entries(1), Of(0), TAKEN_OVER, &[]);
}

#[test]
fn leases_of_the_dead_leave_their_entries() {
    proves(&leases(2, &[TL(2), TL(1)], 1).with(2).kept(0), Of(0), &["kept"], &[]);
    proves(&leases(2, &[TL(1), TL(1)], 1).with(2).entries(1).kept(1), Of(0), &[], &[]);
}

#[test]
fn leases_of_those_who_inherit_and_die_too() {
    proves(&leases(1, &[TL(1), TL(1)], 0).with(1).entries(1), Pair(0, 1), &["inherited"], &[]);
    proves(&leases(1, &[TL(1), T(1)], 1).with(1).entries(1), Pair(0, 1), &["inherited"], &[]);
}

#[test]
fn leases_given_back_by_the_dying() {
    proves(&leases(1, &[TNack, TL(1)], 1).with(1).entries(1), Of(0), &["delivered again", "inherited"], &[]);
}

#[test]
fn leases_are_recovered_beside_consumers() {
    proves(&leases(2, &[TL(1), R], 2).with(2).entries(1), Of(0), &["freed the cell of a lease"], &[]);
    proves(&leases(1, &[TL(1), R, T(1)], 0).with(1).entries(1), Of(0), &["freed the cell of a lease"], &[]);
    proves(&leases(1, &[TL(1), R], 1).with(1).entries(1), Pair(0, 1), &[], &[]);
}

#[test]
fn leases_are_tended_while_the_ring_is_busy() {
    proves(&leases(2, &[TL(1), Tend], 2).with(2).entries(1), Of(0), &["delivered again"], &[]);
}

#[test]
fn leases_hold_the_end_of_a_closed_ring_back() {
    proves(&leases(1, &[LAll, LAll], 1).with(1).closed().entries(1), None, &[], &["0>1", "0>2"]);
    // The second one waits for what the first may leave.
    let all = ["0>1", "0>2", "0>2@2"];
    proves(&leases(1, &[TL(1), LAll], 1).with(1).closed().entries(1), Of(0), TAKEN_OVER, &all);
    proves(&leases(1, &[Nack, LAll], 1).with(1).closed().entries(1), None, &["delivered again"], &["0>2", "0>2@2"]);
}

#[test]
fn leases_end_before_all_is_idle() {
    proves(&leases(1, &[L(1), Idle], 2).with(1), None, &[], &["0>1"]);
    proves(&leases(1, &[C(1), Idle], 2).with(1), None, &[], &["0>1"]);
    proves(&leases(1, &[TL(1), LAll, Idle], 1).with(1).entries(1), None, &[], &["0>1", "0>2"]);
    proves(&leases(1, &[TL(1), LAll, Idle], 0).with(1).entries(1), Of(0), &["inherited"], &["0>1", "0>2", "0>2@2"]);
}
