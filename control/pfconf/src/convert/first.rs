//! FreeBSD's rulesets for translation, for the dataplane: exactly, so that of each the first rule that matches is the only
//! one.
//!
//! Overview: as in FreeBSD, what leaves is a matter of `binat`, then of `nat`; what arrives of `rdr`, then of `binat`. Their
//! rules become `match` rules in front of the filter, and where it makes a difference each says of which ruleset it is
//! ([`FirstMatch`]). What an anchor has for these rulesets is kept in trees of its own beside that of the filter's rules
//! ([`path::BESIDE`]), to which `nat-anchor` and its sisters lead.

use ruleset::{AddressPattern, Direction, Endpoint, FirstMatch, Translating};

use super::{Finding, clash, directed, in_any_order};
use crate::ast::{Early, Section};
use crate::config::{Anchor, Beside, Config, Entry, FullRule};
use crate::dialect::Dialect;
use crate::{expand, path};

/// The rules of the rulesets for translation, in their order.
#[derive(Default)]
struct Rulesets {
    binat_out: Vec<Entry>,
    nat: Vec<Entry>,
    rdr: Vec<Entry>,
    binat_in: Vec<Entry>,
}

impl Config {
    /// The ruleset as the dataplane evaluates it, in the main ruleset or in an anchor. What cannot be done is added to the
    /// findings.
    pub(crate) fn in_one(&self, in_anchor: bool, findings: &mut Vec<Finding>) -> Self {
        let mut one = self.clone();
        one.dialect = Dialect::OpenBsd;
        let entries = std::mem::take(&mut one.entries);
        let (mut rulesets, scrub, filter) = sorted(entries, in_anchor, findings);
        let scrub = one.scrubbed_in_order(scrub).into_iter().map(Entry::Rule);
        one.entries = match in_anchor {
            true => {
                one.beside.extend(rulesets.beside(""));
                scrub.chain(filter).collect()
            }
            false => {
                if !rulesets.need_order() {
                    rulesets.each(|full| full.rule.first_match = None);
                }
                let Rulesets { binat_out, nat, rdr, binat_in } = rulesets;
                let early = binat_out.into_iter().chain(nat).chain(rdr).chain(binat_in);
                scrub.chain(early).chain(filter).collect()
            }
        };
        let mut loaded = std::mem::take(&mut one.loaded);
        for (name, entries) in &mut loaded {
            let (rulesets, scrub, filter) = sorted(std::mem::take(entries), true, findings);
            one.beside.extend(rulesets.beside(name));
            *entries = one.scrubbed_in_order(scrub).into_iter().map(Entry::Rule).chain(filter).collect();
        }
        one.loaded = loaded;
        one.with_tables(findings);
        one
    }
}

impl Config {
    /// `scrub` rules as `match` rules, of which the first that matches is the only one where that makes a difference.
    fn scrubbed_in_order(&mut self, rules: Vec<FullRule>) -> Vec<FullRule> {
        let mut clashes = Vec::new();
        clash::find_scrubs(&rules, &mut clashes);
        let exempts = rules.iter().any(|full| full.early.is_some_and(|early| early.exempt));
        let matching = self.scrubbed(rules);
        match clashes.is_empty() && !exempts {
            true => matching.into_iter().filter_map(in_any_order).collect(),
            false => matching,
        }
    }
}

/// Entries by rulesets: those for translation, `scrub`, and the filter.
fn sorted(
    entries: Vec<Entry>,
    in_anchor: bool,
    findings: &mut Vec<Finding>,
) -> (Rulesets, Vec<FullRule>, Vec<Entry>) {
    let (mut rulesets, mut scrub, mut filter) = (Rulesets::default(), Vec::new(), Vec::new());
    for entry in entries {
        let early = entry.rule().early;
        match (entry, early) {
            (entry, None) => filter.push(entry),
            (Entry::Rule(full), Some(Early { section: Section::Scrub, .. })) => scrub.push(full),
            (Entry::Rule(full), Some(early)) => rulesets.add(full, early, findings),
            (Entry::Anchor(anchor), Some(early)) => rulesets.call(&anchor, early.section, in_anchor),
        }
    }
    (rulesets, scrub, filter)
}

const fn translating(section: Section) -> Translating {
    match section {
        Section::Rdr => Translating::Rdr,
        Section::Binat => Translating::Binat,
        Section::Nat => Translating::Nat,
        Section::Scrub => Translating::Scrub,
    }
}

impl Rulesets {
    fn add(&mut self, full: FullRule, early: Early, findings: &mut Vec<Finding>) {
        let first_match = Some(FirstMatch { ruleset: translating(early.section), exempt: early.exempt });
        let marked = |mut full: FullRule| {
            full.rule.first_match = first_match;
            Entry::Rule(full)
        };
        match early.section {
            Section::Scrub => {}
            Section::Nat => self.nat.push(marked(directed(full, early, Direction::Out))),
            Section::Rdr => self.rdr.push(marked(directed(full, early, Direction::In))),
            Section::Binat if early.exempt => {
                let mut inbound = directed(full.clone(), early, Direction::In);
                inbound.rule.from = std::mem::take(&mut inbound.rule.to);
                inbound.rule.to = Endpoint::default();
                self.binat_in.push(marked(inbound));
                self.binat_out.push(marked(directed(full, early, Direction::Out)));
            }
            Section::Binat if !matches!(full.rule.from.address.pattern, AddressPattern::Net(_)) => {
                findings.push(Finding::no_network(full.span));
            }
            Section::Binat => {
                let mut outbound = directed(full, early, Direction::Out);
                if let Some(pool) = &mut outbound.nat {
                    pool.static_port = true;
                }
                self.binat_in.extend(expand::binat_inbound(&outbound).map(marked));
                self.binat_out.push(marked(outbound));
            }
        }
    }

    /// `nat-anchor` and its sisters: calls of what an anchor has for the ruleset.
    fn call(&mut self, anchor: &Anchor, section: Section, in_anchor: bool) {
        let ruleset = translating(section);
        let name = anchor.name.as_deref().unwrap_or_default();
        let call = |direction| {
            let mut gate = anchor.gate.clone();
            (gate.early, gate.rule.direction) = (None, Some(direction));
            gate.rule.action = ruleset::Action::Pass;
            gate.rule.first_match = Some(FirstMatch { ruleset, exempt: true });
            let tree = path::BESIDE[ruleset as usize];
            // Within a tree a path leads on in it by itself, unless it begins at the top.
            let name = match in_anchor && !name.starts_with('/') {
                true => name.to_owned(),
                false => format!("/{tree}/{}", name.trim_start_matches('/')),
            };
            Entry::Anchor(Anchor { name: Some(name), gate, body: None })
        };
        match ruleset {
            Translating::Nat => self.nat.push(call(Direction::Out)),
            Translating::Rdr => self.rdr.push(call(Direction::In)),
            // There are no anchors for it.
            Translating::Scrub => {}
            Translating::Binat => {
                self.binat_out.push(call(Direction::Out));
                self.binat_in.push(call(Direction::In));
            }
        }
    }

    /// What an anchor has, by the trees that it goes to.
    fn beside(self, anchor: &str) -> Vec<Beside> {
        let Self { mut binat_out, nat, rdr, mut binat_in } = self;
        binat_out.append(&mut binat_in);
        let all = [(Translating::Nat, nat), (Translating::Rdr, rdr), (Translating::Binat, binat_out)];
        let beside = |(ruleset, entries)| Beside {
            tree: path::BESIDE[ruleset as usize],
            anchor: anchor.to_owned(),
            entries,
        };
        all.into_iter().filter(|(_, entries)| !entries.is_empty()).map(beside).collect()
    }

    /// Whether it makes a difference that the first match is the only one.
    fn need_order(&self) -> bool {
        let lists = || [&self.binat_out, &self.nat, &self.rdr, &self.binat_in].into_iter();
        let is_plain = |entry: &Entry| match entry {
            Entry::Rule(full) => full.rule.first_match.is_some_and(|first| !first.exempt),
            Entry::Anchor(_) => false,
        };
        if !lists().flatten().all(is_plain) {
            return true;
        }
        let rules = |lists: [&Vec<Entry>; 2]| -> Vec<FullRule> {
            lists.into_iter().flatten().map(|entry| entry.rule().clone()).collect()
        };
        let mut clashes = Vec::new();
        for rules in [rules([&self.binat_out, &self.nat]), rules([&self.rdr, &self.binat_in])] {
            clash::find(&rules, &mut clashes);
        }
        !clashes.is_empty()
    }

    fn each(&mut self, mut change: impl FnMut(&mut FullRule)) {
        for list in [&mut self.binat_out, &mut self.nat, &mut self.rdr, &mut self.binat_in] {
            for entry in list {
                let (Entry::Rule(full) | Entry::Anchor(Anchor { gate: full, .. })) = entry;
                change(full);
            }
        }
    }
}
