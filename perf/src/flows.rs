//! Which connection the next packet is of.
//!
//! Overview: [`Flows`] draws numbers of connections, evenly or by Zipf's law, in a few instructions and without a table,
//! so that choosing costs what is measured nothing.

/// How packets are spread over connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Choice {
    /// Every connection as often as any other: the worst case for caches.
    #[default]
    Uniform,
    /// Zipf's law with exponent 1: the connection of rank r gets packets in proportion to 1/r.
    Zipf,
}

/// Numbers of connections, drawn at random.
#[derive(Clone, Debug)]
pub struct Flows {
    random: Random,
    count: u64,
    choice: Choice,
    /// The logarithm of one more than the count, to base 2, times 2^32.
    doublings: u64,
    /// What the next rank's number is further on, in 2^64ths of the count, rounded up.
    stride: u64,
}

/// The golden ratio, times 2^64: multiples of it lie evenly in the circle.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

impl Flows {
    /// Of so many connections, evenly.
    pub fn new(count: u64) -> Self {
        let doublings = ((count as f64 + 1.0).log2() * (1_u64 << 32) as f64) as u64;
        Self { random: Random::new(), count, choice: Choice::Uniform, doublings, stride: stride(count) }
    }

    /// How many connections there are.
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// Draws in another way from now on.
    pub const fn set_choice(&mut self, choice: Choice) {
        self.choice = choice;
    }

    /// How long, on the average, the rarest connection waits for its turn, in rounds of as many packets as there are
    /// connections.
    pub fn longest_turn(&self) -> u64 {
        match self.choice {
            Choice::Uniform => 1,
            Choice::Zipf => (self.count as f64 + 1.0).ln().ceil() as u64,
        }
    }

    /// The number of the next packet's connection.
    #[inline(always)]
    pub const fn draw(&mut self) -> u64 {
        match self.choice {
            Choice::Uniform => self.random.below(self.count),
            Choice::Zipf => {
                let rank = self.rank();
                self.strewn(rank)
            }
        }
    }

    /// The number of the connection of a rank. Ranks are strewn over the numbers, as connections that are busy were not opened one
    /// after the other, and each number has a rank: who is never heard of falls out of his window. What was rounded up adds to less
    /// than one, as long as there are fewer than 2^32 connections.
    const fn strewn(&self, rank: u64) -> u64 {
        ((rank.wrapping_mul(self.stride) as u128 * self.count as u128) >> 64) as u64
    }

    /// A rank from 1: two to the power of an even draw between 0 and the number of doublings, as 1/r has a logarithm for
    /// its integral.
    #[inline(always)]
    const fn rank(&mut self) -> u64 {
        let power = self.random.below(self.doublings);
        let fraction = power & 0xffff_ffff;
        // 2^f for f from 0 to 1 is 1 + f (0.6565 + 0.3435 f), within 0.3 %.
        let curve = 2_819_646_161 + ((1_475_321_135 * fraction) >> 32);
        let mantissa = (1 << 32) + ((curve * fraction) >> 32);
        let rank = ((mantissa as u128) << (power >> 32) >> 32) as u64;
        if rank < self.count { rank } else { self.count }
    }
}

/// The golden section of the circle of `count` numbers, about: with a whole number of steps that has no divisor in common with the
/// count, so that the circle is full before a number comes again.
fn stride(count: u64) -> u64 {
    let golden = ((u128::from(count) * u128::from(GOLDEN)) >> 64) as u64;
    let steps = (golden..).find(|steps| is_coprime(*steps, count)).unwrap_or(golden);
    (u128::from(steps) << 64).div_ceil(u128::from(count.max(1))) as u64
}

const fn is_coprime(mut a: u64, mut b: u64) -> bool {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a == 1
}

/// Numbers that look random: xorshift.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The same numbers in every run.
    pub const fn new() -> Self {
        Self(88_172_645_463_325_252)
    }

    /// Other numbers for each seed, the same in every run.
    pub const fn seeded(seed: u64) -> Self {
        // Xorshift knows no way out of 0.
        Self(88_172_645_463_325_252 ^ (seed << 1 | 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// The next number.
    #[inline(always)]
    pub const fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// A number below `bound`.
    #[inline(always)]
    pub const fn below(&mut self, bound: u64) -> u64 {
        ((self.next() as u128 * bound as u128) >> 64) as u64
    }
}

impl Default for Random {
    fn default() -> Self {
        Self::new()
    }
}

impl engine::Entropy for Random {
    fn next_u64(&mut self) -> u64 {
        self.next()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(flows: &mut Flows, draws: u64) -> Vec<u64> {
        let mut counts = vec![0; flows.count() as usize];
        (0..draws).for_each(|_| counts[flows.draw() as usize] += 1);
        counts
    }

    #[test]
    fn an_even_draw_gives_every_connection_its_share() {
        let counts = counts(&mut Flows::new(1000), 1_000_000);
        assert!(counts.iter().all(|count| (800..1200).contains(count)), "{counts:?}");
    }

    #[test]
    fn ranks_follow_zipfs_law() {
        let mut flows = Flows::new(100_000);
        let mut ranks = vec![0_u64; 100_002];
        (0..1_000_000).for_each(|_| ranks[flows.rank() as usize] += 1);
        assert_eq!((ranks[0], ranks[100_001]), (0, 0), "ranks are from 1 to the number of connections");
        // The share of ranks from a to below b is ln(b/a) / ln(count + 1).
        for (from, to) in [(1, 2), (2, 4), (4, 8), (10, 100), (1000, 10_000), (50_000, 100_001)] {
            let found = ranks[from..to].iter().sum::<u64>() as f64 / 1e6;
            let wanted = (to as f64 / from as f64).ln() / 100_001_f64.ln();
            assert!((found / wanted - 1.0).abs() < 0.05, "{from} to {to}: {found}, not {wanted}");
        }
    }

    /// A connection without a rank is not heard of for so long that its next packet is refused.
    #[test]
    fn every_connection_has_a_rank() {
        for count in [1, 2, 3, 1000, 10_000, 65_536, 100_003, 1_000_000] {
            let flows = Flows::new(count);
            let mut has_rank = vec![false; count as usize];
            (1..=count).for_each(|rank| has_rank[flows.strewn(rank) as usize] = true);
            assert!(has_rank.iter().all(|has| *has), "some of {count} have none");
        }
    }

    #[test]
    fn busy_connections_are_strewn_over_all_numbers() {
        let mut flows = Flows::new(10_000);
        flows.set_choice(Choice::Zipf);
        let counts = counts(&mut flows, 100_000);
        for part in counts.chunks(1000) {
            assert!(part.iter().max() > Some(&400), "every tenth of the numbers has busy ones: {part:?}");
        }
    }
}
