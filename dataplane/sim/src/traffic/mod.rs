//! What goes through the firewall: packets that nearly always mean something, between few hosts and ports, so that they
//! hit one another's states; and what else happens meanwhile.

pub mod connection;
pub mod rules;

use core::net::IpAddr;

use engine::{Arrival, InterfaceId, Source};
use ruleset::Ruleset;
use wire::{Af, TcpFlags};

use crate::duel::translated;
use crate::oracle;
use crate::rng::Rng;
use crate::sketch::{Body, Damage, Segment, Sketch};
use crate::topology::{self, Routes, address, home_of};
use connection::{Connection, mutate};
use rules::{PORTS, TYPES_OF_SERVICE, Variety, addresses, family};

/// What happens next.
#[derive(Clone, Debug)]
pub enum Step {
    /// A packet arrives.
    Packet {
        /// Where.
        arrival: Arrival,
        /// The packet.
        sketch: Sketch,
    },
    /// Time passes, in nanoseconds.
    Wait(u64),
    /// The firewall looks for expired states.
    Sweep,
    /// Other rules are committed.
    Load(Box<Ruleset>),
    /// The routes change.
    Reroute(Routes),
}

/// TCP connections that are led at the same time.
const CONNECTIONS: usize = 6;

/// Packets that are remembered, for errors to quote.
const REMEMBERED: usize = 24;

const SECOND: u64 = 1_000_000_000;

/// States remember time in this unit.
const SIXTEENTH: u64 = SECOND / 16;

/// The source of everything.
#[derive(Clone, Debug)]
pub struct Generator {
    rng: Rng,
    variety: Variety,
    connections: Vec<Connection>,
    /// The connection, end and segment of the last step, if it can be delivered.
    sent: Option<(usize, usize, Segment)>,
    recent: Vec<Sketch>,
}

impl Generator {
    /// A generator of the given variety; its rulesets are of that variety too.
    pub const fn new(rng: Rng, variety: Variety) -> Self {
        Self { rng, variety, connections: Vec::new(), sent: None, recent: Vec::new() }
    }

    /// A ruleset to go with the packets.
    pub fn ruleset(&mut self) -> Ruleset {
        rules::ruleset(&mut self.rng, self.variety)
    }

    /// The next step.
    pub fn draw(&mut self) -> Step {
        self.sent = None;
        match self.rng.below(1000) {
            0..=79 => Step::Wait(self.wait()),
            80..=94 => Step::Sweep,
            95 => Step::Load(Box::new(self.ruleset())),
            96..=97 => Step::Reroute(*self.rng.pick(&[Routes::Usual, Routes::Detour])),
            _ => self.packet(),
        }
    }

    /// The packet of the last step got through, as this frame.
    pub fn delivered_as(&mut self, frame: &[u8]) {
        let datagram = frame.get(wire::ethernet::HEADER_LEN..).unwrap_or_default();
        let Some(sent) = self.recent.last() else { return };
        let Ok(packet) = oracle::Packet::parse(datagram) else { return };
        let sketch = translated(sent.clone(), &packet);
        if let (Some((connection, sender, _)), Body::Tcp(segment), oracle::Transport::Tcp(tcp)) =
            (self.sent.take(), &sketch.body, &packet.transport)
        {
            let stamps = tcp.stamps.map(|stamps| [stamps.value, stamps.echo]);
            let segment = Segment { seq: tcp.seq, ack: tcp.ack, stamps, ..*segment };
            self.connections[connection].deliver(sender, &segment, sketch.src, sketch.dst);
        }
        if self.variety == Variety::Translated {
            self.remember(&sketch);
        }
    }

    /// The packet of the last step got through, as it was.
    pub fn delivered(&mut self) {
        if let Some((connection, sender, segment)) = self.sent.take() {
            let (from, to) = self.connections[connection].addresses(sender);
            self.connections[connection].deliver(sender, &segment, from, to);
        }
    }

    fn wait(&mut self) -> u64 {
        let rng = &mut self.rng;
        match rng.below(40) {
            0..=29 => rng.below(SECOND / 2),
            30..=37 => {
                // About as long as some time-out, to the unit that time is kept in.
                let seconds = *rng.pick(&[1, 2, 5, 10, 20, 30, 45, 60, 90, 120, 300, 900]);
                let off = *rng.pick(&[0, 1, SIXTEENTH - 1, SIXTEENTH, SECOND]);
                if rng.chance(1, 2) { seconds * SECOND - off } else { seconds * SECOND + off }
            }
            38 => rng.below(3600) * SECOND,
            _ => 86_400 * SECOND,
        }
    }

    fn packet(&mut self) -> Step {
        let (mut sketch, arrival) = match self.rng.below(100) {
            0..=64 => self.tcp(),
            65..=78 => self.udp(),
            79..=87 => self.icmp_query(),
            88..=95 => self.icmp_error(),
            96..=97 => self.stray_tcp(),
            _ => self.other(),
        };
        self.spoil(&mut sketch);
        self.remember(&sketch);
        let arrival = arrival.unwrap_or_else(|| self.arrival(sketch.src, sketch.dst));
        Step::Packet { arrival, sketch }
    }

    fn spoil(&mut self, sketch: &mut Sketch) {
        let rng = &mut self.rng;
        // What cannot be routed keeps its time to live: which of the two kills it first is the router's own affair.
        if rng.chance(1, 30) && sketch.dst != topology::unreachable(Af::of(&sketch.dst)) {
            sketch.ttl = rng.between(1, 2) as u8;
        }
        sketch.options = rng.chance(1, 40);
        if rng.chance(1, 6) {
            sketch.tos = *rng.pick(&TYPES_OF_SERVICE);
        }
        sketch.damage = match rng.below(120) {
            0 => Damage::Fragment,
            1 if matches!(sketch.body, Body::Tcp(_)) => Damage::Checksum,
            _ => Damage::None,
        };
    }

    fn remember(&mut self, sketch: &Sketch) {
        if self.recent.len() == REMEMBERED {
            self.recent.remove(0);
        }
        self.recent.push(sketch.clone());
    }

    /// Where a packet comes in: nearly always where its source is at home.
    fn arrival(&mut self, src: IpAddr, dst: IpAddr) -> Arrival {
        let own = topology::interfaces().find(|id| address(Af::of(&src), *id, 1) == src);
        let to = home_of(dst);
        match (own, to) {
            // The firewall itself speaks.
            (Some(_), Some(interface)) if address(Af::of(&dst), interface, 1) != dst => {
                return Arrival { interface, source: Source::Host };
            }
            _ => {}
        }
        let interface = match home_of(src) {
            Some(home) if !self.rng.chance(1, 25) => home,
            _ => InterfaceId(self.rng.below(topology::INTERFACES.into()) as u16),
        };
        Arrival { interface, source: Source::Wire }
    }

    fn pair(&mut self) -> (IpAddr, IpAddr) {
        let addresses = addresses(family(&mut self.rng));
        loop {
            let (a, b) = (*self.rng.pick(&addresses), *self.rng.pick(&addresses));
            // The unreachable host speaks seldom, and hosts of one network speak without a firewall.
            let apart = home_of(a) != home_of(b) || self.rng.chance(1, 10);
            if a != b && home_of(a).is_some() && apart {
                return (a, b);
            }
        }
    }

    fn tcp(&mut self) -> (Sketch, Option<Arrival>) {
        if self.connections.len() < CONNECTIONS || self.rng.chance(1, 60) {
            let (a, b) = self.pair();
            let ports = (*self.rng.pick(&PORTS), *self.rng.pick(&PORTS));
            if self.connections.len() == CONNECTIONS {
                self.connections.remove(0);
            }
            self.connections.push(Connection::new(&mut self.rng, (a, ports.0), (b, ports.1)));
        }
        let number = self.rng.below(self.connections.len() as u64) as usize;
        let connection = &mut self.connections[number];
        let (sender, mut segment) = connection.next(&mut self.rng);
        let (src, dst) = connection.addresses(sender);
        if self.rng.chance(1, 4) {
            mutate(&mut self.rng, &mut segment);
        } else {
            self.sent = Some((number, sender, segment));
        }
        (Sketch::new(src, dst, Body::Tcp(segment)), None)
    }

    /// A segment that belongs to nothing.
    fn stray_tcp(&mut self) -> (Sketch, Option<Arrival>) {
        let (src, dst) = self.pair();
        let rng = &mut self.rng;
        let mut segment = Segment {
            sport: *rng.pick(&PORTS),
            dport: *rng.pick(&PORTS),
            flags: *rng.pick(&[TcpFlags::SYN, TcpFlags::ACK, TcpFlags::RST]),
            window: 1000,
            ..Segment::default()
        };
        mutate(rng, &mut segment);
        (Sketch::new(src, dst, Body::Tcp(segment)), None)
    }

    fn udp(&mut self) -> (Sketch, Option<Arrival>) {
        if let Some(sketch) = self.again(|body| matches!(body, Body::Udp { .. })) {
            return (sketch, None);
        }
        let (src, dst) = self.pair_or_answer(|body| matches!(body, Body::Udp { .. }));
        let rng = &mut self.rng;
        let ports = [22, 80];
        let body =
            Body::Udp { sport: *rng.pick(&ports), dport: *rng.pick(&ports), len: rng.below(64) as u16 };
        (Sketch::new(src, dst, body), None)
    }

    /// A recent packet of this kind, or its answer: where packets are translated, others would belong to nothing.
    fn again(&mut self, kind: impl Fn(&Body) -> bool) -> Option<Sketch> {
        if self.variety != Variety::Translated || self.rng.chance(1, 4) {
            return None;
        }
        let alike: Vec<&Sketch> = self.recent.iter().filter(|sketch| kind(&sketch.body)).collect();
        let Sketch { src, dst, body, .. } =
            (*alike.get(self.rng.below(alike.len().max(1) as u64) as usize)?).clone();
        let answers = home_of(dst).is_some() && self.rng.chance(1, 2);
        Some(if answers { Sketch::new(dst, src, body.answer()) } else { Sketch::new(src, dst, body) })
    }

    /// The addresses of a recent packet of this kind, or those of its answer; or any.
    fn pair_or_answer(&mut self, kind: impl Fn(&Body) -> bool) -> (IpAddr, IpAddr) {
        let alike: Vec<(IpAddr, IpAddr)> = self
            .recent
            .iter()
            .filter(|sketch| kind(&sketch.body))
            .map(|sketch| (sketch.src, sketch.dst))
            .collect();
        if alike.is_empty() || self.rng.chance(1, 4) {
            return self.pair();
        }
        let (src, dst) = *self.rng.pick(&alike);
        let known = home_of(dst).is_some();
        if known && self.rng.chance(1, 2) { (dst, src) } else { (src, dst) }
    }

    fn icmp_query(&mut self) -> (Sketch, Option<Arrival>) {
        if let Some(sketch) = self.again(|body| matches!(body, Body::Icmp { .. })) {
            return (sketch, None);
        }
        let (src, dst) = self.pair_or_answer(|body| matches!(body, Body::Icmp { .. }));
        let kinds: &[u8] = if src.is_ipv4() { &[8, 8, 0, 0, 13, 14, 17] } else { &[128, 129] };
        // An identifier that is a type, too.
        let ident = *self.rng.pick(&[8, 128, 700]);
        (Sketch::new(src, dst, Body::Icmp { kind: *self.rng.pick(kinds), code: 0, ident }), None)
    }

    fn other(&mut self) -> (Sketch, Option<Arrival>) {
        let (src, dst) = self.pair_or_answer(|body| matches!(body, Body::Other { .. }));
        let proto = *self.rng.pick(&[47, 99]);
        (Sketch::new(src, dst, Body::Other { proto, len: self.rng.below(40) as u16 }), None)
    }

    /// An error about something that was just seen, from somebody on its way.
    fn icmp_error(&mut self) -> (Sketch, Option<Arrival>) {
        if self.recent.is_empty() {
            return self.udp();
        }
        let mut about = self.rng.pick(&self.recent).clone();
        if matches!(&about.body, Body::IcmpError { about, .. } if matches!(about.body, Body::IcmpError { .. }))
        {
            return self.udp();
        }
        // A quoted query whose identifier is a type reads the same in both directions; nobody can tell them apart.
        if matches!(about.body, Body::Icmp { ident: 8 | 128, .. }) {
            return self.udp();
        }
        about.options = false;
        if about.damage == Damage::Checksum || self.rng.chance(9, 10) {
            about.damage = Damage::None;
        }
        if let Body::Tcp(segment) = &mut about.body
            && self.rng.chance(1, 3)
        {
            mutate(&mut self.rng, segment);
        }
        if self.rng.chance(1, 8) {
            core::mem::swap(&mut about.src, &mut about.dst);
        }
        let af = Af::of(&about.src);
        let dst = if self.rng.chance(15, 16) { about.src } else { self.pair_of(af) };
        let src = match self.rng.below(3) {
            0 => about.dst,
            1 => address(af, home_of(about.dst).unwrap_or(InterfaceId(1)), 3),
            _ => self.pair_of(af),
        };
        if src == dst || about.src == about.dst || home_of(src).is_none() {
            return self.udp();
        }
        let kinds: &[u8] = if af == Af::Inet { &[3, 11, 12, 4] } else { &[1, 2, 3, 4] };
        let (kind, code) = (*self.rng.pick(kinds), self.rng.below(4) as u8);
        (Sketch::new(src, dst, Body::IcmpError { kind, code, about: Box::new(about) }), None)
    }

    fn pair_of(&mut self, af: Af) -> IpAddr {
        *self.rng.pick(&addresses(af))
    }
}
