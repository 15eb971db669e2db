//! Tells systemd how the dataplane does, if it started it: ready, alive, ending; see sd_notify(3).

use std::time::{Duration, Instant};

use sd_notify::NotifyState;

/// Tells what has come about.
pub fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "cannot notify systemd");
    }
}

/// The signs of life that systemd's watchdog waits for: one is due while all workers advance, and none while one does
/// not, so that a worker that never comes back ends in a new start.
#[derive(Clone, Copy, Debug)]
pub struct Watchdog {
    /// How often; `None` if nobody waits for them.
    every: Option<Duration>,
    next: Instant,
}

impl Watchdog {
    /// As systemd asks for.
    pub fn asked(now: Instant) -> Self {
        Self::new(sd_notify::watchdog_enabled(), now)
    }

    /// For one that acts after `within` without a sign.
    pub fn new(within: Option<Duration>, now: Instant) -> Self {
        Self { every: within.map(|within| within / 3), next: now }
    }

    /// Whether a sign is due, if so many workers do not come back.
    pub fn is_due(&mut self, stalled: usize, now: Instant) -> bool {
        let Some(every) = self.every.filter(|_| stalled == 0 && now >= self.next) else { return false };
        self.next = now + every;
        true
    }
}
