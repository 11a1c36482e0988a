//! A ring with leases, actors around it, and the book that says which items were pushed and done with.

use std::cell::Cell;
use std::sync::{Arc, Mutex};

use mutirao::model::{Kernel, Life, Payload, mark, publications, thread};
use mutirao::raw::leases::{Got, Held, Leases, Rules, Seat};
use mutirao::raw::ring::{Refusal, Ring, RingHeader};
use mutirao::raw::ring_word::{Geometry, Ticket};
use mutirao::sync::AtomicU64;

use crate::ring_harness::patient;
use crate::support::{Deaths, Fates, LIVES, Sum, mark_death};

/// What an actor does. Capital letters alone sleep; those with `T` never do.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Role {
    /// Pushes so many.
    P(u64),
    /// Tries to push one.
    TP,
    /// Leases one, looks at it twice, acknowledges it; so many times.
    L(u64),
    /// Tries to, so many times.
    TL(u64),
    /// Tries to lease one and gives it back.
    Nack,
    /// Tries to lease one, gives it back, and then tries to lease one more.
    TNack,
    /// Receives so many.
    C(u64),
    /// Tries to, so many times.
    T(u64),
    /// Leases and acknowledges until the ring is closed.
    LAll,
    /// Waits until all is done, and closes.
    Idle,
    /// Recovers.
    R,
    /// Looks after what the dead hold.
    Tend,
}
use Role::{C, Idle, L, LAll, Nack, P, R, T, TL, TNack, TP, Tend};

/// A model.
#[derive(Clone)]
pub struct Spec {
    pub roles: Vec<Role>,
    pub capacity: u32,
    pub before: u64,
    pub common: u32,
    pub each: u32,
    pub attempts_max: u32,
    /// Closed before the actors start.
    pub closed: bool,
    pub bound: usize,
}

pub fn leases(capacity: u32, roles: &[Role], bound: usize) -> Spec {
    let roles = roles.to_vec();
    Spec { roles, capacity, before: 0, common: 2, each: 0, attempts_max: 0, closed: false, bound }
}

impl Spec {
    /// Items in the ring before the actors start.
    pub fn with(mut self, before: u64) -> Self {
        self.before = before;
        self
    }
    /// So many entries.
    pub fn entries(mut self, common: u32) -> Self {
        self.common = common;
        self
    }
    pub fn closed(mut self) -> Self {
        self.closed = true;
        self
    }
    /// One entry for each row, and so many for all.
    pub fn kept(mut self, common: u32) -> Self {
        (self.common, self.each) = (common, 1);
        self
    }
    pub fn at_most(mut self, attempts: u32) -> Self {
        self.attempts_max = attempts;
        self
    }
}

/// The shared words and payloads.
pub struct Memory {
    header: RingHeader,
    cells: Vec<AtomicU64>,
    pub items: Vec<Payload>,
    entries: Vec<[AtomicU64; 2]>,
    pub leased: Vec<Payload>,
    /// Whether the work on the items that were there at first is done.
    results: Vec<Payload>,
    rules: Rules,
}

impl Memory {
    pub fn new(spec: &Spec) -> Arc<Self> {
        let rows = spec.roles.len() as u32 + 1;
        let rules = Rules { common: spec.common, each: spec.each, rows, attempts_max: spec.attempts_max };
        Arc::new(Self {
            header: RingHeader::new(),
            cells: (0..spec.capacity).map(|_| AtomicU64::new(0)).collect(),
            items: (0..spec.capacity).map(|_| Payload::new(0)).collect(),
            entries: (0..rules.entries()).map(|_| [AtomicU64::new(0), AtomicU64::new(0)]).collect(),
            leased: (0..rules.entries()).map(|_| Payload::new(0)).collect(),
            results: (0..spec.before).map(|_| Payload::new(0)).collect(),
            rules,
        })
    }

    pub fn leases(&self) -> Leases<'_, &[AtomicU64], &[[AtomicU64; 2]]> {
        let geometry = Geometry::new(self.cells.len() as u32).unwrap();
        Leases::new(Ring::new(&self.header, &self.cells, geometry), &self.entries, self.rules)
    }

    pub fn bury(&self, kernel: &Kernel, id: u32) {
        let [items, space] = self.header.signals();
        kernel.bury(id, &[items.futex(), space.futex()]);
    }
}

#[derive(Default)]
struct Book {
    pushed: Mutex<Vec<u64>>,
    /// Value, by whom, at which attempt (0: received without a lease).
    done: Mutex<Vec<(u64, u32, u32)>>,
}

#[derive(Clone, Copy)]
enum Entry {
    Pushed(u64),
    Done(u64, u32),
}

/// One actor with its life, and what it is about to commit.
struct Actor {
    memory: Arc<Memory>,
    book: Arc<Book>,
    life: Life,
    id: u32,
    about: Cell<Option<(u32, Entry)>>,
}

impl Actor {
    fn seat(&self) -> Seat {
        Seat { row: self.id - 1, thread: 1 }
    }

    fn commit(&self, entry: Entry, settle: impl FnOnce()) {
        if let Entry::Done(value, _) = entry
            && let Some(result) = self.memory.results.get(value as usize)
        {
            result.set(1);
        }
        self.about.set(Some((publications(), entry)));
        settle();
        self.write_down();
    }

    fn write_down(&self) {
        match self.about.take() {
            Some((before, entry)) if publications() > before => match entry {
                Entry::Pushed(value) => self.book.pushed.lock().unwrap().push(value),
                Entry::Done(value, attempt) => self.book.done.lock().unwrap().push((value, self.id, attempt)),
            },
            _ => {}
        }
    }

    fn push(&self, value: u64, sleeps: bool) {
        let leases = self.memory.leases();
        let ring = leases.ring();
        let got = if sleeps { ring.push(&self.life, &mut patient()) } else { ring.try_push(&self.life) };
        match got {
            Ok(ticket) => {
                self.memory.items[ticket.index as usize].set(value);
                self.commit(Entry::Pushed(value), || ring.publish(&self.life, ticket));
            }
            Err(Refusal::Closed | Refusal::Full) => {}
            Err(e) => panic!("push: {e:?}"),
        }
    }

    /// `None`: nothing now, or nothing any more.
    fn pop(&self, sleeps: bool) -> Option<Got> {
        let leases = self.memory.leases();
        let got = if sleeps {
            leases.ring().pop_unless(&self.life, &mut patient(), &leases, || false)
        } else {
            leases.ring().pop_now_unless(&self.life, &leases, || false)
        };
        match got {
            Ok(got) => Some(got),
            Err(Refusal::Closed) => None,
            Err(Refusal::Empty | Refusal::Held) if !sleeps => None,
            Err(e) => panic!("pop: {e:?}"),
        }
    }

    fn lease(&self, sleeps: bool) -> Option<Held> {
        let leases = self.memory.leases();
        Some(match self.pop(sleeps)? {
            Got::Entry(held) => held,
            Got::Cell(ticket) => {
                let room = leases.kept_room(&self.life, self.seat());
                if room.is_some() {
                    mark("kept");
                }
                let room = room.or_else(|| leases.room(&self.life, self.seat())).expect("room for a lease");
                self.memory.leased[room.index as usize].set(self.memory.items[ticket.index as usize].get());
                leases.move_in(&self.life, ticket, room)
            }
        })
    }

    fn ack(&self, held: Held, attempt: u32) {
        let item = &self.memory.leased[held.index as usize];
        let value = item.get();
        self.commit(Entry::Done(value, attempt), || self.memory.leases().ack(&self.life, held));
    }

    fn lease_and_ack(&self, sleeps: bool) -> bool {
        let Some(held) = self.lease(sleeps) else { return false };
        let value = self.memory.leased[held.index as usize].get();
        self.memory.leases().ring().len(); // a step of work
        assert_eq!(value, self.memory.leased[held.index as usize].get(), "changed under the lease");
        self.ack(held, held.attempt);
        true
    }

    fn receive(&self, sleeps: bool) -> bool {
        match self.pop(sleeps) {
            Some(Got::Entry(held)) => self.ack(held, 0),
            Some(Got::Cell(ticket)) => self.free(ticket),
            None => return false,
        }
        true
    }

    fn free(&self, ticket: Ticket) {
        let value = self.memory.items[ticket.index as usize].get();
        self.commit(Entry::Done(value, 0), || self.memory.leases().ring().free(&self.life, ticket));
    }

    fn play(&self, role: Role) {
        let first = 100 * u64::from(self.id);
        match role {
            P(n) => (0..n).for_each(|i| self.push(first + i, true)),
            TP => self.push(first, false),
            L(n) => (0..n).for_each(|_| assert!(self.lease_and_ack(true), "closed")),
            TL(n) => (0..n).for_each(|_| _ = self.lease_and_ack(false)),
            C(n) => (0..n).for_each(|_| assert!(self.receive(true), "closed")),
            T(n) => (0..n).for_each(|_| _ = self.receive(false)),
            LAll => while self.lease_and_ack(true) {},
            Nack => {
                if let Some(held) = self.lease(false) {
                    self.memory.leases().nack(&self.life, held);
                }
            }
            TNack => {
                if let Some(held) = self.lease(false) {
                    self.memory.leases().nack(&self.life, held);
                }
                self.lease_and_ack(false);
            }
            Idle => {
                assert!(self.memory.leases().wait_idle(&self.life, &mut patient(), || {}));
                // What was done with each item is visible now.
                self.memory.results.iter().for_each(|result| assert_eq!(result.get(), 1, "idle before all was done"));
                self.memory.leases().ring().close();
            }
            R => _ = self.memory.leases().recover(&self.life),
            Tend => self.memory.leases().tend(&self.life, 0),
        }
    }
}

/// One execution: everything pushed is done with exactly once, in the end by the main thread; nothing else
/// comes out; afterwards nothing is leased, the ring takes its capacity, and every entry is free for use. Who
/// did what at which attempt.
fn execute(spec: &Spec, fates: &Fates) -> String {
    let memory = Memory::new(spec);
    let (kernel, book) = (Kernel::new(), Arc::new(Book::default()));
    let main_id = spec.roles.len() as u32 + 1;
    let (life, about) = (kernel.enter(main_id), Cell::new(None));
    let main = Actor { memory: memory.clone(), book: book.clone(), life, id: main_id, about };
    (0..spec.before).for_each(|i| main.push(i, false));
    if spec.closed {
        main.memory.leases().ring().close();
    }
    let threads: Vec<_> = (1..)
        .zip(spec.roles.clone())
        .map(|(id, role)| {
            let (memory, book, kernel) = (memory.clone(), book.clone(), kernel.clone());
            let fate = fates.iter().find(|f| f.0 + 1 == id as usize).map_or(LIVES, |f| f.1);
            thread::spawn(move || {
                let actor = Actor { memory, book, life: kernel.enter(id), id, about: Cell::new(None) };
                if fate.run(|| actor.play(role)).is_none() {
                    actor.write_down();
                    mark_death(id);
                    actor.memory.bury(&kernel, id);
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|t| t.join().unwrap());
    check(spec, &main)
}

fn check(spec: &Spec, main: &Actor) -> String {
    let (leases, book) = (main.memory.leases(), &main.book);
    while main.receive(false) {}
    let mut letters = vec![];
    while let Some(held) = leases.take_letter(&main.life) {
        letters.push(main.memory.leased[held.index as usize].get());
        assert!(held.attempt >= spec.attempts_max);
        leases.ack(&main.life, held);
    }
    let (mut pushed, done) = (book.pushed.lock().unwrap().clone(), book.done.lock().unwrap().clone());
    let mut out: Vec<_> = done.iter().map(|d| d.0).chain(letters.iter().copied()).collect();
    pushed.sort_unstable();
    out.sort_unstable();
    assert_eq!(pushed, out, "pushed and done differ");
    leases.recover(&main.life);
    assert!(leases.is_idle(), "not idle: {:?}", leases.ring());
    assert_eq!(leases.counts(), [0; 3]);
    if leases.ring().is_closed() {
        assert_eq!(leases.ring().pop_now(&main.life), Err(Refusal::Closed));
    } else {
        for _ in 0..spec.capacity {
            let ticket = leases.ring().try_push(&main.life).unwrap_or_else(|e| panic!("a cell leaked: {e:?}"));
            leases.ring().publish(&main.life, ticket);
        }
        assert_eq!(leases.ring().try_push(&main.life), Err(Refusal::Full));
    }
    for _ in 0..spec.common {
        leases.room(&main.life, Seat { row: 0, thread: 0 }).expect("an entry leaked");
    }
    let by = |id: u32| if id == main.id { "m".into() } else { id.to_string() };
    let mut who: Vec<_> = done
        .iter()
        .map(|(value, id, attempt)| match attempt {
            0 | 1 => format!("{value}>{}", by(*id)),
            n => format!("{value}>{}@{n}", by(*id)),
        })
        .chain(letters.iter().map(|value| format!("{value}>letter")))
        .collect();
    who.sort();
    who.join(" ")
}

/// Explores the model; see [`Sum::prove`].
pub fn proves(spec: &Spec, deaths: Deaths, points: &[&str], outcomes: &[&str]) {
    let (what, model) = (format!("{:?}", spec.roles), spec.clone());
    Sum::prove(&what, spec.bound, deaths, &[0, 1, 3], points, outcomes, move |fates| execute(&model, fates));
}
