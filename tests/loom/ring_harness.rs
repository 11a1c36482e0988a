//! A ring with actors around it, and the book that says which items were pushed and taken.

use std::cell::Cell;
use std::sync::{Arc, Mutex};

use mutirao::deadline::Deadline;
use mutirao::model::{Kernel, Life, Patience, Payload, publications, thread};
use mutirao::raw::ring::{Refusal, Ring, RingHeader};
use mutirao::raw::ring_word::{CellWord, Geometry, Ticket};
use mutirao::sync::AtomicU64;

use crate::support::{Deaths, Fates, LIVES, Sum, mark_death};

/// What an actor does. `P` and `C` sleep; `T` and the like never do.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Role {
    /// Pushes so many.
    P(u64),
    /// Pushes so many, then closes.
    PClose(u64),
    /// Tries to push, writes, gives up, then pushes so many.
    PGiveUp(u64),
    /// Pops so many.
    C(u64),
    /// Pops one, looks at it twice, frees it: a lease.
    Lease,
    /// Pops until the ring is closed.
    CAll,
    /// Tries to push once.
    TP,
    /// Tries to push once, then to pop once.
    PT,
    /// Tries to pop so many times, everywhere.
    T(u64),
    /// Tries to pop at the head only, without asking, then to push.
    HeadThenPush,
    /// Recovers.
    R,
    /// Takes an item and gives it back.
    GiveBack,
}
use Role::{C, CAll, GiveBack, HeadThenPush, Lease, P, PClose, PGiveUp, PT, R, T, TP};

/// A model.
#[derive(Clone)]
pub struct Spec {
    pub roles: Vec<Role>,
    pub capacity: u32,
    /// Items in the ring before the actors start.
    pub before: u64,
    /// The first ticket, counted from the last wrap of the lap: how many tickets before it.
    pub before_wrap: u32,
    pub bound: usize,
}

pub fn ring(capacity: u32, roles: &[Role], bound: usize) -> Spec {
    Spec { roles: roles.to_vec(), capacity, before: 0, before_wrap: 0, bound }
}

impl Spec {
    pub fn with(mut self, before: u64) -> Self {
        self.before = before;
        self
    }
    pub fn before_wrap(mut self, tickets: u32) -> Self {
        self.before_wrap = tickets;
        self
    }
}

/// The shared words and payloads.
pub struct Memory {
    header: RingHeader,
    cells: Vec<AtomicU64>,
    pub payload: Vec<Payload>,
    geometry: Geometry,
}

impl Memory {
    pub fn new(capacity: u32, before_wrap: u32) -> Arc<Self> {
        let geometry = Geometry::new(capacity).unwrap();
        let start = (0..before_wrap).fold(0, |ticket, _| geometry.before(ticket));
        let mut cells: Vec<_> = (0..capacity).map(|_| CellWord::empty(0)).collect();
        let mut ticket = start;
        for _ in 0..capacity {
            let at = geometry.unpack(ticket);
            cells[at.index as usize] = CellWord::empty(at.lap());
            ticket = geometry.next(ticket);
        }
        Arc::new(Self {
            header: RingHeader::starting_at(start),
            cells: cells.into_iter().map(|c| AtomicU64::new(c.0)).collect(),
            payload: (0..capacity).map(|_| Payload::new(0)).collect(),
            geometry,
        })
    }

    pub fn ring(&self) -> Ring<'_, &[AtomicU64]> {
        Ring::new(&self.header, &self.cells, self.geometry)
    }

    pub fn set(&self, ticket: Ticket, value: u64) {
        self.payload[ticket.index as usize].set(value);
    }

    pub fn get(&self, ticket: Ticket) -> u64 {
        self.payload[ticket.index as usize].get()
    }

    pub fn bury(&self, kernel: &Kernel, id: u32) {
        let [items, space] = self.header.signals();
        kernel.bury(id, &[items.futex(), space.futex()]);
    }
}

pub fn patient() -> Patience {
    Patience::new(Deadline::NEVER)
}

/// What was committed. Publishing and freeing are single steps, booked also if the actor dies right after.
#[derive(Default)]
struct Book {
    pushed: Mutex<Vec<u64>>,
    taken: Mutex<Vec<(u64, u32)>>,
}

enum Entry {
    Pushed(u64),
    Taken(u64),
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
    fn commit(&self, entry: Entry, settle: impl FnOnce()) {
        self.about.set(Some((publications(), entry)));
        settle();
        self.write_down();
    }

    fn write_down(&self) {
        match self.about.take() {
            Some((before, entry)) if publications() > before => match entry {
                Entry::Pushed(value) => self.book.pushed.lock().unwrap().push(value),
                Entry::Taken(value) => self.book.taken.lock().unwrap().push((value, self.id)),
            },
            _ => {}
        }
    }

    fn put(&self, ticket: Ticket, value: u64) {
        self.memory.set(ticket, value);
        self.commit(Entry::Pushed(value), || self.memory.ring().publish(&self.life, ticket));
    }

    fn take(&self, ticket: Ticket) {
        let value = self.memory.get(ticket);
        self.commit(Entry::Taken(value), || self.memory.ring().free(&self.life, ticket));
    }

    fn push(&self, value: u64) {
        match self.memory.ring().push(&self.life, &mut patient()) {
            Ok(ticket) => self.put(ticket, value),
            Err(Refusal::Closed) => {}
            Err(e) => panic!("push: {e:?}"),
        }
    }

    fn try_push(&self, value: u64) {
        match self.memory.ring().try_push(&self.life) {
            Ok(ticket) => self.put(ticket, value),
            Err(Refusal::Full) => {}
            Err(e) => panic!("try_push: {e:?}"),
        }
    }

    /// False: closed.
    fn pop(&self) -> bool {
        match self.memory.ring().pop(&self.life, &mut patient()) {
            Ok(ticket) => self.take(ticket),
            Err(Refusal::Closed) => return false,
            Err(e) => panic!("pop: {e:?}"),
        }
        true
    }

    fn taken(&self, got: Result<Ticket, Refusal>) -> bool {
        match got {
            Ok(ticket) => self.take(ticket),
            Err(Refusal::Empty | Refusal::Closed) => return false,
            Err(e) => panic!("try_pop: {e:?}"),
        }
        true
    }

    fn play(&self, role: Role) {
        let (ring, life) = (self.memory.ring(), &self.life);
        let first = 100 * u64::from(self.id);
        match role {
            P(n) => (0..n).for_each(|i| self.push(first + i)),
            PClose(n) => {
                (0..n).for_each(|i| self.push(first + i));
                ring.close();
            }
            PGiveUp(n) => {
                if let Ok(ticket) = ring.try_push(life) {
                    self.memory.set(ticket, 99);
                    ring.give_up(life, ticket);
                }
                (0..n).for_each(|i| self.push(first + i));
            }
            C(n) => (0..n).for_each(|_| {
                self.pop();
            }),
            CAll => while self.pop() {},
            Lease => {
                let ticket = ring.pop(life, &mut patient()).unwrap();
                let value = self.memory.get(ticket);
                ring.len(); // a step of work
                assert_eq!(value, self.memory.get(ticket), "changed under the lease");
                self.take(ticket);
            }
            GiveBack => {
                let ticket = ring.pop(life, &mut patient()).unwrap();
                ring.give_back(life, ticket);
            }
            TP | PT => {
                self.try_push(first);
                if role == PT {
                    self.taken(ring.pop_now(life));
                }
            }
            T(n) => (0..n).for_each(|_| {
                self.taken(ring.pop_now(life));
            }),
            HeadThenPush => {
                self.taken(ring.try_pop(life, false));
                self.try_push(first);
            }
            R => {
                ring.recover(life);
            }
        }
    }
}

/// One execution: everything pushed is taken exactly once, in the end by the main thread; nothing else comes
/// out; afterwards the ring takes exactly its capacity, and recovery leaves nothing. Who took what.
fn execute(spec: &Spec, fates: &Fates) -> String {
    let memory = Memory::new(spec.capacity, spec.before_wrap);
    let (kernel, book) = (Kernel::new(), Arc::new(Book::default()));
    let actor =
        |id| Actor { memory: memory.clone(), book: book.clone(), life: kernel.enter(id), id, about: Cell::new(None) };
    let main_id = spec.roles.len() as u32 + 1;
    let main = actor(main_id);
    (0..spec.before).for_each(|i| main.try_push(i));
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
    check(spec, fates, &main)
}

fn check(spec: &Spec, fates: &Fates, main: &Actor) -> String {
    let (ring, book) = (main.memory.ring(), &main.book);
    if spec.roles.contains(&CAll) && fates.is_empty() {
        assert_eq!(book.pushed.lock().unwrap().len(), book.taken.lock().unwrap().len(), "left before all was taken");
    }
    while main.taken(ring.pop_now(&main.life)) {}
    let (mut pushed, taken) = (book.pushed.lock().unwrap().clone(), book.taken.lock().unwrap().clone());
    let mut out: Vec<_> = taken.iter().map(|t| t.0).collect();
    pushed.sort_unstable();
    out.sort_unstable();
    assert_eq!(pushed, out, "pushed and taken differ");
    let consumers_live = fates.iter().all(|f| matches!(spec.roles[f.0], P(_) | PClose(_) | PGiveUp(_) | TP));
    if consumers_live && !spec.roles.contains(&GiveBack) {
        for consumer in 1..=main.id {
            for producer in 0..=main.id {
                let of = |t: &&(u64, u32)| t.1 == consumer && t.0 / 100 == u64::from(producer);
                let own: Vec<_> = taken.iter().filter(of).map(|t| t.0).collect();
                assert!(own.is_sorted(), "order: {own:?}");
            }
        }
    }
    assert!(ring.is_idle(), "not idle: {ring:?}");
    if ring.is_closed() {
        assert_eq!(ring.pop_now(&main.life), Err(Refusal::Closed));
    } else {
        for _ in 0..spec.capacity {
            let ticket = ring.try_push(&main.life).unwrap_or_else(|e| panic!("a cell leaked: {e:?}"));
            ring.publish(&main.life, ticket);
        }
        assert_eq!(ring.try_push(&main.life), Err(Refusal::Full));
    }
    let mut who: Vec<_> = taken
        .iter()
        .map(|(v, by)| format!("{v}>{}", if *by == main.id { "m".into() } else { by.to_string() }))
        .collect();
    who.sort();
    who.join(" ")
}

/// Explores the model; see [`Sum::prove`].
pub fn proves(spec: &Spec, deaths: Deaths, points: &[&str], outcomes: &[&str]) {
    let (what, model) = (format!("{:?} capacity {}", spec.roles, spec.capacity), spec.clone());
    Sum::prove(&what, spec.bound, deaths, &[0, 1], points, outcomes, move |fates| execute(&model, fates));
}
