//! What is loaded: rulesets by anchor, each with its tables, as pfctl's verbs see and change them.
//!
//! Overview: [`Loaded::load`] puts a [`Config`] into an anchor, [`Loaded::print_rules`] and its sisters show it as pfctl
//! does, [`LoadedTable`] has the verbs of `pfctl -T`. It is a value that serialises: a scratch ruleset is one file.
//! Rules in braces are a ruleset below that of their anchor, as in pf: `anchor "a" { … }` makes `a`, braces without a
//! name make `_1`, `_2` and so on. Bounds: those of a [`Config`]; anchors call each other 64 deep.

mod listing;
mod table;

use std::collections::BTreeMap;

use ruleset::{AddressPattern, Fingerprint, InterfacePattern, Options, Rule, Ruleset};
use serde::{Deserialize, Serialize};

use crate::ast::QueueStatement;
use crate::config::{Config, FullRule};
use crate::dialect::Dialect;
use crate::fingerprint::Fingerprints;
use crate::path;
use crate::print::{self, print_rule};
use crate::tree::{Node, Tree};

pub use listing::{RulesView, Scope, print_members};
pub use table::{AddressTraffic, Feedback, LoadedTable, TableChange, TableRow, TableVerb};

/// The rulesets of all anchors.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Loaded {
    /// By path; the main ruleset's is empty.
    anchors: BTreeMap<String, Anchored>,
    options: Options,
    queues: Vec<QueueStatement>,
    fingerprints: Vec<Fingerprint>,
}

/// The ruleset of one anchor.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Anchored {
    rules: Vec<LoadedRule>,
    tables: BTreeMap<String, LoadedTable>,
}

/// A rule, or the call of an anchor.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct LoadedRule {
    /// The anchor that it calls, as a path from the anchor that it stands in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    call: Option<String>,
    /// In pfctl's form, for readers of the file.
    text: String,
    rule: FullRule,
    counters: Counters,
    /// Unknown of a running dataplane's rules, if others became live while it was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    inserter: Option<Inserter>,
}

/// Who loaded a rule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inserter {
    /// The user.
    pub uid: u32,
    /// The process.
    pub pid: u32,
}

/// Who loads rules, and when.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// Who.
    pub inserter: Inserter,
    /// When, in seconds since 1970.
    pub unix_s: u64,
}

/// What a rule has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// How often packets were compared with it.
    pub evaluations: u64,
    /// Packets that it decided and packets of its states.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Its states now.
    pub states: u64,
    /// Packets and bytes inbound, then outbound; `None` where they are not counted apart.
    pub by_direction: Option<[(u64, u64); 2]>,
    /// States that it made; `None` where they are not counted.
    pub states_made: Option<u64>,
    /// `once`, and it has matched: it never will again.
    #[serde(default)]
    pub spent: bool,
}

impl Counters {
    /// Adds what another rule has done, but for its evaluations.
    fn add_traffic(&mut self, other: &Self) {
        self.packets += other.packets;
        self.bytes += other.bytes;
        self.states += other.states;
        self.spent &= other.spent;
        let both = |(a, b): ((u64, u64), (u64, u64))| (a.0 + b.0, a.1 + b.1);
        let ways = self.by_direction.zip(other.by_direction);
        self.by_direction = ways.map(|([ain, aout], [bin, bout])| [both((ain, bin)), both((aout, bout))]);
        self.states_made = self.states_made.zip(other.states_made).map(|(a, b)| a + b);
    }

    /// Of a rule that has done nothing.
    pub const ZERO: Self = Self {
        evaluations: 0,
        packets: 0,
        bytes: 0,
        states: 0,
        by_direction: Some([(0, 0); 2]),
        states_made: Some(0),
        spent: false,
    };
}

/// A rule of a listing.
#[derive(Clone, Debug, Serialize)]
pub struct RuleRow<'a> {
    /// Its number, from 0.
    pub number: usize,
    #[serde(flatten)]
    loaded: &'a LoadedRule,
}

/// There is no anchor of this name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownAnchor;

impl std::fmt::Display for UnknownAnchor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Anchor does not exist")
    }
}

impl std::error::Error for UnknownAnchor {}

impl LoadedRule {
    fn new(node: &Node<'_>, origin: Origin) -> Self {
        let style = Dialect::default().into();
        let text = match &node.call {
            None => print::rule::text(node.rule, style),
            Some(call) => print::rule::anchor_text(path::printed(call), node.rule, style),
        };
        Self {
            call: node.call.clone(),
            text,
            rule: node.rule.clone(),
            counters: Counters::ZERO,
            inserter: Some(origin.inserter),
        }
    }
}

impl Loaded {
    /// A ruleset that is live, with what its rules have done, by number, and who loaded them.
    pub fn of(ruleset: &Ruleset, counters: &[Counters], inserter: Option<Inserter>) -> Self {
        let (options, fingerprints) = (ruleset.options.clone(), ruleset.fingerprints.clone());
        let mut loaded = Self { options, fingerprints, ..Self::default() };
        loaded.make("");
        for path in &ruleset.anchors {
            loaded.make(path);
        }
        let places = ruleset.places();
        let callers = ruleset.callers();
        for (number, rule) in ruleset.rules.iter().enumerate() {
            let mut counted = counters.get(number).copied().unwrap_or_default();
            if rule.call.is_some() {
                // As in pf, a call counts with the rules right in its anchor.
                let within = |(_, caller): &(&Counters, &Option<u32>)| **caller == Some(number as u32);
                for (inner, _) in counters.iter().zip(&callers).filter(within) {
                    counted.add_traffic(inner);
                }
            }
            let place = places[number].rule as usize;
            loaded.add(ruleset.path(rule), place, rule, counted, inserter);
        }
        for rule in &ruleset.idle {
            let path = ruleset.path(rule);
            let number = loaded.anchors.get(path).map_or(0, |anchored| anchored.rules.len());
            loaded.add(path, number, rule, Counters::ZERO, inserter);
        }
        for table in &ruleset.tables {
            let (path, name) = table.name.rsplit_once('/').unwrap_or(("", &table.name));
            loaded.make(path).tables.insert(name.to_owned(), LoadedTable::of(table));
        }
        loaded
    }

    /// Adds a live rule to its ruleset; of one that is there, because its anchor is called more than once, the counters.
    fn add(
        &mut self,
        path: &str,
        number: usize,
        rule: &Rule,
        counters: Counters,
        inserter: Option<Inserter>,
    ) {
        let rules = &mut self.make(path).rules;
        if let Some(known) = rules.get_mut(number) {
            known.counters.evaluations += counters.evaluations;
            known.counters.add_traffic(&counters);
            return;
        }
        let full = FullRule::from(&print::local(rule));
        let call = rule.call.as_ref().map(|call| call.name.clone());
        rules.push(LoadedRule { call, text: print_rule(rule), rule: full, counters, inserter });
    }

    /// The options of the main ruleset.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// What is known of operating systems, if rules ask.
    pub fn fingerprints(&self) -> Fingerprints {
        Fingerprints(self.fingerprints.clone())
    }

    /// Replaces the rules of an anchor, and of those in braces below it, and the tables that the configuration defines:
    /// all of it or, if the configuration has errors, nothing, which is the caller's to see to. Options are taken over
    /// by the main ruleset only.
    pub fn load(&mut self, config: &Config, anchor: &str, origin: Origin) {
        let anchor = path::normal(anchor);
        if anchor.is_empty() {
            self.options = config.options.clone();
            self.queues.clone_from(&config.queues);
            self.fingerprints.clone_from(&config.fingerprints);
        }
        let private = |path: &String| path::below(path, &anchor).is_some_and(|rest| rest.starts_with('_'));
        self.anchors.retain(|path, _| !private(path));
        self.make(&anchor).rules.clear();
        let mut tree = Tree::default();
        tree.put(config, 0, &anchor);
        for (path, nodes) in tree.rulesets() {
            let known = self.make(path);
            if !nodes.is_empty() {
                known.rules = nodes.iter().map(|node| LoadedRule::new(node, origin)).collect();
            }
        }
        self.load_tables(config, &anchor, origin.unix_s);
    }

    /// Defines the tables of the configuration in an anchor, and changes nothing else (`pfctl -T load`).
    pub fn load_tables(&mut self, config: &Config, anchor: &str, unix_s: u64) {
        let anchor = path::normal(anchor);
        for table in &config.tables {
            let tables = &mut self.make(&path::join(&anchor, &table.anchor)).tables;
            tables.entry(table.name.clone()).or_default().define(table, unix_s);
        }
        self.tidy();
    }

    /// The ruleset of an anchor, made if it is absent, with those above it.
    fn make(&mut self, path: &str) -> &mut Anchored {
        let mut above = path::parent(path);
        while let Some(parent) = above {
            above = path::parent(&parent);
            self.anchors.entry(parent).or_default();
        }
        self.anchors.entry(path.to_owned()).or_default()
    }

    /// Removes the rules of an anchor.
    pub fn flush_rules(&mut self, anchor: &str) {
        if let Some(anchored) = self.anchors.get_mut(&path::normal(anchor)) {
            anchored.rules.clear();
        }
        self.tidy();
    }

    /// Removes every table of an anchor, and returns how many there were.
    pub fn flush_tables(&mut self, anchor: &str) -> usize {
        let anchored = self.anchors.get_mut(&path::normal(anchor));
        let count = anchored.map_or(0, |anchored| std::mem::take(&mut anchored.tables).len());
        self.tidy();
        count
    }

    /// Back to the options that hold when nothing is set (`pfctl -F Reset`).
    pub fn reset_options(&mut self) {
        self.options = Options::default();
    }

    /// Sets the counters of these anchors' rules to zero, which are named by their paths.
    pub fn zero_rules(&mut self, anchors: &[String]) {
        for path in anchors {
            let anchored = self.anchors.get_mut(path);
            for rule in anchored.into_iter().flat_map(|anchored| &mut anchored.rules) {
                rule.counters = Counters::ZERO;
            }
        }
    }

    /// The rules of an anchor.
    ///
    /// # Errors
    /// There is no such anchor.
    pub fn rules(&self, anchor: &str) -> Result<Vec<RuleRow<'_>>, UnknownAnchor> {
        let rules = self.anchored(&path::normal(anchor))?.map_or(&[][..], |anchored| &anchored.rules);
        Ok(rules.iter().enumerate().map(|(number, loaded)| RuleRow { number, loaded }).collect())
    }

    /// How many rules, of all anchors, name an interface.
    pub fn rules_on(&self, interface: &str) -> usize {
        let names = |loaded: &&LoadedRule| match loaded.rule.rule.interface.as_ref().map(|on| &on.pattern) {
            Some(InterfacePattern::Name(name)) => name == interface,
            _ => false,
        };
        self.anchors.values().flat_map(|anchored| &anchored.rules).filter(names).count()
    }

    /// True if a rule of an anchor has a label.
    pub fn has_labels(&self, anchor: &str) -> bool {
        let anchored = self.anchors.get(&path::normal(anchor));
        anchored.is_some_and(|anchored| anchored.rules.iter().any(|rule| rule.rule.rule.label.is_some()))
    }

    /// The ruleset of an anchor; nothing only for a main ruleset that was never loaded.
    fn anchored(&self, path: &str) -> Result<Option<&Anchored>, UnknownAnchor> {
        match self.anchors.get(path) {
            None if !path.is_empty() => Err(UnknownAnchor),
            anchored => Ok(anchored),
        }
    }

    /// The paths of an anchor and all below it, in order; the main ruleset's is empty.
    pub fn anchors_below(&self, anchor: &str) -> Vec<String> {
        let anchor = path::normal(anchor);
        let within = |path: &&String| **path == anchor || path::below(path, &anchor).is_some();
        self.anchors.keys().filter(within).cloned().collect()
    }

    /// A table that is defined in an anchor.
    pub fn table(&self, anchor: &str, name: &str) -> Option<&LoadedTable> {
        self.anchors.get(&path::normal(anchor))?.tables.get(name)
    }

    /// The names of an anchor's tables.
    pub fn table_names(&self, anchor: &str) -> impl Iterator<Item = &str> {
        let anchored = self.anchors.get(&path::normal(anchor));
        anchored.into_iter().flat_map(|anchored| anchored.tables.keys().map(String::as_str))
    }

    /// The same, to be changed.
    pub fn table_mut(&mut self, anchor: &str, name: &str) -> Option<&mut LoadedTable> {
        self.anchors.get_mut(&path::normal(anchor))?.tables.get_mut(name)
    }

    /// Makes an empty table that stays without references, as `pfctl -T add` does; false if it was there.
    pub fn create_table(&mut self, anchor: &str, name: &str, unix_s: u64) -> bool {
        let tables = &mut self.make(&path::normal(anchor)).tables;
        if tables.contains_key(name) {
            return false;
        }
        tables.insert(name.to_owned(), LoadedTable::empty(unix_s));
        true
    }

    /// Puts a table in place of one of its name, which the path of its anchor stands in front of.
    pub fn put_table(&mut self, name: &str, table: LoadedTable) {
        let (path, name) = name.rsplit_once('/').unwrap_or(("", name));
        self.make(path).tables.insert(name.to_owned(), table);
    }

    /// Removes a table (`pfctl -T kill`); false if there is none.
    pub fn remove_table(&mut self, anchor: &str, name: &str) -> bool {
        let removed = self.anchors.get_mut(&path::normal(anchor)).and_then(|at| at.tables.remove(name));
        self.tidy();
        removed.is_some()
    }

    /// As in pf, a table that is neither persistent nor named by a rule is gone, and so is an anchor that has nothing and
    /// that nobody calls.
    fn tidy(&mut self) {
        for path in self.anchors.keys().cloned().collect::<Vec<_>>() {
            let named = self.tables_named_in(&path);
            if let Some(anchored) = self.anchors.get_mut(&path) {
                anchored.tables.retain(|name, table| table.persists() || named.contains_key(name));
            }
        }
        loop {
            let called = self.called();
            let before = self.anchors.len();
            let parents: Vec<String> = self.anchors.keys().filter_map(|path| path::parent(path)).collect();
            self.anchors.retain(|path, anchored| {
                let empty = anchored.rules.is_empty() && anchored.tables.is_empty();
                path.is_empty() || !empty || called.contains(path) || parents.contains(path)
            });
            if self.anchors.len() == before {
                return;
            }
        }
    }

    fn called(&self) -> Vec<String> {
        let calls = |(path, anchored): (&String, &Anchored)| -> Vec<String> {
            let calls = anchored.rules.iter().filter_map(|rule| rule.call.as_ref());
            calls.map(|call| path::join(path, call)).collect()
        };
        self.anchors.iter().flat_map(calls).collect()
    }

    /// The tables that the rules of an anchor name, and how often. The main ruleset's are also named, as `h`, by those of
    /// the other anchors.
    fn tables_named_in(&self, path: &str) -> BTreeMap<String, usize> {
        let mut named = BTreeMap::new();
        for rule in self.anchors.get(path).into_iter().flat_map(|anchored| &anchored.rules) {
            for name in tables_of(&rule.rule) {
                *named.entry(name.clone()).or_default() += 1;
            }
        }
        named
    }
}

/// Every table that a rule names.
fn tables_of(full: &FullRule) -> Vec<&String> {
    let pools = [&full.nat, &full.rdr].into_iter().flatten().chain(full.route.as_ref().map(|(_, pool)| pool));
    let ends = [&full.rule.from, &full.rule.to].map(|end| &end.address.pattern);
    let patterns = ends.into_iter().chain(pools.flat_map(|pool| &pool.hosts).map(|host| &host.address));
    let overload = full.rule.state_options.source.overload.as_ref().map(|overload| &overload.table);
    let tables = patterns.filter_map(|pattern| match pattern {
        AddressPattern::Table(name) => Some(name),
        _ => None,
    });
    tables.chain(overload).collect()
}
