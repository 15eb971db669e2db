//! Whether it makes a difference that the first match decides: two rules that may both take one packet.

use ipnet::IpNet;
use ruleset::{AddressMatch, AddressPattern, Endpoint, InterfaceMatch, InterfacePattern, PortMatch};

use super::{COMPARED, Finding};
use crate::config::{FullRule, Pool};

const HINT: &str = "make the two exclude each other: by hosts, ports, protocols or interfaces";

/// Translations of one direction, in the order in which FreeBSD tries them.
pub(super) fn find(rules: &[FullRule], findings: &mut Vec<Finding>) {
    pairs(rules, findings, |first, second| {
        // What `pass quick` takes comes no further.
        !first.rule.quick && !disjoint(first, second) && may_match_again(first, second)
    });
}

/// `scrub` rules, in their order.
pub(super) fn find_scrubs(rules: &[FullRule], findings: &mut Vec<Finding>) {
    pairs(rules, findings, |first, second| {
        (first.extras.scrub, first.rule.scrub) != (second.extras.scrub, second.rule.scrub)
            && !disjoint(first, second)
            && (first.rule.direction.is_none()
                || second.rule.direction.is_none()
                || first.rule.direction == second.rule.direction)
    });
}

fn pairs(rules: &[FullRule], findings: &mut Vec<Finding>, clash: impl Fn(&FullRule, &FullRule) -> bool) {
    if let Some(rule) = rules.get(COMPARED) {
        let text = format!("more than {COMPARED} rules cannot be compared with each other");
        findings.push(Finding::new(rule.span, text, ""));
        return;
    }
    for (number, second) in rules.iter().enumerate() {
        if let Some(first) = rules[..number].iter().find(|first| clash(first, second)) {
            let line = first.rule.source.line;
            let text = format!(
                "what the rule of line {line} takes may be taken by this one, too: the first would not decide alone"
            );
            findings.push(Finding::new(second.span, text, HINT));
        }
    }
}

/// Whether a packet, translated by the first rule, may still be one for the second.
fn may_match_again(first: &FullRule, second: &FullRule) -> bool {
    let (pool, end) = match (&first.nat, &first.rdr) {
        (Some(pool), _) => (pool, &second.rule.from.address),
        (None, Some(pool)) => (pool, &second.rule.to.address),
        (None, None) => return true,
    };
    let Pool { hosts, .. } = pool;
    hosts.iter().any(|host| {
        let translated = AddressMatch { negated: false, pattern: host.address.clone() };
        !addresses_disjoint(&translated, end)
    })
}

/// True if certainly no packet matches both.
fn disjoint(one: &FullRule, other: &FullRule) -> bool {
    let (a, b) = (&one.rule, &other.rule);
    let differ = |pair: (Option<u8>, Option<u8>)| matches!(pair, (Some(one), Some(other)) if one != other);
    interfaces_disjoint(&a.interface, &b.interface)
        || differ((a.af.map(|af| af as u8), b.af.map(|af| af as u8)))
        || differ((a.proto.map(|proto| proto.0), b.proto.map(|proto| proto.0)))
        || ends_disjoint(&a.from, &b.from)
        || ends_disjoint(&a.to, &b.to)
}

/// Groups may share interfaces; names of interfaces end in a digit.
fn interfaces_disjoint(one: &Option<InterfaceMatch>, other: &Option<InterfaceMatch>) -> bool {
    let name = |interface: &Option<InterfaceMatch>| match interface {
        Some(InterfaceMatch { negated: false, pattern: InterfacePattern::Name(name) })
            if name.ends_with(|last: char| last.is_ascii_digit()) =>
        {
            Some(name.clone())
        }
        _ => None,
    };
    matches!((name(one), name(other)), (Some(one), Some(other)) if one != other)
}

fn ends_disjoint(one: &Endpoint, other: &Endpoint) -> bool {
    addresses_disjoint(&one.address, &other.address) || ports_disjoint(one.port, other.port)
}

fn addresses_disjoint(one: &AddressMatch, other: &AddressMatch) -> bool {
    let net = |address: &AddressMatch| match address.pattern {
        AddressPattern::Net(net) => Some(net),
        _ => None,
    };
    let (Some(a), Some(b)) = (net(one), net(other)) else { return false };
    let within = |outer: IpNet, inner: IpNet| outer.contains(&inner);
    match (one.negated, other.negated) {
        (false, false) => !within(a, b) && !within(b, a),
        (true, false) => within(a, b),
        (false, true) => within(b, a),
        (true, true) => false,
    }
}

fn ports_disjoint(one: PortMatch, other: PortMatch) -> bool {
    let range = |port: PortMatch| match port {
        PortMatch::Equal(port) => Some((port.0, port.0)),
        PortMatch::Range(first, last) => Some((first.0, last.0)),
        _ => None,
    };
    matches!((range(one), range(other)), (Some(a), Some(b)) if a.1 < b.0 || b.1 < a.0)
}
