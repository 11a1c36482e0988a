//! The ring while nobody dies: order, capacity, sleep and wake, closing, giving up and giving back.

use crate::ring_harness::Role::*;
use crate::ring_harness::{proves, ring};
use crate::support::Deaths::None;

#[test]
fn one_producer_and_one_consumer_keep_order() {
    for capacity in [1, 2, 3] {
        proves(&ring(capacity, &[P(2), C(2)], 2), None, &[], &["100>2 101>2"]);
    }
}

#[test]
fn a_wake_is_passed_on() {
    proves(&ring(2, &[P(2), C(2)], 2), None, &["passed on items"], &[]);
    proves(&ring(1, &[P(2), C(1), C(1)], 1), None, &[], &["100>2 101>3", "100>3 101>2"]);
}

#[test]
fn two_producers_and_one_consumer() {
    proves(&ring(1, &[P(1), P(1), C(2)], 1), None, &[], &["100>3 200>3"]);
    proves(&ring(2, &[TP, TP, T(2)], 1), None, &["stamped"], &[]);
    proves(&ring(3, &[TP, TP, TP], 1), None, &["stamped"], &["100>m 200>m 300>m"]);
}

#[test]
fn what_is_given_up_is_stepped_over_by_a_sleeper() {
    proves(&ring(2, &[PGiveUp(1), C(1)], 2), None, &["voided a stamped", "stepped over"], &["100>2"]);
    proves(&ring(1, &[PGiveUp(1), C(1)], 2), None, &["voided a stamped", "stepped over"], &["100>2"]);
}

#[test]
fn what_is_given_back_is_delivered_again() {
    let all = ["0>2 1>m", "0>m 1>2"];
    proves(&ring(2, &[GiveBack, C(1)], 2).with(2), None, &["rescued a stamped", "stamped"], &all);
}

#[test]
fn closing_wakes_every_sleeper_and_loses_nothing() {
    let all = ["100>2 101>2", "100>2 101>3", "100>3 101>2", "100>3 101>3"];
    proves(&ring(2, &[PClose(2), CAll], 2), None, &[], &["100>2 101>2"]);
    proves(&ring(2, &[PClose(0), CAll, CAll], 1).with(1), None, &[], &["0>2", "0>3"]);
    if crate::support::at_least(0) > 0 {
        proves(&ring(2, &[PClose(2), CAll, CAll], 1), None, &["passed on items"], &all);
    }
}

#[test]
fn closing_wakes_a_producer_that_waits_for_room() {
    proves(&ring(1, &[PClose(0), P(1)], 2).with(1), None, &[], &["0>m"]);
}

#[test]
fn tickets_wrap() {
    proves(&ring(1, &[P(3), C(3)], 1).before_wrap(1), None, &[], &["100>2 101>2 102>2"]);
    proves(&ring(3, &[P(3), C(3)], 1).before_wrap(2), None, &[], &["100>2 101>2 102>2"]);
    proves(&ring(3, &[PT, PT], 1).before_wrap(1), None, &[], &[]);
}
