//! A function for many calls, as its name travels through shared memory.
//!
//! Bytes in a segment may be anybody's, and must never become an address that is called. So a name is sealed
//! with a secret that parent and worker share by their socket alone: what was not made by the parent is refused. The
//! seal is SipHash-2-4 (Aumasson, Bernstein 2012) over the positions, so two names can not be mixed either.

use serde::{Deserialize, Serialize};

use crate::sys::liveness;

/// A function, and what calls it: their positions in the executable, sealed.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct Routine {
    pub(crate) positions: [u64; 3],
    seal: u64,
}

/// What parent and worker know and nobody else.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Secret([u64; 2]);

impl Secret {
    pub(crate) fn random() -> Self {
        Self::new(liveness::random_16())
    }

    fn new(random: [u8; 16]) -> Self {
        let bits = u128::from_le_bytes(random);
        Self([bits as u64, (bits >> 64) as u64])
    }
}

impl Routine {
    pub(crate) fn seal(positions: [u64; 3], secret: Secret) -> Self {
        Self { positions, seal: sip_hash(secret.0, positions) }
    }

    /// A name that was received, if whoever knows the secret made it.
    pub(crate) fn verify([a, b, c, seal]: [u64; 4], secret: Secret) -> Option<Self> {
        let routine = Self::seal([a, b, c], secret);
        (routine.seal == seal).then_some(routine)
    }

    pub(crate) fn to_words(self) -> [u64; 4] {
        let [a, b, c] = self.positions;
        [a, b, c, self.seal]
    }
}

fn sip_hash([k0, k1]: [u64; 2], words: [u64; 3]) -> u64 {
    let mut v = [
        k0 ^ 0x736f_6d65_7073_6575,
        k1 ^ 0x646f_7261_6e64_6f6d,
        k0 ^ 0x6c79_6765_6e65_7261,
        k1 ^ 0x7465_6462_7974_6573,
    ];
    let len = (8 * words.len() as u64) << 56;
    for word in words.into_iter().chain([len]) {
        v[3] ^= word;
        sip_round(&mut v);
        sip_round(&mut v);
        v[0] ^= word;
    }
    v[2] ^= 0xff;
    (0..4).for_each(|_| sip_round(&mut v));
    v[0] ^ v[1] ^ v[2] ^ v[3]
}

fn sip_round([a, b, c, d]: &mut [u64; 4]) {
    *a = a.wrapping_add(*b);
    *b = b.rotate_left(13) ^ *a;
    *a = a.rotate_left(32);
    *c = c.wrapping_add(*d);
    *d = d.rotate_left(16) ^ *c;
    *a = a.wrapping_add(*d);
    *d = d.rotate_left(21) ^ *a;
    *c = c.wrapping_add(*b);
    *b = b.rotate_left(17) ^ *c;
    *c = c.rotate_left(32);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seal_is_siphash_2_4() {
        #[allow(deprecated)] // the one place where std has it
        use std::hash::{Hasher, SipHasher};
        for words in [[0, 0, 0], [1, u64::MAX, 3], [7 << 40, 9, 1 << 63]] {
            #[allow(deprecated)]
            let mut reference = SipHasher::new_with_keys(11, 13);
            words.iter().for_each(|word: &u64| reference.write(&word.to_le_bytes()));
            assert_eq!(sip_hash([11, 13], words), reference.finish());
        }
    }

    #[test]
    fn a_name_that_was_changed_is_refused() {
        let secret = Secret::new(*b"0123456789abcdef");
        let words = Routine::seal([5, 6, 7], secret).to_words();
        assert!(Routine::verify(words, secret).is_some());
        for at in 0..4 {
            let mut changed = words;
            changed[at] ^= 1 << 17;
            assert!(Routine::verify(changed, secret).is_none());
        }
        assert!(Routine::verify(words, Secret::new(*b"0123456789abcdeg")).is_none());
    }
}
