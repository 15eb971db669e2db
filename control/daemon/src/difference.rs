//! What would change between two rulesets, rule by rule.
//!
//! Rules are compared by identity (anchor, text and number among equal texts), so that inserting one says nothing of those
//! behind it. What moved is the least set of rules that has to move: all but a longest sequence in the same order.

use std::collections::BTreeMap;

use api::Reviewed;
use api::control::{
    BlockedState, Difference, OptionChange, RuleAt, RuleChange, StateImpact, TableChange, TableFate,
};
use pfconf::print_rule;
use ruleset::{
    Limit, LogLevel, Options, Rule, RulePlace, Ruleset, Ruling, StatePolicy, StateView, Table, TableEntry,
    Timeout,
};

use crate::tables::{TableSet, entries};

/// What would change if `candidate` took the place of `live`, whose tables hold `held`.
pub fn difference(live: &Ruleset, candidate: &Ruleset, held: &TableSet) -> Difference {
    let numbers: BTreeMap<u64, usize> =
        live.rules.iter().enumerate().map(|(number, rule)| (rule.identity, number)).collect();
    // Live numbers of the rules that stay, in the candidate's order.
    let mut kept: Vec<(usize, usize)> = Vec::new();
    let mut added: Vec<usize> = Vec::new();
    for (number, rule) in candidate.rules.iter().enumerate() {
        match numbers.get(&rule.identity) {
            Some(old) => kept.push((*old, number)),
            None => added.push(number),
        }
    }
    let mut stays = vec![false; live.rules.len()];
    kept.iter().for_each(|(old, _)| stays[*old] = true);
    let removed: Vec<usize> = (0..live.rules.len()).filter(|number| !stays[*number]).collect();

    let (changed, added, removed) = pair_by_label(live, candidate, added, removed);
    let (live_rules, candidate_rules) = (Numbered::of(live), Numbered::of(candidate));
    let change = |(old, new): (usize, usize)| RuleChange {
        live: live_rules.at(old),
        candidate: candidate_rules.at(new),
    };
    Difference {
        added: added.into_iter().map(|number| candidate_rules.at(number)).collect(),
        removed: removed.into_iter().map(|number| live_rules.at(number)).collect(),
        moved: out_of_order(&kept).into_iter().map(change).collect(),
        changed: changed.into_iter().map(change).collect(),
        tables: tables(&now_held(&live.tables, held), &candidate.tables),
        options: options(&live.options, &candidate.options),
        states: None,
    }
}

/// What a candidate says to the live states.
pub fn impact(reviewed: Reviewed, candidate: &Ruleset) -> StateImpact {
    let Reviewed { examined, blocked, complete, examples } = reviewed;
    let rules = Numbered::of(candidate);
    let example = |(state, ruling): (StateView, Ruling)| BlockedState {
        state,
        interface: ruling.interface,
        rule: ruling
            .rule
            .map(|number| number as usize)
            .filter(|number| *number < candidate.rules.len())
            .map(|number| rules.at(number)),
    };
    StateImpact { examined, blocked, complete, examples: examples.into_iter().map(example).collect() }
}

/// The live tables with what they hold now, in place of what they began with.
fn now_held(live: &[Table], held: &TableSet) -> Vec<Table> {
    let mut tables = live.to_vec();
    for table in &mut tables {
        if let Some(held) = held.get(&table.name) {
            table.entries = Some(entries(held));
        }
    }
    tables
}

/// Rules with their places as pfctl numbers them.
struct Numbered<'a> {
    ruleset: &'a Ruleset,
    places: Vec<RulePlace>,
}

impl<'a> Numbered<'a> {
    fn of(ruleset: &'a Ruleset) -> Self {
        Self { ruleset, places: ruleset.places() }
    }

    fn at(&self, number: usize) -> RuleAt {
        let rule = &self.ruleset.rules[number];
        RuleAt {
            number: self.places[number].rule as usize,
            anchor: self.ruleset.path(rule).to_owned(),
            identity: format!("{:016x}", rule.identity),
            text: print_rule(rule),
        }
    }
}

/// A removed and an added rule of one label are one rule that changed, if the label is theirs alone.
fn pair_by_label(
    live: &Ruleset,
    candidate: &Ruleset,
    mut added: Vec<usize>,
    mut removed: Vec<usize>,
) -> (Vec<(usize, usize)>, Vec<usize>, Vec<usize>) {
    let (old, new) = (sole_labels(&live.rules, &removed), sole_labels(&candidate.rules, &added));
    let changed: Vec<(usize, usize)> =
        old.iter().filter_map(|(label, old)| new.get(label).map(|new| (*old, *new))).collect();
    removed.retain(|number| changed.iter().all(|(old, _)| old != number));
    added.retain(|number| changed.iter().all(|(_, new)| new != number));
    (changed, added, removed)
}

fn sole_labels<'a>(rules: &'a [Rule], numbers: &[usize]) -> BTreeMap<&'a str, usize> {
    let mut found: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for number in numbers {
        for label in rules[*number].labels() {
            found.entry(label).or_default().push(*number);
        }
    }
    let sole = found.into_iter().filter_map(|(label, numbers)| match numbers[..] {
        [number] => Some((label, number)),
        _ => None,
    });
    sole.collect()
}

/// The pairs outside a longest increasing subsequence of the first numbers (patience sorting).
fn out_of_order(kept: &[(usize, usize)]) -> Vec<(usize, usize)> {
    // For each length, the place of the least last element of a sequence of that length; and each element's predecessor.
    let mut tails: Vec<usize> = Vec::new();
    let mut before: Vec<Option<usize>> = Vec::with_capacity(kept.len());
    for (place, (old, _)) in kept.iter().enumerate() {
        let length = tails.partition_point(|tail| kept[*tail].0 < *old);
        before.push(length.checked_sub(1).map(|shorter| tails[shorter]));
        match tails.get_mut(length) {
            Some(tail) => *tail = place,
            None => tails.push(place),
        }
    }
    let mut in_order = vec![false; kept.len()];
    let mut place = tails.last().copied();
    while let Some(at) = place {
        in_order[at] = true;
        place = before[at];
    }
    kept.iter().zip(in_order).filter(|(_, in_order)| !in_order).map(|(pair, _)| *pair).collect()
}

fn tables(live: &[Table], candidate: &[Table]) -> Vec<TableChange> {
    let by_name = |tables: &[Table]| tables.iter().map(|table| (table.name.clone(), table.clone())).collect();
    let (live, candidate): (BTreeMap<String, Table>, BTreeMap<String, Table>) =
        (by_name(live), by_name(candidate));
    let mut changes = Vec::new();
    for (name, old) in &live {
        let new = candidate.get(name);
        // No list keeps what the table holds.
        let kept = new.is_some_and(|new| new.entries.is_none());
        let (added, removed) = match new {
            _ if kept => (Vec::new(), Vec::new()),
            Some(new) => (beyond(new, old), beyond(old, new)),
            None => (Vec::new(), beyond(old, &Table::default())),
        };
        let same_head = new.is_some_and(|new| head(new) == head(old));
        if !same_head || !added.is_empty() || !removed.is_empty() {
            let change = if new.is_some() { TableFate::Changed } else { TableFate::Removed };
            changes.push(TableChange { name: name.clone(), change, added, removed });
        }
    }
    for (name, new) in candidate.iter().filter(|(name, _)| !live.contains_key(*name)) {
        let added = beyond(new, &Table::default());
        changes.push(TableChange {
            name: name.clone(),
            change: TableFate::Added,
            added,
            removed: Vec::new(),
        });
    }
    changes.sort_by(|a, b| a.name.cmp(&b.name));
    changes
}

fn head(table: &Table) -> (bool, bool, bool) {
    (table.persist, table.constant, table.counters)
}

/// Entries of `table` that `other` lacks.
fn beyond(table: &Table, other: &Table) -> Vec<String> {
    let others: std::collections::HashSet<&TableEntry> = other.entries.iter().flatten().collect();
    table.entries.iter().flatten().filter(|entry| !others.contains(entry)).map(entry_text).collect()
}

fn entry_text(entry: &TableEntry) -> String {
    let negated = if entry.negated { "!" } else { "" };
    match entry.net.prefix_len() == entry.net.max_prefix_len() {
        true => format!("{negated}{}", entry.net.addr()),
        false => format!("{negated}{}", entry.net),
    }
}

fn options(live: &Options, candidate: &Options) -> Vec<OptionChange> {
    let (old, new) = (settings(live), settings(candidate));
    let differing = old.into_iter().zip(new).filter(|((_, old), (_, new))| old != new);
    differing.map(|((name, live), (_, candidate))| OptionChange { name, live, candidate }).collect()
}

/// Every option with its value, in one order.
fn settings(options: &Options) -> Vec<(String, String)> {
    let state = match options.state_policy {
        StatePolicy::Floating => "floating",
        StatePolicy::IfBound => "if-bound",
    };
    let plain = [
        ("skip", options.skip.join(" ")),
        ("block-policy", pfconf::policy_word(options.block_policy).into()),
        ("fail-policy", pfconf::policy_word(options.fail_policy).into()),
        ("state-policy", state.into()),
        ("reassemble", pfconf::reassemble_words(options.reassemble).into()),
        ("syncookies", pfconf::syncookies_words(options.syncookies)),
        ("loginterface", options.log_interface.clone().unwrap_or_else(|| "none".into())),
        ("optimization rfc-nat", if options.endpoint_independent { "yes" } else { "no" }.into()),
        ("keepcounters", if options.keep_counters { "yes" } else { "no" }.into()),
        ("debug", options.debug.map_or("as it is", LogLevel::name).into()),
        ("hostid", format!("0x{:08x}", options.host_id)),
    ];
    let timeouts = Timeout::ALL
        .into_iter()
        .map(|timeout| (format!("timeout {timeout}"), options.timeouts.get(timeout).to_string()));
    let limits =
        Limit::ALL.into_iter().map(|limit| (format!("limit {limit}"), options.limits.get(limit).to_string()));
    plain.into_iter().map(|(name, value)| (name.to_owned(), value)).chain(timeouts).chain(limits).collect()
}
