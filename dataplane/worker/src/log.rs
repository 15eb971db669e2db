//! The way of logged packets, and of examples of dropped ones, out of a worker.
//!
//! Overview: the shard records them, the worker moves a few at each poll into rings, and another thread fetches them.
//! Ownership: one end each. Bounds: [`RING`] records of 200-odd bytes, [`PER_POLL_MAX`] of them moved in a poll, [`DROPS`]
//! examples, of which the shard makes few, and [`TRACES`] traces. Neither end waits or wakes the other: a system call would
//! cost more than a packet. What finds the ring full stays with the shard, whose own room is bounded and which counts what
//! it loses.

use std::sync::Arc;

use crossbeam::queue::ArrayQueue;
use engine::trace::Traced;
use engine::{DropRecord, LogRecord, Shard};

/// Records on their way: at 20 ms between two looks, 200,000 logged packets a second lose none.
pub const RING: usize = 4096;

/// Records that a worker moves in one poll: as many as a burst from each side of a port can make.
pub const PER_POLL_MAX: usize = 64;

/// Examples of drops on their way: more than all reasons have between two looks.
pub const DROPS: usize = 256;

/// Traces on their way.
pub const TRACES: usize = 64;

/// Both ends.
pub fn ring() -> (Carrier, Collector) {
    let (ring, drops) = (Arc::new(ArrayQueue::new(RING)), Arc::new(ArrayQueue::new(DROPS)));
    let traces = Arc::new(ArrayQueue::new(TRACES));
    let carrier = Carrier { ring: ring.clone(), drops: drops.clone(), traces: traces.clone() };
    (carrier, Collector { ring, drops, traces })
}

/// The worker's end.
#[derive(Debug)]
pub struct Carrier {
    ring: Arc<ArrayQueue<LogRecord>>,
    drops: Arc<ArrayQueue<DropRecord>>,
    traces: Arc<ArrayQueue<Traced>>,
}

impl Carrier {
    /// Moves what the shard recorded, as far as there is room.
    #[inline]
    pub fn carry(&self, shard: &mut Shard) {
        while let Some(record) = shard.take_drop() {
            // An example that finds no room is none.
            let _ = self.drops.push(record);
        }
        while !self.traces.is_full()
            && let Some(traced) = shard.take_trace()
        {
            // There is room, and this is the only one who fills it.
            let _ = self.traces.push(traced);
        }
        for _ in 0..PER_POLL_MAX {
            if self.ring.is_full() {
                return;
            }
            let Some(record) = shard.take_log() else { return };
            // There is room, and this is the only one who fills it.
            let _ = self.ring.push(record);
        }
    }
}

/// The end of whoever passes them on.
#[derive(Debug)]
pub struct Collector {
    ring: Arc<ArrayQueue<LogRecord>>,
    drops: Arc<ArrayQueue<DropRecord>>,
    traces: Arc<ArrayQueue<Traced>>,
}

impl Collector {
    /// The next example of a drop.
    pub fn next_drop(&self) -> Option<DropRecord> {
        self.drops.pop()
    }

    /// The next packet that was traced.
    pub fn next_trace(&self) -> Option<Traced> {
        self.traces.pop()
    }

    /// The next record.
    pub fn next(&self) -> Option<LogRecord> {
        self.ring.pop()
    }
}
