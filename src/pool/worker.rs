//! The worker's side: lease a chunk, make its calls, send what came of them, acknowledge.
//!
//! The order is what makes a death harmless. The desk names the chunk before the first call, so a dead worker's desk tells
//! which call it died of. The reply is sent before the chunk is acknowledged, so a chunk without a reply is
//! delivered again; and the desk says "replied" between the two, so that a chunk with one is not.

use serde::{Deserialize, Serialize};

use crate::deadline::Deadline;
use crate::error::{Error, Result};
use crate::handle::array::Array;
use crate::handle::bytes::Bytes;
use crate::handle::queue::Queue;
use crate::pool::budget;
use crate::pool::desk::{Desk, Desks};
use crate::pool::log::{self, Logs};
use crate::pool::wire::{ChunkHead, REPLY_HEAD, ReplyHead};
use crate::process::batch::{self, Batch, Failure, Large, Pace, Times};
use crate::process::routine::{Routine, Secret};
use crate::segment::handoff::{self, Home};
use crate::segment::open::Segment;
use crate::sys::clock;

/// What a worker is started with.
#[derive(Serialize, Deserialize)]
pub(crate) struct Setup {
    pub(crate) tasks: Queue<Bytes>,
    pub(crate) replies: Queue<Bytes>,
    pub(crate) desks: Array<u64>,
    pub(crate) logs: Array<u8>,
    /// Segments of handles that may be in arguments and results.
    pub(crate) shared: Vec<Segment>,
    pub(crate) post: u32,
    /// Processors that it may use.
    pub(crate) share: u32,
    pub(crate) secret: Secret,
    /// It leaves after so many calls; 0: it stays.
    pub(crate) calls_max: u64,
    pub(crate) initializer: Option<Initializer>,
}

/// What each worker does first.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Initializer {
    pub(crate) routine: [u64; 4],
    pub(crate) args: Vec<u8>,
    /// The segments of the handles in its arguments.
    pub(crate) segments: Vec<Segment>,
}

/// Bytes that a worker keeps for its next reply.
const KEPT: usize = 4 << 20;
/// As many results are given up one by one where there is no room for all of a chunk.
const ONE_BY_ONE: u32 = 16;
/// How long a worker tries to send a reply for which there is no memory at the moment.
const NO_ROOM_NS: u64 = 2_000_000_000;

/// What a worker runs. The error is why it could not begin.
pub(crate) fn work(setup: Setup) -> core::result::Result<(), String> {
    budget::settle(setup.share);
    hook_panics();
    let desks = Desks { words: setup.desks.clone() };
    let desk = desks.desk(setup.post as usize);
    log::begin(Logs { bytes: setup.logs.clone() }, desks.clone(), setup.post as usize);
    if let Some(initializer) = &setup.initializer {
        initialize(initializer, setup.secret, desk)?;
    }
    desk.ready();
    let home = Home::new(setup.tasks.segment().clone(), &setup.shared);
    let worker = Worker { setup: &setup, home, desk, desks: &desks };
    worker.serve().map_err(|error| error.to_string())
}

/// Whoever catches a panic wants to know what it said and where.
fn hook_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let message = panic.payload_as_str().unwrap_or("with a value that is not text").to_owned();
        let place = panic.location().map(ToString::to_string);
        log::log_line(format!("panicked at {}: {message}", place.as_deref().unwrap_or("an unknown place")));
        batch::note_panic(message, place);
    }));
}

fn initialize(initializer: &Initializer, secret: Secret, desk: Desk<'_>) -> core::result::Result<(), String> {
    let routine = Routine::verify(initializer.routine, secret).ok_or("the initializer was not named by the parent")?;
    let (mut output, mut pace) = (Vec::new(), Pace::default());
    let mut batch = Batch {
        input: &initializer.args,
        count: 1,
        output: &mut output,
        failures: Vec::new(),
        large: Vec::new(),
        running: desk.running(),
        pace: &mut pace,
        times: Times::default(),
        home: None,
    };
    handoff::import(initializer.segments.clone(), || routine.run(&mut batch));
    match batch.failures.pop() {
        None => Ok(()),
        Some((_, Failure::Panicked { message, location: Some(location) })) => {
            Err(format!("the initializer panicked at {location}: {message}"))
        }
        Some((_, failure)) => Err(format!("the initializer could not be run: {failure:?}")),
    }
}

struct Worker<'a> {
    setup: &'a Setup,
    home: Home,
    desk: Desk<'a>,
    desks: &'a Desks,
}

impl Worker<'_> {
    /// Ends when the queue is closed and drained, after so many calls, or when nothing works any more.
    fn serve(&self) -> Result<()> {
        let (mut reply, mut calls, mut known) = (Vec::new(), 0, None::<(Routine, Pace)>);
        let tasks = &self.setup.tasks.channel;
        loop {
            let waiting = clock::now_ns();
            let (chunk, taken) = match tasks.lease::<Bytes>(Some(Deadline::NEVER)) {
                Ok(leased) => leased,
                Err(error) if error.is_closed() => return Ok(()),
                Err(error) => return Err(error),
            };
            let waited_ns = clock::now_ns().saturating_sub(waiting);
            let read = ChunkHead::read(&chunk);
            if let Some((head, input)) = read.filter(|(head, _)| !self.desks.is_unwanted(head.number)) {
                self.desk.begin(head.number);
                let routine = known.take().filter(|(routine, _)| routine.to_words() == head.routine);
                let verified = || Some((Routine::verify(head.routine, self.setup.secret)?, Pace::default()));
                known = routine.or_else(verified);
                reply.clear();
                reply.resize(REPLY_HEAD, 0);
                let mut pace = known.map_or_else(Pace::default, |(_, pace)| pace);
                let mut batch = Batch {
                    input,
                    count: head.calls,
                    output: &mut reply,
                    failures: Vec::new(),
                    large: Vec::new(),
                    running: self.desk.running(),
                    pace: &mut pace,
                    times: Times::default(),
                    home: Some(&self.home),
                };
                match &known {
                    Some((routine, _)) => routine.run(&mut batch),
                    None => batch.fail_all(&Failure::Function("nobody who may has named it".into())),
                }
                let (times, failures) = (batch.times, core::mem::take(&mut batch.failures));
                let large = core::mem::take(&mut batch.large);
                if let Some((_, kept)) = &mut known {
                    *kept = pace;
                }
                calls += u64::from(head.calls);
                let head = ReplyHead {
                    number: head.number,
                    calls: head.calls,
                    post: self.setup.post,
                    failures_len: 0,
                    times,
                    waited_ns,
                };
                self.reply(head, &mut reply, failures, large)?;
                self.desk.replied(calls);
            }
            tasks.end(tasks.body().life()?, taken);
            self.desk.end();
            if self.setup.calls_max != 0 && calls >= self.setup.calls_max {
                return Ok(());
            }
            if reply.capacity() > KEPT {
                reply = Vec::new();
            }
        }
    }

    fn reply(
        &self,
        mut head: ReplyHead,
        reply: &mut Vec<u8>,
        mut failures: Vec<(u32, Failure)>,
        mut large: Vec<Large>,
    ) -> Result<()> {
        let mut results = reply.len();
        append(&mut head, reply, &failures);
        let Err(why) = self.send(reply) else { return Ok(()) };
        if !is_about_room(&why) {
            return Err(why);
        }
        // There is no room for all: the largest are given up until there is room for the rest, after some one by one twice
        // as many each time.
        large.sort_by_key(|large| large.at.len());
        for round in 0.. {
            let count = 1_usize << u32::saturating_sub(round, ONE_BY_ONE).min(20);
            let lost = large.split_off(large.len().saturating_sub(count));
            if lost.is_empty() {
                break;
            }
            failures.extend(lost.iter().map(|lost| (lost.call, Failure::Result(why.to_string()))));
            failures.sort_by_key(|(call, _)| *call);
            reply.truncate(results);
            cut(reply, lost, &mut large);
            results = reply.len();
            append(&mut head, reply, &failures);
            match self.setup.replies.channel.push::<Bytes>(reply, Some(Deadline::NEVER)) {
                Err(error) if is_about_room(&error) => {}
                other => return other,
            }
        }
        // The results are lost, and everybody is told.
        reply.clear();
        reply.resize(REPLY_HEAD, 0);
        let lost = |call: &u32| failures.binary_search_by_key(call, |(call, _)| *call).is_err();
        let lost: Vec<_> = (0..head.calls).filter(lost).map(|call| (call, Failure::Result(why.to_string()))).collect();
        failures.extend(lost);
        failures.sort_by_key(|(call, _)| *call);
        append(&mut head, reply, &failures);
        self.send(reply)
    }

    /// Waits a little for memory: what others have sent and nobody has received yet will be free.
    fn send(&self, reply: &[u8]) -> Result<()> {
        let started = clock::now_ns();
        loop {
            match self.setup.replies.channel.push::<Bytes>(reply, Some(Deadline::NEVER)) {
                Err(error) if error.is_out_of_memory() && clock::now_ns().saturating_sub(started) < NO_ROOM_NS => {
                    clock::nap(1_000_000);
                }
                other => return other,
            }
        }
    }
}

/// Writes the failures behind the results, and the head before them.
fn append(head: &mut ReplyHead, reply: &mut Vec<u8>, failures: &Vec<(u32, Failure)>) {
    let results = reply.len();
    if !failures.is_empty() && batch::encode_one(failures, reply).is_err() {
        reply.truncate(results);
    }
    head.failures_len = (reply.len() - results) as u64;
    head.write(reply);
}

/// Whether there is no room for what was to be sent.
fn is_about_room(error: &Error) -> bool {
    error.is_too_large() || error.is_out_of_memory()
}

/// Takes what is lost out of the results, and notes where the others stand then.
fn cut(results: &mut Vec<u8>, mut lost: Vec<Large>, left: &mut [Large]) {
    lost.sort_by_key(|lost| lost.at.start);
    for left in left {
        let before: usize = lost.iter().filter(|lost| lost.at.start < left.at.start).map(|lost| lost.at.len()).sum();
        left.at = left.at.start - before..left.at.end - before;
    }
    let mut end = lost.first().map_or(results.len(), |first| first.at.start);
    for (nth, one) in lost.iter().enumerate() {
        let next = lost.get(nth + 1).map_or(results.len(), |next| next.at.start);
        results.copy_within(one.at.end..next, end);
        end += next - one.at.end;
    }
    results.truncate(end);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_cut_leaves_the_others_in_order() {
        let large = |call, at| Large { call, at };
        let mut results: Vec<u8> = (0..20).collect();
        let mut left = [large(0, 0..3), large(5, 9..12), large(7, 16..20)];
        cut(&mut results, vec![large(6, 12..16), large(1, 3..8)], &mut left);
        assert_eq!(results, [0, 1, 2, 8, 9, 10, 11, 16, 17, 18, 19]);
        assert_eq!(left, [large(0, 0..3), large(5, 4..7), large(7, 7..11)]);
        cut(&mut results, left.to_vec(), &mut []);
        assert_eq!(results, [8]);
    }
}
