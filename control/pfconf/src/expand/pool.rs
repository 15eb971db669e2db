//! Pools: the address that a translation or a route leads to, or a table made of several.

use ipnet::IpNet;
use ruleset::{AddressPattern, Direction, PoolKind, PortMatch, Rule};
use wire::{Af, Proto};

use super::Expander;
use super::host::Node;
use super::rule::{Job, Target};
use crate::ast::{PoolOptions, Redirect, RedirectPort};
use crate::config::{Echo, FullRule, Member, Pool, PoolHost};
use crate::dialect::Dialect;
use crate::print;

impl Expander<'_> {
    /// Reports what is wrong and returns `None`, or the pool of a family.
    pub(super) fn pool(&mut self, target: &Target<'_>, af: Option<Af>, route: bool) -> Option<Pool> {
        let span = target.redirect.span;
        let fits = |node: &&Node| node.af.is_none() || node.af == af;
        let nodes: Vec<&Node> = target.nodes.iter().filter(fits).collect();
        if !route && nodes.iter().any(|node| node.via.is_some()) {
            self.complain(span, "@if not permitted for translation", None);
            return None;
        }
        let options = &target.redirect.pool;
        let address = match nodes.as_slice() {
            [] => {
                let what = if route { "routing" } else { "translation" };
                let hint = "the rule is for the other family: add inet or inet6, or change the address";
                self.complain(span, format!("af mismatch in {what} spec"), Some(hint));
                return None;
            }
            [one] => one.pattern.clone(),
            // A table does not say by which interface its addresses are reached.
            several
                if self.config.dialect == Dialect::FreeBsd
                    || several.iter().any(|node| node.via.is_some()) =>
            {
                return self.listed(target, &nodes);
            }
            several => self.automatic_table(several, target.redirect)?,
        };
        let kind = match &options.kind {
            None if several_addresses(&address) => Some(PoolKind::RoundRobin),
            kind => kind.clone(),
        };
        if matches!(kind, None | Some(PoolKind::Bitmask)) && several_addresses(&address) {
            let text = match &address {
                _ if nodes.len() > 1 => {
                    "pool type is not valid for multiple translation or routing addresses".to_owned()
                }
                AddressPattern::Interface { name, .. } => {
                    format!("interface ({name}) is not supported by pool type")
                }
                _ => "tables are not supported by pool type".to_owned(),
            };
            self.complain(span, text, Some("use round-robin, random, source-hash or least-states"));
            return None;
        }
        let pool = self::options(&target.redirect.pool, kind);
        if let Some(option) = mapping_option(&pool).filter(|_| route) {
            let text = format!("the '{option}' option is only valid with nat rules");
            self.complain(span, text, None);
            return None;
        }
        Some(Pool {
            hosts: vec![PoolHost {
                address,
                via: nodes.first().and_then(|node| node.via.clone()),
                weight: None,
            }],
            ..pool
        })
    }

    /// Several addresses as they are; FreeBSD takes them in turn.
    fn listed(&mut self, target: &Target<'_>, nodes: &[&Node]) -> Option<Pool> {
        let options = &target.redirect.pool;
        let kind = options.kind.clone().unwrap_or(PoolKind::RoundRobin);
        if kind != PoolKind::RoundRobin && self.config.dialect == Dialect::FreeBsd
            || kind == PoolKind::Bitmask
        {
            let text = "only round-robin valid for multiple redirection addresses";
            self.complain(target.redirect.span, text, Some("leave the other type out"));
            return None;
        }
        let host = |node: &&Node| PoolHost {
            address: node.pattern.clone(),
            via: node.via.clone(),
            weight: node.weight,
        };
        let hosts = nodes.iter().map(host).collect();
        Some(Pool { hosts, ..self::options(options, Some(kind)) })
    }

    /// Several addresses are put into a table, as pfctl does.
    fn automatic_table(&mut self, nodes: &[&Node], redirect: &Redirect) -> Option<AddressPattern> {
        let mut members = Vec::new();
        for node in nodes {
            let AddressPattern::Net(net) = node.pattern else {
                self.complain(
                    redirect.span,
                    "a pool of several addresses may hold hosts and networks only",
                    None,
                );
                return None;
            };
            members.push(Member { negated: false, net, weight: node.weight });
        }
        let table = self.config.automatic_table(members);
        if let Some(made) = self.config.tables.last() {
            let line = print::table_text(&made.lower(), self.config.dialect);
            self.config.echo.push(Echo::Table(line));
        }
        Some(table)
    }

    pub(super) fn rdr_ports(
        &mut self,
        mut pool: Pool,
        redirect: &Redirect,
        destination: PortMatch,
        rule: &Rule,
    ) -> Option<Pool> {
        if pool.static_port {
            self.complain(redirect.span, "the 'static-port' option is only valid with nat rules", None);
            return None;
        }
        if let Some(option) = mapping_option(&pool) {
            let text = format!("the '{option}' option is only valid with nat rules");
            self.complain(redirect.span, text, None);
            return None;
        }
        if redirect.port != RedirectPort::Default && !matches!(rule.proto, Some(Proto::TCP | Proto::UDP)) {
            self.complain(redirect.span, "port only applies to tcp/udp", Some("add proto tcp or proto udp"));
            return None;
        }
        pool.ports = match redirect.port {
            RedirectPort::Default => (0, 0),
            RedirectPort::One(port) => (port.0, port.0),
            RedirectPort::Range(first, last) if first <= last => (first.0, last.0),
            RedirectPort::Range(..) => {
                self.complain(redirect.span, "invalid rdr-to port range", Some("the lower port comes first"));
                return None;
            }
            RedirectPort::Offset(first) => {
                let width = match destination {
                    PortMatch::Range(low, high) => high.0.saturating_sub(low.0),
                    _ => 0,
                };
                (first.0, first.0.saturating_add(width))
            }
        };
        Some(pool)
    }

    /// `binat-to` leads both ways, so that both sides must be of one size.
    pub(super) fn check_binat(&mut self, job: &Job<'_>, full: &mut FullRule) {
        let span = job.statement.span;
        let directed = full.rule.direction.replace(Direction::Out).is_some();
        let source = &full.rule.from.address.pattern;
        match source {
            AddressPattern::Table(name) => {
                let text = format!("invalid use of table <{name}> as the source address of a binat-to rule");
                return self.complain(span, text, None);
            }
            AddressPattern::Net(_) | AddressPattern::Interface { .. } => {}
            _ => {
                self.complain(span, "binat-to requires a specified source and redirect address", None);
            }
        }
        let Some(nat) = &mut full.nat else { return };
        nat.static_port = true;
        let Some(PoolHost { address, .. }) = nat.only() else {
            self.complain(span, "multiple binat ip addresses", None);
            return;
        };
        if !matches!(address, AddressPattern::Net(_) | AddressPattern::Interface { .. }) {
            self.complain(span, "binat-to requires a specified source and redirect address", None);
        }
        let dynamic = |pattern: &AddressPattern| {
            matches!(pattern, AddressPattern::Interface { .. }) && several_addresses(pattern)
        };
        if dynamic(source) || dynamic(address) {
            self.complain(span, "dynamic interfaces must be used with ':0' in a binat-to rule", None);
        }
        if unequal(source, address) {
            let text = "source and redir addresess must have a matching network mask in binat-rule";
            self.complain(span, text, None);
        }
        if matches!(address, AddressPattern::Table(_)) {
            self.complain(span, "tables cannot be used as the redirect address of a binat-to rule", None);
        }
        if directed {
            self.complain(span, "binat-to cannot be specified with a direction", None);
        }
    }
}

/// An option that says how sources are mapped.
fn mapping_option(pool: &Pool) -> Option<&'static str> {
    let used = [(pool.endpoint_independent, "endpoint-independent"), (pool.map_e.is_some(), "map-e-portset")];
    used.iter().find(|(used, _)| *used).map(|(_, option)| *option)
}

/// A pool with these options, still without hosts.
fn options(options: &PoolOptions, kind: Option<PoolKind>) -> Pool {
    Pool {
        hosts: Vec::new(),
        ports: (0, 0),
        kind,
        sticky: options.sticky,
        static_port: options.static_port,
        port_block: options.port_block,
        endpoint_independent: options.endpoint_independent,
        map_e: options.map_e,
    }
}

/// True if a pool of this address alone needs a way to choose: tables, and interfaces without `:0`, groups even with it.
fn several_addresses(pattern: &AddressPattern) -> bool {
    match pattern {
        AddressPattern::Table(_) => true,
        AddressPattern::Interface { name, no_alias, .. } => {
            !no_alias || !name.ends_with(|last: char| last.is_ascii_digit())
        }
        _ => false,
    }
}

fn unequal(source: &AddressPattern, redirect: &AddressPattern) -> bool {
    let bits = |net: &IpNet| net.max_prefix_len() - net.prefix_len();
    match (source, redirect) {
        (AddressPattern::Net(source), AddressPattern::Net(redirect)) => bits(source) != bits(redirect),
        (AddressPattern::Interface { .. }, AddressPattern::Interface { .. } | AddressPattern::Net(_)) => {
            false
        }
        (AddressPattern::Net(_), AddressPattern::Interface { .. }) => false,
        _ => true,
    }
}
