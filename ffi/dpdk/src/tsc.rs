//! The time-stamp counter: the only clock a poll reads.

use std::sync::OnceLock;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::eal::Eal;

/// A reading of the counter, in cycles of a constant frequency. Wraps after centuries, or whenever firmware or a hypervisor
/// began it close to its end: it has no order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tsc(u64);

impl Tsc {
    /// Reads the counter: about 20 cycles, no system call.
    #[inline]
    pub fn now() -> Tsc {
        // SAFETY: reads a register.
        Tsc(unsafe { dpdk_sys::rte_get_tsc_cycles() })
    }

    /// Cycles from `earlier` to `self`; 0 if `earlier` is later, as CPUs may differ by a few cycles.
    #[inline]
    pub fn cycles_since(self, earlier: Tsc) -> u64 {
        let cycles = self.0.wrapping_sub(earlier.0);
        if cycles > i64::MAX as u64 { 0 } else { cycles }
    }
}

/// Nanoseconds since the clock was made, from the counter. Copy it to each worker: their readings then compare.
#[derive(Debug, Clone, Copy)]
pub struct TscClock {
    start: Tsc,
    hz: u64,
    /// Nanoseconds per cycle, times 2^32: a multiplication instead of a division per reading.
    nanos_per_cycle_q32: u64,
}

impl TscClock {
    /// A clock that starts now. The first one takes 50 ms to measure the frequency.
    pub fn new(_eal: &Eal) -> TscClock {
        static HZ: OnceLock<u64> = OnceLock::new();
        let hz = *HZ.get_or_init(|| {
            // SAFETY: reads what EAL measured.
            measure(unsafe { dpdk_sys::rte_get_tsc_hz() })
        });
        let ratio = (1_000_000_000_u128 << 32) / u128::from(hz.max(1));
        let nanos_per_cycle_q32 = u64::try_from(ratio).unwrap_or(u64::MAX);
        TscClock { start: Tsc::now(), hz, nanos_per_cycle_q32 }
    }

    /// Cycles per second.
    pub fn hz(&self) -> u64 {
        self.hz
    }

    /// Nanoseconds since the clock was made.
    #[inline]
    pub fn now_nanos(&self) -> u64 {
        self.nanos(Tsc::now().cycles_since(self.start))
    }

    /// `cycles` in nanoseconds, rounded down.
    #[inline]
    pub fn nanos(&self, cycles: u64) -> u64 {
        // The product of two u64 shifted by 32 exceeds u64 only after centuries.
        ((u128::from(cycles) * u128::from(self.nanos_per_cycle_q32)) >> 32) as u64
    }
}

/// How long the frequency is measured: exact to some millionths.
const MEASURE_OVER: Duration = Duration::from_millis(50);

/// The frequency by the kernel's clock, if it is within 1 % of what EAL found: that rounds to 10 MHz where the CPU does not
/// tell, which may be wrong by some thousandths.
fn measure(eal_hz: u64) -> u64 {
    let (begin, before) = moment();
    sleep(MEASURE_OVER);
    let (end, after) = moment();
    let nanos = (after - before).as_nanos().max(1);
    let hz = (u128::from(end.cycles_since(begin)) * 1_000_000_000 / nanos) as u64;
    if hz.abs_diff(eal_hz) <= eal_hz / 100 { hz } else { eal_hz }
}

/// Both clocks at one moment: the best of some attempts, as the thread may lose its CPU between two readings.
#[allow(clippy::disallowed_methods, reason = "this is where the clock of the others comes from")]
fn moment() -> (Tsc, Instant) {
    let attempts = (0..16).map(|_| {
        let (begin, kernel) = (Tsc::now(), Instant::now());
        (Tsc::now().cycles_since(begin), begin, kernel)
    });
    let (_, counter, kernel) = attempts.min_by_key(|attempt| attempt.0).expect("there were some");
    (counter, kernel)
}

#[cfg(test)]
mod tests {
    use super::{Tsc, TscClock};

    #[test]
    fn f10_a_counter_that_wraps_counts_on() {
        const HZ: u64 = 3_000_000_000;
        let minutes = |count: u64| count * 60 * HZ;
        let start = Tsc(u64::MAX - minutes(5));
        let clock = TscClock { start, hz: HZ, nanos_per_cycle_q32: (1_000_000_000 << 32) / HZ };
        let mut last = 0;
        for minute in 1..=10 {
            let now = Tsc(start.0.wrapping_add(minutes(minute)));
            let nanos = clock.nanos(now.cycles_since(start));
            assert!(
                nanos > last && nanos.abs_diff(minute * 60_000_000_000) < 1000,
                "minute {minute}: {nanos}"
            );
            last = nanos;
        }
        assert_eq!(Tsc(5).cycles_since(Tsc(9)), 0, "CPUs may differ by a few cycles");
        assert_eq!(Tsc(u64::MAX - 2).cycles_since(Tsc(1)), 0, "also about the wrap");
    }
}
