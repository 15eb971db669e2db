//! What one dialect has and the other has not, part by part.

use ruleset::PoolKind;

use super::Finding;
use crate::ast::Divert;
use crate::config::{Anchor, Config, Echo, Entry, FullRule, KEEP_COUNTERS, Pool};
use crate::dialect::Dialect;

/// A part of a rule: whether it is used, its keyword, what to do.
type Part = (bool, &'static str, &'static str);

/// Adds what `to` cannot say of a ruleset: options and statements of `written`, rules of `converted`.
pub(super) fn find(written: &Config, converted: &Config, to: Dialect, findings: &mut Vec<Finding>) {
    for line in &written.echo {
        let Echo::Option { text, span } = line else { continue };
        if let Some(hint) = option(text, to) {
            findings.push(Finding::new(*span, format!("{text} cannot be expressed"), hint));
        }
    }
    for used in &written.unsupported {
        let hint = match (used.value, to) {
            ("load anchor", _) => "convert the file that it names by itself, and add the statement",
            ("queue", Dialect::FreeBsd) => "FreeBSD schedules with ALTQ and dummynet",
            _ => continue,
        };
        findings.push(Finding::new(used.span, format!("{} cannot be expressed", used.value), hint));
    }
    let keeps = written.places.iter().filter(|place| place.value == KEEP_COUNTERS);
    for place in keeps.filter(|_| to == Dialect::OpenBsd) {
        let hint = "counters start at zero with each load";
        findings.push(Finding::new(place.span, format!("{KEEP_COUNTERS} cannot be expressed"), hint));
    }
    for table in written.tables.iter().filter(|_| to == Dialect::FreeBsd) {
        if table.members.iter().flatten().any(|member| member.weight.is_some()) {
            let text = format!("weights in <{}> cannot be expressed", table.name);
            findings.push(Finding::new(table.span, text, "every address gets the same share"));
        }
    }
    rules(converted, &converted.entries, to, findings);
}

fn option(text: &str, to: Dialect) -> Option<&'static str> {
    const LEVELS: &[&str] = &["none", "urgent", "misc", "loud"];
    if text == "set optimization rfc-nat" {
        return Some("set its time-outs one by one");
    }
    match to {
        Dialect::OpenBsd => {
            text.starts_with("set fail-policy").then_some("what is passed or dropped then is fixed")
        }
        Dialect::FreeBsd => match text.strip_prefix("set debug ") {
            Some(level) => (!LEVELS.contains(&level)).then_some("known are none, urgent, misc, loud"),
            None => text.starts_with("set limit pktdelay-pkts").then_some("FreeBSD does not delay packets"),
        },
    }
}

fn rules(config: &Config, entries: &[Entry], to: Dialect, findings: &mut Vec<Finding>) {
    for entry in entries {
        let full = match entry {
            Entry::Rule(full) => full,
            Entry::Anchor(Anchor { gate, body, .. }) => {
                rules(config, body.as_deref().unwrap_or_default(), to, findings);
                gate
            }
        };
        let parts = match to {
            Dialect::OpenBsd => of_freebsd(full),
            Dialect::FreeBsd => of_openbsd(full),
        };
        let shared = pools(full).any(|pool| pool.port_block.is_some());
        let own = (shared, "port-block", "give each source a rule with ports of its own: port a:b");
        for (_, keyword, hint) in parts.into_iter().chain([own]).filter(|(used, ..)| *used) {
            let span = config.place(keyword, full.span);
            findings.push(Finding::new(span, format!("{keyword} cannot be expressed"), hint));
        }
    }
}

fn of_freebsd(full: &FullRule) -> Vec<Part> {
    let extras = &full.extras;
    let pools = || pools(full);
    vec![
        (!full.rule.more_labels.is_empty(), "label", "a rule has one label: the first is kept"),
        (full.rule.ridentifier.is_some(), "ridentifier", "use a label"),
        (extras.packet_size.is_some(), "max-pkt-size", "leave it out"),
        (
            extras.set.queue.is_some(),
            "set queue",
            "define the queue as OpenBSD does: queue name on interface bandwidth …",
        ),
        (
            matches!(extras.divert, Some(Divert::To(None, _))),
            "divert",
            "name the address: divert-to 127.0.0.1 port …",
        ),
        (pools().any(|pool| pool.endpoint_independent), "endpoint-independent", "leave it out"),
        (pools().any(|pool| pool.map_e.is_some()), "map-e-portset", "name the ports: port a:b"),
    ]
}

fn of_openbsd(full: &FullRule) -> Vec<Part> {
    let extras = &full.extras;
    let unnamed = |pool: &Pool| pool.hosts.iter().any(|host| host.via.is_none());
    let route = match &full.route {
        Some((kind, pool)) if unnamed(pool) => Some(*kind),
        _ => None,
    };
    let weighs = |pool: &Pool| pool.hosts.iter().any(|host| host.weight.is_some());
    let least = |pool: &Pool| pool.kind == Some(PoolKind::LeastStates);
    vec![
        (extras.domain.is_some(), "on rdomain", "use the interfaces of the domain, and rtable"),
        (extras.from_route.is_some() || extras.to_route.is_some(), "route", "use a table of these networks"),
        (extras.set.delay.is_some(), "set delay", "use dummynet"),
        (matches!(extras.divert, Some(Divert::Reply)), "divert", "FreeBSD has no divert-reply"),
        (pools(full).any(least), "least-states", "use round-robin or random"),
        (pools(full).any(weighs), "weight", "every address gets the same share"),
        (
            route.is_some(),
            route.map_or("", |kind| kind.word()),
            "name the interface, too: 192.0.2.1@em0 becomes (em0 192.0.2.1)",
        ),
    ]
}

fn pools(full: &FullRule) -> impl Iterator<Item = &Pool> {
    full.nat.iter().chain(&full.rdr).chain(full.route.as_ref().map(|(_, pool)| pool))
}
