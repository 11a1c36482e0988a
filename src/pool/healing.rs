//! What becomes of a dead worker's work.
//!
//! ```text
//!   a chunk of 8 calls     0 1 2 3 4 5 6 7       its worker died; the desk says: call 3 was under way
//!   goes out again as      0 1 2 │ 3 │ 4 5 6 7    results of 0 to 2 were lost with it; 3 has one death more
//! ```
//!
//! So a call that kills its workers is soon alone, and is given up after so many deaths; no other call is charged for
//! its neighbour. Where calls must not be made twice, 0 to 3 are reported and 4 to 7 go out again.

use crate::handle::bytes::Bytes;
use crate::pool::crew::{Fallen, Sentence, Worker};
use crate::pool::desk::{Glimpse, Stage};
use crate::pool::drive::{Core, State};
use crate::pool::events::Event;
use crate::pool::failure::{PostMortem, TaskError};
use crate::pool::ledger::{Chunk, Unsent};
use crate::pool::log;
use crate::pool::wire::{CHUNK_HEAD, ChunkHead};
use crate::process::batch::Failure;
use crate::process::exit::Exit;
use crate::sys::clock;
use crate::sys::process::SIGABRT;

/// How long what a dead worker had in hand may take to come back.
const LOST_NS: u64 = 5_000_000_000;
/// How often a chunk may come back that nobody had begun.
const UNTOUCHED_MAX: u32 = 16;

/// What is to be told once no lock is held.
type News = Vec<Box<dyn FnOnce()>>;

impl Core {
    /// A look at every worker.
    pub(crate) fn round(&self, now_ns: u64) {
        let mut state = self.lock();
        self.note_the_dead(&mut state, now_ns);
        let said = self.what_was_said(&mut state);
        let mut news = News::new();
        if state.crew.posts.iter().any(|post| post.fallen.is_some()) || !state.letters.is_empty() {
            drop(state);
            // What the dead have sent counts; it is all here by now, unless somebody is in the middle of sending before it.
            while self.receive_ready() != 0 {}
            let letters: Vec<_> = self.tasks.dead_letters().map_while(Result::ok).collect();
            state = self.lock();
            for letter in letters {
                if let Some((head, _)) = ChunkHead::read(&letter.item.0) {
                    state.letters.push(Unsent { number: head.number, bytes: letter.item.0 });
                }
            }
            self.settle(&mut state, now_ns, &mut news);
        }
        self.end_what_takes_too_long(&mut state, now_ns);
        let _ = state.ledger.become_due(now_ns);
        let lost = self.send_waiting(&mut state);
        self.fill(&mut state);
        if state.crew.is_hopeless() {
            let jobs = state.jobs;
            let why = state.crew.despair(jobs, now_ns);
            // Nobody leases them now, and nobody shall when there are workers again.
            while self.tasks.channel.pop::<Bytes>(None).is_ok() {}
            for chunk in state.ledger.take_if(|_| true) {
                let why = why.clone();
                news.push(Box::new(move || {
                    chunk.fail_all(|index| TaskError::NoWorkers { task: chunk.job.id(index), why: why.clone() });
                }));
            }
        }
        let events = core::mem::take(&mut state.events);
        drop(state);
        events.tell();
        said.iter().for_each(|(pid, lost, bytes)| log::say(*pid, *lost, bytes));
        self.tell(lost);
        if !news.is_empty() {
            news.into_iter().for_each(|tell| tell());
            self.notify();
        }
    }

    fn note_the_dead(&self, state: &mut State, now_ns: u64) {
        for at in 0..state.crew.posts.len() {
            let Some(post) = state.crew.posts.get_mut(at) else { continue };
            let Some(worker) = post.worker.as_mut().filter(|worker| !worker.is_alive()) else { continue };
            let pid = worker.pid();
            let exit = match worker.try_exit() {
                Ok(exit) => exit,
                Err(error) if error.is_would_block() => continue,
                Err(error) => Exit::Refused(error.to_string()),
            };
            let desk = self.desks.desk(at).look();
            let (signal, out_of_memory) = match exit {
                Exit::Killed { signal, out_of_memory } => (Some(signal), out_of_memory),
                _ => (None, false),
            };
            let how = match exit {
                Exit::Returned(Ok(())) => None,
                Exit::Returned(Err(why)) => Some(why),
                other => Some(other.to_string()),
            };
            let head = self.desks.desk(at).log_head();
            let last_log_lines = self.logs.last_lines(at, head);
            // The allocator aborts at the limit, without a word to us; a panic that aborts has said what it was.
            let has_panicked = last_log_lines.last().is_some_and(|line| line.starts_with("panicked"));
            let out_of_memory = out_of_memory || self.is_limited && signal == Some(SIGABRT) && !has_panicked;
            let sentence = post.sentence;
            let fallen = how.map(|how| Fallen {
                pid,
                how,
                signal,
                out_of_memory,
                last_log_lines,
                desk,
                sentence,
                since_ns: now_ns,
            });
            if let Some(Fallen { how, .. }) = &fallen {
                state.events.note(|| Event::Died { post: at, pid, how: how.clone() });
            }
            state.figures.note_end(at);
            state.crew.bury(at, desk, fallen);
        }
    }

    /// What the workers have said since the last look.
    fn what_was_said(&self, state: &mut State) -> Vec<(u32, u64, Vec<u8>)> {
        let mut said = Vec::new();
        for (at, post) in state.crew.posts.iter_mut().enumerate() {
            let head = self.desks.desk(at).log_head();
            let pid = post.worker.as_ref().map(Worker::pid).or(post.fallen.as_ref().map(|fallen| fallen.pid));
            if let Some(pid) = pid.filter(|_| head > post.said) {
                let (lost, bytes) = self.logs.read(at, post.said, head);
                said.push((pid, lost, bytes));
                post.said = head;
            }
        }
        said
    }

    /// Sends again what came back, or gives it up.
    fn settle(&self, state: &mut State, now_ns: u64, news: &mut News) {
        for letter in core::mem::take(&mut state.letters) {
            if state.ledger.get(letter.number).is_none() {
                continue; // it has its result
            }
            let names = |desk: Glimpse| desk.chunk == Some(letter.number);
            let fallen = state.crew.posts.iter().filter_map(|post| post.fallen.as_ref()).find(|f| names(f.desk));
            if let Some(fallen) = fallen {
                if fallen.desk.stage != Stage::Replied {
                    let verdict = Verdict::of(fallen);
                    self.divide(state, letter, &verdict, news);
                }
                continue;
            }
            // It lives, but cannot prove it: its descriptors are closed. What it does now counts for nothing.
            let living = (0..state.crew.posts.len()).find(|at| names(self.desks.desk(*at).look()));
            let worker = living.and_then(|at| state.crew.posts.get(at)?.worker.as_ref());
            if let Some(worker) = worker {
                let _ = worker.kill();
                state.letters.push(letter);
                continue;
            }
            self.send_untouched(state, letter, news);
        }
        for at in 0..state.crew.posts.len() {
            let Some(fallen) = state.crew.posts.get(at).and_then(|post| post.fallen.as_ref()) else { continue };
            let open = fallen
                .desk
                .chunk
                .filter(|number| fallen.desk.stage != Stage::Replied && state.ledger.get(*number).is_some());
            if let Some(number) = open {
                if now_ns.saturating_sub(fallen.since_ns) < LOST_NS {
                    continue;
                }
                let verdict = Verdict::of(fallen);
                give_up(state, number, &verdict, news);
            }
            if let Some(post) = state.crew.posts.get_mut(at) {
                post.fallen = None;
            }
        }
    }

    /// A chunk whose worker died in the middle of it: the call it died of, those before, those behind.
    fn divide(&self, state: &mut State, letter: Unsent, verdict: &Verdict, news: &mut News) {
        let Some((head, arguments)) = ChunkHead::read(&letter.bytes) else { return };
        let Some(mut chunk) = state.ledger.take(letter.number) else { return };
        let culprit = verdict.running.saturating_sub(1).min(u64::from(chunk.calls.saturating_sub(1))) as u32;
        let terms = chunk.job.terms().clone();
        if chunk.job.is_fold() || chunk.calls == 1 {
            chunk.deaths += 1;
            let again = chunk.deaths <= terms.after_deaths() && verdict.may_repeat();
            if again {
                self.send_again(state, chunk, head.routine, letter.bytes, 0);
            } else {
                let error = verdict.error(&chunk, culprit);
                news.push(Box::new(move || chunk.job.fail(chunk.first + u64::from(culprit), error)));
            }
            return;
        }
        let lens = [culprit, culprit + 1].map(|calls| chunk.job.arguments_len(arguments, calls));
        let [Some(start), Some(end)] = lens else {
            return give_up_chunk(chunk, verdict, news);
        };
        let again = verdict.may_repeat() && terms.after_deaths() >= 1;
        let pieces = [
            (0, culprit, arguments.get(..start), 0, terms.repeatable),
            (culprit, 1, arguments.get(start..end), 1, again),
            (culprit + 1, chunk.calls - culprit - 1, arguments.get(end..), 0, true),
        ];
        for (from, calls, arguments, deaths, again) in pieces {
            let mut piece = Chunk::new(chunk.job.clone(), chunk.first + u64::from(from), calls, 0);
            piece.deaths = deaths;
            match arguments {
                _ if calls == 0 => {}
                Some(arguments) if again => {
                    let bytes = [&[0; CHUNK_HEAD], arguments].concat();
                    piece.bytes = bytes.len();
                    piece.kept = chunk.kept.as_ref().map(|_| arguments.into());
                    self.send_again(state, piece, head.routine, bytes, 0);
                }
                _ => {
                    piece.deaths = 1;
                    give_up_chunk(piece, verdict, news);
                }
            }
        }
    }

    /// A chunk that came back before anybody had begun it.
    fn send_untouched(&self, state: &mut State, letter: Unsent, news: &mut News) {
        let Some((head, _)) = ChunkHead::read(&letter.bytes) else { return };
        let Some(mut chunk) = state.ledger.take(letter.number) else { return };
        chunk.untouched += 1;
        if chunk.untouched < UNTOUCHED_MAX {
            return self.send_again(state, chunk, head.routine, letter.bytes, 0);
        }
        let why = "its workers died again and again before they could begin it";
        news.push(Box::new(move || {
            chunk.fail_all(|index| TaskError::NoWorkers { task: chunk.job.id(index), why: why.to_owned() });
        }));
    }

    /// Enters a chunk anew, and has it sent after a pause.
    fn send_again(&self, state: &mut State, chunk: Chunk, routine: [u64; 4], mut bytes: Vec<u8>, pause_ns: u64) {
        if chunk.job.is_cancelled() {
            return; // nobody wants it
        }
        let Chunk { calls, deaths, failures, .. } = chunk;
        if deaths + failures != 0 {
            let task = chunk.job.id(chunk.first);
            state.figures.retries += 1;
            state.events.note(|| Event::Retried { task, calls, deaths, failures });
        }
        let number = state.ledger.enter(chunk, routine, &mut bytes);
        let unsent = Unsent { number, bytes };
        match pause_ns {
            0 => state.ledger.unsent.push_back(unsent),
            _ => state.ledger.later.push((clock::now_ns().saturating_add(pause_ns), unsent)),
        }
    }

    /// Calls of a chunk failed: those that may be tried again are sent, alone; they are `None` then.
    pub(crate) fn try_again(
        &self,
        state: &mut State,
        chunk: &Chunk,
        failures: Vec<(u32, Failure)>,
    ) -> Vec<(u32, Option<Failure>)> {
        let terms = chunk.job.terms();
        let may = chunk.failures < terms.after_failures() && !state.over;
        let routine = chunk.routine;
        let again = |this: &Self, state: &mut State, call: u32| -> Option<()> {
            let kept = chunk.kept.as_ref()?;
            let whole = chunk.job.is_fold();
            let (start, end, calls, from) = match whole {
                true => (0, kept.len(), chunk.calls, 0),
                false => (chunk.job.arguments_len(kept, call)?, chunk.job.arguments_len(kept, call + 1)?, 1, call),
            };
            let arguments = kept.get(start..end)?;
            let bytes = [&[0; CHUNK_HEAD], arguments].concat();
            let mut piece = Chunk::new(chunk.job.clone(), chunk.first + u64::from(from), calls, bytes.len());
            (piece.failures, piece.deaths) = (chunk.failures + 1, chunk.deaths);
            piece.kept = Some(arguments.into());
            this.send_again(state, piece, routine, bytes, terms.pause_ns(chunk.failures + 1));
            Some(())
        };
        let is_worth = |why: &Failure| matches!(why, Failure::Panicked { .. } | Failure::Failed(_));
        failures
            .into_iter()
            .map(|(call, why)| match may && is_worth(&why) && again(self, state, call).is_some() {
                true => (call, None),
                false => (call, Some(why)),
            })
            .collect()
    }

    /// Kills the worker of each call that takes longer than it may.
    fn end_what_takes_too_long(&self, state: &mut State, now_ns: u64) {
        let State { crew, ledger, .. } = state;
        for (at, post) in crew.posts.iter_mut().enumerate() {
            let Some(worker) = &post.worker else { continue };
            let glimpse = self.desks.desk(at).look();
            let Some(number) = glimpse.chunk.filter(|_| glimpse.stage == Stage::Working) else { continue };
            let Some(allowed) = ledger.get(number).and_then(|chunk| chunk.job.terms().timeout) else { continue };
            match post.seen {
                Some((seen, since_ns)) if (seen.chunk, seen.running) == (glimpse.chunk, glimpse.running) => {
                    if u128::from(now_ns.saturating_sub(since_ns)) >= allowed.as_nanos() && post.sentence.is_none() {
                        post.sentence = Some(Sentence::TimedOut { chunk: number, running: glimpse.running });
                        let _ = worker.kill();
                    }
                }
                _ => post.seen = Some((glimpse, now_ns)),
            }
        }
    }
}

/// What is known of the end of a worker.
struct Verdict {
    running: u64,
    sentence: Option<Sentence>,
    post_mortem: PostMortem,
}

impl Verdict {
    fn of(fallen: &Fallen) -> Self {
        let number = fallen.desk.chunk;
        let sentence = fallen.sentence.filter(|sentence| match *sentence {
            // It had gone on before the kill reached it.
            Sentence::TimedOut { chunk, running } => (Some(chunk), running) == (number, fallen.desk.running),
            Sentence::Cancelled { chunk } => Some(chunk) == number,
        });
        let post_mortem = PostMortem {
            task: crate::pool::failure::TaskId { job: 0, index: 0 },
            attempts: 0,
            pid: fallen.pid,
            signal: fallen.signal,
            how: fallen.how.clone(),
            out_of_memory: fallen.out_of_memory,
            last_log_lines: fallen.last_log_lines.clone(),
        };
        Self { running: fallen.desk.running, sentence, post_mortem }
    }

    fn may_repeat(&self) -> bool {
        self.sentence.is_none()
    }

    /// What is said of this call of the chunk.
    fn error(&self, chunk: &Chunk, call: u32) -> TaskError {
        let task = chunk.job.id(chunk.first + u64::from(call));
        match self.sentence {
            Some(Sentence::TimedOut { .. }) => {
                TaskError::TimedOut { task, allowed: chunk.job.terms().timeout.unwrap_or_default() }
            }
            Some(Sentence::Cancelled { .. }) => TaskError::Cancelled { task },
            None => {
                let attempts = chunk.deaths + chunk.failures;
                TaskError::WorkerDied(PostMortem { task, attempts, ..self.post_mortem.clone() })
            }
        }
    }
}

/// None of a chunk's calls is made again.
fn give_up(state: &mut State, number: u64, verdict: &Verdict, news: &mut News) {
    if let Some(mut chunk) = state.ledger.take(number) {
        chunk.deaths += 1;
        give_up_chunk(chunk, verdict, news);
    }
}

fn give_up_chunk(chunk: Chunk, verdict: &Verdict, news: &mut News) {
    let errors: Vec<_> = (0..chunk.calls).map(|call| verdict.error(&chunk, call)).collect();
    news.push(Box::new(move || {
        for (index, error) in (chunk.first..).zip(errors) {
            chunk.job.fail(index, error);
        }
    }));
}
