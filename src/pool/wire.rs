//! What travels: chunks of calls to the workers, replies from them. Words are little-endian and of 8 bytes.
//!
//! ```text
//!   chunk   number │ calls │ routine: 4 words            │ arguments, postcard, one behind the other
//!   reply   number │ calls │ worker │ failed │ 4 times   │ results in order │ failures │
//! ```

use crate::process::batch::{Failure, Times};

/// What a chunk begins with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct ChunkHead {
    pub(crate) number: u64,
    pub(crate) calls: u32,
    /// The name of the function: `Routine::to_words`.
    pub(crate) routine: [u64; 4],
}

pub(crate) const CHUNK_HEAD: usize = 8 * 6;

impl ChunkHead {
    /// Writes the head where room was left for it.
    pub(crate) fn write(&self, chunk: &mut [u8]) {
        let [a, b, c, d] = self.routine;
        write_words(chunk, &[self.number, self.calls.into(), a, b, c, d]);
    }

    /// The head, and the arguments behind it.
    pub(crate) fn read(chunk: &[u8]) -> Option<(Self, &[u8])> {
        let ([number, calls, a, b, c, d], rest) = read_words(chunk)?;
        Some((Self { number, calls: u32::try_from(calls).ok()?, routine: [a, b, c, d] }, rest))
    }
}

/// The calls of a chunk that have no result.
pub(crate) type Failures = Vec<(u32, Failure)>;

/// What a reply begins with.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct ReplyHead {
    pub(crate) number: u64,
    pub(crate) calls: u32,
    pub(crate) post: u32,
    /// Bytes of the failures, at the end; 0 when there are none.
    pub(crate) failures_len: u64,
    pub(crate) times: Times,
    /// How long the worker waited for the chunk.
    pub(crate) waited_ns: u64,
}

pub(crate) const REPLY_HEAD: usize = 8 * 8;

impl ReplyHead {
    pub(crate) fn write(&self, reply: &mut [u8]) {
        let Times { busy_ns, coding_ns, longest_ns } = self.times;
        let words = [
            self.number,
            self.calls.into(),
            self.post.into(),
            self.failures_len,
            busy_ns,
            coding_ns,
            longest_ns,
            self.waited_ns,
        ];
        write_words(reply, &words);
    }

    /// The head, the results, and the failures; `None` for bytes that no worker of ours sends.
    pub(crate) fn read(reply: &[u8]) -> Option<(Self, &[u8], Failures)> {
        let ([number, calls, post, failures_len, busy_ns, coding_ns, longest_ns, waited_ns], rest) = read_words(reply)?;
        let times = Times { busy_ns, coding_ns, longest_ns };
        let (calls, post) = (u32::try_from(calls).ok()?, u32::try_from(post).ok()?);
        let results_len = rest.len().checked_sub(usize::try_from(failures_len).ok()?)?;
        let (results, failures) = rest.split_at_checked(results_len)?;
        let failures = match failures {
            [] => Vec::new(),
            some => postcard::from_bytes(some).ok()?,
        };
        Some((Self { number, calls, post, failures_len, times, waited_ns }, results, failures))
    }
}

fn write_words(bytes: &mut [u8], words: &[u64]) {
    for (to, word) in bytes.chunks_exact_mut(8).zip(words) {
        to.copy_from_slice(&word.to_le_bytes());
    }
}

fn read_words<const N: usize>(bytes: &[u8]) -> Option<([u64; N], &[u8])> {
    let (head, rest) = bytes.split_at_checked(8 * N)?;
    let mut words = [0; N];
    for (word, from) in words.iter_mut().zip(head.chunks_exact(8)) {
        *word = u64::from_le_bytes(from.try_into().ok()?);
    }
    Some((words, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_come_back_as_they_were_written() {
        let head = ChunkHead { number: 7, calls: 3, routine: [1, 2, 3, u64::MAX] };
        let mut bytes = vec![0; CHUNK_HEAD];
        head.write(&mut bytes);
        bytes.extend([9, 9]);
        assert_eq!(ChunkHead::read(&bytes), Some((head, &[9, 9][..])));

        let failures = vec![(2, Failure::Failed("no".into()))];
        let encoded = postcard::to_stdvec(&failures).unwrap();
        let times = Times { busy_ns: 1, coding_ns: 2, longest_ns: 3 };
        let failures_len = encoded.len() as u64;
        let head = ReplyHead { number: 7, calls: 3, post: 1, failures_len, times, waited_ns: 4 };
        let mut bytes = vec![0; REPLY_HEAD];
        head.write(&mut bytes);
        bytes.extend([5, 6]);
        bytes.extend(encoded);
        assert_eq!(ReplyHead::read(&bytes), Some((head, &[5, 6][..], failures)));
    }

    #[test]
    fn any_bytes_are_refused_or_read() {
        assert_eq!(ChunkHead::read(&[0; CHUNK_HEAD - 1]), None);
        assert_eq!(ChunkHead::read(&[0xff; CHUNK_HEAD]), None);
        assert_eq!(ReplyHead::read(&[0xff; REPLY_HEAD + 5]), None);
        let mut lie = vec![0; REPLY_HEAD + 3];
        lie[24] = 4;
        assert_eq!(ReplyHead::read(&lie), None);
    }
}
