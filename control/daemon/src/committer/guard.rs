//! Changes that would lock out whoever makes them.
//!
//! Overview: the operator's own connections to the box come with the request, and those of all who manage the box with a
//! reload by signal, which comes from nobody in particular. What would cut one of them is refused, with the rule that
//! blocks it ([`Cut`]). Rules that have to be confirmed are only warned of: those before return by themselves.

use std::net::SocketAddr;

use api::control::{Apply, Finding, Operator, Origin, Session, Severity};
use api::{Candidate, Cut};
use pfconf::{LoadedTable, print_rule};
use ruleset::{Rule, TableContents};
use tracing::warn;

use super::{Committer, Failure};
use crate::tables::entries;

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
            Err(error) => return Err(self.failure(error)),
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

    /// Refuses that a table of the live rules, or one that they would mean in place of another, holds what would cut the
    /// operator off; says so where that is forced. `None` stands for a table that is not there.
    pub(super) fn guard_table(
        &mut self,
        name: &str,
        before: Option<&LoadedTable>,
        after: Option<&LoadedTable>,
        operator: &Operator,
    ) -> Result<Option<String>, Failure> {
        let (candidate, sessions) = match self.rebound(name, after) {
            Some(candidate) => (candidate, operator.sessions.clone()),
            None => {
                let Some(rules) = self.rules.as_ref().filter(|rules| rules.table(name).is_some()) else {
                    return Ok(None);
                };
                let held = after.map(entries).unwrap_or_default();
                let table = TableContents { name: name.to_owned(), entries: held };
                (Candidate::with_table(rules, table), concerned(&operator.sessions, before, after))
            }
        };
        let Some(client) = &mut self.client else { return Ok(None) };
        let rules = candidate.ruleset.clone();
        let warning = match Cut::find(client, candidate, &sessions) {
            Ok(None) => return Ok(None),
            Ok(Some(cut)) => cut.allow(&rules, operator.force, print_rule),
            Err(error) => Err(error),
        };
        match warning {
            Ok(warning) => {
                warn!("table <{name}>: {warning}");
                Ok(Some(warning))
            }
            Err(error) => Err(self.failure(error)),
        }
    }

    /// Why the dataplane did not say; if that is because it is away, that is noted.
    fn failure(&mut self, error: api::Error) -> Failure {
        match error {
            api::Error::Refused(why) => Failure::refused(why),
            error => {
                self.lose(&error);
                Failure::Unavailable(error.to_string())
            }
        }
    }
}

/// Those of whom a table does not say the same before and after.
fn concerned(
    sessions: &[Session],
    before: Option<&LoadedTable>,
    after: Option<&LoadedTable>,
) -> Vec<Session> {
    let has =
        |table: Option<&LoadedTable>, end: SocketAddr| table.is_some_and(|table| table.contains(end.ip()));
    let changes = |end: SocketAddr| has(before, end) != has(after, end);
    let concerned = |session: &&Session| changes(session.client) || changes(session.server);
    sessions.iter().filter(concerned).copied().collect()
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
