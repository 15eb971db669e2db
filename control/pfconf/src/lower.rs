//! A ruleset to the dataplane's form: what it cannot do yet is refused by name, nothing is dropped silently.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

use ipnet::{IpNet, Ipv4Net};
use ruleset::{
    Action, AddressPattern, Call, Direction, NAT64_LENGTHS, RoutingKind, Rule, Ruleset, StateMode, Table,
};
use wire::Af;

use crate::ast::{Extras, SetActions};
use crate::config::{Anchor, Config, Entry, FullRule, Pool, TableDefinition};
use crate::convert::Finding;
use crate::diagnostic::Diagnostics;
use crate::dialect::Dialect;
use crate::source::Span;
use crate::tree::{Flat, Listed, Tree};
use crate::{hash, path, print, unsupported};

impl Config {
    /// The ruleset that the dataplane enforces.
    ///
    /// # Errors
    /// Every keyword that the dataplane does not know yet, with its place.
    pub fn lower(&self) -> Result<Ruleset, Diagnostics> {
        self.lower_with(&[])
    }

    /// The tables that it defines, whatever its rules are.
    pub fn tables(&self) -> Vec<Table> {
        let named = |table: &TableDefinition| {
            let lowered = table.lower();
            Table { name: qualified(&table.anchor, &lowered.name), ..lowered }
        };
        self.tables.iter().map(named).collect()
    }

    /// The same with what was loaded into anchors since, by their paths, each in place of what was there.
    ///
    /// # Errors
    /// As [`Config::lower`].
    pub fn lower_with(&self, anchors: &[(String, Self)]) -> Result<Ruleset, Diagnostics> {
        let main = std::iter::once(("", self));
        let all = main.chain(anchors.iter().map(|(path, config)| (path.as_str(), config)));
        let mut unified = Vec::new();
        for (path, config) in all {
            unified.push((path, config.unified(!path.is_empty())?));
        }
        Lowering::new(&unified).finish()
    }

    /// The paths of the anchors that it has rules for.
    pub fn anchors(&self) -> Vec<String> {
        let mut tree = Tree::default();
        tree.put(self, 0, "");
        let ruled = tree.rulesets().filter(|(path, nodes)| !path.is_empty() && !nodes.is_empty());
        ruled.map(|(path, _)| path.clone()).collect()
    }

    /// In OpenBSD's order of evaluation, if the dataplane knows all that it uses.
    fn unified(&self, in_anchor: bool) -> Result<Cow<'_, Self>, Diagnostics> {
        let mut findings = Vec::new();
        let unified = match self.dialect {
            Dialect::OpenBsd => Cow::Borrowed(self),
            Dialect::FreeBsd => Cow::Owned(self.in_one(in_anchor, &mut findings)),
        };
        findings.extend(unified.refused());
        if findings.is_empty() { Ok(unified) } else { Err(self.diagnostics(findings)) }
    }

    /// What the dataplane does not know, in the order of the file.
    fn refused(&self) -> Vec<Finding> {
        let mut refused: Vec<(&'static str, Span)> =
            self.unsupported.iter().map(|used| (used.value, used.span)).collect();
        let pathlike = self.tables.iter().filter(|table| table.name.contains('/'));
        refused.extend(pathlike.map(|table| (TABLE_PATH, table.span)));
        self.refused_in(&self.entries, &mut refused);
        for beside in &self.beside {
            self.refused_in(&beside.entries, &mut refused);
        }
        for (_, entries) in &self.loaded {
            self.refused_in(entries, &mut refused);
        }
        refused.sort_by_key(|(keyword, span)| (span.file, span.start, *keyword));
        refused.dedup();
        let finding = |(keyword, span)| {
            let why = unsupported::reason(keyword);
            Finding::new(span, format!("{keyword} is not supported yet: {why}"), "")
        };
        refused.into_iter().map(finding).collect()
    }

    fn refused_in(&self, entries: &[Entry], refused: &mut Vec<(&'static str, Span)>) {
        for entry in entries {
            if refused.len() > Diagnostics::MOST {
                return;
            }
            let full = entry.rule();
            let keywords = beyond(full);
            refused.extend(keywords.into_iter().map(|keyword| (keyword, self.place(keyword, full.span))));
            if let Entry::Anchor(Anchor { body: Some(body), .. }) = entry {
                self.refused_in(body, refused);
            }
        }
    }
}

/// Configurations by the anchors that they are for, on their way into one ruleset; the first is the main one.
struct Lowering<'a> {
    configs: &'a [(&'a str, Cow<'a, Config>)],
    tree: Tree<'a>,
    tables: BTreeMap<String, Table>,
    /// By anchor and text, how many rules there were.
    occurrences: HashMap<(u32, String), u32>,
}

impl<'a> Lowering<'a> {
    fn new(configs: &'a [(&'a str, Cow<'a, Config>)]) -> Self {
        let (mut tree, mut tables) = (Tree::default(), BTreeMap::new());
        for (number, (path, config)) in configs.iter().enumerate() {
            tree.put(config, number, path);
            for table in config.tables() {
                let name = qualified(&path::normal(path), &table.name);
                tables.insert(name.clone(), Table { name, ..table });
            }
        }
        Self { configs, tree, tables, occurrences: HashMap::new() }
    }

    fn finish(mut self) -> Result<Ruleset, Diagnostics> {
        let tree = std::mem::take(&mut self.tree);
        let Listed { list, idle } =
            tree.flatten().map_err(|(node, what)| self.fault(node.config, node.rule.span, what))?;
        let paths = tree.rulesets().map(|(path, _)| path).filter(|path| !path.is_empty());
        let anchors: Vec<String> = paths.cloned().collect();
        let options = self.configs[0].1.options.clone();
        let asking = self.configs.iter().find(|(_, config)| !config.fingerprints.is_empty());
        let fingerprints = asking.map(|(_, config)| config.fingerprints.clone()).unwrap_or_default();
        let mut ruleset = Ruleset { options, anchors, fingerprints, ..Ruleset::default() };
        ruleset.rules = list.iter().map(|flat| self.rule(flat, &ruleset.anchors)).collect();
        ruleset.idle = idle.iter().map(|flat| self.rule(flat, &ruleset.anchors)).collect();
        ruleset.tables = self.tables.values().cloned().collect();
        define_tables(&mut ruleset);
        ruleset.validate().map_err(|invalid| {
            let at = invalid.rule.and_then(|number| list.get(number)).map(|flat| flat.node);
            let (config, span) = at.map_or((0, Span::default()), |node| (node.config, node.rule.span));
            self.fault(config, span, invalid.what)
        })?;
        Ok(ruleset)
    }

    fn rule(&mut self, flat: &Flat<'_, '_>, anchors: &[String]) -> Rule {
        let Flat { node, path, end } = flat;
        let full = node.rule;
        let mut rule = full.rule.clone();
        rule.routing = full.route.as_ref().map(|(kind, pool)| pool.to_routing(*kind));
        rule.nat = full.nat.as_ref().and_then(Pool::to_target);
        rule.rdr = full.rdr.as_ref().and_then(Pool::to_target);
        if let Some(af) = full.af_to {
            rule.af_to = Some(af);
            rule.rdr = rule.rdr.map(|pool| crossing_target(af, pool));
        }
        // Paths are in order.
        rule.anchor =
            anchors.binary_search_by(|known| known.as_str().cmp(path)).map_or(0, |at| at as u32 + 1);
        rule.call = node.call.as_ref().map(|name| Call {
            name: name.clone(),
            wildcard: path::is_wildcard(name),
            end: end.unwrap_or_default(),
        });
        let text = print::print_rule(&rule);
        let occurrence = self.occurrences.entry((rule.anchor, text.clone())).or_default();
        rule.identity = hash::rule_identity(path, &text, *occurrence);
        *occurrence += 1;
        for name in rule.tables_mut() {
            let own = qualified(path::owner(path), name);
            // As in pf, a table that an anchor does not have is that of the main ruleset.
            if self.tables.contains_key(&own) {
                *name = own;
            }
        }
        rule
    }

    fn fault(&self, config: usize, span: Span, what: String) -> Diagnostics {
        self.configs[config].1.diagnostics(vec![Finding::new(span, what, "")])
    }
}

/// The name of an anchor's table among all.
fn qualified(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}/{name}") }
}

/// Tables of anchors are told apart by paths.
const TABLE_PATH: &str = "/ in a table's name";

/// Keywords of a rule that [`ruleset::Rule`] has no place for, or that the dataplane does not obey. Every part is named
/// here, so that a new one cannot be forgotten.
fn beyond(full: &FullRule) -> Vec<&'static str> {
    let FullRule { early: _, rule, extras, nat, rdr, af_to, route, span: _ } = full;
    let Extras {
        from_route,
        to_route,
        domain,
        user,
        group,
        packet_size,
        set: SetActions { queue, delay },
        // FreeBSD's, of which rules of their own are made.
        scrub: _,
        divert,
    } = extras;
    let targets = || nat.iter().chain(rdr);
    let tables = [&rule.from, &rule.to].map(|end| match &end.address.pattern {
        AddressPattern::Table(name) => name.as_str(),
        _ => "",
    });
    let used = [
        (rule.log.to > 0, "log (to pflogN)"),
        (rdr.is_some() && rule.direction == Some(Direction::Out), "rdr-to of packets that leave"),
        (tables.iter().any(|name| name.contains('/')), TABLE_PATH),
        (rule.log.user, "log (user)"),
        (rule.state_options.pflow, "pflow"),
        (from_route.is_some() || to_route.is_some(), "route"),
        (domain.is_some(), "on rdomain"),
        (user.is_some(), "user"),
        (group.is_some(), "group"),
        (packet_size.is_some(), "max-pkt-size"),
        (queue.is_some(), "set queue"),
        (delay.is_some(), "set delay"),
        (divert.is_some(), "divert"),
        (targets().any(|pool| pool.to_target().is_none()), "several targets"),
        (matches!(route, Some((kind, pool)) if *kind != RoutingKind::Dup && leads_nowhere(pool)), ALONE),
        (matches!(route, Some((RoutingKind::Dup, pool)) if leads_to_several_ports(pool)), SEVERAL_PORTS),
    ];
    let crossing = af_to.iter().flat_map(|af| beyond_af_to(full, *af));
    used.into_iter().chain(crossing).filter(|(used, _)| *used).map(|(_, keyword)| keyword).collect()
}

/// What of `af-to` to a family the dataplane does not do.
fn beyond_af_to(full: &FullRule, af: Af) -> [(bool, &'static str); 6] {
    let FullRule { rule, nat, rdr, .. } = full;
    let has_no_place = |pool: &Pool| {
        pool.hosts.iter().any(|host| match &host.address {
            AddressPattern::Net(net) => {
                let length = net.prefix_len();
                af == Af::Inet6 && length <= 96 && !NAT64_LENGTHS.contains(&length)
            }
            AddressPattern::Any => af == Af::Inet6,
            _ => false,
        })
    };
    [
        (rule.af.is_none(), "af-to without inet or inet6"),
        (rule.direction == Some(Direction::Out), "af-to of packets that leave"),
        (rule.action == Action::Match, "af-to of match rules"),
        (rule.state == StateMode::Synproxy, "af-to with synproxy state"),
        (nat.iter().chain(rdr).any(|pool| pool.sticky), "af-to with sticky-address"),
        (rdr.as_ref().is_some_and(has_no_place), "af-to to such a prefix"),
    ]
}

/// Where `af-to` leads: to the address that stands in the other one, if it says so.
fn crossing_target(af: Af, pool: ruleset::Pool) -> ruleset::Pool {
    match (pool.address, af) {
        (AddressPattern::Any, Af::Inet) => {
            ruleset::Pool { address: AddressPattern::Net(IpNet::V4(Ipv4Net::default())), ..pool }
        }
        (address, _) => ruleset::Pool { address, ..pool },
    }
}

/// `route-to em0`.
const ALONE: &str = "an interface without a gateway";

/// True if only an interface is named.
fn leads_nowhere(pool: &Pool) -> bool {
    pool.hosts.iter().any(|host| host.address == AddressPattern::Any)
}

/// `dup-to { @span0 @span1 }`.
const SEVERAL_PORTS: &str = "dup-to several ports";

/// True if a port is named without a host, and more beside it.
fn leads_to_several_ports(pool: &Pool) -> bool {
    pool.hosts.len() > 1 && leads_nowhere(pool)
}

/// As in pf, a rule may name a table that nobody has defined: it exists from then on, and is empty.
fn define_tables(ruleset: &mut Ruleset) {
    let rules = ruleset.rules.iter().chain(&ruleset.idle);
    let mut named: Vec<String> = rules.flat_map(|rule| rule.tables().cloned().collect::<Vec<_>>()).collect();
    named.sort_unstable();
    named.dedup();
    for name in named {
        if ruleset.table(&name).is_none() {
            ruleset.tables.push(Table { name, ..Table::default() });
        }
    }
}
