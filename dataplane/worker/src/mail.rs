//! The queues between a worker and the other threads, all bounded, none of which the worker waits for.

use std::sync::Arc;

use crossbeam::channel::{Receiver, Sender, bounded};
use engine::{Fib, Root};

use crate::dump::{self, Lister, Scribe};
use crate::log::{self, Carrier, Collector};
use crate::netlink::service::{ASKS_MAX, Ask};
use crate::snapshot::{Publisher, Reader, snapshot};

/// The worker's ends.
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
    /// Where logged packets arrive.
    pub log: Collector,
}

/// Both ends. The worker begins without rules and with `fib`.
pub fn mail(fib: Arc<Fib>) -> (Mail, Office) {
    let (roots, roots_reader) = snapshot(None);
    let (fibs, fibs_reader) = snapshot(fib);
    let (ask, asks) = bounded(ASKS_MAX);
    let (lister, scribe) = dump::channel();
    let (carrier, collector) = log::ring();
    let worker = Mail { roots: roots_reader, fibs: fibs_reader, asks: ask, scribe, log: carrier };
    (worker, Office { roots, fibs, asks, lister, log: collector })
}
