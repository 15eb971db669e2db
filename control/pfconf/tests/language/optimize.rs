//! Optimized rulesets: shorter, in another order, and of the same meaning.

use std::net::{IpAddr, Ipv4Addr};

use crate::machine::read;
use pfconf::{Numbers, Optimize, print_rule};
use proptest::prelude::*;
use ruleset::{
    Action, AddressMatch, AddressPattern, Direction, FlagsMatch, LogOptions, PortMatch, Rule, Ruleset,
    StateMode,
};
use wire::{Af, Port, Proto, TcpFlags};

fn optimized(text: &str, level: Option<Optimize>) -> String {
    let (mut config, findings) = read(text);
    assert!(!findings.has_errors(), "{findings}{text}");
    config.optimize(level);
    config.print_rules(Numbers::Hidden)
}

fn basic(text: &str) -> String {
    optimized(text, Some(Optimize::Basic))
}

#[test]
fn the_level_is_that_of_the_call_else_of_the_ruleset_else_basic() {
    let twice = "pass in all no state\npass in all no state\n";
    let once = "pass in all no state\n";
    assert_eq!(optimized(twice, None), once);
    assert_eq!(optimized(twice, Some(Optimize::None)), twice);
    assert_eq!(optimized(twice, Some(Optimize::Profile)), once);
    let none = format!("set ruleset-optimization none\n{twice}");
    assert_eq!(optimized(&none, None), twice);
    assert_eq!(basic(&none), once);
}

#[test]
fn rules_that_another_covers_are_removed() {
    for (text, left) in [
        ("pass in on wan0 all no state\npass all no state\n", "pass all no state\n"),
        ("pass all no state\npass in on wan0 all no state\n", "pass all no state\n"),
        (
            "block in inet from 10.0.0.0/8 to any\nblock in inet from 10.1.0.0/16 to any\n",
            "block drop in inet from 10.0.0.0/8 to any\n",
        ),
        ("block proto tcp\nblock proto tcp to port 22\n", "block drop proto tcp all\n"),
        ("block proto tcp flags S/SA\nblock proto tcp\n", "block drop proto tcp all\n"),
    ] {
        assert_eq!(basic(text), left, "{text}");
    }
}

#[test]
fn what_stands_between_other_deeds_stays() {
    for text in [
        "pass in all no state\nblock drop in all\npass in all no state\n",
        "block drop in all\nblock drop in log all\nblock drop in all\n",
        "block drop in quick all\nblock drop in all\n",
        "pass in all no state\npass in all no state allow-opts\n",
        "pass in all no state label \"one\"\npass in all no state label \"one\"\n",
        // Nothing is known of which interfaces two groups have.
        "block drop in on egress all\nblock drop in on wan0 all\nblock drop in on egress all\n",
        "block drop in on ! wan0 all\nblock drop in on wan0 all\n",
    ] {
        assert_eq!(basic(text), text);
    }
}

/// Deviation: pf compares neither `set tos` nor the values of `scrub`, and takes these for copies of each other.
#[test]
fn rules_that_differ_in_one_part_both_stay() {
    let parts = [
        "flags S/SA",
        "flags S/SAFR",
        "rdr-to 192.0.2.1",
        "rdr-to 192.0.2.1 port 80",
        "rdr-to 192.0.2.1 port 81",
        "scrub (max-mss 1)",
        "scrub (max-mss 2)",
        "scrub (min-ttl 3)",
        "scrub (no-df max-mss 1)",
        "scrub (random-id)",
        "set (tos 0x10)",
        "set (tos 0x08)",
        "set (prio 3)",
        "set (prio(3, 4))",
        "set (queue q)",
        "set (delay 5)",
        "tag one",
        "tag two",
        "rtable 1",
        "rtable 2",
        "label \"x\"",
        "label \"y\"",
        "tos 0x10",
        "tos 0x08",
        "prio 1",
        "received-on wan0",
        "received-on lan0",
        "tagged one",
        "! tagged one",
        "fragment",
        "user = 1",
        "user != 1",
        "user > 1",
        "group = 1",
        "probability 50%",
        "max-pkt-rate 5/1",
        "log",
    ];
    for one in parts {
        for other in parts {
            if one == other {
                continue;
            }
            let rule = |part: &str| match part {
                "log" => "match in log inet proto tcp all\n".to_owned(),
                part => format!("match in inet proto tcp all {part}\n"),
            };
            let text = rule(one) + &rule(other);
            let queue = "queue q on wan0 bandwidth 1M default\n";
            let text = if text.contains("queue") { queue.to_owned() + &text } else { text };
            let left = basic(&text);
            assert_eq!(left.lines().filter(|line| !line.starts_with("queue")).count(), 2, "{text}");
        }
    }
}

#[test]
fn rules_that_differ_in_one_option_of_states_both_stay() {
    let parts = [
        "flags S/SA",
        "no state",
        "modulate state",
        "synproxy state",
        "allow-opts",
        "once",
        "route-to 192.0.2.1",
        "route-to 192.0.2.2",
        "route-to 192.0.2.1@wan0",
        "reply-to 192.0.2.1",
        "dup-to @span0",
        "dup-to @span1",
        "keep state (max 5)",
        "keep state (max 6)",
        "keep state (if-bound)",
        "keep state (sloppy)",
        "keep state (no-sync)",
        "keep state (pflow)",
        "keep state (tcp.first 5)",
        "keep state (tcp.first 6)",
        "keep state (tcp.opening 5)",
        "keep state (adaptive.start 5, adaptive.end 9)",
        "keep state (source-track rule)",
        "keep state (source-track global)",
        "keep state (max-src-states 3)",
        "keep state (max-src-nodes 3)",
        "keep state (max-src-conn 3)",
        "keep state (max-src-conn-rate 3/4)",
        "keep state (max-src-conn-rate 3/5)",
        "keep state (max-src-conn 3, overload <one>)",
        "keep state (max-src-conn 3, overload <two>)",
        "keep state (max-src-conn 3, overload <one> flush)",
        "keep state (max-src-conn 3, overload <one> flush global)",
    ];
    for (one, other) in parts.iter().flat_map(|one| parts.iter().map(move |other| (one, other))) {
        let text = format!("pass in inet proto tcp all {one}\npass in inet proto tcp all {other}\n");
        let left = if one == other { None } else { Some(2) };
        let lines = basic(&text).lines().count();
        assert!(left.is_none_or(|left| left == lines), "{text}");
    }
}

/// CVE-2026-4748: rules that differ in a range of addresses were taken for one.
#[test]
fn rules_that_differ_in_where_packets_go_both_stay() {
    let ends = [
        "from 10.0.0.1 - 10.0.0.5",
        "from 10.0.0.1 - 10.0.0.6",
        "from 10.0.0.2 - 10.0.0.6",
        "from ! 10.0.0.1 - 10.0.0.5",
        "from <one>",
        "from <two>",
        "from ! <one>",
        "from (wan0)",
        "from (lan0)",
        "from (wan0:network)",
        "from (wan0:0)",
        "from (wan0:broadcast)",
        "from any port 80",
        "from any port != 80",
        "from any port < 80",
        "from any port <= 80",
        "from any port 80:90",
        "from any port 80:91",
        "from any port 80 >< 90",
        "from any port 80 <> 90",
        "to any port 80",
        "to 10.0.0.1 - 10.0.0.5",
        "to <one>",
        "to no-route",
        "from no-route",
        "from urpf-failed",
    ];
    let tables = "table <one> persist\ntable <two> persist\n";
    let pairs = || ends.iter().flat_map(|one| ends.iter().map(move |other| (one, other)));
    let mut tried = 0;
    for (one, other) in pairs().filter(|(one, other)| one != other) {
        let text = format!(
            "{tables}block in inet proto tcp {one}\npass in inet proto tcp {one}\npass in inet proto tcp {other}\nblock in inet proto tcp {other}\n"
        );
        let (mut config, findings) = read(&text);
        if findings.has_errors() {
            continue;
        }
        tried += 1;
        config.optimize(Some(Optimize::Basic));
        let ruleset = config.lower().expect("valid");
        assert_eq!(ruleset.rules.len(), 4, "{text}");
        let mut printed: Vec<String> = ruleset.rules.iter().map(print_rule).collect();
        printed.sort();
        printed.dedup();
        assert_eq!(printed.len(), 4, "{text}");
    }
    assert!(tried > 400, "{tried}");
}

#[test]
fn six_rules_that_differ_in_one_address_share_a_table() {
    let list = |count: u8| -> String { (1..=count).map(|host| format!("192.0.2.{host} ")).collect() };
    let five = basic(&format!("block in inet from {{ {}}} to any\n", list(5)));
    assert_eq!(five.lines().count(), 5);
    for (text, rest) in [
        (format!("block in inet from {{ {}}} to any\n", list(6)), " to any"),
        (format!("block in inet from any to {{ {}}}\n", list(6)), ""),
    ] {
        let (mut config, _) = read(&text);
        config.optimize(Some(Optimize::Basic));
        let ruleset = config.lower().expect("valid");
        let [rule] = ruleset.rules.as_slice() else { panic!("{:?}", ruleset.rules) };
        let [table] = ruleset.tables.as_slice() else { panic!("{:?}", ruleset.tables) };
        assert!(table.name.starts_with("__automatic_") && table.constant);
        assert_eq!(table.entries.as_ref().map(Vec::len), Some(6));
        assert!(print_rule(rule).contains(&format!("<{}>{rest}", table.name)), "{}", print_rule(rule));
        let shown = format!("table <{}> const {{ {}}}\n", table.name, list(6));
        assert!(config.print_echo().ends_with(&shown), "{}", config.print_echo());
    }
}

/// Deviation: pf puts negated addresses into one table, which matches other packets, and takes a negated network for a
/// part of a negated smaller one.
#[test]
fn negated_addresses_stay() {
    let text: String =
        (1..=7).map(|host| format!("block drop in inet from ! 192.0.2.{host} to any\n")).collect();
    assert_eq!(basic(&text), text);
    let text = "block drop in inet from ! 10.0.0.0/8 to any\nblock drop in inet from ! 10.1.0.0/16 to any\n";
    assert_eq!(basic(text), text);
}

#[test]
fn rules_with_a_demand_in_common_come_together() {
    let text = "pass in inet proto tcp from any to 192.0.2.1 port = 22 no state\n\
                pass out inet proto udp from any to 192.0.2.2 port = 53 no state\n\
                pass in inet proto tcp from any to 192.0.2.3 port = 80 no state\n\
                pass out inet proto udp from any to 192.0.2.4 port = 123 no state\n\
                pass in inet proto tcp from any to 192.0.2.5 port = 443 no state\n";
    let order: Vec<String> = basic(text)
        .lines()
        .map(|line| line.split_whitespace().nth(1).unwrap_or_default().to_owned())
        .collect();
    assert_eq!(order, ["in", "in", "in", "out", "out"]);
}

#[test]
fn ten_thousand_rules_that_differ_stay() {
    let rule = |n: u32| {
        format!(
            "pass in inet proto tcp from 10.{}.{}.0/24 to 192.0.2.{} port {}\n",
            n / 256 % 256,
            n % 256,
            n % 7,
            n
        )
    };
    let text: String = (0..10_000).map(rule).collect();
    let (mut config, _) = read(&text);
    config.optimize(Some(Optimize::Basic));
    assert_eq!(config.lower().expect("valid").rules.len(), 10_000);
}

#[test]
fn a_block_of_too_many_rules_stays_as_it_is() {
    let text = "pass in all no state\n".repeat(16_384);
    assert_eq!(basic(&text).lines().count(), 1);
    let more = text + "pass in all no state\n";
    assert_eq!(basic(&more), more);
}

/// What a packet shows to the rules below.
#[derive(Clone, Copy, Debug)]
struct Packet {
    direction: Direction,
    interface: &'static str,
    proto: Proto,
    from: Ipv4Addr,
    to: Ipv4Addr,
    port: u16,
    flags: TcpFlags,
}

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Fate {
    action: Action,
    state: StateMode,
    log: LogOptions,
}

/// pf's evaluation, for the parts that the rules below have: the last match decides, or the first quick one.
fn fate(ruleset: &Ruleset, packet: &Packet) -> Option<Fate> {
    let mut decided = None;
    for rule in ruleset.rules.iter().filter(|rule| matches(ruleset, rule, packet)) {
        decided = Some(Fate { action: rule.action, state: rule.state, log: rule.log });
        if rule.quick {
            break;
        }
    }
    decided
}

fn matches(ruleset: &Ruleset, rule: &Rule, packet: &Packet) -> bool {
    let interface = rule.interface.as_ref().is_none_or(|interface| {
        let named =
            matches!(&interface.pattern, ruleset::InterfacePattern::Name(name) if name == packet.interface);
        named != interface.negated
    });
    let port = |port: PortMatch| port == PortMatch::Any || port.accepts(Port(packet.port));
    let flags = |flags: FlagsMatch| packet.proto != Proto::TCP || flags.accepts(packet.flags);
    rule.direction.is_none_or(|direction| direction == packet.direction)
        && interface
        && rule.af.is_none_or(|af| af == Af::Inet)
        && rule.proto.is_none_or(|proto| proto == packet.proto)
        && within(ruleset, &rule.from.address, packet.from)
        && within(ruleset, &rule.to.address, packet.to)
        && port(rule.to.port)
        && rule.flags.is_none_or(flags)
}

fn within(ruleset: &Ruleset, address: &AddressMatch, of: Ipv4Addr) -> bool {
    let of = IpAddr::V4(of);
    let found = match &address.pattern {
        AddressPattern::Any => true,
        AddressPattern::Net(net) => net.contains(&of),
        AddressPattern::Table(name) => {
            let entries = ruleset.table(name).and_then(|table| table.entries.as_ref());
            entries.is_some_and(|entries| entries.iter().any(|entry| entry.net.contains(&of)))
        }
        other => panic!("{other:?} is not made here"),
    };
    found != address.negated
}

const HOSTS: &[&str] = &[
    "any",
    "10.0.0.1",
    "10.0.0.2",
    "10.0.0.3",
    "10.0.0.4",
    "10.0.0.5",
    "10.0.0.6",
    "10.0.0.7",
    "10.0.0.0/30",
    "10.0.0.0/8",
    "! 10.0.0.1",
    "! 10.0.0.0/30",
    "! 10.0.0.0/8",
];

fn rule() -> impl Strategy<Value = String> {
    let word = |words: &'static [&'static str]| prop::sample::select(words);
    (
        word(&["pass", "pass", "block", "block return", "pass log"]),
        word(&["", "in", "out"]),
        word(&["", "", "quick"]),
        word(&["", "on wan0", "on lan0", "on ! wan0"]),
        word(&["proto tcp", "proto udp"]),
        word(HOSTS),
        word(HOSTS),
        word(&["", "port 22", "port 53", "port > 40"]),
        word(&["", "no state"]),
    )
        .prop_map(|(action, direction, quick, on, proto, from, to, port, state)| {
            let state = if action.starts_with("pass") { state } else { "" };
            let (action, log) = action.split_once(" log").map_or((action, ""), |(action, _)| (action, "log"));
            format!(
                "{action} {direction} {log} {quick} {on} inet {proto} from {from} to {to} {port} {state}\n"
            )
        })
}

fn packet() -> impl Strategy<Value = Packet> {
    let host = || {
        (prop::sample::select(&[9u8, 10][..]), 0..9u8).prop_map(|(net, host)| Ipv4Addr::new(net, 0, 0, host))
    };
    (
        prop::sample::select(&[Direction::In, Direction::Out][..]),
        prop::sample::select(&["wan0", "lan0"][..]),
        prop::sample::select(&[Proto::TCP, Proto::UDP][..]),
        host(),
        host(),
        prop::sample::select(&[22u16, 53, 80][..]),
        prop::sample::select(&[TcpFlags::SYN, TcpFlags(0x10)][..]),
    )
        .prop_map(|(direction, interface, proto, from, to, port, flags)| Packet {
            direction,
            interface,
            proto,
            from,
            to,
            port,
            flags,
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn optimized_rulesets_decide_alike(
        rules in prop::collection::vec(rule(), 1..40),
        packets in prop::collection::vec(packet(), 100),
    ) {
        let text = rules.concat();
        let (mut config, findings) = read(&text);
        prop_assert!(!findings.has_errors(), "{findings}{text}");
        let written = config.lower().expect("valid");
        config.optimize(Some(Optimize::Basic));
        let optimized = config.lower().expect("valid");
        prop_assert!(optimized.rules.len() <= written.rules.len());
        for packet in packets {
            prop_assert_eq!(
                fate(&written, &packet), fate(&optimized, &packet),
                "{:?}\n{}becomes\n{}", packet, text, config.print_rules(Numbers::Shown)
            );
        }
    }
}
