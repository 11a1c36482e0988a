//! The ring when actors die, each at every step.

use crate::ring_harness::Role::*;
use crate::ring_harness::{proves, ring};
use crate::support::Deaths::{Of, Pair, Reordered};

const NEWEST_PUSH: &[&str] = &["voided the newest", "stepped over"];
const PUSHES: &[&str] = &["voided the newest", "voided a stamped", "stepped over", "stamped"];
const POPS: &[&str] = &["rescued the newest", "rescued a stamped", "stamped"];
/// One of two producers dies; one consumer.
const ONE_OF_TWO: &[&str] = &["100>3 200>m", "100>m 200>3", "200>3"];

#[test]
fn a_producer_dies_before_its_consumer() {
    for capacity in [2, 3] {
        proves(&ring(capacity, &[P(1), C(1)], 2).with(1), Of(0), NEWEST_PUSH, &["0>2", "0>2 100>m"]);
    }
    let all = ["0>2", "0>2 100>m", "0>2 100>m 101>m"];
    proves(&ring(2, &[P(2), C(1)], 1).with(1), Reordered(0), &[], &all);
}

#[test]
fn a_consumer_dies_before_its_producer() {
    proves(&ring(2, &[C(1), P(2)], 2), Of(0), &["rescued a stamped"], &["200>1 201>m", "200>m 201>m"]);
    proves(&ring(2, &[C(1), P(1)], 2), Reordered(0), &["rescued the newest"], &["200>1", "200>m"]);
}

#[test]
fn one_of_two_producers_dies() {
    proves(&ring(2, &[P(1), P(1), C(1)], 1), Of(0), &["voided the newest", "stepped over"], ONE_OF_TWO);
}

#[test]
fn one_of_two_producers_dies_over_one_cell() {
    proves(&ring(1, &[P(1), P(1), C(1)], 1), Of(0), NEWEST_PUSH, ONE_OF_TWO);
}

#[test]
fn one_of_two_producers_dies_around_the_wrap() {
    // One cell is never stamped, so nobody exchanges it beside a store: stores as in the product.
    mutirao::model::use_plain_stores(true);
    proves(&ring(1, &[TP, TP, T(1)], 1).before_wrap(1), Reordered(0), &[], &[]);
    mutirao::model::use_plain_stores(false);
    proves(&ring(3, &[TP, TP, T(1)], 1).before_wrap(1), Of(0), &["stamped"], &[]);
}

#[test]
fn one_of_three_producers_dies() {
    proves(&ring(4, &[TP, TP, TP], 1), Of(0), &["stamped", "voided a stamped"], &["100>m 200>m 300>m", "200>m 300>m"]);
}

#[test]
fn a_trying_producer_dies() {
    proves(&ring(2, &[TP, TP, T(2)], 1), Of(0), PUSHES, &[]);
    proves(&ring(2, &[TP, TP, T(1)], 1).with(1), Reordered(0), &["voided the newest"], &[]);
}

#[test]
fn a_trying_consumer_dies() {
    proves(&ring(2, &[T(1), T(1), TP], 1).with(1), Of(0), POPS, &[]);
    proves(&ring(1, &[T(1), T(1), TP], 1).with(1), Of(0), &["rescued the newest"], &[]);
    proves(&ring(3, &[T(1), T(1), TP], 1).with(1).before_wrap(1), Of(0), POPS, &[]);
}

#[test]
fn one_of_many_consumers_dies() {
    let all = ["0>1 1>2", "0>2 1>1", "0>2 1>m", "0>m 1>2"];
    proves(&ring(2, &[C(1), C(1)], 2).with(2), Reordered(0), POPS, &all);
    proves(&ring(3, &[C(1), C(1), C(1)], 1).with(3), Of(0), POPS, &[]);
}

/// It may have swallowed the wake-up that was meant for the other. (With one preemption: 400 000 executions, minutes.)
#[test]
fn one_of_two_sleeping_consumers_dies() {
    proves(&ring(2, &[C(1), C(1), P(2)], 0), Of(0), &["stamped"], &[]);
}

#[test]
fn whoever_pushes_and_pops_dies() {
    let points = ["stamped", "voided the newest", "stepped over", "rescued the newest"];
    proves(&ring(4, &[PT, PT], 2), Of(0), &points, &[]);
    proves(&ring(1, &[PT, PT], 1), Reordered(0), &[], &[]);
}

#[test]
fn both_who_push_and_pop_die() {
    proves(&ring(2, &[PT, PT], 1), Pair(0, 1), &[], &[]);
}

#[test]
fn a_rescuer_dies_too() {
    proves(&ring(2, &[T(2), T(2)], 1).with(2), Pair(0, 1), POPS, &[]);
}

#[test]
fn whoever_frees_the_cell_of_the_dead_dies_too() {
    proves(&ring(2, &[TP, T(2)], 1).with(1), Pair(0, 1), NEWEST_PUSH, &[]);
}

#[test]
fn a_leaseholder_dies() {
    proves(&ring(3, &[Lease, T(1), TP], 1).with(2), Of(0), &["rescued a stamped"], &[]);
}

#[test]
fn a_producer_dies_and_another_closes() {
    proves(&ring(2, &[P(1), PClose(0), CAll], 1), Of(0), NEWEST_PUSH, &["", "100>3"]);
}

#[test]
fn a_consumer_dies_after_the_close() {
    proves(&ring(2, &[PClose(0), T(1), CAll], 1).with(1), Of(1), &["rescued the newest"], &[]);
}

#[test]
fn whoever_closes_dies() {
    proves(&ring(1, &[PClose(0), CAll, PClose(0)], 1).with(1), Of(0), &[], &["0>2"]);
}

#[test]
fn giving_up_and_giving_back_die() {
    proves(&ring(1, &[PGiveUp(0), T(1), TP], 1), Of(0), &["voided a stamped", "voided the newest"], &[]);
    proves(&ring(2, &[GiveBack, C(1)], 1).with(2), Of(0), &["rescued a stamped", "rescued the newest"], &[]);
}

#[test]
fn recovery_goes_on_beside_producers() {
    proves(&ring(1, &[TP, R, HeadThenPush], 1), Of(0), &["settled the newest"], &[]);
    proves(&ring(2, &[TP, TP, R], 1), Of(0), &["settled the newest", "unnamed a stamped"], &[]);
}

#[test]
fn recovery_goes_on_beside_consumers() {
    proves(&ring(2, &[T(1), R, T(1)], 1).with(2), Of(0), &["settled the newest", "unnamed a stamped"], &[]);
}

#[test]
fn whoever_recovers_dies_too() {
    proves(&ring(2, &[PT, R], 1).with(1), Pair(0, 1), &["settled the newest"], &[]);
}
