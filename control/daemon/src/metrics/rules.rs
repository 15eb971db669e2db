//! Series of rules: by label or identity, never by number, which changes with every edit.

use std::collections::BTreeMap;
use std::net::IpAddr;

use api::{LiveUsage, RuleUsage};
use ruleset::{Action, Rule, Ruleset};

use super::catalogue::Metric;
use super::families::Families;
use crate::View;

/// What tells one series from another.
type Key<'a> = (String, &'a str, &'static str);

/// Adds what the rules did, for the first `most` series, and how many more there would be.
pub fn add(out: &mut Families, view: &View, usage: &LiveUsage, most: usize) {
    let rules = match &view.rules {
        // Between a commit and the next look at it, numbers mean other rules.
        Some(rules) if usage.generation == view.live.generation() => rules,
        _ => return,
    };
    let (series, truncated) = sum_by_key(rules, &usage.rules, most);
    type Of = fn(&RuleUsage) -> u64;
    const FAMILIES: [(Metric, Of); 4] = [
        (Metric::RuleEvaluations, |usage| usage.evaluations),
        (Metric::RulePackets, |usage| usage.in_all().packets),
        (Metric::RuleBytes, |usage| usage.in_all().bytes),
        (Metric::RuleStates, |usage| usage.states),
    ];
    for (metric, value) in FAMILIES {
        let mut family = out.begin(metric);
        for ((rule, anchor, action), usage) in &series {
            family.count(&[rule, anchor, action], value(usage));
        }
    }
    out.single(Metric::RulesTruncated, truncated as f64);
}

/// Rules of one label and action are one series: a series that appears twice would void the whole scrape.
fn sum_by_key<'a>(
    rules: &'a Ruleset,
    usage: &[RuleUsage],
    most: usize,
) -> (BTreeMap<Key<'a>, RuleUsage>, usize) {
    let mut series: BTreeMap<Key<'_>, RuleUsage> = BTreeMap::new();
    let mut beyond = std::collections::BTreeSet::new();
    // The call of an anchor decides nothing.
    let deciding = rules.rules.iter().zip(usage).filter(|(rule, _)| rule.call.is_none());
    for (rule, usage) in deciding {
        let key = key(rules, rule);
        if series.len() >= most && !series.contains_key(&key) {
            beyond.insert(key);
            continue;
        }
        let sum = series.entry(key).or_default();
        *sum = sum.and(usage);
    }
    (series, beyond.len())
}

fn key<'a>(rules: &'a Ruleset, rule: &Rule) -> Key<'a> {
    let action = match rule.action {
        Action::Pass => "pass",
        Action::Block(_) => "block",
        Action::Match => "match",
    };
    let label = rule.label.clone().filter(|label| !names_address(label));
    (label.unwrap_or_else(|| format!("{:016x}", rule.identity)), rules.path(rule), action)
}

/// True if a label carries an address, as those with `$srcaddr` do: addresses have no place in metrics.
fn names_address(label: &str) -> bool {
    let mut words = label.split(|letter: char| !(letter.is_ascii_hexdigit() || matches!(letter, '.' | ':')));
    words
        .any(|word| word.trim_matches(['.', ':']).parse::<IpAddr>().is_ok() || word.parse::<IpAddr>().is_ok())
}
