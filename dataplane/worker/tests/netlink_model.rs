//! Events in, forwarding base out.

use std::net::IpAddr;

use engine::fib::{Bridge, InterfaceAddress, InterfaceId, NonIpPolicy, Path};
use engine::{Address, Fib};
use ruleset::RoutingTable;
use wire::{Af, Mac};
use worker::netlink::event::{
    Event, Hop, KernelNeighbor, KernelRoute, Link, Manner, OwnAddress, RouteKey, Target,
};
use worker::netlink::model::{BridgeSpec, Effect, InterfaceSpec, Model, Place};

const WAN: InterfaceId = InterfaceId(0);
const LAN: InterfaceId = InterfaceId(1);
/// Link indexes of the host interfaces, and of a link that is not the dataplane's.
const WAN_LINK: u32 = 10;
const LAN_LINK: u32 = 11;
const ETH0: u32 = 2;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn mac(last: u8) -> Mac {
    Mac([2, 0, 0, 0, 0, last])
}

fn link(index: u32, name: &str) -> Link {
    Link { index, name: name.into(), mac: Some(mac(index as u8)), mtu: 1500, up: true }
}

fn address(link: u32, text: &str, prefix: u8) -> OwnAddress {
    OwnAddress { link, address: ip(text), prefix, peer: None, secondary: false }
}

fn hop(link: u32, gateway: &str) -> Hop {
    let gateway = if gateway.is_empty() { None } else { Some(ip(gateway)) };
    Hop { link, gateway, weight: 1, usable: true, carrier: true, mtu: None }
}

fn route(prefix: &str, length: u8, metric: u32, target: Target) -> KernelRoute {
    KernelRoute { key: RouteKey { table: RoutingTable::MAIN, prefix: ip(prefix), length, metric }, target }
}

/// The same route in another table.
fn in_table(table: u8, mut route: KernelRoute) -> KernelRoute {
    route.key.table = RoutingTable(table);
    route
}

fn hops(prefix: &str, length: u8, metric: u32, hops: &[Hop]) -> KernelRoute {
    route(prefix, length, metric, Target::Hops(hops.to_vec()))
}

fn add(model: &mut Model, route: KernelRoute) -> Effect {
    model.apply(Event::Route { manner: Manner::First, route })
}

/// wan0 and lan0 with addresses, and eth0 that is not ours.
fn model() -> Model {
    let spec =
        |name: &str, mtu| InterfaceSpec { name: name.into(), mac: mac(0xff), mtu, place: Place::Routed };
    let mut model = Model::new(vec![spec("wan0", 1500), spec("lan0", 1500)]);
    for event in [
        Event::Link(link(WAN_LINK, "wan0")),
        Event::Link(link(LAN_LINK, "lan0")),
        Event::Link(link(ETH0, "eth0")),
        Event::Address(address(WAN_LINK, "192.0.2.1", 24)),
        Event::Address(address(LAN_LINK, "10.0.0.1", 24)),
        Event::Address(address(LAN_LINK, "2001:db8::1", 64)),
        Event::Address(address(ETH0, "172.16.0.1", 24)),
    ] {
        assert_eq!(model.apply(event), Effect::Changed);
    }
    for connected in [
        hops("192.0.2.0", 24, 0, &[hop(WAN_LINK, "")]),
        hops("10.0.0.0", 24, 0, &[hop(LAN_LINK, "")]),
        hops("172.16.0.0", 24, 0, &[hop(ETH0, "")]),
        hops("0.0.0.0", 0, 0, &[hop(WAN_LINK, "192.0.2.254")]),
    ] {
        assert_eq!(add(&mut model, connected), Effect::Changed);
    }
    model
}

fn lookup(fib: &Fib, destination: &str) -> Path {
    lookup_hashed(fib, destination, 0)
}

fn lookup_hashed(fib: &Fib, destination: &str, hash: u64) -> Path {
    let destination = ip(destination);
    fib.lookup(Af::of(&destination), Address::from(destination), hash)
}

fn to(interface: InterfaceId, next_hop: &str) -> Path {
    Path::Forward { interface, next_hop: ip(next_hop), mac: None, mtu: None }
}

#[test]
fn interfaces_are_as_the_kernel_has_them() {
    let fib = model().fib(7);
    assert_eq!(fib.epoch(), 7);
    let lan = fib.interface(LAN).unwrap();
    assert_eq!((lan.name.as_str(), lan.mac, lan.mtu, lan.up), ("lan0", mac(LAN_LINK as u8), 1500, true));
    assert_eq!(lan.groups, ["lan"]);
    let own = |text: &str, prefix| InterfaceAddress::new(ip(text), prefix);
    assert_eq!(lan.addresses, [own("10.0.0.1", 24), own("2001:db8::1", 64)]);
}

#[test]
fn an_address_has_the_other_end_of_its_link() {
    let mut model = model();
    let own = OwnAddress { peer: Some(ip("198.51.100.1")), ..address(WAN_LINK, "198.51.100.2", 32) };
    let _ = model.apply(Event::Address(own));
    let fib = model.fib(1);
    let of_link = |peer| InterfaceAddress { peer, ..InterfaceAddress::new(ip("198.51.100.2"), 32) };
    assert!(fib.interface(WAN).unwrap().addresses.contains(&of_link(own.peer)));
    let _ = model.apply(Event::Address(OwnAddress { peer: None, ..own }));
    assert!(model.fib(2).interface(WAN).unwrap().addresses.contains(&of_link(None)));
}

/// The kernel's links, whatever their names, are nothing to a transparent pair.
#[test]
fn an_interface_of_a_pair_is_up_without_the_kernel() {
    let spec = |name: &str, peer| InterfaceSpec {
        name: name.into(),
        mac: mac(9),
        mtu: 1400,
        place: Place::Bridged(BridgeSpec {
            name: "br0".into(),
            bridge: Bridge { peer: InterfaceId(peer), non_ip: NonIpPolicy::Block },
        }),
    };
    let mut model = Model::new(vec![spec("wan0", 1), spec("lan0", 0)]);
    let _ = model.apply(Event::Link(Link { up: false, ..link(WAN_LINK, "wan0") }));
    let fib = model.fib(1);
    let [wan, lan] = fib.interfaces() else { panic!("two interfaces") };
    assert_eq!((wan.mac, wan.mtu, wan.up), (mac(9), 1400, true));
    assert_eq!(wan.groups, ["wan", "br0"]);
    assert_eq!(lan.bridge(), Some(&Bridge { peer: InterfaceId(0), non_ip: NonIpPolicy::Block }));
    assert_eq!((model.link_of(InterfaceId(0)), model.interface_of(WAN_LINK)), (None, None));
}

#[test]
fn an_interface_that_the_kernel_lacks_is_down() {
    let spec = InterfaceSpec { name: "x".into(), mac: mac(9), mtu: 1400, place: Place::Routed };
    let fib = Model::new(vec![spec]).fib(1);
    let absent = &fib.interfaces()[0];
    assert_eq!((absent.mac, absent.mtu, absent.up), (mac(9), 1400, false));
    assert!(absent.addresses.is_empty() && absent.groups.is_empty());
}

#[test]
fn the_smaller_mtu_counts() {
    let mut model = model();
    for (kernel, expected) in [(9000, 1500), (1400, 1400), (100_000, 1500)] {
        assert_eq!(model.apply(Event::Link(Link { mtu: kernel, ..link(WAN_LINK, "wan0") })), Effect::Changed);
        assert_eq!(model.fib(1).interface(WAN).unwrap().mtu, expected);
    }
}

#[test]
fn primary_addresses_come_first() {
    let mut model = model();
    let mut second = address(WAN_LINK, "192.0.2.2", 24);
    second.secondary = true;
    assert_eq!(model.apply(Event::AddressGone(address(WAN_LINK, "192.0.2.1", 24))), Effect::RoutesDoubtful);
    assert_eq!(model.apply(Event::Address(second)), Effect::Changed);
    assert_eq!(model.apply(Event::Address(address(WAN_LINK, "192.0.2.1", 24))), Effect::Changed);
    let fib = model.fib(1);
    let addresses: Vec<IpAddr> =
        fib.interface(WAN).unwrap().addresses.iter().map(|own| own.address).collect();
    assert_eq!(addresses, [ip("192.0.2.1"), ip("192.0.2.2")]);
}

#[test]
fn destinations_find_their_way() {
    let fib = model().fib(1);
    assert_eq!(lookup(&fib, "10.0.0.9"), to(LAN, "10.0.0.9"));
    assert_eq!(lookup(&fib, "198.51.100.1"), to(WAN, "192.0.2.254"));
    assert_eq!(lookup(&fib, "10.0.0.1"), Path::Host);
    assert_eq!(lookup(&fib, "172.16.0.1"), Path::Host, "an address of a link that is not ours is the host's");
    assert_eq!(lookup(&fib, "2001:db8:1::1"), Path::Unreachable);
}

#[test]
fn what_the_kernel_sends_elsewhere_is_not_forwarded_by_a_wider_route() {
    let fib = model().fib(1);
    assert_eq!(lookup(&fib, "172.16.0.9"), Path::Unreachable);
}

#[test]
fn loopback_and_link_local_addresses_of_other_links_stay_there() {
    let mut model = model();
    for (text, prefix) in [("127.0.0.1", 8), ("fe80::2", 64), ("169.254.1.1", 16)] {
        assert_eq!(model.apply(Event::Address(address(ETH0, text, prefix))), Effect::Changed);
    }
    let fib = model.fib(1);
    assert_ne!(lookup(&fib, "169.254.1.1"), Path::Host);
    assert_ne!(lookup(&fib, "fe80::2"), Path::Host);
}

#[test]
fn special_routes_say_so() {
    let mut model = model();
    let _ = add(&mut model, route("10.8.0.0", 16, 0, Target::Blackhole));
    let _ = add(&mut model, route("10.9.0.0", 16, 0, Target::Unreachable));
    let _ = add(&mut model, route("10.10.0.0", 16, 0, Target::Prohibit));
    let fib = model.fib(1);
    assert_eq!(lookup(&fib, "10.8.1.1"), Path::Blackhole);
    assert_eq!(lookup(&fib, "10.9.1.1"), Path::Unreachable);
    assert_eq!(lookup(&fib, "10.10.1.1"), Path::Prohibit);
}

#[test]
fn the_least_metric_wins_until_it_is_gone() {
    let mut model = model();
    let near = hops("10.5.0.0", 16, 20, &[hop(LAN_LINK, "10.0.0.5")]);
    let far = hops("10.5.0.0", 16, 100, &[hop(WAN_LINK, "192.0.2.5")]);
    let _ = add(&mut model, far);
    let _ = add(&mut model, near.clone());
    assert_eq!(lookup(&model.fib(1), "10.5.1.1"), to(LAN, "10.0.0.5"));
    assert_eq!(model.apply(Event::RouteGone(near)), Effect::Changed);
    assert_eq!(lookup(&model.fib(2), "10.5.1.1"), to(WAN, "192.0.2.5"));
}

#[test]
fn each_table_has_its_routes() {
    let mut model = model();
    let near = |metric| hops("10.5.0.0", 16, metric, &[hop(LAN_LINK, "10.0.0.5")]);
    let far = |metric| hops("10.5.0.0", 16, metric, &[hop(WAN_LINK, "192.0.2.5")]);
    let _ = add(&mut model, near(100));
    let _ = add(&mut model, in_table(2, far(20)));
    let _ = add(&mut model, in_table(2, near(30)));
    let _ = add(&mut model, in_table(9, route("10.5.0.0", 16, 0, Target::Blackhole)));
    let found = |model: &Model, table| {
        let address = ip("10.5.1.1");
        model.fib(1).lookup_in(RoutingTable(table), Af::of(&address), address.into(), 0)
    };
    let all = |model: &Model| [0, 2, 9, 3].map(|table| found(model, table));
    assert_eq!(all(&model), [to(LAN, "10.0.0.5"), to(WAN, "192.0.2.5"), Path::Blackhole, Path::Unreachable]);
    assert_eq!(model.apply(Event::RouteGone(in_table(2, far(20)))), Effect::Changed);
    assert_eq!(all(&model)[..2], [to(LAN, "10.0.0.5"), to(LAN, "10.0.0.5")]);
    assert_eq!(model.apply(Event::RouteGone(near(100))), Effect::Changed);
    assert_eq!(all(&model)[..2], [to(WAN, "192.0.2.254"), to(LAN, "10.0.0.5")], "by the default route");
    assert_eq!(model.apply(Event::RouteGone(in_table(2, near(30)))), Effect::Changed);
    assert_eq!(all(&model)[1], Path::Unreachable, "it has none");
    let mut astray = model.unlearnt();
    assert!(astray.differs(&model));
    let _ = add(&mut astray, in_table(2, near(30)));
    assert!(model.differs(&astray));
}

#[test]
fn routes_of_one_key_have_an_order() {
    let mut model = model();
    let via = |last: u8| hops("10.6.0.0", 16, 0, &[hop(LAN_LINK, &format!("10.0.0.{last}"))]);
    let now = |model: &Model| match lookup(&model.fib(1), "10.6.1.1") {
        Path::Forward { next_hop, .. } => next_hop.to_string(),
        other => panic!("{other:?}"),
    };
    let mut apply = |manner, last| {
        assert_eq!(model.apply(Event::Route { manner, route: via(last) }), Effect::Changed);
        now(&model)
    };
    assert_eq!(apply(Manner::First, 2), "10.0.0.2");
    assert_eq!(apply(Manner::Append, 3), "10.0.0.2");
    assert_eq!(apply(Manner::First, 1), "10.0.0.1");
    assert_eq!(apply(Manner::Replace, 9), "10.0.0.9");
    for (gone, next) in [(9, "10.0.0.2"), (2, "10.0.0.3")] {
        assert_eq!(model.apply(Event::RouteGone(via(gone))), Effect::Changed);
        assert_eq!(now(&model), next);
    }
    assert_eq!(model.apply(Event::RouteGone(via(3))), Effect::Changed);
    assert_eq!(lookup(&model.fib(1), "10.6.1.1"), to(WAN, "192.0.2.254"), "the default route again");
}

#[test]
fn a_route_told_twice_is_one_route() {
    let mut model = model();
    let twice = hops("10.6.0.0", 16, 0, &[hop(LAN_LINK, "10.0.0.2")]);
    assert_eq!(add(&mut model, twice.clone()), Effect::Changed);
    assert_eq!(add(&mut model, twice.clone()), Effect::Nothing);
    assert_eq!(model.apply(Event::RouteGone(twice)), Effect::Changed);
    assert_eq!(lookup(&model.fib(1), "10.6.1.1"), to(WAN, "192.0.2.254"));
}

#[test]
fn a_route_that_was_never_told_and_is_gone_makes_routes_doubtful() {
    let mut model = model();
    let known = hops("10.6.0.0", 16, 0, &[hop(LAN_LINK, "10.0.0.2")]);
    let _ = add(&mut model, known);
    let other = hops("10.6.0.0", 16, 0, &[hop(LAN_LINK, "10.0.0.3")]);
    assert_eq!(model.apply(Event::RouteGone(other)), Effect::RoutesDoubtful);
    assert_eq!(lookup(&model.fib(1), "10.6.1.1"), to(LAN, "10.0.0.2"));
}

#[test]
fn ipv6_next_hops_are_told_one_by_one() {
    let mut model = model();
    let via = |last: u8| hops("2001:db8:6::", 48, 1024, &[hop(LAN_LINK, &format!("2001:db8::{last}"))]);
    let found = |model: &Model| -> Vec<Path> {
        let fib = model.fib(1);
        let mut paths: Vec<_> = (0..8).map(|hash| lookup_hashed(&fib, "2001:db8:6::1", hash)).collect();
        paths.dedup();
        paths.truncate(2);
        paths
    };
    let _ = add(&mut model, via(2));
    assert_eq!(found(&model), [to(LAN, "2001:db8::2")]);
    let _ = model.apply(Event::Route { manner: Manner::Append, route: via(3) });
    assert_eq!(found(&model), [to(LAN, "2001:db8::2"), to(LAN, "2001:db8::3")]);
    assert_eq!(model.apply(Event::RouteGone(via(2))), Effect::Changed);
    assert_eq!(found(&model), [to(LAN, "2001:db8::3")]);
    assert_eq!(model.apply(Event::RouteGone(via(3))), Effect::Changed);
    assert_eq!(found(&model), [Path::Unreachable]);
}

#[test]
fn next_hops_share_by_weight_and_dead_ones_have_none() {
    let mut model = model();
    let a = Hop { weight: 3, ..hop(LAN_LINK, "10.0.0.2") };
    let b = hop(WAN_LINK, "192.0.2.2");
    let dead = Hop { usable: false, ..hop(LAN_LINK, "10.0.0.7") };
    let foreign = hop(ETH0, "172.16.0.7");
    let _ = add(&mut model, hops("10.7.0.0", 16, 0, &[a, dead, b, foreign]));
    let fib = model.fib(1);
    let to_a = (0..4000).filter(|hash| lookup_hashed(&fib, "10.7.0.1", *hash) == to(LAN, "10.0.0.2")).count();
    let to_b =
        (0..4000).filter(|hash| lookup_hashed(&fib, "10.7.0.1", *hash) == to(WAN, "192.0.2.2")).count();
    assert!(to_a.abs_diff(3000) < 150 && to_a + to_b == 4000, "{to_a}, {to_b}");
    let _ = add(&mut model, hops("10.7.1.0", 24, 0, &[dead]));
    assert_eq!(lookup(&model.fib(1), "10.7.1.1"), Path::Unreachable);
    // A link without carrier is left as well, unless there is no other: what is sent there finds the port down.
    let quiet = Hop { carrier: false, ..a };
    let _ = add(&mut model, hops("10.7.2.0", 24, 0, &[quiet, b]));
    let _ = add(&mut model, hops("10.7.3.0", 24, 0, &[quiet, dead]));
    let fib = model.fib(1);
    assert!((0..64).all(|hash| lookup_hashed(&fib, "10.7.2.1", hash) == to(WAN, "192.0.2.2")));
    assert_eq!(lookup(&fib, "10.7.3.1"), to(LAN, "10.0.0.2"));
}

#[test]
fn a_gateway_that_does_not_answer_is_left_while_another_is_there() {
    let mut model = model();
    let _ = add(&mut model, hops("10.7.0.0", 16, 0, &[hop(LAN_LINK, "10.0.0.2"), hop(LAN_LINK, "10.0.0.3")]));
    let _ = add(&mut model, hops("10.8.0.0", 16, 0, &[hop(LAN_LINK, "10.0.0.4")]));
    let taken = |model: &mut Model, destination: &str| -> Vec<String> {
        model.find_alternatives();
        let fib = model.fib(1);
        let mut hops: Vec<String> =
            (0..64).map(|hash| format!("{:?}", lookup_hashed(&fib, destination, hash))).collect();
        hops.sort();
        hops.dedup();
        hops
    };
    assert_eq!(taken(&mut model, "10.7.0.1").len(), 2);
    let neighbor = |last: &str, mac, silent| {
        Event::Neighbor(KernelNeighbor { link: LAN_LINK, address: ip(last), mac, stale: false, silent })
    };
    // It is looked for, then given up; a gateway without an alternative stays.
    assert_eq!(model.apply(neighbor("10.0.0.2", None, false)), Effect::Nothing);
    assert_eq!(model.apply(neighbor("10.0.0.2", None, true)), Effect::Changed);
    assert_eq!(model.apply(neighbor("10.0.0.4", None, true)), Effect::Nothing);
    assert_eq!(taken(&mut model, "10.7.0.1"), [format!("{:?}", to(LAN, "10.0.0.3"))]);
    assert_eq!(taken(&mut model, "10.8.0.1").len(), 1);
    assert_eq!(model.silent().collect::<Vec<_>>(), [(LAN_LINK, ip("10.0.0.2"))]);
    // Also while it is looked for again, or forgotten by the kernel.
    assert_eq!(model.apply(neighbor("10.0.0.2", None, false)), Effect::Nothing);
    let _ = model.apply(Event::NeighborGone { link: LAN_LINK, address: ip("10.0.0.2") });
    assert_eq!(taken(&mut model, "10.7.0.1").len(), 1);
    // With none left, both are tried; one that answers gets packets again.
    assert_eq!(model.apply(neighbor("10.0.0.3", None, true)), Effect::Changed);
    assert_eq!(taken(&mut model, "10.7.0.1").len(), 2);
    assert_eq!(model.apply(neighbor("10.0.0.2", Some(mac(7)), false)), Effect::Changed);
    assert_eq!(taken(&mut model, "10.7.0.1").len(), 1);
    // With the route goes what was known of its gateways.
    let _ = model.apply(Event::RouteGone(hops(
        "10.7.0.0",
        16,
        0,
        &[hop(LAN_LINK, "10.0.0.2"), hop(LAN_LINK, "10.0.0.3")],
    )));
    assert!(taken(&mut model, "10.7.0.1").len() == 1 && model.silent().count() == 0);
}

#[test]
fn gateways_that_rules_name_are_wanted_and_told_to_be_silent() {
    let mut model = model();
    let neighbor = |last: &str, mac, silent| {
        Event::Neighbor(KernelNeighbor { link: LAN_LINK, address: ip(last), mac, stale: false, silent })
    };
    let is_silent = |model: &mut Model, last: &str| {
        model.find_alternatives();
        model.fib(1).is_silent(LAN, &ip(last))
    };
    assert_eq!(model.apply(neighbor("10.0.0.2", None, true)), Effect::Nothing, "nobody asks for it");
    assert!(!is_silent(&mut model, "10.0.0.2"));
    let both = || [(LAN_LINK, ip("10.0.0.2")), (LAN_LINK, ip("10.0.0.3"))];
    assert_eq!(model.watch(both()), Effect::Changed);
    assert_eq!(model.watch(both()), Effect::Nothing);
    assert_eq!(model.wanted().collect::<Vec<_>>(), both());
    assert!(is_silent(&mut model, "10.0.0.2") && !is_silent(&mut model, "10.0.0.3"));
    let _ = model.apply(neighbor("10.0.0.3", Some(mac(7)), false));
    assert_eq!(model.wanted().collect::<Vec<_>>(), both()[..1]);
    // It stops answering; the other one begins to.
    assert_eq!(model.apply(neighbor("10.0.0.3", None, true)), Effect::Changed);
    let _ = model.apply(neighbor("10.0.0.2", Some(mac(8)), false));
    assert!(!is_silent(&mut model, "10.0.0.2") && is_silent(&mut model, "10.0.0.3"));
    // What rules name is known also when everything is learnt anew.
    model.forget();
    assert_eq!(model.watch(both()), Effect::Nothing);
    // Other rules.
    assert_eq!(model.watch([]), Effect::Changed);
    assert!(!is_silent(&mut model, "10.0.0.3") && model.wanted().count() == 0);
}

#[test]
fn an_audit_finds_every_difference_and_no_other() {
    let neighbor = KernelNeighbor {
        link: LAN_LINK,
        address: ip("10.0.0.9"),
        mac: Some(mac(1)),
        stale: false,
        silent: false,
    };
    let more = hops("10.7.0.0", 16, 0, &[hop(LAN_LINK, "10.0.0.2")]);
    let events = [
        Event::Route { manner: Manner::First, route: more },
        Event::RouteGone(hops("0.0.0.0", 0, 0, &[hop(WAN_LINK, "192.0.2.254")])),
        Event::AddressGone(address(LAN_LINK, "2001:db8::1", 64)),
        Event::Link(Link { up: false, ..link(LAN_LINK, "lan0") }),
        Event::Neighbor(neighbor),
    ];
    assert!(!model().differs(&model()));
    for event in events {
        let mut changed = model();
        let _ = changed.apply(event);
        assert!(changed.differs(&model()) && model().differs(&changed));
    }
    // A neighbour that is only less certain, or unknown, forwards as before.
    let (mut a, mut b) = (model(), model());
    let known =
        KernelNeighbor { link: LAN_LINK, address: ip("10.0.0.9"), mac: None, stale: true, silent: true };
    let _ = a.apply(Event::Neighbor(known));
    assert!(!a.differs(&b));
    // Addresses and next hops in another order are the same.
    let (one, two) = (hop(LAN_LINK, "10.0.0.2"), hop(LAN_LINK, "10.0.0.3"));
    let _ = add(&mut a, hops("10.7.0.0", 16, 0, &[one, two]));
    let _ = add(&mut b, hops("10.7.0.0", 16, 0, &[two, one]));
    assert!(!a.differs(&b));
}

#[test]
fn neighbours_give_their_address_while_it_may_be_used() {
    let mut model = model();
    let known = KernelNeighbor {
        link: LAN_LINK,
        address: ip("10.0.0.9"),
        mac: Some(mac(0x99)),
        stale: false,
        silent: false,
    };
    let found = |model: &Model| model.fib(1).neighbor(LAN, &ip("10.0.0.9"));
    assert_eq!(model.apply(Event::Neighbor(known)), Effect::Changed);
    assert_eq!(found(&model), Some(mac(0x99)));
    // Confirming what is known, or losing confidence in it, changes nothing for forwarding.
    assert_eq!(model.apply(Event::Neighbor(KernelNeighbor { stale: true, ..known })), Effect::Nothing);
    assert_eq!(model.stale().collect::<Vec<_>>(), [(LAN_LINK, ip("10.0.0.9"))]);
    assert_eq!(model.apply(Event::Neighbor(KernelNeighbor { mac: None, ..known })), Effect::Changed);
    assert_eq!((found(&model), model.stale().count()), (None, 0));
    let _ = model.apply(Event::Neighbor(known));
    assert_eq!(model.apply(Event::NeighborGone { link: LAN_LINK, address: ip("10.0.0.9") }), Effect::Changed);
    assert_eq!(found(&model), None);
}

#[test]
fn neighbours_on_other_links_are_left_alone() {
    let mut model = model();
    let other = KernelNeighbor {
        link: ETH0,
        address: ip("172.16.0.9"),
        mac: Some(mac(1)),
        stale: true,
        silent: false,
    };
    let _ = model.apply(Event::Neighbor(other));
    assert_eq!(model.stale().count(), 0);
}

#[test]
fn links_that_go_down_come_up_or_vanish_make_routes_doubtful() {
    let mut model = model();
    let down = Link { up: false, ..link(LAN_LINK, "lan0") };
    assert_eq!(model.apply(Event::Link(down.clone())), Effect::RoutesDoubtful);
    assert!(!model.fib(1).interface(LAN).unwrap().up);
    assert_eq!(model.apply(Event::Link(down)), Effect::Nothing);
    assert_eq!(model.apply(Event::Link(link(LAN_LINK, "lan0"))), Effect::RoutesDoubtful);
    let neighbor = KernelNeighbor {
        link: LAN_LINK,
        address: ip("10.0.0.9"),
        mac: Some(mac(1)),
        stale: false,
        silent: false,
    };
    let _ = model.apply(Event::Neighbor(neighbor));
    assert_eq!(model.apply(Event::LinkGone { index: LAN_LINK }), Effect::RoutesDoubtful);
    let fib = model.fib(1);
    assert!(fib.interface(LAN).unwrap().addresses.is_empty());
    assert_eq!(fib.neighbor(LAN, &ip("10.0.0.9")), None);
    assert_eq!(model.apply(Event::LinkGone { index: LAN_LINK }), Effect::Nothing);
}

#[test]
fn a_link_that_comes_back_with_another_index_is_the_same_interface() {
    let mut model = model();
    let _ = model.apply(Event::LinkGone { index: LAN_LINK });
    let _ = model.apply(Event::Link(link(99, "lan0")));
    assert_eq!((model.link_of(LAN), model.interface_of(99)), (Some(99), Some(LAN)));
    assert_eq!(model.interface_of(LAN_LINK), None);
}

#[test]
fn a_renamed_link_is_no_interface_of_ours() {
    let mut model = model();
    let _ = model.apply(Event::Link(link(LAN_LINK, "other")));
    assert_eq!(model.link_of(LAN), None);
    assert!(!model.fib(1).interface(LAN).unwrap().up);
}

#[test]
fn learning_again_gives_the_same() {
    let mut first = model();
    let before = format!("{:?}", first.fib(1));
    first.forget();
    assert!(first.fib(1).interface(WAN).unwrap().addresses.is_empty());
    assert_eq!(lookup(&first.fib(1), "10.0.0.9"), Path::Unreachable);
    assert_eq!(format!("{:?}", model().fib(1)), before);
    let mut routes = model();
    routes.forget_routes();
    assert_eq!(lookup(&routes.fib(1), "198.51.100.1"), Path::Unreachable);
    assert_eq!(lookup(&routes.fib(1), "10.0.0.1"), Path::Host, "addresses were not forgotten");
}
