//! `max-pkt-rate`, `max-src-conn-rate` (pf.md 2.11, "Threshold"): a weight that fades in whole seconds.

use ruleset::PacketRate;

use super::state::SECOND;

/// What one rule's rate has seen.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Threshold {
    count: u64,
    last: u64,
}

impl Threshold {
    /// Adds a packet at `now` nanoseconds; true if the count is over the limit then.
    pub fn add(&mut self, rate: PacketRate, now: u64) -> bool {
        let now = now / SECOND;
        let (elapsed, seconds) = (now - self.last, u64::from(rate.seconds));
        self.count = match elapsed {
            elapsed if elapsed >= seconds => 0,
            elapsed => self.count - self.count * elapsed / seconds,
        };
        self.count += 1000;
        self.last = now;
        self.count > u64::from(rate.packets) * 1000
    }
}
