//! The bed: a worker whose ports are rings, and the frames that go in.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};

use dpdk::{
    Burst, Consumer, Eal, EalArgs, Mbuf, Memory, Mempool, PoolConfig, Port, PortConfig, Producer, TscClock,
    spsc,
};
use engine::fib::{Interface, InterfaceAddress, Neighbor, NextHop, Role, Route, RouteEntry};
use engine::{DropRecord, Fib, InterfaceId, Root, Shard, ShardConfig, Source, Tick, WorkerId, Zone};
use ruleset::{Action, Reason, Rule, Ruleset, StateMode};
use wire::Mac;
use worker::claim;
use worker::config::{self, Idle};
use worker::handoff::Handoff;
use worker::mail::{Office, mail};
use worker::outlet::Traffic;
use worker::ports::sides;
use worker::random::Random;
use worker::span::Span;
use worker::telemetry::{self, Reader, Sheet, Writer};
use worker::vlan::Trunk;
use worker::worker::{Attachment, Parts, Side, Sides, Worker};

pub const MTU: u16 = 1500;
pub const RING: u32 = 256;
/// Places for states.
pub const RECORDS: u32 = 4096;
pub const MBUFS: u32 = 2047;

/// The firewall's own addresses, and its neighbours'.
pub const WAN_MAC: Mac = Mac([2, 0, 0, 0, 1, 1]);
pub const LAN_MAC: Mac = Mac([2, 0, 0, 0, 2, 1]);
pub const CLIENT_MAC: Mac = Mac([2, 0, 0, 0, 1, 2]);
pub const SERVER_MAC: Mac = Mac([2, 0, 0, 0, 2, 2]);
pub const CLIENT: [u8; 4] = [10, 1, 0, 2];
pub const SERVER: [u8; 4] = [10, 2, 0, 2];
pub const WAN: [u8; 4] = [10, 1, 0, 1];
pub const LAN: InterfaceId = InterfaceId(1);

pub fn eal() -> Eal {
    static EAL: OnceLock<Eal> = OnceLock::new();
    EAL.get_or_init(|| {
        let prefix = format!("worker-rings-{}", std::process::id());
        let args = EalArgs::new("worker-rings", Memory::NoHuge { mib: 128 }).file_prefix(&prefix);
        Eal::init(&args).unwrap()
    })
    .clone()
}

/// Both ends of one side of an interface: what the test puts in, and what it gets.
pub struct Ends {
    into: Producer,
    out: Consumer,
}

impl Ends {
    pub fn put(&mut self, pool: &Mempool, frame: &[u8]) {
        let mut mbuf = pool.alloc().expect("the pool has enough");
        mbuf.extend_from_slice(frame).unwrap();
        self.into.push(mbuf).expect("the ring has room");
    }

    fn get(&mut self) -> Vec<Vec<u8>> {
        let mut burst = Burst::new();
        let mut frames = Vec::new();
        while self.out.dequeue(&mut burst) > 0 {
            frames.extend(burst.drain().map(|mbuf: Mbuf| mbuf.data().to_vec()));
        }
        frames
    }
}

pub struct Bed {
    pub worker: Worker,
    pub pool: Mempool,
    /// wan0's wire and host sides, then lan0's, then the host sides of its VLANs, then the wire side of span0.
    ends: Vec<Ends>,
    ports: Vec<Port>,
    pub office: Office,
    reader: Reader,
    counters: PathBuf,
    plan: Plan,
    pub now: Tick,
}

pub const WAN_WIRE: usize = 0;
pub const WAN_HOST: usize = 1;
pub const LAN_WIRE: usize = 2;
pub const LAN_HOST: usize = 3;

/// What a bed is made of.
#[derive(Clone)]
pub struct Plan {
    pub tx_ring: u32,
    /// The largest datagrams of wan0 and lan0.
    pub mtu: [u16; 2],
    /// The VLANs of lan0, which are the interfaces from 2 on; the firewall is 10.2.VLAN.1/24 there.
    pub vlans: Vec<u16>,
    /// Packets that the transmit ring of span0 holds, the last interface; without it there is none.
    pub span: Option<u32>,
    /// The form of its copies.
    pub form: config::Span,
    pub neighbors: Vec<(InterfaceId, [u8; 4], Mac)>,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            tx_ring: RING,
            mtu: [MTU; 2],
            vlans: Vec::new(),
            span: None,
            form: config::Span::default(),
            neighbors: KNOWN.to_vec(),
        }
    }
}

impl Plan {
    pub fn fib(&self, epoch: u32) -> Arc<Fib> {
        let interface = |name: String, mac, mtu, address: [u8; 4]| Interface {
            name,
            groups: vec![],
            mac,
            mtu,
            addresses: vec![InterfaceAddress::new(IpAddr::from(address), 24)],
            zone: Zone::default(),
            up: true,
            role: Role::Routed,
        };
        let connected = |(number, prefix): (u16, [u8; 4])| RouteEntry {
            prefix: IpAddr::from(prefix),
            length: 24,
            route: Route::Forward(vec![NextHop { interface: InterfaceId(number), gateway: None, mtu: None }]),
        };
        let neighbor = |(interface, address, mac): &(InterfaceId, [u8; 4], Mac)| Neighbor {
            interface: *interface,
            address: IpAddr::from(*address),
            mac: *mac,
        };
        let mut interfaces = vec![
            interface("wan0".into(), WAN_MAC, self.mtu[0], WAN),
            interface("lan0".into(), LAN_MAC, self.mtu[1], [10, 2, 0, 1]),
        ];
        let mut networks = vec![(0, [10, 1, 0, 0]), (1, [10, 2, 0, 0])];
        for (vlan, number) in self.vlans.iter().zip(2..) {
            interfaces.push(interface(format!("lan0.{vlan}"), LAN_MAC, self.mtu[1], [10, 2, *vlan as u8, 1]));
            networks.push((number, [10, 2, *vlan as u8, 0]));
        }
        if self.span.is_some() {
            let span = interface("span0".into(), Mac::default(), MTU, [0; 4]);
            interfaces.push(Interface { addresses: vec![], role: Role::Span, ..span });
        }
        let routes = networks.into_iter().map(connected);
        Arc::new(Fib::new(epoch, interfaces, routes, self.neighbors.iter().map(neighbor)))
    }
}

pub fn fib(epoch: u32, neighbors: &[(InterfaceId, [u8; 4], Mac)]) -> Arc<Fib> {
    Plan { neighbors: neighbors.to_vec(), ..Plan::default() }.fib(epoch)
}

pub const KNOWN: &[(InterfaceId, [u8; 4], Mac)] =
    &[(InterfaceId(0), CLIENT, CLIENT_MAC), (LAN, SERVER, SERVER_MAC)];

/// Opens ports that are rings.
struct Opener {
    number: u32,
    pool: Mempool,
    tx_ring: u32,
    attachment: [Attachment; 1],
    ends: Vec<Ends>,
    ports: Vec<Port>,
}

impl Opener {
    fn open(&mut self, interface: InterfaceId, mtu: u16, side: Source) -> Side {
        let (eal, name) = (eal(), format!("b{}s{}", self.number, self.ends.len()));
        let (into, rx) = spsc(&eal, &format!("{name}i"), RING).unwrap();
        let (tx, out) = spsc(&eal, &format!("{name}o"), self.tx_ring).unwrap();
        let mut port = Port::from_rings(&eal, &name, vec![rx], vec![tx]).unwrap();
        port.configure(&PortConfig::new(1), std::slice::from_ref(&self.pool)).unwrap();
        let queues = port.start().unwrap();
        self.ends.push(Ends { into, out });
        self.ports.push(port);
        sides(interface, queues, usize::from(mtu) + 22, side, &mut self.attachment).remove(0)
    }

    fn interface(&mut self, interface: InterfaceId, mtu: u16) {
        let wire = self.open(interface, mtu, Source::Wire);
        self.add(interface, mtu, wire);
    }

    /// A VLAN of lan0.
    fn vlan(&mut self, interface: InterfaceId, mtu: u16, vlan: u16) {
        let outlet = self.attachment[0].interfaces[1].wire.outlet.of_vlan(interface, vlan);
        self.add(interface, mtu, Side { rx: None, received: Traffic::default(), outlet });
    }

    fn span(&mut self, interface: InterfaceId, tx_ring: u32, form: &config::Span) {
        self.tx_ring = tx_ring;
        let wire = self.open(interface, MTU, Source::Wire);
        let wire = Side { rx: None, ..wire };
        let span = Span::new(form, 0);
        self.attachment[0].interfaces.push(Sides { wire, host: None, trunk: None, span });
    }

    fn add(&mut self, interface: InterfaceId, mtu: u16, wire: Side) {
        let host = self.open(interface, mtu, Source::Host);
        self.attachment[0].interfaces.push(Sides { wire, host: Some(host), trunk: None, span: None });
    }
}

impl Bed {
    pub fn new(neighbors: &[(InterfaceId, [u8; 4], Mac)]) -> Self {
        Self::of(&Plan { neighbors: neighbors.to_vec(), ..Plan::default() })
    }

    pub fn with_tx_ring(neighbors: &[(InterfaceId, [u8; 4], Mac)], tx_ring: u32) -> Self {
        Self::of(&Plan { tx_ring, neighbors: neighbors.to_vec(), ..Plan::default() })
    }

    pub fn of(plan: &Plan) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let eal = eal();
        let mut pool = PoolConfig::new(&format!("bed{number}"), MBUFS);
        pool.frame_bytes = pool.frame_bytes.max(plan.mtu[0].max(plan.mtu[1]) + 22);
        let pool = Mempool::new(&eal, &pool).unwrap();
        let (attachment, ends, ports) = ([Attachment::default()], Vec::new(), Vec::new());
        let mut opener =
            Opener { number, pool: pool.clone(), tx_ring: plan.tx_ring, attachment, ends, ports };
        opener.interface(InterfaceId(0), plan.mtu[0]);
        opener.interface(LAN, plan.mtu[1]);
        for (vlan, number) in plan.vlans.iter().zip(2..) {
            opener.vlan(InterfaceId(number), plan.mtu[1], *vlan);
        }
        if let Some(tx_ring) = plan.span {
            opener.span(InterfaceId(2 + plan.vlans.len() as u16), tx_ring, &plan.form);
        }
        let Opener { attachment: [mut attachment], ends, ports, .. } = opener;
        if !plan.vlans.is_empty() {
            let numbers = (2..).map(InterfaceId);
            attachment.interfaces[1].trunk =
                Some(Box::new(Trunk::new(plan.vlans.iter().copied().zip(numbers))));
        }

        let fib = plan.fib(1);
        let names: Vec<String> = fib.interfaces().iter().map(|interface| interface.name.clone()).collect();
        let socket = std::env::temp_dir().join(format!("worker-rings-{}-{number}.sock", std::process::id()));
        let counters = claim::beside(&socket, "counters");
        let segment = telemetry::create(&counters, 1, &names).unwrap();
        let (mut mails, office) = mail(fib, 1, RECORDS);
        let interfaces = names.len();
        let config =
            ShardConfig { worker: WorkerId(0), workers: 1, max_states: RECORDS, interfaces, key: [7, 9] };
        let worker = Worker::new(Parts {
            attachment,
            shard: Shard::new(config),
            pool: pool.clone(),
            clock: TscClock::new(&eal),
            random: Random::new().unwrap(),
            handoff: Handoff::alone(),
            mail: mails.remove(0),
            telemetry: Writer::new(&segment, 0).unwrap(),
            idle: Idle::Poll,
        });
        let reader = Reader::open(&counters, interfaces).unwrap();
        let (plan, now) = (plan.clone(), Tick::from_secs(1000));
        Self { worker, pool, ends, ports, office, reader, counters, plan, now }
    }

    /// A bed with one rule that passes everything.
    pub fn passing(neighbors: &[(InterfaceId, [u8; 4], Mac)]) -> Self {
        let mut bed = Self::new(neighbors);
        bed.pass();
        bed
    }

    pub fn pass(&mut self) {
        self.commit(Rule { action: Action::Pass, state: StateMode::Keep, ..Rule::default() });
    }

    pub fn commit(&mut self, rule: Rule) {
        self.commit_all(vec![rule]);
    }

    pub fn commit_all(&mut self, rules: Vec<Rule>) {
        self.commit_ruleset(&Ruleset { rules, ..Ruleset::default() });
    }

    pub fn commit_ruleset(&mut self, ruleset: &Ruleset) {
        let root = Root::compile(ruleset, self.plan.fib(1).interfaces(), None).unwrap();
        assert!(self.office.roots.offer(Some(Arc::new(root))));
    }

    pub fn put(&mut self, side: usize, frame: &[u8]) {
        self.ends[side].put(&self.pool, frame);
    }

    pub fn put_mbuf(&mut self, side: usize, mbuf: Mbuf) {
        self.ends[side].into.push(mbuf).expect("the ring has room");
    }

    pub fn get(&mut self, side: usize) -> Vec<Vec<u8>> {
        self.ends[side].get()
    }

    /// What span0 sends.
    pub fn get_span(&mut self) -> Vec<Vec<u8>> {
        self.ends.last_mut().map(Ends::get).unwrap_or_default()
    }

    pub fn poll(&mut self) {
        self.now = self.now + Tick::from_millis(10);
        self.worker.poll(self.now);
    }

    /// The oldest example of a drop that nobody has taken.
    pub fn example(&mut self) -> DropRecord {
        self.office.logs[0].next_drop().expect("an example")
    }

    /// How many examples there are, which are taken.
    pub fn example_count(&mut self) -> usize {
        std::iter::from_fn(|| self.office.logs[0].next_drop()).count()
    }

    pub fn sheet(&self) -> Sheet {
        self.reader.sheet(0).unwrap()
    }

    pub fn dropped(&self, interface: InterfaceId, reason: Reason) -> u64 {
        self.sheet().drops[usize::from(interface.0)][reason as usize]
    }

    /// The counters balance now; then the worker ends, and every mbuf is back.
    pub fn end(self) -> Sheet {
        let running = self.sheet().conservation();
        assert!(running.holds(), "while it runs: {running:?}");
        let sheet = self.worker.run(&AtomicBool::new(true));
        let sum = sheet.conservation();
        assert!(sum.holds() && sum.held == 0, "at the end: {sum:?}");
        drop((self.ends, self.ports));
        assert_eq!(self.pool.in_use(), 0, "mbufs that did not come back");
        let _ = std::fs::remove_file(self.counters);
        sheet
    }
}

/// An IPv4 UDP datagram with `payload` bytes, in a frame.
pub fn udp(macs: (Mac, Mac), from: [u8; 4], to: [u8; 4], payload: usize) -> Vec<u8> {
    let total = 28 + payload as u16;
    let mut ip = vec![0x45, 0, 0, 0, 0, 1, 0x40, 0, 64, 17, 0, 0];
    ip[2..4].copy_from_slice(&total.to_be_bytes());
    ip.extend(from.iter().chain(&to));
    let sum: u32 = ip.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    ip[10..12].copy_from_slice(&(!(folded as u16)).to_be_bytes());
    let mut frame: Vec<u8> = [&macs.1.0[..], &macs.0.0[..], &[8, 0], &ip].concat();
    frame.extend([0x30, 0x39, 0, 53]);
    frame.extend((8 + payload as u16).to_be_bytes());
    frame.extend([0, 0]);
    frame.resize(frame.len() + payload, 0xaa);
    frame
}

pub fn request() -> Vec<u8> {
    udp((CLIENT_MAC, WAN_MAC), CLIENT, SERVER, 20)
}

pub fn arp() -> Vec<u8> {
    let mut frame = [&[0xff; 6][..], &CLIENT_MAC.0, &[8, 6]].concat();
    frame.resize(60, 0);
    frame
}
