//! Ports that new sources are not given: what is redirected, and what the host listens on.

use std::collections::BTreeSet;

use crate::firewall::packet::{Packet, render};
use crate::firewall::rules::{Written, block, matching, pass, ruleset};
use crate::firewall::{EM0, EM1, EM2, Firewall, arrival, mac, rerouted};
use engine::fib::Listener;
use engine::{Fate, Tick};
use ruleset::{
    AddressPattern, Call, FirstMatch, InterfacePart, PortMatch, PortSet, Reason, Rule, Ruleset, Table,
    TableEdit, TableEntry, Translating,
};
use wire::{Port, Proto};

const SYN: &str = "tcp S seq 1";

/// What most sources are given one of.
const PORTS: [u16; 4] = [50_001, 50_002, 50_003, 50_004];

/// The second one is redirected.
const SECOND: [u16; 3] = [50_001, 50_003, 50_004];

fn nat() -> Rule {
    matching().outgoing().on("em1").from("10.0.0.0/24").nat_to("10.1.0.1", (50_001, 50_004))
}

fn with_pool(change: impl FnOnce(&mut ruleset::Pool)) -> Rule {
    nat().change(|rule| change(rule.nat.as_mut().expect("a translation")))
}

/// `match in on em1 proto … to 10.1.0.1 port … rdr-to 10.0.0.3`.
fn redirect(proto: Proto, port: u16) -> Rule {
    matching().incoming().on("em1").proto(proto).to("10.1.0.1").to_port(port).rdr_to("10.0.0.3", None)
}

/// These rules in front of others by which everything passes that a client sends.
fn rules(rules: Vec<Rule>) -> Ruleset {
    let others = [pass().incoming().on("em0").any_flags(), pass().outgoing().any_flags()];
    ruleset([block()].into_iter().chain(rules).chain(others).collect())
}

fn firewall(own: Vec<Rule>) -> Firewall {
    let mut firewall = Firewall::bare();
    firewall.entropy.step = 0x9e37_79b9_7f4a_7c15;
    firewall.load(rules(own));
    firewall
}

fn tcp(address: &str, port: u16) -> Listener {
    Listener { proto: Proto::TCP, address: address.parse().expect("an address"), port: Port(port) }
}

fn udp(address: &str, port: u16) -> Listener {
    Listener { proto: Proto::UDP, ..tcp(address, port) }
}

fn listen(firewall: &mut Firewall, listeners: &[Listener]) {
    firewall.fib = firewall.fib.clone().with_listeners(listeners.iter().copied());
}

/// The port, or identifier, that a connection from a port of the client leaves from; `None` if there is none for it.
fn port_of(firewall: &mut Firewall, client: &str, source: u16, to: &str) -> Option<u16> {
    let query = to.contains(" icmp ");
    let text =
        if query { format!("{client} > {to} id {source}") } else { format!("{client}.{source} > {to}") };
    firewall.now = firewall.now + Tick(1);
    let mut frame = Packet::parse(&text).frame(mac(EM0, 2), mac(EM0, 1));
    match firewall.decide(arrival("em0"), &mut frame) {
        Fate::Transmit(EM1 | EM2) => {}
        Fate::Drop(Reason::Translate) => return None,
        other => panic!("{text}: {other:?}"),
    }
    let left = render(&frame);
    let number = match left.split_once(" id ") {
        Some((_, id)) => id.split_whitespace().next(),
        None => left.split(" > ").next().and_then(|source| source.rsplit_once('.')).map(|(_, port)| port),
    };
    Some(number.and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("{left}")))
}

/// The ports that connections leave from, until there is none for one.
fn all_ports(firewall: &mut Firewall, client: &str, to: &str) -> Vec<u16> {
    let mut ports = BTreeSet::new();
    for source in 1..100 {
        match port_of(firewall, client, source, to) {
            Some(port) => assert!(ports.insert(port), "{port} twice"),
            None => return ports.into_iter().collect(),
        }
    }
    panic!("{ports:?} and no end");
}

fn ports_to(firewall: &mut Firewall, to: &str) -> Vec<u16> {
    all_ports(firewall, "10.0.0.2", to)
}

/// All but those of these places.
fn but<const N: usize>(ports: [u16; 4], places: [usize; N]) -> Vec<u16> {
    (0..4).filter(|place| !places.contains(place)).map(|place| ports[place]).collect()
}

/// Every way in which a source port is chosen: with the protocols that it is for, the short one first.
fn ways() -> Vec<(&'static str, Rule, [u16; 4], &'static [&'static str])> {
    let set = PortSet { offset_bits: 1, id_bits: 13, id: 0x100 };
    let both = &[SYN, "udp"][..];
    vec![
        ("at once", nat(), PORTS, both),
        ("sticky-address", with_pool(|pool| pool.sticky = true), PORTS, both),
        ("port-block", with_pool(|pool| pool.port_block = Some(4)).from("10.0.0.2"), PORTS, both),
        ("endpoint-independent", with_pool(|pool| pool.endpoint_independent = true), PORTS, &["udp"]),
        (
            "map-e-portset",
            with_pool(|pool| (pool.ports, pool.port_set) = (None, Some(set))),
            [33_792, 33_793, 33_794, 33_795],
            both,
        ),
    ]
}

/// RFC 6056 §3.1, whatever way the port is chosen in, of each protocol for itself.
#[test]
fn redirected_and_listened_ports_are_left_out() {
    for (name, nat, ports, protocols) in ways() {
        let own = vec![nat, redirect(Proto::TCP, ports[1]), redirect(Proto::UDP, ports[2])];
        for proto in protocols {
            let (redirected, listened) = if *proto == SYN { (1, 3) } else { (2, 0) };
            let mut firewall = firewall(own.clone());
            let found = ports_to(&mut firewall, &format!("10.1.0.2.80 {proto}"));
            assert_eq!(found, but(ports, [redirected]), "{name}, {proto}");
            listen(&mut firewall, &[tcp("10.1.0.1", ports[3]), udp("0.0.0.0", ports[0])]);
            firewall.kill("10.0.0.2");
            let found = ports_to(&mut firewall, &format!("10.1.0.2.81 {proto}"));
            assert_eq!(found, but(ports, [redirected, listened]), "{name}, {proto}");
        }
    }
}

/// What is translated to the other family as it comes in leaves by an interface that is not known then.
#[test]
fn across_families_redirected_ports_are_left_out() {
    let crossing = pass().incoming().on("em0").to("64:ff9b::/96").af_to("10.1.0.1", (50_001, 50_004), None);
    let mut firewall = firewall(vec![redirect(Proto::TCP, 50_002)]);
    let mut own = rules(vec![redirect(Proto::TCP, 50_002)]);
    own.rules.push(crossing);
    firewall.load(own);
    listen(&mut firewall, &[udp("0.0.0.0", 50_001)]);
    let to = |port: u16, proto: &str| format!("64:ff9b::a01:2.{port} {proto}");
    assert_eq!(all_ports(&mut firewall, "2001:db8::2", &to(80, SYN)), SECOND);
    assert_eq!(all_ports(&mut firewall, "2001:db8::2", &to(80, "udp")), but(PORTS, [0]));
}

/// Numbers of queries are no ports.
#[test]
fn identifiers_of_queries_are_not_left_out() {
    let nat = with_pool(|pool| pool.port_block = Some(4)).from("10.0.0.2");
    let mut firewall = firewall(vec![nat, redirect(Proto::TCP, 50_002), redirect(Proto::UDP, 50_002)]);
    listen(&mut firewall, &[tcp("0.0.0.0", 50_003)]);
    assert_eq!(ports_to(&mut firewall, "10.1.0.2 icmp 8/0"), PORTS);
}

fn pattern(rule: Rule, negated: bool, pattern: AddressPattern) -> Rule {
    rule.change(|rule| (rule.to.address.negated, rule.to.address.pattern) = (negated, pattern))
}

fn interface(name: &str) -> AddressPattern {
    AddressPattern::Interface { name: name.into(), part: InterfacePart::Own, no_alias: false, prefix: None }
}

fn entry(net: &str) -> TableEntry {
    TableEntry { negated: false, net: net.parse().expect("a network"), weight: None }
}

fn table(nets: &[&str]) -> Vec<Table> {
    let entries = Some(nets.iter().map(|net| entry(net)).collect());
    vec![Table { name: "public".into(), entries, ..Table::default() }]
}

fn in_table(negated: bool) -> Rule {
    pattern(redirect(Proto::TCP, 50_002), negated, AddressPattern::Table("public".into()))
}

/// Each of these rules, beside one that translates, leaves these ports to choose from.
fn each_leaves(rules_beside: impl IntoIterator<Item = Rule>, ports: &[u16]) {
    for rule in rules_beside {
        let mut firewall = Firewall::bare();
        firewall.load(Ruleset { tables: table(&["10.1.0.0/28"]), ..rules(vec![nat(), rule.clone()]) });
        assert_eq!(ports_to(&mut firewall, &format!("10.1.0.2.80 {SYN}")), ports, "{rule:?}");
    }
}

/// Whatever says where packets are redirected that would come to the port.
#[test]
fn a_port_is_left_out_wherever_its_redirection_is_written() {
    let written = || redirect(Proto::TCP, 50_002);
    let range = AddressPattern::Range("10.1.0.0".parse().unwrap(), "10.1.0.5".parse().unwrap());
    let masked =
        AddressPattern::Masked { net: "0.0.0.1".parse().unwrap(), mask: "0.0.0.255".parse().unwrap() };
    let of_rdr = FirstMatch { ruleset: Translating::Rdr, exempt: false };
    let own = [
        written(),
        pattern(written(), false, AddressPattern::Any),
        written().to("10.1.0.0/24").to_port(50_002),
        pattern(written(), false, range),
        pattern(written(), false, masked),
        in_table(false),
        pattern(written(), false, interface("em1")),
        pattern(written(), true, interface("em2")),
        written().change(|rule| rule.interface = None),
        written().on("egress"),
        written().from("198.51.100.7"),
        written().change(|rule| rule.first_match = Some(of_rdr)),
        pass().incoming().on("em1").proto(Proto::TCP).to("10.1.0.1").to_port(50_002).rdr_to("10.0.0.3", None),
        written().change(|rule| rule.to.port = PortMatch::Inside(Port(50_001), Port(50_003))),
    ];
    each_leaves(own, &SECOND);
}

#[test]
fn a_port_is_left_out_that_a_rule_in_an_anchor_redirects() {
    let call = pass().incoming().change(|rule| {
        (rule.state, rule.flags) = Default::default();
        rule.call = Some(Call { name: "/portmap".into(), wildcard: false, end: 2 });
    });
    let inner = redirect(Proto::TCP, 50_002).change(|rule| rule.anchor = 1);
    let mut all = vec![call, inner, nat()];
    all.extend([pass().incoming().on("em0").any_flags(), pass().outgoing().any_flags()]);
    let mut firewall = Firewall::bare();
    firewall.load(Ruleset { anchors: vec!["portmap".into()], ..ruleset(all) });
    assert_eq!(ports_to(&mut firewall, &format!("10.1.0.2.80 {SYN}")), SECOND);
}

#[test]
fn what_is_redirected_elsewhere_counts_for_nothing() {
    let written = || redirect(Proto::TCP, 50_002);
    let of_rdr = |exempt| Some(FirstMatch { ruleset: Translating::Rdr, exempt });
    let own = [
        redirect(Proto::UDP, 50_002),
        written().to("10.1.0.9").to_port(50_002),
        written().on("em0"),
        written().on("em2"),
        written().change(|rule| rule.interface.as_mut().unwrap().negated = true),
        in_table(true),
        pattern(written(), false, interface("em2")),
        pattern(written(), true, interface("em1")),
        pattern(written(), false, AddressPattern::NoRoute),
        written().to_port(50_005),
        written().change(|rule| (rule.rdr, rule.first_match) = (None, of_rdr(true))),
        pass().incoming().on("em1").proto(Proto::TCP).to("10.1.0.1").to_port(50_002),
        block().incoming().on("em1").proto(Proto::TCP).to("10.1.0.1").to_port(50_002),
    ];
    each_leaves(own, &PORTS);
}

/// Whoever redirects, or listens on, all ports of a range, wants just those.
#[test]
fn a_range_of_which_nothing_would_be_left_is_used_whole() {
    for (name, nat, ports, protocols) in ways() {
        for proto in protocols {
            let number = if *proto == SYN { Proto::TCP } else { Proto::UDP };
            let mut own = vec![nat.clone()];
            own.extend(ports[..3].iter().map(|port| redirect(number, *port)));
            let mut firewall = firewall(own);
            let found = ports_to(&mut firewall, &format!("10.1.0.2.80 {proto}"));
            assert_eq!(found, but(ports, [0, 1, 2]), "{name}, {proto}");
            let last = Listener { proto: number, ..tcp("0.0.0.0", ports[3]) };
            listen(&mut firewall, &[last]);
            firewall.kill("10.0.0.2");
            let found = ports_to(&mut firewall, &format!("10.1.0.2.81 {proto}"));
            assert_eq!(found, ports, "{name}, {proto}");
        }
    }
    // One port for all, beside a daemon of the firewall's own that has the same.
    let mut firewall = firewall(vec![nat().nat_to("10.1.0.1", (500, 500))]);
    listen(&mut firewall, &[udp("0.0.0.0", 500)]);
    assert_eq!(ports_to(&mut firewall, "10.1.0.2.500 udp"), [500]);
}

/// Redirections of other addresses, and ones that no packet of the connection would meet, leave a range its ports.
#[test]
fn only_what_is_redirected_of_the_very_address_empties_a_range() {
    let elsewhere = |port| redirect(Proto::TCP, port).to("10.1.0.9").to_port(port);
    let own =
        vec![nat(), redirect(Proto::TCP, 50_001), elsewhere(50_002), elsewhere(50_003), elsewhere(50_004)];
    let mut firewall = firewall(own);
    assert_eq!(ports_to(&mut firewall, &format!("10.1.0.2.80 {SYN}")), but(PORTS, [0]));
}

/// What is redirected whatever port it is for is a host, whose address may stand for others as well.
#[test]
fn a_redirection_of_a_host_leaves_nothing_out() {
    let to_host = |port: PortMatch| redirect(Proto::TCP, 1).change(|rule| rule.to.port = port);
    let at_least = |first: u16| to_host(PortMatch::GreaterOrEqual(Port(first)));
    let binat = matching().incoming().on("em1").to("10.1.0.1").rdr_to("10.0.0.3", None);
    for (rule, leaves_out) in [
        (binat, false),
        (to_host(PortMatch::Any), false),
        (to_host(PortMatch::NotEqual(Port(22))), false),
        (at_least(32_767), false),
        (at_least(32_768), true),
    ] {
        // One port lies before what may be redirected.
        let nat = nat().nat_to("10.1.0.1", (32_766, 32_769));
        let mut firewall = firewall(vec![nat, rule.clone()]);
        let found = ports_to(&mut firewall, &format!("10.1.0.2.80 {SYN}"));
        assert_eq!(found.len(), if leaves_out { 2 } else { 4 }, "{found:?}, {rule:?}");
    }
}

/// A range in which nothing is left is searched again as soon as something may be.
#[test]
fn a_port_comes_back_when_it_is_redirected_no_more_and_goes_when_it_is() {
    for nat in [nat(), with_pool(|pool| pool.sticky = true)] {
        let to = format!("10.1.0.2.80 {SYN}");
        let mut firewall = firewall(vec![nat.clone(), redirect(Proto::TCP, 50_002)]);
        assert_eq!(ports_to(&mut firewall, &to), SECOND);
        firewall.load(rules(vec![nat.clone()]));
        assert_eq!(port_of(&mut firewall, "10.0.0.2", 1000, &to), Some(50_002));
        firewall.kill("10.0.0.2");
        firewall
            .load(Ruleset { tables: table(&["10.1.0.1/32"]), ..rules(vec![nat.clone(), in_table(false)]) });
        assert_eq!(ports_to(&mut firewall, &to), SECOND);
        let remove = vec!["10.1.0.1/32".parse().unwrap()];
        let edit = TableEdit { name: "public".into(), remove, ..TableEdit::default() };
        let root = firewall.root.as_ref().unwrap().with_tables(&[edit]).unwrap();
        firewall.root = Some(root);
        assert_eq!(port_of(&mut firewall, "10.0.0.2", 1000, &to), Some(50_002));
    }
}

#[test]
fn a_port_comes_back_when_nobody_listens_on_it_any_more() {
    for nat in [nat(), with_pool(|pool| pool.sticky = true)] {
        let to = format!("10.1.0.2.80 {SYN}");
        let mut firewall = firewall(vec![nat]);
        listen(&mut firewall, &[tcp("0.0.0.0", 22), tcp("0.0.0.0", 50_002)]);
        assert_eq!(ports_to(&mut firewall, &to), SECOND);
        listen(&mut firewall, &[tcp("0.0.0.0", 22)]);
        assert_eq!(port_of(&mut firewall, "10.0.0.2", 1000, &to), Some(50_002));
        firewall.kill("10.0.0.2");
        listen(&mut firewall, &[tcp("10.1.0.1", 50_001), tcp("0.0.0.0", 22)]);
        assert_eq!(ports_to(&mut firewall, &to), but(PORTS, [0]));
    }
}

/// What is redirected by one way out is free by another, even where the first has been found full.
#[test]
fn a_range_that_is_full_by_one_interface_is_not_by_another() {
    let to = format!("10.1.0.2.80 {SYN}");
    let mut firewall = firewall(vec![nat().on("egress"), redirect(Proto::TCP, 50_002)]);
    assert_eq!(ports_to(&mut firewall, &to), SECOND);
    firewall.fib = rerouted();
    assert_eq!(port_of(&mut firewall, "10.0.0.2", 200, &to), Some(50_002));
    assert_eq!(port_of(&mut firewall, "10.0.0.2", 201, &to), None);
}

/// A socket takes what is for its address: any of the host's own of its family, or the one that it is bound to.
#[test]
fn a_listener_counts_for_the_addresses_that_it_listens_at() {
    let ports = |address: &str, listener: Listener| {
        let mut firewall = firewall(vec![nat().nat_to(address, (50_001, 50_004))]);
        listen(&mut firewall, &[listener]);
        ports_to(&mut firewall, &format!("10.1.0.2.80 {SYN}"))
    };
    // 10.1.0.9 is not the firewall's own: nobody on it would be sent what is for that.
    for (address, at, counts) in [
        ("10.1.0.1", "0.0.0.0", true),
        ("10.1.0.1", "10.1.0.1", true),
        ("10.1.0.1", "10.0.0.1", false),
        ("10.1.0.1", "::", false),
        ("10.1.0.9", "0.0.0.0", false),
        ("10.1.0.9", "10.1.0.9", true),
    ] {
        let found = ports(address, tcp(at, 50_002));
        assert_eq!(found == SECOND, counts, "{address}, listening at {at}");
        assert_eq!(found == PORTS, !counts, "{address}, listening at {at}");
        assert_eq!(ports(address, udp(at, 50_002)), PORTS, "another protocol");
    }
    let nat6 = matching().outgoing().on("em1").from("2001:db8::/64");
    let mut firewall = firewall(vec![nat6.nat_to("2001:db8:1::1", (50_001, 50_004))]);
    listen(&mut firewall, &[tcp("0.0.0.0", 50_001), tcp("::", 50_002)]);
    assert_eq!(all_ports(&mut firewall, "2001:db8::2", &format!("2001:db8:1::2.80 {SYN}")), SECOND);
}

/// A program of the host whose port stands for another's connection is given one that is nobody's.
#[test]
fn who_steps_aside_does_not_step_on_what_is_redirected() {
    let first = ruleset::Pool::NAT_PORTS.0;
    let all_but_two = redirect(Proto::UDP, 1)
        .change(|rule| rule.to.port = PortMatch::Range(Port(first.0), Port(u16::MAX - 2)));
    let one = matching().outgoing().on("em1").from("10.0.0.0/24").nat_to("10.1.0.1", (4000, 4000));
    let mut firewall = Firewall::with(vec![one, all_but_two, pass().any_flags()]);
    listen(&mut firewall, &[udp("10.1.0.1", u16::MAX - 1)]);
    firewall.tell(&format!(
        "
        em0: 10.0.0.2.5000 > 10.1.0.2.53 udp -> out em1 as 10.1.0.1.4000 > 10.1.0.2.53 udp
        em1 host: 10.1.0.1.4000 > 10.1.0.2.53 udp -> out em1 as 10.1.0.1.{} > 10.1.0.2.53 udp
        ",
        u16::MAX
    ));
}

/// Many public addresses with a redirection each: whoever leaves from one of them is kept from its own alone.
#[test]
fn each_of_many_addresses_is_kept_from_its_own_ports() {
    let address = |number: u16| format!("10.1.{}.{}", 1 + number / 250, 1 + number % 250);
    let mut own: Vec<Rule> = (0..1000)
        .map(|number| redirect(Proto::TCP, 1).to(&address(number)).to_port(50_001 + number % 4))
        .collect();
    own.push(nat());
    for number in [0, 251, 502, 999] {
        own.pop();
        own.push(nat().nat_to(&address(number), (50_001, 50_004)));
        let mut firewall = firewall(own.clone());
        let found = ports_to(&mut firewall, &format!("10.1.0.2.80 {SYN}"));
        assert_eq!(found, but(PORTS, [usize::from(number % 4)]), "{}", address(number));
    }
}
