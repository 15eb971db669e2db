//! Copies for hosts: each leaves as a router would send the packet there, and the original never pays (pf.conf(5) `dup-to`).

use crate::firewall::rules::{Written, block, matching, pass};
use crate::firewall::team::Team;
use crate::firewall::{EM0, EM1, EM2, Firewall, SMALL_MTU, SPANS, arrival, mac, packet::Packet};
use engine::fib::{Interface, NextHop, Route, RouteEntry};
use engine::{Created, Fate, Fib, InterfaceId, Unresolved, WorkerId};
use ruleset::{PoolKind, Reason, Rule};
use wire::{Mac, Proto};

const SYN: &str = "10.0.0.2.40000 > 10.1.0.2.80 tcp S seq 1000 win 8192";
const SYN_ACK: &str = "10.1.0.2.80 > 10.0.0.2.40000 tcp SA seq 5000 ack 1001 win 8192";
const ACK: &str = "10.0.0.2.40000 > 10.1.0.2.80 tcp A seq 1001 ack 5001 win 8192";
const QUERY: &str = "10.0.0.2.40000 > 10.1.0.2.53 udp len 30";
const ANSWER: &str = "10.1.0.2.53 > 10.0.0.2.40000 udp len 80";
const PROBE: &str = "10.2.0.2@em2";

/// `pass; pass out on em1 dup-to` these.
fn copying(hosts: &[&str]) -> Vec<Rule> {
    vec![pass(), pass().outgoing().on("em1").dup_to_host(hosts)]
}

/// What a packet left: its fate, its own frame afterwards, and its copies.
struct Sent {
    fate: Fate,
    left: Vec<u8>,
    copies: Vec<crate::firewall::Copy>,
}

fn send(firewall: &mut Firewall, place: &str, text: &str) -> Sent {
    let arrival = arrival(place);
    let mut left = Packet::parse(text).frame(mac(arrival.interface, 2), mac(arrival.interface, 1));
    let fate = firewall.decide(arrival, &mut left);
    Sent { fate, left, copies: firewall.copies() }
}

/// A packet as a router sends it to a station behind an interface.
fn routed(text: &str, out: InterfaceId, station: u8) -> Vec<u8> {
    let packet = Packet::parse(text);
    packet.with_ttl(packet.ttl - 1).frame(mac(out, 1), mac(out, station))
}

fn targets(sent: &Sent) -> Vec<InterfaceId> {
    sent.copies.iter().map(|(to, ..)| *to).collect()
}

/// Sends packets that are to be forwarded, and have one copy each for the probe.
fn expect_copies(firewall: &mut Firewall, packets: &[(&str, &str)]) {
    for (place, text) in packets {
        let sent = send(firewall, place, text);
        assert!(matches!(sent.fate, Fate::Transmit(_)), "{text}: {:?}", sent.fate);
        assert_eq!(sent.copies, [(EM2, None, routed(text, EM2, 2))], "{text}");
    }
}

#[test]
fn a_state_copies_both_directions_to_a_host_once_each() {
    for hosts in [["10.2.0.2@em2"], ["10.2.0.2"]] {
        let mut firewall = Firewall::with_spans(copying(&hosts));
        expect_copies(&mut firewall, &[("em0", SYN), ("em1", SYN_ACK), ("em0", ACK)]);
        // Many more, the way that established connections go.
        for _ in 0..200 {
            expect_copies(&mut firewall, &[("em0", ACK)]);
        }
        expect_copies(&mut firewall, &[("em0", QUERY), ("em1", ANSWER), ("em0", QUERY)]);
        let echo = "10.0.0.2 > 10.1.0.2 icmp 8/0 id 7";
        expect_copies(&mut firewall, &[("em0", echo), ("em1", "10.1.0.2 > 10.0.0.2 icmp 0/0 id 7")]);
        let error = format!("10.1.0.2 > 10.0.0.2 icmp 3/1 about ({QUERY})");
        expect_copies(&mut firewall, &[("em1", &error)]);
        assert_eq!(firewall.shard.counters().created(Created::Copy), 209);
        assert_eq!(firewall.shard.counters().dropped_in_all(), 0);
        let shown = firewall.lines();
        assert!(shown.iter().any(|line| line.contains("{10.2.0.2}")), "as pf shows it: {shown:#?}");
    }
}

#[test]
fn without_a_state_what_the_rule_passes_is_copied() {
    let stateless = pass().proto(Proto::UDP).no_state();
    let rules =
        vec![stateless.clone(), stateless.outgoing().on("em1").to_port(53).dup_to_host(&["10.2.0.2@em2"])];
    let mut firewall = Firewall::with_spans(rules);
    for _ in 0..3 {
        assert_eq!(send(&mut firewall, "em0", QUERY).copies, [(EM2, None, routed(QUERY, EM2, 2))]);
        assert!(send(&mut firewall, "em1", ANSWER).copies.is_empty());
    }
}

#[test]
fn ipv6_is_copied_likewise() {
    let rules = vec![pass(), pass().outgoing().on("em1").dup_to_host(&["2001:db8::2@em0"])];
    let mut firewall = Firewall::with_spans(rules);
    let (query, answer) =
        ("2001:db8::2.4000 > 2001:db8:1::2.53 udp len 9", "2001:db8:1::2.53 > 2001:db8::2.4000 udp len 9");
    for _ in 0..5 {
        assert_eq!(send(&mut firewall, "em0", query).copies, [(EM0, None, routed(query, EM0, 2))]);
        assert_eq!(send(&mut firewall, "em1", answer).copies, [(EM0, None, routed(answer, EM0, 2))]);
    }
}

/// The four wires of nested rules: the original's, and each further one once, until the circle is closed.
#[test]
fn copies_are_copied_on_from_wire_to_wire_and_a_cycle_ends() {
    let rules = vec![
        pass(),
        pass().outgoing().on("em1").dup_to_host(&[PROBE]),
        pass().outgoing().on("em2").dup_to_host(&["10.0.0.3@em0"]),
        pass().outgoing().on("em0").from("10.0.0.2").dup_to("span3"),
        pass().outgoing().on("span3").dup_to_host(&["10.1.0.254"]),
    ];
    let mut firewall = Firewall::with_spans(rules);
    for (place, text) in [("em0", SYN), ("em1", SYN_ACK)] {
        send(&mut firewall, place, text);
    }
    for _ in 0..5 {
        let sent = send(&mut firewall, "em0", ACK);
        assert_eq!((sent.fate, &sent.left), (Fate::Transmit(EM1), &routed(ACK, EM1, 2)));
        let on_em0 = routed(ACK, EM0, 3);
        let expected = [
            (EM2, None, routed(ACK, EM2, 2)),
            (EM0, None, on_em0.clone()),
            (SPANS[0], None, on_em0),
            (EM1, None, routed(ACK, EM1, 254)),
        ];
        assert_eq!(sent.copies, expected);
    }
    assert_eq!(firewall.shard.counters().dropped_in_all(), 0);
}

#[test]
fn rules_at_both_hooks_with_two_hosts_give_two_copies() {
    let rules = vec![
        pass().outgoing(),
        pass().incoming().on("em0").dup_to_host(&["10.2.0.2@em2"]),
        pass().outgoing().on("em1").dup_to_host(&["10.1.0.254@em1"]),
    ];
    let mut firewall = Firewall::with_spans(rules);
    let sent = send(&mut firewall, "em0", SYN);
    assert_eq!((sent.fate, sent.left), (Fate::Transmit(EM1), routed(SYN, EM1, 2)));
    assert_eq!(sent.copies, [(EM2, None, routed(SYN, EM2, 2)), (EM1, None, routed(SYN, EM1, 254))]);
}

#[test]
fn out_rules_of_the_way_to_the_host_choose_among_copies() {
    let mut rules = copying(&[PROBE]);
    rules.push(block().outgoing().on("em2").proto(Proto::TCP));
    let mut firewall = Firewall::with_spans(rules);
    let sent = send(&mut firewall, "em0", SYN);
    assert_eq!((sent.copies.len(), sent.fate), (0, Fate::Transmit(EM1)));
    assert_eq!(firewall.dropped(Reason::Match), 1);
    expect_copies(&mut firewall, &[("em0", QUERY)]);
    assert_eq!(firewall.lines().len(), 4, "copies make no states:\n{}", firewall.dump());
}

/// A hook's copy is what that hook has made of the packet.
#[test]
fn copies_are_translated_as_their_hook_has() {
    let rules = vec![
        pass().outgoing(),
        matching().outgoing().on("em1").nat_to("10.1.0.1", (50001, 50001)),
        pass().incoming().on("em0").rdr_to("10.1.0.2", None).dup_to_host(&["10.2.0.2@em2"]),
        pass().outgoing().on("em1").dup_to_host(&["10.1.0.254@em1"]),
    ];
    let mut firewall = Firewall::with_spans(rules);
    let sent = send(&mut firewall, "em0", "10.0.0.2.40000 > 198.51.100.7.53 udp len 30");
    let [inside, outside] = [QUERY, "10.1.0.1.50001 > 10.1.0.2.53 udp len 30"];
    assert_eq!(sent.left, routed(outside, EM1, 2));
    assert_eq!(sent.copies, [(EM2, None, routed(inside, EM2, 2)), (EM1, None, routed(outside, EM1, 254))]);
    for _ in 0..3 {
        let sent = send(&mut firewall, "em1", "10.1.0.2.53 > 10.1.0.1.50001 udp len 80");
        assert_eq!(sent.left, routed("198.51.100.7.53 > 10.0.0.2.40000 udp len 80", EM0, 2));
        // Behind em1's hook with the inner address again, behind em0's as it leaves.
        let expected = [
            (EM1, None, routed("10.1.0.2.53 > 10.0.0.2.40000 udp len 80", EM1, 254)),
            (EM2, None, routed("198.51.100.7.53 > 10.0.0.2.40000 udp len 80", EM2, 2)),
        ];
        assert_eq!(sent.copies, expected);
    }
}

/// No ICMP error, and nothing less for the original.
#[test]
fn what_is_too_large_for_the_way_to_the_host_is_cut_up_or_lost() {
    let mut firewall = Firewall::with_spans(copying(&[PROBE]));
    let [small, large] = [QUERY, "10.0.0.2.40000 > 10.1.0.2.53 udp len 1000 df"];
    for round in 1..5 {
        expect_copies(&mut firewall, &[("em0", small)]);
        let sent = send(&mut firewall, "em0", large);
        assert_eq!((sent.fate, &sent.left), (Fate::Transmit(EM1), &routed(large, EM1, 2)));
        assert_eq!((sent.copies.len(), firewall.dropped(Reason::TooBig)), (0, round));
    }
    let sent = send(&mut firewall, "em0", large.trim_end_matches(" df"));
    assert_eq!((sent.fate, targets(&sent)), (Fate::Transmit(EM1), vec![EM2; 2]));
    let fits = |frame: &[u8]| frame.len() <= 14 + usize::from(SMALL_MTU);
    assert!(sent.copies.iter().all(|(_, _, frame)| fits(frame)), "{:?}", sent.copies);
    expect_copies(&mut firewall, &[("em0", small)]);
}

#[test]
fn a_copy_waits_for_the_next_hop_or_is_lost_and_the_original_goes() {
    let mut firewall = Firewall::with_spans(copying(&["10.2.0.77@em2"]));
    let unresolved = Some(Unresolved { interface: EM2, next_hop: "10.2.0.77".parse().expect("a host") });
    for (place, text) in [("em0", SYN), ("em1", SYN_ACK), ("em0", ACK)] {
        let sent = send(&mut firewall, place, text);
        assert!(matches!(sent.fate, Fate::Transmit(_)));
        let packet = Packet::parse(text);
        let expected = packet.with_ttl(packet.ttl - 1).frame(mac(EM2, 1), Mac([0; 6]));
        assert_eq!(sent.copies, [(EM2, unresolved, expected)]);
    }
    // From now on by the short way, for which nothing waits.
    for lost in 1..5 {
        let sent = send(&mut firewall, "em0", ACK);
        assert_eq!((sent.fate, sent.copies.len()), (Fate::Transmit(EM1), 0));
        assert_eq!(firewall.dropped(Reason::NoNeighbor), lost);
    }
    let known = engine::fib::Neighbor {
        interface: EM2,
        address: "10.2.0.77".parse().expect("a host"),
        mac: mac(EM2, 77),
    };
    let neighbors = crate::firewall::neighbors().into_iter().chain([known]);
    firewall.fib = Fib::new(2, firewall.fib.interfaces().to_vec(), crate::firewall::routes(), neighbors);
    for _ in 0..3 {
        assert_eq!(send(&mut firewall, "em0", ACK).copies, [(EM2, None, routed(ACK, EM2, 77))]);
    }
}

#[test]
fn what_has_no_way_to_the_host_is_counted_and_the_original_goes() {
    // No route, prohibited, the firewall itself.
    for host in ["10.9.0.9", "203.0.113.1", "10.2.0.1@em2"] {
        let mut firewall = Firewall::with_spans(copying(&[host]));
        for (place, text) in [("em0", SYN), ("em1", SYN_ACK), ("em0", ACK), ("em0", ACK)] {
            let sent = send(&mut firewall, place, text);
            assert!(matches!(sent.fate, Fate::Transmit(_)) && sent.copies.is_empty(), "{host}: {text}");
        }
        let counters = firewall.shard.counters();
        assert_eq!((counters.created(Created::Copy), counters.dropped(Reason::NoRoute)), (4, 4), "{host}");
        assert_eq!(counters.dropped_in_all(), 4);
    }
    let mut firewall = Firewall::with_spans(copying(&[PROBE]));
    let mut interfaces = firewall.fib.interfaces().to_vec();
    interfaces[2].up = false;
    firewall.fib = Fib::new(2, interfaces, crate::firewall::routes(), crate::firewall::neighbors());
    for lost in 1..4 {
        let sent = send(&mut firewall, "em0", QUERY);
        assert_eq!((sent.fate, sent.copies.len()), (Fate::Transmit(EM1), 0));
        assert_eq!(firewall.dropped(Reason::PortDown), lost);
    }
}

#[test]
fn what_the_host_sends_and_gets_is_copied_too() {
    let mut firewall = Firewall::with_spans(vec![pass(), pass().on("em0").dup_to_host(&[PROBE])]);
    let text = "10.0.0.1.22 > 10.0.0.2.40000 udp";
    let sent = send(&mut firewall, "em0 host", text);
    assert_eq!(sent.fate, Fate::Transmit(EM0));
    assert_eq!(sent.copies, [(EM2, None, Packet::parse(text).frame(mac(EM2, 1), mac(EM2, 2)))]);
    let text = "10.0.0.2.5 > 10.0.0.1.6 udp";
    let sent = send(&mut firewall, "em0", text);
    assert_eq!((sent.fate, sent.copies), (Fate::Host(EM0), vec![(EM2, None, routed(text, EM2, 2))]));
}

/// A packet whose last hop this is goes no further, and neither does its copy; what must stay on its link is none of a host's.
#[test]
fn what_may_not_be_forwarded_is_not_copied_to_a_host() {
    let copying = || pass().any_flags().on("em0").dup_to_host(&["10.2.0.2@em2"]);
    let mut firewall = Firewall::with_spans(vec![pass(), copying()]);
    let last = format!("{QUERY} ttl 1");
    let sent = send(&mut firewall, "em0", &last);
    assert!(sent.copies.is_empty(), "{:?}", sent.copies);
    assert_eq!(firewall.dropped(Reason::Ttl), 2, "the packet and its copy");
    let group = Packet::parse("10.0.0.2.68 > 10.0.0.255.67 udp").frame(mac(EM0, 2), Mac::BROADCAST);
    let fate = firewall.decide(arrival("em0"), &mut group.clone());
    assert_eq!((fate, firewall.copies().len()), (Fate::Host(EM0), 0));
    assert_eq!(firewall.dropped(Reason::LinkScope), 1);
    assert_eq!(firewall.shard.counters().created(Created::Copy), 2);
}

#[test]
fn connections_share_several_hosts_and_keep_theirs() {
    let rules = vec![pass(), pass().outgoing().on("em1").dup_to_host(&["10.2.0.2@em2", "10.0.0.3@em0"])];
    let mut firewall = Firewall::with_spans(rules);
    let query = |port: u16| format!("10.0.0.2.{port} > 10.1.0.2.53 udp");
    let mut taken = [0, 1, 2, 3].map(|port| targets(&send(&mut firewall, "em0", &query(4000 + port))));
    for _ in 0..3 {
        let again = [0, 1, 2, 3].map(|port| targets(&send(&mut firewall, "em0", &query(4000 + port))));
        assert_eq!(taken, again);
    }
    taken.sort();
    assert_eq!(taken, [vec![EM0], vec![EM0], vec![EM2], vec![EM2]]);
}

/// A table of hosts may be empty: then there is no copy, and the packet goes on.
#[test]
fn an_empty_pool_costs_nothing() {
    let pattern = ruleset::AddressPattern::Table("probes".into());
    let rule = pass().outgoing().on("em1").dup_to_host(&["10.2.0.2"]).choosing(PoolKind::RoundRobin);
    let rule = rule.change(|rule| {
        if let Some(routing) = &mut rule.routing {
            routing.gateways[0].address = pattern.clone();
        }
    });
    let mut firewall = Firewall::with_spans(Vec::new());
    let mut rules = crate::firewall::rules::ruleset(vec![pass(), rule]);
    rules.tables.push(ruleset::Table { name: "probes".into(), ..ruleset::Table::default() });
    firewall.load(rules);
    for _ in 0..3 {
        let sent = send(&mut firewall, "em0", QUERY);
        assert_eq!((sent.fate, sent.copies.len()), (Fate::Transmit(EM1), 0));
    }
    assert_eq!(firewall.shard.counters().dropped_in_all(), 0);
}

#[test]
fn what_crosses_a_pair_is_routed_to_the_host_without_its_tags() {
    const TAGS: [&[u8]; 3] = [&[], &[0x81, 0, 0x60, 5], &[0x88, 0xa8, 0, 9, 0x81, 0, 0, 5]];
    for tags in TAGS {
        let rules = vec![pass(), pass().on("br0").dup_to_host(&["10.2.0.2@em2"])];
        let mut firewall = Firewall::bridging_with_spans(crate::firewall::rules::ruleset(rules));
        for _ in 0..4 {
            let text = "10.0.0.2.4000 > 10.0.0.9.53 udp len 9";
            let frame = Packet::parse(text).frame(mac(EM0, 2), mac(EM0, 9));
            let mut crossing = [&frame[..12], tags, &frame[12..]].concat();
            let before = crossing.clone();
            assert_eq!(firewall.decide(arrival("em0"), &mut crossing), Fate::Transmit(EM1));
            assert_eq!(crossing, before);
            assert_eq!(firewall.copies(), [(EM2, None, routed(text, EM2, 2))], "{tags:x?}");
        }
    }
}

/// The routing table may lead to the host by a gateway and an MTU of its own.
#[test]
fn the_route_to_the_host_holds() {
    let mut firewall = Firewall::with_spans(copying(&["192.0.2.200"]));
    let by = NextHop { interface: EM2, gateway: "10.2.0.2".parse().ok(), mtu: Some(400) };
    let route = RouteEntry {
        prefix: "192.0.2.200".parse().expect("a host"),
        length: 32,
        route: Route::Forward(vec![by]),
    };
    let interfaces: Vec<Interface> = firewall.fib.interfaces().to_vec();
    firewall.fib = Fib::new(
        2,
        interfaces,
        crate::firewall::routes().into_iter().chain([route]),
        crate::firewall::neighbors(),
    );
    for lost in 1..4 {
        expect_copies(&mut firewall, &[("em0", QUERY)]);
        let large = "10.0.0.2.40000 > 10.1.0.2.53 udp len 373 df";
        assert!(send(&mut firewall, "em0", large).copies.is_empty());
        assert_eq!(firewall.dropped(Reason::TooBig), lost);
    }
}

/// Who hands a packet over has copied nothing of it.
#[test]
fn a_packet_that_another_worker_gets_is_copied_there_alone() {
    let rules = [
        pass(),
        pass().incoming().on("em0").any_flags().dup_to_host(&["10.2.0.2@em2"]),
        matching().outgoing().on("em1").nat_to("10.1.0.1", (50000, 50003)),
    ];
    let mut team = Team::of(2, 64, &rules);
    let (mut made, mut handed) = (0, 0);
    for port in 0..40 {
        let (way, _) = team.send(0, "em0", &format!("10.0.0.2.{} > 10.1.0.2.80 tcp S seq 1", 4000 + port));
        handed += usize::from(way.len() > 1);
        made += 1;
    }
    let copies: u64 = team.0.iter().map(|worker| worker.shard.counters().created(Created::Copy)).sum();
    assert!(handed > 5, "{handed} packets were handed over");
    assert_eq!(copies, made, "by {} and {}", WorkerId(0).0, WorkerId(1).0);
}
