//! A cable with faults.

use engine::Tick;

use crate::rng::Rng;

/// Where corruption may strike.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Corruption {
    /// Behind the headers, where the ends' checksums find it: an octet that is not 0 becomes so.
    #[default]
    Payload,
    /// Anywhere behind the Ethernet header.
    Anywhere,
}

/// What a link does to frames. Chances are in ten thousand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// How long a frame takes, in nanoseconds.
    pub delay: u64,
    /// Up to so much longer, at random, in nanoseconds: more than the gap between frames reorders them.
    pub jitter: u64,
    /// The chance that a frame is lost.
    pub loss: u64,
    /// The chance that a frame arrives twice.
    pub duplication: u64,
    /// The chance that an octet is changed.
    pub corruption: u64,
    /// Where.
    pub corrupts: Corruption,
}

/// Octets of Ethernet, IP and TCP headers at their longest.
const HEADERS: usize = 14 + 60 + 60;

const ETHERNET: usize = 14;

/// One link, both directions alike.
#[derive(Clone, Debug)]
pub struct Link {
    faults: Faults,
    rng: Rng,
}

impl Link {
    /// A link that draws its faults from `rng`.
    pub const fn new(faults: Faults, rng: Rng) -> Self {
        Self { faults, rng }
    }

    /// Changes what the link does from now on.
    pub const fn set_faults(&mut self, faults: Faults) {
        self.faults = faults;
    }

    /// When a frame that is sent now arrives, and as what: not at all, once or twice.
    pub fn carry(&mut self, now: Tick, frame: Vec<u8>) -> impl Iterator<Item = (Tick, Vec<u8>)> {
        let lost = self.happens(self.faults.loss);
        let again = self.happens(self.faults.duplication).then(|| frame.clone());
        let arrivals = (!lost).then_some(frame).into_iter().chain(again.filter(|_| !lost));
        arrivals.map(move |mut frame| {
            if self.happens(self.faults.corruption) {
                self.corrupt(&mut frame);
            }
            let delay = self.faults.delay + self.rng.below(self.faults.jitter + 1);
            (now + Tick(delay), frame)
        })
    }

    const fn happens(&mut self, chance: u64) -> bool {
        self.rng.chance(chance, 10_000)
    }

    fn corrupt(&mut self, frame: &mut [u8]) {
        let first = match self.faults.corrupts {
            Corruption::Payload => HEADERS,
            Corruption::Anywhere => ETHERNET,
        };
        if frame.len() > first {
            let at = self.rng.between(first as u64, frame.len() as u64 - 1) as usize;
            match self.faults.corrupts {
                // What two links do to a frame must not cancel out where its checksum looks.
                Corruption::Payload => frame[at] = 0,
                Corruption::Anywhere => frame[at] ^= self.rng.between(1, 255) as u8,
            }
        }
    }
}
