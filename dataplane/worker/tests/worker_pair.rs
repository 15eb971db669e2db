//! Two workers on the same ports, which are rings in this process: whichever queue a packet arrives at, the worker that
//! owns its flow forwards it, in order, and every packet and mbuf is accounted for.
#![allow(clippy::disallowed_methods, reason = "tests of the shell have clocks")]

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use dpdk::{
    Burst, Consumer, Eal, EalArgs, Memory, Mempool, PoolConfig, Port, PortConfig, Producer, TscClock, spsc,
};
use engine::fib::{Interface, InterfaceAddress, Neighbor, NextHop, Role, Route, RouteEntry};
use engine::{Fib, InterfaceId, Root, Shard, ShardConfig, StatePool, Tick, WorkerId, Zone};
use ruleset::{Action, Limit, Reason, Rule, Ruleset, StateMode};
use wire::Mac;
use worker::claim;
use worker::config::Idle;
use worker::handoff;
use worker::mail::{Office, mail};
use worker::ports::sides;
use worker::random::Random;
use worker::snapshot::Stalled;
use worker::telemetry::{self, Sheet, Writer};
use worker::worker::{Parts, Sides, Worker};

const WORKERS: usize = 2;
const STATES: u32 = 4096;
const WAN: InterfaceId = InterfaceId(0);
const LAN: InterfaceId = InterfaceId(1);
const OWN: [Mac; 2] = [Mac([2, 0, 0, 0, 1, 1]), Mac([2, 0, 0, 0, 2, 1])];
const STATION: [Mac; 2] = [Mac([2, 0, 0, 0, 1, 2]), Mac([2, 0, 0, 0, 2, 2])];

fn eal() -> Eal {
    static EAL: OnceLock<Eal> = OnceLock::new();
    EAL.get_or_init(|| {
        let prefix = format!("worker-pair-{}", std::process::id());
        Eal::init(&EalArgs::new("worker-pair", Memory::NoHuge { mib: 128 }).file_prefix(&prefix)).unwrap()
    })
    .clone()
}

/// Networks 10.1.0.0/24 and 10.2.0.0/24, whose stations all have one Ethernet address.
fn fib() -> Arc<Fib> {
    let interface = |number: usize, name: &str| Interface {
        name: name.into(),
        groups: vec![],
        mac: OWN[number],
        mtu: 1500,
        addresses: vec![InterfaceAddress { address: IpAddr::from([10, number as u8 + 1, 0, 1]), prefix: 24 }],
        zone: Zone::default(),
        up: true,
        role: Role::Routed,
    };
    let route = |number: u16| RouteEntry {
        prefix: IpAddr::from([10, number as u8 + 1, 0, 0]),
        length: 24,
        route: Route::Forward(vec![NextHop { interface: InterfaceId(number), gateway: None }]),
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
struct Ends {
    into: Vec<Producer>,
    out: Vec<Consumer>,
}

struct Bed {
    workers: Vec<Worker>,
    pool: Mempool,
    /// By interface.
    wires: Vec<Ends>,
    hosts: Vec<Ends>,
    ports: Vec<Port>,
    office: Office,
    reader: telemetry::Reader,
    counters: PathBuf,
    now: Tick,
}

impl Bed {
    fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let eal = eal();
        let pool = Mempool::new(&eal, &PoolConfig::new(&format!("pair{number}"), 4095)).unwrap();
        let mut ports = Vec::new();
        let mut open = |kind: &str, interface: InterfaceId, full| {
            let name = format!("p{number}{kind}{}", interface.0);
            let rings = |way: &str| -> (Vec<_>, Vec<_>) {
                (0..WORKERS).map(|at| spsc(&eal, &format!("{name}{way}{at}"), 1024).unwrap()).unzip()
            };
            let ((into, rx), (tx, out)) = (rings("i"), rings("o"));
            let mut port = Port::from_rings(&eal, &name, rx, tx).unwrap();
            port.configure(&PortConfig::new(WORKERS as u16), std::slice::from_ref(&pool)).unwrap();
            let sides = sides(interface, port.start().unwrap(), 1522, full);
            ports.push(port);
            (sides, Ends { into, out })
        };
        let mut interfaces: Vec<Vec<Sides>> = (0..WORKERS).map(|_| Vec::new()).collect();
        let (mut wires, mut hosts) = (Vec::new(), Vec::new());
        for interface in [WAN, LAN] {
            let (wire, ends) = open("w", interface, Reason::TxFull);
            wires.push(ends);
            let (host, ends) = open("h", interface, Reason::HostFull);
            hosts.push(ends);
            for (own, (wire, host)) in interfaces.iter_mut().zip(wire.into_iter().zip(host)) {
                own.push(Sides { wire, host });
            }
        }
        let socket = std::env::temp_dir().join(format!("worker-pair-{}-{number}.sock", std::process::id()));
        let counters = claim::beside(&socket, "counters");
        let segment = telemetry::create(&counters, WORKERS, &["wan0".into(), "lan0".into()]).unwrap();
        let (mails, office) = mail(fib(), WORKERS, STATES);
        let rings = handoff::mesh(&eal, &format!("h{number}"), WORKERS as u16).unwrap();
        let credits = StatePool::new(STATES, WORKERS as u16);
        let ends = interfaces.into_iter().zip(mails.into_iter().zip(rings)).enumerate();
        let workers = ends.map(|(worker, (interfaces, (mail, handoff)))| {
            let config = ShardConfig {
                worker: WorkerId(worker as u16),
                workers: WORKERS as u16,
                max_states: STATES,
                interfaces: 2,
                key: [7, 9],
            };
            Worker::new(Parts {
                interfaces,
                shard: Shard::sharing(config, credits.clone()),
                max_states: STATES,
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
    fn passing(limit: u32) -> Self {
        let mut bed = Self::new();
        assert!(bed.office.roots.offer(Some(pass(limit))));
        bed.poll();
        bed
    }

    fn put(&mut self, interface: InterfaceId, queue: usize, frame: &[u8]) {
        let mut mbuf = self.pool.alloc().expect("the pool has enough");
        mbuf.extend_from_slice(frame).unwrap();
        self.wires[usize::from(interface.0)].into[queue].push(mbuf).expect("the ring has room");
    }

    /// What left by the queues of both workers.
    fn get(&mut self, interface: InterfaceId) -> Vec<Vec<u8>> {
        let mut frames = Vec::new();
        for out in &mut self.wires[usize::from(interface.0)].out {
            let mut burst = Burst::new();
            while out.dequeue(&mut burst) > 0 {
                frames.extend(burst.drain().map(|mbuf| mbuf.data().to_vec()));
            }
        }
        frames
    }

    fn poll_one(&mut self, worker: usize) {
        self.now = self.now + Tick::from_millis(2);
        self.workers[worker].poll(self.now);
    }

    /// Twice, because what the second hands to the first is taken by it in its next poll.
    fn poll(&mut self) {
        [0, 1, 0, 1].into_iter().for_each(|worker| self.poll_one(worker));
    }

    fn sheet(&self, worker: usize) -> Sheet {
        self.reader.sheet(worker).unwrap()
    }

    fn sum(&self) -> Sheet {
        Sheet::sum(&self.reader.sheets(WORKERS).unwrap()).unwrap()
    }

    /// Conservation holds while they run and when they have ended, and every mbuf is back. Returns what was left between
    /// the workers.
    fn end(self) -> u64 {
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
        let sum = Sheet::sum(&sheets).unwrap().worker;
        sum.handoff_out - sum.handoff_in
    }
}

fn pass(limit: u32) -> Arc<Root> {
    let rule = Rule { action: Action::Pass, state: StateMode::Keep, ..Rule::default() };
    let mut ruleset = Ruleset { rules: vec![rule], ..Ruleset::default() };
    ruleset.options.limits.set(Limit::States, limit);
    Arc::new(Root::compile(&ruleset, fib().interfaces(), None).unwrap())
}

/// A UDP datagram of flow `flow` that arrives at `interface` and ends with `mark`.
fn datagram(interface: InterfaceId, flow: u16, mark: u16) -> Vec<u8> {
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

fn mark(frame: &[u8]) -> u16 {
    u16::from_be_bytes([frame[frame.len() - 2], frame[frame.len() - 1]])
}

fn flow(frame: &[u8]) -> u16 {
    u16::from_be_bytes([frame[34], frame[35]]).max(u16::from_be_bytes([frame[36], frame[37]])) - 10_000
}

#[test]
fn d09_a_reply_at_another_workers_queue_finds_its_flow_and_order_is_kept() {
    const FLOWS: u16 = 64;
    let mut bed = Bed::passing(STATES);
    for number in 0..3 {
        // Requests of a flow all arrive at one queue, replies at the other.
        for flow in 0..FLOWS {
            bed.put(WAN, usize::from(flow % 2), &datagram(WAN, flow, number));
        }
        for flow in (0..FLOWS).filter(|_| number > 0) {
            bed.put(LAN, usize::from((flow + 1) % 2), &datagram(LAN, flow, number));
        }
        if number != 1 {
            bed.poll();
        }
    }
    for (interface, first) in [(LAN, 0), (WAN, 1)] {
        let frames = bed.get(interface);
        assert_eq!(frames.len(), usize::from(FLOWS * (3 - first)));
        for number in 0..FLOWS {
            let marks: Vec<u16> =
                frames.iter().filter(|frame| flow(frame) == number).map(|frame| mark(frame)).collect();
            assert_eq!(marks, (first..3).collect::<Vec<_>>(), "flow {number} out of {interface:?}");
        }
    }
    let sum = bed.sum();
    assert_eq!((sum.worker.states, sum.worker.inserts), (u64::from(2 * FLOWS), u64::from(2 * FLOWS)));
    for worker in 0..WORKERS {
        let counts = bed.sheet(worker).worker;
        assert!(counts.states > 0 && counts.handoff_in > 0 && counts.handoff_out > 0, "{counts:?}");
    }
    assert_eq!(bed.end(), 0, "nothing was on its way");
}

#[test]
fn a_full_ring_drops_and_counts_what_it_has_no_room_for() {
    const EACH: u64 = 1600;
    let mut bed = Bed::passing(STATES);
    // The second worker does not come back; the first receives for both.
    for sent in 0..EACH {
        bed.put(WAN, 0, &datagram(WAN, (sent % 64) as u16, 0));
        if sent % 32 == 31 {
            bed.poll_one(0);
        }
    }
    bed.poll_one(0);
    let first = bed.sheet(0);
    let full = first.drops[0][Reason::HandoffFull as usize];
    let own = bed.get(LAN).len() as u64;
    assert_eq!(first.worker.handoff_out, u64::from(handoff::RING));
    assert_eq!((first.interfaces[0].rx_packets, full > 0), (EACH, true));
    assert_eq!(own + full + u64::from(handoff::RING), EACH);
    // It comes back and takes all that waits.
    bed.poll_one(1);
    assert_eq!(bed.get(LAN).len() as u32, handoff::RING);
    assert_eq!(bed.end(), 0);
}

#[test]
fn what_is_between_workers_at_the_end_is_known_and_freed() {
    let mut bed = Bed::passing(STATES);
    (0..64).for_each(|flow| bed.put(WAN, 0, &datagram(WAN, flow, 0)));
    bed.poll_one(0);
    let own = bed.get(LAN).len() as u64;
    assert!((1..64).contains(&own), "{own} of 64 flows are the first worker's");
    assert_eq!(bed.end(), 64 - own);
}

#[test]
fn the_limit_on_states_holds_for_both_together() {
    let mut bed = Bed::passing(20);
    for flow in 0..64 {
        bed.put(WAN, usize::from(flow % 2), &datagram(WAN, flow, 0));
        bed.poll();
    }
    let sum = bed.sum();
    // A forwarded flow has two states.
    assert_eq!(sum.worker.states, 20);
    let refused = sum.drops[0][Reason::Memory as usize];
    assert_eq!(bed.get(LAN).len() as u64 + refused, 64);
    assert!(bed.sheet(0).worker.states > 0 && bed.sheet(1).worker.states > 0);
    assert_eq!(bed.end(), 0);
}

#[test]
fn a_ruleset_that_one_worker_does_not_take_is_taken_by_none() {
    let mut bed = Bed::passing(STATES);
    let refused = std::thread::scope(|scope| {
        let Bed { workers, office, now, .. } = &mut bed;
        let commit = scope.spawn(|| office.roots.publish(None, Duration::from_millis(300)));
        while !commit.is_finished() {
            workers[0].poll(*now);
        }
        commit.join().unwrap()
    });
    assert_eq!(refused, Err(Stalled));
    bed.poll();
    (0..64).for_each(|flow| bed.put(WAN, 0, &datagram(WAN, flow, 0)));
    bed.poll();
    assert_eq!(bed.get(LAN).len(), 64, "both have the rules from before");
    assert!(bed.office.roots.is_ready(), "and can be given others");
    bed.end();
}

#[test]
fn lists_and_sums_are_of_both_workers() {
    let mut bed = Bed::passing(STATES);
    (0..64).for_each(|flow| bed.put(WAN, 0, &datagram(WAN, flow, 0)));
    bed.poll();
    let root = pass(STATES);
    assert!(bed.office.roots.offer(Some(root.clone())));
    bed.poll();
    let (states, usage) = std::thread::scope(|scope| {
        let Bed { workers, office, now, .. } = &mut bed;
        let asked = scope.spawn(|| {
            let patience = Duration::from_secs(10);
            let (mut states, mut cursor) = (Vec::new(), 0);
            while cursor != u32::MAX {
                let (some, next) = office.lister.states(cursor, patience).unwrap();
                states.extend(some);
                cursor = next;
            }
            (states, office.lister.usage(&root, patience).unwrap())
        });
        while !asked.is_finished() {
            workers.iter_mut().for_each(|worker| {
                worker.poll(*now);
            });
        }
        asked.join().unwrap()
    });
    assert_eq!((states.len(), usage.len(), usage[0].states), (128, 1, 128));
    let mut ids: Vec<u64> = states.iter().map(|state| state.id).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 128, "ids of different workers differ");
    assert_eq!(bed.get(LAN).len(), 64);
    bed.end();
}
