//! Rules of a ruleset by their place in its list, as people name them: number, text, file and line.

use std::fmt;

use ruleset::{RulePlace, Ruleset};
use serde::Serialize;

/// A rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RuleName {
    /// As pfctl numbers it in its ruleset.
    pub number: u32,
    /// The path of the anchor that it stands in; empty in the main ruleset.
    pub anchor: String,
    /// In pfctl's normal form.
    pub text: String,
    /// Where it is written.
    pub file: String,
    pub line: u32,
    pub label: Option<String>,
}

impl fmt::Display for RuleName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { number, anchor, text, file, line, .. } = self;
        write!(f, "{file}:{line}: {anchor}@{number} {text}")
    }
}

/// Names the rules of a ruleset.
pub struct Rulebook<'a> {
    rules: &'a Ruleset,
    places: Vec<RulePlace>,
}

impl<'a> Rulebook<'a> {
    pub fn new(rules: &'a Ruleset) -> Self {
        Self { rules, places: rules.places() }
    }

    /// The rule at a place in the list.
    pub fn name(&self, place: u32) -> Option<RuleName> {
        let rule = self.rules.rules.get(place as usize)?;
        Some(RuleName {
            number: self.places.get(place as usize)?.rule,
            anchor: self.rules.path(rule).to_owned(),
            text: pfconf::print_rule(rule),
            file: rule.source.file.clone(),
            line: rule.source.line,
            label: rule.label.clone(),
        })
    }

    /// The place of the rule that pfctl numbers so.
    pub fn find(&self, place: RulePlace) -> Option<u32> {
        let found = self.places.iter().position(|known| *known == place)?;
        Some(found as u32)
    }
}
