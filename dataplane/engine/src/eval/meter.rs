//! `max-pkt-rate`: how many packets come in a time, over all workers.
//!
//! Overview: pf's threshold. What has come fades with the seconds that pass, and is gone after the time of the rate. Life
//! cycle: made with a root, kept by the states that its rule made. Ownership: shared by all workers, one atomic number, so
//! that the rate is exact whoever receives the packets; only rules that ask for it, and packets of their states, write it.
//! A packet counts twice where the states of a flow that was placed expire between its hooks: its home asks again then.
//! Bounds: none; what is beyond the number's size counts no more.

use std::sync::atomic::{AtomicU64, Ordering};

use ruleset::PacketRate;

use crate::tick::Tick;

/// What a packet weighs, as in pf: so much of it is left of what fades.
const FINE: u32 = 1000;
/// The greatest rate that can be counted so.
const FINE_MAX: u32 = u32::MAX / FINE - 1;

/// How much may come in which time. What has come is kept apart: the second in which the last packet, or connection, came in
/// the upper half of a number, what has come until then in the lower one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Threshold {
    /// What a packet weighs, and all that may come.
    packet: u32,
    limit: u32,
    seconds: u32,
}

impl Threshold {
    /// That of a rate; `None` if that is unlimited.
    pub fn new(rate: PacketRate) -> Option<Self> {
        let packet = if rate.packets <= FINE_MAX { FINE } else { 1 };
        let limit = rate.packets * packet;
        (limit > 0).then_some(Self { packet, limit, seconds: rate.seconds })
    }

    /// Counts a packet; false if that is one too many.
    pub fn takes(&self, level: &AtomicU64, now: Tick) -> bool {
        let now = now.secs() as u32;
        let mut weight = 0;
        let update = |level: u64| {
            let (latest, left) = left(level, self.seconds, now);
            weight = left.saturating_add(self.packet);
            Some(u64::from(latest) << 32 | u64::from(weight))
        };
        // Nothing else is ordered by it. The update is never refused.
        let _ = level.fetch_update(Ordering::Relaxed, Ordering::Relaxed, update);
        weight <= self.limit
    }

    /// What is left now of what has come in so many seconds, in tenths of a packet.
    pub fn tenths(level: u64, seconds: u32, now: u32) -> u32 {
        left(level, seconds, now).1 / (FINE / 10)
    }
}

/// What is left of what has come, and when that was looked at last.
fn left(level: u64, seconds: u32, now: u32) -> (u32, u32) {
    let (then, before) = ((level >> 32) as u32, level as u32);
    let passed = now.wrapping_sub(then);
    // Another worker's burst may have begun in a later second.
    let (latest, passed) = if passed <= i32::MAX as u32 { (now, passed) } else { (then, 0) };
    let faded = match passed {
        passed if passed >= seconds => before,
        passed => (u64::from(before) * u64::from(passed) / u64::from(seconds)) as u32,
    };
    (latest, before - faded)
}

/// What has come of a rate.
#[derive(Debug)]
pub(crate) struct Meter {
    threshold: Threshold,
    level: AtomicU64,
}

impl Meter {
    /// A meter of a rate; `None` if that is unlimited.
    pub fn new(rate: PacketRate) -> Option<Self> {
        Threshold::new(rate).map(|threshold| Self { threshold, level: AtomicU64::new(0) })
    }

    /// Counts a packet; false if that is one too many.
    pub fn takes(&self, now: Tick) -> bool {
        self.threshold.takes(&self.level, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meter(packets: u32, seconds: u32) -> Meter {
        Meter::new(PacketRate { packets, seconds }).expect("a limit")
    }

    fn takes(meter: &Meter, second: u64, count: usize) -> usize {
        (0..count).filter(|_| meter.takes(Tick::from_secs(second))).count()
    }

    #[test]
    fn as_many_packets_as_the_rate_allows_are_taken_in_each_second() {
        let meter = meter(3, 1);
        assert_eq!([5, 5, 7, 2_000_000_000].map(|second| takes(&meter, second, 5)), [3, 0, 3, 3]);
    }

    #[test]
    fn what_has_come_fades_with_the_seconds() {
        let meter = meter(10, 10);
        assert_eq!(takes(&meter, 100, 10), 10);
        // Three tenths of 10 packets are forgotten, then a half of what there is with the one that was too many.
        assert_eq!(takes(&meter, 103, 4), 3);
        assert_eq!(takes(&meter, 108, 9), 4);
        assert_eq!(takes(&meter, 118, 20), 10);
    }

    #[test]
    fn the_count_ends_before_it_overflows_and_time_before_the_start_is_no_time() {
        for packets in [FINE_MAX, FINE_MAX + 1, u32::MAX - 1] {
            let meter = meter(packets, 100);
            meter.level.store(5 << 32 | (u64::from(u32::MAX) - 1), Ordering::Relaxed);
            assert!(!meter.takes(Tick::from_secs(5)));
            assert!(!meter.takes(Tick::from_secs(4)), "a worker that is late");
            assert_eq!(meter.level.load(Ordering::Relaxed), 5 << 32 | u64::from(u32::MAX));
            assert!(meter.takes(Tick::from_secs(105)));
        }
        assert!(Meter::new(PacketRate { packets: 0, seconds: 1 }).is_none(), "no limit");
    }

    #[test]
    fn workers_never_take_more_than_the_rate_between_them() {
        let meter = meter(1000, 60);
        let taken: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(|| takes(&meter, 1, 1000))).collect();
            threads.into_iter().map(|thread| thread.join().expect("no panic")).sum()
        });
        assert_eq!(taken, 1000);
    }
}
