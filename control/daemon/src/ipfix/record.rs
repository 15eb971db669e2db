//! Records of events: a state that has gone is a flow, one that is translated is a session of translation from its making on,
//! or one of the sessions of a block of ports.
//!
//! Bounds: [`BLOCKS_MAX`] blocks are known to have sessions; those beyond have a record for each session.

use std::collections::HashMap;
use std::net::IpAddr;

use api::{EventKind, EventView, ShortageView};
use ruleset::{Direction, PortBlock, Removal, StateView, TupleEnd};

use super::template::{
    FLOW_4, FLOW_6, FLOW_46, FLOW_64, NAT_BLOCK, NAT_FLOW_4, NAT_FLOW_6, NAT44_SESSION, NAT64_SESSION,
    POOL_EXHAUSTED, QUOTA_EXCEEDED,
};

/// Subscribers with blocks of ports whose sessions are counted.
const BLOCKS_MAX: usize = 1 << 20;

/// The values of natEvent (RFC 8158 §4.4).
const ADDRESSES_EXHAUSTED: u8 = 3;
const NAT44_SESSION_CREATED: u8 = 4;
const NAT44_SESSION_DELETED: u8 = 5;
const NAT64_SESSION_CREATED: u8 = 6;
const NAT64_SESSION_DELETED: u8 = 7;
const QUOTA: u8 = 13;
const BLOCK_ALLOCATED: u8 = 16;
const BLOCK_DEALLOCATED: u8 = 17;
/// The value of natQuotaExceededEvent: one subscriber has as many entries as it may have.
const ENTRIES_OF_USER: u32 = 3;
/// The value of biflowDirection: the source of the flow is the one that has begun it.
const INITIATOR: u8 = 1;

/// Makes records of events.
#[derive(Debug, Default)]
pub struct Recorder {
    /// How many sessions each block has.
    blocks: HashMap<PortBlock, u32>,
}

impl Recorder {
    /// Calls `each` with the template and the octets of every record that an event is worth.
    pub fn event(&mut self, event: &EventView, mut each: impl FnMut(u16, &[u8])) {
        let ends = Ends::of(&event.state);
        if event.event != EventKind::Updated && ends.is_translated() {
            self.translated(event, &ends, &mut each);
        }
        if event.event == EventKind::Removed {
            let [before, behind] = ends.sources().map(|source| source.is_ipv4());
            let template = match (before, behind) {
                (true, true) if ends.is_translated() => NAT_FLOW_4,
                (true, true) => FLOW_4,
                (true, false) => FLOW_46,
                (false, true) => FLOW_64,
                (false, false) if ends.is_translated() => NAT_FLOW_6,
                (false, false) => FLOW_6,
            };
            each(template, &flow(event, &ends));
        }
    }

    /// A session of translation, unless it is one of many in a block of ports.
    fn translated(&mut self, event: &EventView, ends: &Ends, each: &mut impl FnMut(u16, &[u8])) {
        let created = event.event == EventKind::Created;
        if let Some(block) = &event.block
            && let Some(is_edge) = self.count(block, created)
        {
            if is_edge {
                let nat_event = if created { BLOCK_ALLOCATED } else { BLOCK_DEALLOCATED };
                each(NAT_BLOCK, &nat_block(event, block, nat_event));
            }
            return;
        }
        let (template, created_and_deleted) = match ends.sources() {
            [IpAddr::V4(_), IpAddr::V4(_)] => (NAT44_SESSION, [NAT44_SESSION_CREATED, NAT44_SESSION_DELETED]),
            [IpAddr::V6(_), IpAddr::V4(_)] => (NAT64_SESSION, [NAT64_SESSION_CREATED, NAT64_SESSION_DELETED]),
            // The RFC has no events of translation to IPv6.
            _ => return,
        };
        each(template, &nat_session(event, ends, created_and_deleted[usize::from(!created)]));
    }

    /// A session of a block begins or ends: whether it is the only one; `None` if nothing is known of the block.
    fn count(&mut self, block: &PortBlock, begins: bool) -> Option<bool> {
        if begins {
            if self.blocks.len() >= BLOCKS_MAX && !self.blocks.contains_key(block) {
                return None;
            }
            let count = self.blocks.entry(*block).or_default();
            *count += 1;
            return Some(*count == 1);
        }
        let count = self.blocks.get_mut(block)?;
        *count -= 1;
        let is_last = *count == 0;
        if is_last {
            self.blocks.remove(block);
        }
        Some(is_last)
    }
}

/// Calls `each` with the template and the octets of the record of a shortage.
pub fn shortage(shortage: &ShortageView, each: impl FnOnce(u16, &[u8])) {
    let mut record = Vec::with_capacity(32);
    record.extend(milliseconds(shortage.seconds, shortage.nanoseconds).to_be_bytes());
    let Some(block) = &shortage.block else {
        record.push(ADDRESSES_EXHAUSTED);
        record.extend(shortage.pool.to_be_bytes());
        return each(POOL_EXHAUSTED, &record);
    };
    record.push(QUOTA);
    record.extend(ENTRIES_OF_USER.to_be_bytes());
    record.extend((u32::from(block.last.0 - block.first.0) + 1).to_be_bytes());
    put_address(&mut record, block.subscriber);
    put_address(&mut record, block.address);
    record.push(shortage.proto);
    each(QUOTA_EXCEEDED, &record);
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

    fn sources(&self) -> [IpAddr; 2] {
        [self.before[0].address, self.behind[0].address]
    }
}

fn put_address(record: &mut Vec<u8>, address: IpAddr) {
    match address {
        IpAddr::V4(address) => record.extend(address.octets()),
        IpAddr::V6(address) => record.extend(address.octets()),
    }
}

fn put_addresses(record: &mut Vec<u8>, ends: &[TupleEnd; 2]) {
    ends.iter().for_each(|end| put_address(record, end.address));
}

/// Other protocols have no ports: what states have in their place are identifiers and types of ICMP.
fn put_ports(record: &mut Vec<u8>, state: &StateView, ends: &[TupleEnd; 2]) {
    let has_ports = matches!(state.proto.0, 6 | 17 | 132);
    for end in ends {
        record.extend(if has_ports { end.port.0 } else { 0 }.to_be_bytes());
    }
}

fn milliseconds(seconds: u64, nanoseconds: u32) -> u64 {
    seconds * 1000 + u64::from(nanoseconds / 1_000_000)
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
    let now = milliseconds(event.seconds, event.nanoseconds);
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
    let mut record = Vec::with_capacity(80);
    record.extend(milliseconds(event.seconds, event.nanoseconds).to_be_bytes());
    record.push(nat_event);
    record.extend(state.id.to_be_bytes());
    record.push(state.proto.0);
    for ends in [&ends.before, &ends.behind] {
        put_addresses(&mut record, ends);
        put_ports(&mut record, state, ends);
    }
    record
}

fn nat_block(event: &EventView, block: &PortBlock, nat_event: u8) -> Vec<u8> {
    let PortBlock { subscriber, address, first, last } = block;
    let mut record = Vec::with_capacity(32);
    record.extend(milliseconds(event.seconds, event.nanoseconds).to_be_bytes());
    record.push(nat_event);
    put_address(&mut record, *subscriber);
    put_address(&mut record, *address);
    for number in [first.0, last.0, 1, last.0 - first.0 + 1] {
        record.extend(number.to_be_bytes());
    }
    record
}

/// flowRemoval: idle time-out, end of flow detected, forced end, lack of resources.
const fn end_reason(reason: Option<Removal>) -> u8 {
    match reason {
        Some(Removal::Expired) | None => 1,
        Some(Removal::Closed) => 3,
        Some(Removal::Killed | Removal::Flushed | Removal::Replaced) => 4,
        Some(Removal::Limit | Removal::Refused) => 5,
    }
}
