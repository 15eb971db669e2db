//! Workers of the dataplane, whole, between in-memory ports.
//!
//! Overview: an [`Appliance`] has one or several of the dataplane's own workers, with a queue each on two ports and their
//! host interfaces, all of them rings, and on a span port. A [`Lane`] is a worker with the far ends of its rings: it feeds
//! a burst, lets the worker poll, which is what is timed, and takes away what came out.
//! Life cycle: made with its workers, opened for traffic by [`Appliance::establish`]. Ownership: a lane is one thread's.
//! Bounds: a ring holds 1024 packets, far more than a poll leaves.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::ensure;
use dpdk::{
    Burst, ChecksumStatus, Consumer, Eal, Mempool, Port, PortConfig, Producer, Queues, Tsc, TscClock, spsc,
};
use engine::fib::Role;
use engine::{Fib, InterfaceId, Root, Shard, ShardConfig, Source as From, StatePool, Tick, WorkerId};
use ruleset::Ruleset;
use worker::config::Idle;
use worker::handoff::{self, Handoff};
use worker::mail::{Mail, Office, mail};
use worker::memory::states_of_one;
use worker::ports::sides;
use worker::random::Random;
use worker::telemetry::{self, Writer};
use worker::worker::{Attachment, Parts, Side, Sides, Worker};

use crate::bed::{BURST, Bed};
use crate::network::{self, BURST_TIME, CLIENT_SIDE, SERVER_SIDE, fib};
use crate::traffic::{Sender, Source, Step};

/// Packets that a port's ring holds.
const RING: u32 = 1024;

/// Polls, ten milliseconds apart, in which a worker visits all of a small table more than once.
const SWEEPS: usize = 1000;

/// The longest frame.
const FRAME_MAX: usize = 1522;

/// Workers, and everything around them.
pub struct Appliance {
    /// The workers.
    pub lanes: Vec<Lane>,
    /// Where rulesets are published.
    pub office: Office,
    /// The numbers of the connections that each worker owns.
    pub homes: Vec<Vec<u32>>,
    root: Arc<Root>,
    fib: Arc<Fib>,
    counters: PathBuf,
    _ports: Vec<Port>,
}

/// A worker with the far ends of its rings.
pub struct Lane {
    worker: Worker,
    /// By interface.
    wires: Vec<Ends>,
    _hosts: Vec<Ends>,
    pool: Mempool,
    now: Tick,
    /// Packets that were fed.
    pub fed: u64,
    /// Packets that came out of the two ports.
    pub passed: u64,
    /// Packets that came out of the span port.
    pub copied: u64,
}

struct Ends {
    into: Producer,
    out: Consumer,
}

impl Appliance {
    /// So many workers with these rules (pf.conf), and room for `states` as pf counts them.
    ///
    /// # Errors
    /// DPDK's, or what is wrong with the rules.
    pub fn new(bed: &Bed, workers: u16, rules: &str, states: u32) -> anyhow::Result<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let fib = Arc::new(fib());
        let ruleset = network::ruleset(rules, states)?;
        let root = Arc::new(Root::compile(&ruleset, fib.interfaces(), None)?);
        let counters = PathBuf::from(format!("/dev/shm/turnpike-perf-{}-{number}", std::process::id()));
        let names: Vec<String> = fib.interfaces().iter().map(|own| own.name.clone()).collect();
        let segment = telemetry::create(&counters, usize::from(workers), &names)?;
        let own_states = states_of_one(states, workers);
        let (mails, mut office) = mail(fib.clone(), usize::from(workers), own_states);
        ensure!(office.roots.offer(Some(root.clone())), "nothing was offered before");
        let rings = handoff::mesh(bed.eal(), &format!("perf{number}"), workers)?;
        let mut wiring = Wiring::new(bed, number, workers);
        for (interface, role) in (0..).zip(fib.interfaces().iter().map(|own| &own.role)) {
            wiring.add(InterfaceId(interface), *role == Role::Span)?;
        }
        let pool = StatePool::new(states, workers);
        let ends = wiring.attachments.into_iter().zip(wiring.wires.into_iter().zip(wiring.hosts));
        let lanes = ends.zip(mails.into_iter().zip(rings)).zip(0..).map(|((ends, shared), worker)| {
            let shard = Shard::sharing(shard_config(worker, workers, own_states, &fib), pool.clone());
            let telemetry = Writer::new(&segment, usize::from(worker))?;
            Lane::new(bed, ends, shared, shard, telemetry)
        });
        let lanes = lanes.collect::<anyhow::Result<_>>()?;
        Ok(Self { lanes, office, homes: Vec::new(), root, fib, counters, _ports: wiring.ports })
    }

    /// Opens every connection of the source, and learns which worker owns which.
    ///
    /// # Errors
    /// If any is refused.
    pub fn establish(&mut self, source: &Source) -> anyhow::Result<()> {
        self.homes = vec![Vec::new(); self.lanes.len()];
        let last = source.connections() - 1;
        for first in (0..=last).step_by(BURST) {
            for (sender, step) in
                [(Sender::Client, Step::Open), (Sender::Server, Step::Answer), (Sender::Client, Step::Data)]
            {
                let count = BURST.min((last - first + 1) as usize);
                let mut next = first;
                self.lanes[0].feed(count, sender, |mbuf| {
                    source.write(mbuf, next, sender, step);
                    next += 1;
                });
                for (lane, homes) in self.lanes.iter_mut().zip(&mut self.homes) {
                    lane.poll();
                    lane.take(|frame| {
                        if step == Step::Open {
                            homes.push(source.connection_of(frame) as u32);
                        }
                    });
                }
            }
        }
        let passed: u64 = self.lanes.iter().map(|lane| lane.passed).sum();
        ensure!(passed == 3 * source.connections(), "{passed} packets passed of {} connections", last + 1);
        self.lanes.iter_mut().for_each(Lane::forget);
        Ok(())
    }

    /// Compiles a ruleset that is to replace the live one.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn compile(&self, ruleset: &Ruleset) -> anyhow::Result<Root> {
        Ok(Root::compile(ruleset, self.fib.interfaces(), Some(&self.root))?)
    }

    /// Offers a ruleset to the workers, which take it in their next poll.
    ///
    /// # Errors
    /// If they have not taken the one before.
    pub fn offer(&mut self, root: Arc<Root>) -> anyhow::Result<()> {
        ensure!(self.office.roots.offer(Some(root.clone())), "every worker has taken the last ruleset");
        self.root = root;
        Ok(())
    }
}

impl Drop for Appliance {
    fn drop(&mut self) {
        // It lies in memory, and is nobody's any more.
        let _ = std::fs::remove_file(&self.counters);
    }
}

fn shard_config(worker: u16, workers: u16, max_states: u32, fib: &Fib) -> ShardConfig {
    ShardConfig {
        worker: WorkerId(worker),
        workers,
        max_states,
        interfaces: fib.interfaces().len(),
        key: [0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908],
    }
}

/// What is being wired.
struct Wiring<'a> {
    eal: &'a Eal,
    pool: &'a Mempool,
    name: String,
    workers: u16,
    attachments: Vec<Attachment>,
    /// By worker, by interface.
    wires: Vec<Vec<Ends>>,
    hosts: Vec<Vec<Ends>>,
    ports: Vec<Port>,
}

impl<'a> Wiring<'a> {
    fn new(bed: &'a Bed, number: u32, workers: u16) -> Self {
        Self {
            eal: bed.eal(),
            pool: bed.pool(),
            name: format!("a{number}"),
            workers,
            attachments: (0..workers).map(|_| Attachment::default()).collect(),
            wires: (0..workers).map(|_| Vec::new()).collect(),
            hosts: (0..workers).map(|_| Vec::new()).collect(),
            ports: Vec::new(),
        }
    }

    /// Adds an interface: a port, with a host interface unless it is a span port.
    fn add(&mut self, interface: InterfaceId, span: bool) -> dpdk::Result<()> {
        let (wires, ends) = self.open("w", interface, From::Wire)?;
        self.wires.iter_mut().zip(ends).for_each(|(own, ends)| own.push(ends));
        let hosts: Vec<Option<Side>> = if span {
            wires.iter().map(|_| None).collect()
        } else {
            let (hosts, ends) = self.open("h", interface, From::Host)?;
            self.hosts.iter_mut().zip(ends).for_each(|(own, ends)| own.push(ends));
            hosts.into_iter().map(Some).collect()
        };
        for (own, (wire, host)) in self.attachments.iter_mut().zip(wires.into_iter().zip(hosts)) {
            let wire = if span { Side { rx: None, ..wire } } else { wire };
            own.interfaces.push(Sides { wire, host, trunk: None, span: None });
        }
        Ok(())
    }

    /// A queue of rings for each worker. The driver of rings counts for all queues of a port in one cache line, which that
    /// of a NIC does not: each is of a port of its own.
    fn open(
        &mut self,
        kind: &str,
        interface: InterfaceId,
        side: From,
    ) -> dpdk::Result<(Vec<Side>, Vec<Ends>)> {
        let (mut queues, mut far) = (Queues { rx: Vec::new(), tx: Vec::new() }, Vec::new());
        for worker in 0..self.workers {
            let name = format!("{}{kind}{}w{worker}", self.name, interface.0);
            let (into, rx) = spsc(self.eal, &format!("{name}i"), RING)?;
            let (tx, out) = spsc(self.eal, &format!("{name}o"), RING)?;
            far.push(Ends { into, out });
            let mut port = Port::from_rings(self.eal, &name, vec![rx], vec![tx])?;
            port.configure(&PortConfig::new(1), std::slice::from_ref(self.pool))?;
            let Queues { rx, tx } = port.start()?;
            queues.rx.extend(rx);
            queues.tx.extend(tx);
            self.ports.push(port);
        }
        Ok((sides(interface, queues, FRAME_MAX, side, &mut self.attachments), far))
    }
}

impl Lane {
    fn new(
        bed: &Bed,
        (attachment, (wires, hosts)): (Attachment, (Vec<Ends>, Vec<Ends>)),
        (mail, handoff): (Mail, Handoff),
        shard: Shard,
        telemetry: Writer,
    ) -> anyhow::Result<Self> {
        let worker = Worker::new(Parts {
            attachment,
            shard,
            pool: bed.pool().clone(),
            clock: TscClock::new(bed.eal()),
            random: Random::new()?,
            handoff,
            mail,
            telemetry,
            idle: Idle::Poll,
        });
        let (pool, now) = (bed.pool().clone(), Tick::from_secs(1000));
        Ok(Self { worker, wires, _hosts: hosts, pool, now, fed: 0, passed: 0, copied: 0 })
    }

    /// Puts packets from one side into this worker's queue there, each written by `write`.
    ///
    /// # Panics
    /// If mbufs were lost, or packets stayed behind: a bug of what is measured.
    #[inline(always)]
    pub fn feed(&mut self, count: usize, sender: Sender, mut write: impl FnMut(&mut dpdk::Mbuf)) {
        let mut burst = Burst::new();
        assert!(self.pool.alloc_burst(&mut burst, count), "every mbuf is back before the next burst");
        for mbuf in burst.iter_mut() {
            write(mbuf);
            mbuf.set_ip_checksum(ChecksumStatus::Good);
        }
        let side = match sender {
            Sender::Client => CLIENT_SIDE,
            Sender::Server => SERVER_SIDE,
        };
        let fed = self.wires[usize::from(side.interface.0)].into.enqueue(&mut burst);
        assert_eq!(fed, count, "the worker has taken what came before");
        self.fed += fed as u64;
    }

    /// Lets the worker poll once, and returns the cycles that it took.
    #[inline(always)]
    pub fn poll(&mut self) -> u64 {
        self.now = self.now + BURST_TIME;
        let begin = Tsc::now();
        self.worker.poll(self.now);
        Tsc::now().cycles_since(begin)
    }

    /// Takes away what came out, and shows every frame that is no copy.
    #[inline(always)]
    pub fn take(&mut self, mut show: impl FnMut(&[u8])) {
        let mut burst = Burst::new();
        for (interface, ends) in self.wires.iter_mut().enumerate() {
            let copies = interface == usize::from(network::SPAN.0);
            while ends.out.dequeue(&mut burst) > 0 {
                let count = burst.len() as u64;
                if copies {
                    self.copied += count;
                } else {
                    self.passed += count;
                    burst.iter().for_each(|mbuf| show(mbuf.data()));
                }
                burst.clear();
            }
        }
    }

    /// Feeds a burst, each packet written by `write`, and takes away what came out. Returns the cycles of the poll between.
    #[inline(always)]
    pub fn pass(&mut self, sender: Sender, write: impl FnMut(&mut dpdk::Mbuf)) -> u64 {
        self.feed(BURST, sender, write);
        let cycles = self.poll();
        self.take(|_| ());
        cycles
    }

    /// Lets every state time out, and the worker remove them.
    pub fn age(&mut self) {
        self.now = self.now + Tick::from_secs(7 * 86_400);
        for _ in 0..SWEEPS {
            self.now = self.now + Tick::from_millis(10);
            self.poll();
        }
    }

    /// Forgets what was counted.
    pub const fn forget(&mut self) {
        (self.fed, self.passed, self.copied) = (0, 0, 0);
    }
}
