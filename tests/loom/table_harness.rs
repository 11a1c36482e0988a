//! A table of few lines, its actors, and what is held against it afterwards.

use std::sync::Arc;

use mutirao::model::{Kernel, Life, Payload, thread};
use mutirao::participant::{Liveness, ParticipantId};
use mutirao::raw::blocks::{self, BlockState, BlockWord};
use mutirao::raw::table::{Asked, Seen, Store, Table, TableHead, Trouble};
use mutirao::raw::table_change::{Slot, Spot};
use mutirao::raw::table_desk::{Desk, Leaving};
use mutirao::raw::table_line::{PairLine, RecordLine};
use mutirao::raw::table_lock::{lock_looked, look_guessed};
use mutirao::raw::table_word::{Extent, Line, Word};
use mutirao::sync::{AtomicU32, AtomicU64, Ordering::*, fence};

use crate::support::{Fate, mark_death};

/// What is different about the two kinds of lines.
pub trait Kind: Line + Sized + Send + Sync + 'static {
    fn new() -> Self;
    /// The hash of a key, which is the key in these models.
    fn key_at(&self, slot: u32, stage: &Stage<Self>) -> u64;
}

impl Kind for PairLine {
    fn new() -> Self {
        PairLine::new()
    }
    fn key_at(&self, slot: u32, _: &Stage<Self>) -> u64 {
        self.key(slot)
    }
}

impl Kind for RecordLine {
    fn new() -> Self {
        RecordLine::new()
    }
    fn key_at(&self, slot: u32, stage: &Stage<Self>) -> u64 {
        stage.blocks[self.follow(slot) as usize - FIRST_BLOCK].words[0].load(Relaxed)
    }
}

/// Blocks are numbered from here on, lines of chains from 1 on.
pub const FIRST_BLOCK: usize = 10;

/// A block with a record: a key and a value of two words, which are the same when it is whole.
pub struct Block {
    pub word: AtomicU64,
    pub words: [AtomicU64; 3],
}

/// A bucket or a few, one that is not there yet, two lines for chains, three blocks, and a desk for each of three participants.
pub struct Stage<L> {
    pub head: TableHead,
    pub desks: Vec<Desk>,
    pub buckets: Vec<L>,
    pub lines: [L; 2],
    /// The words of the lines' blocks.
    pub line_words: [AtomicU64; 2],
    pub blocks: [Block; 3],
    /// Written before an entry is put, read after it was found.
    pub payload: Payload,
    /// What each participant saw last of the number of buckets.
    seen: [Seen; 4],
    pub kernel: Arc<Kernel>,
}

/// A table as one participant sees it.
pub struct Ours<'a, L: Kind> {
    pub stage: &'a Stage<L>,
    pub life: &'a Life,
}

impl<L: Kind> Store for Stage<L> {
    type Line = L;

    fn bucket(&self, index: u64) -> Option<&L> {
        self.buckets.get(index as usize)
    }
    fn bucket_near(&self, index: u64) -> Option<&L> {
        self.bucket(index)
    }
    fn chained(&self, link: u32) -> Option<&L> {
        self.lines.get((link as usize).checked_sub(1)?)
    }
    fn hash_at(&self, line: &L, slot: u32) -> Option<u64> {
        Some(line.key_at(slot, self))
    }
    fn leave(&self, leaving: &Leaving<'_>, noted: Option<u64>) {
        let Some(word) = self.word(leaving.unit) else { return };
        let generation = noted.or_else(|| {
            let now = blocks::look(word);
            now.is_live().then(|| leaving.note(now.generation()))?;
            Some(now.generation())
        });
        if let Some(generation) = generation {
            blocks::free(word, generation);
        }
    }
    fn piece(&self, _: u32) -> Option<&AtomicU32> {
        None
    }
    fn disown(&self, link: u32) {
        let word = &self.line_words[link as usize - 1];
        let now = blocks::look(word);
        if now.is_live() {
            blocks::settle(word, now.generation());
        }
    }
}

/// Looks for a key; what it read of the value.
pub struct Wanted<'a, L> {
    key: u64,
    value: Option<[u64; 2]>,
    stage: &'a Stage<L>,
}

impl Asked<PairLine> for Wanted<'_, PairLine> {
    fn hash(&self) -> u64 {
        self.key
    }
    fn candidates(&self, line: &PairLine, occupied: u32) -> u32 {
        line.find(self.key, occupied)
    }
    fn meets(&mut self, line: &PairLine, slot: u32) -> bool {
        self.value = Some([line.value(slot); 2]);
        true
    }
}

impl Asked<RecordLine> for Wanted<'_, RecordLine> {
    fn hash(&self) -> u64 {
        self.key
    }
    fn candidates(&self, line: &RecordLine, occupied: u32) -> u32 {
        line.find(0, occupied)
    }
    fn meets(&mut self, line: &RecordLine, slot: u32) -> bool {
        let Some(block) =
            (line.follow(slot) as usize).checked_sub(FIRST_BLOCK).and_then(|at| self.stage.blocks.get(at))
        else {
            return false;
        };
        let meets = block.words[0].load(Relaxed) == self.key;
        if meets {
            self.value = Some([1, 2].map(|i| block.words[i].load(Relaxed)));
        }
        meets
    }
}

impl<L: Kind> Stage<L> {
    /// One bucket; a second one is there for a split. `spares`: lines on the first desk.
    pub fn new(spares: u32) -> Arc<Self> {
        Self::of_buckets(1, spares)
    }

    /// So many buckets, and room for one more.
    pub fn of_buckets(first: usize, spares: u32) -> Arc<Self> {
        let half = 1 << first.ilog2();
        let level = |bucket| u32::from(bucket < first - half || (half..first).contains(&bucket));
        let made = |bucket| {
            let line = L::new();
            Word::<L>::from_bits(0).at_level(level(bucket)).publish(&line);
            line
        };
        let word = || AtomicU64::new(0);
        let live = || AtomicU64::new(BlockWord::live(None, 1).bits());
        let block = || Block { word: word(), words: [word(), word(), word()] };
        let stage = Self {
            head: TableHead::new(),
            desks: (0..3).map(|_| Desk::new()).collect(),
            buckets: (0..=first).map(made).collect(),
            lines: [L::new(), L::new()],
            line_words: [live(), live()],
            blocks: [block(), block(), block()],
            payload: Payload::new(0),
            seen: [(); 4].map(|()| Seen::new(Extent::new(first as u64))),
            kernel: Kernel::new(),
        };
        for (index, desk) in stage.desks.iter().enumerate() {
            desk.take(ParticipantId::new(index as u32 + 1).unwrap());
            stage.head.note_desk(index);
        }
        stage.kernel.enter(1);
        let life = stage.kernel.enter(1);
        for link in (1..=spares).rev() {
            stage.of(&life).table().add_spare(&stage.desks[0], link).unwrap();
        }
        Arc::new(stage)
    }

    fn word(&self, unit: u32) -> Option<&AtomicU64> {
        match (unit as usize).checked_sub(FIRST_BLOCK) {
            None => self.line_words.get((unit as usize).checked_sub(1)?),
            Some(at) => self.blocks.get(at).map(|block| &block.word),
        }
    }

    pub fn of<'a>(&'a self, life: &'a Life) -> Ours<'a, L> {
        Ours { stage: self, life }
    }

    /// Runs `f` as participant `id`, which may die.
    pub fn act<R>(
        self: &Arc<Self>,
        id: u32,
        fate: Fate,
        f: impl FnOnce(&Ours<'_, L>) -> R + Send + 'static,
    ) -> thread::JoinHandle<Option<R>>
    where
        R: Send + 'static,
    {
        let stage = self.clone();
        thread::spawn(move || {
            let life = stage.kernel.enter(id);
            let done = fate.run(|| f(&stage.of(&life)));
            if done.is_none() {
                mark_death(id);
                stage.kernel.bury(id, &stage.head.futexes());
            }
            done
        })
    }

    /// What is there in the end, seen by participant 3, who wants to write: each key once, and as many as are counted.
    pub fn end(&self) -> Vec<(u64, u64)>
    where
        for<'a> Wanted<'a, L>: Asked<L>,
    {
        let life = self.kernel.enter(3);
        let ours = self.of(&life);
        let table = ours.table();
        let found = std::cell::RefCell::new(Vec::new());
        let mut all = Vec::new();
        for bucket in 0..table.extent().buckets() {
            // Whoever wants to write gets the lock, whoever died with it.
            let locked = table.lock_bucket(&life, bucket).expect("a bucket is free in the end");
            table.unlock(locked);
            table
                .snapshot(
                    Some(&life),
                    bucket,
                    || found.borrow_mut().clear(),
                    |line, slot| found.borrow_mut().push(line.key_at(slot, self)),
                )
                .expect("nobody writes any more");
            all.append(&mut found.borrow_mut());
        }
        all.sort_unstable();
        let counted = table.len(Some(&life));
        assert_eq!(counted, all.len() as u64, "counted, and found {all:?}");
        assert!(all.windows(2).all(|pair| pair[0] != pair[1]), "twice in {all:?}");
        all.into_iter().map(|key| (key, ours.get(key).expect("found in a scan").expect("found in a scan"))).collect()
    }
}

impl<'a, L: Kind> Ours<'a, L> {
    pub fn table(&self) -> Table<'a, Stage<L>> {
        let stage = self.stage;
        let seen = &stage.seen[self.life.me().get() as usize - 1];
        let first = stage.buckets.len() as u64 - 1;
        Table { head: &stage.head, desks: &stage.desks, store: stage, seen, first, bits: first.ilog2() }
    }

    pub fn desk(&self) -> &'a Desk {
        &self.stage.desks[self.life.me().get() as usize - 1]
    }

    /// The value of a key, which must be whole.
    pub fn get(&self, key: u64) -> Result<Option<u64>, Trouble>
    where
        Wanted<'a, L>: Asked<L>,
    {
        let mut wanted = Wanted { key, value: None, stage: self.stage };
        let found = self.table().find(&mut wanted, || Some(self.life))?;
        Ok(found.then(|| {
            let [one, two] = wanted.value.expect("read before it is found");
            assert_eq!(one, two, "torn");
            one
        }))
    }

    pub fn remove(&self, key: u64) -> bool
    where
        Wanted<'a, L>: Asked<L>,
    {
        let table = self.table();
        let mut locked = table.lock(self.life, key).expect("a living owner unlocks");
        let mut wanted = Wanted { key, value: None, stage: self.stage };
        let spot = table.locate(&locked, &mut wanted).expect("whole");
        let found = if let Spot::Found(at) = spot {
            table.remove(self.desk(), &mut locked, &at);
            if at.link != 0 {
                table.unlink(self.desk(), &mut locked, at.link);
            }
            true
        } else {
            false
        };
        table.unlock(locked);
        table.let_leave(self.desk());
        found
    }
}

impl Ours<'_, PairLine> {
    /// False: there was no line for it.
    pub fn put(&self, key: u64, value: u64) -> bool {
        let table = self.table();
        let fill = |line: &PairLine, slot| line.fill(slot, key, value);
        // As the segment does it: the usual way first.
        let mut near = table.lock_home(self.life, key);
        if let Some(locked) = near.take() {
            let found = locked.line.find(key, locked.word().occupied());
            if found != 0 {
                locked.line.set_value(found.trailing_zeros(), value);
                table.unlock(locked);
                return true;
            }
            if let Some(next) = locked.next() {
                table.insert_next(self.desk(), locked, next, fill);
                return true;
            }
            near = Some(locked);
        }
        let locked = near.unwrap_or_else(|| table.lock(self.life, key).expect("a living owner unlocks"));
        let mut wanted = Wanted { key, value: None, stage: self.stage };
        match table.locate(&locked, &mut wanted).expect("whole") {
            Spot::Found(at) => {
                at.line.set_value(at.slot, value);
                table.unlock(locked);
            }
            Spot::Free(at) => table.insert(self.desk(), locked, &at, fill),
            Spot::Full(last) => return table.extend(self.desk(), locked, last, fill).is_ok(),
        }
        true
    }
}

impl Ours<'_, RecordLine> {
    /// Writes a record into the block that the desk keeps: if it keeps none, the first free one from `from` on, whose run is ours.
    pub fn write(&self, from: usize, key: u64, value: u64) -> u32 {
        let (stage, desk) = (self.stage, self.desk());
        if desk.kept() == 0 {
            let (at, now) = (from..)
                .find_map(|at| Some((at, blocks::look(&stage.blocks.get(at)?.word))).filter(|(_, now)| now.is_free()))
                .expect("a block is free");
            // As the segment does it, but for the hand, which is not part of these models.
            blocks::hold(&stage.blocks[at].word, self.life.me(), now.generation() + 1);
            blocks::enliven(&stage.blocks[at].word, self.life.me(), now.generation() + 1);
            desk.keep((at + FIRST_BLOCK) as u32);
        }
        let unit = desk.kept();
        // As the segment does it: the edge has this name there too.
        fence(mutirao::order!(table_record, Release));
        let words = &stage.blocks[unit as usize - FIRST_BLOCK].words;
        words.iter().zip([key, value, value]).for_each(|(word, value)| word.store(value, Relaxed));
        unit
    }

    pub fn put(&self, from: usize, key: u64, value: u64) {
        let table = self.table();
        let unit = self.write(from, key, value);
        let mut wanted = Wanted { key, value: None, stage: self.stage };
        let fill = |line: &RecordLine, slot| line.fill(slot, 0, unit);
        // As the segment does it, straight.
        if let Some((guess, line)) = table.near(key)
            && let Some(word) = look_guessed(guess, line, table.bits)
            && let slots = line.find(0, word.occupied())
            && let Some(locked) = lock_looked(self.life, guess.bucket, line, word)
        {
            let slot = slots.trailing_zeros();
            if slots == 0 {
                if line.find(0, locked.word().occupied()) == 0
                    && let Some(next) = locked.next()
                {
                    return table.insert_next(self.desk(), locked, next, fill);
                }
            } else if wanted.meets(line, slot) {
                let at = Slot { line, link: 0, slot };
                return table.exchange(self.desk(), locked, &at, (line.follow(slot), unit), RecordLine::refer);
            }
            table.unlock(locked);
        }
        let locked = table.lock(self.life, key).expect("a living owner unlocks");
        match table.locate(&locked, &mut wanted).expect("whole") {
            Spot::Found(at) => {
                table.exchange(self.desk(), locked, &at, (at.line.follow(at.slot), unit), RecordLine::refer);
            }
            Spot::Free(at) => table.insert(self.desk(), locked, &at, fill),
            Spot::Full(_) => panic!("there are ten slots"),
        }
    }
}

impl Stage<RecordLine> {
    /// Each block is at one place, when whoever died is settled: in the table, on a desk, in nobody's or a dead one's hands.
    pub fn check_blocks(&self) {
        let life = self.kernel.enter(3);
        self.of(&life).table().settle_all(&life).expect("nobody else settles");
        for (at, block) in self.blocks.iter().enumerate() {
            let unit = (at + FIRST_BLOCK) as u32;
            let line = |line: &RecordLine| {
                (0..RecordLine::SLOTS).filter(|&slot| Word::look(line).has(slot) && line.follow(slot) == unit).count()
            };
            let places = self.buckets.iter().map(line).sum::<usize>()
                + self.desks.iter().filter(|desk| desk.keeps(unit)).count();
            assert!(!self.desks.iter().any(|desk| desk.names(unit)), "block {at} leaves for ever");
            match blocks::look(&block.word).state() {
                BlockState::Live(_) if places == 1 => {}
                BlockState::Free if places == 0 => {}
                // Its hand is reaped too.
                BlockState::Held(id) | BlockState::Live(Some(id)) if places == 0 && life.is_dead(id) => {}
                state => panic!("block {at} is {state:?} and at {places} places"),
            }
        }
    }
}

/// Puts words where nobody looks yet.
pub fn prepare(stage: &Arc<Stage<PairLine>>, entries: &[(u64, u64)]) {
    let life = stage.kernel.enter(1);
    for &(key, value) in entries {
        assert!(stage.of(&life).put(key, value));
    }
}
