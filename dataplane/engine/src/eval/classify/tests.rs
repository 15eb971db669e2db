//! The classifier beside the plain walk over every rule.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use ruleset::{
    Action, AddressMatch, AddressPattern, BlockReply, Direction, Endpoint, FlagsMatch, IcmpMatch,
    InterfaceMatch, InterfacePart, InterfacePattern, PacketRate, PortMatch, Rule, Ruleset, StateMode, Table,
    TableEntry, TagMatch,
};
use wire::{Af, Mac, Port, Proto, Seq, TcpFlags};

use super::*;
use crate::eval::filter::Seen;
use crate::eval::walk::{Decision, Occasion, Role, Walk, transport_matches};
use crate::eval::{Root, Tag};
use crate::fib::{Fib, Interface, InterfaceAddress, InterfaceId, Role as InterfaceRole};
use crate::packet::{Tuple, Zone};
use crate::tick::Tick;
use crate::track::Segment;

impl Root {
    /// The decision without a classifier: every rule is compared as a whole.
    fn decide_plainly(&self, question: &Question<'_>) -> Decision<'_> {
        let mut walk = Walk::of(question.tag);
        for (number, rule) in (0..).zip(&*self.rules) {
            if self.matches(rule, question) && walk.follow::<false>(number, rule, question).is_break() {
                break;
            }
        }
        self.decided(&walk)
    }

    fn matches(&self, rule: &Filter, question: &Question<'_>) -> bool {
        let Question { packet, fib, .. } = question;
        let tuple = &packet.tuple;
        let seen = Seen {
            tables: &self.tables,
            fib,
            interface: question.interface,
            table: ruleset::RoutingTable::MAIN,
        };
        let end = |end: &EndFilter, address: Address, port: Port| {
            end.pattern.finds(tuple.af, address, &seen) != end.negated
                && (!has_ports(packet) || end.port.accepts(port))
        };
        rule.interfaces.contains(question.interface)
            && rule.direction.is_none_or(|direction| direction == question.direction)
            && rule.af.is_none_or(|af| af == tuple.af)
            && rule.proto.is_none_or(|proto| proto == tuple.proto)
            && end(&rule.from, tuple.src, tuple.sport)
            && end(&rule.to, tuple.dst, tuple.dport)
            && transport_matches(rule, packet, question.role)
    }

    /// How many rules are compared.
    fn visits(&self, question: &Question<'_>) -> usize {
        let mut visits = 0;
        self.classifier.visit(question, |_, _| {
            visits += 1;
            ControlFlow::Continue(())
        });
        visits
    }
}

impl Classifier {
    /// How often rules are in parts.
    fn places(&self) -> usize {
        self.parts.iter().map(|part| part.rules.len()).sum()
    }
}

/// All that a decision says.
fn said(decision: &Decision<'_>) -> impl PartialEq + core::fmt::Debug + use<> {
    let matched: Vec<u32> = decision.matched.rules().collect();
    (
        (decision.action, decision.state, decision.if_bound, decision.log),
        (decision.tag, decision.state_tag),
        (decision.rule, decision.ended_at, decision.slot.serial),
        (matched, decision.scrubbing),
    )
}

fn interface(name: &str, group: &str, addresses: &[&str]) -> Interface {
    let address = |text: &&str| InterfaceAddress::new(text.parse().unwrap(), 24);
    Interface {
        name: name.into(),
        groups: vec![group.into()],
        mac: Mac([2, 0, 0, 0, 0, 1]),
        mtu: 1500,
        addresses: addresses.iter().map(address).collect(),
        zone: Zone(0),
        up: true,
        role: InterfaceRole::Routed,
    }
}

fn fib() -> Fib {
    let interfaces = vec![
        interface("em0", "lan", &["10.0.0.1", "2001:db8::1"]),
        interface("em1", "lan", &["10.0.1.1"]),
        interface("em2", "wan", &[]),
    ];
    Fib::new(1, interfaces, [], [])
}

// ---- Values that lie close to each other, so that rules hit and narrowly miss.

fn v4() -> impl Strategy<Value = Ipv4Addr> {
    prop_oneof![
        8 => (0u8..2, 0u8..3, prop::sample::select(vec![0u8, 1, 2, 3, 127, 128, 254, 255]))
            .prop_map(|(b, c, d)| Ipv4Addr::new(10, b, c, d)),
        1 => prop::sample::select(vec![Ipv4Addr::UNSPECIFIED, Ipv4Addr::BROADCAST, Ipv4Addr::new(11, 0, 0, 0)]),
        1 => any::<u32>().prop_map(Ipv4Addr::from_bits),
    ]
}

fn v6() -> impl Strategy<Value = Ipv6Addr> {
    prop_oneof![
        8 => (0u16..2, prop::sample::select(vec![0u16, 1, 2, 0x7fff, 0x8000, 0xffff]))
            .prop_map(|(net, host)| Ipv6Addr::new(0x2001, 0xdb8, 0, net, 0, 0, 0, host)),
        // Numbers that IPv4 addresses have as well.
        1 => v4().prop_map(|v4| Ipv6Addr::from_bits(u128::from(v4.to_bits()))),
        1 => Just(Ipv6Addr::from_bits(u128::MAX)),
    ]
}

fn ip(af: Af) -> BoxedStrategy<IpAddr> {
    match af {
        Af::Inet => v4().prop_map(IpAddr::V4).boxed(),
        Af::Inet6 => v6().prop_map(IpAddr::V6).boxed(),
    }
}

fn port() -> impl Strategy<Value = Port> {
    prop::sample::select(vec![0u16, 1, 21, 22, 23, 79, 80, 81, 443, 1023, 1024, 65534, 65535]).prop_map(Port)
}

fn port_match() -> impl Strategy<Value = PortMatch> {
    prop_oneof![
        4 => Just(PortMatch::Any),
        4 => port().prop_map(PortMatch::Equal),
        1 => port().prop_map(PortMatch::NotEqual),
        1 => port().prop_map(PortMatch::Less),
        1 => port().prop_map(PortMatch::LessOrEqual),
        1 => port().prop_map(PortMatch::Greater),
        1 => port().prop_map(PortMatch::GreaterOrEqual),
        1 => (port(), port()).prop_map(|(a, b)| PortMatch::Range(a, b)),
        1 => (port(), port()).prop_map(|(a, b)| PortMatch::Inside(a, b)),
        1 => (port(), port()).prop_map(|(a, b)| PortMatch::Outside(a, b)),
    ]
}

fn pattern(af: Option<Af>) -> BoxedStrategy<AddressPattern> {
    let free = prop_oneof![
        4 => Just(AddressPattern::Any),
        1 => prop::sample::select(vec!["few", "many"]).prop_map(|name| AddressPattern::Table(name.into())),
        1 => Just(AddressPattern::NoRoute),
        1 => prop::sample::select(vec!["em0", "self", "lan"]).prop_map(|name| AddressPattern::Interface {
            name: name.into(),
            part: InterfacePart::Own,
            no_alias: false,
            prefix: None,
        }),
    ];
    let Some(af) = af else { return free.boxed() };
    let lengths = match af {
        Af::Inet => vec![0u8, 1, 8, 16, 24, 25, 31, 32],
        Af::Inet6 => vec![0, 16, 32, 63, 64, 112, 127, 128],
    };
    let net = (ip(af), prop::sample::select(lengths))
        .prop_map(|(address, length)| AddressPattern::Net(IpNet::new(address, length).unwrap()));
    let range = (ip(af), ip(af)).prop_map(|(a, b)| AddressPattern::Range(a.min(b), a.max(b)));
    let masks = match af {
        Af::Inet => ["255.0.0.255", "0.0.0.1", "255.255.255.128", "0.0.0.0"],
        Af::Inet6 => ["ffff:ffff::ffff", "::1", "ffff:ffff:ffff:fffe::", "::"],
    };
    let masked = (ip(af), prop::sample::select(masks.to_vec()))
        .prop_map(|(net, mask)| AddressPattern::Masked { net, mask: mask.parse().unwrap() });
    prop_oneof![3 => free, 6 => net, 2 => range, 1 => masked].boxed()
}

fn address(af: Option<Af>) -> impl Strategy<Value = AddressMatch> {
    (prop::bool::weighted(0.2), pattern(af)).prop_map(|(negated, pattern)| AddressMatch { negated, pattern })
}

fn tag() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["red", "blue", "never"]).prop_map(String::from)
}

fn interface_match() -> impl Strategy<Value = InterfaceMatch> {
    let names = vec!["em0", "em1", "em2", "lan", "wan", "absent"];
    let name = prop::sample::select(names).prop_map(|name| InterfacePattern::Name(name.into()));
    (prop::bool::weighted(0.2), prop_oneof![1 => Just(InterfacePattern::Any), 8 => name])
        .prop_map(|(negated, pattern)| InterfaceMatch { negated, pattern })
}

fn action() -> impl Strategy<Value = (Action, StateMode)> {
    prop_oneof![
        3 => Just((Action::Pass, StateMode::Keep)),
        1 => Just((Action::Pass, StateMode::None)),
        2 => Just((Action::Block(BlockReply::Drop), StateMode::None)),
        2 => Just((Action::Match, StateMode::None)),
    ]
}

/// A rule, of any kind that is valid.
fn rule() -> impl Strategy<Value = Rule> {
    let af = prop_oneof![Just(None), Just(Some(Af::Inet)), Just(Some(Af::Inet6))];
    let kinds = vec![Proto::TCP, Proto::UDP, Proto::ICMP, Proto::ICMP6, Proto::SCTP, Proto::GRE];
    let proto = prop::option::weighted(0.7, prop::sample::select(kinds));
    let fields = (af, proto).prop_flat_map(|(af, proto)| {
        let ported = matches!(proto, Some(Proto::TCP | Proto::UDP | Proto::SCTP));
        let ports = move || if ported { port_match().boxed() } else { Just(PortMatch::Any).boxed() };
        let kinds = (prop::sample::select(vec![0u8, 3, 8, 128, 129, 255]), prop::option::of(0u8..2));
        let icmp = match (af, proto) {
            (Some(Af::Inet), Some(Proto::ICMP)) | (Some(Af::Inet6), Some(Proto::ICMP6)) => {
                prop::option::of(kinds.prop_map(|(kind, code)| IcmpMatch { kind, code })).boxed()
            }
            _ => Just(None).boxed(),
        };
        (Just(af), Just(proto), (address(af), ports()), (address(af), ports()), icmp)
    });
    let direction = prop_oneof![Just(None), Just(Some(Direction::In)), Just(Some(Direction::Out))];
    let place = (direction, prop::option::weighted(0.6, interface_match()));
    let tags = (
        prop::option::weighted(0.2, tag()),
        prop::option::weighted(
            0.2,
            (any::<bool>(), tag()).prop_map(|(negated, name)| TagMatch { negated, name }),
        ),
    );
    let few = (
        prop::option::weighted(0.1, type_of_service()),
        prop::option::weighted(0.1, 2u8..5),
        prop::option::weighted(0.1, prop::sample::select(vec![0, u32::MAX / 2, u32::MAX])),
        prop::option::weighted(0.1, interface_match()),
        prop::option::weighted(
            0.1,
            (0u32..4, 1u32..3).prop_map(|(packets, seconds)| PacketRate { packets, seconds }),
        ),
        prop::bool::weighted(0.1),
    );
    let rest = (action(), prop::bool::weighted(0.1), prop::bool::weighted(0.05), any::<bool>());
    (fields, place, tags, few, rest).prop_map(
        |(fields, place, tags, few, (decides, quick, fragment, syn))| {
            let (af, proto, (from, from_port), (to, to_port), icmp) = fields;
            let flags =
                (syn && proto.is_none_or(|proto| proto == Proto::TCP)).then_some(FlagsMatch::SYN_ONLY);
            Rule {
                action: decides.0,
                state: decides.1,
                direction: place.0,
                interface: place.1,
                quick,
                fragment,
                af,
                proto,
                icmp,
                flags,
                from: Endpoint { address: from, port: from_port },
                to: Endpoint { address: to, port: to_port },
                tag: tags.0,
                tagged: tags.1,
                tos: few.0,
                prio: few.1,
                probability: few.2,
                received_on: few.3,
                packet_rate: few.4,
                once: few.5 && decides.0 != Action::Match,
                set_tos: few.0,
                ..Rule::default()
            }
        },
    )
}

/// A packet at a hook, and the tag that it carries.
#[derive(Clone, Debug)]
struct Ask {
    packet: Packet,
    direction: Direction,
    interface: InterfaceId,
    tag: Tag,
    received_on: Option<InterfaceId>,
    priority: u8,
    role: Role,
    occasion: Occasion,
}

impl Ask {
    const fn question<'a>(&'a self, fib: &'a Fib) -> Question<'a> {
        let Self { packet, direction, interface, tag, received_on, priority, role, occasion } = self;
        Question {
            packet,
            direction: *direction,
            interface: *interface,
            tag: *tag,
            received_on: *received_on,
            priority: *priority,
            shape: None,
            fib,
            role: *role,
            occasion: *occasion,
        }
    }
}

fn type_of_service() -> impl Strategy<Value = u8> {
    prop::sample::select(vec![0u8, 0x10, 0xb8, 0xb9])
}

const fn tcp(flags: u8) -> Transport {
    let flags = TcpFlags(flags);
    Transport::Tcp(Segment {
        flags,
        seq: Seq(1),
        ack: Seq(0),
        window: 1000,
        len: 0,
        wscale: None,
        strays: false,
    })
}

fn transport() -> impl Strategy<Value = (Proto, Transport)> {
    let kind = || prop::sample::select(vec![0u8, 3, 8, 128, 129]);
    let icmp = (kind(), 0u8..2, any::<bool>()).prop_map(|(kind, code, query)| match query {
        true => Transport::IcmpQuery { kind, code },
        false => Transport::IcmpOther { kind, code },
    });
    prop_oneof![
        4 => prop::sample::select(vec![0x02u8, 0x10, 0x12]).prop_map(|flags| (Proto::TCP, tcp(flags))),
        3 => Just((Proto::UDP, Transport::Udp)),
        2 => (prop::sample::select(vec![Proto::ICMP, Proto::ICMP6]), icmp),
        1 => Just((Proto::SCTP, Transport::Other)),
        1 => Just((Proto::GRE, Transport::Other)),
        1 => prop::sample::select(vec![Proto::TCP, Proto::UDP, Proto::ESP])
            .prop_map(|proto| (proto, Transport::Fragment)),
    ]
}

fn ask() -> impl Strategy<Value = Ask> {
    let ends = prop_oneof![3 => Just(Af::Inet), 2 => Just(Af::Inet6)].prop_flat_map(|af| {
        (Just(af), ip(af).prop_map(Address::from), ip(af).prop_map(Address::from), port(), port())
    });
    // One more interface than there was when the rules were compiled.
    let place = (prop::sample::select(vec![Direction::In, Direction::Out]), 0u16..4);
    let role = prop_oneof![4 => Just(Role::Original), 1 => Just(Role::Copy)];
    let real =
        (0u64..3, any::<u64>()).prop_map(|(now, luck)| Occasion::Real { now: Tick::from_secs(now), luck });
    let occasion = prop_oneof![9 => real, 1 => Just(Occasion::Imagined)];
    let few = (type_of_service(), 2u8..5, prop::option::weighted(0.8, 0u16..4), occasion);
    (ends, transport(), place, (0u16..3).prop_map(Tag), role, few).prop_map(
        |((af, src, dst, sport, dport), (proto, transport), (direction, interface), tag, role, few)| {
            let tuple = Tuple { af, proto, zone: Zone(0), src, dst, sport, dport };
            let (tos, priority, received_on, occasion) = few;
            let packet = Packet { tos, ..Packet::without_frame(tuple, transport) };
            let received_on = received_on.map(InterfaceId);
            let interface = InterfaceId(interface);
            Ask { packet, direction, interface, tag, received_on, priority, role, occasion }
        },
    )
}

fn compile(rules: Vec<Rule>, fib: &Fib) -> Root {
    let entry = |negated, text: &str| TableEntry::new(negated, text.parse().unwrap());
    let tables = [
        ("few", vec![entry(false, "10.0.0.0/24")]),
        ("many", vec![entry(false, "10.0.0.0/8"), entry(true, "10.0.1.0/24"), entry(false, "2001:db8::/32")]),
    ];
    let tables = tables
        .into_iter()
        .map(|(name, entries)| Table { name: name.into(), entries: Some(entries), ..Table::default() })
        .collect();
    let ruleset = Ruleset { rules, tables, ..Ruleset::default() };
    Root::compile(&ruleset, fib.interfaces(), None).expect("valid rules")
}

/// Asserts that a root of these rules decides as the plain walk, whatever it is asked, and returns it. The walk has the same
/// rules for itself: some change as they match.
fn agrees(rules: &[Rule], fib: &Fib, asks: &[Ask]) -> Result<Root, TestCaseError> {
    let [root, plain] = [compile(rules.to_vec(), fib), compile(rules.to_vec(), fib)];
    for ask in asks {
        let question = ask.question(fib);
        prop_assert_eq!(said(&root.decide(&question)), said(&plain.decide_plainly(&question)), "{:?}", ask);
    }
    Ok(root)
}

/// `count` values, the same in each run.
fn sample<S: Strategy>(strategy: &S, count: usize) -> Vec<S::Value> {
    let mut runner = TestRunner::deterministic();
    (0..count).map(|_| strategy.new_tree(&mut runner).expect("a value").current()).collect()
}

/// Takes away what makes a rule have a word before the last one that matches.
fn silence(rule: &mut Rule) {
    (rule.quick, rule.tag, rule.tagged) = (false, None, None);
    if rule.action == Action::Match {
        rule.action = Action::Pass;
    }
    (rule.tos, rule.prio, rule.probability, rule.received_on, rule.packet_rate, rule.once) =
        Default::default();
}

proptest! {
    #[test]
    fn decisions_are_those_of_the_plain_walk(
        mut rules in prop::collection::vec(rule(), 0..80),
        asks in prop::collection::vec(ask(), 40),
    ) {
        let fib = fib();
        agrees(&rules, &fib, &asks)?;
        rules.iter_mut().for_each(silence);
        agrees(&rules, &fib, &asks)?;
    }
}

#[test]
fn decisions_over_thousands_of_rules_are_those_of_the_plain_walk() {
    let (fib, asks) = (fib(), sample(&ask(), 2_000));
    // In a part of more than 8192 rules vectors have two levels of nodes.
    for (count, free) in [(700, false), (3_000, false), (9_000, true)] {
        let mut rules = sample(&rule(), count);
        // Else some early `quick` ends every walk, and the last match is always near the end.
        for (number, rule) in rules.iter_mut().enumerate() {
            rule.quick &= number % 50 == 0 && number > count / 2;
            if free {
                (rule.direction, rule.interface) = (None, None);
            }
        }
        let mut silent = rules.clone();
        silent.iter_mut().for_each(silence);
        agrees(&silent, &fib, &asks).unwrap();
        let root = agrees(&rules, &fib, &asks).unwrap();
        let (visits, matched) = asks.iter().fold((0, 0), |(visits, matched), ask| {
            let question = ask.question(&fib);
            (visits + root.visits(&question), matched + usize::from(root.decide(&question).rule.is_some()))
        });
        assert!(matched > asks.len() / 2, "{matched} packets matched any rule");
        assert!(visits < asks.len() * count / 4, "{visits} rules were compared for {} packets", asks.len());
    }
}

/// A rule about one host's service, as most of a large ruleset are.
fn service(number: u32, interface: Option<String>) -> Rule {
    let net =
        |text: String| AddressMatch { negated: false, pattern: AddressPattern::Net(text.parse().unwrap()) };
    let [high, low] = [number / 250 % 250, number % 250];
    Rule {
        action: Action::Pass,
        state: StateMode::Keep,
        direction: Some(Direction::In),
        interface: interface
            .map(|name| InterfaceMatch { negated: false, pattern: InterfacePattern::Name(name) }),
        af: Some(Af::Inet),
        proto: Some(Proto::TCP),
        from: Endpoint { address: net(format!("10.{low}.0.0/16")), port: PortMatch::Any },
        to: Endpoint { address: net(format!("192.168.{high}.{low}/32")), port: PortMatch::Equal(Port(443)) },
        ..Rule::default()
    }
}

/// A segment from 10.`low`.3.4 to 192.168.`high`.`low`.
fn segment(interface: u16, [high, low]: [u8; 2], port: u16) -> Ask {
    let ask = sample(&ask(), 1).remove(0);
    let tuple = Tuple {
        af: Af::Inet,
        proto: Proto::TCP,
        zone: Zone(0),
        src: Ipv4Addr::new(10, low, 3, 4).into(),
        dst: Ipv4Addr::new(192, 168, high, low).into(),
        sport: Port(40_000),
        dport: Port(port),
    };
    let packet = Packet { tuple, transport: tcp(0x02), ..ask.packet };
    let (direction, interface) = (Direction::In, InterfaceId(interface));
    let received_on = Some(interface);
    Ask { packet, direction, interface, tag: Tag::default(), received_on, role: Role::Original, ..ask }
}

#[test]
fn a_fragment_has_no_port_by_which_rules_are_told_apart() {
    let fib = fib();
    let any = |rule: Rule| {
        let [from, to] = [rule.from, rule.to].map(|end| Endpoint { address: AddressMatch::default(), ..end });
        Rule { from, to, ..rule }
    };
    let rules: Vec<Rule> = (0..1000).map(|number| any(service(number, None))).collect();
    let root = compile(rules.clone(), &fib);
    let whole = segment(0, [1, 1], 80);
    let fragment = Ask { packet: Packet { transport: Transport::Fragment, ..whole.packet }, ..whole.clone() };
    assert_eq!([&whole, &fragment].map(|ask| root.visits(&ask.question(&fib))), [0, 1000]);
    agrees(&rules, &fib, &[whole, fragment]).unwrap();
}

#[test]
fn of_ten_thousand_rules_only_those_are_compared_that_match_addresses_and_ports() {
    let fib = fib();
    let mut rules = vec![Rule::default()];
    rules.extend((0..10_000).map(|number| service(number, Some("em0".into()))));
    let root = compile(rules, &fib);
    let visits = |ask: &Ask| root.visits(&ask.question(&fib));
    assert_eq!(visits(&segment(0, [3, 7], 443)), 2, "the rule about it, and the one about everything");
    assert_eq!(visits(&segment(0, [3, 7], 442)), 1);
    assert_eq!(visits(&segment(0, [60, 7], 443)), 1, "no rule has that server");
    assert_eq!(visits(&segment(1, [3, 7], 443)), 1, "no rule is about that interface");
    // 10,000 servers cut the addresses into as many intervals; a flat vector for each would take 12.5 MB.
    let bytes = root.classifier.vectors.bytes();
    assert!(bytes < 2_500_000, "{bytes} bytes");
}

#[test]
fn many_interfaces_do_not_multiply_rules_beyond_the_bound() {
    let interfaces: Vec<Interface> =
        (0..150).map(|number| interface(&format!("vlan{number}"), "vlan", &[])).collect();
    let fib = Fib::new(1, interfaces, [], []);
    let own = (0..150).map(|number| service(number, Some(format!("vlan{number}"))));
    let shared = (0..4_000).map(|number| service(number, None));
    let rules: Vec<Rule> = own.chain(shared).collect();
    let root = compile(rules.clone(), &fib);
    assert!(root.classifier.places() <= 4 * rules.len(), "{} places", root.classifier.places());
    for interface in [0, 7, 149, 150] {
        for place in [[0, 7], [3, 7], [0, 149], [15, 200], [16, 1]] {
            let ask = segment(interface, place, 443);
            let question = ask.question(&fib);
            assert_eq!(said(&root.decide(&question)), said(&root.decide_plainly(&question)), "{ask:?}");
            assert!(root.visits(&question) <= 2, "its own rule and the shared one: {ask:?}");
        }
    }
}
