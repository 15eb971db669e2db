//! A ruleset to the dataplane's form: what it cannot do yet is refused by name, nothing is dropped silently.

use std::collections::HashMap;

use ruleset::{AddressPattern, Invalid, PoolKind, Ruleset, StateMode, Table};

use crate::ast::{Extras, RouteKind, Scrub, SetActions, SourceTracking};
use crate::config::{Config, Entry, FullRule, Pool, TableDefinition};
use crate::convert::Finding;
use crate::diagnostic::Diagnostics;
use crate::dialect::Dialect;
use crate::source::Span;
use crate::{hash, print, unsupported};

impl Config {
    /// The ruleset that the dataplane enforces.
    ///
    /// # Errors
    /// Every keyword that the dataplane does not know yet, with its place.
    pub fn lower(&self) -> Result<Ruleset, Diagnostics> {
        let mut findings = Vec::new();
        let modern;
        let unified = match self.dialect {
            Dialect::OpenBsd => self,
            Dialect::FreeBsd => {
                modern = self.modern(&mut findings);
                &modern
            }
        };
        findings.extend(unified.refused());
        if !findings.is_empty() {
            return Err(self.diagnostics(findings));
        }
        unified.lower_rules()
    }

    /// The tables that it defines, whatever its rules are.
    pub fn tables(&self) -> Vec<Table> {
        self.tables.iter().map(TableDefinition::lower).collect()
    }

    fn lower_rules(&self) -> Result<Ruleset, Diagnostics> {
        let (options, tables) = (self.options.clone(), self.tables());
        let mut ruleset = Ruleset { options, tables, rules: Vec::new() };
        let mut occurrences: HashMap<String, u32> = HashMap::new();
        for entry in &self.entries {
            // Anchors have been refused.
            let Entry::Rule(full) = entry else { continue };
            let mut rule = full.rule.clone();
            rule.dup_to = match &full.route {
                Some((RouteKind::Dup, pool)) => pool.to_dup_to(),
                _ => None,
            };
            rule.nat = full.nat.as_ref().and_then(Pool::to_target);
            rule.rdr = full.rdr.as_ref().and_then(Pool::to_target);
            let text = print::print_rule(&rule);
            let occurrence = occurrences.entry(text.clone()).or_default();
            let identity = hash::rule_identity("", &text, *occurrence);
            *occurrence += 1;
            ruleset.rules.push(ruleset::Rule { identity, ..rule });
        }
        define_tables(&mut ruleset);
        ruleset.validate().map_err(|invalid| self.invalid(&invalid))?;
        Ok(ruleset)
    }

    /// What the dataplane does not know, in the order of the file.
    fn refused(&self) -> Vec<Finding> {
        let mut refused: Vec<(&'static str, Span)> =
            self.unsupported.iter().map(|used| (used.value, used.span)).collect();
        for entry in &self.entries {
            match entry {
                Entry::Rule(full) => {
                    let weight = self.has_weights(full).then_some("weight");
                    let keywords = beyond(full).into_iter().chain(weight);
                    refused.extend(keywords.map(|keyword| (keyword, self.place(keyword, full.span))));
                }
                Entry::Anchor(anchor) => refused.push(("anchor", anchor.gate.span)),
            }
            if refused.len() > Diagnostics::MOST {
                break;
            }
        }
        refused.sort_by_key(|(keyword, span)| (span.file, span.start, *keyword));
        refused.dedup();
        let finding = |(keyword, span)| {
            let why = unsupported::reason(keyword);
            Finding::new(span, format!("{keyword} is not supported yet: {why}"), "")
        };
        refused.into_iter().map(finding).collect()
    }

    /// True if a translation leads to a table whose members differ in weight.
    fn has_weights(&self, full: &FullRule) -> bool {
        let weighted = |name: &String| {
            let named = self.tables.iter().filter(|table| table.name == *name);
            named.flat_map(|table| table.members.iter().flatten()).any(|member| member.weight.is_some())
        };
        let pools = full.nat.iter().chain(&full.rdr);
        pools
            .flat_map(|pool| &pool.hosts)
            .any(|host| matches!(&host.address, AddressPattern::Table(name) if weighted(name)))
    }

    fn invalid(&self, invalid: &Invalid) -> Diagnostics {
        let span = invalid.rule.and_then(|number| match self.entries.get(number) {
            Some(Entry::Rule(full)) => Some(full.span),
            _ => None,
        });
        self.diagnostics(vec![Finding::new(span.unwrap_or_default(), invalid.what.clone(), "")])
    }
}

/// Keywords of a rule that [`ruleset::Rule`] has no place for, or that the dataplane does not obey. Every part is named
/// here, so that a new one cannot be forgotten.
fn beyond(full: &FullRule) -> Vec<&'static str> {
    let FullRule { early: _, rule, extras, nat, rdr, af_to, route, span: _ } = full;
    let Extras {
        os,
        from_route,
        to_route,
        domain,
        received_on,
        user,
        group,
        tos,
        prio,
        packet_rate,
        packet_size,
        set: SetActions { prio: set_prio, queue, tos: set_tos, delay },
        probability,
        source: SourceTracking { track, max_states, max_nodes, max_conn, max_conn_rate, overload },
        scrub,
        once,
        more_labels,
        ridentifier,
        routing_table,
        divert,
    } = extras;
    let targets = || nat.iter().chain(rdr).filter(|_| af_to.is_none());
    let pools = || nat.iter().chain(rdr).chain(route.as_ref().map(|(_, pool)| pool));
    let used = [
        (rule.log.user, "log (user)"),
        (rule.state == StateMode::Modulate, "modulate state"),
        (rule.state == StateMode::Synproxy, "synproxy state"),
        (rule.state_options.pflow, "pflow"),
        (os.is_some(), "os"),
        (from_route.is_some() || to_route.is_some(), "route"),
        (domain.is_some(), "on rdomain"),
        (received_on.is_some(), "received-on"),
        (user.is_some(), "user"),
        (group.is_some(), "group"),
        (tos.is_some(), "tos"),
        (prio.is_some(), "prio"),
        (packet_rate.is_some(), "max-pkt-rate"),
        (packet_size.is_some(), "max-pkt-size"),
        (set_prio.is_some(), "set prio"),
        (queue.is_some(), "set queue"),
        (set_tos.is_some(), "set tos"),
        (delay.is_some(), "set delay"),
        (probability.is_some(), "probability"),
        (track.is_some(), "source-track"),
        (*max_states > 0, "max-src-states"),
        (*max_nodes > 0, "max-src-nodes"),
        (*max_conn > 0, "max-src-conn"),
        (max_conn_rate.is_some(), "max-src-conn-rate"),
        (overload.is_some(), "overload"),
        (*scrub != Scrub::default(), "scrub"),
        (*once, "once"),
        (!more_labels.is_empty(), "label"),
        (ridentifier.is_some(), "ridentifier"),
        (routing_table.is_some(), "rtable"),
        (divert.is_some(), "divert"),
        (af_to.is_some(), "af-to"),
        (targets().any(|pool| pool.to_target().is_none()), "several targets"),
        (targets().any(|pool| pool.kind == Some(PoolKind::LeastStates)), "least-states"),
        (targets().any(|pool| pool.sticky), "sticky-address"),
        (pools().any(|pool| pool.endpoint_independent), "endpoint-independent"),
        (pools().any(|pool| pool.map_e.is_some()), "map-e-portset"),
        (matches!(route, Some((RouteKind::Route, _))), "route-to"),
        (matches!(route, Some((RouteKind::Reply, _))), "reply-to"),
        (matches!(route, Some((RouteKind::Dup, pool)) if pool.to_dup_to().is_none()), "dup-to"),
    ];
    used.into_iter().filter(|(used, _)| *used).map(|(_, keyword)| keyword).collect()
}

/// As in pf, a rule may name a table that nobody has defined: it exists from then on, and is empty.
fn define_tables(ruleset: &mut Ruleset) {
    let mut named: Vec<String> = Vec::new();
    for rule in &ruleset.rules {
        let ends = [&rule.from, &rule.to].map(|end| &end.address.pattern);
        let pools = [&rule.nat, &rule.rdr].into_iter().flatten().map(|pool| &pool.address);
        for pattern in ends.into_iter().chain(pools) {
            if let AddressPattern::Table(name) = pattern {
                named.push(name.clone());
            }
        }
    }
    named.sort_unstable();
    named.dedup();
    for name in named {
        if ruleset.table(&name).is_none() {
            ruleset.tables.push(Table { name, ..Table::default() });
        }
    }
}
