//! What one edge of the leases alone carries.

use std::sync::Arc;

use mutirao::model::{Kernel, Life, thread};
use mutirao::raw::leases::{Got, Held, Seat};
use mutirao::raw::ring_aside::Aside;

use crate::lease_harness::{Memory, leases};
use crate::support::{at_least, outcomes};

const SEAT: Seat = Seat { row: 0, thread: 1 };

/// An item that `life` has leased, into an entry that it keeps.
fn leased(memory: &Memory, life: &Life) -> Held {
    let leases = memory.leases();
    let ticket = leases.ring().try_push(life).unwrap();
    memory.items[ticket.index as usize].set(5);
    leases.ring().publish(life, ticket);
    let Ok(Got::Cell(ticket)) = leases.ring().pop_now_unless(life, &leases, || false) else { panic!("an item") };
    let room = leases.room(life, SEAT).unwrap();
    memory.leased[room.index as usize].set(memory.items[ticket.index as usize].get());
    leases.move_in(life, ticket, room)
}

fn model() -> (Arc<Kernel>, Arc<Memory>) {
    (Kernel::new(), Memory::new(&leases(1, &[], 0).kept(1)))
}

/// `lease_put`, `lease_look`: an entry is filled again after whoever worked on the item was done with it.
#[test]
fn an_entry_is_filled_after_it_was_done_with() {
    outcomes(Some(at_least(2)), &[false, true], || {
        let (kernel, memory) = model();
        let held = leased(&memory, &kernel.enter(1));
        let worker = {
            let (kernel, memory) = (kernel.clone(), memory.clone());
            thread::spawn(move || {
                let life = kernel.enter(1);
                assert_eq!(memory.leased[held.index as usize].get(), 5);
                memory.leases().ack(&life, held);
            })
        };
        let filler = {
            let (kernel, memory) = (kernel.clone(), memory.clone());
            thread::spawn(move || {
                let room = memory.leases().kept_room(&kernel.enter(1), SEAT);
                room.map(|room| memory.leased[room.index as usize].set(6)).is_some()
            })
        };
        worker.join().unwrap();
        filler.join().unwrap()
    });
}

/// `lease_take`: whoever is named in an entry is seen to have entered.
#[test]
fn an_inherited_lease_carries_the_life_of_its_heir() {
    outcomes(Some(at_least(2)), &[(false, true), (true, false)], || {
        let (kernel, memory) = model();
        leased(&memory, &kernel.enter(5));
        memory.bury(&kernel, 5);
        kernel.enter(7);
        let heir = |id| {
            let (kernel, memory) = (kernel.clone(), memory.clone());
            thread::spawn(move || match memory.leases().take(&kernel.enter(id), true) {
                Some(Got::Entry(held)) => memory.leased[held.index as usize].get() == 5,
                _ => false,
            })
        };
        let (a, b) = (heir(1), heir(2));
        (a.join().unwrap(), b.join().unwrap())
    });
}
