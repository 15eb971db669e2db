//! Which address of a pool a connection gets, and what becomes of it when there is none.

use std::collections::BTreeMap;
use std::num::NonZeroU16;

use crate::firewall::rules::{Written, block, matching, pass, pool, ruleset};
use crate::firewall::{Firewall, interfaces};
use engine::{Fib, Root};
use ruleset::{
    AddressPattern, InterfacePart, Pool, PoolKind, Reason, Rule, Ruleset, Table, TableEdit, TableEntry,
};
use wire::{Af, Port, Proto};

fn entry(net: &str) -> TableEntry {
    TableEntry::new(false, net.parse().expect("a network"))
}

/// A table of three addresses, and one without any.
fn with_tables(rules: Vec<Rule>) -> Ruleset {
    let table = |name: &str, nets: &[&str]| Table {
        name: name.into(),
        entries: Some(nets.iter().map(|net| entry(net)).collect()),
        ..Table::default()
    };
    let tables = vec![table("three", &["10.1.0.10/32", "10.1.0.20/31"]), table("none", &[])];
    Ruleset { tables, ..ruleset(rules) }
}

/// A pool of IPv4 with one port.
fn of(address: AddressPattern, kind: Option<PoolKind>) -> Pool {
    Pool { address, kind, ports: Some((Port(7), Port(7))), ..pool("10.1.0.1", None).1 }
}

fn table(name: &str) -> AddressPattern {
    AddressPattern::Table(name.into())
}

fn interface(name: &str, no_alias: bool) -> AddressPattern {
    AddressPattern::Interface { name: name.into(), part: InterfacePart::Own, no_alias, prefix: None }
}

fn translating(pool: Pool) -> Firewall {
    let mut firewall = Firewall::bare();
    let mut nat = matching().outgoing().on("em1");
    (nat.af, nat.nat) = (Some(Af::Inet), Some(pool));
    firewall.load(with_tables(vec![nat, pass()]));
    firewall
}

/// The address that a datagram from this client to this port leaves with.
fn source(firewall: &mut Firewall, client: &str, remote: u16) -> String {
    let sent = firewall.pass_on("em0", &format!("10.0.0.{client}.4000 > 10.1.0.2.{remote} udp"));
    let address = sent.strip_prefix("out em1: ").and_then(|rest| rest.split_whitespace().next());
    address.and_then(|address| address.strip_suffix(".7")).unwrap_or_else(|| panic!("{sent}")).to_owned()
}

/// How often each address was given, to eighteen connections.
fn shares(firewall: &mut Firewall) -> BTreeMap<String, u32> {
    let mut shares = BTreeMap::new();
    for remote in 1..=18 {
        *shares.entry(source(firewall, "2", remote)).or_default() += 1;
    }
    shares
}

fn counted<const N: usize>(shares: [(&str, u32); N]) -> BTreeMap<String, u32> {
    shares.into_iter().map(|(address, count)| (address.to_owned(), count)).collect()
}

#[test]
fn addresses_of_a_table_take_turns() {
    let mut firewall = translating(of(table("three"), Some(PoolKind::RoundRobin)));
    assert_eq!(shares(&mut firewall), counted([("10.1.0.10", 6), ("10.1.0.20", 6), ("10.1.0.21", 6)]));
}

/// `weight`: of rounds, and of what each address has.
#[test]
fn addresses_have_as_many_turns_as_they_weigh() {
    let weighing = |net: &str, weight| TableEntry { weight: NonZeroU16::new(weight), ..entry(net) };
    let mut firewall = translating(of(table("none"), Some(PoolKind::RoundRobin)));
    let entries = vec![weighing("10.1.0.10/32", 4), entry("10.1.0.20/31")];
    let edit = |add| TableEdit { name: "none".into(), clear: true, add, ..TableEdit::default() };
    let change = |firewall: &mut Firewall, edit: TableEdit| {
        let root = firewall.root.take().expect("rules").with_tables(&[edit]).expect("a change");
        firewall.root = Some(root);
    };
    change(&mut firewall, edit(entries.clone()));
    assert_eq!(shares(&mut firewall), counted([("10.1.0.10", 12), ("10.1.0.20", 3), ("10.1.0.21", 3)]));
    // What is listed is what was given, and without weights all are as good as each other again.
    let held = firewall.root.as_ref().and_then(|root| root.entries("none")).expect("it is there");
    assert_eq!(held.collect::<Vec<_>>(), entries);
    change(&mut firewall, edit(vec![entry("10.1.0.10/32"), entry("10.1.0.20/31")]));
    firewall.kill("10.0.0.2");
    assert_eq!(shares(&mut firewall), counted([("10.1.0.10", 6), ("10.1.0.20", 6), ("10.1.0.21", 6)]));

    let mut firewall = translating(of(table("none"), Some(PoolKind::LeastStates)));
    change(&mut firewall, edit(vec![weighing("10.1.0.10/32", 2), weighing("10.1.0.11/32", 1)]));
    assert_eq!(shares(&mut firewall), counted([("10.1.0.10", 12), ("10.1.0.11", 6)]));
}

#[test]
fn a_source_is_hashed_to_one_address_and_a_network_keeps_the_host() {
    let mut firewall = translating(of(table("three"), Some(PoolKind::SourceHash([1, 2, 3, 4]))));
    assert_eq!(shares(&mut firewall).len(), 1, "one client, one address");
    let clients = ["2", "3", "4", "5", "6", "7", "8", "9"];
    let all: Vec<String> =
        clients.iter().zip(100..).map(|(client, remote)| source(&mut firewall, client, remote)).collect();
    assert!(all.iter().any(|address| *address != all[0]), "different clients: {all:?}");
    let net = AddressPattern::Net("10.1.0.128/25".parse().expect("a network"));
    for kind in [None, Some(PoolKind::Bitmask)] {
        let mut firewall = translating(of(net.clone(), kind));
        assert_eq!(source(&mut firewall, "2", 1), "10.1.0.130");
        assert_eq!(source(&mut firewall, "77", 1), "10.1.0.205");
    }
}

/// One port each: the fourth connection to one remote end finds nothing, whichever address is asked first.
#[test]
fn where_an_address_has_no_port_left_the_next_one_is_tried() {
    for kind in [PoolKind::RoundRobin, PoolKind::Random] {
        let mut firewall = translating(of(table("three"), Some(kind)));
        let mut used: Vec<String> = ["2", "3", "4"].map(|client| source(&mut firewall, client, 53)).into();
        used.sort();
        assert_eq!(used, ["10.1.0.10", "10.1.0.20", "10.1.0.21"]);
        assert_eq!(firewall.send("em0", "10.0.0.5.4000 > 10.1.0.2.53 udp"), "translate");
    }
    let mut firewall = translating(of(table("three"), Some(PoolKind::SourceHash([0; 4]))));
    source(&mut firewall, "2", 53);
    assert_eq!(firewall.send("em0", "10.0.0.2.4001 > 10.1.0.2.53 udp"), "translate", "a hash has no other");
}

/// D6. Addresses that come and go: who finds none is refused, and counted.
#[test]
fn d06_pools_without_addresses_refuse_and_count() {
    let mut firewall = translating(of(table("none"), Some(PoolKind::Random)));
    let send = "10.0.0.2.4000 > 10.1.0.2.53 udp";
    assert_eq!(firewall.send("em0", send), "translate");
    let edit = TableEdit { name: "none".into(), add: vec![entry("10.1.0.99/32")], ..TableEdit::default() };
    let root: Root = firewall.root.take().expect("rules").with_tables(&[edit]).expect("a change");
    firewall.root = Some(root);
    assert_eq!(source(&mut firewall, "2", 53), "10.1.0.99");

    let mut firewall = translating(of(interface("em1", true), None));
    assert_eq!(source(&mut firewall, "2", 53), "10.1.0.1");
    // The interface gets another address: for those that begin from now on.
    let mut changed = interfaces();
    changed[1].addresses[0].address = "10.1.0.55".parse().expect("an address");
    let with = |interfaces| Fib::new(2, interfaces, crate::firewall::routes(), crate::firewall::neighbors());
    firewall.fib = with(changed.clone());
    assert_eq!(source(&mut firewall, "2", 53), "10.1.0.1", "a connection keeps what it has");
    assert_eq!(source(&mut firewall, "3", 53), "10.1.0.55");
    changed[1].addresses.clear();
    firewall.fib = with(changed);
    assert_eq!(firewall.send("em0", "10.0.0.4.4000 > 10.1.0.2.53 udp"), "translate");
    // One that does not exist.
    assert_eq!(translating(of(interface("em9", true), None)).send("em0", send), "translate");
    assert_eq!(firewall.dropped(Reason::Translate), 1);
}

/// `(interface:part)`, whatever part it is, and of a group, whose last interface has a neighbour of its own.
#[test]
fn what_interfaces_have_besides_their_addresses_are_pools_too() {
    let part = |name: &str, part, no_alias, prefix| AddressPattern::Interface {
        name: name.into(),
        part,
        no_alias,
        prefix,
    };
    let shared = |address, kind| {
        let mut firewall = translating(of(address, Some(kind)));
        let mut known = interfaces();
        known[2].addresses[0].peer = Some("10.9.0.9".parse().expect("an address"));
        firewall.fib = Fib::new(2, known, crate::firewall::routes(), crate::firewall::neighbors());
        shares(&mut firewall)
    };
    let turns = |address| shared(address, PoolKind::RoundRobin);
    let (own, egress) = (InterfacePart::Own, "egress");
    assert_eq!(turns(part(egress, own, false, None)), counted([("10.1.0.1", 9), ("10.2.0.1", 9)]));
    assert_eq!(turns(part(egress, InterfacePart::Peer, false, None)), counted([("10.9.0.9", 18)]));
    assert_eq!(turns(part("em2", InterfacePart::Broadcast, true, None)), counted([("10.2.0.255", 18)]));
    let around = [("10.1.0.0", 5), ("10.1.0.1", 5), ("10.1.0.2", 4), ("10.1.0.3", 4)];
    assert_eq!(turns(part("em1", own, false, Some(30))), counted(around));
    let networks = turns(part(egress, InterfacePart::Network, false, None));
    assert!(networks.len() == 18 && networks.keys().all(|address| address.starts_with("10.1.0.")));
    let same_host = shared(part("em2", InterfacePart::Network, true, None), PoolKind::Bitmask);
    assert_eq!(same_host, counted([("10.2.0.2", 18)]));
}

/// Link-local addresses are nobody else's, and the other family has addresses of its own.
#[test]
fn an_interface_gives_addresses_of_the_packets_family() {
    let mut nat = matching().outgoing().on("em1");
    nat.nat = Some(of(interface("em1", true), None));
    let mut firewall = Firewall::with(vec![nat, pass()]);
    firewall.tell(
        "
        em0: 2001:db8::2.4000 > 2001:db8:1::2.53 udp -> out em1 as 2001:db8:1::1.7 > 2001:db8:1::2.53 udp
        em0: 10.0.0.2.4000 > 10.1.0.2.53 udp -> out em1 as 10.1.0.1.7 > 10.1.0.2.53 udp
        ",
    );
    let counted = ["10.1.0.1", "2001:db8:1::1"].map(|address| (address.to_owned(), 17));
    assert_eq!(mappings(&firewall), counted, "of both families");
}

#[test]
fn ports_of_a_redirection_follow_those_that_were_asked_for() {
    let rule = |ports: (u16, u16), asked: (u16, u16)| {
        let mut rule = pass().incoming().on("em1").proto(Proto::TCP).to("10.1.0.1");
        rule.to.port = ruleset::PortMatch::Range(Port(asked.0), Port(asked.1));
        rule.rdr_to("10.0.0.2", Some(ports))
    };
    for (ports, asked, port, expected) in [
        ((9000, 9010), (8000, 8010), 8007, 9007),
        ((9000, 9004), (8000, 8010), 8007, 9002),
        ((80, 80), (8000, 8010), 8007, 80),
    ] {
        let mut firewall = Firewall::with(vec![rule(ports, asked), pass().outgoing()]);
        firewall.tell(&format!(
            "em1: 10.1.0.2.4000 > 10.1.0.1.{port} tcp S seq 1 -> out em0 as 10.1.0.2.4000 > 10.0.0.2.{expected} tcp S seq 1"
        ));
    }
}

/// How many connections are behind each address, with the number of their protocol.
fn mappings(firewall: &Firewall) -> Vec<(String, u8)> {
    let (mut cursor, mut found) = (0, Vec::new());
    while !firewall
        .shard
        .mappings(None, &mut cursor, 1, |of| found.push((of.address.to_string(), of.proto.0)))
    {}
    found.sort();
    found
}

#[test]
fn connections_are_counted_at_the_address_that_they_are_translated_to() {
    let mut firewall = Firewall::with(vec![
        block(),
        matching().outgoing().on("em1").from("10.0.0.0/24").nat_to("10.1.0.1", (50_001, 50_001)),
        pass().incoming().on("em0"),
        pass().outgoing(),
    ]);
    assert!(mappings(&firewall).is_empty());
    firewall.tell("em1: 10.1.0.9.53 > 10.0.0.2.53 udp len 1 -> match");
    // Towards different remote ends one port is enough.
    firewall.tell(
        "
        em0: 10.0.0.2.5000 > 10.1.0.2.53 udp len 30 -> out em1 as 10.1.0.1.50001 > 10.1.0.2.53 udp len 30
        em0: 10.0.0.2.5000 > 10.1.0.2.54 udp len 30 -> out em1 as 10.1.0.1.50001 > 10.1.0.2.54 udp len 30
        em0: 10.0.0.2.5001 > 10.1.0.2.55 udp len 30 -> out em1 as 10.1.0.1.50001 > 10.1.0.2.55 udp len 30
        em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp S seq 1 -> out em1 as 10.1.0.1.50001 > 10.1.0.2.80 tcp S seq 1
        ",
    );
    let udp = (String::from("10.1.0.1"), 17);
    assert_eq!(mappings(&firewall), [(String::from("10.1.0.1"), 6), udp.clone(), udp.clone(), udp]);
    firewall.tell("wait 86401");
    firewall.sweep();
    assert!(mappings(&firewall).is_empty(), "none is left behind");

    // A server behind an address of ours: who asks it stays what he is.
    let mut firewall = Firewall::with(vec![
        block(),
        pass().incoming().on("em1").proto(Proto::TCP).to("10.1.0.1").rdr_to("10.0.0.2", Some((8080, 8080))),
        pass().outgoing().on("em0"),
    ]);
    firewall.tell("em1: 10.1.0.2.4000 > 10.1.0.1.80 tcp S seq 1 -> out em0 as 10.1.0.2.4000 > 10.0.0.2.8080 tcp S seq 1");
    assert!(mappings(&firewall).is_empty());
}
