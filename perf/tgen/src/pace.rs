//! When the next packet is due: a rate becomes a number of packets at each moment.

/// Nanoseconds in a second.
pub const SECOND: u64 = 1_000_000_000;

/// A steady rate from the start on. What could not be sent in time is made up for, up to [`CATCH_UP`]; more is left out
/// and told.
#[derive(Clone, Copy, Debug)]
pub struct Pacer {
    /// Per second.
    rate: f64,
    taken: u64,
    left_out: u64,
}

/// For how long a sender that was held up may be behind, in nanoseconds: no burst makes up for more.
pub const CATCH_UP: u64 = SECOND / 100;

impl Pacer {
    /// So many a second.
    pub const fn new(rate: f64) -> Self {
        Self { rate, taken: 0, left_out: 0 }
    }

    /// How many are due when so many nanoseconds have passed since the start.
    #[inline]
    pub fn due(&mut self, elapsed: u64) -> u64 {
        // Counted from the start, so that no error adds up. A double is exact up to 2^53.
        let planned = (elapsed as f64 * self.rate / SECOND as f64) as u64;
        let due = planned.saturating_sub(self.taken + self.left_out);
        let most = 1 + (CATCH_UP as f64 * self.rate / SECOND as f64) as u64;
        self.left_out += due.saturating_sub(most);
        due.min(most)
    }

    /// Notes that so many were sent.
    #[inline]
    pub const fn take(&mut self, count: u64) {
        self.taken += count;
    }

    /// Those that were never sent because the sender was held up for too long.
    pub const fn left_out(&self) -> u64 {
        self.left_out
    }
}

#[cfg(test)]
mod tests {
    use super::{Pacer, SECOND};

    #[test]
    fn a_steady_rate_adds_up_exactly() {
        for rate in [1.0, 3.0, 999.5, 14_880_952.0] {
            let mut pacer = Pacer::new(rate);
            let mut sent = 0;
            for elapsed in (0..SECOND).step_by(1_003).chain([SECOND]) {
                let due = pacer.due(elapsed);
                pacer.take(due);
                sent += due;
            }
            assert_eq!(sent, rate as u64);
            assert_eq!(pacer.left_out(), 0);
        }
    }

    #[test]
    fn a_sender_that_was_held_up_catches_up_a_little_and_tells_the_rest() {
        let mut pacer = Pacer::new(1_000_000.0);
        assert_eq!(pacer.due(SECOND / 1_000), 1_000, "a millisecond is made up for");
        pacer.take(1_000);
        assert_eq!(pacer.due(SECOND), 10_001, "of a second a hundredth");
        pacer.take(10_001);
        assert_eq!((pacer.due(SECOND), pacer.left_out()), (0, 1_000_000 - 1_000 - 10_001));
    }
}
