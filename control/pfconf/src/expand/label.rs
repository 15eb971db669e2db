//! Macros in labels and tags: `$if`, `$srcaddr`, `$srcport`, `$dstaddr`, `$dstport`, `$proto`, `$nr`.

use ruleset::{InterfacePattern, PortMatch, Rule};

use crate::names;
use crate::print::{self, Style};

/// Replaces every macro by what the expanded rule has in its place. `None` stays `None`; what becomes empty is dropped.
pub(super) fn expand(text: &Option<String>, rule: &Rule, number: usize, style: Style<'_>) -> Option<String> {
    let text = text.as_ref()?;
    if !text.contains('$') {
        return Some(text.clone()).filter(|text| !text.is_empty());
    }
    let interface = match &rule.interface {
        Some(interface) => match &interface.pattern {
            InterfacePattern::Name(name) => name.clone(),
            InterfacePattern::Any => "any".into(),
        },
        None => "any".into(),
    };
    let proto = match rule.proto {
        Some(proto) => names::protocol_name(proto).map_or_else(|| proto.0.to_string(), str::to_owned),
        None => "ip".into(),
    };
    let expanded = text
        .replace("$if", &interface)
        .replace("$srcaddr", &print::address_match(&rule.from.address, rule.af, style))
        .replace("$dstaddr", &print::address_match(&rule.to.address, rule.af, style))
        .replace("$srcport", &port(rule.from.port))
        .replace("$dstport", &port(rule.to.port))
        .replace("$proto", &proto)
        .replace("$nr", &number.to_string());
    Some(expanded).filter(|text| !text.is_empty())
}

/// As pfctl writes it here: without blanks, nothing for `any` and for a range.
fn port(port: PortMatch) -> String {
    match port {
        PortMatch::Any | PortMatch::Range(..) => String::new(),
        PortMatch::Equal(port) => port.to_string(),
        PortMatch::NotEqual(port) => format!("!={port}"),
        PortMatch::Less(port) => format!("<{port}"),
        PortMatch::LessOrEqual(port) => format!("<={port}"),
        PortMatch::Greater(port) => format!(">{port}"),
        PortMatch::GreaterOrEqual(port) => format!(">={port}"),
        PortMatch::Inside(first, last) => format!("{first}><{last}"),
        PortMatch::Outside(first, last) => format!("{first}<>{last}"),
    }
}
