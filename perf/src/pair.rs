//! Two workers on two CPUs: what the second adds, and what it costs to hand a packet from one to the other.
//!
//! Overview: one worker stays with the calling thread, the other goes to EAL's second lcore, where it does what it is told
//! and sleeps between. Scaling: each worker forwards its own connections, alone and while the other does. Hand-off: every
//! packet arrives at the first worker and is of a connection of the second; the two take turns, packet bursts and what is
//! written of them moving from cache to cache as in life, so that the cycles of each are its own.
//! Ownership: a lane belongs to the thread that it is on. Bounds: a burst of 64 on its way.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard};

use anyhow::{Context, bail};
use dpdk::{Lcore, LcoreTask};

use crate::appliance::{Appliance, Lane};
use crate::bed::{BURST, Bed};
use crate::flows::Flows;
use crate::measure::{BURSTS_PER_SLICE, Effort, Sample, Slice, slices};
use crate::traffic::{Sender, Source, Traffic};

/// Packets of some of a source's connections.
pub struct Packets {
    source: Source,
    flows: Flows,
    numbers: Vec<u32>,
    sender: Sender,
}

impl Packets {
    /// Of the connections of these numbers.
    pub fn new(traffic: Traffic, numbers: Vec<u32>) -> Self {
        let count = numbers.len() as u64;
        let (source, flows) = (Source::new(traffic, count), Flows::new(count));
        Self { source, flows, numbers, sender: Sender::Client }
    }

    /// Feeds a worker with a burst.
    #[inline(always)]
    pub fn feed(&mut self, lane: &mut Lane) {
        let sender = self.sender;
        self.sender = sender.other();
        lane.feed(BURST, sender, |mbuf| {
            let number = self.numbers[self.flows.draw() as usize];
            self.source.write_data(mbuf, number.into(), sender);
        });
    }
}

/// A worker, and packets of the connections that it owns. Whoever sends them holds the lock meanwhile.
struct Half {
    lane: Lane,
    packets: Arc<Mutex<Packets>>,
}

fn lock(packets: &Mutex<Packets>) -> MutexGuard<'_, Packets> {
    packets.lock().expect("no holder of this lock panics")
}

impl Half {
    /// Forwards its own connections in so many slices.
    fn forward(&mut self, count: usize) -> Vec<Slice> {
        let mut packets = lock(&self.packets);
        slices(count, || {
            let bursts = (0..BURSTS_PER_SLICE).map(|_| {
                packets.feed(&mut self.lane);
                let cycles = self.lane.poll();
                self.lane.take(|_| ());
                cycles
            });
            bursts.sum()
        })
    }
}

/// What the second worker is told.
enum Order {
    /// Forward its own connections in so many slices.
    Forward(usize),
    /// The same until it is told to stop.
    ForwardUntilStopped,
    /// Take over what the first hands to it, in so many slices, beginning with this turn.
    TakeOver(usize, u64),
}

/// What both threads see.
#[derive(Default)]
struct Signals {
    running: AtomicBool,
    stop: AtomicBool,
    /// Even: it is the first worker's turn.
    turn: AtomicU64,
}

impl Signals {
    /// Waits without giving up the CPU: it is a matter of microseconds.
    fn wait_for_turn(&self, turn: u64) {
        while self.turn.load(Ordering::Acquire) != turn {
            std::hint::spin_loop();
        }
    }

    fn end_turn(&self, turn: u64) {
        self.turn.store(turn + 1, Ordering::Release);
    }
}

/// The life of the second worker.
fn obey(
    mut own: Half,
    signals: &Signals,
    orders: &Receiver<Order>,
    results: &SyncSender<Vec<Slice>>,
) -> Half {
    while let Ok(order) = orders.recv() {
        let found = match order {
            Order::Forward(count) => own.forward(count),
            Order::ForwardUntilStopped => {
                let mut found = Vec::new();
                signals.running.store(true, Ordering::Release);
                while !signals.stop.load(Ordering::Acquire) {
                    found.extend(own.forward(BURSTS_PER_SLICE));
                }
                found
            }
            Order::TakeOver(count, mut turn) => slices(count, || {
                let bursts = (0..BURSTS_PER_SLICE).map(|_| {
                    signals.wait_for_turn(turn);
                    let cycles = own.lane.poll();
                    own.lane.take(|_| ());
                    signals.end_turn(turn);
                    turn += 2;
                    cycles
                });
                bursts.sum()
            }),
        };
        if results.send(found).is_err() {
            break;
        }
    }
    own
}

/// Two workers.
pub struct Pair {
    // In the order in which they may go: the second worker ends when there are no orders any more.
    orders: SyncSender<Order>,
    second: LcoreTask<Half>,
    first: Half,
    signals: Arc<Signals>,
    results: Receiver<Vec<Slice>>,
    /// Of the second worker.
    packets: Arc<Mutex<Packets>>,
    turn: u64,
    _appliance: Appliance,
}

/// One round of scaling, by worker.
#[derive(Clone, Copy, Debug)]
pub struct Scaling {
    /// While the other sleeps.
    pub alone: [Sample; 2],
    /// While the other forwards as well.
    pub together: [Sample; 2],
}

/// One round of hand-off: cycles per packet.
#[derive(Clone, Copy, Debug)]
pub struct Handover {
    /// Of a packet that arrives at its owner.
    pub direct: Sample,
    /// Of the worker that hands it over, beyond those of a poll that finds nothing.
    pub giving: Sample,
    /// Of the one that takes it over.
    pub taking: Sample,
}

impl Handover {
    /// Cycles that a packet costs both workers beyond one that arrives at its owner.
    pub fn beyond(&self) -> f64 {
        self.giving.cycles + self.taking.cycles - self.direct.cycles
    }
}

impl Pair {
    /// Two workers, one of them on `lcore`, with every connection of a source established.
    ///
    /// # Errors
    /// If a connection is refused, or DPDK's.
    pub fn new(bed: &Bed, lcore: Lcore, traffic: Traffic, connections: u64) -> anyhow::Result<Self> {
        let states = u32::try_from(2 * connections).context("too many connections")?;
        let mut appliance = Appliance::new(bed, 2, "block\npass\n", states)?;
        appliance.establish(&Source::new(traffic, connections))?;
        let lanes = std::mem::take(&mut appliance.lanes).into_iter();
        let homes = std::mem::take(&mut appliance.homes).into_iter();
        let mut halves = lanes
            .zip(homes)
            .map(|(lane, own)| Half { lane, packets: Arc::new(Mutex::new(Packets::new(traffic, own))) });
        let (Some(first), Some(second)) = (halves.next(), halves.next()) else {
            bail!("there are two workers")
        };
        let (signals, packets) = (Arc::new(Signals::default()), second.packets.clone());
        let (orders, ordered) = sync_channel(1);
        let (deliver, results) = sync_channel(1);
        let own = signals.clone();
        let second = lcore.launch(move || obey(second, &own, &ordered, &deliver))?;
        Ok(Self { orders, second, first, signals, results, packets, turn: 0, _appliance: appliance })
    }

    fn order(&self, order: Order) -> anyhow::Result<()> {
        self.orders.send(order).context("the second worker has ended")
    }

    fn result(&self, warm_up: usize) -> anyhow::Result<Sample> {
        let slices = self.results.recv().context("the second worker has ended")?;
        Ok(Sample::of(slices.get(warm_up..).unwrap_or_default()))
    }

    /// Measures each worker alone, and both together.
    ///
    /// # Errors
    /// If the second worker has ended.
    pub fn scale(&mut self, effort: Effort) -> anyhow::Result<Scaling> {
        let count = effort.warm_up + effort.slices;
        let first = Sample::of(&self.first.forward(count)[effort.warm_up..]);
        self.order(Order::Forward(count))?;
        let alone = [first, self.result(effort.warm_up)?];
        self.signals.running.store(false, Ordering::Relaxed);
        self.signals.stop.store(false, Ordering::Relaxed);
        self.order(Order::ForwardUntilStopped)?;
        while !self.signals.running.load(Ordering::Acquire) {
            std::hint::spin_loop();
        }
        let first = Sample::of(&self.first.forward(count)[effort.warm_up..]);
        self.signals.stop.store(true, Ordering::Release);
        Ok(Scaling { alone, together: [first, self.result(effort.warm_up)?] })
    }

    /// Measures packets of the second worker's connections that arrive at it, and those that arrive at the first.
    ///
    /// # Errors
    /// If the second worker has ended.
    pub fn hand_over(&mut self, effort: Effort) -> anyhow::Result<Handover> {
        let count = effort.warm_up + effort.slices;
        self.order(Order::Forward(count))?;
        let direct = self.result(effort.warm_up)?;
        let lane = &mut self.first.lane;
        let idle = Sample::of(&slices(effort.slices, || (0..BURSTS_PER_SLICE).map(|_| lane.poll()).sum()));
        self.order(Order::TakeOver(count, self.turn + 1))?;
        let (mut packets, signals, mut turn) = (lock(&self.packets), &self.signals, self.turn);
        let lane = &mut self.first.lane;
        let given = slices(count, || {
            let bursts = (0..BURSTS_PER_SLICE).map(|_| {
                signals.wait_for_turn(turn);
                packets.feed(lane);
                let cycles = lane.poll();
                signals.end_turn(turn);
                turn += 2;
                cycles
            });
            bursts.sum()
        });
        drop(packets);
        self.turn = turn;
        let given = Sample::of(&given[effort.warm_up..]);
        let giving = Sample { cycles: given.cycles - idle.cycles, ..given };
        Ok(Handover { direct, giving, taking: self.result(effort.warm_up)? })
    }

    /// Ends both workers, and checks that no packet was lost.
    ///
    /// # Errors
    /// How many were.
    pub fn end(self) -> anyhow::Result<()> {
        let Self { orders, second, first, .. } = self;
        drop(orders);
        let Ok(second) = second.join().1 else { bail!("the second worker panicked") };
        let (fed, passed) = (first.lane.fed + second.lane.fed, first.lane.passed + second.lane.passed);
        anyhow::ensure!(fed == passed, "{} of {fed} packets were lost", fed - passed);
        Ok(())
    }
}
