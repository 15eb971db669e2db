//! A firewall without ports: the dataplane's own engine, a worker's shard, for one packet after the other.
//!
//! Overview: [`Firewall::see`] takes a packet to the hooks that it names and says what became of it. The way that packets
//! take is not looked up: what only comes in is for the host, what only goes out comes from it, and what does both is
//! routed where it says. Networks of interfaces are behind them, and what is in none is behind where it comes in. Time passes
//! by a millisecond for each packet. Bounds: [`STATES`] states.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;

use anyhow::{Context, anyhow, ensure};
use engine::fib::{Interface, InterfaceAddress, Neighbor, NextHop, Role, Route, RouteEntry};
use engine::{
    Arrival, Created, Entropy, Fate, Fib, InterfaceId, Parsed, Root, Shard, ShardConfig, Source, Tick,
    Transport, View, WorkerId, Zone, parse,
};
use pfconf::Interfaces;
use ruleset::{Action, AddressPattern, Direction, Gateway, Reason, Ruleset, StateView};
use serde::Serialize;
use wire::{Af, Mac, Proto, Seq, TcpFlags};

use super::frame::{self, Link};
use super::packet::Packet;
use crate::rulebook::{RuleName, Rulebook};

/// Room for so many states.
const STATES: u32 = 1 << 14;
/// Who sends what comes in, and takes what goes out.
const STRANGER: Mac = Mac([0x02, 0, 0, 0, 1, 0]);
/// Where ends of TCP connections begin to count.
const INITIAL: Seq = Seq(1_000_000);
/// Between two packets.
const STEP: Tick = Tick::from_millis(1);

/// What became of a packet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Outcome {
    /// The packet.
    pub packet: String,
    /// Let through or not, or not known yet.
    pub verdict: Verdict,
    /// Why it was dropped, by the name that counters have.
    pub reason: Option<&'static str>,
    /// Where `route-to` or `reply-to` sends it: interface and next hop.
    pub route: Option<String>,
    /// What its sender was told: `rst`, or `icmp` with type and code.
    pub reply: Option<String>,
    /// The rules that decided, at the hooks in their order; those of the state if it belongs to one.
    pub rules: Vec<RuleName>,
    /// It belongs to a state that was there before.
    pub known: bool,
    /// The states that it made, as `pfctl -ss` shows them.
    pub made: Vec<String>,
    /// A rule logged it.
    pub logged: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    Pass,
    Block,
    /// A fragment, which waits for the others of its datagram.
    Wait,
}

impl Verdict {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Block => "block",
            Self::Wait => "wait",
        }
    }
}

/// Always the same numbers: a test that failed fails again.
#[derive(Debug)]
struct Fixed(u64);

impl Entropy for Fixed {
    fn next_u64(&mut self) -> u64 {
        // SplitMix64's increment and finalizer.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let value = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let value = (value ^ value >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        value ^ value >> 31
    }
}

/// One direction of a TCP connection: sender, its port, receiver, its port.
type Direct = (IpAddr, u16, IpAddr, u16);

/// The firewall.
#[derive(Debug)]
pub struct Firewall {
    root: Root,
    interfaces: Vec<Interface>,
    shard: Shard,
    entropy: Fixed,
    now: Tick,
    /// Tells the ways of packets apart.
    epoch: u32,
    /// The sequence number that comes next.
    next: HashMap<Direct, Seq>,
}

/// What the shard has counted.
struct Counted {
    drops: Vec<u64>,
    created: u64,
    /// Segments of handshakes that are completed for a server.
    proxied: u64,
    evaluations: u64,
    packets: Vec<u64>,
    states: Vec<StateView>,
}

impl Firewall {
    /// A firewall with these rules and interfaces. Interfaces that only rules or packets name are there, without addresses.
    pub fn new(rules: &Ruleset, interfaces: &Interfaces, named: &[&str]) -> anyhow::Result<Self> {
        let described = interfaces.described().map(|own| {
            let addresses = own.addresses.iter();
            Interface {
                groups: own.groups.iter().map(|group| (*group).to_owned()).collect(),
                addresses: addresses
                    .map(|own| InterfaceAddress {
                        peer: own.peer,
                        ..InterfaceAddress::new(own.address, own.prefix)
                    })
                    .collect(),
                ..interface(own.name)
            }
        });
        let mut interfaces: Vec<Interface> = described.collect();
        let routings = || rules.rules.iter().filter_map(|rule| rule.routing.as_ref());
        let gateways = || {
            let all = routings().flat_map(|routing| &routing.gateways);
            all.filter_map(|gateway| gateway.interface.as_deref().map(|name| (name, gateway)))
        };
        let is_port = |gateway: &Gateway| gateway.address == AddressPattern::Any;
        let spans: Vec<&str> =
            gateways().filter(|(_, gateway)| is_port(gateway)).map(|(name, _)| name).collect();
        for name in named.iter().copied().chain(gateways().map(|(name, _)| name)) {
            if !interfaces.iter().any(|known| known.name == *name) {
                interfaces.push(interface(name));
            }
        }
        for (number, interface) in interfaces.iter_mut().enumerate() {
            interface.mac = Mac([0x02, 0, 0, 0, 0, number as u8]);
            if spans.contains(&&*interface.name) {
                interface.role = Role::Span;
            }
        }
        let root = Root::compile(rules, &interfaces, None)?;
        let shard = Shard::new(ShardConfig {
            worker: WorkerId(0),
            workers: 1,
            max_states: STATES,
            interfaces: interfaces.len(),
            key: [1, 2],
        });
        Ok(Self {
            root,
            interfaces,
            shard,
            entropy: Fixed(0),
            now: Tick::from_secs(1),
            epoch: 0,
            next: HashMap::new(),
        })
    }

    fn number(&self, name: &str) -> anyhow::Result<InterfaceId> {
        let found = self.interfaces.iter().position(|interface| interface.name == name);
        Ok(InterfaceId(found.with_context(|| format!("there is no interface {name}"))? as u16))
    }

    /// Takes a packet to its hooks.
    pub fn see(&mut self, packet: &Packet) -> anyhow::Result<Outcome> {
        let (enters, leaves) = (packet.enters.as_deref(), packet.leaves.as_deref());
        let at = enters.or(leaves).ok_or_else(|| anyhow!("{packet}: at no interface"))?;
        let arrival = Arrival {
            interface: self.number(at)?,
            source: if enters.is_some() { Source::Wire } else { Source::Host },
        };
        let way = leaves.filter(|_| enters.is_some()).map(|name| self.number(name)).transpose()?;
        let to = self.interfaces[usize::from(arrival.interface.0)].mac;
        let numbers = self.numbers(packet);
        let frame = frame::frame(packet, Link { from: STRANGER, to }, numbers)?;
        let entered = enters.map(|_| arrival.interface);
        let fib = self.fib(entered, way, Some((packet.src, packet.dst)));
        self.decide(&fib, arrival, frame, packet.to_string())
    }

    /// Takes a frame as it is to one hook.
    pub fn see_frame(
        &mut self,
        (on, direction): (&str, Direction),
        mut frame: Vec<u8>,
        at: Tick,
        name: String,
    ) -> anyhow::Result<Outcome> {
        let source = match direction {
            Direction::In => Source::Wire,
            Direction::Out => Source::Host,
        };
        let interface = self.number(on)?;
        // Captured anywhere: it is for whoever has the interface here.
        if let Some(to) = frame.get_mut(..6).filter(|to| to[0] & 1 == 0) {
            to.copy_from_slice(&self.interfaces[usize::from(interface.0)].mac.0);
        }
        let ends = match parse(&frame, Zone::default(), engine::RxChecksum::Unknown) {
            Ok(Parsed::Ip(engine::Packet { tuple, .. })) => {
                Some((tuple.src.to_ip(tuple.af), tuple.dst.to_ip(tuple.af)))
            }
            _ => None,
        };
        let fib = self.fib((source == Source::Wire).then_some(interface), None, ends);
        self.now = at.max(self.now);
        self.decide(&fib, Arrival { interface, source }, frame, name)
    }

    fn decide(
        &mut self,
        fib: &Fib,
        arrival: Arrival,
        mut frame: Vec<u8>,
        packet: String,
    ) -> anyhow::Result<Outcome> {
        self.now = self.now + STEP;
        let before = self.counted(fib);
        let mut fate = [Fate::Drop(Reason::NoRules)];
        let view = View { now: self.now, root: Some(&self.root), fib };
        self.shard.process(&view, &mut self.entropy, arrival, std::slice::from_mut(&mut frame), &mut fate);
        let mut first = None;
        self.shard.take_pieces(self.now, |piece, _| {
            first.get_or_insert_with(|| ([piece.head, piece.rest].concat(), piece.fate));
        });
        if let Some(first) = first {
            (frame, fate[0]) = first;
        }
        ensure!(!matches!(fate[0], Fate::HandOff(_)), "{packet}: handed to a worker that there is not");
        let after = self.counted(fib);
        let dropped = Reason::ALL.iter().zip(before.drops.iter().zip(&after.drops));
        let reason =
            dropped.into_iter().find(|(_, (before, after))| after > before).map(|(reason, _)| reason);
        // What is counted as a drop here went on in place of another packet, or is the server's handshake.
        let proxied = after.proxied > before.proxied;
        let reason = reason.filter(|_| !proxied);
        let reply = if proxied || after.created > before.created { reply_of(&frame) } else { None };
        let was_there = |state: &&StateView| before.states.iter().any(|before| before.id == state.id);
        let made: Vec<String> =
            after.states.iter().filter(|state| !was_there(state)).map(StateView::to_string).collect();
        let known = !before.states.is_empty() && before.evaluations == after.evaluations;
        let book = Rulebook::new(self.root.ruleset());
        let decided = |(number, rule): (u32, &ruleset::Rule)| {
            let packets = |counted: &Counted| counted.packets[number as usize];
            let decides = rule.action != Action::Match && packets(&after) > packets(&before);
            book.name(number).filter(|_| decides)
        };
        let rules = (0..).zip(&self.root.ruleset().rules).filter_map(decided).collect();
        let logged = std::iter::from_fn(|| self.shard.take_log()).count() > 0;
        let verdict = match (reason, fate[0]) {
            (None, Fate::Kept) => Verdict::Wait,
            (None, _) => Verdict::Pass,
            (Some(_), _) => Verdict::Block,
        };
        let reason = reason.map(|reason| reason.name());
        let route = self.route_of(fib, fate[0]);
        Ok(Outcome { packet, verdict, reason, route, reply, rules, known, made, logged })
    }

    /// Where a packet goes that waits for a gateway: no Ethernet address is known here but that of what it is for.
    fn route_of(&self, fib: &Fib, fate: Fate) -> Option<String> {
        let Fate::Hold { interface, next_hop } = fate else { return None };
        Some(format!("{next_hop}@{}", fib.interface(interface)?.name))
    }

    fn counted(&self, fib: &Fib) -> Counted {
        let counters = self.shard.counters();
        let drops = Reason::ALL.iter().map(|reason| counters.dropped(*reason)).collect();
        let created = counters.created(Created::Rst) + counters.created(Created::Icmp);
        let proxied = counters.created(Created::Handshake);
        let usage = self.shard.rule_usage(&self.root);
        let evaluations = usage.iter().map(|usage| usage.evaluations).sum();
        let packets =
            usage.iter().map(|usage| usage.counted.iter().map(|counted| counted.packets).sum()).collect();
        Counted { drops, created, proxied, evaluations, packets, states: self.states(fib) }
    }

    fn states(&self, fib: &Fib) -> Vec<StateView> {
        let view = View { now: self.now, root: Some(&self.root), fib };
        let (mut states, mut cursor) = (Vec::new(), 0);
        while cursor != u32::MAX {
            self.shard.dump(&view, &mut cursor, usize::MAX, &mut |state| states.push(state));
        }
        states
    }

    /// The packet leads to the host, or by its way out, by whatever routing table; its sender's network is behind the interface
    /// where it comes in, unless it is that of another interface.
    fn fib(
        &mut self,
        enters: Option<InterfaceId>,
        way: Option<InterfaceId>,
        ends: Option<(IpAddr, IpAddr)>,
    ) -> Fib {
        self.epoch += 1;
        let by = |interface| Route::Forward(vec![NextHop { interface, gateway: None, mtu: None }]);
        let entry = |prefix, length, route| RouteEntry { prefix, length, route };
        let mut routes: Vec<RouteEntry> = [IpAddr::from([0_u8; 4]), IpAddr::from([0_u8; 16])]
            .map(|prefix| entry(prefix, 0, Route::Host))
            .into();
        for (number, interface) in (0..).zip(&self.interfaces) {
            let own = interface.addresses.iter();
            routes.extend(own.map(|own| entry(own.address, own.prefix, by(InterfaceId(number)))));
        }
        let mut neighbor = None;
        if let Some((src, dst)) = ends {
            let mut addresses = self.interfaces.iter().flat_map(|interface| &interface.addresses);
            let near = addresses
                .any(|own| Af::of(&own.address) == Af::of(&src) && own.is_near(src.into(), own.prefix));
            let sender = enters.filter(|_| !near);
            routes.extend(sender.map(|enters| entry(src, Af::of(&src).bits(), by(enters))));
            routes.push(entry(dst, Af::of(&dst).bits(), way.map_or(Route::Host, by)));
            neighbor = way.map(|interface| Neighbor { interface, address: dst, mac: STRANGER });
        }
        let rules = &self.root.ruleset().rules;
        let tables: BTreeSet<_> = rules.iter().filter_map(|rule| rule.rtable).collect();
        let in_each = |table| routes.iter().map(move |route| (table, route.clone()));
        let tables: Vec<_> = tables.into_iter().flat_map(in_each).collect();
        Fib::new(self.epoch, self.interfaces.clone(), routes, neighbor).with_tables(tables)
    }

    /// Sequence and acknowledgment number of a segment: given, or what comes next.
    fn numbers(&mut self, packet: &Packet) -> (Seq, Seq) {
        if packet.proto != Proto::TCP {
            return (Seq(0), Seq(0));
        }
        let there = (packet.src, packet.sport, packet.dst, packet.dport);
        let back = (packet.dst, packet.dport, packet.src, packet.sport);
        let seq = packet.seq.map(Seq).or_else(|| self.next.get(&there).copied()).unwrap_or(INITIAL);
        let acks = packet.flags.contains(TcpFlags::ACK);
        let ack = packet.ack.map(Seq).or_else(|| self.next.get(&back).copied().filter(|_| acks));
        let controls = [TcpFlags::SYN, TcpFlags::FIN];
        let controls = controls.iter().filter(|control| packet.flags.contains(**control)).count() as u32;
        self.next.insert(there, seq.plus(u32::from(packet.len) + controls));
        (seq, ack.unwrap_or_default())
    }
}

fn interface(name: &str) -> Interface {
    Interface {
        name: name.to_owned(),
        groups: Vec::new(),
        mac: Mac::default(),
        mtu: 1500,
        addresses: Vec::new(),
        zone: Zone::default(),
        up: true,
        role: Role::Routed,
    }
}

/// What a frame answers that was one of the firewall's.
fn reply_of(frame: &[u8]) -> Option<String> {
    const SYN_ACK: TcpFlags = TcpFlags::SYN.union(TcpFlags::ACK);
    let Ok(Parsed::Ip(packet)) = parse(frame, Zone::default(), engine::RxChecksum::Unknown) else {
        return None;
    };
    Some(match packet.transport {
        Transport::Tcp(segment) if segment.flags.contains(TcpFlags::RST) => "rst".into(),
        Transport::Tcp(segment) if segment.flags.contains(SYN_ACK) => "syn-ack".into(),
        Transport::Tcp(segment) if segment.flags.contains(TcpFlags::SYN) => return None,
        Transport::Tcp(_) => "ack".into(),
        Transport::IcmpError { kind, code, .. } => format!("icmp {kind}/{code}"),
        _ => return None,
    })
}
