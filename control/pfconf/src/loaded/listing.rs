//! Rules, labels, anchors and tables as `pfctl -s` lists them.

use std::collections::BTreeSet;
use std::fmt::Write;

use ruleset::InterfacePart;
use wire::Af;

use super::{AddressTraffic, Anchored, Inserter, Loaded, LoadedRule, LoadedTable, UnknownAnchor};
use crate::ast::Section;
use crate::config::FullRule;
use crate::dialect::Dialect;
use crate::interfaces::Interfaces;
use crate::path;
use crate::print::{self, Sizes, Style};
use crate::skip::{self, Criterion};

/// How deep anchors may call each other (`PF_ANCHOR_STACK_MAX`).
const DEEPEST: usize = 64;

/// What is shown of an anchor's rules, and how much of each.
#[derive(Clone, Copy, Debug)]
pub struct RulesView<'a> {
    /// The anchor; empty for the main ruleset.
    pub anchor: &'a str,
    /// The anchors below it, too.
    pub scope: Scope,
    /// How often `-v` was given.
    pub verbose: u8,
    /// `-g`.
    pub debug: bool,
    /// Only the rule of this number (`-R`).
    pub only: Option<usize>,
    /// For the numbers of addresses that `-vv` shows.
    pub interfaces: &'a Interfaces,
    /// In which dialect they are printed.
    pub dialect: Dialect,
    /// Only those of FreeBSD's rulesets for translation (`-s nat`).
    pub translation: bool,
    /// `-P`: ports by the names of their services; in FreeBSD's dialect, by number.
    pub port_names: bool,
}

/// How far a listing goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The anchor, and what stands in braces without a name.
    Here,
    /// Every anchor that its rules call (`-a name*`).
    Called,
    /// The same; if it has no rules, every anchor below it (`-a 'name/*'`).
    Below,
}

impl Scope {
    /// Whether it goes on into an anchor that a rule calls so.
    fn enters(self, call: &str) -> bool {
        path::is_private(call) || self != Self::Here
    }
}

impl RulesView<'_> {
    fn numbered(&self) -> bool {
        self.verbose > 1 || self.debug
    }
}

/// Counts what stands behind the names in an anchor's rules.
struct Counts<'a> {
    loaded: &'a Loaded,
    anchor: &'a str,
    interfaces: &'a Interfaces,
}

impl Sizes for Counts<'_> {
    fn table(&self, name: &str) -> Option<usize> {
        // As in pf, a table that an anchor does not have is that of the main ruleset.
        let table = self.loaded.table(self.anchor, name).or_else(|| self.loaded.table("", name))?;
        Some(table.len())
    }

    fn interface(&self, name: &str, part: InterfacePart, no_alias: bool, af: Option<Af>) -> usize {
        let found = self.interfaces.addresses(name, part, no_alias);
        found.iter().filter(|found| af.is_none_or(|af| af == Af::of(&found.address))).count()
    }
}

impl Loaded {
    /// Rules, as `pfctl -sr` shows them.
    ///
    /// # Errors
    /// There is no such anchor.
    pub fn print_rules(&self, view: &RulesView<'_>) -> Result<String, UnknownAnchor> {
        let path = path::normal(view.anchor);
        self.anchored(&path)?;
        let mut out = String::new();
        self.write_rules(view, &path, 0, view.scope == Scope::Below, &mut out);
        if view.translation && !path.is_empty() {
            for tree in path::BESIDE {
                self.write_rules(view, &path::join(tree, &path), 0, false, &mut out);
            }
        }
        Ok(out)
    }

    fn write_rules(&self, view: &RulesView<'_>, path: &str, depth: usize, below: bool, out: &mut String) {
        let empty = Anchored::default();
        let rules = &self.anchors.get(path).unwrap_or(&empty).rules;
        let indent = if view.verbose == 0 { "  ".repeat(depth) } else { String::new() };
        let counts = Counts { loaded: self, anchor: path, interfaces: view.interfaces };
        let sizes = view.numbered().then_some(&counts as &dyn Sizes);
        let style = Style { dialect: view.dialect, sizes, port_names: view.port_names };
        let full: Vec<&FullRule> = rules.iter().map(|rule| &rule.rule).collect();
        let steps = if view.debug { skip::steps(&full) } else { Vec::new() };
        for (number, rule) in rules.iter().enumerate() {
            let left_out =
                view.only.is_some_and(|only| only != number) || (view.translation && !translates(&rule.rule));
            let hidden = rule.counters.spent && view.verbose < 2;
            if hidden || depth == 0 && left_out {
                continue;
            }
            out.push_str(&indent);
            if view.numbered() {
                let _ = write!(out, "@{number} ");
            }
            out.push_str(&rule.print(style));
            if rule.counters.spent {
                out.push_str(" # expired");
            }
            let called = rule.call.as_deref().filter(|call| depth < DEEPEST && view.scope.enters(call));
            out.push_str(if called.is_some() { " {\n" } else { "\n" });
            rule.write_counters(view, number, steps.get(number), out);
            if let Some(call) = called {
                let wildcard = path::is_wildcard(call);
                self.write_rules(view, &path::join(path, call), depth + 1, wildcard, out);
                let _ = writeln!(out, "{indent}}}");
            }
        }
        if below && rules.is_empty() && view.scope != Scope::Here && depth < DEEPEST {
            for child in self.children(path) {
                let _ = writeln!(out, "{indent}anchor \"{child}\" all {{");
                self.write_rules(view, &path::join(path, &child), depth + 1, false, out);
                let _ = writeln!(out, "{indent}}}");
            }
        }
    }

    /// The paths of the anchors whose rules [`Self::print_rules`] lists.
    ///
    /// # Errors
    /// There is no such anchor.
    pub fn listed(&self, anchor: &str, scope: Scope) -> Result<Vec<String>, UnknownAnchor> {
        let path = path::normal(anchor);
        self.anchored(&path)?;
        let mut listed = BTreeSet::new();
        self.add_listed(path, scope, scope == Scope::Below, &mut listed);
        let mut paths: Vec<String> = listed.into_iter().map(|(path, _)| path).collect();
        paths.dedup();
        Ok(paths)
    }

    /// Adds an anchor and those that its rules lead to; each with whether the anchors below it were wanted as well.
    fn add_listed(&self, path: String, scope: Scope, below: bool, listed: &mut BTreeSet<(String, bool)>) {
        if !listed.insert((path.clone(), below)) {
            return;
        }
        let rules = self.anchors.get(&path).map_or(&[][..], |anchored| &anchored.rules);
        for call in rules.iter().filter_map(|rule| rule.call.as_deref()).filter(|call| scope.enters(call)) {
            self.add_listed(path::join(&path, call), scope, path::is_wildcard(call), listed);
        }
        if below && rules.is_empty() && scope != Scope::Here {
            for child in self.children(&path) {
                self.add_listed(path::join(&path, &child), scope, false, listed);
            }
        }
    }

    /// The names of the anchors directly below one.
    fn children(&self, path: &str) -> Vec<String> {
        let rest = self.anchors.keys().filter_map(|known| path::below(known, path));
        let mut names: Vec<String> =
            rest.filter_map(|rest| rest.split('/').next()).map(str::to_owned).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// One line for each rule that has a label, as `pfctl -sl` shows them.
    ///
    /// # Errors
    /// There is no such anchor.
    pub fn print_labels(&self, view: &RulesView<'_>) -> Result<String, UnknownAnchor> {
        let path = path::normal(view.anchor);
        let rules = self.anchored(&path)?.map_or(&[][..], |anchored| &anchored.rules);
        let mut out = String::new();
        for (number, rule) in rules.iter().enumerate() {
            let labels: Vec<&str> = rule.rule.rule.labels().map(String::as_str).collect();
            if !labels.is_empty() && view.only.is_none_or(|only| only == number) {
                let counters = &rule.counters;
                let unknown = || "-".to_owned();
                let apart: Vec<String> = match counters.by_direction {
                    Some(directions) => {
                        directions.iter().map(|(packets, bytes)| format!("{packets} {bytes}")).collect()
                    }
                    None => vec!["- -".into(), "- -".into()],
                };
                let made = counters.states_made.map_or_else(unknown, |made| made.to_string());
                let _ = writeln!(
                    out,
                    "{} {} {} {} {} {made}",
                    labels.join(" "),
                    counters.evaluations,
                    counters.packets,
                    counters.bytes,
                    apart.join(" "),
                );
            }
        }
        Ok(out)
    }

    /// Queues, as `pfctl -sq` lists them.
    pub fn print_queues(&self) -> String {
        self.queues
            .iter()
            .map(|queue| format!("{}\n", print::queue::text(queue, Dialect::default().into())))
            .collect()
    }

    /// Every anchor below one, as `pfctl -sA` lists them; those without a name only if `verbose`.
    pub fn print_anchors(&self, anchor: &str, verbose: bool) -> String {
        let anchor = path::normal(anchor);
        let paths = self.anchors.keys().filter(|path| path::below(path, &anchor).is_some());
        let shown = paths.filter(|path| verbose || !path.split('/').any(|name| name.starts_with('_')));
        shown.map(|path| format!("  {path}\n")).collect()
    }

    /// The tables of an anchor, as `pfctl -sT` lists them; with `-g` those that rules name and nobody defines, too.
    pub fn print_tables(
        &self,
        anchor: &str,
        verbose: u8,
        debug: bool,
        time: impl Fn(u64) -> String,
    ) -> String {
        let path = path::normal(anchor);
        let named = self.tables_named_in(&path);
        let empty = Anchored::default();
        let tables = &self.anchors.get(&path).unwrap_or(&empty).tables;
        let mut all: Vec<&String> = tables.keys().chain(named.keys()).collect();
        all.sort_unstable();
        all.dedup();
        let mut out = String::new();
        for name in all {
            let table = tables.get(name);
            if table.is_none() && !debug {
                continue;
            }
            if verbose == 0 {
                let _ = writeln!(out, "{name}");
                continue;
            }
            let rules = named.get(name).copied().unwrap_or_default();
            let anchors = if path.is_empty() { self.naming_anchors(name) } else { 0 };
            let [constant, persist] = table.map_or([(false, 'c'), (false, 'p')], |table| table.flags());
            let counters = (table.is_some_and(|table| table.has_counters()), 'C');
            let active = (table.is_some(), 'a');
            let flags =
                [constant, persist, active, (false, 'i'), (rules > 0, 'r'), (anchors > 0, 'h'), counters];
            let flags: String =
                flags.into_iter().map(|(given, letter)| if given { letter } else { '-' }).collect();
            let within = if path.is_empty() { String::new() } else { format!("\t{path}") };
            let _ = writeln!(out, "{flags}\t{name}{within}");
            if verbose > 1 {
                let _ = writeln!(out, "\tAddresses:   {}", table.map_or(0, |table| table.len()));
                let cleared = time(table.map_or(0, |table| table.cleared_unix_s()));
                let _ = writeln!(out, "\tCleared:     {cleared}");
                let _ = writeln!(out, "\tReferences:  [ Anchors: {anchors:<18} Rules: {rules:<18} ]");
                let _ = writeln!(out, "\tEvaluations: [ NoMatch: {:<18} Match: {:<18} ]", 0, 0);
                write_traffic(&mut out, &["Block", "Match", "Pass", "XPass"], &Default::default());
            }
        }
        out
    }

    /// How many anchors' rules name a table of the main ruleset.
    fn naming_anchors(&self, name: &str) -> usize {
        let anchors = self.anchors.keys().filter(|path| !path.is_empty());
        anchors.filter(|path| self.tables_named_in(path).contains_key(name)).count()
    }
}

/// True for what is of FreeBSD's rulesets for translation.
fn translates(full: &FullRule) -> bool {
    full.section().is_some_and(|section| section != Section::Scrub)
}

/// The addresses of a table, as `pfctl -T show` lists them.
pub fn print_members(table: &LoadedTable, verbose: u8, time: impl Fn(u64) -> String) -> String {
    let mut out = String::new();
    for row in table.rows() {
        let negated = if row.member.negated { '!' } else { ' ' };
        let _ = writeln!(out, "  {negated}{}", print::net(row.member.net));
        if verbose > 0 {
            let _ = writeln!(out, "\tCleared:     {}", time(row.cleared_unix_s));
            if let Some(weight) = row.member.weight {
                let _ = writeln!(out, "\tWeight:             {weight}");
            }
            if table.has_counters() {
                write_traffic(&mut out, &["Block", "Match", "Pass"], &table.traffic(row.member.net));
            }
        }
    }
    out
}

/// The counters of an address; those of a table stay zero. `match` rules count for none.
fn write_traffic(out: &mut String, deeds: &[&str], traffic: &AddressTraffic) {
    for (direction, [blocked, passed]) in ["In", "Out"].into_iter().zip(traffic) {
        for deed in deeds {
            let title = format!("{direction}/{deed}:");
            let (packets, bytes) = match *deed {
                "Block" => *blocked,
                "Pass" => *passed,
                _ => (0, 0),
            };
            let _ = writeln!(out, "\t{title:<12} [ Packets: {packets:<18} Bytes: {bytes:<18} ]");
        }
    }
}

impl LoadedRule {
    fn print(&self, style: Style<'_>) -> String {
        match &self.call {
            Some(call) => print::rule::anchor_text(path::printed(call), &self.rule, style),
            None => print::rule::text(&self.rule, style),
        }
    }

    fn write_counters(
        &self,
        view: &RulesView<'_>,
        number: usize,
        steps: Option<&[Option<usize>; Criterion::COUNT]>,
        out: &mut String,
    ) {
        if let Some(steps) = steps {
            out.push_str("  [ Skip steps: ");
            for (criterion, step) in Criterion::ALL.into_iter().zip(steps) {
                match step {
                    Some(next) if *next == number + 1 => {}
                    Some(next) => {
                        let _ = write!(out, "{}={next} ", criterion.name());
                    }
                    None => {
                        let _ = write!(out, "{}=end ", criterion.name());
                    }
                }
            }
            out.push_str("]\n");
            let queues = self.rule.extras.set.queue.as_ref();
            let first = queues.map_or("", |(first, _)| first);
            let second = queues.and_then(|(_, second)| second.as_deref()).unwrap_or_default();
            let _ = writeln!(out, "  [ queue: qname={first} qid=0 pqname={second} pqid=0 ]");
        }
        if view.verbose > 0 {
            let counters = &self.counters;
            let _ = writeln!(
                out,
                "  [ Evaluations: {:<8}  Packets: {:<8}  Bytes: {:<10}  States: {:<6}]",
                counters.evaluations, counters.packets, counters.bytes, counters.states
            );
            if let (false, Some(inserter), Some(made)) = (view.debug, self.inserter, counters.states_made) {
                let Inserter { uid, pid } = inserter;
                let _ = writeln!(out, "  [ Inserted: uid {uid} pid {pid} State Creations: {made:<6}]");
            }
        }
    }
}
