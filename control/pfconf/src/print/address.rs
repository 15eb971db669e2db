//! Addresses and ports.

use ipnet::IpNet;
use ruleset::{AddressMatch, AddressPattern, InterfacePart, PortMatch};
use wire::{Af, Port, Proto};

use super::Style;
use crate::names;

/// How many addresses stand behind a name at this moment, which `pfctl -vv` prints with it.
pub(crate) trait Sizes {
    /// Addresses in a table; `None` if nobody has defined it.
    fn table(&self, name: &str) -> Option<usize>;

    /// Addresses of a family, or of both, that an interface or a group has.
    fn interface(&self, name: &str, part: InterfacePart, no_alias: bool, af: Option<Af>) -> usize;
}

/// `[! ]address`; the family decides whether a prefix length says anything.
pub(crate) fn address_match(address: &AddressMatch, af: Option<Af>, style: Style<'_>) -> String {
    match &address.pattern {
        // `! any` cannot be read.
        AddressPattern::Net(all) if address.negated && all.prefix_len() == 0 => format!("! {all}"),
        pattern if address.negated => format!("! {}", self::pattern(pattern, af, style)),
        pattern => self::pattern(pattern, af, style),
    }
}

/// An address without its negation.
pub(super) fn pattern(pattern: &AddressPattern, af: Option<Af>, style: Style<'_>) -> String {
    match pattern {
        AddressPattern::Any => "any".into(),
        AddressPattern::Net(all) if all.prefix_len() == 0 => "any".into(),
        AddressPattern::Net(one) => net(*one),
        AddressPattern::Masked { net, mask } => format!("{net}/{mask}"),
        AddressPattern::Range(first, last) => format!("{first} - {last}"),
        AddressPattern::Table(name) => match style.sizes {
            Some(sizes) => {
                let size = sizes.table(name).map_or_else(|| "*".to_owned(), |size| size.to_string());
                style.table(name).replace('>', &format!(":{size}>"))
            }
            None => style.table(name),
        },
        AddressPattern::NoRoute => "no-route".into(),
        AddressPattern::UrpfFailed => "urpf-failed".into(),
        AddressPattern::Interface { name, part, no_alias, prefix } => {
            let mode = *part;
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
            let size = match style.sizes.map(|sizes| sizes.interface(name, mode, *no_alias, af)) {
                None => String::new(),
                Some(0) => ":*".to_owned(),
                Some(size) => format!(":{size}"),
            };
            format!("({}{part}{alias}{size}){prefix}", style.word(name))
        }
    }
}

/// A host without, a network with its prefix length.
pub(crate) fn net(net: IpNet) -> String {
    match net.prefix_len() == net.max_prefix_len() {
        true => net.addr().to_string(),
        false => format!("{}/{}", net.network(), net.prefix_len()),
    }
}

/// ` port …`, or nothing. The service of a port that stands alone has a name.
pub(super) fn port(port: PortMatch, proto: Option<Proto>, style: Style<'_>) -> String {
    let named = |port: Port| {
        let proto = proto.filter(|_| style.names_ports());
        let name = proto.and_then(|proto| names::service_name(port, proto, style.dialect));
        name.map_or_else(|| port.to_string(), str::to_owned)
    };
    match port {
        PortMatch::Any => String::new(),
        PortMatch::Equal(port) => format!(" port = {}", named(port)),
        PortMatch::NotEqual(port) => format!(" port != {}", named(port)),
        PortMatch::Less(port) => format!(" port < {port}"),
        PortMatch::LessOrEqual(port) => format!(" port <= {port}"),
        PortMatch::Greater(port) => format!(" port > {port}"),
        PortMatch::GreaterOrEqual(port) => format!(" port >= {port}"),
        PortMatch::Range(first, last) => format!(" port {first}:{last}"),
        PortMatch::Inside(first, last) => format!(" port {first} >< {last}"),
        PortMatch::Outside(first, last) => format!(" port {first} <> {last}"),
    }
}
