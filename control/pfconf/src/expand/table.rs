//! Tables: their contents from lists and files.

use ipnet::IpNet;
use ruleset::{AddressPattern, Table, TableEntry};

use super::Expander;
use crate::ast::{HostItem, HostSpec, TableContents, TableStatement};
use crate::parse::Parsed;
use crate::print;
use crate::source::Span;

impl Expander<'_> {
    pub(super) fn table(&mut self, statement: &TableStatement) -> Parsed<()> {
        let mut table = Table {
            name: statement.name.value.clone(),
            persist: statement.persist,
            constant: statement.constant,
            counters: statement.counters,
            entries: None,
        };
        let mut shown = String::new();
        for contents in &statement.contents {
            let entries = table.entries.get_or_insert_default();
            match contents {
                TableContents::Hosts(items) => {
                    let list = self.table_hosts(items)?;
                    if !list.is_empty() {
                        let text: String =
                            list.iter().map(|entry| format!(" {}", print::entry(entry))).collect();
                        shown += &format!(" {{{text} }}");
                    }
                    entries.extend(list);
                }
                TableContents::File(file) => {
                    entries.extend(self.table_file(&file.value, file.span)?);
                    shown += &format!(" file {}", print::quoted(&file.value));
                }
            }
        }
        if shown.is_empty() && table.entries.is_some() {
            shown = " { }".into();
        }
        self.config.echo.push(format!("{}{shown}", print::table_head(&table)));
        // As in pf, a later definition of the same name replaces an earlier one.
        self.config.tables.retain(|known| known.name != table.name);
        self.config.tables.push(table);
        Ok(())
    }

    fn table_hosts(&mut self, items: &[HostItem]) -> Parsed<Vec<TableEntry>> {
        let mut entries = Vec::new();
        for item in items {
            let wrong = match &item.host {
                HostSpec::Table(_) => Some("tables cannot contain tables"),
                HostSpec::Dynamic { .. } => Some("dynamic addresses are not permitted inside tables"),
                HostSpec::NoRoute => Some("\"no-route\" is not permitted inside tables"),
                HostSpec::UrpfFailed => Some("\"urpf-failed\" is not permitted inside tables"),
                HostSpec::RouteLabel(_) => Some("\"route\" is not permitted inside tables"),
                HostSpec::Any => Some("\"any\" is not permitted inside tables"),
                HostSpec::Range(..) => Some("address ranges are not permitted inside tables"),
                HostSpec::Name(_) => None,
            };
            if let Some(text) = wrong {
                return Err(self.fail(item.span, text, Some("a table holds hosts and networks")));
            }
            for node in self.hosts(std::slice::from_ref(item))? {
                if let AddressPattern::Net(net) = node.pattern {
                    entries.push(TableEntry { negated: item.negated, net });
                }
            }
        }
        Ok(entries)
    }

    /// A file of hosts, one word each; `!` negates, `#` begins a comment.
    fn table_file(&mut self, path: &str, span: Span) -> Parsed<Vec<TableEntry>> {
        let text = match self.host.read(path) {
            Ok(text) => text,
            Err(error) => {
                return Err(self.fail(span, format!("cannot load \"{path}\": {}", plain(&error)), None));
            }
        };
        let mut entries = Vec::new();
        for line in text.lines() {
            let line = line.split('#').next().unwrap_or_default();
            let mut negated = false;
            for word in line.split_whitespace() {
                let bare = word.trim_start_matches('!');
                negated ^= (word.len() - bare.len()) % 2 == 1;
                if bare.is_empty() {
                    continue;
                }
                let nets: Vec<IpNet> = match self.named(bare, span) {
                    Ok(nodes) => nodes.into_iter().filter_map(|node| net(node.pattern)).collect(),
                    Err(abort) => return Err(abort),
                };
                entries.extend(nets.into_iter().map(|net| TableEntry { negated, net }));
                negated = false;
            }
        }
        Ok(entries)
    }
}

fn net(pattern: AddressPattern) -> Option<IpNet> {
    match pattern {
        AddressPattern::Net(net) => Some(net),
        _ => None,
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
