//! Blocks: neighbouring rules whose order among each other means nothing.

use std::collections::HashMap;

use ruleset::{AddressMatch, Endpoint, InterfacePattern, SourceLine, SourceTracking, Tracking};

use crate::config::FullRule;

/// A rule, and what it has in common with others.
#[derive(Debug)]
pub(super) struct Candidate {
    pub full: FullRule,
    /// Equal for rules that differ only in what [`criteria_removed`] removes.
    pub rest: u32,
}

/// Divides rules into blocks. Each rule of a block matches other packets and does the same to them, so that it does not
/// matter which of them decides.
pub(super) fn blocks(rules: Vec<FullRule>) -> Vec<Vec<Candidate>> {
    let (mut deeds, mut rests) = (Numbers::default(), Numbers::default());
    let mut blocks: Vec<Vec<Candidate>> = Vec::new();
    let mut last: Option<(u32, Option<String>, bool)> = None;
    for full in rules {
        let rest = criteria_removed(&full);
        let deed = deeds.of(&matching_removed(rest.clone()));
        let key = (deed, group(&full), stands_alone(&full));
        let candidate = Candidate { full, rest: rests.of(&rest) };
        match blocks.last_mut().filter(|_| !key.2 && last.as_ref() == Some(&key)) {
            Some(block) => block.push(candidate),
            None => blocks.push(vec![candidate]),
        }
        last = Some(key);
    }
    blocks
}

/// Numbers for equal rules. They are compared by everything that is stored of them, so that no two that differ can be
/// taken for one.
#[derive(Default)]
struct Numbers(HashMap<String, u32>);

impl Numbers {
    fn of(&mut self, full: &FullRule) -> u32 {
        let next = self.0.len() as u32;
        let text = serde_json::to_string(full).expect("rules have strings for keys only");
        *self.0.entry(text).or_insert(next)
    }
}

/// Without what one rule may cover of another, or a table combine.
fn criteria_removed(full: &FullRule) -> FullRule {
    let mut rest = full.clone();
    let rule = &mut rest.rule;
    (rule.identity, rule.source) = (0, SourceLine::default());
    (rule.interface, rule.direction, rule.af, rule.proto, rule.flags) = Default::default();
    (rule.from, rule.to) = (Endpoint::default(), Endpoint::default());
    rest.span = Default::default();
    rest
}

/// Without anything that only says which packets match: what the rule does to them.
fn matching_removed(mut rest: FullRule) -> FullRule {
    (rest.rule.icmp, rest.rule.tagged, rest.rule.tos, rest.rule.prio, rest.rule.os) = Default::default();
    let extras = &mut rest.extras;
    (extras.from_route, extras.to_route, extras.domain) = Default::default();
    (extras.user, extras.group) = Default::default();
    rest
}

/// Rules that count something of their own: labels, states, rates, probabilities.
fn stands_alone(full: &FullRule) -> bool {
    let rule = &full.rule;
    let SourceTracking { track, max_states, max_nodes, max_conn, max_conn_rate, overload: _ } =
        &rule.state_options.source;
    full.early.is_some()
        || rule.label.is_some()
        || rule.ridentifier.is_some()
        || rule.state_options.max > 0
        || rule.probability.is_some()
        || rule.packet_rate.is_some()
        || rule.once
        || *track == Some(Tracking::Rule)
        || *max_states > 0
        || *max_nodes > 0
        || *max_conn > 0
        || max_conn_rate.is_some()
}

/// The group of interfaces that a rule is for. Groups change while rules are loaded, so that nothing is known of two
/// different ones; as in pf, names of groups do not end in a digit.
fn group(full: &FullRule) -> Option<String> {
    let interface = full.rule.interface.as_ref()?;
    match &interface.pattern {
        InterfacePattern::Name(name) if !name.ends_with(|last: char| last.is_ascii_digit()) => {
            Some(name.clone())
        }
        InterfacePattern::Name(_) => None,
        InterfacePattern::Any => Some(String::new()),
    }
}

/// An end without its port.
pub(super) fn addresses(full: &FullRule) -> [&AddressMatch; 2] {
    [&full.rule.from.address, &full.rule.to.address]
}
