//! The seam for randomness.

/// A source of random numbers: port choice, sequence numbers, hash keys. The dataplane's is seeded by the operating
/// system; a simulation's by its seed.
pub trait Entropy {
    /// 64 unpredictable bits.
    fn next_u64(&mut self) -> u64;
}

/// Random numbers for a burst, drawn before it begins: nothing is asked of their source while packets are decided.
#[derive(Debug)]
pub(crate) struct Draws {
    numbers: [u64; DRAWS],
    /// Those from here on are not used yet.
    used: usize,
}

/// Two for each packet of a burst at each of both hooks.
const DRAWS: usize = 4 * crate::BURST;

impl Default for Draws {
    fn default() -> Self {
        Self { numbers: [0; DRAWS], used: DRAWS }
    }
}

impl Draws {
    /// Replaces what was used.
    #[inline]
    pub fn refill<E: Entropy>(&mut self, entropy: &mut E) {
        if self.used > 0 {
            self.renew(entropy);
        }
    }

    #[cold]
    fn renew<E: Entropy>(&mut self, entropy: &mut E) {
        let used = core::mem::take(&mut self.used).min(DRAWS);
        self.numbers[..used].fill_with(|| entropy.next_u64());
    }

    /// The number that is the next once so many are used; they are not used yet.
    #[inline]
    pub fn behind(&self, count: usize) -> u64 {
        self.numbers[(self.used + count) % DRAWS]
    }

    /// Uses so many numbers, which are known.
    #[inline]
    pub const fn skip(&mut self, count: usize) {
        self.used += count;
    }

    /// The next number. A burst that uses more than there are, as no packet's share allows but a pool's that is nearly full,
    /// has them again.
    pub fn next(&mut self) -> u64 {
        let number = self.behind(0);
        self.skip(1);
        number
    }
}
