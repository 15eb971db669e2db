//! ICMP: which types are queries with a state of their own, and which speak about another flow (pf.md 2.8).

use core::net::{IpAddr, Ipv6Addr};

use wire::{Af, Port};

use super::packet::Icmp;

/// Which way a message with a state of its own goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// The asking end's: goes with the direction that made the state.
    Query,
    /// The answering end's.
    Reply,
}

/// What pf makes of an ICMP type (`pf_icmp_mapping`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mapping {
    /// Query or reply.
    pub way: Way,
    /// The type of the query, which stands for one port.
    pub virtual_type: u16,
    /// The identifier, which stands for the other.
    pub virtual_id: u16,
    /// Whether a rule's `keep state` is heeded.
    pub own_state: OwnState,
}

/// Whether a message may make a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OwnState {
    /// It may.
    Yes,
    /// Never: errors, and neighbour advertisements, which nobody answers.
    No,
}

impl Mapping {
    const fn of(way: Way, virtual_type: u8, virtual_id: u16) -> Self {
        Self { way, virtual_type: virtual_type as u16, virtual_id, own_state: OwnState::Yes }
    }

    /// The source and destination "ports" of the message.
    pub const fn ports(&self) -> (Port, Port) {
        match self.way {
            Way::Query => (Port(self.virtual_id), Port(self.virtual_type)),
            Way::Reply => (Port(self.virtual_type), Port(self.virtual_id)),
        }
    }
}

/// True for types that quote a packet and are matched to its flow.
pub(super) const fn is_error(af: Af, kind: u8) -> bool {
    match af {
        // Unreachable, source quench, redirect, time exceeded, parameter problem.
        Af::Inet => matches!(kind, 3 | 4 | 5 | 11 | 12),
        // Unreachable, too big, time exceeded, parameter problem; not the ND redirect, whose quotation is optional.
        Af::Inet6 => matches!(kind, 1..=4),
    }
}

/// The query types of ICMP, each with its reply, and whether both carry an identifier.
const QUERIES: [(u8, u8, bool); 7] = [
    (8, 0, true),    // echo
    (13, 14, true),  // timestamp
    (15, 16, true),  // information
    (17, 18, true),  // address mask
    (33, 34, false), // IPv6 where are you
    (35, 36, false), // mobile registration
    (10, 9, false),  // router solicitation
];

/// The same of ICMPv6, without neighbour and listener discovery.
const QUERIES6: [(u8, u8, bool); 3] = [
    (128, 129, true),  // echo
    (139, 140, false), // node information
    (201, 200, false), // multicast traceroute
];

const LISTENER_QUERY: u8 = 130;
const LISTENER_REPORT: u8 = 131;
const NEIGHBOR_SOLICIT: u8 = 135;
const NEIGHBOR_ADVERT: u8 = 136;
const ND_REDIRECT: u8 = 137;

/// What pf makes of a type.
pub(super) fn mapping(af: Af, kind: u8, id: u16, target: Option<Ipv6Addr>) -> Mapping {
    if is_error(af, kind) {
        return Mapping { own_state: OwnState::No, ..Mapping::of(Way::Query, kind, 0) };
    }
    if af == Af::Inet6 {
        match kind {
            LISTENER_QUERY | LISTENER_REPORT => {
                return Mapping::of(Way::Query, LISTENER_QUERY, folded(target));
            }
            NEIGHBOR_SOLICIT => return Mapping::of(Way::Query, NEIGHBOR_SOLICIT, folded(target)),
            NEIGHBOR_ADVERT => {
                let reply = Mapping::of(Way::Reply, NEIGHBOR_SOLICIT, folded(target));
                return Mapping { own_state: OwnState::No, ..reply };
            }
            _ => {}
        }
    }
    let queries: &[(u8, u8, bool)] = if af == Af::Inet { &QUERIES } else { &QUERIES6 };
    for &(query, reply, identified) in queries {
        let id = if identified { id } else { 0 };
        if kind == query {
            return Mapping::of(Way::Query, query, id);
        }
        if kind == reply {
            return Mapping::of(Way::Reply, query, id);
        }
    }
    // "All remaining types get their own states, and will only match in one direction."
    Mapping::of(Way::Query, kind, 0)
}

/// The fake identifier of neighbour and listener discovery: the address folded to 16 bits.
fn folded(target: Option<Ipv6Addr>) -> u16 {
    let segments = target.unwrap_or(Ipv6Addr::UNSPECIFIED).segments();
    segments.into_iter().fold(0, |fold, segment| fold ^ segment)
}

/// The addresses that stand in the state key of an ICMP message: neighbour discovery is keyed by its target, because
/// a solicitation goes to a multicast address and the answer comes from another.
pub(super) fn key_addresses(icmp: &Icmp, source: IpAddr, destination: IpAddr) -> (IpAddr, IpAddr) {
    let IpAddr::V6(to) = destination else { return (source, destination) };
    match (icmp.kind, icmp.target) {
        (NEIGHBOR_SOLICIT, Some(target)) => (source, target.into()),
        (NEIGHBOR_ADVERT, Some(target)) if to.is_multicast() => (target.into(), Ipv6Addr::UNSPECIFIED.into()),
        (NEIGHBOR_ADVERT, Some(target)) => (target.into(), destination),
        _ => (source, destination),
    }
}

/// The destination that a query to all nodes was sent to, in whose place a reply may come from any node.
pub(super) fn all_nodes(af: Af, icmp: &Icmp, way: Way) -> Option<IpAddr> {
    const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
    let applies = af == Af::Inet6 && way == Way::Reply && icmp.kind != NEIGHBOR_ADVERT;
    applies.then_some(ALL_NODES.into())
}

/// True for messages that may be answered by an ICMP unreachable (`ICMP_INFOTYPE`; ICMPv6 information messages but
/// the redirect, RFC 4443 §2.4 e).
pub(super) const fn is_answerable(af: Af, kind: u8) -> bool {
    match af {
        Af::Inet => matches!(kind, 0 | 8 | 9 | 10 | 13..=18),
        Af::Inet6 => kind >= 128 && kind != ND_REDIRECT,
    }
}
