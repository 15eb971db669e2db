//! Anchors: rules within rules.

use super::{Expander, Place};
use crate::ast::AnchorStatement;
use crate::config::Entry;
use crate::parse::{self, Parsed};
use crate::path;

impl Expander<'_> {
    pub(super) fn anchor(&mut self, statement: &AnchorStatement, entries: &mut Vec<Entry>) -> Parsed<()> {
        let here = self.place;
        let body = statement.body.as_ref().map(|body| self.statements(body));
        self.place = here;
        let mut job = self.job(&statement.rule)?;
        let gate = &mut job.template.rule;
        // An anchor decides nothing itself and keeps no state.
        (gate.state, gate.state_options) = Default::default();
        if !matches!(statement.rule.options.flags, Some(crate::ast::FlagsSpec::Match(_))) {
            gate.flags = None;
        }
        job.anchor = Some((statement.name.clone(), body));
        self.product(&job, entries)
    }

    pub(super) fn load_anchor(&mut self, anchor: &str, file: &str) -> Parsed<()> {
        let span = self.place.span;
        if self.files.iter().any(|open| open == file) {
            return Err(self.fail(span, format!("anchor file {file} loads itself"), None));
        }
        let text = match self.host.read(file) {
            Ok(text) => text,
            Err(error) => {
                let text = format!("cannot open the main config file!: {}", super::table::plain(&error));
                return Err(self.fail(span, text, Some(file)));
            }
        };
        self.files.push(file.to_owned());
        let here: Place = self.place;
        let findings = std::mem::take(&mut self.findings);
        let (text, findings) =
            parse::parse(self.config.dialect, self.host, file, &text, self.definitions, findings, here.order);
        self.findings = findings;
        self.config.places.extend(text.places);
        let anchor =
            if self.anchor.is_empty() { anchor.to_owned() } else { path::join(&self.anchor, anchor) };
        let outer = std::mem::replace(&mut self.anchor, anchor.clone());
        let entries = self.statements(&text.statements);
        self.anchor = outer;
        self.place = here;
        self.files.pop();
        self.config.loaded.push((anchor, entries));
        Ok(())
    }
}
