//! Which port takes the place of another (`pf_get_sport`, RFC 6056 §3.3.1).
//!
//! Overview: the search begins at a random port of the range and goes round it in steps of a random width. A port is refused
//! only where the very tuple that answers would come by is in use, so that each remote end has the whole range. A range
//! that was found full is remembered, so that whoever asks on and on costs no further search.
//! Bounds: each port of the range is asked about once, as long as the caller's [`Budget`] lasts; [`PLACES`] full ranges are
//! remembered.

use wire::Port;

use crate::state::Sixteenths;

/// How many ports may still be asked about in a burst.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Budget(pub u32);

/// The ports of a range, each once, from a random one on in steps of a random width: ports that were taken one after the other
/// are not met one after the other.
pub(crate) fn candidates(first: Port, last: Port, random: u64) -> impl Iterator<Item = Port> {
    let width = u32::from(last.0.max(first.0) - first.0) + 1;
    // The modulus favours low ports by 2⁻¹⁶ at most.
    let (start, wanted) = (random as u32 % width, (random >> 32) as u32 % width);
    // With a step that has no factor in common with the width the way leads through all; the next one is near.
    let step = (wanted.max(1)..).find(|step| gcd(*step, width) == 1).map_or(0, |step| step % width);
    (0..width).scan(start, move |at, _| {
        let port = Port(first.0 + *at as u16);
        *at = (*at + step) % width;
        Some(port)
    })
}

const fn gcd(mut a: u32, mut b: u32) -> u32 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

/// How many full ranges are remembered.
const PLACES: usize = 256;

/// A range that was found full towards a remote end.
#[derive(Clone, Copy, Debug, Default)]
struct Full {
    /// Of the tuple without its source port, and of the range; 0 is none.
    range: u64,
    at: Sixteenths,
    /// How many states had been removed by then.
    removals: u64,
}

/// The ranges that were found full last.
#[derive(Debug)]
pub(crate) struct FullRanges(Box<[Full; PLACES]>);

impl Default for FullRanges {
    fn default() -> Self {
        Self(Box::new([Full::default(); PLACES]))
    }
}

impl FullRanges {
    /// True if the range is full still: no state was removed since, or so little time has passed that it is not searched
    /// again yet.
    pub fn has(&self, range: u64, now: Sixteenths, removals: u64) -> bool {
        let full = &self.0[range as usize % PLACES];
        full.range == range && (full.removals == removals || full.at == now)
    }

    /// Remembers a range in place of another.
    pub const fn add(&mut self, range: u64, now: Sixteenths, removals: u64) {
        self.0[range as usize % PLACES] = Full { range, at: now, removals };
    }
}

impl Budget {
    /// True if no port may be asked about any more.
    pub const fn is_spent(self) -> bool {
        self.0 == 0
    }

    /// The first candidate that is free, as far as the budget goes.
    pub fn first_free(
        &mut self,
        candidates: impl Iterator<Item = Port>,
        mut is_free: impl FnMut(Port) -> bool,
    ) -> Option<Port> {
        for port in candidates {
            self.0 = self.0.checked_sub(1)?;
            if is_free(port) {
                return Some(port);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_port_of_a_range_is_a_candidate_once() {
        for (first, last) in [(50_001, 65_535), (1, 65_535), (7, 7), (65_530, 65_535)] {
            for random in [0, 1, 5, 0x1234_5678_9abc_def0, u64::MAX] {
                let mut all: Vec<u16> =
                    candidates(Port(first), Port(last), random).map(|port| port.0).collect();
                assert_eq!(all.len(), usize::from(last - first) + 1);
                all.sort_unstable();
                assert!(all.iter().copied().eq(first..=last));
            }
        }
    }

    #[test]
    fn the_last_free_port_is_found_and_a_full_range_has_none() {
        let mut budget = Budget(1 << 20);
        let last = |free: u16| move |port: Port| port.0 == free;
        let range = || candidates(Port(1000), Port(1999), 0x5555);
        for free in [1000, 1345, 1999] {
            assert_eq!(budget.first_free(range(), last(free)), Some(Port(free)));
        }
        assert_eq!(budget.first_free(range(), last(2000)), None);
    }

    #[test]
    fn a_full_range_is_searched_again_once_a_state_has_gone_and_a_moment_has_passed() {
        let (mut full, now) = (FullRanges::default(), Sixteenths(7));
        assert!(!full.has(5, now, 1));
        full.add(5, now, 1);
        assert!(full.has(5, Sixteenths(1000), 1) && full.has(5, now, 2));
        assert!(!full.has(5, Sixteenths(8), 2) && !full.has(6, now, 1));
        full.add(5 + PLACES as u64, now, 1);
        assert!(!full.has(5, now, 1), "another has its place");
    }

    #[test]
    fn a_budget_ends_the_search() {
        let mut budget = Budget(10);
        assert_eq!(budget.first_free(candidates(Port(1), Port(100), 0), |port| port == Port(11)), None);
        assert_eq!(budget.0, 0);
        assert_eq!(budget.first_free(candidates(Port(1), Port(100), 0), |_| true), None);
    }
}
