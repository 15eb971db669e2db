//! What a whole worker costs, beside the engine alone: receiving from rings and sending to them, counting, sweeping,
//! copying for a span port, and changing rules under way.

use std::sync::Arc;

use anyhow::{Context, ensure};
use dpdk::{Burst, Consumer, Port, PortConfig, Producer, RxQueue, Tsc, TxQueue, spsc};

use crate::appliance::Appliance;
use crate::bed::Bed;
use crate::calibration::calibrate;
use crate::flows::Choice;
use crate::measure::{BURSTS_PER_SLICE, Work, median};
use crate::network;
use crate::rules::rules;
use crate::traffic::{Sender, Source};

/// One worker forwarding established connections.
pub struct Forwarding {
    name: &'static str,
    appliance: Appliance,
    source: Source,
    sender: Sender,
}

impl Forwarding {
    /// With these rules, and every connection of `source` established.
    ///
    /// # Errors
    /// If any cannot be.
    pub fn new(bed: &Bed, name: &'static str, rules: &str, source: Source) -> anyhow::Result<Self> {
        let states = u32::try_from(2 * source.connections()).context("too many connections")?;
        let mut appliance = Appliance::new(bed, 1, rules, states)?;
        appliance.establish(&source)?;
        Ok(Self { name, appliance, source, sender: Sender::Client })
    }

    /// Forwards one burst, and returns the cycles of the poll.
    #[inline(always)]
    fn pass(&mut self) -> u64 {
        let (sender, source) = (self.sender, &mut self.source);
        self.sender = sender.other();
        self.appliance.lanes[0].pass(sender, |mbuf| source.write_any(mbuf, sender))
    }

    /// Packets that did not come out.
    fn lost(&self) -> u64 {
        self.appliance.lanes[0].fed - self.appliance.lanes[0].passed
    }
}

impl Work for Forwarding {
    fn name(&self) -> &'static str {
        self.name
    }

    fn set_choice(&mut self, choice: Choice) {
        self.source.set_choice(choice);
    }

    fn burst(&mut self, _: &mut Bed) {
        self.pass();
    }

    fn slice(&mut self, _: &mut Bed) -> u64 {
        (0..BURSTS_PER_SLICE).map(|_| self.pass()).sum()
    }

    fn verdict(&self) -> anyhow::Result<()> {
        let lane = &self.appliance.lanes[0];
        ensure!(self.lost() == 0, "{} of {} packets of {} were lost", self.lost(), lane.fed, self.name);
        ensure!(lane.copied == 0 || lane.copied == lane.fed, "{} copies of {}", lane.copied, lane.fed);
        Ok(())
    }
}

/// Receiving from a ring and sending to another, with nothing between.
pub struct RingIo {
    into: Producer,
    out: Consumer,
    rx: RxQueue,
    tx: TxQueue,
    source: Source,
    _port: Port,
}

impl RingIo {
    /// Packets of this source.
    ///
    /// # Errors
    /// DPDK's.
    pub fn new(bed: &Bed, source: Source) -> anyhow::Result<Self> {
        let (into, rx) = spsc(bed.eal(), "ring-io-in", 1024)?;
        let (tx, out) = spsc(bed.eal(), "ring-io-out", 1024)?;
        let mut port = Port::from_rings(bed.eal(), "ring-io", vec![rx], vec![tx])?;
        port.configure(&PortConfig::new(1), std::slice::from_ref(bed.pool()))?;
        let mut queues = port.start()?;
        let (rx, tx) = (queues.rx.remove(0), queues.tx.remove(0));
        Ok(Self { into, out, rx, tx, source, _port: port })
    }

    fn pass(&mut self, bed: &Bed) -> u64 {
        let mut burst = Burst::new();
        self.source.receive(bed, &mut burst, Sender::Client);
        self.into.enqueue(&mut burst);
        let begin = Tsc::now();
        self.rx.rx_burst(&mut burst);
        self.tx.tx_burst(&mut burst);
        let cycles = Tsc::now().cycles_since(begin);
        while self.out.dequeue(&mut burst) > 0 {
            burst.clear();
        }
        cycles
    }
}

impl Work for RingIo {
    fn name(&self) -> &'static str {
        "ring_rx_tx"
    }

    fn set_choice(&mut self, choice: Choice) {
        self.source.set_choice(choice);
    }

    fn burst(&mut self, bed: &mut Bed) {
        self.pass(bed);
    }

    fn slice(&mut self, bed: &mut Bed) -> u64 {
        (0..BURSTS_PER_SLICE).map(|_| self.pass(bed)).sum()
    }
}

/// What reloads cost a worker under traffic.
#[derive(Clone, Debug)]
pub struct Reload {
    /// Of each reload: by how many cycles the poll that took the rules was longer than one usually is.
    pub pauses: Vec<f64>,
    /// Of each reload: by how many cycles each of the polls after that was longer, in the median. Every connection goes the
    /// long way once before it follows the new rules the short way.
    pub after: Vec<f64>,
    /// Of each reload: cycles to compile the rules, which no worker waits for.
    pub compiling: Vec<f64>,
    /// Packets that were lost.
    pub lost: u64,
}

/// Polls before a reload that tell how long one usually is, and after it that are watched.
const AROUND: usize = 200;

/// Reloads rulesets of `rule_count` rules under the traffic of established connections.
///
/// # Errors
/// If a connection is refused.
pub fn reload(bed: &Bed, source: Source, rule_count: usize, reloads: usize) -> anyhow::Result<Reload> {
    let states = 2 * source.connections() as u32;
    let ruleset = network::ruleset(&rules(rule_count), states)?;
    let mut forwarding = Forwarding::new(bed, "reload", "block\npass\n", source)?;
    let mut found = Reload { pauses: Vec::new(), after: Vec::new(), compiling: Vec::new(), lost: 0 };
    // The first replaces rules of another number, and is left out.
    for reload in 0..=reloads {
        let begin = Tsc::now();
        let root = Arc::new(forwarding.appliance.compile(&ruleset)?);
        let compiling = Tsc::now().cycles_since(begin) as f64;
        let usual = median((0..AROUND).map(|_| forwarding.pass() as f64));
        forwarding.appliance.offer(root)?;
        let after: Vec<f64> = (0..AROUND).map(|_| forwarding.pass() as f64 - usual).collect();
        if reload > 0 {
            found.pauses.push(after[0]);
            found.after.push(median(after[1..].iter().copied()));
            found.compiling.push(compiling);
        }
    }
    found.lost = forwarding.lost();
    Ok(found)
}

/// How long bursts take, each by itself.
#[derive(Clone, Debug)]
pub struct Latency {
    /// Cycles of each poll with a full burst, in order of size.
    pub bursts: Vec<u64>,
    /// Cycles of arithmetic of about the same length, in order of size: what the machine takes away by itself.
    pub machine: Vec<u64>,
}

/// Times `count` bursts of established connections.
///
/// # Errors
/// If packets are lost.
pub fn latency(forwarding: &mut Forwarding, count: usize) -> anyhow::Result<Latency> {
    let (mut bursts, mut machine) = (Vec::with_capacity(count), Vec::with_capacity(count));
    (0..count / 10).for_each(|_| _ = forwarding.pass());
    let usual = median((0..AROUND).map(|_| forwarding.pass() as f64));
    let calibrations = (usual / median((0..AROUND).map(|_| calibrate() as f64))).ceil() as usize;
    for _ in 0..count {
        bursts.push(forwarding.pass());
        let begin = Tsc::now();
        (0..calibrations).for_each(|_| _ = calibrate());
        machine.push(Tsc::now().cycles_since(begin));
    }
    ensure!(forwarding.lost() == 0, "{} packets were lost", forwarding.lost());
    bursts.sort_unstable();
    machine.sort_unstable();
    Ok(Latency { bursts, machine })
}
