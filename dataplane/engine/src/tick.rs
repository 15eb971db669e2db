//! Time, as a value.

use core::ops::{Add, Sub};

/// Nanoseconds since the dataplane started. The only clock that the engine knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tick(pub u64);

impl Tick {
    /// A tick a whole number of seconds after the start.
    pub const fn from_secs(seconds: u64) -> Self {
        Self(seconds * 1_000_000_000)
    }

    /// A tick a whole number of milliseconds after the start.
    pub const fn from_millis(milliseconds: u64) -> Self {
        Self(milliseconds * 1_000_000)
    }

    /// Whole seconds since the start.
    pub const fn secs(self) -> u64 {
        self.0 / 1_000_000_000
    }
}

impl Add for Tick {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl Sub for Tick {
    type Output = Self;

    /// The time between; zero if `other` is later.
    fn sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}
