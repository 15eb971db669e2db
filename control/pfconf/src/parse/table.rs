//! `table <name> …` (pf.conf(5) TABLES).

use super::{Parsed, Parser};
use crate::ast::{StatementKind, TableContents, TableStatement};
use crate::lex::Kind;

impl Parser<'_> {
    pub(super) fn table(&mut self) -> Parsed<StatementKind> {
        self.take();
        self.symbol("<")?;
        let name = self.text("the name of a table")?;
        self.symbol(">")?;
        if name.value.len() > 31 {
            return Err(self.fail(name.span, "table name too long, max 31 chars", None));
        }
        let mut table =
            TableStatement { name, persist: false, constant: false, counters: false, contents: Vec::new() };
        loop {
            if self.accept_keyword("file") {
                table.contents.push(TableContents::File(self.text("the name of a file")?));
                continue;
            }
            if self.at_symbol("{") {
                table.contents.push(TableContents::Hosts(self.table_hosts()?));
                continue;
            }
            let Kind::Text(_) = self.lexer.peek().kind else { break };
            let option = self.text("an option of the table")?;
            match option.value.as_str() {
                "persist" => table.persist = true,
                "const" => table.constant = true,
                "counters" => table.counters = true,
                other => {
                    let text = format!("invalid table option '{other}'");
                    return Err(self.fail(option.span, text, Some("known are persist, const and counters")));
                }
            }
        }
        Ok(StatementKind::Table(table))
    }

    /// `{ … }`, which may be empty.
    fn table_hosts(&mut self) -> Parsed<Vec<crate::ast::HostItem>> {
        let mut hosts = Vec::new();
        self.items_or_none(&mut |parser| {
            hosts.push(parser.weighted_host()?);
            Ok(())
        })?;
        Ok(hosts)
    }
}
