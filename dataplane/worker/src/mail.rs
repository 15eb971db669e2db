//! The queues between the workers and the other threads, all bounded, none of which a worker waits for.

use std::sync::Arc;

use crossbeam::channel::{Receiver, Sender, bounded};
use engine::{Fib, Root};

use crate::ahead::Edge;
use crate::dump::{self, Lister, Scribe};
use crate::log::{self, Carrier, Collector};
use crate::netlink::service::{ASKS_MAX, Ask};
use crate::ports::{Order, orders_max};
use crate::snapshot::{Publisher, Reader, snapshots};

/// A worker's ends.
pub struct Mail {
    /// The live ruleset.
    pub roots: Reader<Option<Arc<Root>>>,
    /// The forwarding base.
    pub fibs: Reader<Arc<Fib>>,
    /// Where it asks for neighbours.
    pub asks: Sender<Ask>,
    /// Where lists are wanted of it.
    pub scribe: Scribe,
    /// Where logged packets go.
    pub log: Carrier,
    /// What it is to do about queues.
    pub orders: Receiver<Order>,
    /// Where it tells what memory it needs next.
    pub edge: Arc<Edge>,
}

/// The other threads' ends.
pub struct Office {
    /// Where rulesets are published.
    pub roots: Publisher<Option<Arc<Root>>>,
    /// Where forwarding bases are published.
    pub fibs: Publisher<Arc<Fib>>,
    /// What neighbours are asked for.
    pub asks: Receiver<Ask>,
    /// Who orders lists.
    pub lister: Lister,
    /// Where logged packets arrive, by worker.
    pub logs: Vec<Collector>,
    /// Where workers are told about queues, by worker.
    pub orders: Vec<Sender<Order>>,
    /// Where workers tell what memory they need next, by worker.
    pub edges: Vec<Arc<Edge>>,
}

/// Both ends, for so many workers with `records` records each. The workers begin without rules and with `fib`.
pub fn mail(fib: Arc<Fib>, workers: usize, records: u32) -> (Vec<Mail>, Office) {
    let most = orders_max(fib.interfaces().len());
    let (orders, ordered): (Vec<_>, Vec<_>) = (0..workers).map(|_| bounded(most)).unzip();
    let (roots, root_readers) = snapshots(None, workers);
    let (fibs, fib_readers) = snapshots(fib, workers);
    let (ask, asks) = bounded(ASKS_MAX);
    let (lister, scribes) = dump::channels(workers, records);
    let (carriers, logs): (Vec<Carrier>, _) = (0..workers).map(|_| log::ring()).unzip();
    let edges: Vec<Arc<Edge>> = (0..workers).map(|_| Arc::default()).collect();
    let readers = root_readers.into_iter().zip(fib_readers);
    let ends = readers.zip(scribes.into_iter().zip(carriers)).zip(ordered.into_iter().zip(edges.clone()));
    let mails = ends.map(|(((roots, fibs), (scribe, log)), (orders, edge))| Mail {
        roots,
        fibs,
        asks: ask.clone(),
        scribe,
        log,
        orders,
        edge,
    });
    (mails.collect(), Office { roots, fibs, asks, lister, logs, orders, edges })
}
