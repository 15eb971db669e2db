//! A ruleset in the other dialect.
//!
//! Overview: [`Config::convert`] writes the whole ruleset anew and says what cannot be written. FreeBSD's rulesets before the filter become `match` rules at its head, in the order
//! in which FreeBSD evaluates them. There the first match decides, while each `match` rule that fits translates once more;
//! two rules of which that may make a difference are reported (`clash`). Bounds: [`COMPARED`] rules are compared in pairs.

mod clash;
mod first;
mod foreign;

use std::fmt::Write;

use ruleset::{
    Action, AddressPattern, Direction, Endpoint, FirstMatch, PoolKind, Reassemble, Rule, StateMode,
    Translating,
};

use crate::ast::{Early, Scrub, Section};
use crate::config::{Anchor, Config, Echo, Entry, FullRule, Member, Pool, PoolHost, TableDefinition};
use crate::diagnostic::{Diagnostic, Diagnostics, Form, Severity};
use crate::dialect::Dialect;
use crate::expand;
use crate::print::{self, Numbers};
use crate::source::Span;

/// The most rules in front of the filter that are compared with each other.
const COMPARED: usize = 4096;

impl Config {
    /// The ruleset as a dialect writes it, macros and lists expanded, and what it cannot say: that stands in the text as it
    /// was, so that nobody loads the rest without it.
    pub fn convert(&self, to: Dialect) -> (String, Diagnostics) {
        let mut findings = Vec::new();
        let mut converted = match (self.dialect, to) {
            (Dialect::FreeBsd, Dialect::OpenBsd) => self.modern(&mut findings),
            (Dialect::OpenBsd, Dialect::FreeBsd) => self.with_lists(),
            _ => self.clone(),
        };
        if self.dialect != to {
            foreign::find(self, &converted, to, &mut findings);
        }
        for table in self.tables.iter().filter(|table| !table.anchor.is_empty()) {
            let text =
                format!("the table <{}> of the anchor {} has no place in one file", table.name, table.anchor);
            findings.push(Finding::new(
                table.span,
                text,
                "define it in the main ruleset, under a name of its own",
            ));
        }
        converted.dialect = to;
        converted.loaded.clear();
        let text = converted.head(self.dialect) + &converted.print_rules(Numbers::Hidden);
        (text, self.diagnostics(findings))
    }

    /// Options, tables: everything in front of queues and rules.
    fn head(&self, from: Dialect) -> String {
        let mut out = String::new();
        let options = || self.echo.iter().filter(|line| matches!(line, Echo::Option { .. }));
        for option in options().filter(|option| !option.text().starts_with("set require-order")) {
            let _ = writeln!(out, "{}", option.text().trim_end());
        }
        if from != self.dialect && !self.sets_reassembly() {
            // What holds without the option differs.
            let _ = writeln!(out, "set reassemble {}", self.reassembly(from));
        }
        if let Some(level) = self.optimize {
            let _ = writeln!(out, "set ruleset-optimization {level}");
        }
        for table in self.tables.iter().filter(|table| table.anchor.is_empty()) {
            let _ = writeln!(out, "{}", print::whole_table(&table.lower(), self.dialect));
        }
        out
    }

    /// True if `set reassemble` is there.
    fn sets_reassembly(&self) -> bool {
        self.echo.iter().any(|line| line.text().starts_with("set reassemble"))
    }

    /// Whether fragments are put together in the dialect that a ruleset comes from.
    fn reassembly(&self, from: Dialect) -> &'static str {
        match (from, self.scrubs_fragments) {
            (Dialect::OpenBsd, _) | (_, Some(ruleset::Scrub { no_df: false, .. })) => "yes",
            (_, Some(_)) => "yes no-df",
            (Dialect::FreeBsd, None) => "no",
        }
    }

    /// FreeBSD's rulesets as one, as OpenBSD can write it. What cannot be written is added to the findings.
    fn modern(&self, findings: &mut Vec<Finding>) -> Self {
        let mut modern = self.clone();
        modern.dialect = Dialect::OpenBsd;
        let entries = std::mem::take(&mut modern.entries);
        let (early, filter): (Vec<Entry>, Vec<Entry>) =
            entries.into_iter().partition(|entry| entry.section().is_some());
        let (mut scrub, mut left) = (Vec::new(), Vec::new());
        let (mut nat, mut rdr, mut both_out, mut both_in) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for entry in early {
            let full = match entry {
                Entry::Rule(full) if full.early.is_some_and(|early| !early.exempt) => full,
                Entry::Rule(FullRule { ref early, span, .. })
                | Entry::Anchor(Anchor { gate: FullRule { ref early, span, .. }, .. }) => {
                    findings.extend(early.map(|early| Finding::unordered(span, early)));
                    left.push(entry);
                    continue;
                }
            };
            let Some(early) = full.early else { continue };
            match early.section {
                Section::Scrub => scrub.push(full),
                Section::Nat => nat.push(directed(full, early, Direction::Out)),
                Section::Rdr => rdr.push(directed(full, early, Direction::In)),
                Section::Binat if !matches!(full.rule.from.address.pattern, AddressPattern::Net(_)) => {
                    findings.push(Finding::no_network(full.span));
                    left.push(Entry::Rule(full));
                }
                Section::Binat => {
                    let mut outbound = directed(full, early, Direction::Out);
                    if let Some(pool) = &mut outbound.nat {
                        pool.static_port = true;
                    }
                    both_in.extend(expand::binat_inbound(&outbound));
                    both_out.push(outbound);
                }
            }
        }
        clash::find_scrubs(&scrub, findings);
        let scrub = modern.scrubbed(scrub).into_iter().filter_map(in_any_order);
        if !modern.sets_reassembly() {
            let no_df = modern.scrubs_fragments.is_some_and(|scrub| scrub.no_df);
            modern.options.reassemble = Reassemble { enabled: modern.scrubs_fragments.is_some(), no_df };
        }
        both_out.append(&mut nat);
        rdr.append(&mut both_in);
        for rules in [&both_out, &rdr] {
            clash::find(rules, findings);
        }
        let ahead = scrub.chain(both_out).chain(rdr).map(Entry::Rule);
        modern.entries = left.into_iter().chain(ahead).chain(filter).collect();
        modern.with_tables(findings);
        modern
    }

    /// `scrub` rules as `match` rules; what they say of fragments holds for the whole ruleset. FreeBSD asks them of every
    /// packet, `match` rules are asked of a connection's first one: they hold for both ways, from either end.
    fn scrubbed(&mut self, rules: Vec<FullRule>) -> Vec<FullRule> {
        let mut matching = Vec::new();
        for mut full in rules {
            let FullRule { early, rule, extras, .. } = &mut full;
            let exempt = early.take().is_some_and(|early| early.exempt);
            let Scrub { set_tos, fragments_kept, .. } = extras.scrub;
            if !fragments_kept && !exempt {
                self.scrubs_fragments.get_or_insert(rule.scrub);
            }
            (rule.quick, rule.set_tos) = (false, set_tos);
            rule.first_match = Some(FirstMatch { ruleset: Translating::Scrub, exempt });
            extras.scrub = Scrub::default();
            if [&full.rule.from, &full.rule.to].into_iter().all(|end| *end == Endpoint::default()) {
                full.rule.direction = None;
                matching.push(full);
                continue;
            }
            let mut back = full.clone();
            let Rule { direction, from, to, .. } = &mut back.rule;
            *direction = direction.map(Direction::reverse);
            std::mem::swap(from, to);
            matching.extend([full, back]);
        }
        matching
    }

    /// A table in place of each pool of several hosts.
    fn with_tables(&mut self, findings: &mut Vec<Finding>) {
        let mut entries = std::mem::take(&mut self.entries);
        each_rule(&mut entries, &mut |full| {
            let span = full.span;
            let is_routed = |pool: &Pool| pool.hosts.iter().any(|host| host.via.is_some());
            for pool in pools(full).filter(|pool| pool.hosts.len() > 1 && !is_routed(pool)) {
                let member = |host: &PoolHost| match host.address {
                    AddressPattern::Net(net) => Some(Member { negated: false, net, weight: None }),
                    _ => None,
                };
                match pool.hosts.iter().map(member).collect() {
                    Some(members) => {
                        let address = self.automatic_table(members);
                        pool.hosts = vec![PoolHost { address, via: None, weight: None }];
                    }
                    None => {
                        let text = "a pool of tables or interfaces cannot be expressed";
                        findings.push(Finding::new(span, text, "name hosts and networks only"));
                    }
                }
            }
        });
        self.entries = entries;
    }

    /// The hosts themselves in place of the tables that were made of them.
    fn with_lists(&self) -> Self {
        let mut converted = self.clone();
        let mut tables = std::mem::take(&mut converted.tables);
        let mut listed = Vec::new();
        each_rule(&mut converted.entries, &mut |full| {
            for pool in pools(full).filter(|pool| matches!(pool.kind, None | Some(PoolKind::RoundRobin))) {
                let Some(members) = pool.only().and_then(|host| made_of(host, &tables)) else { continue };
                let host = |member: &Member| PoolHost {
                    address: AddressPattern::Net(member.net),
                    via: None,
                    weight: None,
                };
                let hosts = members.iter().map(host).collect();
                if let [PoolHost { address: AddressPattern::Table(name), .. }] = &pool.hosts[..] {
                    listed.push(name.clone());
                }
                pool.hosts = hosts;
            }
        });
        tables.retain(|table| !listed.contains(&table.name));
        converted.tables = tables;
        converted
    }

    /// Findings with their places, in the order of the file.
    pub(crate) fn diagnostics(&self, mut findings: Vec<Finding>) -> Diagnostics {
        findings.sort_by_key(|finding| (finding.span.file, finding.span.start));
        findings.dedup();
        let mut diagnostics = Diagnostics { sources: self.sources.clone(), list: Vec::new() };
        for Finding { span, text, hint } in findings {
            diagnostics.push(Diagnostic {
                severity: Severity::Error,
                text,
                file: span.file,
                line: self.sources.line(span),
                span,
                label: String::new(),
                hint: (!hint.is_empty()).then_some(hint),
                form: Form::Placed,
                order: 0,
            });
        }
        diagnostics
    }
}

/// What cannot be expressed, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    pub span: Span,
    pub text: String,
    pub hint: String,
}

impl Finding {
    pub(crate) fn new(span: Span, text: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { span, text: text.into(), hint: hint.into() }
    }

    /// Of a translation both ways that names no network.
    fn no_network(span: Span) -> Self {
        let text = "binat from what is no network cannot be expressed";
        Self::new(span, text, "name the network behind from")
    }

    /// Of an exemption, or of an anchor for one kind of rules.
    fn unordered(span: Span, early: Early) -> Self {
        let word = early.section.word();
        match early.exempt {
            true => Self::new(
                span,
                format!("no {word} cannot be expressed: every rule that matches takes effect"),
                format!("exclude these packets in the {word} rules below, with ! or other hosts and ports"),
            ),
            false => Self::new(
                span,
                format!("{word}-anchor cannot be expressed: anchors hold rules of every kind"),
                "convert what is loaded into it, and use: anchor",
            ),
        }
    }
}

/// A `scrub` rule as any `match` rule, unless it is there for nothing then.
fn in_any_order(mut full: FullRule) -> Option<FullRule> {
    let FullRule { rule, extras, .. } = &mut full;
    rule.first_match = None;
    let changes = extras.scrub != Scrub::default() || rule.scrub != ruleset::Scrub::default();
    (changes || rule.set_tos.is_some() || rule.log.enabled || rule.tag.is_some()).then_some(full)
}

/// A translation rule as a filter rule.
fn directed(mut full: FullRule, early: Early, direction: Direction) -> FullRule {
    full.early = None;
    full.rule.direction = Some(direction);
    if early.pass {
        // Without flags: FreeBSD makes a state of any packet that it translates.
        (full.rule.action, full.rule.quick, full.rule.state) = (Action::Pass, true, StateMode::Keep);
    }
    full
}

/// The members of an automatic table that a pool consists of.
fn made_of<'a>(host: &PoolHost, tables: &'a [TableDefinition]) -> Option<&'a [Member]> {
    let AddressPattern::Table(name) = &host.address else { return None };
    let table = tables.iter().find(|table| table.name == *name)?;
    table.members.as_deref().filter(|_| name.starts_with(TableDefinition::AUTOMATIC))
}

fn pools(full: &mut FullRule) -> impl Iterator<Item = &mut Pool> {
    full.nat.iter_mut().chain(&mut full.rdr).chain(full.route.as_mut().map(|(_, pool)| pool))
}

fn each_rule(entries: &mut [Entry], change: &mut dyn FnMut(&mut FullRule)) {
    for entry in entries {
        match entry {
            Entry::Rule(full) => change(full),
            Entry::Anchor(Anchor { gate, body, .. }) => {
                change(gate);
                each_rule(body.as_deref_mut().unwrap_or_default(), change);
            }
        }
    }
}
