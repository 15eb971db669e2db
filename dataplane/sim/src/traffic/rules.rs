//! Rulesets that nobody would write, but anybody might: a grammar of templates, rich in overlaps.

use ipnet::IpNet;
use ruleset::{
    Action, AddressMatch, AddressPattern, BlockReply, Call, Direction, Endpoint, FlagsMatch, Flush,
    IcmpMatch, IcmpReply, InterfaceMatch, InterfacePart, InterfacePattern, Limit, Overload, PacketRate,
    PortMatch, Rule, Ruleset, Scrub, SetPrio, SourceTracking, StateMode, StateOptions, StatePolicy, Table,
    TableEntry, TagMatch, Timeout, Tracking,
};
use wire::{Af, Port, Proto, TcpFlags};

mod translation;

use crate::rng::Rng;
use crate::topology::{self, address, interfaces, remote};

/// Ports that rules and packets draw from.
pub const PORTS: [u16; 4] = [22, 80, 1000, 1001];

/// Types of service that rules and packets draw from.
pub const TYPES_OF_SERVICE: [u8; 4] = [0, 0x10, 0xb8, 0xb9];

/// Priorities, of which a packet without one has the second.
const PRIORITIES: [u8; 3] = [1, 3, 5];

const TAGS: [&str; 3] = ["RED", "GREEN", "BLUE"];

const INTERFACES: [&str; 5] = ["em0", "em1", "em2", "lan", "egress"];

/// Which of the things that a ruleset may ask for it does ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variety {
    /// What a forwarded flow can meet at both hooks alike: floating states, no skipped interfaces.
    Plain,
    /// Everything that both the engine and the oracle know.
    Full,
    /// The same without what depends on the exact number of all states, or of all packets: shards have credits for states
    /// in stock, and those count until they are given back; rules that a worker has asked are asked again by a packet's
    /// home where states of a flow that was placed expire between its hooks.
    Sharded,
    /// As `Sharded`, and with rules that translate.
    Translated,
}

impl Variety {
    /// True if nothing depends on the exact number of all states, or of all packets.
    const fn is_sharded(self) -> bool {
        matches!(self, Self::Sharded | Self::Translated)
    }
}

/// A random ruleset.
pub fn ruleset(rng: &mut Rng, variety: Variety) -> Ruleset {
    let mut rules = Ruleset { tables: vec![table(rng)], ..Ruleset::default() };
    if rng.chance(3, 4) {
        rules.rules.push(base(rng));
    }
    for _ in 0..rng.below(8) {
        rules.rules.push(rule(rng));
    }
    if variety == Variety::Translated {
        for _ in 0..rng.between(1, 3) {
            rules.rules.push(translation::rule(rng));
        }
    }
    if rng.chance(1, 3) {
        for _ in 0..rng.between(1, 2) {
            anchor(rng, &mut rules, 0);
        }
        rules.rules.push(rule(rng));
    }
    for (number, rule) in rules.rules.iter_mut().enumerate() {
        rule.identity = rng.next();
        rule.source.line = number as u32 + 1;
    }
    options(rng, &mut rules, variety);
    let reassembles = rng.chance(1, 6);
    for rule in &mut rules.rules {
        rule.scrub.reassemble_tcp |= reassembles && rule.proto.is_none_or(|proto| proto == Proto::TCP);
        if variety == Variety::Plain {
            rule.state_options.policy = None;
        }
        if variety.is_sharded() {
            (rule.state_options.max, rule.packet_rate, rule.once) = (0, None, false);
            // Likewise: a state that has expired counts for its source until somebody meets it.
            rule.state_options.source = SourceTracking::default();
            rule.state_options.timeouts.retain(|(timeout, _)| !timeout.counts_states());
        }
    }
    rules
}

/// Adds the call of an anchor with rules in it, of which some call others.
fn anchor(rng: &mut Rng, rules: &mut Ruleset, depth: usize) {
    let (at, within) = (rules.rules.len(), rules.rules.last().map_or(0, |last| last.anchor));
    let call = Rule {
        action: Action::Pass,
        state: StateMode::None,
        state_options: StateOptions::default(),
        allow_opts: false,
        quick: rng.chance(1, 3),
        anchor: if depth == 0 { 0 } else { within },
        ..if rng.chance(1, 3) { Rule::default() } else { rule(rng) }
    };
    rules.rules.push(call);
    let wildcard = rng.chance(1, 4);
    for _ in 0..if wildcard { rng.below(3) } else { 1 } {
        rules.anchors.push(format!("a{}", rules.anchors.len()));
        let own = rules.anchors.len() as u32;
        for _ in 0..rng.below(4) {
            rules.rules.push(Rule { anchor: own, ..rule(rng) });
            if depth < 2 && rng.chance(1, 4) {
                anchor(rng, rules, depth + 1);
            }
        }
    }
    let end = rules.rules.len() as u32;
    rules.rules[at].call = Some(Call { name: "a".into(), wildcard, end });
}

/// The rule for everything, with which most rulesets begin.
fn base(rng: &mut Rng) -> Rule {
    match rng.below(4) {
        0 => Rule { action: Action::Block(reply(rng)), ..Rule::default() },
        1 => Rule { state: StateMode::Keep, ..Rule::default() },
        2 if rng.chance(1, 2) => {
            // Of nothing but connections, so that there are enough of them.
            let source = SourceTracking { max_states: 0, max_nodes: 0, ..source_tracking(rng) };
            let state_options = StateOptions { source, ..StateOptions::default() };
            Rule {
                state: StateMode::Keep,
                flags: Some(FlagsMatch::SYN_ONLY),
                state_options,
                ..Rule::default()
            }
        }
        _ => Rule { state: StateMode::Keep, flags: Some(FlagsMatch::SYN_ONLY), ..Rule::default() },
    }
}

fn table(rng: &mut Rng) -> Table {
    let mut entries = Vec::new();
    for _ in 0..rng.below(4) {
        let af = family(rng);
        let net = if rng.chance(1, 2) { network(rng, af) } else { IpNet::from(host(rng, af)) };
        let negated = rng.chance(1, 4);
        // The same address twice, once negated, is no table that control would make.
        if entries.iter().all(|entry: &TableEntry| entry.net != net) {
            entries.push(TableEntry::new(negated, net));
        }
    }
    Table { name: "some".into(), entries: Some(entries), ..Table::default() }
}

fn options(rng: &mut Rng, rules: &mut Ruleset, variety: Variety) {
    let options = &mut rules.options;
    // The oracle knows fragments by themselves; what becomes of datagrams is its `reassembly`'s.
    options.reassemble.enabled = false;
    if variety != Variety::Plain {
        if rng.chance(1, 10) {
            options.skip.push((*rng.pick(&INTERFACES)).into());
        }
        if rng.chance(1, 5) {
            options.state_policy = StatePolicy::IfBound;
        }
    }
    for _ in 0..rng.below(3) {
        let (timeout, seconds) = timeout(rng);
        options.timeouts.set(timeout, seconds);
    }
    if variety.is_sharded() {
        return;
    }
    if rng.chance(1, 8) {
        options.timeouts.set(Timeout::AdaptiveStart, rng.below(8) as u32);
        options.timeouts.set(Timeout::AdaptiveEnd, rng.below(24) as u32);
    }
    if rng.chance(1, 8) {
        options.limits.set(Limit::States, rng.between(1, 10) as u32);
    }
}

fn timeout(rng: &mut Rng) -> (Timeout, u32) {
    // The oracle counts what sources have out of states alone, so that their nodes may not outlive them.
    let possible = |timeout: &Timeout| !timeout.counts_states() && *timeout != Timeout::SrcTrack;
    let timeouts: Vec<Timeout> = Timeout::ALL.into_iter().filter(possible).collect();
    (*rng.pick(&timeouts), *rng.pick(&[0, 1, 2, 5, 30, 60, 300]))
}

/// Thresholds of a rule's own states.
fn adaptive(rng: &mut Rng) -> Vec<(Timeout, u32)> {
    vec![(Timeout::AdaptiveStart, rng.below(4) as u32), (Timeout::AdaptiveEnd, rng.below(10) as u32)]
}

fn rule(rng: &mut Rng) -> Rule {
    let proto = proto(rng);
    // Addresses, and ICMP of one kind, need a family.
    let af = match proto {
        Some(Proto::ICMP) => Some(Af::Inet),
        Some(Proto::ICMP6) => Some(Af::Inet6),
        _ => rng.chance(1, 2).then(|| family(rng)),
    };
    let action = action(rng);
    let can_be_tcp = proto.is_none_or(|proto| proto == Proto::TCP);
    let state = match action {
        Action::Pass if can_be_tcp && rng.chance(1, 6) => StateMode::Modulate,
        Action::Pass if rng.chance(5, 6) => StateMode::Keep,
        _ => StateMode::None,
    };
    Rule {
        action,
        state,
        direction: *rng.pick(&[None, None, Some(Direction::In), Some(Direction::Out)]),
        quick: rng.chance(1, 5),
        interface: rng.chance(1, 3).then(|| interface(rng)),
        af,
        proto,
        from: endpoint(rng, af, proto),
        to: endpoint(rng, af, proto),
        flags: flags(rng, proto),
        icmp: icmp(rng, proto),
        state_options: match state {
            StateMode::Keep => state_options(rng),
            // pfctl refuses it of states whose numbers it cannot follow.
            StateMode::Modulate => StateOptions { sloppy: false, ..state_options(rng) },
            _ => StateOptions::default(),
        },
        fragment: rng.chance(1, 40),
        allow_opts: rng.chance(1, 5),
        tag: rng.chance(1, 6).then(|| (*rng.pick(&TAGS)).into()),
        tagged: rng
            .chance(1, 8)
            .then(|| TagMatch { negated: rng.chance(1, 3), name: (*rng.pick(&TAGS)).into() }),
        tos: rng.chance(1, 20).then(|| *rng.pick(&TYPES_OF_SERVICE)),
        prio: rng.chance(1, 20).then(|| *rng.pick(&PRIORITIES)),
        scrub: Scrub {
            min_ttl: *rng.pick(&[0, 0, 0, 0, 0, 0, 0, 2, 64, 200, 255]),
            reassemble_tcp: can_be_tcp && rng.chance(1, 6),
            ..Scrub::default()
        },
        set_tos: rng.chance(1, 15).then(|| *rng.pick(&[0, 0x10, 0xb8])),
        set_prio: rng
            .chance(1, 10)
            .then(|| SetPrio { bulk: *rng.pick(&PRIORITIES), urgent: *rng.pick(&PRIORITIES) }),
        received_on: rng.chance(1, 15).then(|| interface(rng)),
        probability: rng.chance(1, 30).then(|| *rng.pick(&[0, u32::MAX, u32::MAX])),
        packet_rate: rng
            .chance(1, 15)
            .then(|| PacketRate { packets: rng.between(1, 8) as u32, seconds: *rng.pick(&[1, 2, 10, 60]) }),
        once: action != Action::Match && rng.chance(1, 30),
        ..Rule::default()
    }
}

fn action(rng: &mut Rng) -> Action {
    match rng.below(10) {
        0..=5 => Action::Pass,
        6 => Action::Match,
        _ => Action::Block(reply(rng)),
    }
}

fn reply(rng: &mut Rng) -> BlockReply {
    let code = |rng: &mut Rng| rng.chance(3, 4).then(|| *rng.pick(&[0, 1, 3, 13]));
    match rng.below(5) {
        0 => BlockReply::Rst { ttl: *rng.pick(&[0, 1, 200]) },
        1 => BlockReply::Icmp { code: code(rng), code6: rng.chance(3, 4).then(|| rng.below(5) as u8) },
        2 => BlockReply::Return(IcmpReply::default()),
        3 => BlockReply::Return(IcmpReply { code: 13, code6: 1 }),
        _ => BlockReply::Drop,
    }
}

fn interface(rng: &mut Rng) -> InterfaceMatch {
    let pattern = match rng.below(8) {
        0 => InterfacePattern::Any,
        1 => InterfacePattern::Name("absent0".into()),
        _ => InterfacePattern::Name((*rng.pick(&INTERFACES)).into()),
    };
    InterfaceMatch { negated: rng.chance(1, 6), pattern }
}

/// Four packets out of five are IPv4.
pub fn family(rng: &mut Rng) -> Af {
    if rng.chance(4, 5) { Af::Inet } else { Af::Inet6 }
}

fn proto(rng: &mut Rng) -> Option<Proto> {
    match rng.below(20) {
        0..=7 => None,
        8..=13 => Some(Proto::TCP),
        14..=16 => Some(Proto::UDP),
        17 => Some(Proto::ICMP),
        18 => Some(Proto::ICMP6),
        _ => Some(Proto::GRE),
    }
}

fn host(rng: &mut Rng, af: Af) -> core::net::IpAddr {
    let interfaces: Vec<_> = interfaces().collect();
    match rng.below(6) {
        0 => remote(af, 1),
        _ => address(af, *rng.pick(&interfaces), rng.between(1, 3) as u8),
    }
}

fn network(rng: &mut Rng, af: Af) -> IpNet {
    let host = host(rng, af);
    let bits = match af {
        Af::Inet => *rng.pick(&[8, 16, 24, 31]),
        Af::Inet6 => *rng.pick(&[32, 48, 64, 127]),
    };
    IpNet::new_assert(host, bits).trunc()
}

fn endpoint(rng: &mut Rng, af: Option<Af>, proto: Option<Proto>) -> Endpoint {
    let port = match proto {
        Some(Proto::TCP | Proto::UDP) if rng.chance(1, 3) => port(rng),
        _ => PortMatch::Any,
    };
    Endpoint { address: AddressMatch { negated: rng.chance(1, 8), pattern: pattern(rng, af) }, port }
}

fn pattern(rng: &mut Rng, af: Option<Af>) -> AddressPattern {
    match (rng.below(12), af) {
        (0..=1, _) => AddressPattern::Table("some".into()),
        (2, _) if rng.chance(1, 2) => AddressPattern::NoRoute,
        (2, _) => AddressPattern::UrpfFailed,
        (3, _) => {
            let part = *rng.pick(&[InterfacePart::Own, InterfacePart::Network, InterfacePart::Broadcast]);
            let prefix = (part == InterfacePart::Own).then(|| *rng.pick(&[None, None, Some(8), Some(24)]));
            AddressPattern::Interface {
                name: (*rng.pick(&INTERFACES)).into(),
                part,
                no_alias: rng.chance(1, 4),
                prefix: prefix.flatten(),
            }
        }
        (4..=6, Some(af)) => AddressPattern::Net(network(rng, af)),
        (7..=8, Some(af)) => AddressPattern::Net(IpNet::from(host(rng, af))),
        (9, Some(af)) => {
            let (a, b) = (host(rng, af), host(rng, af));
            AddressPattern::Range(a.min(b), a.max(b))
        }
        (10, Some(Af::Inet)) => AddressPattern::Masked {
            net: host(rng, Af::Inet),
            mask: core::net::Ipv4Addr::new(255, 0, 0, 255).into(),
        },
        _ => AddressPattern::Any,
    }
}

fn port(rng: &mut Rng) -> PortMatch {
    let (a, b) = (Port(*rng.pick(&PORTS)), Port(*rng.pick(&PORTS)));
    match rng.below(9) {
        0 => PortMatch::NotEqual(a),
        1 => PortMatch::Less(a),
        2 => PortMatch::LessOrEqual(a),
        3 => PortMatch::Greater(a),
        4 => PortMatch::GreaterOrEqual(a),
        5 => PortMatch::Range(a.min(b), a.max(b)),
        6 => PortMatch::Inside(a.min(b), a.max(b)),
        7 => PortMatch::Outside(a.min(b), a.max(b)),
        _ => PortMatch::Equal(a),
    }
}

fn flags(rng: &mut Rng, proto: Option<Proto>) -> Option<FlagsMatch> {
    if proto.is_some_and(|proto| proto != Proto::TCP) {
        return None;
    }
    match rng.below(6) {
        0..=2 => Some(FlagsMatch::SYN_ONLY),
        3 => Some(FlagsMatch { set: TcpFlags::ACK, mask: TcpFlags::ACK }),
        4 => Some(FlagsMatch { set: TcpFlags::SYN, mask: TcpFlags::SYN }),
        _ => None,
    }
}

fn icmp(rng: &mut Rng, proto: Option<Proto>) -> Option<IcmpMatch> {
    let kinds: &[u8] = match proto? {
        Proto::ICMP => &[0, 3, 8, 11, 13],
        Proto::ICMP6 => &[1, 2, 3, 128, 129],
        _ => return None,
    };
    rng.chance(1, 2)
        .then(|| IcmpMatch { kind: *rng.pick(kinds), code: rng.chance(1, 3).then(|| rng.below(4) as u8) })
}

fn state_options(rng: &mut Rng) -> StateOptions {
    StateOptions {
        policy: *rng.pick(&[None, None, None, None, Some(StatePolicy::IfBound), Some(StatePolicy::Floating)]),
        max: if rng.chance(1, 12) { rng.between(1, 4) as u32 } else { 0 },
        sloppy: rng.chance(1, 8),
        timeouts: if rng.chance(1, 12) {
            adaptive(rng)
        } else {
            (0..rng.below(3)).map(|_| timeout(rng)).collect()
        },
        source: if rng.chance(1, 6) { source_tracking(rng) } else { SourceTracking::default() },
        ..StateOptions::default()
    }
}

fn source_tracking(rng: &mut Rng) -> SourceTracking {
    let mut limit = || if rng.chance(1, 2) { rng.between(1, 3) as u32 } else { 0 };
    let (max_states, max_nodes, max_conn) = (limit(), limit(), limit());
    if rng.chance(1, 3) {
        return SourceTracking { track: Some(Tracking::Global), max_states, ..SourceTracking::default() };
    }
    let max_conn_rate = rng
        .chance(1, 3)
        .then(|| PacketRate { packets: rng.between(1, 2) as u32, seconds: *rng.pick(&[1, 10, 60]) });
    let flush = *rng.pick(&[Flush::No, Flush::Rule, Flush::Global]);
    let limited = max_conn > 0 || max_conn_rate.is_some();
    let overload = (limited && rng.chance(1, 2)).then(|| Overload { table: "some".into(), flush });
    let track = Some(Tracking::Rule);
    SourceTracking { track, max_states, max_nodes, max_conn, max_conn_rate, overload }
}

/// Every address that packets of these simulations come from or go to.
pub fn addresses(af: Af) -> Vec<core::net::IpAddr> {
    let stations = interfaces().flat_map(|interface| (1..=3).map(move |station| (interface, station)));
    stations
        .map(|(interface, station)| address(af, interface, station))
        .chain([remote(af, 1), topology::unreachable(af)])
        .collect()
}
