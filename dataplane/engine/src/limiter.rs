//! How often a station is answered.
//!
//! Overview: each destination of answers draws on a bucket that fills again with time; an IPv6 station has that of its /64.
//! There is no bucket for all, so that nobody learns from the answers that he gets how many others have got (SAD DNS,
//! CVE-2016-5696); who shares one is told by a secret that changes with time, and how much there is in it is never exact.
//! Life cycle: taken at the start, filled when it is looked at. Ownership: the shard.
//! Bounds: [`BUCKETS`] buckets, [`RATE`] answers a second from each, so that whoever makes up senders gets no more than that
//! in all.

use std::hash::Hasher;

use siphasher::sip::SipHasher13;
use wire::Af;

use crate::Address;
use crate::state::Sixteenths;

/// How many destinations are told apart.
const BUCKETS: usize = 4096;

/// Answers to one destination in a second.
const RATE: u32 = 200;

/// The most answers that a bucket holds, before what is [left out](JITTER) of it.
const DEPTH: u32 = 200;

/// Up to so many are left out of a full bucket at random, and up to so many parts of 256 more or less come in.
const JITTER: u32 = 64;

/// One answer, as buckets are filled.
const ONE: u32 = 256;

/// How long the same stations share a bucket.
const SECRET_LASTS: u32 = 60 * Sixteenths::PER_SECOND;

#[derive(Clone, Copy, Debug)]
struct Bucket {
    /// Of [`ONE`].
    left: u32,
    filled: Sixteenths,
}

/// A bucket that was looked at.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Share(usize);

/// The buckets of a shard.
#[derive(Debug)]
pub(crate) struct Limiter {
    buckets: Box<[Bucket; BUCKETS]>,
    /// Since when it is the secret.
    secret: Option<(u64, Sixteenths)>,
}

impl Default for Limiter {
    fn default() -> Self {
        let full = Bucket { left: DEPTH * ONE, filled: Sixteenths(0) };
        Self { buckets: Box::new([full; BUCKETS]), secret: None }
    }
}

impl Limiter {
    /// What a destination is answered from; `None` if it has got enough.
    pub fn look(&mut self, af: Af, to: Address, now: Sixteenths, random: u64) -> Option<Share> {
        let secret = match self.secret {
            Some((secret, since)) if now.since(since) < SECRET_LASTS => secret,
            _ => self.secret.insert((random, now)).0,
        };
        let mut hash = SipHasher13::new_with_keys(secret, 0);
        hash.write_u128(if af == Af::Inet { to.0 } else { to.0 >> 64 });
        hash.write_u8(af as u8);
        let at = hash.finish() as usize % BUCKETS;
        let bucket = &mut self.buckets[at];
        // Longer than it takes to fill it does not matter.
        let passed = now.since(bucket.filled).min(2 * Sixteenths::PER_SECOND);
        let part = ONE - JITTER + random as u32 % (2 * JITTER);
        let most = (DEPTH - (random >> 32) as u32 % JITTER) * ONE;
        let gained = passed * RATE * part / Sixteenths::PER_SECOND;
        *bucket = Bucket { left: (bucket.left + gained).min(most), filled: now };
        (bucket.left >= ONE).then_some(Share(at))
    }

    /// Takes an answer out of a bucket that has one.
    pub fn take(&mut self, Share(at): Share) {
        self.buckets[at].left -= ONE;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers out of so many questions of a station, in each sixteenth of a second.
    fn answered(limiter: &mut Limiter, station: u128, sixteenths: std::ops::Range<u32>, each: u32) -> u32 {
        let mut count = 0;
        for (now, question) in sixteenths.flat_map(|now| (0..each).map(move |question| (now, question))) {
            let random = u64::from(now * each + question).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let random = random ^ random >> 29;
            if let Some(share) = limiter.look(Af::Inet, Address(station), Sixteenths(now), random) {
                limiter.take(share);
                count += 1;
            }
        }
        count
    }

    #[test]
    fn a_flood_is_answered_at_the_rate_and_the_others_as_ever() {
        let mut limiter = Limiter::default();
        let first = answered(&mut limiter, 1, 1000..1001, 1000);
        assert!((DEPTH - JITTER..=DEPTH).contains(&first), "{first} at once");
        let flood = answered(&mut limiter, 1, 1001..1161, 1000);
        assert!((RATE * 7..=RATE * 13).contains(&flood), "{flood} in ten seconds");
        for station in 2..50 {
            let others = answered(&mut limiter, station, 1161..1162, 100);
            assert_eq!(others, 100, "station {station}");
        }
        assert_eq!(answered(&mut limiter, 1, 1200..1210, 5), 50, "it has calmed down");
    }

    #[test]
    fn how_much_there_is_cannot_be_counted() {
        let mut counts: Vec<u32> = (0..20)
            .map(|second| {
                let begin = 16 * (1000 + 10 * second);
                answered(&mut Limiter::default(), 7, begin..begin + 1, 1000)
            })
            .collect();
        counts.sort_unstable();
        counts.dedup();
        assert!(counts.len() > 3, "{counts:?}");
    }

    #[test]
    fn stations_that_share_a_bucket_are_others_a_minute_later() {
        let mut limiter = Limiter::default();
        let mut place = |station: u128, now: u32, random: u64| {
            limiter.look(Af::Inet, Address(station), Sixteenths(now), random).map(|Share(at)| at)
        };
        let first = place(1, 1000, 5);
        assert_eq!(place(1, 1900, 6), first);
        assert_ne!(place(1, 2000, 7), first);
    }

    #[test]
    fn an_ipv6_station_cannot_be_many() {
        let mut limiter = Limiter::default();
        let net = 0x2001_0db8_u128 << 96;
        let answers = (0..1000_u128).filter(|host| {
            let share = limiter.look(Af::Inet6, Address(net + host), Sixteenths(1000), 0);
            share.map(|share| limiter.take(share)).is_some()
        });
        assert_eq!(answers.count(), DEPTH as usize);
    }
}
