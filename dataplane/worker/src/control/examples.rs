//! The last packets that were dropped, for whoever asks why.
//!
//! Ownership: behind the journal's lock. Bounds: [`KEPT`] of each reason.

use std::collections::VecDeque;
use std::time::Duration;

use api::{Clause, DropExample, HookView, Misfit, MisfitView, PacketView, PeerMet, SeenPacket, TcpView};
use engine::fib::Interface;
use engine::track::{BadTimestamp, Peer, QuotedOutside, measure};
use engine::{Address, Arrival, DropPlace, DropRecord, InterfaceId, Met, Packet, Seen, Source, Transport};
use ruleset::{REASON_COUNT, Reason, TupleEnd, protocol_name};
use wire::{Af, Port, Proto};

/// Examples that are kept of one reason.
pub const KEPT: usize = 16;

/// pf's marks of the clauses, in the order in which they are measured.
const MARKS: [char; 7] = ['1', '2', '3', '4', 'R', '5', '6'];

/// An example, and the epoch of the root whose rule it names.
type Kept = (DropExample, Option<u32>);

/// The examples, by reason, the newest last.
#[derive(Debug)]
pub struct Examples([VecDeque<Kept>; REASON_COUNT]);

impl Default for Examples {
    fn default() -> Self {
        Self([const { VecDeque::new() }; REASON_COUNT])
    }
}

impl Examples {
    /// Keeps one, in place of the oldest of its reason if there are many.
    pub fn keep(&mut self, example: DropExample, epoch: Option<u32>) {
        let kept = &mut self.0[example.reason as usize];
        if kept.len() >= KEPT {
            kept.pop_front();
        }
        kept.push_back((example, epoch));
    }

    /// Those of a reason, or of all, since a moment after 1970, the newest last. Rules are told if they are those of the
    /// root of `epoch`.
    pub fn since(&self, moment: Duration, reason: Option<Reason>, epoch: Option<u32>) -> Vec<DropExample> {
        let wanted = |example: &DropExample| {
            reason.is_none_or(|reason| reason == example.reason) && when(example) >= moment
        };
        let told = |(example, of): &Kept| DropExample {
            rule: example.rule.filter(|_| *of == epoch),
            ..example.clone()
        };
        let mut found: Vec<DropExample> =
            self.0.iter().flatten().filter(|(example, _)| wanted(example)).map(told).collect();
        found.sort_by_key(when);
        found
    }
}

/// Since 1970.
fn when(example: &DropExample) -> Duration {
    Duration::new(example.seconds, example.nanoseconds)
}

/// What is told of a record, of a packet that was dropped at this time since 1970.
pub fn example(record: &DropRecord, worker: u16, interfaces: &[Interface], at: Duration) -> DropExample {
    let name = |id: InterfaceId| {
        interfaces.get(usize::from(id.0)).map_or_else(String::new, |interface| interface.name.clone())
    };
    let (arrival, from_host) = match record.place {
        DropPlace::Arrived(Arrival { interface, source }) => (Some(name(interface)), source == Source::Host),
        DropPlace::Leaving(_) => (None, false),
    };
    DropExample {
        seconds: at.as_secs(),
        nanoseconds: at.subsec_nanos(),
        worker,
        reason: record.reason,
        interface: name(record.counted_on),
        arrival,
        from_host,
        to_host: record.place == DropPlace::Leaving(Source::Host),
        hook: record.hook.map(|(direction, interface)| HookView { direction, interface: name(interface) }),
        rule: record.rule.map(|rule| rule.number),
        packet: match &record.seen {
            Seen::Packet(packet) => SeenPacket::Packet(packet_view(packet)),
            Seen::Frame(head) => SeenPacket::Frame { length: head.length, bytes: head.bytes().to_vec() },
        },
        misfit: record.misfit.as_ref().map(|(met, misfit)| misfit_view(met, misfit)),
        between: record.between,
    }
}

pub(super) fn end(af: Af, (address, port): (Address, Port)) -> TupleEnd {
    TupleEnd { address: address.to_ip(af), port }
}

/// What a packet's headers say.
pub(super) fn packet_view(packet: &Packet) -> PacketView {
    let tuple = &packet.tuple;
    // Where there are no ports, what stands in their place is no port either.
    let port = |port| match tuple.proto {
        Proto::ICMP | Proto::ICMP6 => Port(0),
        _ => port,
    };
    PacketView {
        proto: protocol_name(tuple.proto).map_or_else(|| tuple.proto.0.to_string(), str::to_owned),
        source: end(tuple.af, (tuple.src, port(tuple.sport))),
        destination: end(tuple.af, (tuple.dst, port(tuple.dport))),
        tcp: match packet.transport {
            Transport::Tcp(segment) => Some(TcpView {
                flags: segment.flags.to_string(),
                seq: segment.seq.0,
                ack: segment.ack.0,
                window: segment.window,
                length: segment.len,
            }),
            _ => None,
        },
        icmp: match packet.transport {
            Transport::IcmpQuery { kind, code }
            | Transport::IcmpError { kind, code, .. }
            | Transport::IcmpOther { kind, code } => Some((kind, code)),
            _ => None,
        },
        fragment: packet.transport == Transport::Fragment,
        ttl: packet.ttl,
        length: packet.length(),
    }
}

fn misfit_view(met: &Met, misfit: &engine::Misfit) -> MisfitView {
    let [front, back] = met.families;
    let (before, behind) = (met.before.map(|own| end(front, own)), met.behind.map(|own| end(back, own)));
    // What enters is on the wire in front of the hook, what leaves behind it.
    let (wire, stack) = match met.direction {
        ruleset::Direction::In => (before, behind),
        ruleset::Direction::Out => (behind, before),
    };
    let kind = match misfit {
        engine::Misfit::Query => Misfit::Query,
        engine::Misfit::Timestamp(bad) => {
            let (why, by) = bad_timestamp(*bad);
            Misfit::Timestamp { why, by }
        }
        engine::Misfit::Quoted(outside) => Misfit::Quoted { why: quoted(*outside).to_owned() },
        engine::Misfit::Window(segment) => {
            let [source, destination] = &met.peers;
            let (from, to) = if met.forward { (source, destination) } else { (destination, source) };
            let measure = measure(from, to, segment);
            let missed = MARKS.into_iter().zip(measure.excess).filter(|(_, by)| *by > 0);
            Misfit::Window {
                failed: measure.check.to_string(),
                clauses: missed.map(|(mark, by)| Clause { mark, by }).collect(),
                seq: measure.seq.0,
                ackskew: measure.ackskew,
            }
        }
    };
    MisfitView {
        direction: met.direction,
        forward: met.forward,
        wire,
        stack,
        peers: met.peers.map(|peer| peer_met(&peer)),
        packets: met.packets,
        kind,
    }
}

const fn peer_met(peer: &Peer) -> PeerMet {
    PeerMet {
        state: peer.state,
        seqlo: peer.seqlo.0,
        seqhi: peer.seqhi.0,
        max_win: peer.max_win,
        wscale: peer.wscale,
        seqdiff: peer.seqdiff,
    }
}

const fn quoted(outside: QuotedOutside) -> &'static str {
    match outside {
        QuotedOutside::Ahead => "its sender was not allowed to send yet",
        QuotedOutside::Behind => "was acknowledged long ago",
        QuotedOutside::Unknown => "its sender, of whom nothing was seen, cannot have sent",
    }
}

/// What is wrong with a timestamp, and by how many ticks.
fn bad_timestamp(bad: BadTimestamp) -> (String, Option<u32>) {
    let (why, by) = match bad {
        BadTimestamp::Twice => return ("it has two timestamps".to_owned(), None),
        BadTimestamp::Missing => {
            return ("data without a timestamp, of a sender whose first data had one".to_owned(), None);
        }
        BadTimestamp::Old(by) => ("older than what its receiver has echoed already", by),
        BadTimestamp::Ahead(by) => ("later than its sender's clock can be, tcp.tsdiff included", by),
        BadTimestamp::EchoOfNone(by) => ("later, in what it echoes, than all that its receiver has sent", by),
        BadTimestamp::EchoOfOlder(by) => {
            ("earlier, in what it echoes, than all that its receiver has sent", by)
        }
    };
    (format!("its timestamp is {by} ticks {why}"), Some(by))
}
