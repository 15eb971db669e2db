//! What the oracle has rules change of packets.

mod oracle_support;

use oracle_support::{CLIENT, INSIDE, OUTSIDE, SERVER, oracle, pass_any_flags, rules, udp};
use ruleset::{Action, Direction, Rule, Scrub, SetPrio};
use sim::oracle::{Deviations, From, Onward, Oracle, Packet, Verdict};

fn matching(min_ttl: u8, tos: Option<u8>) -> Rule {
    let scrub = Scrub { min_ttl, ..Scrub::default() };
    Rule { action: Action::Match, direction: Some(Direction::In), scrub, set_tos: tos, ..Rule::default() }
}

fn sent(oracle: &mut Oracle, packet: &Packet, from: From, to: Onward) -> (u8, u8) {
    let mut packet = packet.clone();
    assert_eq!(oracle.change(&mut packet, from, to, 0), Verdict::Pass);
    (packet.ttl, packet.tos)
}

fn query(ttl: u8, tos: u8) -> Packet {
    Packet { ttl, tos, ..udp(CLIENT, 5353, SERVER, 53) }
}

const OUT: (From, Onward) = (From::Interface(INSIDE), Onward::Interface(OUTSIDE));
const BACK: (From, Onward) = (From::Interface(OUTSIDE), Onward::Interface(INSIDE));

#[test]
fn a_state_changes_packets_of_both_directions_and_outlives_its_rules() {
    let list = vec![matching(100, Some(0x10)), matching(90, None), pass_any_flags()];
    let mut pf = oracle(rules(list), Deviations::NONE);
    assert_eq!(sent(&mut pf, &query(64, 3), OUT.0, OUT.1), (89, 0x13), "what is named last holds");
    let answer = Packet { ttl: 7, ..udp(SERVER, 53, CLIENT, 5353) };
    assert_eq!(sent(&mut pf, &answer, BACK.0, BACK.1), (90, 0x10), "behind the hop that is taken off");
    pf.load(rules(vec![pass_any_flags()])).unwrap();
    assert_eq!(sent(&mut pf, &query(200, 0), OUT.0, OUT.1), (199, 0x10));
}

#[test]
fn without_a_state_only_the_deciding_rule_changes_a_packet_unless_it_deviates() {
    let stateless = Rule { set_tos: Some(0xb8), ..Rule::default() };
    for (deviations, expected) in [(Deviations::NONE, (63, 0xb8)), (Deviations::ALL, (99, 0xb8))] {
        let mut pf = oracle(rules(vec![matching(100, Some(0x10)), stateless.clone()]), deviations);
        assert_eq!(sent(&mut pf, &query(64, 0), OUT.0, OUT.1), expected);
    }
}

#[test]
fn the_priority_that_is_set_is_the_one_that_is_asked_for_on_the_way_out() {
    let set = |bulk, urgent| Rule {
        direction: Some(Direction::In),
        set_prio: Some(SetPrio { bulk, urgent }),
        ..Rule::default()
    };
    let marked =
        Rule { direction: Some(Direction::Out), prio: Some(6), set_tos: Some(0xff), ..Rule::default() };
    for (rule, tos, matches) in
        [(set(6, 1), 0, true), (set(6, 1), 0x10, false), (set(1, 6), 0, false), (set(1, 6), 0x10, true)]
    {
        let mut pf = oracle(rules(vec![rule, marked.clone()]), Deviations::NONE);
        let (_, left) = sent(&mut pf, &query(64, tos), OUT.0, OUT.1);
        assert_eq!(left == 0xff, matches);
    }
    let usual = Rule { prio: Some(3), set_tos: Some(0xff), ..Rule::default() };
    let mut pf = oracle(rules(vec![usual]), Deviations::NONE);
    assert_eq!(sent(&mut pf, &query(64, 0), OUT.0, OUT.1).1, 0xff);
}
