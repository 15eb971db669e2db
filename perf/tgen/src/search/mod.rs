//! Searches for how much a device under test takes. Pure: trials are somebody else's.
//!
//! Overview: [`throughput`] is RFC 2544's, [`mlr`] finds several loss ratios at once, with short trials first. Both ask a
//! [`Trials`] for one trial after the other. Bounds: [`TRIALS_MAX`] trials, then a search ends with what it has.

pub mod mlr;
pub mod throughput;

use anyhow::Result;
use serde::Serialize;

/// The most trials of a search.
pub const TRIALS_MAX: usize = 500;

/// What a trial came to.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Measured {
    /// What was asked for, a second.
    pub load: f64,
    /// For how long.
    pub seconds: f64,
    /// Lost of what was asked for, 0 to 1.
    pub loss_ratio: f64,
    /// The tester itself left out more than it may: the device under test may be better than this.
    pub tester_limited: bool,
}

/// Who makes trials.
pub trait Trials {
    /// Makes a trial; none if there are to be no more.
    ///
    /// # Errors
    /// It cannot be made.
    fn measure(&mut self, load: f64, seconds: f64) -> Result<Option<Measured>>;
}

/// Loads that are looked at, a second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Range {
    /// The least.
    pub min: f64,
    /// The most: line rate.
    pub max: f64,
}

/// Devices that exist as formulas, for tests.
#[cfg(test)]
pub mod simulated {
    use anyhow::Result;

    use super::{Measured, Trials};

    /// A device that loses whatever is above its capacity, and now and then a little without any reason.
    #[derive(Debug)]
    pub struct Device {
        /// What it takes, a second.
        pub capacity: f64,
        /// How many of 1000 trials lose a packet in ten thousand for no reason.
        pub moody: u64,
        /// Trials that were made, and seconds that they took.
        pub made: (usize, f64),
        /// After so many trials there are no more.
        pub most: usize,
        random: u64,
    }

    impl Device {
        /// A device with moods that follow from `seed`.
        pub fn new(capacity: f64, moody: u64, seed: u64) -> Self {
            Self { capacity, moody, made: (0, 0.0), most: usize::MAX, random: seed | 1 }
        }

        fn is_moody(&mut self) -> bool {
            self.random ^= self.random << 13;
            self.random ^= self.random >> 7;
            self.random ^= self.random << 17;
            self.random % 1_000 < self.moody
        }
    }

    impl Trials for Device {
        fn measure(&mut self, load: f64, seconds: f64) -> Result<Option<Measured>> {
            if self.made.0 == self.most {
                return Ok(None);
            }
            self.made = (self.made.0 + 1, self.made.1 + seconds);
            let mood = if self.is_moody() { 1e-4 } else { 0.0 };
            let loss_ratio = (1.0 - self.capacity / load).max(mood);
            Ok(Some(Measured { load, seconds, loss_ratio, tester_limited: false }))
        }
    }
}
