//! Packets that begin connections, and those that follow: the short ways leave what the long one leaves, whatever the rules are.
//!
//! A frame with a priority tag goes the long way, and is without it behind that: each packet is sent to two firewalls, to one of
//! them with such a tag.

use crate::firewall::packet::Packet;
use crate::firewall::rules::{Written, block, block_return, matching, pass, ruleset};
use crate::firewall::{Firewall, arrival, mac};
use engine::{Arrival, Fate, InterfaceId, Tick};
use ruleset::{
    Action, AddressPattern, InterfacePart, LogOptions, PoolKind, Rule, Scrub, SourceTracking, StateMode,
    StateOptions, Syncookies, Timeout, Tracking,
};
use wire::Proto;

/// Numbers that look random: xorshift.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 33) as usize % bound
    }

    fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }

    fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }
}

/// A rule of which most are plain, and few of any other kind.
fn rule(random: &mut Random) -> Rule {
    let mut rule = match random.below(8) {
        0 => block(),
        1 => block_return(),
        2 => matching(),
        _ => pass(),
    };
    if random.once_in(3) {
        rule = if random.once_in(2) { rule.incoming() } else { rule.outgoing() };
    }
    if random.once_in(4) {
        rule = rule.on(random.one_of(&["em0", "em1", "em2"]));
    }
    if random.once_in(4) {
        rule = rule.proto(random.one_of(&[Proto::TCP, Proto::UDP]));
    }
    if random.once_in(4) {
        rule = rule.to(random.one_of(&["10.1.0.0/24", "10.0.0.2", "10.2.0.0/16", "2001:db8:1::/64"]));
    }
    if random.once_in(5) {
        rule = rule.quick();
    }
    if rule.state == StateMode::Keep {
        rule = match random.below(20) {
            0 | 1 => rule.if_bound(),
            2 => rule.sloppy(),
            3 => rule.any_flags(),
            4 => rule.timeout(Timeout::TcpFirst, 7),
            5 => rule.no_state(),
            6 => rule.change(|rule| rule.state_options.max = 3),
            7 => rule.change(|rule| rule.once = true),
            8 => rule.proto(Proto::TCP).change(|rule| rule.state = StateMode::Modulate),
            9 => rule.proto(Proto::TCP).change(|rule| rule.state = StateMode::Synproxy),
            10 => rule.change(|rule| {
                let (track, max_states) = (Some(Tracking::Rule), 2);
                rule.state_options.source = SourceTracking { track, max_states, ..SourceTracking::default() };
            }),
            11 => rule.timeout(Timeout::AdaptiveStart, 1).timeout(Timeout::AdaptiveEnd, 4),
            _ => rule,
        };
    }
    match random.below(24) {
        0 => rule.tag("a"),
        1 => rule.tagged("a"),
        2 | 3 => rule.change(|rule| rule.log = LogOptions { enabled: true, ..LogOptions::default() }),
        4 => rule.change(|rule| rule.tos = Some(0x10)),
        5 => pass().incoming().route_to(&["10.1.0.254@em1"]),
        6 => pass().outgoing().on("em1").nat_to("10.1.0.1", (50_000, 50_010)),
        7 => rule.change(|rule| rule.scrub = Scrub { min_ttl: 100, max_mss: 1400, ..Scrub::default() }),
        8 => rule.change(|rule| rule.set_tos = Some(0xb8)),
        9 => rule.change(|rule| rule.prio = Some(random.one_of(&[3, 4]))),
        12 => rule.rtable(random.one_of(&[0, 2, 2, 7])),
        10 | 11 => rule.no_state().change(|rule| {
            (rule.action, rule.once, rule.routing) = (Action::Match, false, None);
            rule.state_options = StateOptions::default();
        }),
        _ => rule,
    }
}

fn packet(random: &mut Random) -> (&'static str, String) {
    let from = random.one_of(&["em0", "em0", "em1", "em2"]);
    let (source, destination) = match random.below(12) {
        0 => ("2001:db8::2", "2001:db8:1::2"),
        1 => ("10.0.0.2", "10.1.0.77"),
        2 => ("10.0.0.2", "203.0.113.5"),
        3 => ("10.0.0.2", "10.0.0.1"),
        4 => ("10.0.0.2", "198.51.100.9"),
        5 => ("10.0.0.3", "10.2.0.2"),
        _ => ("10.0.0.2", "10.1.0.2"),
    };
    let (source, destination) = if from == "em0" { (source, destination) } else { (destination, source) };
    let (client, server) = (40_000 + random.below(6), random.one_of(&[80, 53]));
    let (sport, dport) = if from == "em0" { (client, server) } else { (server, client) };
    let ends = format!("{source}.{sport} > {destination}.{dport}");
    let ttl = if random.once_in(30) { " ttl 1" } else { "" };
    let text = match random.below(8) {
        0..3 => format!("{ends} tcp S seq 1000 win 8192{ttl}"),
        3 => format!("{ends} tcp SA seq 5000 ack 1001 win 8192{ttl}"),
        4 => format!("{ends} tcp A seq 1001 ack 5001 win 8192 len {}{ttl}", random.one_of(&[0, 10, 700])),
        5 => format!("{ends} tcp {} seq 1001 ack 5001 win 8192{ttl}", random.one_of(&["R", "FA", "SF", "P"])),
        _ => format!("{ends} udp len {}{ttl}", random.one_of(&[8, 700])),
    };
    (from, text)
}

/// A frame as it left, turned round: what comes to where it went, if its ends changed places.
fn answer(frame: &[u8], out: InterfaceId) -> Vec<u8> {
    let mut frame = frame.to_vec();
    frame[..6].copy_from_slice(&mac(out, 1).0);
    frame[6..12].copy_from_slice(&mac(out, 2).0);
    let (ends, octets) = if frame[12..14] == [8, 0] { (26, 4) } else { (22, 16) };
    frame[ends..ends + 2 * octets].rotate_left(octets);
    let ports = ends + 2 * octets;
    frame[ports..ports + 4].rotate_left(2);
    frame
}

/// All that a firewall tells of itself; where packets have followed others, not how often states were sought for them: on the
/// short way they are found once for both hooks, on the long one twice where some states are bound to interfaces.
fn everything(firewall: &mut Firewall, has_followed: bool) -> String {
    let logged: Vec<String> =
        std::iter::from_fn(|| firewall.shard.take_log()).map(|record| format!("{record:?}")).collect();
    let (half_open, states) = (firewall.shard.half_open(), firewall.shard.states());
    let (counters, usage) = (format!("{:#?}", firewall.shard.counters()), firewall.usage());
    let counters = counters.lines().filter(|line| !has_followed || !line.contains(" searches: "));
    let counters: Vec<&str> = counters.collect();
    format!("{half_open} of {states}\n{}{}\n{usage:?}\n{logged:?}", firewall.dump(), counters.join("\n"))
}

/// Rules of which many give packets other sources: of one address and of several, of few ports and of many, at once and in the
/// end, one after the other, with ports that stay, and with addresses that are remembered.
fn translating_rule(random: &mut Random) -> Rule {
    let ports = random.one_of(&[(50_000, 50_002), (50_000, 50_010), (1024, 65_535)]);
    let net = random.one_of(&["10.1.0.1", "10.1.0.8/30", "10.2.0.1", "2001:db8:1::1"]);
    let begun = match random.below(8) {
        0 | 1 => matching(),
        2 | 3 => pass(),
        4 => pass().if_bound(),
        5 => pass().sloppy(),
        _ => return rule(random),
    };
    let begun = if random.once_in(6) { begun.incoming() } else { begun.outgoing() };
    let begun = if random.once_in(3) { begun } else { begun.on(random.one_of(&["em1", "em2"])) };
    let nat = begun.nat_to(net, ports);
    match random.below(12) {
        0 => nat.change(|rule| {
            if let Some(pool) = &mut rule.nat {
                (pool.static_port, pool.ports) = (true, None);
            }
        }),
        1 => nat.change(|rule| {
            if let Some(pool) = &mut rule.nat {
                pool.sticky = true;
            }
        }),
        2 => nat.tag("a"),
        3 => nat.quick(),
        4 => nat.change(|rule| rule.log = LogOptions { enabled: true, ..LogOptions::default() }),
        5 => nat.change(|rule| {
            if let Some(pool) = &mut rule.nat {
                pool.endpoint_independent = true;
            }
        }),
        6 | 7 => nat.change(|rule| {
            if let Some(pool) = &mut rule.nat {
                let (name, part) = (random.one_of(&["em1", "em2"]).into(), InterfacePart::Own);
                let no_alias = random.once_in(2);
                pool.address = AddressPattern::Interface { name, part, no_alias, prefix: None };
                pool.kind = Some(PoolKind::RoundRobin);
            }
        }),
        _ => nat,
    }
}

#[test]
fn both_ways_leave_the_same() {
    let made = compare_both_ways(400, rule);
    assert!(made > 5_000, "{made} packets were forwarded");
}

#[test]
fn both_ways_leave_the_same_where_sources_are_replaced() {
    let made = compare_both_ways(400, translating_rule);
    assert!(made > 5_000, "{made} packets were forwarded");
}

/// Sends packets to two firewalls with rules of that kind, by seeds below so many, and returns how many were forwarded.
fn compare_both_ways(seeds: u64, rule: fn(&mut Random) -> Rule) -> usize {
    let mut made = 0;
    for seed in 1..seeds {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let rules: Vec<Rule> = (0..1 + random.below(6)).map(|_| rule(&mut random)).collect();
        let mut rules = ruleset(rules);
        if random.once_in(20) {
            rules.options.skip = vec!["em1".into()];
        }
        if random.once_in(20) {
            rules.options.syncookies = Syncookies::Always;
        }
        let [mut short, mut long] = [(); 2].map(|()| {
            let mut firewall = Firewall::bare();
            firewall.load(rules.clone());
            firewall
        });
        let mut has_followed = false;
        for _ in 0..60 {
            let (from, text) = packet(&mut random);
            let arrival = arrival(from);
            let frame = Packet::parse(&text).frame(mac(arrival.interface, 2), mac(arrival.interface, 1));
            let mut went = vec![(from.to_owned(), arrival, frame)];
            while let Some((from, arrival, frame)) = went.pop() {
                let (mut plain, mut tagged) =
                    (frame.clone(), [&frame[..12], &[0x81, 0, 0x60, 0], &frame[12..]].concat());
                let fates = [short.decide(arrival, &mut plain), long.decide(arrival, &mut tagged)];
                let context = || format!("{seed}: {from}: {text}\n{:#?}", rules.rules);
                assert_eq!(fates[0], fates[1], "{}", context());
                assert_eq!(plain, tagged, "{}", context());
                let [own, other] = [&mut short, &mut long].map(|firewall| everything(firewall, has_followed));
                assert!(own == other, "{}\n{own}\n{other}", context());
                let Fate::Transmit(out) = fates[0] else { continue };
                made += 1;
                if random.once_in(3) {
                    has_followed = true;
                    went.push((
                        "an answer".into(),
                        Arrival { interface: out, ..arrival },
                        answer(&plain, out),
                    ));
                }
            }
            let pause = Tick::from_millis(if random.once_in(10) { 20_000 } else { 10 });
            for firewall in [&mut short, &mut long] {
                firewall.now = firewall.now + pause;
            }
        }
    }
    made
}
