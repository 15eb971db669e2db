//! Packets that begin connections, and those that follow: the short ways leave what the long one leaves, whatever the rules are.
//!
//! A frame with a priority tag goes the long way, and is without it behind that: each packet is sent to two firewalls, to one of
//! them with such a tag.

use crate::firewall::rules::{Written, block, block_return, matching, pass, ruleset};
use crate::firewall::team::arriving;
use crate::firewall::{EM1, Firewall, interfaces, ip, mac, neighbors, routes};
use engine::fib::{Fib, Neighbor, NextHop, Route, RouteEntry};
use engine::{Arrival, Fate, InterfaceId, Tick, WorkerId};
use ruleset::{
    Action, AddressPattern, FirstMatch, InterfacePart, LogOptions, Pool, PoolKind, Reason, Rule, Scrub,
    SourceTracking, StateMode, StateOptions, Syncookies, Timeout, Tracking, Translating,
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
    let ttl = if random.once_in(30) { " ttl 1" } else { random.one_of(&["", "", " df", " ident 7 tos 3"]) };
    let text = match random.below(8) {
        0..3 => format!("{ends} tcp S seq 1000 win 8192{ttl}"),
        3 => format!("{ends} tcp SA seq 5000 ack 1001 win 8192{ttl}"),
        4 => format!("{ends} tcp A seq 1001 ack 5001 win 8192 len {}{ttl}", random.one_of(&[0, 10, 700])),
        5 => format!("{ends} tcp {} seq 1001 ack 5001 win 8192{ttl}", random.one_of(&["R", "FA", "SF", "P"])),
        _ => format!("{ends} udp len {}{ttl}", random.one_of(&[8, 700])),
    };
    (from, text)
}

/// True if both ends of a frame are one: it is dropped wherever it comes in, but perhaps by its owner.
fn goes_to_its_sender(frame: &[u8]) -> bool {
    let (ends, octets) = if frame[12..14] == [8, 0] { (26, 4) } else { (22, 16) };
    frame[ends..ends + octets] == frame[ends + octets..ends + 2 * octets]
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

/// All that a firewall tells of itself, and to other workers; where packets have followed others, not how often states were sought
/// for them: on the short way they are found once for both hooks, on the long one twice where some states are bound to
/// interfaces.
fn everything(firewall: &mut Firewall, has_followed: bool) -> String {
    let logged: Vec<String> =
        std::iter::from_fn(|| firewall.shard.take_log()).map(|record| format!("{record:?}")).collect();
    let (half_open, states) = (firewall.shard.half_open(), firewall.shard.states());
    let (counters, usage) = (format!("{:#?}", firewall.shard.counters()), firewall.usage());
    let counters = counters.lines().filter(|line| !has_followed || !line.contains(" searches: "));
    let counters: Vec<&str> = counters.collect();
    let mut notices = String::new();
    while let Some(notice) = firewall.shard.notice() {
        notices += &format!("{notice:?}\n");
        firewall.shard.noticed();
    }
    let rest = format!("{usage:?}\n{logged:?}\n{notices}");
    format!("{half_open} of {states}\n{}{}\n{rest}", firewall.dump(), counters.join("\n"))
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
    let nat =
        begun.nat_to(net, ports).change(|rule| rule.nat = rule.nat.take().map(|pool| chosen(random, pool)));
    match random.below(13) {
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
        8 if net == "10.1.0.8/30" => nat.from("10.0.0.0/29").change(|rule| {
            if let Some(pool) = &mut rule.nat {
                (pool.kind, pool.port_block) = (None, Some(1));
            }
        }),
        _ => nat,
    }
}

/// A pool that chooses in any way.
fn chosen(random: &mut Random, pool: Pool) -> Pool {
    let kinds = [
        PoolKind::Bitmask,
        PoolKind::Random,
        PoolKind::SourceHash([7, 8, 9, 10]),
        PoolKind::RoundRobin,
        PoolKind::LeastStates,
    ];
    let kind = kinds[random.below(kinds.len())].clone();
    Pool { kind: if random.once_in(3) { None } else { Some(kind) }, ..pool }
}

/// Rules of which many give packets other destinations, where they come in: at once and in the end, one after the other, and of
/// which some give them other sources where they leave.
fn redirecting_rule(random: &mut Random) -> Rule {
    if random.once_in(3) {
        return translating_rule(random);
    }
    let net =
        random.one_of(&["10.1.0.2", "10.1.0.0/30", "10.2.0.2", "10.0.0.3", "10.0.0.2", "2001:db8:1::2"]);
    let ports = random.one_of(&[None, Some((80, 80)), Some((8000, 8010))]);
    let begun = match random.below(6) {
        0 | 1 => matching(),
        2 | 3 => pass(),
        4 => pass().if_bound(),
        _ => return rule(random),
    };
    let begun = if random.once_in(3) { begun } else { begun.on(random.one_of(&["em0", "em1"])) };
    let begun = match ports {
        None if random.once_in(2) => begun,
        _ => begun.proto(random.one_of(&[Proto::TCP, Proto::UDP])).to_port(random.one_of(&[80, 53])),
    };
    let rdr = begun.incoming().rdr_to(net, ports);
    let rdr = rdr.change(|rule| rule.rdr = rule.rdr.take().map(|pool| chosen(random, pool)));
    match random.below(8) {
        0 => rdr.change(|rule| {
            if let Some(pool) = &mut rule.rdr {
                pool.sticky = true;
            }
        }),
        1 => rdr.quick(),
        2 => rdr.tag("a"),
        _ => rdr,
    }
}

/// Rules of which many change what stands in headers, and some give packets other ends.
fn scrubbing_rule(random: &mut Random) -> Rule {
    let begun = match random.below(3) {
        0 => return redirecting_rule(random),
        1 => matching(),
        _ => pass(),
    };
    let begun = match random.below(3) {
        0 => begun,
        1 => begun.incoming(),
        _ => begun.outgoing(),
    };
    let scrub = Scrub {
        no_df: random.once_in(2),
        random_id: random.once_in(2),
        min_ttl: random.one_of(&[0, 0, 64, 100]),
        max_mss: random.one_of(&[0, 1400]),
        reassemble_tcp: random.once_in(12),
    };
    let tos = random.one_of(&[None, Some(0), Some(0xb8)]);
    begun.change(|rule| (rule.scrub, rule.set_tos) = (scrub, tos))
}

#[test]
fn both_ways_leave_the_same() {
    let made = compare_both_ways(400, 1, rule);
    assert!(made > 5_000, "{made} packets were forwarded");
}

#[test]
fn both_ways_leave_the_same_where_sources_are_replaced() {
    let made = compare_both_ways(400, 1, translating_rule);
    assert!(made > 5_000, "{made} packets were forwarded");
}

#[test]
fn both_ways_leave_the_same_where_destinations_are_replaced() {
    let made = compare_both_ways(300, 1, redirecting_rule);
    assert!(made > 5_000, "{made} packets were forwarded");
}

#[test]
fn both_ways_leave_the_same_where_headers_are_changed() {
    let made = compare_both_ways(300, 1, scrubbing_rule);
    assert!(made > 5_000, "{made} packets were forwarded");
}

/// What is translated to a tuple of another worker's home is made known to that.
#[test]
fn both_ways_leave_the_same_beside_another_worker() {
    let made = compare_both_ways(300, 2, redirecting_rule);
    assert!(made > 1_000, "{made} packets were forwarded");
}

#[test]
fn redirected_packets_are_not_forwarded_to_an_address_of_a_link() {
    let route = RouteEntry {
        prefix: ip("fe80::"),
        length: 64,
        route: Route::Forward(vec![NextHop { interface: EM1, gateway: None, mtu: None }]),
    };
    let neighbor = Neighbor { interface: EM1, address: ip("fe80::2"), mac: mac(EM1, 2) };
    let (routes, neighbors) = ([routes(), vec![route]].concat(), [neighbors(), vec![neighbor]].concat());
    let fib = Fib::new(1, interfaces(), routes, neighbors);
    for (server, fate) in [("fe80::2", Fate::Drop(Reason::LinkScope)), ("2001:db8:1::2", Fate::Transmit(EM1))]
    {
        let mut firewall = Firewall::bare();
        firewall.fib = fib.clone();
        firewall.load(ruleset(vec![
            pass().incoming().proto(Proto::TCP).to_port(80).rdr_to(server, None),
            pass().outgoing(),
        ]));
        let (arrival, mut frame) =
            arriving("em0", "2001:db8::2.40000 > 2001:db8:1::77.80 tcp S seq 1000 win 8192");
        assert_eq!(firewall.decide(arrival, &mut frame), fate, "{server}");
    }
}

/// The first segment of a client behind em0.
fn syn(port: u16) -> (Arrival, Vec<u8>) {
    arriving("em0", &format!("10.0.0.2.40000 > 10.1.0.77.{port} tcp S seq 1000 win 8192"))
}

/// Both states of a redirected connection remember the `match` rules that their packet met, where there are no numbers left for
/// those but what others had.
#[test]
fn both_ways_leave_the_same_where_all_terms_were_in_use() {
    let [mut short, mut long] = [(); 2].map(|()| Firewall::of(WorkerId(0), 1, 256));
    let ports = 1000..1064;
    let redirecting = vec![
        matching().incoming().proto(Proto::TCP).rdr_to("10.1.0.2", None),
        matching().outgoing().on("em1"),
        pass(),
    ];
    for firewall in [&mut short, &mut long] {
        // As many as a shard has, of which each was some rule's.
        for _ in 0..64 {
            let asking = ports.clone().map(|port| matching().incoming().proto(Proto::TCP).to_port(port));
            firewall.load(ruleset(asking.chain([pass()]).collect()));
            for port in ports.clone() {
                let (arrival, mut frame) = syn(port);
                // To a neighbour that is not known: the states are made all the same.
                let _ = firewall.decide(arrival, &mut frame);
            }
            firewall.now = firewall.now + Tick::from_secs(100_000);
            firewall.sweep();
            assert_eq!(firewall.shard.states(), 0);
        }
        firewall.load(ruleset(redirecting.clone()));
    }
    let (arrival, mut plain) = syn(80);
    let mut tagged = plain.clone();
    tagged.splice(12..12, [0x81, 0, 0x60, 0]);
    let fates = [short.decide(arrival, &mut plain), long.decide(arrival, &mut tagged)];
    assert_eq!(fates, [Fate::Transmit(EM1); 2]);
    let [own, other] = [&mut short, &mut long].map(|firewall| everything(firewall, false));
    assert!(own == other, "{own}\n{other}");
}

#[test]
fn each_connection_takes_the_turn_of_its_address() {
    let rules = ruleset(vec![
        pass().incoming(),
        pass().outgoing().nat_to("10.1.0.8/30", (1024, 65_535)).change(|rule| {
            if let Some(pool) = &mut rule.nat {
                pool.kind = Some(PoolKind::RoundRobin);
            }
        }),
    ]);
    let mut firewall = Firewall::bare();
    firewall.load(rules);
    let sources = (0..8).map(|number| {
        let (arrival, mut frame) =
            arriving("em0", &format!("10.0.0.2.{} > 10.1.0.2.80 tcp S seq 1000 win 8192", 40_000 + number));
        assert_eq!(firewall.decide(arrival, &mut frame), Fate::Transmit(EM1));
        frame[29]
    });
    assert_eq!(sources.collect::<Vec<u8>>(), [8, 9, 10, 11, 8, 9, 10, 11]);
}

/// Makes a rule that translates, or that has others not do so, the only one of its kind for the packets that it matches.
fn be_the_first(rule: &mut Rule) {
    if rule.action == Action::Match {
        let ruleset = if rule.rdr.is_some() { Translating::Rdr } else { Translating::Nat };
        rule.first_match = Some(FirstMatch { ruleset, exempt: rule.nat.is_none() && rule.rdr.is_none() });
    }
}

/// Sends packets to two firewalls with rules of that kind, by seeds below so many, each one of so many workers, and returns how
/// many were forwarded.
fn compare_both_ways(seeds: u64, workers: u16, rule: fn(&mut Random) -> Rule) -> usize {
    let mut made = 0;
    for seed in 1..seeds {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let rules = (0..1 + random.below(6)).map(|_| rule(&mut random));
        let mut rules: Vec<Rule> = rules.collect();
        if random.once_in(4) {
            rules.iter_mut().for_each(be_the_first);
        }
        let mut rules = ruleset(rules);
        if random.once_in(20) {
            rules.options.skip = vec!["em1".into()];
        }
        if random.once_in(20) {
            rules.options.syncookies = Syncookies::Always;
        }
        let [mut short, mut long] = [(); 2].map(|()| {
            let mut firewall = Firewall::of(WorkerId(0), workers, 64);
            firewall.entropy.step = 0x9e37_79b9_7f4a_7c15 ^ seed << 1;
            firewall.load(rules.clone());
            firewall
        });
        let mut has_followed = false;
        for _ in 0..60 {
            let (from, text) = packet(&mut random);
            let (arrival, frame) = arriving(from, &text);
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
                if random.once_in(3) && !goes_to_its_sender(&plain) {
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
