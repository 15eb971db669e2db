//! Rules with `dup-to`, `route-to` and `reply-to` in any arrangement: what becomes of a packet is decided in a bounded number of
//! steps, each port gets one copy of it at most, and no copy changes what becomes of the original.

mod shard;

use engine::{Fate, InterfaceId};
use ruleset::{Reason, RoutingKind, Rule};
use shard::packet::Packet;
use shard::rules::{Written, block, pass};
use shard::{Firewall, SPANS, arrival, mac};
use wire::Proto;

/// Random numbers that a seed repeats: SplitMix64.
struct Dice(u64);

impl Dice {
    fn below(&mut self, most: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let value = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let value = (value ^ value >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (value ^ value >> 31) as usize % most
    }

    fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }
}

const GATEWAYS: [&str; 4] = ["10.0.0.2@em0", "10.1.0.254@em1", "10.2.0.2@em2", "10.1.0.254"];

fn rule(dice: &mut Dice) -> Rule {
    let place = dice.of(&["em0", "em1", "em2", "span3", "span4", "span5", "egress", ""]);
    let base = if dice.below(12) == 0 { block() } else { pass().any_flags() };
    let is_pass = base.action == pass().action;
    let mut rule = if dice.below(2) == 0 { base.incoming() } else { base.outgoing() };
    if !place.is_empty() {
        rule = rule.on(place);
    }
    rule.quick = dice.below(6) == 0;
    if dice.below(3) == 0 {
        rule = rule.proto(Proto::UDP);
    }
    match dice.below(8) {
        0..=3 if is_pass => {
            let span = dice.of(&["span3", "span4", "span5"]);
            rule = rule.dup_to(span);
            if dice.below(4) == 0 { rule.no_state() } else { rule }
        }
        4 | 5 if is_pass => rule.route_to(&[dice.of(&GATEWAYS), dice.of(&GATEWAYS)]),
        6 if is_pass => rule.reply_to(&[dice.of(&GATEWAYS)]),
        _ => rule,
    }
}

/// The same rules, but nothing is copied.
fn without_copies(rules: &[Rule]) -> Vec<Rule> {
    let copies = |rule: &Rule| rule.routing.as_ref().is_some_and(|routing| routing.kind == RoutingKind::Dup);
    let plain =
        |rule: &Rule| if copies(rule) { Rule { routing: None, ..rule.clone() } } else { rule.clone() };
    rules.iter().map(plain).collect()
}

fn packet(dice: &mut Dice) -> (&'static str, String) {
    let inside = format!("10.0.0.{}", 2 + dice.below(2));
    let outside = dice.of(&["198.51.100.7", "10.1.0.2", "10.2.0.2"]);
    let port = 4000 + dice.below(3);
    let what = dice.of(&["udp", "tcp S seq 1000", "tcp SA seq 9 ack 1001", "tcp A seq 1001 ack 10"]);
    match dice.below(2) {
        0 => (dice.of(&["em0", "em0 host"]), format!("{inside}.{port} > {outside}.80 {what}")),
        _ => (dice.of(&["em1", "em2"]), format!("{outside}.80 > {inside}.{port} {what}")),
    }
}

#[test]
fn every_port_gets_one_copy_at_most_and_originals_go_where_they_went_without() {
    let (mut copied, mut aside, mut several) = (0, 0, 0);
    for seed in 0..400 {
        let dice = &mut Dice(seed);
        let rules: Vec<Rule> = (0..1 + dice.below(10)).map(|_| rule(dice)).collect();
        let mut plain = Firewall::with_spans(without_copies(&rules));
        let mut firewall = Firewall::with_spans(rules);
        for number in 0..60 {
            let (place, text) = packet(dice);
            let arrival = arrival(place);
            let mut original =
                Packet::parse(&text).frame(mac(arrival.interface, 2), mac(arrival.interface, 1));
            let mut alone = original.clone();
            let fate = firewall.decide(arrival, &mut original);
            let expected = plain.decide(arrival, &mut alone);
            let told = format!("seed {seed}, packet {number}: {place}: {text}");
            assert_eq!((fate, &original), (expected, &alone), "{told}");
            assert!(!matches!(fate, Fate::Transmit(out) if SPANS.contains(&out)), "{told}");
            let mut targets: Vec<InterfaceId> = firewall.copies().iter().map(|(to, ..)| *to).collect();
            targets.sort_unstable();
            several += usize::from(targets.len() > 1);
            copied += targets.len();
            let count = targets.len();
            targets.dedup();
            assert_eq!(targets.len(), count, "{told}: a port has got it twice");
            let led = firewall.states().iter().any(|state| state.route.is_some());
            aside += usize::from(led && matches!(fate, Fate::Transmit(_)));
        }
        for reason in [Reason::NoBuffer, Reason::HandoffLimit] {
            assert_eq!(firewall.dropped(reason), 0);
        }
    }
    assert!(copied > 5000 && several > 500 && aside > 2000, "{copied} copies, {several} of several, {aside}");
}
