//! Transparent pairs: what one port receives leaves by the other, filtered, and otherwise as it was.
//!
//! Overview: a packet that arrives at a bridged interface meets the IN hook there and the OUT hook at the other one of its
//! pair, with pf's two states as if it were routed. But nobody routes it: there is no lookup, no hop is taken off, Ethernet
//! addresses and tags stay, link-local traffic, multicast and broadcast pass as the rules say, and what is too large for the
//! other port is dropped in silence, since there is no address to complain from. Answers in another station's name (RSTs,
//! `return-icmp`) go back out of the port that the packet came by. No rule judges frames without IP: ARP and reverse ARP
//! pass, others by [`NonIpPolicy`].
//!
//! The group addresses that IEEE 802.1D §7.12.6 keeps to one link (spanning tree, LLDP, LACP, pause) are never forwarded, as
//! with bridge(4). Nothing passes before there are rules, ARP included.
//! Ownership: the shard.
#![deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use ruleset::{Direction, Reason};
use wire::ethernet::{self, Tags};
use wire::{EtherType, Mac};

use crate::Zone;
use crate::burst::Preview;
use crate::fate::{Arrival, Fate};
use crate::fib::{Bridge, Interface, InterfaceId, NonIpPolicy};
use crate::frame::Frame;
use crate::gateway::Departure;
use crate::hook::{Hook, Passage, Stop};
use crate::mirror::Origin;
use crate::parse::{NonIp, Parsed, parse};
use crate::routing::{Out, destination, is_martian};
use crate::scrub;
use crate::shard::{Shard, View, repair};
use crate::state::Adjacency;

impl Shard {
    /// Decides a frame that a bridged port received.
    pub(crate) fn decide_bridged<F: Frame>(
        &mut self,
        view: &View<'_>,
        arrival: Arrival,
        own: &Interface,
        bridge: &Bridge,
        frame: &mut F,
        known: Option<Preview>,
    ) -> Fate {
        if is_reserved(destination(frame.bytes())) {
            return self.discard(view, arrival, frame.bytes(), Reason::LinkScope);
        }
        match parse(frame.bytes(), zone_of_frame(own, frame.bytes()), frame.ip_checksum()) {
            Err(reason) => self.drop_unread(view, arrival, own, frame, reason),
            Ok(Parsed::NonIp(other)) => match carry_non_ip(view, bridge, frame.bytes(), &other) {
                Ok(fate) => fate,
                Err(reason) => self.discard(view, arrival, frame.bytes(), reason),
            },
            Ok(Parsed::Ip(mut packet)) => self.decide_ip(view, arrival, own, frame, &mut packet, known),
        }
    }

    /// A packet from one port to the other: IN hook, OUT hook.
    pub(crate) fn carry<F: Frame>(
        &mut self,
        view: &View<'_>,
        interface: InterfaceId,
        bridge: &Bridge,
        frame: &mut F,
        passage: &mut Passage<'_>,
    ) -> Result<Fate, Stop> {
        if is_martian(passage.packet) {
            return Err(Stop::silent(Reason::Martian));
        }
        let hook = Hook { direction: Direction::In, interface, frame: frame.bytes(), first: None };
        let entered = self.hook(view, passage, &hook)?;
        // A state of a routed interface may be met here, too; what is in a cable stays of its family.
        if passage.turned_over {
            return Err(Stop::silent(Reason::Translate));
        }
        if passage.copy_to.is_some() {
            self.mirror(view, passage, Origin::arrived(interface), frame.bytes());
        }
        let Departure { link, left, .. } =
            self.leave(view, Out::as_is(bridge.peer), frame.bytes(), passage, &entered)?;
        repair(frame, passage);
        scrub::write(frame, passage, Direction::Out);
        if passage.copy_to.is_some() {
            self.mirror(view, passage, Origin::left(bridge.peer, None), frame.bytes());
        }
        let adjacency = Adjacency::bridged(interface, bridge.peer, link.mtu);
        self.remember(view, passage, adjacency, &entered, &left);
        Ok(Fate::Transmit(bridge.peer))
    }
}

/// IEEE 802.1D-2004 §7.12.6: 01:80:c2:00:00:00 to 0f, which no bridge forwards.
const fn is_reserved(destination: Mac) -> bool {
    matches!(destination.0, [0x01, 0x80, 0xc2, 0, 0, last] if last <= 0x0f)
}

/// What becomes of a frame without IP.
fn carry_non_ip(view: &View<'_>, bridge: &Bridge, frame: &[u8], other: &NonIp) -> Result<Fate, Reason> {
    if view.root.is_none() {
        return Err(Reason::NoRules);
    }
    let passes = match other.ether_type {
        EtherType::ARP | EtherType::REVERSE_ARP => true,
        _ if conceals_ip(other.ether_type, frame.get(usize::from(other.l3)..).unwrap_or_default()) => false,
        _ => bridge.non_ip == NonIpPolicy::Pass,
    };
    if !passes {
        return Err(Reason::EtherType);
    }
    if !view.fib.interface(bridge.peer).is_some_and(|link| link.up) {
        return Err(Reason::PortDown);
    }
    Ok(Fate::Transmit(bridge.peer))
}

/// Tags that some switches use in place of 802.1ad's.
const VENDOR_TAGS: [EtherType; 3] = [EtherType(0x9100), EtherType(0x9200), EtherType(0x9300)];

/// An EtherType below this is a length: an 802.3 frame, with an LLC header.
const ETHER_TYPE_MIN: u16 = 0x0600;

/// True for a frame that is not read as IP, but that a station may read so: a third tag, tags of other switches, IP behind
/// LLC or SNAP (RFC 1042). No rule could judge it, and as non-IP it would pass all of them.
fn conceals_ip(ether_type: EtherType, payload: &[u8]) -> bool {
    let is_concealing = |inner: EtherType| {
        inner.is_tag() || VENDOR_TAGS.contains(&inner) || matches!(inner, EtherType::IPV4 | EtherType::IPV6)
    };
    if ether_type.0 >= ETHER_TYPE_MIN {
        return is_concealing(ether_type);
    }
    match payload {
        // SNAP with EtherTypes (OUI 0), or with those that bridges made of other media (802.1H).
        [0xaa, 0xaa, 0x03, 0, 0, 0 | 0xf8, high, low, ..] => {
            is_concealing(EtherType(u16::from_be_bytes([*high, *low])))
        }
        // The LLC address of IP.
        [0x06, 0x06, ..] => true,
        _ => false,
    }
}

/// The zone of a frame that an interface received.
pub(crate) fn zone_of_frame(own: &Interface, frame: &[u8]) -> Zone {
    match own.bridge() {
        None => own.zone,
        Some(_) => zone_of(own.zone, ethernet::Frame::parse(frame).map_or(Tags::None, |link| link.tags())),
    }
}

/// The zone of a frame that a bridged port received: those of different VLANs are told apart, since the same addresses may
/// be in each. Two tags have more bits than a zone, so that some pairs of them share one.
pub(crate) const fn zone_of(own: Zone, tags: Tags) -> Zone {
    const ONE_TAG: u16 = 0x1000;
    const TWO_TAGS: u16 = 0x8000;
    match tags {
        Tags::None => own,
        Tags::One(tag) if tag.vid() == 0 => own,
        Tags::One(tag) => Zone(ONE_TAG | tag.vid()),
        Tags::Two { outer, inner } => Zone(TWO_TAGS | (outer.vid() << 3 ^ inner.vid())),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test")]
mod tests {
    use wire::ethernet::Tag;

    use super::*;

    #[test]
    fn groups_of_one_link_are_reserved_and_others_are_not() {
        for (last, reserved) in [(0x00, true), (0x02, true), (0x0e, true), (0x0f, true), (0x10, false)] {
            assert_eq!(is_reserved(Mac([0x01, 0x80, 0xc2, 0, 0, last])), reserved, "{last:#x}");
        }
        assert!(!is_reserved(Mac([0x01, 0x80, 0xc2, 0, 1, 0])));
        assert!(!is_reserved(Mac::BROADCAST));
    }

    #[test]
    fn what_a_station_may_read_as_ip_is_no_frame_without_ip() {
        let snap = |oui: u8, ether_type: [u8; 2]| {
            [&[0xaa, 0xaa, 0x03, 0, 0, oui][..], &ether_type, &[0x45, 0]].concat()
        };
        let cases: [(u16, Vec<u8>, bool); 11] = [
            (0x8100, vec![], true),
            (0x88a8, vec![], true),
            (0x9100, vec![], true),
            (0x88cc, vec![], false),
            (0x8863, vec![], false),
            (40, snap(0, [0x08, 0x00]), true),
            (40, snap(0xf8, [0x86, 0xdd]), true),
            (40, snap(0, [0x81, 0x00]), true),
            (40, snap(0, [0x80, 0x9b]), false),
            (40, vec![0x06, 0x06, 0x03, 0x45], true),
            (40, vec![0x42, 0x42, 0x03], false),
        ];
        for (ether_type, payload, expected) in cases {
            assert_eq!(
                conceals_ip(EtherType(ether_type), &payload),
                expected,
                "{ether_type:#x} {payload:x?}"
            );
        }
    }

    #[test]
    fn vlans_have_zones_of_their_own() {
        let tag = |tci: u16| Tag { tpid: EtherType::VLAN, tci };
        let zone = |tags: &[u16]| {
            zone_of(
                Zone(7),
                match *tags {
                    [outer, inner] => Tags::Two { outer: tag(outer), inner: tag(inner) },
                    [only] => Tags::One(tag(only)),
                    _ => Tags::None,
                },
            )
        };
        assert_eq!(zone(&[]), Zone(7));
        assert_eq!(zone(&[0x6000]), Zone(7), "a priority tag names no VLAN");
        assert_eq!(zone(&[5]), zone(&[0x6005]), "the priority is not the VLAN");
        let different = [zone(&[]), zone(&[5]), zone(&[6]), zone(&[4095]), zone(&[5, 6]), zone(&[6, 5])];
        for (at, one) in different.iter().enumerate() {
            assert!(!different[at + 1..].contains(one), "{different:?}");
        }
    }
}
