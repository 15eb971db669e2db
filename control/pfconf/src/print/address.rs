//! Addresses and ports.

use ipnet::IpNet;
use ruleset::{AddressMatch, AddressPattern, InterfacePart, PortMatch};
use wire::Af;

use super::word;

/// `[! ]address`; the family decides whether a prefix length says anything.
pub(crate) fn address_match(address: &AddressMatch, af: Option<Af>) -> String {
    match &address.pattern {
        // `! any` cannot be read.
        AddressPattern::Net(all) if address.negated && all.prefix_len() == 0 => format!("! {all}"),
        pattern if address.negated => format!("! {}", self::pattern(pattern, af)),
        pattern => self::pattern(pattern, af),
    }
}

/// An address without its negation.
pub(super) fn pattern(pattern: &AddressPattern, af: Option<Af>) -> String {
    match pattern {
        AddressPattern::Any => "any".into(),
        AddressPattern::Net(all) if all.prefix_len() == 0 => "any".into(),
        AddressPattern::Net(one) => net(*one),
        AddressPattern::Masked { net, mask } => format!("{net}/{mask}"),
        AddressPattern::Range(first, last) => format!("{first} - {last}"),
        AddressPattern::Table(name) => word::table(name),
        AddressPattern::NoRoute => "no-route".into(),
        AddressPattern::UrpfFailed => "urpf-failed".into(),
        AddressPattern::Interface { name, part, no_alias, prefix } => {
            let part = match part {
                InterfacePart::Own => "",
                InterfacePart::Network => ":network",
                InterfacePart::Broadcast => ":broadcast",
                InterfacePart::Peer => ":peer",
            };
            let bits = if af == Some(Af::Inet) { 32 } else { 128 };
            let prefix = prefix.filter(|prefix| *prefix < bits);
            let prefix = prefix.map_or_else(String::new, |prefix| format!("/{prefix}"));
            let alias = if *no_alias { ":0" } else { "" };
            format!("({}{part}{alias}){prefix}", word::word(name))
        }
    }
}

/// A host without, a network with its prefix length.
pub(super) fn net(net: IpNet) -> String {
    match net.prefix_len() == net.max_prefix_len() {
        true => net.addr().to_string(),
        false => format!("{}/{}", net.network(), net.prefix_len()),
    }
}

/// ` port …`, or nothing.
pub(super) fn port(port: PortMatch) -> String {
    match port {
        PortMatch::Any => String::new(),
        PortMatch::Equal(port) => format!(" port = {port}"),
        PortMatch::NotEqual(port) => format!(" port != {port}"),
        PortMatch::Less(port) => format!(" port < {port}"),
        PortMatch::LessOrEqual(port) => format!(" port <= {port}"),
        PortMatch::Greater(port) => format!(" port > {port}"),
        PortMatch::GreaterOrEqual(port) => format!(" port >= {port}"),
        PortMatch::Range(first, last) => format!(" port {first}:{last}"),
        PortMatch::Inside(first, last) => format!(" port {first} >< {last}"),
        PortMatch::Outside(first, last) => format!(" port {first} <> {last}"),
    }
}
