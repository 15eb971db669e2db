//! What a worker does when there is nothing to do.

use std::time::Duration;

use crate::config::Idle;

/// Polls in vain before the first rest: traffic that pauses for microseconds costs no latency.
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

/// What to do until the next poll.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rest {
    /// Nothing: it follows at once.
    Skip,
    /// Sleep.
    Sleep(Duration),
    /// Have the next packet signalled, and poll once more, in case that one came before.
    Arm,
    /// Wait for the signal.
    Wait,
    /// Nothing, and no signal is needed any more: a packet was there.
    Disarm,
}

/// Decides after each poll whether to rest, and how.
#[derive(Clone, Copy, Debug)]
pub struct Idler {
    policy: Idle,
    vain: u32,
    sleep: Duration,
    armed: bool,
}

impl Idler {
    /// One that has just seen work.
    pub const fn new(policy: Idle) -> Self {
        Self { policy, vain: 0, sleep: SLEEP_MIN, armed: false }
    }

    /// What to do after a poll.
    #[inline]
    pub fn after(&mut self, work: Work) -> Rest {
        match (self.policy, work) {
            (Idle::Poll, _) => Rest::Skip,
            (_, Work::Done) => {
                let armed = self.armed;
                *self = Self::new(self.policy);
                if armed { Rest::Disarm } else { Rest::Skip }
            }
            (_, Work::None) if self.vain < SPINS => {
                self.vain += 1;
                Rest::Skip
            }
            (Idle::Adaptive, Work::None) => {
                let sleep = self.sleep;
                self.sleep = (sleep * 2).min(SLEEP_MAX);
                Rest::Sleep(sleep)
            }
            // What ended a wait may have been its limit: then the next wait follows after one look.
            (Idle::Interrupt, Work::None) => {
                self.armed = !self.armed;
                if self.armed { Rest::Arm } else { Rest::Wait }
            }
        }
    }
}
