//! The firewall as it is measured: a shard of the engine with two interfaces, fed by a [`Source`] and emptied by fate, as
//! a worker does.

use anyhow::{Context, bail};
use dpdk::{Burst, Mbuf};
use engine::{Arrival, Fate, Fib, Frame, Root, Shard, ShardConfig, Source as From, Tick, View, WorkerId};
use worker::frame::MbufFrame;

use crate::bed::{BURST, Bed};
use crate::flows::{Choice, Random};
use crate::measure::Work;
use crate::network::{self, BURST_TIME, CLIENT_SIDE, SERVER_SIDE, fib};
use crate::traffic::{Sender, Sizes, Source, Step};

/// Packets of numbered connections.
pub trait Packets {
    /// How many connections, from number 0 on.
    fn connections(&self) -> u64;

    /// Writes the shortest packet of one connection into an empty buffer.
    fn write(&self, mbuf: &mut Mbuf, connection: u64, sender: Sender, step: Step);
}

impl Packets for Source {
    fn connections(&self) -> u64 {
        self.connections()
    }

    #[inline(always)]
    fn write(&self, mbuf: &mut Mbuf, connection: u64, sender: Sender, step: Step) {
        self.write(mbuf, connection, sender, step);
    }
}

/// A firewall.
pub struct Firewall {
    shard: Shard,
    root: Root,
    fib: Fib,
    now: Tick,
    random: Random,
    fates: [Fate; BURST],
}

impl Firewall {
    /// A firewall with these rules (pf.conf), and room for `states` as pf counts them.
    ///
    /// # Errors
    /// What is wrong with the rules.
    pub fn new(rules: &str, states: u32) -> anyhow::Result<Self> {
        let fib = fib();
        let ruleset = network::ruleset(rules, states)?;
        let root = Root::compile(&ruleset, fib.interfaces(), None).context("the benchmark's rules")?;
        let shard = Shard::new(ShardConfig {
            worker: WorkerId(0),
            workers: 1,
            max_states: states,
            interfaces: fib.interfaces().len(),
            key: [0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908],
        });
        let fates = [Fate::Drop(ruleset_reason()); BURST];
        Ok(Self { shard, root, fib, now: Tick::from_secs(1), random: Random::new(), fates })
    }

    /// Opens every connection of the source: TCP's handshake, or a packet each way and back.
    ///
    /// # Errors
    /// If any is refused.
    pub fn establish(&mut self, bed: &mut Bed, source: &impl Packets) -> anyhow::Result<()> {
        let mut next = 0;
        while next < source.connections() {
            for (sender, step) in
                [(Sender::Client, Step::Open), (Sender::Server, Step::Answer), (Sender::Client, Step::Data)]
            {
                self.open(bed, source, next, sender, step)?;
            }
            next += BURST as u64;
        }
        let wanted = 2 * source.connections();
        if u64::from(self.shard.states()) != wanted {
            bail!("{} states were made of {wanted}", self.shard.states());
        }
        Ok(())
    }

    /// One packet each of up to a burst of connections, from number `first` on.
    ///
    /// # Errors
    /// If any is refused.
    pub fn open(
        &mut self,
        bed: &mut Bed,
        source: &impl Packets,
        first: u64,
        sender: Sender,
        step: Step,
    ) -> anyhow::Result<()> {
        let mut burst = Burst::new();
        let mut connection = first;
        let last = source.connections() - 1;
        bed.receive(&mut burst, |mbuf| {
            source.write(mbuf, connection.min(last), sender, step);
            connection += 1;
        });
        let passed = self.process(bed, &mut burst, sender);
        // Numbers behind the last stand for the last, and may repeat what it has done.
        if passed == BURST || first + BURST as u64 > last {
            Ok(())
        } else {
            bail!("packets were refused: {:?}", self.refusals())
        }
    }

    /// Processes a burst from one side, sends what passes, and returns how much that was.
    #[inline(always)]
    pub fn process(&mut self, bed: &mut Bed, burst: &mut Burst, sender: Sender) -> usize {
        let to = match sender {
            Sender::Client => SERVER_SIDE,
            Sender::Server => CLIENT_SIDE,
        };
        let fates = self.decide(MbufFrame::of(burst), sender);
        let mut out = Burst::new();
        for (mbuf, fate) in burst.drain().zip(fates) {
            if *fate == Fate::Transmit(to.interface) {
                // As many fit as came out of a burst.
                let _ = out.push(mbuf);
            }
        }
        let passed = out.len();
        bed.send(&mut out);
        passed
    }

    /// Decides a burst from one side.
    #[inline(always)]
    pub fn decide<F: Frame>(&mut self, frames: &mut [F], sender: Sender) -> &[Fate] {
        let from = match sender {
            Sender::Client => CLIENT_SIDE,
            Sender::Server => SERVER_SIDE,
        };
        self.now = self.now + BURST_TIME;
        let view = View { now: self.now, root: Some(&self.root), fib: &self.fib };
        let arrival = Arrival { interface: from.interface, source: From::Wire };
        let fates = &mut self.fates[..frames.len()];
        self.shard.process(&view, &mut self.random, arrival, frames, fates);
        fates
    }

    /// Hands on the copies of a burst that was decided: what each begins with, and what follows.
    #[inline(always)]
    pub fn take_copies<F: Frame>(&mut self, frames: &[F], mut each: impl FnMut(&[u8], &[u8])) {
        self.shard.take_copies(self.now, frames, |copies, _| copies.each(&mut each));
    }

    /// Lets every state time out.
    pub fn age(&mut self) {
        self.now = self.now + Tick::from_secs(7 * 86_400);
    }

    /// Sweeps over `records`, and returns how many states it removed.
    pub fn sweep(&mut self, records: usize) -> u64 {
        let view = View { now: self.now, root: Some(&self.root), fib: &self.fib };
        self.shard.expire(&view, records)
    }

    /// How many states there are.
    pub const fn states(&self) -> u32 {
        self.shard.states()
    }

    /// Why packets were dropped, and how many.
    pub fn refusals(&self) -> Vec<(&'static str, u64)> {
        let counters = self.shard.counters();
        let named = ruleset::Reason::ALL.iter().map(|reason| (reason.name(), counters.dropped(*reason)));
        named.filter(|(_, count)| *count > 0).collect()
    }
}

const fn ruleset_reason() -> ruleset::Reason {
    ruleset::Reason::NoRules
}

/// A firewall forwarding a source's established connections.
pub struct Established {
    firewall: Firewall,
    source: Source,
    sender: Sender,
    passed: usize,
    sent: usize,
}

impl Established {
    /// With every connection of `source` established.
    ///
    /// # Errors
    /// If any cannot be.
    pub fn new(bed: &mut Bed, rules: &str, source: Source) -> anyhow::Result<Self> {
        let states = u32::try_from(2 * source.connections()).context("too many connections")?;
        let mut firewall = Firewall::new(rules, states)?;
        firewall.establish(bed, &source)?;
        Ok(Self { firewall, source, sender: Sender::Client, passed: 0, sent: 0 })
    }

    /// Sends frames of other lengths from now on.
    pub const fn set_sizes(&mut self, sizes: Sizes) {
        self.source.set_sizes(sizes);
    }
}

impl Work for Established {
    fn name(&self) -> &'static str {
        "established"
    }

    fn set_choice(&mut self, choice: Choice) {
        self.source.set_choice(choice);
    }

    #[inline(always)]
    fn burst(&mut self, bed: &mut Bed) {
        let mut burst = Burst::new();
        let sender = self.sender;
        self.source.receive(bed, &mut burst, sender);
        self.sent += burst.len();
        self.passed += self.firewall.process(bed, &mut burst, sender);
        self.sender = sender.other();
    }

    fn verdict(&self) -> anyhow::Result<()> {
        if self.passed != self.sent {
            bail!(
                "{} of {} packets of {} were refused: {:?}",
                self.sent - self.passed,
                self.sent,
                self.source.traffic().name(),
                self.firewall.refusals()
            );
        }
        Ok(())
    }
}

/// A source's packets, received and sent untouched: what its frames and sequence numbers cost.
pub struct Untouched {
    source: Source,
}

impl Untouched {
    /// Packets of this source.
    pub const fn new(source: Source) -> Self {
        Self { source }
    }
}

impl Untouched {
    /// Sends frames of other lengths from now on.
    pub const fn set_sizes(&mut self, sizes: Sizes) {
        self.source.set_sizes(sizes);
    }
}

impl Work for Untouched {
    fn name(&self) -> &'static str {
        "rx_tx_source"
    }

    fn set_choice(&mut self, choice: Choice) {
        self.source.set_choice(choice);
    }

    #[inline(always)]
    fn burst(&mut self, bed: &mut Bed) {
        let mut burst = Burst::new();
        self.source.receive(bed, &mut burst, Sender::Client);
        let mut out = Burst::new();
        for mbuf in burst.drain() {
            let _ = out.push(mbuf);
        }
        bed.send(&mut out);
    }
}
