//! Lists that only a worker can make: its states, a bounded slice per poll, and what its rules have done.
//!
//! Overview: whoever wants to know sends an order and gets it back filled. Ownership: the order travels; nothing is
//! shared. Bounds: one order is under way at each worker; a slice is of 256 records.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use crossbeam::channel::{Receiver, Sender, bounded};
use engine::{Root, RuleUsage, Shard, View};
use ruleset::StateView;

/// Records that a worker looks at in one poll.
const SLICE: usize = 256;

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
    /// What the rules of a ruleset have done. An order that nobody waits for any more keeps no ruleset alive.
    Usage { root: Weak<Root>, rules: Vec<RuleUsage> },
}

/// Both ends, for so many workers with `records` records each.
pub fn channels(workers: usize, records: u32) -> (Lister, Vec<Scribe>) {
    let ends = |worker| {
        let (order, orders) = bounded(1);
        let (deliver, deliveries) = bounded(1);
        let role = if worker == 0 { Role::Speaker } else { Role::Helper };
        (Desk { order, deliveries }, Scribe { orders, deliver, role })
    };
    let (desks, scribes) = (0..workers).map(ends).unzip();
    (Lister { desks, records: records.max(1) }, scribes)
}

/// What a worker's answers include.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    /// What is kept for all workers together, besides its own. The first worker is the only one.
    Speaker,
    /// Its own.
    Helper,
}

/// The worker did not answer in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stalled;

/// The end of whoever wants to know.
#[derive(Debug)]
pub struct Lister {
    desks: Vec<Desk>,
    /// Of each worker.
    records: u32,
}

impl Lister {
    /// The states of a few records from `cursor` on, and where to go on; `u32::MAX` is the end. Cursors count the records
    /// of all workers, one worker's behind another's.
    ///
    /// # Errors
    /// [`Stalled`] if the worker does not answer within `patience`.
    pub fn states(&mut self, cursor: u32, patience: Duration) -> Result<(Vec<StateView>, u32), Stalled> {
        let worker = cursor / self.records;
        let Some(desk) = self.desks.get_mut(worker as usize).filter(|_| cursor != u32::MAX) else {
            return Ok((Vec::new(), u32::MAX));
        };
        let (states, end) = desk.states(cursor % self.records, patience)?;
        let end = match (end, worker as usize + 1 == self.desks.len()) {
            (u32::MAX, true) => u32::MAX,
            (u32::MAX, false) => (worker + 1) * self.records,
            (end, _) => worker * self.records + end,
        };
        Ok((states, end))
    }

    /// What the rules of `root` have done.
    ///
    /// # Errors
    /// As [`states`](Self::states).
    pub fn usage(&mut self, root: &Arc<Root>, patience: Duration) -> Result<Vec<RuleUsage>, Stalled> {
        let mut sum = vec![RuleUsage::default(); root.ruleset().rules.len()];
        for desk in &mut self.desks {
            for (sum, own) in sum.iter_mut().zip(desk.usage(root, patience)?) {
                sum.evaluations += own.evaluations;
                sum.packets += own.packets;
                sum.bytes += own.bytes;
                sum.states += own.states;
            }
        }
        Ok(sum)
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

    fn usage(&mut self, root: &Arc<Root>, patience: Duration) -> Result<Vec<RuleUsage>, Stalled> {
        let order = Order::Usage { root: Arc::downgrade(root), rules: Vec::new() };
        self.ask(order, patience, |answer| match answer {
            Order::Usage { root: answered, rules } if answered.as_ptr() == Arc::as_ptr(root) => Some(rules),
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
    role: Role,
}

impl Scribe {
    /// Fills an order if there is one and the answer before was fetched.
    #[inline]
    pub fn write(&self, shard: &Shard, view: &View<'_>) {
        if !self.deliver.is_full()
            && let Ok(order) = self.orders.try_recv()
        {
            self.fill(order, shard, view);
        }
    }

    /// Names are copied here, for the few states of one slice; nobody waits for it but who asked.
    #[cold]
    fn fill(&self, mut order: Order, shard: &Shard, view: &View<'_>) {
        match &mut order {
            Order::States { end, states, .. } => {
                shard.dump(view, end, SLICE, &mut |state| states.push(state))
            }
            Order::Usage { root, rules } => {
                // Who asked holds it while it waits.
                let Some(root) = root.upgrade() else { return };
                *rules = match self.role {
                    Role::Speaker => shard.rule_usage(&root),
                    Role::Helper => shard.live_usage(&root),
                }
            }
        }
        // There is room, and this is the only sender.
        let _ = self.deliver.try_send(order);
    }
}
