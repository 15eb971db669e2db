//! Statements to rules: options take effect in the order of the file, hosts are resolved, lists become their cross
//! product.

mod address;
mod anchor;
mod antispoof;
mod consistent;
mod fingerprint;
mod host;
mod label;
mod members;
mod option;
mod pool;
mod product;
mod queue;
mod rule;
mod table;

pub use members::{MemberError, members, read_members};
pub(crate) use product::binat_inbound;

use std::collections::BTreeSet;

use ruleset::{BlockPolicy, Limit, Options, SourceLine, StatePolicy, adaptive_thresholds};

use crate::ast::{Spanned, StateOption, Statement, StatementKind, Text};
use crate::config::{Config, Echo, Entry};
use crate::diagnostic::{Diagnostic, Diagnostics, Form, Severity};
use crate::dialect::Dialect;
use crate::host::Host;
use crate::parse::{Abort, Parsed};
use crate::print;
use crate::source::Span;

/// The most rules that lists may expand to in one ruleset.
const RULES: usize = ruleset::bounds::RULES;

/// Expands every statement.
pub(crate) fn expand(
    dialect: Dialect,
    host: &dyn Host,
    text: Text,
    findings: Diagnostics,
    definitions: &[(String, String)],
) -> (Config, Diagnostics) {
    let mut expander = Expander {
        host,
        definitions,
        findings,
        config: Config { dialect, ..Config::default() },
        place: Place::default(),
        block_policy: BlockPolicy::default(),
        state_policy: StatePolicy::default(),
        state_defaults: Vec::new(),
        fingerprints: None,
        has_thresholds: false,
        made: 0,
        files: Vec::new(),
        anchor: String::new(),
        unnamed: 0,
        inline: BTreeSet::new(),
    };
    expander.config.places = text.places;
    let mut entries = expander.statements(&text.statements);
    // A stable order: each of FreeBSD's rulesets is evaluated, and printed, by itself.
    entries.sort_by_key(Entry::stage);
    expander.config.entries = entries;
    expander.check_queues();
    expander.load_fingerprints();
    expander.finish();
    let mut config = expander.config;
    config.sources = expander.findings.sources.clone();
    expander.findings.sort();
    (config, expander.findings)
}

/// Where the statement being expanded is.
#[derive(Clone, Copy, Debug, Default)]
struct Place {
    line: u32,
    order: u32,
    span: Span,
}

struct Expander<'a> {
    host: &'a dyn Host,
    definitions: &'a [(String, String)],
    findings: Diagnostics,
    config: Config,
    place: Place,
    block_policy: BlockPolicy,
    state_policy: StatePolicy,
    state_defaults: Vec<StateOption>,
    /// `set fingerprints`.
    fingerprints: Option<(String, Span)>,
    /// One of the thresholds of adaptive scaling was set.
    has_thresholds: bool,
    /// Rules made so far, in all anchors.
    made: usize,
    /// Files of `load anchor` that are being read.
    files: Vec<String>,
    /// The path of the anchor whose rules are being read.
    anchor: String,
    /// How many anchors without a name there were, which get numbers.
    unnamed: usize,
    /// The paths of those that have rules in braces.
    inline: BTreeSet<String>,
}

impl Expander<'_> {
    fn statements(&mut self, statements: &[Statement]) -> Vec<Entry> {
        let mut entries = Vec::new();
        for statement in statements {
            self.place = Place { line: statement.line, order: statement.order, span: statement.span };
            // What is wrong has been reported; the other statements are still looked at.
            let _: Parsed<()> = self.statement(statement, &mut entries);
        }
        entries
    }

    fn statement(&mut self, statement: &Statement, entries: &mut Vec<Entry>) -> Parsed<()> {
        match &statement.kind {
            StatementKind::Macro { name, text } => {
                let name = print::word(name, self.config.dialect);
                self.config.echo.push(Echo::Macro(format!("{name} = {}", print::quoted(text))));
                Ok(())
            }
            StatementKind::Set(options) => options.iter().try_for_each(|option| self.option(option)),
            StatementKind::Table(table) => self.table(table),
            StatementKind::Rule(rule) => self.rule(rule, entries),
            StatementKind::Anchor(anchor) => self.anchor(anchor, entries),
            StatementKind::LoadAnchor { anchor, file } => self.load_anchor(anchor, file),
            StatementKind::Antispoof(antispoof) => self.antispoof(antispoof, entries),
            StatementKind::Queue(queue) => self.queue(queue),
        }
    }

    fn report(&mut self, form: Form, span: Span, text: String, label: &str, hint: Option<&str>) {
        let finding = self.finding(form, span, text, label, hint);
        self.findings.push(finding);
    }

    fn finding(&self, form: Form, span: Span, text: String, label: &str, hint: Option<&str>) -> Diagnostic {
        Diagnostic {
            severity: Severity::Error,
            text,
            file: self.place.span.file,
            line: self.place.line,
            span,
            label: label.to_owned(),
            hint: hint.map(str::to_owned),
            form,
            order: self.place.order,
        }
    }

    fn complain(&mut self, span: Span, text: impl Into<String>, hint: Option<&str>) {
        self.report(Form::Placed, span, text.into(), "", hint);
    }

    fn fail(&mut self, span: Span, text: impl Into<String>, hint: Option<&str>) -> Abort {
        self.complain(span, text, hint);
        Abort
    }

    /// Notes that lowering has to refuse this statement.
    fn unsupported(&mut self, keyword: &'static str) {
        self.config.unsupported.push(Spanned { value: keyword, span: self.place.span });
    }

    fn source_line(&self) -> SourceLine {
        let file = self.findings.sources.file(self.place.span.file).name.clone();
        SourceLine { file, line: self.findings.sources.line(self.place.span) }
    }

    /// A rule that does not name a policy of its own keeps the one in force where it stands, even if the file changes
    /// it later.
    fn finish(&mut self) {
        if !self.has_thresholds {
            let Options { limits, timeouts, .. } = &mut self.config.options;
            for (threshold, states) in adaptive_thresholds(limits.get(Limit::States)) {
                timeouts.set(threshold, states);
            }
        }
        if self.state_policy == StatePolicy::Floating {
            let floating = |rule: &mut crate::config::FullRule| {
                let policy = &mut rule.rule.state_options.policy;
                *policy = policy.filter(|policy| *policy != StatePolicy::Floating);
            };
            each_rule(&mut self.config.entries, &floating);
            for (_, entries) in &mut self.config.loaded {
                each_rule(entries, &floating);
            }
        }
    }
}

fn each_rule(entries: &mut [Entry], change: &dyn Fn(&mut crate::config::FullRule)) {
    for entry in entries {
        match entry {
            Entry::Rule(rule) => change(rule),
            Entry::Anchor(anchor) => each_rule(anchor.body.as_deref_mut().unwrap_or_default(), change),
        }
    }
}
