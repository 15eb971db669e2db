//! What both sides must agree on, in one form.

use core::net::IpAddr;

use engine::{Arrival, Fate, InterfaceId, Source};
use ruleset::{Reason, StateView};
use wire::corpus::{Network, Upper, dissect};
use wire::{Proto, Seq, TcpFlags};

use super::Expected;
use crate::oracle::{Onward, Packet, QuotedTransport, Reply, Transport, Verdict};
use crate::sketch::{Body, Damage, Sketch};
use crate::topology;

/// What the engine did with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It went on.
    Passed(Fate),
    /// It ended here.
    Dropped(Reason),
    /// It ended here, and its sender was told.
    Answered(Reason, Told),
}

/// An answer, as far as the two sides can agree on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    Tcp { flags: TcpFlags, seq: Seq, ack: Seq, ttl: u8 },
    Icmp { kind: u8, code: u8 },
}

/// The time to live of answers that ask for none in particular.
const TTL: u8 = engine::reply::TTL;

impl Told {
    /// Reads an answer; every header and checksum of it must be right.
    fn of(frame: &[u8]) -> Self {
        let dissected = dissect(frame).expect("an answer without fault");
        let (upper, ttl) = match dissected.network {
            Network::Ipv4(packet, _, upper) => (upper, packet.header().ttl()),
            Network::Ipv6(packet, _, upper) => (upper, packet.header().hop_limit()),
            other => panic!("an answer that is no IP packet: {other:?}"),
        };
        match upper {
            Upper::Tcp(segment) => {
                let header = segment.header();
                Self::Tcp { flags: header.flags(), seq: header.seq(), ack: header.ack(), ttl }
            }
            Upper::Icmp4(message, _) => {
                Self::Icmp { kind: message.header().kind().0, code: message.header().code() }
            }
            Upper::Icmp6(message, _) => {
                Self::Icmp { kind: message.header().kind().0, code: message.header().code() }
            }
            other => panic!("an answer of no kind that is known: {other:?}"),
        }
    }
}

impl From<Reply> for Told {
    fn from(reply: Reply) -> Self {
        match reply {
            Reply::Rst { seq, ack, flags, ttl } => {
                Self::Tcp { flags, seq, ack, ttl: if ttl == 0 { TTL } else { ttl } }
            }
            Reply::ChallengeAck { seq, ack } => Self::Tcp { flags: TcpFlags::ACK, seq, ack, ttl: TTL },
            Reply::Icmp { kind, code } => Self::Icmp { kind, code },
        }
    }
}

impl Outcome {
    pub(super) fn of(arrival: Arrival, fate: Fate, frame: &[u8], dropped: Option<Reason>) -> Self {
        match (fate, dropped) {
            (Fate::Drop(reason), counted) => {
                assert_eq!(counted, Some(reason), "a drop and its counter");
                Self::Dropped(reason)
            }
            (fate, None) => Self::Passed(fate),
            (fate, Some(reason)) => {
                let back = match arrival.source {
                    Source::Wire => Fate::Transmit(arrival.interface),
                    Source::Host => Fate::Host(arrival.interface),
                };
                assert_eq!(fate, back, "an answer goes where the packet came from");
                Self::Answered(reason, Told::of(frame))
            }
        }
    }

    /// Why it ended here.
    pub(super) const fn refused(&self) -> Option<Reason> {
        match self {
            Self::Passed(_) => None,
            Self::Dropped(reason) | Self::Answered(reason, _) => Some(*reason),
        }
    }

    /// `Err` tells how it differs from what the oracle expects.
    pub(super) fn agrees(&self, expected: &Expected, arrival: Arrival, frame: &[u8]) -> Result<(), String> {
        let differs = || {
            let Expected { verdict, onward, .. } = expected;
            Err(format!("{self:?}, but the oracle says {verdict:?} to {onward:?}"))
        };
        match (*self, expected.verdict) {
            (Self::Passed(fate), Verdict::Pass) => passed_alike(fate, expected, arrival, frame),
            (Self::Dropped(reason), Verdict::Drop { reason: theirs, reply: None }) if reason == theirs => {
                Ok(())
            }
            // An end of a connection is not challenged again for a while, which the oracle does not count.
            (Self::Dropped(Reason::Challenge), Verdict::Drop { reason: Reason::Challenge, .. }) => Ok(()),
            // Routers answer for themselves, which pf has no part in.
            (
                Self::Answered(reason @ (Reason::Ttl | Reason::NoRoute), _),
                Verdict::Drop { reason: theirs, reply: None },
            ) if reason == theirs => Ok(()),
            (Self::Answered(reason, told), Verdict::Drop { reason: theirs, reply: Some(reply) })
                if reason == theirs && told == Told::from(reply) =>
            {
                Ok(())
            }
            // Which of the two ends what cannot be routed, and has no hops left, is the router's own affair.
            (Self::Answered(Reason::NoRoute, _), Verdict::Drop { reason: Reason::Ttl, reply: None }) => {
                Ok(())
            }
            // Nothing is answered whose checksum is wrong, whatever the answer would be; pf looks before the RST of a `block`
            // only, but before it asks who would get it.
            (Self::Dropped(ours), Verdict::Drop { reason: theirs, .. })
                if expected.sketch.damage == Damage::Checksum =>
            {
                let blocked = |reason| matches!(reason, Reason::ProtoCksum | Reason::Match);
                if ours == theirs || blocked(ours) && blocked(theirs) { Ok(()) } else { differs() }
            }
            _ => differs(),
        }
    }
}

/// What passed must go the right way, and be byte for byte what the oracle sends, but for what a router changes.
fn passed_alike(
    fate: Fate,
    Expected { onward, routed_to, sketch, .. }: &Expected,
    arrival: Arrival,
    frame: &[u8],
) -> Result<(), String> {
    let (expected, sent) = match (arrival.source, onward) {
        (Source::Host, _) => (Fate::Transmit(arrival.interface), frame_on(sketch, arrival.interface, 2, 1)),
        (Source::Wire, Onward::Host) => {
            (Fate::Host(arrival.interface), frame_on(sketch, arrival.interface, 2, 1))
        }
        (Source::Wire, Onward::Interface(out)) => {
            let out = InterfaceId(out.0 as u16);
            (Fate::Transmit(out), frame_on(sketch, out, 1, station(*routed_to)))
        }
        (Source::Wire, Onward::Across(out)) => {
            (Fate::Transmit(InterfaceId(out.0 as u16)), frame_on(sketch, arrival.interface, 2, 1))
        }
        (Source::Wire, Onward::Nowhere) => return Err("the oracle passes it to nowhere".into()),
    };
    if fate != expected {
        return Err(format!("its fate is {fate:?} and not {expected:?}"));
    }
    if frame != sent { Err(format!("it is sent as {frame:02x?} and not {sent:02x?}")) } else { Ok(()) }
}

fn frame_on(sketch: &Sketch, interface: InterfaceId, from: u8, to: u8) -> Vec<u8> {
    sketch.frame(topology::mac(interface, from), topology::mac(interface, to))
}

/// The station that a packet for this address is sent to.
fn station(address: IpAddr) -> u8 {
    let last = match address {
        IpAddr::V4(address) => address.octets()[3],
        IpAddr::V6(address) => address.octets()[15],
    };
    let afar = [wire::Af::Inet, wire::Af::Inet6].map(|af| topology::remote(af, last)).contains(&address);
    if afar { 254 } else { last }
}

/// The segment as pf repairs it on filtered interfaces: a SYN that also closes only opens.
pub(super) fn repaired(sketch: &Sketch) -> Sketch {
    let mut repaired = sketch.clone();
    if let Body::Tcp(segment) = &mut repaired.body
        && segment.flags.contains(TcpFlags::SYN.union(TcpFlags::FIN))
    {
        segment.flags = TcpFlags(segment.flags.0 & !TcpFlags::FIN.0);
    }
    repaired
}

/// The sketch with the addresses, ports and identifiers of a packet, and of what that quotes.
pub(crate) fn translated(mut sketch: Sketch, packet: &Packet) -> Sketch {
    (sketch.src, sketch.dst) = (packet.source, packet.destination);
    match (&mut sketch.body, &packet.transport) {
        (Body::Tcp(segment), Transport::Tcp(tcp)) => {
            (segment.sport, segment.dport) = (tcp.source_port.0, tcp.destination_port.0);
        }
        (Body::Udp { sport, dport, .. }, Transport::Udp { source_port, destination_port }) => {
            (*sport, *dport) = (source_port.0, destination_port.0);
        }
        (Body::Icmp { ident, .. }, Transport::Icmp(icmp) | Transport::Icmp6(icmp)) => *ident = icmp.id,
        (Body::IcmpError { about, .. }, Transport::Icmp(icmp) | Transport::Icmp6(icmp)) => {
            if let Some(quoted) = &icmp.quoted {
                (about.src, about.dst) = (quoted.source, quoted.destination);
                match (&mut about.body, &quoted.transport) {
                    (Body::Tcp(segment), QuotedTransport::Tcp { source_port, destination_port, .. }) => {
                        (segment.sport, segment.dport) = (source_port.0, destination_port.0);
                    }
                    (
                        Body::Udp { sport, dport, .. },
                        QuotedTransport::Udp { source_port, destination_port },
                    ) => {
                        (*sport, *dport) = (source_port.0, destination_port.0);
                    }
                    (
                        Body::Icmp { ident, .. },
                        QuotedTransport::Icmp { id, .. } | QuotedTransport::Icmp6 { id, .. },
                    ) => *ident = *id,
                    _ => {}
                }
            }
        }
        _ => {}
    }
    sketch
}

/// The sketch with the sequence numbers and timestamps of a packet; what it acknowledges by itself moves with what it acknowledges.
pub(super) fn renumbered(mut sketch: Sketch, packet: &Packet) -> Sketch {
    match (&mut sketch.body, &packet.transport) {
        (Body::Tcp(segment), Transport::Tcp(tcp)) => {
            let by = tcp.ack.0.wrapping_sub(segment.ack.0);
            segment.sack = segment.sack.map(|edges| edges.map(|edge| edge.plus(by)));
            (segment.seq, segment.ack) = (tcp.seq, tcp.ack);
            segment.stamps = tcp.stamps.map(|stamps| [stamps.value, stamps.echo]);
        }
        (Body::IcmpError { about, .. }, Transport::Icmp(icmp) | Transport::Icmp6(icmp)) => {
            let quoted = icmp.quoted.as_ref().map(|quoted| quoted.transport);
            if let (Body::Tcp(segment), Some(QuotedTransport::Tcp { seq, .. })) = (&mut about.body, quoted) {
                segment.seq = seq;
            }
        }
        _ => {}
    }
    sketch
}

/// States in an order and a form that do not depend on who keeps them.
pub(super) fn normal(mut views: Vec<StateView>) -> Vec<StateView> {
    for view in &mut views {
        view.id = 0;
        if view.proto != Proto::TCP {
            for peer in [&mut view.source, &mut view.destination] {
                (peer.seqlo, peer.seqhi) = (0, 0);
            }
        }
    }
    views.sort_by_cached_key(|view| {
        let end = |end: ruleset::TupleEnd| (end.address, end.port);
        (
            view.proto,
            view.direction,
            end(view.source.end),
            end(view.destination.end),
            [view.source, view.destination].map(|peer| peer.untranslated.map(end)),
            view.interface.clone(),
            view.rule,
            (view.age_s, view.source.packets, view.source.bytes, view.destination.packets),
        )
    });
    views
}
