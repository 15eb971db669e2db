//! What makes a ruleset valid: every rule is tried on a ruleset that keeps it and on one that breaks it.

use core::net::IpAddr;

use ipnet::IpNet;
use ruleset::{
    Action, AddressMatch, AddressPattern, BlockReply, Direction, Endpoint, FlagsMatch, IcmpMatch, Limit,
    Limits, Options, Pool, PoolKind, PortMatch, Rule, Ruleset, SourceLine, StateMode, Table, TableEntry,
    bounds,
};
use wire::{Af, Port, Proto};

fn with(change: impl FnOnce(&mut Rule)) -> Ruleset {
    let mut rule = Rule::default();
    change(&mut rule);
    Ruleset { rules: vec![Rule::default(), rule], ..Ruleset::default() }
}

fn fault(ruleset: &Ruleset) -> String {
    ruleset.validate().expect_err("must be refused").to_string()
}

fn address(pattern: AddressPattern) -> Endpoint {
    Endpoint { address: AddressMatch { negated: false, pattern }, ..Endpoint::default() }
}

fn net(text: &str) -> AddressPattern {
    AddressPattern::Net(text.parse().expect("a network"))
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

#[test]
fn the_empty_ruleset_is_valid() {
    assert_eq!(Ruleset::default().validate(), Ok(()));
}

#[test]
fn addresses_need_the_family_of_the_rule() {
    let rule = |af, pattern: AddressPattern| {
        with(|rule| {
            rule.af = af;
            rule.to = address(pattern);
        })
    };
    assert_eq!(rule(Some(Af::Inet), net("10.0.0.0/8")).validate(), Ok(()));
    assert_eq!(rule(Some(Af::Inet6), net("2001:db8::/32")).validate(), Ok(()));
    assert!(fault(&rule(Some(Af::Inet6), net("10.0.0.0/8"))).contains("family"));
    assert!(fault(&rule(None, net("10.0.0.0/8"))).contains("family"));
    assert_eq!(rule(None, AddressPattern::NoRoute).validate(), Ok(()));
}

#[test]
fn ranges_and_masks_are_of_one_family_and_not_empty() {
    let range = |first, last| {
        with(|rule| {
            rule.af = Some(Af::Inet);
            rule.from = address(AddressPattern::Range(ip(first), ip(last)));
        })
    };
    assert_eq!(range("10.0.0.1", "10.0.0.9").validate(), Ok(()));
    assert_eq!(range("10.0.0.1", "10.0.0.1").validate(), Ok(()));
    assert!(fault(&range("10.0.0.9", "10.0.0.1")).contains("empty"));
    assert!(fault(&range("10.0.0.1", "::1")).contains("different families"));
    let masked = |mask| {
        with(|rule| {
            rule.af = Some(Af::Inet);
            rule.from = address(AddressPattern::Masked { net: ip("10.0.0.1"), mask: ip(mask) });
        })
    };
    assert_eq!(masked("255.0.0.255").validate(), Ok(()));
    assert!(fault(&masked("ffff::")).contains("different families"));
}

#[test]
fn tables_are_defined_before_they_are_used() {
    let mut ruleset = with(|rule| rule.from = address(AddressPattern::Table("bad".into())));
    assert!(fault(&ruleset).contains("table <bad> is not defined"));
    ruleset.tables.push(Table { name: "bad".into(), ..Table::default() });
    assert_eq!(ruleset.validate(), Ok(()));
    ruleset.tables.push(Table { name: "bad".into(), ..Table::default() });
    assert!(fault(&ruleset).contains("defined twice"));
}

#[test]
fn table_names_have_a_length() {
    let named =
        |name: String| Ruleset { tables: vec![Table { name, ..Table::default() }], ..Ruleset::default() };
    assert_eq!(named("t".repeat(bounds::NAME_BYTES)).validate(), Ok(()));
    assert!(fault(&named(String::new())).contains("empty"));
    assert!(fault(&named("t".repeat(bounds::NAME_BYTES + 1))).contains("longer"));
}

#[test]
fn e06_limits_hold_for_tables_and_entries() {
    let entry = TableEntry::new(false, "192.0.2.0/24".parse::<IpNet>().expect("a network"));
    let table = |name: &str| Table { name: name.into(), entries: Some(vec![entry; 2]), ..Table::default() };
    let mut ruleset = Ruleset { tables: vec![table("a"), table("b")], ..Ruleset::default() };
    ruleset.options.limits.set(Limit::Tables, 2);
    ruleset.options.limits.set(Limit::TableEntries, 4);
    assert_eq!(ruleset.validate(), Ok(()));
    ruleset.options.limits.set(Limit::TableEntries, 3);
    assert!(fault(&ruleset).contains("table entries"));
    ruleset.options.limits.set(Limit::Tables, 1);
    assert!(fault(&ruleset).contains("tables"));
}

#[test]
fn skipped_interfaces_are_bounded() {
    let mut ruleset = Ruleset::default();
    ruleset.options.skip = vec!["em0".into(); bounds::SKIPPED];
    assert_eq!(ruleset.validate(), Ok(()));
    ruleset.options.skip.push("em1".into());
    assert!(fault(&ruleset).contains("skipped interfaces"));
}

#[test]
fn tags_are_bounded_by_their_number_not_their_uses() {
    let tagged = |count: usize, different: usize| Ruleset {
        rules: (0..count)
            .map(|number| Rule { tag: Some(format!("t{}", number % different)), ..Rule::default() })
            .collect(),
        ..Ruleset::default()
    };
    assert_eq!(tagged(bounds::TAGS + 10, bounds::TAGS).validate(), Ok(()));
    assert!(fault(&tagged(bounds::TAGS + 1, bounds::TAGS + 1)).contains("tags"));
}

#[test]
fn ports_need_a_protocol_that_has_them() {
    let rule = |proto| {
        with(|rule| {
            rule.proto = proto;
            rule.to.port = PortMatch::Equal(Port(22));
        })
    };
    for proto in [Proto::TCP, Proto::UDP, Proto::SCTP] {
        assert_eq!(rule(Some(proto)).validate(), Ok(()));
    }
    for proto in [None, Some(Proto::ICMP), Some(Proto::ESP)] {
        assert!(fault(&rule(proto)).contains("port only applies to tcp/udp"));
    }
}

#[test]
fn flags_are_of_tcp() {
    let rule = |proto| {
        with(|rule| {
            rule.proto = proto;
            rule.flags = Some(FlagsMatch::SYN_ONLY);
        })
    };
    assert_eq!(rule(None).validate(), Ok(()));
    assert_eq!(rule(Some(Proto::TCP)).validate(), Ok(()));
    assert!(fault(&rule(Some(Proto::UDP))).contains("flags only applies to tcp"));
}

#[test]
fn icmp_types_are_of_icmp_and_its_family() {
    let rule = |proto, af| {
        with(|rule| {
            rule.proto = proto;
            rule.af = af;
            rule.icmp = Some(IcmpMatch { kind: 8, code: None });
        })
    };
    assert_eq!(rule(Some(Proto::ICMP), Some(Af::Inet)).validate(), Ok(()));
    assert_eq!(rule(Some(Proto::ICMP6), None).validate(), Ok(()));
    assert!(fault(&rule(Some(Proto::ICMP), Some(Af::Inet6))).contains("doesn't match"));
    assert!(fault(&rule(Some(Proto::TCP), Some(Af::Inet))).contains("icmp-type 8"));
    assert!(fault(&rule(None, Some(Af::Inet))).contains("icmp-type 8"));
}

#[test]
fn only_pass_keeps_state_and_only_tcp_is_modulated() {
    let rule = |action, state, proto| {
        with(|rule| {
            rule.action = action;
            rule.state = state;
            rule.proto = proto;
        })
    };
    assert_eq!(rule(Action::Pass, StateMode::Keep, None).validate(), Ok(()));
    assert_eq!(rule(Action::Match, StateMode::None, None).validate(), Ok(()));
    for action in [Action::Match, Action::Block(BlockReply::Drop)] {
        assert!(fault(&rule(action, StateMode::Keep, None)).contains("only pass rules keep state"));
    }
    for state in [StateMode::Modulate, StateMode::Synproxy] {
        assert_eq!(rule(Action::Pass, state, Some(Proto::TCP)).validate(), Ok(()));
        assert!(fault(&rule(Action::Pass, state, Some(Proto::UDP))).contains("only apply to tcp"));
    }
}

fn pool(address: AddressPattern) -> Pool {
    Pool {
        address,
        kind: None,
        sticky: false,
        ports: None,
        static_port: false,
        port_block: None,
        port_set: None,
        endpoint_independent: false,
    }
}

/// A rule that translates, changed.
fn translating(change: impl FnOnce(&mut Rule)) -> Ruleset {
    with(|rule| {
        (rule.action, rule.af, rule.proto) = (Action::Match, Some(Af::Inet), Some(Proto::TCP));
        rule.direction = Some(Direction::Out);
        rule.nat = Some(pool(net("192.0.2.1/32")));
        change(rule);
    })
}

#[test]
fn translation_needs_a_direction_a_state_and_an_address_of_its_family() {
    assert_eq!(translating(|_| ()).validate(), Ok(()));
    let passing = |state| translating(|rule| (rule.action, rule.state) = (Action::Pass, state));
    assert_eq!(passing(StateMode::Keep).validate(), Ok(()));
    assert!(fault(&passing(StateMode::None)).contains("nat-to requires keep state"));
    assert!(fault(&translating(|rule| rule.direction = None)).contains("requires a direction"));
    let blocking = translating(|rule| rule.action = Action::Block(BlockReply::Drop));
    assert!(fault(&blocking).contains("does not apply to block rules"));
    assert!(fault(&translating(|rule| rule.af = None)).contains("of its family"));
    assert!(
        fault(&translating(|rule| rule.nat = Some(pool(net("2001:db8::1/128"))))).contains("of its family")
    );
    assert!(
        fault(&translating(|rule| rule.rdr = Some(pool(AddressPattern::Any)))).contains("rdr-to leads to")
    );
}

#[test]
fn several_addresses_of_a_pool_need_a_way_to_choose_and_a_table_that_exists() {
    let with_kind = |address: AddressPattern, kind: Option<PoolKind>| {
        translating(|rule| rule.nat = Some(Pool { kind, ..pool(address) }))
    };
    let table = |kind| with_kind(AddressPattern::Table("outer".into()), kind);
    assert!(fault(&table(None)).contains("need a way to choose one"));
    assert!(fault(&table(Some(PoolKind::Bitmask))).contains("need a way to choose one"));
    let mut defined = table(Some(PoolKind::Random));
    assert!(fault(&defined).contains("table <outer> is not defined"));
    defined.tables.push(Table { name: "outer".into(), ..Table::default() });
    assert_eq!(defined.validate(), Ok(()));
    assert_eq!(with_kind(net("192.0.2.0/28"), Some(PoolKind::SourceHash([1; 4]))).validate(), Ok(()));
}

#[test]
fn ports_of_translation_are_a_range_and_exclude_static_port() {
    let nat = |ports: Option<(u16, u16)>, static_port| {
        let ports = ports.map(|(first, last)| (Port(first), Port(last)));
        translating(|rule| rule.nat = Some(Pool { ports, static_port, ..pool(net("192.0.2.1/32")) }))
    };
    assert_eq!(nat(Some((1024, 1024)), false).validate(), Ok(()));
    assert_eq!(nat(None, true).validate(), Ok(()));
    assert!(fault(&nat(Some((2, 1)), false)).contains("no range"));
    assert!(fault(&nat(Some((0, 1)), false)).contains("no range"));
    assert!(fault(&nat(Some((1, 2)), true)).contains("exclude each other"));
    let rdr = |proto, ports: Option<(u16, u16)>, static_port| {
        let ports = ports.map(|(first, last)| (Port(first), Port(last)));
        translating(|rule| {
            (rule.proto, rule.nat) = (proto, None);
            rule.rdr = Some(Pool { ports, static_port, ..pool(net("192.0.2.1/32")) });
        })
    };
    assert_eq!(rdr(Some(Proto::UDP), Some((53, 53)), false).validate(), Ok(()));
    assert_eq!(rdr(None, None, false).validate(), Ok(()));
    assert!(fault(&rdr(None, Some((53, 53)), false)).contains("only apply to tcp/udp"));
    assert!(fault(&rdr(Some(Proto::TCP), None, true)).contains("static-port only applies to nat-to"));
}

#[test]
fn names_have_a_length() {
    for length in [1, bounds::NAME_BYTES] {
        assert_eq!(with(|rule| rule.label = Some("x".repeat(length))).validate(), Ok(()));
        assert_eq!(with(|rule| rule.tag = Some("x".repeat(length))).validate(), Ok(()));
    }
    for length in [0, bounds::NAME_BYTES + 1] {
        assert!(fault(&with(|rule| rule.label = Some("x".repeat(length)))).contains("the name"));
        assert!(fault(&with(|rule| rule.tag = Some("x".repeat(length)))).contains("the name"));
    }
}

#[test]
fn a_fault_names_the_rule_and_its_line() {
    let ruleset = with(|rule| {
        rule.label = Some(String::new());
        rule.source = SourceLine { file: "pf.conf".into(), line: 7 };
    });
    assert!(fault(&ruleset).starts_with("rule @1 (pf.conf:7): "), "{}", fault(&ruleset));
    let unknown = with(|rule| rule.label = Some(String::new()));
    assert!(fault(&unknown).starts_with("rule @1: "), "{}", fault(&unknown));
}

#[test]
fn tunables_are_written_by_name_where_people_read_them_and_unknown_names_are_refused() {
    let mut options = Options::default();
    options.limits.set(Limit::States, 7);
    let text = serde_json::to_string(&options).expect("JSON");
    assert!(text.contains("\"tcp.first\":120") && text.contains("\"states\":7"), "{text}");
    assert_eq!(serde_json::from_str::<Options>(&text).expect("the same"), options);
    let bare: Limits = serde_json::from_str("{\"states\":7}").expect("the others have their defaults");
    assert_eq!(bare, options.limits);
    let refused = serde_json::from_str::<Limits>("{\"state\":7}").expect_err("no such limit").to_string();
    assert!(refused.starts_with("unknown name 'state'"), "{refused}");
}
