//! Copies for span ports: each exactly once, of the frame as it was on the wire (pf.conf(5) `dup-to`).

use crate::firewall::rules::{Written, block, pass, ruleset};
use crate::firewall::{EM0, EM1, Firewall, SPANS, arrival, interfaces, mac, packet::Packet};
use engine::{Arrival, Created, Fate, InterfaceId, Unresolved};
use ruleset::{Reason, Rule};
use wire::Proto;

const SPAN3: InterfaceId = SPANS[0];
const SPAN4: InterfaceId = SPANS[1];
const SPAN5: InterfaceId = SPANS[2];

/// What a packet left: its own frame afterwards, and its copies.
struct Sent {
    arrived: Vec<u8>,
    left: Vec<u8>,
    fate: Fate,
    copies: Vec<(InterfaceId, Option<Unresolved>, Vec<u8>)>,
}

impl Sent {
    fn targets(&self) -> Vec<InterfaceId> {
        self.copies.iter().map(|(to, ..)| *to).collect()
    }
}

fn send(firewall: &mut Firewall, place: &str, text: &str) -> Sent {
    let arrival: Arrival = arrival(place);
    let arrived = Packet::parse(text).frame(mac(arrival.interface, 2), mac(arrival.interface, 1));
    let mut left = arrived.clone();
    let fate = firewall.decide(arrival, &mut left);
    Sent { arrived, left, fate, copies: firewall.copies() }
}

const SYN: &str = "10.0.0.2.40000 > 10.1.0.2.80 tcp S seq 1000";
const SYN_ACK: &str = "10.1.0.2.80 > 10.0.0.2.40000 tcp SA seq 9 ack 1001";
const ACK: &str = "10.0.0.2.40000 > 10.1.0.2.80 tcp A seq 1001 ack 10";
const QUERY: &str = "10.0.0.2.40000 > 10.1.0.2.53 udp";
const ANSWER: &str = "10.1.0.2.53 > 10.0.0.2.40000 udp";

/// `pass in; pass out on em1 dup-to @span3`.
fn copying_out() -> Vec<Rule> {
    vec![pass(), pass().outgoing().on("em1").dup_to("span3")]
}

#[test]
fn a_state_copies_both_directions_once_each() {
    let mut firewall = Firewall::with_spans(copying_out());
    for (place, text) in [("em0", SYN), ("em1", SYN_ACK), ("em0", ACK)] {
        let sent = send(&mut firewall, place, text);
        assert_eq!(sent.targets(), [SPAN3], "{text}");
        let wire = if place == "em0" { &sent.left } else { &sent.arrived };
        assert_eq!(&sent.copies[0].2, wire, "the bytes are those on em1's wire: {text}");
    }
    // Many more, the way that established connections go.
    for round in 0..200 {
        let sent = send(&mut firewall, "em0", ACK);
        assert_eq!((sent.targets(), sent.fate), (vec![SPAN3], Fate::Transmit(EM1)), "{round}");
    }
    assert_eq!(firewall.shard.counters().created(Created::Copy), 203);
    assert_eq!(firewall.shard.counters().dropped_in_all(), 0);
}

#[test]
fn n_queries_and_n_answers_give_two_n_copies() {
    let mut firewall =
        Firewall::with_spans(vec![pass(), pass().outgoing().on("em1").to_udp(53).dup_to("span3")]);
    let mut copies = 0;
    for _ in 0..50 {
        copies += send(&mut firewall, "em0", QUERY).copies.len();
        copies += send(&mut firewall, "em1", ANSWER).copies.len();
    }
    assert_eq!(copies, 100);
    assert!(send(&mut firewall, "em0", SYN).copies.is_empty(), "TCP is not mirrored by this rule");
}

#[test]
fn without_a_state_one_direction_is_copied() {
    let stateless = pass().proto(Proto::UDP).no_state();
    let mut firewall = Firewall::with_spans(vec![
        stateless.clone(),
        stateless.outgoing().on("em1").to_port(53).dup_to("span3"),
    ]);
    assert_eq!(send(&mut firewall, "em0", QUERY).targets(), [SPAN3]);
    assert!(send(&mut firewall, "em1", ANSWER).copies.is_empty());
}

#[test]
fn two_rules_with_one_target_give_one_copy_and_with_two_targets_two() {
    let rules = |second: &str| {
        vec![
            pass().outgoing(),
            pass().incoming().on("em0").dup_to("span3"),
            pass().outgoing().on("em1").dup_to(second),
        ]
    };
    let mut one = Firewall::with_spans(rules("span3"));
    let sent = send(&mut one, "em0", SYN);
    assert_eq!((sent.targets(), sent.fate), (vec![SPAN3], Fate::Transmit(EM1)));
    assert_eq!(sent.copies[0].2, sent.arrived, "the first hook has copied it");

    let mut two = Firewall::with_spans(rules("span4"));
    let sent = send(&mut two, "em0", SYN);
    assert_eq!((sent.targets(), sent.fate), (vec![SPAN3, SPAN4], Fate::Transmit(EM1)));
    assert_eq!((&sent.copies[0].2, &sent.copies[1].2), (&sent.arrived, &sent.left));
}

#[test]
fn copies_are_copied_on_and_a_cycle_ends() {
    let mut firewall = Firewall::with_spans(vec![
        pass(),
        pass().outgoing().on("em1").dup_to("span3"),
        pass().outgoing().on("span3").dup_to("span4"),
        pass().outgoing().on("span4").dup_to("span5"),
        pass().outgoing().on("span5").dup_to("span3"),
    ]);
    for (place, text) in [("em0", SYN), ("em1", SYN_ACK), ("em0", ACK)] {
        assert_eq!(send(&mut firewall, place, text).targets(), [SPAN3, SPAN4, SPAN5], "{text}");
    }
}

#[test]
fn copies_honour_block_on_their_target_and_make_no_states() {
    let mut rules = copying_out();
    rules.push(block().outgoing().on("span3").proto(Proto::TCP));
    let mut firewall = Firewall::with_spans(rules);
    let sent = send(&mut firewall, "em0", SYN);
    assert_eq!((sent.copies.len(), sent.fate), (0, Fate::Transmit(EM1)), "the original is not blocked");
    assert_eq!(firewall.dropped(Reason::Match), 1);
    assert_eq!(send(&mut firewall, "em0", QUERY).targets(), [SPAN3]);
    assert_eq!(firewall.lines().len(), 4, "two for each of the two connections:\n{}", firewall.dump());
    assert!(firewall.lines().iter().all(|line| !line.contains("span")));
}

#[test]
fn a_rule_that_keeps_state_passes_any_packet_that_is_a_copy() {
    let mut firewall = Firewall::with_spans(vec![
        block(),
        pass().incoming().on("em0"),
        pass().outgoing().on("em1").dup_to("span3"),
        pass().outgoing().on("span3"),
    ]);
    for (place, text) in [
        ("em0", SYN),
        ("em1", SYN_ACK),
        ("em0", ACK),
        ("em0", "10.0.0.2 > 10.1.0.2 icmp 8/0 id 7"),
        ("em1", "10.1.0.2 > 10.0.0.2 icmp 0/0 id 7"),
    ] {
        assert_eq!(send(&mut firewall, place, text).targets(), [SPAN3], "{text}");
    }
}

#[test]
fn what_a_hook_refuses_is_not_copied_there() {
    let mut firewall = Firewall::with_spans(vec![
        pass(),
        pass().incoming().on("em0").dup_to("span3"),
        block().outgoing().on("em1"),
    ]);
    let sent = send(&mut firewall, "em0", SYN);
    assert_eq!(sent.targets(), [SPAN3], "it passed the IN hook");
    assert_eq!(sent.fate, Fate::Drop(Reason::Match));
    firewall.load(ruleset(vec![block(), pass().outgoing().on("em1").dup_to("span3")]));
    assert!(send(&mut firewall, "em0", "10.0.0.3.1 > 10.1.0.2.2 udp").copies.is_empty());
}

#[test]
fn a_copy_waits_for_the_neighbour_with_its_original() {
    let mut firewall = Firewall::with_spans(copying_out());
    let sent = send(&mut firewall, "em0", "10.0.0.2.40000 > 10.1.0.77.80 tcp S seq 1000");
    let Fate::Hold { interface, next_hop } = sent.fate else { panic!("{:?}", sent.fate) };
    let [(to, unresolved, frame)] = &sent.copies[..] else { panic!("one copy: {:?}", sent.copies) };
    assert_eq!((*to, *unresolved), (SPAN3, Some(Unresolved { interface, next_hop })));
    assert_eq!(*frame, sent.left);
}

#[test]
fn what_the_host_sends_and_gets_is_copied_as_it_is() {
    let mut firewall = Firewall::with_spans(vec![pass(), pass().on("em0").dup_to("span3").any_flags()]);
    let sent = send(&mut firewall, "em0 host", "10.0.0.1.22 > 10.0.0.2.40000 udp");
    assert_eq!((sent.targets(), sent.fate), (vec![SPAN3], Fate::Transmit(EM0)));
    assert_eq!(sent.copies[0].2, sent.arrived);
    let sent = send(&mut firewall, "em0", "10.0.0.2.5 > 10.0.0.1.6 udp");
    assert_eq!((sent.targets(), sent.fate), (vec![SPAN3], Fate::Host(EM0)));
    assert_eq!(sent.copies[0].2, sent.arrived);
}

#[test]
fn a_target_that_is_no_span_port_is_refused() {
    let mut all = interfaces();
    all.push(engine::fib::Interface { name: "em3".into(), ..all[0].clone() });
    for (name, why) in [("em3", "is not a span port"), ("em9", "the dataplane has no port em9")] {
        let rules = ruleset(vec![pass().incoming().dup_to(name)]);
        let refused = engine::Root::compile(&rules, &all, None).expect_err(name);
        assert!(refused.to_string().contains(why), "{refused}");
    }
}
