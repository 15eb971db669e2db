//! A firewall for stories: three interfaces, hosts behind them, whole packets in and out.
//!
//! `em0` 10.0.0.1/24 and 2001:db8::1/64, `em1` 10.1.0.1/24 and 2001:db8:1::1/64, `em2` 10.2.0.1/24 and 2001:db8:2::1/64.
//! Behind `em1` a router, 10.1.0.254, leads to 198.51.100.0/24. 203.0.113.0/24 is prohibited, 192.0.2.0/24 a black hole,
//! 10.9.0.0/16 unreachable, and there is no default route. Hosts .2 and .3 are known neighbours, others are not.
//!
//! Routing table 2 has default routes: by 10.2.0.2 behind `em2`, and by 2001:db8:1::77, not a known neighbour, behind `em1`.

#![allow(dead_code, reason = "each test file uses its own part of this module")]

pub mod fragment;
pub mod packet;
pub mod rules;
pub mod team;

use std::net::IpAddr;

use engine::fib::{
    Bridge, Interface, InterfaceAddress, Neighbor, NextHop, NonIpPolicy, Role, Route, RouteEntry,
};
use engine::{
    Arrival, Custody, Entropy, Errand, Fate, Fib, InterfaceId, Root, RuleUsage, Selection, Shard,
    ShardConfig, Source, Tick, Unresolved, View, WorkerId, Zone,
};
use ruleset::{PeerState, Reason, RoutingTable, Rule, Ruleset, StateSelector, StateView};
use wire::{Af, Mac};

pub const EM0: InterfaceId = InterfaceId(0);
pub const EM1: InterfaceId = InterfaceId(1);
pub const EM2: InterfaceId = InterfaceId(2);
/// Span ports of [`Firewall::with_spans`].
pub const SPANS: [InterfaceId; 3] = [InterfaceId(3), InterfaceId(4), InterfaceId(5)];

/// The MTU of `em2`; the others take 1500.
pub const SMALL_MTU: u16 = 600;

/// The Ethernet address of the firewall (1) or a station behind an interface.
pub const fn mac(interface: InterfaceId, station: u8) -> Mac {
    Mac([2, 0, 0, 0, interface.0 as u8, station])
}

pub fn ip(text: &str) -> IpAddr {
    text.parse().unwrap_or_else(|_| panic!("not an address: {text}"))
}

pub fn interfaces() -> Vec<Interface> {
    let interface = |number: u16, group: &str, mtu| {
        let own = |address: String, prefix| InterfaceAddress::new(ip(&address), prefix);
        let net6 = if number == 0 { "2001:db8::1".to_owned() } else { format!("2001:db8:{number}::1") };
        Interface {
            name: format!("em{number}"),
            groups: vec![group.into()],
            mac: mac(InterfaceId(number), 1),
            mtu,
            addresses: vec![own(format!("10.{number}.0.1"), 24), own(net6, 64)],
            zone: Zone(0),
            up: true,
            role: Role::Routed,
        }
    };
    vec![interface(0, "lan", 1500), interface(1, "egress", 1500), interface(2, "egress", SMALL_MTU)]
}

pub fn routes() -> Vec<RouteEntry> {
    let route = |net: &str, route| {
        let (prefix, length) = net.split_once('/').expect("a network");
        RouteEntry { prefix: ip(prefix), length: length.parse().expect("a length"), route }
    };
    let through = |interface, gateway: Option<&str>| {
        Route::Forward(vec![NextHop { interface, gateway: gateway.map(ip), mtu: None }])
    };
    vec![
        route("10.0.0.0/24", through(EM0, None)),
        route("10.1.0.0/24", through(EM1, None)),
        route("10.2.0.0/24", through(EM2, None)),
        route("2001:db8::/64", through(EM0, None)),
        route("2001:db8:1::/64", through(EM1, None)),
        route("198.51.100.0/24", through(EM1, Some("10.1.0.254"))),
        route("203.0.113.0/24", Route::Prohibit),
        route("192.0.2.0/24", Route::Blackhole),
        route("10.9.0.0/16", Route::Unreachable),
    ]
}

pub fn neighbors() -> Vec<Neighbor> {
    let known = [
        (EM0, "10.0.0.2", 2),
        (EM0, "10.0.0.3", 3),
        (EM0, "2001:db8::2", 2),
        (EM1, "10.1.0.2", 2),
        (EM1, "10.1.0.254", 254),
        (EM1, "2001:db8:1::2", 2),
        (EM2, "10.2.0.2", 2),
    ];
    let neighbor = |(interface, address, station)| Neighbor {
        interface,
        address: ip(address),
        mac: mac(interface, station),
    };
    known.into_iter().map(neighbor).collect()
}

/// A default route by a gateway.
pub fn default_by(interface: InterfaceId, gateway: &str) -> RouteEntry {
    let gateway = ip(gateway);
    let prefix = if gateway.is_ipv4() { IpAddr::from([0_u8; 4]) } else { IpAddr::from([0_u8; 16]) };
    let hop = NextHop { interface, gateway: Some(gateway), mtu: None };
    RouteEntry { prefix, length: 0, route: Route::Forward(vec![hop]) }
}

/// Routes of other tables than the main one.
pub fn tables() -> Vec<(RoutingTable, RouteEntry)> {
    let second = [default_by(EM2, "10.2.0.2"), default_by(EM1, "2001:db8:1::77")];
    second.map(|route| (RoutingTable(2), route)).into()
}

pub fn fib() -> Fib {
    Fib::new(1, interfaces(), routes(), neighbors()).with_tables(tables())
}

/// Where 10.1.0.0/24 is behind `em2` instead of `em1`.
pub fn rerouted() -> Fib {
    let mut routes = routes();
    routes[1].route =
        Route::Forward(vec![NextHop { interface: EM2, gateway: Some(ip("10.2.0.2")), mtu: None }]);
    Fib::new(2, interfaces(), routes, neighbors())
}

/// `em0` and `em1` are a transparent pair without addresses, in front of which `em2` is as before.
pub fn bridged(non_ip: NonIpPolicy) -> Fib {
    Fib::new(1, paired(interfaces(), non_ip), routes(), neighbors())
}

/// With a pair of the first two.
fn paired(mut interfaces: Vec<Interface>, non_ip: NonIpPolicy) -> Vec<Interface> {
    for (interface, peer) in interfaces.iter_mut().zip([EM1, EM0]) {
        interface.addresses.clear();
        interface.groups.push("br0".into());
        interface.role = Role::Bridged(Bridge { peer, non_ip });
    }
    interfaces
}

/// Steps from one number to the next; without a step there is no randomness, upon which nothing in most stories may depend.
pub struct Sequence {
    number: u64,
    pub step: u64,
}

impl Entropy for Sequence {
    fn next_u64(&mut self) -> u64 {
        self.number = self.number.wrapping_add(self.step);
        self.number ^ self.number >> 29
    }
}

/// One worker's firewall, and the time.
pub struct Firewall {
    pub shard: Shard,
    pub root: Option<Root>,
    pub fib: Fib,
    pub now: Tick,
    pub entropy: Sequence,
    copies: Vec<Copy>,
    pieces: Vec<(Fate, Vec<u8>)>,
}

/// A copy: where to, what its original waits for, and the frame.
pub type Copy = (InterfaceId, Option<Unresolved>, Vec<u8>);

impl Firewall {
    /// One without rules.
    pub fn bare() -> Self {
        Self::of(WorkerId(0), 1, 64)
    }

    /// One with these rules.
    pub fn with(rules: Vec<Rule>) -> Self {
        let mut firewall = Self::bare();
        firewall.load(rules::ruleset(rules));
        firewall
    }

    /// One with three span ports more, `span3` to `span5`.
    pub fn with_spans(rules: Vec<Rule>) -> Self {
        let spans = SPANS.map(|span| Interface {
            name: format!("span{}", span.0),
            groups: Vec::new(),
            mac: mac(span, 1),
            mtu: 1500,
            addresses: Vec::new(),
            zone: Zone(0),
            up: true,
            role: Role::Span,
        });
        let all: Vec<Interface> = interfaces().into_iter().chain(spans).collect();
        let config = ShardConfig {
            worker: WorkerId(0),
            workers: 1,
            max_states: 64,
            interfaces: all.len(),
            key: [11, 12],
        };
        let fib = Fib::new(1, all, routes(), neighbors());
        let mut firewall = Self { shard: Shard::new(config), fib, ..Self::bare() };
        firewall.load(rules::ruleset(rules));
        firewall
    }

    /// One with a pair, [`bridged`], and these rules.
    pub fn bridging(rules: Vec<Rule>) -> Self {
        let mut firewall = Self::bare();
        firewall.fib = bridged(NonIpPolicy::Pass);
        firewall.load(rules::ruleset(rules));
        firewall
    }

    /// One with a pair, and the span ports of [`Self::with_spans`].
    pub fn bridging_with_spans(rules: Ruleset) -> Self {
        let mut firewall = Self::with_spans(Vec::new());
        let interfaces = paired(firewall.fib.interfaces().to_vec(), NonIpPolicy::Pass);
        firewall.fib = Fib::new(1, interfaces, routes(), neighbors());
        firewall.load(rules);
        firewall
    }

    /// The copies that the last frames left: where to, what their original waits for, and the frame.
    pub fn copies(&mut self) -> Vec<Copy> {
        std::mem::take(&mut self.copies)
    }

    /// One of several workers.
    pub fn of(worker: WorkerId, workers: u16, max_states: u32) -> Self {
        let config = ShardConfig { worker, workers, max_states, interfaces: 3, key: [11, 12] };
        Self {
            shard: Shard::new(config),
            root: None,
            fib: fib(),
            now: Tick::from_secs(1000),
            entropy: Sequence { number: 0x0123_4567_89ab_cdef, step: 0 },
            copies: Vec::new(),
            pieces: Vec::new(),
        }
    }

    /// The pieces that the last frames left of datagrams, and what becomes of each.
    pub fn pieces(&mut self) -> Vec<(Fate, Vec<u8>)> {
        std::mem::take(&mut self.pieces)
    }

    fn keep_pieces(&mut self) {
        let pieces = &mut self.pieces;
        self.shard
            .take_pieces(self.now, |piece, _| pieces.push((piece.fate, [piece.head, piece.rest].concat())));
    }

    pub fn load(&mut self, rules: Ruleset) -> &mut Self {
        let root = Root::compile(&rules, self.fib.interfaces(), self.root.as_ref());
        self.root = Some(root.expect("rules for these stories"));
        self
    }

    pub fn wait(&mut self, seconds: u64) -> &mut Self {
        self.now = self.now + Tick::from_secs(seconds);
        self
    }

    fn view(&self) -> View<'_> {
        View { now: self.now, root: self.root.as_ref(), fib: &self.fib }
    }

    /// Decides a frame; it is rewritten for its fate.
    pub fn decide(&mut self, arrival: Arrival, frame: &mut Vec<u8>) -> Fate {
        self.decide_burst(arrival, core::slice::from_mut(frame))[0]
    }

    /// Decides a frame, with this randomness.
    pub fn decide_with(&mut self, entropy: &mut impl Entropy, arrival: Arrival, frame: &mut Vec<u8>) -> Fate {
        let mut fate = [Fate::Drop(Reason::NoRules)];
        let view = View { now: self.now, root: self.root.as_ref(), fib: &self.fib };
        self.shard.process(&view, entropy, arrival, core::slice::from_mut(frame), &mut fate);
        fate[0]
    }

    /// Decides frames that arrived together.
    pub fn decide_burst(&mut self, arrival: Arrival, frames: &mut [Vec<u8>]) -> Vec<Fate> {
        let mut fates = vec![Fate::Drop(Reason::NoRules); frames.len()];
        let view = View { now: self.now, root: self.root.as_ref(), fib: &self.fib };
        self.shard.process(&view, &mut self.entropy, arrival, frames, &mut fates);
        self.copies.clear();
        self.shard.take_copies(self.now, frames, |copies, _| {
            let (to, unresolved) = (copies.to, copies.unresolved);
            copies.each(|head, rest| self.copies.push((to, unresolved, [head, rest].concat())));
        });
        self.keep_pieces();
        fates
    }

    /// Decides a frame that another worker has handed over.
    pub fn take_over(&mut self, arrival: Arrival, custody: Custody, frame: &mut Vec<u8>) -> Fate {
        let mut fate = [Fate::Drop(Reason::NoRules)];
        let view = View { now: self.now, root: self.root.as_ref(), fib: &self.fib };
        let frames = core::slice::from_mut(frame);
        self.shard.take_over(&view, &mut self.entropy, arrival, custody, frames, &mut fate);
        self.keep_pieces();
        fate[0]
    }

    /// Takes back that a frame was handed over.
    pub fn withdraw(&mut self, arrival: Arrival, frame: &Vec<u8>, errand: Errand) {
        let view = View { now: self.now, root: self.root.as_ref(), fib: &self.fib };
        self.shard.withdraw(&view, arrival, frame, errand);
    }

    /// Removes the states of one id.
    pub fn kill_id(&mut self, id: u64) -> u64 {
        let selection =
            Selection::new(&StateSelector { id: Some(id), ..StateSelector::default() }, &self.fib);
        self.shard.kill(&mut 0, usize::MAX, &selection)
    }

    /// Gives up a packet that waited for a neighbour.
    pub fn give_up(&mut self, arrival: Arrival, leaving: InterfaceId, frame: &mut Vec<u8>) -> Fate {
        let view = View { now: self.now, root: self.root.as_ref(), fib: &self.fib };
        self.shard.give_up(&view, arrival, leaving, frame)
    }

    /// Gives up what waits for fragments that do not come.
    pub fn expire_fragments(&mut self) {
        let view = View { now: self.now, root: self.root.as_ref(), fib: &self.fib };
        self.shard.expire_fragments(&view);
    }

    /// Sends a packet whose neighbour is unknown, and gives it up; what its sender is told, if anything.
    pub fn wait_in_vain(&mut self, interface: &str, text: &str) -> Option<String> {
        let arrival = arrival(interface);
        let mut frame =
            packet::Packet::parse(text).frame(mac(arrival.interface, 2), mac(arrival.interface, 1));
        let held = self.decide(arrival, &mut frame);
        let Fate::Hold { interface: leaving, .. } = held else { panic!("{text} is not held: {held:?}") };
        let view = View { now: self.now, root: self.root.as_ref(), fib: &self.fib };
        let before = frame.clone();
        match self.shard.give_up(&view, arrival, leaving, &mut frame) {
            Fate::Drop(Reason::NoNeighbor) => None,
            fate => {
                self.check_answer(arrival, fate, &before, &frame);
                Some(packet::render(&frame))
            }
        }
    }

    /// Sends a packet, written as `packet` says, and tells what became of it:
    ///
    /// - `out em1`: forwarded, with nothing changed but Ethernet addresses and time to live, which is one less;
    /// - `over to em1`: carried across a pair, with nothing changed;
    /// - `host em0`: handed to the host, with nothing changed; `sent em0`: the host's own, sent on as it is;
    /// - `held em1 for 10.1.0.77`: as `out`, but the neighbour is not known;
    /// - `match`: dropped, for that reason; `match: 10.1.0.2.80 > …`: the same, and answered with that packet.
    pub fn send(&mut self, interface: &str, text: &str) -> String {
        let arrival = arrival(interface);
        let packet = packet::Packet::parse(text);
        let bridge = self.fib.interface(arrival.interface).and_then(|own| own.bridge().copied());
        // Across a pair stations speak to each other, elsewhere to the firewall.
        let to = bridge.map_or(mac(arrival.interface, 1), |bridge| mac(bridge.peer, 2));
        let before = packet.frame(mac(arrival.interface, 2), to);
        let mut frame = before.clone();
        let drops = Reason::ALL.map(|reason| self.dropped(reason));
        let fate = self.decide(arrival, &mut frame);
        let mut moved =
            Reason::ALL.into_iter().filter(|reason| self.dropped(*reason) != drops[*reason as usize]);
        let counted = moved.next();
        assert_eq!(moved.next(), None, "one packet, one reason: {text}");
        match fate {
            Fate::Transmit(_) | Fate::Host(_) if counted.is_some() => {
                self.check_answer(arrival, fate, &before, &frame);
                format!("{}: {}", counted.expect("a reason"), packet::render(&frame))
            }
            Fate::Drop(reason) => {
                assert_eq!(counted, Some(reason), "what is told is counted: {text}");
                assert_eq!(frame, before, "a dropped frame is left alone: {text}");
                reason.to_string()
            }
            Fate::Host(to) => {
                assert_eq!(frame, before, "what the host gets is what arrived: {text}");
                format!("host em{}", to.0)
            }
            Fate::Transmit(out) if arrival.source == Source::Host => {
                assert_eq!(frame, before, "what the host sends is sent as it is: {text}");
                format!("sent em{}", out.0)
            }
            Fate::Transmit(out) if bridge.is_some() => {
                assert_eq!(frame, before, "a pair changes nothing: {text}");
                format!("over to em{}", out.0)
            }
            Fate::Transmit(out) => {
                self.check_forwarded(&packet, out, &frame);
                format!("out em{}", out.0)
            }
            Fate::Hold { interface, next_hop } => format!("held em{} for {next_hop}", interface.0),
            Fate::Kept => "kept".into(),
            Fate::HandOff(worker) | Fate::Place(worker) | Fate::Lend(worker) | Fate::Return(worker) => {
                assert_eq!(frame, before, "another worker's frame is left alone: {text}");
                format!("worker {}", worker.0)
            }
        }
    }

    /// Sends a packet that is to be forwarded, and tells where it left and as which packet.
    pub fn pass_on(&mut self, interface: &str, text: &str) -> String {
        let arrival = arrival(interface);
        let mut frame =
            packet::Packet::parse(text).frame(mac(arrival.interface, 2), mac(arrival.interface, 1));
        match self.decide(arrival, &mut frame) {
            Fate::Transmit(out) => format!("out em{}: {}", out.0, packet::render(&frame)),
            other => panic!("{text}: {other:?}\n{}", self.dump()),
        }
    }

    /// Sends a packet of a handshake that is completed for a server: what leaves in its place, and what beside it, each with
    /// where it leaves; or the reason for which it was dropped.
    pub fn shake(&mut self, interface: &str, text: &str) -> (String, Vec<String>) {
        let arrival = arrival(interface);
        let mut frame =
            packet::Packet::parse(text).frame(mac(arrival.interface, 2), mac(arrival.interface, 1));
        let left = |fate: Fate, frame: &[u8]| match fate {
            Fate::Transmit(out) => format!("em{}: {}", out.0, packet::render(frame)),
            Fate::Host(to) => format!("host em{}: {}", to.0, packet::render(frame)),
            Fate::Drop(reason) => reason.to_string(),
            other => format!("{other:?}"),
        };
        let fate = self.decide(arrival, &mut frame);
        let beside = self.pieces().iter().map(|(fate, frame)| left(*fate, frame)).collect();
        self.check_half_open();
        (left(fate, &frame), beside)
    }

    /// Kills the states whose first packet came from `source`; how many they were.
    pub fn kill(&mut self, source: &str) -> u64 {
        let source = Some(ip(source).into());
        let selector = StateSelector { source, ..StateSelector::default() };
        let selection = Selection::new(&selector, &self.fib);
        let mut cursor = 0;
        self.shard.kill(&mut cursor, usize::MAX, &selection)
    }

    /// Sends a packet that is translated, and tells what became of it: where it leaves, as in [`send`](Self::send), and as
    /// which packet, but for the time to live; `translated` says that one, and everything else of the frame must be the same.
    pub fn turn(&mut self, interface: &str, text: &str, translated: &str) -> String {
        let arrival = arrival(interface);
        let mut frame =
            packet::Packet::parse(text).frame(mac(arrival.interface, 2), mac(arrival.interface, 1));
        let fate = self.decide(arrival, &mut frame);
        let forwarded = u8::from(matches!(fate, Fate::Transmit(_)) && arrival.source == Source::Wire);
        let packet = packet::Packet::parse(translated);
        let header = wire::ethernet::Header::at(&frame, 0).expect("an Ethernet header");
        let expected = packet.with_ttl(packet.ttl - forwarded).frame(header.src(), header.dst());
        assert_eq!(frame, expected, "{text} became {fate:?} {}", packet::render(&frame));
        match fate {
            Fate::Transmit(out) => format!("out em{}", out.0),
            Fate::Host(to) => format!("host em{}", to.0),
            other => format!("{other:?}"),
        }
    }

    fn check_forwarded(&self, packet: &packet::Packet, out: InterfaceId, frame: &[u8]) {
        let to = wire::ethernet::Header::at(frame, 0).expect("an Ethernet header").dst();
        let expected = packet.with_ttl(packet.ttl - 1).frame(mac(out, 1), to);
        assert_eq!(frame, expected, "a router changes the time to live: {packet:?}");
        let station = self.fib.neighbor(out, &packet.dst).or(self.fib.neighbor(out, &ip("10.1.0.254")));
        let station = station.or(self.fib.neighbor(out, &ip("10.2.0.2")));
        assert_eq!(Some(to), station, "it goes to the next hop: {packet:?}");
    }

    /// An answer goes back where the packet came from, and to whom.
    fn check_answer(&self, arrival: Arrival, fate: Fate, before: &[u8], frame: &[u8]) {
        let back = match arrival.source {
            Source::Wire => Fate::Transmit(arrival.interface),
            Source::Host => Fate::Host(arrival.interface),
        };
        assert_eq!(fate, back);
        assert_eq!((&frame[..6], &frame[6..12]), (&before[6..12], &before[..6]));
    }

    /// Sends packets, one a line: interface, packet, `->`, what becomes of it, and `as` which packet if it is translated. A
    /// line `wait n` lets seconds pass.
    pub fn tell(&mut self, story: &str) -> &mut Self {
        for line in story.lines().map(str::trim).filter(|line| !line.is_empty()) {
            if let Some(seconds) = line.strip_prefix("wait ") {
                self.wait(seconds.parse().expect("seconds"));
                continue;
            }
            let (sent, expected) = line.split_once("->").unwrap_or_else(|| panic!("no arrow: {line}"));
            let (interface, packet) = sent.split_once(": ").unwrap_or_else(|| panic!("no place: {line}"));
            let (expected, told) = match expected.split_once(" as ") {
                Some((expected, translated)) => (expected, self.turn(interface, packet.trim(), translated)),
                None => (expected, self.send(interface, packet.trim())),
            };
            assert_eq!(told, expected.trim(), "{line}\nstates:\n{}", self.dump());
            self.check_half_open();
        }
        self
    }

    /// What is counted as half-open is what the states show.
    fn check_half_open(&self) {
        let states = self.states();
        let half_open = states.iter().filter(|state| state.source.state == PeerState::SynSent).count();
        assert_eq!(self.shard.half_open() as usize, half_open, "half-open; states:\n{}", self.dump());
    }

    pub fn states(&self) -> Vec<StateView> {
        let (mut states, mut cursor) = (Vec::new(), 0);
        while cursor != u32::MAX {
            self.shard.dump(&self.view(), &mut cursor, 7, &mut |state| states.push(state));
        }
        states.sort_by_key(|state| state.id);
        states
    }

    /// pfctl's `-ss`, sorted.
    pub fn lines(&self) -> Vec<String> {
        let mut lines: Vec<String> = self.states().iter().map(ToString::to_string).collect();
        lines.sort();
        lines
    }

    /// Everything of every state.
    pub fn dump(&self) -> String {
        self.states().iter().map(|state| format!("{state:#}\n")).collect()
    }

    /// Runs a sweep over all records; how many states went.
    pub fn sweep(&mut self) -> u64 {
        let view = View { now: self.now, root: self.root.as_ref(), fib: &self.fib };
        let removed = self.shard.expire(&view, usize::MAX);
        self.check_half_open();
        removed
    }

    pub fn dropped(&self, reason: Reason) -> u64 {
        self.shard.counters().dropped(reason)
    }

    pub fn usage(&self) -> Vec<RuleUsage> {
        self.shard.rule_usage(self.root.as_ref().expect("rules"))
    }
}

/// `em0`, or `em0 host` for what the host sends.
pub fn arrival(text: &str) -> Arrival {
    let (name, source) = match text.split_once(' ') {
        Some((name, "host")) => (name, Source::Host),
        None => (text, Source::Wire),
        Some(_) => panic!("not a place: {text}"),
    };
    let number = name.strip_prefix("em").and_then(|number| number.parse().ok());
    Arrival { interface: InterfaceId(number.unwrap_or_else(|| panic!("not an interface: {name}"))), source }
}

/// The family of an address.
pub const fn af(address: &IpAddr) -> Af {
    Af::of(address)
}
