//! What a text becomes: fields of rules, their identities and places, policies, defaults, the machine asked for files
//! and names.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;

use crate::machine::{interfaces, read};
use pfconf::{
    Colour, Host, Interfaces, Isolated, Numbers, compile, print_options, print_rule, print_ruleset,
};
use ruleset::{
    Action, AddressPattern, BlockPolicy, BlockReply, FlagsMatch, InterfacePattern, Limit, PacketRate,
    PortMatch, PortSet, Rule, Ruleset, StateMode, StatePolicy, Timeout,
};
use wire::{Af, Port, Proto};

fn good(text: &str) -> Ruleset {
    compile(text, &interfaces()).unwrap_or_else(|findings| panic!("{findings}"))
}

fn refused(text: &str) -> String {
    compile(text, &interfaces()).expect_err("must be refused").to_string()
}

fn only(text: &str) -> Rule {
    let ruleset = good(text);
    assert_eq!(ruleset.rules.len(), 1);
    ruleset.rules.into_iter().next().expect("one rule")
}

#[test]
fn a_rule_has_what_was_written() {
    let rule = only(
        "pass in log quick on wan0 inet proto tcp from 10/8 port > 1023 to ! 192.0.2.1 port = 22 label x",
    );
    assert_eq!(rule.action, Action::Pass);
    assert_eq!((rule.af, rule.proto), (Some(Af::Inet), Some(Proto::TCP)));
    assert_eq!(rule.from.address.pattern, AddressPattern::Net("10.0.0.0/8".parse().expect("a network")));
    assert_eq!(rule.from.port, PortMatch::Greater(Port(1023)));
    assert!(rule.to.address.negated && rule.log.enabled && rule.quick);
    assert_eq!(rule.flags, Some(FlagsMatch::SYN_ONLY));
    assert_eq!((rule.state, rule.label.as_deref()), (StateMode::Keep, Some("x")));
}

#[test]
fn only_passing_tcp_looks_at_flags_by_default() {
    assert_eq!(only("pass proto udp").flags, None);
    assert_eq!(only("block proto tcp").flags, None);
    assert_eq!(only("pass proto tcp no state").flags, None);
    assert_eq!(only("pass proto tcp flags any").flags, None);
    assert_eq!(only("pass").flags, Some(FlagsMatch::SYN_ONLY));
}

#[test]
fn block_without_a_form_obeys_the_policy_where_it_stands() {
    let ruleset = good("block\nset block-policy return\nblock\nblock drop\n");
    let replies = ruleset.rules.iter().map(|rule| rule.action).collect::<Vec<_>>();
    assert_eq!(replies[0], Action::Block(BlockReply::Drop));
    assert!(matches!(replies[1], Action::Block(BlockReply::Return(_))));
    assert_eq!(replies[2], Action::Block(BlockReply::Drop));
    assert_eq!(ruleset.options.block_policy, BlockPolicy::Return);
}

/// What `pfctl -F rules` and `-T load` send again: the options, and rules that mean the same behind them.
#[test]
fn options_are_printed_as_what_makes_them() {
    let texts = [
        "",
        "set skip on { lo wan0 }",
        "set limit { states 7, table-entries 9 }\nset timeout { udp.first 9, adaptive.start 3, adaptive.end 8 }",
        "block\nset block-policy return\nblock\npass\nset state-policy if-bound\npass proto tcp",
        "set optimization aggressive\nset limit states 50\nblock drop\nset state-policy if-bound",
        "set limit states 50\nset timeout adaptive.start 30",
        "set limit states 50\nset timeout { adaptive.start 60000, adaptive.end 120000 }",
        "set syncookies always\nset debug warning\nset hostid 0x10",
        "set syncookies adaptive (start 30%, end 20%)\nset debug urgent",
    ];
    for text in texts {
        let written = good(text);
        let options = print_options(&written.options);
        let rules: String = written.rules.iter().map(|rule| print_rule(rule) + "\n").collect();
        let again = good(&(options + &rules));
        assert_eq!(again.options, written.options, "{text}");
        let meant = |ruleset: &Ruleset| {
            let rules = ruleset.rules.iter().cloned();
            rules.map(|rule| Rule { source: Default::default(), ..rule }).collect::<Vec<_>>()
        };
        assert_eq!(meant(&again), meant(&written), "{text}");
    }
    assert_eq!(print_options(&good("").options), "");
}

/// What the dataplane has of pools is printed as it was written, and read again to the same.
#[test]
fn weights_and_lists_over_two_interfaces_come_back_from_the_dataplane() {
    let text = "table <pool> { 192.0.2.10 weight 5, 192.0.2.11, !192.0.2.12 }
pass in on lan0 inet all flags S/SA rdr-to <pool> round-robin
pass in on lan0 inet all flags S/SA route-to { 192.0.2.1@wan0 weight 3, 192.0.2.2@lan0 } round-robin
";
    let ruleset = good(text);
    let weights = |ruleset: &Ruleset| -> Vec<Option<u16>> {
        let entries = ruleset.tables[0].entries.iter().flatten();
        entries.map(|entry| entry.weight.map(|weight| weight.get())).collect()
    };
    assert_eq!(weights(&ruleset), [Some(5), None, None]);
    let routing = ruleset.rules[1].routing.as_ref().expect("a route");
    let gateways = routing.gateways.iter();
    let gateways = gateways.map(|one| (one.interface.as_deref(), one.weight.map(|weight| weight.get())));
    assert_eq!(gateways.collect::<Vec<_>>(), [(Some("wan0"), Some(3)), (Some("lan0"), None)]);
    let written = pfconf::print_ruleset(&ruleset).expect("one file");
    assert!(written.contains("table <pool> { 192.0.2.10 weight 5 192.0.2.11 !192.0.2.12 }\n"), "{written}");
    assert!(
        written.ends_with("route-to { 192.0.2.1@wan0 weight 3, 192.0.2.2@lan0 } round-robin\n"),
        "{written}"
    );
    let again = good(&written);
    assert_eq!((weights(&again), &again.rules[1].routing), (weights(&ruleset), &ruleset.rules[1].routing));
}

/// pf.conf(5) `adaptive.start`: a share of the limit on states, whichever stands first, unless the file says otherwise.
#[test]
fn e01_time_outs_begin_to_shrink_at_60_of_100_states_and_would_end_at_120() {
    let thresholds = |text: &str| {
        let options = good(text).options;
        [Timeout::AdaptiveStart, Timeout::AdaptiveEnd].map(|one| options.timeouts.get(one))
    };
    for (text, expected) in [
        ("", [60_000, 120_000]),
        ("set limit states 1000000", [600_000, 1_200_000]),
        ("set limit states 200", [120, 240]),
        ("set limit states 1\nset limit states 4000\nset timeout tcp.first 5", [2400, 4800]),
        ("set limit states 4294967295", [2_576_980_374, u32::MAX]),
        // pfctl reckons in tens: so few states are never scaled.
        ("set limit states 9", [0, 0]),
        // Who gives one gives both.
        ("set limit states 200\nset timeout adaptive.start 10", [10, 120_000]),
        ("set timeout adaptive.end 0\nset limit states 200", [60_000, 0]),
        ("set timeout { adaptive.start 7, adaptive.end 8 }\nset limit states 200", [7, 8]),
    ] {
        assert_eq!(thresholds(text), expected, "{text}");
    }
}

#[test]
fn settings_reach_the_options() {
    let options = good("set skip on { lo wan0 }\nset limit states 7\nset timeout udp.first 9\nset optimization aggressive\nset state-policy if-bound").options;
    assert_eq!(options.skip, ["lo", "wan0"]);
    assert_eq!(options.limits.get(Limit::States), 7);
    assert_eq!(options.timeouts.get(Timeout::UdpFirst), 9);
    assert_eq!(options.timeouts.get(Timeout::TcpEstablished), 18_000);
    assert_eq!(options.timeouts.get(Timeout::OtherFirst), Timeout::OtherFirst.default_value());
    assert_eq!(options.state_policy, StatePolicy::IfBound);
}

/// RFC 5382 REQ-5, RFC 4787 REQ-5, RFC 5508 REQ-1: nothing is forgotten earlier than translators may.
#[test]
fn a_profile_keeps_what_the_rfcs_on_nat_ask_for() {
    let timeouts = good("set optimization rfc-nat").options.timeouts;
    assert_eq!(timeouts.get(Timeout::TcpEstablished), 7440);
    for transitory in
        [Timeout::TcpFirst, Timeout::TcpOpening, Timeout::TcpClosing, Timeout::TcpFinwait, Timeout::TcpClosed]
    {
        assert!(timeouts.get(transitory) >= 240, "{transitory}");
    }
    for udp in [Timeout::UdpFirst, Timeout::UdpSingle, Timeout::UdpMultiple] {
        assert_eq!(timeouts.get(udp), 300, "{udp}");
    }
    assert_eq!([Timeout::IcmpFirst, Timeout::IcmpError].map(|icmp| timeouts.get(icmp)), [60, 60]);
    // What is set behind it holds.
    let timeouts = good("set optimization rfc-nat\nset timeout tcp.established 86400").options.timeouts;
    assert_eq!(timeouts.get(Timeout::TcpEstablished), 86_400);
}

/// RFC 4787 REQ-1, REQ-8: the profile has translation depend on the endpoint inside alone, and is printed as what it is.
#[test]
fn a_profile_maps_and_filters_by_the_endpoint_inside() {
    for (text, independent, established) in [
        ("set optimization rfc-nat", true, 7440),
        ("set optimization rfc-nat\nset timeout tcp.established 86400", true, 86_400),
        ("set optimization rfc-nat\nset optimization normal", false, 7440),
        ("set optimization conservative", false, 432_000),
    ] {
        let options = good(text).options;
        assert_eq!(options.endpoint_independent, independent, "{text}");
        assert_eq!(options.timeouts.get(Timeout::TcpEstablished), established, "{text}");
        assert_eq!(good(&print_options(&options)).options, options, "{text}");
    }
}

#[test]
fn sources_keep_their_ports_or_have_those_of_a_set_in_either_dialect() {
    let written = "match out on wan0 inet from 10.0.0.0/24 nat-to 192.0.2.1";
    let pool = |rest: &str| good(&format!("{written} {rest}\n")).rules[0].nat.clone().expect("a translation");
    assert!(pool("endpoint-independent").endpoint_independent);
    assert!(!pool("").endpoint_independent);
    let set = PortSet { offset_bits: 6, id_bits: 8, id: 0x34 };
    assert_eq!((pool("map-e-portset 6/8/0x34").port_set, pool("").port_set), (Some(set), None));
    for rest in ["endpoint-independent", "map-e-portset 6/8/52"] {
        let rules = good(&format!("{written} {rest}\n"));
        assert!(print_ruleset(&rules).expect("a text").contains(&format!("nat-to 192.0.2.1 {rest}")));
    }
    let early = good("nat on wan0 inet from 10.0.0.0/24 -> 192.0.2.1 endpoint-independent\npass\n");
    assert!(early.rules.iter().any(|rule| rule.nat.as_ref().is_some_and(|nat| nat.endpoint_independent)));
    for (rules, fault) in [
        ("pass in inet from any to any rdr-to 192.0.2.1 endpoint-independent\n", "only valid with nat rules"),
        ("pass in inet from any to any rdr-to 192.0.2.1 map-e-portset 6/8/1\n", "only valid with nat rules"),
        (
            "pass in inet from any to any route-to 192.0.2.1 endpoint-independent\n",
            "only valid with nat rules",
        ),
        ("match out inet from any nat-to 192.0.2.1 port 1:9 map-e-portset 6/8/1\n", "says all ports"),
        ("match out inet from any nat-to 192.0.2.1 static-port map-e-portset 6/8/1\n", "says all ports"),
    ] {
        let told = refused(rules);
        assert!(told.contains(fault), "{rules}: {told}");
    }
}

#[test]
fn blocks_of_ports_are_shared_out_or_the_rules_are_refused_with_their_place() {
    let rules = "match out on wan0 inet from 100.64.0.0/22 nat-to 203.0.113.8/29 port-block 504\n";
    let [blocks] = good(rules).port_blocks()[..] else { panic!("one rule has blocks") };
    let block = blocks.block("100.64.0.128".parse().unwrap()).unwrap();
    assert_eq!((block.address, block.first.0), ("203.0.113.9".parse().unwrap(), 1024));
    for (rules, fault) in [
        ("pass out inet from 10.0.0.0/24 nat-to 192.0.2.1 port-block 512\n", "need 3 of the pool"),
        ("pass out inet from 10.0.0.0/24 nat-to 192.0.2.1 port 1:9 port-block 10\n", "not to be had of 9"),
        ("pass out inet from any nat-to 192.0.2.1 port-block 512\n", "one network"),
        ("pass out inet from 10.0.0.0/30 nat-to 192.0.2.1 static-port port-block 512\n", "leave static-port"),
        ("pass out inet from 10.0.0.0/30 nat-to 192.0.2.0/30 random port-block 512\n", "leave static-port"),
        ("pass out inet6 from 2001:db8::/64 nat-to 2001:db8:1::1 port-block 512\n", "IPv4"),
        ("pass in inet proto tcp to 192.0.2.1 rdr-to 10.0.0.1 port-block 512\n", "only applies to nat-to"),
        (
            "pass out inet from { 10.0.0.0/30, 10.0.1.0/30 } nat-to 192.0.2.1 port-block 512\n",
            "give each rule addresses of its own",
        ),
    ] {
        let refused = compile(rules, &Interfaces::default()).unwrap_err().to_string();
        assert!(refused.contains(fault) && refused.contains("pf.conf:1"), "{rules}{refused}");
    }
}

#[test]
fn floating_survives_an_if_bound_policy() {
    let text = "set state-policy if-bound\npass keep state (floating)\npass\n";
    let rules = good(text).rules;
    assert_eq!(rules[0].state_options.policy, Some(StatePolicy::Floating));
    assert_eq!(rules[1].state_options.policy, Some(StatePolicy::IfBound));
    let (config, _) = read(text);
    let again = good(&(config.print_echo() + &config.print_rules(Numbers::Hidden))).rules;
    assert_eq!(again[0].state_options.policy, Some(StatePolicy::Floating));
    // Without such a policy, there is nothing to say.
    assert_eq!(only("pass keep state (floating)").state_options.policy, None);
    assert_eq!(only("pass").state_options.policy, None);
}

#[test]
fn a_probability_stands_before_state_options() {
    let (config, findings) = read("pass probability 50% keep state (max 3)\n");
    assert!(!findings.has_errors());
    let shown = config.print_rules(Numbers::Hidden);
    assert_eq!(shown, "pass all flags S/SA probability 50% keep state (max 3)\n");
    assert!(!read(&shown).1.has_errors());
}

#[test]
fn identities_are_stable_and_distinct() {
    let first = good("pass in proto tcp to port 22\nblock\nblock\n").rules;
    let identities: Vec<u64> = first.iter().map(|rule| rule.identity).collect();
    assert_eq!(
        identities.iter().collect::<std::collections::BTreeSet<_>>().len(),
        3,
        "equal texts are told apart"
    );
    // Rules added before and between, comments and spelling do not change it.
    let moved =
        good("pass out\n# c\nblock all\npass in   proto tcp from any to any port ssh\nblock drop all\n")
            .rules;
    assert_eq!(moved[1].identity, identities[1]);
    assert_eq!(moved[2].identity, identities[0]);
    assert_eq!(moved[3].identity, identities[2]);
    assert_eq!(identities[1], 0xce85_eae9_8df9_03bf, "known to every build");
}

#[test]
fn rules_know_their_lines() {
    let rules = good("# comment\n\npass in \\\n\ton wan0\npass proto { tcp udp }\n").rules;
    let lines: Vec<u32> = rules.iter().map(|rule| rule.source.line).collect();
    assert_eq!(lines, [3, 5, 5]);
    assert_eq!(rules[0].source.file, "pf.conf");
}

#[test]
fn printed_rules_compile_to_themselves() {
    for text in [
        include_str!("../accepted/hosts.conf"),
        include_str!("../accepted/home.conf"),
        include_str!("../accepted/ports.conf"),
        include_str!("../accepted/icmp.conf"),
        include_str!("../accepted/flags.conf"),
        include_str!("../accepted/translation.conf"),
    ] {
        let ruleset = good(text);
        let shown: String = ruleset.rules.iter().map(|rule| pfconf::print_rule(rule) + "\n").collect();
        let again = good(&shown);
        assert_eq!(again.rules.len(), ruleset.rules.len());
        for (rule, again) in ruleset.rules.iter().zip(again.rules) {
            assert_eq!(&Rule { source: rule.source.clone(), ..again }, rule);
        }
    }
}

#[test]
fn tables_that_nobody_defines_exist_and_are_empty() {
    let ruleset =
        good("table <known> { 192.0.2.1 }\nblock from <known>\nblock from <unknown>\nblock to <unknown>\n");
    assert_eq!(ruleset.tables.len(), 2);
    assert_eq!(ruleset.table("unknown").expect("made").entries, None);
    assert_eq!(ruleset.table("known").expect("defined").entries.as_ref().map(Vec::len), Some(1));
    assert_eq!(pfconf::print_table(ruleset.table("known").expect("defined")), "table <known> { 192.0.2.1 }");
}

#[test]
fn a_machine_without_interfaces_takes_rules_for_them() {
    let ruleset =
        compile("pass in on em0 to (em0)\n", &Interfaces::default()).expect("interfaces may come later");
    assert_eq!(pfconf::print_rule(&ruleset.rules[0]), "pass in on em0 from any to (em0) flags S/SA");
    assert!(compile("pass to em0\n", &Interfaces::default()).is_err(), "its addresses are not known");
}

#[test]
fn what_a_rule_cannot_say_is_refused_by_name() {
    assert_eq!(
        refused(
            "pass in\npass out log (user) on wan0 inet nat-to <pool> random sticky-address set delay 3\n"
        ),
        "pf.conf:2: log (user) is not supported yet: workers see packets of the host on its interfaces, and no sockets; leave (user) out\n\
         pf.conf:2: set delay is not supported yet: packets are sent as soon as they can be; delay them in a test network by netem on a host behind\n"
    );
    assert!(refused("set state-defaults pflow\npass\n").contains("pflow is not supported yet"));
}

#[test]
fn a_refused_ruleset_leaves_nothing() {
    let (config, findings) = read("pass in\npass bogus\n");
    assert!(findings.has_errors());
    assert_eq!(findings.to_string(), "pf.conf:2: syntax error\n");
    assert!(compile("pass in\npass bogus\n", &interfaces()).is_err());
    // What was read is there to be shown, but its rules are not the file's.
    assert_eq!(config.print_echo(), "");
}

#[test]
fn macros_of_the_command_line_win() {
    let interfaces = interfaces();
    let definitions = [("ext".to_owned(), "lan0".to_owned())];
    let (config, findings) =
        pfconf::read(&Isolated(&interfaces), "stdin", "ext = \"wan0\"\npass on $ext\n", &definitions);
    assert!(!findings.has_errors());
    assert_eq!(
        config.print_echo() + &config.print_rules(Numbers::Hidden),
        "ext = \"wan0\"\npass on lan0 all flags S/SA\n"
    );
}

/// A machine with files and one name.
struct Disk {
    interfaces: Interfaces,
    files: BTreeMap<&'static str, &'static str>,
}

impl Host for Disk {
    fn interfaces(&self) -> &Interfaces {
        &self.interfaces
    }

    fn read(&self, path: &str) -> io::Result<String> {
        let text = self.files.get(path).ok_or(io::ErrorKind::NotFound)?;
        Ok((*text).to_owned())
    }

    fn resolve(&self, name: &str) -> Vec<IpAddr> {
        let addresses = ["192.0.2.80".parse(), "2001:db8::80".parse()];
        if name == "www.example" { addresses.into_iter().flatten().collect() } else { Vec::new() }
    }
}

fn disk() -> Disk {
    let files = [
        ("a.conf", "a = \"wan0\"\npass in on $a\ninclude \"b.conf\"\npass out on $a\n"),
        ("b.conf", "block on lan0"),
        ("bad.conf", "pass in\npass proto bogus\n"),
        ("self.conf", "include \"self.conf\"\ninclude \"self.conf\"\n"),
        ("hosts", "# bad ones\n192.0.2.1 !192.0.2.2\n\n10/8 # all\n! 10.1.1.1\nwww.example\n"),
        ("broken", "192.0.2.1\n192.0.2.300\n"),
        ("rules", "block proto tcp\npass from { 192.0.2.1 192.0.2.2 }\n"),
    ];
    Disk { interfaces: interfaces(), files: files.into_iter().collect() }
}

fn on_disk(text: &str) -> (String, String) {
    let (config, findings) = pfconf::read(&disk(), "main", text, &[]);
    (config.print_echo() + &config.print_rules(Numbers::Hidden), findings.to_string())
}

#[test]
fn includes_continue_in_the_file_and_come_back() {
    let (shown, findings) = on_disk("include \"a.conf\"\npass on $a\n");
    assert_eq!(findings, "");
    assert_eq!(
        shown,
        "a = \"wan0\"\npass in on wan0 all flags S/SA\nblock drop on lan0 all\npass out on wan0 all flags S/SA\n\
         pass on wan0 all flags S/SA\n"
    );
    let (_, findings) = on_disk("pass\ninclude \"bad.conf\"\npass proto wrong\n");
    assert_eq!(findings, "bad.conf:2: unknown protocol bogus\nmain:3: unknown protocol wrong\n");
}

#[test]
fn a_file_that_includes_itself_ends() {
    let (_, findings) = on_disk("include \"self.conf\"\npass\n");
    assert!(findings.contains("self.conf:1: failed to include file self.conf"), "{findings}");
    let (_, findings) = pfconf::read(&disk(), "main", "include \"self.conf\"\n", &[]);
    assert!(findings.render(Colour::Never).contains("include nests deeper than 16 files"));
}

#[test]
fn tables_are_filled_from_files() {
    let (shown, findings) = on_disk("table <t> persist file \"hosts\" { 198.51.100.1 }\n");
    assert_eq!(
        (shown.as_str(), findings.as_str()),
        ("table <t> persist file \"hosts\" { 198.51.100.1 }\n", "")
    );
    let (config, _) = pfconf::read(&disk(), "main", "table <t> file \"hosts\"\n", &[]);
    let ruleset = config.lower().expect("a table only");
    assert_eq!(
        pfconf::print_table(&ruleset.tables[0]),
        "table <t> { 192.0.2.1 !192.0.2.2 10.0.0.0/8 !10.1.1.1 192.0.2.80 2001:db8::80 }"
    );
    let (_, findings) = on_disk("table <t> file \"broken\"\n");
    assert!(findings.contains("no IP address found for 192.0.2.300"), "{findings}");
}

#[test]
fn names_become_all_their_addresses() {
    let (shown, findings) = on_disk("pass to www.example\npass inet6 to www.example\n");
    assert_eq!(findings, "");
    assert_eq!(
        shown,
        "pass inet from any to 192.0.2.80 flags S/SA\npass inet6 from any to 2001:db8::80 flags S/SA\n\
         pass inet6 from any to 2001:db8::80 flags S/SA\n"
    );
}

#[test]
fn anchors_are_loaded_from_files() {
    let (shown, findings) =
        on_disk("anchor one\nload anchor one from \"rules\"\nload anchor two from \"rules\"\n");
    assert_eq!(findings, "");
    let rules = "block drop proto tcp all\npass inet from 192.0.2.1 to any flags S/SA\npass inet from 192.0.2.2 to any flags S/SA\n";
    let nested: String = rules.lines().map(|line| format!("  {line}\n")).collect();
    assert_eq!(shown, format!("anchor \"one\" all {{\n{nested}}}\n{rules}"));
}

#[test]
fn rules_are_numbered_within_their_anchor() {
    let (config, _) = read("pass\nanchor a {\n block\n pass\n}\npass out\n");
    assert_eq!(
        config.print_rules(Numbers::Shown),
        "@0 pass all flags S/SA\n@1 anchor \"a\" all {\n  @0 block drop all\n  @1 pass all flags S/SA\n}\n\
         @2 pass out all flags S/SA\n"
    );
}

#[test]
fn interfaces_are_read_from_ip() {
    assert!(Interfaces::from_json("not json").is_err());
    assert!(Interfaces::from_json("[{\"mtu\":1}]").is_err());
    assert!(Interfaces::from_json("[{\"ifname\":\"x0\"}]").is_ok(), "an interface may have no addresses");
}

#[test]
fn what_few_rules_ask_comes_to_the_dataplane() {
    let text = "pass in ! received-on wan0 tos ef max-pkt-rate 5/2 probability 25% keep state (max 7)\nblock in once\n";
    let ruleset = good(text);
    let [pass, block] = &ruleset.rules[..] else { panic!("two rules") };
    let received_on = pass.received_on.as_ref().expect("an interface");
    assert_eq!((received_on.negated, &received_on.pattern), (true, &InterfacePattern::Name("wan0".into())));
    assert_eq!((pass.tos, pass.probability), (Some(0xb8), Some(1 << 30)));
    assert_eq!(pass.packet_rate, Some(PacketRate { packets: 5, seconds: 2 }));
    assert_eq!((pass.state_options.max, pass.once, block.once), (7, false, true));
}

#[test]
fn what_packets_are_changed_to_is_in_the_rule() {
    let rule = only("match scrub (no-df random-id min-ttl 5 max-mss 1440) set (tos ef, prio (1, 6)) prio 2");
    assert_eq!(
        rule.scrub,
        ruleset::Scrub { no_df: true, random_id: true, min_ttl: 5, max_mss: 1440, reassemble_tcp: false }
    );
    assert_eq!(rule.set_tos, Some(0xb8));
    assert_eq!((rule.set_prio, rule.prio), (Some(ruleset::SetPrio { bulk: 1, urgent: 6 }), Some(2)));
    assert_eq!(only("match scrub (max-mss 0)").scrub, ruleset::Scrub::default());
}

#[test]
fn scrub_rules_of_freebsd_hold_for_both_ways_and_the_first_is_the_only_one_where_it_matters() {
    let order = |text: &str| -> Vec<(String, bool)> {
        let ruleset = good(&format!("{text}\nnat on wan0 from lan0:network -> (wan0)\n"));
        let scrub = ruleset.rules.iter().filter(|rule| rule.nat.is_none());
        scrub.map(|rule| (print_rule(rule), rule.first_match.is_some())).collect()
    };
    assert_eq!(
        order("scrub in on wan0 all reassemble tcp max-mss 1440"),
        [("match on wan0 all scrub (reassemble tcp max-mss 1440)".into(), false)]
    );
    assert_eq!(
        order("scrub out on wan0 inet from 192.0.2.1 to any min-ttl 9"),
        [
            ("match out on wan0 inet from 192.0.2.1 to any scrub (min-ttl 9)".into(), false),
            ("match in on wan0 inet from any to 192.0.2.1 scrub (min-ttl 9)".into(), false),
        ]
    );
    assert_eq!(order("scrub in all"), [], "fragments are put together anyway");
    assert_eq!(
        order("no scrub on lan0\nscrub in all min-ttl 9"),
        [("match on lan0 all".into(), true), ("match all scrub (min-ttl 9)".into(), true)]
    );
    assert_eq!(
        order("scrub in on wan0 all max-mss 1440\nscrub in all min-ttl 9"),
        [
            ("match on wan0 all scrub (max-mss 1440)".into(), true),
            ("match all scrub (min-ttl 9)".into(), true),
        ]
    );
}

#[test]
fn operating_systems_must_be_known_to_be_asked_for() {
    let ruleset = good("pass in proto tcp from any os \"Linux\"\n");
    assert_eq!(ruleset.rules[0].os.as_deref(), Some("Linux"));
    assert!(ruleset.fingerprints.iter().any(|one| one.is_called("Linux")));
    assert!(good("pass in\n").fingerprints.is_empty(), "nobody asks");
    let refused = refused("pass in\npass in proto tcp from any os \"Ultrix 9\"\n");
    assert_eq!(refused, "pf.conf:2: there is no fingerprint of the operating system 'Ultrix 9'\n");
}

/// Found by breaking texts: it was printed as `route-to any`, which nothing reads.
#[test]
fn a_pool_has_no_routes_with_a_label() {
    for rule in ["pass in route-to route \"x\"", "pass out inet nat-to { 192.0.2.1, route \"\" }"] {
        let refused = compile(&format!("{rule}\n"), &Interfaces::default()).unwrap_err().to_string();
        assert!(refused.contains("pf.conf:1: routes with a label are no address of a pool"), "{refused}");
    }
}
