//! Packets that rules have routed by another table than the main one (pf.conf(5) `rtable`).

use crate::firewall::packet::Packet;
use crate::firewall::rules::{Written, block, matching, pass, ruleset};
use crate::firewall::{
    EM0, EM1, EM2, Firewall, arrival, default_by, interfaces, mac, neighbors, routes, tables,
};
use engine::{Fate, Fib, RuleAt};
use ruleset::{AddressMatch, AddressPattern, Call, Reason, RoutingTable, Rule};

/// `pass; pass in on em0 rtable 2`.
fn split() -> Vec<Rule> {
    vec![pass(), pass().incoming().on("em0").rtable(2)]
}

/// What a packet from `em0` is told that nobody leads on.
fn nowhere(ends: &str) -> String {
    let (source, rest) = ends.split_once(" > ").expect("two ends");
    let port = |end: &str| end.rsplit_once('.').map(|(host, _)| host.to_owned()).expect("a port");
    let (source, destination) = (port(source), port(rest.split_whitespace().next().expect("a destination")));
    format!(
        "{ends} -> no-route: 10.0.0.1 > {source} icmp 3/0 about ({source} > {destination} proto 17) ttl 64"
    )
}

/// The usual forwarding base, a little later, where table 2 leads elsewhere.
fn changed(firewall: &Firewall, second: (engine::InterfaceId, &str)) -> Fib {
    let route = (RoutingTable(2), default_by(second.0, second.1));
    Fib::new(firewall.fib.epoch() + 1, interfaces(), routes(), neighbors()).with_tables([route])
}

#[test]
fn what_comes_in_is_routed_by_its_table_and_answers_by_the_main_one() {
    let mut firewall = Firewall::with(split());
    firewall.tell(
        "
        em0: 10.0.0.2.40000 > 198.51.100.7.80 tcp S seq 1000           -> out em2
        em2: 198.51.100.7.80 > 10.0.0.2.40000 tcp SA seq 9 ack 1001    -> out em0
        em0: 10.0.0.2.40000 > 198.51.100.7.80 tcp A seq 1001 ack 10    -> out em2
        ",
    );
    // The short way of established connections.
    for _ in 0..200 {
        firewall.tell(
            "
            em0: 10.0.0.2.40000 > 198.51.100.7.80 tcp A seq 1001 ack 10    -> out em2
            em2: 198.51.100.7.80 > 10.0.0.2.40000 tcp A seq 10 ack 1001    -> out em0
            ",
        );
    }
    let tables: Vec<_> = firewall.states().iter().map(|state| (state.direction, state.rtable)).collect();
    assert_eq!(tables.len(), 2);
    for (direction, table) in tables {
        assert_eq!(table.0, if direction == ruleset::Direction::In { 2 } else { 0 });
    }
    // What no such rule passes goes by the main table, as does what only table 2 knows a way for.
    firewall.tell(
        "
        em2: 10.2.0.2.5 > 198.51.100.7.53 udp                          -> out em1
        em0: 10.0.0.2.5 > 8.8.8.8.53 udp                               -> out em2
        ",
    );
    firewall.tell(
        "em2: 10.2.0.2.5 > 8.8.8.8.53 udp -> no-route: 10.2.0.1 > 10.2.0.2 icmp 3/0 about (10.2.0.2 > 8.8.8.8 proto 17) ttl 64",
    );
}

#[test]
fn both_families_have_a_table_of_a_number() {
    let mut firewall = Firewall::with(vec![pass().rtable(2)]);
    firewall.tell(
        "
        em0: 2001:db8::2.5 > 2001:db8:77::9.53 udp       -> held em1 for 2001:db8:1::77
        em0: 10.0.0.2.5 > 198.51.100.7.53 udp            -> out em2
        ",
    );
}

#[test]
fn a_connection_follows_the_changes_of_its_table() {
    let mut firewall = Firewall::with(split());
    let forth = |interface: &str| format!("em0: 10.0.0.2.5 > 198.51.100.7.53 udp -> out {interface}");
    let back = "em2: 198.51.100.7.53 > 10.0.0.2.5 udp -> out em0";
    for _ in 0..5 {
        firewall.tell(&forth("em2")).tell(back);
    }
    firewall.fib = changed(&firewall, (EM1, "10.1.0.254"));
    for _ in 0..5 {
        firewall.tell(&forth("em1")).tell(back);
    }
    // A change of the main table is none of its.
    let mut main = routes();
    main.retain(|route| route.length != 24 || route.prefix != std::net::IpAddr::from([198, 51, 100, 0]));
    let fib = Fib::new(firewall.fib.epoch() + 1, interfaces(), main, neighbors());
    firewall.fib = fib.with_tables([(RoutingTable(2), default_by(EM1, "10.1.0.254"))]);
    firewall.tell(&forth("em1"));
    // Its last route goes, and comes again.
    firewall.fib = Fib::new(firewall.fib.epoch() + 1, interfaces(), routes(), neighbors());
    firewall.tell(&format!("em0: {}", nowhere("10.0.0.2.5 > 198.51.100.7.53 udp")));
    firewall.fib = changed(&firewall, (EM2, "10.2.0.2"));
    firewall.tell(&forth("em2"));
}

#[test]
fn an_absent_table_leads_nowhere_but_to_the_host_and_its_rule_is_told() {
    let mut firewall = Firewall::with(vec![pass(), pass().incoming().on("em0").rtable(7)]);
    firewall.tell(&format!("em0: {}", nowhere("10.0.0.2.5 > 10.1.0.2.53 udp")));
    firewall.tell(&format!("em0: {}", nowhere("10.0.0.2.5 > 10.1.0.2.53 udp")));
    firewall.tell(
        "
        em0: 10.0.0.2.5 > 10.0.0.1.53 udp     -> host em0
        em0: 10.0.0.2.5 > 10.1.0.1.53 udp     -> host em0
        em0: 10.0.0.2.5 > 224.0.0.251.53 udp  -> host em0
        ",
    );
    let epoch = firewall.root.as_ref().map(engine::Root::epoch);
    let blamed: Vec<_> = std::iter::from_fn(|| firewall.shard.take_drop())
        .map(|record| (record.reason, record.hook, record.rule))
        .collect();
    let rule = epoch.map(|epoch| RuleAt { epoch, number: 1 });
    assert_eq!(blamed, [(Reason::NoRoute, None, rule); 2], "by the rule, and by the state that it made");
}

#[test]
fn a_table_has_routes_that_refuse() {
    let mut firewall = Firewall::with(vec![pass().rtable(4)]);
    let refusing = [routes()[6].clone(), routes()[7].clone(), default_by(EM1, "10.1.0.254")];
    let refusing = refusing.map(|route| (RoutingTable(4), route));
    firewall.fib = Fib::new(2, interfaces(), routes(), neighbors()).with_tables(refusing);
    firewall.tell(
        "
        em0: 10.0.0.2.5 > 192.0.2.9.53 udp    -> no-route
        em0: 10.0.0.2.5 > 203.0.113.9.53 udp  -> no-route: 10.0.0.1 > 10.0.0.2 icmp 3/13 about (10.0.0.2 > 203.0.113.9 proto 17) ttl 64
        em0: 10.0.0.2.5 > 10.2.0.2.53 udp     -> out em1
        ",
    );
}

#[test]
fn what_a_match_rule_says_holds_until_another_says_otherwise() {
    for (rules, leaves) in [
        (vec![matching().incoming().rtable(2), pass()], "em2"),
        (vec![matching().rtable(7), matching().rtable(2), pass()], "em2"),
        (vec![matching().rtable(2), pass(), pass().rtable(0)], "em1"),
        (vec![matching().rtable(2), pass(), pass().rtable(254)], "em1"),
        (vec![matching().rtable(7), pass().rtable(2)], "em2"),
        // Of `pass` rules, the one that decides.
        (vec![pass().rtable(2), pass()], "em1"),
        (vec![pass().rtable(2).quick(), pass()], "em2"),
        // What leaves is routed.
        (vec![pass().incoming(), pass().outgoing().rtable(2)], "em1"),
        (vec![pass(), matching().outgoing().rtable(7)], "em1"),
        // Without a state.
        (vec![pass().no_state().rtable(2)], "em2"),
        (vec![matching().rtable(2), pass().no_state()], "em2"),
        // Nobody decides.
        (vec![matching().rtable(2)], "em2"),
    ] {
        let mut firewall = Firewall::with(rules);
        for _ in 0..3 {
            firewall.tell(&format!("em0: 10.0.0.2.5 > 198.51.100.7.53 udp -> out {leaves}"));
        }
    }
}

#[test]
fn an_anchors_table_holds_from_its_call_on() {
    let call = Call { name: "a".into(), wildcard: false, end: 2 };
    let call = Rule { call: Some(call), ..Rule::default() }.incoming().on("em0").rtable(2);
    let inside = |rule: Rule| rule.change(|rule| rule.anchor = 1);
    let mut rules = ruleset(vec![call, inside(pass().to_udp(53)), pass().to_udp(54), pass().on("em2")]);
    rules.anchors = vec!["a".into()];
    let mut firewall = Firewall::bare();
    firewall.load(rules);
    firewall.tell(
        "
        em0: 10.0.0.2.5 > 198.51.100.7.53 udp -> out em2
        em0: 10.0.0.2.5 > 198.51.100.7.54 udp -> out em2
        em2: 10.2.0.2.5 > 198.51.100.7.54 udp -> out em1
        ",
    );
}

#[test]
fn a_state_keeps_its_table_when_the_rules_have_it_no_more() {
    let mut firewall = Firewall::with(split());
    let packet = |port: u16, leaves| format!("em0: 10.0.0.2.{port} > 198.51.100.7.53 udp -> out {leaves}");
    firewall.tell(&packet(5, "em2"));
    firewall.load(ruleset(vec![pass()]));
    firewall.tell(&packet(5, "em2")).tell(&packet(6, "em1"));
    firewall.load(ruleset(split()));
    firewall.tell(&packet(6, "em1")).tell(&packet(7, "em2"));
}

#[test]
fn rules_ask_the_table_that_holds_so_far() {
    let asking = |pattern: AddressPattern, rule: Rule| {
        rule.change(|rule| rule.from.address = AddressMatch { negated: false, pattern })
    };
    let urpf = |rule: Rule| asking(AddressPattern::UrpfFailed, rule);
    // By table 2 every answer leaves by em2; by no table, nowhere.
    for (rules, em0, em2) in [
        (vec![pass(), urpf(block().incoming())], "out em1", "match"),
        (vec![pass(), matching().rtable(2), urpf(block().incoming())], "match", "out em2"),
        (vec![pass(), urpf(block().incoming()), matching().rtable(2)], "out em2", "match"),
        (vec![pass(), urpf(block().incoming().rtable(2))], "out em1", "match"),
    ] {
        let mut firewall = Firewall::with(rules);
        firewall.tell(&format!("em0: 10.0.0.2.5 > 198.51.100.7.53 udp -> {em0}"));
        firewall.tell(&format!("em2: 8.8.8.8.5 > 198.51.100.7.53 udp -> {em2}"));
    }
    let unrouted = |rule: Rule| {
        rule.change(|rule| {
            rule.to.address = AddressMatch { negated: false, pattern: AddressPattern::NoRoute }
        })
    };
    let text = "em0: 10.0.0.2.5 > 10.1.0.2.53 udp";
    Firewall::with(vec![pass(), matching().rtable(7), unrouted(block())]).tell(&format!("{text} -> match"));
    Firewall::with(vec![pass(), matching().rtable(2), unrouted(block())]).tell(&format!("{text} -> out em2"));
    Firewall::with(vec![pass(), unrouted(block())]).tell(&format!("{text} -> out em1"));
}

#[test]
fn gateways_of_rules_come_before_the_table_and_are_found_by_the_main_one() {
    let by = |gateway: &str| {
        Firewall::with(vec![matching().rtable(7), pass(), pass().incoming().on("em0").route_to(&[gateway])])
    };
    by("10.1.0.254").tell("em0: 10.0.0.2.5 > 8.8.8.8.53 udp -> out em1");
    by("10.2.0.2@em2").tell("em0: 10.0.0.2.5 > 8.8.8.8.53 udp -> out em2");
    // Answers go where the question came from, whatever table is there for what comes from their side.
    let replying = pass().incoming().on("em2").reply_to(&["10.2.0.2@em2"]);
    let mut firewall = Firewall::with(vec![pass(), pass().incoming().on("em0").rtable(7), replying]);
    firewall.tell(
        "
        em2: 8.8.8.8.5 > 10.0.0.2.53 udp -> out em0
        em0: 10.0.0.2.53 > 8.8.8.8.5 udp -> out em2
        em2: 8.8.8.8.5 > 10.0.0.2.53 udp -> out em0
        em0: 10.0.0.2.53 > 8.8.8.8.5 udp -> out em2
        ",
    );
}

#[test]
fn the_table_is_asked_for_the_translated_destination() {
    let mut second = tables();
    second.push((RoutingTable(2), routes()[1].clone()));
    let rules =
        || vec![pass(), pass().incoming().on("em0").to("198.51.100.7").rdr_to("10.1.0.2", None).rtable(2)];
    let mut firewall = Firewall::with(rules());
    firewall.fib = Fib::new(2, interfaces(), routes(), neighbors()).with_tables(second);
    for _ in 0..3 {
        firewall.tell(
            "
            em0: 10.0.0.2.5 > 198.51.100.7.53 udp -> out em1 as 10.0.0.2.5 > 10.1.0.2.53 udp
            em1: 10.1.0.2.53 > 10.0.0.2.5 udp     -> out em0 as 198.51.100.7.53 > 10.0.0.2.5 udp
            ",
        );
    }
    Firewall::with(rules())
        .tell("em0: 10.0.0.2.5 > 198.51.100.7.53 udp -> out em2 as 10.0.0.2.5 > 10.1.0.2.53 udp");
}

#[test]
fn what_became_of_the_other_family_is_routed_by_the_table_too() {
    let rule = |table: u8| {
        let crossing = pass().incoming().af_to("10.2.0.1", (50_000, 50_010), None).rtable(table);
        vec![crossing.change(|rule| rule.to.address = AddressMatch::default())]
    };
    // RFC 6052: 8.8.8.8 within 64:ff9b::/96.
    let fate = |table| {
        let packet = Packet::parse("2001:db8::2.5 > 64:ff9b::808:808.53 udp");
        let mut frame = packet.frame(mac(EM0, 2), mac(EM0, 1));
        Firewall::with(rule(table)).decide(arrival("em0"), &mut frame)
    };
    assert_eq!(fate(2), Fate::Transmit(EM2));
    // Its sender is told.
    assert_eq!((fate(0), fate(7)), (Fate::Transmit(EM0), Fate::Transmit(EM0)));
}

#[test]
fn the_firewalls_own_networks_are_in_no_other_table_by_themselves() {
    let mut firewall = Firewall::with(vec![pass().rtable(2)]);
    firewall.tell(
        "
        em0: 10.0.0.2.5 > 10.1.0.2.53 udp       -> out em2
        em1: 10.1.0.2.5 > 10.0.0.255.53 udp     -> host em1
        ",
    );
}
