//! `table <name> …` (pf.conf(5) TABLES).

use super::{Parsed, Parser};
use crate::ast::{StatementKind, TableContents, TableStatement};
use crate::lex::Kind;

impl Parser<'_> {
    pub(super) fn table(&mut self) -> Parsed<StatementKind> {
        self.take();
        let name = self.table_name()?;
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
        self.take();
        self.skip_newlines();
        let mut hosts = Vec::new();
        while !self.accept_symbol("}") {
            self.items(&mut |parser| {
                hosts.push(parser.weighted_host()?);
                Ok(())
            })?;
            self.skip_newlines();
            self.accept_symbol(",");
            self.skip_newlines();
        }
        Ok(hosts)
    }
}
