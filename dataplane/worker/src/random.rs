//! Randomness of the operating system, stretched without asking it again.

use std::fs::File;
use std::hash::Hasher;
use std::io::{self, Read};

use engine::Entropy;
use siphasher::sip::SipHasher24;

/// A keyed stream: SipHash-2-4 of a counter, under a key from the operating system. Whoever does not know the key cannot
/// tell the next number from the ones before.
#[derive(Debug)]
pub struct Random {
    key: [u64; 2],
    counter: u64,
}

impl Random {
    /// A stream under a new key.
    ///
    /// # Errors
    /// If the operating system has no randomness to give.
    pub fn new() -> io::Result<Self> {
        Ok(Self { key: secret()?, counter: 0 })
    }
}

impl Entropy for Random {
    #[inline]
    fn next_u64(&mut self) -> u64 {
        let mut hasher = SipHasher24::new_with_keys(self.key[0], self.key[1]);
        hasher.write_u64(self.counter);
        self.counter = self.counter.wrapping_add(1);
        hasher.finish()
    }
}

/// 128 bits of the operating system.
///
/// # Errors
/// If it has none to give.
pub fn secret() -> io::Result<[u64; 2]> {
    let mut bytes = [0; 16];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    let (low, high) = bytes.split_at(8);
    let word = |half: &[u8]| half.iter().fold(0, |word, byte| word << 8 | u64::from(*byte));
    Ok([word(low), word(high)])
}
