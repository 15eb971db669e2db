//! Time: the workers' clock, and who minds it.
//!
//! Overview: workers read the time-stamp counter and nothing else. Where it is set back (a virtual machine that moved, an
//! unsteady CPU), a [`Pace`] lets a worker's time go on from where it was: no state lives longer for it, and nothing that
//! is done now and then stops. A [`Watch`] compares the counter with the kernel's clock, off the workers, and reports what
//! an operator has to know: states expire by this time.
//! Ownership: a pace is its worker's, the watch the main thread's. Bounds: a comparison per look.

use std::time::{Duration, Instant};

use dpdk::TscClock;
use engine::Tick;

/// How far the two clocks may come apart between two looks: a thread that loses its CPU between two readings is no jump.
pub const JUMP: Duration = Duration::from_millis(500);
/// How far their rates may differ, in millionths: time synchronisation changes the kernel's by up to 500.
pub const DRIFT_PPM: u64 = 750;
/// Over how much time rates are compared.
pub const DRIFT_OVER: Duration = Duration::from_secs(60);

/// A worker's time, from its readings of the clock: never earlier than before.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pace {
    last: u64,
    /// By how much the clock was set back so far.
    behind: u64,
}

impl Pace {
    /// The time at which the clock read so many nanoseconds.
    #[inline]
    pub const fn time(&mut self, nanos: u64) -> Tick {
        if nanos < self.last {
            self.behind += self.last - nanos;
        }
        self.last = nanos;
        Tick(nanos.saturating_add(self.behind))
    }
}

/// What is wrong with the counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Report {
    /// It is suddenly ahead of the kernel's clock by so many milliseconds more, or fewer.
    Jumped {
        /// Negative if it was set back.
        by_ms: i64,
    },
    /// It runs faster than the kernel's clock by so many millionths.
    Drifts {
        /// Negative if it is slower.
        ppm: i64,
    },
}

/// Both clocks at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Reading {
    /// The counter's, in nanoseconds.
    pub counter: u64,
    /// The kernel's.
    pub kernel: Instant,
}

impl Reading {
    /// Reads both.
    pub fn take(clock: &TscClock) -> Self {
        Self { counter: clock.now_nanos(), kernel: Instant::now() }
    }

    /// By how many nanoseconds the counter came ahead of the kernel's clock from `earlier` on.
    fn ahead_since(&self, earlier: &Self) -> i64 {
        let kernel = self.kernel.saturating_duration_since(earlier.kernel).as_nanos() as i64;
        self.counter as i64 - earlier.counter as i64 - kernel
    }
}

/// What is known of the two clocks.
#[derive(Clone, Copy, Debug)]
pub struct Watch {
    last: Reading,
    /// Where the comparison of rates begins.
    begin: Reading,
    drifts: bool,
}

impl Watch {
    /// Begins to watch.
    pub const fn new(now: Reading) -> Self {
        Self { last: now, begin: now, drifts: false }
    }

    /// Looks at both clocks. A jump is reported when it happens, a wrong rate once until it is right again.
    pub fn look(&mut self, now: Reading) -> Option<Report> {
        let jump = now.ahead_since(&self.last);
        self.last = now;
        if jump.unsigned_abs() > JUMP.as_nanos() as u64 {
            self.begin = now;
            return Some(Report::Jumped { by_ms: jump / 1_000_000 });
        }
        let over = now.kernel.saturating_duration_since(self.begin.kernel);
        if over < DRIFT_OVER {
            return None;
        }
        let ppm = (i128::from(now.ahead_since(&self.begin)) * 1_000_000 / over.as_nanos() as i128) as i64;
        self.begin = now;
        let drifted = std::mem::replace(&mut self.drifts, ppm.unsigned_abs() > DRIFT_PPM);
        (self.drifts && !drifted).then_some(Report::Drifts { ppm })
    }
}
