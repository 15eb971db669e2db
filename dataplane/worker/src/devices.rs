//! What only the devices know: frames that never reached a worker, and their links.
//!
//! Overview: [`Devices::look`] asks every port and copies the answers, and how often workers stalled, to where others read
//! them. Ownership: one thread, the one that owns the ports: drivers' statistics are for one reader only. Bounds: a look
//! every [`LOOK_EVERY`] at most.

use std::time::{Duration, Instant};

use dpdk::port::{Link, PortStats};

use crate::stall::Report;
use crate::telemetry::{DeviceCounts, Minutes, ProgressCounts, Writer};

/// How often devices are asked: some answer by messages to their firmware.
pub const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What one device says.
#[derive(Clone, Copy, Debug)]
pub struct Reading {
    /// Its link; `None` if it did not say.
    pub link: Option<Link>,
    /// Its counters; `None` if it did not say.
    pub stats: Option<PortStats>,
}

/// A counter that never goes back, made of one that begins anew whenever the driver likes: with a start of the port, or
/// another device in its place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lasting {
    seen: u64,
    total: u64,
}

impl Lasting {
    /// Takes over what the device's counter says now, and returns the sum of all that it ever counted.
    pub const fn advance(&mut self, now: u64) -> u64 {
        self.total += if now >= self.seen { now - self.seen } else { now };
        self.seen = now;
        self.total
    }
}

/// The counters of one device that last.
#[derive(Clone, Copy, Debug, Default)]
struct Ledger {
    missed: Lasting,
    errors: Lasting,
    no_buffer: Lasting,
    tx_errors: Lasting,
}

/// The devices of all ports.
#[derive(Debug)]
pub struct Devices {
    writer: Writer,
    minutes: Minutes,
    ledgers: Vec<Ledger>,
    next: Instant,
}

impl Devices {
    /// Devices that nobody has looked at yet.
    pub fn new(writer: Writer, interfaces: usize, workers: usize, now: Instant) -> Self {
        let ledgers = vec![Ledger::default(); interfaces];
        Self { writer, minutes: Minutes::new(interfaces, workers), ledgers, next: now }
    }

    /// True if it is time for another look.
    pub fn is_due(&self, now: Instant) -> bool {
        now >= self.next
    }

    /// Takes over what each device said, in the order of the interfaces.
    pub fn look(&mut self, readings: impl IntoIterator<Item = Reading>, now: Instant) {
        self.next = now + LOOK_EVERY;
        let known = self.minutes.devices.iter_mut().zip(&mut self.ledgers);
        for ((counts, ledger), reading) in known.zip(readings) {
            if let Some(link) = reading.link {
                (counts.link_up, counts.link_mbps) = link_counts(link);
            }
            if let Some(stats) = reading.stats {
                ledger.enter(&stats, counts);
            }
        }
        self.writer.copy(&self.minutes);
    }

    /// Notes that a worker did not come back in time, or has come back.
    pub fn note(&mut self, worker: usize, report: Report) {
        let Some(progress) = self.minutes.workers.get_mut(worker) else { return };
        match report {
            Report::Stalled => *progress = ProgressCounts { stalls: progress.stalls + 1, stalled: 1 },
            Report::Recovered(_) => progress.stalled = 0,
        }
        self.writer.copy(&self.minutes);
    }
}

impl Ledger {
    fn enter(&mut self, stats: &PortStats, counts: &mut DeviceCounts) {
        counts.rx_missed = self.missed.advance(stats.rx_missed);
        counts.rx_errors = self.errors.advance(stats.rx_errors);
        counts.rx_no_buffer = self.no_buffer.advance(stats.rx_no_mbuf);
        counts.tx_errors = self.tx_errors.advance(stats.tx_errors);
    }
}

fn link_counts(link: Link) -> (u64, u64) {
    match link {
        Link::Down => (0, 0),
        Link::Up { speed_mbps, .. } => (1, speed_mbps.unwrap_or(0).into()),
    }
}
