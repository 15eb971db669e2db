//! Lists of states, made by the worker that owns them, a bounded slice per poll.
//!
//! Overview: whoever wants the list sends the worker an empty slice with a place to begin, and gets it back filled, with
//! the place to go on. Ownership: the slice travels; nothing is shared. Bounds: one slice is under way, of [`SLICE`]
//! records.

use std::time::Duration;

use crossbeam::channel::{Receiver, Sender, bounded};
use engine::{Shard, View};
use ruleset::StateView;

/// Records that a worker looks at in one poll.
const SLICE: usize = 256;

/// States of up to [`SLICE`] records.
#[derive(Debug)]
struct Slice {
    /// Where it begins.
    begin: u32,
    /// Where to go on; `u32::MAX` at the end.
    end: u32,
    states: Vec<StateView>,
}

/// Both ends.
pub fn channel() -> (Lister, Scribe) {
    let (order, orders) = bounded(1);
    let (deliver, deliveries) = bounded(1);
    (Lister { order, deliveries }, Scribe { orders, deliver })
}

/// The worker did not fill a slice in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stalled;

/// The end of whoever wants to know.
#[derive(Debug)]
pub struct Lister {
    order: Sender<Slice>,
    deliveries: Receiver<Slice>,
}

impl Lister {
    /// The states of a few records from `cursor` on, and where to go on; `u32::MAX` is the end.
    ///
    /// # Errors
    /// [`Stalled`] if the worker does not answer within `patience`.
    pub fn slice(&mut self, cursor: u32, patience: Duration) -> Result<(Vec<StateView>, u32), Stalled> {
        // A record has two states at most.
        let slice = Slice { begin: cursor, end: cursor, states: Vec::with_capacity(2 * SLICE) };
        self.order.try_send(slice).map_err(|_| Stalled)?;
        loop {
            let slice = self.deliveries.recv_timeout(patience).map_err(|_| Stalled)?;
            // Else it is an answer that came too late for the one who asked.
            if slice.begin == cursor {
                return Ok((slice.states, slice.end));
            }
        }
    }
}

/// The worker's end.
#[derive(Debug)]
pub struct Scribe {
    orders: Receiver<Slice>,
    deliver: Sender<Slice>,
}

impl Scribe {
    /// Fills a slice if one is wanted.
    #[inline]
    pub fn write(&self, shard: &Shard, view: &View<'_>) {
        if let Ok(slice) = self.orders.try_recv() {
            self.fill(slice, shard, view);
        }
    }

    /// Names are copied here, for the few states of one slice; nobody waits for it but who asked.
    #[cold]
    fn fill(&self, mut slice: Slice, shard: &Shard, view: &View<'_>) {
        shard.dump(view, &mut slice.end, SLICE, &mut |state| slice.states.push(state));
        // If an old answer still lies there, whoever asked for it is gone: this one is lost too, and times out.
        let _ = self.deliver.try_send(slice);
    }
}
