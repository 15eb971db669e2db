//! Rules that would lock out whoever loads them.
//!
//! Overview: the operator's own connections to the box come with the request, and those of all who manage the box with a
//! reload by signal, which comes from nobody in particular. What would cut one of them is refused, with the rule that
//! blocks it ([`Cut`]). Rules that have to be confirmed are only warned of: those before return by themselves.

use api::control::{Apply, Finding, Origin, Severity};
use api::{Candidate, Cut};
use pfconf::print_rule;
use ruleset::Rule;

use super::{Committer, Failure};

impl Committer {
    /// Refuses a candidate that would cut the operator off; says so where that is allowed or undone by itself.
    pub(super) fn guard(
        &mut self,
        apply: &Apply,
        origin: Origin,
        candidate: Candidate,
    ) -> Result<Vec<Finding>, Failure> {
        let operator = &apply.operator;
        let Some(client) = &mut self.client else { return Ok(Vec::new()) };
        let rules = candidate.ruleset.clone();
        let cut = match Cut::find(client, candidate, &operator.sessions) {
            Ok(Some(cut)) => cut,
            Ok(None) => return Ok(Vec::new()),
            Err(api::Error::Refused(why)) => return Err(Failure::refused(why)),
            Err(error) => {
                self.lose(&error);
                return Err(Failure::Unavailable(error.to_string()));
            }
        };
        let what = cut.sentence(&rules, print_rule);
        if operator.force || apply.confirm_s.is_some() {
            return Ok(vec![warning(what, &apply.sources.name, cut.rule(&rules.rules))]);
        }
        let how = if origin == Origin::Reload { "load it by tpctl apply with" } else { "use" };
        Err(Failure::refused(format!(
            "{what}; pass it, or {how} --confirm 60s, or --force if that is what you want"
        )))
    }
}

fn warning(message: String, name: &str, rule: Option<&Rule>) -> Finding {
    let source = rule.map(|rule| &rule.source);
    Finding {
        severity: Severity::Warning,
        file: source.map_or_else(|| name.to_owned(), |source| source.file.to_string()),
        line: source.map_or(0, |source| source.line),
        column: 1,
        message,
        expected: String::new(),
        hint: None,
    }
}
