//! The way of logged packets, of examples of dropped ones, and of events of states out of a worker.
//!
//! Overview: the shard records them, the worker moves a few at each poll into rings, and another thread fetches them.
//! Ownership: one end each. Bounds: [`RING`] records of 200-odd bytes, [`PER_POLL_MAX`] of them moved in a poll, [`DROPS`]
//! examples, of which the shard makes few, [`TRACES`] traces, and [`EVENTS`] events of 300-odd bytes. Neither end waits or wakes
//! the other: a system call would cost more than a packet. What finds the ring full stays with the shard, whose own room is bounded and which counts what
//! it loses.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam::queue::ArrayQueue;
use engine::events::StateEvent;
use engine::trace::Traced;
use engine::{DropRecord, LogRecord, Shard, Shortage};

/// Records on their way: at 20 ms between two looks, 200,000 logged packets a second lose none.
pub const RING: usize = 4096;

/// Records that a worker moves in one poll: as many as a burst from each side of a port can make.
pub const PER_POLL_MAX: usize = 64;

/// Examples of drops on their way: more than all reasons have between two looks.
pub const DROPS: usize = 256;

/// Traces on their way.
pub const TRACES: usize = 64;

/// Events of states on their way.
pub const EVENTS: usize = 8192;

/// Shortages on their way: more than a worker tells of in a second.
pub const SHORTAGES: usize = 256;

/// Events that a worker moves in one poll: as many as a poll of the sweep leaves.
pub const EVENTS_PER_POLL_MAX: usize = 1024;

/// What both ends have.
#[derive(Clone, Debug)]
struct Rings {
    logs: Arc<ArrayQueue<LogRecord>>,
    drops: Arc<ArrayQueue<DropRecord>>,
    traces: Arc<ArrayQueue<Traced>>,
    events: Arc<ArrayQueue<StateEvent>>,
    shortages: Arc<ArrayQueue<Shortage>>,
    /// Events that the shard has lost.
    events_lost: Arc<AtomicU64>,
}

/// Both ends.
pub fn ring() -> (Carrier, Collector) {
    let rings = Rings {
        logs: Arc::new(ArrayQueue::new(RING)),
        drops: Arc::new(ArrayQueue::new(DROPS)),
        traces: Arc::new(ArrayQueue::new(TRACES)),
        events: Arc::new(ArrayQueue::new(EVENTS)),
        shortages: Arc::new(ArrayQueue::new(SHORTAGES)),
        events_lost: Arc::default(),
    };
    (Carrier { rings: rings.clone(), lost: 0 }, Collector { rings, lost: 0 })
}

/// The worker's end.
#[derive(Debug)]
pub struct Carrier {
    rings: Rings,
    /// Lost events that are told of.
    lost: u64,
}

impl Carrier {
    /// Moves what the shard recorded, as far as there is room.
    #[inline]
    pub fn carry(&mut self, shard: &mut Shard) {
        let Rings { drops, traces, .. } = &self.rings;
        while let Some(record) = shard.take_drop() {
            // An example that finds no room is none.
            let _ = drops.push(record);
        }
        while !traces.is_full()
            && let Some(traced) = shard.take_trace()
        {
            // There is room, and this is the only one who fills it.
            let _ = traces.push(traced);
        }
        if shard.has_events() {
            self.carry_events(shard);
        }
        let logs = &self.rings.logs;
        for _ in 0..PER_POLL_MAX {
            if logs.is_full() {
                return;
            }
            let Some(record) = shard.take_log() else { return };
            // There is room, and this is the only one who fills it.
            let _ = logs.push(record);
        }
    }

    #[cold]
    fn carry_events(&mut self, shard: &mut Shard) {
        let room = EVENTS - self.rings.events.len();
        for event in (0..room.min(EVENTS_PER_POLL_MAX)).map_while(|_| shard.take_event()) {
            // There is room, and this is the only one who fills it.
            let _ = self.rings.events.push(event);
        }
        while !self.rings.shortages.is_full()
            && let Some(shortage) = shard.take_shortage()
        {
            // Likewise.
            let _ = self.rings.shortages.push(shortage);
        }
        let lost = shard.events_lost();
        if lost != self.lost {
            self.lost = lost;
            self.rings.events_lost.store(lost, Ordering::Relaxed);
        }
    }
}

/// The end of whoever passes them on.
#[derive(Debug)]
pub struct Collector {
    rings: Rings,
    /// Lost events that were asked for.
    lost: u64,
}

impl Collector {
    /// The next example of a drop.
    pub fn next_drop(&self) -> Option<DropRecord> {
        self.rings.drops.pop()
    }

    /// The next packet that was traced.
    pub fn next_trace(&self) -> Option<Traced> {
        self.rings.traces.pop()
    }

    /// The next event of a state.
    pub fn next_event(&self) -> Option<StateEvent> {
        self.rings.events.pop()
    }

    /// The next shortage.
    pub fn next_shortage(&self) -> Option<Shortage> {
        self.rings.shortages.pop()
    }

    /// How many events were lost since this was asked last.
    pub fn lost_events(&mut self) -> u64 {
        let lost = self.rings.events_lost.load(Ordering::Relaxed);
        lost - std::mem::replace(&mut self.lost, lost)
    }

    /// The next record.
    pub fn next(&self) -> Option<LogRecord> {
        self.rings.logs.pop()
    }
}
