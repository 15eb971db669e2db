//! Two workers, the rings around them, and the packets that they get.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use api::{Candidate, Process};
use dpdk::{
    Burst, Consumer, Eal, EalArgs, Memory, Mempool, PoolConfig, Port, PortConfig, Producer, TscClock, spsc,
};
use engine::fib::{Interface, InterfaceAddress, Neighbor, NextHop, Role, Route, RouteEntry};
use engine::{Fib, InterfaceId, Root, Shard, ShardConfig, Source, StatePool, Tick, WorkerId, Zone};
use ruleset::{Action, Limit, Rule, Ruleset, StateMode};
use wire::Mac;
use worker::claim;
use worker::config::Idle;
use worker::control::rules::{Refusal, Rules};
use worker::dump::{self, Lister};
use worker::handoff;
use worker::mail::{Office, mail};
use worker::ports::sides;
use worker::random::Random;
use worker::snapshot::snapshots;
use worker::telemetry::{self, Sheet, Writer};
use worker::worker::{Attachment, Parts, Sides, Worker};

pub const WORKERS: usize = 2;
pub const STATES: u32 = 4096;
/// The secret of the hash that tells whose a flow is.
pub const KEY: [u64; 2] = [7, 9];
pub const WAN: InterfaceId = InterfaceId(0);
pub const LAN: InterfaceId = InterfaceId(1);
pub const OWN: [Mac; 2] = [Mac([2, 0, 0, 0, 1, 1]), Mac([2, 0, 0, 0, 2, 1])];
pub const STATION: [Mac; 2] = [Mac([2, 0, 0, 0, 1, 2]), Mac([2, 0, 0, 0, 2, 2])];

pub fn eal() -> Eal {
    static EAL: OnceLock<Eal> = OnceLock::new();
    EAL.get_or_init(|| {
        let prefix = format!("worker-pair-{}", std::process::id());
        Eal::init(&EalArgs::new("worker-pair", Memory::NoHuge { mib: 128 }).file_prefix(&prefix)).unwrap()
    })
    .clone()
}

/// Networks 10.1.0.0/24 and 10.2.0.0/24, whose stations all have one Ethernet address.
pub fn fib() -> Arc<Fib> {
    let interface = |number: usize, name: &str| Interface {
        name: name.into(),
        groups: vec![],
        mac: OWN[number],
        mtu: 1500,
        addresses: vec![InterfaceAddress::new(IpAddr::from([10, number as u8 + 1, 0, 1]), 24)],
        zone: Zone::default(),
        up: true,
        role: Role::Routed,
    };
    let route = |number: u16| RouteEntry {
        prefix: IpAddr::from([10, number as u8 + 1, 0, 0]),
        length: 24,
        route: Route::Forward(vec![NextHop { interface: InterfaceId(number), gateway: None, mtu: None }]),
    };
    let neighbor = |number: u16| Neighbor {
        interface: InterfaceId(number),
        address: IpAddr::from([10, number as u8 + 1, 0, 2]),
        mac: STATION[usize::from(number)],
    };
    Arc::new(Fib::new(
        1,
        vec![interface(0, "wan0"), interface(1, "lan0")],
        [route(0), route(1)],
        [neighbor(0), neighbor(1)],
    ))
}

/// The ends of one side of an interface: a ring for each worker's queue.
pub struct Ends {
    pub into: Vec<Producer>,
    pub out: Vec<Consumer>,
}

pub struct Bed {
    pub workers: Vec<Worker>,
    pub pool: Mempool,
    /// By interface.
    pub wires: Vec<Ends>,
    pub hosts: Vec<Ends>,
    pub ports: Vec<Port>,
    pub office: Office,
    pub reader: telemetry::Reader,
    pub counters: PathBuf,
    pub now: Tick,
}

impl Bed {
    pub fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let eal = eal();
        let pool = Mempool::new(&eal, &PoolConfig::new(&format!("pair{number}"), 4095)).unwrap();
        let mut ports = Vec::new();
        let mut attachments: Vec<Attachment> = (0..WORKERS).map(|_| Attachment::default()).collect();
        let mut open = |kind: &str, interface: InterfaceId, side, attachments: &mut [Attachment]| {
            let name = format!("p{number}{kind}{}", interface.0);
            let rings = |way: &str| -> (Vec<_>, Vec<_>) {
                (0..WORKERS).map(|at| spsc(&eal, &format!("{name}{way}{at}"), 1024).unwrap()).unzip()
            };
            let ((into, rx), (tx, out)) = (rings("i"), rings("o"));
            let mut port = Port::from_rings(&eal, &name, rx, tx).unwrap();
            port.configure(&PortConfig::new(WORKERS as u16), std::slice::from_ref(&pool)).unwrap();
            let sides = sides(interface, port.start().unwrap(), 1522, side, attachments);
            ports.push(port);
            (sides, Ends { into, out })
        };
        let (mut wires, mut hosts) = (Vec::new(), Vec::new());
        for interface in [WAN, LAN] {
            let (wire, ends) = open("w", interface, Source::Wire, &mut attachments);
            wires.push(ends);
            let (host, ends) = open("h", interface, Source::Host, &mut attachments);
            hosts.push(ends);
            for (own, (wire, host)) in attachments.iter_mut().zip(wire.into_iter().zip(host)) {
                own.interfaces.push(Sides { wire, host: Some(host), trunk: None, span: None });
            }
        }
        let socket = std::env::temp_dir().join(format!("worker-pair-{}-{number}.sock", std::process::id()));
        let counters = claim::beside(&socket, "counters");
        let segment = telemetry::create(&counters, WORKERS, &["wan0".into(), "lan0".into()]).unwrap();
        let (mails, office) = mail(fib(), WORKERS, STATES);
        let rings = handoff::mesh(&eal, &format!("h{number}"), WORKERS as u16).unwrap();
        let credits = StatePool::new(STATES, WORKERS as u16);
        let ends = attachments.into_iter().zip(mails.into_iter().zip(rings)).enumerate();
        let workers = ends.map(|(worker, (attachment, (mail, handoff)))| {
            let config = ShardConfig {
                worker: WorkerId(worker as u16),
                workers: WORKERS as u16,
                max_states: STATES,
                interfaces: 2,
                key: KEY,
            };
            Worker::new(Parts {
                attachment,
                shard: Shard::sharing(config, credits.clone()),
                pool: pool.clone(),
                clock: TscClock::new(&eal),
                random: Random::new().unwrap(),
                handoff,
                mail,
                telemetry: Writer::new(&segment, worker).unwrap(),
                idle: Idle::Poll,
            })
        });
        let workers = workers.collect();
        let reader = telemetry::Reader::open(&counters, 2).unwrap();
        Self { workers, pool, wires, hosts, ports, office, reader, counters, now: Tick::from_secs(1000) }
    }

    /// A bed that passes everything, and keeps up to `limit` states.
    pub fn passing(limit: u32) -> Self {
        let mut bed = Self::new();
        assert!(bed.office.roots.offer(Some(pass(limit))));
        bed.poll();
        bed
    }

    pub fn put(&mut self, interface: InterfaceId, queue: usize, frame: &[u8]) {
        let mut mbuf = self.pool.alloc().expect("the pool has enough");
        mbuf.extend_from_slice(frame).unwrap();
        self.wires[usize::from(interface.0)].into[queue].push(mbuf).expect("the ring has room");
    }

    /// What left by the queues of both workers.
    pub fn get(&mut self, interface: InterfaceId) -> Vec<Vec<u8>> {
        let mut frames = Vec::new();
        for out in &mut self.wires[usize::from(interface.0)].out {
            let mut burst = Burst::new();
            while out.dequeue(&mut burst) > 0 {
                frames.extend(burst.drain().map(|mbuf| mbuf.data().to_vec()));
            }
        }
        frames
    }

    pub fn poll_one(&mut self, worker: usize) {
        self.now = self.now + Tick::from_millis(2);
        self.workers[worker].poll(self.now);
    }

    /// Twice, because what the second hands to the first is taken by it in its next poll.
    pub fn poll(&mut self) {
        [0, 1, 0, 1].into_iter().for_each(|worker| self.poll_one(worker));
    }

    /// Takes over who asks for lists, to be given back.
    pub fn take_lister(&mut self) -> Lister {
        std::mem::replace(&mut self.office.lister, dump::channels(0, 0).0)
    }

    pub fn give_lister(&mut self, lister: Lister) {
        self.office.lister = lister;
    }

    /// Takes over who publishes rules.
    pub fn rules(&mut self, patience: Duration) -> Rules {
        let publisher = std::mem::replace(&mut self.office.roots, snapshots(None, 0).0);
        Rules::new(publisher, StatePool::new(STATES, WORKERS as u16), patience)
    }

    /// Commits a ruleset while these workers come back, and does `meanwhile` before each of their polls.
    pub fn commit(
        &mut self,
        rules: &mut Rules,
        ruleset: &Ruleset,
        awake: &[usize],
        mut meanwhile: impl FnMut(&mut Self),
    ) -> Result<u64, Refusal> {
        thread::scope(|scope| {
            let candidate = Candidate { ruleset: ruleset.clone(), contents: Vec::new() };
            let commit =
                scope.spawn(move || rules.commit(&candidate, fib().interfaces(), Process::default()));
            while !commit.is_finished() {
                for worker in awake {
                    meanwhile(self);
                    self.poll_one(*worker);
                }
            }
            commit.join().unwrap()
        })
    }

    pub fn sheet(&self, worker: usize) -> Sheet {
        self.reader.sheet(worker).unwrap()
    }

    pub fn sum(&self) -> Sheet {
        Sheet::sum(&self.reader.sheets(WORKERS).unwrap())
    }

    /// Conservation holds while they run and when they have ended, and every mbuf is back. Returns what was left between
    /// the workers.
    pub fn end(self) -> u64 {
        for worker in 0..WORKERS {
            let running = self.sheet(worker).conservation();
            assert!(running.holds(), "worker {worker} while it runs: {running:?}");
        }
        let stop = AtomicBool::new(true);
        let sheets: Vec<Sheet> = self.workers.into_iter().map(|worker| worker.run(&stop)).collect();
        assert!(sheets.iter().all(|sheet| sheet.conservation().holds()), "{sheets:?}");
        drop((self.wires, self.hosts, self.ports));
        assert_eq!(self.pool.in_use(), 0, "mbufs that did not come back");
        let _ = std::fs::remove_file(self.counters);
        let sum = Sheet::sum(&sheets).worker;
        sum.handoff_out - sum.handoff_in
    }
}

pub fn pass(limit: u32) -> Arc<Root> {
    Arc::new(Root::compile(&passing(limit), fib().interfaces(), None).unwrap())
}

/// Rules that pass everything, and keep up to `limit` states.
pub fn passing(limit: u32) -> Ruleset {
    let rule = Rule { action: Action::Pass, state: StateMode::Keep, ..Rule::default() };
    let mut ruleset = Ruleset { rules: vec![rule], ..Ruleset::default() };
    ruleset.options.limits.set(Limit::States, limit);
    ruleset
}

/// A UDP datagram of flow `flow` that arrives at `interface` and ends with `mark`.
pub fn datagram(interface: InterfaceId, flow: u16, mark: u16) -> Vec<u8> {
    let at = usize::from(interface.0);
    let (from, to) = ([10, at as u8 + 1, 0, 2], [10, 2 - at as u8, 0, 2]);
    let mut ip = vec![0x45, 0, 0, 30, 0, 1, 0x40, 0, 64, 17, 0, 0];
    ip.extend(from.iter().chain(&to));
    let sum: u32 = ip.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    ip[10..12].copy_from_slice(&(!(folded as u16)).to_be_bytes());
    let mut frame = [&OWN[at].0[..], &STATION[at].0[..], &[8, 0], &ip].concat();
    let ports = if interface == WAN { [10_000 + flow, 53] } else { [53, 10_000 + flow] };
    frame.extend(ports.iter().flat_map(|port| port.to_be_bytes()));
    frame.extend([0, 10, 0, 0]);
    frame.extend(mark.to_be_bytes());
    frame
}

pub fn mark(frame: &[u8]) -> u16 {
    u16::from_be_bytes([frame[frame.len() - 2], frame[frame.len() - 1]])
}

pub fn flow(frame: &[u8]) -> u16 {
    u16::from_be_bytes([frame[34], frame[35]]).max(u16::from_be_bytes([frame[36], frame[37]])) - 10_000
}
