//! Rules with `dup-to`, `route-to` and `reply-to` in any arrangement, of both families, with and without translation: what
//! becomes of a packet is decided in a bounded number of steps, one copy of it at most leaves by each interface, span port or
//! not, and no copy changes what becomes of the original.

use crate::firewall::packet::Packet;
use crate::firewall::rules::{Written, block, matching, pass};
use crate::firewall::{Firewall, SPANS, arrival, mac};
use engine::{Fate, InterfaceId};
use ruleset::{Reason, RoutingKind, Rule};
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
const GATEWAYS6: [&str; 3] = ["2001:db8::2@em0", "2001:db8:1::2@em1", "2001:db8:2::9@em2"];

/// What copies are for: three span ports, and hosts of which one is not there and one has no route.
const HOSTS: [&str; 6] =
    ["10.0.0.3@em0", "10.1.0.254", "10.2.0.2@em2", "10.2.0.2", "10.2.0.77@em2", "10.9.0.9"];

/// The most copies of a packet.
const COPIES_MAX: usize = 8;

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
    let two = |dice: &mut Dice| match dice.below(3) {
        0 => [dice.of(&GATEWAYS6), dice.of(&GATEWAYS6)],
        _ => [dice.of(&GATEWAYS), dice.of(&GATEWAYS)],
    };
    match dice.below(10) {
        0..=2 if is_pass => {
            let span = dice.of(&["span3", "span4", "span5"]);
            rule = rule.dup_to(span);
            if dice.below(4) == 0 { rule.no_state() } else { rule }
        }
        3..=5 if is_pass => {
            let hosts = [dice.of(&HOSTS), dice.of(&HOSTS)];
            rule = match dice.below(4) {
                0 => rule.dup_to_host(&[dice.of(&GATEWAYS6)]),
                1 => rule.dup_to_host(&hosts),
                _ => rule.dup_to_host(&hosts[..1]),
            };
            if dice.below(4) == 0 { rule.no_state() } else { rule }
        }
        6 | 7 if is_pass => rule.route_to(&two(dice)),
        8 if is_pass => rule.reply_to(&two(dice)[..1]),
        _ => rule,
    }
}

/// What is translated: sources of what leaves by one interface, destinations of what comes in by another.
fn translation(dice: &mut Dice) -> Rule {
    match dice.below(3) {
        0 => matching().outgoing().on("em1").nat_to("10.1.0.1", (50000, 50020)),
        1 => matching().incoming().on("em0").to("198.51.100.7").rdr_to("10.1.0.2", None),
        _ => matching().outgoing().on("em1").nat_to("2001:db8:1::1", (50000, 50020)),
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
    let host = 2 + dice.below(2);
    let (inside, outside) = match dice.below(3) {
        0 => (format!("2001:db8::{host}"), dice.of(&["2001:db8:1::2", "2001:db8:2::9"])),
        _ => (format!("10.0.0.{host}"), dice.of(&["198.51.100.7", "10.1.0.2", "10.2.0.2"])),
    };
    let port = 4000 + dice.below(3);
    let what =
        dice.of(&["udp", "udp len 800", "tcp S seq 1000", "tcp SA seq 9 ack 1001", "tcp A seq 1001 ack 10"]);
    match dice.below(2) {
        0 => (dice.of(&["em0", "em0 host"]), format!("{inside}.{port} > {outside}.80 {what}")),
        _ => (dice.of(&["em1", "em2"]), format!("{outside}.80 > {inside}.{port} {what}")),
    }
}

/// True for a fragment but the first: what is larger than an MTU leaves cut up.
fn is_later_piece(frame: &[u8]) -> bool {
    let header = wire::ipv4::Header::at(frame, wire::ethernet::HEADER_LEN).ok();
    let fragment = header.filter(|_| frame[12..14] == [0x08, 0]).and_then(|header| header.fragment());
    fragment.is_some_and(|fragment| fragment.offset > 0)
}

#[test]
fn one_copy_at_most_leaves_by_each_interface_and_originals_go_where_they_went_without() {
    let (mut copied, mut aside, mut several, mut routed, mut turned) = (0, 0, 0, 0, 0);
    for seed in 0..600 {
        let dice = &mut Dice(seed);
        let mut rules: Vec<Rule> = (0..1 + dice.below(10)).map(|_| rule(dice)).collect();
        if dice.below(2) == 0 {
            rules.insert(0, translation(dice));
        }
        let mut plain = Firewall::with_spans(without_copies(&rules));
        let mut firewall = Firewall::with_spans(rules.clone());
        for number in 0..60 {
            let (place, text) = packet(dice);
            let arrival = arrival(place);
            let mut original =
                Packet::parse(&text).frame(mac(arrival.interface, 2), mac(arrival.interface, 1));
            let mut alone = original.clone();
            let fate = firewall.decide(arrival, &mut original);
            let expected = plain.decide(arrival, &mut alone);
            let told = format!("seed {seed}, packet {number}: {place}: {text}");
            assert_eq!((fate, &original), (expected, &alone), "{told}\n{rules:#?}");
            assert!(!matches!(fate, Fate::Transmit(out) if SPANS.contains(&out)), "{told}");
            let copies = firewall.copies();
            let first = copies.iter().filter(|(_, _, frame)| !is_later_piece(frame));
            let mut targets: Vec<InterfaceId> = first.map(|(to, ..)| *to).collect();
            targets.sort_unstable();
            routed += targets.iter().filter(|to| !SPANS.contains(to)).count();
            several += usize::from(targets.len() > 1);
            copied += targets.len();
            let count = targets.len();
            targets.dedup();
            assert!(targets.len() == count && count <= COPIES_MAX, "{told}: it has left twice\n{rules:#?}");
            turned += usize::from(firewall.states().iter().any(|state| state.to_string().contains('(')));
            let led = plain.states().iter().any(|state| state.route.is_some());
            aside += usize::from(led && matches!(fate, Fate::Transmit(_)));
        }
        for reason in [Reason::NoBuffer, Reason::HandoffLimit] {
            assert_eq!(firewall.dropped(reason), 0);
        }
    }
    let told =
        format!("{copied} copies, {routed} routed, {several} of several, {aside} aside, {turned} translated");
    assert!(copied > 5000 && routed > 2000 && several > 500 && aside > 2000 && turned > 2000, "{told}");
}
