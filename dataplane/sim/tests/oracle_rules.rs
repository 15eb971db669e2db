//! The walk over the rules, and what a blocked sender is told.

mod oracle_support;

use std::net::IpAddr;

use oracle_support::{
    CLIENT, DETOUR, GATEWAY, INSIDE, OUTSIDE, SERVER, back, block, dropped, flags, icmp, inbound, oracle,
    outbound, packet, pass, pass_any_flags, pf, proto, rules, syn, tcp, udp, v6, world,
};
use ruleset::{
    Action, AddressMatch, AddressPattern, BlockReply, Direction, Endpoint, IcmpMatch, IcmpReply,
    InterfaceMatch, InterfacePart, InterfacePattern, PortMatch, Reason, Rule, Ruleset, StateMode,
    StatePolicy, Table, TableEntry, TagMatch,
};
use sim::oracle::{
    Checksum, Deviations, From, Hook, IpOptions, Onward, Oracle, Packet, Part, Reply, State, Tcp, Transport,
    Verdict,
};
use wire::{Af, Port, Proto, Seq, TcpFlags};

const DROP: BlockReply = BlockReply::Drop;

/// What a packet entering from the client's network meets.
fn enters(list: Vec<Rule>, packet: &Packet) -> Verdict {
    let hook = Hook { direction: Direction::In, interface: INSIDE };
    pf(list).hook(hook, packet, &mut None, 0)
}

/// True if `rule`, which blocks, matches.
fn matches(rule: Rule, packet: &Packet) -> bool {
    let rule = Rule { action: Action::Block(DROP), ..rule };
    enters(vec![rule], packet) == dropped(Reason::Match)
}

fn stateless() -> Rule {
    Rule::default()
}

fn on(name: &str) -> Option<InterfaceMatch> {
    Some(InterfaceMatch { negated: false, pattern: InterfacePattern::Name(name.into()) })
}

fn address(pattern: AddressPattern) -> AddressMatch {
    AddressMatch { negated: false, pattern }
}

fn net(text: &str) -> AddressPattern {
    AddressPattern::Net(text.parse().unwrap())
}

fn from(pattern: AddressPattern) -> Rule {
    let from = Endpoint { address: address(pattern), port: PortMatch::Any };
    Rule { af: Some(Af::Inet), from, ..Rule::default() }
}

#[test]
fn the_last_match_decides_and_quick_at_once() {
    let query = udp(CLIENT, 5353, SERVER, 53);
    assert_eq!(enters(vec![], &query), Verdict::Pass, "no rule passes");
    assert_eq!(enters(vec![stateless(), block(DROP)], &query), dropped(Reason::Match));
    assert_eq!(enters(vec![block(DROP), stateless()], &query), Verdict::Pass);
    let quick = |rule| Rule { quick: true, ..rule };
    assert_eq!(enters(vec![quick(block(DROP)), stateless()], &query), dropped(Reason::Match));
    assert_eq!(enters(vec![quick(stateless()), block(DROP)], &query), Verdict::Pass);
    // `match` decides nothing.
    let matching = Rule { action: Action::Match, ..Rule::default() };
    assert_eq!(enters(vec![block(DROP), matching], &query), dropped(Reason::Match));
}

#[test]
fn direction_interface_family_and_protocol() {
    let query = udp(CLIENT, 5353, SERVER, 53);
    let direction = |direction| Rule { direction: Some(direction), ..stateless() };
    assert!(matches(direction(Direction::In), &query) && !matches(direction(Direction::Out), &query));
    let interface =
        |pattern, negated| Rule { interface: Some(InterfaceMatch { negated, pattern }), ..stateless() };
    let named = |name: &str| InterfacePattern::Name(name.into());
    for (pattern, expected) in
        [(named("em0"), true), (named("lan"), true), (named("em1"), false), (InterfacePattern::Any, true)]
    {
        assert_eq!(matches(interface(pattern.clone(), false), &query), expected, "{pattern:?}");
        assert_eq!(matches(interface(pattern.clone(), true), &query), !expected, "! {pattern:?}");
    }
    let loopback = Hook { direction: Direction::In, interface: sim::oracle::InterfaceId(3) };
    let mut oracle =
        pf(vec![Rule { interface: interface(InterfacePattern::Any, false).interface, ..block(DROP) }]);
    assert_eq!(oracle.hook(loopback, &query, &mut None, 0), Verdict::Pass, "`on any` is no loopback");
    let family = |af| Rule { af: Some(af), ..stateless() };
    assert!(matches(family(Af::Inet), &query) && !matches(family(Af::Inet6), &query));
    assert!(matches(family(Af::Inet6), &udp(v6(2), 1, v6(3), 2)));
    let protocol = |proto| Rule { proto: Some(proto), ..stateless() };
    assert!(matches(protocol(Proto::UDP), &query) && !matches(protocol(Proto::TCP), &query));
    assert!(matches(protocol(Proto::GRE), &packet(CLIENT, SERVER, proto(47))));
}

#[test]
fn addresses() {
    let query = udp(CLIENT, 5353, SERVER, 53);
    let ip = |text: &str| text.parse::<IpAddr>().unwrap();
    let own =
        |part, no_alias, prefix| AddressPattern::Interface { name: "em0".into(), part, no_alias, prefix };
    let cases = [
        (net("10.0.0.2/32"), true),
        (net("10.0.0.0/24"), true),
        (net("10.0.0.3/32"), false),
        (AddressPattern::Masked { net: ip("10.9.9.2"), mask: ip("255.0.0.255") }, true),
        (AddressPattern::Masked { net: ip("10.9.9.3"), mask: ip("255.0.0.255") }, false),
        (AddressPattern::Range(ip("10.0.0.1"), ip("10.0.0.2")), true),
        (AddressPattern::Range(ip("10.0.0.3"), ip("10.0.0.9")), false),
        (AddressPattern::NoRoute, false),
        (AddressPattern::UrpfFailed, false),
        (own(InterfacePart::Network, false, None), true),
        (own(InterfacePart::Own, false, None), false),
        (own(InterfacePart::Own, false, Some(24)), true),
        (own(InterfacePart::Broadcast, false, None), false),
        (own(InterfacePart::Peer, false, None), false),
    ];
    for (pattern, expected) in cases {
        let mut rule = from(pattern.clone());
        assert_eq!(matches(rule.clone(), &query), expected, "from {pattern:?}");
        rule.from.address.negated = true;
        assert_eq!(matches(rule, &query), !expected, "from ! {pattern:?}");
        let to = Endpoint { address: address(pattern.clone()), port: PortMatch::Any };
        let turned = udp(SERVER, 53, CLIENT, 5353);
        // A destination has no reverse path to fail, and arrives by the wrong interface here.
        if pattern != AddressPattern::UrpfFailed {
            assert_eq!(
                matches(Rule { to, af: Some(Af::Inet), ..stateless() }, &turned),
                expected,
                "to {pattern:?}"
            );
        }
    }
    assert!(matches(from(AddressPattern::UrpfFailed), &udp(SERVER, 1, SERVER, 2)), "it belongs on em1");
    assert!(matches(from(AddressPattern::NoRoute), &udp(ip("192.0.2.1"), 1, SERVER, 2)));
    // (em0) is both addresses, (em0:0) the first only.
    let alias = udp(ip("10.0.0.9"), 1, SERVER, 2);
    assert!(matches(from(own(InterfacePart::Own, false, None)), &alias));
    assert!(!matches(from(own(InterfacePart::Own, true, None)), &alias));
    assert!(matches(from(own(InterfacePart::Own, true, None)), &udp(GATEWAY, 1, SERVER, 2)));
    assert!(matches(from(own(InterfacePart::Broadcast, false, None)), &udp(ip("10.0.0.255"), 1, SERVER, 2)));
}

#[test]
fn the_longest_entry_of_a_table_decides() {
    let entry = |negated, text: &str| TableEntry::new(negated, text.parse().unwrap());
    let entries = vec![entry(false, "10.0.0.0/8"), entry(true, "10.0.0.0/24"), entry(false, "10.0.0.2/32")];
    let table = Table { name: "hosts".into(), entries: Some(entries), ..Table::default() };
    let rule = Rule { action: Action::Block(DROP), ..from(AddressPattern::Table("hosts".into())) };
    let ruleset = Ruleset { tables: vec![table], ..rules(vec![]) };
    let ruleset = Ruleset { rules: vec![rule], ..ruleset };
    ruleset.validate().unwrap();
    let hook = Hook { direction: Direction::In, interface: INSIDE };
    for (source, blocked) in
        [("10.0.0.2", true), ("10.0.0.3", false), ("10.9.0.3", true), ("11.0.0.1", false)]
    {
        let query = udp(source.parse().unwrap(), 1, SERVER, 2);
        let expected = if blocked { dropped(Reason::Match) } else { Verdict::Pass };
        assert_eq!(
            oracle(ruleset.clone(), Deviations::NONE).hook(hook, &query, &mut None, 0),
            expected,
            "{source}"
        );
    }
}

#[test]
fn ports_flags_and_icmp_types() {
    let query = udp(CLIENT, 5353, SERVER, 53);
    let port = |port| {
        let to = Endpoint { port, ..Endpoint::default() };
        Rule { proto: Some(Proto::UDP), to, ..stateless() }
    };
    assert!(matches(port(PortMatch::Equal(Port(53))), &query));
    assert!(!matches(port(PortMatch::Equal(Port(54))), &query));
    assert!(matches(port(PortMatch::Range(Port(53), Port(60))), &query));
    assert!(!matches(port(PortMatch::Inside(Port(53), Port(60))), &query));
    let opening = Rule { flags: pass().flags, ..stateless() };
    assert!(matches(opening.clone(), &syn()));
    assert!(!matches(opening.clone(), &packet(CLIENT, SERVER, Transport::Tcp(tcp(flags("SA"), 1, 1)))));
    assert!(matches(opening, &query), "flags concern TCP only");
    let echo =
        |code| Rule { proto: Some(Proto::ICMP), icmp: Some(IcmpMatch { kind: 8, code }), ..stateless() };
    assert!(matches(echo(None), &icmp(CLIENT, SERVER, 8, 7)));
    assert!(matches(echo(Some(0)), &icmp(CLIENT, SERVER, 8, 7)));
    assert!(!matches(echo(Some(1)), &icmp(CLIENT, SERVER, 8, 7)));
    assert!(!matches(echo(None), &icmp(CLIENT, SERVER, 13, 7)));
    assert!(!matches(Rule { fragment: true, ..stateless() }, &query), "`fragment` matches no whole datagram");
}

#[test]
fn tags_stick_and_go_from_hook_to_hook() {
    let tagging =
        |action| Rule { action, tag: Some("seen".into()), direction: Some(Direction::In), ..stateless() };
    let tagged = |negated| Rule { tagged: Some(TagMatch { negated, name: "seen".into() }), ..stateless() };
    let query = udp(CLIENT, 5353, SERVER, 53);
    let out = |rule| Rule { direction: Some(Direction::Out), ..rule };
    let blocked = |rule: Rule| Rule { action: Action::Block(DROP), ..rule };
    // On the second hook, from the first.
    let mut oracle = pf(vec![tagging(Action::Match), out(blocked(tagged(false)))]);
    assert_eq!(outbound(&mut oracle, &query, 0), dropped(Reason::Match));
    let mut oracle = pf(vec![tagging(Action::Match), out(blocked(tagged(true)))]);
    assert_eq!(outbound(&mut oracle, &query, 0), Verdict::Pass);
    // Within one walk, from a rule that does not decide.
    assert_eq!(enters(vec![tagging(Action::Pass), blocked(tagged(false))], &query), dropped(Reason::Match));
    assert_eq!(enters(vec![blocked(tagged(false))], &query), Verdict::Pass);
    // A state puts its tag on later packets, here towards rules of the other hook.
    let keeping = Rule { state: StateMode::Keep, ..tagging(Action::Pass) };
    let mut oracle = pf(vec![keeping]);
    assert_eq!(outbound(&mut oracle, &query, 0), Verdict::Pass);
    oracle.load(rules(vec![out(blocked(tagged(false)))])).unwrap();
    assert_eq!(outbound(&mut oracle, &query, 0), dropped(Reason::Match));
}

#[test]
fn ip_options_need_allow_opts() {
    let with_options = |packet| Packet { options: IpOptions::Present, ..packet };
    let query = with_options(udp(CLIENT, 5353, SERVER, 53));
    let allowing = |rule| Rule { allow_opts: true, ..rule };
    assert_eq!(enters(vec![], &query), dropped(Reason::IpOption));
    assert_eq!(enters(vec![stateless()], &query), dropped(Reason::IpOption));
    assert_eq!(enters(vec![allowing(stateless())], &query), Verdict::Pass);
    // No state is made for a packet that dies of its options.
    let mut oracle = pf(vec![pass_any_flags()]);
    assert_eq!(outbound(&mut oracle, &query, 0), dropped(Reason::IpOption));
    assert!(oracle.states().is_empty());
    // On a state pf has tracked the packet before it looks, but does not count it.
    assert_eq!(outbound(&mut oracle, &udp(CLIENT, 5353, SERVER, 53), 0), Verdict::Pass);
    assert_eq!(outbound(&mut oracle, &query, 9), dropped(Reason::IpOption));
    let first = oracle.states().iter().min_by_key(|state| state.id).unwrap();
    assert_eq!((first.last_seen, first.packets), (9, [1, 0]));
    let mut oracle = pf(vec![allowing(pass_any_flags())]);
    assert_eq!(outbound(&mut oracle, &query, 0), Verdict::Pass);
    assert_eq!(outbound(&mut oracle, &query, 0), Verdict::Pass);
}

#[test]
fn fragments_have_neither_ports_nor_states_and_skipped_interfaces_are_not_filtered() {
    let fragment = Packet { part: Part::Fragment, ..packet(CLIENT, SERVER, proto(17)) };
    let within = Packet { part: Part::WithinHeader, ..packet(CLIENT, SERVER, proto(6)) };
    let mut ruleset = rules(vec![pass_any_flags()]);
    let mut oracle = oracle(ruleset.clone(), Deviations::NONE);
    assert_eq!(outbound(&mut oracle, &fragment, 0), Verdict::Pass);
    assert_eq!(outbound(&mut oracle, &within, 0), dropped(Reason::Fragment));
    assert!(oracle.states().is_empty());
    ruleset.options.skip = vec!["lan".into()];
    ruleset.rules = vec![block(DROP)];
    oracle.load(ruleset.clone()).unwrap();
    let query = udp(CLIENT, 5353, SERVER, 53);
    assert_eq!(outbound(&mut oracle, &query, 0), dropped(Reason::Match), "the other interface is filtered");
    ruleset.options.skip.push("em1".into());
    oracle.load(ruleset).unwrap();
    assert_eq!(outbound(&mut oracle, &query, 0), Verdict::Pass);
    assert_eq!(outbound(&mut oracle, &fragment, 0), Verdict::Pass);
}

#[test]
fn floating_and_if_bound_states() {
    let query = udp(CLIENT, 5353, SERVER, 53);
    let answer = udp(SERVER, 53, CLIENT, 5353);
    let detour = From::Interface(DETOUR);
    let closed = || rules(vec![block(DROP)]);
    let mut oracle = pf(vec![pass_any_flags()]);
    assert_eq!(outbound(&mut oracle, &query, 0), Verdict::Pass);
    oracle.load(closed()).unwrap();
    assert_eq!(oracle.forward(&answer, detour, Onward::Interface(INSIDE), 0), Verdict::Pass);

    let mut bound = pass_any_flags();
    bound.state_options.policy = Some(StatePolicy::IfBound);
    let mut oracle = pf(vec![bound]);
    assert_eq!(outbound(&mut oracle, &query, 0), Verdict::Pass);
    assert!(oracle.print_states(0).starts_with("em0 udp 10.1.0.2:53 <- "));
    oracle.load(closed()).unwrap();
    assert_eq!(oracle.forward(&answer, detour, Onward::Interface(INSIDE), 0), dropped(Reason::Match));
    assert_eq!(inbound(&mut oracle, &answer, 0), Verdict::Pass);
}

#[test]
fn the_state_bound_to_the_interface_comes_before_the_floating_one() {
    let only = |name: &str, rule| Rule { interface: on(name), direction: Some(Direction::In), ..rule };
    let mut bound = pass_any_flags();
    bound.state_options.policy = Some(StatePolicy::IfBound);
    let mut oracle = pf(vec![only("em2", bound), only("em0", pass_any_flags())]);
    let query = udp(CLIENT, 5353, SERVER, 53);
    let mut enter = |interface| {
        let hook = Hook { direction: Direction::In, interface };
        assert_eq!(oracle.hook(hook, &query, &mut None, 0), Verdict::Pass);
        oracle.states().iter().map(|state| (state.interface, state.packets[0])).collect::<Vec<_>>()
    };
    assert_eq!(enter(DETOUR), [(Some(DETOUR), 1)]);
    assert_eq!(enter(INSIDE), [(Some(DETOUR), 1), (None, 1)]);
    assert_eq!(enter(DETOUR), [(Some(DETOUR), 2), (None, 1)]);
    assert_eq!(enter(OUTSIDE), [(Some(DETOUR), 2), (None, 2)]);
}

#[test]
fn a_bound_state_comes_first_even_if_it_is_younger() {
    let mut oracle = pf(vec![pass_any_flags()]);
    let query = udp(CLIENT, 5353, SERVER, 53);
    let hook = Hook { direction: Direction::In, interface: INSIDE };
    assert_eq!(oracle.hook(hook, &query, &mut None, 0), Verdict::Pass);
    let floating = oracle.states()[0].clone();
    let bound = oracle.insert(State { interface: Some(INSIDE), packets: [0; 2], ..floating }, 0).unwrap();
    assert_eq!(oracle.hook(hook, &query, &mut None, 0), Verdict::Pass);
    assert_eq!(oracle.state(bound).map(|state| state.packets), Some([1, 0]));
}

/// What a blocking rule says to a packet that enters.
fn answer(reply: BlockReply, packet: &Packet, deviations: Deviations) -> (Reason, Option<Reply>) {
    let hook = Hook { direction: Direction::In, interface: INSIDE };
    let mut oracle = oracle(rules(vec![block(reply)]), deviations);
    let Verdict::Drop { reason, reply } = oracle.hook(hook, packet, &mut None, 0) else {
        panic!("the rule blocks")
    };
    assert!(oracle.states().is_empty());
    (reason, reply)
}

const RETURN: BlockReply = BlockReply::Return(IcmpReply { code: 3, code6: 4 });
const RST: BlockReply = BlockReply::Rst { ttl: 9 };
const ICMP: BlockReply = BlockReply::Icmp { code: Some(13), code6: None };

#[test]
fn resets_in_pfs_form_and_in_the_rfcs() {
    let segment = |letters, payload| {
        packet(CLIENT, SERVER, Transport::Tcp(Tcp { payload, ..tcp(flags(letters), 100, 700) }))
    };
    let rst = |seq, ack, letters, ttl| {
        Some(Reply::Rst { seq: Seq(seq), ack: Seq(ack), flags: flags(letters), ttl })
    };
    // pf: RST|ACK, the number from the acknowledgment field whatever ACK says.
    for (letters, payload, end) in
        [("S", 0, 101), ("S", 10, 111), ("A", 0, 100), ("FA", 0, 101), ("PA", 10, 110)]
    {
        let (_, reply) = answer(RETURN, &segment(letters, payload), Deviations::NONE);
        assert_eq!(reply, rst(700, end, "RA", 0), "{letters}");
    }
    for (letters, payload, expected) in [
        ("S", 0, rst(0, 101, "RA", 0)),
        ("S", 10, rst(0, 111, "RA", 0)),
        ("A", 0, rst(700, 0, "R", 0)),
        ("FPA", 10, rst(700, 0, "R", 0)),
    ] {
        let (_, reply) = answer(RETURN, &segment(letters, payload), Deviations::ALL);
        assert_eq!(reply, expected, "{letters}");
    }
    assert_eq!(answer(RST, &segment("S", 0), Deviations::ALL).1, rst(0, 101, "RA", 9), "with the rule's ttl");
}

#[test]
fn each_form_answers_its_protocols() {
    let query = udp(CLIENT, 5353, SERVER, 53);
    let query6 = udp(v6(2), 5353, v6(3), 53);
    let ask = |reply, packet: &Packet| answer(reply, packet, Deviations::ALL).1;
    let unreachable = |kind, code| Some(Reply::Icmp { kind, code });
    assert_eq!(ask(DROP, &syn()), None);
    assert_eq!(ask(DROP, &query), None);
    assert_eq!(ask(RST, &query), None);
    assert_eq!(ask(RETURN, &query), unreachable(3, 3));
    assert_eq!(ask(RETURN, &query6), unreachable(1, 4));
    assert_eq!(ask(RETURN, &icmp(CLIENT, SERVER, 8, 1)), unreachable(3, 3));
    assert_eq!(ask(RETURN, &packet(CLIENT, SERVER, proto(47))), unreachable(3, 3));
    assert_eq!(ask(ICMP, &query), unreachable(3, 13));
    assert_eq!(ask(ICMP, &syn()), unreachable(3, 13), "for TCP as well");
    assert_eq!(ask(ICMP, &query6), None, "the other family was not asked for");
}

#[test]
fn what_must_not_be_answered_is_not() {
    let ip = |text: &str| text.parse::<IpAddr>().unwrap();
    let reset = packet(CLIENT, SERVER, Transport::Tcp(tcp(TcpFlags::RST, 1, 0)));
    let silent = [
        reset.clone(),
        icmp(CLIENT, SERVER, 3, 0),
        icmp(v6(2), v6(3), 1, 0),
        Packet { ttl: 255, ..icmp(v6(2), v6(3), 137, 0) },
        udp(CLIENT, 1, ip("224.0.0.1"), 2),
        udp(CLIENT, 1, ip("255.255.255.255"), 2),
        udp(CLIENT, 1, ip("10.1.0.255"), 2),
        udp(v6(2), 1, ip("ff02::1"), 2),
        udp(ip("0.0.0.0"), 1, SERVER, 2),
        udp(ip("127.0.0.1"), 1, SERVER, 2),
        udp(ip("224.0.0.1"), 1, SERVER, 2),
        udp(ip("250.0.0.1"), 1, SERVER, 2),
        udp(ip("::"), 1, v6(3), 2),
        udp(GATEWAY, 1, SERVER, 2),
    ];
    for packet in silent {
        assert_eq!(answer(RETURN, &packet, Deviations::NONE), (Reason::Match, None), "{packet:?}");
    }
    assert_eq!(answer(RST, &reset, Deviations::NONE).1, None);
    let Packet { transport: Transport::Tcp(segment), .. } = syn() else { unreachable!("a SYN is TCP") };
    let wrong = packet(CLIENT, SERVER, Transport::Tcp(Tcp { checksum: Checksum::Bad, ..segment }));
    assert_eq!(answer(RETURN, &wrong, Deviations::NONE), (Reason::ProtoCksum, None));
    assert_eq!(answer(RST, &wrong, Deviations::NONE), (Reason::ProtoCksum, None));
    assert_eq!(answer(DROP, &wrong, Deviations::NONE), (Reason::Match, None));
}

#[test]
fn synproxy_is_refused_not_ignored() {
    let proxied = Rule { state: StateMode::Synproxy, proto: Some(Proto::TCP), ..pass() };
    let ruleset = rules(vec![pass(), proxied]);
    let refused = Oracle::new(ruleset.clone(), world(), Deviations::NONE, 1).err();
    assert_eq!(refused.map(|unmodelled| unmodelled.rule), Some(1));
    let mut oracle = pf(vec![block(DROP)]);
    assert!(oracle.load(ruleset).is_err());
    assert_eq!(outbound(&mut oracle, &syn(), 0), dropped(Reason::Match), "the old rules stay");
}

#[test]
fn a_state_names_its_rule_by_identity_after_a_reload() {
    let numbered = |identity, rule| Rule { identity, ..rule };
    let mut oracle = pf(vec![numbered(5, pass())]);
    assert_eq!(outbound(&mut oracle, &syn(), 0), Verdict::Pass);
    let number = |oracle: &Oracle| oracle.view(&oracle.states()[0], 0).rule;
    assert_eq!(number(&oracle), Some(0));
    oracle.load(rules(vec![numbered(6, block(DROP)), numbered(5, pass())])).unwrap();
    assert_eq!(number(&oracle), Some(1));
    oracle.load(rules(vec![numbered(6, block(DROP))])).unwrap();
    assert_eq!(number(&oracle), None);
    assert!(oracle.print_states(0).contains(", rule -\n"));
    let answer = back(tcp(flags("SA"), 5000, 1001));
    assert_eq!(inbound(&mut oracle, &answer, 0), Verdict::Pass, "and keeps working");
}
