//! One rule, its parts in pfctl's order.

use std::fmt::Write;

use ruleset::{
    Action, AddressPattern, BlockReply, Direction, FlagsMatch, Flush, InterfaceMatch, InterfacePattern,
    LogOptions, Rule, SourceTracking, StateMode, StateOptions, StatePolicy, Timeout, Tracking,
};
use wire::{Af, Proto};

use super::word::quoted;
use super::{Style, address, more};
use crate::ast::{Early, Extras, Section};
use crate::config::FullRule;
use crate::names;

/// Everything behind the action is common to rules and anchors.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Rule,
    Anchor,
}

pub(crate) fn text(full: &FullRule, style: Style<'_>) -> String {
    let mut out = String::new();
    match (full.early, full.rule.action) {
        (Some(Early { section, exempt, pass }), _) => {
            out += if exempt { "no " } else { "" };
            out += section.word();
            out += if pass { " pass" } else { "" };
        }
        (None, Action::Pass) => out += "pass",
        (None, Action::Match) => out += "match",
        (None, Action::Block(reply)) => {
            out += "block";
            out += &block_reply(reply, full.rule.af);
        }
    }
    rest(full, Kind::Rule, style, &mut out);
    out
}

pub(crate) fn anchor_text(name: Option<&str>, gate: &FullRule, style: Style<'_>) -> String {
    let section = gate.early.map(|early| format!("{}-", early.section.word()));
    let mut out = section.unwrap_or_default() + "anchor";
    if let Some(name) = name {
        let _ = write!(out, " {}", quoted(name));
    }
    rest(gate, Kind::Anchor, style, &mut out);
    out
}

fn rest(full: &FullRule, kind: Kind, style: Style<'_>, out: &mut String) {
    let FullRule { rule, extras, .. } = full;
    match rule.direction {
        Some(Direction::In) => *out += " in",
        Some(Direction::Out) => *out += " out",
        None => {}
    }
    *out += &log(rule.log);
    if rule.quick {
        *out += " quick";
    }
    *out += &interface(rule, extras, style);
    if style.is_freebsd() {
        *out += &more::route(full, style);
    }
    match rule.af {
        Some(Af::Inet) => *out += " inet",
        Some(Af::Inet6) => *out += " inet6",
        None => {}
    }
    if let Some(proto) = rule.proto {
        let _ = match names::protocol_name(proto) {
            Some(name) => write!(out, " proto {name}"),
            None => write!(out, " proto {}", proto.0),
        };
    }
    *out += &from_to(rule, extras, style);
    *out += &more::before_flags(full, style);
    *out += &flags(rule, kind);
    *out += &icmp(rule);
    *out += &more::before_state(full, style);
    match kind {
        Kind::Rule => *out += &state(rule, style),
        Kind::Anchor => *out += &more::probability(rule),
    }
    if rule.fragment {
        *out += " fragment";
    }
    *out += &match full.early {
        Some(Early { section: Section::Scrub, exempt: false, .. }) => more::early_scrub(full),
        _ => more::scrub(full),
    };
    if rule.allow_opts {
        *out += " allow-opts";
    }
    for label in rule.labels() {
        let _ = write!(out, " label {}", quoted(label));
    }
    if let Some(number) = rule.ridentifier {
        let _ = write!(out, " ridentifier {number}");
    }
    if rule.once {
        *out += " once";
    }
    if let Some(queue) = more::queue(&extras.set, style).filter(|_| style.is_freebsd()) {
        let _ = write!(out, " {queue}");
    }
    if let Some(tag) = &rule.tag {
        let _ = write!(out, " tag {}", style.word(tag));
    }
    if let Some(tagged) = &rule.tagged {
        let not = if tagged.negated { "! " } else { "" };
        let _ = write!(out, " {not}tagged {}", style.word(&tagged.name));
    }
    *out += &more::targets(full, style);
}

fn block_reply(reply: BlockReply, af: Option<Af>) -> String {
    let code4 =
        |code: u8| names::code_name(3, code, Af::Inet).map_or_else(|| code.to_string(), str::to_owned);
    let code6 =
        |code: u8| names::code_name(1, code, Af::Inet6).map_or_else(|| code.to_string(), str::to_owned);
    match reply {
        BlockReply::Drop => " drop".into(),
        BlockReply::Return(_) => " return".into(),
        BlockReply::Rst { ttl: 0 } => " return-rst".into(),
        BlockReply::Rst { ttl } => format!(" return-rst(ttl {ttl})"),
        BlockReply::Icmp { code, code6: code_of_6 } => match (code, code_of_6, af) {
            (Some(code), _, Some(Af::Inet)) | (Some(code), None, _) => {
                format!(" return-icmp({})", code4(code))
            }
            (_, Some(code), Some(Af::Inet6)) | (None, Some(code), _) => {
                format!(" return-icmp6({})", code6(code))
            }
            (Some(code), Some(other), None) => format!(" return-icmp({}, {})", code4(code), code6(other)),
            (None, None, _) => " drop".into(),
        },
    }
}

fn log(log: LogOptions) -> String {
    if !log.enabled {
        return String::new();
    }
    let mut parts = Vec::new();
    for (given, word) in [(log.all, "all"), (log.matches, "matches"), (log.user, "user")] {
        if given {
            parts.push(word.to_owned());
        }
    }
    if log.to != 0 {
        parts.push(format!("to pflog{}", log.to));
    }
    if parts.is_empty() { " log".into() } else { format!(" log ({})", parts.join(", ")) }
}

fn interface(rule: &Rule, extras: &Extras, style: Style<'_>) -> String {
    if let Some((negated, domain)) = extras.domain {
        return format!(" on {}rdomain {domain}", if negated { "! " } else { "" });
    }
    rule.interface.as_ref().map_or_else(String::new, |on| format!(" on {}", interface_match(on, style)))
}

/// `[!] interface`.
pub(super) fn interface_match(wanted: &InterfaceMatch, style: Style<'_>) -> String {
    let name = match &wanted.pattern {
        InterfacePattern::Any => "any".to_owned(),
        InterfacePattern::Name(name) => style.word(name),
    };
    if wanted.negated { format!("! {name}") } else { name }
}

fn from_to(rule: &Rule, extras: &Extras, style: Style<'_>) -> String {
    let everyone = |pattern: &AddressPattern| match pattern {
        AddressPattern::Any => true,
        AddressPattern::Net(net) => net.prefix_len() == 0,
        _ => false,
    };
    let ends = [(&rule.from, &extras.from_route), (&rule.to, &extras.to_route)];
    let open = ends.iter().all(|(end, route)| {
        everyone(&end.address.pattern)
            && !end.address.negated
            && end.port == ruleset::PortMatch::Any
            && route.is_none()
    });
    if open && rule.os.is_none() {
        return " all".into();
    }
    let [from, to] = ends.map(|(end, route)| {
        let address = match route {
            Some(label) => format!("{}route {}", if end.address.negated { "! " } else { "" }, quoted(label)),
            None => address::address_match(&end.address, rule.af, style),
        };
        address + &address::port(end.port, rule.proto, style)
    });
    let os = rule.os.as_ref().map_or_else(String::new, |os| format!(" os {}", quoted(os)));
    format!(" from {from}{os} to {to}")
}

fn flags(rule: &Rule, kind: Kind) -> String {
    if let Some(FlagsMatch { set, mask }) = rule.flags {
        return format!(" flags {set}/{mask}");
    }
    let tcp = rule.proto.is_none_or(|proto| proto == Proto::TCP);
    let any = kind == Kind::Rule
        && rule.action == Action::Pass
        && tcp
        && !rule.fragment
        && rule.state != StateMode::None;
    if any { " flags any".into() } else { String::new() }
}

fn icmp(rule: &Rule) -> String {
    let Some(icmp) = rule.icmp else { return String::new() };
    let af = match (rule.af, rule.proto) {
        (Some(af), _) => af,
        (None, Some(Proto::ICMP6)) => Af::Inet6,
        _ => Af::Inet,
    };
    let word = if af == Af::Inet6 { "icmp6-type" } else { "icmp-type" };
    let kind = names::type_name(icmp.kind, af).map_or_else(|| icmp.kind.to_string(), str::to_owned);
    let mut out = format!(" {word} {kind}");
    if let Some(code) = icmp.code {
        let code = names::code_name(icmp.kind, code, af).map_or_else(|| code.to_string(), str::to_owned);
        let _ = write!(out, " code {code}");
    }
    out
}

/// OpenBSD's pfctl prints `keep state` only where it says something.
fn state(rule: &Rule, style: Style<'_>) -> String {
    let options = state_options(&rule.state_options, style);
    let out = String::from(match rule.state {
        StateMode::None if rule.action == Action::Pass => " no state",
        StateMode::Keep if style.is_freebsd() || !options.is_empty() => " keep state",
        StateMode::Modulate => " modulate state",
        StateMode::Synproxy => " synproxy state",
        _ => "",
    });
    let probability = more::probability(rule);
    if rule.state == StateMode::None || options.is_empty() {
        return out + &probability;
    }
    // Deviation: pfctl prints the probability between `keep state` and its options, which nothing can read.
    // Test: a_probability_stands_before_state_options.
    format!("{probability}{out} ({})", options.join(", "))
}

fn state_options(options: &StateOptions, style: Style<'_>) -> Vec<String> {
    let mut parts = Vec::new();
    if options.max != 0 {
        parts.push(format!("max {}", options.max));
    }
    if options.no_sync {
        parts.push("no-sync".into());
    }
    parts.extend(tracking(&options.source, style));
    match options.policy {
        Some(StatePolicy::IfBound) => parts.push("if-bound".into()),
        // Deviation: pfctl is silent here, so that its output means something else under `set state-policy if-bound`.
        // Test: floating_survives_an_if_bound_policy.
        Some(StatePolicy::Floating) => parts.push("floating".into()),
        None => {}
    }
    for (given, word) in [(options.sloppy, "sloppy"), (options.pflow, "pflow")] {
        if given {
            parts.push(word.into());
        }
    }
    let mut timeouts = options.timeouts.clone();
    timeouts.sort_by_key(|(timeout, _)| (*timeout == Timeout::TcpTsdiff, *timeout));
    parts.extend(timeouts.iter().map(|(timeout, value)| format!("{timeout} {value}")));
    parts
}

fn tracking(source: &SourceTracking, style: Style<'_>) -> Vec<String> {
    let mut parts = Vec::new();
    match source.track {
        Some(Tracking::Rule) => parts.push("source-track rule".into()),
        Some(Tracking::Global) => parts.push("source-track global".into()),
        None => {}
    }
    for (most, word) in [(source.max_states, "max-src-states"), (source.max_conn, "max-src-conn")] {
        if most != 0 {
            parts.push(format!("{word} {most}"));
        }
    }
    if let Some(rate) = source.max_conn_rate {
        parts.push(format!("max-src-conn-rate {}/{}", rate.packets, rate.seconds));
    }
    if source.max_nodes != 0 {
        parts.push(format!("max-src-nodes {}", source.max_nodes));
    }
    if let Some(overload) = &source.overload {
        let flush = match overload.flush {
            Flush::No => "",
            Flush::Rule => " flush",
            Flush::Global => " flush global",
        };
        parts.push(format!("overload {}{flush}", style.table(&overload.table)));
    }
    parts
}
