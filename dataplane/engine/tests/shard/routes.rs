//! Packets that rules lead past the routing table (pf.conf(5) `route-to`, `reply-to`).

use crate::firewall::packet::{Packet, render};
use crate::firewall::rules::{Written, block, matching, pass, ruleset};
use crate::firewall::team::Team;
use crate::firewall::{EM0, EM1, EM2, Firewall, arrival, interfaces, mac, neighbors, routes};
use engine::{Fate, Fib, InterfaceId, Root};
use ruleset::{Action, BlockReply, PoolKind, Reason, Rule};
use wire::Proto;

/// The way that the routing table knows to 198.51.100.0/24, and the other one.
const USUAL: &str = "10.1.0.254@em1";
const OTHER: &str = "10.2.0.2@em2";

/// `pass; pass in on em0 route-to 10.2.0.2@em2`.
fn led_aside() -> Vec<Rule> {
    vec![pass(), pass().incoming().on("em0").route_to(&[OTHER])]
}

/// Connections from 10.0.0.2 to 198.51.100.7, by where they leave.
fn begin(firewall: &mut Firewall, ports: std::ops::Range<u16>) -> Vec<String> {
    ports.map(|port| firewall.send("em0", &format!("10.0.0.2.{port} > 198.51.100.7.53 udp"))).collect()
}

/// The usual forwarding base, where these do not answer.
fn silent(firewall: &Firewall, gateways: &[(InterfaceId, &str)]) -> Fib {
    let gateways = gateways.iter().map(|(interface, text)| (*interface, text.parse().expect("an address")));
    let epoch = firewall.fib.epoch() + 1;
    Fib::new(epoch, interfaces(), routes(), neighbors()).with_silent(gateways)
}

#[test]
fn route_to_leads_what_goes_the_way_of_the_first_packet() {
    let mut firewall = Firewall::with(led_aside());
    firewall.tell(
        "
        em0: 10.0.0.2.40000 > 198.51.100.7.80 tcp S seq 1000           -> out em2
        em2: 198.51.100.7.80 > 10.0.0.2.40000 tcp SA seq 9 ack 1001    -> out em0
        em0: 10.0.0.2.40000 > 198.51.100.7.80 tcp A seq 1001 ack 10    -> out em2
        ",
    );
    assert_eq!(
        firewall.lines(),
        [
            "all tcp 10.0.0.2:40000 -> 198.51.100.7:80       ESTABLISHED:ESTABLISHED",
            "all tcp 198.51.100.7:80 {10.2.0.2} <- 10.0.0.2:40000       ESTABLISHED:ESTABLISHED",
        ]
    );
    // Many more, the short way of established connections.
    for _ in 0..200 {
        firewall.tell(
            "
            em0: 10.0.0.2.40000 > 198.51.100.7.80 tcp A seq 1001 ack 10    -> out em2
            em2: 198.51.100.7.80 > 10.0.0.2.40000 tcp A seq 10 ack 1001    -> out em0
            ",
        );
    }
    // What no such rule passes goes the usual way.
    firewall.tell("em2: 10.2.0.2.5 > 198.51.100.7.53 udp -> out em1");
}

#[test]
fn answers_leave_where_the_question_came_in() {
    let plain = || vec![pass()];
    let replying = || vec![pass(), pass().incoming().on("em2").reply_to(&[OTHER])];
    for (rules, leaves) in [(plain(), "em1"), (replying(), "em2")] {
        let mut firewall = Firewall::with(rules);
        firewall.tell("em2: 198.51.100.7.4000 > 10.0.0.2.80 tcp S seq 1 -> out em0");
        for _ in 0..3 {
            let answer = "em0: 10.0.0.2.80 > 198.51.100.7.4000 tcp SA seq 9 ack 2";
            firewall.tell(&format!("{answer} -> out {leaves}"));
        }
        firewall.tell("em2: 198.51.100.7.4000 > 10.0.0.2.80 tcp A seq 2 ack 10 -> out em0");
        for _ in 0..3 {
            let data = "em0: 10.0.0.2.80 > 198.51.100.7.4000 tcp PA seq 10 ack 2 len 9";
            firewall.tell(&format!("{data} -> out {leaves}"));
        }
    }
    // Where the routing table knows no way back at all.
    let mut firewall = Firewall::with(replying());
    firewall.tell(
        "
        em2: 172.16.0.9.4000 > 10.0.0.2.53 udp -> out em0
        em0: 10.0.0.2.53 > 172.16.0.9.4000 udp -> out em2
        em0: 10.0.0.2.53 > 172.16.0.8.4000 udp -> no-route: 10.0.0.1 > 10.0.0.2 icmp 3/0 about (10.0.0.2 > 172.16.0.8 proto 17) ttl 64
        ",
    );
}

/// A packet of the host's, on `interface`: where it leaves, and to whom.
fn from_host(firewall: &mut Firewall, interface: &str, text: &str) -> (Fate, Vec<u8>) {
    let arrival = arrival(&format!("{interface} host"));
    let mut frame = Packet::parse(text).frame(mac(arrival.interface, 1), mac(arrival.interface, 254));
    let fate = firewall.decide(arrival, &mut frame);
    assert_eq!(render(&frame), render(&Packet::parse(text).frame(mac(EM0, 1), mac(EM0, 2))));
    (fate, frame[..12].to_vec())
}

#[test]
fn the_hosts_own_answers_leave_where_the_question_came_in() {
    let mut firewall = Firewall::with(vec![pass(), pass().incoming().on("em2").reply_to(&[OTHER])]);
    firewall.tell("em2: 198.51.100.7.4000 > 10.2.0.1.22 tcp S seq 1 -> host em2");
    let (fate, link) = from_host(&mut firewall, "em1", "10.2.0.1.22 > 198.51.100.7.4000 tcp SA seq 9 ack 2");
    assert_eq!(fate, Fate::Transmit(EM2));
    assert_eq!(link, [mac(EM2, 2).0, mac(EM2, 1).0].concat());
    // What it begins itself goes where it says.
    let (fate, link) = from_host(&mut firewall, "em1", "10.1.0.1.22 > 198.51.100.7.4000 tcp S seq 9");
    assert_eq!(fate, Fate::Transmit(EM1));
    assert_eq!(link, [mac(EM1, 254).0, mac(EM1, 1).0].concat());
}

#[test]
fn route_to_behind_the_out_hook_takes_forwarded_packets_and_the_hosts() {
    let mut firewall = Firewall::with(vec![pass(), pass().outgoing().on("em1").route_to(&[OTHER])]);
    firewall.tell(
        "
        em0: 10.0.0.2.40000 > 198.51.100.7.53 udp -> out em2
        em0: 10.0.0.2.40000 > 198.51.100.7.53 udp -> out em2
        em2: 198.51.100.7.53 > 10.0.0.2.40000 udp -> out em0
        em0: 10.0.0.2.40000 > 198.51.100.7.53 udp -> out em2
        ",
    );
    let (fate, link) = from_host(&mut firewall, "em1", "10.2.0.1.500 > 198.51.100.7.500 udp");
    assert_eq!((fate, link), (Fate::Transmit(EM2), [mac(EM2, 2).0, mac(EM2, 1).0].concat()));
}

#[test]
fn the_rules_of_the_interface_that_a_gateway_is_on_hold() {
    let mut rules = led_aside();
    rules.push(block().outgoing().on("em2").proto(Proto::UDP));
    let mut firewall = Firewall::with(rules);
    firewall.tell(
        "
        em0: 10.0.0.2.40000 > 198.51.100.7.53 udp            -> match
        em0: 10.0.0.2.40000 > 198.51.100.7.80 tcp S seq 1000 -> out em2
        ",
    );
}

#[test]
fn a_gateway_without_an_interface_is_where_the_routing_table_says() {
    for (gateway, leaves) in [("10.2.0.2", "em2"), ("10.1.0.254", "em1"), ("198.51.100.200", "em1")] {
        let mut firewall = Firewall::with(vec![pass(), pass().incoming().on("em0").route_to(&[gateway])]);
        firewall.tell(&format!("em0: 10.0.0.2.4 > 172.16.0.9.53 udp -> out {leaves}"));
    }
    let mut nowhere = Firewall::with(vec![pass(), pass().incoming().on("em0").route_to(&["10.9.0.1"])]);
    nowhere.tell(
        "em0: 10.0.0.2.4 > 10.1.0.2.53 udp -> \
         no-route: 10.0.0.1 > 10.0.0.2 icmp 3/0 about (10.0.0.2 > 10.1.0.2 proto 17) ttl 64",
    );
    // The host's own address: it is for the host.
    let mut own = Firewall::with(vec![pass(), pass().incoming().on("em0").route_to(&["10.1.0.1@em1"])]);
    own.tell("em0: 10.0.0.2.4 > 10.1.0.2.53 udp -> host em0");
    let mut group = Firewall::with(led_aside());
    group.tell("em0: 10.0.0.2.4 > 224.0.0.251.5353 udp -> host em0");
}

#[test]
fn a_gateway_whose_ethernet_address_is_unknown_is_waited_for() {
    let unknown = pass().incoming().on("em0").route_to(&["10.2.0.77@em2"]);
    let mut firewall = Firewall::with(vec![pass(), unknown]);
    firewall.tell("em0: 10.0.0.2.4 > 198.51.100.7.53 udp -> held em2 for 10.2.0.77");
    let told = firewall.wait_in_vain("em0", "10.0.0.2.4 > 198.51.100.7.53 udp");
    let answer = "10.0.0.1 > 10.0.0.2 icmp 3/1 about (10.0.0.2 > 198.51.100.7 proto 17)";
    assert!(told.as_deref().is_some_and(|told| told.starts_with(answer)), "{told:?}");
}

#[test]
fn flows_take_gateways_by_the_kind_of_the_pool_and_keep_them() {
    let pool = |kind| vec![pass(), pass().incoming().on("em0").route_to(&[USUAL, OTHER]).choosing(kind)];
    let mut firewall = Firewall::with(pool(PoolKind::RoundRobin));
    assert_eq!(
        begin(&mut firewall, 1..7),
        ["out em1", "out em2", "out em1", "out em2", "out em1", "out em2"]
    );
    assert_eq!(begin(&mut firewall, 1..4), ["out em1", "out em2", "out em1"], "a flow keeps its gateway");

    let mut firewall = Firewall::with(pool(PoolKind::SourceHash([1, 2, 3, 4])));
    let first = begin(&mut firewall, 1..8);
    assert!(first.iter().all(|way| *way == first[0]), "one source has one gateway");
    let others = (4..12).map(|host| firewall.send("em0", &format!("10.0.0.{host}.5 > 198.51.100.7.53 udp")));
    assert!(others.collect::<Vec<_>>().iter().any(|way| *way != first[0]), "and others have the other one");

    let mut firewall = Firewall::with(pool(PoolKind::Random));
    firewall.entropy.step = 0x9e37_79b9_7f4a_7c15;
    let ways = begin(&mut firewall, 1..25);
    let count = ways.iter().filter(|way| *way == "out em1").count();
    assert!((4..=20).contains(&count), "{count} of 24");
    assert_eq!(begin(&mut firewall, 1..25), ways);
}

#[test]
fn a_dead_gateway_gets_nothing_new_while_another_one_lives() {
    let kinds = [PoolKind::RoundRobin, PoolKind::Random, PoolKind::SourceHash([1, 2, 3, 4])];
    for (kind, spreads) in kinds.into_iter().zip([true, true, false]) {
        let rules = vec![pass(), pass().incoming().on("em0").route_to(&[USUAL, OTHER]).choosing(kind)];
        let mut firewall = Firewall::with(rules);
        firewall.entropy.step = 0x9e37_79b9_7f4a_7c15;
        let before = begin(&mut firewall, 1..5);
        firewall.fib = silent(&firewall, &[(EM1, "10.1.0.254")]);
        assert!(begin(&mut firewall, 10..20).iter().all(|way| way == "out em2"));
        assert_eq!(begin(&mut firewall, 1..5), before, "what has a gateway keeps it");
        // With all of them dead, each is as good as any other.
        firewall.fib = silent(&firewall, &[(EM1, "10.1.0.254"), (EM2, "10.2.0.2")]);
        assert!(begin(&mut firewall, 20..22).iter().all(|way| way.starts_with("out em")));
        firewall.fib = silent(&firewall, &[]);
        let all = begin(&mut firewall, 30..46);
        assert_eq!(all.iter().any(|way| *way != all[0]), spreads, "{all:?}");
    }
    // A link that is down.
    let mut firewall = Firewall::with(vec![pass(), pass().incoming().on("em0").route_to(&[USUAL, OTHER])]);
    let mut links = interfaces();
    links[2].up = false;
    firewall.fib = Fib::new(2, links, routes(), neighbors());
    assert!(begin(&mut firewall, 1..9).iter().all(|way| way == "out em1"));
}

#[test]
fn states_keep_their_gateway_over_a_reload() {
    let mut firewall = Firewall::with(led_aside());
    firewall.tell("em0: 10.0.0.2.40000 > 198.51.100.7.53 udp -> out em2");
    for rules in [led_aside(), vec![pass()]] {
        firewall.load(ruleset(rules));
        firewall.tell("em0: 10.0.0.2.40000 > 198.51.100.7.53 udp -> out em2");
    }
    firewall.tell("em0: 10.0.0.2.40001 > 198.51.100.7.53 udp -> out em1");
}

#[test]
fn states_that_have_a_gateway_float() {
    let bound = |rule: Rule| rule.if_bound();
    let mut firewall = Firewall::with(vec![
        bound(pass()),
        bound(pass().incoming().on("em2").reply_to(&[OTHER])),
        bound(pass().outgoing().on("em1").route_to(&[OTHER])),
    ]);
    firewall.tell(
        "
        em2: 198.51.100.7.4000 > 10.0.0.2.53 udp   -> out em0
        em0: 10.0.0.2.53 > 198.51.100.7.4000 udp   -> out em2
        em0: 10.0.0.2.40000 > 198.51.100.8.53 udp  -> out em2
        em2: 198.51.100.8.53 > 10.0.0.2.40000 udp  -> out em0
        ",
    );
}

#[test]
fn the_routers_errors_are_about_the_way_that_packets_take() {
    let mut firewall = Firewall::with(led_aside());
    firewall.tell(
        "
        em0: 10.0.0.2.4 > 198.51.100.7.53 udp ttl 1 -> ttl: 10.0.0.1 > 10.0.0.2 icmp 11/0 about (10.0.0.2 > 198.51.100.7 proto 17) ttl 64
        em0: 10.0.0.2.4 > 198.51.100.7.53 udp len 560 -> out em2
        ",
    );
    // em2 takes 600 bytes, em1 1500.
    let told = firewall.send("em0", "10.0.0.2.4 > 198.51.100.7.53 udp len 600 df");
    assert!(told.starts_with("too-big: 10.0.0.1 > 10.0.0.2 icmp 3/4"), "{told}");
    firewall.tell("em2: 10.2.0.2.4 > 198.51.100.7.53 udp len 560 -> out em1");
}

#[test]
fn each_hook_leads_a_packet_aside_once() {
    // To each other, round and round if nothing stopped it.
    let mut firewall = Firewall::with(vec![
        pass().incoming(),
        pass().incoming().on("em0").route_to(&[USUAL]),
        pass().outgoing().on("em1").route_to(&[OTHER]),
        pass().outgoing().on("em2").route_to(&[USUAL]),
    ]);
    for _ in 0..3 {
        firewall.tell("em0: 10.0.0.2.40000 > 198.51.100.7.53 udp -> out em2");
    }
}

#[test]
fn translation_behind_route_to_has_the_addresses_of_its_interface() {
    let mut firewall = Firewall::with(vec![
        pass(),
        pass().incoming().on("em0").route_to(&[USUAL, OTHER]),
        pass().outgoing().on("em1").nat_to("10.1.0.9", (7000, 7000)),
        pass().outgoing().on("em2").nat_to("10.2.0.9", (7000, 7000)),
    ]);
    for _ in 0..5 {
        firewall.tell(
            "
            em0: 10.0.0.2.1 > 198.51.100.7.53 udp    -> out em1 as 10.1.0.9.7000 > 198.51.100.7.53 udp
            em0: 10.0.0.2.2 > 198.51.100.7.53 udp    -> out em2 as 10.2.0.9.7000 > 198.51.100.7.53 udp
            em1: 198.51.100.7.53 > 10.1.0.9.7000 udp -> out em0 as 198.51.100.7.53 > 10.0.0.2.1 udp
            em2: 198.51.100.7.53 > 10.2.0.9.7000 udp -> out em0 as 198.51.100.7.53 > 10.0.0.2.2 udp
            ",
        );
    }
    // Each answers for itself: what came by one way does not come by the other.
    let lines = firewall.lines();
    let shown = "all udp 198.51.100.7:53 {10.2.0.2} <- 10.0.0.2:2       MULTIPLE:MULTIPLE";
    assert!(lines.iter().any(|line| line == shown), "{lines:?}");
}

#[test]
fn whichever_worker_receives_a_packet_its_flow_keeps_its_gateway() {
    let mut team = Team::of(3, 256, &[pass(), pass().incoming().on("em0").route_to(&[USUAL, OTHER])]);
    for port in 1..40 {
        let text = format!("10.0.0.2.{port} > 198.51.100.7.53 udp");
        let ways: Vec<Fate> = (0..3).map(|at| team.send(at, "em0", &text).1).collect();
        assert!(matches!(ways[0], Fate::Transmit(EM1 | EM2)), "{ways:?}");
        assert_eq!(ways, [ways[0]; 3], "{text}");
    }
}

#[test]
fn what_cannot_be_routed_to_is_refused() {
    let why = |rule: Rule| {
        let refused = Root::compile(&ruleset(vec![rule]), &interfaces(), None);
        refused.expect_err("not a rule").to_string()
    };
    let on = || pass().incoming().on("em0");
    assert!(why(on().route_to(&["10.2.0.2@em9"])).contains("route-to @em9: the dataplane has no port em9"));
    assert!(why(pass().route_to(&[OTHER])).contains("route-to requires a direction"));
    assert!(why(on().no_state().reply_to(&[OTHER])).contains("reply-to requires keep state"));
    let blocked = on().change(|rule| rule.action = Action::Block(BlockReply::Drop));
    assert!(why(blocked.no_state().route_to(&[OTHER])).contains("route-to only applies to pass rules"));
    let both = on().route_to(&[USUAL, OTHER]).change(|rule| {
        if let Some(routing) = &mut rule.routing {
            routing.choice = None;
        }
    });
    assert!(why(both).contains("several addresses of route-to need a way to choose one"));
    assert!(why(on().route_to(&["2001:db8::2@em0"]).from("10.0.0.0/8")).contains("of its family"));
    let mut firewall = Firewall::with(vec![pass(), matching().incoming().route_to(&[OTHER])]);
    firewall.tell("em0: 10.0.0.2.4 > 198.51.100.7.53 udp -> out em1");
    assert_eq!(firewall.dropped(Reason::NoRoute), 0);
}
