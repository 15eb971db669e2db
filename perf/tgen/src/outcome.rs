//! What a trial came to.

use hdrhistogram::Histogram;

/// Latencies of up to a minute, in nanoseconds, to two digits.
pub type Latency = Histogram<u64>;

const LATENCY_MAX: u64 = 60_000_000_000;

/// An empty histogram.
///
/// # Panics
/// Never: the bounds are right.
pub fn latency() -> Latency {
    Histogram::new_with_bounds(1, LATENCY_MAX, 2).expect("bounds in order")
}

/// What became of connections.
#[derive(Clone, Debug)]
pub struct Opening {
    /// Begun.
    pub opened: u64,
    /// Of those, answered.
    pub established: u64,
    /// Of those, used and closed as planned.
    pub completed: u64,
    /// Refused, given up, or not closed when the trial ended.
    pub failed: u64,
    /// From the SYN to its answer.
    pub setup: Latency,
}

impl Opening {
    /// Nothing counted.
    pub fn new() -> Self {
        Self { opened: 0, established: 0, completed: 0, failed: 0, setup: latency() }
    }
}

impl Default for Opening {
    fn default() -> Self {
        Self::new()
    }
}

/// What one end counted. What it received was sent by the other.
#[derive(Clone, Debug)]
pub struct Tally {
    /// Packets that the device took.
    pub sent: u64,
    /// Packets of this trial that came, each once.
    pub received: u64,
    /// Of those, behind later ones of their flow.
    pub reordered: u64,
    /// Packets that came once more.
    pub duplicates: u64,
    /// Packets with a wrong checksum, or cut.
    pub damaged: u64,
    /// Packets of earlier trials.
    pub late: u64,
    /// Frames that are none of ours.
    pub other: u64,
    /// Packets, or connections, that were due and never made or never taken by the device: the tester was held up.
    pub left_out: u64,
    /// From making a packet to looking at it.
    pub latency: Latency,
    /// Connections, at the end that opens them at a rate.
    pub connections: Option<Opening>,
}

impl Tally {
    /// Nothing counted.
    pub fn new() -> Self {
        Self {
            sent: 0,
            received: 0,
            reordered: 0,
            duplicates: 0,
            damaged: 0,
            late: 0,
            other: 0,
            left_out: 0,
            latency: latency(),
            connections: None,
        }
    }
}

impl Default for Tally {
    fn default() -> Self {
        Self::new()
    }
}

/// A trial.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Seconds of sending.
    pub seconds: f64,
    /// What was asked for, by the profile's unit.
    pub rate: f64,
    /// Clients, and servers.
    pub ends: [Tally; 2],
    /// It was ended before its time.
    pub interrupted: bool,
}

/// One direction of a trial.
#[derive(Clone, Copy, Debug)]
pub struct Direction<'a> {
    /// The end that sent.
    pub from: &'a Tally,
    /// The end that received.
    pub to: &'a Tally,
}

impl Direction<'_> {
    /// Packets that never came.
    pub const fn lost(&self) -> u64 {
        self.from.sent.saturating_sub(self.to.received)
    }
}

impl Outcome {
    /// From clients to servers, and back.
    pub const fn directions(&self) -> [Direction<'_>; 2] {
        let [client, server] = &self.ends;
        [Direction { from: client, to: server }, Direction { from: server, to: client }]
    }

    /// What became of connections, where they are opened at a rate.
    pub const fn connections(&self) -> Option<&Opening> {
        self.ends[0].connections.as_ref()
    }

    /// True if every packet came, and every connection that was opened was completed.
    pub fn is_clean(&self) -> bool {
        self.lost() == 0 && self.connections().is_none_or(|opening| opening.failed == 0)
    }

    /// Packets sent by both.
    pub fn sent(&self) -> u64 {
        self.ends.iter().map(|end| end.sent).sum()
    }

    /// Packets that never came, of both directions.
    pub fn lost(&self) -> u64 {
        self.directions().iter().map(Direction::lost).sum()
    }

    /// Packets or connections that the tester itself left out.
    pub fn left_out(&self) -> u64 {
        self.ends.iter().map(|end| end.left_out).sum()
    }
}
