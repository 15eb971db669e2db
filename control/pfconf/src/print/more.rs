//! The parts of a rule that the dataplane's form has no place for.

use std::fmt::Write;

use ruleset::{AddressPattern, InterfaceMatch, PacketRate, PoolKind, PortSet, Rule, Scrub, SetPrio};
use wire::Af;

use super::Style;
use super::word::quoted;
use super::{address, rule};
use crate::ast::{Divert, Id, IdMatch, SetActions};
use crate::config::{FullRule, Pool, PoolHost};
use crate::dialect::Dialect;

pub(super) fn before_flags(full: &FullRule, style: Style<'_>) -> String {
    let FullRule { rule, extras, .. } = full;
    let mut out = String::new();
    if let Some(wanted) = &rule.received_on {
        let name = rule::interface_match(&InterfaceMatch { negated: false, ..wanted.clone() }, style);
        let _ = write!(out, " {}received-on {name}", if wanted.negated { "! " } else { "" });
    }
    for (word, account) in [("user", extras.user), ("group", extras.group)] {
        match account {
            Some(IdMatch::Compare(comparison, number)) => {
                let _ = write!(out, " {word} {} {}", comparison.symbol(), id(number));
            }
            Some(IdMatch::Inside(first, last)) => {
                let _ = write!(out, " {word} {} >< {}", id(first), id(last));
            }
            Some(IdMatch::Outside(first, last)) => {
                let _ = write!(out, " {word} {} <> {}", id(first), id(last));
            }
            None => {}
        }
    }
    out
}

fn id(id: Id) -> String {
    match id {
        Id::Number(number) => number.to_string(),
        Id::Unknown => "unknown".into(),
    }
}

pub(super) fn before_state(full: &FullRule, style: Style<'_>) -> String {
    let FullRule { rule, extras, .. } = full;
    let mut out = String::new();
    if let Some(tos) = rule.tos {
        let _ = write!(out, " tos 0x{tos:02x}");
    }
    if let Some(prio) = rule.prio {
        let _ = write!(out, " prio {prio}");
    }
    if let Some(PacketRate { packets, seconds }) = rule.packet_rate {
        let _ = write!(out, " max-pkt-rate {packets}/{seconds}");
    }
    if let Some(bytes) = extras.packet_size {
        let _ = write!(out, " max-pkt-size {bytes}");
    }
    out + &set(full, style)
}

fn set(full: &FullRule, style: Style<'_>) -> String {
    let FullRule { rule, extras, .. } = full;
    let mut parts = Vec::new();
    match rule.set_prio {
        Some(SetPrio { bulk, urgent }) if bulk == urgent => parts.push(format!("prio {bulk}")),
        Some(SetPrio { bulk, urgent }) => parts.push(format!("prio({bulk}, {urgent})")),
        None => {}
    }
    if !style.is_freebsd() {
        parts.extend(queue(&extras.set, style));
    }
    if let Some(tos) = rule.set_tos {
        parts.push(format!("tos 0x{tos:02x}"));
    }
    if let Some(delay) = extras.set.delay {
        parts.push(format!("delay {delay}"));
    }
    match style.dialect {
        _ if parts.is_empty() => String::new(),
        Dialect::OpenBsd => format!(" set ({})", parts.join(", ")),
        Dialect::FreeBsd => format!(" set ( {} )", parts.join(", ")),
    }
}

/// `queue …`, which FreeBSD has outside of `set (…)`.
pub(super) fn queue(set: &SetActions, style: Style<'_>) -> Option<String> {
    match set.queue.as_ref()? {
        (queue, Some(second)) => Some(format!("queue({}, {})", style.word(queue), style.word(second))),
        (queue, None) => Some(format!("queue {}", style.word(queue))),
    }
}

pub(super) fn probability(rule: &Rule) -> String {
    let Some(probability) = rule.probability else { return String::new() };
    let percent = format!("{:.6}", f64::from(probability) * 100.0 / (f64::from(u32::MAX) + 1.0));
    let percent = percent.trim_end_matches('0').trim_end_matches('.');
    format!(" probability {percent}%")
}

/// FreeBSD's `scrub` rule has its options without brackets, and says in any case what becomes of fragments.
pub(super) fn early_scrub(full: &FullRule) -> String {
    let scrub = &full.extras.scrub;
    let asked = &full.rule.scrub;
    let mut parts = scrub_parts(&ruleset::Scrub { reassemble_tcp: false, ..*asked });
    if let Some(tos) = scrub.set_tos {
        parts.push(format!("set-tos 0x{tos:02x}"));
    }
    if asked.reassemble_tcp {
        parts.push("reassemble tcp".into());
    }
    parts.push(if scrub.fragments_kept { "no fragment reassemble" } else { "fragment reassemble" }.into());
    format!(" {}", parts.join(" "))
}

pub(super) fn scrub(full: &FullRule) -> String {
    let parts = scrub_parts(&full.rule.scrub);
    if parts.is_empty() { String::new() } else { format!(" scrub ({})", parts.join(" ")) }
}

fn scrub_parts(scrub: &Scrub) -> Vec<String> {
    let mut parts = Vec::new();
    if scrub.no_df {
        parts.push("no-df".to_owned());
    }
    if scrub.random_id {
        parts.push("random-id".into());
    }
    if scrub.min_ttl != 0 {
        parts.push(format!("min-ttl {}", scrub.min_ttl));
    }
    if scrub.reassemble_tcp {
        parts.push("reassemble tcp".into());
    }
    if scrub.max_mss != 0 {
        parts.push(format!("max-mss {}", scrub.max_mss));
    }
    parts
}

/// Where the packet is sent: routing table, divert, translation, route.
pub(super) fn targets(full: &FullRule, style: Style<'_>) -> String {
    let mut out = String::new();
    let af = full.rule.af;
    if let Some(table) = full.rule.rtable {
        let _ = write!(out, " rtable {table}");
    }
    match &full.extras.divert {
        Some(Divert::To(Some(address), port)) if !style.is_freebsd() => {
            let _ = write!(out, " divert-to {address} port {port}");
        }
        // Deviation: FreeBSD's pfctl prints the port alone and cannot read it; we can.
        Some(Divert::To(_, port)) => {
            let _ = write!(out, " divert-to {port}");
        }
        Some(Divert::Reply) => out += " divert-reply",
        Some(Divert::Packet(port)) => {
            let _ = write!(out, " divert-packet port {port}");
        }
        None => {}
    }
    if full.early.is_some() {
        let target = full.nat.as_ref().or(full.rdr.as_ref());
        return out + &target.map_or_else(String::new, |target| format!(" -> {}", pool(target, af, style)));
    }
    match (full.af_to, &full.nat, &full.rdr) {
        (Some(to), Some(nat), rdr) => {
            let family = if to == Af::Inet { "inet" } else { "inet6" };
            let _ = write!(out, " af-to {family} from {}", pool(nat, Some(to), style));
            if let Some(rdr) = rdr {
                let _ = write!(out, " to {}", pool(rdr, Some(to), style));
            }
        }
        (_, nat, rdr) => {
            for (word, target) in [("nat-to", nat), ("rdr-to", rdr)] {
                if let Some(target) = target {
                    let _ = write!(out, " {word} {}", pool(target, af, style));
                }
            }
        }
    }
    if !style.is_freebsd() {
        out += &route(full, style);
    }
    out
}

/// Where the packet is routed to; FreeBSD has it in front of the family.
pub(super) fn route(full: &FullRule, style: Style<'_>) -> String {
    let Some((kind, target)) = &full.route else { return String::new() };
    let word = kind.word();
    let host = |host: &PoolHost| match (style.dialect, &host.via, &host.address) {
        (Dialect::FreeBsd, Some(via), AddressPattern::Any) => style.word(via),
        (Dialect::FreeBsd, Some(via), address) => {
            format!("({} {})", style.word(via), address::pattern(address, full.rule.af, style))
        }
        _ => pool_host(host, full.rule.af, style),
    };
    let hosts = listed(target.hosts.iter().map(host).collect());
    format!(" {word} {hosts}{}", pool_options(target))
}

/// One host, or several in braces.
fn listed(hosts: Vec<String>) -> String {
    match hosts.as_slice() {
        [host] => host.clone(),
        hosts => format!("{{ {} }}", hosts.join(", ")),
    }
}

fn pool_host(host: &PoolHost, af: Option<Af>, style: Style<'_>) -> String {
    let mut out = match (&host.address, &host.via) {
        (AddressPattern::Any, Some(_)) => String::new(),
        // No pool can be given as `any`.
        (AddressPattern::Net(net), _) if net.prefix_len() == 0 => net.trunc().to_string(),
        (address, _) => address::pattern(address, af, style),
    };
    if let Some(interface) = &host.via {
        let _ = write!(out, "@{interface}");
    }
    // Behind the slash of a network no interface is read.
    let out = if out.contains('/') && host.via.is_some() { quoted(&out) } else { out };
    let weight = host.weight.map_or_else(String::new, |weight| format!(" weight {weight}"));
    out + &weight
}

fn pool(pool: &Pool, af: Option<Af>, style: Style<'_>) -> String {
    let mut out = listed(pool.hosts.iter().map(|host| pool_host(host, af, style)).collect());
    match pool.ports {
        (0, 0) => {}
        (first, last) if first == last => {
            let _ = write!(out, " port {first}");
        }
        (first, last) => {
            let _ = write!(out, " port {first}:{last}");
        }
    }
    out + &pool_options(pool)
}

fn pool_options(pool: &Pool) -> String {
    let mut out = String::new();
    match &pool.kind {
        None => {}
        Some(PoolKind::Bitmask) => out += " bitmask",
        Some(PoolKind::Random) => out += " random",
        Some(PoolKind::RoundRobin) => out += " round-robin",
        Some(PoolKind::LeastStates) => out += " least-states",
        Some(PoolKind::SourceHash([a, b, c, d])) => {
            let _ = write!(out, " source-hash 0x{a:08x}{b:08x}{c:08x}{d:08x}");
        }
    }
    let words = [
        (pool.sticky, " sticky-address"),
        (pool.endpoint_independent, " endpoint-independent"),
        (pool.static_port, " static-port"),
    ];
    out.extend(words.iter().filter(|(given, _)| *given).map(|(_, word)| *word));
    if let Some(size) = pool.port_block {
        let _ = write!(out, " port-block {size}");
    }
    if let Some(PortSet { offset_bits, id_bits, id }) = pool.map_e {
        let _ = write!(out, " map-e-portset {offset_bits}/{id_bits}/{id}");
    }
    out
}
