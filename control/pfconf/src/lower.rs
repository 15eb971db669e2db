//! A ruleset to the dataplane's form: what it cannot do yet is refused by name, nothing is dropped silently.

use std::collections::HashMap;

use ruleset::{AddressPattern, Ruleset, Table};

use crate::config::{Config, Entry};
use crate::diagnostic::{Diagnostic, Diagnostics, Form, Severity};
use crate::source::Span;
use crate::{hash, print};

impl Config {
    /// The ruleset that the dataplane enforces.
    ///
    /// # Errors
    /// Every keyword that the dataplane does not know yet, with its place.
    pub fn lower(&self) -> Result<Ruleset, Diagnostics> {
        if self.unsupported.has_errors() {
            return Err(self.unsupported.clone());
        }
        let mut ruleset =
            Ruleset { options: self.options.clone(), tables: self.tables.clone(), rules: Vec::new() };
        let mut occurrences: HashMap<String, u32> = HashMap::new();
        for entry in &self.entries {
            // Anchors are refused above.
            let Entry::Rule(full) = entry else { continue };
            let text = print::print_rule(&full.rule);
            let mut rule = full.rule.clone();
            let occurrence = occurrences.entry(text.clone()).or_default();
            rule.identity = hash::rule_identity("", &text, *occurrence);
            *occurrence += 1;
            ruleset.rules.push(rule);
        }
        define_tables(&mut ruleset);
        ruleset.validate().map_err(|invalid| self.invalid(&invalid))?;
        Ok(ruleset)
    }

    fn invalid(&self, invalid: &ruleset::Invalid) -> Diagnostics {
        let place = invalid.rule.and_then(|number| match self.entries.get(number) {
            Some(Entry::Rule(full)) => Some(full.span),
            _ => None,
        });
        let span = place.unwrap_or_default();
        let line = self.unsupported.sources.line(span);
        let mut findings = Diagnostics { sources: self.unsupported.sources.clone(), list: Vec::new() };
        findings.push(Diagnostic {
            severity: Severity::Error,
            text: invalid.what.clone(),
            file: span.file,
            line,
            span: if place.is_some() { span } else { Span::default() },
            label: String::new(),
            hint: None,
            form: Form::Placed,
            order: 0,
        });
        findings
    }
}

/// As in pf, a rule may name a table that nobody has defined: it exists from then on, and is empty.
fn define_tables(ruleset: &mut Ruleset) {
    let mut named: Vec<String> = Vec::new();
    for rule in &ruleset.rules {
        for end in [&rule.from, &rule.to] {
            if let AddressPattern::Table(name) = &end.address.pattern {
                named.push(name.clone());
            }
        }
    }
    named.sort_unstable();
    named.dedup();
    for name in named {
        if ruleset.table(&name).is_none() {
            ruleset.tables.push(Table { name, ..Table::default() });
        }
    }
}
