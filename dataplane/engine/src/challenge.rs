//! How often the ends of a connection are asked whether they mean a SYN (RFC 5961 §7).
//!
//! Overview: an end is sent a challenge ACK once in [`PAUSE`], however many SYNs come in its name and whoever sends them.
//! What is remembered is found by the hash of the connection, which nobody outside knows, and is nobody else's: how often one
//! end was asked tells nothing of another (CVE-2016-5696). Life cycle: taken at the start. Ownership: the shard.
//! Bounds: [`PLACES`] ends; of two that share a place, each may be asked behind the other, and no destination more often than
//! it is [answered](crate::limiter).

use crate::state::{KeyHash, Side, Sixteenths};

/// How many ends are told apart.
const PLACES: usize = 4096;

/// Between two challenges of an end: hosts wait as long before they ask again.
const PAUSE: u32 = Sixteenths::PER_SECOND / 2;

/// An end that was asked; the zero of a fresh table is that of no connection but by chance.
#[derive(Clone, Copy, Debug, Default)]
struct Asked {
    whom: u64,
    when: Sixteenths,
}

/// Whom a shard has asked, and when.
#[derive(Debug)]
pub(crate) struct Challenges(Box<[Asked]>);

impl Default for Challenges {
    fn default() -> Self {
        Self(vec![Asked::default(); PLACES].into_boxed_slice())
    }
}

impl Challenges {
    /// True if the end of a connection at `side` may be asked now, which it is then.
    pub fn take(&mut self, connection: KeyHash, side: Side, now: Sixteenths) -> bool {
        let whom = connection.0 ^ side as u64;
        let Some(asked) = self.0.get_mut(whom as usize % PLACES) else { return false };
        if asked.whom == whom && now.since(asked.when) < PAUSE {
            return false;
        }
        *asked = Asked { whom, when: now };
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_end_is_asked_once_in_a_while() {
        let mut challenges = Challenges::default();
        let mut take = |hash, side, now| challenges.take(KeyHash(hash), side, Sixteenths(now));
        assert!(take(5, Side::Low, 1000) && take(5, Side::High, 1000), "each by itself");
        assert!((1000..1000 + PAUSE).all(|now| !take(5, Side::Low, now) && !take(5, Side::High, now)));
        assert!(take(6 << 32, Side::Low, 1000), "another connection");
        assert!(take(5, Side::Low, 1000 + PAUSE) && take(5, Side::High, 1000 + PAUSE));
        // A clock that was set back keeps nobody from being asked for longer than it takes to come back.
        assert!(!take(5, Side::Low, 900) && take(5, Side::Low, 1000 + 2 * PAUSE));
    }

    #[test]
    fn two_that_share_a_place_are_asked_both() {
        let mut challenges = Challenges::default();
        let mut take = |hash| challenges.take(KeyHash(hash), Side::Low, Sixteenths(1000));
        assert!(take(8) && take(8 + PLACES as u64));
    }
}
