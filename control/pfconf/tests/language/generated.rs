//! Rules made at random from every part that the dataplane knows: what is accepted is valid, prints what it means,
//! and two rules that differ are never taken for one.

use std::collections::HashMap;

use crate::machine::interfaces;
use pfconf::{Dialect, Isolated, Numbers, compile, print_rule};
use proptest::prelude::*;
use ruleset::Rule;

fn one_of(words: &'static [&'static str]) -> impl Strategy<Value = String> {
    prop::sample::select(words).prop_map(str::to_owned)
}

/// Often nothing, else one of these.
fn maybe(words: &'static [&'static str]) -> impl Strategy<Value = String> {
    prop_oneof![2 => Just(String::new()), 3 => one_of(words)]
}

fn host() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("any".to_owned()),
        any::<[u8; 4]>().prop_map(|[a, b, c, d]| format!("{a}.{b}.{c}.{d}")),
        (any::<[u8; 4]>(), 0..=32u8).prop_map(|([a, b, c, d], bits)| format!("{a}.{b}.{c}.{d}/{bits}")),
        (any::<[u16; 3]>(), 0..=128u8).prop_map(|([a, b, c], bits)| format!("{a:x}:{b:x}::{c:x}/{bits}")),
        (any::<u8>(), any::<u8>()).prop_map(|(a, b)| format!("192.0.2.{} - 192.0.2.{}", a.min(b), a.max(b))),
        one_of(&[
            "<bad>",
            "(wan0)",
            "(wan0:network)",
            "(lan0:0)",
            "(em7)/24",
            "wan0",
            "lan0:network",
            "self"
        ]),
        one_of(&[
            "no-route",
            "urpf-failed",
            "{ 192.0.2.1 2001:db8::1 <bad> }",
            "egress:broadcast",
            "localhost"
        ]),
    ]
}

fn endpoint() -> impl Strategy<Value = String> {
    let port = prop_oneof![
        4 => Just(String::new()),
        1 => any::<u16>().prop_map(|port| format!("port {port}")),
        1 => (one_of(&["=", "!=", "<", "<=", ">", ">="]), any::<u16>()).prop_map(|(op, port)| format!("port {op} {port}")),
        1 => (any::<u16>(), one_of(&["><", "<>"]), any::<u16>()).prop_map(|(a, op, b)| format!("port {a} {op} {b}")),
        1 => (any::<u16>(), any::<u16>()).prop_map(|(a, b)| format!("port {a}:{b}")),
        1 => one_of(&["port { ssh https }", "port domain"]),
    ];
    (one_of(&["", "! "]), host(), port).prop_map(|(not, host, port)| {
        let not = if host == "any" || host.starts_with('{') { "" } else { &not };
        format!("{not}{host} {port}")
    })
}

fn options() -> impl Strategy<Value = String> {
    let flags = maybe(&["flags S/SA", "flags any", "flags /FSRA", "flags SA/SA"]);
    let state = maybe(&[
        "no state",
        "keep state",
        "keep state (if-bound)",
        "keep state (sloppy, floating)",
        "keep state (tcp.established 60, udp.first 5)",
        "keep state (no-sync)",
    ]);
    let rest = maybe(&[
        "allow-opts",
        "fragment",
        "label \"$if:$srcaddr:$dstport\"",
        "label x tag y",
        "tagged z",
        "! tagged \"two words\"",
        "icmp-type echoreq",
        "icmp-type { unreach code needfrag timex }",
        "icmp6-type 128 code 0",
    ]);
    (flags, state, rest).prop_map(|(flags, state, rest)| format!("{flags}  {rest}  {state}"))
}

fn rule() -> impl Strategy<Value = String> {
    let action = one_of(&[
        "pass",
        "pass",
        "pass",
        "block",
        "block drop",
        "block return",
        "block return-rst",
        "block return-rst(ttl 9)",
        "block return-icmp(net-unr)",
        "block return-icmp6",
        "match",
    ]);
    let path = (
        maybe(&["in", "out"]),
        maybe(&["log", "log (all)", "log (matches, to pflog0)"]),
        maybe(&["quick"]),
        maybe(&["on wan0", "on ! lan0", "on any", "on { em0 em1 }", "on egress"]),
    );
    let protocol = (
        maybe(&["inet", "inet6"]),
        maybe(&["proto tcp", "proto udp", "proto { tcp udp }", "proto icmp", "proto icmp6", "proto 47"]),
    );
    let careful = prop::bool::weighted(0.8);
    (action, path, protocol, endpoint(), endpoint(), options(), careful).prop_map(
        |(action, (direction, log, quick, on), (af, proto), from, to, options, careful)| {
            let parts =
                [action, direction, log, quick, on, af, proto, format!("from {from} to {to}"), options];
            if careful { sensible(parts) } else { parts.join(" ") + "\n" }
        },
    )
}

/// The same without what most often makes a rule of these parts impossible.
fn sensible([action, direction, log, quick, on, af, proto, mut hosts, mut options]: [String; 9]) -> String {
    if !proto.contains("tcp") && !proto.contains("udp") {
        hosts = hosts
            .split(" to ")
            .map(|end| end.split(" port ").next().unwrap_or_default())
            .collect::<Vec<_>>()
            .join(" to ");
    }
    let wrong = |word: &str| match word.split_whitespace().next().unwrap_or_default() {
        "keep" | "no" | "allow-opts" => action != "pass",
        "icmp-type" => proto != "proto icmp" || af != "inet",
        "icmp6-type" => proto != "proto icmp6" || af != "inet6",
        "fragment" => hosts.contains(" port ") || options.contains("flags"),
        "flags" => !proto.contains("tcp") && !proto.is_empty(),
        _ => false,
    };
    options = options.split("  ").filter(|part| !wrong(part)).collect::<Vec<_>>().join(" ");
    format!("{action} {direction} {log} {quick} {on} {af} {proto} {hosts} {options}\n")
}

/// All that a rule decides, without where it stands.
fn meaning(rule: &Rule) -> Rule {
    Rule { identity: 0, source: ruleset::SourceLine::default(), ..rule.clone() }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn what_is_accepted_is_valid_and_prints_what_it_means(rule in rule()) {
        let Ok(ruleset) = compile(&rule, &interfaces()) else { return Ok(()) };
        prop_assert_eq!(ruleset.validate(), Ok(()));
        let shown: String = ruleset.rules.iter().map(|rule| print_rule(rule) + "\n").collect();
        let again = compile(&shown, &interfaces());
        prop_assert!(again.is_ok(), "{}cannot be read:\n{}", shown, again.expect_err("refused"));
        let again = again.expect("just seen").rules;
        prop_assert_eq!(again.len(), ruleset.rules.len(), "no rule is lost:\n{}", shown);
        for (rule, again) in ruleset.rules.iter().zip(&again) {
            prop_assert_eq!(meaning(again), meaning(rule));
            prop_assert_eq!(again.identity, rule.identity);
        }
    }

    #[test]
    fn in_freebsds_dialect_a_rule_means_the_same(rule in rule()) {
        let Ok(ruleset) = compile(&rule, &interfaces()) else { return Ok(()) };
        let read = |dialect, text: &str| pfconf::read_as(dialect, &Isolated(&interfaces()), "pf.conf", text, &[]).0;
        let (written, lost) = read(Dialect::OpenBsd, &rule).convert(Dialect::FreeBsd);
        prop_assert!(!lost.has_errors(), "{}", lost);
        // What becomes of fragments is an option of the whole ruleset, which FreeBSD has in rules.
        let written = written.replace("set reassemble yes\n", "");
        let again = read(Dialect::FreeBsd, &written).lower();
        prop_assert!(again.is_ok(), "{}cannot be read:\n{}", written, again.expect_err("refused"));
        let again = again.expect("just seen").rules;
        prop_assert_eq!(again.len(), ruleset.rules.len(), "no rule is lost:\n{}", written);
        for (rule, again) in ruleset.rules.iter().zip(&again) {
            prop_assert_eq!(meaning(again), meaning(rule));
        }
    }

    #[test]
    fn rules_that_differ_print_differently(rules in prop::collection::vec(rule(), 8)) {
        let mut texts: HashMap<String, Rule> = HashMap::new();
        for ruleset in rules.iter().filter_map(|rule| compile(rule, &interfaces()).ok()) {
            for rule in &ruleset.rules {
                let known = texts.entry(print_rule(rule)).or_insert_with(|| meaning(rule));
                prop_assert_eq!(&*known, &meaning(rule));
            }
        }
    }
}

/// FreeBSD's rules before the filter, and what only its filter has.
fn freebsd_rule() -> impl Strategy<Value = String> {
    let pool = || {
        one_of(&[
            "192.0.2.1",
            "192.0.2.0/28 bitmask",
            "(wan0)",
            "(wan0:0) static-port",
            "{ 192.0.2.1, 192.0.2.2 } sticky-address",
            "<bad> round-robin",
            "2001:db8::1 endpoint-independent",
            "192.0.2.1 port 1024:65535",
            "192.0.2.1 map-e-portset 6/8/0x34",
        ])
    };
    let on = || maybe(&["on wan0", "on ! lan0", "on { em0 em1 }"]);
    let protocol = || maybe(&["proto tcp", "proto { tcp udp }", "inet", "inet proto udp"]);
    let tag = || maybe(&["tag x", "tagged nat", "! tagged \"two words\""]);
    let translation = (one_of(&["nat", "rdr", "binat", "nat pass", "rdr pass log"]), on(), protocol(), tag());
    let translation = (translation, endpoint(), endpoint(), pool()).prop_map(
        |((head, on, protocol, tag), from, to, pool)| {
            format!("{head} {on} {protocol} from {from} to {to} {tag} -> {pool}")
        },
    );
    let exempt = (one_of(&["no nat", "no rdr", "no binat", "no scrub"]), on(), protocol(), endpoint(), tag())
        .prop_map(|(head, on, protocol, from, tag)| format!("{head} {on} {protocol} from {from} {tag}"));
    let scrub = (on(), endpoint(), maybe(&["no-df", "min-ttl 3 max-mss 9", "set-tos ef reassemble tcp"]))
        .prop_map(|(on, to, options)| format!("scrub in {on} to {to} {options}"));
    let route =
        maybe(&["route-to (wan0 192.0.2.1)", "reply-to { (wan0 192.0.2.1), (em0 192.0.2.2) }", "dup-to em0"]);
    let extra =
        maybe(&["ridentifier 7", "label a label \"$if b\"", "max-pkt-size 9", "queue (a, b)", "set prio 1"]);
    let filter = (on(), route, protocol(), endpoint(), extra).prop_map(|(on, route, protocol, to, extra)| {
        format!("pass in {on} {route} {protocol} to {to} {extra}")
    });
    prop_oneof![3 => translation, 1 => exempt, 1 => scrub, 3 => filter, 2 => rule()]
}

/// What FreeBSD's pfctl would print of a text; nothing if it is wrong.
fn freebsd(text: &str) -> Option<String> {
    let (config, findings) =
        pfconf::read_as(Dialect::FreeBsd, &Isolated(&interfaces()), "pf.conf", text, &[]);
    (!findings.has_errors()).then(|| config.print_rules(Numbers::Hidden))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn what_freebsd_prints_is_read_as_the_same(rule in freebsd_rule()) {
        if let Some(shown) = freebsd(&rule) {
            let again = freebsd(&shown);
            prop_assert_eq!(again.as_ref(), Some(&shown), "from {}", rule);
        }
    }
}

#[test]
fn the_generator_makes_rules_of_both_kinds() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;
    let mut runner = TestRunner::deterministic();
    let (mut accepted, mut of_freebsd) = (0, 0);
    for _ in 0..1000 {
        let text = rule().new_tree(&mut runner).expect("a rule").current();
        accepted += u32::from(compile(&text, &interfaces()).is_ok());
        let text = freebsd_rule().new_tree(&mut runner).expect("a rule").current();
        of_freebsd += u32::from(freebsd(&text).is_some());
    }
    for accepted in [accepted, of_freebsd] {
        assert!((150..850).contains(&accepted), "{accepted} of 1000 accepted");
    }
}
