//! Notices a worker that does not come back.

use std::time::{Duration, Instant};

/// A worker that does not finish a poll for so long is reported; it copies its counters every millisecond or so.
pub const STALL: Duration = Duration::from_millis(200);

/// What there is to report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Report {
    /// It has not come back for [`STALL`].
    Stalled,
    /// It has come back, after so long.
    Recovered(Duration),
}

/// What is known of a worker's progress.
#[derive(Clone, Copy, Debug)]
pub struct Watch {
    polls: u64,
    since: Instant,
    reported: bool,
}

impl Watch {
    /// Begins to watch.
    pub const fn new(now: Instant) -> Self {
        Self { polls: 0, since: now, reported: false }
    }

    /// Whether it is known not to come back.
    pub const fn is_stalled(&self) -> bool {
        self.reported
    }

    /// Looks at how many polls the worker has finished. Each stall and each recovery is reported once.
    pub fn look(&mut self, polls: u64, now: Instant) -> Option<Report> {
        let still = now - self.since;
        if polls != self.polls {
            let recovered = self.reported.then_some(Report::Recovered(still));
            *self = Self { polls, since: now, reported: false };
            return recovered;
        }
        if still < STALL || self.reported {
            return None;
        }
        self.reported = true;
        Some(Report::Stalled)
    }
}
