//! Copies of packets that take the short way: what the long way would have made of them.

use crate::firewall::rules::{Written, block, matching, pass, ruleset};
use crate::firewall::{Copy, Firewall, SPANS, arrival, mac, packet::Packet};
use engine::{Arrival, Created, Fate};
use proptest::prelude::*;
use ruleset::{
    AddressMatch, AddressPattern, FlagsMatch, LogOptions, Reason, Rule, Ruleset, Scrub, Table, TableEdit,
    TableEntry,
};
use wire::{Proto, TcpFlags};

const ACK: &str = "10.0.0.2.40000 > 10.1.0.2.80 tcp A seq 1001 ack 5001 win 8192";

fn frame(arrival: Arrival, text: &str) -> Vec<u8> {
    Packet::parse(text).frame(mac(arrival.interface, 2), mac(arrival.interface, 1))
}

fn send(firewall: &mut Firewall, place: &str, text: &str) -> Vec<Copy> {
    let arrival = arrival(place);
    let fate = firewall.decide(arrival, &mut frame(arrival, text));
    assert!(matches!(fate, Fate::Transmit(_)), "{text}: {fate:?}");
    firewall.copies()
}

/// `from <name>`.
fn from_table(rule: Rule, name: &str) -> Rule {
    let pattern = AddressPattern::Table(name.into());
    rule.change(|rule| rule.from.address = AddressMatch { negated: false, pattern })
}

fn with_table(rules: Vec<Rule>) -> Ruleset {
    let table = Table { name: "t".into(), entries: Some(Vec::new()), ..Table::default() };
    Ruleset { tables: vec![table], ..ruleset(rules) }
}

/// A firewall with an established connection, whose packets have gone the short way if any do.
fn established(rules: Ruleset) -> Firewall {
    let mut firewall = Firewall::with_spans(vec![block()]);
    firewall.load(rules);
    for (place, text) in [
        ("em0", "10.0.0.2.40000 > 10.1.0.2.80 tcp S seq 1000 win 8192"),
        ("em1", "10.1.0.2.80 > 10.0.0.2.40000 tcp SA seq 5000 ack 1001 win 8192"),
        ("em0", ACK),
        ("em1", "10.1.0.2.80 > 10.0.0.2.40000 tcp A seq 5001 ack 1001 win 8192"),
        ("em0", ACK),
        ("em0", ACK),
    ] {
        send(&mut firewall, place, text);
    }
    firewall
}

/// `pass; pass out on em1 dup-to @span3`, and these.
fn copying(more: &[Rule]) -> Vec<Rule> {
    let copying = [pass(), pass().outgoing().on("em1").dup_to("span3")];
    copying.into_iter().chain(more.iter().cloned()).collect()
}

fn targets(copies: &[Copy]) -> Vec<u16> {
    copies.iter().map(|(to, ..)| to.0).collect()
}

#[test]
fn new_rules_of_a_span_port_hold_for_the_next_packet() {
    let mut firewall = established(ruleset(copying(&[])));
    assert_eq!(targets(&send(&mut firewall, "em0", ACK)), [3]);
    firewall.load(ruleset(copying(&[block().outgoing().on("span3")])));
    for round in 1..4 {
        assert_eq!(targets(&send(&mut firewall, "em0", ACK)), [0; 0]);
        assert_eq!(firewall.dropped(Reason::Match), round);
    }
    firewall.load(ruleset(copying(&[pass().outgoing().on("span3").dup_to("span4")])));
    for _ in 0..3 {
        assert_eq!(targets(&send(&mut firewall, "em0", ACK)), [3, 4]);
    }
    firewall.load(ruleset(vec![pass()]));
    assert_eq!(targets(&send(&mut firewall, "em0", ACK)), [3], "the state keeps its rule");
}

#[test]
fn a_table_that_a_span_ports_rules_ask_holds_for_the_next_packet() {
    let block = from_table(block().outgoing().on("span3"), "t");
    let mut firewall = established(with_table(copying(&[block])));
    assert_eq!(targets(&send(&mut firewall, "em0", ACK)), [3]);
    let net = "10.0.0.2/32".parse().expect("a host");
    let add = vec![TableEntry::new(false, net)];
    let edit = TableEdit { name: "t".into(), add, ..TableEdit::default() };
    let root = firewall.root.as_ref().expect("rules").with_tables(&[edit]).expect("a table");
    firewall.root = Some(root);
    assert_eq!(targets(&send(&mut firewall, "em0", ACK)), [0; 0]);
}

#[test]
fn control_bits_that_a_span_ports_rules_ask_for_are_each_packets_own() {
    let push = FlagsMatch { set: TcpFlags::PSH, mask: TcpFlags::PSH };
    let block = block().outgoing().on("span3").proto(Proto::TCP).change(|rule| rule.flags = Some(push));
    let mut firewall = established(ruleset(copying(&[block])));
    for _ in 0..3 {
        assert_eq!(targets(&send(&mut firewall, "em0", ACK)), [3]);
        assert_eq!(targets(&send(&mut firewall, "em0", &ACK.replace("tcp A", "tcp PA"))), [0; 0]);
    }
}

#[test]
fn what_a_span_ports_rules_log_is_logged_of_every_packet() {
    let log = LogOptions { enabled: true, ..LogOptions::default() };
    let pass = pass().outgoing().on("span3").change(|rule| rule.log = log);
    let mut firewall = established(ruleset(copying(&[pass])));
    while firewall.shard.take_log().is_some() {}
    for _ in 0..3 {
        assert_eq!(targets(&send(&mut firewall, "em0", ACK)), [3]);
        assert!(firewall.shard.take_log().is_some_and(|record| record.interface == SPANS[0]));
    }
}

/// An ICMP error about a connection is copied as what it is, and the connection's packets as what they are.
#[test]
fn an_error_about_a_connection_says_nothing_of_its_packets() {
    let block = block().outgoing().on("span3").proto(Proto::ICMP);
    let mut firewall = established(ruleset(copying(&[block])));
    let error = format!("10.1.0.2 > 10.0.0.2 icmp 3/1 about ({ACK})");
    for _ in 0..3 {
        assert_eq!(targets(&send(&mut firewall, "em1", &error)), [0; 0]);
        let answer = "10.1.0.2.80 > 10.0.0.2.40000 tcp A seq 5001 ack 1001 win 8192";
        assert_eq!(targets(&send(&mut firewall, "em1", answer)), [3]);
    }
}

/// Rules of which a ruleset may have any.
fn rules() -> Vec<Rule> {
    vec![
        pass().incoming().on("em0").dup_to("span3"),
        pass().incoming().on("em1").dup_to("span4"),
        pass().outgoing().on("em1").dup_to("span3"),
        pass().outgoing().on("em1").proto(Proto::TCP).dup_to("span5").tag("red"),
        pass().outgoing().on("em0").proto(Proto::UDP).dup_to("span4").any_flags(),
        pass().outgoing().on("em2").dup_to("span4"),
        pass().outgoing().on("span3").dup_to("span4"),
        pass().outgoing().on("span4").dup_to("span5"),
        pass().outgoing().on("span5").tagged("red").dup_to("span3"),
        block().outgoing().on("span3").from("10.1.0.2/32"),
        block().outgoing().on("span4").to_udp(53),
        block().outgoing().on("span5").tagged("red").quick(),
        block().outgoing().on("span4").proto(Proto::TCP).change(|rule| {
            rule.flags = Some(FlagsMatch { set: TcpFlags::PSH, mask: TcpFlags::PSH });
        }),
        pass().outgoing().on("span3").proto(Proto::UDP).no_state(),
        pass().incoming().on("em0").proto(Proto::UDP).dup_to_host(&["10.2.0.2@em2"]),
        pass().outgoing().on("em1").dup_to_host(&["10.2.0.2"]),
        pass().incoming().on("em1").dup_to_host(&["10.1.0.254@em1"]),
        pass().outgoing().on("em2").dup_to_host(&["10.0.0.3@em0"]),
        pass().outgoing().on("span4").dup_to_host(&["10.1.0.2", "10.0.0.3"]),
        pass().outgoing().on("em1").dup_to_host(&["2001:db8::2@em0"]),
        block().outgoing().on("em2").to_udp(53),
        matching()
            .on("em0")
            .change(|rule| rule.scrub = Scrub { no_df: true, min_ttl: 100, ..Scrub::default() }),
        matching().outgoing().change(|rule| (rule.scrub.min_ttl, rule.set_tos) = (200, Some(0xb8))),
        matching().incoming().on("em1").change(|rule| rule.scrub.random_id = true),
    ]
}

/// Packets, by where they arrive.
const PACKETS: [(&str, &[&str]); 3] = [
    (
        "em0",
        &[
            "10.0.0.2.40000 > 10.1.0.2.80 tcp S seq 1000 win 8192",
            ACK,
            "10.0.0.2.40000 > 10.1.0.2.80 tcp PA seq 1001 ack 5001 win 8192",
            "10.0.0.2.40000 > 10.1.0.2.80 tcp A seq 1001 ack 5001 win 8192 ttl 1",
            "10.0.0.2.40000 > 10.1.0.2.80 tcp A seq 900001 ack 5001 win 8192",
            "10.0.0.2.40000 > 10.1.0.2.53 udp len 30",
            "10.0.0.2.40000 > 10.2.0.2.53 udp len 600",
            "10.0.0.2.40000 > 10.1.0.2.53 udp len 700",
            "10.0.0.2.40000 > 10.1.0.2.53 udp len 700 df",
            "2001:db8::2.40000 > 2001:db8:1::2.53 udp len 9",
            "10.0.0.3.7 > 10.1.0.77.80 udp",
        ],
    ),
    (
        "em1",
        &[
            "10.1.0.2.80 > 10.0.0.2.40000 tcp SA seq 5000 ack 1001 win 8192",
            "10.1.0.2.80 > 10.0.0.2.40000 tcp A seq 5001 ack 1001 win 8192",
            "10.1.0.2.80 > 10.0.0.2.40000 tcp A seq 5001 ack 1001 win 8192 len 5",
            "10.1.0.2.53 > 10.0.0.2.40000 udp len 80",
            "2001:db8:1::2.53 > 2001:db8::2.40000 udp len 9",
            "10.1.0.2 > 10.0.0.2 icmp 3/1 about (10.0.0.2.40000 > 10.1.0.2.53 udp)",
        ],
    ),
    ("em2", &["10.2.0.2.53 > 10.0.0.2.40000 udp len 100"]),
];

/// A burst: where it arrives, and the numbers of its packets.
fn burst() -> impl Strategy<Value = (usize, Vec<usize>)> {
    prop_oneof![5 => Just(0), 4 => Just(1), 1 => Just(2)].prop_flat_map(|place: usize| {
        let packet = 0..PACKETS[place].1.len();
        (Just(place), proptest::collection::vec(packet, 1..20))
    })
}

/// Everything that can be seen of a burst and of what it leaves.
fn seen(firewall: &mut Firewall, place: usize, packets: &[usize]) -> impl PartialEq + std::fmt::Debug {
    let (place, texts) = PACKETS[place];
    let arrival = arrival(place);
    let mut frames: Vec<Vec<u8>> = packets.iter().map(|packet| frame(arrival, texts[*packet])).collect();
    let fates = firewall.decide_burst(arrival, &mut frames);
    let counters = firewall.shard.counters();
    let counted = (counters.created(Created::Copy), counters.drops().to_vec(), firewall.usage());
    // Of one interface they are in their order.
    let mut copies = firewall.copies();
    copies.sort_by_key(|(to, ..)| to.0);
    (fates, frames, copies, counted, firewall.dump())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    /// Two firewalls differ in a rule that matches nothing. In one it asks a table, so that no copy goes the short way.
    #[test]
    fn short_and_long_way_make_the_same_copies(
        chosen in proptest::collection::vec(any::<proptest::sample::Index>(), 1..7),
        bursts in proptest::collection::vec(burst(), 1..30),
        reload in 0_usize..30,
        after in proptest::collection::vec(any::<proptest::sample::Index>(), 0..5),
    ) {
        let with = |never: &Rule, chosen: &[proptest::sample::Index]| {
            let all = rules();
            let chosen = chosen.iter().map(|index| index.get(&all).clone());
            with_table([never.clone(), pass()].into_iter().chain(chosen).collect())
        };
        let nothing = [block().from("192.0.2.9/32"), from_table(block(), "t")];
        let mut firewalls = nothing.each_ref().map(|never| {
            let mut firewall = Firewall::with_spans(vec![block()]);
            firewall.load(with(never, &chosen));
            firewall
        });
        for (number, (place, packets)) in bursts.iter().enumerate() {
            if number == reload {
                for (firewall, never) in firewalls.iter_mut().zip(&nothing) {
                    firewall.load(with(never, &after));
                }
            }
            let [short, long] = firewalls.each_mut().map(|firewall| seen(firewall, *place, packets));
            prop_assert_eq!(short, long, "burst {}", number);
        }
    }
}
