//! Whole packets through a shard: what a router does with them between the hooks, and what is for the host.

use std::net::IpAddr;

use crate::firewall::rules::{Written, block, pass};
use crate::firewall::{EM0, EM1, Firewall, fib, interfaces, mac, packet::Packet};
use engine::fib::{Interface, NextHop, Path, Route, RouteEntry};
use engine::{Arrival, Created, Fate, Fib, InterfaceId, Source};
use ruleset::{Reason, RoutingTable};
use wire::{Mac, ethernet};

const PASS_ANY: fn() -> Firewall = || Firewall::with(vec![pass().any_flags()]);

#[test]
fn a_handshake_through_two_hooks_makes_pfs_two_states() {
    let mut firewall = Firewall::with(vec![pass()]);
    firewall.tell("em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp S seq 1000 ws 7 -> out em1");
    assert_eq!(
        firewall.lines(),
        [
            "all tcp 10.0.0.2:40000 -> 10.1.0.2:80       SYN_SENT:CLOSED",
            "all tcp 10.1.0.2:80 <- 10.0.0.2:40000       CLOSED:SYN_SENT",
        ]
    );
    firewall.tell(
        "
        em1: 10.1.0.2.80 > 10.0.0.2.40000 tcp SA seq 5000 ack 1001 ws 6 -> out em0
        em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp A seq 1001 ack 5001       -> out em1
        ",
    );
    assert_eq!(
        firewall.lines(),
        [
            "all tcp 10.0.0.2:40000 -> 10.1.0.2:80       ESTABLISHED:ESTABLISHED",
            "all tcp 10.1.0.2:80 <- 10.0.0.2:40000       ESTABLISHED:ESTABLISHED",
        ]
    );
    let states = firewall.states();
    assert_eq!(states.iter().map(|state| state.source.packets).collect::<Vec<_>>(), [2, 2]);
    assert_eq!(states.iter().map(|state| state.destination.packets).collect::<Vec<_>>(), [1, 1]);
    assert_eq!(states[0].expires_in_s, 86_400);
    assert_eq!((states[0].source.wscale, states[0].destination.wscale), (Some(7), Some(6)));
    let counters = firewall.shard.counters();
    assert_eq!((counters.inserts, counters.removals, counters.dropped_in_all()), (2, 0, 0));
    assert_eq!(firewall.shard.states(), 2);
}

#[test]
fn ipv6_is_forwarded_as_ipv4_is() {
    let mut firewall = Firewall::with(vec![pass()]);
    firewall.tell(
        "
        em0: 2001:db8::2.40000 > 2001:db8:1::2.80 tcp S seq 1000         -> out em1
        em1: 2001:db8:1::2.80 > 2001:db8::2.40000 tcp SA seq 9 ack 1001  -> out em0
        em1: 2001:db8:1::2.80 > 2001:db8::2.40001 tcp SA seq 9 ack 1001  -> out em0
        ",
    );
    assert_eq!(
        firewall.lines(),
        [
            "all tcp 2001:db8:1::2[80] <- 2001:db8::2[40000]       SYN_SENT:ESTABLISHED",
            "all tcp 2001:db8::2[40000] -> 2001:db8:1::2[80]       ESTABLISHED:SYN_SENT",
        ],
        "the segment to another port met no rule and passed without a state"
    );
}

#[test]
fn nothing_passes_before_rules_are_committed() {
    let mut firewall = Firewall::bare();
    firewall.tell(
        "
        em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp S seq 1000      -> no-rules
        em0: 10.0.0.2.40000 > 10.0.0.1.22 tcp S seq 1000      -> no-rules
        em0 host: 10.0.0.1.40000 > 10.0.0.2.80 tcp S seq 1000 -> no-rules
        em0: 10.0.0.2 > 10.0.0.1 icmp 8/0 id 1                -> no-rules
        ",
    );
    assert_eq!(firewall.dropped(Reason::NoRules), 4);
    assert_eq!(firewall.sweep(), 0);
    assert_eq!(firewall.dump(), "");
    firewall.load(crate::firewall::rules::ruleset(vec![pass()]));
    firewall.tell("em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp S seq 1000 -> out em1");
}

#[test]
fn a_packet_whose_time_to_live_runs_out_is_answered_by_the_router() {
    PASS_ANY().tell(
        "
        em0: 10.0.0.2.1 > 10.1.0.2.53 udp ttl 2  -> out em1
        em0: 10.0.0.2.1 > 10.1.0.2.53 udp ttl 1  -> ttl: 10.0.0.1 > 10.0.0.2 icmp 11/0 about (10.0.0.2 > 10.1.0.2 proto 17) ttl 64
        em0: 10.0.0.2.1 > 10.1.0.2.53 udp ttl 0  -> ttl: 10.0.0.1 > 10.0.0.2 icmp 11/0 about (10.0.0.2 > 10.1.0.2 proto 17) ttl 64
        em0: 2001:db8::2.1 > 2001:db8:1::2.53 udp ttl 1 -> ttl: 2001:db8::1 > 2001:db8::2 icmp 3/0 about (2001:db8::2 > 2001:db8:1::2 proto 17) ttl 64
        em0: 10.0.0.2.1 > 10.0.0.1.53 udp ttl 1  -> host em0
        em0 host: 10.0.0.1.1 > 10.0.0.2.53 udp ttl 1 -> sent em0
        ",
    );
}

#[test]
fn what_has_no_route_is_answered_or_not_as_the_route_says() {
    let mut firewall = PASS_ANY();
    firewall.tell(
        "
        em0: 10.0.0.2.1 > 198.51.100.7.53 udp -> out em1
        em0: 10.0.0.2.1 > 8.8.8.8.53 udp      -> no-route: 10.0.0.1 > 10.0.0.2 icmp 3/0 about (10.0.0.2 > 8.8.8.8 proto 17) ttl 64
        em0: 10.0.0.2.1 > 10.9.0.1.53 udp     -> no-route: 10.0.0.1 > 10.0.0.2 icmp 3/0 about (10.0.0.2 > 10.9.0.1 proto 17) ttl 64
        em0: 10.0.0.2.1 > 203.0.113.1.53 udp  -> no-route: 10.0.0.1 > 10.0.0.2 icmp 3/13 about (10.0.0.2 > 203.0.113.1 proto 17) ttl 64
        em0: 10.0.0.2.1 > 192.0.2.1.53 udp    -> no-route
        em0: 2001:db8::2.1 > 2001:db8:9::1.53 udp -> no-route: 2001:db8::1 > 2001:db8::2 icmp 1/0 about (2001:db8::2 > 2001:db8:9::1 proto 17) ttl 64
        ",
    );
    assert_eq!(firewall.dropped(Reason::NoRoute), 5);
    assert_eq!(firewall.shard.counters().created(Created::Icmp), 4);
}

#[test]
fn errors_are_not_answered() {
    PASS_ANY().tell(
        "
        em0: 10.0.0.2 > 8.8.8.8 icmp 3/1 about (8.8.4.4.1 > 10.0.0.2.2 udp)      -> icmp-mismatch
        em0: 10.0.0.2 > 8.8.8.8 icmp 3/1 about (8.8.8.8.1 > 10.0.0.2.2 udp)      -> no-route
        em0: 10.0.0.2 > 10.1.0.2 icmp 11/0 about (10.1.0.2.1 > 10.0.0.2.2 udp) ttl 1 -> ttl
        em0: 10.0.0.2.1 > 8.8.8.8.53 udp bad-sum                                 -> no-route
        ",
    );
}

#[test]
fn what_is_for_the_firewall_itself_goes_to_the_host() {
    let mut firewall = Firewall::with(vec![block(), pass().incoming().to("10.0.0.1"), pass().outgoing()]);
    firewall.tell(
        "
        em0: 10.0.0.2.40000 > 10.0.0.1.22 tcp S seq 1000           -> host em0
        em0 host: 10.0.0.1.22 > 10.0.0.2.40000 tcp SA seq 7 ack 1001 -> sent em0
        em0: 10.0.0.2.40000 > 10.0.0.1.22 tcp A seq 1001 ack 8     -> host em0
        em0: 10.0.0.2.40000 > 10.1.0.1.22 tcp S seq 1000           -> match
        em0: 10.0.0.2.68 > 255.255.255.255.67 udp                  -> match
        ",
    );
    assert_eq!(firewall.lines(), ["all tcp 10.0.0.1:22 <- 10.0.0.2:40000       ESTABLISHED:ESTABLISHED"]);
    // The host's own connections meet the OUT rules, and their answers the state.
    firewall.tell(
        "
        em1 host: 10.1.0.1.50000 > 10.1.0.2.443 tcp S seq 1        -> sent em1
        em1: 10.1.0.2.443 > 10.1.0.1.50000 tcp SA seq 9 ack 2      -> host em1
        em1: 10.1.0.2.443 > 10.1.0.1.50001 tcp SA seq 9 ack 2      -> match
        ",
    );
    assert_eq!(firewall.lines().len(), 2);
}

#[test]
fn groups_go_to_the_host_and_nowhere_else() {
    PASS_ANY().tell(
        "
        em0: 10.0.0.2.5353 > 224.0.0.251.5353 udp ttl 255 -> host em0
        em0: 10.0.0.2.68 > 255.255.255.255.67 udp         -> host em0
        em0: 10.0.0.2.138 > 10.0.0.255.138 udp            -> host em0
        em0: 2001:db8::2.5353 > ff02::fb.5353 udp         -> host em0
        ",
    );
}

#[test]
fn an_unknown_neighbour_is_waited_for() {
    let mut firewall = PASS_ANY();
    firewall.tell("em0: 10.0.0.2.1 > 10.1.0.77.53 udp -> held em1 for 10.1.0.77");
    // The frame is complete but for the address that is missing, and the state is made.
    let arrival = Arrival { interface: EM0, source: Source::Wire };
    let packet = Packet::parse("10.0.0.2.1 > 10.1.0.77.53 udp");
    let mut frame = packet.frame(mac(EM0, 2), mac(EM0, 1));
    assert!(matches!(firewall.decide(arrival, &mut frame), Fate::Hold { interface: EM1, .. }));
    engine::rewrite::set_link(&mut frame, mac(EM1, 1), mac(EM1, 77));
    assert_eq!(frame, packet.with_ttl(63).frame(mac(EM1, 1), mac(EM1, 77)));
    assert_eq!(firewall.shard.states(), 2);
    assert_eq!(firewall.states()[0].source.packets, 2);
}

#[test]
fn who_waits_in_vain_for_a_neighbour_is_told_that_the_host_is_unreachable() {
    let mut firewall = PASS_ANY();
    let told = firewall.wait_in_vain("em0", "10.0.0.2.1 > 10.1.0.77.53 udp");
    let expected = "10.0.0.1 > 10.0.0.2 icmp 3/1 about (10.0.0.2 > 10.1.0.77 proto 17) ttl 64";
    assert_eq!(told.as_deref(), Some(expected));
    let told = firewall.wait_in_vain("em0", "2001:db8::2.1 > 2001:db8:1::77.53 udp");
    let expected = "2001:db8::1 > 2001:db8::2 icmp 1/3 about (2001:db8::2 > 2001:db8:1::77 proto 17) ttl 64";
    assert_eq!(told.as_deref(), Some(expected));
    // One drop and one packet made for each, and no answer to many stations.
    let made = firewall.shard.counters().created(Created::Icmp);
    assert_eq!((firewall.dropped(Reason::NoNeighbor), made), (2, 2));
    assert_eq!(firewall.shard.counters().drops()[1][Reason::NoNeighbor as usize], 2);
    let told = firewall.wait_in_vain("em0", "10.0.0.255.1 > 10.1.0.77.53 udp");
    assert_eq!((told, firewall.dropped(Reason::NoNeighbor)), (None, 3));
}

/// 10.1.0.0/24 behind one interface.
fn routes_over(interface: InterfaceId, gateway: Option<IpAddr>, mtu: Option<u16>) -> [RouteEntry; 1] {
    let route = Route::Forward(vec![NextHop { interface, gateway, mtu }]);
    [RouteEntry { prefix: "10.1.0.0".parse().expect("an address"), length: 24, route }]
}

#[test]
fn a_routes_own_mtu_is_told_and_the_links_bounds_it() {
    let mut firewall = PASS_ANY();
    let neighbors = firewall.fib.neighbors();
    firewall.fib = Fib::new(7, interfaces(), routes_over(EM1, None, Some(1000)), neighbors.clone());
    let story = "
        em0: 10.0.0.2.1 > 10.1.0.2.53 udp len 972 -> out em1
        em0: 10.0.0.2.1 > 10.1.0.2.53 udp len 973 df -> too-big: 10.0.0.1 > 10.0.0.2 icmp 3/4 about (10.0.0.2 > 10.1.0.2 proto 17) ttl 64
        ";
    // The second time by what the connection remembers.
    firewall.tell(story).tell(story);
    firewall.fib = Fib::new(8, interfaces(), routes_over(EM1, None, Some(9000)), neighbors);
    firewall.tell(
        "
        em0: 10.0.0.2.1 > 10.1.0.2.53 udp len 1472 -> out em1
        em0: 10.0.0.2.1 > 10.1.0.2.53 udp len 1473 df -> too-big: 10.0.0.1 > 10.0.0.2 icmp 3/4 about (10.0.0.2 > 10.1.0.2 proto 17) ttl 64
        ",
    );
}

fn next_hops(gateways: &[u8]) -> Fib {
    let hop =
        |last: &u8| NextHop { interface: EM1, gateway: Some(IpAddr::from([10, 1, 0, *last])), mtu: None };
    let route = Route::Forward(gateways.iter().map(hop).collect());
    let entry = RouteEntry { prefix: IpAddr::from([198, 51, 100, 0]), length: 24, route };
    Fib::new(1, interfaces(), [entry], [])
}

fn chosen(fib: &Fib, hash: u64) -> u8 {
    match fib.lookup(wire::Af::Inet, engine::Address::from(IpAddr::from([198, 51, 100, 9])), hash) {
        Path::Forward { next_hop: IpAddr::V4(gateway), .. } => gateway.octets()[3],
        other => panic!("not forwarded: {other:?}"),
    }
}

#[test]
fn flows_spread_by_weight_and_a_lost_next_hop_moves_only_its_own() {
    let flows = 0..8000_u64;
    // One that takes two shares of four.
    let all = next_hops(&[2, 2, 3, 4]);
    let count = |gateway| flows.clone().filter(|flow| chosen(&all, *flow) == gateway).count();
    let counts = [count(2), count(3), count(4)];
    for (found, expected) in counts.into_iter().zip([4000, 2000, 2000]) {
        assert!(found.abs_diff(expected) < 250, "{counts:?}");
    }
    let fewer = next_hops(&[2, 2, 4]);
    for flow in flows {
        let (before, after) = (chosen(&all, flow), chosen(&fewer, flow));
        assert!(before == 3 || before == after, "flow {flow} moved from {before} to {after}");
        assert_ne!(after, 3);
    }
}

#[test]
fn what_a_forwarding_base_knows_can_be_listed() {
    let base = fib();
    let all: Vec<String> = base
        .routes()
        .map(|(table, prefix, length, _)| match table {
            RoutingTable::MAIN => format!("{prefix}/{length}"),
            table => format!("{prefix}/{length} table {table}"),
        })
        .collect();
    let expected = [
        "10.0.0.0/24",
        "10.0.0.1/32",
        "10.0.0.255/32",
        "10.1.0.0/24",
        "10.1.0.1/32",
        "10.1.0.255/32",
        "10.2.0.0/24",
        "10.2.0.1/32",
        "10.2.0.255/32",
        "10.9.0.0/16",
        "192.0.2.0/24",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "2001:db8::/64",
        "2001:db8::1/128",
        "2001:db8:1::/64",
        "2001:db8:1::1/128",
        "2001:db8:2::1/128",
        "0.0.0.0/0 table 2",
        "::/0 table 2",
    ];
    assert_eq!(all, expected);
    assert_eq!(base.neighbors().len(), 7);
    let find_in = |table, text: &str| {
        let address: IpAddr = text.parse().expect("an address");
        base.route_to(table, wire::Af::of(&address), engine::Address::from(address))
            .map(|(prefix, length, route)| (format!("{prefix}/{length}"), route.clone()))
    };
    let find = |text: &str| find_in(RoutingTable::MAIN, text);
    assert_eq!(find("10.9.1.1"), Some(("10.9.0.0/16".into(), Route::Unreachable)));
    assert_eq!(find("10.1.0.255"), Some(("10.1.0.255/32".into(), Route::Broadcast)));
    assert_eq!(find("2001:db8:1::1"), Some(("2001:db8:1::1/128".into(), Route::Host)));
    assert_eq!(find("8.8.8.8"), None);
    let second = |text| find_in(RoutingTable(2), text);
    assert_eq!(second("8.8.8.8").map(|(prefix, _)| prefix), Some("0.0.0.0/0".into()));
    assert_eq!(second("10.9.1.1").map(|(prefix, _)| prefix), Some("0.0.0.0/0".into()));
    assert_eq!(second("2001:db8:1::1"), Some(("2001:db8:1::1/128".into(), Route::Host)));
    assert_eq!(find_in(RoutingTable(3), "8.8.8.8"), None);
    assert_eq!(find_in(RoutingTable(254), "10.9.1.1"), find("10.9.1.1"));
}

#[test]
fn what_is_larger_than_the_next_link_is_answered_with_its_size() {
    let mut firewall = PASS_ANY();
    firewall.tell(
        "
        em0: 10.0.0.2.1 > 10.2.0.2.53 udp len 572 -> out em2
        em0: 10.0.0.2.1 > 10.2.0.2.53 udp len 573 df -> too-big: 10.0.0.1 > 10.0.0.2 icmp 3/4 about (10.0.0.2 > 10.2.0.2 proto 17) ttl 64
        ",
    );
    assert_eq!(firewall.states()[0].source.packets, 1, "the one that did not fit counts for no state");
}

#[test]
fn a_link_that_is_down_takes_nothing() {
    let down = |interface: Interface| Interface { up: interface.name != "em1", ..interface };
    let mut firewall = PASS_ANY();
    firewall.tell("em0: 10.0.0.2.1 > 10.1.0.2.53 udp -> out em1");
    let dump = firewall.dump();
    let interfaces = interfaces().into_iter().map(down).collect();
    firewall.fib = Fib::new(2, interfaces, routes_over(EM1, None, None), []);
    firewall.tell("em0: 10.0.0.2.1 > 10.1.0.2.53 udp -> port-down");
    assert_eq!(firewall.dump(), dump);
}

#[test]
fn addresses_that_may_not_appear_are_dropped() {
    let mut firewall = PASS_ANY();
    firewall.tell(
        "
        em0: 10.0.0.2.1 > 10.0.0.2.2 udp     -> martian
        em0: 127.0.0.1.1 > 10.1.0.2.2 udp    -> martian
        em0: 10.0.0.2.1 > 127.0.0.1.2 udp    -> martian
        em0: 224.0.0.1.1 > 10.1.0.2.2 udp    -> martian
        em0: 255.255.255.255.1 > 10.1.0.2.2 udp -> martian
        em0: ::1.1 > 2001:db8:1::2.2 udp     -> martian
        em0: ff02::1.1 > 2001:db8:1::2.2 udp -> martian
        em0: fe80::2.1 > 2001:db8:1::2.2 udp -> link-scope
        em0: fe80::2.1 > 2001:db8::1.2 udp   -> host em0
        ",
    );
    assert_eq!(firewall.dropped(Reason::Martian), 7);
}

#[test]
fn frames_for_other_stations_are_not_ours() {
    let mut firewall = PASS_ANY();
    let arrival = Arrival { interface: EM0, source: Source::Wire };
    let packet = Packet::parse("10.0.0.2.1 > 10.1.0.2.53 udp");
    for (to, expected) in [
        (mac(EM0, 1), Fate::Transmit(EM1)),
        (mac(EM1, 1), Fate::Drop(Reason::NotOurs)),
        (mac(EM0, 9), Fate::Drop(Reason::NotOurs)),
        // RFC 1812 §5.3.4: nothing that came as a broadcast is forwarded.
        (Mac::BROADCAST, Fate::Drop(Reason::LinkScope)),
    ] {
        let mut frame = packet.frame(mac(EM0, 2), to);
        assert_eq!(firewall.decide(arrival, &mut frame), expected, "to {to}");
    }
}

#[test]
fn without_ip_only_what_the_host_needs_passes() {
    let mut firewall = PASS_ANY();
    let frame = |to: Mac, ether_type: u16| {
        let header = ethernet::Repr {
            dst: to,
            src: mac(EM0, 2),
            tags: ethernet::Tags::None,
            ether_type: wire::EtherType(ether_type),
        };
        let mut frame = vec![0; 60];
        header.emit(&mut frame).expect("the room is there");
        frame
    };
    let own = mac(EM0, 1);
    for (source, to, ether_type, expected) in [
        (Source::Wire, Mac::BROADCAST, 0x0806, Fate::Host(EM0)),
        (Source::Wire, own, 0x0806, Fate::Host(EM0)),
        (Source::Wire, mac(EM0, 9), 0x0806, Fate::Drop(Reason::NotOurs)),
        (Source::Wire, own, 0x88b5, Fate::Drop(Reason::EtherType)),
        (Source::Host, mac(EM0, 2), 0x0806, Fate::Transmit(EM0)),
    ] {
        let mut sent = frame(to, ether_type);
        let before = sent.clone();
        let arrival = Arrival { interface: EM0, source };
        assert_eq!(firewall.decide(arrival, &mut sent), expected, "{source:?} {ether_type:#x} to {to}");
        assert_eq!(sent, before, "a switch changes nothing");
    }
}
