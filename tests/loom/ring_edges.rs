//! What one edge alone carries: small models that fail when it is weakened. Some claims are made before the actors
//! start, by participants that never entered: those are dead.

use std::sync::Arc;

use mutirao::model::{Kernel, Payload, thread};
use mutirao::order;
use mutirao::raw::ring::Refusal;
use mutirao::raw::ring_aside::Nothing;
use mutirao::sync::AtomicU32;
use mutirao::sync::Ordering::{Acquire, Release};

use crate::ring_harness::{Memory, patient};
use crate::support::{at_least, every_step, outcomes};

/// Starts the actor `id`, who enters first of all.
macro_rules! actor {
    ($kernel:ident, $id:literal, [$($name:ident),*], |$life:ident| $body:expr) => {{
        let (kernel, $($name),*) = ($kernel.clone(), $($name.clone()),*);
        thread::spawn(move || {
            let $life = kernel.enter($id);
            $body
        })
    }};
}

/// A ring of this capacity with `items` items, pushed by the main thread (id 7).
fn filled(capacity: u32, items: u64) -> (Arc<Kernel>, Arc<Memory>) {
    let (kernel, memory) = (Kernel::new(), Memory::new(capacity, 0));
    let main = kernel.enter(7);
    for i in 0..items {
        let ticket = memory.ring().try_push(&main).unwrap();
        memory.set(ticket, i);
        memory.ring().publish(&main, ticket);
    }
    (kernel, memory)
}

/// Somebody who enters, claims and dies at once: everything of it is visible, and its claim stays open.
fn dead_consumer(kernel: &Arc<Kernel>, memory: &Memory, id: u32) {
    memory.ring().try_pop(&kernel.enter(id), false).unwrap();
    memory.bury(kernel, id);
    kernel.enter(7);
}

fn dead_producer(kernel: &Arc<Kernel>, memory: &Memory, id: u32) {
    memory.ring().try_push(&kernel.enter(id)).unwrap();
    memory.bury(kernel, id);
    kernel.enter(7);
}

/// `ring_head_look`, `ring_full_look`: the lap of the head and that of its cell belong together.
#[test]
fn a_look_at_the_head_sees_the_cell_at_least_as_new() {
    outcomes(Some(at_least(1)), &[false, true], || {
        let (kernel, memory) = filled(1, 0);
        let producer = actor!(kernel, 1, [memory], |life| {
            let ticket = memory.ring().try_push(&life).unwrap();
            memory.set(ticket, 5);
            memory.ring().publish(&life, ticket);
        });
        let consumer = actor!(kernel, 2, [memory], |life| {
            memory.ring().pop(&life, &mut patient()).map(|t| memory.ring().free(&life, t)).unwrap();
        });
        let other = actor!(kernel, 3, [memory], |life| match memory.ring().try_pop(&life, false) {
            Err(Refusal::Empty) => false,
            // Not freed: the consumer would wait for ever, so hand it on.
            Ok(t) => {
                memory.ring().give_back(&life, t);
                true
            }
            Err(e) => panic!("{e:?}"),
        });
        producer.join().unwrap();
        consumer.join().unwrap();
        other.join().unwrap()
    });
}

/// `ring_head_look`, `ring_head_claim`, `ring_stamp`: whoever is named in a cell is seen to have entered.
#[test]
fn a_stamp_carries_the_life_of_whom_it_names() {
    outcomes(Some(at_least(1)), &[2], || {
        let (kernel, memory) = filled(2, 2);
        let consumer = |id: u32| {
            let (kernel, memory) = (kernel.clone(), memory.clone());
            thread::spawn(move || memory.ring().try_pop(&kernel.enter(id), false).is_ok())
        };
        let (a, b) = (consumer(1), consumer(2));
        let rescuer = actor!(kernel, 3, [memory], |life| memory.ring().rescue(&life));
        assert_eq!(rescuer.join().unwrap(), Err(Refusal::Empty), "robbed the living");
        u32::from(a.join().unwrap()) + u32::from(b.join().unwrap())
    });
}

/// `ring_adopt`, `ring_stamp_look`: the same, of a rescuer.
#[test]
fn an_adoption_carries_the_life_of_the_rescuer() {
    outcomes(Some(at_least(1)), &[(false, true), (true, false)], || {
        let (kernel, memory) = filled(2, 2);
        dead_consumer(&kernel, &memory, 5);
        // Stamps the claim before.
        let main = kernel.enter(7);
        memory.ring().try_pop(&main, false).map(|t| memory.ring().free(&main, t)).unwrap();
        let rescuer = |id: u32| {
            let (kernel, memory) = (kernel.clone(), memory.clone());
            thread::spawn(move || memory.ring().rescue(&kernel.enter(id)).is_ok())
        };
        let (a, b) = (rescuer(1), rescuer(2));
        (a.join().unwrap(), b.join().unwrap())
    });
}

/// `ring_adopt` again, of the newest claim, which only the head names.
#[test]
fn an_adoption_of_the_newest_carries_the_life_of_the_rescuer() {
    outcomes(Some(at_least(1)), &[(false, true), (true, false)], || {
        let (kernel, memory) = filled(1, 1);
        dead_consumer(&kernel, &memory, 5);
        let rescuer = |id: u32| {
            let (kernel, memory) = (kernel.clone(), memory.clone());
            thread::spawn(move || memory.ring().rescue(&kernel.enter(id)).is_ok())
        };
        let (a, b) = (rescuer(1), rescuer(2));
        (a.join().unwrap(), b.join().unwrap())
    });
}

/// `ring_step_over`, `ring_head_rescue`: whoever sees the head stepped over sees the stamp made before it.
#[test]
fn a_rescuer_sees_what_was_stamped_before_the_step_over() {
    outcomes(Some(at_least(2)), &[0], || {
        let (kernel, memory) = filled(3, 1);
        dead_consumer(&kernel, &memory, 5);
        dead_producer(&kernel, &memory, 6);
        let stepper = actor!(kernel, 1, [memory], |life| memory.ring().try_pop(&life, true));
        let rescuer = actor!(kernel, 2, [memory], |life| memory.ring().rescue(&life).map(|t| t.index));
        assert_eq!(stepper.join().unwrap(), Err(Refusal::Empty));
        rescuer.join().unwrap().expect("the item of the dead is in some cell at every moment")
    });
}

/// `ring_head_rescue`: the id in the head is that of somebody who is seen to have entered, and the item is whole.
#[test]
fn a_rescuer_leaves_the_newest_claim_to_the_living() {
    outcomes(Some(at_least(2)), &[true], || {
        let (kernel, memory) = filled(1, 1);
        let consumer = actor!(kernel, 1, [memory], |life| memory.ring().try_pop(&life, false).is_ok());
        let rescuer = actor!(kernel, 2, [memory], |life| memory.ring().rescue(&life));
        assert_eq!(rescuer.join().unwrap(), Err(Refusal::Empty), "robbed the living");
        consumer.join().unwrap()
    });
}

/// `ring_give_up`: a cell that was given up is written by the next producer after the one that gave it up. That one
/// dies at every step: its fences would order more than the edge does, and loom does not preempt before a fence.
#[test]
fn the_next_producer_writes_after_the_one_that_gave_up() {
    every_step(Some(at_least(2)), &[false, true], |fate| {
        let (kernel, memory) = filled(1, 0);
        let first = actor!(kernel, 1, [memory], |life| {
            let _ = fate.run(|| {
                if let Ok(ticket) = memory.ring().try_push(&life) {
                    memory.set(ticket, 99);
                    memory.ring().give_up(&life, ticket);
                }
            });
        });
        let second = actor!(kernel, 2, [memory], |life| {
            let _ = memory.ring().try_pop(&life, false).map(|t| memory.ring().free(&life, t));
            match memory.ring().try_push(&life) {
                Ok(ticket) => {
                    memory.set(ticket, 1);
                    memory.ring().publish(&life, ticket);
                    ticket.lap() == 1
                }
                Err(_) => false,
            }
        });
        first.join().unwrap();
        second.join().unwrap()
    });
}

/// `ring_void`: the same, of a cell whose producer died and that a third frees.
#[test]
fn the_next_producer_writes_after_the_dead() {
    outcomes(Some(at_least(2)), &[false, true], || {
        let (kernel, memory) = filled(1, 0);
        let dead = actor!(kernel, 1, [memory, kernel], |life| {
            if let Ok(ticket) = memory.ring().try_push(&life) {
                memory.set(ticket, 99);
            }
            memory.bury(&kernel, 1);
        });
        let voider = actor!(kernel, 2, [memory], |life| memory.ring().try_pop(&life, true).is_ok());
        let next = actor!(kernel, 3, [memory], |life| match memory.ring().try_push(&life) {
            Ok(ticket) => {
                memory.set(ticket, 1);
                memory.ring().publish(&life, ticket);
                ticket.lap() == 1
            }
            Err(_) => false,
        });
        dead.join().unwrap();
        voider.join().unwrap();
        next.join().unwrap()
    });
}

/// `ring_settle`: the same, when recovery removed the name and the voider asks nobody.
#[test]
fn the_next_producer_writes_after_the_recovered() {
    outcomes(Some(at_least(2)), &[false, true], || {
        let (kernel, memory) = filled(1, 0);
        let dead = actor!(kernel, 1, [memory, kernel], |life| {
            if let Ok(ticket) = memory.ring().try_push(&life) {
                memory.set(ticket, 99);
            }
            memory.bury(&kernel, 1);
        });
        let recoverer = actor!(kernel, 2, [memory], |life| memory.ring().recover(&life));
        let next = actor!(kernel, 3, [memory], |life| {
            let _ = memory.ring().try_pop(&life, false).map(|t| memory.ring().free(&life, t));
            match memory.ring().try_push(&life) {
                Ok(ticket) => {
                    memory.set(ticket, 1);
                    memory.ring().publish(&life, ticket);
                    ticket.lap() == 1
                }
                Err(_) => false,
            }
        });
        dead.join().unwrap();
        recoverer.join().unwrap();
        next.join().unwrap()
    });
}

/// `ring_end_recover`: recovery leaves the living alone.
#[test]
fn recovery_leaves_the_claims_of_the_living() {
    outcomes(Some(at_least(2)), &[0], || {
        let (kernel, memory) = filled(2, 1);
        let both = actor!(kernel, 1, [memory], |life| {
            let pushed = memory.ring().try_push(&life).is_ok();
            pushed && memory.ring().try_pop(&life, false).is_ok()
        });
        let recoverer = actor!(kernel, 2, [memory], |life| memory.ring().recover(&life));
        assert!(both.join().unwrap());
        recoverer.join().unwrap()
    });
}

/// `ring_end_unname`: an end that names nobody comes after the cell that says why.
#[test]
fn an_unnamed_end_is_no_contradiction() {
    outcomes(Some(at_least(2)), &[Refusal::Empty], || {
        let (kernel, memory) = filled(2, 0);
        dead_producer(&kernel, &memory, 6);
        let recoverer = actor!(kernel, 1, [memory], |life| memory.ring().recover(&life));
        let other = actor!(kernel, 2, [memory], |life| memory.ring().try_pop(&life, false).unwrap_err());
        recoverer.join().unwrap();
        other.join().unwrap()
    });
}

/// `ring_astray`, `ring_astray_off`: word of an item that was given back comes after the item.
#[test]
fn an_item_given_back_wakes_a_sleeper() {
    outcomes(Some(at_least(2)), &[0], || {
        let (kernel, memory) = filled(1, 1);
        let ticket = memory.ring().try_pop(&kernel.enter(1), false).unwrap();
        kernel.enter(7);
        let giver = actor!(kernel, 1, [memory], |life| memory.ring().give_back(&life, ticket));
        let sleeper = actor!(kernel, 2, [memory], |life| {
            let ticket = memory.ring().pop(&life, &mut patient()).unwrap();
            memory.get(ticket)
        });
        giver.join().unwrap();
        sleeper.join().unwrap()
    });
}

/// `ring_close`: whoever is told that the ring is closed sees what was done before the close.
#[test]
fn what_came_before_the_close_is_visible_after_it() {
    outcomes(Some(at_least(2)), &[(false, false), (false, true), (true, false), (true, true)], || {
        let (kernel, memory) = filled(1, 0);
        let note = Arc::new(Payload::new(0));
        let closer = actor!(kernel, 1, [memory, note], |_life| {
            note.set(1);
            memory.ring().close();
        });
        let consumer = actor!(kernel, 2, [memory, note], |life| {
            let is_closed = memory.ring().pop_now(&life) == Err(Refusal::Closed);
            is_closed.then(|| assert_eq!(note.get(), 1)).is_some()
        });
        let other = actor!(kernel, 3, [memory, note], |_life| {
            let is_closed = memory.ring().is_closed();
            is_closed.then(|| assert_eq!(note.get(), 1)).is_some()
        });
        closer.join().unwrap();
        (consumer.join().unwrap(), other.join().unwrap())
    });
}

/// `ring_idle_look`: whoever sees the ring idle sees what consumers did before they freed.
#[test]
fn what_was_done_with_an_item_is_visible_when_the_ring_is_idle() {
    outcomes(Some(at_least(2)), &[false, true], || {
        let (kernel, memory) = filled(1, 1);
        let result = Arc::new(Payload::new(0));
        let worker = actor!(kernel, 1, [memory, result], |life| {
            let ticket = memory.ring().try_pop(&life, false).unwrap();
            result.set(1);
            memory.ring().free(&life, ticket);
        });
        let waiter = actor!(kernel, 2, [memory, result], |_life| {
            let is_idle = memory.ring().is_idle();
            is_idle.then(|| assert_eq!(result.get(), 1)).is_some()
        });
        worker.join().unwrap();
        waiter.join().unwrap()
    });
}

/// Disconnection: first ask whether all producers are gone, then look once more.
#[test]
fn what_the_gone_pushed_is_taken_before_disconnection_is_told() {
    outcomes(Some(at_least(2)), &[(true, Refusal::Disconnected)], || {
        let (kernel, memory) = filled(2, 0);
        let left = Arc::new(AtomicU32::new(0));
        let producer = actor!(kernel, 1, [memory, left], |life| {
            let ticket = memory.ring().try_push(&life).unwrap();
            memory.set(ticket, 1);
            memory.ring().publish(&life, ticket);
            left.store(1, order!(model_left, Release));
            memory.ring().items().notify_all();
        });
        let consumer = actor!(kernel, 2, [memory, left], |life| {
            let (ring, gone) = (memory.ring(), || left.load(order!(model_gone, Acquire)) == 1);
            let first = ring.pop_unless(&life, &mut patient(), &Nothing, gone).map(|t| ring.free(&life, t));
            (first.is_ok(), ring.pop_unless(&life, &mut patient(), &Nothing, gone).unwrap_err())
        });
        producer.join().unwrap();
        consumer.join().unwrap()
    });
}

/// The same from the other side: a producer that waits for room learns that nobody will make any.
#[test]
fn a_full_ring_without_consumers_is_disconnected() {
    outcomes(Some(at_least(2)), &[Refusal::Disconnected], || {
        let (kernel, memory) = filled(1, 1);
        let left = Arc::new(AtomicU32::new(0));
        let consumer = actor!(kernel, 1, [memory, left], |life| {
            let ticket = memory.ring().try_pop(&life, false).unwrap();
            memory.ring().free(&life, ticket);
            left.store(1, Release);
            memory.ring().space().notify_all();
        });
        let producer = actor!(kernel, 2, [memory, left], |life| {
            let (ring, gone) = (memory.ring(), || left.load(Acquire) == 1);
            let ticket = ring.push_unless(&life, &mut patient(), gone).expect("room was made before all left");
            ring.publish(&life, ticket);
            ring.push_unless(&life, &mut patient(), gone).unwrap_err()
        });
        consumer.join().unwrap();
        producer.join().unwrap()
    });
}
