//! Records of events: a state that has gone is a flow, one that is translated is a session of translation from its making on.

use std::net::IpAddr;

use api::{EndReason, EventKind, EventView};
use ruleset::{Direction, StateView, TupleEnd};

use super::template::{
    FLOW_4, FLOW_6, NAT_FLOW_4, NAT_FLOW_4_6, NAT_FLOW_6, NAT_FLOW_6_4, NAT_SESSION, NAT64_SESSION,
};

/// The templates of sessions that RFC 8158 knows, with the values of natEvent for what is created and deleted.
const NAT44: (u16, [u8; 2]) = (NAT_SESSION, [4, 5]);
const NAT64: (u16, [u8; 2]) = (NAT64_SESSION, [6, 7]);
/// The value of biflowDirection: the source of the flow is the one that has begun it.
const INITIATOR: u8 = 1;

/// Calls `each` with the template and the octets of every record that an event is worth.
pub fn records(event: &EventView, mut each: impl FnMut(u16, &[u8])) {
    let state = &event.state;
    let ends = Ends::of(state);
    let mut tell_session = |kind: usize| {
        if let Some((template, nat_events)) = ends.session() {
            each(template, &nat_session(event, &ends, nat_events[kind]));
        }
    };
    match event.event {
        EventKind::Created => tell_session(0),
        EventKind::Updated => {}
        EventKind::Removed => {
            tell_session(1);
            each(ends.flow(), &flow(event, &ends));
        }
    }
}

/// Source and destination, in front of the hook and behind it.
struct Ends {
    before: [TupleEnd; 2],
    behind: [TupleEnd; 2],
}

impl Ends {
    fn of(state: &StateView) -> Self {
        let peers = [&state.source, &state.destination];
        let before = peers.map(|peer| peer.untranslated.unwrap_or(peer.end));
        Self { before, behind: peers.map(|peer| peer.end) }
    }

    fn is_translated(&self) -> bool {
        self.before != self.behind
    }

    /// The addresses of the source, in front and behind.
    const fn sources(&self) -> (IpAddr, IpAddr) {
        (self.before[0].address, self.behind[0].address)
    }

    /// The template of a flow between them.
    fn flow(&self) -> u16 {
        match (self.sources(), self.is_translated()) {
            ((IpAddr::V4(_), _), false) => FLOW_4,
            ((IpAddr::V6(_), _), false) => FLOW_6,
            ((IpAddr::V4(_), IpAddr::V4(_)), true) => NAT_FLOW_4,
            ((IpAddr::V6(_), IpAddr::V6(_)), true) => NAT_FLOW_6,
            ((IpAddr::V6(_), IpAddr::V4(_)), true) => NAT_FLOW_6_4,
            ((IpAddr::V4(_), IpAddr::V6(_)), true) => NAT_FLOW_4_6,
        }
    }

    /// What a session of translation between them is told as.
    fn session(&self) -> Option<(u16, [u8; 2])> {
        match self.sources() {
            _ if !self.is_translated() => None,
            (IpAddr::V4(_), IpAddr::V4(_)) => Some(NAT44),
            (IpAddr::V6(_), IpAddr::V4(_)) => Some(NAT64),
            (_, IpAddr::V6(_)) => None,
        }
    }
}

fn put_addresses(record: &mut Vec<u8>, ends: &[TupleEnd; 2]) {
    for end in ends {
        match end.address {
            IpAddr::V4(address) => record.extend(address.octets()),
            IpAddr::V6(address) => record.extend(address.octets()),
        }
    }
}

/// Other protocols have no ports: what states have in their place are identifiers and types of ICMP.
fn put_ports(record: &mut Vec<u8>, state: &StateView, ends: &[TupleEnd; 2]) {
    let has_ports = matches!(state.proto.0, 6 | 17 | 132);
    for end in ends {
        record.extend(if has_ports { end.port.0 } else { 0 }.to_be_bytes());
    }
}

fn milliseconds(event: &EventView) -> u64 {
    event.seconds * 1000 + u64::from(event.nanoseconds / 1_000_000)
}

fn flow(event: &EventView, ends: &Ends) -> Vec<u8> {
    let state = &event.state;
    let mut record = Vec::with_capacity(160);
    record.extend(state.id.to_be_bytes());
    record.extend([match state.direction {
        Direction::In => 0,
        Direction::Out => 1,
    }]);
    record.extend([INITIATOR, state.proto.0]);
    put_addresses(&mut record, &ends.before);
    put_ports(&mut record, state, &ends.before);
    for peer in [&state.source, &state.destination] {
        record.extend(peer.bytes.to_be_bytes());
        record.extend(peer.packets.to_be_bytes());
    }
    let now = milliseconds(event);
    record.extend(now.saturating_sub(event.age_ms).to_be_bytes());
    record.extend(now.saturating_sub(event.idle_ms).to_be_bytes());
    record.push(end_reason(event.reason));
    if ends.is_translated() {
        put_addresses(&mut record, &ends.behind);
        put_ports(&mut record, state, &ends.behind);
    }
    record
}

fn nat_session(event: &EventView, ends: &Ends, nat_event: u8) -> Vec<u8> {
    let state = &event.state;
    let mut record = Vec::with_capacity(48);
    record.extend(milliseconds(event).to_be_bytes());
    record.push(nat_event);
    record.extend(state.id.to_be_bytes());
    record.push(state.proto.0);
    for ends in [&ends.before, &ends.behind] {
        put_addresses(&mut record, ends);
        put_ports(&mut record, state, ends);
    }
    record
}

/// flowEndReason: idle time-out, end of flow detected, forced end, lack of resources.
const fn end_reason(reason: Option<EndReason>) -> u8 {
    match reason {
        Some(EndReason::Expired) | None => 1,
        Some(EndReason::Closed) => 3,
        Some(EndReason::Killed | EndReason::Flushed | EndReason::Replaced) => 4,
        Some(EndReason::Limit | EndReason::Refused) => 5,
    }
}
