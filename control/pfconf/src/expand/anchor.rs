//! Anchors: rules within rules.

use super::rule::ONCE;
use super::{Expander, Place};
use crate::ast::AnchorStatement;
use crate::config::Entry;
use crate::parse::{self, Parsed};
use crate::path;

impl Expander<'_> {
    pub(super) fn anchor(&mut self, statement: &AnchorStatement, entries: &mut Vec<Entry>) -> Parsed<()> {
        let body = self.braces(statement)?;
        self.check_gate(statement)?;
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

    /// The rules in braces, with the tables that are defined there.
    fn braces(&mut self, statement: &AnchorStatement) -> Parsed<Option<Vec<Entry>>> {
        let Some(body) = &statement.body else { return Ok(None) };
        let name = statement.name.clone().unwrap_or_else(|| {
            self.unnamed += 1;
            format!("_{}", self.unnamed)
        });
        let span = statement.rule.span;
        if name.contains('/') {
            let text = "anchor paths containing '/' cannot be used for inline anchors.";
            return Err(self.fail(
                span,
                text,
                Some("give the rules in the anchor above, or with load anchor"),
            ));
        }
        let path = path::join(&self.anchor, &name);
        if !body.is_empty() && !self.inline.insert(path.clone()) {
            return Err(self.fail(span, format!("inline anchor '{name}' already exists"), None));
        }
        let here = self.place;
        let outer = std::mem::replace(&mut self.anchor, path);
        let entries = self.statements(body);
        self.anchor = outer;
        self.place = here;
        Ok(Some(entries))
    }

    /// What an anchor cannot say, whatever its lists hold.
    fn check_gate(&mut self, statement: &AnchorStatement) -> Parsed<()> {
        let rule = &statement.rule;
        let named = statement.name.as_ref();
        if let Some(name) = named.filter(|name| statement.body.is_none() && name.ends_with('/')) {
            return Err(self.fail(rule.span, format!("anchorrule: bad anchor name {name}"), None));
        }
        self.check_protocols(rule, "applies")?;
        if rule.options.once {
            let span = self.config.place("once", rule.span);
            return Err(self.fail(span, ONCE, None));
        }
        match &rule.options.route {
            None => Ok(()),
            Some((kind, _)) => {
                let span = self.config.place(kind.word(), rule.span);
                let text = "cannot specify route handling on anchors";
                Err(self.fail(span, text, Some("give the rules in the anchor their own")))
            }
        }
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
