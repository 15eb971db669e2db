//! Tables: their contents from lists and files.

use ruleset::AddressPattern;

use super::Expander;
use super::members::read_members;
use crate::ast::{HostItem, HostSpec, TableContents, TableStatement};
use crate::config::{Echo, Member, TableDefinition};
use crate::diagnostic::Form;
use crate::parse::Parsed;
use crate::print;
use crate::source::Span;

impl Expander<'_> {
    pub(super) fn table(&mut self, statement: &TableStatement) -> Parsed<()> {
        if self.anchor.split('/').any(|name| name.starts_with('_')) {
            let text = "tables in braces need an anchor with a name";
            let hint = "anchor \"name\" { … }, or define the table in front of the anchor";
            return Err(self.fail(statement.name.span, text, Some(hint)));
        }
        let (mut listed, mut loaded) = (Vec::new(), Vec::new());
        let mut shown = String::new();
        for contents in &statement.contents {
            match contents {
                TableContents::Hosts(items) => {
                    let list = self.table_hosts(items)?;
                    if !list.is_empty() {
                        let text: String = list.iter().map(|member| format!(" {member}")).collect();
                        shown += &format!(" {{{text} }}");
                    }
                    listed.extend(list);
                }
                TableContents::File(file) => {
                    loaded.extend(self.table_file(&file.value, file.span)?);
                    shown += &format!(" file {}", print::quoted(&file.value));
                }
            }
        }
        // As in pf, an address that is given twice is what it was said to be first, and files speak first.
        loaded.append(&mut listed);
        let members = (!statement.contents.is_empty()).then_some(loaded);
        if shown.is_empty() && members.is_some() {
            shown = " { }".into();
        }
        let table = TableDefinition {
            anchor: self.anchor.clone(),
            name: statement.name.value.clone(),
            persist: statement.persist,
            constant: statement.constant,
            counters: statement.counters,
            members,
            span: statement.name.span,
        };
        let head = print::table_head(&table.lower(), self.config.dialect);
        self.config.echo.push(Echo::Table(head + &shown));
        // As in pf, a later definition of the same name replaces an earlier one.
        self.config.tables.retain(|known| (&known.anchor, &known.name) != (&table.anchor, &table.name));
        self.config.tables.push(table);
        Ok(())
    }

    fn table_hosts(&mut self, items: &[HostItem]) -> Parsed<Vec<Member>> {
        let mut members = Vec::new();
        for item in items {
            let wrong = match &item.host {
                HostSpec::Table(_) => Some("tables cannot contain tables"),
                HostSpec::Dynamic { .. } => Some("dynamic addresses are not permitted inside tables"),
                HostSpec::NoRoute => Some("\"no-route\" is not permitted inside tables"),
                HostSpec::UrpfFailed => Some("\"urpf-failed\" is not permitted inside tables"),
                HostSpec::RouteLabel(_) => Some("\"route\" is not permitted inside tables"),
                HostSpec::Via(_) => Some("\"@interface\" is not permitted inside tables"),
                HostSpec::Range(..) => Some("address ranges are not permitted inside tables"),
                HostSpec::Name(_) => None,
            };
            if let Some(text) = wrong {
                return Err(self.fail(item.span, text, Some("a table holds hosts and networks")));
            }
            for node in self.hosts(std::slice::from_ref(item))? {
                if let AddressPattern::Net(net) = node.pattern {
                    members.push(Member { negated: item.negated, net, weight: item.weight });
                }
            }
        }
        Ok(members)
    }

    fn table_file(&mut self, path: &str, span: Span) -> Parsed<Vec<Member>> {
        let text = match self.host.read(path) {
            Ok(text) => text,
            Err(error) => {
                return Err(self.fail(span, format!("cannot load \"{path}\": {}", plain(&error)), None));
            }
        };
        read_members(self.host, &text).map_err(|error| {
            self.report(Form::Bare, span, error.to_string(), "in this file", None);
            self.report(Form::Consequence, span, format!("file \"{path}\" contains bad data"), "", None);
            crate::parse::Abort
        })
    }
}

/// What the system says, without Rust's error number behind it.
pub(super) fn plain(error: &std::io::Error) -> String {
    let text = error.to_string();
    match text.find(" (os error") {
        Some(at) => text[..at].to_owned(),
        None => text,
    }
}
