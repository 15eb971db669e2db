//! What the kernel's messages mean to forwarding.

use std::net::IpAddr;

use netlink_packet_core::{NLM_F_APPEND, NLM_F_MULTIPART, NLM_F_REPLACE, NetlinkHeader};
use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressMessage};
use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkMessage};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteLwEnCapType, RouteMessage, RouteMetric, RouteNextHop,
    RouteNextHopFlags, RouteType, RouteVia,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage as Message};
use ruleset::RoutingTable;
use wire::Mac;
use worker::netlink::event::{Event, Hop, KernelNeighbor, Link, Manner, OwnAddress, RouteKey, Target, event};

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn meaning(message: Message) -> Option<Event> {
    event(&NetlinkHeader::default(), message)
}

#[test]
fn a_link_has_a_name_an_address_an_mtu_and_is_up_or_not() {
    let mut message = LinkMessage::default();
    message.header.index = 7;
    message.header.flags = LinkFlags::Up | LinkFlags::Running;
    message.attributes = vec![
        LinkAttribute::IfName("wan0".into()),
        LinkAttribute::Mtu(9000),
        LinkAttribute::Address(vec![2, 0, 0, 0, 0, 1]),
    ];
    let link =
        Link { index: 7, name: "wan0".into(), mac: Some(Mac([2, 0, 0, 0, 0, 1])), mtu: 9000, up: true };
    assert_eq!(meaning(Message::NewLink(message.clone())), Some(Event::Link(link.clone())));
    // No carrier.
    message.header.flags = LinkFlags::Up;
    assert_eq!(meaning(Message::NewLink(message.clone())), Some(Event::Link(Link { up: false, ..link })));
    assert_eq!(meaning(Message::DelLink(message.clone())), Some(Event::LinkGone { index: 7 }));
    message.attributes.remove(0);
    assert_eq!(meaning(Message::NewLink(message)), None, "a message about something else has no name");
}

fn address(attributes: Vec<AddressAttribute>) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.index = 3;
    message.header.prefix_len = 24;
    message.attributes = attributes;
    message
}

#[test]
fn an_address_is_the_local_one_with_its_prefix() {
    let own = OwnAddress { link: 3, address: ip("10.0.0.1"), prefix: 24, peer: None, secondary: false };
    let plain = vec![AddressAttribute::Address(ip("10.0.0.1")), AddressAttribute::Local(ip("10.0.0.1"))];
    assert_eq!(meaning(Message::NewAddress(address(plain.clone()))), Some(Event::Address(own)));
    assert_eq!(meaning(Message::DelAddress(address(plain.clone()))), Some(Event::AddressGone(own)));
    let mut second = plain;
    second.push(AddressAttribute::Flags(AddressFlags::Secondary));
    let secondary = OwnAddress { secondary: true, ..own };
    assert_eq!(meaning(Message::NewAddress(address(second))), Some(Event::Address(secondary)));
    // The prefix is that of the peer's network, not of ours.
    let peer = vec![AddressAttribute::Address(ip("10.9.0.1")), AddressAttribute::Local(ip("10.0.0.1"))];
    let alone = OwnAddress { prefix: 32, peer: Some(ip("10.9.0.1")), ..own };
    assert_eq!(meaning(Message::NewAddress(address(peer))), Some(Event::Address(alone)));
    // IPv6 has no local attribute.
    let v6 = vec![AddressAttribute::Address(ip("2001:db8::1"))];
    let expected = OwnAddress { address: ip("2001:db8::1"), ..own };
    assert_eq!(meaning(Message::NewAddress(address(v6))), Some(Event::Address(expected)));
}

#[test]
fn an_address_that_another_station_has_is_not_ours() {
    let twice =
        vec![AddressAttribute::Address(ip("fe80::1")), AddressAttribute::Flags(AddressFlags::Dadfailed)];
    assert_eq!(meaning(Message::NewAddress(address(twice))), None);
}

fn route(kind: RouteType, attributes: Vec<RouteAttribute>) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header.address_family = AddressFamily::Inet;
    message.header.destination_prefix_length = 16;
    message.header.table = 254;
    message.header.kind = kind;
    message.attributes = vec![RouteAttribute::Destination(ip("10.1.0.0").into())];
    message.attributes.extend(attributes);
    message
}

fn target(message: RouteMessage) -> Option<Target> {
    match meaning(Message::NewRoute(message)) {
        Some(Event::Route { route, .. }) => Some(route.target),
        None => None,
        other => panic!("{other:?}"),
    }
}

fn hop(link: u32, gateway: Option<&str>) -> Hop {
    Hop { link, gateway: gateway.map(ip), weight: 1, usable: true, carrier: true, mtu: None }
}

#[test]
fn a_route_leads_to_a_gateway_or_onto_the_link() {
    let gateway = RouteAttribute::Gateway(ip("10.0.0.9").into());
    let via = |attributes| target(route(RouteType::Unicast, attributes));
    assert_eq!(
        via(vec![RouteAttribute::Oif(5), gateway]),
        Some(Target::Hops(vec![hop(5, Some("10.0.0.9"))]))
    );
    assert_eq!(via(vec![RouteAttribute::Oif(5)]), Some(Target::Hops(vec![hop(5, None)])));
    // An IPv4 route over an IPv6 gateway (RFC 8950).
    let six = RouteAttribute::Via(RouteVia::Inet6("fe80::1".parse().unwrap()));
    assert_eq!(via(vec![RouteAttribute::Oif(5), six]), Some(Target::Hops(vec![hop(5, Some("fe80::1"))])));
}

#[test]
fn a_route_may_lead_nowhere() {
    let kinds = [
        (RouteType::BlackHole, Some(Target::Blackhole)),
        (RouteType::Unreachable, Some(Target::Unreachable)),
        (RouteType::Prohibit, Some(Target::Prohibit)),
        (RouteType::Local, None),
        (RouteType::Broadcast, None),
        (RouteType::Multicast, None),
        (RouteType::Throw, None),
    ];
    for (kind, expected) in kinds {
        assert_eq!(target(route(kind, vec![RouteAttribute::Oif(1)])), expected, "{kind:?}");
    }
}

#[test]
fn only_plain_routes_of_tables_that_rules_can_name_count() {
    let plain = route(RouteType::Unicast, vec![RouteAttribute::Oif(5)]);
    assert!(target(plain.clone()).is_some());
    let changed = |change: &dyn Fn(&mut RouteMessage)| {
        let mut message = plain.clone();
        change(&mut message);
        target(message)
    };
    let table = |header: u8, number: Option<u32>| {
        let mut message = plain.clone();
        message.header.table = header;
        message.attributes.extend(number.map(RouteAttribute::Table));
        match meaning(Message::NewRoute(message)) {
            Some(Event::Route { route, .. }) => Some(route.key.table),
            _ => None,
        }
    };
    assert_eq!(table(254, Some(254)), Some(RoutingTable::MAIN));
    assert_eq!(table(254, None), Some(RoutingTable::MAIN));
    assert_eq!(table(2, Some(2)), Some(RoutingTable(2)));
    assert_eq!(table(253, None), Some(RoutingTable(253)), "the default table");
    assert_eq!(table(255, None), None, "the local table");
    // Beyond 255 the header has RT_TABLE_COMPAT.
    assert_eq!(table(252, Some(1000)), None);
    assert_eq!(changed(&|message| message.header.tos = 16), None);
    assert_eq!(changed(&|message| message.header.source_prefix_length = 64), None);
    assert_eq!(changed(&|message| message.header.flags = RouteFlags::Cloned), None);
    assert_eq!(changed(&|message| message.header.address_family = AddressFamily::Mpls), None);
}

#[test]
fn several_next_hops_have_shares_and_some_are_down() {
    let next_hop = |index, hops, flags, gateway: &str| {
        let mut next_hop = RouteNextHop::default();
        next_hop.interface_index = index;
        next_hop.hops = hops;
        next_hop.flags = flags;
        next_hop.attributes = vec![RouteAttribute::Gateway(RouteAddress::from(ip(gateway)))];
        next_hop
    };
    let several = RouteAttribute::MultiPath(vec![
        next_hop(5, 0, RouteNextHopFlags::empty(), "10.0.0.1"),
        next_hop(6, 9, RouteNextHopFlags::Onlink, "10.0.0.2"),
        next_hop(7, 0, RouteNextHopFlags::Dead, "10.0.0.3"),
        next_hop(8, 0, RouteNextHopFlags::Linkdown, "10.0.0.4"),
    ]);
    let expected = Target::Hops(vec![
        hop(5, Some("10.0.0.1")),
        Hop { weight: 10, ..hop(6, Some("10.0.0.2")) },
        Hop { usable: false, ..hop(7, Some("10.0.0.3")) },
        Hop { carrier: false, ..hop(8, Some("10.0.0.4")) },
    ]);
    assert_eq!(target(route(RouteType::Unicast, vec![several])), Some(expected));
}

#[test]
fn a_routes_mtu_is_that_of_its_next_hops() {
    for (told, expected) in [(1400, Some(1400)), (20, Some(68)), (70_000, Some(u16::MAX)), (0, None)] {
        let metrics = RouteAttribute::Metrics(vec![RouteMetric::Hoplimit(3), RouteMetric::Mtu(told)]);
        let attributes = vec![RouteAttribute::Oif(5), metrics];
        let expected = Target::Hops(vec![Hop { mtu: expected, ..hop(5, None) }]);
        assert_eq!(target(route(RouteType::Unicast, attributes)), Some(expected), "{told}");
    }
}

#[test]
fn a_hop_that_wants_an_encapsulation_is_not_usable() {
    let attributes = vec![RouteAttribute::Oif(5), RouteAttribute::EncapType(RouteLwEnCapType::Mpls)];
    let expected = Target::Hops(vec![Hop { usable: false, ..hop(5, None) }]);
    assert_eq!(target(route(RouteType::Unicast, attributes)), Some(expected));
}

#[test]
fn a_default_route_has_no_destination_and_a_metric_is_part_of_the_key() {
    let mut message = route(RouteType::Unicast, vec![RouteAttribute::Oif(5), RouteAttribute::Priority(100)]);
    message.attributes.remove(0);
    message.header.destination_prefix_length = 0;
    message.header.address_family = AddressFamily::Inet6;
    let Some(Event::Route { route, .. }) = meaning(Message::NewRoute(message)) else { panic!("no route") };
    assert_eq!(route.key, RouteKey { table: RoutingTable::MAIN, prefix: ip("::"), length: 0, metric: 100 });
}

#[test]
fn flags_tell_how_a_route_stands_to_others() {
    for (flags, expected) in [
        (0, Manner::First),
        (NLM_F_REPLACE, Manner::Replace),
        (NLM_F_APPEND, Manner::Append),
        (NLM_F_MULTIPART, Manner::Append),
    ] {
        let mut header = NetlinkHeader::default();
        header.flags = flags;
        let message = Message::NewRoute(route(RouteType::BlackHole, vec![]));
        let Some(Event::Route { manner, .. }) = event(&header, message) else { panic!("no route") };
        assert_eq!(manner, expected, "{flags:#x}");
    }
}

#[test]
fn a_neighbour_has_an_address_only_while_that_may_be_used() {
    let neighbor = |state| {
        let mut message = NeighbourMessage::default();
        message.header.ifindex = 4;
        message.header.state = state;
        message.attributes = vec![
            NeighbourAttribute::Destination(NeighbourAddress::Inet([10, 0, 0, 2].into())),
            NeighbourAttribute::LinkLayerAddress(vec![2, 0, 0, 0, 0, 9]),
        ];
        message
    };
    let known = KernelNeighbor {
        link: 4,
        address: ip("10.0.0.2"),
        mac: Some(Mac([2, 0, 0, 0, 0, 9])),
        stale: false,
        silent: false,
    };
    let unknown = KernelNeighbor { mac: None, ..known };
    for (state, expected) in [
        (NeighbourState::Reachable, known),
        (NeighbourState::Delay, known),
        (NeighbourState::Probe, known),
        (NeighbourState::Permanent, known),
        (NeighbourState::Noarp, known),
        (NeighbourState::Stale, KernelNeighbor { stale: true, ..known }),
        (NeighbourState::Incomplete, unknown),
        (NeighbourState::Failed, KernelNeighbor { silent: true, ..unknown }),
        (NeighbourState::None, unknown),
    ] {
        assert_eq!(
            meaning(Message::NewNeighbour(neighbor(state))),
            Some(Event::Neighbor(expected)),
            "{state:?}"
        );
    }
    let gone = Event::NeighborGone { link: 4, address: ip("10.0.0.2") };
    assert_eq!(meaning(Message::DelNeighbour(neighbor(NeighbourState::Stale))), Some(gone));
    let mut proxy = neighbor(NeighbourState::Reachable);
    proxy.header.flags = NeighbourFlags::Proxy;
    assert_eq!(meaning(Message::NewNeighbour(proxy)), None);
}

#[test]
fn what_is_not_about_forwarding_means_nothing() {
    assert_eq!(meaning(Message::GetLink(LinkMessage::default())), None);
}
