//! What only a worker can do for others: list its states, remove some of them, tell what its rules have done and what its
//! connections are translated to; a bounded slice per poll.
//!
//! Overview: whoever wants to know sends an order and gets it back filled. Ownership: the order travels; nothing is
//! shared. Bounds: one order is under way at each worker; a poll looks at [`SLICE`] records or rules for it, which takes
//! some ten microseconds.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use crossbeam::channel::{Receiver, Sender, bounded};
use engine::trace::TraceFilter;
use engine::{Flushes, Mapping, Root, RuleUsage, Selection, Shard, UsageCursor, View};
use ruleset::StateView;

/// Records, or rules and pairs of faces, that a worker looks at in one poll.
pub const SLICE: usize = 256;

/// Nodes of the states of a slice: each of two has four at most.
const FOUND: usize = 8 * SLICE;

/// What is wanted, and later what was found.
#[derive(Debug)]
enum Order {
    /// States of up to [`SLICE`] records.
    States {
        /// Where they begin.
        begin: u32,
        /// Where to go on; `u32::MAX` at the end.
        end: u32,
        states: Vec<StateView>,
    },
    /// States of up to [`SLICE`] records that are to be removed.
    Kill {
        /// Where they begin.
        begin: u32,
        /// Where to go on; `u32::MAX` at the end.
        end: u32,
        selection: Arc<Selection>,
        /// How many states went.
        killed: u64,
    },
    /// States of up to [`SLICE`] records that are to be removed because their sources have exceeded limits.
    Flush {
        /// Where they begin.
        begin: u32,
        /// Where to go on; `u32::MAX` at the end.
        end: u32,
        flushes: Arc<Flushes>,
        /// How many states went.
        removed: u64,
    },
    /// What states of up to [`SLICE`] records add up to for their source nodes: place, packets, bytes.
    Sources {
        /// Where they begin.
        begin: u32,
        /// Where to go on; `u32::MAX` at the end.
        end: u32,
        found: Traffic,
    },
    /// Which packets are traced from now on, and how many.
    Trace { filter: TraceFilter, count: u32 },
    /// Whether events of states are told from now on.
    Listen { on: bool },
    /// What the rules of a ruleset have done; `rules` has a place for each. An order that nobody waits for any more keeps
    /// no ruleset alive.
    Usage { root: Weak<Root>, cursor: UsageCursor, rules: Vec<RuleUsage> },
    /// How many connections have each mapping.
    Mappings { cursor: u32, found: Mappings },
}

/// What is known of each mapping.
pub type Mappings = BTreeMap<Mapping, Mapped>;

/// What is known of a mapping.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mapped {
    /// How many connections have it.
    pub connections: u64,
    /// Packets that found no port left of it.
    pub refused: u64,
}

/// Both ends, for so many workers with `records` records each.
pub fn channels(workers: usize, records: u32) -> (Lister, Vec<Scribe>) {
    let ends = |_| {
        let (order, orders) = bounded(1);
        let (deliver, deliveries) = bounded(1);
        (Desk { order, deliveries }, Scribe { orders, deliver, begun: None })
    };
    let (desks, scribes) = (0..workers).map(ends).unzip();
    (Lister { desks, records: records.max(1), told: None }, scribes)
}

/// The worker did not answer in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stalled;

/// For states and source nodes that they count for: the node's place, packets, bytes.
pub type Traffic = Vec<(u32, u64, u64)>;

/// The end of whoever wants to know.
#[derive(Debug)]
pub struct Lister {
    desks: Vec<Desk>,
    /// Of each worker.
    records: u32,
    /// What was told last of the rules, and of which ruleset.
    told: Option<(u32, Vec<RuleUsage>)>,
}

impl Lister {
    /// The states of a few records from `cursor` on, and where to go on; `u32::MAX` is the end. Cursors count the records
    /// of all workers, one worker's behind another's.
    ///
    /// # Errors
    /// [`Stalled`] if the worker does not answer within `patience`.
    pub fn states(&mut self, cursor: u32, patience: Duration) -> Result<(Vec<StateView>, u32), Stalled> {
        self.slice(cursor, |desk, at| desk.states(at, patience))
    }

    /// Removes the selected states of a few records from `cursor` on: how many there were, and where to go on, as for
    /// [`states`](Self::states).
    ///
    /// # Errors
    /// As [`states`](Self::states).
    pub fn kill(
        &mut self,
        cursor: u32,
        selection: &Arc<Selection>,
        patience: Duration,
    ) -> Result<(u64, u32), Stalled> {
        self.slice(cursor, |desk, at| desk.kill(at, selection, patience))
    }

    /// Removes states of a few records from `cursor` on whose sources have exceeded limits, as [`kill`](Self::kill) does.
    ///
    /// # Errors
    /// As [`states`](Self::states).
    pub fn flush(
        &mut self,
        cursor: u32,
        flushes: &Arc<Flushes>,
        patience: Duration,
    ) -> Result<(u64, u32), Stalled> {
        self.slice(cursor, |desk, at| desk.flush(at, flushes, patience))
    }

    /// What states of a few records from `cursor` on add up to for their source nodes, as [`states`](Self::states) does.
    ///
    /// # Errors
    /// As [`states`](Self::states).
    pub fn traffic_of_sources(&mut self, cursor: u32, patience: Duration) -> Result<(Traffic, u32), Stalled> {
        self.slice(cursor, |desk, at| desk.traffic_of_sources(at, patience))
    }

    /// Has the worker that a cursor points into work on some of its records.
    fn slice<T: Default>(
        &mut self,
        cursor: u32,
        work: impl FnOnce(&mut Desk, u32) -> Result<(T, u32), Stalled>,
    ) -> Result<(T, u32), Stalled> {
        let worker = cursor / self.records;
        let Some(desk) = self.desks.get_mut(worker as usize).filter(|_| cursor != u32::MAX) else {
            return Ok((T::default(), u32::MAX));
        };
        let (found, end) = work(desk, cursor % self.records)?;
        let end = match (end, worker as usize + 1 == self.desks.len()) {
            (u32::MAX, true) => u32::MAX,
            (u32::MAX, false) => (worker + 1) * self.records,
            (end, _) => worker * self.records + end,
        };
        Ok((found, end))
    }

    /// Has every worker trace packets that fit, as many; none ends it.
    ///
    /// # Errors
    /// As [`states`](Self::states): some may trace.
    pub fn trace(&mut self, filter: &TraceFilter, count: u32, patience: Duration) -> Result<(), Stalled> {
        self.desks.iter_mut().try_for_each(|desk| {
            let order = Order::Trace { filter: filter.clone(), count };
            desk.ask(order, patience, |answer| matches!(answer, Order::Trace { .. }).then_some(()))
        })
    }

    /// How many connections have each mapping.
    ///
    /// # Errors
    /// As [`states`](Self::states).
    pub fn mappings(&mut self, patience: Duration) -> Result<Mappings, Stalled> {
        let mut sum = Mappings::new();
        for desk in &mut self.desks {
            let order = Order::Mappings { cursor: 0, found: Mappings::new() };
            let found = desk.ask(order, patience, |answer| match answer {
                Order::Mappings { found, .. } => Some(found),
                _ => None,
            })?;
            for (mapping, Mapped { connections, refused }) in found {
                let mapped = sum.entry(mapping).or_default();
                (mapped.connections, mapped.refused) =
                    (mapped.connections + connections, mapped.refused + refused);
            }
        }
        Ok(sum)
    }

    /// Has every worker tell events of its states, or no more.
    ///
    /// # Errors
    /// As [`states`](Self::states): some may.
    pub fn listen(&mut self, on: bool, patience: Duration) -> Result<(), Stalled> {
        self.desks.iter_mut().try_for_each(|desk| {
            desk.ask(Order::Listen { on }, patience, |answer| {
                matches!(answer, Order::Listen { on: done } if done == on).then_some(())
            })
        })
    }

    /// What the rules of `root` have done. Counters never go back: what states counted that end while the workers are asked
    /// is in the next answer.
    ///
    /// # Errors
    /// As [`states`](Self::states).
    pub fn usage(&mut self, root: &Arc<Root>, patience: Duration) -> Result<Vec<RuleUsage>, Stalled> {
        let mut sum = vec![RuleUsage::default(); root.ruleset().rules.len()];
        // First, so that no state is counted twice that ends meanwhile.
        root.add_retired(&mut sum);
        for desk in &mut self.desks {
            for (sum, own) in sum.iter_mut().zip(desk.usage(root, patience)?) {
                *sum += own;
            }
        }
        if let Some((_, told)) = self.told.take_if(|(epoch, _)| *epoch == root.epoch()) {
            sum.iter_mut().zip(told).for_each(|(sum, told)| keep_up(sum, &told));
        }
        self.told = Some((root.epoch(), sum.clone()));
        Ok(sum)
    }
}

/// Keeps the counters of a rule from going back behind what was told of them.
fn keep_up(now: &mut RuleUsage, told: &RuleUsage) {
    now.evaluations = now.evaluations.max(told.evaluations);
    now.made = now.made.max(told.made);
    for (now, told) in now.counted.iter_mut().zip(told.counted) {
        now.packets = now.packets.max(told.packets);
        now.bytes = now.bytes.max(told.bytes);
    }
}

/// The way to one worker.
#[derive(Debug)]
struct Desk {
    order: Sender<Order>,
    deliveries: Receiver<Order>,
}

impl Desk {
    fn states(&mut self, cursor: u32, patience: Duration) -> Result<(Vec<StateView>, u32), Stalled> {
        // A record has two states at most.
        let states = Vec::with_capacity(2 * SLICE);
        self.ask(Order::States { begin: cursor, end: cursor, states }, patience, |answer| match answer {
            Order::States { begin, end, states } if begin == cursor => Some((states, end)),
            _ => None,
        })
    }

    fn kill(
        &mut self,
        cursor: u32,
        selection: &Arc<Selection>,
        patience: Duration,
    ) -> Result<(u64, u32), Stalled> {
        let order = Order::Kill { begin: cursor, end: cursor, selection: selection.clone(), killed: 0 };
        self.ask(order, patience, |answer| match answer {
            Order::Kill { begin, end, selection: answered, killed }
                if begin == cursor && Arc::ptr_eq(&answered, selection) =>
            {
                Some((killed, end))
            }
            _ => None,
        })
    }

    fn flush(
        &mut self,
        cursor: u32,
        flushes: &Arc<Flushes>,
        patience: Duration,
    ) -> Result<(u64, u32), Stalled> {
        let order = Order::Flush { begin: cursor, end: cursor, flushes: flushes.clone(), removed: 0 };
        self.ask(order, patience, |answer| match answer {
            Order::Flush { begin, end, flushes: answered, removed }
                if begin == cursor && Arc::ptr_eq(&answered, flushes) =>
            {
                Some((removed, end))
            }
            _ => None,
        })
    }

    fn traffic_of_sources(&mut self, cursor: u32, patience: Duration) -> Result<(Traffic, u32), Stalled> {
        let order = Order::Sources { begin: cursor, end: cursor, found: Vec::with_capacity(FOUND) };
        self.ask(order, patience, |answer| match answer {
            Order::Sources { begin, end, found } if begin == cursor => Some((found, end)),
            _ => None,
        })
    }

    fn usage(&mut self, root: &Arc<Root>, patience: Duration) -> Result<Vec<RuleUsage>, Stalled> {
        let rules = vec![RuleUsage::default(); root.ruleset().rules.len()];
        let order = Order::Usage { root: Arc::downgrade(root), cursor: UsageCursor::default(), rules };
        self.ask(order, patience, |answer| match answer {
            Order::Usage { root: answered, rules, .. } if answered.as_ptr() == Arc::as_ptr(root) => {
                Some(rules)
            }
            _ => None,
        })
    }

    /// Sends an order and waits for its answer; others came too late for the one who asked.
    fn ask<T>(
        &mut self,
        order: Order,
        patience: Duration,
        mut mine: impl FnMut(Order) -> Option<T>,
    ) -> Result<T, Stalled> {
        let deadline = Instant::now() + patience;
        self.order.send_deadline(order, deadline).map_err(|_| Stalled)?;
        loop {
            let answer = self.deliveries.recv_deadline(deadline).map_err(|_| Stalled)?;
            if let Some(found) = mine(answer) {
                return Ok(found);
            }
        }
    }
}

/// The worker's end.
#[derive(Debug)]
pub struct Scribe {
    orders: Receiver<Order>,
    deliver: Sender<Order>,
    /// An order that takes more polls.
    begun: Option<Order>,
}

impl Scribe {
    /// Gives an order a slice of time, if there is one and the answer before was fetched. True if it is to be continued.
    #[inline]
    pub fn write(&mut self, shard: &mut Shard, view: &View<'_>) -> bool {
        if self.begun.is_none() && !self.deliver.is_full() {
            self.begun = self.orders.try_recv().ok();
        }
        match self.begun.take() {
            None => false,
            Some(order) => self.fill(order, shard, view),
        }
    }

    /// Names are copied here, for the few states of one slice; nobody waits for it but who asked.
    #[cold]
    fn fill(&mut self, mut order: Order, shard: &mut Shard, view: &View<'_>) -> bool {
        let done = match &mut order {
            Order::States { end, states, .. } => {
                shard.dump(view, end, SLICE, &mut |state| states.push(state));
                true
            }
            Order::Kill { end, selection, killed, .. } => {
                *killed = shard.kill(end, SLICE, selection);
                true
            }
            Order::Flush { end, flushes, removed, .. } => {
                *removed = shard.flush(end, SLICE, flushes);
                true
            }
            Order::Sources { end, found, .. } => {
                shard.traffic_of_sources(end, SLICE, &mut |place, packets, bytes| {
                    found.push((place, packets, bytes));
                });
                true
            }
            Order::Trace { filter, count } => {
                shard.trace(std::mem::take(filter), *count);
                true
            }
            Order::Listen { on } => {
                shard.listen(*on);
                true
            }
            Order::Usage { root, cursor, rules } => {
                // Who asked holds it while it waits.
                let Some(root) = root.upgrade() else { return false };
                shard.add_usage(&root, cursor, SLICE, rules)
            }
            Order::Mappings { cursor, found } => {
                let count = |mapping| found.entry(mapping).or_default().connections += 1;
                let done = shard.mappings(view.root, cursor, SLICE, count);
                if done {
                    for (mapping, packets) in shard.shortages() {
                        found.entry(mapping).or_default().refused += packets;
                    }
                }
                done
            }
        };
        if done {
            // There is room, and this is the only sender.
            let _ = self.deliver.try_send(order);
        } else {
            self.begun = Some(order);
        }
        !done
    }
}
