//! The parts of a rule that the dataplane's form has no place for.

use std::fmt::Write;

use ruleset::AddressPattern;
use wire::Af;

use super::address::{self, Sizes};
use super::word;
use crate::ast::{Divert, Extras, Id, IdMatch, PoolKind, RouteKind, Scrub, SetActions};
use crate::config::{FullRule, Pool};

pub(super) fn before_flags(extras: &Extras) -> String {
    let mut out = String::new();
    if let Some((negated, interface)) = &extras.received_on {
        let _ = write!(out, " {}received-on {}", if *negated { "! " } else { "" }, word(interface));
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

pub(super) fn before_state(extras: &Extras) -> String {
    let mut out = String::new();
    if let Some(tos) = extras.tos {
        let _ = write!(out, " tos 0x{tos:02x}");
    }
    if let Some(prio) = extras.prio {
        let _ = write!(out, " prio {prio}");
    }
    if let Some((most, seconds)) = extras.packet_rate {
        let _ = write!(out, " max-pkt-rate {most}/{seconds}");
    }
    out + &set(&extras.set)
}

fn set(set: &SetActions) -> String {
    let mut parts = Vec::new();
    match set.prio {
        Some((first, second)) if first == second => parts.push(format!("prio {first}")),
        Some((first, second)) => parts.push(format!("prio({first}, {second})")),
        None => {}
    }
    match &set.queue {
        Some((queue, Some(second))) => parts.push(format!("queue({}, {})", word(queue), word(second))),
        Some((queue, None)) => parts.push(format!("queue {}", word(queue))),
        None => {}
    }
    if let Some(tos) = set.tos {
        parts.push(format!("tos 0x{tos:02x}"));
    }
    if let Some(delay) = set.delay {
        parts.push(format!("delay {delay}"));
    }
    if parts.is_empty() { String::new() } else { format!(" set ({})", parts.join(", ")) }
}

pub(super) fn probability(extras: &Extras) -> String {
    let Some(probability) = extras.probability else { return String::new() };
    let percent = format!("{:.6}", f64::from(probability) * 100.0 / (f64::from(u32::MAX) + 1.0));
    let percent = percent.trim_end_matches('0').trim_end_matches('.');
    format!(" probability {percent}%")
}

pub(super) fn scrub(scrub: &Scrub) -> String {
    let mut parts = Vec::new();
    if scrub.no_df {
        parts.push("no-df".to_owned());
    }
    if scrub.random_id {
        parts.push("random-id".into());
    }
    if let Some(ttl) = scrub.min_ttl {
        parts.push(format!("min-ttl {ttl}"));
    }
    if scrub.reassemble_tcp {
        parts.push("reassemble tcp".into());
    }
    if let Some(size) = scrub.max_mss {
        parts.push(format!("max-mss {size}"));
    }
    if parts.is_empty() { String::new() } else { format!(" scrub ({})", parts.join(" ")) }
}

/// Where the packet is sent: routing table, divert, translation, route.
pub(super) fn targets(full: &FullRule, sizes: Option<&dyn Sizes>) -> String {
    let mut out = String::new();
    let af = full.rule.af;
    if let Some(table) = full.extras.routing_table {
        let _ = write!(out, " rtable {table}");
    }
    match &full.extras.divert {
        Some(Divert::To(address, port)) => {
            let _ = write!(out, " divert-to {address} port {port}");
        }
        Some(Divert::Reply) => out += " divert-reply",
        Some(Divert::Packet(port)) => {
            let _ = write!(out, " divert-packet port {port}");
        }
        None => {}
    }
    match (full.af_to, &full.nat, &full.rdr) {
        (Some(to), Some(nat), rdr) => {
            let family = if to == Af::Inet { "inet" } else { "inet6" };
            let _ = write!(out, " af-to {family} from {}", pool(nat, Some(to), sizes));
            if let Some(rdr) = rdr {
                let _ = write!(out, " to {}", pool(rdr, Some(to), sizes));
            }
        }
        (_, nat, rdr) => {
            for (word, target) in [("nat-to", nat), ("rdr-to", rdr)] {
                if let Some(target) = target {
                    let _ = write!(out, " {word} {}", pool(target, af, sizes));
                }
            }
        }
    }
    if let Some((kind, target)) = &full.route {
        let word = match kind {
            RouteKind::Route => "route-to",
            RouteKind::Reply => "reply-to",
            RouteKind::Dup => "dup-to",
        };
        let _ = write!(out, " {word} {}", pool(target, af, sizes));
    }
    out
}

fn pool(pool: &Pool, af: Option<Af>, sizes: Option<&dyn Sizes>) -> String {
    let mut out = match (&pool.address, &pool.via) {
        (AddressPattern::Any, Some(_)) => String::new(),
        (address, _) => address::pattern(address, af, sizes),
    };
    if let Some(interface) = &pool.via {
        let _ = write!(out, "@{interface}");
    }
    match pool.ports {
        (0, 0) => {}
        (first, last) if first == last => {
            let _ = write!(out, " port {first}");
        }
        (first, last) => {
            let _ = write!(out, " port {first}:{last}");
        }
    }
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
    if pool.sticky {
        out += " sticky-address";
    }
    if pool.static_port {
        out += " static-port";
    }
    out
}
