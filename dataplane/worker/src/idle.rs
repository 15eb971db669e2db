//! What a worker does when there is nothing to do.

use std::time::Duration;

use crate::config::Idle;

/// Polls in vain before the first sleep: traffic that pauses for microseconds costs no latency.
const SPINS: u32 = 256;
/// The first sleep.
const SLEEP_MIN: Duration = Duration::from_micros(20);
/// The longest; also how late a packet may be seen after a pause.
const SLEEP_MAX: Duration = Duration::from_micros(500);

/// Whether a poll found something to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// Packets moved.
    Done,
    /// None did.
    None,
}

/// Decides after each poll whether to sleep, and how long.
#[derive(Clone, Copy, Debug)]
pub struct Idler {
    policy: Idle,
    vain: u32,
    sleep: Duration,
}

impl Idler {
    /// One that has just seen work.
    pub const fn new(policy: Idle) -> Self {
        Self { policy, vain: 0, sleep: SLEEP_MIN }
    }

    /// How long to sleep after a poll, if at all.
    #[inline]
    pub fn after(&mut self, work: Work) -> Option<Duration> {
        match (self.policy, work) {
            (Idle::Poll, _) => None,
            (Idle::Adaptive, Work::Done) => {
                *self = Self::new(self.policy);
                None
            }
            (Idle::Adaptive, Work::None) if self.vain < SPINS => {
                self.vain += 1;
                None
            }
            (Idle::Adaptive, Work::None) => {
                let sleep = self.sleep;
                self.sleep = (sleep * 2).min(SLEEP_MAX);
                Some(sleep)
            }
        }
    }
}
