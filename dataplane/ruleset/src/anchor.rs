//! Anchors: rules within rules (pf.conf(5) ANCHORS).
//!
//! Overview: a ruleset is one list, in the order of evaluation. A rule with a [`Call`] stands for an anchor; the rules in
//! that anchor follow it up to [`Call::end`], and are asked only of packets that match it. An anchor that is called twice
//! is there twice. Bounds: those of [`bounds`].

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Action, Rule, Ruleset, StateMode, bounds};

/// `anchor`: the rules in it are asked of packets that match this one.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Call {
    /// The anchor, as a path from the one that it is called in. Rules in braces without a name have one that begins with `_`.
    pub name: String,
    /// All anchors directly below the one that is named (`name/*`), in the order of their names.
    pub wildcard: bool,
    /// The number of the first rule behind those in the anchor.
    pub end: u32,
}

/// A rule as pfctl numbers it: within the ruleset that it stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RulePlace {
    /// The call of the anchor that it stands in, by its own number; `None` in the main ruleset.
    pub anchor: Option<u32>,
    /// The rule.
    pub rule: u32,
}

impl Ruleset {
    /// For each rule, the call in whose anchor it stands, by number in [`Ruleset::rules`].
    pub fn callers(&self) -> Vec<Option<u32>> {
        let mut open: Vec<(u32, u32)> = Vec::new();
        let caller = |(number, rule): (u32, &Rule)| {
            while open.last().is_some_and(|(_, end)| *end <= number) {
                open.pop();
            }
            let caller = open.last().map(|(caller, _)| *caller);
            open.extend(rule.call.as_ref().map(|call| (number, call.end)));
            caller
        };
        (0..).zip(&self.rules).map(caller).collect()
    }

    /// For each rule its place as pfctl numbers it.
    pub fn places(&self) -> Vec<RulePlace> {
        let callers = self.callers();
        let mut places: Vec<RulePlace> = Vec::with_capacity(callers.len());
        // The next number in each ruleset that is being listed: by its call, and by the anchor, of which a wildcard has many.
        let mut next = BTreeMap::<(Option<u32>, u32), u32>::new();
        for (rule, caller) in self.rules.iter().zip(&callers) {
            let number = next.entry((*caller, rule.anchor)).or_default();
            let anchor = caller.and_then(|caller| places.get(caller as usize)).map(|place| place.rule);
            places.push(RulePlace { anchor, rule: *number });
            *number += 1;
        }
        places
    }

    /// The path of the anchor that a rule stands in; empty for the main ruleset.
    pub fn path(&self, rule: &Rule) -> &str {
        let number = (rule.anchor as usize).checked_sub(1);
        number.and_then(|number| self.anchors.get(number)).map_or("", String::as_str)
    }

    pub(crate) fn validate_calls(&self) -> Result<(), (usize, String)> {
        let mut open: Vec<u32> = vec![self.rules.len() as u32];
        for (number, rule) in self.rules.iter().enumerate() {
            open.retain(|end| *end as usize > number);
            let fault = |what: &str| Err((number, what.to_owned()));
            if rule.anchor as usize > self.anchors.len() {
                return fault("stands in an anchor that is not there");
            }
            let Some(call) = &rule.call else { continue };
            let behind = *open.last().unwrap_or(&0);
            if call.end as usize <= number || call.end > behind {
                return fault("the rules of an anchor are not all within those that call it");
            }
            if rule.action != Action::Pass
                || rule.state != StateMode::None
                || rule.routing.is_some()
                || rule.nat.is_some()
                || rule.rdr.is_some()
            {
                return fault("an anchor decides nothing itself");
            }
            open.push(call.end);
            if open.len() > bounds::DEPTH + 1 {
                return fault("anchors call each other more than 64 deep");
            }
        }
        Ok(())
    }
}
