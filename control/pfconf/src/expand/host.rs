//! Hosts of a list to patterns: one name may stand for many addresses.

use std::num::NonZeroU16;

use ipnet::IpNet;
use ruleset::AddressPattern;
use wire::Af;

use super::{Expander, address};
use crate::ast::{HostItem, HostSpec};
use crate::diagnostic::Form;
use crate::host::Host;
use crate::interfaces::Found;
use crate::parse::{Modifiers, Parsed, split_modifiers};
use crate::source::Span;

/// One address of a list, resolved.
#[derive(Clone, Debug, Default)]
pub(super) struct Node {
    pub negated: bool,
    pub pattern: AddressPattern,
    /// Known for addresses, open for names of tables and interfaces.
    pub af: Option<Af>,
    /// `route "label"`.
    pub route: Option<String>,
    /// The interface that a link-local address belongs to.
    pub scope: Option<String>,
    /// `@interface`.
    pub via: Option<String>,
    /// `weight n`, in pools and tables.
    pub weight: Option<NonZeroU16>,
}

impl Node {
    fn net(net: IpNet) -> Self {
        Self { af: Some(Af::of(&net.addr())), pattern: AddressPattern::Net(net), ..Self::default() }
    }

    /// An interface's address or network.
    pub(super) fn found(found: Found) -> Option<Self> {
        let net = IpNet::new(found.address, found.prefix).ok()?;
        Some(Self { scope: found.scope, ..Self::net(net.trunc()) })
    }
}

impl Expander<'_> {
    pub(super) fn hosts(&mut self, items: &[HostItem]) -> Parsed<Vec<Node>> {
        let mut nodes = Vec::new();
        for item in items {
            let found = self.host(item)?;
            nodes.extend(found.into_iter().map(|node| Node {
                negated: item.negated,
                weight: item.weight,
                via: item.via.clone().or(node.via),
                ..node
            }));
        }
        Ok(nodes)
    }

    fn host(&mut self, item: &HostItem) -> Parsed<Vec<Node>> {
        let pattern = match &item.host {
            HostSpec::NoRoute => AddressPattern::NoRoute,
            HostSpec::UrpfFailed => AddressPattern::UrpfFailed,
            HostSpec::Table(name) => AddressPattern::Table(name.clone()),
            HostSpec::Dynamic { name, part, no_alias, prefix } => AddressPattern::Interface {
                name: name.clone(),
                part: *part,
                no_alias: *no_alias,
                prefix: *prefix,
            },
            HostSpec::RouteLabel(label) => {
                return Ok(vec![Node { route: Some(label.clone()), ..Node::default() }]);
            }
            HostSpec::Via(interface) => {
                return Ok(vec![Node { via: Some(interface.clone()), ..Node::default() }]);
            }
            HostSpec::Range(first, last) => return Ok(vec![self.range(first, last, item.span)?]),
            HostSpec::Name(text) => return self.named(text, item.span),
        };
        Ok(vec![Node { pattern, ..Node::default() }])
    }

    fn range(&mut self, first: &str, last: &str, span: Span) -> Parsed<Node> {
        let first = self.named(first, span)?;
        let last = self.named(last, span)?;
        let host = |nodes: &[Node]| match nodes {
            [Node { pattern: AddressPattern::Net(net), .. }] if net.prefix_len() == net.max_prefix_len() => {
                Some(net.addr())
            }
            _ => None,
        };
        match (host(&first), host(&last)) {
            (Some(first), Some(last)) if Af::of(&first) == Af::of(&last) && first <= last => Ok(Node {
                pattern: AddressPattern::Range(first, last),
                af: Some(Af::of(&first)),
                ..Node::default()
            }),
            _ => Err(self.fail(
                span,
                "invalid address range",
                Some("two hosts of one family, the lower one first"),
            )),
        }
    }

    /// An address, a network, an interface or a DNS name; `@interface` behind it.
    pub(super) fn named(&mut self, text: &str, span: Span) -> Parsed<Vec<Node>> {
        let (name, via) = match text.rsplit_once('@') {
            Some((name, via)) => (name, Some(via.to_owned())),
            None => (text, None),
        };
        let mut nodes = self.lookup(name, span)?;
        if nodes.is_empty() {
            let interface = name.split([':', '/']).next().unwrap_or_default();
            let hint = "in parentheses, an interface's addresses are looked up for each packet: (em0)";
            let (label, hint) = match self.host.interfaces().knows(interface) {
                true => (
                    "the interface has no such address now",
                    format!("{hint}; a port that takes copies is @em0"),
                ),
                false => ("neither an address nor a known interface or name", hint.to_owned()),
            };
            let text = format!("no IP address found for {text}");
            self.report(Form::Bare, span, text, label, Some(&hint));
            self.report(Form::Consequence, span, "could not parse host specification".into(), "", None);
            return Err(crate::parse::Abort);
        }
        for node in &mut nodes {
            node.via.clone_from(&via);
        }
        Ok(nodes)
    }

    fn lookup(&mut self, name: &str, span: Span) -> Parsed<Vec<Node>> {
        lookup(self.host, name).map_err(|TwoMasks| self.fail(span, TwoMasks::TEXT, None))
    }
}

/// A network's own prefix length, and another one behind it.
#[derive(Debug)]
pub(super) struct TwoMasks;

impl TwoMasks {
    pub(super) const TEXT: &'static str = "network or broadcast lookup, but extra netmask given";
}

/// What a name stands for: an address, a network, an interface or group with its modifiers, a DNS name. Nothing if it is
/// none of them.
pub(super) fn lookup(host: &dyn Host, name: &str) -> Result<Vec<Node>, TwoMasks> {
    if let Some((net, scope)) = address::network(name) {
        return Ok(vec![Node { scope: scope.map(str::to_owned), ..Node::net(net) }]);
    }
    let (base, prefix) = match name.rsplit_once('/') {
        Some((base, digits)) => match digits.parse::<u8>() {
            Ok(prefix) if prefix <= 128 => (base, Some(prefix)),
            _ => return Ok(Vec::new()),
        },
        None => (name, None),
    };
    if let Modifiers::Good(interface, part, no_alias) = split_modifiers(base)
        && host.interfaces().knows(interface)
    {
        if prefix.is_some()
            && matches!(part, ruleset::InterfacePart::Network | ruleset::InterfacePart::Broadcast)
        {
            return Err(TwoMasks);
        }
        let found = host.interfaces().addresses(interface, part, no_alias);
        let node = |found: Found| Node::found(Found { prefix: prefix.unwrap_or(found.prefix), ..found });
        return Ok(found.into_iter().filter_map(node).collect());
    }
    let resolved = host.resolve(base).into_iter();
    let node = |address| {
        let net = IpNet::new(address, prefix.unwrap_or(Af::of(&address).bits())).ok()?;
        Some(Node::net(net.trunc()))
    };
    Ok(resolved.filter_map(node).collect())
}
